/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a simulated disk holds: two maps of names (as seen, as durable) with the list of changes
 * between them, and nodes (files). A node's bytes are as seen, with an undo list of the changes that
 * are not durable yet: a sync drops the list, a power cut walks it back and keeps, drops or tears
 * each change.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "sim/sim_disk_internal.h"

struct rng sim_disk_rng;
struct sim_disk_stats sim_disk_stats;

static uint64_t undo_ids, undo_live;

/* ---- nodes ---- */

static void pages_reserve(struct node *n, uint64_t size)
{
	uint64_t pages = DIV_UP(size, PAGE_BYTES);

	if (pages > n->pages_cap) {
		uint64_t cap = MAX(pages, n->pages_cap * 2);

		n->pages = xrealloc(n->pages, cap);
		memset(n->pages + n->pages_cap, 0, cap - n->pages_cap);
		n->pages_cap = cap;
	}
}

static void node_reserve(struct node *n, uint64_t size)
{
	if (size > n->cap) {
		n->cap = MAX(size, n->cap * 2);
		n->data = xrealloc(n->data, n->cap);
	}
	pages_reserve(n, size);
}

void node_set_page(struct sim_disk *d, struct node *n, uint64_t page, bool used)
{
	if (n->pages[page] == used)
		return;
	n->pages[page] = used;
	n->pages_used += used ? 1 : -1ull;
	d->used_pages += used ? 1 : -1ull;
}

void node_use_pages(struct sim_disk *d, struct node *n, uint64_t off, uint64_t len)
{
	pages_reserve(n, off + len); /* what is allocated may lie beyond the size */
	for (uint64_t p = off / PAGE_BYTES; len && p <= (off + len - 1) / PAGE_BYTES; p++)
		node_set_page(d, n, p, true);
}

void node_trim(struct sim_disk *d, struct node *n, uint64_t size)
{
	for (uint64_t p = DIV_UP(size, PAGE_BYTES); p < n->pages_cap; p++)
		node_set_page(d, n, p, false);
}

void node_resize(struct sim_disk *d, struct node *n, uint64_t size)
{
	node_reserve(n, size);
	if (size > n->size)
		memset(n->data + n->size, 0, size - n->size);
	for (uint64_t p = DIV_UP(size, PAGE_BYTES); p < DIV_UP(n->size, PAGE_BYTES); p++)
		node_set_page(d, n, p, false);
	n->size = size;
}

void node_extend(struct node *n, uint64_t off, uint64_t len)
{
	if (off + len <= n->size)
		return;
	node_reserve(n, off + len);
	if (off > n->size)
		memset(n->data + n->size, 0, off - n->size);
	n->size = off + len;
}

void undo_push(struct node *n, uint64_t off, uint64_t len, uint64_t new_size)
{
	struct undo *u = xcalloc(1, sizeof(*u));

	u->off = off;
	u->len = len;
	u->old_size = n->size;
	u->new_size = new_size;
	u->id = ++undo_ids;
	undo_live++;
	if (off < n->size) {
		u->old_len = MIN(len, n->size - off);
		u->old = xmalloc(u->old_len);
		memcpy(u->old, n->data + off, u->old_len);
	}
	TAILQ_INSERT_TAIL(&n->undo, u, link);
}

uint64_t undo_last_id(void) { return undo_ids; }
uint64_t undo_count(void) { return undo_live; }

static void undo_free(struct node *n, struct undo *u)
{
	TAILQ_REMOVE(&n->undo, u, link);
	undo_live--;
	free(u->old);
	free(u->fresh);
	free(u);
}

/* Changes up to id are durable. */
void node_synced(struct node *n, uint64_t id)
{
	struct undo *u;

	while ((u = TAILQ_FIRST(&n->undo)) && u->id <= id)
		undo_free(n, u);
}

struct node *node_new(struct sim_disk *d)
{
	struct node *n = xcalloc(1, sizeof(*n));

	TAILQ_INIT(&n->undo);
	TAILQ_INSERT_TAIL(&d->nodes, n, link);
	return n;
}

void node_free(struct sim_disk *d, struct node *n)
{
	d->used_pages -= n->pages_used;
	while (!TAILQ_EMPTY(&n->undo))
		undo_free(n, TAILQ_FIRST(&n->undo));
	TAILQ_REMOVE(&d->nodes, n, link);
	free(n->data);
	free(n->pages);
	free(n);
}

/* Its space is free at once, as far as anybody is told (a power cut may bring the name back). */
void node_drop_space(struct sim_disk *d, struct node *n)
{
	for (uint64_t p = 0; p < n->pages_cap; p++)
		node_set_page(d, n, p, false);
}

/* ---- names ---- */

struct name *name_find(struct name_list *l, const char *path)
{
	struct name *n;

	TAILQ_FOREACH(n, l, link)
		if (!strcmp(n->path, path))
			return n;
	return NULL;
}

void name_put(struct name_list *l, const char *path, struct node *node)
{
	struct name *n = name_find(l, path);

	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->path = xstrdup(path);
		TAILQ_INSERT_TAIL(l, n, link);
	}
	n->node = node;
}

static void name_drop(struct name_list *l, const char *path)
{
	struct name *n = name_find(l, path);

	if (!n)
		return;
	TAILQ_REMOVE(l, n, link);
	free(n->path);
	free(n);
}

char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = xstrdup(path);

	dir[slash ? slash - path : 0] = '\0';
	return dir;
}

bool dir_exists(struct name_list *l, const char *dir)
{
	struct name *n;

	if (!*dir)
		return true;
	n = name_find(l, dir);
	return n && !n->node;
}

static void apply_change(struct name_list *l, const struct change *c)
{
	if (c->from)
		name_drop(l, c->from);
	if (c->to)
		name_put(l, c->to, c->node);
}

static void change_free(struct sim_disk *d, struct change *c)
{
	TAILQ_REMOVE(&d->changes, c, link);
	free(c->dir);
	free(c->from);
	free(c->to);
	free(c);
}

void name_change(struct sim_disk *d, const char *from, const char *to, struct node *node)
{
	struct change *c = xcalloc(1, sizeof(*c));
	struct name *old;

	c->dir = dir_of(to ? to : from);
	c->from = from ? xstrdup(from) : NULL;
	c->to = to ? xstrdup(to) : NULL;
	c->node = node;
	old = to ? name_find(&d->names, to) : NULL;
	if (old && old->node && old->node != node)
		node_drop_space(d, old->node);
	apply_change(&d->names, c);
	TAILQ_INSERT_TAIL(&d->changes, c, link);
}

/* The first count changes of names in dir become durable. */
void dir_synced(struct sim_disk *d, const char *dir, uint64_t count)
{
	struct change *c, *next;

	for (c = TAILQ_FIRST(&d->changes); c && count; c = next) {
		next = TAILQ_NEXT(c, link);
		if (strcmp(c->dir, dir))
			continue;
		apply_change(&d->durable, c);
		change_free(d, c);
		count--;
	}
}

/* ---- power ---- */

/* Puts one change back onto a node that has lost it: whole, in part, or not at all. */
static void redo(struct sim_disk *d, struct node *n, struct undo *u)
{
	uint64_t fate = rng_below(&sim_disk_rng, 4), sectors, from, to;
	bool cut = u->new_size < u->old_size;

	if (fate == 0 || (cut && fate != 1)) {
		PROBE("write-lost");
		sim_disk_stats.lost_writes++;
		return;
	}
	if (cut) {
		if (n->size > u->new_size)
			node_resize(d, n, u->new_size);
		return;
	}
	sectors = DIV_UP(u->off + u->len, SECTOR_BYTES) - u->off / SECTOR_BYTES;
	from = u->off;
	to = u->off + u->len;
	if (fate == 1 && sectors > 1) {
		uint64_t at = (u->off / SECTOR_BYTES + rng_between(&sim_disk_rng, 1, sectors - 1)) *
			      SECTOR_BYTES;

		PROBE("write-torn");
		sim_disk_stats.torn_writes++;
		if (rng_one_in(&sim_disk_rng, 2))
			to = at;
		else
			from = at;
	}
	if (to > n->size)
		node_resize(d, n, to);
	memcpy(n->data + from, u->fresh + (from - u->off), to - from);
	node_use_pages(d, n, from, to - from);
}

void node_settle(struct sim_disk *d, struct node *n)
{
	uint64_t keep = rng_below(&sim_disk_rng,
				  4); /* 0: everything is lost, 1: nothing, else: each for itself */
	struct undo *u;

	if (keep == 1)
		node_synced(n, UINT64_MAX);
	TAILQ_FOREACH_REVERSE(u, &n->undo, undo_list, link) {
		u->fresh = xmalloc(u->len);
		if (u->new_size >= u->off + u->len && n->size >= u->off + u->len)
			memcpy(u->fresh, n->data + u->off, u->len);
		else
			memset(u->fresh, 0, u->len);
		node_resize(d, n, u->old_size);
		if (u->old_len)
			memcpy(n->data + u->off, u->old, u->old_len);
	}
	TAILQ_FOREACH(u, &n->undo, link) {
		if (keep) {
			redo(d, n, u);
			continue;
		}
		PROBE("write-lost");
		sim_disk_stats.lost_writes++;
	}
	node_synced(n, UINT64_MAX);
}

static void names_settle(struct sim_disk *d)
{
	struct change *c;
	struct name *n, *next;

	while ((c = TAILQ_FIRST(&d->changes))) {
		char *dir = xstrdup(c->dir);
		uint64_t count = 0, keep = rng_below(&sim_disk_rng, 3);
		struct change *other;

		TAILQ_FOREACH(other, &d->changes, link)
			count += !strcmp(other->dir, dir);
		dir_synced(d, dir,
			   keep == 0   ? 0
			   : keep == 1 ? count
				       : rng_below(&sim_disk_rng, count + 1));
		while ((other = TAILQ_FIRST(&d->changes)) && !strcmp(other->dir, dir))
			change_free(d, other);
		for (c = other; c; c = other) {
			other = TAILQ_NEXT(c, link);
			if (!strcmp(c->dir, dir))
				change_free(d, c);
		}
		free(dir);
	}
	while (!TAILQ_EMPTY(&d->names))
		name_drop(&d->names, TAILQ_FIRST(&d->names)->path);
	for (n = TAILQ_FIRST(&d->durable); n; n = next) {
		char *dir = dir_of(n->path);

		next = TAILQ_NEXT(n, link);
		if (dir_exists(&d->durable, dir))
			name_put(&d->names, n->path, n->node);
		else
			name_drop(&d->durable, n->path);
		free(dir);
	}
}

void disk_settle(struct sim_disk *d)
{
	struct node *n, *next;
	struct name *name;

	names_settle(d);
	TAILQ_FOREACH(n, &d->nodes, link)
		n->named = false;
	TAILQ_FOREACH(name, &d->names, link)
		if (name->node)
			name->node->named = true;
	for (n = TAILQ_FIRST(&d->nodes); n; n = next) {
		next = TAILQ_NEXT(n, link);
		if (n->named)
			node_settle(d, n);
		else
			node_free(d, n);
	}
}

void names_clear(struct sim_disk *d)
{
	while (!TAILQ_EMPTY(&d->changes))
		change_free(d, TAILQ_FIRST(&d->changes));
	while (!TAILQ_EMPTY(&d->names))
		name_drop(&d->names, TAILQ_FIRST(&d->names)->path);
	while (!TAILQ_EMPTY(&d->durable))
		name_drop(&d->durable, TAILQ_FIRST(&d->durable)->path);
}
