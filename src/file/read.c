/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: under the inode's lock the unsealed bytes are copied and the map is looked up for the
 * rest; then, without locks, extents are read and verified (P3). An extent that is gone by then was
 * overwritten meanwhile: everything is looked up again. So a reader gets the bytes of the time of
 * its look-up.
 */
#include "file/internal.h"

#include <stdlib.h>

#define READ_RETRIES 100u
#define PREFETCH_EXTENTS 4u

struct file_span { /* file bytes */
	uint64_t start, end;
};
struct part { /* of an extent, to be read to buf + at */
	extent_id extent;
	uint32_t off, len;
	size_t at;
};
struct read_plan {
	struct inode *in;
	uint64_t off; /* of buf[0] */
	uint8_t *buf;
	struct file_span *gaps; /* not yet given by anything, sorted */
	unsigned gap_count, gap_cap;
	struct part *parts;
	unsigned part_count, part_cap;
	extent_id prefetch[PREFETCH_EXTENTS];
	unsigned prefetch_count;
};

static void plan_release(struct read_plan *p)
{
	free(p->gaps);
	free(p->parts);
}

static void gap_add(struct read_plan *p, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (p->gap_count == p->gap_cap) {
		p->gap_cap = p->gap_cap ? p->gap_cap * 2 : 8;
		p->gaps = xrealloc(p->gaps, p->gap_cap * sizeof(*p->gaps));
	}
	p->gaps[p->gap_count++] = (struct file_span){start, end};
}

static void part_add(struct read_plan *p, const struct rec_map *m, uint64_t start, uint64_t end)
{
	if (p->part_count == p->part_cap) {
		p->part_cap = p->part_cap ? p->part_cap * 2 : 8;
		p->parts = xrealloc(p->parts, p->part_cap * sizeof(*p->parts));
	}
	p->parts[p->part_count++] =
		(struct part){.extent = m->extent,
			      .off = m->extent_offset + (uint32_t)(start - m->file_offset),
			      .len = (uint32_t)(end - start),
			      .at = start - p->off};
}

/* Copies what s has of one gap; what is left becomes new gaps. */
static void overlay_gap(struct read_plan *p, const struct slot *s, struct file_span g)
{
	uint64_t base = s->index << SLOT_SHIFT, pos = g.start;

	for (unsigned i = 0; i < s->range_count && pos < g.end; i++) {
		uint64_t start = MAX(base + s->ranges[i].start, pos);
		uint64_t end = MIN(base + s->ranges[i].end, g.end);

		if (start >= end)
			continue;
		memcpy(p->buf + (start - p->off), s->buf + (start - base), end - start);
		gap_add(p, pos, start);
		pos = end;
	}
	gap_add(p, pos, g.end);
}

static void overlay_slot(struct read_plan *p, const struct slot *s)
{
	uint64_t base = s->index << SLOT_SHIFT;
	struct file_span *old = p->gaps;
	unsigned count = p->gap_count;

	if (!count || old[0].start >= base + SLOT_BYTES || old[count - 1].end <= base)
		return;
	p->gaps = NULL;
	p->gap_count = p->gap_cap = 0;
	for (unsigned i = 0; i < count; i++)
		overlay_gap(p, s, old[i]);
	free(old);
}

/* Newest first: dirty slots, then batches from the FIFO's tail. */
static void overlay_unsealed(struct read_plan *p, uint64_t end)
{
	const struct slot_set *set = &p->in->slots;
	struct seal_batch *b;

	for (unsigned i = slot_lower(set, p->off >> SLOT_SHIFT); i < set->count; i++) {
		if (set->v[i]->index << SLOT_SHIFT >= end)
			break;
		overlay_slot(p, set->v[i]);
	}
	TAILQ_FOREACH_REVERSE(b, &p->in->fifo, batch_list, fifo)
		for (unsigned i = 0; i < b->slot_count; i++)
			overlay_slot(p, b->slots[i]);
}

static int from_inline(struct read_plan *p)
{
	BUF data = {0};
	int rc = inline_get(p->in, &data);

	if (rc)
		return rc;
	for (unsigned i = 0; i < p->gap_count; i++) {
		struct file_span g = p->gaps[i];
		size_t len = (size_t)(g.end - g.start), have = 0;
		uint8_t *dst = p->buf + (g.start - p->off);

		if (g.start < data.len)
			have = (size_t)MIN(len, data.len - g.start);
		if (have)
			memcpy(dst, data.data + g.start, have);
		memset(dst + have, 0, len - have);
	}
	return 0;
}

static bool entry_has(const struct rec_map *m, uint64_t off)
{
	return m->len && off >= m->file_offset && off < m->file_offset + m->len;
}

/* Extents or zeros for one gap. */
static int map_gap(struct read_plan *p, struct map_cursor *c, struct file_span g)
{
	struct inode *in = p->in;
	uint64_t pos = g.start;
	int rc = 0;

	if (entry_has(&in->last_map, pos)) {
		uint64_t end = MIN(in->last_map.file_offset + in->last_map.len, g.end);

		part_add(p, &in->last_map, pos, end);
		pos = end;
	}
	if (pos < g.end)
		rc = map_seek(c, in, pos);
	while (rc == 0 && pos < g.end) {
		uint64_t start = c->valid ? MIN(MAX(c->rec.file_offset, pos), g.end) : g.end;
		uint64_t end;

		memset(p->buf + (pos - p->off), 0, start - pos);
		pos = start;
		if (pos == g.end)
			break;
		end = MIN(c->rec.file_offset + c->rec.len, g.end);
		in->last_map = c->rec;
		if (pos < end)
			part_add(p, &c->rec, pos, end);
		pos = MAX(pos, end);
		if (pos < g.end)
			rc = map_next(c);
	}
	return rc;
}

/* A reader that goes on where it ended gets the next extents read ahead, once for each. */
static int plan_prefetch(struct read_plan *p, struct map_cursor *c, uint64_t end)
{
	struct inode *in = p->in;
	bool sequential = p->off == in->read_end && p->off;
	uint64_t from = MAX(end, in->prefetched_to);
	uint64_t horizon = end + PREFETCH_EXTENTS * (uint64_t)SLOT_BYTES;
	int rc;

	in->read_end = end;
	if (!sequential) {
		in->prefetched_to = 0;
		return 0;
	}
	/* Half a window at a time. */
	if (from + SLOT_BYTES * (uint64_t)PREFETCH_EXTENTS / 2 > horizon || from >= in->rec.size)
		return 0;
	in->prefetched_to = horizon;
	rc = map_seek(c, in, from);
	while (rc == 0 && c->valid && c->rec.file_offset < horizon) {
		if (c->rec.file_offset >= from)
			p->prefetch[p->prefetch_count++] = c->rec.extent;
		if (p->prefetch_count == PREFETCH_EXTENTS) {
			in->prefetched_to = c->rec.file_offset + c->rec.len;
			break;
		}
		rc = map_next(c);
	}
	return rc;
}

/* Copies what is in memory, and finds out where the rest lies. */
static int make_plan(struct read_plan *p, size_t len, size_t *ret_len)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	struct inode *in = p->in;
	uint64_t end;
	int rc = 0;

	ENV_LOCKED(&in->lock);
	if (in->freed)
		return DFS_ENOENT;
	p->gap_count = p->part_count = p->prefetch_count = 0;
	end = p->off < in->size ? p->off + MIN(len, in->size - p->off) : p->off;
	*ret_len = (size_t)(end - p->off);
	gap_add(p, p->off, end);
	if (in->unsealed_bytes)
		overlay_unsealed(p, end);
	if (!p->gap_count) {
		in->read_end = end;
		return 0;
	}
	if (in->rec.flags & INODE_INLINE)
		return from_inline(p);
	for (unsigned i = 0; rc == 0 && i < p->gap_count; i++)
		rc = map_gap(p, &c, p->gaps[i]);
	return rc ? rc : plan_prefetch(p, &c, end);
}

static int read_parts(struct read_plan *p)
{
	struct fs *fs = p->in->fs;

	for (unsigned i = 0; i < p->prefetch_count; i++)
		extent_prefetch(fs->extents, p->prefetch[i]);
	for (unsigned i = 0; i < p->part_count; i++) {
		const struct part *part = &p->parts[i];
		int rc = extent_read(fs->extents, part->extent, part->off, part->len,
				     p->buf + part->at);

		if (rc == DFS_ENOENT)
			return rc;
		if (rc) {
			char path[512];

			pool_inode_path(fs->pool, p->in->ino, path, sizeof(path));
			log_at(&p->in->read_errors, LOG_ERROR,
			       "cannot read '%s' (inode %llu) at offset %llu: %s; the read fails; "
			       "bring missing disks back, or restore the file from elsewhere",
			       path, (unsigned long long)p->in->ino.v,
			       (unsigned long long)(p->off + part->at), dfs_err_text(rc));
			return DFS_EIO;
		}
	}
	return 0;
}

int fs_read(struct fs *fs, struct inode *in, uint64_t off, size_t len, void *buf, size_t *ret_len)
{
	CLEANUP(plan_release) struct read_plan p = {.in = in, .off = off, .buf = buf};
	size_t got = 0;
	int rc = DFS_ENOENT;

	(void)fs;
	if (is_dir(in))
		return DFS_EISDIR;
	if (!is_reg(in) || off > DFS_FILE_MAX)
		return DFS_EINVAL;
	for (unsigned i = 0; i < READ_RETRIES && rc == DFS_ENOENT; i++) {
		rc = make_plan(&p, len, &got);
		if (rc)
			return rc;
		rc = read_parts(&p);
		if (rc == DFS_ENOENT) {
			/* The look-up was of an older map: the next one is fresh. */
			env_mutex_lock(&in->lock);
			in->last_map.len = 0;
			env_mutex_unlock(&in->lock);
		}
	}
	if (rc == DFS_ENOENT) {
		inode_log(in, "find the data", rc,
			  "the map names extents that do not exist; run fsck");
		rc = DFS_EIO;
	}
	if (rc == 0)
		*ret_len = got;
	return rc;
}
