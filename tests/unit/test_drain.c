/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that leave (DR1..DR7): real directories behind fault devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "jobs/jobs.h"
#include "unit/pool_fixture.h"

#define DISKS 7u
#define EXTENTS 120u
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

static void set_rate(struct world *w, uint64_t bytes_per_s)
{
	fixture_set_rebuild(w->f, 3600, bytes_per_s);
}

static struct world *world_new(unsigned disks, uint8_t wide)
{
	struct world *w = calloc(1, sizeof(*w));

	w->f = fixture_new(disks, 0, NULL);
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){i % 2 ? wide : 1, 2});
	fixture_sync(w->f);
	set_rate(w, 0);
	return w;
}

static int setup(void **state)
{
	*state = world_new(DISKS, 4);
	return 0;
}

static int setup_four(void **state)
{
	*state = world_new(4, 1);
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

static struct disk *disk_of(struct world *w, unsigned disk)
{
	return disk_get(pool_disks(w->f->p), (disk_id){disk + 1});
}

static int drain(struct world *w, unsigned disk, bool force)
{
	struct pool_drain_plan plan;
	struct pool_message msg = {""};
	int err = pool_drain(w->f->p, w->f->disk[disk], force, &plan, &msg);

	if (err && getenv("VERBOSE"))
		fprintf(stderr, "%s\n", msg.text);
	return err;
}

/* The newest job of that kind; {0}: there is none. */
static struct job_status job(struct world *w, uint8_t kind)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);

	while (n && all[n - 1].rec.kind != kind)
		n--;
	return n ? all[n - 1] : (struct job_status){0};
}

static void expect_state(struct world *w, uint8_t state)
{
	for (unsigned i = 0; i < 3000 && job(w, JOB_DRAIN).rec.state != state; i++)
		env_sleep_ms(10);
	if (job(w, JOB_DRAIN).rec.state != state)
		fprintf(stderr, "state %u: %s\n", job(w, JOB_DRAIN).rec.state,
			job(w, JOB_DRAIN).reason);
	assert_int_equal(job(w, JOB_DRAIN).rec.state, state);
}

static unsigned width(const struct rec_extent *rec) { return (unsigned)rec->k + rec->m; }

static bool names(struct world *w, unsigned disk)
{
	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		for (unsigned j = 0; j < width(&rec); j++)
			if (rec.frags[j].disk.v == disk + 1)
				return true;
	}
	return false;
}

static void expect_reads(struct world *w)
{
	uint8_t *got = malloc(LEN);

	for (unsigned i = 0; i < EXTENTS; i++) {
		assert_int_equal(extent_read(pool_extents(w->f->p), w->recs[i].id, 0, LEN, got), 0);
		assert_memory_equal(got, fixture_content(i, LEN), LEN);
	}
	free(got);
}

static void expect_whole(struct world *w)
{
	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		assert_int_equal(fixture_good(w->f, rec.id), width(&rec));
		for (unsigned a = 0; a < width(&rec); a++)
			for (unsigned b = 0; b < a; b++)
				assert_int_not_equal(rec.frags[a].disk.v, rec.frags[b].disk.v);
	}
	expect_reads(w);
}

static uint64_t used(struct world *w, unsigned disk)
{
	return (uint64_t)meta_counter(pool_meta(w->f->p), META_COUNT_DISK_USED + disk + 1);
}

/* Nothing names it, in the index, in the pool, on itself. */
static void expect_gone(struct world *w, unsigned disk)
{
	struct pool_disk_status *s = calloc(1, sizeof(*s));
	struct meta *m = pool_meta(w->f->p);
	const disk_id id = {disk + 1};
	struct rec_disk rec;

	assert_int_equal(get_disk(m, id, &rec), DFS_ENOENT);
	assert_false(names(w, disk));
	assert_int_equal(used(w, disk), 0);
	assert_false(meta_is_member(m, id));
	assert_int_equal(meta_disk_bytes(m, id), 0);
	assert_true(meta_has_given_up(m, id));
	for (unsigned i = 0; pool_disk_status(w->f->p, i, s); i++)
		assert_int_not_equal(s->info.id.v, id.v);
	free(s);
}

static void expect_leaves(struct world *w, unsigned disk)
{
	for (unsigned i = 0;
	     i < 3000 && !meta_has_given_up(pool_meta(w->f->p), (disk_id){disk + 1}); i++)
		env_sleep_ms(10);
	expect_gone(w, disk);
}

static void add(struct world *w, const char *path)
{
	struct pool_disk_spec spec = {.path = path};
	struct pool_message msg = {""};
	struct disk_info info;
	bool same;
	int err = pool_add_disk(w->f->p, &spec, &info, &same, &msg);

	if (err)
		fprintf(stderr, "%s\n", msg.text);
	assert_int_equal(err, 0);
}

/* ---- what moves ---- */

static unsigned members(struct world *w)
{
	unsigned n = 0;

	for (uint32_t id = 1; id <= DISKS; id++)
		n += meta_is_member(pool_meta(w->f->p), (disk_id){id});
	return n;
}

static void test_a_disk_leaves(void **state)
{
	struct world *w = *state;

	start(w);
	assert_true(meta_is_member(pool_meta(w->f->p), (disk_id){3}));
	assert_int_equal(drain(w, 2, false), 0);
	assert_int_equal(disk_state(disk_of(w, 2)), DISK_DRAINING);
	assert_int_equal(drain(w, 2, false), DFS_EEXIST);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 2);
	assert_int_equal(drain(w, 2, false), DFS_ENODISK);
	fixture_shell("grep -q '\"state\": *\"removed\"' %s/dynamicfs/disk.json", w->f->disk[2]);
	fixture_shell("test ! -e %s/dynamicfs/meta/roots", w->f->disk[2]);
	/* also for the next mount */
	stop(w);
	assert_int_equal(pool_close(w->f->p), 0);
	fixture_reopen(w->f);
	start(w);
	expect_whole(w);
	expect_gone(w, 2);
	assert_int_equal(job(w, JOB_DRAIN).rec.state, JOB_DONE);
	/* the same directory again, as a new disk */
	add(w, w->f->disk[2]);
	assert_int_equal(disk_info(disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1})).id.v,
			 DISKS + 1);
	expect_whole(w);
}

/* Also while it is in use, to the same process. */
static void test_its_directory_is_free_at_once(void **state)
{
	struct world *w = *state;

	start(w);
	assert_int_equal(drain(w, 0, false), 0);
	expect_state(w, JOB_DONE);
	add(w, w->f->disk[0]);
	assert_int_equal(drain(w, 1, false), 0);
	expect_leaves(w, 1);
	expect_whole(w);
	expect_gone(w, 0);
}

/* DR1: what is written meanwhile goes elsewhere. */
static void test_nothing_new_goes_there(void **state)
{
	struct world *w = *state;

	assert_int_equal(drain(w, 3, false), 0);
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){i % 2 ? 4 : 1, 2});
	assert_false(names(w, 3));
	disk_set_state(disk_of(w, 3), DISK_SUSPECT);
	disk_set_state(disk_of(w, 3), DISK_HEALTHY);
	assert_int_equal(disk_state(disk_of(w, 3)), DISK_DRAINING);
	crash(w);
	assert_int_equal(disk_state(disk_of(w, 3)), DISK_DRAINING);
}

static void take_away(struct world *w, unsigned disk)
{
	const struct fault_plan gone = {.gone = true};

	dev_fault_set(w->f->faults[disk], &gone);
	disk_set_state(disk_of(w, disk), DISK_FAILED);
}

/* DR3: a record that was reserved before the order, whether its disk is still there or not. */
static void wait_for_what_is_in_flight(struct world *w, bool goes_away)
{
	struct record_piece piece = {.len = LEN};
	struct extent_new e = {.ino = {7},
			       .data = fixture_content(0, LEN),
			       .len = LEN,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = {1, 2}};
	struct extent_store *s = pool_extents(w->f->p);
	struct meta_txn *t;
	unsigned disk;
	uint64_t seq;

	assert_int_equal(extent_write(s, &e, 1), 0);
	disk = e.rec.frags[0].disk.v - 1;
	start(w);
	assert_int_equal(drain(w, disk, false), 0);
	if (goes_away)
		take_away(w, disk);
	for (unsigned i = 0; i < 3000 && used(w, disk); i++)
		env_sleep_ms(10);
	env_sleep_ms(1200);
	assert_int_equal(job(w, JOB_DRAIN).rec.state, JOB_RUNNING);
	t = meta_begin(pool_meta(w->f->p));
	extent_publish(t, &e);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(s, &e, 1, true);
	w->recs[0] = e.rec;
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, disk);
}

static void test_what_is_in_flight_is_waited_for(void **state)
{
	wait_for_what_is_in_flight(*state, false);
}

static void test_nor_forgotten_with_a_dead_disk(void **state)
{
	wait_for_what_is_in_flight(*state, true);
}

/* ---- the disk is dead, or dies ---- */

static void test_a_disk_that_dies_meanwhile_is_rebuilt(void **state)
{
	struct world *w = *state;

	set_rate(w, MIB(1));
	start(w);
	assert_int_equal(drain(w, 4, false), 0);
	expect_state(w, JOB_RUNNING);
	take_away(w, 4);
	set_rate(w, 0);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 4);
	assert_int_equal(job(w, JOB_REBUILD).rec.id, 0);
}

static void test_a_failed_disk_can_be_removed(void **state)
{
	struct world *w = *state;
	struct pool_message msg;
	struct disk_info info;

	assert_int_equal(pool_fail_disk(w->f->p, w->f->disk[5], true, &info, &msg), 0);
	assert_int_equal(drain(w, 5, false), 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 5);
}

/* Given up in the middle, it leaves all the same. */
static void test_failed_while_it_leaves(void **state)
{
	struct world *w = *state;
	struct pool_message msg;
	struct disk_info info;

	assert_int_equal(drain(w, 5, false), 0);
	assert_int_equal(pool_fail_disk(w->f->p, w->f->disk[5], true, &info, &msg), 0);
	crash(w);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 5);
}

/* Another one is lost meanwhile: what lay on both is decoded. Copies only, since 4+2 needs six. */
static void test_another_disk_fails_meanwhile(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){1, 2});
	assert_int_equal(drain(w, 1, true), 0);
	take_away(w, 2);
	start(w);
	for (unsigned i = 0; i < 3000 && names(w, 1); i++)
		env_sleep_ms(10);
	assert_false(names(w, 1));
	expect_reads(w);
}

/* ---- orders, crashes ---- */

static void test_it_can_be_cancelled(void **state)
{
	struct world *w = *state;
	uint64_t before;
	uint32_t id;

	set_rate(w, 1);
	before = used(w, 2);
	start(w);
	assert_int_equal(drain(w, 2, false), 0);
	expect_state(w, JOB_RUNNING);
	for (unsigned i = 0; i < 1000 && used(w, 2) == before; i++)
		env_sleep_ms(10);
	id = jobs_find(w->jobs, JOB_DRAIN, (disk_id){3});
	assert_int_equal(id, job(w, JOB_DRAIN).rec.id);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_CANCEL), 0);
	assert_int_equal(job(w, JOB_DRAIN).rec.state, JOB_CANCELLED);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_RESUME), DFS_EINVAL);
	assert_int_equal(disk_state(disk_of(w, 2)), DISK_HEALTHY);
	assert_false(extent_is_without(pool_extents(w->f->p), (disk_id){3}));
	expect_whole(w);
	assert_true(used(w, 2) > 0);
	crash(w);
	start(w);
	env_sleep_ms(1200);
	assert_int_equal(disk_state(disk_of(w, 2)), DISK_HEALTHY);
	expect_whole(w);
	set_rate(w, 0);
	assert_int_equal(drain(w, 2, false), 0); /* and then again */
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 2);
}

static void test_it_goes_on_after_crashes(void **state)
{
	struct world *w = *state;

	set_rate(w, KIB(600));
	assert_int_equal(drain(w, 3, false), 0);
	for (unsigned i = 0; i < 3; i++) {
		start(w);
		env_sleep_ms(300);
		fixture_sync(w->f);
		crash(w);
		expect_whole(w);
	}
	set_rate(w, 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 3);
}

static void test_a_paused_one_stays(void **state)
{
	struct world *w = *state;
	uint32_t id;

	assert_int_equal(drain(w, 3, false), 0);
	w->jobs = jobs_load(w->f->p);
	id = jobs_find(w->jobs, JOB_DRAIN, (disk_id){4});
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_PAUSE), 0);
	crash(w);
	start(w);
	env_sleep_ms(1200);
	assert_int_equal(job(w, JOB_DRAIN).rec.state, JOB_PAUSED);
	assert_true(used(w, 3) > 0);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_RESUME), 0);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 3);
}

/* DR4: the record is gone, and power goes before the others are told; the next opening goes on. A record in flight keeps
 * it from the end until then. */
static void test_a_crash_at_the_end(void **state)
{
	struct record_piece piece = {.len = LEN};
	struct extent_new e = {.ino = {7},
			       .data = fixture_content(0, LEN),
			       .len = LEN,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = {1, 2}};
	struct world *w = *state;
	struct meta *m = pool_meta(w->f->p);
	struct meta_txn *t;
	unsigned disk;
	uint64_t seq;

	assert_int_equal(extent_write(pool_extents(w->f->p), &e, 1), 0);
	disk = e.rec.frags[0].disk.v - 1;
	assert_int_equal(drain(w, disk, false), 0);
	start(w);
	for (unsigned i = 0;
	     i < 3000 &&
	     (used(w, disk) || members(w) < 4 || /* DR6: another one has the journal, too */
	      meta_disk_bytes(m, (disk_id){disk + 1}));
	     i++)
		env_sleep_ms(10);
	env_sleep_ms(600); /* its disk.json says that it is leaving */
	stop(w);
	assert_false(disk_is_removed(disk_of(w, disk)));
	assert_int_equal(members(w), 4);
	extent_settle(pool_extents(w->f->p), &e, 1, false);
	t = meta_begin(m);
	del_disk(t, (disk_id){disk + 1});
	assert_int_equal(meta_commit(t, &seq), 0);
	fixture_sync(w->f);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	expect_gone(w, disk);
	fixture_shell("grep -q '\"state\": *\"removed\"' %s/dynamicfs/disk.json", w->f->disk[disk]);
	expect_whole(w);
	start(w);
	expect_state(w, JOB_DONE);
	add(w, w->f->disk[disk]);
}

/* ---- refusals ---- */

static void test_plans(void **state)
{
	struct world *w = *state;
	struct pool_drain_plan plan;
	struct pool_message msg = {""};

	assert_int_equal(pool_plan_drain(w->f->p, "nobody", &plan, &msg), DFS_ENODISK);
	assert_int_equal(pool_plan_drain(w->f->p, w->f->disk[0], &plan, &msg), 0);
	assert_int_equal(plan.disks_left, DISKS - 1);
	assert_true(plan.content.extents > 0);
	assert_int_equal(plan.content.bytes, used(w, 0));
	assert_int_equal(disk_state(disk_of(w, 0)), DISK_HEALTHY);
	assert_int_equal(drain(w, 0, false), 0);
	/* five are left then: 4+2 is stored anew as 3+2 */
	assert_int_equal(pool_plan_drain(w->f->p, w->f->disk[1], &plan, &msg), 0);
	assert_true(plan.content.narrowed > 0);
}

/* By force down to one; the last one stays. Nothing is lost. */
static void test_down_to_one(void **state)
{
	struct world *w = *state;

	start(w);
	assert_int_equal(drain(w, 3, false), 0); /* three copies on three disks */
	expect_state(w, JOB_DONE);
	expect_gone(w, 3);
	expect_whole(w);
	assert_int_equal(drain(w, 2, false), DFS_EREFUSED);
	assert_int_equal(disk_state(disk_of(w, 2)), DISK_HEALTHY);
	for (unsigned disk = 2; disk > 0; disk--) {
		assert_int_equal(drain(w, disk, true), 0);
		expect_leaves(w, disk);
		expect_reads(w);
	}
	assert_int_equal(drain(w, 0, true), DFS_EREFUSED);
	stop(w);
	assert_int_equal(pool_close(w->f->p), 0);
	fixture_reopen(w->f);
	expect_reads(w);
}

static void give_back(struct world *w, unsigned disk)
{
	dev_fault_set(w->f->faults[disk], &(struct fault_plan){0});
	disk_set_state(disk_of(w, disk), DISK_HEALTHY);
}

/* Nor because its disk is away just now: it may come back, and then all can be read. */
static void test_force_waits_for_what_is_away(void **state)
{
	struct world *w = *state;

	take_away(w, 0);
	take_away(w, 1);
	assert_int_equal(drain(w, 5, true), 0);
	take_away(w, 5);
	start(w);
	expect_state(w, JOB_WAITING);
	assert_non_null(strstr(job(w, JOB_DRAIN).reason, "needed"));
	assert_true(used(w, 5) > 0);
	stop(w);
	give_back(w, 0);
	give_back(w, 1);
	give_back(w, 5);
	expect_reads(w);
}

/* DR7: one that was not to take new data isn't after it was taken back, either. */
static void test_cancelled_it_is_as_before(void **state)
{
	const struct disk_health before = {DISK_DEGRADED, DISK_ORDER_DEGRADED};
	struct world *w = *state;

	disk_set_health(disk_of(w, 2), before);
	assert_int_equal(drain(w, 2, false), 0);
	assert_int_equal(disk_state(disk_of(w, 2)), DISK_DRAINING);
	assert_int_equal(pool_drain_cancel(w->f->p, (disk_id){3}), 0);
	assert_int_equal(disk_health(disk_of(w, 2)).state, before.state);
	assert_int_equal(disk_health(disk_of(w, 2)).event, before.event);
}

/* DR6: as long as something else lies there its journal stays: the removal may be taken back. */
static void test_the_journal_leaves_last(void **state)
{
	struct world *w = *state;

	assert_true(meta_is_member(pool_meta(w->f->p), (disk_id){1}));
	assert_int_equal(drain(w, 0, false), 0); /* no job runs: nothing moves */
	env_sleep_ms(1500);
	assert_true(meta_is_member(pool_meta(w->f->p), (disk_id){1}));
	start(w);
	expect_state(w, JOB_DONE);
	expect_gone(w, 0);
	expect_whole(w);
}

/* No force gives up what is needed to read: 4+2 on four of six disks. */
static void test_force_loses_nothing(void **state)
{
	struct world *w = *state;

	start(w);
	for (unsigned disk = 6; disk > 2; disk--) {
		assert_int_equal(drain(w, disk, true), 0);
		env_sleep_ms(1500);
	}
	expect_reads(w);
	expect_state(w, JOB_WAITING);
	assert_non_null(strstr(job(w, JOB_DRAIN).reason, "needed"));
	expect_reads(w);
}

/* ---- one in its place ---- */

/* A further disk, whose id is DISKS + 1. */
static struct disk *newcomer(struct world *w)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/new", w->f->top);
	fixture_shell("mkdir %s", path);
	add(w, path);
	return disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1});
}

static int replace(struct world *w, unsigned disk, bool hands_label)
{
	struct pool_drain_plan plan;
	struct pool_message msg = {""};

	return pool_replace(w->f->p, w->f->disk[disk], (disk_id){DISKS + 1}, hands_label, false,
			    &plan, &msg);
}

/* Of the fragments that were on the disk at first: where are they now? */
static void expect_moved_to(struct world *w, unsigned disk, uint32_t to)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		for (unsigned j = 0; j < width(&rec); j++) {
			if (w->recs[i].frags[j].disk.v != disk + 1)
				continue;
			assert_int_equal(rec.frags[j].disk.v, to);
			seen++;
		}
	}
	assert_true(seen > 0);
}

/* DR8: though others have more room. Also after a crash; and the label goes along. */
static void test_the_heir_gets_it_all(void **state)
{
	struct world *w = *state;
	struct disk *heir = newcomer(w);
	char label[64];

	memcpy(label, disk_info(disk_of(w, 2)).label, sizeof(label));
	set_rate(w, MIB(1));
	assert_int_equal(replace(w, 2, true), 0);
	for (unsigned i = 0; i < EXTENTS; i++) /* the emptiest it is not */
		put(w, i, (struct geometry){i % 2 ? 4 : 1, 2});
	fixture_sync(w->f);
	crash(w);
	heir = disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1});
	assert_string_not_equal(disk_info(heir).label, label);
	assert_int_equal(disk_heir(disk_of(w, 2)).v, DISKS + 1);
	set_rate(w, 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_gone(w, 2);
	assert_string_equal(disk_info(heir).label, label);
	stop(w);
	assert_int_equal(pool_close(w->f->p), 0);
	fixture_reopen(w->f);
	heir = disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1});
	assert_string_equal(disk_info(heir).label, label);
	fixture_shell("grep -q '\"label\": *\"%s\"' %s/new/dynamicfs/disk.json", label, w->f->top);
}

static void test_the_heir_gets_what_moves(void **state)
{
	struct world *w = *state;

	(void)newcomer(w);
	assert_int_equal(replace(w, 2, false), 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_moved_to(w, 2, DISKS + 1);
	assert_string_equal(disk_info(disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1})).label,
			    "new");
}

/* A dead one is rebuilt there. */
static void test_a_dead_one_has_an_heir(void **state)
{
	struct world *w = *state;

	take_away(w, 2);
	(void)newcomer(w);
	assert_int_equal(replace(w, 2, true), 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_whole(w);
	expect_moved_to(w, 2, DISKS + 1);
	expect_gone(w, 2);
}

/* When the heir is lost the others take what is left, and its label is not the old one's. */
static void test_the_heir_dies(void **state)
{
	struct world *w = *state;
	struct disk *heir = newcomer(w);

	assert_int_equal(replace(w, 2, true), 0);
	disk_set_state(heir, DISK_FAILED);
	start(w);
	expect_state(w, JOB_DONE);
	expect_gone(w, 2);
	expect_reads(w);
	assert_false(used(w, DISKS));
}

/* Taken back, there is no heir any more: what leaves later goes anywhere. */
static void test_taken_back_there_is_no_heir(void **state)
{
	struct world *w = *state;
	struct rec_disk rec;

	(void)newcomer(w);
	assert_int_equal(replace(w, 2, true), 0);
	assert_int_equal(disk_heir(disk_of(w, 2)).v, DISKS + 1);
	assert_int_equal(pool_drain_cancel(w->f->p, (disk_id){3}), 0);
	assert_int_equal(disk_heir(disk_of(w, 2)).v, 0);
	assert_int_equal(get_disk(pool_meta(w->f->p), (disk_id){3}, &rec), 0);
	assert_int_equal(rec.heir.v, 0);
	assert_false(rec.hands_label);
	assert_int_equal(drain(w, 2, false), 0);
	assert_int_equal(disk_heir(disk_of(w, 2)).v, 0);
}

static int set_label(struct world *w, unsigned disk, const char *label)
{
	struct pool_message msg = {""};

	return pool_set_label(w->f->p, w->f->disk[disk], label, false, &msg);
}

/* DR9 */
static void test_labels(void **state)
{
	struct world *w = *state;
	char long_one[65], other[64];
	struct rec_disk rec;

	memset(long_one, 'x', 64);
	long_one[64] = '\0';
	memcpy(other, disk_info(disk_of(w, 1)).label, sizeof(other));
	assert_int_equal(set_label(w, 0, ""), DFS_EINVAL);
	assert_int_equal(set_label(w, 0, long_one), DFS_EINVAL);
	assert_int_equal(set_label(w, 0, "a\nb"), DFS_EINVAL);
	assert_int_equal(set_label(w, 0, "\xff"), DFS_EINVAL);
	assert_int_equal(set_label(w, 0, other), DFS_EEXIST);
	assert_int_equal(set_label(w, 1, other), 0); /* its own */
	take_away(w, 0);
	assert_int_equal(set_label(w, 0, long_one + 1), 0); /* of one that is not there, too */
	assert_int_equal(get_disk(pool_meta(w->f->p), (disk_id){1}, &rec), 0);
	assert_string_equal(rec.label, long_one + 1);
	give_back(w, 0);
	crash(w);
	assert_string_equal(disk_info(disk_of(w, 0)).label, long_one + 1);
	fixture_shell("grep -q %s %s/pool.json", long_one + 1, w->f->pool);
	assert_int_equal(pool_close(w->f->p), 0);
	fixture_shell("grep -q %s %s/dynamicfs/disk.json", long_one + 1, w->f->disk[0]);
	fixture_reopen(w->f);
}

/* Whoever names the heir wants that name. */
static void test_a_named_heir_keeps_its_name(void **state)
{
	struct world *w = *state;
	struct pool_message msg = {""};
	char path[160];

	(void)newcomer(w);
	snprintf(path, sizeof(path), "%s/new", w->f->top);
	assert_int_equal(replace(w, 2, true), 0);
	assert_int_equal(pool_set_label(w->f->p, path, "mine", false, &msg), 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_gone(w, 2);
	assert_string_equal(disk_info(disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1})).label,
			    "mine");
}

/* ---- one that was away when it left ---- */

static int try_add(struct world *w, unsigned disk, struct pool_message *msg)
{
	struct pool_disk_spec spec = {.path = w->f->disk[disk]};
	struct disk_info info;
	bool same;

	return pool_add_disk(w->f->p, &spec, &info, &same, msg);
}

/* DR10: taken as new when nothing that lies there can be needed; else it is left as it is. */
static void test_one_that_was_away_can_be_added(void **state)
{
	struct world *w = *state;
	const char *dir = w->f->disk[5];
	struct pool_message msg = {""};

	take_away(w, 5);
	assert_int_equal(drain(w, 5, false), 0);
	start(w);
	expect_state(w, JOB_DONE);
	expect_gone(w, 5);
	stop(w);
	/* without its roots nothing tells of which history it is */
	fixture_shell("mv %s/dynamicfs/meta/roots %s/roots", dir, w->f->top);
	assert_int_equal(try_add(w, 5, &msg), DFS_EEXIST);
	fixture_shell("mv %s/roots %s/dynamicfs/meta/roots", w->f->top, dir);
	/* what can't be read without it might be there */
	for (unsigned disk = 0; disk < 3; disk++)
		take_away(w, disk);
	assert_int_equal(try_add(w, 5, &msg), DFS_EREFUSED);
	assert_non_null(strstr(msg.text, "not all files can be read"));
	fixture_shell("test -e %s/dynamicfs/segments -a -e %s/dynamicfs/meta/roots", dir, dir);
	for (unsigned disk = 0; disk < 3; disk++)
		give_back(w, disk);
	assert_int_equal(try_add(w, 5, &msg), 0);
	assert_non_null(strstr(msg.text, "removed while it was away"));
	assert_int_equal(disk_info(disk_get(pool_disks(w->f->p), (disk_id){DISKS + 1})).id.v,
			 DISKS + 1);
	expect_reads(w);
	crash(w);
	expect_whole(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_disk_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_its_directory_is_free_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nothing_new_goes_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_in_flight_is_waited_for, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nor_forgotten_with_a_dead_disk, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_dies_meanwhile_is_rebuilt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_disk_can_be_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_while_it_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_disk_fails_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_can_be_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_goes_on_after_crashes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_paused_one_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_crash_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_down_to_one, setup_four, teardown),
		cmocka_unit_test_setup_teardown(test_force_loses_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_force_waits_for_what_is_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled_it_is_as_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_journal_leaves_last, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_heir_gets_it_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_heir_gets_what_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_dead_one_has_an_heir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_heir_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_back_there_is_no_heir, setup, teardown),
		cmocka_unit_test_setup_teardown(test_labels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_that_was_away_can_be_added, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_named_heir_keeps_its_name, setup, teardown),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
