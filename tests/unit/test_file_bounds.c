/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No transaction outgrows its bound (B1), whatever is overwritten, cut, replaced or removed; and what takes
 * several of them can stop between any two (B2, F5, F7). Each kind is driven with the least bound and with
 * the real one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "file/internal.h"
#include "format/journal.h"
#include "unit/file_rig.h"

#define PIECE 24u

static struct file_rig *rig(uint64_t txn_bytes)
{
	struct fs_config cfg = {
		.flush_interval_ms = 3600000, .txn_bytes = txn_bytes, .no_fold = true};

	return file_rig_new(&cfg, 0);
}

/* How many pieces it takes to need several transactions of that bound. */
static unsigned many(const struct file_rig *r)
{
	return (unsigned)(3 * (r->fs->cfg.txn_bytes / MAP_OLD_BYTES) + 7);
}

static void check_bound(struct file_rig *r)
{
	struct meta_stats s = meta_stats(r->fs->meta);

	assert_true(s.largest_txn_bytes <= r->fs->cfg.txn_bytes);
}

/* A file of count map entries, each with an extent of its own, one after the other. */
static struct inode *appended(struct file_rig *r, const char *name, unsigned count, uint8_t *data)
{
	struct inode *in = rig_create(r, r->root, name);

	memset(data, 'o', (size_t)count * PIECE);
	/* Beyond what is kept inline, or nothing would be mapped yet. */
	rig_write(r, in, (uint64_t)count * PIECE + DFS_INLINE_MAX, "end", 3);
	for (unsigned i = 0; i < count; i++) {
		rig_write(r, in, (uint64_t)i * PIECE, data + (size_t)i * PIECE, PIECE);
		assert_int_equal(seal_wait(in), 0);
	}
	return in;
}

static size_t whole(unsigned count) { return (size_t)count * PIECE + DFS_INLINE_MAX + 3; }

static uint8_t *buffer(unsigned count)
{
	uint8_t *data = calloc(1, whole(count));

	memcpy(data + whole(count) - 3, "end", 3);
	return data;
}

static void overwrites(uint64_t txn_bytes)
{
	struct file_rig *r = rig(txn_bytes);
	unsigned count = many(r);
	uint8_t *data = buffer(count);
	struct inode *in = appended(r, "f", count, data);

	/* One piece over all of them, and beyond; then many pieces over that one. */
	memset(data, 'n', whole(count));
	rig_write(r, in, 0, data, whole(count));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, whole(count));
	for (unsigned i = 0; i < count; i += 2) {
		memset(data + (size_t)i * PIECE, 'm', PIECE);
		rig_write(r, in, (uint64_t)i * PIECE, data + (size_t)i * PIECE, PIECE);
	}
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, whole(count));
	/* And one over those, whose ends lie within old ones. */
	memset(data + 5, 'x', whole(count) - 10);
	rig_write(r, in, 5, data + 5, whole(count) - 10);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, whole(count));
	check_bound(r);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, whole(count));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

static void put_record(struct file_rig *r, const struct buf *key, const void *val, size_t len)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	meta_put(t, key->data, key->len, val, len);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* B2: an overwriting that stops between two of its transactions has new bytes up to some place and old ones
 * from there on, in a sound map; what is in memory is all new, and is stored once it can be. */
static void overwrite_stops(uint64_t txn_bytes, bool crash)
{
	struct file_rig *r = rig(txn_bytes);
	unsigned count = many(r), fresh = 0;
	uint8_t *data = buffer(count), *got = malloc(whole(count));
	struct inode *in = appended(r, "f", count, data);
	BUF key = {0};
	BUF good = {0};
	size_t len;

	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	key_map(&key, in->ino, (uint64_t)(count - 3) * PIECE);
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &good), 0);
	put_record(r, &key, "rotten", 6);
	memset(data, 'n', whole(count));
	rig_write(r, in, 0, data, whole(count));
	assert_int_not_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, whole(count));
	put_record(r, &key, good.data, good.len);
	if (crash) {
		assert_int_equal(meta_sync(r->fs->meta, meta_last_seq(r->fs->meta)), 0);
		fs_forget(r->fs, in, 1);
		file_rig_crash(r);
		in = rig_lookup(r, r->root, "f");
		assert_int_equal(fs_read(r->fs, in, 0, whole(count), got, &len), 0);
		assert_int_equal(len, whole(count));
		while (fresh < (count - 1) * PIECE && got[fresh] == 'n')
			fresh++;
		assert_true(fresh > 0 && fresh <= (count - 3) * PIECE);
		for (unsigned i = fresh; i < count * PIECE; i++)
			assert_int_equal(got[i], 'o');
	} else {
		/* The flusher tries again by itself; until then each fsync says why it can't. */
		for (unsigned i = 0; i < 3000 && fs_flush(r->fs, in); i++)
			env_sleep_ms(10);
		assert_int_equal(fs_fsync(r->fs, in, false), 0);
		rig_expect(r, in, data, whole(count));
	}
	check_bound(r);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
	free(got);
}

/* Many ranges in one slot, at once: many extents, many pieces, and then the same again over them. */
static void scattered(uint64_t txn_bytes)
{
	struct file_rig *r = rig(txn_bytes);
	uint8_t *data = calloc(1, MIB(2));
	struct inode *in = rig_create(r, r->root, "f");

	for (unsigned round = 0; round < 3; round++) {
		env_mutex_lock(&in->lock); /* the flusher must not help */
		in->excl = true;
		env_mutex_unlock(&in->lock);
		for (unsigned off = round; off < MIB(2) - 3; off += 1000 + round) {
			struct slot *s;
			uint64_t charge = 0;

			memset(data + off, 'a' + (int)round, 3);
			if ((off & (SLOT_BYTES - 1)) > SLOT_BYTES - 3)
				continue;
			env_mutex_lock(&in->lock);
			s = slot_find(&in->slots, off >> SLOT_SHIFT);
			if (!s) {
				s = slot_new(off >> SLOT_SHIFT);
				slot_insert(&in->slots, s);
			}
			assert_int_equal(slot_prepare(r->fs, s, off & (SLOT_BYTES - 1), 3, &charge),
					 0);
			dirty_charge(r->fs, (int64_t)charge);
			in->unsealed_bytes += slot_store(s, off & (SLOT_BYTES - 1), data + off, 3);
			in->size = MAX(in->size, off + 3u);
			dirty_list_update(in);
			env_mutex_unlock(&in->lock);
		}
		env_mutex_lock(&in->lock);
		inode_excl_end(in);
		env_mutex_unlock(&in->lock);
		assert_int_equal(fs_fsync(r->fs, in, false), 0);
		rig_expect(r, in, data, in->size);
	}
	check_bound(r);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

enum kind {
	TRUNCATE,
	PUNCH,
	ZERO,
	RENAME_OVER,
	UNLINK,
	UNLINK_OPEN,
	KINDS
};

static void change(struct file_rig *r, struct inode *in, enum kind kind, unsigned count)
{
	struct inode *other;

	switch (kind) {
	case TRUNCATE:
		rig_truncate(r, in, 10);
		break;
	case PUNCH:
		assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, 10,
					      (uint64_t)count * PIECE),
				 0);
		break;
	case ZERO:
		assert_int_equal(
			fs_fallocate(r->fs, in, FS_FALLOC_ZERO, 10, (uint64_t)count * PIECE), 0);
		break;
	case RENAME_OVER:
		other = rig_create(r, r->root, "other");
		rig_write(r, other, 0, "other", 5);
		fs_forget(r->fs, other, 1);
		assert_int_equal(fs_rename(r->fs, r->root, "other", r->root, "f", 0), 0);
		break;
	case UNLINK_OPEN:
		assert_int_equal(fs_handle_get(in), 0);
		assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
		fs_handle_put(r->fs, in);
		break;
	default:
		assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	}
}

static void set_xattrs(struct file_rig *r, struct inode *in)
{
	char name[256];
	int rc = 0;

	/* As many as it takes: 256 names of 250 bytes fit in 64 KiB. */
	for (unsigned i = 0; rc == 0; i++) {
		assert_true(i < 10000);
		snprintf(name, sizeof(name), "user.%0245u", i);
		rc = fs_setxattr(r->fs, in, name, "v", 1, 0);
	}
	assert_int_equal(rc, DFS_ENOSPC);
}

static void cuts(uint64_t txn_bytes, enum kind kind)
{
	struct file_rig *r = rig(txn_bytes);
	unsigned count = many(r);
	uint8_t *data = buffer(count);
	struct inode *in = appended(r, "f", count, data);

	set_xattrs(r, in);
	change(r, in, kind, count);
	if (kind == TRUNCATE)
		rig_expect(r, in, data, 10);
	if (kind == PUNCH || kind == ZERO) {
		memset(data + 10, 0, (size_t)count * PIECE);
		rig_expect(r, in, data, whole(count));
	}
	fs_forget(r->fs, in, 1);
	reap_wait(r->fs);
	check_bound(r);
	file_rig_reopen(r);
	if (kind >= UNLINK) /* all of it is gone */
		assert_int_equal(meta_counter(r->fs->meta, META_COUNT_EXTENTS), 0);
	file_rig_free(r);
	free(data);
}

/* F5: a truncation that stops between two of its transactions. Before the file grows again, or at the next
 * mount, the rest of it is done: the old bytes never come back, nor do they stay. */
static void truncate_stops(bool crash)
{
	struct file_rig *r = rig(KIB(16));
	unsigned count = many(r);
	uint8_t *data = buffer(count);
	struct inode *in = appended(r, "f", count, data);
	struct fs_attr attr = {.size = 10};
	BUF key = {0};
	BUF good = {0};

	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	key_map(&key, in->ino, (uint64_t)(count - 3) * PIECE);
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &good), 0);
	put_record(r, &key, "rotten", 6);
	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE, &attr), 0);
	assert_int_equal(rig_attr(r, in).size, 10);
	assert_true(in->rec.flags & INODE_BEYOND);
	put_record(r, &key, good.data, good.len);
	memset(data + 10, 0, whole(count) - 10);
	if (crash) {
		assert_int_equal(meta_sync(r->fs->meta, meta_last_seq(r->fs->meta)), 0);
		fs_forget(r->fs, in, 1);
		file_rig_crash(r);
		in = rig_lookup(r, r->root, "f");
		assert_false(in->rec.flags & INODE_BEYOND);
		assert_int_equal(in->beyond_end, 0);
		assert_true(in->rec.mapped_bytes <= PIECE);
	}
	data[whole(count) - 1] = 'z';
	rig_write(r, in, whole(count) - 1, "z", 1);
	rig_expect(r, in, data, whole(count));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, data, whole(count));
	check_bound(r);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

static void test_truncate_stops(void **state)
{
	(void)state;
	truncate_stops(false);
	truncate_stops(true);
}

/* One that can't take its first step has changed nothing: not the size, not the mode, and nothing that is
 * promised (F9). */
static void test_truncate_refused(void **state)
{
	struct file_rig *r = rig(KIB(16));
	struct inode *in = rig_create(r, r->root, "f");
	struct fs_attr attr = {.size = MIB(2), .mode = 0600};
	BUF key = {0};
	BUF good = {0};
	uint32_t mode = in->rec.mode;

	(void)state;
	rig_write(r, in, 0, "begin", 5);
	rig_write(r, in, MIB(3), "end", 3);
	assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_KEEP_SIZE, 0, MIB(100)), 0);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	key_map(&key, in->ino, MIB(3));
	assert_int_equal(meta_get(r->fs->meta, key.data, key.len, &good), 0);
	put_record(r, &key, "rotten", 6);
	assert_int_not_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE | FS_SET_MODE, &attr), 0);
	assert_int_equal(rig_attr(r, in).size, MIB(3) + 3);
	assert_int_equal(in->rec.mode, mode);
	assert_int_equal(meta_counter(r->fs->meta, META_COUNT_PREALLOC_BYTES), MIB(100) - 8);
	put_record(r, &key, good.data, good.len);
	attr = (struct fs_attr){.size = MIB(2), .mode = S_IFREG | 0600};
	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE | FS_SET_MODE, &attr), 0);
	assert_int_equal(meta_counter(r->fs->meta, META_COUNT_PREALLOC_BYTES), MIB(2) - 5);
	check_bound(r);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* The bounds of attributes: number, names, all bytes. Replacing and removing make room. */
static void test_xattr_bounds(void **state)
{
	struct file_rig *r = rig(0);
	struct inode *in = rig_create(r, r->root, "f");
	static const char big[DFS_XATTR_VALUE_MAX];
	BUF list = {0};
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 1024; i++) {
		snprintf(name, sizeof(name), "user.%u", i);
		assert_int_equal(fs_setxattr(r->fs, in, name, "value", 5, 0), 0);
	}
	assert_int_equal(fs_setxattr(r->fs, in, "user.more", "", 0, 0), DFS_ENOSPC);
	assert_int_equal(fs_setxattr(r->fs, in, "user.7", "other", 5, 0), 0);
	assert_int_equal(fs_listxattr(r->fs, in, &list), 0);
	assert_true(list.len <= 65536);
	assert_int_equal(fs_removexattr(r->fs, in, "user.9"), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.more", "", 0, 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.1", big, sizeof(big), 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.2", big, sizeof(big), 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.3", big, sizeof(big), 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.4", big, sizeof(big), 0), DFS_ENOSPC);
	assert_int_equal(fs_setxattr(r->fs, in, "user.3", big, sizeof(big), 0), 0);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	reap_wait(r->fs);
	check_bound(r);
	file_rig_free(r);
}

static void test_overwrite(void **state)
{
	(void)state;
	overwrites(KIB(16));
	overwrites(0);
}

static void test_overwrite_stops(void **state)
{
	(void)state;
	overwrite_stops(KIB(16), true);
	overwrite_stops(KIB(16), false);
	overwrite_stops(0, true);
}

static void test_scattered(void **state)
{
	(void)state;
	scattered(KIB(16));
	scattered(0);
}

static void test_cuts(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++) {
		cuts(KIB(16), (enum kind)kind);
		cuts(0, (enum kind)kind);
	}
}

static uint64_t wall_ns;
static uint64_t fake_wall(void) { return wall_ns; }

/* Times before 1970: of the clock, and as stored. */
static void test_early_times(void **state)
{
	static const struct env_ops early = {.wall_ns = fake_wall};
	struct fs_attr attr = {.atime = {INT64_MIN, 0}, .mtime = {-2000000000, 999999999}};
	struct file_rig *r;
	struct inode *in;
	struct dfs_time t;

	(void)state;
	env_sim = &early;
	wall_ns = (uint64_t)-1;
	t = time_now();
	assert_int_equal(t.sec, -1);
	assert_int_equal(t.nsec, 999999999);
	wall_ns = (uint64_t)(-3000000000ll);
	t = time_now();
	env_sim = NULL;
	assert_int_equal(t.sec, -3);
	assert_int_equal(t.nsec, 0);
	r = rig(0);
	in = rig_create(r, r->root, "f");
	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_ATIME | FS_SET_MTIME, &attr), 0);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	attr = rig_attr(r, in);
	assert_true(attr.atime.sec == INT64_MIN && attr.mtime.sec == -2000000000);
	assert_int_equal(attr.mtime.nsec, 999999999);
	assert_true(fs_accessed(r->fs, in));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overwrite),      cmocka_unit_test(test_overwrite_stops),
		cmocka_unit_test(test_truncate_stops), cmocka_unit_test(test_truncate_refused),
		cmocka_unit_test(test_scattered),      cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_xattr_bounds),   cmocka_unit_test(test_early_times),
	};

	_Static_assert(META_TXN_BYTES == KIB(256), "stated in docs/DESIGN.md");
	_Static_assert(JOURNAL_MAX_RECORD >= META_TXN_BYTES + JOURNAL_FIXED_LEN, "fits a record");
	_Static_assert(JOURNAL_MAX_VALUE >= DFS_XATTR_VALUE_MAX + 24, "fits a value");
	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
