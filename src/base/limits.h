/* SPDX-License-Identifier: Apache-2.0 */
/* The limits that the system sets to this process (setrlimit(2), cgroups): raised as far as may be, then asked. */
#ifndef DFS_BASE_LIMITS_H
#define DFS_BASE_LIMITS_H

#include <stddef.h>

#include "base/err.h"

/* Raises the soft limits on open files and file size, and makes writing past the latter an error
 * (EFBIG), not the process's end. At the start of each process. */
void limits_raise(void);
/* How many files may be open, never less than 64. Caches of open files are a part of it. Thread-safe. */
unsigned limits_open_files(void);
/*
 * Is there enough for a pool with so many disks? 0, or DFS_EFBIG (file size), DFS_EBUSY (open files, threads),
 * DFS_ENOMEM (memory), with `why` for a person. Before the pool's own threads are started.
 */
MUST_USE int limits_check(unsigned disks, char *why, size_t why_len);

#endif
