/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half of the voters are lost at once, and the pool directory, whose vote is needed then, can't be written
 * (H3, H9): nothing is acknowledged, nothing is lost, and it goes on by itself when it can be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/log.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

static const struct fault_plan gone = {.gone = true}, none = {0};

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

/* A pool of so many disks with 20 synced keys; then half of the disks go, and 5 more keys are committed. */
static void begin_tie(struct rig *r, unsigned disks)
{
	rig_init(r, false, disks, disks);
	rig_must_open(r);
	rig_fill(r, 0, 20, 1);
	r->witness = r->told;
	r->told_err = DFS_ENOSPC;
	for (unsigned i = disks / 2; i < disks; i++)
		dev_fault_set(r->devs[i], &gone);
	for (unsigned i = 20; i < 24; i++)
		(void)rig_commit(r, i, 1);
	assert_int_equal(meta_sync(r->m, rig_commit(r, 24, 1)), DFS_ENOSPC);
}

static void expect_waiting(struct rig *r)
{
	uint64_t durable = meta_durable_seq(r->m);

	assert_int_equal(meta_failed(r->m), 0);
	assert_int_equal(r->told.epoch, r->witness.epoch);
	assert_int_equal(meta_epoch(r->m), r->witness.epoch);
	assert_int_equal(meta_sync(r->m, meta_last_seq(r->m)), DFS_ENOSPC);
	assert_int_equal(meta_settle_tie(r->m), DFS_ENOSPC);
	assert_int_equal(meta_checkpoint(r->m), DFS_ENOSPC);
	assert_int_equal(meta_durable_seq(r->m), durable);
}

static void reopen_first_half(struct rig *r)
{
	rig_kill(r);
	r->witness = r->told;
	for (unsigned i = 0; i < r->disk_count; i++)
		r->absent[i] = i >= r->disk_count / 2;
	rig_must_open(r);
}

static void it_goes_on(void **state)
{
	struct rig r;

	(void)state;
	begin_tie(&r, 4);
	expect_waiting(&r);
	(void)rig_commit(&r, 25, 1);
	expect_waiting(&r);
	r.told_err = 0;
	assert_int_equal(meta_settle_tie(r.m), 0);
	assert_int_equal(r.told.epoch, meta_epoch(r.m));
	assert_int_equal(meta_epoch(r.m), r.witness.epoch + 1);
	assert_int_equal(meta_sync(r.m, meta_last_seq(r.m)), 0);
	rig_expect_value(&r, 0, 26, 1);
	rig_fill(&r, 26, 4, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_fill(&r, 30, 4, 1);
	reopen_first_half(&r);
	rig_expect_value(&r, 0, 34, 1);
	rig_must_close(&r);
	r.witness = r.told;
	for (unsigned i = 0; i < 4; i++) {
		dev_fault_set(r.devs[i], &none);
		r.absent[i] = i < 2;
	}
	assert_int_equal(rig_open(&r), DFS_ESTALE); /* the others can't go on from before */
	rig_release(&r);
}

/* A sync that comes meanwhile is enough. */
static void the_next_sync_goes_on(void **state)
{
	struct rig r;

	(void)state;
	begin_tie(&r, 2);
	r.told_err = 0;
	rig_fill(&r, 25, 5, 1);
	rig_expect_value(&r, 0, 30, 1);
	assert_int_equal(meta_settle_tie(r.m), 0);
	rig_must_close(&r);
	rig_release(&r);
}

/* What the attempts leave is no epoch: the half that has it opens with the pool directory as it was, and so
 * does the other half, but not both. */
static void a_crash_while_it_waits(void **state)
{
	for (unsigned first = 0; first < 2; first++) {
		struct rig r;

		(void)state;
		begin_tie(&r, 2);
		expect_waiting(&r);
		rig_kill(&r);
		dev_fault_set(r.devs[1], &none);
		r.absent[1 - first] = true;
		assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
		assert_non_null(strstr(r.rec.refusal, "pool directory"));
		assert_non_null(strstr(r.rec.refusal, dfs_err_text(DFS_ENOSPC)));
		r.told_err = 0;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 20, 1);
		rig_fill(&r, 40, 5, 1);
		rig_must_close(&r);
		r.witness = r.told;
		r.absent[1 - first] = false;
		r.absent[first] = true;
		assert_int_equal(rig_open(&r), DFS_ESTALE);
		r.absent[first] = false;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 20, 1);
		rig_expect_value(&r, 40, 5, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

static void lose_half(struct rig *r)
{
	for (unsigned i = r->disk_count / 2; i < r->disk_count; i++)
		dev_fault_set(r->devs[i], &gone);
}

/* Which file it is. */
static ino_t newest_manifest(struct rig *r)
{
	uint64_t id = meta_stats(r->m).checkpoints + 1;
	char name[JOURNAL_NAME_LEN], path[256];
	struct stat st;

	manifest_name(id, name);
	rig_path(r, 0, name, path);
	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* The loss is met while a checkpoint's root is written: the manifest that the attempt names must stay as
 * it is, for a crash may leave the pool with that root. */
static void a_checkpoint_meets_it(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		bool crash = i & 1;
		ino_t manifest;
		struct rig r;

		(void)state;
		rig_init(&r, false, 2, 1 + i / 2); /* the one that goes may be no member */
		rig_must_open(&r);
		rig_fill(&r, 0, 20, 1);
		r.witness = r.told;
		r.told_err = DFS_EROFS;
		r.stored = lose_half;
		assert_int_equal(meta_checkpoint(r.m), DFS_EROFS);
		r.stored = NULL;
		assert_int_equal(meta_failed(r.m), 0);
		manifest = newest_manifest(&r);
		assert_int_equal(meta_checkpoint(r.m), DFS_EROFS);
		assert_int_equal(newest_manifest(&r), manifest);
		(void)rig_commit(&r, 20, 1);
		assert_int_equal(meta_checkpoint(r.m), DFS_EROFS);
		assert_int_equal(meta_failed(r.m), 0);
		r.told_err = 0;
		if (crash) {
			r.told = r.witness;
			reopen_first_half(&r);
		} else {
			assert_int_equal(meta_checkpoint(r.m), 0);
			rig_expect_value(&r, 20, 1, 1);
		}
		rig_expect_value(&r, 0, 20, 1);
		rig_fill(&r, 21, 9, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		reopen_first_half(&r);
		rig_expect_value(&r, 0, 20, 1);
		rig_expect_value(&r, 21, 9, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* Others who come back decide without it; so do those that are lost, too. */
static void disks_decide_it(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;

	(void)state;
	begin_tie(&r, 4);
	dev_fault_set(r.devs[2], &none);
	assert_int_equal(meta_set_disks(r.m, disks, rig_disks(&r, disks) - 1, NULL, 0), 0);
	assert_int_equal(meta_sync(r.m, meta_last_seq(r.m)), 0);
	rig_expect_value(&r, 0, 25, 1);
	assert_int_equal(r.told.epoch, r.witness.epoch); /* it is behind, and that is all */
	rig_must_close(&r);
	rig_release(&r);

	begin_tie(&r, 4);
	dev_fault_set(r.devs[1], &gone);
	r.told_err = 0;
	assert_int_equal(meta_sync(r.m, meta_last_seq(r.m)), DFS_ENOQUORUM);
	assert_int_not_equal(meta_failed(r.m), 0);
	rig_release(&r);
}

/* The others are given up meanwhile: that waits, too. */
static void giving_up_waits(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;

	(void)state;
	begin_tie(&r, 2);
	assert_int_equal(rig_disks(&r, disks), 2);
	assert_int_equal(meta_set_disks(r.m, disks, 1, NULL, 0), DFS_ENOSPC);
	assert_int_equal(meta_failed(r.m), 0);
	r.told_err = 0;
	assert_int_equal(meta_set_disks(r.m, disks, 1, NULL, 0), 0);
	assert_int_equal(meta_sync(r.m, meta_last_seq(r.m)), 0);
	rig_expect_value(&r, 0, 25, 1);
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_on),
		cmocka_unit_test(the_next_sync_goes_on),
		cmocka_unit_test(a_crash_while_it_waits),
		cmocka_unit_test(a_checkpoint_meets_it),
		cmocka_unit_test(disks_decide_it),
		cmocka_unit_test(giving_up_waits),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
