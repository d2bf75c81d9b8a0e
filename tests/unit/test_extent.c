/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An extent's life where disks fail and others interfere: what could not be written is not named (E1),
 * fragments keep apart (E4), a whole record that the index does not mean is refused (E5), rot that a read
 * meets is healed, and a repair neither loses what happened meanwhile nor leaks (E6); space of what is not
 * durably free is left alone (E3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "unit/pool_fixture.h"

#define DISKS 4u
#define LEN 10000u

/* Called once, at the next sync of a segment: what others do meanwhile. */
static void (*meanwhile)(struct fixture *f, extent_id id);
static struct fixture *meanwhile_f;
static extent_id meanwhile_id;
static unsigned segment_syncs, media_reads;
static const struct dev_ops *dir_ops;
static struct dev_ops hooked_ops;

static int hooked_sync(struct dev_file *file)
{
	void (*fn)(struct fixture *, extent_id) = meanwhile;

	__atomic_fetch_add(&segment_syncs, 1, __ATOMIC_RELAXED);
	meanwhile = NULL;
	if (fn)
		fn(meanwhile_f, meanwhile_id);
	return dir_ops->sync(file);
}

static int hooked_read(struct dev_file *file, void *buf, size_t len, uint64_t off, unsigned flags,
		       size_t *ret_len)
{
	if (flags & DEV_READ_MEDIA)
		__atomic_fetch_add(&media_reads, 1, __ATOMIC_RELAXED);
	return dir_ops->read(file, buf, len, off, flags, ret_len);
}

static void hook(struct dev *below)
{
	dir_ops = below->ops == &hooked_ops ? dir_ops : below->ops;
	hooked_ops = *dir_ops;
	hooked_ops.sync = hooked_sync;
	hooked_ops.read = hooked_read;
	below->ops = &hooked_ops;
}

static int setup(void **state)
{
	meanwhile = NULL;
	*state = fixture_new(DISKS, 0, hook);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

static const uint8_t *content(uint64_t nth)
{
	static uint8_t data[LEN];

	for (unsigned i = 0; i < LEN; i++)
		data[i] = (uint8_t)(i * 7 + nth * 13);
	return data;
}

/* Three copies of an extent, committed and synced. */
static void put_one(struct fixture *f, struct rec_extent *ret)
{
	struct record_piece piece = {.file_offset = f->nth * MIB(1), .len = LEN};
	struct rec_map map = {.file_offset = piece.file_offset, .len = LEN};
	struct extent_new e = {.ino = {7},
			       .data = content(f->nth++),
			       .len = LEN,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = {1, 2}};
	struct meta_txn *t;
	uint64_t seq;

	assert_int_equal(extent_write(pool_extents(f->p), &e, 1), 0);
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, &e);
	map.extent = e.rec.id;
	put_map(t, (ino_id){7}, &map);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	*ret = e.rec;
}

static void change_refs(struct fixture *f, extent_id id, int32_t delta)
{
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	struct extent_refs refs = {0};
	uint64_t seq;

	extent_refs_add(&refs, id, 0, delta);
	assert_int_equal(extent_refs_apply(pool_extents(f->p), t, &refs), 0);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_refs_release(&refs);
}

static void get(struct fixture *f, extent_id id, struct rec_extent *ret)
{
	assert_int_equal(get_extent(pool_meta(f->p), id, ret), 0);
}

static void assert_apart(const struct rec_extent *rec)
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(rec->frags[i].disk.v, rec->frags[j].disk.v);
}

static FILE *segment_of(struct fixture *f, const struct rec_fragment *fr)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/dynamicfs/segments/%08x", f->disk[fr->disk.v - 1],
		 fr->segment);
	file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)fr->offset, SEEK_SET), 0);
	return file;
}

static void rot(struct fixture *f, const struct rec_extent *rec, unsigned i)
{
	FILE *file = segment_of(f, &rec->frags[i]);

	assert_int_equal(fseek(file, (long)rec->header_len + 100, SEEK_CUR), 0);
	fputs("rot", file);
	assert_int_equal(fclose(file), 0);
}

/* ---- writing ---- */

static void test_a_failed_write_goes_elsewhere(void **state)
{
	const struct fault_plan broken = {.write_error = 1};
	struct fixture *f = *state;

	dev_fault_set(f->faults[1], &broken);
	for (unsigned i = 0; i < 12; i++) {
		struct rec_extent rec;

		put_one(f, &rec);
		assert_int_equal(rec.k + rec.m, 3);
		assert_apart(&rec);
		for (unsigned j = 0; j < 3; j++)
			assert_int_not_equal(rec.frags[j].disk.v, 2);
		assert_int_equal(fixture_good(f, rec.id), 3);
	}
}

/* Nowhere else to go: fewer fragments then, but never two on one disk. */
static void test_a_failed_write_and_no_other_disk(void **state)
{
	const struct fault_plan broken = {.write_error = 1};
	struct fixture *f = *state;
	struct rec_extent rec;

	disk_set_state(disk_get(pool_disks(f->p), (disk_id){4}), DISK_DEGRADED);
	dev_fault_set(f->faults[1], &broken);
	put_one(f, &rec);
	assert_int_equal(rec.k + rec.m, 2);
	assert_apart(&rec);
	assert_int_equal(fixture_good(f, rec.id), 2);
}

/* verify_writes asks the medium, not the page cache, and for each fragment. */
static void test_verified_writes_read_the_medium(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;

	extent_store_set_verify(pool_extents(f->p), true);
	media_reads = 0;
	put_one(f, &rec);
	assert_true(media_reads >= 3);
}

static void test_many_references_of_one_extent(void **state)
{
	struct fixture *f = *state;
	struct rec_extent recs[21], now;
	struct meta_txn *t;
	struct extent_refs refs = {0};
	uint64_t seq;

	for (unsigned i = 0; i < ARRAY_SIZE(recs); i++)
		put_one(f, &recs[i]);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < ARRAY_SIZE(recs); i++)
			extent_refs_add(&refs, recs[i].id, 0, 1);
	t = meta_begin(pool_meta(f->p));
	assert_int_equal(extent_refs_apply(pool_extents(f->p), t, &refs), 0);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_refs_release(&refs);
	for (unsigned i = 0; i < ARRAY_SIZE(recs); i++) {
		get(f, recs[i].id, &now);
		assert_int_equal(now.refs, 3);
	}
}

/* ---- reading ---- */

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;
	uint8_t buf[2 * LEN];

	put_one(f, &rec);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN, buf), 0);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN + 1, buf), DFS_ECORRUPT);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, LEN, 1, buf), DFS_ECORRUPT);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, LEN + 5, 1, buf), DFS_ECORRUPT);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 5, 0, buf), DFS_ECORRUPT);
}

/* A record that is whole, and of this extent, but not the one that the index means. */
static void test_a_whole_record_of_other_bytes(void **state)
{
	struct fixture *f = *state;
	struct record_header h;
	struct hash hash, *blocks;
	struct rec_extent rec;
	uint8_t *bytes, payload[LEN + 512] = {0}, got[LEN];
	uint32_t need;
	FILE *file;

	put_one(f, &rec);
	bytes = malloc(rec.header_len);
	assert_non_null(bytes);
	for (unsigned i = 0; i < 3; i++) {
		file = segment_of(f, &rec.frags[i]);
		assert_int_equal(fread(bytes, 1, rec.header_len, file), rec.header_len);
		assert_int_equal(record_header_parse(bytes, rec.header_len, &h, &hash, &need), 0);
		memset(payload, 'x', rec.fragment_len);
		blocks = h.blocks;
		record_hash_blocks(payload, rec.fragment_len, blocks);
		record_header_encode(&h, bytes, &hash);
		record_header_release(&h);
		assert_int_equal(fseek(file, (long)rec.frags[i].offset, SEEK_SET), 0);
		assert_int_equal(fwrite(bytes, 1, rec.header_len, file), rec.header_len);
		assert_int_equal(fwrite(payload, 1, rec.fragment_len, file), rec.fragment_len);
		assert_int_equal(fclose(file), 0);
		assert_int_equal(fixture_good(f, rec.id), 2 - i);
	}
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN, got), DFS_EIO);
	free(bytes);
}

static void test_rot_that_a_read_meets_is_healed(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;
	uint8_t got[LEN];

	put_one(f, &rec);
	for (unsigned i = 0; i < 2; i++)
		rot(f, &rec, i);
	/* copies share the load: which one is read first differs from extent to extent */
	rot(f, &rec, rec.id.u.b[15] % 3 == 2 ? 2 : 0);
	if (rec.id.u.b[15] % 3 == 2) { /* then the second is left whole */
		FILE *file = segment_of(f, &rec.frags[1]);

		assert_int_equal(fseek(file, (long)rec.header_len, SEEK_CUR), 0);
		assert_int_equal(fwrite(content(0), 1, LEN, file), LEN);
		assert_int_equal(fclose(file), 0);
	}
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN, got), 0);
	assert_memory_equal(got, content(0), LEN);
	for (unsigned i = 0; i < 500 && fixture_good(f, rec.id) < 3; i++)
		env_sleep_ms(10);
	assert_int_equal(fixture_good(f, rec.id), 3);
}

static void expect_healed(struct fixture *f, extent_id id)
{
	for (unsigned i = 0; i < 500 && fixture_good(f, id) < 3; i++)
		env_sleep_ms(10);
	assert_int_equal(fixture_good(f, id), 3);
}

static unsigned read_first(const struct rec_extent *rec) { return rec->id.u.b[15] % 3; }

/* Only the copy that is read first has rotted: the read is served by another, and heals it all the same. */
static void test_rot_of_the_first_copy_is_healed(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;
	uint8_t got[LEN];

	put_one(f, &rec);
	rot(f, &rec, read_first(&rec));
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN, got), 0);
	assert_memory_equal(got, content(0), LEN);
	expect_healed(f, rec.id);
}

/* The disk of the copy that is read first is gone, the next one has rotted: that is healed, too. */
static void test_rot_met_in_another_disks_stead_is_healed(void **state)
{
	const struct fault_plan gone = {.gone = true};
	struct fixture *f = *state;
	struct rec_extent rec;
	struct dev *first;
	uint8_t got[LEN];

	put_one(f, &rec);
	first = f->faults[rec.frags[read_first(&rec)].disk.v - 1];
	rot(f, &rec, (read_first(&rec) + 1) % 3);
	dev_fault_set(first, &gone);
	assert_int_equal(extent_read(pool_extents(f->p), rec.id, 0, LEN, got), 0);
	assert_memory_equal(got, content(0), LEN);
	for (unsigned i = 0; i < 500 && fixture_good(f, rec.id) < 2; i++)
		env_sleep_ms(10);
	assert_true(fixture_good(f, rec.id) >= 2);
}

/* ---- repairing ---- */

static void repair_apart(struct fixture *f, struct rec_extent *ret)
{
	struct rec_extent old;
	unsigned repaired;

	put_one(f, &old);
	rot(f, &old, 1);
	segment_syncs = 0;
	assert_int_equal(extent_repair(pool_extents(f->p), old.id, &repaired), 0);
	assert_int_equal(repaired, 1);
	get(f, old.id, ret);
	assert_apart(ret);
	assert_int_equal(fixture_good(f, old.id), 3);
}

static void test_repairs(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;

	for (unsigned i = 0; i < 12; i++) {
		if (i == 6) /* then only the disk of the rotten one can take the new one */
			disk_set_state(disk_get(pool_disks(f->p), (disk_id){4}), DISK_DEGRADED);
		repair_apart(f, &rec);
		/* what was written is durable, though nobody has synced the transaction */
		assert_true(segment_syncs > 0);
	}
}

static void test_a_repair_frees_the_old_fragment(void **state)
{
	struct fixture *f = *state;
	struct rec_extent old, rec;
	unsigned repaired;
	BUF key = {0}, val = {0};

	put_one(f, &old);
	rot(f, &old, 1);
	assert_int_equal(extent_repair(pool_extents(f->p), old.id, &repaired), 0);
	get(f, old.id, &rec);
	key_freed(&key, old.frags[1].disk, old.frags[1].segment, old.frags[1].offset);
	assert_int_equal(meta_get(pool_meta(f->p), key.data, key.len, &val), 0);
	key_bydisk(&key, old.frags[1].disk, old.frags[1].segment, old.frags[1].offset);
	assert_int_equal(meta_get(pool_meta(f->p), key.data, key.len, &val), DFS_ENOENT);
}

static void one_more_reference(struct fixture *f, extent_id id) { change_refs(f, id, 1); }

static void test_references_change_during_a_repair(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;
	unsigned repaired;

	put_one(f, &rec);
	rot(f, &rec, 1);
	meanwhile_f = f;
	meanwhile_id = rec.id;
	meanwhile = one_more_reference;
	assert_int_equal(extent_repair(pool_extents(f->p), rec.id, &repaired), 0);
	assert_null(meanwhile);
	get(f, rec.id, &rec);
	assert_int_equal(rec.refs, 2);
}

static struct rec_fragment others; /* where another repair has put a fragment */

/* As another repair commits: fragment 1 lies elsewhere now (where nothing is, so it is repaired again). */
static void moved_by_another(struct fixture *f, extent_id id)
{
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	struct rec_freed freed;
	struct rec_bydisk by;
	struct rec_extent rec;
	uint64_t seq;

	get(f, id, &rec);
	freed = (struct rec_freed){rec.frags[1].disk, rec.frags[1].segment, rec.frags[1].offset,
				   rec.frags[1].record_len};
	del_bydisk(t, rec.frags[1].disk, rec.frags[1].segment, rec.frags[1].offset);
	put_freed(t, &freed);
	rec.frags[1].offset += MIB(16);
	others = rec.frags[1];
	by = (struct rec_bydisk){
		others.disk, others.segment, others.offset, others.record_len, id, 1};
	put_bydisk(t, &by);
	put_extent(t, &rec);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* Another repair of the same extent commits first: this one begins anew, from what that one has left. Else
 * the index would go on naming, or count for ever, what it does not use. */
static void test_two_repairs_of_one_extent(void **state)
{
	struct fixture *f = *state;
	struct rec_extent rec;
	unsigned repaired;
	BUF key = {0}, val = {0};

	put_one(f, &rec);
	rot(f, &rec, 1);
	meanwhile_f = f;
	meanwhile_id = rec.id;
	meanwhile = moved_by_another;
	assert_int_equal(extent_repair(pool_extents(f->p), rec.id, &repaired), 0);
	assert_null(meanwhile);
	assert_int_equal(fixture_good(f, rec.id), 3);
	key_bydisk(&key, others.disk, others.segment, others.offset);
	assert_int_equal(meta_get(pool_meta(f->p), key.data, key.len, &val), DFS_ENOENT);
	key_freed(&key, others.disk, others.segment, others.offset);
	assert_int_equal(meta_get(pool_meta(f->p), key.data, key.len, &val), 0);
}

/* ---- giving space back ---- */

static void drop_reference(struct fixture *f, extent_id id) { change_refs(f, id, -1); }

/* A neighbour that is freed while reclaim syncs is not durably free: a crash brings it back, whole. */
static void test_reclaim_beside_a_freeing(void **state)
{
	struct fixture *f = *state;
	struct rec_extent a, b, now;
	unsigned done;

	put_one(f, &a);
	put_one(f, &b);
	for (unsigned i = 0; i < DISKS; i++)
		segment_close_open(disk_at(pool_disks(f->p), i));
	change_refs(f, a.id, -1);
	meanwhile_f = f;
	meanwhile_id = b.id;
	meanwhile = drop_reference;
	assert_int_equal(extent_reclaim(pool_extents(f->p), 100, &done), 0);
	assert_null(meanwhile);
	assert_int_equal(done, 3);
	pool_abandon(f->p);
	fixture_reopen(f);
	assert_int_equal(get_extent(pool_meta(f->p), a.id, &now), DFS_ENOENT);
	if (get_extent(pool_meta(f->p), b.id, &now) == 0) /* else the background has synced it */
		assert_int_equal(fixture_good(f, b.id), 3);
}

/* ---- a disk that is an older copy of itself ---- */

/* The highest segment of the last disk among the extent's fragments, or low. */
static uint32_t highest(const struct rec_extent *rec, uint32_t low)
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		if (rec->frags[i].disk.v == DISKS)
			low = MAX(low, rec->frags[i].segment);
	return low;
}

/* It does not know of the segments that it has given out since: their numbers must not be given out again,
 * for the index names records in them (S1). */
static void test_segments_of_an_older_copy(void **state)
{
	struct fixture *f = *state;
	uint32_t named = 0, fresh = 0;
	struct rec_extent rec;

	assert_int_equal(pool_close(f->p), 0);
	fixture_copy_disk(f, DISKS - 1, "copy");
	fixture_reopen(f);
	for (unsigned i = 0; i < 12; i++) {
		put_one(f, &rec);
		named = highest(&rec, named);
		fixture_end_segments(f);
	}
	assert_true(named > 2);
	assert_int_equal(pool_close(f->p), 0);
	fixture_shell("rm -r %s/dynamicfs", f->disk[DISKS - 1]);
	fixture_shell("mv %s/copy %s/dynamicfs", f->top, f->disk[DISKS - 1]);
	fixture_reopen(f);
	disk_set_state(disk_at(pool_disks(f->p), 0),
		       DISK_DEGRADED); /* the other three are needed */
	put_one(f, &rec);
	fresh = highest(&rec, 0);
	assert_true(fresh > named);
}

static void note_numbers(const struct rec_extent *rec, uint32_t highest_of[DISKS + 1])
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		highest_of[rec->frags[i].disk.v] = MAX(highest_of[rec->frags[i].disk.v],
						       rec->frags[i].segment);
}

/* Nothing is left of them, on the disks or in the index, but that they have been given out (S1). */
static void test_numbers_of_segments_that_are_gone(void **state)
{
	uint32_t before[DISKS + 1] = {0}, after[DISKS + 1] = {0};
	struct fixture *f = *state;
	struct rec_extent rec[12];
	unsigned done = 1;

	for (unsigned i = 0; i < ARRAY_SIZE(rec); i++) {
		put_one(f, &rec[i]);
		note_numbers(&rec[i], before);
		fixture_end_segments(f);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rec); i++)
		change_refs(f, rec[i].id, -1);
	while (done)
		assert_int_equal(extent_reclaim(pool_extents(f->p), 5, &done), 0);
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	for (unsigned i = 0; i < 4; i++) {
		put_one(f, &rec[i]);
		note_numbers(&rec[i], after);
	}
	for (unsigned i = 1; i <= DISKS; i++)
		assert_true(!after[i] || after[i] > before[i]);
}

/* A number that was never given out, in the index: nothing may follow it on that disk, least of all numbers
 * that are in use. */
static void test_the_last_number(void **state)
{
	struct rec_bydisk by = {.disk = {DISKS}, .segment = UINT32_MAX, .record_len = 512};
	struct fixture *f = *state;
	struct segment_addr addr;
	struct rec_extent rec;
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	uint64_t seq;

	put_bydisk(t, &by);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	assert_int_not_equal(segment_reserve(disk_at(pool_disks(f->p), DISKS - 1), 512, &addr), 0);
	put_one(f, &rec);
	assert_int_equal(fixture_good(f, rec.id), 3);
}

/* The last records of what lies on a disk are damaged, or can't be any: the pool opens, the disk is used, and
 * the number in the key counts, for it was given out (S1). */
static void test_damaged_last_records(void **state)
{
	struct fixture *f = *state;
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	struct segment_addr addr;
	struct rec_extent rec;
	BUF key = {0};
	uint64_t seq;

	key_bydisk(&key, (disk_id){DISKS}, 500, 512);
	meta_put(t, key.data, key.len, "damaged", 7);
	buf_put(&key, "odd", 3);
	meta_put(t, key.data, key.len, "damaged", 7);
	meta_put(t, key.data, 7, "damaged", 7);
	buf_reset(&key);
	key_freed(&key, (disk_id){DISKS}, 600, 512);
	meta_put(t, key.data, key.len, "damaged", 7);
	buf_reset(&key);
	key_freed(&key, (disk_id){DISKS - 1}, 0, 0);
	meta_put(t, key.data, 6, "damaged", 7); /* the only one of that disk */
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	assert_int_equal(segment_reserve(disk_at(pool_disks(f->p), DISKS - 1), 512, &addr), 0);
	assert_in_range(addr.segment, 601, 610);
	segment_settle(disk_at(pool_disks(f->p), DISKS - 1), addr);
	put_one(f, &rec);
	assert_int_equal(fixture_good(f, rec.id), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_failed_write_goes_elsewhere, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_a_failed_write_and_no_other_disk, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_verified_writes_read_the_medium, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_many_references_of_one_extent, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_damaged_last_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_whole_record_of_other_bytes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rot_that_a_read_meets_is_healed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rot_of_the_first_copy_is_healed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rot_met_in_another_disks_stead_is_healed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_repairs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_repair_frees_the_old_fragment, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_references_change_during_a_repair, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_two_repairs_of_one_extent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reclaim_beside_a_freeing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments_of_an_older_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_last_number, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers_of_segments_that_are_gone, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
