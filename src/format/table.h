/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fragment of one table file of the index (DISK/dynamicfs/meta/tables/NAME): a header that
 * describes itself, then the payload. docs/FORMAT.md "Table fragments".
 *
 * The table file is cut into stripes of k * TABLE_BLOCK_BYTES bytes; block i of a fragment is its part
 * of stripe i, with a hash of its own. So writing and reading need the memory of one stripe, and rot at
 * different places of any number of fragments costs nothing as long as each stripe has k whole blocks.
 */
#ifndef DFS_FORMAT_TABLE_H
#define DFS_FORMAT_TABLE_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define TABLE_BLOCK_BYTES 65536u
#define TABLE_MAX_BYTES GIB(64)
#define TABLE_MAX_K 16u
#define TABLE_MAX_M 8u
#define TABLE_MAX_WIDTH (TABLE_MAX_K + TABLE_MAX_M)
#define TABLE_NAME_LEN 64u
#define TABLE_HEADER_FIXED 192u
#define TABLE_STORED_LEN 40u /* "0123456789abcdef-16.8.23" */

struct table_shape { /* what follows from a table's size and k */
	uint64_t payload_len;
	uint32_t block_count;
	uint32_t header_len;
};
/* size_bytes <= TABLE_MAX_BYTES, k from 1 to TABLE_MAX_K. */
struct table_shape table_shape(uint64_t size_bytes, unsigned k);
/* Length of block i of any fragment: a block of the stripe that holds the table's last bytes may be
 * shorter, and together the k data blocks may be longer than what is left (padded with zeros). */
uint32_t table_block_len(const struct table_shape *s, uint32_t i);

struct table_header {
	struct uuid pool;
	char name[TABLE_NAME_LEN]; /* as the index knows it */
	uint64_t size_bytes;	   /* of the table file */
	struct hash hash;	   /* of the table file */
	uint8_t k, m, index;
	const uint8_t *blocks; /* shape.block_count hashes, one after the other */
};
/* Appends the header; *ret_hash is what the manifest says of the fragment. */
void table_header_encode(const struct table_header *h, struct buf *out, struct hash *ret_hash);
/* blocks of *ret_header: borrowed from data. *ret_hash: the verified hash of the header. */
MUST_USE int table_header_parse(const void *data, size_t len, struct table_header *ret_header,
				struct hash *ret_hash);
/* The name under which a fragment lies on its disk: it stands for just these bytes. */
void table_stored_name(const char *name, const struct hash *hash, unsigned k, unsigned m,
		       unsigned index, char stored[TABLE_STORED_LEN]);

#endif
