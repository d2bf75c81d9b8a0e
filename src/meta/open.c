/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A metadata store's life: format, open, change of disks, close. After recovery all members are made
 * equal before anything new is acknowledged (M9): a checkpoint under a new root if anything was
 * replayed, damaged or behind, or if the members change.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define DEFAULT_CHECKPOINT_BYTES MIB(4)
#define DEFAULT_BUFFER_BYTES MIB(8)

static uint64_t journal_file_bytes(uint64_t checkpoint_bytes)
{
	uint64_t bytes = checkpoint_bytes ? checkpoint_bytes : DEFAULT_CHECKPOINT_BYTES;

	return MAX(ALIGN_UP(bytes, KIB(64)), JOURNAL_FILE_MIN);
}

static struct meta *meta_new(const struct meta_config *cfg)
{
	struct meta *m = xcalloc(1, sizeof(*m));

	ASSERT(cfg->disk_count <= META_MAX_DISKS && cfg->copies >= 1);
	m->cfg = *cfg;
	m->cfg.disks = NULL;
	m->cfg.copies = MIN(cfg->copies, ROOT_MAX_MEMBERS / 2); /* slots for those that die */
	if (m->cfg.checkpoint_bytes == 0)
		m->cfg.checkpoint_bytes = DEFAULT_CHECKPOINT_BYTES;
	if (m->cfg.buffer_bytes == 0)
		m->cfg.buffer_bytes = DEFAULT_BUFFER_BYTES;
	m->journal_file_bytes = journal_file_bytes(m->cfg.checkpoint_bytes);
	m->ops = cfg->index_ops;
	m->verify_writes = cfg->verify_writes;
	uuid_random(&m->writer);
	memcpy(m->disks, cfg->disks, cfg->disk_count * sizeof(*m->disks));
	m->disk_count = cfg->disk_count;
	env_mutex_init(&m->admin);
	env_mutex_init(&m->commit);
	env_mutex_init(&m->state);
	env_mutex_init(&m->work);
	env_mutex_init(&m->heal);
	env_cond_init(&m->idle);
	env_cond_init(&m->background);
	env_cond_init(&m->work_done);
	return m;
}

static void meta_free(struct meta *m)
{
	for (unsigned i = 0; i < m->member_count; i++)
		member_free(m->members[i]);
	if (m->index)
		m->ops->close(m->index, false);
	manifest_release(&m->manifest);
	free(m->table_places);
	buf_release(&m->buffer);
	buf_release(&m->flying);
	buf_release(&m->applied);
	env_cond_release(&m->work_done);
	env_cond_release(&m->background);
	env_cond_release(&m->idle);
	env_mutex_release(&m->heal);
	env_mutex_release(&m->work);
	env_mutex_release(&m->state);
	env_mutex_release(&m->commit);
	env_mutex_release(&m->admin);
	free(m);
}

int meta_format(const struct meta_config *cfg)
{
	struct root root = {
		.pool = cfg->pool,
		.generation = 1,
		.epoch = 1,
		.journal_first = 1,
		.disk_count = cfg->disk_count,
		.written_wall_ns = env_wall_ns(),
		.clean = true,
	};
	unsigned copies = MIN(MIN(cfg->copies, cfg->disk_count), ROOT_MAX_MEMBERS / 2);

	ASSERT(cfg->disk_count >= 1 && cfg->copies >= 1);
	for (unsigned i = 0; i < copies; i++) {
		root.members[i].id = cfg->disks[i].id;
		root.members[i].uuid = cfg->disks[i].uuid;
	}
	root.member_count = copies;
	uuid_random(&root.epoch_id);
	for (unsigned i = 0; i < cfg->disk_count; i++)
		root.disks[i] = (struct root_disk){
			.id = cfg->disks[i].id, .uuid = cfg->disks[i].uuid, .votes = 1};
	for (unsigned i = 0; i < cfg->disk_count; i++) {
		int err = roots_prepare(cfg->disks[i].dev);

		if (err == 0)
			err = roots_write(cfg->disks[i].dev, &root);
		if (err) {
			log_error("cannot write the first metadata root on %s: %s; the pool was "
				  "not made",
				  cfg->disks[i].dev->name, dfs_err_text(err));
			return err;
		}
	}
	return 0;
}

/* ---- opening ---- */

static bool is_ours(const struct root_scan *s, unsigned i)
{
	return s->roles[i] != HISTORY_OTHER && s->roles[i] != HISTORY_UNREAD &&
	       s->roles[i] != HISTORY_GIVEN_UP && s->roles[i] != HISTORY_UNLISTED;
}

/* A disk of another pool, or of another history, must never be written to; one that the pool has given
 * up, or that was being added when power went, is not used until the pool names it anew. */
static void forget_foreign(struct meta *m, const struct root_scan *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < m->disk_count; i++) {
		if (is_ours(s, i))
			m->disks[kept++] = m->disks[i];
	}
	m->disk_count = kept;
}

/* Some disk of ours lacks the newest root. */
static bool somebody_behind(struct meta *m, const struct root_scan *s)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		if (is_ours(s, i) && (s->roles[i] != HISTORY_CURRENT ||
				      s->roots[i].generation != m->root.generation))
			return true;
	}
	return false;
}

static void keep_members(struct meta *m, const struct recovery *r)
{
	for (unsigned d = 0; d < m->disk_count; d++) {
		bool keep = false;

		for (unsigned i = 0; i < r->source_count; i++)
			keep = keep || m->disks[d].dev == r->sources[i];
		if (keep)
			member_add(m, &m->disks[d], true);
	}
}

static void heal_roots(struct meta *m)
{
	token_take(m);
	for (unsigned i = 0; i < m->disk_count; i++) {
		int err = roots_heal(m->disks[i].dev);

		if (err)
			log_warn("cannot empty the damaged metadata roots on disk %u (%s): %s; "
				 "they stay until newer roots take their place",
				 m->disks[i].id.v, m->disks[i].dev->name, dfs_err_text(err));
	}
	token_give(m);
}

/* Those that were here already: files of today's size, if there is room. */
static void prepare_members(struct meta *m)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		const struct meta_disk *d = &m->members[i]->disk;
		int err = journal_prepare(d->dev, member_file_bytes(m, d->dev));

		if (err)
			log_warn("cannot make metadata journal files on disk %u (%s): %s", d->id.v,
				 d->dev->name, dfs_err_text(err));
		err = manifests_prepare(d->dev, m->manifest.count);
		if (err)
			log_warn(
				"cannot make spare checkpoint manifests on disk %u (%s): %s; the next "
				"checkpoint needs space there",
				d->id.v, d->dev->name, dfs_err_text(err));
	}
}

/*
 * M17. A copy that could not be read may go on beyond the end that others prove, with records that nobody was told of.
 * A later opening could read them, in place of what comes now: so what comes now has numbers beyond theirs.
 */
static int pass_unread(struct meta *m)
{
	int err;

	if (m->seq > META_SEQ_MAX / 2)
		return 0;
	PROBE("unread-numbers-passed");
	__atomic_store_n(&m->seq, m->seq + UNREAD_SPAN, __ATOMIC_RELEASE);
	err = txn_apply_opening(m, meta_begin(m));
	if (err)
		return err;
	m->opening = true;
	err = checkpoint_run(m, false);
	m->opening = false;
	return err;
}

/*
 * M9. Force was used over damage: that goes into the state before anything else, as the transaction
 * after the last one recovered, and becomes durable by the root of the checkpoint at open. Until then
 * the next open finds the same damage.
 */
static int make_equal(struct meta *m, const struct recovery *r, const struct meta_loss *loss)
{
	bool behind = somebody_behind(m, &r->scan);
	int err = 0;

	forget_foreign(m, &r->scan);
	for (unsigned i = 0; i < m->disk_count && m->cfg.taken; i++)
		m->cfg.taken(m->cfg.ctx, m->disks[i].dev);
	token_take(m);
	keep_members(m, r);
	prepare_members(m);
	/* An index that was flushed before its root was written may be ahead of the checkpoint with
	 * nothing to replay: then the journals still count, and one of them may end early. */
	m->unequal = members_fill(m) > 0 || r->unequal || m->seq > m->root.checkpoint_seq ||
		     m->root.member_count != r->source_count || tables_short(m);
	if (!m->unequal) {
		struct root next = m->root;

		err = journal_switch(m, m->seq + 1, &m->chain);
		if (err == 0 && (behind || roots_due(m)))
			err = roots_publish(m, &next);
		else if (err == 0)
			err = members_settle(m);
	}
	token_give(m);
	if (err == 0 && loss->from) {
		m->keep_damaged = true;
		err = damage_record(m, loss);
	}
	if (err == 0 && m->unequal) {
		m->opening = true;
		err = checkpoint_run(m, false);
		m->opening = false;
	}
	if (err == 0)
		err = members_retire(m);
	if (err == DFS_ENOSPC && !m->tied && !loss->from)
		err = resume_without_checkpoint(m, r);
	else if (err == 0 && m->end_unread && !loss->from)
		err = pass_unread(m);
	member_report(m);
	return err;
}

/* At each open, until somebody has taken note. */
static void log_loss(struct meta *m)
{
	struct meta_loss loss;
	int err = meta_loss(m, &loss);

	if (err)
		log_warn("cannot read whether changes were lost: %s; run fsck", dfs_err_text(err));
	else if (loss.from)
		log_warn(
			"changes were lost when the pool was opened by force: transactions %llu to "
			"at least %llu; what they did to files is not known; told until it is "
			"taken note of",
			(unsigned long long)loss.from, (unsigned long long)loss.last);
}

/* Half of the disks are here, and nobody remembers that they go on alone. */
static int tell_tie(int err, struct meta_recovery *rec)
{
	snprintf(rec->refusal, sizeof(rec->refusal),
		 "half of the disks that were in use last are here, which is enough only if the "
		 "pool directory remembers that these went on without the others, and it can't be "
		 "written: %s. Make it writable, with some space, or bring back more of the disks",
		 dfs_err_text(err));
	log_error("cannot open the pool: %s", rec->refusal);
	return DFS_ENOQUORUM;
}

int meta_open(const struct meta_config *cfg, struct meta **ret_meta,
	      struct meta_recovery *ret_recovery)
{
	struct meta *m = meta_new(cfg);
	FREE struct recovery *r = xcalloc(1, sizeof(*r));
	struct meta_recovery rec = {0};
	int err = recover(m, r, &rec);

	if (err == 0 && !cfg->read_only)
		err = make_equal(m, r, &rec.loss);
	if (err == 0 && !cfg->read_only && rec.damaged_roots)
		heal_roots(m);
	if (err && m->tied)
		err = tell_tie(err, &rec);
	if (err) {
		meta_free(m);
		if (ret_recovery)
			*ret_recovery = rec;
		return err;
	}
	log_loss(m);
	rec.epoch = m->root.epoch;
	rec.generation = m->root.generation;
	if (!cfg->read_only)
		checkpoint_thread_start(m);
	if (ret_recovery)
		*ret_recovery = rec;
	*ret_meta = m;
	return 0;
}

int meta_close(struct meta *m)
{
	bool unused;

	return meta_close_last(m, NULL, &unused);
}

int meta_close_last(struct meta *m, struct history_witness *ret_last, bool *ret_durable)
{
	int err = 0;

	*ret_durable = true;

	checkpoint_thread_stop(m);
	if (!m->cfg.read_only) {
		ENV_LOCKED(&m->admin);
		err = checkpoint_run(m, true);
		/* if the journal has everything, the next open replays it */
		*ret_durable = !meta_failed(m) && meta_durable_seq(m) == meta_last_seq(m);
		if (err == DFS_ENOSPC && *ret_durable)
			err = 0;
	}
	if (ret_last && err == 0)
		*ret_last = meta_witness(m);
	meta_free(m);
	return err;
}

void meta_abandon(struct meta *m)
{
	checkpoint_thread_stop(m);
	meta_free(m);
}

/* ---- change of disks ---- */

static bool some_whole_stay(struct meta *m)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		const struct member *mb = m->members[i];

		if (mb->listed && !member_dead(m, mb) && member_stays(m, mb))
			return true;
	}
	return false;
}

/* Token held. Those that are not among the disks any more die silently. */
static bool drop_leavers(struct meta *m)
{
	bool dropped = false;

	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (member_stays(m, mb))
			continue;
		dropped = dropped || (mb->listed && !mb->dead);
		mb->dead = mb->told = true;
	}
	return dropped;
}

/* Token held, no checkpoint due: the new list, the new disks and their number become durable. */
static int publish_disks(struct meta *m)
{
	struct root next = m->root;
	int err;

	next.clean = false;
	err = roots_publish(m, &next);
	member_sweep(m);
	return err;
}

/*
 * As long as one whole member stays, those that leave are dropped first (their disks may be gone);
 * else the newcomers are made whole first.
 */
static int change_disks(struct meta *m)
{
	bool drop_first, tied = false;
	int err = 0, mirrored = 0;

	token_take(m);
	drop_first = some_whole_stay(m);
	if (drop_first) {
		drop_leavers(m);
		err = publish_disks(m);
	}
	if (err == 0 && members_fill(m) > 0)
		m->unequal = true;
	tied = m->tied;
	token_give(m);
	if (err == 0 && tables_short(m))
		m->unequal = true;
	if (err == 0 && m->unequal)
		mirrored = checkpoint_run(m, false);
	if (err == 0 && !drop_first) {
		token_take(m);
		drop_leavers(m); /* even when nobody took over: their devices go now */
		err = mirrored ? mirrored : publish_disks(m);
		tied = m->tied;
		token_give(m);
	}
	if (err == 0 && mirrored == 0) {
		err = members_retire(m);
		token_take(m);
		tied = m->tied;
		token_give(m);
	}
	if (err && !tied)
		state_fail(m, err, "change the disks that hold metadata");
	return err ? err : mirrored;
}

/* Token held. A disk that failed to take a root stays silent, so that it can't make epochs without end. */
static void replace_disks(struct meta *m, const struct meta_disk *disks, unsigned count)
{
	bool mute[META_MAX_DISKS] = {false};

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < m->disk_count; j++)
			if (disks[i].dev == m->disks[j].dev &&
			    uuid_eq(&disks[i].uuid, &m->disks[j].uuid))
				mute[i] = m->mute[j];
	m->leaver_count = 0;
	for (unsigned j = 0; j < m->disk_count; j++) {
		bool stays = false;

		for (unsigned i = 0; i < count; i++)
			stays = stays || uuid_eq(&disks[i].uuid, &m->disks[j].uuid);
		if (!stays && !m->mute[j])
			m->leavers[m->leaver_count++] = m->disks[j];
	}
	memcpy(m->mute, mute, sizeof(mute));
	memset(m->table_failed, 0, sizeof(m->table_failed));
	ENV_LOCKED(&m->heal);
	memcpy(m->disks, disks, count * sizeof(*disks));
	m->disk_count = count;
}

/* Token held. By id; who has been known stays so, unless another disk has its id. */
static void know_disk(struct meta *m, const struct meta_known *k)
{
	unsigned i = 0;

	while (i < m->known_count && m->known[i].id.v < k->id.v)
		i++;
	if (i == m->known_count || m->known[i].id.v != k->id.v) {
		if (m->known_count == ROOT_MAX_DISKS)
			return;
		memmove(&m->known[i + 1], &m->known[i], (m->known_count - i) * sizeof(m->known[0]));
		m->known_count++;
	}
	m->known[i] = *k;
}

int meta_set_disks(struct meta *m, const struct meta_disk *disks, unsigned count,
		   const struct meta_known *known, unsigned known_count)
{
	int err;

	if (m->cfg.read_only)
		return DFS_EROFS;
	if (count == 0 || count > META_MAX_DISKS)
		return DFS_EINVAL;
	env_mutex_lock(&m->admin);
	if (state_failed(m)) {
		env_mutex_unlock(&m->admin);
		return DFS_EFAILED;
	}
	token_take(m);
	replace_disks(m, disks, count);
	for (unsigned i = 0; i < known_count; i++)
		know_disk(m, &known[i]);
	for (unsigned i = 0; i < count && !known; i++)
		know_disk(m, &(struct meta_known){disks[i].id, disks[i].uuid, false});
	member_sweep(m);
	token_give(m);
	err = change_disks(m);
	token_take(m);
	m->leaver_count = 0; /* their devices may go now */
	token_give(m);
	env_mutex_unlock(&m->admin);
	member_report(m);
	return err;
}

unsigned meta_known_disks(struct meta *m, struct meta_known *out)
{
	unsigned count;

	token_take(m);
	count = m->known_count;
	memcpy(out, m->known, count * sizeof(*out));
	token_give(m);
	return count;
}

bool meta_has_given_up(struct meta *m, disk_id id)
{
	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->root.disk_count; i++)
		if (m->root.disks[i].id.v == id.v)
			return m->root.disks[i].given_up;
	return false;
}

bool meta_descends_from(struct meta *m, const struct uuid *epoch)
{
	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->root.history_count; i++)
		if (uuid_eq(&m->root.history[i].id, epoch))
			return true;
	return uuid_eq(&m->root.epoch_id, epoch);
}

enum history_role meta_disk_role(struct meta *m, const struct uuid *uuid)
{
	for (unsigned i = 0; i < m->role_count; i++)
		if (uuid_eq(&m->roles[i].uuid, uuid))
			return m->roles[i].role;
	return HISTORY_UNLISTED;
}

void meta_set_verify(struct meta *m, bool verify_writes)
{
	__atomic_store_n(&m->verify_writes, verify_writes, __ATOMIC_RELAXED);
}

bool meta_is_member(struct meta *m, disk_id id)
{
	bool found = false;

	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->root.member_count; i++)
		found = found || m->root.members[i].id.v == id.v;
	return found;
}

bool meta_is_only_member(struct meta *m, disk_id id)
{
	ENV_LOCKED(&m->state);
	return m->root.member_count == 1 && m->root.members[0].id.v == id.v;
}

uint64_t meta_epoch(struct meta *m)
{
	ENV_LOCKED(&m->state);
	return m->root.epoch;
}

bool meta_was_forced(struct meta *m)
{
	ENV_LOCKED(&m->state);
	bool forced = m->root.forced;

	for (unsigned i = 0; i < m->root.history_count; i++)
		forced = forced || m->root.history[i].forced;
	return forced;
}

struct history_witness meta_witness(struct meta *m)
{
	ENV_LOCKED(&m->state);
	return (struct history_witness){true, m->root.epoch_id, m->root.epoch, m->root.generation};
}

struct meta_line meta_durable_line(struct meta *m)
{
	ENV_LOCKED(&m->state);
	return (struct meta_line){m->durable, m->durable_chain};
}

uint64_t meta_generation(struct meta *m)
{
	return __atomic_load_n(&m->generation, __ATOMIC_ACQUIRE);
}
