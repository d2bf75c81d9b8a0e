/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there room? (F4) A change that adds is accepted only if its bytes fit in the safest and most expensive
 * way, as copies, next to all that is still unsealed, and what it adds to the index, which may need other disks
 * than data does. The budget comes from the one capacity
 * function (P6) at most every 200 ms, and what was accepted since is subtracted; when it is used up,
 * everything is sealed, deleted files are freed and that made durable, their space is reclaimed, what
 * overwriting has left behind is folded (fold.c), segments that are partly dead are copied, a checkpoint made, and the question asked again. So
 * ENOSPC comes at write(), early and clean; deleting and shortening never ask.
 *
 * Owns fs.space.lock.
 */
#include "base/probe.h"
#include "file/internal.h"

#define BUDGET_NS 200000000ull
#define MARGIN_BYTES ((int64_t)POOL_MARGIN_BYTES)
#define INDEX_AHEAD_BYTES ((int64_t)MIB(1))
#define HOLD_MAX_BYTES MIB(64) /* allocated beyond what is asked for */
#define RECLAIM_ROUNDS 64u
#define UNWRITTEN_MIN_BYTES KIB(256) /* of metadata: then a checkpoint may make room */
#define PROMISE_STEP_MS 100
#define FOLD_BATCH 8u
#define FOLD_ROUNDS 256u
#define COMPACT_ROUNDS 64u

static int64_t data_cost(uint64_t bytes) { return (int64_t)pool_data_cost(bytes); }

static struct geometry copies_of(struct fs *fs)
{
	struct policy s = pool_get_settings(fs->pool);

	return pool_copies(&s);
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

/* What is to be kept for bytes that are promised (F9): they may be written in small pieces, each synced. */
static int64_t promise_index(uint64_t bytes) { return (int64_t)(bytes / 16 * 3); }

/* What may be accepted beyond what is dirty, beside index_bytes more in the index. */
static void data_budget(struct fs *fs, uint64_t dirty, int64_t need, uint64_t index_bytes,
			struct budget *b)
{
	struct geometry copies = copies_of(fs);
	uint64_t promised = (uint64_t)MAX(meta_counter(fs->meta, META_COUNT_PREALLOC_BYTES), 0);
	uint64_t usable = extent_usable_bytes(fs->extents, copies, index_bytes),
		 unpromised = usable;
	int64_t taken = data_cost(dirty) + MARGIN_BYTES;
	uint64_t wanted = (uint64_t)(taken + need + MARGIN_BYTES);

	if (promised)
		unpromised = extent_usable_bytes(fs->extents, copies,
						 index_bytes + (uint64_t)promise_index(promised));
	wanted = MIN(wanted + MIN(usable / 16, HOLD_MAX_BYTES), usable);
	usable = MIN(usable, extent_hold_bytes(fs->extents, copies, wanted,
					       (uint64_t)(taken + need), index_bytes));
	b->data = (int64_t)MIN(usable, (uint64_t)INT64_MAX / 2) - taken;
	b->room = (int64_t)MIN(unpromised, (uint64_t)INT64_MAX / 2) - taken - data_cost(promised);
}

static bool covers(const struct budget *b, const struct budget *need)
{
	return b->data >= need->data && b->index >= need->index &&
	       (!need->room || b->room >= need->room);
}

/* writing, promising: see struct fs. Whatever is not stored yet counts as data and as the index's, too: small files
 * end there, and which of it is so is not known here. */
static struct budget budget_now(struct fs *fs, struct budget need, int64_t writing,
				int64_t promising)
{
	struct budget b;
	uint64_t dirty;

	refresh_used(fs);
	env_mutex_lock(&fs->dirty_lock);
	dirty = fs->dirty_bytes;
	env_mutex_unlock(&fs->dirty_lock);
	for (int64_t ahead = INDEX_AHEAD_BYTES;; ahead = 0) {
		b.index = need.index + ahead;
		data_budget(fs, dirty, need.data + writing, dirty + (uint64_t)(writing + b.index),
			    &b);
		b.data -= writing;
		b.room -= writing + promising;
		if (ahead == 0 || covers(&b, &need))
			return b;
	}
}

static void move(struct budget *from, struct budget *to, const struct budget *what)
{
	from->room -= what->room;
	from->data -= what->data;
	from->index -= what->index;
	to->room += what->room;
	to->data += what->data;
	to->index += what->index;
}

/* What of the account the asker is counted with in `writing`, or `promising`. */
static int64_t asked(const struct budget *need) { return need->data ? need->data : need->room; }

/* space_lock held */
static void give(struct fs *fs, const struct budget *need, bool was_asked)
{
	env_assert_held(&fs->space.lock);
	move(&fs->space.budget, &fs->space.taken, need);
	if (was_asked)
		fs->space.asking -= asked(need);
	if (!need->room)
		fs->space.promise_broken = false;
}

/*
 * While the budget is computed others go on taking of the old one: what they took comes off the new. Those
 * that took before and copy still may not be among the dirty bytes: they count twice rather than not at all.
 */
static bool try_take(struct fs *fs, struct budget need, bool fresh, bool was_asked)
{
	uint64_t now = env_now_ns();
	struct budget budget, taken;
	int64_t writing, promising, unasked;

	env_mutex_lock(&fs->space.lock);
	fresh |= !fs->space.budget_ns || now - fs->space.budget_ns > BUDGET_NS;
	if (!fresh && covers(&fs->space.budget, &need)) {
		give(fs, &need, was_asked);
		env_mutex_unlock(&fs->space.lock);
		return true;
	}
	taken = fs->space.taken;
	/* the caller's own is not there yet */
	writing = MAX(fs->space.writing - need.data, 0);
	promising = MAX(fs->space.promising - (need.data ? 0 : need.room), 0);
	unasked = fs->space.unasked;
	env_mutex_unlock(&fs->space.lock);
	budget = budget_now(fs, need, writing, promising);
	ENV_LOCKED(&fs->space.lock);
	budget.room -= fs->space.taken.room - taken.room + unasked;
	budget.data -= fs->space.taken.data - taken.data + unasked;
	budget.index -= fs->space.taken.index - taken.index;
	fs->space.budget = budget;
	fs->space.budget_ns = now ? now : 1;
	if (!covers(&budget, &need))
		return false;
	give(fs, &need, was_asked);
	return true;
}

void space_writing(struct fs *fs, uint64_t data_bytes, bool begins)
{
	ENV_LOCKED(&fs->space.lock);
	fs->space.writing += (begins ? 1 : -1) * data_cost(data_bytes);
}

/*
 * The budget is forgotten: it counted on what is taken now, and so does one that is being computed. What was
 * accepted is what was given, then.
 */
void space_accepted(void *ctx, int64_t bytes, struct extent_accepted *ret)
{
	struct fs *fs = ctx;
	uint64_t promised = (uint64_t)MAX(meta_counter(fs->meta, META_COUNT_PREALLOC_BYTES), 0);
	uint64_t dirty;
	int64_t given, others;

	env_mutex_lock(&fs->space.lock);
	others = MAX(fs->space.unasked, 0);
	fs->space.unasked += bytes;
	if (bytes > 0) {
		fs->space.budget = (struct budget){0};
		fs->space.budget_ns = 0;
		fs->space.taken.room += bytes;
		fs->space.taken.data += bytes;
	}
	given = MAX(fs->space.writing + fs->space.promising - fs->space.asking, 0);
	env_mutex_unlock(&fs->space.lock);
	env_mutex_lock(&fs->dirty_lock);
	dirty = fs->dirty_bytes - fs->folding_bytes;
	env_mutex_unlock(&fs->dirty_lock);
	*ret = (struct extent_accepted){
		.geometry = copies_of(fs),
		.data_bytes = (uint64_t)(data_cost(dirty) + given + data_cost(promised) + others),
		.index_bytes = dirty + (uint64_t)(given + promise_index(promised)),
	};
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

/* What was found full for those who were promised nothing need not be so for others. */
static bool known_full(struct fs *fs, bool promised)
{
	uint64_t seq = meta_last_seq(fs->meta), now = env_now_ns();

	ENV_LOCKED(&fs->space.lock);
	if (promised)
		return fs->space.promise_broken && now - fs->space.broken_ns < BUDGET_NS;
	return fs->space.full_ns && fs->space.full_seq == seq &&
	       now - fs->space.full_ns < BUDGET_NS;
}

static void note_full(struct fs *fs, bool promised)
{
	uint64_t seq = meta_last_seq(fs->meta), now = env_now_ns();

	ENV_LOCKED(&fs->space.lock);
	PROBE("enospc-at-write");
	if (promised) {
		fs->space.promise_broken = true;
		fs->space.broken_ns = now;
	} else {
		fs->space.full_ns = now;
		fs->space.full_seq = seq;
	}
}

bool space_try(struct fs *fs, uint64_t bytes)
{
	struct budget need = {data_cost(bytes), data_cost(bytes), INDEX_EXTENT_BYTES};

	return try_take(fs, need, false, false);
}

/* What the next checkpoint writes is kept free for it: after it that is less. */
static bool checkpoint_helps(struct fs *fs)
{
	struct meta_stats st = meta_stats(fs->meta);

	return st.journal_bytes + st.buffered_bytes >= UNWRITTEN_MIN_BYTES &&
	       meta_checkpoint(fs->meta) == 0;
}

static bool make_room(struct fs *fs, struct budget need)
{
	/* What can't be stored now is reported where it belongs; here only the space counts. */
	if (seal_everything(fs))
		log_warn("cannot store all data while looking for space: see the messages above; "
			 "it is kept in memory and tried again");
	reap_wait(fs);
	reclaim(fs);
	if (try_take(fs, need, true, true))
		return true;
	/* Garbage within extents (U4): each fold needs what the margin has, and gives more. */
	for (unsigned i = 0; i < FOLD_ROUNDS && fold_some(fs, FOLD_BATCH); i++) {
		reclaim(fs);
		if (try_take(fs, need, true, true))
			return true;
	}
	/* On disks that can't punch holes garbage takes space until its segment goes (CP4). */
	for (unsigned i = 0; i < COMPACT_ROUNDS && pool_compact_now(fs->pool); i++)
		if (try_take(fs, need, true, true))
			return true;
	return checkpoint_helps(fs) && try_take(fs, need, true, true);
}

/*
 * How long room is looked for. What was promised is there, unless a disk was lost; but others free it just now,
 * or take it while they store something anew. Once it was looked for in vain nobody waits for it, until there is some.
 */
static uint64_t patience_ns(struct fs *fs, bool promised)
{
	ENV_LOCKED(&fs->space.lock);
	return promised && !fs->space.promise_broken ? fs->cfg.promise_wait_ms * 1000000u : 0;
}

static int look_for_room(struct fs *fs, struct budget need)
{
	bool promised = !need.room;
	uint64_t began;

	if (!pool_may_grow(fs->pool))
		return DFS_ENOSPC;
	if (pool_dir_silent(fs->pool))
		return DFS_ETIMEDOUT;
	if (try_take(fs, need, false, true))
		return 0;
	if (known_full(fs, promised))
		return DFS_ENOSPC;
	began = env_now_ns();
	for (;;) {
		if (make_room(fs, need))
			return 0;
		if (env_now_ns() - began >= patience_ns(fs, promised))
			break;
		env_sleep_ms(PROMISE_STEP_MS);
	}
	note_full(fs, promised);
	return DFS_ENOSPC;
}

static int take(struct fs *fs, struct budget need)
{
	int rc;

	env_mutex_lock(&fs->space.lock);
	fs->space.asking += asked(&need);
	env_mutex_unlock(&fs->space.lock);
	rc = look_for_room(fs, need);
	if (rc == DFS_ENOSPC && disk_set_takes_nothing(pool_disks(fs->pool)))
		rc = DFS_EIO; /* C6 */
	if (rc) {	      /* else the asker has ceased to be one when it was given */
		ENV_LOCKED(&fs->space.lock);
		fs->space.asking -= asked(&need);
	}
	return rc;
}

int space_take(struct fs *fs, uint64_t data_bytes, uint64_t index_bytes)
{
	return space_take_promised(fs, data_bytes, index_bytes, 0);
}

int space_take_promised(struct fs *fs, uint64_t data_bytes, uint64_t index_bytes,
			uint64_t promised_bytes)
{
	uint64_t room_bytes = data_bytes - MIN(promised_bytes, data_bytes);
	struct budget need = {data_cost(room_bytes), data_cost(data_bytes), (int64_t)index_bytes};

	if (data_bytes > (uint64_t)INT64_MAX / 4)
		return DFS_ENOSPC;
	if (!data_bytes) /* of the index alone: not of what is promised either */
		need.room = 1;
	return take(fs, need);
}

int space_promise(struct fs *fs, uint64_t bytes)
{
	struct budget need = {.room = data_cost(bytes), .index = promise_index(bytes)};

	if (bytes > (uint64_t)INT64_MAX / 4)
		return DFS_ENOSPC;
	env_mutex_lock(&fs->space.lock);
	fs->space.promising += need.room;
	env_mutex_unlock(&fs->space.lock);
	return bytes ? take(fs, need) : 0;
}

void space_promised(struct fs *fs, uint64_t bytes)
{
	ENV_LOCKED(&fs->space.lock);
	fs->space.promising -= bytes > (uint64_t)INT64_MAX / 4 ? 0 : data_cost(bytes);
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
	ret->available_bytes = pool_may_grow(fs->pool) ? space.available_bytes : 0;
	ret->free_bytes = MAX(ret->free_bytes, ret->available_bytes);
	/* There is no fixed number of inodes; 16 KiB each is what is told. */
	ret->files_free = ret->available_bytes / KIB(16);
	ret->files = files + ret->files_free;
}
