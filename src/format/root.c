/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root record: bytes to structure and back. Keeps P8 (a root that is not whole is no root) and
 * P10. Pure functions without locks; knows nothing of devices.
 */
#include "format/root.h"

#include <stdlib.h>

#include "format/check.h"

enum {
	ROOT_FLAG_CLEAN = 1,
	ROOT_FLAG_FORCED = 2,
	ROOT_FLAGS = ROOT_FLAG_CLEAN | ROOT_FLAG_FORCED,
	EPOCH_FLAG_FORMED = 1,
	EPOCH_FLAG_FORCED = 2,
	EPOCH_FLAGS = EPOCH_FLAG_FORMED | EPOCH_FLAG_FORCED,
	DISK_FLAG_GIVEN_UP = 1,
	DISK_FLAG_APART = 2,
	DISK_FLAGS = DISK_FLAG_GIVEN_UP | DISK_FLAG_APART
};

struct dfs_root_member {
	le32 id;	  /* 0 */
	le32 pad0;	  /* 4: 0 */
	uint8_t uuid[16]; /* 8 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root_member) == 24, "member size");

struct dfs_root_epoch {
	le64 epoch;	/* 0 */
	le32 flags;	/* 8 */
	le32 pad0;	/* 12: 0 */
	uint8_t id[16]; /* 16 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root_epoch) == 32, "epoch size");

struct dfs_root_disk {
	le16 id;	  /* 0 */
	le16 flags;	  /* 2 */
	le32 votes;	  /* 4 */
	uint8_t uuid[16]; /* 8 */
	le64 left_epoch;  /* 24 */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root_disk) == 32, "disk size");

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
	le32 disk_count;				  /* 152 */
	le32 member_count;				  /* 156 */
	struct dfs_root_member members[ROOT_MAX_MEMBERS]; /* 160 */
	uint8_t epoch_id[16];				  /* 544 */
	le64 written_wall_ns;				  /* 560 */
	le32 history_count;				  /* 568 */
	le32 open_count;				  /* 572 */
	struct dfs_root_epoch history[ROOT_MAX_HISTORY];  /* 576 */
	struct dfs_root_disk disks[ROOT_MAX_DISKS];	  /* 4160 */
	uint8_t pad0[448];				  /* 20000: 0 */
	uint8_t hash[32];				  /* 20448: of all bytes before */
} __attribute__((packed));
_Static_assert(sizeof(struct dfs_root) == ROOT_SLOT_BYTES, "root size");
_Static_assert(offsetof(struct dfs_root, pool) == 16, "pool");
_Static_assert(offsetof(struct dfs_root, chain) == 64, "chain");
_Static_assert(offsetof(struct dfs_root, journal_first) == 128, "journal_first");
_Static_assert(offsetof(struct dfs_root, members) == 160, "members");
_Static_assert(offsetof(struct dfs_root, epoch_id) == 544, "epoch_id");
_Static_assert(offsetof(struct dfs_root, history) == 576, "history");
_Static_assert(offsetof(struct dfs_root, disks) == 4160, "disks");
_Static_assert(offsetof(struct dfs_root, hash) == 20448, "hash");

/* Numbers only grow, by one at a time: what is read must leave room for that. */
#define NUMBER_MAX_READ (1ull << 62)
#define NUMBER_MAX_WRITTEN ((uint64_t)INT64_MAX)

const struct root_disk *root_find_disk(const struct root *r, const struct uuid *uuid)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (uuid_eq(&r->disks[i].uuid, uuid))
			return &r->disks[i];
	return NULL;
}

/* Each is a disk of the table, and no two are the same. */
static bool members_valid(const struct root *r)
{
	if (r->member_count < 1 || r->member_count > ROOT_MAX_MEMBERS)
		return false;
	for (unsigned i = 0; i < r->member_count; i++) {
		const struct root_member *a = &r->members[i];
		const struct root_disk *row = root_find_disk(r, &a->uuid);

		if (!row || row->id.v != a->id.v)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (uuid_eq(&a->uuid, &r->members[j].uuid))
				return false;
	}
	return true;
}

static int by_uuid(const void *a, const void *b) { return memcmp(a, b, sizeof(struct uuid)); }

/* In order of id; no uuid twice; votes only in sets that are open; at least one vote in this epoch. */
static bool disks_valid(const struct root *r)
{
	struct uuid order[ROOT_MAX_DISKS];
	uint32_t open, votes = 0;

	if (r->disk_count < 1 || r->disk_count > ROOT_MAX_DISKS || r->open_count > ROOT_MAX_OPEN)
		return false;
	open = r->open_count == ROOT_MAX_OPEN ? UINT32_MAX : (2u << r->open_count) - 1;
	for (unsigned i = 0; i < r->disk_count; i++) {
		const struct root_disk *d = &r->disks[i];

		if (!disk_id_valid(d->id) || uuid_is_null(&d->uuid) || (d->votes & ~open) ||
		    (d->given_up && (d->votes & 1)) || d->left_epoch >= r->epoch ||
		    (d->left_epoch && (d->votes & 1)) || (d->apart && d->left_epoch == 0) ||
		    (i > 0 && d->id.v <= r->disks[i - 1].id.v))
			return false;
		votes |= d->votes;
		order[i] = d->uuid;
	}
	qsort(order, r->disk_count, sizeof(*order), by_uuid);
	for (unsigned i = 1; i < r->disk_count; i++)
		if (uuid_eq(&order[i - 1], &order[i]))
			return false;
	return votes & 1;
}

/* From the parent on, ever older. What is not formed has a parent. */
static bool history_valid(const struct root *r)
{
	uint64_t younger = r->epoch;

	if (r->history_count > ROOT_MAX_HISTORY || (r->open_count && !r->history_count))
		return false;
	for (unsigned i = 0; i < r->history_count; i++) {
		const struct root_epoch *e = &r->history[i];

		if (e->epoch == 0 || e->epoch >= younger || uuid_is_null(&e->id))
			return false;
		younger = e->epoch;
	}
	return true;
}

static bool root_valid(const struct root *r, uint64_t max)
{
	if (uuid_is_null(&r->pool) || r->generation == 0 || r->epoch == 0 ||
	    uuid_is_null(&r->epoch_id))
		return false;
	if (r->generation > max || r->epoch > max || r->checkpoint_id > max ||
	    r->checkpoint_seq > max || r->journal_first > max)
		return false;
	if (r->checkpoint_id == 0 && r->checkpoint_seq != 0)
		return false;
	return disks_valid(r) && members_valid(r) && history_valid(r);
}

static void lists_encode(const struct root *r, struct dfs_root *d)
{
	for (unsigned i = 0; i < r->member_count; i++) {
		d->members[i].id = le32_of(r->members[i].id.v);
		memcpy(d->members[i].uuid, r->members[i].uuid.b, sizeof(d->members[i].uuid));
	}
	for (unsigned i = 0; i < r->history_count; i++) {
		const struct root_epoch *e = &r->history[i];

		d->history[i].epoch = le64_of(e->epoch);
		d->history[i].flags = le32_of((e->formed ? EPOCH_FLAG_FORMED : 0u) |
					      (e->forced ? EPOCH_FLAG_FORCED : 0u));
		memcpy(d->history[i].id, e->id.b, sizeof(d->history[i].id));
	}
	for (unsigned i = 0; i < r->disk_count; i++) {
		d->disks[i].id = le16_of((uint16_t)r->disks[i].id.v);
		d->disks[i].flags =
			le16_of((uint16_t)((r->disks[i].given_up ? DISK_FLAG_GIVEN_UP : 0) |
					   (r->disks[i].apart ? DISK_FLAG_APART : 0)));
		d->disks[i].votes = le32_of(r->disks[i].votes);
		d->disks[i].left_epoch = le64_of(r->disks[i].left_epoch);
		memcpy(d->disks[i].uuid, r->disks[i].uuid.b, sizeof(d->disks[i].uuid));
	}
}

bool root_writable(const struct root *r) { return root_valid(r, NUMBER_MAX_READ - 16); }

void root_encode(const struct root *r, uint8_t out[ROOT_SLOT_BYTES])
{
	struct dfs_root d = {
		.magic = le64_of(ROOT_MAGIC),
		.version = le16_of(ROOT_VERSION),
		.flags = le16_of((uint16_t)((r->clean ? ROOT_FLAG_CLEAN : 0) |
					    (r->forced ? ROOT_FLAG_FORCED : 0))),
		.length = le32_of(ROOT_SLOT_BYTES),
		.generation = le64_of(r->generation),
		.epoch = le64_of(r->epoch),
		.checkpoint_id = le64_of(r->checkpoint_id),
		.checkpoint_seq = le64_of(r->checkpoint_seq),
		.journal_first = le64_of(r->journal_first),
		.feature_compat = le64_of(r->feature_compat),
		.feature_incompat = le64_of(r->feature_incompat),
		.disk_count = le32_of(r->disk_count),
		.member_count = le32_of(r->member_count),
		.written_wall_ns = le64_of(r->written_wall_ns),
		.history_count = le32_of(r->history_count),
		.open_count = le32_of(r->open_count),
	};
	struct hash hash;

	ASSERT(root_valid(r, NUMBER_MAX_WRITTEN));
	memcpy(d.pool, r->pool.b, sizeof(d.pool));
	memcpy(d.epoch_id, r->epoch_id.b, sizeof(d.epoch_id));
	memcpy(d.chain, r->chain.b, HASH_LEN);
	memcpy(d.manifest, r->manifest.b, HASH_LEN);
	lists_encode(r, &d);
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

static int history_parse(const struct dfs_root *d, struct root *r)
{
	r->history_count = le32_get(d->history_count);
	if (r->history_count > ROOT_MAX_HISTORY)
		return DFS_ECORRUPT;
	for (unsigned i = 0; i < r->history_count; i++) {
		const struct dfs_root_epoch *e = &d->history[i];
		uint32_t flags = le32_get(e->flags);

		if ((flags & ~(uint32_t)EPOCH_FLAGS) || le32_get(e->pad0))
			return DFS_ECORRUPT;
		r->history[i].epoch = le64_get(e->epoch);
		r->history[i].formed = flags & EPOCH_FLAG_FORMED;
		r->history[i].forced = flags & EPOCH_FLAG_FORCED;
		memcpy(r->history[i].id.b, e->id, sizeof(e->id));
	}
	if (!check_zero(&d->history[r->history_count],
			(ROOT_MAX_HISTORY - r->history_count) * sizeof(d->history[0])))
		return DFS_ECORRUPT;
	return 0;
}

static int disks_parse(const struct dfs_root *d, struct root *r)
{
	r->disk_count = le32_get(d->disk_count);
	if (r->disk_count > ROOT_MAX_DISKS)
		return DFS_ECORRUPT;
	for (unsigned i = 0; i < r->disk_count; i++) {
		const struct dfs_root_disk *row = &d->disks[i];
		uint16_t flags = le16_get(row->flags);

		if (flags & ~DISK_FLAGS)
			return DFS_ECORRUPT;
		r->disks[i].id.v = le16_get(row->id);
		r->disks[i].given_up = flags & DISK_FLAG_GIVEN_UP;
		r->disks[i].apart = flags & DISK_FLAG_APART;
		r->disks[i].votes = le32_get(row->votes);
		r->disks[i].left_epoch = le64_get(row->left_epoch);
		memcpy(r->disks[i].uuid.b, row->uuid, sizeof(row->uuid));
	}
	if (!check_zero(&d->disks[r->disk_count],
			(ROOT_MAX_DISKS - r->disk_count) * sizeof(d->disks[0])))
		return DFS_ECORRUPT;
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
		.written_wall_ns = le64_get(d.written_wall_ns),
		.open_count = le32_get(d.open_count),
		.clean = (le16_get(d.flags) & ROOT_FLAG_CLEAN) != 0,
		.forced = (le16_get(d.flags) & ROOT_FLAG_FORCED) != 0,
	};
	/* Before all else that this version defines: the bit may change what the rest means. */
	if (r.feature_incompat & ~ROOT_KNOWN_INCOMPAT)
		return DFS_EFEATURE;
	memcpy(r.pool.b, d.pool, sizeof(d.pool));
	memcpy(r.epoch_id.b, d.epoch_id, sizeof(d.epoch_id));
	memcpy(r.chain.b, d.chain, HASH_LEN);
	memcpy(r.manifest.b, d.manifest, HASH_LEN);
	if ((le16_get(d.flags) & ~ROOT_FLAGS) || le32_get(d.length) != ROOT_SLOT_BYTES ||
	    !check_zero(d.pad0, sizeof(d.pad0)))
		return DFS_ECORRUPT;
	if (members_parse(&d, &r) || history_parse(&d, &r) || disks_parse(&d, &r) ||
	    !root_valid(&r, NUMBER_MAX_READ))
		return DFS_ECORRUPT;
	*ret_root = r;
	return 0;
}
