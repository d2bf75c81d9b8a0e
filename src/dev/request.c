/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a disk that may hang: each owns what it needs (D1) and is left behind when its deadline has
 * passed (D3). deadline_threads.c runs them. States and invariants: docs/DESIGN.md, "Disks that hang".
 *
 * Locks: see deadline_internal.h. No lock is held while the disk works.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "dev/deadline_internal.h"

#define SYNC_FACTOR 2
#define NS_PER_MS 1000000ull
#define PATIENCE_NS 50000000ull	 /* or a tenth of the deadline */
#define REVIVE_NAME ".tmp-probe" /* never listed, wherever a crash leaves it */

static bool is_sync(enum request_op op)
{
	return op == REQ_SYNC || op == REQ_SYNC_DIR || op == REQ_REPLACE;
}

bool request_is_quick(enum request_op op)
{
	switch (op) {
	case REQ_OPEN_DEV:
	case REQ_CALL:
	case REQ_OPEN:
	case REQ_READ:
	case REQ_SIZE:
	case REQ_LIST:
	case REQ_ASK:
	case REQ_LOCK:
	case REQ_REVIVE:
		return true;
	default:
		return false;
	}
}

uint64_t request_limit_ns(struct deadline *d, enum request_op op)
{
	return d->group->deadline_ms * NS_PER_MS * (is_sync(op) ? SYNC_FACTOR : 1);
}

/* ---- what a request does ---- */

static int collect(void *ctx, const char *name, uint64_t size_bytes)
{
	struct request *r = ctx;

	buf_put_le64(&r->list, size_bytes);
	buf_put(&r->list, name, strlen(name) + 1);
	if (r->d->is_memory)
		return 0;
	/* A long listing moves: that is no hang. */
	ENV_LOCKED(&r->d->lock);
	r->since_ns = env_now_ns();
	return r->state == REQ_LEFT ? DFS_ETIMEDOUT : 0;
}

static int revive(struct dev *below)
{
	uint8_t want[512], *back = NULL;
	size_t len = 0;
	int rc = dev_probe(below);

	env_random(want, sizeof(want));
	if (!rc)
		rc = dev_replace(below, REVIVE_NAME, want, sizeof(want));
	if (!rc)
		rc = dev_read_all(below, REVIVE_NAME, sizeof(want), &back, &len);
	if (!rc && (len != sizeof(want) || memcmp(want, back, len) != 0))
		rc = DFS_EIO;
	free(back);
	if (!rc)
		rc = dev_remove(below, REVIVE_NAME);
	/* what is full or read-only has answered */
	return rc == DFS_ENOSPC || rc == DFS_EROFS || rc == DFS_EACCES ? 0 : rc;
}

static int execute_file(struct request *r, struct dev_file *f)
{
	switch (r->op) {
	case REQ_READ:
		return dev_read(f, r->buf, r->len, r->off, r->flags, &r->got);
	case REQ_WRITE:
		return dev_writev(f, r->iov, r->iovcnt, r->off);
	case REQ_SYNC:
		return dev_sync(f);
	case REQ_PUNCH:
		return dev_punch(f, r->off, r->len);
	case REQ_ALLOCATE:
		return dev_allocate(f, r->off, r->len);
	case REQ_TRUNCATE:
		return dev_truncate(f, r->len);
	case REQ_SIZE:
		return dev_size(f, &r->size);
	case REQ_PREFETCH:
		dev_prefetch(f, r->off, r->len);
		return 0;
	default:
		ASSERT(r->op == REQ_CLOSE); /* done by dfile_put() */
		return 0;
	}
}

static void execute(struct request *r)
{
	struct dev *below = r->d->below;

	switch (r->op) {
	case REQ_OPEN_DEV:
		r->result = r->opener(r->opener_ctx, r->name, r->to, r->flags, &r->opened_dev);
		r->got = r->result == 0 && dev_is_memory(r->opened_dev);
		return;
	case REQ_CALL:
		r->call(r->arg);
		return;
	case REQ_OPEN:
		r->result = dev_open(below, r->name, r->flags, &r->opened_below);
		return;
	case REQ_MKDIR:
		r->result = dev_mkdir(below, r->name);
		return;
	case REQ_REMOVE:
		r->result = dev_remove(below, r->name);
		return;
	case REQ_RENAME:
		r->result = dev_rename(below, r->name, r->to);
		return;
	case REQ_LIST:
		r->result = dev_list(below, r->name, collect, r);
		return;
	case REQ_SYNC_DIR:
		r->result = dev_sync_dir(below, r->name);
		return;
	case REQ_REPLACE:
		r->result = dev_replace(below, r->name, r->iov->iov_base, r->iov->iov_len);
		return;
	case REQ_ASK:
		r->probe = dev_probe(below);
		r->result = dev_space(below, &r->space);
		return;
	case REQ_LOCK:
		r->result = dev_lock(below);
		return;
	case REQ_REVIVE:
		r->result = revive(below);
		return;
	default:
		r->result = execute_file(r, r->file->below);
	}
}

void request_execute(struct request *r)
{
	uint64_t began = env_now_ns();

	execute(r);
	counts_request(r->d, r, env_now_ns() - began);
}

/* ---- submitting ---- */

void request_free(struct request *r)
{
	buf_release(&r->list);
	env_cond_release(&r->done);
	free(r);
}

static size_t text_size(const char *s) { return s ? strlen(s) + 1 : 0; }

/* A copy with all that it points to. */
static struct request *request_copy(struct deadline *d, const struct request *r)
{
	size_t name = text_size(r->name), to = text_size(r->to), data = 0;
	struct request *copy;
	uint8_t *at;

	if (r->op == REQ_READ)
		data = r->len;
	for (int i = 0; i < r->iovcnt; i++)
		data += r->iov[i].iov_len;
	copy = xmalloc(sizeof(*copy) + data + name + to);
	*copy = *r;
	copy->d = d;
	at = (uint8_t *)(copy + 1);
	copy->buf = at;
	copy->own_iov = (struct iovec){at, data};
	for (int i = 0; i < r->iovcnt; i++) {
		if (r->iov[i].iov_len) /* an empty vector may have no address */
			memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	if (r->op == REQ_READ)
		at += data;
	copy->iov = &copy->own_iov;
	copy->iovcnt = 1;
	copy->name = name ? memcpy(at, r->name, name) : NULL;
	copy->to = to ? memcpy(at + name, r->to, to) : NULL;
	env_cond_init(&copy->done);
	return copy;
}

int request_refused(struct deadline *d, enum request_op op)
{
	env_assert_held(&d->lock);
	if (d->is_retired)
		return DFS_EGONE;
	if (!d->is_hung || op == REQ_CLOSE)
		return 0;
	return op == REQ_REVIVE && d->stuck == 0 ? 0 : DFS_ETIMEDOUT;
}

static void enqueue(struct deadline *d, struct request *r, bool has_waiter)
{
	env_assert_held(&d->lock);
	r->state = REQ_QUEUED;
	r->has_waiter = has_waiter;
	r->since_ns = env_now_ns();
	if (r->file && r->op != REQ_CLOSE)
		r->file->refs++; /* a close brings its own */
	if (request_is_quick(r->op))
		TAILQ_INSERT_TAIL(&d->quick, r, link);
	else
		TAILQ_INSERT_TAIL(&d->slow, r, link);
	d->queued++;
	deadline_wake_thread(d);
}

struct request *request_submit_locked(struct deadline *d, const struct request *r, bool has_waiter,
				      int *ret_err)
{
	struct request *copy;

	*ret_err = request_refused(d, r->op);
	if (*ret_err)
		return NULL;
	copy = request_copy(d, r);
	enqueue(d, copy, has_waiter);
	return copy;
}

struct request *request_submit(struct deadline *d, const struct request *r, bool has_waiter,
			       int *ret_err)
{
	struct request *copy = request_copy(d, r); /* may be megabytes: without the lock */

	env_mutex_lock(&d->lock);
	*ret_err = request_refused(d, r->op);
	if (!*ret_err && r->can_spare && d->late)
		*ret_err = DFS_ELATE;
	if (!*ret_err)
		enqueue(d, copy, has_waiter);
	env_mutex_unlock(&d->lock);
	if (!*ret_err)
		return copy;
	request_free(copy);
	return NULL;
}

/* Lock held: a request that nobody has begun goes. */
void request_dequeue(struct deadline *d, struct request *r)
{
	ASSERT(r->state == REQ_QUEUED);
	if (request_is_quick(r->op))
		TAILQ_REMOVE(&d->quick, r, link);
	else
		TAILQ_REMOVE(&d->slow, r, link);
	d->queued--;
	if (!r->file)
		return;
	/* whoever opened the file has it still, but for a close */
	if (r->op == REQ_CLOSE)
		ASSERT(d->is_retired);
	ASSERT(!dfile_put(d, r->file));
}

/* Does it count as silent now, or is it the one that is asked about? Group locked. */
static bool is_silent(const struct deadline *d, const struct deadline *asked, uint64_t now)
{
	uint64_t at = atomic_load(&d->silent_at_ns);

	return d == asked || (at && at <= now);
}

/* Is there a silent one before it in its failure domain? Group locked. */
static bool domain_counted(const struct deadline *d, const struct deadline *asked, uint64_t now)
{
	const struct deadline *other;

	LIST_FOREACH(other, &d->group->devs, in_group) {
		if (other == d)
			return false;
		if (d->domain[0] && !strcmp(other->domain, d->domain) &&
		    is_silent(other, asked, now))
			return true;
	}
	return false;
}

/* Would the pool still be able to go on without this disk and those that are silent, too? */
static bool can_be_spared(struct deadline *d)
{
	struct dev_group *g = d->group;
	uint64_t now = env_now_ns();
	unsigned votes = 0, domains = 0;
	struct deadline *other;

	ENV_LOCKED(&g->lock);
	LIST_FOREACH(other, &g->devs, in_group) {
		if (!is_silent(other, d, now))
			continue;
		votes += other->votes;
		domains += !domain_counted(other, d, now);
	}
	return domains <= g->most && votes <= g->most_votes;
}

/* ---- waiting and giving up ---- */

static void leave(struct deadline *d, struct request *r)
{
	ASSERT(r->state == REQ_RUNNING);
	PROBE("call-left");
	r->state = REQ_LEFT;
	d->stuck++;
	d->late -= r->is_late;
	r->is_late = false;
}

bool request_give_up(struct deadline *d, enum request_op op)
{
	struct request *r, *next;

	env_assert_held(&d->lock);
	if (d->is_hung)
		return true;
	/* nothing depends on a disk that is not open yet, or was given up by order */
	if (op != REQ_OPEN_DEV && op != REQ_CALL && !d->is_retired && !d->is_given_up &&
	    !can_be_spared(d))
		return false;
	d->is_hung = true;
	d->is_silent = false;
	deadline_note_silence(d);
	TAILQ_FOREACH(r, &d->running, link) {
		if (r->has_waiter)
			env_cond_signal(&r->done);
		else if (r->state == REQ_RUNNING)
			leave(d, r);
	}
	TAILQ_FOREACH(r, &d->quick, link)
		if (r->has_waiter)
			env_cond_signal(&r->done);
	TAILQ_FOREACH_SAFE(r, &d->slow, link, next)
	{
		if (r->has_waiter) {
			env_cond_signal(&r->done);
		} else if (r->op == REQ_PREFETCH) {
			request_dequeue(d, r);
			request_free(r);
		}
	}
	env_cond_broadcast(&d->changed);
	return true;
}

bool request_note_silent(struct deadline *d)
{
	env_assert_held(&d->lock);
	if (d->is_silent)
		return false;
	d->is_silent = true;
	env_mutex_unlock(&d->lock);
	log_error("the disk at %s does not answer, and too many others don't to go on without it: "
		  "what needs it waits until it does; check the disk, its cable, or the server "
		  "behind it",
		  d->base.name);
	env_mutex_lock(&d->lock);
	return true;
}

/*
 * D9: how long the waiter of a call that can be spared waits: much longer than reads of the pool have taken lately. While
 * one is late, no further one is given to the disk.
 */
static uint64_t patience_ns(struct deadline *d)
{
	uint64_t limit = request_limit_ns(d, REQ_READ), least = MIN(PATIENCE_NS, limit / 10);

	return MIN(MAX(least, atomic_load(&d->group->patience_ns)), limit / 2);
}

/* Nobody waits for it any more; the disk goes on being used. */
static void leave_late(struct deadline *d, struct request *r)
{
	PROBE("read-spared");
	r->has_waiter = false;
	r->is_late = true;
	d->late++;
}

/* Lock held. When the first of the calls that run will have taken too long, whoever waits for it, if anybody. */
static uint64_t first_deadline(struct deadline *d)
{
	uint64_t first = UINT64_MAX;
	struct request *r;

	TAILQ_FOREACH(r, &d->running, link)
		if (r->state == REQ_RUNNING)
			first = MIN(first, r->since_ns + request_limit_ns(d, r->op));
	return first;
}

bool request_silence_over(struct deadline *d)
{
	env_assert_held(&d->lock);
	if (!d->is_silent || env_now_ns() >= first_deadline(d))
		return false;
	d->is_silent = false;
	return true;
}

/*
 * Waits until it is done or there is no use in waiting. A request that runs has its deadline from its
 * beginning; one that is queued, from the last sign of life: a disk with much to do is not hung.
 */
static int wait_done(struct deadline *d, struct request *r)
{
	uint64_t limit = request_limit_ns(d, r->op);

	while (r->state != REQ_DONE) {
		uint64_t now = env_now_ns(), since = r->since_ns, until;

		if (r->state == REQ_QUEUED) {
			int refused = request_refused(d, r->op);

			if (refused)
				return refused;
			since = MAX(since, d->last_done_ns);
		} else if (d->is_hung && r->op != REQ_REVIVE) {
			return DFS_ETIMEDOUT;
		}
		if (r->can_spare && now >= since + patience_ns(d))
			return DFS_ELATE;
		until = MIN(since + limit, first_deadline(d));
		if (now < until) {
			if (r->can_spare)
				until = MIN(until, since + patience_ns(d));
			(void)env_cond_wait_ms(&r->done, &d->lock, DIV_UP(until - now, NS_PER_MS));
			continue;
		}
		if (request_give_up(d, r->op))
			return DFS_ETIMEDOUT;
		if (!request_note_silent(d))
			(void)env_cond_wait_ms(&r->done, &d->lock, DIV_UP(limit / 4, NS_PER_MS));
	}
	return 0;
}

/* Takes the results of a request that is done; its memory is the caller's. */
static void take_results(struct request *r, struct request *copy)
{
	r->result = copy->result;
	r->got = copy->got;
	r->size = copy->size;
	r->opened = copy->opened;
	r->list = copy->list;
	copy->list = (struct buf){0};
	if (r->op == REQ_READ && r->result == 0)
		memcpy(r->buf, copy->buf, r->got);
}

int request_wait(struct request *copy, struct request *r)
{
	struct deadline *d = copy->d;
	bool was_hung, is_ours = true;
	int rc;

	env_mutex_lock(&d->lock);
	was_hung = d->is_hung;
	rc = wait_done(d, copy);
	was_hung = was_hung || !d->is_hung;
	if (rc && copy->state == REQ_QUEUED) {
		request_dequeue(d, copy);
	} else if (rc == DFS_ELATE) {
		leave_late(d, copy);
		is_ours = false;
	} else if (rc) {
		leave(d, copy);
		is_ours = false;
	}
	env_mutex_unlock(&d->lock);
	if (!rc)
		take_results(r, copy);
	if (is_ours)
		request_free(copy);
	if (rc == DFS_ETIMEDOUT && !was_hung)
		log_error("the disk at %s does not answer: what is asked of it fails until it "
			  "does; check the disk, its cable, or the server behind it",
			  d->base.name);
	return rc ? rc : r->result;
}

int inline_enter(struct deadline *d)
{
	ENV_LOCKED(&d->lock);
	if (d->is_retired)
		return DFS_EGONE;
	d->users++;
	return 0;
}

void inline_leave(struct deadline *d)
{
	ENV_LOCKED(&d->lock);
	d->users--;
	if (!deadline_closing_due(d))
		return;
	if (d->is_memory)
		deadline_close_below(d);
	else
		env_cond_signal(&d->work);
}

int request_run(struct deadline *d, struct request *r)
{
	struct request *copy;
	int rc;

	r->d = d;
	if (!d->is_memory) {
		copy = request_submit(d, r, true, &rc);
		return copy ? request_wait(copy, r) : rc;
	}
	rc = inline_enter(d);
	if (rc)
		return rc;
	request_execute(r);
	if (r->op == REQ_OPEN && r->result == 0) {
		ENV_LOCKED(&d->lock);
		r->opened = dfile_new(d, r->opened_below);
	}
	inline_leave(d);
	return r->result;
}
