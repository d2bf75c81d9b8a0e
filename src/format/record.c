/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fragment record's header: bytes to structure and back. Keeps P3 (the header's hash covers the
 * blocks' hashes) and P10 (nothing on disk is trusted before its checksum and its ranges are). Pure
 * functions without locks; knows nothing of devices or of the index.
 */
#include "format/record.h"

#include <stdlib.h>

#include "format/check.h"

struct dfs_record_fixed {
	le64 magic;	     /* 0 */
	le16 version;	     /* 8 */
	le16 flags;	     /* 10: 0 */
	le32 header_len;     /* 12 */
	le32 record_len;     /* 16 */
	le32 payload_len;    /* 20 */
	uint8_t pool[16];    /* 24 */
	uint8_t extent[16];  /* 40 */
	le64 ino;	     /* 56 */
	le64 generation;     /* 64 */
	le32 extent_len;     /* 72 */
	uint8_t k;	     /* 76 */
	uint8_t m;	     /* 77 */
	uint8_t index;	     /* 78 */
	uint8_t codec;	     /* 79 */
	uint8_t compression; /* 80 */
	uint8_t pad0;	     /* 81: 0 */
	le16 piece_count;    /* 82 */
	le32 block_count;    /* 84 */
	le32 block_bytes;    /* 88: RECORD_BLOCK_BYTES */
	le32 disk;	     /* 92 */
	le32 segment;	     /* 96 */
	le32 offset;	     /* 100 */
	le64 written_ns;     /* 104 */
	uint8_t pad1[112];   /* 112: 0 */
	uint8_t hash[32];    /* 224: of header_len bytes with this field as zeros */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_record_fixed) == RECORD_FIXED_LEN, "record header size");
_Static_assert(offsetof(struct dfs_record_fixed, header_len) == 12, "header_len");
_Static_assert(offsetof(struct dfs_record_fixed, pool) == 24, "pool");
_Static_assert(offsetof(struct dfs_record_fixed, extent_len) == 72, "extent_len");
_Static_assert(offsetof(struct dfs_record_fixed, piece_count) == 82, "piece_count");
_Static_assert(offsetof(struct dfs_record_fixed, disk) == 92, "disk");
_Static_assert(offsetof(struct dfs_record_fixed, written_ns) == 104, "written_ns");
_Static_assert(offsetof(struct dfs_record_fixed, hash) == 224, "hash");

struct dfs_record_piece {
	le64 file_offset; /* 0 */
	le32 len;	  /* 8 */
	le32 pad0;	  /* 12: 0 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_record_piece) == 16, "piece size");
_Static_assert(sizeof(struct hash) == 32, "hash size");

enum {
	CODEC_ID_COPIES = 0,
	CODEC_ID_RS_CAUCHY = 1
};

void record_header_release(struct record_header *h)
{
	free(h->pieces);
	free(h->blocks);
	h->pieces = NULL;
	h->blocks = NULL;
	h->piece_count = 0;
	h->block_count = 0;
}

/* Bytes in use at the header's start; from there to record_header_len() lie zeros. */
static uint32_t header_used(unsigned piece_count, unsigned block_count)
{
	return RECORD_FIXED_LEN + (uint32_t)sizeof(struct dfs_record_piece) * piece_count +
	       HASH_LEN * block_count;
}

uint32_t record_payload_len(unsigned k, uint32_t extent_len)
{
	if (k == 1)
		return extent_len;
	return (uint32_t)ALIGN_UP(DIV_UP((uint64_t)extent_len, k), 64);
}

uint32_t record_header_len(unsigned piece_count, unsigned block_count)
{
	return (uint32_t)ALIGN_UP(header_used(piece_count, block_count), 64);
}

uint32_t record_len(unsigned piece_count, uint32_t payload_len)
{
	unsigned blocks = DIV_UP(payload_len, RECORD_BLOCK_BYTES);

	return (uint32_t)ALIGN_UP((uint64_t)record_header_len(piece_count, blocks) + payload_len,
				  512);
}

void record_hash_blocks(const void *payload, uint32_t len, struct hash *out)
{
	const uint8_t *p = payload;

	for (uint32_t off = 0; off < len; off += RECORD_BLOCK_BYTES)
		hash_bytes(p + off, MIN(len - off, RECORD_BLOCK_BYTES), out++);
}

/* Everything but the pieces themselves, whose count must be right first. */
static bool scalars_valid(const struct record_header *h)
{
	uint32_t len;

	if (h->k < 1 || h->k > 16 || h->m > 8 || h->index >= h->k + h->m)
		return false;
	if (h->codec != (h->k == 1 ? CODEC_ID_COPIES : CODEC_ID_RS_CAUCHY) || h->compression != 0)
		return false;
	if (h->extent_len < 1 || h->extent_len > RECORD_MAX_PAYLOAD)
		return false;
	if (h->payload_len != record_payload_len(h->k, h->extent_len))
		return false;
	if (h->block_count != DIV_UP(h->payload_len, RECORD_BLOCK_BYTES))
		return false;
	if (h->piece_count < 1 || h->piece_count > RECORD_MAX_PIECES)
		return false;
	if (h->ino.v == 0 || !disk_id_valid(h->disk) || uuid_is_null(&h->pool) ||
	    uuid_is_null(&h->extent.u))
		return false;
	len = record_len(h->piece_count, h->payload_len);
	return h->offset % 512 == 0 && (uint64_t)h->offset + len <= UINT32_MAX;
}

static bool piece_valid(const struct record_piece *p)
{
	return p->len >= 1 && p->file_offset <= INT64_MAX && p->len <= INT64_MAX - p->file_offset;
}

static bool header_valid(const struct record_header *h)
{
	uint64_t sum = 0;

	if (!scalars_valid(h) || !h->pieces || !h->blocks)
		return false;
	for (unsigned i = 0; i < h->piece_count; i++) {
		if (!piece_valid(&h->pieces[i]))
			return false;
		sum += h->pieces[i].len;
	}
	return sum == h->extent_len;
}

void record_header_encode(const struct record_header *h, uint8_t *out, struct hash *ret_hash)
{
	struct dfs_record_fixed f = {
		.magic = le64_of(RECORD_MAGIC),
		.version = le16_of(RECORD_VERSION),
		.header_len = le32_of(record_header_len(h->piece_count, h->block_count)),
		.record_len = le32_of(record_len(h->piece_count, h->payload_len)),
		.payload_len = le32_of(h->payload_len),
		.ino = le64_of(h->ino.v),
		.generation = le64_of(h->generation),
		.extent_len = le32_of(h->extent_len),
		.k = h->k,
		.m = h->m,
		.index = h->index,
		.codec = h->codec,
		.compression = h->compression,
		.piece_count = le16_of(h->piece_count),
		.block_count = le32_of(h->block_count),
		.block_bytes = le32_of(RECORD_BLOCK_BYTES),
		.disk = le32_of(h->disk.v),
		.segment = le32_of(h->segment),
		.offset = le32_of(h->offset),
		.written_ns = le64_of(h->written_ns),
	};
	uint32_t used = header_used(h->piece_count, h->block_count);
	uint32_t total = record_header_len(h->piece_count, h->block_count);
	uint8_t *p = out + sizeof(f);

	ASSERT(header_valid(h));
	memcpy(f.pool, h->pool.b, sizeof(f.pool));
	memcpy(f.extent, h->extent.u.b, sizeof(f.extent));
	memcpy(out, &f, sizeof(f));
	for (unsigned i = 0; i < h->piece_count; i++, p += sizeof(struct dfs_record_piece)) {
		struct dfs_record_piece d = {.file_offset = le64_of(h->pieces[i].file_offset),
					     .len = le32_of(h->pieces[i].len)};

		memcpy(p, &d, sizeof(d));
	}
	memcpy(p, h->blocks, (size_t)h->block_count * HASH_LEN);
	memset(out + used, 0, total - used);
	hash_bytes(out, total, ret_hash);
	memcpy(out + offsetof(struct dfs_record_fixed, hash), ret_hash->b, HASH_LEN);
}

/* Reads the fixed part's fields and checks them against each other. */
static int fixed_parse(const struct dfs_record_fixed *f, struct record_header *h)
{
	*h = (struct record_header){
		.ino = {le64_get(f->ino)},
		.generation = le64_get(f->generation),
		.extent_len = le32_get(f->extent_len),
		.payload_len = le32_get(f->payload_len),
		.k = f->k,
		.m = f->m,
		.index = f->index,
		.codec = f->codec,
		.compression = f->compression,
		.disk = {le32_get(f->disk)},
		.segment = le32_get(f->segment),
		.offset = le32_get(f->offset),
		.written_ns = le64_get(f->written_ns),
		.piece_count = le16_get(f->piece_count),
		.block_count = le32_get(f->block_count),
	};
	memcpy(h->pool.b, f->pool, sizeof(f->pool));
	memcpy(h->extent.u.b, f->extent, sizeof(f->extent));
	if (h->codec > CODEC_ID_RS_CAUCHY || h->compression != 0)
		return DFS_EVERSION;
	if (!scalars_valid(h) || le16_get(f->flags) != 0 || f->pad0 != 0 ||
	    le32_get(f->block_bytes) != RECORD_BLOCK_BYTES || !check_zero(f->pad1, sizeof(f->pad1)))
		return DFS_ECORRUPT;
	if (le32_get(f->header_len) != record_header_len(h->piece_count, h->block_count) ||
	    le32_get(f->record_len) != record_len(h->piece_count, h->payload_len))
		return DFS_ECORRUPT;
	return 0;
}

/* Pieces, hashes and padding: all of len, which is the header's length, has been checked to be there. */
static int tail_parse(const uint8_t *data, uint32_t len, struct record_header *h)
{
	const uint8_t *p = data + sizeof(struct dfs_record_fixed);
	uint32_t used = header_used(h->piece_count, h->block_count);
	uint64_t sum = 0;

	if (!check_zero(data + used, len - used))
		return DFS_ECORRUPT;
	h->pieces = xmalloc(h->piece_count * sizeof(*h->pieces));
	h->blocks = xmalloc(h->block_count * sizeof(*h->blocks));
	for (unsigned i = 0; i < h->piece_count; i++, p += sizeof(struct dfs_record_piece)) {
		struct dfs_record_piece d;

		memcpy(&d, p, sizeof(d));
		h->pieces[i] = (struct record_piece){.file_offset = le64_get(d.file_offset),
						     .len = le32_get(d.len)};
		if (!piece_valid(&h->pieces[i]) || le32_get(d.pad0) != 0)
			goto corrupt;
		sum += h->pieces[i].len;
	}
	if (sum != h->extent_len)
		goto corrupt;
	memcpy(h->blocks, p, h->block_count * sizeof(*h->blocks));
	return 0;
corrupt:
	record_header_release(h);
	return DFS_ECORRUPT;
}

int record_header_parse(const void *data, size_t len, struct record_header *ret_header,
			struct hash *ret_hash, uint32_t *ret_need)
{
	/* A copy: the hash is taken over contiguous bytes, and what was hashed is what is parsed. */
	uint8_t copy[RECORD_MAX_HEADER_LEN];
	struct dfs_record_fixed f;
	struct record_header h;
	struct hash hash;
	uint32_t total;
	int r;

	if (len < sizeof(f))
		return DFS_ECORRUPT;
	memcpy(&f, data, sizeof(f));
	if (le64_get(f.magic) != RECORD_MAGIC)
		return DFS_ECORRUPT;
	total = le32_get(f.header_len);
	if (total < sizeof(f) || total > RECORD_MAX_HEADER_LEN || total % 64 != 0)
		return DFS_ECORRUPT;
	if (total > len) {
		*ret_need = total;
		return DFS_E2BIG;
	}
	memcpy(copy, &f, sizeof(f));
	memset(copy + offsetof(struct dfs_record_fixed, hash), 0, HASH_LEN);
	memcpy(copy + sizeof(f), (const uint8_t *)data + sizeof(f), total - sizeof(f));
	hash_bytes(copy, total, &hash);
	if (memcmp(hash.b, f.hash, HASH_LEN) != 0)
		return DFS_ECHECKSUM;
	if (le16_get(f.version) != RECORD_VERSION)
		return DFS_EVERSION;
	r = fixed_parse(&f, &h);
	if (r == 0)
		r = tail_parse(copy, total, &h);
	if (r)
		return r;
	*ret_header = h;
	*ret_hash = hash;
	return 0;
}
