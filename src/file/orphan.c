/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of inodes (F7). One that loses its last name is freed in the same transaction when nobody
 * has it open and its map is short; else it gets an ORPHAN_UNLINKED record, and is freed in steps by
 * the background thread once its last handle is closed, or at the next mount. ORPHAN_TRUNCATE
 * records (map entries beyond the stored size, F2, F5) are worked off at mount.
 *
 * Owns fs.reap_lock.
 */
#include "file/file_internal.h"

#include <stdlib.h>

static int del_xattrs(struct inode *in, struct meta_txn *t)
{
	struct meta_iter *it;
	BUF from = {0};
	int rc;

	key_xattr(&from, in->ino, "");
	it = meta_iter_new_within(in->fs->meta, from.data, from.len);
	for (meta_iter_seek(it, from.data, from.len); meta_iter_valid(it); meta_iter_next(it)) {
		size_t len;
		const uint8_t *key = meta_iter_key(it, &len);

		if (len < from.len || memcmp(key, from.data, from.len) != 0)
			break;
		meta_del(t, key, len);
	}
	rc = meta_iter_error(it);
	meta_iter_free(it);
	return rc;
}

/* Adds the removal of everything but map entries. */
static int del_all(struct inode *in, struct meta_txn *t)
{
	int rc = in->rec.flags & INODE_XATTRS ? del_xattrs(in, t) : 0;

	if (rc)
		return rc;
	if (in->rec.inline_len)
		del_inline(t, in->ino);
	del_inode(t, in->ino);
	meta_add(t, META_COUNT_INODES, -1);
	return 0;
}

/* Takes the whole inode away in t, unless it has too many map entries: then t is as it was. */
static int try_free(struct victim *v, struct meta_txn *t, bool *ret_fits)
{
	struct inode *in = v->in;
	int rc = map_drop_all(in, t, &v->refs, ret_fits);

	if (rc || !*ret_fits)
		return rc;
	rc = del_all(in, t);
	if (rc == 0 && v->refs.count)
		rc = extent_refs_apply(in->fs->extents, t, &v->refs);
	if (rc)
		return rc;
	if (in->rec.mapped_bytes)
		meta_add(t, META_COUNT_LOGICAL_BYTES, -(int64_t)in->rec.mapped_bytes);
	if (in->beyond_end)
		del_orphan(t, in->ino);
	return 0;
}

int victim_prepare(struct victim *v, struct meta_txn *t, struct inode *in)
{
	struct rec_orphan orphan = {in->ino, ORPHAN_UNLINKED, 0};
	bool now = false;
	int rc = 0;

	*v = (struct victim){.in = in, .r = in->rec};
	v->r.nlink = is_dir(in) || !v->r.nlink ? 0 : v->r.nlink - 1;
	v->r.ctime = time_now();
	if (v->r.nlink) {
		put_inode(t, in->ino, &v->r);
		v->fate = VICTIM_KEPT;
		return 0;
	}
	if (is_dir(in) || (!inode_handles(in) && !in->excl && TAILQ_EMPTY(&in->fifo)))
		rc = try_free(v, t, &now);
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
	if (v->fate == VICTIM_FREED)
		freed(in);
	else if (v->fate == VICTIM_ORPHANED && !inode_handles(in))
		reap_later(in->fs, in);
}

void victim_release(struct victim *v) { extent_refs_release(&v->refs); }

void reap_later(struct fs *fs, struct inode *in)
{
	struct reap *r;

	if (in->reaping)
		return;
	in->reaping = true;
	r = xcalloc(1, sizeof(*r));
	r->ino = in->ino;
	env_mutex_lock(&fs->reap_lock);
	STAILQ_INSERT_TAIL(&fs->reap, r, link);
	env_cond_signal(&fs->reap_wake);
	env_mutex_unlock(&fs->reap_lock);
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
	struct victim v = {.in = in};
	struct meta_txn *t = meta_begin(in->fs->meta);
	uint64_t seq;
	int rc = try_free(&v, t, ret_done);

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

static int reap_locked(struct inode *in)
{
	struct rec_inode r;
	uint64_t next;
	bool done;
	int rc;

	in->reaping = false;
	if (in->freed || in->rec.nlink || inode_handles(in))
		return 0;
	dirty_drop(in);
	for (;;) {
		rc = reap_last(in, &done);
		if (rc || done)
			return rc;
		/* A step from the end: what is left stays a valid, shorter file. */
		CLEANUP(map_done) struct map_cursor c = {0};

		rc = map_seek(&c, in, 0);
		for (unsigned i = 0; rc == 0 && c.valid && i < STEP_ENTRIES; i++)
			rc = map_next(&c);
		if (rc)
			return rc;
		next = c.valid ? c.rec.file_offset : UINT64_MAX;
		r = in->rec;
		rc = map_unmap(in, &r, 0, next, false);
		if (rc || __atomic_load_n(&in->fs->abandoned, __ATOMIC_RELAXED))
			return rc;
	}
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
		env_mutex_lock(&fs->reap_lock);
		r = __atomic_load_n(&fs->abandoned, __ATOMIC_RELAXED) ? NULL
								      : STAILQ_FIRST(&fs->reap);
		if (r) {
			STAILQ_REMOVE_HEAD(&fs->reap, link);
			fs->reap_busy++;
		}
		env_mutex_unlock(&fs->reap_lock);
		if (!r)
			return;
		reap_one(fs, r->ino);
		free(r);
		env_mutex_lock(&fs->reap_lock);
		if (--fs->reap_busy == 0)
			env_cond_broadcast(&fs->reap_idle);
		env_mutex_unlock(&fs->reap_lock);
	}
}

void reap_wait(struct fs *fs)
{
	reap_run(fs);
	ENV_LOCKED(&fs->reap_lock);
	while (fs->reap_busy)
		env_cond_wait(&fs->reap_idle, &fs->reap_lock);
}

void reap_free_list(struct fs *fs)
{
	struct reap *r;

	while ((r = STAILQ_FIRST(&fs->reap))) {
		STAILQ_REMOVE_HEAD(&fs->reap, link);
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
	if (in->rec.nlink == 0)
		reap_later(fs, in);
	env_mutex_unlock(&in->lock);
	inode_put(in, 1);
	return 0;
}

int orphans_recover(struct fs *fs)
{
	struct meta_iter *it = meta_iter_new(fs->meta);
	const uint8_t table = TABLE_ORPHAN;
	int rc;

	for (meta_iter_seek(it, &table, 1); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *key = meta_iter_key(it, &key_len);
		const uint8_t *val = meta_iter_value(it, &val_len);
		struct rec_orphan o;

		if (!key_len || key[0] != table)
			break;
		rc = parse_orphan(key, key_len, val, val_len, &o);
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
	rc = meta_iter_error(it);
	meta_iter_free(it);
	return rc;
}
