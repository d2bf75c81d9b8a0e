/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each slot (aligned MiB of a file) takes on the disks, and for how many bytes of the file: kept with
 * the changes of the map, so that garbage is known without looking for it. An extent belongs to one slot.
 *
 * U1	A slot's usage record holds the sum of its extents' records, its mapped bytes and its map entries.
 * U2	A slot without one is plain: it has no map entry, or one that is for the whole of its extent. (Most
 *	slots are, and cost nothing.) An inode without INODE_USAGE has no usage records.
 * U3	A slot whose excess is not 0 after a change is listed in the table of slots to fold. A hint: whoever
 *	folds looks at the usage, and takes what needs no folding off the list.
 *
 * U8	What is within the bound, and scattered, is folded once its file rests (resting.c).
 * U6	A slot with an extent narrower than was wanted is listed in the table of narrow slots (rebundle.c).
 *
 * All functions but the last two: inode.lock held.
 */
#include "base/probe.h"
#include "file/internal.h"

#include <stdlib.h>

#define FOLD_SLACK_BYTES 4096u
#define SCATTERED_PERCENT 125u

struct slot_change *usage_change(struct map_change *m, uint64_t off)
{
	uint64_t slot = off >> SLOT_SHIFT;

	/* Changes come in the order of the file, but for new extents after what they replace. */
	for (unsigned i = m->slot_count; i-- > 0;)
		if (m->slots[i].slot == slot)
			return &m->slots[i];
	if (m->slot_count == m->slot_cap) {
		m->slot_cap = m->slot_cap ? m->slot_cap * 2 : 4;
		m->slots = xrealloc(m->slots, m->slot_cap * sizeof(*m->slots));
	}
	m->slots[m->slot_count] = (struct slot_change){.slot = slot};
	return &m->slots[m->slot_count++];
}

/* ---- the bound ---- */
static uint64_t record_bytes(struct geometry g, uint64_t pieces, uint64_t bytes)
{
	uint64_t part = DIV_UP(bytes, g.k);
	uint64_t header = 256 + 64 + 16 * pieces + 32 * DIV_UP(part, RECORD_BLOCK_BYTES);

	return ALIGN_UP(header + ALIGN_UP(part, 64), SEGMENT_ALIGN) * ((uint64_t)g.k + g.m);
}

/* What the slot would take if it were folded: not less than that, or it would be folded for ever. */
static uint64_t folded_bytes(struct fs *fs, const struct rec_usage *u)
{
	struct geometry large, small;

	env_mutex_lock(&fs->fold.lock);
	large = fs->fold.fit_large;
	small = fs->fold.fit_small;
	env_mutex_unlock(&fs->fold.lock);
	if (u->mapped_bytes == SLOT_BYTES)
		return record_bytes(large, 1, SLOT_BYTES);
	/* Entries that need not touch each other: extents of RECORD_MAX_PIECES each, the last one less. */
	return record_bytes(small, u->entries, u->mapped_bytes) +
	       u->entries / RECORD_MAX_PIECES * record_bytes(small, 1, 1);
}

uint64_t usage_excess(struct fs *fs, const struct rec_usage *u)
{
	uint64_t most = folded_bytes(fs, u) * fs->cfg.fold_percent / 100 + FOLD_SLACK_BYTES;

	return u->stored_bytes > most ? u->stored_bytes - most : 0;
}

bool usage_scattered(struct fs *fs, const struct rec_usage *u)
{
	return u->stored_bytes > folded_bytes(fs, u) * SCATTERED_PERCENT / 100 + FOLD_SLACK_BYTES;
}

void usage_refresh(struct fs *fs)
{
	struct policy set = pool_get_settings(fs->pool);
	struct geometry small = {1, (uint8_t)(set.copies - 1)}, large = set.large;

	/* What does not fit now keeps the geometry that it had. */
	if (extent_fit(fs->extents, large, EXTENT_MAX_BYTES, &large))
		large = fs->fold.fit_large;
	if (extent_fit(fs->extents, small, EXTENT_MAX_BYTES, &small))
		small = fs->fold.fit_small;
	ENV_LOCKED(&fs->fold.lock);
	fs->fold.fit_large = large.k ? large : set.large;
	fs->fold.fit_small = small.k ? small : (struct geometry){1, (uint8_t)(set.copies - 1)};
}

/* ---- applying ---- */
/* U2: the only entry, if any, is for the whole of its extent. */
static int plain_usage(struct inode *in, struct rec_usage *u)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct rec_extent x;
	int rc;

	if (!in->rec.mapped_bytes || (in->rec.flags & INODE_INLINE))
		return 0;
	rc = map_seek(&c, in, u->slot << SLOT_SHIFT);
	if (rc || !c.valid || c.rec.file_offset >> SLOT_SHIFT != u->slot)
		return rc;
	/* A record that can't be read is told of where it is needed, and by fsck. */
	if (get_extent(in->fs->meta, c.rec.extent, &x) == 0)
		u->stored_bytes = extent_stored_bytes(&x);
	u->mapped_bytes = c.rec.len;
	u->entries = 1;
	return 0;
}

static uint64_t add_clamped(uint64_t value, int64_t delta, uint64_t max)
{
	if (delta < 0)
		return value - MIN(value, (uint64_t)-delta);
	return MIN(value + (uint64_t)delta, max);
}

/* U6 */
static void put_narrowness(struct map_change *m, const struct slot_change *sc, bool empty,
			   struct rec_inode *r)
{
	struct inode *in = m->in;

	if (sc->narrow && !empty && r) {
		PROBE("slot-narrower");
		put_narrow(m->t, in->ino, sc->slot);
		r->flags |= INODE_NARROW;
	} else if (empty && (in->rec.flags & INODE_NARROW)) {
		del_narrow(m->t, in->ino, sc->slot);
	}
}

static int put_change(struct map_change *m, const struct slot_change *sc, struct rec_inode *r)
{
	struct inode *in = m->in;
	struct rec_usage old = {.ino = in->ino, .slot = sc->slot}, new;
	uint64_t excess = 0, had_excess = 0;
	bool had = false, plain;
	int rc = DFS_ENOENT;

	if (!(in->rec.flags & INODE_USAGE) && sc->entries == -1) {
		put_narrowness(m, sc, true, r);
		return 0; /* its one entry goes (U2) */
	}
	if (in->rec.flags & INODE_USAGE)
		rc = get_usage(in->fs->meta, in->ino, sc->slot, &old);
	had = rc == 0;
	if (rc == DFS_ENOENT)
		rc = plain_usage(in, &old);
	if (rc)
		return rc;
	new = old;
	new.stored_bytes = add_clamped(old.stored_bytes, sc->stored, INT64_MAX);
	new.mapped_bytes = (uint32_t)add_clamped(old.mapped_bytes, sc->mapped, SLOT_BYTES);
	new.entries = (uint32_t)add_clamped(old.entries, sc->entries, new.mapped_bytes);
	plain = !new.entries || !new.mapped_bytes || !r ||
		(new.entries == 1 && new.stored_bytes == sc->whole_stored);
	put_narrowness(m, sc, !new.entries, r);
	if (had)
		had_excess = usage_excess(in->fs, &old);
	if (!plain) {
		excess = usage_excess(in->fs, &new);
		put_usage(m->t, &new);
		r->flags |= INODE_USAGE;
	} else if (had) {
		del_usage(m->t, in->ino, sc->slot);
	}
	if (excess && !had_excess)
		put_fold(m->t, in->ino, sc->slot);
	else if (!excess && had_excess)
		del_fold(m->t, in->ino, sc->slot);
	fold_excess(in->fs, (int64_t)excess - (int64_t)had_excess);
	return 0;
}

int usage_apply(struct map_change *m, struct rec_inode *r)
{
	int rc = 0;

	for (unsigned i = 0; i < m->refs.count; i++)
		if (m->refs.refs[i].freed_bytes)
			usage_change(m, m->refs.refs[i].tag << SLOT_SHIFT)->stored -=
				(int64_t)m->refs.refs[i].freed_bytes;
	for (unsigned i = 0; rc == 0 && i < m->slot_count; i++) {
		const struct slot_change *sc = &m->slots[i];

		if (sc->stored || sc->mapped || sc->entries)
			rc = put_change(m, sc, r);
	}
	return rc;
}
