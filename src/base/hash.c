/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE3, by the official C implementation with its assembly (github.com/BLAKE3-team/BLAKE3). The
 * hasher lies on the stack and init touches only its first few words, so that short inputs cost
 * little more than their compression. No state, no locks.
 */
#include "base/hash.h"

#include <blake3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/le.h"
#include "base/types.h"

_Static_assert(HASH_LEN == BLAKE3_OUT_LEN, "a hash is BLAKE3's default output");

void hash_bytes(const void *data, size_t len, struct hash *ret_hash)
{
	hash_two(data, len, NULL, 0, ret_hash);
}

void hash_two(const void *a, size_t a_len, const void *b, size_t b_len, struct hash *ret_hash)
{
	blake3_hasher hasher;

	blake3_hasher_init(&hasher);
	if (a_len)
		blake3_hasher_update(&hasher, a, a_len);
	if (b_len)
		blake3_hasher_update(&hasher, b, b_len);
	blake3_hasher_finalize(&hasher, ret_hash->b, HASH_LEN);
}

uint64_t hash64_two(const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct hash h;
	uint64_t v;

	hash_two(a, a_len, b, b_len, &h);
	memcpy(&v, h.b, sizeof(v));
	return le64toh(v);
}

void hash_iov(const struct iovec *iov, int count, struct hash *ret_hash)
{
	blake3_hasher hasher;

	blake3_hasher_init(&hasher);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len)
			blake3_hasher_update(&hasher, iov[i].iov_base, iov[i].iov_len);
	}
	blake3_hasher_finalize(&hasher, ret_hash->b, HASH_LEN);
}

struct hash_stream {
	blake3_hasher hasher;
};

struct hash_stream *hash_stream_new(void)
{
	struct hash_stream *s = xmalloc(sizeof(*s));

	blake3_hasher_init(&s->hasher);
	return s;
}

void hash_stream_add(struct hash_stream *s, const void *data, size_t len)
{
	if (len)
		blake3_hasher_update(&s->hasher, data, len);
}

void hash_stream_end(struct hash_stream *s, struct hash *ret_hash)
{
	blake3_hasher_finalize(&s->hasher, ret_hash->b, HASH_LEN);
	free(s);
}
