/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing extents: place, encode, hash, append to distinct disks (E1, E4). All fragments of all the
 * extents of one call travel together, so that each disk's queue is woken once.
 *
 * A plan holds what one extent needs until its fragments are written: its disks, parity buffers, block hashes,
 * headers. All are planned before anything is reserved, for what is given out is not given out again (S1). Fragments
 * that fail go to other disks; when none is left, the extent starts over with the
 * narrower geometry that today's disks allow.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

struct plan {
	struct extent_new *e;
	uint32_t header_len;
	unsigned width;
	disk_id disks[DFS_EXTENT_MAX_FRAGMENTS]; /* where its fragments are to go */
	bool is_planned;			 /* they have not been tried yet */
	uint8_t *tail;	     /* the last data fragment, padded, when the extent ends inside it */
	uint8_t *parity;     /* m fragments */
	struct hash *hashes; /* for each distinct payload, its blocks */
	uint8_t *headers;    /* width headers */
	const uint8_t *payload[DFS_EXTENT_MAX_FRAGMENTS];
	bool done[DFS_EXTENT_MAX_FRAGMENTS];
	struct iovec iov[DFS_EXTENT_MAX_FRAGMENTS][3];
};

static const uint8_t zeros[SEGMENT_ALIGN];

static void plan_release(struct plan *p)
{
	free(p->tail);
	free(p->parity);
	free(p->hashes);
	free(p->headers);
	p->tail = p->parity = p->headers = NULL;
	p->hashes = NULL;
}

int fragment_prepare(struct extent_store *s, struct fragment_write *w, disk_id disk,
		     uint8_t *header_buf, struct iovec iov[3], struct disk_io *ret_io)
{
	struct record_header *h = &w->header;
	uint32_t header_len = record_header_len(h->piece_count, h->block_count);
	uint32_t total = record_len(h->piece_count, h->payload_len);
	struct disk *d = disk_get(s->cfg.disks, disk);
	struct segment_addr addr;
	int err;

	if (!d)
		return DFS_ENODISK;
	err = segment_reserve(d, total, &addr);
	if (err)
		return err;
	h->disk = disk;
	h->segment = addr.segment;
	h->offset = addr.offset;
	w->frag->disk = disk;
	w->frag->segment = addr.segment;
	w->frag->offset = addr.offset;
	w->frag->record_len = total;
	record_header_encode(h, header_buf, &w->frag->header_hash);
	iov[0] = (struct iovec){header_buf, header_len};
	iov[1] = (struct iovec){(void *)w->payload, h->payload_len};
	iov[2] = (struct iovec){(void *)zeros, total - header_len - h->payload_len};
	*ret_io = (struct disk_io){
		.disk = d,
		.op = DISK_WRITE,
		.addr = addr,
		.iov = iov,
		.iovcnt = iov[2].iov_len ? 3 : 2,
	};
	return 0;
}

/* Cuts the data in k, encodes m more, hashes every payload's blocks. */
static void plan_encode(struct plan *p)
{
	struct rec_extent *rec = &p->e->rec;
	uint32_t flen = rec->fragment_len, nblocks = (uint32_t)DIV_UP(flen, RECORD_BLOCK_BYTES);
	unsigned k = rec->k, m = rec->m, distinct = k == 1 ? 1 : k + m;
	uint8_t *parity[DFS_EXTENT_MAX_FRAGMENTS];

	p->headers = xmalloc((size_t)p->width * p->header_len);
	for (unsigned i = 0; i < k; i++) {
		uint64_t from = (uint64_t)i * flen;

		if (from + flen <= p->e->len) {
			p->payload[i] = p->e->data + from;
			continue;
		}
		if (!p->tail)
			p->tail = xcalloc(k, flen); /* short extents may leave several padded */
		p->payload[i] = p->tail + (size_t)i * flen;
		if (from < p->e->len)
			memcpy(p->tail + (size_t)i * flen, p->e->data + from, p->e->len - from);
	}
	if (k == 1) {
		for (unsigned i = 1; i <= m; i++)
			p->payload[i] = p->payload[0];
	} else if (m > 0) {
		p->parity = xmalloc((size_t)m * flen);
		for (unsigned i = 0; i < m; i++) {
			parity[i] = p->parity + (size_t)i * flen;
			p->payload[k + i] = parity[i];
		}
		codec_encode((struct geometry){rec->k, rec->m}, flen, p->payload, parity);
	}
	p->hashes = xmalloc((size_t)distinct * nblocks * sizeof(struct hash));
	for (unsigned i = 0; i < distinct; i++)
		record_hash_blocks(p->payload[i], flen, p->hashes + (size_t)i * nblocks);
}

/* Decides by what fits now, which it takes off, and fills in the record, but for the addresses. */
static int plan_init(struct extent_store *s, struct plan *p, struct place_snapshot *snap)
{
	struct extent_new *e = p->e;
	struct rec_extent *rec = &e->rec;
	struct geometry fit;
	int err;

	err = place_snapshot_extent(snap, e, atomic_fetch_add(&s->salt, 1), &fit, p->disks);
	if (err)
		return err;
	memset(rec, 0, sizeof(*rec));
	uuid_time_ordered(&rec->id.u);
	rec->ino = e->ino;
	rec->len = e->len;
	rec->k = fit.k;
	rec->m = fit.m;
	rec->wanted_k = e->wanted.k;
	rec->wanted_m = e->wanted.m;
	rec->refs = e->piece_count;
	rec->generation = meta_generation(s->cfg.meta);
	rec->fragment_len = codec_fragment_len(fit, e->len);
	p->is_planned = true;
	p->width = (unsigned)fit.k + fit.m;
	p->header_len = record_header_len(e->piece_count,
					  (unsigned)DIV_UP(rec->fragment_len, RECORD_BLOCK_BYTES));
	rec->header_len = p->header_len;
	memset(p->done, 0, sizeof(p->done));
	return 0;
}

/* Prepares fragment i for a disk; on success the io is ready to run. */
static int plan_fragment(struct extent_store *s, struct plan *p, unsigned i, disk_id disk,
			 struct disk_io *ret_io)
{
	const struct rec_extent *rec = &p->e->rec;
	uint32_t nblocks = (uint32_t)DIV_UP(rec->fragment_len, RECORD_BLOCK_BYTES);
	struct fragment_write w = {
		.frag = &p->e->rec.frags[i],
		.header =
			{
				.pool = s->cfg.pool,
				.extent = rec->id,
				.ino = rec->ino,
				.generation = rec->generation,
				.extent_len = rec->len,
				.payload_len = rec->fragment_len,
				.k = rec->k,
				.m = rec->m,
				.index = (uint8_t)i,
				.codec = rec->k > 1,
				.piece_count = (uint16_t)p->e->piece_count,
				.pieces = (struct record_piece *)p->e->pieces,
				.block_count = nblocks,
				.blocks = p->hashes + (rec->k == 1 ? 0 : (size_t)i * nblocks),
			},
		.payload = p->payload[i],
	};

	return fragment_prepare(s, &w, disk, p->headers + (size_t)i * p->header_len, p->iov[i],
				ret_io);
}

/* Gives back the reservations of all fragments of the plan that have one. */
static void plan_abandon(struct extent_store *s, struct plan *p)
{
	for (unsigned i = 0; i < p->width; i++) {
		struct rec_fragment *f = &p->e->rec.frags[i];

		if (f->disk.v != 0)
			segment_settle(disk_get(s->cfg.disks, f->disk),
				       (struct segment_addr){f->segment, f->offset});
		f->disk.v = 0;
	}
}

/* The disks for `count` fragments that have none, beside those of the others: as planned, or by what is left. */
static int plan_pick(struct extent_store *s, struct plan *p, const struct place_snapshot *snap,
		     const disk_id *taken, unsigned ntaken, unsigned count, disk_id *ids)
{
	if (p->is_planned) {
		memcpy(ids, p->disks, count * sizeof(*ids));
		return 0;
	}
	return place_pick(snap->disks, snap->count, count,
			  record_len(p->e->piece_count, p->e->rec.fragment_len), taken, ntaken,
			  atomic_fetch_add(&s->salt, 1), ids);
}

/*
 * Places the fragments that are not done on disks that hold none of the others, and prepares their
 * writes. Appends to ios; owner[] says whose fragment each is. DFS_ENOSPC: no disk is left.
 */
static int plan_place(struct extent_store *s, struct plan *p, struct place_snapshot *snap,
		      struct disk_io *ios, unsigned *owner, unsigned *io_count)
{
	disk_id taken[DFS_EXTENT_MAX_FRAGMENTS], ids[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned missing[DFS_EXTENT_MAX_FRAGMENTS], nmissing = 0, ntaken = 0, next = 0;
	uint32_t need = record_len(p->e->piece_count, p->e->rec.fragment_len);
	int err;

	for (unsigned i = 0; i < p->width; i++) {
		if (p->e->rec.frags[i].disk.v != 0)
			taken[ntaken++] = p->e->rec.frags[i].disk;
		else
			missing[nmissing++] = i;
	}
	while (next < nmissing) {
		unsigned count = nmissing - next;

		err = plan_pick(s, p, snap, taken, ntaken, count, ids);
		if (err)
			return err;
		for (unsigned i = 0; i < count; i++) {
			unsigned frag = missing[next];

			err = plan_fragment(s, p, frag, ids[i], &ios[*io_count]);
			/* one that takes nothing is not picked again */
			place_snapshot_take(snap, ids[i], p->is_planned ? 0 : need, err != 0);
			if (err)
				continue;
			owner[(*io_count)++] = frag;
			taken[ntaken++] = ids[i];
			next++;
		}
		p->is_planned = false;
	}
	return 0;
}

/* Syncs the disks that were written to; a fragment on one that fails counts as failed. */
static void sync_written(struct disk_io *ios, unsigned count)
{
	FREE struct disk_io *syncs = xcalloc(count, sizeof(*syncs));
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		unsigned j = 0;

		while (j < n && syncs[j].disk != ios[i].disk)
			j++;
		if (j == n)
			syncs[n++] = (struct disk_io){.disk = ios[i].disk, .op = DISK_SYNC};
	}
	(void)disk_io_run(syncs, n); /* each result is looked at */
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < n; j++)
			if (syncs[j].disk == ios[i].disk && ios[i].result == 0)
				ios[i].result = syncs[j].result;
}

void fragments_verify_written(struct extent_store *s, struct disk_io *ios, unsigned count)
{
	if (!atomic_load(&s->verify_writes))
		return;
	sync_written(ios, count);
	for (unsigned i = 0; i < count; i++) {
		size_t len = 0, at = 0;

		if (ios[i].result)
			continue;
		for (int j = 0; j < ios[i].iovcnt; j++)
			len += ios[i].iov[j].iov_len;
		FREE uint8_t *back = xmalloc(len);
		struct iovec iov = {back, len};
		struct disk_io rd = {.disk = ios[i].disk,
				     .op = DISK_READ,
				     .addr = ios[i].addr,
				     .iov = &iov,
				     .iovcnt = 1,
				     .flags = DEV_READ_MEDIA};

		ios[i].result = disk_io_run(&rd, 1);
		for (int j = 0; j < ios[i].iovcnt && !ios[i].result; j++) {
			const struct iovec *v = &ios[i].iov[j];

			if (memcmp(back + at, v->iov_base, v->iov_len) != 0)
				ios[i].result = DFS_ECHECKSUM;
			at += v->iov_len;
		}
		if (ios[i].result == DFS_ECHECKSUM) {
			disk_count_checksum_error(ios[i].disk);
			log_error(
				"a fragment read back from disk %u differs from what was written; it is "
				"written to another disk. Check that disk",
				disk_info(ios[i].disk).id.v);
		}
	}
}

#define ROUND_MAX 64u /* plans whose fragments are in memory at a time */

/* A round for all plans: place what is missing, run the writes, note what failed. */
static int write_round(struct extent_store *s, struct plan *plans, unsigned count,
		       struct place_snapshot *snap, bool *ret_again)
{
	unsigned total = 0, n = 0, first[ROUND_MAX];
	int err = 0;

	ASSERT(count <= ARRAY_SIZE(first));
	for (unsigned i = 0; i < count; i++)
		total += plans[i].width;
	FREE struct disk_io *ios = xcalloc(total, sizeof(*ios));
	FREE unsigned *owner = xcalloc(total, sizeof(*owner));

	*ret_again = false;
	for (unsigned i = 0; i < count && !err; i++) {
		first[i] = n;
		err = plan_place(s, &plans[i], snap, ios, owner, &n);
	}
	if (err)
		return err; /* nothing of this round has been written */
	if (n == 0)
		return 0;
	(void)disk_io_run(ios, n); /* each result is looked at below */
	fragments_verify_written(s, ios, n);
	for (unsigned i = 0; i < count; i++) {
		unsigned end = i + 1 < count ? first[i + 1] : n;

		for (unsigned j = first[i]; j < end; j++) {
			struct rec_fragment *f = &plans[i].e->rec.frags[owner[j]];

			if (ios[j].result == 0)
				continue;
			segment_settle(ios[j].disk, ios[j].addr);
			PROBE("fragment-to-another-disk");
			place_snapshot_take(snap, f->disk, UINT64_MAX, true);
			f->disk.v = 0;
			*ret_again = true;
		}
	}
	return 0;
}

/* Plans all, in their order. DFS_ENOSPC: the one that finds no room is told of. */
static int plan_all(struct extent_store *s, struct plan *plans, struct extent_new *extents,
		    unsigned count, struct place_snapshot *snap)
{
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		plans[i].e = &extents[i];
		err = plan_init(s, &plans[i], snap);
		extents[i].no_room = err == DFS_ENOSPC;
	}
	return err;
}

static int write_plans(struct extent_store *s, struct plan *plans, unsigned count,
		       struct place_snapshot *snap)
{
	unsigned n;
	int err = 0;

	for (unsigned done = 0; done < count && !err; done += n) {
		bool again = true;

		n = MIN(count - done, ROUND_MAX);
		for (unsigned i = done; i < done + n; i++)
			plan_encode(&plans[i]);
		/* every round takes at least one disk out of the snapshot, so this ends */
		while (!err && again)
			err = write_round(s, plans + done, n, snap, &again);
		for (unsigned i = done; i < done + n; i++)
			plan_release(&plans[i]);
	}
	for (unsigned i = 0; i < count && err; i++)
		plan_abandon(s, &plans[i]);
	return err;
}

#define WRITE_ATTEMPTS 4 /* each with the geometry that fits at its start */

/* spare: what may be taken, of what is not accepted; NULL: it was. */
static int write_all(struct extent_store *s, struct extent_new *extents, unsigned count,
		     const struct place_snapshot *spare)
{
	FREE struct plan *plans = xcalloc(count, sizeof(*plans));
	int err = DFS_EIO;

	for (int attempt = 0; attempt < WRITE_ATTEMPTS && err; attempt++) {
		FREE struct place_snapshot *snap = spare ? place_snapshot_copy(spare)
							 : place_snapshot_accepted(s);

		if (attempt)
			PROBE("extent-written-narrower");
		err = plan_all(s, plans, extents, count, snap);
		if (err)
			return err;
		err = write_plans(s, plans, count, snap);
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
	FREE struct place_snapshot *spare = spare_begin(s, bytes);
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
