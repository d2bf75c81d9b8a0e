/* SPDX-License-Identifier: Apache-2.0 */
/* A metadata store over directories, for the tests of meta/: open it, cut it, damage it, compare. */
#ifndef DFS_TESTS_META_RIG_H
#define DFS_TESTS_META_RIG_H

#include "dev/fault.h"
#include "meta/meta.h"

#define RIG_MAX_DISKS 8u

struct rig {
	char dir[64];
	char index_dir[96];
	unsigned disk_count;
	unsigned copies, table_k;
	bool rocks;
	const struct index_ops *ops; /* instead of the index in memory's */
	bool absent[RIG_MAX_DISKS];  /* not given to meta_open */
	struct dev *devs[RIG_MAX_DISKS];
	struct uuid pool, uuids[RIG_MAX_DISKS];
	struct index_mem_store *store;
	struct history_witness witness;		 /* the pool directory's memory */
	struct meta_line line;			 /* likewise */
	uint64_t checkpoint_bytes, buffer_bytes; /* 0: 1 MiB, the default */
	uint64_t capacity[RIG_MAX_DISKS];	 /* that disks may use; 0: what there is */
	char domain[RIG_MAX_DISKS][8];
	bool no_new[RIG_MAX_DISKS], leaving[RIG_MAX_DISKS];
	bool read_only, force;
	struct history_witness told; /* what a pool directory would remember */
	int told_err;		     /* it can't be written */
	int data_sync_err;
	uint64_t data_syncs;
	unsigned notes;		       /* that data_sync still has to make, one in each call */
	void (*stored)(struct rig *r); /* a checkpoint's files are stored, its root is not yet */
	bool nothing_spare;	       /* for what is written unasked */
	uint64_t unasked;	       /* bytes that are being written so */
	unsigned failed[RIG_MAX_DISKS + 1]; /* how often member_failed named this disk id */
	struct meta *m;
	struct meta_recovery rec;
};

/* Makes directories and formats. */
void rig_init(struct rig *r, bool rocks, unsigned disk_count, unsigned copies);
void rig_release(struct rig *r);
int rig_open(struct rig *r);
void rig_must_open(struct rig *r);
void rig_must_close(struct rig *r);
/* Ends without writing: what a killed process leaves (the index loses what it hadn't flushed). */
void rig_kill(struct rig *r);
struct meta_config rig_config(struct rig *r, struct meta_disk disks[RIG_MAX_DISKS]);
unsigned rig_disks(struct rig *r, struct meta_disk disks[RIG_MAX_DISKS]);

/* One transaction: key number n gets a value that depends on n and version. */
uint64_t rig_commit(struct rig *r, unsigned n, unsigned version);
bool rig_has(struct rig *r, unsigned n, unsigned version);
/* Commits n keys from first on, syncs the last. */
void rig_fill(struct rig *r, unsigned first, unsigned n, unsigned version);
void rig_expect_value(struct rig *r, unsigned first, unsigned n, unsigned version);

/* Files: the path of disk i's NAME; damage; removal. */
void rig_path(struct rig *r, unsigned disk, const char *name, char path[256]);
void rig_flip(const char *path, long off); /* negative: from the end */
long rig_size(const char *path);
void rig_remove_tree(const char *path);
/* The first file in a directory of disk i whose name begins so and that isn't empty. */
bool rig_find(struct rig *r, unsigned disk, const char *dir, const char *prefix, char path[256]);
/* Where record seq lies in disk i's journal; its second copy, if there is one, second_off further. */
struct rig_record {
	char path[256];
	size_t off, second_off;
	uint32_t len;
};
void rig_find_record(struct rig *r, unsigned disk, uint64_t seq, struct rig_record *ret);
/* Writes bytes where the record after that one goes. */
void rig_put_after(const struct rig_record *rec, const struct buf *bytes);
/* Journal files of disk i whose names begin so ("": all). */
unsigned rig_count_journals(struct rig *r, unsigned disk, const char *prefix);
void rig_destroy_index(struct rig *r);

/* For tests that run with the index in memory and with RocksDB: two entries of the table, and which it is. */
#define BOTH(fn)                                                                                   \
	cmocka_unit_test_prestate(fn, NULL), { #fn " with RocksDB", fn, NULL, NULL, (void *)1 }
static inline bool rocks_of(void **state) { return *state != NULL; }

#endif
