/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to the journal's chain (M2) and whose journal is read (M8): records that are whole and of
 * this pool, but not of this history; and what never becomes a record of it (M1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "format/journal.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

/* Puts a whole record of that number, which follows another history's, where the next one goes. */
static void forge(struct rig *r, unsigned disk, uint64_t seq)
{
	struct journal_frame frame = {.pool = r->pool, .seq = seq, .durable = seq - 1};
	BUF ops = {0};
	BUF out = {0};
	struct rig_record rec;
	struct hash hash;

	uuid_random(&frame.writer);
	memset(&frame.prev, 7, sizeof(frame.prev));
	journal_put_op(&ops, "forged", 6, "x", 1);
	journal_record_encode(&frame, &ops, &out, &hash);
	rig_find_record(r, disk, seq - 1, &rec);
	rig_put_after(&rec, &out);
}

/* The right number and hash, but another predecessor: a tail of an abandoned history, in a file that is
 * used again. It is not replayed, and what is written instead of it is. */
static void test_another_predecessor(void **state)
{
	BUF out = {0};
	struct rig r;

	(void)state;
	rig_init(&r, false, 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 20, 1);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++)
		forge(&r, i, 21);
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_int_equal(meta_last_seq(r.m), 20);
	assert_int_equal(meta_get(r.m, "forged", 6, &out), DFS_ENOENT);
	rig_expect_value(&r, 0, 20, 1);
	rig_fill(&r, 20, 5, 2);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 20, 5, 2);
	rig_must_close(&r);
	rig_release(&r);
}

/* Three disks, the first two of them members, and 50 transactions in a checkpoint. */
static void begin(struct rig *r)
{
	rig_init(r, false, 3, 2);
	rig_must_open(r);
	rig_fill(r, 0, 50, 1);
	rig_must_close(r);
	rig_must_open(r);
}

/* The first disk is absent at one mount, and a member again at the next. */
static void miss_a_mount(struct rig *r)
{
	r->absent[0] = true;
	rig_destroy_index(r);
	rig_must_open(r);
	assert_int_equal(meta_last_seq(r->m), 50);
	r->witness = meta_witness(r->m);
	rig_must_close(r);
	r->absent[0] = false;
	r->absent[2] = true;
	rig_must_open(r);
	assert_true(meta_is_member(r->m, (disk_id){1}));
}

static void copy_disk(struct rig *r, unsigned disk, bool back)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
		 back ? "rm -rf %s/disk%u/dynamicfs/* && cp -a %s/backup/. %s/disk%u/dynamicfs/"
		      : "cp -a %s/disk%u/dynamicfs/. %s/backup",
		 r->dir, disk, r->dir, r->dir, disk);
	assert_int_equal(system(cmd), 0);
}

static void tear(struct rig *r, unsigned disk, uint64_t seq)
{
	struct rig_record rec;

	rig_find_record(r, disk, seq, &rec);
	rig_flip(rec.path, (long)rec.off + 70);
	rig_flip(rec.path, (long)(rec.second_off + rec.off) + 70);
}

/*
 * A listed member was set back to a copy of itself, whose journal goes on where the chain of all begins,
 * with a record that was cut while it was away. The record that was made instead is rotten on the other
 * member: then nothing is there, and not what the old copy has (M8).
 */
static void test_old_copy_of_a_member(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	rig_fill(&r, 50, 1, 1); /* arrived on the first disk only, say */
	rig_kill(&r);
	tear(&r, 1, 51);
	copy_disk(&r, 0, false);
	miss_a_mount(&r);
	assert_int_equal(meta_last_seq(r.m), 50);
	rig_fill(&r, 50, 1, 2);
	r.witness = meta_witness(r.m);
	rig_kill(&r);
	copy_disk(&r, 0, true);
	tear(&r, 1, 51);
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_int_equal(meta_last_seq(r.m), 50);
	rig_expect_value(&r, 0, 50, 1);
	assert_false(rig_has(&r, 50, 1));
	rig_must_close(&r);
	rig_release(&r);
}

/* From that record on the disk's journal is empty. */
static void empty_from(struct rig *r, unsigned disk, uint64_t seq)
{
	static const uint8_t zeros[KIB(64)];
	struct rig_record rec;
	FILE *f;

	rig_find_record(r, disk, seq, &rec);
	f = fopen(rec.path, "r+b");
	assert_non_null(f);
	for (unsigned copy = 0; copy < 2; copy++) {
		fseek(f, (long)(rec.off + copy * rec.second_off), SEEK_SET);
		assert_int_equal(fwrite(zeros, 1, sizeof(zeros), f), sizeof(zeros));
	}
	fclose(f);
}

/*
 * A member was away, with a tail of records that nobody else had, and becomes one again: what its old
 * journal holds must be gone, or it would pass for the proof that something is missing behind the new one.
 */
static void test_old_journal_of_a_member(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	for (unsigned i = 0; i < 20; i++)
		rig_fill(&r, 50 + i, 1, 1);
	rig_kill(&r);
	empty_from(&r, 1, 51);
	miss_a_mount(&r);
	rig_fill(&r, 50, 2, 2);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	rig_expect_value(&r, 50, 2, 2);
	assert_int_equal(meta_last_seq(r.m), 52);
	rig_must_close(&r);
	rig_release(&r);
}

/* ---- a transaction that the index does not take (M1) ---- */

static struct index_ops failing_ops;
static int apply_err;

static int failing_apply(struct index *x, const struct index_op *ops, size_t count)
{
	return apply_err ? apply_err : index_mem_ops.apply(x, ops, count);
}

/* It has not happened: neither counters nor what a group under way might write know of it. The pool fails,
 * for nobody can say what such an index holds, and is as it was when it is opened again. */
static void test_refused_by_the_index(void **state)
{
	struct meta_txn *t;
	BUF out = {0};
	uint64_t seq;
	size_t buffered;
	struct rig r;

	(void)state;
	failing_ops = index_mem_ops;
	failing_ops.apply = failing_apply;
	rig_init(&r, false, 3, 3);
	r.ops = &failing_ops;
	rig_must_open(&r);
	rig_fill(&r, 0, 5, 1);
	rig_commit(&r, 5, 1); /* still in the buffer */
	buffered = r.m->buffer.len;
	apply_err = DFS_ENOMEM;
	t = meta_begin(r.m);
	meta_put(t, "refused", 7, "x", 1);
	meta_add(t, META_COUNT_INODES, 100);
	assert_int_equal(meta_commit(t, &seq), DFS_EFAILED);
	apply_err = 0;
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), 6);
	assert_int_equal(meta_last_seq(r.m), 6);
	assert_int_equal(r.m->buffer.len, buffered);
	t = meta_begin(r.m);
	meta_put(t, "later", 5, "x", 1);
	assert_int_equal(meta_commit(t, &seq), DFS_EFAILED);
	rig_kill(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 5, 1);
	assert_int_equal(meta_get(r.m, "refused", 7, &out), DFS_ENOENT);
	assert_int_equal(meta_get(r.m, "later", 5, &out), DFS_ENOENT);
	assert_int_equal(meta_counter(r.m, META_COUNT_INODES), meta_last_seq(r.m));
	rig_fill(&r, 6, 5, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* ---- what an image may hold (M5) ---- */

static struct rig *flushing;
static uint64_t flushed_seq;

static int commits_and_flushes(struct index *x)
{
	if (flushing)
		flushed_seq = rig_commit(flushing, 77,
					 1); /* somebody does, between steps 1 and 3 */
	return index_mem_ops.flush(x);
}

static void expect_durable(struct rig *r)
{
	assert_true(flushed_seq > 0);
	assert_true(meta_durable_seq(r->m) >= flushed_seq);
}

/* What a flush took along is in the journal, with its data, before any root can name the image. */
static void test_image_is_in_the_journal(void **state)
{
	struct rig r;

	(void)state;
	failing_ops = index_mem_ops;
	failing_ops.flush = commits_and_flushes;
	rig_init(&r, false, 3, 3);
	r.ops = &failing_ops;
	rig_must_open(&r);
	rig_fill(&r, 0, 5, 1);
	r.stored = expect_durable;
	flushing = &r;
	assert_int_equal(meta_checkpoint(r.m), 0);
	flushing = NULL;
	r.stored = NULL;
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_another_predecessor),
		cmocka_unit_test(test_old_copy_of_a_member),
		cmocka_unit_test(test_old_journal_of_a_member),
		cmocka_unit_test(test_image_is_in_the_journal),
		cmocka_unit_test(test_refused_by_the_index),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
