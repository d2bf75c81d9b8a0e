/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers on mapped stacks, a seeded scheduler and a virtual clock behind base/env.h. One kernel
 * thread runs everything, so nothing here needs a lock. Every mutex, condition and device call is
 * a scheduling point. Conditions wake up spuriously now and then, as POSIX lets them.
 */
#include "sim/sim_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <ucontext.h>

#include "base/env.h"
#include "base/types.h"

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES MIB(1)
#else
#define STACK_BYTES KIB(256)
#endif
#define GUARD_BYTES KIB(4)
#define NEVER UINT64_MAX
#define POINT_NS 100
#define WORLD_MAX_SWITCHES 50000000ull
#define WORLD_MAX_NS (4ull * 3600 * 1000000000)
#define WALL_START_NS (1767225600ull * 1000000000) /* 2026-01-01 */

TAILQ_HEAD(fiber_queue, env_thread);

enum fiber_state {
	FIBER_READY,
	FIBER_BLOCKED,
	FIBER_DONE
};
struct env_thread {
	ucontext_t ctx;
	char name[16];
	env_thread_fn fn;
	void *arg;
	uint8_t *stack;
	enum fiber_state state;
	uint64_t deadline_ns; /* while blocked */
	bool timed_out;
	const char *waits_for;
	struct fiber_queue *queue; /* the wait queue it stands in */
	TAILQ_ENTRY(env_thread) in_queue;
	TAILQ_ENTRY(env_thread) in_all;
	struct fiber_queue joiners;
	bool detached;
	void *fake_stack;
};
struct sim_mutex {
	uint64_t world;
	struct env_thread *owner;
	struct fiber_queue waiters;
};
struct sim_cond {
	uint64_t world;
	struct fiber_queue waiters;
	unsigned count;
};

static struct rng rng, random_rng;
static uint64_t now_ns, world, world_switches, world_start_ns;
static int64_t wall_step_ns; /* how far the wall clock has been set off */
static unsigned switch_one_in;
static struct fiber_queue all;
static struct env_thread *ended; /* detached, done: its stack is free once another fiber runs */
static struct env_thread **ready, root, *current = &root;
static unsigned ready_count, ready_cap;
static uint64_t least_deadline_ns; /* no blocked fiber's deadline is earlier */
static uint8_t **spare_stacks;
static unsigned spare_count, spare_cap;
static enum sim_end ending;
static struct sim_env_stats stats;
static char stuck_text[4096];

/* ---- stacks and switching ---- */

static uint8_t *stack_new(void)
{
	uint8_t *p;

	if (spare_count)
		return spare_stacks[--spare_count];
	p = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	ASSERT(p != MAP_FAILED);
	ASSERT(mprotect(p, GUARD_BYTES, PROT_NONE) == 0);
	return p + GUARD_BYTES;
}

static void stack_put(uint8_t *stack)
{
	if (spare_count == spare_cap) {
		spare_cap = spare_cap ? spare_cap * 2 : 64;
		spare_stacks = xrealloc(spare_stacks, spare_cap * sizeof(*spare_stacks));
	}
#ifdef SIM_ASAN
	__asan_unpoison_memory_region(stack, STACK_BYTES);
#endif
	spare_stacks[spare_count++] = stack;
}

#ifdef SIM_ASAN
static const void *root_stack;
static size_t root_stack_bytes;

static void switch_begin(struct env_thread *from, struct env_thread *to)
{
	__sanitizer_start_switch_fiber(from->state == FIBER_DONE ? NULL : &from->fake_stack,
				       to == &root ? root_stack : to->stack,
				       to == &root ? root_stack_bytes : STACK_BYTES);
}
static void switch_end(struct env_thread *to, struct env_thread *from)
{
	const void *bottom;
	size_t bytes;

	__sanitizer_finish_switch_fiber(to->fake_stack, &bottom, &bytes);
	if (from == &root) {
		root_stack = bottom;
		root_stack_bytes = bytes;
	}
}
#else
static void switch_begin(struct env_thread *from, struct env_thread *to) { (void)from, (void)to; }
static void switch_end(struct env_thread *to, struct env_thread *from) { (void)to, (void)from; }
#endif

static struct env_thread *switched_from;

static void switch_to(struct env_thread *to)
{
	struct env_thread *from = current;

	if (to == from)
		return;
	stats.switches++;
	world_switches++;
	current = to;
	switched_from = from;
	switch_begin(from, to);
	ASSERT(swapcontext(&from->ctx, &to->ctx) == 0);
	switch_end(from, switched_from);
}

/* ---- the scheduler ---- */

static void make_ready(struct env_thread *f)
{
	if (ready_count == ready_cap) {
		ready_cap = ready_cap ? ready_cap * 2 : 64;
		ready = xrealloc(ready, ready_cap * sizeof(struct env_thread *));
	}
	f->state = FIBER_READY;
	f->deadline_ns = NEVER;
	ready[ready_count++] = f;
}

static void wake(struct env_thread *f, bool timed_out)
{
	ASSERT(f->state == FIBER_BLOCKED);
	if (f->queue) {
		TAILQ_REMOVE(f->queue, f, in_queue);
		f->queue = NULL;
	}
	f->timed_out = timed_out;
	make_ready(f);
}

static void run_timers(void)
{
	struct env_thread *f;
	uint64_t least = NEVER;

	TAILQ_FOREACH(f, &all, in_all) {
		if (f->state != FIBER_BLOCKED || f->deadline_ns == NEVER)
			continue;
		if (f->deadline_ns <= now_ns)
			wake(f, true);
		else
			least = MIN(least, f->deadline_ns);
	}
	least_deadline_ns = least;
}

static void stuck(const char *why)
{
	size_t len = 0;
	struct env_thread *f;

	len += (size_t)snprintf(stuck_text, sizeof(stuck_text), "%s:", why);
	TAILQ_FOREACH(f, &all, in_all) {
		if (len + 200 < sizeof(stuck_text) && f->state != FIBER_DONE)
			len += (size_t)snprintf(stuck_text + len, sizeof(stuck_text) - len,
						" [%s %s%s]", f->name,
						f->state == FIBER_READY ? "ready" : "waits for ",
						f->state == FIBER_READY ? "" : f->waits_for);
	}
	ending = SIM_STUCK;
	switch_to(&root);
	abort();
}

/* Runs another fiber; the caller has put the current one where it belongs. */
static void schedule(void)
{
	unsigned i;
	struct env_thread *f;

	if (least_deadline_ns <= now_ns)
		run_timers();
	if (ready_count == 0) {
		run_timers();
		if (ready_count == 0) {
			if (least_deadline_ns == NEVER)
				stuck("deadlock");
			now_ns = least_deadline_ns;
			run_timers();
		}
	}
	if (world_switches > WORLD_MAX_SWITCHES || now_ns - world_start_ns > WORLD_MAX_NS)
		stuck("no end in sight");
	i = (unsigned)rng_below(&rng, ready_count);
	f = ready[i];
	ready[i] = ready[--ready_count];
	switch_to(f);
}

static void block(struct fiber_queue *q, uint64_t deadline_ns, const char *what)
{
	struct env_thread *f = current;

	ASSERT(f != &root);
	f->state = FIBER_BLOCKED;
	f->deadline_ns = deadline_ns;
	f->timed_out = false;
	f->waits_for = what;
	f->queue = q;
	if (q)
		TAILQ_INSERT_TAIL(q, f, in_queue);
	least_deadline_ns = MIN(least_deadline_ns, deadline_ns);
	schedule();
}

void sim_env_point(void)
{
	stats.points++;
	now_ns += POINT_NS;
	if (current == &root)
		return;
	if (rng_below(&rng, switch_one_in) && least_deadline_ns > now_ns)
		return;
	make_ready(current);
	schedule();
}

static void sleep_ns(uint64_t ns)
{
	if (current == &root) /* outside any world nobody else is there */
		now_ns += ns;
	else
		block(NULL, now_ns + ns, "sleep");
}

void sim_env_delay(uint64_t time_ns) { sleep_ns(time_ns); }

static void fiber_free(struct env_thread *f)
{
	TAILQ_REMOVE(&all, f, in_all);
	stack_put(f->stack);
	free(f);
}

/* Frees the detached fiber that ended before this one, which may be the one that runs. */
static void reap(struct env_thread *f)
{
	if (ended)
		fiber_free(ended);
	ended = f;
}

static void fiber_main(void)
{
	struct env_thread *self = current, *j;

	switch_end(self, switched_from);
	self->fn(self->arg);
	self->state = FIBER_DONE;
	while ((j = TAILQ_FIRST(&self->joiners)))
		wake(j, false);
	if (self->detached)
		reap(self);
	schedule();
	abort(); /* a fiber that is done never runs again */
}

static struct env_thread *fiber_new(const char *name, env_thread_fn fn, void *arg)
{
	struct env_thread *f = xcalloc(1, sizeof(*f));

	snprintf(f->name, sizeof(f->name), "%s", name);
	f->fn = fn;
	f->arg = arg;
	f->stack = stack_new();
	TAILQ_INIT(&f->joiners);
	ASSERT(getcontext(&f->ctx) == 0);
	f->ctx.uc_stack.ss_sp = f->stack;
	f->ctx.uc_stack.ss_size = STACK_BYTES;
	f->ctx.uc_link = NULL;
	makecontext(&f->ctx, fiber_main, 0);
	TAILQ_INSERT_TAIL(&all, f, in_all);
	make_ready(f);
	stats.fibers++;
	return f;
}

/* ---- base/env.h ---- */

static uint64_t op_now_ns(void) { return now_ns; }
static uint64_t op_wall_ns(void)
{
	int64_t wall = (int64_t)(WALL_START_NS + now_ns) + wall_step_ns;

	return wall > 0 ? (uint64_t)wall : 0;
}

static void op_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		uint64_t v = rng_u64(&random_rng);
		size_t n = MIN(len, sizeof(v));

		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

static struct env_thread *op_thread_start(const char *name, env_thread_fn fn, void *arg)
{
	struct env_thread *f = fiber_new(name, fn, arg);

	sim_env_point();
	return f;
}

static void op_thread_join(struct env_thread *t)
{
	sim_env_point();
	while (t->state != FIBER_DONE)
		block(&t->joiners, NEVER, t->name);
	fiber_free(t);
}

static void op_thread_detach(struct env_thread *t)
{
	t->detached = true;
	if (t->state == FIBER_DONE)
		reap(t);
}

static struct sim_mutex *mutex_of(struct env_mutex *m)
{
	struct sim_mutex *s = m->sim;

	if (!s)
		s = m->sim = xcalloc(1, sizeof(*s));
	if (s->world != world) { /* a static one, which the last world may have left locked */
		s->world = world;
		s->owner = NULL;
		TAILQ_INIT(&s->waiters);
	}
	return s;
}

static void op_mutex_init(struct env_mutex *m)
{
	m->sim = NULL;
	mutex_of(m);
}

static void op_mutex_release(struct env_mutex *m)
{
	ASSERT(!mutex_of(m)->owner);
	free(m->sim);
	m->sim = NULL;
}

static void op_mutex_lock(struct env_mutex *m)
{
	struct sim_mutex *s = mutex_of(m);

	sim_env_point();
	ASSERT(s->owner != current); /* it would wait for itself */
	while (s->owner)
		block(&s->waiters, NEVER, s->owner->name);
	s->owner = current;
}

static void mutex_give(struct sim_mutex *s)
{
	ASSERT(s->owner == current);
	s->owner = NULL;
	if (!TAILQ_EMPTY(&s->waiters))
		wake(TAILQ_FIRST(&s->waiters), false);
}

static void op_mutex_unlock(struct env_mutex *m)
{
	mutex_give(mutex_of(m));
	sim_env_point();
}

static bool op_mutex_held(struct env_mutex *m) { return mutex_of(m)->owner == current; }

static struct sim_cond *cond_of(struct env_cond *c)
{
	struct sim_cond *s = c->sim;

	if (!s)
		s = c->sim = xcalloc(1, sizeof(*s));
	if (s->world != world) {
		s->world = world;
		TAILQ_INIT(&s->waiters);
	}
	return s;
}

static void op_cond_init(struct env_cond *c)
{
	c->sim = NULL;
	cond_of(c);
}

static void op_cond_release(struct env_cond *c)
{
	ASSERT(TAILQ_EMPTY(&cond_of(c)->waiters));
	free(c->sim);
	c->sim = NULL;
}

static bool cond_wait_until(struct env_cond *c, struct env_mutex *m, uint64_t deadline_ns)
{
	struct sim_cond *s = cond_of(c);
	bool signalled = true;

	mutex_give(mutex_of(m));
	if (rng_one_in(&rng, 50)) {
		make_ready(current); /* a spurious wake-up */
		schedule();
	} else {
		block(&s->waiters, deadline_ns, "a condition");
		signalled = !current->timed_out;
	}
	op_mutex_lock(m);
	return signalled;
}

static void op_cond_wait(struct env_cond *c, struct env_mutex *m) { cond_wait_until(c, m, NEVER); }

static bool op_cond_wait_for(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ns)
{
	return cond_wait_until(c, m, timeout_ns > NEVER - now_ns ? NEVER : now_ns + timeout_ns);
}

static void op_cond_signal(struct env_cond *c)
{
	struct sim_cond *s = cond_of(c);
	struct env_thread *f;
	uint64_t count = 0;

	TAILQ_FOREACH(f, &s->waiters, in_queue)
		count++;
	if (count) {
		count = rng_below(&rng, count);
		f = TAILQ_FIRST(&s->waiters);
		while (count--)
			f = TAILQ_NEXT(f, in_queue);
		wake(f, false);
	}
	sim_env_point();
}

static void op_cond_broadcast(struct env_cond *c)
{
	struct sim_cond *s = cond_of(c);

	while (!TAILQ_EMPTY(&s->waiters))
		wake(TAILQ_FIRST(&s->waiters), false);
	sim_env_point();
}

static const struct env_ops sim_ops = {
	.now_ns = op_now_ns,
	.wall_ns = op_wall_ns,
	.random = op_random,
	.thread_start = op_thread_start,
	.thread_join = op_thread_join,
	.thread_detach = op_thread_detach,
	.mutex_init = op_mutex_init,
	.mutex_release = op_mutex_release,
	.mutex_lock = op_mutex_lock,
	.mutex_unlock = op_mutex_unlock,
	.mutex_held = op_mutex_held,
	.cond_init = op_cond_init,
	.cond_release = op_cond_release,
	.cond_wait = op_cond_wait,
	.cond_wait_for = op_cond_wait_for,
	.cond_signal = op_cond_signal,
	.cond_broadcast = op_cond_broadcast,
	.sleep_ns = sleep_ns,
};

/* ---- worlds ---- */

void sim_env_start(uint64_t seed, unsigned one_in)
{
	rng_seed(&rng, seed);
	rng_seed(&random_rng, rng_u64(&rng));
	now_ns = 1000000000;
	wall_step_ns = 0;
	stats = (struct sim_env_stats){0};
	sim_env_set_switching(one_in);
	env_install(&sim_ops);
}

void sim_env_stop(void) { env_install(NULL); }

void sim_env_set_switching(unsigned one_in) { switch_one_in = MAX(one_in, 1u); }

struct first {
	void (*fn)(void *arg);
	void *arg;
};

static void first_main(void *arg)
{
	struct first *first = arg;

	first->fn(first->arg);
	ending = SIM_DONE;
	switch_to(&root);
	abort();
}

enum sim_end sim_env_run(void (*fn)(void *arg), void *arg)
{
	struct first first = {fn, arg};
	struct env_thread *f;

	ASSERT(current == &root);
	world++;
	world_switches = 0;
	world_start_ns = now_ns;
	least_deadline_ns = NEVER;
	ready_count = 0;
	TAILQ_INIT(&all);
	ended = NULL;
	f = fiber_new("main", first_main, &first);
	ready_count = 0;
	switch_to(f);
	/* Whatever else the world held stays as it is, never to run again; only stacks come back. */
	TAILQ_FOREACH(f, &all, in_all)
		stack_put(f->stack);
	TAILQ_INIT(&all);
	ready_count = 0;
	return ending;
}

void sim_env_cut(void)
{
	ending = SIM_CUT;
	switch_to(&root);
	abort();
}

const char *sim_env_stuck_text(void) { return stuck_text; }
const char *sim_env_fiber_name(void) { return current == &root ? "root" : current->name; }

uint64_t sim_env_now_ns(void) { return now_ns; }

void sim_env_set_clock(int64_t step_ns) { wall_step_ns = step_ns; }
struct sim_env_stats sim_env_stats(void) { return stats; }
