/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pool directory remembers of durable transactions (H10): what is noted is what is durable, a note that fails
 * harms nothing, and a number of another line never goes under a new epoch's name, wherever an opening ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pool/internal.h"
#include "unit/pool_fixture.h"

static void read_json(struct fixture *f, struct pool_json *ret)
{
	FREE uint8_t *data = NULL;
	struct dev *d;
	size_t len;

	assert_int_equal(dev_dir_open(f->pool, "", false, &d), 0);
	assert_int_equal(dev_read_all(d, POOL_JSON_NAME, POOL_JSON_MAX_BYTES, &data, &len), 0);
	assert_int_equal(pool_json_parse(data, len, ret), 0);
	dev_free(d);
}

static void write_json(struct fixture *f, const struct pool_json *j)
{
	BUF text = {0};
	struct dev *d;

	assert_int_equal(pool_json_encode(j, &text), 0);
	assert_int_equal(dev_dir_open(f->pool, "", false, &d), 0);
	assert_int_equal(dev_replace(d, POOL_JSON_NAME, text.data, text.len), 0);
	dev_free(d);
}

static uint64_t commit(struct fixture *f)
{
	struct meta_txn *t = meta_begin(pool_meta(f->p));
	uint64_t seq;

	meta_put(t, "Znoted", 6, "x", 1);
	assert_int_equal(meta_commit(t, &seq), 0);
	return seq;
}

static void test_what_is_durable(void **state)
{
	const struct fault_plan gone = {.gone = true}, none = {0};
	struct fixture *f = fixture_new(3, 0, NULL);
	CLEANUP(pool_json_release) struct pool_json j = {0}, then = {0}, later = {0};
	struct pool_status st;
	struct meta_line line;
	uint64_t seq = commit(f);

	(void)state;
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	assert_int_equal(pool_json_note_durable(f->p), 0);
	line = meta_durable_line(pool_meta(f->p));
	read_json(f, &j);
	assert_in_range(j.durable_seq, seq, line.seq);
	if (j.durable_seq == line.seq)
		assert_memory_equal(&j.durable_chain, &line.chain, sizeof(line.chain));

	dev_fault_set(f->dir_fault, &gone);
	seq = commit(f);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	assert_int_not_equal(pool_json_note_durable(f->p), 0);
	pool_status(f->p, &st);
	assert_int_equal(st.dir_behind, 0); /* it has its vote */
	read_json(f, &then);
	assert_true(then.durable_seq < seq);
	dev_fault_set(f->dir_fault, &none);
	assert_int_equal(pool_json_note_durable(f->p), 0);
	read_json(f, &later);
	assert_true(later.durable_seq >= seq);
	fixture_free(f);
}

struct cut_dir {
	const char *pool;
	uint64_t after; /* so many calls its device answers; 0: all */
};

static int open_cut(void *ctx, const char *path, const char *subdir, bool create,
		    struct dev **ret_dev)
{
	struct cut_dir *c = ctx;
	struct fault_plan plan = {.gone_after = strcmp(path, c->pool) ? 0 : c->after};
	struct dev *below;
	int err = dev_dir_open(path, subdir, create, &below);

	if (!err)
		*ret_dev = dev_fault_new(below, &plan);
	return err;
}

static int open_with(struct fixture *f, bool force, uint64_t after, struct pool_message *msg)
{
	struct pool_open_options opt = {.force = force};
	struct cut_dir cut = {f->pool, after};
	struct pool_env env = {.open_dev = open_cut, .ctx = &cut};
	struct pool *p;
	int err = pool_open(f->pool, &opt, &env, &p, msg);

	if (!err)
		pool_abandon(p);
	return err;
}

/* A pool directory that has followed another history, and remembers a great number of it, is used by force; it can't
 * be written any more from some call on, and power goes. */
static void test_number_of_another_line(void **state)
{
	struct fixture *f = fixture_new(3, 0, NULL);
	CLEANUP(pool_json_release) struct pool_json j = {0};
	unsigned forced = 0, fits = 0;

	(void)state;
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	read_json(f, &j);
	uuid_random(&j.epoch_id);
	j.epoch += 5;
	j.durable_seq = 1000000;
	write_json(f, &j);
	fixture_shell("mkdir %s/then && cp -a %s/pool %s/disk? %s/then/", f->top, f->top, f->top,
		      f->top);
	for (uint64_t after = 3; after <= 8; after++) { /* it is read, then written twice */
		struct pool_message msg = {""};
		int err;

		fixture_shell("cd %s && rm -rf pool disk? && cp -a then/* .", f->top);
		forced += open_with(f, true, after, &msg) == 0;
		err = open_with(f, false, 0, &msg);
		fits += err == 0;
		if (err && strstr(msg.text, "remembers transaction"))
			fail_msg("after %d calls: %s", (int)after, msg.text);
	}
	assert_true(forced > 0 && fits > 0);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_durable),
		cmocka_unit_test(test_number_of_another_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
