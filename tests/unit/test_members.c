/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of which disks are members: failure domains, states of disks, moves (M14). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit/meta_rig.h"

/* One letter for each disk: its domain; '-': none. */
static void begin(struct rig *r, bool rocks, const char *domains, unsigned copies)
{
	rig_init(r, rocks, (unsigned)strlen(domains), copies);
	for (unsigned i = 0; domains[i]; i++)
		snprintf(r->domain[i], sizeof(r->domain[i]), "%.1s",
			 domains[i] == '-' ? "" : domains + i);
}

static void end(struct rig *r)
{
	rig_must_close(r);
	rig_release(r);
}

static void expect_members(struct rig *r, const char *want)
{
	char have[RIG_MAX_DISKS + 1] = "";

	for (unsigned i = 0; i < r->disk_count; i++)
		have[i] = meta_is_member(r->m, (disk_id){i + 1}) ? 'M' : '-';
	assert_string_equal(have, want);
	/* who is none has no journal, either */
	for (unsigned i = 0; i < r->disk_count; i++)
		if (!r->absent[i])
			assert_int_equal(rig_count_journals(r, i, ""), want[i] == 'M' ? 2 : 0);
}

static void set_disks(struct rig *r)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	unsigned n = rig_disks(r, disks);

	assert_int_equal(meta_set_disks(r->m, disks, n, NULL, 0), 0);
}

/* All that was synced is there with one domain alone, which `without` leaves. */
static void survives_without(struct rig *r, char without)
{
	rig_kill(r);
	rig_destroy_index(r);
	for (unsigned i = 0; i < r->disk_count; i++)
		r->absent[i] = r->domain[i][0] == without;
	r->force = true; /* half of the votes and more may be gone */
	rig_must_open(r);
	rig_expect_value(r, 0, 200, 1);
}

static void test_a_domain_is_lost(void **state)
{
	for (unsigned turn = 0; turn < 2; turn++) {
		struct rig r;

		begin(&r, rocks_of(state), "aaaabbbb", 4);
		rig_must_open(&r);
		expect_members(&r, "MMM-M---");
		rig_fill(&r, 0, 100, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		rig_fill(&r, 100, 100, 1);
		survives_without(&r, turn ? 'a' : 'b');
		end(&r);
	}
}

/* As in a pool that grows: members move as further domains turn up, one disk at a time. */
static void test_members_move(void **state)
{
	static const char *const want[] = {"M-------", "MM------", "MMM-----", "MMM-----",
					   "MM--M---", "MM--M---", "M---M-M-", "M---M-M-"};
	struct rig r;

	begin(&r, rocks_of(state), "aaaabbcc", 3);
	for (unsigned i = 1; i < 8; i++)
		r.absent[i] = true;
	r.force = true;
	rig_must_open(&r);
	for (unsigned n = 1; n <= 8; n++) {
		r.absent[n - 1] = false;
		set_disks(&r);
		expect_members(&r, want[n - 1]);
		rig_fill(&r, n * 25 - 25, 25, 1);
	}
	rig_must_close(&r);
	rig_must_open(&r);
	expect_members(&r, want[7]);
	survives_without(&r, 'a');
	expect_members(&r, "----MMM-");
	end(&r);
}

/* A journal that only moves takes what is spare, or stays where it is; one that is lacking doesn't ask (A6). */
static void test_moves_to_what_is_spare(void **state)
{
	struct rig r;

	begin(&r, rocks_of(state), "aab", 2);
	r.absent[2] = true;
	r.nothing_spare = true;
	r.force = true;
	rig_must_open(&r);
	expect_members(&r, "MM-");
	r.absent[2] = false;
	set_disks(&r);
	expect_members(&r, "MM-");
	r.nothing_spare = false;
	set_disks(&r);
	expect_members(&r, "M-M");
	assert_int_equal(r.unasked, 0);
	end(&r);
}

/* Power went when one had joined and none had left yet: the root lists one more than is wanted. */
static void test_move_interrupted(void **state)
{
	struct rig r;

	begin(&r, rocks_of(state), "aaab", 4);
	rig_must_open(&r);
	expect_members(&r, "MMMM");
	rig_fill(&r, 0, 200, 1);
	rig_kill(&r);
	r.copies = 3;
	rig_must_open(&r);
	expect_members(&r, "MM-M");
	survives_without(&r, 'b');
	end(&r);
}

/* A disk that has failed already is the last choice, one that is being emptied is none. */
static void test_sound_disks_first(void **state)
{
	struct rig r;

	begin(&r, rocks_of(state), "-----", 2);
	r.no_new[2] = r.no_new[3] = r.leaving[3] = true;
	rig_must_open(&r);
	expect_members(&r, "MM---");
	rig_fill(&r, 0, 100, 1);
	r.absent[0] = true;
	set_disks(&r);
	expect_members(&r, "-M--M");
	r.absent[1] = true;
	set_disks(&r);
	expect_members(&r, "--M-M");
	r.absent[2] = true;
	set_disks(&r);
	expect_members(&r, "----M");
	rig_expect_value(&r, 0, 100, 1);
	end(&r);
}

/* Somebody has taken the last inode, or the last block, of a member's filesystem: checkpoints go on, on all members, and
 * each of them alone has all of it (J6). */
static void test_a_full_member(void **state)
{
	static const struct fault_plan plans[] = {{.no_files = true}, {.no_space = true}};

	for (unsigned p = 0; p < ARRAY_SIZE(plans); p++) {
		struct rig r;

		begin(&r, rocks_of(state), "----", 2);
		rig_must_open(&r);
		expect_members(&r, "MM--");
		dev_fault_set(r.devs[0], &plans[p]);
		for (unsigned turn = 0; turn < 5; turn++) {
			rig_fill(&r, turn * 40, 40, 1);
			assert_int_equal(meta_checkpoint(r.m), 0);
		}
		expect_members(&r, "MM--");
		assert_int_equal(r.failed[1], 0);
		rig_kill(&r);
		rig_must_open(&r); /* also that opening's checkpoint */
		expect_members(&r, "MM--");
		rig_kill(&r);
		rig_destroy_index(&r);
		r.absent[1] = r.force = true;
		rig_must_open(&r);
		rig_expect_value(&r, 0, 200, 1);
		end(&r);
	}
}

/* A member of a pool from before J6 has no spare file: it is made as soon as that is possible. */
static void test_spare_is_made(void **state)
{
	const struct fault_plan no_files = {.no_files = true}, none = {0};
	char path[256];
	struct rig r;

	begin(&r, rocks_of(state), "---", 2);
	rig_must_open(&r);
	rig_fill(&r, 0, 50, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	while (rig_find(&r, 0, "meta/checkpoint", "spare-", path))
		assert_int_equal(unlink(path), 0);
	rig_fill(&r, 50, 50, 1);
	dev_fault_set(r.devs[0], &no_files);
	assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC);
	assert_int_equal(r.failed[1], 0);
	dev_fault_set(r.devs[0], &none);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_true(rig_find(&r, 0, "meta/checkpoint", "spare-", path));
	assert_true(rig_size(path) >= (long)KIB(64));
	dev_fault_set(r.devs[0], &no_files);
	rig_fill(&r, 100, 100, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_expect_value(&r, 0, 200, 1);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_a_domain_is_lost),	   BOTH(test_members_move),
		BOTH(test_moves_to_what_is_spare), BOTH(test_move_interrupted),
		BOTH(test_sound_disks_first),	   BOTH(test_a_full_member),
		BOTH(test_spare_is_made),
	};

	return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
