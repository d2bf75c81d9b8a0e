/* SPDX-License-Identifier: Apache-2.0 */
/* Scrub (V1..V6): real directories, whose files are damaged behind the pool's back. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "extent/scrub.h"
#include "jobs/jobs.h"
#include "unit/pool_fixture.h"

#define DISKS 7u
#define EXTENTS 60u
#define LEN KIB(96) /* of each fragment two blocks at least */

struct world {
	struct fixture *f;
	struct jobs *jobs;
	struct rec_extent recs[EXTENTS];
	struct rec_scrub last;
};

static void put(struct world *w, unsigned i, struct geometry g)
{
	w->recs[i] = fixture_put(w->f, i, g, LEN);
}

static void (*on_read)(struct world *w, void *buf, size_t len, uint64_t off);
static struct world *now;
static size_t no_more_than; /* longer reads of the medium fail; 0: none does */
static int (*real_read)(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
			size_t *ret_len);

static int hooked_read(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
		       size_t *ret_len)
{
	int err = real_read(f, buf, len, off, flags, ret_len);

	if (no_more_than && len > no_more_than && (flags & DEV_READ_MEDIA))
		return DFS_EIO;
	if (on_read && (flags & DEV_READ_MEDIA))
		on_read(now, buf, len, off);
	return err;
}

static void hook(struct dev *below)
{
	static struct dev_ops ops;

	ops = *below->ops;
	real_read = ops.read == hooked_read ? real_read : ops.read;
	ops.read = hooked_read;
	below->ops = &ops;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	on_read = NULL;
	no_more_than = 0;
	now = w;
	w->f = fixture_new(DISKS, 0, hook);
	for (unsigned i = 0; i < EXTENTS; i++)
		put(w, i, (struct geometry){i % 2 ? 4 : 1, 2});
	fixture_sync(w->f);
	w->jobs = jobs_load(w->f->p);
	jobs_start(w->jobs);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	on_read = NULL;
	jobs_free(w->jobs);
	fixture_free(w->f);
	free(w);
	return 0;
}

static struct job_status newest(struct world *w)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(w->jobs, all, JOBS_MAX);

	while (n > 0 && all[n - 1].rec.kind != JOB_SCRUB) /* of a lost disk there is another one */
		n--;
	return n ? all[n - 1] : (struct job_status){0};
}

static void wait_done(struct world *w)
{
	for (unsigned i = 0; i < 3000 && newest(w).rec.state != JOB_DONE; i++)
		env_sleep_ms(10);
	assert_int_equal(newest(w).rec.state, JOB_DONE);
	jobs_scrub_status(w->jobs, &w->last);
	assert_int_equal(w->last.phase, SCRUB_ENDED);
}

static const struct scrub_counts *scrub(struct world *w, bool repair)
{
	const struct scrub_order o = {.repair = repair};
	uint32_t id;

	assert_int_equal(jobs_scrub(w->jobs, &o, &id), 0);
	wait_done(w);
	return &w->last.counts;
}

static unsigned width(const struct rec_extent *rec) { return (unsigned)rec->k + rec->m; }

static uint64_t all_fragments(struct world *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < EXTENTS; i++)
		n += width(&w->recs[i]);
	return n;
}

/* Overwrites bytes of the fragment's record, at that distance from its beginning. */
static void damage(struct world *w, unsigned i, unsigned fragment, uint32_t at)
{
	const struct rec_fragment *f = &w->recs[i].frags[fragment];
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/dynamicfs/segments/%08x", w->f->disk[f->disk.v - 1],
		 f->segment);
	file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)(f->offset + at), SEEK_SET), 0);
	assert_int_equal(fwrite("\xa5\x5a\xa5", 1, 3, file), 3);
	assert_int_equal(fclose(file), 0);
}

static void expect_whole(struct world *w)
{
	uint8_t *got = malloc(LEN);

	for (unsigned i = 0; i < EXTENTS; i++) {
		assert_int_equal(fixture_good(w->f, w->recs[i].id), width(&w->recs[i]));
		assert_int_equal(extent_read(pool_extents(w->f->p), w->recs[i].id, 0, LEN, got), 0);
		assert_memory_equal(got, fixture_content(i, LEN), LEN);
	}
	free(got);
}

struct found {
	struct rec_finding v[EXTENTS];
	unsigned count, notes, notes_repaired;
	char note[SCRUB_NOTE_MAX];
};

static int add(void *ctx, const struct rec_finding *f)
{
	struct found *all = ctx;

	assert_true(all->count < EXTENTS);
	all->v[all->count++] = *f;
	return 0;
}

static int add_note(void *ctx, const struct rec_note *n)
{
	struct found *all = ctx;

	all->notes++;
	all->notes_repaired += n->is_repaired;
	memcpy(all->note, n->text, sizeof(all->note));
	return 0;
}

static struct found *found(struct world *w)
{
	static struct found all;

	memset(&all, 0, sizeof(all));
	assert_int_equal(each_finding(pool_meta(w->f->p), add, &all), 0);
	assert_int_equal(each_note(pool_meta(w->f->p), add_note, &all), 0);
	return &all;
}

/* ---- extents ---- */

/* V2: in steps of a record each. */
static void test_step_by_step(void **state)
{
	struct world *w = *state;
	uint64_t fragments = 0;

	for (unsigned i = 0; i < DISKS; i++) {
		struct extent_scrub s = {.disk = {i + 1}};

		while (!s.done) {
			s.bytes = s.fragments = 0;
			s.max_bytes = 1;
			s.end_ns = UINT64_MAX;
			extent_scrub_disk(pool_extents(w->f->p), &s);
			assert_int_equal(s.err, 0);
			assert_int_equal(s.suspect_count + s.stray_count, 0);
			fragments += s.fragments;
		}
	}
	assert_int_equal(fragments, all_fragments(w));
}

/* Y5: users are not kept waiting by a step that began when there were none. */
static void test_a_step_ends_when_users_come(void **state)
{
	struct world *w = *state;
	struct users *users = pool_users(w->f->p);
	struct extent_scrub s = {
		.disk = {1}, .max_bytes = GIB(1), .end_ns = UINT64_MAX, .users = users};

	users_enter(users);
	extent_scrub_disk(pool_extents(w->f->p), &s);
	assert_false(s.done);
	assert_int_equal(s.bytes, 0);
	s.users = NULL; /* a small one goes on beside them */
	extent_scrub_disk(pool_extents(w->f->p), &s);
	assert_true(s.done);
	assert_true(s.bytes > 0);
	users_leave(users);
}

static void test_a_whole_pool(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c = scrub(w, false);

	assert_int_equal(c->fragments, all_fragments(w));
	assert_true(c->records > EXTENTS);
	assert_int_equal(c->degraded + c->repaired + c->unrecoverable + c->metadata, 0);
	assert_int_equal(c->made + c->away, 0);
	assert_int_equal(found(w)->count, 0);
	assert_int_equal(newest(w).left_bytes, 0);
}

/* V2: wherever it lies, in the header, the first or the last block, of first or last fragments. */
static void test_damage_is_found_and_left_alone(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c;
	struct found *f;

	damage(w, 0, 0, 10);
	damage(w, 1, 5, w->recs[1].header_len + 1);
	damage(w, 2, 2, w->recs[2].header_len + LEN - 4);
	damage(w, 2, 0, w->recs[2].header_len + 17000);
	damage(w, EXTENTS - 1, 3, 300);
	c = scrub(w, false);
	assert_int_equal(c->degraded, 4);
	assert_int_equal(c->repaired + c->unrecoverable + c->made, 0);
	f = found(w);
	assert_int_equal(f->count, 4);
	for (unsigned i = 0; i < f->count; i++) {
		bool two = uuid_eq(&f->v[i].id.u, &w->recs[2].id.u);

		assert_int_equal(f->v[i].verdict, SCRUB_DEGRADED);
		assert_int_equal(f->v[i].ino.v, 7);
		assert_int_equal(f->v[i].count, two ? 2 : 1);
	}
	for (unsigned i = 0; i < EXTENTS; i++) { /* nothing was written */
		struct rec_extent rec;

		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		assert_memory_equal(rec.frags, w->recs[i].frags, sizeof(rec.frags));
	}
	assert_int_equal(newest(w).rec.stuck, 4);
}

/* V3 */
static void test_damage_is_repaired(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c;

	damage(w, 0, 0, 10);
	damage(w, 1, 5, w->recs[1].header_len + 1);
	damage(w, 1, 0, w->recs[1].header_len + 1);
	damage(w, 2, 2, w->recs[2].header_len + LEN - 4);
	c = scrub(w, true);
	assert_int_equal(c->repaired, 3);
	assert_int_equal(c->degraded + c->unrecoverable, 0);
	assert_int_equal(c->made, 4);
	assert_int_equal(found(w)->count, 3);
	assert_int_equal(found(w)->v[0].verdict, SCRUB_REPAIRED);
	expect_whole(w);
	c = scrub(w, true);
	assert_int_equal(c->repaired + c->degraded + c->unrecoverable + c->made, 0);
	assert_int_equal(found(w)->count, 0); /* what the last one found is forgotten */
}

/* A segment that is gone, and one that is too short. */
static void test_segments_that_are_missing(void **state)
{
	struct world *w = *state;
	const struct rec_fragment *a = &w->recs[0].frags[0], *b = &w->recs[1].frags[1];
	const struct scrub_counts *c;

	fixture_shell("rm %s/dynamicfs/segments/%08x", w->f->disk[a->disk.v - 1], a->segment);
	if (b->disk.v != a->disk.v)
		fixture_shell("truncate -s %u %s/dynamicfs/segments/%08x", b->offset + 100,
			      w->f->disk[b->disk.v - 1], b->segment);
	c = scrub(w, false);
	assert_true(c->degraded > 2);
	assert_int_equal(c->unrecoverable, 0);
	c = scrub(w, true);
	assert_int_equal(c->degraded, 0);
	assert_true(c->repaired > 2);
	expect_whole(w);
}

/* V3, S6: what is beyond repair stays as it is, and is known. */
static void test_what_cannot_be_recovered(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c;
	struct rec_extent rec;

	for (unsigned i = 0; i < 3; i++)
		damage(w, 1, i, w->recs[1].header_len + 5);
	c = scrub(w, true);
	assert_int_equal(c->unrecoverable, 1);
	assert_int_equal(c->degraded + c->repaired, 0);
	assert_int_equal(found(w)->v[0].verdict, SCRUB_UNRECOVERABLE);
	assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[1].id, &rec), 0);
	for (unsigned i = 0; i < 3; i++) {
		const struct rec_fragment *f = &w->recs[1].frags[i];

		assert_memory_equal(&rec.frags[i], f, sizeof(*f));
		assert_true(disk_may_lack(disk_get(pool_disks(w->f->p), f->disk), f->segment,
					  f->offset, f->record_len));
	}
	assert_int_equal(newest(w).rec.stuck, 1);
}

/* E9: more fragments are damaged than the extent bears, but no block of too many. */
static void damage_in_parts(struct world *w)
{
	uint32_t second = RECORD_BLOCK_BYTES;

	for (unsigned i = 0; i < 3; i++) /* copies: none is whole */
		damage(w, 0, i, w->recs[0].header_len + i * RECORD_BLOCK_BYTES + 5);
	for (unsigned i = 0; i < 4; i++) /* two of six are */
		damage(w, 1, i, w->recs[1].header_len + (i < 2 ? 0 : second) + 5);
}

static void test_repaired_block_by_block(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c;
	unsigned made;

	damage_in_parts(w);
	c = scrub(w, false);
	assert_int_equal(c->degraded, 2);
	assert_int_equal(c->unrecoverable, 0);
	c = scrub(w, true);
	assert_int_equal(c->repaired, 2);
	assert_int_equal(c->degraded + c->unrecoverable, 0);
	assert_int_equal(c->made, 7);
	expect_whole(w);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &w->recs[i]), 0);
	damage_in_parts(w); /* and by what reads call */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(extent_repair(pool_extents(w->f->p), w->recs[i].id, &made), 0);
		assert_int_equal(made, i ? 4 : 3);
	}
	expect_whole(w);
}

/* One block is lost, others are not: nothing is written, also not what could be. */
static void test_a_lost_block_leaves_all(void **state)
{
	struct world *w = *state;
	const struct scrub_counts *c;
	struct rec_extent rec;

	damage_in_parts(w);
	damage(w, 1, 4, w->recs[1].header_len + 5);
	damage(w, 0, 0, 10); /* a header: none of its blocks can be relied on */
	damage(w, 0, 2, w->recs[0].header_len + RECORD_BLOCK_BYTES + 5);
	c = scrub(w, true);
	assert_int_equal(c->unrecoverable, 2);
	assert_int_equal(c->repaired + c->degraded + c->made, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[i].id, &rec), 0);
		assert_memory_equal(rec.frags, w->recs[i].frags, sizeof(rec.frags));
	}
}

/* What can't be read in one piece is read in pieces, where nothing else helps. */
static void test_read_in_parts(void **state)
{
	struct world *w = *state;
	struct scrub_repair done;
	struct rec_finding f;

	no_more_than = 2 * RECORD_BLOCK_BYTES - 1;
	assert_int_equal(extent_examine(pool_extents(w->f->p), w->recs[0].id, false, &f, &done), 0);
	assert_int_equal(f.verdict, SCRUB_DEGRADED);
	assert_int_equal(f.count, 3);
	assert_int_equal(extent_examine(pool_extents(w->f->p), w->recs[0].id, true, &f, &done), 0);
	assert_int_equal(done.made, 3);
	no_more_than = 0;
	expect_whole(w);
}

/* S8: what was found and not repaired counts as not there, until it is made anew: also after a mount, and it is not moved. */
static void test_what_was_found_counts(void **state)
{
	struct world *w = *state;
	const struct rec_fragment *f = &w->recs[1].frags[2], *g = &w->recs[1].frags[3];
	struct pool_fail_plan plan;
	struct pool_message msg;
	struct rec_extent rec;
	const char *path = w->f->disk[g->disk.v - 1];

	for (unsigned i = 1; i < 3; i++)
		damage(w, 1, i, w->recs[1].header_len + 5);
	assert_int_equal(pool_plan_fail(w->f->p, path, &plan, &msg), 0);
	for (unsigned mounts = 0; mounts < 2; mounts++) {
		if (mounts == 0)
			assert_int_equal(scrub(w, false)->degraded, 1);
		assert_false(disk_is_sure(disk_get(pool_disks(w->f->p), f->disk), f->segment,
					  f->offset, f->record_len));
		assert_true(disk_is_sure(disk_get(pool_disks(w->f->p), g->disk), g->segment,
					 g->offset, g->record_len));
		assert_int_equal(extent_sure_fragments(pool_extents(w->f->p), &w->recs[1]), 4);
		assert_int_not_equal(pool_plan_fail(w->f->p, path, &plan, &msg), 0);
		assert_int_equal(plan.extents_lost, 1);
		jobs_free(w->jobs);
		assert_int_equal(pool_close(w->f->p), 0);
		fixture_reopen(w->f);
		w->jobs = jobs_load(w->f->p);
		jobs_start(w->jobs);
	}
	assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[1].id, &rec), 0);
	assert_memory_equal(rec.frags, w->recs[1].frags, sizeof(rec.frags));
	assert_int_equal(scrub(w, true)->repaired, 1);
	assert_int_equal(get_extent(pool_meta(w->f->p), w->recs[1].id, &rec), 0);
	assert_int_equal(extent_sure_fragments(pool_extents(w->f->p), &rec), 6);
	assert_int_equal(pool_plan_fail(w->f->p, path, &plan, &msg), 0);
}

/* V7: due by the setting; what it begins repairs, or not; and none follows at once. */
static void test_by_itself(void **state)
{
	struct world *w = *state;
	struct rec_schedule when = {.interval_s = 1, .repair = true};
	struct meta *m = pool_meta(w->f->p);
	struct meta_txn *t;
	uint64_t seq;

	assert_int_equal(jobs_scrub_due_ns(w->jobs), UINT64_MAX); /* there is no root directory */
	(void)scrub(w, false);
	damage(w, 1, 0, w->recs[1].header_len + 5);
	assert_in_range(jobs_scrub_due_ns(w->jobs) - env_wall_ns(), 29 * 86400 * 1000000000ull,
			30 * 86400 * 1000000000ull);
	t = meta_begin(m);
	put_schedule(t, &when);
	assert_int_equal(meta_commit(t, &seq), 0);
	for (unsigned i = 0; i < 500 && w->last.counts.repaired == 0; i++) {
		env_sleep_ms(10);
		jobs_scrub_status(w->jobs, &w->last);
	}
	assert_int_equal(w->last.counts.repaired, 1);
	assert_true(w->last.flags & SCRUB_BACKGROUND);
	when.interval_s = SCRUB_OFF;
	t = meta_begin(m);
	put_schedule(t, &when);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(jobs_scrub_due_ns(w->jobs), UINT64_MAX);
}

struct trail {
	unsigned count;
	char last[4096];
};

static int add_line(void *ctx, uint64_t wall_ns, const char *text, size_t len)
{
	struct trail *t = ctx;

	assert_true(wall_ns > 0 && len < sizeof(t->last));
	if (!strstr(memcpy(t->last, text, len), "\"repair\""))
		return 0;
	t->last[len] = '\0';
	t->count++;
	return 0;
}

static struct trail *trail(struct world *w, unsigned last)
{
	static struct trail t;

	memset(&t, 0, sizeof(t));
	assert_int_equal(each_audit(pool_meta(w->f->p), last, add_line, &t), 0);
	return &t;
}

/* V8: one line for an extent, none for what was only moved. */
static void test_audit(void **state)
{
	struct world *w = *state;
	char id[UUID_TEXT_LEN + 1];
	unsigned made;

	damage(w, 1, 0, w->recs[1].header_len + 5);
	damage(w, 1, 4, w->recs[1].header_len + 5);
	assert_int_equal(extent_repair(pool_extents(w->f->p), w->recs[1].id, &made), 0);
	assert_int_equal(made, 2);
	assert_int_equal(trail(w, 100)->count, 1);
	uuid_format(&w->recs[1].id.u, id);
	assert_non_null(strstr(trail(w, 1)->last, id));
	assert_non_null(strstr(trail(w, 1)->last, "{\"fragment\":4,"));
	assert_non_null(strstr(trail(w, 1)->last, "\"sources\":[1,2,3,5]"));
	assert_non_null(strstr(trail(w, 1)->last, "\"result\":\"repaired\""));
	damage(w, 2, 0, w->recs[2].header_len + 5);
	(void)scrub(w, true);
	assert_int_equal(trail(w, 100)->count, 2);
	extent_do_without(pool_extents(w->f->p), w->recs[3].frags[0].disk, true);
	extent_rebuild(pool_extents(w->f->p), &(struct repair_item){.id = w->recs[3].id}, 1, 1);
	assert_int_equal(trail(w, 100)->count, 2);
}

/* V8: the oldest go. */
static void test_audit_is_bounded(void **state)
{
	struct world *w = *state;
	unsigned made;

	for (unsigned i = 0; i < 10300; i += 100) {
		struct meta_txn *t = meta_begin(pool_meta(w->f->p));
		uint64_t seq;

		for (unsigned j = 0; j < 100; j++)
			put_audit(t, env_wall_ns(), i + j, "{\"event\":\"repair\"}");
		assert_int_equal(meta_commit(t, &seq), 0);
	}
	damage(w, 1, 0, w->recs[1].header_len + 5);
	assert_int_equal(extent_repair(pool_extents(w->f->p), w->recs[1].id, &made), 0);
	assert_in_range(trail(w, 20000)->count, 9000, 10001);
}

/* V3, S6: there is no room for what could be. */
static void test_repair_without_room(void **state)
{
	struct world *w = *state;
	const struct fault_plan full = {.most_free = 4096};
	const struct rec_fragment *f = &w->recs[1].frags[0];
	const struct scrub_counts *c;

	damage(w, 1, 0, w->recs[1].header_len + 5);
	for (unsigned i = 0; i < DISKS; i++) {
		struct disk *d = disk_at(pool_disks(w->f->p), i);

		dev_fault_set(w->f->faults[i], &full);
		disk_let_go(d);
		disk_ask_anew(d);
	}
	c = scrub(w, true);
	assert_int_equal(c->degraded, 1);
	assert_int_equal(c->repaired + c->unrecoverable + c->made, 0);
	assert_int_equal(found(w)->v[0].verdict, SCRUB_DEGRADED);
	assert_int_not_equal(found(w)->v[0].err, 0);
	assert_true(disk_may_lack(disk_get(pool_disks(w->f->p), f->disk), f->segment, f->offset,
				  f->record_len));
}

/* V4: what was told is there after a crash. */
static void test_the_end_is_durable(void **state)
{
	struct world *w = *state;

	damage(w, 1, 0, w->recs[1].header_len + 5);
	damage(w, 1, 1, w->recs[1].header_len + 5);
	assert_int_equal(scrub(w, false)->degraded, 1);
	jobs_free(w->jobs);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	w->jobs = jobs_load(w->f->p);
	jobs_scrub_status(w->jobs, &w->last);
	assert_int_equal(w->last.phase, SCRUB_ENDED);
	assert_int_equal(w->last.counts.degraded, 1);
	assert_int_equal(found(w)->count, 1);
}

/* Only that disk. */
static void test_one_disk(void **state)
{
	struct world *w = *state;
	const struct scrub_order o = {.disk = w->recs[0].frags[0].disk};
	uint64_t there = 0;
	uint32_t id;

	damage(w, 0, 0, 10);
	damage(w, 0, 1, 10);
	for (unsigned i = 0; i < EXTENTS; i++)
		for (unsigned j = 0; j < width(&w->recs[i]); j++)
			there += w->recs[i].frags[j].disk.v == o.disk.v;
	assert_int_equal(jobs_scrub(w->jobs, &o, &id), 0);
	wait_done(w);
	assert_int_equal(w->last.counts.fragments, there);
	assert_int_equal(w->last.counts.degraded, 1);
	assert_int_equal(found(w)->v[0].count, 2);
}

/* ---- what changes meanwhile ---- */

static struct rec_extent victim;
static bool is_freed;

static void free_it(struct world *w, void *buf, size_t len, uint64_t off)
{
	struct meta_txn *t;
	uint64_t seq;

	(void)off;
	memset(buf, 0, len); /* its place has been given back */
	if (is_freed)
		return;
	is_freed = true;
	t = meta_begin(pool_meta(w->f->p));
	for (unsigned i = 0; i < width(&victim); i++)
		del_bydisk(t, victim.frags[i].disk, victim.frags[i].segment,
			   victim.frags[i].offset);
	del_extent(t, victim.id);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* V1: it was freed after the index was asked, and before it was read. */
static void test_what_is_freed_meanwhile_is_no_damage(void **state)
{
	struct world *w = *state;
	struct extent_scrub s = {.disk = w->recs[0].frags[0].disk,
				 .segment = w->recs[0].frags[0].segment,
				 .offset = w->recs[0].frags[0].offset,
				 .max_bytes = 1,
				 .end_ns = UINT64_MAX};

	victim = w->recs[0];
	fixture_shell("rm %s/dynamicfs/segments/%08x", w->f->disk[s.disk.v - 1], s.segment);
	fixture_shell("touch %s/dynamicfs/segments/%08x", w->f->disk[s.disk.v - 1], s.segment);
	is_freed = false;
	on_read = free_it;
	extent_scrub_disk(pool_extents(w->f->p), &s);
	assert_true(is_freed);
	assert_true(s.fragments > 0);
	for (unsigned i = 0; i < s.suspect_count; i++)
		assert_false(uuid_eq(&s.suspects[i].id.u, &victim.id.u));
}

/* ---- the index ---- */

static void test_index_against_disks(void **state)
{
	struct world *w = *state;
	const struct rec_fragment *f = &w->recs[3].frags[0];
	struct rec_bydisk by = {{1}, 0x7000, 512, 1024, w->recs[4].id, 1};
	struct meta_txn *t = meta_begin(pool_meta(w->f->p));
	const struct scrub_counts *c;
	uint64_t seq;

	del_bydisk(t, f->disk, f->segment, f->offset); /* an extent that no entry knows */
	put_bydisk(t, &by);			       /* an entry that no extent knows */
	meta_put(t, "Ixxx", 4, "nonsense", 8);
	assert_int_equal(meta_commit(t, &seq), 0);
	c = scrub(w, true);
	assert_int_equal(c->metadata, 3);
	assert_int_equal(c->metadata_repaired, 0);
	assert_int_equal(found(w)->notes, 3);
	assert_int_equal(c->degraded + c->repaired + c->unrecoverable, 0);
	assert_int_equal(newest(w).rec.stuck, 3);
}

/* ---- metadata on the disks ---- */

static void rot(const char *path, long at)
{
	FILE *f = fopen(path, "r+b");

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite("\x11\x22\x33\x44", 1, 4, f), 4);
	assert_int_equal(fclose(f), 0);
}

/* The disk's file in that directory that begins so, of numbers the greatest. */
static void find_file(struct world *w, unsigned disk, const char *dir, const char *first,
		      char path[300])
{
	char where[200], name[100] = "";
	struct dirent *e;
	DIR *d;

	snprintf(where, sizeof(where), "%s/dynamicfs/meta/%s", w->f->disk[disk], dir);
	d = opendir(where);
	assert_non_null(d);
	while ((e = readdir(d)))
		if (strncmp(e->d_name, first, strlen(first)) == 0 && e->d_name[0] != '.' &&
		    strncmp(e->d_name, "spare", 5) != 0 && strcmp(e->d_name, name) > 0)
			snprintf(name, sizeof(name), "%.99s", e->d_name);
	closedir(d);
	assert_true(name[0]);
	snprintf(path, 300, "%s/%s", where, name);
}

static unsigned a_member(struct world *w)
{
	for (unsigned i = 0; i < DISKS; i++)
		if (meta_is_member(pool_meta(w->f->p), (disk_id){i + 1}))
			return i;
	fail();
	return 0;
}

/* V6: each kind by itself: found, left, repaired, found no more. */
static void expect_mended(struct world *w, const char *what)
{
	const struct scrub_counts *c = scrub(w, false);

	if (c->metadata != 1 || c->metadata_repaired)
		fail_msg("%s: %llu problems: %s", what, (unsigned long long)c->metadata,
			 found(w)->note);
	c = scrub(w, true);
	if (c->metadata != 1 || c->metadata_repaired != 1)
		fail_msg("%s: %llu problems, %llu repaired: %s", what,
			 (unsigned long long)c->metadata, (unsigned long long)c->metadata_repaired,
			 found(w)->note);
	assert_int_equal(found(w)->notes_repaired, 1);
	c = scrub(w, false);
	if (c->metadata)
		fail_msg("%s: it is found again: %s", what, found(w)->note);
}

static void test_metadata_rots(void **state)
{
	struct world *w = *state;
	unsigned member = a_member(w);
	char path[300];

	assert_int_equal(scrub(w, false)->metadata, 0);
	snprintf(path, sizeof(path), "%s/dynamicfs/meta/roots", w->f->disk[member]);
	rot(path, 14 * 20480 + 700); /* not the newest */
	expect_mended(w, "root");
	assert_int_equal(meta_checkpoint(pool_meta(w->f->p)), 0);
	find_file(w, member, "checkpoint", "manifest-", path);
	rot(path, 200);
	expect_mended(w, "manifest");
	for (unsigned i = 0; i < 40; i++) { /* something in the journal */
		struct meta_txn *t = meta_begin(pool_meta(w->f->p));
		uint64_t seq;

		put_fold(t, (ino_id){7}, i);
		assert_int_equal(meta_commit(t, &seq), 0);
		assert_int_equal(meta_sync(pool_meta(w->f->p), seq), 0);
	}
	find_file(w, member, "journal", "0", path);
	rot(path, 3000);
	expect_mended(w, "journal");
	assert_int_equal(meta_checkpoint(pool_meta(w->f->p)), 0);
	find_file(w, member, "tables", "", path);
	rot(path, 400);
	expect_mended(w, "table");
}

/* ---- the job ---- */

static void test_one_at_a_time_paused_cancelled(void **state)
{
	struct world *w = *state;
	struct scrub_order o = {.bytes_per_s = KIB(512)};
	uint32_t id, other = 0;

	assert_int_equal(jobs_scrub(w->jobs, &o, &id), 0);
	assert_int_equal(jobs_scrub(w->jobs, &o, &other), DFS_EBUSY);
	assert_int_equal(other, id);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_PAUSE), 0);
	env_sleep_ms(300); /* the step that was under way */
	jobs_scrub_status(w->jobs, &w->last);
	other = (uint32_t)w->last.counts.fragments;
	env_sleep_ms(1200);
	jobs_scrub_status(w->jobs, &w->last);
	assert_int_equal(w->last.counts.fragments, other);
	assert_int_equal(jobs_order(w->jobs, id, JOB_ORDER_CANCEL), 0);
	o.bytes_per_s = 0;
	assert_int_equal(jobs_scrub(w->jobs, &o, &other), 0);
	assert_true(other > id);
	wait_done(w);
	assert_int_equal(w->last.counts.fragments, all_fragments(w));
}

/* V2, V5: by its rate; it goes on at its cursor, also after a crash, and nothing is left out. */
static void test_resumes_at_its_cursor(void **state)
{
	struct world *w = *state;
	const struct scrub_order o = {.repair = true, .bytes_per_s = MIB(2)};
	uint64_t before, began = env_now_ns();
	uint32_t id;

	for (unsigned i = 0; i < EXTENTS; i++)
		damage(w, i, i % 3, w->recs[i].header_len + 7);
	assert_int_equal(jobs_scrub(w->jobs, &o, &id), 0);
	for (unsigned i = 0; i < 1000 && w->last.counts.repaired < EXTENTS / 4; i++) {
		env_sleep_ms(10);
		jobs_scrub_status(w->jobs, &w->last);
	}
	before = w->last.counts.fragments;
	assert_true(before > 0 && before < all_fragments(w));
	jobs_free(w->jobs);
	fixture_sync(w->f);
	pool_abandon(w->f->p);
	fixture_reopen(w->f);
	w->jobs = jobs_load(w->f->p);
	jobs_scrub_status(w->jobs, &w->last);
	assert_int_equal(w->last.job, id);
	assert_true(w->last.counts.fragments > 0);
	assert_int_equal(w->last.phase, SCRUB_FRAGMENTS);
	jobs_start(w->jobs);
	wait_done(w);
	assert_int_equal(w->last.counts.repaired, EXTENTS);
	assert_true(w->last.counts.fragments >= all_fragments(w));
	assert_true(w->last.counts.bytes * 1000 / MIB(2) < (env_now_ns() - began) / 1000000 + 1000);
	expect_whole(w);
}

/* What lies on a disk that is not there is told of, and is no damage. */
static void test_a_disk_that_is_away(void **state)
{
	struct world *w = *state;
	const struct fault_plan gone = {.gone = true};
	uint64_t there = 0;
	const struct scrub_counts *c;

	dev_fault_set(w->f->faults[2], &gone);
	disk_set_state(disk_at(pool_disks(w->f->p), 2), DISK_FAILED);
	for (unsigned i = 0; i < EXTENTS; i++)
		for (unsigned j = 0; j < width(&w->recs[i]); j++)
			there += w->recs[i].frags[j].disk.v != 3;
	c = scrub(w, false);
	assert_int_equal(c->fragments, there);
	assert_int_equal(c->away, all_fragments(w) - there);
	assert_int_equal(c->degraded + c->unrecoverable + c->metadata, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_step_ends_when_users_come, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_whole_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_step_by_step, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_is_found_and_left_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_damage_is_repaired, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments_that_are_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_recovered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repaired_block_by_block, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_lost_block_leaves_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_was_found_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_audit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_audit_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repair_without_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_end_is_durable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_freed_meanwhile_is_no_damage, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_index_against_disks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_metadata_rots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time_paused_cancelled, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_resumes_at_its_cursor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_is_away, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
