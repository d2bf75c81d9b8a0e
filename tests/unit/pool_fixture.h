/* SPDX-License-Identifier: Apache-2.0 */
/* A pool over a few directories, each behind a fault device, for the tests of what disks do to extents. */
#ifndef DFS_TESTS_UNIT_POOL_FIXTURE_H
#define DFS_TESTS_UNIT_POOL_FIXTURE_H

#include "dev/fault.h"
#include "pool/pool.h"

#define FIXTURE_MAX_DISKS 8u

struct fixture {
	char top[64], pool[96], disk[FIXTURE_MAX_DISKS][96];
	unsigned disk_count;
	struct dev *faults[FIXTURE_MAX_DISKS];	    /* borrowed; by number of the disk - 1 */
	struct fault_plan plans[FIXTURE_MAX_DISKS]; /* of a disk as it is opened */
	struct dev *dir_fault;			    /* of the pool directory */
	void (*opened)(struct dev *below); /* each device, before it is put behind its faults */
	struct pool *p;
	uint64_t nth;		/* for the test */
	uint64_t io_timeout_ms; /* from the next reopening on; 0: the default */
};

/* copies of metadata: 0 for the default; opened: may be NULL. */
struct fixture *fixture_new(unsigned disk_count, unsigned copies,
			    void (*opened)(struct dev *below));
/* The same with a capacity for each disk (NULL: none), and a failure domain (NULL: none). */
struct fixture *fixture_new_of(unsigned disk_count, unsigned copies,
			       void (*opened)(struct dev *below), const uint64_t *capacities,
			       const char *const *domains);
void fixture_free(struct fixture *f);
/* After the pool was closed or abandoned. */
void fixture_reopen(struct fixture *f);
/* What the i-th extent holds. Borrowed until the next call. */
const uint8_t *fixture_content(unsigned i, uint32_t len);
/* Writes it, and maps it at i MiB of inode 7: committed, not synced. Returns its record. */
struct rec_extent fixture_put(struct fixture *f, unsigned i, struct geometry g, uint32_t len);
/* What was committed is durable. */
void fixture_sync(struct fixture *f);
void fixture_set_rebuild(struct fixture *f, uint64_t after_s, uint64_t bytes_per_s);
/* How many fragments of the extent are there and whole. */
unsigned fixture_good(struct fixture *f, extent_id id);
/* What is written from now on goes to new segments, on all disks. */
void fixture_end_segments(struct fixture *f);
/* A shell command that must succeed. */
void fixture_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Copies what lies in the disk's directory, while it may be in use, to TOP/NAME. */
void fixture_copy_disk(struct fixture *f, unsigned i, const char *name);
/* Opens another pool directory for it, after an import. */
void fixture_open_at(struct fixture *f, const char *pool);

#endif
