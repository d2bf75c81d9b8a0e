/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub, as far as extents are concerned: every record of a disk is read as it lies there, in the order of its segments,
 * and what is damaged is looked into, and made anew by the one pipeline (repair.c) if that is wanted. docs/DESIGN.md,
 * "Scrub" (V1 to V4).
 */
#ifndef DFS_EXTENT_SCRUB_H
#define DFS_EXTENT_SCRUB_H

#include "extent/extent.h"
#include "meta/schema_scrub.h"

#define SCRUB_SUSPECTS 64u
#define SCRUB_STRAYS 8u

/* Some of a disk's records, from (segment, offset) on, which is moved on. */
struct extent_scrub {
	/* in; from and out: */
	disk_id disk;
	uint32_t segment, offset;
	uint64_t max_bytes, end_ns; /* about where to stop; monotonic */
	struct users *users;	    /* or as soon as there are any (Y5); NULL: whatever they do */
	/* out */
	uint64_t bytes, fragments;
	struct scrub_suspect {
		extent_id id;
		uint8_t index; /* this fragment is not what was written */
	} suspects[SCRUB_SUSPECTS];
	unsigned suspect_count;
	struct scrub_stray { /* an entry of R that no extent agrees with */
		uint32_t segment, offset;
		int err; /* of the extent's record; 0: it names another place */
	} strays[SCRUB_STRAYS];
	unsigned stray_count;
	bool done; /* there are no more */
	int err;   /* the index can't be read on */
};
/* Writes nothing. A record that is moved or freed meanwhile is no suspect. One thread for each disk. */
void extent_scrub_disk(struct extent_store *s, struct extent_scrub *w);

/*
 * What is the matter with the extent? Reads all of its fragments; repair: makes anew those that are damaged (E6, P7).
 * verdict 0: nothing is. ret->issues: what was found, of absent fragments, too. S6: what is beyond repair is remembered.
 * DFS_EBUSY: it changes all the time.
 */
struct scrub_repair {
	unsigned made;	/* fragments */
	uint64_t bytes; /* what they take on the disks */
};
MUST_USE int extent_examine(struct extent_store *s, extent_id id, bool repair,
			    struct rec_finding *ret, struct scrub_repair *ret_done);

#endif
