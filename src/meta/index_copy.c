/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of the index in a scratch directory. SCRATCH/dynamicfs-fsck-XXXXXX is locked (flock) while it is in use. No locks else. */
#include "meta/index_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "meta/index_dir.h"

#define PREFIX "dynamicfs-fsck-"
#define PIECE_BYTES MIB(1)

struct index_copy {
	char *top, *index;
	int fd; /* of top: its lock */
};

static int error_of(int e) { return e == ENOENT || e == ENOTDIR ? DFS_ENOENT : index_dir_error(e); }

/* ---- removing ---- */

static void remove_top(const char *top, int fd)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		FREE char *path = xasprintf("%s/%s", top, e->d_name);

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) != 0)
			index_dir_remove(path);
	}
	if (d)
		closedir(d);
	if (rmdir(top) != 0 && errno != ENOENT)
		log_warn("cannot remove %s: %s; remove it yourself", top,
			 dfs_err_text(error_of(errno)));
}

/* Ours, and nobody has it. -1: no. */
static int take_left(const char *top)
{
	int fd = open(top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
	    flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Copies whose processes died. */
static void sweep(const char *scratch)
{
	DIR *d = opendir(scratch);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		FREE char *top = xasprintf("%s/%s", scratch, e->d_name);
		int fd;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		fd = take_left(top);
		if (fd < 0)
			continue;
		remove_top(top, fd);
		close(fd);
	}
	if (d)
		closedir(d);
}

/* ---- copying ---- */

/* A file of the index, opened without noting that it was read. */
static int open_file(int dir, const char *name)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(dir, name, flags | O_NOATIME);

	return fd < 0 && errno == EPERM ? openat(dir, name, flags) : fd;
}

static int copy_bytes(int from, int to)
{
	FREE uint8_t *buf = NULL;
	ssize_t n;

	while ((n = copy_file_range(from, NULL, to, NULL, PIECE_BYTES, 0)) > 0)
		;
	if (n == 0)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
		return error_of(errno);
	buf = xmalloc(
		PIECE_BYTES); /* the filesystems can't: both places stand at what was copied */
	while ((n = read(from, buf, PIECE_BYTES)) > 0)
		for (ssize_t at = 0, done; at < n; at += done) {
			done = write(to, buf + at, (size_t)(n - at));
			if (done < 0)
				return error_of(errno);
		}
	return n < 0 ? error_of(errno) : 0;
}

/* to < 0: only counts. */
static int copy_file(int dir, const char *name, int to, uint64_t *bytes)
{
	int fd = open_file(dir, name), out, err = 0;
	struct stat st;

	if (fd < 0)
		return errno == ELOOP ? 0 : error_of(errno);
	if (fstat(fd, &st) != 0) {
		err = error_of(errno);
	} else if (S_ISREG(st.st_mode)) {
		*bytes += (uint64_t)st.st_size;
		out = to < 0 ? -1 : openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (to >= 0)
			err = out < 0 ? error_of(errno) : copy_bytes(fd, out);
		if (out >= 0)
			close(out);
	}
	close(fd);
	return err;
}

static int each_file(int dir, int to, uint64_t *ret_bytes)
{
	int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *d = again < 0 ? NULL : fdopendir(again);
	struct dirent *e;

	if (!d)
		return error_of(errno);
	*ret_bytes = 0;
	while (!err && (e = readdir(d)))
		if (e->d_name[0] != '.')
			err = copy_file(dir, e->d_name, to, ret_bytes);
	closedir(d);
	return err;
}

static int copy_index(struct index_copy *c, int from, uint64_t *ret_bytes)
{
	struct statvfs v;
	int to, err = each_file(from, -1, ret_bytes);

	if (err)
		return err;
	if (fstatvfs(c->fd, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < *ret_bytes)
		return DFS_ENOSPC;
	if (mkdir(c->index, 0700) != 0)
		return error_of(errno);
	to = open(c->index, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return error_of(errno);
	err = each_file(from, to, ret_bytes);
	close(to);
	return err;
}

/* That it is not to be trusted goes along. */
static int copy_mark(struct index_copy *c, const char *from)
{
	FREE char *mark = xasprintf("%s.damaged", from), *to = xasprintf("%s.damaged", c->index);
	int fd;

	if (access(mark, F_OK) != 0)
		return 0;
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_of(errno);
	close(fd);
	return 0;
}

int index_copy_make(const char *from, const char *scratch, struct index_copy **ret,
		    uint64_t *ret_bytes)
{
	struct index_copy *c = xcalloc(1, sizeof(*c));
	int dir, err = 0;

	*ret_bytes = 0;
	sweep(scratch);
	c->top = xasprintf("%s/" PREFIX "XXXXXX", scratch);
	c->index = NULL;
	c->fd = -1;
	if (!mkdtemp(c->top)) {
		err = error_of(errno);
		free(c->top);
		free(c);
		return err;
	}
	c->index = xasprintf("%s/index", c->top);
	c->fd = open(c->top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (c->fd < 0 || flock(c->fd, LOCK_EX | LOCK_NB) != 0)
		err = error_of(errno);
	dir = err ? -1 : open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0) {
		err = copy_index(c, dir, ret_bytes);
		close(dir);
	} else if (!err && errno != ENOENT) {
		err = error_of(errno);
	}
	if (!err)
		err = copy_mark(c, from);
	if (err) {
		index_copy_free(c);
		return err;
	}
	*ret = c;
	return 0;
}

const char *index_copy_dir(const struct index_copy *c) { return c->index; }

void index_copy_free(struct index_copy *c)
{
	if (!c)
		return;
	if (c->fd >= 0) {
		remove_top(c->top, c->fd);
		close(c->fd);
	}
	free(c->index);
	free(c->top);
	free(c);
}
