/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of dev/disk.h share: a set of disks in a temporary directory, behind faults. */
#ifndef DFS_TESTS_UNIT_DISK_FIXTURE_H
#define DFS_TESTS_UNIT_DISK_FIXTURE_H

#include "base/env.h"
#include "dev/deadline.h"
#include "dev/disk.h"
#include "dev/fault.h"

#define DISKS 4

struct fixture {
	char *top;
	bool mounted;
	struct disk_set *set;
	struct dev_group *group;   /* of the disks' deadlines */
	uint64_t deadline_ms;	   /* 0: the default; set before the disks are added */
	struct dev *faults[DISKS]; /* borrowed: each disk's fault device */
	struct disk *disks[DISKS];
	/* what on_error was told; with lock */
	struct env_mutex lock;
	unsigned errors;
	disk_id last_id;
	int last_err;
	bool last_is_read;
	enum disk_state last_state; /* when it was told */
	char last_what[256];
};

/* cmocka's set-up with all disks added, with none, and the tear-down. */
int set_up(void **state);
int set_up_empty(void **state);
int tear_down(void **state);

char *disk_path(struct fixture *f, unsigned i); /* the caller frees it */
void shell(struct fixture *f, const char *cmd); /* runs in the temporary directory */
struct disk_info info_of(unsigned i);		/* disk i has the id i + 1 */
void add(struct fixture *f, unsigned i, const struct disk_info *info, uint32_t first);
void fill(void *p, size_t len, unsigned seed);
int write_at(struct disk *d, struct segment_addr addr, void *data, size_t len);
int read_at(struct disk *d, struct segment_addr addr, void *data, size_t len);
/* Reserves, writes and settles one record. */
struct segment_addr append(struct disk *d, void *data, uint32_t len);
int sync_all(struct fixture *f, disk_id *failed, unsigned *count);

#endif
