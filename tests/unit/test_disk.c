/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of the disk set of dev/disk.h: states, space, batches and queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "unit/disk_fixture.h"

/* ---- states and the set ---- */

static void states_have_names(void **state)
{
	enum disk_state st;

	(void)state;
	for (enum disk_state s = DISK_HEALTHY; s <= DISK_FAILED; s++) {
		assert_int_equal(disk_state_parse(disk_state_name(s), &st), 0);
		assert_int_equal(st, s);
	}
	assert_string_equal(disk_state_name(DISK_HEALTHY), "healthy");
	assert_string_equal(disk_state_name(DISK_FAILED), "failed");
	assert_string_equal(disk_state_name((enum disk_state)77), "unknown");
	assert_int_equal(disk_state_parse("Healthy", &st), DFS_EINVAL);
	assert_int_equal(disk_state_parse("", &st), DFS_EINVAL);
}

static void disks_are_found_by_id(void **state)
{
	static const unsigned order[DISKS] = {2, 0, 3, 1};
	struct fixture *f = *state;
	struct disk_info info;

	for (unsigned i = 0; i < DISKS; i++) {
		info = info_of(order[i]);
		assert_int_equal(disk_add(f->set, &info, NULL, 0), 0);
	}
	assert_int_equal(disk_count(f->set), DISKS);
	for (unsigned i = 0; i < DISKS; i++) {
		assert_ptr_equal(disk_at(f->set, i), disk_get(f->set, (disk_id){i + 1}));
		info = disk_info(disk_at(f->set, i));
		assert_int_equal(info.id.v, i + 1);
		assert_string_equal(info.label, info_of(i).label);
	}
	assert_null(disk_get(f->set, (disk_id){DISKS + 1}));
	assert_null(disk_get(f->set, (disk_id){0}));
	assert_int_equal(disk_add(f->set, &info, NULL, 0), DFS_EEXIST);
	assert_int_equal(disk_count(f->set), DISKS);
}

static void check_unusable(struct disk *d)
{
	struct segment_addr addr = {1, 0};
	uint8_t b[10];

	assert_false(disk_present(d));
	assert_int_equal(segment_reserve(d, 10, &addr), DFS_EGONE);
	assert_int_equal(read_at(d, addr, b, 10), DFS_EGONE);
	assert_int_equal(segment_punch(d, 1, 0, 512), DFS_EGONE);
	assert_int_equal(segment_remove(d, 1), DFS_EGONE);
	assert_int_equal(disk_free_bytes(d), 0);
	segment_prefetch(d, addr, 10);
}

static void absent_and_failed_disks_give_nothing(void **state)
{
	struct fixture *f = *state;
	struct disk_info info = info_of(DISKS);
	disk_id failed[DISKS + 1];
	unsigned n;

	assert_int_equal(disk_add(f->set, &info, NULL, 0), 0);
	check_unusable(disk_get(f->set, info.id));
	disk_set_state(f->disks[0], DISK_FAILED);
	check_unusable(f->disks[0]);
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(f->errors, 0); /* known, no news */
}

static void only_healthy_disks_take_new_data(void **state)
{
	struct fixture *f = *state;
	struct segment_addr addr;
	uint8_t data[512], back[512];

	fill(data, sizeof(data), 1);
	addr = append(f->disks[0], data, sizeof(data));
	for (enum disk_state s = DISK_DEGRADED; s <= DISK_DRAINING; s++) {
		struct segment_addr none;

		disk_set_state(f->disks[0], s);
		assert_int_equal(disk_state(f->disks[0]), s);
		assert_int_equal(disk_info(f->disks[0]).state, s);
		assert_int_equal(segment_reserve(f->disks[0], 512, &none), DFS_EROFS);
		assert_int_equal(read_at(f->disks[0], addr, back, sizeof(back)), 0);
		assert_memory_equal(back, data, sizeof(data));
	}
	disk_set_state(f->disks[0], DISK_HEALTHY);
	assert_int_equal(segment_reserve(f->disks[0], 512, &addr), 0);
	segment_settle(f->disks[0], addr);
}

/* Makes disk 0 of a small filesystem of its own, before it is added; false without root. */
static bool mount_first(struct fixture *f, const char *options)
{
	FREE char *path = disk_path(f, 0);

	if (mount("tmpfs", path, "tmpfs", 0, options)) {
		print_message("skipped: mounting a small tmpfs needs root\n");
		return false;
	}
	f->mounted = true;
	return true;
}

/* ---- space ---- */

static void space_is_bounded_by_the_filesystem(void **state)
{
	struct fixture *f = *state;
	struct disk_info info = info_of(0);
	FREE uint8_t *data = xmalloc(MIB(1));
	struct segment_addr addrs[64];
	uint64_t free_bytes;
	unsigned n = 0;

	if (!mount_first(f, "size=32m"))
		return;
	add(f, 0, &info, 0);
	fill(data, MIB(1), 1);
	assert_int_equal(disk_total_bytes(f->disks[0]), MIB(32));
	assert_int_equal(disk_reserve_of(disk_total_bytes(f->disks[0])), MIB(1));
	free_bytes = disk_free_bytes(f->disks[0]);
	assert_in_range(free_bytes, MIB(30), MIB(31));
	/* promises count at once, without asking the filesystem */
	while (n < 64 && segment_reserve(f->disks[0], (uint32_t)MIB(1), &addrs[n]) == 0)
		n++;
	assert_int_equal(n, free_bytes / MIB(1));
	assert_true(disk_free_bytes(f->disks[0]) < MIB(1));
	segment_settle(f->disks[0], addrs[--n]); /* given up: its space is back */
	assert_true(disk_free_bytes(f->disks[0]) >= MIB(1));
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(1), &addrs[n]), 0);
	n++;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(write_at(f->disks[0], addrs[i], data, MIB(1)), 0);
		segment_settle(f->disks[0], addrs[i]);
	}
	assert_true(disk_free_bytes(f->disks[0]) < MIB(1));
	env_sleep_ms(1100); /* the filesystem is asked again, and says the same */
	assert_true(disk_free_bytes(f->disks[0]) < MIB(1));
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(1), &addrs[0]), DFS_ENOSPC);
	segment_close_open(f->disks[0]);
	assert_int_equal(segment_remove(f->disks[0], 1), 0);
	env_sleep_ms(1100);
	assert_true(disk_free_bytes(f->disks[0]) >= MIB(27));
}

static void a_filesystem_filled_by_others_is_clean_enospc(void **state)
{
	struct fixture *f = *state;
	struct disk_info info = info_of(0);
	FREE uint8_t *data = xmalloc(MIB(4));
	struct segment_addr addr, other;

	if (!mount_first(f, "size=32m"))
		return;
	add(f, 0, &info, 0);
	fill(data, MIB(4), 1);
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(4), &addr), 0);
	shell(f, "head -c 31M /dev/zero >d0/filler");
	assert_int_equal(write_at(f->disks[0], addr, data, MIB(4)), DFS_ENOSPC);
	assert_int_equal(f->last_err, DFS_ENOSPC);
	assert_int_equal(disk_counters(f->disks[0]).write_errors, 0); /* not the disk's fault */
	assert_int_equal(disk_free_bytes(f->disks[0]), 0);	      /* at once */
	assert_int_equal(segment_reserve(f->disks[0], 512, &other), DFS_ENOSPC);
	segment_settle(f->disks[0], addr);
	assert_int_equal(disk_state(f->disks[0]), DISK_HEALTHY);
	shell(f, "rm d0/filler");
	env_sleep_ms(1100);
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(4), &addr), 0);
	assert_int_equal(write_at(f->disks[0], addr, data, MIB(4)), 0);
	segment_settle(f->disks[0], addr);
}

static void space_is_bounded_by_the_capacity(void **state)
{
	struct fixture *f = *state;
	struct disk_info info = info_of(0);
	struct segment_addr addr;

	info.capacity_bytes = MIB(80);
	add(f, 0, &info, 0);
	if (disk_total_bytes(f->disks[0]) < MIB(80)) {
		print_message("skipped: less than 80 MiB here\n");
		return;
	}
	assert_int_equal(disk_total_bytes(f->disks[0]), MIB(80));
	assert_int_equal(disk_reserve_of(disk_total_bytes(f->disks[0])), MIB(1));
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(79));
	disk_set_used_bytes(f->disks[0], MIB(70));
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(9));
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(1) + 1, &addr), 0);
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(8) - 512);
	segment_settle(f->disks[0], addr);
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(9));
	disk_set_used_bytes(f->disks[0], MIB(90));
	assert_int_equal(disk_free_bytes(f->disks[0]), 0);
	assert_int_equal(segment_reserve(f->disks[0], 1, &addr), DFS_ENOSPC);
}

/* ---- batches ---- */

static void a_batch_runs_everything(void **state)
{
	enum {
		N = 64,
		LEN = 1536
	};
	struct fixture *f = *state;
	static uint8_t data[N][LEN], back[N][LEN];
	struct iovec iov[N][3], riov[N];
	struct disk_io ios[N], rios[N];

	for (unsigned i = 0; i < N; i++) {
		struct disk *d = f->disks[i * 7 / 3 % DISKS];

		fill(data[i], LEN, i);
		iov[i][0] = (struct iovec){data[i], 100};
		iov[i][1] = (struct iovec){data[i] + 100, 0};
		iov[i][2] = (struct iovec){data[i] + 100, LEN - 100};
		ios[i] = (struct disk_io){
			.disk = d, .op = DISK_WRITE, .iov = iov[i], .iovcnt = 3, .result = 1};
		assert_int_equal(segment_reserve(d, LEN, &ios[i].addr), 0);
	}
	assert_int_equal(disk_io_run(ios, N), 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(ios[i].result, 0);
		segment_settle(ios[i].disk, ios[i].addr);
		riov[i] = (struct iovec){back[i], LEN};
		rios[i] = (struct disk_io){.disk = ios[i].disk,
					   .op = DISK_READ,
					   .addr = ios[i].addr,
					   .iov = &riov[i],
					   .iovcnt = 1,
					   .flags = i % 2 ? DEV_READ_MEDIA : 0,
					   .result = 1};
	}
	assert_int_equal(disk_io_run(rios, N), 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(rios[i].result, 0);
		assert_memory_equal(back[i], data[i], LEN);
	}
	assert_int_equal(disk_io_run(NULL, 0), 0);
	/* neighbours went down together: fewer writes than records */
	uint64_t writes = 0, bytes = 0;
	for (unsigned i = 0; i < DISKS; i++) {
		writes += disk_counters(f->disks[i]).writes;
		bytes += disk_counters(f->disks[i]).write_bytes;
	}
	assert_int_equal(bytes, N * LEN);
	assert_true(writes < N);
}

static void a_batch_tells_which_failed(void **state)
{
	enum {
		N = 12
	};
	struct fixture *f = *state;
	static uint8_t data[N][512];
	struct disk_info info = info_of(DISKS);
	struct disk_io ios[N + 1];
	struct iovec iov[N + 1];

	assert_int_equal(disk_add(f->set, &info, NULL, 0), 0);
	for (unsigned i = 0; i < N; i++) {
		iov[i] = (struct iovec){data[i], 512};
		ios[i] = (struct disk_io){.disk = f->disks[i % DISKS],
					  .op = DISK_WRITE,
					  .iov = &iov[i],
					  .iovcnt = 1,
					  .result = 1};
		assert_int_equal(segment_reserve(ios[i].disk, 512, &ios[i].addr), 0);
	}
	/* an absent disk and a failing one among them */
	ios[N] = ios[0];
	ios[N].op = DISK_READ;
	ios[N].disk = disk_get(f->set, info.id);
	dev_fault_set(f->faults[1], &(struct fault_plan){.write_error = 1});
	assert_int_equal(disk_io_run(ios, N + 1), DFS_EIO);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(ios[i].result, i % DISKS == 1 ? DFS_EIO : 0);
		segment_settle(ios[i].disk, ios[i].addr);
	}
	assert_int_equal(ios[N].result, DFS_EGONE);
	assert_int_equal(disk_counters(f->disks[1]).write_errors, N / DISKS);
	assert_int_equal(f->errors, N / DISKS);
}

/* A run of neighbours of which one can't be written: the others count. */
static void a_run_that_fails_is_tried_one_by_one(void **state)
{
	struct fixture *f = *state;
	struct disk_io ios[3];
	struct iovec iov[3];
	uint8_t data[3][512] = {{1}};
	struct segment_addr first;

	first = append(f->disks[0], data[0], 512); /* the file ends here */
	for (unsigned i = 0; i < 3; i++) {
		iov[i] = (struct iovec){data[i], 512};
		ios[i] = (struct disk_io){
			.disk = f->disks[0], .op = DISK_WRITE, .iov = &iov[i], .iovcnt = 1};
		assert_int_equal(segment_reserve(f->disks[0], 512, &ios[i].addr), 0);
	}
	assert_int_equal(write_at(f->disks[0], ios[1].addr, data[1], 512), 0);
	assert_int_equal(first.segment, ios[0].addr.segment);
	/* now only the third extends the file */
	dev_fault_set(f->faults[0], &(struct fault_plan){.no_space = true});
	assert_int_equal(disk_io_run(ios, 3), DFS_ENOSPC);
	assert_int_equal(ios[0].result, 0);
	assert_int_equal(ios[1].result, 0);
	assert_int_equal(ios[2].result, DFS_ENOSPC);
	for (unsigned i = 0; i < 3; i++)
		segment_settle(f->disks[0], ios[i].addr);
}

static void a_slow_disk_delays_nobody_else(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = {1}, back[DISKS][512];
	struct segment_addr addrs[DISKS];
	struct disk_io ios[DISKS];
	struct iovec iov[DISKS];
	uint64_t start, took;

	for (unsigned i = 0; i < DISKS; i++)
		addrs[i] = append(f->disks[i], data, sizeof(data));
	/* all four at once, not one after the other */
	for (unsigned i = 0; i < DISKS; i++) {
		dev_fault_set(f->faults[i], &(struct fault_plan){.delay_ms = 100});
		iov[i] = (struct iovec){back[i], sizeof(back[i])};
		ios[i] = (struct disk_io){.disk = f->disks[i],
					  .op = DISK_READ,
					  .addr = addrs[i],
					  .iov = &iov[i],
					  .iovcnt = 1};
	}
	start = env_now_ns();
	assert_int_equal(disk_io_run(ios, DISKS), 0);
	took = (env_now_ns() - start) / 1000000;
	assert_in_range(took, 99, 250);
	for (unsigned i = 1; i < DISKS; i++)
		dev_fault_set(f->faults[i], &(struct fault_plan){0});
	start = env_now_ns();
	assert_int_equal(disk_io_run(ios + 1, DISKS - 1), 0);
	took = (env_now_ns() - start) / 1000000;
	assert_in_range(took, 0, 90);
}

struct runner {
	struct fixture *f;
	unsigned seed;
	unsigned rounds;
};

/* Writes batches over all disks, reads them back, while others do the same and sync. */
static void runner_main(void *arg)
{
	struct runner *r = arg;
	static const unsigned lens[] = {512, 3000, 70000, 4096};
	disk_id failed[DISKS];
	unsigned n;

	for (unsigned round = 0; round < r->rounds; round++) {
		struct disk_io ios[DISKS * 2];
		struct iovec iov[DISKS * 2];
		uint8_t *bufs[DISKS * 2];

		for (unsigned i = 0; i < DISKS * 2; i++) {
			unsigned len = lens[(r->seed + round + i) % 4];

			bufs[i] = xmalloc(len);
			fill(bufs[i], len, r->seed * 100000 + round * 100 + i);
			iov[i] = (struct iovec){bufs[i], len};
			ios[i] = (struct disk_io){.disk = r->f->disks[i % DISKS],
						  .op = DISK_WRITE,
						  .iov = &iov[i],
						  .iovcnt = 1};
			if (segment_reserve(ios[i].disk, len, &ios[i].addr))
				abort();
		}
		if (disk_io_run(ios, DISKS * 2) ||
		    (round % 8 == 0 && disk_set_sync(r->f->set, failed, &n)))
			abort();
		for (unsigned i = 0; i < DISKS * 2; i++) {
			segment_settle(ios[i].disk, ios[i].addr);
			memset(bufs[i], 0, iov[i].iov_len);
			ios[i].op = DISK_READ;
		}
		if (disk_io_run(ios, DISKS * 2))
			abort();
		for (unsigned i = 0; i < DISKS * 2; i++) {
			FREE uint8_t *want = xmalloc(iov[i].iov_len);

			fill(want, iov[i].iov_len, r->seed * 100000 + round * 100 + i);
			if (memcmp(want, bufs[i], iov[i].iov_len) != 0)
				abort();
			free(bufs[i]);
		}
		if (round % 32 == 31)
			segment_close_open(r->f->disks[round % DISKS]);
	}
}

static void many_batches_at_once(void **state)
{
	enum {
		N = 6
	};
	struct fixture *f = *state;
	struct runner r[N];
	struct env_thread *t[N];

	for (unsigned i = 0; i < N; i++) {
		r[i] = (struct runner){.f = f, .seed = i, .rounds = 100};
		t[i] = env_thread_start("runner", runner_main, &r[i]);
	}
	for (unsigned i = 0; i < N; i++)
		env_thread_join(t[i]);
	assert_int_equal(f->errors, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
#define E(fn) cmocka_unit_test_setup_teardown(fn, set_up_empty, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_have_names),
		E(disks_are_found_by_id),
		T(absent_and_failed_disks_give_nothing),
		T(only_healthy_disks_take_new_data),
		E(space_is_bounded_by_the_filesystem),
		E(a_filesystem_filled_by_others_is_clean_enospc),
		E(space_is_bounded_by_the_capacity),
		T(a_batch_runs_everything),
		T(a_batch_tells_which_failed),
		T(a_run_that_fails_is_tried_one_by_one),
		T(a_slow_disk_delays_nobody_else),
		T(many_batches_at_once),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
