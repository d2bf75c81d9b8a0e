/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: lookup, making, linking, renaming and removing. Names that are not there are remembered by
 * the kernel, too (an entry with node id 0). No locks of its own.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/le.h"

void op_lookup(fuse_req_t req, struct inode *dir, const char *name)
{
	static const struct fuse_entry_param absent = {.entry_timeout = CACHE_TIMEOUT_S};
	struct fuse_state *st = state_of(req);
	struct inode *in = NULL;
	struct fs_attr attr;
	int err = fs_lookup(st->fs, dir, name, &in, &attr);

	if (err == DFS_ENOENT)
		fuse_reply_entry(req, &absent);
	else
		ops_reply_entry(req, err, in, &attr);
}

void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count)
{
	struct fuse_state *st = state_of(req);

	fs_kernel_forgot(st->fs, (ino_id){id}, count);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fuse_state *st = state_of(req);

	for (size_t i = 0; i < count; i++)
		fs_kernel_forgot(st->fs, (ino_id){forgets[i].ino}, forgets[i].nlookup);
	fuse_reply_none(req);
}

void op_mknod(fuse_req_t req, struct inode *dir, const char *name, mode_t mode, dev_t rdev)
{
	struct fuse_state *st = state_of(req);
	struct inode *in = NULL;
	struct fs_attr attr;
	int err = fs_mknod(st->fs, dir, name, mode, rdev, ops_cred(req), &in, &attr);

	ops_reply_entry(req, err, in, &attr);
}

void op_mkdir(fuse_req_t req, struct inode *dir, const char *name, mode_t mode)
{
	struct fuse_state *st = state_of(req);
	struct inode *in = NULL;
	struct fs_attr attr;
	int err = fs_mkdir(st->fs, dir, name, mode | S_IFDIR, ops_cred(req), &in, &attr);

	ops_reply_entry(req, err, in, &attr);
}

/* The name may have come into being since the kernel looked: without O_EXCL that is an open. */
static int create_or_find(fuse_req_t req, struct inode *dir, const char *name, mode_t mode,
			  int flags, struct inode **ret_in, struct fs_attr *ret_attr)
{
	struct fs_attr empty = {.size = 0};
	struct fs *fs = state_of(req)->fs;
	int err = fs_mknod(fs, dir, name, mode, 0, ops_cred(req), ret_in, ret_attr);

	if (err != DFS_EEXIST || (flags & O_EXCL))
		return err;
	err = fs_lookup(fs, dir, name, ret_in, ret_attr);
	if (err || !(flags & O_TRUNC))
		return err;
	err = fs_setattr(fs, *ret_in, &empty, FS_SET_SIZE, ret_attr);
	if (err)
		fs_forget(fs, *ret_in, 1);
	return err;
}

void op_create(fuse_req_t req, struct inode *dir, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	struct fuse_entry_param e;
	struct inode *in = NULL;
	struct fs_attr attr;
	int err = create_or_find(req, dir, name, (mode & ~(mode_t)S_IFMT) | S_IFREG, fi->flags, &in,
				 &attr);

	if (err) {
		ops_reply_err(req, err);
		return;
	}
	fs_handle_get(in);
	ops_prepare_handle(st, in, fi);
	ops_entry(&attr, &e);
	fs_kernel_knows(st->fs, in);
	if (fuse_reply_create(req, &e, fi) != 0) {
		fs_handle_put(st->fs, in);
		fs_kernel_forgot(st->fs, attr.ino, 1);
	}
	fs_forget(st->fs, in, 1);
}

void op_unlink(fuse_req_t req, struct inode *dir, const char *name)
{
	struct fuse_state *st = state_of(req);

	ops_reply_err(req, fs_unlink(st->fs, dir, name));
}

void op_rmdir(fuse_req_t req, struct inode *dir, const char *name)
{
	struct fuse_state *st = state_of(req);

	ops_reply_err(req, fs_rmdir(st->fs, dir, name));
}

void op_symlink(fuse_req_t req, const char *target, struct inode *dir, const char *name)
{
	struct fuse_state *st = state_of(req);
	struct inode *in = NULL;
	struct fs_attr attr;
	int err = fs_symlink(st->fs, dir, name, target, ops_cred(req), &in, &attr);

	ops_reply_entry(req, err, in, &attr);
}

void op_readlink(fuse_req_t req, struct inode *in)
{
	struct fuse_state *st = state_of(req);
	CLEANUP(buf_release) struct buf target = {0};
	int err = fs_readlink(st->fs, in, &target);

	if (err) {
		ops_reply_err(req, err);
		return;
	}
	buf_put(&target, "", 1);
	fuse_reply_readlink(req, (const char *)target.data);
}

void op_link(fuse_req_t req, struct inode *in, struct inode *dir, const char *name)
{
	struct fuse_state *st = state_of(req);
	struct inode *again = NULL;
	struct fs_attr attr;
	int err = fs_link(st->fs, in, dir, name, &attr);

	if (!err)
		err = fs_inode_get(st->fs, attr.ino, &again); /* the reply gives a reference back */
	ops_reply_entry(req, err, again, &attr);
}

void op_rename(fuse_req_t req, struct inode *dir, const char *name, struct inode *to_dir,
	       const char *to_name, unsigned flags)
{
	struct fuse_state *st = state_of(req);
	unsigned ours = 0;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) {
		ops_reply_err(req, DFS_EINVAL);
		return;
	}
	if (flags & RENAME_NOREPLACE)
		ours |= FS_RENAME_NOREPLACE;
	if (flags & RENAME_EXCHANGE)
		ours |= FS_RENAME_EXCHANGE;
	if (flags & RENAME_WHITEOUT)
		ops_reply_err(req, fs_rename_whiteout(st->fs, dir, name, to_dir, to_name, ours,
						      ops_cred(req)));
	else
		ops_reply_err(req, fs_rename(st->fs, dir, name, to_dir, to_name, ours));
}
