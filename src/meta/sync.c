/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit. One caller leads: it holds the token, takes what is buffered, makes the data durable
 * (M4), writes the records to every member, and only then moves `durable` (M3, P1). The others wait,
 * and one of them leads the next group, which has gathered meanwhile.
 *
 * The token (state.busy) is held across disk I/O: by definition, only one group is written at a
 * time. No mutex is held across disk I/O or the callbacks.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

void token_take(struct meta *m)
{
	env_mutex_lock(&m->state);
	while (m->busy)
		env_cond_wait(&m->idle, &m->state);
	m->busy = true;
	env_mutex_unlock(&m->state);
}

void token_give(struct meta *m)
{
	env_mutex_lock(&m->state);
	ASSERT(m->busy);
	m->busy = false;
	env_cond_broadcast(&m->idle);
	env_mutex_unlock(&m->state);
}

int meta_failed(struct meta *m) { return state_failed(m); }

int state_failed(struct meta *m) { return __atomic_load_n(&m->failed, __ATOMIC_ACQUIRE); }

void state_fail(struct meta *m, int err, const char *doing)
{
	ENV_LOCKED(&m->state);
	if (m->failed)
		return;
	log_error("cannot %s: %s; the pool accepts no more changes, what was synced before is "
		  "safe; fix the cause and mount again",
		  doing, dfs_err_text(err));
	__atomic_store_n(&m->failed, err, __ATOMIC_RELEASE);
	env_cond_broadcast(&m->idle);
	env_cond_broadcast(&m->background);
}

static void take_buffer(struct meta *m)
{
	struct buf empty;

	buf_reset(&m->flying);
	ENV_LOCKED(&m->commit);
	empty = m->flying;
	m->flying = m->buffer;
	m->buffer = empty;
}

/* What was committed since goes along. */
static void take_more(struct meta *m)
{
	ENV_LOCKED(&m->commit);
	buf_put(&m->flying, m->buffer.data, m->buffer.len);
	buf_reset(&m->buffer);
}

/* What could not be written, from `at` on, is the first part of the buffer again. */
static void give_buffer_back(struct meta *m, size_t at)
{
	struct buf rest = {0};

	ENV_LOCKED(&m->commit);
	buf_put(&rest, m->flying.data + at, m->flying.len - at);
	buf_put(&rest, m->buffer.data, m->buffer.len);
	buf_release(&m->buffer);
	m->buffer = rest;
	buf_reset(&m->flying);
}

int members_settle(struct meta *m)
{
	struct root next = m->root;
	bool same = true;

	for (unsigned i = 0; i < m->member_count; i++) {
		if (m->members[i]->listed && member_dead(m, m->members[i]))
			same = false;
	}
	if (same)
		return 0;
	PROBE("member-left-out");
	next.clean = false;
	return roots_publish(m, &next);
}

bool sync_checkpoint_due(const struct meta *m)
{
	/* file_cap: also read without the token; it changes only when the file does */
	return m->journal_bytes >=
	       MIN(m->cfg.checkpoint_bytes, __atomic_load_n(&m->file_cap, __ATOMIC_RELAXED) / 2);
}

static void note_full(struct meta *m)
{
	if (!m->journal_full)
		log_error("cannot write the metadata journal: no space left; changes are kept in "
			  "memory and nothing new is durable until there is; free some space on "
			  "the disks that hold metadata");
	m->journal_full = true;
	PROBE("journal-full");
	ENV_LOCKED(&m->state);
	m->checkpoint_wanted = true;
	env_cond_signal(&m->background);
}

/* A chunk is on every member that lives. */
static void chunk_durable(struct meta *m, size_t len, uint64_t seq, const struct hash *chain)
{
	m->file_off += len;
	m->journal_full = false;
	env_mutex_lock(&m->state);
	__atomic_store_n(&m->durable, seq, __ATOMIC_RELAXED);
	m->durable_chain = *chain;
	m->journal_bytes += len;
	m->stats.journal_syncs++;
	if (sync_checkpoint_due(m) && !m->checkpoint_wanted) {
		m->checkpoint_wanted = true;
		env_cond_signal(&m->background);
	}
	env_mutex_unlock(&m->state);
	journal_room_update(m, len);
}

/*
 * The flying records in chunks of as many whole ones as the file takes; the next file, if it is
 * spare, takes the rest (J2). DFS_ENOSPC: what was not written is back in the buffer.
 */
static int write_flying(struct meta *m)
{
	size_t at = 0;
	int err = 0;

	while (at < m->flying.len && err == 0) {
		size_t len = 0;
		uint64_t seq = 0;
		struct hash chain;

		while (at + len < m->flying.len) {
			const uint8_t *p = m->flying.data + at + len;
			size_t next = journal_record_own(p, NULL, NULL);

			if (m->file_off + len + next > m->file_cap)
				break;
			(void)journal_record_own(p, &seq, &chain);
			len += next;
		}
		if (len == 0 && m->file_first != m->root.journal_first)
			err = DFS_ENOSPC; /* J3 keeps that from happening, but for sizes that changed */
		else if (len == 0)
			err = journal_switch(m, m->durable + 1, &m->durable_chain);
		else
			err = journal_write(m, m->flying.data + at, len);
		if (err == 0)
			err = members_settle(m);
		if (err == 0 && len)
			chunk_durable(m, len, seq, &chain);
		at += err ? 0 : len;
	}
	if (err && m->tied) {
		give_buffer_back(m, at); /* it is written again, at the same place */
	} else if (err == DFS_ENOSPC) {
		note_full(m);
		give_buffer_back(m, at);
	} else if (err) {
		state_fail(m, err, "write the metadata journal to any disk");
	}
	return err;
}

/* The first group after a clean close, or an opening: from now on the journal may hold something. */
static int not_clean_any_more(struct meta *m)
{
	struct root next = m->root;
	int err;

	if (!next.clean)
		return 0;
	next.clean = false;
	err = roots_publish(m, &next);
	if (err && m->tied)
		give_buffer_back(m, 0);
	else if (err)
		state_fail(m, err, "write the metadata root to any disk");
	return err;
}

/* Once more after each note: what goes along with it may name fragments that were not synced yet. */
static int sync_data(struct meta *m)
{
	int err;

	if (!m->cfg.data_sync)
		return 0;
	do {
		m->has_note = false;
		err = m->cfg.data_sync(m->cfg.ctx);
		if (m->has_note)
			take_more(m);
	} while (!err && m->has_note);
	if (err == DFS_ENOSPC) {
		note_full(m);
		give_buffer_back(m, 0);
	} else if (err) {
		state_fail(m, err, "make file data durable before its metadata");
	}
	return err;
}

int sync_group(struct meta *m)
{
	int err = state_failed(m);

	if (err)
		return DFS_EFAILED;
	take_buffer(m);
	if (m->flying.len == 0)
		return 0;
	err = sync_data(m);
	if (err == 0)
		err = not_clean_any_more(m);
	if (err == 0)
		err = write_flying(m);
	if (m->flying.cap > 2 * m->cfg.buffer_bytes)
		buf_release(&m->flying);
	return err;
}

int meta_sync(struct meta *m, uint64_t seq)
{
	int err = 0;

	ASSERT(seq <= meta_last_seq(m));
	env_mutex_lock(&m->state);
	while (m->durable < seq && err == 0) {
		if (m->failed) {
			err = DFS_EFAILED;
		} else if (m->busy) {
			env_cond_wait(&m->idle, &m->state);
		} else {
			m->busy = true;
			env_mutex_unlock(&m->state);
			err = sync_group(m);
			token_give(m);
			member_report(m);
			env_mutex_lock(&m->state);
		}
	}
	env_mutex_unlock(&m->state);
	return err;
}

#define SEAL_ROOM KIB(64)

/* Commits without a record of its own are all durable, and it would not have to wait for room. */
static bool seal_is_due(struct meta *m)
{
	ENV_LOCKED(&m->commit);
	ENV_LOCKED(&m->state);
	return !m->failed && m->journal_bytes > 0 && m->durable == m->seq && m->seq != m->sealed &&
	       m->unwritten == 0 && m->room > SEAL_ROOM;
}

int meta_seal(struct meta *m)
{
	struct meta_txn *t;
	uint64_t seq;
	int err;

	if (m->cfg.read_only || !seal_is_due(m))
		return 0;
	t = meta_begin(m);
	journal_add_op(&t->ops, META_COUNT_INODES, 0);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(m, seq);
	if (err)
		return err;
	PROBE("journal-sealed");
	ENV_LOCKED(&m->state);
	m->sealed = seq;
	return 0;
}

int meta_settle_tie(struct meta *m)
{
	int err;

	token_take(m);
	err = state_failed(m) ? DFS_EFAILED : roots_settle_tie(m);
	token_give(m);
	member_report(m);
	return err;
}

uint64_t meta_durable_seq(struct meta *m)
{
	ENV_LOCKED(&m->state);
	return m->durable;
}

/*
 * Bounds the journal, the memory of the index and the time of a replay: beyond three times the
 * wanted distance, committers wait for the checkpoint, unless the last attempt failed (full disk):
 * then going on is better than standing still.
 */
int sync_throttle(struct meta *m)
{
	ENV_LOCKED(&m->state);
	while (m->journal_bytes > 3 * m->cfg.checkpoint_bytes && !m->checkpoint_stuck &&
	       !m->failed && m->thread)
		env_cond_wait(&m->idle, &m->state);
	return m->failed ? DFS_EFAILED : 0;
}

/* Commit not held. */
static bool has_room(struct meta *m, size_t len)
{
	ENV_LOCKED(&m->commit);
	return m->unwritten + len <= m->room;
}

int sync_make_room(struct meta *m, size_t len)
{
	uint64_t attempts;
	int err = meta_sync(m, meta_last_seq(m));

	if (err)
		return state_failed(m) ? DFS_EFAILED : err;
	if (has_room(m, len))
		return 0;
	ENV_LOCKED(&m->state);
	attempts = m->checkpoint_attempts;
	m->checkpoint_wanted = true;
	env_cond_signal(&m->background);
	while (m->checkpoint_attempts == attempts && !m->checkpoint_stuck && !m->failed &&
	       m->thread)
		env_cond_wait(&m->idle, &m->state);
	if (m->failed)
		return DFS_EFAILED;
	if (!m->checkpoint_stuck && m->thread)
		return 0;
	PROBE("journal-without-room");
	return DFS_ENOSPC;
}

struct meta_stats meta_stats(struct meta *m)
{
	struct meta_stats s;
	uint64_t buffered, commits, largest;

	env_mutex_lock(&m->commit);
	buffered = m->buffer.len;
	commits = m->commits;
	largest = m->largest_txn_bytes;
	env_mutex_unlock(&m->commit);
	env_mutex_lock(&m->state);
	s = m->stats;
	s.journal_bytes = m->journal_bytes;
	env_mutex_unlock(&m->state);
	s.buffered_bytes = buffered;
	s.commits = commits;
	s.largest_txn_bytes = largest;
	return s;
}
