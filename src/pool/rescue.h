/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rescue: the files' contents from what disks are left, without a pool directory, and where need be without any index.
 * docs/DESIGN.md, "Rescue" (Q1..Q4). Changes nothing on the disks.
 */
#ifndef DFS_POOL_RESCUE_H
#define DFS_POOL_RESCUE_H

#include "pool/pool.h"

struct rescue_range {
	uint64_t from, to; /* bytes of the file */
};
/* Something that is not as it was: bytes that are lost, or a file, a name or an attribute that could not be made. */
struct rescue_finding {
	const char *path; /* below the target directory; any bytes */
	ino_id ino;	  /* 0: not known */
	const char *what; /* for a person; NULL: bytes are lost */
	const struct rescue_range *lost;
	unsigned lost_count;
	uint64_t lost_bytes;
	bool coarse; /* too many ranges: some that are given hold bytes between them that are not lost */
};

struct rescue_options {
	const char *const *disks;
	unsigned count;
	const char *to; /* absent, or an empty directory */
	bool scan;	/* look for all records, though the metadata can be read */
	void (*found)(void *ctx, const struct rescue_finding *f);
	void (*warn)(void *ctx, const char *text);
	void (*progress)(void *ctx, const char *text);
	void *ctx;
};

struct rescue_result {
	struct uuid pool;
	unsigned disks; /* that could be used */
	bool named;	/* an index could be had: names are known */
	bool newest;	/* and it is known to be the newest state */
	bool scanned;	/* all records were looked for */
	char why[1024]; /* not named, or not newest */
	uint64_t files, dirs, others,
		names;	  /* made; others: links, devices; names: further ones of files */
	uint64_t unnamed; /* of the files: by their number */
	uint64_t bytes;	  /* of content, holes not counted */
	uint64_t damaged_files, lost_bytes;
	uint64_t not_made; /* files, names, attributes */
	uint64_t owners_not_set;
	uint64_t records,
		read_errors; /* found by looking for them; ranges of segments that could not be read */
};

/* 0; DFS_EDAMAGED: something is missing (what, was told to found()); or why it can't go on. */
MUST_USE int pool_rescue(const struct rescue_options *opt, struct rescue_result *ret_result,
			 struct pool_message *msg);

#endif
