/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint's manifest: bytes to structure and back. Keeps P8 (an image is what its manifest says,
 * or is none) and P10: names become names of files, so only plain ones are let in. Pure functions
 * without locks; knows nothing of devices.
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
	le32 total_len;	    /* 12: the file may be longer */
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

struct dfs_manifest_file { /* then its k + m fragments */
	char name[64];	   /* 0: zeros after the name */
	le64 size_bytes;   /* 64 */
	uint8_t hash[32];  /* 72 */
	uint8_t k;	   /* 104 */
	uint8_t m;	   /* 105 */
	uint8_t pad0[6];   /* 106: 0 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_manifest_file) == 112, "manifest entry size");
_Static_assert(offsetof(struct dfs_manifest_file, k) == 104, "k");

struct dfs_manifest_fragment {
	le32 disk;	    /* 0 */
	uint8_t header[32]; /* 4 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_manifest_fragment) == 36, "manifest fragment size");
_Static_assert(sizeof(struct dfs_manifest_fixed) +
			       (uint64_t)MANIFEST_MAX_FILES *
				       (sizeof(struct dfs_manifest_file) +
					TABLE_MAX_WIDTH * sizeof(struct dfs_manifest_fragment)) <=
		       MANIFEST_MAX_BYTES,
	       "manifest bounds");

void manifest_release(struct manifest *m)
{
	free(m->files);
	*m = (struct manifest){0};
}

static int by_name(const void *a, const void *b)
{
	const struct manifest_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

void manifest_sort(struct manifest *m)
{
	if (m->count)
		qsort(m->files, m->count, sizeof(*m->files), by_name);
}

struct manifest_file *manifest_find(const struct manifest *m, const char *name)
{
	unsigned low = 0, high = m->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;
		int c = strcmp(m->files[mid].name, name);

		if (c == 0)
			return &m->files[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* At least k fragments lie somewhere, no two on one disk. */
static bool fragments_valid(const struct manifest_file *f)
{
	unsigned width = (unsigned)f->k + f->m, there = 0;

	for (unsigned i = 0; i < width; i++) {
		disk_id id = f->fragments[i].disk;

		if (id.v == 0) {
			if (!check_zero(f->fragments[i].header.b, HASH_LEN))
				return false;
			continue;
		}
		if (!disk_id_valid(id))
			return false;
		for (unsigned j = 0; j < i; j++)
			if (f->fragments[j].disk.v == id.v)
				return false;
		there++;
	}
	return there >= f->k;
}

static bool file_valid(const struct manifest_file *f)
{
	return check_name(f->name, sizeof(f->name)) && f->size_bytes <= TABLE_MAX_BYTES &&
	       f->k >= 1 && f->k <= TABLE_MAX_K && f->m <= TABLE_MAX_M && fragments_valid(f);
}

static bool manifest_valid(const struct manifest *m)
{
	if (uuid_is_null(&m->pool) || m->checkpoint_id == 0 || m->count > MANIFEST_MAX_FILES)
		return false;
	for (unsigned i = 0; i < m->count; i++)
		if (!file_valid(&m->files[i]) ||
		    (i && strcmp(m->files[i - 1].name, m->files[i].name) >= 0))
			return false;
	return true;
}

static void file_encode(const struct manifest_file *s, struct buf *out)
{
	struct dfs_manifest_file d = {.size_bytes = le64_of(s->size_bytes), .k = s->k, .m = s->m};

	memcpy(d.name, s->name, strnlen(s->name, sizeof(d.name)));
	memcpy(d.hash, s->hash.b, HASH_LEN);
	buf_put(out, &d, sizeof(d));
	for (unsigned i = 0; i < (unsigned)s->k + s->m; i++) {
		struct dfs_manifest_fragment g = {.disk = le32_of(s->fragments[i].disk.v)};

		memcpy(g.header, s->fragments[i].header.b, HASH_LEN);
		buf_put(out, &g, sizeof(g));
	}
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
	size_t start = out->len;
	struct hash hash;
	le32 total;

	ASSERT(manifest_valid(m));
	memcpy(f.pool, m->pool.b, sizeof(f.pool));
	buf_put(out, &f, sizeof(f));
	for (unsigned i = 0; i < m->count; i++)
		file_encode(&m->files[i], out);
	total = le32_of((uint32_t)(out->len - start));
	memcpy(out->data + start + offsetof(struct dfs_manifest_fixed, total_len), &total,
	       sizeof(total));
	hash_bytes(out->data + start, out->len - start, &hash);
	memcpy(out->data + start + offsetof(struct dfs_manifest_fixed, hash), hash.b, HASH_LEN);
}

static bool file_parse(struct reader *r, struct manifest_file *f)
{
	struct dfs_manifest_file d;

	reader_copy(r, &d, sizeof(d));
	memcpy(f->name, d.name, sizeof(f->name));
	memcpy(f->hash.b, d.hash, HASH_LEN);
	f->size_bytes = le64_get(d.size_bytes);
	f->k = d.k;
	f->m = d.m;
	if (r->bad || d.k > TABLE_MAX_K || d.m > TABLE_MAX_M ||
	    !check_zero(d.pad0, sizeof(d.pad0)) || !check_tail(d.name, sizeof(d.name)))
		return false;
	for (unsigned i = 0; i < (unsigned)d.k + d.m; i++) {
		struct dfs_manifest_fragment g;

		reader_copy(r, &g, sizeof(g));
		f->fragments[i].disk.v = le32_get(g.disk);
		memcpy(f->fragments[i].header.b, g.header, HASH_LEN);
	}
	return !r->bad;
}

static int files_parse(struct reader *r, struct manifest *m)
{
	bool whole = true;

	m->files = xcalloc(m->count + 1, sizeof(*m->files));
	for (unsigned i = 0; i < m->count && whole; i++)
		whole = file_parse(r, &m->files[i]);
	if (whole && reader_left(r) == 0 && manifest_valid(m))
		return 0;
	manifest_release(m);
	return DFS_ECORRUPT;
}

size_t manifest_length(const void *data, size_t len)
{
	struct dfs_manifest_fixed f;

	if (len < sizeof(f))
		return len;
	memcpy(&f, data, sizeof(f));
	return MIN(len, le32_get(f.total_len));
}

int manifest_parse(const void *data, size_t len, struct manifest *ret_manifest)
{
	const uint8_t *p = data;
	struct dfs_manifest_fixed f, zeroed;
	struct manifest m = {0};
	struct reader r;
	struct hash hash;
	int err;

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
	    sizeof(f) + (size_t)m.count * sizeof(struct dfs_manifest_file) > len ||
	    !check_zero(f.pad0, sizeof(f.pad0)))
		return DFS_ECORRUPT;
	memcpy(m.pool.b, f.pool, sizeof(f.pool));
	m.checkpoint_id = le64_get(f.checkpoint_id);
	m.seq = le64_get(f.seq);
	r = reader_of(p + sizeof(f), len - sizeof(f));
	err = files_parse(&r, &m);
	if (err)
		return err;
	*ret_manifest = m;
	return 0;
}
