/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log. A message says: cannot do what, to which object, why, what was done about it, what the
 * person can do. Lines go to the sink set by log_set_sink (default stderr), one write each, bounded
 * to 2 KiB; the same call site is limited to 20 lines in 10 s, with a count of what was left out.
 */
#ifndef DFS_BASE_LOG_H
#define DFS_BASE_LOG_H

enum log_level {
	LOG_DEBUG,
	LOG_INFO,
	LOG_WARN,
	LOG_ERROR
};

/* line holds time, level and text, and ends with a newline and a NUL. Called from any thread. */
typedef void (*log_sink_fn)(void *ctx, enum log_level level, const char *line);

/* Not thread-safe: call before threads start. NULL restores stderr. */
void log_set_sink(log_sink_fn fn, void *ctx);
void log_set_level(enum log_level least);

struct log_site {
	unsigned long long window_start_ns;
	unsigned count;
};
void log_at(struct log_site *site, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_line(level, ...)                                                                       \
	do {                                                                                       \
		static struct log_site log_site_;                                                  \
		log_at(&log_site_, level, __VA_ARGS__);                                            \
	} while (0)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

#endif
