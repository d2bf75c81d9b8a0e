/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a journal ends: damage is told from a torn tail (docs/DESIGN.md), at each position, on one member
 * and on all; what force does, and until when it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/log.h"
#include "format/journal.h"
#include "unit/meta_rig.h"

#define GROUPS 50u

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

/* One transaction a group, but for the last, which has three. */
static void fill_groups(struct rig *r)
{
	for (unsigned i = 0; i < GROUPS - 1; i++)
		rig_fill(r, i, 1, 1);
	rig_fill(r, GROUPS - 1, 3, 1);
}

/* Disk i's journal file that holds record seq, and where the record lies in it. */
static void find_record(struct rig *r, unsigned disk, uint64_t seq, char path[256], size_t *ret_off,
			uint32_t *ret_len)
{
	char dir[256], name[64];
	struct dirent *de;
	DIR *d;

	rig_path(r, disk, "meta/journal", dir);
	d = opendir(dir);
	assert_non_null(d);
	while ((de = readdir(d))) {
		FREE uint8_t *data = NULL;
		struct journal_record rec;
		size_t len = 0, at = 0;

		if (strlen(de->d_name) != 16)
			continue;
		snprintf(name, sizeof(name), "meta/journal/%.16s", de->d_name);
		assert_int_equal(dev_read_all(r->devs[disk], name, MIB(64), &data, &len), 0);
		while (at < len && journal_record_parse(data + at, len - at, &r->pool, &rec) == 0) {
			if (rec.seq == seq) {
				assert_true(snprintf(path, 256, "%s/%s", dir, de->d_name) < 256);
				*ret_off = at;
				*ret_len = rec.total_len;
				closedir(d);
				return;
			}
			at += rec.total_len;
		}
	}
	fail_msg("no record %u on disk %u", (unsigned)seq, disk);
}

static void rot(struct rig *r, unsigned disk, uint64_t seq)
{
	char path[256];
	uint32_t len;
	size_t off;

	find_record(r, disk, seq, path, &off, &len);
	rig_flip(path, (long)(off + seq * 7 % len));
}

static unsigned count_damaged(struct rig *r, unsigned disk)
{
	char dir[256];
	struct dirent *de;
	unsigned n = 0;
	DIR *d;

	rig_path(r, disk, "meta/journal", dir);
	d = opendir(dir);
	assert_non_null(d);
	while ((de = readdir(d)))
		n += strncmp(de->d_name, "damaged-", 8) == 0;
	closedir(d);
	return n;
}

static void expect_prefix(struct rig *r, unsigned n)
{
	rig_expect(r, 0, n, 1);
	for (unsigned i = n; i < GROUPS + 2; i++)
		assert_false(rig_has(r, i, 1));
}

static void test_rot_on_one_member(void **state)
{
	(void)state;
	for (uint64_t seq = 1; seq <= GROUPS + 2; seq += 3) {
		struct rig r;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		rot(&r, (unsigned)(seq % 3), seq);
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect(&r, 0, GROUPS + 2, 1);
		assert_int_equal(r.rec.loss.from, 0);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* Nobody may have missed transactions of the last group; all others had been acknowledged. */
static void test_rot_on_all_members(void **state)
{
	(void)state;
	for (uint64_t seq = 1; seq <= GROUPS + 2; seq++) {
		bool told = seq < GROUPS;
		struct meta_loss loss;
		struct rig r;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		for (unsigned i = 0; i < 3; i++)
			rot(&r, i, seq);
		rig_destroy_index(&r);
		assert_int_equal(rig_open(&r), told ? DFS_EJOURNAL : 0);
		if (!told) {
			expect_prefix(&r, (unsigned)seq - 1);
			rig_must_close(&r);
			rig_release(&r);
			continue;
		}
		assert_int_equal(r.rec.loss.from, seq);
		assert_int_equal(r.rec.loss.last, GROUPS - 1);
		assert_int_equal(r.rec.loss.beyond, GROUPS + 2 - seq);
		assert_int_equal(rig_open(&r), DFS_EJOURNAL); /* nothing was changed */
		r.force = true;
		rig_must_open(&r);
		r.force = false;
		expect_prefix(&r, (unsigned)seq - 1);
		assert_true(count_damaged(&r, 0) > 0);
		rig_fill(&r, 100, 5, 1);
		rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r); /* not again; but told */
		rig_expect(&r, 100, 5, 1);
		assert_int_equal(meta_loss(r.m, &loss), 0);
		assert_int_equal(loss.from, seq);
		assert_int_equal(loss.last, GROUPS - 1);
		rig_must_close(&r);
		rig_must_open(&r);
		assert_int_equal(meta_loss(r.m, &loss), 0);
		assert_int_equal(loss.from, seq);
		assert_int_equal(meta_loss_noted(r.m), 0);
		assert_int_equal(meta_loss(r.m, &loss), 0);
		assert_int_equal(loss.from, 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(count_damaged(&r, i), 0);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* Force, and the power goes at any step of what follows: the loss is told at the next open, or asked
 * about again; never is it forgotten. */
static void test_force_and_crash(void **state)
{
	int err = DFS_EIO;

	(void)state;
	for (uint64_t calls = 1; err; calls += 2) {
		struct fault_plan none = {0}, cut = {.gone_after = calls};
		struct meta_loss loss = {0};
		struct rig r;
		int again;

		rig_init(&r, false, 2, 2);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		for (unsigned i = 0; i < 2; i++)
			rot(&r, i, 20);
		rig_destroy_index(&r);
		r.force = true;
		for (unsigned i = 0; i < 2; i++)
			dev_fault_set(r.devs[i], &cut);
		err = rig_open(&r);
		if (!err)
			rig_kill(&r);
		for (unsigned i = 0; i < 2; i++)
			dev_fault_set(r.devs[i], &none);
		r.force = false;
		rig_destroy_index(&r);
		again = rig_open(&r);
		if (again) {
			assert_int_equal(again, DFS_EJOURNAL);
			r.force = true;
			rig_must_open(&r);
		}
		expect_prefix(&r, 19);
		assert_int_equal(meta_loss(r.m, &loss), 0);
		assert_int_equal(loss.from, 20);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* A group that was never acknowledged, of which only the end arrived: cut, and nothing said. */
static void test_torn_group(void **state)
{
	static const uint8_t zeros[4096];

	(void)state;
	for (uint64_t lost = GROUPS; lost <= GROUPS + 2; lost++) {
		char path[256];
		uint32_t len;
		struct rig r;
		size_t off;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		for (unsigned i = 0; i < 3; i++) {
			FILE *f;

			find_record(&r, i, lost, path, &off, &len);
			f = fopen(path, "r+b");
			assert_non_null(f);
			fseek(f, (long)off, SEEK_SET);
			fwrite(zeros, 1, len, f);
			fclose(f);
		}
		for (unsigned round = 0; round < 3; round++) {
			rig_destroy_index(&r);
			rig_must_open(&r);
			expect_prefix(&r, (unsigned)lost - 1);
			rig_kill(&r);
		}
		rig_must_open(&r);
		rig_fill(&r, (unsigned)lost - 1, 20,
			 1); /* the same again: what was cut stays cut */
		rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect(&r, 0, (unsigned)lost - 1 + 20, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rot_on_one_member),
		cmocka_unit_test(test_rot_on_all_members),
		cmocka_unit_test(test_force_and_crash),
		cmocka_unit_test(test_torn_group),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
