/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable byte strings and bounded readers (P10: no length found on a disk leads a reader past the
 * end of what was read from it). No locks: each struct belongs to one thread.
 */
#include "base/le.h"

#include <stdlib.h>

#include "base/types.h"

void buf_release(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

void buf_reset(struct buf *b) { b->len = 0; }

void *buf_extend(struct buf *b, size_t len)
{
	void *p;

	ASSERT(len <= SIZE_MAX / 2 - b->len);
	if (b->len + len > b->cap) {
		b->cap = MAX(MAX(b->len + len, b->cap + b->cap / 2), (size_t)64);
		b->data = xrealloc(b->data, b->cap);
	}
	if (!b->data) {
		/* len is 0, and so is cap: still not NULL, so that memcpy may be called with it. */
		b->cap = 64;
		b->data = xmalloc(b->cap);
	}
	p = b->data + b->len;
	b->len += len;
	return p;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	if (len)
		memcpy(buf_extend(b, len), data, len);
}

void buf_put_u8(struct buf *b, uint8_t v) { buf_put(b, &v, sizeof(v)); }

void buf_put_le16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_le32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_le64(struct buf *b, uint64_t v)
{
	v = htole64(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_be32(struct buf *b, uint32_t v)
{
	v = htobe32(v);
	buf_put(b, &v, sizeof(v));
}

void buf_put_be64(struct buf *b, uint64_t v)
{
	v = htobe64(v);
	buf_put(b, &v, sizeof(v));
}

const void *reader_bytes(struct reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->bad || len > reader_left(r)) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	return p;
}

void reader_copy(struct reader *r, void *dst, size_t len)
{
	const void *p = reader_bytes(r, len);

	if (!len)
		return;
	if (p)
		memcpy(dst, p, len);
	else
		memset(dst, 0, len);
}

uint8_t reader_u8(struct reader *r)
{
	uint8_t v;

	reader_copy(r, &v, sizeof(v));
	return v;
}

uint16_t reader_le16(struct reader *r)
{
	uint16_t v;

	reader_copy(r, &v, sizeof(v));
	return le16toh(v);
}

uint32_t reader_le32(struct reader *r)
{
	uint32_t v;

	reader_copy(r, &v, sizeof(v));
	return le32toh(v);
}

uint64_t reader_le64(struct reader *r)
{
	uint64_t v;

	reader_copy(r, &v, sizeof(v));
	return le64toh(v);
}

uint32_t reader_be32(struct reader *r)
{
	uint32_t v;

	reader_copy(r, &v, sizeof(v));
	return be32toh(v);
}

uint64_t reader_be64(struct reader *r)
{
	uint64_t v;

	reader_copy(r, &v, sizeof(v));
	return be64toh(v);
}
