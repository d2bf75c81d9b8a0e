/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `unmount`: takes the mount away, waits until the daemon has stored everything and has
 * gone, and says if it could not (P1: a clean unmount that returns success is durable). No locks.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "ctl/ctl.h"
#include "daemon/internal.h"
#include "fuse/session.h"

#define TIMEOUT_MS_DEFAULT 600000
#define POLL_MS 20

static int find_mount(const char *asked, char **ret_mountpoint, char **ret_pool_dir,
		      struct pool_message *msg)
{
	FREE char *path = path_absolute(asked);
	struct ctl_mount mount = {0};

	if (!path)
		return fail(msg, errno == ENOENT ? DFS_ENOENT : DFS_EACCES, "cannot unmount %s: %s",
			    asked, strerror(errno));
	if (ctl_mount_of(path, &mount) != 0 || strcmp(mount.mountpoint, path) != 0) {
		ctl_mount_release(&mount);
		return fail(msg, DFS_EINVAL,
			    "cannot unmount %s: no DynamicFS is mounted there; nothing was done",
			    path);
	}
	*ret_mountpoint = mount.mountpoint;
	*ret_pool_dir = mount.pool_dir;
	return 0;
}

static int complain(int err, const char *mountpoint, struct pool_message *msg)
{
	switch (err) {
	case DFS_EBUSY:
		return fail(
			msg, err,
			"cannot unmount %s: files there are open, or it is a process's working "
			"directory ('fuser -vm %s' lists them); nothing was done; close them, or "
			"cut them off with --force",
			mountpoint, mountpoint);
	case DFS_EPERM:
		return fail(msg, err,
			    "cannot unmount %s: only root and the user who mounted it may; nothing "
			    "was done",
			    mountpoint);
	default:
		return fail(msg, err, "cannot unmount %s: %s", mountpoint, dfs_err_text(err));
	}
}

/* With force the daemon is asked to end: it takes what the kernel still holds, then cuts off. */
static int take_mount_away(const char *mountpoint, const struct lease_view *lease, bool force,
			   struct pool_message *msg)
{
	int err = session_unmount_path(mountpoint, false);

	if (err == DFS_EBUSY && force && lease->held && lease->pid > 0) {
		if (kill((pid_t)lease->pid, SIGTERM) == 0)
			return 0;
		return complain(DFS_EPERM, mountpoint, msg);
	}
	if (err == DFS_EBUSY && (force || !lease->held))
		err = session_unmount_path(mountpoint, true);
	return err ? complain(err, mountpoint, msg) : 0;
}

int daemon_unmount(const struct daemon_unmount_options *opt, struct pool_message *msg)
{
	FREE char *mountpoint = NULL;
	FREE char *pool_dir = NULL;
	uint64_t limit_ms = opt->timeout_ms ? opt->timeout_ms : TIMEOUT_MS_DEFAULT;
	uint64_t start_ns = env_now_ns();
	struct lease_view lease;
	bool daemon_lived;
	int err;

	msg->text[0] = '\0';
	err = find_mount(opt->mountpoint, &mountpoint, &pool_dir, msg);
	if (err)
		return err;
	lease_look(pool_dir, &lease);
	daemon_lived = lease.held;
	err = take_mount_away(mountpoint, &lease, opt->force, msg);
	if (err)
		return err;
	if (!daemon_lived)
		return fail(msg, 0, "%s: its daemon had died before; the mount was removed",
			    mountpoint);
	for (;;) {
		lease_look(pool_dir, &lease);
		if (!lease.held)
			break;
		if ((env_now_ns() - start_ns) / 1000000 >= limit_ms)
			return fail(
				msg, DFS_ETIMEDOUT,
				"%s is unmounted, but the daemon (process %ld) is still storing "
				"data; wait for it before disks are removed",
				mountpoint, lease.pid);
		env_sleep_ms(POLL_MS);
	}
	if (lease.outcome)
		return fail(msg, DFS_EIO, "%s is unmounted, but %s", mountpoint,
			    lease.text[0] ? lease.text : dfs_err_text(lease.outcome));
	return 0;
}
