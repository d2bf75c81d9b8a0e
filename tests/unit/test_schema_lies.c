/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of the index that lie under a right check: each field out of its range is refused, before
 * anything divides by it, allocates by it or indexes with it (P10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "format/record.h"
#include "meta/internal.h"

/* The value that put_ would write for this record, with width bytes at `at` replaced. */
static void value_of(const struct meta_txn *t, size_t at, uint64_t v, size_t width,
		     struct buf *ret_key, struct buf *ret_val)
{
	struct reader ops = reader_of(t->ops.data, t->ops.len);
	struct journal_op op;

	assert_int_equal(journal_next_op(&ops, &op), 0);
	buf_reset(ret_key);
	buf_put(ret_key, op.key, op.key_len);
	envelope_begin(ret_val);
	buf_put(ret_val, op.value + ENVELOPE_LEN, op.value_len - ENVELOPE_LEN);
	assert_true(at + width <= op.value_len - ENVELOPE_LEN);
	v = htole64(v);
	memcpy(ret_val->data + ENVELOPE_LEN + at, &v, width);
	envelope_seal(ret_key->data, ret_key->len, ret_val, 1);
}

/* A transaction for building records only; meta_begin needs nothing of a meta but its address. */
static struct meta *nothing(void)
{
	static struct meta m;

	return &m;
}

struct lie {
	unsigned at, width;
	uint64_t value;
};

#define CHECK_LIES(lies, t, parse_call)                                                            \
	do {                                                                                       \
		BUF key = {0}, val = {0};                                                          \
                                                                                                   \
		value_of(t, 0, 0, 0, &key, &val);                                                  \
		assert_int_equal(parse_call, 0);                                                   \
		for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {                                  \
			value_of(t, lies[i].at, lies[i].value, lies[i].width, &key, &val);         \
			if ((parse_call) != DFS_ECORRUPT)                                          \
				fail_msg("%u bytes at %u: %llu was accepted", lies[i].width,       \
					 lies[i].at, (unsigned long long)lies[i].value);           \
		}                                                                                  \
	} while (0)

static void test_extent(void **state)
{
	static const struct lie lies[] = {
		{8, 4, 0},
		{8, 4, 90000},
		{8, 4, MIB(1) + 1},
		{12, 1, 0},
		{12, 1, 1},
		{12, 1, 17},
		{12, 1, 255},
		{13, 1, 9},
		{13, 1, 255},
		{14, 1, 0},
		{14, 1, 17},
		{15, 1, 9},
		{16, 4, 0},
		{16, 4, UINT32_MAX},
		{20, 4, 0},
		{20, 4, 25024 + 64},
		{20, 4, UINT32_MAX},
		{24, 4, 0},
		{24, 4, 256},
		{24, 4, 385},
		{24, 4, UINT32_MAX},
		{36, 4, 496},
		{36, 4, UINT32_MAX},
		{44, 4, 1},
		{44, 4, UINT32_MAX - 511},
		{48, 4, 0},
		{48, 4, 25600 + 512},
	};
	struct rec_extent x = {.id = {{{1}}},
			       .ino = {2},
			       .len = 100000,
			       .k = 4,
			       .m = 2,
			       .wanted_k = 4,
			       .wanted_m = 2,
			       .refs = 1,
			       .fragment_len = record_payload_len(4, 100000),
			       .header_len = record_header_len(1, 2)};
	struct meta_txn *t = meta_begin(nothing());
	struct rec_extent got;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		x.frags[i] = (struct rec_fragment){.disk = {i + 1},
						   .offset = 512,
						   .record_len = record_len(1, x.fragment_len)};
	put_extent(t, &x);
	CHECK_LIES(lies, t, parse_extent(key.data, key.len, val.data, val.len, &got));
	meta_cancel(t);
}

static void test_map(void **state)
{
	static const struct lie lies[] = {{0, 4, 0},
					  {0, 4, MIB(1) + 1},
					  {0, 4, UINT32_MAX},
					  {20, 4, MIB(1)},
					  {20, 4, UINT32_MAX}};
	struct rec_map m = {.file_offset = 4096, .len = 100}, got;
	struct meta_txn *t = meta_begin(nothing());

	(void)state;
	put_map(t, (ino_id){2}, &m);
	CHECK_LIES(lies, t, parse_map(key.data, key.len, val.data, val.len, NULL, &got));
	meta_cancel(t);
}

static void test_inode(void **state)
{
	static const struct lie lies[] = {
		{0, 4, 0},	     {0, 4, 0170644},	   {0, 4, UINT32_MAX},
		{24, 8, UINT64_MAX}, {24, 8, 1ull << 63},  {48, 4, 1000000000},
		{84, 4, UINT32_MAX}, {108, 4, UINT32_MAX}, {108, 4, DFS_INLINE_MAX + 1},
	};
	static const struct lie fixed[] = {{104, 4, INODE_IMMUTABLE}, {104, 4, INODE_APPEND}};
	struct rec_inode r = {.mode = S_IFREG | 0644, .nlink = 1}, got;
	struct meta_txn *t = meta_begin(nothing()), *u = meta_begin(nothing());

	(void)state;
	put_inode(t, (ino_id){2}, &r);
	CHECK_LIES(lies, t, parse_inode(key.data, key.len, val.data, val.len, NULL, &got));
	r.mode = S_IFIFO | 0644; /* nobody could take these flags away again (AT1) */
	put_inode(u, (ino_id){2}, &r);
	CHECK_LIES(fixed, u, parse_inode(key.data, key.len, val.data, val.len, NULL, &got));
	meta_cancel(t);
	meta_cancel(u);
}

static void test_addresses(void **state)
{
	static const struct lie lies[] = {
		{0, 4, 0}, {0, 4, 513}, {0, 4, RECORD_MAX_LEN + 512}, {0, 4, UINT32_MAX - 511}};
	static const struct lie index_lies[] = {{20, 1, 24}, {20, 1, 255}};
	struct rec_bydisk b = {.disk = {1}, .segment = 1, .offset = 512, .record_len = 512}, got;
	struct rec_freed f = {.disk = {1}, .segment = 1, .offset = 512, .record_len = 512}, freed;
	struct meta_txn *t = meta_begin(nothing()), *u = meta_begin(nothing());

	(void)state;
	put_bydisk(t, &b);
	CHECK_LIES(lies, t, parse_bydisk(key.data, key.len, val.data, val.len, &got));
	CHECK_LIES(index_lies, t, parse_bydisk(key.data, key.len, val.data, val.len, &got));
	put_freed(u, &f);
	CHECK_LIES(lies, u, parse_freed(key.data, key.len, val.data, val.len, &freed));
	meta_cancel(t);
	meta_cancel(u);
}

static void test_disk(void **state)
{
	static const struct lie lies[] = {{24, 1, 0},  {24, 1, 6},	    {24, 1, 255},
					  {37, 2, 64}, {37, 2, UINT16_MAX}, {37, 2, 2}};
	struct rec_disk d = {.id = {1}, .uuid = {{1}}, .state = 1, .label = "a"}, got;
	struct meta_txn *t = meta_begin(nothing());

	(void)state;
	put_disk(t, &d);
	CHECK_LIES(lies, t, parse_disk(key.data, key.len, val.data, val.len, &got));
	meta_cancel(t);
}

/* Disks that no counter belongs to. */
static void test_disk_ids(void **state)
{
	static const uint32_t ids[] = {0, DISK_ID_MAX + 1, UINT32_MAX};
	struct rec_bydisk got;
	struct rec_freed freed;
	struct rec_disk disk;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct rec_bydisk b = {.disk = {ids[i]}, .record_len = 512};
		struct rec_freed f = {.disk = {ids[i]}, .record_len = 512};
		struct rec_disk d = {.id = {ids[i]}, .uuid = {{1}}, .state = 1};
		struct meta_txn *t = meta_begin(nothing()), *u = meta_begin(nothing()),
				*w = meta_begin(nothing());
		BUF key = {0}, val = {0};

		put_bydisk(t, &b);
		value_of(t, 0, 0, 0, &key, &val);
		assert_int_equal(parse_bydisk(key.data, key.len, val.data, val.len, &got),
				 DFS_ECORRUPT);
		put_freed(u, &f);
		value_of(u, 0, 0, 0, &key, &val);
		assert_int_equal(parse_freed(key.data, key.len, val.data, val.len, &freed),
				 DFS_ECORRUPT);
		put_disk(w, &d);
		value_of(w, 0, 0, 0, &key, &val);
		assert_int_equal(parse_disk(key.data, key.len, val.data, val.len, &disk),
				 DFS_ECORRUPT);
		meta_cancel(t);
		meta_cancel(u);
		meta_cancel(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extent), cmocka_unit_test(test_map),
		cmocka_unit_test(test_inode),  cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_disk),   cmocka_unit_test(test_disk_ids),
	};

	return cmocka_run_group_tests_name("schema_lies", tests, NULL, NULL);
}
