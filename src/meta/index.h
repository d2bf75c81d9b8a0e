/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: an ordered key-value store, as a vtable, so that the simulator can replace RocksDB by
 * an in-memory map. It is a cache with memory: it may lose everything since its last flush (the
 * journal has it), and may be thrown away whole (the fragments on the disks have it). It never flushes what the
 * journal has not made durable: only flush() and close() persist anything.
 *
 * Thread-safe: any number of readers; apply() calls come one at a time.
 */
#ifndef DFS_META_INDEX_H
#define DFS_META_INDEX_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

struct index;
struct index_iter;

struct index_op {
	const uint8_t *key;
	size_t key_len;
	const uint8_t *value; /* NULL: delete */
	size_t value_len;
};
/* One file of a flushed image. Return nonzero to stop. */
typedef int (*index_file_fn)(void *ctx, const char *name, uint64_t size_bytes);
/* Is this file stored on the disks already? */
typedef bool (*index_stored_fn)(void *ctx, const char *name, uint64_t size_bytes);

/* Is a file of the image written once? Others may change under their name. */
static inline bool index_written_once(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".sst") == 0;
}

/* About how large tables are of an index that is flushed each flush_bytes: small ones for small pools,
 * where the old and the new of a compaction must lie side by side. */
static inline uint64_t index_table_bytes(uint64_t flush_bytes)
{
	return MIN(MAX(2 * flush_bytes, KIB(512)), MIB(32));
}
/* compact() ends one compaction after it has made the first of these many bytes; none is meant to be larger than the
 * second, but what merge_most() says counts. */
#define INDEX_COMPACT_TABLES 4u
#define INDEX_COMPACTION_TABLES 12u

/* What compact() is to keep to. */
struct index_merging {
	uint64_t enough_bytes; /* of files that are not stored: then nothing more begins */
	index_stored_fn is_stored;
	uint64_t (*room)(
		void *ctx); /* for files that are not stored: asked once, when something is due */
	void *ctx;
};

#define INDEX_PREFIX_MAX 32
struct index_ops {
	/* Opens or creates. flush_bytes: about how much is changed between two flushes; sizes follow
	 * from it. DFS_ECHECKSUM / DFS_ECORRUPT: unsound, to be destroyed and restored. */
	int (*open)(void *arg, uint64_t flush_bytes, struct index **ret_index);
	/* Removes every trace of it, so that open() makes an empty one. */
	int (*destroy)(void *arg);
	/* persist: flush first; else drop what is not flushed as far as possible. */
	void (*close)(struct index *x, bool persist);
	/* All or nothing, visible to later reads when it returns. */
	int (*apply)(struct index *x, const struct index_op *ops, size_t count);
	int (*get)(struct index *x, const void *key, size_t key_len, struct buf *out);
	struct index_iter *(*iter_new)(struct index *x);
	/* As iter_new, for a caller that looks only at keys which begin with prefix (at most
	 * INDEX_PREFIX_MAX bytes): the iterator may end at the others, so that what has been deleted
	 * beside costs nothing. NULL: iter_new is used. */
	struct index_iter *(*iter_new_within)(struct index *x, const void *prefix,
					      size_t prefix_len);
	void (*iter_free)(struct index_iter *it);
	void (*iter_seek)(struct index_iter *it, const void *key, size_t key_len);
	void (*iter_seek_back)(struct index_iter *it, const void *key, size_t key_len);
	bool (*iter_valid)(struct index_iter *it);
	void (*iter_next)(struct index_iter *it);
	void (*iter_prev)(struct index_iter *it);
	const uint8_t *(*iter_key)(struct index_iter *it, size_t *ret_len);
	const uint8_t *(*iter_value)(struct index_iter *it, size_t *ret_len);
	int (*iter_error)(struct index_iter *it);
	/* Could it be flushed now, as far as that can be told at little cost? may_write: by writing a little, too. 0, or
	 * what flush() would say. NULL: yes. */
	int (*check)(struct index *x, bool may_write);
	/* Persists everything applied before the call (later batches may go along, each whole). An error: it is as it
	 * was, and may succeed later. DFS_ENOSPC, DFS_EROFS, DFS_EACCES, DFS_EIO: of the filesystem. DFS_EGONE: the
	 * files are not where they were any more. */
	int (*flush)(struct index *x);
	/* Merges what was flushed, as far as that is due and has room, and drops what was deleted; it happens
	 * nowhere else. *ret_more: there is more to do, and room for it once this is stored. An error: some of it failed, and the
	 * index is as good as before. */
	int (*compact)(struct index *x, const struct index_merging *how, bool *ret_more);
	/* The most that one compaction can write of the files that there are now and flush_bytes more. NULL: not
	 * known, INDEX_COMPACTION_TABLES then. */
	uint64_t (*merge_most)(struct index *x, uint64_t flush_bytes);
	/* A frozen image of the last flush: lists its files, reads them, lets them go. One at a time.
	 * A name that ends in .sst is written once: as long as the index is open, the same name and
	 * size mean the same content. */
	int (*image_begin)(struct index *x, index_file_fn fn, void *ctx);
	int (*image_read)(struct index *x, const char *name, uint64_t off, void *buf, size_t len);
	void (*image_end)(struct index *x);
	/* Its files are known to be wrong and can't be healed: the next open() must say
	 * DFS_ECHECKSUM. */
	void (*condemn)(struct index *x);
	/* The table file in which a checksum error was found last; false: not known. */
	bool (*suspect)(struct index *x, char *ret_name, size_t size);
	/* Writes right bytes over those of one of its table files, in place, while it is open. */
	int (*heal_write)(struct index *x, const char *name, uint64_t off, const void *buf,
			  size_t len);
	/* Marks that lie with the index's files and are lost with them: manifests of which it is known
	 * that the files here are just those that they name. May be lost, never wrong. */
	void (*set_marks)(struct index *x, const struct hash *marks, unsigned count);
	bool (*has_mark)(struct index *x, const struct hash *mark);
	/* Restore: between restore_begin (destroys what is there) and restore_end, files are written
	 * whole; afterwards open() opens them. */
	int (*restore_begin)(void *arg);
	int (*restore_write)(void *arg, const char *name, uint64_t off, const void *buf,
			     size_t len);
	int (*restore_end)(void *arg);
};

extern const struct index_ops index_rocks_ops; /* arg: const char *directory */
extern const struct index_ops index_mem_ops;   /* arg: struct index_mem_store *, below */

/* The in-memory index's "disk": survives close/open within a process, loses what was not flushed. */
struct index_mem_store;
struct index_mem_store *index_mem_store_new(void);
/* What it has flushed, as a backup has it. */
struct index_mem_store *index_mem_store_copy(struct index_mem_store *s);
void index_mem_store_free(struct index_mem_store *s);
/* What it takes on its "disk", and what flush() would add to that now. */
uint64_t index_mem_store_bytes(struct index_mem_store *s);
uint64_t index_mem_flush_bytes(struct index_mem_store *s);
/* Power cut: the open index (if any) is abandoned; only the last flush remains. */
void index_mem_store_crash(struct index_mem_store *s);

#endif
