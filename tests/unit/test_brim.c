/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the brim (A7): whatever the disks' sizes, their failure domains and the policy, what the account accepts finds
 * its place. First the account and placement alone, on disks that exist only as figures; then whole pools.
 *
 * BRIM_SEED, BRIM_CASES and BRIM_POOLS choose other random runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "extent/internal.h"
#include "file/fs.h"
#include "unit/file_rig.h"

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

static unsigned number(const char *name, unsigned otherwise)
{
	const char *v = getenv(name);

	return v ? (unsigned)strtoul(v, NULL, 10) : otherwise;
}

/* From lo to 2^doublings times that, small ones as often as large ones. */
static uint64_t any_size(uint64_t lo, unsigned doublings)
{
	uint64_t at = lo << below(doublings);

	return at + below(at);
}

static struct policy any_policy(void)
{
	struct policy s;

	pool_settings_default(&s);
	if (below(3) == 0)
		return s;
	s.copies = (uint8_t)(1 + below(4));
	s.large.k = (uint8_t)(1 + below(6));
	s.large.m = (uint8_t)(below(2) ? below(4) : s.copies - 1u);
	return s;
}

/* ---- figures ---- */
static const char *const domains[] = {"a", "b", "c", "d", "e"};

static struct place_snapshot *any_disks(void)
{
	struct place_snapshot *snap = calloc(1, sizeof(*snap));
	unsigned named = below(3) ? 0 : (unsigned)below(ARRAY_SIZE(domains) + 1);
	unsigned doublings = 1 + (unsigned)below(6);

	assert_non_null(snap);
	snap->count = 3 + (unsigned)below(10);
	for (unsigned i = 0; i < snap->count; i++) {
		if (named)
			snprintf(snap->domains[i], sizeof(snap->domains[i]), "%s",
				 domains[below(named)]);
		snap->disks[i] = (struct place_disk){
			.id = {i + 1},
			.free_bytes = below(9) ? any_size(MIB(1), doublings) : below(MIB(1)),
			.domain = snap->domains[i],
			.eligible = true,
		};
	}
	return snap;
}

static struct extent_new any_extent(const struct policy *s, unsigned shape, uint32_t most)
{
	struct extent_new e = {.piece_count = 1, .wanted = {1, (uint8_t)(s->copies - 1)}};

	switch (shape < 4 ? shape : below(4)) {
	case 0:
		e.len = EXTENT_MAX_BYTES;
		break;
	case 1:
		e.len = 1 + (uint32_t)below(EXTENT_MAX_BYTES);
		break;
	case 2:
		e.len = EXTENT_MAX_BYTES - (uint32_t)below(KIB(64));
		break;
	default:
		e.len = 4096 + (uint32_t)below(KIB(64));
	}
	e.len = MIN(e.len, most);
	if (e.len == EXTENT_MAX_BYTES)
		e.wanted = s->large;
	return e;
}

/* As file/ does: cut in two until it fits. */
static bool store(struct place_snapshot *snap, struct extent_new e)
{
	disk_id ids[DFS_EXTENT_MAX_FRAGMENTS];
	struct extent_new rest = e;
	struct geometry g;
	int err = place_snapshot_extent(snap, &e, (uint32_t)below(99), &g, ids);

	if (err == 0)
		return true;
	assert_int_equal(err, DFS_ENOSPC);
	if (e.len < 2 * EXTENT_LEAST_BYTES)
		return false;
	e.len = (uint32_t)ALIGN_UP(e.len / 2, EXTENT_LEAST_BYTES);
	rest.len -= e.len;
	return store(snap, e) && store(snap, rest);
}

static void figures(void)
{
	struct policy s = any_policy();
	struct place_snapshot *disks = any_disks(), *snap = place_snapshot_copy(disks);
	uint64_t usable = place_snapshot_usable(snap, pool_copies(&s)), accepted = 0;
	unsigned shape = (unsigned)below(5);

	for (;;) {
		uint64_t left = usable - MIN(usable, POOL_MARGIN_BYTES + pool_data_cost(accepted));
		struct extent_new e = any_extent(&s, shape, (uint32_t)MIN(left / 5 * 4, GIB(1)));

		if (e.len < 1 || usable < POOL_MARGIN_BYTES + pool_data_cost(accepted + e.len))
			break;
		if (!store(disks, e)) {
			print_message(
				"%u disks, %u+%u, %u copies, usable %llu, accepted %llu: no room for %u\n",
				disks->count, s.large.k, s.large.m, s.copies,
				(unsigned long long)usable, (unsigned long long)accepted, e.len);
			for (unsigned i = 0; i < disks->count; i++)
				print_message("disk %u \"%s\": %llu left\n", i, disks->domains[i],
					      (unsigned long long)disks->disks[i].free_bytes);
			fail();
		}
		accepted += e.len;
	}
	free(snap);
	free(disks);
}

static void test_figures(void **state)
{
	unsigned cases = number("BRIM_CASES", 3000), first = number("BRIM_SEED", 1);

	(void)state;
	for (unsigned i = 0; i < cases; i++) {
		seed = (uint64_t)(first + i) << 20;
		figures();
	}
}

/* ---- pools ---- */
static struct file_rig *any_pool(void)
{
	static const char *const racks[] = {"r1", "r2", "r3", "r4"};
	struct policy s = any_policy();
	bool named = below(3) == 0;
	struct pool_message msg = {""};
	struct file_rig *r;

	if (below(4)) { /* the fewer fragments, the more is left on each disk where no more great extents fit */
		s.copies = (uint8_t)(1 + below(2));
		s.large = (struct geometry){(uint8_t)(1 + below(2)), (uint8_t)(s.copies - 1u)};
		s.metadata_copies = s.copies;
	}

	for (unsigned i = 0; i < RIG_DISKS; i++) {
		file_rig_capacity[i] = any_size(MIB(20), 3);
		file_rig_domain[i] = named ? racks[below(ARRAY_SIZE(racks))] : NULL;
	}
	r = file_rig_new(NULL, 0);
	memset(file_rig_capacity, 0, sizeof(file_rig_capacity));
	memset(file_rig_domain, 0, sizeof(file_rig_domain));
	assert_int_equal(pool_set_settings(r->pool, &s, &msg), 0);
	return r;
}

/* Writes on until three writes in a row find no room: small files and large ones, one file that grows, or one with
 * an extent for each MiB that is nearly as large and goes as copies. */
static void fill_pool(struct file_rig *r, const uint8_t *bytes, unsigned shape)
{
	struct fs_cred cred = {0};
	struct inode *in = NULL;
	struct fs_attr attr;
	uint64_t off = 0;

	for (unsigned i = 0, full = 0; full < 3; i++) {
		size_t len = below(4) ? 1 + below(KIB(70)) : 1 + below(MIB(1) + KIB(512));
		char name[32];
		int rc = 0;

		if (shape == 2) {
			len = MIB(1) - KIB(1) - below(KIB(200) << full);
			off = ALIGN_UP(off, MIB(1));
		}
		if (in && shape == 0) {
			fs_forget(r->fs, in, 1);
			in = NULL;
			off = 0;
		}
		snprintf(name, sizeof(name), "%u", i);
		if (!in)
			rc = fs_mknod(r->fs, r->root, name, S_IFREG | 0644, 0, cred, &in, &attr);
		if (rc == 0)
			rc = fs_write(r->fs, in, off, len, bytes, false);
		assert_true(rc == 0 || rc == DFS_ENOSPC);
		off += rc ? 0 : len;
		full = rc ? full + 1 : 0;
		if (rc || below(100) == 0)
			assert_int_equal(fs_sync_all(r->fs), 0);
	}
	if (in)
		fs_forget(r->fs, in, 1);
	assert_int_equal(fs_sync_all(r->fs), 0);
}

static void test_pools(void **state)
{
	unsigned pools = number("BRIM_POOLS", 4), first = number("BRIM_SEED", 104);
	uint8_t *bytes = malloc(MIB(2));

	(void)state;
	for (size_t i = 0; i < MIB(2); i++)
		bytes[i] = (uint8_t)(i * 7 ^ i >> 9);
	for (unsigned i = 0; i < pools; i++) {
		struct file_rig *r;

		seed = (uint64_t)(first + i) << 20;
		r = any_pool();
		fill_pool(r, bytes, (unsigned)below(3));
		file_rig_free(r);
	}
	free(bytes);
}

/* The next place on a disk. */
static struct segment_addr next_place(struct file_rig *r, unsigned i)
{
	struct disk *d = disk_at(pool_disks(r->pool), i);
	struct segment_addr addr;

	assert_int_equal(segment_reserve(d, 512, &addr), 0);
	segment_settle(d, addr);
	return addr;
}

/* Of what does not fit nothing is reserved: it is tried again and again, and what is given out once is gone (S1). */
static void test_nothing_wasted(void **state)
{
	enum {
		COUNT = 100
	};
	struct file_rig *r = file_rig_new(NULL, MIB(32));
	uint8_t *bytes = calloc(1, MIB(1));
	struct extent_new x[COUNT];
	struct record_piece piece = {.len = MIB(1)};
	struct segment_addr before[RIG_DISKS], after;
	unsigned refused = 0;

	(void)state;
	for (unsigned i = 0; i < COUNT; i++)
		x[i] = (struct extent_new){.ino = {100},
					   .data = bytes,
					   .len = MIB(1),
					   .pieces = &piece,
					   .piece_count = 1,
					   .wanted = {1, 2}};
	for (unsigned i = 0; i < RIG_DISKS; i++)
		before[i] = next_place(r, i);
	assert_int_equal(extent_write(pool_extents(r->pool), x, COUNT), DFS_ENOSPC);
	for (unsigned i = 0; i < COUNT; i++)
		refused += x[i].no_room;
	assert_int_equal(refused, 1);
	for (unsigned i = 0; i < RIG_DISKS; i++) {
		after = next_place(r, i);
		assert_int_equal(after.segment, before[i].segment);
		assert_int_equal(after.offset, before[i].offset + 512);
	}
	free(bytes);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_nothing_wasted),
		cmocka_unit_test(test_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
