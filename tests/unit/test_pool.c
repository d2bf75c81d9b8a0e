/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool and its extents without a filesystem on top: real directories, real index. What is written
 * reads back, with disks lost, with rotten fragments, after a reopen, after an import; what is refused
 * changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/log.h"
#include "dev/dev.h"
#include "format/pooljson.h"
#include "pool/pool.h"

#define DISKS 6

struct fixture {
	char top[64], pool[96], disk[DISKS + 1][96];
	struct pool *p;
};

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s\n", line);
}

static void reopen(struct fixture *f)
{
	struct pool_message msg = {""};
	int err = pool_open(f->pool, NULL, NULL, &f->p, &msg);

	if (err)
		print_message("%s\n", msg.text);
	assert_int_equal(err, 0);
}

static void add_disk(struct fixture *f, unsigned i)
{
	struct pool_disk_spec spec = {.path = f->disk[i]};
	struct pool_message msg = {""};
	struct disk_info info;
	bool same;
	int err;

	assert_int_equal(mkdir(f->disk[i], 0755), 0);
	err = pool_add_disk(f->p, &spec, &info, &same, &msg);
	if (err)
		print_message("%s\n", msg.text);
	assert_int_equal(err, 0);
	assert_int_equal(info.id.v, i + 1);
	assert_true(same == (i > 0));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct policy s;
	struct pool_message msg;

	log_set_sink(quiet, NULL);
	snprintf(f->top, sizeof(f->top), "/tmp/dfs-test-pool-XXXXXX");
	assert_non_null(mkdtemp(f->top));
	snprintf(f->pool, sizeof(f->pool), "%s/pool", f->top);
	for (unsigned i = 0; i <= DISKS; i++)
		snprintf(f->disk[i], sizeof(f->disk[i]), "%s/disk%u", f->top, i);
	pool_settings_default(&s);
	assert_int_equal(pool_init(f->pool, &s, NULL, &msg), 0);
	assert_int_equal(pool_init(f->pool, &s, NULL, &msg), DFS_EEXIST);
	reopen(f);
	assert_false(pool_has_disks(f->p));
	for (unsigned i = 0; i < DISKS; i++)
		add_disk(f, i);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	if (f->p)
		assert_int_equal(pool_close(f->p), 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->top);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

static uint8_t *pattern(uint32_t len, uint32_t seed)
{
	uint8_t *p = malloc(len);

	for (uint32_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
	return p;
}

/* Writes one extent of inode 7 and commits it, with an inode and a map entry, so that fsck agrees. */
static extent_id put_one(struct fixture *f, uint64_t nth, uint32_t len, struct geometry g)
{
	uint8_t *data = pattern(len, (uint32_t)nth);
	struct record_piece piece = {.file_offset = nth * MIB(1), .len = len};
	struct extent_new e = {.ino = {7},
			       .data = data,
			       .len = len,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = g};
	struct rec_map map = {.file_offset = nth * MIB(1), .len = len};
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
	free(data);
	return e.rec.id;
}

static int read_matches(struct fixture *f, extent_id id, uint64_t nth, uint32_t len)
{
	uint8_t *want = pattern(len, (uint32_t)nth), *got = malloc(len);
	int err = extent_read(pool_extents(f->p), id, 0, len, got);

	if (!err)
		assert_memory_equal(got, want, len);
	/* a piece from the middle, unaligned */
	if (!err && len > 5000) {
		memset(got, 0, len);
		assert_int_equal(extent_read(pool_extents(f->p), id, len / 3, len / 2, got), 0);
		assert_memory_equal(got, want + len / 3, len / 2);
	}
	free(want);
	free(got);
	return err;
}

static const uint32_t sizes[] = {1, 511, 4096, 16384, 16385, 65536 + 7, 1048575, 1048576};
static const struct geometry geometries[] = {{1, 2}, {4, 2}, {3, 2}, {1, 0}, {2, 1}};
#define EXTENTS (ARRAY_SIZE(sizes) * ARRAY_SIZE(geometries))

static void put_all(struct fixture *f, extent_id *ids)
{
	for (unsigned i = 0; i < EXTENTS; i++)
		ids[i] = put_one(f, i, sizes[i % ARRAY_SIZE(sizes)],
				 geometries[i / ARRAY_SIZE(sizes)]);
}

static unsigned read_all(struct fixture *f, const extent_id *ids)
{
	unsigned good = 0;

	for (unsigned i = 0; i < EXTENTS; i++)
		good += read_matches(f, ids[i], i, sizes[i % ARRAY_SIZE(sizes)]) == 0;
	return good;
}

static void test_reads_back_after_reopen(void **state)
{
	struct fixture *f = *state;
	extent_id ids[EXTENTS];

	put_all(f, ids);
	assert_int_equal(read_all(f, ids), EXTENTS);
	assert_int_equal(pool_close(f->p), 0);
	reopen(f);
	assert_int_equal(read_all(f, ids), EXTENTS);
	pool_abandon(f->p);
	reopen(f);
	assert_int_equal(read_all(f, ids), EXTENTS);
}

static void wipe(struct fixture *f, unsigned i)
{
	char cmd[160];

	snprintf(cmd, sizeof(cmd), "rm -rf %s/dynamicfs", f->disk[i]);
	assert_int_equal(system(cmd), 0);
}

static void test_two_disks_lost(void **state)
{
	struct fixture *f = *state;
	extent_id ids[EXTENTS];
	unsigned tolerant = 3 * ARRAY_SIZE(sizes);

	put_all(f, ids);
	assert_int_equal(pool_close(f->p), 0);
	for (unsigned a = 0; a < DISKS; a += 2) {
		/* move two away, look, bring them back: they missed the epochs in between */
		char cmd[512];
		unsigned b = a + 1;

		snprintf(cmd, sizeof(cmd), "mv %s %s.away && mv %s %s.away", f->disk[a], f->disk[a],
			 f->disk[b], f->disk[b]);
		assert_int_equal(system(cmd), 0);
		reopen(f);
		for (unsigned i = 0; i < tolerant; i++)
			assert_int_equal(read_matches(f, ids[i], i, sizes[i % ARRAY_SIZE(sizes)]),
					 0);
		put_one(f, 1000 + a, 1048576, (struct geometry){4, 2});
		assert_int_equal(pool_close(f->p), 0);
		snprintf(cmd, sizeof(cmd), "mv %s.away %s && mv %s.away %s", f->disk[a], f->disk[a],
			 f->disk[b], f->disk[b]);
		assert_int_equal(system(cmd), 0);
		reopen(f);
		assert_int_equal(read_all(f, ids), EXTENTS);
		assert_int_equal(pool_close(f->p), 0);
	}
	f->p = NULL;
}

/* A disk of which the segments can't be listed goes out of use, though metadata lies on it. */
static void test_segments_unreadable(void **state)
{
	struct fixture *f = *state;
	extent_id ids[EXTENTS];
	unsigned tolerant = 3 * ARRAY_SIZE(sizes);
	char cmd[512];

	put_all(f, ids);
	assert_int_equal(pool_close(f->p), 0);
	snprintf(cmd, sizeof(cmd), "cd %s/dynamicfs && mv segments away && : >segments",
		 f->disk[0]);
	assert_int_equal(system(cmd), 0);
	reopen(f);
	assert_false(disk_present(disk_get(pool_disks(f->p), (disk_id){1})));
	for (unsigned i = 0; i < tolerant; i++)
		assert_int_equal(read_matches(f, ids[i], i, sizes[i % ARRAY_SIZE(sizes)]), 0);
	put_one(f, 1000, 1048576, (struct geometry){3, 2});
	assert_int_equal(meta_checkpoint(pool_meta(f->p)), 0);
}

/* Three lost: what had three fragments there is refused, the rest reads (P4). */
static void test_third_lost_costs_only_its_own(void **state)
{
	struct fixture *f = *state;
	extent_id ids[EXTENTS];
	unsigned expect = 0;

	put_all(f, ids);
	for (unsigned i = 0; i < EXTENTS; i++) {
		struct rec_extent rec;
		unsigned left = 0;
		bool whole = true; /* the fragments that hold its bytes are all there */

		assert_int_equal(get_extent(pool_meta(f->p), ids[i], &rec), 0);
		for (unsigned j = 0; j < (unsigned)rec.k + rec.m; j++)
			left += rec.frags[j].disk.v > 3;
		for (unsigned j = 0; j < rec.k && j * rec.fragment_len < rec.len; j++)
			whole &= rec.frags[j].disk.v > 3;
		expect += left >= rec.k || whole;
	}
	assert_true(expect > 0 && expect < EXTENTS);
	assert_int_equal(pool_close(f->p), 0);
	for (unsigned i = 0; i < 3; i++)
		wipe(f, i);
	reopen(f);
	assert_int_equal(read_all(f, ids), expect);
}

/* Flips bits in one fragment of an extent, on its disk. */
static void rot(struct fixture *f, const struct rec_fragment *fr, uint32_t at)
{
	char path[160];
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "%s/dynamicfs/segments/%08x", f->disk[fr->disk.v - 1],
		 fr->segment);
	file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)(fr->offset + at), SEEK_SET), 0);
	c = fgetc(file);
	assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
	assert_int_not_equal(fputc(c ^ 0x10, file), EOF);
	assert_int_equal(fclose(file), 0);
}

static void test_rot_is_healed(void **state)
{
	struct fixture *f = *state;
	extent_id ids[EXTENTS];
	struct rec_extent rec;

	put_all(f, ids);
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(sizes); i++) {
		assert_int_equal(get_extent(pool_meta(f->p), ids[i], &rec), 0);
		rot(f, &rec.frags[i % (rec.k + rec.m)], 40);		       /* header */
		rot(f, &rec.frags[(i + 1) % (rec.k + rec.m)], rec.header_len); /* payload */
	}
	assert_int_equal(pool_close(f->p), 0); /* forget what was cached */
	reopen(f);
	for (unsigned i = 0; i < 3 * ARRAY_SIZE(sizes); i++) {
		struct extent_check c;
		unsigned repaired;

		assert_int_equal(read_matches(f, ids[i], i, sizes[i % ARRAY_SIZE(sizes)]), 0);
		assert_int_equal(extent_repair(pool_extents(f->p), ids[i], &repaired), 0);
		assert_int_equal(get_extent(pool_meta(f->p), ids[i], &rec), 0);
		assert_int_equal(extent_verify(pool_extents(f->p), &rec, true, &c), 0);
		assert_int_equal(c.good, rec.k + rec.m);
	}
	assert_true(extent_stats(pool_extents(f->p)).fragments_healed >= 3 * ARRAY_SIZE(sizes));
}

static void test_import_without_pool_directory(void **state)
{
	struct fixture *f = *state;
	const char *paths[DISKS];
	struct pool_message msg = {""};
	extent_id ids[EXTENTS];
	char cmd[160];

	put_all(f, ids);
	assert_int_equal(pool_close(f->p), 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->pool);
	assert_int_equal(system(cmd), 0);
	for (unsigned i = 0; i < DISKS; i++)
		paths[i] = f->disk[i];
	/* a minority cannot know the newest state */
	assert_int_equal(pool_import(f->pool, paths, 2, false, NULL, &msg), DFS_ENOQUORUM);
	assert_int_not_equal(access(f->pool, F_OK), 0);
	assert_int_equal(pool_import(f->pool, paths, DISKS, false, NULL, &msg), 0);
	reopen(f);
	assert_int_equal(read_all(f, ids), EXTENTS);
}

static void test_fail_disk(void **state)
{
	struct fixture *f = *state;
	struct pool_message msg = {""};
	struct disk_info info;
	extent_id id = put_one(f, 1, 1048576, (struct geometry){4, 2});

	assert_int_equal(pool_fail_disk(f->p, "nonsense", false, &info, &msg), DFS_ENODISK);
	assert_int_equal(pool_fail_disk(f->p, "disk0", false, &info, &msg), 0);
	assert_int_equal(pool_fail_disk(f->p, f->disk[1], false, &info, &msg), 0);
	assert_int_equal(pool_fail_disk(f->p, "disk2", false, &info, &msg), DFS_EREFUSED);
	assert_int_equal(read_matches(f, id, 1, 1048576), 0);
	assert_int_equal(pool_close(f->p), 0);
	reopen(f);
	assert_int_equal(read_matches(f, id, 1, 1048576), 0);
	assert_int_equal(disk_state(disk_get(pool_disks(f->p), (disk_id){1})), DISK_FAILED);
}

static void test_freed_space_comes_back(void **state)
{
	struct fixture *f = *state;
	struct extent_store *s = pool_extents(f->p);
	extent_id ids[40];
	unsigned total = 0;

	for (unsigned i = 0; i < 40; i++)
		ids[i] = put_one(f, i, 1048576, (struct geometry){4, 2});
	for (unsigned i = 0; i < 40; i += 2) {
		struct meta_txn *t = meta_begin(pool_meta(f->p));
		struct extent_refs refs = {0};
		uint64_t seq;

		extent_refs_add(&refs, ids[i], 0, -1);
		assert_int_equal(extent_refs_apply(s, t, &refs), 0);
		del_map(t, (ino_id){7}, i * MIB(1));
		assert_int_equal(meta_commit(t, &seq), 0);
		extent_refs_release(&refs);
	}
	for (unsigned i = 0; i < DISKS; i++)
		segment_close_open(disk_at(pool_disks(f->p), i));
	for (unsigned i = 0; i < 100 && total < 120; i++) {
		unsigned done;

		assert_int_equal(extent_reclaim(s, 50, &done), 0);
		total += done;
		if (!done)
			env_sleep_ms(20); /* the pool's own thread may have taken some */
	}
	for (unsigned i = 1; i < 40; i += 2)
		assert_int_equal(read_matches(f, ids[i], i, 1048576), 0);
	for (unsigned d = 1; d <= DISKS; d++) {
		char path[160];
		struct stat st;

		snprintf(path, sizeof(path), "%s/dynamicfs/segments/00000001", f->disk[d - 1]);
		assert_int_equal(stat(path, &st), 0);
		/* 40 fragments of 257 KiB were written, 20 are left */
		assert_true((uint64_t)st.st_blocks * 512 < 22 * KIB(258));
	}
}

/* The index's settings would give a new disk the number of one that is there. */
static void test_next_disk_lies(void **state)
{
	static const uint32_t lies[] = {0, 1, 3, UINT32_MAX};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
		struct rec_settings rec;
		struct pool_message msg;
		char path[128];
		struct pool_disk_spec spec = {.path = path};
		struct disk_info info;
		struct meta_txn *t;
		uint64_t seq;
		bool same;
		int err;

		assert_int_equal(get_settings(pool_meta(f->p), &rec), 0);
		rec.next_disk = lies[i];
		t = meta_begin(pool_meta(f->p));
		put_settings(t, &rec);
		assert_int_equal(meta_commit(t, &seq), 0);
		assert_int_equal(pool_close(f->p), 0);
		reopen(f);
		snprintf(path, sizeof(path), "%s/more%u", f->top, i);
		assert_int_equal(mkdir(path, 0700), 0);
		err = pool_add_disk(f->p, &spec, &info, &same, &msg);
		assert_int_equal(err, lies[i] == UINT32_MAX ? DFS_EINVAL : 0);
		if (!err)
			assert_int_equal(info.id.v, DISKS + i + 1u);
	}
}

/* Settings that no pool can have, under a right seal: an error, not the end of the process. */
static void test_pool_json_lies(void **state)
{
	static const struct policy lies[] = {
		{{4, 2}, .copies = 3, .metadata_copies = 0},
		{{4, 2}, .copies = 3, .metadata_copies = 255},
		{{0, 2}, .copies = 3, .metadata_copies = 4},
		{{200, 2}, .copies = 3, .metadata_copies = 4},
		{{4, 200}, .copies = 3, .metadata_copies = 4},
		{{4, 2}, .copies = 0, .metadata_copies = 4},
		{{4, 2}, .copies = 255, .metadata_copies = 4},
	};
	struct fixture *f = *state;

	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		CLEANUP(pool_json_release) struct pool_json j = {0};
		struct pool_message msg = {""};
		FREE uint8_t *data = NULL;
		struct dev *dev;
		BUF text = {0};
		size_t len;

		assert_int_equal(dev_dir_open(f->pool, "", false, &dev), 0);
		assert_int_equal(dev_read_all(dev, POOL_JSON_NAME, MIB(1), &data, &len), 0);
		assert_int_equal(pool_json_parse(data, len, &j), 0);
		j.policy = lies[i];
		assert_int_equal(pool_json_encode(&j, &text), 0);
		assert_int_equal(dev_replace(dev, POOL_JSON_NAME, text.data, text.len), 0);
		dev_free(dev);
		assert_int_equal(pool_open(f->pool, NULL, NULL, &f->p, &msg), DFS_ECORRUPT);
		assert_non_null(strstr(msg.text, "pool.json"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reads_back_after_reopen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_disks_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_segments_unreadable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_third_lost_costs_only_its_own, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_rot_is_healed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_import_without_pool_directory, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_fail_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_json_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_next_disk_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed_space_comes_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
