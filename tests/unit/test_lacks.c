/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that was set back to an older copy of itself, made within the epoch, so that its roots don't tell
 * (H8): what it lacks is noticed, counts as lost, and is written anew; nothing else is said to be lacking.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "unit/pool_fixture.h"

#define DISKS 4u
#define LAST (DISKS - 1)
#define BEFORE (LAST - 1)
#define LEN 10000u
#define MAX_EXTENTS 40u

struct world {
	struct fixture *f;
	extent_id ids[MAX_EXTENTS];
	unsigned count;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->f = fixture_new(DISKS, 2, NULL); /* so that the last one is no member */
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fixture_free(w->f);
	free(w);
	return 0;
}

static void put_copies(struct world *w, uint8_t more)
{
	static uint8_t data[LEN];
	struct fixture *f = w->f;
	struct record_piece piece = {.file_offset = f->nth++ * MIB(1), .len = LEN};
	struct rec_map map = {.file_offset = piece.file_offset, .len = LEN};
	struct extent_new e = {.ino = {7},
			       .data = data,
			       .len = LEN,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = {1, more}};
	struct meta_txn *t;
	uint64_t seq;

	memset(data, (int)f->nth, sizeof(data));
	assert_int_equal(extent_write(pool_extents(f->p), &e, 1), 0);
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, &e);
	map.extent = e.rec.id;
	put_map(t, (ino_id){7}, &map);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	assert_true(w->count < MAX_EXTENTS);
	w->ids[w->count++] = e.rec.id;
}

static void copy_last(struct fixture *f) { fixture_copy_disk(f, LAST, "copy"); }

static void bring_copy_back(struct fixture *f)
{
	pool_abandon(f->p);
	f->p = NULL;
	fixture_shell("rm -r %s/dynamicfs", f->disk[LAST]);
	fixture_shell("mv %s/copy %s/dynamicfs", f->top, f->disk[LAST]);
}

static struct pool_disk_status status_of(struct pool *p, unsigned i)
{
	struct pool_disk_status st;

	assert_true(pool_disk_status(p, i, &st));
	return st;
}

/* As it is found, before anything is written anew. */
static struct pool *look(struct fixture *f)
{
	const struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {""};
	struct pool *p;

	assert_int_equal(pool_open(f->pool, &opt, NULL, &p, &msg), 0);
	return p;
}

static void wait_settled(struct fixture *f)
{
	for (unsigned i = 0; i < 400 && status_of(f->p, LAST).doubtful; i++)
		env_sleep_ms(25);
	assert_false(status_of(f->p, LAST).doubtful);
	assert_int_equal(status_of(f->p, LAST).lost_segments, 0);
}

/* It has the newest root, and a file of the newest segment, but not what was written there last. */
static void test_set_back_within_an_epoch(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_disk_status last;
	struct pool *p;

	for (unsigned i = 0; i < 5; i++)
		put_copies(w, LAST);
	copy_last(f);
	for (unsigned i = 0; i < 5; i++)
		put_copies(w, LAST);
	bring_copy_back(f);
	p = look(f);
	last = status_of(p, LAST);
	assert_int_equal(meta_disk_role(pool_meta(p), &last.info.uuid), HISTORY_CURRENT);
	assert_int_equal(last.lost_segments, 1);
	for (unsigned i = 0; i < LAST; i++)
		assert_int_equal(status_of(p, i).lost_segments, 0);
	pool_abandon(p);
	fixture_reopen(f);
	wait_settled(f);
	for (unsigned i = 0; i < w->count; i++)
		assert_int_equal(fixture_good(f, w->ids[i]), DISKS);
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	assert_int_equal(status_of(f->p, LAST).lost_segments, 0);
}

/* Whole segments are not there; nor is, at last, any. */
static void test_segments_lacking(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool *p;

	for (unsigned i = 0; i < 5; i++)
		put_copies(w, LAST);
	fixture_end_segments(f);
	copy_last(f);
	for (unsigned i = 0; i < 5; i++) {
		put_copies(w, LAST);
		put_copies(w, LAST);
		fixture_end_segments(f);
	}
	bring_copy_back(f);
	p = look(f);
	assert_true(status_of(p, LAST).lost_segments >= 3);
	pool_abandon(p);
	fixture_reopen(f);
	wait_settled(f);
	pool_abandon(f->p);
	f->p = NULL;
	fixture_shell("rm -r %s/dynamicfs/segments", f->disk[LAST]);
	fixture_reopen(f);
	wait_settled(f);
	for (unsigned i = 0; i < w->count; i++)
		assert_int_equal(fixture_good(f, w->ids[i]), DISKS);
}

/* What is lacking is no reason to let go of another disk. */
static void test_lacking_counts_as_lost(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;
	struct pool *p;

	put_copies(w, LAST);
	copy_last(f);
	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 10; i++)
		put_copies(w, 1);
	bring_copy_back(f);
	p = look(f);
	assert_int_equal(pool_plan_fail(p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_true(plan.extents_lost > 0);
	assert_int_equal(pool_plan_fail(p, f->disk[LAST], &plan, &msg), 0);
	pool_abandon(p);
	fixture_reopen(f);
	wait_settled(f);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), 0);
}

/* The file of an old segment is gone, another is cut short, and newer ones are whole: found soon after the opening, and
 * before another disk is let go of. */
static void test_old_segments_lacking(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;
	unsigned whole = 0;
	struct pool *p;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 8; i++) {
		put_copies(w, 1);
		fixture_end_segments(f);
	}
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	fixture_shell("rm %s/dynamicfs/segments/00000002", f->disk[LAST]);
	fixture_shell("truncate -s 512 %s/dynamicfs/segments/00000003", f->disk[LAST]);
	p = look(f);
	assert_int_equal(pool_plan_fail(p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(plan.extents_lost, 2);
	assert_int_equal(status_of(p, LAST).lost_segments, 2);
	pool_abandon(p);
	fixture_reopen(f);
	for (unsigned n = 0; n < 400 && whole < w->count; n++) {
		env_sleep_ms(25);
		whole = 0;
		for (unsigned i = 0; i < w->count; i++)
			whole += fixture_good(f, w->ids[i]) == 2;
	}
	assert_int_equal(whole, w->count);
	wait_settled(f);
}

/* What a failed sync may have lost is no reason to let go of another disk either, however long ago that was. */
static void failed_sync(struct world *w, bool crash)
{
	const struct fault_plan fails = {.sync_error = 1};
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;
	struct pool *p;

	put_copies(w, LAST);
	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	dev_fault_set(f->faults[LAST], &fails);
	put_copies(w, 1);
	assert_false(status_of(f->p, LAST).present);
	if (crash)
		pool_abandon(f->p);
	else
		assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	p = look(f);
	assert_true(status_of(p, LAST).present && status_of(p, LAST).doubtful);
	assert_int_equal(pool_plan_fail(p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_true(plan.extents_lost > 0);
	pool_abandon(p);
	fixture_reopen(f);
	wait_settled(f);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), 0);
	assert_int_equal(fixture_good(f, w->ids[1]), 2);
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	assert_false(status_of(f->p, LAST).doubtful);
}

static void test_failed_sync_crash(void **state) { failed_sync(*state, true); }
static void test_failed_sync_close(void **state) { failed_sync(*state, false); }

/* Another disk has lost its copies, and only those can be written anew: what is in doubt stays so. */
static void test_doubt_stays_beside_what_moved(void **state)
{
	const struct fault_plan fails = {.sync_error = 1};
	struct world *w = *state;
	struct fixture *f = w->f;

	put_copies(w, LAST);
	dev_fault_set(f->faults[BEFORE], &fails);
	put_copies(w, LAST);
	assert_int_equal(pool_close(f->p), 0);
	fixture_shell("rm -r %s/dynamicfs/segments", f->disk[LAST]);
	f->plans[BEFORE].write_error = 1;
	fixture_reopen(f);
	for (unsigned i = 0; i < 400 && status_of(f->p, LAST).doubtful; i++)
		env_sleep_ms(25);
	assert_false(status_of(f->p, LAST).doubtful);
	for (unsigned i = 0; i < 20; i++, env_sleep_ms(25))
		assert_true(status_of(f->p, BEFORE).doubtful);
	assert_int_equal(pool_close(f->p), 0);
	f->plans[BEFORE].write_error = 0;
	fixture_reopen(f);
	for (unsigned i = 0; i < 400 && status_of(f->p, BEFORE).doubtful; i++)
		env_sleep_ms(25);
	assert_false(status_of(f->p, BEFORE).doubtful);
	for (unsigned i = 0; i < w->count; i++)
		assert_int_equal(fixture_good(f, w->ids[i]), DISKS);
}

/* The disk is given up: nothing is remembered of it. */
static void test_failed_sync_given_up(void **state)
{
	const struct fault_plan fails = {.sync_error = 1};
	struct world *w = *state;
	struct fixture *f = w->f;
	struct disk_info info;
	struct pool_message msg;
	struct meta_iter *it;
	const uint8_t first = TABLE_DOUBT;
	size_t len;

	put_copies(w, LAST);
	dev_fault_set(f->faults[LAST], &fails);
	put_copies(w, LAST);
	assert_int_equal(pool_fail_disk(f->p, f->disk[LAST], false, &info, &msg), 0);
	it = meta_iter_new(pool_meta(f->p));
	meta_iter_seek(it, &first, 1);
	assert_true(!meta_iter_valid(it) || meta_iter_key(it, &len)[0] != TABLE_DOUBT);
	meta_iter_free(it);
}

/* Overwrites some of what was put first. */
static void rot_first(struct fixture *f, unsigned disk)
{
	fixture_shell(
		"dd if=/dev/zero of=%s/dynamicfs/segments/00000001 bs=512 seek=2 count=8 conv=notrunc 2>/dev/null",
		f->disk[disk]);
}

static bool is_doubtful(struct fixture *f)
{
	return status_of(f->p, 0).doubtful && status_of(f->p, LAST).doubtful;
}

/* Damage beyond repair counts, also after the next mount, and what is good beside it is taken away from there. */
static void test_damage_is_remembered(void **state)
{
	static uint8_t buf[LEN];
	struct world *w = *state;
	struct fixture *f = w->f;
	struct rec_extent rec;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 3; i++)
		put_copies(w, 1);
	rot_first(f, 0);
	rot_first(f, LAST);
	assert_int_equal(extent_read(pool_extents(f->p), w->ids[0], 0, LEN, buf), DFS_EIO);
	for (unsigned n = 0; n < 400 && !is_doubtful(f); n++)
		env_sleep_ms(25);
	assert_true(is_doubtful(f));
	assert_int_equal(meta_sync(pool_meta(f->p), meta_last_seq(pool_meta(f->p))), 0);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 1; i < w->count; i++) {
			for (unsigned n = 0; n < 400; n++) {
				assert_int_equal(get_extent(pool_meta(f->p), w->ids[i], &rec), 0);
				if (rec.frags[0].segment != 1 && rec.frags[1].segment != 1)
					break;
				env_sleep_ms(25);
			}
			assert_true(rec.frags[0].segment != 1 && rec.frags[1].segment != 1);
			assert_int_equal(fixture_good(f, w->ids[i]), 2);
		}
		assert_int_equal(get_extent(pool_meta(f->p), w->ids[0], &rec), 0);
		for (unsigned i = 0; i < 2; i++)
			assert_true(disk_may_lack(disk_get(pool_disks(f->p), rec.frags[i].disk),
						  rec.frags[i].segment, rec.frags[i].offset,
						  rec.frags[i].record_len));
		assert_true(is_doubtful(f));
		assert_int_equal(pool_close(f->p), 0);
		fixture_reopen(f);
	}
}

static void wait_doubtful(struct fixture *f, unsigned disk)
{
	for (unsigned n = 0; n < 400 && !status_of(f->p, disk).doubtful; n++)
		env_sleep_ms(25);
	assert_true(status_of(f->p, disk).doubtful);
}

static struct rec_fragment fragment_on(struct world *w, unsigned n, unsigned disk)
{
	struct disk_info info = status_of(w->f->p, disk).info;
	struct rec_extent rec;

	assert_int_equal(get_extent(pool_meta(w->f->p), w->ids[n], &rec), 0);
	for (unsigned i = 0; i < rec.k + rec.m; i++)
		if (rec.frags[i].disk.v == info.id.v)
			return rec.frags[i];
	fail_msg("extent %u has nothing on disk %u", n, disk);
	return rec.frags[0];
}

/* One copy of two is damaged, and there is no place for another: that counts, also after the next mount. */
static void damage_stays(struct world *w, bool reads_fail)
{
	static uint8_t buf[LEN];
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 8; i++)
		put_copies(w, 1);
	disk_set_state(disk_at(pool_disks(f->p), 0), DISK_DEGRADED);
	disk_set_state(disk_at(pool_disks(f->p), LAST), DISK_DEGRADED);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), 0);
	if (reads_fail)
		dev_fault_set(f->faults[LAST], &(struct fault_plan){.read_error = 1});
	else
		fixture_shell(
			"dd if=/dev/zero of=%s/dynamicfs/segments/00000001 bs=1k count=80 conv=notrunc 2>/dev/null",
			f->disk[LAST]);
	for (unsigned i = 0; i < w->count; i++)
		assert_int_equal(extent_read(pool_extents(f->p), w->ids[i], 0, LEN, buf), 0);
	wait_doubtful(f, LAST);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(pool_close(f->p), 0);
	f->p = look(f);
	assert_true(status_of(f->p, LAST).doubtful);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	pool_abandon(f->p);
	fixture_reopen(f);
	wait_settled(f);
	for (unsigned i = 0; i < w->count; i++)
		assert_int_equal(fixture_good(f, w->ids[i]), 2);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), 0);
}

/* Of a segment that has lost its end what lies in front has rotted: that counts, too, and the end goes on being lost. */
static void test_rot_in_front_of_a_lost_end(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;
	struct rec_fragment front, end;
	struct disk *last;
	unsigned repaired;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 4; i++)
		put_copies(w, 1);
	disk_set_state(disk_at(pool_disks(f->p), 0), DISK_DEGRADED);
	last = disk_at(pool_disks(f->p), LAST);
	disk_set_state(last, DISK_DEGRADED);
	front = fragment_on(w, 0, LAST);
	end = fragment_on(w, 3, LAST);
	disk_note_doubt(last, &(struct disk_doubt){end.segment, end.offset, true});
	rot_first(f, LAST);
	assert_int_equal(extent_repair(pool_extents(f->p), w->ids[0], &repaired), DFS_ENOSPC);
	assert_true(disk_may_lack(last, front.segment, front.offset, front.record_len));
	assert_false(disk_lost_there(last, front.segment, front.offset, front.record_len));
	assert_true(disk_lost_there(last, end.segment, end.offset, end.record_len));
	assert_int_equal(status_of(f->p, LAST).lost_segments, 1);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(plan.extents_lost, w->count);
}

/* What is remembered to be in doubt hides no end that is missing; once that is written anew the doubt stays. */
static void test_lost_end_of_what_is_in_doubt(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct rec_fragment end;
	struct meta_txn *t;
	uint64_t seq;
	struct pool *p;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 4; i++)
		put_copies(w, 1);
	end = fragment_on(w, 3, LAST);
	t = meta_begin(pool_meta(f->p));
	put_doubt(t, end.disk, end.segment, 0);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	rot_first(f, 0);
	rot_first(f, LAST);
	fixture_shell("truncate -s %u %s/dynamicfs/segments/%08x", end.offset, f->disk[LAST],
		      end.segment);
	p = look(f);
	assert_int_equal(status_of(p, LAST).lost_segments, 1);
	pool_abandon(p);
	for (unsigned round = 0; round < 2; round++) {
		fixture_reopen(f);
		for (unsigned n = 0; n < 400 && (fixture_good(f, w->ids[3]) < 2 ||
						 status_of(f->p, LAST).lost_segments);
		     n++)
			env_sleep_ms(25);
		assert_int_equal(fixture_good(f, w->ids[3]), 2);
		assert_int_equal(status_of(f->p, LAST).lost_segments, 0);
		assert_true(status_of(f->p, LAST).doubtful);
		assert_int_equal(pool_close(f->p), 0);
		f->p = NULL;
	}
	fixture_reopen(f);
	assert_true(status_of(f->p, LAST).doubtful);
}

static void test_rot_that_stays(void **state) { damage_stays(*state, false); }
static void test_bad_sectors_that_stay(void **state) { damage_stays(*state, true); }

/* What a disk says it can't read is written anew where there is room. */
static void test_bad_sectors_are_healed(void **state)
{
	static uint8_t buf[LEN];
	struct world *w = *state;
	struct fixture *f = w->f;
	unsigned whole = 0;

	for (unsigned i = 0; i < 8; i++)
		put_copies(w, LAST - 1);
	dev_fault_set(f->faults[LAST], &(struct fault_plan){.read_error = 1});
	for (unsigned n = 0; n < 400 && whole < w->count; n++, env_sleep_ms(25)) {
		whole = 0;
		for (unsigned i = 0; i < w->count; i++) {
			struct rec_extent rec;
			bool on_last = false;

			assert_int_equal(extent_read(pool_extents(f->p), w->ids[i], 0, LEN, buf),
					 0);
			assert_int_equal(get_extent(pool_meta(f->p), w->ids[i], &rec), 0);
			for (unsigned j = 0; j < LAST; j++)
				on_last |= rec.frags[j].disk.v == DISKS &&
					   rec.id.u.b[15] % LAST == j; /* the one that is read */
			whole += !on_last;
		}
	}
	assert_int_equal(whole, w->count);
}

/* Nothing can be read there at all: that is remembered, and what it holds is not copied away. */
static void test_disk_that_reads_nothing(void **state)
{
	static uint8_t buf[LEN];
	struct world *w = *state;
	struct fixture *f = w->f;
	struct disk *last;

	for (unsigned i = 0; i < 4; i++)
		put_copies(w, LAST);
	last = disk_at(pool_disks(f->p), LAST);
	dev_fault_set(f->faults[LAST], &(struct fault_plan){.read_error = 1});
	for (unsigned i = 0; i < 256; i++) {
		struct iovec iov = {buf, 512};
		struct disk_io io = {
			.disk = last, .op = DISK_READ, .addr = {1, 0}, .iov = &iov, .iovcnt = 1};

		assert_int_equal(disk_io_run(&io, 1), DFS_EIO);
	}
	assert_true(disk_reads_nothing(last));
	for (unsigned i = 0; i < w->count; i++) {
		unsigned repaired;

		assert_int_equal(extent_repair(pool_extents(f->p), w->ids[i], &repaired), 0);
		assert_int_equal(repaired, 0);
	}
	assert_true(status_of(f->p, LAST).doubtful);
}

/* Whole segments are in doubt, and what lies there may be all there is: no disk that has it is let go of. */
static void test_doubtful_may_be_needed(void **state)
{
	static uint8_t buf[LEN];
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;

	for (unsigned i = 1; i < LAST; i++)
		disk_set_state(disk_at(pool_disks(f->p), i), DISK_DEGRADED);
	for (unsigned i = 0; i < 3; i++)
		put_copies(w, 1);
	disk_set_state(disk_at(pool_disks(f->p), 0), DISK_DEGRADED);
	disk_set_state(disk_at(pool_disks(f->p), LAST), DISK_DEGRADED);
	rot_first(f, 0);
	rot_first(f, LAST);
	assert_int_equal(extent_read(pool_extents(f->p), w->ids[0], 0, LEN, buf), DFS_EIO);
	for (unsigned n = 0; n < 400 && !is_doubtful(f); n++)
		env_sleep_ms(25);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(plan.extents_lost, 0);
	assert_int_equal(plan.extents_unsure, 3);
	assert_int_equal(pool_plan_fail(f->p, f->disk[LAST], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(pool_plan_fail(f->p, f->disk[1], &plan, &msg), 0);
}

/* A damaged note refuses no pool: the whole segment is in doubt. */
static void test_damaged_note(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_disk_status st;
	struct meta_txn *t;
	BUF key = {0};
	uint64_t seq;
	struct pool *p;

	put_copies(w, LAST);
	key_doubt(&key, status_of(f->p, LAST).info.id, 1);
	t = meta_begin(pool_meta(f->p));
	meta_put(t, key.data, key.len, "nonsense", 8);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	pool_abandon(f->p);
	f->p = NULL;
	p = look(f);
	st = status_of(p, LAST);
	assert_true(st.doubtful);
	pool_abandon(p);
	fixture_reopen(f);
	wait_settled(f);
}

static void put_nonsense(struct fixture *f, const struct rec_fragment *at)
{
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	BUF key = {0};
	uint64_t seq;

	key_bydisk(&key, at->disk, at->segment, at->offset);
	meta_put(t, key.data, key.len, "nonsense", 8);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
}

/* A damaged record of what lies on a disk hides nothing of what it lacks before that record. */
static void test_damaged_record_is_passed_over(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct rec_fragment at;
	struct pool *p;

	for (unsigned i = 0; i < 5; i++)
		put_copies(w, LAST);
	copy_last(f);
	for (unsigned i = 0; i < 5; i++)
		put_copies(w, LAST);
	at = fragment_on(w, w->count - 1, LAST);
	put_nonsense(f, &at);
	bring_copy_back(f);
	p = look(f);
	assert_int_equal(status_of(p, LAST).lost_segments, 1);
	pool_abandon(p);
}

/* Nor does it keep the disk from being given up: what it names counts as needed, so that takes force. */
static void test_damaged_record_counts_as_needed(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;
	struct pool_fail_plan plan;
	struct pool_message msg;
	struct rec_fragment at;
	struct disk_info info;

	for (unsigned i = 0; i < 3; i++)
		put_copies(w, LAST);
	assert_int_equal(pool_plan_fail(f->p, f->disk[LAST], &plan, &msg), 0);
	at = fragment_on(w, 1, LAST);
	put_nonsense(f, &at);
	assert_int_equal(pool_plan_fail(f->p, f->disk[0], &plan, &msg), 0);
	assert_int_equal(pool_plan_fail(f->p, f->disk[LAST], &plan, &msg), DFS_EREFUSED);
	assert_int_equal(plan.extents_lost, 1);
	assert_int_equal(plan.unknown, 1);
	assert_non_null(strstr(msg.text, "fsck"));
	assert_int_equal(pool_fail_disk(f->p, f->disk[LAST], true, &info, &msg), 0);
}

/* After a crash at any time, and after a clean end: every disk has all that is named there. */
static void test_nothing_lacks(void **state)
{
	struct world *w = *state;
	struct fixture *f = w->f;

	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 4; i++)
			put_copies(w, LAST);
		if (round % 2)
			fixture_end_segments(f);
		if (round % 3)
			pool_abandon(f->p);
		else
			assert_int_equal(pool_close(f->p), 0);
		fixture_reopen(f);
		for (unsigned i = 0; i < DISKS; i++)
			assert_int_equal(status_of(f->p, i).lost_segments, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_back_within_an_epoch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments_lacking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lacking_counts_as_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_old_segments_lacking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_sync_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_sync_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_sync_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_doubt_stays_beside_what_moved, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_damaged_note, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damage_is_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_record_is_passed_over, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_damaged_record_counts_as_needed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rot_in_front_of_a_lost_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_end_of_what_is_in_doubt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rot_that_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sectors_that_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_sectors_are_healed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_that_reads_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_doubtful_may_be_needed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_lacks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
