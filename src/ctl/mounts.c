/* SPDX-License-Identifier: Apache-2.0 */
/* Which DynamicFS mount a path lies in, by the kernel's mount table. No locks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/path.h"
#include "ctl/ctl.h"

#define MOUNT_TABLE "/proc/self/mountinfo"
#define FS_TYPE "fuse.dynamicfs"

void ctl_mount_release(struct ctl_mount *m)
{
	free(m->pool_dir);
	free(m->mountpoint);
	*m = (struct ctl_mount){0};
}

/* The table writes blanks and backslashes as \ooo. In place. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPER". Borrows from line. *ret_ours: it is a
 * DynamicFS. */
static bool parse_line(char *line, struct ctl_mount *ret, bool *ret_ours)
{
	char *tail = strstr(line, " - "), *save, *word = NULL, *type;
	unsigned major = 0, minor = 0;

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (int i = 0; i < 5; i++) {
		word = strtok_r(i ? NULL : line, " ", &save);
		if (!word || (i == 2 && sscanf(word, "%u:%u", &major, &minor) != 2))
			return false;
	}
	type = strtok_r(tail, " ", &save);
	ret->mountpoint = word;
	ret->pool_dir = type ? strtok_r(NULL, " \n", &save) : NULL;
	ret->dev = makedev(major, minor);
	if (!ret->pool_dir)
		return false;
	*ret_ours = strcmp(type, FS_TYPE) == 0;
	unescape(ret->mountpoint);
	unescape(ret->pool_dir);
	return true;
}

static bool contains(const char *mountpoint, const char *path)
{
	return strcmp(mountpoint, "/") == 0 || path_lies_in(path, mountpoint);
}

/* Calls fn for each mount until it returns false. */
static void each_mount(bool (*fn)(void *ctx, const struct ctl_mount *m, bool ours), void *ctx)
{
	FILE *f = fopen(MOUNT_TABLE, "re");
	char *line = NULL;
	size_t cap = 0;
	bool more = f != NULL;

	while (more && getline(&line, &cap, f) > 0) {
		struct ctl_mount m;
		bool ours;

		if (parse_line(line, &m, &ours))
			more = fn(ctx, &m, ours);
	}
	free(line);
	if (f)
		(void)fclose(f);
}

struct search {
	const char *path; /* or the pool's */
	uint64_t dev;
	struct ctl_mount found;
	bool ours;
};

static void keep(struct search *s, const struct ctl_mount *m, bool ours)
{
	ctl_mount_release(&s->found);
	s->found = (struct ctl_mount){xstrdup(m->pool_dir), xstrdup(m->mountpoint), m->dev};
	s->ours = ours;
}

/* Of mounts at one place the last line is the one on top. */
static bool keep_innermost(void *ctx, const struct ctl_mount *m, bool ours)
{
	struct search *s = ctx;

	if (contains(m->mountpoint, s->path) &&
	    (!s->found.mountpoint || strlen(m->mountpoint) >= strlen(s->found.mountpoint)))
		keep(s, m, ours);
	return true;
}

static bool keep_of_pool(void *ctx, const struct ctl_mount *m, bool ours)
{
	struct search *s = ctx;

	if (!ours || strcmp(m->pool_dir, s->path) != 0 || (s->dev && s->dev != m->dev))
		return true;
	keep(s, m, ours);
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

	each_mount(keep_innermost, &s);
	return found(&s, ret_mount);
}

int ctl_mount_of_pool(const char *pool_dir, uint64_t dev, struct ctl_mount *ret_mount)
{
	struct search s = {.path = pool_dir, .dev = dev};

	each_mount(keep_of_pool, &s);
	return found(&s, ret_mount);
}
