/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All disks are copied while the pool is in use, and later set back to these copies, beside the pool directory of
 * today. If that remembers a transaction that was committed after the copies were made, the disks lack what was
 * durable: that must be refused, and nothing be written. With force it opens, says what is lost, and asks no
 * more (H10). It is tried aside: afterwards all is as it was. That what power cuts leave is never refused for
 * it is asked by each other opening.
 */
#include "sim/run_back.h"

#include <limits.h>

#include "base/env.h"
#include "base/probe.h"
#include "format/pooljson.h"
#include "sim/run_home.h"
#include "sim/run_rot.h"
#include "sim/sim_env.h"

void back_set_up(struct run *r)
{
	rng_seed(&r->back.rng, rng_mix(r->opt->seed ^ 0xbacc));
	r->back.on = !r->opt->meta_only && rng_one_in(&r->back.rng, 3);
}

static void forget_copies(struct run *r)
{
	for (unsigned i = 0; i < SIM_DISKS; i++) {
		sim_image_free(r->back.images[i]);
		r->back.images[i] = NULL;
	}
	r->back.count = 0;
}

static bool all_are_ours(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_FOREIGN || run_disk_is_away(&r->disks[i]))
			return false;
	return r->split.state == SPLIT_NONE && !r->adding;
}

/* In some rounds power stays until the clients are done. */
static void copy_main(void *arg)
{
	struct run *r = arg;
	uint64_t ms = rng_below(&r->back.rng, 1ull << rng_between(&r->back.rng, 0, 8));

	env_sleep_ms(ms);
	if (r->stop_admin || !all_are_ours(r))
		return;
	forget_copies(r);
	r->back.count = r->disk_count;
	r->back.last_seq = meta_last_seq(pool_meta(r->pool));
	for (unsigned i = 0; i < r->disk_count; i++)
		r->back.images[i] = sim_disk_image(r->disks[i].sim);
	/* until more is durable, and the pool directory knows of it */
	r->lasts_until_ns = MAX(r->lasts_until_ns,
				sim_env_now_ns() + rng_below(&r->back.rng, 12) * 1000000000);
	r->pace_ms = MAX(r->pace_ms, 200u);
	sim_trace("all disks are copied at transaction %llu", (unsigned long long)r->back.last_seq);
}

struct env_thread *back_start(struct run *r)
{
	if (!r->back.on || rng_one_in(&r->back.rng, 2))
		return NULL;
	if (rng_one_in(&r->back.rng, 2))
		r->end_after_ops = UINT_MAX;
	return env_thread_start("copy", copy_main, r);
}

/* ---- set back ---- */

static void find_pool_json(void *ctx, const char *path, uint8_t *data, uint64_t size)
{
	CLEANUP(pool_json_release) struct pool_json j = {0};
	uint64_t *seq = ctx;

	if (!strcmp(path, POOL_JSON_NAME) && !pool_json_parse(data, size, &j))
		*seq = j.durable_seq;
}

/* Each disk that is there is as it was when it was copied, or (true) the truth again. */
static void exchange(struct run *r, struct sim_image **now, bool again)
{
	for (unsigned i = 0; i < r->back.count; i++) {
		if (!again)
			now[i] = sim_disk_image(r->disks[i].sim);
		sim_disk_restore(r->disks[i].sim, again ? now[i] : r->back.images[i]);
		if (!again)
			continue;
		sim_image_free(now[i]);
		r->disks[i].changes = sim_disk_changes(r->disks[i].sim);
	}
}

static void lose_power(struct run *r)
{
	pool_abandon(r->pool);
	r->pool = NULL;
	index_mem_store_crash(r->index);
}

/* Refused for what the pool directory remembers: so force it is, and once is enough. */
static void force(struct run *r, uint64_t remembered, const struct sim_image *home)
{
	struct pool_open_options opt = {.force = true};
	struct pool_message msg = {0};
	struct pool_status st;
	int err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);

	if (err == DFS_ENOSPC && (r->small_disks || r->was_filled))
		return; /* the loss needs a checkpoint */
	if (err)
		sim_fail("H10", "disks that are set back can't be opened by force: %s: %s",
			 dfs_err_name(err), msg.text);
	pool_status(r->pool, &st);
	if (!st.recovery.forced &&
	    (!st.loss.from || st.loss.from > r->back.last_seq + 1 || st.loss.last < remembered))
		sim_fail("H10",
			 "opened by force, it says that %llu to %llu is lost, not %llu to %llu",
			 (unsigned long long)st.loss.from, (unsigned long long)st.loss.last,
			 (unsigned long long)r->back.last_seq + 1, (unsigned long long)remembered);
	PROBE("set-back-opened-by-force");
	lose_power(r);
	/* Where it took the newest root to force, the old pool directory goes on to object (H5). */
	if (!st.recovery.forced && rng_one_in(&r->back.rng, 2))
		sim_disk_restore(r->pool_disk, home);
	opt.force = false;
	err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	if (err)
		sim_fail("H10", "it was opened by force, and is refused again: %s: %s",
			 dfs_err_name(err), msg.text);
	lose_power(r);
}

static void try_set_back(struct run *r, uint64_t remembered, const struct sim_image *home)
{
	struct pool_open_options opt = {.read_only = rng_one_in(&r->back.rng, 4)};
	uint64_t before = sim_disks_stats().changes;
	struct pool_message msg = {0};
	int err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);

	sim_trace("all disks set back to %llu, and %llu is remembered: %s: %s",
		  (unsigned long long)r->back.last_seq, (unsigned long long)remembered,
		  dfs_err_name(err), msg.text);
	if (!err)
		sim_fail("H10", "all disks were set back to %llu, though %llu was durable: opened",
			 (unsigned long long)r->back.last_seq, (unsigned long long)remembered);
	if (sim_disks_stats().changes != before)
		sim_fail("H10", "set back disks are refused, but something was written");
	PROBE("all-disks-set-back");
	if (err == DFS_ESTALE)
		force(r, remembered, home);
}

void back_before_opening(struct run *r)
{
	struct sim_image *now[SIM_DISKS], *home;
	struct index_mem_store *index;
	uint64_t remembered = 0;

	if (!r->back.count)
		return;
	sim_disk_each(r->pool_disk, find_pool_json, &remembered);
	if (r->back.count != r->disk_count || !all_are_ours(r) || r->lose_pool_dir || r->beyond ||
	    run_is_rotten(r)) {
		forget_copies(r);
		return;
	}
	if (remembered <= r->back.last_seq) {
		PROBE("set-back-that-nothing-tells");
		forget_copies(r);
		return;
	}
	home = sim_disk_image(r->pool_disk);
	index = index_mem_store_copy(r->index);
	exchange(r, now, false);
	try_set_back(r, remembered, home);
	exchange(r, now, true);
	sim_disk_restore(r->pool_disk, home);
	sim_image_free(home);
	home_index_replace(r, index);
	forget_copies(r);
}
