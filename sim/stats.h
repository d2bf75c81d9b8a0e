/* SPDX-License-Identifier: Apache-2.0 */
/* How often each probe (base/probe.h) was hit, over the processes of all seeds. */
#ifndef DFS_SIM_STATS_H
#define DFS_SIM_STATS_H

#include <stdint.h>

/* Before the first seed: makes the memory that all seeds' processes share. */
void sim_stats_share(void);
/* In a seed's process, at its end. */
void sim_stats_add(void);
/* NAME COUNT a line, by name. */
void sim_stats_print(void);
/* In this process so far. */
uint64_t sim_stats_of(const char *name);

#endif
