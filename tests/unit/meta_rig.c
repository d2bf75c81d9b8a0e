/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/journal.h"
#include "unit/meta_rig.h"

static int data_sync(void *ctx)
{
	struct rig *r = ctx;

	__atomic_add_fetch(&r->data_syncs, 1, __ATOMIC_RELAXED);
	if (!r->data_sync_err && r->notes) {
		struct meta_txn *t = meta_begin(r->m);
		char key[16];
		int len = snprintf(key, sizeof(key), "note%u", r->notes--);

		meta_put(t, key, (size_t)len, "n", 1);
		return meta_commit_note(t);
	}
	return r->data_sync_err;
}

static void member_failed(void *ctx, disk_id id, int err)
{
	struct rig *r = ctx;

	assert_true(err < 0);
	assert_in_range(id.v, 1, RIG_MAX_DISKS);
	__atomic_add_fetch(&r->failed[id.v], 1, __ATOMIC_RELAXED);
}

static int epoch_changed(void *ctx, const struct root *root, bool needed)
{
	struct rig *r = ctx;

	(void)needed;
	if (!r->told_err)
		r->told = (struct history_witness){true, root->epoch_id, root->epoch,
						   root->generation};
	return r->told_err;
}

static void writing(void *ctx, bool begins)
{
	struct rig *r = ctx;

	if (!begins && r->stored && r->m)
		r->stored(r);
}

static void spare(void *ctx, uint64_t bytes, bool begins, struct place_disk *disks, unsigned count)
{
	struct rig *r = ctx;

	assert_true(bytes > 0 && (begins || bytes <= r->unasked));
	r->unasked += begins ? bytes : -bytes;
	for (unsigned i = 0; begins && r->nothing_spare && i < count; i++)
		disks[i].free_bytes = 0;
}

unsigned rig_disks(struct rig *r, struct meta_disk disks[RIG_MAX_DISKS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		if (r->absent[i])
			continue;
		disks[n++] = (struct meta_disk){.id = {i + 1},
						.uuid = r->uuids[i],
						.capacity_bytes = r->capacity[i],
						.dev = r->devs[i],
						.no_new = r->no_new[i],
						.leaving = r->leaving[i]};
		memcpy(disks[n - 1].domain, r->domain[i], sizeof(r->domain[i]));
	}
	return n;
}

struct meta_config rig_config(struct rig *r, struct meta_disk disks[RIG_MAX_DISKS])
{
	struct meta_config cfg = {
		.pool = r->pool,
		.index_ops = r->rocks ? &index_rocks_ops
			     : r->ops ? r->ops
				      : &index_mem_ops,
		.index_arg = r->rocks ? (void *)r->index_dir : (void *)r->store,
		.disks = disks,
		.copies = r->copies,
		.witness = r->witness,
		.line = r->line,
		.table_k = r->table_k,
		.force = r->force,
		.read_only = r->read_only,
		.checkpoint_bytes = r->checkpoint_bytes ? r->checkpoint_bytes : MIB(1),
		.buffer_bytes = r->buffer_bytes,
		.data_sync = data_sync,
		.member_failed = member_failed,
		.epoch_changed = epoch_changed,
		.writing = writing,
		.spare = spare,
		.ctx = r,
	};

	cfg.disk_count = rig_disks(r, disks);
	return cfg;
}

void rig_init(struct rig *r, bool rocks, unsigned disk_count, unsigned copies)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct fault_plan none = {0};
	struct meta_config cfg;
	const char *base;

	memset(r, 0, sizeof(*r));
	/* In memory where possible: syncs of a shared disk would make up most of the time. */
	base = getenv("TMPDIR");
	if (!base)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(r->dir, sizeof(r->dir), "%s/dfs-meta-XXXXXX", base);
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->index_dir, sizeof(r->index_dir), "%s/index", r->dir);
	r->rocks = rocks;
	r->disk_count = disk_count;
	r->copies = copies;
	r->store = index_mem_store_new();
	uuid_random(&r->pool);
	for (unsigned i = 0; i < disk_count; i++) {
		char path[128];
		struct dev *d;

		snprintf(path, sizeof(path), "%s/disk%u", r->dir, i);
		assert_int_equal(mkdir(path, 0700), 0);
		assert_int_equal(dev_dir_open(path, "dynamicfs", true, &d), 0);
		r->devs[i] = dev_fault_new(d, &none);
		uuid_random(&r->uuids[i]);
	}
	cfg = rig_config(r, disks);
	assert_int_equal(meta_format(&cfg), 0);
}

void rig_release(struct rig *r)
{
	if (r->m)
		meta_abandon(r->m);
	for (unsigned i = 0; i < r->disk_count; i++)
		dev_free(r->devs[i]);
	index_mem_store_free(r->store);
	rig_remove_tree(r->dir);
}

int rig_open(struct rig *r)
{
	struct meta_disk disks[RIG_MAX_DISKS];
	struct meta_config cfg = rig_config(r, disks);
	int err;

	assert_null(r->m);
	err = meta_open(&cfg, &r->m, &r->rec);
	if (err)
		r->m = NULL;
	return err;
}

void rig_must_open(struct rig *r) { assert_int_equal(rig_open(r), 0); }

void rig_must_close(struct rig *r)
{
	struct meta *m = r->m;

	r->m = NULL;
	assert_int_equal(meta_close(m), 0);
}

void rig_kill(struct rig *r)
{
	meta_abandon(r->m);
	r->m = NULL;
}

/* ---- content ---- */

static size_t make_value(unsigned n, unsigned version, char value[128])
{
	return (size_t)snprintf(value, 128, "value of %u, version %u, padded %*u", n, version,
				(int)(n % 60) + 1, version);
}

uint64_t rig_commit(struct rig *r, unsigned n, unsigned version)
{
	struct meta_txn *t = meta_begin(r->m);
	char key[32], value[128];
	uint64_t seq = 0;
	int key_len = snprintf(key, sizeof(key), "k%08u", n);

	meta_put(t, key, (size_t)key_len, value, make_value(n, version, value));
	meta_add(t, META_COUNT_INODES, 1);
	assert_int_equal(meta_commit(t, &seq), 0);
	return seq;
}

bool rig_has(struct rig *r, unsigned n, unsigned version)
{
	char key[32], value[128];
	int key_len = snprintf(key, sizeof(key), "k%08u", n);
	size_t len = make_value(n, version, value);
	BUF out = {0};
	int err = meta_get(r->m, key, (size_t)key_len, &out);

	if (err == DFS_ENOENT)
		return false;
	assert_int_equal(err, 0);
	return out.len == len && memcmp(out.data, value, len) == 0;
}

void rig_fill(struct rig *r, unsigned first, unsigned n, unsigned version)
{
	uint64_t seq = 0;

	for (unsigned i = 0; i < n; i++)
		seq = rig_commit(r, first + i, version);
	assert_int_equal(meta_sync(r->m, seq), 0);
}

void rig_expect_value(struct rig *r, unsigned first, unsigned n, unsigned version)
{
	for (unsigned i = first; i < first + n; i++) {
		if (!rig_has(r, i, version))
			fail_msg("key %u does not have version %u", i, version);
	}
}

/* ---- files ---- */

void rig_path(struct rig *r, unsigned disk, const char *name, char path[256])
{
	snprintf(path, 256, "%s/disk%u/dynamicfs/%s", r->dir, disk, name);
}

long rig_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

void rig_flip(const char *path, long off)
{
	FILE *f = fopen(path, "r+b");
	int c;

	assert_non_null(f);
	if (off < 0)
		off += rig_size(path);
	assert_int_equal(fseek(f, off, SEEK_SET), 0);
	c = fgetc(f);
	assert_int_not_equal(c, EOF);
	assert_int_equal(fseek(f, off, SEEK_SET), 0);
	fputc(c ^ 0x10, f);
	fclose(f);
}

void rig_remove_tree(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;

	if (!d) {
		unlink(path);
		return;
	}
	while ((de = readdir(d))) {
		char sub[512];

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name);
		rig_remove_tree(sub);
	}
	closedir(d);
	rmdir(path);
}

bool rig_find(struct rig *r, unsigned disk, const char *dir, const char *prefix, char path[256])
{
	char parent[256];
	DIR *d;
	struct dirent *de;
	bool found = false;

	rig_path(r, disk, dir, parent);
	d = opendir(parent);
	assert_non_null(d);
	while (!found && (de = readdir(d))) {
		if (de->d_name[0] == '.' || strncmp(de->d_name, prefix, strlen(prefix)) != 0)
			continue;
		assert_true(snprintf(path, 256, "%s/%s", parent, de->d_name) < 256);
		found = rig_size(path) > 0;
	}
	closedir(d);
	return found;
}

void rig_destroy_index(struct rig *r)
{
	const struct index_ops *ops = r->rocks ? &index_rocks_ops : &index_mem_ops;

	assert_int_equal(ops->destroy(r->rocks ? (void *)r->index_dir : (void *)r->store), 0);
}

void rig_find_record(struct rig *r, unsigned disk, uint64_t seq, struct rig_record *ret)
{
	char dir[200], name[64];
	struct dirent *de;
	DIR *d;

	rig_path(r, disk, "meta/journal", ret->path);
	snprintf(dir, sizeof(dir), "%.199s", ret->path);
	d = opendir(dir);
	assert_non_null(d);
	while ((de = readdir(d))) {
		FREE uint8_t *data = NULL;
		size_t len = 0;

		if (strlen(de->d_name) != 16)
			continue;
		snprintf(name, sizeof(name), "meta/journal/%.16s", de->d_name);
		assert_int_equal(dev_read_all(r->devs[disk], name, MIB(64), &data, &len), 0);
		for (size_t at = 0; at < len; at += 8) {
			uint32_t total = 0;

			if (journal_record_peek(data + at, len - at, &r->pool, &total) != seq)
				continue;
			snprintf(ret->path, sizeof(ret->path), "%s/%.16s", dir, de->d_name);
			ret->off = at;
			ret->len = total;
			ret->second_off = ALIGN_DOWN(len / 2, 4096);
			closedir(d);
			return;
		}
	}
	fail_msg("no record %u on disk %u", (unsigned)seq, disk);
}

void rig_put_after(const struct rig_record *rec, const struct buf *bytes)
{
	FILE *f = fopen(rec->path, "r+b");

	assert_non_null(f);
	assert_int_equal(fseek(f, (long)(rec->off + rec->len), SEEK_SET), 0);
	assert_int_equal(fwrite(bytes->data, 1, bytes->len, f), bytes->len);
	fclose(f);
}

unsigned rig_count_journals(struct rig *r, unsigned disk, const char *prefix)
{
	char dir[256];
	struct dirent *de;
	unsigned n = 0;
	DIR *d;

	rig_path(r, disk, "meta/journal", dir);
	d = opendir(dir);
	assert_non_null(d);
	while ((de = readdir(d)))
		n += de->d_name[0] != '.' && strncmp(de->d_name, prefix, strlen(prefix)) == 0;
	closedir(d);
	return n;
}
