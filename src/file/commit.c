/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a seal stores: the extents of a batch, and the transactions that publish them with map, size and
 * times and drop what they replace: one, unless what they replace is too much for it (B2).
 * Keeps F1 (callers commit from the FIFO's head) and F2 (size_put).
 */
#include "base/probe.h"
#include "file/internal.h"

#include <stdlib.h>

static struct geometry geometry_of(const struct slot *s, const struct policy *set)
{
	if (slot_is_whole(s))
		return set->large;
	return (struct geometry){1, (uint8_t)(set->copies - 1)};
}

static unsigned extents_of(const struct slot *s)
{
	return (unsigned)DIV_UP(s->range_count, RECORD_MAX_PIECES);
}

/* One extent of ranges [first, first + count) of s; *packed is where bytes may be put together. */
static void build_extent(struct seal_batch *b, struct extent_new *e, const struct slot *s,
			 unsigned first, unsigned count, struct record_piece *pieces,
			 uint8_t **packed)
{
	uint32_t len = 0;

	for (unsigned i = 0; i < count; i++) {
		struct range r = s->ranges[first + i];

		pieces[i].file_offset = (s->index << SLOT_SHIFT) + r.start;
		pieces[i].len = r.end - r.start;
		if (count > 1)
			memcpy(*packed + len, s->buf + r.start, pieces[i].len);
		len += pieces[i].len;
	}
	e->ino = b->in->ino;
	e->data = count > 1 ? *packed : s->buf + s->ranges[first].start;
	e->len = len;
	e->pieces = pieces;
	e->piece_count = count;
	if (count > 1)
		*packed += len;
}

void batch_build(struct seal_batch *b)
{
	struct policy set = pool_get_settings(b->in->fs->pool);
	unsigned extents = 0, pieces = 0, at = 0, piece_at = 0;
	size_t packed_len = 0;
	uint8_t *packed;

	for (unsigned i = 0; i < b->slot_count; i++) {
		extents += extents_of(b->slots[i]);
		pieces += b->slots[i]->range_count;
		if (b->slots[i]->range_count > 1)
			packed_len += b->slots[i]->bytes;
	}
	b->ext = xcalloc(extents, sizeof(*b->ext));
	b->ext_count = extents;
	b->pieces = xcalloc(pieces, sizeof(*b->pieces));
	packed = b->packed = packed_len ? xmalloc(packed_len) : NULL;
	for (unsigned i = 0; i < b->slot_count; i++) {
		const struct slot *s = b->slots[i];

		for (unsigned first = 0; first < s->range_count; first += RECORD_MAX_PIECES) {
			unsigned count = MIN(s->range_count - first, RECORD_MAX_PIECES);

			b->ext[at].wanted = geometry_of(s, &set);
			b->ext[at].born = b->born;
			build_extent(b, &b->ext[at++], s, first, count, b->pieces + piece_at,
				     &packed);
			piece_at += count;
		}
	}
}

/* Those parts of the extent's pieces that lie within [from, to) of it. Returns how many. */
static unsigned clip_pieces(const struct extent_new *e, uint32_t from, uint32_t to,
			    struct record_piece *out)
{
	uint32_t off = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < e->piece_count; off += e->pieces[i++].len) {
		const struct record_piece *p = &e->pieces[i];
		uint32_t start = MAX(off, from), end = MIN(off + p->len, to);

		if (start < end)
			out[n++] = (struct record_piece){
				.file_offset = p->file_offset + start - off, .len = end - start};
	}
	return n;
}

bool batch_split(struct seal_batch *b)
{
	unsigned at = 0, pieces = 0;
	struct record_piece *v;
	uint32_t half;

	while (at < b->ext_count && !b->ext[at].no_room)
		at++;
	if (at == b->ext_count || b->ext[at].len < 2 * EXTENT_LEAST_BYTES)
		return false;
	PROBE("extent-split-for-room");
	for (unsigned i = 0; i < b->ext_count; i++)
		pieces += b->ext[i].piece_count;
	b->ext = xrealloc(b->ext, (b->ext_count + 1) * sizeof(*b->ext));
	memmove(b->ext + at + 1, b->ext + at, (b->ext_count++ - at) * sizeof(*b->ext));
	half = (uint32_t)ALIGN_UP(b->ext[at].len / 2, EXTENT_LEAST_BYTES);
	v = xcalloc(pieces + 1, sizeof(*v));
	pieces = 0;
	for (unsigned i = 0; i < b->ext_count; i++) {
		struct extent_new *e = &b->ext[i];
		uint32_t from = i == at + 1 ? half : 0, to = i == at ? half : e->len;
		unsigned n = clip_pieces(e, from, to, v + pieces);

		e->data += from;
		e->len = to - from;
		e->pieces = v + pieces;
		e->piece_count = n;
		pieces += n;
	}
	free(b->pieces);
	b->pieces = v;
	return true;
}

static uint64_t first_unsealed(const struct inode *in, uint64_t off,
			       const struct seal_batch *except)
{
	uint64_t first = slots_first_at(&in->slots, off);
	struct seal_batch *b;

	TAILQ_FOREACH(b, &in->fifo, fifo) {
		if (b == except)
			continue;
		for (unsigned i = 0; i < b->slot_count; i++)
			first = MIN(first, slot_first_at(b->slots[i], off));
	}
	return first;
}

uint64_t beyond_put(struct inode *in, struct meta_txn *t, struct rec_inode *r, uint64_t beyond)
{
	struct rec_orphan orphan = {in->ino, ORPHAN_TRUNCATE, r->size};

	if (beyond > r->size) {
		put_orphan(t, &orphan);
		r->flags |= INODE_BEYOND;
		return beyond;
	}
	if (r->flags & INODE_BEYOND)
		del_orphan(t, in->ino);
	r->flags &= ~INODE_BEYOND;
	return 0;
}

uint64_t size_put(struct inode *in, struct meta_txn *t, struct rec_inode *r,
		  const struct seal_batch *except, uint64_t mapped_to)
{
	uint64_t beyond = MAX(in->beyond_end, mapped_to);

	/* Up to `covers` nothing was dirty when the batch was detached but what is in the map now or goes
	 * with it: what has been written there since overwrites that, or a hole, and must not take back
	 * what an fsync of this batch promises. */
	r->size = MIN(in->size,
		      MAX(first_unsealed(in, in->rec.size, except), except ? except->covers : 0));
	if (!r->nlink)
		return beyond; /* ORPHAN_UNLINKED covers all of it */
	return beyond_put(in, t, r, beyond);
}

/* The batch's pieces in the order of the file: its slots are, and the ranges of each. */
static struct map_piece *map_pieces(const struct seal_batch *b, unsigned *ret_count)
{
	struct map_piece *v;
	unsigned count = 0;

	for (unsigned i = 0; i < b->ext_count; i++)
		count += b->ext[i].piece_count;
	v = xcalloc(count, sizeof(*v));
	count = 0;
	for (unsigned i = 0; i < b->ext_count; i++) {
		const struct extent_new *e = &b->ext[i];
		uint32_t off = 0;

		for (unsigned j = 0; j < e->piece_count; j++) {
			const struct record_piece *p = &e->pieces[j];

			v[count++] = (struct map_piece){.start = p->file_offset,
							.end = p->file_offset + p->len,
							.key = p->file_offset,
							.extent = e->rec.id,
							.extent_offset = off,
							.ext = i};
			off += p->len;
		}
	}
	*ret_count = count;
	return v;
}

/* The next part of the batch (B2). The size is that without the parts still to come, which are unsealed;
 * the last part stores what F2 gives for the whole batch. */
static int commit_part(struct inode *in, const struct seal_batch *b, struct map_edit *e)
{
	CLEANUP(map_change_release)
	struct map_change m = {.in = in, .t = meta_begin(in->fs->meta)};
	struct rec_inode r = in->rec;
	uint64_t beyond;
	int rc = map_edit_step(e, &m, r.flags & INODE_INLINE ? r.inline_len : 0);

	if (rc == 0 && (r.flags & INODE_INLINE)) { /* the part holds these bytes, too */
		m.delta_bytes -= r.inline_len;
		if (r.inline_len)
			del_inline(m.t, in->ino);
		r.flags &= ~INODE_INLINE;
		r.inline_len = 0;
	}
	if (rc == 0) {
		r.mapped_bytes = (uint64_t)((int64_t)r.mapped_bytes + m.delta_bytes);
		beyond = size_put(in, m.t, &r, map_edit_is_last(e) ? b : NULL, e->part_end);
		rc = prealloc_cut(in, m.t, &r, e->part, e->part_count);
	}
	if (rc == 0)
		rc = map_apply(&m, &r);
	if (rc) {
		meta_cancel(m.t);
		return rc;
	}
	rc = inode_commit(in, m.t, &r);
	if (rc)
		return rc;
	in->beyond_end = beyond;
	in->inline_loaded = false;
	map_edit_took(e);
	return 0;
}

int batch_commit(struct inode *in, struct seal_batch *b)
{
	CLEANUP(map_edit_release) struct map_edit e;
	unsigned count;
	struct map_piece *pieces = map_pieces(b, &count);
	int rc = 0;

	map_edit_init(&e, in, b->ext, pieces, count);
	while (rc == 0 && !map_edit_done(&e))
		rc = commit_part(in, b, &e);
	return rc;
}

void batch_settle(struct seal_batch *b)
{
	for (unsigned i = 0; i < b->ext_count; i++)
		extent_settle(b->in->fs->extents, &b->ext[i], 1, b->ext[i].published);
}
