/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the index: every record goes in and comes out, every flipped bit and every cut is
 * refused (P3, P10), keys sort as numbers do, and text describes whatever it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "format/record.h"
#include "meta/schema.h"
#include "unit/meta_rig.h"

static struct rig r;

static int setup(void **state)
{
	(void)state;
	rig_init(&r, false, 1, 1);
	rig_must_open(&r);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_release(&r);
	return 0;
}

static void commit(struct meta_txn *t)
{
	uint64_t seq;

	assert_int_equal(meta_commit(t, &seq), 0);
}

static extent_id some_extent(uint8_t seed)
{
	extent_id id;

	memset(id.u.b, seed, sizeof(id.u.b));
	return id;
}

static struct rec_inode some_inode(uint32_t len)
{
	return (struct rec_inode){
		.mode = S_IFREG | 0644,
		.nlink = 2,
		.uid = 1000,
		.gid = 100,
		.rdev = 0x1234567890,
		.size = len,
		.mapped_bytes = len,
		.atime = {-5, 999999999},
		.mtime = {1700000000, 1},
		.ctime = {1700000001, 2},
		.btime = {1600000000, 3},
		.parent = {77},
		.generation = 0xdeadbeefcafe,
		.flags = INODE_INLINE,
		.inline_len = len,
	};
}

static struct rec_extent full_extent(void)
{
	struct rec_extent x = {
		.id = some_extent(9),
		.ino = {42},
		.len = 1 << 20,
		.k = 16,
		.m = 8,
		.wanted_k = 4,
		.wanted_m = 2,
		.refs = 3,
		.fragment_len = 65536,
		.header_len = record_header_len(1, 4),
		.generation = 5,
	};

	for (unsigned i = 0; i < 24; i++) {
		x.frags[i].disk.v = i; /* the first is lost */
		x.frags[i].segment = i * 7;
		x.frags[i].offset = i * 512;
		x.frags[i].record_len = record_len(1, 65536);
		memset(x.frags[i].header_hash.b, (int)i, HASH_LEN);
	}
	return x;
}

/* ---- round trips ---- */

static void test_inode(void **state)
{
	struct rec_inode in = some_inode(DFS_INLINE_MAX), out;
	struct meta_txn *t = meta_begin(r.m);

	(void)state;
	put_inode(t, (ino_id){42}, &in);
	in = some_inode(0);
	in.size = DFS_FILE_MAX;
	put_inode(t, (ino_id){43}, &in);
	commit(t);
	assert_int_equal(get_inode(r.m, (ino_id){42}, &out), 0);
	in = some_inode(DFS_INLINE_MAX);
	assert_int_equal(out.inline_len, DFS_INLINE_MAX);
	assert_true(out.mode == in.mode && out.nlink == in.nlink && out.uid == in.uid &&
		    out.gid == in.gid && out.rdev == in.rdev && out.size == in.size &&
		    out.mapped_bytes == in.mapped_bytes && out.parent.v == in.parent.v &&
		    out.generation == in.generation && out.flags == in.flags);
	assert_true(out.atime.sec == -5 && out.atime.nsec == 999999999 &&
		    out.mtime.sec == 1700000000 && out.mtime.nsec == 1 &&
		    out.ctime.sec == 1700000001 && out.ctime.nsec == 2 &&
		    out.btime.sec == 1600000000 && out.btime.nsec == 3);
	assert_int_equal(get_inode(r.m, (ino_id){43}, &out), 0);
	assert_int_equal(out.size, DFS_FILE_MAX);
	assert_int_equal(out.inline_len, 0);
	assert_int_equal(get_inode(r.m, (ino_id){44}, &out), DFS_ENOENT);
	t = meta_begin(r.m);
	del_inode(t, (ino_id){42});
	commit(t);
	assert_int_equal(get_inode(r.m, (ino_id){42}, &out), DFS_ENOENT);
}

static void test_inline(void **state)
{
	struct meta_txn *t = meta_begin(r.m);
	uint8_t data[DFS_INLINE_MAX];
	BUF out = {0};

	(void)state;
	memset(data, 0xa5, sizeof(data));
	put_inline(t, (ino_id){42}, data, sizeof(data));
	put_inline(t, (ino_id){43}, "x", 1);
	commit(t);
	assert_int_equal(get_inline(r.m, (ino_id){42}, &out), 0);
	assert_int_equal(out.len, sizeof(data));
	assert_memory_equal(out.data, data, sizeof(data));
	assert_int_equal(get_inline(r.m, (ino_id){43}, &out), 0);
	assert_int_equal(out.len, 1);
	assert_int_equal(get_inline(r.m, (ino_id){44}, &out), DFS_ENOENT);
	t = meta_begin(r.m);
	del_inline(t, (ino_id){42});
	commit(t);
	assert_int_equal(get_inline(r.m, (ino_id){42}, &out), DFS_ENOENT);
	assert_int_equal(out.len, 0);
}

static void test_dentry(void **state)
{
	struct rec_dentry in = {.ino = {7}, .mode = S_IFDIR}, out;
	struct meta_txn *t = meta_begin(r.m);
	char name[DFS_NAME_MAX + 2];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[DFS_NAME_MAX] = '\0';
	strcpy(in.name, name);
	put_dentry(t, (ino_id){1}, &in);
	commit(t);
	assert_int_equal(get_dentry(r.m, (ino_id){1}, name, &out), 0);
	assert_int_equal(out.ino.v, 7);
	assert_int_equal(out.mode, S_IFDIR);
	assert_string_equal(out.name, name);
	assert_int_equal(out.cookie, dentry_hash((ino_id){1}, name, DFS_NAME_MAX));
	assert_int_equal(get_dentry(r.m, (ino_id){2}, name, &out), DFS_ENOENT);
	name[DFS_NAME_MAX] = 'n';
	name[DFS_NAME_MAX + 1] = '\0';
	assert_int_equal(get_dentry(r.m, (ino_id){1}, name, &out), DFS_ENAMETOOLONG);
	t = meta_begin(r.m);
	del_dentry(t, (ino_id){1}, in.name);
	commit(t);
	assert_int_equal(get_dentry(r.m, (ino_id){1}, in.name, &out), DFS_ENOENT);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t c = dentry_hash((ino_id){i}, "x", 1);

		assert_true(c >= DENTRY_COOKIE_MIN && c <= INT64_MAX);
	}
}

static void test_extent_and_others(void **state)
{
	struct rec_extent x = full_extent(), x_out;
	struct rec_orphan o = {{5}, ORPHAN_TRUNCATE, 1 << 30}, o_out;
	struct rec_disk d = {.id = {3},
			     .uuid = {{1}},
			     .capacity_bytes = 1ull << 44,
			     .state = 1,
			     .leaving = true,
			     .heir = {17},
			     .hands_label = true,
			     .added_epoch = 2,
			     .label = "left",
			     .domain = "shelf-1",
			     .path = "/mnt/a disk"},
			d_out;
	struct rec_settings s = {{{4, 2}, 3, 4, true}, 9}, s_out;
	struct rec_usage us = {{5}, 1ull << 40, 1ull << 33, 1 << 20, 300}, us_out;
	struct meta_txn *t = meta_begin(r.m);

	(void)state;
	put_extent(t, &x);
	put_orphan(t, &o);
	put_usage(t, &us);
	put_disk(t, &d);
	put_settings(t, &s);
	commit(t);
	assert_int_equal(get_extent(r.m, x.id, &x_out), 0);
	assert_memory_equal(&x, &x_out, sizeof(x));
	assert_int_equal(get_orphan(r.m, o.ino, &o_out), 0);
	assert_int_equal(o_out.kind, ORPHAN_TRUNCATE);
	assert_int_equal(o_out.from, 1 << 30);
	assert_int_equal(get_usage(r.m, us.ino, us.slot, &us_out), 0);
	assert_memory_equal(&us, &us_out, sizeof(us));
	assert_int_equal(get_disk(r.m, d.id, &d_out), 0);
	assert_memory_equal(&d, &d_out, sizeof(d));
	assert_int_equal(get_settings(r.m, &s_out), 0);
	assert_true(s_out.policy.verify_writes);
	assert_int_equal(s_out.policy.large.k, 4);
	assert_int_equal(s_out.policy.metadata_copies, 4);
	assert_int_equal(s_out.next_disk, 9);
	t = meta_begin(r.m);
	del_extent(t, x.id);
	del_orphan(t, o.ino);
	del_usage(t, us.ino, us.slot);
	commit(t);
	assert_int_equal(get_extent(r.m, x.id, &x_out), DFS_ENOENT);
	assert_int_equal(get_orphan(r.m, o.ino, &o_out), DFS_ENOENT);
	assert_int_equal(get_usage(r.m, us.ino, us.slot, &us_out), DFS_ENOENT);
}

static void test_xattr(void **state)
{
	struct meta_txn *t = meta_begin(r.m);
	FREE uint8_t *big = xmalloc(DFS_XATTR_VALUE_MAX);
	BUF out = {0};

	(void)state;
	memset(big, 'x', DFS_XATTR_VALUE_MAX);
	put_xattr(t, (ino_id){1}, "user.big", big, DFS_XATTR_VALUE_MAX);
	put_xattr(t, (ino_id){1}, "user.empty", NULL, 0);
	commit(t);
	assert_int_equal(get_xattr(r.m, (ino_id){1}, "user.big", &out), 0);
	assert_int_equal(out.len, DFS_XATTR_VALUE_MAX);
	assert_memory_equal(out.data, big, out.len);
	assert_int_equal(get_xattr(r.m, (ino_id){1}, "user.empty", &out), 0);
	assert_int_equal(out.len, 0);
	assert_int_equal(get_xattr(r.m, (ino_id){1}, "user.none", &out), DFS_ENODATA);
	assert_int_equal(get_xattr(r.m, (ino_id){1}, "", &out), DFS_ENODATA);
	t = meta_begin(r.m);
	del_xattr(t, (ino_id){1}, "user.big");
	commit(t);
	assert_int_equal(get_xattr(r.m, (ino_id){1}, "user.big", &out), DFS_ENODATA);
}

/* Keys of one table sort by number, and a range scan finds just what it should. */
static void test_order(void **state)
{
	static const uint64_t offsets[] = {0, 1, 255, 256, 65536, 1ull << 40, (1ull << 62)};
	struct meta_txn *t = meta_begin(r.m);
	struct meta_iter *it;
	BUF key = {0};
	unsigned n = 0;

	(void)state;
	for (unsigned i = ARRAY_SIZE(offsets); i-- > 0;) {
		struct rec_map m = {offsets[i], 1, some_extent(1), 0};

		put_map(t, (ino_id){300}, &m);
		put_map(t, (ino_id){3}, &m);
	}
	commit(t);
	it = meta_iter_new(r.m);
	key_map(&key, (ino_id){300}, 0);
	for (meta_iter_seek(it, key.data, key.len); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *k = meta_iter_key(it, &key_len);
		const uint8_t *v = meta_iter_value(it, &val_len);
		struct rec_map m;
		ino_id ino;

		if (parse_map(k, key_len, v, val_len, &ino, &m) || ino.v != 300)
			break;
		assert_int_equal(m.file_offset, offsets[n]);
		n++;
	}
	assert_int_equal(n, ARRAY_SIZE(offsets));
	key_map(&key, (ino_id){300}, 70000); /* the entry that covers or precedes */
	meta_iter_seek_back(it, key.data, key.len);
	assert_true(meta_iter_valid(it));
	{
		size_t key_len, val_len;
		const uint8_t *k = meta_iter_key(it, &key_len);
		const uint8_t *v = meta_iter_value(it, &val_len);
		struct rec_map m;

		assert_int_equal(parse_map(k, key_len, v, val_len, NULL, &m), 0);
		assert_int_equal(m.file_offset, 65536);
	}
	meta_iter_free(it);
}

/* ---- hostile bytes ---- */

/* Whatever the table, parses a copy of exactly that size; frees what comes out. */
static int parse_any(const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len)
{
	FREE uint8_t *k = xmalloc(key_len + 1), *v = xmalloc(val_len + 1);
	union {
		struct rec_inode inode;
		struct rec_dentry dentry;
		struct rec_map map;
		struct rec_extent extent;
		struct rec_bydisk bydisk;
		struct rec_freed freed;
		struct rec_orphan orphan;
		struct rec_usage usage;
		struct rec_prealloc prealloc;
		struct rec_disk disk;
		struct rec_health health;
	} u;
	const char *name;
	const uint8_t *value;
	size_t name_len, value_len;
	uint64_t slot;
	uint32_t next, from;
	disk_id disk;
	ino_id ino;
	BUF text = {0};
	int err = DFS_ENOTSUP;

	/* At the end of the allocation, so that a sanitizer sees a read past it. */
	memcpy(k + 1, key, key_len);
	memcpy(v + 1, val, val_len);
	switch (key_len ? k[1] : 0) {
	case TABLE_INODE:
		err = parse_inode(k + 1, key_len, v + 1, val_len, NULL, &u.inode);
		break;
	case TABLE_INLINE:
		err = parse_inline(k + 1, key_len, v + 1, val_len, NULL, &value, &value_len);
		break;
	case TABLE_DENTRY:
		err = parse_dentry(k + 1, key_len, v + 1, val_len, NULL, &u.dentry);
		break;
	case TABLE_MAP:
		err = parse_map(k + 1, key_len, v + 1, val_len, NULL, &u.map);
		break;
	case TABLE_EXTENT:
		err = parse_extent(k + 1, key_len, v + 1, val_len, &u.extent);
		break;
	case TABLE_BYDISK:
		err = parse_bydisk(k + 1, key_len, v + 1, val_len, &u.bydisk);
		break;
	case TABLE_NUMBERS:
		err = parse_numbers(k + 1, key_len, v + 1, val_len, &disk, &next);
		break;
	case TABLE_HEALTH:
		err = parse_health(k + 1, key_len, v + 1, val_len, &u.health);
		break;
	case TABLE_DOUBT:
		err = parse_doubt(k + 1, key_len, v + 1, val_len, &disk, &next, &from);
		break;
	case TABLE_FREED:
		err = parse_freed(k + 1, key_len, v + 1, val_len, &u.freed);
		break;
	case TABLE_ORPHAN:
		err = parse_orphan(k + 1, key_len, v + 1, val_len, &u.orphan);
		break;
	case TABLE_USAGE:
		err = parse_usage(k + 1, key_len, v + 1, val_len, &u.usage);
		break;
	case TABLE_FOLD:
		err = parse_fold(k + 1, key_len, v + 1, val_len, &ino, &slot);
		break;
	case TABLE_NARROW:
		err = parse_narrow(k + 1, key_len, v + 1, val_len, &ino, &slot);
		break;
	case TABLE_PREALLOC:
		err = parse_prealloc(k + 1, key_len, v + 1, val_len, &u.prealloc);
		break;
	case TABLE_DISK:
		err = parse_disk(k + 1, key_len, v + 1, val_len, &u.disk);
		break;
	case TABLE_XATTR:
		err = parse_xattr(k + 1, key_len, v + 1, val_len, NULL, &name, &name_len, &value,
				  &value_len);
		break;
	default:
		break;
	}
	record_to_text(k + 1, key_len, v + 1, val_len, &text);
	assert_true(text.len > 0);
	return err;
}

static void put_one_of_each(struct meta_txn *t)
{
	struct rec_inode inode = some_inode(16);
	struct rec_dentry dentry = {.ino = {7}, .mode = S_IFREG, .name = "a name"};
	struct rec_map map = {4096, 100, some_extent(2), 8};
	struct rec_extent extent = full_extent();
	struct rec_bydisk bydisk = {{1}, 2, 1024, 512, some_extent(3), 5};
	struct rec_freed freed = {{1}, 2, 512, 512};
	struct rec_orphan orphan = {{7}, ORPHAN_UNLINKED, 0};
	struct rec_usage usage = {{7}, 3, 1 << 21, 1 << 20, 17};
	struct rec_prealloc prealloc = {{7}, 3, 2, {{0, 4096}, {8192, 1 << 20}}};
	struct rec_disk disk = {
		.id = {1}, .uuid = {{2}}, .state = 1, .label = "l", .domain = "d", .path = "/p"};
	struct rec_settings settings = {{{4, 2}, 3, 3, false}, 2};
	struct rec_health health = {.disk = {1},
				    .state = 2,
				    .event = 2,
				    .relapses = 1,
				    .since_s = 9,
				    .text = "it broke"};

	put_inode(t, (ino_id){7}, &inode);
	put_inline(t, (ino_id){7}, "some inline data", 16);
	put_dentry(t, (ino_id){1}, &dentry);
	put_map(t, (ino_id){7}, &map);
	put_extent(t, &extent);
	put_bydisk(t, &bydisk);
	put_freed(t, &freed);
	put_numbers(t, (disk_id){1}, 9);
	put_doubt(t, (disk_id){1}, 9, 512);
	put_health(t, &health);
	put_orphan(t, &orphan);
	put_usage(t, &usage);
	put_fold(t, (ino_id){7}, 3);
	put_narrow(t, (ino_id){7}, 3);
	put_prealloc(t, &prealloc);
	put_disk(t, &disk);
	put_settings(t, &settings);
	put_xattr(t, (ino_id){7}, "user.x", "value", 5);
	put_audit(t, 1700000000, 1, "{\"event\":\"test\"}");
}

static void refuse_damage(const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len)
{
	FREE uint8_t *k = xmalloc(key_len), *v = xmalloc(val_len);
	bool known = parse_any(key, key_len, val, val_len) == 0;

	memcpy(k, key, key_len);
	memcpy(v, val, val_len);
	for (size_t i = 0; i < val_len * 8; i++) {
		v[i / 8] ^= (uint8_t)(1u << (i % 8));
		if (known && parse_any(k, key_len, v, val_len) == 0)
			fail_msg("table %c: value bit %zu flipped was accepted", key[0], i);
		v[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	for (size_t i = 0; i < key_len * 8; i++) { /* the value under another key */
		k[i / 8] ^= (uint8_t)(1u << (i % 8));
		if (parse_any(k, key_len, v, val_len) == 0)
			fail_msg("table %c: key bit %zu flipped was accepted", key[0], i);
		k[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	for (size_t len = 0; len < val_len; len++)
		assert_int_not_equal(parse_any(k, key_len, v, len), 0);
	for (size_t len = 0; len < key_len; len++)
		assert_int_not_equal(parse_any(k, len, v, val_len), 0);
}

static void test_damage(void **state)
{
	struct meta_txn *t = meta_begin(r.m);
	struct meta_iter *it;
	unsigned tables = 0;

	(void)state;
	put_one_of_each(t);
	commit(t);
	it = meta_iter_new(r.m);
	for (meta_iter_seek(it, "", 0); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *k = meta_iter_key(it, &key_len);
		const uint8_t *v = meta_iter_value(it, &val_len);
		BUF text = {0};

		record_to_text(k, key_len, v, val_len, &text);
		buf_put_u8(&text, 0);
		assert_null(strstr((char *)text.data, "damaged"));
		assert_null(strstr((char *)text.data, "unknown"));
		refuse_damage(k, key_len, v, val_len);
		tables++;
	}
	assert_int_equal(tables, 20);
	meta_iter_free(it);
}

/* A record that is rotten in the index is refused by name, not believed. */
static void test_get_damaged(void **state)
{
	struct rec_inode in = some_inode(0);
	struct meta_txn *t = meta_begin(r.m);
	BUF key = {0}, val = {0};

	(void)state;
	put_inode(t, (ino_id){9}, &in);
	commit(t);
	key_inode(&key, (ino_id){9});
	assert_int_equal(meta_get(r.m, key.data, key.len, &val), 0);
	val.data[30] ^= 1;
	t = meta_begin(r.m);
	meta_put(t, key.data, key.len, val.data, val.len);
	commit(t);
	assert_int_equal(get_inode(r.m, (ino_id){9}, &in), DFS_ECHECKSUM);
}

static void test_text(void **state)
{
	BUF text = {0};

	(void)state;
	record_to_text("Zzz", 3, "v", 1, &text);
	buf_put_u8(&text, 0);
	assert_non_null(strstr((char *)text.data, "unknown"));
	buf_reset(&text);
	record_to_text("I\n\"", 3, "v", 1, &text);
	buf_put_u8(&text, 0);
	assert_non_null(strstr((char *)text.data, "damaged \"I\\x0a\\x22\""));
	buf_reset(&text);
	record_to_text("", 0, "", 0, &text);
	assert_true(text.len > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_inode),	TEST(test_inline),
		TEST(test_dentry),	TEST(test_extent_and_others),
		TEST(test_xattr),	TEST(test_order),
		TEST(test_damage),	TEST(test_text),
		TEST(test_get_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
