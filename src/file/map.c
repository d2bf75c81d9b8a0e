/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extent map of an inode: look-up, splitting, unmapping in steps of bounded size; map_edit.c
 * overwrites. An entry never crosses what one extent holds, so it is at most 1 MiB long.
 *
 * A transaction does not see its own puts, so a change loads the old entries that it touches, works
 * out what is left of each, and puts the outcome once. Splitting an entry in two is one more
 * reference to its extent; an entry covered wholly is one less.
 *
 * All functions: inode.lock held.
 */
#include "file/internal.h"

#include <stdlib.h>

static int cursor_load(struct map_cursor *c)
{
	const uint8_t *key, *val;
	size_t key_len, val_len;
	ino_id ino;
	int rc;

	c->valid = false;
	if (!meta_iter_valid(c->it))
		return meta_iter_error(c->it);
	key = meta_iter_key(c->it, &key_len);
	if (key_len < 9 || key[0] != TABLE_MAP)
		return 0;
	val = meta_iter_value(c->it, &val_len);
	rc = parse_map(key, key_len, val, val_len, &ino, &c->rec);
	if (ino.v != c->in->ino.v && rc == 0)
		return 0;
	if (rc) {
		/* A rotten neighbour of another inode isn't ours to report. */
		BUF mine = {0};

		key_map(&mine, c->in->ino, 0);
		if (key_len < 9 || memcmp(key, mine.data, 9) != 0)
			return 0;
		inode_log(c->in, "read the extent map", rc, "the access fails; run fsck");
		return rc == DFS_EIO ? rc : DFS_EIO;
	}
	c->valid = true;
	return 0;
}

int map_next(struct map_cursor *c)
{
	ASSERT(c->valid);
	meta_iter_next(c->it);
	return cursor_load(c);
}

int map_seek(struct map_cursor *c, struct inode *in, uint64_t off)
{
	BUF key = {0};
	int rc;

	c->in = in;
	key_map(&key, in->ino, off);
	if (!c->it) /* within the table and inode of the key */
		c->it = meta_iter_new_within(in->fs->meta, key.data, 1 + sizeof(in->ino.v));
	if (off) { /* the entry that begins before it may reach it */
		meta_iter_seek_back(c->it, key.data, key.len);
		rc = cursor_load(c);
		if (rc || (c->valid && c->rec.file_offset + c->rec.len > off))
			return rc;
	}
	meta_iter_seek(c->it, key.data, key.len);
	return cursor_load(c);
}

void map_done(struct map_cursor *c)
{
	meta_iter_free(c->it);
	c->it = NULL;
}

void entries_add(struct map_entries *e, const struct rec_map *r)
{
	if (e->count == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 16;
		e->v = xrealloc(e->v, e->cap * sizeof(*e->v));
	}
	e->v[e->count++] = *r;
}

void entries_release(struct map_entries *e) { free(e->v); }

static uint64_t rec_end(const struct rec_map *r) { return r->file_offset + r->len; }

void map_change_release(struct map_change *m)
{
	extent_refs_release(&m->refs);
	free(m->slots);
}

size_t map_room(const struct map_change *m)
{
	size_t used = meta_txn_bytes(m->t) + TXN_RESERVE_BYTES;

	return m->in->fs->cfg.txn_bytes > used ? m->in->fs->cfg.txn_bytes - used : 0;
}

static void put_part(struct map_change *m, const struct rec_map *of, uint64_t start, uint64_t end)
{
	struct rec_map part = {.file_offset = start,
			       .len = (uint32_t)(end - start),
			       .extent = of->extent,
			       .extent_offset = of->extent_offset +
						(uint32_t)(start - of->file_offset)};

	put_map(m->t, m->in->ino, &part);
}

void map_cut(struct map_change *m, const struct rec_map *old, const struct map_piece *p,
	     const struct map_piece *end)
{
	uint64_t pos = old->file_offset, stop = rec_end(old);
	struct slot_change *sc;
	bool key_taken = false;
	int32_t parts = 0;

	if (p == end || p->start >= stop)
		return; /* untouched: it only shares the span */
	sc = usage_change(m, pos);
	for (; p < end && p->start < stop; p++) {
		if (p->start > pos) {
			put_part(m, old, pos, p->start);
			key_taken |= pos == old->file_offset;
			parts++;
		}
		key_taken |= !p->hole && p->key == old->file_offset;
		m->delta_bytes -= (int64_t)(MIN(p->end, stop) - MAX(p->start, pos));
		sc->mapped -= (int64_t)(MIN(p->end, stop) - MAX(p->start, pos));
		pos = MIN(p->end, stop);
	}
	if (pos < stop) {
		put_part(m, old, pos, stop);
		parts++;
	}
	if (!key_taken)
		del_map(m->t, m->in->ino, old->file_offset);
	sc->entries += parts - 1;
	if (parts != 1)
		extent_refs_add(&m->refs, old->extent, sc->slot, parts - 1);
}

int map_unmap_step(struct map_change *m, uint64_t from, uint64_t to, uint64_t *ret_next)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct map_piece hole = {.start = from, .end = to, .hole = true};
	size_t room = map_room(m);
	uint64_t next = to;
	unsigned count = 0;
	int rc;

	env_assert_held(&m->in->lock);
	m->in->last_map.len = 0;
	if (!m->in->rec.mapped_bytes || from >= to) {
		*ret_next = to;
		return 0;
	}
	rc = map_seek(&c, m->in, from);
	while (rc == 0 && c.valid && c.rec.file_offset < to) {
		struct rec_map r = c.rec;

		if (count && room < MAP_OLD_BYTES) {
			next = r.file_offset;
			break;
		}
		count++;
		room -= MIN(room, MAP_OLD_BYTES);
		map_cut(m, &r, &hole, &hole + 1);
		rc = map_next(&c);
	}
	if (rc == 0)
		*ret_next = next;
	return rc;
}

int map_drop_all(struct map_change *m, size_t room, bool *ret_fits)
{
	CLEANUP(entries_release) struct map_entries all = {0};
	CLEANUP(map_done) struct map_cursor c = {0};
	struct inode *in = m->in;
	int rc;

	env_assert_held(&m->in->lock);
	*ret_fits = true;
	in->last_map.len = 0;
	if (in->rec.mapped_bytes == in->rec.inline_len)
		return 0;
	for (rc = map_seek(&c, in, 0); rc == 0 && c.valid; rc = map_next(&c)) {
		if (room < MAP_OLD_BYTES) {
			*ret_fits = false;
			return 0;
		}
		room -= MAP_OLD_BYTES;
		entries_add(&all, &c.rec);
	}
	for (unsigned i = 0; rc == 0 && i < all.count; i++) {
		const struct rec_map *r = &all.v[i];
		struct slot_change *sc = usage_change(m, r->file_offset);

		del_map(m->t, in->ino, r->file_offset);
		sc->entries--;
		sc->mapped -= r->len;
		extent_refs_add(&m->refs, r->extent, sc->slot, -1);
	}
	return rc;
}

int map_apply(struct map_change *m, struct rec_inode *r)
{
	int rc = m->refs.count ? extent_refs_apply(m->in->fs->extents, m->t, &m->refs) : 0;

	env_assert_held(&m->in->lock);
	return rc ? rc : usage_apply(m, r);
}

struct unmap {
	struct inode *in;
	struct rec_inode *r;
	uint64_t next, to;
	uint64_t promises; /* what is promised from here on goes, too; UINT64_MAX: that is done */
	bool tail;
	uint64_t beyond_after; /* in->beyond_end once all is done */
};

/* Guards the steps that are still to come, or ends the guard (F2, F5). */
static uint64_t put_guard(struct unmap *u, struct meta_txn *t, struct rec_inode *put, bool more)
{
	uint64_t beyond = more ? DFS_FILE_MAX : u->beyond_after;

	if (!u->tail)
		return u->in->beyond_end;
	/* An unlinked inode has its orphan record, for all of it. */
	return put->nlink ? beyond_put(u->in, t, put, beyond) : beyond;
}

/* One transaction: u->r with this step's change of mapped bytes. */
static int unmap_once(struct unmap *u)
{
	struct inode *in = u->in;
	CLEANUP(map_change_release)
	struct map_change m = {.in = in, .t = meta_begin(in->fs->meta)};
	struct rec_inode put = *u->r;
	uint64_t next = u->next, promises = u->promises, beyond;
	int rc = prealloc_drop_some(in, m.t, &put, &promises, UINT64_MAX);

	if (rc == 0 && promises == UINT64_MAX && map_room(&m) >= MAP_OLD_BYTES)
		rc = map_unmap_step(&m, u->next, u->to, &next);
	if (rc == 0)
		rc = map_apply(&m, &put);
	if (rc) {
		meta_cancel(m.t);
		return rc;
	}
	put.mapped_bytes = (uint64_t)((int64_t)put.mapped_bytes + m.delta_bytes);
	beyond = put_guard(u, m.t, &put, next < u->to || promises < UINT64_MAX);
	rc = inode_commit(in, m.t, &put);
	if (rc)
		return rc;
	in->beyond_end = beyond;
	*u->r = put;
	u->next = next;
	u->promises = promises;
	return 0;
}

int map_unmap_some(struct inode *in, struct rec_inode *r)
{
	struct unmap u = {.in = in, .r = r, .to = UINT64_MAX, .promises = UINT64_MAX};

	return unmap_once(&u);
}

static int unmap_all(struct unmap *u)
{
	struct inode *in = u->in;
	uint64_t left = MIN(in->beyond_end, u->next);
	int rc;

	u->beyond_after = left > u->r->size ? left : 0;
	for (;;) {
		rc = unmap_once(u);
		if (rc || (u->next >= u->to && u->promises == UINT64_MAX))
			return rc;
		if (in->excl) {
			inode_step_aside(in);
			*u->r = in->rec;
		}
	}
}

int map_unmap(struct inode *in, struct rec_inode *r, uint64_t from, uint64_t to, bool tail)
{
	struct unmap u = {
		.in = in, .r = r, .next = from, .to = to, .promises = UINT64_MAX, .tail = tail};

	return unmap_all(&u);
}

int map_cut_tail(struct inode *in, struct rec_inode *r, uint64_t from)
{
	struct unmap u = {
		.in = in, .r = r, .next = from, .to = UINT64_MAX, .promises = from, .tail = true};

	return unmap_all(&u);
}
