/* SPDX-License-Identifier: Apache-2.0 */
/* A person has a disk removed while the pool is in use, and may take that back (DR1 to DR7). */
#ifndef DFS_SIM_RUN_DRAIN_H
#define DFS_SIM_RUN_DRAIN_H

#include "sim/run.h"

void drain_set_up(struct run *r);
/* The person of this round; NULL: none. */
struct env_thread *drain_start(struct run *r);
/* The jobs run: disks are to become level, too, at times. */
void level_begin_one(struct run *r);
/* After an opening, and at a round's end: what has left stays away. */
void drain_check(struct run *r);

#endif
