/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal records that have rotted on all disks, and that nobody needs, since the index is beyond them (M13):
 * the image that the root names, or the pool directory's index when the journal proves it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "unit/meta_rig.h"

#define BEFORE 5u /* the checkpoint's; then come ACROSS that the index holds, then AFTER */
#define ACROSS 10u
#define AFTER 10u
#define HELD (BEFORE + ACROSS)
#define ALL (HELD + AFTER)

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

/* ---- an index that somebody else uses between the steps of a checkpoint ---- */

static struct index_ops ops;
static struct rig *flushing;
static unsigned before_flush, after_flush; /* what is committed then */

static int flush_among_others(struct index *x)
{
	unsigned n = flushing ? (unsigned)meta_last_seq(flushing->m) : 0;
	int err;

	for (unsigned i = 0; flushing && i < before_flush; i++)
		(void)rig_commit(flushing, n++, 1);
	err = index_mem_ops.flush(x);
	for (unsigned i = 0; flushing && i < after_flush; i++)
		(void)rig_commit(flushing, n++, 1);
	return err;
}

static int checkpoint_among_others(struct rig *r, unsigned before, unsigned after)
{
	int err;

	flushing = r;
	before_flush = before;
	after_flush = after;
	err = meta_checkpoint(r->m);
	flushing = NULL;
	return err;
}

static void set_full(struct rig *r, bool full)
{
	const struct fault_plan plan = {.no_space = full};

	for (unsigned i = 0; i < r->disk_count; i++)
		dev_fault_set(r->devs[i], &plan);
}

static void begin(struct rig *r, unsigned disks)
{
	ops = index_mem_ops;
	ops.flush = flush_among_others;
	rig_init(r, false, disks, disks);
	r->ops = &ops;
	r->checkpoint_bytes = KIB(256);
	rig_must_open(r);
	for (unsigned i = 0; i < BEFORE; i++)
		rig_fill(r, i, 1, 1);
}

static void fill_each(struct rig *r, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		rig_fill(r, i, 1, 1);
}

/* C is BEFORE, the image ends at HELD, and the journal goes on to ALL. */
static void make_image_ahead(struct rig *r, unsigned disks)
{
	begin(r, disks);
	assert_int_equal(checkpoint_among_others(r, ACROSS, 0), 0);
	fill_each(r, HELD, ALL);
	rig_kill(r);
}

/* The image ends at BEFORE; a checkpoint that found no room has left the pool directory's index at HELD. */
static void make_index_ahead(struct rig *r, unsigned disks)
{
	begin(r, disks);
	assert_int_equal(meta_checkpoint(r->m), 0);
	fill_each(r, BEFORE, HELD);
	set_full(r, true);
	assert_int_equal(meta_checkpoint(r->m), DFS_ENOSPC);
	fill_each(r, HELD, ALL);
	rig_kill(r);
	set_full(r, false);
}

/* ---- damage ---- */

static void rot_copy(struct rig *r, unsigned disk, uint64_t seq, bool second)
{
	struct rig_record rec;

	rig_find_record(r, disk, seq, &rec);
	rig_flip(rec.path, (long)(rec.off + (second ? rec.second_off : 0) + 70));
}

static void rot_everywhere(struct rig *r, uint64_t seq)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		rot_copy(r, i, seq, false);
		rot_copy(r, i, seq, true);
	}
}

static void expect_all(struct rig *r, uint64_t rot)
{
	assert_int_equal(r->rec.loss.from, 0);
	assert_int_equal(r->rec.rot_from, rot);
	assert_int_equal(r->rec.rot_to, HELD);
	assert_false(r->rec.journals_short);
	rig_expect_value(r, 0, ALL, 1);
	assert_int_equal(meta_counter(r->m, META_COUNT_INODES), ALL);
}

/* The checkpoint at the opening has taken what is rotten out of use. */
static void expect_healed(struct rig *r)
{
	rig_kill(r);
	rig_destroy_index(r);
	rig_must_open(r);
	assert_int_equal(r->rec.rot_from, 0);
	rig_expect_value(r, 0, ALL, 1);
	rig_must_close(r);
}

/* ---- the image ---- */

static void test_image_is_beyond(void **state)
{
	(void)state;
	for (unsigned disks = 1; disks <= 3; disks += 2) {
		for (uint64_t seq = BEFORE + 1; seq <= ALL - 1; seq += disks) {
			struct rig r;

			make_image_ahead(&r, disks);
			rot_everywhere(&r, seq);
			if (seq % 2)
				rig_destroy_index(&r);
			if (seq > HELD) { /* a loss begins just there */
				assert_int_equal(rig_open(&r), DFS_EJOURNAL);
				assert_int_equal(r.rec.loss.from, seq);
				rig_release(&r);
				continue;
			}
			r.read_only = true;
			rig_must_open(&r);
			expect_all(&r, seq);
			rig_kill(&r);
			r.read_only = false;
			rig_must_open(&r);
			expect_all(&r, seq);
			expect_healed(&r);
			rig_release(&r);
		}
	}
}

/* All that the image holds has rotted, and what follows is whole in one copy only: now this one, now that. */
static void test_all_of_it_rots(void **state)
{
	(void)state;
	for (unsigned disks = 1; disks <= 3; disks++) {
		struct rig r;

		make_image_ahead(&r, disks);
		for (uint64_t seq = BEFORE + 1; seq <= HELD; seq++)
			rot_everywhere(&r, seq);
		for (unsigned i = 0; i < disks; i++)
			if (disks < 3 || i)
				rot_copy(&r, i, HELD + 1, false);
		for (unsigned i = 0; i < disks && disks < 3; i++)
			rot_copy(&r, i, HELD + 2, true);
		rig_must_open(&r);
		expect_all(&r, BEFORE + 1);
		expect_healed(&r);
		rig_release(&r);
	}
}

/* Two breaks: the first is passed over, the second is a loss, and what is beyond it stays given up. */
static void test_two_breaks(void **state)
{
	struct rig r;

	(void)state;
	make_image_ahead(&r, 3);
	rot_everywhere(&r, HELD - 2);
	rot_everywhere(&r, HELD + 3);
	assert_int_equal(rig_open(&r), DFS_EJOURNAL);
	assert_int_equal(r.rec.loss.from, HELD + 3);
	r.force = true;
	rig_must_open(&r);
	rig_expect_value(&r, 0, HELD + 2, 1);
	for (unsigned i = HELD + 2; i < ALL; i++)
		assert_false(rig_has(&r, i, 1));
	rig_must_close(&r);
	rig_release(&r);
}

/* ---- the pool directory's index ---- */

static void test_index_is_beyond(void **state)
{
	(void)state;
	for (uint64_t seq = BEFORE + 1; seq <= ALL - 1; seq++) {
		struct rig r;

		make_index_ahead(&r, 3);
		rot_everywhere(&r, seq);
		if (seq > HELD || seq % 3 == 0) { /* nothing else is beyond it */
			if (seq <= HELD)
				rig_destroy_index(&r);
			assert_int_equal(rig_open(&r), DFS_EJOURNAL);
			assert_int_equal(r.rec.loss.from, seq);
			rig_release(&r);
			continue;
		}
		rig_must_open(&r);
		assert_false(r.rec.index_rebuilt);
		expect_all(&r, seq);
		expect_healed(&r);
		rig_release(&r);
	}
}

static bool no_mark(struct index *x, const struct hash *mark)
{
	(void)x, (void)mark;
	return false;
}

/* It does not come from the image that the root names: then it is of no history that is known. */
static void test_index_without_the_mark(void **state)
{
	struct rig r;

	(void)state;
	make_index_ahead(&r, 3);
	rot_everywhere(&r, HELD - 3);
	ops.has_mark = no_mark;
	assert_int_equal(rig_open(&r), DFS_EJOURNAL);
	assert_int_equal(r.rec.loss.from, HELD - 3);
	rig_release(&r);
}

/* Its state is in the journal, but no record says that it was durable: it may be that of a tail that was
 * cut once. */
static void test_index_that_was_not_durable(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 3);
	assert_int_equal(meta_checkpoint(r.m), 0);
	set_full(&r, true);
	fill_each(&r, BEFORE, BEFORE + 1);
	assert_int_equal(checkpoint_among_others(&r, ACROSS - 1, 2), DFS_ENOSPC);
	rig_kill(&r);
	set_full(&r, false);
	rot_everywhere(&r, BEFORE + 4);
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	assert_int_equal(r.rec.rot_from, 0);
	rig_expect_value(&r, 0, BEFORE + 3, 1);
	for (unsigned i = BEFORE + 3; i < HELD + 2; i++)
		assert_false(rig_has(&r, i, 1));
	rig_must_close(&r);
	rig_release(&r);
}

/*
 * A pool directory from a backup, of the moment of a crash: its index is at a transaction of the tail that was
 * cut then, and the tail still lies behind what was written over it. What was written proves more.
 */
static void test_index_of_a_cut_tail(void **state)
{
	struct index_mem_store *backup;
	struct rig r;

	(void)state;
	begin(&r, 3);
	assert_int_equal(meta_checkpoint(r.m), 0);
	fill_each(&r, BEFORE, BEFORE + 5);
	set_full(&r, true);
	assert_int_equal(checkpoint_among_others(&r, 5, 5), DFS_ENOSPC);
	rig_kill(&r);
	backup = index_mem_store_copy(r.store);
	rot_everywhere(&r, BEFORE + 6); /* torn: the tail begins */
	rig_must_open(&r); /* no room for a checkpoint: the journal goes on in its place */
	assert_int_equal(meta_last_seq(r.m), BEFORE + 5);
	fill_each(&r, BEFORE + 5, BEFORE + 7);
	rig_kill(&r);
	set_full(&r, false);
	index_mem_store_free(r.store);
	r.store = backup;
	rot_everywhere(&r, BEFORE + 3);
	assert_int_equal(rig_open(&r), DFS_EJOURNAL);
	assert_int_equal(r.rec.loss.from, BEFORE + 3);
	rig_release(&r);
}

/* No room for the checkpoint that would take it out of use: refused, nothing is lost, and it opens with room. */
static void test_no_room_to_heal(void **state)
{
	struct rig r;

	(void)state;
	make_index_ahead(&r, 3);
	rot_everywhere(&r, HELD - 3);
	set_full(&r, true);
	assert_int_equal(rig_open(&r), DFS_ENOSPC);
	set_full(&r, false);
	rig_must_open(&r);
	rig_expect_value(&r, 0, ALL, 1);
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image_is_beyond),
		cmocka_unit_test(test_all_of_it_rots),
		cmocka_unit_test(test_two_breaks),
		cmocka_unit_test(test_index_is_beyond),
		cmocka_unit_test(test_index_without_the_mark),
		cmocka_unit_test(test_index_that_was_not_durable),
		cmocka_unit_test(test_index_of_a_cut_tail),
		cmocka_unit_test(test_no_room_to_heal),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
