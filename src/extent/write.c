/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing extents: plan, encode, hash, put the fragments on disks (put.c).
 *
 * A plan holds what one extent needs until its fragments are written: parity buffers, block hashes. All are planned before anything is reserved, for what is given out is not given out again (S1). Fragments
 * that fail go to other disks; when none is left, the extent starts over with the
 * narrower geometry that today's disks allow.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

struct plan {
	struct extent_new *e;
	uint8_t *tail;	     /* the last data fragment, padded, when the extent ends inside it */
	uint8_t *parity;     /* m fragments */
	struct hash *hashes; /* for each distinct payload, its blocks */
};

static void plan_release(struct plan *p)
{
	free(p->tail);
	free(p->parity);
	free(p->hashes);
	*p = (struct plan){.e = p->e};
}

/* Cuts the data in k, encodes m more, hashes every payload's blocks. */
static void plan_encode(struct plan *p, struct put *put)
{
	struct rec_extent *rec = &p->e->rec;
	uint32_t flen = rec->fragment_len, nblocks = (uint32_t)DIV_UP(flen, RECORD_BLOCK_BYTES);
	unsigned k = rec->k, m = rec->m, distinct = k == 1 ? 1 : k + m;
	uint8_t *parity[DFS_EXTENT_MAX_FRAGMENTS];

	for (unsigned i = 0; i < k; i++) {
		uint64_t from = (uint64_t)i * flen;

		if (from + flen <= p->e->len) {
			put->payload[i] = p->e->data + from;
			continue;
		}
		if (!p->tail)
			p->tail = xcalloc(k, flen); /* short extents may leave several padded */
		put->payload[i] = p->tail + (size_t)i * flen;
		if (from < p->e->len)
			memcpy(p->tail + (size_t)i * flen, p->e->data + from, p->e->len - from);
	}
	if (k == 1) {
		for (unsigned i = 1; i <= m; i++)
			put->payload[i] = put->payload[0];
	} else if (m > 0) {
		p->parity = xmalloc((size_t)m * flen);
		for (unsigned i = 0; i < m; i++) {
			parity[i] = p->parity + (size_t)i * flen;
			put->payload[k + i] = parity[i];
		}
		codec_encode((struct geometry){rec->k, rec->m}, flen, put->payload, parity);
	}
	p->hashes = xmalloc((size_t)distinct * nblocks * sizeof(struct hash));
	for (unsigned i = 0; i < k + m; i++) {
		put->blocks[i] = p->hashes + (i < distinct ? (size_t)i * nblocks : 0);
		if (i < distinct)
			record_hash_blocks(put->payload[i], flen, p->hashes + (size_t)i * nblocks);
	}
}

/* Decides by what fits now, which it takes off, and fills in the record, but for the addresses. */
static int plan_init(struct extent_store *s, struct plan *p, struct put *put,
		     struct place_snapshot *snap)
{
	struct extent_new *e = p->e;
	struct rec_extent *rec = &e->rec;
	struct geometry fit;
	int err;

	*put = (struct put){.rec = rec, .pieces = e->pieces, .piece_count = e->piece_count};
	err = place_snapshot_extent(snap, e, atomic_fetch_add(&s->salt, 1), &fit, put->disks);
	if (err)
		return err;
	put->is_planned = true;
	memset(rec, 0, sizeof(*rec));
	uuid_at_tick(e->born ? e->born : uuid_tick(), &rec->id.u);
	rec->ino = e->ino;
	rec->len = e->len;
	rec->k = fit.k;
	rec->m = fit.m;
	rec->wanted_k = e->wanted.k;
	rec->wanted_m = e->wanted.m;
	rec->refs = e->piece_count;
	rec->generation = meta_generation(s->cfg.meta);
	rec->fragment_len = codec_fragment_len(fit, e->len);
	rec->header_len = record_header_len(e->piece_count, (unsigned)DIV_UP(rec->fragment_len,
									     RECORD_BLOCK_BYTES));
	return 0;
}

/* Plans all, in their order. DFS_ENOSPC: the one that finds no room is told of. */
static int plan_all(struct extent_store *s, struct plan *plans, struct put *puts,
		    struct extent_new *extents, unsigned count, struct place_snapshot *snap)
{
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		plans[i].e = &extents[i];
		err = plan_init(s, &plans[i], &puts[i], snap);
		extents[i].no_room = err == DFS_ENOSPC;
	}
	return err;
}

#define ROUND_MAX 64u /* plans whose fragments are in memory at a time */

static int write_plans(struct extent_store *s, struct plan *plans, struct put *puts, unsigned count,
		       struct place_snapshot *snap)
{
	unsigned n;
	int err = 0;

	for (unsigned done = 0; done < count && !err; done += n) {
		n = MIN(count - done, ROUND_MAX);
		for (unsigned i = done; i < done + n; i++)
			plan_encode(&plans[i], &puts[i]);
		err = puts_write(s, puts + done, n, snap);
		for (unsigned i = done; i < done + n; i++)
			plan_release(&plans[i]);
	}
	if (err)
		puts_abandon(s, puts, count);
	return err;
}

#define WRITE_ATTEMPTS 4 /* each with the geometry that fits at its start */

/* spare: what may be taken, of what is not accepted; NULL: it was. */
static int write_all(struct extent_store *s, struct extent_new *extents, unsigned count,
		     const struct place_snapshot *spare)
{
	FREE struct plan *plans = xcalloc(count, sizeof(*plans));
	FREE struct put *puts = xcalloc(count, sizeof(*puts));
	int err = DFS_EIO;

	for (int attempt = 0; attempt < WRITE_ATTEMPTS && err; attempt++) {
		FREE struct place_snapshot *snap = spare ? place_snapshot_copy(spare)
							 : place_snapshot_accepted(s);

		if (attempt)
			PROBE("extent-written-narrower");
		err = plan_all(s, plans, puts, extents, count, snap);
		if (err)
			return err;
		err = write_plans(s, plans, puts, count, snap);
	}
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++)
		risk_written(&s->risk, &extents[i].rec);
	atomic_fetch_add(&s->extents_written, count);
	return 0;
}

int extent_write(struct extent_store *s, struct extent_new *extents, unsigned count)
{
	int err;

	for (unsigned i = 0; i < count; i++) {
		ASSERT(extents[i].len >= 1 && extents[i].len <= EXTENT_MAX_BYTES);
		ASSERT(extents[i].piece_count >= 1 && extents[i].piece_count <= RECORD_MAX_PIECES);
	}
	err = write_all(s, extents, count, NULL);
	return err == DFS_ENOSPC && disk_set_takes_nothing(s->cfg.disks) ? DFS_EIO : err; /* C6 */
}

/* Of what may be taken at most: as copies. */
static uint64_t cost(const struct extent_new *extents, unsigned count)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < count; i++)
		bytes += (uint64_t)(extents[i].wanted.m + 1) *
			 record_len(extents[i].piece_count, extents[i].len);
	return bytes;
}

int extent_write_unasked(struct extent_store *s, struct extent_new *extents, unsigned count)
{
	uint64_t bytes = cost(extents, count);
	FREE struct place_snapshot *spare = spare_begin(s, bytes, UNASKED_INDEX_BYTES, false);
	int err = write_all(s, extents, count, spare);

	spare_end(s, bytes);
	return err;
}

void extent_settle(struct extent_store *s, const struct extent_new *extents, unsigned count,
		   bool published)
{
	uint64_t seq = published ? meta_last_seq(s->cfg.meta) : 0;

	/* unpublished records lie in a gap of the index: reclaim punches gaps */
	for (unsigned i = 0; i < count; i++) {
		const struct rec_extent *rec = &extents[i].rec;

		for (unsigned j = 0; j < (unsigned)rec->k + rec->m; j++)
			segment_settle(disk_get(s->cfg.disks, rec->frags[j].disk),
				       (struct segment_addr){rec->frags[j].segment,
							     rec->frags[j].offset});
		risk_settled(&s->risk, rec, seq);
	}
}
