/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is believed of a disk's roots, manifests and tables, and of the local index (P3, P8, M5, M8): bytes
 * that are whole and have right hashes, but are another's, or of another time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "format/journal.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

static void begin(struct rig *r, bool rocks)
{
	rig_init(r, rocks, 3, 3);
	rig_must_open(r);
	rig_fill(r, 0, 50, 1);
	rig_must_close(r);
}

static void root_of(struct rig *r, unsigned disk, struct root *ret)
{
	assert_int_equal(meta_read_root(r->devs[disk], ret, NULL), 0);
}

/* ---- roots ---- */

/* A root that only a newer program understands is the newest of its disk: going on from an older one would
 * bring back the past. */
static void test_root_of_a_newer_program(void **state)
{
	struct root *root = calloc(1, sizeof(*root));
	struct rig r;

	(void)state;
	begin(&r, false);
	root_of(&r, 1, root);
	root->generation++;
	root->feature_incompat = 1ull << 40;
	assert_int_equal(roots_write(r.devs[1], root), 0);
	assert_int_equal(rig_open(&r), DFS_EFEATURE);
	rig_release(&r);
	free(root);
}

/* A disk with another pool's roots is neither believed nor written to. */
static void test_root_of_another_pool(void **state)
{
	struct root *root = calloc(1, sizeof(*root)), *now = calloc(1, sizeof(*now));
	struct rig r;

	(void)state;
	begin(&r, false);
	root_of(&r, 1, root);
	root->generation++;
	uuid_random(&root->pool);
	assert_int_equal(roots_write(r.devs[1], root), 0);
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	assert_false(meta_is_member(r.m, (disk_id){2}));
	rig_fill(&r, 50, 10, 1);
	rig_must_close(&r);
	root_of(&r, 1, now);
	assert_int_equal(now->generation, root->generation);
	assert_true(uuid_eq(&now->pool, &root->pool));
	rig_release(&r);
	free(root);
	free(now);
}

/* In one ring the epoch decides, and within it the generation. */
static void test_newest_root(void **state)
{
	struct root *root = calloc(1, sizeof(*root)), *now = calloc(1, sizeof(*now));
	uint64_t generation, epoch;
	struct rig r;

	(void)state;
	begin(&r, false);
	root_of(&r, 0, root);
	generation = root->generation;
	epoch = root->epoch;
	root->epoch = epoch + 1;
	root->generation = generation + 1;
	assert_int_equal(roots_write(r.devs[0], root), 0);
	root->epoch = epoch;
	root->generation = generation + 2;
	assert_int_equal(roots_write(r.devs[0], root), 0);
	root_of(&r, 0, now);
	assert_int_equal(now->epoch, epoch + 1);
	assert_int_equal(now->generation, generation + 1);
	rig_release(&r);
	free(root);
	free(now);
}

/* Numbers that no pool comes to, under right hashes: nothing can follow them, which is an error and not the end
 * of the process, and nothing is written (P10). */
static void test_numbers_at_their_end(void **state)
{
	struct root *root = calloc(1, sizeof(*root)), *now = calloc(1, sizeof(*now));
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		begin(&r, false);
		root_of(&r, 1, root);
		r.witness = r.told;
		if (i == 0) {
			root->generation = 1ull << 62;
		} else if (i == 1) {
			root->epoch = 1ull << 62;
			root->generation++;
		} else if (i == 2) {
			root->checkpoint_seq = (1ull << 62) - 1;
			root->journal_first = root->checkpoint_seq + 1;
			root->generation += 2;
		} else {
			r.witness.epoch = INT64_MAX;
		}
		for (unsigned d = 0; i < 3 && d < 3; d++)
			assert_int_equal(roots_write(r.devs[d], root), 0);
		root_of(&r, 1, root);
		assert_int_not_equal(rig_open(&r), 0);
		r.force = true;
		assert_int_not_equal(rig_open(&r), 0);
		root_of(&r, 1, now);
		assert_int_equal(now->generation, root->generation);
		rig_release(&r);
	}
	free(root);
	free(now);
}

/* The index says that a disk's number is another disk's, while that one is a member. */
static void test_two_disks_with_one_number(void **state)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct meta_known known = {.id = {1}};
	struct rig r;

	(void)state;
	begin(&r, false);
	rig_must_open(&r);
	uuid_random(&known.uuid);
	assert_int_equal(meta_set_disks(r.m, disks, rig_disks(&r, disks), &known, 1), DFS_ECORRUPT);
	rig_release(&r);
}

/* ---- what lies on the disks ---- */

static void load(struct rig *r, struct root *root, struct manifest *man)
{
	root_of(r, 0, root);
	assert_int_equal(manifest_load(r->devs[0], root, man), 0);
	assert_true(man->count > 0);
}

/* A manifest of this pool and of that number, but not the one that the root means. */
static void test_another_manifest(void **state)
{
	struct root *root = calloc(1, sizeof(*root));
	struct manifest man, got;
	char name[JOURNAL_NAME_LEN];
	struct rig r;
	BUF bytes = {0};

	(void)state;
	begin(&r, false);
	load(&r, root, &man);
	man.seq++;
	manifest_encode(&man, &bytes);
	manifest_name(root->checkpoint_id, name);
	assert_int_equal(dev_replace(r.devs[0], name, bytes.data, bytes.len), 0);
	assert_int_equal(manifest_load(r.devs[0], root, &got), DFS_ECHECKSUM);
	manifest_release(&man);
	rig_release(&r);
	free(root);
}

static int discard(void *ctx, uint64_t off, const void *data, size_t len)
{
	(void)ctx, (void)off, (void)data, (void)len;
	return 0;
}

/* Changes a byte of the fragment, with its block's hash and the header's. */
static void forge_fragment(struct rig *r, const struct manifest_file *f, unsigned index)
{
	struct table_shape shape = table_shape(f->size_bytes, f->k);
	struct dev *dev = r->devs[f->fragments[index].disk.v - 1];
	uint32_t block = table_block_len(&shape, 0);
	FREE uint8_t *data = NULL, *hashes = NULL;
	char path[TABLE_PATH_LEN];
	struct table_header h;
	struct hash hash;
	BUF out = {0};
	size_t len;

	table_path(f, index, path);
	assert_int_equal(dev_read_all(dev, path, TABLE_MAX_BYTES, &data, &len), 0);
	assert_int_equal(table_header_parse(data, len, &h, &hash), 0);
	hashes = xmalloc(shape.block_count * (size_t)HASH_LEN);
	memcpy(hashes, h.blocks, shape.block_count * (size_t)HASH_LEN);
	data[shape.header_len] ^= 1;
	hash_bytes(data + shape.header_len, block, &hash);
	memcpy(hashes, hash.b, HASH_LEN);
	h.blocks = hashes;
	table_header_encode(&h, &out, &hash);
	assert_int_equal(out.len, shape.header_len);
	buf_put(&out, data + shape.header_len, len - shape.header_len);
	assert_int_equal(dev_replace(dev, path, out.data, out.len), 0);
}

/* Fragments that are whole in themselves, and not those that the manifest means. */
static void test_another_fragment(void **state)
{
	struct root *root = calloc(1, sizeof(*root));
	struct dev *devs[TABLE_MAX_WIDTH] = {NULL};
	struct manifest_file *f;
	struct manifest man;
	uint32_t bad = 0;
	int local = 0;
	struct rig r;

	(void)state;
	begin(&r, false);
	load(&r, root, &man);
	f = &man.files[0];
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		devs[i] = r.devs[f->fragments[i].disk.v - 1];
		assert_int_equal(table_check(&r.pool, f, i, devs[i]), 0);
		forge_fragment(&r, f, i);
		assert_int_equal(table_check(&r.pool, f, i, devs[i]), DFS_ECHECKSUM);
	}
	assert_int_equal(table_read(&r.pool, f, devs, discard, NULL, &bad, &local), DFS_ECHECKSUM);
	manifest_release(&man);
	rig_release(&r);
	free(root);
}

/* ---- the local index ---- */

static void keep_index(struct rig *r, bool back)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
		 back ? "rm -r %s && cp -a %s.old %s" : "cp -a %s %s.old && true %s", r->index_dir,
		 r->index_dir, r->index_dir);
	assert_int_equal(system(cmd), 0);
}

/* A copy of the pool directory from before a checkpoint: the journal has no longer what it lacks. */
static void test_index_of_the_past(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, true);
	keep_index(&r, false);
	rig_must_open(&r);
	rig_fill(&r, 20, 50, 2);
	rig_must_close(&r);
	rig_must_open(&r);
	rig_fill(&r, 60, 50, 3);
	rig_must_close(&r);
	keep_index(&r, true);
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	rig_expect_value(&r, 0, 20, 1);
	rig_expect_value(&r, 20, 40, 2);
	rig_expect_value(&r, 60, 50, 3);
	rig_must_close(&r);
	rig_release(&r);
}

static void cut_all(struct rig *r)
{
	const struct fault_plan gone = {.gone = true};

	for (unsigned i = 0; i < r->disk_count; i++)
		dev_fault_set(r->devs[i], &gone);
}

/* The last record, with right predecessor, number and hash, says something else on every disk. */
static void forge_last(struct rig *r, unsigned disk, uint64_t seq)
{
	FREE uint8_t *data = NULL;
	struct journal_frame frame = {.pool = r->pool, .seq = seq, .durable = seq - 1};
	struct journal_record before;
	struct rig_record rec;
	char name[64];
	struct hash hash;
	BUF ops = {0};
	BUF out = {0};
	size_t len;

	rig_find_record(r, disk, seq - 1, &rec);
	snprintf(name, sizeof(name), "meta/journal/%.16s", strrchr(rec.path, '/') + 1);
	assert_int_equal(dev_read_all(r->devs[disk], name, MIB(8), &data, &len), 0);
	assert_int_equal(journal_record_parse(data + rec.off, len - rec.off, &r->pool, &before), 0);
	frame.prev = before.hash;
	uuid_random(&frame.writer);
	journal_put_op(&ops, "other", 5, "x", 1);
	journal_record_encode(&frame, &ops, &out, &hash);
	rig_put_after(&rec, &out);
}

/* An index that a crash left ahead of the checkpoint, and whose last transaction is not the one that the
 * journal has under that number: it is of another history, and thrown away (M5). */
static void test_index_of_another_history(void **state)
{
	const struct fault_plan none = {0};
	BUF out = {0};
	struct rig r;

	(void)state;
	rig_init(&r, false, 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 20, 1);
	r.stored = cut_all; /* flushed, and the power goes before the root */
	assert_int_not_equal(meta_checkpoint(r.m), 0);
	r.stored = NULL;
	rig_kill(&r);
	for (unsigned i = 0; i < 3; i++)
		dev_fault_set(r.devs[i], &none);
	for (unsigned i = 0; i < 3; i++)
		forge_last(&r, i, 20);
	rig_must_open(&r);
	assert_true(r.rec.index_rebuilt);
	assert_int_equal(meta_last_seq(r.m), 20);
	rig_expect_value(&r, 0, 19, 1);
	assert_false(rig_has(&r, 19, 1));
	assert_int_equal(meta_get(r.m, "other", 5, &out), 0);
	rig_must_close(&r);
	rig_release(&r);
}

static struct rig *flushing;

static int cut_flush(struct index *x)
{
	(void)x;
	cut_all(flushing);
	return DFS_EGONE;
}

static void copy_roots(struct rig *r, unsigned disk, const char *how)
{
	char path[256], cmd[800];

	rig_path(r, disk, "meta/roots", path);
	snprintf(cmd, sizeof(cmd), "roots=%s; %s", path, how);
	assert_int_equal(system(cmd), 0);
}

/* The newest root of the disk was not written. */
static void forget_newest(struct rig *r, unsigned disk)
{
	FREE struct root *root = xcalloc(1, sizeof(*root));
	uint8_t slot[ROOT_SLOT_BYTES];
	uint64_t newest = 0;
	char path[256];
	long at = 0;
	FILE *f;

	rig_path(r, disk, "meta/roots", path);
	f = fopen(path, "r+");
	assert_non_null(f);
	for (long off = 0; fread(slot, sizeof(slot), 1, f) == 1; off += sizeof(slot)) {
		if (root_parse(slot, root) || root->generation <= newest)
			continue;
		newest = root->generation;
		at = off;
	}
	memset(slot, 0, sizeof(slot));
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	assert_int_equal(fwrite(slot, sizeof(slot), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

/* Power goes when one member has the root of a new epoch; the other that this lists has missed nothing else. */
static void root_on_one(struct rig *r)
{
	const struct fault_plan fails = {.write_error = 1}, none = {0};
	uint64_t seq;

	rig_init(r, false, 4, 3);
	rig_must_open(r);
	rig_fill(r, 0, 40, 1);
	rig_must_close(r);
	rig_must_open(r);
	rig_fill(r, 40, 10, 1);
	for (unsigned i = 1; i < 4; i++)
		copy_roots(r, i, "cp $roots $roots.then");
	dev_fault_set(r->devs[2], &fails);
	seq = rig_commit(r, 50, 1);
	assert_int_equal(meta_sync(r->m, seq), 0); /* by a root without the third */
	rig_kill(r);
	dev_fault_set(r->devs[2], &none);
	forget_newest(r, 0); /* that the epoch is formed */
	for (unsigned i = 1; i < 4; i++)
		copy_roots(r, i, "cp $roots.then $roots");
}

/* Power goes again while the pool is opened; then the member with the root is lost. The other has kept what it holds
 * (M15). */
static void test_root_on_one_member(void **state)
{
	const struct fault_plan none = {0};
	struct index_ops ops = index_mem_ops;
	struct rig r;

	(void)state;
	root_on_one(&r);
	flushing = &r;
	ops.flush = cut_flush;
	r.ops = &ops;
	if (rig_open(&r) == 0)
		rig_kill(&r);
	r.ops = NULL;
	for (unsigned i = 0; i < 4; i++)
		dev_fault_set(r.devs[i], &none);
	r.absent[0] = true;
	r.force = true;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 51, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* The one disk that has the root rots: its journal at one record, at the last one, or gone, or its manifest. The
 * other holds all of it (M15). */
static void test_member_with_the_root_rots(void **state)
{
	struct rig_record rec;
	struct rig r;
	char path[256];

	(void)state;
	for (unsigned how = 0; how < 4; how++) {
		root_on_one(&r);
		rig_find_record(&r, 0, how == 0 ? 45 : 51, &rec);
		if (how < 2) {
			rig_flip(rec.path, (long)rec.off + 20);
			if (rec.second_off)
				rig_flip(rec.path, (long)rec.second_off + 20);
		}
		while (how == 2 && rig_find(&r, 0, "meta/journal", "", path))
			assert_int_equal(unlink(path), 0);
		while (how == 3 && rig_find(&r, 0, "meta/checkpoint", "manifest", path))
			assert_int_equal(unlink(path), 0);
		if (how == 3)
			rig_destroy_index(&r);
		rig_must_open(&r);
		assert_int_equal(r.rec.loss.from, 0);
		rig_expect_value(&r, 0, 51, 1);
		rig_must_close(&r);
		rig_release(&r);
	}
}

/* What the ring of a disk shows is not known: it may be of another history, and nothing on it is changed (H6). */
static void test_unreadable_roots(void **state)
{
	const struct fault_plan unreadable = {.read_error = 1}, none = {0};
	struct rig r = {0};

	(void)state;
	rig_init(&r, false, 3, 3);
	rig_must_open(&r);
	rig_fill(&r, 0, 10, 1);
	rig_must_close(&r);
	/* the third is used apart */
	r.absent[0] = r.absent[1] = r.force = true;
	rig_must_open(&r);
	rig_fill(&r, 100, 10, 1);
	rig_must_close(&r);
	r.absent[0] = r.absent[1] = r.force = false;
	r.absent[2] = true;
	rig_must_open(&r);
	rig_fill(&r, 200, 10, 1);
	rig_must_close(&r);
	r.absent[2] = false;
	assert_int_equal(rig_open(&r), DFS_ESPLIT);
	/* with the newer history's disks it opens, and leaves the other one alone */
	dev_fault_set(r.devs[2], &unreadable);
	rig_must_open(&r);
	assert_int_equal(meta_disk_role(r.m, &r.uuids[2]), HISTORY_UNREAD);
	rig_expect_value(&r, 200, 10, 1);
	dev_fault_set(r.devs[2], &none);
	rig_fill(&r, 300, 10, 1);
	assert_int_equal(meta_checkpoint(r.m), 0);
	rig_must_close(&r);
	r.absent[0] = r.absent[1] = r.force = true;
	rig_must_open(&r);
	rig_expect_value(&r, 100, 10, 1);
	assert_false(rig_has(&r, 200, 1));
	rig_must_close(&r);
	rig_release(&r);
}

/* A bad sector in the ring costs a slot, not the disk, nor, on two disks, the pool (H6). */
static void test_bad_sector_in_the_ring(void **state)
{
	const struct fault_plan none = {0};
	struct rig r = {0};

	(void)state;
	for (unsigned slots = 1; slots <= 3; slots += 2) {
		const struct fault_plan bad = {
			.only = "meta/roots",
			.unread_from = 512,
			.unread_to = 513 + (slots - 1) * (uint64_t)ROOT_SLOT_BYTES};

		rig_init(&r, false, 3, 3);
		rig_must_open(&r);
		rig_fill(&r, 0, 10, 1);
		rig_must_close(&r);
		dev_fault_set(r.devs[0], &bad);
		dev_fault_set(r.devs[1], &bad);
		if (slots == 3) { /* that may hide whatever it has been used for */
			assert_int_equal(rig_open(&r), DFS_ENOQUORUM);
		} else {
			rig_must_open(&r);
			rig_expect_value(&r, 0, 10, 1);
			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(meta_disk_role(r.m, &r.uuids[i]), HISTORY_CURRENT);
			rig_fill(&r, 10, 10, 1);
			rig_must_close(&r);
			/* and what was in that slot is gone for good */
			dev_fault_set(r.devs[0], &none);
			dev_fault_set(r.devs[1], &none);
			rig_must_open(&r);
			rig_expect_value(&r, 0, 20, 1);
			rig_must_close(&r);
		}
		rig_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unreadable_roots),
		cmocka_unit_test(test_bad_sector_in_the_ring),
		cmocka_unit_test(test_root_of_a_newer_program),
		cmocka_unit_test(test_root_of_another_pool),
		cmocka_unit_test(test_newest_root),
		cmocka_unit_test(test_numbers_at_their_end),
		cmocka_unit_test(test_two_disks_with_one_number),
		cmocka_unit_test(test_another_manifest),
		cmocka_unit_test(test_another_fragment),
		cmocka_unit_test(test_index_of_the_past),
		cmocka_unit_test(test_index_of_another_history),
		cmocka_unit_test(test_root_on_one_member),
		cmocka_unit_test(test_member_with_the_root_rots),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
