/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overwriting: new extents' pieces over whatever is mapped there, in as many transactions as it takes to
 * keep each within its bound (B1), in the order of the file (B2). After each of them the map is whole: the
 * bytes before some place are the new ones, those after it the old ones. A piece that is cut there has its
 * entry put again, longer, by the next part; its extent is published by the part that first names it, with
 * as many references as that part gives it.
 *
 * All functions: inode.lock held, from the first part to the last.
 */
#include "file/internal.h"

#include <stdlib.h>

void map_edit_init(struct map_edit *e, struct inode *in, struct extent_new *ext,
		   struct map_piece *pieces, unsigned count)
{
	*e = (struct map_edit){
		.in = in, .ext = ext, .pieces = pieces, .count = count, .from = pieces[0].start};
	e->part = xcalloc(count, sizeof(*e->part));
}

void map_edit_release(struct map_edit *e)
{
	free(e->part);
	free(e->pieces);
}

/* One piece on its way into the part. */
struct taking {
	struct map_edit *e;
	struct map_cursor c;
	struct map_entries old; /* of the whole part */
	uint64_t seeked_slot;
	size_t used, room;
};

static void taking_release(struct taking *k)
{
	map_done(&k->c);
	entries_release(&k->old);
}

/* The cursor to the first entry that ends beyond off. Pieces of one slot lie close together: there it goes
 * on from where it is. */
static int advance(struct taking *k, uint64_t off)
{
	int rc = 0;

	if (k->seeked_slot != off >> SLOT_SHIFT) {
		k->seeked_slot = off >> SLOT_SHIFT;
		return map_seek(&k->c, k->e->in, off);
	}
	while (rc == 0 && k->c.valid && k->c.rec.file_offset + k->c.rec.len <= off)
		rc = map_next(&k->c);
	return rc;
}

static bool is_new_entry(const struct map_entries *old, const struct rec_map *r)
{
	return !old->count || old->v[old->count - 1].file_offset < r->file_offset;
}

/* Notes the old entries under [from, *end) as long as there is room for them, and moves *end to where there
 * is none; the first one is always taken when force is set. */
static int note_old(struct taking *k, uint64_t from, uint64_t *end, bool force)
{
	int rc;

	if (!k->e->in->rec.mapped_bytes)
		return 0;
	rc = advance(k, from);
	while (rc == 0 && k->c.valid && k->c.rec.file_offset < *end) {
		const struct rec_map *r = &k->c.rec;

		if (is_new_entry(&k->old, r)) {
			if (!force && k->used + MAP_OLD_BYTES > k->room) {
				*end = MAX(r->file_offset, from);
				return 0;
			}
			force = false;
			k->used += MAP_OLD_BYTES;
			entries_add(&k->old, r);
		}
		if (r->file_offset + r->len > *end)
			break; /* the next piece looks at it, too */
		rc = map_next(&k->c);
	}
	return rc;
}

/* Bytes in the transaction for a piece itself and for its extent. */
static size_t piece_bytes(const struct map_edit *e, const struct map_piece *p)
{
	const struct extent_new *x = &e->ext[p->ext];
	bool first = !e->part_count || e->part[e->part_count - 1].ext != p->ext;

	if (!first)
		return 2 * MAP_PUT_BYTES;
	return 2 * MAP_PUT_BYTES + MAP_SLOT_BYTES +
	       (e->in->rec.flags & INODE_PREALLOC ? PREALLOC_SLOT_BYTES : 0) +
	       (x->published ? EXTENT_REF_BYTES : extent_publish_bytes(x));
}

/* Chooses the part: pieces while there is room, the last one perhaps cut; at least up to the second of the
 * old entries under the first piece. */
static int choose_part(struct map_edit *e, struct taking *k, uint64_t must)
{
	uint64_t from = e->from;
	unsigned i = e->at;
	int rc = 0;

	e->part_count = 0;
	for (; i < e->count; i++, from = i < e->count ? e->pieces[i].start : 0) {
		struct map_piece p = e->pieces[i];
		size_t own = piece_bytes(e, &p);
		bool force = !e->part_count || p.start < must;

		if (!force && k->used + own > k->room)
			break;
		k->used += own;
		p.start = from;
		rc = note_old(k, from, &p.end, force);
		if (rc || p.end == from)
			break;
		e->part[e->part_count++] = p;
		e->part_end = p.end;
		from = p.end;
		if (p.end < e->pieces[i].end)
			break;
	}
	e->next_at = i;
	e->next_from = from;
	return rc;
}

/* The part's pieces of one extent: publishes it, or adds to its references. Returns the piece after them. */
static unsigned put_extent_pieces(struct map_edit *e, struct map_change *m, unsigned at)
{
	struct extent_new *x = &e->ext[e->part[at].ext];
	struct slot_change *sc = usage_change(m, e->part[at].start);
	uint64_t mapped = 0;
	unsigned end = at, begun = 0;

	for (; end < e->part_count && e->part[end].ext == e->part[at].ext; end++) {
		const struct map_piece *p = &e->part[end];
		struct rec_map r = {.file_offset = p->key,
				    .len = (uint32_t)(p->end - p->key),
				    .extent = p->extent,
				    .extent_offset = p->extent_offset};

		put_map(m->t, m->in->ino, &r);
		mapped += p->end - p->start;
		begun += p->start == p->key;
	}
	m->delta_bytes += (int64_t)mapped;
	sc->mapped += (int64_t)mapped;
	sc->entries += begun;
	if (!x->published) {
		sc->stored += (int64_t)extent_stored_bytes(&x->rec);
		if (begun == 1 && mapped == x->len)
			sc->whole_stored = extent_stored_bytes(&x->rec);
		if (extent_is_narrow(&x->rec)) {
			sc->narrow = true;
			if (!e->is_unasked)
				rebundle_noted(m->in->fs);
		}
		x->rec.refs = begun;
		extent_publish(m->t, x);
	} else if (begun) {
		extent_refs_add(&m->refs, x->rec.id, sc->slot, (int32_t)begun);
	}
	return end;
}

int map_edit_step(struct map_edit *e, struct map_change *m, uint64_t must)
{
	CLEANUP(taking_release)
	struct taking k = {.e = e, .seeked_slot = UINT64_MAX, .room = map_room(m)};
	const struct map_piece *p = e->part, *end;
	int rc = choose_part(e, &k, must);

	env_assert_held(&e->in->lock);
	e->in->last_map.len = 0;
	if (rc)
		return rc;
	end = e->part + e->part_count;
	for (unsigned i = 0; i < k.old.count; i++) {
		while (p < end && p->end <= k.old.v[i].file_offset)
			p++;
		map_cut(m, &k.old.v[i], p, end);
	}
	for (unsigned i = 0; i < e->part_count;)
		i = put_extent_pieces(e, m, i);
	return 0;
}

void map_edit_took(struct map_edit *e)
{
	for (unsigned i = 0; i < e->part_count; i++)
		e->ext[e->part[i].ext].published = true;
	e->at = e->next_at;
	e->from = e->next_from;
}
