/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File data against a model in memory: random writes, truncations, holes, with what is stored looked
 * at again after each kind of reopening; the rules F2, F4, F5 one by one. SEED and STEPS in the
 * environment choose another random run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

#define MODEL_FILES 4
#define MODEL_MAX MIB(5)

static uint64_t rng;

static uint64_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static uint64_t below(uint64_t n) { return next_random() % n; }

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void fill_random(uint8_t *p, size_t len)
{
	uint64_t v = next_random();

	for (size_t i = 0; i < len; i++) {
		v = v * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = (uint8_t)(v >> 56);
	}
}

struct model {
	char name[16];
	struct inode *in;
	uint8_t *data; /* MODEL_MAX */
	uint64_t size;
};

static uint64_t random_offset(const struct model *m)
{
	switch (below(6)) {
	case 0:
		return m->size;
	case 1:
		return below(4096);
	case 2:
		return below(5) << SLOT_SHIFT;
	case 3:
		return m->size ? below(m->size) : 0;
	default:
		return below(MODEL_MAX);
	}
}

static uint64_t random_len(void)
{
	switch (below(6)) {
	case 0:
		return 1 + below(16);
	case 1:
		return SLOT_BYTES;
	case 2:
		return 4096;
	case 3:
		return 1 + below(2 * SLOT_BYTES);
	default:
		return 1 + below(KIB(64));
	}
}

static void do_write(struct file_rig *r, struct model *m)
{
	uint64_t off = random_offset(m), len = random_len();
	bool append = below(8) == 0;

	if (append)
		off = m->size;
	if (off >= MODEL_MAX)
		return;
	len = MIN(len, MODEL_MAX - off);
	if (off > m->size)
		memset(m->data + m->size, 0, off - m->size);
	fill_random(m->data + off, len);
	assert_int_equal(fs_write(r->fs, m->in, append ? 0 : off, len, m->data + off, append), 0);
	m->size = MAX(m->size, off + len);
}

static void do_truncate(struct file_rig *r, struct model *m)
{
	uint64_t size = below(4) == 0 ? 0 : MIN(random_offset(m), MODEL_MAX);

	if (size > m->size)
		memset(m->data + m->size, 0, size - m->size);
	rig_truncate(r, m->in, size);
	m->size = size;
}

static void do_punch(struct file_rig *r, struct model *m)
{
	uint64_t off = random_offset(m), len = random_len();
	bool zero = below(2), keep = !zero || below(2);
	unsigned mode = (zero ? FS_FALLOC_ZERO : FS_FALLOC_PUNCH) |
			(keep ? FS_FALLOC_KEEP_SIZE : 0);

	if (off >= MODEL_MAX)
		return;
	len = MIN(len, MODEL_MAX - off);
	assert_int_equal(fs_fallocate(r->fs, m->in, mode, off, len), 0);
	if (!keep && off + len > m->size) {
		memset(m->data + m->size, 0, off + len - m->size);
		m->size = off + len;
	}
	if (off < m->size)
		memset(m->data + off, 0, MIN(len, m->size - off));
}

static void check_part(struct file_rig *r, struct model *m)
{
	uint64_t off = random_offset(m), len = random_len();
	uint8_t *buf = malloc(len);
	size_t got, want = off < m->size ? MIN(len, m->size - off) : 0;

	assert_int_equal(fs_read(r->fs, m->in, off, len, buf, &got), 0);
	assert_int_equal(got, want);
	assert_memory_equal(buf, m->data + MIN(off, MODEL_MAX - 1), got);
	free(buf);
}

/* What SEEK_HOLE calls a hole reads as zeros; data and holes alternate to the end. */
static void check_seek(struct file_rig *r, struct model *m)
{
	uint64_t off = 0, hole, data;

	while (off < m->size) {
		assert_int_equal(fs_seek(r->fs, m->in, off, true, &hole), 0);
		assert_true(hole >= off && hole <= m->size);
		if (hole == m->size)
			break;
		data = m->size;
		if (fs_seek(r->fs, m->in, hole, false, &data))
			data = m->size;
		assert_true(data > hole && data <= m->size);
		for (uint64_t i = hole; i < data; i++)
			assert_int_equal(m->data[i], 0);
		off = data;
	}
	assert_int_equal(fs_seek(r->fs, m->in, m->size, true, &hole), DFS_ENXIO);
}

static void check_all(struct file_rig *r, struct model *m)
{
	struct fs_attr attr = rig_attr(r, m->in);

	assert_int_equal(attr.size, m->size);
	assert_true(attr.blocks_512 * 512 <= m->size + 511);
	rig_expect(r, m->in, m->data, m->size);
	check_seek(r, m);
}

static void reopen_all(struct file_rig *r, struct model *m)
{
	for (unsigned i = 0; i < MODEL_FILES; i++)
		fs_forget(r->fs, m[i].in, 1);
	if (below(3) == 0) {
		/* All that was sealed and synced is there after a kill. */
		assert_int_equal(fs_sync_all(r->fs), 0);
		file_rig_crash(r);
	} else {
		file_rig_reopen(r);
	}
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		m[i].in = rig_lookup(r, r->root, m[i].name);
		check_all(r, &m[i]);
	}
}

static void model_step(struct file_rig *r, struct model *all)
{
	struct model *m = &all[below(MODEL_FILES)];

	switch (below(20)) {
	case 0:
	case 1:
		do_truncate(r, m);
		break;
	case 2:
	case 3:
		do_punch(r, m);
		break;
	case 4:
		assert_int_equal(fs_fsync(r->fs, m->in, false), 0);
		break;
	case 5:
		check_all(r, m);
		break;
	case 6:
	case 7:
	case 8:
		check_part(r, m);
		break;
	case 9:
		if (below(10) == 0)
			reopen_all(r, all);
		break;
	default:
		do_write(r, m);
	}
}

static void run_model(const struct fs_config *cfg, uint64_t seed, unsigned steps)
{
	struct file_rig *r = file_rig_new(cfg, 0);
	struct model m[MODEL_FILES];

	rng = seed * 0x9e3779b97f4a7c15ull + 1;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		snprintf(m[i].name, sizeof(m[i].name), "file%u", i);
		m[i].data = calloc(1, MODEL_MAX);
		m[i].size = 0;
		m[i].in = rig_create(r, r->root, m[i].name);
	}
	for (unsigned i = 0; i < steps; i++)
		model_step(r, m);
	reopen_all(r, m);
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		fs_forget(r->fs, m[i].in, 1);
		free(m[i].data);
	}
	file_rig_free(r);
}

static void test_model_default(void **state)
{
	(void)state;
	run_model(NULL, env_number("SEED", 1), (unsigned)env_number("STEPS", 600));
}

/* Little memory and an eager flusher: seals happen all the time, beside everything else. */
static void test_model_eager(void **state)
{
	struct fs_config cfg = {.dirty_limit_bytes = MIB(4),
				.flush_interval_ms = 4,
				.seal_workers = 3,
				.inode_cache_count = 1};

	(void)state;
	run_model(&cfg, env_number("SEED", 2), (unsigned)env_number("STEPS", 600));
}

static void test_sizes(void **state)
{
	static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, MIB(1) - 1, MIB(1), MIB(1) + 1};
	struct file_rig *r = file_rig_new(NULL, 0);
	uint8_t *data = malloc(MIB(2));
	char name[16];

	(void)state;
	rng = 5;
	fill_random(data, MIB(2));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "f%u", i);
		struct inode *in = rig_create(r, r->root, name);

		if (sizes[i])
			rig_write(r, in, 0, data, sizes[i]);
		rig_expect(r, in, data, sizes[i]);
		fs_forget(r->fs, in, 1);
	}
	file_rig_reopen(r);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(name, sizeof(name), "f%u", i);
		struct inode *in = rig_lookup(r, r->root, name);

		rig_expect(r, in, data, sizes[i]);
		assert_int_equal(rig_attr(r, in).blocks_512, DIV_UP(sizes[i], 512));
		fs_forget(r->fs, in, 1);
	}
	free(data);
	file_rig_free(r);
}

static int count_extents(void *ctx, const struct fs_extent_info *e)
{
	unsigned *n = ctx;

	n[e->is_inline ? 0 : e->extent.k > 1 ? 2 : 1]++;
	return 0;
}

static void hear_fsck(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	print_message("fsck: %s: %s\n", severity, text);
}

/* Inline, to extents, and back to inline. */
static void test_inline(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(3));
	unsigned n[3] = {0};

	(void)state;
	rng = 6;
	fill_random(data, MIB(1) + 100);
	rig_write(r, in, 0, data, 100);
	assert_int_equal(fs_list_extents(r->fs, in, count_extents, n), 0);
	assert_true(n[0] == 1 && n[1] == 0 && n[2] == 0);
	rig_write(r, in, 50, data + 50, 100);
	assert_int_equal(fs_list_extents(r->fs, in, count_extents, n), 0);
	assert_int_equal(n[0], 2);
	rig_expect(r, in, data, 150);
	rig_truncate(r, in, 120);
	rig_truncate(r, in, 4096);
	memset(data + 120, 0, MIB(3) - 120);
	rig_expect(r, in, data, 4096);
	/* Far beyond: a full slot, and the inline bytes in an extent. */
	fill_random(data + MIB(1), MIB(1));
	rig_write(r, in, MIB(1), data + MIB(1), MIB(1));
	memset(n, 0, sizeof(n));
	assert_int_equal(fs_list_extents(r->fs, in, count_extents, n), 0);
	assert_true(n[0] == 0 && n[1] == 1 && n[2] == 1);
	rig_expect(r, in, data, MIB(2));
	rig_truncate(r, in, 0);
	rig_write(r, in, 0, data, 10);
	memset(n, 0, sizeof(n));
	assert_int_equal(fs_list_extents(r->fs, in, count_extents, n), 0);
	assert_true(n[0] == 1 && n[1] == 0 && n[2] == 0);
	rig_expect(r, in, data, 10);
	fs_forget(r->fs, in, 1);
	free(data);
	file_rig_free(r);
}

/* Holes in inline content, and that nothing of it stays behind (file_rig_free's fsck looks). */
static void test_inline_holes(void **state)
{
	const unsigned punch = FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE;
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t data[3000];

	(void)state;
	rng = 8;
	fill_random(data, sizeof(data));
	rig_write(r, in, 0, data, sizeof(data));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(fs_fallocate(r->fs, in, punch, 100, 50), 0);
	memset(data + 100, 0, 50);
	rig_expect(r, in, data, sizeof(data));
	assert_int_equal(in->rec.inline_len, sizeof(data));
	assert_int_equal(fs_fallocate(r->fs, in, punch, 2000, 5000), 0);
	memset(data + 2000, 0, 1000);
	assert_int_equal(in->rec.inline_len, 2000);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, sizeof(data));
	rig_write(r, in, 10, "unsealed", 8);
	assert_int_equal(fs_fallocate(r->fs, in, punch, 0, 5000), 0);
	assert_int_equal(in->rec.inline_len, 0);
	memset(data, 0, sizeof(data));
	rig_expect(r, in, data, sizeof(data));
	rig_write(r, in, 0, data, 20);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_truncate(r, in, 0);
	assert_int_equal(in->rec.inline_len, 0);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

static unsigned lies_found(struct file_rig *r)
{
	struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {""};
	struct pool_fsck_result result, one;
	struct pool *p;

	file_rig_close(r);
	assert_int_equal(pool_open(r->pool_dir, &opt, NULL, &p, &msg), 0);
	assert_int_equal(pool_fsck(p, false, hear_fsck, NULL, &result), DFS_EDAMAGED);
	assert_int_equal(pool_fsck_within(p, false, 1, hear_fsck, NULL, &one), DFS_EDAMAGED);
	assert_memory_equal(&one, &result, sizeof(one)); /* FS2 */
	pool_abandon(p);
	file_rig_open(r);
	return (unsigned)result.problems;
}

static void put_lie(struct file_rig *r, ino_id ino, const char *content)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	if (content)
		put_inline(t, ino, content, strlen(content));
	else
		del_inline(t, ino);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* The record and the inode must agree: else reads refuse, and fsck finds it (P3). */
static void test_inline_lies(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	ino_id ino = fs_inode_ino(in);
	uint8_t got[10];
	size_t len;

	(void)state;
	rig_write(r, in, 0, "right", 5);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	fs_forget(r->fs, in, 1);
	put_lie(r, ino, "longer");
	assert_int_equal(lies_found(r), 1);
	in = rig_lookup(r, r->root, "f");
	assert_int_equal(fs_read(r->fs, in, 0, sizeof(got), got, &len), DFS_ECORRUPT);
	fs_forget(r->fs, in, 1);
	put_lie(r, ino, NULL);
	assert_int_equal(lies_found(r), 1);
	in = rig_lookup(r, r->root, "f");
	assert_int_equal(fs_read(r->fs, in, 0, sizeof(got), got, &len), DFS_ECORRUPT);
	fs_forget(r->fs, in, 1);
	put_lie(r, ino, "right");
	put_lie(r, (ino_id){4711}, "nobody's");
	assert_int_equal(lies_found(r), 1);
	put_lie(r, (ino_id){4711}, NULL);
	file_rig_free(r);
}

static void test_sparse(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint64_t far = 3ull << 40, off;
	char buf[16] = "x";
	size_t got;

	(void)state;
	rig_write(r, in, far, "end", 3);
	assert_int_equal(rig_attr(r, in).size, far + 3);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_true(rig_attr(r, in).blocks_512 < 100);
	assert_int_equal(fs_read(r->fs, in, far - 5, 16, buf, &got), 0);
	assert_int_equal(got, 8);
	assert_memory_equal(buf, "\0\0\0\0\0end", 8);
	assert_int_equal(fs_seek(r->fs, in, 0, false, &off), 0);
	assert_int_equal(off, far);
	assert_int_equal(fs_seek(r->fs, in, 0, true, &off), 0);
	assert_int_equal(off, 0);
	assert_int_equal(fs_write(r->fs, in, DFS_FILE_MAX, 1, "x", false), DFS_EFBIG);
	rig_truncate(r, in, DFS_FILE_MAX);
	rig_truncate(r, in, 7);
	rig_expect(r, in, "\0\0\0\0\0\0\0", 7);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* F2: what a crash leaves is a prefix: never a size that covers bytes which were not stored. */
static void test_size_after_crash(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 3600000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = malloc(MIB(8)), *got = malloc(MIB(8));
	struct fs_stats stats = {0};
	size_t len;

	(void)state;
	rng = 7;
	fill_random(data, MIB(8));
	rig_write(r, in, 0, data, KIB(100)); /* a partial slot below */
	for (unsigned i = 1; i < 8; i++)
		rig_write(r, in, i * MIB(1) + KIB(100), data, MIB(1) - KIB(100));
	for (unsigned i = 1; i < 8; i++) /* whole slots now, more than wait for the partial one */
		rig_write(r, in, i * MIB(1), data + i * MIB(1), MIB(1));
	for (unsigned i = 0; i < 100 && stats.sealed_extents < 1; i++) {
		env_sleep_ms(10);
		fs_stats(r->fs, &stats);
	}
	assert_int_equal(fs_sync_all(r->fs), 0);
	rig_write(r, in, MIB(8) + 5, "tail", 4);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	assert_int_equal(rig_attr(r, in).size, MIB(8));
	assert_int_equal(fs_read(r->fs, in, 0, MIB(8), got, &len), 0);
	memset(data + KIB(100), 0, MIB(1) - KIB(100));
	assert_memory_equal(got, data, MIB(8));
	fs_forget(r->fs, in, 1);
	free(data);
	free(got);
	file_rig_free(r);
}

/* As a write of a few bytes at off would, but with the lock held: nothing can commit in between. */
static void write_under_lock(struct file_rig *r, struct inode *in, uint32_t off)
{
	struct slot *s = slot_new(0);
	uint64_t charge = 0;

	assert_int_equal(slot_prepare(r->fs, s, off, 5, &charge), 0);
	in->unsealed_bytes += slot_store(s, off, "later", 5);
	slot_insert(&in->slots, s);
	dirty_list_update(in);
	dirty_charge(r->fs, (int64_t)charge);
}

/*
 * What an fsync has detached is at its commit as long as the file was then, though a later write, not
 * yet sealed, lies in a hole behind the sealed bytes.
 */
static void test_size_beside_a_writer(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(1) + 1);

	(void)state;
	fill_random(data, 20000);
	rig_write(r, in, 0, data, 20000);
	rig_truncate(r, in, MIB(1) + 1);
	env_mutex_lock(&in->lock);
	assert_int_equal(seal_start(in, SEAL_ALL, 0), 0);
	write_under_lock(r, in, 30000);
	while (in->commit_seq < in->detach_seq)
		env_cond_wait(&in->changed, &in->lock);
	assert_int_equal(in->rec.size, MIB(1) + 1);
	env_mutex_unlock(&in->lock);
	assert_int_equal(meta_sync(r->fs->meta, meta_last_seq(r->fs->meta)), 0);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, MIB(1) + 1);
	fs_forget(r->fs, in, 1);
	free(data);
	file_rig_free(r);
}

/* F4: ENOSPC comes from write(), nothing accepted is lost, deleting makes room at once. */
static void test_full(void **state)
{
	struct file_rig *r = file_rig_new(NULL, MIB(160));
	uint8_t *data = malloc(MIB(1));
	uint64_t written = 0, again = 0;
	struct inode *in, *other;
	int rc;

	(void)state;
	rng = 8;
	fill_random(data, MIB(1));
	in = rig_create(r, r->root, "big");
	while ((rc = fs_write(r->fs, in, written, MIB(1), data, false)) == 0 && written < GIB(4))
		written += MIB(1);
	assert_int_equal(rc, DFS_ENOSPC);
	assert_true(written > MIB(100));
	assert_int_equal(rig_attr(r, in).size, written);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	for (unsigned i = 0; i < 20000 && rc != DFS_ENOSPC; i++)
		rc = fs_write(r->fs, in, written + i * 10, 10, data, false);
	assert_int_equal(fs_sync_all(r->fs), 0);
	assert_int_equal(fs_flush(r->fs, in), 0);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "big"), 0);
	other = rig_create(r, r->root, "other");
	while (fs_write(r->fs, other, again, MIB(1), data, false) == 0)
		again += MIB(1);
	assert_true(again > written / 2);
	assert_int_equal(fs_fsync(r->fs, other, false), 0);
	rig_truncate(r, other, 0);
	fs_forget(r->fs, other, 1);
	free(data);
	file_rig_free(r);
}

static void all_disks(struct file_rig *r, enum disk_state state)
{
	struct disk_set *disks = pool_disks(r->pool);

	for (unsigned i = 0; i < disk_count(disks); i++)
		disk_set_state(disk_at(disks, i), state);
}

/* F3: what can't be stored stays in memory, is told, and is stored once it can be. */
static void test_stuck(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f"), *gone = rig_create(r, r->root, "gone");
	struct inode *cut = rig_create(r, r->root, "cut");
	uint8_t *data = malloc(MIB(3));
	struct fs_stats stats;

	(void)state;
	rng = 10;
	fill_random(data, MIB(3));
	rig_write(r, in, 0, data, MIB(1) + KIB(300));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	/* Over and beyond what is stored. */
	for (uint64_t off = 0; off < MIB(3); off += KIB(64)) {
		fill_random(data + off, KIB(60));
		rig_write(r, in, off, data + off, off < MIB(1) ? KIB(60) : KIB(63));
		if (off >= MIB(1) + KIB(300) || off + KIB(64) > MIB(1) + KIB(300))
			memset(data + off + KIB(63), 0, KIB(1));
	}
	rig_truncate(r, in, MIB(3));
	rig_write(r, gone, 0, data, KIB(100));
	rig_write(r, cut, 0, data, KIB(100));
	rig_expect(r, in, data, MIB(3));
	all_disks(r, DISK_DEGRADED);
	assert_int_not_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_not_equal(fs_fsync(r->fs, gone, false), 0);
	assert_int_not_equal(fs_fsync(r->fs, cut, false), 0);
	assert_int_not_equal(fs_flush(r->fs, in), 0);
	assert_int_not_equal(fs_write(r->fs, in, 0, 1, "x", false), 0);
	rig_expect(r, in, data, MIB(3));
	/* Deleting and shortening work, and end the error. */
	assert_int_equal(fs_unlink(r->fs, r->root, "gone"), 0);
	rig_truncate(r, cut, 10);
	rig_truncate(r, cut, 0);
	assert_int_equal(fs_flush(r->fs, cut), 0);
	assert_int_equal(fs_fsync(r->fs, cut, false), 0);
	fs_stats(r->fs, &stats);
	assert_true(stats.seal_errors > 0);
	all_disks(r, DISK_HEALTHY);
	for (unsigned i = 0; i < 500 && fs_flush(r->fs, in); i++)
		env_sleep_ms(10);
	assert_int_equal(fs_flush(r->fs, in), 0);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, gone, 1);
	fs_forget(r->fs, cut, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, MIB(3));
	fs_forget(r->fs, in, 1);
	free(data);
	file_rig_free(r);
}

/* Scattered small writes become packed extents of many pieces; more than 256 of them, too. */
static void test_scattered(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 3600000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(2));
	unsigned n[3] = {0};

	(void)state;
	rng = 9;
	fill_random(data, MIB(2));
	rig_write(r, in, 0, data, MIB(2));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t off = i * 2000;

		fill_random(data + off, 7);
		rig_write(r, in, off, data + off, 7);
	}
	rig_expect(r, in, data, MIB(2));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, MIB(2));
	assert_int_equal(fs_list_extents(r->fs, in, count_extents, n), 0);
	assert_int_equal(n[0], 0);
	assert_int_equal(n[1], 1000);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, MIB(2));
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_truncate(r, in, MIB(1) / 2);
	rig_expect(r, in, data, MIB(1) / 2);
	fs_forget(r->fs, in, 1);
	free(data);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_inline),
		cmocka_unit_test(test_inline_holes),
		cmocka_unit_test(test_inline_lies),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_scattered),
		cmocka_unit_test(test_size_after_crash),
		cmocka_unit_test(test_size_beside_a_writer),
		cmocka_unit_test(test_model_default),
		cmocka_unit_test(test_model_eager),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_stuck),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
