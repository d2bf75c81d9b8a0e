/* SPDX-License-Identifier: Apache-2.0 */
/* The pool directory: it may be lost (P5), and it has an account of space of its own (C3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/fs.h"
#include "unit/pool_fixture.h"

#define DISKS 5u

static int setup(void **state)
{
	*state = fixture_new(DISKS, 0, NULL);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* A pool directory that is made anew from the disks has the pool's settings, not the defaults. */
static void test_import_keeps_the_settings(void **state)
{
	struct fixture *f = *state;
	const char *paths[DISKS];
	struct pool_message msg = {""};
	struct pool_settings s = pool_get_settings(f->p), now;
	char other[80];

	s.copies = 2;
	s.large = (struct geometry){3, 1};
	s.verify_writes = !s.verify_writes;
	assert_int_equal(pool_set_settings(f->p, &s, &msg), 0);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	for (unsigned i = 0; i < DISKS; i++)
		paths[i] = f->disk[i];
	snprintf(other, sizeof(other), "%s/other", f->top);
	assert_int_equal(pool_import(other, paths, DISKS, false, NULL, &msg), 0);
	fixture_open_at(f, other);
	now = pool_get_settings(f->p);
	assert_int_equal(now.copies, 2);
	assert_int_equal(now.large.k, 3);
	assert_int_equal(now.large.m, 1);
	assert_int_equal(now.metadata_copies, s.metadata_copies);
	assert_int_equal(now.verify_writes, s.verify_writes);
}

static int make_dir(struct fs *fs, struct inode *root, const char *name)
{
	struct fs_cred cred = {0, 0};
	struct inode *in;
	struct fs_attr attr;
	int err = fs_mkdir(fs, root, name, 0755, cred, &in, &attr);

	if (!err)
		fs_forget(fs, in, 1);
	return err;
}

static int make_dir_in_time(struct fs *fs, struct inode *root, const char *name, int want)
{
	int err = !want;

	for (unsigned i = 0; i < 100 && err != want; i++) {
		char nth[64];

		snprintf(nth, sizeof(nth), "%s%u", name, i);
		err = make_dir(fs, root, nth);
		if (err != want)
			env_sleep_ms(100);
	}
	return err;
}

/* Its filesystem is full: nothing is added, what takes away works and lasts, and it goes on by itself. */
static void test_full_pool_directory(void **state)
{
	const struct fault_plan full = {.no_space = true}, none = {0};
	struct fixture *f = *state;
	struct fs_config cfg = {0};
	struct pool_status st;
	struct inode *root;
	struct fs *fs;

	assert_int_equal(fs_open(f->p, &cfg, &fs), 0);
	assert_int_equal(fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &root), 0);
	assert_int_equal(make_dir(fs, root, "before"), 0);
	dev_fault_set(f->dir_fault, &full);
	assert_int_equal(make_dir_in_time(fs, root, "full", DFS_ENOSPC), DFS_ENOSPC);
	pool_status(f->p, &st);
	assert_true(st.dir_full);
	assert_int_equal(fs_rmdir(fs, root, "before"), 0);
	assert_int_equal(fs_sync_all(fs), 0);
	dev_fault_set(f->dir_fault, &none);
	assert_int_equal(make_dir_in_time(fs, root, "after", 0), 0);
	pool_status(f->p, &st);
	assert_false(st.dir_full);
	fs_forget(fs, root, 1);
	assert_int_equal(fs_close(fs), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_import_keeps_the_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_pool_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
