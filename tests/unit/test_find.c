/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that change places while some of them are away: each is found where one of them was known to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/pool_fixture.h"

#define DISKS 5u

/* Of `from`, what lies there goes to where disk `to` was made; DISKS: away. */
static void move(struct fixture *f, unsigned from, unsigned to)
{
	if (to == DISKS)
		fixture_shell("mv %s/dynamicfs %s/away", f->disk[from], f->top);
	else if (from == DISKS)
		fixture_shell("mv %s/away %s/dynamicfs", f->top, f->disk[to]);
	else
		fixture_shell("mv %s/dynamicfs %s/dynamicfs", f->disk[from], f->disk[to]);
}

static unsigned present(struct fixture *f)
{
	struct pool_disk_status st;
	unsigned n = 0;

	for (unsigned i = 0; i < DISKS; i++) {
		assert_true(pool_disk_status(f->p, i, &st));
		n += st.present;
	}
	return n;
}

static void reopen(struct fixture *f, unsigned want_present)
{
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	fixture_reopen(f);
	assert_int_equal(present(f), want_present);
}

/* The second is where the first was; that one is away for some openings, and comes back where the second was. */
static void test_two_change_places(void **state)
{
	struct fixture *f = fixture_new(DISKS, 0, NULL);

	(void)state;
	assert_int_equal(pool_close(f->p), 0);
	move(f, 0, DISKS);
	move(f, 1, 0);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS - 1);
	reopen(f, DISKS - 1);
	assert_int_equal(pool_close(f->p), 0);
	move(f, DISKS, 1);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

/* Three go round, and the one that is away comes back to the only place that is left. */
static void test_three_go_round(void **state)
{
	struct fixture *f = fixture_new(DISKS, 0, NULL);

	(void)state;
	assert_int_equal(pool_close(f->p), 0);
	move(f, 2, DISKS);
	move(f, 1, 2);
	move(f, 0, 1);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS - 1);
	assert_int_equal(pool_close(f->p), 0);
	move(f, DISKS, 0);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

/* One that is away and whose own place is free keeps that. */
static void test_own_place_stays(void **state)
{
	struct fixture *f = fixture_new(DISKS, 0, NULL);

	(void)state;
	assert_int_equal(pool_close(f->p), 0);
	move(f, 0, DISKS);
	fixture_reopen(f);
	assert_int_equal(pool_close(f->p), 0);
	move(f, DISKS, 0);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_change_places),
		cmocka_unit_test(test_three_go_round),
		cmocka_unit_test(test_own_place_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
