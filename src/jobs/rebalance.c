/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalance: fragments go from disks that are fuller than the pool, by share of their room, to emptier ones, until all are level (RB1 to
 * RB6). By order only, one for the pool at a time. Disk by disk by the by-disk table, up to three times over, since what finds no place at first
 * may find one when others have moved; then it ends, level or not, and says which.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "jobs/internal.h"

#define PASSES 3u
#define RECLAIM_BATCH 1024u
#define RECLAIM_ROUNDS 64u

/* Others come first: what bears too little, or is to leave. */
static bool is_urgent(struct jobs *j)
{
	struct disk_set *disks = pool_disks(j->p);

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);

		if (!disk_is_removed(d) &&
		    (disk_is_leaving(d) ||
		     (extent_is_without(pool_extents(j->p), disk_info(d).id) &&
		      move_left(j, &(struct rec_job){.disk = disk_info(d).id}))))
			return true;
	}
	return false;
}

/* lock held. */
static void look(struct jobs *j)
{
	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];

		if (job->rec.kind == JOB_REBALANCE && job->rec.state == JOB_WAITING &&
		    job->yields && !is_urgent(j))
			job_set_state(job, JOB_RUNNING, "%s", "");
	}
}

static uint64_t left(struct jobs *j, const struct rec_job *rec)
{
	(void)j;
	return rec->total_bytes - MIN(rec->total_bytes, rec->moved_bytes);
}

/* RB3: what moved has left its room behind before it is asked how much each disk has. */
static void measure(struct jobs *j)
{
	struct extent_store *s = pool_extents(j->p);
	unsigned done = 1;

	if (meta_sync(pool_meta(j->p), meta_last_seq(pool_meta(j->p))) == 0)
		for (unsigned i = 0; i < RECLAIM_ROUNDS && done; i++)
			if (extent_reclaim(s, RECLAIM_BATCH, &done))
				break;
	j->level = j->level ? j->level : xcalloc(1, sizeof(*j->level));
	j->level->least_slack_bytes = EXTENT_LEVEL_LEAST;
	extent_level_measure(s, j->level);
}

static unsigned percent(uint64_t used, uint64_t usable)
{
	return (unsigned)((double)used * 100 / (double)MAX(usable, 1u) + 0.5) % 1000;
}

static void describe(struct jobs *j, struct job *job)
{
	const struct extent_level *l = j->level;
	unsigned all = percent(l->used_bytes, l->usable_bytes), most = 0, least = 999;
	disk_id fullest = {0}, emptiest = {0};

	for (unsigned i = 0; i < l->count; i++) {
		unsigned share = percent(l->disks[i].used_bytes, l->disks[i].usable_bytes);

		if (share >= most)
			most = share, fullest = l->disks[i].id;
		if (share < least)
			least = share, emptiest = l->disks[i].id;
	}
	if (extent_level_is_reached(l) || !fullest.v || !emptiest.v) {
		PROBE("rebalance-level");
		snprintf(job->reason, sizeof(job->reason),
			 "level: all are %u %% full, each within 2 %% of its room", all);
		return;
	}
	PROBE("rebalance-not-level");
	snprintf(
		job->reason, sizeof(job->reason),
		"as level as it gets: %.40s is %u %% full, %.40s %u %%, all together %u %%; extents "
		"want disks, and failure domains, of their own",
		disk_info(disk_get(pool_disks(j->p), fullest)).label, most,
		disk_info(disk_get(pool_disks(j->p), emptiest)).label, least, all);
}

/* The next disk that has something to give. False: the pass is over. */
static bool next_disk(const struct extent_level *l, struct rec_job *at)
{
	for (unsigned i = 0; i < l->count; i++)
		if (l->disks[i].id.v > at->from.v && extent_level_gives(l, l->disks[i].id)) {
			at->from = l->disks[i].id;
			at->segment = at->offset = 0;
			return true;
		}
	return false;
}

static int end_pass(struct jobs *j, struct job *job)
{
	job->rec.from.v = 0;
	job->rec.segment = job->rec.offset = 0;
	job->rec.pass++;
	measure(j);
	if (job->rec.pass < PASSES && !extent_level_is_reached(j->level))
		return 0;
	job->rec.pass = 0;
	describe(j, job);
	return DFS_EEND;
}

static bool any(struct jobs *j, const struct rec_job *at, const struct rec_bydisk *by)
{
	(void)j;
	(void)at;
	(void)by;
	return true;
}

static void sum_up(struct job *job, const struct repair_item *items, unsigned n,
		   uint64_t *ret_bytes)
{
	for (unsigned i = 0; i < n; i++) {
		*ret_bytes += items[i].bytes;
		job->rec.made += items[i].made;
		job->rec.moved_bytes += items[i].bytes;
	}
	if (job->rec.bytes_per_s)
		job->rest_ns = (uint64_t)((double)*ret_bytes * 1e9 / (double)job->rec.bytes_per_s);
}

static int move_some(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	/* a slow one takes less at a time, so that its rests are short */
	uint64_t most = job->rec.bytes_per_s ? job->rec.bytes_per_s / RECORD_MAX_LEN : MOVE_BATCH;
	struct repair_item items[MOVE_BATCH] = {0};
	unsigned n;
	int err = move_collect(j, &job->rec, job->rec.from, any, items,
			       (unsigned)MAX(MIN(most, MOVE_BATCH), 1u), &n);

	if (n) {
		PROBE("rebalance-step");
		extent_level_move(pool_extents(j->p), j->level, job->rec.from, items, n);
		sum_up(job, items, n, ret_bytes);
	}
	return err;
}

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	int err;

	if (!move_may_grow(j, job))
		return DFS_ENOSPC;
	if (is_urgent(j)) {
		snprintf(job->reason, sizeof(job->reason),
			 "what lies on disks that leave, or are lost, moves first");
		job->yields = true;
		return DFS_EBUSY;
	}
	if (j->level_of != job->rec.id || !extent_level_update(pool_extents(j->p), j->level)) {
		measure(j);
		j->level_of = job->rec.id;
	}
	if (!job->rec.from.v && job->rec.pass == 0 && extent_level_is_reached(j->level)) {
		describe(j, job);
		return DFS_EEND;
	}
	if (!job->rec.from.v || !extent_level_gives(j->level, job->rec.from))
		return next_disk(j->level, &job->rec) ? 0 : end_pass(j, job);
	err = move_some(j, job, ret_bytes);
	if (err != DFS_EEND)
		return err;
	return next_disk(j->level, &job->rec) ? 0 : end_pass(j, job);
}

int jobs_rebalance(struct jobs *j, uint64_t bytes_per_s, uint32_t *ret_id)
{
	FREE struct extent_level *level = xcalloc(1, sizeof(*level));
	uint64_t seq = 0;
	struct job *job;
	int err;

	level->least_slack_bytes = EXTENT_LEVEL_LEAST;
	extent_level_measure(pool_extents(j->p), level);
	env_mutex_lock(&j->lock);
	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.kind == JOB_REBALANCE && !job_is_over(&j->v[i])) {
			*ret_id = j->v[i].rec.id;
			env_mutex_unlock(&j->lock);
			return DFS_EBUSY;
		}
	job = job_add(j, JOB_REBALANCE, (disk_id){0}, 0);
	err = job ? 0 : DFS_E2BIG;
	if (job) {
		job->rec.bytes_per_s = bytes_per_s;
		job->rec.total_bytes = MAX(extent_level_left(level), 1u);
		*ret_id = job->rec.id;
		job_set_state(job, JOB_RUNNING, "%s", "");
		err = jobs_store(j, &seq);
	}
	env_cond_broadcast(&j->wake);
	env_mutex_unlock(&j->lock);
	return err ? err : meta_sync(pool_meta(j->p), seq);
}

const struct job_kind rebalance_kind = {
	.id = JOB_REBALANCE, .name = "rebalance", .look = look, .step = step, .left = left};
