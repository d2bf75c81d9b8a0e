/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What crashes leave (docs/DESIGN.md, G1 to G4): it goes where it is all that a segment holds, and where it
 * lies behind the last live record; and nothing else goes, nor anything while the index may not be whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "meta/internal.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define DISKS 4u
#define LEN 50000u

/* What others do at the next sync. */
static void (*meanwhile)(struct fixture *f);
static struct fixture *the_f;
static extent_id meanwhile_id;
static uint64_t freed_seq; /* 0: not asked */
static bool removed_early;
static const struct dev_ops *dir_ops;
static struct dev_ops hooked_ops;

static int hooked_sync(struct dev_file *file)
{
	void (*fn)(struct fixture *) = meanwhile;

	meanwhile = NULL;
	if (fn)
		fn(the_f);
	return dir_ops->sync(file);
}

static int hooked_remove(struct dev *dev, const char *name)
{
	if (freed_seq && !strncmp(name, "segments/", 9) &&
	    meta_durable_seq(pool_meta(the_f->p)) < freed_seq)
		removed_early = true;
	return dir_ops->remove(dev, name);
}

static void hook(struct dev *below)
{
	dir_ops = below->ops == &hooked_ops ? dir_ops : below->ops;
	hooked_ops = *dir_ops;
	hooked_ops.sync = hooked_sync;
	hooked_ops.remove = hooked_remove;
	below->ops = &hooked_ops;
}

static int setup(void **state)
{
	meanwhile = NULL;
	freed_seq = 0;
	removed_early = false;
	*state = the_f = fixture_new(DISKS, 0, hook);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* ---- extents with a name, and without ---- */

static void write_one(struct fixture *f, struct extent_new *e, struct record_piece *piece)
{
	static uint8_t data[LEN];

	memset(data, (int)f->nth, LEN);
	*piece = (struct record_piece){.file_offset = f->nth++ * MIB(1), .len = LEN};
	*e = (struct extent_new){.ino = {7},
				 .data = data,
				 .len = LEN,
				 .pieces = piece,
				 .piece_count = 1,
				 .wanted = {1, 2}};
	assert_int_equal(extent_write(pool_extents(f->p), e, 1), 0);
}

static void put_one(struct fixture *f, struct rec_extent *ret)
{
	struct record_piece piece;
	struct extent_new e;
	struct rec_map map;
	struct meta_txn *t;
	uint64_t seq;

	write_one(f, &e, &piece);
	map = (struct rec_map){.file_offset = piece.file_offset, .len = LEN, .extent = e.rec.id};
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, &e);
	put_map(t, (ino_id){7}, &map);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	*ret = e.rec;
}

/* Written and never named, as when power goes between the two. */
static void put_orphans(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct record_piece piece;
		struct extent_new e;

		write_one(f, &e, &piece);
		extent_settle(pool_extents(f->p), &e, 1, false);
	}
}

static uint64_t drop(struct fixture *f, extent_id id)
{
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	struct extent_refs refs = {0};
	uint64_t seq;

	extent_refs_add(&refs, id, 0, -1);
	assert_int_equal(extent_refs_apply(pool_extents(f->p), t, &refs), 0);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_refs_release(&refs);
	return seq;
}

/* ---- what lies on the disks ---- */

struct tally {
	unsigned segments;
	uint64_t bytes;
};

static int count_segment(void *ctx, uint32_t segment, uint64_t size_bytes)
{
	struct tally *t = ctx;

	(void)segment;
	t->segments++;
	t->bytes += size_bytes;
	return 0;
}

static struct tally tally(struct fixture *f)
{
	struct tally t = {0};

	for (unsigned i = 0; i < DISKS; i++) {
		struct disk *d = disk_at(pool_disks(f->p), i);

		if (disk_present(d))
			assert_int_equal(segment_list(d, count_segment, &t), 0);
	}
	return t;
}

static void expect_same(struct tally a, struct tally b)
{
	assert_int_equal(a.segments, b.segments);
	assert_int_equal(a.bytes, b.bytes);
}

static void nobody(void *ctx, const char *severity, const char *text)
{
	(void)ctx, (void)severity, (void)text;
}

static uint64_t orphans_found(struct fixture *f)
{
	struct pool_fsck_result r;
	int err = pool_fsck(f->p, true, nobody, NULL, &r);

	assert_true(err == 0 || err == DFS_EDAMAGED);
	return r.orphan_records_bytes;
}

/* ---- mounts ---- */

/* A mount without background, which does nothing in its first moment: the test does its steps. */
static void open_still(struct fixture *f, bool force)
{
	struct pool_open_options opt = {.force = force};
	struct pool_message msg = {""};

	assert_int_equal(pool_open(f->pool, &opt, NULL, &f->p, &msg), 0);
	env_mutex_lock(&f->p->lock);
	f->p->stop = true;
	env_cond_broadcast(&f->p->wake);
	env_mutex_unlock(&f->p->lock);
	env_thread_join(f->p->thread);
	f->p->thread = NULL;
}

static void close_still(struct fixture *f)
{
	pool_abandon(f->p);
	f->p = NULL;
}

static void close_well(struct fixture *f)
{
	struct pool *p = f->p;

	f->p = NULL;
	assert_int_equal(pool_close(p), 0);
}

static void steps(struct fixture *f)
{
	for (unsigned i = 0; i < 4 * DISKS; i++) {
		f->p->orphans.retry_ns = 0;
		orphans_tick(f->p);
	}
}

static void sweep(struct fixture *f, disk_id id)
{
	struct disk *d = disk_get(pool_disks(f->p), id);
	struct extent_sweep w = {0};

	assert_int_equal(extent_sweep_begin(d, &w), 0);
	while (extent_sweep_step(pool_extents(f->p), d, &w) == 0)
		;
	extent_sweep_end(&w);
}

/* A crash with orphans behind the last live record of each segment, and in segments of their own. */
static void crash_with_orphans(struct fixture *f, struct rec_extent *ret_live)
{
	put_one(f, ret_live);
	put_one(f, ret_live);
	put_orphans(f, 4);
	fixture_end_segments(f);
	put_orphans(f, 4);
	fixture_end_segments(f);
	put_orphans(f, 4);
	pool_abandon(f->p);
	f->p = NULL;
}

/* ---- what goes ---- */

/* In the background of an ordinary mount. */
static void test_a_mount_gives_it_back(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct tally before, now;
	uint32_t own[DISKS];

	crash_with_orphans(f, &live);
	fixture_reopen(f);
	before = tally(f);
	for (unsigned i = 0; i < DISKS; i++)
		own[i] = segment_first_own(disk_at(pool_disks(f->p), i));
	for (unsigned i = 0; i < 1000 && tally(f).segments > DISKS; i++)
		env_sleep_ms(20);
	env_sleep_ms(300);
	now = tally(f);
	assert_true(before.segments >= 3 * DISKS - 3 && now.segments <= DISKS);
	assert_int_equal(orphans_found(f), 0);
	assert_int_equal(fixture_good(f, live.id), 3);
	close_well(f);
	fixture_reopen(f);
	for (unsigned i = 0; i < DISKS; i++) /* S1 */
		assert_true(segment_first_own(disk_at(pool_disks(f->p), i)) >= own[i]);
}

/* What was given back is not looked at again, and a sweep that was cut short goes on at the next mount. */
static void test_it_ends(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct tally now;

	crash_with_orphans(f, &live);
	open_still(f, false);
	sweep(f, (disk_id){1});
	assert_true(orphans_found(f) > 0);
	close_still(f);
	open_still(f, false);
	steps(f);
	now = tally(f);
	assert_int_equal(orphans_found(f), 0);
	close_still(f);
	open_still(f, false);
	for (unsigned i = 0; i < DISKS; i++) {
		struct extent_sweep w = {0};

		assert_int_equal(extent_sweep_begin(disk_at(pool_disks(f->p), i), &w), 0);
		assert_int_equal(extent_sweep_step(pool_extents(f->p), disk_at(pool_disks(f->p), i),
						   &w),
				 DFS_EEND);
		assert_int_equal(w.removed + w.cut, 0);
		extent_sweep_end(&w);
	}
	expect_same(tally(f), now);
	close_still(f);
	fixture_reopen(f);
	assert_int_equal(fixture_good(f, live.id), 3);
}

/* G4 */
static void test_steps_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct extent_sweep w = {0};
	struct disk *d;
	unsigned steps = 0;
	int err;

	put_orphans(f, 4);
	close_still(f);
	fixture_shell("for i in $(seq 1000 1299); do echo junk >%s/dynamicfs/segments/0000$i; done",
		      f->disk[0]);
	open_still(f, false);
	d = disk_at(pool_disks(f->p), 0);
	assert_int_equal(extent_sweep_begin(d, &w), 0);
	assert_true(w.count >= 300);
	do {
		unsigned before = w.removed;

		err = extent_sweep_step(pool_extents(f->p), d, &w);
		assert_true(w.removed - before <= 64);
		steps++;
	} while (!err);
	assert_int_equal(err, DFS_EEND);
	assert_true(w.removed >= 300 && steps >= 5);
	extent_sweep_end(&w);
	close_still(f);
	fixture_reopen(f);
}

/* G5: one that can't be looked at keeps no other waiting, and its turn comes again. */
static void test_a_disk_that_fails(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;

	crash_with_orphans(f, &live);
	open_still(f, false);
	fixture_shell("cd %s/dynamicfs && mv segments aside && touch segments", f->disk[0]);
	steps(f);
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(f->p->orphans.swept[i + 1], i != 0);
	fixture_shell("cd %s/dynamicfs && rm segments && mv aside segments", f->disk[0]);
	steps(f);
	assert_true(f->p->orphans.swept[1]);
	assert_int_equal(orphans_found(f), 0);
	close_still(f);
	fixture_reopen(f);
}

/* ---- what stays ---- */

static void sweep_all(struct fixture *f)
{
	for (unsigned i = 1; i <= DISKS; i++)
		sweep(f, (disk_id){i});
}

/* G1: of this process's own segments nothing is known to be an orphan: it may be named yet. */
static void test_own_segments_stay(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct tally before;

	put_one(f, &live);
	put_orphans(f, 3);
	fixture_end_segments(f);
	put_orphans(f, 3);
	fixture_end_segments(f);
	before = tally(f);
	sweep_all(f);
	expect_same(tally(f), before);
}

/* G2: nothing goes before its freeing is durable. */
static void test_freeing_is_durable_first(void **state)
{
	struct fixture *f = *state;
	struct rec_extent a;

	put_one(f, &a);
	close_well(f);
	fixture_reopen(f);
	assert_true(tally(f).segments >= 3);
	freed_seq = drop(f, a.id);
	sweep_all(f);
	assert_false(removed_early);
	assert_int_equal(tally(f).segments, 0);
}

static void drop_it(struct fixture *f) { (void)drop(f, meanwhile_id); }

/* Three of four hold each. */
static disk_id shared_disk(const struct rec_extent *a, const struct rec_extent *b)
{
	for (unsigned i = 0; i < 9; i++)
		if (a->frags[i / 3].disk.v == b->frags[i % 3].disk.v)
			return a->frags[i / 3].disk;
	fail();
	return (disk_id){0};
}

/* G2: what is freed while a sweep syncs is not durably free: a crash brings it back, whole. */
static void test_beside_a_freeing(void **state)
{
	struct fixture *f = *state;
	struct rec_extent a, b, now;

	put_one(f, &a);
	fixture_end_segments(f);
	put_one(f, &b);
	close_well(f);
	fixture_reopen(f);
	(void)drop(f, a.id);
	meanwhile_id = b.id;
	meanwhile = drop_it;
	sweep(f, shared_disk(&a, &b));
	assert_null(meanwhile);
	pool_abandon(f->p);
	fixture_reopen(f);
	assert_int_equal(get_extent(pool_meta(f->p), a.id, &now), DFS_ENOENT);
	if (get_extent(pool_meta(f->p), b.id, &now) == 0) /* else the background has synced it */
		assert_int_equal(fixture_good(f, b.id), 3);
}

/* P3: a by-disk record that has rotted still stands for what lives there, of whatever length. */
static void test_bydisk_is_damaged(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct tally before;
	struct meta_txn *t;
	uint64_t seq;

	put_one(f, &live);
	close_well(f);
	fixture_reopen(f);
	t = meta_begin(pool_meta(f->p));
	for (unsigned i = 0; i < 3; i++) {
		BUF key = {0};

		key_bydisk(&key, live.frags[i].disk, live.frags[i].segment, live.frags[i].offset);
		meta_put(t, key.data, key.len, "rotten", 6);
	}
	assert_int_equal(meta_commit(t, &seq), 0);
	before = tally(f);
	sweep_all(f);
	expect_same(tally(f), before);
	assert_int_equal(fixture_good(f, live.id), 3);
}

static void expect_nothing_goes(struct fixture *f)
{
	struct tally before = tally(f);

	assert_true(orphans_found(f) > 0);
	steps(f);
	expect_same(tally(f), before);
}

static void move_disks(struct fixture *f, bool away)
{
	for (unsigned i = 1; i < DISKS; i++) {
		char to[120];

		snprintf(to, sizeof(to), "%s.away", f->disk[i]);
		assert_int_equal(rename(away ? f->disk[i] : to, away ? to : f->disk[i]), 0);
	}
}

/* G3: what the other disks know may be newer, and name what this one holds; for later mounts, too. */
static void test_not_after_force(void **state)
{
	struct pool_open_options opt = {.force = true};
	struct pool_message msg = {""};
	struct fixture *f = *state;
	struct rec_extent live;

	crash_with_orphans(f, &live);
	move_disks(f, true);
	assert_int_equal(pool_open(f->pool, &opt, NULL, &f->p, &msg), 0);
	assert_true(meta_was_forced(pool_meta(f->p)));
	close_still(f);
	for (unsigned i = 0; i < 2; i++) {
		open_still(f, false);
		assert_false(f->p->recovery.forced);
		expect_nothing_goes(f);
		close_still(f);
		fixture_reopen(f);
		close_well(f);
	}
	move_disks(f, false);
	fixture_reopen(f);
}

/* G3: the records may be all there is of what was lost; once that is noted they go. */
static void test_not_while_a_loss_is_told(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct meta_txn *t;
	BUF value = {0};
	uint64_t seq;

	t = meta_begin(pool_meta(f->p));
	envelope_begin(&value);
	for (unsigned i = 0; i < 4; i++)
		buf_put_le64(&value, 10);
	envelope_seal("mlost", 5, &value, 1);
	meta_put(t, "mlost", 5, value.data, value.len);
	assert_int_equal(meta_commit(t, &seq), 0);
	crash_with_orphans(f, &live);
	open_still(f, false);
	expect_nothing_goes(f);
	close_still(f);
	fixture_reopen(f);
	assert_int_equal(meta_loss_noted(pool_meta(f->p)), 0);
	close_well(f);
	open_still(f, false);
	steps(f);
	assert_int_equal(orphans_found(f), 0);
	close_still(f);
	fixture_reopen(f);
}

/* G3 */
static void test_not_beside_damage(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;

	crash_with_orphans(f, &live);
	open_still(f, false);
	f->p->recovery.journals_short = true;
	expect_nothing_goes(f);
	close_still(f);
	fixture_reopen(f);
}

/* G3: not on a disk that was away; at the mount after that one it is one of the pool again. */
static void test_not_on_a_disk_that_is_behind(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	char to[120];

	crash_with_orphans(f, &live);
	snprintf(to, sizeof(to), "%s.away", f->disk[0]);
	assert_int_equal(rename(f->disk[0], to), 0);
	fixture_reopen(f); /* a new epoch */
	close_well(f);
	assert_int_equal(rename(to, f->disk[0]), 0);
	open_still(f, false);
	steps(f);
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(f->p->orphans.swept[i + 1], i != 0);
	assert_true(orphans_found(f) > 0);
	close_still(f);
	fixture_reopen(f);
	close_well(f);
	open_still(f, false);
	steps(f);
	assert_int_equal(orphans_found(f), 0);
	close_still(f);
	fixture_reopen(f);
}

/* ---- between live records (G6) ---- */

static struct pool_orphans orphans(struct fixture *f, uint64_t min_age_s, bool remove)
{
	struct pool_orphans_options opt = {.min_age_s = min_age_s, .remove = remove};
	struct pool_message msg = {""};
	struct pool_orphans r;

	assert_int_equal(pool_orphans(f->p, &opt, &r, &msg), 0);
	return r;
}

static void expect_whole(struct fixture *f, const struct rec_extent *rec)
{
	struct extent_check check;

	assert_int_equal(extent_verify(pool_extents(f->p), rec, true, &check), 0);
	assert_int_equal(check.good, rec->k + rec->m);
}

/* They are found, and go by order when they are old enough; what lives beside them stays. */
static void test_between(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live[12], freed;
	struct pool_orphans r;

	for (unsigned i = 0; i < 12; i++) { /* on each disk some before and after */
		put_one(f, &live[i]);
		put_orphans(f, i % 3 == 1 ? 2 : 0);
	}
	put_one(f, &freed);
	(void)!drop(f, freed.id);
	assert_int_equal(meta_sync(pool_meta(f->p), meta_last_seq(pool_meta(f->p))), 0);
	pool_abandon(f->p);
	open_still(f, false);
	r = orphans(f, 0, false);
	assert_int_equal(r.records, 8 * 3); /* the freed one is none: it is to be reclaimed */
	assert_int_equal(r.old_records, r.records);
	assert_true(r.is_certain && r.disks == DISKS && r.bytes >= 8 * 3 * LEN);
	r = orphans(f, 3600, true);
	assert_int_equal(r.records, 8 * 3);
	assert_int_equal(r.old_records, 0);
	assert_int_equal(r.removed_records, 0);
	for (unsigned i = 0; i < DISKS * 16; i++) { /* nor of a segment that has older ones */
		unsigned count;
		uint64_t bytes;

		if (!extent_orphans_remove(pool_extents(f->p), disk_at(pool_disks(f->p), i % DISKS),
					   1 + i / DISKS, 3600, &count, &bytes))
			assert_int_equal(count, 0);
	}
	r = orphans(f, 0, true);
	assert_int_equal(r.removed_records, 8 * 3);
	assert_int_equal(orphans(f, 0, false).records, 0);
	for (unsigned i = 0; i < 12; i++)
		expect_whole(f, &live[i]);
	close_still(f);
	fixture_reopen(f);
}

/* What a transaction is about to name is none. */
static void test_in_flight(void **state)
{
	struct fixture *f = *state;
	struct rec_extent live;
	struct record_piece piece;
	struct extent_new e;
	struct meta_txn *t;
	struct pool_orphans r;
	uint64_t seq;

	close_well(f);
	fixture_reopen(f); /* disks that were added since the mount are left alone */
	put_one(f, &live);
	write_one(f, &e, &piece);
	fixture_end_segments(f);
	r = orphans(f, 0, true);
	assert_int_equal(r.records, 0);
	assert_true(r.busy_segments >= 3);
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, &e);
	put_map(t, (ino_id){7},
		&(struct rec_map){
			.file_offset = piece.file_offset, .len = LEN, .extent = e.rec.id});
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	assert_int_equal(orphans(f, 0, true).records, 0);
	expect_whole(f, &e.rec);
	put_orphans(f, 1); /* in segments of this mount, too, once they are closed */
	fixture_end_segments(f);
	assert_int_equal(orphans(f, 0, true).removed_records, 3);
	expect_whole(f, &live);
}

/* G3: not while they may be all there is of what was lost. */
static void test_order_is_refused(void **state)
{
	struct fixture *f = *state;
	struct pool_orphans_options opt = {.remove = true};
	struct pool_message msg = {""};
	struct pool_orphans r;

	f->p->recovery.journals_short = true;
	assert_int_equal(pool_orphans(f->p, &opt, &r, &msg), DFS_EREFUSED);
	assert_non_null(strstr(msg.text, "not known to be whole"));
	f->p->recovery.journals_short = false;
	assert_int_equal(pool_orphans(f->p, &opt, &r, &msg), 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_mount_gives_it_back),
		TEST(test_it_ends),
		TEST(test_steps_are_bounded),
		TEST(test_a_disk_that_fails),
		TEST(test_own_segments_stay),
		TEST(test_freeing_is_durable_first),
		TEST(test_beside_a_freeing),
		TEST(test_bydisk_is_damaged),
		TEST(test_not_after_force),
		TEST(test_not_while_a_loss_is_told),
		TEST(test_not_beside_damage),
		TEST(test_not_on_a_disk_that_is_behind),
		TEST(test_between),
		TEST(test_in_flight),
		TEST(test_order_is_refused),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
