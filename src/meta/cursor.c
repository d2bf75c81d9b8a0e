/* SPDX-License-Identifier: Apache-2.0 */
/* Going through the records of a table: bounds, errors and parsing in one place. No locks. */
#include "meta/cursor.h"

void cursor_open(struct cursor *c, struct meta *m, const void *prefix, size_t prefix_len)
{
	ASSERT(prefix_len > 0 && prefix_len <= CURSOR_PREFIX_MAX);
	*c = (struct cursor){.it = meta_iter_new_within(m, prefix, prefix_len),
			     .prefix_len = prefix_len};
	memcpy(c->prefix, prefix, prefix_len);
}

void cursor_of_table(struct cursor *c, struct meta *m, enum table table)
{
	const uint8_t prefix = (uint8_t)table;

	cursor_open(c, m, &prefix, 1);
}

void cursor_of_disk(struct cursor *c, struct meta *m, enum table table, disk_id disk)
{
	BUF prefix = {0};

	buf_put_u8(&prefix, (uint8_t)table);
	buf_put_be32(&prefix, disk.v);
	cursor_open(c, m, prefix.data, prefix.len);
}

void cursor_of_inode(struct cursor *c, struct meta *m, enum table table, ino_id ino)
{
	BUF prefix = {0};

	buf_put_u8(&prefix, (uint8_t)table);
	buf_put_be64(&prefix, ino.v);
	cursor_open(c, m, prefix.data, prefix.len);
}

void cursor_seek(struct cursor *c, const void *key, size_t key_len)
{
	ASSERT(key_len >= c->prefix_len && memcmp(key, c->prefix, c->prefix_len) == 0);
	meta_iter_seek(c->it, key, key_len);
	c->at = CURSOR_PLACED;
}

bool cursor_next(struct cursor *c)
{
	if (c->at == CURSOR_NEW)
		meta_iter_seek(c->it, c->prefix, c->prefix_len);
	else if (c->at == CURSOR_ON)
		meta_iter_next(c->it);
	c->at = CURSOR_PLACED; /* stays where it ended */
	if (!meta_iter_valid(c->it))
		return false;
	c->key = meta_iter_key(c->it, &c->key_len);
	if (c->key_len < c->prefix_len || memcmp(c->key, c->prefix, c->prefix_len) != 0)
		return false;
	c->val = meta_iter_value(c->it, &c->val_len);
	c->at = CURSOR_ON;
	return true;
}

int cursor_error(const struct cursor *c) { return meta_iter_error(c->it); }

int cursor_close(struct cursor *c, int err)
{
	if (!err)
		err = cursor_error(c);
	meta_iter_free(c->it);
	*c = (struct cursor){0};
	return err;
}

int cursor_inode(const struct cursor *c, ino_id *ret_ino, struct rec_inode *ret)
{
	return parse_inode(c->key, c->key_len, c->val, c->val_len, ret_ino, ret);
}

int cursor_dentry(const struct cursor *c, struct rec_dentry *ret)
{
	return parse_dentry(c->key, c->key_len, c->val, c->val_len, NULL, ret);
}

int cursor_map(const struct cursor *c, struct rec_map *ret)
{
	return parse_map(c->key, c->key_len, c->val, c->val_len, NULL, ret);
}

int cursor_extent(const struct cursor *c, struct rec_extent *ret)
{
	return parse_extent(c->key, c->key_len, c->val, c->val_len, ret);
}

int cursor_bydisk(const struct cursor *c, struct rec_bydisk *ret)
{
	return parse_bydisk(c->key, c->key_len, c->val, c->val_len, ret);
}

int cursor_orphan(const struct cursor *c, struct rec_orphan *ret)
{
	return parse_orphan(c->key, c->key_len, c->val, c->val_len, ret);
}

int cursor_disk(const struct cursor *c, struct rec_disk *ret)
{
	return parse_disk(c->key, c->key_len, c->val, c->val_len, ret);
}

int cursor_job(const struct cursor *c, struct rec_job *ret)
{
	return parse_job(c->key, c->key_len, c->val, c->val_len, ret);
}

int cursor_doubt(const struct cursor *c, uint32_t *ret_segment, uint32_t *ret_from)
{
	disk_id disk;

	return parse_doubt(c->key, c->key_len, c->val, c->val_len, &disk, ret_segment, ret_from);
}

int cursor_fold(const struct cursor *c, ino_id *ret_ino, uint64_t *ret_slot)
{
	return parse_fold(c->key, c->key_len, c->val, c->val_len, ret_ino, ret_slot);
}

int cursor_narrow(const struct cursor *c, ino_id *ret_ino, uint64_t *ret_slot)
{
	return parse_narrow(c->key, c->key_len, c->val, c->val_len, ret_ino, ret_slot);
}

int cursor_xattr(const struct cursor *c, const char **ret_name, size_t *ret_name_len,
		 const uint8_t **ret_value, size_t *ret_value_len)
{
	return parse_xattr(c->key, c->key_len, c->val, c->val_len, NULL, ret_name, ret_name_len,
			   ret_value, ret_value_len);
}
