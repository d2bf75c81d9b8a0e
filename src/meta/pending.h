/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has changed in an index since its last flush, over what was flushed (the base): the newest word about each key, at most
 * one, and none about a key that came and went meanwhile. So the cost of looking at a part of the index does not grow with what
 * was changed there in the past: a list of versions and deletions, as RocksDB's memtable is, has to be walked over.
 *
 * Two trees: what is being changed now, and while it is written to the base, what was frozen for that. A reader takes
 * both, and a snapshot of the base, under `lock`; what is in both counts as the newer says, and the base as neither denies. To
 * write the frozen tree to the base changes nothing that such a reader sees.
 *
 * Locks: changing (one change or freezing at a time), then lock (the pointers; a leaf but for the base's own).
 */
#ifndef DFS_META_PENDING_H
#define DFS_META_PENDING_H

#include "base/env.h"
#include "meta/index.h"
#include "meta/tree.h"

#define PENDING_TREES 2u

struct pending {
	struct env_mutex changing, lock;
	uint64_t salt; /* of the trees; constant */
	struct tree *trees
		[PENDING_TREES]; /* counted; lock. The newer first, then the frozen one or NULL. */
	uint64_t bytes[PENDING_TREES]; /* about what they take in a table; lock */
};

/* May the base have the key? Never false when it has. */
typedef bool (*pending_base_fn)(void *ctx, const uint8_t *key, size_t key_len);

void pending_init(struct pending *p);
void pending_release(struct pending *p);
/* All of it, visible at once. */
void pending_apply(struct pending *p, const struct index_op *ops, size_t count,
		   pending_base_fn in_base, void *ctx);
/* What is said about a key, counted; NULL: ask the base. */
struct tree_entry *pending_find(struct pending *p, const void *key, size_t key_len);
/* What is to be written to the base, counted; NULL: nothing. What could not be written the last time comes first, and alone. */
struct tree *pending_freeze(struct pending *p);
/* The base has all of it now. */
void pending_written(struct pending *p);
/* About how many bytes the next tables will have. */
uint64_t pending_bytes(struct pending *p);

#endif
