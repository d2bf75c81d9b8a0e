/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a path to an inode and its map, by the index alone: the same in the daemon and offline. What
 * the daemon holds in memory of a file is stored first (settle_inode). No symlink is followed. No locks.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "ctl/call.h"
#include "file/fs.h"
#include "meta/cursor.h"

/* The part of path below the mountpoint ("/" for itself), or NULL when it is not below it. */
static const char *below(const char *mountpoint, const char *path)
{
	size_t n = mountpoint ? strlen(mountpoint) : 0;

	if (n == 0 || strncmp(path, mountpoint, n) != 0)
		return NULL;
	if (path[n] == '\0')
		return "/";
	return path[n] == '/' ? path + n : NULL;
}

/*
 * A person may name a file as the pool knows it ("/a/b"), as it is seen through the mount
 * ("/mnt/pool/a/b"), or relative to either. The mount is asked first: its own path is hardly ever
 * a path inside the pool.
 */
char *arg_pool_path(struct ctl_call *c)
{
	FREE char *path = ctl_path_from_json(json_object_get(c->args, "path"));
	FREE char *abs = ctl_path_from_json(json_object_get(c->args, "path_abs"));
	const char *inside = abs ? below(c->mountpoint, abs) : NULL;

	if (!path)
		return NULL;
	if (!inside && path[0] == '/')
		inside = below(c->mountpoint, path);
	if (inside)
		return xstrdup(inside);
	return path[0] == '/' ? xstrdup(path) : xasprintf("/%s", path);
}

static int no_path(struct ctl_call *c, int err, const char *path)
{
	return ctl_fail(c, err, "cannot find %s in the pool: %s", path, dfs_err_text(err));
}

int resolve_path(struct ctl_call *c, const char *path, ino_id *ret_ino, struct rec_inode *ret_rec)
{
	struct meta *m = pool_meta(c->pool);
	ino_id ino = {DFS_ROOT_INO};
	const char *p = path;
	int err;

	for (;;) {
		struct rec_dentry d;
		char name[DFS_NAME_MAX + 1];
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0)
			break;
		if (n > DFS_NAME_MAX)
			return no_path(c, DFS_ENAMETOOLONG, path);
		memcpy(name, p, n);
		name[n] = '\0';
		p += n;
		if (strcmp(name, ".") == 0)
			continue;
		err = get_dentry(m, ino, name, &d);
		if (err)
			return no_path(c, err, path);
		ino = d.ino;
		if (p[strspn(p, "/")] != '\0' && !S_ISDIR(d.mode))
			return no_path(c, DFS_ENOTDIR, path);
	}
	err = get_inode(m, ino, ret_rec);
	if (err)
		return no_path(c, err, path);
	*ret_ino = ino;
	return 0;
}

static int stop_at_once(void *ctx, const struct fs_extent_info *e)
{
	(void)ctx;
	(void)e;
	return 1;
}

void settle_inode(struct ctl_call *c, ino_id ino)
{
	struct inode *in;

	if (!c->fs || fs_inode_get(c->fs, ino, &in) != 0)
		return;
	/* Sealing is all that is wanted; the answer comes from the index. */
	if (fs_list_extents(c->fs, in, stop_at_once, NULL) < 0)
		ctl_warn(
			c,
			"some of what was written to inode %llu lately is not stored yet: the answer "
			"leaves it out",
			(unsigned long long)ino.v);
	fs_forget(c->fs, in, 1);
}

int each_map(struct pool *p, ino_id ino, uint64_t from, map_fn fn, void *ctx)
{
	struct cursor c;
	BUF key = {0};
	int err = 0;

	key_map(&key, ino, from);
	cursor_of_inode(&c, pool_meta(p), TABLE_MAP, ino);
	cursor_seek(&c, key.data, key.len);
	while (!err && cursor_next(&c)) {
		struct rec_map m;

		err = cursor_map(&c, &m);
		if (!err && fn(ctx, &m))
			break;
	}
	return cursor_close(&c, err);
}
