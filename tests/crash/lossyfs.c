// SPDX-License-Identifier: Apache-2.0
/*
 * lossyfs: a directory that loses what was not synced, for power cuts below a real mount.
 *
 * usage: lossyfs BACKING MOUNTPOINT SEED LOSS [no-holes]     (in the foreground; ends when it is unmounted)
 *
 * All operations go to the directory BACKING (on any filesystem) at once, and an undo record is kept of
 * each until the fsync or fdatasync that makes it durable: a file's for its bytes and its size, its
 * directory's for its names. SIGUSR1 is the power cut: every later operation fails with EIO, and what was
 * not durable is undone, newest first:
 *
 *   bytes   each 4 KiB block of each write, and each change of size, for itself, with LOSS per cent: so
 *           writes are torn, and newer ones are there while older ones are not. A block's bytes are always
 *           those of one of its versions since the last sync.
 *   names   a tail of all changes, of any length up to all of them, in order (as a journal would).
 *
 * With no-holes it can't punch, nor allocate, as exFAT, and what is removed gives its
 * space back at once. This is less than most filesystems keep (ext4 makes a new file's name durable with its fsync), and no
 * more than POSIX promises. After the cut a line on stdout tells what was lost. Hidden files that unlink
 * and rename have replaced lie in BACKING/.lossyfs until they are durable; who starts lossyfs removes what an
 * earlier one left there.
 *
 * One lock, taken by each operation. Not for anything but tests.
 */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK 4096

enum name_op {
	NAME_MADE,
	NAME_GONE,
	NAME_MOVED
};

/* What a file's write, truncation or hole has replaced. Newest first. */
struct bytes_undo {
	struct bytes_undo *older;
	off_t off, size_before, size_after;
	size_t len; /* of old */
	char *old;
};

/* A file with changes that are not durable. */
struct node {
	struct node *next;
	ino_t ino;
	int fd;
	struct bytes_undo *newest;
};

/* A change of names. Newest first. */
struct name_undo {
	struct name_undo *older;
	enum name_op op;
	char *from, *to; /* to: of NAME_MOVED */
	char *hidden;	 /* what was removed or replaced; NULL: nothing */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *backing;
static int root_fd;
static unsigned loss_percent;
static uint64_t chance;
static unsigned hidden_count;
static bool is_cut, no_holes;
static struct node *nodes;
static struct name_undo *names;

static void die(const char *what)
{
	fprintf(stderr, "lossyfs: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

/* splitmix64, public domain (Steele, Lea, Flood 2014). */
static uint64_t draw(void)
{
	uint64_t z = (chance += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool is_lost(void) { return draw() % 100 < loss_percent; }

/* Operations run under the lock, and not at all after the cut. */
static int enter(void)
{
	pthread_mutex_lock(&lock);
	if (!is_cut)
		return 0;
	pthread_mutex_unlock(&lock);
	return -EIO;
}

static int leave(int rc)
{
	int err = rc < 0 ? -errno : 0;

	pthread_mutex_unlock(&lock);
	return err;
}

static const char *rel(const char *path) { return path[1] ? path + 1 : "."; }

/* bytes */

static struct node *node_of(int fd)
{
	struct stat st;
	struct node *n;
	char path[64];

	if (fstat(fd, &st))
		die("fstat");
	for (n = nodes; n; n = n->next)
		if (n->ino == st.st_ino)
			return n;
	n = must(calloc(1, sizeof(*n)));
	n->ino = st.st_ino;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n->fd = open(path, O_RDWR | O_CLOEXEC);
	if (n->fd < 0)
		die("open again");
	n->next = nodes;
	nodes = n;
	return n;
}

/* Keeps what [off, off + len) of the file holds, before it is changed. */
static struct bytes_undo *keep_bytes(int fd, off_t off, off_t len)
{
	struct node *n = node_of(fd);
	struct bytes_undo *u = must(calloc(1, sizeof(*u)));
	struct stat st;

	if (fstat(n->fd, &st))
		die("fstat");
	u->off = off;
	u->size_before = u->size_after = st.st_size;
	if (off < st.st_size) {
		off_t have = st.st_size - off < len ? st.st_size - off : len;
		ssize_t got;

		u->old = must(malloc((size_t)have));
		got = pread(n->fd, u->old, (size_t)have, off);
		if (got < 0)
			die("pread");
		u->len = (size_t)got;
	}
	u->older = n->newest;
	n->newest = u;
	return u;
}

static void keep_size_after(struct bytes_undo *u, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	u->size_after = st.st_size;
}

static void forget_bytes(int fd)
{
	struct stat st;
	struct node **at, *n;

	if (fstat(fd, &st))
		die("fstat");
	for (at = &nodes; (n = *at); at = &n->next) {
		if (n->ino != st.st_ino)
			continue;
		*at = n->next;
		while (n->newest) {
			struct bytes_undo *u = n->newest;

			n->newest = u->older;
			free(u->old);
			free(u);
		}
		close(n->fd);
		free(n);
		return;
	}
}

static void put_back(int fd, const char *old, size_t len, off_t off)
{
	while (len) {
		ssize_t put = pwrite(fd, old, len, off);

		if (put <= 0)
			die("pwrite at the cut");
		old += put;
		len -= (size_t)put;
		off += put;
	}
}

/* Calls lose(n, u, off, len) for each block of [off, end) that the cut takes; returns the bytes. */
static uint64_t each_lost(struct node *n, struct bytes_undo *u, off_t off, off_t end,
			  void (*lose)(struct node *, struct bytes_undo *, off_t, off_t))
{
	uint64_t lost = 0;

	while (off < end) {
		off_t step = BLOCK - off % BLOCK;

		step = step < end - off ? step : end - off;
		if (is_lost()) {
			lose(n, u, off, step);
			lost += (uint64_t)step;
		}
		off += step;
	}
	return lost;
}

static void lose_new(struct node *n, struct bytes_undo *u, off_t off, off_t len)
{
	put_back(n->fd, u->old + (off - u->off), (size_t)len, off);
}

static void lose_added(struct node *n, struct bytes_undo *u, off_t off, off_t len)
{
	(void)u;
	if (fallocate(n->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len))
		die("fallocate at the cut");
}

static void set_size(struct node *n, off_t size)
{
	if (ftruncate(n->fd, size))
		die("ftruncate at the cut");
}

/* Undoes one change of bytes; returns how many bytes it lost. */
static uint64_t undo_bytes(struct node *n, struct bytes_undo *u)
{
	uint64_t lost = 0;
	struct stat st;

	if (u->size_after < u->size_before) { /* a truncation: all or nothing */
		if (!is_lost())
			return 0;
		put_back(n->fd, u->old, u->len, u->off);
		return u->len;
	}
	lost = each_lost(n, u, u->off, u->off + (off_t)u->len, lose_new);
	if (u->size_after == u->size_before)
		return lost;
	if (fstat(n->fd, &st))
		die("fstat");
	lost += each_lost(n, u, u->size_before, u->size_after, lose_added);
	if (st.st_size > u->size_before && st.st_size <= u->size_after && is_lost())
		set_size(n, u->size_before);
	return lost;
}

/* names */

static char *hidden_name(void)
{
	char *name = NULL;

	if (asprintf(&name, ".lossyfs/%u", hidden_count++) < 0)
		die("memory");
	return name;
}

static struct name_undo *keep_name(enum name_op op, const char *from, const char *to)
{
	struct name_undo *u = must(calloc(1, sizeof(*u)));

	u->op = op;
	u->from = must(strdup(from));
	u->to = to ? must(strdup(to)) : NULL;
	u->older = names;
	names = u;
	return u;
}

/* A removed or replaced file is no longer wanted. */
static void drop_hidden(const char *hidden)
{
	if (unlinkat(root_fd, hidden, 0) && errno == EISDIR)
		(void)!unlinkat(root_fd, hidden, AT_REMOVEDIR);
}

static void free_name(struct name_undo *u)
{
	free(u->from);
	free(u->to);
	free(u->hidden);
	free(u);
}

static bool is_in(const char *name, const char *dir)
{
	const char *slash = name ? strrchr(name, '/') : NULL;
	size_t len = slash ? (size_t)(slash - name) : 0;

	if (!name)
		return false;
	return slash ? strlen(dir) == len && strncmp(name, dir, len) == 0 : strcmp(dir, ".") == 0;
}

/* The directory has been synced. */
static void forget_names(const char *dir)
{
	struct name_undo **at = &names, *u;

	while ((u = *at)) {
		if (!is_in(u->from, dir) && !is_in(u->to, dir)) {
			at = &u->older;
			continue;
		}
		*at = u->older;
		if (u->hidden)
			drop_hidden(u->hidden);
		free_name(u);
	}
}

static void undo_name(struct name_undo *u)
{
	char *aside;

	switch (u->op) {
	case NAME_MADE:
		aside = hidden_name(); /* a directory goes with all that is in it */
		(void)!renameat(root_fd, u->from, root_fd, aside);
		free(aside);
		break;
	case NAME_MOVED:
		(void)!renameat(root_fd, u->to, root_fd, u->from);
		/* fall through */
	case NAME_GONE:
		if (u->hidden)
			(void)!renameat(root_fd, u->hidden, root_fd, u->to ? u->to : u->from);
		break;
	}
}

/* the cut */

static void cut(void)
{
	uint64_t bytes = 0, count = 0, all = 0;
	unsigned keep;

	pthread_mutex_lock(&lock);
	is_cut = true;
	for (struct node *n = nodes; n; n = n->next)
		for (struct bytes_undo *u = n->newest; u; u = u->older)
			bytes += undo_bytes(n, u);
	for (struct name_undo *u = names; u; u = u->older)
		all++;
	keep = loss_percent >= 100 ? 0 : (unsigned)(draw() % (all + 1));
	for (struct name_undo *u = names; u && count < all - keep; u = u->older, count++)
		undo_name(u);
	pthread_mutex_unlock(&lock);
	printf("cut: %llu bytes and %llu names of %llu lost\n", (unsigned long long)bytes,
	       (unsigned long long)count, (unsigned long long)all);
	fflush(stdout);
}

static void *wait_for_cut(void *arg)
{
	int sig;

	if (sigwait(arg, &sig) == 0)
		cut();
	return NULL;
}

/* operations */

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	int rc = enter();

	if (rc)
		return rc;
	return leave(fi ? fstat((int)fi->fh, st)
			: fstatat(root_fd, rel(path), st, AT_SYMLINK_NOFOLLOW));
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	struct stat st;
	int rc = enter(), fd;
	bool is_new;

	if (rc)
		return rc;
	is_new = fstatat(root_fd, rel(path), &st, AT_SYMLINK_NOFOLLOW) != 0;
	fd = openat(root_fd, rel(path), O_RDWR | O_CREAT | (fi->flags & O_EXCL) | O_CLOEXEC, mode);
	if (fd >= 0) {
		fi->fh = (uint64_t)fd;
		if (is_new)
			keep_name(NAME_MADE, rel(path), NULL);
	}
	return leave(fd);
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	int rc = enter(), fd;

	if (rc)
		return rc;
	/* a descriptor for writing serves both; the kernel has looked at who may */
	fd = openat(root_fd, rel(path), O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = openat(root_fd, rel(path), O_RDONLY | O_CLOEXEC);
	fi->fh = (uint64_t)fd;
	return leave(fd);
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	close((int)fi->fh);
	return 0;
}

static int op_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
	int rc = enter();
	ssize_t got;

	(void)path;
	if (rc)
		return rc;
	got = pread((int)fi->fh, buf, len, off);
	rc = leave((int)got);
	return rc ? rc : (int)got;
}

static int op_write(const char *path, const char *buf, size_t len, off_t off,
		    struct fuse_file_info *fi)
{
	struct bytes_undo *u;
	int rc = enter();
	ssize_t put;

	(void)path;
	if (rc)
		return rc;
	u = keep_bytes((int)fi->fh, off, (off_t)len);
	put = pwrite((int)fi->fh, buf, len, off);
	keep_size_after(u, (int)fi->fh);
	rc = leave((int)put);
	return rc ? rc : (int)put;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	int rc = enter(), fd;
	struct bytes_undo *u;

	if (rc)
		return rc;
	fd = fi ? (int)fi->fh : openat(root_fd, rel(path), O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return leave(fd);
	u = keep_bytes(fd, size, INT32_MAX);
	rc = ftruncate(fd, size);
	keep_size_after(u, fd);
	if (!fi)
		close(fd);
	return leave(rc);
}

static int op_fallocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct bytes_undo *u;
	int rc = enter();

	(void)path;
	if (rc)
		return rc;
	if (no_holes) {
		errno = EOPNOTSUPP;
		return leave(-1);
	}
	u = keep_bytes((int)fi->fh, off, mode & FALLOC_FL_PUNCH_HOLE ? len : 0);
	rc = fallocate((int)fi->fh, mode, off, len);
	keep_size_after(u, (int)fi->fh);
	return leave(rc);
}

static int op_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	int rc = enter();

	(void)path;
	(void)data_only;
	if (rc)
		return rc;
	forget_bytes((int)fi->fh);
	return leave(0);
}

static int op_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi)
{
	int rc = enter();

	(void)data_only;
	(void)fi;
	if (rc)
		return rc;
	forget_names(rel(path));
	return leave(0);
}

static int op_mkdir(const char *path, mode_t mode)
{
	int rc = enter();

	if (rc)
		return rc;
	rc = mkdirat(root_fd, rel(path), mode);
	if (!rc)
		keep_name(NAME_MADE, rel(path), NULL);
	return leave(rc);
}

static int op_mknod(const char *path, mode_t mode, dev_t dev)
{
	int rc = enter();

	if (rc)
		return rc;
	rc = mknodat(root_fd, rel(path), mode, dev);
	if (!rc)
		keep_name(NAME_MADE, rel(path), NULL);
	return leave(rc);
}

static int op_link(const char *from, const char *to)
{
	int rc = enter();

	if (rc)
		return rc;
	rc = linkat(root_fd, rel(from), root_fd, rel(to), 0);
	if (!rc)
		keep_name(NAME_MADE, rel(to), NULL);
	return leave(rc);
}

static int remove_name(const char *path, bool is_dir)
{
	char *hidden;
	int rc = enter();

	if (rc)
		return rc;
	if (is_dir) {
		/* only an empty one may go: try, and make it again aside */
		rc = unlinkat(root_fd, rel(path), AT_REMOVEDIR);
		if (rc)
			return leave(rc);
		hidden = hidden_name();
		if (mkdirat(root_fd, hidden, 0700))
			die("mkdir aside");
	} else if (no_holes) {
		return leave(unlinkat(root_fd, rel(path), 0));
	} else {
		hidden = hidden_name();
		rc = renameat(root_fd, rel(path), root_fd, hidden);
		if (rc) {
			free(hidden);
			return leave(rc);
		}
	}
	keep_name(NAME_GONE, rel(path), NULL)->hidden = hidden;
	return leave(0);
}

static int op_unlink(const char *path) { return remove_name(path, false); }

static int op_rmdir(const char *path) { return remove_name(path, true); }

static int op_rename(const char *from, const char *to, unsigned flags)
{
	int rc = enter();
	char *hidden = NULL;
	struct stat st;

	if (rc)
		return rc;
	if (flags) {
		errno = EINVAL;
		return leave(-1);
	}
	if (fstatat(root_fd, rel(from), &st, AT_SYMLINK_NOFOLLOW))
		return leave(-1);
	if (fstatat(root_fd, rel(to), &st, AT_SYMLINK_NOFOLLOW) == 0) {
		hidden = hidden_name();
		if (renameat(root_fd, rel(to), root_fd, hidden))
			die("rename aside");
	}
	if (renameat(root_fd, rel(from), root_fd, rel(to)))
		die("rename");
	keep_name(NAME_MOVED, rel(from), rel(to))->hidden = hidden;
	return leave(0);
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int rc = enter();

	if (rc)
		return rc;
	return leave(fi ? fchmod((int)fi->fh, mode) : fchmodat(root_fd, rel(path), mode, 0));
}

static int op_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
	int rc = enter();

	(void)fi;
	if (rc)
		return rc;
	return leave(fchownat(root_fd, rel(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int op_utimens(const char *path, const struct timespec ts[2], struct fuse_file_info *fi)
{
	int rc = enter();

	(void)fi;
	if (rc)
		return rc;
	return leave(utimensat(root_fd, rel(path), ts, AT_SYMLINK_NOFOLLOW));
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int rc = enter(), fd;
	struct dirent *e;
	DIR *d;

	(void)off;
	(void)fi;
	(void)flags;
	if (rc)
		return rc;
	fd = openat(root_fd, rel(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d)
		return leave(-1);
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".lossyfs") != 0)
			fill(buf, e->d_name, NULL, 0, 0);
	closedir(d);
	return leave(0);
}

static int op_statfs(const char *path, struct statvfs *st)
{
	int rc = enter();

	(void)path;
	if (rc)
		return rc;
	return leave(fstatvfs(root_fd, st));
}

/* The kernel keeps no names and no attributes: the cut changes both. */
static void *op_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	(void)conn;
	cfg->hard_remove = 1; /* an open file that is unlinked is known by its descriptor */
	cfg->entry_timeout = cfg->attr_timeout = cfg->negative_timeout = 0;
	return NULL;
}

static const struct fuse_operations operations = {
	.init = op_init,
	.getattr = op_getattr,
	.create = op_create,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.truncate = op_truncate,
	.fallocate = op_fallocate,
	.fsync = op_fsync,
	.fsyncdir = op_fsyncdir,
	.mkdir = op_mkdir,
	.mknod = op_mknod,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.chmod = op_chmod,
	.chown = op_chown,
	.utimens = op_utimens,
	.readdir = op_readdir,
	.statfs = op_statfs,
};

int main(int argc, char **argv)
{
	char *args[] = {argv[0], "-f", "-s", "-o", "allow_other,fsname=lossyfs", NULL, NULL};
	static sigset_t cuts;
	pthread_t thread;

	no_holes = argc == 6 && strcmp(argv[5], "no-holes") == 0;
	if (argc != 5 && !no_holes) {
		fprintf(stderr, "usage: lossyfs BACKING MOUNTPOINT SEED LOSS [no-holes]\n");
		return 2;
	}
	backing = argv[1];
	chance = strtoull(argv[3], NULL, 0);
	loss_percent = (unsigned)strtoul(argv[4], NULL, 0);
	root_fd = open(backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		die(backing);
	if (mkdirat(root_fd, ".lossyfs", 0700))
		die(".lossyfs");
	args[5] = argv[2];
	umask(0);
	sigemptyset(&cuts);
	sigaddset(&cuts, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &cuts, NULL);
	if (pthread_create(&thread, NULL, wait_for_cut, &cuts))
		die("thread");
	return fuse_main(6, args, &operations, NULL);
}
