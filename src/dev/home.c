/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can a pool live in this directory? Asked when one is made, so that it is refused with the reason, and
 * when opening one has failed, for what RocksDB and the kernel say then ("IO error", EINVAL) explains
 * nothing. Knows nothing of what is in a pool directory. No locks, no state.
 */
#include "dev/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096u

struct attempt {
	int dir_fd, fd;
	char one[32], two[32]; /* names in the directory */
};

static int try_write(struct attempt *a)
{
	static const char page[PAGE];

	a->fd = openat(a->dir_fd, a->one, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (a->fd < 0)
		return errno;
	errno = EIO;
	return pwrite(a->fd, page, sizeof(page), 0) == (ssize_t)sizeof(page) ? 0 : errno;
}

static int try_sync(struct attempt *a) { return fsync(a->fd) ? errno : 0; }

static int try_map(struct attempt *a)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, a->fd, 0);

	if (p == MAP_FAILED)
		return errno;
	(void)munmap(p, PAGE);
	return 0;
}

static int try_flock(struct attempt *a) { return flock(a->fd, LOCK_EX | LOCK_NB) ? errno : 0; }

static int try_lock(struct attempt *a)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(a->fd, F_SETLK, &whole) ? errno : 0;
}

/* RocksDB's own images fall back to copies where links are not known at all, else they fail. */
static int try_link(struct attempt *a)
{
	if (linkat(a->dir_fd, a->one, a->dir_fd, a->two, 0) == 0)
		return 0;
	return errno == EXDEV || errno == ENOTSUP ? 0 : errno;
}

static int try_rename(struct attempt *a)
{
	return renameat(a->dir_fd, a->one, a->dir_fd, a->two) ? errno : 0;
}

static int try_socket(struct attempt *a)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), e;

	if (fd < 0)
		return errno;
	(void)unlinkat(a->dir_fd, a->two, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", a->dir_fd, a->two);
	e = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) ? errno : 0;
	close(fd);
	return e;
}

static const struct {
	int (*fn)(struct attempt *a);
	const char *what;
} attempts[] = {
	{try_write, "create and write files"},	   {try_sync, "make files durable"},
	{try_map, "map files into memory"},	   {try_flock, "lock files with flock(2)"},
	{try_lock, "lock files with fcntl(2)"},	   {try_link, "make hard links"},
	{try_rename, "replace files by renaming"}, {try_socket, "hold a socket"},
};

static int explain(int e, const char *what, const char *dir, char *why, size_t why_len)
{
	switch (e) {
	case EROFS:
		snprintf(why, why_len, "its filesystem is mounted read-only");
		return DFS_EROFS;
	case ENOSPC:
	case EDQUOT:
		snprintf(
			why, why_len,
			"its filesystem is full (or out of inodes, or your quota there is used up)");
		return DFS_ENOSPC;
	case EACCES:
	case EPERM: /* it is immutable */
		snprintf(why, why_len, "permission denied in %s", dir);
		return DFS_EACCES;
	case EMFILE:
	case ENFILE:
		snprintf(why, why_len, "too many files are open; raise the limit (ulimit -n)");
		return DFS_EBUSY;
	default:
		snprintf(
			why, why_len,
			"its filesystem can't %s (%s): a pool directory needs a local filesystem such "
			"as ext4, XFS or Btrfs",
			what, strerror(e));
		return e == EIO ? DFS_EIO : DFS_ENOTSUP;
	}
}

static int check_space(int dir_fd, uint64_t bytes, char *why, size_t why_len)
{
	struct statvfs v;

	if (fstatvfs(dir_fd, &v) != 0 || v.f_blocks == 0)
		return 0; /* it doesn't say: then the attempts tell */
	if (v.f_flag & ST_RDONLY)
		return explain(EROFS, "", "", why, why_len);
	if ((uint64_t)v.f_bavail * v.f_frsize >= bytes)
		return 0;
	snprintf(why, why_len, "only %llu KiB are free on its filesystem, and %llu MiB are needed",
		 (unsigned long long)v.f_bavail * v.f_frsize / 1024,
		 (unsigned long long)bytes >> 20);
	return DFS_ENOSPC;
}

int home_check(const char *dir, uint64_t bytes, char *why, size_t why_len)
{
	struct attempt a = {.fd = -1};
	int err, e = 0;

	a.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a.dir_fd < 0)
		return explain(errno, "be opened", dir, why, why_len);
	snprintf(a.one, sizeof(a.one), ".try-%ld", (long)getpid());
	snprintf(a.two, sizeof(a.two), ".try-%ld.2", (long)getpid());
	err = check_space(a.dir_fd, bytes, why, why_len);
	for (size_t i = 0; !err && i < ARRAY_SIZE(attempts); i++) {
		e = attempts[i].fn(&a);
		if (e)
			err = explain(e, attempts[i].what, dir, why, why_len);
	}
	if (a.fd >= 0)
		close(a.fd);
	(void)unlinkat(a.dir_fd, a.one, 0);
	(void)unlinkat(a.dir_fd, a.two, 0);
	close(a.dir_fd);
	return err;
}
