/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a group commit risks (P1, E7): when more disks than an extent tolerates were lost before its
 * transaction was durable, no sync says that it is, whoever's sync it was that the disks failed in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/pool_fixture.h"

#define DISKS 7u

static int setup(void **state)
{
	*state = fixture_new(DISKS, DISKS, NULL);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* Three copies of an extent, committed, neither synced nor settled. */
static uint64_t put_in_flight(struct fixture *f, uint64_t nth, struct extent_new *ret)
{
	static const uint8_t data[10000] = {1, 2, 3};
	struct record_piece piece = {.file_offset = nth * MIB(1), .len = sizeof(data)};
	struct rec_map map = {.file_offset = piece.file_offset, .len = sizeof(data)};
	struct meta_txn *t;
	uint64_t seq;

	*ret = (struct extent_new){.ino = {7},
				   .data = data,
				   .len = sizeof(data),
				   .pieces = &piece,
				   .piece_count = 1,
				   .wanted = {1, 2}};
	assert_int_equal(extent_write(pool_extents(f->p), ret, 1), 0);
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, ret);
	map.extent = ret->rec.id;
	put_map(t, (ino_id){7}, &map);
	assert_int_equal(meta_commit(t, &seq), 0);
	return seq;
}

static uint64_t put_one(struct fixture *f, uint64_t nth, struct extent_new *ret)
{
	uint64_t seq = put_in_flight(f, nth, ret);

	extent_settle(pool_extents(f->p), ret, 1, true);
	return seq;
}

/* The first n of the extent's disks can't sync any more. */
static void break_disks(struct fixture *f, const struct rec_extent *rec, unsigned n)
{
	const struct fault_plan broken = {.sync_error = 1};

	for (unsigned i = 0; i < n; i++)
		dev_fault_set(f->faults[rec->frags[i].disk.v - 1], &broken);
}

/* As anybody else's sync of the disks: a repair's, a verified write's. */
static void others_sync(struct fixture *f)
{
	disk_id failed[DISKS];
	unsigned count;

	(void)disk_set_sync(pool_disks(f->p), failed, &count);
}

static void test_within_tolerance(void **state)
{
	struct fixture *f = *state;
	struct extent_new e;
	uint64_t seq = put_one(f, 0, &e);

	break_disks(f, &e.rec, 2);
	others_sync(f);
	others_sync(f);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	/* they are not held against what is written since */
	seq = put_one(f, 1, &e);
	break_disks(f, &e.rec, 1);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
}

static void test_lost_in_its_own_sync(void **state)
{
	struct fixture *f = *state;
	struct extent_new e;
	uint64_t seq = put_one(f, 0, &e);

	break_disks(f, &e.rec, 3);
	assert_int_not_equal(meta_sync(pool_meta(f->p), seq), 0);
}

/* The sync comes before whoever wrote the extent has settled it. */
static void test_lost_before_it_was_settled(void **state)
{
	struct fixture *f = *state;
	struct extent_new e;
	uint64_t seq = put_in_flight(f, 0, &e);

	break_disks(f, &e.rec, 3);
	assert_int_not_equal(meta_sync(pool_meta(f->p), seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
}

static void test_lost_in_anothers_sync(void **state)
{
	for (unsigned syncs = 1; syncs <= 3; syncs++) {
		struct fixture *f;
		struct extent_new e;
		uint64_t seq;

		if (syncs > 1) {
			teardown(state);
			setup(state);
		}
		f = *state;
		seq = put_one(f, 0, &e);
		break_disks(f, &e.rec, 3);
		for (unsigned i = 0; i < syncs; i++)
			others_sync(f);
		assert_int_not_equal(meta_sync(pool_meta(f->p), seq), 0);
	}
}

/* The extent store's own sync before the group's: the first says so, and so does the second. */
static void test_lost_before_the_group(void **state)
{
	struct fixture *f = *state;
	struct extent_new e;
	uint64_t seq = put_one(f, 0, &e);

	break_disks(f, &e.rec, 3);
	assert_int_not_equal(extent_sync(pool_extents(f->p)), 0);
	assert_int_not_equal(extent_sync(pool_extents(f->p)), 0);
	assert_int_not_equal(meta_sync(pool_meta(f->p), seq), 0);
}

/* A repair runs between the commit and its sync, on a disk that fails meanwhile. */
static void test_lost_beside_a_repair(void **state)
{
	struct fixture *f = *state;
	struct extent_new old, e;
	const struct rec_fragment *fr = &old.rec.frags[0];
	unsigned repaired;
	char path[160];
	uint64_t seq;
	FILE *file;

	assert_int_equal(meta_sync(pool_meta(f->p), put_one(f, 0, &old)), 0);
	snprintf(path, sizeof(path), "%s/dynamicfs/segments/%08x", f->disk[fr->disk.v - 1],
		 fr->segment);
	file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)fr->offset + 40, SEEK_SET), 0);
	fputc(0x55, file);
	fclose(file);
	seq = put_one(f, 1, &e);
	break_disks(f, &e.rec, 3);
	for (int i = 0; i < 3; i++)
		(void)!extent_repair(pool_extents(f->p), old.rec.id, &repaired);
	assert_int_not_equal(meta_sync(pool_meta(f->p), seq), 0);
}

/* A repair with verify_writes finds out what a lying disk did with its fragment, and takes another. */
static void test_repair_is_verified(void **state)
{
	const struct fault_plan lies = {.write_flip = 1};
	struct fixture *f = *state;
	struct extent_check check;
	struct rec_extent rec;
	struct extent_new e;
	const struct rec_fragment *fr = &e.rec.frags[0];
	unsigned repaired = 0, lying = 0;
	char path[160];
	FILE *file;

	assert_int_equal(meta_sync(pool_meta(f->p), put_one(f, 0, &e)), 0);
	snprintf(path, sizeof(path), "%s/dynamicfs/segments/%08x", f->disk[fr->disk.v - 1],
		 fr->segment);
	file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)fr->offset + 40, SEEK_SET), 0);
	fputc(0x55, file);
	fclose(file);
	extent_store_set_verify(pool_extents(f->p), true);
	for (unsigned d = 1; d <= DISKS && lying < DISKS - 4;
	     d++) { /* all but one that it may take */
		if (d == e.rec.frags[1].disk.v || d == e.rec.frags[2].disk.v || d == fr->disk.v)
			continue;
		dev_fault_set(f->faults[d - 1], &lies);
		lying++;
	}
	dev_fault_set(f->faults[fr->disk.v - 1], &lies);
	assert_int_equal(extent_repair(pool_extents(f->p), e.rec.id, &repaired), 0);
	assert_int_equal(repaired, 1);
	for (unsigned d = 0; d < DISKS; d++)
		dev_fault_set(f->faults[d], &(struct fault_plan){0});
	assert_int_equal(get_extent(pool_meta(f->p), e.rec.id, &rec), 0);
	assert_int_equal(extent_verify(pool_extents(f->p), &rec, true, &check), 0);
	assert_int_equal(check.good, 3);
}

/* D7: from its writing until its transaction is durable, and no longer. */
static void a_disk_is_at_risk_until_durable(void **state)
{
	struct fixture *f = *state;
	struct extent_store *s = pool_extents(f->p);
	struct extent_new e;
	uint64_t seq = put_in_flight(f, 1, &e);
	disk_id id = e.rec.frags[0].disk, other = {0};

	for (uint32_t i = 1; i <= DISKS; i++)
		if (i != e.rec.frags[0].disk.v && i != e.rec.frags[1].disk.v &&
		    i != e.rec.frags[2].disk.v)
			other.v = i;
	assert_true(extent_at_risk_on(s, id));
	assert_false(extent_at_risk_on(s, other));
	extent_settle(s, &e, 1, true);
	assert_true(extent_at_risk_on(s, id));
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	assert_false(extent_at_risk_on(s, id));
}

/* ---- reads that fail: what happens to the disks ---- */

static void set_all(struct fixture *f, const struct fault_plan *plan)
{
	for (unsigned d = 0; d < f->disk_count; d++)
		dev_fault_set(f->faults[d], plan);
}

static unsigned count_state(struct fixture *f, enum disk_state state)
{
	unsigned n = 0;

	for (unsigned d = 0; d < f->disk_count; d++)
		n += disk_state(disk_at(pool_disks(f->p), d)) == state;
	return n;
}

static void read_at_most(struct fixture *f, const struct extent_new *e, int expected)
{
	uint8_t buf[512];

	assert_int_equal(extent_read(pool_extents(f->p), e->rec.id, 0, sizeof(buf), buf), expected);
}

/* C6: that no disk can be read for a moment is no reason to take nothing more. */
static void reads_that_fail_leave_the_disks_in_use(void **state)
{
	const struct fault_plan unread = {.read_error = 1}, none = {0};
	struct fixture *f = *state;
	struct pool_status st;
	struct extent_new e, next;
	struct pool_disk_status ds;

	assert_int_equal(meta_sync(pool_meta(f->p), put_one(f, 0, &e)), 0);
	set_all(f, &unread);
	read_at_most(f, &e, DFS_EIO);
	set_all(f, &none);
	assert_int_equal(count_state(f, DISK_DEGRADED), 3);
	assert_true(pool_disk_status(f->p, e.rec.frags[0].disk.v - 1, &ds));
	assert_string_equal(disk_state_name(ds.info.state), "degraded");
	assert_true(ds.takes_data);
	for (unsigned d = 0; d < DISKS; d++) /* none but those take more */
		if (disk_state(disk_at(pool_disks(f->p), d)) == DISK_HEALTHY)
			disk_set_state(disk_at(pool_disks(f->p), d), DISK_DEGRADED);
	pool_status(f->p, &st);
	assert_false(disk_set_takes_nothing(pool_disks(f->p)));
	assert_false(st.full || st.no_disk);
	assert_true(st.space.available_bytes > 0);
	assert_int_equal(st.small_now.m, 2);
	assert_int_equal(meta_sync(pool_meta(f->p), put_one(f, 1, &next)), 0);
	assert_int_equal(fixture_good(f, next.rec.id), 3);
}

/* C6: an error of a write, and what was written and can't be read back, is another matter, also after one of a read. */
static void writes_that_fail_take_a_disk_out(void **state)
{
	const struct fault_plan unread = {.read_error = 1}, broken = {.write_error = 1}, none = {0};
	struct fixture *f = *state;
	struct record_piece piece = {.len = 1};
	struct extent_new e, next,
		again = {.ino = {7},
			 .data = (const uint8_t *)"",
			 .len = 1,
			 .pieces = &piece,
			 .piece_count = 1,
			 .wanted = {1, 2}};
	struct pool_status st;
	disk_id id;

	(void)put_one(f, 0, &e);
	id = e.rec.frags[0].disk;
	set_all(f, &unread);
	read_at_most(f, &e, DFS_EIO);
	set_all(f, &none);
	dev_fault_set(f->faults[id.v - 1], &broken);
	for (unsigned turn = 0; turn < 2; turn++) { /* only to those that had the first */
		for (unsigned d = 0; d < DISKS; d++)
			(void)disk_move_state(disk_at(pool_disks(f->p), d),
					      turn ? DISK_DRAINING : DISK_HEALTHY,
					      turn ? DISK_HEALTHY : DISK_DRAINING);
		if (!turn)
			(void)put_one(f, 1, &next);
	}
	assert_int_equal(disk_state(disk_get(pool_disks(f->p), id)), DISK_DEGRADED);
	assert_false(disk_is_eligible(pool_disks(f->p), disk_get(pool_disks(f->p), id)));
	set_all(f, &unread);
	for (unsigned d = 0; d < 2; d++)
		dev_fault_set(f->faults[d], &none);
	extent_store_set_verify(pool_extents(f->p), true);
	(void)put_one(f, 10, &next);
	assert_in_range(next.rec.m, 0, 1); /* as the two that are left allow */
	assert_true(count_state(f, DISK_DEGRADED) >= DISKS - 2);
	assert_in_range(next.rec.frags[0].disk.v, 1, 2);
	for (unsigned d = 0; d < DISKS; d++)
		disk_set_state(disk_at(pool_disks(f->p), d), DISK_DEGRADED);
	pool_status(f->p, &st);
	assert_true(st.no_disk); /* which is not to be called full */
	assert_int_equal(extent_write(pool_extents(f->p), &again, 1), DFS_EIO);
}

/* C6: where nothing can be read any more nothing goes, but where that is so of all. */
static void a_disk_that_reads_nothing_is_the_last_choice(void **state)
{
	struct fixture *f = *state;
	struct disk_set *set = pool_disks(f->p);
	struct extent_new e;
	uint8_t buf[512];

	(void)put_one(f, 0, &e);
	set_all(f, &(struct fault_plan){.read_error = 1});
	for (unsigned d = 0; d < DISKS; d++) {
		struct iovec iov = {buf, sizeof(buf)};
		struct disk_io io = {.disk = disk_at(set, d),
				     .op = DISK_READ,
				     .addr = {1, 0},
				     .iov = &iov,
				     .iovcnt = 1};

		(void)put_one(f, 1 + d, &e); /* all have a segment in the end */
		for (unsigned i = 0; i < 256; i++)
			assert_int_not_equal(disk_io_run(&io, 1), 0);
		for (unsigned j = 0; j < DISKS; j++)
			assert_int_equal(disk_is_eligible(set, disk_at(set, j)),
					 d == DISKS - 1 || j > d);
	}
	(void)put_one(f, 20, &e);
	assert_int_equal(e.rec.m, 2);
}

/* C6: what can't be read is written anew, on the same disk if there is no other; on one that can be read, if there is. */
static void heal_beside(struct fixture *f, unsigned others)
{
	const struct fault_plan bad = {.only = "segments/00000001", .read_error = 1};
	struct extent_new e, more;
	struct rec_extent rec;
	bool on_ill = false;
	unsigned repaired;
	disk_id ill;

	(void)put_one(f, 0, &e);
	ill = e.rec.frags[0].disk;
	fixture_end_segments(f);
	for (unsigned turn = 0; turn < 2;
	     turn++) { /* it alone has room allocated: by that it would be chosen */
		for (unsigned d = 0; d < f->disk_count; d++)
			if (d + 1 != ill.v)
				disk_set_state(disk_at(pool_disks(f->p), d),
					       turn ? DISK_HEALTHY : DISK_DEGRADED);
		if (!turn)
			(void)put_one(f, 1, &more);
	}
	assert_int_equal(more.rec.frags[0].disk.v, ill.v);
	dev_fault_set(f->faults[ill.v - 1], &bad);
	assert_int_equal(extent_repair(pool_extents(f->p), e.rec.id, &repaired), 0);
	assert_int_equal(repaired, 1);
	assert_int_equal(fixture_good(f, e.rec.id), 3);
	assert_int_equal(get_extent(pool_meta(f->p), e.rec.id, &rec), 0);
	for (unsigned j = 0; j < 3; j++)
		on_ill |= rec.frags[j].disk.v == ill.v;
	assert_int_equal(on_ill, others == 0);
	assert_int_equal(disk_state(disk_get(pool_disks(f->p), ill)), DISK_DEGRADED);
}

static void healed_on_its_own_disk(void **state)
{
	struct fixture *f = fixture_new(3, 3, NULL);

	(void)state;
	heal_beside(f, 0);
	fixture_free(f);
}

static void healed_on_another_disk(void **state)
{
	struct fixture *f = fixture_new(5, 3, NULL);

	(void)state;
	heal_beside(f, 2);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_within_tolerance, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_in_its_own_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_before_it_was_settled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_in_anothers_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_before_the_group, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_beside_a_repair, setup, teardown),
		cmocka_unit_test_setup_teardown(test_repair_is_verified, setup, teardown),
		cmocka_unit_test_setup_teardown(a_disk_is_at_risk_until_durable, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_that_fail_leave_the_disks_in_use, setup,
						teardown),
		cmocka_unit_test_setup_teardown(writes_that_fail_take_a_disk_out, setup, teardown),
		cmocka_unit_test_setup_teardown(a_disk_that_reads_nothing_is_the_last_choice, setup,
						teardown),
		cmocka_unit_test(healed_on_its_own_disk),
		cmocka_unit_test(healed_on_another_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
