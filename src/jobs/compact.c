/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction (CP1..CP6): one job for each disk that can't punch holes and has much that is dead. It begins again when it is due
 * anew, so there are no more of them than disks. What it does next is found out by looking, so its record has no cursor.
 */
#include <stdio.h>

#include "base/metric.h"
#include "base/words.h"
#include "jobs/internal.h"

/* lock held. Over or not. NULL: there has been none. */
static struct job *last_of(struct jobs *j, disk_id id)
{
	struct job *last = NULL;

	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.kind == JOB_COMPACT && j->v[i].rec.disk.v == id.v)
			last = &j->v[i];
	return last;
}

/* lock held */
static void begin_again(struct job *job)
{
	job->rec.total_bytes = job->rec.stuck = 0;
	job->rec.due_ns = env_wall_ns();
	job->waits = 0;
	job->signature = 0;
	job_set_state(job, JOB_WAITING, "%s", "");
	metric_add(METRIC_JOBS_BEGUN, 1);
}

static void look_at(struct jobs *j, struct disk *d)
{
	disk_id id = disk_info(d).id;
	struct job *job = last_of(j, id);
	bool stopped = job && (job->rec.state == JOB_PAUSED || job->rec.state == JOB_CANCELLED);

	/* what somebody has stopped goes on nowhere, neither before ENOSPC */
	extent_compact_stop(pool_extents(j->p), id, stopped);
	if (stopped || (job && !job_is_over(job)) ||
	    !extent_compact_due(pool_extents(j->p), d, false))
		return;
	if (job)
		begin_again(job);
	else
		(void)job_add(j, JOB_COMPACT, id, env_wall_ns()); /* NULL: once there is room */
}

static void look(struct jobs *j)
{
	struct disk_set *disks = pool_disks(j->p);

	for (unsigned i = 0; i < disk_count(disks); i++)
		look_at(j, disk_at(disks, i));
}

static uint64_t left(struct jobs *j, const struct rec_job *rec)
{
	struct disk *d = disk_get(pool_disks(j->p), rec->disk);

	return d ? disk_dead_bytes(d) : 0;
}

/* The pass is over. */
static int end(struct jobs *j, struct job *job, struct disk *d, const struct compact_done *done)
{
	job->rec.stuck = done->stuck;
	if (done->stuck) {
		snprintf(job->reason, sizeof(job->reason),
			 "%u %s could not be copied: %s; it is tried again now and then",
			 done->stuck, plural(done->stuck, "extent", "extents"),
			 dfs_err_text(done->stuck_err));
		return done->stuck_err;
	}
	if (done->pass_segments || !extent_compact_due(pool_extents(j->p), d, false))
		return DFS_EEND;
	snprintf(
		job->reason, sizeof(job->reason),
		"what is dead lies where records are in flight, or in segments that are left alone while a "
		"loss is told or the pool was forced (see 'status')");
	return DFS_EBUSY;
}

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	struct disk *d = disk_get(pool_disks(j->p), job->rec.disk);
	struct compact_done done;
	int err;

	if (!d)
		return DFS_EEND;
	if (!pool_may_grow(j->p)) {
		snprintf(
			job->reason, sizeof(job->reason),
			"the pool directory takes nothing more (see 'status'): what is left of the "
			"journal is for deletions");
		return DFS_ENOSPC;
	}
	err = pool_compact_step(j->p, d, false, &done);
	*ret_bytes += done.bytes;
	job->rec.made += done.fragments;
	if (err == DFS_EEND)
		return end(j, job, d, &done);
	if (err)
		snprintf(job->reason, sizeof(job->reason), "%s",
			 err == DFS_ENOSPC ? "there is no room for what has to be copied"
					   : dfs_err_text(err));
	return err;
}

const struct job_kind compact_kind = {.id = JOB_COMPACT,
				      .name = "compact",
				      .is_routine = true,
				      .look = look,
				      .step = step,
				      .left = left};
