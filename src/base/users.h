/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What users ask of the filesystem, so that background work can make room for it: how many calls are under way, and for how
 * long any were. Thread-safe.
 */
#ifndef DFS_BASE_USERS_H
#define DFS_BASE_USERS_H

#include "base/env.h"

struct users {
	struct env_mutex lock; /* all below; a leaf */
	unsigned under_way;
	uint64_t since_ns; /* there are any */
	uint64_t busy_ns;  /* before that */
	uint64_t last_ns;  /* the last one ended; 0: there was none */
};
void users_init(struct users *u);
void users_release(struct users *u);
/* Around each call that a user waits for. */
void users_enter(struct users *u);
void users_leave(struct users *u);

struct users_load {
	uint64_t busy_ns; /* since the beginning: how long at least one call was under way */
	bool is_quiet;	  /* none is, nor was for the last second */
};
#define USERS_QUIET_NS 1000000000ull
void users_load(struct users *u, struct users_load *ret);

#endif
