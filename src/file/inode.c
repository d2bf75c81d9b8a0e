/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inodes in memory: the cache, references, handles, locking, attributes, numbers (docs/DESIGN.md "Inodes in memory",
 * N1..N5). An inode that nobody refers to stays on a bounded LRU list (P9), and is made again from the index
 * when it is asked for. One with unsealed data is referred to by its dirty list. Inline content is never kept here: the
 * index has it.
 *
 * Owns fs.table_lock and fs.numbers_lock. Must not know how data gets to disk.
 */
#include "base/metric.h"
#include "base/probe.h"
#include "base/words.h"
#include "file/internal.h"

#include <stdlib.h>

/* Reserved at a time; with half of them left it is time for more, so that no number of threads outruns it. */
#define INO_RESERVE 4096u

struct dfs_time time_now(void)
{
	int64_t ns = (int64_t)env_wall_ns(); /* a clock may say a time before 1970 */
	int64_t rest = ns % 1000000000;

	if (rest < 0)
		rest += 1000000000;
	return (struct dfs_time){(ns - rest) / 1000000000, (uint32_t)rest};
}

static struct inode *inode_alloc(struct fs *fs, ino_id ino)
{
	struct inode *in = xcalloc(1, sizeof(*in));

	env_mutex_init(&in->lock);
	env_cond_init(&in->changed);
	in->fs = fs;
	in->ino = ino;
	in->refs = 1;
	TAILQ_INIT(&in->fifo);
	return in;
}

static void inode_free(struct inode *in)
{
	struct seal_batch *b;

	while ((b = TAILQ_FIRST(&in->fifo))) { /* only when the filesystem is given up */
		TAILQ_REMOVE(&in->fifo, b, fifo);
		if (b->state == BATCH_WRITTEN)
			batch_settle(b);
		batch_free(in->fs, b);
	}
	while (in->slots.count) {
		slot_free(in->fs, in->slots.v[in->slots.count - 1]);
		slot_erase(&in->slots, in->slots.count - 1);
	}
	free(in->slots.v);
	names_drop(in);
	env_cond_release(&in->changed);
	env_mutex_release(&in->lock);
	free(in);
}

/* table_lock held */
static void lru_remove(struct inode *in)
{
	env_assert_held(&in->fs->table_lock);
	if (!in->on_lru)
		return;
	TAILQ_REMOVE(&in->fs->lru, in, lru);
	in->fs->lru_count--;
	in->on_lru = false;
}

/* table_lock held. Must what the kernel knows of it stay here, for nothing else has it (N3)? */
static bool is_known_yet(const struct inode *in)
{
	return in->gone && known_has(&in->fs->known, in->ino);
}

/* table_lock held: takes it out of the table if nobody needs it; the caller then frees it */
static bool table_remove_unused(struct inode *in)
{
	env_assert_held(&in->fs->table_lock);
	if (in->refs || in->handles || is_known_yet(in))
		return false;
	lru_remove(in);
	HASH_DEL(in->fs->inodes, in);
	return true;
}

void inode_ref(struct inode *in)
{
	ENV_LOCKED(&in->fs->table_lock);
	in->refs++;
}

/* table_lock held. What is freed afterwards, or NULL. */
static struct inode *unref(struct inode *in, uint64_t n)
{
	struct fs *fs = in->fs;
	struct inode *oldest;

	env_assert_held(&in->fs->table_lock);
	ASSERT(in->refs >= n);
	in->refs -= n;
	if (in->refs || in->handles)
		return NULL;
	if (in->gone || __atomic_load_n(&in->state, __ATOMIC_ACQUIRE) != INODE_READY)
		return table_remove_unused(in) ? in : NULL;
	if (!in->on_lru) {
		TAILQ_INSERT_TAIL(&fs->lru, in, lru);
		in->on_lru = true;
		fs->lru_count++;
	}
	if (fs->lru_count <= fs->cfg.inode_cache_count)
		return NULL;
	oldest = TAILQ_FIRST(&fs->lru);
	return table_remove_unused(oldest) ? oldest : NULL;
}

void inode_put(struct inode *in, uint64_t n)
{
	struct inode *unused;

	if (!in || !n)
		return;
	env_mutex_lock(&in->fs->table_lock);
	unused = unref(in, n);
	env_mutex_unlock(&in->fs->table_lock);
	if (unused)
		inode_free(unused);
}

void fs_forget(struct fs *fs, struct inode *in, uint64_t n)
{
	(void)fs;
	inode_put(in, n);
}

void fs_kernel_knows(struct fs *fs, struct inode *in)
{
	ENV_LOCKED(&fs->table_lock);
	known_add(&fs->known, in->ino);
}

void fs_kernel_forgot(struct fs *fs, ino_id ino, uint64_t lookups)
{
	struct inode *in, *unused = NULL;

	env_mutex_lock(&fs->table_lock);
	if (!known_drop(&fs->known, ino, lookups)) {
		HASH_FIND(hh, fs->inodes, &ino.v, sizeof(ino.v), in);
		if (in && in->gone && table_remove_unused(in)) {
			PROBE("gone-inode-forgotten");
			unused = in;
		}
	}
	env_mutex_unlock(&fs->table_lock);
	if (unused)
		inode_free(unused);
}

void inode_gone(struct inode *in)
{
	ENV_LOCKED(&in->fs->table_lock);
	ASSERT(in->refs);
	in->gone = true;
}

ino_id fs_inode_ino(struct inode *in) { return in->ino; }

int fs_handle_get(struct inode *in)
{
	env_mutex_lock(&in->fs->table_lock);
	in->handles++;
	lru_remove(in);
	env_mutex_unlock(&in->fs->table_lock);
	/* Who frees it has looked at the handles under this lock, and keeps it until it is freed. */
	ENV_LOCKED(&in->lock);
	return in->freed ? DFS_ENOENT : 0;
}

void fs_handle_put(struct fs *fs, struct inode *in)
{
	bool last;

	env_mutex_lock(&fs->table_lock);
	ASSERT(in->handles > 0);
	last = --in->handles == 0;
	in->refs++;
	env_mutex_unlock(&fs->table_lock);
	if (last && is_reg(in))
		orphan_last_close(fs, in);
	inode_put(in, 1);
}

unsigned inode_handles(struct inode *in)
{
	ENV_LOCKED(&in->fs->table_lock);
	return in->handles;
}

/* The cached inode with one more reference, or NULL. */
static struct inode *table_get(struct fs *fs, ino_id ino)
{
	struct inode *in;

	ENV_LOCKED(&fs->table_lock);
	HASH_FIND(hh, fs->inodes, &ino.v, sizeof(ino.v), in);
	if (in) {
		in->refs++;
		lru_remove(in);
	}
	return in;
}

/* Adds a locked inode, unless there is one already: then that, with a reference. */
static struct inode *table_add(struct fs *fs, struct inode *in)
{
	struct inode *there;

	ENV_LOCKED(&fs->table_lock);
	HASH_FIND(hh, fs->inodes, &in->ino.v, sizeof(in->ino.v), there);
	if (there) {
		there->refs++;
		lru_remove(there);
		return there;
	}
	HASH_ADD(hh, fs->inodes, ino.v, sizeof(in->ino.v), in);
	return in;
}

/* lock held, no longer loading */
static void loaded(struct inode *in, int err)
{
	env_assert_held(&in->lock);
	in->load_err = err;
	__atomic_store_n(&in->state, err ? INODE_BAD : INODE_READY, __ATOMIC_RELEASE);
}

/* What the record's own checks can't know: only files and symlinks have content, and say so (P10). */
static int check_rec(ino_id ino, const struct rec_inode *r)
{
	bool inlined = r->flags & INODE_INLINE;

	if ((inlined ? S_ISREG(r->mode) || S_ISLNK(r->mode) : r->inline_len == 0) &&
	    r->inline_len <= r->size)
		return 0;
	log_error("cannot use inode %llu: by its record %u %s of content %s inline, which with "
		  "mode %o, size %llu and flags %u can't be; nothing was changed; run fsck",
		  (unsigned long long)ino.v, r->inline_len, plural(r->inline_len, "byte", "bytes"),
		  plural(r->inline_len, "is", "are"), r->mode, (unsigned long long)r->size,
		  r->flags);
	return DFS_ECORRUPT;
}

/* The inode is in the table and locked: others who find it wait on its lock until it is loaded. */
static int load(struct inode *in)
{
	struct rec_inode rec;
	int rc = get_inode(in->fs->meta, in->ino, &rec);

	if (rc == 0)
		rc = check_rec(in->ino, &rec);
	if (rc == 0) {
		in->rec = rec;
		in->type = rec.mode & S_IFMT;
		in->size = rec.size;
		in->beyond_end = rec.flags & INODE_BEYOND ? DFS_FILE_MAX : 0;
		/* Its last commit is unknown: as late as it can have been. */
		in->last_seq = meta_last_seq(in->fs->meta);
		if (!rec.nlink)
			inode_gone(in);
	}
	loaded(in, rc);
	return rc;
}

static int wait_loaded(struct inode *in)
{
	int rc;

	if (__atomic_load_n(&in->state, __ATOMIC_ACQUIRE) == INODE_READY)
		return 0;
	env_mutex_lock(&in->lock);
	rc = in->load_err;
	env_mutex_unlock(&in->lock);
	return rc;
}

int fs_inode_get(struct fs *fs, ino_id ino, struct inode **ret_inode)
{
	struct inode *in = table_get(fs, ino);
	int rc;

	metric_add(in ? METRIC_INODE_HITS : METRIC_INODE_MISSES, 1);
	if (!in) {
		struct inode *mine = inode_alloc(fs, ino);

		env_mutex_lock(&mine->lock);
		in = table_add(fs, mine);
		if (in == mine) {
			rc = load(in);
			env_mutex_unlock(&in->lock);
			goto out;
		}
		env_mutex_unlock(&mine->lock);
		inode_free(mine);
	}
	rc = wait_loaded(in);
out:
	if (rc)
		inode_put(in, 1);
	else
		*ret_inode = in;
	return rc;
}

/* By how much the mark is short of what the next creations may need; 0: it is not. */
static uint64_t numbers_short(struct fs *fs, uint64_t *ret_next)
{
	ENV_LOCKED(&fs->table_lock);
	*ret_next = fs->next_ino;
	return fs->ino_mark < fs->next_ino + INO_RESERVE / 2
		       ? fs->next_ino + INO_RESERVE - fs->ino_mark
		       : 0;
}

int inode_numbers_ensure(struct fs *fs)
{
	struct meta_txn *t;
	uint64_t next, lacking, seq;
	int rc;

	if (!numbers_short(fs, &next))
		return 0;
	ENV_LOCKED(&fs->numbers_lock);
	lacking = numbers_short(fs, &next);
	if (!lacking) /* somebody was faster */
		return 0;
	t = meta_begin(fs->meta);
	meta_add(t, META_COUNT_INODE_NUMBERS, (int64_t)lacking);
	rc = meta_commit(t, &seq);
	if (rc == 0) {
		env_mutex_lock(&fs->table_lock);
		fs->ino_mark += lacking;
		env_mutex_unlock(&fs->table_lock);
	}
	return rc;
}

struct inode *inode_new(struct fs *fs, const struct rec_inode *rec)
{
	struct inode *in, *there;
	ino_id ino;

	for (;;) {
		env_mutex_lock(&fs->table_lock);
		ino.v = fs->next_ino++;
		ASSERT(ino.v < fs->ino_mark);
		env_mutex_unlock(&fs->table_lock);
		in = inode_alloc(fs, ino);
		in->rec = *rec;
		in->type = rec->mode & S_IFMT;
		in->size = rec->size;
		env_mutex_lock(&in->lock);
		there = table_add(fs, in);
		if (there == in)
			return in;
		/* Somebody asks for a number that was never given out: pass over it. */
		env_mutex_unlock(&in->lock);
		inode_free(in);
		inode_put(there, 1);
	}
}

void inode_born(struct inode *in, int err) { loaded(in, err); }

void inode_attr(struct inode *in, struct fs_attr *a)
{
	const struct rec_inode *r = &in->rec;
	/* Unsealed bytes count, or programs would take a new file for one big hole. */
	uint64_t bytes = MIN(r->mapped_bytes + in->unsealed_bytes, ALIGN_UP(in->size, 512));

	/* Of what is promised some may be unsealed: it counts once. */
	bytes = MAX(bytes, r->mapped_bytes + r->prealloc_bytes);

	*a = (struct fs_attr){.ino = in->ino,
			      .mode = r->mode,
			      .nlink = r->nlink,
			      .uid = r->uid,
			      .gid = r->gid,
			      .rdev = r->rdev,
			      .size = in->size,
			      .blocks_512 = is_dir(in) ? 0 : DIV_UP(bytes, 512),
			      .generation = r->generation,
			      .atime = r->atime,
			      .mtime = r->mtime,
			      .ctime = r->ctime,
			      .btime = r->btime};
}

int fs_getattr(struct fs *fs, struct inode *in, struct fs_attr *ret_attr)
{
	(void)fs;
	ENV_LOCKED(&in->lock);
	inode_attr(in, ret_attr);
	return 0;
}

void inode_took(struct inode *in, const struct rec_inode *r, uint64_t seq)
{
	in->rec = *r;
	in->last_seq = seq;
}

int inode_commit(struct inode *in, struct meta_txn *t, const struct rec_inode *r)
{
	uint64_t seq;
	int rc;

	put_inode(t, in->ino, r);
	if (r->mapped_bytes != in->rec.mapped_bytes)
		meta_add(t, META_COUNT_LOGICAL_BYTES,
			 (int64_t)(r->mapped_bytes - in->rec.mapped_bytes));
	if (r->prealloc_bytes != in->rec.prealloc_bytes)
		meta_add(t, META_COUNT_PREALLOC_BYTES,
			 (int64_t)(r->prealloc_bytes - in->rec.prealloc_bytes));
	rc = meta_commit(t, &seq);
	if (rc == 0)
		inode_took(in, r, seq);
	return rc;
}

static void apply_attr(struct rec_inode *r, const struct fs_attr *a, unsigned set)
{
	struct dfs_time now = time_now();

	if (set & FS_SET_MODE)
		r->mode = (r->mode & S_IFMT) | (a->mode & 07777);
	if (set & FS_SET_UID)
		r->uid = a->uid;
	if (set & FS_SET_GID)
		r->gid = a->gid;
	if (set & FS_SET_ATIME)
		r->atime = a->atime;
	if (set & FS_SET_ATIME_NOW)
		r->atime = now;
	if (set & FS_SET_SIZE)
		r->mtime = now;
	if (set & FS_SET_MTIME)
		r->mtime = a->mtime;
	if (set & FS_SET_MTIME_NOW)
		r->mtime = now;
	r->ctime = set & FS_SET_CTIME ? a->ctime : now;
}

/* Only times change (or tar sets the owner that a file has already): data that is still to be sealed
 * takes them along, as it does the times of writes. */
static bool goes_with_data(const struct inode *in, const struct rec_inode *r)
{
	return in->unsealed_bytes && r->mode == in->rec.mode && r->uid == in->rec.uid &&
	       r->gid == in->rec.gid;
}

/* AT1 */
static bool setattr_forbidden(const struct inode *in, unsigned set)
{
	const unsigned now = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW;

	return in->rec.flags & (set & ~now ? INODE_FIXED : INODE_IMMUTABLE);
}

static int setattr_locked(struct inode *in, const struct fs_attr *attr, unsigned set)
{
	struct rec_inode r;
	int rc = DFS_ENOENT;

	if (in->freed)
		return rc;
	if (setattr_forbidden(in, set))
		return DFS_EPERM;
	if (!(set & FS_SET_SIZE)) {
		r = in->rec;
		apply_attr(&r, attr, set);
		if (!goes_with_data(in, &r))
			return inode_commit(in, meta_begin(in->fs->meta), &r);
		in->rec = r;
		return 0;
	}
	inode_excl_begin(in);
	if (setattr_forbidden(in, set)) /* since it waited */
		rc = DFS_EPERM;
	else if (!in->freed)
		rc = truncate_finish(in);
	if (rc == 0) {
		r = in->rec;
		apply_attr(&r, attr, set);
		rc = truncate_locked(in, &r, attr->size);
	}
	inode_excl_end(in);
	return rc;
}

int fs_setattr(struct fs *fs, struct inode *in, const struct fs_attr *attr, unsigned set,
	       struct fs_attr *ret_attr)
{
	int rc;

	if (fs->read_only)
		return DFS_EROFS;
	if (set & FS_SET_SIZE) {
		if (is_dir(in))
			return DFS_EISDIR;
		if (!is_reg(in))
			return DFS_EINVAL;
		if (attr->size > DFS_FILE_MAX)
			return DFS_EFBIG;
	}
	ENV_LOCKED(&in->lock);
	rc = setattr_locked(in, attr, set); /* of nothing: ctime */
	if (rc == 0)
		inode_attr(in, ret_attr);
	return rc;
}

void inode_excl_begin(struct inode *in)
{
	while (in->excl)
		env_cond_wait(&in->changed, &in->lock);
	in->excl = true;
	while (!TAILQ_EMPTY(&in->fifo)) /* ends: every batch is committed, or all are collapsed */
		env_cond_wait(&in->changed, &in->lock);
}

void inode_excl_end(struct inode *in)
{
	in->excl = false;
	env_cond_broadcast(&in->changed);
}

void inode_step_aside(struct inode *in)
{
	env_mutex_unlock(&in->lock);
	env_sleep_ms(1); /* who waits has the lock before us */
	env_mutex_lock(&in->lock);
}

static bool comes_before(const struct inode *a, const struct inode *b)
{
	if (is_dir(a) != is_dir(b))
		return is_dir(a);
	return a->ino.v < b->ino.v;
}

/* Sorts in place; NULLs and repeated ones become NULL. */
void inode_lock_many(struct inode **ins, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = i + 1; j < count; j++) {
			if (ins[j] && ins[i] == ins[j])
				ins[j] = NULL;
			if (ins[j] && (!ins[i] || comes_before(ins[j], ins[i]))) {
				struct inode *swap = ins[i];

				ins[i] = ins[j];
				ins[j] = swap;
			}
		}
	for (unsigned i = 0; i < count; i++)
		if (ins[i])
			env_mutex_lock(&ins[i]->lock);
}

void inode_unlock_many(struct inode **ins, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (ins[i])
			env_mutex_unlock(&ins[i]->lock);
}

void inode_log(struct inode *in, const char *what, int err, const char *then)
{
	char path[512];

	pool_inode_path(in->fs->pool, in->ino, path, sizeof(path));
	log_error("cannot %s of '%s' (inode %llu): %s; %s", what, path,
		  (unsigned long long)in->ino.v, dfs_err_text(err), then);
}

void inodes_free_all(struct fs *fs)
{
	struct inode *in, *next;

	HASH_ITER(hh, fs->inodes, in, next) {
		HASH_DEL(fs->inodes, in);
		inode_free(in);
	}
}
