/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rescue: an extent's bytes from whatever fragments of it are left. Each block of 16 KiB of each fragment is for itself: a
 * column is right when k blocks of it are, and where fewer are, those of data fragments count all the same (Q2).
 */
#include <stdio.h>
#include <stdlib.h>

#include "pool/rescue_internal.h"

#define BLOCK RECORD_BLOCK_BYTES

int rescue_segment(struct rescue *r, unsigned disk, uint32_t number, struct dev_file **ret_file)
{
	struct rescue_disk *d = &r->disks[disk];
	char name[RESCUE_SEGMENT_NAME];
	int err;

	if (!d->file || d->segment != number) {
		dev_close(d->file);
		d->file = NULL;
		snprintf(name, sizeof(name), "segments/%08x", number);
		err = dev_open(d->dev, name, DEV_RDONLY, &d->file);
		if (err)
			return err;
		d->segment = number;
	}
	*ret_file = d->file;
	return 0;
}

/* What is gathered of one extent. Copies all share the first buffer. */
struct gather {
	const struct rescue_extent *e;
	uint32_t flen;
	unsigned blocks, width;
	uint8_t *bufs; /* width * flen */
	bool *have;    /* width * blocks */
};

static unsigned slot_of(const struct gather *g, unsigned index) { return g->e->k == 1 ? 0 : index; }

static uint32_t block_len(const struct gather *g, unsigned b)
{
	return MIN(g->flen - b * BLOCK, BLOCK);
}

static bool agrees(const struct rescue *r, const struct rescue_extent *e,
		   const struct rescue_place *at, const struct record_header *h,
		   const struct hash *hash)
{
	return uuid_eq(&h->pool, &r->res->pool) && uuid_eq(&h->extent.u, &e->id.u) &&
	       h->ino.v == e->ino.v && h->k == e->k && h->m == e->m && h->index == at->index &&
	       h->extent_len == e->len &&
	       (!at->has_hash || memcmp(hash, &at->hash, sizeof(*hash)) == 0);
}

/* The header at a place, with as much of its record as there is. */
static int read_record(struct rescue *r, const struct rescue_place *at, uint8_t *buf, size_t len,
		       size_t *ret_got)
{
	struct dev_file *f;
	int err = rescue_segment(r, at->disk, at->segment, &f);

	*ret_got = 0;
	return err ? err : dev_read(f, buf, len, at->offset, 0, ret_got);
}

/* A disk with bad sectors does not give the whole: by blocks, then. */
static void read_blocks(struct rescue *r, const struct rescue_place *at, uint32_t from,
			uint8_t *payload, uint32_t len)
{
	struct dev_file *f;
	size_t got;

	if (rescue_segment(r, at->disk, at->segment, &f))
		return;
	for (uint32_t o = 0; o < len; o += BLOCK)
		if (dev_read(f, payload + o, MIN(len - o, BLOCK), (uint64_t)from + o, 0, &got))
			r->res->read_errors++;
}

/* Takes what is right of the record at one place. */
static void take(struct rescue *r, struct gather *g, const struct rescue_place *at,
		 struct rescue_bytes *ret)
{
	unsigned slot = slot_of(g, at->index);
	size_t len = RECORD_MAX_HEADER_LEN + (size_t)g->flen, got;
	FREE uint8_t *buf = xcalloc(1, len);
	struct record_header h;
	struct hash hash, is;
	uint32_t need, header_len;
	int err = read_record(r, at, buf, len, &got);
	bool in_parts = err && err != DFS_ENOENT && err != DFS_EGONE;

	if (in_parts) { /* the header's sectors may be good */
		memset(buf, 0, len);
		err = read_record(r, at, buf, RECORD_MAX_HEADER_LEN, &got);
	}
	if (err || record_header_parse(buf, MIN(got, RECORD_MAX_HEADER_LEN), &h, &hash, &need))
		return;
	header_len = record_header_len(h.piece_count, h.block_count);
	if (agrees(r, g->e, at, &h, &hash)) {
		if (in_parts)
			read_blocks(r, at, at->offset + header_len, buf + header_len, g->flen);
		for (unsigned b = 0; b < g->blocks; b++) {
			const uint8_t *block = buf + header_len + b * BLOCK;

			if (g->have[slot * g->blocks + b])
				continue;
			hash_bytes(block, block_len(g, b), &is);
			if (memcmp(&is, &h.blocks[b], sizeof(is)) != 0)
				continue;
			memcpy(g->bufs + (size_t)slot * g->flen + b * BLOCK, block,
			       block_len(g, b));
			g->have[slot * g->blocks + b] = true;
		}
		if (!ret->pieces) {
			ret->pieces = h.pieces;
			ret->piece_count = h.piece_count;
			h.pieces = NULL;
		}
	}
	record_header_release(&h);
}

static bool has_all(const struct gather *g, unsigned slot)
{
	return !memchr(g->have + slot * g->blocks, false, g->blocks);
}

static void take_all(struct rescue *r, struct gather *g, struct rescue_bytes *ret)
{
	unsigned whole = 0;

	for (unsigned i = 0; i < (unsigned)g->e->k + g->e->m && whole < g->e->k; i++) {
		unsigned slot = slot_of(g, i);

		for (unsigned p = 0; p < g->e->count && !has_all(g, slot); p++)
			if (g->e->places[p].index == i)
				take(r, g, &g->e->places[p], ret);
		whole += has_all(g, slot);
	}
}

/* Computes the data blocks of a column that are lacking, if k are there. */
static void decode_column(struct gather *g, unsigned b)
{
	bool have[CODEC_MAX_WIDTH], want[CODEC_MAX_WIDTH] = {false};
	uint8_t *frags[CODEC_MAX_WIDTH];
	unsigned good = 0, wanted = 0;

	for (unsigned i = 0; i < g->width; i++) {
		have[i] = g->have[i * g->blocks + b];
		frags[i] = g->bufs + (size_t)i * g->flen + b * BLOCK;
		good += have[i];
		want[i] = i < g->e->k && !have[i];
		wanted += want[i];
	}
	if (!wanted || good < g->e->k)
		return;
	if (codec_decode((struct geometry){g->e->k, g->e->m}, block_len(g, b), frags, have, want))
		return;
	for (unsigned i = 0; i < g->e->k; i++)
		g->have[i * g->blocks + b] = true;
}

static void put_bad(struct rescue_bytes *ret, uint64_t from, uint64_t to)
{
	if (from >= to)
		return;
	memset(ret->data + from, 0, to - from);
	if (ret->bad_count && ret->bad[ret->bad_count - 1].to == from)
		ret->bad[ret->bad_count - 1].to = to;
	else
		ret->bad[ret->bad_count++] = (struct rescue_range){from, to};
}

void rescue_read(struct rescue *r, const struct rescue_extent *e, struct rescue_bytes *ret)
{
	struct gather g = {.e = e, .flen = record_payload_len(e->k, e->len)};

	g.blocks = (unsigned)DIV_UP(g.flen, BLOCK);
	g.width = e->k == 1 ? 1 : (unsigned)e->k + e->m;
	g.bufs = xcalloc(g.width, g.flen);
	g.have = xcalloc(g.width, g.blocks);
	*ret = (struct rescue_bytes){.data = xcalloc(1, e->len), .len = e->len};
	take_all(r, &g, ret);
	for (unsigned b = 0; b < g.blocks && g.width > 1; b++)
		decode_column(&g, b);
	for (unsigned i = 0; i < e->k; i++) {
		uint64_t at = (uint64_t)i * g.flen;

		if (at < e->len)
			memcpy(ret->data + at, g.bufs + at, MIN(g.flen, e->len - at));
		for (unsigned b = 0; b < g.blocks; b++)
			if (!g.have[i * g.blocks + b])
				put_bad(ret, at + b * BLOCK,
					MIN(at + b * BLOCK + block_len(&g, b), e->len));
	}
	free(g.bufs);
	free(g.have);
}

/* ---- by the index ---- */

static void place_on(struct rescue *r, const struct rec_fragment *f, uint8_t index,
		     struct rescue_extent *e)
{
	for (unsigned i = 0; i < r->count && e->count < RESCUE_MAX_PLACES; i++)
		if (r->disks[i].known && r->disks[i].json.id == f->disk.v)
			e->places[e->count++] = (struct rescue_place){.disk = i,
								      .segment = f->segment,
								      .offset = f->offset,
								      .index = index,
								      .has_hash = true,
								      .hash = f->header_hash};
}

static int by_index(struct rescue *r, extent_id id, struct rescue_extent *e)
{
	struct rec_extent rec;
	int err = get_extent(r->meta, id, &rec);

	if (err)
		return err;
	*e = (struct rescue_extent){
		.id = id, .ino = rec.ino, .len = rec.len, .k = rec.k, .m = rec.m};
	for (unsigned i = 0; i < (unsigned)rec.k + rec.m; i++)
		if (rec.frags[i].disk.v)
			place_on(r, &rec.frags[i], (uint8_t)i, e);
	return 0;
}

static uint64_t bad_bytes(const struct rescue_bytes *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->bad_count; i++)
		sum += b->bad[i].to - b->bad[i].from;
	return sum;
}

/* The records that are lying about, also where the index does not know them: of an older state, or moved since. What one form
 * gives and another does not is not put together: they would be of different extents. */
static int by_records(struct rescue *r, extent_id id, const struct rescue_extent *known,
		      struct rescue_bytes *best)
{
	struct rescue_extent *e = xmalloc(sizeof(*e));
	uint64_t next = 0;
	int err = rescue_scan(r);

	while (!err && (!best->data || best->bad_count)) {
		struct rescue_bytes b;

		err = rescue_find(r, id, &next, e);
		if (err)
			break;
		if (known && (known->k != e->k || known->m != e->m || known->len != e->len ||
			      known->ino.v != e->ino.v))
			continue;
		for (unsigned i = 0; known && i < known->count && e->count < RESCUE_MAX_PLACES; i++)
			e->places[e->count++] = known->places[i];
		rescue_read(r, e, &b);
		if (!best->data || bad_bytes(&b) < bad_bytes(best)) {
			rescue_bytes_release(best);
			*best = b;
		} else {
			rescue_bytes_release(&b);
		}
	}
	free(e);
	return err == DFS_ENOENT ? 0 : err;
}

int rescue_get(struct rescue *r, extent_id id, uint32_t least, const struct rescue_bytes **ret)
{
	struct rescue_cached *c = NULL;
	struct rescue_extent *e;
	int err;

	for (unsigned i = 0; i < RESCUE_CACHED; i++)
		if (r->cached[i].bytes.data && uuid_eq(&r->cached[i].id.u, &id.u))
			c = &r->cached[i];
	if (c) {
		*ret = &c->bytes;
		return c->bytes.len >= least ? 0 : DFS_ECORRUPT;
	}
	c = &r->cached[r->next_cached++ % RESCUE_CACHED];
	rescue_bytes_release(&c->bytes);
	c->id = id;
	e = xmalloc(sizeof(*e));
	err = by_index(r, id, e);
	if (!err)
		rescue_read(r, e, &c->bytes);
	if (err || c->bytes.bad_count)
		err = by_records(r, id, err ? NULL : e, &c->bytes);
	free(e);
	if (err)
		return err;
	*ret = &c->bytes;
	return c->bytes.data && c->bytes.len >= least ? 0 : DFS_ECORRUPT;
}
