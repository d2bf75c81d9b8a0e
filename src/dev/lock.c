/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of a pool directory: flock on DIR/lock, which also holds the owner's process id. */
#include "dev/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/types.h"

struct dir_lock {
	int fd;
};

static int lock_error(int e)
{
	if (e == EWOULDBLOCK)
		return DFS_ELOCKED;
	return e == ENOTDIR ? DFS_ENOENT : dfs_err_from_errno(e);
}

static long owner_pid(int fd)
{
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return strtol(text, NULL, 10);
}

static int take(const char *dir, int flags, struct dir_lock **ret_lock, long *ret_pid)
{
	FREE char *path = xasprintf("%s/lock", dir);
	int fd, err;

	*ret_pid = 0;
	fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return lock_error(errno);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		err = lock_error(errno);
		*ret_pid = owner_pid(fd);
		close(fd);
		return err;
	}
	*ret_lock = xmalloc(sizeof(**ret_lock));
	(*ret_lock)->fd = fd;
	return 0;
}

int dir_lock_take(const char *dir, struct dir_lock **ret_lock, long *ret_pid)
{
	char text[32];
	int len, err = take(dir, O_RDWR | O_CREAT, ret_lock, ret_pid);

	if (err)
		return err;
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	/* the id only helps messages: the lock holds without it */
	if (ftruncate((*ret_lock)->fd, 0) != 0 ||
	    pwrite((*ret_lock)->fd, text, (size_t)len, 0) != len)
		*ret_pid = 0;
	return 0;
}

int dir_lock_take_as_it_is(const char *dir, struct dir_lock **ret_lock, long *ret_pid)
{
	int err = take(dir, O_RDONLY, ret_lock, ret_pid);

	if (err != DFS_ENOENT)
		return err;
	*ret_lock = NULL;
	return 0;
}

void dir_lock_release(struct dir_lock *l)
{
	if (!l)
		return;
	close(l->fd);
	free(l);
}
