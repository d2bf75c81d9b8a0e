/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes valid structures of all kinds as seeds: `seeds DIR` fills DIR/fuzz_record, ..., so that
 * fuzzing starts deep inside of the parsers. Deterministic: the same seeds each time.
 */
#include <sys/stat.h>

#include "fuzz.h"

#include "format/diskjson.h"
#include "format/journal.h"
#include "format/manifest.h"
#include "format/pooljson.h"
#include "format/record.h"
#include "format/root.h"

static const char *top;

static void seed_write(const char *target, unsigned nth, const void *data, size_t len)
{
	FREE char *dir = xasprintf("%s/%s", top, target);
	FREE char *path = xasprintf("%s/seed-%03u", dir, nth);
	FILE *f;

	mkdir(dir, 0777);
	f = fopen(path, "w");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f)) {
		fprintf(stderr, "seeds: cannot write %s\n", path);
		exit(1);
	}
}

static struct uuid uuid_of(uint8_t seed)
{
	struct uuid u;

	memset(u.b, seed, sizeof(u.b));
	return u;
}

static void record_seeds(void)
{
	static const struct {
		uint8_t k, m;
		uint32_t len;
		uint16_t pieces;
	} cases[] = {{1, 2, 1, 1},	{1, 0, 4096, 1},     {1, 2, 1048576, 3}, {4, 2, 1048576, 1},
		     {4, 2, 100001, 7}, {16, 8, 1048576, 1}, {2, 2, 65536, 256}, {1, 2, 20000, 2}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t len = cases[i].len, k = cases[i].k;
		uint32_t payload = k == 1 ? len : (uint32_t)ALIGN_UP(DIV_UP(len, k), 64);
		struct record_piece pieces[RECORD_MAX_PIECES];
		struct hash blocks[RECORD_MAX_BLOCKS] = {0}, hash;
		uint8_t out[RECORD_MAX_HEADER_LEN];
		struct record_header h = {
			.pool = uuid_of(1),
			.extent = {uuid_of(2)},
			.ino = {2},
			.extent_len = len,
			.payload_len = payload,
			.k = cases[i].k,
			.m = cases[i].m,
			.index = (uint8_t)(i % (unsigned)(cases[i].k + cases[i].m)),
			.codec = k > 1,
			.disk = {1},
			.segment = i,
			.offset = 512 * i,
			.piece_count = cases[i].pieces,
			.pieces = pieces,
			.block_count = (uint32_t)DIV_UP(payload, RECORD_BLOCK_BYTES),
			.blocks = blocks,
		};

		for (uint16_t p = 0; p < h.piece_count; p++) {
			pieces[p].file_offset = (uint64_t)p << 20;
			pieces[p].len = p + 1 < h.piece_count ? 1 : len - (h.piece_count - 1u);
		}
		record_header_encode(&h, out, &hash);
		seed_write("fuzz_record", i, out, record_header_len(h.piece_count, h.block_count));
	}
}

static void root_seeds(void)
{
	for (unsigned n = 1; n <= ROOT_MAX_MEMBERS; n += 5) {
		struct root r = {
			.pool = uuid_of(1),
			.generation = n,
			.epoch = 1,
			.checkpoint_id = n % 2,
			.journal_first = 1,
			.disk_total = n,
			.clean = n % 2,
			.member_count = n,
		};
		uint8_t out[ROOT_SLOT_BYTES];

		for (unsigned i = 0; i < n; i++)
			r.members[i] = (struct root_member){{i + 1}, uuid_of((uint8_t)(i + 10))};
		root_encode(&r, out);
		seed_write("fuzz_root", n, out, sizeof(out));
	}
}

static void journal_seeds(void)
{
	struct uuid pool = uuid_of(1);
	struct hash chain = {{0}};
	BUF out = {0};

	for (unsigned n = 0; n < 4; n++) {
		BUF ops = {0};

		for (unsigned i = 0; i < n; i++) {
			journal_put_op(&ops, "Ikey", 4, "some value", i * 3);
			journal_del_op(&ops, "Dgone", 5);
			journal_add_op(&ops, i, -1);
		}
		journal_record_encode(&pool, n + 1, &chain, &ops, &out, &chain);
		seed_write("fuzz_journal", n, out.data, out.len);
	}
}

static void manifest_seeds(void)
{
	for (unsigned n = 0; n < 4; n++) {
		CLEANUP(manifest_release)
		struct manifest m = {.pool = uuid_of(1), .checkpoint_id = 1, .count = n};
		BUF out = {0};

		m.files = xcalloc(n + 1, sizeof(*m.files));
		for (unsigned i = 0; i < n; i++) {
			snprintf(m.files[i].name, sizeof(m.files[i].name), "%06u.sst", i);
			snprintf(m.files[i].stored, sizeof(m.files[i].stored), "%06u.sst-ab", i);
			m.files[i].size_bytes = i;
		}
		manifest_encode(&m, &out);
		seed_write("fuzz_manifest", n, out.data, out.len);
	}
}

static void json_seeds(void)
{
	struct disk_json d = {.pool = uuid_of(1), .uuid = uuid_of(2), .id = 1, .state = "healthy"};
	CLEANUP(pool_json_release) struct pool_json p = {.pool = uuid_of(1), .name = "tank"};
	BUF out = {0};

	if (disk_json_encode(&d, &out))
		exit(1);
	seed_write("fuzz_json", 0, out.data, out.len);
	for (unsigned n = 0; n < 4; n++) {
		struct pool_json_disk *pd;

		buf_reset(&out);
		if (pool_json_encode(&p, &out))
			exit(1);
		seed_write("fuzz_json", n + 1, out.data, out.len);
		pd = pool_json_add(&p);
		pd->id.v = n + 1;
		pd->uuid = uuid_of((uint8_t)(n + 9));
		snprintf(pd->state, sizeof(pd->state), "failed");
		snprintf(pd->path, sizeof(pd->path), n == 1 ? "/a\xff%u" : "/a/%u", n);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds DIR\n");
		return 2;
	}
	top = argv[1];
	record_seeds();
	root_seeds();
	journal_seeds();
	manifest_seeds();
	json_seeds();
	return 0;
}
