/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a disk's records in the order of its segments, several in one request, many requests at a time, past the page
 * cache; and looking into what is not as it was written (V1, V3). The order is the by-disk table's, so nothing is read that
 * the index does not name.
 *
 * What looks bad is looked up again: a record that was freed or moved since is no damage. No locks.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"
#include "extent/scrub.h"

#define BATCH_BYTES MIB(4) /* of records that are read at a time */
#define BATCH_RECORDS 1024u
#define REQUEST_BYTES MIB(1) /* of one read */
#define GAP_BYTES KIB(64)    /* that is read along between two records */
#define ATTEMPTS 4u

struct record {
	struct rec_bydisk by;
	struct rec_extent *rec; /* NULL: none that agrees */
	unsigned request;
};
struct request { /* a run of neighbours */
	uint32_t segment, from, len;
	uint8_t *buf;
	struct iovec iov;
	bool is_unnamed; /* its segment's file is there no more, but for whoever has it open */
};
struct batch {
	struct record *records;
	unsigned count;
	struct request *requests;
	unsigned request_count;
	size_t bytes; /* of the requests */
	uint8_t *mem;
	size_t mem_bytes;
};

static bool names(const struct rec_extent *rec, const struct rec_bydisk *by)
{
	const struct rec_fragment *f = &rec->frags[by->index];

	return by->index < rec->k + rec->m && f->disk.v == by->disk.v &&
	       f->segment == by->segment && f->offset == by->offset &&
	       f->record_len == by->record_len;
}

/* ---- which ones ---- */

/* Does the table still have this entry, and does the extent still not agree? The iterator is of a moment ago. */
static bool is_stray(struct extent_store *s, const struct rec_bydisk *by, int *ret_err)
{
	struct rec_extent rec;
	BUF key = {0}, val = {0};

	*ret_err = get_extent(s->cfg.meta, by->extent, &rec);
	if (!*ret_err && names(&rec, by))
		return false;
	key_bydisk(&key, by->disk, by->segment, by->offset);
	return meta_get(s->cfg.meta, key.data, key.len, &val) == 0;
}

static void note_stray(struct extent_store *s, struct extent_scrub *w, const struct rec_bydisk *by)
{
	int err;

	if (!is_stray(s, by, &err) || w->stray_count == SCRUB_STRAYS)
		return;
	w->strays[w->stray_count++] =
		(struct scrub_stray){.segment = by->segment, .offset = by->offset, .err = err};
}

/* An entry whose value is damaged is the index's affair: it is passed over here. */
static void pass_damaged(struct extent_scrub *w, const uint8_t *k, size_t klen)
{
	struct reader r = reader_of(k + 1, klen - 1);

	(void)reader_be32(&r);
	w->segment = reader_be32(&r);
	w->offset = reader_be32(&r) + 1;
}

/* Joins the last request, or begins one. */
static void add_to_request(struct batch *b, struct record *rec)
{
	struct request *q = b->request_count ? &b->requests[b->request_count - 1] : NULL;
	uint32_t end = rec->by.offset + rec->by.record_len;

	if (!q || q->segment != rec->by.segment || rec->by.offset < q->from + q->len ||
	    rec->by.offset - (q->from + q->len) > GAP_BYTES || end - q->from > REQUEST_BYTES) {
		q = &b->requests[b->request_count++];
		*q = (struct request){.segment = rec->by.segment, .from = rec->by.offset};
	}
	b->bytes += end - q->from - q->len;
	q->len = end - q->from;
	rec->request = b->request_count - 1;
}

static void add_record(struct extent_store *s, struct extent_scrub *w, struct batch *b,
		       const struct rec_bydisk *by)
{
	struct record *r = &b->records[b->count];

	*r = (struct record){.by = *by, .rec = xmalloc(sizeof(*r->rec))};
	if (get_extent(s->cfg.meta, by->extent, r->rec) || !names(r->rec, by)) {
		free(r->rec);
		note_stray(s, w, by);
		return;
	}
	add_to_request(b, r);
	b->count++;
}

/* The next records; w's place is behind them. */
static void gather(struct extent_store *s, struct extent_scrub *w, struct batch *b)
{
	BUF key = {0};
	struct meta_iter *it;
	uint64_t bytes = 0, most = MIN(BATCH_BYTES, w->max_bytes - w->bytes);

	key_bydisk(&key, w->disk, w->segment, w->offset);
	it = meta_iter_new_within(s->cfg.meta, key.data, 5);
	meta_iter_seek(it, key.data, key.len);
	for (; b->count < BATCH_RECORDS && bytes < most && b->bytes < BATCH_BYTES;
	     meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k, *v;
		struct rec_bydisk by;

		w->done = !meta_iter_valid(it);
		if (w->done)
			break;
		k = meta_iter_key(it, &klen);
		v = meta_iter_value(it, &vlen);
		w->done = klen < 5 || memcmp(k, key.data, 5) != 0;
		if (w->done)
			break;
		if (parse_bydisk(k, klen, v, vlen, &by)) {
			pass_damaged(w, k, klen);
			continue;
		}
		w->segment = by.segment;
		w->offset = by.offset + 1;
		bytes += by.record_len;
		add_record(s, w, b, &by);
	}
	w->err = meta_iter_error(it);
	w->done = w->done && !w->err;
	meta_iter_free(it);
}

/* ---- reading ---- */

static void read_batch(struct disk *d, struct batch *b, struct disk_io *ios)
{
	size_t at = 0;

	if (b->mem_bytes < b->bytes) {
		free(b->mem);
		b->mem = xmalloc(b->bytes);
		b->mem_bytes = b->bytes;
	}
	for (unsigned i = 0; i < b->request_count; i++) {
		struct request *q = &b->requests[i];

		q->buf = b->mem + at;
		at += q->len;
		q->iov = (struct iovec){q->buf, q->len};
		ios[i] = (struct disk_io){.disk = d,
					  .op = DISK_READ,
					  .addr = {q->segment, q->from},
					  .iov = &q->iov,
					  .iovcnt = 1,
					  .flags = DEV_READ_MEDIA,
					  .is_old = true};
	}
	(void)disk_io_run(ios, b->request_count); /* each result is looked at */
	for (unsigned i = 0; i < b->request_count; i++) {
		struct request *q = &b->requests[i];

		if (i && b->requests[i - 1].segment == q->segment)
			q->is_unnamed = b->requests[i - 1].is_unnamed;
		else
			q->is_unnamed = segment_named(d, q->segment) == DFS_ENOENT;
		if (q->is_unnamed && segment_is_open(d, q->segment))
			segment_close_open(d); /* nothing more goes where it can't last */
	}
}

/* Of a request that failed, or whose bytes are wrong: the record alone. */
static int read_alone(struct extent_store *s, const struct record *r)
{
	struct whole_read w = {.rec = r->rec,
			       .index = r->by.index,
			       .len = r->rec->fragment_len,
			       .buf = xmalloc((size_t)r->rec->header_len + r->rec->fragment_len),
			       .is_scrub = true};

	wholes_read(s, &w, 1);
	if (!w.result)
		record_header_release(&w.header);
	free(w.buf);
	return w.is_unnamed ? DFS_ENOENT : w.result;
}

static int check(struct extent_store *s, const struct batch *b, const struct disk_io *ios,
		 const struct record *r)
{
	const struct request *q = &b->requests[r->request];
	struct whole_read w = {.rec = r->rec,
			       .index = r->by.index,
			       .len = r->rec->fragment_len,
			       .buf = q->buf + (r->by.offset - q->from)};

	if (ios[r->request].result || whole_parse(&w))
		return read_alone(s, r);
	record_header_release(&w.header);
	return q->is_unnamed ? DFS_ENOENT : 0;
}

/* ---- what is not right ---- */

/* Is it still the record that the index names? */
static bool is_current(struct extent_store *s, const struct record *r)
{
	struct rec_extent now;

	return !get_extent(s->cfg.meta, r->by.extent, &now) && names(&now, &r->by);
}

/* false: no more can be taken now; the place is before this record again. */
static bool note_bad(struct extent_store *s, struct extent_scrub *w, const struct record *r,
		     int err)
{
	if (!fragment_is_damaged(err) || !is_current(s, r)) {
		PROBE("scrub-met-a-change");
		return true;
	}
	if (w->suspect_count == SCRUB_SUSPECTS) {
		w->segment = r->by.segment;
		w->offset = r->by.offset;
		w->done = false;
		return false;
	}
	w->suspects[w->suspect_count++] = (struct scrub_suspect){.id = r->by.extent,
								 .index = r->by.index};
	return true;
}

static void check_batch(struct extent_store *s, struct extent_scrub *w, struct batch *b,
			const struct disk_io *ios)
{
	struct disk *d = disk_get(s->cfg.disks, w->disk);

	for (unsigned i = 0; i < b->count; i++) {
		const struct record *r = &b->records[i];
		int err = check(s, b, ios, r);

		if (err && !disk_present(d)) { /* it went: what was not read stays to be done */
			w->segment = r->by.segment;
			w->offset = r->by.offset;
			w->done = false;
			return;
		}
		if (err && !note_bad(s, w, r, err))
			return;
		w->bytes += r->by.record_len;
		w->fragments++;
	}
}

void extent_scrub_disk(struct extent_store *s, struct extent_scrub *w)
{
	struct disk *d = disk_get(s->cfg.disks, w->disk);
	FREE struct record *records = xcalloc(BATCH_RECORDS, sizeof(*records));
	FREE struct request *requests = xcalloc(BATCH_RECORDS, sizeof(*requests));
	FREE struct disk_io *ios = xcalloc(BATCH_RECORDS, sizeof(*ios));
	struct batch b = {.records = records, .requests = requests};

	while (!w->done && !w->err && d && disk_present(d) && w->bytes < w->max_bytes &&
	       w->suspect_count < SCRUB_SUSPECTS && env_now_ns() < w->end_ns) {
		b.count = b.request_count = 0;
		b.bytes = 0;
		gather(s, w, &b);
		read_batch(d, &b, ios);
		check_batch(s, w, &b, ios);
		for (unsigned i = 0; i < b.count; i++)
			free(records[i].rec);
	}
	free(b.mem);
}

/* ---- one extent ---- */

static void note_issues(const struct rec_extent *rec, const struct extent_check *c,
			struct rec_finding *ret, unsigned *ret_damaged)
{
	unsigned damaged = 0;

	*ret = (struct rec_finding){
		.id = rec->id, .k = rec->k, .m = rec->m, .ino = rec->ino, .wall_ns = env_wall_ns()};
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		damaged += c->damaged[i];
		if (c->status[i] == FRAGMENT_GOOD)
			continue;
		ret->issues[ret->count++] = (struct scrub_issue){.index = (uint8_t)i,
								 .err = (uint8_t)-c->err[i],
								 .disk = rec->frags[i].disk,
								 .segment = rec->frags[i].segment,
								 .offset = rec->frags[i].offset};
	}
	*ret_damaged = damaged;
}

/* All fragments, of the record as it is. */
static int look(struct extent_store *s, extent_id id, struct rec_extent *ret_rec,
		struct extent_check *ret_check)
{
	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		struct rec_extent now;
		int err = get_extent(s->cfg.meta, id, ret_rec);

		if (err)
			return err;
		extent_verify_medium(s, ret_rec, ret_check);
		err = get_extent(s->cfg.meta, id, &now);
		if (err)
			return err;
		if (memcmp(now.frags, ret_rec->frags, sizeof(now.frags)) == 0)
			return 0;
	}
	return DFS_EBUSY;
}

/* Makes anew what can be; where nothing can, it only remembers (S6). What counts is what lies there then. */
static void repair(struct extent_store *s, struct rec_finding *f, struct scrub_repair *ret_done)
{
	const struct repair_choice choice = {.verify = true, .is_scrub = true};
	struct repair_item item = {.id = f->id};
	struct rec_extent rec;
	struct extent_check c;
	int err;

	extent_repair_many(s, &choice, &item, 1);
	*ret_done = (struct scrub_repair){item.made, item.bytes};
	if (f->verdict == SCRUB_UNRECOVERABLE)
		return;
	err = look(s, f->id, &rec, &c);
	f->err = (uint8_t) - (item.err ? item.err : err);
	if (err == DFS_ENOENT || (!err && !memchr(c.damaged, true, sizeof(c.damaged)))) {
		f->verdict = SCRUB_REPAIRED;
		f->err = 0;
	}
}

int extent_examine(struct extent_store *s, extent_id id, bool want_repair, struct rec_finding *ret,
		   struct scrub_repair *ret_done)
{
	struct rec_extent rec;
	struct extent_check c;
	unsigned damaged;
	int err = look(s, id, &rec, &c);

	*ret_done = (struct scrub_repair){0};
	*ret = (struct rec_finding){.id = id};
	if (err)
		return err == DFS_ENOENT ? 0 : err;
	note_issues(&rec, &c, ret, &damaged);
	if (!damaged)
		return 0;
	ret->verdict = c.good < rec.k ? SCRUB_UNRECOVERABLE : SCRUB_DEGRADED;
	if (want_repair || ret->verdict == SCRUB_UNRECOVERABLE)
		repair(s, ret, ret_done);
	return 0;
}
