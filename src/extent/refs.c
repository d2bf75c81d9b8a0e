/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References: publishing new extents, counting map entries, freeing at zero (E3, P7).
 *
 * Two parties change an extent's record: the owner of its inode (references) and repair (addresses).
 * Both read, then commit what they computed, so they must not interleave: a transaction is a user of
 * the records from extent_refs_apply to extent_refs_release, and a repair excludes all users while it
 * re-reads and commits. Between apply and release the caller does nothing but commit, so waiting for
 * each other can't make a circle. New users let waiting repairs go first.
 */
#include <stdlib.h>

#include "extent/internal.h"

static void records_shared_begin(struct extent_store *s)
{
	ENV_LOCKED(&s->record_lock);
	while (s->record_exclusive || s->record_waiters)
		env_cond_wait(&s->record_cond, &s->record_lock);
	s->record_users++;
}

static void records_shared_end(struct extent_store *s)
{
	ENV_LOCKED(&s->record_lock);
	ASSERT(s->record_users > 0);
	if (--s->record_users == 0)
		env_cond_broadcast(&s->record_cond);
}

void records_exclusive_begin(struct extent_store *s)
{
	ENV_LOCKED(&s->record_lock);
	s->record_waiters++;
	while (s->record_exclusive || s->record_users)
		env_cond_wait(&s->record_cond, &s->record_lock);
	s->record_waiters--;
	s->record_exclusive = true;
}

void records_exclusive_end(struct extent_store *s)
{
	ENV_LOCKED(&s->record_lock);
	s->record_exclusive = false;
	env_cond_broadcast(&s->record_cond);
}

void extent_publish(struct meta_txn *t, const struct extent_new *e)
{
	const struct rec_extent *rec = &e->rec;
	put_extent(t, rec);
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct rec_bydisk by = {
			.disk = f->disk,
			.segment = f->segment,
			.offset = f->offset,
			.record_len = f->record_len,
			.extent = rec->id,
			.index = (uint8_t)i,
		};

		put_bydisk(t, &by);
		meta_add(t, META_COUNT_DISK_USED + f->disk.v, f->record_len);
	}
	meta_add(t, META_COUNT_EXTENTS, 1);
}

size_t extent_publish_bytes(const struct extent_new *e)
{
	return 128 + ((size_t)e->rec.k + e->rec.m) * 132;
}

void extent_refs_add(struct extent_refs *r, extent_id id, uint64_t tag, int32_t delta)
{
	for (unsigned i = r->count; i > 0 && i + 16 > r->count; i--)
		if (extent_id_eq(r->refs[i - 1].id, id)) {
			r->refs[i - 1].delta += delta;
			return;
		}
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->refs = xrealloc(r->refs, r->cap * sizeof(*r->refs));
	}
	r->refs[r->count++] = (struct extent_ref){id, delta, tag, 0};
}

static int by_id(const void *a, const void *b)
{
	const struct extent_ref *x = a, *y = b;

	return memcmp(x->id.u.b, y->id.u.b, sizeof(x->id.u.b));
}

/* One entry for each extent, so that its record is read and written once. */
static void merge_refs(struct extent_refs *r)
{
	unsigned out = 0;

	if (r->count < 2)
		return;
	qsort(r->refs, r->count, sizeof(*r->refs), by_id);
	for (unsigned i = 1; i < r->count; i++) {
		if (extent_id_eq(r->refs[out].id, r->refs[i].id))
			r->refs[out].delta += r->refs[i].delta;
		else
			r->refs[++out] = r->refs[i];
	}
	r->count = out + 1;
}

/* Deletes the extent; its fragments' space waits in the freed table until this is durable. */
static void free_extent(struct meta_txn *t, const struct rec_extent *rec)
{
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct rec_freed freed = {f->disk, f->segment, f->offset, f->record_len};

		if (f->disk.v == 0)
			continue;
		del_bydisk(t, f->disk, f->segment, f->offset);
		put_freed(t, &freed);
		meta_add(t, META_COUNT_DISK_USED + f->disk.v, -(int64_t)f->record_len);
	}
	del_extent(t, rec->id);
	meta_add(t, META_COUNT_EXTENTS, -1);
}

static int apply_one(struct extent_store *s, struct meta_txn *t, struct extent_ref *ref)
{
	struct rec_extent rec;
	int err;

	if (ref->delta == 0)
		return 0;
	err = get_extent(s->cfg.meta, ref->id, &rec);
	if (err == DFS_ENOENT) {
		char text[UUID_TEXT_LEN + 1];

		uuid_format(&ref->id.u, text);
		log_error(
			"cannot change the references of extent %s: a file's map names it but the "
			"index has no record of it; run dynamicfs fsck",
			text);
		return DFS_ECORRUPT;
	}
	if (err)
		return err;
	if (ref->delta < 0 && rec.refs <= (uint32_t)-ref->delta) {
		free_extent(t, &rec);
		cache_drop(s, rec.id);
		ref->freed_bytes = extent_stored_bytes(&rec);
		return 0;
	}
	rec.refs = (uint32_t)((int64_t)rec.refs + ref->delta);
	put_extent(t, &rec);
	return 0;
}

int extent_refs_apply(struct extent_store *s, struct meta_txn *t, struct extent_refs *r)
{
	ASSERT(!r->store);
	merge_refs(r);
	if (r->count == 0)
		return 0;
	records_shared_begin(s);
	r->store = s;
	for (unsigned i = 0; i < r->count; i++) {
		int err = apply_one(s, t, &r->refs[i]);

		if (err)
			return err;
	}
	return 0;
}

void extent_refs_release(struct extent_refs *r)
{
	if (r->store)
		records_shared_end(r->store);
	free(r->refs);
	*r = (struct extent_refs){0};
}
