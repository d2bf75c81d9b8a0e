/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the control socket. The socket is reached through an open directory
 * (/proc/self/fd/N/control.sock), so that a pool's path may be longer than a socket address. No locks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/child.h"
#include "ctl/call.h"

#define SEND_TIMEOUT_MS 10000
#define PATIENCE_MS 5000 /* then it is asked whether an answer can come at all */
/* A daemon that can answer says at once that it is there, unless all its connections are taken. */
#define PING_MS 20000u
#define WATCH_MS 2000u /* one that is stopped can't be watched */
#define LOOK_MS 1000u
#define STOPPED_LOOKS 3u /* in a row: a debugger stops a process for a moment, too */

struct ctl_dir {
	DIR *dir;
};

int ctl_dir_open(const char *pool_dir, struct ctl_dir **ret_dir, struct sockaddr_un *ret)
{
	DIR *dir = opendir(pool_dir);
	struct ctl_dir *d;

	if (!dir)
		return errno == EACCES ? DFS_EACCES : DFS_ENOTPOOL;
	d = xmalloc(sizeof(*d));
	d->dir = dir;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd(dir),
		 CTL_SOCKET_NAME);
	*ret_dir = d;
	return 0;
}

void ctl_dir_close(struct ctl_dir *d)
{
	if (d)
		closedir(d->dir);
	free(d);
}

int ctl_connect(const char *pool_dir, int *ret_fd)
{
	struct ctl_dir *dir;
	struct sockaddr_un addr;
	struct stat st;
	const struct timeval patience = {.tv_sec = SEND_TIMEOUT_MS / 1000};
	int socket_fd, fd, err = ctl_dir_open(pool_dir, &dir, &addr);

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		ctl_dir_close(dir);
		return DFS_EIO;
	}
	/* Not through a link: an order meant for this pool must not reach another one. */
	socket_fd = open(addr.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (socket_fd >= 0 && fstat(socket_fd, &st) == 0 && S_ISLNK(st.st_mode)) {
		close(socket_fd);
		close(fd);
		ctl_dir_close(dir);
		return DFS_ECORRUPT;
	}
	if (socket_fd >= 0)
		snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", socket_fd);
	/* Where more wait than the kernel's queue takes, connecting waits, too. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
		*ret_fd = fd;
	} else {
		err = errno == EACCES || errno == EPERM ? DFS_EACCES
		      : errno == EAGAIN			? DFS_ETIMEDOUT
							: DFS_ENOENT;
		close(fd);
	}
	if (socket_fd >= 0)
		close(socket_fd);
	ctl_dir_close(dir);
	return err;
}

/* The process that listens; 0: one that this one can't name. */
static long daemon_of(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

bool ctl_is_stopped(long pid)
{
	FREE char *path = xasprintf("/proc/%ld/status", pid);
	FILE *f = pid > 0 ? fopen(path, "re") : NULL;
	bool stopped = false;
	char line[256];
	char state;

	while (f && !stopped && fgets(line, sizeof(line), f))
		stopped = sscanf(line, "State: %c", &state) == 1 && (state == 'T' || state == 't');
	if (f)
		fclose(f);
	return stopped;
}

/* sent: the daemon has the order, or will find it. */
static int silent(struct ctl_answer *a, const char *pool_dir, const char *op, long pid, bool sent)
{
	const char *done = sent ? "whether the order was or will be carried out is not known"
				: "nothing was done";

	ctl_answer_release(a);
	a->error = DFS_ETIMEDOUT;
	if (ctl_is_stopped(pid))
		snprintf(
			a->message, sizeof(a->message),
			"cannot run '%s': the daemon of the pool %s (process %ld) does not answer, for it "
			"is stopped (by SIGSTOP, a terminal or a debugger); until it goes on its mount "
			"stands still and nothing is stored; %s; let it go on: kill -CONT %ld",
			op, pool_dir, pid, done, pid);
	else
		snprintf(
			a->message, sizeof(a->message),
			"cannot run '%s': the daemon of the pool %s (process %ld) does not answer, though "
			"it is not stopped: it is frozen, stuck, or has too much to do; %s; try again "
			"later, and see %s/log; if it stays so, kill it and mount again: what was synced "
			"is safe",
			op, pool_dir, pid, done, pool_dir);
	return a->error;
}

static int home_silent(struct ctl_answer *a, const char *pool_dir, const char *op)
{
	ctl_answer_release(a);
	snprintf(a->message, sizeof(a->message),
		 "cannot finish '%s': the pool directory %s does not answer, and the daemon "
		 "waits for it; whether the order was or will be carried out is not known; "
		 "check the filesystem that it is on",
		 op, pool_dir);
	return a->error = DFS_ETIMEDOUT;
}

static int send_request(int fd, const char *op, json_t *args)
{
	json_t *request = json_object();
	int err;

	json_object_set_new(request, "op", json_string(op));
	if (args)
		json_object_set(request, "args", args);
	err = wire_send(fd, request, SEND_TIMEOUT_MS);
	json_decref(request);
	return err;
}

/* What the daemon says that it waits for; "": nothing, or it can't be asked now. */
static void ask_awaited(const char *pool_dir, char *out, size_t size)
{
	struct ctl_answer a = {0};
	BUF frame = {0};
	int fd;

	out[0] = '\0';
	if (ctl_connect(pool_dir, &fd))
		return;
	if (!send_request(fd, "ping", NULL) && !wire_recv(fd, &frame, LOOK_MS) &&
	    !wire_answer_decode(frame.data, frame.len, &a))
		snprintf(out, size, "%s",
			 json_string_value(json_object_get(a.result, "awaited")) ?: "");
	ctl_answer_release(&a);
	close(fd);
}

/* D11. It is not waited for: that may be for ever. */
static int disks_silent(struct ctl_answer *a, const char *op, const char *disks)
{
	ctl_answer_release(a);
	snprintf(
		a->message, sizeof(a->message),
		"cannot finish '%s' now: these disks do not answer, and so many can't be missed at "
		"once: %s; what was begun goes on when they do, unless the daemon ends before; "
		"'dynamicfs status' tells what helps",
		op, disks);
	return a->error = DFS_ETIMEDOUT;
}

static int broken(struct ctl_answer *a, const char *op, int err)
{
	ctl_answer_release(a);
	a->error = err == DFS_EEND || err == DFS_EGONE ? DFS_EIO : err;
	if (a->error == DFS_EIO)
		snprintf(
			a->message, sizeof(a->message),
			"cannot finish '%s': the daemon ended before it answered; whether the order "
			"was carried out is not known; look with 'dynamicfs status'",
			op);
	else
		snprintf(a->message, sizeof(a->message),
			 "cannot finish '%s': talking to the daemon failed (%s); look with "
			 "'dynamicfs status'",
			 op, dfs_err_text(err));
	return a->error;
}

static void tell_progress(const void *data, size_t len)
{
	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	const char *text = json_string_value(json_object_get(root, "progress"));

	if (text)
		ctl_progress(text);
	json_decref(root);
}

/* What the daemon does may take long; but one whose pool directory hangs, or that is stopped, may never answer. */
static int wait_answer(int fd, struct ctl_answer *a, const char *pool_dir, const char *op)
{
	const struct ctl_op *what = ctl_op_find(op);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char disks[512];
	long pid = daemon_of(fd);
	unsigned stopped = 0;

	for (unsigned waited = LOOK_MS; poll(&p, 1, (int)LOOK_MS) <= 0; waited += LOOK_MS) {
		stopped = ctl_is_stopped(pid) ? stopped + 1 : 0;
		if (stopped == STOPPED_LOOKS)
			return silent(a, pool_dir, op, pid, true);
		if (what && ctl_op_may_wait(what) && waited % PATIENCE_MS == 0) {
			ask_awaited(pool_dir, disks, sizeof(disks));
			if (disks[0])
				return disks_silent(a, op, disks);
		}
		if (waited % PATIENCE_MS == 0 && !child_dir_answers(pool_dir, "pool.json"))
			return home_silent(a, pool_dir, op);
	}
	return 0;
}

int ctl_ping(int fd, const char *pool_dir, const char *op, struct ctl_answer *a)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	long pid = daemon_of(fd);
	unsigned stopped = 0;

	if (send_request(fd, "ping", NULL))
		return 0;
	for (unsigned waited = 0; poll(&p, 1, (int)LOOK_MS) <= 0;) {
		waited += LOOK_MS;
		stopped = ctl_is_stopped(pid) ? stopped + 1 : 0;
		if (stopped == STOPPED_LOOKS || waited >= PING_MS)
			return silent(a, pool_dir, op, pid, false);
	}
	return 0;
}

int ctl_request(int fd, const char *pool_dir, const char *op, json_t *args, struct ctl_answer *a)
{
	BUF frame = {0};
	int err = send_request(fd, op, args);

	/* A daemon that refuses closes after its answer: the answer may be there all the same. */
	if (err && err != DFS_EGONE)
		return broken(a, op, err);
	do {
		err = wait_answer(fd, a, pool_dir, op);
		if (err)
			return err;
		err = wire_recv(fd, &frame, 0);
		if (!err)
			err = wire_answer_decode(frame.data, frame.len, a);
		if (err == 1)
			tell_progress(frame.data, frame.len);
	} while (err == 1);
	return err ? broken(a, op, err) : a->error;
}

/* ---- watching for the end ---- */

int ctl_watch(const char *pool_dir)
{
	struct ctl_answer a = {0};
	BUF frame = {0};
	int fd, err;

	if (ctl_connect(pool_dir, &fd))
		return -1;
	err = send_request(fd, CTL_WATCH_END, NULL);
	if (!err)
		err = wire_recv(fd, &frame, WATCH_MS);
	if (!err)
		err = wire_answer_decode(frame.data, frame.len, &a);
	ctl_answer_release(&a);
	if (err == 1)
		return fd;
	close(fd);
	return -1;
}

bool ctl_watch_result(int fd, unsigned timeout_ms, int *ret_outcome, char *text, size_t size)
{
	struct ctl_answer a = {0};
	BUF frame = {0};
	bool told;

	told = fd >= 0 && wire_recv(fd, &frame, timeout_ms) == 0 &&
	       wire_answer_decode(frame.data, frame.len, &a) == 0;
	if (told) {
		*ret_outcome = a.error;
		snprintf(text, size, "%s", a.message);
	}
	ctl_answer_release(&a);
	return told;
}
