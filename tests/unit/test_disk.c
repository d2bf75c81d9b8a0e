/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of dev/disk.h: states, space, segments (S1..S4), queues, on real directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "dev/disk.h"
#include "dev/fault.h"

#define DISKS 4

struct fixture {
	char *top;
	bool mounted;
	struct disk_set *set;
	struct dev *faults[DISKS]; /* borrowed: each disk's fault device */
	struct disk *disks[DISKS];
	/* what on_error was told; with lock */
	struct env_mutex lock;
	unsigned errors;
	disk_id last_id;
	int last_err;
	enum disk_state last_state; /* when it was told */
	char last_what[256];
};

static void on_error(void *ctx, disk_id id, int err, const char *what)
{
	struct fixture *f = ctx;
	struct disk *d = disk_get(f->set, id); /* takes locks: would hang if one were held */
	ENV_LOCKED(&f->lock);

	f->errors++;
	f->last_id = id;
	f->last_err = err;
	f->last_state = d ? disk_state(d) : 0;
	(void)snprintf(f->last_what, sizeof(f->last_what), "%s", what);
}

static char *disk_path(struct fixture *f, unsigned i) { return xasprintf("%s/d%u", f->top, i); }

static void shell(struct fixture *f, const char *cmd)
{
	FREE char *line = xasprintf("cd '%s' && %s", f->top, cmd);

	assert_int_equal(system(line), 0);
}

static struct disk_info info_of(unsigned i)
{
	struct disk_info info = {.id = {i + 1}, .state = DISK_HEALTHY};

	(void)snprintf(info.label, sizeof(info.label), "disk%u", i);
	return info;
}

static void add(struct fixture *f, unsigned i, const struct disk_info *info, uint32_t first)
{
	FREE char *path = disk_path(f, i);
	struct dev *dev;

	assert_int_equal(dev_dir_open(path, "dynamicfs", true, &dev), 0);
	f->faults[i] = dev_fault_new(dev, &(struct fault_plan){0});
	assert_int_equal(disk_add(f->set, info, f->faults[i], 0, first), 0);
	f->disks[i] = disk_get(f->set, info->id);
	assert_non_null(f->disks[i]);
}

static int set_up_empty(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	env_mutex_init(&f->lock);
	f->top = xasprintf("%s/dfs-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->top));
	for (unsigned i = 0; i < DISKS; i++) {
		FREE char *path = disk_path(f, i);

		assert_int_equal(mkdir(path, 0700), 0);
	}
	f->set = disk_set_new(on_error, f);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	set_up_empty(state);
	for (unsigned i = 0; i < DISKS; i++) {
		struct disk_info info = info_of(i);

		add(*state, i, &info, 0);
	}
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	FREE char *d0 = disk_path(f, 0);

	disk_set_free(f->set);
	if (f->mounted)
		(void)umount2(d0, MNT_DETACH);
	shell(f, "rm -rf \"$PWD\"");
	env_mutex_release(&f->lock);
	free(f->top);
	free(f);
	return 0;
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

static void fill(void *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)((i * 2654435761u + seed * 40503u) >> 8);
}

static int write_at(struct disk *d, struct segment_addr addr, void *data, size_t len)
{
	struct iovec iov = {data, len};
	struct disk_io io = {
		.disk = d, .op = DISK_WRITE, .addr = addr, .iov = &iov, .iovcnt = 1, .result = 1};
	int rc = disk_io_run(&io, 1);

	assert_int_equal(rc, io.result);
	return rc;
}

static int read_at(struct disk *d, struct segment_addr addr, void *data, size_t len)
{
	struct iovec iov = {data, len};
	struct disk_io io = {
		.disk = d, .op = DISK_READ, .addr = addr, .iov = &iov, .iovcnt = 1, .result = 1};
	int rc = disk_io_run(&io, 1);

	assert_int_equal(rc, io.result);
	return rc;
}

/* Reserves, writes and settles one record. */
static struct segment_addr append(struct disk *d, void *data, uint32_t len)
{
	struct segment_addr addr;

	assert_int_equal(segment_reserve(d, len, &addr), 0);
	assert_int_equal(write_at(d, addr, data, len), 0);
	segment_settle(d, addr);
	return addr;
}

static int sync_all(struct fixture *f, disk_id *failed, unsigned *count)
{
	int rc;

	*count = 99;
	rc = disk_set_sync(f->set, failed, count);
	assert_true(*count <= disk_count(f->set));
	assert_int_equal(rc != 0, *count != 0);
	return rc;
}

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
		assert_int_equal(disk_add(f->set, &info, NULL, 0, 0), 0);
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
	assert_int_equal(disk_add(f->set, &info, NULL, 0, 0), DFS_EEXIST);
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

	assert_int_equal(disk_add(f->set, &info, NULL, 0, 0), 0);
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
	assert_int_equal(disk_add(f->set, &info, dev, 0, 0), 0);
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
	uint8_t data[700] = {1};
	uint64_t sum = 0;

	assert_int_equal(segment_list(f->disks[0], count_segments, &sum), 0);
	assert_int_equal(sum, 0);
	(void)append(f->disks[0], data, 700);
	segment_close_open(f->disks[0]);
	(void)append(f->disks[0], data, 500);
	assert_int_equal(segment_list(f->disks[0], count_segments, &sum), 0);
	assert_int_equal(sum, 3000000 + 1200);
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
	assert_int_equal(disk_reserve_bytes(f->disks[0]), MIB(4));
	free_bytes = disk_free_bytes(f->disks[0]);
	assert_in_range(free_bytes, MIB(27), MIB(28));
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
	assert_int_equal(disk_reserve_bytes(f->disks[0]), MIB(8));
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(72));
	disk_set_used_bytes(f->disks[0], MIB(70));
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(2));
	assert_int_equal(segment_reserve(f->disks[0], (uint32_t)MIB(1) + 1, &addr), 0);
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(1) - 512);
	segment_settle(f->disks[0], addr);
	assert_int_equal(disk_free_bytes(f->disks[0]), MIB(2));
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

	assert_int_equal(disk_add(f->set, &info, NULL, 0, 0), 0);
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
