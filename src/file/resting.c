/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots that rest: what was overwritten within the bound of folding (U3) stays scattered for as long as writes go on there, and
 * is stored anew as full extents when they have ceased (U8). All slots that are not plain have a usage record, so the walk over these finds
 * them; that nobody writes there any more the file's time of change says. Done as folding does it (fold.c), where nothing else is to be folded.
 *
 * Owns fs.resting (fs.fold.lock).
 */
#include "base/probe.h"
#include "file/internal.h"

#define LOOKED_MAX 1024u /* records of a step */

/* What found no disks for its geometry would be so again, each time: rebundle.c stores it anew when there are some. */
static bool is_listed_narrow(struct inode *in, uint64_t slot)
{
	BUF key = {0};
	BUF value = {0};

	if (!(in->rec.flags & INODE_NARROW))
		return false;
	key_narrow(&key, in->ino, slot);
	return meta_get(in->fs->meta, key.data, key.len, &value) != DFS_ENOENT;
}

bool resting_is_due(struct fs *fs, struct inode *in, const struct rec_usage *u)
{
	uint64_t now = env_wall_ns() / 1000000ull, ms = fs->cfg.rest_after_ms;
	const struct dfs_time *m = &in->rec.mtime;
	uint64_t changed = m->sec < 0 ? 0 : (uint64_t)m->sec * 1000 + m->nsec / 1000000u;

	env_assert_held(&in->lock);
	return usage_scattered(fs, u) && now >= ms && changed <= now - ms &&
	       !is_listed_narrow(in, u->slot);
}

/* The next slot whose usage is worth a look. DFS_ENOENT: there is none; DFS_EBUSY: not among the next ones. */
static int next_scattered(struct fs *fs, struct rec_usage *ret)
{
	const uint8_t table = TABLE_USAGE;
	struct meta_iter *it = meta_iter_new_within(fs->meta, &table, 1);
	unsigned looked = 0;
	size_t klen, vlen;
	int rc = DFS_ENOENT;
	BUF key = {0};

	env_mutex_lock(&fs->fold.lock);
	key_usage(&key, fs->resting.at_ino, fs->resting.at_slot + 1);
	env_mutex_unlock(&fs->fold.lock);
	for (meta_iter_seek(it, key.data, key.len); rc == DFS_ENOENT && meta_iter_valid(it);
	     meta_iter_next(it)) {
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);

		if (!klen || k[0] != table)
			break;
		if (parse_usage(k, klen, v, vlen, ret))
			continue; /* fsck's to tell */
		if (usage_scattered(fs, ret) && !fold_is_bad(fs, ret->ino, ret->slot))
			rc = 0;
		else if (++looked == LOOKED_MAX)
			rc = DFS_EBUSY;
	}
	if (rc == DFS_ENOENT && meta_iter_error(it))
		rc = meta_iter_error(it);
	meta_iter_free(it);
	return rc;
}

static bool is_due(struct fs *fs)
{
	ENV_LOCKED(&fs->fold.lock);
	return env_now_ns() >= fs->resting.next_ns;
}

/* at: NULL: the walk is over. */
static void go_on(struct fs *fs, const struct rec_usage *at, uint64_t pause_ns)
{
	ENV_LOCKED(&fs->fold.lock);
	fs->resting.at_ino.v = at ? at->ino.v : 0;
	fs->resting.at_slot = at ? at->slot : 0;
	fs->resting.next_ns = env_now_ns() + pause_ns;
}

int resting_next(struct fs *fs)
{
	struct pool_rebuild set = pool_get_rebuild(fs->pool);
	uint64_t walk_ns = fs->cfg.rest_after_ms * 1000000ull;
	struct rec_usage u;
	bool done = false;
	int rc;

	if (!is_due(fs) || set.after_s >= POOL_REBUILD_NEVER)
		return DFS_ENOENT;
	rc = next_scattered(fs, &u);
	if (rc == DFS_EBUSY) {
		go_on(fs, &u, 0);
		return 0;
	}
	if (rc) {
		go_on(fs, NULL, walk_ns);
		return rc;
	}
	/* what writes were promised is not ours, nor what is left of the journal for removals (C3) */
	rc = pool_may_grow(fs->pool) && space_try(fs, SLOT_BYTES)
		     ? fold_slot(fs, u.ino, u.slot, FOLD_RESTING, &done)
		     : DFS_ENOSPC;
	if (rc == DFS_ENOSPC) {
		go_on(fs, NULL, walk_ns);
		return rc;
	}
	if (done)
		PROBE("resting-slot-folded");
	go_on(fs, &u, done && set.bytes_per_s ? SLOT_BYTES * 1000000000ull / set.bytes_per_s : 0);
	return 0;
}
