/* SPDX-License-Identifier: Apache-2.0 */
/* Which DynamicFS mount a path lies in, by the kernel's mount table. No locks. */
#include <stdlib.h>
#include <string.h>

#include "base/mounts.h"
#include "base/path.h"
#include "ctl/ctl.h"

#define FS_TYPE "fuse.dynamicfs"

void ctl_mount_release(struct ctl_mount *m)
{
	free(m->pool_dir);
	free(m->mountpoint);
	*m = (struct ctl_mount){0};
}

static bool contains(const char *mountpoint, const char *path)
{
	return strcmp(mountpoint, "/") == 0 || path_lies_in(path, mountpoint);
}

struct search {
	const char *path; /* or the pool's */
	uint64_t dev;
	struct ctl_mount found;
	bool ours;
};

static bool is_ours(const struct mount_line *m) { return strcmp(m->type, FS_TYPE) == 0; }

static void keep(struct search *s, const struct mount_line *m)
{
	ctl_mount_release(&s->found);
	s->found = (struct ctl_mount){xstrdup(m->source), xstrdup(m->mountpoint), m->dev};
	s->ours = is_ours(m);
}

/* Of mounts at one place the last line is the one on top. */
static bool keep_innermost(void *ctx, const struct mount_line *m)
{
	struct search *s = ctx;

	if (contains(m->mountpoint, s->path) &&
	    (!s->found.mountpoint || strlen(m->mountpoint) >= strlen(s->found.mountpoint)))
		keep(s, m);
	return true;
}

static bool keep_of_pool(void *ctx, const struct mount_line *m)
{
	struct search *s = ctx;

	if (!is_ours(m) || strcmp(m->source, s->path) != 0 || (s->dev && s->dev != m->dev))
		return true;
	keep(s, m);
	return false;
}

static int found(struct search *s, struct ctl_mount *ret_mount)
{
	if (!s->ours) {
		ctl_mount_release(&s->found);
		return DFS_ENOENT;
	}
	*ret_mount = s->found;
	return 0;
}

int ctl_mount_of(const char *path, struct ctl_mount *ret_mount)
{
	struct search s = {.path = path};

	mounts_each(keep_innermost, &s);
	return found(&s, ret_mount);
}

int ctl_mount_of_pool(const char *pool_dir, uint64_t dev, struct ctl_mount *ret_mount)
{
	struct search s = {.path = pool_dir, .dev = dev};

	mounts_each(keep_of_pool, &s);
	return found(&s, ret_mount);
}
