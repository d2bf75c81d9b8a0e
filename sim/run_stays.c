/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage that stays (S6, S7): a disk rots while no disk has room for a repair. What is met and can't be moved is known
 * from then on, also after whatever comes, and nothing is given up without force that is needed instead of it. The
 * truth is what verifying says, of all fragments.
 */
#include "base/probe.h"
#include "sim/run.h"
#include "sim/stats.h"

/* Nobody has changed it since. */
static bool is_as_it_was(struct run *r, const struct rec_extent *rec)
{
	struct rec_extent now;

	return !get_extent(pool_meta(r->pool), rec->id, &now) &&
	       !memcmp(now.frags, rec->frags, sizeof(now.frags));
}

static bool is_known(struct run *r, const struct rec_fragment *f)
{
	struct disk *d = disk_get(pool_disks(r->pool), f->disk);

	return !d || !disk_present(d) || disk_may_lack(d, f->segment, f->offset, f->record_len);
}

static struct run_stay *find_stay(struct run *r, const struct rec_fragment *f)
{
	for (unsigned i = 0; i < r->stay_count; i++)
		if (r->stays_at[i].disk.v == f->disk.v && r->stays_at[i].segment == f->segment)
			return &r->stays_at[i];
	return NULL;
}

/* ---- meeting it ---- */

/* What a read that met the damage has done by the healer. A note that the journal has no room for is left to the
 * next read; a pool that takes no more changes makes none. What the healer has moved meanwhile may have rotted on its way. */
static void repair_one(struct run *r, const struct rec_extent *old)
{
	uint64_t full = sim_stats_of("journal-full");
	struct rec_extent rec = *old;
	struct extent_check c;
	unsigned moved;
	int err;

	if (extent_verify(pool_extents(r->pool), &rec, true, &c) ||
	    !memchr(c.damaged, true, sizeof(c.damaged)))
		return;
	err = extent_repair(pool_extents(r->pool), rec.id, &moved);
	if (err == DFS_EBUSY || (!moved && !is_as_it_was(r, old)) ||
	    meta_failed(pool_meta(r->pool)) || get_extent(pool_meta(r->pool), rec.id, &rec) ||
	    extent_verify(pool_extents(r->pool), &rec, true, &c))
		return;
	for (unsigned i = 0; i < (unsigned)rec.k + rec.m; i++) {
		const struct rec_fragment *f = &rec.frags[i];

		if (!c.damaged[i] || !is_as_it_was(r, &rec) || sim_stats_of("journal-full") > full)
			continue;
		if (!is_known(r, f))
			sim_fail("S6",
				 "a fragment on disk %u, at %u:%u, is damaged and stays (%s), but "
				 "counts as there",
				 f->disk.v, f->segment, f->offset, dfs_err_name(err));
		if (!find_stay(r, f) && r->stay_count < RUN_STAYS)
			r->stays_at[r->stay_count++] = (struct run_stay){f->disk, f->segment};
	}
}

static bool would_lose[SIM_DISKS + 1]; /* by the disk's number among those of the pool */

static void ask_what_is_needed(struct run *r, const struct rec_extent *rec)
{
	struct disk_set *set = pool_disks(r->pool);
	struct extent_check c;

	if (extent_verify(pool_extents(r->pool), rec, true, &c) || c.good < rec->k ||
	    c.good > rec->k || !is_as_it_was(r, rec))
		return;
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		for (unsigned d = 0; d < MIN(disk_count(set), SIM_DISKS); d++)
			would_lose[d] = would_lose[d] ||
					(c.status[i] == FRAGMENT_GOOD &&
					 disk_info(disk_at(set, d)).id.v == rec->frags[i].disk.v);
}

/* S7: no disk is given up without force that holds what can't be done without. Where the journal had no room for a note
 * of what was met, it has none for giving up a disk. */
static void check_plans(struct run *r, uint64_t journal_full)
{
	if (sim_stats_of("journal-full") > journal_full)
		return;
	memset(would_lose, 0, sizeof(would_lose));
	oracle_each_extent(r, ask_what_is_needed);
	for (unsigned i = 0; i < MIN(disk_count(pool_disks(r->pool)), SIM_DISKS); i++) {
		struct pool_fail_plan plan;
		struct pool_message msg = {0};
		const char *label = disk_info(disk_at(pool_disks(r->pool), i)).label;

		if (!would_lose[i])
			continue;
		if (!pool_plan_fail(r->pool, label, &plan, &msg))
			sim_fail("S7", "disk %s would be given up, but holds what is needed",
				 label);
		PROBE("needed-disk-not-given-up");
	}
}

static void set_full(struct run *r, bool full)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);

		f.full = full;
		sim_disk_set_fault(r->disks[i].sim, &f);
	}
	r->lacks_room = r->filled = true;
}

void stays_meet(struct run *r)
{
	struct meta *m = pool_meta(r->pool);
	bool full = !rng_one_in(&r->stays_rng, 4);
	uint64_t journal_full = sim_stats_of("journal-full");

	if (!r->stays || r->exceeded || rng_one_in(&r->stays_rng, 3) || !run_rot_segments(r))
		return;
	PROBE("disk-rots-in-use");
	if (full)
		set_full(r, true);
	oracle_each_extent(r, repair_one);
	check_plans(r, journal_full);
	if (meta_sync(m, meta_last_seq(m)))
		r->stay_count = 0;
	if (full)
		set_full(r, false);
}

/* ---- a disk that was emptied and added again ---- */

static bool lacks[SIM_DISKS]; /* an extent names it as it was before */
static bool narrower;	      /* one was written while it was away, and bears fewer losses */

static void find_lacking(struct run *r, const struct rec_extent *rec)
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		struct run_disk *rd = run_disk_by_id(r, rec->frags[i].disk);
		struct disk *d = disk_get(pool_disks(r->pool), rec->frags[i].disk);

		if (rd && (!d || !disk_present(d)))
			lacks[rd - r->disks] = true;
	}
	narrower = narrower || rec->m < r->tolerance;
}

/* Once no extent is short for its sake it is a disk as any other: more may be lost then than were borne at once. */
void stays_forget_replaced(struct run *r)
{
	bool some = false;

	for (unsigned i = 0; i < r->disk_count; i++)
		some |= r->disks[i].damage == DAMAGE_ANEW && !r->disks[i].failed;
	if (!some || r->adding)
		return;
	memset(lacks, 0, sizeof(lacks));
	narrower = false;
	oracle_each_extent(r, find_lacking);
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct run_disk *d = &r->disks[i];

		if (d->damage != DAMAGE_ANEW || d->failed || lacks[i] || narrower)
			continue;
		PROBE("replaced-disk-is-as-any-other");
		sim_trace("nothing is short for the sake of disk %s any more", d->path);
		d->damage = DAMAGE_NONE;
		d->had_other = false;
	}
}

/* ---- remembering it ---- */

static void check_one(struct run *r, const struct rec_extent *rec)
{
	struct extent_check c;
	bool verified = false;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];

		if (!f->disk.v || !find_stay(r, f))
			continue;
		if (!verified && extent_verify(pool_extents(r->pool), rec, true, &c))
			return;
		verified = true;
		if (!c.damaged[i] || !is_as_it_was(r, rec))
			continue;
		if (!is_known(r, f))
			sim_fail("S6",
				 "a fragment on disk %u, at %u:%u, was known to be damaged, and is "
				 "not any more",
				 f->disk.v, f->segment, f->offset);
		PROBE("damage-still-known");
	}
}

void stays_check(struct run *r)
{
	if (r->stay_count)
		oracle_each_extent(r, check_one);
}
