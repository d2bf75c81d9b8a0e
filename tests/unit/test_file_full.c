/* SPDX-License-Identifier: Apache-2.0 */
/* A pool without any room: what adds is refused at once (C1), what takes away, and rename, never (C2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/fs.h"
#include "unit/file_rig.h"

static void all_disks(struct file_rig *r, enum disk_state state)
{
	struct disk_set *disks = pool_disks(r->pool);

	for (unsigned i = 0; i < disk_count(disks); i++)
		disk_set_state(disk_at(disks, i), state);
}

static const char data[10000] = "data";

static struct inode *make(struct file_rig *r, const char *name)
{
	struct inode *in = rig_create(r, r->root, name);

	rig_write(r, in, 0, data, sizeof(data));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	return in;
}

static void test_no_room(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *kept = make(r, "kept"), *gone = make(r, "gone"), *in;
	struct inode *over = make(r, "over"), *moved = make(r, "moved");
	struct fs_cred cred = {0};
	struct fs_attr attr;

	(void)state;
	fs_forget(r->fs, gone, 1);
	fs_forget(r->fs, over, 1);
	fs_forget(r->fs, moved, 1);
	fs_forget(r->fs, rig_mkdir(r, r->root, "dir"), 1);
	assert_int_equal(fs_setxattr(r->fs, kept, "user.x", "value", 5, 0), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	all_disks(r, DISK_DEGRADED); /* they take nothing new, and it is not for want of space */
	env_sleep_ms(250);	     /* what was computed before is believed no longer */
	assert_int_equal(fs_write(r->fs, kept, 0, 5000, data, false), DFS_EIO);
	assert_int_equal(fs_mknod(r->fs, r->root, "new", S_IFREG | 0644, 0, cred, &in, &attr),
			 DFS_EIO);
	assert_int_equal(fs_mkdir(r->fs, r->root, "new", 0755, cred, &in, &attr), DFS_EIO);
	assert_int_equal(fs_symlink(r->fs, r->root, "new", "kept", cred, &in, &attr), DFS_EIO);
	assert_int_equal(fs_link(r->fs, kept, r->root, "new", &attr), DFS_EIO);
	assert_int_equal(fs_setxattr(r->fs, kept, "user.y", "value", 5, 0), DFS_EIO);

	assert_int_equal(fs_unlink(r->fs, r->root, "gone"), 0);
	assert_int_equal(fs_rmdir(r->fs, r->root, "dir"), 0);
	assert_int_equal(fs_removexattr(r->fs, kept, "user.x"), 0);
	assert_int_equal(fs_rename(r->fs, r->root, "moved", r->root, "over", 0), 0);
	assert_int_equal(fs_fallocate(r->fs, kept, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, 100, 700),
			 0);
	rig_truncate(r, kept, 5000);
	assert_int_equal(fs_sync_all(r->fs), 0);
	fs_forget(r->fs, kept, 1);
	file_rig_crash(r);
	assert_int_equal(rig_exists(r, r->root, "gone"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, r->root, "dir"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, r->root, "moved"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, r->root, "over"), 0);
	file_rig_free(r);
}

/* At once, not when it is next asked for. */
static void refresh_used(struct file_rig *r)
{
	struct disk_set *disks = pool_disks(r->pool);

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);
		uint32_t counter = META_COUNT_DISK_USED + disk_info(d).id.v;

		disk_set_used_bytes(d, (uint64_t)meta_counter(pool_meta(r->pool), counter));
	}
}

/* Disks of very different sizes: of what is written at once not all finds room as 4 + 2 on all of them, long before the
 * pool is full; the rest is stored by what is left (F4). */
static void test_smallest_disk_full(void **state)
{
	static const unsigned mib[RIG_DISKS] = {24, 36, 55, 84, 127, 192};
	enum {
		COUNT = 64
	};
	uint8_t *bytes = calloc(1, MIB(1));
	struct extent_new x[COUNT];
	struct record_piece piece = {.len = MIB(1)};
	struct file_rig *r;
	struct inode *in;
	bool narrower = false;

	(void)state;
	for (unsigned i = 0; i < RIG_DISKS; i++)
		file_rig_capacity[i] = MIB((uint64_t)mib[i]);
	r = file_rig_new(NULL, 0);
	memset(file_rig_capacity, 0, sizeof(file_rig_capacity));
	in = rig_create(r, r->root, "file");
	for (uint64_t off = 0; off < MIB(40); off += MIB(1))
		rig_write(r, in, off, bytes, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	for (unsigned i = 0; i < COUNT; i++)
		x[i] = (struct extent_new){.ino = {100},
					   .data = bytes,
					   .len = MIB(1),
					   .pieces = &piece,
					   .piece_count = 1,
					   .wanted = {4, 2}};
	refresh_used(r);
	assert_int_equal(extent_write(pool_extents(r->pool), x, COUNT), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(x[i].rec.m, 2);
		narrower |= x[i].rec.k < 4;
	}
	assert_true(narrower);
	extent_settle(pool_extents(r->pool), x, COUNT, false);
	free(bytes);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_smallest_disk_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
