/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filesystem whose statfs is late (Btrfs): it counts what was allocated with its next commit, and calls free what is
 * taken. This program stands between the disks and the kernel: a model, without bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "unit/disk_fixture.h"

#define TOTAL MIB(256)
#define KEEP MIB(20)

static struct {
	uint64_t used, counted; /* in truth, and by statfs */
	unsigned commits, refused, commit_ms;
	struct disk *watched; /* what it calls free while a file is cut: */
	uint64_t free_meanwhile;
} fs;

/* Instead of the C library's. */
int fstatfs(int fd, struct statfs *st)
{
	(void)fd;
	*st = (struct statfs){.f_type = BTRFS_SUPER_MAGIC};
	return 0;
}

int fstatvfs(int fd, struct statvfs *st)
{
	(void)fd;
	*st = (struct statvfs){.f_frsize = 4096,
			       .f_blocks = TOTAL / 4096,
			       .f_bavail = (TOTAL - fs.counted) / 4096};
	return 0;
}

int syncfs(int fd)
{
	uint64_t used = fs.used;

	(void)fd;
	env_sleep_ms(fs.commit_ms);
	fs.counted = used;
	fs.commits++;
	return 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	(void)fd;
	(void)off;
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		fs.used -= (uint64_t)len;
	} else if (fs.used + (uint64_t)len > TOTAL) {
		fs.refused++;
		errno = ENOSPC;
		return -1;
	} else {
		fs.used += (uint64_t)len;
	}
	return 0;
}

int ftruncate(int fd, off_t len)
{
	(void)fd;
	(void)len;
	if (fs.watched)
		fs.free_meanwhile = disk_free_bytes(fs.watched);
	return 0;
}

static uint64_t told(struct dev *d)
{
	struct dev_space space;

	assert_int_equal(dev_space_now(d, &space), 0);
	return space.free_bytes;
}

static struct dev_file *file_on(struct dev *d)
{
	struct dev_file *f;

	assert_int_equal(dev_open(d, "file", DEV_CREATE, &f), 0);
	return f;
}

static int begin(void **state)
{
	memset(&fs, 0, sizeof(fs));
	return set_up(state);
}

/* A commit is asked for only where it matters: but there the truth is told. */
static void what_was_taken_is_not_called_free(void **state)
{
	struct fixture *f = *state;
	struct dev *a = disk_dev(f->disks[0]), *b = disk_dev(f->disks[1]);
	struct dev_file *on_a = file_on(a), *on_b = file_on(b);

	assert_int_equal(told(a), TOTAL);
	assert_int_equal(told(a), TOTAL);
	assert_int_equal(fs.commits, 1);
	assert_int_equal(dev_allocate(on_a, 0, MIB(100)), 0);
	(void)told(a); /* more than half of it is free, whatever is not counted yet */
	assert_int_equal(fs.commits, 1);
	assert_int_equal(dev_allocate(on_a, MIB(100), MIB(50)), 0);
	assert_int_equal(told(a), TOTAL - MIB(150));
	assert_int_equal(dev_punch(on_a, 0, MIB(130)), 0);
	assert_int_equal(told(a), TOTAL - MIB(20));
	/* two directories on it */
	assert_int_equal(dev_allocate(on_a, 0, MIB(60)), 0);
	assert_int_equal(dev_allocate(on_b, 0, MIB(60)), 0);
	assert_int_equal(told(a), TOTAL - MIB(140));
	assert_int_equal(told(b), TOTAL - MIB(140));
	dev_close(on_a);
	dev_close(on_b);
}

/* A2: else what was accepted can't be made durable, for metadata finds no space. */
static void what_metadata_needs_is_left(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct segment_addr addr;

	disk_set_keep_bytes(d, KEEP);
	do {
		disk_set_share_bytes(d, TOTAL);
		disk_ask_anew(d);
		if (segment_reserve(d, MIB(1), &addr))
			break;
		segment_settle(d, addr);
	} while (fs.used < TOTAL);
	assert_int_equal(fs.refused, 0);
	assert_true(TOTAL - fs.used >= KEEP);
	assert_true(TOTAL - fs.used <= KEEP + MIB(8));
}

/* Others filled it, and are gone again. */
static void what_was_refused_comes_back(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];

	disk_set_share_bytes(d, TOTAL);
	assert_int_equal(fs.counted, 0);
	assert_true(disk_free_bytes(d) > MIB(200));
	fs.used += MIB(230);
	assert_true(disk_hold_bytes(d, MIB(50), 0) < MIB(30));
	assert_true(fs.refused > 0);
	fs.used -= MIB(230);
	fs.counted = fs.used;
	disk_ask_anew(d);
	assert_true(disk_free_bytes(d) > MIB(200));
}

/* A busy one: nobody waits for the answer to his own question (D13). What was taken counts once even so. */
static void a_slow_answer_counts_what_was_taken(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	uint64_t first, now = 0;

	fs.counted = fs.used = MIB(140);
	disk_set_share_bytes(d, TOTAL);
	first = disk_free_bytes(d);
	fs.commit_ms = 130;
	for (unsigned i = 1; i <= 5; i++) {
		assert_true(disk_hold_bytes(d, i * MIB(8), 0) >= i * MIB(8));
		disk_ask_anew(d);
		now = disk_free_bytes(d);
		env_sleep_ms(60);
	}
	/* of what is held nothing was given out; the last step may be in an answer that need not know of it */
	assert_in_range(now, first - MIB(16), first);
}

/* A segment is left while others write: what was allocated of it is not lost to them on its way back. */
static void what_comes_back_counts_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct segment_addr addr;
	uint64_t before;

	disk_set_share_bytes(d, TOTAL);
	assert_int_equal(segment_reserve(d, MIB(1), &addr), 0);
	segment_settle(d, addr);
	assert_true(disk_hold_bytes(d, MIB(100), 0) >= MIB(100));
	before = disk_free_bytes(d);
	fs.watched = d;
	segment_close_open(d);
	fs.watched = NULL;
	assert_true(fs.free_meanwhile >= before - MIB(1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, begin, tear_down)
		T(what_was_taken_is_not_called_free), T(what_metadata_needs_is_left),
		T(what_was_refused_comes_back),	      T(a_slow_answer_counts_what_was_taken),
		T(what_comes_back_counts_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
