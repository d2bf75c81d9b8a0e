/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: fragments that are rotten are computed anew from at least k verified ones and written to
 * healthy disks; made durable; then one transaction changes the addresses and frees the old ones
 * (E6, P7). Fragments that are only absent (their disk is not there) are left alone. The healer does
 * this in the background for extents in which reads met rot.
 *
 * Locks: healer.lock (a leaf); the records' exclusive section (refs.c) around re-reading and commit.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "extent/internal.h"

int extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
		  struct extent_check *ret_check)
{
	unsigned width = (unsigned)rec->k + rec->m;
	struct fragment_read reads[DFS_EXTENT_MAX_FRAGMENTS];
	uint32_t len = deep ? rec->fragment_len : MIN(rec->fragment_len, RECORD_BLOCK_BYTES);
	/* an entry of its own: what is cached proves nothing about the disk */
	struct cached_extent e = {.rec = *rec};
	FREE uint8_t *bufs = xmalloc((size_t)width * len);

	for (unsigned i = 0; i < width; i++)
		reads[i] = (struct fragment_read){
			.index = i, .len = len, .buf = bufs + (size_t)i * len};
	fragments_read(s, &e, reads, width);
	*ret_check = (struct extent_check){0};
	for (unsigned i = 0; i < width; i++) {
		if (reads[i].result == 0) {
			ret_check->status[i] = FRAGMENT_GOOD;
			ret_check->good++;
		} else if (reads[i].result == DFS_EGONE || reads[i].result == DFS_ENODISK) {
			ret_check->status[i] = FRAGMENT_ABSENT;
		} else {
			ret_check->status[i] = FRAGMENT_BAD;
			ret_check->damaged[i] = fragment_is_damaged(reads[i].result);
		}
		free(e.blocks[i]);
	}
	return 0;
}

struct repair {
	struct rec_extent old, new;
	struct extent_check check;
	bool want[DFS_EXTENT_MAX_FRAGMENTS]; /* to be written anew */
	uint8_t *bufs;			     /* width fragments */
	uint8_t *frags[DFS_EXTENT_MAX_FRAGMENTS];
	struct record_piece *pieces;
	unsigned piece_count;
};

/* The pieces are known only to the records themselves: taken from any good one. */
static int repair_pieces(struct extent_store *s, struct repair *r)
{
	unsigned width = (unsigned)r->old.k + r->old.m;
	FREE uint8_t *buf = xmalloc(r->old.header_len);

	for (unsigned i = 0; i < width; i++) {
		const struct rec_fragment *f = &r->old.frags[i];
		struct iovec iov = {buf, r->old.header_len};
		struct disk_io io = {.disk = disk_get(s->cfg.disks, f->disk),
				     .op = DISK_READ,
				     .addr = {f->segment, f->offset},
				     .iov = &iov,
				     .iovcnt = 1};
		struct record_header h;
		struct hash hash;
		uint32_t need;

		if (r->check.status[i] != FRAGMENT_GOOD || disk_io_run(&io, 1) ||
		    record_header_parse(buf, r->old.header_len, &h, &hash, &need))
			continue;
		if (memcmp(&hash, &f->header_hash, sizeof(hash)) == 0 &&
		    header_agrees(&h, &r->old, i)) {
			r->pieces = h.pieces;
			r->piece_count = h.piece_count;
			h.pieces = NULL;
		}
		record_header_release(&h);
		if (r->pieces)
			return 0;
	}
	return DFS_EIO;
}

/* Reads the good fragments, computes the bad ones. */
static int repair_decode(struct extent_store *s, struct repair *r)
{
	unsigned width = (unsigned)r->old.k + r->old.m, n = 0, good = 0;
	struct fragment_read reads[DFS_EXTENT_MAX_FRAGMENTS];
	bool have[DFS_EXTENT_MAX_FRAGMENTS] = {false}, want[DFS_EXTENT_MAX_FRAGMENTS] = {false};
	struct cached_extent e = {.rec = r->old};

	r->bufs = xmalloc((size_t)width * r->old.fragment_len);
	for (unsigned i = 0; i < width; i++) {
		r->frags[i] = r->bufs + (size_t)i * r->old.fragment_len;
		if (r->check.status[i] == FRAGMENT_GOOD && n < r->old.k)
			reads[n++] = (struct fragment_read){
				.index = i, .len = r->old.fragment_len, .buf = r->frags[i]};
	}
	fragments_read(s, &e, reads, n);
	for (unsigned i = 0; i < n; i++)
		if (!reads[i].result) {
			have[reads[i].index] = true;
			good++;
		}
	for (unsigned i = 0; i < width; i++) {
		want[i] = r->want[i] &&
			  !have[i]; /* a doubtful one that was read is there already */
		free(e.blocks[i]);
	}
	if (good < r->old.k)
		return DFS_EIO;
	return codec_decode((struct geometry){r->old.k, r->old.m}, r->old.fragment_len, r->frags,
			    have, want);
}

/* Where reads fail it goes last: there it may have to be written anew again. */
static int pick_place(struct extent_store *s, const struct place_snapshot *spare, uint32_t len,
		      const disk_id *taken, unsigned ntaken, disk_id *ret_id)
{
	FREE struct place_snapshot *sound = place_snapshot_copy(spare);
	unsigned salt = atomic_fetch_add(&s->salt, 1);
	int err;

	for (unsigned i = 0; i < sound->count; i++)
		sound->disks[i].eligible &=
			disk_state(disk_get(s->cfg.disks, sound->disks[i].id)) == DISK_HEALTHY;
	err = place_pick(sound->disks, sound->count, 1, len, taken, ntaken, salt, ret_id);
	if (!err)
		return 0;
	return place_pick(spare->disks, spare->count, 1, len, taken, ntaken, salt, ret_id);
}

/* Writes fragment i to a disk that takes new data and holds none of the others. */
static int repair_write(struct extent_store *s, struct repair *r, unsigned i,
			struct place_snapshot *spare)
{
	unsigned width = (unsigned)r->old.k + r->old.m, ntaken = 0;
	uint32_t nblocks = (uint32_t)DIV_UP(r->old.fragment_len, RECORD_BLOCK_BYTES);
	FREE struct hash *blocks = xmalloc(nblocks * sizeof(*blocks));
	FREE uint8_t *header = xmalloc(r->old.header_len);
	struct fragment_write w = {
		.frag = &r->new.frags[i],
		.header = {.pool = s->cfg.pool,
			   .extent = r->old.id,
			   .ino = r->old.ino,
			   .generation = meta_generation(s->cfg.meta),
			   .extent_len = r->old.len,
			   .payload_len = r->old.fragment_len,
			   .k = r->old.k,
			   .m = r->old.m,
			   .index = (uint8_t)i,
			   .codec = r->old.k > 1,
			   .piece_count = (uint16_t)r->piece_count,
			   .pieces = r->pieces,
			   .block_count = nblocks,
			   .blocks = blocks},
		.payload = r->frags[i],
	};
	disk_id taken[2 * DFS_EXTENT_MAX_FRAGMENTS], id;
	struct iovec iov[3];
	struct disk_io io;
	int err;

	for (unsigned j = 0; j < width; j++)
		if (j != i && r->new.frags[j].disk.v != 0)
			taken[ntaken++] = r->new.frags[j].disk;
	record_hash_blocks(r->frags[i], r->old.fragment_len, blocks);
	do { /* one that fails is not tried again */
		err = pick_place(s, spare, r->old.frags[i].record_len, taken, ntaken, &id);
		if (err)
			break;
		taken[ntaken++] = id;
		place_snapshot_take(spare, id, r->old.frags[i].record_len, false);
		err = fragment_prepare(s, &w, id, header, iov, &io);
		if (err)
			continue;
		(void)disk_io_run(&io, 1); /* its result is looked at */
		fragments_verify_written(s, &io, 1);
		err = io.result;
		if (err)
			segment_settle(io.disk, io.addr);
	} while (err && ntaken < ARRAY_SIZE(taken));
	if (err)
		r->new.frags[i] = r->old.frags[i];
	return err;
}

static bool same_fragment(const struct rec_fragment *a, const struct rec_fragment *b)
{
	return a->disk.v == b->disk.v && a->segment == b->segment && a->offset == b->offset;
}

static void put_moves(struct meta_txn *t, const struct repair *r)
{
	char json[256], text[UUID_TEXT_LEN + 1];

	uuid_format(&r->old.id.u, text);
	for (unsigned i = 0; i < (unsigned)r->old.k + r->old.m; i++) {
		const struct rec_fragment *from = &r->old.frags[i], *to = &r->new.frags[i];
		struct rec_freed freed = {from->disk, from->segment, from->offset,
					  from->record_len};
		struct rec_bydisk by = {to->disk,	to->segment, to->offset,
					to->record_len, r->old.id,   (uint8_t)i};

		if (same_fragment(from, to))
			continue;
		del_bydisk(t, from->disk, from->segment, from->offset);
		put_freed(t, &freed);
		put_bydisk(t, &by);
		meta_add(t, META_COUNT_DISK_USED + from->disk.v, -(int64_t)from->record_len);
		meta_add(t, META_COUNT_DISK_USED + to->disk.v, to->record_len);
		snprintf(json, sizeof(json),
			 "{\"event\":\"repair\",\"extent\":\"%s\",\"fragment\":%u,\"inode\":%llu,"
			 "\"from_disk\":%u,\"to_disk\":%u}",
			 text, i, (unsigned long long)r->old.ino.v, from->disk.v, to->disk.v);
		put_audit(t, env_wall_ns(), i, json);
	}
}

/* Makes the moved fragments durable. Only the disks they went to: a repair has no say in what
 * others wrote, nor do their losses concern it. */
static int repair_sync(struct extent_store *s, struct repair *r)
{
	struct disk_io syncs[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned n = 0;

	for (unsigned i = 0; i < (unsigned)r->old.k + r->old.m; i++)
		if (!same_fragment(&r->old.frags[i], &r->new.frags[i]))
			syncs[n++] = (struct disk_io){
				.disk = disk_get(s->cfg.disks, r->new.frags[i].disk),
				.op = DISK_SYNC,
			};
	return disk_io_run(syncs, n);
}

/* Publishes the new addresses if the extent is still as it was read. */
static int repair_commit(struct extent_store *s, struct repair *r)
{
	struct rec_extent now;
	struct meta_txn *t;
	uint64_t seq;
	int err;

	err = repair_sync(s, r); /* durable before reachable (E6) */
	if (err)
		return err;
	records_exclusive_begin(s);
	err = get_extent(s->cfg.meta, r->old.id, &now);
	if (!err && memcmp(now.frags, r->old.frags, sizeof(now.frags)) != 0)
		err = DFS_EBUSY;
	if (err)
		PROBE("heal-met-a-change");
	if (!err) {
		r->new.refs = now.refs;
		t = meta_begin(s->cfg.meta);
		put_extent(t, &r->new);
		put_moves(t, r);
		err = meta_commit(t, &seq);
	}
	records_exclusive_end(s);
	return err;
}

/* Records of a disk that are not to be relied on; NULL: none. */
struct suspicion {
	disk_id disk;
	struct disk_doubt doubt;
};

static bool is_suspect(const struct suspicion *s, const struct rec_fragment *f)
{
	return s && f->disk.v == s->disk.v && f->segment == s->doubt.segment &&
	       f->offset + (uint64_t)f->record_len > s->doubt.from;
}

/* Which are to be written anew: the bad ones, and those that are not to be relied on. Not all that a disk holds on which
 * nothing can be read any more: whether to do without it is its owner's to say. */
static unsigned choose_bad(struct extent_store *s, struct repair *r, const struct suspicion *sus)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < (unsigned)r->old.k + r->old.m; i++) {
		const struct rec_fragment *f = &r->old.frags[i];

		r->want[i] = is_suspect(sus, f) ||
			     (r->check.status[i] == FRAGMENT_BAD &&
			      !disk_reads_nothing(disk_get(s->cfg.disks, f->disk)));
		bad += r->want[i];
	}
	return bad;
}

/*
 * S6: damage that could not be repaired is remembered, so that it counts, also after the next mount, until nothing names
 * it any more. The whole segment is doubted: what is good in it is written anew elsewhere. Once for each, and nobody
 * waits for it.
 */
static void remember_damage(struct extent_store *s, const struct repair *r)
{
	for (unsigned i = 0; i < (unsigned)r->old.k + r->old.m; i++) {
		const struct rec_fragment *f = &r->old.frags[i];
		struct disk *d = disk_get(s->cfg.disks, f->disk);
		struct meta_txn *t;
		uint64_t seq;

		if (!d || !r->check.damaged[i] || !same_fragment(f, &r->new.frags[i]) ||
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

/* Writes and publishes those that are wanted and have room (A6). An error, too, when another one could not be. */
static int repair_move(struct extent_store *s, struct repair *r, unsigned *ret_moved)
{
	unsigned width = (unsigned)r->old.k + r->old.m, moved = 0;
	FREE struct place_snapshot *spare = NULL;
	uint64_t bytes = 0;
	int err, stays = 0;

	for (unsigned i = 0; i < width; i++)
		bytes += r->want[i] ? r->old.frags[i].record_len : 0;
	spare = spare_begin(s, bytes);
	r->new = r->old;
	for (unsigned i = 0; i < width; i++) {
		if (!r->want[i])
			continue;
		err = repair_write(s, r, i, spare);
		moved += err == 0;
		stays = err ? err : stays;
	}
	err = moved ? repair_commit(s, r) : 0;
	spare_end(s, bytes);
	for (unsigned i = 0; i < width; i++)
		if (!same_fragment(&r->old.frags[i], &r->new.frags[i]))
			segment_settle(disk_get(s->cfg.disks, r->new.frags[i].disk),
				       (struct segment_addr){r->new.frags[i].segment,
							     r->new.frags[i].offset});
	*ret_moved = err ? 0 : moved;
	return err ? err : stays;
}

static int repair_bad(struct extent_store *s, struct repair *r, const struct suspicion *sus,
		      unsigned *ret_repaired)
{
	unsigned bad, moved = 0;
	int err;

	r->new = r->old;
	err = extent_verify(s, &r->old, true, &r->check);
	if (err)
		return err;
	bad = choose_bad(s, r, sus);
	*ret_repaired = 0;
	if (bad == 0)
		return 0;
	if (r->check.good < r->old.k)
		return DFS_EIO;
	err = repair_pieces(s, r);
	if (!err)
		err = repair_decode(s, r);
	if (err)
		return err;
	err = repair_move(s, r, &moved);
	if (moved) {
		PROBE("heal-done");
		cache_drop(s, r->old.id);
		atomic_fetch_add(&s->fragments_healed, moved);
		*ret_repaired = moved;
	} else {
		r->new = r->old;
	}
	return err;
}

static int repair_run(struct extent_store *s, struct repair *r, const struct suspicion *sus,
		      unsigned *ret_repaired)
{
	int err = repair_bad(s, r, sus, ret_repaired);

	if (err != DFS_EBUSY && err != DFS_ENOENT) /* else it has changed meanwhile */
		remember_damage(s, r);
	return err;
}

#define RECLAIM_BATCH 1024u
#define REPAIR_ATTEMPTS 4 /* somebody else may be repairing or freeing the same extent */

static int repair(struct extent_store *s, extent_id id, const struct suspicion *sus,
		  unsigned *ret_repaired)
{
	unsigned repaired = 0;
	int err = DFS_EBUSY;

	for (int i = 0; i < REPAIR_ATTEMPTS && err == DFS_EBUSY; i++) {
		struct repair *r = xcalloc(1, sizeof(*r));

		err = get_extent(s->cfg.meta, id, &r->old);
		if (!err)
			err = repair_run(s, r, sus, &repaired);
		free(r->bufs);
		free(r->pieces);
		free(r);
	}
	*ret_repaired = repaired;
	return err;
}

int extent_repair(struct extent_store *s, extent_id id, unsigned *ret_repaired)
{
	return repair(s, id, NULL, ret_repaired);
}

/* ---- what a disk may not have, or has not: it went silent with unsynced writes, or was set back ---- */

/* The next record of the segment at or after *offset. DFS_ENOENT: there is none. */
static int next_in_segment(struct extent_store *s, disk_id disk, uint32_t segment, uint32_t offset,
			   struct rec_bydisk *ret)
{
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	size_t klen, vlen;
	const uint8_t *k, *v;
	BUF key = {0};
	int err;

	key_bydisk(&key, disk, segment, offset);
	meta_iter_seek(it, key.data, key.len);
	if (!meta_iter_valid(it)) {
		err = meta_iter_error(it);
		err = err ? err : DFS_ENOENT;
	} else {
		k = meta_iter_key(it, &klen);
		v = meta_iter_value(it, &vlen);
		if (klen == 0 || k[0] != TABLE_BYDISK)
			err = DFS_ENOENT;
		else
			err = parse_bydisk(k, klen, v, vlen, ret);
		if (!err && (ret->disk.v != disk.v || ret->segment != segment))
			err = DFS_ENOENT;
	}
	meta_iter_free(it);
	return err;
}

/* What has moved leaves room behind, once that is durable: it is taken back before there is said to be none. */
static int move_one(struct extent_store *s, extent_id id, const struct suspicion *sus, bool *stuck)
{
	unsigned moved, done = 0;
	int err = repair(s, id, sus, &moved);

	if (err != DFS_ENOSPC || *stuck)
		return err;
	if (extent_reclaim(s, RECLAIM_BATCH, &done) == 0 && done)
		err = repair(s, id, sus, &moved);
	*stuck = err == DFS_ENOSPC;
	return err;
}

int extent_move_doubtful(struct extent_store *s, disk_id disk, const struct disk_doubt *doubt,
			 unsigned max, uint32_t *from, bool *ret_failed)
{
	const struct suspicion sus = {disk, *doubt};
	bool stuck = false;

	*from = MAX(*from, doubt->from - MIN(doubt->from, RECORD_MAX_LEN));
	*ret_failed = false;
	for (unsigned n = 0; n < max;) {
		struct rec_bydisk by;
		int err = next_in_segment(s, disk, doubt->segment, *from, &by);

		if (err)
			return err;
		*from = by.offset + 1;
		if (by.offset + (uint64_t)by.record_len <= doubt->from)
			continue;
		err = move_one(s, by.extent, &sus, &stuck);
		if (err && err != DFS_ENOENT)
			*ret_failed = true;
		n++;
	}
	return 0;
}

int extent_named_in_doubt(struct extent_store *s, disk_id disk, const struct disk_doubt *doubt)
{
	uint32_t from = doubt->from - MIN(doubt->from, RECORD_MAX_LEN);
	struct rec_bydisk by;
	int err;

	do {
		err = next_in_segment(s, disk, doubt->segment, from, &by);
		from = by.offset + 1;
	} while (!err && by.offset + (uint64_t)by.record_len <= doubt->from);
	return err;
}

/* ---- the healer ---- */

void healer_queue(struct extent_store *s, extent_id id)
{
	struct healer *h = &s->healer;

	if (!s->cfg.heal)
		return;
	ENV_LOCKED(&h->lock);
	for (unsigned i = 0; i < h->count; i++)
		if (extent_id_eq(h->queue[(h->head + i) % HEAL_QUEUE_MAX], id))
			return;
	if (h->count == HEAL_QUEUE_MAX)
		return; /* the next read of it queues it again */
	h->queue[(h->head + h->count++) % HEAL_QUEUE_MAX] = id;
	env_cond_signal(&h->wake);
}

static void heal_one(struct extent_store *s, extent_id id)
{
	char text[UUID_TEXT_LEN + 1];
	unsigned repaired = 0;
	int err = extent_repair(s, id, &repaired);

	uuid_format(&id.u, text);
	if (err && err != DFS_ENOENT && err != DFS_EBUSY)
		log_warn("cannot repair extent %s: %s; it is tried again when it is next read",
			 text, dfs_err_text(err));
	if (repaired)
		log_info("extent %s: %u damaged %s rebuilt", text, repaired,
			 plural(repaired, "fragment", "fragments"));
}

static void healer_main(void *arg)
{
	struct extent_store *s = arg;
	struct healer *h = &s->healer;

	env_mutex_lock(&h->lock);
	while (!h->stop) {
		extent_id id;

		if (h->count == 0) {
			env_cond_wait(&h->wake, &h->lock);
			continue;
		}
		id = h->queue[h->head];
		h->head = (h->head + 1) % HEAL_QUEUE_MAX;
		h->count--;
		env_mutex_unlock(&h->lock);
		heal_one(s, id);
		env_mutex_lock(&h->lock);
	}
	env_mutex_unlock(&h->lock);
}

void healer_start(struct extent_store *s)
{
	env_mutex_init(&s->healer.lock);
	env_cond_init(&s->healer.wake);
	if (s->cfg.heal)
		s->healer.thread = env_thread_start("dfs-heal", healer_main, s);
}

void healer_stop(struct extent_store *s)
{
	struct healer *h = &s->healer;

	if (h->thread) {
		env_mutex_lock(&h->lock);
		h->stop = true;
		env_cond_broadcast(&h->wake);
		env_mutex_unlock(&h->lock);
		env_thread_join(h->thread);
		h->thread = NULL;
	}
}

void healer_release(struct extent_store *s)
{
	struct healer *h = &s->healer;

	healer_stop(s);
	env_cond_release(&h->wake);
	env_mutex_release(&h->lock);
}
