/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that never fails, mapped buffers that may, scope-bound cleanup, and the end of the
 * process on a programmer's mistake. A process that ends here has lost nothing that it acknowledged
 * (P1, P2): recovery is the same as after a power cut. No locks.
 */
#include "base/types.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Without stdio: its buffer might be the allocation that just failed. */
static void say(const char *line, size_t len)
{
	/* Nothing is left to be done when stderr can't be written either. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

static __attribute__((noreturn)) void out_of_memory(size_t size_bytes)
{
	char line[200];
	int len = snprintf(line, sizeof(line),
			   "dynamicfs: cannot allocate %zu bytes: out of memory; the process ends, "
			   "nothing acknowledged is lost; start it again with more memory\n",
			   size_bytes);

	say(line, (size_t)len);
	abort();
}

void assert_failed(const char *expr, const char *file, int line)
{
	char text[512];
	int len = snprintf(text, sizeof(text),
			   "dynamicfs: cannot go on: assertion '%s' failed at %s:%d; the process "
			   "ends, nothing acknowledged is lost; please report this line\n",
			   expr, file, line);

	say(text, MIN((size_t)len, sizeof(text) - 1));
	abort();
}

void cleanup_free(void *pointer_to_pointer)
{
	void *p;

	memcpy(&p, pointer_to_pointer, sizeof(p));
	free(p);
}

void *xmalloc(size_t size_bytes)
{
	void *p = malloc(size_bytes ? size_bytes : 1);

	if (!p)
		out_of_memory(size_bytes);
	return p;
}

void *xcalloc(size_t count, size_t size_bytes)
{
	void *p = calloc(count ? count : 1, size_bytes ? size_bytes : 1);

	if (!p)
		out_of_memory(count * size_bytes);
	return p;
}

void *xrealloc(void *p, size_t size_bytes)
{
	void *q = realloc(p, size_bytes ? size_bytes : 1);

	if (!q)
		out_of_memory(size_bytes);
	return q;
}

char *xstrdup(const char *s)
{
	size_t size_bytes = strlen(s) + 1;

	return memcpy(xmalloc(size_bytes), s, size_bytes);
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	char *text;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		out_of_memory(strlen(fmt));
	return text;
}

void *mem_map(size_t size_bytes)
{
	void *p = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

void mem_unmap(void *p, size_t size_bytes)
{
	int err = p ? munmap(p, size_bytes) : 0;

	ASSERT(err == 0); /* else not a range that mem_map gave */
}
