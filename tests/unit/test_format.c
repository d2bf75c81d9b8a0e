/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parsers of format/: round trips, bounds, and P10: whatever byte is flipped and wherever a
 * structure is cut, it is refused. Input lies at the end of an exactly sized allocation, so that a
 * sanitizer sees a read past it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "format/journal.h"
#include "format/manifest.h"
#include "format/record.h"
#include "format/root.h"

static struct uuid uuid_of(uint8_t seed)
{
	struct uuid u;

	for (unsigned i = 0; i < sizeof(u.b); i++)
		u.b[i] = (uint8_t)(seed + i + 1);
	return u;
}

static struct hash hash_of(uint8_t seed)
{
	struct hash h;

	hash_bytes(&seed, 1, &h);
	return h;
}

/* Parses an exact copy of the bytes, so that a sanitizer guards both of its ends. */
typedef int (*parse_fn)(const void *data, size_t len);
static int parse_copy(parse_fn parse, const uint8_t *data, size_t len)
{
	FREE uint8_t *copy = xmalloc(len ? len : 1);

	memcpy(copy, data, len);
	return parse(copy, len);
}

/* Each bit of each byte flipped (step > 1: of some), and each shorter length: all are refused. */
static void refuse_flips(parse_fn parse, const uint8_t *data, size_t len)
{
	FREE uint8_t *copy = xmalloc(len);

	assert_int_equal(parse_copy(parse, data, len), 0);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit += (len > 1000 ? 3 : 1)) {
			memcpy(copy, data, len);
			copy[i] ^= (uint8_t)(1u << bit);
			if (parse_copy(parse, copy, len) == 0)
				fail_msg("byte %zu with bit %u flipped was accepted", i, bit);
		}
	}
}

static void refuse_cuts(parse_fn parse, const uint8_t *data, size_t len)
{
	for (size_t n = 0; n < len; n++)
		if (parse_copy(parse, data, n) == 0)
			fail_msg("%zu of %zu bytes were accepted", n, len);
}

/* Writes the structure's hash anew after a field was changed on purpose. */
static void reseal(uint8_t *data, size_t len, size_t hash_at, size_t covered)
{
	struct hash h;

	memset(data + hash_at, 0, HASH_LEN);
	hash_bytes(data, covered ? covered : len, &h);
	memcpy(data + hash_at, h.b, HASH_LEN);
}

/* ---- fragment record ---- */

struct record_case {
	struct record_header h;
	struct record_piece pieces[RECORD_MAX_PIECES];
	struct hash blocks[RECORD_MAX_BLOCKS];
	uint8_t bytes[RECORD_MAX_HEADER_LEN];
	uint32_t len;
	struct hash hash;
};

static void record_make(struct record_case *c, uint8_t k, uint8_t m, uint32_t extent_len,
			uint16_t pieces)
{
	uint32_t payload = k == 1 ? extent_len : (uint32_t)ALIGN_UP(DIV_UP(extent_len, k), 64);

	memset(c, 0, sizeof(*c));
	c->h = (struct record_header){
		.pool = uuid_of(1),
		.extent = {uuid_of(2)},
		.ino = {77},
		.generation = 5,
		.extent_len = extent_len,
		.payload_len = payload,
		.k = k,
		.m = m,
		.index = (uint8_t)(k + m - 1),
		.codec = k == 1 ? 0 : 1,
		.disk = {3},
		.segment = 9,
		.offset = 512 * 7,
		.piece_count = pieces,
		.pieces = c->pieces,
		.block_count = (uint32_t)DIV_UP(payload, RECORD_BLOCK_BYTES),
		.blocks = c->blocks,
	};
	for (unsigned i = 0; i < pieces; i++) {
		c->pieces[i].file_offset = 1000000ull * i;
		c->pieces[i].len = i + 1u < pieces ? 1 : extent_len - (pieces - 1u);
	}
	for (unsigned i = 0; i < c->h.block_count; i++)
		c->blocks[i] = hash_of((uint8_t)i);
	c->len = record_header_len(pieces, c->h.block_count);
	record_header_encode(&c->h, c->bytes, &c->hash);
}

static int record_parse_only(const void *data, size_t len)
{
	struct record_header h;
	struct hash hash;
	uint32_t need;
	int r = record_header_parse(data, len, &h, &hash, &need);

	if (r == 0)
		record_header_release(&h);
	return r;
}

static void record_check_round(const struct record_case *c)
{
	uint8_t again[RECORD_MAX_HEADER_LEN];
	struct hash hash, hash_again;
	struct record_header h;
	uint32_t need = 0;

	assert_int_equal(record_header_parse(c->bytes, c->len, &h, &hash, &need), 0);
	assert_memory_equal(&hash, &c->hash, sizeof(hash));
	assert_int_equal(h.k, c->h.k);
	assert_int_equal(h.index, c->h.index);
	assert_int_equal(h.ino.v, c->h.ino.v);
	assert_int_equal(h.payload_len, c->h.payload_len);
	assert_int_equal(h.piece_count, c->h.piece_count);
	assert_int_equal(h.block_count, c->h.block_count);
	assert_int_equal(h.offset, c->h.offset);
	assert_memory_equal(h.blocks, c->blocks, h.block_count * sizeof(*h.blocks));
	for (unsigned i = 0; i < h.piece_count; i++) {
		assert_int_equal(h.pieces[i].file_offset, c->pieces[i].file_offset);
		assert_int_equal(h.pieces[i].len, c->pieces[i].len);
	}
	record_header_encode(&h, again, &hash_again);
	assert_memory_equal(again, c->bytes, c->len);
	record_header_release(&h);
}

static void record_round_trips(void **state)
{
	static const uint32_t lens[] = {
		1,	 2,	  63, 64, 65, 4095, 4096, 16383, 16384, 16385, 1048575u - 64,
		1048575, 1048576, 0};
	struct record_case c;

	(void)state;
	for (unsigned i = 0; lens[i]; i++) {
		for (uint8_t k = 1; k <= 16; k++) {
			record_make(&c, k, k % 9, lens[i], 1);
			record_check_round(&c);
		}
	}
	record_make(&c, 1, 2, MIB(1), RECORD_MAX_PIECES);
	assert_int_equal(c.len, RECORD_MAX_HEADER_LEN);
	record_check_round(&c);
}

static void record_refuses_damage(void **state)
{
	struct record_case c;

	(void)state;
	record_make(&c, 4, 2, 100000, 2);
	refuse_flips(record_parse_only, c.bytes, c.len);
	refuse_cuts(record_parse_only, c.bytes, c.len);
}

static void record_says_what_it_needs(void **state)
{
	struct record_header h;
	struct record_case c;
	struct hash hash;
	uint32_t need = 0;

	(void)state;
	record_make(&c, 1, 2, MIB(1), 3);
	assert_int_equal(record_header_parse(c.bytes, RECORD_FIXED_LEN, &h, &hash, &need),
			 DFS_E2BIG);
	assert_int_equal(need, c.len);
	assert_int_equal(record_header_parse(c.bytes, c.len - 1, &h, &hash, &need), DFS_E2BIG);
	assert_int_equal(record_header_parse(c.bytes, RECORD_FIXED_LEN - 1, &h, &hash, &need),
			 DFS_ECORRUPT);
	/* Bytes after the header don't matter. */
	assert_int_equal(record_header_parse(c.bytes, sizeof(c.bytes), &h, &hash, &need), 0);
	record_header_release(&h);
}

/* A field that lies, under a right checksum, is refused all the same. */
static void record_refuses_lies(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int want;
	} lies[] = {
		{8, 2, DFS_EVERSION},	      {10, 1, DFS_ECORRUPT},
		{12, 64, DFS_ECHECKSUM},      {16, 1, DFS_ECORRUPT},
		{20, 1, DFS_ECORRUPT},	      {72, 1, DFS_ECORRUPT},
		{76, 0, DFS_ECORRUPT},	      {76, 17, DFS_ECORRUPT},
		{76, 1, DFS_ECORRUPT},	      {77, 9, DFS_ECORRUPT},
		{78, 6, DFS_ECORRUPT},	      {79, 0, DFS_ECORRUPT},
		{79, 2, DFS_EVERSION},	      {80, 1, DFS_EVERSION},
		{81, 1, DFS_ECORRUPT},	      {82, 0, DFS_ECORRUPT},
		{82, 1, DFS_ECORRUPT},	      {82, 3, DFS_ECORRUPT},
		{84, 0, DFS_ECORRUPT},	      {84, 3, DFS_ECORRUPT},
		{88, 1, DFS_ECORRUPT},	      {92, 0, DFS_ECORRUPT},
		{93, 2, DFS_ECORRUPT},	      {100, 1, DFS_ECORRUPT},
		{112, 1, DFS_ECORRUPT},	      {223, 1, DFS_ECORRUPT},
		{256 + 7, 255, DFS_ECORRUPT}, {256 + 8, 0, DFS_ECORRUPT},
		{256 + 12, 1, DFS_ECORRUPT},
	};
	struct record_case c;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		record_make(&c, 4, 2, 100000, 2);
		assert_int_not_equal(c.bytes[lies[i].at], lies[i].value);
		c.bytes[lies[i].at] = lies[i].value;
		reseal(c.bytes, c.len, 224, 0);
		if (parse_copy(record_parse_only, c.bytes, c.len) != lies[i].want)
			fail_msg("byte %u = %u: %d", lies[i].at, lies[i].value,
				 parse_copy(record_parse_only, c.bytes, c.len));
	}
	record_make(&c, 4, 2, 100000, 2);
	reseal(c.bytes, c.len, 224, 0);
	assert_int_equal(record_parse_only(c.bytes, c.len), 0);
}

/* A length is looked at before it is used, however many bytes there are. */
static void record_bounds(void **state)
{
	static uint8_t data[4 * RECORD_MAX_HEADER_LEN];
	struct record_header h;
	struct hash hash;
	uint32_t need = 0;

	(void)state;
	for (uint32_t len = RECORD_MAX_HEADER_LEN + 64; len < sizeof(data); len += 4096) {
		le64 magic = le64_of(RECORD_MAGIC);
		le32 header_len = le32_of(len);

		memcpy(data, &magic, sizeof(magic));
		memcpy(data + 12, &header_len, sizeof(header_len));
		assert_int_equal(record_header_parse(data, sizeof(data), &h, &hash, &need),
				 DFS_ECORRUPT);
	}
}

static void record_lengths(void **state)
{
	struct hash blocks[3], want;
	FREE uint8_t *payload = xcalloc(1, 2 * RECORD_BLOCK_BYTES + 1);

	(void)state;
	assert_int_equal(record_header_len(1, 1), 320);
	assert_int_equal(record_header_len(2, 1), 320);
	assert_int_equal(record_header_len(3, 1), 384);
	assert_int_equal(record_len(1, 4096), 320 + 4096 + 192);
	assert_int_equal(record_len(1, 192), 512);
	assert_int_equal(record_len(1, 193), 1024);
	payload[2 * RECORD_BLOCK_BYTES] = 7;
	record_hash_blocks(payload, 2 * RECORD_BLOCK_BYTES + 1, blocks);
	hash_bytes(payload, RECORD_BLOCK_BYTES, &want);
	assert_memory_equal(&blocks[0], &want, sizeof(want));
	assert_memory_equal(&blocks[1], &want, sizeof(want));
	hash_bytes(payload + 2 * RECORD_BLOCK_BYTES, 1, &want);
	assert_memory_equal(&blocks[2], &want, sizeof(want));
}

/* ---- root ---- */

static struct root root_make(unsigned members)
{
	struct root r = {
		.pool = uuid_of(1),
		.generation = 64 * 5 + 3,
		.epoch = 4,
		.checkpoint_id = 12,
		.checkpoint_seq = 1000,
		.chain = hash_of(1),
		.manifest = hash_of(2),
		.journal_first = 13,
		.feature_compat = 1ull << 40,
		.epoch_id = uuid_of(3),
		.written_wall_ns = 1234567890123456789ull,
		.open_count = 2,
		.history_count = 3,
		.disk_count = members + 2,
		.clean = true,
		.member_count = members,
	};

	for (unsigned i = 0; i < members; i++) {
		r.members[i].id.v = i + 1;
		r.members[i].uuid = uuid_of((uint8_t)(100 + i));
	}
	for (unsigned i = 0; i < r.disk_count; i++)
		r.disks[i] = (struct root_disk){
			{i + 1}, uuid_of((uint8_t)(100 + i)), false, 1 + i % 7, 0, false};
	r.disks[members].given_up = true;
	r.disks[members].votes = 4;
	r.disks[members].left_epoch = 3;
	r.disks[members].apart = true;
	for (unsigned i = 0; i < 3; i++)
		r.history[i] = (struct root_epoch){uuid_of((uint8_t)(50 + i)), 3 - i, i == 2,
						   i == 1};
	return r;
}

static int root_parse_only(const void *data, size_t len)
{
	struct root r;

	assert_int_equal(len, ROOT_SLOT_BYTES);
	return root_parse(data, &r);
}

static void root_round_trips(void **state)
{
	uint8_t bytes[ROOT_SLOT_BYTES], again[ROOT_SLOT_BYTES];

	(void)state;
	for (unsigned n = 1; n <= ROOT_MAX_MEMBERS; n++) {
		struct root r = root_make(n), got;

		r.clean = n % 2;
		root_encode(&r, bytes);
		assert_int_equal(root_parse(bytes, &got), 0);
		assert_int_equal(got.member_count, n);
		assert_int_equal(got.generation, r.generation);
		assert_int_equal(got.clean, r.clean);
		assert_memory_equal(&got.manifest, &r.manifest, sizeof(r.manifest));
		assert_memory_equal(got.members, r.members, sizeof(r.members));
		assert_int_equal(got.disk_count, n + 2);
		assert_memory_equal(got.disks, r.disks, sizeof(r.disks));
		assert_int_equal(got.history_count, 3);
		assert_memory_equal(got.history, r.history, sizeof(r.history));
		assert_int_equal(got.open_count, 2);
		assert_memory_equal(&got.epoch_id, &r.epoch_id, sizeof(r.epoch_id));
		root_encode(&got, again);
		assert_memory_equal(again, bytes, sizeof(bytes));
	}
}

static void root_refuses_damage(void **state)
{
	struct root r = root_make(3);
	uint8_t bytes[ROOT_SLOT_BYTES];

	(void)state;
	root_encode(&r, bytes);
	refuse_flips(root_parse_only, bytes, sizeof(bytes));
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(root_parse_only(bytes, sizeof(bytes)), DFS_ECORRUPT);
	/* Torn: the first sectors of a root over an older one. */
	for (size_t cut = 512; cut < ROOT_SLOT_BYTES; cut += 512) {
		struct root old = root_make(3);
		uint8_t torn[ROOT_SLOT_BYTES];

		old.generation -= ROOT_SLOTS;
		root_encode(&old, torn);
		root_encode(&r, bytes);
		memcpy(torn, bytes, cut);
		assert_int_equal(root_parse_only(torn, sizeof(torn)), DFS_ECHECKSUM);
	}
}

static void root_refuses_lies(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int want;
	} lies[] = {
		{8, 2, DFS_EVERSION},
		{10, 4, DFS_ECORRUPT},
		{12, 1, DFS_ECORRUPT},
		{144, 1, DFS_EFEATURE},
		{151, 128, DFS_EFEATURE},
		/* numbers and counts */
		{40, 0, DFS_ECORRUPT},
		{39, 65, DFS_ECORRUPT},
		{47, 128, DFS_ECORRUPT},
		{63, 65, DFS_ECORRUPT},
		{135, 65, DFS_ECORRUPT},
		{48, 0, DFS_ECORRUPT},
		{152, 0, DFS_ECORRUPT},
		{152, 4, DFS_ECORRUPT},
		{154, 1, DFS_ECORRUPT},
		{156, 0, DFS_ECORRUPT},
		{156, 2, DFS_ECORRUPT},
		{156, 17, DFS_ECORRUPT},
		{159, 255, DFS_ECORRUPT},
		{568, 2, DFS_ECORRUPT},
		{568, 113, DFS_ECORRUPT},
		{572, 32, DFS_ECORRUPT},
		{572, 1, DFS_ECORRUPT},
		/* members: another id, one of no disk, padding */
		{160, 2, DFS_ECORRUPT},
		{160, 0, DFS_ECORRUPT},
		{161, 2, DFS_ECORRUPT},
		{164, 1, DFS_ECORRUPT},
		{168, 77, DFS_ECORRUPT},
		{232, 1, DFS_ECORRUPT},
		{543, 1, DFS_ECORRUPT},
		/* history: younger than its child, unknown flag, padding, beyond the count */
		{576, 4, DFS_ECORRUPT},
		{576, 0, DFS_ECORRUPT},
		{584, 4, DFS_ECORRUPT},
		{588, 1, DFS_ECORRUPT},
		{672, 1, DFS_ECORRUPT},
		/* disks: order, flag, a vote in no set, given up and voting, twice, beyond the count,
		 * left in an epoch to come, left and voting */
		{4160, 2, DFS_ECORRUPT},
		{4162, 4, DFS_ECORRUPT},
		{4162, 2, DFS_ECORRUPT},
		{4164, 9, DFS_ECORRUPT},
		{4162, 1, DFS_ECORRUPT},
		{4168 + 32, 100, DFS_ECORRUPT},
		{4160 + 5 * 32, 9, DFS_ECORRUPT},
		{4184 + 3 * 32, 4, DFS_ECORRUPT},
		{4184, 1, DFS_ECORRUPT},
		{19999, 1, DFS_ECORRUPT},
		{20000, 1, DFS_ECORRUPT},
		{20447, 1, DFS_ECORRUPT},
	};
	struct root r = root_make(3);
	uint8_t bytes[ROOT_SLOT_BYTES];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		root_encode(&r, bytes);
		bytes[lies[i].at] = lies[i].value;
		reseal(bytes, sizeof(bytes), 20448, 20448);
		if (root_parse_only(bytes, sizeof(bytes)) != lies[i].want)
			fail_msg("byte %u = %u: %d", lies[i].at, lies[i].value,
				 root_parse_only(bytes, sizeof(bytes)));
	}
}

/* ---- journal ---- */

static struct uuid journal_pool;

static int journal_parse_only(const void *data, size_t len)
{
	struct journal_record rec;

	return journal_record_parse(data, len, &journal_pool, &rec);
}

static void journal_make(struct buf *out, uint64_t seq, const struct hash *prev,
			 struct hash *ret_hash)
{
	BUF ops = {0};

	journal_pool = uuid_of(1);
	journal_put_op(&ops, "Kkey", 4, "value", 5);
	journal_put_op(&ops, "Kempty", 6, NULL, 0);
	journal_del_op(&ops, "Kgone", 5);
	journal_add_op(&ops, 17, -12345);
	struct journal_frame frame = {.pool = journal_pool,
				      .writer = uuid_of(77),
				      .seq = seq,
				      .durable = seq - 1,
				      .prev = *prev};
	journal_record_encode(&frame, &ops, out, ret_hash);
}

static void journal_round_trips(void **state)
{
	struct hash prev = hash_of(9), hash;
	struct journal_record rec;
	struct journal_op op;
	uint32_t len = 0;
	BUF out = {0};

	(void)state;
	journal_make(&out, 42, &prev, &hash);
	assert_int_equal(out.len % 8, 0);
	assert_int_equal(journal_record_parse(out.data, out.len, &journal_pool, &rec), 0);
	assert_int_equal(rec.seq, 42);
	assert_int_equal(rec.durable, 41);
	assert_int_equal(rec.writer.b[0], uuid_of(77).b[0]);
	assert_int_equal(journal_record_peek(out.data, out.len, &journal_pool, &len), 42);
	assert_int_equal(len, out.len);
	assert_int_equal(journal_record_peek(out.data, out.len, &rec.writer, &len), 0);
	assert_int_equal(journal_record_peek(out.data, 100, &journal_pool, &len), 0);
	assert_int_equal(rec.total_len, out.len);
	assert_memory_equal(&rec.prev, &prev, sizeof(prev));
	assert_memory_equal(&rec.hash, &hash, sizeof(hash));
	assert_int_equal(journal_next_op(&rec.ops, &op), 0);
	assert_int_equal(op.kind, JOURNAL_PUT);
	assert_int_equal(op.key_len, 4);
	assert_memory_equal(op.key, "Kkey", 4);
	assert_int_equal(op.value_len, 5);
	assert_memory_equal(op.value, "value", 5);
	assert_int_equal(journal_next_op(&rec.ops, &op), 0);
	assert_int_equal(op.kind, JOURNAL_PUT);
	assert_int_equal(op.value_len, 0);
	assert_int_equal(journal_next_op(&rec.ops, &op), 0);
	assert_int_equal(op.kind, JOURNAL_DEL);
	assert_memory_equal(op.key, "Kgone", 5);
	assert_int_equal(journal_next_op(&rec.ops, &op), 0);
	assert_int_equal(op.kind, JOURNAL_ADD);
	assert_int_equal(op.counter, 17);
	assert_int_equal(op.delta, -12345);
	assert_int_equal(journal_next_op(&rec.ops, &op), DFS_EEND);
	assert_int_equal(journal_next_op(&rec.ops, &op), DFS_EEND);
}

static void journal_chains(void **state)
{
	struct hash prev = {{0}}, hash;
	struct journal_record rec;
	size_t at = 0;
	BUF out = {0};

	(void)state;
	hash = prev;
	for (uint64_t seq = 1; seq <= 5; seq++)
		journal_make(&out, seq, &hash, &hash); /* prev and the result may be one */
	for (uint64_t seq = 1; seq <= 5; seq++) {
		assert_int_equal(
			journal_record_parse(out.data + at, out.len - at, &journal_pool, &rec), 0);
		assert_int_equal(rec.seq, seq);
		assert_memory_equal(&rec.prev, &prev, sizeof(prev));
		prev = rec.hash;
		at += rec.total_len;
	}
	assert_int_equal(at, out.len);
	assert_int_equal(journal_parse_only(out.data + at, 0), DFS_EEND);
}

static void journal_ends(void **state)
{
	static const uint8_t zeros[4096];
	struct hash prev = hash_of(9), hash;
	struct uuid other = uuid_of(50);
	struct journal_record rec;
	BUF out = {0};

	(void)state;
	journal_make(&out, 42, &prev, &hash);
	for (size_t n = 0; n <= 300; n++)
		assert_int_equal(journal_parse_only(zeros, n), DFS_EEND);
	for (size_t n = 1; n < out.len; n++)
		assert_int_equal(parse_copy(journal_parse_only, out.data, n), DFS_E2BIG);
	assert_int_equal(parse_copy(journal_parse_only, out.data + 1, 3), DFS_ECORRUPT);
	assert_int_equal(journal_record_parse(out.data, out.len, &other, &rec), DFS_EFOREIGN);
}

static void journal_refuses_damage(void **state)
{
	struct hash prev = hash_of(9), hash;
	BUF out = {0};

	(void)state;
	journal_make(&out, 42, &prev, &hash);
	refuse_flips(journal_parse_only, out.data, out.len);
	refuse_cuts(journal_parse_only, out.data, out.len);
}

static void journal_refuses_lies(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int want;
	} lies[] = {
		{4, 2, DFS_EVERSION},	  {6, 1, DFS_ECORRUPT},	  {12, 200, DFS_ECORRUPT},
		{12, 0, DFS_ECORRUPT},	  {12, 63, DFS_ECORRUPT}, {15, 255, DFS_ECORRUPT},
		{40, 42, DFS_ECORRUPT},	  {47, 1, DFS_ECORRUPT},  {128, 0, DFS_ECORRUPT},
		{128, 4, DFS_ECORRUPT},	  {128, 3, DFS_ECORRUPT}, {128, 2, DFS_ECORRUPT},
		{129, 1, DFS_ECORRUPT},	  {130, 0, DFS_ECORRUPT}, {130, 200, DFS_ECORRUPT},
		{131, 255, DFS_ECORRUPT}, {132, 6, DFS_ECORRUPT}, {135, 255, DFS_ECORRUPT},
	};
	struct hash prev = hash_of(9), hash;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		BUF out = {0};

		journal_make(&out, 42, &prev, &hash);
		out.data[lies[i].at] = lies[i].value;
		reseal(out.data, out.len, 96, 0);
		if (parse_copy(journal_parse_only, out.data, out.len) != lies[i].want)
			fail_msg("byte %u = %u: %d", lies[i].at, lies[i].value,
				 parse_copy(journal_parse_only, out.data, out.len));
	}
}

static void journal_bounds(void **state)
{
	FREE uint8_t *value = xcalloc(1, JOURNAL_MAX_VALUE);
	uint8_t key[JOURNAL_MAX_KEY];
	struct hash hash;
	struct journal_record rec;
	struct journal_op op;
	BUF ops = {0}, out = {0}, empty = {0};

	(void)state;
	memset(key, 0xff, sizeof(key));
	for (unsigned i = 0; i < 7; i++)
		journal_put_op(&ops, key, sizeof(key), value, JOURNAL_MAX_VALUE);
	journal_pool = uuid_of(1);
	journal_record_encode(&(struct journal_frame){.pool = journal_pool, .seq = 1}, &ops, &out,
			      &hash);
	assert_int_equal(journal_record_parse(out.data, out.len, &journal_pool, &rec), 0);
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(journal_next_op(&rec.ops, &op), 0);
		assert_int_equal(op.key_len, JOURNAL_MAX_KEY);
		assert_int_equal(op.value_len, JOURNAL_MAX_VALUE);
	}
	assert_int_equal(journal_next_op(&rec.ops, &op), DFS_EEND);
	buf_reset(&out);
	journal_record_encode(&(struct journal_frame){.pool = journal_pool, .seq = 2, .prev = hash},
			      &empty, &out, &hash);
	assert_int_equal(out.len, JOURNAL_FIXED_LEN);
	assert_int_equal(journal_record_parse(out.data, out.len, &journal_pool, &rec), 0);
	assert_int_equal(journal_next_op(&rec.ops, &op), DFS_EEND);
}

/* ---- manifest ---- */

static int manifest_parse_only(const void *data, size_t len)
{
	struct manifest m;
	int r = manifest_parse(data, len, &m);

	if (r == 0)
		manifest_release(&m);
	return r;
}

static struct manifest manifest_make(unsigned count)
{
	struct manifest m = {.pool = uuid_of(1), .checkpoint_id = 4, .seq = 99, .count = count};

	m.files = xcalloc(count + 1, sizeof(*m.files));
	for (unsigned i = 0; i < count; i++) {
		struct manifest_file *f = &m.files[i];

		snprintf(f->name, sizeof(f->name), "%06u.sst", i);
		f->size_bytes = 1000 + i;
		f->hash = hash_of((uint8_t)i);
		f->k = (uint8_t)(1 + i % 3);
		f->m = 3;
		for (unsigned j = 0; j < (unsigned)f->k + f->m; j++) {
			if (j == 1 && i % 5 == 0)
				continue; /* lost */
			f->fragments[j].disk.v = 1 + j;
			f->fragments[j].header = hash_of((uint8_t)(i + j));
		}
	}
	return m;
}

static void manifest_round_trips(void **state)
{
	static const unsigned counts[] = {0, 1, 2, 1000, MANIFEST_MAX_FILES};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		CLEANUP(manifest_release) struct manifest m = manifest_make(counts[i]), got = {0};
		BUF out = {0}, again = {0};

		manifest_encode(&m, &out);
		assert_int_equal(manifest_parse(out.data, out.len, &got), 0);
		assert_int_equal(got.count, counts[i]);
		assert_int_equal(got.seq, 99);
		assert_memory_equal(got.files, m.files, m.count * sizeof(*m.files));
		manifest_encode(&got, &again);
		assert_int_equal(again.len, out.len);
		assert_memory_equal(again.data, out.data, out.len);
		manifest_release(&got);
	}
}

static void manifest_refuses_damage(void **state)
{
	CLEANUP(manifest_release) struct manifest m = manifest_make(3);
	BUF out = {0};

	(void)state;
	manifest_encode(&m, &out);
	refuse_flips(manifest_parse_only, out.data, out.len);
	refuse_cuts(manifest_parse_only, out.data, out.len);
	buf_put_u8(&out, 0);
	assert_int_equal(manifest_parse_only(out.data, out.len), DFS_ECORRUPT);
}

static void manifest_refuses_names(void **state)
{
	static const char *const names[] = {"", ".", "..", ".hidden", "a/b", "../x", "a b", "a\n"};
	CLEANUP(manifest_release) struct manifest m = manifest_make(2);
	BUF out = {0};
	/* the first entry has 4 fragments */
	const size_t second = 128 + 112 + 4 * 36;

	(void)state;
	manifest_encode(&m, &out);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		FREE uint8_t *copy = xmalloc(out.len);

		memcpy(copy, out.data, out.len);
		memset(copy + 128, 0, 64);
		memcpy(copy + 128, names[i], strlen(names[i]));
		reseal(copy, out.len, 96, 0);
		assert_int_equal(manifest_parse_only(copy, out.len), DFS_ECORRUPT);
	}
	/* The same name twice; a name without an end; bytes after the end. */
	memcpy(out.data + second, out.data + 128, 64);
	reseal(out.data, out.len, 96, 0);
	assert_int_equal(manifest_parse_only(out.data, out.len), DFS_ECORRUPT);
	memset(out.data + second, 'x', 64);
	reseal(out.data, out.len, 96, 0);
	assert_int_equal(manifest_parse_only(out.data, out.len), DFS_ECORRUPT);
	memset(out.data + second, 0, 62);
	out.data[second] = 'x';
	reseal(out.data, out.len, 96, 0);
	assert_int_equal(manifest_parse_only(out.data, out.len), DFS_ECORRUPT);
}

static void manifest_refuses_lies(void **state)
{
	static const struct {
		size_t at;
		uint32_t value; /* of four bytes there */
	} lies[] = {
		{128 + 104, 0x000300},	 /* k 0 */
		{128 + 104, 0x000311},	 /* k 17 */
		{128 + 104, 0x000901},	 /* m 9 */
		{128 + 104, 0x010301},	 /* padding */
		{128 + 104, 0x000302},	 /* an entry that runs into the next */
		{128 + 112, 496},	 /* no such disk */
		{128 + 112, 3},		 /* two on one disk */
		{128 + 112 + 36 + 4, 1}, /* a lost one with a hash */
		{128 + 64 + 4, 0x11},	 /* too long a table */
	};
	CLEANUP(manifest_release) struct manifest m = manifest_make(2);
	BUF out = {0};

	(void)state;
	manifest_encode(&m, &out);
	assert_int_equal(manifest_parse_only(out.data, out.len), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		FREE uint8_t *copy = xmalloc(out.len);
		le32 v = le32_of(lies[i].value);

		memcpy(copy, out.data, out.len);
		memcpy(copy + lies[i].at, &v, sizeof(v));
		reseal(copy, out.len, 96, 0);
		assert_int_equal(manifest_parse_only(copy, out.len), DFS_ECORRUPT);
	}
	for (unsigned j = 0; j < 4; j++) { /* fewer than k fragments */
		memset(&m.files[0].fragments[j], 0, sizeof(m.files[0].fragments[j]));
		if (j == 3)
			break;
		buf_reset(&out);
		manifest_encode(&m, &out);
	}
	memset(out.data + 128 + 112 + 3 * 36, 0, 36);
	reseal(out.data, out.len, 96, 0);
	assert_int_equal(manifest_parse_only(out.data, out.len), DFS_ECORRUPT);
}

/* ---- table fragments ---- */

static int table_parse_only(const void *data, size_t len)
{
	struct table_header h;
	struct hash hash;

	return table_header_parse(data, len, &h, &hash);
}

static void table_make(uint64_t size, uint8_t k, struct buf *out, struct hash *ret_hash)
{
	struct table_shape s = table_shape(size, k);
	FREE uint8_t *blocks = xcalloc(s.block_count + 1, HASH_LEN);
	struct table_header h = {.pool = uuid_of(1),
				 .name = "000012.sst",
				 .size_bytes = size,
				 .hash = hash_of(7),
				 .k = k,
				 .m = 3,
				 .index = k,
				 .blocks = blocks};

	for (size_t i = 0; i < (size_t)s.block_count * HASH_LEN; i++)
		blocks[i] = (uint8_t)i;
	table_header_encode(&h, out, ret_hash);
	assert_int_equal(out->len, s.header_len);
}

static void table_round_trips(void **state)
{
	static const uint64_t sizes[] = {0, 1, 65535, 65536, 65537, 3 * 65536 * 4 + 1, 100000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (uint8_t k = 1; k <= TABLE_MAX_K; k++) {
			struct table_shape s = table_shape(sizes[i], k);
			struct table_header h;
			struct hash hash, got;
			uint64_t sum = 0;
			BUF out = {0};

			for (uint32_t b = 0; b < s.block_count; b++)
				sum += table_block_len(&s, b);
			assert_int_equal(sum, s.payload_len);
			assert_true(s.payload_len * k >= sizes[i]);
			assert_true(s.payload_len * k < sizes[i] + 64u * k + 64);
			table_make(sizes[i], k, &out, &hash);
			assert_int_equal(table_header_parse(out.data, out.len, &h, &got), 0);
			assert_memory_equal(&hash, &got, sizeof(hash));
			assert_int_equal(h.size_bytes, sizes[i]);
			assert_int_equal(h.k, k);
			assert_int_equal(h.index, k);
			assert_string_equal(h.name, "000012.sst");
		}
	}
}

static void table_refuses_damage(void **state)
{
	struct hash hash;
	BUF out = {0};

	(void)state;
	table_make(300000, 2, &out, &hash);
	refuse_flips(table_parse_only, out.data, out.len);
	refuse_cuts(table_parse_only, out.data, out.len);
}

static void table_refuses_lies(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int err;
	} lies[] = {
		{8, 2, DFS_EVERSION},	  {10, 1, DFS_ECORRUPT}, {32, 1, DFS_ECORRUPT},
		{36, 0x11, DFS_ECORRUPT}, {40, 1, DFS_ECORRUPT}, {50, 2, DFS_ECORRUPT},
		{52, 9, DFS_ECORRUPT},	  {56, 0, DFS_ECORRUPT}, {56, 17, DFS_ECORRUPT},
		{57, 9, DFS_ECORRUPT},	  {58, 5, DFS_ECORRUPT}, {59, 0, DFS_ECORRUPT},
		{59, 2, DFS_EVERSION},	  {60, 1, DFS_ECORRUPT}, {64, '/', DFS_ECORRUPT},
		{127, 'x', DFS_ECORRUPT},
	};
	struct hash hash;
	BUF out = {0};

	(void)state;
	table_make(300000, 2, &out, &hash);
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		FREE uint8_t *copy = xmalloc(out.len);

		memcpy(copy, out.data, out.len);
		copy[lies[i].at] = lies[i].value;
		reseal(copy, out.len, 160, 0);
		assert_int_equal(table_parse_only(copy, out.len), lies[i].err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_round_trips),
		cmocka_unit_test(record_refuses_damage),
		cmocka_unit_test(record_says_what_it_needs),
		cmocka_unit_test(record_refuses_lies),
		cmocka_unit_test(record_lengths),
		cmocka_unit_test(record_bounds),
		cmocka_unit_test(root_round_trips),
		cmocka_unit_test(root_refuses_damage),
		cmocka_unit_test(root_refuses_lies),
		cmocka_unit_test(journal_round_trips),
		cmocka_unit_test(journal_chains),
		cmocka_unit_test(journal_ends),
		cmocka_unit_test(journal_refuses_damage),
		cmocka_unit_test(journal_refuses_lies),
		cmocka_unit_test(journal_bounds),
		cmocka_unit_test(manifest_round_trips),
		cmocka_unit_test(manifest_refuses_damage),
		cmocka_unit_test(manifest_refuses_names),
		cmocka_unit_test(manifest_refuses_lies),
		cmocka_unit_test(table_round_trips),
		cmocka_unit_test(table_refuses_damage),
		cmocka_unit_test(table_refuses_lies),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
