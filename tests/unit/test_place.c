/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of place/: the choice of disks, and capacity against brute force (P6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "place/place.h"

#define MAX_DISKS 12

static uint64_t rng = 123456789;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void disks_init(struct place_disk *d, unsigned count, const uint64_t *free_bytes)
{
	for (unsigned i = 0; i < count; i++)
		d[i] = (struct place_disk){
			.id = {i + 1}, .free_bytes = free_bytes[i], .eligible = true};
}

static struct place_disk *by_id(struct place_disk *d, unsigned count, disk_id id)
{
	for (unsigned i = 0; i < count; i++)
		if (d[i].id.v == id.v)
			return &d[i];
	fail_msg("no disk %u", id.v);
	return NULL;
}

/* The truth: all ways of placing stripes, the best of them. Memory of slots per disk only. */
static uint64_t best_exhaustive(uint64_t *slots, unsigned count, unsigned width)
{
	uint64_t best = 0;

	for (uint32_t mask = 0; mask < 1u << count; mask++) {
		bool ok = (unsigned)__builtin_popcount(mask) == width;

		for (unsigned i = 0; i < count && ok; i++)
			ok = !(mask >> i & 1) || slots[i] > 0;
		if (!ok)
			continue;
		for (unsigned i = 0; i < count; i++)
			slots[i] -= mask >> i & 1;
		uint64_t n = 1 + best_exhaustive(slots, count, width);
		for (unsigned i = 0; i < count; i++)
			slots[i] += mask >> i & 1;
		best = MAX(best, n);
	}
	return best;
}

/* Places stripes by place_pick until it fails. */
static uint64_t fill_up(struct place_disk *d, unsigned count, unsigned width, uint64_t bytes)
{
	disk_id ids[MAX_DISKS];
	uint64_t n = 0;

	while (place_pick(d, count, width, bytes, NULL, 0, (uint32_t)n, ids) == 0) {
		for (unsigned i = 0; i < width; i++) {
			struct place_disk *p = by_id(d, count, ids[i]);

			assert_true(p->eligible);
			assert_true(p->free_bytes >= bytes);
			p->free_bytes -= bytes;
			for (unsigned j = 0; j < i; j++) {
				struct place_disk *q = by_id(d, count, ids[j]);

				assert_true(p != q);
				assert_true(!p->domain || !*p->domain || !q->domain ||
					    strcmp(p->domain, q->domain) != 0);
			}
		}
		n++;
	}
	return n;
}

static void the_formula_is_the_best_there_is(void **state)
{
	uint64_t slots[4];

	(void)state;
	for (unsigned code = 0; code < 5 * 5 * 5 * 5; code++) {
		for (unsigned i = 0, c = code; i < 4; i++, c /= 5)
			slots[i] = c % 5;
		for (unsigned width = 1; width <= 4; width++) {
			struct place_disk d[4];

			if (width == 1 && code % 7)
				continue; /* the slowest, and the dullest */
			disks_init(d, 4, slots);
			if (slots[0] + slots[1] + slots[2] + slots[3] <= 9)
				assert_int_equal(place_stripes(d, 4, width, 1),
						 best_exhaustive(slots, 4, width));
			uint64_t formula = place_stripes(d, 4, width, 1);
			assert_int_equal(fill_up(d, 4, width, 1), formula);
		}
	}
}

static void greedy_reaches_the_formula(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		struct place_disk d[MAX_DISKS];
		unsigned count = 1 + (unsigned)(next() % MAX_DISKS);
		unsigned width = 1 + (unsigned)(next() % count);
		uint64_t sizes[MAX_DISKS], want;

		for (unsigned i = 0; i < count; i++)
			sizes[i] = next() % (round % 2 ? 400 : 4000) * (next() % 4 ? 1 : 5);
		disks_init(d, count, sizes);
		for (unsigned i = 0; i < count; i++)
			d[i].eligible = next() % 10 != 0;
		want = place_stripes(d, count, width, 10);
		assert_int_equal(fill_up(d, count, width, 10), want);
	}
}

/* A domain's disks are one to the formula, as long as each stripe can use any of them. */
static void domains_fill_up_like_disks(void **state)
{
	static const char *const names[] = {"a", "b", "c", "", NULL, "d"};

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		struct place_disk d[MAX_DISKS];
		unsigned count = 2 + (unsigned)(next() % (MAX_DISKS - 1));
		unsigned width = 1 + (unsigned)(next() % 4);
		uint64_t sizes[MAX_DISKS], want;

		for (unsigned i = 0; i < count; i++)
			sizes[i] = next() % 300;
		disks_init(d, count, sizes);
		for (unsigned i = 0; i < count; i++)
			d[i].domain = names[next() % ARRAY_SIZE(names)];
		want = place_stripes(d, count, width, 1 + round % 40);
		assert_int_equal(fill_up(d, count, width, 1 + round % 40), want);
	}
}

static void known_capacities(void **state)
{
	static const uint64_t six[] = {GIB(1), GIB(1), GIB(1), GIB(1), GIB(1), GIB(1)};
	static const uint64_t mixed[] = {GIB(4), GIB(3), GIB(2), GIB(2), GIB(1), GIB(1)};
	static const uint64_t lone[] = {GIB(100), GIB(1), GIB(1)};
	struct place_disk d[6];

	(void)state;
	disks_init(d, 6, six);
	assert_int_equal(place_stripes(d, 6, 6, KIB(256)), 4096);
	disks_init(d, 6, mixed);
	/* width 3: 13 GiB in all, no disk above a third of 3 N: N = 13/3 */
	assert_int_equal(place_stripes(d, 6, 3, GIB(1)), 4);
	assert_int_equal(place_stripes(d, 6, 6, GIB(1)), 1);
	disks_init(d, 3, lone);
	assert_int_equal(place_stripes(d, 3, 2, MIB(1)), 2048);
	assert_int_equal(place_stripes(d, 3, 3, MIB(1)), 1024);
	assert_int_equal(place_stripes(d, 3, 4, MIB(1)), 0);
	assert_int_equal(place_stripes(d, 3, 0, MIB(1)), 0);
	assert_int_equal(place_stripes(d, 3, 2, 0), 0);
	assert_int_equal(place_stripes(d, 0, 1, 1), 0);
	d[0].eligible = false;
	assert_int_equal(place_stripes(d, 3, 3, MIB(1)), 0);
	assert_int_equal(place_stripes(d, 3, 2, MIB(1)), 1024);
}

static void huge_disks_do_not_overflow(void **state)
{
	static const uint64_t huge[] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, 5};
	struct place_disk d[4];
	disk_id ids[4];

	(void)state;
	disks_init(d, 4, huge);
	assert_true(place_stripes(d, 4, 3, 1) >= UINT64_MAX - 1);
	assert_int_equal(place_stripes(d, 4, 4, 1), 5);
	d[0].domain = d[1].domain = d[2].domain = "same";
	assert_int_equal(place_stripes(d, 4, 2, 1), 5);
	assert_int_equal(place_pick(d, 4, 2, 1, NULL, 0, 0, ids), 0);
}

static void the_fullest_disks_are_left_out(void **state)
{
	static const uint64_t sizes[] = {50, 90, 70, 10, 80, 60};
	struct place_disk d[6];
	disk_id ids[6] = {{99}, {99}, {99}};

	(void)state;
	disks_init(d, 6, sizes);
	assert_int_equal(place_pick(d, 6, 3, 10, NULL, 0, 7, ids), 0);
	assert_int_equal(ids[0].v, 2);
	assert_int_equal(ids[1].v, 5);
	assert_int_equal(ids[2].v, 3);
	/* as many fragments fit on each: the bytes decide */
	assert_int_equal(place_pick(d, 6, 2, 50, NULL, 0, 7, ids), 0);
	assert_int_equal(ids[0].v, 2);
	assert_int_equal(ids[1].v, 5);
	/* excluded, not eligible, too full */
	assert_int_equal(place_pick(d, 6, 1, 10, (disk_id[]){{2}, {5}}, 2, 0, ids), 0);
	assert_int_equal(ids[0].v, 3);
	d[2].eligible = false;
	assert_int_equal(place_pick(d, 6, 1, 10, (disk_id[]){{2}, {5}}, 2, 0, ids), 0);
	assert_int_equal(ids[0].v, 6);
	ids[0].v = 99;
	assert_int_equal(place_pick(d, 6, 3, 75, NULL, 0, 0, ids), DFS_ENOSPC);
	assert_int_equal(place_pick(d, 6, 6, 10, NULL, 0, 0, ids), DFS_ENOSPC);
	assert_int_equal(place_pick(d, 6, 7, 0, NULL, 0, 0, ids), DFS_ENOSPC);
	assert_int_equal(place_pick(d, 0, 1, 0, NULL, 0, 0, ids), DFS_ENOSPC);
	assert_int_equal(ids[0].v, 99); /* untouched on failure */
	assert_int_equal(place_pick(d, 6, 0, 0, NULL, 0, 0, ids), 0);
}

static void equal_disks_share_the_load(void **state)
{
	static const uint64_t sizes[] = {100, 100, 100, 100, 100};
	struct place_disk d[5];
	unsigned used[6] = {0};
	disk_id ids[3];

	(void)state;
	disks_init(d, 5, sizes);
	assert_int_equal(place_pick(d, 5, 3, 1, NULL, 0, 0, ids), 0);
	assert_int_equal(ids[0].v, 1); /* without salt: the lower id first */
	assert_int_equal(ids[1].v, 2);
	for (uint32_t salt = 0; salt < 100; salt++) {
		assert_int_equal(place_pick(d, 5, 3, 1, NULL, 0, salt, ids), 0);
		for (unsigned i = 0; i < 3; i++)
			used[ids[i].v]++;
	}
	for (unsigned i = 1; i <= 5; i++)
		assert_int_equal(used[i], 60);
}

static void domains_are_kept_apart(void **state)
{
	static const uint64_t sizes[] = {90, 80, 70, 60, 50, 40};
	static const char *const domains[] = {"a", "a", "a", "b", "b", ""};
	struct place_disk d[6];
	disk_id ids[6];

	(void)state;
	disks_init(d, 6, sizes);
	for (unsigned i = 0; i < 6; i++)
		d[i].domain = domains[i];
	assert_int_equal(place_pick(d, 6, 3, 1, NULL, 0, 3, ids), 0);
	assert_int_equal(ids[0].v, 1);
	assert_int_equal(ids[1].v, 4);
	assert_int_equal(ids[2].v, 6);
	assert_int_equal(place_pick(d, 6, 4, 1, NULL, 0, 3, ids), DFS_ENOSPC);
	/* an excluded disk holds a fragment: its whole domain is taken */
	assert_int_equal(place_pick(d, 6, 2, 1, (disk_id[]){{2}}, 1, 3, ids), 0);
	assert_int_equal(ids[0].v, 4);
	assert_int_equal(ids[1].v, 6);
	assert_int_equal(place_pick(d, 6, 3, 1, (disk_id[]){{2}}, 1, 3, ids), DFS_ENOSPC);
	/* unless it is on its way out, and there is nothing better */
	d[1].eligible = false;
	assert_int_equal(place_pick(d, 6, 2, 1, (disk_id[]){{2}}, 1, 3, ids), 0);
	assert_int_equal(ids[0].v, 4);
	assert_int_equal(place_pick(d, 6, 3, 1, (disk_id[]){{2}}, 1, 3, ids), 0);
	assert_int_equal(ids[0].v, 1);
}

static void more_disks_than_the_stack_holds(void **state)
{
	enum {
		N = 300
	};
	struct place_disk *d = xcalloc(N, sizeof(*d));
	disk_id ids[N];

	(void)state;
	for (unsigned i = 0; i < N; i++)
		d[i] = (struct place_disk){
			.id = {i + 1}, .free_bytes = 1000 + i % 10, .eligible = true};
	assert_int_equal(place_pick(d, N, 24, 1, NULL, 0, 5, ids), 0);
	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(ids[i].v % 10, 0);
	assert_int_equal(place_stripes(d, N, N, 1), 1000);
	assert_int_equal(place_pick(d, N, N, 1, NULL, 0, 5, ids), 0);
	free(d);
}

static void check_fit(struct place_disk *d, unsigned count, unsigned k, unsigned m, int rc,
		      unsigned want_k, unsigned want_m)
{
	struct place_geometry g = {77, 77}, wanted = {(uint8_t)k, (uint8_t)m};

	assert_int_equal(place_fit(d, count, wanted, MIB(1), &g), rc);
	assert_int_equal(g.k, rc ? 77 : want_k);
	assert_int_equal(g.m, rc ? 77 : want_m);
}

static void too_few_disks_narrow_the_geometry(void **state)
{
	static const uint64_t sizes[] = {GIB(1), GIB(1), GIB(1), GIB(1), GIB(1), GIB(1)};
	static const unsigned want_k[] = {0, 1, 1, 1, 2, 3, 4};
	static const unsigned want_m[] = {0, 0, 1, 2, 2, 2, 2};
	struct place_disk d[6];

	(void)state;
	disks_init(d, 6, sizes);
	check_fit(d, 0, 4, 2, DFS_ENOSPC, 0, 0);
	for (unsigned n = 1; n <= 6; n++)
		check_fit(d, n, 4, 2, 0, want_k[n], want_m[n]);
	check_fit(d, 6, 1, 2, 0, 1, 2);
	check_fit(d, 2, 1, 2, 0, 1, 1);
	check_fit(d, 6, 4, 0, 0, 4, 0);
	check_fit(d, 1, 4, 0, 0, 1, 0);
	/* four domains, whatever the number of disks */
	d[0].domain = d[1].domain = d[2].domain = "rack";
	check_fit(d, 6, 4, 2, 0, 2, 2);
	d[3].eligible = false;
	check_fit(d, 6, 4, 2, 0, 1, 2);
	/* disks too full for a fragment don't count; narrower geometries need larger fragments */
	disks_init(d, 6, sizes);
	d[5].free_bytes = KIB(300);
	check_fit(d, 6, 4, 2, 0, 4, 2);
	d[4].free_bytes = KIB(200);
	check_fit(d, 6, 4, 2, 0, 2, 2);
	for (unsigned i = 0; i < 6; i++)
		d[i].free_bytes = KIB(100);
	check_fit(d, 6, 4, 2, DFS_ENOSPC, 0, 0);
}

/* Even shares, limits respected, nothing lost but a byte for each. */
static void shares_are_even_within_limits(void **state)
{
	const uint64_t limits[] = {10, UINT64_MAX, 0, 100};
	uint64_t shares[4];

	(void)state;
	place_divide(1000, limits, 4, shares);
	assert_int_equal(shares[0], 10);
	assert_int_equal(shares[1], 890);
	assert_int_equal(shares[2], 0);
	assert_int_equal(shares[3], 100);
	place_divide(50, limits, 4, shares);
	assert_int_equal(shares[0], 10);
	assert_int_equal(shares[1], 20);
	assert_int_equal(shares[3], 20);
	place_divide(602, NULL, 4, shares);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(shares[i], 150);
	place_divide(0, NULL, 4, shares);
	assert_int_equal(shares[0], 0);
	place_divide(UINT64_MAX, NULL, 1, shares);
	assert_int_equal(shares[0], UINT64_MAX);
}

/*
 * g disks that share F bytes: as many stripes fit as when every stripe takes what it can from the shared
 * filesystem (by brute force: N fit when min(F, g*N) and the others' min(free, N) add up to width*N).
 */
static void a_shared_filesystem_counts_once(void **state)
{
	uint32_t seed = 7;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct place_disk disks[8] = {0};
		unsigned count, sharing, width;
		uint64_t shared, shares[8], n, best = 0;

		seed = seed * 1664525 + 1013904223;
		count = 2 + (seed >> 8) % 7;
		sharing = 1 + (seed >> 12) % count;
		width = 1 + (seed >> 16) % count;
		shared = (seed >> 20) % 60;
		place_divide(shared, NULL, sharing, shares);
		for (unsigned i = 0; i < count; i++) {
			seed = seed * 1664525 + 1013904223;
			disks[i].id.v = i + 1;
			disks[i].eligible = true;
			disks[i].free_bytes = i < sharing ? shares[i] : (seed >> 16) % 40;
		}
		for (n = 1; n < 400; n++) {
			uint64_t sum = MIN(shared, sharing * n);

			for (unsigned i = sharing; i < count; i++)
				sum += MIN(disks[i].free_bytes, n);
			if (sum >= width * n)
				best = n;
		}
		/* the division leaves less than a slot for each that shares */
		n = place_stripes(disks, count, width, 1);
		assert_true(n <= best);
		assert_true(n + sharing >= best);
	}
}

/* The fullest give least, no disk more than its share of the width, all of it or what is lacking is told. */
static void what_is_taken_leaves_the_fullest_alone(void **state)
{
	struct place_disk disks[4] = {
		{.id = {1}, .free_bytes = 100, .eligible = true},
		{.id = {2}, .free_bytes = 50, .eligible = true},
		{.id = {3}, .free_bytes = 1000, .eligible = false},
		{.id = {4}, .free_bytes = 10, .eligible = true},
	};
	uint64_t taken[4], sum = 0;

	(void)state;
	assert_int_equal(place_take(disks, 4, 2, 60, taken), 0);
	assert_int_equal(taken[0], 30); /* 60 / 2 at most */
	assert_true(taken[1] >= 20);
	assert_int_equal(taken[2], 0);
	for (unsigned i = 0; i < 4; i++)
		sum += taken[i];
	assert_int_equal(sum, 60);
	assert_int_equal(disks[0].free_bytes, 70);
	assert_int_equal(disks[2].free_bytes, 1000);
	/* three copies on three disks: the smallest lacks */
	disks[0].free_bytes = 100;
	disks[1].free_bytes = 50;
	disks[3].free_bytes = 10;
	assert_int_equal(place_take(disks, 4, 3, 60, taken), 10);
	assert_int_equal(taken[3], 10);
	assert_int_equal(taken[0], 20);
	/* fewer disks than the width: an even share of all of it */
	disks[0].free_bytes = disks[1].free_bytes = disks[3].free_bytes = 100;
	assert_int_equal(place_take(disks, 4, 6, 60, taken), 0);
	assert_int_equal(taken[0], 20);
	assert_int_equal(place_take(disks, 0, 6, 60, taken), 60);
}

/* What the domain of disk i has, told at its first disk; 0 at the others. */
static uint64_t domain_sum(const struct place_disk *d, unsigned count, unsigned i)
{
	uint64_t sum = 0;

	for (unsigned j = 0; j < count; j++) {
		bool same = j == i || (d[i].domain && *d[i].domain && d[j].domain &&
				       !strcmp(d[i].domain, d[j].domain));

		if (same && j < i)
			return 0;
		sum += same && d[j].eligible ? d[j].free_bytes : 0;
	}
	return sum;
}

static unsigned random_domains(struct place_disk *d, uint64_t most)
{
	static const char *const names[] = {"a", "b", "c", "", NULL, "d"};
	unsigned count = 1 + (unsigned)(next() % MAX_DISKS);
	uint64_t sizes[MAX_DISKS];

	for (unsigned i = 0; i < count; i++)
		sizes[i] = next() % most;
	disks_init(d, count, sizes);
	for (unsigned i = 0; i < count; i++) {
		d[i].domain = names[next() % ARRAY_SIZE(names)];
		d[i].eligible = next() % 10 != 0;
	}
	return count;
}

/* What is set aside for stripes holds them, one fragment a domain; and if they fit at all, they are set aside. */
static void what_is_taken_holds_the_stripes(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 5000; round++) {
		struct place_disk d[MAX_DISKS], all[MAX_DISKS];
		unsigned count = random_domains(d, 60), width = 1 + (unsigned)(next() % 4);
		uint64_t n = 1 + next() % 60, taken[MAX_DISKS], lacking;

		if (place_domains(d, count, 0) < width)
			continue;
		memcpy(all, d, sizeof(all));
		lacking = place_take(d, count, width, n * width, taken);
		assert_int_equal(lacking == 0, place_stripes(all, count, width, 1) >= n);
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(d[i].free_bytes + taken[i], all[i].free_bytes);
			assert_true(d[i].eligible || taken[i] == 0);
			d[i].free_bytes = taken[i];
		}
		if (lacking == 0)
			assert_int_equal(fill_up(d, count, width, 1), n);
	}
}

/* What is left after so many stripes, for narrower ones: never more than there is, and no domain's room is lost. */
static void what_stripes_leave_is_there(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		struct place_disk before[MAX_DISKS], after[MAX_DISKS], real[MAX_DISKS];
		unsigned count = random_domains(before, 300), width = 1 + (unsigned)(next() % 4);
		uint64_t bytes = 1 + round % 7, n = place_stripes(before, count, width, bytes);

		memcpy(after, before, sizeof(after));
		memcpy(real, before, sizeof(real));
		place_take_stripes(after, count, n, bytes);
		assert_int_equal(fill_up(real, count, width, bytes), n);
		for (unsigned i = 0; i < count; i++) {
			uint64_t had = domain_sum(before, count, i);

			assert_true(after[i].free_bytes <= before[i].free_bytes);
			assert_true(domain_sum(after, count, i) <= domain_sum(real, count, i));
			assert_true(domain_sum(after, count, i) + n * bytes >= had);
		}
	}
}

/* The most that may be lost is told by the domains that hold most. */
static void losses_are_counted_by_domain(void **state)
{
	static const uint32_t apart[] = {1, 2, 3, 4, 5, 6}, two[] = {7, 2, 7, 4, 2, 7};

	(void)state;
	assert_int_equal(place_losses_left(apart, 6, 4), 2);
	assert_int_equal(place_losses_left(apart, 4, 4), 0);
	assert_int_equal(place_losses_left(apart, 3, 4), -1);
	assert_int_equal(place_losses_left(apart, 0, 1), -1);
	assert_int_equal(place_losses_left(apart, 3, 1), 2);
	assert_int_equal(place_losses_left(two, 6, 4), 0);
	assert_int_equal(place_losses_left(two, 6, 3), 1);
	assert_int_equal(place_losses_left(two, 6, 2), 1);
	assert_int_equal(place_losses_left(two, 6, 1), 2);
}

/* One disk, by name: beside others it may have no fragment where it, or its domain, has one; whether that one's disk is well or not. */
static void one_disk_is_allowed_apart(void **state)
{
	static const uint64_t room[] = {100, 100, 100, 100};
	static const disk_id two[] = {{2}};
	struct place_disk d[4];

	(void)state;
	disks_init(d, 4, room);
	assert_true(place_allows(d, 4, (disk_id){1}, 100, two, 1));
	assert_false(place_allows(d, 4, (disk_id){1}, 101, two, 1));
	assert_false(place_allows(d, 4, (disk_id){2}, 1, two, 1));
	assert_false(place_allows(d, 4, (disk_id){5}, 1, two, 1));
	d[0].domain = d[1].domain = "rack";
	d[2].domain = "other";
	assert_false(place_allows(d, 4, (disk_id){1}, 1, two, 1));
	assert_true(place_allows(d, 4, (disk_id){1}, 1, NULL, 0));
	assert_true(place_allows(d, 4, (disk_id){3}, 1, two, 1));
	d[1].eligible = false;
	assert_false(place_allows(d, 4, (disk_id){1}, 1, two, 1));
	d[3].eligible = false;
	assert_false(place_allows(d, 4, (disk_id){4}, 1, two, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_formula_is_the_best_there_is),
		cmocka_unit_test(greedy_reaches_the_formula),
		cmocka_unit_test(domains_fill_up_like_disks),
		cmocka_unit_test(known_capacities),
		cmocka_unit_test(huge_disks_do_not_overflow),
		cmocka_unit_test(the_fullest_disks_are_left_out),
		cmocka_unit_test(equal_disks_share_the_load),
		cmocka_unit_test(domains_are_kept_apart),
		cmocka_unit_test(more_disks_than_the_stack_holds),
		cmocka_unit_test(too_few_disks_narrow_the_geometry),
		cmocka_unit_test(shares_are_even_within_limits),
		cmocka_unit_test(a_shared_filesystem_counts_once),
		cmocka_unit_test(what_is_taken_leaves_the_fullest_alone),
		cmocka_unit_test(what_is_taken_holds_the_stripes),
		cmocka_unit_test(what_stripes_leave_is_there),
		cmocka_unit_test(losses_are_counted_by_domain),
		cmocka_unit_test(one_disk_is_allowed_apart),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
