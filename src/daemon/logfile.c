/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POOL/log: appended to, and set aside as POOL/log.old at 16 MiB, so that the log has a bound (P9).
 * Lines of any thread; the lock orders them around the change of files. A log that can't be written
 * (the pool directory's disk is full) is tried again with the next line.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"

#define LOG_BYTES_MAX MIB(16)

static struct {
	struct env_mutex lock; /* leaf: all below */
	char *path, *old_path;
	int fd; /* -1: none */
	uint64_t size_bytes;
	bool also_stderr;
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

static void take_line(void *ctx, enum log_level level, const char *line)
{
	size_t len = strlen(line);
	ssize_t n = -1;

	(void)ctx;
	(void)level;
	ENV_LOCKED(&logfile.lock);
	if (logfile.fd >= 0 && logfile.size_bytes + len > LOG_BYTES_MAX) {
		close(logfile.fd);
		/* When it can't be renamed it grows on: better than losing lines. */
		if (rename(logfile.path, logfile.old_path) != 0)
			logfile.size_bytes = 0;
		open_file();
	}
	if (logfile.fd >= 0)
		n = write(logfile.fd, line, len);
	if (n > 0)
		logfile.size_bytes += (uint64_t)n;
	if (logfile.also_stderr || logfile.fd < 0)
		n = write(STDERR_FILENO, line, len);
	(void)n;
}

void logfile_open(const char *pool_dir, bool also_stderr)
{
	env_mutex_init(&logfile.lock);
	logfile.path = xasprintf("%s/log", pool_dir);
	logfile.old_path = xasprintf("%s/log.old", pool_dir);
	logfile.also_stderr = also_stderr;
	open_file();
	if (logfile.fd < 0)
		log_warn("cannot write the log %s: %s; it goes to stderr", logfile.path,
			 strerror(errno));
	log_set_sink(take_line, NULL);
}

void logfile_quiet(void)
{
	ENV_LOCKED(&logfile.lock);
	logfile.also_stderr = false;
}

void logfile_close(void)
{
	log_set_sink(NULL, NULL);
	if (logfile.fd >= 0)
		close(logfile.fd);
	logfile.fd = -1;
	free(logfile.path);
	free(logfile.old_path);
	logfile.path = logfile.old_path = NULL;
	env_mutex_release(&logfile.lock);
}
