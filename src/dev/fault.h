/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device stacked on a device, that makes it fail on purpose, for tests. Thread-safe to change
 * while in use.
 */
#ifndef DFS_DEV_FAULT_H
#define DFS_DEV_FAULT_H

#include "dev/dev.h"

struct fault_plan {
	double read_error, write_error, sync_error; /* probability per call, 0..1: DFS_EIO */
	double open_error;			    /* likewise, of opening a file */
	const char
		*only; /* errors of reads and opens only on files whose names begin so; NULL: all */
	uint64_t unread_from, unread_to; /* likewise: these bytes can't be read; 0, 0: all can */
	double write_flip;   /* that what a write stores has one bit flipped, and nobody is told */
	double read_flip;    /* probability that a read comes back with one bit flipped */
	uint64_t delay_ms;   /* added to every read, write and sync */
	bool no_space;	     /* writes that extend fail with DFS_ENOSPC */
	bool no_files;	     /* no file can be created: DFS_ENOSPC */
	bool no_space_anew;  /* those that overwrite, too: it never writes in place */
	uint64_t most_files; /* says that no more can be created; 0: the truth */
	uint64_t most_free;  /* says to have no more than that; 0: the truth */
	uint64_t most_total; /* nor to be larger than that */
	bool no_punch;	     /* no part of a file can be given back: DFS_ENOTSUP */
	bool gone;	     /* every call fails with DFS_EGONE */
	uint64_t gone_after; /* so many calls, it is gone from then on; 0: never */
	bool hang; /* every call but close waits until a plan without it is set; then it goes on */
};

/* Takes ownership of below. */
struct dev *dev_fault_new(struct dev *below, const struct fault_plan *plan);
/* d must come from dev_fault_new. */
void dev_fault_set(struct dev *d, const struct fault_plan *plan);

#endif
