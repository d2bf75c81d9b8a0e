/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `unmount`: takes the mount away, waits until the daemon has stored everything and has
 * gone, and says if it could not (P1: a clean unmount that returns success is durable). No locks.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/env.h"
#include "ctl/ctl.h"
#include "daemon/internal.h"
#include "fuse/session.h"

#define TIMEOUT_MS_DEFAULT 600000
#define NOTICE_MS                                                                                  \
	30000 /* a daemon whose mount has gone notices at once; not one asked to cut off */
#define POLL_MS 20
#define RESULT_MS 1000u	 /* what it says at its end was sent before it gave up the lease */
#define LOOK_MS 1000u	 /* how often the pool directory is asked whether it answers at all */
#define STOPPED_LOOKS 3u /* in a row: a debugger stops a process for a moment, too */

/* Somebody else has taken the mount away just now: its daemon is to be waited for all the same. at: NULL, or where it
 * must have been. */
static bool find_ending(const char *pool_dir, const char *at, struct ctl_mount *ret_mount)
{
	struct ctl_mount there;
	struct lease_view lease;

	if (!child_dir_answers(pool_dir, "mounted"))
		return false;
	lease_look(pool_dir, &lease);
	if (!lease.held || !lease.dev || (at && strcmp(at, lease.mountpoint) != 0))
		return false;
	if (!lease.ending && ctl_mount_of_pool(pool_dir, lease.dev, &there) == 0) {
		ctl_mount_release(&there);
		return false;
	}
	*ret_mount = (struct ctl_mount){xstrdup(pool_dir), xstrdup(lease.mountpoint), lease.dev};
	return true;
}

/* The mount of the daemon that lives, before one that a dead daemon left behind. */
static int find_mount_of_pool(const char *pool_dir, struct ctl_mount *ret_mount, bool *ret_gone,
			      struct pool_message *msg)
{
	struct lease_view lease = {0};

	*ret_gone = find_ending(pool_dir, NULL, ret_mount);
	if (*ret_gone)
		return 0;
	if (child_dir_answers(pool_dir, "mounted"))
		lease_look(pool_dir, &lease);
	if ((lease.held && lease.dev && ctl_mount_of_pool(pool_dir, lease.dev, ret_mount) == 0) ||
	    ctl_mount_of_pool(pool_dir, 0, ret_mount) == 0)
		return 0;
	return fail(msg, DFS_EINVAL, "cannot unmount: the pool %s is not mounted; nothing was done",
		    pool_dir);
}

static int find_mount(const char *asked, const char *pool_dir, struct ctl_mount *ret_mount,
		      bool *ret_gone, struct pool_message *msg)
{
	FREE char *path = path_absolute(asked);

	if (!path)
		return fail(msg, errno == ENOENT ? DFS_ENOENT : DFS_EACCES, "cannot unmount %s: %s",
			    asked, strerror(errno));
	if (ctl_mount_of(path, ret_mount) == 0) {
		if (strcmp(ret_mount->mountpoint, path) == 0)
			return 0;
		ctl_mount_release(ret_mount);
	}
	*ret_gone = pool_dir && find_ending(pool_dir, path, ret_mount);
	if (*ret_gone)
		return 0;
	return fail(msg, DFS_EINVAL,
		    "cannot unmount %s: no DynamicFS is mounted there; nothing was done; if it was "
		    "unmounted just now, 'dynamicfs unmount --pool DIR' waits until all is stored",
		    path);
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

/* Only asked when the pool directory tells nothing about this mount's daemon. */
static bool is_dead(const char *mountpoint)
{
	struct statx st;

	return statx(AT_FDCWD, mountpoint, AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW,
		     STATX_BASIC_STATS, &st) != 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}

static bool is_held(const struct ctl_mount *mount, const struct lease_view *lease)
{
	return lease->held && (lease->dev ? lease->dev == mount->dev
					  : strcmp(lease->mountpoint, mount->mountpoint) == 0);
}

/*
 * Does a daemon live that serves this very mount? The pool may be mounted elsewhere meanwhile, by a daemon
 * that has nothing to do with what was left behind here.
 */
static bool daemon_serves(const struct ctl_mount *mount, const struct lease_view *lease)
{
	if (is_held(mount, lease))
		return true;
	/* The file may be missing, or an old copy. */
	return !is_dead(mount->mountpoint);
}

/*
 * Asks the daemon to end. By a signal, unless it is root who asks and another user who has written the
 * process's number: that could be any process.
 */
static bool ask_to_stop(const struct ctl_mount *mount, const struct lease_view *lease)
{
	struct ctl_answer a;
	json_t *args;
	int err;

	if (lease->pid > 0 && (geteuid() != 0 || lease->owner == 0))
		return kill((pid_t)lease->pid, SIGTERM) == 0 || errno == ESRCH;
	args = json_object();
	err = ctl_run(mount->pool_dir, "stop", args, &a);
	ctl_answer_release(&a);
	json_decref(args);
	return err == 0 || err == DFS_ENOENT; /* it ends already */
}

static bool is_there(const struct ctl_mount *mount)
{
	struct ctl_mount now;
	bool same;

	if (ctl_mount_of(mount->mountpoint, &now) != 0)
		return false;
	same = now.dev == mount->dev && strcmp(now.mountpoint, mount->mountpoint) == 0;
	ctl_mount_release(&now);
	return same;
}

/* That somebody else was faster is no failure. */
static int take_away(const struct ctl_mount *mount, bool lazy)
{
	int err = session_unmount_path(mount->mountpoint, lazy);

	return err && err != DFS_EBUSY && !is_there(mount) ? 0 : err;
}

/* With force the daemon is asked to end: it takes what the kernel still holds, then cuts off. */
static int take_mount_away(const struct ctl_mount *mount, const struct lease_view *lease,
			   bool alive, bool force, bool *ret_asked, struct pool_message *msg)
{
	int err = take_away(mount, false);

	*ret_asked = err == DFS_EBUSY && force && alive && lease->held;
	if (*ret_asked)
		return ask_to_stop(mount, lease) ? 0 : complain(DFS_EPERM, mount->mountpoint, msg);
	if (err == DFS_EBUSY && (force || !alive))
		err = take_away(mount, true);
	return err ? complain(err, mount->mountpoint, msg) : 0;
}

/* It has all that is not stored yet, and ends when it goes on. */
static int say_stopped(const struct ctl_mount *mount, long pid, struct pool_message *msg)
{
	return fail(
		msg, DFS_ETIMEDOUT,
		"%s %s, but its daemon (process %ld) is stopped (by SIGSTOP, a terminal or a debugger): what "
		"is not stored yet is only in its memory. Let it go on: kill -CONT %ld; then it stores "
		"everything and ends, and 'dynamicfs unmount --pool %s' waits for that; disks must "
		"stay until then",
		mount->mountpoint, is_there(mount) ? "is still there" : "is unmounted", pid, pid,
		mount->pool_dir);
}

/* Waits for the daemon's end. 0: look at what it left in *lease. */
static int wait_for_end(const struct ctl_mount *mount, const struct daemon_unmount_options *opt,
			struct lease_view *lease, struct pool_message *msg)
{
	uint64_t limit_ms = opt->timeout_ms ? opt->timeout_ms : TIMEOUT_MS_DEFAULT;
	uint64_t start_ns = env_now_ns(), waited_ms, look_ms = LOOK_MS;
	unsigned stopped = 0;

	for (;;) {
		waited_ms = (env_now_ns() - start_ns) / 1000000;
		if (waited_ms >= look_ms && !child_dir_answers(mount->pool_dir, "mounted"))
			return fail(
				msg, DFS_ETIMEDOUT,
				"%s is unmounted, but the pool directory %s does not answer: whether all is "
				"stored can't be told before it does; disks must stay until then",
				mount->mountpoint, mount->pool_dir);
		lease_look(mount->pool_dir, lease);
		if (!lease->held)
			return 0;
		if (waited_ms >= look_ms) {
			stopped = ctl_is_stopped(lease->pid) ? stopped + 1 : 0;
			look_ms = waited_ms + LOOK_MS;
		}
		if (stopped == STOPPED_LOOKS)
			return say_stopped(mount, lease->pid, msg);
		if (!lease->ending && !opt->force && waited_ms >= NOTICE_MS)
			return fail(
				msg, DFS_EBUSY,
				"%s is unmounted, but its daemon (process %ld) still serves the "
				"pool: it is mounted in another place, too, or files are open that "
				"a lazy unmount left behind; disks must stay until it has ended",
				mount->mountpoint, lease->pid);
		if (waited_ms >= limit_ms)
			return fail(
				msg, DFS_ETIMEDOUT,
				"%s is unmounted, but the daemon (process %ld) is still storing "
				"data; wait for it before disks are removed",
				mount->mountpoint, lease->pid);
		env_sleep_ms(POLL_MS);
	}
}

/*
 * The daemon can't store anything, nor end, before the pool directory answers again, so nothing is done
 * unless that is wanted.
 */
static int unmount_silent(const struct ctl_mount *mount, bool force, struct pool_message *msg)
{
	int err;

	if (!force)
		return fail(
			msg, DFS_ETIMEDOUT,
			"cannot unmount %s: the pool directory %s does not answer, and its index is "
			"needed to store what is not stored yet; nothing was done; check the "
			"filesystem that it is on, or take the mount away with --force",
			mount->mountpoint, mount->pool_dir);
	err = take_away(mount, true);
	if (err)
		return complain(err, mount->mountpoint, msg);
	return fail(
		msg, DFS_ETIMEDOUT,
		"%s was taken away, but the pool directory %s does not answer: the daemon can't "
		"store what is not stored yet before it does, and ends then; what was synced is "
		"safe on the disks",
		mount->mountpoint, mount->pool_dir);
}

/* The mount is gone: what its daemon says at its end tells, or what it leaves behind. */
static int wait_and_tell(const struct daemon_unmount_options *opt, const struct ctl_mount *mount,
			 int watch, struct pool_message *msg)
{
	struct lease_view lease;
	int err = wait_for_end(mount, opt, &lease, msg);

	if (!err)
		(void)ctl_watch_result(watch, RESULT_MS, &lease.outcome, lease.text,
				       sizeof(lease.text));
	if (!err && lease.outcome)
		err = fail(msg, DFS_EIO, "%s is unmounted, but %s", mount->mountpoint,
			   lease.text[0] ? lease.text : dfs_err_text(lease.outcome));
	else if (!err && lease.text[0])
		(void)fail(msg, 0, "%s is unmounted: %s", mount->mountpoint, lease.text);
	return err;
}

/* was_held: its daemon was there when we came. */
static int unmount_watched(const struct daemon_unmount_options *opt, const struct ctl_mount *mount,
			   int watch, bool was_held, struct pool_message *msg)
{
	struct ctl_mount other = {0};
	struct lease_view lease;
	bool alive, asked;
	int err;

	lease_look(mount->pool_dir, &lease);
	alive = daemon_serves(mount, &lease);
	err = take_mount_away(mount, &lease, alive, opt->force, &asked, msg);
	if (err)
		return err;
	if (was_held && !lease.held) /* it has ended meanwhile, or died */
		return wait_and_tell(opt, mount, watch, msg);
	if (!alive)
		return fail(msg, 0, "%s: its daemon had died before; the mount was removed",
			    mount->mountpoint);
	if (!lease.held)
		return fail(msg, 0,
			    "%s: whether everything is stored can't be told, for %s/mounted is not "
			    "its daemon's; the daemon ends when it is",
			    mount->mountpoint, mount->pool_dir);
	/* A bind mount, or what it was made of. */
	if (!asked && ctl_mount_of_pool(mount->pool_dir, mount->dev, &other) == 0) {
		fail(msg, 0, "%s: the pool is still mounted at %s, so its daemon goes on",
		     mount->mountpoint, other.mountpoint);
		ctl_mount_release(&other);
		return 0;
	}
	return wait_and_tell(opt, mount, watch, msg);
}

static int unmount_found(const struct daemon_unmount_options *opt, const struct ctl_mount *mount,
			 struct pool_message *msg)
{
	struct lease_view lease;
	int watch, err;

	if (!child_dir_answers(mount->pool_dir, "mounted"))
		return unmount_silent(mount, opt->force, msg);
	lease_look(mount->pool_dir, &lease);
	watch = ctl_watch(mount->pool_dir);
	err = unmount_watched(opt, mount, watch, is_held(mount, &lease), msg);
	if (watch >= 0)
		close(watch);
	return err;
}

int daemon_unmount(const struct daemon_unmount_options *opt, char **ret_mountpoint,
		   struct pool_message *msg)
{
	struct ctl_mount mount = {0};
	bool gone = false;
	int err;

	msg->text[0] = '\0';
	err = opt->mountpoint ? find_mount(opt->mountpoint, opt->pool_dir, &mount, &gone, msg)
			      : find_mount_of_pool(opt->pool_dir, &mount, &gone, msg);
	if (!err)
		err = gone ? wait_and_tell(opt, &mount, -1, msg) : unmount_found(opt, &mount, msg);
	*ret_mountpoint = mount.mountpoint;
	free(mount.pool_dir);
	return err;
}
