/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new pool directory or disk may lie neither inside nor around what belongs to a pool already, this or another
 * one: who gives that up, moves or fills it would not know of the other. Looked for are the files by which both are
 * known, upwards also where a bind mount shows the directory from, downwards only a little way.
 *
 * Touches filesystems that may hang: for a disk it runs within a deadline.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mounts.h"
#include "base/path.h"
#include "format/diskjson.h"
#include "pool/internal.h"

#define LOOKS_MAX 4096u /* directories that are looked at below one */
#define DEPTH_MAX 2u

static bool is_file(const char *dir, const char *name)
{
	FREE char *path = xasprintf("%s/%s", strcmp(dir, "/") ? dir : "", name);
	struct stat st;

	return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Any program may have a file of that name. */
static bool is_pool(const char *dir)
{
	CLEANUP(pool_json_release) struct pool_json json = {0};
	FREE uint8_t *data = NULL;
	struct dev *dev = NULL;
	size_t len;
	int err;

	if (!is_file(dir, POOL_JSON_NAME) || dev_dir_open(dir, "", false, &dev))
		return false;
	err = dev_read_all(dev, POOL_JSON_NAME, POOL_JSON_MAX_BYTES, &data, &len);
	dev_free(dev);
	if (!err)
		err = pool_json_parse(data, len, &json);
	return !err || err == DFS_EVERSION || err == DFS_EFEATURE || err == DFS_ECHECKSUM;
}

static bool is_disk(const char *dir)
{
	return is_file(dir, "dynamicfs/" DISK_JSON_NAME) ||
	       is_file(dir, "dynamicfs/" DISK_JSON_COPY_NAME);
}

/* NULL: neither. */
static const char *what_is(const char *dir)
{
	return is_disk(dir) ? "a disk of a pool" : is_pool(dir) ? "the directory of a pool" : NULL;
}

/* Is any directory above path, as far as `top`, something of a pool, or that one itself, if that counts? */
static bool look_up(const char *path, bool itself, const char *top, char *why, size_t len)
{
	FREE char *dir = xstrdup(path);

	for (;; itself = true) {
		const char *what = itself ? what_is(dir) : NULL;
		char *slash = strrchr(dir, '/');

		if (what)
			snprintf(why, len, "it lies inside %s, which is %s", dir, what);
		if (what || !slash || !dir[1] || strcmp(dir, top) == 0)
			return what != NULL;
		slash[slash == dir] = '\0';
	}
}

/* ---- bind mounts ---- */

struct bound {
	const char *path;
	bool itself;
	char *mountpoint, *root; /* the mount that path is on */
	uint64_t dev;
	char *inside; /* path, from the filesystem's root */
	char *why;
	size_t len;
	bool found;
};

static bool find_mount(void *ctx, const struct mount_line *m)
{
	struct bound *b = ctx;

	if (!path_lies_in(b->path, m->mountpoint) ||
	    (b->mountpoint && strlen(m->mountpoint) < strlen(b->mountpoint)))
		return true;
	free(b->mountpoint);
	free(b->root);
	b->mountpoint = xstrdup(m->mountpoint);
	b->root = xstrdup(m->root);
	b->dev = m->dev;
	return true;
}

/* What of path is left below outer, "" or "/...". */
static const char *rest(const char *path, const char *outer)
{
	return path + (strcmp(outer, "/") == 0 ? 0 : strlen(outer));
}

static bool same_dir(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The same directory, seen by way of another mount of its filesystem. */
static bool look_from(void *ctx, const struct mount_line *m)
{
	struct bound *b = ctx;
	FREE char *other = NULL;

	if (m->dev != b->dev || !path_lies_in(b->inside, m->root) ||
	    strcmp(m->mountpoint, b->mountpoint) == 0)
		return true;
	other = xasprintf("%s%s", strcmp(m->mountpoint, "/") == 0 ? "" : m->mountpoint,
			  rest(b->inside, m->root));
	if (same_dir(b->path, other)) /* else something is mounted over it */
		b->found = look_up(other, b->itself, m->mountpoint, b->why, b->len);
	return !b->found;
}

static bool look_up_bound(const char *path, bool itself, char *why, size_t len)
{
	struct bound b = {.path = path, .itself = itself, .why = why, .len = len};

	mounts_each(find_mount, &b);
	if (b.mountpoint) {
		b.inside = xasprintf("%s%s", strcmp(b.root, "/") == 0 ? "" : b.root,
				     rest(path, b.mountpoint));
		mounts_each(look_from, &b);
	}
	free(b.inside);
	free(b.mountpoint);
	free(b.root);
	return b.found;
}

bool nested_inside(const char *dir, bool itself, char *why, size_t len)
{
	return look_up(dir, itself, "/", why, len) || look_up_bound(dir, itself, why, len);
}

/* ---- downwards ---- */

/* A filesystem that may hang, or is not of this machine: what is there is not looked for. */
static bool is_remote(void *ctx, const struct mount_line *m)
{
	static const char *const types[] = {"fuse", "nfs",    "cifs", "smb", "9p",
					    "ceph", "autofs", "proc", "sys", "afs"};
	const char **dir = ctx;

	if (strcmp(m->mountpoint, *dir) != 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strncmp(m->type, types[i], strlen(types[i])) == 0) {
			*dir = NULL;
			return false;
		}
	return true;
}

static bool may_look(const char *dir)
{
	struct statx st;
	const char *left = dir;

	if (statx(AT_FDCWD, dir, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		  STATX_TYPE, &st) != 0 ||
	    !S_ISDIR(st.stx_mode))
		return false;
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		mounts_each(is_remote, &left);
	return left != NULL;
}

static bool look_down(const char *dir, unsigned depth, unsigned *looks, char *why, size_t len)
{
	DIR *d = opendir(dir);
	bool found = false;
	struct dirent *e;

	while (d && !found && *looks > 0 && (e = readdir(d))) {
		FREE char *path = xasprintf("%s/%s", strcmp(dir, "/") ? dir : "", e->d_name);
		const char *what;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !may_look(path))
			continue;
		(*looks)--;
		what = what_is(path);
		found = what || (depth > 1 && look_down(path, depth - 1, looks, why, len));
		if (what)
			snprintf(why, len, "it contains %s, which is %s", path, what);
	}
	if (d)
		closedir(d);
	return found;
}

bool nested_around(const char *dir, char *why, size_t len)
{
	unsigned looks = LOOKS_MAX;

	if (is_pool(dir))
		snprintf(why, len, "it is the directory of a pool");
	else if (!look_down(dir, DEPTH_MAX, &looks, why, len))
		return false;
	return true;
}
