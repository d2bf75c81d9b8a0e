/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's own parts: its scheduler, its disks, its model. That the whole oracle bites is
 * seen by the mutations (tests/mutate) that the simulator catches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "meta/internal.h"
#include "sim/model.h"
#include "sim/sim_disk.h"
#include "sim/sim_env.h"

/* ---- environment ---- */

static struct env_mutex mutex;
static struct env_cond cond;
static char trace[256];
static unsigned inside, total;

static void counter_main(void *arg)
{
	for (unsigned i = 0; i < 20; i++) {
		env_mutex_lock(&mutex);
		assert_int_equal(inside++, 0);
		sim_env_point();
		assert_int_equal(--inside, 0);
		total++;
		if (strlen(trace) + 1 < sizeof(trace))
			strcat(trace, (const char *)arg);
		env_mutex_unlock(&mutex);
	}
}

static void three_counters(void *arg)
{
	struct env_thread *t[3];

	(void)arg;
	env_mutex_init(&mutex);
	inside = total = 0;
	trace[0] = '\0';
	t[0] = env_thread_start("a", counter_main, "a");
	t[1] = env_thread_start("b", counter_main, "b");
	t[2] = env_thread_start("c", counter_main, "c");
	for (unsigned i = 0; i < 3; i++)
		env_thread_join(t[i]);
	env_mutex_release(&mutex);
}

static void test_locks_exclude_and_seeds_repeat(void **state)
{
	char first[sizeof(trace)], other[sizeof(trace)];

	(void)state;
	sim_env_start(1, 2);
	assert_int_equal(sim_env_run(three_counters, NULL), SIM_DONE);
	assert_int_equal(total, 60);
	memcpy(first, trace, sizeof(trace));
	sim_env_start(1, 2);
	assert_int_equal(sim_env_run(three_counters, NULL), SIM_DONE);
	assert_string_equal(first, trace);
	sim_env_start(2, 2);
	assert_int_equal(sim_env_run(three_counters, NULL), SIM_DONE);
	memcpy(other, trace, sizeof(trace));
	sim_env_stop();
	assert_string_not_equal(first, other);
}

static void sleeper(void *arg)
{
	(void)arg;
	env_sleep_ms(60000);
}

static void wait_in_vain(void *arg)
{
	bool *signalled = arg;
	uint64_t start = env_now_ns();

	env_mutex_init(&mutex);
	env_cond_init(&cond);
	env_mutex_lock(&mutex);
	while (env_now_ns() - start < 5000000000ull)
		*signalled = env_cond_wait_ms(&cond, &mutex, 5000);
	env_mutex_unlock(&mutex);
}

static void test_the_clock_jumps(void **state)
{
	uint64_t before;
	bool signalled = true;

	(void)state;
	sim_env_start(3, 8);
	before = sim_env_now_ns();
	assert_int_equal(sim_env_run(sleeper, NULL), SIM_DONE);
	assert_true(sim_env_now_ns() - before >= 60000000000ull);
	assert_int_equal(sim_env_run(wait_in_vain, &signalled), SIM_DONE);
	assert_false(signalled);
	sim_env_stop();
}

static void wait_for_ever(void *arg)
{
	(void)arg;
	env_mutex_init(&mutex);
	env_cond_init(&cond);
	env_mutex_lock(&mutex);
	for (;;)
		env_cond_wait(&cond, &mutex);
}

static void test_deadlocks_are_told(void **state)
{
	(void)state;
	sim_env_start(4, 8);
	assert_int_equal(sim_env_run(wait_for_ever, NULL), SIM_STUCK);
	assert_non_null(strstr(sim_env_stuck_text(), "deadlock"));
	assert_non_null(strstr(sim_env_stuck_text(), "main"));
	/* What the stuck world left locked is of no concern to the next. */
	assert_int_equal(sim_env_run(three_counters, NULL), SIM_DONE);
	sim_env_stop();
}

static void cut_now(void *arg)
{
	(void)arg;
	sim_env_cut();
}

static void test_a_cut_ends_the_world(void **state)
{
	(void)state;
	sim_env_start(5, 8);
	assert_int_equal(sim_env_run(cut_now, NULL), SIM_CUT);
	sim_env_stop();
}

/* ---- disks ---- */

static struct sim_disk *disk;

static struct dev *new_disk(uint64_t seed)
{
	sim_disks_start(seed);
	disk = sim_disk_new(&(struct sim_disk_config){
		.name = "d0", .fs_id = 1, .total_bytes = MIB(1), .can_punch = true});
	return sim_disk_open(disk);
}

static void write_at(struct dev_file *f, char c, size_t len, uint64_t off)
{
	FREE char *data = xmalloc(len);

	memset(data, c, len);
	assert_int_equal(dev_write(f, data, len, off), 0);
}

/* Makes the file with synced contents `old` of 4 KiB, then writes `new` without a sync. */
static void write_two(struct dev *d, struct dev_file **ret_file)
{
	assert_int_equal(dev_open(d, "a", DEV_CREATE, ret_file), 0);
	write_at(*ret_file, 'o', 4096, 0);
	assert_int_equal(dev_sync(*ret_file), 0);
	assert_int_equal(dev_sync_dir(d, ""), 0);
	write_at(*ret_file, 'n', 4096, 0);
}

static void test_unsynced_writes_are_kept_lost_or_torn(void **state)
{
	unsigned kept = 0, lost = 0, torn = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct dev *d = new_disk(seed);
		struct dev_file *f;
		char data[4096];
		unsigned news = 0;
		size_t got;

		write_two(d, &f);
		dev_close(f);
		sim_disks_settle();
		assert_int_equal(dev_open(d, "a", DEV_RDONLY, &f), 0);
		assert_int_equal(dev_read(f, data, sizeof(data), 0, 0, &got), 0);
		assert_int_equal(got, sizeof(data));
		for (unsigned i = 0; i < sizeof(data); i++) {
			assert_true(data[i] == 'o' || data[i] == 'n');
			assert_int_equal(data[i], data[i / 512 * 512]);
			news += data[i] == 'n';
		}
		kept += news == sizeof(data);
		lost += news == 0;
		torn += news != 0 && news != sizeof(data);
		dev_close(f);
		dev_free(d);
	}
	assert_true(kept > 20 && lost > 20 && torn > 5);
}

static void test_names_need_a_directory_sync(void **state)
{
	unsigned there = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct dev *d = new_disk(seed);
		struct dev_file *f;
		int first, second;

		assert_int_equal(dev_open(d, "a", DEV_CREATE, &f), 0);
		write_at(f, 'x', 10, 0);
		assert_int_equal(dev_sync(f), 0);
		dev_close(f);
		assert_int_equal(dev_open(d, "b", DEV_CREATE, &f), 0);
		dev_close(f);
		sim_disks_settle();
		first = dev_open(d, "a", DEV_RDONLY, &f);
		if (!first)
			dev_close(f);
		second = dev_open(d, "b", DEV_RDONLY, &f);
		if (!second)
			dev_close(f);
		/* A prefix of the changes survives. */
		assert_true(!(first && !second));
		there += !first;
		dev_free(d);
	}
	assert_in_range(there, 10, 90);
}

static void test_replace_is_whole_and_durable(void **state)
{
	struct dev *d = new_disk(7);
	uint8_t *data = NULL;
	size_t len;

	(void)state;
	assert_int_equal(dev_replace(d, "x.json", "one", 3), 0);
	assert_int_equal(dev_replace(d, "x.json", "second", 6), 0);
	sim_disks_settle();
	assert_int_equal(dev_read_all(d, "x.json", 100, &data, &len), 0);
	assert_int_equal(len, 6);
	assert_memory_equal(data, "second", 6);
	free(data);
	dev_free(d);
}

static void test_faults(void **state)
{
	struct dev *d = new_disk(8);
	struct sim_fault gone = {.gone = true}, bad_sync = {.sync_error_one_in = 1}, none = {0};
	struct dev_space space;
	struct dev_file *f;
	FREE char *big = xcalloc(1, MIB(1) + 1);

	(void)state;
	write_two(d, &f);
	sim_disk_set_fault(disk, &bad_sync);
	assert_int_equal(dev_sync(f), DFS_EIO);
	sim_disk_set_fault(disk, &gone);
	assert_int_equal(dev_probe(d), DFS_EGONE);
	assert_int_equal(dev_write(f, "x", 1, 0), DFS_EGONE);
	sim_disk_set_fault(disk, &none);
	assert_int_equal(dev_write(f, big, MIB(1) + 1, 0), DFS_ENOSPC);
	assert_int_equal(dev_write(f, big, KIB(64), 0), 0);
	assert_int_equal(dev_space(d, &space), 0);
	assert_int_equal(space.free_bytes, MIB(1) - KIB(64));
	assert_int_equal(dev_punch(f, 0, KIB(64)), 0);
	assert_int_equal(dev_space(d, &space), 0);
	assert_int_equal(space.free_bytes, MIB(1));
	dev_close(f);
	dev_free(d);
}

/* On a filesystem that writes elsewhere what is overwritten a full disk takes what is made to be overwritten
 * in place: the ring of roots is, for without a root on any member the pool fails. */
static void test_full_disks_that_copy_on_write(void **state)
{
	struct sim_disk_config cfg = {
		.name = "d0", .fs_id = 1, .total_bytes = MIB(64), .copies_on_write = true};
	struct meta_disk known = {.id = {1}, .uuid = {{9}}};
	struct meta_config meta = {
		.pool = {{1, 2, 3}}, .disks = &known, .disk_count = 1, .copies = 1};
	struct root root;
	struct dev_file *plain;
	struct sim_disk *disk;
	struct dev *d;

	(void)state;
	sim_env_start(1, 2);
	sim_disks_start(1);
	disk = sim_disk_new(&cfg);
	d = sim_disk_open(disk);
	known.dev = d;
	assert_int_equal(meta_format(&meta), 0);
	assert_int_equal(meta_read_root(d, &root, NULL), 0);
	assert_int_equal(dev_open(d, "plain", DEV_CREATE, &plain), 0);
	assert_int_equal(dev_write(plain, "a", 1, 0), 0);
	sim_disk_set_fault(disk, &(struct sim_fault){.full = true});
	assert_int_equal(dev_write(plain, "b", 1, 0), DFS_ENOSPC);
	root.generation++;
	assert_int_equal(roots_write(d, &root), 0);
	dev_close(plain);
	dev_free(d);
	sim_env_stop();
}

static void test_images_bring_the_past_back(void **state)
{
	struct dev *d = new_disk(9);
	struct sim_image *image;
	uint8_t *data = NULL;
	size_t len;

	(void)state;
	assert_int_equal(dev_replace(d, "x.json", "one", 3), 0);
	image = sim_disk_image(disk);
	assert_int_equal(dev_replace(d, "x.json", "two", 3), 0);
	sim_disk_restore(disk, image);
	assert_int_equal(dev_read_all(d, "x.json", 100, &data, &len), 0);
	assert_memory_equal(data, "one", 3);
	sim_image_free(image);
	free(data);
	dev_free(d);
}

/* ---- model ---- */

static void write_model(struct mnode *n, uint64_t off, uint64_t len, uint64_t seed)
{
	struct mdata_op op = {.kind = MDATA_WRITE, .off = off, .len = len, .seed = seed};

	model_data(n, &op);
}

static void test_bytes_have_had_their_value(void **state)
{
	struct model *m = model_new(0, 2, S_IFDIR | 0755);
	struct mnode *n = model_new_node(m, S_IFREG | 0644);
	uint8_t first[300], second[300], mixed[300];
	char text[200];

	(void)state;
	model_fill(1, 0, first, sizeof(first));
	model_fill(2, 0, second, sizeof(second));
	write_model(n, 0, 200, 1);
	model_data_floor(n, model_data_mark(n));
	write_model(n, 100, 200, 2);
	memcpy(mixed, first, 150);
	memcpy(mixed + 150, second + 150, 150);
	assert_true(model_data_check(n, first, 200, text, sizeof(text)));
	assert_true(model_data_check(n, mixed, 300, text, sizeof(text)));
	assert_true(model_data_check(n, mixed, 250, text, sizeof(text)));
	/* Too short, too long, a byte of its own, and after the sync the old one. */
	assert_false(model_data_check(n, first, 199, text, sizeof(text)));
	assert_false(model_data_check(n, mixed, 301, text, sizeof(text)));
	mixed[10] ^= 1;
	assert_false(model_data_check(n, mixed, 300, text, sizeof(text)));
	mixed[10] ^= 1;
	model_data_floor(n, model_data_mark(n));
	assert_false(model_data_check(n, mixed, 300, text, sizeof(text)));
	memcpy(mixed + 100, second + 100, 50);
	assert_true(model_data_check(n, mixed, 300, text, sizeof(text)));
}

/* What is later than a truncation or a zeroing proves that it has happened. */
static void test_bytes_and_size_agree(void **state)
{
	struct model *m = model_new(0, 2, S_IFDIR | 0755);
	struct mnode *n = model_new_node(m, S_IFREG | 0644);
	struct mdata_op cut = {.kind = MDATA_SIZE, .off = 0};
	struct mdata_op zero = {.kind = MDATA_ZERO, .off = 50, .len = 20};
	uint8_t old[200], found[200];
	char text[200];

	(void)state;
	model_fill(1, 0, old, sizeof(old));
	write_model(n, 0, 200, 1);
	model_data_floor(n, model_data_mark(n));
	model_data(n, &cut);
	write_model(n, 0, 10, 2);
	write_model(n, 10, 10, 1);
	/* As before, or cut off, or with new bytes. */
	assert_true(model_data_check(n, old, 200, text, sizeof(text)));
	assert_true(model_data_check(n, old, 0, text, sizeof(text)));
	model_fill(2, 0, found, 10);
	assert_true(model_data_check(n, found, 10, text, sizeof(text)));
	/* New bytes before the old ones and the old size; a hole that nobody made. */
	memcpy(found + 10, old + 10, 190);
	assert_false(model_data_check(n, found, 200, text, sizeof(text)));
	assert_false(model_data_check(n, found, 21, text, sizeof(text)));
	assert_true(model_data_check(n, found, 20, text, sizeof(text)));

	model_data_reset(n, old, 200);
	model_data(n, &zero);
	write_model(n, 100, 10, 2);
	memcpy(found, old, 200);
	assert_true(model_data_check(n, found, 200, text, sizeof(text)));
	model_fill(2, 100, found + 100, 10);
	assert_false(model_data_check(n, found, 200, text, sizeof(text)));
	memset(found + 50, 0, 20);
	assert_true(model_data_check(n, found, 200, text, sizeof(text)));
}

static void make_file(struct model *m, const char *name, uint64_t ino)
{
	struct mnode *n;

	model_begin(m, "create %s", name);
	n = model_new_node(m, S_IFREG | 0644);
	model_add_entry(m, m->root, name, n);
	model_attr(m, n);
	n->nlink = 1;
	model_attr_done(m, n);
	model_pending(m);
	model_set_ino(m, n, ino);
	model_acked(m);
}

static void test_names_are_those_of_a_prefix(void **state)
{
	struct model *m = model_new(0, 2, S_IFDIR | 0755);
	uint64_t hashes[3];
	unsigned least, most;

	(void)state;
	hashes[0] = m->hash;
	make_file(m, "a", 10);
	hashes[1] = m->hash;
	make_file(m, "b", 11);
	hashes[2] = m->hash;
	for (unsigned i = 0; i < 3; i++) {
		assert_true(model_match(m, hashes[i], &least, &most));
		assert_int_equal(least, i);
		assert_int_equal(most, i);
	}
	/* "b" without "a" never was. */
	assert_false(model_match(m, hashes[0] ^ hashes[1] ^ hashes[2], &least, &most));
	model_floor(m, 2);
	assert_false(model_match(m, hashes[0], &least, &most));
	model_rewind(m, 1);
	assert_true(m->hash == hashes[1]);
	assert_non_null(model_find(m->root, "a"));
	assert_null(model_find(m->root, "b"));
}

/* The simulator leaves memory to the end of its process, one for each seed: LeakSanitizer asks here. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return 1; }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locks_exclude_and_seeds_repeat),
		cmocka_unit_test(test_the_clock_jumps),
		cmocka_unit_test(test_deadlocks_are_told),
		cmocka_unit_test(test_a_cut_ends_the_world),
		cmocka_unit_test(test_unsynced_writes_are_kept_lost_or_torn),
		cmocka_unit_test(test_names_need_a_directory_sync),
		cmocka_unit_test(test_replace_is_whole_and_durable),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_full_disks_that_copy_on_write),
		cmocka_unit_test(test_images_bring_the_past_back),
		cmocka_unit_test(test_bytes_have_had_their_value),
		cmocka_unit_test(test_bytes_and_size_agree),
		cmocka_unit_test(test_names_are_those_of_a_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
