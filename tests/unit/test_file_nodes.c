/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inodes in memory (docs/DESIGN.md N1..N5): the cache holds no more than it may, what must stay stays, what is made again
 * equals what was dropped, what the kernel knows is counted, numbers never come twice.
 */
#include <dlfcn.h>
#include <sched.h>
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
#define NAMES 8u

/* ---- the table of what the kernel knows, against a plain array ---- */
#define MODEL 5000u

static uint64_t next_random(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

static uint64_t table_bytes(const struct known *k)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < KNOWN_PARTS; i++)
		n += k->parts[i].cap * sizeof(struct known_entry);
	return n;
}

static void expect_known(struct known *k, const uint64_t *lookups)
{
	uint64_t count = 0;

	for (uint64_t i = 1; i < MODEL; i++) {
		count += lookups[i] > 0;
		assert_int_equal(known_has(k, (ino_id){i}), lookups[i] > 0);
	}
	assert_int_equal(k->count, count);
}

static void test_known(void **state)
{
	struct known k = {0};
	uint64_t *lookups = calloc(MODEL, sizeof(*lookups)), rng = 5;

	(void)state;
	assert_false(known_has(&k, (ino_id){7}));
	assert_false(known_drop(&k, (ino_id){7}, 1));
	for (unsigned phase = 0; phase < 6; phase++) {
		/* more come than go, and the other way round */
		unsigned adds = phase % 2 ? 1 : 3;

		for (unsigned i = 0; i < 60000; i++) {
			ino_id ino = {1 + next_random(&rng) % (MODEL - 1)};

			if (next_random(&rng) % 4 < adds) {
				known_add(&k, ino);
				lookups[ino.v]++;
			} else {
				uint64_t n = 1 + next_random(&rng) % 3;

				n = MIN(n, lookups[ino.v]);
				lookups[ino.v] -= n;
				assert_int_equal(known_drop(&k, ino, n), lookups[ino.v] > 0);
			}
		}
		expect_known(&k, lookups);
	}
	for (uint64_t i = 1; i < MODEL; i++)
		(void)known_drop(&k, (ino_id){i}, UINT64_MAX);
	assert_int_equal(k.count, 0);
	assert_true(table_bytes(&k) <= KNOWN_PARTS * 16 * sizeof(struct known_entry));
	known_release(&k);
	free(lookups);
}

/* P9: what it takes for each inode. */
static void test_known_bytes(void **state)
{
	const uint64_t many = 1000000;
	struct known k = {0};

	(void)state;
	for (uint64_t i = 1; i <= many; i++) {
		known_add(&k, (ino_id){i});
		known_add(&k, (ino_id){i});
		if (i > 10000 && i % 997 == 0)
			assert_true(table_bytes(&k) <= i * 32);
	}
	print_message("%.1f bytes for each of %llu inodes\n",
		      (double)table_bytes(&k) / (double)many, (unsigned long long)many);
	for (uint64_t i = many; i; i--)
		assert_false(known_drop(&k, (ino_id){i}, 2));
	assert_true(table_bytes(&k) <= KNOWN_PARTS * 16 * sizeof(struct known_entry));
	known_release(&k);
}

/* ---- the cache ---- */
static struct inode *cached(struct fs *fs, ino_id ino)
{
	struct inode *in;

	ENV_LOCKED(&fs->table_lock);
	HASH_FIND(hh, fs->inodes, &ino.v, sizeof(ino.v), in);
	return in;
}

static struct fs_stats stats(struct file_rig *r)
{
	struct fs_stats s;

	fs_stats(r->fs, &s);
	return s;
}

/* Until nothing but the root is referred to: what was written is stored. */
static void wait_unused(struct file_rig *r, uint64_t in_use)
{
	assert_int_equal(fs_sync_all(r->fs), 0);
	for (unsigned i = 0; stats(r).inodes_in_use > in_use; i++) {
		assert_true(i < 5000);
		env_sleep_ms(1);
	}
}

/* The kernel looks a name up: it learns the number, and nobody keeps a reference. */
static ino_id know(struct file_rig *r, struct inode *dir, const char *name)
{
	struct inode *in = rig_lookup(r, dir, name);
	ino_id ino = in->ino;

	fs_kernel_knows(r->fs, in);
	fs_forget(r->fs, in, 1);
	return ino;
}

/* N3: however many are made, written, known. */
static void test_bound(void **state)
{
	struct fs_config cfg = {.inode_cache_count = 10};
	struct file_rig *r = file_rig_new(&cfg, 0);
	char name[24];

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		struct inode *in;

		snprintf(name, sizeof(name), "f%u", i);
		in = rig_create(r, r->root, name);
		rig_write(r, in, 0, name, strlen(name));
		fs_kernel_knows(r->fs, in);
		fs_forget(r->fs, in, 1);
		assert_true(stats(r).inodes_cached <= stats(r).inodes_in_use + 10);
	}
	wait_unused(r, 1);
	assert_true(stats(r).inodes_cached <= 11);
	assert_int_equal(stats(r).inodes_known, 300);
	for (unsigned i = 0; i < 300; i++) {
		ino_id ino;

		snprintf(name, sizeof(name), "f%u", i);
		ino = know(r, r->root, name);
		assert_true(stats(r).inodes_cached <= 11);
		fs_kernel_forgot(r->fs, ino, 1);
		fs_kernel_forgot(r->fs, ino, 1);
	}
	assert_int_equal(stats(r).inodes_known, 0);
	file_rig_free(r);
}

static void expect_time(struct dfs_time got, struct dfs_time want)
{
	assert_int_equal(got.sec, want.sec);
	assert_int_equal(got.nsec, want.nsec);
}

static void expect_attr(const struct fs_attr *got, const struct fs_attr *want)
{
	assert_int_equal(got->ino.v, want->ino.v);
	assert_int_equal(got->mode, want->mode);
	assert_int_equal(got->nlink, want->nlink);
	assert_int_equal(got->uid, want->uid);
	assert_int_equal(got->gid, want->gid);
	assert_int_equal(got->rdev, want->rdev);
	assert_int_equal(got->size, want->size);
	assert_int_equal(got->blocks_512, want->blocks_512);
	assert_int_equal(got->generation, want->generation);
	expect_time(got->atime, want->atime);
	expect_time(got->mtime, want->mtime);
	expect_time(got->ctime, want->ctime);
	expect_time(got->btime, want->btime);
}

/* N4 */
static void test_made_again(void **state)
{
	struct fs_config cfg = {.inode_cache_count = 1};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f"), *again;
	struct fs_attr set = {.mode = 06751,
			      .uid = 7,
			      .gid = 8,
			      .atime = {1, 2},
			      .mtime = {-3, 4},
			      .ctime = {5, 6}};
	struct fs_attr before, after;
	uint8_t data[10000];
	ino_id ino = in->ino;
	BUF value = {0};

	(void)state;
	memset(data, 'x', sizeof(data));
	assert_int_equal(fs_setxattr(r->fs, in, "user.a", "b", 1, 0), 0);
	rig_write(r, in, 0, data, sizeof(data));
	assert_int_equal(fs_setattr(r->fs, in, &set,
				    FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_ATIME |
					    FS_SET_MTIME | FS_SET_CTIME,
				    &before),
			 0);
	fs_kernel_knows(r->fs, in);
	fs_forget(r->fs, in, 1);
	wait_unused(r, 1);
	fs_forget(r->fs, rig_create(r, r->root, "other"), 1);
	assert_null(cached(r->fs, ino));
	assert_int_equal(fs_inode_get(r->fs, ino, &again), 0);
	after = rig_attr(r, again);
	expect_attr(&after, &before);
	rig_expect(r, again, data, sizeof(data));
	assert_int_equal(fs_getxattr(r->fs, again, "user.a", &value), 0);
	assert_int_equal(value.len, 1);
	fs_forget(r->fs, again, 1);
	fs_kernel_forgot(r->fs, ino, 1);
	file_rig_free(r);
}

/* N3: no name, no handle, but somebody stands in it, or has it open with O_PATH. */
static void test_gone_and_known(void **state)
{
	struct fs_config cfg = {.inode_cache_count = 1};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in;
	ino_id file, dir;
	unsigned round;

	(void)state;
	fs_forget(r->fs, rig_create(r, r->root, "f"), 1);
	fs_forget(r->fs, rig_mkdir(r, r->root, "d"), 1);
	file = know(r, r->root, "f");
	assert_int_equal(know(r, r->root, "f").v, file.v);
	dir = know(r, r->root, "d");
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	assert_int_equal(fs_rmdir(r->fs, r->root, "d"), 0);
	for (round = 0; round < 4; round++)
		fs_forget(r->fs, rig_create(r, r->root, &"abcd"[round]), 1);
	assert_int_equal(fs_inode_get(r->fs, file, &in), 0);
	assert_int_equal(rig_attr(r, in).nlink, 0);
	assert_int_equal(fs_handle_get(in), DFS_ENOENT); /* its content is freed (F7) */
	fs_handle_put(r->fs, in);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_inode_get(r->fs, dir, &in), 0);
	assert_int_equal(rig_exists(r, in, "x"), DFS_ENOENT);
	assert_int_equal(rig_exists(r, in, "."), DFS_ENOENT);
	assert_int_equal(rig_exists(r, in, ".."), DFS_ENOENT);
	fs_forget(r->fs, in, 1);
	fs_kernel_forgot(r->fs, file, 1);
	assert_non_null(cached(r->fs, file));
	fs_kernel_forgot(r->fs, file, 1);
	assert_null(cached(r->fs, file));
	assert_int_equal(fs_inode_get(r->fs, file, &in), DFS_ENOENT);
	fs_kernel_forgot(r->fs, dir, 1);
	assert_null(cached(r->fs, dir));
	assert_int_equal(stats(r).inodes_known, 0);
	file_rig_free(r);
}

/* Deleted while it is open: the content stays until the last handle goes, whether the kernel knows it longer or not. */
static void gone_and_open(struct file_rig *r, bool known_longer)
{
	struct inode *in = rig_create(r, r->root, "open"), *found;
	ino_id ino = in->ino;

	rig_write(r, in, 0, "content", 7);
	fs_kernel_knows(r->fs, in);
	assert_int_equal(fs_handle_get(in), 0);
	fs_forget(r->fs, in, 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "open"), 0);
	if (!known_longer)
		fs_kernel_forgot(r->fs, ino, 1);
	fs_forget(r->fs, rig_create(r, r->root, "a"), 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "a"), 0);
	assert_ptr_equal(cached(r->fs, ino), in);
	rig_expect(r, in, "content", 7);
	rig_write(r, in, 7, " and more", 9);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, "content and more", 16);
	fs_handle_put(r->fs, in);
	reap_wait(r->fs);
	if (known_longer) {
		assert_ptr_equal(cached(r->fs, ino), in);
		assert_int_equal(rig_attr(r, in).nlink, 0);
		fs_kernel_forgot(r->fs, ino, 1);
	}
	for (unsigned i = 0; fs_inode_get(r->fs, ino, &found) == 0; i++) {
		fs_forget(r->fs, found, 1);
		assert_true(i < 1000); /* the reaper may be about to give it back */
		env_sleep_ms(1);
	}
}

static void test_gone_and_open(void **state)
{
	struct fs_config cfg = {.inode_cache_count = 1};
	struct file_rig *r = file_rig_new(&cfg, 0);

	(void)state;
	gone_and_open(r, false);
	gone_and_open(r, true);
	file_rig_free(r);
}

static void test_dots(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *d = rig_mkdir(r, r->root, "d"), *e = rig_mkdir(r, d, "e");
	struct inode *f = rig_create(r, e, "f"), *found;
	struct fs_attr attr;

	(void)state;
	found = rig_lookup(r, f, ".");
	assert_ptr_equal(found, f);
	fs_forget(r->fs, found, 1);
	assert_int_equal(fs_lookup(r->fs, f, "..", &found, &attr), DFS_ENOTDIR);
	found = rig_lookup(r, e, "..");
	assert_ptr_equal(found, d);
	fs_forget(r->fs, found, 1);
	assert_int_equal(fs_rename(r->fs, d, "e", r->root, "e2", 0), 0);
	found = rig_lookup(r, e, "..");
	assert_ptr_equal(found, r->root);
	fs_forget(r->fs, found, 1);
	found = rig_lookup(r, r->root, "..");
	assert_ptr_equal(found, r->root);
	fs_forget(r->fs, found, 1);
	fs_forget(r->fs, d, 1);
	fs_forget(r->fs, e, 1);
	fs_forget(r->fs, f, 1);
	file_rig_free(r);
}

/* N1: the greatest number is free again, and yet is not given out. */
static void test_numbers(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	uint64_t last = 0;

	(void)state;
	for (unsigned round = 0; round < 6; round++) {
		struct inode *in = rig_create(r, r->root, "f");

		assert_true(in->ino.v > last);
		last = in->ino.v;
		fs_forget(r->fs, in, 1);
		assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
		assert_int_equal(fs_sync_all(r->fs), 0);
		if (round % 2)
			file_rig_reopen(r);
		else
			file_rig_crash(r);
	}
	for (unsigned i = 0; i < 10000; i++) { /* more than are reserved at a time */
		struct inode *in = rig_create(r, r->root, "f");

		assert_true(in->ino.v > last);
		last = in->ino.v;
		fs_forget(r->fs, in, 1);
		assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	}
	assert_true(r->fs->ino_mark > last && r->fs->ino_mark <= last + 5000);
	file_rig_free(r);
}

/* ---- all at once ---- */
struct job {
	struct file_rig *r;
	uint64_t rng;
	unsigned rounds;
	bool failed;
	uint64_t known[64]; /* numbers that this thread's kernel knows, each by one look-up */
	unsigned known_count;
};

static void check(struct job *j, bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	j->failed = true;
}

static void forget_one(struct job *j)
{
	unsigned i;

	if (!j->known_count)
		return;
	i = (unsigned)(next_random(&j->rng) % j->known_count);
	fs_kernel_forgot(j->r->fs, (ino_id){j->known[i]}, 1);
	j->known[i] = j->known[--j->known_count];
}

static void look(struct job *j, const char *name)
{
	struct fs_attr attr;
	struct inode *in;
	int rc = fs_lookup(j->r->fs, j->r->root, name, &in, &attr);

	check(j, rc == 0 || rc == DFS_ENOENT, "look-up failed");
	if (rc)
		return;
	fs_kernel_knows(j->r->fs, in);
	fs_forget(j->r->fs, in, 1);
	j->known[j->known_count++] = attr.ino.v;
	if (j->known_count == ARRAY_SIZE(j->known))
		forget_one(j);
}

/* Whatever the kernel knows, it may name. */
static void use_known(struct job *j)
{
	struct fs_attr attr;
	struct inode *in;
	ino_id ino;
	int rc;

	if (!j->known_count)
		return;
	ino.v = j->known[next_random(&j->rng) % j->known_count];
	rc = fs_inode_get(j->r->fs, ino, &in);
	check(j, rc == 0, "what the kernel knows is not there");
	if (rc)
		return;
	check(j, fs_getattr(j->r->fs, in, &attr) == 0 && attr.ino.v == ino.v, "no attributes");
	if (fs_handle_get(in) == 0) {
		size_t len;
		char c;

		rc = fs_write(j->r->fs, in, 0, 1, "x", false);
		check(j, rc == 0 || rc == DFS_ENOENT, "write failed");
		rc = fs_read(j->r->fs, in, 0, 1, &c, &len);
		check(j, rc == 0 || rc == DFS_ENOENT, "read failed");
	}
	fs_handle_put(j->r->fs, in);
	fs_forget(j->r->fs, in, 1);
}

static void storm(void *arg)
{
	struct job *j = arg;
	struct fs_cred cred = {.uid = 0};
	struct fs_attr attr;
	struct inode *in;

	for (unsigned i = 0; i < j->rounds && !j->failed; i++) {
		char name[24], to[24];
		int rc = 0;

		snprintf(name, sizeof(name), "n%u", (unsigned)(next_random(&j->rng) % NAMES));
		snprintf(to, sizeof(to), "n%u", (unsigned)(next_random(&j->rng) % NAMES));
		switch (next_random(&j->rng) % 8) {
		case 0:
			rc = fs_mknod(j->r->fs, j->r->root, name, S_IFREG | 0644, 0, cred, &in,
				      &attr);
			if (rc == 0)
				fs_forget(j->r->fs, in, 1);
			check(j, rc == 0 || rc == DFS_EEXIST, "create failed");
			break;
		case 1:
			rc = fs_unlink(j->r->fs, j->r->root, name);
			check(j, rc == 0 || rc == DFS_ENOENT, "unlink failed");
			break;
		case 2:
			rc = fs_rename(j->r->fs, j->r->root, name, j->r->root, to, 0);
			check(j, rc == 0 || rc == DFS_ENOENT, "rename failed");
			break;
		case 3:
		case 4:
			look(j, name);
			break;
		case 5:
			forget_one(j);
			break;
		default:
			use_known(j);
		}
	}
	while (j->known_count)
		forget_one(j);
}

static void test_storm(void **state)
{
	const char *steps = getenv("STEPS");
	struct fs_config cfg = {.inode_cache_count = 2, .flush_interval_ms = 20};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct env_thread *t[THREADS];
	struct job jobs[THREADS];
	struct inode *in;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		jobs[i] = (struct job){
			.r = r, .rng = 31 + i, .rounds = steps ? (unsigned)atoi(steps) : 3000};
		t[i] = env_thread_start("test", storm, &jobs[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		env_thread_join(t[i]);
	for (unsigned i = 0; i < THREADS; i++)
		assert_false(jobs[i].failed);
	assert_int_equal(stats(r).inodes_known, 0);
	wait_unused(r, 1);
	assert_true(stats(r).inodes_cached <= 3);
	assert_int_equal(fs_inode_get(r->fs, r->root->ino, &in), 0);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* N2: two that miss it at the same moment get the same one. What an inode is made of is made slowly, so that they do. */
static bool slowly;

int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	int (*real)(pthread_mutex_t *, const pthread_mutexattr_t *);

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_mutex_init");
	if (__atomic_load_n(&slowly, __ATOMIC_RELAXED))
		env_sleep_ms(1);
	return real(m, attr);
}

struct pair {
	struct file_rig *r;
	ino_id ino;
	struct inode *got[2];
	unsigned ready; /* atomic */
	unsigned rounds, twice;
};
struct half {
	struct pair *p;
	unsigned id;
};

static void meet(struct pair *p, unsigned times)
{
	__atomic_add_fetch(&p->ready, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&p->ready, __ATOMIC_SEQ_CST) < 2 * times)
		sched_yield();
}

static void load_together(void *arg)
{
	struct half *h = arg;
	struct pair *p = h->p;
	unsigned times = 0;

	for (unsigned i = 0; i < p->rounds; i++) {
		meet(p, ++times);
		if (fs_inode_get(p->r->fs, p->ino, &p->got[h->id]))
			p->got[h->id] = NULL;
		meet(p, ++times);
		if (h->id == 0)
			p->twice += !p->got[0] || p->got[0] != p->got[1];
		meet(p, ++times);
		fs_forget(p->r->fs, p->got[h->id], 1);
		meet(p, ++times);
		if (h->id == 0) /* pushes it out */
			fs_forget(p->r->fs, rig_lookup(p->r, p->r->root, "other"), 1);
	}
}

static void test_loaded_once(void **state)
{
	struct fs_config cfg = {.inode_cache_count = 1};
	struct file_rig *r = file_rig_new(&cfg, 0);
	struct inode *in = rig_create(r, r->root, "f");
	struct pair p = {.r = r, .ino = in->ino, .rounds = 50};
	struct half halves[] = {{&p, 0}, {&p, 1}};
	struct env_thread *t[2];

	(void)state;
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, rig_create(r, r->root, "other"), 1);
	__atomic_store_n(&slowly, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 2; i++)
		t[i] = env_thread_start("test", load_together, &halves[i]);
	for (unsigned i = 0; i < 2; i++)
		env_thread_join(t[i]);
	__atomic_store_n(&slowly, false, __ATOMIC_RELAXED);
	assert_int_equal(p.twice, 0);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),	       cmocka_unit_test(test_known_bytes),
		cmocka_unit_test(test_bound),	       cmocka_unit_test(test_made_again),
		cmocka_unit_test(test_gone_and_known), cmocka_unit_test(test_gone_and_open),
		cmocka_unit_test(test_dots),	       cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_storm),	       cmocka_unit_test(test_loaded_once),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
