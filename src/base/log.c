/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one bounded, timestamped line for each message, handed to the sink in one piece. A call
 * site that repeats itself is limited (P9), and says how much it left out when its window ends.
 * Control bytes are masked, so that a file's name can't forge a line. No locks: a site's counters
 * are atomics, and a race between two threads at a window's edge costs at most a line too many.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/types.h"
#include "base/words.h"

#define LINE_MAX_BYTES 2048
#define WINDOW_NS (10ULL * 1000 * 1000 * 1000)
#define WINDOW_LINES 20

static log_sink_fn sink;
static void *sink_ctx;
static enum log_level least_level = LOG_INFO;

void log_set_sink(log_sink_fn fn, void *ctx)
{
	sink = fn;
	sink_ctx = ctx;
}

void log_set_level(enum log_level least) { least_level = least; }

static const char *level_text(enum log_level level)
{
	switch (level) {
	case LOG_DEBUG:
		return "debug";
	case LOG_INFO:
		return "info";
	case LOG_WARN:
		return "warning";
	case LOG_ERROR:
		return "error";
	}
	return "?";
}

/*
 * May this line be written? The first call of a new window also learns how many lines of the last
 * one were left out. A clock that ran backwards (another environment) begins a new window.
 */
static bool admit(struct log_site *site, unsigned *ret_left_out)
{
	unsigned long long now = env_now_ns();
	unsigned long long start = __atomic_load_n(&site->window_start_ns, __ATOMIC_RELAXED);
	unsigned count;

	*ret_left_out = 0;
	if (start == 0 || now < start || now - start >= WINDOW_NS) {
		if (__atomic_compare_exchange_n(&site->window_start_ns, &start, now ? now : 1,
						false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
			count = __atomic_exchange_n(&site->count, 1, __ATOMIC_RELAXED);
			if (count > WINDOW_LINES)
				*ret_left_out = count - WINDOW_LINES;
			return true;
		}
	}
	count = __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED);
	return count <= WINDOW_LINES;
}

static size_t put_head(char *line, enum log_level level)
{
	uint64_t wall_ns = env_wall_ns();
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(line, 64, "%Y-%m-%dT%H:%M:%S", &tm);
	len += (size_t)snprintf(line + len, 64, ".%03uZ %s: ", (unsigned)(wall_ns / 1000000 % 1000),
				level_text(level));
	return len;
}

static void emit(enum log_level level, char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c < 0x20 || c == 0x7f)
			line[i] = '?';
	}
	line[len] = '\n';
	line[len + 1] = '\0';
	if (sink) {
		sink(sink_ctx, level, line);
		return;
	}
	/* A log that can't be written has nowhere to say so. */
	if (write(STDERR_FILENO, line, len + 1) < 0)
		return;
}

void log_at(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES + 1];
	const size_t room = LINE_MAX_BYTES - 1; /* the newline is within the bound */
	int saved_errno = errno;
	unsigned left_out;
	va_list args;
	size_t len;
	int n;

	if (level < least_level)
		return;
	if (!admit(site, &left_out))
		return;
	len = put_head(line, level);
	va_start(args, fmt);
	n = vsnprintf(line + len, room - len + 1, fmt, args);
	va_end(args);
	if (n < 0)
		n = 0;
	if ((size_t)n > room - len) {
		len = room;
		memcpy(line + len - 3, "...", 3);
	} else {
		len += (size_t)n;
	}
	emit(level, line, len);
	if (left_out) {
		len = put_head(line, level);
		len += (size_t)snprintf(line + len, room - len + 1,
					"(%u more %s like the last one %s left out before it)",
					left_out, plural(left_out, "line", "lines"),
					plural(left_out, "was", "were"));
		emit(level, line, len);
	}
	errno = saved_errno;
}
