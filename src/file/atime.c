/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of last access, by the rule of relatime: kept only while they say something that the other
 * times don't, so that reading a tree twice doesn't write twice. Locks: the inode's.
 */
#include "file/internal.h"

#include <stdlib.h>

#define DAY_S 86400

static bool is_later(struct dfs_time a, struct dfs_time b)
{
	return a.sec > b.sec || (a.sec == b.sec && a.nsec > b.nsec);
}

static bool is_due(const struct rec_inode *r, struct dfs_time now)
{
	return !is_later(r->atime, r->mtime) || !is_later(r->atime, r->ctime) ||
	       r->atime.sec <= now.sec - DAY_S; /* what is stored may be any number */
}

bool fs_accessed(struct fs *fs, struct inode *in)
{
	struct dfs_time now = time_now();
	struct rec_inode r;

	if (fs->read_only)
		return false;
	ENV_LOCKED(&in->lock);
	/* What is left of a journal that can't be emptied is for deletions (C3). */
	if (in->freed || !is_due(&in->rec, now) || !pool_may_grow(fs->pool))
		return false;
	r = in->rec;
	r.atime = now;
	/* Not worth failing a read for; the times in memory stay as they were. */
	return inode_commit(in, meta_begin(fs->meta), &r) == 0;
}
