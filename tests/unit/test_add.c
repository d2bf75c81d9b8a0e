/* SPDX-License-Identifier: Apache-2.0 */
/* A disk is locked as long as it is used (L1), and one that holds something is not overwritten by being added
 * (L2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "dev/dev.h"
#include "file/fs.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define DISKS 3u

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

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	assert_int_equal(system(cmd), 0);
}

static void close_pool(struct fixture *f)
{
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
}

static int add(struct pool *p, const char *path, struct pool_message *msg)
{
	struct pool_disk_spec spec = {.path = path}, dry = {.path = path, .dry_run = true};
	struct disk_info info;
	bool same;
	int err = pool_add_disk(p, &dry, &info, &same, msg);

	assert_int_equal(pool_add_disk(p, &spec, &info, &same, msg), err);
	return err;
}

/* It is refused, says so, and nothing there is changed: neither bytes nor names. */
static void refused(struct pool *p, const char *path, int want, const char *says)
{
	struct pool_message msg = {""};

	shell("cp -a %s %s.before", path, path);
	assert_int_equal(add(p, path, &msg), want);
	if (!strstr(msg.text, says))
		print_message("%s\n", msg.text);
	assert_non_null(strstr(msg.text, says));
	shell("diff -r %s %s.before && rm -r %s.before", path, path, path);
}

/* Another device of the same directory, as another process has it. */
static int lock_of(const char *disk)
{
	struct dev *dev;
	int err;

	assert_int_equal(dev_dir_open(disk, "dynamicfs", false, &dev), 0);
	err = dev_lock(dev);
	dev_free(dev);
	return err;
}

static void all_locked(struct fixture *f, int want)
{
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(lock_of(f->disk[i]), want);
}

static void test_locked_while_in_use(void **state)
{
	struct fixture *f = *state;

	all_locked(f, DFS_ELOCKED); /* just added */
	close_pool(f);
	all_locked(f, 0);
	fixture_reopen(f);
	all_locked(f, DFS_ELOCKED);
}

/* What was given up can be unmounted and pulled. */
static int unlocked_in_time(const char *disk)
{
	int err = DFS_ELOCKED;

	for (int i = 0; i < 100 && err == DFS_ELOCKED; i++) {
		err = lock_of(disk);
		if (err)
			env_sleep_ms(10);
	}
	return err;
}

static void test_given_up_is_let_go(void **state)
{
	struct fixture *f = *state;
	struct pool_message msg = {""};
	struct disk_info info;
	char says[64];

	assert_int_equal(pool_fail_disk(f->p, f->disk[2], false, &info, &msg), 0);
	assert_int_equal(unlocked_in_time(f->disk[2]), 0);
	assert_int_equal(lock_of(f->disk[1]), DFS_ELOCKED);
	snprintf(says, sizeof(says), "already disk %u (disk2) of this pool, and was failed",
		 info.id.v);
	refused(f->p, f->disk[2], DFS_EEXIST, says);
	shell("rm -r %s/dynamicfs", f->disk[2]);
	assert_int_equal(add(f->p, f->disk[2], &msg), 0);
	assert_int_equal(lock_of(f->disk[2]), DFS_ELOCKED);
}

/* Two pools want the same directory: the second gets nothing of it. */
static void test_in_use_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct pool_message msg = {""};
	char path[128];
	struct dev *dev;

	snprintf(path, sizeof(path), "%s/new", f->top);
	shell("mkdir %s", path);
	assert_int_equal(dev_dir_open(path, "dynamicfs", true, &dev), 0);
	assert_int_equal(dev_lock(dev), 0);
	refused(f->p, path, DFS_ELOCKED, "another process uses it");
	dev_free(dev);
	assert_int_equal(add(f->p, path, &msg), 0);
	assert_int_equal(lock_of(path), DFS_ELOCKED);
}

/* pool.json as it was before the first disk was added. */
static void forget_disks(const char *pool)
{
	CLEANUP(pool_json_release) struct pool_json j = {0};
	FREE uint8_t *data = NULL;
	struct dev *dev;
	BUF text = {0};
	size_t len;

	assert_int_equal(dev_dir_open(pool, "", false, &dev), 0);
	assert_int_equal(dev_read_all(dev, POOL_JSON_NAME, MIB(1), &data, &len), 0);
	assert_int_equal(pool_json_parse(data, len, &j), 0);
	j.disk_count = 0;
	j.epoch = j.generation = 0;
	memset(&j.epoch_id, 0, sizeof(j.epoch_id));
	assert_int_equal(pool_json_encode(&j, &text), 0);
	assert_int_equal(dev_replace(dev, POOL_JSON_NAME, text.data, text.len), 0);
	dev_free(dev);
}

/* The pool directory is as it was before the first disk came (F3): its disks are not taken for new ones. */
static void test_older_pool_directory(void **state)
{
	struct fixture *f = *state;
	struct pool_message msg = {""};
	const char *paths[DISKS];
	char pool[100];

	shell("mkdir %s/old && cp %s/pool.json %s/old/", f->top, f->pool, f->top);
	close_pool(f);
	snprintf(pool, sizeof(pool), "%s/old", f->top);
	forget_disks(pool);
	fixture_open_at(f, pool);
	assert_false(pool_has_disks(f->p));
	for (unsigned i = 0; i < DISKS; i++) {
		refused(f->p, f->disk[i], DFS_EEXIST, "dynamicfs import");
		paths[i] = f->disk[i];
	}
	assert_int_equal(lock_of(f->disk[0]), 0);
	close_pool(f);
	snprintf(pool, sizeof(pool), "%s/anew", f->top);
	assert_int_equal(pool_import(pool, paths, DISKS, false, NULL, &msg), 0);
}

static void put_identity(const char *disk, struct pool *p, struct disk_json *j)
{
	struct dev *dev;

	*j = (struct disk_json){.pool = pool_uuid(p), .id = 77, .label = "x", .state = "healthy"};
	uuid_random(&j->uuid);
	assert_int_equal(dev_dir_open(disk, "dynamicfs", true, &dev), 0);
	assert_int_equal(disk_json_store(dev, j, NULL), 0);
	dev_free(dev);
}

/* A disk with the pool's name on it that the pool does not know, and each thing that it may hold. */
static void test_unknown_disk_that_holds_something(void **state)
{
	static const char *const holds[] = {"segments/00000001", "meta/journal/0000000000000001",
					    "meta/checkpoint/manifest-0000000000000001",
					    "meta/tables/0123456789abcdef-1.0.0"};
	struct fixture *f = *state;
	struct pool_message msg = {""};
	struct disk_json j;
	char path[128];

	snprintf(path, sizeof(path), "%s/new", f->top);
	shell("mkdir %s", path);
	put_identity(path, f->p, &j);
	for (unsigned i = 0; i < ARRAY_SIZE(holds); i++) {
		shell("cd %s/dynamicfs && mkdir -p segments meta/journal meta/checkpoint meta/tables "
		      "&& echo x >%s",
		      path, holds[i]);
		refused(f->p, path, DFS_EEXIST, "another history");
		shell("mkdir %s/aside && mv %s/dynamicfs/disk* %s/aside/", path, path, path);
		refused(f->p, path, DFS_ENOTEMPTYDIR, "disk.json is missing");
		shell("mv %s/aside/* %s/dynamicfs/ && rmdir %s/aside", path, path, path);
		shell("rm %s/dynamicfs/%s", path, holds[i]);
	}
	shell("cp %s/dynamicfs/meta/roots %s/dynamicfs/meta/", f->disk[0], path);
	refused(f->p, path, DFS_EEXIST, "metadata of epoch");
	shell("rm %s/dynamicfs/disk*", path);
	refused(f->p, path, DFS_ENOTEMPTYDIR, "disk.json is missing");
	put_identity(path, f->p, &j);
	/* a ring that is rotten, with nothing beside it, says nothing to anybody */
	shell("head -c 327680 /dev/urandom >%s/dynamicfs/meta/roots", path);
	assert_int_equal(add(f->p, path, &msg), 0);
}

static int first_root_there(struct dev *dev)
{
	FREE uint8_t *slot = xmalloc(ROOT_SLOT_BYTES);
	FREE struct root *root = xmalloc(sizeof(*root));
	struct dev_file *file;
	size_t got;

	assert_int_equal(dev_open(dev, "meta/roots", DEV_RDONLY, &file), 0);
	assert_int_equal(dev_read(file, slot, ROOT_SLOT_BYTES, ROOT_SLOT_BYTES, 0, &got), 0);
	dev_close(file);
	return root_parse(slot, root) == 0 && root->generation == 1;
}

/* Power went while the pool's first disk, or a further one, was being added: it can be added again. */
static void test_cut_short(void **state)
{
	struct fixture *f = *state;
	struct meta_config cfg = {.copies = 1, .disk_count = 1};
	struct pool_message msg = {""};
	struct meta_disk md = {.id = {77}};
	struct pool_json_disk *row;
	struct disk_json j;
	char path[128];

	snprintf(path, sizeof(path), "%s/new", f->top);
	shell("mkdir %s", path);
	put_identity(path, f->p, &j);
	md.uuid = j.uuid;
	cfg.pool = pool_uuid(f->p);
	cfg.disks = &md;
	assert_int_equal(dev_dir_open(path, "dynamicfs", false, &md.dev), 0);
	assert_int_equal(meta_format(&cfg), 0);
	assert_int_equal(first_root_there(md.dev), 1);
	assert_int_equal(add(f->p, path, &msg), 0);
	assert_int_equal(first_root_there(md.dev), 0); /* it would be another history */
	dev_free(md.dev);
	close_pool(f);
	fixture_reopen(f);

	/* pool.json names it, the index does not: it is not used, nor kept */
	snprintf(path, sizeof(path), "%s/other", f->top);
	shell("mkdir %s", path);
	put_identity(path, f->p, &j);
	row = pool_json_add(&f->p->json);
	row->id.v = j.id;
	row->uuid = j.uuid;
	snprintf(row->label, sizeof(row->label), "x");
	snprintf(row->state, sizeof(row->state), "healthy");
	snprintf(row->path, sizeof(row->path), "%s", path);
	close_pool(f);
	fixture_reopen(f);
	assert_int_equal(unlocked_in_time(path), 0);
	assert_int_equal(add(f->p, path, &msg), 0);
	close_pool(f);
	fixture_reopen(f);
	assert_int_equal(lock_of(path), DFS_ELOCKED);
}

/* Another pool's process makes its disk there after we have found nothing, and before we have the lock. */
static const char *contested;

static void be_faster(struct dev *below)
{
	struct disk_json j = {.id = 1, .label = "theirs", .state = "healthy"};

	if (!contested || strncmp(below->name, contested, strlen(contested)) != 0)
		return;
	uuid_random(&j.pool);
	uuid_random(&j.uuid);
	assert_int_equal(disk_json_store(below, &j, NULL), 0);
}

static int setup_race(void **state)
{
	contested = NULL;
	*state = fixture_new(DISKS, 0, be_faster);
	return 0;
}

static void test_somebody_was_faster(void **state)
{
	struct pool_disk_spec spec = {0};
	struct fixture *f = *state;
	struct pool_message msg = {""};
	struct disk_info info;
	char path[128];
	bool same;

	snprintf(path, sizeof(path), "%s/new", f->top);
	shell("mkdir %s", path);
	spec.path = contested = path;
	assert_int_equal(pool_add_disk(f->p, &spec, &info, &same, &msg), DFS_EFOREIGN);
	contested = NULL;
	refused(f->p, path, DFS_EFOREIGN, "another pool");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_locked_while_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_up_is_let_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_use_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_older_pool_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown_disk_that_holds_something, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_somebody_was_faster, setup_race, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
