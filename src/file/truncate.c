/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing a file's size, punching and zeroing, finding holes (F5). Each waits until nothing of the
 * file is being sealed, changes the map in transactions of bounded size, and only then forgets dirty
 * bytes of the range: a failure half-way never loses data that stays part of the file.
 */
#include "file/internal.h"

#include <stdlib.h>

#define LOOK_BYTES GIB(1) /* of a file, looked at under one hold of its lock */

/* Forgets dirty bytes of [from, to). */
static void cut_dirty(struct inode *in, uint64_t from, uint64_t to)
{
	for (unsigned i = in->slots.count; i-- > 0;) {
		struct slot *s = in->slots.v[i];
		uint64_t base = s->index << SLOT_SHIFT;

		if (base >= to || base + SLOT_BYTES <= from)
			continue;
		in->unsealed_bytes -= slot_cut(s, from > base ? (uint32_t)(from - base) : 0,
					       (uint32_t)MIN(to - base, SLOT_BYTES));
		if (s->bytes)
			continue;
		slot_free(in->fs, s);
		slot_erase(&in->slots, i);
	}
	if (!in->slots.count)
		in->error = 0; /* nothing is left that could not be stored */
	dirty_list_update(in);
}

/* Stores the size as far as F2 lets it, with r's other changes. */
static int put_size(struct inode *in, struct rec_inode *r)
{
	struct meta_txn *t = meta_begin(in->fs->meta);
	uint64_t beyond = size_put(in, t, r, NULL, 0);
	int rc = inode_commit(in, t, r);

	if (rc == 0)
		in->beyond_end = beyond;
	return rc;
}

static int shrink(struct inode *in, struct rec_inode *r, uint64_t size)
{
	int rc;

	r->size = MIN(size, slots_first_at(&in->slots, in->rec.size));
	if (!(r->flags & INODE_INLINE))
		return map_cut_tail(in, r, size);
	rc = inline_cut(in, r, size, UINT64_MAX);
	return rc ? rc : prealloc_drop(in, r, size, UINT64_MAX);
}

int truncate_finish(struct inode *in)
{
	struct rec_inode r = in->rec;

	return in->beyond_end > in->size ? map_cut_tail(in, &r, in->size) : 0;
}

int truncate_locked(struct inode *in, struct rec_inode *r, uint64_t size)
{
	uint64_t old = in->size, seq = in->last_seq;
	int rc;

	in->size = size;
	in->last_map.len = 0;
	rc = size <= old ? shrink(in, r, size) : put_size(in, r);
	if (rc && in->last_seq == seq) {
		in->size = old;
		return rc;
	}
	if (rc) /* the first step has decided it: nothing beyond the stored size comes back */
		inode_log(in, "free all that was cut off", rc,
			  "that is tried again before the file grows, and at the next mount");
	if (size <= old)
		cut_dirty(in, size, UINT64_MAX);
	return 0;
}

static int zero_range(struct inode *in, uint64_t off, uint64_t end)
{
	uint64_t mapped_end = MIN(end, in->size);
	struct rec_inode r = in->rec;
	int rc = 0;

	r.mtime = r.ctime = time_now();
	if (off < mapped_end) {
		if (r.flags & INODE_INLINE)
			rc = inline_cut(in, &r, off, mapped_end);
		else
			rc = map_unmap(in, &r, off, mapped_end, false);
		if (rc == 0)
			cut_dirty(in, off, mapped_end);
	}
	/* Without the bytes that were cut more of the size may be stored. */
	return rc ? rc : put_size(in, &r);
}

/* Promises what the range lacks, in steps. The last one makes the file grow to `size`: before it the promises
 * that are made are kept, but for a failure nothing else has changed. */
static int promise(struct inode *in, uint64_t off, uint64_t end, uint64_t size)
{
	uint64_t old = in->size;
	int rc;

	do {
		struct meta_txn *t = meta_begin(in->fs->meta);
		struct rec_inode r = in->rec;
		uint64_t beyond = in->beyond_end;

		r.mtime = r.ctime = time_now(); /* as elsewhere, also where nothing grows */
		rc = prealloc_add_some(in, t, &r, &off, end);
		if (rc) {
			meta_cancel(t);
			return rc;
		}
		if (off >= end && size > old) {
			in->size = size;
			beyond = size_put(in, t, &r, NULL, 0);
		}
		rc = inode_commit(in, t, &r);
		if (rc)
			in->size = old;
		else
			in->beyond_end = beyond;
		if (rc == 0 && off < end)
			inode_step_aside(in);
	} while (rc == 0 && off < end);
	return rc;
}

/* Space is promised already (fs_fallocate). */
static int allocate(struct inode *in, unsigned mode, uint64_t off, uint64_t end)
{
	int rc = truncate_finish(in); /* or it would give up what is promised now */

	if (rc == 0 && mode & FS_FALLOC_ZERO)
		rc = zero_range(in, off, end);
	return rc ? rc : promise(in, off, end, mode & FS_FALLOC_KEEP_SIZE ? 0 : end);
}

static int punch(struct inode *in, uint64_t off, uint64_t end)
{
	struct rec_inode r = in->rec;
	int rc = prealloc_drop(in, &r, off, end);

	return rc ? rc : zero_range(in, off, end);
}

/* A call of fallocate. */
struct falloc {
	unsigned mode;
	uint64_t off, end;
	uint64_t taken; /* room for so many bytes */
	uint64_t
		needs; /* it must be taken for so many; if they are more, nothing has been changed */
};

/* What is zeroed goes from the map first. */
static int promise_bytes(struct inode *in, struct falloc *f)
{
	uint64_t off = f->off, next, bytes;
	int rc = 0;

	f->needs = f->mode & FS_FALLOC_ZERO ? f->end - off : 0;
	for (; rc == 0 && !(f->mode & FS_FALLOC_ZERO) && off < f->end; off = next) {
		next = MIN(off + LOOK_BYTES, f->end);
		rc = prealloc_lacking(in, off, next, &bytes);
		f->needs += rc ? 0 : bytes;
		if (next < f->end)
			inode_step_aside(in);
	}
	return rc;
}

/* Others may have punched, or written and punched, what room was not asked for. */
static int allocate_taken(struct inode *in, struct falloc *f)
{
	int rc = promise_bytes(in, f);

	return rc || f->needs > f->taken ? rc : allocate(in, f->mode, f->off, f->end);
}

static int change_range(struct inode *in, struct falloc *f)
{
	int rc;
	ENV_LOCKED(&in->lock);

	inode_excl_begin(in);
	if (in->freed)
		rc = DFS_ENOENT;
	else if (in->rec.flags &
		 (f->mode & ~(unsigned)FS_FALLOC_KEEP_SIZE ? INODE_FIXED : INODE_IMMUTABLE))
		rc = DFS_EPERM; /* AT1 */
	else if (f->mode & FS_FALLOC_PUNCH)
		rc = punch(in, f->off, f->end);
	else
		rc = allocate_taken(in, f);
	inode_excl_end(in);
	return rc;
}

/* Before it is looked at each MiB of it. */
static int first_needs(struct inode *in, struct falloc *f)
{
	struct pool_space space;
	uint64_t has;

	pool_space(in->fs->pool, &space);
	ENV_LOCKED(&in->lock);
	has = in->rec.mapped_bytes + in->rec.prealloc_bytes;
	if (f->end - f->off > has && f->end - f->off - has > space.total_bytes)
		return DFS_ENOSPC;
	return promise_bytes(in, f);
}

static int allocate_range(struct fs *fs, struct inode *in, struct falloc *f)
{
	int rc = first_needs(in, f);

	if (rc)
		return rc;
	do {
		f->taken = f->needs;
		rc = space_promise(fs, f->taken);
		if (rc == 0)
			rc = change_range(in, f);
		space_promised(fs, f->taken);
	} while (rc == 0 && f->needs > f->taken);
	return rc;
}

int fs_fallocate(struct fs *fs, struct inode *in, unsigned mode, uint64_t off, uint64_t len)
{
	struct falloc f = {.mode = mode, .off = off, .end = off + len};

	if (fs->read_only)
		return DFS_EROFS;
	if (!is_reg(in))
		return is_dir(in) ? DFS_EISDIR : DFS_EINVAL;
	if (!len || (mode & ~7u) || ((mode & FS_FALLOC_PUNCH) && (mode & FS_FALLOC_ZERO)))
		return DFS_EINVAL;
	if ((mode & FS_FALLOC_PUNCH) && !(mode & FS_FALLOC_KEEP_SIZE))
		return DFS_ENOTSUP;
	if (off > DFS_FILE_MAX || len > DFS_FILE_MAX - off)
		return DFS_EFBIG;
	return mode & FS_FALLOC_PUNCH ? change_range(in, &f) : allocate_range(fs, in, &f);
}

/* ---- SEEK_DATA, SEEK_HOLE ---- */
bool unsealed_at(const struct inode *in, uint64_t off, uint64_t *ret_end)
{
	uint64_t next = UINT64_MAX;
	struct seal_batch *b;

	for (unsigned i = slot_lower(&in->slots, off >> SLOT_SHIFT); i < in->slots.count; i++) {
		if (slot_covers(in->slots.v[i], off, ret_end))
			return true;
		next = MIN(next, slot_first_at(in->slots.v[i], off));
		if (next != UINT64_MAX)
			break;
	}
	TAILQ_FOREACH(b, &in->fifo, fifo)
		for (unsigned i = 0; i < b->slot_count; i++) {
			if (slot_covers(b->slots[i], off, ret_end))
				return true;
			next = MIN(next, slot_first_at(b->slots[i], off));
		}
	*ret_end = next;
	return false;
}

static int stored_at(struct inode *in, uint64_t off, bool *ret_data, uint64_t *ret_end)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	int rc;

	*ret_data = off < in->rec.inline_len;
	*ret_end = *ret_data ? in->rec.inline_len : UINT64_MAX;
	if ((in->rec.flags & INODE_INLINE) || !in->rec.mapped_bytes)
		return 0;
	rc = map_seek(&c, in, off);
	if (rc || !c.valid)
		return rc;
	*ret_data = c.rec.file_offset <= off;
	*ret_end = *ret_data ? c.rec.file_offset + c.rec.len : c.rec.file_offset;
	return 0;
}

int fs_seek(struct fs *fs, struct inode *in, uint64_t off, bool want_hole, uint64_t *ret_off)
{
	uint64_t end, stored_end;
	bool data, stored;
	int rc;

	(void)fs;
	if (!is_reg(in))
		return DFS_EINVAL;
	ENV_LOCKED(&in->lock);
	if (off >= in->size)
		return DFS_ENXIO;
	for (;;) {
		data = unsealed_at(in, off, &end);
		if (!data) {
			rc = stored_at(in, off, &stored, &stored_end);
			if (rc)
				return rc;
			data = stored;
			end = data ? stored_end : MIN(end, stored_end);
		}
		if (data != want_hole)
			break;
		off = end;
		if (off < in->size)
			continue;
		if (!want_hole)
			return DFS_ENXIO;
		off = in->size; /* the hole at the end of every file */
		break;
	}
	*ret_off = off;
	return 0;
}
