/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DISK/dynamicfs/disk.json: who a disk is, its health and counters, for programs and for people.
 * Replaced whole and atomically (dev_replace); carries its own checksum. docs/FORMAT.md "disk.json".
 */
#ifndef DFS_FORMAT_DISKJSON_H
#define DFS_FORMAT_DISKJSON_H

#include "base/err.h"
#include "base/le.h"
#include "base/types.h"

#define DISK_JSON_NAME "disk.json"
#define DISK_JSON_COPY_NAME "disk-copy.json" /* the same, for when that one is damaged */
#define DISK_JSON_FORMAT 1
#define DISK_JSON_MAX_BYTES KIB(64)
#define DISK_JSON_KNOWN_INCOMPAT 0ull

struct disk_json {
	struct uuid pool, uuid;
	uint32_t id;		 /* disk_id.v: 1 to DISK_ID_MAX */
	char label[64];		 /* UTF-8 */
	char domain[64];	 /* UTF-8; "": a failure domain of its own */
	uint64_t capacity_bytes; /* 0: all the filesystem below has */
	char state[16];		 /* disk_state_name(): "healthy", ... */
	char reason[48];	 /* what led there; "": not known */
	uint64_t since_wall_s;	 /* 0: not known */
	uint64_t epoch;		 /* newest membership epoch this disk has seen */
	uint64_t written_wall_s;
	uint64_t feature_compat, feature_incompat; /* bits 0..62 */
	/* counters since the disk was added */
	uint64_t reads, writes, syncs, read_bytes, write_bytes;
	uint64_t read_errors, write_errors, checksum_errors;
};

/*
 * Where other disks of the pool were last seen: for a pool directory that does not know them, or not any more.
 * Hints, no proof of anything: who a disk is only its own disk.json says. As many as fit are kept.
 */
#define DISK_PLACES_MAX 64u
#define DISK_PLACE_PATH 1024u

struct disk_places {
	unsigned count;
	size_t text_bytes; /* what they take in disk.json at most */
	struct disk_place {
		struct uuid uuid;
		char path[DISK_PLACE_PATH]; /* absolute; any bytes but NUL */
	} at[DISK_PLACES_MAX];
};

/* False: it is left out, since there is no room, or it is no absolute path of at most 1023 bytes. */
bool disk_places_add(struct disk_places *p, const struct uuid *uuid, const char *path);

/* Appends the text to out. Numbers beyond INT64_MAX are written as INT64_MAX. DFS_EINVAL (nothing
 * appended) when label, domain or state is not UTF-8 or not terminated, or id or state is empty. */
MUST_USE int disk_json_encode(const struct disk_json *d, struct buf *out);
MUST_USE int disk_json_encode_with(const struct disk_json *d, const struct disk_places *places,
				   struct buf *out);
/* DFS_ECORRUPT (not such a file), DFS_ECHECKSUM, DFS_EVERSION, DFS_EFEATURE. Any bytes are safe. */
MUST_USE int disk_json_parse(const void *data, size_t len, struct disk_json *ret);
MUST_USE int disk_json_parse_with(const void *data, size_t len, struct disk_json *ret,
				  struct disk_places *ret_places);

#endif
