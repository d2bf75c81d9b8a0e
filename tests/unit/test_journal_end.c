/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can't be read is not nothing (M17): errors on reading the journal, its directory's files and the roots while a
 * pool is opened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

/* Power goes with 51 transactions in the journals and no image that has them. */
static void begin(struct rig *r, unsigned disks)
{
	rig_init(r, false, disks, disks);
	rig_must_open(r);
	rig_fill(r, 0, 51, 1);
	rig_kill(r);
	rig_destroy_index(r);
}

static void fault(struct rig *r, unsigned first, unsigned n, const struct fault_plan *plan)
{
	for (unsigned i = first; i < first + n; i++)
		dev_fault_set(r->devs[i], plan);
}

static const struct fault_plan none = {0};
static const struct fault_plan unreadable[] = {
	{.only = "meta/journal/", .read_error = 1},
	{.only = "meta/journal/", .open_error = 1},
};

/* On all: nobody knows where the journal ends. Without the errors all is there. */
static void test_no_journal_can_be_read(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned disks = 1; disks <= 3; disks++) {
		for (unsigned how = 0; how < 2; how++) {
			begin(&r, disks);
			fault(&r, 0, disks, &unreadable[how]);
			assert_int_equal(rig_open(&r), DFS_EUNREAD);
			assert_non_null(strstr(r.rec.refusal, "meta/journal/0"));
			fault(&r, 0, disks, &none);
			rig_must_open(&r);
			rig_expect_value(&r, 0, 51, 1);
			rig_must_close(&r);
			rig_release(&r);
		}
	}
}

/* Force goes on without what can't be read, and the loss is told until it is noted. */
static void test_force(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 2);
	fault(&r, 0, 2, &unreadable[0]);
	r.force = true;
	rig_must_open(&r);
	assert_int_not_equal(r.rec.loss.from, 0);
	fault(&r, 0, 2, &none);
	rig_fill(&r, 100, 20, 1);
	rig_kill(&r);
	r.force = false;
	rig_must_open(&r);
	rig_expect_value(&r, 100, 20, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* One member suffices; one that holds not all of it does not. */
static void test_one_can_be_read(void **state)
{
	struct rig r;
	char path[256];

	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		begin(&r, 3);
		fault(&r, 0, how == 1 ? 1 : 2, &unreadable[how % 2]); /* else too few can write */
		while (how >= 2 && rig_find(&r, 2, "meta/journal", "", path))
			assert_int_equal(unlink(path), 0);
		if (how >= 2)
			assert_int_equal(rig_open(&r), DFS_EUNREAD);
		fault(&r, 0, how < 2 ? 0 : 2, &none);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 51, 1);
		rig_must_close(&r);
		fault(&r, 0, 2, &none);
		rig_release(&r);
	}
}

/* A bad sector in one of a file's two copies, and one far behind the end, cost nothing. */
static void test_bad_sector(void **state)
{
	struct fault_plan bad = {.only = "meta/journal/"};
	struct rig_record rec;
	struct rig r;

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		begin(&r, 1);
		rig_find_record(&r, 0, 51, &rec);
		bad.unread_from = how == 0 ? rec.off : rec.second_off;
		if (how == 2)
			bad.unread_from -= 8192;
		bad.unread_to = bad.unread_from + 512;
		fault(&r, 0, 1, &bad);
		rig_must_open(&r);
		assert_int_equal(r.rec.loss.from, 0);
		rig_expect_value(&r, 0, 51, 1);
		fault(&r, 0, 1, &none);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* No root can be read: that is no pool without one. */
static void test_no_root_can_be_read(void **state)
{
	const struct fault_plan bad = {.only = "meta/roots", .read_error = 1};
	struct rig r;

	(void)state;
	begin(&r, 2);
	fault(&r, 0, 2, &bad);
	assert_int_equal(rig_open(&r), DFS_EUNREAD);
	fault(&r, 0, 2, &none);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 51, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* What could not be read goes on beyond the end: the next opening does not read that for what came instead. */
static void test_more_than_was_read(void **state)
{
	struct rig_record rec;
	struct rig r;

	(void)state;
	for (unsigned writes = 0; writes < 2; writes++) {
		uint64_t seq;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		rig_fill(&r, 0, 50, 1);
		rig_must_close(&r);
		rig_must_open(&r);
		rig_fill(&r, 50, 1, 1);
		seq = meta_last_seq(r.m);
		rig_kill(&r);
		for (unsigned i = 1; i < 3; i++) { /* the group was being written */
			rig_find_record(&r, i, seq, &rec);
			rig_flip(rec.path, (long)rec.off + 20);
		}
		fault(&r, 0, 1, &unreadable[0]);
		rig_must_open(&r);
		assert_false(rig_has(&r, 50, 1));
		if (writes)
			rig_fill(&r, 60, 1, 1);
		rig_kill(&r);
		fault(&r, 0, 1, &none);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 50, 1);
		assert_false(rig_has(&r, 50, 1));
		assert_true(rig_has(&r, 60, 1) == (writes == 1));
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* An opening ended when it had begun its journal on one member only, and just that can't be read then: nothing in
 * it was acknowledged. Once something was, it counts. */
static void test_begun_on_one(void **state)
{
	char name[JOURNAL_NAME_LEN], from[256], to[256];
	struct rig r;

	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		begin(&r, 3);
		rig_must_open(&r);
		journal_name(r.m->root.journal_first, name);
		rig_kill(&r);
		for (unsigned i = 1; i < 3; i++) {
			rig_path(&r, i, name, from);
			rig_path(&r, i, "meta/journal/spare-7", to);
			assert_int_equal(rename(from, to), 0);
		}
		fault(&r, 0, 1, &unreadable[how]);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 51, 1);
		rig_fill(&r, 60, 1, 1);
		assert_false(r.m->root.clean);
		rig_kill(&r);
		fault(&r, 0, 3, &unreadable[how]);
		assert_int_equal(rig_open(&r), DFS_EUNREAD);
		fault(&r, 0, 3, &none);
		rig_must_open(&r);
		rig_expect_value(&r, 60, 1, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_journal_can_be_read),
		cmocka_unit_test(test_force),
		cmocka_unit_test(test_one_can_be_read),
		cmocka_unit_test(test_bad_sector),
		cmocka_unit_test(test_no_root_can_be_read),
		cmocka_unit_test(test_more_than_was_read),
		cmocka_unit_test(test_begun_on_one),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
