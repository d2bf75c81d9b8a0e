/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to batches that can't be stored, step by step, and what is stored along
 * with what (F2, F3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

static void all_disks(struct file_rig *r, enum disk_state state)
{
	struct disk_set *disks = pool_disks(r->pool);

	for (unsigned i = 0; i < disk_count(disks); i++)
		disk_set_state(disk_at(disks, i), state);
}

/* As a write does, with the inode's lock held. */
static void store_locked(struct inode *in, uint32_t off, const uint8_t *data, uint32_t len)
{
	struct slot *s = slot_find(&in->slots, 0);
	uint64_t charge = 0;

	if (!s) {
		s = slot_new(0);
		slot_insert(&in->slots, s);
	}
	assert_int_equal(slot_prepare(in->fs, s, off, len, &charge), 0);
	in->unsealed_bytes += slot_store(s, off, data, len);
	in->size = MAX(in->size, off + (uint64_t)len);
	dirty_charge(in->fs, (int64_t)charge);
	dirty_list_update(in);
}

/* Bytes are on their way to the disks, others of the same slot are written meanwhile, and then the first
 * find no room: they go back under the newer ones, none is lost, and all are stored later. */
static void test_failed_under_newer(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *want = malloc(KIB(300));
	unsigned fails;

	(void)state;
	memset(want, 1, KIB(300));
	rig_write(r, in, 0, want, KIB(200));
	all_disks(r, DISK_DEGRADED);
	env_mutex_lock(&in->lock);
	fails = in->fail_count;
	assert_int_equal(seal_start(in, SEAL_ALL, 0), 0);
	assert_int_equal(in->slots.count, 0);
	memset(want + KIB(100), 2, KIB(50));
	store_locked(in, KIB(100), want + KIB(100), KIB(50));
	memset(want + KIB(200), 3, KIB(100));
	store_locked(in, KIB(200), want + KIB(200), KIB(100));
	while (in->fail_count == fails)
		env_cond_wait(&in->changed, &in->lock);
	assert_int_equal(in->unsealed_bytes, KIB(300));
	assert_int_equal(in->slots.count, 1);
	assert_int_equal(in->slots.v[0]->bytes, KIB(300));
	assert_int_not_equal(in->error, 0);
	env_mutex_unlock(&in->lock);
	rig_expect(r, in, want, KIB(300));
	all_disks(r, DISK_HEALTHY);
	for (unsigned i = 0; i < 500 && fs_fsync(r->fs, in, false); i++)
		env_sleep_ms(10);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(in->unsealed_bytes, 0);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, want, KIB(300));
	fs_forget(r->fs, in, 1);
	free(want);
	file_rig_free(r);
}

static void wait_committed(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	while (in->commit_seq < in->detach_seq)
		env_cond_wait(&in->changed, &in->lock);
}

static void crash_durable(struct file_rig *r, struct inode *in)
{
	wait_committed(in);
	assert_int_equal(meta_sync(r->fs->meta, meta_last_seq(r->fs->meta)), 0);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
}

/* A small file whose content lies in the index grows by a whole slot far behind it, which is stored at once:
 * the content must come along, for from then on the map holds it (F2). */
static void test_inline_content_comes_along(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *want = calloc(1, MIB(2));

	(void)state;
	memset(want, 1, 3000);
	rig_write(r, in, 0, want, 3000);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_true(in->rec.flags & INODE_INLINE);
	memset(want + MIB(1), 2, MIB(1));
	rig_write(r, in, MIB(1), want + MIB(1), MIB(1));
	crash_durable(r, in);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, want, MIB(2));
	fs_forget(r->fs, in, 1);
	free(want);
	file_rig_free(r);
}

/* What has waited long enough is stored, and so is what lies below it though it was written just now: else
 * the size could not cover it, and it would be lost (F2). */
static void test_slots_below_come_along(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *want = calloc(1, MIB(2));
	uint64_t cutoff;

	(void)state;
	memset(want + MIB(1), 2, KIB(500));
	rig_write(r, in, MIB(1), want + MIB(1), KIB(500));
	cutoff = env_now_ns();
	env_sleep_ms(2);
	memset(want + 5000, 1, KIB(100));
	rig_write(r, in, 5000, want + 5000, KIB(100));
	env_mutex_lock(&in->lock);
	assert_int_equal(seal_start(in, SEAL_AGED, cutoff), 0);
	env_mutex_unlock(&in->lock);
	crash_durable(r, in);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, want, MIB(1) + KIB(500));
	fs_forget(r->fs, in, 1);
	free(want);
	file_rig_free(r);
}

static void count_used(struct file_rig *r, unsigned disk, int64_t more)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	meta_add(t, META_COUNT_DISK_USED + disk, more);
	assert_int_equal(meta_commit(t, &seq), 0);
}

/* Leaves each disk room for so many bytes: kept of them are counted as used, in place of those that were. */
static void leave_room(struct file_rig *r, uint64_t bytes, int64_t kept[RIG_DISKS])
{
	struct disk_set *disks = pool_disks(r->pool);

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);
		int64_t used = meta_counter(r->fs->meta, META_COUNT_DISK_USED + i + 1) - kept[i];
		uint64_t room;

		disk_set_used_bytes(d, (uint64_t)used);
		room = disk_free_bytes(d);
		assert_true(room > bytes);
		count_used(r, i + 1, (int64_t)(room - bytes) - kept[i]);
		kept[i] = (int64_t)(room - bytes);
		disk_set_used_bytes(d, (uint64_t)(used + kept[i]));
	}
}

/* Files are stored together. One of them finds no room: the others are stored all the same (F3). */
static void test_one_does_not_fail_the_others(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 300000, .seal_workers = 1};
	struct file_rig *r = file_rig_new(&cfg, MIB(160));
	struct inode *first = rig_create(r, r->root, "first"), *big = rig_create(r, r->root, "big");
	struct inode *small = rig_create(r, r->root, "small");
	uint8_t *data = calloc(1, MIB(1));
	int64_t kept[RIG_DISKS] = {0};

	(void)state;
	memset(data, 5, MIB(1));
	rig_write(r, first, 0, data, KIB(20));
	for (unsigned i = 0; i < 2; i++) /* not whole: nothing of it is stored yet */
		rig_write(r, big, i * MIB(1), data, MIB(1) - 1);
	rig_write(r, small, 0, data, KIB(20));
	leave_room(r, KIB(400), kept);
	/* the one worker has the first file, and waits; the others gather meanwhile */
	env_mutex_lock(&first->lock);
	assert_int_equal(seal_start(first, SEAL_ALL, 0), 0);
	env_sleep_ms(20);
	env_mutex_lock(&big->lock);
	assert_int_equal(seal_start(big, SEAL_ALL, 0), 0);
	env_mutex_unlock(&big->lock);
	env_mutex_lock(&small->lock);
	assert_int_equal(seal_start(small, SEAL_ALL, 0), 0);
	env_mutex_unlock(&small->lock);
	env_mutex_unlock(&first->lock);
	env_mutex_lock(&big->lock);
	while (!big->fail_count && big->commit_seq < big->detach_seq)
		env_cond_wait(&big->changed, &big->lock);
	assert_true(big->fail_count);
	env_mutex_unlock(&big->lock);
	wait_committed(small);
	assert_int_equal(small->fail_count, 0);
	assert_int_equal(small->error, 0);
	assert_int_equal(small->rec.size, KIB(20));
	leave_room(r, MIB(20), kept);
	for (unsigned i = 0; i < 500 && fs_fsync(r->fs, big, false); i++)
		env_sleep_ms(10);
	assert_int_equal(fs_fsync(r->fs, big, false), 0);
	fs_forget(r->fs, first, 1);
	fs_forget(r->fs, big, 1);
	fs_forget(r->fs, small, 1);
	free(data);
	for (unsigned i = 0; i < disk_count(pool_disks(r->pool)); i++)
		count_used(r, i + 1, -kept[i]);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_under_newer),
		cmocka_unit_test(test_one_does_not_fail_the_others),
		cmocka_unit_test(test_inline_content_comes_along),
		cmocka_unit_test(test_slots_below_come_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
