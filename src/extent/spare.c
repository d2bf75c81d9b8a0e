/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for what is written unasked (A6): repairs of extents and of the index's tables, folding, journals that
 * move. Nobody waits for it, so it takes only what the account of space leaves (space.c) after metadata's need,
 * with the index records that it causes itself, and after what was accepted, or promised, and is not stored yet.
 *
 * Who accepts writes is told before it looks (spare_begin) and when the disks show what was taken (spare_end). What
 * was accepted is laid out on the disks as placement would lay it out; what then is left of each disk is spare, so
 * whatever goes there, what was accepted still fits as before.
 *
 * Lock: extent_store.accepted_lock, held only while the acceptor is asked.
 */
#include "base/probe.h"
#include "extent/internal.h"

void extent_set_acceptor(struct extent_store *s, extent_accepted_fn fn, void *ctx)
{
	ENV_LOCKED(&s->accepted_lock);
	s->accepted = fn;
	s->accepted_ctx = ctx;
}

static struct extent_accepted tell(struct extent_store *s, int64_t bytes)
{
	struct extent_accepted a = {.geometry = {1, 0}};
	ENV_LOCKED(&s->accepted_lock);

	if (s->accepted)
		s->accepted(s->accepted_ctx, bytes, &a);
	return a;
}

/* What is not allocated is no more sure for what was accepted than it was before (A1, A5). */
static void hold(struct extent_store *s, struct place_disk *p, uint64_t accepted, uint64_t bytes)
{
	struct disk *d = disk_get(s->cfg.disks, p->id);
	uint64_t held = disk_hold_bytes(d, accepted + MIN(bytes, p->free_bytes), accepted);

	p->free_bytes = MIN(p->free_bytes, held - MIN(held, accepted));
}

static void leave(struct extent_store *s, struct place_snapshot *snap,
		  const struct extent_accepted *a, uint64_t bytes, bool what_if)
{
	FREE uint64_t *spare = xcalloc(snap->count + 1, sizeof(*spare));
	FREE uint64_t *taken = xcalloc(snap->count + 1, sizeof(*taken));
	unsigned width = (unsigned)a->geometry.k + a->geometry.m;
	uint32_t largest = (uint32_t)MIN(a->data_bytes, EXTENT_MAX_BYTES); /* of its extents */
	uint64_t lacking = snap->lacking_bytes;

	width = MAX(MIN(width, place_domains(snap->disks, snap->count, 0)), 1u);
	if (!a->data_bytes)
		return;
	if (!lacking)
		lacking = snapshot_take_whole(snap, width, a->data_bytes * width,
					      record_len(1, largest), taken, spare);
	if (lacking)
		PROBE("nothing-to-spare");
	for (unsigned i = 0; i < snap->count; i++) {
		if (lacking)
			snap->disks[i].free_bytes = 0;
		else if (taken[i] && !what_if)
			hold(s, &snap->disks[i], taken[i], bytes);
	}
}

struct place_snapshot *spare_begin(struct extent_store *s, uint64_t bytes, uint64_t index_bytes,
				   bool compacts)
{
	struct extent_accepted a = tell(s, (int64_t)bytes);
	struct place_snapshot *snap = place_snapshot_beside(s, a.index_bytes + index_bytes);

	if (compacts)
		place_snapshot_lend(snap);
	leave(s, snap, &a, bytes, false);
	return snap;
}

struct place_snapshot *spare_if(struct extent_store *s, const struct extent_what_if *what_if)
{
	struct extent_accepted a = tell(s, 0);
	struct place_snapshot *snap = place_snapshot_if(s, what_if, a.index_bytes);

	leave(s, snap, &a, 0, true);
	return snap;
}

void spare_end(struct extent_store *s, uint64_t bytes) { (void)tell(s, -(int64_t)bytes); }

void extent_spare_begin(struct extent_store *s, uint64_t bytes, struct place_disk *disks,
			unsigned count)
{
	FREE struct place_snapshot *snap = spare_begin(s, bytes, UNASKED_INDEX_BYTES, false);

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < snap->count; j++)
			if (snap->disks[j].id.v == disks[i].id.v)
				disks[i].free_bytes = MIN(disks[i].free_bytes,
							  snap->disks[j].free_bytes);
}

void extent_spare_end(struct extent_store *s, uint64_t bytes)
{
	/* what was written past the disks' own account is seen only when they are asked anew */
	for (unsigned i = 0; i < disk_count(s->cfg.disks); i++)
		disk_ask_anew(disk_at(s->cfg.disks, i));
	spare_end(s, bytes);
}
