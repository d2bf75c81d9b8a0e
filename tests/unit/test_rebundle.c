/* SPDX-License-Identifier: Apache-2.0 */
/* Rebundling (U6, U7): what was written while there were too few disks is stored anew when there are enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

static struct file_rig *rig(unsigned disks, uint64_t capacity_bytes)
{
	struct fs_config cfg = {.flush_interval_ms = 3600000, .no_fold = true};
	struct file_rig *r;
	struct pool_message msg = {""};

	file_rig_disks = disks;
	r = file_rig_new(&cfg, capacity_bytes);
	file_rig_disks = 0;
	assert_int_equal(pool_set_rebuild(r->pool, &(struct pool_rebuild){.after_s = 900}, &msg),
			 0);
	return r;
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
}

static unsigned listed(struct file_rig *r)
{
	const uint8_t table = TABLE_NARROW;
	struct meta_iter *it = meta_iter_new_within(r->fs->meta, &table, 1);
	size_t klen;
	unsigned n = 0;

	for (meta_iter_seek(it, &table, 1); meta_iter_valid(it); meta_iter_next(it))
		n += *(const uint8_t *)meta_iter_key(it, &klen) == table;
	meta_iter_free(it);
	return n;
}

/* Looks at the disks as they are now, and does what there is to do. */
static int work(struct file_rig *r)
{
	int rc = 0;

	usage_refresh(r->fs);
	rebundle_look(r->fs);
	for (unsigned i = 0; i < 100 && rc == 0; i++)
		rc = rebundle_next(r->fs);
	return rc;
}

static struct geometry geometry_at(struct inode *in, uint64_t off)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct rec_extent x;

	assert_int_equal(map_seek(&c, in, off), 0);
	assert_true(c.valid);
	assert_int_equal(get_extent(in->fs->meta, c.rec.extent, &x), 0);
	return (struct geometry){x.k, x.m};
}

static void assert_geometry(struct inode *in, uint64_t off, unsigned k, unsigned m)
{
	struct geometry g = geometry_at(in, off);

	assert_int_equal(g.k, k);
	assert_int_equal(g.m, m);
}

#define SIZE (MIB(3) + 100000)

/* Two copies on two disks become 4 + 2, and three copies of the short end, once there are six. */
static void test_grows_with_the_disks(void **state)
{
	struct file_rig *r = rig(2, 0);
	uint8_t *data = malloc(SIZE);
	struct inode *in = rig_create(r, r->root, "f");

	(void)state;
	fill(data, SIZE, 1);
	rig_write(r, in, 0, data, SIZE);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(listed(r), 4);
	assert_geometry(in, 0, 1, 1);
	assert_int_equal(work(r), DFS_ENOENT); /* two disks give nothing better */
	assert_geometry(in, 0, 1, 1);
	assert_int_equal(listed(r), 4);
	file_rig_add_disk(r, 2);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, 0, 1, 2);
	assert_geometry(in, MIB(3), 1, 2);
	assert_int_equal(listed(r), 3); /* copies were all that the end wanted */
	for (unsigned i = 3; i < RIG_DISKS; i++)
		file_rig_add_disk(r, i);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, 0, 4, 2);
	assert_geometry(in, MIB(2), 4, 2);
	assert_int_equal(listed(r), 0);
	assert_int_equal(r->fs->rebundle.slots, 7);
	rig_expect(r, in, data, SIZE);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	rig_expect(r, in, data, SIZE);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

/* What is listed is so as long as it is there, and no longer: the table does not grow with what came and went. */
static void test_leaves_the_list(void **state)
{
	struct file_rig *r = rig(2, 0);
	uint8_t *data = calloc(1, SIZE);
	struct inode *in;

	(void)state;
	in = rig_create(r, r->root, "f");
	rig_write(r, in, 0, data, SIZE);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(listed(r), 4);
	rig_truncate(r, in, MIB(2));
	assert_int_equal(listed(r), 2);
	rig_write(r, in, MIB(1) + 5, "x", 1); /* an extent more of the slot */
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(listed(r), 2);
	assert_int_equal(
		fs_fallocate(r->fs, in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, MIB(1), MIB(1)), 0);
	assert_int_equal(listed(r), 1);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	reap_wait(r->fs);
	assert_int_equal(listed(r), 0);
	struct meta_txn *t = meta_begin(r->fs->meta);
	uint64_t seq;

	put_narrow(t, (ino_id){77}, 3); /* of a file that is gone */
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_int_equal(listed(r), 0);
	file_rig_free(r);
	free(data);
}

/* What is written into a slot while it is stored anew stays, and stays listed. */
static void test_written_meanwhile(void **state)
{
	struct file_rig *r = rig(2, 0);
	uint8_t *data = malloc(MIB(1));
	struct inode *in = rig_create(r, r->root, "f");

	(void)state;
	fill(data, MIB(1), 1);
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	file_rig_add_disk(r, 2);
	usage_refresh(r->fs);
	rebundle_look(r->fs);
	/* one whole overwriting by three copies, and one old half */
	fill(data, KIB(512), 2);
	rig_write(r, in, 0, data, KIB(512));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_geometry(in, 0, 1, 2);
	assert_geometry(in, KIB(512), 1, 1);
	assert_int_equal(listed(r), 1);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, KIB(512), 1, 2);
	rig_expect(r, in, data, MIB(1));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

static struct file_rig *meanwhile_rig;
static struct inode *meanwhile_in;

/* Asked before the slot is written anew, after it was read: somebody writes into it, with the disks there are now. */
static void meanwhile(void *ctx, int64_t bytes, struct extent_accepted *ret)
{
	struct inode *in = meanwhile_in;

	(void)ctx;
	*ret = (struct extent_accepted){.geometry = {1, 0}};
	if (bytes <= 0 || !in)
		return;
	meanwhile_in = NULL;
	disk_set_state(disk_at(pool_disks(meanwhile_rig->pool), 2), DISK_DEGRADED);
	rig_write(meanwhile_rig, in, KIB(100), "written meanwhile", 17);
	assert_int_equal(fs_fsync(meanwhile_rig->fs, in, false), 0);
	disk_set_state(disk_at(pool_disks(meanwhile_rig->pool), 2), DISK_HEALTHY);
}

/* U6: what is written in the moment in which the rest is stored anew, and narrower than wanted, stays listed. */
static void test_narrow_meanwhile(void **state)
{
	struct file_rig *r = meanwhile_rig = rig(2, 0);
	uint8_t *data = malloc(KIB(200));
	struct inode *in = rig_create(r, r->root, "f");

	(void)state;
	fill(data, KIB(200), 1);
	rig_write(r, in, 0, data, KIB(200));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_geometry(in, 0, 1, 1);
	file_rig_add_disk(r, 2);
	usage_refresh(r->fs);
	rebundle_look(r->fs);
	meanwhile_in = in;
	extent_set_acceptor(pool_extents(r->pool), meanwhile, NULL);
	assert_int_equal(rebundle_next(r->fs), 0);
	assert_null(meanwhile_in);
	memcpy(data + KIB(100), "written meanwhile", 17);
	rig_expect(r, in, data, KIB(200));
	assert_geometry(in, 0, 1, 2);
	assert_geometry(in, KIB(100), 1, 1);
	assert_int_equal(listed(r), 1);
	fs_forget(r->fs, in, 1);
	extent_set_acceptor(pool_extents(r->pool), NULL, NULL);
	file_rig_free(r);
	free(data);
}

/* A policy that has become weaker takes no tolerance from what has more; a wider one is not waited for in vain. */
static void test_never_less(void **state)
{
	struct file_rig *r = rig(4, 0);
	uint8_t *data = malloc(MIB(1));
	struct inode *in = rig_create(r, r->root, "f");
	struct policy set = pool_get_settings(r->pool);
	struct pool_message msg = {""};

	(void)state;
	fill(data, MIB(1), 1);
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_geometry(in, 0, 2, 2);
	set.large = (struct geometry){4, 1};
	assert_int_equal(pool_set_settings(r->pool, &set, &msg), 0);
	for (unsigned i = 4; i < RIG_DISKS; i++)
		file_rig_add_disk(r, i);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, 0, 2, 2);
	assert_int_equal(listed(r), 1);
	rig_expect(r, in, data, MIB(1));
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

/* Nothing is stored anew by itself where that is switched off. */
static void test_switched_off(void **state)
{
	struct file_rig *r = rig(2, 0);
	struct inode *in = rig_create(r, r->root, "f");
	uint8_t *data = calloc(1, MIB(1));
	struct pool_message msg = {""};

	(void)state;
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	file_rig_add_disk(r, 2);
	assert_int_equal(pool_set_rebuild(r->pool,
					  &(struct pool_rebuild){.after_s = POOL_REBUILD_NEVER},
					  &msg),
			 0);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, 0, 1, 1);
	assert_int_equal(pool_set_rebuild(r->pool, &(struct pool_rebuild){.after_s = 900}, &msg),
			 0);
	assert_int_equal(work(r), DFS_ENOENT);
	assert_geometry(in, 0, 1, 2);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

static void set_state(struct file_rig *r, unsigned n, enum disk_state state)
{
	for (unsigned i = 0; i < n; i++) {
		struct disk *d = disk_at(pool_disks(r->pool), i);

		disk_set_state(d, state);
		extent_do_without(pool_extents(r->pool), disk_info(d).id, true);
	}
}

static unsigned extent_ids(struct file_rig *r, struct repair_item *items, unsigned max)
{
	const uint8_t table = TABLE_EXTENT;
	struct meta_iter *it = meta_iter_new_within(r->fs->meta, &table, 1);
	unsigned n = 0;

	for (meta_iter_seek(it, &table, 1); meta_iter_valid(it) && n < max; meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_extent x;

		if (k[0] != table)
			break;
		assert_int_equal(parse_extent(k, klen, v, vlen, &x), 0);
		items[n++] = (struct repair_item){.id = x.id};
	}
	meta_iter_free(it);
	return n;
}

/* R6: six disks less two: what was 4 + 2 becomes 2 + 2, which bears two losses again, and copies find disks as they are.
 * What would bear no more than it does stays as it is. */
static void test_no_disk_for_it(void **state)
{
	struct file_rig *r = rig(6, 0);
	uint8_t *data = malloc(SIZE);
	struct inode *in = rig_create(r, r->root, "f");
	struct repair_item items[16];
	unsigned n;

	(void)state;
	fill(data, SIZE, 1);
	rig_write(r, in, 0, data, SIZE);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	set_state(r, 2, DISK_DRAINING);
	n = extent_ids(r, items, 16);
	assert_int_equal(n, 4);
	extent_rebuild(pool_extents(r->pool), items, n, 1);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(items[i].err, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_geometry(in, MIB(i), 2, 2);
	assert_geometry(in, MIB(3), 1, 2);
	assert_int_equal(listed(r), 3);
	for (unsigned i = 1; i <= 2; i++)
		assert_int_equal(meta_counter(r->fs->meta, META_COUNT_DISK_USED + i), 0);
	rig_expect(r, in, data, SIZE);
	/* four less two more: three copies can't be had of two disks, and two bear no more than what is left */
	set_state(r, 4, DISK_DRAINING);
	r->fs->rebundle.fit_ns = 0;
	n = extent_ids(r, items, 16);
	extent_rebuild(pool_extents(r->pool), items, n, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_geometry(in, MIB(i), 1, 1); /* 2 + 2 with two left bore none */
	assert_geometry(in, MIB(3), 1, 2);	   /* three copies with two left bear one */
	rig_expect(r, in, data, SIZE);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

/* R6: what bears one more loss waits for a disk; what bears none does not. */
static void test_lost_disks(void **state)
{
	struct file_rig *r = rig(6, 0);
	uint8_t *data = malloc(MIB(1));
	struct inode *in = rig_create(r, r->root, "f");
	struct repair_item item;

	(void)state;
	fill(data, MIB(1), 1);
	rig_write(r, in, 0, data, MIB(1));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	set_state(r, 1, DISK_FAILED);
	assert_int_equal(extent_ids(r, &item, 1), 1);
	extent_rebuild(pool_extents(r->pool), &item, 1, 1);
	assert_int_equal(item.err, DFS_ENOSPC);
	assert_geometry(in, 0, 4, 2);
	set_state(r, 2, DISK_FAILED);
	r->fs->rebundle.fit_ns = 0;
	extent_rebuild(pool_extents(r->pool), &item, 1, 1);
	assert_int_equal(item.err, 0);
	assert_int_equal(item.made, 2);
	assert_geometry(in, 0, 2, 2);
	rig_expect(r, in, data, MIB(1));
	for (unsigned i = 0; i < 2; i++) { /* else fsck finds them missing */
		extent_do_without(pool_extents(r->pool),
				  disk_info(disk_at(pool_disks(r->pool), i)).id, false);
		disk_set_state(disk_at(pool_disks(r->pool), i), DISK_HEALTHY);
	}
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_with_the_disks),
		cmocka_unit_test(test_leaves_the_list),
		cmocka_unit_test(test_written_meanwhile),
		cmocka_unit_test(test_narrow_meanwhile),
		cmocka_unit_test(test_never_less),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_no_disk_for_it),
		cmocka_unit_test(test_lost_disks),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
