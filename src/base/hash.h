/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE3. The only place that includes the library's header: format/, meta/ and codec/ all need the
 * same hash, and siblings never include each other, so it lies beneath them.
 */
#ifndef DFS_BASE_HASH_H
#define DFS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_LEN 32

struct hash {
	uint8_t b[HASH_LEN];
};

/* BLAKE3 of one byte string. Thread-safe, never fails. */
void hash_bytes(const void *data, size_t len, struct hash *ret_hash);
/* BLAKE3 of two byte strings, one after the other (either may be empty). */
void hash_two(const void *a, size_t a_len, const void *b, size_t b_len, struct hash *ret_hash);
/* The first eight bytes of hash_two, little-endian: for per-value checks and name hashes. */
uint64_t hash64_two(const void *a, size_t a_len, const void *b, size_t b_len);
/* BLAKE3 of many byte strings one after the other. */
struct iovec;
void hash_iov(const struct iovec *iov, int count, struct hash *ret_hash);

/* BLAKE3 of a byte string that comes piece by piece (whole files). Owned by the caller until
 * hash_stream_end. */
struct hash_stream;
struct hash_stream *hash_stream_new(void);
void hash_stream_add(struct hash_stream *s, const void *data, size_t len);
void hash_stream_end(struct hash_stream *s, struct hash *ret_hash); /* frees s */

#endif
