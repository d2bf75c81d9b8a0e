/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounded cache of extents' records and verified headers (P9). It never decides what is true: a
 * cached address or hash that no longer fits fails verification, and the reader asks the index.
 * Lock: cache.lock, a leaf; never held across the index or a disk.
 */
#include <stdlib.h>

#include "base/metric.h"
#include "extent/internal.h"

void cache_init(struct extent_cache *c, uint64_t limit_bytes)
{
	env_mutex_init(&c->lock);
	c->buckets = xcalloc(CACHE_BUCKETS, sizeof(*c->buckets));
	TAILQ_INIT(&c->lru);
	c->bytes = 0;
	c->limit_bytes = limit_bytes;
}

static unsigned bucket_of(extent_id id)
{
	uint32_t h;

	memcpy(&h, id.u.b + 12, sizeof(h)); /* the random end of a UUIDv7 */
	return h % CACHE_BUCKETS;
}

static void entry_free(struct cached_extent *e)
{
	for (unsigned i = 0; i < DFS_EXTENT_MAX_FRAGMENTS; i++)
		free(e->blocks[i]);
	free(e);
}

static struct cached_extent *find(struct extent_cache *c, extent_id id)
{
	struct cached_extent *e = c->buckets[bucket_of(id)];

	while (e && !extent_id_eq(e->rec.id, id))
		e = e->hash_next;
	return e;
}

static void unlist(struct extent_cache *c, struct cached_extent *e)
{
	struct cached_extent **link = &c->buckets[bucket_of(e->rec.id)];

	while (*link != e)
		link = &(*link)->hash_next;
	*link = e->hash_next;
	TAILQ_REMOVE(&c->lru, e, lru);
	c->bytes -= e->bytes;
	e->listed = false;
	if (--e->refs == 0)
		entry_free(e);
}

static void shrink(struct extent_cache *c)
{
	while (c->bytes > c->limit_bytes) {
		struct cached_extent *e = TAILQ_LAST(&c->lru, extent_lru);

		if (!e || e == TAILQ_FIRST(&c->lru))
			break;
		unlist(c, e);
	}
}

void cache_release(struct extent_cache *c)
{
	while (!TAILQ_EMPTY(&c->lru))
		unlist(c, TAILQ_FIRST(&c->lru));
	free(c->buckets);
	env_mutex_release(&c->lock);
}

static struct cached_extent *insert(struct extent_cache *c, const struct rec_extent *rec)
{
	struct cached_extent *e = xcalloc(1, sizeof(*e));
	unsigned b = bucket_of(rec->id);

	e->rec = *rec;
	e->refs = 1;
	e->listed = true;
	e->bytes = sizeof(*e);
	e->hash_next = c->buckets[b];
	c->buckets[b] = e;
	TAILQ_INSERT_HEAD(&c->lru, e, lru);
	c->bytes += e->bytes;
	shrink(c);
	return e;
}

int cache_get(struct extent_store *s, extent_id id, struct cached_extent **ret)
{
	struct extent_cache *c = &s->cache;
	struct cached_extent *e;
	struct rec_extent rec;
	int err;

	env_mutex_lock(&c->lock);
	e = find(c, id);
	if (e) {
		e->refs++;
		TAILQ_REMOVE(&c->lru, e, lru);
		TAILQ_INSERT_HEAD(&c->lru, e, lru);
	}
	env_mutex_unlock(&c->lock);
	metric_add(e ? METRIC_CACHE_HITS : METRIC_CACHE_MISSES, 1);
	if (!e) {
		err = get_extent(s->cfg.meta, id, &rec);
		if (err)
			return err;
		env_mutex_lock(&c->lock);
		e = find(c, id);
		if (!e)
			e = insert(c, &rec);
		e->refs++;
		env_mutex_unlock(&c->lock);
	}
	*ret = e;
	return 0;
}

void cache_put(struct extent_store *s, struct cached_extent *e)
{
	ENV_LOCKED(&s->cache.lock);

	if (--e->refs == 0)
		entry_free(e);
}

const struct hash *cache_blocks(struct extent_store *s, struct cached_extent *e, unsigned i)
{
	ENV_LOCKED(&s->cache.lock);

	return e->blocks[i];
}

const struct hash *cache_set_blocks(struct extent_store *s, struct cached_extent *e, unsigned i,
				    struct hash *blocks)
{
	uint64_t bytes = DIV_UP(e->rec.fragment_len, RECORD_BLOCK_BYTES) * sizeof(struct hash);

	ENV_LOCKED(&s->cache.lock);
	if (e->blocks[i]) {
		free(blocks);
		return e->blocks[i];
	}
	e->blocks[i] = blocks;
	if (e->listed) {
		e->bytes += bytes;
		s->cache.bytes += bytes;
		shrink(&s->cache);
	}
	return blocks;
}

void cache_drop(struct extent_store *s, extent_id id)
{
	struct cached_extent *e;

	ENV_LOCKED(&s->cache.lock);
	e = find(&s->cache, id);
	if (e)
		unlist(&s->cache, e);
}
