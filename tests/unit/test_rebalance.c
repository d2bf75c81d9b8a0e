/* SPDX-License-Identifier: Apache-2.0 */
/* Rebalancing (RB1..RB6): real directories with capacities, behind fault devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "jobs/jobs.h"
#include "unit/pool_fixture.h"

#define DISKS 4u
#define EXTENTS 60u
#define LEN KIB(512)
#define ROOM MIB(64)

struct world {
	struct fixture *f;
	struct jobs *jobs;
	struct rec_extent recs[EXTENTS];
	struct extent_level_plan plan;
};

static void put(struct world *w, unsigned i, struct geometry g)
{
	w->recs[i] = fixture_put(w->f, i, g, LEN);
}

static void set_rate(struct world *w, uint64_t bytes_per_s)
{
	fixture_set_rebuild(w->f, 3600, bytes_per_s);
}

static void fill(struct world *w, unsigned copies)
{
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){1, (uint8_t)(copies - 1)});
	fixture_sync(w->f);
	set_rate(w, 0);
}

static struct world *world_new(const uint64_t *capacities, const char *const *domains)
{
	struct world *w = calloc(1, sizeof(*w));

	w->f = fixture_new_of(DISKS, 0, NULL, capacities, domains);
	return w;
}

static int setup(void **state)
{
	static const uint64_t equal[DISKS] = {ROOM, ROOM, ROOM, ROOM};

	*state = world_new(equal, NULL);
	fill(*state, 3);
	return 0;
}

static int setup_uneven(void **state)
{
	static const uint64_t uneven[DISKS] = {2 * ROOM, ROOM / 3, ROOM / 3, ROOM / 3};

	*state = world_new(uneven, NULL);
	fill(*state, 2);
	return 0;
}

static int setup_racks(void **state)
{
	static const uint64_t equal[DISKS] = {ROOM, ROOM, ROOM, ROOM};
	static const char *const racks[DISKS] = {"a", "b", "c", "d"};

	*state = world_new(equal, racks);
	fill(*state, 3);
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

static void crash(struct world *w)
{
	stop(w);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
}

static disk_id add(struct world *w, const char *domain, uint64_t capacity)
{
	static unsigned nth;
	char path[160];
	struct pool_disk_spec spec = {.path = path, .domain = domain, .capacity_bytes = capacity};
	struct pool_message msg = {""};
	struct disk_info info;
	bool same;

	snprintf(path, sizeof(path), "%s/more%u", w->f->top, nth++);
	fixture_shell("mkdir %s", path);
	assert_int_equal(pool_add_disk(w->f->p, &spec, &info, &same, &msg), 0);
	return info.id;
}

static struct job_status job(struct world *w)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);

	while (n && all[n - 1].rec.kind != JOB_REBALANCE)
		n--;
	return n ? all[n - 1] : (struct job_status){0};
}

static void expect_state(struct world *w, uint8_t state)
{
	for (unsigned i = 0; i < 6000 && job(w).rec.state != state; i++)
		env_sleep_ms(10);
	assert_int_equal(job(w).rec.state, state);
}

static void expect_outcome(struct world *w, const char *outcome)
{
	struct job_status s = job(w);

	if (!strstr(s.reason, outcome))
		fprintf(stderr, "pass %u, %llu fragments: %s\n", s.rec.pass,
			(unsigned long long)s.rec.made, s.reason);
	assert_non_null(strstr(s.reason, outcome));
}

static uint64_t used(struct world *w, uint32_t disk)
{
	return (uint64_t)meta_counter(pool_meta(w->f->p), META_COUNT_DISK_USED + disk);
}

static const char *domain_of(struct world *w, disk_id id, char text[64])
{
	memcpy(text, disk_info(disk_get(pool_disks(w->f->p), id)).domain, 64);
	return text;
}

/* All is there, on disks and in domains of its own, and reads right. */
static void expect_whole(struct world *w)
{
	uint8_t *got = malloc(LEN);

	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;
		unsigned width;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		width = (unsigned)rec.k + rec.m;
		assert_int_equal(fixture_good(w->f, rec.id), width);
		for (unsigned a = 0; a < width; a++)
			for (unsigned b = 0; b < a; b++) {
				char x[64], y[64];

				assert_int_not_equal(rec.frags[a].disk.v, rec.frags[b].disk.v);
				if (*domain_of(w, rec.frags[a].disk, x))
					assert_string_not_equal(x,
								domain_of(w, rec.frags[b].disk, y));
			}
		assert_int_equal(extent_read(pool_extents(w->f->p), rec.id, 0, LEN, got), 0);
		assert_memory_equal(got, fixture_content(i, LEN), LEN);
	}
	free(got);
}

static uint64_t order(struct world *w, uint64_t rate)
{
	uint32_t id;

	assert_int_equal(jobs_rebalance(w->jobs, rate, &id), 0);
	return id;
}

static struct extent_level_plan *plan(struct world *w)
{
	assert_int_equal(extent_level_plan(pool_extents(w->f->p), &w->plan), 0);
	return &w->plan;
}

static void show(const struct extent_level *l)
{
	for (unsigned i = 0; i < l->count; i++)
		fprintf(stderr, "disk %u: %llu of %llu, %lld over, %llu slack\n", l->disks[i].id.v,
			(unsigned long long)l->disks[i].used_bytes,
			(unsigned long long)l->disks[i].usable_bytes,
			(long long)l->disks[i].over_bytes,
			(unsigned long long)l->disks[i].slack_bytes);
}

static uint64_t above(const struct extent_level *l)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < l->count; i++)
		sum += MAX(l->disks[i].over_bytes, 0);
	return (uint64_t)sum;
}

static void expect_level(struct world *w)
{
	if (!extent_level_is_reached(&plan(w)->now))
		show(&w->plan.now);
	assert_true(extent_level_is_reached(&w->plan.now));
}

/* ---- */

static void test_an_added_disk_gets_its_part(void **state)
{
	struct world *w = *state;
	uint64_t before = used(w, 1), planned;
	disk_id new = add(w, NULL, ROOM);

	assert_false(extent_level_is_reached(&plan(w)->now));
	assert_true(extent_level_is_reached(&w->plan.then));
	planned = w->plan.bytes;
	/* the least: what the fuller ones have too much, less what is tolerated */
	assert_true(planned >= extent_level_left(&w->plan.now));
	assert_true(planned <= above(&w->plan.now));
	assert_int_equal(used(w, 1), before);
	start(w);
	order(w, 0);
	expect_state(w, JOB_DONE);
	expect_outcome(w, "level: ");
	expect_whole(w);
	expect_level(w);
	assert_int_equal(w->plan.bytes, 0);
	assert_true(used(w, new.v) > 0);
	assert_true(used(w, new.v) <= planned + MIB(2));
	/* nothing is left to do: it ends at once, and moves nothing */
	before = used(w, new.v);
	order(w, 0);
	expect_state(w, JOB_DONE);
	assert_int_equal(used(w, new.v), before);
	assert_int_equal(job(w).rec.made, 0);
}

/* RB1: to that one, though others have more room. */
static void test_a_small_disk_gets_its_part(void **state)
{
	struct world *w = *state;
	disk_id new = add(w, NULL, ROOM / 3);

	start(w);
	order(w, 0);
	expect_state(w, JOB_DONE);
	expect_outcome(w, "level: ");
	assert_true(used(w, new.v) > 0);
	expect_level(w);
	expect_whole(w);
}

/* RB2: nothing moves that is of no use. */
static void test_what_gives(void **state)
{
	const int64_t half = 1000000, record = SEGMENT_ALIGN;
	struct extent_level l = {.count = 2,
				 .disks = {{.id = {1}, .slack_bytes = 2 * half},
					   {.id = {2}, .slack_bytes = 2 * half}}};

	(void)state;
	l.disks[0].over_bytes = half, l.disks[1].over_bytes = -half;
	assert_false(extent_level_gives(&l, (disk_id){1})); /* near enough */
	l.disks[0].over_bytes = half + 1;
	assert_true(extent_level_gives(&l, (disk_id){1}));
	assert_false(extent_level_gives(&l, (disk_id){2}));
	assert_true(extent_level_is_reached(&l));
	l.disks[1].over_bytes = -record + 1; /* a record would be too much for it */
	assert_false(extent_level_gives(&l, (disk_id){1}));
	l.disks[0].over_bytes = record - 1, l.disks[1].over_bytes = -2 * half - 1;
	assert_false(extent_level_gives(&l, (disk_id){1}));
	assert_false(extent_level_is_reached(&l));
	assert_int_equal(extent_level_left(&l), half + 1);
}

/* RB4: of two copies one is on the large disk, whatever is done. It ends, and says so. */
static void test_what_cannot_be_level_ends(void **state)
{
	struct world *w = *state;
	uint64_t before = used(w, 1);

	if (extent_level_is_reached(&plan(w)->now)) /* else there is nothing to see */
		fail_msg("%s", "it is level already");
	start(w);
	order(w, 0);
	expect_state(w, JOB_DONE);
	expect_outcome(w, "as level as it gets");
	assert_true(used(w, 1) <= before);
	expect_whole(w);
}

/* RB2: a new disk in a domain that has a disk already takes only what lies in that one, or in none of it. */
static void test_domains_stay_apart(void **state)
{
	struct world *w = *state;
	disk_id new = add(w, "a", ROOM);

	start(w);
	order(w, 0);
	expect_state(w, JOB_DONE);
	assert_true(used(w, new.v) > 0);
	expect_whole(w);
}

/* RB5: what is more urgent goes first. */
static void test_it_yields_to_a_disk_that_leaves(void **state)
{
	struct world *w = *state;
	struct pool_drain_plan drain;
	struct pool_message msg = {""};
	disk_id new = add(w, NULL, ROOM);

	set_rate(w, MIB(1));
	start(w);
	order(w, 0);
	assert_int_equal(pool_drain(w->f->p, w->f->disk[1], false, &drain, &msg), 0);
	expect_state(w, JOB_WAITING);
	assert_non_null(strstr(job(w).reason, "first"));
	set_rate(w, 0);
	expect_state(w, JOB_DONE);
	assert_true(meta_has_given_up(pool_meta(w->f->p), (disk_id){2}));
	assert_true(used(w, new.v) > 0);
	expect_whole(w);
}

static void test_it_goes_on_after_crashes(void **state)
{
	struct world *w = *state;
	disk_id new = add(w, NULL, ROOM);
	uint64_t id;

	start(w);
	id = order(w, MIB(4));
	for (unsigned i = 0; i < 3; i++) {
		env_sleep_ms(1300);
		if (job(w).rec.state == JOB_DONE) /* a slow machine */
			break;
		assert_int_equal(job(w).rec.state, JOB_RUNNING);
		assert_int_equal(meta_sync(pool_meta(w->f->p), meta_last_seq(pool_meta(w->f->p))),
				 0);
		crash(w);
		start(w);
		assert_int_equal(job(w).rec.id, id);
		assert_int_equal(job(w).rec.bytes_per_s, MIB(4));
		expect_whole(w);
	}
	expect_state(w, JOB_DONE);
	assert_true(used(w, new.v) > 0);
	expect_level(w);
	expect_whole(w);
}

static void test_orders(void **state)
{
	struct world *w = *state;
	disk_id new = add(w, NULL, ROOM);
	uint32_t id, other;
	uint64_t then;

	start(w);
	id = (uint32_t)order(w, MIB(2));
	assert_int_equal(jobs_rebalance(w->jobs, 0, &other), DFS_EBUSY);
	assert_int_equal(other, id);
	for (unsigned i = 0; i < 1000 && !used(w, new.v); i++)
		env_sleep_ms(10);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_PAUSE), 0);
	env_sleep_ms(1500);
	then = used(w, new.v);
	env_sleep_ms(1500);
	assert_int_equal(used(w, new.v), then);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_RESUME), 0);
	for (unsigned i = 0; i < 1000 && used(w, new.v) == then; i++)
		env_sleep_ms(10);
	assert_true(used(w, new.v) > then);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_CANCEL), 0);
	assert_int_equal(job(w).rec.state, JOB_CANCELLED);
	expect_whole(w);
	order(w, 0);
	expect_state(w, JOB_DONE);
	expect_whole(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_an_added_disk_gets_its_part, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_small_disk_gets_its_part, setup, teardown),
		cmocka_unit_test(test_what_gives),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_level_ends, setup_uneven,
						teardown),
		cmocka_unit_test_setup_teardown(test_domains_stay_apart, setup_racks, teardown),
		cmocka_unit_test_setup_teardown(test_it_yields_to_a_disk_that_leaves, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_on_after_crashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orders, setup, teardown),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
