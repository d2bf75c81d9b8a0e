/* SPDX-License-Identifier: Apache-2.0 */
/* Preallocation (F9): what fallocate promised can be written in a pool that is full since, once, in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/fs.h"
#include "meta/meta.h"
#include "meta/schema.h"
#include "unit/file_rig.h"

#define DISK_BYTES MIB(96)
#define PROMISED MIB(8)
#define PAGE 4096u

static struct file_rig *rig(uint64_t txn_bytes)
{
	struct fs_config cfg = {.txn_bytes = txn_bytes};

	return file_rig_new(&cfg, DISK_BYTES);
}

static uint64_t promised(struct file_rig *r)
{
	return (uint64_t)meta_counter(pool_meta(r->pool), META_COUNT_PREALLOC_BYTES);
}

static void preallocate(struct file_rig *r, struct inode *in, unsigned mode, uint64_t off,
			uint64_t len)
{
	assert_int_equal(fs_fallocate(r->fs, in, mode, off, len), 0);
}

static uint64_t available(struct file_rig *r)
{
	struct fs_statfs st;

	env_sleep_ms(250); /* it is told from memory meanwhile */
	fs_statfs(r->fs, &st);
	return st.available_bytes;
}

/* Writes to a file of its own until there is no more room. */
static void fill(struct file_rig *r, const char *name)
{
	static uint8_t data[MIB(1)];
	struct inode *in = rig_create(r, r->root, name);
	uint64_t off = 0;
	int rc = 0;

	memset(data, 'f', sizeof(data));
	for (size_t len = sizeof(data); len >= PAGE; len /= 4)
		while ((rc = fs_write(r->fs, in, off, len, data, false)) == 0)
			off += len;
	assert_int_equal(rc, DFS_ENOSPC);
	assert_true(off > PROMISED);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	fs_forget(r->fs, in, 1);
}

/* Every page, in an order without order, each with its number; synced each when so wanted. */
static void write_all(struct file_rig *r, struct inode *in, unsigned pages, bool sync)
{
	uint8_t page[PAGE];

	for (unsigned i = 0; i < pages; i++) {
		unsigned at = i * 7919u % pages;

		memset(page, (int)(at % 251 + 1), sizeof(page));
		rig_write(r, in, (uint64_t)at * PAGE, page, PAGE);
		if (sync)
			assert_int_equal(fs_fsync(r->fs, in, false), 0);
	}
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
}

static void expect_all(struct file_rig *r, struct inode *in, unsigned pages)
{
	FREE uint8_t *want = xmalloc((size_t)pages * PAGE);

	for (unsigned i = 0; i < pages; i++)
		memset(want + (size_t)i * PAGE, (int)(i % 251 + 1), PAGE);
	rig_expect(r, in, want, (size_t)pages * PAGE);
}

static void kept_when_full(unsigned mode, bool sync, bool crash)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "promised");

	preallocate(r, in, mode, 0, PROMISED);
	assert_int_equal(rig_attr(r, in).size, mode & FS_FALLOC_KEEP_SIZE ? 0 : PROMISED);
	assert_int_equal(rig_attr(r, in).blocks_512, PROMISED / 512);
	assert_int_equal(promised(r), PROMISED);
	fill(r, "filler");
	if (crash) {
		file_rig_crash(r);
		in = rig_lookup(r, r->root, "promised");
	}
	write_all(r, in, PROMISED / PAGE, sync);
	assert_int_equal(promised(r), 0);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "promised");
	expect_all(r, in, PROMISED / PAGE);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

static void test_kept_when_full(void **state)
{
	(void)state;
	kept_when_full(0, false, false);
	kept_when_full(FS_FALLOC_KEEP_SIZE, false, true);
}

static void test_kept_for_synced_pages(void **state)
{
	(void)state;
	kept_when_full(FS_FALLOC_KEEP_SIZE, true, false);
}

/* A single write larger than all that others still find. */
static void test_kept_for_one_write(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "promised");
	FREE uint8_t *data = xmalloc(MIB(4));

	(void)state;
	memset(data, 'd', MIB(4));
	preallocate(r, in, FS_FALLOC_KEEP_SIZE, MIB(2), MIB(4));
	fill(r, "filler");
	assert_int_equal(fs_write(r->fs, in, 0, MIB(2), data, false), DFS_ENOSPC);
	assert_int_equal(fs_write(r->fs, in, MIB(2), MIB(4), data, false), 0);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* Appends to what was preallocated beyond the end, as a log does, a few bytes at a time. */
static void test_kept_for_appends(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "log");
	char line[100], want[100 * 300];

	(void)state;
	preallocate(r, in, FS_FALLOC_KEEP_SIZE, 0, sizeof(want));
	fill(r, "filler");
	for (unsigned i = 0; i < 300; i++) {
		memset(line, 'a' + (int)(i % 26), sizeof(line));
		memcpy(want + i * sizeof(line), line, sizeof(line));
		assert_int_equal(fs_write(r->fs, in, 0, sizeof(line), line, true), 0);
		if (i % 10 == 0)
			assert_int_equal(fs_fsync(r->fs, in, false), 0);
	}
	rig_expect(r, in, want, sizeof(want));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* What is counted as taken comes back with the file's end, a hole, or the file. */
static void test_counted(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "promised");
	uint64_t all = available(r), left;

	(void)state;
	preallocate(r, in, FS_FALLOC_KEEP_SIZE, 0, PROMISED);
	left = available(r);
	assert_true(left + PROMISED <= all);
	preallocate(r, in, 0, MIB(1), MIB(2)); /* promised already */
	assert_int_equal(promised(r), PROMISED);
	assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_KEEP_SIZE, 0, all * 2), DFS_ENOSPC);
	assert_int_equal(fs_fallocate(r->fs, in, 0, 0, DFS_FILE_MAX), DFS_ENOSPC);
	assert_int_equal(promised(r), PROMISED);
	assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, MIB(1) + 10,
				      MIB(1)),
			 0);
	assert_int_equal(promised(r), PROMISED - MIB(1));
	rig_truncate(r, in, 3 * MIB(1)); /* to the size it has: what lies beyond goes */
	assert_int_equal(promised(r), MIB(2));
	rig_truncate(r, in, 100);
	assert_int_equal(promised(r), 100);
	rig_truncate(r, in, PROMISED);
	assert_int_equal(promised(r), 100);
	preallocate(r, in, 0, 0, PROMISED);
	assert_int_equal(promised(r), PROMISED);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "promised"), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	for (unsigned i = 0; i < 1500 && promised(r); i++)
		env_sleep_ms(20);
	assert_int_equal(promised(r), 0);
	assert_true(available(r) + MIB(2) > all);
	file_rig_free(r);
}

/* Only what is neither stored nor promised is promised; zeroing promises what it made a hole. */
static void test_around_data(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "sparse"), *tiny = rig_create(r, r->root, "tiny");
	FREE uint8_t *want = xcalloc(1, PROMISED);
	uint8_t page[PAGE];
	uint64_t seq;

	(void)state;
	memset(page, 'd', sizeof(page));
	for (unsigned i = 0; i < 200; i++) { /* more holes in a slot than a record holds ranges */
		rig_write(r, in, MIB(1) + i * 5000, page, 1000);
		memcpy(want + MIB(1) + (size_t)i * 5000, page, 1000);
	}
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	preallocate(r, in, 0, 0, PROMISED);
	assert_true(promised(r) < PROMISED - 200 * 1000);
	assert_true(promised(r) > PROMISED - MIB(1));
	rig_expect(r, in, want, PROMISED);
	preallocate(r, in, FS_FALLOC_ZERO, MIB(1), MIB(1));
	memset(want + MIB(1), 0, MIB(1));
	assert_int_equal(promised(r), PROMISED);
	rig_expect(r, in, want, PROMISED);

	rig_write(r, tiny, 0, "tiny", 4);
	assert_int_equal(fs_fsync(r->fs, tiny, false), 0);
	preallocate(r, tiny, 0, 0, 3000);
	assert_int_equal(promised(r), PROMISED + 2996);
	rig_write(r, tiny, 4, page, 996);
	assert_int_equal(fs_fsync(r->fs, tiny, false), 0);
	assert_int_equal(promised(r), PROMISED + 2000); /* just what was written */
	rig_truncate(r, tiny, 0);
	rig_write(r, tiny, 0, "tiny", 4);
	assert_int_equal(fs_fsync(r->fs, tiny, false), 0);
	preallocate(r, tiny, 0, 0, 3000); /* beside content in the index */
	seq = meta_last_seq(pool_meta(r->pool));
	rig_truncate(r, tiny, 1500);
	assert_int_equal(promised(r), PROMISED + 1496);
	assert_int_equal(meta_last_seq(pool_meta(r->pool)), seq + 1); /* all or nothing */
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, tiny, 1);
	file_rig_free(r);
}

/* More slots than one transaction names: promised, given up and deleted in steps, also across a crash. */
static void test_in_steps(void **state)
{
	struct fs_config cfg = {.txn_bytes = KIB(16)};
	struct file_rig *r = file_rig_new(&cfg, GIB(1));
	struct inode *in = rig_create(r, r->root, "large");
	uint64_t len = MIB(600);

	(void)state;
	preallocate(r, in, FS_FALLOC_KEEP_SIZE, 12345, len);
	assert_int_equal(promised(r), len);
	assert_true(meta_stats(pool_meta(r->pool)).largest_txn_bytes <= cfg.txn_bytes);
	assert_int_equal(fs_sync_all(r->fs), 0);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	assert_int_equal(promised(r), len);
	in = rig_lookup(r, r->root, "large");
	rig_truncate(r, in, 0);
	assert_int_equal(promised(r), 0);
	preallocate(r, in, 0, 0, len);
	assert_true(meta_stats(pool_meta(r->pool)).largest_txn_bytes <= cfg.txn_bytes);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "large"), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	file_rig_crash(r); /* perhaps in the middle of it */
	for (unsigned i = 0; i < 1500 && promised(r); i++)
		env_sleep_ms(20);
	assert_int_equal(promised(r), 0);
	file_rig_free(r);
}

/* Keys that no file can have, under its number: of slots beyond the greatest file, too short, too long. */
static void put_nonsense(struct file_rig *r, ino_id ino)
{
	struct meta *m = pool_meta(r->pool);
	struct meta_txn *t = meta_begin(m);
	uint64_t seq;
	BUF key = {0};

	for (uint64_t i = 0; i < 100; i++) {
		buf_reset(&key);
		key_prealloc(&key, ino, UINT64_MAX - i * i);
		meta_put(t, key.data, key.len, "nonsense", 8);
	}
	for (uint64_t slot = 0; slot < 3; slot++) {
		buf_reset(&key);
		key_prealloc(&key, ino, slot);
		buf_put(&key, "x", 1);
		meta_put(t, key.data, key.len, "nonsense", 8);
		meta_put(t, key.data, key.len - 6 - slot, "nonsense", 8);
	}
	assert_int_equal(meta_commit(t, &seq), 0);
}

static unsigned count_records(struct file_rig *r, ino_id ino)
{
	struct meta_iter *it = meta_iter_new(pool_meta(r->pool));
	unsigned n = 0;
	BUF key = {0};

	key_prealloc(&key, ino, 0);
	for (meta_iter_seek(it, key.data, 9); meta_iter_valid(it); meta_iter_next(it)) {
		size_t len;

		if (memcmp(meta_iter_key(it, &len), key.data, 9))
			break;
		n++;
	}
	meta_iter_free(it);
	return n;
}

/* They must not keep the file from being cut, punched or deleted, nor stay behind. */
static void test_nonsense(void **state)
{
	struct fs_config cfg = {.txn_bytes = KIB(16)};

	(void)state;
	for (unsigned deleted = 0; deleted < 2; deleted++) {
		struct file_rig *r = file_rig_new(&cfg, GIB(1));
		struct inode *in = rig_create(r, r->root, "odd");
		ino_id ino = rig_attr(r, in).ino;

		preallocate(r, in, 0, 0, MIB(8));
		put_nonsense(r, ino);
		assert_true(count_records(r, ino) > 100);
		if (deleted) {
			fs_forget(r->fs, in, 1);
			assert_int_equal(fs_unlink(r->fs, r->root, "odd"), 0);
			for (unsigned i = 0; i < 500 && count_records(r, ino); i++)
				env_sleep_ms(10);
			assert_int_equal(count_records(r, ino), 0);
		} else {
			rig_truncate(r, in, MIB(3) + 5);
			assert_int_equal(promised(r), MIB(3) + 5);
			rig_truncate(r, in, 0);
			assert_int_equal(count_records(r, ino), 0);
			fs_forget(r->fs, in, 1);
		}
		assert_int_equal(promised(r), 0);
		file_rig_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_when_full),
		cmocka_unit_test(test_kept_for_synced_pages),
		cmocka_unit_test(test_kept_for_one_write),
		cmocka_unit_test(test_kept_for_appends),
		cmocka_unit_test(test_counted),
		cmocka_unit_test(test_around_data),
		cmocka_unit_test(test_in_steps),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
