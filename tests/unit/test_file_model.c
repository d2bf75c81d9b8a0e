/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files against models where test_file_data.c does not reach: small files, which go from inline to
 * extents and back while they are renamed, linked and deleted; what a detachment covers, over crashes;
 * truncations that fail half-way, and records that lie. SEED, STEPS and ROUNDS in the environment
 * choose other random runs.
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

static void seed_random(uint64_t otherwise)
{
	uint64_t seed = env_number("SEED", otherwise);

	rng = seed * 0x9e3779b97f4a7c15ull + 1;
	print_message("seed %llu\n", (unsigned long long)seed);
}

/* Closes in between: fsck reads what is stored. */
static void check_pool(struct file_rig *r)
{
	file_rig_close(r);
	file_rig_fsck(r);
	file_rig_open(r);
}

/* F3: what is dirty is detached, can't be stored, and comes back. The error is then forgotten. */
static void fail_seal(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	assert_int_equal(seal_start(in, SEAL_ALL, 0), 0);
	if (!TAILQ_EMPTY(&in->fifo)) {
		in->fifo_err = DFS_EIO;
		while (in->fifo_err)
			env_cond_wait(&in->changed, &in->lock);
	}
	in->error = 0;
	dirty_list_update(in);
}

/* ---- small files ---- */
#define SMALL_FILES 5
#define SMALL_MAX 9000 /* DFS_INLINE_MAX is about in the middle */

struct small {
	char name[8];
	struct inode *in;
	uint64_t size;
	uint8_t data[SMALL_MAX]; /* zeros beyond size */
};

struct smalls {
	struct file_rig *r;
	struct small f[SMALL_FILES];
};

struct span {
	uint64_t off, len;
};

static struct span random_span(const struct small *f)
{
	uint64_t off, len = 1 + below(below(2) ? 100 : 5000);

	switch (below(6)) {
	case 0:
		off = below(200);
		break;
	case 1:
		off = DFS_INLINE_MAX - below(3);
		break;
	case 2:
		off = below(SMALL_MAX);
		break;
	default:
		off = below(f->size + 1);
	}
	off = MIN(off, SMALL_MAX - 1);
	return (struct span){off, MIN(len, SMALL_MAX - off)};
}

static void small_new(struct smalls *m, struct small *f)
{
	f->in = rig_create(m->r, m->r->root, f->name);
	f->size = 0;
	memset(f->data, 0, SMALL_MAX);
}

static void swap_names(struct small *a, struct small *b)
{
	struct small was = *a;

	memcpy(a->name, b->name, sizeof(a->name));
	memcpy(b->name, was.name, sizeof(b->name));
}

static void small_write(struct smalls *m, struct small *f)
{
	struct span s = random_span(f);

	for (uint64_t i = 0; i < s.len; i++)
		f->data[s.off + i] = (uint8_t)(1 + below(255));
	rig_write(m->r, f->in, s.off, f->data + s.off, s.len);
	f->size = MAX(f->size, s.off + s.len);
}

static void small_truncate(struct smalls *m, struct small *f)
{
	uint64_t size = below(4) ? random_span(f).off : 0;

	rig_truncate(m->r, f->in, size);
	memset(f->data + size, 0, SMALL_MAX - size);
	f->size = size;
}

static void small_zero(struct smalls *m, struct small *f)
{
	static const unsigned modes[] = {FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE,
					 FS_FALLOC_ZERO | FS_FALLOC_KEEP_SIZE, FS_FALLOC_ZERO};
	unsigned mode = modes[below(ARRAY_SIZE(modes))];
	struct span s = random_span(f);

	assert_int_equal(fs_fallocate(m->r->fs, f->in, mode, s.off, s.len), 0);
	memset(f->data + s.off, 0, s.len);
	if (!(mode & FS_FALLOC_KEEP_SIZE))
		f->size = MAX(f->size, s.off + s.len);
}

static void small_fsync(struct smalls *m, struct small *f)
{
	assert_int_equal(fs_fsync(m->r->fs, f->in, false), 0);
}

static void small_fail_seal(struct smalls *m, struct small *f)
{
	(void)m;
	fail_seal(f->in);
}

static void small_replace(struct smalls *m, struct small *f)
{
	struct small *old = &m->f[below(SMALL_FILES)];
	struct inode *root = m->r->root;

	if (old == f)
		return;
	assert_int_equal(fs_rename(m->r->fs, root, f->name, root, old->name, 0), 0);
	fs_forget(m->r->fs, old->in, 1);
	swap_names(f, old);
	small_new(m, old);
}

static void small_exchange(struct smalls *m, struct small *f)
{
	struct small *other = &m->f[below(SMALL_FILES)];
	struct inode *root = m->r->root;

	if (other == f)
		return;
	assert_int_equal(fs_rename(m->r->fs, root, f->name, root, other->name, FS_RENAME_EXCHANGE),
			 0);
	swap_names(f, other);
}

/* Deleted while it is open, and used until it is closed. */
static void small_delete(struct smalls *m, struct small *f)
{
	struct fs *fs = m->r->fs;

	if (below(3))
		return;
	assert_int_equal(fs_handle_get(f->in), 0);
	assert_int_equal(fs_unlink(fs, m->r->root, f->name), 0);
	if (below(2))
		rig_write(m->r, f->in, 0, "hello", 5);
	if (below(2))
		small_fsync(m, f);
	if (below(2))
		rig_truncate(m->r, f->in, below(6000));
	if (below(2))
		assert_int_equal(fs_fallocate(fs, f->in, FS_FALLOC_ZERO, 0, 1 + below(6000)), 0);
	fs_handle_put(fs, f->in);
	fs_forget(fs, f->in, 1);
	small_new(m, f);
}

/* What puts the inode's record without its content. */
static void small_attributes(struct smalls *m, struct small *f)
{
	struct fs_attr attr = {.mode = 0600};
	struct fs *fs = m->r->fs;

	assert_int_equal(fs_setattr(fs, f->in, &attr, FS_SET_MODE, &attr), 0);
	assert_int_equal(fs_link(fs, f->in, m->r->root, "other", &attr), 0);
	assert_int_equal(fs_setxattr(fs, f->in, "user.x", "y", 1, 0), 0);
	assert_int_equal(fs_unlink(fs, m->r->root, "other"), 0);
}

static void small_check(struct smalls *m, struct small *f)
{
	rig_expect(m->r, f->in, f->data, f->size);
	assert_int_equal(rig_attr(m->r, f->in).size, f->size);
}

static void small_reopen(struct smalls *m, struct small *unused)
{
	(void)unused;
	if (below(20))
		return;
	for (unsigned i = 0; i < SMALL_FILES; i++)
		fs_forget(m->r->fs, m->f[i].in, 1);
	if (below(2)) {
		assert_int_equal(fs_sync_all(m->r->fs), 0);
		file_rig_crash(m->r);
	} else {
		check_pool(m->r);
	}
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		m->f[i].in = rig_lookup(m->r, m->r->root, m->f[i].name);
		small_check(m, &m->f[i]);
	}
}

static void check_inline_record(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	if (!(in->rec.flags & INODE_INLINE))
		return;
	assert_int_equal(in->rec.inline_len, in->rec.mapped_bytes);
	assert_true(in->rec.inline_len <= in->rec.size);
	assert_true(in->rec.size <= in->size);
}

static void small_step(struct smalls *m)
{
	static void (*const steps[])(struct smalls *, struct small *) = {
		small_write,   small_write, small_write, small_truncate,  small_truncate,
		small_zero,    small_zero,  small_zero,	 small_fsync,	  small_fsync,
		small_fsync,   small_check, small_check, small_check,	  small_fail_seal,
		small_replace, small_check, small_check, small_exchange,  small_delete,
		small_reopen,  small_check, small_check, small_attributes};
	struct small *f = &m->f[below(SMALL_FILES)];

	steps[below(ARRAY_SIZE(steps))](m, f);
	check_inline_record(f->in);
}

static void run_small(const struct fs_config *cfg, uint64_t seed)
{
	struct smalls *m = calloc(1, sizeof(*m));

	m->r = file_rig_new(cfg, 0);
	seed_random(seed);
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		snprintf(m->f[i].name, sizeof(m->f[i].name), "s%u", i);
		small_new(m, &m->f[i]);
	}
	for (uint64_t i = env_number("STEPS", 3000); i; i--)
		small_step(m);
	for (unsigned i = 0; i < SMALL_FILES; i++) {
		small_check(m, &m->f[i]);
		fs_forget(m->r->fs, m->f[i].in, 1);
	}
	file_rig_free(m->r);
	free(m);
}

static void test_small_files(void **state)
{
	(void)state;
	run_small(NULL, 1);
}

/* Seals happen all the time, beside everything else. */
static void test_small_files_eager(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 6, .inode_cache_count = 1};

	(void)state;
	run_small(&cfg, 2);
}

/* Deleted while open, then a crash; and a symlink that is replaced. */
static void orphan_crash(struct file_rig *r)
{
	struct inode *f = rig_create(r, r->root, "f"), *g = rig_create(r, r->root, "g"), *l;
	struct fs_cred cred = {0};
	struct fs_attr attr;

	rig_write(r, f, 0, "right", 5);
	rig_write(r, g, 0, "other", 5);
	assert_int_equal(fs_symlink(r->fs, r->root, "l", "target", cred, &l, &attr), 0);
	assert_int_equal(fs_fsync(r->fs, f, false), 0);
	assert_int_equal(fs_fsync(r->fs, g, false), 0);
	assert_int_equal(fs_handle_get(f), 0);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	rig_write(r, f, 3, "xxxx", 4);
	assert_int_equal(fs_fsync(r->fs, f, false), 0);
	assert_int_equal(fs_rename(r->fs, r->root, "g", r->root, "l", 0), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	file_rig_crash(r);
	reap_wait(r->fs);
	assert_int_equal(rig_exists(r, r->root, "f"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, r->root, "g"), DFS_ENOENT);
	check_pool(r);
}

/* Replaced while open, and closed while what it has grown to is being sealed. */
static void orphan_grows(struct file_rig *r)
{
	struct inode *l = rig_lookup(r, r->root, "l"), *g = rig_create(r, r->root, "g");

	rig_expect(r, l, "other", 5);
	assert_int_equal(fs_handle_get(l), 0);
	assert_int_equal(fs_rename(r->fs, r->root, "g", r->root, "l", 0), 0);
	rig_write(r, l, 5000, "xxxx", 4);
	env_mutex_lock(&l->lock);
	assert_int_equal(seal_start(l, SEAL_ALL, 0), 0);
	env_mutex_unlock(&l->lock);
	fs_handle_put(r->fs, l);
	fs_forget(r->fs, l, 1);
	reap_wait(r->fs);
	fs_forget(r->fs, g, 1);
	check_pool(r);
}

/* Inline content goes with its inode. */
static void test_small_orphans(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);

	(void)state;
	orphan_crash(r);
	orphan_grows(r);
	file_rig_free(r);
}

/* ---- what a detachment covers ---- */
#define COVER_MAX MIB(13) /* several batches */
#define LATER 0xee	  /* written after the detachment: there after the crash, or not */

struct cover {
	struct file_rig *r;
	struct inode *in;
	uint8_t *now,
		*then; /* COVER_MAX bytes, as written and as detached; zeros beyond the sizes */
	uint64_t now_size, then_size;
};

static uint64_t cover_len(void)
{
	switch (below(6)) {
	case 0:
		return MIB(1);
	case 1:
		return 1 + below(MIB(3));
	default:
		return 1 + below(5000);
	}
}

static void cover_write(struct cover *c, uint8_t byte)
{
	uint64_t off = below(3) ? below(COVER_MAX) : below(c->now_size + 1), len = cover_len();

	if (below(4) == 0)
		off &= ~(uint64_t)(SLOT_BYTES - 1);
	off = MIN(off, COVER_MAX - 1);
	len = MIN(len, COVER_MAX - off);
	memset(c->now + off, byte, len);
	rig_write(c->r, c->in, off, c->now + off, len);
	c->now_size = MAX(c->now_size, off + len);
}

static void cover_write_later(struct cover *c)
{
	for (uint64_t n = below(5); n; n--)
		cover_write(c, LATER);
}

static void cover_truncate(struct cover *c)
{
	uint64_t size = below(COVER_MAX);

	if (below(2))
		size = MAX(size, c->now_size);
	rig_truncate(c->r, c->in, size);
	memset(c->now + size, 0, COVER_MAX - size);
	c->now_size = size;
}

static void cover_punch(struct cover *c)
{
	uint64_t off = below(COVER_MAX), len = 1 + below(COVER_MAX - off);

	assert_int_equal(
		fs_fallocate(c->r->fs, c->in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, off, len), 0);
	memset(c->now + off, 0, len);
}

static void cover_change(struct cover *c)
{
	switch (below(16)) {
	case 0:
	case 1:
		cover_truncate(c);
		break;
	case 2:
	case 3:
		cover_punch(c);
		break;
	case 4:
		fail_seal(c->in);
		break;
	default:
		cover_write(c, (uint8_t)(1 + below(100)));
	}
}

/* Returns the detach_seq whose commit covers c->then. */
static uint64_t cover_detach(struct cover *c)
{
	ENV_LOCKED(&c->in->lock);
	assert_int_equal(seal_start(c->in, SEAL_ALL, 0), 0);
	memcpy(c->then, c->now, COVER_MAX);
	c->then_size = c->now_size;
	return c->in->detach_seq;
}

/* As the flusher does, beside the batches that are on their way. */
static void cover_seal_aged(struct cover *c)
{
	ENV_LOCKED(&c->in->lock);
	assert_int_equal(seal_start(c->in, SEAL_AGED, env_now_ns() - below(3000000)), 0);
}

static void cover_wait(struct cover *c, uint64_t detach_seq)
{
	uint64_t seq;

	env_mutex_lock(&c->in->lock);
	while (c->in->commit_seq < detach_seq)
		env_cond_wait(&c->in->changed, &c->in->lock);
	seq = c->in->last_seq;
	env_mutex_unlock(&c->in->lock);
	assert_int_equal(meta_sync(c->r->fs->meta, seq), 0);
}

static void sync_at_times(struct cover *c)
{
	struct meta *m = c->r->fs->meta;

	if (below(2))
		assert_int_equal(meta_sync(m, meta_last_seq(m)), 0);
}

/* Takes over what is there after the crash. */
static void cover_check(struct cover *c)
{
	uint8_t *got = calloc(1, COVER_MAX + 1);
	size_t len;

	assert_int_equal(fs_read(c->r->fs, c->in, 0, COVER_MAX + 1, got, &len), 0);
	if (len < c->then_size || len > c->now_size)
		fail_msg("%zu bytes, not %llu to %llu", len, (unsigned long long)c->then_size,
			 (unsigned long long)c->now_size);
	for (size_t i = 0; i < len; i++)
		if (got[i] != c->then[i] && got[i] != LATER)
			fail_msg("byte %zu is %02x, not %02x", i, got[i], c->then[i]);
	memcpy(c->now, got, COVER_MAX);
	c->now_size = len;
	free(got);
}

/* Overwrites later bytes, so that the next round can tell its own. */
static void cover_settle(struct cover *c)
{
	uint64_t end;

	for (uint64_t i = 0; i < c->now_size; i = end) {
		end = i + 1;
		if (c->now[i] != LATER)
			continue;
		while (end < c->now_size && c->now[end] == LATER)
			end++;
		memset(c->now + i, 7, end - i);
		rig_write(c->r, c->in, i, c->now + i, end - i);
	}
}

static void cover_round(struct cover *c)
{
	uint64_t detach_seq;

	for (uint64_t n = below(8); n; n--)
		cover_change(c);
	detach_seq = cover_detach(c);
	cover_write_later(c);
	if (below(3) == 0)
		cover_seal_aged(c);
	cover_wait(c, detach_seq);
	cover_write_later(c);
	sync_at_times(c);
	if (below(3) == 0) { /* a failure after it takes nothing of it back */
		cover_write(c, LATER);
		fail_seal(c->in);
		sync_at_times(c);
	}
	fs_forget(c->r->fs, c->in, 1);
	file_rig_crash(c->r);
	c->in = rig_lookup(c->r, c->r->root, "f");
	cover_check(c);
	cover_settle(c);
}

/* P1, F2: once committed, all that a detachment covers is there after a crash, with the size that the
 * file had, whatever is written meanwhile. */
static void test_detached_survives(void **state)
{
	struct cover c = {.r = file_rig_new(NULL, 0)};

	(void)state;
	seed_random(1);
	c.now = calloc(1, COVER_MAX);
	c.then = calloc(1, COVER_MAX);
	c.in = rig_create(c.r, c.r->root, "f");
	assert_int_equal(fs_sync_all(c.r->fs), 0);
	for (uint64_t i = env_number("ROUNDS", 25); i; i--)
		cover_round(&c);
	fs_forget(c.r->fs, c.in, 1);
	file_rig_free(c.r);
	free(c.now);
	free(c.then);
}

/* ---- truncations that fail half-way ---- */
#define STEP_ENTRIES (META_TXN_BYTES / MAP_OLD_BYTES) /* that one transaction unmaps */
#define ENTRIES (STEP_ENTRIES + 50u)
#define ENTRY_APART KIB(64)
#define ENTRY_TEXT "SECRET!"
#define FULL_SIZE (ENTRIES * ENTRY_APART)
#define ROTTEN_OFF ((STEP_ENTRIES + 10) * ENTRY_APART) /* for the second step of a truncation */

/* A file of many map entries. */
static struct inode *scattered(struct file_rig *r, const char *name)
{
	struct inode *in = rig_create(r, r->root, name);

	for (unsigned i = 0; i < ENTRIES; i++)
		rig_write(r, in, i * ENTRY_APART, ENTRY_TEXT, sizeof(ENTRY_TEXT));
	rig_truncate(r, in, FULL_SIZE);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	return in;
}

static void put_record(struct file_rig *r, const struct buf *key, const void *val, size_t len)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	meta_put(t, key->data, key->len, val, len);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* The file has this size, the entries up to kept, and no byte of the others. */
static void expect_entries(struct file_rig *r, struct inode *in, uint64_t kept, uint64_t size)
{
	static const char zeros[sizeof(ENTRY_TEXT)];
	char got[sizeof(ENTRY_TEXT)];
	size_t len;

	assert_int_equal(rig_attr(r, in).size, size);
	for (uint64_t off = 0; off < FULL_SIZE; off += ENTRY_APART) {
		assert_int_equal(fs_read(r->fs, in, off, sizeof(got), got, &len), 0);
		assert_int_equal(len, off < size ? sizeof(got) : 0);
		assert_memory_equal(got, off < kept ? ENTRY_TEXT : zeros, len);
	}
}

static int grow_by_truncate(struct file_rig *r, struct inode *in)
{
	struct fs_attr attr = {.size = FULL_SIZE};

	return fs_setattr(r->fs, in, &attr, FS_SET_SIZE, &attr);
}

static int grow_by_write(struct file_rig *r, struct inode *in)
{
	return fs_write(r->fs, in, FULL_SIZE - 1, 1, "x", false);
}

static int grow_by_fallocate(struct file_rig *r, struct inode *in)
{
	return fs_fallocate(r->fs, in, 0, 0, FULL_SIZE);
}

static int grow_by_zeroing(struct file_rig *r, struct inode *in)
{
	return fs_fallocate(r->fs, in, FS_FALLOC_ZERO, FULL_SIZE - 1, 1);
}

typedef int (*grow_fn)(struct file_rig *, struct inode *);
static const grow_fn grow[] = {grow_by_truncate, grow_by_write, grow_by_fallocate, grow_by_zeroing};

/* What may happen to the inode of "f" meanwhile. Returns it, with the caller's reference. */
typedef struct inode *(*meanwhile_fn)(struct file_rig *, struct inode *);

static struct inode *stays(struct file_rig *r, struct inode *in)
{
	(void)r;
	return in;
}

static bool cached(struct fs *fs, ino_id ino)
{
	struct inode *in;

	ENV_LOCKED(&fs->table_lock);
	HASH_FIND(hh, fs->inodes, &ino.v, sizeof(ino.v), in);
	return in;
}

/* One that goes unused pushes it out (inode_cache_count is 1) once no worker refers to it. */
static struct inode *is_evicted(struct file_rig *r, struct inode *in)
{
	ino_id ino = in->ino;

	fs_forget(r->fs, in, 1);
	for (unsigned i = 0; cached(r->fs, ino); i++) {
		assert_true(i < 1000);
		env_sleep_ms(1);
		fs_forget(r->fs, rig_lookup(r, r->root, "other"), 1);
	}
	return rig_lookup(r, r->root, "f");
}

static struct inode *is_lost_in_crash(struct file_rig *r, struct inode *in)
{
	assert_int_equal(fs_sync_all(r->fs), 0);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	return rig_lookup(r, r->root, "f");
}

/* P3: what a failed truncation has left beyond the size is never seen again. */
static void half_truncate(struct file_rig *r, grow_fn grow_at_last, uint64_t kept,
			  meanwhile_fn meanwhile)
{
	struct inode *in = scattered(r, "f");
	struct fs_attr attr = {.size = kept};
	BUF key = {0};
	BUF good = {0};

	key_map(&key, in->ino, ROTTEN_OFF);
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &good), 0);
	put_record(r, &key, "rotten", 6);
	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE, &attr), 0);
	expect_entries(r, in, kept, kept);
	in = meanwhile(r, in);
	for (unsigned i = 0; i < ARRAY_SIZE(grow); i++) {
		assert_int_not_equal(grow[i](r, in), 0);
		expect_entries(r, in, kept, kept);
	}
	in = meanwhile(r, in);
	put_record(r, &key, good.data, good.len);
	assert_int_equal(grow_at_last(r, in), 0);
	expect_entries(r, in, kept, FULL_SIZE);
	in = is_lost_in_crash(r, in);
	expect_entries(r, in, kept, FULL_SIZE);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
}

static void half_truncate_all(meanwhile_fn meanwhile)
{
	struct fs_config cfg = {.inode_cache_count = 1};
	struct file_rig *r = file_rig_new(&cfg, 0);

	fs_forget(r->fs, rig_create(r, r->root, "other"), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(grow); i++) {
		half_truncate(r, grow[i], 0, meanwhile);
		half_truncate(r, grow[i], 3 * ENTRY_APART, meanwhile);
	}
	file_rig_free(r);
}

static void test_half_truncate(void **state)
{
	(void)state;
	half_truncate_all(stays);
}

static void test_half_truncate_evicted(void **state)
{
	(void)state;
	half_truncate_all(is_evicted);
}

static void test_half_truncate_crashed(void **state)
{
	(void)state;
	half_truncate_all(is_lost_in_crash);
}

/* The same for a file that is unlinked and still open: its size is nobody's record any more. */
static void test_half_truncate_unlinked(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = scattered(r, "f");
	struct fs_attr attr = {.size = 0};
	BUF key = {0};
	BUF good = {0};

	(void)state;
	assert_int_equal(fs_handle_get(in), 0);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	key_map(&key, in->ino, ROTTEN_OFF);
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &good), 0);
	put_record(r, &key, "rotten", 6);
	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE, &attr), 0);
	put_record(r, &key, good.data, good.len);
	rig_truncate(r, in, FULL_SIZE);
	expect_entries(r, in, 0, FULL_SIZE);
	fs_handle_put(r->fs, in);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* ---- records that lie ---- */
static void ignore(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	(void)severity;
	(void)text;
}

static int fsck_code(struct file_rig *r)
{
	struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {""};
	struct pool_fsck_result result;
	struct pool *p;
	int rc;

	file_rig_close(r);
	assert_int_equal(pool_open(r->pool_dir, &opt, NULL, &p, &msg), 0);
	rc = pool_fsck(p, false, ignore, NULL, &result);
	pool_abandon(p);
	file_rig_open(r);
	return rc;
}

/* A file with map entries whose record says that its content is inline. */
static void make_hostile(struct file_rig *r, const char *name)
{
	struct inode *in = scattered(r, name);
	struct rec_inode rec = in->rec;
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	rec.flags |= INODE_INLINE;
	put_inode(t, in->ino, &rec);
	assert_int_equal(meta_commit(t, &seq), 0);
	fs_forget(r->fs, in, 1);
}

/* P10: such a file can be deleted, at once or by the reaper, and nothing of it stays behind. */
static void test_hostile_inline_map(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "good");

	(void)state;
	rig_write(r, in, 0, "right", 5);
	fs_forget(r->fs, in, 1);
	make_hostile(r, "open");
	make_hostile(r, "closed");
	assert_int_equal(fsck_code(r), DFS_EDAMAGED);
	in = rig_lookup(r, r->root, "open");
	assert_int_equal(fs_handle_get(in), 0);
	assert_int_equal(fs_unlink(r->fs, r->root, "open"), 0);
	fs_handle_put(r->fs, in);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "closed"), 0);
	reap_wait(r->fs);
	file_rig_reopen(r);
	assert_int_equal(rig_exists(r, r->root, "open"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, r->root, "closed"), DFS_ENOENT);
	in = rig_lookup(r, r->root, "good");
	rig_expect(r, in, "right", 5);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* A file whose inline record can't be used is refused (P3), but can be emptied and used again. */
static void test_rotten_inline(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *in = rig_create(r, r->root, "f");
	BUF key = {0};

	(void)state;
	rig_write(r, in, 0, "right", 5);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	key_inline(&key, in->ino);
	put_record(r, &key, "rotten", 6);
	assert_int_equal(fs_write(r->fs, in, 1, 3, "new", false), DFS_ECORRUPT);
	rig_truncate(r, in, 0);
	rig_expect(r, in, "", 0);
	rig_write(r, in, 1, "new", 3);
	rig_expect(r, in, "\0new", 4);
	fs_forget(r->fs, in, 1);
	check_pool(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, "\0new", 4);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_files),
		cmocka_unit_test(test_small_files_eager),
		cmocka_unit_test(test_small_orphans),
		cmocka_unit_test(test_detached_survives),
		cmocka_unit_test(test_half_truncate),
		cmocka_unit_test(test_half_truncate_evicted),
		cmocka_unit_test(test_half_truncate_crashed),
		cmocka_unit_test(test_half_truncate_unlinked),
		cmocka_unit_test(test_hostile_inline_map),
		cmocka_unit_test(test_rotten_inline),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
