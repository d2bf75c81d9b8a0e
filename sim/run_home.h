/* SPDX-License-Identifier: Apache-2.0 */
/* What befalls the pool directory of a run (run_home.c), and what is found that is not ours (run_foreign.c). */
#ifndef DFS_SIM_RUN_HOME_H
#define DFS_SIM_RUN_HOME_H

#include "base/env.h"
#include "sim/run.h"

/* The index as it lies in the pool directory; its argument: struct index_mem_store **. */
const struct index_ops *home_index_ops(void);
/* s: taken over; NULL: an empty one. */
void home_index_replace(struct run *r, struct index_mem_store *s);
/* Some pool directories lie on a small filesystem. */
void home_set_up(struct run *r);
void home_round_begins(struct run *r);
/* Is this error what a pool directory that is not well gives to one who needs room, or does not? */
bool home_explains(struct run *r, int err, bool needs_room);
/* The same for who adds or fails a disk, and is told that pool.json can't be written. */
bool home_explains_order(struct run *r, int err);
/* The same for one that may have met it long ago, and was held up since by a disk that hangs. */
bool home_was_met(struct run *r, int err);
/* Perhaps a fiber that makes it fail for a while; to be joined. */
struct env_thread *home_start(struct run *r);
/* Opens the pool while the pool directory is not well. */
MUST_USE int home_open_ill(struct run *r, const struct pool_open_options *opt,
			   struct pool_message *msg);
/* A backup is made, and comes back. */
void home_keep_image(struct run *r);
void home_restore(struct run *r);

/* ---- run_foreign.c ---- */
void foreign_make(struct run *r);
/* While it is made: whose paths are whose. */
int foreign_open_dev(struct run *r, const char *path, struct dev **ret_dev);
/* Instead of what is there. */
void foreign_put_disk(struct run *r, struct run_disk *d);
/* None has been written to. */
void foreign_check_disks(struct run *r);
/* What must be refused is, and what comes back otherwise than it was is put there. */
void foreign_before_opening(struct run *r);

#endif
