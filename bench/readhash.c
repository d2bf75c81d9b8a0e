/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a scrub is measured by: reads files with some threads, 1 MiB at a time, and hashes what it read (BLAKE3). Prints the bytes,
 * the seconds, MB/s and the CPU seconds. usage: readhash THREADS BLOCK_KIB FILE... (one hash for each block)
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/types.h"

#define THREADS_MAX 64

static char **files;
static int file_count;
static size_t block_bytes;
static atomic_int next_file;
static atomic_ullong total;
static atomic_bool failed;

static void read_file(const char *path, uint8_t *buf)
{
	int fd = open(path, O_RDONLY);
	struct hash h;
	ssize_t n = -1;

	if (fd >= 0)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (fd >= 0 && (n = read(fd, buf, MIB(1))) > 0) {
		for (size_t at = 0; at < (size_t)n; at += block_bytes)
			hash_bytes(buf + at, MIN(block_bytes, (size_t)n - at), &h);
		atomic_fetch_add(&total, (unsigned long long)n);
	}
	if (n < 0) {
		perror(path);
		atomic_store(&failed, true);
	}
	if (fd >= 0)
		close(fd);
}

static void *thread_main(void *arg)
{
	uint8_t *buf = malloc(MIB(1));
	int i;

	while (buf && (i = atomic_fetch_add(&next_file, 1)) < file_count)
		read_file(files[i], buf);
	free(buf);
	return arg;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	int threads = argc > 3 ? MIN(atoi(argv[1]), THREADS_MAX) : 0;
	pthread_t ids[THREADS_MAX];
	double began = now_s(), took;

	if (threads < 1) {
		fprintf(stderr, "usage: readhash THREADS BLOCK_KIB FILE...\n");
		return 2;
	}
	block_bytes = (size_t)KIB(MAX(atoi(argv[2]), 1));
	files = argv + 3;
	file_count = argc - 3;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, thread_main, NULL))
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	took = now_s() - began;
	printf("%llu %.4f %.0f %.3f\n", (unsigned long long)total, took, (double)total / took / 1e6,
	       (double)clock() / CLOCKS_PER_SEC);
	return failed ? 1 : 0;
}
