/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A journal record: one transaction. Records are chained: each carries the hash of its predecessor,
 * so a torn, rotten or reordered tail is cut at the first break. docs/FORMAT.md "Journal record".
 *
 *   [fixed 128 bytes: magic version len seq pool durable prev writer hash][ops][pad to 8]
 *
 * Ops are absolute puts and deletes of index keys, and signed additions to counters.
 */
#ifndef DFS_FORMAT_JOURNAL_H
#define DFS_FORMAT_JOURNAL_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define JOURNAL_MAGIC 0x4c4e4a31u
#define JOURNAL_VERSION 1
#define JOURNAL_FIXED_LEN 128u
#define JOURNAL_MAX_RECORD MIB(1)
#define JOURNAL_MAX_KEY 512u
#define JOURNAL_MAX_VALUE KIB(128)

enum journal_op_kind {
	JOURNAL_PUT = 1,
	JOURNAL_DEL = 2,
	JOURNAL_ADD = 3
};
struct journal_op {
	enum journal_op_kind kind;
	const uint8_t *key; /* put, del: borrowed from the record */
	uint32_t key_len;
	const uint8_t *value; /* put */
	uint32_t value_len;
	uint32_t counter; /* add */
	int64_t delta;
};

/* Build: append ops to a buf, then frame it. */
void journal_put_op(struct buf *ops, const void *key, uint32_t key_len, const void *value,
		    uint32_t value_len);
void journal_del_op(struct buf *ops, const void *key, uint32_t key_len);
void journal_add_op(struct buf *ops, uint32_t counter, int64_t delta);
struct journal_frame {
	struct uuid pool;
	struct uuid
		writer; /* random, of one opening of the pool: no two histories make equal records */
	uint64_t seq;
	uint64_t durable; /* known to be durable when it was committed; below seq */
	struct hash prev;
};
/* Appends the framed record to out; ret_hash is its chain hash (the next record's prev). */
void journal_record_encode(const struct journal_frame *frame, const struct buf *ops,
			   struct buf *out, struct hash *ret_hash);

struct journal_record {
	uint64_t seq, durable;
	struct uuid writer;
	struct hash prev, hash;
	uint32_t total_len; /* to the next record */
	struct reader ops;  /* borrowed from data */
};
/* DFS_EEND: zeros or no bytes (a clean end); DFS_ECORRUPT, DFS_ECHECKSUM, DFS_EVERSION,
 * DFS_EFOREIGN (another pool's), DFS_E2BIG (goes past len: torn). */
MUST_USE int journal_record_parse(const void *data, size_t len, const struct uuid *pool,
				  struct journal_record *ret_record);
/* Of a record that journal_record_encode() has just made: its length; sequence number and hash where
 * wanted. */
size_t journal_record_own(const uint8_t *data, uint64_t *ret_seq, struct hash *ret_hash);
/* What the first bytes claim, unchecked: sequence number and length; 0 when a record can't begin so. For
 * a scan that needs to hash only what may matter. */
uint64_t journal_record_peek(const void *data, size_t len, const struct uuid *pool,
			     uint32_t *ret_total_len);
/* The next operation: 0, DFS_EEND, or DFS_ECORRUPT. */
MUST_USE int journal_next_op(struct reader *ops, struct journal_op *ret_op);

#endif
