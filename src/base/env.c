/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment: the real one by pthreads and the kernel's clocks, or the one that env_install()
 * put in its place. The choice is made once, before threads start, so that reading it needs no
 * lock. A failing pthread call is a programmer's mistake and ends the process.
 */
#include "base/env.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/types.h"
#include "base/uuid_clock.h"

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define START_TRIES 300
#define START_PAUSE_MS 100
#define simulated() __builtin_expect(env_sim != NULL, 0)

struct env_thread {
	pthread_t real;
	env_thread_fn fn;
	void *arg;
	atomic_bool is_passed; /* detached, ended: the first of the two sets it, the second frees */
};

const struct env_ops *env_sim;

void env_install(const struct env_ops *ops)
{
	env_sim = ops;
	uuid_clock_reset();
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	int err = clock_gettime(clock, &ts);

	ASSERT(err == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t env_now_ns(void) { return simulated() ? env_sim->now_ns() : clock_ns(CLOCK_MONOTONIC); }

uint64_t env_wall_ns(void) { return simulated() ? env_sim->wall_ns() : clock_ns(CLOCK_REALTIME); }

void env_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	if (simulated()) {
		env_sim->random(buf, len);
		return;
	}
	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0) {
			ASSERT(errno == EINTR);
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
}

uint64_t env_random_u64(void)
{
	uint64_t v;

	env_random(&v, sizeof(v));
	return v;
}

static void *run_thread(void *arg)
{
	struct env_thread *t = arg;

	t->fn(t->arg);
	/* joined: the joiner frees it, and nobody comes second here */
	if (atomic_exchange(&t->is_passed, true))
		free(t);
	return NULL;
}

/*
 * A new thread inherits its creator's signal mask: all that may arrive from outside is blocked while
 * it is created, so that such signals reach the thread that waits for them (the one with FUSE's
 * loop) and never interrupt a worker's I/O. What a thread's own fault raises stays open.
 */
static int create_with_signals_blocked(struct env_thread *t)
{
	static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	sigset_t blocked, before;
	int err;

	sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(own_faults); i++)
		sigdelset(&blocked, own_faults[i]);
	err = pthread_sigmask(SIG_SETMASK, &blocked, &before);
	ASSERT(err == 0);
	err = pthread_create(&t->real, NULL, run_thread, t);
	ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	return err;
}

/* NULL: *ret_errno says why. */
static struct env_thread *try_start(const char *name, env_thread_fn fn, void *arg, int tries,
				    int *ret_errno)
{
	struct env_thread *t = xmalloc(sizeof(*t));
	int err;

	*t = (struct env_thread){.fn = fn, .arg = arg};
	while ((err = create_with_signals_blocked(t)) == EAGAIN && --tries > 0)
		env_sleep_ms(START_PAUSE_MS);
	if (err) {
		free(t);
		*ret_errno = err;
		return NULL;
	}
	/* The name only helps a person who looks at the threads: failing to set it is harmless. */
	(void)pthread_setname_np(t->real, name);
	return t;
}

struct env_thread *env_thread_start(const char *name, env_thread_fn fn, void *arg)
{
	struct env_thread *t;
	int err = 0;

	ASSERT(strlen(name) <= 15);
	if (simulated())
		return env_sim->thread_start(name, fn, arg);
	/* Short of threads for the moment: better to wait than to end. */
	t = try_start(name, fn, arg, START_TRIES, &err);
	if (!t) {
		fprintf(stderr,
			"dynamicfs: cannot start thread '%s': %s; the process ends, nothing "
			"acknowledged is lost; raise the limit on processes (ulimit -u)\n",
			name, strerror(err));
		abort();
	}
	return t;
}

struct env_thread *env_thread_try_start(const char *name, env_thread_fn fn, void *arg)
{
	int err;

	ASSERT(strlen(name) <= 15);
	return simulated() ? env_sim->thread_start(name, fn, arg)
			   : try_start(name, fn, arg, 1, &err);
}

void env_thread_join(struct env_thread *t)
{
	int err;

	if (simulated()) {
		env_sim->thread_join(t);
		return;
	}
	err = pthread_join(t->real, NULL);
	ASSERT(err == 0);
	free(t);
}

void env_thread_detach(struct env_thread *t)
{
	int err;

	if (simulated()) {
		env_sim->thread_detach(t);
		return;
	}
	err = pthread_detach(t->real);
	ASSERT(err == 0);
	if (atomic_exchange(&t->is_passed, true))
		free(t);
}

void env_sleep_ms(uint64_t ms)
{
	struct timespec ts = {.tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};

	if (simulated()) {
		env_sim->sleep_ns(ms * NS_PER_MS);
		return;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

void env_mutex_init(struct env_mutex *m)
{
	int err;

	m->sim = NULL;
	if (simulated()) {
		env_sim->mutex_init(m);
		return;
	}
	err = pthread_mutex_init(&m->real, NULL);
	ASSERT(err == 0);
}

void env_mutex_release(struct env_mutex *m)
{
	int err;

	if (simulated()) {
		env_sim->mutex_release(m);
		return;
	}
	err = pthread_mutex_destroy(&m->real);
	ASSERT(err == 0); /* EBUSY: somebody still holds it */
}

void env_mutex_lock(struct env_mutex *m)
{
	int err;

	if (simulated()) {
		env_sim->mutex_lock(m);
		return;
	}
	err = pthread_mutex_lock(&m->real);
	ASSERT(err == 0);
}

void env_mutex_unlock(struct env_mutex *m)
{
	int err;

	if (simulated()) {
		env_sim->mutex_unlock(m);
		return;
	}
	err = pthread_mutex_unlock(&m->real);
	ASSERT(err == 0);
}

void env_assert_held(struct env_mutex *m)
{
	if (simulated()) {
		ASSERT(env_sim->mutex_held(m));
		return;
	}
	/*
	 * A plain mutex doesn't say who holds it. That it can be taken shows at least that nobody
	 * does, and catches most mistakes; the simulator knows exactly.
	 */
	ASSERT(pthread_mutex_trylock(&m->real) == EBUSY);
}

void env_unlock_cleanup(struct env_mutex **m) { env_mutex_unlock(*m); }

void env_cond_init(struct env_cond *c)
{
	pthread_condattr_t attr;
	int err;

	c->sim = NULL;
	if (simulated()) {
		env_sim->cond_init(c);
		return;
	}
	err = pthread_condattr_init(&attr);
	ASSERT(err == 0);
	err = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	ASSERT(err == 0);
	err = pthread_cond_init(&c->real, &attr);
	ASSERT(err == 0);
	pthread_condattr_destroy(&attr);
}

void env_cond_release(struct env_cond *c)
{
	int err;

	if (simulated()) {
		env_sim->cond_release(c);
		return;
	}
	err = pthread_cond_destroy(&c->real);
	ASSERT(err == 0);
}

void env_cond_wait(struct env_cond *c, struct env_mutex *m)
{
	int err;

	if (simulated()) {
		env_sim->cond_wait(c, m);
		return;
	}
	err = pthread_cond_wait(&c->real, &m->real);
	ASSERT(err == 0);
}

bool env_cond_wait_ms(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ms)
{
	/* A century is as good as forever, and keeps the sums below from wrapping. */
	uint64_t ms = MIN(timeout_ms, 100ULL * 366 * 24 * 3600 * 1000);
	uint64_t until_ns;
	struct timespec ts;
	int err;

	if (simulated())
		return env_sim->cond_wait_for(c, m, ms * NS_PER_MS);
	until_ns = clock_ns(CLOCK_MONOTONIC) + ms * NS_PER_MS;
	ts.tv_sec = (time_t)(until_ns / NS_PER_S);
	ts.tv_nsec = (long)(until_ns % NS_PER_S);
	err = pthread_cond_timedwait(&c->real, &m->real, &ts);
	ASSERT(err == 0 || err == ETIMEDOUT);
	return err == 0;
}

void env_cond_signal(struct env_cond *c)
{
	int err;

	if (simulated()) {
		env_sim->cond_signal(c);
		return;
	}
	err = pthread_cond_signal(&c->real);
	ASSERT(err == 0);
}

void env_cond_broadcast(struct env_cond *c)
{
	int err;

	if (simulated()) {
		env_sim->cond_broadcast(c);
		return;
	}
	err = pthread_cond_broadcast(&c->real);
	ASSERT(err == 0);
}
