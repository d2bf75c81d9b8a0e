/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of a run that are used elsewhere, and come back. */
#ifndef DFS_SIM_RUN_SPLIT_H
#define DFS_SIM_RUN_SPLIT_H

#include "sim/run.h"

void split_between_rounds(struct run *r);
/* The pool was opened without those disks. */
void split_opened_here(struct run *r, bool forced);
bool split_is_due(struct run *r);
MUST_USE int split_open(struct run *r, struct pool_message *msg);
bool split_other_won(struct run *r);

#endif
