/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing a directory: a range scan from any cookie, so a million entries cost a million steps and
 * what stays is listed exactly once (the cookie is the name's hash, and never changes).
 *
 * Should two names have equal hashes, all but the last of them carry the offset before their group:
 * who stops inside it sees it again from its start, and never misses one.
 */
#include "file/internal.h"

enum {
	OFFSET_DOT = 1,
	OFFSET_DOTDOT = 2
};

struct listing {
	struct fs *fs;
	struct inode *dir;
	bool want_attr;
	fs_dirent_fn fn;
	void *ctx;
};

static int emit_plain(struct listing *l, const char *name, ino_id ino, uint64_t next)
{
	struct fs_dirent e = {.name = name, .ino = ino, .mode = S_IFDIR, .next = next};

	return l->fn(l->ctx, &e);
}

static int emit(struct listing *l, const struct rec_dentry *d, uint64_t next)
{
	struct fs_dirent e = {.name = d->name, .ino = d->ino, .mode = d->mode, .next = next};
	struct fs_attr attr;
	struct inode *in = NULL;
	int rc;

	if (l->want_attr) {
		rc = fs_inode_get(l->fs, d->ino, &in);
		if (rc == DFS_ENOENT)
			return 0; /* removed since the scan began */
		if (rc == 0) {
			rc = fs_getattr(l->fs, in, &attr);
			e.inode = in;
			e.attr = rc == 0 ? &attr : NULL;
		} else {
			/* It can't be used, but it is there. */
			log_error("cannot load inode %llu, named '%s' in directory %llu: %s; it is "
				  "listed without attributes; run fsck",
				  (unsigned long long)d->ino.v, d->name,
				  (unsigned long long)l->dir->ino.v, dfs_err_text(rc));
		}
	}
	rc = l->fn(l->ctx, &e);
	inode_put(in, 1);
	return rc;
}

/* The entry under the iterator: 0, DFS_EEND beyond the directory, or what is wrong with it. */
static int entry_at(struct listing *l, struct meta_iter *it, struct rec_dentry *d)
{
	const uint8_t *key, *val;
	size_t key_len, val_len;
	BUF mine = {0};

	if (!meta_iter_valid(it))
		return DFS_EEND;
	key = meta_iter_key(it, &key_len);
	key_dentry_from(&mine, l->dir->ino, 0);
	if (key_len < 9 || memcmp(key, mine.data, 9) != 0)
		return DFS_EEND;
	val = meta_iter_value(it, &val_len);
	return parse_dentry(key, key_len, val, val_len, NULL, d);
}

static void log_bad_entry(struct listing *l, int err)
{
	inode_log(l->dir, "read an entry", err, "it is left out of the listing; run fsck");
}

/* Entries with cookies beyond offset. */
static int list_entries(struct listing *l, struct meta_iter *it, uint64_t offset)
{
	struct rec_dentry d, ahead;
	BUF from = {0};
	int rc, next_rc;

	key_dentry_from(&from, l->dir->ino, MAX(offset + 1, DENTRY_COOKIE_MIN));
	meta_iter_seek(it, from.data, from.len);
	rc = entry_at(l, it, &d);
	while (rc != DFS_EEND) {
		meta_iter_next(it);
		next_rc = entry_at(l, it, &ahead);
		if (rc) {
			log_bad_entry(l, rc);
		} else {
			bool more = next_rc == 0 && ahead.cookie == d.cookie;

			if (emit(l, &d, more ? d.cookie - 1 : d.cookie))
				return 0;
		}
		d = ahead;
		rc = next_rc;
	}
	return meta_iter_error(it);
}

int fs_readdir(struct fs *fs, struct inode *dir, uint64_t offset, bool want_attr, fs_dirent_fn fn,
	       void *ctx)
{
	struct listing l = {fs, dir, want_attr, fn, ctx};
	struct meta_iter *it;
	BUF prefix = {0};
	ino_id parent;
	bool gone;
	int rc;

	if (!is_dir(dir))
		return DFS_ENOTDIR;
	env_mutex_lock(&dir->lock);
	parent = dir->rec.parent;
	gone = dir->freed;
	env_mutex_unlock(&dir->lock);
	if (gone || offset >= (1ull << 63))
		return 0;
	if (offset < OFFSET_DOT && emit_plain(&l, ".", dir->ino, OFFSET_DOT))
		return 0;
	if (offset < OFFSET_DOTDOT && emit_plain(&l, "..", parent, OFFSET_DOTDOT))
		return 0;
	key_dentry_from(&prefix, dir->ino, 0);
	it = meta_iter_new_within(fs->meta, prefix.data, 1 + sizeof(dir->ino.v));
	rc = list_entries(&l, it, offset);
	meta_iter_free(it);
	return rc;
}
