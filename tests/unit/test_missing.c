/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that go away while nobody writes (D10): unmounted, renamed, or another directory in their place. What is
 * open there works on, so only the question for them tells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define DISKS 5u
#define WAIT_MS 10000u

static void aside(struct fixture *f, unsigned i, const char *from, const char *to)
{
	char a[160], b[160];

	snprintf(a, sizeof(a), "%s%s", f->disk[i], from);
	snprintf(b, sizeof(b), "%s%s", f->disk[i], to);
	assert_int_equal(rename(a, b), 0);
}

static struct pool_disk_status status_of(struct fixture *f, unsigned i)
{
	struct pool_disk_status st;

	assert_true(pool_disk_status(f->p, i, &st));
	return st;
}

static bool is_failed(struct fixture *f, unsigned i)
{
	return status_of(f, i).info.state == DISK_FAILED;
}

static unsigned members(struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->disk_count; i++)
		n += status_of(f, i).metadata_member && !is_failed(f, i);
	return n;
}

/* The first goes; a directory without anything takes the place of the second, and one of the third's name is away for
 * a moment only. The metadata moves to the others. Where all seem to be gone that is a wrong alarm, or nothing is left
 * to be saved: none is given up. */
static void test_idle_losses_are_noticed(void **state)
{
	struct fixture *f = fixture_new(DISKS, 2, NULL), *all = fixture_new(2, 2, NULL);
	char inside[160];
	uint64_t epoch = meta_epoch(pool_meta(f->p));

	(void)state;
	assert_true(status_of(f, 0).metadata_member && status_of(f, 1).metadata_member);
	aside(all, 0, "", "-away");
	aside(all, 1, "", "-away");
	aside(f, 2, "", "-away");
	aside(f, 0, "/dynamicfs", "/away");
	aside(f, 1, "", "-away");
	assert_int_equal(mkdir(f->disk[1], 0755), 0);
	env_sleep_ms(1200);
	aside(f, 2, "-away", "");
	for (unsigned ms = 0; ms < WAIT_MS; ms += 50) {
		if (is_failed(f, 0) && is_failed(f, 1) && members(f) == 2)
			break;
		env_sleep_ms(50);
	}
	assert_true(is_failed(f, 0));
	assert_true(is_failed(f, 1));
	assert_int_equal(members(f), 2);
	assert_false(is_failed(f, 2));
	assert_true(meta_epoch(pool_meta(f->p)) >= epoch + 2); /* one for each */
	snprintf(inside, sizeof(inside), "%s/dynamicfs", f->disk[1]);
	assert_int_equal(access(inside, F_OK), -1);
	assert_false(is_failed(all, 0) || is_failed(all, 1));
	assert_int_equal(rmdir(f->disk[1]), 0);
	fixture_shell("cp -a %s-away %s", f->disk[1], f->disk[1]);
	aside(f, 0, "/away", "/dynamicfs");
	for (unsigned i = 0; i < 2; i++)
		for (unsigned n = 0; n < 4; n++) {
			f->p->care[i + 1].try_ns = 0;
			health_try(f->p, disk_at(pool_disks(f->p), i));
		}
	assert_false(is_failed(f, 0)); /* the very directory is back */
	assert_true(is_failed(f, 1));  /* a copy of it is another one */
	assert_int_equal(meta_failed(pool_meta(all->p)), 0);
	fixture_free(all);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_losses_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
