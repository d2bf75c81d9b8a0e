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

/* ---- what disks tell of each other ---- */

static void add(struct fixture *f, unsigned i)
{
	struct pool_disk_spec spec = {.path = f->disk[i]};
	FREE char *path = xasprintf("%s/disk%u", f->top, i);
	struct pool_message msg = {""};
	struct disk_info info;
	bool same;

	snprintf(f->disk[i], sizeof(f->disk[i]), "%s", path);
	fixture_shell("mkdir %s", path);
	assert_int_equal(pool_add_disk(f->p, &spec, &info, &same, &msg), 0);
}

static void shut(struct fixture *f)
{
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
}

/* A pool of two, of which the pool directory is kept, and then of five: what is kept knows less than half. */
static struct fixture *grown(void)
{
	struct fixture *f = fixture_new(2, 0, NULL);

	shut(f);
	fixture_shell("cp -a %s %s.old", f->pool, f->pool);
	fixture_reopen(f);
	for (unsigned i = 2; i < DISKS; i++)
		add(f, i);
	shut(f);
	return f;
}

static void old_directory(struct fixture *f)
{
	fixture_shell("rm -rf %s && cp -a %s.old %s", f->pool, f->pool, f->pool);
}

static void test_old_directory_finds_what_was_added(void **state)
{
	struct fixture *f = grown();

	(void)state;
	old_directory(f);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

/* Only the third knows where the fifth is: the first two were away when it was added, and the fourth is. */
static void test_one_tells_of_the_next(void **state)
{
	struct fixture *f = fixture_new(4, 0, NULL);

	(void)state;
	shut(f);
	fixture_shell("cp -a %s %s.old", f->pool, f->pool);
	move(f, 0, DISKS);
	fixture_reopen(f);
	add(f, 4);
	shut(f);
	move(f, DISKS, 0);
	old_directory(f);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

/* It is away while the old pool directory is used, which never knew it; the others go on telling. */
static void test_one_that_is_away_stays_known(void **state)
{
	struct fixture *f = grown();

	(void)state;
	old_directory(f);
	move(f, 4, DISKS);
	fixture_reopen(f);
	reopen(f, DISKS - 1);
	shut(f);
	move(f, DISKS, 4);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS);
	fixture_free(f);
}

/* Another disk of the pool, or of another pool, where one was, is taken for what it is. */
static void test_places_prove_nothing(void **state)
{
	struct fixture *f = grown(), *other = fixture_new(1, 0, NULL);

	(void)state;
	old_directory(f);
	fixture_shell("mv %s/dynamicfs %s/x && mv %s/dynamicfs %s && mv %s/x %s/dynamicfs",
		      f->disk[2], f->top, f->disk[3], f->disk[2], f->top, f->disk[3]);
	move(f, 4, DISKS);
	shut(other);
	fixture_shell("mv %s/dynamicfs %s", other->disk[0], f->disk[4]);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS - 1);
	fixture_free(f);
	fixture_free(other);
}

/* Who imports says which disks: the others may be just what is not to be touched. */
static void test_import_takes_what_it_is_given(void **state)
{
	struct fixture *f = fixture_new(DISKS, 0, NULL);
	const char *disks[] = {f->disk[0], f->disk[1]};
	struct pool_message msg = {""};
	char new_pool[128];

	(void)state;
	shut(f);
	snprintf(new_pool, sizeof(new_pool), "%s/new", f->top);
	assert_int_equal(pool_import(new_pool, disks, 2, false, NULL, &msg), DFS_ENOQUORUM);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_change_places),
		cmocka_unit_test(test_three_go_round),
		cmocka_unit_test(test_own_place_stays),
		cmocka_unit_test(test_old_directory_finds_what_was_added),
		cmocka_unit_test(test_one_tells_of_the_next),
		cmocka_unit_test(test_one_that_is_away_stays_known),
		cmocka_unit_test(test_places_prove_nothing),
		cmocka_unit_test(test_import_takes_what_it_is_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
