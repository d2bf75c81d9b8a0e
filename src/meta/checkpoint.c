/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints, in this order (M5, M6):
 *
 *   1. sync the journal; 2. at a group boundary C, every member starts its other journal file, or has
 *   done so before (a file was full, or an attempt failed): then C is where that was;
 *   3. flush the index; 4. freeze its image; 5. sync the journal again, so that it covers whatever
 *   the flush took along; 6. store the image's table files on the disks, then the manifest that names
 *   them on every member; 7. publish a root that names it, with C as its lower bound: the image itself
 *   says which transaction it ends with; 8. remove what only older roots needed.
 *
 * A crash anywhere leaves the older root with all it needs, or the newer. `admin` is held throughout;
 * commits and syncs go on.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define RETRY_MS 5000u
#define INDEX_CHECK_MS 1000u

static int add_file(void *ctx, const char *name, uint64_t size_bytes)
{
	struct manifest *man = ctx;
	struct manifest_file *f;

	if (strlen(name) >= sizeof(f->name) || size_bytes > TABLE_MAX_BYTES ||
	    man->count == MANIFEST_MAX_FILES) {
		man->checkpoint_id = 0;
		return 1;
	}
	if ((man->count & (man->count - 1)) == 0)
		man->files = xrealloc(man->files, MAX(2 * man->count, 1u) * sizeof(*man->files));
	f = &man->files[man->count++];
	memset(f, 0, sizeof(*f));
	strcpy(f->name, name);
	f->size_bytes = size_bytes;
	return 0;
}

/* What one attempt is about. */
struct cut {
	struct root next;   /* its checkpoint fields */
	uint64_t old_bytes; /* of the journal that it makes superfluous */
	bool is_old; /* the journal goes on behind it by more than what is being committed now */
};

/* Nobody commits yet, nothing is in the buffer: all that there is goes into the image, and the members
 * start their next file when no older one counts any more. */
static void cut_opening(struct meta *m, struct cut *c)
{
	c->next.checkpoint_seq = m->seq;
	c->next.chain = m->chain;
	c->next.journal_first = m->seq + 1;
	c->old_bytes = m->journal_bytes;
}

/* Token held. */
static int cut_running(struct meta *m, struct cut *c)
{
	int err = 0;

	c->is_old = m->file_first != m->root.journal_first;
	if (!c->is_old)
		err = journal_switch(m, m->durable + 1, &m->durable_chain);
	c->next.checkpoint_seq = m->file_first - 1;
	c->next.chain = m->file_chain;
	c->next.journal_first = m->file_first;
	c->old_bytes = m->journal_bytes - MIN(m->journal_bytes, m->file_off);
	return err ? err : members_settle(m);
}

/* Steps 1 and 2. */
static int cut_journal(struct meta *m, struct cut *c)
{
	int err = m->opening ? 0 : meta_sync(m, meta_last_seq(m));
	bool tied;

	if (err)
		return err;
	token_take(m);
	err = roots_settle_tie(m); /* its manifest may have the number that is next */
	if (err) {
		token_give(m);
		return err;
	}
	c->next.checkpoint_id = m->root.checkpoint_id + 1;
	if (m->opening)
		cut_opening(m, c);
	else
		err = cut_running(m, c);
	tied = m->tied;
	token_give(m);
	member_report(m);
	if (err && err != DFS_ENOSPC && !tied)
		state_fail(m, err, "start a metadata journal file on any disk");
	return err;
}

static bool is_stored(void *ctx, const char *name, uint64_t size_bytes)
{
	struct meta *m = ctx;
	const struct manifest_file *f = manifest_find(&m->manifest, name);

	return f && f->size_bytes == size_bytes;
}

/* What is set aside for new tables counts, too: it is lent from here on. */
static uint64_t room_for_new(void *ctx)
{
	struct meta *m = ctx;

	if (m->cfg.writing)
		m->cfg.writing(m->cfg.ctx, true);
	return tables_room(m);
}

/* Within what meta_space() counts on, and what is there (T9). A failure is no reason to give the checkpoint up; when it was rot
 * that a compaction came across, that is healed for the next. */
static void compact(struct meta *m)
{
	struct index_merging how = {
		.enough_bytes = INDEX_COMPACT_TABLES * index_table_bytes(m->cfg.checkpoint_bytes),
		.is_stored = is_stored,
		.room = room_for_new,
		.ctx = m,
	};
	bool more = false;
	int err = m->ops->compact(m->index, &how, &more);

	if (err)
		image_heal_all(m);
	env_mutex_lock(&m->state);
	m->compaction_due = more;
	env_mutex_unlock(&m->state);
}

/* Whoever it was that met it: nothing may be added until a checkpoint succeeds, so one is tried until it does. */
void index_note(struct meta *m, int err)
{
	__atomic_store_n(&m->index_failed, err, __ATOMIC_RELAXED);
	if (!err)
		return;
	ENV_LOCKED(&m->state);
	m->checkpoint_wanted = true;
}

/* Steps 3 and 4, which write where the index lies. */
static int freeze_index(struct meta *m, struct manifest *man)
{
	int err = m->ops->flush(m->index);

	if (err == 0) {
		compact(m);
		err = m->ops->image_begin(m->index, add_file, man);
	}
	index_note(m, err);
	return err;
}

/* Steps 5 and 6. */
static int store_frozen(struct meta *m, struct manifest *man, struct hash *ret_hash)
{
	int err = man->checkpoint_id == 0 ? DFS_E2BIG : 0;

	if (err == 0 && !m->opening)
		err = meta_sync(m, meta_last_seq(m));
	manifest_sort(man);
	if (m->cfg.writing)
		m->cfg.writing(m->cfg.ctx, true);
	if (err == 0)
		err = tables_store(m, man);
	m->ops->image_end(m->index);
	return err ? err : manifests_write(m, man, ret_hash);
}

/* Steps 3 to 6. */
static int store_image(struct meta *m, struct manifest *man, struct hash *ret_hash)
{
	int err = freeze_index(m, man);

	if (err == 0)
		err = store_frozen(m, man, ret_hash);
	if (m->cfg.writing)
		m->cfg.writing(m->cfg.ctx, false);
	/* Before the root: whichever of the two roots counts, its files are these (T4). */
	if (err == 0 && m->ops->set_marks) {
		const struct hash marks[] = {m->root.manifest, *ret_hash};

		m->ops->set_marks(m->index, marks, ARRAY_SIZE(marks));
	}
	return err;
}

/* Step 7. Every live member is whole now, those that joined too, if they have the journal from C on. */
static int publish(struct meta *m, const struct cut *c, bool closing)
{
	const struct root *next = &c->next;
	struct root root;
	bool tied;
	int err;

	token_take(m);
	root = m->root;
	root.checkpoint_id = next->checkpoint_id;
	root.checkpoint_seq = next->checkpoint_seq;
	root.chain = next->chain;
	root.manifest = next->manifest;
	root.journal_first = next->journal_first;
	/* An opening has no journal yet: if it ends here, nothing in any counts (M17). */
	root.clean = (closing || m->opening) && meta_last_seq(m) == next->checkpoint_seq;
	for (unsigned i = 0; i < m->member_count; i++) {
		if (!member_dead(m, m->members[i]) && (m->opening || m->members[i]->journal))
			m->members[i]->listed = true;
	}
	err = roots_publish(m, &root);
	if (err == 0) {
		env_mutex_lock(&m->state);
		m->journal_bytes -= c->old_bytes;
		m->stats.checkpoints++;
		if (m->opening) {
			__atomic_store_n(&m->durable, m->seq, __ATOMIC_RELAXED);
			m->durable_chain = m->chain;
		}
		env_cond_broadcast(&m->idle);
		env_mutex_unlock(&m->state);
		journal_room_update(m, 0); /* the older file is spare now */
	}
	tied = m->tied;
	token_give(m);
	if (err && !tied)
		state_fail(m, err, "write the metadata root to any disk");
	return err;
}

/* After the root of an opening: the journal begins. */
static int begin_journal(struct meta *m)
{
	int err;

	token_take(m);
	for (unsigned i = 0; i < m->member_count && m->keep_damaged; i++)
		if (!member_dead(m, m->members[i]))
			journal_keep_damaged(m->members[i]->disk.dev, m->journal_file_bytes);
	m->keep_damaged = false;
	err = journal_switch(m, m->seq + 1, &m->chain);
	if (err == 0)
		err = members_settle(m);
	token_give(m);
	return err;
}

/* Nothing was committed since the last one: at most the root's clean mark is missing. */
static int mark_clean(struct meta *m)
{
	struct root next;
	int err = 0;

	token_take(m);
	next = m->root;
	if (!next.clean) {
		next.clean = true;
		err = roots_publish(m, &next);
	}
	token_give(m);
	member_report(m);
	return err;
}

static bool tables_are_due(struct meta *m)
{
	ENV_LOCKED(&m->heal);
	return m->tables_due;
}

static bool nothing_to_do(struct meta *m, bool closing)
{
	bool whole = true;

	env_mutex_lock(&m->state);
	if (m->compaction_due && !closing)
		whole = false;
	env_mutex_unlock(&m->state);

	token_take(m);
	for (unsigned i = 0; i < m->member_count; i++) {
		if (m->members[i]->listed == member_dead(m, m->members[i]))
			whole = false; /* one joins, or one that died is still listed */
	}
	if (m->unequal || tables_are_due(m) || m->root.checkpoint_seq != meta_last_seq(m))
		whole = false;
	token_give(m);
	return whole;
}

/* The manifest that the newest root names is the published one now. */
static void adopt(struct meta *m, struct manifest *man)
{
	struct manifest old;

	env_mutex_lock(&m->heal);
	old = m->manifest;
	m->manifest = *man;
	env_mutex_unlock(&m->heal);
	manifest_release(&old);
	m->unequal = false;
	space_update(m);
}

/* Once for each reason: it may be tried for each change that finds the journal full. */
static void tell_failure(struct meta *m, int err)
{
	if (err == DFS_EFAILED || err == m->checkpoint_told)
		return;
	m->checkpoint_told = err;
	log_warn(
		"cannot write a metadata checkpoint: %s%s; the journal grows meanwhile and it is tried again",
		m->index_failed ? "the index in the pool directory can't be flushed: " : "",
		m->index_failed == DFS_EGONE ? "it is not where it was" : dfs_err_text(err));
}

static int checkpoint_once(struct meta *m, bool closing, bool *ret_old)
{
	struct manifest man = {.pool = m->cfg.pool};
	struct cut c = {0};
	int err;

	err = cut_journal(m, &c);
	if (err)
		return err;
	man.checkpoint_id = c.next.checkpoint_id;
	man.seq = c.next.checkpoint_seq;
	err = store_image(m, &man, &c.next.manifest);
	if (err && m->manifest.checkpoint_id == m->root.checkpoint_id)
		image_clean(m, &m->manifest); /* what it wrote */
	if (err == 0)
		PROBE("checkpoint-mirrored");
	if (err == 0)
		err = publish(m, &c, closing);
	if (err == 0)
		PROBE("checkpoint-published");
	member_report(m);
	if (err) {
		PROBE("checkpoint-failed");
		tell_failure(m, err);
		manifest_release(&man);
		return err;
	}
	m->checkpoint_told = 0;
	adopt(m, &man);
	image_clean(m, &m->manifest);
	*ret_old = c.is_old;
	return m->opening ? begin_journal(m) : 0;
}

/* Where the journal's files were both in use, the first checkpoint frees one, and the second brings
 * us up to now and lets those join that have no part of the older one. */
int checkpoint_run(struct meta *m, bool closing)
{
	bool was_old = false;
	int err;

	if (state_failed(m))
		return DFS_EFAILED;
	if (nothing_to_do(m, closing)) {
		index_note(m, 0);
		return closing ? mark_clean(m) : 0;
	}
	err = checkpoint_once(m, closing, &was_old);
	if (err == 0 && was_old && !nothing_to_do(m, closing))
		err = checkpoint_once(m, closing, &was_old);
	return err;
}

int meta_checkpoint(struct meta *m)
{
	if (m->cfg.read_only)
		return DFS_EROFS;
	ENV_LOCKED(&m->admin);
	return checkpoint_run(m, false);
}

/* ---- in the background ---- */

/* So that it is known before a checkpoint is due, while the journal has room for whatever takes away. A pool that rests
 * does not keep the disk of its directory awake. */
static void look_at_index(struct meta *m)
{
	uint64_t seq = meta_last_seq(m);
	bool may_write = seq != m->index_seen_seq || m->index_seen;
	int err = m->ops->check ? m->ops->check(m->index, may_write) : 0;

	m->index_seen_seq = seq;
	__atomic_store_n(&m->index_seen, err, __ATOMIC_RELAXED);
}

int meta_index_error(struct meta *m)
{
	int err = __atomic_load_n(&m->index_seen, __ATOMIC_RELAXED); /* tells more */

	return err ? err : __atomic_load_n(&m->index_failed, __ATOMIC_RELAXED);
}

/* State held. Until something is wanted, or what failed is to be tried again: after a while, or when the index that
 * could not be flushed looks well again. */
static void wait_for_work(struct meta *m)
{
	for (unsigned ms = 0; ms < RETRY_MS && !m->stopping; ms += INDEX_CHECK_MS) {
		int was = m->index_seen;

		if (env_cond_wait_ms(&m->background, &m->state, INDEX_CHECK_MS))
			return;
		if (m->failed || m->stopping)
			continue;
		env_mutex_unlock(&m->state);
		look_at_index(m);
		env_mutex_lock(&m->state);
		if (was && !m->index_seen)
			return;
	}
}

static void background(void *arg)
{
	struct meta *m = arg;

	env_mutex_lock(&m->state);
	while (!m->stopping) {
		int err;

		if (!m->checkpoint_wanted || m->failed) {
			wait_for_work(m);
			continue;
		}
		env_mutex_unlock(&m->state);
		look_at_index(m);
		err = meta_checkpoint(m);
		env_mutex_lock(&m->state);
		m->checkpoint_attempts++;
		m->checkpoint_stuck = err != 0;
		m->checkpoint_wanted = err || m->compaction_due || sync_checkpoint_due(m);
		env_cond_broadcast(&m->idle);
		if (err)
			wait_for_work(m);
	}
	env_mutex_unlock(&m->state);
}

void checkpoint_thread_start(struct meta *m)
{
	struct env_thread *t = env_thread_start("meta-ckpt", background, m);

	ENV_LOCKED(&m->state);
	m->thread = t;
}

void checkpoint_thread_stop(struct meta *m)
{
	struct env_thread *t;

	env_mutex_lock(&m->state);
	t = m->thread;
	m->thread = NULL;
	m->stopping = true;
	env_cond_broadcast(&m->background);
	env_cond_broadcast(&m->idle);
	env_mutex_unlock(&m->state);
	if (t)
		env_thread_join(t);
}
