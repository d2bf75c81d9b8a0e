/* SPDX-License-Identifier: Apache-2.0 */
/* Giving space back from an index that lies (P10): what lives stays, the rest goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "extent/extent.h"
#include "file/internal.h"
#include "unit/file_rig.h"

#define FILES 40u
#define LEN 20000u

static uint8_t content[FILES][LEN];

static void put_raw(struct file_rig *r, const struct buf *key, const void *val, size_t len)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	meta_put(t, key->data, key->len, val, len);
	assert_int_equal(meta_commit(t, &seq), 0);
}

static struct inode *file_of(struct file_rig *r, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "f%u", i);
	return rig_lookup(r, r->root, name);
}

static void extent_of(struct file_rig *r, unsigned i, struct rec_extent *ret)
{
	struct inode *in = file_of(r, i);
	struct map_cursor c = {0};

	assert_int_equal(map_seek(&c, in, 0), 0);
	assert_int_equal(get_extent(r->fs->meta, c.rec.extent, ret), 0);
	map_done(&c);
	fs_forget(r->fs, in, 1);
}

static void make_files(struct file_rig *r)
{
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];
		struct inode *in;

		snprintf(name, sizeof(name), "f%u", i);
		in = rig_create(r, r->root, name);
		for (unsigned j = 0; j < LEN; j++)
			content[i][j] = (uint8_t)(i * 31 + j * 7);
		rig_write(r, in, 0, content[i], LEN);
		assert_int_equal(fs_fsync(r->fs, in, false), 0);
		fs_forget(r->fs, in, 1);
	}
}

/* Every second one goes; the segments are quiet then. */
static void remove_some(struct file_rig *r)
{
	for (unsigned i = 1; i < FILES; i += 2) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fs_unlink(r->fs, r->root, name), 0);
	}
	reap_wait(r->fs);
	for (unsigned i = 0; i < disk_count(pool_disks(r->pool)); i++)
		segment_close_open(disk_at(pool_disks(r->pool), i));
}

static unsigned freed_left(struct file_rig *r)
{
	const uint8_t table = TABLE_FREED;
	struct meta_iter *it = meta_iter_new(r->fs->meta);
	unsigned count = 0;

	for (meta_iter_seek(it, &table, 1); meta_iter_valid(it); meta_iter_next(it)) {
		size_t len;
		const uint8_t *key = meta_iter_key(it, &len);

		if (key[0] != table)
			break;
		/* Those of segments that are not there yet wait, and keep nobody else from going on. */
		count += key[7] == 0;
	}
	meta_iter_free(it);
	return count;
}

static void reclaim_all(struct file_rig *r)
{
	unsigned done = 0;

	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(extent_reclaim(r->fs->extents, 16, &done), 0);
}

static void expect_files(struct file_rig *r)
{
	for (unsigned i = 0; i < FILES; i += 2) {
		struct inode *in = file_of(r, i);

		rig_expect(r, in, content[i], LEN);
		fs_forget(r->fs, in, 1);
	}
}

/* Freed entries that overlap what lives: nothing is punched for them, and they are worked off. */
static void test_freed_overlaps_live(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);

	(void)state;
	make_files(r);
	remove_some(r);
	for (unsigned i = 0; i < FILES; i += 2) {
		struct meta_txn *t = meta_begin(r->fs->meta);
		struct rec_freed f;
		struct rec_extent x;
		uint64_t seq;

		extent_of(r, i, &x);
		f = (struct rec_freed){x.frags[0].disk, x.frags[0].segment, x.frags[0].offset,
				       x.frags[0].record_len};
		put_freed(t, &f);
		f.offset += 512;
		put_freed(t, &f);
		f.segment += 1000; /* of which there is none */
		put_freed(t, &f);
		f.disk.v = 400;
		put_freed(t, &f);
		f.disk.v = 2;
		f.offset = UINT32_MAX - 1023 - f.record_len;
		put_freed(t, &f);
		assert_int_equal(meta_commit(t, &seq), 0);
	}
	reclaim_all(r);
	assert_int_equal(freed_left(r), 0);
	expect_files(r);
	file_rig_free(r);
}

/* P3: a by-disk record that has rotted still stands for what lives there. */
static void test_bydisk_is_damaged(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct rec_extent x;

	(void)state;
	make_files(r);
	for (unsigned i = 0; i < FILES; i += 2) {
		extent_of(r, i, &x);
		for (unsigned j = 0; j < (unsigned)x.k + x.m; j++) {
			BUF key = {0};

			key_bydisk(&key, x.frags[j].disk, x.frags[j].segment, x.frags[j].offset);
			put_raw(r, &key, "rotten", 6);
		}
	}
	remove_some(r);
	reclaim_all(r);
	expect_files(r);
	for (unsigned i = 0; i < FILES; i += 2) {
		extent_of(r, i, &x);
		for (unsigned j = 0; j < (unsigned)x.k + x.m; j++) {
			struct meta_txn *t = meta_begin(r->fs->meta);
			struct rec_bydisk by = {x.frags[j].disk,
						x.frags[j].segment,
						x.frags[j].offset,
						x.frags[j].record_len,
						x.id,
						(uint8_t)j};
			uint64_t seq;

			put_bydisk(t, &by);
			assert_int_equal(meta_commit(t, &seq), 0);
		}
	}
	file_rig_free(r); /* fsck reads every fragment */
}

/* Freed entries that can't be read don't keep the others from being worked off. */
static void test_freed_is_damaged(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	BUF key = {0};

	(void)state;
	make_files(r);
	remove_some(r);
	for (unsigned i = 0; i < 40; i++) {
		key_freed(&key, (disk_id){1}, 0, i * 512);
		put_raw(r, &key, "rotten", 6);
	}
	reclaim_all(r);
	assert_int_equal(freed_left(r), 40);
	expect_files(r);
	for (unsigned i = 0; i < 40; i++) {
		struct meta_txn *t = meta_begin(r->fs->meta);
		uint64_t seq;

		del_freed(t, (disk_id){1}, 0, i * 512);
		assert_int_equal(meta_commit(t, &seq), 0);
	}
	file_rig_free(r);
}

/* A disk that failed by itself comes back, with the next mount at the latest: what was freed there meanwhile
 * waits for it. One that was given up never does. */
static void test_failed_for_now(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct disk *d = disk_at(pool_disks(r->pool), 0);
	struct meta_txn *t;
	struct rec_disk rec;
	unsigned waiting;
	uint64_t seq;

	(void)state;
	make_files(r);
	disk_set_state(d, DISK_FAILED);
	remove_some(r);
	reclaim_all(r);
	waiting = freed_left(r);
	assert_true(waiting > 0);
	disk_set_state(d, DISK_HEALTHY);
	reclaim_all(r);
	assert_int_equal(freed_left(r), 0);
	expect_files(r);

	disk_set_state(d, DISK_FAILED);
	for (unsigned i = 0; i < FILES; i += 4) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fs_unlink(r->fs, r->root, name), 0);
	}
	reap_wait(r->fs);
	reclaim_all(r);
	assert_true(freed_left(r) > 0);
	assert_int_equal(get_disk(r->fs->meta, disk_info(d).id, &rec), 0);
	rec.state = DISK_FAILED;
	t = meta_begin(r->fs->meta);
	put_disk(t, &rec);
	assert_int_equal(meta_commit(t, &seq), 0);
	reclaim_all(r);
	assert_int_equal(freed_left(r), 0);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_freed_overlaps_live),
		cmocka_unit_test(test_bydisk_is_damaged),
		cmocka_unit_test(test_freed_is_damaged),
		cmocka_unit_test(test_failed_for_now),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
