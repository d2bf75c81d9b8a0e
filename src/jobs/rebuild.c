/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebuild: what lay on a disk that is lost is made anew on the others (R1..R5). One job for each such disk: given up by
 * order, at once; one that is not there, or has failed, once it has been away for the pool's setting. By the by-disk table,
 * so its cost is that of what the disk held. Two passes: first what does not bear another loss, then the rest.
 *
 * While it is due the disk is done without (extent_do_without): whoever repairs an extent meanwhile, and a read that has to
 * decode, makes anew what lay there, too, so several lost disks are worked off by one read of each extent.
 *
 * A disk that comes back ends its job. What was moved is freed there; what was not counts again.
 */
#include "base/words.h"
#include "jobs/internal.h"

/* ---- which disks ---- */

static bool is_ordered(struct pool *p, disk_id id)
{
	struct rec_disk rec;

	return get_disk(pool_meta(p), id, &rec) == 0 && rec.state == DISK_FAILED;
}

/* One that is to leave is its drain's affair, lost or not. */
static bool is_lost(struct pool *p, struct disk *d)
{
	return (!disk_present(d) || is_ordered(p, disk_info(d).id)) && !disk_is_leaving(d) &&
	       !disk_is_removed(d);
}

/* lock held. Whatever job there is of this disk has no object any more. */
static void drop(struct jobs *j, disk_id id)
{
	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];
		struct meta_txn *t;
		uint64_t seq;

		if (job->rec.kind != JOB_REBUILD || job->rec.disk.v != id.v ||
		    job->rec.state == JOB_DONE)
			continue;
		t = meta_begin(pool_meta(j->p));
		del_job(t, job->rec.id);
		if (meta_commit(t, &seq))
			return; /* tried again */
		if (job->rec.state != JOB_WAITING || job->rec.total_bytes)
			log_info(
				"disk %u is there again, or is to leave: its rebuild (job %u) ends; %llu %s had been "
				"written",
				id.v, job->rec.id, (unsigned long long)job->rec.made,
				plural(job->rec.made, "fragment", "fragments"));
		memmove(job, job + 1, (j->count - i - 1) * sizeof(*job));
		j->count--;
		i--;
	}
}

static bool was_cancelled(struct jobs *j, disk_id id)
{
	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.kind == JOB_REBUILD && j->v[i].rec.disk.v == id.v &&
		    j->v[i].rec.state == JOB_CANCELLED)
			return true;
	return false;
}

static void look_at(struct jobs *j, struct disk *d, bool off)
{
	disk_id id = disk_info(d).id;
	uint64_t after_ns = pool_get_rebuild(j->p).after_s * 1000000000ull, now = env_wall_ns();
	bool ordered = is_ordered(j->p, id);
	struct job *job;

	if (!is_lost(j->p, d)) {
		if (!disk_is_leaving(d))
			extent_do_without(pool_extents(j->p), id, false);
		drop(j, id);
		return;
	}
	job = job_of(j, JOB_REBUILD, id);
	/* what somebody has stopped goes on nowhere, neither by the way */
	extent_do_without(pool_extents(j->p), id,
			  job && !off && job->rec.total_bytes && job->rec.state != JOB_PAUSED);
	if (off)
		return;
	if (!job && !was_cancelled(j, id) && move_left(j, &(struct rec_job){.disk = id}))
		job = job_add(j, JOB_REBUILD, id, now + after_ns);
	if (!job)
		return;
	if (!job->rec.total_bytes) { /* not begun: a clock that was set, or a setting, moves it */
		job->rec.due_ns = MIN(job->rec.due_ns, now + after_ns);
		if (ordered)
			job->rec.due_ns = MIN(job->rec.due_ns, now);
		if (job->rec.state == JOB_WAITING && !job->reason[0])
			job_set_state(job, JOB_WAITING,
				      "the disk may come back; it is rebuilt when it stays away");
	}
}

/* lock held. By the setting: none runs, or those that it had stopped go on. */
static bool is_switched_off(struct jobs *j)
{
	bool off = pool_get_rebuild(j->p).after_s >= POOL_REBUILD_NEVER;

	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];

		if (job->rec.kind != JOB_REBUILD)
			continue;
		if (off && (job->rec.state == JOB_RUNNING || job->rec.state == JOB_WAITING)) {
			job_set_state(job, JOB_WAITING,
				      "by the setting: 'dynamicfs set --rebuild-after'");
			job->rec.due_ns = UINT64_MAX;
		} else if (!off && job->rec.state == JOB_WAITING && job->rec.due_ns == UINT64_MAX) {
			job->rec.due_ns = env_wall_ns();
		}
	}
	return off;
}

static void look(struct jobs *j)
{
	struct disk_set *disks = pool_disks(j->p);
	bool off = is_switched_off(j);

	for (unsigned i = 0; i < disk_count(disks); i++)
		look_at(j, disk_at(disks, i), off);
}

/* ---- a step ---- */

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	struct disk *d = disk_get(pool_disks(j->p), job->rec.disk);

	if (!d || !is_lost(j->p, d))
		return DFS_EBUSY; /* it ends with the next look */
	return move_step(j, job, "restored", NULL, ret_bytes);
}

const struct job_kind rebuild_kind = {
	.id = JOB_REBUILD, .name = "rebuild", .look = look, .step = step, .left = move_left};
