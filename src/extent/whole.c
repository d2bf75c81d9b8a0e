/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading whole records, many at a time: what repair and checks do, where nearly all of the payload is wanted. Each record is
 * one read of its disk, header and payload together, and is verified as read.c does (E5). Nothing is cached: what is cached
 * proves nothing about a disk. What is damaged in one is told block by block.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

_Static_assert(RECORD_MAX_BLOCKS <= 64, "a bit for each");

uint64_t blocks_all(uint32_t len)
{
	uint64_t n = DIV_UP(len, RECORD_BLOCK_BYTES);

	return n < 64 ? (1ull << n) - 1 : UINT64_MAX;
}

bool blocks_suffice(const uint64_t *blocks, unsigned width, unsigned k, uint32_t len)
{
	unsigned count = (unsigned)DIV_UP(len, RECORD_BLOCK_BYTES);

	for (unsigned b = 0; b < count; b++) {
		unsigned good = 0;

		for (unsigned i = 0; i < width; i++)
			good += blocks[i] >> b & 1;
		if (good < k)
			return false;
	}
	return true;
}

void whole_release(struct whole_read *r)
{
	record_header_release(&r->header);
	r->header = (struct record_header){0};
}

static int parse_header(struct whole_read *r)
{
	const struct rec_extent *rec = r->rec;
	struct hash hash;
	uint32_t need;
	int err;

	err = record_header_parse(r->buf, rec->header_len, &r->header, &hash, &need);
	if (err)
		return err;
	if (memcmp(&hash, &rec->frags[r->index].header_hash, sizeof(hash)) == 0 &&
	    header_agrees(&r->header, rec, r->index))
		return 0;
	whole_release(r);
	return DFS_ECHECKSUM;
}

/* Those of the given blocks that are what the header says. */
static uint64_t verified(const struct whole_read *r, uint64_t among)
{
	uint64_t good = 0;

	for (uint32_t b = 0, at = 0; at < r->len; b++, at += RECORD_BLOCK_BYTES)
		if ((among >> b & 1) &&
		    blocks_verify(&r->header.blocks[b], r->buf + r->rec->header_len + at,
				  MIN(RECORD_BLOCK_BYTES, r->len - at)) == 0)
			good |= 1ull << b;
	return good;
}

int whole_parse(struct whole_read *r)
{
	int err = parse_header(r);

	if (err)
		return err;
	r->blocks = verified(r, blocks_all(r->len));
	return r->blocks == blocks_all(r->len) ? 0 : DFS_ECHECKSUM;
}

/* Part of the record; where it can't be read all at once. */
static int read_part(struct extent_store *s, const struct whole_read *r, uint32_t from,
		     uint32_t len)
{
	const struct rec_fragment *f = &r->rec->frags[r->index];
	struct iovec iov = {r->buf + from, len};
	struct disk_io io = {.disk = disk_get(s->cfg.disks, f->disk),
			     .op = DISK_READ,
			     .addr = {f->segment, f->offset + from},
			     .iov = &iov,
			     .iovcnt = 1,
			     .flags = r->is_scrub ? DEV_READ_MEDIA : 0,
			     .is_old = true};

	return disk_io_run(&io, 1);
}

void whole_salvage(struct extent_store *s, struct whole_read *r)
{
	const struct rec_fragment *f = &r->rec->frags[r->index];
	struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;
	uint32_t header_len = r->rec->header_len;
	uint64_t read = 0;

	if (!d || !disk_present(d) || disk_reads_nothing(d))
		return;
	whole_release(r);
	r->blocks = 0;
	if (read_part(s, r, 0, header_len) || parse_header(r))
		return;
	for (uint32_t b = 0, at = 0; at < r->len; b++, at += RECORD_BLOCK_BYTES)
		if (!read_part(s, r, header_len + at, MIN(RECORD_BLOCK_BYTES, r->len - at)))
			read |= 1ull << b;
	r->blocks = verified(r, read);
	if (r->blocks)
		PROBE("record-read-in-parts");
}

void wholes_read(struct extent_store *s, struct whole_read *reads, unsigned n)
{
	FREE struct disk_io *ios = xcalloc(MAX(n, 1u), sizeof(*ios));
	FREE struct iovec *iov = xcalloc(MAX(n, 1u), sizeof(*iov));
	FREE unsigned *who = xcalloc(MAX(n, 1u), sizeof(*who));
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct rec_fragment *f = &reads[i].rec->frags[reads[i].index];
		struct disk *d = f->disk.v ? disk_get(s->cfg.disks, f->disk) : NULL;

		reads[i].result = d && disk_present(d) ? 0 : DFS_EGONE;
		if (reads[i].result)
			continue;
		iov[count] = (struct iovec){reads[i].buf, reads[i].rec->header_len + reads[i].len};
		ios[count] = (struct disk_io){.disk = d,
					      .op = DISK_READ,
					      .addr = {f->segment, f->offset},
					      .iov = &iov[count],
					      .iovcnt = 1,
					      .flags = reads[i].is_scrub ? DEV_READ_MEDIA : 0,
					      .is_old = true};
		who[count++] = i;
	}
	if (count > 0)
		(void)disk_io_run(ios, count); /* each result is looked at */
	for (unsigned i = 0; i < count; i++) {
		struct whole_read *r = &reads[who[i]];

		r->result = ios[i].result ? ios[i].result : whole_parse(r);
		if (!r->result && r->is_scrub)
			r->is_unnamed = segment_named(ios[i].disk, ios[i].addr.segment) ==
					DFS_ENOENT;
		if (fragment_is_rot(r->result) && !r->is_scrub)
			report_rot(s, r->rec, r->index, r->result);
	}
}
