/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache of directories' names. Once a directory has been asked for enough names to pay for it, all its
 * entries are read in one scan and kept, so that what is there, and what is not, is answered from
 * memory: a program that walks a tree asks for most names of each directory, one that fills it asks
 * twice for each name that is not there yet. Whole directories are dropped again, the one that was
 * used longest ago first, when their memory exceeds cfg.name_cache_bytes (P9).
 *
 * Invariant: what is kept of a directory equals what the index holds, but for changes that are not
 * acknowledged yet: every change of entries tells this cache after its commit and before the
 * directory's lock is released, and the scan is made under that lock.
 *
 * Owns fs.names.lock.
 */
#include "file/internal.h"

#include <stdlib.h>

#define SCAN_COST                                                                                  \
	16u /* entries that are scanned in the time of one look-up in the index, at least */
#define MISSES_MIN 4u
#define NAME_OVERHEAD 32u /* what malloc and the hash table take for each */

struct name {
	UT_hash_handle hh;
	ino_id ino;
	char text[];
};
struct names {
	TAILQ_ENTRY(names) lru;
	struct inode *dir;
	struct name *hash; /* by text */
	uint64_t bytes;
};

static uint64_t cost(const char *text)
{
	return sizeof(struct name) + strlen(text) + NAME_OVERHEAD;
}

static void release(struct names *n)
{
	struct name *e, *next;

	HASH_ITER(hh, n->hash, e, next) {
		HASH_DEL(n->hash, e);
		free(e);
	}
	free(n);
}

/* names_lock held */
static void detach(struct fs *fs, struct names *n)
{
	env_assert_held(&fs->names.lock);
	TAILQ_REMOVE(&fs->names.list, n, lru);
	fs->names.bytes -= n->bytes;
	n->dir->names = NULL;
	release(n);
}

static void trim(struct fs *fs)
{
	while (fs->names.bytes > fs->cfg.name_cache_bytes)
		detach(fs, TAILQ_FIRST(&fs->names.list));
}

static void add(struct names *n, const char *text, ino_id ino)
{
	size_t len = strlen(text);
	struct name *e = xmalloc(sizeof(*e) + len + 1);

	e->ino = ino;
	memcpy(e->text, text, len + 1);
	HASH_ADD_KEYPTR(hh, n->hash, e->text, len, e);
	n->bytes += cost(text);
}

static int scan(struct inode *dir, struct names *n)
{
	struct cursor c;
	int rc = 0;

	cursor_of_inode(&c, dir->fs->meta, TABLE_DENTRY, dir->ino);
	while (rc == 0 && cursor_next(&c)) {
		struct rec_dentry d;

		rc = cursor_dentry(&c, &d);
		if (rc == 0)
			add(n, d.name, d.ino);
	}
	return cursor_close(&c, rc);
}

/* Is a scan worth its time and its memory? dir's lock held. */
static bool is_worth_it(struct inode *dir, uint64_t misses)
{
	uint64_t entries = dir->size;

	env_assert_held(&dir->lock);
	return !dir->freed && misses >= entries / SCAN_COST &&
	       entries * (sizeof(struct name) + NAME_OVERHEAD) <= dir->fs->cfg.name_cache_bytes / 2;
}

/* A directory with a damaged entry is never kept: each look-up finds out for itself. */
static void load(struct inode *dir, uint64_t misses)
{
	struct fs *fs = dir->fs;
	struct names *n;

	ENV_LOCKED(&dir->lock);
	if (!is_worth_it(dir, misses))
		return;
	n = xcalloc(1, sizeof(*n));
	n->dir = dir;
	n->bytes = sizeof(*n);
	if (scan(dir, n)) {
		release(n);
		return;
	}
	env_mutex_lock(&fs->names.lock);
	if (dir->names) { /* somebody was faster */
		release(n);
	} else {
		dir->names = n;
		TAILQ_INSERT_TAIL(&fs->names.list, n, lru);
		fs->names.bytes += n->bytes;
		trim(fs);
	}
	env_mutex_unlock(&fs->names.lock);
}

void names_prepare(struct inode *dir)
{
	uint64_t misses;

	env_mutex_lock(&dir->fs->names.lock);
	misses = dir->names ? 0 : ++dir->name_misses;
	env_mutex_unlock(&dir->fs->names.lock);
	if (misses >= MISSES_MIN && (misses & (misses - 1)) == 0)
		load(dir, misses);
}

int names_find(struct inode *dir, const char *text, ino_id *ret_ino)
{
	struct fs *fs = dir->fs;
	struct name *e = NULL;
	struct rec_dentry d;
	struct names *n;
	int rc;

	env_mutex_lock(&fs->names.lock);
	n = dir->names;
	if (n) {
		HASH_FIND(hh, n->hash, text, strlen(text), e);
		if (e)
			*ret_ino = e->ino;
		TAILQ_REMOVE(&fs->names.list, n, lru);
		TAILQ_INSERT_TAIL(&fs->names.list, n, lru);
	}
	env_mutex_unlock(&fs->names.lock);
	if (n)
		return e ? 0 : DFS_ENOENT;
	rc = get_dentry(fs->meta, dir->ino, text, &d);
	if (rc == 0)
		*ret_ino = d.ino;
	return rc;
}

void names_set(struct inode *dir, const char *text, ino_id ino)
{
	struct fs *fs = dir->fs;
	struct names *n;
	struct name *e;

	ENV_LOCKED(&fs->names.lock);
	n = dir->names;
	if (!n)
		return;
	HASH_FIND(hh, n->hash, text, strlen(text), e);
	fs->names.bytes -= n->bytes;
	if (e && ino.v) {
		e->ino = ino;
	} else if (e) {
		HASH_DEL(n->hash, e);
		n->bytes -= cost(text);
		free(e);
	} else if (ino.v) {
		add(n, text, ino);
	}
	fs->names.bytes += n->bytes;
	trim(fs);
}

void names_drop(struct inode *dir)
{
	ENV_LOCKED(&dir->fs->names.lock);
	if (dir->names)
		detach(dir->fs, dir->names);
}
