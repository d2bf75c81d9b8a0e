/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drain: a disk that is to leave is emptied, and then forgotten (DR1 to DR7). One job for each such disk, made of what its record in the index
 * says. What can be read there moves; what can't, because it is lost or rots there, is made anew from the others: so it goes on
 * by itself when the disk dies meanwhile. The pool says when it is empty, and forgets it (pool/drain.c).
 */
#include <stdio.h>

#include "base/probe.h"
#include "jobs/internal.h"

#define NAP_NS 500000000ull /* what is under way is over soon */
#define RECLAIM_BATCH 1024u

/* ---- which disks ---- */

/* lock held. The order was taken back, or it has left. */
static void end_needless(struct jobs *j)
{
	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];
		struct disk *d = disk_get(pool_disks(j->p), job->rec.disk);

		if (job->rec.kind != JOB_DRAIN || job_is_over(job) || (d && disk_is_leaving(d)))
			continue;
		if (!d || disk_is_removed(d))
			job_set_state(job, JOB_DONE, "%s", "");
		else
			job_set_state(job, JOB_CANCELLED, "the disk stays");
	}
}

static void look(struct jobs *j)
{
	struct disk_set *disks = pool_disks(j->p);

	end_needless(j);
	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);
		disk_id id = disk_info(d).id;
		struct job *job = job_of(j, JOB_DRAIN, id);

		if (!disk_is_leaving(d))
			continue;
		if (!job)
			job = job_add(j, JOB_DRAIN, id, env_wall_ns());
		/* what somebody has stopped goes on nowhere, neither by the way */
		extent_do_without(pool_extents(j->p), id, job && job->rec.state != JOB_PAUSED);
	}
}

/* ---- a step ---- */

static void unplace(struct jobs *j, disk_id disk, struct repair_item *items, unsigned count)
{
	extent_unplace(pool_extents(j->p), disk, items, count);
}

static int finish(struct jobs *j, struct job *job)
{
	struct pool_message why;
	unsigned done;
	int err;

	(void)!extent_reclaim(pool_extents(j->p), RECLAIM_BATCH,
			      &done); /* others do it regularly */
	err = pool_drain_finish(j->p, job->rec.disk, &why);
	if (!err)
		return DFS_EEND;
	if (err == DFS_EBUSY || err == DFS_ENOTEMPTY) { /* what was written since, or is being */
		PROBE("drain-looks-again");
		job->rest_ns = NAP_NS;
		return 0;
	}
	snprintf(job->reason, sizeof(job->reason), "%.255s", why.text);
	return err;
}

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	struct disk *d = disk_get(pool_disks(j->p), job->rec.disk);
	bool forced = pool_drain_forced(j->p, job->rec.disk);
	int err;

	if (!d || !disk_is_leaving(d))
		return DFS_EBUSY; /* it ends with the next look */
	err = move_step(j, job, "moved", forced ? unplace : NULL, ret_bytes);
	return err == DFS_EEND ? finish(j, job) : err;
}

static int cancel(struct jobs *j, disk_id disk) { return pool_drain_cancel(j->p, disk); }

const struct job_kind drain_kind = {.id = JOB_DRAIN,
				    .name = "drain",
				    .look = look,
				    .step = step,
				    .left = move_left,
				    .cancel = cancel};
