/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index contract, the same for RocksDB and the in-memory one: random batches against a plain
 * model, snapshots, what a crash keeps (the last flush, whole), image and restore, damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "base/hash.h"
#include "base/le.h"
#include "meta/pending.h"
#include "unit/meta_rig.h"

#define KEYS 200u
#define IMAGES 150u

struct model {
	bool there[KEYS];
	unsigned value[KEYS];
};

struct fixture {
	const struct index_ops *ops;
	void *arg, *other_arg; /* the second is a place to restore into */
	struct index_mem_store *stores[2];
	char dir[128], index_dir[160], other_dir[160];
	bool rocks;
	struct index *x;
	unsigned seed;
};

static unsigned next_random(struct fixture *f)
{
	f->seed = f->seed * 1103515245u + 12345u;
	return f->seed >> 8;
}

static void begin(struct fixture *f, bool rocks)
{
	memset(f, 0, sizeof(*f));
	f->rocks = rocks;
	f->seed = 42;
	f->ops = rocks ? &index_rocks_ops : &index_mem_ops;
	strcpy(f->dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/dfs-index-XXXXXX"
						     : "/tmp/dfs-index-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->index_dir, sizeof(f->index_dir), "%s/one", f->dir);
	snprintf(f->other_dir, sizeof(f->other_dir), "%s/two", f->dir);
	for (unsigned i = 0; i < 2; i++)
		f->stores[i] = index_mem_store_new();
	f->arg = rocks ? (void *)f->index_dir : (void *)f->stores[0];
	f->other_arg = rocks ? (void *)f->other_dir : (void *)f->stores[1];
	assert_int_equal(f->ops->open(f->arg, KIB(64), &f->x), 0);
}

static void end(struct fixture *f)
{
	if (f->x)
		f->ops->close(f->x, false);
	for (unsigned i = 0; i < 2; i++)
		index_mem_store_free(f->stores[i]);
	rig_remove_tree(f->dir);
}

static size_t key_of(unsigned n, char key[16])
{
	return (size_t)snprintf(key, 16, "%c-%04u", "abc"[n % 3], n);
}

/* One batch of up to 8 changes, and on top of them a change of key 0 that must come in order. */
static void change(struct fixture *f, struct model *m)
{
	struct index_op ops[10];
	char keys[10][16];
	unsigned values[10], count = 1 + next_random(f) % 8, n;

	for (unsigned i = 0; i < count + 2; i++) {
		n = i < count ? next_random(f) % KEYS : 0;
		values[i] = next_random(f);
		ops[i].key = (const uint8_t *)keys[i];
		ops[i].key_len = key_of(n, keys[i]);
		ops[i].value = (const uint8_t *)&values[i];
		ops[i].value_len = sizeof(values[i]);
		m->there[n] = i >= count || next_random(f) % 3 != 0;
		m->value[n] = values[i];
		if (!m->there[n])
			ops[i].value = NULL;
	}
	assert_int_equal(f->ops->apply(f->x, ops, count + 2), 0);
}

static void compare(struct fixture *f, struct index *x, const struct model *m)
{
	struct index_iter *it = f->ops->iter_new(x);
	unsigned expected = 0, seen = 0, back = 0;
	BUF out = {0};

	for (unsigned n = 0; n < KEYS; n++) {
		char key[16];
		size_t len = key_of(n, key);
		int err = f->ops->get(x, key, len, &out);

		expected += m->there[n];
		assert_int_equal(err, m->there[n] ? 0 : DFS_ENOENT);
		if (err)
			continue;
		assert_int_equal(out.len, sizeof(m->value[n]));
		assert_memory_equal(out.data, &m->value[n], out.len);
	}
	for (f->ops->iter_seek(it, "", 0); f->ops->iter_valid(it); f->ops->iter_next(it))
		seen++;
	assert_int_equal(seen, expected);
	for (f->ops->iter_seek_back(it, "~", 1); f->ops->iter_valid(it); f->ops->iter_prev(it))
		back++;
	assert_int_equal(back, expected);
	assert_int_equal(f->ops->iter_error(it), 0);
	f->ops->iter_free(it);
}

static void reopen(struct fixture *f, bool persist)
{
	f->ops->close(f->x, persist);
	f->x = NULL;
	assert_int_equal(f->ops->open(f->arg, KIB(64), &f->x), 0);
}

static void test_random(void **state)
{
	struct fixture f;
	struct model m = {0}, flushed;

	begin(&f, *state != NULL);
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 100; i++)
			change(&f, &m);
		compare(&f, f.x, &m);
		assert_int_equal(f.ops->flush(f.x), 0);
		flushed = m;
		for (unsigned i = 0; i < 50; i++)
			change(&f, &m);
		compare(&f, f.x, &m);
		if (round % 2 == 0) {
			reopen(&f, true);
		} else {
			reopen(&f, false); /* nothing is persisted but by a flush */
			m = flushed;
		}
		compare(&f, f.x, &m);
	}
	end(&f);
}

static unsigned number_of(const uint8_t *key)
{
	return (unsigned)atoi(
		(const char[]){(char)key[2], (char)key[3], (char)key[4], (char)key[5], 0});
}

static void test_snapshot(void **state)
{
	struct fixture f;
	struct model m = {0}, old;
	struct index_iter *it;
	unsigned seen = 0, expected = 0;

	begin(&f, *state != NULL);
	for (unsigned i = 0; i < 100; i++)
		change(&f, &m);
	it = f.ops->iter_new(f.x);
	old = m;
	for (unsigned i = 0; i < 100; i++)
		change(&f, &m);
	for (f.ops->iter_seek(it, "", 0); f.ops->iter_valid(it); f.ops->iter_next(it)) {
		size_t len;
		const uint8_t *key = f.ops->iter_key(it, &len);
		unsigned n = number_of(key), value;

		assert_true(old.there[n]);
		memcpy(&value, f.ops->iter_value(it, &len), sizeof(value));
		assert_int_equal(value, old.value[n]);
		seen++;
	}
	for (unsigned n = 0; n < KEYS; n++)
		expected += old.there[n];
	assert_int_equal(seen, expected);
	f.ops->iter_free(it);
	end(&f);
}

/* A snapshot outlives flushes: what it shows from memory and from tables, and what both say. */
static void test_snapshot_over_flushes(void **state)
{
	struct fixture f;
	struct model m = {0}, old;
	struct index_iter *its[3];
	struct model olds[3];

	begin(&f, *state != NULL);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 60; i++)
			change(&f, &m);
		its[round] = f.ops->iter_new(f.x);
		olds[round] = m;
		for (unsigned i = 0; i < 20; i++)
			change(&f, &m);
		assert_int_equal(f.ops->flush(f.x), 0);
	}
	compare(&f, f.x, &m);
	for (unsigned round = 0; round < 3; round++) {
		struct index_iter *it = its[round];
		unsigned expected = 0, seen = 0;

		old = olds[round];
		for (f.ops->iter_seek_back(it, "~", 1); f.ops->iter_valid(it);
		     f.ops->iter_prev(it)) {
			size_t len;
			unsigned n = number_of(f.ops->iter_key(it, &len)), value;

			assert_true(old.there[n]);
			memcpy(&value, f.ops->iter_value(it, &len), sizeof(value));
			assert_int_equal(value, old.value[n]);
			seen++;
		}
		for (unsigned n = 0; n < KEYS; n++)
			expected += old.there[n];
		assert_int_equal(seen, expected);
		f.ops->iter_free(it);
	}
	end(&f);
}

static unsigned sorted_keys(const struct model *m, char keys[KEYS][16])
{
	unsigned count = 0;

	for (unsigned letter = 0; letter < 3; letter++) /* key_of: by letter, then by number */
		for (unsigned n = letter; n < KEYS; n += 3)
			if (m->there[n])
				key_of(n, keys[count++]);
	return count;
}

/* To and fro, over what is flushed and what is not. */
static void test_both_ways(void **state)
{
	struct fixture f;
	struct model m = {0};
	char keys[KEYS][16];
	struct index_iter *it;

	begin(&f, *state != NULL);
	for (unsigned round = 0; round < 20; round++) {
		unsigned count, at;

		for (unsigned i = 0; i < 20; i++)
			change(&f, &m);
		if (round % 3 == 0)
			assert_int_equal(f.ops->flush(f.x), 0);
		count = sorted_keys(&m, keys);
		at = count / 2;
		it = f.ops->iter_new(f.x);
		f.ops->iter_seek(it, keys[at], strlen(keys[at]));
		for (unsigned i = 0; i < 200; i++) {
			size_t len;
			const uint8_t *key;
			bool back = next_random(&f) % 2;

			assert_true(f.ops->iter_valid(it));
			key = f.ops->iter_key(it, &len);
			assert_int_equal(len, strlen(keys[at]));
			assert_memory_equal(key, keys[at], len);
			if (back ? at == 0 : at + 1 == count)
				continue;
			at = back ? at - 1 : at + 1;
			if (back)
				f.ops->iter_prev(it);
			else
				f.ops->iter_next(it);
		}
		f.ops->iter_free(it);
	}
	end(&f);
}

static bool base_has_odd(void *ctx, const uint8_t *key, size_t key_len)
{
	(void)ctx;
	return key_len == 6 && key[5] % 2 == 1;
}

static unsigned notes(struct pending *p, unsigned tree)
{
	struct tree_cursor c = {0};
	unsigned count = 0;

	for (tree_seek(&c, p->trees[tree], "", 0); c.at; tree_next(&c))
		count++;
	tree_cursor_release(&c);
	return count;
}

static void pend(struct pending *p, unsigned n, const char *value)
{
	char key[16];
	struct index_op op = {(uint8_t *)key, key_of(n, key), (const uint8_t *)value,
			      value ? strlen(value) : 0};

	pending_apply(p, &op, 1, base_has_odd, NULL);
}

/* What came and went since the last flush leaves nothing, unless the base has it, or is about to. */
static void test_come_and_go(void **state)
{
	struct pending p;
	struct tree *t;

	(void)state;
	pending_init(&p);
	for (unsigned n = 0; n < 100; n++) {
		pend(&p, n, "value");
		pend(&p, n, "another");
	}
	assert_int_equal(notes(&p, 0), 100);
	for (unsigned n = 0; n < 100; n++)
		pend(&p, n, NULL);
	assert_int_equal(notes(&p, 0), 50);
	for (unsigned n = 1; n < 100; n += 2)
		pend(&p, n, "back");
	pend(&p, 2, "on its way");
	t = pending_freeze(&p);
	assert_int_equal(notes(&p, 1), 51);
	assert_int_equal(notes(&p, 0), 0);
	pend(&p, 2, NULL); /* must outlive what is being written */
	pend(&p, 4, NULL);
	assert_int_equal(notes(&p, 0), 1);
	tree_put(t);
	pending_written(&p);
	assert_int_equal(notes(&p, 1), 0);
	assert_int_equal(notes(&p, 0), 1);
	assert_int_equal(pending_bytes(&p), 16 + 6); /* a note, with its key */
	pending_release(&p);
}

static unsigned count_within(struct fixture *f, const char *prefix, size_t len, bool back)
{
	struct index_iter *it = f->ops->iter_new_within ? f->ops->iter_new_within(f->x, prefix, len)
							: f->ops->iter_new(f->x);
	unsigned seen = 0;

	if (back)
		f->ops->iter_seek_back(it, "\xff\xff\xff\xff", 4);
	else
		f->ops->iter_seek(it, prefix, len);
	while (f->ops->iter_valid(it)) {
		size_t key_len;
		const uint8_t *key = f->ops->iter_key(it, &key_len);

		if (key_len >= len && memcmp(key, prefix, len) == 0)
			seen++;
		else
			assert_null(f->ops->iter_new_within); /* bounds are a promise then */
		if (back)
			f->ops->iter_prev(it);
		else
			f->ops->iter_next(it);
	}
	assert_int_equal(f->ops->iter_error(it), 0);
	f->ops->iter_free(it);
	return seen;
}

/* Keys of two bytes, all of them; within a prefix are those that begin with it, 0xff too. */
static void test_within(void **state)
{
	static const char value[] = "value";
	struct fixture f;
	uint8_t keys[256][2];
	struct index_op ops[256];

	begin(&f, *state != NULL);
	for (unsigned hi = 0; hi < 256; hi++) {
		for (unsigned lo = 0; lo < 256; lo++) {
			keys[lo][0] = (uint8_t)hi;
			keys[lo][1] = (uint8_t)lo;
			ops[lo] = (struct index_op){keys[lo], 2, (const uint8_t *)value, 5};
		}
		assert_int_equal(f.ops->apply(f.x, ops, 256), 0);
	}
	for (unsigned back = 0; back < 2; back++) {
		assert_int_equal(count_within(&f, "a", 1, back), 256);
		assert_int_equal(count_within(&f, "\0", 1, back), 256);
		assert_int_equal(count_within(&f, "\xff", 1, back), 256);
		assert_int_equal(count_within(&f, "a\xff", 2, back), 1);
		assert_int_equal(count_within(&f, "\xff\xff", 2, back), 1);
		assert_int_equal(count_within(&f, "abc", 3, back), 0);
		assert_int_equal(count_within(&f, "", 0, back), 65536);
	}
	end(&f);
}

struct copy {
	struct fixture *f;
	char names[64][64];
	uint64_t sizes[64];
	unsigned count;
};

static int note(void *ctx, const char *name, uint64_t size_bytes)
{
	struct copy *c = ctx;

	assert_true(c->count < 64);
	strcpy(c->names[c->count], name);
	c->sizes[c->count++] = size_bytes;
	return 0;
}

/* The image is that of the last flush, whatever was applied or flushed since it was begun. */
static void test_image(void **state)
{
	struct fixture f;
	struct model m = {0}, flushed;
	struct copy c = {0};
	struct index *restored;

	begin(&f, *state != NULL);
	for (unsigned i = 0; i < 300; i++)
		change(&f, &m);
	assert_int_equal(f.ops->flush(f.x), 0);
	flushed = m;
	for (unsigned i = 0; i < 20; i++)
		change(&f, &m);
	assert_int_equal(f.ops->image_begin(f.x, note, &c), 0);
	assert_true(c.count > 0);
	for (unsigned i = 0; i < 20; i++)
		change(&f, &m);
	assert_int_equal(f.ops->flush(f.x), 0);
	assert_int_equal(f.ops->restore_begin(f.other_arg), 0);
	for (unsigned i = 0; i < c.count; i++) {
		FREE uint8_t *data = xmalloc(c.sizes[i] + 1);
		size_t half = c.sizes[i] / 2, rest = c.sizes[i] - half;

		assert_int_equal(f.ops->image_read(f.x, c.names[i], 0, data, half), 0);
		assert_int_equal(f.ops->image_read(f.x, c.names[i], half, data + half, rest), 0);
		assert_int_equal(f.ops->restore_write(f.other_arg, c.names[i], 0, "junk", 4), 0);
		assert_int_equal(f.ops->restore_write(f.other_arg, c.names[i], 0, data, half), 0);
		assert_int_equal(
			f.ops->restore_write(f.other_arg, c.names[i], half, data + half, rest), 0);
	}
	f.ops->image_end(f.x);
	assert_int_equal(f.ops->restore_end(f.other_arg), 0);
	assert_int_equal(f.ops->open(f.other_arg, KIB(64), &restored), 0);
	compare(&f, restored, &flushed);
	f.ops->close(restored, false);
	compare(&f, f.x, &m);
	end(&f);
}

static int count(void *ctx, const char *name, uint64_t size_bytes)
{
	(void)name;
	(void)size_bytes;
	++*(unsigned *)ctx;
	return 0;
}

struct readers {
	struct fixture *f;
	atomic_bool is_over;
};

static void read_on(void *arg)
{
	struct readers *r = arg;

	while (!atomic_load(&r->is_over)) {
		struct index_iter *it = r->f->ops->iter_new(r->f->x);

		r->f->ops->iter_seek(it, "b", 1);
		r->f->ops->iter_free(it);
	}
}

/* Iterators that end while an image is begun: RocksDB then forgets to wake who begins it. */
static void test_images_beside_readers(void **state)
{
	struct readers r = {0};
	struct env_thread *threads[3];
	struct fixture f;
	struct model m = {0};

	begin(&f, *state != NULL);
	r.f = &f;
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = env_thread_start("reader", read_on, &r);
	for (unsigned i = 0; i < IMAGES; i++) {
		unsigned files = 0;

		change(&f, &m);
		assert_int_equal(f.ops->flush(f.x), 0);
		assert_int_equal(f.ops->image_begin(f.x, count, &files), 0);
		assert_true(files > 0);
		f.ops->image_end(f.x);
	}
	atomic_store(&r.is_over, true);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		env_thread_join(threads[i]);
	compare(&f, f.x, &m);
	end(&f);
}

/* Names come from a disk (P10). */
static void test_restore_refuses_names(void **state)
{
	static const char *const bad[] = {"../evil.sst", "/etc/evil.sst", "a/b.sst",
					  "LOCK/../CURRENT"};
	struct fixture f;

	begin(&f, *state != NULL);
	if (f.rocks) {
		assert_int_equal(f.ops->restore_begin(f.other_arg), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
			assert_int_equal(f.ops->restore_write(f.other_arg, bad[i], 0, "x", 1),
					 DFS_ECORRUPT);
	} else {
		assert_int_equal(f.ops->restore_begin(f.other_arg), 0);
		assert_int_equal(f.ops->restore_write(f.other_arg, "x", 0, "x", 1), DFS_ECORRUPT);
		assert_int_equal(
			f.ops->restore_write(f.other_arg, "000001.sst", 0, "\5\0\0\0junk", 8), 0);
		assert_int_equal(f.ops->restore_end(f.other_arg), DFS_ECORRUPT);
	}
	end(&f);
}

static void test_condemned_and_destroyed(void **state)
{
	struct fixture f;
	struct model m = {0}, none = {0};

	begin(&f, *state != NULL);
	for (unsigned i = 0; i < 50; i++)
		change(&f, &m);
	assert_int_equal(f.ops->flush(f.x), 0);
	f.ops->condemn(f.x);
	f.ops->close(f.x, false);
	f.x = NULL;
	assert_int_equal(f.ops->open(f.arg, KIB(64), &f.x), DFS_ECHECKSUM);
	f.x = NULL;
	assert_int_equal(f.ops->destroy(f.arg), 0);
	assert_int_equal(f.ops->open(f.arg, KIB(64), &f.x), 0);
	compare(&f, f.x, &none);
	end(&f);
}

/* Every file of a closed RocksDB index, damaged in turn: an error or the right answer. */
static void test_damaged_files(void **state)
{
	struct fixture f;
	struct model m = {0};
	char line[300], cmd[1024], damaged[64][300];
	unsigned count = 0;
	FILE *p;

	if (!*state)
		return;
	begin(&f, true);
	for (unsigned i = 0; i < 300; i++)
		change(&f, &m);
	reopen(&f, true);
	f.ops->close(f.x, false);
	f.x = NULL;
	snprintf(cmd, sizeof(cmd), "cp -r %s %s; ls -d %s/CURRENT %s/MANIFEST* %s/*.sst",
		 f.index_dir, f.other_dir, f.index_dir, f.index_dir, f.index_dir);
	p = popen(cmd, "r");
	assert_non_null(p);
	while (count < 64 && fgets(line, sizeof(line), p)) {
		line[strcspn(line, "\n")] = '\0';
		strcpy(damaged[count++], line);
	}
	pclose(p);
	assert_true(count >= 3);
	for (unsigned i = 0; i < count * 4; i++) {
		const char *path = damaged[i / 4];
		BUF out = {0};
		int err;

		rig_flip(path, rig_size(path) * (long)(i % 4) / 4);
		err = f.ops->open(f.arg, KIB(64), &f.x);
		for (unsigned n = 0; n < KEYS && err == 0; n++) {
			char key[16];
			size_t len = key_of(n, key);

			err = f.ops->get(f.x, key, len, &out);
			if (err != DFS_ECHECKSUM) {
				assert_int_equal(err, m.there[n] ? 0 : DFS_ENOENT);
				err = 0;
			}
		}
		if (err)
			assert_int_equal(err, DFS_ECHECKSUM);
		if (f.x)
			f.ops->close(f.x, false);
		f.x = NULL;
		assert_int_equal(f.ops->destroy(f.arg), 0);
		snprintf(cmd, sizeof(cmd), "cp -r %s %s", f.other_dir, f.index_dir);
		assert_int_equal(system(cmd), 0);
	}
	end(&f);
}

static void test_crash_of_the_store(void **state)
{
	struct fixture f;
	struct model m = {0}, flushed;
	struct index *lost;

	(void)state;
	begin(&f, false);
	for (unsigned i = 0; i < 50; i++)
		change(&f, &m);
	assert_int_equal(f.ops->flush(f.x), 0);
	flushed = m;
	for (unsigned i = 0; i < 50; i++)
		change(&f, &m);
	lost = f.x;
	index_mem_store_crash(f.stores[0]);
	assert_int_equal(f.ops->open(f.arg, KIB(64), &f.x), 0);
	compare(&f, f.x, &flushed);
	assert_int_equal(f.ops->flush(lost), DFS_EIO); /* from beyond the cut: nothing happens */
	f.ops->close(lost, true);
	compare(&f, f.x, &flushed);
	end(&f);
}

/* Directories in the places of the tables that it may write next: only RocksDB itself meets them. */
static void obstruct(struct fixture *f, bool on)
{
	for (unsigned i = 1; i < 400; i++) {
		char path[192];

		snprintf(path, sizeof(path), "%s/%06u.sst", f->index_dir, i);
		if (on)
			(void)mkdir(path, 0700);
		else
			(void)rmdir(path);
	}
}

static long log_bytes(struct fixture *f)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/LOG", f->index_dir);
	return rig_size(path);
}

/* A flush that fails ends, as often as it is tried, loses nothing, and succeeds when what was wrong is gone. Nothing of
 * it goes to RocksDB's own log: where that can't be written either, the second line would end the process. */
static void test_flush_fails(void **state)
{
	long log;
	struct fixture f;
	struct model m = {0};
	char away[192];

	(void)state;
	begin(&f, true);
	alarm(60);
	log = log_bytes(&f);
	snprintf(away, sizeof(away), "%s/away", f.dir);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 50; i++)
			change(&f, &m);
		obstruct(&f, true);
		assert_int_equal(f.ops->flush(f.x), DFS_EIO);
		obstruct(&f, false);
		assert_true(round > 0 || log_bytes(&f) == log);
		change(&f, &m);
		assert_int_equal(rename(f.index_dir, away), 0);
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(f.ops->flush(f.x), DFS_EGONE);
		assert_int_equal(rename(away, f.index_dir), 0);
		change(&f, &m);
		compare(&f, f.x, &m);
		if (round == 0)
			continue;
		assert_int_equal(f.ops->flush(f.x), 0);
		f.ops->close(f.x, false);
		assert_int_equal(f.ops->open(f.arg, KIB(64), &f.x), 0);
		compare(&f, f.x, &m);
	}
	obstruct(&f, true);
	change(&f, &m);
	f.ops->close(f.x, true); /* ends, too */
	f.x = NULL;
	obstruct(&f, false);
	alarm(0);
	end(&f);
}

static void expect_gone(struct fixture *f)
{
	assert_int_equal(f->ops->check(f->x, false), DFS_EGONE);
	assert_int_equal(f->ops->check(f->x, true), DFS_EGONE);
	assert_int_equal(f->ops->flush(f->x), DFS_EGONE);
}

/* Keys in order, with hashes that fall: as priorities these would make a list of them. */
static unsigned choose_keys(uint8_t keys[][8], unsigned count)
{
	uint64_t step = UINT64_MAX / count, unsalted = 0;
	le64 tried;

	for (unsigned i = 0; i < count; i++)
		for (uint64_t n = 0;; n++) {
			uint64_t hash;

			tried = le64_of(n);
			keys[i][0] = (uint8_t)i;
			memcpy(keys[i] + 1, &tried, 7);
			hash = hash64_two(&unsalted, sizeof(unsalted), keys[i], 8);
			if (hash / step == count - 1 - i)
				break;
		}
	return count;
}

/* Who chooses names does not choose how deep the tree is. */
static void test_chosen_keys(void **state)
{
	uint8_t keys[100][8];
	unsigned count = choose_keys(keys, ARRAY_SIZE(keys)), depth = 0;
	struct tree_cursor c = {0};
	struct pending p;

	(void)state;
	pending_init(&p);
	for (unsigned i = 0; i < count; i++) {
		struct index_op op = {
			.key = keys[i], .key_len = 8, .value = keys[i], .value_len = 1};

		pending_apply(&p, &op, 1, base_has_odd, NULL);
	}
	for (unsigned i = 0; i < count; i++) {
		tree_seek(&c, p.trees[0], keys[i], 8);
		assert_non_null(c.at);
		depth = MAX(depth, c.depth);
	}
	tree_cursor_release(&c);
	pending_release(&p);
	assert_in_range(depth, 7, 50);
}

static void shell(const char *fmt, const char *a, const char *b)
{
	char cmd[500];

	snprintf(cmd, sizeof(cmd), fmt, a, b);
	assert_int_equal(system(cmd), 0);
}

/* Moved away, with a copy in its place, with files removed: nothing is written then, for it could not be relied on. */
static void test_taken_away(void **state)
{
	struct fixture f;
	struct model m = {0};
	char away[192];

	(void)state;
	begin(&f, true);
	snprintf(away, sizeof(away), "%s/away", f.dir);
	change(&f, &m);
	assert_int_equal(f.ops->check(f.x, true), 0);
	assert_int_equal(rename(f.index_dir, away), 0);
	expect_gone(&f);
	shell("cp -a %s %s", away, f.index_dir);
	expect_gone(&f);
	shell("rm -r %s && true %s", f.index_dir, "");
	assert_int_equal(rename(away, f.index_dir), 0);
	assert_int_equal(f.ops->check(f.x, true), 0);
	assert_int_equal(f.ops->flush(f.x), 0);
	compare(&f, f.x, &m);
	shell("mv %s/CURRENT %s/", f.index_dir, f.dir);
	expect_gone(&f);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_random),
		BOTH(test_snapshot),
		BOTH(test_snapshot_over_flushes),
		BOTH(test_both_ways),
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_chosen_keys),
		BOTH(test_within),
		BOTH(test_image),
		cmocka_unit_test_prestate(test_images_beside_readers, (void *)1),
		BOTH(test_restore_refuses_names),
		BOTH(test_condemned_and_destroyed),
		BOTH(test_damaged_files),
		cmocka_unit_test(test_crash_of_the_store),
		cmocka_unit_test(test_flush_fails),
		cmocka_unit_test(test_taken_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
