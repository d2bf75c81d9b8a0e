/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction: on a disk that can't punch holes what is dead in a segment takes space until its file goes. So what lives in
 * segments that are mostly dead is written anew, by the pipeline of repair.c, and reclaim unlinks them (CP1 to CP6 of docs/DESIGN.md).
 *
 * A pass: the quiet segments of the disk are listed, what lives in each is summed up from the by-disk table, those beyond the
 * bound are moved, the deadest first. It is in memory only: after a crash another one finds what is left.
 *
 * Lock: compactor.lock (a leaf), for is_busy; who has set that owns the rest.
 */
#include <stdlib.h>

#include "base/metric.h"
#include "base/probe.h"
#include "extent/internal.h"

#define SCANNED_MAX 4096u /* records that a step looks at */
#define MOVED_MAX 64u	  /* and extents that it moves */
#define RECLAIM_BATCH 1024u
#define RECLAIM_ROUNDS 64u
#define BUSY_WAIT_MS 1000u
#define VAIN_NS 5000000000ull
#define EIGHTHS 8u

void compactor_init(struct compactor *c)
{
	env_mutex_init(&c->lock);
	env_cond_init(&c->idle);
}

void compactor_release(struct compactor *c)
{
	for (unsigned i = 0; i <= DISK_ID_MAX; i++)
		free(c->of[i].v);
	env_cond_release(&c->idle);
	env_mutex_release(&c->lock);
}

void extent_compact_stop(struct extent_store *s, disk_id disk, bool is_stopped)
{
	atomic_store(&s->compactor.is_stopped[disk.v], is_stopped);
}

/* ---- when, and which (CP2) ---- */

/* A segment goes when no more than so many eighths of it live: the less room there is, the more. */
static unsigned most_live_eighths(struct disk *d, bool is_urgent)
{
	uint64_t total = disk_total_bytes(d), free_bytes = disk_free_bytes(d);

	if (is_urgent || free_bytes < total / 8)
		return 7;
	return free_bytes < total / 4 ? 6 : 4;
}

static bool is_worth_it(const struct compact_segment *g, unsigned eighths)
{
	return g->live > 0 && g->live * EIGHTHS <= (uint64_t)g->bytes * eighths;
}

/* CP4. It is worth nothing where nothing can be moved to, or the file can't go. */
static bool is_possible(struct extent_store *s, struct disk *d)
{
	return disk_cannot_punch(d) && disk_takes_data(d) && !disk_is_leaving(d) &&
	       !atomic_load(&s->compactor.is_stopped[disk_info(d).id.v]);
}

static uint64_t live_on(struct extent_store *s, struct disk *d)
{
	int64_t live = meta_counter(s->cfg.meta, META_COUNT_DISK_USED + disk_info(d).id.v);

	return (uint64_t)MAX(live, 0);
}

/* If so much is dead that some segments must be beyond the bound, and it is not only in the one that takes records. */
bool extent_compact_due(struct extent_store *s, struct disk *d, bool is_urgent)
{
	uint64_t dead_eighths = EIGHTHS - most_live_eighths(d, is_urgent);
	uint64_t dead = disk_dead_bytes(d), least = disk_segment_bytes(d);

	if (!disk_cannot_punch(d))
		return false;
	return dead > (is_urgent ? least : 2 * least) &&
	       dead * EIGHTHS > (dead + live_on(s, d)) * dead_eighths;
}

/* ---- how much is dead ---- */

static int add_size(void *ctx, uint32_t number, uint64_t size_bytes)
{
	uint64_t *sum = ctx;

	(void)number;
	*sum += size_bytes;
	return 0;
}

static void measure(struct extent_store *s, struct disk *d)
{
	uint64_t sum = 0;

	if (!disk_cannot_punch(d) || !disk_present(d) || disk_state(d) == DISK_SUSPECT ||
	    segment_list(d, add_size, &sum))
		return;
	disk_set_dead_bytes(d, sum - MIN(sum, live_on(s, d)));
}

void extent_compact_measure(struct extent_store *s)
{
	for (unsigned i = 0; i < disk_count(s->cfg.disks); i++)
		measure(s, disk_at(s->cfg.disks, i));
}

/* ---- a pass: what there is ---- */

struct listing {
	struct compact_pass *c;
	struct disk *d;
	bool with_old;
	unsigned cap;
};

static int note_segment(void *ctx, uint32_t number, uint64_t size_bytes)
{
	struct listing *l = ctx;
	struct compact_pass *c = l->c;

	/* what is in doubt is moved by D8; in an old one what the index does not name may be all there is of it (CP5) */
	if (!size_bytes || size_bytes > UINT32_MAX || !segment_is_quiet(l->d, number) ||
	    (!l->with_old && number < segment_first_own(l->d)) ||
	    disk_may_lack(l->d, number, 0, UINT32_MAX))
		return 0;
	if (c->count == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		c->v = xrealloc(c->v, l->cap * sizeof(*c->v));
	}
	c->v[c->count++] = (struct compact_segment){number, (uint32_t)size_bytes, 0};
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct compact_segment *)a)->number;
	uint32_t y = ((const struct compact_segment *)b)->number;

	return (x > y) - (x < y);
}

/* By the part that lives. */
static int by_life(const void *a, const void *b)
{
	const struct compact_segment *x = a, *y = b;
	uint64_t left = x->live * y->bytes, right = y->live * x->bytes;

	return left == right ? by_number(a, b) : (left > right) - (left < right);
}

static void forget(struct compact_pass *c)
{
	free(c->v);
	c->v = NULL;
	c->count = c->at = 0;
	c->offset = 0;
	c->is_begun = c->is_urgent = c->is_scanned = false;
	c->stuck = c->gone = 0;
	c->stuck_err = 0;
}

static int begin(struct compact_pass *c, struct disk *d, const struct compact_order *o)
{
	struct listing l = {.c = c, .d = d, .with_old = o->with_old};
	int err;

	forget(c);
	err = segment_list(d, note_segment, &l);
	if (err) {
		forget(c);
		return err;
	}
	if (c->count)
		qsort(c->v, c->count, sizeof(*c->v), by_number);
	c->is_begun = true;
	c->is_urgent = o->is_urgent;
	return 0;
}

/* What lives in one segment from c->offset on. 0: that is all of it; DFS_EBUSY: the step has seen enough. */
static int sum_segment(struct compact_pass *c, disk_id disk, struct meta_iter *it, unsigned *seen)
{
	struct compact_segment *g = &c->v[c->at];

	for (;;) {
		struct rec_bydisk by;
		int err = bydisk_near(it, disk, g->number, c->offset, 1, &by);

		++*seen;
		if (err == DFS_ENOENT)
			return 0;
		if (err == DFS_ECORRUPT) { /* it can't be moved, so the segment stays */
			g->live = g->bytes;
			return 0;
		}
		if (err)
			return err;
		g->live += by.record_len;
		c->offset = by.offset + 1;
		if (*seen >= SCANNED_MAX)
			return DFS_EBUSY;
	}
}

/* Some of the segments; then those that are to go are chosen. */
static int scan(struct extent_store *s, struct compact_pass *c, struct disk *d)
{
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	unsigned eighths, seen = 0, n = 0;
	int err = 0;

	while (!err && c->at < c->count && seen < SCANNED_MAX) {
		err = sum_segment(c, disk_info(d).id, it, &seen);
		if (!err) {
			c->at++;
			c->offset = 0;
		}
	}
	meta_iter_free(it);
	if (err || c->at < c->count)
		return err == DFS_EBUSY ? 0 : err;
	eighths = most_live_eighths(d, c->is_urgent);
	for (unsigned i = 0; i < c->count; i++)
		if (is_worth_it(&c->v[i], eighths))
			c->v[n++] = c->v[i];
	c->count = n;
	c->at = 0;
	c->is_scanned = true;
	if (c->count) /* there is no array of none */
		qsort(c->v, c->count, sizeof(*c->v), by_life);
	return 0;
}

/* ---- a pass: moving ---- */

/* What has moved is given back once that is durable. */
static int give_back(struct extent_store *s)
{
	unsigned done = RECLAIM_BATCH;
	int err = 0;

	for (unsigned i = 0; !err && i < RECLAIM_ROUNDS && done == RECLAIM_BATCH; i++)
		err = extent_reclaim(s, RECLAIM_BATCH, &done);
	return err;
}

/* The next extents of the segment. DFS_ENOENT: these are the last. */
static int collect(struct extent_store *s, struct compact_pass *c, disk_id disk,
		   struct repair_item *items, unsigned *ret_n)
{
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	unsigned n = 0;
	int err = 0;

	while (!err && n < MOVED_MAX) {
		struct rec_bydisk by;

		err = bydisk_near(it, disk, c->v[c->at].number, c->offset, 1, &by);
		if (err)
			break;
		items[n++].id = by.extent;
		c->offset = by.offset + 1;
	}
	meta_iter_free(it);
	*ret_n = n;
	return err;
}

static int sum_up(struct compact_pass *c, const struct repair_item *items, unsigned n,
		  struct compact_done *ret)
{
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		ret->bytes += items[i].bytes;
		ret->fragments += items[i].made;
		metric_add(METRIC_COMPACT_BYTES, items[i].bytes);
		if (items[i].err == DFS_ENOSPC) {
			err = DFS_ENOSPC;
		} else if (items[i].err && items[i].err != DFS_ENOENT &&
			   items[i].err != DFS_EBUSY) {
			c->stuck++;
			c->stuck_err = items[i].err;
		}
	}
	return err;
}

/* Nothing of the segment lives any more: its file goes, unless something there could not be moved. */
static int end_segment(struct extent_store *s, struct compact_pass *c, struct disk *d,
		       struct compact_done *ret)
{
	const struct compact_segment *g = &c->v[c->at];
	int err = give_back(s);

	c->offset = 0;
	c->at++;
	if (err)
		return err;
	if (segment_named(d, g->number) != DFS_ENOENT)
		return 0;
	PROBE("compact-segment-gone");
	c->gone++;
	ret->segments++;
	ret->freed_bytes += g->bytes;
	metric_add(METRIC_COMPACT_SEGMENTS, 1);
	metric_add(METRIC_COMPACT_FREED, g->bytes);
	return 0;
}

static int move(struct extent_store *s, struct compact_pass *c, struct disk *d,
		struct compact_done *ret)
{
	struct repair_item items[MOVED_MAX] = {0};
	const struct disk_doubt whole = {.segment = c->v[c->at].number};
	const struct repair_choice choice = {
		.doubted = disk_info(d).id, .doubt = &whole, .compacts = true};
	uint32_t began = c->offset;
	unsigned n;
	int err = collect(s, c, disk_info(d).id, items, &n), moved;

	if (err && err != DFS_ENOENT)
		return err;
	extent_repair_many(s, &choice, items, n);
	moved = sum_up(c, items, n, ret);
	if (moved) { /* what has moved before may give some when it is durable */
		PROBE("compact-lacks-room");
		c->offset = began;
		err = give_back(s);
		return err ? err : moved;
	}
	return err == DFS_ENOENT ? end_segment(s, c, d, ret) : 0;
}

/* ---- a step ---- */

static bool claim(struct compactor *all, struct compact_pass *c)
{
	ENV_LOCKED(&all->lock);
	if (c->is_busy)
		env_cond_wait_ms(&all->idle, &all->lock, BUSY_WAIT_MS);
	if (c->is_busy)
		return false;
	c->is_busy = true;
	return true;
}

static void let_go(struct compactor *all, struct compact_pass *c)
{
	ENV_LOCKED(&all->lock);
	c->is_busy = false;
	env_cond_broadcast(&all->idle);
}

static int end(struct extent_store *s, struct compact_pass *c, struct disk *d,
	       struct compact_done *ret)
{
	ret->pass_segments = c->gone;
	ret->stuck = c->stuck;
	ret->stuck_err = c->stuck_err;
	if (c->is_urgent && !c->gone)
		c->vain_until_ns = env_now_ns() + VAIN_NS;
	forget(c);
	measure(s, d);
	return DFS_EEND;
}

static int step(struct extent_store *s, struct compact_pass *c, struct disk *d,
		const struct compact_order *o, struct compact_done *ret)
{
	if (o->is_urgent && c->vain_until_ns > env_now_ns())
		return DFS_EEND;
	if (!c->is_begun || (o->is_urgent && !c->is_urgent)) {
		PROBE("compact-pass");
		return begin(c, d, o);
	}
	if (!c->is_scanned)
		return scan(s, c, d);
	return c->at < c->count ? move(s, c, d, ret) : end(s, c, d, ret);
}

int extent_compact_step(struct extent_store *s, struct disk *d, const struct compact_order *o,
			struct compact_done *ret)
{
	struct compact_pass *c = &s->compactor.of[disk_info(d).id.v];
	int err;

	*ret = (struct compact_done){0};
	if (!is_possible(s, d))
		return DFS_EEND;
	if (!claim(&s->compactor, c))
		return 0;
	err = step(s, c, d, o, ret);
	if (err && err != DFS_EEND)
		forget(c);
	let_go(&s->compactor, c);
	return err;
}
