/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runner: one thread, which looks once a second for work of each kind, and does the steps of those jobs that run,
 * in turn. Between two steps it obeys orders.
 *
 * W1: a job's record is put into the index after its step's work was committed, so it never says more than was done; it is
 * stored every STORE_NS, so a crash does that much again, and each step may be done twice.
 *
 * Lock: jobs.lock, not held during a step.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/metric.h"
#include "base/probe.h"
#include "jobs/internal.h"

#define TICK_MS 1000u
#define STORE_NS 1000000000ull
#define WAIT_NS 30000000000ull /* before the first further try; doubled */
#define WAIT_DOUBLINGS 7u      /* an hour */
#define MEASURE_NS 10000000000ull
#define LOOK_AGAIN_NS 100000000ull /* whether users are still there */

static const struct job_kind *const kinds[] = {&rebuild_kind, &drain_kind, &scrub_kind,
					       &compact_kind, &rebalance_kind};

static const struct job_kind *kind_of(const struct rec_job *rec)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i]->id == rec->kind)
			return kinds[i];
	return NULL;
}

static struct job *find(struct jobs *j, uint32_t id)
{
	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.id == id)
			return &j->v[i];
	return NULL;
}

struct job *job_of(struct jobs *j, enum job_kind_id kind, disk_id disk)
{
	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.kind == kind && j->v[i].rec.disk.v == disk.v &&
		    !job_is_over(&j->v[i]))
			return &j->v[i];
	return NULL;
}

void job_set_state(struct job *job, enum job_state state, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(job->reason, sizeof(job->reason), fmt, ap);
	va_end(ap);
	job->changed = true;
	if (job->rec.state == state)
		return;
	job->rec.state = (uint8_t)state;
	job->rec.changed_ns = env_wall_ns();
	job->begun_ns = 0;
}

static uint32_t next_id(const struct jobs *j)
{
	uint32_t id = 1;

	for (unsigned i = 0; i < j->count; i++)
		id = MAX(id, j->v[i].rec.id + 1);
	return id;
}

/* The oldest that is over makes room. It leaves the index with the next store. */
static bool make_room(struct jobs *j)
{
	for (unsigned i = 0; i < j->count; i++) {
		struct meta_txn *t;
		uint64_t seq;

		if (!job_is_over(&j->v[i]))
			continue;
		t = meta_begin(pool_meta(j->p));
		del_job(t, j->v[i].rec.id);
		if (meta_commit(t, &seq))
			return false;
		memmove(&j->v[i], &j->v[i + 1], (j->count - i - 1) * sizeof(j->v[0]));
		j->count--;
		return true;
	}
	return false;
}

struct job *job_add(struct jobs *j, enum job_kind_id kind, disk_id disk, uint64_t due_ns)
{
	uint64_t now = env_wall_ns();
	struct job *job;

	if (j->count == JOBS_MAX && !make_room(j))
		return NULL;
	job = &j->v[j->count];
	*job = (struct job){.rec = {.id = next_id(j),
				    .kind = (uint8_t)kind,
				    .state = JOB_WAITING,
				    .disk = disk,
				    .created_ns = now,
				    .changed_ns = now,
				    .due_ns = due_ns},
			    .changed = true};
	j->count++;
	metric_add(METRIC_JOBS_BEGUN, 1);
	return job;
}

uint64_t jobs_signature(struct jobs *j)
{
	struct disk_set *disks = pool_disks(j->p);
	uint64_t h = 1469598103934665603ull; /* FNV-1a */

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);

		h = (h ^ disk_info(d).id.v) * 1099511628211ull;
		h = (h ^ (uint64_t)disk_state(d)) * 1099511628211ull;
		h = (h ^ disk_present(d)) * 1099511628211ull;
	}
	return (h ^ j->may_grow) * 1099511628211ull;
}

/* ---- the index ---- */

static void load(struct jobs *j)
{
	struct cursor c;
	int err;

	cursor_of_table(&c, pool_meta(j->p), TABLE_JOB);
	while (j->count < JOBS_MAX && cursor_next(&c)) {
		struct job *job = &j->v[j->count];

		*job = (struct job){0};
		if (cursor_job(&c, &job->rec)) {
			log_warn(
				"a job's record in the index is damaged: what it was about is found "
				"anew");
			continue;
		}
		j->count++;
	}
	err = cursor_close(&c, 0);
	if (err)
		log_warn(
			"cannot read the jobs that were begun: %s; what they were about is found anew",
			dfs_err_text(err));
}

/* lock held. Stores the records that have changed; what can't be stored is tried again. */
int jobs_store(struct jobs *j, uint64_t *ret_seq)
{
	struct meta_txn *t = NULL;
	int err;

	*ret_seq = 0;
	for (unsigned i = 0; i < j->count; i++) {
		if (!j->v[i].changed)
			continue;
		t = t ? t : meta_begin(pool_meta(j->p));
		put_job(t, &j->v[i].rec);
	}
	err = t ? meta_commit(t, ret_seq) : 0;
	for (unsigned i = 0; i < j->count && !err; i++)
		j->v[i].changed = false;
	return err;
}

/* ---- running ---- */

/* lock held. The next job in turn that may run. */
static struct job *choose(struct jobs *j, uint32_t after)
{
	struct job *first = NULL, *next = NULL;

	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];

		if (job->rec.state != JOB_RUNNING || job->rests_until_ns > env_now_ns() ||
		    yield_rest_ns(j, job->is_urgent))
			continue;
		if (!first || job->rec.id < first->rec.id)
			first = job;
		if (job->rec.id > after && (!next || job->rec.id < next->rec.id))
			next = job;
	}
	return next ? next : first;
}

/* By the wall clock until it has begun, since that outlives a restart; then not: whoever sets a clock back must not stop
 * it. What waited before a restart tries again at once. */
static bool is_due(const struct job *job, uint64_t signature)
{
	if (job->rec.due_ns == UINT64_MAX)
		return false;
	if (!job->rec.total_bytes)
		return job->rec.due_ns <= env_wall_ns();
	return env_now_ns() >= job->retry_ns || job->signature != signature;
}

/* lock held. Those that wait and are due, or for whom something has changed, go on. true: there are any. */
static bool wake_due(struct jobs *j)
{
	bool any = false;
	uint64_t signature = jobs_signature(j);

	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];

		if (job->rec.state != JOB_WAITING || !is_due(job, signature))
			continue;
		if (job->signature != signature)
			job->waits = 0;
		if (!job->rec.total_bytes)
			job->rec.total_bytes = kind_of(&job->rec)->left(j, &job->rec);
		job_set_state(job, JOB_RUNNING, "%s", "");
		any = true;
	}
	return any;
}

/* " of disk 3"; "" of all. */
static const char *of_disk(const struct job *job, char text[32])
{
	text[0] = '\0';
	if (job->rec.disk.v)
		snprintf(text, 32, " of disk %u", job->rec.disk.v);
	return text;
}

/* lock held. W3 */
static void wait_on(struct jobs *j, struct job *job, const char *reason)
{
	uint64_t pause = WAIT_NS << MIN(job->waits, WAIT_DOUBLINGS);
	char text[32];

	if (job->waits == 0)
		log_warn("job %u (%s%s) waits: %s", job->rec.id, kind_of(&job->rec)->name,
			 of_disk(job, text), reason);
	job->waits++;
	job_set_state(job, JOB_WAITING, "%s", reason);
	job->retry_ns = env_now_ns() + pause;
	job->signature = jobs_signature(j);
}

static void note_end(struct jobs *j, const struct job *job)
{
	struct meta_txn *t = meta_begin(pool_meta(j->p));
	char json[200];
	uint64_t seq;

	snprintf(json, sizeof(json),
		 "{\"event\":\"job\",\"job\":%u,\"kind\":\"%s\",\"disk\":%u,\"fragments\":%llu}",
		 job->rec.id, kind_of(&job->rec)->name, job->rec.disk.v,
		 (unsigned long long)job->rec.made);
	put_audit(t, env_wall_ns(), UINT32_MAX - job->rec.id, json);
	if (meta_commit(t, &seq))
		log_warn("the end of job %u could not be put into the audit trail", job->rec.id);
}

static void finish(struct jobs *j, struct job *job, const char *outcome)
{
	char text[32];

	if (!kind_of(&job->rec)->is_routine)
		note_end(j, job);
	PROBE("job-done");
	metric_add(METRIC_JOBS_DONE, 1);
	job_set_state(job, JOB_DONE, "%s", outcome);
	log_info("job %u (%s%s) is done: %llu fragments were written", job->rec.id,
		 kind_of(&job->rec)->name, of_disk(job, text), (unsigned long long)job->rec.made);
}

/* lock held, but not during the step. */
static uint64_t run_step(struct jobs *j, struct job *job)
{
	const struct job_kind *kind = kind_of(&job->rec);
	struct job copy = *job;
	uint64_t bytes = 0, began = env_now_ns();
	int err;

	copy.yields = false;
	copy.budget = yield_budget(j, pool_get_rebuild(j->p).bytes_per_s);
	copy.is_urgent = false;
	env_mutex_unlock(&j->lock);
	err = kind->step(j, &copy, &bytes);
	env_mutex_lock(&j->lock);
	yield_after(j, copy.is_urgent, env_now_ns() - began);
	job = find(j, copy.rec.id);
	if (!job || job_is_over(job))
		return bytes;
	if (job->rec.made != copy.rec.made)
		job->waits = 0;
	/* where it is; what state it is in may have been changed by order */
	job->rec.pass = copy.rec.pass;
	job->rec.segment = copy.rec.segment;
	job->rec.offset = copy.rec.offset;
	job->rec.made = copy.rec.made;
	job->rec.stuck = copy.rec.stuck;
	job->rec.from = copy.rec.from;
	job->rec.moved_bytes = copy.rec.moved_bytes;
	job->yields = copy.yields;
	job->why = copy.why;
	job->is_urgent = copy.is_urgent;
	job->rests_until_ns = env_now_ns() + copy.rest_ns;
	job->changed = true;
	if (err == DFS_EEND)
		finish(j, job, copy.reason);
	else if (err && job->rec.state == JOB_RUNNING)
		wait_on(j, job, copy.reason);
	return bytes;
}

/* lock held. For how long the rate wants what was written last to last (W4), in ms. By the rate of now: it may have been set
 * meanwhile, and look() goes on. */
static uint64_t rest_ms(struct jobs *j)
{
	uint64_t rate = pool_get_rebuild(j->p).bytes_per_s, since = env_now_ns() - j->wrote_ns;
	double ms = rate ? (double)j->wrote_bytes * 1000 / (double)rate - (double)since / 1e6 : 0;

	return ms < 1 ? 0 : (uint64_t)MIN(ms, 1e9);
}

/* lock held. Until the first of those that rest, by a rate of their own or for users, goes on; at most a tick. */
static uint64_t own_rest_ms(struct jobs *j)
{
	uint64_t now = env_now_ns(), first = now + TICK_MS * 1000000ull;

	for (unsigned i = 0; i < j->count; i++) {
		const struct job *job = &j->v[i];
		uint64_t rest = yield_rest_ns(j, job->is_urgent);

		if (job->rec.state != JOB_RUNNING)
			continue;
		if (job->rests_until_ns > now)
			first = MIN(first, job->rests_until_ns);
		else if (rest) /* users may fall quiet before */
			first = MIN(first, now + MIN(rest, LOOK_AGAIN_NS));
	}
	return MAX((first - now) / 1000000ull, 1u);
}

static void store_now_and_then(struct jobs *j)
{
	uint64_t now = env_now_ns(), seq;

	if (now - j->stored_ns < STORE_NS)
		return;
	j->stored_ns = now;
	(void)!jobs_store(j, &seq); /* tried again */
}

/* lock held, but not while the pool directory is asked: it may hang. */
static void ask_growth(struct jobs *j)
{
	bool may;

	env_mutex_unlock(&j->lock);
	may = pool_may_grow(j->p);
	env_mutex_lock(&j->lock);
	j->may_grow = may;
}

/* lock held. */
static void look_for_work(struct jobs *j)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		kinds[i]->look(j);
}

/* lock held. */
static bool any_runs(const struct jobs *j)
{
	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.state == JOB_RUNNING)
			return true;
	return false;
}

static void jobs_main(void *arg)
{
	struct jobs *j = arg;
	uint64_t looked_ns = 0, seq;
	uint32_t last = 0;

	env_mutex_lock(&j->lock);
	while (!j->stop) {
		uint64_t rest = rest_ms(j);
		struct job *job;

		if (!looked_ns || env_now_ns() - looked_ns >= TICK_MS * 1000000ull) {
			looked_ns = env_now_ns();
			ask_growth(j);
			look_for_work(j);
			if (wake_due(j)) /* all of them are known before the first one's step */
				look_for_work(j);
		}
		store_now_and_then(j);
		yield_look(j);
		job = rest || meta_failed(pool_meta(j->p)) ? NULL : choose(j, last);
		if (!job && !any_runs(j))
			extent_rebuild_rests(pool_extents(j->p));
		if (!job) {
			(void)env_cond_wait_ms(&j->wake, &j->lock,
					       rest ? MIN(rest, TICK_MS) : own_rest_ms(j));
			continue;
		}
		last = job->rec.id;
		j->wrote_bytes = run_step(j, job);
		j->wrote_ns = env_now_ns();
	}
	(void)!jobs_store(j, &seq);
	env_mutex_unlock(&j->lock);
}

struct jobs *jobs_load(struct pool *p)
{
	struct jobs *j = xcalloc(1, sizeof(*j));

	j->p = p;
	env_mutex_init(&j->lock);
	env_cond_init(&j->wake);
	if (pool_has_disks(p))
		load(j);
	scrub_load(j);
	return j;
}

void jobs_start(struct jobs *j)
{
	if (!pool_read_only(j->p) && pool_has_disks(j->p))
		j->thread = env_thread_start("dfs-jobs", jobs_main, j);
}

void jobs_free(struct jobs *j)
{
	if (!j)
		return;
	env_mutex_lock(&j->lock);
	j->stop = true;
	env_cond_broadcast(&j->wake);
	env_mutex_unlock(&j->lock);
	if (j->thread)
		env_thread_join(j->thread);
	env_cond_release(&j->wake);
	env_mutex_release(&j->lock);
	free(j->scrub);
	free(j->level);
	free(j);
}

/* ---- what a person asks ---- */

static void measure(struct job *job, uint64_t left, struct job_status *s)
{
	uint64_t now = env_now_ns(), since;

	if (job->rec.state != JOB_RUNNING)
		return;
	if (!job->begun_ns) {
		job->begun_ns = now;
		job->begun_left = left;
	}
	since = now - job->begun_ns;
	if (since > 200000000ull && job->begun_left > left)
		s->bytes_per_s = (uint64_t)((double)(job->begun_left - left) * 1e9 / (double)since);
	if (s->bytes_per_s)
		s->left_s = left / s->bytes_per_s;
	if (since > MEASURE_NS && s->bytes_per_s) { /* so that it follows */
		job->begun_ns = now - MEASURE_NS / 2;
		job->begun_left = left + s->bytes_per_s * (MEASURE_NS / 2000000000ull);
	}
}

static uint64_t due_in_s(const struct job *job)
{
	uint64_t due = job->rec.total_bytes ? job->retry_ns : job->rec.due_ns;
	uint64_t now = job->rec.total_bytes ? env_now_ns() : env_wall_ns();

	if (job->rec.state != JOB_WAITING || job->rec.due_ns == UINT64_MAX)
		return 0;
	return due > now ? (due - now) / 1000000000ull : 0;
}

unsigned jobs_list(struct jobs *j, struct job_status *out, unsigned max)
{
	unsigned n = 0;
	ENV_LOCKED(&j->lock);
	for (; n < MIN(max, j->count); n++) {
		struct job *job = &j->v[n];
		const struct job_kind *kind = kind_of(&job->rec);
		struct job_status *s = &out[n];

		*s = (struct job_status){.rec = job->rec, .kind = kind->name};
		memcpy(s->reason, job->reason, sizeof(s->reason));
		s->due_in_s = due_in_s(job);
		s->left_bytes = job_is_over(job) ? 0 : kind->left(j, &job->rec);
		measure(job, s->left_bytes, s);
	}
	return n;
}

/* lock held. */
static int may_obey(const struct job *job, enum job_order order)
{
	if (!job)
		return DFS_ENOENT;
	if (job->rec.state == JOB_DONE ||
	    (job->rec.state == JOB_CANCELLED &&
	     (order != JOB_ORDER_RESUME || kind_of(&job->rec)->cancel)) ||
	    (order == JOB_ORDER_RESUME && job->rec.state == JOB_RUNNING) ||
	    (order == JOB_ORDER_PAUSE && job->rec.state == JOB_PAUSED))
		return DFS_EINVAL;
	return 0;
}

/* What it was about is as before: durable before the job says that it is over. */
static int undo(struct jobs *j, uint32_t id)
{
	const struct job_kind *kind = NULL;
	struct job *job;
	disk_id disk = {0};
	int err;

	env_mutex_lock(&j->lock);
	job = find(j, id);
	err = may_obey(job, JOB_ORDER_CANCEL);
	if (!err) {
		kind = kind_of(&job->rec);
		disk = job->rec.disk;
	}
	env_mutex_unlock(&j->lock);
	if (!err && kind->cancel)
		err = kind->cancel(j, disk);
	return err;
}

uint32_t jobs_find(struct jobs *j, enum job_kind_id kind, disk_id disk)
{
	struct job *job;
	uint64_t seq;
	ENV_LOCKED(&j->lock);

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i]->id == kind)
			kinds[i]->look(j);
	job = job_of(j, kind, disk);
	(void)!jobs_store(j, &seq); /* else it is found anew */
	env_cond_broadcast(&j->wake);
	return job ? job->rec.id : 0;
}

int jobs_order(struct jobs *j, uint32_t id, enum job_order order)
{
	uint64_t seq = 0;
	struct job *job;
	int err = order == JOB_ORDER_CANCEL ? undo(j, id) : 0;

	if (err)
		return err;
	env_mutex_lock(&j->lock);
	job = find(j, id);
	err = may_obey(job, order);
	if (err == DFS_EINVAL && order == JOB_ORDER_CANCEL && job->rec.state == JOB_CANCELLED)
		err = 0; /* it has seen that already */
	if (!err) {
		if (order == JOB_ORDER_PAUSE)
			job_set_state(job, JOB_PAUSED, "paused by order");
		else if (order == JOB_ORDER_CANCEL)
			job_set_state(job, JOB_CANCELLED, "cancelled by order");
		else
			job_set_state(job, JOB_RUNNING, "%s", "");
		job->waits = 0;
		job->rec.due_ns = 0;
		err = jobs_store(j, &seq);
	}
	env_cond_broadcast(&j->wake);
	env_mutex_unlock(&j->lock);
	return err ? err : meta_sync(pool_meta(j->p), seq);
}
