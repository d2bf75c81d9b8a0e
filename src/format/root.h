/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root record: one 20 KiB slot of the ring of 16 in DISK/dynamicfs/meta/roots. It says which
 * disks hold the metadata (the members) in which epoch, which checkpoint to start from, where the
 * journal goes on, which disks the pool has, who votes, and from which epochs this one descends.
 * Slot = generation % 16. docs/FORMAT.md section "Root record"; docs/DESIGN.md "One history".
 */
#ifndef DFS_FORMAT_ROOT_H
#define DFS_FORMAT_ROOT_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define ROOT_MAGIC 0x544f4f5253464431ull
#define ROOT_VERSION 1
#define ROOT_SLOT_BYTES 20480u
#define ROOT_SLOTS 16u
#define ROOT_MAX_MEMBERS 16u
#define ROOT_MAX_DISKS DISK_ID_MAX
#define ROOT_MAX_HISTORY 112u /* epochs before this one */
#define ROOT_MAX_OPEN 31u     /* bits of root_disk.votes, but for bit 0 */
#define ROOT_KNOWN_INCOMPAT 0ull

struct root_member {
	disk_id id;
	struct uuid uuid;
};
struct root_disk { /* one disk of the pool, there or not */
	disk_id id;
	struct uuid uuid;
	bool given_up;	     /* by a person: never counts again */
	uint32_t votes;	     /* bit 0: in this epoch; bit j: in the j-th set that is still open */
	uint64_t left_epoch; /* the last one that it voted in; 0: it votes now, or never did */
	bool apart; /* it showed another history, of epoch left_epoch, which was given up by force */
};
struct root_epoch { /* an epoch before this one */
	struct uuid id;
	uint64_t epoch;
	bool formed; /* known to have had its majorities when the next one was made */
	bool forced; /* made by --force, without them */
};
struct root {
	struct uuid pool;
	uint64_t generation;	/* grows with every root written */
	uint64_t epoch;		/* grows with every change of members or votes */
	struct uuid epoch_id;	/* random: two epochs of one number are told apart */
	bool forced;		/* this epoch was made by --force */
	unsigned open_count;	/* sets of voters that must agree beside its own; 0: it is formed */
	uint64_t checkpoint_id; /* 0: none yet (empty index) */
	uint64_t checkpoint_seq; /* the checkpoint holds transactions 1..seq */
	struct hash chain;	 /* chain hash of transaction checkpoint_seq */
	struct hash manifest;	 /* BLAKE3 of the checkpoint's manifest file */
	uint64_t journal_first;	 /* name of the first journal file to replay */
	uint64_t feature_compat, feature_incompat;
	uint64_t written_wall_ns; /* when, for people */
	bool clean;		  /* nothing in the journal after checkpoint_seq when written */
	unsigned member_count;
	struct root_member members[ROOT_MAX_MEMBERS];
	unsigned history_count; /* the parent first; older ones may be left out */
	struct root_epoch history[ROOT_MAX_HISTORY];
	unsigned disk_count; /* all disks of the pool, by id */
	struct root_disk disks[ROOT_MAX_DISKS];
};

/* Could it be written, with some room for what follows? False: what was read leads to a root that means nothing. */
bool root_writable(const struct root *r);
void root_encode(const struct root *r, uint8_t out[ROOT_SLOT_BYTES]);
/* DFS_ECORRUPT (not a root, or an empty slot), DFS_ECHECKSUM, DFS_EVERSION, DFS_EFEATURE. */
MUST_USE int root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root);
/* The row of a disk; NULL when the table has none. */
const struct root_disk *root_find_disk(const struct root *r, const struct uuid *uuid);

#endif
