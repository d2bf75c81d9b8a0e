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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
