/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that was pulled out while nobody uses it (D10): its filesystem answers from memory, and only the kernel's
 * list of block devices tells. This program stands between the device and the kernel.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/dev.h"

static unsigned block_major;
static bool is_listed, has_list;

static int as_on_block(int rc, struct stat *st)
{
	if (!rc)
		st->st_dev = makedev(block_major, 16);
	return rc;
}

/* Instead of the C library's. */
int fstat(int fd, struct stat *st) { return as_on_block(fstatat(fd, "", st, AT_EMPTY_PATH), st); }

int stat(const char *path, struct stat *st)
{
	return as_on_block(fstatat(AT_FDCWD, path, st, 0), st);
}

int access(const char *path, int mode)
{
	if (!strcmp(path, "/sys/dev/block"))
		return has_list ? 0 : -1;
	if (!strcmp(path, "/sys/dev/block/8:16"))
		return has_list && is_listed ? 0 : -1;
	return faccessat(AT_FDCWD, path, mode, 0);
}

static struct dev *open_top(void)
{
	const char *tmp = getenv("TMPDIR");
	struct dev *d;

	assert_int_equal(dev_dir_open(tmp ? tmp : "/tmp", "", false, &d), 0);
	return d;
}

static void test_pulled_out(void **state)
{
	struct dev *d;

	(void)state;
	block_major = 8;
	is_listed = has_list = true;
	d = open_top();
	assert_int_equal(dev_probe(d), 0);
	is_listed = false;
	assert_int_equal(dev_probe(d), DFS_EGONE);
	has_list = false; /* /sys is not there: that tells nothing */
	assert_int_equal(dev_probe(d), 0);
	dev_free(d);
}

/* Where the list does not have it from the first, or there is no block device, it tells nothing. */
static void test_not_listed(void **state)
{
	struct dev *d;

	(void)state;
	for (block_major = 0; block_major <= 8; block_major += 8) {
		has_list = true;
		is_listed = false;
		d = open_top();
		assert_int_equal(dev_probe(d), 0);
		dev_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pulled_out),
		cmocka_unit_test(test_not_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
