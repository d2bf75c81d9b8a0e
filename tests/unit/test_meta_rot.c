/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata on rotten disks: roots, journals, tables and the local index (M6..M11), with both indexes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "format/journal.h"
#include "unit/meta_rig.h"

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
	rig_expect_value(&r, 0, 50, 1);
	rig_fill(&r, 50, 50, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 100, 1);
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
	rig_expect_value(&r, 0, 200, 1);
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
	rig_expect_value(&r, 0, 99, 1);
	assert_false(rig_has(&r, 99, 1));
	assert_true(r.rec.tail_cut_bytes > 0);
	rig_fill(&r, 99, 1, 2);
	rig_kill(&r);
	r.absent[2] = false; /* it comes back with another end: not believed */
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 99, 1);
	rig_expect_value(&r, 99, 1, 2);
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
	rig_expect_value(&r, 0, 300, 1);
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
		rig_expect_value(&r, 0, 3000, 1);
		rig_commit(&r, 1, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		rig_must_close(&r);
		rig_must_open(&r);
		assert_false(r.rec.index_rebuilt);
		rig_expect_value(&r, 0, 3000, 1);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_rotten_roots), BOTH(test_rotten_journals),  BOTH(test_torn_tail),
		BOTH(test_rotten_image), BOTH(test_heals_while_open), BOTH(test_rotten_local_index),
		BOTH(test_index_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
