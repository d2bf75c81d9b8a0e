/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between deadline.c (the device's calls), request.c (requests and their deadlines) and
 * deadline_threads.c (who runs them; the disk's life).
 *
 * Locks: deadline.lock, then dev_group.lock; both leaves, none held while the disk works.
 */
#ifndef DFS_DEV_DEADLINE_INTERNAL_H
#define DFS_DEV_DEADLINE_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/env.h"
#include "base/le.h"
#include "dev/counts.h"
#include "dev/deadline.h"
#include "dev/pace.h"

#ifndef TAILQ_FOREACH_SAFE /* glibc has none */
#define TAILQ_FOREACH_SAFE(var, head, field, next)                                                 \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, field), 1);             \
	     (var) = (next))
#endif

enum request_op {
	REQ_OPEN_DEV,
	REQ_CALL,
	REQ_OPEN,
	REQ_CLOSE,
	REQ_READ,
	REQ_WRITE,
	REQ_SYNC,
	REQ_PUNCH,
	REQ_ALLOCATE,
	REQ_TRUNCATE,
	REQ_SIZE,
	REQ_PREFETCH,
	REQ_MKDIR,
	REQ_REMOVE,
	REQ_RENAME,
	REQ_LIST,
	REQ_SYNC_DIR,
	REQ_REPLACE,
	REQ_ASK, /* there? how much space? */
	REQ_LOCK,
	REQ_REVIVE
};

enum request_state { /* drawn in docs/DESIGN.md */
	REQ_QUEUED,
	REQ_RUNNING, /* on a thread */
	REQ_DONE,    /* its waiter has it */
	REQ_LEFT     /* its waiter has gone: the thread has it, and throws its result away */
};

/*
 * One call. While it is queued or runs on a thread all it needs is its own (D1): names and data are
 * copies behind it, the file is counted. Made for the caller's own thread, it borrows them.
 */
struct request {
	enum request_op op;
	enum request_state state; /* lock, as the next two */
	uint64_t since_ns; /* when it was queued; when it began; when it was last seen to move */
	bool has_waiter;
	bool can_spare; /* its waiter does not wait long (D9) */
	bool is_late;	/* lock: it did not; nobody waits any more */
	struct dfile *file;
	const char *name, *to; /* open_dev: path and subdir */
	unsigned flags;
	uint64_t off, len;
	const struct iovec *iov; /* write, replace */
	int iovcnt;
	void *buf; /* read */
	dev_opener opener;
	void *opener_ctx;
	void (*call)(void *arg);
	void (*drop)(void *arg);
	void *arg;
	/* results: the thread's until it is done, then the waiter's */
	int result;
	size_t got;
	uint64_t size;
	struct dev_space space;
	int probe;
	struct dev *opened_dev;
	struct dev_file *opened_below;
	struct dfile *opened;
	struct buf list; /* for each name: le64 its size, the name, NUL */

	struct deadline *d;
	struct iovec own_iov;
	struct env_cond done;
	TAILQ_ENTRY(request) link;
};
TAILQ_HEAD(request_list, request);

struct dfile {
	struct dev_file base;
	struct dev_file *below; /* lock; NULL once retired */
	unsigned refs;		/* lock; the opener's, and one for each request */
	TAILQ_ENTRY(dfile) link;
};
TAILQ_HEAD(dfile_list, dfile);

struct dev_group {
	struct env_mutex lock;
	uint64_t deadline_ms;	       /* immutable */
	unsigned refs;		       /* lock */
	unsigned most, most_votes;     /* lock */
	_Atomic(uint64_t) patience_ns; /* what reads of the pool that can be spared may take */
	LIST_HEAD(, deadline) devs;    /* lock */
};

struct deadline {
	struct dev base;
	struct env_mutex lock;
	struct env_cond work;	       /* a request was queued, or there is something to end for */
	struct env_cond changed;       /* an answer came, a thread ended, the disk was closed */
	struct dev_group *group;       /* counted; immutable */
	LIST_ENTRY(deadline) in_group; /* group.lock */
	char domain[64];	       /* group.lock */
	bool votes;		       /* group.lock */
	struct dev_counts counts;      /* atomic */
	/* From when on the disk counts as silent; 0: nothing runs; 1: it is hung. For the group. */
	_Atomic(uint64_t) silent_at_ns;

	/* lock */
	struct dev *below; /* owned; NULL: not open yet, or closed again */
	bool is_memory;	   /* published before the device is given out */
	struct dfile_list files;
	struct request_list quick, slow, running; /* quick: what changes nothing is taken first */
	unsigned queued, threads, idle, slow_running;
	unsigned users; /* requests that run, and calls on callers' threads */
	unsigned stuck;
	unsigned late;	  /* that nobody waits for any more, and that run still */
	struct pace pace; /* what reads have taken lately */
	uint64_t last_done_ns;
	bool is_given_up; /* none waits for it */
	bool is_hung, is_retired, is_closing, is_closed, is_orphan;
	bool is_silent; /* a call has taken too long, and the disk can't be spared (D11) */
	/* the last answer to "there? how much space?" */
	struct request *asking;
	uint64_t asking_ns; /* when that question began */
	uint64_t answers;
	int probe_result, space_result;
	struct dev_space space;
};

/* ---- counts.c ---- */
/* It has returned, after so long. */
void counts_request(struct deadline *d, const struct request *r, uint64_t ns);
void counts_copy(const struct dev_counts *c, struct dev_counts *ret);

/* ---- request.c ---- */
/* Runs r, which borrows all it needs; fills in its results. On a disk that is only memory here, else on
 * a thread, with a deadline. */
MUST_USE int request_run(struct deadline *d, struct request *r);
/* The same in two steps. A copy of r is queued; NULL: *ret_err tells why not. */
struct request *request_submit(struct deadline *d, const struct request *r, bool has_waiter,
			       int *ret_err);
/* Takes the results over into r and frees the copy. */
MUST_USE int request_wait(struct request *copy, struct request *r);
/* Lock held. 0, DFS_EGONE or DFS_ETIMEDOUT. */
int request_refused(struct deadline *d, enum request_op op);
struct request *request_submit_locked(struct deadline *d, const struct request *r, bool has_waiter,
				      int *ret_err);
uint64_t request_limit_ns(struct deadline *d, enum request_op op);
/* Lock held. Gives the disk up for a request, unless too many are silent: then false. */
bool request_give_up(struct deadline *d, enum request_op op);
/* Lock held. It was not given up: it is silent (D11). Where that is news it is told, without the lock: true. */
bool request_note_silent(struct deadline *d);
/* Lock held: was it silent, and is none of the calls that run too late any more? It is not silent then. */
bool request_silence_over(struct deadline *d);
/* The caller's thread enters the disk itself; 0 or DFS_EGONE. */
MUST_USE int inline_enter(struct deadline *d);
void inline_leave(struct deadline *d);
/* Does it, on this thread. */
void request_execute(struct request *r);
void request_free(struct request *r);
bool request_is_quick(enum request_op op); /* changes nothing */
/* Lock held: a request that nobody has begun goes. */
void request_dequeue(struct deadline *d, struct request *r);

/* ---- deadline_threads.c; all but the last two with the lock held ---- */
/* Somebody is to look at the queues. */
void deadline_wake_thread(struct deadline *d);
/* Tells the group from when on this disk counts as silent: half of what a request that runs may take. */
void deadline_note_silence(struct deadline *d);
bool deadline_closing_due(struct deadline *d);
/* Lets the lock go meanwhile: closes all that is open below. */
void deadline_close_below(struct deadline *d);
/* Returns a file below for the caller to close without the lock, or NULL. */
struct dev_file *dfile_put(struct deadline *d, struct dfile *f);
/* Fails what is queued, closes the disk once nothing runs there. */
void deadline_retire_locked(struct deadline *d);
/* Waits for that, unless calls are stuck: then the last of them does it. */
void deadline_release(struct deadline *d);
struct deadline *deadline_alloc(struct dev_group *g, const char *name);

/* ---- deadline.c ---- */
extern const struct dev_ops deadline_ops;
static inline struct deadline *deadline_of(struct dev *d)
{
	return container_of(d, struct deadline, base);
}
struct dfile *dfile_new(struct deadline *d, struct dev_file *below);

#endif
