/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole engine on hostile metadata (P10): a pool of three disks in memory with some files in it
 * gets one more journal record, with right checksums, that puts what the input says into the index.
 * Then the pool is opened, all of it is read, checked, changed and closed. Errors are fine; crashes,
 * hangs and reads out of bounds are not.
 *
 * Input, repeated: a byte that says what (mod 6):
 *  0 a record is put again, changed: number of the record (2), patches - 1 (1, mod 4), patches
 *    {offset (2, mod length), how (1)}: a number of 1, 2, 4 or 8 bytes becomes an edge case
 *  1 a record is deleted: number (2)
 *  2 a new record: length of key (1), of payload (2), key, payload
 *  3 the payload of one record is put under the key of another: number (2), number (2)
 *  4 a record is put under another key: number (2), patches to the key
 *  5 the newest root of a disk, or of all, is changed: disk (2, mod 4), patches
 * Envelopes, hashes of roots and hashes of names are made right.
 */
#include "fuzz.h"

#include <sys/stat.h>

#include "base/log.h"
#include "file/fs.h"
#include "mem_dev.h"
#include "meta/internal.h"
#include "pool/pool.h"
#include "sim/sim_env.h"

#define DISKS 3u
#define MAX_RECORDS 256u
#define MAX_OPS 32u
#define MAX_VISITS 64u
#define READ_BYTES KIB(64)

int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* The simulator leaves a world's first fiber behind, as what a power cut takes. */
const char *__asan_default_options(void) { return "detect_leaks=0"; }

/* The pool's index is the one in memory; pool/ names the other. */
const struct index_ops index_rocks_ops;

struct kv {
	struct buf key, payload;
};

static struct mem_disk *pool_dir_disk, *disks[DISKS];
static struct index_mem_store *store;
static struct kv records[MAX_RECORDS];
static unsigned record_count;
static struct root root; /* the newest, when the pool was kept */
static uint8_t scratch[MIB(1) + 5000];

static int open_dev(void *ctx, const char *path, const char *subdir, bool create,
		    struct dev **ret_dev)
{
	struct mem_disk *d;

	(void)ctx;
	(void)subdir;
	d = strcmp(path, "/pool") ? disks[path[2] - '0'] : pool_dir_disk;
	if (d != pool_dir_disk && !create && mem_disk_is_empty(d))
		return DFS_ENOENT;
	*ret_dev = mem_disk_open(d);
	return 0;
}

static struct pool_env env_now(void)
{
	index_mem_store_free(store);
	store = index_mem_store_new();
	return (struct pool_env){.open_dev = open_dev,
				 .index_ops = &index_mem_ops,
				 .index_arg = store,
				 .no_lock = true};
}

static void no_log(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	if (getenv("FUZZ_LOG"))
		fprintf(stderr, "%s\n", line);
}

/* ---- the pool that each run begins with ---- */

static void make_file(struct fs *fs, struct inode *dir, const char *name, size_t len, uint64_t off)
{
	struct fs_attr attr;
	struct inode *in;

	REQUIRE(fs_mknod(fs, dir, name, 0100644, 0, (struct fs_cred){0, 0}, &in, &attr) == 0);
	for (size_t i = 0; i < len; i++)
		scratch[i] = (uint8_t)(i * 7 + len);
	if (len)
		REQUIRE(fs_write(fs, in, off, len, scratch, false) == 0);
	REQUIRE(fs_fsync(fs, in, false) == 0);
	REQUIRE(fs_setxattr(fs, in, "user.name", name, strlen(name), 0) == 0);
	fs_forget(fs, in, 1);
}

static void make_files(struct fs *fs)
{
	struct fs_cred cred = {0};
	struct inode *top, *dir, *in;
	struct fs_attr attr;

	REQUIRE(fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &top) == 0);
	make_file(fs, top, "empty", 0, 0);
	make_file(fs, top, "inline", 100, 0);
	make_file(fs, top, "copies", 20000, 0);
	make_file(fs, top, "coded", sizeof(scratch), 0);
	make_file(fs, top, "sparse", 5000, GIB(1));
	REQUIRE(fs_mkdir(fs, top, "dir", 0755, cred, &dir, &attr) == 0);
	make_file(fs, dir, "below", 5000, 3);
	REQUIRE(fs_symlink(fs, dir, "link", "../inline", cred, &in, &attr) == 0);
	fs_forget(fs, in, 1);
	REQUIRE(fs_mknod(fs, dir, "node", 020644, 0x103, cred, &in, &attr) == 0);
	REQUIRE(fs_link(fs, in, top, "hard", &attr) == 0);
	fs_forget(fs, in, 1);
	fs_forget(fs, dir, 1);
	fs_forget(fs, top, 1);
}

static void keep_records(struct meta *m)
{
	struct meta_iter *it = meta_iter_new(m);

	for (meta_iter_seek(it, "", 0); meta_iter_valid(it); meta_iter_next(it)) {
		struct kv *r = &records[record_count];
		size_t key_len, val_len;
		const uint8_t *key = meta_iter_key(it, &key_len);
		const uint8_t *val = meta_iter_value(it, &val_len);

		REQUIRE(record_count++ < MAX_RECORDS && val_len >= ENVELOPE_LEN);
		buf_put(&r->key, key, key_len);
		buf_put(&r->payload, val + ENVELOPE_LEN, val_len - ENVELOPE_LEN);
	}
	meta_iter_free(it);
}

static void make_pool(void *arg)
{
	struct policy settings;
	struct pool_env env = env_now();
	struct pool_message msg;
	struct pool_open_options opt = {0};
	struct pool *p;
	struct fs *fs;
	struct fs_config cfg = {0};
	unsigned damaged;
	struct dev *dev;

	(void)arg;
	pool_settings_default(&settings);
	settings.large = (struct geometry){2, 1};
	settings.copies = 2;
	REQUIRE(pool_init("/pool", &settings, &env, &msg) == 0);
	REQUIRE(pool_open("/pool", &opt, &env, &p, &msg) == 0);
	for (unsigned i = 0; i < DISKS; i++) {
		char path[] = "/d0";
		struct pool_disk_spec spec = {.path = path};
		struct disk_info info;
		bool same;

		path[2] = (char)('0' + i);
		REQUIRE(pool_add_disk(p, &spec, &info, &same, &msg) == 0);
	}
	REQUIRE(fs_open(p, &cfg, &fs) == 0);
	make_files(fs);
	REQUIRE(fs_close(fs) == 0);
	keep_records(pool_meta(p));
	REQUIRE(pool_close(p) == 0);
	dev = mem_disk_open(disks[0]);
	REQUIRE(meta_read_root(dev, &root, &damaged) == 0 && root.clean);
	dev_free(dev);
}

/* Threads are the simulator's, so that an input has one history, and a standstill is seen. */
static void in_world(void (*fn)(void *arg), void *arg)
{
	enum sim_end end;

	sim_env_start(1, 8);
	end = sim_env_run(fn, arg);
	if (end != SIM_DONE)
		fprintf(stderr, "%s\n", sim_env_stuck_text());
	REQUIRE(end == SIM_DONE);
	sim_env_stop();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_set_sink(no_log, NULL);
	pool_dir_disk = mem_disk_new("pool", 9);
	for (unsigned i = 0; i < DISKS; i++)
		disks[i] = mem_disk_new("disk", i);
	in_world(make_pool, NULL);
	mem_disk_keep(pool_dir_disk);
	for (unsigned i = 0; i < DISKS; i++)
		mem_disk_keep(disks[i]);
	return 0;
}

/* ---- what the input changes ---- */

static void seal_put(struct buf *ops, struct buf *key, const struct buf *payload)
{
	BUF value = {0};

	if (key->len > 17 && key->len <= 17 + DFS_NAME_MAX && key->data[0] == TABLE_DENTRY) {
		struct reader r = reader_of(key->data + 1, 8);
		ino_id dir = {reader_be64(&r)};
		BUF fixed = {0};

		key_dentry(&fixed, dir,
			   dentry_hash(dir, (const char *)key->data + 17, key->len - 17),
			   (const char *)key->data + 17, key->len - 17);
		memcpy(key->data, fixed.data, fixed.len);
	}
	envelope_begin(&value);
	buf_put(&value, payload->data, payload->len);
	envelope_seal(key->data, key->len, &value, 1);
	journal_put_op(ops, key->data, (uint32_t)key->len, value.data, (uint32_t)value.len);
}

/* Numbers that are at an edge, or one step from what was there. */
static uint64_t edge(uint8_t how, uint64_t old, struct reader *r)
{
	switch (how % 12) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return UINT64_MAX;
	case 3:
		return INT64_MAX;
	case 4:
		return INT32_MAX;
	case 5:
		return old + 1;
	case 6:
		return old - 1;
	case 7:
		return old * 2;
	case 8:
		return MIB(1);
	case 9:
		return 512;
	case 10:
		return reader_u8(r);
	default:
		return reader_le16(r);
	}
}

/* Numbers are big-endian in keys. */
static void patch(struct reader *r, struct buf *payload, bool big)
{
	unsigned count = reader_u8(r) % 4 + 1u;

	for (unsigned i = 0; i < count && !r->bad; i++) {
		size_t at = reader_le16(r) % (payload->len + 2);
		uint8_t how = reader_u8(r);
		size_t width = MIN((size_t)1 << (how & 3), payload->len - MIN(at, payload->len));
		uint64_t v = 0;

		if (at >= payload->len) { /* longer, shorter */
			if (at > payload->len)
				buf_put_u8(payload, how);
			else
				payload->len -= MIN(payload->len, (size_t)how % 16);
			continue;
		}
		for (size_t b = 0; b < width; b++)
			v |= (uint64_t)payload->data[at + b] << 8 * (big ? width - 1 - b : b);
		v = edge(how >> 2, v, r);
		for (size_t b = 0; b < width; b++)
			payload->data[at + b] = (uint8_t)(v >> 8 * (big ? width - 1 - b : b));
	}
}

/* disk: DISKS means all of them. */
static void change_root(struct reader *r, unsigned disk)
{
	uint64_t slot = root.generation % ROOT_SLOTS * ROOT_SLOT_BYTES;
	uint8_t bytes[ROOT_SLOT_BYTES];
	struct hash hash;
	BUF head = {0};

	root_encode(&root, bytes);
	buf_put(&head, bytes, 4400); /* with the first rows of the table */
	patch(r, &head, false);
	memcpy(bytes, head.data, MIN(head.len, (size_t)4400));
	hash_bytes(bytes, ROOT_SLOT_BYTES - HASH_LEN, &hash);
	memcpy(bytes + ROOT_SLOT_BYTES - HASH_LEN, hash.b, HASH_LEN);
	for (unsigned i = 0; i < DISKS; i++) {
		struct dev *dev = mem_disk_open(disks[i]);
		struct dev_file *f;

		if (disk == DISKS || disk == i) {
			REQUIRE(dev_open(dev, "meta/roots", 0, &f) == 0);
			REQUIRE(dev_write(f, bytes, sizeof(bytes), slot) == 0);
			dev_close(f);
		}
		dev_free(dev);
	}
}

static void one_change(struct reader *r, struct buf *ops)
{
	uint8_t what = reader_u8(r) % 6;
	uint16_t n = what == 2 ? 0 : reader_le16(r);
	const struct kv *old = &records[n % record_count];
	BUF key = {0}, payload = {0};

	buf_put(&key, old->key.data, old->key.len);
	buf_put(&payload, old->payload.data, old->payload.len);
	if (what == 5) {
		change_root(r, n % (DISKS + 1));
		return;
	}
	if (what == 1) {
		journal_del_op(ops, key.data, (uint32_t)key.len);
		return;
	}
	if (what == 0)
		patch(r, &payload, false);
	if (what == 2) {
		uint8_t key_len = reader_u8(r);
		uint16_t len = reader_le16(r);

		buf_reset(&key);
		buf_reset(&payload);
		key_len = (uint8_t)MIN(key_len, reader_left(r));
		if (!key_len || r->bad)
			return;
		buf_put(&key, reader_bytes(r, key_len), key_len);
		len = (uint16_t)MIN(len, reader_left(r));
		if (len)
			buf_put(&payload, reader_bytes(r, len), len);
	}
	if (what == 3) {
		const struct kv *other = &records[reader_le16(r) % record_count];

		buf_reset(&key);
		buf_put(&key, other->key.data, other->key.len);
	}
	if (what == 4) {
		uint8_t table = key.data[0];

		patch(r, &key, true);
		if (!key.len || key.len > JOURNAL_MAX_KEY)
			return;
		key.data[0] = table;
	}
	seal_put(ops, &key, &payload);
}

/* The record goes to all members, behind the last transaction. */
static void inject(const struct buf *ops)
{
	char name[JOURNAL_NAME_LEN];
	struct hash hash;
	BUF out = {0};

	journal_record_encode(&(struct journal_frame){.pool = root.pool,
						      .seq = root.checkpoint_seq + 1,
						      .durable = root.checkpoint_seq,
						      .prev = root.chain},
			      ops, &out, &hash);
	snprintf(name, sizeof(name), "meta/journal/%016llx",
		 (unsigned long long)root.journal_first);
	for (unsigned i = 0; i < DISKS; i++) {
		struct dev *dev = mem_disk_open(disks[i]);

		REQUIRE(dev_replace(dev, name, out.data, out.len) == 0);
		dev_free(dev);
	}
}

/* ---- what is done to the pool ---- */

struct visit {
	struct fs *fs;
	struct pool *pool;
	unsigned count, depth;
};
struct names {
	char names[16][DFS_NAME_MAX + 1];
	unsigned count;
};

static int one_name(void *ctx, const struct fs_dirent *e)
{
	struct names *n = ctx;

	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return 0;
	if (n->count == ARRAY_SIZE(n->names))
		return 1;
	strcpy(n->names[n->count++], e->name);
	return 0;
}

static int one_extent(void *ctx, const struct fs_extent_info *e)
{
	unsigned *n = ctx;

	(void)e;
	return ++*n > 64;
}

static void read_file(struct visit *v, struct inode *in, uint64_t size)
{
	const uint64_t offs[] = {0,	   1,	       size / 2,   size > 9 ? size - 9 : 0,
				 KIB(512), MIB(1) - 9, GIB(1) - 9, size};
	static uint8_t buf[READ_BYTES];
	unsigned extents = 0;
	uint64_t off;

	for (unsigned i = 0; i < ARRAY_SIZE(offs); i++) {
		size_t got = 0;

		if (fs_read(v->fs, in, offs[i], sizeof(buf), buf, &got) == 0)
			REQUIRE(got <= sizeof(buf));
	}
	(void)!fs_list_extents(v->fs, in, one_extent, &extents);
	(void)!fs_seek(v->fs, in, 0, true, &off);
	(void)!fs_seek(v->fs, in, size / 3, false, &off);
}

static void change_file(struct visit *v, struct inode *in, uint64_t size)
{
	struct fs_attr attr = {.size = size / 2};

	(void)!fs_write(v->fs, in, 100, 5000, scratch, false);
	(void)!fs_setattr(v->fs, in, &attr, FS_SET_SIZE, &attr);
	(void)!fs_write(v->fs, in, 0, 300, scratch, true);
	(void)!fs_fallocate(v->fs, in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE, 50, 4000);
	(void)!fs_fsync(v->fs, in, false);
}

static void visit_dir(struct visit *v, struct inode *dir);

static void visit_name(struct visit *v, struct inode *dir, const char *name)
{
	struct fs_attr attr;
	struct inode *in;
	BUF out = {0};

	if (v->count++ >= MAX_VISITS || fs_lookup(v->fs, dir, name, &in, &attr))
		return;
	(void)!fs_getattr(v->fs, in, &attr);
	(void)!fs_readlink(v->fs, in, &out);
	if (fs_listxattr(v->fs, in, &out) == 0 && out.len)
		REQUIRE(out.data[out.len - 1] == 0);
	(void)!fs_getxattr(v->fs, in, "user.name", &out);
	if ((attr.mode & S_IFMT) == S_IFREG) {
		read_file(v, in, attr.size);
		change_file(v, in, attr.size);
	} else if ((attr.mode & S_IFMT) == S_IFDIR && v->depth < 4) {
		visit_dir(v, in);
	}
	(void)!fs_rename(v->fs, dir, name, dir, "renamed", 0);
	(void)!fs_unlink(v->fs, dir, "renamed");
	(void)!fs_unlink(v->fs, dir, name);
	(void)!fs_rmdir(v->fs, dir, name);
	fs_forget(v->fs, in, 1);
}

static void visit_dir(struct visit *v, struct inode *dir)
{
	struct names *n = xcalloc(1, sizeof(*n));

	v->depth++;
	(void)!fs_readdir(v->fs, dir, 0, false, one_name, n);
	for (unsigned i = 0; i < n->count; i++)
		visit_name(v, dir, n->names[i]);
	v->depth--;
	free(n);
}

static void no_report(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	(void)severity;
	(void)text;
}

static void use_pool(struct pool *p)
{
	struct visit v = {.pool = p};
	struct pool_fsck_result fsck;
	struct pool_status status;
	struct fs_config cfg = {0};
	struct fs_statfs st;
	struct inode *top;
	char path[64];

	if (!pool_has_disks(p))
		return;
	(void)!pool_fsck(p, true, no_report, NULL, &fsck);
	pool_status(p, &status);
	for (uint64_t i = 1; i < 12; i++)
		pool_inode_path(p, (ino_id){i}, path, sizeof(path));
	if (fs_open(p, &cfg, &v.fs))
		return;
	if (fs_inode_get(v.fs, (ino_id){DFS_ROOT_INO}, &top) == 0) {
		visit_dir(&v, top);
		fs_forget(v.fs, top, 1);
	}
	fs_statfs(v.fs, &st);
	(void)fs_close(v.fs);
}

struct input {
	const uint8_t *data;
	size_t size;
};

static void run_one(void *arg)
{
	const struct input *in = arg;
	struct reader r = reader_of(in->data, in->size);
	struct pool_open_options opt = {0};
	struct pool_env env = env_now();
	struct pool_message msg;
	struct pool *p;
	BUF ops = {0};

	mem_disk_reset(pool_dir_disk);
	for (unsigned i = 0; i < DISKS; i++)
		mem_disk_reset(disks[i]);
	for (unsigned i = 0; i < MAX_OPS && reader_left(&r) && !r.bad; i++)
		one_change(&r, &ops);
	inject(&ops);
	if (pool_open("/pool", &opt, &env, &p, &msg) == 0) {
		use_pool(p);
		(void)pool_close(p);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	in_world(run_one, &in);
	return 0;
}
