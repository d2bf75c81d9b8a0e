/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/file_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

uint64_t file_rig_capacity[RIG_DISKS];
const char *file_rig_domain[RIG_DISKS];
unsigned file_rig_disks;

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	if (getenv("VERBOSE") || (level == LOG_ERROR && getenv("ERRORS")))
		fprintf(stderr, "%s", line);
}

void file_rig_add_disk(struct file_rig *r, unsigned i)
{
	struct pool_disk_spec spec = {.path = r->disk[i],
				      .capacity_bytes = r->capacity_bytes,
				      .domain = file_rig_domain[i]};
	uint64_t own = file_rig_capacity[i];
	struct pool_message msg = {""};
	struct disk_info info;
	bool same;
	int rc;

	spec.capacity_bytes = own ? own : spec.capacity_bytes;
	assert_int_equal(mkdir(r->disk[i], 0755), 0);
	rc = pool_add_disk(r->pool, &spec, &info, &same, &msg);
	if (rc)
		print_message("%s\n", msg.text);
	assert_int_equal(rc, 0);
}

static void open_pool(struct file_rig *r)
{
	/* small journals: these pools are many */
	const struct pool_env env = {.checkpoint_bytes = MIB(1)};
	struct pool_message msg = {""};
	int rc = pool_open(r->pool_dir, NULL, &env, &r->pool, &msg);

	if (rc)
		print_message("%s\n", msg.text);
	assert_int_equal(rc, 0);
}

void file_rig_open(struct file_rig *r)
{
	if (!r->pool)
		open_pool(r);
	assert_int_equal(fs_open(r->pool, &r->cfg, &r->fs), 0);
	assert_int_equal(fs_inode_get(r->fs, (ino_id){DFS_ROOT_INO}, &r->root), 0);
}

void file_rig_close(struct file_rig *r)
{
	fs_forget(r->fs, r->root, 1);
	assert_int_equal(fs_close(r->fs), 0);
	assert_int_equal(pool_close(r->pool), 0);
	r->fs = NULL;
	r->pool = NULL;
}

void file_rig_reopen(struct file_rig *r)
{
	file_rig_close(r);
	file_rig_open(r);
}

void file_rig_crash(struct file_rig *r)
{
	fs_abandon(r->fs);
	pool_abandon(r->pool);
	r->fs = NULL;
	r->pool = NULL;
	file_rig_open(r);
}

static void report(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	print_message("fsck: %s: %s\n", severity, text);
}

void file_rig_fsck(struct file_rig *r)
{
	struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {""};
	struct pool_fsck_result result, some;
	unsigned range;
	struct pool *p;
	int rc = pool_open(r->pool_dir, &opt, NULL, &p, &msg);

	if (rc)
		print_message("%s\n", msg.text);
	assert_int_equal(rc, 0);
	rc = pool_fsck(p, true, report, NULL, &result);
	/* each range walks all names: some ranges, however many inodes there are */
	range = (unsigned)MAX(3, MAX(result.inodes, result.extents) / 8);
	assert_int_equal(pool_fsck_within(p, true, range, report, NULL, &some), rc);
	assert_memory_equal(&some, &result, sizeof(some)); /* FS2 */
	pool_abandon(p);
	assert_int_equal(rc, 0);
	assert_int_equal(result.problems, 0);
}

struct file_rig *file_rig_new(const struct fs_config *cfg, uint64_t capacity_bytes)
{
	struct file_rig *r = calloc(1, sizeof(*r));
	struct pool_message msg = {""};
	struct policy s;

	log_set_sink(quiet, NULL);
	if (cfg)
		r->cfg = *cfg;
	r->capacity_bytes = capacity_bytes;
	snprintf(r->top, sizeof(r->top), "%s/dfs-test-file-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(r->top));
	snprintf(r->pool_dir, sizeof(r->pool_dir), "%s/pool", r->top);
	for (unsigned i = 0; i < RIG_DISKS; i++)
		snprintf(r->disk[i], sizeof(r->disk[i]), "%s/disk%u", r->top, i);
	pool_settings_default(&s);
	assert_int_equal(pool_init(r->pool_dir, &s, NULL, &msg), 0);
	open_pool(r);
	for (unsigned i = 0; i < (file_rig_disks ? file_rig_disks : RIG_DISKS); i++)
		file_rig_add_disk(r, i);
	file_rig_open(r);
	return r;
}

void file_rig_free(struct file_rig *r)
{
	char cmd[128];

	file_rig_close(r);
	file_rig_fsck(r);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", r->top);
	assert_int_equal(system(cmd), 0);
	free(r);
}

struct inode *rig_create(struct file_rig *r, struct inode *dir, const char *name)
{
	struct fs_cred cred = {0};
	struct fs_attr attr;
	struct inode *in;

	assert_int_equal(fs_mknod(r->fs, dir, name, S_IFREG | 0644, 0, cred, &in, &attr), 0);
	return in;
}

struct inode *rig_mkdir(struct file_rig *r, struct inode *dir, const char *name)
{
	struct fs_cred cred = {0};
	struct fs_attr attr;
	struct inode *in;

	assert_int_equal(fs_mkdir(r->fs, dir, name, 0755, cred, &in, &attr), 0);
	return in;
}

struct inode *rig_lookup(struct file_rig *r, struct inode *dir, const char *name)
{
	struct fs_attr attr;
	struct inode *in;

	assert_int_equal(fs_lookup(r->fs, dir, name, &in, &attr), 0);
	return in;
}

int rig_exists(struct file_rig *r, struct inode *dir, const char *name)
{
	struct fs_attr attr;
	struct inode *in;
	int rc = fs_lookup(r->fs, dir, name, &in, &attr);

	if (rc == 0)
		fs_forget(r->fs, in, 1);
	return rc;
}

struct fs_attr rig_attr(struct file_rig *r, struct inode *in)
{
	struct fs_attr attr;

	assert_int_equal(fs_getattr(r->fs, in, &attr), 0);
	return attr;
}

void rig_write(struct file_rig *r, struct inode *in, uint64_t off, const void *buf, size_t len)
{
	assert_int_equal(fs_write(r->fs, in, off, len, buf, false), 0);
}

void rig_truncate(struct file_rig *r, struct inode *in, uint64_t size)
{
	struct fs_attr attr = {.size = size};

	assert_int_equal(fs_setattr(r->fs, in, &attr, FS_SET_SIZE, &attr), 0);
	assert_int_equal(attr.size, size);
}

void rig_expect(struct file_rig *r, struct inode *in, const void *want, size_t len)
{
	uint8_t *got = malloc(len + 1);
	size_t got_len;

	assert_int_equal(fs_read(r->fs, in, 0, len + 1, got, &got_len), 0);
	assert_int_equal(got_len, len);
	if (memcmp(got, want, len) != 0) {
		size_t i = 0;

		while (got[i] == ((const uint8_t *)want)[i])
			i++;
		print_message("first difference at %zu: got %02x\n", i, got[i]);
		fail();
	}
	free(got);
}
