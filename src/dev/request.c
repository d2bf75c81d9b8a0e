/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a disk that may hang: each owns what it needs (D1), runs on one of a few threads of its
 * disk (D2), and is left behind when its deadline has passed (D3); what it brings later is thrown away
 * (D4). States and invariants: docs/DESIGN.md, "Disks that hang".
 *
 * Locks: see deadline_priv.h. No lock is held while the disk works.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "dev/deadline_priv.h"

#define SLOW_THREADS (DEADLINE_THREADS - 2) /* two are kept for what is quick */
#define SYNC_FACTOR 3
#define NS_PER_MS 1000000ull
#define REVIVE_NAME "probe"

static bool is_sync(enum request_op op)
{
	return op == REQ_SYNC || op == REQ_SYNC_DIR || op == REQ_REPLACE;
}

static bool is_quick(enum request_op op)
{
	switch (op) {
	case REQ_OPEN_DEV:
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

/* ---- files ---- */

/* Lock held. Returns a file below for the caller to close without the lock, or NULL. */
struct dev_file *dfile_put(struct deadline *d, struct dfile *f)
{
	struct dev_file *below = f->below;

	env_assert_held(&d->lock);
	ASSERT(f->refs > 0);
	if (--f->refs > 0 || (below && d->is_retired)) /* the closing of the disk takes it along */
		return NULL;
	TAILQ_REMOVE(&d->files, f, link);
	free(f);
	return below;
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

void request_execute(struct request *r)
{
	struct dev *below = r->d->below;

	switch (r->op) {
	case REQ_OPEN_DEV:
		r->result = r->opener(r->opener_ctx, r->name, r->to, r->flags, &r->opened_dev);
		r->got = r->result == 0 && dev_is_memory(r->opened_dev);
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

/* ---- the group ---- */

/* Lock held: when this disk will have been silent for half of what a request may take. */
static void note_silence(struct deadline *d)
{
	struct request *r;
	uint64_t at = 0;

	TAILQ_FOREACH(r, &d->running, link) {
		uint64_t then = r->since_ns + request_limit_ns(d, r->op) / 2;

		at = at ? MIN(at, then) : then;
	}
	atomic_store(&d->silent_at_ns, d->is_hung ? 1 : at);
}

/* Would the pool still be able to go on without this disk and those that are silent, too? */
static bool can_be_spared(struct deadline *d)
{
	struct dev_group *g = d->group;
	uint64_t now = env_now_ns();
	unsigned silent = 1;
	struct deadline *other;

	ENV_LOCKED(&g->lock);
	LIST_FOREACH(other, &g->devs, in_group) {
		uint64_t at = atomic_load(&other->silent_at_ns);

		silent += other != d && at && at <= now;
	}
	return silent <= g->most;
}

/* ---- threads ---- */

static void thread_main(void *arg);

/* Lock held. Somebody is to look at the queues. */
static void wake_thread(struct deadline *d)
{
	struct env_thread *t;

	if (d->queued <= d->idle || d->threads == DEADLINE_THREADS) {
		env_cond_signal(&d->work);
		return;
	}
	d->threads++;
	t = env_thread_start("disk-io", thread_main, d);
	env_thread_detach(t);
}

/* While calls are stuck nothing more is given to the disk: so no more of them get stuck. */
static struct request *take(struct deadline *d)
{
	struct request *r;

	env_assert_held(&d->lock);
	if (d->stuck)
		return NULL;
	r = TAILQ_FIRST(&d->quick);
	if (r) {
		TAILQ_REMOVE(&d->quick, r, link);
	} else {
		r = d->slow_running < SLOW_THREADS ? TAILQ_FIRST(&d->slow) : NULL;
		if (!r)
			return NULL;
		TAILQ_REMOVE(&d->slow, r, link);
		d->slow_running++;
	}
	d->queued--;
	d->users++;
	r->state = REQ_RUNNING;
	r->since_ns = env_now_ns();
	TAILQ_INSERT_TAIL(&d->running, r, link);
	note_silence(d);
	return r;
}

/* What the device learns from a request, in time or late. Returns a file below to be closed. */
static struct dev_file *learn(struct deadline *d, struct request *r)
{
	if (r->op == REQ_OPEN_DEV && r->result == 0) {
		d->below = r->opened_dev;
		d->is_memory = r->got;
	}
	if (r->op == REQ_ASK) {
		d->asking = NULL;
		d->answers++;
		d->probe_result = r->probe;
		d->space_result = r->result;
		if (r->result == 0)
			d->space = r->space;
	}
	if (r->op == REQ_OPEN && r->result == 0) {
		if (r->state == REQ_LEFT)
			return r->opened_below;
		r->opened = dfile_new(d, r->opened_below);
	}
	return NULL;
}

/* Lock held. */
static void run_one(struct deadline *d, struct request *r)
{
	struct dev_file *unwanted, *closing = NULL;

	env_mutex_unlock(&d->lock);
	request_execute(r);
	env_mutex_lock(&d->lock);
	TAILQ_REMOVE(&d->running, r, link);
	d->users--;
	d->slow_running -= !is_quick(r->op);
	d->last_done_ns = env_now_ns();
	unwanted = learn(d, r);
	if (r->file)
		closing = dfile_put(d, r->file);
	if (r->state == REQ_LEFT) {
		PROBE("call-back-late");
		if (--d->stuck == 0)
			env_cond_broadcast(&d->work);
	}
	note_silence(d);
	if (r->state == REQ_RUNNING && r->has_waiter) {
		r->state = REQ_DONE;
		env_cond_signal(&r->done);
	} else {
		request_free(r);
	}
	env_cond_broadcast(&d->changed);
	if (!closing && !unwanted)
		return;
	d->users++;
	env_mutex_unlock(&d->lock);
	dev_close(closing);
	dev_close(unwanted);
	env_mutex_lock(&d->lock);
	d->users--;
}

static bool closing_due(struct deadline *d)
{
	return d->is_retired && d->users == 0 && !d->is_closing;
}

/* Lock held, let go meanwhile: closes all that is open below. */
static void close_below(struct deadline *d)
{
	struct dfile_list closing = TAILQ_HEAD_INITIALIZER(closing);
	struct dev *below = d->below;
	struct dev_file **files;
	struct dfile *f, *next;
	unsigned n = 0;

	d->is_closing = true;
	d->below = NULL;
	TAILQ_FOREACH(f, &d->files, link)
		n++;
	files = xcalloc(n + 1, sizeof(struct dev_file *));
	n = 0;
	TAILQ_FOREACH_SAFE(f, &d->files, link, next)
	{
		files[n++] = f->below;
		f->below = NULL;
		if (f->refs > 0)
			continue;
		TAILQ_REMOVE(&d->files, f, link);
		free(f);
	}
	env_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < n; i++)
		dev_close(files[i]);
	free(files);
	dev_free(below);
	env_mutex_lock(&d->lock);
	d->is_closed = true;
	env_cond_broadcast(&d->work);
	env_cond_broadcast(&d->changed);
}

static void destroy(struct deadline *d)
{
	struct dfile *f;

	while ((f = TAILQ_FIRST(&d->files))) { /* not closed by who opened it */
		TAILQ_REMOVE(&d->files, f, link);
		free(f);
	}
	dev_group_put(d->group);
	env_cond_release(&d->work);
	env_cond_release(&d->changed);
	env_mutex_release(&d->lock);
	free(d->base.name);
	free(d);
}

static void thread_main(void *arg)
{
	struct deadline *d = arg;
	bool last;

	env_mutex_lock(&d->lock);
	while (!d->is_closed && (!d->is_memory || d->is_retired)) {
		struct request *r = take(d);

		if (r) {
			run_one(d, r);
		} else if (closing_due(d)) {
			close_below(d);
		} else {
			d->idle++;
			env_cond_wait(&d->work, &d->lock);
			d->idle--;
		}
	}
	d->threads--;
	last = d->is_orphan && d->is_closed && d->threads == 0;
	env_cond_broadcast(&d->changed);
	env_mutex_unlock(&d->lock);
	if (last)
		destroy(d);
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
	if (is_quick(r->op))
		TAILQ_INSERT_TAIL(&d->quick, r, link);
	else
		TAILQ_INSERT_TAIL(&d->slow, r, link);
	d->queued++;
	wake_thread(d);
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
	if (!*ret_err)
		enqueue(d, copy, has_waiter);
	env_mutex_unlock(&d->lock);
	if (!*ret_err)
		return copy;
	request_free(copy);
	return NULL;
}

/* Lock held: a request that nobody has begun goes. */
static void dequeue(struct deadline *d, struct request *r)
{
	ASSERT(r->state == REQ_QUEUED);
	if (is_quick(r->op))
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

/* ---- waiting and giving up ---- */

static void leave(struct deadline *d, struct request *r)
{
	ASSERT(r->state == REQ_RUNNING);
	PROBE("call-left");
	r->state = REQ_LEFT;
	d->stuck++;
}

bool request_give_up(struct deadline *d)
{
	struct request *r, *next;

	env_assert_held(&d->lock);
	if (d->is_hung)
		return true;
	if (!can_be_spared(d))
		return false;
	d->is_hung = true;
	note_silence(d);
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
			dequeue(d, r);
			request_free(r);
		}
	}
	env_cond_broadcast(&d->changed);
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
		uint64_t now = env_now_ns(), since = r->since_ns;

		if (r->state == REQ_QUEUED) {
			int refused = request_refused(d, r->op);

			if (refused)
				return refused;
			since = MAX(since, d->last_done_ns);
		} else if (d->is_hung && r->op != REQ_REVIVE) {
			return DFS_ETIMEDOUT;
		}
		if (now < since + limit) {
			(void)env_cond_wait_ms(&r->done, &d->lock,
					       DIV_UP(since + limit - now, NS_PER_MS));
			continue;
		}
		if (request_give_up(d))
			return DFS_ETIMEDOUT;
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
		dequeue(d, copy);
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
	if (!closing_due(d))
		return;
	if (d->is_memory)
		close_below(d);
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

/* ---- the end ---- */

static void fail_queued(struct deadline *d, struct request_list *l)
{
	struct request *r, *next;

	TAILQ_FOREACH_SAFE(r, l, link, next)
	{
		if (r->has_waiter) {
			env_cond_signal(&r->done); /* it sees that it is refused */
			continue;
		}
		if (d->asking == r)
			d->asking = NULL;
		dequeue(d, r);
		request_free(r);
	}
}

void deadline_retire_locked(struct deadline *d)
{
	env_assert_held(&d->lock);
	if (d->is_retired)
		return;
	d->is_retired = true;
	env_mutex_lock(&d->group->lock);
	LIST_REMOVE(d, in_group);
	env_mutex_unlock(&d->group->lock);
	fail_queued(d, &d->quick);
	fail_queued(d, &d->slow);
	env_cond_broadcast(&d->changed);
	if (!closing_due(d))
		return; /* the last to leave does it */
	if (d->is_memory) {
		close_below(d);
		return;
	}
	if (d->threads == 0) {
		d->threads++;
		env_thread_detach(env_thread_start("disk-io", thread_main, d));
	}
	env_cond_broadcast(&d->work);
}

void deadline_release(struct deadline *d)
{
	uint64_t limit = request_limit_ns(d, REQ_SYNC), start = env_now_ns();
	unsigned stuck = 0;

	env_mutex_lock(&d->lock);
	deadline_retire_locked(d);
	while (!d->is_closed || d->threads) {
		if ((d->stuck && d->users == d->stuck) || env_now_ns() - start >= limit) {
			stuck = d->users;
			d->is_orphan = true;
			break;
		}
		(void)env_cond_wait_ms(&d->changed, &d->lock, DIV_UP(limit / 4, NS_PER_MS));
	}
	env_mutex_unlock(&d->lock);
	if (stuck)
		log_warn("the disk at %s was left with %u calls that have not come back; it can't "
			 "be unmounted before they do",
			 d->base.name, stuck);
	else
		destroy(d);
}

struct deadline *deadline_alloc(struct dev_group *g, const char *name)
{
	struct deadline *d = xcalloc(1, sizeof(*d));

	d->base.ops = &deadline_ops;
	d->base.name = xstrdup(name);
	d->group = g;
	env_mutex_init(&d->lock);
	env_cond_init(&d->work);
	env_cond_init(&d->changed);
	TAILQ_INIT(&d->files);
	TAILQ_INIT(&d->quick);
	TAILQ_INIT(&d->slow);
	TAILQ_INIT(&d->running);
	ENV_LOCKED(&g->lock);
	g->refs++;
	LIST_INSERT_HEAD(&g->devs, d, in_group);
	return d;
}
