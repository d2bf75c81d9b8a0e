/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata transactions over real directories, with both indexes: P1 and P2 over kills, P5 over a
 * lost index, P8 over stale disks, M1..M9 over lost members. Each test runs once with the
 * in-memory index and once with RocksDB.
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

static void test_close_and_reopen(void **state)
{
	struct rig r;

	rig_init(&r, rocks_of(state), 4, 3);
	rig_must_open(&r);
	assert_int_equal(meta_last_seq(r.m), 0);
	rig_fill(&r, 0, 500, 1);
	rig_fill(&r, 100, 50, 2);
	assert_int_equal(meta_durable_seq(r.m), 550);
	rig_must_close(&r);

	rig_must_open(&r);
	assert_true(r.rec.was_clean);
	assert_false(r.rec.index_rebuilt);
	assert_int_equal(r.rec.replayed_transactions, 0);
	assert_int_equal(meta_last_seq(r.m), 550);
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 550);
	rig_expect_value(&r, 0, 100, 1);
	rig_expect_value(&r, 100, 50, 2);
	rig_expect_value(&r, 150, 350, 1);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_kill_and_reopen(void **state)
{
	struct rig r;

	rig_init(&r, rocks_of(state), 4, 3);
	for (unsigned round = 0; round < 6; round++) {
		uint64_t synced;

		rig_must_open(&r);
		assert_int_equal(meta_counter(r.m, META_COUNT_INODES), meta_last_seq(r.m));
		for (unsigned before = 0; before < round; before++)
			rig_expect_value(&r, before * 100, 100, before);
		rig_fill(&r, round * 100, 100, round);
		synced = meta_durable_seq(r.m);
		if (round % 2)
			assert_int_equal(meta_checkpoint(r.m), 0);
		rig_commit(&r, 100000 + round, 0); /* not synced */
		rig_kill(&r);
		rig_must_open(&r);
		assert_true(meta_last_seq(r.m) >= synced);
		rig_expect_value(&r, round * 100, 100, round);
		rig_kill(&r);
	}
	rig_release(&r);
}

static void test_unsynced_is_a_prefix(void **state)
{
	struct rig r;
	unsigned n = 0;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(meta_sync(r.m, rig_commit(&r, i, 1)), 0);
	for (unsigned i = 50; i < 80; i++)
		rig_commit(&r, i, 1);
	rig_kill(&r);
	rig_must_open(&r);
	while (n < 80 && rig_has(&r, n, 1))
		n++;
	assert_in_range(n, 50, 80);
	assert_int_equal(meta_last_seq(r.m), n);
	for (unsigned i = n; i < 80; i++)
		assert_false(rig_has(&r, i, 1));
	rig_must_close(&r);
	rig_release(&r);
}

static void test_iterators_find_keys(void **state)
{
	/* the next, the same, a few further, far further, before, absent at each of these places */
	static const char *const there[] = {"k00000002", "k00000003", "k00000003", "k00000006",
					    "k00000050", "k00000010", "k00000079"};
	static const char *const absent[] = {"k00000079x", "k00000003x", "k00000005x", "k", "z"};
	struct meta_iter *it;
	struct rig r;

	rig_init(&r, rocks_of(state), 1, 1);
	rig_must_open(&r);
	rig_fill(&r, 0, 80, 1);
	it = meta_iter_new(r.m);
	for (unsigned i = 0; i < ARRAY_SIZE(there); i++) {
		size_t len;

		assert_true(meta_iter_find(it, there[i], 9));
		assert_memory_equal(meta_iter_key(it, &len), there[i], 9);
		for (unsigned j = 0; j < ARRAY_SIZE(absent); j++)
			if (j % 2 == i % 2)
				assert_false(meta_iter_find(it, absent[j], strlen(absent[j])));
	}
	assert_int_equal(meta_iter_error(it), 0);
	meta_iter_free(it);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_iterators_are_snapshots(void **state)
{
	struct meta_iter *it;
	const uint8_t *key;
	struct rig r;
	unsigned n = 0;
	size_t len;

	rig_init(&r, rocks_of(state), 1, 1);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	it = meta_iter_new(r.m);
	rig_fill(&r, 100, 100, 1);
	for (meta_iter_seek(it, "k", 1); meta_iter_valid(it); meta_iter_next(it)) {
		key = meta_iter_key(it, &len);
		if (key[0] != 'k')
			break;
		n++;
	}
	assert_int_equal(n, 100);
	assert_int_equal(meta_iter_error(it), 0);
	meta_iter_seek_back(it, "k00000050x", 10);
	assert_true(meta_iter_valid(it));
	key = meta_iter_key(it, &len);
	assert_memory_equal(key, "k00000050", 9);
	meta_iter_prev(it);
	key = meta_iter_key(it, &len);
	assert_memory_equal(key, "k00000049", 9);
	meta_iter_free(it);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_deletes_and_counters(void **state)
{
	struct rig r;
	struct meta_txn *t;
	uint64_t seq = 0;

	rig_init(&r, rocks_of(state), 2, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	t = meta_begin(r.m);
	for (unsigned i = 0; i < 10; i += 2) {
		char key[32];

		meta_del(t, key, (size_t)snprintf(key, sizeof(key), "k%08u", i));
		meta_add(t, META_COUNT_INODES, -1);
		meta_add(t, META_COUNT_DISK_USED + 3, 4096);
	}
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(meta_sync(r.m, seq), 0);
	t = meta_begin(r.m); /* empty */
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(seq, 11);
	for (unsigned pass = 0; pass < 3; pass++) {
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(rig_has(&r, i, 1), i % 2);
		assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 5);
		assert_int_equal(meta_counter(r.m, META_COUNT_DISK_USED + 3), 5 * 4096);
		if (pass == 0)
			rig_kill(&r);
		else
			rig_must_close(&r);
		rig_must_open(&r);
	}
	rig_kill(&r);
	rig_release(&r);
}

static void test_lost_index(void **state)
{
	struct rig r;

	rig_init(&r, rocks_of(state), 4, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 300, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_fill(&r, 200, 200, 2);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	assert_int_equal(r.rec.replayed_transactions, 200);
	rig_expect_value(&r, 0, 200, 1);
	rig_expect_value(&r, 200, 200, 2);
	rig_must_close(&r);
	rig_destroy_index(&r); /* after a clean close, from the mirror alone */
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	assert_int_equal(r.rec.replayed_transactions, 0);
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 500);
	rig_expect_value(&r, 200, 200, 2);
	rig_must_close(&r);
	rig_release(&r);
}

/* What is left when as many disks are lost as metadata bears gives everything back, with the index
 * lost, too; when one more is lost, that is said and nothing invented. */
static void test_tolerance(void **state)
{
	for (unsigned mask = 0; mask < 64; mask++) {
		unsigned left = (unsigned)__builtin_popcount(mask);
		struct rig r;

		if (left < 3 || left > 4 || !(mask & 7))
			continue; /* the members are the first three */
		rig_init(&r, rocks_of(state), 6, 3);
		r.table_k = 4;
		rig_must_open(&r);
		rig_fill(&r, 0, 200, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		rig_fill(&r, 200, 100, 1);
		r.witness = meta_witness(r.m);
		rig_kill(&r);
		rig_destroy_index(&r);
		for (unsigned i = 0; i < 6; i++)
			r.absent[i] = !(mask & (1u << i));
		r.force = left == 3; /* 4 + 2; also half of the disks or fewer */
		if (left == 3) {
			assert_int_equal(rig_open(&r), DFS_ECHECKSUM);
			rig_release(&r);
			continue;
		}
		rig_must_open(&r);
		rig_expect_value(&r, 0, 300, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* All combinations of three of five disks, all five members; what was synced is there, and those
 * left out are not believed when they come back alone. */
static void test_three_of_five(void **state)
{
	for (unsigned mask = 0; mask < 32; mask++) {
		struct rig r;

		if (__builtin_popcount(mask) != 3)
			continue;
		rig_init(&r, rocks_of(state), 5, 5);
		rig_must_open(&r);
		rig_fill(&r, 0, 50, 1);
		rig_kill(&r);
		rig_destroy_index(&r);
		for (unsigned i = 0; i < 5; i++)
			r.absent[i] = !(mask & (1u << i));
		rig_must_open(&r); /* a majority: no memory of the epoch needed */
		rig_expect_value(&r, 0, 50, 1);
		rig_fill(&r, 0, 50, 2);
		r.witness = meta_witness(r.m);
		rig_must_close(&r);
		for (unsigned i = 0; i < 5; i++)
			r.absent[i] = mask & (1u << i);
		assert_int_equal(rig_open(&r), DFS_ESTALE);
		r.witness.known = false;
		rig_destroy_index(&r);
		assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
		memset(r.absent, 0, sizeof(r.absent));
		rig_must_open(&r); /* stale and new together: the new wins, the stale are remade */
		rig_expect_value(&r, 0, 50, 2);
		rig_kill(&r);
		rig_destroy_index(&r);
		for (unsigned i = 0; i < 5; i++)
			r.absent[i] = mask & (1u << i);
		r.force = true;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 50, 2);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* A tie: only with the pool directory, which must be told; a majority goes on without it (H3, H5). */
static void test_pool_directory_decides(void **state)
{
	struct fault_plan gone = {.gone = true}, none = {0};
	struct history_witness before;
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	before = r.told;
	r.told_err = DFS_ENOSPC;
	dev_fault_set(r.devs[2], &gone);
	rig_fill(&r, 10, 10, 1); /* two of three: the pool directory is behind, and that is all */
	assert_true(meta_epoch(r.m) > before.epoch);
	assert_int_equal(r.told.epoch, before.epoch);
	dev_fault_set(r.devs[1], &gone);
	assert_int_not_equal(meta_sync(r.m, rig_commit(&r, 20, 1)), 0); /* one of two */
	rig_kill(&r);
	dev_fault_set(r.devs[1], &none);
	dev_fault_set(r.devs[2], &none);

	r.told_err = 0;
	r.witness = r.told;
	for (unsigned i = 0; i < 3; i++)
		r.absent[i] = i != 0;
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM); /* it is of an older epoch: no vote */
	r.absent[2] = false;			       /* nor has the one that was lost first */
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
	r.absent[1] = false;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 20, 1);
	r.witness = r.told;
	rig_kill(&r);
	r.absent[0] = r.absent[1] = true;
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
	rig_release(&r);

	rig_init(&r, rocks_of(state), 2, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	r.witness = r.told;
	rig_kill(&r);
	r.absent[1] = true;
	r.told_err = DFS_EROFS;
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM); /* it can't be told */
	r.told_err = 0;
	rig_must_open(&r);
	rig_fill(&r, 10, 10, 1);
	rig_kill(&r);
	r.absent[0] = true;
	r.absent[1] = false;
	r.witness = r.told;
	assert_int_equal(rig_open(&r), DFS_ESTALE); /* it knows of the other half */
	r.absent[0] = false;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 20, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* ---- members that fail while in use ---- */

static void test_member_fails(void **state)
{
	struct fault_plan gone = {.gone = true}, none = {0};
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;
	uint64_t epoch;
	unsigned n;

	rig_init(&r, rocks_of(state), 5, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	epoch = meta_epoch(r.m);
	dev_fault_set(r.devs[1], &gone);
	rig_fill(&r, 50, 50, 1);
	assert_int_equal(r.failed[2], 1);
	assert_int_equal(meta_epoch(r.m), epoch + 1);
	assert_false(meta_is_member(r.m, (disk_id){2}));
	rig_fill(&r, 100, 10, 1); /* one new epoch for one failure */
	assert_int_equal(meta_epoch(r.m), epoch + 1);
	r.absent[1] = true;
	n = rig_disks(&r, disks);
	assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
	assert_true(meta_is_member(r.m, (disk_id){4}));
	rig_fill(&r, 100, 50, 1);
	r.witness = meta_witness(r.m);
	rig_kill(&r);

	/* Of the members only the newcomer: it has everything, but for tables that others hold. */
	rig_destroy_index(&r);
	for (unsigned i = 0; i < 5; i++)
		r.absent[i] = i < 3;
	r.force = true;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 150, 1);
	r.witness = meta_witness(r.m);
	rig_must_close(&r);
	r.force = false;

	/* Only the one that had failed: refused. */
	dev_fault_set(r.devs[1], &none);
	for (unsigned i = 0; i < 5; i++)
		r.absent[i] = i != 1;
	rig_destroy_index(&r);
	assert_int_equal(rig_open(&r), DFS_ESTALE);
	memset(r.absent, 0, sizeof(r.absent));
	rig_must_open(&r);
	rig_expect_value(&r, 0, 150, 1);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_all_members_fail(void **state)
{
	struct fault_plan bad = {.write_error = 1.0}, none = {0};
	struct meta_txn *t;
	struct rig r;
	uint64_t seq;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	seq = rig_commit(&r, 50, 1);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &bad);
	assert_int_equal(meta_sync(r.m, seq), DFS_EFAILED);
	assert_int_equal(meta_sync(r.m, seq), DFS_EFAILED);
	t = meta_begin(r.m);
	meta_put(t, "k", 1, "v", 1);
	assert_int_equal(meta_commit(t, &seq), DFS_EFAILED);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &none);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	rig_must_close(&r);
	rig_release(&r);
}

static bool has_note(struct rig *r, const char *key)
{
	BUF value = {0};

	return meta_get(r->m, key, strlen(key), &value) == 0;
}

/* What data_sync has to say is durable with the group that it says it of; what comes along is synced, too. */
static void test_note(void **state)
{
	struct rig r;
	uint64_t seq, before;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	seq = rig_commit(&r, 50, 1);
	before = r.data_syncs;
	r.notes = 2;
	assert_int_equal(meta_sync(r.m, seq), 0);
	assert_int_equal(r.data_syncs, before + 3);
	rig_kill(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 51, 1);
	assert_true(has_note(&r, "note1") && has_note(&r, "note2"));
	rig_must_close(&r);
	rig_release(&r);
}

/* A close that fails says whether anything is lost by it. */
static void test_close_tells_what_lasts(void **state)
{
	struct fault_plan bad = {.write_error = 1.0}, none = {0};
	struct rig r;
	bool durable;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	if (r.rocks) { /* only the index can't be stored */
		rig_remove_tree(r.index_dir);
		assert_int_not_equal(meta_close_last(r.m, NULL, &durable), 0);
		assert_true(durable);
		r.m = NULL;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 50, 1);
	}
	(void)rig_commit(&r, 50, 1);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &bad);
	durable = true;
	assert_int_not_equal(meta_close_last(r.m, NULL, &durable), 0);
	assert_false(durable);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &none);
	r.m = NULL;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	assert_false(rig_has(&r, 50, 1));
	assert_int_equal(meta_close_last(r.m, NULL, &durable), 0);
	assert_true(durable);
	r.m = NULL;
	rig_release(&r);
}

static void test_data_sync_fails(void **state)
{
	struct rig r;
	uint64_t seq;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	assert_true(r.data_syncs > 0);
	seq = rig_commit(&r, 50, 1);
	r.data_sync_err = DFS_EIO;
	assert_int_equal(meta_sync(r.m, seq), DFS_EIO);
	r.data_sync_err = 0;
	assert_int_equal(meta_sync(r.m, seq), DFS_EFAILED);
	rig_kill(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	assert_false(rig_has(&r, 50, 1)); /* its data is in doubt */
	rig_must_close(&r);
	rig_release(&r);
}

static void test_disks_come_and_go(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;
	unsigned n;

	rig_init(&r, rocks_of(state), 6, 3);
	for (unsigned i = 0; i < 6; i++)
		r.absent[i] = i != 0;
	r.force = true;	   /* one of six is no majority */
	rig_must_open(&r); /* one member left of three: it goes on alone */
	rig_fill(&r, 0, 20, 1);
	for (unsigned i = 1; i < 6; i++) {
		r.absent[i] = false;
		n = rig_disks(&r, disks);
		assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
		rig_fill(&r, i * 20, 20, 1);
	}
	assert_true(meta_is_member(r.m, (disk_id){1}));
	assert_true(meta_is_member(r.m, (disk_id){2}));
	assert_true(meta_is_member(r.m, (disk_id){3}));
	assert_false(meta_is_member(r.m, (disk_id){4}));
	for (unsigned i = 0; i < 3; i++) /* all three at once: newcomers are made first */
		r.absent[i] = true;
	n = rig_disks(&r, disks);
	assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
	assert_false(meta_is_member(r.m, (disk_id){1}));
	assert_true(meta_is_member(r.m, (disk_id){4}));
	rig_fill(&r, 120, 20, 1);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 140, 1);
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_close_and_reopen),
		BOTH(test_kill_and_reopen),
		BOTH(test_unsynced_is_a_prefix),
		BOTH(test_iterators_are_snapshots),
		BOTH(test_iterators_find_keys),
		BOTH(test_deletes_and_counters),
		BOTH(test_lost_index),
		BOTH(test_tolerance),
		BOTH(test_three_of_five),
		BOTH(test_pool_directory_decides),
		BOTH(test_member_fails),
		BOTH(test_all_members_fail),
		BOTH(test_note),
		BOTH(test_close_tells_what_lasts),
		BOTH(test_data_sync_fails),
		BOTH(test_disks_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
