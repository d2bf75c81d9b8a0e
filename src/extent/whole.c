/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading whole records, many at a time: what repair and checks do, where nearly all of the payload is wanted. Each record is
 * one read of its disk, header and payload together, and is verified as read.c does (E5). Nothing is cached: what is cached
 * proves nothing about a disk.
 */
#include <stdlib.h>

#include "extent/internal.h"

int whole_parse(struct whole_read *r)
{
	const struct rec_extent *rec = r->rec;
	struct hash hash;
	uint32_t need;
	int err;

	err = record_header_parse(r->buf, rec->header_len, &r->header, &hash, &need);
	if (err)
		return err;
	if (memcmp(&hash, &rec->frags[r->index].header_hash, sizeof(hash)) != 0 ||
	    !header_agrees(&r->header, rec, r->index))
		err = DFS_ECHECKSUM;
	else
		err = blocks_verify(r->header.blocks, r->buf + rec->header_len, r->len);
	if (err)
		record_header_release(&r->header);
	return err;
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
