/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: every byte verified against its block's hash, the hashes against the header's hash, that
 * against the index (E5, P3). The healthy path reads just the blocks asked for, straight into the
 * caller's buffer where they are aligned. What is missing or rotten is decoded from the same columns
 * of other fragments: Reed-Solomon works byte column by byte column.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

#define READ_RETRIES 8

/* ---- headers ---- */

bool header_agrees(const struct record_header *h, const struct rec_extent *rec, unsigned i)
{
	return extent_id_eq(h->extent, rec->id) && h->index == i && h->k == rec->k &&
	       h->m == rec->m && h->extent_len == rec->len && h->payload_len == rec->fragment_len &&
	       h->ino.v == rec->ino.v &&
	       record_header_len(h->piece_count, h->block_count) == rec->header_len;
}

static int parse_blocks(const struct cached_extent *e, unsigned i, const uint8_t *data, size_t len,
			struct hash **ret_blocks)
{
	const struct rec_extent *rec = &e->rec;
	struct record_header h;
	struct hash hash;
	uint32_t need;
	int err;

	err = record_header_parse(data, len, &h, &hash, &need);
	if (err)
		return err;
	if (memcmp(&hash, &rec->frags[i].header_hash, sizeof(hash)) != 0 ||
	    !header_agrees(&h, rec, i)) {
		record_header_release(&h);
		return DFS_ECHECKSUM;
	}
	*ret_blocks = h.blocks;
	h.blocks = NULL;
	record_header_release(&h);
	return 0;
}

/* Fetches the headers that the reads need and nobody has fetched yet; failures go to .result. */
static void headers_load(struct extent_store *s, struct cached_extent *e,
			 struct fragment_read *reads, unsigned n)
{
	struct disk_io ios[DFS_EXTENT_MAX_FRAGMENTS];
	struct iovec iov[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned who[DFS_EXTENT_MAX_FRAGMENTS], count = 0;
	uint32_t len = e->rec.header_len;

	FREE uint8_t *bufs = NULL;
	for (unsigned i = 0; i < n; i++)
		if (!reads[i].result && !cache_blocks(s, e, reads[i].index))
			who[count++] = i;
	if (count == 0)
		return;
	bufs = xmalloc((size_t)count * len);
	for (unsigned i = 0; i < count; i++) {
		const struct rec_fragment *f = &e->rec.frags[reads[who[i]].index];

		iov[i] = (struct iovec){bufs + (size_t)i * len, len};
		ios[i] = (struct disk_io){.disk = disk_get(s->cfg.disks, f->disk),
					  .op = DISK_READ,
					  .addr = {f->segment, f->offset},
					  .iov = &iov[i],
					  .iovcnt = 1,
					  .can_spare = reads[who[i]].can_spare};
	}
	(void)disk_io_run(ios, count); /* each result is looked at */
	for (unsigned i = 0; i < count; i++) {
		struct fragment_read *r = &reads[who[i]];
		struct hash *blocks;

		r->result = ios[i].result;
		if (!r->result)
			r->result = parse_blocks(e, r->index, iov[i].iov_base, len, &blocks);
		if (!r->result)
			cache_set_blocks(s, e, r->index, blocks);
	}
}

int blocks_verify(const struct hash *blocks, const uint8_t *payload, uint32_t len)
{
	for (uint32_t at = 0; at < len; at += RECORD_BLOCK_BYTES) {
		struct hash h;

		hash_bytes(payload + at, MIN(RECORD_BLOCK_BYTES, len - at), &h);
		if (memcmp(&h, &blocks[at / RECORD_BLOCK_BYTES], sizeof(h)) != 0)
			return DFS_ECHECKSUM;
	}
	return 0;
}

bool fragment_is_rot(int err)
{
	return err == DFS_ECHECKSUM || err == DFS_ECORRUPT || err == DFS_EVERSION ||
	       err == DFS_E2BIG || err == DFS_ENOENT;
}

bool fragment_is_damaged(int err) { return err == DFS_EIO || fragment_is_rot(err); }

/* Is the healer to see to it? What can't be read and is in doubt already is written anew as that (D8). */
static bool is_to_heal(struct extent_store *s, const struct rec_fragment *f, int err)
{
	struct disk *d = disk_get(s->cfg.disks, f->disk);

	if (err == DFS_EGONE)
		return extent_is_without(s, f->disk) &&
		       env_now_ns() >= atomic_load(&s->heal_rest_ns);
	return fragment_is_rot(err) ||
	       (err == DFS_EIO && d && !disk_may_lack(d, f->segment, f->offset, f->record_len));
}

void report_rot(struct extent_store *s, const struct rec_extent *rec, unsigned i, int err)
{
	const struct rec_fragment *f = &rec->frags[i];
	char text[UUID_TEXT_LEN + 1];
	struct disk *d = disk_get(s->cfg.disks, f->disk);

	uuid_format(&rec->id.u, text);
	/* what is known to be in doubt (D8, H8) says nothing of the disk as it is now */
	if (d && !disk_may_lack(d, f->segment, f->offset, f->record_len))
		disk_count_checksum_error(d);
	atomic_fetch_add(&s->fragments_rotten, 1);
	log_warn(
		"fragment %u of extent %s (inode %llu) on disk %u, segment %08x at %u: %s; it is rebuilt "
		"from the others",
		i, text, (unsigned long long)rec->ino.v, f->disk.v, f->segment, f->offset,
		dfs_err_text(err));
}

void fragments_read(struct extent_store *s, struct cached_extent *e, struct fragment_read *reads,
		    unsigned n)
{
	struct disk_io ios[DFS_EXTENT_MAX_FRAGMENTS];
	struct iovec iov[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned who[DFS_EXTENT_MAX_FRAGMENTS], count = 0;

	ASSERT(n <= DFS_EXTENT_MAX_FRAGMENTS);
	for (unsigned i = 0; i < n; i++) {
		const struct rec_fragment *f = &e->rec.frags[reads[i].index];
		struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;

		reads[i].result = d && disk_present(d) ? 0 : DFS_EGONE;
	}
	headers_load(s, e, reads, n);
	for (unsigned i = 0; i < n; i++) {
		const struct rec_fragment *f = &e->rec.frags[reads[i].index];

		if (reads[i].result)
			continue;
		iov[count] = (struct iovec){reads[i].buf, reads[i].len};
		ios[count] = (struct disk_io){
			.disk = disk_get(s->cfg.disks, f->disk),
			.op = DISK_READ,
			.addr = {f->segment, f->offset + e->rec.header_len + reads[i].from},
			.iov = &iov[count],
			.iovcnt = 1,
			.can_spare = reads[i].can_spare};
		who[count++] = i;
	}
	if (count > 0)
		(void)disk_io_run(ios, count); /* each result is looked at */
	for (unsigned i = 0; i < count; i++) {
		struct fragment_read *r = &reads[who[i]];

		r->result = ios[i].result;
		if (!r->result)
			r->result = blocks_verify(cache_blocks(s, e, r->index) +
							  r->from / RECORD_BLOCK_BYTES,
						  r->buf, r->len);
	}
	for (unsigned i = 0; i < n; i++)
		if (fragment_is_rot(reads[i].result))
			report_rot(s, &e->rec, reads[i].index, reads[i].result);
}

unsigned fragments_by_preference(struct extent_store *s, const struct rec_extent *rec,
				 uint8_t order[DFS_EXTENT_MAX_FRAGMENTS])
{
	unsigned width = (unsigned)rec->k + rec->m, n = 0;
	/* copies share the load: start at a copy that differs from extent to extent */
	unsigned start = rec->k == 1 ? rec->id.u.b[15] % width : 0;

	for (int pass = 0; pass < 2; pass++)
		for (unsigned j = 0; j < width; j++) {
			unsigned i = (start + j) % width;
			struct disk *d = rec->frags[i].disk.v
						 ? disk_get(s->cfg.disks, rec->frags[i].disk)
						 : NULL;
			bool suspect = d && disk_state(d) == DISK_SUSPECT;

			if (d && disk_present(d) && suspect == (pass == 1))
				order[n++] = (uint8_t)i;
		}
	return n;
}

/* ---- decoding ---- */

struct decode {
	uint8_t *bufs; /* width columns of len bytes */
	uint32_t from, len;
	uint8_t *frags[DFS_EXTENT_MAX_FRAGMENTS];
	bool have[DFS_EXTENT_MAX_FRAGMENTS];
};

/*
 * Collects k verified fragments' columns [from, from+len), in order of preference. bad: not to be read;
 * late: only when there is no other way (D9).
 */
static int decode_gather(struct extent_store *s, struct cached_extent *e, const bool *bad,
			 bool *late, struct decode *dc)
{
	const struct rec_extent *rec = &e->rec;
	uint8_t order[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned present = fragments_by_preference(s, rec, order), next = 0, good = 0;
	bool patient = false;

	while (good < rec->k) {
		struct fragment_read reads[DFS_EXTENT_MAX_FRAGMENTS];
		unsigned n = 0;

		for (; next < present && n < rec->k - good; next++) {
			unsigned i = order[next];

			if (!bad[i] && !dc->have[i] && late[i] == patient)
				reads[n++] = (struct fragment_read){.index = i,
								    .from = dc->from,
								    .len = dc->len,
								    .buf = dc->frags[i],
								    .can_spare = !patient};
		}
		if (n == 0 && patient)
			return DFS_EIO;
		if (n == 0) { /* once more, for those that were late */
			patient = true;
			next = 0;
			continue;
		}
		fragments_read(s, e, reads, n);
		for (unsigned j = 0; j < n; j++) {
			late[reads[j].index] = reads[j].result == DFS_ELATE;
			if (!reads[j].result) {
				dc->have[reads[j].index] = true;
				good++;
			} else if (is_to_heal(s, &rec->frags[reads[j].index], reads[j].result)) {
				healer_queue(s, rec->id);
			}
		}
	}
	return 0;
}

/* Computes the columns of the fragments that failed. r->buf gets the bytes. */
static int decode_columns(struct extent_store *s, struct cached_extent *e, struct fragment_read *r,
			  const bool *bad, bool *late)
{
	const struct rec_extent *rec = &e->rec;
	unsigned width = (unsigned)rec->k + rec->m;
	struct decode dc = {.from = r->from, .len = r->len};
	bool want[DFS_EXTENT_MAX_FRAGMENTS] = {false};
	int err;

	FREE uint8_t *bufs = xmalloc((size_t)width * r->len);
	for (unsigned i = 0; i < width; i++)
		dc.frags[i] = bufs + (size_t)i * r->len;
	err = decode_gather(s, e, bad, late, &dc);
	if (err)
		return err;
	want[r->index] = !dc.have[r->index]; /* it was late, and has come after all */
	err = codec_decode((struct geometry){rec->k, rec->m}, r->len, dc.frags, dc.have, want);
	if (err)
		return err;
	PROBE("read-decoded");
	memcpy(r->buf, dc.frags[r->index], r->len);
	atomic_fetch_add(&s->fragments_decoded, 1);
	return 0;
}

/* ---- a whole read ---- */

struct span { /* of one data fragment */
	struct fragment_read read;
	uint32_t skip, take; /* of read.buf */
	uint8_t *bounce;     /* read.buf when it is not the caller's */
	uint8_t *out;
};

/* Cuts [off, off+len) of the extent into spans of data fragments. */
static unsigned make_spans(struct extent_store *s, const struct rec_extent *rec, uint32_t off,
			   uint32_t len, uint8_t *out, struct span *spans)
{
	uint32_t flen = rec->fragment_len;
	uint8_t order[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned n = 0;

	while (len > 0) {
		unsigned i = off / flen;
		uint32_t in = off % flen, take = MIN(len, flen - in);
		uint32_t from = (uint32_t)ALIGN_DOWN(in, RECORD_BLOCK_BYTES);
		uint32_t to = (uint32_t)MIN(ALIGN_UP(in + take, RECORD_BLOCK_BYTES), flen);
		struct span *sp = &spans[n++];

		if (rec->k == 1 && fragments_by_preference(s, rec, order) > 0)
			i = order[0];
		*sp = (struct span){.read = {.index = i, .from = from, .len = to - from},
				    .skip = in - from,
				    .take = take,
				    .out = out};
		if (sp->skip == 0 && take == to - from)
			sp->read.buf = out;
		else
			sp->read.buf = sp->bounce = xmalloc(to - from);
		out += take;
		off += take;
		len -= take;
	}
	return n;
}

/* The addresses in use are no longer those of the index: somebody repaired or freed it. */
static int record_changed(struct extent_store *s, struct cached_extent *e, bool *ret_changed)
{
	struct rec_extent now;
	int err = get_extent(s->cfg.meta, e->rec.id, &now);

	if (err)
		return err;
	*ret_changed = memcmp(now.frags, e->rec.frags, sizeof(now.frags)) != 0;
	return 0;
}

static int spans_decode(struct extent_store *s, struct cached_extent *e, struct span *spans,
			unsigned n)
{
	bool bad[DFS_EXTENT_MAX_FRAGMENTS] = {false}, late[DFS_EXTENT_MAX_FRAGMENTS] = {false};
	bool heal = false;
	int err = 0;

	for (unsigned i = 0; i < n; i++)
		if (spans[i].read.result == DFS_ELATE) {
			late[spans[i].read.index] = true;
		} else if (spans[i].read.result) {
			bad[spans[i].read.index] = true;
			heal |= is_to_heal(s, &e->rec.frags[spans[i].read.index],
					   spans[i].read.result);
		}
	for (unsigned i = 0; i < n && !err; i++)
		if (spans[i].read.result)
			err = decode_columns(s, e, &spans[i].read, bad, late);
	if (!err && heal)
		healer_queue(s, e->rec.id);
	return err;
}

static int read_once(struct extent_store *s, struct cached_extent *e, uint32_t off, uint32_t len,
		     uint8_t *buf, bool *ret_again)
{
	struct span spans[CODEC_MAX_K];
	struct fragment_read reads[CODEC_MAX_K];
	unsigned n = make_spans(s, &e->rec, off, len, buf, spans);
	bool failed = false;
	int err = 0;

	*ret_again = false;
	for (unsigned i = 0; i < n; i++) {
		reads[i] = spans[i].read;
		reads[i].can_spare = e->rec.m > 0;
	}
	fragments_read(s, e, reads, n);
	for (unsigned i = 0; i < n; i++) {
		spans[i].read.result = reads[i].result;
		failed |= reads[i].result != 0;
	}
	if (failed) {
		err = record_changed(s, e, ret_again);
		if (!err && !*ret_again)
			err = spans_decode(s, e, spans, n);
	}
	for (unsigned i = 0; i < n; i++) {
		if (spans[i].bounce && !err)
			memcpy(spans[i].out, spans[i].bounce + spans[i].skip, spans[i].take);
		free(spans[i].bounce);
	}
	return err;
}

int extent_read(struct extent_store *s, extent_id id, uint32_t off, uint32_t len, void *buf)
{
	bool again = true;
	int err = DFS_EIO;

	for (int i = 0; i < READ_RETRIES && again; i++) {
		struct cached_extent *e;

		again = false;
		err = cache_get(s, id, &e);
		if (err)
			return err;
		if (len == 0 || off > e->rec.len || len > e->rec.len - off)
			err = DFS_ECORRUPT; /* a map entry that points past its extent */
		else
			err = read_once(s, e, off, len, buf, &again);
		cache_put(s, e);
		if (again) {
			cache_drop(s, id);
			err = DFS_EIO;
		}
	}
	atomic_fetch_add(&s->extents_read, 1);
	if (err == DFS_EIO) {
		atomic_fetch_add(&s->extents_unreadable, 1);
		healer_queue(s, id); /* it remembers what is beyond repair */
	}
	return err;
}

void extent_prefetch(struct extent_store *s, extent_id id)
{
	uint8_t order[DFS_EXTENT_MAX_FRAGMENTS];
	struct cached_extent *e;
	unsigned n;

	if (cache_get(s, id, &e))
		return; /* only a hint: the read itself will report it */
	n = fragments_by_preference(s, &e->rec, order);
	for (unsigned i = 0; i < n && i < e->rec.k; i++) {
		const struct rec_fragment *f = &e->rec.frags[order[i]];

		segment_prefetch(disk_get(s->cfg.disks, f->disk),
				 (struct segment_addr){f->segment, f->offset}, f->record_len);
	}
	cache_put(s, e);
}
