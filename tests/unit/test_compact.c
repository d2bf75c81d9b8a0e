/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the merging of one checkpoint may write (T7): many flushes of small tables with keys all over, of all sizes that
 * the journal allows, against what the index says beforehand, and never beyond the room that it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/disk.h"
#include "unit/meta_rig.h"

#define FLUSH_BYTES KIB(64)
#define TABLES_MAX 4096u
#define KEY_BYTES 200u
#define VALUE_BYTES 100u
#define FLUSH_MAX (2 * KIB(768) * 5 / 4 + KIB(64))
#define ROUNDS 60u

struct stored {
	char name[16];
};

struct fixture {
	char dir[128], index_dir[160];
	struct index *x;
	struct stored tables[TABLES_MAX], next[TABLES_MAX];
	unsigned count, next_count;
	uint64_t room, flushed_bytes, new_bytes, all_bytes;
	unsigned asked; /* for the room */
	bool more;
	uint64_t random;
};

static unsigned next_random(struct fixture *f)
{
	f->random = f->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(f->random >> 33);
}

static bool is_stored(void *ctx, const char *name, uint64_t size_bytes)
{
	struct fixture *f = ctx;

	(void)size_bytes;
	for (unsigned i = 0; i < f->count; i++)
		if (!strcmp(f->tables[i].name, name))
			return true;
	return false;
}

static uint64_t room(void *ctx)
{
	struct fixture *f = ctx;

	f->asked++;
	return f->room;
}

static int look_at(void *ctx, const char *name, uint64_t size_bytes)
{
	struct fixture *f = ctx;

	if (!index_written_once(name))
		return 0;
	assert_true(f->next_count < TABLES_MAX);
	strcpy(f->next[f->next_count++].name, name);
	f->all_bytes += size_bytes;
	if (!is_stored(f, name, size_bytes))
		f->new_bytes += size_bytes;
	return 0;
}

/* As a checkpoint does: what is there now, and how much of it is new. */
static void image(struct fixture *f)
{
	f->next_count = 0;
	f->new_bytes = f->all_bytes = 0;
	assert_int_equal(index_rocks_ops.image_begin(f->x, look_at, f), 0);
	index_rocks_ops.image_end(f->x);
}

static void change(struct fixture *f, unsigned keys)
{
	static uint8_t value[VALUE_BYTES];
	char key[KEY_BYTES + 1];
	struct index_op op = {
		.key = (const uint8_t *)key, .key_len = KEY_BYTES, .value_len = sizeof(value)};

	snprintf(key, sizeof(key), "%0*u", (int)KEY_BYTES, next_random(f) % keys);
	memcpy(key, key + KEY_BYTES - 8, 8); /* so that they differ at once */
	op.value = next_random(f) % 8 ? value : NULL;
	assert_int_equal(index_rocks_ops.apply(f->x, &op, 1), 0);
}

/* As a checkpoint does. Returns what merging wrote, beside what was new before. */
static void checkpoint(struct fixture *f)
{
	struct index_merging how = {
		.enough_bytes = INDEX_COMPACT_TABLES * index_table_bytes(FLUSH_BYTES),
		.is_stored = is_stored,
		.room = room,
		.ctx = f,
	};

	assert_int_equal(index_rocks_ops.flush(f->x), 0);
	image(f);
	f->flushed_bytes = f->new_bytes;
	f->asked = 0;
	assert_int_equal(index_rocks_ops.compact(f->x, &how, &f->more), 0);
	assert_true(f->asked <= 1);
	image(f);
	memcpy(f->tables, f->next, sizeof(f->tables));
	f->count = f->next_count;
}

static struct fixture *begin(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->random = 1;
	f->room = UINT64_MAX;
	strcpy(f->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/dfs-compact-XXXXXX"
						     : "/tmp/dfs-compact-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->index_dir, sizeof(f->index_dir), "%s/one", f->dir);
	assert_int_equal(index_rocks_ops.open(f->index_dir, FLUSH_BYTES, &f->x), 0);
	return f;
}

static void end(struct fixture *f)
{
	index_rocks_ops.close(f->x, false);
	rig_remove_tree(f->dir);
	free(f);
}

/* Mostly small flushes, now and then all that two journal files hold. */
static void fill(struct fixture *f)
{
	unsigned n = next_random(f) % 4 ? 3500 : 350;

	for (unsigned j = 0; j < n; j++)
		change(f, 400000);
}

/* What was said before the flush bounds what the checkpoint then writes; what was thought to bound it does not. */
static void test_told_beforehand(void **state)
{
	struct fixture *f = begin();
	uint64_t table = index_table_bytes(FLUSH_BYTES), worst = 0;

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t most = index_rocks_ops.merge_most(f->x, FLUSH_MAX);

		fill(f);
		checkpoint(f);
		assert_true(f->flushed_bytes <= FLUSH_MAX);
		most = MAX(INDEX_COMPACTION_TABLES * table, most / 16 * 17);
		assert_true(f->new_bytes <=
			    f->flushed_bytes + INDEX_COMPACT_TABLES * table * 17 / 16 + most);
		worst = MAX(worst, f->new_bytes);
	}
	print_message("at most %u KiB at once, of %u KiB\n", (unsigned)(worst / 1024),
		      (unsigned)(f->all_bytes / 1024));
	assert_true(worst > INDEX_COMPACTION_TABLES * table / 2);
	end(f);
}

/* No more than what there is room for, or nothing; and it is made up for when there is. */
static void test_within_room(void **state)
{
	struct fixture *f = begin();
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		fill(f);
		f->room = next_random(f) % 3 ? next_random(f) % MIB(10) : UINT64_MAX;
		checkpoint(f);
		assert_true(f->new_bytes <= MAX(f->flushed_bytes, f->room));
		refused += f->asked && f->new_bytes == f->flushed_bytes;
		/* nothing new and the same room: checkpoints do not follow each other without end */
		for (unsigned n = 0; f->more; n++) {
			assert_true(n < 100);
			checkpoint(f);
		}
	}
	assert_true(refused > 0);
	f->room = UINT64_MAX;
	for (unsigned i = 0; i < 2000 && (i == 0 || f->more); i++)
		checkpoint(f);
	assert_false(f->more);
	end(f);
}

static struct index_ops spied;
static uint64_t told_most, told_room;

static uint64_t spied_most(struct index *x, uint64_t flush_bytes)
{
	(void)x, (void)flush_bytes;
	return told_most;
}

static int spied_compact(struct index *x, const struct index_merging *how, bool *ret_more)
{
	(void)x;
	*ret_more = false;
	told_room = how->room(how->ctx);
	return 0;
}

static void begin_spied(struct rig *r)
{
	spied = index_mem_ops;
	spied.merge_most = spied_most;
	spied.compact = spied_compact;
	told_most = 0;
	rig_init(r, false, 4, 2);
	r->checkpoint_bytes = FLUSH_BYTES;
	r->ops = &spied;
	r->table_k = 2;
	rig_must_open(r);
}

static void commit_bytes(struct rig *r, unsigned n)
{
	static const uint8_t value[KIB(96)];
	struct meta_txn *t = meta_begin(r->m);
	uint64_t seq;

	meta_put(t, &n, sizeof(n), value, sizeof(value));
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(meta_checkpoint(r->m), 0);
}

/* Where one compaction may write more than is usual, that is set aside: but no more than all there is. */
static void test_set_aside(void **state)
{
	struct meta_space usual, more, all;
	struct rig r;

	(void)state;
	begin_spied(&r);
	for (unsigned i = 0; i < MIB(12) / KIB(96); i++)
		commit_bytes(&r, i);
	meta_space(r.m, &usual);
	told_most = MIB(8);
	commit_bytes(&r, 0);
	meta_space(r.m, &more);
	told_most = GIB(1);
	commit_bytes(&r, 0);
	meta_space(r.m, &all);
	assert_true(more.next_bytes > usual.next_bytes + MIB(1));
	assert_true(all.next_bytes > more.next_bytes && all.next_bytes < MIB(64));
	/* what is deleted is noted first, and merged thereafter */
	assert_true(usual.next_bytes / 3 * 2 >
		    (INDEX_COMPACTION_TABLES + INDEX_COMPACT_TABLES) * KIB(512) / 16 * 17 +
			    2 * KIB(768) / 4 * 5 + MIB(1));
	rig_must_close(&r);
	rig_release(&r);
}

/* The room that compactions are given is that on the disks. */
static void test_room_on_disks(void **state)
{
	struct fault_plan little = {.most_free = MIB(4)};
	struct dev_space space;
	struct rig r;
	uint64_t much;

	(void)state;
	begin_spied(&r);
	commit_bytes(&r, 0);
	much = told_room;
	assert_int_equal(dev_space(r.devs[0], &space), 0);
	little.most_free += disk_reserve_of(space.total_bytes);
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &little);
	commit_bytes(&r, 1);
	assert_true(told_room < much);
	assert_true(told_room >
		    MIB(5)); /* as 2 + 1 less would fit, and a fragment is left out on each */
	assert_true(told_room <= 4 * MIB(4) / 3 * 2);
	rig_must_close(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_beforehand),
		cmocka_unit_test(test_within_room),
		cmocka_unit_test(test_set_aside),
		cmocka_unit_test(test_room_on_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
