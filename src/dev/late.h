/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filesystem whose statfs is late (Btrfs): what was allocated is counted, and what was given back is free, with its
 * next commit, up to half a minute later. So it is known here what all directories on it have taken and given back since a
 * commit that we made, and when another one is due before its word can be taken. Thread-safe.
 */
#ifndef DFS_DEV_LATE_H
#define DFS_DEV_LATE_H

#include "base/types.h"

struct late;
/* What has happened so far. */
struct late_mark {
	uint64_t moves, taken_bytes;
};

/* The same for all who name the same filesystem. */
struct late *late_get(uint64_t fs_id);
void late_put(struct late *l); /* NULL: nothing */
/* Something was given back, or taken: so much at most. NULL: nothing. */
void late_moved(struct late *l, uint64_t taken_bytes);
/* It is not known what it has, whatever its word: it refused what it calls free, or was used by others. */
void late_forget(struct late *l);
/* Must it commit before what it says (free_bytes) can be taken? Then late_committed() follows, with the mark. */
bool late_is_due(struct late *l, uint64_t free_bytes, uint64_t total_bytes,
		 struct late_mark *ret_mark);
void late_committed(struct late *l, const struct late_mark *mark);

#endif
