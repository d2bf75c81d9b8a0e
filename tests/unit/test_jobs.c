/* SPDX-License-Identifier: Apache-2.0 */
/* Background work, and the rebuild of lost disks (W1..W4, R1..R5): real directories behind fault devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jobs/jobs.h"
#include "unit/pool_fixture.h"
#include "jobs/internal.h"

#define DISKS 7u
#define EXTENTS 160u
#define LEN KIB(16)

struct world {
	struct fixture *f;
	struct jobs *jobs;
	struct rec_extent recs[EXTENTS];
};

static void put(struct world *w, unsigned i, struct geometry g)
{
	w->recs[i] = fixture_put(w->f, i, g, LEN);
}

static void set(struct world *w, uint64_t after_s, uint64_t bytes_per_s)
{
	fixture_set_rebuild(w->f, after_s, bytes_per_s);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->f = fixture_new(DISKS, 0, NULL);
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){i % 2 ? 4 : 1, i % 2 || i % 6 ? 2 : 3});
	fixture_sync(w->f);
	set(w, 0, 0);
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

static void start(struct world *w)
{
	w->jobs = jobs_load(w->f->p);
	jobs_start(w->jobs);
}

static void stop(struct world *w)
{
	jobs_free(w->jobs);
	w->jobs = NULL;
}

/* The newest job; {0}: there is none. */
static struct job_status newest(struct world *w)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);

	return n ? all[n - 1] : (struct job_status){0};
}

static bool is_in(struct world *w, uint8_t state)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);

	for (unsigned i = 0; i < n; i++)
		if (all[i].rec.state != state)
			return false;
	return n > 0;
}

static void expect_soon(struct world *w, uint8_t state, unsigned s)
{
	for (unsigned i = 0; i < 100 * s && !is_in(w, state); i++)
		env_sleep_ms(10);
	assert_true(is_in(w, state));
}

static void expect_all(struct world *w, uint8_t state) { expect_soon(w, state, 30); }

static void give_up(struct world *w, unsigned disk)
{
	struct pool_message msg;
	struct disk_info info;

	assert_int_equal(pool_fail_disk(w->f->p, w->f->disk[disk], true, &info, &msg), 0);
}

static void take_away(struct world *w, unsigned disk)
{
	const struct fault_plan gone = {.gone = true};
	struct disk *d = disk_at(pool_disks(w->f->p), disk);

	dev_fault_set(w->f->faults[disk], &gone);
	disk_set_state(d, DISK_FAILED);
}

static void bring_back(struct world *w, unsigned disk)
{
	const struct fault_plan fine = {0};

	dev_fault_set(w->f->faults[disk], &fine);
	disk_set_state(disk_at(pool_disks(w->f->p), disk), DISK_HEALTHY);
}

static unsigned width(const struct rec_extent *rec) { return (unsigned)rec->k + rec->m; }

/* All extents have all their fragments on disks that are there, apart from each other, and read right. */
static void expect_whole(struct world *w)
{
	uint8_t *got = malloc(LEN);

	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		assert_int_equal(fixture_good(w->f, rec.id), width(&rec));
		for (unsigned a = 0; a < width(&rec); a++)
			for (unsigned b = 0; b < a; b++)
				assert_int_not_equal(rec.frags[a].disk.v, rec.frags[b].disk.v);
		assert_int_equal(extent_read(pool_extents(w->f->p), rec.id, 0, LEN, got), 0);
		assert_memory_equal(got, fixture_content(i, LEN), LEN);
	}
	free(got);
}

static unsigned whole(struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < EXTENTS; i++)
		n += fixture_good(w->f, w->recs[i].id) == width(&w->recs[i]);
	return n;
}

static uint64_t used(struct world *w, unsigned disk)
{
	return (uint64_t)meta_counter(pool_meta(w->f->p), META_COUNT_DISK_USED + disk + 1);
}

static uint64_t made(struct world *w)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += all[i].rec.made;
	return sum;
}

static void expect_begun(struct world *w)
{
	for (unsigned i = 0; i < 3000 && !made(w); i++)
		env_sleep_ms(10);
	assert_true(made(w) > 0);
}

/* ---- what is rebuilt ---- */

static void test_a_disk_that_was_given_up_is_rebuilt(void **state)
{
	struct world *w = *state;

	give_up(w, 2);
	assert_true(used(w, 2) > 0);
	start(w);
	expect_all(w, JOB_DONE);
	expect_whole(w);
	assert_int_equal(used(w, 2), 0);
	assert_true(newest(w).rec.made > 0);
	assert_int_equal(newest(w).left_bytes, 0);
}

/* Not before it has been away for the setting, and then without any order. */
static void test_a_disk_that_stays_away_is_rebuilt(void **state)
{
	struct world *w = *state;

	set(w, 3600, 0);
	take_away(w, 3);
	start(w);
	expect_all(w, JOB_WAITING);
	env_sleep_ms(1200);
	assert_true(is_in(w, JOB_WAITING));
	assert_true(used(w, 3) > 0);
	assert_true(whole(w) < EXTENTS);
	set(w, 1, 0);
	expect_all(w, JOB_DONE);
	expect_whole(w);
}

/* R3: its job ends; what was not moved counts there again. */
static void test_a_disk_that_comes_back_ends_its_rebuild(void **state)
{
	struct world *w = *state;

	set(w, 3600, 0);
	take_away(w, 3);
	start(w);
	expect_all(w, JOB_WAITING);
	bring_back(w, 3);
	for (unsigned i = 0; i < 500 && newest(w).rec.id; i++)
		env_sleep_ms(10);
	assert_int_equal(newest(w).rec.id, 0);
	assert_false(extent_is_without(pool_extents(w->f->p), (disk_id){4}));
	expect_whole(w);
	assert_true(used(w, 3) > 0);
}

static void expect_newest(struct world *w, uint8_t state)
{
	for (unsigned i = 0; i < 3000 && newest(w).rec.state != state; i++)
		env_sleep_ms(10);
	assert_int_equal(newest(w).rec.state, state);
}

/* Of seven, so five are left, and 4+2 needs six: the copies are whole, of the others one fragment is restored. */
static void test_two_lost_disks(void **state)
{
	struct world *w = *state;
	uint64_t before;

	give_up(w, 0);
	give_up(w, 1);
	start(w);
	before = used(w, 0) + used(w, 1);
	expect_newest(w, JOB_WAITING); /* W3 */
	assert_true(used(w, 0) + used(w, 1) < before);
	for (unsigned i = 0; i < EXTENTS; i += 2)
		assert_int_equal(fixture_good(w->f, w->recs[i].id), width(&w->recs[i]));
	assert_true(newest(w).rec.stuck > 0);
	assert_true(strstr(newest(w).reason, "could not be restored") != NULL);
}

/* It goes on by itself as soon as there is a disk more. */
static void test_it_goes_on_when_a_disk_is_added(void **state)
{
	struct world *w = *state;
	struct pool_disk_spec spec = {0};
	struct pool_message msg;
	struct disk_info info;
	char path[128];
	bool same;

	give_up(w, 0);
	give_up(w, 1);
	start(w);
	expect_newest(w, JOB_WAITING);
	snprintf(path, sizeof(path), "%s/more", w->f->top);
	fixture_shell("mkdir %s", path);
	spec.path = path;
	assert_int_equal(pool_add_disk(w->f->p, &spec, &info, &same, &msg), 0);
	expect_soon(w, JOB_DONE, 20); /* not by its next try, which is 30 s after the first */
	expect_whole(w);
}

/* R4: what does not bear another loss comes first. */
static bool is_on(const struct rec_extent *rec, unsigned disk)
{
	for (unsigned i = 0; i < width(rec); i++)
		if (rec->frags[i].disk.v == disk + 1)
			return true;
	return false;
}

/* A disk that has copies of some, and only some, of what has three copies, one of them on the first. */
static unsigned partner(struct world *w)
{
	for (unsigned disk = 1; disk < DISKS; disk++) {
		unsigned both = 0, alone = 0;

		for (unsigned i = 0; i < EXTENTS; i++)
			if (width(&w->recs[i]) == 3 && is_on(&w->recs[i], 0)) {
				both += is_on(&w->recs[i], disk);
				alone += !is_on(&w->recs[i], disk);
			}
		if (both && alone)
			return disk;
	}
	fail_msg("all copies lie in the same threes");
	return 0;
}

static bool has_moved(struct world *w, const struct rec_extent *old)
{
	struct rec_extent rec;
	bool moved = false;

	assert_int_equal(get_extent(pool_meta(w->f->p), old->id, &rec), 0);
	for (unsigned i = 0; i < width(old); i++)
		moved |= old->frags[i].disk.v != rec.frags[i].disk.v;
	return moved;
}

/* As soon as one that bears another loss has moved, all those have that don't, and for which there is a disk: the
 * copies. */
static void test_the_most_endangered_first(void **state)
{
	struct world *w = *state;
	unsigned other = partner(w), waited = 0;
	bool second = false;

	give_up(w, 0);
	take_away(w, other);  /* not rebuilt yet: it may come back */
	set(w, 3600, MIB(1)); /* in some steps */
	start(w);
	while (!second && waited++ < 3000) {
		env_sleep_ms(10);
		for (unsigned i = 0; i < EXTENTS; i++)
			second |= !is_on(&w->recs[i], other) && has_moved(w, &w->recs[i]);
	}
	assert_true(second);
	for (unsigned i = 0; i < EXTENTS; i++) {
		const struct rec_extent *old = &w->recs[i];

		if (old->k == 1 && width(old) == 3 && is_on(old, 0) && is_on(old, other))
			assert_true(has_moved(w, old));
	}
}

/* W4: after what a step has written it rests for as long as that may take. */
static void test_the_rate_is_kept(void **state)
{
	struct world *w = *state;

	set(w, 0, KIB(1));
	give_up(w, 2);
	start(w);
	expect_begun(w);
	env_sleep_ms(700);
	assert_true(used(w, 2) > 0);
	assert_true(newest(w).rec.made < EXTENTS / 2);
}

/* E4, when not all that is wanted finds a place: two disks of seven are done without, and what a third one has is in doubt. */
static void test_no_two_fragments_on_one_disk(void **state)
{
	struct world *w = *state;
	struct extent_store *s = pool_extents(w->f->p);

	give_up(w, 0);
	give_up(w, 1);
	extent_do_without(s, (disk_id){1}, true);
	extent_do_without(s, (disk_id){2}, true);
	for (uint32_t segment = 1; segment < 4; segment++) {
		const struct disk_doubt doubt = {.segment = segment};
		uint32_t from = 0;
		bool failed;

		while (extent_move_doubtful(s, (disk_id){3}, &doubt, 16, &from, &failed) == 0)
			;
	}
	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		for (unsigned a = 0; a < width(&rec); a++)
			for (unsigned b = 0; b < a; b++)
				assert_int_not_equal(rec.frags[a].disk.v, rec.frags[b].disk.v);
	}
}

/* What is named twice is made anew once: each disk's `used` is what the extents have there. */
static void test_one_extent_named_twice(void **state)
{
	struct world *w = *state;
	struct repair_item items[2 * EXTENTS] = {0};
	uint64_t sums[DISKS + 1] = {0};

	give_up(w, 0);
	extent_do_without(pool_extents(w->f->p), (disk_id){1}, true);
	for (unsigned i = 0; i < 2 * EXTENTS; i++)
		items[i].id = w->recs[i / 2].id;
	extent_rebuild(pool_extents(w->f->p), items, 2 * EXTENTS, 4);
	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		for (unsigned j = 0; j < width(&rec); j++)
			sums[rec.frags[j].disk.v] += rec.frags[j].record_len;
	}
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(used(w, i), sums[i + 1]);
	expect_whole(w);
}

/* ---- users ---- */

#define MS 1000000ull

/* What is told of users counts, and they are not kept waiting for longer than they are kept at all. */
static void test_it_yields_to_users(void **state)
{
	struct world *w = *state;
	struct users *u = pool_users(w->f->p);
	struct jobs *j = xcalloc(1, sizeof(*j));

	j->p = w->f->p;
	yield_look(j);
	assert_true(yield_budget(j, 0).extents > 64 && yield_budget(j, 0).lanes > 1);
	yield_after(j, false, 10 * MS);
	assert_int_equal(yield_rest_ns(j, false), 0); /* nobody is there */

	users_enter(u);
	env_sleep_ms(60);
	yield_look(j);
	assert_true(yield_budget(j, 0).extents <= 8 && yield_budget(j, 0).lanes == 1);
	assert_int_equal(yield_budget(j, MIB(8)).extents, 1);
	yield_after(j, false, 500 * MS);
	assert_in_range(yield_rest_ns(j, false), 700 * MS, 1000 * MS); /* Y3 */
	assert_int_equal(yield_rest_ns(j, true), 0); /* what is urgent does not wait for it */
	yield_after(j, true, 200 * MS);
	assert_in_range(yield_rest_ns(j, true), 50 * MS, 200 * MS);
	yield_after(j, true, 9000 * MS);
	assert_in_range(yield_rest_ns(j, true), 100 * MS, 250 * MS);
	users_leave(u);

	env_sleep_ms(700);
	yield_after(j, false, 900 * MS);
	env_sleep_ms(400);
	yield_look(j);
	assert_int_equal(yield_rest_ns(j, false), 0); /* Y4 */
	free(j);
}

/* Y3: users who never stop don't keep it from its end. */
static void test_it_goes_on_beside_users(void **state)
{
	struct world *w = *state;

	users_enter(pool_users(w->f->p));
	give_up(w, 0);
	set(w, 0, 0);
	start(w);
	expect_all(w, JOB_DONE);
	users_leave(pool_users(w->f->p));
	expect_whole(w);
}

/* ---- orders, restarts ---- */

static void test_orders(void **state)
{
	struct world *w = *state;
	uint32_t id;

	give_up(w, 2);
	set(w, POOL_REBUILD_NEVER, 0);
	start(w);
	env_sleep_ms(1300);
	assert_int_equal(newest(w).rec.id, 0); /* by the setting */
	set(w, 0, 1);
	expect_all(w, JOB_RUNNING);
	id = newest(w).rec.id;
	assert_int_equal(jobs_order(w->jobs, id + 7, JOB_ORDER_PAUSE), DFS_ENOENT);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_RESUME), DFS_EINVAL);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_PAUSE), 0);
	assert_int_equal(newest(w).rec.state, JOB_PAUSED);
	for (unsigned i = 0; i < 500 && extent_is_without(pool_extents(w->f->p), (disk_id){3}); i++)
		env_sleep_ms(10);
	assert_false(extent_is_without(pool_extents(w->f->p), (disk_id){3})); /* nor by the way */
	/* paused it stays, also after a crash */
	stop(w);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	set(w, 0, 0);
	start(w);
	env_sleep_ms(1300);
	assert_int_equal(newest(w).rec.state, JOB_PAUSED);
	assert_true(used(w, 2) > 0);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_CANCEL), 0);
	env_sleep_ms(1300);
	assert_int_equal(newest(w).rec.state, JOB_CANCELLED); /* and no other is begun */
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_RESUME), 0);
	expect_all(w, JOB_DONE);
	expect_whole(w);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_CANCEL), DFS_EINVAL);
}

/* W1: it goes on where it was, and after a crash does at most a little twice. */
static void test_it_outlives_a_crash(void **state)
{
	struct world *w = *state;
	struct job_status before;

	give_up(w, 2);
	start(w);
	for (unsigned i = 0; i < 1000 && used(w, 2) != 0; i++)
		env_sleep_ms(1);
	stop(w);
	w->jobs = jobs_load(w->f->p);
	before = newest(w);
	stop(w);
	fixture_sync(w->f);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	w->jobs = jobs_load(w->f->p);
	assert_int_equal(newest(w).rec.id, before.rec.id);
	assert_int_equal(newest(w).rec.made, before.rec.made);
	jobs_start(w->jobs);
	expect_all(w, JOB_DONE);
	expect_whole(w);
}

/* What waited before a restart tries again at once, and no clock that was set stops it. */
static void test_what_waited_goes_on_after_a_restart(void **state)
{
	struct world *w = *state;
	struct meta *m = pool_meta(w->f->p);
	struct rec_job rec = {.id = 9, .kind = JOB_REBUILD, .state = JOB_WAITING, .disk = {3}};
	struct meta_txn *t = meta_begin(m);
	uint64_t seq;

	rec.created_ns = rec.changed_ns = env_wall_ns() + 86400000000000ull;
	rec.due_ns = rec.changed_ns;
	rec.total_bytes = used(w, 2);
	put_job(t, &rec);
	assert_int_equal(meta_commit(t, &seq), 0);
	give_up(w, 2);
	start(w);
	expect_soon(w, JOB_DONE, 20);
	assert_int_equal(newest(w).rec.id, 9);
	expect_whole(w);
}

/* C3: what is left of the journal is for what takes away. */
static void test_a_full_pool_directory_is_not_rebuilt_in(void **state)
{
	const struct fault_plan full = {.most_free = 4096}, none = {0};
	struct world *w = *state;
	unsigned repaired;
	uint64_t before;

	dev_fault_set(w->f->dir_fault, &full);
	for (unsigned i = 0; i < 500 && pool_may_grow(w->f->p); i++)
		env_sleep_ms(10);
	assert_false(pool_may_grow(w->f->p));
	give_up(w, 2);
	extent_do_without(pool_extents(w->f->p), (disk_id){3}, true);
	before = used(w, 2);
	for (unsigned i = 0; i < 20; i++) {
		int err = extent_repair(pool_extents(w->f->p), w->recs[i].id, &repaired);

		assert_true(err == (is_on(&w->recs[i], 2) ? DFS_ENOSPC : 0));
		assert_int_equal(repaired, 0);
	}
	start(w);
	for (unsigned i = 0; i < 3000 && !strstr(newest(w).reason, "pool directory"); i++)
		env_sleep_ms(10);
	assert_non_null(strstr(newest(w).reason, "pool directory"));
	assert_int_equal(used(w, 2), before);
	dev_fault_set(w->f->dir_fault, &none);
	expect_soon(w, JOB_DONE, 20);
	expect_whole(w);
}

/* ---- a read that has to do without ---- */

static void test_reads_rebuild_what_they_decode(void **state)
{
	struct world *w = *state;
	struct extent_store *s = pool_extents(w->f->p);
	uint8_t *got = malloc(LEN);
	unsigned healed = 0;

	give_up(w, 2);
	for (unsigned i = 1; i < EXTENTS; i += 2) /* nobody does without it yet: only decoded */
		assert_int_equal(extent_read(s, w->recs[i].id, 0, LEN, got), 0);
	env_sleep_ms(100);
	assert_int_equal(extent_stats(s).fragments_healed, 0);
	extent_do_without(s, (disk_id){3}, true);
	for (unsigned i = 1; i < EXTENTS; i += 2)
		assert_int_equal(extent_read(s, w->recs[i].id, 0, LEN, got), 0);
	for (unsigned n = 0; n < 500 && !extent_stats(s).fragments_healed; n++)
		env_sleep_ms(10);
	for (unsigned n = 0; n < 500 && extent_stats(s).heal_queue; n++)
		env_sleep_ms(10);
	env_sleep_ms(200);
	for (unsigned i = 1; i < EXTENTS; i += 2) {
		const struct rec_extent *old = &w->recs[i];
		bool data = false;

		for (unsigned j = 0; j < old->k; j++)
			data |= old->frags[j].disk.v == 3;
		if (data) { /* else the read had no need of it */
			assert_int_equal(fixture_good(w->f, old->id), width(old));
			healed++;
		}
	}
	assert_true(healed > 0);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_disk_that_was_given_up_is_rebuilt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_stays_away_is_rebuilt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_comes_back_ends_its_rebuild, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_two_lost_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_on_when_a_disk_is_added, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_the_most_endangered_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_rate_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_two_fragments_on_one_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_extent_named_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_yields_to_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_on_beside_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orders, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_outlives_a_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_waited_goes_on_after_a_restart, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_full_pool_directory_is_not_rebuilt_in, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_reads_rebuild_what_they_decode, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
