/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that leave, with an heir or without, and disks that become level. One that is to leave counts among the damaged: what lies there may be lost with it. Once it has left, nothing names it,
 * and the pool is opened, filled, damaged and read as before.
 */
#include "sim/run_drain.h"

#include <stdlib.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/run_home.h"

void drain_set_up(struct run *r)
{
	rng_seed(&r->drain_rng, rng_mix(r->opt->seed ^ 0xd2a1));
	r->drains = !r->opt->meta_only && rng_one_in(&r->drain_rng, 2);
}

static struct run_disk *run_disk_of(struct run *r, const struct pool_disk_status *st)
{
	return &r->disks[strtoul(st->info.label + 1, NULL, 10)];
}

/* One that is well, if one more may be lost. */
static struct run_disk *choose(struct run *r, struct pool_disk_status *st)
{
	unsigned at = (unsigned)rng_below(&r->drain_rng, r->disk_count), found = 0;
	struct run_disk *chosen = NULL;

	for (unsigned i = 0; !chosen && pool_disk_status(r->pool, i, st); i++) {
		struct run_disk *d = run_disk_of(r, st);

		if (found++ == at && d->damage == DAMAGE_NONE && !d->failed && !*d->domain)
			chosen = d;
	}
	/* last, for asking for the states may wait, and another disk may fail meanwhile */
	if (run_damaged(r) >= r->tolerance || r->disk_count < run_damaged(r) + 2 ||
	    (chosen && (chosen->damage != DAMAGE_NONE || chosen->failed)))
		return NULL;
	return chosen;
}

static bool is_honest(struct run *r, int err)
{
	return err == DFS_EREFUSED || err == DFS_EEXIST || run_bears(r, err) ||
	       run_home_silent(r, err) || home_explains_order(r, err) ||
	       (err == DFS_ENOSPC && (r->small_disks || r->lacks_room || run_somebody_full(r)));
}

static void take_back(struct run *r, struct run_disk *d, disk_id id)
{
	int err;

	env_sleep_ms(rng_below(&r->drain_rng, 1ull << rng_between(&r->drain_rng, 0, 13)));
	if (r->stop_admin || !rng_one_in(&r->drain_rng, 3))
		return;
	err = pool_drain_cancel(r->pool, id);
	sim_trace("the removal of %s is taken back: %s", d->path, dfs_err_name(err));
	if (err && err != DFS_ENOENT && !is_honest(r, err))
		sim_fail("DR7", "a removal can't be taken back: %s", dfs_err_name(err));
	if (err)
		return;
	PROBE("removal-taken-back");
	d->failed = false;
	if (d->damage == DAMAGE_FAILED)
		d->damage =
			DAMAGE_ANEW; /* what was written meanwhile went without it, and may bear less */
}

/* Another one that takes its place, which need not be new; 0: none does. */
static disk_id choose_heir(struct run *r, disk_id old)
{
	struct pool_disk_status st;

	for (unsigned i = 0; pool_disk_status(r->pool, i, &st); i++)
		if (st.info.id.v != old.v && st.takes_data && rng_one_in(&r->drain_rng, 3))
			return st.info.id;
	return (disk_id){0};
}

/* ---- disks become level (RB1 to RB4), by the least that can move; also while one leaves ---- */

#define LEVELLED_MAX 200u

static struct levelling { /* one at a time */
	disk_id from;
	struct repair_item items[LEVELLED_MAX];
	unsigned count;
} levelling;

static void collect_one(struct run *r, const struct rec_extent *rec)
{
	(void)r;
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		if (rec->frags[i].disk.v == levelling.from.v && levelling.count < LEVELLED_MAX)
			levelling.items[levelling.count++] = (struct repair_item){.id = rec->id};
}

static void level_one(struct run *r, struct extent_level *level, disk_id from)
{
	levelling.from = from;
	levelling.count = 0;
	oracle_each_extent(r, collect_one);
	if (!levelling.count)
		return;
	extent_level_move(pool_extents(r->pool), level, from, levelling.items, levelling.count);
	for (unsigned i = 0; i < levelling.count; i++)
		if (levelling.items[i].made)
			PROBE("levelled");
}

/* What lies on a whole disk may move to one that was damaged before: the model counts disks, so only as long as none was. */
static void level_some(struct run *r)
{
	struct extent_level *level;

	if (run_damaged(r))
		return;
	level = xcalloc(1, sizeof(*level));
	extent_level_measure(pool_extents(r->pool), level);
	for (unsigned i = 0; i < level->count && !r->stop_admin; i++)
		if (extent_level_gives(level, level->disks[i].id))
			level_one(r, level, level->disks[i].id);
	free(level);
}

void level_begin_one(struct run *r)
{
	uint32_t id;
	int err;

	if (!r->drains || r->beyond || !r->jobs || run_damaged(r) || !rng_one_in(&r->drain_rng, 2))
		return;
	err = jobs_rebalance(r->jobs, rng_one_in(&r->drain_rng, 2) ? 0 : MIB(1), &id);
	if (err && err != DFS_EBUSY && !is_honest(r, err))
		sim_fail("RB4", "levelling can't be begun: %s", dfs_err_name(err));
}

/* The label that it has: all homes of it are written anew. */
static void set_label(struct run *r, const struct pool_disk_status *st)
{
	struct pool_message msg = {0};
	int err = pool_set_label(r->pool, st->info.label, st->info.label, false, &msg);

	if (err && !is_honest(r, err))
		sim_fail("DR9", "a label can't be set: %s: %s", dfs_err_name(err), msg.text);
}

static void drain_main(void *arg)
{
	struct run *r = arg;
	struct pool_disk_status st;
	struct pool_drain_plan plan;
	struct pool_message msg = {0};
	struct run_disk *d;
	disk_id heir;
	int err;

	env_sleep_ms(rng_below(&r->drain_rng, 1ull << rng_between(&r->drain_rng, 0, 12)));
	if (rng_one_in(&r->drain_rng, 2) && !r->stop_admin)
		level_some(r);
	d = r->stop_admin ? NULL : choose(r, &st);
	if (!d)
		return;
	d->damage = DAMAGE_FAILED;
	d->failed = true;
	sim_trace("remove-disk %s", d->path);
	if (rng_one_in(&r->drain_rng, 3))
		set_label(r, &st);
	heir = choose_heir(r, st.info.id);
	err = pool_replace(r->pool, st.info.label, heir, false, false, &plan, &msg);
	sim_trace("remove-disk %s: %s %s", d->path, dfs_err_name(err), msg.text);
	if (err && !is_honest(r, err))
		sim_fail("DR5", "removing a disk fails: %s: %s", dfs_err_name(err), msg.text);
	if (err == DFS_EREFUSED) {
		d->failed = false;
		if (d->damage == DAMAGE_FAILED)
			d->damage = DAMAGE_NONE;
	}
	if (err)
		return;
	PROBE("removal-ordered");
	take_back(r, d, st.info.id);
}

struct env_thread *drain_start(struct run *r)
{
	if (!r->drains || r->beyond || rng_one_in(&r->drain_rng, 6))
		return NULL;
	return env_thread_start("remover", drain_main, r);
}

static void names_nothing_gone(struct run *r, const struct rec_extent *rec)
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		struct disk *d = disk_get(pool_disks(r->pool), rec->frags[i].disk);

		if (rec->frags[i].disk.v && (!d || disk_is_removed(d)))
			sim_fail("DR3", "an extent has a fragment on disk %u, which was removed",
				 rec->frags[i].disk.v);
	}
}

void drain_check(struct run *r)
{
	if (r->drains && !r->lossy)
		oracle_each_extent(r, names_nothing_gone);
}
