/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the JSON files of format/ share: the checksum, and bounded reading of fields. Private to
 * format/. The checksum is the BLAKE3, in hex, of the compact dump with sorted keys of the object
 * without its "checksum": a person may reformat the file, but not change it.
 */
#ifndef DFS_FORMAT_JSONSEAL_H
#define DFS_FORMAT_JSONSEAL_H

#include <jansson.h>

#include "base/err.h"
#include "base/le.h"
#include "base/types.h"

/* Adds "checksum" to o and appends the pretty text. Consumes o always. DFS_EINVAL: could not. */
MUST_USE int json_seal(json_t *o, struct buf *out);
/*
 * Parses, verifies checksum, kind, format and features. DFS_ECORRUPT, DFS_ECHECKSUM, DFS_EVERSION,
 * DFS_EFEATURE. The caller drops *ret_object.
 */
MUST_USE int json_unseal(const void *data, size_t len, size_t max_len, const char *kind, int format,
			 uint64_t known_incompat, json_t **ret_object);

/* Writers. A failure is found by json_seal, as the object then lacks a field: they return 0 or -1
 * as jansson does, so that callers can sum them up. */
int json_put_u64(json_t *o, const char *key, uint64_t v); /* clamped to INT64_MAX */
int json_put_str(json_t *o, const char *key, const char *text,
		 size_t size); /* size: of the array */
int json_put_uuid(json_t *o, const char *key, const struct uuid *u);
int json_put_hex(json_t *o, const char *key, const void *bytes, size_t n);
/* "path"; or "path_hex", for a path is any bytes but NUL, and JSON only knows UTF-8. size: of the array. */
int json_put_path(json_t *o, const char *path, size_t size);

/* Readers: 0 or DFS_ECORRUPT (absent, of another type, out of range). */
MUST_USE int json_get_u64(const json_t *o, const char *key, uint64_t *ret);
MUST_USE int json_get_str(const json_t *o, const char *key, char *ret, size_t size);
MUST_USE int json_get_uuid(const json_t *o, const char *key, struct uuid *ret);
MUST_USE int json_get_hex(const char *hex, uint8_t *ret, size_t n); /* of 2 n digits */
MUST_USE int json_get_path(const json_t *o, char *ret, size_t size);

static inline void json_drop(json_t **o) { json_decref(*o); }
#define JSON CLEANUP(json_drop) json_t

#endif
