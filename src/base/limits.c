/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits are met before a pool is opened, where a message reaches the person, rather than in the middle of
 * its work, where a thread that can't be started or memory that is refused ends the process. No locks; the
 * figures are for a pool in use and hold some room.
 */
#include "base/limits.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/types.h"
#include "base/words.h"

#define OPEN_FILES_WANTED 65536u
#define OPEN_FILES_LEAST 64u	   /* what everything but the disks needs: RocksDB, FUSE, sockets */
#define OPEN_FILES_OF_A_DISK 8u	   /* its directory, journals, open segments, a few others */
#define FILE_BYTES_LEAST MIB(256)  /* twice a segment */
#define ADDRESS_BYTES_LEAST GIB(2) /* 1.3 GiB were seen: stacks, RocksDB's arenas */
#define THREADS_LEAST 48u	   /* 30 were seen with six disks */

static void raise_soft(int which, rlim_t wanted)
{
	struct rlimit l;
	rlim_t hard;

	if (getrlimit(which, &l) != 0 || l.rlim_cur >= wanted)
		return;
	hard = l.rlim_max;
	l.rlim_cur = wanted;
	l.rlim_max = MAX(hard, wanted);
	if (setrlimit(which, &l) == 0) /* root may */
		return;
	l.rlim_cur = MIN(wanted, hard);
	l.rlim_max = hard;
	if (setrlimit(which, &l) != 0)
		log_debug("limit %d stays as it is", which);
}

void limits_raise(void)
{
	signal(SIGXFSZ, SIG_IGN);
	raise_soft(RLIMIT_NOFILE, OPEN_FILES_WANTED);
	raise_soft(RLIMIT_FSIZE, RLIM_INFINITY);
}

unsigned limits_open_files(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return OPEN_FILES_LEAST;
	return (unsigned)MAX(MIN(l.rlim_cur, (rlim_t)OPEN_FILES_WANTED), (rlim_t)OPEN_FILES_LEAST);
}

struct gate {
	pthread_mutex_t lock;
};

static void *wait_at_gate(void *arg)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->lock);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* The limits on threads are several and not all can be asked (cgroups), so it is tried. */
static unsigned count_threads(unsigned wanted, int *ret_errno)
{
	struct gate g = {PTHREAD_MUTEX_INITIALIZER};
	pthread_t t[THREADS_LEAST];
	unsigned n;

	pthread_mutex_lock(&g.lock);
	for (n = 0; n < wanted; n++) {
		*ret_errno = pthread_create(&t[n], NULL, wait_at_gate, &g);
		if (*ret_errno)
			break;
	}
	pthread_mutex_unlock(&g.lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	return n;
}

static int check_threads(char *why, size_t why_len)
{
	int e = 0;
	unsigned n = count_threads(THREADS_LEAST, &e);

	if (n == THREADS_LEAST)
		return 0;
	snprintf(why, why_len,
		 "only %u %s can be started (%s), and %u are needed: raise the limit on processes "
		 "(ulimit -u, or the cgroup's pids.max)",
		 n, plural(n, "thread", "threads"), strerror(e), THREADS_LEAST);
	return DFS_EBUSY;
}

int limits_check(unsigned disks, char *why, size_t why_len)
{
	unsigned long long files = OPEN_FILES_LEAST +
				   (unsigned long long)OPEN_FILES_OF_A_DISK * disks;
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < files) {
		snprintf(why, why_len,
			 "only %llu %s may be open, and %llu are needed for %u %s: raise the limit "
			 "(ulimit -Hn)",
			 (unsigned long long)l.rlim_cur, plural(l.rlim_cur, "file", "files"), files,
			 disks, plural(disks, "disk", "disks"));
		return DFS_EBUSY;
	}
	if (getrlimit(RLIMIT_FSIZE, &l) == 0 && l.rlim_cur < FILE_BYTES_LEAST) {
		snprintf(
			why, why_len,
			"files may have %llu KiB only, and %llu MiB are needed: raise the limit (ulimit "
			"-Hf)",
			(unsigned long long)l.rlim_cur / 1024,
			(unsigned long long)FILE_BYTES_LEAST >> 20);
		return DFS_EFBIG;
	}
	if (getrlimit(RLIMIT_AS, &l) == 0 && l.rlim_cur < ADDRESS_BYTES_LEAST) {
		snprintf(
			why, why_len,
			"the process may have %llu MiB of memory only, and %llu MiB of addresses are "
			"needed: raise the limit (ulimit -v)",
			(unsigned long long)l.rlim_cur >> 20,
			(unsigned long long)ADDRESS_BYTES_LEAST >> 20);
		return DFS_ENOMEM;
	}
	return check_threads(why, why_len);
}
