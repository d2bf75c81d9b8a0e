/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root record: one 4 KiB slot of the ring of 64 in DISK/dynamicfs/meta/roots. It says which
 * disks hold the metadata (the members) in which epoch, which checkpoint to start from, and where
 * the journal goes on. Slot = generation % 64. docs/FORMAT.md section "Root record".
 */
#ifndef DFS_FORMAT_ROOT_H
#define DFS_FORMAT_ROOT_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define ROOT_MAGIC 0x544f4f5253464431ull
#define ROOT_VERSION 1
#define ROOT_SLOT_BYTES 4096u
#define ROOT_SLOTS 64u
#define ROOT_MAX_MEMBERS 16u
#define ROOT_KNOWN_INCOMPAT 0ull

struct root_member {
	disk_id id;
	struct uuid uuid;
};
struct root {
	struct uuid pool;
	uint64_t generation;	 /* grows with every root written */
	uint64_t epoch;		 /* grows with every change of members */
	uint64_t checkpoint_id;	 /* 0: none yet (empty index) */
	uint64_t checkpoint_seq; /* the checkpoint holds transactions 1..seq */
	struct hash chain;	 /* chain hash of transaction checkpoint_seq */
	struct hash manifest;	 /* BLAKE3 of the checkpoint's manifest file */
	uint64_t journal_first;	 /* name of the first journal file to replay */
	uint64_t feature_compat, feature_incompat;
	uint32_t disk_total; /* disks in the pool (failed ones left out) */
	bool clean;	     /* nothing in the journal after checkpoint_seq when written */
	unsigned member_count;
	struct root_member members[ROOT_MAX_MEMBERS];
};

void root_encode(const struct root *r, uint8_t out[ROOT_SLOT_BYTES]);
/* DFS_ECORRUPT (not a root, or an empty slot), DFS_ECHECKSUM, DFS_EVERSION, DFS_EFEATURE. */
MUST_USE int root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root);

#endif
