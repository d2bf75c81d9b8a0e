/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much one compaction can write, told from the tables that there are (T7).
 */
#ifndef DFS_META_INDEX_MERGE_H
#define DFS_META_INDEX_MERGE_H

#include "base/types.h"

struct merge_table {
	unsigned level;
	uint64_t size_bytes;
	const uint8_t *first, *last; /* keys */
	size_t first_len, last_len;
};

/*
 * At most so many bytes of tables go into one compaction. limit_bytes: max_compaction_bytes. flush_bytes: of one more table
 * of level 0, which may overlap with all. Sorts the tables.
 */
uint64_t index_merge_most(struct merge_table *tables, size_t count, uint64_t limit_bytes,
			  uint64_t flush_bytes);

#endif
