/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint's manifest: bytes to structure and back. Keeps P8 (a mirror is what its manifest says,
 * or is no mirror) and P10: names become names of files, so only plain ones are let in. Pure
 * functions without locks; knows nothing of devices.
 */
#include "format/manifest.h"

#include <stdlib.h>

#include "format/check.h"

#define MANIFEST_MAGIC 0x46494e4d53464431ull /* "1DFSMNIF" little-endian */
#define MANIFEST_VERSION 1

struct dfs_manifest_fixed {
	le64 magic;	    /* 0 */
	le16 version;	    /* 8 */
	le16 flags;	    /* 10: 0 */
	le32 total_len;	    /* 12: of the whole file */
	uint8_t pool[16];   /* 16 */
	le64 checkpoint_id; /* 32 */
	le64 seq;	    /* 40 */
	le32 count;	    /* 48 */
	uint8_t pad0[44];   /* 52: 0 */
	uint8_t hash[32];   /* 96: of total_len bytes with this field as zeros */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_manifest_fixed) == 128, "manifest size");
_Static_assert(offsetof(struct dfs_manifest_fixed, count) == 48, "count");
_Static_assert(offsetof(struct dfs_manifest_fixed, hash) == 96, "hash");

struct dfs_manifest_file {
	char name[64];	  /* 0: zeros after the name */
	char stored[96];  /* 64: likewise */
	le64 size_bytes;  /* 160 */
	uint8_t hash[32]; /* 168 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_manifest_file) == 200, "manifest entry size");
_Static_assert(sizeof(struct dfs_manifest_fixed) +
			       (uint64_t)MANIFEST_MAX_FILES * sizeof(struct dfs_manifest_file) <=
		       MANIFEST_MAX_BYTES,
	       "manifest bounds");

void manifest_release(struct manifest *m)
{
	free(m->files);
	*m = (struct manifest){0};
}

static int by_name(const void *a, const void *b)
{
	const struct manifest_file *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int by_stored(const void *a, const void *b)
{
	const struct manifest_file *const *x = a, *const *y = b;

	return strcmp((*x)->stored, (*y)->stored);
}

static bool has_twins(const struct manifest *m, int (*cmp)(const void *, const void *))
{
	FREE const struct manifest_file **order = xcalloc(m->count + 1, sizeof(*order));

	for (unsigned i = 0; i < m->count; i++)
		order[i] = &m->files[i];
	qsort(order, m->count, sizeof(*order), cmp);
	for (unsigned i = 1; i < m->count; i++)
		if (cmp(&order[i - 1], &order[i]) == 0)
			return true;
	return false;
}

static bool manifest_valid(const struct manifest *m)
{
	if (uuid_is_null(&m->pool) || m->checkpoint_id == 0 || m->count > MANIFEST_MAX_FILES)
		return false;
	for (unsigned i = 0; i < m->count; i++) {
		const struct manifest_file *f = &m->files[i];

		if (!check_name(f->name, sizeof(f->name)) ||
		    !check_name(f->stored, sizeof(f->stored)) || f->size_bytes > INT64_MAX)
			return false;
	}
	return !has_twins(m, by_name) && !has_twins(m, by_stored);
}

void manifest_encode(const struct manifest *m, struct buf *out)
{
	struct dfs_manifest_fixed f = {
		.magic = le64_of(MANIFEST_MAGIC),
		.version = le16_of(MANIFEST_VERSION),
		.checkpoint_id = le64_of(m->checkpoint_id),
		.seq = le64_of(m->seq),
		.count = le32_of(m->count),
	};
	size_t total = sizeof(f) + m->count * sizeof(struct dfs_manifest_file);
	struct hash hash;
	uint8_t *start, *p;

	ASSERT(manifest_valid(m));
	f.total_len = le32_of((uint32_t)total);
	memcpy(f.pool, m->pool.b, sizeof(f.pool));
	p = start = buf_extend(out, total);
	memcpy(p, &f, sizeof(f));
	p += sizeof(f);
	for (unsigned i = 0; i < m->count; i++, p += sizeof(struct dfs_manifest_file)) {
		const struct manifest_file *s = &m->files[i];
		struct dfs_manifest_file d = {.size_bytes = le64_of(s->size_bytes)};

		memcpy(d.name, s->name, strnlen(s->name, sizeof(d.name)));
		memcpy(d.stored, s->stored, strnlen(s->stored, sizeof(d.stored)));
		memcpy(d.hash, s->hash.b, HASH_LEN);
		memcpy(p, &d, sizeof(d));
	}
	hash_bytes(start, total, &hash);
	memcpy(start + offsetof(struct dfs_manifest_fixed, hash), hash.b, HASH_LEN);
}

static int files_parse(const uint8_t *p, struct manifest *m)
{
	bool tails = true;

	m->files = xcalloc(m->count + 1, sizeof(*m->files));
	for (unsigned i = 0; i < m->count; i++, p += sizeof(struct dfs_manifest_file)) {
		struct manifest_file *f = &m->files[i];
		struct dfs_manifest_file d;

		memcpy(&d, p, sizeof(d));
		memcpy(f->name, d.name, sizeof(f->name));
		memcpy(f->stored, d.stored, sizeof(f->stored));
		f->size_bytes = le64_get(d.size_bytes);
		memcpy(f->hash.b, d.hash, HASH_LEN);
		if (!check_tail(d.name, sizeof(d.name)) || !check_tail(d.stored, sizeof(d.stored)))
			tails = false;
	}
	if (tails && manifest_valid(m))
		return 0;
	manifest_release(m);
	return DFS_ECORRUPT;
}

int manifest_parse(const void *data, size_t len, struct manifest *ret_manifest)
{
	const uint8_t *p = data;
	struct dfs_manifest_fixed f, zeroed;
	struct manifest m = {0};
	struct hash hash;
	int r;

	if (len < sizeof(f) || len > MANIFEST_MAX_BYTES)
		return DFS_ECORRUPT;
	memcpy(&f, p, sizeof(f));
	if (le64_get(f.magic) != MANIFEST_MAGIC || le32_get(f.total_len) != len)
		return DFS_ECORRUPT;
	zeroed = f;
	memset(zeroed.hash, 0, HASH_LEN);
	hash_two(&zeroed, sizeof(zeroed), p + sizeof(f), len - sizeof(f), &hash);
	if (memcmp(hash.b, f.hash, HASH_LEN) != 0)
		return DFS_ECHECKSUM;
	if (le16_get(f.version) != MANIFEST_VERSION)
		return DFS_EVERSION;
	m.count = le32_get(f.count);
	if (m.count > MANIFEST_MAX_FILES || le16_get(f.flags) != 0 ||
	    sizeof(f) + (size_t)m.count * sizeof(struct dfs_manifest_file) != len ||
	    !check_zero(f.pad0, sizeof(f.pad0)))
		return DFS_ECORRUPT;
	memcpy(m.pool.b, f.pool, sizeof(f.pool));
	m.checkpoint_id = le64_get(f.checkpoint_id);
	m.seq = le64_get(f.seq);
	r = files_parse(p + sizeof(f), &m);
	if (r)
		return r;
	*ret_manifest = m;
	return 0;
}
