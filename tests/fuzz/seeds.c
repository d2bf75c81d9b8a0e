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
#include "stub_meta.h"

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
			.epoch_id = uuid_of(9),
			.disk_count = n,
			.clean = n % 2,
			.member_count = n,
		};
		uint8_t out[ROOT_SLOT_BYTES];

		for (unsigned i = 0; i < n; i++)
			r.members[i] = (struct root_member){{i + 1}, uuid_of((uint8_t)(i + 10))};
		for (unsigned i = 0; i < n; i++)
			r.disks[i] = (struct root_disk){
				{i + 1}, uuid_of((uint8_t)(i + 10)), false, 1, 0, false};
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
		journal_record_encode(
			&(struct journal_frame){.pool = pool, .seq = n + 1, .prev = chain}, &ops,
			&out, &chain);
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
			m.files[i].size_bytes = i;
			m.files[i].k = 2;
			m.files[i].m = 2;
			for (uint32_t j = 0; j < 4; j++)
				m.files[i].fragments[j].disk.v = 1 + j;
		}
		manifest_encode(&m, &out);
		seed_write("fuzz_manifest", n, out.data, out.len);
	}
}

static void table_seeds(void)
{
	static const uint64_t sizes[] = {0, 1, 70000, 700000};

	for (unsigned n = 0; n < ARRAY_SIZE(sizes); n++) {
		struct table_header h = {.pool = uuid_of(1),
					 .name = "000012.sst",
					 .size_bytes = sizes[n],
					 .k = (uint8_t)(n + 1),
					 .m = 3};
		FREE uint8_t *blocks = xcalloc(table_shape(sizes[n], h.k).block_count + 1,
					       HASH_LEN);
		struct hash hash;
		BUF out = {0};

		h.blocks = blocks;
		table_header_encode(&h, &out, &hash);
		seed_write("fuzz_table", n, out.data, out.len);
	}
}

static void json_seeds(void)
{
	struct disk_json d = {.pool = uuid_of(1), .uuid = uuid_of(2), .id = 1, .state = "healthy"};
	CLEANUP(pool_json_release) struct pool_json p = {.pool = uuid_of(1), .name = "tank"};
	BUF out = {0};

	FREE struct disk_places *places = xcalloc(1, sizeof(*places));

	for (unsigned n = 0; n < 2; n++)
		if (!disk_places_add(places, &p.pool, n ? "/a\xff" : "/a"))
			exit(1);
	if (disk_json_encode_with(&d, places, &out))
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

static void schema_seed(unsigned nth, struct meta_txn *t)
{
	struct journal_op op;
	BUF out = {0};

	stub_last_put(t, &op);
	buf_put_le16(&out, (uint16_t)op.key_len);
	buf_put(&out, op.key, op.key_len);
	buf_put(&out, op.value, op.value_len);
	seed_write("fuzz_schema", nth, out.data, out.len);
}

static void schema_seeds(void)
{
	struct meta_txn *t = meta_begin(stub_meta());
	uint8_t data[] = "hello";
	struct rec_inode inode = {.mode = 0100644, .nlink = 1, .size = 5, .mapped_bytes = 5};
	struct rec_dentry dentry = {.ino = {2}, .mode = 0100000, .name = "name"};
	struct rec_map map = {.file_offset = 4096, .len = 100, .extent = {uuid_of(3)}};
	struct rec_extent extent = {.id = {uuid_of(3)},
				    .ino = {2},
				    .len = 100,
				    .k = 1,
				    .m = 2,
				    .wanted_k = 1,
				    .wanted_m = 2,
				    .refs = 1,
				    .fragment_len = 100,
				    .header_len = 320};
	struct rec_bydisk bydisk = {.disk = {1}, .segment = 1, .offset = 512, .record_len = 512};
	struct rec_freed freed = {.disk = {1}, .segment = 1, .offset = 512, .record_len = 512};
	struct rec_orphan orphan = {.ino = {2}, .kind = ORPHAN_TRUNCATE, .from = 4096};
	struct rec_usage usage = {
		.ino = {2}, .slot = 1, .stored_bytes = 4096, .mapped_bytes = 9, .entries = 3};
	struct rec_prealloc prealloc = {
		.ino = {2}, .slot = 1, .count = 2, .ranges = {{0, 4096}, {8192, 12288}}};
	struct rec_disk disk = {.id = {1},
				.uuid = uuid_of(4),
				.state = 1,
				.label = "a",
				.domain = "b",
				.path = "/c"};
	struct rec_settings settings = {.policy = {{4, 2}, .copies = 3, .metadata_copies = 4}};
	unsigned n = 0;

	put_inode(t, (ino_id){2}, &inode);
	schema_seed(n++, t);
	inode.flags = INODE_INLINE;
	inode.inline_len = 5;
	put_inode(t, (ino_id){2}, &inode);
	schema_seed(n++, t);
	put_inline(t, (ino_id){2}, data, 5);
	schema_seed(n++, t);
	put_dentry(t, (ino_id){1}, &dentry);
	schema_seed(n++, t);
	put_map(t, (ino_id){2}, &map);
	schema_seed(n++, t);
	for (unsigned i = 0; i < 3; i++)
		extent.frags[i] =
			(struct rec_fragment){.disk = {i}, .offset = 512 * i, .record_len = 512};
	put_extent(t, &extent);
	schema_seed(n++, t);
	put_bydisk(t, &bydisk);
	schema_seed(n++, t);
	put_freed(t, &freed);
	schema_seed(n++, t);
	put_numbers(t, (disk_id){1}, 7);
	schema_seed(n++, t);
	put_doubt(t, (disk_id){1}, 7, 512);
	schema_seed(n++, t);
	put_orphan(t, &orphan);
	schema_seed(n++, t);
	put_usage(t, &usage);
	schema_seed(n++, t);
	put_fold(t, (ino_id){2}, 1);
	put_narrow(t, (ino_id){2}, 1);
	schema_seed(n++, t);
	put_prealloc(t, &prealloc);
	schema_seed(n++, t);
	inode.flags |= INODE_PREALLOC;
	inode.prealloc_bytes = 8192;
	put_inode(t, (ino_id){2}, &inode);
	schema_seed(n++, t);
	put_disk(t, &disk);
	schema_seed(n++, t);
	put_settings(t, &settings);
	schema_seed(n++, t);
	put_xattr(t, (ino_id){2}, "user.a", "value", 5);
	schema_seed(n++, t);
	put_audit(t, 1, 2, "{}");
	schema_seed(n++, t);
	meta_cancel(t);
}

static void ctl_seeds(void)
{
	static const char *const texts[] = {
		"{\"op\":\"ping\"}",
		"{\"op\":\"status\",\"args\":{\"path\":{\"hex\":\"2fff\"},\"n\":1,\"all\":true}}",
		"{\"op\":\"add-disk\",\"args\":{\"disk\":\"/mnt/a\",\"label\":\"a\"}}",
		"{\"progress\":{\"done\":1}}",
		"{\"error\":0,\"message\":\"\",\"warnings\":[\"w\"],\"result\":{\"a\":1}}",
		"{\"error\":-9,\"message\":\"no space left\"}",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		BUF out = {0};

		buf_put_le32(&out, 0x4c544331u);
		buf_put_le32(&out, (uint32_t)strlen(texts[i]));
		buf_put(&out, texts[i], strlen(texts[i]));
		seed_write("fuzz_ctl", i, out.data, out.len);
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
	table_seeds();
	json_seeds();
	schema_seeds();
	ctl_seeds();
	return 0;
}
