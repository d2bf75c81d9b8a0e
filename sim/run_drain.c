/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that leave. One that is to leave counts among the damaged: what lies there may be lost with it. Once it has left, nothing names it,
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

static void drain_main(void *arg)
{
	struct run *r = arg;
	struct pool_disk_status st;
	struct pool_drain_plan plan;
	struct pool_message msg = {0};
	struct run_disk *d;
	int err;

	env_sleep_ms(rng_below(&r->drain_rng, 1ull << rng_between(&r->drain_rng, 0, 12)));
	d = r->stop_admin ? NULL : choose(r, &st);
	if (!d)
		return;
	d->damage = DAMAGE_FAILED;
	d->failed = true;
	sim_trace("remove-disk %s", d->path);
	err = pool_drain(r->pool, st.info.label, false, &plan, &msg);
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
