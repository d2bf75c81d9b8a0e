/* SPDX-License-Identifier: Apache-2.0 */
/* What rots on all disks of a run at once. */
#ifndef DFS_SIM_RUN_ROT_H
#define DFS_SIM_RUN_ROT_H

#include "sim/run.h"

bool run_is_rotten(const struct run *r);
/* First of all that happens between rounds: what the last round has seen is over. */
void rot_settle(struct run *r);
/* Last of all that happens between rounds. */
void rot_between_rounds(struct run *r);
/* An opening without force gave err. True: so it must be. loss: what it says (NULL: not told). */
bool rot_refused(struct run *r, int err, const struct meta_loss *loss);
/* It was opened, and what is rotten may be missing: nothing proves that it had been acknowledged, or force was
 * used once. */
bool rot_cuts(struct run *r);

/* Before an opening, and after it: was it refused since journals could not be read? They can since. */
void rot_unread_begin(struct run *r);
void rot_unread_end(struct run *r);
bool rot_unread_refused(struct run *r, int err);

#endif
