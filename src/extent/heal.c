/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who repairs, and why (repair.c says how): the healer, in the background, extents in which reads met damage; and what moves
 * the records that a disk may not have.
 *
 * Locks: healer.lock (a leaf); restore_lock, before all that file/ takes.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "extent/internal.h"

#define HEAL_BATCH 16u
#define HEAL_REST_NS 30000000000ull

int extent_repair(struct extent_store *s, extent_id id, unsigned *ret_repaired)
{
	const struct repair_choice choice = {.verify = true};
	struct repair_item item = {.id = id};

	extent_repair_many(s, &choice, &item, 1);
	*ret_repaired = item.made;
	return item.err;
}

/* ---- disks that are done without ---- */

void extent_do_without(struct extent_store *s, disk_id disk, bool without)
{
	atomic_store(&s->without[disk.v], without);
}

bool extent_is_without(struct extent_store *s, disk_id disk)
{
	return atomic_load(&s->without[disk.v]);
}

unsigned extent_sure_fragments(struct extent_store *s, const struct rec_extent *rec)
{
	unsigned n = 0;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;

		n += d && disk_present(d) && !extent_is_without(s, f->disk) &&
		     disk_is_sure(d, f->segment, f->offset, f->record_len);
	}
	return n;
}

/* ---- what finds no disk as wide as it is ---- */

void extent_set_restorer(struct extent_store *s, extent_restore_fn fn, void *ctx)
{
	ENV_LOCKED(&s->restore_lock);
	s->restore = fn;
	s->restore_ctx = ctx;
}

/* Where in which file the extent was written for: its records say so. */
static int origin(struct extent_store *s, const struct rec_extent *rec, uint64_t *ret_file_offset)
{
	uint32_t len = MIN(rec->fragment_len, RECORD_BLOCK_BYTES);
	FREE uint8_t *buf = xmalloc((size_t)rec->header_len + len);
	uint8_t order[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned present = fragments_by_preference(s, rec, order);

	for (unsigned i = 0; i < present; i++) {
		struct whole_read r = {.rec = rec, .index = order[i], .len = len, .buf = buf};

		wholes_read(s, &r, 1);
		if (!r.header.pieces)
			continue;
		*ret_file_offset = r.header.pieces[0].file_offset;
		whole_release(&r);
		return 0;
	}
	return DFS_EIO;
}

/* R6: not for what bears a further loss as it is, unless its disk is to be emptied. */
static bool is_pressing(struct extent_store *s, const struct rec_extent *rec)
{
	bool leaves = false;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		struct disk *d = disk_get(s->cfg.disks, rec->frags[i].disk);

		leaves |= d && (disk_is_leaving(d) ||
				(disk_present(d) && extent_is_without(s, rec->frags[i].disk)));
	}
	return leaves || extent_sure_fragments(s, rec) <= rec->k;
}

static void restore(struct extent_store *s, struct repair_item *item)
{
	struct rec_extent rec;
	uint64_t off;
	int err;

	ENV_LOCKED(&s->restore_lock);
	if (!s->restore || get_extent(s->cfg.meta, item->id, &rec) || !is_pressing(s, &rec) ||
	    origin(s, &rec, &off))
		return;
	err = s->restore(s->restore_ctx, rec.ino, off);
	if (err)
		return;
	PROBE("restored-narrower");
	item->err = 0;
	item->made += (unsigned)rec.k + rec.m - extent_sure_fragments(s, &rec);
	item->bytes += extent_stored_bytes(&rec);
}

void extent_rebuild(struct extent_store *s, struct repair_item *items, unsigned count,
		    unsigned lanes)
{
	const struct repair_choice choice = {.lanes = lanes};

	extent_repair_many(s, &choice, items, count);
	for (unsigned i = 0; i < count; i++)
		if (items[i].err == DFS_ENOSPC)
			restore(s, &items[i]);
}

/* ---- what a disk may not have, or has not: it went silent with unsynced writes, or was set back ---- */

/* The next record of the segment at or after *offset. DFS_ENOENT: there is none. */
static int next_in_segment(struct extent_store *s, disk_id disk, uint32_t segment, uint32_t offset,
			   struct rec_bydisk *ret)
{
	struct cursor c;
	BUF key = {0};
	int err;

	key_bydisk(&key, disk, segment, offset);
	cursor_of_disk(&c, s->cfg.meta, TABLE_BYDISK, disk);
	cursor_seek(&c, key.data, key.len);
	if (!cursor_next(&c)) {
		err = cursor_close(&c, 0);
		return err ? err : DFS_ENOENT;
	}
	err = cursor_bydisk(&c, ret);
	if (!err && ret->segment != segment)
		err = DFS_ENOENT;
	return cursor_close(&c, err);
}

#define RECLAIM_BATCH 1024u

/* What has moved leaves room behind, once that is durable: it is taken back before there is said to be none.
 * true: one of them stays. */
static bool move_all(struct extent_store *s, const struct repair_choice *choice,
		     struct repair_item *items, unsigned count)
{
	unsigned done = 0, full = 0;
	bool stays = false;

	extent_repair_many(s, choice, items, count);
	for (unsigned i = 0; i < count; i++) {
		if (items[i].err == DFS_ENOSPC)
			items[full++] = items[i];
		else
			stays |= items[i].err && items[i].err != DFS_ENOENT;
	}
	if (full && extent_reclaim(s, RECLAIM_BATCH, &done) == 0 && done)
		extent_repair_many(s, choice, items, full);
	for (unsigned i = 0; i < full; i++)
		stays |= items[i].err && items[i].err != DFS_ENOENT;
	return stays;
}

int extent_move_doubtful(struct extent_store *s, disk_id disk, const struct disk_doubt *doubt,
			 unsigned max, uint32_t *from, bool *ret_failed)
{
	const struct repair_choice choice = {.doubt = doubt, .doubted = disk};
	FREE struct repair_item *items = xcalloc(max, sizeof(*items));
	unsigned n = 0;
	int err = 0;

	*from = MAX(*from, doubt->from - MIN(doubt->from, RECORD_MAX_LEN));
	while (n < max) {
		struct rec_bydisk by;

		err = next_in_segment(s, disk, doubt->segment, *from, &by);
		if (err)
			break;
		*from = by.offset + 1;
		if (by.offset + (uint64_t)by.record_len > doubt->from)
			items[n++].id = by.extent;
	}
	*ret_failed = move_all(s, &choice, items, n);
	return err;
}

int extent_named_in_doubt(struct extent_store *s, disk_id disk, const struct disk_doubt *doubt)
{
	uint32_t from = doubt->from - MIN(doubt->from, RECORD_MAX_LEN);
	struct rec_bydisk by;
	int err;

	do {
		err = next_in_segment(s, disk, doubt->segment, from, &by);
		from = by.offset + 1;
	} while (!err && by.offset + (uint64_t)by.record_len <= doubt->from);
	return err;
}

/* ---- the healer ---- */

void healer_queue(struct extent_store *s, extent_id id)
{
	struct healer *h = &s->healer;

	if (!s->cfg.heal)
		return;
	ENV_LOCKED(&h->lock);
	for (unsigned i = 0; i < h->count; i++)
		if (extent_id_eq(h->queue[(h->head + i) % HEAL_QUEUE_MAX], id))
			return;
	if (h->count == HEAL_QUEUE_MAX)
		return; /* the next read of it queues it again */
	h->queue[(h->head + h->count++) % HEAL_QUEUE_MAX] = id;
	env_cond_signal(&h->wake);
}

static void tell(struct extent_store *s, const struct repair_item *item)
{
	char text[UUID_TEXT_LEN + 1];

	uuid_format(&item->id.u, text);
	if (item->err == DFS_ENOSPC) /* each read would try it again, in vain */
		atomic_store(&s->heal_rest_ns, env_now_ns() + HEAL_REST_NS);
	if (item->err && item->err != DFS_ENOENT && item->err != DFS_EBUSY)
		log_warn("cannot repair extent %s: %s; it is tried again when it is next read",
			 text, dfs_err_text(item->err));
	if (item->made)
		log_info("extent %s: %u damaged %s rebuilt", text, item->made,
			 plural(item->made, "fragment", "fragments"));
}

static void healer_main(void *arg)
{
	struct extent_store *s = arg;
	struct healer *h = &s->healer;
	const struct repair_choice choice = {.verify = true};
	struct repair_item items[HEAL_BATCH];

	env_mutex_lock(&h->lock);
	while (!h->stop) {
		unsigned n;

		if (h->count == 0) {
			env_cond_wait(&h->wake, &h->lock);
			continue;
		}
		for (n = 0; n < HEAL_BATCH && h->count > 0; n++, h->count--) {
			items[n].id = h->queue[h->head];
			h->head = (h->head + 1) % HEAL_QUEUE_MAX;
		}
		env_mutex_unlock(&h->lock);
		extent_repair_many(s, &choice, items, n);
		for (unsigned i = 0; i < n; i++)
			tell(s, &items[i]);
		env_mutex_lock(&h->lock);
	}
	env_mutex_unlock(&h->lock);
}

void healer_start(struct extent_store *s)
{
	env_mutex_init(&s->healer.lock);
	env_cond_init(&s->healer.wake);
	if (s->cfg.heal)
		s->healer.thread = env_thread_start("dfs-heal", healer_main, s);
}

void healer_stop(struct extent_store *s)
{
	struct healer *h = &s->healer;

	if (h->thread) {
		env_mutex_lock(&h->lock);
		h->stop = true;
		env_cond_broadcast(&h->wake);
		env_mutex_unlock(&h->lock);
		env_thread_join(h->thread);
		h->thread = NULL;
	}
}

void healer_release(struct extent_store *s)
{
	struct healer *h = &s->healer;

	healer_stop(s);
	env_cond_release(&h->wake);
	env_mutex_release(&h->lock);
}
