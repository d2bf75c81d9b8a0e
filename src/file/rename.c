/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Renaming: one transaction, whatever moves or is replaced (P2). A file that replaces another has its
 * dirty data committed first (F6), so that the new name never shows less than was written.
 *
 * A directory must not move below itself: parents are followed to the root under fs.rename_lock,
 * which every rename between directories takes, so no parent changes meanwhile.
 */
#include "base/probe.h"
#include "file/internal.h"

#include <stdlib.h>

#define MAX_DEPTH 1000000u

struct rename {
	struct fs *fs;
	struct inode *from_dir, *to_dir;
	const char *from, *to;
	unsigned flags;
	const struct fs_cred *whiteout; /* its owner; NULL: none is left */
	struct inode *src, *tgt;	/* tgt may be NULL */
	struct rec_inode from_r, to_r, src_r, tgt_r;
	struct victim victim;
};

static void rename_release(struct rename *rn)
{
	victim_release(&rn->victim);
	inode_put(rn->src, 1);
	inode_put(rn->tgt, 1);
}

/* The inode that name means now, with a reference; NULL when there is none. */
static int peek(struct fs *fs, struct inode *dir, const char *name, struct inode **ret_inode)
{
	struct fs_attr attr;
	int rc;

	*ret_inode = NULL;
	rc = fs_lookup(fs, dir, name, ret_inode, &attr);
	return rc == DFS_ENOENT ? 0 : rc;
}

/* Is dir the same as or below top? */
static int is_below(struct fs *fs, struct inode *dir, const struct inode *top, bool *ret_below)
{
	ino_id at = dir->ino, parent = dir->rec.parent;

	for (unsigned depth = 0; depth < MAX_DEPTH; depth++) {
		struct rec_inode r;
		int rc;

		*ret_below = at.v == top->ino.v;
		if (*ret_below || at.v == DFS_ROOT_INO || parent.v == at.v)
			return 0;
		at = parent;
		rc = get_inode(fs->meta, at, &r);
		if (rc)
			return rc;
		parent = r.parent;
	}
	log_error("cannot follow directory %llu to the root: its parents form a circle; run fsck",
		  (unsigned long long)dir->ino.v);
	return DFS_EIO;
}

static int check_loops(struct rename *rn)
{
	bool below = false;
	int rc = 0;

	if (rn->from_dir == rn->to_dir)
		return 0;
	if (is_dir(rn->src))
		rc = is_below(rn->fs, rn->to_dir, rn->src, &below);
	if (rc == 0 && !below && rn->tgt && is_dir(rn->tgt) && (rn->flags & FS_RENAME_EXCHANGE))
		rc = is_below(rn->fs, rn->from_dir, rn->tgt, &below);
	return rc ? rc : below ? DFS_EINVAL : 0;
}

/* AT1 */
static bool is_forbidden(const struct rename *rn)
{
	return name_is_fixed(rn->from_dir, rn->src) ||
	       (rn->tgt ? name_is_fixed(rn->to_dir, rn->tgt)
			: (rn->to_dir->rec.flags & INODE_IMMUTABLE) != 0);
}

static int check_types(struct rename *rn)
{
	if (!rn->tgt || (rn->flags & FS_RENAME_EXCHANGE))
		return 0;
	if (is_dir(rn->src) && !is_dir(rn->tgt))
		return DFS_ENOTDIR;
	if (!is_dir(rn->src) && is_dir(rn->tgt))
		return DFS_EISDIR;
	return is_dir(rn->tgt) ? dir_empty(rn->tgt) : 0;
}

static void put_entry(struct meta_txn *t, const struct inode *dir, const char *name,
		      const struct inode *in)
{
	struct rec_dentry d = {.ino = in->ino, .mode = in->type};

	memcpy(d.name, name, strlen(name) + 1);
	put_dentry(t, dir->ino, &d);
}

/* src leaves from_dir and comes into to_dir; links and sizes of both follow. */
static void move_dirs(struct rename *rn)
{
	bool cross = rn->from_dir != rn->to_dir, exchange = rn->flags & FS_RENAME_EXCHANGE;
	struct rec_inode *from = &rn->from_r, *to = cross ? &rn->to_r : &rn->from_r;

	rn->from_r = rn->from_dir->rec;
	rn->to_r = rn->to_dir->rec;
	from->mtime = from->ctime = time_now();
	to->mtime = to->ctime = from->mtime;
	if (is_dir(rn->src)) {
		from->nlink--;
		to->nlink++;
	}
	if (!exchange && !rn->whiteout && from->size)
		from->size--;
	if (rn->tgt && is_dir(rn->tgt)) {
		to->nlink--;
		from->nlink += exchange ? 1 : 0;
	}
	if (!exchange && !rn->tgt && to->size < DFS_FILE_MAX)
		to->size++;
	rn->src_r.parent = rn->to_dir->ino;
	rn->src_r.ctime = from->mtime;
	rn->tgt_r.parent = rn->from_dir->ino;
	rn->tgt_r.ctime = from->mtime;
}

/* Locked and counted, until whiteout_done(). */
static struct inode *put_whiteout(struct rename *rn, struct meta_txn *t)
{
	struct rec_inode r = name_new_rec(rn->from_dir, S_IFCHR, 0, *rn->whiteout);
	struct inode *in = inode_new(rn->fs, &r);

	put_inode(t, in->ino, &r);
	put_entry(t, rn->from_dir, rn->from, in);
	meta_add(t, META_COUNT_INODES, 1);
	return in;
}

static void whiteout_done(struct inode *in, int err, uint64_t seq)
{
	inode_born(in, err);
	if (!err)
		in->last_seq = seq;
	env_mutex_unlock(&in->lock);
	inode_put(in, 1);
}

static int fill(struct rename *rn, struct meta_txn *t)
{
	bool exchange = rn->flags & FS_RENAME_EXCHANGE;

	rn->src_r = rn->src->rec;
	if (exchange)
		rn->tgt_r = rn->tgt->rec;
	move_dirs(rn);
	put_inode(t, rn->src->ino, &rn->src_r);
	put_entry(t, rn->to_dir, rn->to, rn->src);
	if (exchange) {
		put_inode(t, rn->tgt->ino, &rn->tgt_r);
		put_entry(t, rn->from_dir, rn->from, rn->tgt);
	} else if (!rn->whiteout) {
		del_dentry(t, rn->from_dir->ino, rn->from);
	}
	put_inode(t, rn->from_dir->ino, &rn->from_r);
	if (rn->from_dir != rn->to_dir)
		put_inode(t, rn->to_dir->ino, &rn->to_r);
	return rn->tgt && !exchange ? victim_prepare(&rn->victim, t, rn->tgt) : 0;
}

static int rename_locked(struct rename *rn)
{
	struct inode *left = NULL; /* what the old name means then: nothing */
	ino_id left_ino = {0};
	struct meta_txn *t;
	uint64_t seq;
	int rc;

	if (rn->src == rn->tgt)
		return 0;
	if (rn->to_dir->freed || rn->from_dir->freed)
		return DFS_ENOENT;
	if (is_forbidden(rn))
		return DFS_EPERM;
	rc = check_loops(rn);
	if (rc == 0)
		rc = check_types(rn);
	if (rc)
		return rc;
	t = meta_begin(rn->fs->meta);
	rc = fill(rn, t);
	if (rc) {
		meta_cancel(t);
		return rc;
	}
	if (rn->whiteout)
		left = put_whiteout(rn, t);
	rc = meta_commit(t, &seq);
	if (left) {
		left_ino = left->ino;
		whiteout_done(left, rc, seq);
	}
	if (rc)
		return rc;
	names_set(rn->from_dir, rn->from, rn->flags & FS_RENAME_EXCHANGE ? rn->tgt->ino : left_ino);
	names_set(rn->to_dir, rn->to, rn->src->ino);
	inode_took(rn->src, &rn->src_r, seq);
	inode_took(rn->from_dir, &rn->from_r, seq);
	rn->from_dir->size = rn->from_r.size;
	if (rn->from_dir != rn->to_dir) {
		inode_took(rn->to_dir, &rn->to_r, seq);
		rn->to_dir->size = rn->to_r.size;
	}
	if (rn->tgt && (rn->flags & FS_RENAME_EXCHANGE))
		inode_took(rn->tgt, &rn->tgt_r, seq);
	else if (rn->tgt)
		victim_done(&rn->victim, seq);
	return 0;
}

/* Locks and looks whether both names still mean what was seen; then renames. */
static int rename_try(struct rename *rn, bool *ret_again)
{
	struct inode *locks[] = {rn->from_dir, rn->to_dir, rn->src, rn->tgt};
	bool cross = rn->from_dir != rn->to_dir, same_from = false, same_to = false;
	int rc;

	if (cross)
		env_mutex_lock(&rn->fs->rename_lock);
	inode_lock_many(locks, 4);
	rc = name_is_still(rn->from_dir, rn->from, rn->src, &same_from);
	if (rc == 0)
		rc = name_is_still(rn->to_dir, rn->to, rn->tgt, &same_to);
	*ret_again = rc == 0 && !(same_from && same_to);
	if (rc == 0 && !*ret_again)
		rc = rename_locked(rn);
	inode_unlock_many(locks, 4);
	if (cross)
		env_mutex_unlock(&rn->fs->rename_lock);
	return rc;
}

static int rename_once(struct fs *fs, struct inode *from_dir, const char *from,
		       struct inode *to_dir, const char *to, unsigned flags,
		       const struct fs_cred *whiteout, bool *ret_again)
{
	CLEANUP(rename_release)
	struct rename rn = {.fs = fs,
			    .from_dir = from_dir,
			    .to_dir = to_dir,
			    .from = from,
			    .to = to,
			    .flags = flags,
			    .whiteout = whiteout};
	int rc = peek(fs, from_dir, from, &rn.src);

	*ret_again = false;
	if (rc == 0)
		rc = peek(fs, to_dir, to, &rn.tgt);
	if (rc)
		return rc;
	if (!rn.src)
		return DFS_ENOENT;
	if (rn.tgt && (flags & FS_RENAME_NOREPLACE))
		return DFS_EEXIST;
	if (!rn.tgt && (flags & FS_RENAME_EXCHANGE))
		return DFS_ENOENT;
	if (rn.tgt && rn.tgt != rn.src && is_reg(rn.src)) {
		PROBE("rename-took-content-along");
		rc = seal_wait(rn.src); /* F6 */
		if (rc)
			return rc;
	}
	return rename_try(&rn, ret_again);
}

static int rename_any(struct fs *fs, struct inode *from_dir, const char *from, struct inode *to_dir,
		      const char *to, unsigned flags, const struct fs_cred *whiteout)
{
	bool again = true;
	int rc = name_check(from);

	if (rc == 0)
		rc = name_check(to);
	if (rc)
		return rc;
	if (!is_dir(from_dir) || !is_dir(to_dir))
		return DFS_ENOTDIR;
	if (!strcmp(from, ".") || !strcmp(from, "..") || !strcmp(to, ".") || !strcmp(to, ".."))
		return DFS_EINVAL;
	if ((flags & ~3u) || flags == (FS_RENAME_NOREPLACE | FS_RENAME_EXCHANGE))
		return DFS_EINVAL;
	if (fs->read_only)
		return DFS_EROFS;
	if (whiteout)
		rc = space_take(fs, 0, INDEX_NAME_BYTES + strlen(from));
	if (rc == 0 && whiteout)
		rc = inode_numbers_ensure(fs);
	if (rc)
		return rc;
	while (again)
		rc = rename_once(fs, from_dir, from, to_dir, to, flags, whiteout, &again);
	return rc;
}

int fs_rename(struct fs *fs, struct inode *from_dir, const char *from, struct inode *to_dir,
	      const char *to, unsigned flags)
{
	return rename_any(fs, from_dir, from, to_dir, to, flags, NULL);
}

int fs_rename_whiteout(struct fs *fs, struct inode *from_dir, const char *from,
		       struct inode *to_dir, const char *to, unsigned flags, struct fs_cred cred)
{
	if (flags & FS_RENAME_EXCHANGE)
		return DFS_EINVAL;
	return rename_any(fs, from_dir, from, to_dir, to, flags, &cred);
}
