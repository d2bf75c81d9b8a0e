/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which history a pool opens: single cases of the rule (H2 to H7 of docs/DESIGN.md), told from roots that
 * are made by hand. test_history.c tries all sequences of a few openings against a model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "meta/history.h"

#define MAX_DISKS 8u

static struct uuid disk_uuid(unsigned i) { return (struct uuid){{77, (uint8_t)(i + 1)}}; }

/* The first epoch of a pool of n disks, all of which vote. */
static struct root *root_make(unsigned n)
{
	struct root *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->pool.b[0] = 1;
	r->generation = r->epoch = 1;
	uuid_random(&r->epoch_id);
	r->member_count = 1;
	r->members[0].id.v = 1;
	r->members[0].uuid = disk_uuid(0);
	r->disk_count = n;
	for (unsigned i = 0; i < n; i++)
		r->disks[i] = (struct root_disk){{i + 1}, disk_uuid(i), false, 1, 0, false};
	return r;
}

/* last, and who of two disks votes in what follows it: formed. */
static void follow(const struct root *last, unsigned voters, struct root *next)
{
	*next = *last;
	next->generation++;
	for (unsigned i = 0; i < next->disk_count; i++)
		next->disks[i].votes = !next->disks[i].given_up && (voters >> i & 1);
	assert_int_equal(history_begin(next, last, 0, false), 0);
	history_close(next);
}

static enum history_verdict choose(const struct root *const *roots, unsigned count, bool force,
				   enum history_role *ret_roles, struct history_choice *ret_choice)
{
	struct history_seen seen[MAX_DISKS];
	struct history_witness none = {0};

	for (unsigned i = 0; i < count; i++)
		seen[i] = (struct history_seen){.disk = disk_uuid(i), .root = roots[i]};
	history_choose(seen, count, &none, force, ret_choice, ret_roles);
	return ret_choice->verdict;
}

/* A disk that was away for any number of epochs is behind, not of another history; one that really is of
 * another is that after any number, too. */
static void long_absence(void **state)
{
	struct root *now = root_make(3), *next = calloc(1, sizeof(*next));
	struct root *first = root_make(3), *fork = calloc(1, sizeof(*fork));
	enum history_role roles[3];
	struct history_choice c;

	(void)state;
	*first = *now;
	follow(first, 4, fork); /* by force, or by a copy */
	for (unsigned i = 0; i < 1000; i++) {
		const struct root *behind[] = {now, now, first}, *apart[] = {now, now, fork};

		follow(now, 3, next);
		*now = *next;
		assert_int_equal(choose(behind, 3, false, roles, &c), HISTORY_ACCEPTED);
		assert_int_equal(roles[2], HISTORY_BEHIND);
		assert_int_equal(choose(apart, 3, false, roles, &c), HISTORY_SPLIT);
		assert_int_equal(roles[c.chosen == 2 ? 0 : 2], HISTORY_OTHER);
	}
	assert_int_equal(now->history_count, ROOT_MAX_HISTORY);
	free(now);
	free(first);
	free(next);
	free(fork);
}

/* Three of six were given up one after the other: they are no majority of anything that counts. */
static void given_up_disks_do_not_count(void **state)
{
	struct root *at = calloc(4, sizeof(*at)), *given = root_make(6);
	const struct root *left[6], *all[6];
	enum history_role roles[6];
	struct history_choice c;

	(void)state;
	at[0] = *given;
	for (unsigned i = 0; i < 3; i++) {
		*given = at[i];
		given->disks[i].given_up = true;
		follow(given, 63u & ~((2u << i) - 1), &at[i + 1]);
	}
	for (unsigned i = 0; i < 6; i++) {
		left[i] = i < 3 ? &at[i] : NULL;
		all[i] = i < 3 ? &at[i] : &at[3];
	}
	assert_int_equal(choose(left, 6, false, roles, &c), HISTORY_MINORITY);
	assert_int_equal(choose(all, 6, false, roles, &c), HISTORY_ACCEPTED);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(roles[i], i < 3 ? HISTORY_GIVEN_UP : HISTORY_CURRENT);
	assert_int_equal(c.voters, 3);
	free(given);
	free(at);
}

/* Copies of all disks were used apart: one epoch and generation, and not one root. */
static void copies_used_apart(void **state)
{
	const struct root *roots[2];
	enum history_role roles[2];
	struct history_choice c;
	struct root *own = root_make(2), *copy = root_make(2);

	(void)state;
	*copy = *own;
	copy->checkpoint_id = 7;
	copy->checkpoint_seq = 9;
	roots[0] = own;
	roots[1] = copy;
	assert_int_equal(choose(roots, 2, false, roles, &c), HISTORY_SPLIT);
	assert_int_equal(choose(roots, 2, true, roles, &c), HISTORY_ACCEPTED);
	assert_true(c.forced);
	assert_int_equal(roles[c.chosen], HISTORY_CURRENT);
	assert_int_equal(roles[1 - c.chosen], HISTORY_OTHER);
	free(own);
	free(copy);
}

/* Two generations behind in its epoch: no crash leaves that. Nor one, if the pool directory saw it done. */
static void set_back_disks_do_not_count(void **state)
{
	struct history_seen seen[3];
	enum history_role roles[3];
	struct history_witness dir = {0};
	struct history_choice c;
	struct root *zero = root_make(3), *one = root_make(3), *two = root_make(3);

	(void)state;
	*one = *two = *zero;
	one->generation = 2;
	two->generation = 3;
	for (unsigned i = 0; i < 3; i++)
		seen[i] = (struct history_seen){.disk = disk_uuid(i), .root = i ? zero : two};
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_MINORITY);
	assert_int_equal(roles[1], HISTORY_SET_BACK);
	seen[1].root = seen[2].root = one;
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_ACCEPTED);
	dir = (struct history_witness){true, two->epoch_id, two->epoch, 3};
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_MINORITY);
	assert_int_equal(roles[2], HISTORY_SET_BACK);
	seen[1].rotten = seen[2].rotten = true; /* the newest slots are damaged: that explains it */
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_ACCEPTED);
	dir.generation = 4; /* all of them are older than what it saw */
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_STALE);
	free(zero);
	free(one);
	free(two);
}

static struct history_witness witness_of(const struct root *r)
{
	return (struct history_witness){true, r->epoch_id, r->epoch, r->generation};
}

/* The disks of `here` show r, the others are away. */
static struct history_choice open_with(const struct root *r, unsigned here,
				       struct history_witness dir)
{
	struct history_seen seen[MAX_DISKS];
	enum history_role roles[MAX_DISKS];
	struct history_choice c;
	unsigned n = 0;

	for (unsigned i = 0; i < r->disk_count; i++)
		if (here >> i & 1)
			seen[n++] = (struct history_seen){.disk = disk_uuid(i), .root = r};
	history_choose(seen, n, &dir, false, &c, roles);
	return c;
}

/* Half of the voters: only with the vote of a pool directory for just this epoch. One that remembers an
 * older epoch of the same line (a copy from a backup) does not object, and has no vote (H4, H5). */
static void a_tie_wants_the_pool_directory(void **state)
{
	struct root *older = root_make(2), *now = calloc(1, sizeof(*now));
	struct history_witness none = {0};

	(void)state;
	follow(older, 3, now);
	assert_int_equal(open_with(now, 1, none).verdict, HISTORY_MINORITY);
	assert_int_equal(open_with(now, 1, witness_of(older)).verdict, HISTORY_MINORITY);
	assert_int_equal(open_with(now, 3, witness_of(older)).verdict, HISTORY_ACCEPTED);
	assert_int_equal(open_with(now, 1, witness_of(now)).verdict, HISTORY_ACCEPTED);
	assert_true(open_with(now, 1, witness_of(now)).by_witness);
	free(older);
	free(now);
}

/* What was begun and is not known to be formed asks its parent's voters, too, and their parent's if that
 * was not formed, either (H2, H4). */
static void open_sets_must_agree(void **state)
{
	struct root *all = root_make(4), *two = calloc(1, sizeof(*two)),
		    *one = calloc(1, sizeof(*one));
	struct history_witness none = {0};

	(void)state;
	*two = *all;
	for (unsigned i = 0; i < 4; i++)
		two->disks[i].votes = i < 2;
	assert_int_equal(history_begin(two, all, 0, false), 0);
	assert_int_equal(two->open_count, 1);
	assert_int_equal(history_forms(two, NULL, 0), 0); /* two of four */
	assert_int_equal(open_with(two, 3, none).verdict, HISTORY_MINORITY);
	assert_int_equal(open_with(two, 3, witness_of(all)).verdict, HISTORY_ACCEPTED);
	*one = *two;
	for (unsigned i = 0; i < 4; i++)
		one->disks[i].votes &= ~(i < 1 ? 0 : 1u);
	assert_int_equal(history_begin(one, two, 0, false), 0);
	assert_int_equal(one->open_count, 2);
	assert_int_equal(history_forms(one, NULL, 0), -1); /* one of four, though half of two */
	assert_int_equal(open_with(one, 1, witness_of(two)).verdict, HISTORY_MINORITY);
	free(all);
	free(two);
	free(one);
}

/* Voters of a formed epoch have all had its root. Who shows an older one was set back, or is a copy, and is
 * no part of a majority, however many they are (H4). */
static void older_epochs_do_not_count(void **state)
{
	struct root *older = root_make(5), *now = calloc(1, sizeof(*now));
	const struct root *seen[] = {now, older, older, older, older};
	enum history_role roles[5];
	struct history_choice c;

	(void)state;
	follow(older, 31, now);
	for (unsigned n = 1; n <= 5; n++) {
		assert_int_equal(choose(seen, n, false, roles, &c), HISTORY_MINORITY);
		assert_int_equal(c.chosen, 0);
		for (unsigned i = 1; i < n; i++)
			assert_int_equal(roles[i], HISTORY_SET_BACK);
	}
	seen[1] = seen[2] = now;
	assert_int_equal(choose(seen, 5, false, roles, &c), HISTORY_ACCEPTED);
	free(older);
	free(now);
}

/* An epoch that was forced is a history, also when nobody is known to have formed it (H7). */
static void forced_epochs_are_no_attempts(void **state)
{
	struct root *all = root_make(3), *on = calloc(1, sizeof(*on)), *by = calloc(1, sizeof(*by));
	const struct root *seen[] = {on, on, by};
	enum history_role roles[3];
	struct history_choice c;

	(void)state;
	for (unsigned forced = 0; forced < 2; forced++) {
		follow(all, 3, on);
		*by = *all;
		by->generation++;
		for (unsigned i = 0; i < 3; i++)
			by->disks[i].votes = i == 2;
		assert_int_equal(history_begin(by, all, 0, forced), 0);
		assert_int_equal(by->forced, forced);
		assert_int_equal(choose(seen, 3, false, roles, &c),
				 forced ? HISTORY_SPLIT : HISTORY_ACCEPTED);
		assert_int_equal(roles[2], forced ? HISTORY_OTHER : HISTORY_BEHIND);
	}
	free(all);
	free(on);
	free(by);
}

/* An epoch goes on only with the same members, voters and disks (M7). */
static void changes_make_an_epoch(void **state)
{
	struct root *last = root_make(3), *next = root_make(3);

	(void)state;
	*next = *last;
	assert_true(history_goes_on(next, last));
	next->members[next->member_count++] = (struct root_member){{2}, disk_uuid(1)};
	assert_false(history_goes_on(next, last));
	*next = *last;
	next->members[0] = (struct root_member){{2}, disk_uuid(1)};
	assert_false(history_goes_on(next, last));
	*next = *last;
	next->disks[2].votes = 0;
	assert_false(history_goes_on(next, last));
	*next = *last;
	next->disks[2].given_up = true;
	assert_false(history_goes_on(next, last));
	*next = *last;
	next->disk_count--;
	assert_false(history_goes_on(next, last));
	*next = *last;
	last->open_count = 1;
	assert_false(history_goes_on(next, last));
	free(last);
	free(next);
}

/* A person chose between two histories by force. What was given up is not offered again when disks of the chosen
 * one are lost, though it has its votes and the chosen one has not (H6); unless it has been used since, shows
 * on a disk that nobody was asked about, or the pool directory follows it. */
static void a_choice_is_not_asked_again(void **state)
{
	struct root *all = root_make(6), *here = root_make(6), *there = root_make(6),
		    *now = root_make(6), *later = root_make(6);
	struct history_seen seen[] = {{.disk = disk_uuid(4), .root = now},
				      {.disk = disk_uuid(0), .root = there},
				      {.disk = disk_uuid(5), .root = there}};
	struct history_witness none = {0}, dir = {0};
	enum history_role roles[3];
	struct history_choice c;

	(void)state;
	follow(all, 30, here);
	follow(all, 33, there);
	*now = *here;
	now->generation++;
	assert_int_equal(history_begin(now, here, there->epoch, true), 0);
	history_close(now);
	for (unsigned i = 0; i < 6; i += 5) {
		now->disks[i].apart = true;
		now->disks[i].left_epoch = there->epoch;
	}
	history_choose(seen, 3, &none, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_MINORITY);
	history_choose(seen, 3, &none, true, &c, roles);
	assert_int_equal(c.verdict, HISTORY_ACCEPTED);
	assert_int_equal(c.chosen, 0);
	assert_int_equal(roles[1], HISTORY_OTHER);
	history_choose(seen + 1, 2, &none, false, &c, roles); /* alone */
	assert_int_equal(c.verdict, HISTORY_ACCEPTED);

	dir = witness_of(there);
	history_choose(seen, 3, &dir, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_SPLIT);
	follow(there, 33, later);
	seen[2].root = later;
	history_choose(seen, 3, &none, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_SPLIT);
	seen[2].root = there;
	now->disks[5].apart = false;
	now->disks[5].left_epoch = 0;
	history_choose(seen, 3, &none, false, &c, roles);
	assert_int_equal(c.verdict, HISTORY_SPLIT);
	assert_int_not_equal(c.chosen, 0);
	free(all);
	free(here);
	free(there);
	free(now);
	free(later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_absence),
		cmocka_unit_test(given_up_disks_do_not_count),
		cmocka_unit_test(copies_used_apart),
		cmocka_unit_test(set_back_disks_do_not_count),
		cmocka_unit_test(a_tie_wants_the_pool_directory),
		cmocka_unit_test(open_sets_must_agree),
		cmocka_unit_test(older_epochs_do_not_count),
		cmocka_unit_test(changes_make_an_epoch),
		cmocka_unit_test(forced_epochs_are_no_attempts),
		cmocka_unit_test(a_choice_is_not_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
