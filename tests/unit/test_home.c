/* SPDX-License-Identifier: Apache-2.0 */
/* The pool directory: it may be lost (P5), it remembers epochs and tells disks apart (P8), and it
 * has an account of space of its own (C3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "dev/home.h"
#include "extent/internal.h"
#include "file/fs.h"
#include "meta/internal.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define DISKS 5u

static int setup(void **state)
{
	*state = fixture_new(DISKS, 0, NULL);
	return 0;
}

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

/* A pool directory that is made anew from the disks has the pool's settings, not the defaults. */
static void test_import_keeps_the_settings(void **state)
{
	struct fixture *f = *state;
	const char *paths[DISKS];
	struct pool_message msg = {""};
	struct policy s = pool_get_settings(f->p), now;
	char other[80];

	s.copies = 2;
	s.large = (struct geometry){3, 1};
	s.verify_writes = !s.verify_writes;
	assert_int_equal(pool_set_settings(f->p, &s, &msg), 0);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	for (unsigned i = 0; i < DISKS; i++)
		paths[i] = f->disk[i];
	snprintf(other, sizeof(other), "%s/other", f->top);
	assert_int_equal(pool_import(other, paths, DISKS, false, NULL, &msg), 0);
	fixture_open_at(f, other);
	now = pool_get_settings(f->p);
	assert_int_equal(now.copies, 2);
	assert_int_equal(now.large.k, 3);
	assert_int_equal(now.large.m, 1);
	assert_int_equal(now.metadata_copies, s.metadata_copies);
	assert_int_equal(now.verify_writes, s.verify_writes);
}

static unsigned present(struct fixture *f)
{
	struct pool_status st;

	pool_status(f->p, &st);
	return st.disks_present;
}

static void shell(const char *fmt, const char *a, const char *b)
{
	char cmd[400];

	snprintf(cmd, sizeof(cmd), fmt, a, b);
	assert_int_equal(system(cmd), 0);
}

/* At the place of one of its disks lies a disk of another pool, or one that has its number but is another:
 * it is not opened, nor remembered (P8). */
static void test_other_disks_at_a_place(void **state)
{
	struct fixture *f = *state, *other = fixture_new(1, 0, NULL);
	struct disk_json dj;
	struct dev *dev;

	assert_int_equal(pool_close(f->p), 0);
	assert_int_equal(pool_close(other->p), 0);
	f->p = other->p = NULL;
	shell("mv %s/dynamicfs %s/mine", f->disk[4], f->top);
	shell("cp -a %s/dynamicfs %s/", other->disk[0], f->disk[4]);
	assert_int_equal(dev_dir_open(f->disk[4], "dynamicfs", false, &dev), 0);
	assert_int_equal(disk_json_read(dev, &dj), 0);
	dj.id = 77; /* no disk of ours has it */
	assert_int_equal(disk_json_store(dev, &dj, NULL), 0);
	dev_free(dev);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS - 1);
	assert_int_equal(f->p->json.disk_count, DISKS);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	shell("rm -r %s/dynamicfs && true %s", f->disk[4], f->top);
	shell("mv %s/mine %s/dynamicfs", f->top, f->disk[4]);
	assert_int_equal(dev_dir_open(f->disk[4], "dynamicfs", false, &dev), 0);
	assert_int_equal(disk_json_read(dev, &dj), 0);
	uuid_random(&dj.uuid);
	assert_int_equal(disk_json_store(dev, &dj, NULL), 0);
	dev_free(dev);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS - 1);
	fixture_free(other);
}

/* A new epoch while the pool is in use is remembered at once, not only at its end: what was acknowledged
 * under it must not be missed by who opens the pool after a crash with the disks that were left out. */
static void use(struct fixture *f, const char *pool, bool force)
{
	struct pool_open_options opt = {.force = force};
	struct pool_message msg = {""};

	assert_int_equal(pool_open(pool, &opt, NULL, &f->p, &msg), 0);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
}

/* Two histories that are refused, and the disks of the one that is not chosen, stay as they are to the last
 * file (H6): what is set aside there for metadata, too. */
static void test_other_history_is_not_touched(void **state)
{
	struct fixture *f = *state;
	struct pool_open_options opt = {0};
	struct pool_message msg = {""};
	char copy[120];

	snprintf(copy, sizeof(copy), "%s/copy", f->top);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	shell("cp -a %s %s", f->pool, copy);
	for (unsigned i = 3; i < DISKS; i++)
		shell("mv %s %s.away", f->disk[i], f->disk[i]);
	use(f, f->pool, false);
	for (unsigned i = 0; i < 3; i++)
		shell("mv %s %s.away", f->disk[i], f->disk[i]);
	for (unsigned i = 3; i < DISKS; i++)
		shell("mv %s.away %s", f->disk[i], f->disk[i]);
	use(f, copy, true);
	for (unsigned i = 0; i < 3; i++)
		shell("mv %s.away %s", f->disk[i], f->disk[i]);
	for (unsigned i = 0; i < DISKS; i++)
		shell("touch %s/dynamicfs/kept && ls %s >/dev/null", f->disk[i], f->disk[i]);
	assert_int_equal(pool_open(f->pool, &opt, NULL, &f->p, &msg), DFS_ESPLIT);
	for (unsigned i = 0; i < DISKS; i++)
		shell("test -e %s/dynamicfs/kept && ls %s >/dev/null", f->disk[i], f->disk[i]);
	use(f, f->pool, true);
	for (unsigned i = 3; i < DISKS; i++)
		shell("test -e %s/dynamicfs/kept && ls %s >/dev/null", f->disk[i], f->disk[i]);
	use(f, f->pool, false); /* asked once */
}

static void test_epochs_are_remembered(void **state)
{
	const struct fault_plan gone = {.gone = true};
	struct fixture *f = *state;
	char text[UUID_TEXT_LEN + 1], path[120];
	struct history_witness before = meta_witness(pool_meta(f->p)), now;
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	FREE uint8_t *data = NULL;
	uint64_t seq;
	FILE *file;

	dev_fault_set(f->faults[0], &gone);
	meta_put(t, "x", 1, "x", 1);
	assert_int_equal(meta_commit(t, &seq), 0);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	now = meta_witness(pool_meta(f->p));
	assert_true(now.epoch > before.epoch);
	snprintf(path, sizeof(path), "%s/pool.json", f->pool);
	data = xcalloc(1, 65536);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_true(fread(data, 1, 65535, file) > 0);
	fclose(file);
	uuid_format(&now.id, text);
	assert_non_null(strstr((char *)data, text));
}

/* capacity_bytes: 0 for the filesystem's. */
static void add_disk(struct fixture *f, const char *name, uint64_t capacity_bytes)
{
	struct pool_disk_spec spec = {.capacity_bytes = capacity_bytes};
	struct pool_message msg = {""};
	struct disk_info info;
	char path[80];
	bool same;

	snprintf(path, sizeof(path), "%s/%s", f->top, name);
	assert_int_equal(mkdir(path, 0755), 0);
	spec.path = path;
	assert_int_equal(pool_add_disk(f->p, &spec, &info, &same, &msg), 0);
}

/* A disk that was added is one of the pool's, whatever happens next. */
static void test_added_disk_stays(void **state)
{
	struct fixture *f = *state;

	add_disk(f, "more", 0);
	pool_abandon(f->p);
	fixture_reopen(f);
	assert_int_equal(present(f), DISKS + 1);
}

/* The journal's length follows what its owner allows of the smallest disk: on a small one it must not take
 * what a full pool needs to delete (F4). */
static void test_journal_follows_the_capacity(void **state)
{
	struct fixture *f = *state;

	add_disk(f, "small", MIB(64));
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
	assert_int_equal(f->p->meta->cfg.checkpoint_bytes, MIB(64) / 256);
}

static int make_dir(struct fs *fs, struct inode *root, const char *name)
{
	struct fs_cred cred = {0};
	struct inode *in;
	struct fs_attr attr;
	int err = fs_mkdir(fs, root, name, 0755, cred, &in, &attr);

	if (!err)
		fs_forget(fs, in, 1);
	return err;
}

static int make_dir_in_time(struct fs *fs, struct inode *root, const char *name, int want)
{
	int err = !want;

	for (unsigned i = 0; i < 100 && err != want; i++) {
		char nth[64];

		snprintf(nth, sizeof(nth), "%s%u", name, i);
		err = make_dir(fs, root, nth);
		if (err != want)
			env_sleep_ms(100);
	}
	return err;
}

/* Its filesystem is full: nothing is added, what takes away works and lasts, and it goes on by itself. */
static void test_full_pool_directory(void **state)
{
	const struct fault_plan full = {.no_space = true}, none = {0};
	struct fixture *f = *state;
	struct fs_config cfg = {0};
	struct pool_status st;
	struct inode *root;
	struct fs *fs;

	assert_int_equal(fs_open(f->p, &cfg, &fs), 0);
	assert_int_equal(fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &root), 0);
	assert_int_equal(make_dir(fs, root, "before"), 0);
	dev_fault_set(f->dir_fault, &full);
	assert_int_equal(make_dir_in_time(fs, root, "full", DFS_ENOSPC), DFS_ENOSPC);
	pool_status(f->p, &st);
	assert_int_equal(st.dir_err, DFS_ENOSPC);
	assert_int_equal(fs_rmdir(fs, root, "before"), 0);
	assert_int_equal(fs_sync_all(fs), 0);
	dev_fault_set(f->dir_fault, &none);
	assert_int_equal(make_dir_in_time(fs, root, "after", 0), 0);
	pool_status(f->p, &st);
	assert_int_equal(st.dir_err, 0);
	fs_forget(fs, root, 1);
	assert_int_equal(fs_close(fs), 0);
}

static int dir_err(struct fixture *f)
{
	struct pool_status st;

	pool_status(f->p, &st);
	return st.dir_err;
}

/* Its index is taken away: the same; and when the process dies meanwhile, the next opening has everything. */
static void test_index_taken_away(void **state)
{
	struct fixture *f = *state;
	struct fs_config cfg = {0};
	struct inode *root;
	struct fs *fs;

	assert_int_equal(fs_open(f->p, &cfg, &fs), 0);
	assert_int_equal(fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &root), 0);
	assert_int_equal(make_dir(fs, root, "before"), 0);
	assert_int_equal(make_dir(fs, root, "kept"), 0);
	shell("mv %s/index %s/away", f->pool, f->top);
	assert_int_equal(make_dir_in_time(fs, root, "gone", DFS_ENOSPC), DFS_ENOSPC);
	assert_int_equal(dir_err(f), DFS_EGONE);
	assert_int_equal(fs_rmdir(fs, root, "before"), 0);
	assert_int_equal(fs_sync_all(fs), 0);
	shell("mv %s/away %s/index", f->top, f->pool);
	assert_int_equal(make_dir_in_time(fs, root, "after", 0), 0);
	assert_int_equal(dir_err(f), 0);
	assert_int_equal(fs_sync_all(fs), 0);
	fs_forget(fs, root, 1);
	fs_abandon(fs);
	shell("rm -r %s/index %s", f->pool, "");
	pool_abandon(f->p);
	fixture_reopen(f);
	assert_int_equal(fs_open(f->p, &cfg, &fs), 0);
	assert_int_equal(fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &root), 0);
	assert_int_equal(make_dir(fs, root, "kept"), DFS_EEXIST);
	assert_int_equal(make_dir(fs, root, "before"), 0);
	fs_forget(fs, root, 1);
	assert_int_equal(fs_close(fs), 0);
}

/* The one disk that holds the journal isn't given up while no other can begin one: the pool would end. */
static void test_only_member(void **state)
{
	const struct fault_plan full = {.no_space = true, .most_free = 1}, none = {0};
	struct fixture *f = fixture_new(3, 1, NULL);
	struct pool_message msg = {""};
	struct disk_info info;
	unsigned member = 0;
	int err;

	while (!meta_is_member(pool_meta(f->p), disk_info(disk_at(pool_disks(f->p), member)).id))
		member++;
	dev_fault_set(f->dir_fault, &full);
	env_sleep_ms(250); /* until it is asked again */
	assert_int_equal(pool_fail_disk(f->p, f->disk[member], true, &info, &msg), DFS_ENOSPC);
	assert_non_null(strstr(msg.text, "nothing was changed"));
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	dev_fault_set(f->dir_fault, &none);
	err = DFS_ENOSPC;
	for (unsigned i = 0; i < 200 && err == DFS_ENOSPC; i++) {
		env_sleep_ms(50);
		err = pool_fail_disk(f->p, f->disk[member], true, &info, &msg);
	}
	assert_int_equal(err, 0);
	fixture_free(f);
	(void)state;
}

/* C5: room for opening the index is held as soon as it is open; and of a filesystem that it shares with disks files
 * don't get what the pool directory may need. */
static void test_home_has_its_room(void **state)
{
	const struct fault_plan roomy = {.most_free = GIB(2)};
	const struct geometry copies = {1, 2};
	struct fixture *f = *state;
	struct extent_store *s = f->p->extents;
	uint64_t need, with, without;
	char path[120];
	struct stat st;

	snprintf(path, sizeof(path), "%s/index.room", f->pool);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2 * HOME_OPEN_BYTES_MIN);
	assert_true((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
	for (unsigned i = 0; i < DISKS; i++)
		dev_fault_set(f->faults[i], &roomy);
	env_sleep_ms(1100); /* they are asked for anew */
	need = meta_index_need(s->cfg.meta, true, 0);
	assert_true(need > meta_index_need(s->cfg.meta, false, 0));
	assert_true(need > HOME_OPEN_BYTES_MIN);
	with = extent_usable_bytes(s, copies, 0);
	assert_true(s->cfg.home_fs != 0);
	s->cfg.home_fs = 0;
	without = extent_usable_bytes(s, copies, 0);
	assert_true(with > 0 && without - with >= need / 3 - 2 * EXTENT_MAX_BYTES);
	assert_true(without - with <= need / 3 + 2 * EXTENT_MAX_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_member),
		cmocka_unit_test_setup_teardown(test_import_keeps_the_settings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_disks_at_a_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_history_is_not_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_epochs_are_remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_added_disk_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_journal_follows_the_capacity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_pool_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_index_taken_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_home_has_its_room, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
