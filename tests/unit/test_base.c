/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of base/: ids, byte strings and readers, hash, log, environment, errors. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/log.h"
#include "base/types.h"

/* ---- an environment whose clocks stand where the test puts them; the rest is never called ---- */

static uint64_t fake_now_ns, fake_wall_ns;

static uint64_t fake_now(void) { return fake_now_ns; }
static uint64_t fake_wall(void) { return fake_wall_ns; }
static void fake_random(void *buf, size_t len) { memset(buf, 0xff, len); }

static const struct env_ops fake_env = {
	.now_ns = fake_now,
	.wall_ns = fake_wall,
	.random = fake_random,
};

static int use_fake_env(void **state)
{
	(void)state;
	fake_now_ns = 1;
	fake_wall_ns = 1700000000ULL * 1000000000;
	env_install(&fake_env);
	return 0;
}

static int use_real_env(void **state)
{
	(void)state;
	env_install(NULL);
	log_set_sink(NULL, NULL);
	log_set_level(LOG_INFO);
	return 0;
}

/* ---- errors ---- */

static void err_names_and_texts(void **state)
{
	(void)state;
	assert_string_equal(dfs_err_name(0), "DFS_OK");
	assert_string_equal(dfs_err_name(DFS_ENOENT), "DFS_ENOENT");
	assert_string_equal(dfs_err_text(DFS_ECHECKSUM), "checksum mismatch");
	assert_string_equal(dfs_err_name(-9999), "DFS_E?");
	assert_string_equal(dfs_err_text(-9999), "unknown error");
	assert_string_equal(dfs_err_name(ENAMETOOLONG), "ENAMETOOLONG");
	for (int e = 1; e < 134;
	     e++) { /* every errno has a name and words; two numbers were never used */
		if (e == 41 || e == 58)
			continue;
		assert_string_equal(dfs_err_text(e), strerror(e));
		assert_int_equal(dfs_err_name(e)[0], 'E');
	}
	assert_int_equal(DFS_EIO, -10);
}

/* ---- ids ---- */

static void uuid_text_round_trip(void **state)
{
	const char *text = "0189d8a1-7c3e-7f00-bfff-0123456789ab";
	char out[UUID_TEXT_LEN + 1];
	struct uuid u;

	(void)state;
	assert_int_equal(uuid_parse(text, &u), 0);
	assert_int_equal(u.b[0], 0x01);
	assert_int_equal(u.b[15], 0xab);
	uuid_format(&u, out);
	assert_string_equal(out, text);
	assert_int_equal(uuid_parse("0189D8A1-7C3E-7F00-BFFF-0123456789AB", &u), 0);
	uuid_format(&u, out);
	assert_string_equal(out, text);
}

static void uuid_parse_refuses(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"0189d8a1",
		"0189d8a1-7c3e-7f00-bfff-0123456789a",
		"0189d8a1-7c3e-7f00-bfff-0123456789abc",
		"0189d8a17c3e7f00bfff0123456789ab",
		"0189d8a1-7c3e-7f00-bfff-0123456789ag",
		"0189d8a1_7c3e-7f00-bfff-0123456789ab",
		"{189d8a1-7c3e-7f00-bfff-0123456789a}",
	};
	struct uuid u = {{42}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(uuid_parse(bad[i], &u), DFS_EINVAL);
	assert_int_equal(u.b[0], 42);
}

static void uuid_versions(void **state)
{
	struct uuid a, b;

	(void)state;
	uuid_random(&a);
	uuid_random(&b);
	assert_false(uuid_eq(&a, &b));
	assert_int_equal(a.b[6] >> 4, 4);
	assert_int_equal(a.b[8] >> 6, 2);
	uuid_time_ordered(&a);
	assert_int_equal(a.b[6] >> 4, 7);
	assert_int_equal(a.b[8] >> 6, 2);
	assert_false(uuid_is_null(&a));
	assert_true(uuid_is_null(&(struct uuid){{0}}));
}

static void uuid_carries_the_time(void **state)
{
	uint64_t ms = 0;
	struct uuid u;

	(void)state;
	fake_wall_ns = 0x0123456789abULL * 1000000 + 500000;
	uuid_time_ordered(&u);
	for (int i = 0; i < 6; i++)
		ms = ms << 8 | u.b[i];
	assert_int_equal(ms, 0x0123456789abULL);
	/* half a millisecond is 0x800 of 0x1000 */
	assert_int_equal(u.b[6], 0x78);
	assert_int_equal(u.b[7], 0x00);
}

/* Strictly increasing, though the clock stands still, creeps, or steps back by a day. */
static void uuid_strictly_increases(void **state)
{
	struct uuid last, next;

	(void)state;
	uuid_time_ordered(&last);
	for (int i = 0; i < 20000; i++) {
		if (i % 7 == 0)
			fake_wall_ns += 100;
		if (i == 10000)
			fake_wall_ns -= 86400ULL * 1000000000;
		uuid_time_ordered(&next);
		assert_true(memcmp(last.b, next.b, 16) < 0);
		last = next;
	}
}

/* Before 1970, where the clock's number is negative, ids still differ and grow; and beyond those that an
 * earlier process made. */
static void uuid_grows_whatever_the_clock(void **state)
{
	struct uuid last, next, far = {{0x02, 0, 0, 0, 0, 0, 0x7f, 0xff, 0x80}};

	(void)state;
	uuid_time_ordered(&last);
	fake_wall_ns = (uint64_t)(-5 * 1000000000ll);
	for (int i = 0; i < 1000; i++) {
		uuid_time_ordered(&next);
		assert_true(memcmp(last.b, next.b, 16) < 0);
		last = next;
	}
	assert_true(last.b[0] < 0x02);
	uuid_clock_follow(&far);
	for (int i = 0; i < 1000; i++) {
		uuid_time_ordered(&next);
		assert_true(memcmp(far.b, next.b, 16) < 0);
		assert_true(memcmp(last.b, next.b, 16) < 0);
		last = next;
	}
	far.b[6] = 0x4f; /* not of that kind */
	far.b[0] = 0xff;
	uuid_clock_follow(&far);
	uuid_time_ordered(&next);
	assert_true(next.b[0] < 0xff);
}

static void uuid_restarts_with_the_environment(void **state)
{
	struct uuid first, again;

	(void)state;
	uuid_time_ordered(&first);
	uuid_time_ordered(&again);
	assert_false(uuid_eq(&first, &again));
	use_fake_env(NULL);
	uuid_time_ordered(&again);
	assert_true(uuid_eq(&first, &again));
}

struct uuid_racer {
	struct uuid ids[2000];
};

static void race_uuids(void *arg)
{
	struct uuid_racer *r = arg;

	for (size_t i = 0; i < ARRAY_SIZE(r->ids); i++)
		uuid_time_ordered(&r->ids[i]);
}

static void uuid_threads_increase(void **state)
{
	struct uuid_racer *racers = xcalloc(4, sizeof(*racers));
	struct env_thread *threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		threads[i] = env_thread_start("racer", race_uuids, &racers[i]);
	for (int i = 0; i < 4; i++)
		env_thread_join(threads[i]);
	for (int i = 0; i < 4; i++) {
		for (size_t j = 1; j < ARRAY_SIZE(racers[i].ids); j++)
			assert_true(memcmp(&racers[i].ids[j - 1], &racers[i].ids[j], 16) < 0);
	}
	free(racers);
}

/* ---- byte strings ---- */

static void buf_layout(void **state)
{
	static const uint8_t expected[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d,
		0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x04, 0x05, 0x06, 0x07, 0x08,
		0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 'a',	'b',
	};
	BUF b = {0};

	(void)state;
	buf_put_u8(&b, 0x01);
	buf_put_le16(&b, 0x0203);
	buf_put_le32(&b, 0x04050607);
	buf_put_le64(&b, 0x08090a0b0c0d0e0f);
	buf_put_be32(&b, 0x04050607);
	buf_put_be64(&b, 0x08090a0b0c0d0e0f);
	buf_put(&b, "ab", 2);
	buf_put(&b, NULL, 0);
	assert_int_equal(b.len, sizeof(expected));
	assert_memory_equal(b.data, expected, sizeof(expected));
}

static void buf_grows_and_resets(void **state)
{
	uint8_t *memory;
	BUF b = {0};

	(void)state;
	assert_non_null(buf_extend(&b, 0));
	assert_int_equal(b.len, 0);
	for (uint32_t i = 0; i < 100000; i++)
		buf_put_le32(&b, i);
	assert_int_equal(b.len, 400000);
	for (uint32_t i = 0; i < 100000; i++) {
		struct reader r = reader_of(b.data + 4 * i, 4);

		assert_int_equal(reader_le32(&r), i);
	}
	memory = b.data;
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	buf_put_u8(&b, 1);
	assert_ptr_equal(b.data, memory);
	buf_release(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
}

static void reader_reads_in_order(void **state)
{
	char text[3] = "";
	struct reader r;
	BUF b = {0};

	(void)state;
	buf_put_u8(&b, 9);
	buf_put_le16(&b, 65535);
	buf_put_le32(&b, 4000000000u);
	buf_put_le64(&b, UINT64_MAX);
	buf_put_be32(&b, 7);
	buf_put_be64(&b, 8);
	buf_put(&b, "xy", 2);
	r = reader_of(b.data, b.len);
	assert_int_equal(reader_u8(&r), 9);
	assert_int_equal(reader_le16(&r), 65535);
	assert_int_equal(reader_le32(&r), 4000000000u);
	assert_true(reader_le64(&r) == UINT64_MAX);
	assert_int_equal(reader_be32(&r), 7);
	assert_int_equal(reader_be64(&r), 8);
	assert_int_equal(reader_left(&r), 2);
	reader_copy(&r, text, 2);
	assert_string_equal(text, "xy");
	assert_int_equal(reader_left(&r), 0);
	assert_false(r.bad);
}

/* The bytes lie at the very end of their own allocation, so that ASan sees any step past it. */
static void reader_stays_in_bounds(void **state)
{
	FREE uint8_t *data = xmalloc(7);
	uint8_t copy[4] = {1, 1, 1, 1};
	struct reader r;

	(void)state;
	memset(data, 0xee, 7);
	r = reader_of(data, 7);
	assert_true(reader_le32(&r) == 0xeeeeeeee);
	assert_int_equal(reader_le32(&r), 0);
	assert_true(r.bad);
	/* Once bad, it stays so, though three bytes are left. */
	assert_int_equal(reader_left(&r), 3);
	assert_int_equal(reader_u8(&r), 0);
	assert_null(reader_bytes(&r, 1));
	reader_copy(&r, copy, 4);
	assert_memory_equal(copy, "\0\0\0\0", 4);

	r = reader_of(data, 7);
	assert_null(reader_bytes(&r, SIZE_MAX));
	assert_true(r.bad);
	r = reader_of(data, 7);
	assert_ptr_equal(reader_bytes(&r, 7), data);
	assert_ptr_equal(reader_bytes(&r, 0), data + 7);
	assert_false(r.bad);
	assert_int_equal(reader_le64(&r), 0);
	assert_true(r.bad);
	r = reader_of(NULL, 0);
	assert_int_equal(reader_be64(&r), 0);
	assert_true(r.bad);
}

/* ---- hash ---- */

static void assert_hash(const struct hash *h, const char *hex)
{
	char text[2 * HASH_LEN + 1];

	for (int i = 0; i < HASH_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", h->b[i]);
	assert_string_equal(text, hex);
}

/* From the official test vectors: the input is 0, 1, ... 250, 0, 1, ... */
static void hash_known_answers(void **state)
{
	static const struct {
		size_t len;
		const char *hex;
	} cases[] = {
		{0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
		{1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"},
		{1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
		{1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
		{8192, "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63"},
		{102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
	};
	FREE uint8_t *input = xmalloc(102400);
	struct hash h;

	(void)state;
	for (size_t i = 0; i < 102400; i++)
		input[i] = (uint8_t)(i % 251);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		hash_bytes(input, cases[i].len, &h);
		assert_hash(&h, cases[i].hex);
	}
}

static void hash_of_parts_is_hash_of_whole(void **state)
{
	FREE uint8_t *input = xmalloc(70000);
	struct hash whole, parts;
	uint64_t first = 0;

	(void)state;
	for (size_t i = 0; i < 70000; i++)
		input[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t split = 0; split <= 70000; split += 6999) {
		struct iovec iov[] = {{input, split / 2},
				      {NULL, 0},
				      {input + split / 2, split - split / 2},
				      {input + split, 70000 - split}};

		hash_bytes(input, 70000, &whole);
		hash_two(input, split, input + split, 70000 - split, &parts);
		assert_memory_equal(&whole, &parts, sizeof(whole));
		hash_iov(iov, ARRAY_SIZE(iov), &parts);
		assert_memory_equal(&whole, &parts, sizeof(whole));
	}
	for (int i = 7; i >= 0; i--)
		first = first << 8 | whole.b[i];
	assert_true(hash64_two(input, 12345, input + 12345, 70000 - 12345) == first);
	hash_iov(NULL, 0, &parts);
	assert_hash(&parts, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

static void hash_stream_is_hash_of_whole(void **state)
{
	FREE uint8_t *input = xmalloc(70000);
	struct hash_stream *s = hash_stream_new();
	struct hash whole, streamed;

	(void)state;
	for (size_t i = 0; i < 70000; i++)
		input[i] = (uint8_t)(i * 13 + i / 256);
	for (size_t at = 0, len = 0; at < 70000; at += len) {
		len = MIN(70000 - at, (at * 7) % 5000 + 1);
		hash_stream_add(s, input + at, len);
	}
	hash_stream_end(s, &streamed);
	hash_bytes(input, 70000, &whole);
	assert_memory_equal(&whole, &streamed, sizeof(whole));
	hash_stream_end(hash_stream_new(), &streamed);
	assert_hash(&streamed, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
}

/* ---- log ---- */

struct kept_lines {
	unsigned count;
	char last[4096];
	char before_last[4096];
};

static void keep_line(void *ctx, enum log_level level, const char *line)
{
	struct kept_lines *kept = ctx;

	(void)level;
	memcpy(kept->before_last, kept->last, sizeof(kept->last));
	snprintf(kept->last, sizeof(kept->last), "%s", line);
	kept->count++;
}

static void log_line_shape(void **state)
{
	struct kept_lines kept = {0};
	char name[] = "a\nb\x7f\x1b[1m";

	(void)state;
	log_set_sink(keep_line, &kept);
	fake_wall_ns = 1700000000ULL * 1000000000 + 45000000;
	log_error("cannot read '%s': %d", name, 5);
	assert_string_equal(kept.last,
			    "2023-11-14T22:13:20.045Z error: cannot read 'a?b??[1m': 5\n");
	log_debug("not shown");
	assert_int_equal(kept.count, 1);
	log_set_level(LOG_DEBUG);
	log_debug("shown");
	assert_int_equal(kept.count, 2);
	log_set_level(LOG_ERROR);
	log_warn("not shown");
	assert_int_equal(kept.count, 2);
}

static void log_line_is_bounded(void **state)
{
	struct kept_lines kept = {0};
	char *big = xmalloc(5001);

	(void)state;
	memset(big, 'x', 5000);
	big[5000] = '\0';
	log_set_sink(keep_line, &kept);
	log_warn("%s", big);
	assert_int_equal(strlen(kept.last), 2048);
	assert_string_equal(kept.last + 2044, "...\n");
	big[2000] = '\0';
	log_warn("%s", big);
	assert_string_equal(kept.last + strlen(kept.last) - 3, "xx\n");
	free(big);
}

static void say_again(int i) { log_warn("again %d", i); }

static void log_limits_a_call_site(void **state)
{
	struct kept_lines kept = {0};

	(void)state;
	log_set_sink(keep_line, &kept);
	for (int i = 0; i < 1000; i++)
		say_again(i);
	assert_int_equal(kept.count, 20);
	assert_non_null(strstr(kept.last, "again 19\n"));
	/* Another site isn't limited by this one. */
	log_warn("other");
	assert_int_equal(kept.count, 21);
	/* Just before the window's end: still silent. */
	fake_now_ns += 10ULL * 1000000000 - 1;
	say_again(1000);
	assert_int_equal(kept.count, 21);
	/* At its end: the line, and the count of those left out. */
	fake_now_ns += 1;
	say_again(1001);
	assert_int_equal(kept.count, 23);
	assert_non_null(strstr(kept.before_last, "again 1001\n"));
	assert_non_null(strstr(kept.last, "981 more lines"));
	/* Nothing was left out of a quiet window. */
	fake_now_ns += 10ULL * 1000000000;
	say_again(1002);
	assert_int_equal(kept.count, 24);
	/* An earlier clock, as after a change of environment, begins a new window. */
	fake_now_ns = 5;
	for (int i = 0; i < 30; i++)
		say_again(i);
	assert_int_equal(kept.count, 44);
}

/* ---- environment ---- */

struct meeting {
	struct env_mutex lock;
	struct env_cond changed;
	unsigned counter; /* under lock */
	bool go;	  /* under lock */
};

static void meeting_init(struct meeting *m)
{
	*m = (struct meeting){0};
	env_mutex_init(&m->lock);
	env_cond_init(&m->changed);
}

static void meeting_release(struct meeting *m)
{
	env_cond_release(&m->changed);
	env_mutex_release(&m->lock);
}

static void cond_wait_times_out(void **state)
{
	CLEANUP(meeting_release) struct meeting m;
	uint64_t begin_ns, took_ms;

	(void)state;
	meeting_init(&m);
	begin_ns = env_now_ns();
	{
		ENV_LOCKED(&m.lock);
		assert_false(env_cond_wait_ms(&m.changed, &m.lock, 50));
		env_assert_held(&m.lock);
	}
	took_ms = (env_now_ns() - begin_ns) / 1000000;
	assert_true(took_ms >= 50);
	assert_true(took_ms < 10000);
}

static void count_up(void *arg)
{
	struct meeting *m = arg;

	ENV_LOCKED(&m->lock);
	while (!m->go)
		env_cond_wait(&m->changed, &m->lock);
	m->counter++;
	env_cond_broadcast(&m->changed);
}

static void threads_meet(void **state)
{
	CLEANUP(meeting_release) struct meeting m;
	struct env_thread *threads[8];

	(void)state;
	meeting_init(&m);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		threads[i] = env_thread_start("fifteen-letters", count_up, &m);
	{
		ENV_LOCKED(&m.lock);
		assert_int_equal(m.counter, 0);
		m.go = true;
		env_cond_broadcast(&m.changed);
		while (m.counter < ARRAY_SIZE(threads))
			assert_true(env_cond_wait_ms(&m.changed, &m.lock, UINT64_MAX));
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		env_thread_join(threads[i]);
	assert_int_equal(m.counter, ARRAY_SIZE(threads));
}

static void keep_mask(void *arg)
{
	sigset_t *mask = arg;

	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, mask), 0);
}

static void threads_leave_signals_to_others(void **state)
{
	sigset_t before, in_thread, after;

	(void)state;
	keep_mask(&before);
	env_thread_join(env_thread_start("masked", keep_mask, &in_thread));
	keep_mask(&after);
	assert_true(sigismember(&in_thread, SIGTERM));
	assert_true(sigismember(&in_thread, SIGINT));
	assert_false(sigismember(&in_thread, SIGSEGV));
	assert_false(sigismember(&before, SIGTERM));
	assert_false(sigismember(&after, SIGTERM));
}

static void clocks_and_sleep(void **state)
{
	uint64_t begin_ns = env_now_ns();

	(void)state;
	env_sleep_ms(20);
	assert_true(env_now_ns() - begin_ns >= 20000000);
	/* after 2020 */
	assert_true(env_wall_ns() > 1577836800ULL * 1000000000);
	assert_true(env_random_u64() != env_random_u64());
}

/* Runs fn in a child; true when it ended by abort(). */
static bool aborts(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void assert_unheld(void)
{
	struct env_mutex m;

	env_mutex_init(&m);
	env_assert_held(&m);
}

static void assert_false_claim(void) { ASSERT(1 + 1 == 3); }
static void nothing(void) { ASSERT(1 + 1 == 2); }

static void mistakes_end_the_process(void **state)
{
	(void)state;
	assert_true(aborts(assert_false_claim));
	assert_true(aborts(assert_unheld));
	assert_false(aborts(nothing));
}

static void mapped_memory(void **state)
{
	uint8_t *p = mem_map(MIB(8));

	(void)state;
	assert_non_null(p);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[MIB(8) - 1], 0);
	p[MIB(8) - 1] = 1;
	mem_unmap(p, MIB(8));
	mem_unmap(NULL, MIB(8));
	/* More than an address space: an answer, not an end. */
	assert_null(mem_map((size_t)1 << 62));
}

static void strings(void **state)
{
	FREE char *copy = xstrdup("disk");
	FREE char *text = xasprintf("%s-%d", copy, 7);

	(void)state;
	assert_string_equal(text, "disk-7");
	assert_int_equal(ALIGN_UP(4097, 4096), 8192);
	assert_int_equal(ALIGN_UP(4096, 4096), 4096);
	assert_int_equal(ALIGN_DOWN(4097, 4096), 4096);
	assert_int_equal(DIV_UP(9, 4), 3);
}

#define faked(test) cmocka_unit_test_setup_teardown(test, use_fake_env, use_real_env)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_names_and_texts),
		cmocka_unit_test(uuid_text_round_trip),
		cmocka_unit_test(uuid_parse_refuses),
		cmocka_unit_test(uuid_versions),
		faked(uuid_carries_the_time),
		faked(uuid_strictly_increases),
		faked(uuid_grows_whatever_the_clock),
		faked(uuid_restarts_with_the_environment),
		cmocka_unit_test(uuid_threads_increase),
		cmocka_unit_test(buf_layout),
		cmocka_unit_test(buf_grows_and_resets),
		cmocka_unit_test(reader_reads_in_order),
		cmocka_unit_test(reader_stays_in_bounds),
		cmocka_unit_test(hash_known_answers),
		cmocka_unit_test(hash_of_parts_is_hash_of_whole),
		cmocka_unit_test(hash_stream_is_hash_of_whole),
		faked(log_line_shape),
		faked(log_line_is_bounded),
		faked(log_limits_a_call_site),
		cmocka_unit_test(cond_wait_times_out),
		cmocka_unit_test(threads_meet),
		cmocka_unit_test(threads_leave_signals_to_others),
		cmocka_unit_test(clocks_and_sleep),
		cmocka_unit_test(mistakes_end_the_process),
		cmocka_unit_test(mapped_memory),
		cmocka_unit_test(strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
