/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk is to be emptied (DR5): whether what it holds has a place elsewhere, and what becomes of that which has none. What
 * moves goes through the pipeline of repair.c.
 *
 * Locks: the records' exclusive section (refs.c) around re-reading and commit.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

static unsigned width_of(const struct rec_extent *rec) { return (unsigned)rec->k + rec->m; }

/* ---- beforehand ---- */

/* Fragments elsewhere that are sure to be there. */
static unsigned sure_without(struct extent_store *s, const struct rec_extent *rec, disk_id disk)
{
	unsigned sure = 0;

	for (unsigned i = 0; i < width_of(rec); i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;

		sure += d && f->disk.v != disk.v && disk_present(d) &&
			disk_is_sure(d, f->segment, f->offset, f->record_len);
	}
	return sure;
}

/* Places, apart from each other and from what stays where it is, for all that is to move: on this disk, and on others that are
 * to leave, too. */
struct moving {
	disk_id to[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned count;
};

static bool find_places(struct extent_store *s, const struct place_snapshot *snap,
			const struct rec_extent *rec, disk_id disk, uint32_t need,
			struct moving *ret)
{
	disk_id stay[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned n = 0;

	ret->count = 0;
	for (unsigned i = 0; i < width_of(rec); i++) {
		disk_id at = rec->frags[i].disk;
		struct disk *d = at.v ? disk_get(s->cfg.disks, at) : NULL;

		if (at.v == disk.v || (d && disk_is_leaving(d)))
			ret->count++;
		else if (at.v)
			stay[n++] = at;
	}
	return place_pick(snap->disks, snap->count, ret->count, need, stay, n, 0, ret->to) == 0;
}

/* For want of disks it is stored anew as new data is (R6): does it bear as much then? *ret_need: each fragment takes so much. */
static bool fits_narrower(const struct place_snapshot *snap, const struct rec_extent *rec,
			  struct geometry *ret, uint32_t *ret_need)
{
	const struct geometry wanted = {rec->wanted_k, rec->wanted_m};
	struct place_snapshot *any = place_snapshot_copy(snap);
	bool fits;

	for (unsigned i = 0; i < any->count; i++)
		any->disks[i].free_bytes = UINT64_MAX / 2 / PLACE_MAX_DISKS;
	fits = place_snapshot_fit(any, wanted, rec->len, ret) == 0 && ret->m >= rec->m;
	*ret_need = fits ? record_len(1, codec_fragment_len(*ret, rec->len)) : 0;
	free(any);
	return fits;
}

static void store_narrower(struct place_snapshot *snap, struct geometry g, uint32_t need,
			   struct extent_leaving *plan)
{
	disk_id ids[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned width = (unsigned)g.k + g.m;

	if (place_pick(snap->disks, snap->count, width, need, NULL, 0, 0, ids)) {
		plan->homeless++;
		return;
	}
	plan->narrowed++;
	for (unsigned i = 0; i < width; i++)
		place_snapshot_take(snap, ids[i], need, false);
}

/* Gives what an extent has there a place among the others, as repairs would. */
static void place_one(struct extent_store *s, const struct rec_extent *rec,
		      const struct rec_bydisk *by, struct place_snapshot *snap,
		      struct extent_leaving *plan)
{
	struct disk *d = disk_get(s->cfg.disks, by->disk);
	struct geometry g;
	struct moving m;
	uint32_t need;

	if ((!d || !disk_present(d)) && sure_without(s, rec, by->disk) < rec->k)
		plan->lost++;
	else if (find_places(s, snap, rec, by->disk, by->record_len, &m))
		for (unsigned i = 0; i < m.count; i++)
			place_snapshot_take(snap, m.to[i], by->record_len, false);
	else if (find_places(s, snap, rec, by->disk, 0, &m))
		plan->homeless++;
	else if (fits_narrower(snap, rec, &g, &need))
		store_narrower(snap, g, need, plan);
	else
		plan->unplaced++;
}

static bool is_damage(int err)
{
	return err == DFS_ECORRUPT || err == DFS_ECHECKSUM || err == DFS_EVERSION;
}

int extent_each_on(struct meta *m, disk_id disk, extent_on_fn fn, void *ctx, uint64_t *ret_unknown)
{
	struct cursor c;
	int err = 0;

	*ret_unknown = 0;
	cursor_of_disk(&c, m, TABLE_BYDISK, disk);
	while (!err && cursor_next(&c)) {
		struct rec_bydisk by;
		struct rec_extent rec;

		err = cursor_bydisk(&c, &by);
		if (!err)
			err = get_extent(m, by.extent, &rec);
		if (!err)
			fn(ctx, &rec, &by);
		*ret_unknown += is_damage(err);
		if (is_damage(err) || err == DFS_ENOENT) /* freed since the snapshot */
			err = 0;
	}
	return cursor_close(&c, err);
}

struct leaving {
	struct extent_store *s;
	struct place_snapshot *snap;
	struct extent_leaving *plan;
};

static void one_leaves(void *ctx, const struct rec_extent *rec, const struct rec_bydisk *by)
{
	struct leaving *l = ctx;

	l->plan->extents++;
	l->plan->bytes += by->record_len;
	place_one(l->s, rec, by, l->snap, l->plan);
}

int extent_plan_leaving(struct extent_store *s, const struct extent_what_if *what_if,
			struct extent_leaving *ret_plan)
{
	FREE struct place_snapshot *snap = spare_if(s, what_if);
	struct extent_leaving plan = {0};
	struct leaving l = {s, snap, &plan};
	int err = extent_each_on(s->cfg.meta, what_if->without, one_leaves, &l, &plan.unknown);

	*ret_plan = plan;
	return err;
}

/* ---- what has no place ---- */

static unsigned index_on(const struct rec_extent *rec, disk_id disk)
{
	unsigned i = 0;

	while (i < width_of(rec) && rec->frags[i].disk.v != disk.v)
		i++;
	return i;
}

/* Is what lies there needed? Looked at on the disks, not only in the index. Whether its disk is there at this moment does
 * not matter: one that is away may come back. */
static int check_needless(struct extent_store *s, const struct rec_extent *rec, disk_id disk)
{
	unsigned i = index_on(rec, disk);
	struct extent_check check;
	int err;

	if (i == width_of(rec))
		return DFS_ENOENT;
	err = extent_verify(s, rec, true, &check);
	if (err)
		return err;
	return check.needless[i] ? 0 : DFS_EREFUSED;
}

static int forget(struct extent_store *s, const struct rec_extent *seen, disk_id disk)
{
	struct rec_extent now;
	unsigned i = index_on(seen, disk);
	const struct rec_fragment *f = &seen->frags[i];
	struct rec_freed freed = {f->disk, f->segment, f->offset, f->record_len};
	char json[256], text[UUID_TEXT_LEN + 1];
	struct meta_txn *t;
	uint64_t seq;
	int err;

	err = get_extent(s->cfg.meta, seen->id, &now);
	if (err)
		return err;
	if (memcmp(now.frags, seen->frags, sizeof(now.frags)) != 0)
		return DFS_EBUSY;
	now.frags[i] = (struct rec_fragment){0};
	uuid_format(&now.id.u, text);
	snprintf(json, sizeof(json),
		 "{\"event\":\"unplaced\",\"extent\":\"%s\",\"fragment\":%u,\"inode\":%llu,"
		 "\"from_disk\":%u}",
		 text, i, (unsigned long long)now.ino.v, disk.v);
	t = meta_begin(s->cfg.meta);
	put_extent(t, &now);
	del_bydisk(t, f->disk, f->segment, f->offset);
	put_freed(t, &freed);
	meta_add(t, META_COUNT_DISK_USED + f->disk.v, -(int64_t)f->record_len);
	audit_add(s, t, json);
	return meta_commit(t, &seq);
}

/* Want of room passes, also for what could be stored narrower; want of disks does not, nor does what can't be read without a disk that is not there. */
static bool may_be_placed(struct extent_store *s, const struct place_snapshot *snap,
			  const struct rec_extent *rec, disk_id disk)
{
	struct disk *d = disk_get(s->cfg.disks, disk);
	disk_id others[DFS_EXTENT_MAX_FRAGMENTS], to;
	struct geometry g;
	unsigned n = 0;
	uint32_t need;

	if ((!d || !disk_present(d)) && sure_without(s, rec, disk) < rec->k)
		return false;
	for (unsigned i = 0; i < width_of(rec); i++)
		if (rec->frags[i].disk.v && rec->frags[i].disk.v != disk.v)
			others[n++] = rec->frags[i].disk;
	return place_pick(snap->disks, snap->count, 1, 0, others, n, 0, &to) == 0 ||
	       (s->restore && fits_narrower(snap, rec, &g, &need));
}

static int unplace(struct extent_store *s, const struct place_snapshot *snap, extent_id id,
		   disk_id disk)
{
	struct rec_extent rec;
	int err = get_extent(s->cfg.meta, id, &rec);

	if (!err && may_be_placed(s, snap, &rec, disk))
		err = DFS_ENOSPC;
	if (!err)
		err = check_needless(s, &rec, disk);
	if (err)
		return err;
	records_exclusive_begin(s);
	err = forget(s, &rec, disk);
	records_exclusive_end(s);
	if (!err)
		PROBE("fragment-unplaced");
	if (!err)
		cache_drop(s, id);
	return err;
}

void extent_unplace(struct extent_store *s, disk_id disk, struct repair_item *items, unsigned count)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	for (unsigned i = 0; i < count; i++)
		items[i].err = unplace(s, snap, items[i].id, disk);
}
