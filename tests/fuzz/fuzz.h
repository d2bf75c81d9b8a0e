/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. Checksums would stop random bytes at the door, so each target has a
 * mutator that seals its structure again after most mutations: the parsers are fuzzed as they ship.
 * A target fails by a sanitizer, by taking too long, or by REQUIRE.
 */
#ifndef DFS_TESTS_FUZZ_H
#define DFS_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

/* libFuzzer's interface */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

#define REQUIRE(e)                                                                                 \
	do {                                                                                       \
		if (!(e)) {                                                                        \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #e);     \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Writes the hash of len bytes, in which it lies itself at `at` as zeros. */
static inline void fuzz_seal(uint8_t *data, size_t len, size_t at)
{
	struct hash h;

	memset(data + at, 0, HASH_LEN);
	hash_bytes(data, len, &h);
	memcpy(data + at, h.b, HASH_LEN);
}

static inline uint16_t fuzz_get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline void fuzz_put16(uint8_t *p, uint16_t v)
{
	le16 d = le16_of(v);

	memcpy(p, &d, sizeof(d));
}
static inline uint32_t fuzz_get32(const uint8_t *p)
{
	le32 d;

	memcpy(&d, p, sizeof(d));
	return le32_get(d);
}
static inline void fuzz_put32(uint8_t *p, uint32_t v)
{
	le32 d = le32_of(v);

	memcpy(p, &d, sizeof(d));
}
static inline void fuzz_put64(uint8_t *p, uint64_t v)
{
	le64 d = le64_of(v);

	memcpy(p, &d, sizeof(d));
}

#endif
