/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's background thread: moves metadata off failed disks, asks disks and takes them up again, gives space
 * back, seals a quiet journal, and keeps pool.json and disk.json up to date.
 */
#include "pool/internal.h"

#define TICK_MS 250
#define RECLAIM_TICKS 8 /* every 2 s */
#define RECLAIM_BATCH 1024
#define ASK_TICKS 4 /* every second */
#define LOOK_NS 50000000ull
#define WITNESS_TICKS 20 /* every 5 s */

static void tick_pool_json(struct pool *p)
{
	bool due, tie;

	env_mutex_lock(&p->lock);
	due = p->pool_json_err != 0;
	tie = p->tie != 0;
	env_mutex_unlock(&p->lock);
	if (tie && meta_settle_tie(p->meta))
		return; /* told already */
	if (due && pool_json_store(p) == 0)
		log_info("%s/pool.json is up to date again", p->dir);
}

static void tick_members(struct pool *p)
{
	uint64_t now = env_now_ns();
	bool due;
	int err;

	env_mutex_lock(&p->lock);
	due = p->members_changed && now >= p->members_retry_ns;
	p->members_changed = p->members_changed && !due;
	env_mutex_unlock(&p->lock);
	err = due ? members_choose(p) : 0;
	if (!err)
		return;
	log_warn(
		"cannot put the metadata of a lost disk on another one: %s; it is tried again, and the "
		"pool goes on with fewer copies of its metadata",
		dfs_err_text(err));
	ENV_LOCKED(&p->lock);
	p->members_changed = err != DFS_EFAILED;
	p->members_retry_ns = now + MEMBERS_RETRY_NS;
}

static void tick_reclaim(struct pool *p)
{
	unsigned done = RECLAIM_BATCH;

	for (int i = 0; i < 64 && done == RECLAIM_BATCH; i++) {
		int err = extent_reclaim(p->extents, RECLAIM_BATCH, &done);

		if (err && err != DFS_EFAILED)
			log_warn("cannot give freed space back: %s; it is tried again",
				 dfs_err_text(err));
		if (err)
			break;
	}
}

/* H10. What it can't be noted for is told of, if at all, by who needs the pool directory: once here. */
static void note_durable(struct pool *p)
{
	int err = pool_json_note_durable(p);

	if (err && !p->line_err)
		log_warn(
			"cannot note in %s/pool.json what is durable by now: %s; it is tried again; meanwhile "
			"nobody would notice if all disks were set back to copies of themselves",
			p->dir, dfs_err_text(err));
	p->line_err = err;
}

/* M12: nothing was committed since the last time. */
static void tick_seal(struct pool *p)
{
	uint64_t seq = meta_last_seq(p->meta);
	bool quiet = seq == p->seal_seq;

	p->seal_seq = seq;
	if (!quiet)
		return;
	if (meta_seal(p->meta))
		p->seal_seq = 0; /* what is wrong is told by whoever needs it; tried again */
	if (!p->line_err)
		note_durable(p);
}

static bool tick_wait(struct pool *p)
{
	ENV_LOCKED(&p->lock);
	if (!p->stop)
		(void)env_cond_wait_ms(&p->wake, &p->lock, TICK_MS);
	return !p->stop;
}

void pool_background(void *arg)
{
	struct pool *p = arg;

	for (unsigned tick = 1; tick_wait(p); tick++) {
		bool due;

		disks_update_used(p);
		env_mutex_lock(&p->change_lock);
		tick_members(p);
		(void)lacks_look(p, LOOK_NS);
		env_mutex_unlock(&p->change_lock);
		health_note_spare(p);
		if (tick % ASK_TICKS == 0) {
			health_ask(p);
			tick_seal(p);
		}
		health_revive(p);
		smart_tick(p);
		health_store(p, false);
		health_settle_doubts(p);
		orphans_tick(p);
		env_mutex_lock(&p->lock);
		due = p->disk_json_due;
		p->disk_json_due = false;
		env_mutex_unlock(&p->lock);
		if (due)
			disk_jsons_update(p);
		if (tick % WITNESS_TICKS == 0) {
			tick_pool_json(p);
			note_durable(p);
		}
		if (tick % RECLAIM_TICKS == 0) {
			tick_reclaim(p);
			extent_compact_measure(p->extents);
			extent_hold_metadata(p->extents);
		}
	}
}
