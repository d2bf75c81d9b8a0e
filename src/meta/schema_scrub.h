/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the index remembers of the newest scrub (table Q): where it goes on and what it has counted, what it has found of
 * extents, and of metadata. docs/FORMAT.md "Index tables". As schema.h has it; no locks.
 */
#ifndef DFS_META_SCHEMA_SCRUB_H
#define DFS_META_SCHEMA_SCRUB_H

#include "meta/schema.h"

#define SCRUB_CURSOR_MAX 512u
#define SCRUB_NOTE_MAX 512u

enum scrub_phase { /* append-only */
	SCRUB_FRAGMENTS = 1,
	SCRUB_INDEX,
	SCRUB_METADATA,
	SCRUB_ENDED,
};
#define SCRUB_REPAIR 1u	    /* what is damaged is made anew */
#define SCRUB_BACKGROUND 2u /* it was begun by the pool's interval */

struct scrub_counts {
	uint64_t bytes;		     /* verified: records of fragments, and metadata */
	uint64_t fragments, records; /* verified; of the index */
	uint64_t degraded, repaired, unrecoverable; /* extents */
	uint64_t made;				    /* fragments that were written */
	uint64_t metadata, metadata_repaired;	    /* problems; of these */
	uint64_t away; /* fragments on disks that were not there: not verified */
};
struct scrub_cursor {
	disk_id disk;
	uint32_t segment, offset; /* the first key of R that was not looked at */
	bool done;
};
struct rec_scrub {
	uint32_t job;
	uint8_t phase, flags;
	disk_id disk;		     /* 0: all */
	uint64_t bytes_per_s;	     /* 0: no limit */
	uint64_t began_ns, ended_ns; /* wall clock; 0: not yet */
	uint64_t
		whole_ns; /* when the last one of all disks had begun that came to its end; 0: none */
	struct scrub_counts counts;
	unsigned findings, notes; /* that are kept */
	unsigned cursor_len;
	uint8_t cursor[SCRUB_CURSOR_MAX]; /* of the phases after the first */
	unsigned disk_count;
	struct scrub_cursor disks[DISK_ID_MAX];
};

enum scrub_verdict { /* of an extent; append-only */
	SCRUB_DEGRADED = 1,
	SCRUB_REPAIRED,
	SCRUB_UNRECOVERABLE,
};
struct scrub_issue {
	uint8_t index; /* of the fragment */
	uint8_t err;   /* a code of base/err.h without its sign: what a read of it says */
	disk_id disk;
	uint32_t segment, offset;
};
struct rec_finding {
	extent_id id; /* from the key */
	uint8_t verdict, k, m;
	ino_id ino;
	uint64_t wall_ns;
	uint8_t err; /* why it was not repaired; 0: nobody tried, or it was */
	unsigned count;
	struct scrub_issue issues[DFS_EXTENT_MAX_FRAGMENTS];
};

struct rec_note {     /* a problem of metadata */
	uint32_t nth; /* from the key */
	bool is_repaired;
	char text[SCRUB_NOTE_MAX];
};

#define SCRUB_OFF UINT32_MAX
struct rec_schedule {	     /* of scrubs that nobody orders */
	uint64_t interval_s; /* SCRUB_OFF: there are none; default 30 days */
	bool repair;	     /* they repair; default on */
};

void put_schedule(struct meta_txn *t, const struct rec_schedule *r);
/* The default where there is none. */
MUST_USE int get_schedule(struct meta *m, struct rec_schedule *ret);
void put_scrub(struct meta_txn *t, const struct rec_scrub *r);
void put_finding(struct meta_txn *t, const struct rec_finding *r);
void put_note(struct meta_txn *t, const struct rec_note *r);
/* Deletes all findings and notes, in as many transactions as it takes. */
MUST_USE int scrub_forget(struct meta *m);

MUST_USE int get_scrub(struct meta *m, struct rec_scrub *ret);
MUST_USE int parse_scrub(const void *key, size_t key_len, const void *val, size_t val_len,
			 struct rec_scrub *ret);
MUST_USE int parse_finding(const void *key, size_t key_len, const void *val, size_t val_len,
			   struct rec_finding *ret);
MUST_USE int parse_note(const void *key, size_t key_len, const void *val, size_t val_len,
			struct rec_note *ret);
/* Whichever of them it is: is it whole? */
MUST_USE int check_scrub_record(const void *key, size_t key_len, const void *val, size_t val_len);

/* Calls fn for each; fn returns nonzero to stop, and that is returned. What can't be parsed is passed over. */
MUST_USE int each_finding(struct meta *m, int (*fn)(void *ctx, const struct rec_finding *f),
			  void *ctx);
MUST_USE int each_note(struct meta *m, int (*fn)(void *ctx, const struct rec_note *n), void *ctx);

/* The last `last` lines of the audit trail, oldest first; text is JSON, without a NUL. As the others. */
MUST_USE int each_audit(struct meta *m, unsigned last,
			int (*fn)(void *ctx, uint64_t wall_ns, const char *text, size_t len),
			void *ctx);

/* Any record of any table: does it parse? 0, DFS_ECORRUPT, DFS_ECHECKSUM, DFS_EVERSION. */
MUST_USE int check_record(const void *key, size_t key_len, const void *val, size_t val_len);

#endif
