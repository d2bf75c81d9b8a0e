/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts how often a state worth knowing was reached: `PROBE("journal-full");`. What a test suite never
 * reaches it does not test, so the simulator prints all of them, the zeros too (--stats).
 *
 * Each use defines its own counter in a section of the program, which probes_each() walks: no table to
 * keep, nothing to register. It costs one relaxed addition, and belongs on paths that are rare (errors,
 * recovery, retries), not on those of each read or write. Safe from any thread.
 */
#ifndef DFS_BASE_PROBE_H
#define DFS_BASE_PROBE_H

#include <stdint.h>

struct probe {
	const char *name; /* words with hyphens; the same name at several places counts together */
	uint64_t hits;
};

#define PROBE(text)                                                                                \
	do {                                                                                       \
		static struct probe probe_here                                                     \
			__attribute__((section("dfs_probes"), used)) = {text, 0};                  \
		__atomic_fetch_add(&probe_here.hits, 1, __ATOMIC_RELAXED);                         \
	} while (0)

/* Every probe of the program, in the order of linking. */
void probes_each(void (*fn)(void *ctx, struct probe *p), void *ctx);

#endif
