/* SPDX-License-Identifier: Apache-2.0 */
/* Between index_rocks.c and index_rocks_read.c, the only files that know RocksDB. */
#ifndef DFS_META_INDEX_ROCKS_H
#define DFS_META_INDEX_ROCKS_H

#include <rocksdb/c.h>
#include <sys/stat.h>

#include "meta/pending.h"

struct index {
	char *dir;
	struct stat was; /* of the directory, when it was opened */
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read_options;
	rocksdb_readoptions_t *cached_options; /* only what is in memory */
	rocksdb_writeoptions_t *write_options;
	uint64_t compaction_limit; /* max_compaction_bytes */
	struct pending pending;

	struct env_mutex lock; /* a leaf */
	char suspect[32];      /* lock: the table file that the last checksum error was found in */
	uint64_t held_bytes;   /* lock: C5 */
};

/* Logs RocksDB's message, which it frees: the DFS_ code. */
MUST_USE int rocks_error(struct index *x, const char *doing, char *msg);

/* ---- index_rocks_read.c ---- */
/* pending_base_fn, of what is in memory: ctx is the index. */
bool rocks_may_have(void *ctx, const uint8_t *key, size_t key_len);
MUST_USE int rocks_get(struct index *x, const void *key, size_t key_len, struct buf *out);
struct index_iter *rocks_iter_new(struct index *x);
struct index_iter *rocks_iter_new_within(struct index *x, const void *prefix, size_t prefix_len);
void rocks_iter_free(struct index_iter *it);
void rocks_iter_seek(struct index_iter *it, const void *key, size_t key_len);
void rocks_iter_seek_back(struct index_iter *it, const void *key, size_t key_len);
bool rocks_iter_valid(struct index_iter *it);
void rocks_iter_next(struct index_iter *it);
void rocks_iter_prev(struct index_iter *it);
const uint8_t *rocks_iter_key(struct index_iter *it, size_t *ret_len);
const uint8_t *rocks_iter_value(struct index_iter *it, size_t *ret_len);
int rocks_iter_error(struct index_iter *it);

#endif
