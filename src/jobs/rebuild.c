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
#include <stdio.h>

#include "base/metric.h"
#include "base/probe.h"
#include "base/words.h"
#include "jobs/internal.h"

#define BATCH 64u	  /* extents of a step */
#define SCANNED_MAX 4096u /* records that a step looks at */
#define PASSES 2u

static uint64_t left(struct jobs *j, const struct rec_job *rec)
{
	return (uint64_t)MAX(meta_counter(pool_meta(j->p), META_COUNT_DISK_USED + rec->disk.v), 0);
}

/* ---- which disks ---- */

static bool is_ordered(struct pool *p, disk_id id)
{
	struct rec_disk rec;

	return get_disk(pool_meta(p), id, &rec) == 0 && rec.state == DISK_FAILED;
}

static bool is_lost(struct pool *p, struct disk *d)
{
	return !disk_present(d) || is_ordered(p, disk_info(d).id);
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
				"disk %u is there again: its rebuild (job %u) ends; %llu %s had been "
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
	if (!job && !was_cancelled(j, id) && left(j, &(struct rec_job){.disk = id}))
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

/* Would the loss of one more disk be one too many? */
static bool is_endangered(struct jobs *j, extent_id id)
{
	struct rec_extent rec;
	unsigned there = 0;

	if (get_extent(pool_meta(j->p), id, &rec))
		return true; /* whoever repairs it says what is wrong */
	for (unsigned i = 0; i < (unsigned)rec.k + rec.m; i++) {
		struct disk *d = disk_get(pool_disks(j->p), rec.frags[i].disk);

		there += d && disk_present(d);
	}
	return there <= rec.k;
}

/* The next extents from the cursor on. DFS_EEND: there are no more. */
static int collect(struct jobs *j, struct rec_job *at, struct repair_item *items, unsigned *ret_n)
{
	struct meta_iter *it = meta_iter_new(pool_meta(j->p));
	unsigned n = 0, scanned = 0;
	BUF key = {0};
	int err = 0;

	key_bydisk(&key, at->disk, at->segment, at->offset);
	for (meta_iter_seek(it, key.data, key.len);
	     n < BATCH && scanned < SCANNED_MAX && meta_iter_valid(it);
	     meta_iter_next(it), scanned++) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_bydisk by;

		if (klen == 0 || k[0] != TABLE_BYDISK)
			break;
		if (parse_bydisk(k, klen, v, vlen, &by)) {
			struct reader r;

			r = reader_of(k + 1, klen - 1);
			if (reader_be32(&r) != at->disk.v)
				break;
			at->segment = reader_be32(&r);
			at->offset = reader_be32(&r) + 1;
			at->stuck++; /* fsck names it */
			continue;
		}
		if (by.disk.v != at->disk.v)
			break;
		at->segment = by.segment;
		at->offset = by.offset + 1;
		if (at->pass + 1u >= PASSES || is_endangered(j, by.extent))
			items[n++].id = by.extent;
	}
	err = meta_iter_error(it);
	if (!err && n < BATCH && scanned < SCANNED_MAX)
		err = DFS_EEND;
	meta_iter_free(it);
	*ret_n = n;
	return err;
}

static void sum_up(struct job *job, const struct repair_item *items, unsigned n,
		   uint64_t *ret_bytes)
{
	for (unsigned i = 0; i < n; i++) {
		bool failed = items[i].err && items[i].err != DFS_ENOENT;

		metric_add(METRIC_REBUILD_ATTEMPTS, 1);
		metric_add(failed ? METRIC_REBUILD_FAILURES : METRIC_REBUILD_SUCCESSES, 1);
		metric_add(METRIC_REBUILD_BYTES, items[i].bytes);
		*ret_bytes += items[i].bytes;
		job->rec.made += items[i].made;
		if (!failed)
			continue;
		job->rec.stuck++;
		job->why = items[i].err;
	}
}

/* The end of a pass. Is there another, or nothing left, or something that has to wait? */
static int end_pass(struct jobs *j, struct job *job, int why)
{
	uint64_t stuck = job->rec.stuck;
	bool last = job->rec.pass + 1u >= PASSES;

	job->rec.segment = job->rec.offset = 0;
	job->rec.stuck = 0;
	job->rec.pass = last ? 0 : job->rec.pass + 1;
	if (!last)
		return 0;
	if (!left(j, &job->rec))
		return DFS_EEND;
	if (!stuck)
		return 0; /* what was written since: once more */
	PROBE("rebuild-waits");
	job->rec.stuck = stuck;
	snprintf(
		job->reason, sizeof(job->reason),
		"%llu %s could not be restored: %s; it is tried again when disks are added or come "
		"back, and now and then",
		(unsigned long long)stuck, plural(stuck, "extent", "extents"),
		why == DFS_ENOSPC ? "there is no disk, or no room, for what they lack"
		: why == DFS_EIO  ? "too many of their fragments are lost"
				  : dfs_err_text(why));
	return why ? why : DFS_EIO;
}

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	struct repair_item items[BATCH] = {0};
	struct disk *d = disk_get(pool_disks(j->p), job->rec.disk);
	unsigned n;
	int err;

	if (!d || !is_lost(j->p, d))
		return DFS_EBUSY; /* it ends with the next look */
	if (!pool_may_grow(j->p)) {
		snprintf(
			job->reason, sizeof(job->reason),
			"the pool directory takes nothing more (see 'status'): what is left of the "
			"journal is for deletions");
		return DFS_ENOSPC;
	}
	extent_do_without(pool_extents(j->p), job->rec.disk, true);
	if (job->rec.segment == 0 && job->rec.offset == 0) {
		job->rec.stuck = 0;
		job->why = 0;
	}
	err = collect(j, &job->rec, items, &n);
	if (n) {
		PROBE("rebuild-step");
		extent_rebuild(pool_extents(j->p), items, n);
		sum_up(job, items, n, ret_bytes);
	}
	return err == DFS_EEND ? end_pass(j, job, job->why) : err;
}

const struct job_kind rebuild_kind = {
	.id = JOB_REBUILD, .name = "rebuild", .look = look, .step = step, .left = left};
