/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extent store as a whole: creation, statistics, and the data half of a group commit (E1).
 */
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "extent/internal.h"

/* Ids grow from process to process, too: of two extents that hold the same bytes of a file, the later one
 * counts when a pool has to be read without its index. */
static void follow_last_id(struct meta *m)
{
	struct meta_iter *it = meta_iter_new(m);
	uint8_t key[17] = {TABLE_EXTENT};

	memset(key + 1, 0xff, sizeof(key) - 1);
	meta_iter_seek_back(it, key, sizeof(key));
	if (meta_iter_valid(it)) {
		size_t len;
		const uint8_t *k = meta_iter_key(it, &len);
		struct uuid u;

		if (len == sizeof(key) && k[0] == TABLE_EXTENT) {
			memcpy(u.b, k + 1, sizeof(u.b));
			uuid_clock_follow(&u);
		}
	}
	meta_iter_free(it);
}

struct extent_store *extent_store_new(const struct extent_config *cfg)
{
	struct extent_store *s = xcalloc(1, sizeof(*s));

	s->cfg = *cfg;
	env_mutex_init(&s->record_lock);
	env_cond_init(&s->record_cond);
	env_mutex_init(&s->reclaim_lock);
	env_mutex_init(&s->accepted_lock);
	env_mutex_init(&s->restore_lock);
	env_mutex_init(&s->rooms_lock);
	env_mutex_init(&s->numbers_lock);
	atomic_store(&s->verify_writes, cfg->verify_writes);
	risk_init(&s->risk);
	cache_init(&s->cache, cfg->header_cache_bytes ? cfg->header_cache_bytes : MIB(32));
	if (cfg->meta)
		follow_last_id(cfg->meta);
	compactor_init(&s->compactor);
	healer_start(s);
	return s;
}

void extent_store_free(struct extent_store *s)
{
	if (!s)
		return;
	healer_release(s);
	compactor_release(&s->compactor);
	cache_release(&s->cache);
	risk_release(&s->risk);
	env_mutex_release(&s->numbers_lock);
	env_mutex_release(&s->accepted_lock);
	env_mutex_release(&s->restore_lock);
	extent_rebuild_rests(s);
	env_mutex_release(&s->rooms_lock);
	env_mutex_release(&s->reclaim_lock);
	env_cond_release(&s->record_cond);
	env_mutex_release(&s->record_lock);
	free(s);
}

void extent_store_quiesce(struct extent_store *s) { healer_stop(s); }

void extent_store_set_verify(struct extent_store *s, bool verify_writes)
{
	atomic_store(&s->verify_writes, verify_writes);
}

#define NOTED_MAX 64u /* segments in one note */
_Static_assert(NOTED_MAX * 48 <= META_NOTE_BYTES, "a note has room for so many");

/*
 * S5: what was written to a disk that is lost by now, and not synced there, is not to be counted on ever
 * again: the group that goes on without that disk says so, or a later mount would take it for whole.
 */
static int remember_doubts(struct extent_store *s, struct disk *d)
{
	uint32_t segments[NOTED_MAX];
	unsigned count = disk_new_doubts(d, segments, NOTED_MAX);
	struct meta_txn *t;
	int err;

	if (count == 0)
		return 0;
	t = meta_begin(s->cfg.meta);
	for (unsigned i = 0; i < count; i++)
		put_doubt(t, disk_info(d).id, segments[i], 0);
	err = meta_commit_note(t);
	for (unsigned i = 0; !err && i < count; i++)
		disk_doubt_remembered(d, segments[i]);
	if (!err)
		PROBE("doubts-remembered");
	return err;
}

int extent_sync(struct extent_store *s)
{
	FREE struct risk_group *group = xmalloc(sizeof(*group));
	disk_id failed[PLACE_MAX_DISKS];
	unsigned failed_count = 0, lost;
	bool survives;
	int err = 0;

	risk_of_group(&s->risk, meta_durable_seq(s->cfg.meta), group);
	/* which disks were lost by it or before it is seen below */
	(void)disk_set_sync(s->cfg.disks, failed, &failed_count);
	lost = risk_lost(group, s->cfg.disks, &survives);
	if (!survives) {
		PROBE("risk-group-refused");
		log_error("cannot make file data durable: %u %s lost before what was "
			  "written to them was durable, more than extents written just now "
			  "tolerate; the pool accepts no more changes. Check the disks, then mount "
			  "again",
			  lost, plural(lost, "disk was", "disks were"));
		return DFS_EIO;
	}
	if (failed_count)
		PROBE("sync-survived-a-loss");
	if (failed_count)
		log_warn("%u %s failed while being synced; the data written just now is "
			 "durable on the others, with less redundancy",
			 failed_count, plural(failed_count, "disk", "disks"));
	for (unsigned i = 0; !err && i < disk_count(s->cfg.disks); i++)
		err = remember_doubts(s, disk_at(s->cfg.disks, i));
	return err;
}

bool extent_at_risk_on(struct extent_store *s, disk_id disk)
{
	return risk_uses(&s->risk, meta_durable_seq(s->cfg.meta), disk);
}

struct extent_stats extent_stats(struct extent_store *s)
{
	struct extent_stats st = {
		.extents_written = atomic_load(&s->extents_written),
		.extents_read = atomic_load(&s->extents_read),
		.fragments_rotten = atomic_load(&s->fragments_rotten),
		.fragments_decoded = atomic_load(&s->fragments_decoded),
		.fragments_healed = atomic_load(&s->fragments_healed),
		.extents_unreadable = atomic_load(&s->extents_unreadable),
	};

	env_mutex_lock(&s->cache.lock);
	st.header_cache_bytes = s->cache.bytes;
	env_mutex_unlock(&s->cache.lock);
	env_mutex_lock(&s->healer.lock);
	st.heal_queue = s->healer.count;
	env_mutex_unlock(&s->healer.lock);
	return st;
}
