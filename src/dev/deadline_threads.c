/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads of a disk that may hang (D2), and its life: each request runs on one of them; what comes back
 * after it was left is thrown away (D4); a retired disk is closed by the last to leave it (D6).
 *
 * Locks: see deadline_internal.h. No lock is held while the disk works.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/words.h"
#include "dev/deadline_internal.h"

#define NS_PER_MS 1000000ull
#define SLOW_THREADS (DEADLINE_THREADS - 2) /* two are kept for what is quick */

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

/* Lock held: when this disk will have been silent for half of what a request may take. */
void deadline_note_silence(struct deadline *d)
{
	struct request *r;
	uint64_t at = 0;

	TAILQ_FOREACH(r, &d->running, link) {
		uint64_t then = r->since_ns + request_limit_ns(d, r->op) / 2;

		at = at ? MIN(at, then) : then;
	}
	atomic_store(&d->silent_at_ns, d->is_hung ? 1 : at);
}

/* ---- threads ---- */

static void thread_main(void *arg);

/* Lock held. Somebody is to look at the queues. */
void deadline_wake_thread(struct deadline *d)
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
	deadline_note_silence(d);
	return r;
}

/* What the device learns from a request, in time or late. Returns a file below to be closed. */
static struct dev_file *learn(struct deadline *d, struct request *r)
{
	if (r->op == REQ_OPEN_DEV && r->result == 0) {
		d->below = r->opened_dev;
		d->is_memory = r->got;
	}
	if (r->op == REQ_CALL && r->state == REQ_LEFT)
		r->drop(r->arg);
	if (r->op == REQ_ASK) {
		d->asking = NULL;
		d->answers++;
		d->probe_result = r->probe;
		d->space_result = r->result;
		if (r->result == 0)
			d->space = r->space;
		d->space.asked_ns = d->asking_ns;
	}
	if (r->op == REQ_OPEN && r->result == 0) {
		if (r->state == REQ_LEFT || !r->has_waiter)
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
	d->slow_running -= !request_is_quick(r->op);
	d->last_done_ns = env_now_ns();
	d->late -= r->is_late;
	if (r->op == REQ_READ)
		pace_note(&d->pace, d->last_done_ns - r->since_ns);
	unwanted = learn(d, r);
	if (r->file)
		closing = dfile_put(d, r->file);
	if (r->state == REQ_LEFT) {
		PROBE("call-back-late");
		if (--d->stuck == 0)
			env_cond_broadcast(&d->work);
	}
	deadline_note_silence(d);
	if (r->state == REQ_RUNNING && r->has_waiter) {
		r->state = REQ_DONE;
		env_cond_signal(&r->done);
	} else {
		request_free(r);
	}
	env_cond_broadcast(&d->changed);
	if (request_silence_over(d)) {
		env_mutex_unlock(&d->lock);
		log_info("the disk at %s answers again", d->base.name);
		env_mutex_lock(&d->lock);
	}
	if (!closing && !unwanted)
		return;
	d->users++;
	env_mutex_unlock(&d->lock);
	dev_close(closing);
	dev_close(unwanted);
	env_mutex_lock(&d->lock);
	d->users--;
}

bool deadline_closing_due(struct deadline *d)
{
	return d->is_retired && d->users == 0 && !d->is_closing;
}

/* Lock held, let go meanwhile: closes all that is open below. */
void deadline_close_below(struct deadline *d)
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
		} else if (deadline_closing_due(d)) {
			deadline_close_below(d);
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
		request_dequeue(d, r);
		request_free(r);
	}
}

void deadline_retire_locked(struct deadline *d)
{
	env_assert_held(&d->lock);
	if (d->is_retired)
		return;
	d->is_retired = true;
	d->is_silent = false;
	env_mutex_lock(&d->group->lock);
	LIST_REMOVE(d, in_group);
	env_mutex_unlock(&d->group->lock);
	fail_queued(d, &d->quick);
	fail_queued(d, &d->slow);
	env_cond_broadcast(&d->changed);
	if (!deadline_closing_due(d))
		return; /* the last to leave does it */
	if (d->is_memory) {
		deadline_close_below(d);
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
	/* nobody waits for what runs there still: a question, a hint, a read that was late */
	uint64_t limit = request_limit_ns(d, REQ_READ) / 2, start = env_now_ns();
	unsigned stuck;
	bool is_orphan;

	env_mutex_lock(&d->lock);
	deadline_retire_locked(d);
	while (!d->is_closed || d->threads) {
		if ((d->stuck && d->users == d->stuck) || env_now_ns() - start >= limit) {
			d->is_orphan = true;
			break;
		}
		(void)env_cond_wait_ms(&d->changed, &d->lock, DIV_UP(limit / 4, NS_PER_MS));
	}
	is_orphan = d->is_orphan; /* what hangs may also be the closing */
	stuck = d->users;
	env_mutex_unlock(&d->lock);
	if (is_orphan)
		log_warn("the disk at %s was left with %u %s not come back; it can't "
			 "be unmounted before %s",
			 d->base.name, stuck, plural(stuck, "call that has", "calls that have"),
			 plural(stuck, "it does", "they do"));
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
