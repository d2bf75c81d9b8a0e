/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `mount`: checks, then a child that becomes the daemon. Its first word comes through a
 * pipe: that the filesystem answers, or why it can't. The child is made before anything that has
 * threads, for a process with threads must not fork. No locks.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/env.h"
#include "base/log.h"
#include "base/owner.h"
#include "ctl/ctl.h"
#include "daemon/internal.h"

#define ENDING_PATIENCE_MS 120000
#define MOMENT_MS 2000
#define POLL_MS 20

struct first_word {
	int err;
	struct pool_message msg;
};
_Static_assert(sizeof(struct first_word) <= 4096, "a pipe takes it in one piece");

/* The terminal belongs to whoever called. */
static void leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR);

	logfile_quiet();
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static void report_to_parent(void *ctx, int err, const struct pool_message *msg)
{
	struct first_word word = {.err = err, .msg = *msg};
	int fd = *(int *)ctx;

	leave_terminal();
	if (write(fd, &word, sizeof(word)) != (ssize_t)sizeof(word))
		log_warn("cannot tell the mount command how it went: %s", strerror(errno));
	close(fd);
}

static void report_to_person(void *ctx, int err, const struct pool_message *msg)
{
	(void)ctx;
	(void)err;
	(void)msg; /* the log, which is on stderr, has said it */
}

static int be_daemon(struct serve_config *cfg, int fd, struct pool_message *msg)
{
	int err;

	setsid();
	if (chdir("/") != 0)
		log_warn("cannot change to the root directory: %s", strerror(errno));
	owner_act_for_pool(cfg->pool_dir);
	logfile_open(cfg->pool_dir, false);
	cfg->report = report_to_parent;
	cfg->ctx = &fd;
	err = serve(cfg, msg);
	logfile_close();
	return err;
}

static int wait_for_child(pid_t pid, int fd, const char *pool_dir, struct pool_message *msg)
{
	struct first_word word;
	ssize_t n;
	int status;

	do
		n = read(fd, &word, sizeof(word));
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == (ssize_t)sizeof(word)) {
		*msg = word.msg;
		/* One that failed is ending; its lock should be gone when the caller tries again. */
		if (word.err)
			waitpid(pid, &status, 0);
		return word.err;
	}
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		return fail(msg, DFS_EIO,
			    "cannot mount the pool %s: the daemon died of signal %d before the "
			    "filesystem answered; see %s/log",
			    pool_dir, WTERMSIG(status), pool_dir);
	return fail(msg, DFS_EIO,
		    "cannot mount the pool %s: the daemon ended before the filesystem answered; "
		    "see %s/log",
		    pool_dir, pool_dir);
}

static int mount_in_background(struct serve_config *cfg, struct pool_message *msg)
{
	struct pool_message child_msg = *msg;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return fail(msg, DFS_EIO, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL); /* or both would write what stdio holds */
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return fail(msg, DFS_EIO, "cannot start the daemon: %s", strerror(errno));
	}
	if (pid == 0) {
		close(fds[0]);
		exit(be_daemon(cfg, fds[1], &child_msg) ? 1 : 0);
	}
	close(fds[1]);
	return wait_for_child(pid, fds[0], cfg->pool_dir, msg);
}

static int mount_in_foreground(struct serve_config *cfg, struct pool_message *msg)
{
	int err;

	owner_act_for_pool(cfg->pool_dir);
	logfile_open(cfg->pool_dir, true);
	cfg->report = report_to_person;
	err = serve(cfg, msg);
	logfile_close();
	return err;
}

/* A directory that is no pool must stay as it is: not even a log is made there. */
static int check_pool_dir(const char *pool_dir, struct pool_message *msg)
{
	FREE char *path = xasprintf("%s/pool.json", pool_dir);

	if (!child_dir_answers(pool_dir, "pool.json"))
		return fail(msg, DFS_ETIMEDOUT,
			    "cannot mount the pool: its directory %s does not answer; nothing was "
			    "done; check the filesystem that it is on",
			    pool_dir);
	if (access(path, F_OK) == 0)
		return 0;
	if (errno == EACCES)
		return fail(
			msg, DFS_EACCES,
			"cannot mount %s: permission denied; nothing was done; mount it as root, or as "
			"the user who made the pool",
			pool_dir);
	return fail(msg, DFS_ENOTPOOL,
		    "cannot mount %s: it is not a pool (%s: %s); nothing was done; make one with "
		    "'dynamicfs init', or rebuild it from its disks with 'dynamicfs import'",
		    pool_dir, path, strerror(errno));
}

/*
 * A daemon whose mount was just taken away (umount; mount) is waited for. Between the two there is a
 * moment in which it doesn't know yet, hence the patience when its mount can't be found.
 */
static int wait_for_former(const char *pool_dir, struct pool_message *msg)
{
	uint64_t start_ns = env_now_ns(), waited_ms;
	struct ctl_mount mount;
	struct lease_view lease;
	bool there;

	for (;;) {
		lease_look(pool_dir, &lease);
		if (!lease.held)
			return 0;
		waited_ms = (env_now_ns() - start_ns) / 1000000;
		there = !lease.ending && ctl_mount_of(lease.mountpoint, &mount) == 0;
		if (there) {
			there = strcmp(mount.pool_dir, pool_dir) == 0;
			ctl_mount_release(&mount);
		}
		if (there || waited_ms >= (lease.ending ? ENDING_PATIENCE_MS : MOMENT_MS))
			return fail(msg, DFS_ELOCKED,
				    "cannot mount the pool %s: %s%s%s; nothing was done", pool_dir,
				    lease.ending ? "it was just unmounted, and is still storing"
						 : "it is mounted already",
				    lease.mountpoint[0] ? ", at " : "", lease.mountpoint);
		env_sleep_ms(POLL_MS);
	}
}

static int check_and_mount(const struct mount_options *options, const char *pool_dir,
			   const char *mountpoint, struct pool_message *msg)
{
	struct serve_config cfg = {
		.pool_dir = pool_dir, .mountpoint = mountpoint, .options = options};
	int err = check_pool_dir(pool_dir, msg);

	if (err)
		return err;
	err = wait_for_former(pool_dir, msg);
	if (err)
		return err;
	err = mountpoint_check(mountpoint, pool_dir, msg);
	if (err)
		return err;
	return options->foreground ? mount_in_foreground(&cfg, msg)
				   : mount_in_background(&cfg, msg);
}

int daemon_mount(const struct daemon_options *opt, struct pool_message *msg)
{
	FREE char *pool_dir = NULL;
	FREE char *mountpoint = NULL;
	struct mount_options options;
	int err;

	msg->text[0] = '\0';
	log_set_level(opt->verbose ? LOG_DEBUG : LOG_INFO);
	pool_dir = path_absolute(opt->pool_dir);
	if (!pool_dir)
		return fail(msg,
			    errno == ENOENT	 ? DFS_ENOTPOOL
			    : errno == ETIMEDOUT ? DFS_ETIMEDOUT
						 : DFS_EACCES,
			    "cannot mount the pool %s: %s", opt->pool_dir,
			    errno == ETIMEDOUT ? "its directory does not answer; check the "
						 "filesystem that it is on"
					       : strerror(errno));
	mountpoint = path_absolute(opt->mountpoint);
	if (!mountpoint)
		return fail(msg, errno == ENOENT ? DFS_ENOENT : DFS_EACCES,
			    "cannot mount at %s: %s%s", opt->mountpoint, strerror(errno),
			    errno == ENOENT ? "; make the directory first" : "");
	err = mount_options_parse(opt, &options, msg);
	if (!err && options.remount)
		err = remount(&options, pool_dir, mountpoint, msg);
	else if (!err)
		err = check_and_mount(&options, pool_dir, mountpoint, msg);
	mount_options_release(&options);
	return err;
}
