/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -o remount: what the kernel can change about a mount while it is in use: ro, rw, suid, dev, exec, sync and their
 * opposites. The daemon goes on as it was; all other options stay as they were given to the mount, since
 * mount(8) repeats those of fstab with each remount. A pool that was mounted read-only was opened so, and
 * is not made writable that way. No locks.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "ctl/ctl.h"
#include "dev/dev.h"

/* The flags that the mount has now, as mount(2) wants them. */
static int flags_now(const char *mountpoint, unsigned long *ret_flags)
{
	static const struct {
		unsigned long st, ms;
	} pairs[] = {
		{ST_RDONLY, MS_RDONLY},
		{ST_NOSUID, MS_NOSUID},
		{ST_NODEV, MS_NODEV},
		{ST_NOEXEC, MS_NOEXEC},
		{ST_SYNCHRONOUS, MS_SYNCHRONOUS},
		{ST_NOATIME, MS_NOATIME},
		{ST_NODIRATIME, MS_NODIRATIME},
		{ST_RELATIME, MS_RELATIME},
	};
	struct statvfs vfs;

	if (statvfs(mountpoint, &vfs) != 0)
		return errno;
	*ret_flags = 0;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		*ret_flags |= vfs.f_flag & pairs[i].st ? pairs[i].ms : 0;
	return 0;
}

static int complain(int e, const char *mountpoint, struct pool_message *msg)
{
	switch (e) {
	case EBUSY:
		return fail(
			msg, DFS_EBUSY,
			"cannot remount %s read-only: files there are open for writing ('fuser -vm "
			"%s' lists them); nothing was done",
			mountpoint, mountpoint);
	case EPERM:
		return fail(
			msg, DFS_EPERM,
			"cannot remount %s: only root may; nothing was done; unmount it and mount it "
			"anew",
			mountpoint);
	default:
		return fail(msg, DFS_EIO, "cannot remount %s: %s; nothing was done", mountpoint,
			    strerror(e));
	}
}

/* What was written is durable before the mount becomes read-only: its user may take it for at rest. */
static void store_all(const char *mountpoint)
{
	struct dev *root = NULL;
	int err = dev_dir_open(mountpoint, "", false, &root);

	if (!err)
		err = dev_sync_dir(root, "");
	if (err)
		log_warn(
			"cannot store what was written at %s now: %s; it is tried again within the "
			"flush interval",
			mountpoint, dfs_err_text(err));
	dev_free(root);
}

int remount(const struct mount_options *o, const char *pool_dir, const char *mountpoint,
	    struct pool_message *msg)
{
	struct ctl_mount found = {0};
	struct lease_view lease;
	unsigned long flags = 0;
	bool ours = ctl_mount_of(mountpoint, &found) == 0 &&
		    strcmp(found.mountpoint, mountpoint) == 0 &&
		    strcmp(found.pool_dir, pool_dir) == 0;
	int e;

	ctl_mount_release(&found);
	if (!ours)
		return fail(msg, DFS_EINVAL,
			    "cannot remount %s: the pool %s is not mounted there; nothing was done",
			    mountpoint, pool_dir);
	lease_look(pool_dir, &lease);
	e = flags_now(mountpoint, &flags);
	if (e)
		return complain(e, mountpoint, msg);
	flags = (flags | o->flags_set) & ~o->flags_cleared;
	flags = o->read_only ? flags | MS_RDONLY : flags & ~(unsigned long)MS_RDONLY;
	if (!o->read_only && lease.read_only)
		return fail(
			msg, DFS_EROFS,
			"cannot remount %s for writing: the pool was opened read-only when it was "
			"mounted; nothing was done; unmount it and mount it anew",
			mountpoint);
	if (o->read_only)
		store_all(mountpoint);
	if (mount(NULL, mountpoint, NULL, MS_REMOUNT | flags, NULL) != 0)
		return complain(errno, mountpoint, msg);
	return 0;
}
