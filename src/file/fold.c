/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding: a slot that takes more than it may (usage.c) is read and stored again, whole, and with that all
 * the garbage in it goes: extents of which little is left, and extents so small that their headers are most
 * of them. So what overwriting leaves behind is bounded by what is alive (U4), and each byte that a fold
 * writes was paid for by one that had become garbage (U5): docs/DESIGN.md.
 *
 * Old until new (P7): what is mapped is looked up under the inode's lock, read and written again without a
 * lock, and then, under the lock, every entry that is still as it was read, or a part of one that is, is
 * moved to the new extents, in transactions like those of any overwriting. What was written meanwhile stays.
 * No byte of the file changes, so a crash between the parts is no matter.
 *
 * Owns fs.fold.lock.
 */
#include "file/internal.h"

#include <stdlib.h>

#include "base/metric.h"

#define ENTRIES_MAX 65536u	      /* of one fold; a slot with more takes several */
#define EXCESS_MAX ((int64_t)MIB(32)) /* writers wait beyond it */
#define THROTTLE_MS 50
#define LAP_MS 1000 /* between looks at the table when nothing is known to be there */
#define TRIES 8u
#define BAD_NS 600000000000ull
#define REST_MAX_NS 100000000ull
#define RECLAIM_EVERY 8u /* folds: what they free is given back */

/* ---- one slot ---- */
struct fold {
	struct inode *in;
	uint64_t slot;
	enum fold_why why;
	bool others; /* something there was not read: written meanwhile, or beyond the bound */
	struct map_entries old; /* as it was read */
	struct seal_batch b;	/* the new extents of it */
	struct slot *buf;
};

static bool is_narrow(const struct fold *f)
{
	return f->why == FOLD_NARROW || f->why == FOLD_HOMELESS;
}

static void fold_release(struct fold *f)
{
	if (f->buf)
		slot_free(f->in->fs, f->buf);
	free(f->b.ext);
	free(f->b.pieces);
	free(f->b.packed);
	entries_release(&f->old);
}

static void del_listed(struct meta_txn *t, ino_id ino, uint64_t slot, enum fold_why why)
{
	if (why == FOLD_GARBAGE)
		del_fold(t, ino, slot);
	else
		del_narrow(t, ino, slot);
}

static int forget(struct fs *fs, ino_id ino, uint64_t slot, enum fold_why why)
{
	struct meta_txn *t;
	uint64_t seq;

	if (why == FOLD_HOMELESS || why == FOLD_RESTING)
		return 0;
	t = meta_begin(fs->meta);
	del_listed(t, ino, slot, why);
	return meta_commit(t, &seq);
}

/* U7. One that is as wanted leaves the list; one that would not become better stays as it is. */
static int judge_narrow(struct fold *f)
{
	bool narrow = false, better = false;
	struct rec_extent x = {0};

	for (unsigned i = 0; i < f->old.count && !better; i++) {
		int rc;

		if (i && uuid_eq(&x.id.u, &f->old.v[i].extent.u))
			continue;
		rc = get_extent(f->in->fs->meta, f->old.v[i].extent, &x);
		if (rc)
			return rc;
		narrow |= extent_is_narrow(&x) || f->why == FOLD_HOMELESS;
		better |= f->why == FOLD_NARROW ? rebundle_is_better(f->in->fs, &x)
						: rebundle_restores(f->in->fs, &x);
	}
	if (!better)
		f->old.count = 0;
	return narrow ? 0 : forget(f->in->fs, f->in->ino, f->slot, f->why);
}

/* Is it listed for nothing? */
static int is_settled(struct fold *f, bool *ret_settled)
{
	struct rec_usage u;
	int rc;

	*ret_settled = f->in->freed;
	if (*ret_settled || is_narrow(f))
		return 0;
	rc = get_usage(f->in->fs->meta, f->in->ino, f->slot, &u);
	*ret_settled = rc == DFS_ENOENT ||
		       (rc == 0 && (f->why == FOLD_RESTING ? !resting_is_due(f->in->fs, f->in, &u)
							   : !usage_excess(f->in->fs, &u)));
	return rc == DFS_ENOENT ? 0 : rc;
}

/* Data of the slot that is newer than its map is on its way. lock held. */
static bool is_being_sealed(const struct fold *f)
{
	const struct seal_batch *b;

	TAILQ_FOREACH(b, &f->in->fifo, fifo)
		for (unsigned i = 0; i < b->slot_count; i++)
			if (b->slots[i]->index == f->slot)
				return true;
	return false;
}

/* What is mapped in the slot, if it is to be folded. */
static int look_up(struct fold *f)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct inode *in = f->in;
	bool settled;
	int rc;

	ENV_LOCKED(&in->lock);
	if (in->excl || is_being_sealed(f))
		return DFS_EBUSY;
	rc = is_settled(f, &settled);
	if (rc || settled)
		return rc ? rc : forget(in->fs, in->ino, f->slot, f->why);
	rc = map_seek(&c, in, f->slot << SLOT_SHIFT);
	for (; rc == 0 && c.valid && f->old.count < ENTRIES_MAX; rc = map_next(&c)) {
		if (c.rec.file_offset >> SLOT_SHIFT != f->slot)
			break;
		/* The map is what it is (P10): not all of it need be in the slot, or apart. */
		if ((c.rec.file_offset & (SLOT_BYTES - 1)) + c.rec.len > SLOT_BYTES)
			return DFS_ECORRUPT;
		entries_add(&f->old, &c.rec);
		f->b.born = MAX(f->b.born, uuid_tick_of(&c.rec.extent.u));
	}
	f->others = f->old.count == ENTRIES_MAX;
	if (rc == 0 && is_narrow(f))
		rc = judge_narrow(f);
	return rc;
}

static int read_slot(struct fold *f)
{
	struct fs *fs = f->in->fs;
	int rc = 0;

	f->buf = slot_new(f->slot);
	for (unsigned i = 0; rc == 0 && i < f->old.count; i++) {
		const struct rec_map *r = &f->old.v[i];
		uint32_t at = (uint32_t)(r->file_offset & (SLOT_BYTES - 1));
		FREE uint8_t *bytes = xmalloc(r->len);
		uint64_t charge = 0;

		rc = extent_read(fs->extents, r->extent, r->extent_offset, r->len, bytes);
		if (rc == 0)
			rc = slot_prepare(fs, f->buf, at, r->len, &charge);
		dirty_charge(fs, (int64_t)charge);
		if (rc == 0)
			slot_store(f->buf, at, bytes, r->len);
		if (__atomic_load_n(&fs->abandoned, __ATOMIC_RELAXED))
			return DFS_EBUSY;
	}
	return rc;
}

/* What is folded is no data that still has to be stored. */
static void note_folding(struct fs *fs, int64_t bytes)
{
	ENV_LOCKED(&fs->dirty_lock);
	fs->folding_bytes = (uint64_t)((int64_t)fs->folding_bytes + bytes);
}

static int write_slot(struct fold *f)
{
	struct fs *fs = f->in->fs;
	int rc;

	f->b.in = f->in;
	f->b.slots[0] = f->buf;
	f->b.slot_count = 1;
	batch_build(&f->b);
	note_folding(fs, f->buf->charged);
	rc = extent_write_unasked(fs->extents, f->b.ext, f->b.ext_count);
	note_folding(fs, -(int64_t)f->buf->charged);
	return rc;
}

/* Is the entry, or was it once a part of, one that was read? */
static bool was_read(const struct fold *f, const struct rec_map *now)
{
	unsigned lo = 0, hi = f->old.count;

	while (lo < hi) { /* the first that begins beyond it */
		unsigned mid = (lo + hi) / 2;

		if (f->old.v[mid].file_offset <= now->file_offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return false;
	const struct rec_map *old = &f->old.v[lo - 1];
	uint64_t in = now->file_offset - old->file_offset;

	return uuid_eq(&old->extent.u, &now->extent.u) && in < old->len &&
	       now->len <= old->len - in && now->extent_offset == old->extent_offset + in;
}

/* Pieces for the entries that were read and are still there. Returns NULL when there are none. */
static int choose_pieces(struct fold *f, struct map_piece **ret_pieces, unsigned *ret_count)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	const struct extent_new *x = f->b.ext, *end = x + f->b.ext_count;
	struct map_piece *v = xcalloc(f->old.count * 2u + 2, sizeof(*v));
	unsigned count = 0, piece = 0, most = f->old.count * 2u + 2;
	uint32_t at = 0; /* of the piece in its extent */
	int rc = map_seek(&c, f->in, f->slot << SLOT_SHIFT);

	for (; rc == 0 && c.valid && c.rec.file_offset >> SLOT_SHIFT == f->slot;
	     rc = map_next(&c)) {
		const struct rec_map *r = &c.rec;
		struct map_piece p = {.start = r->file_offset,
				      .end = r->file_offset + r->len,
				      .key = r->file_offset};

		if (!was_read(f, r)) {
			f->others = true;
			continue;
		}
		while (x < end &&
		       x->pieces[piece].file_offset + x->pieces[piece].len <= r->file_offset) {
			at += x->pieces[piece].len;
			if (++piece == x->piece_count) {
				x++;
				piece = 0;
				at = 0;
			}
		}
		if (x == end || count == most)
			break;
		p.extent = x->rec.id;
		p.ext = (unsigned)(x - f->b.ext);
		p.extent_offset = at + (uint32_t)(r->file_offset - x->pieces[piece].file_offset);
		if (count && v[count - 1].end == p.start && v[count - 1].ext == p.ext)
			v[count - 1].end = p.end;
		else
			v[count++] = p;
	}
	*ret_pieces = v;
	*ret_count = count;
	return rc;
}

/* Nothing of the slot is narrower than wanted any more (U6). */
static bool is_all_wide(const struct fold *f)
{
	for (unsigned i = 0; i < f->b.ext_count; i++)
		if (extent_is_narrow(&f->b.ext[i].rec))
			return false;
	return !f->others;
}

static void note_written(const struct fold *f)
{
	for (unsigned i = 0; i < f->b.ext_count; i++)
		metric_add(METRIC_FOLDED_BYTES, extent_stored_bytes(&f->b.ext[i].rec));
}

static int move_part(const struct fold *f, struct map_edit *e)
{
	struct inode *in = f->in;
	CLEANUP(map_change_release)
	struct map_change m = {.in = in, .t = meta_begin(in->fs->meta)};
	struct rec_inode r = in->rec;
	int rc = map_edit_step(e, &m, 0);

	if (rc == 0 && map_edit_is_last(e) && f->why == FOLD_NARROW && is_all_wide(f))
		del_narrow(m.t, in->ino, f->slot);
	if (rc == 0)
		rc = map_apply(&m, &r);
	if (rc) {
		meta_cancel(m.t);
		return rc;
	}
	r.mapped_bytes = (uint64_t)((int64_t)r.mapped_bytes + m.delta_bytes);
	rc = inode_commit(in, m.t, &r);
	if (rc == 0)
		map_edit_took(e);
	return rc;
}

static int move(struct fold *f)
{
	struct map_piece *pieces;
	struct inode *in = f->in;
	struct map_edit e;
	unsigned count;
	int rc;

	ENV_LOCKED(&in->lock);
	if (in->freed || in->excl)
		return DFS_EBUSY;
	rc = choose_pieces(f, &pieces, &count);
	if (rc || !count) {
		free(pieces);
		return rc ? rc : DFS_EBUSY;
	}
	map_edit_init(&e, in, f->b.ext, pieces, count);
	e.is_unasked = true;
	while (rc == 0 && !map_edit_done(&e))
		rc = move_part(f, &e);
	map_edit_release(&e);
	return rc;
}

static void note_bad(struct fold *f, int err)
{
	struct fs *fs = f->in->fs;

	inode_log(f->in, "store a part anew that is mostly garbage", err,
		  "it keeps its space, and is tried again later; run fsck");
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.bad[fs->fold.bad_next++ % FOLD_BAD_MAX] = (struct fold_bad){f->in->ino, f->slot,
									     env_now_ns() + BAD_NS};
}

bool fold_is_bad(struct fs *fs, ino_id ino, uint64_t slot)
{
	uint64_t now = env_now_ns();

	ENV_LOCKED(&fs->fold.lock);
	for (unsigned i = 0; i < FOLD_BAD_MAX; i++)
		if (fs->fold.bad[i].ino.v == ino.v && fs->fold.bad[i].slot == slot &&
		    fs->fold.bad[i].until_ns > now)
			return true;
	return false;
}

int fold_slot(struct fs *fs, ino_id ino, uint64_t slot, enum fold_why why, bool *ret_done)
{
	struct fold f = {.slot = slot, .why = why};
	int rc = fs_inode_get(fs, ino, &f.in);

	*ret_done = false;
	if (rc == DFS_ENOENT) /* gone since it was listed */
		return forget(fs, ino, slot, why);
	if (rc)
		return rc;
	rc = look_up(&f);
	if (rc == 0 && f.old.count)
		rc = read_slot(&f);
	if (rc == 0 && f.old.count)
		rc = write_slot(&f);
	if (rc == 0 && f.old.count) {
		rc = move(&f);
		note_written(&f);
		batch_settle(&f.b);
	}
	if (rc == 0 && f.old.count) {
		ENV_LOCKED(&fs->fold.lock);
		fs->fold.slots += !is_narrow(&f);
		fs->rebundle.slots += is_narrow(&f);
		*ret_done = true;
	}
	if (rc == DFS_EIO || rc == DFS_ECORRUPT || rc == DFS_ECHECKSUM)
		note_bad(&f, rc);
	fold_release(&f);
	inode_put(f.in, 1);
	return rc;
}

/* ---- all of them ---- */
/* The next slot that is listed after fs.fold.at, which it becomes; from the first on after the last. */
static int next_listed(struct fs *fs, ino_id *ret_ino, uint64_t *ret_slot)
{
	const uint8_t table = TABLE_FOLD;
	bool found = false;
	struct cursor c;
	BUF key = {0};
	int rc;

	cursor_of_table(&c, fs->meta, TABLE_FOLD);
	env_mutex_lock(&fs->fold.lock);
	key_fold(&key, fs->fold.at.ino, fs->fold.at.slot + 1);
	env_mutex_unlock(&fs->fold.lock);
	cursor_seek(&c, key.data, key.len);
	for (unsigned lap = 0; !found && lap < 2; lap++) {
		if (lap == 1)
			cursor_seek(&c, &table, 1);
		while (!found && cursor_next(&c)) /* what can't be read is fsck's to tell */
			found = cursor_fold(&c, ret_ino, ret_slot) == 0 &&
				!fold_is_bad(fs, *ret_ino, *ret_slot);
	}
	rc = cursor_close(&c, 0);
	if (rc || !found)
		return rc ? rc : DFS_ENOENT;
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.at.ino = *ret_ino;
	fs->fold.at.slot = *ret_slot;
	return 0;
}

unsigned fold_some(struct fs *fs, unsigned max)
{
	unsigned done = 0, tried = 0;
	uint64_t slot;
	ino_id ino;
	bool folded;

	/* Some may not be possible: a damaged extent, a file that is being truncated. */
	while (done < max && tried++ < TRIES * max && next_listed(fs, &ino, &slot) == 0)
		done += fold_slot(fs, ino, slot, FOLD_GARBAGE, &folded) == 0;
	return done;
}

void fold_excess(struct fs *fs, int64_t bytes)
{
	if (!bytes)
		return;
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.excess = MAX(fs->fold.excess + bytes, 0);
	if (bytes > 0)
		env_cond_signal(&fs->fold.wake);
	else
		env_cond_broadcast(&fs->fold.less);
}

void fold_throttle(struct fs *fs)
{
	ENV_LOCKED(&fs->fold.lock);
	if (fs->fold.excess > EXCESS_MAX && fs->folder && !fs->fold.stalled && !fs->fold.stop)
		env_cond_wait_ms(&fs->fold.less, &fs->fold.lock, THROTTLE_MS);
}

/* Foreground first: while there is little of it, half of the time at most goes into this. */
static void rest(struct fs *fs, uint64_t took_ns)
{
	ENV_LOCKED(&fs->fold.lock);
	if (fs->fold.excess < EXCESS_MAX / 2 && !fs->fold.stop)
		env_cond_wait_ms(&fs->fold.wake, &fs->fold.lock,
				 MIN(took_ns, REST_MAX_NS) / 1000000u + 1);
}

static int fold_next(struct fs *fs, unsigned *folds)
{
	uint64_t slot, began = env_now_ns();
	unsigned done;
	ino_id ino;
	bool folded;
	int rc = next_listed(fs, &ino, &slot);

	if (rc)
		return rc;
	/* what writes were promised is not ours, nor what is left of the journal for removals (C3) */
	if (!pool_may_grow(fs->pool) || !space_try(fs, SLOT_BYTES))
		return DFS_ENOSPC;
	rc = fold_slot(fs, ino, slot, FOLD_GARBAGE, &folded);
	if (rc)
		return rc;
	if (++*folds % RECLAIM_EVERY == 0 && extent_reclaim(fs->extents, 1024, &done))
		return DFS_EFAILED; /* logged by who does it regularly */
	rest(fs, env_now_ns() - began);
	return 0;
}

void fs_pause_folding(struct fs *fs, bool pause)
{
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.paused = pause;
	while (pause && fs->fold.busy)
		env_cond_wait(&fs->fold.less, &fs->fold.lock);
}

/* Nothing to do, or nothing that can be done: until something is listed, or for a while. */
static bool wait_for_work(struct fs *fs, int rc)
{
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.busy = false;
	env_cond_broadcast(&fs->fold.less);
	fs->fold.stalled = rc != 0 || fs->fold.paused;
	if (rc == DFS_ENOENT)
		fs->fold.excess = 0; /* the table is the truth, this only sums up */
	if (rc && !fs->fold.stop)
		env_cond_wait_ms(&fs->fold.wake, &fs->fold.lock, LAP_MS);
	while (fs->fold.paused && !fs->fold.stop)
		env_cond_wait_ms(&fs->fold.wake, &fs->fold.lock, LAP_MS);
	fs->fold.busy = true;
	return !fs->fold.stop;
}

void fold_main(void *arg)
{
	struct fs *fs = arg;
	uint64_t refreshed_ns = 0;
	unsigned folds = 0;
	int rc = 0;

	while (wait_for_work(fs, rc)) {
		if (env_now_ns() - refreshed_ns > LAP_MS * 1000000ull) {
			usage_refresh(fs);
			rebundle_look(fs);
			refreshed_ns = env_now_ns();
		}
		rc = fold_next(fs, &folds);
		if (rc == DFS_ENOENT) /* no garbage */
			rc = rebundle_next(fs);
		if (rc == DFS_ENOENT)
			rc = resting_next(fs);
	}
}
