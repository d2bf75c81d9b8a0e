/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool directory needs of the filesystem that it lies on, and whether that can do it. */
#ifndef DFS_DEV_HOME_H
#define DFS_DEV_HOME_H

#include "base/err.h"
#include "base/types.h"

#define HOME_FREE_BYTES_MIN MIB(16) /* for a new pool */
#define HOME_OPEN_BYTES_MIN MIB(4)  /* for opening one; C5 keeps as much */

/*
 * Tries in DIR all that a pool does there: write, map, lock, link and rename files, and bind a socket; and are so
 * many bytes free? Leaves nothing behind. 0, or what is missing: DFS_EROFS, DFS_ENOSPC, DFS_EACCES, DFS_ENOTSUP, DFS_EIO;
 * `why` says it for a person ("its filesystem (vfat) can't make hard links"). Thread-safe.
 */
MUST_USE int home_check(const char *dir, uint64_t bytes, char *why, size_t why_len);

#endif
