/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem's life: opening (root directory, orphans, threads), closing, giving up.
 */
#include "base/words.h"
#include "file/internal.h"

#include <stdlib.h>

static void defaults(struct fs_config *c, const struct fs_config *cfg)
{
	*c = cfg ? *cfg : (struct fs_config){0};
	if (!c->dirty_limit_bytes)
		c->dirty_limit_bytes = MIB(128);
	if (!c->flush_interval_ms)
		c->flush_interval_ms = 5000;
	if (!c->seal_workers)
		c->seal_workers = 2;
	if (!c->inode_cache_count)
		c->inode_cache_count = 16384;
	if (!c->name_cache_bytes)
		c->name_cache_bytes = MIB(32);
	if (!c->fold_percent)
		c->fold_percent = 200;
	ASSERT(c->fold_percent >= 100);
	if (!c->rest_after_ms)
		c->rest_after_ms = 60000;
	if (!c->txn_bytes)
		c->txn_bytes = META_TXN_BYTES;
	ASSERT(c->txn_bytes >= KIB(16) && c->txn_bytes <= META_TXN_BYTES);
	if (!c->promise_wait_ms)
		c->promise_wait_ms = 5000;
}

struct users *fs_users(struct fs *fs) { return pool_users(fs->pool); }

static struct fs *fs_alloc(struct pool *pool, const struct fs_config *cfg)
{
	struct fs *fs = xcalloc(1, sizeof(*fs));

	defaults(&fs->cfg, cfg);
	fs->pool = pool;
	fs->meta = pool_meta(pool);
	fs->extents = pool_extents(pool);
	fs->read_only = pool_read_only(pool);
	env_mutex_init(&fs->numbers_lock);
	env_mutex_init(&fs->rename_lock);
	env_mutex_init(&fs->table_lock);
	env_mutex_init(&fs->dirty_lock);
	env_mutex_init(&fs->queue.lock);
	env_mutex_init(&fs->space.lock);
	env_mutex_init(&fs->reaper.lock);
	env_mutex_init(&fs->fold.lock);
	env_cond_init(&fs->fold.wake);
	env_cond_init(&fs->fold.less);
	env_mutex_init(&fs->names.lock);
	TAILQ_INIT(&fs->names.list);
	env_cond_init(&fs->room);
	env_cond_init(&fs->flush_wake);
	env_cond_init(&fs->queue.wake);
	env_cond_init(&fs->reaper.wake);
	env_cond_init(&fs->reaper.idle);
	TAILQ_INIT(&fs->lru);
	TAILQ_INIT(&fs->dirty);
	TAILQ_INIT(&fs->sealing);
	TAILQ_INIT(&fs->queue.list);
	STAILQ_INIT(&fs->reaper.list);
	return fs;
}

static void fs_free(struct fs *fs)
{
	if (!fs->read_only) {
		extent_set_acceptor(fs->extents, NULL, NULL);
		extent_set_restorer(fs->extents, NULL, NULL);
	}
	inodes_free_all(fs);
	known_release(&fs->known);
	reap_free_list(fs);
	slot_pool_release(fs);
	env_cond_release(&fs->reaper.idle);
	env_cond_release(&fs->reaper.wake);
	env_cond_release(&fs->queue.wake);
	env_cond_release(&fs->flush_wake);
	env_cond_release(&fs->room);
	env_mutex_release(&fs->names.lock);
	env_cond_release(&fs->fold.less);
	env_cond_release(&fs->fold.wake);
	env_mutex_release(&fs->fold.lock);
	env_mutex_release(&fs->reaper.lock);
	env_mutex_release(&fs->space.lock);
	env_mutex_release(&fs->queue.lock);
	env_mutex_release(&fs->dirty_lock);
	env_mutex_release(&fs->table_lock);
	env_mutex_release(&fs->rename_lock);
	env_mutex_release(&fs->numbers_lock);
	free(fs->workers);
	free(fs);
}

/* Inode numbers grow, and none comes twice (N1): the next is beyond the highest there is, and beyond all that were
 * reserved. */
static int find_next_ino(struct fs *fs)
{
	struct meta_iter *it = meta_iter_new(fs->meta);
	BUF last = {0};
	ino_id ino = {0};
	int rc = 0;

	key_inode(&last, (ino_id){UINT64_MAX});
	meta_iter_seek_back(it, last.data, last.len);
	if (meta_iter_valid(it)) {
		size_t key_len;
		const uint8_t *key = meta_iter_key(it, &key_len);

		if (key_len == last.len && key[0] == TABLE_INODE) {
			struct reader k = reader_of(key + 1, key_len - 1);

			/* The key tells, even where the value is rotten. */
			ino.v = reader_be64(&k);
		}
	} else {
		rc = meta_iter_error(it);
	}
	meta_iter_free(it);
	if (ino.v > INT64_MAX) /* no number that was ever given out (P10) */
		return DFS_ECORRUPT;
	fs->ino_mark = (uint64_t)MAX(meta_counter(fs->meta, META_COUNT_INODE_NUMBERS), 0);
	if (fs->ino_mark > INT64_MAX / 2)
		return DFS_ECORRUPT;
	fs->next_ino = MAX(MAX(ino.v, DFS_ROOT_INO) + 1, fs->ino_mark);
	return rc;
}

static int make_root(struct fs *fs)
{
	struct dfs_time now = time_now();
	struct rec_inode r = {.mode = S_IFDIR | 0755,
			      .nlink = 2,
			      .atime = now,
			      .mtime = now,
			      .ctime = now,
			      .btime = now,
			      .parent = {DFS_ROOT_INO},
			      .generation = env_random_u64()};
	struct meta_txn *t = meta_begin(fs->meta);
	uint64_t seq;
	int rc;

	put_inode(t, (ino_id){DFS_ROOT_INO}, &r);
	meta_add(t, META_COUNT_INODES, 1);
	rc = meta_commit(t, &seq);
	return rc ? rc : meta_sync(fs->meta, seq);
}

static int check_root(struct fs *fs)
{
	struct rec_inode r;
	int rc = get_inode(fs->meta, (ino_id){DFS_ROOT_INO}, &r);

	if (rc != DFS_ENOENT || fs->read_only)
		return rc;
	return make_root(fs);
}

static void start_threads(struct fs *fs)
{
	fs->workers = xcalloc(fs->cfg.seal_workers, sizeof(struct env_thread *));
	for (unsigned i = 0; i < fs->cfg.seal_workers; i++)
		fs->workers[i] = env_thread_start("seal", seal_worker, fs);
	fs->flusher = env_thread_start("flush", flusher, fs);
	fs->background = env_thread_start("file-bg", background, fs);
	if (!fs->cfg.no_fold)
		fs->folder = env_thread_start("fold", fold_main, fs);
}

static void stop_flusher(struct fs *fs)
{
	if (!fs->flusher)
		return;
	env_mutex_lock(&fs->dirty_lock);
	fs->stop_flusher = true;
	env_cond_broadcast(&fs->flush_wake);
	env_mutex_unlock(&fs->dirty_lock);
	env_thread_join(fs->flusher);
	fs->flusher = NULL;
}

static void stop_background(struct fs *fs)
{
	if (!fs->background)
		return;
	env_mutex_lock(&fs->reaper.lock);
	fs->reaper.stop = true;
	env_cond_broadcast(&fs->reaper.wake);
	env_mutex_unlock(&fs->reaper.lock);
	env_thread_join(fs->background);
	fs->background = NULL;
}

static void stop_folder(struct fs *fs)
{
	if (!fs->folder)
		return;
	env_mutex_lock(&fs->fold.lock);
	fs->fold.stop = true;
	env_cond_broadcast(&fs->fold.wake);
	env_cond_broadcast(&fs->fold.less);
	env_mutex_unlock(&fs->fold.lock);
	env_thread_join(fs->folder);
	fs->folder = NULL;
}

static void stop_workers(struct fs *fs)
{
	if (!fs->workers)
		return;
	env_mutex_lock(&fs->queue.lock);
	fs->queue.stop = true;
	env_cond_broadcast(&fs->queue.wake);
	env_mutex_unlock(&fs->queue.lock);
	for (unsigned i = 0; i < fs->cfg.seal_workers; i++)
		env_thread_join(fs->workers[i]);
	free(fs->workers);
	fs->workers = NULL;
}

int fs_open(struct pool *pool, const struct fs_config *cfg, struct fs **ret_fs)
{
	struct fs *fs;
	int rc;

	if (!pool_has_disks(pool))
		return DFS_ENODISK;
	fs = fs_alloc(pool, cfg);
	usage_refresh(fs);
	rc = check_root(fs);
	if (rc == 0)
		rc = find_next_ino(fs);
	if (rc == 0 && !fs->read_only)
		rc = orphans_recover(fs);
	if (rc) {
		log_error(
			"cannot open the filesystem of pool '%s': %s; nothing was changed; run fsck",
			pool_dir(pool), dfs_err_text(rc));
		fs_free(fs);
		return rc;
	}
	if (!fs->read_only) {
		extent_set_acceptor(fs->extents, space_accepted, fs);
		extent_set_restorer(fs->extents, rebundle_restore, fs);
		start_threads(fs);
	}
	*ret_fs = fs;
	return 0;
}

/* Names what is lost when the filesystem goes. */
static void report_unsaved(struct fs *fs)
{
	struct inode *in;

	TAILQ_FOREACH(in, &fs->dirty, dirty_link) {
		char path[512];

		pool_inode_path(fs->pool, in->ino, path, sizeof(path));
		log_error("cannot store %llu %s written to '%s' (inode %llu): %s; %s lost; "
			  "write the file again",
			  (unsigned long long)in->unsealed_bytes,
			  plural(in->unsealed_bytes, "byte", "bytes"), path,
			  (unsigned long long)in->ino.v, dfs_err_text(in->error),
			  plural(in->unsealed_bytes, "it is", "they are"));
	}
}

int fs_close(struct fs *fs)
{
	int rc = 0, err;

	stop_folder(fs);
	stop_flusher(fs);
	if (!fs->read_only) {
		rc = seal_everything(fs);
		if (rc) /* once more: what was short may have been given back by the first round */
			rc = seal_everything(fs);
	}
	stop_background(fs);
	stop_workers(fs);
	if (!fs->read_only) {
		report_unsaved(fs);
		err = meta_sync(fs->meta, meta_last_seq(fs->meta));
		rc = rc ? rc : err;
	}
	fs_free(fs);
	return rc;
}

void fs_abandon(struct fs *fs)
{
	__atomic_store_n(&fs->abandoned, true, __ATOMIC_RELAXED);
	stop_folder(fs);
	stop_flusher(fs);
	stop_background(fs);
	stop_workers(fs);
	fs_free(fs);
}
