/* SPDX-License-Identifier: Apache-2.0 */
/* tests/asan/arena.c: what AddressSanitizer would find, it finds in blocks from there, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN
#endif
#endif

#ifdef HAS_ASAN
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sanitizer/asan_interface.h>

static bool is_poisoned(const void *p, size_t off)
{
	return __asan_address_is_poisoned((const uint8_t *)p + off);
}

/* Where it lies may not be known to the compiler, which leaves out what nobody sees. */
static void *hidden(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

static void test_around_a_block(void **state)
{
	const size_t sizes[] = {65536, 65537, 131071, 1000001, 5u << 20, 60u << 20};

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint8_t *p = hidden(malloc(sizes[i]));

		assert_non_null(p);
		assert_true(is_poisoned(p - 1, 0));
		assert_false(is_poisoned(p, 0));
		assert_false(is_poisoned(p, sizes[i] - 1));
		assert_true(is_poisoned(p, sizes[i]));
		free(p);
		assert_true(is_poisoned(p, 0));
		assert_true(is_poisoned(p, sizes[i] - 1));
	}
}

static void test_zeros_and_growing(void **state)
{
	uint8_t *p = hidden(malloc(100000)), *q;

	(void)state;
	memset(p, 7, 100000);
	free(p);
	for (unsigned i = 0; i < 3; i++) {
		q = hidden(calloc(1000, 100));
		for (unsigned at = 0; at < 100000; at++)
			assert_int_equal(q[at], 0);
		memset(q, 9, 100000);
		free(q);
	}
	p = hidden(malloc(100));
	memset(p, 5, 100);
	p = hidden(realloc(p, 200000));
	p = hidden(realloc(p, 3000000));
	assert_int_equal(p[99], 5);
	assert_true(is_poisoned(p, 3000000));
	p = hidden(realloc(p, 150000));
	assert_int_equal(p[99], 5);
	assert_true(is_poisoned(p, 150000));
	free(p);
}
static void free_twice(void)
{
	void *p = hidden(malloc(100000));

	free(p);
	free(hidden(p));
}

static void leak(void)
{
	(void)hidden(malloc(100000));
	exit(0);
}

/* What becomes of a process that does it. */
static int status_of(void (*wrong)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		wrong();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_freed_twice(void **state)
{
	int status = status_of(free_twice);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_leaked(void **state)
{
	const char *options = getenv("ASAN_OPTIONS");
	int status = status_of(leak);

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status),
			 options && strstr(options, "detect_leaks=0") ? 0 : 23);
}
#else
static void test_only_with_address_sanitizer(void **state)
{
	(void)state;
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef HAS_ASAN
		cmocka_unit_test(test_around_a_block),
		cmocka_unit_test(test_zeros_and_growing),
		cmocka_unit_test(test_freed_twice),
		cmocka_unit_test(test_leaked),
#else
		cmocka_unit_test(test_only_with_address_sanitizer),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
