/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dirty slots: the unsealed bytes of one MiB of a file, and the memory that they take. A sequential
 * write is one copy into a contiguous buffer that goes to the disks unchanged; scattered small ones
 * cost the pages that they touch; small files a small piece of heap.
 *
 * Owns fs.dirty_lock's memory accounting (P9): what slots hold is charged against
 * cfg.dirty_limit_bytes, and writers wait for room before they take any lock.
 */
#include "file/internal.h"

#include <stdlib.h>
#include <sys/mman.h>

unsigned slot_lower(const struct slot_set *set, uint64_t index)
{
	unsigned lo = 0, hi = set->count;

	/* Mostly it's the last one. */
	if (hi && set->v[hi - 1]->index < index)
		return hi;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (set->v[mid]->index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct slot *slot_find(const struct slot_set *set, uint64_t index)
{
	unsigned i = slot_lower(set, index);

	return i < set->count && set->v[i]->index == index ? set->v[i] : NULL;
}

void slot_insert(struct slot_set *set, struct slot *s)
{
	unsigned at = slot_lower(set, s->index);

	if (set->count == set->cap) {
		set->cap = set->cap ? set->cap * 2 : 4;
		set->v = xrealloc(set->v, set->cap * sizeof(*set->v));
	}
	memmove(set->v + at + 1, set->v + at, (set->count - at) * sizeof(*set->v));
	set->v[at] = s;
	set->count++;
}

void slot_erase(struct slot_set *set, unsigned at)
{
	set->count--;
	memmove(set->v + at, set->v + at + 1, (set->count - at) * sizeof(*set->v));
}

struct slot *slot_new(uint64_t index)
{
	struct slot *s = xcalloc(1, sizeof(*s));

	s->index = index;
	s->dirtied_ns = env_now_ns();
	return s;
}

/* ---- buffers ---- */
static uint8_t *pool_take(struct fs *fs)
{
	ENV_LOCKED(&fs->dirty_lock);
	return fs->pool_count ? fs->pool_bufs[--fs->pool_count] : NULL;
}

static bool pool_give(struct fs *fs, uint8_t *buf)
{
	ENV_LOCKED(&fs->dirty_lock);
	if (fs->pool_count == SLOT_POOL_MAX)
		return false;
	fs->pool_bufs[fs->pool_count++] = buf;
	return true;
}

void slot_pool_release(struct fs *fs)
{
	while (fs->pool_count)
		mem_unmap(fs->pool_bufs[--fs->pool_count], SLOT_BYTES);
}

static void buf_free(struct fs *fs, struct slot *s)
{
	if (!s->mapped)
		free(s->buf);
	else if (s->charged < SLOT_BYTES || !pool_give(fs, s->buf))
		mem_unmap(s->buf, SLOT_BYTES);
}

void slot_free(struct fs *fs, struct slot *s)
{
	buf_free(fs, s);
	dirty_charge(fs, -(int64_t)s->charged);
	free(s->ranges);
	free(s);
}

/* Accounts the pages of [start, end) of a mapped buffer. */
static uint64_t touch_pages(struct slot *s, uint32_t start, uint32_t end)
{
	uint32_t fresh = 0;

	if (s->warm || start == end)
		return 0;
	for (uint32_t p = start / SLOT_PAGE; p <= (end - 1) / SLOT_PAGE; p++) {
		uint64_t bit = 1ull << (p % 64);

		if (s->touched[p / 64] & bit)
			continue;
		s->touched[p / 64] |= bit;
		fresh += SLOT_PAGE;
	}
	s->charged += fresh;
	return fresh;
}

static uint64_t heap_grow(struct slot *s, uint32_t end)
{
	uint32_t cap = s->cap ? s->cap : SLOT_PAGE, more;

	while (cap < end)
		cap *= 2;
	if (cap == s->cap)
		return 0;
	s->buf = xrealloc(s->buf, cap);
	more = cap - s->cap;
	s->cap = cap;
	s->charged += more;
	return more;
}

/* From the heap to a mapping of the whole slot. */
static int map_whole(struct fs *fs, struct slot *s, bool dense, uint64_t *charge)
{
	uint8_t *buf = dense ? pool_take(fs) : NULL;
	uint32_t had = s->charged;

	s->warm = buf != NULL;
	if (!buf) {
		buf = mem_map(SLOT_BYTES);
		if (!buf)
			return DFS_ENOMEM;
		/* A scattered write must not cost a huge page. Only a hint. */
		if (!dense)
			(void)madvise(buf, SLOT_BYTES, MADV_NOHUGEPAGE);
	}
	for (unsigned i = 0; i < s->range_count; i++)
		memcpy(buf + s->ranges[i].start, s->buf + s->ranges[i].start,
		       s->ranges[i].end - s->ranges[i].start);
	free(s->buf);
	s->buf = buf;
	s->cap = SLOT_BYTES;
	s->mapped = true;
	s->charged = s->warm ? SLOT_BYTES : 0;
	for (unsigned i = 0; i < s->range_count; i++)
		touch_pages(s, s->ranges[i].start, s->ranges[i].end);
	*charge += s->charged;
	*charge -= had;
	return 0;
}

int slot_prepare(struct fs *fs, struct slot *s, uint32_t off, uint32_t len, uint64_t *charge)
{
	uint32_t end = off + len;

	ASSERT(len && end <= SLOT_BYTES);
	if (!s->mapped && end <= SLOT_HEAP_MAX) {
		*charge += heap_grow(s, end);
		return 0;
	}
	if (!s->mapped) {
		int rc = map_whole(fs, s, len >= SLOT_HEAP_MAX || off == s->bytes, charge);

		if (rc)
			return rc;
	}
	*charge += touch_pages(s, off, end);
	return 0;
}

/* ---- ranges ---- */
/* The first range that ends at or beyond pos. */
static unsigned range_lower(const struct slot *s, uint32_t pos)
{
	unsigned lo = 0, hi = s->range_count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (s->ranges[mid].end < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Replaces ranges [i, j) by count new ones. */
static void range_splice(struct slot *s, unsigned i, unsigned j, const struct range *r,
			 unsigned count)
{
	unsigned total = s->range_count - (j - i) + count;

	if (total > s->range_cap) {
		s->range_cap = total * 2;
		s->ranges = xrealloc(s->ranges, s->range_cap * sizeof(*s->ranges));
	}
	memmove(s->ranges + i + count, s->ranges + j, (s->range_count - j) * sizeof(*s->ranges));
	if (count)
		memcpy(s->ranges + i, r, count * sizeof(*r));
	s->range_count = total;
}

uint32_t slot_mark(struct slot *s, uint32_t start, uint32_t end)
{
	unsigned i = range_lower(s, start), j = i;
	struct range r = {start, end};
	uint32_t had = 0, added;

	for (; j < s->range_count && s->ranges[j].start <= end; j++) {
		had += s->ranges[j].end - s->ranges[j].start;
		r.start = MIN(r.start, s->ranges[j].start);
		r.end = MAX(r.end, s->ranges[j].end);
	}
	range_splice(s, i, j, &r, 1);
	added = r.end - r.start - had;
	s->bytes += added;
	return added;
}

uint32_t slot_store(struct slot *s, uint32_t off, const void *data, uint32_t len)
{
	memcpy(s->buf + off, data, len);
	return slot_mark(s, off, off + len);
}

uint32_t slot_cut(struct slot *s, uint32_t start, uint32_t end)
{
	unsigned i = range_lower(s, start), j = i, count = 0;
	struct range keep[2];
	uint32_t cut = 0;

	for (; j < s->range_count && s->ranges[j].start < end; j++) {
		struct range r = s->ranges[j];

		if (r.start < start)
			keep[count++] = (struct range){r.start, MIN(start, r.end)};
		if (r.end > end)
			keep[count++] = (struct range){end, r.end};
		if (MIN(r.end, end) > MAX(r.start, start))
			cut += MIN(r.end, end) - MAX(r.start, start);
	}
	if (!cut)
		return 0;
	range_splice(s, i, j, keep, count);
	s->bytes -= cut;
	return cut;
}

void slot_merge_under(struct fs *fs, struct slot *newer, const struct slot *older)
{
	for (unsigned i = 0; i < older->range_count; i++) {
		uint32_t pos = older->ranges[i].start, end = older->ranges[i].end;

		while (pos < end) {
			unsigned at = range_lower(newer, pos + 1);
			uint32_t stop = end;
			uint64_t charge = 0;
			int rc;

			if (at < newer->range_count && newer->ranges[at].start <= pos) {
				pos = newer->ranges[at].end;
				continue;
			}
			if (at < newer->range_count)
				stop = MIN(stop, newer->ranges[at].start);
			rc = slot_prepare(fs, newer, pos, stop - pos, &charge);
			ASSERT(rc == 0); /* out of memory: ends the process, as xmalloc does */
			dirty_charge(fs, (int64_t)charge);
			slot_store(newer, pos, older->buf + pos, stop - pos);
			pos = stop;
		}
	}
	newer->dirtied_ns = MIN(newer->dirtied_ns, older->dirtied_ns);
}

bool slot_is_whole(const struct slot *s) { return s->bytes == SLOT_BYTES; }

uint64_t slot_first_at(const struct slot *s, uint64_t off)
{
	uint64_t base = s->index << SLOT_SHIFT;
	unsigned i;

	if (off >= base + SLOT_BYTES)
		return UINT64_MAX;
	i = off > base ? range_lower(s, (uint32_t)(off - base) + 1) : 0;
	return i < s->range_count ? MAX(off, base + s->ranges[i].start) : UINT64_MAX;
}

uint64_t slots_first_at(const struct slot_set *set, uint64_t off)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = slot_lower(set, off >> SLOT_SHIFT); i < set->count && first == UINT64_MAX;
	     i++)
		first = slot_first_at(set->v[i], off);
	return first;
}

bool slot_covers(const struct slot *s, uint64_t off, uint64_t *ret_end)
{
	uint64_t base = s->index << SLOT_SHIFT;
	unsigned i;

	if (off < base || off >= base + SLOT_BYTES)
		return false;
	i = range_lower(s, (uint32_t)(off - base) + 1);
	if (i == s->range_count || base + s->ranges[i].start > off)
		return false;
	*ret_end = base + s->ranges[i].end;
	return true;
}

/* ---- accounting ---- */
void dirty_charge(struct fs *fs, int64_t bytes)
{
	ENV_LOCKED(&fs->dirty_lock);
	fs->dirty_bytes = (uint64_t)((int64_t)fs->dirty_bytes + bytes);
	if (bytes < 0 && fs->room_waiters)
		env_cond_broadcast(&fs->room);
}

int dirty_reserve(struct fs *fs, uint64_t bytes)
{
	uint64_t limit = fs->cfg.dirty_limit_bytes;
	unsigned waits = 0;
	int rc = 0;

	env_mutex_lock(&fs->dirty_lock);
	while (fs->dirty_bytes && fs->dirty_bytes + bytes > limit) {
		/* Nothing can be stored, not even when tried again: waiting would never end (F3). */
		if (fs->stuck_err && !fs->inflight_bytes && waits > 2) {
			rc = fs->stuck_err;
			break;
		}
		waits++;
		fs->room_waiters++;
		env_cond_signal(&fs->flush_wake);
		env_cond_wait_ms(&fs->room, &fs->dirty_lock, 1000);
		fs->room_waiters--;
	}
	if (rc == 0) {
		fs->dirty_bytes += bytes;
		if (fs->dirty_bytes - fs->inflight_bytes > limit / 2)
			env_cond_signal(&fs->flush_wake);
	}
	env_mutex_unlock(&fs->dirty_lock);
	return rc;
}

static void list_remove(struct inode *in)
{
	if (in->list == LIST_DIRTY)
		TAILQ_REMOVE(&in->fs->dirty, in, dirty_link);
	else if (in->list == LIST_SEALING)
		TAILQ_REMOVE(&in->fs->sealing, in, dirty_link);
}

static void list_insert(struct inode *in, enum inode_list list)
{
	struct fs *fs = in->fs;
	struct inode *after;

	if (list == LIST_SEALING)
		TAILQ_INSERT_TAIL(&fs->sealing, in, dirty_link);
	if (list != LIST_DIRTY)
		return;
	TAILQ_FOREACH_REVERSE(after, &fs->dirty, inode_list_head, dirty_link)
		if (after->dirty_since_ns <= in->dirty_since_ns)
			break;
	if (after)
		TAILQ_INSERT_AFTER(&fs->dirty, after, in, dirty_link);
	else
		TAILQ_INSERT_HEAD(&fs->dirty, in, dirty_link);
}

void dirty_list_update(struct inode *in)
{
	enum inode_list want = in->slots.count		? LIST_DIRTY
			       : TAILQ_EMPTY(&in->fifo) ? LIST_NONE
							: LIST_SEALING;
	int64_t since = INT64_MAX, unstored;
	const struct seal_batch *b;
	enum inode_list was;

	for (unsigned i = 0; i < in->slots.count; i++)
		since = MIN(since, (int64_t)in->slots.v[i]->dirtied_ns);
	unstored = since;
	TAILQ_FOREACH(b, &in->fifo, fifo)
		unstored = MIN(unstored, (int64_t)b->since_ns);
	if (in->error && in->slots.count) /* so that it is due at retry_ns */
		since = (int64_t)(in->retry_ns - flush_age_ns(in->fs));
	env_mutex_lock(&in->fs->dirty_lock);
	was = in->list;
	in->unstored_since_ns = unstored;
	if (was != want || in->dirty_since_ns != since) {
		list_remove(in);
		in->list = want;
		in->dirty_since_ns = since;
		in->failing = in->error != 0;
		list_insert(in, want);
	}
	env_mutex_unlock(&in->fs->dirty_lock);
	if (was == LIST_NONE && want != LIST_NONE)
		inode_ref(in);
	else if (was != LIST_NONE && want == LIST_NONE)
		inode_put(in, 1); /* not the last one: the caller has its own */
}

void dirty_drop(struct inode *in)
{
	for (unsigned i = 0; i < in->slots.count; i++) {
		in->unsealed_bytes -= in->slots.v[i]->bytes;
		slot_free(in->fs, in->slots.v[i]);
	}
	in->slots.count = 0;
	in->inline_loaded = false;
	dirty_list_update(in);
}
