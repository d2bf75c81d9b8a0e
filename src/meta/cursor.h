/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cursor: the records of the index whose keys begin with one prefix (a table; a table and a disk; a table and an inode), in the
 * order of their keys, as they were when it was opened.
 *
 *	cursor_of_disk(&c, m, TABLE_BYDISK, disk);
 *	while (!err && cursor_next(&c))
 *		err = cursor_bydisk(&c, &by);
 *	return cursor_close(&c, err);
 *
 * Whoever goes backwards, or leaps within, uses meta_iter (meta.h).
 */
#ifndef DFS_META_CURSOR_H
#define DFS_META_CURSOR_H

#include "meta/meta.h"
#include "meta/schema.h"

#define CURSOR_PREFIX_MAX 16u

struct cursor {
	/* the record that it stands on: borrowed until it moves; nothing before the first cursor_next() */
	const uint8_t *key, *val;
	size_t key_len, val_len;
	/* cursor.c's */
	struct meta_iter *it;
	uint8_t prefix[CURSOR_PREFIX_MAX];
	size_t prefix_len;
	enum {
		CURSOR_NEW,
		CURSOR_PLACED,
		CURSOR_ON
	} at; /* placed: the iterator is on the next one */
};

/* prefix_len: 1 to CURSOR_PREFIX_MAX. Each cursor that was opened is closed. */
void cursor_open(struct cursor *c, struct meta *m, const void *prefix, size_t prefix_len);
/* All records of a table. */
void cursor_of_table(struct cursor *c, struct meta *m, enum table table);
/* Those of a table whose keys begin with a disk. */
void cursor_of_disk(struct cursor *c, struct meta *m, enum table table, disk_id disk);
/* Those of a table whose keys begin with an inode. */
void cursor_of_inode(struct cursor *c, struct meta *m, enum table table, ino_id ino);
/* The next record will be the first whose key is not below this one; one with the cursor's prefix. */
void cursor_seek(struct cursor *c, const void *key, size_t key_len);
/* Goes to the next record, the first one at first. False: there is none, or the index can't be read on (cursor_error). */
MUST_USE bool cursor_next(struct cursor *c);
/* 0, or why the records ended early (DFS_EIO, DFS_ECHECKSUM). */
MUST_USE int cursor_error(const struct cursor *c);
/* Frees what it holds. Returns err; when that is 0, cursor_error(). */
int cursor_close(struct cursor *c, int err);

/* The record that the cursor stands on, parsed: as parse_NAME() of schema.h. */
MUST_USE int cursor_inode(const struct cursor *c, ino_id *ret_ino, struct rec_inode *ret);
MUST_USE int cursor_dentry(const struct cursor *c, struct rec_dentry *ret);
MUST_USE int cursor_map(const struct cursor *c, struct rec_map *ret);
MUST_USE int cursor_extent(const struct cursor *c, struct rec_extent *ret);
MUST_USE int cursor_bydisk(const struct cursor *c, struct rec_bydisk *ret);
MUST_USE int cursor_orphan(const struct cursor *c, struct rec_orphan *ret);
MUST_USE int cursor_disk(const struct cursor *c, struct rec_disk *ret);
MUST_USE int cursor_job(const struct cursor *c, struct rec_job *ret);
MUST_USE int cursor_doubt(const struct cursor *c, uint32_t *ret_segment, uint32_t *ret_from);
/* Of TABLE_FOLD and TABLE_NARROW. */
MUST_USE int cursor_fold(const struct cursor *c, ino_id *ret_ino, uint64_t *ret_slot);
MUST_USE int cursor_narrow(const struct cursor *c, ino_id *ret_ino, uint64_t *ret_slot);
/* ret_name and ret_value are borrowed until the cursor moves. */
MUST_USE int cursor_xattr(const struct cursor *c, const char **ret_name, size_t *ret_name_len,
			  const uint8_t **ret_value, size_t *ret_value_len);

#endif
