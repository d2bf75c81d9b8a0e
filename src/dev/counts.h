/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of a disk, whoever asks (data, journal, roots, tables), and how long it takes: counted without locks where
 * a call returns, by devices with deadlines.
 */
#ifndef DFS_DEV_COUNTS_H
#define DFS_DEV_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct dev;

enum dev_count_kind {
	DEV_COUNT_READ,
	DEV_COUNT_WRITE,
	DEV_COUNT_SYNC,
	DEV_COUNT_OTHER, /* opening, renaming, removing, allocating, asking for space ... */
	DEV_COUNT_KINDS
};
/* Latencies: bucket i has those of up to 16 us * 4^i, the last one all longer ones. */
#define DEV_COUNT_BUCKETS 12u
static inline uint64_t dev_count_limit_ns(unsigned bucket) { return 16000ull << (2 * bucket); }

struct dev_counts {
	struct dev_count {
		uint64_t calls, errors, bytes, ns;
		uint64_t latencies[DEV_COUNT_BUCKETS];
	} of[DEV_COUNT_KINDS];
};
/* What is no fault of the disk is no error: a name that is not there, a full disk. */
void dev_count(struct dev_counts *c, enum dev_count_kind kind, uint64_t bytes, uint64_t ns,
	       int result);
/* A copy. false: the device does not count. */
bool dev_counts(struct dev *d, struct dev_counts *ret);

#endif
