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
#include "base/users.h"
#include "extent/internal.h"
#include "extent/scrub.h"

#define BATCH_BYTES                                                                                \
	MIB(2) /* of records that are read at a time, while the batch before is verified */
#define MEMORY_BATCH_BYTES                                                                         \
	KIB(512) /* nothing is under way there: what the processor's caches hold */
#define BATCH_RECORDS 1024u
#define REQUEST_BYTES MIB(1) /* of one read */
#define GAP_BYTES KIB(64)    /* that is read along between two records */
#define ATTEMPTS 4u
#define DISK_PREFIX 5u /* of a by-disk key: the table and the disk */

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
	struct disk_io *ios; /* of the requests */
	struct disk_reads *reads;
	size_t bytes; /* of the requests */
	uint8_t *mem;
	size_t mem_bytes;
};
struct scan { /* of a disk */
	struct extent_store *s;
	struct disk *d;
	struct extent_scrub *w;
	struct meta_iter *it;	   /* at the next entry, */
	struct buf prefix;	   /* of those that begin so */
	struct meta_iter *extents; /* of about the same moment */
	uint64_t asked;		   /* bytes of records, of w->max_bytes */
	bool is_memory;
	uint32_t
		looked_up; /* the segment that was last, and whether its file has a name; 0: none was */
	bool is_unnamed;
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

/* The extent that has the record, as it was a moment ago or is now. On a disk records lie in about the order of their extents. */
static bool find_extent(struct scan *c, const struct rec_bydisk *by, struct rec_extent *ret)
{
	size_t klen, vlen;
	const uint8_t *k, *v;
	BUF key = {0};

	key_extent(&key, by->extent);
	if (meta_iter_find(c->extents, key.data, key.len)) {
		k = meta_iter_key(c->extents, &klen);
		v = meta_iter_value(c->extents, &vlen);
		if (!parse_extent(k, klen, v, vlen, ret) && names(ret, by))
			return true;
	}
	return !get_extent(c->s->cfg.meta, by->extent, ret) && names(ret, by);
}

static void add_record(struct scan *c, struct batch *b, const struct rec_bydisk *by)
{
	struct record *r = &b->records[b->count];

	*r = (struct record){.by = *by, .rec = xmalloc(sizeof(*r->rec))};
	if (!find_extent(c, by, r->rec)) {
		free(r->rec);
		note_stray(c->s, c->w, by);
		return;
	}
	add_to_request(b, r);
	b->count++;
}

static void begin_walk(struct scan *c)
{
	BUF key = {0};

	key_bydisk(&key, c->w->disk, c->w->segment, c->w->offset);
	buf_put(&c->prefix, key.data, DISK_PREFIX);
	c->it = meta_iter_new_within(c->s->cfg.meta, key.data, DISK_PREFIX);
	meta_iter_seek(c->it, key.data, key.len);
	c->extents = meta_iter_new(c->s->cfg.meta);
}

/* The next records; w's place is behind them. */
static void gather(struct scan *c, struct batch *b)
{
	struct extent_scrub *w = c->w;
	uint64_t batch = c->is_memory ? MEMORY_BATCH_BYTES : BATCH_BYTES;
	uint64_t bytes = 0, most = MIN(batch, w->max_bytes - c->asked);

	b->count = b->request_count = 0;
	b->bytes = 0;
	for (; b->count < BATCH_RECORDS && bytes < most && b->bytes < batch;
	     meta_iter_next(c->it)) {
		size_t klen, vlen;
		const uint8_t *k, *v;
		struct rec_bydisk by;

		w->done = !meta_iter_valid(c->it);
		if (w->done)
			break;
		k = meta_iter_key(c->it, &klen);
		v = meta_iter_value(c->it, &vlen);
		w->done = klen < DISK_PREFIX || memcmp(k, c->prefix.data, DISK_PREFIX) != 0;
		if (w->done)
			break;
		if (parse_bydisk(k, klen, v, vlen, &by)) {
			pass_damaged(w, k, klen);
			continue;
		}
		w->segment = by.segment;
		w->offset = by.offset + 1;
		bytes += by.record_len;
		add_record(c, b, &by);
	}
	w->err = meta_iter_error(c->it);
	w->done = w->done && !w->err;
	c->asked += bytes;
}

/* ---- reading ---- */

static void read_begin(struct disk *d, struct batch *b)
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
		b->ios[i] = (struct disk_io){.disk = d,
					     .op = DISK_READ,
					     .addr = {q->segment, q->from},
					     .iov = &q->iov,
					     .iovcnt = 1,
					     .flags = DEV_READ_MEDIA,
					     .is_old = true};
	}
	b->reads = disk_reads_start(b->ios, b->request_count);
}

/* Once for each segment. */
static bool lost_its_name(struct scan *c, uint32_t segment)
{
	if (c->looked_up == segment)
		return c->is_unnamed;
	c->looked_up = segment;
	c->is_unnamed = segment_named(c->d, segment) == DFS_ENOENT;
	if (c->is_unnamed && segment_is_open(c->d, segment))
		segment_close_open(c->d); /* nothing more goes where it can't last */
	return c->is_unnamed;
}

static void read_end(struct scan *c, struct batch *b)
{
	disk_reads_end(b->reads); /* each result is looked at */
	for (unsigned i = 0; i < b->request_count; i++)
		b->requests[i].is_unnamed = lost_its_name(c, b->requests[i].segment);
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
	whole_release(&w);
	free(w.buf);
	return w.is_unnamed ? DFS_ENOENT : w.result;
}

static int check(struct extent_store *s, const struct batch *b, const struct record *r)
{
	const struct request *q = &b->requests[r->request];
	struct whole_read w = {.rec = r->rec,
			       .index = r->by.index,
			       .len = r->rec->fragment_len,
			       .buf = q->buf + (r->by.offset - q->from)};
	int err = b->ios[r->request].result ? b->ios[r->request].result : whole_parse(&w);

	whole_release(&w);
	if (err)
		return read_alone(s, r);
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

/* false: not all of them; the place is before the first of the others. */
static bool check_batch(struct scan *c, struct batch *b)
{
	struct extent_scrub *w = c->w;

	for (unsigned i = 0; i < b->count; i++) {
		const struct record *r = &b->records[i];
		int err = check(c->s, b, r);

		if (err && !disk_present(c->d)) { /* it went: what was not read stays to be done */
			w->segment = r->by.segment;
			w->offset = r->by.offset;
			w->done = false;
			return false;
		}
		if (err && !note_bad(c->s, w, r, err))
			return false;
		w->bytes += r->by.record_len;
		w->fragments++;
	}
	return true;
}

/* ---- batch after batch ---- */

static void batch_init(struct batch *b)
{
	*b = (struct batch){.records = xcalloc(BATCH_RECORDS, sizeof(*b->records)),
			    .requests = xcalloc(BATCH_RECORDS, sizeof(*b->requests)),
			    .ios = xcalloc(BATCH_RECORDS, sizeof(*b->ios))};
}

static void batch_release(struct batch *b)
{
	free(b->records);
	free(b->requests);
	free(b->ios);
	free(b->mem);
}

static bool somebody_waits(struct users *users)
{
	struct users_load load = {.is_quiet = true};

	if (users)
		users_load(users, &load);
	if (!load.is_quiet)
		PROBE("scrub-step-cut-short");
	return !load.is_quiet;
}

/* The next batch is under way. false: there is none, or this step has enough. */
static bool batch_begin(struct scan *c, struct batch *b)
{
	const struct extent_scrub *w = c->w;

	if (w->done || w->err || !disk_present(c->d) || c->asked >= w->max_bytes ||
	    w->suspect_count == SCRUB_SUSPECTS || env_now_ns() >= w->end_ns ||
	    somebody_waits(w->users))
		return false;
	gather(c, b);
	read_begin(c->d, b);
	return true;
}

/* check: else it is thrown away. false: the place is before what has not been verified. */
static bool batch_end(struct scan *c, struct batch *b, bool check)
{
	bool all;

	read_end(c, b);
	all = check && check_batch(c, b);
	for (unsigned i = 0; i < b->count; i++)
		free(b->records[i].rec);
	return all;
}

/* While one batch is verified the next one is being read. */
void extent_scrub_disk(struct extent_store *s, struct extent_scrub *w)
{
	struct disk *d = disk_get(s->cfg.disks, w->disk);
	struct scan c = {.s = s, .d = d, .w = w, .is_memory = d && disk_is_memory(d)};
	struct batch v[2];
	bool more;

	if (!d)
		return;
	begin_walk(&c);
	batch_init(&v[0]);
	batch_init(&v[1]);
	more = batch_begin(&c, &v[0]);
	for (unsigned i = 0; more; i ^= !c.is_memory) {
		bool ahead = !c.is_memory && batch_begin(&c, &v[!i]);
		bool all = batch_end(&c, &v[i], true);

		if (ahead && !all)
			(void)batch_end(&c, &v[!i], false); /* it is read again */
		more = all && (c.is_memory ? batch_begin(&c, &v[i]) : ahead);
	}
	meta_iter_free(c.it);
	meta_iter_free(c.extents);
	buf_release(&c.prefix);
	batch_release(&v[0]);
	batch_release(&v[1]);
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
	ret->verdict = c.recoverable ? SCRUB_DEGRADED : SCRUB_UNRECOVERABLE;
	if (want_repair || ret->verdict == SCRUB_UNRECOVERABLE)
		repair(s, ret, ret_done);
	return 0;
}
