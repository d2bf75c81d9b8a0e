/* SPDX-License-Identifier: Apache-2.0 */
/* See disk_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "unit/disk_fixture.h"

static void on_error(void *ctx, disk_id id, bool is_read, int err, const char *what)
{
	struct fixture *f = ctx;
	struct disk *d = disk_get(f->set, id); /* takes locks: would hang if one were held */
	ENV_LOCKED(&f->lock);

	f->errors++;
	f->last_id = id;
	f->last_err = err;
	f->last_is_read = is_read;
	f->last_state = d ? disk_state(d) : 0;
	(void)snprintf(f->last_what, sizeof(f->last_what), "%s", what);
}

char *disk_path(struct fixture *f, unsigned i) { return xasprintf("%s/d%u", f->top, i); }

void shell(struct fixture *f, const char *cmd)
{
	FREE char *line = xasprintf("cd '%s' && %s", f->top, cmd);

	assert_int_equal(system(line), 0);
}

struct disk_info info_of(unsigned i)
{
	struct disk_info info = {.id = {i + 1}, .state = DISK_HEALTHY};

	(void)snprintf(info.label, sizeof(info.label), "disk%u", i);
	return info;
}

void add(struct fixture *f, unsigned i, const struct disk_info *info, uint32_t first)
{
	FREE char *path = disk_path(f, i);
	struct dev *dev;

	assert_int_equal(dev_dir_open(path, "dynamicfs", true, &dev), 0);
	f->faults[i] = dev_fault_new(dev, &(struct fault_plan){0});
	dev = dev_deadline_new(f->group, f->faults[i]);
	assert_int_equal(disk_add(f->set, info, dev, first), 0);
	f->disks[i] = disk_get(f->set, info->id);
	assert_non_null(f->disks[i]);
}

int set_up_empty(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	env_mutex_init(&f->lock);
	f->top = xasprintf("%s/dfs-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->top));
	for (unsigned i = 0; i < DISKS; i++) {
		FREE char *path = disk_path(f, i);

		assert_int_equal(mkdir(path, 0700), 0);
	}
	f->set = disk_set_new(on_error, f);
	f->group = dev_group_new(f->deadline_ms);
	*state = f;
	return 0;
}

int set_up(void **state)
{
	set_up_empty(state);
	for (unsigned i = 0; i < DISKS; i++) {
		struct disk_info info = info_of(i);

		add(*state, i, &info, 0);
	}
	return 0;
}

int tear_down(void **state)
{
	struct fixture *f = *state;
	FREE char *d0 = disk_path(f, 0);

	disk_set_free(f->set);
	dev_group_put(f->group);
	if (f->mounted)
		(void)umount2(d0, MNT_DETACH);
	shell(f, "rm -rf \"$PWD\"");
	env_mutex_release(&f->lock);
	free(f->top);
	free(f);
	return 0;
}

void fill(void *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)((i * 2654435761u + seed * 40503u) >> 8);
}

int write_at(struct disk *d, struct segment_addr addr, void *data, size_t len)
{
	struct iovec iov = {data, len};
	struct disk_io io = {
		.disk = d, .op = DISK_WRITE, .addr = addr, .iov = &iov, .iovcnt = 1, .result = 1};
	int rc = disk_io_run(&io, 1);

	assert_int_equal(rc, io.result);
	return rc;
}

int read_at(struct disk *d, struct segment_addr addr, void *data, size_t len)
{
	struct iovec iov = {data, len};
	struct disk_io io = {
		.disk = d, .op = DISK_READ, .addr = addr, .iov = &iov, .iovcnt = 1, .result = 1};
	int rc = disk_io_run(&io, 1);

	assert_int_equal(rc, io.result);
	return rc;
}

struct segment_addr append(struct disk *d, void *data, uint32_t len)
{
	struct segment_addr addr;

	assert_int_equal(segment_reserve(d, len, &addr), 0);
	assert_int_equal(write_at(d, addr, data, len), 0);
	segment_settle(d, addr);
	return addr;
}

int sync_all(struct fixture *f, disk_id *failed, unsigned *count)
{
	int rc;

	*count = 99;
	rc = disk_set_sync(f->set, failed, count);
	assert_true(*count <= disk_count(f->set));
	assert_int_equal(rc != 0, *count != 0);
	return rc;
}
