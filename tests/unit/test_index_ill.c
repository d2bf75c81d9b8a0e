/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index can't be flushed where it lies (C3): it is known before the journal fills, the journal keeps all,
 * and it goes on by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "meta/internal.h"
#include "unit/meta_rig.h"

#define VALUE_BYTES 60000u

static struct index_ops ops;
static int check_err, flush_err, read_err;
static unsigned tries;

static int ill_check(struct index *x, bool may_write)
{
	(void)x;
	tries += may_write;
	return check_err;
}

static int ill_flush(struct index *x) { return flush_err ? flush_err : index_mem_ops.flush(x); }

static int ill_read(struct index *x, const char *name, uint64_t off, void *buf, size_t len)
{
	return read_err ? read_err : index_mem_ops.image_read(x, name, off, buf, len);
}

static void begin(struct rig *r)
{
	ops = index_mem_ops;
	ops.check = ill_check;
	ops.flush = ill_flush;
	ops.image_read = ill_read;
	check_err = flush_err = read_err = 0;
	rig_init(r, false, 3, 3);
	r->ops = &ops;
	rig_must_open(r);
}

static bool in_time(struct rig *r, int want)
{
	for (unsigned i = 0; i < 100 && meta_index_error(r->m) != want; i++)
		env_sleep_ms(50);
	return meta_index_error(r->m) == want;
}

/* It is looked at also while no checkpoint is due; by writing only when something has changed, or when it was ill. */
static void test_seen_early(void **state)
{
	unsigned before;
	struct rig r;

	(void)state;
	begin(&r);
	assert_int_equal(meta_index_error(r.m), 0);
	check_err = DFS_EROFS;
	assert_true(in_time(&r, DFS_EROFS));
	rig_fill(&r, 0, 50, 1);
	check_err = 0;
	assert_true(in_time(&r, 0));
	env_sleep_ms(1100);
	before = tries;
	env_sleep_ms(1100);
	assert_int_equal(tries, before);
	rig_expect_value(&r, 0, 50, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* What a checkpoint met counts until one succeeds, whatever can be seen. */
static void test_met_by_a_checkpoint(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	rig_fill(&r, 0, 50, 1);
	flush_err = DFS_EIO;
	assert_int_equal(meta_checkpoint(r.m), DFS_EIO);
	assert_int_equal(meta_index_error(r.m), DFS_EIO);
	rig_fill(&r, 50, 50, 1);
	flush_err = 0;
	read_err = DFS_EGONE;
	assert_int_equal(meta_checkpoint(r.m), DFS_EGONE);
	assert_int_equal(meta_index_error(r.m), DFS_EGONE);
	read_err = 0;
	assert_int_equal(meta_checkpoint(r.m), 0);
	assert_int_equal(meta_index_error(r.m), 0);
	rig_expect_value(&r, 0, 100, 1);
	rig_must_close(&r);
	rig_release(&r);
}

/* Whoever began it, another is tried until one succeeds: else nothing could be added ever again. */
static void test_tried_again(void **state)
{
	bool well = false;
	struct rig r;

	(void)state;
	begin(&r);
	rig_fill(&r, 0, 50, 1);
	flush_err = DFS_EIO;
	assert_int_equal(meta_checkpoint(r.m), DFS_EIO);
	flush_err = 0;
	for (unsigned i = 0; i < 3 && !well; i++)
		well = in_time(&r, 0);
	assert_true(well);
	rig_must_close(&r);
	rig_release(&r);
}

/* All is in the journal: the next opening replays it. */
static void test_closed_without_a_flush(void **state)
{
	bool durable = false;
	struct rig r;

	(void)state;
	begin(&r);
	rig_fill(&r, 0, 50, 1);
	check_err = flush_err = DFS_EROFS;
	assert_int_equal(meta_close_last(r.m, NULL, &durable), DFS_EROFS);
	assert_true(durable);
	r.m = NULL;
	check_err = flush_err = 0;
	rig_must_open(&r);
	rig_expect_value(&r, 0, 50, 1);
	rig_must_close(&r);
	rig_release(&r);
}

static int put_big(struct rig *r, unsigned n, uint64_t *ret_seq)
{
	static const char value[VALUE_BYTES];
	struct meta_txn *t = meta_begin(r->m);
	char key[32];

	meta_put(t, key, (size_t)snprintf(key, sizeof(key), "big%08u", n), value, sizeof(value));
	return meta_commit(t, ret_seq);
}

/* The journal fills; nothing of what was accepted is lost, and it goes on as soon as the index looks well. */
static void test_full_journal(void **state)
{
	uint64_t seq = 0, began;
	BUF out = {0};
	unsigned n = 0;
	struct rig r;
	int err;

	(void)state;
	begin(&r);
	check_err = flush_err = DFS_EGONE;
	while ((err = put_big(&r, n, &seq)) == 0)
		n++;
	assert_int_equal(err, DFS_ENOSPC);
	assert_int_equal(meta_index_error(r.m), DFS_EGONE);
	assert_int_equal(meta_sync(r.m, seq), 0);
	check_err = flush_err = 0;
	began = env_now_ns();
	while (put_big(&r, n, &seq))
		env_sleep_ms(20);
	assert_true(env_now_ns() - began < 4000000000);
	rig_kill(&r);
	rig_must_open(&r);
	for (unsigned i = 0; i < n; i++) {
		char key[32];
		int len = snprintf(key, sizeof(key), "big%08u", i);

		assert_int_equal(meta_get(r.m, key, (size_t)len, &out), 0);
		assert_int_equal(out.len, VALUE_BYTES);
	}
	rig_must_close(&r);
	rig_release(&r);
}

/* Where nobody else may commit any more, what data_sync has to say with a group still has room: the group is durable. */
static void test_note_in_a_full_journal(void **state)
{
	static const char value[64];
	uint64_t seq = 0;
	unsigned n = 0;
	struct rig r;
	int err = 0;

	(void)state;
	begin(&r);
	check_err = flush_err = DFS_EGONE;
	while (put_big(&r, n, &seq) == 0)
		n++;
	while (err == 0) {
		struct meta_txn *t = meta_begin(r.m);

		r.notes = 1;
		meta_put(t, "small", 5, value, sizeof(value));
		err = meta_commit(t, &seq);
	}
	assert_int_equal(err, DFS_ENOSPC);
	assert_int_equal(meta_durable_seq(r.m), meta_last_seq(r.m));
	assert_int_equal(meta_failed(r.m), 0);
	rig_kill(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seen_early),
		cmocka_unit_test(test_met_by_a_checkpoint),
		cmocka_unit_test(test_tried_again),
		cmocka_unit_test(test_closed_without_a_flush),
		cmocka_unit_test(test_note_in_a_full_journal),
		cmocka_unit_test(test_full_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
