/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting fragments on disks (E1, E4): what the first write of an extent and its repair share. All fragments of all the
 * extents of one call travel together, so that each disk's queue is woken once. Those that fail go to other disks.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

static const uint8_t zeros[SEGMENT_ALIGN];

static unsigned width_of(const struct put *p) { return (unsigned)p->rec->k + p->rec->m; }

static struct record_header header_of(struct extent_store *s, const struct put *p, unsigned i)
{
	const struct rec_extent *rec = p->rec;

	return (struct record_header){
		.pool = s->cfg.pool,
		.extent = rec->id,
		.ino = rec->ino,
		.generation = meta_generation(s->cfg.meta),
		.written_ns = env_wall_ns(),
		.extent_len = rec->len,
		.payload_len = rec->fragment_len,
		.k = rec->k,
		.m = rec->m,
		.index = (uint8_t)i,
		.codec = rec->k > 1,
		.piece_count = (uint16_t)p->piece_count,
		.pieces = (struct record_piece *)p->pieces,
		.block_count = (uint32_t)DIV_UP(rec->fragment_len, RECORD_BLOCK_BYTES),
		.blocks = (struct hash *)p->blocks[i],
	};
}

/* Reserves on the disk, builds the header, prepares the write. Nothing is written yet. */
static int prepare(struct extent_store *s, struct put *p, unsigned i, disk_id disk,
		   struct disk_io *ret_io)
{
	struct record_header h = header_of(s, p, i);
	uint32_t total = record_len(h.piece_count, h.payload_len);
	struct rec_fragment *f = &p->rec->frags[i];
	uint8_t *header = p->headers + (size_t)i * p->rec->header_len;
	struct disk *d = disk_get(s->cfg.disks, disk);
	struct iovec *iov = p->iov[i];
	struct segment_addr addr;
	int err;

	if (!d)
		return DFS_ENODISK;
	err = segment_reserve(d, total, &addr);
	if (err)
		return err;
	h.disk = disk;
	h.segment = addr.segment;
	h.offset = addr.offset;
	*f = (struct rec_fragment){
		.disk = disk, .segment = addr.segment, .offset = addr.offset, .record_len = total};
	record_header_encode(&h, header, &f->header_hash);
	iov[0] = (struct iovec){header, p->rec->header_len};
	iov[1] = (struct iovec){(void *)p->payload[i], h.payload_len};
	iov[2] = (struct iovec){(void *)zeros, total - p->rec->header_len - h.payload_len};
	*ret_io = (struct disk_io){
		.disk = d,
		.op = DISK_WRITE,
		.addr = addr,
		.iov = iov,
		.iovcnt = iov[2].iov_len ? 3 : 2,
	};
	return 0;
}

void puts_abandon(struct extent_store *s, struct put *puts, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		for (unsigned i = 0; i < width_of(&puts[n]); i++) {
			struct rec_fragment *f = &puts[n].rec->frags[i];

			if (f->disk.v != 0)
				segment_settle(disk_get(s->cfg.disks, f->disk),
					       (struct segment_addr){f->segment, f->offset});
			f->disk.v = 0;
		}
}

/* What is made anew goes last where reads fail: there it may have to be made anew again. */
static int pick_sound(struct extent_store *s, const struct place_snapshot *snap, uint32_t need,
		      unsigned wanted, const disk_id *taken, unsigned ntaken, disk_id *ids)
{
	FREE struct place_snapshot *sound = place_snapshot_copy(snap);
	unsigned salt = atomic_fetch_add(&s->salt, 1);
	int err;

	for (unsigned i = 0; i < sound->count; i++)
		sound->disks[i].eligible &=
			disk_state(disk_get(s->cfg.disks, sound->disks[i].id)) == DISK_HEALTHY;
	err = place_pick(sound->disks, sound->count, wanted, need, taken, ntaken, salt, ids);
	if (!err)
		return 0;
	return place_pick(snap->disks, snap->count, wanted, need, taken, ntaken, salt, ids);
}

/* RB2: what is levelled goes where it was to go, or stays. DR8: what leaves a disk that has an heir goes there, if it is well and may have it; else where most room is. */
static int pick_anew(struct extent_store *s, const struct put *p, unsigned i,
		     const struct place_snapshot *snap, const disk_id *taken, unsigned ntaken,
		     disk_id *ret_id)
{
	uint32_t need = record_len(p->piece_count, p->rec->fragment_len);
	struct disk *from = disk_get(s->cfg.disks, p->old->frags[i].disk), *heir;
	disk_id id = from ? disk_heir(from) : (disk_id){0};

	if (p->to[i].v) {
		*ret_id = p->to[i];
		return place_allows(snap->disks, snap->count, p->to[i], need, taken, ntaken)
			       ? 0
			       : DFS_ENOSPC;
	}
	heir = id.v ? disk_get(s->cfg.disks, id) : NULL;
	if (!heir || disk_state(heir) != DISK_HEALTHY ||
	    !place_allows(snap->disks, snap->count, id, need, taken, ntaken))
		return pick_sound(s, snap, need, 1, taken, ntaken, ret_id);
	PROBE("moved-to-the-heir");
	*ret_id = id;
	return 0;
}

/* So many disks for fragments of the put: as planned, or by what is left. */
static int pick(struct extent_store *s, struct put *p, struct place_snapshot *snap, unsigned wanted,
		const disk_id *taken, unsigned ntaken, disk_id *ids)
{
	if (p->is_planned) {
		memcpy(ids, p->disks, wanted * sizeof(*ids));
		return 0;
	}
	return place_pick(snap->disks, snap->count, wanted,
			  record_len(p->piece_count, p->rec->fragment_len), taken, ntaken,
			  atomic_fetch_add(&s->salt, 1), ids);
}

/*
 * E4, of a repair: one fragment after the other, each on a disk that holds no other of the extent, nor may go on holding one: that of
 * a fragment which is to be made anew, too, and may find no place. Its own is free for it.
 */
static void place_anew(struct extent_store *s, struct put *p, struct place_snapshot *snap,
		       struct disk_io *ios, unsigned *owner, unsigned *io_count)
{
	uint32_t need = record_len(p->piece_count, p->rec->fragment_len);

	for (unsigned i = 0; i < width_of(p); i++) {
		disk_id taken[DFS_EXTENT_MAX_FRAGMENTS], id;
		unsigned ntaken = 0;
		int err;

		if (p->rec->frags[i].disk.v != 0 || !p->payload[i])
			continue;
		for (unsigned j = 0; j < width_of(p); j++) {
			disk_id at = p->rec->frags[j].disk;

			at = at.v ? at : p->old->frags[j].disk;
			if (j != i && at.v)
				taken[ntaken++] = at;
		}
		do { /* one that takes nothing is not picked again */
			err = pick_anew(s, p, i, snap, taken, ntaken, &id);
			if (err)
				p->stays = err;
			else if (prepare(s, p, i, id, &ios[*io_count]) == 0)
				owner[(*io_count)++] = i;
			if (!err)
				place_snapshot_take(snap, id, need, p->rec->frags[i].disk.v == 0);
		} while (!err && p->rec->frags[i].disk.v == 0);
	}
}

/*
 * Places the fragments that have no disk on such that hold none of the others, and prepares their
 * writes. Appends to ios; owner[] says whose fragment each is. DFS_ENOSPC: no disk is left.
 */
static int place(struct extent_store *s, struct put *p, struct place_snapshot *snap,
		 struct disk_io *ios, unsigned *owner, unsigned *io_count)
{
	disk_id taken[DFS_EXTENT_MAX_FRAGMENTS], ids[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned missing[DFS_EXTENT_MAX_FRAGMENTS], nmissing = 0, ntaken = 0, next = 0;
	uint32_t need = record_len(p->piece_count, p->rec->fragment_len);
	int err;

	for (unsigned i = 0; i < width_of(p); i++) {
		if (p->rec->frags[i].disk.v != 0)
			taken[ntaken++] = p->rec->frags[i].disk;
		else if (p->payload[i])
			missing[nmissing++] = i;
	}
	while (next < nmissing) {
		unsigned count = nmissing - next;

		err = pick(s, p, snap, count, taken, ntaken, ids);
		if (err)
			return err;
		for (unsigned i = 0; i < count; i++) {
			unsigned frag = missing[next];

			err = prepare(s, p, frag, ids[i], &ios[*io_count]);
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

/* Reads one back from the medium and compares. */
static int verify_one(const struct disk_io *io)
{
	size_t len = 0, at = 0;

	for (int j = 0; j < io->iovcnt; j++)
		len += io->iov[j].iov_len;
	FREE uint8_t *back = xmalloc(len);
	struct iovec iov = {back, len};
	struct disk_io rd = {.disk = io->disk,
			     .op = DISK_READ,
			     .addr = io->addr,
			     .iov = &iov,
			     .iovcnt = 1,
			     .flags = DEV_READ_MEDIA};
	int err = disk_io_run(&rd, 1);

	for (int j = 0; j < io->iovcnt && !err; j++) {
		const struct iovec *v = &io->iov[j];

		if (memcmp(back + at, v->iov_base, v->iov_len) != 0)
			err = DFS_ECHECKSUM;
		at += v->iov_len;
	}
	return err;
}

/* With verify_writes: those that differ on the medium, or can't be synced, get that as their result. */
static void verify_written(struct extent_store *s, struct disk_io *ios, unsigned count)
{
	if (!atomic_load(&s->verify_writes))
		return;
	sync_written(ios, count);
	for (unsigned i = 0; i < count; i++) {
		if (ios[i].result)
			continue;
		ios[i].result = verify_one(&ios[i]);
		if (ios[i].result == DFS_ECHECKSUM) {
			disk_count_checksum_error(ios[i].disk);
			log_error(
				"a fragment read back from disk %u differs from what was written; it is "
				"written to another disk. Check that disk",
				disk_info(ios[i].disk).id.v);
		}
	}
}

/* A round for all puts: place what is missing, run the writes, note what failed. */
static int write_round(struct extent_store *s, struct put *puts, unsigned count,
		       struct place_snapshot *snap, bool *ret_again)
{
	unsigned total = 0, n = 0;
	int err = 0;

	for (unsigned i = 0; i < count; i++)
		total += width_of(&puts[i]);
	FREE struct disk_io *ios = xcalloc(total, sizeof(*ios));
	FREE unsigned *owner = xcalloc(total, sizeof(*owner));
	FREE unsigned *end = xcalloc(count, sizeof(*end)); /* of each one's, in ios */

	*ret_again = false;
	for (unsigned i = 0; i < count && !err; i++) {
		if (puts[i].old)
			place_anew(s, &puts[i], snap, ios, owner, &n);
		else
			err = place(s, &puts[i], snap, ios, owner, &n);
		end[i] = n;
	}
	if (err)
		return err; /* nothing of this round has been written */
	if (n == 0)
		return 0;
	(void)disk_io_run(ios, n); /* each result is looked at below */
	verify_written(s, ios, n);
	for (unsigned i = 0, j = 0; i < count; i++) {
		for (; j < end[i]; j++) {
			struct rec_fragment *f = &puts[i].rec->frags[owner[j]];

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

int puts_write(struct extent_store *s, struct put *puts, unsigned count,
	       struct place_snapshot *snap)
{
	bool again = true;
	int err = 0;

	for (unsigned i = 0; i < count; i++)
		puts[i].headers = xmalloc((size_t)width_of(&puts[i]) * puts[i].rec->header_len);
	/* every round takes at least one disk out of the snapshot, so this ends */
	while (!err && again)
		err = write_round(s, puts, count, snap, &again);
	for (unsigned i = 0; i < count; i++)
		free(puts[i].headers);
	return err;
}
