/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's chain while it takes both files (J2 to J4, M11): no checkpoint finds room. */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

#define VALUE_BYTES 60000u
#define BURST 5u /* less than half a file */

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s", line);
}

static void all_disks(struct rig *r, const struct fault_plan *plan)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		dev_fault_set(r->devs[i], plan);
}

static uint64_t put_big(struct rig *r, unsigned n)
{
	static const char value[VALUE_BYTES];
	struct meta_txn *t = meta_begin(r->m);
	uint64_t seq;
	char key[32];

	meta_put(t, key, (size_t)snprintf(key, sizeof(key), "big%08u", n), value, sizeof(value));
	assert_int_equal(meta_commit(t, &seq), 0);
	return seq;
}

static void expect_big(struct rig *r, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		BUF out = {0};
		char key[32];
		int len = snprintf(key, sizeof(key), "big%08u", n);

		assert_int_equal(meta_get(r->m, key, (size_t)len, &out), 0);
		assert_int_equal(out.len, VALUE_BYTES);
	}
}

/* The greatest name of a journal file on the first disk. */
static uint64_t last_name(struct rig *r)
{
	uint64_t last = 0;
	struct dirent *de;
	char dir[256];
	DIR *d;

	rig_path(r, 0, "meta/journal", dir);
	d = opendir(dir);
	assert_non_null(d);
	while ((de = readdir(d)))
		if (strlen(de->d_name) == 16 && strtoull(de->d_name, NULL, 16) > last)
			last = strtoull(de->d_name, NULL, 16);
	closedir(d);
	return last;
}

/* Bursts of records, each synced as a whole, until one goes on in the second file. Returns how many records
 * there are; *ret_first is the first of that burst. */
static unsigned use_both_files(struct rig *r, uint64_t *ret_first)
{
	const struct fault_plan full = {.no_space = true};
	uint64_t began = last_name(r), seq = 0;
	unsigned n = 0;

	all_disks(r, &full);
	env_mutex_lock(&r->m->admin); /* no checkpoint begins the second file before it is needed */
	while (last_name(r) == began) {
		*ret_first = seq + 1;
		for (unsigned i = 0; i < BURST; i++)
			seq = put_big(r, n++);
		assert_int_equal(meta_sync(r->m, seq), 0);
		assert_true(n < 100);
	}
	env_mutex_unlock(&r->m->admin);
	return n;
}

/* The last record of the first file has rotted everywhere. What is in the second one was committed before
 * that was durable and does not say so; but it was begun, so everything before its name had been (M11). */
static void test_rot_at_the_first_files_end(void **state)
{
	const struct fault_plan none = {0};
	uint64_t first, name;
	struct rig r;

	(void)state;
	rig_init(&r, false, 3, 3);
	r.checkpoint_bytes = KIB(768);
	rig_must_open(&r);
	(void)use_both_files(&r, &first);
	name = last_name(&r);
	assert_in_range(name, first + 1, first + BURST - 1); /* within the burst */
	rig_kill(&r);
	all_disks(&r, &none);
	for (unsigned i = 0; i < 3; i++) {
		struct rig_record rec;

		rig_find_record(&r, i, name - 1, &rec);
		rig_flip(rec.path, (long)rec.off + 1000);
	}
	rig_destroy_index(&r);
	assert_int_equal(rig_open(&r), DFS_EJOURNAL);
	assert_int_equal(r.rec.loss.from, name - 1);
	assert_int_equal(r.rec.loss.last, name - 1);
	rig_release(&r);
}

/* Force over rot in the first file, and power goes at any call of that opening: whoever opens it again is asked
 * about the same loss, or it is told; never about one more that the second file's name seems to prove. */
static void test_forced_and_cut(void **state)
{
	const struct fault_plan none = {0};
	int err = DFS_EIO;

	(void)state;
	for (uint64_t calls = 1; err; calls++) {
		const struct fault_plan cut = {.gone_after = calls};
		struct meta_loss loss;
		struct rig_record rec;
		uint64_t first;
		struct rig r;
		int again;

		rig_init(&r, false, 1, 1);
		r.checkpoint_bytes = KIB(768);
		rig_must_open(&r);
		(void)use_both_files(&r, &first);
		rig_kill(&r);
		rig_find_record(&r, 0, 3, &rec);
		rig_flip(rec.path, (long)rec.off + 1000);
		rig_flip(rec.path, (long)(rec.off + rec.second_off) + 1000);
		r.force = true;
		all_disks(&r, &cut);
		err = rig_open(&r);
		if (!err)
			rig_kill(&r);
		all_disks(&r, &none);
		r.force = false;
		again = rig_open(&r);
		if (again) {
			assert_int_equal(again, DFS_EJOURNAL);
			assert_int_equal(r.rec.loss.from, 3);
		} else {
			expect_big(&r, 2);
			assert_int_equal(meta_loss(r.m, &loss), 0);
			assert_int_equal(loss.from, 3);
		}
		rig_release(&r);
	}
}

static void commit_one(struct rig *r) { (void)rig_commit(r, 1, 1); }

/*
 * A disk joins while both files are in use: it has no part of the older one, so the checkpoint that frees
 * that must not list it yet (J4), for others go on committing. Wherever a crash stops it: who opens with the new disk alone finds
 * everything, or is refused.
 */
static void test_joins_meanwhile(void **state)
{
	const struct fault_plan none = {0};
	bool joined = false;
	unsigned alone = 0;

	(void)state;
	for (uint64_t calls = 1; !joined; calls++) {
		const struct fault_plan cut = {.gone_after = calls};
		struct meta_disk disks[RIG_MAX_DISKS];
		uint64_t first;
		unsigned n;
		struct rig r;

		rig_init(&r, false, 3, 3);
		r.checkpoint_bytes = KIB(768);
		r.absent[2] = true;
		rig_must_open(&r);
		n = use_both_files(&r, &first);
		r.absent[2] = false;
		r.stored = commit_one;
		for (unsigned i = 0; i < 3; i++)
			dev_fault_set(r.devs[i], &cut);
		joined = meta_set_disks(r.m, disks, rig_disks(&r, disks), NULL, 0) == 0 &&
			 meta_is_member(r.m, (disk_id){3});
		r.stored = NULL;
		rig_kill(&r);
		all_disks(&r, &none);
		rig_destroy_index(&r);
		r.absent[0] = r.absent[1] = r.force = true;
		if (rig_open(&r) == 0 && r.rec.seq) {
			alone++;
			expect_big(&r, n);
			rig_kill(&r);
		}
		rig_release(&r);
	}
	assert_true(alone > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rot_at_the_first_files_end),
		cmocka_unit_test(test_forced_and_cut),
		cmocka_unit_test(test_joins_meanwhile),
	};

	log_set_sink(quiet, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
