/* SPDX-License-Identifier: Apache-2.0 */
/* Immutable and append-only inodes (AT1): what the two flags forbid, and what not. (func/flags.sh compares with ext4.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "unit/file_rig.h"

#define I FS_FLAG_IMMUTABLE
#define A FS_FLAG_APPEND

static int setup(void **state)
{
	*state = file_rig_new(NULL, 0);
	return 0;
}

static int teardown(void **state)
{
	file_rig_free(*state);
	return 0;
}

static void flag(struct file_rig *r, struct inode *in, unsigned flags)
{
	assert_int_equal(fs_flags_set(r->fs, in, flags), 0);
	assert_int_equal(fs_flags_get(in), flags);
}

static int set(struct file_rig *r, struct inode *in, unsigned which)
{
	struct fs_attr a = {.mode = 0600, .size = 2};

	return fs_setattr(r->fs, in, &a, which, &a);
}

/* forbidden by: 0, I or I | A */
static void expect(int rc, unsigned flags, unsigned by, int else_rc)
{
	assert_int_equal(rc, flags & by ? DFS_EPERM : else_rc);
}

static void test_files(void **state)
{
	static const unsigned all[] = {A, I, I | A};
	struct file_rig *r = *state;
	struct inode *in = rig_create(r, r->root, "f");

	rig_write(r, in, 0, "0123456789", 10);
	assert_int_equal(fs_setxattr(r->fs, in, "user.there", "1", 1, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		unsigned f = all[i];
		struct fs_attr a;

		flag(r, in, f);
		expect(fs_write(r->fs, in, 0, 1, "x", false), f, I | A, 0);
		expect(fs_write(r->fs, in, 0, 1, "x", true), f, I, 0);
		assert_int_equal(fs_write_page(r->fs, in, 0, 1, "0"), 0);
		expect(fs_may_write(in, false, false), f, I | A, 0);
		expect(fs_may_write(in, true, false), f, I, 0);
		expect(fs_may_write(in, true, true), f, I | A, 0);
		expect(set(r, in, FS_SET_SIZE), f, I | A, 0);
		expect(set(r, in, FS_SET_MODE), f, I | A, 0);
		expect(set(r, in, FS_SET_MTIME), f, I | A, 0);
		expect(set(r, in, FS_SET_MTIME_NOW), f, I, 0);
		expect(fs_fallocate(r->fs, in, FS_FALLOC_KEEP_SIZE, 0, 4), f, I, 0);
		expect(fs_fallocate(r->fs, in, FS_FALLOC_KEEP_SIZE | FS_FALLOC_PUNCH, 0, 4), f,
		       I | A, 0);
		expect(fs_fallocate(r->fs, in, FS_FALLOC_ZERO, 0, 4), f, I | A, 0);
		expect(fs_setxattr(r->fs, in, "user.new", "1", 1, 0), f, I | A, 0);
		expect(fs_removexattr(r->fs, in, "user.there"), f, I | A, 0);
		expect(fs_removexattr(r->fs, in, FS_XATTR_ACL_ACCESS), f, I | A, 0);
		expect(fs_link(r->fs, in, r->root, "l", &a), f, I | A, 0);
		expect(fs_unlink(r->fs, r->root, "f"), f, I | A, 0);
		expect(fs_rename(r->fs, r->root, "f", r->root, "g", 0), f, I | A, 0);
	}
	fs_forget(r->fs, in, 1);
}

static void test_directories(void **state)
{
	static const unsigned all[] = {A, I};
	struct file_rig *r = *state;
	struct inode *dir = rig_mkdir(r, r->root, "d"), *in, *x;
	struct fs_cred cred = {0};
	struct fs_attr a;

	fs_forget(r->fs, rig_create(r, dir, "in"), 1);
	fs_forget(r->fs, rig_mkdir(r, dir, "sub"), 1);
	in = rig_create(r, r->root, "out");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		unsigned f = all[i];

		flag(r, dir, f);
		expect(fs_unlink(r->fs, dir, "in"), f, I | A, 0);
		expect(fs_rmdir(r->fs, dir, "sub"), f, I | A, 0);
		expect(fs_rmdir(r->fs, r->root, "d"), f, I | A, 0);
		expect(fs_rename(r->fs, dir, "in", r->root, "was-in", 0), f, I | A, 0);
		expect(fs_rename(r->fs, dir, "in", dir, "in2", 0), f, I | A, 0);
		expect(fs_rename(r->fs, r->root, "out", dir, "in", 0), f, I | A, 0);
		expect(fs_rename(r->fs, r->root, "d", r->root, "e", 0), f, I | A, 0);
		expect(fs_link(r->fs, in, dir, f == A ? "l" : "l2", &a), f, I, 0);
		expect(fs_mknod(r->fs, dir, f == A ? "n" : "n2", S_IFREG | 0600, 0, cred, &x, &a),
		       f, I, 0);
		if (f == A)
			fs_forget(r->fs, x, 1);
		expect(fs_rename(r->fs, r->root, "out", dir, f == A ? "came" : "came2", 0), f, I,
		       0);
		if (f == A)
			assert_int_equal(fs_link(r->fs, in, r->root, "out", &a), 0);
	}
	flag(r, dir, 0);
	assert_int_equal(fs_rename(r->fs, dir, "in", dir, "in2", 0), 0);
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, dir, 1);
}

static void test_flags_stay(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = rig_create(r, r->root, "f"), *link;
	struct fs_cred cred = {0};
	struct fs_attr a;

	rig_write(r, in, 0, "kept", 4);
	flag(r, in, I); /* while data is dirty */
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	assert_int_equal(fs_flags_get(in), I);
	rig_expect(r, in, "kept", 4);
	flag(r, in, 0);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_symlink(r->fs, r->root, "l", "x", cred, &link, &a), 0);
	assert_int_equal(fs_flags_set(r->fs, link, I), DFS_ENOTSUP);
	fs_forget(r->fs, link, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directories, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags_stay, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
