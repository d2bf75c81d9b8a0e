/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small content that lies in the index: a file's up to DFS_INLINE_MAX bytes, a symbolic link's target.
 * It has a record of its own, so that renaming, linking, looking at and deleting a file moves no
 * content. Invariant: the record exists, with rec.inline_len bytes, just when that is not 0; both are
 * put in one transaction, by inline_put.
 *
 * All functions: inode.lock held.
 */
#include "file/internal.h"

#include <stdlib.h>

int inline_get(struct inode *in, struct buf *out)
{
	int rc = 0;

	buf_reset(out);
	if (!in->rec.inline_len)
		return 0;
	rc = get_inline(in->fs->meta, in->ino, out);
	if (rc && rc != DFS_ENOENT)
		return rc;
	if (rc == 0 && out->len == in->rec.inline_len)
		return 0;
	log_error(
		"cannot use inode %llu: the index holds %zu inline bytes of it, %u were expected; "
		"nothing was changed; run fsck",
		(unsigned long long)in->ino.v, out->len, in->rec.inline_len);
	return DFS_ECORRUPT;
}

void inline_put(struct meta_txn *t, ino_id ino, struct rec_inode *r, const void *data, size_t len)
{
	if (len)
		put_inline(t, ino, data, len);
	else if (r->inline_len)
		del_inline(t, ino);
	r->inline_len = (uint32_t)len;
	r->mapped_bytes = len;
}

bool inline_fits(const struct inode *in)
{
	/* With preallocated ranges each byte counts that is written, and no other (F9). */
	return in->size <= DFS_INLINE_MAX && TAILQ_EMPTY(&in->fifo) && !in->beyond_end &&
	       !(in->rec.flags & INODE_PREALLOC) &&
	       ((in->rec.flags & INODE_INLINE) || !in->rec.mapped_bytes) && in->slots.count == 1 &&
	       in->slots.v[0]->index == 0;
}

int inline_commit(struct inode *in)
{
	const struct slot *s = in->slots.v[0];
	struct rec_inode r = in->rec;
	uint8_t data[DFS_INLINE_MAX];
	struct meta_txn *t;
	BUF old = {0};
	int rc = 0;

	ASSERT(in->size <= sizeof(data));
	if (s->range_count > 1 || s->ranges[0].start || s->ranges[0].end < in->size)
		rc = inline_get(in, &old);
	if (rc)
		return rc;
	memset(data, 0, in->size);
	if (old.len)
		memcpy(data, old.data, MIN(old.len, in->size));
	for (unsigned i = 0; i < s->range_count; i++)
		memcpy(data + s->ranges[i].start, s->buf + s->ranges[i].start,
		       s->ranges[i].end - s->ranges[i].start);
	t = meta_begin(in->fs->meta);
	inline_put(t, in->ino, &r, data, in->size);
	r.flags |= INODE_INLINE;
	r.size = in->size;
	rc = inode_commit(in, t, &r);
	if (rc == 0)
		dirty_drop(in);
	return rc;
}

int inline_load(struct inode *in, uint64_t *charge)
{
	BUF data = {0};
	struct slot *s;
	int rc;

	if (!in->rec.inline_len || in->inline_loaded)
		return 0;
	rc = inline_get(in, &data);
	if (rc)
		return rc;
	s = slot_find(&in->slots, 0);
	ASSERT(!s); /* the first write loads, the inline commit takes all */
	s = slot_new(0);
	rc = slot_prepare(in->fs, s, 0, (uint32_t)data.len, charge);
	ASSERT(rc == 0); /* from the heap */
	in->unsealed_bytes += slot_store(s, 0, data.data, (uint32_t)data.len);
	slot_insert(&in->slots, s);
	in->inline_loaded = true;
	return 0;
}

int inline_cut(struct inode *in, struct rec_inode *r, uint64_t off, uint64_t end)
{
	BUF data = {0};
	struct meta_txn *t;
	int rc;

	t = meta_begin(in->fs->meta);
	if (off == 0 && end >= r->inline_len) { /* even if it can't be read */
		inline_put(t, in->ino, r, NULL, 0);
	} else if (off < r->inline_len) {
		rc = inline_get(in, &data);
		if (rc) {
			meta_cancel(t);
			return rc;
		}
		if (end < data.len)
			memset(data.data + off, 0, end - off);
		inline_put(t, in->ino, r, data.data, end < data.len ? data.len : off);
	}
	if (end == UINT64_MAX) { /* what is promised there goes along, as far as it fits in */
		rc = prealloc_drop_some(in, t, r, &off, end);
		if (rc) {
			meta_cancel(t);
			return rc;
		}
	}
	return inode_commit(in, t, r);
}
