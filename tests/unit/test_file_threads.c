/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many threads at once: writers of one file and of their own, with syncs, truncations, renames and
 * removals beside them. What must hold whatever the order: bytes of one writer's region are its last
 * ones, a name that is only ever replaced is always there and whole, counters agree (fsck).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

#define THREADS 6u
#define REGION KIB(700) /* not aligned with slots: writers share them */

struct job {
	struct file_rig *r;
	struct inode *shared;
	unsigned id, rounds;
	uint64_t rng;
	uint8_t *model; /* REGION bytes of the shared file */
	bool failed;
};

static uint64_t next_random(struct job *j)
{
	j->rng ^= j->rng << 13;
	j->rng ^= j->rng >> 7;
	j->rng ^= j->rng << 17;
	return j->rng;
}

/* cmocka's asserts are for the main thread only. */
static void check(struct job *j, bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "thread %u: %s\n", j->id, what);
	j->failed = true;
}

static void shared_round(struct job *j)
{
	uint64_t off = next_random(j) % REGION;
	size_t len = 1 + next_random(j) % (next_random(j) % 2 ? KIB(300) : 5000), got;
	uint64_t base = j->id * REGION;
	uint8_t *buf;

	len = MIN(len, REGION - off);
	memset(j->model + off, (int)(next_random(j) & 0xff), len);
	check(j, fs_write(j->r->fs, j->shared, base + off, len, j->model + off, false) == 0,
	      "write failed");
	if (next_random(j) % 8 == 0)
		check(j, fs_fsync(j->r->fs, j->shared, false) == 0, "fsync failed");
	if (next_random(j) % 4)
		return;
	buf = malloc(REGION);
	check(j, fs_read(j->r->fs, j->shared, base, REGION, buf, &got) == 0, "read failed");
	check(j, memcmp(buf, j->model, got) == 0, "another's bytes, or old ones");
	free(buf);
}

static void shared_main(void *arg)
{
	struct job *j = arg;

	for (unsigned i = 0; i < j->rounds && !j->failed; i++)
		shared_round(j);
}

static void run_threads(struct job *jobs, unsigned count, env_thread_fn fn)
{
	struct env_thread *t[THREADS];

	for (unsigned i = 0; i < count; i++)
		t[i] = env_thread_start("test", fn, &jobs[i]);
	for (unsigned i = 0; i < count; i++)
		env_thread_join(t[i]);
	for (unsigned i = 0; i < count; i++)
		assert_false(jobs[i].failed);
}

static unsigned rounds(unsigned otherwise)
{
	const char *text = getenv("STEPS");

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void test_one_file(void **state)
{
	struct fs_config cfg = {.dirty_limit_bytes = MIB(6), .flush_interval_ms = 10};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "shared");
	struct job jobs[THREADS];
	uint8_t *all = calloc(1, THREADS * REGION);

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		jobs[i] = (struct job){.r = r,
				       .shared = in,
				       .id = i,
				       .rounds = rounds(150),
				       .rng = 77 + i,
				       .model = all + i * REGION};
	rig_truncate(r, in, THREADS * REGION);
	run_threads(jobs, THREADS, shared_main);
	rig_expect(r, in, all, THREADS * REGION);
	fs_forget(r->fs, in, 1);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "shared");
	rig_expect(r, in, all, THREADS * REGION);
	fs_forget(r->fs, in, 1);
	free(all);
	file_rig_free(r);
}

/* Replaces its file by rename, again and again: the name is always there with whole content. */
static void replace_round(struct job *j, unsigned round)
{
	struct fs *fs = j->r->fs;
	struct fs_cred cred = {0};
	struct fs_attr attr;
	struct inode *in;
	char tmp[16], name[16];
	uint8_t buf[20000], got[20001];
	size_t len = 1 + next_random(j) % sizeof(buf), got_len;

	snprintf(tmp, sizeof(tmp), "tmp%u", j->id);
	snprintf(name, sizeof(name), "name%u", j->id % 2);
	memset(buf, (int)('a' + round % 26), len);
	if (fs_mknod(fs, j->shared, tmp, S_IFREG | 0600, 0, cred, &in, &attr)) {
		check(j, false, "create failed");
		return;
	}
	fs_handle_get(in);
	check(j, fs_write(fs, in, 0, len, buf, false) == 0, "write failed");
	check(j, fs_rename(fs, j->shared, tmp, j->shared, name, 0) == 0, "rename failed");
	fs_handle_put(fs, in);
	fs_forget(fs, in, 1);
	if (fs_lookup(fs, j->shared, name, &in, &attr)) {
		check(j, false, "the name is gone");
		return;
	}
	fs_handle_get(in);
	if (fs_read(fs, in, 0, sizeof(got), got, &got_len) == 0) {
		check(j, got_len > 0, "empty content");
		for (size_t i = 1; i < got_len; i++)
			check(j, got[i] == got[0], "mixed content");
	}
	fs_handle_put(fs, in);
	fs_forget(fs, in, 1);
}

static int ignore_entry(void *ctx, const struct fs_dirent *e)
{
	struct job *j = ctx;

	check(j, !e->inode || fs_inode_ino(e->inode).v == e->ino.v, "another's inode");
	return 0;
}

/* Makes, moves between two directories and removes; lists meanwhile. */
static void churn_round(struct job *j, unsigned round, struct inode *other)
{
	struct fs *fs = j->r->fs;
	struct fs_cred cred = {0};
	struct fs_attr attr = {.size = 0};
	struct inode *in;
	char name[24];

	snprintf(name, sizeof(name), "c%u-%u", j->id, round % 5);
	if (round % 3 == 0) {
		if (fs_mkdir(fs, j->shared, name, 0755, cred, &in, &attr) == 0)
			fs_forget(fs, in, 1);
	} else if (fs_mknod(fs, j->shared, name, S_IFREG | 0600, 0, cred, &in, &attr) == 0) {
		check(j, fs_write(fs, in, next_random(j) % 9000, 9, "some text", true) == 0,
		      "append failed");
		attr.size = next_random(j) % 5;
		check(j, fs_setattr(fs, in, &attr, FS_SET_SIZE, &attr) == 0, "truncate failed");
		fs_forget(fs, in, 1);
	}
	(void)!fs_rename(fs, j->shared, name, other, name, round % 4 ? 0 : FS_RENAME_EXCHANGE);
	if (round % 7 == 0)
		check(j, fs_readdir(fs, j->shared, 0, true, ignore_entry, j) == 0, "list failed");
	if (round % 2) {
		(void)!fs_unlink(fs, other, name);
		(void)!fs_rmdir(fs, other, name);
		(void)!fs_unlink(fs, j->shared, name);
		(void)!fs_rmdir(fs, j->shared, name);
	}
	if (round % 50 == 0)
		check(j, fs_sync_all(fs) == 0, "sync failed");
}

static void names_main(void *arg)
{
	struct job *j = arg;
	struct inode *other;

	if (fs_resolve(j->r->fs, j->id % 2 ? "/d1" : "/d2", &other)) {
		check(j, false, "no directory");
		return;
	}
	for (unsigned i = 0; i < j->rounds && !j->failed; i++) {
		if (j->id < 3)
			replace_round(j, i);
		else
			churn_round(j, i, other);
	}
	fs_forget(j->r->fs, other, 1);
}

static void test_names(void **state)
{
	struct fs_config cfg = {.flush_interval_ms = 20, .inode_cache_count = 2};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *d1 = rig_mkdir(r, r->root, "d1"), *d2 = rig_mkdir(r, r->root, "d2");
	struct job jobs[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		jobs[i] = (struct job){.r = r,
				       .shared = i % 2 ? d2 : d1,
				       .id = i,
				       .rounds = rounds(300),
				       .rng = 99 + i};
	run_threads(jobs, THREADS, names_main);
	fs_forget(r->fs, d1, 1);
	fs_forget(r->fs, d2, 1);
	file_rig_free(r);
}

static void small_files_main(void *arg)
{
	struct job *j = arg;
	struct fs_cred cred = {0};
	uint8_t buf[8192];

	for (unsigned i = 0; i < j->rounds; i++) {
		struct fs_attr attr;
		struct inode *in;
		char name[24];

		snprintf(name, sizeof(name), "t%u-%u", j->id, i);
		memset(buf, (int)i, sizeof(buf));
		if (fs_mknod(j->r->fs, j->shared, name, S_IFREG | 0644, 0, cred, &in, &attr)) {
			check(j, false, "create failed");
			return;
		}
		check(j, fs_write(j->r->fs, in, 0, sizeof(buf), buf, false) == 0, "write failed");
		fs_forget(j->r->fs, in, 1);
	}
}

/* Thousands of small files: through the shared extent writes, and all there afterwards. */
static void test_small_files(void **state)
{
	struct fs_config cfg = {.dirty_limit_bytes = MIB(16)};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *dir = rig_mkdir(r, r->root, "d"), *in;
	struct job jobs[2];
	uint64_t start = env_now_ns();
	uint8_t want[8192];
	char name[24];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		jobs[i] = (struct job){.r = r, .shared = dir, .id = i, .rounds = rounds(1500)};
	run_threads(jobs, 2, small_files_main);
	assert_int_equal(fs_sync_all(r->fs), 0);
	print_message("%.0f files of 8 KiB a second\n",
		      2.0 * rounds(1500) / ((double)(env_now_ns() - start) / 1e9));
	fs_forget(r->fs, dir, 1);
	file_rig_reopen(r);
	dir = rig_lookup(r, r->root, "d");
	for (unsigned i = 0; i < rounds(1500); i++) {
		snprintf(name, sizeof(name), "t%u-%u", i % 2, i);
		memset(want, (int)i, sizeof(want));
		in = rig_lookup(r, dir, name);
		rig_expect(r, in, want, sizeof(want));
		fs_forget(r->fs, in, 1);
	}
	fs_forget(r->fs, dir, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_file),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_small_files),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
