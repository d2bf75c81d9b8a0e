/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background work on an open pool that takes long and must outlive a restart: jobs. Each has a record in the index (what it
 * is, where it goes on), does its work in small steps, can be paused and cancelled between any two, and says how far it
 * is. docs/DESIGN.md, "Jobs" (W1..W4) and "Rebuild" (R1..R5).
 */
#ifndef DFS_JOBS_JOBS_H
#define DFS_JOBS_JOBS_H

#include "meta/schema_scrub.h"
#include "pool/pool.h"

struct jobs;

/* The jobs that the index has; none of them runs. */
struct jobs *jobs_load(struct pool *p);
/* They run, where they stopped; work that is found is begun. Nothing where the pool is read-only. */
void jobs_start(struct jobs *j);
/* Stops between two steps and stores where. Before the pool is closed. Frees; NULL is allowed. */
void jobs_free(struct jobs *j);

#define JOBS_MAX 64u /* that are remembered, those that are done included */

struct job_status {
	struct rec_job rec;
	const char *kind;     /* "rebuild" */
	uint64_t left_bytes;  /* of rec.total_bytes */
	uint64_t bytes_per_s; /* of the last seconds; 0: unknown */
	uint64_t left_s;      /* at this rate; 0: unknown */
	uint64_t due_in_s;    /* waiting: when it goes on by itself; 0: now, or never */
	char reason[256];     /* why it waits, or has stopped; "" */
};
/* Those there are, the oldest first; at most max. Returns how many. */
unsigned jobs_list(struct jobs *j, struct job_status *out, unsigned max);

/* The job of that kind and disk that is not over, which is begun if there is work for it. 0: there is none. */
uint32_t jobs_find(struct jobs *j, enum job_kind_id kind, disk_id disk);

enum job_order {
	JOB_ORDER_PAUSE,
	JOB_ORDER_RESUME, /* also one that waits: at once */
	JOB_ORDER_CANCEL,
};
/* DFS_ENOENT: no such job; DFS_EINVAL: it is over, or not paused nor waiting. Durable when it returns 0. */
MUST_USE int jobs_order(struct jobs *j, uint32_t id, enum job_order order);

/* Levels the disks (RB1..), moving at most so many bytes in a second; 0: no limit of its own. DFS_EBUSY: one is not over: *ret_id. Durable when
 * it returns 0. */
MUST_USE int jobs_rebalance(struct jobs *j, uint64_t bytes_per_s, uint32_t *ret_id);

/* ---- scrub ---- */
#define SCRUB_FINDINGS_KEPT 1000u /* extents that are told one by one; of more only how many */
#define SCRUB_NOTES_KEPT 100u	  /* problems of metadata, likewise */
struct scrub_order {
	disk_id disk; /* 0: all */
	bool repair, is_background;
	uint64_t bytes_per_s; /* that it reads; 0: no limit */
};
/* Begins one; what the last one found is forgotten. DFS_EBUSY: one is not over: *ret_id. Durable when it returns 0. */
MUST_USE int jobs_scrub(struct jobs *j, const struct scrub_order *o, uint32_t *ret_id);
/* The newest one; job 0: there was none. What it found: each_finding(), each_note(). */
void jobs_scrub_status(struct jobs *j, struct rec_scrub *ret);
/* When the next one begins by itself: wall clock; UINT64_MAX: never. */
uint64_t jobs_scrub_due_ns(struct jobs *j);

#endif
