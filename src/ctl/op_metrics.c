/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operation metrics: all figures of base/metric.h. Those that are counted there are read from their cells, the others are asked of
 * who has them. No locks of its own.
 */
#include "base/metric.h"

#include <stdlib.h>

#include "base/env.h"
#include "ctl/call.h"
#include "dev/counts.h"
#include "file/fs.h"

#define SCAN_LIMIT_MS 1000u
#define PREFIX "dynamicfs_"

struct answer {
	struct ctl_call *c;
	json_t *samples[METRIC_COUNT];
};

/* A sample with labels of these values; NULL: none. */
static json_t *sample(struct answer *a, enum metric_id id, const char *one, const char *two)
{
	const struct metric *m = &metrics[id];
	json_t *o = json_object(), *labels = json_object();
	const char *comma = strchr(m->label, ',');
	FREE char *first = xasprintf(
		"%.*s", comma ? (int)(comma - m->label) : (int)strlen(m->label), m->label);

	if (one)
		json_object_set_new(labels, first, ctl_json_text(one));
	if (two && comma)
		json_object_set_new(labels, comma + 1, ctl_json_text(two));
	json_object_set_new(o, "labels", labels);
	json_array_append_new(a->samples[id], o);
	return o;
}

static void put(struct answer *a, enum metric_id id, const char *one, const char *two,
		uint64_t value)
{
	set_u64(sample(a, id, one, two), "value", value);
}

/* ---- disks ---- */

static void put_latency(struct answer *a, const char *disk, const char *op,
			const struct dev_count *n)
{
	json_t *o = sample(a, METRIC_DISK_LATENCY, disk, op), *buckets = json_array();
	uint64_t below = 0;

	for (unsigned i = 0; i < DEV_COUNT_BUCKETS; i++) {
		json_t *b = json_object();

		below += n->latencies[i];
		if (i + 1 < DEV_COUNT_BUCKETS)
			json_object_set_new(b, "le",
					    json_real((double)dev_count_limit_ns(i) / 1e9));
		else
			json_object_set_new(b, "le", json_null());
		set_u64(b, "count", below);
		json_array_append_new(buckets, b);
	}
	json_object_set_new(o, "buckets", buckets);
	json_object_set_new(o, "sum", json_real((double)n->ns / 1e9));
	set_u64(o, "count", below);
}

static void put_one_disk(struct answer *a, struct disk *d, const struct pool_disk_status *s)
{
	static const char *const ops[] = {"read", "write", "sync", "other"};
	const char *label = s->info.label;
	struct dev_counts c;

	put(a, METRIC_DISK_PRESENT, label, NULL, s->present);
	put(a, METRIC_DISK_USED, label, NULL, s->used_bytes);
	put(a, METRIC_DISK_FREE, label, NULL, s->free_bytes);
	put(a, METRIC_DISK_DEAD, label, NULL, d ? disk_dead_bytes(d) : 0);
	put(a, METRIC_DISK_CHECKSUM_ERRORS, label, NULL, s->counters.checksum_errors);
	if (!d || !disk_dev(d) || !dev_counts(disk_dev(d), &c))
		return;
	for (unsigned i = 0; i < DEV_COUNT_KINDS; i++) {
		put(a, METRIC_DISK_OPERATIONS, label, ops[i], c.of[i].calls);
		put(a, METRIC_DISK_ERRORS, label, ops[i], c.of[i].errors);
		if (i == DEV_COUNT_READ || i == DEV_COUNT_WRITE)
			put(a, METRIC_DISK_BYTES, label, ops[i], c.of[i].bytes);
		put_latency(a, label, ops[i], &c.of[i]);
	}
}

static void put_disks(struct answer *a)
{
	struct pool_disk_status *s = xmalloc(sizeof(*s));

	for (unsigned i = 0; disk_status_now(a->c->pool, i, s); i++)
		put_one_disk(a, disk_get(pool_disks(a->c->pool), s->info.id), s);
	free(s);
}

/* ---- the pool ---- */

static void put_extents(struct answer *a)
{
	struct safety_table *t = xmalloc(sizeof(*t));
	struct disk_views views;
	bool whole;

	safety_table_init(t);
	disk_views_take(a->c->pool, &views);
	if (!safety_scan(a->c->pool, &views, SCAN_LIMIT_MS, t, &whole)) {
		put(a, METRIC_EXTENTS, "full", NULL, t->total.full);
		put(a, METRIC_EXTENTS, "reduced", NULL, t->total.reduced);
		put(a, METRIC_EXTENTS, "endangered", NULL, t->total.endangered);
		put(a, METRIC_EXTENTS, "in_doubt", NULL, t->total.in_doubt);
		put(a, METRIC_EXTENTS, "lost", NULL, t->total.lost);
	}
	disk_views_release(&views);
	free(t);
}

static void put_status(struct answer *a)
{
	struct pool_status *s = xmalloc(sizeof(*s));

	pool_status(a->c->pool, s);
	put(a, METRIC_EXTENTS_WRITTEN, NULL, NULL, s->extent.extents_written);
	put(a, METRIC_EXTENTS_READ, NULL, NULL, s->extent.extents_read);
	put(a, METRIC_EXTENTS_UNREADABLE, NULL, NULL, s->extent.extents_unreadable);
	put(a, METRIC_FRAGMENTS_ROTTEN, NULL, NULL, s->extent.fragments_rotten);
	put(a, METRIC_FRAGMENTS_DECODED, NULL, NULL, s->extent.fragments_decoded);
	put(a, METRIC_CACHE_BYTES, NULL, NULL, s->extent.header_cache_bytes);
	put(a, METRIC_HEAL_QUEUE, NULL, NULL, s->extent.heal_queue);
	put(a, METRIC_COMMITS, NULL, NULL, s->meta.commits);
	put(a, METRIC_JOURNAL_SYNCS, NULL, NULL, s->meta.journal_syncs);
	put(a, METRIC_JOURNAL_BYTES, NULL, NULL, s->meta.journal_bytes);
	put(a, METRIC_JOURNAL_BUFFERED, NULL, NULL, s->meta.buffered_bytes);
	put(a, METRIC_CHECKPOINTS, NULL, NULL, s->meta.checkpoints);
	put(a, METRIC_INODES, NULL, NULL, s->inodes);
	put(a, METRIC_SPACE_TOTAL, NULL, NULL, s->space.total_bytes);
	put(a, METRIC_SPACE_USED, NULL, NULL, s->space.used_bytes);
	put(a, METRIC_SPACE_AVAILABLE, NULL, NULL, s->space.available_bytes);
	free(s);
}

static void put_jobs(struct answer *a)
{
	static const char *const states[] = {"waiting", "running", "paused", "done", "cancelled"};
	json_t *jobs = jobs_json(a->c), *job;
	size_t at;

	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		uint64_t n = 0;

		json_array_foreach(jobs, at, job)
			n += strcmp(json_string_value(json_object_get(job, "state")), states[i]) ==
			     0;
		put(a, METRIC_JOBS, states[i], NULL, n);
	}
	json_decref(jobs);
}

static void put_fs(struct answer *a)
{
	struct fs_stats s;

	fs_stats(a->c->fs, &s);
	put(a, METRIC_DIRTY, NULL, NULL, s.dirty_bytes);
	put(a, METRIC_SEAL_ERRORS, NULL, NULL, s.seal_errors);
	put(a, METRIC_FOLDED, NULL, NULL, s.folded_slots);
	put(a, METRIC_INODES_CACHED, NULL, NULL, s.inodes_cached);
	put(a, METRIC_INODES_PINNED, NULL, NULL, s.inodes_in_use);
	put(a, METRIC_INODES_KNOWN, NULL, NULL, s.inodes_known);
	for (unsigned i = 0; i < METRIC_FUSE_KINDS; i++)
		put(a, METRIC_FUSE_OPERATIONS, metric_fuse_names[i], NULL,
		    __atomic_load_n(&metric_fuse_cells[i], __ATOMIC_RELAXED));
}

static void put_amplification(struct answer *a)
{
	uint64_t written = metric_get(METRIC_WRITTEN), to_disks = bytes_to_disks(a->c->pool);

	json_object_set_new(sample(a, METRIC_AMPLIFICATION, NULL, NULL), "value",
			    json_real(written ? (double)to_disks / (double)written : 0));
}

/* Those that have a cell of their own; the two of the cache give a third. */
static void put_cells(struct answer *a)
{
	static const enum metric_id counted[] = {
		METRIC_FUSE_ERRORS,	  METRIC_REPAIR_ATTEMPTS,  METRIC_REPAIR_FAILURES,
		METRIC_REPAIR_FRAGMENTS,  METRIC_REPAIR_BYTES,	   METRIC_REBUILD_ATTEMPTS,
		METRIC_REBUILD_SUCCESSES, METRIC_REBUILD_FAILURES, METRIC_REBUILD_BYTES,
		METRIC_SCRUB_COMPLETIONS, METRIC_SCRUB_ISSUES,	   METRIC_SCRUB_REPAIRS,
		METRIC_JOBS_BEGUN,	  METRIC_JOBS_DONE,	   METRIC_CACHE_HITS,
		METRIC_CACHE_MISSES,	  METRIC_COMPACT_SEGMENTS, METRIC_COMPACT_BYTES,
		METRIC_COMPACT_FREED,	  METRIC_FOLDED_BYTES,	   METRIC_WRITTEN,
		METRIC_INODE_HITS,	  METRIC_INODE_MISSES,
	};
	uint64_t hits = metric_get(METRIC_CACHE_HITS), misses = metric_get(METRIC_CACHE_MISSES);

	for (unsigned i = 0; i < ARRAY_SIZE(counted); i++)
		put(a, counted[i], NULL, NULL, metric_get(counted[i]));
	put_amplification(a);
	json_object_set_new(sample(a, METRIC_CACHE_HIT_RATIO, NULL, NULL), "value",
			    json_real(hits ? (double)hits / (double)(hits + misses) : 0));
}

int op_metrics(struct ctl_call *c)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	struct answer a = {.c = c};
	json_t *list = json_array();

	for (unsigned i = 0; i < METRIC_COUNT; i++)
		a.samples[i] = json_array();
	put_cells(&a);
	if (pool_has_disks(c->pool)) {
		put_disks(&a);
		put_extents(&a);
		put_jobs(&a);
	}
	put_status(&a);
	if (c->fs)
		put_fs(&a);
	for (unsigned i = 0; i < METRIC_COUNT; i++) {
		FREE char *name = xasprintf(PREFIX "%s", metrics[i].name);
		json_t *o = json_object();

		set_text(o, "name", name);
		set_text(o, "type", types[metrics[i].type]);
		set_text(o, "unit", metrics[i].unit);
		set_text(o, "help", metrics[i].meaning);
		json_object_set_new(o, "samples", a.samples[i]);
		json_array_append_new(list, o);
	}
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "metrics", list);
	return 0;
}
