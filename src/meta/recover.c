/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: the newest valid root of all disks -> its members that are up to date -> the index, the
 * local one if it is sound, else from a mirror -> replay of the journal. The end is the same whichever
 * members survive. Keeps P2 (the chain decides what counts), P5, P8 (a disk of an older epoch is
 * never read) and P10. Runs before any other thread knows the struct meta: no locks.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

/* ---- roots ---- */

static int scan_disks(struct meta *m, struct root_scan *s, struct meta_recovery *ret)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		unsigned damaged = 0;
		int err = roots_read(m->disks[i].dev, &m->cfg.pool, &s->roots[i], &damaged);

		s->errs[i] = err;
		ret->damaged_roots += damaged;
		s->valid += err == 0;
		if (err == DFS_EFEATURE || err == DFS_EVERSION) {
			log_error("cannot open the pool: its metadata on %s was written by a newer "
				  "program (%s); use that version",
				  m->disks[i].dev->name, dfs_err_text(err));
			return err;
		}
		if (err && err != DFS_ENOTPOOL)
			log_warn("cannot read the metadata roots on disk %u (%s): %s; going on "
				 "without it",
				 m->disks[i].id.v, m->disks[i].dev->name, dfs_err_text(err));
	}
	return 0;
}

static int choose_root(struct meta *m, const struct root_scan *s)
{
	const struct root *newest = NULL;
	uint64_t generation = 0;

	for (unsigned i = 0; i < m->disk_count; i++) {
		if (s->errs[i])
			continue;
		generation = MAX(generation, s->roots[i].generation);
		if (!newest || root_newer(&s->roots[i], newest))
			newest = &s->roots[i];
	}
	if (!newest)
		return DFS_ENOTPOOL;
	m->root = m->attempt = *newest;
	m->attempt.generation = generation;
	m->generation = newest->generation;
	return 0;
}

static int check_quorum(struct meta *m, const struct root_scan *s)
{
	if (m->cfg.least_epoch > m->root.epoch) {
		log_error("cannot open the pool: the disks present end with epoch %llu of the "
			  "metadata, but the pool has been in epoch %llu; they missed writes; "
			  "connect the other disks",
			  (unsigned long long)m->root.epoch,
			  (unsigned long long)m->cfg.least_epoch);
		return DFS_ESTALE;
	}
	if (m->cfg.least_epoch == 0 && !m->cfg.force &&
	    2 * (uint64_t)s->valid <= m->root.disk_total) {
		log_error("cannot open the pool: %u of its %u disks are present, which is not a "
			  "majority, and without the pool directory nothing else tells whether "
			  "they are up to date; connect more disks, or use force",
			  s->valid, m->root.disk_total);
		return DFS_ENOQUORUM;
	}
	return 0;
}

/*
 * Up to date: listed, and its own newest root is of the newest epoch with the same list. A disk of an
 * equal epoch with another list belongs to a history that was forced apart.
 */
static int choose_sources(struct meta *m, struct recovery *r)
{
	for (unsigned i = 0; i < m->root.member_count; i++) {
		const struct root_member *want = &m->root.members[i];

		for (unsigned d = 0; d < m->disk_count; d++) {
			const struct root *own = &r->scan.roots[d];

			if (r->scan.errs[d] || !uuid_eq(&m->disks[d].uuid, &want->uuid))
				continue;
			if (own->epoch != m->root.epoch || !roots_same_list(own, &m->root)) {
				PROBE("stale-member-refused");
				log_warn("disk %u (%s) missed metadata writes (epoch %llu, newest "
					 "%llu): it is not believed",
					 m->disks[d].id.v, m->disks[d].dev->name,
					 (unsigned long long)own->epoch,
					 (unsigned long long)m->root.epoch);
				continue;
			}
			if (own->generation != m->root.generation)
				r->unequal = true;
			r->sources[r->source_count++] = m->disks[d].dev;
		}
	}
	if (r->source_count)
		return 0;
	log_error("cannot open the pool: none of the %u disks that hold the metadata of epoch %llu "
		  "is present and up to date; connect one of them",
		  m->root.member_count, (unsigned long long)m->root.epoch);
	return DFS_ENOQUORUM;
}

/* ---- index and journal ---- */

/* Is the open index a state that this root's history can have passed through? */
static bool sound_start(struct meta *m, uint64_t seq, const struct hash *chain)
{
	if (seq < m->root.checkpoint_seq)
		return false;
	return seq > m->root.checkpoint_seq || memcmp(chain, &m->root.chain, sizeof(*chain)) == 0;
}

static void walk_result(struct journal_walk *w, struct recovery *r, struct meta_recovery *ret)
{
	ret->damaged_journals = 0;
	for (unsigned i = 0; i < w->count; i++)
		ret->damaged_journals += w->sources[i].damaged;
	if (ret->damaged_journals)
		r->unequal = true;
	ret->tail_cut_bytes = w->tail_bytes;
	if (ret->tail_cut_bytes)
		PROBE("journal-tail-cut");
}

/*
 * Replays what comes after the index's own (seq, chain). *ret_sound is false when the journal doesn't
 * contain that point; nothing has been applied then.
 */
static int replay(struct meta *m, struct recovery *r, struct meta_recovery *ret, bool *ret_sound)
{
	struct journal_walk w = {.count = r->source_count};
	struct journal_record rec;
	struct replay gathered = {0};
	struct hash chain = m->chain;
	uint64_t start = m->seq;
	int err;

	*ret_sound = true;
	ret->replayed_transactions = 0;
	for (unsigned i = 0; i < r->source_count; i++)
		w.sources[i].dev = r->sources[i];
	walk_begin(&w, &m->cfg.pool, &m->root);
	while ((err = walk_next(&w, &rec)) == 0) {
		if (rec.seq < start)
			continue;
		if (rec.seq == start && memcmp(&rec.hash, &chain, sizeof(chain)) != 0) {
			*ret_sound = false;
			break;
		}
		if (rec.seq == start)
			continue;
		err = txn_replay_add(m, &gathered, &rec);
		if (err)
			break;
		ret->replayed_transactions++;
		if (ret->replayed_transactions == 1)
			PROBE("journal-replayed");
	}
	if (err == DFS_EEND)
		err = txn_replay_flush(m, &gathered);
	if (err == 0 && w.seq < start)
		*ret_sound = false;
	walk_result(&w, r, ret);
	walk_end(&w);
	buf_release(&gathered.ops);
	return err;
}

static int load_state(struct meta *m, bool *ret_sound)
{
	int err = txn_load_applied(m, &m->seq, &m->chain);

	*ret_sound = err == 0 && sound_start(m, m->seq, &m->chain);
	return err == DFS_ECORRUPT || err == DFS_ECHECKSUM || err == DFS_EVERSION ? 0 : err;
}

static void drop_index(struct meta *m)
{
	if (m->index)
		m->ops->close(m->index, false);
	m->index = NULL;
}

/* 0 with *ret_sound false: to be restored. */
static int use_local(struct meta *m, struct recovery *r, struct meta_recovery *ret, bool *ret_sound)
{
	int err = m->ops->open(m->cfg.index_arg, &m->index);

	*ret_sound = false;
	if (err == DFS_ECORRUPT || err == DFS_ECHECKSUM)
		return 0;
	if (err)
		return err;
	err = load_state(m, ret_sound);
	if (err == 0 && *ret_sound)
		err = replay(m, r, ret, ret_sound);
	if (err == DFS_ECHECKSUM) {
		*ret_sound = false;
		err = 0;
	}
	return err;
}

/*
 * The mirror's image may end after the journal only if every member's journal has rotted: its state
 * was durable when the root was written, so it stands.
 */
static int use_mirror(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	bool sound = false, rotten = false;
	int err;

	drop_index(m);
	err = mirror_restore(m, r->sources, r->source_count, !m->cfg.read_only, &rotten);
	if (err == 0)
		err = m->ops->open(m->cfg.index_arg, &m->index);
	if (err == 0)
		err = load_state(m, &sound);
	if (err == 0 && !sound)
		err = DFS_ECHECKSUM;
	if (err == 0)
		err = replay(m, r, ret, &sound);
	if (err) {
		log_error("cannot take the metadata index from its mirrors: %s; connect the other "
			  "disks that held metadata",
			  dfs_err_text(err));
		return err;
	}
	if (!sound) {
		log_error("the metadata journal is damaged on every member: going on from the "
			  "checkpoint's last transaction %llu",
			  (unsigned long long)m->seq);
		rotten = true;
	}
	r->unequal = r->unequal || rotten;
	return 0;
}

/* Does the journal go on beyond the end that was found, so that acknowledged changes are missing? */
static int check_damage(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	struct meta_loss *loss = &ret->loss;

	damage_scan(&m->cfg.pool, r->sources, r->source_count, m->root.journal_first, m->seq, loss);
	if (loss->from == 0)
		return 0;
	r->unequal = true;
	log_error("the metadata journal is damaged on every disk that holds it: transactions from "
		  "%llu to at least %llu had been acknowledged and can't be read; %llu records "
		  "beyond the damage are of no use without them; %s",
		  (unsigned long long)loss->from, (unsigned long long)loss->last,
		  (unsigned long long)loss->beyond,
		  m->cfg.force ? "going on without them, as was asked for"
			       : "the pool is not opened, nothing was changed");
	for (unsigned i = 0; i < r->source_count; i++)
		log_error("damaged metadata journal: %s", r->sources[i]->name);
	return m->cfg.force ? 0 : DFS_EJOURNAL;
}

int recover(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	bool sound;
	int err = scan_disks(m, &r->scan, ret);

	if (err == 0)
		err = choose_root(m, &r->scan);
	if (err == 0)
		err = check_quorum(m, &r->scan);
	if (err == 0)
		err = choose_sources(m, r);
	if (err)
		return err;
	err = use_local(m, r, ret, &sound);
	if (err == 0 && !sound) {
		PROBE("index-from-mirror");
		ret->index_rebuilt = true;
		err = use_mirror(m, r, ret);
	}
	if (err == 0)
		err = check_damage(m, r, ret);
	if (err)
		return err;
	m->durable = m->seq;
	m->durable_chain = m->chain;
	for (unsigned i = 0; i < r->source_count && m->root.checkpoint_id; i++) {
		if (mirror_load_manifest(r->sources[i], &m->root, &m->manifest) == 0)
			break;
		r->unequal = true;
	}
	space_update(m);
	ret->epoch = m->root.epoch;
	ret->generation = m->root.generation;
	ret->seq = m->seq;
	ret->was_clean = m->root.clean && ret->replayed_transactions == 0;
	return 0;
}
