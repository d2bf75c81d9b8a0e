/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of system calls below the directory device (dev/dir.c): what may only be believed after a power
 * cut can't be seen in files, so this program stands between the device and the kernel, and writes down what
 * is synced and renamed when (P1, P2, S2).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/dev.h"

static char events[1024]; /* "sync:NAME ", "rename:NAME " in order */
static int fails_next;	  /* errno of the next sync */

static const char *leaf_of(int fd, char path[512])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, 511);
	path[n > 0 ? n : 0] = '\0';
	return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

static void note(const char *what, const char *name)
{
	size_t at = strlen(events);

	if (!strncmp(name, ".tmp-", 5))
		name = "aside";
	snprintf(events + at, sizeof(events) - at, "%s:%s ", what, name);
}

static int synced(int fd, long call)
{
	char path[512];

	note("sync", leaf_of(fd, path));
	if (fails_next) {
		errno = fails_next;
		fails_next = 0;
		return -1;
	}
	return (int)syscall(call, fd);
}

/* Instead of the C library's. */
int fsync(int fd) { return synced(fd, SYS_fsync); }

int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	note("rename", to);
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

struct fixture {
	char top[64];
	struct dev *dev;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->top, sizeof(f->top), "/tmp/dfs-test-order-XXXXXX");
	assert_non_null(mkdtemp(f->top));
	assert_int_equal(dev_dir_open(f->top, "disk", true, &f->dev), 0);
	assert_int_equal(dev_mkdir(f->dev, "meta"), 0);
	events[0] = '\0';
	fails_next = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	dev_free(f->dev);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->top);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

/* Aside, synced, renamed, and then the directory: in this order, or a power cut leaves an empty file, or
 * the old one though the new one was promised. */
static void test_replace(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dev_replace(f->dev, "meta/root", "one", 3), 0);
	assert_string_equal(events, "sync:aside rename:root sync:meta ");
	events[0] = '\0';
	assert_int_equal(dev_replace(f->dev, "disk.json", "two", 3), 0);
	assert_string_equal(events, "sync:aside rename:disk.json sync:disk ");
}

/* What could not be synced does not take the place of what is there. */
static void test_replace_that_fails(void **state)
{
	struct fixture *f = *state;
	FREE uint8_t *data = NULL;
	size_t len;

	assert_int_equal(dev_replace(f->dev, "meta/root", "one", 3), 0);
	events[0] = '\0';
	fails_next = EIO;
	assert_int_equal(dev_replace(f->dev, "meta/root", "two", 3), DFS_EIO);
	assert_string_equal(events, "sync:aside ");
	assert_int_equal(dev_read_all(f->dev, "meta/root", 10, &data, &len), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(data, "one", 3);
}

static void test_sync(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file;

	assert_int_equal(dev_open(f->dev, "meta/file", DEV_CREATE, &file), 0);
	assert_int_equal(dev_write(file, "x", 1, 0), 0);
	assert_string_equal(events, "");
	assert_int_equal(dev_sync(file), 0);
	assert_string_equal(events, "sync:file ");
	fails_next = EIO;
	assert_int_equal(dev_sync(file), DFS_EIO);
	fails_next = ENOSPC;
	assert_int_equal(dev_sync(file), DFS_ENOSPC);
	events[0] = '\0';
	fails_next = EINTR; /* nothing was synced: asked again */
	assert_int_equal(dev_sync(file), 0);
	assert_string_equal(events, "sync:file sync:file ");
	dev_close(file);
}

static void test_sync_dir(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(dev_sync_dir(f->dev, "meta"), 0);
	assert_int_equal(dev_sync_dir(f->dev, ""), 0);
	assert_string_equal(events, "sync:meta sync:disk ");
	fails_next = EIO;
	assert_int_equal(dev_sync_dir(f->dev, "meta"), DFS_EIO);
	fails_next = EINVAL; /* this filesystem can't */
	assert_int_equal(dev_sync_dir(f->dev, "meta"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sync_dir, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
