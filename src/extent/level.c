/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levelling: how full each disk is by share of its room, which fragments go from the fuller ones to the emptier ones, and what comes of it (RB1 to
 * RB4). They move by the pipeline of repair.c.
 *
 * No locks: a level is its caller's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

/* ---- what there is ---- */

static bool is_levelled(struct extent_store *s, struct disk *d)
{
	return disk_state(d) == DISK_HEALTHY && disk_is_eligible(s->cfg.disks, d);
}

static uint64_t used_of(struct extent_store *s, disk_id id)
{
	return (uint64_t)MAX(meta_counter(s->cfg.meta, META_COUNT_DISK_USED + id.v), 0);
}

static uint64_t part_of(uint64_t usable, uint64_t sum_used, uint64_t sum_usable)
{
	return sum_usable ? (uint64_t)((unsigned __int128)usable * sum_used / sum_usable) : 0;
}

/* What each has beyond its part, by what the disks hold now. */
static void weigh(struct extent_level *l)
{
	l->used_bytes = l->usable_bytes = 0;
	for (unsigned i = 0; i < l->count; i++) {
		l->used_bytes += l->disks[i].used_bytes;
		l->usable_bytes += l->disks[i].usable_bytes;
	}
	for (unsigned i = 0; i < l->count; i++) {
		struct extent_level_disk *d = &l->disks[i];

		d->over_bytes = (int64_t)d->used_bytes -
				(int64_t)part_of(d->usable_bytes, l->used_bytes, l->usable_bytes);
		d->slack_bytes = l->least_slack_bytes ? MAX(d->usable_bytes / EXTENT_LEVEL_PART,
							    l->least_slack_bytes)
						      : 0;
	}
}

void extent_level_measure(struct extent_store *s, struct extent_level *ret)
{
	FREE struct place_snapshot *snap = NULL;

	for (unsigned i = 0; i < disk_count(s->cfg.disks); i++) {
		struct disk *d = disk_at(s->cfg.disks, i);

		disk_set_used_bytes(d, used_of(s, disk_info(d).id));
		disk_ask_anew(d);
	}
	snap = place_snapshot_rooms(s);
	ret->count = 0;
	for (unsigned i = 0; i < snap->count; i++) {
		struct disk *d = disk_get(s->cfg.disks, snap->disks[i].id);
		struct extent_level_disk *to = &ret->disks[ret->count];

		if (!d || !snap->disks[i].eligible || !is_levelled(s, d))
			continue;
		*to = (struct extent_level_disk){.id = snap->disks[i].id};
		to->used_bytes = used_of(s, to->id);
		/* tables lie now here, now there: their room is not the fragments', nor another disk's */
		to->usable_bytes = to->used_bytes + snap->disks[i].free_bytes +
				   meta_disk_bytes(s->cfg.meta, to->id);
		ret->count++;
	}
	weigh(ret);
}

bool extent_level_update(struct extent_store *s, struct extent_level *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < disk_count(s->cfg.disks); i++) {
		struct disk *d = disk_at(s->cfg.disks, i);

		if (!is_levelled(s, d))
			continue;
		if (n == l->count || l->disks[n].id.v != disk_info(d).id.v)
			return false;
		l->disks[n++].used_bytes = used_of(s, disk_info(d).id);
	}
	if (n < l->count)
		return false;
	weigh(l);
	return true;
}

/* ---- what is to be done ---- */

static bool is_beyond(const struct extent_level_disk *d, uint64_t slack_bytes)
{
	return d->over_bytes > (int64_t)slack_bytes || -d->over_bytes > (int64_t)slack_bytes;
}

/* What moves goes on to half of what is tolerated: so that a level that was reached is not lost with the next write. */
static bool is_off(const struct extent_level_disk *d) { return is_beyond(d, d->slack_bytes / 2); }

bool extent_level_is_reached(const struct extent_level *l)
{
	for (unsigned i = 0; i < l->count; i++)
		if (is_beyond(&l->disks[i], l->disks[i].slack_bytes))
			return false;
	return true;
}

uint64_t extent_level_left(const struct extent_level *l)
{
	uint64_t above = 0, below = 0;

	for (unsigned i = 0; i < l->count; i++) {
		const struct extent_level_disk *d = &l->disks[i];
		uint64_t off = (uint64_t)(d->over_bytes > 0 ? d->over_bytes : -d->over_bytes);

		if (is_off(d) && d->over_bytes > 0)
			above += off - d->slack_bytes / 2;
		else if (is_off(d))
			below += off - d->slack_bytes / 2;
	}
	return MAX(above, below);
}

static struct extent_level_disk *of(const struct extent_level *l, disk_id id)
{
	for (unsigned i = 0; i < l->count; i++)
		if (l->disks[i].id.v == id.v)
			return (struct extent_level_disk *)&l->disks[i];
	return NULL;
}

/* RB2: both come nearer to their parts, and one of them is far from it. */
static bool is_useful(const struct extent_level_disk *from, const struct extent_level_disk *to,
		      uint32_t len)
{
	return from->over_bytes >= (int64_t)len && -to->over_bytes >= (int64_t)len &&
	       (is_off(from) || is_off(to));
}

bool extent_level_gives(const struct extent_level *l, disk_id id)
{
	const struct extent_level_disk *from = of(l, id);

	for (unsigned i = 0; from && i < l->count; i++)
		if (is_useful(from, &l->disks[i], SEGMENT_ALIGN))
			return true;
	return false;
}

static double lack_of(const struct extent_level_disk *d)
{
	return (double)-d->over_bytes / (double)MAX(d->usable_bytes, 1u);
}

bool level_choose(struct extent_store *s, const struct extent_level *l,
		  const struct place_snapshot *snap, const struct rec_extent *rec, unsigned i,
		  disk_id *ret_to)
{
	const struct extent_level_disk *from = of(l, rec->frags[i].disk), *best = NULL;
	uint32_t len = rec->frags[i].record_len;
	disk_id others[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned n = 0;

	for (unsigned j = 0; j < (unsigned)rec->k + rec->m; j++)
		if (j != i && rec->frags[j].disk.v)
			others[n++] = rec->frags[j].disk;
	for (unsigned j = 0; from && j < l->count; j++) {
		const struct extent_level_disk *to = &l->disks[j];

		if (!is_useful(from, to, len) || (best && lack_of(best) >= lack_of(to)) ||
		    !is_levelled(s, disk_get(s->cfg.disks, to->id)) ||
		    !place_allows(snap->disks, snap->count, to->id, len, others, n))
			continue;
		best = to;
	}
	if (best)
		*ret_to = best->id;
	return best != NULL;
}

void level_note(struct extent_level *l, disk_id from, disk_id to, uint32_t len)
{
	of(l, from)->used_bytes -= MIN(of(l, from)->used_bytes, len);
	of(l, to)->used_bytes += len;
	weigh(l);
}

void extent_level_move(struct extent_store *s, struct extent_level *l, disk_id from,
		       struct repair_item *items, unsigned count)
{
	const struct repair_choice choice = {.levelled = from, .level = l};

	extent_repair_many(s, &choice, items, count);
}

/* ---- beforehand ---- */

static unsigned index_on(const struct rec_extent *rec, const struct rec_bydisk *by)
{
	unsigned i = 0;

	while (i < (unsigned)rec->k + rec->m &&
	       (rec->frags[i].disk.v != by->disk.v || rec->frags[i].segment != by->segment ||
		rec->frags[i].offset != by->offset))
		i++;
	return i;
}

static void plan_one(struct extent_store *s, const struct rec_bydisk *by,
		     struct place_snapshot *snap, struct extent_level_plan *plan)
{
	struct rec_extent rec;
	disk_id to;
	unsigned i;

	if (get_extent(s->cfg.meta, by->extent, &rec))
		return; /* freed since, or fsck names it */
	i = index_on(&rec, by);
	if (i == (unsigned)rec.k + rec.m || !level_choose(s, &plan->then, snap, &rec, i, &to))
		return;
	level_note(&plan->then, by->disk, to, by->record_len);
	place_snapshot_take(snap, to, by->record_len, false);
	plan->fragments++;
	plan->bytes += by->record_len;
}

static int plan_disk(struct extent_store *s, disk_id disk, struct place_snapshot *snap,
		     struct extent_level_plan *plan)
{
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	const size_t prefix = 1 + sizeof(uint32_t); /* the table and the disk */
	BUF key = {0};
	int err;

	key_bydisk(&key, disk, 0, 0);
	for (meta_iter_seek(it, key.data, key.len);
	     meta_iter_valid(it) && extent_level_gives(&plan->then, disk); meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_bydisk by;

		if (klen < prefix || memcmp(k, key.data, prefix) != 0)
			break;
		if (parse_bydisk(k, klen, v, vlen, &by) == 0)
			plan_one(s, &by, snap, plan);
	}
	err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

int extent_level_plan(struct extent_store *s, struct extent_level_plan *ret)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);
	int err = 0;

	ret->now.least_slack_bytes = EXTENT_LEVEL_LEAST;
	extent_level_measure(s, &ret->now);
	ret->then = ret->now;
	ret->fragments = ret->bytes = 0;
	for (unsigned i = 0; i < ret->now.count && !err && !extent_level_is_reached(&ret->now); i++)
		err = plan_disk(s, ret->now.disks[i].id, snap, ret);
	return err;
}
