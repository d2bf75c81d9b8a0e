/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table file of the index, to fragments on disks and back, stripe by stripe: the memory of one
 * stripe is all it takes (P9). Writing: aside, synced, renamed; the caller syncs the directories and
 * only then lets a manifest name them (M6). Reading: a block counts only if its hash is in a header
 * whose hash is in the manifest (P3), and each stripe takes any k whole blocks, so fragments that are
 * rotten at different places still give the table back.
 *
 * Owns no locks. The devices must outlive the call.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "codec/codec.h"
#include "meta/internal.h"

void table_path(const struct manifest_file *f, unsigned index, char path[TABLE_PATH_LEN])
{
	char stored[TABLE_STORED_LEN];

	table_stored_name(f->name, &f->hash, f->k, f->m, index, stored);
	snprintf(path, TABLE_PATH_LEN, TABLE_DIR "/%s", stored);
}

uint64_t table_fragment_bytes(uint64_t size_bytes, unsigned k)
{
	struct table_shape s = table_shape(size_bytes, k);

	return s.header_len + s.payload_len;
}

/* ---- writing ---- */

struct out {		 /* a fragment while it is written */
	struct dev *dev; /* NULL: not wanted, or failed */
	struct dev_file *file;
	struct buf blocks; /* hashes */
	struct manifest_file *f;
	const struct uuid *pool;
	bool verify; /* read back before it gets its name */
	unsigned index;
	uint64_t serial; /* of the temporary name, which a write that comes late may still have */
	struct hash header;
	int err;
};

static void tmp_path(const struct out *o, char path[TABLE_PATH_LEN])
{
	snprintf(path, TABLE_PATH_LEN, TABLE_DIR "/tmp-%llx", (unsigned long long)o->serial);
}

static void out_fail(struct out *o, int err)
{
	char path[TABLE_PATH_LEN];

	o->err = err;
	dev_close(o->file);
	o->file = NULL;
	tmp_path(o, path);
	(void)!dev_remove(o->dev, path);
	o->dev = NULL;
}

static void out_open(struct out *o)
{
	char path[TABLE_PATH_LEN];
	int err;

	tmp_path(o, path);
	err = dev_open(o->dev, path, DEV_CREATE, &o->file);
	if (err)
		o->file = NULL;
	else
		err = dev_truncate(o->file, 0);
	if (err)
		out_fail(o, err);
}

static void out_block(struct out *o, const uint8_t *block, uint32_t len, uint64_t off)
{
	struct hash hash;
	int err;

	if (!o->dev)
		return;
	hash_bytes(block, len, &hash);
	buf_put(&o->blocks, hash.b, HASH_LEN);
	err = dev_write(o->file, block, len, off);
	if (err)
		out_fail(o, err);
}

/* All of it as it lies there now (verify_writes). */
static int out_verify(const struct out *o, const struct buf *header)
{
	struct table_shape shape = table_shape(o->f->size_bytes, o->f->k);
	FREE uint8_t *back = xmalloc(TABLE_BLOCK_BYTES);
	int err = dev_verify(o->file, header->data, header->len, 0);

	for (uint32_t s = 0; s < shape.block_count && err == 0; s++) {
		uint32_t len = table_block_len(&shape, s);
		struct hash hash;
		size_t got = 0;

		err = dev_read(o->file, back, len,
			       shape.header_len + (uint64_t)s * TABLE_BLOCK_BYTES, DEV_READ_MEDIA,
			       &got);
		if (err)
			break;
		hash_bytes(back, got, &hash);
		if (got != len || memcmp(hash.b, o->blocks.data + s * HASH_LEN, HASH_LEN) != 0)
			err = DFS_ECHECKSUM;
	}
	return err;
}

/* The header, then the sync, then the name. */
static void out_finish(void *arg)
{
	struct out *o = arg;
	struct manifest_file *f = o->f;
	struct table_header h = {.pool = *o->pool,
				 .size_bytes = f->size_bytes,
				 .hash = f->hash,
				 .k = f->k,
				 .m = f->m,
				 .index = (uint8_t)o->index,
				 .blocks = o->blocks.data};
	char tmp[TABLE_PATH_LEN], path[TABLE_PATH_LEN];
	BUF header = {0};
	int err;

	memcpy(h.name, f->name, sizeof(h.name));
	table_header_encode(&h, &header, &o->header);
	err = dev_write(o->file, header.data, header.len, 0);
	if (err == 0)
		err = dev_sync(o->file);
	if (err == 0 && o->verify)
		err = out_verify(o, &header);
	if (err) {
		out_fail(o, err);
		return;
	}
	dev_close(o->file);
	o->file = NULL;
	tmp_path(o, tmp);
	table_path(f, o->index, path);
	err = dev_rename(o->dev, tmp, path);
	if (err)
		out_fail(o, err);
}

/* Reads the table once, hashing it, and writes all blocks of each stripe that are wanted. */
static int write_stripes(struct meta *m, struct manifest_file *f, struct out *outs,
			 struct hash *ret_hash)
{
	struct table_shape shape = table_shape(f->size_bytes, f->k);
	unsigned width = (unsigned)f->k + f->m;
	FREE uint8_t *mem = xmalloc((size_t)width * TABLE_BLOCK_BYTES);
	const uint8_t *data[TABLE_MAX_K];
	uint8_t *parity[TABLE_MAX_M];
	struct hash_stream *stream = hash_stream_new();
	uint64_t at = 0;
	int err = 0;

	for (uint32_t s = 0; s < shape.block_count && err == 0; s++) {
		uint32_t len = table_block_len(&shape, s);
		size_t stripe = (size_t)len * f->k, got = MIN(stripe, f->size_bytes - at);

		err = m->ops->image_read(m->index, f->name, at, mem, got);
		if (err) {
			index_note(m, err);
			break;
		}
		hash_stream_add(stream, mem, got);
		memset(mem + got, 0, stripe - got);
		for (unsigned i = 0; i < f->k; i++)
			data[i] = mem + (size_t)i * len;
		for (unsigned i = 0; i < f->m; i++)
			parity[i] = mem + (size_t)(f->k + i) * len;
		codec_encode((struct geometry){f->k, f->m}, len, data, parity);
		for (unsigned i = 0; i < width; i++)
			out_block(&outs[i], mem + (size_t)i * len, len,
				  shape.header_len + (uint64_t)s * TABLE_BLOCK_BYTES);
		at += got;
	}
	hash_stream_end(stream, ret_hash);
	return err;
}

/* Every disk syncs at the same time. */
static void finish_all(struct out *outs, unsigned width)
{
	struct env_thread *threads[TABLE_MAX_WIDTH] = {NULL};
	struct out *mine = NULL;

	for (unsigned i = 0; i < width; i++) {
		if (!outs[i].dev)
			continue;
		if (mine)
			threads[i] = env_thread_start("meta-table", out_finish, &outs[i]);
		else
			mine = &outs[i];
	}
	if (mine)
		out_finish(mine);
	for (unsigned i = 0; i < width; i++)
		if (threads[i])
			env_thread_join(threads[i]);
}

int table_write(struct meta *m, struct manifest_file *f, bool known, struct dev *const *devs,
		int *ret_errs)
{
	struct out outs[TABLE_MAX_WIDTH] = {0};
	unsigned width = (unsigned)f->k + f->m;
	struct hash hash;
	int err;

	for (unsigned i = 0; i < width; i++) {
		outs[i].dev = devs[i];
		outs[i].index = i;
		outs[i].serial = ++m->table_serial;
		outs[i].f = f;
		outs[i].pool = &m->cfg.pool;
		outs[i].verify = __atomic_load_n(&m->verify_writes, __ATOMIC_RELAXED);
		if (devs[i])
			out_open(&outs[i]);
	}
	err = write_stripes(m, f, outs, &hash);
	if (err == 0 && known && memcmp(&hash, &f->hash, sizeof(hash)) != 0)
		err = DFS_ECHECKSUM;
	if (err == 0) {
		f->hash = hash;
		finish_all(outs, width);
	}
	for (unsigned i = 0; i < width; i++) {
		if (err && outs[i].dev)
			out_fail(&outs[i], err);
		ret_errs[i] = err ? 0 : outs[i].err;
		if (!err && outs[i].dev)
			f->fragments[i].header = outs[i].header;
		buf_release(&outs[i].blocks);
	}
	return err;
}

/* ---- reading ---- */

struct in {		       /* a fragment while it is read */
	struct dev_file *file; /* NULL: of no use (any more) */
	struct buf header;
	struct table_header h;
};

/* 0, or why the fragment cannot be used at all. */
static int in_open(struct in *in, struct dev *dev, const struct uuid *pool,
		   const struct manifest_file *f, unsigned index)
{
	struct table_shape shape = table_shape(f->size_bytes, f->k);
	char path[TABLE_PATH_LEN];
	struct hash hash;
	size_t got = 0;
	int err;

	if (!dev)
		return DFS_EGONE;
	table_path(f, index, path);
	err = dev_open(dev, path, DEV_RDONLY, &in->file);
	if (err) {
		in->file = NULL;
		return err;
	}
	buf_extend(&in->header, shape.header_len);
	err = dev_read(in->file, in->header.data, shape.header_len, 0, 0, &got);
	if (err == 0)
		err = table_header_parse(in->header.data, got, &in->h, &hash);
	if (err)
		return err;
	if (memcmp(&hash, &f->fragments[index].header, sizeof(hash)) != 0)
		return DFS_ECHECKSUM;
	/* Its hash is in the manifest; so this is a lie of the writer's, or two hashes that collide. */
	if (!uuid_eq(&in->h.pool, pool) || in->h.size_bytes != f->size_bytes || in->h.k != f->k ||
	    in->h.m != f->m || in->h.index != index || memcmp(&in->h.hash, &f->hash, HASH_LEN) != 0)
		return DFS_ECORRUPT;
	return 0;
}

static void in_close(struct in *in)
{
	dev_close(in->file);
	in->file = NULL;
	buf_release(&in->header);
}

/* DFS_ECHECKSUM: this block is rotten; the others may be whole. */
static int in_block(struct in *in, const struct table_shape *shape, uint32_t s, uint8_t *block)
{
	uint32_t len = table_block_len(shape, s);
	struct hash hash;
	size_t got = 0;
	int err;

	if (!in->file)
		return DFS_EGONE;
	err = dev_read(in->file, block, len, shape->header_len + (uint64_t)s * TABLE_BLOCK_BYTES, 0,
		       &got);
	if (err)
		return err;
	if (got != len)
		return DFS_ECHECKSUM;
	hash_bytes(block, len, &hash);
	return memcmp(hash.b, in->h.blocks + (size_t)s * HASH_LEN, HASH_LEN) == 0 ? 0
										  : DFS_ECHECKSUM;
}

struct load {
	const struct manifest_file *f;
	struct dev *const *devs;
	struct table_shape shape;
	struct in ins[TABLE_MAX_WIDTH];
	uint32_t bad; /* bit i: fragment i was found wrong, or could not be read */
};

static void load_bad(struct load *l, unsigned i, int err)
{
	char path[TABLE_PATH_LEN];

	if (err != DFS_ECHECKSUM) /* don't ask it again */
		in_close(&l->ins[i]);
	if (l->bad & (1u << i))
		return;
	l->bad |= 1u << i;
	if (!l->devs[i])
		return;
	table_path(l->f, i, path);
	log_warn("the fragment %s of the metadata table %s on %s cannot be used: %s; others are "
		 "taken, and it is written anew",
		 path, l->f->name, l->devs[i]->name, dfs_err_text(err));
}

/* Fills the k data blocks of stripe s, decoding what is missing. */
static int load_stripe(struct load *l, uint32_t s, uint8_t *mem)
{
	unsigned k = l->f->k, width = k + l->f->m, got = 0, missing = 0;
	bool have[TABLE_MAX_WIDTH] = {0}, want[TABLE_MAX_WIDTH] = {0};
	uint8_t *frags[TABLE_MAX_WIDTH];
	uint32_t len = table_block_len(&l->shape, s);

	for (unsigned i = 0; i < width; i++)
		frags[i] = mem + (size_t)i * len;
	for (unsigned i = 0; i < width && got < k; i++) {
		int err = in_block(&l->ins[i], &l->shape, s, frags[i]);

		if (err && l->ins[i].file)
			load_bad(l, i, err);
		have[i] = err == 0;
		got += err == 0;
	}
	if (got < k)
		return DFS_ECHECKSUM;
	for (unsigned i = 0; i < k; i++) {
		want[i] = !have[i];
		missing += want[i];
	}
	return missing ? codec_decode((struct geometry){l->f->k, l->f->m}, len, frags, have, want)
		       : 0;
}

static int load_all(struct load *l, table_sink_fn sink, void *ctx, int *ret_sink_err)
{
	const struct manifest_file *f = l->f;
	FREE uint8_t *mem = xmalloc(((size_t)f->k + f->m) * TABLE_BLOCK_BYTES);
	struct hash_stream *stream = hash_stream_new();
	struct hash hash;
	uint64_t at = 0;
	int err = 0;

	for (uint32_t s = 0; s < l->shape.block_count && err == 0; s++) {
		size_t stripe = (size_t)table_block_len(&l->shape, s) * f->k;
		size_t len = MIN(stripe, f->size_bytes - at);

		err = load_stripe(l, s, mem);
		if (err)
			break;
		hash_stream_add(stream, mem, len);
		err = *ret_sink_err = sink(ctx, at, mem, len);
		at += len;
	}
	hash_stream_end(stream, &hash);
	if (err == 0 && f->size_bytes == 0)
		err = *ret_sink_err = sink(ctx, 0, mem, 0);
	if (err)
		return err;
	return memcmp(&hash, &f->hash, sizeof(hash)) == 0 ? 0 : DFS_ECHECKSUM;
}

int table_read(const struct uuid *pool, const struct manifest_file *f, struct dev *const *devs,
	       table_sink_fn sink, void *ctx, uint32_t *ret_bad, int *ret_sink_err)
{
	struct load *l = xcalloc(1, sizeof(*l));
	unsigned width = (unsigned)f->k + f->m;
	int err;

	*ret_sink_err = 0;
	l->f = f;
	l->devs = devs;
	l->shape = table_shape(f->size_bytes, f->k);
	for (unsigned i = 0; i < width; i++) {
		err = in_open(&l->ins[i], devs[i], pool, f, i);
		if (err)
			load_bad(l, i, err == DFS_ECHECKSUM ? DFS_ECORRUPT : err);
	}
	err = load_all(l, sink, ctx, ret_sink_err);
	for (unsigned i = 0; i < width; i++)
		in_close(&l->ins[i]);
	*ret_bad = l->bad;
	free(l);
	return err;
}

int table_check(const struct uuid *pool, const struct manifest_file *f, unsigned index,
		struct dev *dev)
{
	struct table_shape shape = table_shape(f->size_bytes, f->k);
	FREE uint8_t *block = xmalloc(TABLE_BLOCK_BYTES);
	struct in in = {0};
	int err = in_open(&in, dev, pool, f, index);

	for (uint32_t s = 0; s < shape.block_count && err == 0; s++)
		err = in_block(&in, &shape, s, block);
	in_close(&in);
	return err;
}
