/* SPDX-License-Identifier: Apache-2.0 */
/* More disks than the pool can go on without do not answer (D11), and are given up one by one (D12). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "unit/pool_fixture.h"

#define TIMEOUT_MS 400u
#define HANGING 3u

static const struct fault_plan hang = {.hang = true}, fine = {.hang = false};

struct writer {
	struct pool *p;
	int err;
};

/* Waits for the disks, and has the lock that changes of the pool take. */
static void write_something(void *arg)
{
	struct writer *w = arg;
	struct policy s = pool_get_settings(w->p);
	struct pool_message msg = {""};

	s.verify_writes = !s.verify_writes;
	w->err = pool_set_settings(w->p, &s, &msg);
}

/* Falls silent at the same moment as the others, whatever else is written there. */
static struct env_thread *waiters[HANGING];

static void wait_for_disk(void *arg)
{
	struct dev *dev = arg;

	(void)!dev_mkdir(dev, "dir");
}

static struct pool_disk_status status_of(struct fixture *f, unsigned i)
{
	struct pool_disk_status s;

	assert_true(pool_disk_status(f->p, i, &s));
	return s;
}

static unsigned awaited(struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->disk_count; i++)
		n += status_of(f, i).is_awaited;
	return n;
}

static bool is_stored(struct fixture *f, unsigned i)
{
	struct rec_disk rec;

	return get_disk(pool_meta(f->p), status_of(f, i).info.id, &rec) == 0 &&
	       rec.state == DISK_FAILED;
}

static int give_up(struct fixture *f, unsigned i)
{
	struct pool_message msg = {""};
	struct disk_info info;
	uint64_t begin = env_now_ns();
	int err = pool_fail_disk(f->p, f->disk[i], true, &info, &msg);

	if (env_now_ns() - begin > 10ull * TIMEOUT_MS * 1000000u)
		fail_msg("it took too long: %s", msg.text);
	return err;
}

static struct fixture *opened(unsigned disks)
{
	struct fixture *f = fixture_new(disks, 0, NULL);

	assert_int_equal(pool_close(f->p), 0);
	f->io_timeout_ms = TIMEOUT_MS;
	fixture_reopen(f);
	return f;
}

static void fall_silent(struct fixture *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		dev_fault_set(f->faults[i], &hang);
	for (unsigned i = from; i < to; i++)
		waiters[i] = env_thread_start("waiter", wait_for_disk,
					      disk_dev(disk_at(pool_disks(f->p), i)));
}

static struct env_thread *start_writer(struct fixture *f, struct writer *w)
{
	w->p = f->p;
	return env_thread_start("writer", write_something, w);
}

static void wait_awaited(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < 100 && awaited(f) < count; i++)
		env_sleep_ms(TIMEOUT_MS / 10);
	assert_int_equal(awaited(f), count);
}

static struct fixture *stalled(unsigned disks, struct writer *w, struct env_thread **ret_thread)
{
	struct fixture *f = opened(disks);
	char silent[512];

	fall_silent(f, 0, HANGING);
	*ret_thread = start_writer(f, w);
	wait_awaited(f, HANGING);
	pool_silent_disks(f->p, silent, sizeof(silent));
	assert_string_equal(silent, "disk0, disk1, disk2");
	return f;
}

static void let_go(struct fixture *f)
{
	for (unsigned i = 0; i < HANGING && waiters[i]; i++)
		dev_fault_set(f->faults[i], &fine);
	for (unsigned i = 0; i < HANGING && waiters[i]; i++) {
		env_thread_join(waiters[i]);
		waiters[i] = NULL;
	}
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	fixture_free(f);
}

/* Half of the disks and the pool directory can go on. */
static void half_of_them_are_given_up(void **state)
{
	struct writer w;
	struct env_thread *t;
	struct fixture *f = stalled(2 * HANGING, &w, &t);

	(void)state;
	assert_int_equal(give_up(f, 0), 0);
	assert_true(is_stored(f, 0));
	env_thread_join(t);
	assert_int_equal(w.err, 0);
	assert_int_equal(awaited(f), 0);
	assert_int_equal(give_up(f, 1), 0);
	assert_true(is_stored(f, 1));
	let_go(f);
}

/* Less than half can't, whatever is ordered: it does not end for that, and goes on as soon as one answers. */
static void more_than_half_are_waited_for(void **state)
{
	struct writer w;
	struct env_thread *t;
	struct fixture *f = stalled(2 * HANGING - 1, &w, &t);

	(void)state;
	assert_int_equal(give_up(f, 0), DFS_ETIMEDOUT);
	assert_int_equal(give_up(f, 0), DFS_EEXIST);
	assert_int_equal(give_up(f, 1), DFS_ETIMEDOUT);
	assert_int_equal(give_up(f, 2), DFS_EBUSY);
	assert_int_equal(awaited(f), 1);
	assert_true(status_of(f, 0).given_up && status_of(f, 1).given_up);
	assert_false(is_stored(f, 0) || is_stored(f, 1));
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	dev_fault_set(f->faults[2], &fine);
	env_thread_join(t);
	assert_int_equal(w.err, 0);
	for (unsigned i = 0; i < 100 && !(is_stored(f, 0) && is_stored(f, 1)); i++)
		env_sleep_ms(TIMEOUT_MS / 10);
	assert_true(is_stored(f, 0) && is_stored(f, 1));
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	let_go(f);
}

/* The third can't outvote two, whatever losses the pool bears: it waits for one of them, and does not end. */
static void two_of_three_at_once_are_waited_for(void **state)
{
	struct fixture *f = opened(3);
	struct env_thread *t;
	struct writer w;

	(void)state;
	fall_silent(f, 0, 2);
	t = start_writer(f, &w);
	wait_awaited(f, 2);
	env_sleep_ms(4 * TIMEOUT_MS);
	assert_int_equal(awaited(f), 2);
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	dev_fault_set(f->faults[1], &fine);
	env_thread_join(t);
	assert_int_equal(w.err, 0);
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	let_go(f);
}

static bool is_member(struct fixture *f, unsigned i)
{
	return meta_is_member(pool_meta(f->p), status_of(f, i).info.id);
}

/* One after the other they are given up: those that are left vote anew each time. */
static void two_of_three_one_by_one_are_given_up(void **state)
{
	struct fixture *f = opened(3);
	struct env_thread *t;
	struct writer w;

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		fall_silent(f, n, n + 1);
		t = start_writer(f, &w);
		env_thread_join(t);
		assert_int_equal(w.err, 0);
		assert_false(is_member(f, n));
	}
	assert_true(is_member(f, 2));
	assert_int_equal(meta_failed(pool_meta(f->p)), 0);
	let_go(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_of_them_are_given_up),
		cmocka_unit_test(more_than_half_are_waited_for),
		cmocka_unit_test(two_of_three_at_once_are_waited_for),
		cmocka_unit_test(two_of_three_one_by_one_are_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
