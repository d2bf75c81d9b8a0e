/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers as they lie on disk, and bounded readers and writers of byte strings. */
#ifndef DFS_BASE_LE_H
#define DFS_BASE_LE_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/types.h"

/* On-disk integers: distinct structs, so that host and disk order can't be mixed up. */
typedef struct {
	uint16_t raw;
} __attribute__((packed)) le16;
typedef struct {
	uint32_t raw;
} __attribute__((packed)) le32;
typedef struct {
	uint64_t raw;
} __attribute__((packed)) le64;

static inline uint16_t le16_get(le16 v) { return le16toh(v.raw); }
static inline uint32_t le32_get(le32 v) { return le32toh(v.raw); }
static inline uint64_t le64_get(le64 v) { return le64toh(v.raw); }
static inline le16 le16_of(uint16_t v) { return (le16){htole16(v)}; }
static inline le32 le32_of(uint32_t v) { return (le32){htole32(v)}; }
static inline le64 le64_of(uint64_t v) { return (le64){htole64(v)}; }

/* Growable byte string. Zero-initialise; buf_release() frees. Appends never fail (xrealloc). */
struct buf {
	uint8_t *data;
	size_t len, cap;
};
void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* len = 0, keeps the memory */
/* Returns a pointer to len new bytes at the end, uninitialised; valid until the next append. */
void *buf_extend(struct buf *b, size_t len);
void buf_put(struct buf *b, const void *data, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_le16(struct buf *b, uint16_t v);
void buf_put_le32(struct buf *b, uint32_t v);
void buf_put_le64(struct buf *b, uint64_t v);
void buf_put_be32(struct buf *b, uint32_t v); /* keys: big-endian sorts by value */
void buf_put_be64(struct buf *b, uint64_t v);
#define BUF CLEANUP(buf_release) struct buf

/* Bounded reader: never reads past end; the first short read sets .bad and all later reads give 0. */
struct reader {
	const uint8_t *p, *end;
	bool bad;
};
static inline struct reader reader_of(const void *data, size_t len)
{
	/* C has no NULL + 0: an empty string at NULL is read from elsewhere. */
	const uint8_t *p = len ? data : "";

	return (struct reader){p, p + len, false};
}
static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->p); }
const void *reader_bytes(struct reader *r, size_t len);	   /* NULL (and bad) when short */
void reader_copy(struct reader *r, void *dst, size_t len); /* zero-fills when short */
uint8_t reader_u8(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);

#endif
