/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of jobs/; nobody else includes it. */
#ifndef DFS_JOBS_INTERNAL_H
#define DFS_JOBS_INTERNAL_H

#include <stdarg.h>

#include "base/env.h"
#include "base/log.h"
#include "extent/extent.h"
#include "jobs/jobs.h"
#include "meta/cursor.h"
#include "meta/schema_scrub.h"

/* How much a step may do at once. */
struct job_budget {
	unsigned extents;    /* that are made anew */
	unsigned lanes;	     /* threads that do that */
	unsigned disks;	     /* that a scrub reads at a time, each by a thread, */
	bool until_users;    /* ends when there are any, if it reads for long (Y5) */
	uint64_t disk_bytes; /* so much of each, */
	uint64_t ns;	     /* for about so long */
};

struct job {
	struct rec_job rec;
	bool changed; /* rec differs from the index */
	char reason[256];
	int why;	     /* the last thing that could not be done */
	unsigned waits;	     /* in a row */
	uint64_t signature;  /* of what it waits for, when it began to */
	uint64_t retry_ns;   /* monotonic: when it goes on, once it has begun */
	uint64_t begun_ns;   /* monotonic; since when it is measured */
	uint64_t begun_left; /* what was left then */
	uint64_t rest_ns;    /* out of a step: for how long its own rate wants it to rest */
	uint64_t rests_until_ns;
	bool yields;	/* out of a step: it waits for what is more urgent */
	bool is_urgent; /* out of a step: what it does is of data that bears no further loss */
	struct job_budget budget; /* of the step */
};

/* The thread's: how it makes room for users (Y1 to Y4). */
struct yield {
	uint64_t looked_ns, busy_ns; /* the users' load, then */
	double busy;		     /* the part of the time in which they waited, lately */
	bool is_quiet;
	uint64_t until_ns
		[2]; /* what is not urgent, and what is, rests so long, while users are there */
};

struct jobs {
	struct env_mutex lock; /* all below; a leaf but for the index's own */
	struct env_cond wake;
	struct pool *p;
	struct env_thread *thread;
	bool stop;
	unsigned count;
	struct job v[JOBS_MAX];
	uint64_t wrote_bytes, wrote_ns; /* the thread's: by the last step, and when */
	bool may_grow;			/* the pool, a second ago */
	uint64_t stored_ns;		/* the thread's: when cursors were last stored */
	struct yield yield;
	struct rec_scrub *scrub;    /* the newest; job 0: there is none */
	uint64_t scrub_stored_ns;   /* the thread's */
	unsigned scrub_turn;	    /* the thread's: which disks' turn it is */
	struct extent_level *level; /* the thread's: of this pass of a rebalance; NULL: none */
	uint32_t level_of;	    /* which job's */
};

/* What kinds of work there are. */
struct job_kind {
	enum job_kind_id id;
	const char *name;
	bool is_routine; /* it begins again and again: its end is no news for the audit trail */
	/* Looks for work: once a second. May add jobs, cancel them, and change when they are due. */
	void (*look)(struct jobs *j);
	/*
	 * Some of its work, at job->rec's cursor, which it moves on; *ret_bytes: what it wrote. job is a copy: others may
	 * have changed the job meanwhile. 0: there is more. DFS_EEND: nothing is left. Else it waits, and job->reason says
	 * why.
	 */
	int (*step)(struct jobs *j, struct job *job, uint64_t *ret_bytes);
	/* What is left of total_bytes. */
	uint64_t (*left)(struct jobs *j, const struct rec_job *rec);
	/* By order; NULL: nothing but that it does not run. Without the lock. Not resumed then. */
	int (*cancel)(struct jobs *j, disk_id disk);
};
extern const struct job_kind rebuild_kind, drain_kind, scrub_kind, compact_kind, rebalance_kind;

/* scrub.c: before anything runs. */
void scrub_load(struct jobs *j);
/* lock held. As jobs_scrub(), but for the sync. */
MUST_USE int scrub_begin(struct jobs *j, const struct scrub_order *o, uint32_t *ret_id,
			 uint64_t *ret_seq);

/* ---- yield.c; the thread only ---- */
/* How busy are the users? Before what follows. */
void yield_look(struct jobs *j);
/* What a step may do now, at that rate (0: none). */
struct job_budget yield_budget(struct jobs *j, uint64_t bytes_per_s);
/* A step has taken so long: for how long does what is as urgent rest? */
void yield_after(struct jobs *j, bool is_urgent, uint64_t took_ns);
/* For how long still; 0: it may go on. */
uint64_t yield_rest_ns(struct jobs *j, bool is_urgent);

/* ---- move.c ---- */
/* What has no place is seen to in another way. Sets each item's err. */
typedef void (*move_fn)(struct jobs *j, disk_id disk, struct repair_item *items, unsigned count);
/* A step of making anew elsewhere what job->rec.disk holds, as job_kind.step. verb: "restored". last_resort: NULL: none. */
int move_step(struct jobs *j, struct job *job, const char *verb, move_fn last_resort,
	      uint64_t *ret_bytes);
#define MOVE_BATCH 64u /* extents of a step */
/* Does this pass take this one? */
typedef bool (*move_wants_fn)(struct jobs *j, const struct rec_job *at,
			      const struct rec_bydisk *by);
/* The next extents, at most max, with a fragment on that disk, from at's segment and offset on, which it moves on. DFS_EEND: there are no more. */
MUST_USE int move_collect(struct jobs *j, struct rec_job *at, disk_id disk, move_wants_fn wants,
			  struct repair_item *items, unsigned max, unsigned *ret_n);
/* C3. False: job->reason says so. */
bool move_may_grow(struct jobs *j, struct job *job);
/* What the disk holds still. */
uint64_t move_left(struct jobs *j, const struct rec_job *rec);

/* lock held: puts the records that have changed into the index. */
MUST_USE int jobs_store(struct jobs *j, uint64_t *ret_seq);
/* lock held: a new job of this kind for a disk, waiting until due (wall clock). NULL: there are too many. */
struct job *job_add(struct jobs *j, enum job_kind_id kind, disk_id disk, uint64_t due_ns);
/* lock held: one that is not over. NULL: there is none. */
struct job *job_of(struct jobs *j, enum job_kind_id kind, disk_id disk);
/* lock held. */
void job_set_state(struct job *job, enum job_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline bool job_is_over(const struct job *job)
{
	return job->rec.state == JOB_DONE || job->rec.state == JOB_CANCELLED;
}
/* Changes whenever disks come, go, or take new data again, and when the pool may grow again. */
uint64_t jobs_signature(struct jobs *j);

#endif
