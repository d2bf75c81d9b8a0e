/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction that the pool directory remembers (H10): disks that were all set back together lack it and are
 * refused; whatever a crash leaves holds it, and is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "meta/meta.h"
#include "unit/meta_rig.h"

#define DISKS 4u

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

static void copy(struct rig *r, unsigned disk)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), "rm -rf %s/copy%u && cp -a %s/disk%u/dynamicfs %s/copy%u",
		 r->dir, disk, r->dir, disk, r->dir, disk);
	assert_int_equal(system(cmd), 0);
}

static void put_back(struct rig *r, unsigned disk)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
		 "rm -rf %s/disk%u/dynamicfs/* && cp -a %s/copy%u/. %s/disk%u/dynamicfs/", r->dir,
		 disk, r->dir, disk, r->dir, disk);
	assert_int_equal(system(cmd), 0);
}

/* What a pool directory does. */
static void remember(struct rig *r)
{
	r->witness = meta_witness(r->m);
	r->line = meta_durable_line(r->m);
}

/* In use, with transactions 1 to 60, of which 51 to 60 are in the journal; copied; 61 to 80 follow, and are what
 * the pool directory remembers last. Then power goes. */
static void go_on_after_copies(struct rig *r, bool rocks)
{
	rig_init(r, rocks, DISKS, DISKS);
	rig_must_open(r);
	rig_fill(r, 0, 50, 1);
	assert_int_equal(meta_checkpoint(r->m), 0);
	rig_fill(r, 50, 10, 1);
	for (unsigned i = 0; i < DISKS; i++)
		copy(r, i);
	rig_fill(r, 60, 20, 1);
	remember(r);
	rig_kill(r);
}

static void refused_and_unchanged(struct rig *r, const char *a, const char *b)
{
	char sum[2][512];

	snprintf(sum[0], sizeof(sum[0]), "cd %s && find disk* -type f | sort | xargs cksum >before",
		 r->dir);
	snprintf(sum[1], sizeof(sum[1]),
		 "cd %s && find disk* -type f | sort | xargs cksum | cmp -s - before", r->dir);
	assert_int_equal(system(sum[0]), 0);
	assert_int_equal(rig_open(r), DFS_ESTALE);
	assert_non_null(strstr(r->rec.refusal, a));
	assert_non_null(strstr(r->rec.refusal, b));
	assert_non_null(strstr(r->rec.refusal, "--force"));
	assert_int_equal(system(sum[1]), 0);
}

static void test_all_set_back(void **state)
{
	struct rig r;

	go_on_after_copies(&r, rocks_of(state));
	for (unsigned i = 0; i < DISKS; i++)
		put_back(&r, i);
	refused_and_unchanged(&r, "80", "60");
	r.read_only = true;
	assert_int_equal(rig_open(&r), DFS_ESTALE);
	r.read_only = false;
	rig_destroy_index(&r);
	refused_and_unchanged(&r, "80", "60");
	rig_release(&r);
}

/* As long as one member is as it was, nothing is lost: its journal has all. */
static void test_one_member_is_not(void **state)
{
	struct rig r;

	go_on_after_copies(&r, rocks_of(state));
	for (unsigned i = 1; i < DISKS; i++)
		put_back(&r, i);
	rig_must_open(&r);
	assert_int_equal(r.rec.loss.from, 0);
	rig_expect_value(&r, 0, 80, 1);
	rig_release(&r);
}

/* A majority was, among them all members. */
static void test_majority_set_back(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, false, 5, 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	for (unsigned i = 0; i < 3; i++)
		copy(&r, i);
	rig_fill(&r, 50, 1, 1);
	remember(&r);
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++)
		put_back(&r, i);
	refused_and_unchanged(&r, "51", "50");
	rig_release(&r);
}

/*
 * Force goes on, says what is lost, and settles it: a pool directory that still remembers the old line, since
 * it could not be written, objects no more, whether power goes at once or later.
 */
static void test_force(void **state)
{
	struct rig r, old;

	go_on_after_copies(&r, rocks_of(state));
	for (unsigned i = 0; i < DISKS; i++)
		put_back(&r, i);
	r.force = true;
	rig_must_open(&r);
	assert_int_equal(r.rec.loss.from, 61);
	assert_int_equal(r.rec.loss.last, 80);
	rig_expect_value(&r, 0, 60, 1);
	assert_false(rig_has(&r, 60, 1));
	rig_kill(&r);
	r.force = false;
	rig_must_open(&r);
	rig_fill(&r, 60, 3, 2);
	rig_kill(&r);
	old = r;
	for (unsigned fresh = 0; fresh < 2; fresh++) {
		struct meta_loss loss;

		r.witness = old.witness;
		r.line = old.line;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 60, 1);
		rig_expect_value(&r, 60, 3, 2);
		assert_int_equal(meta_loss(r.m, &loss), 0);
		assert_int_equal(loss.from, 61);
		rig_fill(&r, 63, 1, 2);
		old.witness = meta_witness(r.m);
		old.line = meta_durable_line(r.m);
		rig_kill(&r);
	}
	rig_release(&r);
}

/* Copies that were used elsewhere by an import, and have come to the same number. */
static void test_another_transaction(void **state)
{
	struct rig r, today;

	(void)state;
	go_on_after_copies(&r, false);
	today = r;
	for (unsigned i = 0; i < DISKS; i++)
		put_back(&r, i);
	r.witness = (struct history_witness){0};
	r.line = (struct meta_line){0};
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_fill(&r, 60, 30, 2);
	rig_kill(&r);
	r.witness = today.witness;
	r.line = today.line;
	refused_and_unchanged(&r, "80", "another");
	r.force = true;
	rig_must_open(&r);
	assert_in_range(r.rec.loss.from, 1, 61);
	assert_int_equal(r.rec.loss.last, 80);
	rig_expect_value(&r, 60, 30, 2);
	r.force = false;
	rig_kill(&r);
	rig_must_open(&r);
	rig_release(&r);
}

/* What it remembers lies in the checkpoint of the chosen root: it says nothing, and right it is. */
static void test_before_the_checkpoint(void **state)
{
	struct rig r;

	go_on_after_copies(&r, rocks_of(state));
	rig_must_open(&r); /* a checkpoint ends at 80 */
	rig_fill(&r, 80, 5, 1);
	rig_kill(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 85, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_release(&r);
}

/* A directory that has never heard of this line, opened by force: its number says nothing of what is here. */
static void test_foreign_epoch(void **state)
{
	struct rig r;

	(void)state;
	go_on_after_copies(&r, false);
	uuid_random(&r.witness.id);
	r.line.seq = 1000000;
	assert_int_not_equal(rig_open(&r), 0);
	r.force = true;
	rig_must_open(&r);
	assert_int_equal(r.rec.loss.from, 0);
	rig_expect_value(&r, 0, 80, 1);
	rig_release(&r);
}

/* What is committed and not synced may go with power: it was not remembered. */
static void test_unsynced_goes(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, false, DISKS, DISKS);
	rig_must_open(&r);
	rig_fill(&r, 0, 20, 1);
	for (unsigned i = 20; i < 30; i++)
		(void)rig_commit(&r, i, 1);
	remember(&r);
	assert_int_equal(r.line.seq, 20);
	rig_kill(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 20, 1);
	rig_release(&r);
}

static void rot(struct rig *r, uint64_t seq)
{
	for (unsigned i = 0; i < DISKS; i++) {
		struct rig_record rec;

		rig_find_record(r, i, seq, &rec);
		rig_flip(rec.path, (long)rec.off + 70);
	}
}

/* Rot in the last group, on all members, before anything followed: the journal alone can't tell (M12). */
static void test_rot_at_the_end(void **state)
{
	struct rig r;

	(void)state;
	go_on_after_copies(&r, false);
	rot(&r, 80);
	refused_and_unchanged(&r, "80", "79");
	r.line.seq = 0; /* of an older program */
	rig_must_open(&r);
	rig_expect_value(&r, 0, 79, 1);
	rig_release(&r);
}

/* Damage that the journal proves, and the pool directory knows of more: both are one loss. */
static void test_rot_and_more(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, false, DISKS, DISKS);
	rig_must_open(&r);
	rig_fill(&r, 0, 80, 1);
	rig_fill(&r, 80, 1, 1);
	rig_fill(&r, 81, 4, 1);
	remember(&r);
	rig_kill(&r);
	for (uint64_t seq = 82; seq <= 85; seq++)
		rot(&r, seq);
	rot(&r, 70);
	rig_destroy_index(&r);
	assert_int_equal(rig_open(&r), DFS_EJOURNAL);
	r.force = true;
	rig_must_open(&r);
	assert_int_equal(r.rec.loss.from, 70);
	assert_int_equal(r.rec.loss.last, 85);
	rig_kill(&r);
	r.force = false;
	rig_must_open(&r); /* also with the old pool directory */
	rig_expect_value(&r, 0, 69, 1);
	rig_release(&r);
}

/* Members and epochs change between; each time what is remembered is there. */
static void test_members_change(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;

	(void)state;
	rig_init(&r, false, 5, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	for (unsigned lost = 0; lost < 2; lost++) {
		r.absent[lost] = true;
		assert_int_equal(meta_set_disks(r.m, disks, rig_disks(&r, disks), NULL, 0), 0);
		rig_fill(&r, 10 + 10 * lost, 10, 1);
		remember(&r);
		rig_kill(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 20 + 10 * lost, 1);
		remember(&r);
	}
	rig_must_close(&r);
	rig_must_open(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_all_set_back),
		BOTH(test_one_member_is_not),
		cmocka_unit_test(test_majority_set_back),
		BOTH(test_force),
		cmocka_unit_test(test_another_transaction),
		BOTH(test_before_the_checkpoint),
		cmocka_unit_test(test_foreign_epoch),
		cmocka_unit_test(test_unsynced_goes),
		cmocka_unit_test(test_rot_at_the_end),
		cmocka_unit_test(test_rot_and_more),
		cmocka_unit_test(test_members_change),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
