/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The changes since the last flush (pending.h).
 *
 * A deletion leaves no note where the base surely has no such key, and none is on its way to it: that is
 * what keeps keys that come and go from piling up. Locks: as in pending.h.
 */
#include "meta/pending.h"

/* What an entry takes beside key and value, in a table. */
#define ENTRY_BYTES 16u

void pending_init(struct pending *p)
{
	*p = (struct pending){.salt = env_random_u64()};
	env_mutex_init(&p->changing);
	env_mutex_init(&p->lock);
}

void pending_release(struct pending *p)
{
	for (unsigned i = 0; i < PENDING_TREES; i++)
		tree_put(p->trees[i]);
	env_mutex_release(&p->lock);
	env_mutex_release(&p->changing);
}

static uint64_t entry_bytes(const struct tree_entry *e)
{
	return e ? ENTRY_BYTES + e->key_len + tree_value_len(e) : 0;
}

/* One operation on *tree; by how much it has grown. */
static int64_t apply_one(struct tree **tree, uint64_t salt, const struct index_op *op,
			 bool leaves_note)
{
	int64_t before = (int64_t)entry_bytes(tree_find(*tree, op->key, op->key_len)), after = 0;
	struct tree_entry *e;

	if (op->value || leaves_note) {
		e = tree_entry_new(salt, op->key, op->key_len, op->value,
				   op->value ? (uint32_t)op->value_len : TREE_DELETED);
		*tree = tree_insert(*tree, e);
		after = (int64_t)entry_bytes(e);
		tree_entry_put(e);
	} else {
		*tree = tree_remove(*tree, op->key, op->key_len);
	}
	return after - before;
}

void pending_apply(struct pending *p, const struct index_op *ops, size_t count,
		   pending_base_fn in_base, void *ctx)
{
	struct tree *tree, *frozen, *old;
	int64_t grown = 0;
	ENV_LOCKED(&p->changing);

	env_mutex_lock(&p->lock);
	tree = tree_get(p->trees[0]);
	frozen = tree_get(p->trees[1]);
	env_mutex_unlock(&p->lock);
	for (size_t i = 0; i < count; i++) {
		const struct index_op *op = &ops[i];
		bool leaves_note = !op->value && (tree_find(frozen, op->key, op->key_len) ||
						  in_base(ctx, op->key, op->key_len));

		grown += apply_one(&tree, p->salt, op, leaves_note);
	}
	env_mutex_lock(&p->lock);
	old = p->trees[0];
	p->trees[0] = tree;
	p->bytes[0] = (uint64_t)((int64_t)p->bytes[0] + grown);
	env_mutex_unlock(&p->lock);
	tree_put(old);
	tree_put(frozen);
}

struct tree_entry *pending_find(struct pending *p, const void *key, size_t key_len)
{
	ENV_LOCKED(&p->lock);
	for (unsigned i = 0; i < PENDING_TREES; i++) {
		struct tree_entry *e = tree_find(p->trees[i], key, key_len);

		if (e)
			return tree_entry_get(e);
	}
	return NULL;
}

struct tree *pending_freeze(struct pending *p)
{
	ENV_LOCKED(&p->changing);
	ENV_LOCKED(&p->lock);
	if (!p->trees[1]) {
		p->trees[1] = p->trees[0];
		p->bytes[1] = p->bytes[0];
		p->trees[0] = NULL;
		p->bytes[0] = 0;
	}
	return tree_get(p->trees[1]);
}

void pending_written(struct pending *p)
{
	struct tree *old;

	env_mutex_lock(&p->lock);
	old = p->trees[1];
	p->trees[1] = NULL;
	p->bytes[1] = 0;
	env_mutex_unlock(&p->lock);
	tree_put(old);
}

uint64_t pending_bytes(struct pending *p)
{
	ENV_LOCKED(&p->lock);
	return p->bytes[0] + p->bytes[1];
}
