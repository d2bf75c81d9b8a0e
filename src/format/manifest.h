/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint's manifest (DISK/dynamicfs/meta/checkpoint/manifest-ID): the files that make up the
 * mirrored index, with sizes and BLAKE3. docs/FORMAT.md "Checkpoint manifest".
 */
#ifndef DFS_FORMAT_MANIFEST_H
#define DFS_FORMAT_MANIFEST_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"

#define MANIFEST_MAX_FILES 100000u
#define MANIFEST_MAX_BYTES MIB(32)

struct manifest_file {
	char name[64];	 /* as the index knows it ("000012.sst") */
	char stored[96]; /* as it lies on the member ("000012.sst-<16 hex of hash>") */
	uint64_t size_bytes;
	struct hash hash;
};
struct manifest {
	struct uuid pool;
	uint64_t checkpoint_id;
	uint64_t seq;
	unsigned count;
	struct manifest_file *files;
};
void manifest_release(struct manifest *m);
void manifest_encode(const struct manifest *m, struct buf *out);
MUST_USE int manifest_parse(const void *data, size_t len, struct manifest *ret_manifest);

#endif
