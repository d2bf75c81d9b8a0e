/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebundling: what was written with a narrower geometry than its policy wants, since there were too few disks then, or
 * too little room on some, is stored anew when there are enough. Which slots have such extents is a table of its own
 * (U6), so nobody looks for them, and a pool that has none pays nothing. The table is walked when new data gets a better
 * geometry than it got at the last walk, when the pool has been mounted, and now and then while slots are added to it
 * (U7). A slot is stored anew as folding does it (fold.c): old until new, byte for byte the same file.
 *
 * Owns fs.rebundle (fs.fold.lock).
 */
#include "base/probe.h"
#include "file/internal.h"

#define AGAIN_NS                                                                                   \
	30000000000ull	 /* at least, between two walks that nothing but new slots calls for */
#define AGAIN_FACTOR 10u /* of what the last one took */
#define REST_MOST_MS 1000u
#define FIT_NS 1000000000ull

static bool is_better(struct geometry a, uint8_t k, uint8_t m)
{
	return a.m > m || (a.m == m && a.k > k);
}

bool rebundle_is_better(struct fs *fs, const struct rec_extent *x)
{
	ENV_LOCKED(&fs->fold.lock);

	return extent_is_narrow(x) &&
	       is_better(x->wanted_k > 1 ? fs->fold.fit_large : fs->fold.fit_small, x->k, x->m);
}

bool rebundle_restores(struct fs *fs, const struct rec_extent *x)
{
	unsigned sure = extent_sure_fragments(fs->extents, x);
	ENV_LOCKED(&fs->fold.lock);

	return sure < (unsigned)x->k + x->m && sure >= x->k &&
	       (x->wanted_k > 1 ? fs->fold.fit_large : fs->fold.fit_small).m > sure - x->k;
}

void rebundle_noted(struct fs *fs)
{
	ENV_LOCKED(&fs->fold.lock);
	fs->rebundle.noted = true;
}

static void begin_walk(struct rebundle *r, uint64_t now)
{
	r->due = true;
	r->noted = false;
	r->at_ino.v = r->at_slot = 0;
	r->began_ns = now;
	r->rest_until_ns = 0;
}

void rebundle_look(struct fs *fs)
{
	struct rebundle *r = &fs->rebundle;
	uint64_t now = env_now_ns();

	ENV_LOCKED(&fs->fold.lock);
	if (!r->large.k || is_better(fs->fold.fit_large, r->large.k, r->large.m) ||
	    is_better(fs->fold.fit_small, r->small.k, r->small.m) ||
	    (r->noted && !r->due && now >= r->next_ns))
		begin_walk(r, now);
	r->large = fs->fold.fit_large;
	r->small = fs->fold.fit_small;
}

/* The slot after the last one that was tried. DFS_ENOENT: that was the last one. */
static int next_listed(struct fs *fs, ino_id *ret_ino, uint64_t *ret_slot)
{
	bool found = false;
	struct cursor c;
	BUF key = {0};
	int rc;

	cursor_of_table(&c, fs->meta, TABLE_NARROW);
	env_mutex_lock(&fs->fold.lock);
	key_narrow(&key, fs->rebundle.at_ino, fs->rebundle.at_slot + 1);
	env_mutex_unlock(&fs->fold.lock);
	cursor_seek(&c, key.data, key.len);
	while (!found && cursor_next(&c)) /* what can't be read is fsck's to tell */
		found = cursor_narrow(&c, ret_ino, ret_slot) == 0 &&
			!fold_is_bad(fs, *ret_ino, *ret_slot);
	rc = cursor_close(&c, 0);
	return rc || found ? rc : DFS_ENOENT;
}

static void end_walk(struct fs *fs)
{
	struct rebundle *r = &fs->rebundle;
	uint64_t now = env_now_ns();

	ENV_LOCKED(&fs->fold.lock);
	r->due = false;
	r->next_ns = now + MAX(AGAIN_NS, (now - r->began_ns) * AGAIN_FACTOR);
}

/* Not longer than so long at once: who wants to stop waits. */
static void rest(struct fs *fs, uint64_t ns)
{
	ENV_LOCKED(&fs->fold.lock);
	fs->rebundle.rest_until_ns = env_now_ns() + ns;
	if (!fs->fold.stop)
		env_cond_wait_ms(&fs->fold.wake, &fs->fold.lock,
				 MIN((unsigned)(ns / 1000000u) + 1, REST_MOST_MS));
}

static bool is_due(struct fs *fs)
{
	ENV_LOCKED(&fs->fold.lock);

	return fs->rebundle.due && env_now_ns() >= fs->rebundle.rest_until_ns;
}

int rebundle_next(struct fs *fs)
{
	struct pool_rebuild set = pool_get_rebuild(fs->pool);
	uint64_t slot;
	bool done;
	ino_id ino;
	int rc;

	if (!is_due(fs) || set.after_s >= POOL_REBUILD_NEVER)
		return DFS_ENOENT;
	rc = next_listed(fs, &ino, &slot);
	if (rc == DFS_ENOENT)
		end_walk(fs);
	if (rc)
		return rc;
	/* what writes were promised is not ours, nor what is left of the journal for removals (C3) */
	rc = pool_may_grow(fs->pool) && space_try(fs, SLOT_BYTES)
		     ? fold_slot(fs, ino, slot, FOLD_NARROW, &done)
		     : DFS_ENOSPC;
	if (rc == DFS_ENOSPC) {
		rest(fs, AGAIN_NS);
		return rc;
	}
	env_mutex_lock(&fs->fold.lock);
	fs->rebundle.at_ino = ino;
	fs->rebundle.at_slot = slot;
	fs->rebundle.noted |= rc != 0; /* once more, later */
	env_mutex_unlock(&fs->fold.lock);
	if (rc)
		return 0; /* logged, if it is more than a file that changes; the others go on */
	if (done) {
		PROBE("slot-rebundled");
		rest(fs, set.bytes_per_s ? SLOT_BYTES * 1000000000ull / set.bytes_per_s : 0);
	}
	return 0;
}

/* ---- what finds no disk as wide as it is (R6) ---- */

/* What new data gets may have changed with the disk that was lost. */
static void refresh(struct fs *fs)
{
	uint64_t now = env_now_ns();

	env_mutex_lock(&fs->fold.lock);
	bool old = now - fs->rebundle.fit_ns >= FIT_NS;
	if (old)
		fs->rebundle.fit_ns = now;
	env_mutex_unlock(&fs->fold.lock);
	if (old)
		usage_refresh(fs);
}

int rebundle_restore(void *ctx, ino_id ino, uint64_t file_offset)
{
	struct fs *fs = ctx;
	bool done;
	int rc;

	refresh(fs);
	if (!pool_may_grow(fs->pool) || !space_try(fs, SLOT_BYTES))
		return DFS_ENOSPC;
	rc = fold_slot(fs, ino, file_offset >> SLOT_SHIFT, FOLD_HOMELESS, &done);
	return rc || done ? rc : DFS_ENOSPC;
}
