/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount: pool, filesystem, FUSE session and control socket in one process. Called by main.c for
 * the commands `mount` and `unmount`; neither needs anything else of the program to be running.
 */
#ifndef DFS_DAEMON_DAEMON_H
#define DFS_DAEMON_DAEMON_H

#include <stdbool.h>

#include "base/err.h"
#include "pool/pool.h"

struct daemon_options {
	const char *pool_dir;	/* made absolute by daemon_mount */
	const char *mountpoint; /* likewise */
	/* "-o" options joined by commas, or NULL. Ours: ro, rw, foreground, force, dirty_limit=SIZE,
	 * flush_interval=MS, io_timeout=MS, smart_interval=SECONDS, seal_workers=N, inode_cache=N, name_cache=SIZE, read_ahead=KIB, and remount. What
	 * becomes of those of mount(8) and FUSE, generic.c says. */
	const char *fuse_opts;
	bool foreground; /* stay in this process; log to stderr, too */
	bool read_only;	 /* as -o ro */
	bool force;	 /* as pool_open_options.force */
	bool verbose;	 /* log at level debug */
};

/*
 * Mounts a pool. In the background (default) it returns in the calling process as soon as the
 * filesystem answers, or with why it can't; the daemon is a child in its own session. In the
 * foreground it returns when the mount has ended: 0, or what could not be stored. Must be called
 * before the process has started any thread. msg says what went wrong, for a person (it is also
 * set, with result 0, when there is something to warn about; otherwise it is empty).
 *
 * DFS_ENOENT, DFS_ENOTDIR, DFS_ENOTEMPTYDIR or DFS_EBUSY (the mountpoint), DFS_EINVAL (it lies in the
 * pool, or holds it), DFS_EUSAGE (options), DFS_ENODISK (no disk in the pool yet), what pool_open and
 * fs_open return, DFS_EPERM or DFS_EIO (FUSE).
 */
MUST_USE int daemon_mount(const struct daemon_options *opt, struct pool_message *msg);

struct daemon_unmount_options {
	const char *mountpoint; /* NULL: where the pool is mounted */
	const char *pool_dir;	/* only used without a mountpoint; absolute */
	bool force;		/* also when files there are open: their later use fails */
	unsigned timeout_ms;	/* how long to wait for the daemon's end; 0: 10 minutes */
};
/*
 * Unmounts, and waits until the daemon has stored everything and has gone. Works as root and as the
 * user who mounted. DFS_ENOENT, DFS_EINVAL (nothing of ours is mounted there), DFS_EBUSY (files are
 * open, or the daemon goes on elsewhere), DFS_EPERM, DFS_ETIMEDOUT, DFS_EIO (the daemon could not store
 * everything; msg says what). *ret_mountpoint: what was found, for the caller to free; NULL is allowed in it.
 */
MUST_USE int daemon_unmount(const struct daemon_unmount_options *opt, char **ret_mountpoint,
			    struct pool_message *msg);

#endif
