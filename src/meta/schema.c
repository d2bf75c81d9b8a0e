/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the index, writing side: keys, and records put or deleted within a transaction. The
 * reading side is schema_parse.c, the envelope schema_env.c. docs/FORMAT.md "Index tables" is the
 * description; the three agree or are wrong.
 *
 * Scratch memory belongs to the transaction, so that a put allocates nothing once that has grown.
 * No locks: a transaction belongs to one thread.
 */
#include "meta/internal.h"

/* ---- keys ---- */

static void key_begin(struct buf *k, enum table table)
{
	buf_reset(k);
	buf_put_u8(k, (uint8_t)table);
}

void key_inode(struct buf *k, ino_id ino)
{
	key_begin(k, TABLE_INODE);
	buf_put_be64(k, ino.v);
}

void key_inline(struct buf *k, ino_id ino)
{
	key_begin(k, TABLE_INLINE);
	buf_put_be64(k, ino.v);
}

uint64_t dentry_hash(ino_id dir, const char *name, size_t name_len)
{
	le64 salt = le64_of(dir.v);
	uint64_t h = hash64_two(&salt, sizeof(salt), name, name_len) & INT64_MAX;

	return h < DENTRY_COOKIE_MIN ? h + DENTRY_COOKIE_MIN : h;
}

void key_dentry_from(struct buf *k, ino_id dir, uint64_t cookie)
{
	key_begin(k, TABLE_DENTRY);
	buf_put_be64(k, dir.v);
	buf_put_be64(k, cookie);
}

void key_dentry(struct buf *k, ino_id dir, uint64_t cookie, const char *name, size_t name_len)
{
	ASSERT(name_len <= DFS_NAME_MAX);
	key_dentry_from(k, dir, cookie);
	buf_put(k, name, name_len);
}

void key_map(struct buf *k, ino_id ino, uint64_t file_offset)
{
	key_begin(k, TABLE_MAP);
	buf_put_be64(k, ino.v);
	buf_put_be64(k, file_offset);
}

void key_extent(struct buf *k, extent_id id)
{
	key_begin(k, TABLE_EXTENT);
	buf_put(k, id.u.b, sizeof(id.u.b));
}

static void key_address(struct buf *k, enum table table, disk_id disk, uint32_t segment,
			uint32_t offset)
{
	key_begin(k, table);
	buf_put_be32(k, disk.v);
	buf_put_be32(k, segment);
	buf_put_be32(k, offset);
}

void key_bydisk(struct buf *k, disk_id disk, uint32_t segment, uint32_t offset)
{
	key_address(k, TABLE_BYDISK, disk, segment, offset);
}

void key_freed(struct buf *k, disk_id disk, uint32_t segment, uint32_t offset)
{
	key_address(k, TABLE_FREED, disk, segment, offset);
}

void key_xattr(struct buf *k, ino_id ino, const char *name)
{
	ASSERT(strlen(name) <= DFS_NAME_MAX);
	key_begin(k, TABLE_XATTR);
	buf_put_be64(k, ino.v);
	buf_put(k, name, strlen(name));
}

void key_orphan(struct buf *k, ino_id ino)
{
	key_begin(k, TABLE_ORPHAN);
	buf_put_be64(k, ino.v);
}

static void key_slot(struct buf *k, enum table table, ino_id ino, uint64_t slot)
{
	key_begin(k, table);
	buf_put_be64(k, ino.v);
	buf_put_be64(k, slot);
}

void key_usage(struct buf *k, ino_id ino, uint64_t slot) { key_slot(k, TABLE_USAGE, ino, slot); }

void key_fold(struct buf *k, ino_id ino, uint64_t slot) { key_slot(k, TABLE_FOLD, ino, slot); }

void key_narrow(struct buf *k, ino_id ino, uint64_t slot) { key_slot(k, TABLE_NARROW, ino, slot); }

void key_prealloc(struct buf *k, ino_id ino, uint64_t slot)
{
	key_slot(k, TABLE_PREALLOC, ino, slot);
}

void key_disk(struct buf *k, disk_id disk)
{
	key_begin(k, TABLE_DISK);
	buf_put_be32(k, disk.v);
}

void key_numbers(struct buf *k, disk_id disk)
{
	key_begin(k, TABLE_NUMBERS);
	buf_put_be32(k, disk.v);
}

void key_job(struct buf *k, uint32_t id)
{
	key_begin(k, TABLE_JOB);
	buf_put_be32(k, id);
}

void key_health(struct buf *k, disk_id disk)
{
	key_begin(k, TABLE_HEALTH);
	buf_put_be32(k, disk.v);
}

void key_doubt(struct buf *k, disk_id disk, uint32_t segment)
{
	key_begin(k, TABLE_DOUBT);
	buf_put_be32(k, disk.v);
	buf_put_be32(k, segment);
}

void key_settings(struct buf *k, const char *name)
{
	key_begin(k, TABLE_SETTINGS);
	buf_put(k, name, strlen(name));
}

void key_audit(struct buf *k, uint64_t wall_ns, uint32_t nth)
{
	key_begin(k, TABLE_AUDIT);
	buf_put_be64(k, wall_ns);
	buf_put_be32(k, nth);
}

/* ---- puts: key into t->key, payload into t->value behind its envelope ---- */

static struct buf *value_begin(struct meta_txn *t)
{
	envelope_begin(&t->value);
	return &t->value;
}

static void value_put(struct meta_txn *t)
{
	envelope_seal(t->key.data, t->key.len, &t->value, meta_generation(t->m));
	meta_put(t, t->key.data, t->key.len, t->value.data, t->value.len);
}

static void put_time(struct buf *v, const struct dfs_time *time)
{
	ASSERT(time->nsec < 1000000000u);
	buf_put_le64(v, (uint64_t)time->sec);
	buf_put_le32(v, time->nsec);
}

static void put_string(struct buf *v, const char *s, size_t size)
{
	size_t len = strnlen(s, size);

	ASSERT(len < size);
	buf_put_le16(v, (uint16_t)len);
	buf_put(v, s, len);
}

void put_inode(struct meta_txn *t, ino_id ino, const struct rec_inode *r)
{
	struct buf *v = value_begin(t);

	ASSERT(ino.v != 0 && r->inline_len <= DFS_INLINE_MAX && r->size <= DFS_FILE_MAX);
	key_inode(&t->key, ino);
	buf_put_le32(v, r->mode);
	buf_put_le32(v, r->nlink);
	buf_put_le32(v, r->uid);
	buf_put_le32(v, r->gid);
	buf_put_le64(v, r->rdev);
	buf_put_le64(v, r->size);
	buf_put_le64(v, r->mapped_bytes);
	put_time(v, &r->atime);
	put_time(v, &r->mtime);
	put_time(v, &r->ctime);
	put_time(v, &r->btime);
	buf_put_le64(v, r->parent.v);
	buf_put_le64(v, r->generation);
	buf_put_le32(v, r->flags);
	buf_put_le32(v, r->inline_len);
	ASSERT(!(r->flags & INODE_PREALLOC) == !r->prealloc_bytes);
	if (r->flags & INODE_PREALLOC)
		buf_put_le64(v, r->prealloc_bytes);
	value_put(t);
}

void put_inline(struct meta_txn *t, ino_id ino, const void *data, size_t len)
{
	struct buf *v = value_begin(t);

	ASSERT(ino.v != 0 && len > 0 && len <= DFS_INLINE_MAX);
	key_inline(&t->key, ino);
	buf_put(v, data, len);
	value_put(t);
}

void put_dentry(struct meta_txn *t, ino_id dir, const struct rec_dentry *r)
{
	struct buf *v = value_begin(t);
	size_t len = strnlen(r->name, sizeof(r->name));

	ASSERT(len > 0 && len <= DFS_NAME_MAX && r->ino.v != 0);
	key_dentry(&t->key, dir, dentry_hash(dir, r->name, len), r->name, len);
	buf_put_le64(v, r->ino.v);
	buf_put_le32(v, r->mode);
	value_put(t);
}

void put_map(struct meta_txn *t, ino_id ino, const struct rec_map *r)
{
	struct buf *v = value_begin(t);

	ASSERT(r->len > 0 && r->file_offset <= DFS_FILE_MAX - r->len);
	key_map(&t->key, ino, r->file_offset);
	buf_put_le32(v, r->len);
	buf_put(v, r->extent.u.b, sizeof(r->extent.u.b));
	buf_put_le32(v, r->extent_offset);
	value_put(t);
}

void put_extent(struct meta_txn *t, const struct rec_extent *r)
{
	struct buf *v = value_begin(t);
	unsigned count = (unsigned)r->k + r->m;

	ASSERT(r->k >= 1 && count <= DFS_EXTENT_MAX_FRAGMENTS && r->refs > 0);
	key_extent(&t->key, r->id);
	buf_put_le64(v, r->ino.v);
	buf_put_le32(v, r->len);
	buf_put_u8(v, r->k);
	buf_put_u8(v, r->m);
	buf_put_u8(v, r->wanted_k);
	buf_put_u8(v, r->wanted_m);
	buf_put_le32(v, r->refs);
	buf_put_le32(v, r->fragment_len);
	buf_put_le32(v, r->header_len);
	buf_put_le64(v, r->generation);
	for (unsigned i = 0; i < count; i++) {
		const struct rec_fragment *f = &r->frags[i];

		buf_put_le32(v, f->disk.v);
		buf_put_le32(v, f->segment);
		buf_put_le32(v, f->offset);
		buf_put_le32(v, f->record_len);
		buf_put(v, f->header_hash.b, HASH_LEN);
	}
	value_put(t);
}

void put_bydisk(struct meta_txn *t, const struct rec_bydisk *r)
{
	struct buf *v = value_begin(t);

	key_bydisk(&t->key, r->disk, r->segment, r->offset);
	buf_put_le32(v, r->record_len);
	buf_put(v, r->extent.u.b, sizeof(r->extent.u.b));
	buf_put_u8(v, r->index);
	value_put(t);
}

void put_freed(struct meta_txn *t, const struct rec_freed *r)
{
	struct buf *v = value_begin(t);

	key_freed(&t->key, r->disk, r->segment, r->offset);
	buf_put_le32(v, r->record_len);
	value_put(t);
}

void put_orphan(struct meta_txn *t, const struct rec_orphan *r)
{
	struct buf *v = value_begin(t);

	key_orphan(&t->key, r->ino);
	buf_put_le32(v, (uint32_t)r->kind);
	buf_put_le64(v, r->from);
	value_put(t);
}

void put_usage(struct meta_txn *t, const struct rec_usage *r)
{
	struct buf *v = value_begin(t);

	key_usage(&t->key, r->ino, r->slot);
	buf_put_le64(v, r->stored_bytes);
	buf_put_le32(v, r->mapped_bytes);
	buf_put_le32(v, r->entries);
	value_put(t);
}

void put_fold(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	(void)value_begin(t);
	key_fold(&t->key, ino, slot);
	value_put(t);
}

void put_narrow(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	(void)value_begin(t);
	key_narrow(&t->key, ino, slot);
	value_put(t);
}

void put_numbers(struct meta_txn *t, disk_id disk, uint32_t next)
{
	struct buf *v = value_begin(t);

	key_numbers(&t->key, disk);
	buf_put_le32(v, next);
	value_put(t);
}

void put_job(struct meta_txn *t, const struct rec_job *r)
{
	struct buf *v = value_begin(t);

	key_job(&t->key, r->id);
	buf_put_u8(v, r->kind);
	buf_put_u8(v, r->state);
	buf_put_u8(v, r->pass);
	buf_put_le32(v, r->disk.v);
	buf_put_le32(v, r->segment);
	buf_put_le32(v, r->offset);
	buf_put_le64(v, r->created_ns);
	buf_put_le64(v, r->changed_ns);
	buf_put_le64(v, r->due_ns);
	buf_put_le64(v, r->total_bytes);
	buf_put_le64(v, r->made);
	buf_put_le64(v, r->stuck);
	if (r->kind == JOB_REBALANCE) {
		buf_put_le32(v, r->from.v);
		buf_put_le64(v, r->bytes_per_s);
		buf_put_le64(v, r->moved_bytes);
	}
	value_put(t);
}

void put_doubt(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t from)
{
	struct buf *v = value_begin(t);

	key_doubt(&t->key, disk, segment);
	buf_put_le32(v, from);
	value_put(t);
}

void put_prealloc(struct meta_txn *t, const struct rec_prealloc *r)
{
	struct buf *v = value_begin(t);

	ASSERT(r->count > 0 && r->count <= PREALLOC_RANGES_MAX);
	key_prealloc(&t->key, r->ino, r->slot);
	for (unsigned i = 0; i < r->count; i++) {
		buf_put_le32(v, r->ranges[i].start);
		buf_put_le32(v, r->ranges[i].end);
	}
	value_put(t);
}

void put_health(struct meta_txn *t, const struct rec_health *r)
{
	struct buf *v = value_begin(t);

	key_health(&t->key, r->disk);
	buf_put_u8(v, r->state);
	buf_put_u8(v, r->event);
	buf_put_u8(v, r->order);
	buf_put_u8(v, r->relapses);
	buf_put_le64(v, r->since_s);
	buf_put_le64(v, r->read_errors);
	buf_put_le64(v, r->write_errors);
	buf_put_le64(v, r->checksum_errors);
	put_string(v, r->text, sizeof(r->text));
	value_put(t);
}

void put_disk(struct meta_txn *t, const struct rec_disk *r)
{
	struct buf *v = value_begin(t);

	key_disk(&t->key, r->id);
	buf_put(v, r->uuid.b, sizeof(r->uuid.b));
	buf_put_le64(v, r->capacity_bytes);
	buf_put_u8(v, r->state);
	buf_put_le16(v, (uint16_t)r->heir.v);
	buf_put_le16(v, (uint16_t)(r->leaving | r->leaving_forced << 1 | r->hands_label << 2));
	buf_put_le64(v, r->added_epoch);
	put_string(v, r->label, sizeof(r->label));
	put_string(v, r->domain, sizeof(r->domain));
	put_string(v, r->path, sizeof(r->path));
	value_put(t);
}

void put_settings(struct meta_txn *t, const struct rec_settings *r)
{
	struct buf *v = value_begin(t);

	key_settings(&t->key, "pool");
	buf_put_u8(v, r->policy.large.k);
	buf_put_u8(v, r->policy.large.m);
	buf_put_u8(v, r->policy.copies);
	buf_put_u8(v, r->policy.metadata_copies);
	buf_put_u8(v, r->policy.verify_writes);
	buf_put_le64(v, SETTINGS_RESERVED);
	buf_put_le32(v, r->next_disk);
	value_put(t);
}

void put_background(struct meta_txn *t, const struct rec_background *r)
{
	struct buf *v = value_begin(t);

	key_settings(&t->key, "background");
	buf_put_le64(v, r->rebuild_after_s);
	buf_put_le64(v, r->bytes_per_s);
	value_put(t);
}

void put_search(struct meta_txn *t, const struct rec_search *r)
{
	struct buf *v = value_begin(t);

	key_settings(&t->key, "search");
	buf_put_le16(v, (uint16_t)r->count);
	for (unsigned i = 0; i < r->count; i++)
		put_string(v, r->dirs[i], sizeof(r->dirs[i]));
	value_put(t);
}

void put_xattr(struct meta_txn *t, ino_id ino, const char *name, const void *value, size_t len)
{
	struct buf *v = value_begin(t);

	ASSERT(*name && len <= DFS_XATTR_VALUE_MAX);
	key_xattr(&t->key, ino, name);
	if (len)
		buf_put(v, value, len);
	value_put(t);
}

void put_audit(struct meta_txn *t, uint64_t wall_ns, uint32_t nth, const char *json_text)
{
	struct buf *v = value_begin(t);

	key_audit(&t->key, wall_ns, nth);
	buf_put(v, json_text, strlen(json_text));
	value_put(t);
}

/* ---- deletes ---- */

static void del_key(struct meta_txn *t) { meta_del(t, t->key.data, t->key.len); }

void del_inode(struct meta_txn *t, ino_id ino)
{
	key_inode(&t->key, ino);
	del_key(t);
}

void del_inline(struct meta_txn *t, ino_id ino)
{
	key_inline(&t->key, ino);
	del_key(t);
}

void del_dentry(struct meta_txn *t, ino_id dir, const char *name)
{
	size_t len = strlen(name);

	key_dentry(&t->key, dir, dentry_hash(dir, name, len), name, len);
	del_key(t);
}

void del_map(struct meta_txn *t, ino_id ino, uint64_t file_offset)
{
	key_map(&t->key, ino, file_offset);
	del_key(t);
}

void del_extent(struct meta_txn *t, extent_id id)
{
	key_extent(&t->key, id);
	del_key(t);
}

void del_bydisk(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t offset)
{
	key_bydisk(&t->key, disk, segment, offset);
	del_key(t);
}

void del_freed(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t offset)
{
	key_freed(&t->key, disk, segment, offset);
	del_key(t);
}

void del_orphan(struct meta_txn *t, ino_id ino)
{
	key_orphan(&t->key, ino);
	del_key(t);
}

void del_usage(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	key_usage(&t->key, ino, slot);
	del_key(t);
}

void del_fold(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	key_fold(&t->key, ino, slot);
	del_key(t);
}

void del_narrow(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	key_narrow(&t->key, ino, slot);
	del_key(t);
}

void del_prealloc(struct meta_txn *t, ino_id ino, uint64_t slot)
{
	key_prealloc(&t->key, ino, slot);
	del_key(t);
}

void del_disk(struct meta_txn *t, disk_id id)
{
	key_disk(&t->key, id);
	del_key(t);
}

void del_health(struct meta_txn *t, disk_id id)
{
	key_health(&t->key, id);
	del_key(t);
}

void del_numbers(struct meta_txn *t, disk_id id)
{
	key_numbers(&t->key, id);
	del_key(t);
}

void del_job(struct meta_txn *t, uint32_t id)
{
	key_job(&t->key, id);
	del_key(t);
}

void del_doubt(struct meta_txn *t, disk_id disk, uint32_t segment)
{
	key_doubt(&t->key, disk, segment);
	del_key(t);
}

void del_xattr(struct meta_txn *t, ino_id ino, const char *name)
{
	key_xattr(&t->key, ino, name);
	del_key(t);
}
