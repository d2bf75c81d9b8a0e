/* SPDX-License-Identifier: Apache-2.0 */
/* The states of disks (docs/DESIGN.md, "Health"): the table row by row, the ways back, orders, and what is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "pool/health_rules.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define DISKS 4u

/* ---- the table ---- */

/* What each state is entered by, so that all its kinds are there: one row of the matrix below each. */
static const struct disk_health kinds[] = {
	{DISK_HEALTHY, DISK_NO_EVENT},	      {DISK_DEGRADED, DISK_READ_ERROR},
	{DISK_DEGRADED, DISK_WRITE_ERROR},    {DISK_SUSPECT, DISK_NO_ANSWER},
	{DISK_DRAINING, DISK_ORDER_DRAIN},    {DISK_FAILED, DISK_SYNC_FAILED},
	{DISK_DEGRADED, DISK_ORDER_DEGRADED}, {DISK_DEGRADED, DISK_ROT}};

/* As DESIGN.md has it: for each event, what becomes of each kind; '-': it stays. */
static const struct {
	enum disk_event event;
	const char *to; /* H D S R (draining) F, in the order of kinds */
} matrix[] = {
	{DISK_READ_ERROR, "D-------"},
	{DISK_FULL, "D-------"},
	{DISK_ROT, "DD------"},
	{DISK_SELF_TEST, "DD------"},
	{DISK_WRITE_ERROR, "DD-D---D"},
	{DISK_READ_ONLY, "DD-D---D"},
	{DISK_NO_ACCESS, "DD-D---D"},
	{DISK_SLOW, "SS------"},
	{DISK_NO_ANSWER, "SS-S---S"},
	{DISK_SYNC_FAILED, "FFFFF-FF"},
	{DISK_GONE, "FFFFF-FF"},
	{DISK_NOT_ITSELF, "FFFFF-FF"},
	{DISK_PROVED, "-HHH-H-H"},
	{DISK_ORDER_HEALTHY, "-HHH--HH"},
	{DISK_ORDER_DEGRADED, "DDDD--DD"},
	{DISK_ORDER_SUSPECT, "SSSS--SS"},
	{DISK_ORDER_DRAIN, "RRRR--RR"},
	{DISK_ORDER_FAIL, "FFFFFFFF"},
};

static char letter(const struct health_rule *r)
{
	static const char letters[] = {[DISK_HEALTHY] = 'H',
				       [DISK_DEGRADED] = 'D',
				       [DISK_SUSPECT] = 'S',
				       [DISK_DRAINING] = 'R',
				       [DISK_FAILED] = 'F'};

	return r ? letters[r->to] : '-';
}

static void every_row_of_the_table(void **state)
{
	unsigned count, walked = 0;
	const struct health_rule *rules = health_rules(&count);

	(void)state;
	assert_int_equal(ARRAY_SIZE(matrix), DISK_EVENTS - 1);
	for (unsigned e = 0; e < ARRAY_SIZE(matrix); e++)
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			const struct health_rule *r = health_rule(kinds[k], matrix[e].event);

			if (letter(r) != matrix[e].to[k])
				fail_msg("%s, kind %u: %c, not %c",
					 health_event_name(matrix[e].event), k, letter(r),
					 matrix[e].to[k]);
			walked += r != NULL;
		}
	for (unsigned i = 0; i < count; i++)
		walked -= (unsigned)__builtin_popcount(rules[i].from);
	assert_int_equal(walked, 0); /* no row says more than was looked at */
}

/* ---- a pool ---- */

static int set_up(void **state)
{
	*state = fixture_new(DISKS, 3, NULL);
	return 0;
}

static int tear_down(void **state)
{
	fixture_free(*state);
	return 0;
}

static struct disk *disk_of(struct fixture *f, unsigned i) { return disk_at(pool_disks(f->p), i); }

static void happens(struct fixture *f, unsigned i, bool is_read, int err)
{
	health_disk_error(f->p, disk_info(disk_of(f, i)).id, is_read, err, "a test");
}

static unsigned trials_until_healthy(struct fixture *f, unsigned i)
{
	for (unsigned n = 1; n < 100; n++) {
		f->p->care[disk_info(disk_of(f, i)).id.v].try_ns = 0;
		health_try(f->p, disk_of(f, i));
		if (disk_state(disk_of(f, i)) == DISK_HEALTHY)
			return n;
		env_sleep_ms(1); /* the pool itself may be trying it */
	}
	return 0;
}

/* K2: an error of a write is no sentence: the disk comes back after some trials in a row, and needs more if it falls ill
 * again soon. */
static void a_disk_that_failed_a_write_comes_back(void **state)
{
	struct fixture *f = *state;

	happens(f, 0, false, DFS_EIO);
	assert_int_equal(disk_state(disk_of(f, 0)), DISK_DEGRADED);
	assert_false(health_event(f->p, disk_of(f, 0), DISK_WRITE_ERROR, "no news"));
	assert_true(health_event(f->p, disk_of(f, 1), DISK_NO_ANSWER, "news"));
	assert_false(health_event(f->p, disk_of(f, 1), DISK_NO_ANSWER, "no news"));
	assert_false(disk_is_eligible(pool_disks(f->p), disk_of(f, 0)));
	dev_fault_set(f->faults[0], &(struct fault_plan){.write_error = 1});
	assert_int_equal(trials_until_healthy(f, 0), 0);
	dev_fault_set(f->faults[0], &(struct fault_plan){.sync_error = 1});
	assert_int_equal(trials_until_healthy(f, 0), 0);
	dev_fault_set(f->faults[0], &(struct fault_plan){.write_flip = 1});
	assert_int_equal(trials_until_healthy(f, 0), 0);
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
	assert_in_range(trials_until_healthy(f, 0), 2, 3); /* the pool itself may have tried it */
	assert_true(disk_is_eligible(pool_disks(f->p), disk_of(f, 0)));
	happens(f, 0, false, DFS_EIO);
	assert_in_range(trials_until_healthy(f, 0), 5, 6);
}

/* K2: of a failed sync, too; D8: what it may have lost stays in doubt. */
static void a_disk_that_failed_a_sync_comes_back(void **state)
{
	struct fixture *f = *state;
	struct disk *d = disk_of(f, 0);
	struct disk_doubt doubt;
	struct segment_addr at;
	uint8_t data[512] = {1};
	struct iovec iov = {data, sizeof(data)};
	struct disk_io io = {.disk = d, .op = DISK_WRITE, .iov = &iov, .iovcnt = 1};

	assert_int_equal(segment_reserve(d, sizeof(data), &at), 0);
	io.addr = at;
	assert_int_equal(disk_io_run(&io, 1), 0);
	dev_fault_set(f->faults[0], &(struct fault_plan){.sync_error = 1});
	io.op = DISK_SYNC;
	assert_int_equal(disk_io_run(&io, 1), DFS_EIO);
	assert_int_equal(disk_state(d), DISK_FAILED);
	assert_int_equal(trials_until_healthy(f, 0), 0);
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
	assert_int_equal(trials_until_healthy(f, 0), 0); /* a record is in flight there */
	segment_settle(d, at);
	assert_in_range(trials_until_healthy(f, 0), 1, 2);
	assert_true(disk_doubtful(d, &doubt) && doubt.segment == at.segment);
}

static void reopen(struct fixture *f)
{
	assert_int_equal(pool_close(f->p), 0);
	fixture_reopen(f);
}

/* K3: what is wrong with a disk, since when, what was counted and what was ordered outlives the mount. */
static void states_are_remembered(void **state)
{
	struct fixture *f = *state;
	struct pool_disk_status st;
	struct pool_message msg;
	uint64_t since;

	happens(f, 0, true, DFS_EIO);
	disk_count_checksum_error(disk_of(f, 1));
	assert_int_equal(pool_set_disk_health(f->p, disk_info(disk_of(f, 2)).id, DISK_DEGRADED,
					      "it clicks", false, &msg),
			 0);
	health_store(f->p, true);
	assert_true(pool_disk_status(f->p, 0, &st));
	since = st.since_s;
	assert_true(since > 0);
	assert_int_equal(pool_close(f->p), 0);
	f->p = NULL;
	fixture_reopen(f);
	assert_true(pool_disk_status(f->p, 0, &st));
	/* it may have passed its one trial by now */
	assert_true(st.info.state == DISK_HEALTHY || st.since_s == since);
	assert_true(pool_disk_status(f->p, 1, &st));
	assert_int_equal(st.counters.checksum_errors, 1);
	assert_true(pool_disk_status(f->p, 2, &st));
	assert_int_equal(st.info.state, DISK_DEGRADED);
	assert_true(st.is_ordered);
	assert_string_equal(st.text, "it clicks");
	assert_int_equal(trials_until_healthy(f, 2), 0); /* nothing but an order leads back */
	reopen(f);
	assert_int_equal(pool_set_disk_health(f->p, disk_info(disk_of(f, 2)).id, DISK_HEALTHY, NULL,
					      false, &msg),
			 0);
	reopen(f);
	assert_int_equal(disk_state(disk_of(f, 2)), DISK_HEALTHY);
}

static int order(struct fixture *f, unsigned i, enum disk_state to)
{
	struct pool_message msg;

	return pool_set_disk_health(f->p, disk_info(disk_of(f, i)).id, to, "a test", false, &msg);
}

/* K4 */
static void orders_lose_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(order(f, 0, DISK_FAILED), DFS_EREFUSED);
	assert_int_equal(order(f, 0, DISK_DRAINING), DFS_EREFUSED);
	assert_int_equal(disk_state(disk_of(f, 0)), DISK_HEALTHY);
	for (unsigned i = 0; i < DISKS - 1; i++)
		assert_int_equal(order(f, i, i % 2 ? DISK_SUSPECT : DISK_DEGRADED), 0);
	assert_int_equal(order(f, DISKS - 1, DISK_DEGRADED), DFS_EREFUSED); /* where to, then? */
	dev_fault_set(f->faults[0], &(struct fault_plan){.write_error = 1});
	assert_int_not_equal(order(f, 0, DISK_HEALTHY), 0);
	assert_int_equal(disk_state(disk_of(f, 0)), DISK_DEGRADED);
	dev_fault_set(f->faults[0], &(struct fault_plan){0});
	assert_int_equal(order(f, 0, DISK_HEALTHY), 0);
	for (unsigned i = 0; i < 200 && disk_state(disk_of(f, 0)) != DISK_HEALTHY; i++) {
		env_sleep_ms(10); /* a write of before told of its error only now */
		assert_int_equal(order(f, 0, DISK_HEALTHY), 0);
	}
	assert_int_equal(disk_state(disk_of(f, 0)), DISK_HEALTHY);
	disk_set_health(disk_of(f, 1), (struct disk_health){DISK_FAILED, DISK_SYNC_FAILED});
	assert_int_equal(order(f, 1, DISK_HEALTHY), DFS_EREFUSED);
}

/* K1: many checksum errors within minutes; new data goes there only if the policy needs the disk. */
static void a_disk_that_rots_is_avoided(void **state)
{
	struct fixture *f = *state;

	for (unsigned n = 0; n < 64; n++)
		disk_count_checksum_error(disk_of(f, 0));
	for (unsigned ms = 0; ms < 5000 && disk_state(disk_of(f, 0)) != DISK_DEGRADED; ms += 50)
		env_sleep_ms(50);
	assert_int_equal(disk_health(disk_of(f, 0)).event, DISK_ROT);
	for (uint8_t wanted = DISKS; wanted >= DISKS - 1; wanted--) {
		struct policy s = {.large = {1, 1}, .copies = wanted, .metadata_copies = 2};
		struct pool_message msg;

		assert_int_equal(pool_set_settings(f->p, &s, &msg), 0);
		health_note_spare(f->p);
		assert_int_equal(disk_is_eligible(pool_disks(f->p), disk_of(f, 0)),
				 wanted == DISKS);
	}
}

/* ---- slow ---- */

#define READS 200u

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* D9: of six disks one takes half a second for each call. What is read there is read from others. */
static void a_slow_disk_is_read_around(void **state)
{
	static uint8_t data[MIB(1)], back[16384];
	struct fixture *f = fixture_new(6, 3, NULL);
	struct record_piece piece = {.len = sizeof(data)};
	struct extent_new e = {.ino = {7},
			       .data = data,
			       .len = sizeof(data),
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = {4, 2}};
	uint64_t took[READS], seq;
	struct meta_txn *t;

	(void)state;
	env_random(data, sizeof(data));
	assert_int_equal(extent_write(pool_extents(f->p), &e, 1), 0);
	t = meta_begin(pool_meta(f->p));
	extent_publish(t, &e);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	assert_int_equal(meta_sync(pool_meta(f->p), seq), 0);
	dev_fault_set(f->faults[e.rec.frags[0].disk.v - 1], &(struct fault_plan){.delay_ms = 500});
	for (unsigned i = 0; i < READS; i++) {
		uint32_t off = i * 5000 % (sizeof(data) - sizeof(back));
		uint64_t began = env_now_ns();

		assert_int_equal(extent_read(pool_extents(f->p), e.rec.id, off, sizeof(back), back),
				 0);
		took[i] = env_now_ns() - began;
		assert_memory_equal(back, data + off, sizeof(back));
	}
	qsort(took, READS, sizeof(*took), by_time);
	print_message("reads with a disk of 500 ms: median %.2f ms, p99 %.2f ms, longest %.2f ms\n",
		      (double)took[READS / 2] / 1e6, (double)took[READS * 99 / 100] / 1e6,
		      (double)took[READS - 1] / 1e6);
	assert_true(took[READS * 99 / 100] < 150000000);
	fixture_free(f);
}

/* K1: one that is far slower than its peers, for some time. */
static void a_slow_disk_is_suspect(void **state)
{
	struct fixture *f = *state;

	dev_fault_set(f->faults[0], &(struct fault_plan){.delay_ms = 120});
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < DISKS; i++)
			for (unsigned n = 0; n < 3; n++) {
				struct dev_trial t;

				dev_trial(disk_dev(disk_of(f, i)), "a-test", &t);
				assert_int_equal(t.err, 0);
			}
		health_compare(f->p);
	}
	assert_int_equal(disk_health(disk_of(f, 0)).event, DISK_SLOW);
	assert_int_equal(disk_state(disk_of(f, 0)), DISK_SUSPECT);
	for (unsigned i = 1; i < DISKS; i++)
		assert_int_equal(disk_state(disk_of(f, i)), DISK_HEALTHY);
	f->p->care[disk_info(disk_of(f, 0)).id.v].try_ns = 0;
	health_try(f->p, disk_of(f, 0)); /* no trial leads back as long as it is slow */
	assert_int_equal(f->p->care[disk_info(disk_of(f, 0)).id.v].passed, 0);
}

#define P(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table),
		P(a_disk_that_failed_a_write_comes_back),
		P(a_disk_that_failed_a_sync_comes_back),
		P(states_are_remembered),
		P(orders_lose_nothing),
		P(a_disk_that_rots_is_avoided),
		cmocka_unit_test(a_slow_disk_is_read_around),
		P(a_slow_disk_is_suspect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
