/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the index's image lies (docs/DESIGN.md T1 to T8): tables as fragments over all disks, lost,
 * rotten, foreign and short ones, disks that come and go or are full, and that what a checkpoint writes
 * stays within what the account of space was told. With both indexes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "meta/internal.h"
#include "unit/meta_rig.h"

static void begin(struct rig *r, bool rocks, unsigned disks)
{
	rig_init(r, rocks, disks, 4);
	r->table_k = 4;
	rig_must_open(r);
}

static void end(struct rig *r)
{
	if (r->m)
		rig_must_close(r);
	rig_release(r);
}

/* Calls fn with the path of every fragment on a disk. Returns how many. */
static unsigned each_fragment(struct rig *r, unsigned disk, void (*fn)(const char *path))
{
	char dir[256], path[600];
	unsigned n = 0;
	DIR *d;
	struct dirent *de;

	rig_path(r, disk, "meta/tables", dir);
	d = opendir(dir);
	while (d && (de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		n++;
		if (fn)
			fn(path);
	}
	if (d)
		closedir(d);
	return n;
}

static void destroy(const char *path) { assert_int_equal(unlink(path), 0); }

static void cut(const char *path) { assert_int_equal(truncate(path, rig_size(path) / 2), 0); }

static void flip_header(const char *path) { rig_flip(path, 130); }

static void flip_end(const char *path) { rig_flip(path, -1); }

/* Every table bears so many losses, with its fragments on disks of their own. */
static void expect_tolerance(struct rig *r, unsigned k, unsigned m)
{
	assert_true(r->m->manifest.count > 0);
	for (unsigned i = 0; i < r->m->manifest.count; i++) {
		const struct manifest_file *f = &r->m->manifest.files[i];

		assert_int_equal(f->k, k);
		assert_int_equal(f->m, m);
		for (unsigned j = 0; j < k + m; j++)
			assert_false(r->absent[f->fragments[j].disk.v - 1]);
	}
	assert_int_equal(meta_check_tables(r->m, NULL, NULL), 0);
}

/* Nothing lies in the tables' directories but what the manifest names (M6, T2). */
static void expect_clean(struct rig *r)
{
	unsigned there = 0, named = 0;

	for (unsigned i = 0; i < r->disk_count; i++)
		there += r->absent[i] ? 0 : each_fragment(r, i, NULL);
	for (unsigned i = 0; i < r->m->manifest.count; i++)
		named += r->m->manifest.files[i].k + r->m->manifest.files[i].m;
	assert_int_equal(there, named);
}

static void test_geometry(void **state)
{
	static const unsigned char want[][2] = {{1, 0}, {1, 1}, {1, 2}, {1, 3},
						{2, 3}, {3, 3}, {4, 3}, {4, 3}};

	for (unsigned n = 1; n <= 8; n++) {
		struct meta_space space;
		struct rig r;

		begin(&r, rocks_of(state), n);
		rig_fill(&r, 0, 200, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
		expect_tolerance(&r, want[n - 1][0], want[n - 1][1]);
		expect_clean(&r);
		meta_space(r.m, &space);
		assert_int_equal(space.geometry.k, want[n - 1][0]);
		assert_int_equal(space.geometry.m, want[n - 1][1]);
		assert_true(space.table_bytes > 0);
		end(&r);
	}
}

/* Any three of six disks may have lost their fragments, in any way; with a fourth it is said. */
static void test_lost_and_rotten(void **state)
{
	static void (*const ways[])(const char *) = {destroy, cut, flip_header, flip_end};

	for (unsigned mask = 1; mask < 64; mask++) {
		unsigned lost = (unsigned)__builtin_popcount(mask);
		struct rig r;

		if (lost < 3 || lost > 4 || (lost == 4 && mask % 5))
			continue;
		begin(&r, rocks_of(state), 6);
		rig_fill(&r, 0, 300, 1);
		rig_must_close(&r);
		for (unsigned i = 0; i < 6; i++)
			if (mask & (1u << i))
				each_fragment(&r, i, ways[lost == 4 ? 0 : (mask + i) % 4]);
		rig_destroy_index(&r);
		if (lost == 4) {
			assert_int_equal(rig_open(&r), DFS_ECHECKSUM);
			end(&r);
			continue;
		}
		rig_must_open(&r);
		assert_true(r.rec.index_rebuilt);
		rig_expect_value(&r, 0, 300, 1);
		/* those that were not needed may be found only now */
		(void)meta_check_tables(r.m, NULL, NULL);
		assert_int_equal(meta_checkpoint(r.m), 0);
		expect_tolerance(&r, 3, 3);
		end(&r);
	}
}

/* Every fragment is rotten, each in another stripe than half of the others (T5). */
static void test_rot_everywhere(void **state)
{
	struct rig r;
	unsigned damaged = 0;

	begin(&r, rocks_of(state), 6);
	for (unsigned i = 0; i < 4; i++)
		rig_fill(&r, i * 2000, 2000, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	for (unsigned i = 0; i < r.m->manifest.count; i++) {
		const struct manifest_file *f = &r.m->manifest.files[i];
		struct table_shape s = table_shape(f->size_bytes, f->k);

		if (s.block_count < 2)
			continue;
		damaged++;
		for (unsigned j = 0; j < 6; j++) {
			char path[256], name[TABLE_PATH_LEN];

			table_path(f, j, name);
			rig_path(&r, f->fragments[j].disk.v - 1, name, path);
			rig_flip(path, (long)(s.header_len + (j % 2) * TABLE_BLOCK_BYTES + 5));
		}
	}
	assert_true(damaged > 0);
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 8000, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	(void)meta_check_tables(r.m, NULL, NULL);
	assert_int_equal(meta_checkpoint(r.m), 0);
	expect_tolerance(&r, 3, 3);
	end(&r);
}

/* A whole fragment of something else in the place of ours: of an equal table of another pool. */
static void test_foreign(void **state)
{
	struct rig r, other;
	char from[256], to[256], cmd[700];

	begin(&r, rocks_of(state), 4);
	begin(&other, rocks_of(state), 4);
	rig_fill(&r, 0, 100, 1);
	rig_fill(&other, 0, 100, 2);
	rig_must_close(&r);
	rig_must_close(&other);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(rig_find(&other, i, "meta/tables", "", from));
		assert_true(rig_find(&r, i, "meta/tables", "", to));
		snprintf(cmd, sizeof(cmd), "cp %s %s", from, to);
		assert_int_equal(system(cmd), 0);
	}
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 100, 1);
	rig_must_close(&r);
	rig_release(&r);
	rig_release(&other);
}

static void set_disks(struct rig *r)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	unsigned n = rig_disks(r, disks);

	assert_int_equal(meta_set_disks(r->m, disks, n, NULL, 0), 0);
}

static void test_disks_come_and_go(void **state)
{
	static const unsigned char want[][2] = {{1, 0}, {1, 1}, {1, 2}, {1, 3},
						{1, 3}, {1, 3}, {1, 3}};
	FREE struct manifest_file *before = NULL;
	struct rig r;

	rig_init(&r, rocks_of(state), 7, 4);
	r.table_k = 4;
	for (unsigned i = 1; i < 7; i++)
		r.absent[i] = true;
	r.force = true;
	rig_must_open(&r);
	rig_fill(&r, 0, 200, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	for (unsigned n = 1; n <= 7; n++) {
		r.absent[n - 1] = false;
		set_disks(&r);
		/* from four disks on nothing gets safer, so nothing is written */
		expect_tolerance(&r, want[n - 1][0], want[n - 1][1]);
		expect_clean(&r);
	}
	rig_fill(&r, 200, 200, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	before = xcalloc(r.m->manifest.count, sizeof(*before));
	memcpy(before, r.m->manifest.files, r.m->manifest.count * sizeof(*before));
	for (unsigned i = 0; i < 3; i++) { /* one after the other: never less than three to lose */
		r.absent[i] = true;
		set_disks(&r);
		for (unsigned j = 0; j < r.m->manifest.count; j++) {
			const struct manifest_file *f = &r.m->manifest.files[j];

			assert_int_equal(f->m, 3);
			for (unsigned x = 0; x < (unsigned)f->k + f->m; x++)
				assert_true(f->fragments[x].disk.v > i + 1);
		}
		assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
		rig_expect_value(&r, 0, 400, 1);
	}
	rig_kill(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 400, 1);
	end(&r);
}

/* A disk fails while tables are written: others are taken. A full one is passed over, too, as long as
 * nothing gets less safe; else the checkpoint waits, leaves nothing, and no member goes (T2). */
static void test_failing_and_full(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0}, bad = {.sync_error = 1};
	struct rig r;

	begin(&r, rocks_of(state), 6);
	rig_fill(&r, 0, 100, 1);
	dev_fault_set(r.devs[5], &full); /* no member */
	assert_int_equal(meta_checkpoint(r.m), 0);
	expect_tolerance(&r, 2, 3);
	expect_clean(&r);
	dev_fault_set(r.devs[5], &none);
	rig_fill(&r, 100, 100, 1);
	dev_fault_set(r.devs[4], &bad);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(r.failed[5], 1);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	dev_fault_set(r.devs[4], &none);
	rig_fill(&r, 200, 100, 1);
	for (unsigned i = 3; i < 6; i++)
		dev_fault_set(r.devs[i], &full);
	for (unsigned turn = 0; turn < 3; turn++) {
		assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC);
		expect_clean(&r);
	}
	for (unsigned i = 1; i <= 4; i++)
		assert_true(meta_is_member(r.m, (disk_id){i}));
	rig_kill(&r);
	for (unsigned i = 3; i < 6; i++)
		dev_fault_set(r.devs[i], &none);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 300, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	for (unsigned i = 0; i < r.m->manifest.count; i++)
		assert_int_equal(r.m->manifest.files[i].m, 3);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	end(&r);
}

/* Disks that take the manifest and have no room for tables: the checkpoint waits, and tables do not become
 * less safe (T2). */
static void test_little_room(void **state)
{
	struct fault_plan little = {.most_free = 4096}, none = {0};
	struct rig r;

	begin(&r, rocks_of(state), 4);
	rig_fill(&r, 0, 300, 1);
	dev_fault_set(r.devs[2], &little);
	dev_fault_set(r.devs[3], &little);
	assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC);
	dev_fault_set(r.devs[2], &none);
	dev_fault_set(r.devs[3], &none);
	assert_int_equal(meta_checkpoint(r.m), 0);
	expect_tolerance(&r, 1, 3);
	end(&r);
}

static unsigned fragments_lacking(struct rig *r)
{
	unsigned lacking = 0;

	for (unsigned i = 0; i < r->m->manifest.count; i++)
		lacking += r->m->manifest.files[i].k + r->m->manifest.files[i].m;
	for (unsigned i = 0; i < r->disk_count; i++)
		lacking -= each_fragment(r, i, NULL);
	return lacking;
}

/* A table that is short is made whole of what is spare only; the checkpoint succeeds without (A6, T3). */
static void test_made_whole_of_what_is_spare(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, true, 6);
	rig_fill(&r, 0, 300, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_true(each_fragment(&r, 0, destroy) > 0);
	r.nothing_spare = true;
	rig_fill(&r, 300, 20, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_true(fragments_lacking(&r) > 0);
	r.nothing_spare = false;
	rig_fill(&r, 320, 20, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(fragments_lacking(&r), 0);
	expect_tolerance(&r, 3, 3);
	assert_int_equal(r.unasked, 0);
	end(&r);
}

/* Fragments that are gone when the pool is opened are made anew by the opening (T3, M9). */
static void test_made_whole_by_opening(void **state)
{
	struct rig r;

	begin(&r, rocks_of(state), 4);
	rig_fill(&r, 0, 100, 1);
	rig_must_close(&r);
	assert_true(each_fragment(&r, 3, destroy) > 0);
	assert_int_equal(each_fragment(&r, 3, NULL), 0);
	rig_must_open(&r);
	rig_kill(&r);
	assert_true(each_fragment(&r, 3, NULL) > 0);
	rig_must_open(&r);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	end(&r);
}

static void flip_local(struct rig *r, unsigned part)
{
	char path[400];
	DIR *d = opendir(r->index_dir);
	struct dirent *de;

	while ((de = readdir(d))) {
		if (!index_written_once(de->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", r->index_dir, de->d_name);
		rig_flip(path, part ? rig_size(path) / part : 100);
	}
	closedir(d);
}

/* What the manifest names is not read again (T4): rot in it is not even seen. Where a lost fragment has
 * to be made of it, it is seen, and healed from the others first: rot is never stored (P3). */
static void test_not_read_again(void **state)
{
	struct rig r;

	if (!rocks_of(state))
		return;
	begin(&r, true, 6);
	rig_fill(&r, 0, 1000, 1);
	rig_must_close(&r);
	rig_must_open(&r);
	flip_local(&r, 0);
	rig_fill(&r, 5000, 10, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	each_fragment(&r, 2, destroy);
	(void)meta_check_tables(r.m, NULL, NULL);
	rig_fill(&r, 5010, 10, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	expect_tolerance(&r, 3, 3);
	rig_expect_value(&r, 0, 1000, 1);
	rig_must_close(&r);
	for (unsigned i = 3; i < 6; i++) /* so the one made anew is needed */
		each_fragment(&r, i, destroy);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 1000, 1);
	rig_expect_value(&r, 5000, 20, 1);
	end(&r);
}

/*
 * Two pool directories take turns, and both have flushed the same transactions to a table of the same
 * name. What the one has stored is not what the other has here.
 */
static void test_other_history(void **state)
{
	struct fault_plan full = {.no_space = true}, none = {0};
	struct index_mem_store *mine;
	char dir[96];
	struct rig r;

	begin(&r, rocks_of(state), 4);
	rig_fill(&r, 0, 100, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_fill(&r, 100, 100, 1);
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &full);
	assert_int_equal(meta_checkpoint(r.m), DFS_ENOSPC); /* flushed, and not stored */
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &none);
	rig_kill(&r);
	mine = r.store;
	strcpy(dir, r.index_dir);
	r.store = index_mem_store_new();
	snprintf(r.index_dir, sizeof(r.index_dir), "%.80s/other", r.dir);
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	rig_must_close(&r);
	index_mem_store_free(r.store);
	r.store = mine;
	strcpy(r.index_dir, dir);
	rig_must_open(&r);
	rig_fill(&r, 200, 100, 1);
	rig_must_close(&r);
	rig_destroy_index(&r);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 300, 1);
	end(&r);
}

/* An index without the newest checkpoint's mark, of which a file differs from what is stored (T4). */
static void test_unmarked_index(void **state)
{
	char cmd[200];
	struct rig r;

	if (!rocks_of(state))
		return;
	begin(&r, true, 4);
	rig_fill(&r, 0, 3000, 1);
	rig_must_close(&r);
	snprintf(cmd, sizeof(cmd), "rm %s/stored", r.index_dir);
	assert_int_equal(system(cmd), 0);
	rig_must_open(&r); /* equal, only not marked */
	assert_false(r.rec.index_rebuilt);
	rig_must_close(&r);
	assert_int_equal(system(cmd), 0);
	flip_local(&r, 3); /* not where opening it looks */
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	rig_expect_value(&r, 0, 3000, 1);
	end(&r);
}

static void delete_all(struct rig *r, unsigned first, unsigned n)
{
	uint64_t seq = 0;

	for (unsigned i = first; i < first + n; i++) {
		struct meta_txn *t = meta_begin(r->m);
		char key[32];

		meta_del(t, key, (size_t)snprintf(key, sizeof(key), "k%08u", i));
		meta_add(t, META_COUNT_INODES, -1);
		assert_int_equal(meta_commit(t, &seq), 0);
	}
	assert_int_equal(meta_sync(r->m, seq), 0);
}

static uint64_t content(struct rig *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->m->manifest.count; i++)
		sum += r->m->manifest.files[i].size_bytes;
	return sum;
}

/* A checkpoint writes no more than meta_space() had said. */
static void checkpoint_within(struct rig *r)
{
	FREE char(*names)[TABLE_NAME_LEN] = xcalloc(r->m->manifest.count + 1, TABLE_NAME_LEN);
	unsigned count = r->m->manifest.count;
	struct meta_space space;
	uint64_t fresh = 0;

	for (unsigned i = 0; i < count; i++)
		memcpy(names[i], r->m->manifest.files[i].name, TABLE_NAME_LEN);
	meta_space(r->m, &space);
	assert_int_equal(meta_checkpoint(r->m), 0);
	for (unsigned i = 0; i < r->m->manifest.count; i++) {
		const struct manifest_file *f = &r->m->manifest.files[i];
		bool old = false;

		for (unsigned j = 0; j < count && index_written_once(f->name); j++)
			old = old || !strcmp(names[j], f->name);
		if (!old)
			fresh += table_fragment_bytes(f->size_bytes, f->k) * (f->k + f->m);
	}
	assert_in_range(fresh, 0, space.next_bytes);
}

/* Filled, emptied, three times: what was deleted goes, so that a full pool can be filled again. */
static void test_deleted_goes(void **state)
{
	const unsigned keys = 12000, step = 1000;
	struct rig r;

	rig_init(&r, rocks_of(state), 6, 4);
	r.table_k = 4;
	r.checkpoint_bytes = KIB(256);
	r.buffer_bytes = KIB(64);
	rig_must_open(&r);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t full;

		for (unsigned i = 0; i < keys; i += step) {
			rig_fill(&r, i, step, round);
			checkpoint_within(&r);
		}
		full = content(&r);
		assert_true(full > keys * 60ull);
		for (unsigned i = 0; i < keys; i += step) {
			delete_all(&r, i, step);
			checkpoint_within(&r);
		}
		assert_in_range(content(&r), 0, full / 4);
		rig_kill(&r);
		rig_must_open(&r);
		assert_false(rig_has(&r, 5, round));
		expect_clean(&r);
	}
	end(&r);
}

/* Disks that have no more than what lies there and what was kept for the next checkpoint: some are lost, and all
 * is deleted all the same (T8). */
static void deleted_after_losses(bool rocks, unsigned losses)
{
	const unsigned keys = 12000, step = 1000;
	struct meta_space space;
	struct rig r;

	rig_init(&r, rocks, 6, 4);
	r.table_k = 4;
	r.checkpoint_bytes = KIB(256);
	r.buffer_bytes = KIB(64);
	rig_must_open(&r);
	for (unsigned i = 0; i < keys; i += step) {
		rig_fill(&r, i, step, 1);
		assert_int_equal(meta_checkpoint(r.m), 0);
	}
	meta_space(r.m, &space);
	for (unsigned i = 0; i < 6; i++)
		r.capacity[i] = meta_disk_bytes(r.m, (disk_id){i + 1}) +
				content(&r) / space.geometry.k * 5 / 4;
	rig_must_close(&r);
	for (unsigned i = 0; i < losses; i++)
		r.absent[i] = true;
	rig_must_open(&r);
	for (unsigned i = losses; i < 6; i++) /* repairs have left what was kept */
		assert_true(meta_disk_bytes(r.m, (disk_id){i + 1}) +
				    content(&r) / space.geometry.k <=
			    r.capacity[i]);
	for (unsigned i = 0; i < keys; i += step) {
		delete_all(&r, i, step);
		assert_int_equal(meta_checkpoint(r.m), 0);
	}
	assert_false(rig_has(&r, 5, 1));
	rig_must_close(&r);
	memset(r.capacity, 0, sizeof(r.capacity));
	rig_must_open(&r); /* there is room again: T3 */
	for (unsigned i = 0; i < r.m->manifest.count; i++)
		assert_int_equal(r.m->manifest.files[i].m, 3);
	assert_int_equal(meta_check_tables(r.m, NULL, NULL), 0);
	end(&r);
}

static void test_deleted_after_losses(void **state)
{
	for (unsigned losses = 1; losses <= 2; losses++)
		deleted_after_losses(rocks_of(state), losses);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_geometry),
		BOTH(test_lost_and_rotten),
		BOTH(test_rot_everywhere),
		BOTH(test_foreign),
		BOTH(test_disks_come_and_go),
		BOTH(test_failing_and_full),
		BOTH(test_not_read_again),
		BOTH(test_other_history),
		BOTH(test_deleted_goes),
		BOTH(test_little_room),
		BOTH(test_unmarked_index),
		BOTH(test_made_whole_by_opening),
		cmocka_unit_test(test_made_whole_of_what_is_spare),
		BOTH(test_deleted_after_losses),
	};

	return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
