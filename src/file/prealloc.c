/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preallocation: bytes of a file that fallocate promised and that have not been written yet (F9). They have a
 * table of their own, with a record for each slot, since extents are immutable and the map names only what is
 * stored. Their sum over all files is a counter, which the account of space (space.c) keeps free for them.
 *
 * A byte leaves the table in the transaction that maps it, or when the file is cut or deleted there: so
 * no crash loses a promise or keeps one for ever. Which of them are dirty is known from the slots.
 *
 * All functions: inode.lock held.
 */
#include "file/internal.h"

#include <stdlib.h>

#include "base/log.h"

/* What is promised of a slot. */
struct promise {
	struct slot *s; /* ranges without a buffer */
	uint32_t had;	/* bytes, as stored */
	bool there;	/* there is a record */
};

/* One that is damaged (named in the log) promises nothing, and goes with the next change. */
static int load(struct inode *in, uint64_t slot, struct promise *ret)
{
	struct rec_prealloc rec;
	struct slot *s = slot_new(slot);
	int rc = DFS_ENOENT;

	if (in->rec.flags & INODE_PREALLOC)
		rc = get_prealloc(in->fs->meta, in->ino, slot, &rec);
	if (rc == 0)
		for (unsigned i = 0; i < rec.count; i++)
			slot_mark(s, rec.ranges[i].start, rec.ranges[i].end);
	*ret = (struct promise){s, s->bytes, rc != DFS_ENOENT};
	if (rc == 0 || rc == DFS_ENOENT || rc == DFS_ECORRUPT || rc == DFS_ECHECKSUM)
		return 0;
	slot_free(in->fs, s);
	return rc;
}

/* More than a record holds: the shortest ranges are given up. */
static void trim(struct slot *s)
{
	while (s->range_count > PREALLOC_RANGES_MAX) {
		struct range shortest = s->ranges[0];

		for (unsigned i = 1; i < s->range_count; i++)
			if (s->ranges[i].end - s->ranges[i].start < shortest.end - shortest.start)
				shortest = s->ranges[i];
		slot_cut(s, shortest.start, shortest.end);
	}
}

/* Puts what has become of p, if anything has, and counts it in r. Consumes p. */
static void store(struct meta_txn *t, struct inode *in, struct rec_inode *r, struct promise *p)
{
	struct rec_prealloc rec = {.ino = in->ino, .slot = p->s->index};

	trim(p->s);
	for (; rec.count < p->s->range_count; rec.count++)
		rec.ranges[rec.count] = (struct prealloc_range){p->s->ranges[rec.count].start,
								p->s->ranges[rec.count].end};
	if (rec.count && p->s->bytes != p->had)
		put_prealloc(t, &rec);
	else if (!rec.count && p->there)
		del_prealloc(t, in->ino, rec.slot);
	r->prealloc_bytes -= MIN(r->prealloc_bytes, p->had);
	r->prealloc_bytes += p->s->bytes;
	r->flags = r->prealloc_bytes ? r->flags | INODE_PREALLOC : r->flags & ~INODE_PREALLOC;
	slot_free(in->fs, p->s);
}

static uint32_t within(uint64_t off, uint64_t slot)
{
	uint64_t base = slot << SLOT_SHIFT;

	return off <= base ? 0 : (uint32_t)MIN(off - base, SLOT_BYTES);
}

/* ---- promising ---- */

/* *ret: with what [off, end) lacks in the slot, neither mapped nor promised. */
static int extend(struct inode *in, uint64_t slot, uint64_t off, uint64_t end, struct promise *ret)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	uint64_t base = slot << SLOT_SHIFT;
	int rc = load(in, slot, ret);

	if (rc)
		return rc;
	slot_mark(ret->s, within(off, slot), within(end, slot));
	if (in->rec.flags & INODE_INLINE) {
		slot_cut(ret->s, 0, within(in->rec.inline_len, slot));
	} else if (in->rec.mapped_bytes) {
		for (rc = map_seek(&c, in, base);
		     !rc && c.valid && c.rec.file_offset < base + SLOT_BYTES; rc = map_next(&c))
			slot_cut(ret->s, within(c.rec.file_offset, slot),
				 within(c.rec.file_offset + c.rec.len, slot));
	}
	if (rc)
		slot_free(in->fs, ret->s);
	return rc;
}

int prealloc_lacking(struct inode *in, uint64_t off, uint64_t end, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	if (!in->rec.mapped_bytes && !(in->rec.flags & INODE_PREALLOC)) {
		*ret_bytes = end - off; /* a new file, of any size */
		return 0;
	}
	for (uint64_t slot = off >> SLOT_SHIFT; slot << SLOT_SHIFT < end; slot++) {
		struct promise p;
		int rc = extend(in, slot, off, end, &p);

		if (rc)
			return rc;
		*ret_bytes += p.s->bytes - MIN(p.s->bytes, p.had);
		slot_free(in->fs, p.s);
	}
	return 0;
}

int prealloc_add_some(struct inode *in, struct meta_txn *t, struct rec_inode *r, uint64_t *from,
		      uint64_t end)
{
	size_t room = in->fs->cfg.txn_bytes - TXN_RESERVE_BYTES - PREALLOC_SLOT_BYTES;
	uint64_t slot = *from >> SLOT_SHIFT;

	for (; slot << SLOT_SHIFT < end && meta_txn_bytes(t) <= room; slot++) {
		struct promise p;
		int rc = extend(in, slot, *from, end, &p);

		if (rc)
			return rc;
		store(t, in, r, &p);
	}
	*from = MIN(slot << SLOT_SHIFT, end);
	return 0;
}

/* ---- using it ---- */

/* The bytes of [start, end) that are not dirty. */
static uint64_t clean_bytes(const struct inode *in, uint64_t start, uint64_t end)
{
	uint64_t clean = 0, next;

	for (uint64_t pos = start; pos < end; pos = next) {
		bool dirty = unsealed_at(in, pos, &next);

		next = MIN(next, end);
		clean += dirty ? 0 : next - pos;
	}
	return clean;
}

uint64_t prealloc_covered(struct inode *in, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, covered = 0;

	if (!(in->rec.flags & INODE_PREALLOC))
		return 0;
	for (uint64_t slot = off >> SLOT_SHIFT; slot << SLOT_SHIFT < end; slot++) {
		uint64_t base = slot << SLOT_SHIFT;
		struct promise p;

		if (load(in, slot, &p))
			continue; /* then the write asks like any other */
		for (unsigned i = 0; i < p.s->range_count; i++) {
			uint64_t from = MAX(base + p.s->ranges[i].start, off);
			uint64_t to = MIN(base + p.s->ranges[i].end, end);

			if (from < to)
				covered += clean_bytes(in, from, to);
		}
		slot_free(in->fs, p.s);
	}
	return covered;
}

/* ---- giving it up ---- */

int prealloc_cut(struct inode *in, struct meta_txn *t, struct rec_inode *r,
		 const struct map_piece *pieces, unsigned count)
{
	unsigned i = 0;

	env_assert_held(&in->lock);
	while (i < count && (in->rec.flags & INODE_PREALLOC)) {
		uint64_t slot = pieces[i].start >> SLOT_SHIFT;
		struct promise p;
		int rc = load(in, slot, &p);

		if (rc)
			return rc;
		for (; i < count && pieces[i].start >> SLOT_SHIFT == slot; i++)
			slot_cut(p.s, within(pieces[i].start, slot), within(pieces[i].end, slot));
		store(t, in, r, &p);
	}
	return 0;
}

/* The slot that a key names which begins like this file's; false: it can be none, whatever wrote it. */
static bool slot_of(const struct inode *in, const uint8_t *key, size_t len, uint64_t *ret_slot)
{
	const size_t ino_len = 1 + sizeof(in->ino.v);
	struct reader r = reader_of(key + ino_len, len - ino_len);
	uint64_t slot = reader_be64(&r);

	if (r.bad || reader_left(&r) || slot << SLOT_SHIFT >> SLOT_SHIFT != slot)
		return false;
	*ret_slot = slot;
	return true;
}

#define TXN_FULL 1

/* The next slot from *slot on that has a record; DFS_ENOENT: none. What can be no such record goes: it must not
 * keep a file from being cut or deleted. TXN_FULL: much of that. */
static int next_slot(struct inode *in, struct meta_txn *t, size_t room, struct meta_iter **it,
		     uint64_t *slot)
{
	const size_t ino_len = 1 + sizeof(in->ino.v);
	BUF key = {0};

	key_prealloc(&key, in->ino, *slot - 1);
	buf_put(&key, "", 1); /* behind the one before */
	if (!*it)
		*it = meta_iter_new_within(in->fs->meta, key.data, ino_len);
	for (meta_iter_seek(*it, key.data, *slot ? key.len : ino_len); meta_iter_valid(*it);
	     meta_iter_next(*it)) {
		size_t len;
		const uint8_t *k = meta_iter_key(*it, &len);

		if (len < ino_len || memcmp(k, key.data, ino_len) != 0)
			break;
		if (slot_of(in, k, len, slot))
			return 0;
		if (meta_txn_bytes(t) > room)
			return TXN_FULL;
		log_warn("file %llu: a damaged record of preallocated space is removed; no "
			 "content depends on it",
			 (unsigned long long)in->ino.v);
		meta_del(t, k, len);
	}
	return meta_iter_error(*it) ? meta_iter_error(*it) : DFS_ENOENT;
}

int prealloc_drop_some(struct inode *in, struct meta_txn *t, struct rec_inode *r, uint64_t *from,
		       uint64_t to)
{
	size_t room = in->fs->cfg.txn_bytes - TXN_RESERVE_BYTES - PREALLOC_SLOT_BYTES;
	uint64_t slot = *from >> SLOT_SHIFT, start = *from;
	struct meta_iter *it = NULL;
	int rc;

	env_assert_held(&in->lock);
	if (!(in->rec.flags & INODE_PREALLOC))
		*from = to;
	if (*from >= to)
		return 0;
	while ((rc = next_slot(in, t, room, &it, &slot)) == 0 && slot << SLOT_SHIFT < to) {
		struct promise p;

		*from = MAX(*from, slot << SLOT_SHIFT);
		if (meta_txn_bytes(t) > room) {
			rc = TXN_FULL;
			break;
		}
		rc = load(in, slot, &p);
		if (rc)
			break;
		slot_cut(p.s, within(start, slot), within(to, slot));
		store(t, in, r, &p);
		slot++;
	}
	meta_iter_free(it);
	if (rc == DFS_ENOENT || rc == 0)
		*from = to;
	return rc == DFS_ENOENT || rc == TXN_FULL ? 0 : rc;
}

int prealloc_drop(struct inode *in, struct rec_inode *r, uint64_t from, uint64_t to)
{
	bool all = from == 0 && to == UINT64_MAX;
	int rc = 0;

	while (!rc && from < to && (in->rec.flags & INODE_PREALLOC)) {
		struct meta_txn *t = meta_begin(in->fs->meta);
		struct rec_inode put = *r;

		rc = prealloc_drop_some(in, t, &put, &from, to);
		if (!rc && all && from == to) { /* whatever a damaged record made of the sum */
			put.prealloc_bytes = 0;
			put.flags &= ~INODE_PREALLOC;
		} else if (rc || !meta_txn_bytes(t)) {
			meta_cancel(t);
			return rc;
		}
		rc = inode_commit(in, t, &put);
		/* not where it is deleted: nobody may open it before all is gone */
		if (!rc && from < to && in->excl && in->rec.nlink)
			inode_step_aside(in);
		if (!rc)
			*r = in->rec;
	}
	return rc;
}
