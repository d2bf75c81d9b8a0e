/* SPDX-License-Identifier: Apache-2.0 */
/* Compaction of disks that can't punch holes (CP1..CP6): real directories behind fault devices. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "jobs/jobs.h"
#include "unit/pool_fixture.h"

#define DISKS 4u
#define EXTENTS 512u
#define LEN KIB(64)
#define KEPT_ONE_IN 8u
#define DISK_BYTES MIB(128) /* so that a segment is 2 MiB */
#define SEGMENT MIB(2)

struct world {
	struct fixture *f;
	struct jobs *jobs;
	extent_id ids[EXTENTS];
	bool is_there[EXTENTS];
};

static void put(struct world *w, unsigned i)
{
	w->ids[i] = fixture_put(w->f, i, (struct geometry){2, 2}, LEN).id;
	w->is_there[i] = true;
}

static void drop(struct world *w, unsigned i)
{
	struct meta_txn *t = meta_begin(pool_meta(w->f->p));
	struct extent_refs refs = {0};
	uint64_t seq;

	extent_refs_add(&refs, w->ids[i], 0, -1);
	assert_int_equal(extent_refs_apply(pool_extents(w->f->p), t, &refs), 0);
	del_map(t, (ino_id){7}, i * MIB(1));
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_refs_release(&refs);
	w->is_there[i] = false;
}

static void plan_all(struct world *w, const struct fault_plan *plan)
{
	for (unsigned i = 0; i < DISKS; i++) {
		w->f->plans[i] = *plan;
		dev_fault_set(w->f->faults[i], plan);
	}
}

static void reclaim(struct world *w)
{
	unsigned done = 1;

	fixture_sync(w->f);
	for (unsigned i = 0; i < 20 && done; i++)
		assert_int_equal(extent_reclaim(pool_extents(w->f->p), 1024, &done), 0);
}

/* All but one of 8 go, wherever they lie. */
static void make_garbage(struct world *w)
{
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i);
	for (unsigned i = 0; i < EXTENTS; i++)
		if (i % KEPT_ONE_IN)
			drop(w, i);
	fixture_end_segments(w->f);
	reclaim(w);
}

static int setup(void **state)
{
	const struct fault_plan plan = {.no_punch = true, .most_total = DISK_BYTES};
	struct world *w = calloc(1, sizeof(*w));

	w->f = fixture_new(DISKS, 0, NULL);
	plan_all(w, &plan);
	make_garbage(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	jobs_free(w->jobs);
	fixture_free(w->f);
	free(w);
	return 0;
}

static struct disk *disk_of(struct world *w, unsigned i)
{
	return disk_get(pool_disks(w->f->p), (disk_id){i + 1});
}

static int add_size(void *ctx, uint32_t number, uint64_t size_bytes)
{
	uint64_t *sum = ctx;

	(void)number;
	*sum += size_bytes;
	return 0;
}

/* What the segments of a disk take. */
static uint64_t taken(struct world *w, unsigned i)
{
	uint64_t sum = 0;

	assert_int_equal(segment_list(disk_of(w, i), add_size, &sum), 0);
	return sum;
}

static uint64_t live(struct world *w, unsigned i)
{
	return (uint64_t)meta_counter(pool_meta(w->f->p), META_COUNT_DISK_USED + i + 1);
}

static void expect_bound(struct world *w)
{
	for (unsigned i = 0; i < DISKS; i++)
		assert_true(taken(w, i) <= 2 * live(w, i) + 3 * SEGMENT);
}

static void expect_content(struct world *w)
{
	static uint8_t got[LEN];

	for (unsigned i = 0; i < EXTENTS; i++) {
		if (!w->is_there[i])
			continue;
		assert_int_equal(extent_read(pool_extents(w->f->p), w->ids[i], 0, LEN, got), 0);
		assert_memory_equal(got, fixture_content(i, LEN), LEN);
		assert_int_equal(fixture_good(w->f, w->ids[i]), 4);
	}
}

static int one_step(struct world *w, unsigned disk, struct compact_done *done)
{
	const struct compact_order o = {.with_old = true};

	return extent_compact_step(pool_extents(w->f->p), disk_of(w, disk), &o, done);
}

static int pass(struct world *w, unsigned disk, struct compact_done *done)
{
	int err = 0;

	for (unsigned i = 0; i < 1000 && !err; i++)
		err = one_step(w, disk, done);
	return err;
}

static bool is_due(struct world *w, unsigned disk)
{
	extent_compact_measure(pool_extents(w->f->p));
	return extent_compact_due(pool_extents(w->f->p), disk_of(w, disk), false);
}

/* CP1, CP2: what is dead comes back, what lives stays as it was. */
static void test_dead_space_comes_back(void **state)
{
	struct world *w = *state;
	struct compact_done done;

	for (unsigned i = 0; i < DISKS; i++) {
		assert_true(disk_cannot_punch(disk_of(w, i)));
		assert_int_equal(disk_segment_bytes(disk_of(w, i)), SEGMENT);
		assert_true(taken(w, i) > 4 * live(w, i));
		assert_true(is_due(w, i));
	}
	for (unsigned i = 0; i < DISKS; i++) {
		assert_int_equal(pass(w, i, &done), DFS_EEND);
		assert_int_equal(done.stuck, 0);
		assert_true(done.pass_segments > 0);
	}
	fixture_end_segments(w->f);
	for (unsigned i = 0; i < DISKS; i++)
		assert_false(is_due(w, i));
	expect_bound(w);
	expect_content(w);
}

/* CP2: what is full of life is not copied. */
static void test_full_segments_stay(void **state)
{
	static struct rec_extent before[EXTENTS];
	struct world *w = *state;
	struct compact_done done;
	struct rec_extent now;

	for (unsigned i = 0; i < EXTENTS; i++)
		if (!w->is_there[i])
			put(w, i);
	fixture_end_segments(w->f);
	for (unsigned i = 0; i < EXTENTS; i++)
		assert_int_equal(get_extent(pool_meta(w->f->p), w->ids[i], &before[i]), 0);
	assert_int_equal(pass(w, 0, &done), DFS_EEND);
	assert_true(done.pass_segments > 0);
	for (unsigned i = 0; i < EXTENTS; i++) {
		if (i % KEPT_ONE_IN == 0)
			continue;
		assert_int_equal(get_extent(pool_meta(w->f->p), w->ids[i], &now), 0);
		assert_memory_equal(now.frags, before[i].frags, sizeof(now.frags));
	}
	expect_content(w);
}

/* Disks that can punch are left alone. */
static void test_not_where_holes_can_be_punched(void **state)
{
	struct world *w = *state;
	struct fixture *f = fixture_new(1, 0, NULL);
	struct compact_done done;
	struct world other = {.f = f};

	(void)w;
	put(&other, 0);
	assert_false(disk_cannot_punch(disk_of(&other, 0)));
	assert_int_equal(disk_segment_bytes(disk_of(&other, 0)), SEGMENT_MAX_BYTES);
	assert_int_equal(one_step(&other, 0, &done), DFS_EEND);
	fixture_free(f);
}

/* CP6: after a crash between any two steps all that was there is there, and a further pass ends it. */
static void test_crash_between_steps(void **state)
{
	struct world *w = *state;
	struct compact_done done;

	for (unsigned steps = 1; steps < 8; steps++) {
		for (unsigned i = 0; i < steps; i++)
			(void)!one_step(w, steps % DISKS, &done);
		pool_abandon(w->f->p);
		fixture_reopen(w->f);
		assert_true(disk_cannot_punch(disk_of(w, steps % DISKS)));
		expect_content(w);
	}
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(pass(w, i, &done), DFS_EEND);
	fixture_end_segments(w->f);
	reclaim(w);
	expect_bound(w);
	expect_content(w);
}

static uint64_t usable_with(struct world *w, uint64_t most_free)
{
	const struct fault_plan plan = {
		.no_punch = true, .most_total = DISK_BYTES, .most_free = most_free};

	plan_all(w, &plan);
	/* The answers come from threads of the disks', and older ones may still be on their way. */
	for (unsigned i = 0; i < DISKS; i++) {
		struct disk *d = disk_of(w, i);
		struct dev_space now;
		unsigned same = 0;

		assert_int_equal(dev_space(disk_dev(d), &now), 0);
		for (unsigned tries = 0; tries < 1000 && same < 4; tries++) {
			disk_ask_anew(d);
			env_sleep_ms(5);
			same = disk_room(d).free_bytes == now.free_bytes ? same + 1 : 0;
		}
		assert_int_equal(same, 4);
	}
	return extent_usable_bytes(pool_extents(w->f->p), (struct geometry){1, 2}, 0);
}

/* CP3: new data leaves what a copy needs, so a disk that is full is compacted nevertheless. */
static void test_full_disks(void **state)
{
	struct world *w = *state;
	uint64_t full = KIB(64), roomy = GIB(4);
	struct compact_done done;

	assert_true(usable_with(w, roomy) > 0);
	while (roomy - full > KIB(64)) {
		uint64_t middle = (full + roomy) / 2;

		if (usable_with(w, middle))
			roomy = middle;
		else
			full = middle;
	}
	assert_int_equal(usable_with(w, full), 0);
	for (unsigned i = 0; i < DISKS; i++) {
		assert_int_equal(pass(w, i, &done), DFS_EEND);
		assert_true(done.pass_segments > 0);
	}
	expect_content(w);
}

/* CP5: what was there before this process stays where the index may not be whole. */
static void test_old_segments_stay(void **state)
{
	struct world *w = *state;
	const struct compact_order o = {.with_old = false};
	struct compact_done done;
	uint64_t before;
	int err = 0;

	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	before = taken(w, 0);
	for (unsigned i = 0; i < 100 && !err; i++)
		err = extent_compact_step(pool_extents(w->f->p), disk_of(w, 0), &o, &done);
	assert_int_equal(err, DFS_EEND);
	assert_int_equal(done.pass_segments, 0);
	assert_int_equal(taken(w, 0), before);
}

static void test_stopped(void **state)
{
	struct world *w = *state;
	struct compact_done done;
	uint64_t before = taken(w, 0);

	extent_compact_stop(pool_extents(w->f->p), (disk_id){1}, true);
	assert_int_equal(pass(w, 0, &done), DFS_EEND);
	assert_int_equal(taken(w, 0), before);
	extent_compact_stop(pool_extents(w->f->p), (disk_id){1}, false);
	assert_int_equal(pass(w, 0, &done), DFS_EEND);
	assert_true(taken(w, 0) < before);
}

/* A fragment that rots in a segment that goes is made anew from the others; and what can't be read is no loss of the rest. */
static void test_damaged_fragments(void **state)
{
	struct world *w = *state;
	struct fault_plan rotten = w->f->plans[0];
	struct compact_done done;

	rotten.read_flip = 1;
	dev_fault_set(w->f->faults[0], &rotten);
	assert_int_equal(pass(w, 0, &done), DFS_EEND);
	assert_int_equal(done.stuck, 0);
	assert_true(done.pass_segments > 0);
	dev_fault_set(w->f->faults[0], &w->f->plans[0]);
	expect_content(w);
}

/* The disk fails in the middle: nothing is lost, and nothing goes on there. */
static void test_disk_fails_meanwhile(void **state)
{
	struct world *w = *state;
	const struct fault_plan gone = {.gone = true};
	struct compact_done done;

	(void)!one_step(w, 1, &done);
	(void)!one_step(w, 1, &done);
	dev_fault_set(w->f->faults[1], &gone);
	(void)!pass(w, 1, &done);
	dev_fault_set(w->f->faults[1], &w->f->plans[1]);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	for (unsigned i = 0; i < EXTENTS; i++)
		if (w->is_there[i])
			assert_true(fixture_good(w->f, w->ids[i]) >= 2);
}

static struct job_status job(struct world *w, unsigned disk, unsigned *ret_count)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);
	struct job_status found = {0};

	*ret_count = 0;
	for (unsigned i = 0; i < n; i++)
		if (all[i].rec.kind == JOB_COMPACT && all[i].rec.disk.v == disk + 1) {
			found = all[i];
			++*ret_count;
		}
	return found;
}

static void wait_done(struct world *w, unsigned disk)
{
	unsigned count;

	for (unsigned i = 0; i < 3000 && job(w, disk, &count).rec.state != JOB_DONE; i++)
		env_sleep_ms(10);
	assert_int_equal(job(w, disk, &count).rec.state, JOB_DONE);
	assert_int_equal(count, 1);
}

/* W: one job for each disk, which begins again. */
static void test_job(void **state)
{
	struct world *w = *state;
	unsigned count;

	extent_compact_measure(pool_extents(w->f->p));
	w->jobs = jobs_load(w->f->p);
	jobs_start(w->jobs);
	for (unsigned i = 0; i < DISKS; i++)
		wait_done(w, i);
	expect_content(w);
	for (unsigned i = 0; i < EXTENTS; i++)
		if (w->is_there[i])
			drop(w, i);
	make_garbage(w);
	extent_compact_measure(pool_extents(w->f->p));
	for (unsigned i = 0; i < 500 && is_due(w, 0); i++)
		env_sleep_ms(10);
	assert_false(is_due(w, 0));
	wait_done(w, 0);
	expect_content(w);
	jobs_free(w->jobs);
	w->jobs = jobs_load(w->f->p);
	assert_int_equal(job(w, 0, &count).rec.state, JOB_DONE);
}

static void test_job_paused(void **state)
{
	struct world *w = *state;
	uint64_t before = taken(w, 2);
	unsigned count;

	w->jobs = jobs_load(w->f->p);
	extent_compact_stop(pool_extents(w->f->p), (disk_id){3}, true); /* until it is paused */
	extent_compact_measure(pool_extents(w->f->p));
	assert_int_not_equal(jobs_find(w->jobs, JOB_COMPACT, (disk_id){3}), 0);
	assert_int_equal(jobs_order(w->jobs, job(w, 2, &count).rec.id, JOB_ORDER_PAUSE), 0);
	jobs_start(w->jobs);
	wait_done(w, 0);
	(void)!pool_compact_now(w->f->p);
	assert_int_equal(taken(w, 2), before);
	assert_int_equal(job(w, 2, &count).rec.state, JOB_PAUSED);
	assert_int_equal(jobs_order(w->jobs, job(w, 2, &count).rec.id, JOB_ORDER_RESUME), 0);
	wait_done(w, 2);
	assert_true(taken(w, 2) < before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dead_space_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_where_holes_can_be_punched, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_full_segments_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash_between_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_segments_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_fails_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_job, setup, teardown),
		cmocka_unit_test_setup_teardown(test_job_paused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
