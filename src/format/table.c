/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of a table fragment: bytes to structure and back. Keeps P10: everything that follows from
 * size and geometry is computed, not believed. Pure functions without locks; knows nothing of devices.
 */
#include "format/table.h"

#include <stdio.h>

#include "format/check.h"

#define TABLE_MAGIC 0x4c42415453464431ull /* "1DFSTABL" little-endian */
#define TABLE_VERSION 1
#define FRAGMENT_ALIGN 64u

struct dfs_table_fixed {
	le64 magic;	     /* 0 */
	le16 version;	     /* 8 */
	le16 flags;	     /* 10: 0 */
	le32 header_len;     /* 12 */
	uint8_t pool[16];    /* 16 */
	le64 size_bytes;     /* 32 */
	le64 payload_len;    /* 40 */
	le32 block_bytes;    /* 48 */
	le32 block_count;    /* 52 */
	uint8_t k;	     /* 56 */
	uint8_t m;	     /* 57 */
	uint8_t index;	     /* 58 */
	uint8_t codec;	     /* 59: 0 copies, 1 Reed-Solomon */
	le32 pad0;	     /* 60: 0 */
	char name[64];	     /* 64: zeros after the name */
	uint8_t content[32]; /* 128 */
	uint8_t hash[32];    /* 160: of header_len bytes with this field as zeros */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_table_fixed) == TABLE_HEADER_FIXED, "table header size");
_Static_assert(offsetof(struct dfs_table_fixed, k) == 56, "k");
_Static_assert(offsetof(struct dfs_table_fixed, name) == 64, "name");
_Static_assert(offsetof(struct dfs_table_fixed, hash) == 160, "hash");
_Static_assert(TABLE_HEADER_FIXED + TABLE_MAX_BYTES / TABLE_BLOCK_BYTES * HASH_LEN < GIB(1),
	       "header bounds");

struct table_shape table_shape(uint64_t size_bytes, unsigned k)
{
	uint64_t stripe = (uint64_t)k * TABLE_BLOCK_BYTES, rest = size_bytes % stripe;
	struct table_shape s = {.payload_len = size_bytes / stripe * TABLE_BLOCK_BYTES};

	ASSERT(k >= 1 && k <= TABLE_MAX_K && size_bytes <= TABLE_MAX_BYTES);
	s.payload_len += k == 1 ? rest : ALIGN_UP(DIV_UP(rest, k), FRAGMENT_ALIGN);
	s.block_count = (uint32_t)DIV_UP(s.payload_len, TABLE_BLOCK_BYTES);
	s.header_len = (uint32_t)ALIGN_UP(TABLE_HEADER_FIXED + (uint64_t)s.block_count * HASH_LEN,
					  FRAGMENT_ALIGN);
	return s;
}

uint32_t table_block_len(const struct table_shape *s, uint32_t i)
{
	ASSERT(i < s->block_count);
	return (uint32_t)MIN(TABLE_BLOCK_BYTES, s->payload_len - (uint64_t)i * TABLE_BLOCK_BYTES);
}

static bool header_valid(const struct table_header *h)
{
	return !uuid_is_null(&h->pool) && check_name(h->name, sizeof(h->name)) &&
	       h->size_bytes <= TABLE_MAX_BYTES && h->k >= 1 && h->k <= TABLE_MAX_K &&
	       h->m <= TABLE_MAX_M && h->index < h->k + h->m;
}

void table_header_encode(const struct table_header *h, struct buf *out, struct hash *ret_hash)
{
	struct table_shape s = table_shape(h->size_bytes, h->k);
	struct dfs_table_fixed f = {
		.magic = le64_of(TABLE_MAGIC),
		.version = le16_of(TABLE_VERSION),
		.header_len = le32_of(s.header_len),
		.size_bytes = le64_of(h->size_bytes),
		.payload_len = le64_of(s.payload_len),
		.block_bytes = le32_of(TABLE_BLOCK_BYTES),
		.block_count = le32_of(s.block_count),
		.k = h->k,
		.m = h->m,
		.index = h->index,
		.codec = h->k > 1,
	};
	uint8_t *start;

	ASSERT(header_valid(h));
	memcpy(f.pool, h->pool.b, sizeof(f.pool));
	memcpy(f.name, h->name, strnlen(h->name, sizeof(f.name)));
	memcpy(f.content, h->hash.b, HASH_LEN);
	start = buf_extend(out, s.header_len);
	memset(start, 0, s.header_len);
	memcpy(start, &f, sizeof(f));
	if (s.block_count)
		memcpy(start + sizeof(f), h->blocks, (size_t)s.block_count * HASH_LEN);
	hash_bytes(start, s.header_len, ret_hash);
	memcpy(start + offsetof(struct dfs_table_fixed, hash), ret_hash->b, HASH_LEN);
}

static int fields_parse(const struct dfs_table_fixed *f, struct table_header *h)
{
	struct table_shape s;

	memcpy(h->pool.b, f->pool, sizeof(f->pool));
	memcpy(h->name, f->name, sizeof(h->name));
	memcpy(h->hash.b, f->content, HASH_LEN);
	h->size_bytes = le64_get(f->size_bytes);
	h->k = f->k;
	h->m = f->m;
	h->index = f->index;
	if (!header_valid(h) || !check_tail(f->name, sizeof(f->name)) || le16_get(f->flags) != 0 ||
	    le32_get(f->pad0) != 0)
		return DFS_ECORRUPT;
	if (f->codec != (f->k > 1))
		return f->codec > 1 ? DFS_EVERSION : DFS_ECORRUPT;
	s = table_shape(h->size_bytes, h->k);
	if (le32_get(f->block_bytes) != TABLE_BLOCK_BYTES ||
	    le64_get(f->payload_len) != s.payload_len ||
	    le32_get(f->block_count) != s.block_count || le32_get(f->header_len) != s.header_len)
		return DFS_ECORRUPT;
	return 0;
}

int table_header_parse(const void *data, size_t len, struct table_header *ret_header,
		       struct hash *ret_hash)
{
	const uint8_t *p = data;
	struct dfs_table_fixed f, zeroed;
	struct table_header h = {0};
	struct hash hash;
	uint32_t header_len, used;
	int err;

	if (len < sizeof(f))
		return DFS_ECORRUPT;
	memcpy(&f, p, sizeof(f));
	header_len = le32_get(f.header_len);
	if (le64_get(f.magic) != TABLE_MAGIC || header_len < sizeof(f) || header_len > len)
		return DFS_ECORRUPT;
	zeroed = f;
	memset(zeroed.hash, 0, HASH_LEN);
	hash_two(&zeroed, sizeof(zeroed), p + sizeof(f), header_len - sizeof(f), &hash);
	if (memcmp(hash.b, f.hash, HASH_LEN) != 0)
		return DFS_ECHECKSUM;
	if (le16_get(f.version) != TABLE_VERSION)
		return DFS_EVERSION;
	err = fields_parse(&f, &h);
	if (err)
		return err;
	used = (uint32_t)sizeof(f) + le32_get(f.block_count) * HASH_LEN;
	if (!check_zero(p + used, header_len - used))
		return DFS_ECORRUPT;
	h.blocks = p + sizeof(f);
	*ret_header = h;
	*ret_hash = hash;
	return 0;
}

void table_stored_name(const char *name, const struct hash *hash, unsigned k, unsigned m,
		       unsigned index, char stored[TABLE_STORED_LEN])
{
	snprintf(stored, TABLE_STORED_LEN, "%016llx-%u.%u.%u",
		 (unsigned long long)hash64_two(name, strnlen(name, TABLE_NAME_LEN), hash->b,
						HASH_LEN),
		 k, m, index);
}
