/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the live index, for whoever must not change anything in the pool directory: opening an index writes to it, and replays
 * the journal there. The copy lies in a directory of its own below a scratch directory, and goes when it is freed; one whose process
 * died is removed by the next one that is made there. Thread-safe.
 */
#ifndef DFS_META_INDEX_COPY_H
#define DFS_META_INDEX_COPY_H

#include "base/err.h"
#include "base/types.h"

struct index_copy;

/*
 * from: the index's directory; one that is not there is not copied. Bytes are copied, never linked: a link changes the file that it is of.
 * *ret_bytes: what it takes, also with DFS_ENOSPC: there is no room for it. DFS_ENOENT and such: of the scratch directory, or of
 * reading the index.
 */
MUST_USE int index_copy_make(const char *from, const char *scratch, struct index_copy **ret,
			     uint64_t *ret_bytes);
/* The directory to be opened as the index. Borrowed. */
const char *index_copy_dir(const struct index_copy *c);
void index_copy_free(struct index_copy *c); /* NULL is allowed */

#endif
