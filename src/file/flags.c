/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Immutable and append-only inodes (chattr +i, +a; AT1): the two flags. What they forbid is asked where it would happen,
 * under the lock that a change of the flags takes, too: INODE_FIXED, INODE_IMMUTABLE.
 */
#include "file/internal.h"

unsigned fs_flags_get(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	return (in->rec.flags & INODE_IMMUTABLE ? FS_FLAG_IMMUTABLE : 0) |
	       (in->rec.flags & INODE_APPEND ? FS_FLAG_APPEND : 0);
}

int fs_flags_set(struct fs *fs, struct inode *in, unsigned flags)
{
	struct rec_inode r;

	if (fs->read_only)
		return DFS_EROFS;
	if (!is_reg(in) && !is_dir(in))
		return DFS_ENOTSUP;
	ENV_LOCKED(&in->lock);
	while (in->excl) /* a truncation that has begun ends before */
		env_cond_wait(&in->changed, &in->lock);
	if (in->freed)
		return DFS_ENOENT;
	r = in->rec;
	r.flags &= ~INODE_FIXED;
	r.flags |= (flags & FS_FLAG_IMMUTABLE ? INODE_IMMUTABLE : 0) |
		   (flags & FS_FLAG_APPEND ? INODE_APPEND : 0);
	r.ctime = time_now();
	return inode_commit(in, meta_begin(fs->meta), &r);
}

int fs_may_write(struct inode *in, bool append, bool truncate)
{
	ENV_LOCKED(&in->lock);
	return in->rec.flags & (append && !truncate ? INODE_IMMUTABLE : INODE_FIXED) ? DFS_EPERM
										     : 0;
}
