/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: one pipeline for many extents at a time, over a mask of the fragments that are to be made anew: what is rotten, in
 * doubt, or on a disk that is to be done without. Of each extent as many fragments are read as that takes, each once; what
 * is wanted and can't be read is computed from k verified ones, or, where fewer are whole, block by block from k verified blocks
 * each (E9); all are written to disks that hold none of the others;
 * one sync of those disks; then one transaction changes the addresses and frees the old fragments (E6, P7).
 *
 * An extent that changes meanwhile (freed, repaired by another) is begun anew. Who calls this: heal.c.
 *
 * Of many extents several threads (lanes) do some each; what they do to one and the same is as if two callers did (E6).
 *
 * Locks: the records' exclusive section (refs.c) around re-reading and commit; lanes.lock and rooms_lock, leaves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/metric.h"
#include "base/probe.h"
#include "extent/internal.h"

/* Of one call of the pipeline: what its transaction (T1) and its memory may hold. */
#define BATCH_EXTENTS 16u
#define LANE_EXTENTS                                                                               \
	4u /* where several threads work: what they hold together is to stay in the processor's caches */
#define BATCH_BYTES MIB(32)
#define INDEX_BYTES                                                                                \
	KIB(8)	   /* of an extent: its record, of each fragment addresses, a line of the audit */
#define ATTEMPTS 4 /* somebody else may be repairing or freeing the same extent */

/* ---- checking ---- */

static enum fragment_status status_of(int result)
{
	if (result == 0)
		return FRAGMENT_GOOD;
	return result == DFS_EGONE || result == DFS_ENODISK ? FRAGMENT_ABSENT : FRAGMENT_BAD;
}

/* Do they suffice, all of them, and without each one? */
static void check_suffices(const struct rec_extent *rec, uint32_t len, uint64_t *blocks,
			   struct extent_check *c)
{
	unsigned width = (unsigned)rec->k + rec->m;

	c->recoverable = blocks_suffice(blocks, width, rec->k, len);
	for (unsigned i = 0; i < width; i++) {
		uint64_t own = blocks[i];

		blocks[i] = 0;
		c->needless[i] = blocks_suffice(blocks, width, rec->k, len);
		blocks[i] = own;
	}
}

static void verify(struct extent_store *s, const struct rec_extent *rec, bool deep, bool is_scrub,
		   struct extent_check *ret_check)
{
	unsigned width = (unsigned)rec->k + rec->m;
	struct whole_read reads[DFS_EXTENT_MAX_FRAGMENTS];
	uint32_t len = deep ? rec->fragment_len : MIN(rec->fragment_len, RECORD_BLOCK_BYTES);
	size_t each = (size_t)rec->header_len + len;
	FREE uint8_t *bufs = xmalloc(width * each);
	uint64_t blocks[DFS_EXTENT_MAX_FRAGMENTS];

	for (unsigned i = 0; i < width; i++)
		reads[i] = (struct whole_read){.rec = rec,
					       .index = i,
					       .len = len,
					       .buf = bufs + i * each,
					       .is_scrub = is_scrub};
	wholes_read(s, reads, width);
	*ret_check = (struct extent_check){0};
	for (unsigned i = 0; i < width; i++) {
		int err = reads[i].is_unnamed ? DFS_ENOENT : reads[i].result;

		ret_check->status[i] = status_of(err);
		ret_check->err[i] = err;
		ret_check->good += ret_check->status[i] == FRAGMENT_GOOD;
		ret_check->damaged[i] = ret_check->status[i] == FRAGMENT_BAD &&
					fragment_is_damaged(err);
	}
	for (unsigned i = 0; i < width; i++) {
		if (ret_check->good < rec->k && ret_check->damaged[i] && !reads[i].blocks)
			whole_salvage(s, &reads[i]);
		blocks[i] = reads[i].blocks;
		whole_release(&reads[i]);
	}
	check_suffices(rec, len, blocks, ret_check);
}

int extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
		  struct extent_check *ret_check)
{
	verify(s, rec, deep, false, ret_check);
	return 0;
}

void extent_verify_medium(struct extent_store *s, const struct rec_extent *rec,
			  struct extent_check *ret_check)
{
	verify(s, rec, true, true, ret_check);
}

/* ---- one extent in the pipeline ---- */

struct repair {
	struct repair_item *item;
	struct rec_extent old, new;
	unsigned width, good;
	uint64_t blocks
		[DFS_EXTENT_MAX_FRAGMENTS]; /* verified in the payload; 0: of a fragment that was not read */
	bool by_block;
	bool want[DFS_EXTENT_MAX_FRAGMENTS];  /* to be made anew */
	disk_id to[DFS_EXTENT_MAX_FRAGMENTS]; /* 0: anywhere */
	bool tried[DFS_EXTENT_MAX_FRAGMENTS], have[DFS_EXTENT_MAX_FRAGMENTS];
	bool damaged[DFS_EXTENT_MAX_FRAGMENTS];
	int why[DFS_EXTENT_MAX_FRAGMENTS]; /* what is wrong with it; 0: nothing, or it is absent */
	uint8_t *payload[DFS_EXTENT_MAX_FRAGMENTS]; /* borrowed; before it the header */
	struct record_piece *pieces;		    /* known only to the records themselves */
	unsigned piece_count;
	struct hash *hashes; /* of the payloads that are wanted */
	int err;	     /* of the extent: it is left as it is */
};

static bool is_wanted(struct extent_store *s, const struct repair_choice *c,
		      const struct rec_fragment *f)
{
	if (f->disk.v == 0 || extent_is_without(s, f->disk))
		return true;
	if (c->level && f->disk.v == c->levelled.v)
		return true;
	return c->doubt && f->disk.v == c->doubted.v && f->segment == c->doubt->segment &&
	       f->offset + (uint64_t)f->record_len > c->doubt->from;
}

/* How many bytes of buffers it takes. later: another one of this call is of the same extent. */
static size_t begin(struct extent_store *s, const struct repair_choice *c, struct repair_item *item,
		    struct repair *r, bool later)
{
	size_t each;

	*r = (struct repair){.item = item};
	*item = (struct repair_item){.id = item->id};
	r->err = later ? DFS_EBUSY : get_extent(s->cfg.meta, item->id, &r->old);
	if (r->err)
		return 0;
	r->new = r->old;
	r->width = (unsigned)r->old.k + r->old.m;
	each = (size_t)r->old.header_len + r->old.fragment_len;
	for (unsigned i = 0; i < r->width; i++)
		r->want[i] = is_wanted(s, c, &r->old.frags[i]);
	return r->width * each;
}

/* One piece of memory for all: what is fresh costs as much as to read into it. */
static void give_room(struct repair *rs, unsigned count, size_t bytes, struct buf *room)
{
	uint8_t *at;

	if (room->cap < bytes) {
		buf_release(room);
		*room = (struct buf){.data = xmalloc(bytes), .cap = bytes};
	}
	at = room->data;
	for (unsigned i = 0; i < count; i++) {
		struct repair *r = &rs[i];
		size_t each = (size_t)r->old.header_len + r->old.fragment_len;

		for (unsigned j = 0; j < r->width; j++, at += each)
			r->payload[j] = at + r->old.header_len;
	}
}

static void end(struct repair *r)
{
	free(r->pieces);
	free(r->hashes);
}

/* ---- reading ---- */

static bool is_there(struct extent_store *s, const struct rec_fragment *f)
{
	struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;

	return d && disk_present(d);
}

/* Which to read next: first what is looked at anyway, then what is lacking of k. */
static unsigned ask(struct extent_store *s, const struct repair_choice *c, struct repair *r,
		    unsigned list[DFS_EXTENT_MAX_FRAGMENTS])
{
	uint8_t order[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned n = 0, present;
	bool lacking = false;

	for (unsigned i = 0; i < r->width; i++) {
		if (!r->tried[i] && (c->verify || (r->want[i] && is_there(s, &r->old.frags[i]))))
			list[n++] = i;
		else
			lacking |= r->want[i] && !r->have[i];
	}
	for (unsigned i = 0; i < n; i++)
		r->tried[list[i]] = true;
	if (!lacking)
		return n;
	present = fragments_by_preference(s, &r->old, order);
	for (unsigned i = 0; i < present && r->good + n < r->old.k; i++) {
		if (r->tried[order[i]])
			continue;
		r->tried[order[i]] = true;
		list[n++] = order[i];
	}
	return n;
}

/* What is levelled, and has no place on an emptier disk, stays. */
static void level(struct extent_store *s, const struct repair_choice *c,
		  struct place_snapshot *snap, struct repair *r)
{
	for (unsigned i = 0; i < r->width && !r->err; i++) {
		const struct rec_fragment *f = &r->old.frags[i];

		if (!r->want[i] || f->disk.v != c->levelled.v || extent_is_without(s, f->disk))
			continue;
		r->want[i] = level_choose(s, c->level, snap, &r->old, i, &r->to[i]);
		if (!r->want[i])
			continue;
		level_note(c->level, f->disk, r->to[i], f->record_len);
		place_snapshot_take(snap, r->to[i], f->record_len, false);
	}
}

/* Extents of which no disk can take what is wanted are not read in vain. */
static void leave_homeless(struct extent_store *s, const struct repair_choice *c, struct repair *rs,
			   unsigned count)
{
	FREE struct place_snapshot *snap = c->verify ? NULL : place_snapshot_new(s);

	if (snap && c->compacts)
		place_snapshot_lend(snap);
	for (unsigned i = 0; i < count && snap; i++) {
		disk_id taken[DFS_EXTENT_MAX_FRAGMENTS], id;
		struct repair *r = &rs[i];
		unsigned n = 0;

		if (c->level)
			level(s, c, snap, r);
		for (unsigned j = 0; j < r->width; j++)
			if (!r->want[j])
				taken[n++] = r->old.frags[j].disk;
		if (n < r->width)
			r->err = place_pick(snap->disks, snap->count, 1, r->old.frags[0].record_len,
					    taken, n, 0, &id);
		if (r->err)
			memset(r->want, 0, sizeof(r->want));
	}
}

/* Which blocks can be relied on, and what only the records know. Releases the read. */
static void note_blocks(struct repair *r, struct whole_read *w)
{
	struct record_header *h = &w->header;

	r->blocks[w->index] = w->blocks;
	if (!r->pieces && h->pieces) {
		r->pieces = h->pieces;
		r->piece_count = h->piece_count;
		h->pieces = NULL;
	}
	whole_release(w);
}

/* What is bad is wanted, but not all that a disk holds on which nothing can be read any more: whether to do
 * without it is its owner's to say. */
static void note_read(struct extent_store *s, struct repair *r, struct whole_read *w)
{
	unsigned i = w->index;

	switch (status_of(w->result)) {
	case FRAGMENT_GOOD:
		r->have[i] = true;
		r->good++;
		r->want[i] |= w->is_unnamed;
		r->why[i] = w->is_unnamed ? DFS_ENOENT : 0;
		break;
	case FRAGMENT_BAD:
		r->damaged[i] = fragment_is_damaged(w->result);
		r->why[i] = w->result;
		r->want[i] |= !disk_reads_nothing(disk_get(s->cfg.disks, r->old.frags[i].disk));
		break;
	case FRAGMENT_ABSENT:
		break;
	}
	note_blocks(r, w);
}

/* false: there is nothing more to read. */
static bool read_round(struct extent_store *s, const struct repair_choice *c, struct repair *rs,
		       unsigned count)
{
	size_t most = (size_t)count * DFS_EXTENT_MAX_FRAGMENTS;
	FREE struct whole_read *reads = xcalloc(most, sizeof(*reads));
	FREE unsigned *whose = xcalloc(most, sizeof(*whose));
	unsigned n = 0, list[DFS_EXTENT_MAX_FRAGMENTS];

	for (unsigned i = 0; i < count; i++) {
		struct repair *r = &rs[i];
		unsigned asked = ask(s, c, r, list);

		for (unsigned j = 0; j < asked; j++) {
			whose[n] = i;
			reads[n++] =
				(struct whole_read){.rec = &r->old,
						    .index = list[j],
						    .len = r->old.fragment_len,
						    .buf = r->payload[list[j]] - r->old.header_len,
						    .is_scrub = c->is_scrub};
		}
	}
	wholes_read(s, reads, n);
	for (unsigned i = 0; i < n; i++)
		note_read(s, &rs[whose[i]], &reads[i]);
	return n > 0;
}

/* Fewer than k are whole: what of the damaged ones can be read, and is right. */
static void salvage(struct extent_store *s, const struct repair_choice *c, struct repair *r)
{
	for (unsigned i = 0; i < r->width; i++) {
		struct whole_read w = {.rec = &r->old,
				       .index = i,
				       .len = r->old.fragment_len,
				       .buf = r->payload[i] - r->old.header_len,
				       .is_scrub = c->is_scrub};

		if (!r->damaged[i] || r->blocks[i])
			continue;
		whole_salvage(s, &w);
		note_blocks(r, &w);
	}
}

/* E9: each block from k verified ones of its own. All or nothing: an extent of which a block is lost stays as it is. */
static int decode_blocks(struct repair *r, const bool *want)
{
	struct geometry g = {r->old.k, r->old.m};
	uint32_t len = r->old.fragment_len;
	int err = 0;

	if (!blocks_suffice(r->blocks, r->width, g.k, len))
		return DFS_EIO;
	for (uint32_t b = 0, at = 0; at < len && !err; b++, at += RECORD_BLOCK_BYTES) {
		bool have_it[DFS_EXTENT_MAX_FRAGMENTS], want_it[DFS_EXTENT_MAX_FRAGMENTS];
		uint8_t *from[DFS_EXTENT_MAX_FRAGMENTS];

		for (unsigned i = 0; i < r->width; i++) {
			have_it[i] = r->blocks[i] >> b & 1;
			want_it[i] = want[i] && !have_it[i];
			from[i] = r->payload[i] + at;
		}
		err = codec_decode(g, MIN(RECORD_BLOCK_BYTES, len - at), from, have_it, want_it);
	}
	r->by_block = err == 0;
	if (!err)
		PROBE("repaired-block-by-block");
	return err;
}

/* Computes what is wanted and could not be read. What can't be had so stays as it is. */
static void decode(struct extent_store *s, const struct repair_choice *c, struct repair *r)
{
	bool want[DFS_EXTENT_MAX_FRAGMENTS] = {false};
	int err;

	for (unsigned i = 0; i < r->width; i++)
		want[i] = r->want[i] && !r->have[i];
	if (!memchr(want, true, sizeof(want)))
		return;
	if (r->good >= r->old.k) {
		err = codec_decode((struct geometry){r->old.k, r->old.m}, r->old.fragment_len,
				   r->payload, r->have, want);
	} else {
		salvage(s, c, r);
		err = decode_blocks(r, want);
	}
	if (!err)
		return;
	r->item->err = err;
	for (unsigned i = 0; i < r->width; i++)
		r->want[i] &= !want[i];
}

/* ---- writing ---- */

static bool same_fragment(const struct rec_fragment *a, const struct rec_fragment *b)
{
	return a->disk.v == b->disk.v && a->segment == b->segment && a->offset == b->offset;
}
static bool has_moved(const struct repair *r, unsigned i)
{
	return !same_fragment(&r->old.frags[i], &r->new.frags[i]);
}

static void prepare(struct repair *r, struct put *put)
{
	uint32_t nblocks = (uint32_t)DIV_UP(r->old.fragment_len, RECORD_BLOCK_BYTES);

	*put = (struct put){
		.rec = &r->new, .pieces = r->pieces, .piece_count = r->piece_count, .old = &r->old};
	r->hashes = xmalloc((size_t)r->width * nblocks * sizeof(*r->hashes));
	for (unsigned i = 0; i < r->width; i++) {
		struct hash *blocks = r->hashes + (size_t)i * nblocks;

		if (!r->want[i])
			continue;
		record_hash_blocks(r->payload[i], r->old.fragment_len, blocks);
		put->payload[i] = r->payload[i];
		put->to[i] = r->to[i];
		put->blocks[i] = blocks;
		r->new.frags[i].disk.v = 0;
	}
}

/* Writes what is wanted and has room (A6). An error, too, where another one of the extent could not be. */
static void write_wanted(struct extent_store *s, struct repair *rs, unsigned count,
			 struct place_snapshot *spare)
{
	FREE struct put *puts = xcalloc(count, sizeof(*puts));
	unsigned n = 0;
	int err;

	for (unsigned i = 0; i < count; i++)
		if (memchr(rs[i].want, true, sizeof(rs[i].want)))
			prepare(&rs[i], &puts[n++]);
	err = puts_write(s, puts, n, spare);
	n = 0;
	for (unsigned i = 0; i < count; i++) {
		struct repair *r = &rs[i];
		int stays;

		if (!memchr(r->want, true, sizeof(r->want)))
			continue;
		stays = err ? err : puts[n].stays;
		n++;
		for (unsigned j = 0; j < r->width; j++) {
			if (!r->want[j] || r->new.frags[j].disk.v != 0)
				continue;
			r->new.frags[j] = r->old.frags[j];
			r->item->err = stays;
		}
	}
}

/* Makes the moved fragments durable. Only the disks they went to: a repair has no say in what
 * others wrote, nor do their losses concern it. */
static void sync_moved(struct extent_store *s, struct repair *rs, unsigned count)
{
	FREE struct disk_io *syncs = xcalloc(DISK_ID_MAX + 1, sizeof(*syncs)); /* by disk */
	FREE struct disk_io *run = xcalloc(DISK_ID_MAX + 1, sizeof(*run));
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < rs[i].width; j++)
			if (has_moved(&rs[i], j))
				syncs[rs[i].new.frags[j].disk.v].op = DISK_SYNC;
	for (uint32_t id = 0; id <= DISK_ID_MAX; id++)
		if (syncs[id].op == DISK_SYNC)
			run[n++] = (struct disk_io){.disk = disk_get(s->cfg.disks, (disk_id){id}),
						    .op = DISK_SYNC};
	(void)disk_io_run(run, n); /* each result is looked at */
	for (unsigned i = 0; i < n; i++)
		syncs[disk_info(run[i].disk).id.v].result = run[i].result;
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < rs[i].width && !rs[i].err; j++)
			if (has_moved(&rs[i], j))
				rs[i].err = syncs[rs[i].new.frags[j].disk.v].result;
}

static void put_moves(struct extent_store *s, struct meta_txn *t, const struct repair *r)
{
	bool moved[DFS_EXTENT_MAX_FRAGMENTS] = {false}, from_it[DFS_EXTENT_MAX_FRAGMENTS] = {false};
	bool mended = false;

	for (unsigned i = 0; i < r->width; i++) {
		const struct rec_fragment *from = &r->old.frags[i], *to = &r->new.frags[i];
		struct rec_freed freed = {from->disk, from->segment, from->offset,
					  from->record_len};
		struct rec_bydisk by = {to->disk,	to->segment, to->offset,
					to->record_len, r->old.id,   (uint8_t)i};

		from_it[i] = r->have[i] || (r->by_block && r->blocks[i]);
		if (same_fragment(from, to))
			continue;
		if (from->disk.v) {
			del_bydisk(t, from->disk, from->segment, from->offset);
			put_freed(t, &freed);
			meta_add(t, META_COUNT_DISK_USED + from->disk.v,
				 -(int64_t)from->record_len);
		}
		put_bydisk(t, &by);
		meta_add(t, META_COUNT_DISK_USED + to->disk.v, to->record_len);
		moved[i] = true;
		mended |= r->why[i] != 0;
	}
	if (mended)
		audit_repair(s, t,
			     &(struct audit_repair){&r->old, &r->new, r->why, moved, from_it,
						    r->item->err});
}
/* Publishes the new addresses of those extents that are still as they were read. */
static void publish(struct extent_store *s, struct repair *rs, unsigned count)
{
	struct meta_txn *t = NULL;
	uint64_t seq;
	int err = 0;

	records_exclusive_begin(s);
	for (unsigned i = 0; i < count; i++) {
		struct repair *r = &rs[i];
		struct rec_extent now;

		if (r->err || memcmp(r->old.frags, r->new.frags, sizeof(r->old.frags)) == 0)
			continue;
		r->err = get_extent(s->cfg.meta, r->old.id, &now);
		if (!r->err && memcmp(now.frags, r->old.frags, sizeof(now.frags)) != 0)
			r->err = DFS_EBUSY;
		if (r->err) {
			PROBE("heal-met-a-change");
			continue;
		}
		r->new.refs = now.refs;
		t = t ? t : meta_begin(s->cfg.meta);
		put_extent(t, &r->new);
		put_moves(s, t, r);
	}
	if (t)
		err = meta_commit(t, &seq);
	records_exclusive_end(s);
	for (unsigned i = 0; i < count && err; i++)
		rs[i].err = rs[i].err ? rs[i].err : err;
}

/*
 * S6: damage that could not be repaired is remembered, so that it counts, also after the next mount, until nothing names
 * it any more. The whole segment is doubted: what is good in it is written anew elsewhere. Once for each, and nobody
 * waits for it.
 */
static void remember_damage(struct extent_store *s, const struct repair *r)
{
	for (unsigned i = 0; i < r->width; i++) {
		const struct rec_fragment *f = &r->old.frags[i];
		struct disk *d = disk_get(s->cfg.disks, f->disk);
		struct meta_txn *t;
		uint64_t seq;

		if (!d || !r->damaged[i] || (!r->err && has_moved(r, i)) ||
		    disk_may_lack(d, f->segment, f->offset, f->record_len))
			continue;
		t = meta_begin(s->cfg.meta);
		put_doubt(t, f->disk, f->segment, 0);
		if (meta_commit(t, &seq)) /* the next read finds it again */
			return;
		PROBE("damage-remembered");
		if (segment_is_open(d, f->segment))
			segment_close_open(d); /* nothing more is put beside it */
		disk_note_doubt(d, &(struct disk_doubt){.segment = f->segment});
	}
}

/* What was written is named by now, or given up. Says what became of the extent. */
static void settle(struct extent_store *s, struct repair *r)
{
	unsigned made = 0;

	for (unsigned i = 0; i < r->width; i++) {
		const struct rec_fragment *to = &r->new.frags[i];

		if (!has_moved(r, i))
			continue;
		segment_settle(disk_get(s->cfg.disks, to->disk),
			       (struct segment_addr){to->segment, to->offset});
		made += r->err == 0;
		r->item->bytes += to->record_len;
	}
	if (made) {
		PROBE("heal-done");
		cache_drop(s, r->old.id);
		atomic_fetch_add(&s->fragments_healed, made);
	}
	metric_add(METRIC_REPAIR_FRAGMENTS, made);
	metric_add(METRIC_REPAIR_BYTES, made ? r->item->bytes : 0);
	r->item->made = made;
	r->item->err = r->err ? r->err : r->item->err;
	metric_add(METRIC_REPAIR_ATTEMPTS, 1);
	metric_add(METRIC_REPAIR_FAILURES,
		   r->item->err && r->item->err != DFS_EBUSY && r->item->err != DFS_ENOENT);
	if (r->err != DFS_EBUSY && r->err != DFS_ENOENT) /* else it has changed meanwhile */
		remember_damage(s, r);
}

/* ---- the pipeline ---- */

static void leave_all(struct repair *rs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (memchr(rs[i].want, true, sizeof(rs[i].want)))
			rs[i].item->err = DFS_ENOSPC;
		memset(rs[i].want, 0, sizeof(rs[i].want));
	}
}

static void run(struct extent_store *s, const struct repair_choice *c, struct repair *rs,
		unsigned count)
{
	FREE struct place_snapshot *spare = NULL;
	uint64_t bytes = 0, index_bytes = 0;

	leave_homeless(s, c, rs, count);
	while (read_round(s, c, rs, count))
		;
	for (unsigned i = 0; i < count; i++) {
		decode(s, c, &rs[i]);
		for (unsigned j = 0; j < rs[i].width; j++)
			bytes += rs[i].want[j]
					 ? record_len(rs[i].piece_count, rs[i].old.fragment_len)
					 : 0;
		index_bytes += INDEX_BYTES;
	}
	if (bytes && s->cfg.may_grow && !s->cfg.may_grow(s->cfg.ctx)) {
		/* what is left of the journal is for what takes away (C3) */
		PROBE("repair-without-growth");
		leave_all(rs, count);
		bytes = 0;
	}
	if (bytes) {
		spare = spare_begin(s, bytes, index_bytes, c->compacts);
		write_wanted(s, rs, count, spare);
		sync_moved(s, rs, count); /* durable before reachable (E6) */
		publish(s, rs, count);
		spare_end(s, bytes);
	}
	for (unsigned i = 0; i < count; i++)
		settle(s, &rs[i]);
}

/* One transaction sees nothing of its own: what it changes, it changes once. */
static bool named_before(const struct repair_item *items, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (extent_id_eq(items[i].id, items[n].id))
			return true;
	return false;
}

/* Runs as many of the items as one call of the pipeline holds. Returns how many. *room: memory that it leaves to the next call. */
static unsigned run_some(struct extent_store *s, const struct repair_choice *c,
			 struct repair_item *items, unsigned count, struct buf *room)
{
	FREE struct repair *rs = xcalloc(BATCH_EXTENTS, sizeof(*rs));
	size_t bytes = 0;
	unsigned n = 0;

	while (n < MIN(count, BATCH_EXTENTS) && bytes < BATCH_BYTES) {
		bytes += begin(s, c, &items[n], &rs[n], named_before(items, n));
		n++;
	}
	give_room(rs, n, bytes, room);
	run(s, c, rs, n);
	for (unsigned i = 0; i < n; i++)
		end(&rs[i]);
	return n;
}

/* ---- lanes ---- */

struct lanes { /* of one call: threads that take chunks of the items until there are none */
	struct extent_store *s;
	const struct repair_choice *choice;
	struct repair_item *items;
	unsigned count;
	struct env_mutex lock; /* a leaf */
	unsigned next;	       /* lock */
	unsigned chunk;
};

/* false: all are taken. */
static bool lane_take(struct lanes *l, unsigned *ret_from, unsigned *ret_count)
{
	ENV_LOCKED(&l->lock);

	*ret_from = l->next;
	*ret_count = MIN(l->count - l->next, l->chunk);
	l->next += *ret_count;
	return *ret_count > 0;
}

static void room_take(struct extent_store *s, struct buf *ret)
{
	ENV_LOCKED(&s->rooms_lock);

	*ret = (struct buf){0};
	for (unsigned i = 0; i < REPAIR_LANES && !ret->data; i++) {
		*ret = s->rooms[i];
		s->rooms[i] = (struct buf){0};
	}
}

/* What is not kept is the caller's. */
static void room_keep(struct extent_store *s, struct buf *room)
{
	ENV_LOCKED(&s->rooms_lock);

	for (unsigned i = 0; i < REPAIR_LANES; i++) {
		if (s->rooms[i].data)
			continue;
		s->rooms[i] = *room;
		*room = (struct buf){0};
		return;
	}
}

void extent_rebuild_rests(struct extent_store *s)
{
	ENV_LOCKED(&s->rooms_lock);

	for (unsigned i = 0; i < REPAIR_LANES; i++)
		buf_release(&s->rooms[i]);
}

static void lane_main(void *arg)
{
	struct lanes *l = arg;
	unsigned from, count;
	BUF room = {0};

	room_take(l->s, &room);
	while (lane_take(l, &from, &count))
		for (unsigned i = 0; i < count;)
			i += run_some(l->s, l->choice, l->items + from + i, count - i, &room);
	if (l->choice->lanes)
		room_keep(l->s, &room);
}

/* What all of them take at most, if each fragment has to be made anew. */
static uint64_t bytes_of(const struct lanes *l)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < l->count; i++) {
		struct rec_extent rec;

		if (!get_extent(l->s->cfg.meta, l->items[i].id, &rec))
			bytes += extent_stored_bytes(&rec);
	}
	return bytes;
}

/* Each looks by itself at what is spare (A6): that does for more than one only where each disk has room for all of it, twice. */
static bool has_room_for_lanes(const struct lanes *l)
{
	uint64_t bytes = bytes_of(l);
	FREE struct place_snapshot *spare =
		spare_begin(l->s, bytes, (uint64_t)l->count * INDEX_BYTES, l->choice->compacts);
	bool ample = true;

	for (unsigned i = 0; i < spare->count; i++)
		ample &= !spare->disks[i].eligible || spare->disks[i].free_bytes / 2 >= bytes;
	spare_end(l->s, bytes);
	return ample;
}

static void run_lanes(struct lanes *l, unsigned lanes)
{
	struct env_thread *threads[REPAIR_LANES];
	unsigned n = 0;

	if (lanes > 1 && has_room_for_lanes(l)) {
		PROBE("repair-lanes");
		for (; n + 1 < lanes; n++) {
			threads[n] = env_thread_try_start("dfs-repair", lane_main, l);
			if (!threads[n])
				break;
		}
	}
	lane_main(l);
	while (n > 0)
		env_thread_join(threads[--n]);
}

void extent_repair_many(struct extent_store *s, const struct repair_choice *c,
			struct repair_item *items, unsigned count)
{
	unsigned lanes = MIN(MAX(c->lanes, 1u), REPAIR_LANES);
	struct lanes l = {.s = s, .choice = c, .items = items, .count = count};
	BUF room = {0};

	l.chunk = MIN(DIV_UP(count, lanes), lanes > 1 ? LANE_EXTENTS : BATCH_EXTENTS);
	env_mutex_init(&l.lock);
	run_lanes(&l, MIN(lanes, count));
	env_mutex_release(&l.lock);
	for (int attempt = 1; attempt < ATTEMPTS; attempt++)
		for (unsigned i = 0; i < count; i++)
			if (items[i].err == DFS_EBUSY)
				(void)run_some(s, c, &items[i], 1, &room);
}
