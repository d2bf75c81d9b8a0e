/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ordered map from keys to values in memory that never changes in place: each change gives a new tree that
 * shares what it can with the old one, so a snapshot is one counted pointer. A persistent treap (Seidel and
 * Aragon, "Randomized Search Trees", with path copying); a key's priority is its hash, so the same keys always
 * make the same tree, whatever the order in which they came. Where others choose the keys (names of attributes), a salt that they
 * don't know keeps them from choosing priorities that make a list of it.
 *
 * Trees and entries are counted, the counts are atomic, and nothing that they say ever changes: any number of
 * threads may read one. NULL is the empty tree. No locks.
 */
#ifndef DFS_META_TREE_H
#define DFS_META_TREE_H

#include "base/err.h"
#include "base/types.h"

#define TREE_DELETED UINT32_MAX /* in place of a value's length: a note that the key has none */

struct tree;
struct tree_entry {
	uint32_t refs;
	uint32_t key_len;
	uint32_t value_len; /* or TREE_DELETED */
	uint64_t priority;
	uint8_t bytes[]; /* key, value */
};

/* Less than, equal to or greater than 0, as memcmp; a key is greater than what it begins with. */
int tree_compare(const void *a, size_t a_len, const void *b, size_t b_len);

/* Counted; value_len may be TREE_DELETED. salt: the same for all of a tree. */
struct tree_entry *tree_entry_new(uint64_t salt, const uint8_t *key, size_t key_len,
				  const uint8_t *value, uint32_t value_len);
struct tree_entry *tree_entry_get(struct tree_entry *e);
void tree_entry_put(struct tree_entry *e); /* NULL: nothing */
/* How many bytes its value takes; a note of a deletion: 0. */
static inline uint32_t tree_value_len(const struct tree_entry *e)
{
	return e->value_len == TREE_DELETED ? 0 : e->value_len;
}

struct tree *tree_get(struct tree *t);
void tree_put(struct tree *t);
/* With e (borrowed) in place of what has its key, and without what has the key. Takes over the caller's count of t, gives a counted
 * tree. */
MUST_USE struct tree *tree_insert(struct tree *t, struct tree_entry *e);
MUST_USE struct tree *tree_remove(struct tree *t, const void *key, size_t key_len);
/* Borrowed from t; NULL: none. */
struct tree_entry *tree_find(const struct tree *t, const void *key, size_t key_len);

/* A place in a tree, which the caller keeps meanwhile. Zero-initialise; tree_cursor_release(). */
struct tree_cursor {
	struct tree_entry *at; /* borrowed; NULL: none */
	const struct tree **path;
	unsigned depth, cap;
};
/* To the first at or after, or the last at or before, the key. */
void tree_seek(struct tree_cursor *c, const struct tree *t, const void *key, size_t key_len);
void tree_seek_back(struct tree_cursor *c, const struct tree *t, const void *key, size_t key_len);
void tree_next(struct tree_cursor *c); /* at is not NULL */
void tree_prev(struct tree_cursor *c);
void tree_cursor_release(struct tree_cursor *c);

#endif
