/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of a disk's room: A1 to A3 of dev/room.c, on real directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "unit/disk_fixture.h"

/* Bytes allocated for all segments of disk i; *ret_count: how many there are. */
static uint64_t allocated(struct fixture *f, unsigned i, unsigned *ret_count)
{
	FREE char *path = disk_path(f, i);
	FREE char *dir = xasprintf("%s/dynamicfs/segments", path);
	DIR *d = opendir(dir);
	uint64_t bytes = 0;
	struct dirent *e;

	*ret_count = 0;
	while (d && (e = readdir(d))) {
		FREE char *name = xasprintf("%s/%s", dir, e->d_name);
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		assert_int_equal(stat(name, &st), 0);
		bytes += (uint64_t)st.st_blocks * 512;
		++*ret_count;
	}
	if (d)
		closedir(d);
	return bytes;
}

/* Can this filesystem allocate at all? */
static bool can_allocate(struct fixture *f)
{
	struct dev_file *file;
	int rc;

	assert_int_equal(dev_open(disk_dev(f->disks[0]), "probe", DEV_CREATE, &file), 0);
	rc = dev_allocate(file, 0, KIB(64));
	dev_close(file);
	assert_int_equal(dev_remove(disk_dev(f->disks[0]), "probe"), 0);
	if (rc == DFS_ENOTSUP)
		print_message("skipped: this filesystem can't allocate, or need not\n");
	return rc == 0;
}

/* A1, A3 */
static void records_lie_on_allocated_ground(void **state)
{
	struct fixture *f = *state;
	struct segment_addr addr;
	uint8_t data[KIB(64)];
	unsigned count;

	if (!can_allocate(f))
		return;
	fill(data, sizeof(data), 1);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(segment_reserve(f->disks[0], sizeof(data), &addr), 0);
		assert_true(allocated(f, 0, &count) >= addr.offset + sizeof(data));
		if (i % 2 == 0)
			assert_int_equal(write_at(f->disks[0], addr, data, sizeof(data)), 0);
		segment_settle(f->disks[0], addr);
	}
	assert_true(allocated(f, 0, &count) > 40 * sizeof(data) + KIB(512));
	disk_let_go(f->disks[0]);
	assert_true(allocated(f, 0, &count) <= 40 * sizeof(data) + KIB(64));
	assert_int_equal(count, 1);
	assert_int_equal(read_at(f->disks[0], (struct segment_addr){addr.segment, 0}, data, 512),
			 0);
}

/* A3: what a crash left is given back by the next start, and only that. */
static void a_crash_leaves_nothing_allocated(void **state)
{
	struct fixture *f = *state;
	struct disk_info info = info_of(0);
	struct segment_addr addr;
	uint8_t data[KIB(64)], back[KIB(64)];
	unsigned count;

	if (!can_allocate(f))
		return;
	fill(data, sizeof(data), 2);
	addr = append(f->disks[0], data, sizeof(data));
	assert_true(disk_hold_bytes(f->disks[0], MIB(140), 0) >= MIB(140));
	assert_true(allocated(f, 0, &count) >= MIB(140));
	assert_int_equal(count, 2);
	disk_set_free(f->set);
	f->set = disk_set_new(NULL, NULL);
	add(f, 0, &info, 0);
	disk_tidy(f->disks[0]);
	assert_true(allocated(f, 0, &count) <= KIB(128));
	assert_int_equal(count, 1);
	assert_int_equal(read_at(f->disks[0], addr, back, sizeof(back)), 0);
	assert_memory_equal(data, back, sizeof(data));
	addr = append(f->disks[0], data, sizeof(data));
	assert_true(addr.segment > 2); /* S1 */
}

/* What is held stays held when the filesystem says that it is full; and no more is promised. */
static void what_is_held_is_sure(void **state)
{
	struct fixture *f = *state;
	struct segment_addr addr;
	uint8_t data[KIB(64)];
	uint64_t held;

	if (!can_allocate(f))
		return;
	fill(data, sizeof(data), 3);
	held = disk_hold_bytes(f->disks[0], MIB(3), 0);
	assert_true(held >= MIB(3));
	dev_fault_set(f->faults[0], &(struct fault_plan){.no_space = true});
	env_sleep_ms(1100); /* the filesystem's word is asked for anew */
	assert_int_equal(disk_hold_bytes(f->disks[0], MIB(1000), 0), held);
	assert_int_equal(disk_free_bytes(f->disks[0]), held);
	/* the fault refuses what extends a file, allocated or not: so nothing is written here */
	while (held >= sizeof(data)) {
		assert_int_equal(segment_reserve(f->disks[0], sizeof(data), &addr), 0);
		segment_settle(f->disks[0], addr);
		held -= sizeof(data);
	}
	assert_int_equal(segment_reserve(f->disks[0], sizeof(data), &addr), DFS_ENOSPC);
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
	env_sleep_ms(1100);
	assert_int_equal(segment_reserve(f->disks[0], sizeof(data), &addr), 0);
	segment_settle(f->disks[0], addr);
}

/* A2 */
static void what_metadata_needs_is_left(void **state)
{
	struct fixture *f = *state;
	uint64_t all;

	if (!can_allocate(f))
		return;
	all = disk_free_bytes(f->disks[1]);
	disk_set_keep_bytes(f->disks[1], all - MIB(2));
	assert_true(disk_free_bytes(f->disks[1]) <= MIB(64));
	assert_true(disk_hold_bytes(f->disks[1], MIB(900), 0) <= MIB(64)); /* A2 */
	disk_set_keep_bytes(f->disks[1], 0);
	assert_true(disk_hold_bytes(f->disks[1], MIB(100), 0) >= MIB(100));
}

/* A2: others on the filesystem have a share, too. */
static void what_is_anothers_is_left(void **state)
{
	struct fixture *f = *state;
	struct segment_addr addr;
	unsigned count;

	if (!can_allocate(f))
		return;
	disk_set_share_bytes(f->disks[0], KIB(256));
	for (unsigned i = 0; i < 2; i++) { /* the share is used once */
		assert_int_equal(segment_reserve(f->disks[0], KIB(64), &addr), 0);
		segment_settle(f->disks[0], addr);
		assert_true(allocated(f, 0, &count) <= KIB(256) + KIB(64));
	}
	while (addr.offset < KIB(512)) {
		assert_int_equal(segment_reserve(f->disks[0], KIB(64), &addr), 0);
		segment_settle(f->disks[0], addr);
	}
	assert_true(allocated(f, 0, &count) <= KIB(512) + KIB(128));
}

/* A5: the filesystem refuses what metadata needs, and records still get what was promised to them. */
static void accepted_ground_stays_with_records(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct segment_addr addr;
	uint8_t data[KIB(64)];

	if (!can_allocate(f))
		return;
	fill(data, sizeof(data), 5);
	assert_true(disk_hold_bytes(d, MIB(3), MIB(3)) >= MIB(3));
	dev_fault_set(f->faults[0], &(struct fault_plan){.no_space = true});
	env_sleep_ms(1100);
	disk_set_keep_bytes(d, MIB(100));
	assert_int_equal(disk_free_bytes(d), 0); /* nothing more is accepted */
	(void)disk_hold_bytes(d, 0, MIB(3));
	disk_hold_keep(d);
	assert_true(disk_sure_bytes(d) >= MIB(3));
	for (unsigned i = 0; i < MIB(3) / sizeof(data); i++) {
		assert_int_equal(segment_reserve(d, sizeof(data), &addr), 0);
		segment_settle(d, addr);
	}
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
}

/* Else a pool that needs each of its disks would say that it is full for a second. */
static void a_disk_that_answers_again_has_room_at_once(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[2];

	dev_fault_set(f->faults[2], &(struct fault_plan){.gone = true});
	assert_true(disk_move_state(d, DISK_HEALTHY, DISK_SUSPECT));
	assert_int_equal(disk_free_bytes(d), 0);
	assert_int_equal(f->errors, 1);
	assert_int_equal(disk_free_bytes(d), 0); /* is not asked each time */
	assert_int_equal(f->errors, 1);
	dev_fault_set(f->faults[2], &(struct fault_plan){0});
	assert_true(disk_move_state(d, DISK_SUSPECT, DISK_HEALTHY));
	assert_true(disk_free_bytes(d) > 0);
	assert_int_equal(f->errors, 1);
}

static void hold_in_thread(void *arg)
{
	assert_true(disk_hold_bytes(arg, MIB(100), 0) >= MIB(100));
}

/* Others need not take the disk for full meanwhile. */
static void what_is_being_allocated_is_still_free(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct env_thread *thread;
	uint64_t before, during;

	if (!can_allocate(f))
		return;
	dev_fault_set(f->faults[0], &(struct fault_plan){.most_free = MIB(400)});
	assert_true(disk_hold_bytes(d, KIB(64), 0) >= KIB(64));
	before = disk_free_bytes(d);
	assert_true(before > MIB(200));
	dev_fault_set(f->faults[0], &(struct fault_plan){.most_free = MIB(400), .hang = true});
	thread = env_thread_start("hold", hold_in_thread, d);
	env_sleep_ms(200);
	during = disk_free_bytes(d);
	dev_fault_set(f->faults[0], &(struct fault_plan){.most_free = MIB(400)});
	env_thread_join(thread);
	assert_int_equal(during, before);
}

struct reserving {
	struct disk *d;
	struct segment_addr addr;
};

static void reserve_in_thread(void *arg)
{
	struct reserving *r = arg;

	assert_int_equal(segment_reserve(r->d, KIB(64), &r->addr), 0);
}

static void hold_more_in_thread(void *arg) { (void)disk_hold_bytes(arg, MIB(160), 0); }

/* S1: two that find the open segment full, while more of the next one is being allocated, both wait for that. */
static void the_next_segment_is_opened_once(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct reserving r[2] = {{.d = d}, {.d = d}};
	struct env_thread *hold, *threads[2];
	struct segment_addr addr;

	if (!can_allocate(f))
		return;
	assert_int_equal(segment_reserve(d, KIB(64), &addr), 0);
	segment_settle(d, addr);
	assert_true(disk_hold_bytes(d, MIB(140), 0) >= MIB(140));
	do {
		assert_int_equal(segment_reserve(d, KIB(64), &addr), 0);
		segment_settle(d, addr);
	} while (addr.offset + KIB(128) <= SEGMENT_MAX_BYTES);
	dev_fault_set(f->faults[0], &(struct fault_plan){.hang = true});
	hold = env_thread_start("hold", hold_more_in_thread, d);
	env_sleep_ms(100);
	for (unsigned i = 0; i < 2; i++)
		threads[i] = env_thread_start("reserve", reserve_in_thread, &r[i]);
	env_sleep_ms(100);
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
	env_thread_join(hold);
	for (unsigned i = 0; i < 2; i++) {
		env_thread_join(threads[i]);
		assert_int_not_equal(r[i].addr.segment, addr.segment);
	}
	assert_int_equal(r[0].addr.segment, r[1].addr.segment);
	assert_int_not_equal(r[0].addr.offset, r[1].addr.offset);
	for (unsigned i = 0; i < 2; i++)
		segment_settle(d, r[i].addr);
}

/* A2: where inodes get scarce some are held, and are there again for tables. */
static void inodes_are_held(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct dev_file *file;

	disk_hold_keep(d);
	assert_int_equal(dev_open(f->faults[0], DISK_KEPT_NAME "-00", DEV_RDONLY, &file),
			 DFS_ENOENT);
	dev_fault_set(f->faults[0], &(struct fault_plan){.most_files = 500});
	env_sleep_ms(1100); /* the filesystem's word is asked for anew */
	disk_hold_keep(d);
	dev_fault_set(f->faults[0], &(struct fault_plan){.no_files = true});
	env_sleep_ms(1100);
	assert_int_equal(disk_free_bytes(d), disk_sure_bytes(d)); /* no room is promised */
	disk_hold_keep(d);
	assert_int_equal(dev_open(f->faults[0], DISK_KEPT_NAME "-23", DEV_RDONLY, &file), 0);
	dev_close(file);
	disk_lend_keep(d, true);
	for (unsigned n = 0; n < 24; n++) {
		FREE char *name = xasprintf(DISK_KEPT_NAME "-%02u", n);

		assert_int_equal(dev_open(f->faults[0], name, DEV_RDONLY, &file), DFS_ENOENT);
	}
	disk_hold_keep(d); /* not while tables are written */
	disk_lend_keep(d, false);
	dev_fault_set(f->faults[0], &(struct fault_plan){.most_files = 500});
	env_sleep_ms(1100);
	disk_hold_keep(d);
	assert_int_equal(dev_open(f->faults[0], DISK_KEPT_NAME "-23", DEV_RDONLY, &file), 0);
	dev_close(file);
	disk_let_go(d);
	assert_int_equal(dev_open(f->faults[0], DISK_KEPT_NAME "-00", DEV_RDONLY, &file),
			 DFS_ENOENT);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(records_lie_on_allocated_ground),
		T(a_crash_leaves_nothing_allocated),
		T(what_is_held_is_sure),
		T(what_metadata_needs_is_left),
		T(what_is_anothers_is_left),
		T(accepted_ground_stays_with_records),
		T(a_disk_that_answers_again_has_room_at_once),
		T(what_is_being_allocated_is_still_free),
		T(the_next_segment_is_opened_once),
		T(inodes_are_held),
	};

	return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
