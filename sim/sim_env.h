/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated environment: threads are fibers, and one seeded scheduler says which runs; the
 * clock is virtual and jumps when all wait. Plain blocking code runs deterministically: the same
 * seed gives the same history. A world is what lives between two power cuts.
 */
#ifndef DFS_SIM_ENV_H
#define DFS_SIM_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/rng.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

enum sim_end {
	SIM_DONE,  /* the function returned */
	SIM_CUT,   /* sim_env_cut() was called: power is gone */
	SIM_STUCK, /* every fiber waits without a timeout, or nothing ever ends: a failure */
};

struct sim_env_stats {
	uint64_t switches, fibers, points;
};

/* Installs the environment. switch_one_in: how often a scheduling point switches. */
void sim_env_start(uint64_t seed, unsigned switch_one_in);
/* Back to the real environment. */
void sim_env_stop(void);
/*
 * Runs fn in a new world, until it returns. What is left of a world that ended otherwise is
 * abandoned as it stands: its memory is never freed, its locks stay held, as after a power cut.
 */
enum sim_end sim_env_run(void (*fn)(void *arg), void *arg);
/* Ends the world at once. Does not return. */
void sim_env_cut(void) __attribute__((noreturn));
/* A scheduling point: other fibers may run. */
void sim_env_point(void);
/* As a point, and time_ns of virtual time pass. */
void sim_env_delay(uint64_t time_ns);
/* Changes how often points switch. */
void sim_env_set_switching(unsigned one_in);
/* Why the last world got stuck: every fiber and what it waits for. */
const char *sim_env_stuck_text(void);
/* The name of the fiber that runs. */
const char *sim_env_fiber_name(void);

uint64_t sim_env_now_ns(void);
/* The wall clock is set to so much before or after what it would be. */
void sim_env_set_clock(int64_t step_ns);
struct sim_env_stats sim_env_stats(void);

#endif
