/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of segments: S1 to S4 of dev/disk.h, on real directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "unit/disk_fixture.h"

/* ---- S1 ---- */

static void ranges_are_given_out_once(void **state)
{
	struct fixture *f = *state;
	struct segment_addr last = {0, 0}, addr;
	uint32_t end = 0;

	assert_int_equal(segment_reserve(f->disks[0], 0, &addr), DFS_EINVAL);
	assert_int_equal(segment_reserve(f->disks[0], UINT32_MAX, &addr), DFS_EINVAL);
	for (unsigned i = 0; i < 400; i++) {
		uint32_t len = i * 7919 % (uint32_t)MIB(1) + 1;

		assert_int_equal(segment_reserve(f->disks[0], len, &addr), 0);
		assert_int_equal(addr.offset % SEGMENT_ALIGN, 0);
		assert_true(addr.segment > 0);
		assert_true(addr.segment == last.segment || addr.segment == last.segment + 1);
		if (addr.segment == last.segment)
			assert_int_equal(addr.offset, end);
		else
			assert_int_equal(addr.offset, 0);
		end = addr.offset + (uint32_t)ALIGN_UP(len, SEGMENT_ALIGN);
		assert_true(end <= SEGMENT_MAX_BYTES);
		last = addr;
		segment_settle(f->disks[0], addr);
	}
	assert_true(last.segment >= 2);
	segment_close_open(f->disks[0]);
	segment_close_open(f->disks[0]);
	assert_int_equal(segment_reserve(f->disks[0], 1, &addr), 0);
	assert_int_equal(addr.segment, last.segment + 1);
	segment_settle(f->disks[0], addr);
}

static void numbers_start_above_all_that_is_there(void **state)
{
	struct fixture *f = *state;
	struct segment_addr addr;
	struct disk_info info;

	shell(f, "mkdir -p d0/dynamicfs/segments d1/dynamicfs/segments d2/dynamicfs/segments && "
		 "touch d0/dynamicfs/segments/0000001f d0/dynamicfs/segments/00000003 "
		 "d0/dynamicfs/segments/0000004G d0/dynamicfs/segments/000000050 "
		 "d0/dynamicfs/segments/0000005F d1/dynamicfs/segments/00000007 "
		 "d2/dynamicfs/segments/ffffffff");
	for (unsigned i = 0; i < DISKS; i++) {
		info = info_of(i);
		add(f, i, &info, i == 1 ? 100 : 0);
	}
	assert_int_equal(segment_reserve(f->disks[0], 1, &addr), 0);
	assert_int_equal(addr.segment, 0x20);
	segment_settle(f->disks[0], addr);
	assert_int_equal(segment_reserve(f->disks[1], 1, &addr), 0);
	assert_int_equal(addr.segment, 100);
	segment_settle(f->disks[1], addr);
	/* a file that uses the numbers up is a full disk, not a reuse (P10) */
	assert_int_equal(segment_reserve(f->disks[2], 1, &addr), DFS_ENOSPC);
	/* a file that came behind our back is passed over */
	shell(f, "mkdir -p d3/dynamicfs/segments && touch d3/dynamicfs/segments/00000001");
	assert_int_equal(segment_reserve(f->disks[3], 1, &addr), 0);
	assert_int_equal(addr.segment, 2);
	segment_settle(f->disks[3], addr);
}

struct hammer {
	struct disk *d;
	struct segment_addr addrs[300];
	unsigned seed;
};

static void hammer_main(void *arg)
{
	struct hammer *h = arg;
	uint8_t data[2048];

	for (unsigned i = 0; i < ARRAY_SIZE(h->addrs); i++) {
		fill(data, sizeof(data), h->seed + i);
		if (segment_reserve(h->d, sizeof(data), &h->addrs[i]) ||
		    write_at(h->d, h->addrs[i], data, sizeof(data)))
			abort();
		segment_settle(h->d, h->addrs[i]);
		if (i % 50 == 49)
			segment_close_open(h->d); /* makes new segments under load */
	}
}

static int by_addr(const void *a, const void *b)
{
	const struct segment_addr *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void concurrent_appends_keep_apart(void **state)
{
	enum {
		N = 4,
		EACH = 300
	};
	struct fixture *f = *state;
	struct hammer *h = xcalloc(N, sizeof(*h));
	struct env_thread *threads[N];
	FREE struct segment_addr *all = xcalloc(N * EACH, sizeof(*all));
	disk_id failed[DISKS];
	unsigned n;

	for (unsigned i = 0; i < N; i++) {
		h[i].d = f->disks[0];
		h[i].seed = i * 1000;
		threads[i] = env_thread_start("hammer", hammer_main, &h[i]);
	}
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(sync_all(f, failed, &n), 0);
	for (unsigned i = 0; i < N; i++) {
		env_thread_join(threads[i]);
		memcpy(all + i * EACH, h[i].addrs, sizeof(h[i].addrs));
	}
	qsort(all, N * EACH, sizeof(*all), by_addr);
	for (unsigned i = 1; i < N * EACH; i++)
		assert_true(by_addr(&all[i - 1], &all[i]) < 0);
	for (unsigned i = 0; i < N * EACH; i++) {
		uint8_t want[2048], got[2048];

		fill(want, sizeof(want), h[i / EACH].seed + i % EACH);
		assert_int_equal(
			read_at(f->disks[0], h[i / EACH].addrs[i % EACH], got, sizeof(got)), 0);
		assert_memory_equal(want, got, sizeof(want));
	}
	free(h);
}

/* ---- S2: a device whose syncs are watched and can be held up ---- */

static struct {
	struct dev_ops ops;
	int (*real_sync)(struct dev_file *f);
	int (*real_sync_dir)(struct dev *d, const char *dir);
	atomic_uint syncs_begun, syncs_done, dir_syncs;
	atomic_bool hold;
} watch;

static int watched_sync(struct dev_file *f)
{
	atomic_fetch_add(&watch.syncs_begun, 1);
	while (atomic_load(&watch.hold))
		env_sleep_ms(1);
	int rc = watch.real_sync(f);
	atomic_fetch_add(&watch.syncs_done, 1);
	return rc;
}

static int watched_sync_dir(struct dev *d, const char *dir)
{
	if (strcmp(dir, "segments") == 0)
		atomic_fetch_add(&watch.dir_syncs, 1);
	return watch.real_sync_dir(d, dir);
}

static void watch_disk(struct disk *d)
{
	struct dev *dev = disk_dev(d);

	memset(&watch, 0, sizeof(watch));
	watch.ops = *dev->ops;
	watch.real_sync = dev->ops->sync;
	watch.real_sync_dir = dev->ops->sync_dir;
	watch.ops.sync = watched_sync;
	watch.ops.sync_dir = watched_sync_dir;
	dev->ops = &watch.ops;
}

/* Without a fault device, which knows its own by the table of operations. */
static void add_plain(struct fixture *f, unsigned i)
{
	FREE char *path = disk_path(f, i);
	struct disk_info info = info_of(i);
	struct dev *dev;

	assert_int_equal(dev_dir_open(path, "dynamicfs", true, &dev), 0);
	assert_int_equal(disk_add(f->set, &info, dev, 0), 0);
	f->disks[i] = disk_get(f->set, info.id);
}

static void a_sync_covers_data_and_name_once(void **state)
{
	struct fixture *f = *state;
	disk_id failed[DISKS];
	uint8_t data[512] = {1};
	unsigned n;

	add_plain(f, 0);
	watch_disk(f->disks[0]);
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(watch.syncs_done, 0); /* nothing written */
	(void)append(f->disks[0], data, sizeof(data));
	(void)append(f->disks[0], data, sizeof(data));
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(watch.syncs_done, 1);
	assert_int_equal(watch.dir_syncs, 1);
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(watch.syncs_done, 1); /* nothing new */
	(void)append(f->disks[0], data, sizeof(data));
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(watch.syncs_done, 2);
	assert_int_equal(watch.dir_syncs, 1); /* the name was durable already */
	segment_close_open(f->disks[0]);
	(void)append(f->disks[0], data, sizeof(data));
	assert_int_equal(sync_all(f, failed, &n), 0);
	assert_int_equal(watch.dir_syncs, 2);
	assert_int_equal(disk_counters(f->disks[0]).syncs, 3);
}

struct syncer {
	struct fixture *f;
	atomic_bool done;
};

static void syncer_main(void *arg)
{
	struct syncer *s = arg;
	disk_id failed[DISKS];
	unsigned n;

	if (disk_set_sync(s->f->set, failed, &n))
		abort();
	atomic_store(&s->done, true);
}

static void wait_until_begun(unsigned count)
{
	for (unsigned i = 0; i < 5000 && atomic_load(&watch.syncs_begun) < count; i++)
		env_sleep_ms(1);
	assert_int_equal(watch.syncs_begun, count);
}

/* The first sync took the dirty mark; the second may not go home while the first is under way. */
static void a_sync_waits_for_one_under_way(void **state)
{
	struct fixture *f = *state;
	struct syncer s[3] = {{.f = f}, {.f = f}, {.f = f}};
	struct env_thread *t[3];
	uint8_t data[512] = {1};

	add_plain(f, 0);
	watch_disk(f->disks[0]);
	(void)append(f->disks[0], data, sizeof(data));
	atomic_store(&watch.hold, true);
	t[0] = env_thread_start("sync0", syncer_main, &s[0]);
	wait_until_begun(1);
	t[1] = env_thread_start("sync1", syncer_main, &s[1]);
	/* written after the first began: the third must have one of its own */
	(void)append(f->disks[0], data, sizeof(data));
	t[2] = env_thread_start("sync2", syncer_main, &s[2]);
	env_sleep_ms(50);
	for (unsigned i = 0; i < 3; i++)
		assert_false(atomic_load(&s[i].done));
	assert_int_equal(watch.syncs_begun, 1);
	atomic_store(&watch.hold, false);
	for (unsigned i = 0; i < 3; i++)
		env_thread_join(t[i]);
	assert_int_equal(watch.syncs_done, 2);
}

/* ---- S3 ---- */

static void segments_in_flight_are_left_alone(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[0];
	struct segment_addr a, b;
	uint8_t data[8192], back[8192];
	int rc;

	fill(data, sizeof(data), 3);
	assert_false(segment_is_quiet(d, 1)); /* not made yet: could be any moment */
	assert_int_equal(segment_reserve(d, sizeof(data), &a), 0);
	assert_int_equal(segment_reserve(d, sizeof(data), &b), 0);
	assert_int_equal(write_at(d, a, data, sizeof(data)), 0);
	assert_int_equal(write_at(d, b, data, sizeof(data)), 0);
	assert_false(segment_is_quiet(d, a.segment));
	segment_close_open(d);
	assert_false(segment_is_quiet(d, a.segment));
	segment_settle(d, a);
	assert_false(segment_is_quiet(d, a.segment));
	assert_int_equal(segment_punch(d, a.segment, 0, 4096), DFS_EBUSY);
	assert_int_equal(segment_remove(d, a.segment), DFS_EBUSY);
	segment_settle(d, b);
	assert_true(segment_is_quiet(d, a.segment));
	rc = segment_punch(d, a.segment, a.offset, sizeof(data));
	if (rc != DFS_ENOTSUP) {
		assert_int_equal(rc, 0);
		assert_int_equal(read_at(d, a, back, sizeof(back)), 0);
		for (size_t i = 0; i < sizeof(back); i++)
			assert_int_equal(back[i], 0);
	}
	assert_int_equal(read_at(d, b, back, sizeof(back)), 0);
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(segment_remove(d, a.segment), 0);
	assert_int_equal(read_at(d, b, back, sizeof(back)), DFS_ENOENT);
	assert_int_equal(segment_remove(d, a.segment), DFS_ENOENT);
	/* the open segment is not quiet even with nothing in flight */
	a = append(d, data, 512);
	assert_int_equal(a.segment, 2);
	assert_false(segment_is_quiet(d, 2));
	assert_int_equal(segment_remove(d, 2), DFS_EBUSY);
}

static void a_removed_segment_does_not_fail_the_sync(void **state)
{
	struct fixture *f = *state;
	struct syncer s = {.f = f};
	struct env_thread *t;
	struct segment_addr addr;
	uint8_t data[512] = {1};
	disk_id failed[DISKS];
	unsigned n;

	add_plain(f, 0);
	watch_disk(f->disks[0]);
	/* dirty when removed */
	addr = append(f->disks[0], data, sizeof(data));
	segment_close_open(f->disks[0]);
	assert_int_equal(segment_remove(f->disks[0], addr.segment), 0);
	assert_int_equal(sync_all(f, failed, &n), 0);
	/* being synced when removed */
	addr = append(f->disks[0], data, sizeof(data));
	segment_close_open(f->disks[0]);
	atomic_store(&watch.hold, true);
	t = env_thread_start("sync", syncer_main, &s);
	wait_until_begun(1);
	assert_int_equal(segment_remove(f->disks[0], addr.segment), 0);
	atomic_store(&watch.hold, false);
	env_thread_join(t);
	assert_int_equal(disk_state(f->disks[0]), DISK_HEALTHY);
	assert_int_equal(f->errors, 0);
}

static int count_segments(void *ctx, uint32_t segment, uint64_t size_bytes)
{
	uint64_t *sum = ctx;

	*sum += segment * 1000000 + size_bytes;
	return 0;
}

static void segments_are_listed(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024] = {1};
	uint64_t sum = 0;

	assert_int_equal(segment_list(f->disks[0], count_segments, &sum), 0);
	assert_int_equal(sum, 0);
	(void)append(f->disks[0], data, 1024);
	segment_close_open(f->disks[0]);
	(void)append(f->disks[0], data, 512);
	assert_int_equal(segment_list(f->disks[0], count_segments, &sum), 0);
	assert_int_equal(sum, 3000000 + 1536);
}

/* P9: open files are bounded, and a segment put aside is found again */
static void open_segment_files_are_bounded(void **state)
{
	enum {
		N = 200
	};
	struct fixture *f = *state;
	struct segment_addr addrs[N];
	uint32_t v;
	unsigned fds = 0;

	for (uint32_t i = 0; i < N; i++) {
		addrs[i] = append(f->disks[0], &i, sizeof(i));
		segment_close_open(f->disks[0]);
	}
	disk_id failed[DISKS];
	unsigned n;
	assert_int_equal(sync_all(f, failed, &n), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < N; i++) {
			assert_int_equal(read_at(f->disks[0], addrs[i], &v, sizeof(v)), 0);
			assert_int_equal(v, i);
		}
	}
	for (int fd = 0; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	assert_in_range(fds, 100, 160);
}

/* ---- S4 and errors ---- */

static void a_failed_sync_fails_the_disk(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = {1};
	struct segment_addr addr, open;
	disk_id failed[DISKS];
	unsigned n;

	for (unsigned i = 0; i < DISKS; i++)
		(void)append(f->disks[i], data, sizeof(data));
	assert_int_equal(segment_reserve(f->disks[2], 512, &open), 0);
	assert_int_equal(write_at(f->disks[2], open, data, sizeof(data)), 0);
	dev_fault_set(f->faults[2], &(struct fault_plan){.sync_error = 1});
	assert_int_equal(sync_all(f, failed, &n), DFS_EIO);
	assert_int_equal(n, 1);
	assert_int_equal(failed[0].v, 3);
	assert_int_equal(f->last_id.v, 3);
	assert_int_equal(f->last_err, DFS_EIO);
	assert_int_equal(f->last_state, DISK_FAILED); /* failed first, told then */
	assert_string_equal(f->last_what, "syncing segment 00000001: input/output error");
	assert_int_equal(disk_state(f->disks[2]), DISK_FAILED);
	assert_int_equal(disk_counters(f->disks[2]).write_errors, 1);
	assert_int_equal(segment_reserve(f->disks[2], 512, &addr), DFS_EGONE);
	/* a later success means nothing: as long as a write may yet be published it is named */
	dev_fault_set(f->faults[2], &(struct fault_plan){0});
	assert_int_equal(sync_all(f, failed, &n), DFS_EIO);
	assert_int_equal(sync_all(f, failed, &n), DFS_EIO);
	segment_settle(f->disks[2], open);
	assert_int_equal(sync_all(f, failed, &n), DFS_EIO);
	assert_int_equal(failed[0].v, 3);
	/* what is written from now on can't be there */
	(void)append(f->disks[0], data, sizeof(data));
	assert_int_equal(sync_all(f, failed, &n), 0);
}

static void an_operation_on_each_disk_is_reported(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[1];
	uint8_t data[1024], back[1024];
	struct segment_addr addr, next;

	fill(data, sizeof(data), 5);
	addr = append(d, data, sizeof(data));
	dev_fault_set(f->faults[1], &(struct fault_plan){.read_error = 1, .write_error = 1});
	assert_int_equal(read_at(d, addr, back, sizeof(back)), DFS_EIO);
	assert_int_equal(f->errors, 1);
	assert_int_equal(f->last_id.v, 2);
	assert_int_equal(f->last_err, DFS_EIO);
	assert_string_equal(f->last_what, "reading segment 00000001 at 0: input/output error");
	assert_int_equal(segment_reserve(d, sizeof(data), &next), 0);
	assert_int_equal(write_at(d, next, data, sizeof(data)), DFS_EIO);
	assert_string_equal(f->last_what, "writing segment 00000001 at 1024: input/output error");
	segment_settle(d, next);
	dev_fault_set(f->faults[1], &(struct fault_plan){0});
	/* past the end: the record is torn off */
	assert_int_equal(read_at(d, next, back, sizeof(back)), DFS_ECORRUPT);
	addr.offset = 512;
	assert_int_equal(read_at(d, addr, back, 513), DFS_ECORRUPT);
	addr.offset = 3; /* reads start at any byte */
	assert_int_equal(read_at(d, addr, back, 10), 0);
	assert_memory_equal(back, data + 3, 10);
	assert_int_equal(disk_counters(d).read_errors, 3);
	assert_int_equal(disk_counters(d).write_errors, 1);
	assert_int_equal(disk_counters(d).reads, 4);
	disk_count_checksum_error(d);
	assert_int_equal(disk_counters(d).checksum_errors, 1);
}

static void a_disk_removed_under_use_is_noticed(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = {1};
	struct segment_addr addr;
	disk_id failed[DISKS];
	unsigned n;

	for (unsigned i = 0; i < DISKS; i++)
		(void)append(f->disks[i], data, sizeof(data));
	assert_int_equal(sync_all(f, failed, &n), 0);
	shell(f, "rm -rf d1/dynamicfs && rm -rf d3/dynamicfs/*");
	for (unsigned i = 0; i < DISKS; i++)
		(void)append(f->disks[i], data, sizeof(data)); /* the open files still take it */
	assert_int_equal(sync_all(f, failed, &n), DFS_EGONE);
	assert_int_equal(n, 2);
	assert_int_equal(failed[0].v, 2);
	assert_int_equal(failed[1].v, 4);
	assert_int_equal(disk_state(f->disks[1]), DISK_FAILED);
	assert_int_equal(disk_state(f->disks[3]), DISK_FAILED);
	assert_int_equal(disk_state(f->disks[0]), DISK_HEALTHY);
	/* an emptied disk is not begun anew */
	shell(f, "rm -rf d0/dynamicfs/segments");
	segment_close_open(f->disks[0]);
	assert_int_equal(segment_reserve(f->disks[0], 512, &addr), DFS_EGONE);
	assert_int_equal(f->last_err, DFS_EGONE);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
#define E(fn) cmocka_unit_test_setup_teardown(fn, set_up_empty, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ranges_are_given_out_once),
		E(numbers_start_above_all_that_is_there),
		T(concurrent_appends_keep_apart),
		E(a_sync_covers_data_and_name_once),
		E(a_sync_waits_for_one_under_way),
		T(segments_in_flight_are_left_alone),
		E(a_removed_segment_does_not_fail_the_sync),
		T(segments_are_listed),
		T(open_segment_files_are_bounded),
		T(a_failed_sync_fails_the_disk),
		T(an_operation_on_each_disk_is_reported),
		T(a_disk_removed_under_use_is_noticed),
	};

	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
