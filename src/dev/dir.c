/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory device: a disk that is a directory on any filesystem. Keeps the durability rules of
 * dev/dev.h (the ground of P1 and P2) and turns errno into our codes: errno stops here.
 *
 * The directory is foreign ground (P10): nothing is opened through a symbolic link, and only regular
 * files are opened or listed (a FIFO would hang us, a device could do anything).
 *
 * A file that was unlinked behind our back still takes writes and syncs through its descriptor, and
 * all of it would be lost in silence. So sync() looks at the link count after the data is down.
 *
 * No locks: descriptors are fixed while a file is open; direct_fd is published by compare-and-swap.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "dev/dev.h"
#include "dev/late.h"

#define TMP_PREFIX ".tmp-"  /* of a replacement not yet renamed; never listed */
#define DIRECT_ALIGN 4096u  /* enough for every filesystem we know; else it refuses (EINVAL) */
#define DIRECT_CHUNK MIB(1) /* bound of the bounce buffer */
#define SEND_BYTES MIB(16)  /* that the page cache may gather of a file before the disk begins */
#define IOV_WINDOW 128	    /* vectors given to one pwritev */

struct dir_dev {
	struct dev base;
	int root_fd;
	dev_t st_dev;
	ino_t st_ino;
	uint64_t fs_id;
	bool is_memory; /* statfs tells what can be written, and allocating costs as much as writing */
	struct late *late; /* what statfs does not know yet; NULL: it knows */
	bool has_block;	   /* the kernel lists the block device that the filesystem is on */
	atomic_uint tmp_counter;
	atomic_bool no_direct; /* the filesystem refuses O_DIRECT */
	atomic_bool direct_asked;
};

struct dir_file {
	struct dev_file base;
	int fd;
	bool writable;
	bool no_atime;	      /* a read changes nothing on the disk, so it need not wait for it */
	atomic_int direct_fd; /* -1: not opened yet */
	_Atomic(uint64_t) unsent_bytes; /* written since the disk was last told to begin */
	char name[];
};

static struct dir_dev *dir_of(struct dev *d) { return container_of(d, struct dir_dev, base); }

static struct dir_file *file_of(struct dev_file *f)
{
	return container_of(f, struct dir_file, base);
}

/* Has the root directory itself been removed? */
static bool root_gone(struct dir_dev *d)
{
	struct stat st;

	return fstat(d->root_fd, &st) != 0 || st.st_nlink == 0;
}

static int map_errno(struct dir_dev *d, int e)
{
	int code = dfs_err_from_errno(e);

	return code == DFS_ENOENT && root_gone(d) ? DFS_EGONE : code;
}

/*
 * The directory that holds NAME's last part: the root's own descriptor, or one to be closed with
 * parent_close(). Negative: errno is set.
 */
static int parent_open(struct dir_dev *d, const char *name, const char **ret_leaf)
{
	int fd = d->root_fd;
	const char *slash;

	/* part by part: O_NOFOLLOW guards only the last one */
	while ((slash = strchr(name, '/')) != NULL) {
		char part[256];
		int next, e;

		ASSERT((size_t)(slash - name) < sizeof(part));
		memcpy(part, name, (size_t)(slash - name));
		part[slash - name] = '\0';
		next = openat(fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		e = errno;
		if (fd != d->root_fd)
			close(fd);
		errno = e;
		if (next < 0)
			return -1;
		fd = next;
		name = slash + 1;
	}
	*ret_leaf = name;
	return fd;
}

static void parent_close(struct dir_dev *d, int fd)
{
	if (fd >= 0 && fd != d->root_fd)
		close(fd);
}

/* Opens a regular file. Negative: errno is set. */
static int regular_open(struct dir_dev *d, const char *name, int flags)
{
	struct stat st;
	const char *leaf;
	int parent = parent_open(d, name, &leaf);
	int fd, e;

	if (parent < 0)
		return -1;
	/* O_NONBLOCK: opening a FIFO must not wait for its other end */
	fd = openat(parent, leaf, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	e = errno;
	parent_close(d, parent);
	if (fd < 0) {
		errno = e;
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	errno = ELOOP;
	return -1;
}

/* Where the filesystem would write each change elsewhere (Btrfs), and so might find no space for it. It
 * takes that only of an empty file; elsewhere the question fails, or changes nothing. */
static void overwrite_in_place(int fd)
{
	struct stat st;
	int attr = 0;

	if (fstat(fd, &st) || st.st_size || ioctl(fd, FS_IOC_GETFLAGS, &attr))
		return;
	attr |= FS_NOCOW_FL;
	(void)!ioctl(fd, FS_IOC_SETFLAGS, &attr);
}

static int op_open(struct dev *dev, const char *name, unsigned flags, struct dev_file **ret_file)
{
	struct dir_dev *d = dir_of(dev);
	int oflags = flags & DEV_RDONLY ? O_RDONLY : O_RDWR;
	bool no_atime = true;
	struct dir_file *f;
	int fd;

	if (flags & DEV_CREATE)
		oflags |= O_CREAT;
	if (flags & DEV_EXCL)
		oflags |= O_EXCL;
	fd = regular_open(d, name, oflags | O_NOATIME);
	if (fd < 0 && errno == EPERM) { /* another user's file */
		no_atime = false;
		fd = regular_open(d, name, oflags);
	}
	if (fd < 0)
		return map_errno(d, errno);
	if ((flags & DEV_IN_PLACE) && (flags & DEV_CREATE))
		overwrite_in_place(fd);
	f = xcalloc(1, sizeof(*f) + strlen(name) + 1);
	f->base.dev = dev;
	f->fd = fd;
	f->writable = !(flags & DEV_RDONLY);
	f->no_atime = no_atime;
	atomic_init(&f->direct_fd, -1);
	memcpy(f->name, name, strlen(name) + 1);
	*ret_file = &f->base;
	return 0;
}

static void op_close(struct dev_file *file)
{
	struct dir_file *f = file_of(file);
	int direct = atomic_load(&f->direct_fd);

	if (direct >= 0)
		close(direct);
	close(f->fd);
	free(f);
}

/* Reads up to len bytes; short only at the end of the file. Bytes, or -1 and errno. */
static ssize_t read_full(int fd, uint8_t *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* A second descriptor of the same file, with O_DIRECT; -1 when the filesystem refuses. */
static int direct_fd(struct dir_dev *d, struct dir_file *f)
{
	int fd = atomic_load(&f->direct_fd), none = -1;
	struct stat a, b;

	if (fd >= 0 || atomic_load(&d->no_direct))
		return fd;
	fd = regular_open(d, f->name, O_RDONLY | O_DIRECT);
	if (fd < 0) {
		if (errno == EINVAL)
			atomic_store(&d->no_direct, true);
		return -1;
	}
	/* the name may lead to another file by now */
	if (fstat(fd, &a) || fstat(f->fd, &b) || a.st_ino != b.st_ino || a.st_dev != b.st_dev) {
		close(fd);
		return -1;
	}
	if (atomic_compare_exchange_strong(&f->direct_fd, &none, fd))
		return fd;
	close(fd);
	return none;
}

/* Through an aligned bounce buffer. false: not possible here, nothing was promised. */
static bool read_direct(struct dir_dev *d, struct dir_file *f, uint8_t *buf, size_t len,
			uint64_t off, size_t *ret_len)
{
	size_t room = MIN(ALIGN_UP(len, DIRECT_ALIGN) + DIRECT_ALIGN, DIRECT_CHUNK), done = 0;
	int fd = direct_fd(d, f);
	FREE void *bounce = NULL;

	if (fd < 0 || posix_memalign(&bounce, DIRECT_ALIGN, room))
		return false;
	while (done < len) {
		uint64_t start = ALIGN_DOWN(off + done, DIRECT_ALIGN);
		size_t skip = (size_t)(off + done - start), n;
		size_t want = MIN(ALIGN_UP(skip + len - done, DIRECT_ALIGN), room);
		ssize_t got = pread(fd, bounce, want, (off_t)start);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false; /* EINVAL, or EIO: the plain path will tell */
		if ((size_t)got <= skip)
			break;
		n = MIN((size_t)got - skip, len - done);
		memcpy(buf + done, (uint8_t *)bounce + skip, n);
		done += n;
		if ((size_t)got < want)
			break;
	}
	*ret_len = done;
	return true;
}

static int op_read(struct dev_file *file, void *buf, size_t len, uint64_t off, unsigned flags,
		   size_t *ret_len)
{
	struct dir_dev *d = dir_of(file->dev);
	struct dir_file *f = file_of(file);
	ssize_t n;

	if (flags & DEV_READ_MEDIA && !d->is_memory) { /* where the page cache is the medium */
		(void)posix_fadvise(f->fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
		if (read_direct(d, f, buf, len, off, ret_len))
			return 0;
	}
	n = read_full(f->fd, buf, len, off);
	if (n < 0)
		return map_errno(d, errno);
	*ret_len = (size_t)n;
	return 0;
}

/* RWF_NOWAIT: the kernel promises not to wait for the disk; filesystems that can't promise refuse. */
static int op_read_now(struct dev_file *file, void *buf, size_t len, uint64_t off)
{
	struct dir_file *f = file_of(file);
	struct iovec iov = {buf, len};

	if (!f->no_atime || preadv2(f->fd, &iov, 1, (off_t)off, RWF_NOWAIT) != (ssize_t)len)
		return DFS_EBUSY;
	return 0;
}

/*
 * The disk begins to write what the page cache has gathered, instead of leaving all of it to the next sync:
 * on a machine with much memory that would be gigabytes, and the sync would last longer than its deadline.
 * A hint: what is wrong with the disk the sync tells.
 */
static void send_early(struct dir_dev *d, struct dir_file *f, uint64_t bytes)
{
	if (d->is_memory || atomic_fetch_add(&f->unsent_bytes, bytes) + bytes < SEND_BYTES)
		return;
	atomic_store(&f->unsent_bytes, 0);
	(void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int op_writev(struct dev_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct dir_file *f = file_of(file);
	uint64_t start = off;
	size_t skip = 0; /* bytes of iov[0] already written */

	if (!f->writable)
		return DFS_EROFS;
	for (;;) {
		struct iovec window[IOV_WINDOW];
		int count = MIN(iovcnt, IOV_WINDOW);
		ssize_t n;

		while (iovcnt > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			iovcnt--;
			count = MIN(iovcnt, IOV_WINDOW);
		}
		if (iovcnt == 0) {
			late_moved(dir_of(file->dev)->late, off - start);
			send_early(dir_of(file->dev), f, off - start);
			return 0;
		}
		memcpy(window, iov, (size_t)count * sizeof(*iov));
		window[0].iov_base = (uint8_t *)window[0].iov_base + skip;
		window[0].iov_len -= skip;
		n = pwritev(f->fd, window, count, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? map_errno(dir_of(file->dev), errno) : DFS_EIO;
		skip += (size_t)n;
		off += (uint64_t)n;
	}
}

static int op_sync(struct dev_file *file)
{
	struct dir_dev *d = dir_of(file->dev);
	struct dir_file *f = file_of(file);
	struct stat st;

	/* EINTR before anything was flushed leaves the pages dirty: asking again is right */
	while (fdatasync(f->fd))
		if (errno != EINTR)
			return map_errno(d, errno);
	if (fstat(f->fd, &st))
		return map_errno(d, errno);
	return st.st_nlink ? 0 : DFS_EGONE;
}

static int op_punch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct dir_file *f = file_of(file);

	if (!f->writable)
		return DFS_EROFS;
	while (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			 (off_t)len)) {
		if (errno != EINTR)
			return map_errno(dir_of(file->dev), errno);
	}
	late_moved(dir_of(file->dev)->late, 0);
	return 0;
}

static int op_allocate(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct dir_dev *d = dir_of(file->dev);
	struct dir_file *f = file_of(file);
	int rc;

	if (!f->writable)
		return DFS_EROFS;
	if (d->is_memory)
		return DFS_ENOTSUP;
	while (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)) {
		if (errno == EINTR)
			continue;
		rc = map_errno(d, errno);
		if (rc == DFS_ENOSPC)
			late_forget(d->late);
		return rc;
	}
	late_moved(d->late, len);
	return 0;
}

static int op_truncate(struct dev_file *file, uint64_t size_bytes)
{
	struct dir_file *f = file_of(file);
	struct stat st;
	int times;

	if (!f->writable)
		return DFS_EROFS;
	if (fstat(f->fd, &st))
		return map_errno(dir_of(file->dev), errno);
	/* growing frees nothing of what is allocated beyond; a second one, to the same size, does */
	times = size_bytes > (uint64_t)st.st_size ? 2 : 1;
	while (times > 0) {
		if (ftruncate(f->fd, (off_t)size_bytes) == 0)
			times--;
		else if (errno != EINTR)
			return map_errno(dir_of(file->dev), errno);
	}
	late_moved(dir_of(file->dev)->late, 0);
	return 0;
}

static int op_size(struct dev_file *file, uint64_t *ret_size_bytes)
{
	struct stat st;

	if (fstat(file_of(file)->fd, &st))
		return map_errno(dir_of(file->dev), errno);
	*ret_size_bytes = (uint64_t)st.st_size;
	return 0;
}

static void op_prefetch(struct dev_file *file, uint64_t off, uint64_t len)
{
	(void)posix_fadvise(file_of(file)->fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
}

static int op_mkdir(struct dev *dev, const char *name)
{
	struct dir_dev *d = dir_of(dev);
	const char *leaf;
	struct stat st;
	int parent = parent_open(d, name, &leaf);
	int rc = 0;

	if (parent < 0)
		return map_errno(d, errno);
	if (mkdirat(parent, leaf, 0700) && errno != EEXIST)
		rc = map_errno(d, errno);
	else if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW))
		rc = map_errno(d, errno);
	else if (!S_ISDIR(st.st_mode))
		rc = DFS_ENOTDIR;
	parent_close(d, parent);
	return rc;
}

static int op_remove(struct dev *dev, const char *name)
{
	struct dir_dev *d = dir_of(dev);
	const char *leaf;
	int parent = parent_open(d, name, &leaf);
	int rc = 0;

	if (parent < 0)
		return map_errno(d, errno);
	if (unlinkat(parent, leaf, 0))
		rc = map_errno(d, errno);
	parent_close(d, parent);
	late_moved(d->late, 0);
	return rc;
}

static int op_rename(struct dev *dev, const char *from, const char *to)
{
	struct dir_dev *d = dir_of(dev);
	const char *from_leaf, *to_leaf;
	int from_fd = parent_open(d, from, &from_leaf);
	int to_fd = from_fd < 0 ? -1 : parent_open(d, to, &to_leaf);
	int rc = 0;

	if (to_fd < 0 || renameat(from_fd, from_leaf, to_fd, to_leaf))
		rc = map_errno(d, errno);
	parent_close(d, from_fd);
	parent_close(d, to_fd);
	return rc;
}

/* A readable descriptor of DIR ("" is the root). Negative: errno is set. */
static int dir_fd(struct dir_dev *d, const char *dir)
{
	const char *leaf = ".";
	int parent = *dir ? parent_open(d, dir, &leaf) : d->root_fd;
	int fd, e;

	if (parent < 0)
		return -1;
	fd = openat(parent, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	e = errno;
	parent_close(d, parent);
	errno = e;
	return fd;
}

static bool listable(const char *name)
{
	static const char chars[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ._-";

	if (strncmp(name, TMP_PREFIX, strlen(TMP_PREFIX)) == 0)
		return false;
	return name[strspn(name, chars)] == '\0';
}

static int op_list(struct dev *dev, const char *dir, dev_list_fn fn, void *ctx)
{
	struct dir_dev *d = dir_of(dev);
	int fd = dir_fd(d, dir), rc = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream) {
		rc = map_errno(d, errno);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (!rc) {
		struct dirent *e;
		struct stat st;

		errno = 0;
		e = readdir(stream);
		if (!e) {
			rc = errno ? map_errno(d, errno) : 0;
			break;
		}
		if (!listable(e->d_name))
			continue;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			rc = errno == ENOENT ? 0 : map_errno(d, errno); /* removed meanwhile */
			continue;
		}
		if (S_ISREG(st.st_mode))
			rc = fn(ctx, e->d_name, (uint64_t)st.st_size);
	}
	closedir(stream);
	return rc;
}

/* Some filesystems can't sync a directory and say EINVAL: theirs are durable or can't be made so. */
static int op_sync_dir(struct dev *dev, const char *dir)
{
	struct dir_dev *d = dir_of(dev);
	int fd = dir_fd(d, dir), rc = 0;
	struct stat st;

	if (fd < 0)
		return map_errno(d, errno);
	if (fsync(fd) && errno != EINVAL)
		rc = map_errno(d, errno);
	else if (fstat(fd, &st) || st.st_nlink == 0)
		rc = DFS_EGONE;
	close(fd);
	return rc;
}

/* Fills and syncs the file NAME, which takes the place of whatever a crash left there. */
static int write_aside(struct dir_dev *d, const char *name, const void *data, size_t len)
{
	struct dir_file f = {.base.dev = &d->base, .writable = true};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	int rc;

	f.fd = regular_open(d, name, O_WRONLY | O_CREAT | O_TRUNC);
	if (f.fd < 0)
		return map_errno(d, errno);
	rc = op_writev(&f.base, &iov, 1, 0);
	if (!rc && fsync(f.fd))
		rc = map_errno(d, errno);
	if (close(f.fd) && !rc)
		rc = map_errno(d, errno);
	return rc;
}

/* write aside, sync, rename, sync the directory: the old bytes or the new ones (P2) */
static int op_replace(struct dev *dev, const char *name, const void *data, size_t len)
{
	struct dir_dev *d = dir_of(dev);
	const char *slash = strrchr(name, '/');
	int dir_len = slash ? (int)(slash - name) : 0;
	FREE char *dir = xasprintf("%.*s", dir_len, name);
	FREE char *tmp = xasprintf("%s%s" TMP_PREFIX "%u-%s", dir, slash ? "/" : "",
				   atomic_fetch_add(&d->tmp_counter, 1), slash ? slash + 1 : name);
	int rc = write_aside(d, tmp, data, len);

	if (!rc)
		rc = op_rename(dev, tmp, name);
	if (rc) {
		(void)op_remove(dev, tmp); /* the first failure is the one that counts */
		return rc;
	}
	return op_sync_dir(dev, dir);
}

/* Asked once, of a file that every disk has. */
static bool takes_direct(struct dir_dev *d)
{
	int fd;

	if (atomic_load(&d->direct_asked))
		return !atomic_load(&d->no_direct);
	fd = regular_open(d, "disk.json", O_RDONLY | O_DIRECT);
	if (fd >= 0)
		close(fd);
	else if (errno == EINVAL)
		atomic_store(&d->no_direct, true);
	else
		return true; /* not known yet */
	atomic_store(&d->direct_asked, true);
	return !atomic_load(&d->no_direct);
}

static int ask_space(struct dir_dev *d, struct statvfs *v)
{
	while (fstatvfs(d->root_fd, v))
		if (errno != EINTR)
			return map_errno(d, errno);
	return 0;
}

/* Makes it commit where its word could be out of date by too much. */
static int ask_late(struct dir_dev *d, struct statvfs *v)
{
	struct late_mark mark;
	int rc;

	if (v->f_flag & ST_RDONLY || !late_is_due(d->late, (uint64_t)v->f_bavail * v->f_frsize,
						  (uint64_t)v->f_blocks * v->f_frsize, &mark))
		return 0;
	rc = syncfs(d->root_fd) ? map_errno(d, errno) : ask_space(d, v);
	if (!rc)
		late_committed(d->late, &mark);
	return rc;
}

static int op_space(struct dev *dev, struct dev_space *ret_space)
{
	struct dir_dev *d = dir_of(dev);
	struct statvfs v;
	int rc = ask_space(d, &v);

	if (!rc && d->late)
		rc = ask_late(d, &v);
	if (rc)
		return rc;
	*ret_space = (struct dev_space){
		.total_bytes = (uint64_t)v.f_blocks * v.f_frsize,
		.free_bytes = v.f_files && !v.f_favail ? 0 : (uint64_t)v.f_bavail * v.f_frsize,
		.files = v.f_files,
		.free_files = v.f_favail,
		.fs_id = d->fs_id,
		.st_dev = d->st_dev,
		.read_only = (v.f_flag & ST_RDONLY) != 0,
		.cached_only = d->is_memory || !takes_direct(d),
	};
	return 0;
}

#define BLOCK_DIR "/sys/dev/block"

/* Does the kernel list the filesystem's block device? Many have none (Btrfs, NFS, tmpfs: major 0). */
static bool lists_block(struct dir_dev *d)
{
	FREE char *name = xasprintf(BLOCK_DIR "/%u:%u", major(d->st_dev), minor(d->st_dev));

	return major(d->st_dev) && access(name, F_OK) == 0;
}

/* It was pulled out: as long as nobody reads or writes, the filesystem answers from memory. */
static bool block_gone(struct dir_dev *d)
{
	return d->has_block && !lists_block(d) && access(BLOCK_DIR, F_OK) == 0;
}

/* Still the directory that we opened, under the same path, and it lets us in? */
static int op_probe(struct dev *dev)
{
	struct dir_dev *d = dir_of(dev);
	struct dev_space space;
	struct stat st;

	if (root_gone(d) || block_gone(d))
		return DFS_EGONE;
	if (stat(dev->name, &st))
		return errno == ENOENT || errno == ENOTDIR ? DFS_EGONE : map_errno(d, errno);
	if (st.st_dev != d->st_dev || st.st_ino != d->st_ino)
		return DFS_EGONE;
	if (faccessat(d->root_fd, ".", R_OK | X_OK, AT_EACCESS))
		return map_errno(d, errno);
	return op_space(dev, &space);
}

static int op_lock(struct dev *dev)
{
	struct dir_dev *d = dir_of(dev);

	if (flock(d->root_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	switch (errno) {
	case EWOULDBLOCK:
		return DFS_ELOCKED;
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
	case ENOLCK:
	case EBADF: /* it has no locks, or none for directories */
		return 0;
	default:
		return map_errno(d, errno);
	}
}

static bool op_is_memory(struct dev *dev) { return dir_of(dev)->is_memory; }

static void op_free(struct dev *dev)
{
	struct dir_dev *d = dir_of(dev);

	close(d->root_fd);
	late_put(d->late);
	free(dev->name);
	free(d);
}

static const struct dev_ops dir_ops = {
	.open = op_open,
	.close = op_close,
	.read = op_read,
	.writev = op_writev,
	.sync = op_sync,
	.punch = op_punch,
	.allocate = op_allocate,
	.truncate = op_truncate,
	.size = op_size,
	.prefetch = op_prefetch,
	.mkdir = op_mkdir,
	.remove = op_remove,
	.rename = op_rename,
	.list = op_list,
	.sync_dir = op_sync_dir,
	.replace = op_replace,
	.space = op_space,
	.probe = op_probe,
	.lock = op_lock,
	.is_memory = op_is_memory,
	.read_now = op_read_now,
	.free = op_free,
};

/* DIR/SUBDIR, made (and its name made durable) when create is set. Negative: errno is set. */
static int root_open(const char *dir, const char *subdir, bool create)
{
	int top = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, e;

	if (top < 0 || !*subdir)
		return top;
	if (create && mkdirat(top, subdir, 0700) == 0)
		(void)fsync(top); /* some filesystems can't; the caller syncs what it puts inside */
	fd = openat(top, subdir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	e = errno;
	close(top);
	errno = e;
	return fd;
}

/*
 * Which filesystem it is. Subvolumes of one Btrfs have device numbers of their own, and even their
 * statfs ids differ; what they have in common is the filesystem's uuid.
 */
static void fs_look(struct dir_dev *d)
{
	struct btrfs_ioctl_fs_info_args info = {0};
	struct statfs fs;

	d->fs_id = (uint64_t)d->st_dev;
	if (fstatfs(d->root_fd, &fs))
		return;
	d->is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	if (fs.f_type == BTRFS_SUPER_MAGIC && ioctl(d->root_fd, BTRFS_IOC_FS_INFO, &info) == 0) {
		uint64_t half[2];

		memcpy(half, info.fsid, sizeof(half));
		d->fs_id = half[0] ^ half[1];
	}
	if (fs.f_type == BTRFS_SUPER_MAGIC)
		d->late = late_get(d->fs_id);
}

int dev_dir_open(const char *dir, const char *subdir, bool create, struct dev **ret_dev)
{
	int fd = root_open(dir, subdir, create);
	struct dir_dev *d;
	struct stat st;

	if (fd < 0) /* the way there is the user's: there links may lead in a circle */
		return errno == ELOOP && !*subdir ? DFS_ELOOP : dfs_err_from_errno(errno);
	if (fstat(fd, &st)) {
		close(fd);
		return dfs_err_from_errno(errno);
	}
	d = xcalloc(1, sizeof(*d));
	d->base.ops = &dir_ops;
	d->base.name = *subdir ? xasprintf("%s/%s", dir, subdir) : xstrdup(dir);
	d->root_fd = fd;
	d->st_dev = st.st_dev;
	d->st_ino = st.st_ino;
	fs_look(d);
	d->has_block = lists_block(d);
	atomic_init(&d->tmp_counter, 0);
	atomic_init(&d->no_direct, false);
	atomic_init(&d->direct_asked, false);
	*ret_dev = &d->base;
	return 0;
}
