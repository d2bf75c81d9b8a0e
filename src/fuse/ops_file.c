/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File content. The kernel's page cache over the mount keeps what was read (keep_cache); its
 * writeback cache is off (docs/DESIGN.md F8), so a write is here before write() returns, and
 * O_SYNC arrives as a write and an fsync. What the kernel reads from its own cache we never hear of,
 * so opening for reading counts as access. Locks: none of its own.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

void ops_prepare_handle(struct fuse_state *st, struct inode *in, struct fuse_file_info *fi)
{
	fi->fh = (uintptr_t)in;
	fi->keep_cache = 1;
	/* As with a local filesystem, close() waits for nothing and has nothing to report; but while
	 * data can't be stored, it asks (F3). */
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY || !fs_is_stuck(st->fs);
}

/* O_TRUNC arrives with the open, and nothing else does for it. */
static int truncate_at_open(fuse_req_t req, struct inode *in)
{
	struct fuse_state *st = state_of(req);
	struct fs_attr attr = {.size = 0};
	unsigned set = FS_SET_SIZE;
	int err = 0;

	if (fuse_req_ctx(req)->uid != 0)
		err = ops_kill_suid_with(req, in, &attr, &set);
	return err ? err : fs_setattr(st->fs, in, &attr, set, &attr);
}

void op_open(fuse_req_t req, struct inode *in, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	int err = 0;

	if (fs_handle_get(in)) {
		/* Removed or replaced since the kernel looked it up: this makes it look again. */
		fuse_reply_err(req, ESTALE);
		fs_handle_put(st->fs, in);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC))
		err = fs_may_write(in, fi->flags & O_APPEND, fi->flags & O_TRUNC);
	if (!err && (fi->flags & O_TRUNC))
		err = truncate_at_open(req, in);
	else if (!err && st->access_times && (fi->flags & O_ACCMODE) != O_WRONLY &&
		 !(fi->flags & O_NOATIME))
		ops_accessed(st, in);
	ops_prepare_handle(st, in, fi);
	if (err)
		ops_reply_err(req, err);
	if (err || fuse_reply_open(req, fi) != 0)
		fs_handle_put(st->fs, in);
}

void op_release(fuse_req_t req, struct inode *in, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);

	(void)fi;
	fs_handle_put(st->fs, in);
	fuse_reply_err(req, 0);
}

void op_read(fuse_req_t req, struct inode *in, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	void *buffer = ops_buffer_get(st);
	size_t len = 0;
	int err = DFS_ENOMEM;

	(void)fi;
	if (buffer)
		err = fs_read(st->fs, in, (uint64_t)off, MIN(size, MAX_TRANSFER_BYTES), buffer,
			      &len);
	if (err)
		ops_reply_err(req, err);
	else
		fuse_reply_buf(req, buffer, len);
	if (buffer)
		ops_buffer_put(st, buffer);
}

/* Is it a write to the end? With RWF_NOAPPEND (pwritev2) one through a descriptor with O_APPEND is not: it goes where the
 * kernel says. The kernel, which holds the file's lock, knows the end. */
static bool goes_to_the_end(struct fuse_state *st, struct inode *in, off_t off,
			    const struct fuse_file_info *fi)
{
	struct fs_attr attr;

	return (fi->flags & O_APPEND) && fs_getattr(st->fs, in, &attr) == 0 &&
	       (uint64_t)off == attr.size;
}

void op_write(fuse_req_t req, struct inode *in, const char *data, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	bool append = !fi->writepage && goes_to_the_end(st, in, off, fi);
	int err = 0;

	if (fi->writepage)
		__atomic_add_fetch(&st->page_writes, 1, __ATOMIC_RELAXED);
	if (st->kill_suid && !fi->writepage && fuse_req_ctx(req)->uid != 0)
		err = ops_kill_suid(req, in);
	if (!err && fi->writepage)
		err = fs_write_page(st->fs, in, (uint64_t)off, size, data);
	else if (!err)
		err = fs_write(st->fs, in, (uint64_t)off, size, data, append);
	if (err)
		ops_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

void op_flush(fuse_req_t req, struct inode *in, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);

	(void)fi;
	ops_reply_err(req, fs_flush(st->fs, in));
}

void op_fsync(fuse_req_t req, struct inode *in, int datasync, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);

	(void)fi;
	ops_reply_err(req, fs_fsync(st->fs, in, datasync != 0));
}

void op_fallocate(fuse_req_t req, struct inode *in, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	unsigned ours = 0;
	int err = 0;

	(void)fi;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		ops_reply_err(req, DFS_ENOTSUP);
		return;
	}
	if (mode & FALLOC_FL_KEEP_SIZE)
		ours |= FS_FALLOC_KEEP_SIZE;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		ours |= FS_FALLOC_PUNCH;
	if (mode & FALLOC_FL_ZERO_RANGE)
		ours |= FS_FALLOC_ZERO;
	if (st->kill_suid && fuse_req_ctx(req)->uid != 0)
		err = ops_kill_suid(req, in);
	if (!err)
		err = fs_fallocate(st->fs, in, ours, (uint64_t)off, (uint64_t)len);
	ops_reply_err(req, err);
}

void op_lseek(fuse_req_t req, struct inode *in, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	uint64_t found;
	int err = DFS_EINVAL;

	(void)fi;
	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		err = fs_seek(st->fs, in, (uint64_t)off, whence == SEEK_HOLE, &found);
	if (err)
		ops_reply_err(req, err);
	else
		fuse_reply_lseek(req, (off_t)found);
}
