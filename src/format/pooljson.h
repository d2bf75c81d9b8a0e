/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POOL/pool.json: the pool's identity and where its disks were last seen. Disposable (P5): import
 * writes it anew from the disks. docs/FORMAT.md "pool.json".
 */
#ifndef DFS_FORMAT_POOLJSON_H
#define DFS_FORMAT_POOLJSON_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/policy.h"
#include "base/types.h"

#define POOL_JSON_NAME "pool.json"
#define POOL_JSON_FORMAT 1
#define POOL_JSON_MAX_BYTES MIB(8)
#define POOL_JSON_MAX_DISKS DISK_ID_MAX
#define POOL_JSON_KNOWN_INCOMPAT 0ull

#define POOL_JSON_PATH 4096u
#define POOL_JSON_MAX_SEARCH 16u
#define POOL_JSON_SEARCH_PATH 1024u

struct pool_json_disk {
	disk_id id;
	struct uuid uuid;
	char label[64];		   /* UTF-8 */
	char state[16];		   /* disk_state_name() */
	char path[POOL_JSON_PATH]; /* any bytes but NUL; "" when not known */
};
struct pool_json { /* zero-initialise */
	struct uuid pool;
	char name[64]; /* UTF-8 */
	/* the newest epoch that it was told of (P8): its vote; zeros: none yet, no vote */
	struct uuid epoch_id;
	uint64_t epoch, generation;
	/* a transaction that was durable in that epoch, or before it, and its hash; 0: none */
	uint64_t durable_seq;
	struct hash durable_chain;
	uint64_t written_wall_s;
	uint64_t feature_compat, feature_incompat; /* bits 0..62 */
	/* as chosen at init: in force until the first disk brings an index to hold them */
	struct policy policy;
	/* directories in which disks are looked for, too; any bytes but NUL */
	unsigned search_count;
	char search[POOL_JSON_MAX_SEARCH][POOL_JSON_SEARCH_PATH];
	unsigned disk_count;
	struct pool_json_disk *disks; /* owned */
};
void pool_json_release(struct pool_json *p); /* frees the array and zeroes p */
/* Appends a zeroed disk; the pointer is valid until the next call. */
struct pool_json_disk *pool_json_add(struct pool_json *p);
/* NULL when there is none. */
struct pool_json_disk *pool_json_find(struct pool_json *p, disk_id id);

/* Appends the text to out. DFS_EINVAL (nothing appended): a string is not UTF-8 (paths may be any
 * bytes) or not terminated, an id or state is empty, an id or uuid is there twice, too many disks. */
MUST_USE int pool_json_encode(const struct pool_json *p, struct buf *out);
/* DFS_ECORRUPT (not such a file), DFS_ECHECKSUM, DFS_EVERSION, DFS_EFEATURE. Any bytes are safe.
 * The caller releases *ret, whose former content is overwritten, not freed. */
MUST_USE int pool_json_parse(const void *data, size_t len, struct pool_json *ret);

#endif
