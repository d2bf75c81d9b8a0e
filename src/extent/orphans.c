/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orphans between live records (G6). What the by-disk and the freed table name of a segment is walked in order of offset; the gaps
 * between are looked through for records. Two phases: they are found on one snapshot of the index; what that showed is made durable; then, on
 * a new one, each must still be named by nothing, in a segment where still nothing is in flight.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

#define WINDOW_BYTES KIB(256)
#define REMOVAL_MAX 256u

/* The records that a table names of a segment, one after the other. */
struct names {
	struct meta_iter *it;
	uint8_t table;
	disk_id disk;
	uint32_t segment;
	bool valid;
	uint32_t offset;
	uint64_t end; /* beyond all of the segment, where the value is damaged */
};

static void names_take(struct names *n)
{
	size_t klen, vlen;
	const uint8_t *k, *v;
	struct rec_bydisk by;
	struct rec_freed f;
	struct reader r;

	n->valid = false;
	if (!meta_iter_valid(n->it))
		return;
	k = meta_iter_key(n->it, &klen);
	v = meta_iter_value(n->it, &vlen);
	if (klen != 13 || k[0] != n->table)
		return;
	r = reader_of(k + 1, klen - 1);
	if (reader_be32(&r) != n->disk.v || reader_be32(&r) != n->segment)
		return;
	n->valid = true;
	n->offset = reader_be32(&r);
	n->end = SEGMENT_MAX_BYTES;
	if (n->table == TABLE_BYDISK && parse_bydisk(k, klen, v, vlen, &by) == 0)
		n->end = by.offset + (uint64_t)by.record_len;
	else if (n->table == TABLE_FREED && parse_freed(k, klen, v, vlen, &f) == 0)
		n->end = f.offset + (uint64_t)f.record_len;
}

static void names_begin(struct extent_store *s, struct names *n, uint8_t table, disk_id disk,
			uint32_t segment)
{
	BUF key = {0};

	*n = (struct names){
		.it = meta_iter_new(s->cfg.meta), .table = table, .disk = disk, .segment = segment};
	if (table == TABLE_BYDISK)
		key_bydisk(&key, disk, segment, 0);
	else
		key_freed(&key, disk, segment, 0);
	meta_iter_seek(n->it, key.data, key.len);
	names_take(n);
}

static void names_next(struct names *n)
{
	meta_iter_next(n->it);
	names_take(n);
}

static int names_end(struct names *n)
{
	int err = meta_iter_error(n->it);

	meta_iter_free(n->it);
	return err;
}

/* ---- looking through a gap ---- */

struct search {
	struct extent_store *s;
	struct disk *d;
	uint32_t segment;
	int (*fn)(void *ctx, const struct orphan_record *o);
	void *ctx;
};

static uint64_t age_of(const struct record_header *h)
{
	uint64_t now = env_wall_ns(), written = h->written_ns;

	if (!written) /* a pool of an older state of the program */
		written = (uuid_tick_of(&h->extent.u) >> 12) * 1000000;
	return written < now ? (now - written) / 1000000000u : 0;
}

/* A record at this place? *ret_len: where to go on. */
static int look_at(struct search *x, const uint8_t *p, size_t left, uint64_t offset, uint64_t to,
		   uint64_t *ret_len)
{
	struct record_header h;
	struct hash hash;
	uint32_t need, len;
	int err = 0;

	*ret_len = SEGMENT_ALIGN;
	if (left < RECORD_FIXED_LEN || record_header_parse(p, left, &h, &hash, &need))
		return 0;
	len = record_len(h.piece_count, h.payload_len);
	if (uuid_eq(&h.pool, &x->s->cfg.pool) && h.disk.v == disk_info(x->d).id.v &&
	    h.segment == x->segment && h.offset == offset && offset + len <= to) {
		*ret_len = len;
		err = x->fn(x->ctx, &(struct orphan_record){.segment = x->segment,
							    .offset = (uint32_t)offset,
							    .len = len,
							    .extent = h.extent,
							    .ino = h.ino,
							    .age_s = age_of(&h)});
	}
	record_header_release(&h);
	return err;
}

static int read_window(struct search *x, uint8_t *buf, uint64_t at, size_t len)
{
	struct iovec iov = {buf, len};
	struct disk_io io = {.disk = x->d,
			     .op = DISK_READ,
			     .addr = {x->segment, (uint32_t)at},
			     .iov = &iov,
			     .iovcnt = 1};

	return disk_io_run(&io, 1);
}

static int look_through(struct search *x, uint8_t *window, uint64_t from, uint64_t to)
{
	uint64_t at = ALIGN_UP(from, SEGMENT_ALIGN);
	int err = 0;

	while (!err && at < to) {
		size_t len = (size_t)MIN(to - at, WINDOW_BYTES), off = 0;

		if (read_window(x, window, at, len)) /* what can't be read is scrub's to tell */
			return 0;
		while (!err && off < len &&
		       (off == 0 || at + len == to || len - off >= RECORD_MAX_HEADER_LEN)) {
			uint64_t step;

			err = look_at(x, window + off, len - off, at + off, to, &step);
			off += step;
		}
		at += off;
	}
	return err;
}

/* Nothing is in flight there, nor will be. */
static bool is_settled(struct disk *d, uint32_t segment)
{
	return segment_is_quiet(d, segment) && !segment_is_open(d, segment);
}

int extent_orphans(struct extent_store *s, struct disk *d, uint32_t segment,
		   int (*fn)(void *ctx, const struct orphan_record *o), void *ctx)
{
	struct search x = {s, d, segment, fn, ctx};
	disk_id id = disk_info(d).id;
	FREE uint8_t *window = NULL;
	struct names live, freed;
	uint64_t size, at = 0;
	int err = is_settled(d, segment) ? segment_size(d, segment, &size) : DFS_EBUSY;

	if (err)
		return err;
	window = xmalloc(WINDOW_BYTES);
	/* this one first: what is freed between the two is named by both */
	names_begin(s, &live, TABLE_BYDISK, id, segment);
	names_begin(s, &freed, TABLE_FREED, id, segment);
	while (!err && (live.valid || freed.valid)) {
		struct names *n = !freed.valid || (live.valid && live.offset < freed.offset)
					  ? &live
					  : &freed;

		if (n->offset > at)
			err = look_through(&x, window, at, MIN(n->offset, size));
		at = MAX(at, n->end);
		names_next(n);
	}
	/* an index that could not be read to the segment's end shows no gap behind */
	if (!err && !meta_iter_error(live.it) && !meta_iter_error(freed.it) && at < size)
		err = look_through(&x, window, at, size);
	int live_err = names_end(&live), freed_err = names_end(&freed);

	return err ? err : live_err ? live_err : freed_err;
}

/* ---- giving back ---- */

struct removal {
	struct orphan_record v[REMOVAL_MAX];
	unsigned count;
	uint64_t min_age_s;
	uint32_t from; /* those before it were looked at */
};

static int collect(void *ctx, const struct orphan_record *o)
{
	struct removal *b = ctx;

	if (o->offset < b->from || o->age_s < b->min_age_s)
		return 0;
	b->v[b->count++] = *o;
	return b->count == REMOVAL_MAX ? DFS_EEND : 0;
}

/* Does a table name anything in the range now? An index that can't be read names all. */
static bool is_named(struct extent_store *s, disk_id disk, const struct orphan_record *o,
		     uint8_t table)
{
	struct names n;
	bool named = false;
	int err;

	for (names_begin(s, &n, table, disk, o->segment);
	     n.valid && n.offset < (uint64_t)o->offset + o->len; names_next(&n))
		named |= n.end > o->offset;
	err = names_end(&n);
	return named || err;
}

/* The second phase, for one of them. */
static int give_back(struct extent_store *s, struct disk *d, const struct orphan_record *o)
{
	disk_id id = disk_info(d).id;

	if (!is_settled(d, o->segment) || is_named(s, id, o, TABLE_BYDISK) ||
	    is_named(s, id, o, TABLE_FREED))
		return DFS_EBUSY;
	PROBE("orphan-record-removed");
	return segment_punch(d, o->segment, o->offset, o->len);
}

int extent_orphans_remove(struct extent_store *s, struct disk *d, uint32_t segment,
			  uint64_t min_age_s, unsigned *ret_count, uint64_t *ret_bytes)
{
	struct removal *b = xcalloc(1, sizeof(*b));
	int err, more;

	*ret_count = 0;
	*ret_bytes = 0;
	b->min_age_s = min_age_s;
	do {
		b->count = 0;
		more = extent_orphans(s, d, segment, collect, b);
		err = more == DFS_EEND ? 0 : more;
		if (!err && b->count)
			err = meta_sync(s->cfg.meta, meta_last_seq(s->cfg.meta));
		for (unsigned i = 0; i < b->count && !err; i++) {
			err = give_back(s, d, &b->v[i]);
			*ret_count += err == 0;
			*ret_bytes += err == 0 ? b->v[i].len : 0;
			b->from = b->v[i].offset + 1;
			if (err == DFS_EBUSY) /* somebody's after all */
				err = 0;
		}
	} while (!err && more == DFS_EEND);
	free(b);
	return err;
}
