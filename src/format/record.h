/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fragment record, as it lies in a segment: docs/FORMAT.md section "Fragment record".
 *
 *   [fixed header 256 bytes][pieces: n x 16][block hashes: b x 32][pad to 64][payload][pad to 512]
 *
 * The header's own BLAKE3 covers all bytes of header, pieces and block hashes with the hash field as
 * zeros; the index holds the same hash, so index -> header -> block is a Merkle tree (P3). A record
 * describes itself: without any index, records give the files' contents back.
 */
#ifndef DFS_FORMAT_RECORD_H
#define DFS_FORMAT_RECORD_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define RECORD_MAGIC 0x4752464453464431ull /* "1DFSDFRG" little-endian */
#define RECORD_VERSION 1
#define RECORD_FIXED_LEN 256u
#define RECORD_BLOCK_BYTES 16384u /* a block of payload with a hash of its own */
#define RECORD_MAX_PIECES 256u
#define RECORD_MAX_PAYLOAD MIB(1)
#define RECORD_MAX_BLOCKS (RECORD_MAX_PAYLOAD / RECORD_BLOCK_BYTES)
#define RECORD_MAX_HEADER_LEN (RECORD_FIXED_LEN + 16u * RECORD_MAX_PIECES + 32u * RECORD_MAX_BLOCKS)
#define RECORD_MAX_LEN ((uint32_t)ALIGN_UP(RECORD_MAX_HEADER_LEN + RECORD_MAX_PAYLOAD, 512))

/* A run of file bytes inside the extent; pieces lie one after the other in the extent. */
struct record_piece {
	uint64_t file_offset;
	uint32_t len;
};

struct record_header { /* in memory */
	struct uuid pool;
	extent_id extent;
	ino_id ino;
	uint64_t generation;  /* the pool's at writing */
	uint32_t extent_len;  /* bytes of file data in the extent */
	uint32_t payload_len; /* bytes of this fragment */
	uint8_t k, m, index;  /* index: 0..k+m-1 */
	uint8_t codec;	      /* 0: k == 1 copies, 1: Reed-Solomon Cauchy (ISA-L) */
	uint8_t compression;  /* 0: none */
	disk_id disk;	      /* own address */
	uint32_t segment, offset;
	uint64_t written_ns; /* wall clock; 0: not known. How old an orphan is */
	uint16_t piece_count;
	struct record_piece *pieces; /* owned by the caller (write) or by this (parse) */
	uint32_t block_count;
	struct hash *blocks; /* likewise; block_count = ceil(payload_len / RECORD_BLOCK_BYTES) */
};
void record_header_release(struct record_header *h); /* frees pieces and blocks of a parsed one */

/* Bytes of each fragment's payload, for an extent of extent_len bytes cut in k (codec_fragment_len). */
uint32_t record_payload_len(unsigned k, uint32_t extent_len);
/* Bytes before the payload, a multiple of 64. */
uint32_t record_header_len(unsigned piece_count, unsigned block_count);
/* Bytes of the whole record, a multiple of 512. */
uint32_t record_len(unsigned piece_count, uint32_t payload_len);
/* Hashes the payload's blocks into out (ceil(len / RECORD_BLOCK_BYTES) of them). */
void record_hash_blocks(const void *payload, uint32_t len, struct hash *out);
/* Writes record_header_len() bytes to out and gives the header's hash. h must be valid (asserted). */
void record_header_encode(const struct record_header *h, uint8_t *out, struct hash *ret_hash);
/*
 * Parses and validates len bytes (at least RECORD_FIXED_LEN, may be more than the header).
 * DFS_ECORRUPT, DFS_EVERSION, DFS_ECHECKSUM; DFS_E2BIG when the header is longer than len:
 * *ret_need is then its length. Never reads past len, never trusts a length (P10).
 */
MUST_USE int record_header_parse(const void *data, size_t len, struct record_header *ret_header,
				 struct hash *ret_hash, uint32_t *ret_need);

#endif
