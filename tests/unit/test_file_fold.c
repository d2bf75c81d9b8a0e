/* SPDX-License-Identifier: Apache-2.0 */
/* Folding (U1..U5): what is folded, what it gives back, and what keeps it from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

static struct file_rig *rig(uint64_t capacity_bytes)
{
	struct fs_config cfg = {.flush_interval_ms = 3600000, .no_fold = true};

	return file_rig_new(&cfg, capacity_bytes);
}

static uint64_t stored(struct file_rig *r)
{
	uint64_t sum = 0;

	for (unsigned i = 1; i <= RIG_DISKS; i++)
		sum += (uint64_t)meta_counter(r->fs->meta, META_COUNT_DISK_USED + i);
	return sum;
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
}

/* Synced one by one: each is an extent of its own. */
static void overwrite(struct file_rig *r, struct inode *in, uint8_t *data, size_t size,
		      unsigned count, size_t piece, unsigned seed)
{
	for (unsigned i = 0; i < count; i++) {
		size_t off;

		seed = seed * 1103515245u + 12345u;
		off = seed % (size - piece);
		fill(data + off, piece, seed);
		rig_write(r, in, off, data + off, piece);
		assert_int_equal(seal_wait(in), 0);
	}
}

static void test_small_pieces(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(1));
	uint64_t whole;

	(void)state;
	fill(data, MIB(1), 1);
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	whole = stored(r);
	assert_false(in->rec.flags & INODE_USAGE);
	assert_int_equal(fold_some(r->fs, 10), 0); /* nothing is listed */
	/* 1.5 MiB in 4+2; a hundred pieces of 100 bytes add 150 KiB. */
	overwrite(r, in, data, MIB(1), 100, 100, 2);
	assert_true(in->rec.flags & INODE_USAGE);
	assert_int_equal(fold_some(r->fs, 10), 0); /* it is within its bound */
	overwrite(r, in, data, MIB(1), 1100, 100, 3);
	assert_true(stored(r) > 2 * whole);
	assert_int_equal(fold_some(r->fs, 10), 1);
	assert_int_equal(stored(r), whole);
	assert_int_equal(meta_counter(r->fs->meta, META_COUNT_EXTENTS), 1);
	assert_int_equal(fold_some(r->fs, 10), 0);
	rig_expect(r, in, data, MIB(1));
	/* What a punch leaves of it is garbage, too. */
	assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, 5000,
				      MIB(1) - 6000),
			 0);
	memset(data + 5000, 0, MIB(1) - 6000);
	assert_int_equal(fold_some(r->fs, 10), 1);
	assert_true(stored(r) < KIB(30));
	rig_expect(r, in, data, MIB(1));
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, MIB(1));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

static uint64_t newest(struct inode *in)
{
	struct map_cursor c = {0};
	uint64_t tick = 0;

	for (int rc = map_seek(&c, in, 0); rc == 0 && c.valid; rc = map_next(&c))
		tick = MAX(tick, uuid_tick_of(&c.rec.extent.u));
	map_done(&c);
	return tick;
}

/* E8: what a fold writes is as old as what it read, for what is being written meanwhile is newer. */
static void test_age(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(1));
	uint64_t before;

	(void)state;
	rig_write(r, in, 0, data, MIB(1));
	overwrite(r, in, data, MIB(1), 1200, 100, 3);
	before = newest(in);
	assert_true(before > 0);
	assert_int_equal(fold_some(r->fs, 10), 1);
	assert_int_equal(meta_counter(r->fs->meta, META_COUNT_EXTENTS), 1);
	assert_int_equal(newest(in), before);
	overwrite(r, in, data, MIB(1), 1, 100, 4);
	assert_true(newest(in) > before);
	rig_expect(r, in, data, MIB(1));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

/* What is listed may be gone, or be removed before its turn. */
static void test_gone(void **state)
{
	struct file_rig *r = rig(0);
	uint8_t *data = calloc(1, KIB(64));
	struct inode *in = rig_create(r, r->root, "f");

	(void)state;
	rig_write(r, in, 0, data, KIB(64));
	overwrite(r, in, data, KIB(64), 400, 100, 4);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	reap_wait(r->fs);
	assert_int_equal(stored(r), 0);
	assert_int_equal(fold_some(r->fs, 10), 0);
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	put_fold(t, (ino_id){77}, 3);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(fold_some(r->fs, 1), 1); /* the entry goes */
	assert_int_equal(fold_some(r->fs, 1), 0);
	file_rig_free(r);
	free(data);
}

/* P3: what can't be read stays, and keeps nothing else from being folded. */
static void test_unreadable(void **state)
{
	struct file_rig *r = rig(0);
	uint8_t *data = calloc(1, KIB(64));
	struct inode *bad = rig_create(r, r->root, "bad"), *good = rig_create(r, r->root, "good");
	BUF key = {0}, was = {0};
	struct map_cursor c = {0};
	uint64_t before, seq;
	struct meta_txn *t;

	(void)state;
	fill(data, KIB(64), 1);
	rig_write(r, bad, 0, data, KIB(64));
	overwrite(r, bad, data, KIB(64), 400, 100, 5);
	assert_int_equal(map_seek(&c, bad, KIB(32)), 0);
	key_extent(&key, c.rec.extent);
	map_done(&c);
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &was), 0);
	t = meta_begin(r->fs->meta);
	meta_put(t, key.data, key.len, "rotten", 6);
	assert_int_equal(meta_commit(t, &seq), 0);
	before = stored(r);
	assert_int_equal(fold_some(r->fs, 4), 0);
	assert_int_equal(stored(r), before);
	fill(data, KIB(64), 2);
	rig_write(r, good, 0, data, KIB(64));
	overwrite(r, good, data, KIB(64), 400, 100, 6);
	assert_int_equal(fold_some(r->fs, 1), 1);
	rig_expect(r, good, data, KIB(64));
	t = meta_begin(r->fs->meta);
	meta_put(t, key.data, key.len, was.data, was.len);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(fold_some(r->fs, 1), 0); /* not so soon */
	r->fs->fold.bad[0].until_ns = 0;
	assert_int_equal(fold_some(r->fs, 1), 1);
	assert_true(stored(r) < 2 * 3 * KIB(70));
	fs_forget(r->fs, bad, 1);
	fs_forget(r->fs, good, 1);
	file_rig_free(r);
	free(data);
}

/* A pool whose space is garbage takes what fits without it, though nobody folds in the background. */
static void test_full_of_garbage(void **state)
{
	struct file_rig *r = rig(MIB(14));
	uint8_t *data = calloc(1, MIB(8));
	struct inode *in = rig_create(r, r->root, "f");
	unsigned seed = 7;

	(void)state;
	fill(data, MIB(8), 1);
	rig_write(r, in, 0, data, MIB(8));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	/* Far more than the disks hold. */
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned j = 0; j < 100; j++) {
			size_t off;

			seed = seed * 1103515245u + 12345u;
			off = (seed >> 8) % (MIB(8) / 4096) * 4096;
			fill(data + off, 4096, seed);
			rig_write(r, in, off, data + off, 4096);
		}
		assert_int_equal(fs_fsync(r->fs, in, false), 0);
	}
	rig_expect(r, in, data, MIB(8));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

/* Beyond the excess that is allowed a write waits for folding to get on, though not for ever (U4). */
static void test_writers_wait(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 3600000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	unsigned waited = 0;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		uint64_t start = env_now_ns();

		env_mutex_lock(&r->fs->fold.lock);
		r->fs->fold.excess = MIB(40);
		r->fs->fold.stalled = false;
		env_mutex_unlock(&r->fs->fold.lock);
		rig_write(r, in, i, "x", 1);
		waited += env_now_ns() - start > 40000000u;
	}
	assert_true(waited >= 3); /* the folding thread may find meanwhile that nothing is listed */
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* U8: what lies scattered within its bound is folded once nobody has written there for a while; what hardly does, never. */
static void test_resting(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "f"), *other = rig_create(r, r->root, "g");
	uint8_t *data = calloc(2, MIB(1)), *more = data + MIB(1);
	uint64_t whole, before;

	(void)state;
	fill(data, MIB(1), 1);
	fill(more, MIB(1), 2);
	rig_write(r, in, 0, data, MIB(1));
	rig_write(r, other, 0, more, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(fs_fsync(r->fs, other, false), 0);
	whole = stored(r);
	overwrite(r, in, data, MIB(1), 500, 100, 3);
	overwrite(r, other, more, MIB(1), 50, 100, 4);
	before = stored(r);
	assert_int_equal(fold_some(r->fs, 10), 0); /* both are within their bounds */
	r->fs->cfg.rest_after_ms = 3600000;
	assert_int_equal(resting_next(r->fs), 0);
	assert_int_equal(stored(r), before); /* it was written to lately */
	assert_int_equal(resting_next(r->fs), DFS_ENOENT);
	r->fs->resting.next_ns = 0;
	r->fs->cfg.rest_after_ms = 1;
	env_sleep_ms(5);
	assert_int_equal(resting_next(r->fs), 0);
	assert_true(stored(r) < before);
	assert_true(stored(r) < whole + whole / 8);
	r->fs->resting.next_ns = 0;
	assert_int_equal(resting_next(r->fs), DFS_ENOENT);
	assert_true(other->rec.flags & INODE_USAGE);
	assert_true(stored(r) > whole);
	rig_expect(r, in, data, MIB(1));
	rig_expect(r, other, more, MIB(1));
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, other, 1);
	file_rig_free(r);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_pieces),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_full_of_garbage),
		cmocka_unit_test(test_writers_wait),
		cmocka_unit_test(test_resting),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
