/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unmounting a path: by the system call, which root may use, or by fusermount3, which lets users
 * unmount what they have mounted. No locks.
 */
#include "fuse/session.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"

extern char **environ;

/* What fusermount3 says goes to text (cut to its size). False when it could not be run. */
static bool run_helper(const char *mountpoint, bool lazy, char *text, size_t text_size,
		       int *ret_status)
{
	const char *argv[] = {"fusermount3",
			      "-u",
			      lazy ? "-z" : "--",
			      lazy ? "--" : mountpoint,
			      lazy ? mountpoint : NULL,
			      NULL};
	posix_spawn_file_actions_t actions;
	size_t len = 0;
	ssize_t n;
	pid_t pid;
	int fds[2];
	int failed;

	if (pipe(fds) != 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	posix_spawn_file_actions_addclose(&actions, fds[0]);
	failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while (!failed && len < text_size - 1 &&
	       (n = read(fds[0], text + len, text_size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	return !failed && waitpid(pid, ret_status, 0) == pid;
}

static int unmount_by_helper(const char *mountpoint, bool lazy)
{
	char text[256];
	int status;

	if (!run_helper(mountpoint, lazy, text, sizeof(text), &status)) {
		log_error("cannot unmount %s: fusermount3 can't be run: %s; install fuse3",
			  mountpoint, strerror(errno));
		return DFS_EPERM;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (strstr(text, "busy"))
		return DFS_EBUSY;
	log_debug("fusermount3: %s", text);
	return strstr(text, "not found") ? DFS_EINVAL : DFS_EPERM;
}

int session_unmount_path(const char *mountpoint, bool lazy)
{
	if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	switch (errno) {
	case EBUSY:
		return DFS_EBUSY;
	case EINVAL:
	case ENOENT:
		return DFS_EINVAL;
	case EPERM:
		return unmount_by_helper(mountpoint, lazy);
	default:
		log_error("cannot unmount %s: %s", mountpoint, strerror(errno));
		return DFS_EIO;
	}
}
