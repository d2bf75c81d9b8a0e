/* SPDX-License-Identifier: Apache-2.0 */
/* All disks of a run are set back to copies of themselves, and the pool directory is not (H10). */
#ifndef DFS_SIM_RUN_BACK_H
#define DFS_SIM_RUN_BACK_H

#include "sim/run.h"

void back_set_up(struct run *r);
/* The fiber that copies all disks at some moment of the round; NULL: not in this one. */
struct env_thread *back_start(struct run *r);
/* Before the pool is opened: with those copies it is refused, if the pool directory knows of more. */
void back_before_opening(struct run *r);

#endif
