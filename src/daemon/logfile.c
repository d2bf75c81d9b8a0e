/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POOL/log: appended to, and set aside as POOL/log.old at 16 MiB, so that the log has a bound (P9).
 * Lines of any thread, written by one of its own: a pool directory that hangs must stop nobody who has
 * something to say. Who says that something is wrong waits a moment for it to be written, so that a process
 * that ends then has said it. A log that can't be written (the pool directory's disk is full) is tried again
 * with the next line.
 *
 * Locks: logfile.lock, a leaf, not held while writing.
 */
#include "base/words.h"
#include "daemon/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/le.h"
#include "base/log.h"

#define LOG_BYTES_MAX MIB(16)
#define PENDING_BYTES_MAX MIB(1)
#define MOMENT_MS 500u
#define END_PATIENCE_MS 5000u

static struct {
	struct env_mutex lock;
	struct env_cond wake, written;
	struct buf pending;	/* lock, as all up to thread */
	uint64_t taken, stored; /* bytes ever */
	uint64_t writing_since; /* 0: the writer waits */
	unsigned dropped;	/* lines for which there was no room */
	bool stop, ended, also_stderr;
	struct env_thread *thread;
	char *path, *old_path; /* the writer's, as all below */
	int fd;		       /* -1: none */
	uint64_t size_bytes;
} logfile = {.fd = -1};

static void open_file(void)
{
	struct stat st;

	/* Never through a link, and a FIFO must not make us wait. */
	logfile.fd = open(logfile.path,
			  O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
			  0640);
	logfile.size_bytes = logfile.fd >= 0 && fstat(logfile.fd, &st) == 0 ? (uint64_t)st.st_size
									    : 0;
}

static void write_out(const void *data, size_t len)
{
	ssize_t n = -1;

	if (logfile.fd >= 0 && logfile.size_bytes + len > LOG_BYTES_MAX) {
		close(logfile.fd);
		/* When it can't be renamed it grows on: better than losing lines. */
		if (rename(logfile.path, logfile.old_path) != 0)
			logfile.size_bytes = 0;
		open_file();
	}
	if (logfile.fd >= 0)
		n = write(logfile.fd, data, len);
	if (n > 0)
		logfile.size_bytes += (uint64_t)n;
	if (logfile.fd < 0)
		n = write(STDERR_FILENO, data, len);
	(void)n;
}

/* Lock held. */
static void note_dropped(void)
{
	char line[128];
	int n = snprintf(line, sizeof(line), "(%u %s left out: the log could not be written)\n",
			 logfile.dropped, plural(logfile.dropped, "line was", "lines were"));

	buf_put(&logfile.pending, line, (size_t)n);
	logfile.taken += (size_t)n;
	logfile.dropped = 0;
}

static void writer(void *arg)
{
	struct buf now = {0};

	(void)arg;
	env_mutex_lock(&logfile.lock);
	while (logfile.pending.len || !logfile.stop) {
		struct buf empty = now;

		if (!logfile.pending.len) {
			env_cond_wait(&logfile.wake, &logfile.lock);
			continue;
		}
		if (logfile.dropped)
			note_dropped();
		now = logfile.pending;
		logfile.pending = empty;
		logfile.writing_since = env_now_ns();
		env_mutex_unlock(&logfile.lock);
		write_out(now.data, now.len);
		env_mutex_lock(&logfile.lock);
		logfile.stored += now.len;
		logfile.writing_since = 0;
		buf_reset(&now);
		env_cond_broadcast(&logfile.written);
	}
	buf_release(&now);
	logfile.ended = true;
	env_cond_broadcast(&logfile.written);
	env_mutex_unlock(&logfile.lock);
}

/* Lock held. Is it no use to wait for the writer? */
static bool is_stuck(void)
{
	return logfile.writing_since &&
	       env_now_ns() - logfile.writing_since > MOMENT_MS * 1000000ull;
}

static void take_line(void *ctx, enum log_level level, const char *line)
{
	size_t len = strlen(line);
	uint64_t mine;
	ENV_LOCKED(&logfile.lock);

	(void)ctx;
	if (logfile.also_stderr && write(STDERR_FILENO, line, len) < 0)
		logfile.also_stderr = false;
	if (logfile.pending.len + len > PENDING_BYTES_MAX) {
		logfile.dropped++;
		return;
	}
	buf_put(&logfile.pending, line, len);
	mine = logfile.taken += len;
	env_cond_signal(&logfile.wake);
	while (level >= LOG_WARN && logfile.stored < mine && !is_stuck())
		(void)env_cond_wait_ms(&logfile.written, &logfile.lock, MOMENT_MS);
}

/* Signals are for the thread that waits for them. */
static void start_writer(void)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	logfile.thread = env_thread_start("dfs-log", writer, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void logfile_open(const char *pool_dir, bool also_stderr)
{
	env_mutex_init(&logfile.lock);
	env_cond_init(&logfile.wake);
	env_cond_init(&logfile.written);
	logfile.path = xasprintf("%s/log", pool_dir);
	logfile.old_path = xasprintf("%s/log.old", pool_dir);
	logfile.also_stderr = also_stderr;
	open_file();
	if (logfile.fd < 0)
		log_warn("cannot write the log %s: %s; it goes to stderr", logfile.path,
			 strerror(errno));
	start_writer();
	log_set_sink(take_line, NULL);
}

void logfile_quiet(void)
{
	ENV_LOCKED(&logfile.lock);
	logfile.also_stderr = false;
}

/* A writer that does not come back is left: the process ends. */
void logfile_close(void)
{
	uint64_t start_ns = env_now_ns();
	bool ended;

	log_set_sink(NULL, NULL);
	env_mutex_lock(&logfile.lock);
	logfile.stop = true;
	env_cond_signal(&logfile.wake);
	while (!logfile.ended && env_now_ns() - start_ns < END_PATIENCE_MS * 1000000ull)
		(void)env_cond_wait_ms(&logfile.written, &logfile.lock, MOMENT_MS);
	ended = logfile.ended;
	env_mutex_unlock(&logfile.lock);
	if (!ended)
		return;
	env_thread_join(logfile.thread);
	if (logfile.fd >= 0)
		close(logfile.fd);
	logfile.fd = -1;
	free(logfile.path);
	free(logfile.old_path);
	logfile.path = logfile.old_path = NULL;
	buf_release(&logfile.pending);
	env_cond_release(&logfile.written);
	env_cond_release(&logfile.wake);
	env_mutex_release(&logfile.lock);
}
