/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The persistent treap of tree.h. A node is freed with its last count, and what it counts with it. No locks.
 */
#include "meta/tree.h"

#include <stdlib.h>

#include "base/hash.h"

struct tree { /* a node; immutable once published */
	uint32_t refs;
	struct tree_entry *entry;  /* counted */
	struct tree *left, *right; /* counted */
};

int tree_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
	int c = memcmp(a, b, MIN(a_len, b_len));

	if (c != 0)
		return c;
	return a_len < b_len ? -1 : a_len > b_len;
}

static int entry_compare(const struct tree_entry *e, const void *key, size_t key_len)
{
	return tree_compare(e->bytes, e->key_len, key, key_len);
}

struct tree_entry *tree_entry_new(uint64_t salt, const uint8_t *key, size_t key_len,
				  const uint8_t *value, uint32_t value_len)
{
	size_t stored = value_len == TREE_DELETED ? 0 : value_len;
	struct tree_entry *e = xmalloc(sizeof(*e) + key_len + stored);

	e->refs = 1;
	e->key_len = (uint32_t)key_len;
	e->value_len = value_len;
	e->priority = hash64_two(&salt, sizeof(salt), key, key_len);
	memcpy(e->bytes, key, key_len);
	if (stored)
		memcpy(e->bytes + key_len, value, stored);
	return e;
}

struct tree_entry *tree_entry_get(struct tree_entry *e)
{
	__atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
	return e;
}

void tree_entry_put(struct tree_entry *e)
{
	if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(e);
}

struct tree *tree_get(struct tree *t)
{
	if (t)
		__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void tree_put(struct tree *t)
{
	while (t && __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		struct tree *right = t->right;

		tree_put(t->left);
		tree_entry_put(t->entry);
		free(t);
		t = right;
	}
}

/* Takes over the counts of left and right; e is borrowed. */
static struct tree *node_new(struct tree_entry *e, struct tree *left, struct tree *right)
{
	struct tree *n = xmalloc(sizeof(*n));

	*n = (struct tree){1, tree_entry_get(e), left, right};
	return n;
}

/* All keys of a are less than all keys of b. Borrows both, gives a counted tree. */
static struct tree *join(struct tree *a, struct tree *b)
{
	if (!a)
		return tree_get(b);
	if (!b)
		return tree_get(a);
	if (a->entry->priority >= b->entry->priority)
		return node_new(a->entry, tree_get(a->left), join(a->right, b));
	return node_new(b->entry, join(a, b->left), tree_get(b->right));
}

/* Into keys below and above key (an equal one is left out). Borrows n, gives counted trees. */
static void split(struct tree *n, const uint8_t *key, size_t key_len, struct tree **ret_low,
		  struct tree **ret_high)
{
	struct tree *part;
	int c;

	if (!n) {
		*ret_low = *ret_high = NULL;
		return;
	}
	c = entry_compare(n->entry, key, key_len);
	if (c == 0) {
		*ret_low = tree_get(n->left);
		*ret_high = tree_get(n->right);
	} else if (c < 0) {
		split(n->right, key, key_len, &part, ret_high);
		*ret_low = node_new(n->entry, tree_get(n->left), part);
	} else {
		split(n->left, key, key_len, ret_low, &part);
		*ret_high = node_new(n->entry, part, tree_get(n->right));
	}
}

/* Borrows both, gives a counted tree. */
static struct tree *inserted(struct tree *n, struct tree_entry *e)
{
	struct tree *low, *high;
	int c = n ? entry_compare(n->entry, e->bytes, e->key_len) : 0;

	if (!n)
		return node_new(e, NULL, NULL);
	if (c == 0)
		return node_new(e, tree_get(n->left), tree_get(n->right));
	if (e->priority > n->entry->priority) {
		split(n, e->bytes, e->key_len, &low, &high);
		return node_new(e, low, high);
	}
	if (c < 0)
		return node_new(n->entry, tree_get(n->left), inserted(n->right, e));
	return node_new(n->entry, inserted(n->left, e), tree_get(n->right));
}

static struct tree *removed(struct tree *n, const void *key, size_t key_len)
{
	int c;

	if (!n)
		return NULL;
	c = entry_compare(n->entry, key, key_len);
	if (c == 0)
		return join(n->left, n->right);
	if (c < 0)
		return node_new(n->entry, tree_get(n->left), removed(n->right, key, key_len));
	return node_new(n->entry, removed(n->left, key, key_len), tree_get(n->right));
}

struct tree *tree_insert(struct tree *t, struct tree_entry *e)
{
	struct tree *next = inserted(t, e);

	tree_put(t);
	return next;
}

struct tree *tree_remove(struct tree *t, const void *key, size_t key_len)
{
	struct tree *next;

	if (!tree_find(t, key, key_len))
		return t;
	next = removed(t, key, key_len);
	tree_put(t);
	return next;
}

struct tree_entry *tree_find(const struct tree *n, const void *key, size_t key_len)
{
	while (n) {
		int c = entry_compare(n->entry, key, key_len);

		if (c == 0)
			return n->entry;
		n = c < 0 ? n->right : n->left;
	}
	return NULL;
}

/* ---- cursors: path is the way from the root to the node of `at` ---- */

static void push(struct tree_cursor *c, const struct tree *n)
{
	if (c->depth == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->path = xrealloc(c->path, c->cap * sizeof(*c->path));
	}
	c->path[c->depth++] = n;
}

/* The way back to the node of that depth, 0 being none. */
static void cut_to(struct tree_cursor *c, unsigned depth)
{
	c->depth = depth;
	c->at = depth ? c->path[depth - 1]->entry : NULL;
}

static void descend(struct tree_cursor *c, const struct tree *n, const void *key, size_t key_len,
		    bool back)
{
	unsigned best = 0;

	c->depth = 0;
	while (n) {
		int order = entry_compare(n->entry, key, key_len);

		push(c, n);
		if (order == 0) {
			best = c->depth;
			break;
		}
		if (back ? order < 0 : order > 0)
			best = c->depth;
		n = order < 0 ? n->right : n->left;
	}
	cut_to(c, best);
}

void tree_seek(struct tree_cursor *c, const struct tree *t, const void *key, size_t key_len)
{
	descend(c, t, key, key_len, false);
}

void tree_seek_back(struct tree_cursor *c, const struct tree *t, const void *key, size_t key_len)
{
	descend(c, t, key, key_len, true);
}

static const struct tree *side(const struct tree *n, bool right)
{
	return right ? n->right : n->left;
}

/* To the nearest neighbour on that side. */
static void step(struct tree_cursor *c, bool right)
{
	const struct tree *n = side(c->path[c->depth - 1], right);

	if (n) {
		for (; n; n = side(n, !right))
			push(c, n);
	} else { /* up, until that was a step from the other side */
		do
			n = c->path[--c->depth];
		while (c->depth && side(c->path[c->depth - 1], right) == n);
	}
	cut_to(c, c->depth);
}

void tree_next(struct tree_cursor *c) { step(c, true); }

void tree_prev(struct tree_cursor *c) { step(c, false); }

void tree_cursor_release(struct tree_cursor *c)
{
	free(c->path);
	*c = (struct tree_cursor){0};
}
