/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two clocks of the filesystem. The flusher seals what has been dirty for half the interval, the
 * oldest first and along with it what is nearly as old, so that small files go together, tries again what could not be stored (F3), and makes room when half of the dirty
 * limit is taken, down to three eighths (P9). The background thread frees deleted files and makes everything committed
 * durable as often; it is apart, so that a slow disk sync doesn't keep writers waiting for room.
 */
#include "file/internal.h"

#include <stdlib.h>

#define PASS_INODES 64u

/* dirty_lock held. Once it makes room, it makes some more than is needed right now: else each write
 * would wake it again. */
static bool pressure(struct fs *fs, bool making_room)
{
	env_assert_held(&fs->dirty_lock);
	return fs->dirty_bytes - fs->inflight_bytes >
	       fs->cfg.dirty_limit_bytes / 8 * (making_room ? 3 : 4);
}

/* Once one is due, all of this age are. */
static uint64_t nearly_due_ns(const struct fs *fs) { return flush_age_ns(fs) / 8 * 7; }

static bool due(const struct fs *fs, const struct inode *in, uint64_t now, uint64_t age,
		bool pressed)
{
	int64_t then = in->dirty_since_ns + (int64_t)(in->failing ? flush_age_ns(fs) : age);

	return (!in->failing && (pressed || in->dirty_since_ns <= (int64_t)fs->store_by_ns)) ||
	       then <= (int64_t)now;
}

/* dirty_lock held. Gives references. age: from which on an inode is due; pressed: all are. */
static unsigned collect(struct fs *fs, struct inode **ins, uint64_t age, bool pressed)
{
	uint64_t now = env_now_ns();
	unsigned count = 0;
	struct inode *in;

	env_assert_held(&fs->dirty_lock);
	TAILQ_FOREACH(in, &fs->dirty, dirty_link) {
		if (count == PASS_INODES)
			break;
		if (!due(fs, in, now, age, pressed)) {
			if (!pressed && !in->failing)
				break; /* ordered: the rest is younger */
			continue;
		}
		inode_ref(in);
		ins[count++] = in;
	}
	return count;
}

/* dirty_lock held: until the oldest is due, or somebody wakes us. */
static uint64_t wait_ms(struct fs *fs)
{
	const struct inode *oldest = TAILQ_FIRST(&fs->dirty);
	int64_t left_ms;

	env_assert_held(&fs->dirty_lock);
	if (!oldest)
		return 1000;
	left_ms = (oldest->dirty_since_ns + (int64_t)flush_age_ns(fs) - (int64_t)env_now_ns()) /
		  1000000;
	return (uint64_t)MIN(MAX(left_ms + 1, 1), 1000);
}

static bool under_pressure(struct fs *fs)
{
	ENV_LOCKED(&fs->dirty_lock);
	return pressure(fs, true);
}

static bool seal_one(struct inode *in, bool pressed, uint64_t store_by_ns)
{
	uint64_t age = nearly_due_ns(in->fs), now = env_now_ns();
	uint64_t cutoff = MAX(now > age ? now - age : 0, store_by_ns);
	bool did = false;

	env_mutex_lock(&in->lock);
	if (!in->excl) {
		did = in->slots.count > 0;
		/* What failed is tried again whatever its age. */
		if (seal_start(in, pressed || in->error ? SEAL_ALL : SEAL_AGED, cutoff))
			did = false; /* logged there, and tried again */
	}
	env_mutex_unlock(&in->lock);
	return did;
}

void flusher(void *arg)
{
	struct inode *ins[PASS_INODES];
	struct fs *fs = arg;
	uint64_t age = flush_age_ns(fs), store_by_ns;
	bool pressed = false, did;
	unsigned count;

	for (;;) {
		env_mutex_lock(&fs->dirty_lock);
		if (fs->stop_flusher)
			break;
		pressed = pressure(fs, pressed);
		store_by_ns = fs->store_by_ns;
		count = collect(fs, ins, age, pressed);
		age = count ? nearly_due_ns(fs) : flush_age_ns(fs);
		if (!count) {
			env_cond_wait_ms(&fs->flush_wake, &fs->dirty_lock, wait_ms(fs));
			env_mutex_unlock(&fs->dirty_lock);
			continue;
		}
		env_mutex_unlock(&fs->dirty_lock);
		did = false;
		for (unsigned i = 0; i < count; i++) {
			if (!pressed || under_pressure(fs))
				did |= seal_one(ins[i], pressed, store_by_ns);
			inode_put(ins[i], 1);
		}
		if (!did)
			env_sleep_ms(10); /* all are being truncated, or fail */
	}
	env_mutex_unlock(&fs->dirty_lock);
}

void background(void *arg)
{
	struct fs *fs = arg;
	uint64_t last_ns = env_now_ns(), half_ms = MAX(fs->cfg.flush_interval_ms / 2, 1);
	bool stop = false;

	while (!stop) {
		env_mutex_lock(&fs->reaper.lock);
		if (STAILQ_EMPTY(&fs->reaper.list) && !fs->reaper.stop)
			env_cond_wait_ms(&fs->reaper.wake, &fs->reaper.lock, half_ms);
		stop = fs->reaper.stop;
		env_mutex_unlock(&fs->reaper.lock);
		if (stop && __atomic_load_n(&fs->abandoned, __ATOMIC_RELAXED))
			return;
		reap_run(fs);
		if (stop || env_now_ns() - last_ns < half_ms * 1000000u)
			continue;
		/* A failure is the pool's to report; who asks for durability gets it, too. */
		if (meta_durable_seq(fs->meta) < meta_last_seq(fs->meta) &&
		    meta_sync(fs->meta, meta_last_seq(fs->meta)))
			log_warn("cannot make the last changes durable yet: see the messages on "
				 "disks above; it is tried again in %llu ms",
				 (unsigned long long)half_ms);
		last_ns = env_now_ns();
	}
}

/* All inodes with unsealed data, with references. The caller frees the array. */
static struct inode **collect_all(struct fs *fs, size_t *ret_count)
{
	size_t count = 0;
	struct inode **v, *in;

	ENV_LOCKED(&fs->dirty_lock);
	TAILQ_FOREACH(in, &fs->dirty, dirty_link)
		count++;
	TAILQ_FOREACH(in, &fs->sealing, dirty_link)
		count++;
	v = xcalloc(count, sizeof(struct inode *));
	count = 0;
	TAILQ_FOREACH(in, &fs->dirty, dirty_link)
		v[count++] = in;
	TAILQ_FOREACH(in, &fs->sealing, dirty_link)
		v[count++] = in;
	for (size_t i = 0; i < count; i++)
		inode_ref(v[i]);
	*ret_count = count;
	return v;
}

int seal_everything(struct fs *fs)
{
	size_t count;
	struct inode **v = collect_all(fs, &count);
	int rc = 0, err;

	/* First all go to the workers, so that small files share their I/O; then each is waited for. */
	for (size_t i = 0; i < count; i++) {
		env_mutex_lock(&v[i]->lock);
		err = v[i]->excl ? 0 : seal_start(v[i], SEAL_ALL, 0);
		env_mutex_unlock(&v[i]->lock);
		rc = rc ? rc : err;
	}
	for (size_t i = 0; i < count; i++) {
		err = seal_wait(v[i]);
		rc = rc ? rc : err;
		inode_put(v[i], 1);
	}
	free(v);
	return rc;
}

uint64_t fs_store_soon(struct fs *fs)
{
	ENV_LOCKED(&fs->dirty_lock);
	fs->store_by_ns = env_now_ns();
	env_cond_signal(&fs->flush_wake);
	return fs->store_by_ns;
}

bool fs_is_stored(struct fs *fs, uint64_t until_ns)
{
	const struct inode *in;
	ENV_LOCKED(&fs->dirty_lock);

	TAILQ_FOREACH(in, &fs->dirty, dirty_link)
		if (!in->failing && in->unstored_since_ns <= (int64_t)until_ns)
			return false;
	TAILQ_FOREACH(in, &fs->sealing, dirty_link)
		if (!in->failing && in->unstored_since_ns <= (int64_t)until_ns)
			return false;
	return true;
}
