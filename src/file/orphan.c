/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of inodes (F7). One that loses its last name is freed in the same transaction when nobody
 * has it open and its map is short; else it gets an ORPHAN_UNLINKED record, and is freed in steps by
 * the background thread once its last handle is closed, or at the next mount. ORPHAN_TRUNCATE
 * records (map entries beyond the stored size, F2, F5) are worked off at mount.
 *
 * Owns fs.reaper.lock.
 */
#include "base/probe.h"
#include "file/internal.h"

#include <stdlib.h>

/* Keys of attributes, each behind its length (le16), as many as may be deleted in room bytes. */
static int gather_xattrs(struct inode *in, size_t room, struct buf *keys, bool *ret_all)
{
	const size_t prefix = 1 + sizeof(in->ino.v); /* the table and the inode */
	struct cursor c;

	*ret_all = true;
	buf_reset(keys);
	if (!(in->rec.flags & INODE_XATTRS))
		return 0;
	cursor_of_inode(&c, in->fs->meta, TABLE_XATTR, in->ino);
	while (cursor_next(&c)) {
		if (c.key_len > prefix + DFS_NAME_MAX)
			continue; /* no key of ours (P10) */
		if (keys->len && (room < XATTR_DEL_BYTES || keys->len > room - XATTR_DEL_BYTES)) {
			*ret_all = false;
			break;
		}
		buf_put_le16(keys, (uint16_t)c.key_len);
		buf_put(keys, c.key, c.key_len);
		room -= MIN(room, 6); /* what a deletion takes more than its key's length */
	}
	return cursor_close(&c, 0);
}

static void del_xattrs(struct meta_txn *t, const struct buf *keys)
{
	struct reader r = reader_of(keys->data, keys->len);

	while (reader_left(&r)) {
		size_t len = reader_le16(&r);

		meta_del(t, reader_bytes(&r, len), len);
	}
}

/* Takes the whole inode away in change.t, unless that is too much for one transaction (B1): then it is
 * as it was. */
static int try_free(struct victim *v, bool *ret_fits)
{
	struct inode *in = v->in;
	struct meta_txn *t = v->change.t;
	size_t room = map_room(&v->change);
	BUF xattrs = {0};
	int rc = gather_xattrs(in, room, &xattrs, ret_fits);

	*ret_fits &= !(in->rec.flags & INODE_PREALLOC); /* that goes in steps, first */
	if (rc || !*ret_fits)
		return rc;
	rc = map_drop_all(&v->change, room - MIN(room, 2 * xattrs.len), ret_fits);
	if (rc || !*ret_fits)
		return rc;
	del_xattrs(t, &xattrs);
	if (in->rec.inline_len)
		del_inline(t, in->ino);
	del_inode(t, in->ino);
	meta_add(t, META_COUNT_INODES, -1);
	if (in->rec.mapped_bytes)
		meta_add(t, META_COUNT_LOGICAL_BYTES, -(int64_t)in->rec.mapped_bytes);
	if (in->beyond_end)
		del_orphan(t, in->ino);
	return map_apply(&v->change, NULL);
}

int victim_prepare(struct victim *v, struct meta_txn *t, struct inode *in)
{
	struct rec_orphan orphan = {in->ino, ORPHAN_UNLINKED, 0};
	bool now = false;
	int rc = 0;

	*v = (struct victim){.in = in, .r = in->rec, .change = {.in = in, .t = t}};
	v->r.nlink = is_dir(in) || !v->r.nlink ? 0 : v->r.nlink - 1;
	v->r.ctime = time_now();
	if (v->r.nlink) {
		put_inode(t, in->ino, &v->r);
		v->fate = VICTIM_KEPT;
		return 0;
	}
	if (is_dir(in) || (!inode_handles(in) && !in->excl && TAILQ_EMPTY(&in->fifo)))
		rc = try_free(v, &now);
	if (rc)
		return rc;
	v->fate = now ? VICTIM_FREED : VICTIM_ORPHANED;
	if (!now) {
		put_orphan(t, &orphan);
		put_inode(t, in->ino, &v->r);
	}
	return 0;
}

static void freed(struct inode *in)
{
	in->freed = true;
	in->rec.nlink = 0;
	in->rec.mapped_bytes = 0;
	in->rec.inline_len = 0;
	in->beyond_end = 0;
	in->size = is_dir(in) ? in->size : 0;
	in->error = 0;
	dirty_drop(in);
}

void victim_done(struct victim *v, uint64_t seq)
{
	struct inode *in = v->in;

	inode_took(in, &v->r, seq);
	if (v->fate != VICTIM_KEPT)
		inode_gone(in);
	if (v->fate == VICTIM_FREED)
		freed(in);
	else if (v->fate == VICTIM_ORPHANED && !inode_handles(in))
		reap_later(in->fs, in);
}

void victim_release(struct victim *v) { map_change_release(&v->change); }

void reap_later(struct fs *fs, struct inode *in)
{
	struct reap *r;

	if (in->reaping)
		return;
	in->reaping = true;
	r = xcalloc(1, sizeof(*r));
	r->ino = in->ino;
	env_mutex_lock(&fs->reaper.lock);
	STAILQ_INSERT_TAIL(&fs->reaper.list, r, link);
	env_cond_signal(&fs->reaper.wake);
	env_mutex_unlock(&fs->reaper.lock);
}

void orphan_last_close(struct fs *fs, struct inode *in)
{
	ENV_LOCKED(&in->lock);
	if (in->rec.nlink == 0 && !in->freed && !inode_handles(in) && !fs->read_only)
		reap_later(fs, in);
}

/* Everything that is left, when that fits in one transaction. */
static int reap_last(struct inode *in, bool *ret_done)
{
	struct meta_txn *t = meta_begin(in->fs->meta);
	struct victim v = {.in = in, .change = {.in = in, .t = t}};
	uint64_t seq;
	int rc = try_free(&v, ret_done);

	if (rc == 0 && *ret_done) {
		del_orphan(t, in->ino);
		rc = meta_commit(t, &seq);
	} else {
		meta_cancel(t);
	}
	victim_release(&v);
	if (rc == 0 && *ret_done)
		freed(in);
	return rc;
}

static int reap_xattrs(struct inode *in)
{
	struct meta_txn *t = meta_begin(in->fs->meta);
	struct rec_inode r = in->rec;
	BUF keys = {0};
	bool all;
	int rc = gather_xattrs(in, in->fs->cfg.txn_bytes - TXN_RESERVE_BYTES, &keys, &all);

	if (rc) {
		meta_cancel(t);
		return rc;
	}
	del_xattrs(t, &keys);
	return inode_commit(in, t, &r);
}

/* Under the orphan record, of an inode that nobody can see any more: what is promised to it, else one step of
 * its map, or, when that is empty, of its attributes. */
static int reap_step(struct inode *in)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct rec_inode r = in->rec;
	int rc;

	if (r.flags & INODE_PREALLOC)
		return prealloc_drop(in, &r, 0, UINT64_MAX);
	rc = map_seek(&c, in, 0);
	if (rc)
		return rc;
	return c.valid ? map_unmap_some(in, &r) : reap_xattrs(in);
}

static int reap_locked(struct inode *in)
{
	bool done = false;
	int rc = 0;

	in->reaping = false;
	if (in->freed || in->rec.nlink || inode_handles(in))
		return 0;
	dirty_drop(in);
	while (rc == 0 && !done && !__atomic_load_n(&in->fs->abandoned, __ATOMIC_RELAXED)) {
		rc = reap_last(in, &done);
		if (rc == 0 && !done)
			rc = reap_step(in);
	}
	return rc;
}

static void reap_one(struct fs *fs, ino_id ino)
{
	struct inode *in;
	int rc = fs_inode_get(fs, ino, &in);

	if (rc == DFS_ENOENT)
		return;
	if (rc) {
		log_error("cannot free deleted inode %llu: %s; its space stays taken until the "
			  "next mount; run fsck",
			  (unsigned long long)ino.v, dfs_err_text(rc));
		return;
	}
	env_mutex_lock(&in->lock);
	inode_excl_begin(in);
	rc = reap_locked(in);
	if (rc)
		in->freed = true; /* parts of it may be gone: never show zeros for them (P3) */
	inode_excl_end(in);
	env_mutex_unlock(&in->lock);
	if (rc && rc != DFS_EFAILED && rc != DFS_EROFS)
		inode_log(in, "free the space", rc, "it stays taken until the next mount");
	inode_put(in, 1);
}

void reap_run(struct fs *fs)
{
	struct reap *r;

	for (;;) {
		env_mutex_lock(&fs->reaper.lock);
		r = __atomic_load_n(&fs->abandoned, __ATOMIC_RELAXED)
			    ? NULL
			    : STAILQ_FIRST(&fs->reaper.list);
		if (r) {
			STAILQ_REMOVE_HEAD(&fs->reaper.list, link);
			fs->reaper.busy++;
		}
		env_mutex_unlock(&fs->reaper.lock);
		if (!r)
			return;
		reap_one(fs, r->ino);
		free(r);
		env_mutex_lock(&fs->reaper.lock);
		if (--fs->reaper.busy == 0)
			env_cond_broadcast(&fs->reaper.idle);
		env_mutex_unlock(&fs->reaper.lock);
	}
}

void reap_wait(struct fs *fs)
{
	reap_run(fs);
	ENV_LOCKED(&fs->reaper.lock);
	while (fs->reaper.busy)
		env_cond_wait(&fs->reaper.idle, &fs->reaper.lock);
}

void reap_free_list(struct fs *fs)
{
	struct reap *r;

	while ((r = STAILQ_FIRST(&fs->reaper.list))) {
		STAILQ_REMOVE_HEAD(&fs->reaper.list, link);
		free(r);
	}
}

static int recover_truncate(struct fs *fs, const struct rec_orphan *o)
{
	struct rec_inode r;
	struct inode *in;
	int rc = fs_inode_get(fs, o->ino, &in);

	if (rc)
		return rc;
	env_mutex_lock(&in->lock);
	PROBE("truncation-resumed-at-mount");
	in->beyond_end = DFS_FILE_MAX;
	r = in->rec;
	r.flags |= INODE_BEYOND; /* so that the orphan record goes with the last step */
	rc = map_unmap(in, &r, r.size, UINT64_MAX, true);
	env_mutex_unlock(&in->lock);
	inode_put(in, 1);
	return rc;
}

static int recover_one(struct fs *fs, const struct rec_orphan *o)
{
	struct inode *in;
	int rc;

	if (o->kind == ORPHAN_TRUNCATE)
		return recover_truncate(fs, o);
	rc = fs_inode_get(fs, o->ino, &in);
	if (rc)
		return rc;
	env_mutex_lock(&in->lock);
	PROBE("orphan-freed-at-mount");
	if (in->rec.nlink == 0)
		reap_later(fs, in);
	env_mutex_unlock(&in->lock);
	inode_put(in, 1);
	return 0;
}

int orphans_recover(struct fs *fs)
{
	struct cursor c;

	cursor_of_table(&c, fs->meta, TABLE_ORPHAN);
	while (cursor_next(&c)) {
		struct rec_orphan o;
		int rc = cursor_orphan(&c, &o);

		if (rc == 0)
			rc = recover_one(fs, &o);
		if (rc == DFS_EFAILED || rc == DFS_EROFS)
			break;
		if (rc)
			log_error(
				"cannot finish freeing a deleted or shortened file: %s; its space "
				"stays taken; run fsck",
				dfs_err_text(rc));
	}
	return cursor_close(&c, 0);
}
