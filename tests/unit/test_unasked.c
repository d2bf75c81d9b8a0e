/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A6: what the engine writes unasked leaves room for what was accepted and is not stored yet. On one small tmpfs of
 * the test's own, whose space really ends: what is stored anew takes it until the old has been given back.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "file/internal.h"
#include "unit/file_rig.h"

#define PIECE MIB(1)
#define FREED (40 * PIECE)
#define SEGMENTS 3u

static uint8_t data[PIECE];

static bool own_tmpfs(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/dev/shm", "tmpfs", 0, "size=200m") == 0;
}

static void fill(struct file_rig *r, struct inode *in)
{
	uint64_t off = 0;
	int rc = 0;

	for (size_t len = sizeof(data); len >= 4096; len /= 4)
		while ((rc = fs_write(r->fs, in, off, len, data, false)) == 0)
			off += len;
	assert_int_equal(rc, DFS_ENOSPC);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
}

static void reclaim(struct file_rig *r)
{
	assert_int_equal(fs_sync_all(r->fs), 0);
	for (unsigned done = 1; done;)
		assert_int_equal(extent_reclaim(r->fs->extents, 1024, &done), 0);
}

/* All that is not whole stays in memory. Returns how much is accepted. */
static uint64_t accept_writes(struct file_rig *r, struct inode *in, uint64_t most)
{
	uint64_t off = 0;

	while (off < most && fs_write(r->fs, in, off, PIECE - 1, data, false) == 0)
		off += PIECE;
	return off;
}

/* As after disks went silent with unsynced writes: all of it is to be written anew. */
static void move_all(struct file_rig *r)
{
	for (uint32_t i = 0; i < SEGMENTS * RIG_DISKS; i++) {
		struct disk_doubt doubt = {.segment = i / RIG_DISKS + 1};
		uint32_t from = 0;
		bool failed;

		(void)!extent_move_doubtful(r->fs->extents, (disk_id){i % RIG_DISKS + 1}, &doubt,
					    10000, &from, &failed);
	}
}

static uint64_t moved(struct file_rig *r) { return extent_stats(r->fs->extents).fragments_healed; }

static void test_repairs_leave_it(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000};
	struct file_rig *r;
	struct inode *in, *filler;
	uint64_t most, half;

	(void)state;
	if (!own_tmpfs()) {
		print_message("skipped: this needs a tmpfs of its own\n");
		return;
	}
	r = file_rig_new(&cfg, 0);
	in = rig_create(r, r->root, "accepted");
	filler = rig_create(r, r->root, "filler");
	fill(r, filler);
	rig_truncate(r, filler, rig_attr(r, filler).size - FREED);
	reclaim(r);
	most = accept_writes(r, in, UINT64_MAX);
	assert_true(most > 4 * PIECE);
	rig_truncate(r, in, 0); /* to find out has stored some of it */
	reclaim(r);
	half = most / 2 / PIECE * PIECE;
	assert_int_equal(accept_writes(r, in, half), half);
	move_all(r);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	/* what is stored needs no room any more: they go on */
	reclaim(r);
	move_all(r);
	assert_true(moved(r) > 0);
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, filler, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repairs_leave_it),
	};

	memset(data, 'd', sizeof(data));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
