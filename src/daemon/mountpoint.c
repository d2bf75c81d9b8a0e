/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a pool may be mounted: on an empty directory that is no mountpoint yet, outside of the pool
 * directory. A mount whose daemon was killed answers nothing (ENOTCONN); one of ours is cleared away,
 * because nothing can be using it any more. No locks.
 */
#include "daemon/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/child.h"
#include "base/log.h"
#include "base/path.h"
#include "ctl/ctl.h"
#include "fuse/session.h"

char *path_absolute(const char *path)
{
	char *whole = child_realpath(path);

	return whole || errno != ENOTCONN ? whole : path_real_parent(path);
}

static int clear_dead_mount(const char *mountpoint, struct pool_message *msg)
{
	struct ctl_mount mount;
	bool ours;
	int err = ctl_mount_of(mountpoint, &mount);

	ours = !err && strcmp(mount.mountpoint, mountpoint) == 0;
	if (!err)
		ctl_mount_release(&mount);
	if (!ours)
		return fail(msg, DFS_EBUSY,
			    "cannot mount at %s: a mount there does not answer, and it is not of "
			    "DynamicFS; nothing was done; unmount it first",
			    mountpoint);
	err = session_unmount_path(mountpoint, true);
	if (err)
		return fail(msg, err,
			    "cannot mount at %s: the mount left there by a daemon that died can't "
			    "be removed: %s; try 'umount -l %s' as root",
			    mountpoint, dfs_err_text(err), mountpoint);
	fail(msg, 0, "%s held the mount of a daemon that died; it was removed", mountpoint);
	log_warn("%s", msg->text);
	return 0;
}

static int check_empty(const char *mountpoint, struct pool_message *msg)
{
	DIR *dir = opendir(mountpoint);
	struct dirent *e;
	bool empty = true;

	if (!dir)
		return fail(msg, DFS_EACCES, "cannot mount at %s: it can't be read: %s", mountpoint,
			    strerror(errno));
	while (empty && (e = readdir(dir)) != NULL)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(dir);
	return empty ? 0
		     : fail(msg, DFS_ENOTEMPTYDIR,
			    "cannot mount at %s: the directory is not empty, and what it holds "
			    "would be hidden; nothing was done; name an empty directory",
			    mountpoint);
}

int mountpoint_check(const char *mountpoint, const char *pool_dir, struct pool_message *msg)
{
	/* A dead mount must be asked: what it is, the kernel still knows. */
	const int ask = AT_STATX_FORCE_SYNC;
	struct statx st;
	int err;

	if (path_lies_in(mountpoint, pool_dir) || path_lies_in(pool_dir, mountpoint))
		return fail(msg, DFS_EINVAL,
			    "cannot mount at %s: the mountpoint and the pool directory %s may not "
			    "lie within one another; nothing was done",
			    mountpoint, pool_dir);
	if (statx(AT_FDCWD, mountpoint, ask, STATX_BASIC_STATS, &st) != 0) {
		if (errno != ENOTCONN)
			return fail(msg, errno == ENOENT ? DFS_ENOENT : DFS_EACCES,
				    "cannot mount at %s: %s", mountpoint, strerror(errno));
		err = clear_dead_mount(mountpoint, msg);
		if (err)
			return err;
		if (statx(AT_FDCWD, mountpoint, ask, STATX_BASIC_STATS, &st) != 0)
			return fail(msg, DFS_EIO, "cannot mount at %s: %s", mountpoint,
				    strerror(errno));
	}
	if (!S_ISDIR(st.stx_mode))
		return fail(msg, DFS_ENOTDIR,
			    "cannot mount at %s: it is not a directory; nothing was done",
			    mountpoint);
	if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
		return fail(msg, DFS_EBUSY,
			    "cannot mount at %s: something is mounted there already; nothing was "
			    "done; unmount it or name another directory",
			    mountpoint);
	return check_empty(mountpoint, msg);
}
