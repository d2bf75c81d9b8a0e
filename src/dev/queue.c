/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of operations on many disks: all are started, then all are waited for, so that the disks work
 * at the same time and the slowest decides how long it takes. Writes that are neighbours become one.
 *
 * The threads are the devices' own (dev/deadline.h), and so are the deadlines: one disk that hangs costs a
 * batch its deadline once. On a device that does its calls at once (one that is only memory) nothing is
 * gained by threads, and the caller does it all.
 *
 * Owns no locks.
 */
#include <stdlib.h>

#include "dev/disk_internal.h"

#define FEW_RUNS 8u
#define UNDER_WAY_MAX MIB(16) /* bytes of a batch that are copied for the disks at a time (P9) */

struct run {
	struct disk_io *first, *last; /* linked by next */
	uint64_t end, bytes;	      /* of writes: where the next one would have to begin */
	int iovcnt;
	struct segment_io io;
	struct sync_job sync;
};

static uint64_t bytes_of(const struct disk_io *io)
{
	uint64_t bytes = 0;

	for (int i = 0; i < io->iovcnt; i++)
		bytes += io->iov[i].iov_len;
	return bytes;
}

/* Appends a write to the last run of its disk, if it goes on where that ends. */
static bool run_join(struct run *runs, unsigned count, struct disk_io *io, uint64_t bytes)
{
	struct run *r = NULL;

	if (io->op != DISK_WRITE)
		return false;
	for (unsigned i = count; i > 0 && !r; i--)
		if (runs[i - 1].first->disk == io->disk)
			r = &runs[i - 1];
	if (!r || r->first->op != DISK_WRITE || r->first->addr.segment != io->addr.segment ||
	    r->end != io->addr.offset || r->iovcnt + io->iovcnt > RUN_IOV_MAX ||
	    r->bytes + bytes > RUN_BYTES_MAX)
		return false;
	r->last->next = io;
	r->last = io;
	r->end += bytes;
	r->bytes += bytes;
	r->iovcnt += io->iovcnt;
	return true;
}

static unsigned make_runs(struct disk_io *ios, unsigned count, struct run *runs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct disk_io *io = &ios[i];
		uint64_t bytes = bytes_of(io);

		io->next = NULL;
		if (run_join(runs, n, io, bytes))
			continue;
		runs[n++] = (struct run){.first = io,
					 .last = io,
					 .end = io->addr.offset + bytes,
					 .bytes = bytes,
					 .iovcnt = io->iovcnt};
	}
	return n;
}

static void run_begin(struct run *r)
{
	switch (r->first->op) {
	case DISK_READ:
		segment_read_begin(r->first, &r->io);
		break;
	case DISK_WRITE:
		segment_write_begin(r->first, &r->io);
		break;
	case DISK_SYNC:
		segment_sync_begin(r->first->disk, &r->sync);
		break;
	}
}

/* Of a run that failed: which of them? Writing the same bytes again is harmless. */
static void write_one_by_one(struct disk_io *run)
{
	for (struct disk_io *io = run, *next; io; io = next) {
		struct segment_io one;

		next = io->next;
		io->next = NULL;
		segment_write_begin(io, &one);
		io->result = segment_write_end(io, &one);
		io->next = next;
	}
}

static void run_end(struct run *r)
{
	int rc = 0;

	switch (r->first->op) {
	case DISK_READ:
		segment_read_go_on(r->first, &r->io);
		rc = segment_read_end(r->first, &r->io);
		break;
	case DISK_WRITE:
		rc = segment_write_end(r->first, &r->io);
		break;
	case DISK_SYNC:
		segment_sync_end(r->first->disk, &r->sync);
		return; /* it may have to wait for another's: see disk_io_run() */
	}
	if (rc && r->first->next) {
		write_one_by_one(r->first);
		return;
	}
	for (struct disk_io *io = r->first; io; io = io->next)
		io->result = rc;
}

static void run_all(struct run *runs, unsigned count)
{
	uint64_t under_way = 0;
	unsigned ended = 0;

	for (unsigned i = 0; i < count; i++) {
		run_begin(&runs[i]);
		under_way += runs[i].bytes;
		while (under_way > UNDER_WAY_MAX && ended < i) {
			under_way -= runs[ended].bytes;
			run_end(&runs[ended++]);
		}
	}
	for (unsigned i = ended; i < count; i++)
		if (runs[i].first->op == DISK_READ)
			segment_read_go_on(runs[i].first, &runs[i].io);
	for (unsigned i = ended; i < count; i++)
		run_end(&runs[i]);
	/* Now that none of ours is unfinished, others may be waited for. */
	for (unsigned i = 0; i < count; i++)
		if (runs[i].first->op == DISK_SYNC)
			runs[i].first->result = segment_sync_wait(runs[i].first->disk,
								  runs[i].sync.wanted);
}

struct disk_reads {
	unsigned count;
	struct run runs[];
};

struct disk_reads *disk_reads_start(struct disk_io *ios, unsigned count)
{
	struct disk_reads *b = xmalloc(sizeof(*b) + count * sizeof(b->runs[0]));

	for (unsigned i = 0; i < count; i++)
		ASSERT(ios[i].op == DISK_READ);
	b->count = make_runs(ios, count, b->runs);
	for (unsigned i = 0; i < b->count; i++)
		run_begin(&b->runs[i]);
	for (unsigned i = 0; i < b->count; i++)
		segment_read_go_on(b->runs[i].first, &b->runs[i].io);
	return b;
}

void disk_reads_end(struct disk_reads *b)
{
	for (unsigned i = 0; i < b->count; i++)
		run_end(&b->runs[i]);
	free(b);
}

int disk_io_run(struct disk_io *ios, unsigned count)
{
	struct run few[FEW_RUNS], *runs = few;
	unsigned n;

	if (count > FEW_RUNS)
		runs = xmalloc(count * sizeof(*runs));
	n = make_runs(ios, count, runs);
	run_all(runs, n);
	if (runs != few)
		free(runs);
	for (unsigned i = 0; i < count; i++)
		if (ios[i].result)
			return ios[i].result;
	return 0;
}
