/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there room? (F4) A change that adds is accepted only if its bytes fit in the safest and most expensive
 * way, as copies, next to all that is still unsealed, and what it adds to the index, which may need other disks
 * than data does. The budget comes from the one capacity
 * function (P6) at most every 200 ms, and what was accepted since is subtracted; when it is used up,
 * everything is sealed, deleted files are freed and that made durable, their space is reclaimed, what
 * overwriting has left behind is folded (fold.c), and the question asked again. So
 * ENOSPC comes at write(), early and clean; deleting and shortening never ask.
 *
 * Owns fs.space_lock.
 */
#include "base/probe.h"
#include "file/file_internal.h"

#define BUDGET_NS 200000000ull
#define MARGIN_BYTES ((int64_t)MIB(1))
#define INDEX_AHEAD_BYTES ((int64_t)MIB(1))
#define HOLD_MAX_BYTES MIB(64) /* allocated beyond what is asked for */
#define RECLAIM_ROUNDS 64u
#define FOLD_BATCH 8u
#define FOLD_ROUNDS 256u

/* What bytes of data take with their share of headers and roundings. */
static int64_t data_cost(uint64_t bytes) { return bytes ? (int64_t)(bytes + bytes / 4 + 8192) : 0; }

static struct geometry copies_of(struct fs *fs)
{
	return (struct geometry){1, (uint8_t)(pool_get_settings(fs->pool).copies - 1)};
}

/* The disks' share of the counters, as of now: the pool refreshes it only now and then. */
static void refresh_used(struct fs *fs)
{
	struct disk_set *disks = pool_disks(fs->pool);

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);
		int64_t used = meta_counter(fs->meta, META_COUNT_DISK_USED + disk_info(d).id.v);

		disk_set_used_bytes(d, (uint64_t)MAX(used, 0));
	}
}

/* What may be accepted beyond what is dirty, beside index_bytes more in the index: what has room, and of that
 * what is sure (A1). */
static int64_t data_budget(struct fs *fs, uint64_t dirty, int64_t need, uint64_t index_bytes)
{
	struct geometry copies = copies_of(fs);
	uint64_t usable = extent_usable_bytes(fs->extents, copies, index_bytes);
	int64_t dirty_cost = data_cost(dirty);
	uint64_t wanted = (uint64_t)(dirty_cost + need + 2 * MARGIN_BYTES);

	wanted = MIN(wanted + MIN(usable / 16, HOLD_MAX_BYTES), usable);
	usable = MIN(usable,
		     extent_hold_bytes(fs->extents, copies, wanted,
				       (uint64_t)(dirty_cost + need + MARGIN_BYTES), index_bytes));
	return (int64_t)MIN(usable, (uint64_t)INT64_MAX / 2) - dirty_cost - MARGIN_BYTES;
}

/* writing: see struct fs. Whatever is not stored yet counts as data and as the index's, too: small files end there, and
 * which of it is so is not known here. */
static struct budget budget_now(struct fs *fs, struct budget need, int64_t writing)
{
	struct budget b;
	uint64_t dirty;

	refresh_used(fs);
	env_mutex_lock(&fs->dirty_lock);
	dirty = fs->dirty_bytes;
	env_mutex_unlock(&fs->dirty_lock);
	for (int64_t ahead = INDEX_AHEAD_BYTES;; ahead = 0) {
		b.index = need.index + ahead;
		b.data = data_budget(fs, dirty, need.data + writing,
				     dirty + (uint64_t)(writing + b.index)) -
			 writing;
		if (b.data >= need.data || ahead == 0)
			return b;
	}
}

static bool covers(const struct budget *b, const struct budget *need)
{
	return b->data >= need->data && b->index >= need->index;
}

static void move(struct budget *from, struct budget *to, const struct budget *what)
{
	from->data -= what->data;
	from->index -= what->index;
	to->data += what->data;
	to->index += what->index;
}

/*
 * While the budget is computed others go on taking of the old one: what they took comes off the new. Those
 * that took before and copy still may not be among the dirty bytes: they count twice rather than not at all.
 */
static bool try_take(struct fs *fs, struct budget need, bool fresh)
{
	uint64_t now = env_now_ns();
	struct budget budget, taken;
	int64_t writing;

	env_mutex_lock(&fs->space_lock);
	fresh |= !fs->budget_ns || now - fs->budget_ns > BUDGET_NS;
	if (!fresh && covers(&fs->budget, &need)) {
		move(&fs->budget, &fs->taken, &need);
		env_mutex_unlock(&fs->space_lock);
		return true;
	}
	taken = fs->taken;
	writing = MAX(fs->writing - need.data, 0); /* the caller's own is not there yet */
	env_mutex_unlock(&fs->space_lock);
	budget = budget_now(fs, need, writing);
	ENV_LOCKED(&fs->space_lock);
	budget.data -= fs->taken.data - taken.data;
	budget.index -= fs->taken.index - taken.index;
	fs->budget = budget;
	fs->budget_ns = now ? now : 1;
	if (!covers(&budget, &need))
		return false;
	move(&fs->budget, &fs->taken, &need);
	return true;
}

void space_writing(struct fs *fs, uint64_t data_bytes, bool begins)
{
	ENV_LOCKED(&fs->space_lock);
	fs->writing += begins ? data_cost(data_bytes) : -data_cost(data_bytes);
}

/* Gives freed space back now instead of later. */
static void reclaim(struct fs *fs)
{
	unsigned done = 1;

	if (meta_sync(fs->meta, meta_last_seq(fs->meta)))
		return;
	for (unsigned i = 0; i < RECLAIM_ROUNDS && done; i++)
		if (extent_reclaim(fs->extents, 1024, &done))
			return;
}

static bool known_full(struct fs *fs)
{
	uint64_t seq = meta_last_seq(fs->meta), now = env_now_ns();

	ENV_LOCKED(&fs->space_lock);
	return fs->full_ns && fs->full_seq == seq && now - fs->full_ns < BUDGET_NS;
}

bool space_try(struct fs *fs, uint64_t bytes)
{
	return try_take(fs, (struct budget){data_cost(bytes), INDEX_EXTENT_BYTES}, false);
}

int space_take(struct fs *fs, uint64_t data_bytes, uint64_t index_bytes)
{
	struct budget need = {data_cost(data_bytes), (int64_t)index_bytes};
	uint64_t seq;

	if (data_bytes > (uint64_t)INT64_MAX / 4 || !pool_dir_has_room(fs->pool))
		return DFS_ENOSPC;
	if (pool_dir_silent(fs->pool))
		return DFS_ETIMEDOUT;
	if (try_take(fs, need, false))
		return 0;
	if (known_full(fs))
		return DFS_ENOSPC;
	/* What can't be stored now is reported where it belongs; here only the space counts. */
	if (seal_everything(fs))
		log_warn("cannot store all data while looking for space: see the messages above; "
			 "it is kept in memory and tried again");
	reap_wait(fs);
	reclaim(fs);
	if (try_take(fs, need, true))
		return 0;
	/* Garbage within extents (U4): each fold needs what the margin has, and gives more. */
	for (unsigned i = 0; i < FOLD_ROUNDS && fold_some(fs, FOLD_BATCH); i++) {
		reclaim(fs);
		if (try_take(fs, need, true))
			return 0;
	}
	seq = meta_last_seq(fs->meta);
	ENV_LOCKED(&fs->space_lock);
	PROBE("enospc-at-write");
	fs->full_ns = env_now_ns();
	fs->full_seq = seq;
	return DFS_ENOSPC;
}

void fs_statfs(struct fs *fs, struct fs_statfs *ret)
{
	struct pool_space space;
	uint64_t files = (uint64_t)MAX(meta_counter(fs->meta, META_COUNT_INODES), 0);

	pool_space(fs->pool, &space);
	ret->total_bytes = space.total_bytes;
	ret->free_bytes = space.total_bytes > space.used_bytes
				  ? space.total_bytes - space.used_bytes
				  : 0;
	ret->available_bytes = space.available_bytes;
	ret->free_bytes = MAX(ret->free_bytes, ret->available_bytes);
	/* There is no fixed number of inodes; 16 KiB each is what is told. */
	ret->files_free = space.available_bytes / KIB(16);
	ret->files = files + ret->files_free;
}
