/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a journal ends: damage is told from a torn tail (docs/DESIGN.md), at each position, on one member
 * and on all; what force does, and until when it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/log.h"
#include "dev/deadline.h"
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

static void rot(struct rig *r, unsigned disk, uint64_t seq)
{
	struct rig_record rec;

	rig_find_record(r, disk, seq, &rec);
	rig_flip(rec.path, (long)(rec.off + seq * 7 % rec.len));
	rig_flip(rec.path, (long)(rec.second_off + rec.off + seq * 7 % rec.len));
}

static void expect_prefix(struct rig *r, unsigned n)
{
	rig_expect_value(r, 0, n, 1);
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
		rig_expect_value(&r, 0, GROUPS + 2, 1);
		assert_int_equal(r.rec.loss.from, 0);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* A record after the last group says that it was acknowledged (M12); that one itself may rot. */
static void test_rot_before_a_seal(void **state)
{
	(void)state;
	for (uint64_t seq = GROUPS - 1; seq <= GROUPS + 3; seq++) {
		bool told = seq < GROUPS + 3;
		uint64_t syncs;
		struct rig r;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		assert_int_equal(meta_seal(r.m), 0); /* nothing to seal */
		assert_int_equal(meta_last_seq(r.m), 0);
		fill_groups(&r);
		assert_int_equal(meta_seal(r.m), 0);
		assert_int_equal(meta_last_seq(r.m), GROUPS + 3);
		syncs = meta_stats(r.m).journal_syncs;
		assert_int_equal(meta_seal(r.m), 0); /* once */
		assert_int_equal(meta_stats(r.m).journal_syncs, syncs);
		rig_kill(&r);
		for (unsigned i = 0; i < 3; i++)
			rot(&r, i, seq);
		rig_destroy_index(&r);
		assert_int_equal(rig_open(&r), told ? DFS_EJOURNAL : 0);
		if (told) {
			assert_int_equal(r.rec.loss.from, seq);
			r.force = true;
			rig_must_open(&r);
		}
		expect_prefix(&r, (unsigned)MIN(seq - 1, GROUPS + 2));
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* A seal is no reason for a checkpoint, and is not made where one has just been. */
static void test_no_seal_after_a_checkpoint(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, false, 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	(void)rig_commit(&r, 10, 1);
	assert_int_equal(meta_seal(r.m), 0); /* not while something is not durable */
	assert_int_equal(meta_last_seq(r.m), 11);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(meta_seal(r.m), 0);
	assert_int_equal(meta_last_seq(r.m), 11);
	rig_must_close(&r);
	rig_must_open(&r);
	assert_true(r.rec.was_clean);
	rig_expect_value(&r, 0, 11, 1);
	rig_must_close(&r);
	rig_release(&r);
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
		assert_true(rig_count_journals(&r, 0, "damaged-") > 0);
		rig_fill(&r, 100, 5, 1);
		rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r); /* not again; but told */
		rig_expect_value(&r, 100, 5, 1);
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
			assert_int_equal(rig_count_journals(&r, i, "damaged-"), 0);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* On one disk, and on two, each record lies there twice: rot of either costs nothing. */
static void test_twice(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 16; n++) {
		unsigned disks = 1 + n % 2;
		struct rig_record rec;
		struct rig r;

		rig_init(&r, false, disks, 4);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		for (uint64_t seq = 1; seq <= GROUPS + 2; seq++) {
			bool second = n < 4 ? n / 2 : seq * n % 3;

			for (unsigned d = 0; d < disks; d++) {
				rig_find_record(&r, d, seq, &rec);
				rig_flip(rec.path, (long)(rec.off + 60) +
							   (second ? (long)rec.second_off : 0));
				if (n >= 8 && seq % 4 == 1)
					break;
			}
		}
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, GROUPS + 2, 1);
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
		struct rig_record rec;
		struct rig r;

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		fill_groups(&r);
		rig_kill(&r);
		for (unsigned i = 0; i < 3; i++) {
			FILE *f;

			rig_find_record(&r, i, lost, &rec);
			f = fopen(rec.path, "r+b");
			assert_non_null(f);
			fseek(f, (long)rec.off, SEEK_SET);
			fwrite(zeros, 1, rec.len, f);
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
		rig_expect_value(&r, 0, (unsigned)lost - 1 + 20, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* The disks go at any call of a checkpoint: what was synced is there, each member has its two files. */
static void test_crash_while_recycling(void **state)
{
	int err = DFS_EIO;

	(void)state;
	for (uint64_t calls = 1; err; calls += 3) {
		struct fault_plan none = {0}, cut = {.gone_after = calls};
		struct rig r;

		rig_init(&r, false, 3, 2);
		rig_must_open(&r);
		fill_groups(&r);
		assert_int_equal(meta_checkpoint(r.m), 0);
		rig_fill(&r, 100, 20, 1);
		for (unsigned i = 0; i < 3; i++)
			dev_fault_set(r.devs[i], &cut);
		err = meta_checkpoint(r.m);
		rig_kill(&r);
		for (unsigned i = 0; i < 3; i++)
			dev_fault_set(r.devs[i], &none);
		rig_destroy_index(&r);
		for (unsigned round = 0; round < 2; round++) {
			rig_must_open(&r);
			rig_expect_value(&r, 0, GROUPS + 2, 1);
			rig_expect_value(&r, 100, 20 + round, 1);
			for (unsigned i = 0; i < 3; i++)
				if (meta_is_member(r.m, (disk_id){i + 1}))
					assert_int_equal(rig_count_journals(&r, i, ""), 2);
			rig_fill(&r, 120, 1, 1);
			rig_kill(&r);
		}
		rig_release(&r);
	}
}

/* Commits keys of their own until one is refused. Returns how many there are. */
static unsigned fill_up(struct rig *r, unsigned from, int *ret_err)
{
	static const char value[8000];

	for (unsigned n = from;; n++) {
		struct meta_txn *t = meta_begin(r->m);
		uint64_t seq;
		char key[32];

		meta_put(t, key, (size_t)snprintf(key, sizeof(key), "full%08u", n), value,
			 sizeof(value));
		*ret_err = meta_commit(t, &seq);
		if (*ret_err)
			return n;
		if (n % 3 == 0)
			assert_int_equal(meta_sync(r->m, seq), 0);
	}
}

static void expect_full(struct rig *r, unsigned count)
{
	for (unsigned n = 0; n <= count; n++) {
		char key[32];
		BUF out = {0};

		assert_int_equal(meta_get(r->m, key,
					  (size_t)snprintf(key, sizeof(key), "full%08u", n), &out),
				 n < count ? 0 : DFS_ENOENT);
	}
}

/* No checkpoint succeeds: the journal takes what it has room for, then commits are refused and nothing
 * that was accepted is lost; with room again it goes on by itself. */
static void test_full_journal(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct rig r;
	unsigned count;
	int err;

	(void)state;
	rig_init(&r, false, 3, 3);
	r.checkpoint_bytes = KIB(256);
	rig_must_open(&r);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &full);
	count = fill_up(&r, 0, &err);
	assert_int_equal(err, DFS_ENOSPC);
	assert_true(count * 8000 > KIB(768)); /* more than one file */
	assert_int_equal(meta_sync(r.m, meta_last_seq(r.m)), 0);
	assert_int_equal(fill_up(&r, count, &err), count);
	assert_int_equal(err, DFS_ENOSPC);
	for (unsigned i = 1; i <= 3; i++) {
		assert_true(meta_is_member(r.m, (disk_id){i}));
		assert_int_equal(r.failed[i], 0);
	}
	/* killed, still full: it opens, and what was accepted is there */
	for (unsigned round = 0; round < 2; round++) {
		if (round)
			rig_must_close(&r);
		else
			rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r);
		expect_full(&r, count);
		assert_int_equal(fill_up(&r, count, &err), count);
		assert_int_equal(err, DFS_ENOSPC);
	}
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &none);
	for (unsigned n = 0; n < 200; n++) {
		struct meta_txn *t = meta_begin(r.m);
		uint64_t seq;

		meta_put(t, "again", 5, "x", 1);
		err = meta_commit(t, &seq);
		if (err != DFS_ENOSPC)
			break;
		env_sleep_ms(100);
	}
	assert_int_equal(err, 0);
	for (unsigned i = 1; i <= 3; i++)
		assert_true(meta_is_member(r.m, (disk_id){i}));
	rig_must_close(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	expect_full(&r, count);
	rig_must_close(&r);
	rig_release(&r);
}

/* A filesystem that never writes in place is full: the journal's own space does not help (J1). The sync
 * fails, no member is dropped, and what was accepted is written once there is room again. */
static void test_no_room_to_overwrite(void **state)
{
	struct fault_plan full = {.no_space_anew = true}, none = {0};
	struct rig r;

	(void)state;
	for (unsigned some = 1; some <= 3; some++) {
		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		rig_fill(&r, 0, 10, 1);
		for (unsigned i = 0; i < some; i++)
			dev_fault_set(r.devs[i], &full);
		rig_commit(&r, 10, 1);
		assert_int_equal(meta_sync(r.m, rig_commit(&r, 11, 1)), DFS_ENOSPC);
		assert_int_equal(meta_sync(r.m, rig_commit(&r, 12, 1)), DFS_ENOSPC);
		for (unsigned i = 1; i <= 3; i++) {
			assert_true(meta_is_member(r.m, (disk_id){i}));
			assert_int_equal(r.failed[i], 0);
		}
		for (unsigned i = 0; i < 3; i++)
			dev_fault_set(r.devs[i], &none);
		rig_fill(&r, 13, 1, 1);
		rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 14, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* Groups larger than a file are split; one transaction larger than that is refused. */
static void test_large_groups(void **state)
{
	static const uint8_t value[KIB(100)];
	struct meta_txn *t;
	uint64_t seq = 0;
	struct rig r;

	(void)state;
	rig_init(&r, false, 2, 2);
	r.checkpoint_bytes = KIB(512);
	rig_must_open(&r);
	for (unsigned n = 0; n < 100; n++) {
		t = meta_begin(r.m);
		for (unsigned i = 0; i < 2; i++) {
			char key[32];
			int len = snprintf(key, sizeof(key), "big%u-%u", n, i);

			meta_put(t, key, (size_t)len, value, sizeof(value));
		}
		assert_int_equal(meta_commit(t, &seq), 0);
	}
	assert_int_equal(meta_sync(r.m, seq), 0);
	t = meta_begin(r.m);
	for (unsigned i = 0; i < 6; i++)
		meta_put(t, "huge", 4, value, sizeof(value));
	assert_int_equal(meta_commit(t, &seq), DFS_E2BIG);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	assert_int_equal(meta_last_seq(r.m), 100);
	rig_must_close(&r);
	rig_release(&r);
}

/* A disk without room for a journal does not become a member, and none is left half made. */
static void test_no_room_to_join(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct meta_disk disks[RIG_MAX_DISKS];
	struct rig r;
	unsigned n;

	(void)state;
	rig_init(&r, false, 3, 3);
	r.absent[2] = true;
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	dev_fault_set(r.devs[2], &full);
	r.absent[2] = false;
	n = rig_disks(&r, disks);
	assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
	assert_false(meta_is_member(r.m, (disk_id){3}));
	assert_int_equal(r.failed[3], 0);
	rig_fill(&r, 10, 10, 1);
	dev_fault_set(r.devs[2], &none);
	assert_int_equal(meta_set_disks(r.m, disks, n, NULL, 0), 0);
	assert_true(meta_is_member(r.m, (disk_id){3}));
	assert_int_equal(rig_count_journals(&r, 2, ""), 2);
	rig_fill(&r, 20, 10, 1);
	rig_kill(&r);
	r.absent[0] = r.absent[1] = true;
	r.force = true;
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 30, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* verify_writes: a member that stores something else than it was given is found out before anything is
 * acknowledged; without it, it is not. */
static void test_verify(void **state)
{
	struct fault_plan lies = {.write_flip = 1}, none = {0};

	(void)state;
	for (unsigned verify = 0; verify < 2; verify++) {
		struct rig r;

		rig_init(&r, false, 4, 3);
		rig_must_open(&r);
		meta_set_verify(r.m, verify);
		rig_fill(&r, 0, 10, 1);
		dev_fault_set(r.devs[1], &lies);
		rig_fill(&r, 10, 10, 1);
		assert_int_equal(r.failed[2], verify);
		assert_int_equal(r.failed[1] + r.failed[3], 0);
		dev_fault_set(r.devs[1], &none);
		rig_kill(&r);
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 20, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* The same for table files: they go elsewhere. */
static void test_verify_tables(void **state)
{
	struct fault_plan lies = {.write_flip = 1};
	struct rig r;

	(void)state;
	rig_init(&r, false, 6, 2);
	rig_must_open(&r);
	meta_set_verify(r.m, true);
	rig_fill(&r, 0, 500, 1);
	for (unsigned i = 2; i < 6; i++)
		dev_fault_set(r.devs[i], &lies);
	rig_commit(&r, 500, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 501, 1);
	rig_kill(&r);
	rig_release(&r);
}

/* Members that hang are left out once their deadline has passed, whether they are written inline or by a
 * thread of theirs, and nobody waits for them afterwards. */
static void test_hung_member(void **state)
{
	struct fault_plan hang = {.hang = true}, none = {0}, slow = {.delay_ms = 2};

	(void)state;
	for (unsigned slowly = 0; slowly < 2; slowly++) {
		struct dev_group *group = dev_group_new(200);
		struct dev *faults[RIG_MAX_DISKS];
		struct rig r;
		uint64_t start;

		rig_init(&r, false, 5, 4);
		for (unsigned i = 0; i < 5; i++) {
			faults[i] = r.devs[i];
			r.devs[i] = dev_deadline_new(group, faults[i]);
			dev_fault_set(faults[i], slowly ? &slow : &none);
		}
		dev_group_set_most(group, 2, 2, NULL, 0);
		rig_must_open(&r);
		rig_fill(&r, 0, 10, 1);
		start = env_now_ns();
		dev_fault_set(faults[1], &hang);
		dev_fault_set(faults[2], &hang);
		rig_fill(&r, 10, 10, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		assert_true(r.failed[2] > 0 && r.failed[3] > 0);
		assert_false(meta_is_member(r.m, (disk_id){2}));
		assert_false(meta_is_member(r.m, (disk_id){3}));
		rig_must_close(&r);
		assert_true(env_now_ns() - start < 20000000000u);
		dev_fault_set(faults[1], &none);
		dev_fault_set(faults[2], &none);
		r.absent[1] = r.absent[2] = true;
		rig_destroy_index(&r);
		rig_must_open(&r);
		rig_expect_value(&r, 0, 20, 1);
		rig_must_close(&r);
		rig_release(&r);
		dev_group_put(group);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rot_on_one_member),
		cmocka_unit_test(test_rot_on_all_members),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_force_and_crash),
		cmocka_unit_test(test_torn_group),
		cmocka_unit_test(test_rot_before_a_seal),
		cmocka_unit_test(test_no_seal_after_a_checkpoint),
		cmocka_unit_test(test_crash_while_recycling),
		cmocka_unit_test(test_full_journal),
		cmocka_unit_test(test_no_room_to_overwrite),
		cmocka_unit_test(test_large_groups),
		cmocka_unit_test(test_no_room_to_join),
		cmocka_unit_test(test_hung_member),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_verify_tables),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
