/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values of the index: whatever parses is put as the same bytes, and any record can be
 * shown as text. Input: length of the key (2 bytes, little-endian), key, value.
 */
#include "fuzz.h"

#include <sys/uio.h>

#include "base/log.h"
#include "format/record.h"
#include "stub_meta.h"

struct input {
	const uint8_t *key, *val;
	size_t key_len, val_len;
};

static void put_check(struct meta_txn *t, const struct input *in)
{
	struct journal_op op;

	stub_last_put(t, &op);
	REQUIRE(op.key_len == in->key_len && memcmp(op.key, in->key, in->key_len) == 0);
	REQUIRE(op.value_len == in->val_len && memcmp(op.value, in->val, in->val_len) == 0);
}

#define ARGS in->key, in->key_len, in->val, in->val_len

static bool check_files(const struct input *in, struct meta_txn *t)
{
	struct rec_dentry dentry;
	struct rec_inode inode;
	struct rec_map map;
	struct rec_orphan orphan;
	struct rec_usage usage;
	struct rec_prealloc prealloc;
	uint64_t slot;
	const uint8_t *data;
	size_t len;
	ino_id ino;

	if (parse_inode(ARGS, &ino, &inode) == 0) {
		put_inode(t, ino, &inode);
	} else if (parse_inline(ARGS, &ino, &data, &len) == 0) {
		put_inline(t, ino, data, len);
	} else if (parse_dentry(ARGS, &ino, &dentry) == 0) {
		put_dentry(t, ino, &dentry);
	} else if (parse_map(ARGS, &ino, &map) == 0) {
		put_map(t, ino, &map);
	} else if (parse_orphan(ARGS, &orphan) == 0) {
		put_orphan(t, &orphan);
	} else if (parse_usage(ARGS, &usage) == 0) {
		put_usage(t, &usage);
	} else if (parse_prealloc(ARGS, &prealloc) == 0) {
		put_prealloc(t, &prealloc);
	} else if (parse_fold(ARGS, &ino, &slot) == 0) {
		put_fold(t, ino, slot);
	} else if (parse_narrow(ARGS, &ino, &slot) == 0) {
		put_narrow(t, ino, slot);
	} else {
		return false;
	}
	return true;
}

static bool check_xattr(const struct input *in, struct meta_txn *t)
{
	const uint8_t *value;
	const char *name;
	size_t name_len, value_len;
	ino_id ino;
	char text[DFS_NAME_MAX + 1];

	if (parse_xattr(ARGS, &ino, &name, &name_len, &value, &value_len))
		return false;
	REQUIRE(name_len <= DFS_NAME_MAX);
	memcpy(text, name, name_len);
	text[name_len] = '\0';
	put_xattr(t, ino, text, value, value_len);
	return true;
}

/* What is not read is written as a fixed number: so the record is compared, not its bytes. */
static void check_settings(struct meta_txn *t)
{
	struct rec_settings settings, again;
	struct journal_op op;

	if (get_settings(stub_meta(), &settings))
		return;
	put_settings(t, &settings);
	stub_last_put(t, &op);
	buf_reset(&stub_value);
	buf_put(&stub_value, op.value, op.value_len);
	REQUIRE(get_settings(stub_meta(), &again) == 0);
	REQUIRE(memcmp(&again.policy, &settings.policy, sizeof(again.policy)) == 0);
	REQUIRE(again.next_disk == settings.next_disk);
}

static bool check_extents(const struct input *in, struct meta_txn *t)
{
	struct rec_extent extent;
	struct rec_bydisk bydisk;
	struct rec_freed freed;
	struct rec_disk disk;
	struct rec_health health;
	uint32_t next, from;
	disk_id of;

	if (parse_extent(ARGS, &extent) == 0) {
		REQUIRE(extent.k >= 1 && extent.k <= 16 && extent.m <= 8);
		REQUIRE(extent.len <= extent.k * extent.fragment_len);
		REQUIRE(extent.fragment_len > 0 && extent.header_len <= RECORD_MAX_HEADER_LEN);
		put_extent(t, &extent);
	} else if (parse_bydisk(ARGS, &bydisk) == 0) {
		put_bydisk(t, &bydisk);
	} else if (parse_freed(ARGS, &freed) == 0) {
		put_freed(t, &freed);
	} else if (parse_numbers(ARGS, &of, &next) == 0) {
		put_numbers(t, of, next);
	} else if (parse_doubt(ARGS, &of, &next, &from) == 0) {
		put_doubt(t, of, next, from);
	} else if (parse_health(ARGS, &health) == 0) {
		put_health(t, &health);
	} else if (parse_disk(ARGS, &disk) == 0) {
		put_disk(t, &disk);
	} else {
		return false;
	}
	return true;
}

static void no_log(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_of(data, size);
	struct meta_txn *t;
	struct input in;
	struct hash chain;
	uint64_t seq;
	BUF text = {0};

	in.key_len = reader_le16(&r);
	in.key = reader_bytes(&r, in.key_len);
	if (!in.key)
		return 0;
	in.val = r.p;
	in.val_len = reader_left(&r);
	log_set_sink(no_log, NULL);
	buf_reset(&stub_key);
	buf_reset(&stub_value);
	buf_put(&stub_key, in.key, in.key_len);
	buf_put(&stub_value, in.val, in.val_len);
	if (in.val_len >= 16)
		stub_generation = fuzz_get32(in.val + 8) | (uint64_t)fuzz_get32(in.val + 12) << 32;
	record_to_text(in.key, in.key_len, in.val, in.val_len, &text);
	REQUIRE(text.len > 0 && text.len < KIB(64));
	(void)txn_load_applied(stub_meta(), &seq, &chain);
	t = meta_begin(stub_meta());
	if (check_files(&in, t) || check_xattr(&in, t) || check_extents(&in, t))
		put_check(t, &in);
	else
		check_settings(t);
	meta_cancel(t);
	return 0;
}

/* The name's hash in a directory entry's key. */
static void fix_dentry(uint8_t *key, size_t key_len)
{
	struct reader r = reader_of(key + 1, 8);
	ino_id dir = {reader_be64(&r)};
	uint64_t cookie = dentry_hash(dir, (const char *)key + 17, key_len - 17);

	for (unsigned i = 0; i < 8; i++)
		key[9 + i] = (uint8_t)(cookie >> (56 - 8 * i));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint8_t *key = data + 2, *val;
	size_t key_len, val_len;
	struct hash check;
	struct iovec iov[3];

	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < 2 || seed % 16 == 0)
		return size;
	key_len = MIN(fuzz_get16(data), MIN(size - 2, (size_t)JOURNAL_MAX_KEY));
	fuzz_put16(data, (uint16_t)key_len);
	val = key + key_len;
	val_len = size - 2 - key_len;
	if (key_len > 17 && key_len <= 17 + DFS_NAME_MAX && key[0] == TABLE_DENTRY && seed % 8)
		fix_dentry(key, key_len);
	if (val_len < ENVELOPE_LEN)
		return size;
	if (seed % 4) {
		fuzz_put32(val, ENVELOPE_VERSION);
		fuzz_put32(val + 4, (uint32_t)(val_len - ENVELOPE_LEN));
	}
	iov[0] = (struct iovec){key, key_len};
	iov[1] = (struct iovec){val, 16};
	iov[2] = (struct iovec){val + ENVELOPE_LEN, val_len - ENVELOPE_LEN};
	hash_iov(iov, 3, &check);
	memcpy(val + 16, check.b, 8);
	return size;
}
