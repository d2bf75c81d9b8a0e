/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other way round: records on the disks that the index does not name. A crash between the writing
 * of fragments and the commit that names them leaves such records; they are harmless and only counted.
 */
#include <stdlib.h>

#include "pool/fsck.h"

#define SCAN_BYTES KIB(256)

struct scan {
	struct fsck *f;
	struct disk *disk;
	disk_id id;
	uint32_t segment;
	uint8_t *buf;
};

/* A record that the index names, or one that is waiting to be given back. */
static bool is_known(struct scan *s, uint32_t offset)
{
	BUF key = {0}, val = {0};

	key_bydisk(&key, s->id, s->segment, offset);
	if (meta_get(s->f->p->meta, key.data, key.len, &val) == 0)
		return true;
	key_freed(&key, s->id, s->segment, offset);
	return meta_get(s->f->p->meta, key.data, key.len, &val) == 0;
}

static bool read_at(struct scan *s, uint64_t off, size_t len)
{
	struct iovec iov = {s->buf, len};
	struct disk_io io = {.disk = s->disk,
			     .op = DISK_READ,
			     .addr = {s->segment, (uint32_t)off},
			     .iov = &iov,
			     .iovcnt = 1};

	return disk_io_run(&io, 1) == 0;
}

/* The record at buf[at], if there is a whole header. Returns how far to go on. */
static uint32_t look_at(struct scan *s, size_t at, size_t have, uint64_t off)
{
	struct record_header h;
	struct hash hash;
	uint32_t need, len;

	if (record_header_parse(s->buf + at, have - at, &h, &hash, &need))
		return SEGMENT_ALIGN;
	len = record_len(h.piece_count, h.payload_len);
	if (h.segment != s->segment || h.offset != off) {
		len = SEGMENT_ALIGN;
	} else if (!is_known(s, (uint32_t)off)) {
		s->f->res->orphan_records_bytes += len;
	}
	record_header_release(&h);
	return len;
}

static int on_segment(void *ctx, uint32_t segment, uint64_t size_bytes)
{
	struct scan *s = ctx;
	uint64_t off = 0;

	s->segment = segment;
	while (off + RECORD_FIXED_LEN <= size_bytes) {
		size_t have = (size_t)MIN(SCAN_BYTES, size_bytes - off), at = 0;

		if (!read_at(s, off, have))
			return 0; /* unreadable data is found by the fragments' own check */
		/* stop while a longest header still fits, unless this is the segment's end */
		while (at + RECORD_FIXED_LEN <= have &&
		       (at + RECORD_MAX_HEADER_LEN <= have || off + have == size_bytes))
			at += look_at(s, at, have, off + at);
		off += at;
	}
	return 0;
}

void fsck_segments(struct fsck *f)
{
	FREE uint8_t *buf = xmalloc(SCAN_BYTES);

	for (unsigned i = 0; i < disk_count(f->p->disks); i++) {
		struct disk *d = disk_at(f->p->disks, i);
		struct scan s = {.f = f, .disk = d, .id = disk_info(d).id, .buf = buf};
		int err;

		if (!disk_present(d))
			continue;
		err = segment_list(d, on_segment, &s);
		if (err)
			fsck_problem(f, "the segments of disk %u cannot be listed: %s", s.id.v,
				     dfs_err_text(err));
	}
}
