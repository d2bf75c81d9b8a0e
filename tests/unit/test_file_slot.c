/* SPDX-License-Identifier: Apache-2.0 */
/* Dirty slots alone: ranges, buffers and their accounting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "file/internal.h"
#include "unit/file_rig.h"

static uint64_t rng = 11;

static uint64_t below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

/* Ranges of a slot against a byte map: storing, cutting, and merging an older slot under a newer. */
static void test_slot_ranges(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	uint8_t *model = calloc(2, SLOT_BYTES), *data = calloc(2, SLOT_BYTES);

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct slot *s[2] = {slot_new(7), slot_new(7)};
		uint64_t charge[2] = {0};

		memset(model, 0, 2 * SLOT_BYTES);
		for (unsigned i = 0; i < 120; i++) {
			unsigned which = (unsigned)below(2);
			uint8_t *m = model + which * SLOT_BYTES, *d = data + which * SLOT_BYTES;
			uint32_t off = (uint32_t)below(round % 2 ? SLOT_BYTES : KIB(60)), len;

			len = 1 +
			      (uint32_t)below(MIN(SLOT_BYTES - off, round % 3 ? 3000u : 90000u));
			if (below(5) == 0) {
				slot_cut(s[which], off, off + len);
				memset(m + off, 0, len);
				continue;
			}
			memset(d + off, (int)(i + 1), len);
			assert_int_equal(slot_prepare(r->fs, s[which], off, len, &charge[which]),
					 0);
			slot_store(s[which], off, d + off, len);
			memset(m + off, (int)(i + 1), len);
		}
		dirty_charge(r->fs, (int64_t)(charge[0] + charge[1]));
		assert_int_equal(s[0]->charged, charge[0]);
		slot_merge_under(r->fs, s[0], s[1]);
		for (uint32_t i = 0, bytes = 0; i < SLOT_BYTES; i++) {
			uint8_t want = model[i] ? model[i] : model[SLOT_BYTES + i];
			uint64_t base = 7ull << SLOT_SHIFT, end;

			assert_int_equal(slot_covers(s[0], base + i, &end), want != 0);
			if (want)
				assert_int_equal(s[0]->buf[i], want);
			bytes += want != 0;
			if (i == SLOT_BYTES - 1)
				assert_int_equal(bytes, s[0]->bytes);
		}
		slot_free(r->fs, s[0]);
		slot_free(r->fs, s[1]);
		struct fs_stats stats;

		fs_stats(r->fs, &stats);
		assert_int_equal(stats.dirty_bytes, 0);
	}
	free(model);
	free(data);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
