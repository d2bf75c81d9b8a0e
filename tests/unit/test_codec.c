/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of codec/: every loss that the geometry tolerates gives the data back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/env.h"
#include "codec/codec.h"

static uint64_t rng = 88172645463325252u;

static uint64_t next(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* k data fragments of random bytes, encoded; each buffer has a guard behind it. */
struct stripe {
	struct geometry g;
	uint32_t len;
	uint8_t *frags[CODEC_MAX_WIDTH];
	uint8_t *lost[CODEC_MAX_WIDTH]; /* what decoding works on */
};
#define GUARD 64

static void stripe_make(struct stripe *s, struct geometry g, uint32_t len)
{
	s->g = g;
	s->len = len;
	for (unsigned i = 0; i < (unsigned)g.k + g.m; i++) {
		s->frags[i] = xmalloc(len + GUARD);
		s->lost[i] = xmalloc(len + GUARD);
		memset(s->frags[i], 0xa5, len + GUARD);
		for (uint32_t j = 0; i < g.k && j < len; j++)
			s->frags[i][j] = (uint8_t)(next() >> 24);
	}
	codec_encode(g, len, (const uint8_t *const *)s->frags, s->frags + g.k);
	for (unsigned i = 0; i < (unsigned)g.k + g.m; i++)
		for (uint32_t j = 0; j < GUARD; j++)
			assert_int_equal(s->frags[i][len + j], 0xa5);
}

static void stripe_release(struct stripe *s)
{
	for (unsigned i = 0; i < (unsigned)s->g.k + s->g.m; i++) {
		free(s->frags[i]);
		free(s->lost[i]);
	}
}

/* Loses the fragments of the mask, wants those of want_mask (a subset), checks all bytes. */
static void stripe_check(struct stripe *s, uint32_t lost_mask, uint32_t want_mask)
{
	bool have[CODEC_MAX_WIDTH] = {false}, want[CODEC_MAX_WIDTH] = {false};
	unsigned width = (unsigned)s->g.k + s->g.m;

	for (unsigned i = 0; i < width; i++) {
		have[i] = !(lost_mask >> i & 1);
		want[i] = want_mask >> i & 1;
		if (have[i])
			memcpy(s->lost[i], s->frags[i], s->len + GUARD);
		else
			memset(s->lost[i], 0xa5, s->len + GUARD);
	}
	assert_int_equal(codec_decode(s->g, s->len, s->lost, have, want), 0);
	for (unsigned i = 0; i < width; i++) {
		if (have[i] || want[i])
			assert_memory_equal(s->lost[i], s->frags[i], s->len + GUARD);
		for (uint32_t j = 0; !have[i] && !want[i] && j < s->len; j++)
			assert_int_equal(s->lost[i][j], 0xa5); /* not asked for, not touched */
	}
}

static void geometries_are_checked(void **state)
{
	(void)state;
	assert_true(geometry_valid((struct geometry){1, 0}));
	assert_true(geometry_valid((struct geometry){4, 2}));
	assert_true(geometry_valid((struct geometry){CODEC_MAX_K, CODEC_MAX_M}));
	assert_false(geometry_valid((struct geometry){0, 2}));
	assert_false(geometry_valid((struct geometry){CODEC_MAX_K + 1, 0}));
	assert_false(geometry_valid((struct geometry){4, CODEC_MAX_M + 1}));
	assert_false(geometry_valid((struct geometry){255, 255}));
}

static void fragments_cover_the_extent(void **state)
{
	(void)state;
	assert_int_equal(codec_fragment_len((struct geometry){1, 2}, 1000), 1000);
	assert_int_equal(codec_fragment_len((struct geometry){1, 2}, 0), 0);
	assert_int_equal(codec_fragment_len((struct geometry){4, 2}, MIB(1)), KIB(256));
	assert_int_equal(codec_fragment_len((struct geometry){4, 2}, 1), 64);
	assert_int_equal(codec_fragment_len((struct geometry){4, 2}, 257), 128);
	for (uint8_t k = 2; k <= CODEC_MAX_K; k++) {
		for (uint32_t len = 1; len < 100000; len += 997) {
			uint32_t f = codec_fragment_len((struct geometry){k, 1}, len);

			assert_int_equal(f % CODEC_FRAGMENT_ALIGN, 0);
			assert_true((uint64_t)f * k >= len);
			assert_true((uint64_t)(f - CODEC_FRAGMENT_ALIGN) * k < len);
		}
	}
	/* no wrap near the top of the range */
	assert_int_equal(codec_fragment_len((struct geometry){2, 0}, UINT32_MAX), 0x80000000u);
}

static void every_tolerated_loss_is_healed(void **state)
{
	(void)state;
	for (uint8_t k = 1; k <= 8; k++) {
		for (uint8_t m = 0; m <= 4 && k + m <= 10; m++) {
			struct stripe s;

			stripe_make(&s, (struct geometry){k, m}, 64 + 64 * (k % 3));
			for (uint32_t lost = 0; lost < 1u << (k + m); lost++)
				if (__builtin_popcount(lost) <= m)
					stripe_check(&s, lost, lost);
			stripe_release(&s);
		}
	}
}

static void wide_stripes_heal_random_losses(void **state)
{
	(void)state;
	for (uint8_t k = 1; k <= CODEC_MAX_K; k++) {
		for (uint8_t m = 1; m <= CODEC_MAX_M; m++) {
			unsigned width = (unsigned)k + m;
			struct stripe s;

			stripe_make(&s, (struct geometry){k, m}, 64 * (uint32_t)(1 + next() % 40));
			for (unsigned round = 0; round < 10; round++) {
				uint32_t lost = 0;

				while (__builtin_popcount(lost) < m)
					lost |= 1u << next() % width;
				stripe_check(&s, lost, lost);
				stripe_check(&s, lost, lost & (uint32_t)next());
				stripe_check(&s, lost, 0);
			}
			stripe_release(&s);
		}
	}
}

/* Lengths that are no multiple of a vector, too. */
static void any_length_works(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 300; len++) {
		struct stripe s;

		stripe_make(&s, (struct geometry){4, 2}, len);
		stripe_check(&s, 0x21, 0x21);
		stripe_check(&s, 0x03, 0x03);
		stripe_release(&s);
		stripe_make(&s, (struct geometry){1, 2}, len);
		stripe_check(&s, 0x3, 0x3);
		stripe_release(&s);
	}
	for (unsigned i = 0; i < 20; i++) {
		struct stripe s;

		stripe_make(&s, (struct geometry){4, 2}, (uint32_t)(next() % 300000));
		stripe_check(&s, 0x0a, 0x0a);
		stripe_release(&s);
	}
}

static void too_few_fragments_are_an_error(void **state)
{
	bool have[CODEC_MAX_WIDTH] = {true, false, true, true}, want[CODEC_MAX_WIDTH] = {false};
	struct stripe s;

	(void)state;
	stripe_make(&s, (struct geometry){4, 2}, 128);
	want[1] = true;
	assert_int_equal(codec_decode(s.g, s.len, s.frags, have, want), DFS_EIO);
	have[4] = true;
	assert_int_equal(codec_decode(s.g, s.len, s.frags, have, want), 0);
	stripe_release(&s);
	stripe_make(&s, (struct geometry){1, 1}, 128);
	assert_int_equal(codec_decode(s.g, s.len, s.frags, want + 2, want + 2), DFS_EIO);
	stripe_release(&s);
}

/* What lies on disks must be decodable by later versions: parity never changes its meaning. */
static void parity_bytes_are_fixed(void **state)
{
	static const uint8_t data[4] = {0x01, 0x80, 0x37, 0xff};
	/* 4+2: row i holds 1/(i ^ j) over GF(2^8) with 0x11d, for i = 4, 5 and j = 0..3 */
	uint8_t frags[6][64], *p[6];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		memset(frags[i], i < 4 ? data[i] : 0, 64);
		p[i] = frags[i];
	}
	codec_encode((struct geometry){4, 2}, 64, (const uint8_t *const *)p, p + 4);
	for (unsigned row = 4; row < 6; row++) {
		unsigned want = 0;

		for (unsigned j = 0; j < 4; j++) {
			unsigned inverse = 0, product = 0;

			/* slow arithmetic of this test's own */
			for (unsigned c = 1; c < 256; c++) {
				unsigned a = c, b = row ^ j, r = 0;

				for (; b; b >>= 1, a = a << 1 ^ (a & 0x80 ? 0x11d : 0))
					r ^= b & 1 ? a : 0;
				if (r == 1)
					inverse = c;
			}
			for (unsigned a = inverse, b = data[j]; b;
			     b >>= 1, a = a << 1 ^ (a & 0x80 ? 0x11d : 0))
				product ^= b & 1 ? a : 0;
			want ^= product;
		}
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(frags[row][i], want);
	}
}

static void first_use_by_many_threads_one(void *arg)
{
	struct stripe s;

	(void)arg;
	uint8_t data[2][64] = {{7}, {9}}, parity[3][64];
	uint8_t *p[5] = {data[0], data[1], parity[0], parity[1], parity[2]};
	bool have[5] = {false, true, true, false, false}, want[5] = {true};

	s.g = (struct geometry){2, 3};
	codec_encode(s.g, 64, (const uint8_t *const *)p, p + 2);
	memset(data[0], 0, 64);
	if (codec_decode(s.g, 64, p, have, want) || data[0][0] != 7)
		abort();
}

static void first_use_by_many_threads(void **state)
{
	struct env_thread *t[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		t[i] = env_thread_start("codec", first_use_by_many_threads_one, NULL);
	for (unsigned i = 0; i < 8; i++)
		env_thread_join(t[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_use_by_many_threads),
		cmocka_unit_test(geometries_are_checked),
		cmocka_unit_test(fragments_cover_the_extent),
		cmocka_unit_test(every_tolerated_loss_is_healed),
		cmocka_unit_test(wide_stripes_heal_random_losses),
		cmocka_unit_test(any_length_works),
		cmocka_unit_test(too_few_fragments_are_an_error),
		cmocka_unit_test(parity_bytes_are_fixed),
	};

	return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
