/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: a snapshot of the disks for place/, and the one capacity function (P6). In this order:
 *
 *  1. what each filesystem below has, less what was taken of it since it was asked, less the reserve, less what a
 *     pool directory on it may need (C5): once, however many disks are on it, divided among them. Each disk is told
 *     its share. And what is allocated ahead for each;
 *  2. off that, by failure domains as tables are written (C4), what metadata will need: what the next checkpoints write beside what lies there, what
 *     journals may still grow by, and once more what the index has taken in since the last checkpoint. What
 *     is taken so is told to each disk, which keeps it;
 *  3. off that, on a disk that can't punch holes, what a compaction needs (CP3);
 *  4. the rest is for file data. If metadata's need can't
 *     be met, nothing is: only what was accepted before still goes to allocated ground.
 */
#include <stdio.h>
#include <stdlib.h>

#include "extent/internal.h"

/* What is known of each disk of a snapshot beside it. */
struct rooms {
	struct disk_room v[PLACE_MAX_DISKS];
	uint64_t shares[PLACE_MAX_DISKS]; /* of what is on the filesystems below */
	uint64_t home_bytes;		  /* C5 */
};

/* Step 1 for the filesystem of disk `first`, and all that are on it. */
static void divide_fs(uint64_t home_fs, const struct place_snapshot *snap, struct rooms *r,
		      unsigned first)
{
	uint64_t free_bytes = UINT64_MAX, taken = 0, reserve = 0;
	uint64_t home = home_fs && r->v[first].fs_id == home_fs ? r->home_bytes : 0;
	FREE uint64_t *limits = xcalloc(snap->count, 2 * sizeof(*limits));
	uint64_t *shares = limits + snap->count;
	unsigned n = 0;

	for (unsigned i = first; i < snap->count; i++) {
		const struct disk_room *d = &r->v[i];

		if (!snap->disks[i].eligible || d->fs_id != r->v[first].fs_id)
			continue;
		free_bytes = MIN(free_bytes, d->free_bytes);
		taken += d->taken_bytes;
		reserve = MAX(reserve, d->reserve_bytes);
		limits[n] = UINT64_MAX;
		if (d->limit_bytes != UINT64_MAX)
			limits[n] = d->limit_bytes -
				    MIN(d->limit_bytes,
					d->ahead_bytes + d->kept_bytes + d->reserve_bytes);
		n++;
	}
	free_bytes -= MIN(free_bytes, taken + reserve + home);
	place_divide(free_bytes, limits, n, shares);
	n = 0;
	for (unsigned i = first; i < snap->count; i++)
		if (snap->disks[i].eligible && r->v[i].fs_id == r->v[first].fs_id)
			r->shares[i] = shares[n++];
}

static void divide_all(uint64_t home_fs, const struct place_snapshot *snap, struct rooms *r)
{
	for (unsigned i = 0; i < snap->count; i++) {
		bool seen = false;

		for (unsigned j = 0; j < i && !seen; j++)
			seen = snap->disks[j].eligible && r->v[j].fs_id == r->v[i].fs_id;
		if (snap->disks[i].eligible && !seen)
			divide_fs(home_fs, snap, r, i);
	}
}

/*
 * place_take() of whole fragments: what is less than one on a disk is of no use to tables, so that much more is
 * taken where any is. What a disk has beyond is told by `spare`, which has room for a figure for each.
 */
uint64_t snapshot_take_whole(struct place_snapshot *snap, unsigned width, uint64_t bytes,
			     uint64_t fragment_bytes, uint64_t *taken, uint64_t *spare)
{
	uint64_t lacking;

	for (unsigned i = 0; i < snap->count; i++) {
		spare[i] = MIN(snap->disks[i].free_bytes, fragment_bytes);
		snap->disks[i].free_bytes -= spare[i];
	}
	lacking = place_take(snap->disks, snap->count, width, bytes, taken);
	for (unsigned i = 0; i < snap->count; i++) {
		if (taken[i])
			taken[i] += spare[i];
		else
			snap->disks[i].free_bytes += spare[i];
	}
	return lacking;
}

/*
 * Takes off what metadata will need, with the geometry that its table files have, or a narrower one of the same
 * tolerance when that fits better: as they are written. more: what the index is to take in besides. Returns
 * what could not be taken.
 */
static uint64_t take_need(struct extent_store *s, struct place_snapshot *snap, uint64_t more,
			  uint64_t *taken)
{
	FREE uint64_t *spare = xcalloc(snap->count + 1, sizeof(*spare));
	struct meta_stats st = meta_stats(s->cfg.meta);
	FREE struct place_disk *disks = xmalloc(sizeof(snap->disks));
	uint64_t logical, lacking = 0;
	struct meta_space m;

	meta_space(s->cfg.meta, &m);
	logical = m.next_bytes / (m.geometry.k + m.geometry.m) * m.geometry.k + st.journal_bytes +
		  st.buffered_bytes + more + more / 4;
	memcpy(disks, snap->disks, sizeof(snap->disks));
	for (unsigned k = MAX(m.geometry.k, 1u); k > 0; k--) {
		unsigned width = k + m.geometry.m;

		memcpy(snap->disks, disks, sizeof(snap->disks));
		lacking = snapshot_take_whole(snap, width, logical / k * width + m.journal_bytes,
					      m.file_bytes / k, taken, spare);
		if (lacking == 0)
			break;
	}
	return lacking;
}

/* Step 2. what_if: nobody is told. */
static void take_metadata(struct extent_store *s, struct place_snapshot *snap, struct rooms *r,
			  uint64_t more, bool what_if)
{
	FREE uint64_t *taken = xcalloc(snap->count + 1, sizeof(*taken));

	for (unsigned i = 0; i < snap->count; i++)
		snap->disks[i].free_bytes = r->shares[i] + r->v[i].ahead_bytes + r->v[i].kept_bytes;
	snap->lacking_bytes = take_need(s, snap, more, taken);
	for (unsigned i = 0; i < snap->count; i++) {
		struct disk *d = disk_get(s->cfg.disks, snap->disks[i].id);
		uint64_t kept = r->v[i].kept_bytes;

		/* what is allocated for metadata beyond its need comes back later */
		snap->disks[i].free_bytes -= MIN(snap->disks[i].free_bytes,
						 kept - MIN(kept, taken[i]));
		snap->apart[i] = MIN(snap->disks[i].free_bytes, r->v[i].apart_bytes);
		snap->disks[i].free_bytes -= snap->apart[i];
		if (!d || what_if)
			continue;
		disk_set_keep_bytes(d, taken[i]);
		disk_set_share_bytes(d, r->shares[i]);
	}
}

/* The capacity that the user allows is for table files, too. */
static struct disk_room room_of(struct extent_store *s, struct disk *d)
{
	struct disk_room room = disk_room(d);

	if (room.limit_bytes != UINT64_MAX)
		room.limit_bytes -= MIN(room.limit_bytes,
					meta_disk_bytes(s->cfg.meta, disk_info(d).id));
	return room;
}

/* Step 1. more: bytes of keys and values that the index will take in. */
static struct place_snapshot *gather(struct extent_store *s, const struct extent_what_if *what_if,
				     uint64_t more, struct rooms *r)
{
	struct place_snapshot *snap = xcalloc(1, sizeof(*snap));
	unsigned count = MIN(disk_count(s->cfg.disks), PLACE_MAX_DISKS);

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(s->cfg.disks, i);
		struct disk_info info = disk_info(d);
		struct place_disk *p = &snap->disks[snap->count];

		memcpy(snap->domains[snap->count], info.domain, sizeof(info.domain));
		p->id = info.id;
		p->domain = snap->domains[snap->count];
		p->eligible = info.id.v != what_if->without.v && disk_is_eligible(s->cfg.disks, d);
		if (p->eligible)
			r->v[snap->count] = room_of(s, d);
		snap->count++;
	}
	if (what_if->with && snap->count < PLACE_MAX_DISKS) {
		snprintf(snap->domains[snap->count], sizeof(snap->domains[0]), "%s",
			 what_if->domain);
		snap->disks[snap->count] = (struct place_disk){
			.id = {UINT32_MAX},
			.domain = snap->domains[snap->count],
			.eligible = true,
		};
		r->v[snap->count++] = *what_if->with;
	}
	if (s->cfg.home_fs)
		r->home_bytes = meta_index_need(s->cfg.meta, true, more);
	divide_all(s->cfg.home_fs, snap, r);
	return snap;
}

/* If what_if says nothing, disks are told. */
struct place_snapshot *place_snapshot_if(struct extent_store *s,
					 const struct extent_what_if *what_if, uint64_t more)
{
	FREE struct rooms *r = xcalloc(1, sizeof(*r));
	struct place_snapshot *snap = gather(s, what_if, more, r);

	take_metadata(s, snap, r, more, what_if->with || more || what_if->without.v);
	return snap;
}

struct place_snapshot *place_snapshot_rooms(struct extent_store *s)
{
	const struct extent_what_if as_it_is = {.domain = ""};
	FREE struct rooms *r = xcalloc(1, sizeof(*r));
	struct place_snapshot *snap = gather(s, &as_it_is, 0, r);

	for (unsigned i = 0; i < snap->count; i++)
		snap->disks[i].free_bytes = r->shares[i] + r->v[i].ahead_bytes + r->v[i].kept_bytes;
	return snap;
}

struct place_snapshot *place_snapshot_beside(struct extent_store *s, uint64_t index_bytes)
{
	const struct extent_what_if as_it_is = {.domain = ""};

	return place_snapshot_if(s, &as_it_is, index_bytes);
}

struct place_snapshot *place_snapshot_new(struct extent_store *s)
{
	return place_snapshot_beside(s, 0);
}

struct place_snapshot *place_snapshot_copy(const struct place_snapshot *of)
{
	struct place_snapshot *snap = xmalloc(sizeof(*snap));

	*snap = *of;
	for (unsigned i = 0; i < snap->count; i++)
		snap->disks[i].domain = snap->domains[i];
	return snap;
}

void place_snapshot_lend(struct place_snapshot *snap)
{
	for (unsigned i = 0; i < snap->count; i++) {
		snap->disks[i].free_bytes += snap->apart[i];
		snap->apart[i] = 0;
	}
}

void place_snapshot_take(struct place_snapshot *snap, disk_id id, uint64_t bytes, bool exclude)
{
	for (unsigned i = 0; i < snap->count; i++)
		if (snap->disks[i].id.v == id.v) {
			struct place_disk *d = &snap->disks[i];

			d->free_bytes -= MIN(d->free_bytes, bytes);
			if (exclude)
				d->eligible = false;
		}
}

/*
 * place_fit narrows down to one copy; but tolerance is given up only for want of disks, never for
 * want of space: a pool whose disks are full says so instead of storing less safely.
 */
int place_snapshot_fit(const struct place_snapshot *snap, struct geometry wanted,
		       uint64_t extent_bytes, struct geometry *ret_geometry)
{
	struct place_geometry fit;
	unsigned domains = place_domains(snap->disks, snap->count, 0);
	int err;

	err = place_fit(snap->disks, snap->count, (struct place_geometry){wanted.k, wanted.m},
			extent_bytes, &fit);
	if (err)
		return err;
	if (fit.m < wanted.m && domains > (unsigned)fit.m + 1)
		return DFS_ENOSPC;
	*ret_geometry = (struct geometry){fit.k, fit.m};
	return 0;
}

int place_snapshot_extent(struct place_snapshot *snap, const struct extent_new *e, uint32_t salt,
			  struct geometry *ret_geometry, disk_id *ret_disks)
{
	int err = place_snapshot_fit(snap, e->wanted, e->len, ret_geometry);
	unsigned width;
	uint32_t need;

	if (err)
		return err;
	width = (unsigned)ret_geometry->k + ret_geometry->m;
	need = record_len(e->piece_count, codec_fragment_len(*ret_geometry, e->len));
	err = place_pick(snap->disks, snap->count, width, need, NULL, 0, salt, ret_disks);
	for (unsigned i = 0; i < width && !err; i++)
		place_snapshot_take(snap, ret_disks[i], need, false);
	return err;
}

/* Fill as placement would: the widest stripes first, then what the larger disks still allow. */
static uint64_t fill(struct place_snapshot *snap, struct geometry g, uint32_t extent_bytes)
{
	struct geometry fit;
	uint64_t total = 0;

	for (unsigned step = 0; step < CODEC_MAX_WIDTH; step++) {
		uint64_t stripes, record_bytes;

		if (place_snapshot_fit(snap, g, extent_bytes, &fit))
			break;
		record_bytes = record_len(1, codec_fragment_len(fit, extent_bytes));
		stripes = place_stripes(snap->disks, snap->count, (unsigned)fit.k + fit.m,
					record_bytes);
		if (stripes == 0)
			break;
		total += stripes * extent_bytes;
		place_take_stripes(snap->disks, snap->count, stripes, record_bytes);
	}
	return total;
}

/* Where no great extent fits any more, small ones may. */
uint64_t place_snapshot_usable(struct place_snapshot *snap, struct geometry g)
{
	uint64_t total;

	if (snap->lacking_bytes)
		return 0;
	total = fill(snap, g, EXTENT_MAX_BYTES);
	return total + fill(snap, (struct geometry){1, g.m}, EXTENT_SMALL_BYTES);
}

uint64_t extent_usable_bytes(struct extent_store *s, struct geometry g, uint64_t index_bytes)
{
	FREE struct place_snapshot *snap = place_snapshot_beside(s, index_bytes);

	return place_snapshot_usable(snap, g);
}

/* What was accepted goes to the ground that is allocated for it, also where metadata lacks room (A5). */
struct place_snapshot *place_snapshot_accepted(struct extent_store *s)
{
	struct place_snapshot *snap = place_snapshot_new(s);

	place_snapshot_lend(snap);
	for (unsigned i = 0; i < snap->count; i++)
		if (snap->disks[i].eligible)
			snap->disks[i].free_bytes =
				MAX(snap->disks[i].free_bytes,
				    disk_sure_bytes(disk_get(s->cfg.disks, snap->disks[i].id)));
	return snap;
}

static void hold_keeps(struct extent_store *s, const struct place_snapshot *snap)
{
	for (unsigned i = 0; i < snap->count; i++)
		if (snap->disks[i].eligible)
			disk_hold_keep(disk_get(s->cfg.disks, snap->disks[i].id));
}

void extent_hold_metadata(struct extent_store *s)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	hold_keeps(s, snap);
}

#define HOLD_ROUNDS 4 /* each asks every disk for twice as much */

uint64_t extent_hold_bytes(struct extent_store *s, struct geometry g, uint64_t bytes,
			   uint64_t accepted_bytes, uint64_t index_bytes)
{
	FREE struct place_snapshot *now = place_snapshot_new(s);
	FREE struct place_snapshot *snap = place_snapshot_beside(s, index_bytes);
	FREE struct place_snapshot *held = xmalloc(sizeof(*held));
	unsigned width = (unsigned)g.k + g.m;
	unsigned domains = place_domains(snap->disks, snap->count, 0);
	uint64_t each, accepted, usable = 0;

	/* of index_bytes most may be data, whose space must not be kept from it */
	hold_keeps(s, now);
	each = bytes / g.k * width / MAX(domains, width) + 2 * EXTENT_MAX_BYTES;
	accepted = accepted_bytes / g.k * width / MAX(domains, width) + EXTENT_MAX_BYTES;
	for (unsigned round = 0; round < HOLD_ROUNDS; round++, each *= 2) {
		bool all = true;

		*held = *snap;
		for (unsigned i = 0; i < snap->count; i++) {
			struct place_disk *d = &held->disks[i];
			uint64_t got;

			d->domain = held->domains[i];
			if (!d->eligible)
				continue;
			got = disk_hold_bytes(disk_get(s->cfg.disks, d->id),
					      MIN(each, d->free_bytes), accepted);
			all &= got < each;
			d->free_bytes = MIN(d->free_bytes, got);
		}
		usable = place_snapshot_usable(held, g);
		if (usable >= bytes || all)
			break;
	}
	return usable;
}

uint64_t extent_usable_bytes_if(struct extent_store *s, struct geometry g,
				const struct extent_what_if *what_if)
{
	FREE struct place_snapshot *snap = place_snapshot_if(s, what_if, 0);

	return place_snapshot_usable(snap, g);
}

int extent_fit(struct extent_store *s, struct geometry g, uint64_t extent_bytes,
	       struct geometry *ret_geometry)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	return place_snapshot_fit(snap, g, extent_bytes, ret_geometry);
}
