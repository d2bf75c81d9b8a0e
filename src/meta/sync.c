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

/* Takes what is buffered. Returns the last sequence number in it. */
static uint64_t take_buffer(struct meta *m, struct hash *ret_chain)
{
	struct buf empty;
	uint64_t last;

	buf_reset(&m->flying);
	env_mutex_lock(&m->commit);
	empty = m->flying;
	m->flying = m->buffer;
	m->buffer = empty;
	last = m->seq;
	*ret_chain = m->chain;
	env_mutex_unlock(&m->commit);
	return last;
}

/* What could not be written is the first part of the buffer again, for the next attempt. */
static void give_buffer_back(struct meta *m)
{
	struct buf empty;

	ENV_LOCKED(&m->commit);
	buf_put(&m->flying, m->buffer.data, m->buffer.len);
	empty = m->buffer;
	m->buffer = m->flying;
	m->flying = empty;
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

int sync_group(struct meta *m)
{
	struct hash chain;
	uint64_t last;
	int err = state_failed(m);

	if (err)
		return DFS_EFAILED;
	last = take_buffer(m, &chain);
	if (m->flying.len == 0)
		return 0;
	if (m->cfg.data_sync) {
		err = m->cfg.data_sync(m->cfg.ctx);
		if (err) {
			state_fail(m, err, "make file data durable before its metadata");
			return err;
		}
	}
	err = journal_write(m, &m->flying);
	if (err) {
		if (!m->journal_full)
			log_error("cannot write the metadata journal: no space left on any disk "
				  "that holds metadata; changes are kept in memory and nothing new "
				  "is durable until there is; free some space on them");
		m->journal_full = true;
		PROBE("journal-full");
		give_buffer_back(m);
		return err;
	}
	m->journal_full = false;
	err = members_settle(m);
	if (err) {
		state_fail(m, err, "write the metadata journal to any disk");
		return err;
	}
	env_mutex_lock(&m->state);
	__atomic_store_n(&m->durable, last, __ATOMIC_RELAXED);
	m->durable_chain = chain;
	m->journal_bytes += m->flying.len;
	m->stats.journal_syncs++;
	if (m->journal_bytes >= m->cfg.checkpoint_bytes && !m->checkpoint_wanted) {
		m->checkpoint_wanted = true;
		env_cond_signal(&m->background);
	}
	env_mutex_unlock(&m->state);
	if (m->flying.cap > 2 * m->cfg.buffer_bytes)
		buf_release(&m->flying);
	return 0;
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
