/* SPDX-License-Identifier: Apache-2.0 */
/* Questions asked by a child process, which is left behind when it hangs. No locks. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"

struct reply {
	int err;
	char text[PATH_MAX];
};
_Static_assert(sizeof(struct reply) <= 65536, "a pipe takes it without a reader");

/* Nothing of the caller's is kept: a reader of its output must not wait for this one's end. Nothing is
 * allocated, either: another thread may have held the allocator's locks at the fork. */
static void be_child(child_fn fn, const char *path, struct reply *r, int fd)
{
	int null = open("/dev/null", O_RDWR);

	for (int i = STDIN_FILENO; i <= STDERR_FILENO && null >= 0; i++)
		dup2(null, i);
	if (chdir("/proc") != 0) /* nor is its working directory kept busy */
		_exit(1);
	r->err = fn(path, r->text, sizeof(r->text));
	_exit(write(fd, r, sizeof(*r)) == (ssize_t)sizeof(*r) ? 0 : 1);
}

static int receive(int fd, struct reply *r, unsigned timeout_ms)
{
	uint64_t end_ns = env_now_ns() + timeout_ms * 1000000ull;
	size_t got = 0;

	while (got < sizeof(*r)) {
		uint64_t now = env_now_ns();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (now >= end_ns)
			return DFS_ETIMEDOUT;
		if (poll(&p, 1, (int)((end_ns - now) / 1000000) + 1) <= 0)
			continue;
		n = read(fd, (char *)r + got, sizeof(*r) - got);
		if (n <= 0)
			return DFS_EIO;
		got += (size_t)n;
	}
	return 0;
}

int child_ask(child_fn fn, const char *path, unsigned timeout_ms, char *out, size_t room)
{
	FREE struct reply *r = xcalloc(1, sizeof(*r));
	int fds[2], err;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return DFS_EIO;
	pid = fork();
	if (pid == 0)
		be_child(fn, path, r, fds[1]);
	close(fds[1]);
	if (pid < 0) { /* no process to be had: then by this one */
		close(fds[0]);
		return fn(path, out, room);
	}
	err = receive(fds[0], r, timeout_ms);
	close(fds[0]);
	if (err)
		(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, err ? WNOHANG : 0);
	if (err)
		return err;
	if (!r->err)
		snprintf(out, room, "%s", r->text);
	return r->err;
}

/* The errno as its answer: DFS_ codes are negative. */
static int ask_realpath(const char *path, char *out, size_t room)
{
	char real[PATH_MAX];
	size_t len;

	if (!realpath(path, real))
		return errno;
	len = strlen(real) + 1;
	if (len > room)
		return ENAMETOOLONG;
	memcpy(out, real, len);
	return 0;
}

char *child_realpath(const char *path)
{
	char out[PATH_MAX];
	int err;
	FREE char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);
	FREE char *whole = cwd ? xasprintf("%s/%s", cwd, path) : xstrdup(path);

	err = child_ask(ask_realpath, whole, CHILD_PATIENCE_MS, out, sizeof(out));
	if (!err)
		return xstrdup(out);
	errno = err > 0 ? err : err == DFS_ETIMEDOUT ? ETIMEDOUT : EIO;
	return NULL;
}

static int ask_file(const char *path, char *out, size_t room)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	(void)out;
	(void)room;
	if (fd >= 0) {
		char c;

		(void)!read(fd, &c, 1);
		close(fd);
	}
	return 0;
}

bool child_dir_answers(const char *dir, const char *name)
{
	FREE char *path = xasprintf("%s/%s", dir, name);
	char out[1];

	return child_ask(ask_file, path, CHILD_PATIENCE_MS, out, sizeof(out)) != DFS_ETIMEDOUT;
}

/* ---- programs ---- */

#define ASK_CHILD_MS 20u
#define KILLED_MS 200u /* what has ended by then leaves nothing behind */

extern char **environ;

/* With the signals' masks and actions that a program expects. */
static int spawn(const char *const *argv, pid_t *ret_pid)
{
	static const char *const dirs[] = {"", "/usr/sbin/"};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err = ENOENT;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&files);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(dirs) && err == ENOENT; i++) {
		FREE char *path = xasprintf("%s%s", dirs[i], argv[0]);

		err = posix_spawnp(ret_pid, path, &files, &attr, (char *const *)(uintptr_t)argv,
				   environ);
	}
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return err ? DFS_ENOENT : 0;
}

/* False: it has not ended within the time. */
static bool has_ended(pid_t pid, unsigned timeout_ms, const atomic_bool *stop, int *ret_status)
{
	for (unsigned ms = 0;; ms += ASK_CHILD_MS) {
		if (waitpid(pid, ret_status, WNOHANG) != 0)
			return true;
		if (ms >= timeout_ms || (stop && atomic_load(stop)))
			return false;
		env_sleep_ms(ASK_CHILD_MS);
	}
}

int child_run(const char *const *argv, unsigned timeout_ms, const atomic_bool *stop,
	      int *ret_status, int *left)
{
	int status = 0;
	pid_t pid;

	if (*left && !has_ended(*left, 0, NULL, &status))
		return DFS_EBUSY;
	*left = 0;
	if (spawn(argv, &pid))
		return DFS_ENOENT;
	if (!has_ended(pid, timeout_ms, stop, &status)) {
		(void)kill(pid, SIGKILL);
		if (!has_ended(pid, KILLED_MS, NULL, &status))
			*left = pid;
		return DFS_ETIMEDOUT;
	}
	if (!WIFEXITED(status))
		return DFS_ENOENT;
	*ret_status = WEXITSTATUS(status);
	return 0;
}
