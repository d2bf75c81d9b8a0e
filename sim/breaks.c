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
		small.checkpoint_bytes = MIN(small.checkpoint_bytes, cfg->checkpoint_bytes);
		small.buffer_bytes = sim_run_now->meta_buffer_bytes;
	}
	return __real_meta_open(&small, ret_meta, ret_recovery);
}

/* Segments end early, so that their space comes back while the seed still runs. */
int __wrap_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr)
{
	struct run *r = sim_run_now;

	if (r && r->segment_closes_one_in && rng_one_in(&r->segment_rng, r->segment_closes_one_in))
		segment_close_open(d);
	return __real_segment_reserve(d, len, ret_addr);
}

/* What the fiber is doing: bits of its word. */
#define IN_RECLAIM 1u
#define IN_READ 2u
#define IN_RENAME 4u

static bool doing(unsigned what) { return *sim_env_fiber_word() & what; }
static void set_doing(unsigned what) { *sim_env_fiber_word() |= what; }
static void set_done(unsigned what) { *sim_env_fiber_word() &= ~what; }

static unsigned
	reclaiming; /* the round in which somebody does: one at a time, as the pool has it */

/* Space is given back at once, and not only every two seconds. */
void sim_break_after_op(struct run *r)
{
	unsigned done;

	if (sim_break == BREAK_FREE_EARLY && reclaiming != r->round)
		(void)!__wrap_extent_reclaim(pool_extents(r->pool), 100, &done);
}

int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done)
{
	int err;

	reclaiming = sim_run_now ? sim_run_now->round : 0;
	set_doing(IN_RECLAIM);
	err = __real_extent_reclaim(s, max, ret_done);
	set_done(IN_RECLAIM);
	reclaiming = 0;
	return err;
}

int __wrap_meta_sync(struct meta *m, uint64_t seq)
{
	if (sim_break == BREAK_ACK_EARLY && !strcmp(sim_env_fiber_name(), "client"))
		return 0;
	if (sim_break == BREAK_FREE_EARLY && doing(IN_RECLAIM))
		return 0;
	return __real_meta_sync(m, seq);
}

void __wrap_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta)
{
	if (sim_break == BREAK_LOSE_COUNT && counter == META_COUNT_INODES && delta < 0)
		return;
	__real_meta_add(t, counter, delta);
}

/* To ignore the blocks' checksums: all are zeros when written, and when compared. */
void __wrap_record_hash_blocks(const void *payload, uint32_t len, struct hash *out)
{
	__real_record_hash_blocks(payload, len, out);
	if (sim_break == BREAK_IGNORE_CHECKSUM)
		memset(out, 0, DIV_UP(len, RECORD_BLOCK_BYTES) * sizeof(*out));
}

int __wrap_extent_read(struct extent_store *s, extent_id id, uint32_t off, uint32_t len, void *buf)
{
	int err;

	set_doing(IN_READ);
	err = __real_extent_read(s, id, off, len, buf);
	set_done(IN_READ);
	return err;
}

int __wrap_extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
			 struct extent_check *ret_check)
{
	int err;

	set_doing(IN_READ);
	err = __real_extent_verify(s, rec, deep, ret_check);
	set_done(IN_READ);
	return err;
}

int __wrap_record_header_parse(const void *data, size_t len, struct record_header *ret_header,
			       struct hash *ret_hash, uint32_t *ret_need)
{
	bool reading = doing(IN_READ);
	int err;

	set_done(IN_READ);
	err = __real_record_header_parse(data, len, ret_header, ret_hash, ret_need);
	if (reading)
		set_doing(IN_READ);
	return err;
}

void __wrap_hash_bytes(const void *data, size_t len, struct hash *ret_hash)
{
	__real_hash_bytes(data, len, ret_hash);
	if (sim_break == BREAK_IGNORE_CHECKSUM && doing(IN_READ))
		memset(ret_hash, 0, sizeof(*ret_hash));
}

/* A disk that missed changes is chosen, and believed. */
void __wrap_history_choose(const struct history_seen *seen, unsigned count,
			   const struct history_witness *witness, bool force,
			   struct history_choice *ret_choice, enum history_role *ret_roles)
{
	__real_history_choose(seen, count, witness, force, ret_choice, ret_roles);
	for (unsigned i = 0; sim_break == BREAK_BELIEVE_STALE && i < count; i++) {
		if (ret_roles[i] != HISTORY_BEHIND && ret_roles[i] != HISTORY_SET_BACK)
			continue;
		ret_roles[i] = HISTORY_CURRENT;
		ret_choice->chosen = (int)i;
		ret_choice->verdict = HISTORY_ACCEPTED;
	}
}

int __wrap_fs_rename(struct fs *fs, struct inode *from_dir, const char *from, struct inode *to_dir,
		     const char *to, unsigned flags)
{
	int err;

	set_doing(IN_RENAME);
	err = __real_fs_rename(fs, from_dir, from, to_dir, to, flags);
	set_done(IN_RENAME);
	return err;
}

int __wrap_seal_wait(struct inode *in)
{
	if (sim_break == BREAK_RENAME_NO_SEAL && doing(IN_RENAME))
		return 0;
	return __real_seal_wait(in);
}
