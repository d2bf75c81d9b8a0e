/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Openings that find no space for a checkpoint: members whose journals ended apart, or have rotted, are given
 * what they lack, and each is whole then (M16).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "unit/meta_rig.h"

#define GROUPS 20u
#define LAST (GROUPS + 2) /* number of the last transaction: the last group has three */

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

static void set_faults(struct rig *r, struct fault_plan plan)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		dev_fault_set(r->devs[i], &plan);
}

static void begin(struct rig *r, unsigned disks)
{
	rig_init(r, false, disks, disks);
	rig_must_open(r);
	for (unsigned i = 0; i < GROUPS - 1; i++)
		rig_fill(r, i, 1, 1);
	rig_fill(r, GROUPS - 1, 3, 1);
	rig_kill(r);
}

static void zero(const char *path, size_t off, size_t len)
{
	FREE uint8_t *zeros = xcalloc(1, len);
	FILE *f = fopen(path, "r+b");

	assert_non_null(f);
	assert_int_equal(fseek(f, (long)off, SEEK_SET), 0);
	assert_int_equal(fwrite(zeros, 1, len, f), len);
	fclose(f);
}

/* Where the journal of a pool of one or two disks is, it is there twice. */
static void forget(struct rig *r, unsigned disk, uint64_t from, uint64_t to, bool both)
{
	for (uint64_t seq = from; seq <= to; seq++) {
		struct rig_record rec;

		rig_find_record(r, disk, seq, &rec);
		zero(rec.path, rec.off, rec.len);
		if (both)
			zero(rec.path, rec.second_off + rec.off, rec.len);
	}
}

static void open_without_space(struct rig *r)
{
	set_faults(r, (struct fault_plan){.no_space = true});
	rig_destroy_index(r);
	rig_must_open(r);
}

static void expect_members(struct rig *r)
{
	for (unsigned i = 1; i <= r->disk_count; i++) {
		assert_true(meta_is_member(r->m, (disk_id){i}));
		assert_int_equal(r->failed[i], 0);
	}
}

/* All of it is on each disk: whichever of them is left. */
static void expect_on_each(struct rig *r, unsigned keys)
{
	for (unsigned alone = 0; alone < r->disk_count; alone++) {
		for (unsigned i = 0; i < r->disk_count; i++)
			r->absent[i] = i != alone;
		r->read_only = r->force = true;
		rig_destroy_index(r);
		rig_must_open(r);
		rig_expect_value(r, 0, keys, 1);
		assert_int_equal(r->rec.loss.from, 0);
		rig_kill(r);
	}
	memset(r->absent, 0, sizeof(r->absent));
	r->read_only = r->force = false;
}

static void test_ends_apart(void **state)
{
	(void)state;
	for (unsigned disks = 2; disks <= 4; disks++) {
		struct rig r;

		begin(&r, disks);
		forget(&r, 1, LAST - 2, LAST, disks == 2);
		if (disks > 2)
			forget(&r, 2, LAST, LAST, false);
		open_without_space(&r);
		expect_members(&r);
		rig_fill(&r, LAST, 3, 1); /* they go on at one place */
		rig_kill(&r);
		expect_on_each(&r, LAST + 3);
		set_faults(&r, (struct fault_plan){0});
		rig_must_open(&r);
		rig_expect_value(&r, 0, LAST + 3, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* No member's journal is whole, all of them together are. */
static void test_rot_at_different_places(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 3);
	forget(&r, 0, 3, 4, false);
	forget(&r, 1, 9, 9, false);
	forget(&r, 2, 15, LAST, false);
	open_without_space(&r);
	expect_members(&r);
	rig_kill(&r);
	expect_on_each(&r, LAST);
	rig_release(&r);
}

/* Few members: what is given is there twice, as all that they write is (J5). */
static void test_given_twice(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 2);
	forget(&r, 1, LAST - 4, LAST, true);
	open_without_space(&r);
	rig_kill(&r);
	forget(&r, 1, LAST - 4, LAST, false);
	expect_on_each(&r, LAST);
	rig_release(&r);
}

/* Power goes at each call: all of it is there next time; and without the disk that had it all, a part of the last
 * group's transactions at most is missing, and nobody calls it damage. */
static void test_crash(void **state)
{
	int err = DFS_EIO;

	(void)state;
	for (uint64_t calls = 1; err; calls++) {
		struct rig r;

		begin(&r, 3);
		forget(&r, 1, LAST - 2, LAST, false);
		forget(&r, 2, LAST - 1, LAST, false);
		rig_destroy_index(&r);
		set_faults(&r, (struct fault_plan){.gone_after = calls, .no_space = true});
		err = rig_open(&r);
		if (!err)
			rig_kill(&r);
		set_faults(&r, (struct fault_plan){0});
		r.read_only = r.force = r.absent[0] = true;
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, LAST - 3, 1);
		assert_int_equal(r.rec.loss.from, 0);
		rig_kill(&r);
		r.read_only = r.force = r.absent[0] = false;
		open_without_space(&r);
		rig_expect_value(&r, 0, LAST, 1);
		rig_kill(&r);
		rig_release(&r);
	}
}

/* Writes until both files are full, for no checkpoint succeeds. Returns the last transaction's number. */
static uint64_t fill_both_files(struct rig *r)
{
	static const char value[8000];
	uint64_t seq = 0;

	for (unsigned n = 0;; n++) {
		struct meta_txn *t = meta_begin(r->m);
		char key[32];
		int len = snprintf(key, sizeof(key), "full%08u", n);

		meta_put(t, key, (size_t)len, value, sizeof(value));
		if (meta_commit(t, &seq))
			break;
		assert_int_equal(meta_sync(r->m, seq), 0);
	}
	return meta_last_seq(r->m);
}

/* One member has not begun the second file: it is made there, after the first is whole. */
static void test_second_file(void **state)
{
	char spare[256], path[256];
	struct rig_record rec;
	uint64_t last;
	struct rig r;

	(void)state;
	rig_init(&r, false, 3, 3);
	r.checkpoint_bytes = KIB(256);
	rig_must_open(&r);
	set_faults(&r, (struct fault_plan){.no_space = true});
	last = fill_both_files(&r);
	rig_kill(&r);
	rig_find_record(&r, 1, last, &rec);
	zero(rec.path, 0, (size_t)rig_size(rec.path));
	rig_path(&r, 1, "meta/journal/spare-0", spare);
	assert_int_equal(rename(rec.path, spare), 0);
	rig_find_record(&r, 0, last, &rec);
	snprintf(path, sizeof(path), "%s", strrchr(rec.path, '/') + 1);
	open_without_space(&r);
	expect_members(&r);
	assert_int_equal(meta_last_seq(r.m), last);
	rig_kill(&r);
	assert_int_equal(rig_count_journals(&r, 1, path), 1);
	r.absent[0] = r.absent[2] = r.force = r.read_only = true;
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_int_equal(meta_last_seq(r.m), last);
	rig_kill(&r);
	rig_release(&r);
}

/* A file that has become too small does not take the rest: that member is left out, as one that is behind. */
static void test_no_place(void **state)
{
	struct rig_record rec;
	struct rig r;

	(void)state;
	begin(&r, 3);
	rig_find_record(&r, 1, LAST - 2, &rec);
	assert_int_equal(truncate(rec.path, (off_t)rec.off), 0);
	open_without_space(&r);
	assert_false(meta_is_member(r.m, (disk_id){2}));
	assert_true(meta_is_member(r.m, (disk_id){1}));
	assert_true(meta_is_member(r.m, (disk_id){3}));
	assert_int_equal(r.failed[2], 0);
	rig_expect_value(&r, 0, LAST, 1);
	rig_fill(&r, LAST, 3, 1);
	rig_kill(&r);
	set_faults(&r, (struct fault_plan){0});
	rig_must_open(&r);
	assert_true(meta_is_member(r.m, (disk_id){2}));
	rig_must_close(&r);
	expect_on_each(&r, LAST + 3);
	rig_release(&r);
}

/* One that can't be written has failed. */
static void test_write_fails(void **state)
{
	struct fault_plan fails = {.no_space = true, .write_error = 1.0};
	struct rig r;

	(void)state;
	begin(&r, 3);
	forget(&r, 1, LAST, LAST, false);
	set_faults(&r, (struct fault_plan){.no_space = true});
	dev_fault_set(r.devs[1], &fails);
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_false(meta_is_member(r.m, (disk_id){2}));
	assert_int_equal(r.failed[2], 1);
	rig_expect_value(&r, 0, LAST, 1);
	rig_kill(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_apart),  cmocka_unit_test(test_rot_at_different_places),
		cmocka_unit_test(test_given_twice), cmocka_unit_test(test_crash),
		cmocka_unit_test(test_second_file), cmocka_unit_test(test_no_place),
		cmocka_unit_test(test_write_fails),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
