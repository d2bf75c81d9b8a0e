/* SPDX-License-Identifier: Apache-2.0 */
/* Rescue from records alone: which bytes win, what is lost, what is no record; and any bytes at all (Q2..Q4, P10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "pool/rescue_internal.h"

#define DISKS 3u
#define FILE_BYTES 100000u

struct rig {
	char top[64], disk[DISKS][96], to[96];
	struct uuid pool;
	uint32_t at[DISKS]; /* the next record's offset in segment 7 */
	unsigned round;
	struct rescue_result res;
	uint64_t lost_bytes;
	struct rescue_range lost[8];
	unsigned lost_count;
	char path[64];
};

static void run_or_fail(const char *fmt, const char *a, const char *b)
{
	FREE char *cmd = xasprintf(fmt, a, b);

	assert_int_equal(system(cmd), 0);
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	snprintf(r->top, sizeof(r->top), "/tmp/dfs-rescue-XXXXXX");
	assert_non_null(mkdtemp(r->top));
	uuid_random(&r->pool);
	for (unsigned i = 0; i < DISKS; i++) {
		snprintf(r->disk[i], sizeof(r->disk[i]), "%s/d%u", r->top, i);
		run_or_fail("mkdir -p %s/dynamicfs/segments%s", r->disk[i], "");
	}
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	run_or_fail("rm -rf %s%s", r->top, "");
	free(r);
	return 0;
}

static void segment_path(struct rig *r, unsigned disk, char *out, size_t len)
{
	snprintf(out, len, "%s/dynamicfs/segments/00000007", r->disk[disk]);
}

/* One fragment. offset: what the header says; ~0: where it is put. */
static void put_record(struct rig *r, unsigned disk, const struct uuid *id, uint8_t k, uint8_t m,
		       uint8_t index, const struct record_piece *pieces, unsigned n,
		       uint32_t extent_len, const uint8_t *payload, uint32_t offset)
{
	struct record_header h = {.pool = r->pool,
				  .extent = {*id},
				  .ino = {42},
				  .extent_len = extent_len,
				  .payload_len = record_payload_len(k, extent_len),
				  .k = k,
				  .m = m,
				  .index = index,
				  .codec = k > 1,
				  .disk = {disk + 1},
				  .segment = 7,
				  .offset = offset == UINT32_MAX ? r->at[disk] : offset,
				  .piece_count = (uint16_t)n,
				  .pieces = (struct record_piece *)pieces};
	struct hash blocks[RECORD_MAX_BLOCKS], hash;
	uint8_t header[RECORD_MAX_HEADER_LEN];
	uint32_t len;
	char path[160];
	FILE *f;

	h.block_count = (uint32_t)DIV_UP(h.payload_len, RECORD_BLOCK_BYTES);
	h.blocks = blocks;
	record_hash_blocks(payload, h.payload_len, blocks);
	record_header_encode(&h, header, &hash);
	segment_path(r, disk, path, sizeof(path));
	f = fopen(path, "r+e");
	f = f ? f : fopen(path, "w+e");
	assert_non_null(f);
	fseek(f, r->at[disk], SEEK_SET);
	len = record_header_len(n, h.block_count);
	assert_int_equal(fwrite(header, 1, len, f), len);
	assert_int_equal(fwrite(payload, 1, h.payload_len, f), h.payload_len);
	fclose(f);
	r->at[disk] += record_len(n, h.payload_len);
	assert_int_equal(truncate(path, r->at[disk]), 0);
}

/* The same bytes on each of the first `copies` disks. */
static void put_copies(struct rig *r, unsigned copies, uint64_t tick, uint64_t off, uint32_t len,
		       uint8_t byte)
{
	struct record_piece piece = {off, len};
	FREE uint8_t *data = malloc(len);
	struct uuid id;

	memset(data, byte, len);
	uuid_at_tick(tick, &id);
	for (unsigned i = 0; i < copies; i++)
		put_record(r, i, &id, 1, (uint8_t)(copies - 1), (uint8_t)i, &piece, 1, len, data,
			   UINT32_MAX);
}

static void found(void *ctx, const struct rescue_finding *f)
{
	struct rig *r = ctx;

	if (f->what)
		return;
	r->lost_bytes = f->lost_bytes;
	r->lost_count = f->lost_count;
	for (unsigned i = 0; i < f->lost_count && i < ARRAY_SIZE(r->lost); i++)
		r->lost[i] = f->lost[i];
	snprintf(r->path, sizeof(r->path), "%s", f->path);
}

static int rescue(struct rig *r)
{
	const char *disks[DISKS];
	struct rescue_options opt = {
		.disks = disks, .count = DISKS, .to = r->to, .found = found, .ctx = r};
	struct pool_message msg = {""};

	for (unsigned i = 0; i < DISKS; i++)
		disks[i] = r->disk[i];
	snprintf(r->to, sizeof(r->to), "%s/to%u", r->top, r->round++);
	r->lost_count = 0;
	r->lost_bytes = 0;
	return pool_rescue(&opt, &r->res, &msg);
}

/* The caller frees. */
static uint8_t *content(struct rig *r, size_t *ret_len)
{
	FREE char *path = xasprintf("%s/unnamed/42", r->to);
	FILE *f = fopen(path, "re");
	uint8_t *data = calloc(1, 4 * FILE_BYTES);

	*ret_len = f ? fread(data, 1, 4 * FILE_BYTES, f) : 0;
	if (f)
		fclose(f);
	return data;
}

static void expect(struct rig *r, const char *want) /* a letter for each 10000 bytes */
{
	size_t len;
	FREE uint8_t *data = content(r, &len);

	assert_int_equal(len, strlen(want) * 10000);
	for (size_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)(want[i / 10000] == '0' ? 0 : want[i / 10000]))
			fail_msg("byte %zu is %u", i, data[i]);
}

/* The later place in time wins, in whatever order they were written; what lies between is a hole. */
static void test_newest_wins(void **state)
{
	struct rig *r = *state;

	put_copies(r, 3, 3000, 20000, 20000, 'c');
	put_copies(r, 3, 1000, 0, 50000, 'a');
	put_copies(r, 3, 2000, 10000, 30000, 'b');
	put_copies(r, 3, 4000, 70000, 10000, 'd');
	assert_int_equal(rescue(r), 0);
	expect(r, "abcca00d");
	assert_false(r->res.named);
	assert_int_equal(r->res.records, 12);
}

/* Bytes that are lost are not those that were there before; and lost no more once they were written over. */
static void test_lost_is_not_old(void **state)
{
	struct rig *r = *state;
	struct record_piece two[2] = {{20000, 10000}, {70000, 20000}};
	FREE uint8_t *data = calloc(1, 30000);
	struct uuid id;

	put_copies(r, 3, 1000, 0, 90000, 'a');
	uuid_at_tick(2000, &id); /* two of its fragments are nowhere */
	put_record(r, 0, &id, 3, 1, 3, two, 2, 30000, data, UINT32_MAX);
	put_record(r, 1, &id, 3, 1, 1, two, 2, 30000, data, UINT32_MAX);
	assert_int_equal(rescue(r), DFS_EDAMAGED);
	expect(r, "aa0aaaa00"); /* what the one fragment has is zeros, too */
	assert_int_equal(r->lost_bytes, 30000 - record_payload_len(3, 30000));
	assert_string_equal(r->path, "unnamed/42");
	put_copies(r, 3, 3000, 20000, 10000, 'e');
	put_copies(r, 3, 3000, 80000, 10000, 'f');
	assert_int_equal(rescue(r), DFS_EDAMAGED);
	expect(r, "aaeaaaa0f");
	assert_int_equal(r->lost_count, 1);
	assert_int_equal(r->lost[0].from, 70000);
	assert_int_equal(r->lost[0].to, 70000 + record_payload_len(3, 30000) - 10000);
	put_copies(r, 3, 3001, 70000, 10000, 'g');
	assert_int_equal(rescue(r), 0);
	expect(r, "aaeaaaagf");
}

/* Q1. */
static void test_target(void **state)
{
	struct rig *r = *state;

	put_copies(r, 3, 1000, 0, 10000, 'a');
	assert_int_equal(rescue(r), 0);
	r->round--; /* the same again */
	put_copies(r, 3, 2000, 0, 10000, 'b');
	assert_int_equal(rescue(r), DFS_ENOTEMPTYDIR);
	expect(r, "a");
}

/* Bytes of a file that look like a record of somewhere else. */
static void test_images(void **state)
{
	struct rig *r = *state;
	struct record_piece piece = {0, 10000};
	FREE uint8_t *data = malloc(10000);
	struct uuid id;

	put_copies(r, 3, 1000, 0, 10000, 'a');
	uuid_at_tick(5000, &id);
	memset(data, 'x', 10000);
	for (unsigned i = 0; i < DISKS; i++)
		put_record(r, i, &id, 1, 2, (uint8_t)i, &piece, 1, 10000, data, r->at[i] + 512);
	assert_int_equal(rescue(r), 0);
	expect(r, "a");
}

/* Headers that are sound and say what can't be: the others' bytes are there all the same. */
static void test_lies(void **state)
{
	struct rig *r = *state;
	struct record_piece far = {INT64_MAX - 20000, 10000}, near = {0, 10000};
	FREE uint8_t *data = malloc(10000);
	struct uuid id;

	put_copies(r, 3, 1000, 0, 20000, 'a');
	memset(data, 'z', 10000);
	uuid_at_tick(2000, &id); /* one id with two forms: the far one may not fit into a file */
	put_record(r, 0, &id, 1, 2, 0, &far, 1, 10000, data, UINT32_MAX);
	put_record(r, 1, &id, 1, 2, 1, &near, 1, 10000, data, UINT32_MAX);
	put_record(r, 1, &id, 1, 2, 1, &near, 1, 10000, data, UINT32_MAX);
	put_record(r, 2, &id, 3, 1, 2, &near, 1, 10000, data, UINT32_MAX); /* alone */
	put_copies(r, 3, 3000, 0, 10000, 'b'); /* newer than all these */
	assert_true(rescue(r) == 0 || r->res.not_made || r->lost_count);
	if (r->res.not_made) /* else the filesystem takes files of that length, and reading it back takes for ever */
		expect(r, "ba");
}

static void rot(const char *path, unsigned *seed, unsigned n)
{
	FILE *f = fopen(path, "r+e");
	long size;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	for (unsigned i = 0; i < n; i++) {
		*seed = *seed * 1103515245u + 12345u;
		/* most of them where headers are, which is where parsers look */
		fseek(f, (long)((*seed >> 8) % (unsigned long)size) & (i % 2 ? ~0x7ffl : ~0l),
		      SEEK_SET);
		for (unsigned j = 0; j <= *seed % 40; j++)
			fputc((int)((*seed >> 16) * (j + 1)), f);
	}
	fclose(f);
}

/* Whatever lies there: no crash, and no byte is given that was never written. */
static void test_any_bytes(void **state)
{
	struct rig *r = *state;
	unsigned seed = 4711;

	for (unsigned i = 0; i < 10; i++)
		put_copies(r, 3, 1000 + i, i * 7000, 10000, (uint8_t)('a' + i));
	for (unsigned i = 0; i < 6; i++) {
		size_t len;
		FREE uint8_t *data = NULL;

		for (unsigned d = 0; d < DISKS; d++) {
			char path[160];

			segment_path(r, d, path, sizeof(path));
			rot(path, &seed, 12);
			if (i == 3)
				assert_int_equal(truncate(path, (long)(seed % r->at[d])), 0);
		}
		assert_true(rescue(r) == 0 || r->lost_count > 0 || r->res.not_made > 0);
		data = content(r, &len);
		for (size_t j = 0; j < len; j++)
			assert_true(data[j] == 0 || (data[j] >= 'a' && data[j] < 'a' + 10));
	}
}

static void test_ranges(void **state)
{
	struct rescue_lost l = {0};

	(void)state;
	rescue_lost_add(&l, 10, 20);
	rescue_lost_add(&l, 30, 40);
	rescue_lost_add(&l, 20, 25);
	assert_int_equal(l.count, 2);
	assert_int_equal(rescue_lost_bytes(&l), 25);
	rescue_lost_remove(&l, 12, 14);
	assert_int_equal(l.count, 3);
	rescue_lost_remove(&l, 0, 13);
	rescue_lost_remove(&l, 24, 31);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.v[0].from, 14);
	assert_int_equal(l.v[0].to, 24);
	assert_int_equal(l.v[1].from, 31);
	rescue_lost_add(&l, 0, 100);
	assert_int_equal(l.count, 1);
	rescue_lost_cut(&l, 50);
	assert_int_equal(rescue_lost_bytes(&l), 50);
	rescue_lost_release(&l);
	for (uint64_t i = 0; i <= RESCUE_LOST_MAX; i++)
		rescue_lost_add(&l, 10 * i, 10 * i + 1);
	assert_int_equal(l.count, RESCUE_LOST_MAX);
	assert_true(l.coarse && rescue_lost_bytes(&l) > RESCUE_LOST_MAX);
	rescue_lost_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test_setup_teardown(test_newest_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_is_not_old, setup, teardown),
		cmocka_unit_test_setup_teardown(test_target, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_images, setup, teardown),
		cmocka_unit_test_setup_teardown(test_any_bytes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
