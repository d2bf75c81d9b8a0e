/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal records and the operations in them: bytes to structure and back. Keeps P2 (a record is
 * whole or is nothing; the chain orders them) and P10. Pure functions without locks; knows nothing
 * of devices or of what keys mean.
 */
#include "format/journal.h"

#include "format/check.h"

struct dfs_journal_fixed {
	le32 magic;	    /* 0 */
	le16 version;	    /* 4 */
	le16 flags;	    /* 6: 0 */
	le32 total_len;	    /* 8: of the record, a multiple of 8 */
	le32 ops_len;	    /* 12 */
	le64 seq;	    /* 16 */
	uint8_t pool[16];   /* 24 */
	le64 durable;	    /* 40: below seq */
	uint8_t prev[32];   /* 48 */
	uint8_t writer[16]; /* 80 */
	uint8_t hash[32];   /* 96: of total_len bytes with this field as zeros */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_journal_fixed) == JOURNAL_FIXED_LEN, "journal record size");
_Static_assert(offsetof(struct dfs_journal_fixed, seq) == 16, "seq");
_Static_assert(offsetof(struct dfs_journal_fixed, pool) == 24, "pool");
_Static_assert(offsetof(struct dfs_journal_fixed, durable) == 40, "durable");
_Static_assert(offsetof(struct dfs_journal_fixed, prev) == 48, "prev");
_Static_assert(offsetof(struct dfs_journal_fixed, writer) == 80, "writer");
_Static_assert(offsetof(struct dfs_journal_fixed, hash) == 96, "hash");

struct dfs_journal_op { /* then key_len bytes of key (put, del), arg bytes of value (put) */
	uint8_t kind;	/* 0 */
	uint8_t pad0;	/* 1: 0 */
	le16 key_len;	/* 2: 0 for add */
	le32 arg;	/* 4: put: length of the value; add: counter; del: 0 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_journal_op) == 8, "journal operation size");

static uint8_t *op_begin(struct buf *ops, enum journal_op_kind kind, uint32_t key_len, uint32_t arg,
			 size_t body_len)
{
	struct dfs_journal_op o = {
		.kind = (uint8_t)kind, .key_len = le16_of((uint16_t)key_len), .arg = le32_of(arg)};
	uint8_t *p = buf_extend(ops, sizeof(o) + body_len);

	memcpy(p, &o, sizeof(o));
	return p + sizeof(o);
}

void journal_put_op(struct buf *ops, const void *key, uint32_t key_len, const void *value,
		    uint32_t value_len)
{
	uint8_t *p;

	ASSERT(key_len >= 1 && key_len <= JOURNAL_MAX_KEY && value_len <= JOURNAL_MAX_VALUE);
	p = op_begin(ops, JOURNAL_PUT, key_len, value_len, (size_t)key_len + value_len);
	memcpy(p, key, key_len);
	if (value_len)
		memcpy(p + key_len, value, value_len);
}

void journal_del_op(struct buf *ops, const void *key, uint32_t key_len)
{
	ASSERT(key_len >= 1 && key_len <= JOURNAL_MAX_KEY);
	memcpy(op_begin(ops, JOURNAL_DEL, key_len, 0, key_len), key, key_len);
}

void journal_add_op(struct buf *ops, uint32_t counter, int64_t delta)
{
	le64 d = le64_of((uint64_t)delta);

	memcpy(op_begin(ops, JOURNAL_ADD, 0, counter, sizeof(d)), &d, sizeof(d));
}

void journal_record_encode(const struct journal_frame *frame, const struct buf *ops,
			   struct buf *out, struct hash *ret_hash)
{
	struct dfs_journal_fixed f = {
		.magic = le32_of(JOURNAL_MAGIC),
		.version = le16_of(JOURNAL_VERSION),
		.ops_len = le32_of((uint32_t)ops->len),
		.seq = le64_of(frame->seq),
		.durable = le64_of(frame->durable),
	};
	size_t total = ALIGN_UP(sizeof(f) + ops->len, 8);
	struct hash hash;
	uint8_t *p;

	ASSERT(ops != out && total <= JOURNAL_MAX_RECORD && frame->durable < frame->seq);
	f.total_len = le32_of((uint32_t)total);
	memcpy(f.pool, frame->pool.b, sizeof(f.pool));
	memcpy(f.prev, frame->prev.b, HASH_LEN);
	memcpy(f.writer, frame->writer.b, sizeof(f.writer));
	p = buf_extend(out, total);
	memset(p + total - 8, 0, 8);
	memcpy(p, &f, sizeof(f));
	if (ops->len)
		memcpy(p + sizeof(f), ops->data, ops->len);
	hash_bytes(p, total, &hash);
	memcpy(p + offsetof(struct dfs_journal_fixed, hash), hash.b, HASH_LEN);
	*ret_hash = hash;
}

int journal_next_op(struct reader *ops, struct journal_op *ret_op)
{
	struct journal_op op = {0};
	struct dfs_journal_op o;
	uint32_t arg;

	if (!ops->bad && reader_left(ops) == 0)
		return DFS_EEND;
	reader_copy(ops, &o, sizeof(o));
	arg = le32_get(o.arg);
	op.key_len = le16_get(o.key_len);
	if (ops->bad || o.pad0 != 0)
		goto corrupt;
	switch (o.kind) {
	case JOURNAL_PUT:
	case JOURNAL_DEL:
		op.kind = o.kind == JOURNAL_PUT ? JOURNAL_PUT : JOURNAL_DEL;
		if (op.key_len < 1 || op.key_len > JOURNAL_MAX_KEY || arg > JOURNAL_MAX_VALUE)
			goto corrupt;
		if (op.kind == JOURNAL_DEL && arg != 0)
			goto corrupt;
		op.key = reader_bytes(ops, op.key_len);
		op.value_len = arg;
		if (op.kind == JOURNAL_PUT)
			op.value = reader_bytes(ops, arg);
		break;
	case JOURNAL_ADD:
		op.kind = JOURNAL_ADD;
		op.counter = arg;
		op.delta = (int64_t)reader_le64(ops);
		if (op.key_len != 0)
			goto corrupt;
		break;
	default:
		goto corrupt;
	}
	if (ops->bad)
		goto corrupt;
	*ret_op = op;
	return 0;
corrupt:
	ops->bad = true;
	return DFS_ECORRUPT;
}

/* One bad operation spoils its record: a transaction is whole or is nothing (P2). */
static int ops_check(struct reader ops)
{
	struct journal_op op;
	int r;

	do {
		r = journal_next_op(&ops, &op);
	} while (r == 0);
	return r == DFS_EEND ? 0 : r;
}

/* What can be said of bytes too few for a fixed part. */
static int short_parse(const uint8_t *data, size_t len)
{
	le32 magic = le32_of(JOURNAL_MAGIC);

	if (check_zero(data, len))
		return DFS_EEND;
	return memcmp(data, &magic, MIN(len, sizeof(magic))) == 0 ? DFS_E2BIG : DFS_ECORRUPT;
}

int journal_record_parse(const void *data, size_t len, const struct uuid *pool,
			 struct journal_record *ret_record)
{
	const uint8_t *p = data;
	struct dfs_journal_fixed f, zeroed;
	struct journal_record rec = {0};
	uint32_t ops_len;

	if (len < sizeof(f))
		return short_parse(p, len);
	memcpy(&f, p, sizeof(f));
	if (le32_get(f.magic) != JOURNAL_MAGIC)
		return check_zero(&f, sizeof(f)) ? DFS_EEND : DFS_ECORRUPT;
	rec.total_len = le32_get(f.total_len);
	if (rec.total_len < sizeof(f) || rec.total_len > JOURNAL_MAX_RECORD || rec.total_len % 8)
		return DFS_ECORRUPT;
	if (rec.total_len > len)
		return DFS_E2BIG;
	zeroed = f;
	memset(zeroed.hash, 0, HASH_LEN);
	hash_two(&zeroed, sizeof(zeroed), p + sizeof(f), rec.total_len - sizeof(f), &rec.hash);
	if (memcmp(rec.hash.b, f.hash, HASH_LEN) != 0)
		return DFS_ECHECKSUM;
	if (le16_get(f.version) != JOURNAL_VERSION)
		return DFS_EVERSION;
	if (memcmp(f.pool, pool->b, sizeof(f.pool)) != 0)
		return DFS_EFOREIGN;
	ops_len = le32_get(f.ops_len);
	if (ALIGN_UP((uint64_t)sizeof(f) + ops_len, 8) != rec.total_len || le16_get(f.flags) != 0 ||
	    le64_get(f.durable) >= le64_get(f.seq))
		return DFS_ECORRUPT;
	if (!check_zero(p + sizeof(f) + ops_len, rec.total_len - sizeof(f) - ops_len))
		return DFS_ECORRUPT;
	rec.seq = le64_get(f.seq);
	rec.durable = le64_get(f.durable);
	memcpy(rec.writer.b, f.writer, sizeof(f.writer));
	memcpy(rec.prev.b, f.prev, HASH_LEN);
	rec.ops = reader_of(p + sizeof(f), ops_len);
	if (ops_check(rec.ops))
		return DFS_ECORRUPT;
	*ret_record = rec;
	return 0;
}

uint64_t journal_record_peek(const void *data, size_t len, const struct uuid *pool,
			     uint32_t *ret_total_len)
{
	struct dfs_journal_fixed f;
	uint32_t total;

	if (len < sizeof(f))
		return 0;
	memcpy(&f, data, sizeof(f.magic));
	if (le32_get(f.magic) != JOURNAL_MAGIC)
		return 0;
	memcpy(&f, data, sizeof(f));
	total = le32_get(f.total_len);
	if (total < sizeof(f) || total > JOURNAL_MAX_RECORD || total % 8 ||
	    memcmp(f.pool, pool->b, sizeof(f.pool)) != 0)
		return 0;
	*ret_total_len = total;
	return le64_get(f.seq);
}

size_t journal_record_own(const uint8_t *data, uint64_t *ret_seq, struct hash *ret_hash)
{
	struct dfs_journal_fixed f;

	memcpy(&f, data, sizeof(f));
	ASSERT(le32_get(f.magic) == JOURNAL_MAGIC);
	if (ret_seq)
		*ret_seq = le64_get(f.seq);
	if (ret_hash)
		memcpy(ret_hash->b, f.hash, HASH_LEN);
	return le32_get(f.total_len);
}
