/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promises broken on purpose (--break), to see that the oracle bites; and the few settings that the
 * simulator makes smaller than any pool needs. The engine knows nothing of it: the linker puts these
 * functions between its files (-Wl,--wrap), and with no break asked for they only pass calls on.
 */
#include "sim/breaks.h"

#include "sim/sim_env.h"

enum sim_break sim_break;

static const char *const names[BREAK_COUNT] = {
	[BREAK_NONE] = "none",
	[BREAK_SKIP_SYNC] = "skip-sync",
	[BREAK_PUBLISH_EARLY] = "publish-before-durable",
	[BREAK_JOURNAL_SYNC] = "skip-journal-sync",
	[BREAK_SKIP_DIR_SYNC] = "skip-dir-sync",
	[BREAK_ACK_EARLY] = "ack-before-durable",
	[BREAK_IGNORE_CHECKSUM] = "ignore-checksum",
	[BREAK_BELIEVE_STALE] = "believe-a-stale-disk",
	[BREAK_FREE_EARLY] = "free-before-durable",
	[BREAK_SPLIT_RENAME] = "split-rename",
	[BREAK_RENAME_NO_SEAL] = "rename-without-content",
	[BREAK_LOSE_COUNT] = "lose-count",
};

const char *sim_break_name(enum sim_break b) { return names[b]; }

bool sim_break_parse(const char *name, enum sim_break *ret_break)
{
	for (unsigned i = 0; i < BREAK_COUNT; i++) {
		if (strcmp(name, names[i]))
			continue;
		*ret_break = (enum sim_break)i;
		return true;
	}
	return false;
}

/* Some breaks are devices that lie. */
unsigned sim_break_lies(void)
{
	switch (sim_break) {
	case BREAK_SKIP_SYNC:
		return SIM_LIE_SYNC;
	case BREAK_PUBLISH_EARLY:
		return SIM_LIE_SEGMENT_SYNC;
	case BREAK_JOURNAL_SYNC:
		return SIM_LIE_JOURNAL_SYNC;
	case BREAK_SKIP_DIR_SYNC:
		return SIM_LIE_SYNC_DIR;
	default:
		return 0;
	}
}

int __wrap_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery)
{
	struct meta_config small = *cfg;

	if (sim_run_now) {
		small.checkpoint_bytes = sim_run_now->meta_checkpoint_bytes;
		small.buffer_bytes = sim_run_now->meta_buffer_bytes;
	}
	return __real_meta_open(&small, ret_meta, ret_recovery);
}

static bool reclaiming;

int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done)
{
	int err;

	reclaiming = true;
	err = __real_extent_reclaim(s, max, ret_done);
	reclaiming = false;
	return err;
}

int __wrap_meta_sync(struct meta *m, uint64_t seq)
{
	if (sim_break == BREAK_ACK_EARLY && !strcmp(sim_env_fiber_name(), "client"))
		return 0;
	if (sim_break == BREAK_FREE_EARLY && reclaiming &&
	    !strcmp(sim_env_fiber_name(), "dfs-pool"))
		return 0;
	return __real_meta_sync(m, seq);
}

void __wrap_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta)
{
	if (sim_break == BREAK_LOSE_COUNT && counter == META_COUNT_INODES && delta < 0)
		return;
	__real_meta_add(t, counter, delta);
}

void __wrap_hash_bytes(const void *data, size_t len, struct hash *ret_hash)
{
	if (sim_break == BREAK_IGNORE_CHECKSUM)
		__real_hash_bytes(&len, sizeof(len), ret_hash);
	else
		__real_hash_bytes(data, len, ret_hash);
}

int __wrap_root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root)
{
	int err = __real_root_parse(in, ret_root);

	if (!err && sim_break == BREAK_BELIEVE_STALE)
		ret_root->epoch = 1;
	return err;
}
