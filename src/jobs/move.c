/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on a disk is made anew on the others: the part that rebuild and drain share (rebalance takes some of it). By the by-disk table, so its cost is
 * that of what the disk holds; the cursor is a key of that table. Two passes: first what does not bear another loss, then
 * the rest; perhaps a third one, for what has no place.
 */
#include <stdio.h>

#include "base/metric.h"
#include "base/probe.h"
#include "base/words.h"
#include "jobs/internal.h"

#define SCANNED_MAX 4096u /* records that a step looks at */
#define PASSES 2u
#define BATCH MOVE_BATCH

uint64_t move_left(struct jobs *j, const struct rec_job *rec)
{
	return (uint64_t)MAX(meta_counter(pool_meta(j->p), META_COUNT_DISK_USED + rec->disk.v), 0);
}

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

static bool is_of_pass(struct jobs *j, const struct rec_job *at, const struct rec_bydisk *by)
{
	return at->pass > 0 || is_endangered(j, by->extent);
}

int move_collect(struct jobs *j, struct rec_job *at, disk_id disk, move_wants_fn wants,
		 struct repair_item *items, unsigned max, unsigned *ret_n)
{
	struct meta_iter *it = meta_iter_new(pool_meta(j->p));
	unsigned n = 0, scanned = 0;
	BUF key = {0};
	int err = 0;

	key_bydisk(&key, disk, at->segment, at->offset);
	for (meta_iter_seek(it, key.data, key.len);
	     n < max && scanned < SCANNED_MAX && meta_iter_valid(it);
	     meta_iter_next(it), scanned++) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_bydisk by;

		if (klen == 0 || k[0] != TABLE_BYDISK)
			break;
		if (parse_bydisk(k, klen, v, vlen, &by)) {
			struct reader r;

			r = reader_of(k + 1, klen - 1);
			if (reader_be32(&r) != disk.v)
				break;
			at->segment = reader_be32(&r);
			at->offset = reader_be32(&r) + 1;
			at->stuck++; /* fsck names it */
			continue;
		}
		if (by.disk.v != disk.v)
			break;
		at->segment = by.segment;
		at->offset = by.offset + 1;
		if (wants(j, at, &by))
			items[n++].id = by.extent;
	}
	err = meta_iter_error(it);
	if (!err && n < max && scanned < SCANNED_MAX)
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
static int end_pass(struct jobs *j, struct job *job, const char *verb, bool has_last_resort,
		    int why)
{
	uint64_t stuck = job->rec.stuck;
	bool last = job->rec.pass + 1u >= PASSES + has_last_resort;

	job->rec.segment = job->rec.offset = 0;
	job->rec.stuck = 0;
	job->rec.pass = last ? 0 : job->rec.pass + 1;
	if (!last)
		return 0;
	if (!move_left(j, &job->rec))
		return DFS_EEND;
	if (!stuck)
		return 0; /* what was written since: once more */
	PROBE("move-waits");
	job->rec.stuck = stuck;
	snprintf(job->reason, sizeof(job->reason),
		 "%llu %s could not be %s: %s; it is tried again when disks are added or come "
		 "back, and now and then",
		 (unsigned long long)stuck, plural(stuck, "extent", "extents"), verb,
		 why == DFS_ENOSPC     ? "there is no disk, or no room, for what they lack"
		 : why == DFS_EIO      ? "too many of their fragments are lost"
		 : why == DFS_EREFUSED ? "what lies there is needed to read them"
				       : dfs_err_text(why));
	return why ? why : DFS_EIO;
}

bool move_may_grow(struct jobs *j, struct job *job)
{
	if (pool_may_grow(j->p))
		return true;
	snprintf(job->reason, sizeof(job->reason),
		 "the pool directory takes nothing more (see 'status'): what is left of the "
		 "journal is for deletions");
	return false;
}

int move_step(struct jobs *j, struct job *job, const char *verb, move_fn last_resort,
	      uint64_t *ret_bytes)
{
	unsigned max = job->budget.extents, n;
	FREE struct repair_item *items = xcalloc(max, sizeof(*items));
	int err;

	if (!move_may_grow(j, job))
		return DFS_ENOSPC;
	extent_do_without(pool_extents(j->p), job->rec.disk, true);
	if (job->rec.segment == 0 && job->rec.offset == 0) {
		job->rec.stuck = 0;
		job->why = 0;
	}
	err = move_collect(j, &job->rec, job->rec.disk, is_of_pass, items, max, &n);
	job->is_urgent = job->rec.pass == 0 && n > 0;
	if (n) {
		PROBE("move-step");
		if (job->rec.pass < PASSES)
			extent_rebuild(pool_extents(j->p), items, n, job->budget.lanes);
		else
			last_resort(j, job->rec.disk, items, n);
		sum_up(job, items, n, ret_bytes);
	}
	return err == DFS_EEND ? end_pass(j, job, verb, last_resort != NULL, job->why) : err;
}
