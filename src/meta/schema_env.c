/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope around every value of the index: version, length, the generation in which the record
 * was born, and a check over key and value, so that a value under the wrong key is found out too.
 * Keeps P3 and P10. Pure functions, no locks.
 */
#include <sys/uio.h>

#include "meta/internal.h"

struct dfs_envelope {
	le16 version;
	le16 flags; /* 0 */
	le32 len;   /* of the payload */
	le64 birth;
	le64 check; /* first 8 bytes of BLAKE3(key, the 16 bytes above, payload) */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_envelope) == ENVELOPE_LEN, "envelope size");
_Static_assert(offsetof(struct dfs_envelope, check) == 16, "check is last");

static le64 envelope_check(const void *key, size_t key_len, const void *val, size_t val_len)
{
	const uint8_t *v = val;
	struct iovec iov[3] = {
		{(void *)key, key_len},
		{(void *)v, offsetof(struct dfs_envelope, check)},
		{(void *)(v + ENVELOPE_LEN), val_len - ENVELOPE_LEN},
	};
	struct hash hash;
	le64 check;

	hash_iov(iov, 3, &hash);
	memcpy(&check, hash.b, sizeof(check));
	return check;
}

void envelope_begin(struct buf *value)
{
	buf_reset(value);
	buf_extend(value, ENVELOPE_LEN);
}

void envelope_seal(const void *key, size_t key_len, struct buf *value, uint64_t birth)
{
	struct dfs_envelope e = {
		.version = le16_of(ENVELOPE_VERSION),
		.len = le32_of((uint32_t)(value->len - ENVELOPE_LEN)),
		.birth = le64_of(birth),
	};

	ASSERT(value->len >= ENVELOPE_LEN && value->len <= JOURNAL_MAX_VALUE);
	memcpy(value->data, &e, sizeof(e));
	e.check = envelope_check(key, key_len, value->data, value->len);
	memcpy(value->data, &e, sizeof(e));
}

int envelope_open(const void *key, size_t key_len, const void *val, size_t val_len,
		  struct reader *ret_payload, uint64_t *ret_birth)
{
	struct dfs_envelope e;
	le64 check;

	if (val_len < sizeof(e))
		return DFS_ECORRUPT;
	memcpy(&e, val, sizeof(e));
	check = envelope_check(key, key_len, val, val_len);
	if (check.raw != e.check.raw)
		return DFS_ECHECKSUM;
	if (le16_get(e.version) != ENVELOPE_VERSION)
		return DFS_EVERSION;
	if (le16_get(e.flags) != 0 || le32_get(e.len) != val_len - sizeof(e))
		return DFS_ECORRUPT;
	*ret_payload = reader_of((const uint8_t *)val + sizeof(e), val_len - sizeof(e));
	if (ret_birth)
		*ret_birth = le64_get(e.birth);
	return 0;
}
