/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the offline check; nobody else includes it. */
#ifndef DFS_POOL_FSCK_H
#define DFS_POOL_FSCK_H

#include <uthash.h>

#include "pool/internal.h"

struct fsck_inode { /* what the tables say of one inode */
	uint64_t ino;
	uint32_t mode, nlink, links, subdirs, orphan, inline_len, inline_seen;
	uint64_t size, mapped_bytes, mapped_seen, parent, prealloc_bytes, prealloc_seen;
	bool inlined, may_have_xattrs, beyond, may_have_usage;
	enum fsck_climb {
		CLIMB_UNKNOWN,
		CLIMB_REACHES,
		CLIMB_LOST
	} climb; /* of directories: do their parents lead to the root? */
	UT_hash_handle hh;
};
struct fsck_extent { /* what the maps say of one extent */
	extent_id id;
	uint32_t refs;
	bool seen;
	uint64_t end, ino;
	UT_hash_handle hh;
};
struct fsck_slot { /* what the map says of the slot that is being walked */
	uint64_t ino, slot, mapped;
	uint32_t entries;
	extent_id *extents; /* that it names, some of them more than once */
	size_t count, cap;
};

struct fsck {
	struct pool *p;
	bool deep;
	pool_fsck_report_fn report;
	void *ctx;
	struct pool_fsck_result *res;
	unsigned
		max_entries; /* of either table; of extents twice as many where their records are gone */
	struct fsck_inode *inodes;
	struct fsck_extent *extents;
	/* the range that they are of, which is the last one, or ends before this */
	bool has_begun, is_last;
	uint64_t first_ino, end_ino;
	extent_id first_extent, end_extent;
	uint64_t began_ns, told_ns; /* for progress */
	uint64_t map_ino, map_end;  /* of the last map entry */
	struct fsck_slot slot;
	uint64_t usages, usages_seen;		/* records; slots of the map that have one */
	uint64_t seg_disk, seg_number, seg_end; /* of the last by-disk record */
	uint64_t fragments, bydisk_seen, logical_bytes, prealloc_bytes;
	uint64_t used[META_COUNTERS]; /* by disk id */
};

void fsck_problem(struct fsck *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* NULL when there is none, or it is not in the range. */
struct fsck_inode *fsck_find_inode(struct fsck *f, ino_id ino);

/* ---- fsck_usage.c ---- */
/* Map entries come in order; the last slot ends with fsck_usage_end(). */
void fsck_usage_map(struct fsck *f, ino_id ino, const struct rec_map *m);
void fsck_usage_end(struct fsck *f);
int fsck_on_usage(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen);
int fsck_on_prealloc(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen);
void fsck_check_narrow(struct fsck *f, const struct rec_extent *rec, const char *id);
int fsck_on_narrow(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen);
int fsck_on_fold(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen);

/* ---- fsck_segments.c ---- */
/* Looks for whole records in the segments that the index does not know (left by crashes): they are
 * counted, not damage. */
void fsck_segments(struct fsck *f);

#endif
