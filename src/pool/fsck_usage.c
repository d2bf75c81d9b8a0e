/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Part of fsck: usage records (docs/DESIGN.md, U1 and U2) and preallocated ranges (F9) against the maps. Map entries come in the order of
 * inode and offset, so those of a slot come together: each slot is summed up when the next one begins.
 */
#include <stdlib.h>

#include "base/words.h"
#include "pool/fsck.h"

#define SLOT_SHIFT 20

static int by_id(const void *a, const void *b) { return memcmp(a, b, sizeof(extent_id)); }

/* All records of the extents that the slot names. */
static uint64_t stored_bytes(struct fsck *f)
{
	struct fsck_slot *s = &f->slot;
	uint64_t sum = 0;

	qsort(s->extents, s->count, sizeof(*s->extents), by_id);
	for (size_t i = 0; i < s->count; i++) {
		struct rec_extent rec;

		if (i && !by_id(&s->extents[i - 1], &s->extents[i]))
			continue;
		if (get_extent(f->p->meta, s->extents[i], &rec) ==
		    0) /* else it is told elsewhere */
			sum += extent_stored_bytes(&rec);
	}
	return sum;
}

void fsck_usage_end(struct fsck *f)
{
	struct fsck_slot *s = &f->slot;
	unsigned long long ino = s->ino, slot = s->slot;
	struct fsck_inode *i;
	struct rec_usage u;
	uint64_t stored;
	int err;

	if (!s->entries)
		return;
	i = fsck_find_inode(f, (ino_id){s->ino});
	err = get_usage(f->p->meta, (ino_id){s->ino}, s->slot, &u);
	if (err == DFS_ENOENT) {
		if (s->entries > 1)
			fsck_problem(f,
				     "inode %llu has %u map entries in slot %llu, but no usage "
				     "record of it",
				     ino, s->entries, slot);
	} else if (!err) {
		f->usages_seen++;
		stored = stored_bytes(f);
		if (u.stored_bytes != stored || u.mapped_bytes != s->mapped ||
		    u.entries != s->entries)
			fsck_problem(
				f,
				"inode %llu, slot %llu: stored bytes, mapped bytes and map entries are %llu, "
				"%llu and %u, but its usage record says %llu, %u and %u",
				ino, slot, (unsigned long long)stored,
				(unsigned long long)s->mapped, s->entries,
				(unsigned long long)u.stored_bytes, u.mapped_bytes, u.entries);
		if (i && !i->may_have_usage)
			fsck_problem(f,
				     "inode %llu has a usage record of slot %llu, but its record "
				     "says it has none",
				     ino, slot);
	}
	s->entries = 0;
	s->count = 0;
}

void fsck_usage_map(struct fsck *f, ino_id ino, const struct rec_map *m)
{
	struct fsck_slot *s = &f->slot;

	if (s->ino != ino.v || s->slot != m->file_offset >> SLOT_SHIFT) {
		fsck_usage_end(f);
		s->ino = ino.v;
		s->slot = m->file_offset >> SLOT_SHIFT;
		s->mapped = 0;
	}
	s->entries++;
	s->mapped += m->len;
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 64;
		s->extents = xrealloc(s->extents, s->cap * sizeof(*s->extents));
	}
	s->extents[s->count++] = m->extent;
}

int fsck_on_usage(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_usage u;
	int err = parse_usage(k, klen, v, vlen, &u);

	if (!err)
		f->usages++;
	return err;
}

/* A hint: what it names may be gone, or be folded already. */
int fsck_on_fold(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	uint64_t slot;
	ino_id ino;

	(void)f;
	return parse_fold(k, klen, v, vlen, &ino, &slot);
}

int fsck_on_narrow(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	uint64_t slot;
	ino_id ino;

	(void)f;
	return parse_narrow(k, klen, v, vlen, &ino, &slot);
}

/* U6: else it would stay so for ever. */
void fsck_check_narrow(struct fsck *f, const struct rec_extent *rec, const char *id)
{
	struct cursor c;
	uint64_t slot;
	bool found;
	ino_id ino;

	if (!extent_is_narrow(rec))
		return;
	cursor_of_inode(&c, f->p->meta, TABLE_NARROW, rec->ino);
	found = cursor_next(&c) && cursor_narrow(&c, &ino, &slot) == 0;
	(void)cursor_close(&c, 0);
	if (!found)
		fsck_problem(
			f,
			"extent %s of inode %llu is narrower than wanted, but no slot of that is "
			"in the table of narrow ones",
			id, (unsigned long long)rec->ino.v);
}

/* Is something mapped there, though it is said not to be written yet? */
static int check_prealloc_range(struct fsck *f, const struct rec_prealloc *r, uint64_t start,
				uint64_t end)
{
	struct rec_map m;
	struct cursor c;
	BUF key = {0};

	/* an entry is at most a slot long, and within one */
	key_map(&key, r->ino, start & ~((uint64_t)RECORD_MAX_PAYLOAD - 1));
	cursor_of_inode(&c, f->p->meta, TABLE_MAP, r->ino);
	cursor_seek(&c, key.data, key.len);
	while (cursor_next(&c)) {
		if (cursor_map(&c, &m) || m.file_offset >= end)
			break;
		if (m.file_offset + m.len <= start)
			continue;
		fsck_problem(f, "inode %llu: bytes from %llu on are mapped and preallocated",
			     (unsigned long long)r->ino.v,
			     (unsigned long long)MAX(m.file_offset, start));
		break;
	}
	return cursor_close(&c, 0);
}

int fsck_on_prealloc(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_prealloc r;
	struct fsck_inode *i;
	int err = parse_prealloc(k, klen, v, vlen, &r);

	if (err)
		return err;
	i = fsck_find_inode(f, r.ino);
	if (!i)
		fsck_problem(f, "preallocated bytes belong to inode %llu, which does not exist",
			     (unsigned long long)r.ino.v);
	for (unsigned n = 0; i && n < r.count && !err; n++) {
		uint64_t base = r.slot * RECORD_MAX_PAYLOAD;

		i->prealloc_seen += r.ranges[n].end - r.ranges[n].start;
		err = check_prealloc_range(f, &r, base + r.ranges[n].start, base + r.ranges[n].end);
	}
	return err;
}
