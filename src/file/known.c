/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel knows: for each inode number how many look-ups it has been answered and has not forgotten yet. A
 * table of 16 bytes an entry, in parts that grow and shrink each for itself, so that no step copies much and what is
 * forgotten is given back.
 *
 * Open addressing with linear probing; an entry's home is a monotonic function of its hash, and a removal moves those
 * behind it up, so there are no tombstones. Callers hold fs.table_lock.
 */
#include "file/internal.h"

#include <stdlib.h>

#define PART_MIN 8u
#define MAPPED_MIN KIB(64)

/* Fibonacci hashing: numbers that were given out one after the other spread over all parts. */
static uint64_t hash_of(ino_id ino)
{
	uint64_t h = ino.v * 0x9e3779b97f4a7c15ull;

	return (h ^ (h >> 32)) * 0xd6e8feb86659fd93ull;
}

static struct known_part *part_of(struct known *k, uint64_t hash)
{
	return &k->parts[hash % KNOWN_PARTS];
}

static uint32_t home_of(const struct known_part *p, uint64_t hash)
{
	return (uint32_t)(((hash >> 32) * p->cap) >> 32);
}

static uint32_t next_of(const struct known_part *p, uint32_t at)
{
	return at + 1 == p->cap ? 0 : at + 1;
}

/* Where the number is, or the free place where it would be. The part has a free place. */
static uint32_t find(const struct known_part *p, ino_id ino)
{
	uint32_t at = home_of(p, hash_of(ino));

	while (p->v[at].ino.v && p->v[at].ino.v != ino.v)
		at = next_of(p, at);
	return at;
}

/* What is large comes from the kernel and goes back to it at once: malloc would keep it. */
static struct known_entry *entries_new(uint32_t cap)
{
	size_t size = cap * sizeof(struct known_entry);
	struct known_entry *v = size < MAPPED_MIN ? xcalloc(1, size) : mem_map(size);

	ASSERT(v); /* as xcalloc: out of memory ends the process */
	return v;
}

static void entries_free(struct known_entry *v, uint32_t cap)
{
	size_t size = cap * sizeof(struct known_entry);

	if (size < MAPPED_MIN)
		free(v);
	else
		mem_unmap(v, size);
}

static void resize(struct known_part *p, uint32_t cap)
{
	struct known_part old = *p;

	p->cap = cap;
	p->v = entries_new(cap);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.v[i].ino.v)
			p->v[find(p, old.v[i].ino)] = old.v[i];
	entries_free(old.v, old.cap);
}

void known_add(struct known *k, ino_id ino)
{
	struct known_part *p = part_of(k, hash_of(ino));
	uint32_t at;

	if (p->count >= p->cap - p->cap / 8)
		resize(p, MAX(p->cap + p->cap / 2, PART_MIN));
	at = find(p, ino);
	if (!p->v[at].ino.v) {
		p->v[at].ino = ino;
		p->count++;
		k->count++;
	}
	p->v[at].lookups++;
}

/* Moves up what would not be found any more with the place free. */
static void vacate(struct known_part *p, uint32_t hole)
{
	uint32_t at = hole;

	for (;;) {
		uint32_t home, from_home;

		at = next_of(p, at);
		if (!p->v[at].ino.v)
			break;
		home = home_of(p, hash_of(p->v[at].ino));
		from_home = at >= home ? at - home : at + p->cap - home;
		if (from_home < (at >= hole ? at - hole : at + p->cap - hole))
			continue; /* its home is behind the hole */
		p->v[hole] = p->v[at];
		hole = at;
	}
	p->v[hole] = (struct known_entry){0};
}

bool known_drop(struct known *k, ino_id ino, uint64_t lookups)
{
	struct known_part *p = part_of(k, hash_of(ino));
	uint32_t at;

	if (!p->count)
		return false;
	at = find(p, ino);
	if (!p->v[at].ino.v)
		return false;
	if (p->v[at].lookups > lookups) {
		p->v[at].lookups -= lookups;
		return true;
	}
	vacate(p, at);
	p->count--;
	k->count--;
	if (p->cap > PART_MIN && p->count < p->cap / 4)
		resize(p, MAX(p->cap / 2, PART_MIN));
	return false;
}

bool known_has(struct known *k, ino_id ino)
{
	struct known_part *p = part_of(k, hash_of(ino));

	return p->count && p->v[find(p, ino)].ino.v;
}

void known_release(struct known *k)
{
	for (unsigned i = 0; i < KNOWN_PARTS; i++)
		entries_free(k->parts[i].v, k->parts[i].cap);
	*k = (struct known){0};
}
