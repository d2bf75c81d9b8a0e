/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealing: dirty slots are detached into batches at the tail of their inode's FIFO, written by
 * workers (many batches in one extent_write, so that small files share their I/O), and committed
 * from the FIFO's head (F1). When a batch fails and none is being written any more, the whole FIFO
 * collapses: its data goes back to the dirty slots, under what was written since, and is sealed
 * again later (F3). So nothing is dropped, and nobody waits for a full disk.
 *
 * Owns fs.queue.lock. A batch that is queued belongs to the queue; who takes it out writes it.
 */
#include "base/probe.h"
#include "file/internal.h"

#include <stdlib.h>

static void inflight_add(struct fs *fs, int64_t bytes)
{
	ENV_LOCKED(&fs->dirty_lock);
	fs->inflight_bytes = (uint64_t)((int64_t)fs->inflight_bytes + bytes);
}

void batch_free(struct fs *fs, struct seal_batch *b)
{
	inflight_add(fs, -(int64_t)b->charged);
	for (unsigned i = 0; i < b->slot_count; i++)
		slot_free(fs, b->slots[i]);
	free(b->ext);
	free(b->pieces);
	free(b->packed);
	free(b);
}

/* ---- choosing what to detach ---- */
static bool beyond_stored(const struct inode *in, const struct slot *s)
{
	return slot_first_at(s, in->rec.size) != UINT64_MAX;
}

/*
 * Whole slots. One that lies beyond the stored size takes all below it along (F2); so, when writers
 * work side by side, whole slots behind a partial one wait a little for it to become whole, too.
 */
static bool choose_full(const struct inode *in, bool *chosen)
{
	bool partial_seen = false, any = false;
	unsigned waiting = 0;

	for (unsigned i = 0; i < in->slots.count; i++) {
		const struct slot *s = in->slots.v[i];
		bool full = slot_is_whole(s) || s->range_count >= RECORD_MAX_PIECES;

		if (!full) {
			partial_seen |= beyond_stored(in, s);
		} else if (partial_seen && beyond_stored(in, s)) {
			waiting++;
		} else {
			chosen[i] = true;
			any = true;
		}
	}
	if (waiting <= BATCH_MAX_SLOTS / 2)
		return any;
	for (unsigned i = 0; i < in->slots.count; i++)
		chosen[i] |= slot_is_whole(in->slots.v[i]);
	return true;
}

static bool choose(const struct inode *in, enum seal_which which, uint64_t cutoff_ns, bool *chosen)
{
	bool any = false;

	if (which == SEAL_FULL)
		return choose_full(in, chosen);
	for (unsigned i = 0; i < in->slots.count; i++) {
		chosen[i] = which == SEAL_ALL || in->slots.v[i]->dirtied_ns <= cutoff_ns;
		any |= chosen[i];
	}
	return any;
}

/* F2: what is chosen beyond the stored size takes everything below it along. An inline file's slot
 * 0 goes with the first batch: from then on the map holds its content. */
static void choose_below(const struct inode *in, bool *chosen)
{
	bool take = false;

	for (unsigned i = in->slots.count; i-- > 0;) {
		bool beyond = beyond_stored(in, in->slots.v[i]);

		chosen[i] |= take && beyond;
		take |= chosen[i] && beyond;
	}
	if (in->rec.flags & INODE_INLINE && in->slots.v[0]->index == 0)
		chosen[0] = true;
}

/* Waking a thread costs more than a small file: one is woken for the first batch, and wakes the next
 * if it leaves any. */
static void enqueue(struct fs *fs, struct seal_batch *b)
{
	ENV_LOCKED(&fs->queue.lock);
	if (TAILQ_EMPTY(&fs->queue.list))
		env_cond_signal(&fs->queue.wake);
	b->queued = true;
	TAILQ_INSERT_TAIL(&fs->queue.list, b, queue);
	fs->queue.bytes += b->charged;
}

/* covers: see struct seal_batch */
static void push_batch(struct inode *in, struct seal_batch *b, uint64_t covers)
{
	b->covers = covers;
	b->born = uuid_tick();
	b->since_ns = b->slots[0]->dirtied_ns;
	for (unsigned i = 1; i < b->slot_count; i++)
		b->since_ns = MIN(b->since_ns, b->slots[i]->dirtied_ns);
	TAILQ_INSERT_TAIL(&in->fifo, b, fifo);
	in->detach_seq++;
	inflight_add(in->fs, (int64_t)b->charged);
	enqueue(in->fs, b);
}

static uint64_t batch_end(const struct seal_batch *b)
{
	const struct slot *s = b->slots[b->slot_count - 1];

	return (s->index << SLOT_SHIFT) + s->ranges[s->range_count - 1].end;
}

static void detach(struct inode *in, const bool *chosen)
{
	struct seal_batch *b = NULL;
	unsigned kept = 0;

	for (unsigned i = 0; i < in->slots.count; i++) {
		struct slot *s = in->slots.v[i];

		if (!chosen[i]) {
			in->slots.v[kept++] = s;
			continue;
		}
		if (b && (b->slot_count == BATCH_MAX_SLOTS ||
			  b->charged + s->charged > GROUP_MAX_BYTES)) {
			push_batch(in, b, batch_end(b));
			b = NULL;
		}
		if (!b) {
			b = xcalloc(1, sizeof(*b));
			b->in = in;
		}
		b->slots[b->slot_count++] = s;
		b->charged += s->charged;
	}
	in->slots.count = kept;
	if (b) /* the last of them: only what is not chosen is dirty still */
		push_batch(in, b, MIN(in->size, slots_first_at(&in->slots, in->rec.size)));
	dirty_list_update(in);
}

static void note_failure(struct inode *in, int err)
{
	struct fs *fs = in->fs;

	in->error = err;
	in->retry_ns = env_now_ns() + RETRY_NS;
	inode_log(
		in, "store data", err,
		"it is kept in memory and tried again each second; free space or check the disks");
	ENV_LOCKED(&fs->dirty_lock);
	fs->seal_errors++;
	fs->stuck_err = err;
}

static void note_success(struct inode *in, unsigned extents)
{
	in->error = 0;
	ENV_LOCKED(&in->fs->dirty_lock);
	in->fs->stuck_err = 0;
	in->fs->sealed_extents += extents;
}

int seal_start(struct inode *in, enum seal_which which, uint64_t cutoff_ns)
{
	FREE bool *chosen = NULL;
	int rc = 0;

	if (!in->slots.count || in->freed)
		return 0;
	if (which != SEAL_FULL && inline_fits(in)) {
		if (which == SEAL_AGED && in->slots.v[0]->dirtied_ns > cutoff_ns)
			return 0;
		rc = inline_commit(in);
		if (rc)
			note_failure(in, rc);
		else
			note_success(in, 0);
		dirty_list_update(in);
		return rc;
	}
	chosen = xcalloc(in->slots.count, sizeof(*chosen));
	if (!choose(in, which, cutoff_ns, chosen))
		return 0;
	choose_below(in, chosen);
	detach(in, chosen);
	return 0;
}

/* ---- writing ---- */
void seal_collapse(struct inode *in)
{
	struct fs *fs = in->fs;
	struct seal_batch *b;

	while ((b = TAILQ_LAST(&in->fifo, batch_list))) {
		TAILQ_REMOVE(&in->fifo, b, fifo);
		if (b->state == BATCH_WRITTEN)
			batch_settle(b);
		for (unsigned i = 0; i < b->slot_count; i++) {
			struct slot *older = b->slots[i];
			struct slot *newer = slot_find(&in->slots, older->index);
			uint32_t had = newer ? newer->bytes : 0;

			if (!newer) {
				slot_insert(&in->slots, older);
				continue;
			}
			PROBE("seal-merged-under-newer");
			slot_merge_under(fs, newer, older);
			in->unsealed_bytes += newer->bytes - had;
			in->unsealed_bytes -= older->bytes;
			slot_free(fs, older);
		}
		b->slot_count = 0;
		batch_free(fs, b);
	}
	PROBE("seal-collapsed");
	in->detach_seq = in->commit_seq;
	in->fail_count++;
	note_failure(in, in->fifo_err);
	in->fifo_err = 0;
}

static void commit_ready(struct inode *in)
{
	struct seal_batch *b;

	while ((b = TAILQ_FIRST(&in->fifo)) && b->state == BATCH_WRITTEN) {
		int rc = batch_commit(in, b);

		if (rc) { /* parts that are committed stay so: all of it goes back, and is stored again */
			batch_settle(b);
			b->state = BATCH_FAILED;
			in->fifo_err = rc;
			return;
		}
		TAILQ_REMOVE(&in->fifo, b, fifo);
		batch_settle(b);
		note_success(in, b->ext_count);
		for (unsigned i = 0; i < b->slot_count; i++)
			in->unsealed_bytes -= b->slots[i]->bytes;
		batch_free(in->fs, b);
		in->commit_seq++;
	}
}

static void finish(struct seal_batch *b, int rc)
{
	struct inode *in = b->in;
	bool pending = false;

	env_mutex_lock(&in->lock);
	free(b->packed);
	b->packed = NULL;
	b->state = rc ? BATCH_FAILED : BATCH_WRITTEN;
	if (rc && !in->fifo_err)
		in->fifo_err = rc;
	commit_ready(in);
	TAILQ_FOREACH(b, &in->fifo, fifo)
		pending |= b->state == BATCH_PENDING;
	if (in->fifo_err && !pending)
		seal_collapse(in);
	dirty_list_update(in);
	env_cond_broadcast(&in->changed);
	env_mutex_unlock(&in->lock);
	inode_put(in, 1);
}

static int write_extents(struct fs *fs, struct seal_batch **b, unsigned count)
{
	struct extent_new *all;
	unsigned total = 0, at = 0;
	int rc;

	for (unsigned i = 0; i < count; i++)
		total += b[i]->ext_count;
	all = xcalloc(total, sizeof(*all));
	for (unsigned i = 0; i < count; at += b[i++]->ext_count)
		memcpy(all + at, b[i]->ext, b[i]->ext_count * sizeof(*all));
	rc = extent_write(fs->extents, all, total);
	at = 0;
	for (unsigned i = 0; rc == 0 && i < count; at += b[i++]->ext_count)
		memcpy(b[i]->ext, all + at, b[i]->ext_count * sizeof(*all));
	free(all);
	return rc;
}

/* In smaller extents where there is no room for great ones: so the account has it (A7). */
static int write_alone(struct fs *fs, struct seal_batch *b)
{
	int rc;

	do
		rc = extent_write(fs->extents, b->ext, b->ext_count);
	while (rc == DFS_ENOSPC && batch_split(b));
	return rc;
}

/* Writes batches that the caller has taken out of the queue, and commits what is ready. */
static void write_group(struct fs *fs, struct seal_batch **group, unsigned count)
{
	struct seal_batch *live[GROUP_MAX_EXTENTS];
	unsigned live_count = 0;
	int rc;

	for (unsigned i = 0; i < count; i++) {
		struct seal_batch *b = group[i];
		int err;

		inode_ref(b->in); /* finish() gives it back */
		env_mutex_lock(&b->in->lock);
		err = b->in->fifo_err; /* one before it failed: it will go back, too */
		env_mutex_unlock(&b->in->lock);
		if (err) {
			finish(b, err);
			continue;
		}
		batch_build(b);
		live[live_count++] = b;
	}
	if (!live_count)
		return;
	rc = live_count > 1 ? write_extents(fs, live, live_count) : DFS_ENOSPC;
	/* One that can't be stored must not fail the others. */
	for (unsigned i = 0; i < live_count; i++)
		finish(live[i], rc ? write_alone(fs, live[i]) : 0);
}

/* queue_lock held */
static void dequeue(struct fs *fs, struct seal_batch *b)
{
	env_assert_held(&fs->queue.lock);
	TAILQ_REMOVE(&fs->queue.list, b, queue);
	fs->queue.bytes -= b->charged;
	b->queued = false;
}

/* The workers share what there is, up to a bound. */
static unsigned take_group(struct fs *fs, struct seal_batch **group)
{
	uint64_t limit = MIN(MAX(fs->queue.bytes / fs->cfg.seal_workers, SLOT_BYTES),
			     GROUP_MAX_BYTES);
	uint64_t bytes = 0;
	unsigned count = 0, slots = 0;
	struct seal_batch *b;

	while ((b = TAILQ_FIRST(&fs->queue.list)) && count < GROUP_MAX_EXTENTS) {
		bytes += b->charged;
		slots += b->slot_count;
		if (count && (bytes > limit || slots > GROUP_MAX_EXTENTS))
			break;
		dequeue(fs, b);
		group[count++] = b;
	}
	return count;
}

void seal_worker(void *arg)
{
	struct seal_batch *group[GROUP_MAX_EXTENTS];
	struct fs *fs = arg;
	unsigned count;

	for (;;) {
		env_mutex_lock(&fs->queue.lock);
		while (TAILQ_EMPTY(&fs->queue.list) && !fs->queue.stop)
			env_cond_wait(&fs->queue.wake, &fs->queue.lock);
		count = __atomic_load_n(&fs->abandoned, __ATOMIC_RELAXED) ? 0
									  : take_group(fs, group);
		if (!TAILQ_EMPTY(&fs->queue.list))
			env_cond_signal(&fs->queue.wake);
		env_mutex_unlock(&fs->queue.lock);
		if (!count)
			return;
		write_group(fs, group, count);
	}
}

/* Takes this inode's queued batches, oldest first. lock held. */
static unsigned take_own(struct inode *in, struct seal_batch **group)
{
	uint64_t bytes = 0;
	unsigned count = 0;
	struct seal_batch *b;

	env_assert_held(&in->lock);
	ENV_LOCKED(&in->fs->queue.lock);
	TAILQ_FOREACH(b, &in->fifo, fifo) {
		if (!b->queued)
			continue;
		bytes += b->charged;
		if (count && (bytes > GROUP_MAX_BYTES || count == GROUP_MAX_EXTENTS))
			break;
		dequeue(in->fs, b);
		group[count++] = b;
	}
	return count;
}

/* lock held. *ret_failed: the FIFO collapsed meanwhile. */
static int seal_and_wait(struct inode *in, bool *ret_failed)
{
	struct seal_batch *group[GROUP_MAX_EXTENTS];
	unsigned fails = in->fail_count, count;
	int rc = seal_start(in, SEAL_ALL, 0);
	uint64_t target = in->detach_seq;

	env_assert_held(&in->lock);
	while (in->commit_seq < target && (count = take_own(in, group)) > 0) {
		env_mutex_unlock(&in->lock);
		write_group(in->fs, group, count);
		env_mutex_lock(&in->lock);
	}
	while (in->commit_seq < target && in->fail_count == fails)
		env_cond_wait(&in->changed, &in->lock);
	*ret_failed = in->fail_count != fails;
	return rc;
}

int seal_wait(struct inode *in)
{
	bool failed;
	int rc;

	env_mutex_lock(&in->lock);
	do {
		while (in->excl)
			env_cond_wait(&in->changed, &in->lock);
		rc = seal_and_wait(in, &failed);
		if (rc == 0 && failed)
			rc = in->error;
		/* Without an error what failed was truncated since, or stored by the flusher. */
	} while (rc == 0 && failed);
	env_mutex_unlock(&in->lock);
	return rc;
}
