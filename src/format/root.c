/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root record: bytes to structure and back. Keeps P8 (a root that is not whole is no root) and
 * P10. Pure functions without locks; knows nothing of devices.
 */
#include "format/root.h"

#include "format/check.h"

enum {
	ROOT_FLAG_CLEAN = 1
};

struct dfs_root_member {
	le32 id;	  /* 0 */
	le32 pad0;	  /* 4: 0 */
	uint8_t uuid[16]; /* 8 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root_member) == 24, "member size");

struct dfs_root {
	le64 magic;					  /* 0 */
	le16 version;					  /* 8 */
	le16 flags;					  /* 10 */
	le32 length;					  /* 12: ROOT_SLOT_BYTES */
	uint8_t pool[16];				  /* 16 */
	le64 generation;				  /* 32 */
	le64 epoch;					  /* 40 */
	le64 checkpoint_id;				  /* 48 */
	le64 checkpoint_seq;				  /* 56 */
	uint8_t chain[32];				  /* 64 */
	uint8_t manifest[32];				  /* 96 */
	le64 journal_first;				  /* 128 */
	le64 feature_compat;				  /* 136 */
	le64 feature_incompat;				  /* 144 */
	le32 disk_total;				  /* 152 */
	le32 member_count;				  /* 156 */
	struct dfs_root_member members[ROOT_MAX_MEMBERS]; /* 160 */
	uint8_t pad0[3520];				  /* 544: 0 */
	uint8_t hash[32];				  /* 4064: of all bytes before */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root) == ROOT_SLOT_BYTES, "root size");
_Static_assert(offsetof(struct dfs_root, pool) == 16, "pool");
_Static_assert(offsetof(struct dfs_root, chain) == 64, "chain");
_Static_assert(offsetof(struct dfs_root, journal_first) == 128, "journal_first");
_Static_assert(offsetof(struct dfs_root, members) == 160, "members");
_Static_assert(offsetof(struct dfs_root, hash) == 4064, "hash");

/* Numbers only grow, by one at a time: what is read must leave room for that. */
#define NUMBER_MAX_READ (1ull << 62)
#define NUMBER_MAX_WRITTEN ((uint64_t)INT64_MAX)

static bool root_valid(const struct root *r, uint64_t max)
{
	if (uuid_is_null(&r->pool) || r->generation == 0 || r->epoch == 0)
		return false;
	if (r->generation > max || r->epoch > max || r->checkpoint_id > max ||
	    r->checkpoint_seq > max || r->journal_first > max)
		return false;
	if (r->checkpoint_id == 0 && r->checkpoint_seq != 0)
		return false;
	if (r->member_count < 1 || r->member_count > ROOT_MAX_MEMBERS)
		return false;
	for (unsigned i = 0; i < r->member_count; i++) {
		const struct root_member *a = &r->members[i];

		if (!disk_id_valid(a->id) || uuid_is_null(&a->uuid))
			return false;
		for (unsigned j = 0; j < i; j++) {
			const struct root_member *b = &r->members[j];

			if (a->id.v == b->id.v || uuid_eq(&a->uuid, &b->uuid))
				return false;
		}
	}
	return true;
}

void root_encode(const struct root *r, uint8_t out[ROOT_SLOT_BYTES])
{
	struct dfs_root d = {
		.magic = le64_of(ROOT_MAGIC),
		.version = le16_of(ROOT_VERSION),
		.flags = le16_of(r->clean ? ROOT_FLAG_CLEAN : 0),
		.length = le32_of(ROOT_SLOT_BYTES),
		.generation = le64_of(r->generation),
		.epoch = le64_of(r->epoch),
		.checkpoint_id = le64_of(r->checkpoint_id),
		.checkpoint_seq = le64_of(r->checkpoint_seq),
		.journal_first = le64_of(r->journal_first),
		.feature_compat = le64_of(r->feature_compat),
		.feature_incompat = le64_of(r->feature_incompat),
		.disk_total = le32_of(r->disk_total),
		.member_count = le32_of(r->member_count),
	};
	struct hash hash;

	ASSERT(root_valid(r, NUMBER_MAX_WRITTEN));
	memcpy(d.pool, r->pool.b, sizeof(d.pool));
	memcpy(d.chain, r->chain.b, HASH_LEN);
	memcpy(d.manifest, r->manifest.b, HASH_LEN);
	for (unsigned i = 0; i < r->member_count; i++) {
		d.members[i].id = le32_of(r->members[i].id.v);
		memcpy(d.members[i].uuid, r->members[i].uuid.b, sizeof(d.members[i].uuid));
	}
	hash_bytes(&d, offsetof(struct dfs_root, hash), &hash);
	memcpy(d.hash, hash.b, HASH_LEN);
	memcpy(out, &d, sizeof(d));
}

static int members_parse(const struct dfs_root *d, struct root *r)
{
	r->member_count = le32_get(d->member_count);
	if (r->member_count > ROOT_MAX_MEMBERS)
		return DFS_ECORRUPT;
	for (unsigned i = 0; i < ROOT_MAX_MEMBERS; i++) {
		const struct dfs_root_member *m = &d->members[i];

		if (i >= r->member_count) {
			if (!check_zero(m, sizeof(*m)))
				return DFS_ECORRUPT;
			continue;
		}
		if (le32_get(m->pad0) != 0)
			return DFS_ECORRUPT;
		r->members[i].id.v = le32_get(m->id);
		memcpy(r->members[i].uuid.b, m->uuid, sizeof(m->uuid));
	}
	return 0;
}

int root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root)
{
	struct dfs_root d;
	struct root r;
	struct hash hash;

	memcpy(&d, in, sizeof(d));
	if (le64_get(d.magic) != ROOT_MAGIC)
		return DFS_ECORRUPT;
	hash_bytes(&d, offsetof(struct dfs_root, hash), &hash);
	if (memcmp(hash.b, d.hash, HASH_LEN) != 0)
		return DFS_ECHECKSUM;
	if (le16_get(d.version) != ROOT_VERSION)
		return DFS_EVERSION;
	r = (struct root){
		.generation = le64_get(d.generation),
		.epoch = le64_get(d.epoch),
		.checkpoint_id = le64_get(d.checkpoint_id),
		.checkpoint_seq = le64_get(d.checkpoint_seq),
		.journal_first = le64_get(d.journal_first),
		.feature_compat = le64_get(d.feature_compat),
		.feature_incompat = le64_get(d.feature_incompat),
		.disk_total = le32_get(d.disk_total),
		.clean = (le16_get(d.flags) & ROOT_FLAG_CLEAN) != 0,
	};
	/* Before all else that this version defines: the bit may change what the rest means. */
	if (r.feature_incompat & ~ROOT_KNOWN_INCOMPAT)
		return DFS_EFEATURE;
	memcpy(r.pool.b, d.pool, sizeof(d.pool));
	memcpy(r.chain.b, d.chain, HASH_LEN);
	memcpy(r.manifest.b, d.manifest, HASH_LEN);
	if ((le16_get(d.flags) & ~ROOT_FLAG_CLEAN) || le32_get(d.length) != ROOT_SLOT_BYTES ||
	    !check_zero(d.pad0, sizeof(d.pad0)))
		return DFS_ECORRUPT;
	if (members_parse(&d, &r) || !root_valid(&r, NUMBER_MAX_READ))
		return DFS_ECORRUPT;
	*ret_root = r;
	return 0;
}
