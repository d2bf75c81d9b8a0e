/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint's manifest (DISK/dynamicfs/meta/checkpoint/manifest-ID, on each member): the table files
 * that make up the index, with sizes and BLAKE3, and where the fragments of each lie. docs/FORMAT.md
 * "Checkpoint manifest".
 */
#ifndef DFS_FORMAT_MANIFEST_H
#define DFS_FORMAT_MANIFEST_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#include "format/table.h"

#define MANIFEST_MAX_FILES 65536u
#define MANIFEST_MAX_BYTES MIB(64)

struct manifest_fragment {
	disk_id disk;	    /* 0: lost */
	struct hash header; /* zeros when lost */
};
struct manifest_file {
	char name[TABLE_NAME_LEN]; /* as the index knows it ("000012.sst") */
	uint64_t size_bytes;
	struct hash hash;
	uint8_t k, m;
	uint32_t rotten; /* in memory only: bit i: fragment i was found wrong or missing */
	struct manifest_fragment fragments[TABLE_MAX_WIDTH]; /* k + m of them */
};
struct manifest {
	struct uuid pool;
	uint64_t checkpoint_id;
	uint64_t seq;
	unsigned count;
	struct manifest_file *files; /* in ascending order of names, none twice */
};
void manifest_release(struct manifest *m);
void manifest_sort(struct manifest *m);
/* NULL: there is none. */
struct manifest_file *manifest_find(const struct manifest *m, const char *name);
void manifest_encode(const struct manifest *m, struct buf *out);
/* Of what a file of len bytes holds: what follows the manifest there is left over. */
size_t manifest_length(const void *data, size_t len);
/* data: exactly the manifest. */
MUST_USE int manifest_parse(const void *data, size_t len, struct manifest *ret_manifest);

#endif
