/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata beside checkpoints, other threads, full, slow and read-only members, and members that went back
 * in time, with both indexes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "format/journal.h"
#include "unit/meta_rig.h"

static void test_checkpoints_clean_up(void **state)
{
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 2);
	rig_must_open(&r);
	for (unsigned i = 0; i < 5; i++) {
		rig_fill(&r, i * 100, 100, i);
		assert_int_equal(meta_checkpoint(r.m), 0);
		assert_int_equal(rig_count_journals(&r, 0, ""), 2);
		assert_int_equal(meta_stats(r.m).journal_bytes, 0);
	}
	assert_int_equal(meta_stats(r.m).checkpoints, 5);
	assert_int_equal(meta_checkpoint(r.m), 0); /* nothing to do */
	assert_int_equal(meta_stats(r.m).checkpoints, 5);
	rig_must_close(&r);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(meta_check_member(r.devs[i], &r.pool, NULL, NULL), 0);
	rig_must_open(&r);
	for (unsigned i = 0; i < 5; i++)
		rig_expect_value(&r, i * 100, 100, i);
	rig_must_close(&r);
	rig_release(&r);
}

struct worker {
	struct rig *r;
	unsigned first, count;
	unsigned sync_every;
	struct dev *breaks; /* half way; NULL: nothing does */
};

static void work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->count; i++) {
		uint64_t seq = rig_commit(w->r, w->first + i, 7);
		struct fault_plan gone = {.gone = true};

		if (w->breaks && i == w->count / 2)
			dev_fault_set(w->breaks, &gone);
		if (i % w->sync_every == 0)
			assert_int_equal(meta_sync(w->r->m, seq), 0);
	}
	assert_int_equal(meta_sync(w->r->m, meta_last_seq(w->r->m)), 0);
}

static void test_concurrent(void **state)
{
	struct worker w[4];
	struct env_thread *t[4];
	struct rig r;

	rig_init(&r, rocks_of(state), 5, 4);
	r.checkpoint_bytes = KIB(64); /* often, and throttled */
	r.buffer_bytes = KIB(8);
	rig_must_open(&r);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){&r, i * 10000, 1500, i + 1, i == 0 ? r.devs[2] : NULL};
		t[i] = env_thread_start("worker", work, &w[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		(void)!meta_checkpoint(r.m);
	for (unsigned i = 0; i < 4; i++)
		env_thread_join(t[i]);
	assert_true(meta_stats(r.m).checkpoints > 3);
	assert_in_range(r.failed[3], 1, 2); /* as a member, and as a place for tables */
	assert_int_equal(meta_last_seq(r.m), 6000);
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 6000);
	r.witness = meta_witness(r.m);
	rig_kill(&r);
	r.absent[2] = true;
	rig_must_open(&r);
	for (unsigned i = 0; i < 4; i++)
		rig_expect_value(&r, i * 10000, 1500, 7);
	rig_must_close(&r);
	rig_release(&r);
}

/* Committers wait while the journal is three times as long as wanted and the checkpoint is slow. */
static void test_throttle(void **state)
{
	struct fault_plan slow = {.delay_ms = 2}, none = {0};
	uint64_t longest = 0;
	struct rig r;

	rig_init(&r, rocks_of(state), 2, 2);
	r.checkpoint_bytes = KIB(16);
	r.buffer_bytes = KIB(8);
	rig_must_open(&r);
	dev_fault_set(r.devs[0], &slow);
	for (unsigned i = 0; i < 2000; i++) {
		rig_commit(&r, i, 1);
		longest = MAX(longest, meta_stats(r.m).journal_bytes);
	}
	assert_true(longest >= KIB(16));
	assert_true(longest <= KIB(3 * 16 + 2 * 8 + 1));
	dev_fault_set(r.devs[0], &none);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 2000, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* A member that went back in time (a restored backup) is listed, but of an older epoch. */
static void test_rolled_back_member(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	char cmd[512];
	struct rig r;
	unsigned n;

	rig_init(&r, rocks_of(state), 4, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	rig_must_close(&r);
	snprintf(cmd, sizeof(cmd), "cp -r %s/disk0 %s/backup", r.dir, r.dir);
	assert_int_equal(system(cmd), 0);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 2);
	r.absent[1] = true; /* replaced by the third disk: a new epoch, with the first one in it */
	n = rig_disks(&r, disks);
	assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
	rig_fill(&r, 0, 50, 3);
	assert_true(meta_is_member(r.m, (disk_id){1}));
	assert_true(meta_is_member(r.m, (disk_id){3}));
	rig_kill(&r);
	snprintf(cmd, sizeof(cmd),
		 "rm -r %s/disk0/dynamicfs/* && cp -r %s/backup/dynamicfs/* %s/disk0/dynamicfs/",
		 r.dir, r.dir, r.dir);
	assert_int_equal(system(cmd), 0);
	rig_destroy_index(&r);
	r.absent[2] = true; /* only a witness knows the newest epoch */
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
	r.absent[2] = false;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 3);
	rig_must_close(&r);
	rig_release(&r);
}

/* A record is missing in the middle of a group, all others are whole: the chain ends before it. */
static void test_missing_record(void **state)
{
	struct rig_record rec, end;
	char name[64];
	struct rig r;
	size_t len;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++) {
		FREE uint8_t *data = NULL;

		rig_find_record(&r, i, 41, &rec);
		rig_find_record(&r, i, 100, &end);
		snprintf(name, sizeof(name), "meta/journal/%.16s", strrchr(rec.path, '/') + 1);
		assert_int_equal(dev_read_all(r.devs[i], name, MIB(8), &data, &len), 0);
		memmove(data + rec.off, data + rec.off + rec.len,
			end.off + end.len - rec.off - rec.len);
		assert_int_equal(dev_replace(r.devs[i], name, data, len), 0);
	}
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 40, 1);
	for (unsigned i = 40; i < 100; i++)
		assert_false(rig_has(&r, i, 1));
	assert_int_equal(meta_last_seq(r.m), 40);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_read_only(void **state)
{
	struct meta_txn *t;
	char path[256];
	struct rig r;
	uint64_t seq, generation;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	generation = meta_generation(r.m);
	rig_kill(&r);
	r.read_only = true;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 100, 1);
	t = meta_begin(r.m);
	meta_put(t, "k", 1, "v", 1);
	assert_int_equal(meta_commit(t, &seq), DFS_EROFS);
	assert_int_equal(meta_checkpoint(r.m), DFS_EROFS);
	rig_must_close(&r);
	{
		struct root root;
		unsigned damaged;

		assert_int_equal(meta_read_root(r.devs[0], &root, &damaged), 0);
		assert_int_equal(root.generation, generation);
	}
	assert_true(rig_find(&r, 0, "meta/journal", "0", path));
	rig_release(&r);
}

/* One full member keeps no checkpoint from the others (J6); too few for the tables fail it, but not the pool. */
static void test_full_member(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	dev_fault_set(r.devs[0], &full);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_true(meta_is_member(r.m, (disk_id){1}));
	rig_fill(&r, 100, 50, 1);
	dev_fault_set(r.devs[1], &full);
	assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC);
	assert_int_equal(r.failed[1] + r.failed[2], 0);
	dev_fault_set(r.devs[0], &none);
	dev_fault_set(r.devs[1], &none);
	rig_fill(&r, 150, 50, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_fill(&r, 200, 10, 1);
	rig_kill(&r);
	dev_fault_set(r.devs[0], &full);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 210, 1);
	rig_kill(&r);
	dev_fault_set(r.devs[0], &none);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 210, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* Too full for a checkpoint at open, and the members aren't equal: they are made so (M16), and any of them is enough. */
static void test_full_and_unequal(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct rig_record rec;
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	rig_kill(&r);
	for (unsigned i = 0; i < 2; i++) { /* the first two lost the end */
		rig_find_record(&r, i, 100, &rec);
		rig_flip(rec.path, (long)rec.off + 70);
	}
	dev_fault_set(r.devs[1], &full);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 100, 1);
	for (unsigned i = 1; i <= 3; i++)
		assert_true(meta_is_member(r.m, (disk_id){i}));
	rig_fill(&r, 100, 1, 1);
	r.witness = meta_witness(r.m);
	rig_kill(&r);
	dev_fault_set(r.devs[1], &none);
	r.absent[2] = true;
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 101, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* Members whose writes are slow go through their threads: same result. */
static void test_slow_members(void **state)
{
	struct fault_plan slow = {.delay_ms = 20}, none = {0};
	struct rig r;
	uint64_t start;

	rig_init(&r, rocks_of(state), 4, 4);
	rig_must_open(&r);
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &slow);
	rig_fill(&r, 0, 1, 1); /* learns that they are slow */
	start = env_now_ns();
	for (unsigned i = 1; i < 11; i++)
		rig_fill(&r, i, 1, 1);
	/* Ten writes and syncs of 20 ms each: 0.4 s at the same time, 1.6 s in turn. */
	assert_true(env_now_ns() - start < 1500000000u);
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &none);
	rig_fill(&r, 11, 50, 1);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 61, 1);
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_checkpoints_clean_up),
		BOTH(test_concurrent),
		BOTH(test_read_only),
		BOTH(test_full_member),
		BOTH(test_throttle),
		BOTH(test_rolled_back_member),
		BOTH(test_missing_record),
		BOTH(test_full_and_unequal),
		BOTH(test_slow_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
