/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clock, randomness, threads, mutexes and condition variables: the one seam to the machine besides
 * dev/ and the index, so that the simulator can run the whole engine as fibers under a seeded
 * scheduler. Real by default (pthreads); env_install() replaces it before anything else runs.
 * Engine code never uses pthreads, time() or random() directly, and no thread-local state.
 */
#ifndef DFS_BASE_ENV_H
#define DFS_BASE_ENV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct env_mutex {
	pthread_mutex_t real;
	void *sim; /* the simulator's own state */
};
struct env_cond {
	pthread_cond_t real; /* CLOCK_MONOTONIC */
	void *sim;
};
struct env_thread; /* opaque */
typedef void (*env_thread_fn)(void *arg);

struct env_ops {
	uint64_t (*now_ns)(void);  /* monotonic */
	uint64_t (*wall_ns)(void); /* since 1970-01-01 UTC */
	void (*random)(void *buf, size_t len);
	struct env_thread *(*thread_start)(const char *name, env_thread_fn fn, void *arg);
	void (*thread_join)(struct env_thread *t);
	void (*thread_detach)(struct env_thread *t);
	void (*mutex_init)(struct env_mutex *m);
	void (*mutex_release)(struct env_mutex *m);
	void (*mutex_lock)(struct env_mutex *m);
	void (*mutex_unlock)(struct env_mutex *m);
	bool (*mutex_held)(struct env_mutex *m); /* by the caller; real env: best effort (true) */
	void (*cond_init)(struct env_cond *c);
	void (*cond_release)(struct env_cond *c);
	void (*cond_wait)(struct env_cond *c, struct env_mutex *m);
	/* false when timeout_ns passed without a signal */
	bool (*cond_wait_for)(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ns);
	void (*cond_signal)(struct env_cond *c);
	void (*cond_broadcast)(struct env_cond *c);
	void (*sleep_ns)(uint64_t ns);
};

/* ops is borrowed for the life of the process; NULL restores the real one. */
void env_install(const struct env_ops *ops);
/* NULL when the real environment is in force. */
extern const struct env_ops *env_sim;

uint64_t env_now_ns(void);
uint64_t env_wall_ns(void);
void env_random(void *buf, size_t len);
uint64_t env_random_u64(void);
/* Tries for half a minute, then ends the process with a message if the thread can't be started. The name is at most 15 bytes.
 * Signals from outside (SIGTERM, ...) are blocked in the thread: they go to those that exist. */
struct env_thread *env_thread_start(const char *name, env_thread_fn fn, void *arg);
/* NULL if it can't be started: for what can be left undone. */
struct env_thread *env_thread_try_start(const char *name, env_thread_fn fn, void *arg);
void env_thread_join(struct env_thread *t); /* also frees t */
/* Nobody will wait for it: it frees itself at its end. For threads that may hang in a system call. */
void env_thread_detach(struct env_thread *t);
void env_sleep_ms(uint64_t ms);

void env_mutex_init(struct env_mutex *m);
void env_mutex_release(struct env_mutex *m);
void env_cond_init(struct env_cond *c);
void env_cond_release(struct env_cond *c);
void env_cond_wait(struct env_cond *c, struct env_mutex *m);
bool env_cond_wait_ms(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ms);
void env_cond_signal(struct env_cond *c);
void env_cond_broadcast(struct env_cond *c);
void env_mutex_lock(struct env_mutex *m);
void env_mutex_unlock(struct env_mutex *m);
void env_assert_held(struct env_mutex *m);

/* `ENV_LOCKED(&m);` holds m to the end of the scope. */
void env_unlock_cleanup(struct env_mutex **m);
#define ENV_CAT2(a, b) a##b
#define ENV_CAT(a, b) ENV_CAT2(a, b)
#define ENV_LOCKED(mutex)                                                                          \
	__attribute__((cleanup(env_unlock_cleanup), unused)) struct env_mutex *ENV_CAT(            \
		env_locked_, __LINE__) = (env_mutex_lock(mutex), (mutex))

#endif
