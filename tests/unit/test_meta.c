/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata transactions over real directories, with both indexes: P1 and P2 over kills, P5 over a
 * lost index, P8 over stale disks, M1..M9 over lost members and rot. Each test runs once with the
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

static bool rocks_of(void **state) { return *state != NULL; }

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
	rig_expect(&r, 0, 100, 1);
	rig_expect(&r, 100, 50, 2);
	rig_expect(&r, 150, 350, 1);
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
			rig_expect(&r, before * 100, 100, before);
		rig_fill(&r, round * 100, 100, round);
		synced = meta_durable_seq(r.m);
		if (round % 2)
			assert_int_equal(meta_checkpoint(r.m), 0);
		rig_commit(&r, 100000 + round, 0); /* not synced */
		rig_kill(&r);
		rig_must_open(&r);
		assert_true(meta_last_seq(r.m) >= synced);
		rig_expect(&r, round * 100, 100, round);
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
	rig_expect(&r, 0, 200, 1);
	rig_expect(&r, 200, 200, 2);
	rig_must_close(&r);
	rig_destroy_index(&r); /* after a clean close, from the mirror alone */
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	assert_int_equal(r.rec.replayed_transactions, 0);
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 500);
	rig_expect(&r, 200, 200, 2);
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
		rig_expect(&r, 0, 300, 1);
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
		rig_expect(&r, 0, 50, 1);
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
		rig_expect(&r, 0, 50, 2);
		rig_kill(&r);
		rig_destroy_index(&r);
		for (unsigned i = 0; i < 5; i++)
			r.absent[i] = mask & (1u << i);
		r.force = true;
		rig_must_open(&r);
		rig_expect(&r, 0, 50, 2);
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
	rig_expect(&r, 0, 20, 1);
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
	rig_expect(&r, 0, 20, 1);
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
	rig_expect(&r, 0, 150, 1);
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
	rig_expect(&r, 0, 150, 1);
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
	rig_expect(&r, 0, 50, 1);
	rig_must_close(&r);
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
	rig_expect(&r, 0, 50, 1);
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
	rig_expect(&r, 0, 140, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* ---- rot ---- */

static void test_rotten_roots(void **state)
{
	char path[256];
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	rig_must_close(&r);
	for (unsigned i = 0; i < 2; i++) { /* the newest slot on two of three disks */
		struct root root;
		unsigned damaged = 9;

		assert_int_equal(meta_read_root(r.devs[i], &root, &damaged), 0);
		assert_int_equal(damaged, 0);
		rig_path(&r, i, "meta/roots", path);
		rig_flip(path, (long)(root.generation % ROOT_SLOTS * ROOT_SLOT_BYTES + 100));
		assert_int_equal(meta_read_root(r.devs[i], &root, &damaged), 0);
		assert_int_equal(damaged, 1);
	}
	rig_must_open(&r);
	assert_int_equal(r.rec.damaged_roots, 2);
	rig_expect(&r, 0, 50, 1);
	rig_fill(&r, 50, 50, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_expect(&r, 0, 100, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* A different part of each journal is rotten: together they are whole. */
static void test_rotten_journals(void **state)
{
	struct rig_record rec;
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	for (unsigned i = 0; i < 200; i++)
		rig_fill(&r, i, 1, 1);
	r.witness = meta_witness(r.m);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++) {
		rig_find_record(&r, i, 40 * (i + 1), &rec);
		rig_flip(rec.path, (long)rec.off + 70);
		assert_int_equal(meta_check_member(r.devs[i], &r.pool, NULL, NULL), 1);
	}
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect(&r, 0, 200, 1);
	assert_int_equal(r.rec.damaged_journals, 3);
	rig_must_close(&r);
	for (unsigned i = 0; i < 3; i++) /* equal again */
		assert_int_equal(meta_check_member(r.devs[i], &r.pool, NULL, NULL), 0);
	rig_release(&r);
}

static void test_torn_tail(void **state)
{
	struct rig_record rec;
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 99, 1);
	rig_fill(&r, 99, 1, 1);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++) {
		rig_find_record(&r, i, 100, &rec);
		if (i < 2)
			assert_int_equal(truncate(rec.path, (long)rec.off + rec.len - 11), 0);
		if (i == 0)
			assert_int_equal(meta_check_member(r.devs[i], &r.pool, NULL, NULL), 0);
	}
	rig_destroy_index(&r);
	r.absent[2] = true; /* the whole one is away: the last transaction is cut everywhere */
	rig_must_open(&r);
	rig_expect(&r, 0, 99, 1);
	assert_false(rig_has(&r, 99, 1));
	assert_true(r.rec.tail_cut_bytes > 0);
	rig_fill(&r, 99, 1, 2);
	rig_kill(&r);
	r.absent[2] = false; /* it comes back with another end: not believed */
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect(&r, 0, 99, 1);
	rig_expect(&r, 99, 1, 2);
	rig_must_close(&r);
	rig_release(&r);
}

static void test_rotten_image(void **state)
{
	char path[256];
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 300, 1);
	rig_must_close(&r);
	assert_true(rig_find(&r, 0, "meta/tables", "", path));
	rig_flip(path, -10);
	assert_true(rig_find(&r, 1, "meta/checkpoint", "manifest", path));
	rig_flip(path, 20);
	assert_int_equal(meta_check_member(r.devs[0], &r.pool, NULL, NULL), 0);
	assert_int_equal(meta_check_member(r.devs[1], &r.pool, NULL, NULL), 1);
	assert_int_equal(meta_check_member(r.devs[2], &r.pool, NULL, NULL), 0);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect(&r, 0, 300, 1);
	/* mended at open if it was read then, else by the checkpoint after somebody has looked */
	assert_in_range(meta_check_tables(r.m, NULL, NULL), 0, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	rig_must_close(&r);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(meta_check_member(r.devs[i], &r.pool, NULL, NULL), 0);

	for (unsigned i = 0; i < 3; i++) { /* rotten everywhere: refused, not invented */
		assert_true(rig_find(&r, i, "meta/checkpoint", "manifest", path));
		rig_flip(path, 20);
	}
	rig_destroy_index(&r);
	assert_int_equal(rig_open(&r), DFS_ECHECKSUM);
	rig_release(&r);
}

static void flip_local_tables(struct rig *r)
{
	char path[256], cmd[256];
	FILE *p;

	snprintf(cmd, sizeof(cmd), "ls %s/*.sst", r->index_dir);
	p = popen(cmd, "r");
	while (p && fgets(path, sizeof(path), p)) {
		path[strcspn(path, "\n")] = '\0';
		rig_flip(path, rig_size(path) / 2);
	}
	pclose(p);
}

/* A local table that rots while it is in use is healed from its fragments: look-ups and scans go on as
 * if nothing had been. */
static void test_heals_while_open(void **state)
{
	struct rig r;

	if (!rocks_of(state))
		return;
	for (unsigned scan = 0; scan < 2; scan++) {
		struct meta_iter *it;
		unsigned n = 0;

		rig_init(&r, true, 6, 4);
		r.table_k = 4;
		rig_must_open(&r);
		rig_fill(&r, 0, 3000, 1);
		rig_must_close(&r);
		rig_must_open(&r);
		flip_local_tables(&r);
		it = meta_iter_new(r.m);
		if (scan)
			for (meta_iter_seek(it, "k", 1); meta_iter_valid(it); meta_iter_next(it)) {
				size_t len;

				n += meta_iter_key(it, &len)[0] == 'k';
			}
		else
			for (meta_iter_seek_back(it, "k9", 2); meta_iter_valid(it);
			     meta_iter_prev(it)) {
				size_t len;

				n += meta_iter_key(it, &len)[0] == 'k';
			}
		assert_int_equal(meta_iter_error(it), 0);
		assert_int_equal(n, 3000);
		meta_iter_free(it);
		rig_expect(&r, 0, 3000, 1);
		rig_commit(&r, 1, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		rig_must_close(&r);
		rig_must_open(&r);
		assert_false(r.rec.index_rebuilt);
		rig_expect(&r, 0, 3000, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* With too few fragments left to heal it the read fails, and the next start says so, too. */
static void test_rotten_local_index(void **state)
{
	struct rig r;
	BUF out = {0};
	int err = 0;

	if (!rocks_of(state))
		return;
	rig_init(&r, true, 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 3000, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	flip_local_tables(&r);
	for (unsigned i = 0; i < 3; i++) {
		char path[256];

		assert_true(rig_find(&r, i, "meta/tables", "", path));
		while (rig_find(&r, i, "meta/tables", "", path))
			assert_int_equal(unlink(path), 0);
	}
	for (unsigned i = 0; i < 3000 && err == 0; i++) {
		char key[32];

		err = meta_get(r.m, key, (size_t)snprintf(key, sizeof(key), "k%08u", i), &out);
	}
	assert_int_equal(err, DFS_ECHECKSUM);
	rig_kill(&r);
	assert_int_equal(rig_open(&r), DFS_ECHECKSUM);
	rig_release(&r);
}

/* An index that knows transactions which no journal has is of another history. */
static void test_index_ahead(void **state)
{
	char path[256];
	struct rig r;

	if (!rocks_of(state))
		return;
	rig_init(&r, true, 1, 1);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 2);
	rig_must_close(&r);
	/* The disk goes back in time by one checkpoint: its newest root is lost. */
	{
		struct root root;
		unsigned damaged;

		assert_int_equal(meta_read_root(r.devs[0], &root, &damaged), 0);
		rig_path(&r, 0, "meta/roots", path);
		rig_flip(path, (long)(root.generation % ROOT_SLOTS * ROOT_SLOT_BYTES + 100));
	}
	/* Its mirror is gone already, and if the journal is, too, the local index must not be believed. */
	rig_path(&r, 0, "meta/journal", path);
	rig_remove_tree(path);
	assert_int_equal(rig_open(&r), DFS_ECHECKSUM);
	rig_release(&r);
}

/* ---- checkpoints and concurrency ---- */

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
		rig_expect(&r, i * 100, 100, i);
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
		rig_expect(&r, i * 10000, 1500, 7);
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
	rig_expect(&r, 0, 2000, 1);
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
	rig_expect(&r, 0, 50, 3);
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
	rig_expect(&r, 0, 40, 1);
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
	rig_expect(&r, 0, 100, 1);
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

/* A full member must not fail the pool at a checkpoint, and the pool must still open. */
static void test_full_member(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct rig r;

	rig_init(&r, rocks_of(state), 3, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 100, 1);
	dev_fault_set(r.devs[0], &full);
	assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC);
	assert_int_equal(r.failed[1], 0);
	dev_fault_set(r.devs[0], &none);
	rig_fill(&r, 100, 100, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_fill(&r, 200, 10, 1);
	rig_kill(&r);
	dev_fault_set(r.devs[0], &full);
	rig_must_open(&r);
	rig_expect(&r, 0, 210, 1);
	rig_kill(&r);
	dev_fault_set(r.devs[0], &none);
	rig_must_open(&r);
	rig_expect(&r, 0, 210, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* Too full for a checkpoint at open, and the members aren't equal: the short one doesn't count. */
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
	rig_expect(&r, 0, 100, 1);
	assert_false(meta_is_member(r.m, (disk_id){1}));
	assert_false(meta_is_member(r.m, (disk_id){2}));
	assert_true(meta_is_member(r.m, (disk_id){3}));
	rig_fill(&r, 100, 1, 1);
	r.witness = meta_witness(r.m);
	rig_kill(&r);
	dev_fault_set(r.devs[1], &none);
	r.absent[2] = true;
	assert_int_equal(rig_open(&r), DFS_ENOQUORUM); /* its epoch is known, it is away */
	r.absent[2] = false;
	rig_must_open(&r);
	rig_expect(&r, 0, 101, 1);
	assert_true(meta_is_member(r.m, (disk_id){1}));
	assert_true(meta_is_member(r.m, (disk_id){2}));
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
	rig_expect(&r, 0, 61, 1);
	rig_must_close(&r);
	rig_release(&r);
}

#define BOTH(fn)                                                                                   \
	cmocka_unit_test_prestate(fn, NULL), { #fn " with RocksDB", fn, NULL, NULL, (void *)1 }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_close_and_reopen),
		BOTH(test_kill_and_reopen),
		BOTH(test_unsynced_is_a_prefix),
		BOTH(test_iterators_are_snapshots),
		BOTH(test_deletes_and_counters),
		BOTH(test_lost_index),
		BOTH(test_tolerance),
		BOTH(test_three_of_five),
		BOTH(test_pool_directory_decides),
		BOTH(test_member_fails),
		BOTH(test_all_members_fail),
		BOTH(test_data_sync_fails),
		BOTH(test_disks_come_and_go),
		BOTH(test_rotten_roots),
		BOTH(test_rotten_journals),
		BOTH(test_torn_tail),
		BOTH(test_rotten_image),
		BOTH(test_heals_while_open),
		BOTH(test_rotten_local_index),
		BOTH(test_index_ahead),
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
