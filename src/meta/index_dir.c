/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that the live index lies in, as files: is it where it was, and can it be written; its marks; its
 * frozen image; making it anew from what the disks have. Knows RocksDB's names of files, and nothing else of it.
 *
 * Beside DIR: DIR.image (hard links of a flushed state, while a checkpoint is stored), DIR.restore (an
 * index being restored; renamed to DIR when whole), DIR.damaged (a mark), DIR.room (no bytes, but space: C5). This is the pool directory, not a disk: it is
 * rebuildable (P5), so plain files do. No locks, no state.
 */
#include "meta/index_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"

#define HELD_SPARE_BYTES MIB(1) /* is left for small files when room is set aside */
#define WARM_STEP_BYTES KIB(128)
#define WARM_BYTES MIB(256) /* of table files, asked for when the index is opened */

/* Whoever opens or restores an index tells these apart; the rest is all one to him. */
static int err_from_errno(int e)
{
	int err = dfs_err_from_errno(e);

	return err == DFS_ENOENT || err == DFS_ENOSPC || err == DFS_EROFS || err == DFS_EACCES
		       ? err
		       : DFS_EIO;
}

/* Of the index that is open: what is not found is gone. */
int index_dir_error(int e) { return e == ENOENT || e == ENOTDIR ? DFS_EGONE : err_from_errno(e); }

void index_dir_remove(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d && fd < 0 && errno != ENOENT)
		(void)unlink(path); /* a link or a file: not what it points to */
	if (!d)
		return;
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			unlinkat(dirfd(d), de->d_name, 0);
	}
	closedir(d);
	if (rmdir(path) < 0)
		log_error("cannot remove the index directory %s: %s", path, strerror(errno));
}

static int fsync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return err_from_errno(errno);
	if (fsync(fd) < 0)
		err = err_from_errno(errno);
	close(fd);
	return err;
}

static int fsync_parent(const char *path)
{
	FREE char *parent = xstrdup(path);
	char *slash = strrchr(parent, '/');

	if (!slash)
		return fsync_path(".");
	*slash = '\0';
	return fsync_path(*parent ? parent : "/");
}

void index_dir_condemn(const char *dir, const char *why)
{
	FREE char *mark = xasprintf("%s.damaged", dir);
	int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	log_error("the metadata index %s is damaged (%s): it is marked, and the next start "
		  "restores it from the disks",
		  dir, why);
	if (fd < 0) {
		log_error("cannot create the mark %s: %s; remove the directory %s by hand before "
			  "the next start",
			  mark, strerror(errno), dir);
		return;
	}
	fsync(fd);
	close(fd);
}

int index_dir_look(const char *dir, const struct stat *was)
{
	FREE char *current = xasprintf("%s/CURRENT", dir);
	struct stat st;

	if (lstat(dir, &st) < 0)
		return index_dir_error(errno);
	if (st.st_dev != was->st_dev || st.st_ino != was->st_ino)
		return DFS_EGONE;
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) < 0)
		return index_dir_error(errno);
	return lstat(current, &st) < 0 ? index_dir_error(errno) : 0;
}

/* Can a file be made there, and, unless bytes is 0, be so large and durable? An errno: statvfs knows nothing of
 * quotas and of errors. */
int index_dir_try(const char *path, uint64_t bytes)
{
	static const char block[4096];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), e = 0;

	if (fd < 0)
		return errno;
	(void)unlink(path);
	if (bytes)
		e = posix_fallocate(fd, 0, (off_t)bytes);
	if (e == 0 && bytes && (pwrite(fd, block, sizeof(block), 0) < 0 || fsync(fd) < 0))
		e = errno;
	close(fd);
	return e;
}

uint64_t index_dir_hold(const char *path, uint64_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	uint64_t held = 0;
	struct statvfs v;
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0 && fstatvfs(fd, &v) == 0) {
		/* also what is reserved for root, where that is us: others took it, and it is back */
		uint64_t free_bytes = (uint64_t)v.f_bfree * v.f_frsize;

		held = (uint64_t)st.st_size;
		bytes = MIN(bytes, held + free_bytes - MIN(free_bytes, HELD_SPARE_BYTES));
	}
	for (; bytes > held; bytes = held + (bytes - held) / 2)
		if (fallocate(fd, 0, (off_t)held, (off_t)(bytes - held)) == 0)
			held = bytes;
	close(fd);
	return held;
}

/*
 * Asks the kernel to read the table files ahead, in one sweep instead of a seek for each record that
 * is looked up after a mount. Only a hint: it takes no memory of ours, and errors are none.
 */
void index_dir_warm(const char *dir)
{
	DIR *d = opendir(dir);
	uint64_t left = WARM_BYTES;
	struct dirent *de;

	if (!d)
		return;
	while (left > 0 && (de = readdir(d))) {
		size_t len = strlen(de->d_name);
		struct stat st;
		int fd;

		if (len < 4 || strcmp(de->d_name + len - 4, ".sst") != 0)
			continue;
		fd = openat(dirfd(d), de->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (fstat(fd, &st) == 0) {
			uint64_t n = MIN(left, (uint64_t)st.st_size);

			/* the kernel reads no more than its own read-ahead for one call */
			for (uint64_t at = 0; at < n; at += WARM_STEP_BYTES)
				(void)posix_fadvise(fd, (off_t)at, WARM_STEP_BYTES,
						    POSIX_FADV_WILLNEED);
			left -= n;
		}
		close(fd);
	}
	closedir(d);
}

/* Only what an open needs: the tables and the manifest; the pointer to it (CURRENT) follows from its
 * name. Logs are empty. */
static bool is_wanted(const char *name)
{
	size_t len = strlen(name);

	return strncmp(name, "MANIFEST-", 9) == 0 ||
	       (len > 4 && strcmp(name + len - 4, ".sst") == 0);
}

int index_dir_list(const char *path, index_file_fn fn, void *ctx)
{
	DIR *d = opendir(path);
	struct dirent *de;
	struct stat st;
	int err = 0;

	if (!d)
		return index_dir_error(errno);
	while ((de = readdir(d))) {
		if (!is_wanted(de->d_name))
			continue;
		if (fstatat(dirfd(d), de->d_name, &st, 0) < 0) {
			err = index_dir_error(errno);
			break;
		}
		if (fn(ctx, de->d_name, (uint64_t)st.st_size))
			break;
	}
	closedir(d);
	return err;
}

/* ---- reading and writing ---- */

int index_dir_read(const char *dir, const char *name, uint64_t off, void *buf, size_t len)
{
	FREE char *path = xasprintf("%s/%s", dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return index_dir_error(errno);
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err = n < 0 ? index_dir_error(errno) : DFS_EIO;
			break;
		}
		buf = (char *)buf + n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	close(fd);
	return err;
}

static int write_all(int fd, const void *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_from_errno(errno);
		buf = (const char *)buf + n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* RocksDB has the file open: the same inode gets the right bytes, and a hard link of it, too. */
int index_dir_overwrite(const char *dir, const char *name, uint64_t off, const void *buf,
			size_t len)
{
	FREE char *path = xasprintf("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC), err;

	if (fd < 0)
		return err_from_errno(errno);
	err = write_all(fd, buf, len, off);
	if (err == 0 && fsync(fd) < 0)
		err = err_from_errno(errno);
	close(fd);
	return err;
}

/* ---- marks: DIR/stored, a line of hex digits for each ---- */

static void mark_text(const struct hash *mark, char text[2 * HASH_LEN + 2])
{
	for (unsigned i = 0; i < HASH_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", mark->b[i]);
	strcpy(text + 2 * HASH_LEN, "\n");
}

void index_dir_set_marks(const char *dir, const struct hash *marks, unsigned count)
{
	FREE char *path = xasprintf("%s/stored", dir);
	FREE char *tmp = xasprintf("%s/stored.tmp", dir);
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;

	if (fd < 0) /* the next start compares the files instead */
		return;
	for (unsigned i = 0; i < count && err == 0; i++) {
		char text[2 * HASH_LEN + 2];

		mark_text(&marks[i], text);
		err = write_all(fd, text, strlen(text), (uint64_t)i * strlen(text));
	}
	close(fd);
	if (err || rename(tmp, path) < 0)
		unlink(tmp);
}

bool index_dir_has_mark(const char *dir, const struct hash *mark)
{
	FREE char *path = xasprintf("%s/stored", dir);
	char line[2 * HASH_LEN + 3], want[2 * HASH_LEN + 2];
	FILE *f = fopen(path, "re");
	bool found = false;

	if (!f)
		return false;
	mark_text(mark, want);
	while (!found && fgets(line, sizeof(line), f))
		found = strcmp(line, want) == 0;
	fclose(f);
	return found;
}

/* ---- destroying and restoring ---- */

int index_dir_destroy(void *arg)
{
	const char *dir = arg;
	FREE char *mark = xasprintf("%s.damaged", dir);
	FREE char *image = xasprintf("%s.image", dir);
	FREE char *restore = xasprintf("%s.restore", dir);

	index_dir_remove(image);
	index_dir_remove(restore);
	index_dir_remove(dir);
	if (access(dir, F_OK) == 0)
		return faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) < 0 ? err_from_errno(errno)
								      : DFS_EIO;
	if (unlink(mark) < 0 && errno != ENOENT)
		return err_from_errno(errno);
	return 0;
}

/* ---- restore ---- */

int index_dir_restore_begin(void *arg)
{
	FREE char *restore = xasprintf("%s.restore", (const char *)arg);
	int err = index_dir_destroy(arg);

	if (err)
		return err;
	return mkdir(restore, 0700) < 0 ? err_from_errno(errno) : 0;
}

int index_dir_restore_write(void *arg, const char *name, uint64_t off, const void *buf, size_t len)
{
	FREE char *path = xasprintf("%s.restore/%s", (const char *)arg, name);
	int fd, err;

	if (strchr(name, '/') || !is_wanted(name)) /* names come from a disk (P10) */
		return DFS_ECORRUPT;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (off == 0 ? O_TRUNC : 0), 0600);
	if (fd < 0)
		return err_from_errno(errno);
	err = write_all(fd, buf, len, off);
	close(fd);
	return err;
}

/* The pointer to the manifest: of the image, which has just one. */
static int restore_current(const char *restore)
{
	FREE char *path = xasprintf("%s/CURRENT", restore);
	FREE char *text = NULL;
	DIR *d = opendir(restore);
	struct dirent *de;
	int fd, err;

	if (!d)
		return err_from_errno(errno);
	while (!text && (de = readdir(d)))
		if (strncmp(de->d_name, "MANIFEST-", 9) == 0)
			text = xasprintf("%s\n", de->d_name);
	closedir(d);
	if (!text)
		return DFS_ECORRUPT;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	err = write_all(fd, text, strlen(text), 0);
	if (err == 0 && fsync(fd) < 0)
		err = err_from_errno(errno);
	close(fd);
	return err;
}

int index_dir_restore_end(void *arg)
{
	const char *dir = arg;
	FREE char *restore = xasprintf("%s.restore", dir);
	DIR *d = opendir(restore);
	struct dirent *de;
	int err = 0;

	if (!d)
		return err_from_errno(errno);
	while (err == 0 && (de = readdir(d))) {
		FREE char *path = xasprintf("%s/%s", restore, de->d_name);

		if (is_wanted(de->d_name))
			err = fsync_path(path);
	}
	closedir(d);
	if (err == 0)
		err = restore_current(restore);
	if (err == 0)
		err = fsync_path(restore);
	if (err == 0 && rename(restore, dir) < 0)
		err = err_from_errno(errno);
	return err ? err : fsync_parent(dir);
}
