/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the index on RocksDB: what has changed since the last flush (pending.h), over what RocksDB has. An iterator merges the
 * two as they were when it was made. Block checksums are verified on every read (P3).
 */
#include <stdlib.h>

#include "meta/index_rocks.h"

#define BASE PENDING_TREES /* RocksDB, after the trees */
#define NOWHERE (BASE + 1)

struct index_iter {
	struct index *x;
	rocksdb_iterator_t *base;
	rocksdb_readoptions_t *bounded; /* NULL: without bounds */
	uint8_t lower[INDEX_PREFIX_MAX], upper[INDEX_PREFIX_MAX];
	size_t lower_len, upper_len;	   /* 0: without */
	struct tree *trees[PENDING_TREES]; /* counted */
	struct tree_cursor over[PENDING_TREES];
	unsigned at;  /* whose entry is the current one: a tree, BASE or NOWHERE */
	bool is_back; /* the others are before the current one, not after it */
	int err;
};

bool rocks_may_have(void *ctx, const uint8_t *key, size_t key_len)
{
	struct index *x = ctx;
	rocksdb_pinnableslice_t *slice;
	char *msg = NULL;

	slice = rocksdb_get_pinned(x->db, x->cached_options, (const char *)key, key_len, &msg);
	if (msg) { /* not in memory, or worse: it may */
		rocksdb_free(msg);
		return true;
	}
	if (slice)
		rocksdb_pinnableslice_destroy(slice);
	return slice != NULL;
}

static int get_from_base(struct index *x, const void *key, size_t key_len, struct buf *out)
{
	rocksdb_pinnableslice_t *slice;
	const char *value;
	char *msg = NULL;
	size_t len = 0;

	slice = rocksdb_get_pinned(x->db, x->read_options, key, key_len, &msg);
	if (msg)
		return rocks_error(x, "read", msg);
	if (!slice)
		return DFS_ENOENT;
	value = rocksdb_pinnableslice_value(slice, &len);
	buf_put(out, value, len);
	rocksdb_pinnableslice_destroy(slice);
	return 0;
}

int rocks_get(struct index *x, const void *key, size_t key_len, struct buf *out)
{
	struct tree_entry *e = pending_find(&x->pending, key, key_len);
	int err = 0;

	buf_reset(out);
	if (!e)
		return get_from_base(x, key, key_len, out);
	if (e->value_len == TREE_DELETED)
		err = DFS_ENOENT;
	else
		buf_put(out, e->bytes + e->key_len, e->value_len);
	tree_entry_put(e);
	return err;
}

/* ---- iterators ---- */

static struct index_iter *iter_over(struct index *x, struct index_iter *it)
{
	ENV_LOCKED(&x->pending.lock); /* what is written to the base meanwhile is in a tree, too */

	it->x = x;
	it->at = NOWHERE;
	for (unsigned i = 0; i < PENDING_TREES; i++)
		it->trees[i] = tree_get(x->pending.trees[i]);
	it->base = rocksdb_create_iterator(x->db, it->bounded ? it->bounded : x->read_options);
	return it;
}

struct index_iter *rocks_iter_new(struct index *x)
{
	return iter_over(x, xcalloc(1, sizeof(struct index_iter)));
}

/*
 * Without bounds a seek walks over every deleted key up to the next living one, and with "rm -r" in the
 * order of a listing that is all that went before: quadratic.
 */
struct index_iter *rocks_iter_new_within(struct index *x, const void *prefix, size_t prefix_len)
{
	struct index_iter *it;
	size_t len = prefix_len;

	ASSERT(prefix_len <= INDEX_PREFIX_MAX);
	it = xcalloc(1, sizeof(*it));
	memcpy(it->lower, prefix, prefix_len);
	memcpy(it->upper, prefix, prefix_len);
	it->lower_len = prefix_len;
	it->bounded = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(it->bounded, 1);
	rocksdb_readoptions_set_iterate_lower_bound(it->bounded, (const char *)it->lower,
						    prefix_len);
	while (len > 0 && it->upper[len - 1] == 0xff)
		len--;
	it->upper_len = len;
	if (len > 0) {
		it->upper[len - 1]++;
		rocksdb_readoptions_set_iterate_upper_bound(it->bounded, (const char *)it->upper,
							    len);
	}
	return iter_over(x, it);
}

void rocks_iter_free(struct index_iter *it)
{
	rocksdb_iter_destroy(it->base);
	if (it->bounded)
		rocksdb_readoptions_destroy(it->bounded);
	for (unsigned i = 0; i < PENDING_TREES; i++) {
		tree_cursor_release(&it->over[i]);
		tree_put(it->trees[i]);
	}
	free(it);
}

static bool has_entry(const struct index_iter *it, unsigned source)
{
	return source == BASE ? rocksdb_iter_valid(it->base) != 0 : it->over[source].at != NULL;
}

static const uint8_t *key_of(const struct index_iter *it, unsigned source, size_t *ret_len)
{
	if (source == BASE)
		return (const uint8_t *)rocksdb_iter_key(it->base, ret_len);
	*ret_len = it->over[source].at->key_len;
	return it->over[source].at->bytes;
}

static int compare_keys(const struct index_iter *it, unsigned a, unsigned b)
{
	size_t a_len, b_len;
	const uint8_t *a_key = key_of(it, a, &a_len), *b_key = key_of(it, b, &b_len);

	return tree_compare(a_key, a_len, b_key, b_len);
}

/* RocksDB keeps to the bounds by itself. */
static bool is_beyond(const struct index_iter *it, const void *key, size_t key_len)
{
	return it->upper_len && tree_compare(key, key_len, it->upper, it->upper_len) >= 0;
}

static bool is_before(const struct index_iter *it, const void *key, size_t key_len)
{
	return tree_compare(key, key_len, it->lower, it->lower_len) < 0;
}

static void clip(const struct index_iter *it, struct tree_cursor *c)
{
	if (c->at && (is_beyond(it, c->at->bytes, c->at->key_len) ||
		      is_before(it, c->at->bytes, c->at->key_len)))
		c->at = NULL;
}

static void move(struct index_iter *it, unsigned source)
{
	if (source == BASE) {
		(it->is_back ? rocksdb_iter_prev : rocksdb_iter_next)(it->base);
		return;
	}
	(it->is_back ? tree_prev : tree_next)(&it->over[source]);
	clip(it, &it->over[source]);
}

/* The nearest of what they have; of one key what the newest says. */
static unsigned nearest(const struct index_iter *it)
{
	unsigned best = NOWHERE;

	for (unsigned s = 0; s <= BASE; s++) {
		int order;

		if (!has_entry(it, s))
			continue;
		order = best == NOWHERE ? -1 : compare_keys(it, s, best);
		if (best == NOWHERE || (it->is_back ? order > 0 : order < 0))
			best = s;
	}
	return best;
}

/* Away from the current key. */
static void leave(struct index_iter *it)
{
	for (unsigned s = BASE; s > it->at; s--) /* older ones, which it covers */
		if (has_entry(it, s) && compare_keys(it, s, it->at) == 0)
			move(it, s);
	move(it, it->at);
}

static bool is_deleted(const struct index_iter *it)
{
	return it->at < BASE && it->over[it->at].at->value_len == TREE_DELETED;
}

static bool base_failed(struct index_iter *it)
{
	char *msg = NULL;

	if (rocksdb_iter_valid(it->base))
		return false;
	rocksdb_iter_get_error(it->base, &msg);
	if (msg)
		it->err = rocks_error(it->x, "read", msg);
	return it->err != 0;
}

/* To what is there. Where RocksDB fails, nothing is: else what it has would seem not to be. */
static void settle(struct index_iter *it)
{
	for (;;) {
		it->at = base_failed(it) ? NOWHERE : nearest(it);
		if (it->at == NOWHERE || !is_deleted(it))
			return;
		leave(it);
	}
}

static void place_in_tree(struct index_iter *it, unsigned i, const void *key, size_t key_len)
{
	struct tree_cursor *c = &it->over[i];

	if (it->is_back && is_beyond(it, key, key_len)) {
		tree_seek_back(c, it->trees[i], it->upper, it->upper_len);
		if (c->at && is_beyond(it, c->at->bytes, c->at->key_len))
			tree_prev(c);
	} else if (it->is_back) {
		tree_seek_back(c, it->trees[i], key, key_len);
	} else if (is_before(it, key, key_len)) {
		tree_seek(c, it->trees[i], it->lower, it->lower_len);
	} else {
		tree_seek(c, it->trees[i], key, key_len);
	}
	clip(it, c);
}

/* All of them, to the key or the nearest beyond it. */
static void place(struct index_iter *it, const void *key, size_t key_len, bool back)
{
	it->err = 0;
	it->is_back = back;
	for (unsigned i = 0; i < PENDING_TREES; i++)
		place_in_tree(it, i, key, key_len);
	(back ? rocksdb_iter_seek_for_prev : rocksdb_iter_seek)(it->base, key, key_len);
}

void rocks_iter_seek(struct index_iter *it, const void *key, size_t key_len)
{
	place(it, key, key_len, false);
	settle(it);
}

void rocks_iter_seek_back(struct index_iter *it, const void *key, size_t key_len)
{
	place(it, key, key_len, true);
	settle(it);
}

bool rocks_iter_valid(struct index_iter *it) { return it->at != NOWHERE; }

static void step(struct index_iter *it, bool back)
{
	ASSERT(it->at != NOWHERE);
	if (it->is_back != back) { /* the others are on the other side */
		size_t len;
		const uint8_t *key = key_of(it, it->at, &len);
		BUF copy = {0};

		buf_put(&copy, key, len);
		place(it, copy.data, copy.len, back);
		it->at = base_failed(it) ? NOWHERE : nearest(it); /* the same one */
		if (it->at == NOWHERE)
			return;
	}
	leave(it);
	settle(it);
}

void rocks_iter_next(struct index_iter *it) { step(it, false); }

void rocks_iter_prev(struct index_iter *it) { step(it, true); }

const uint8_t *rocks_iter_key(struct index_iter *it, size_t *ret_len)
{
	return key_of(it, it->at, ret_len);
}

const uint8_t *rocks_iter_value(struct index_iter *it, size_t *ret_len)
{
	const struct tree_entry *e;

	if (it->at == BASE)
		return (const uint8_t *)rocksdb_iter_value(it->base, ret_len);
	e = it->over[it->at].at;
	*ret_len = tree_value_len(e);
	return e->bytes + e->key_len;
}

int rocks_iter_error(struct index_iter *it) { return it->err; }
