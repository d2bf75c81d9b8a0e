/* SPDX-License-Identifier: Apache-2.0 */
/* The lock of a pool directory: one process owns a pool at a time. */
#ifndef DFS_DEV_LOCK_H
#define DFS_DEV_LOCK_H

#include "base/err.h"

struct dir_lock;

/*
 * Takes DIR/lock (created when absent; flock, so it goes with the process). DFS_ELOCKED: another
 * process has it; *ret_pid is then its process id, or 0 when unknown. DFS_EROFS, DFS_EACCES,
 * DFS_ENOENT, DFS_EIO.
 */
MUST_USE int dir_lock_take(const char *dir, struct dir_lock **ret_lock, long *ret_pid);
/* The same, but writes nothing: where there is no such file, nobody is kept off, and *ret_lock is NULL. */
MUST_USE int dir_lock_take_as_it_is(const char *dir, struct dir_lock **ret_lock, long *ret_pid);
void dir_lock_release(struct dir_lock *l); /* NULL is allowed */

#endif
