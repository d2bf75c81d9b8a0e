/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: the root that history_choose() takes -> its members that are up to date -> the index, the
 * local one if it is sound, else from its fragments on the disks -> replay of the journal. The end is the same whichever
 * members survive. Keeps P2 (the chain decides what counts), P5, P8 (a disk of an older epoch is
 * never read) and P10. Runs before any other thread knows the struct meta: no locks.
 */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/words.h"
#include "meta/internal.h"

/* ---- roots ---- */

static int scan_disks(struct meta *m, struct root_scan *s, struct meta_recovery *ret)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		unsigned damaged = 0;
		int err = roots_read(m->disks[i].dev, &m->cfg.pool, &s->roots[i], &damaged);

		s->errs[i] = err;
		s->damaged[i] = damaged;
		ret->damaged_roots += damaged;
		if (err == DFS_EFEATURE || err == DFS_EVERSION) {
			log_error("cannot open the pool: its metadata on %s was written by a newer "
				  "program (%s); use that version",
				  m->disks[i].dev->name, dfs_err_text(err));
			return err;
		}
		if (err && err != DFS_ENOTPOOL)
			log_warn("cannot read the metadata roots on disk %u (%s): %s; it is not "
				 "used, and not a byte of it is changed, until the next mount",
				 m->disks[i].id.v, m->disks[i].dev->name, dfs_err_text(err));
	}
	return 0;
}

/* ---- telling a person ---- */

static void add_text(char *text, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add_text(char *text, size_t size, const char *fmt, ...)
{
	size_t at = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + at, size - at, fmt, ap);
	va_end(ap);
}

static size_t place_len(const char *name)
{
	static const char inside[] = "/dynamicfs";
	size_t n = strlen(name), k = sizeof(inside) - 1;

	return n > k && !strcmp(name + n - k, inside) ? n - k : n;
}

/* "epoch 5, last written 2026-11-27 13:25:21 UTC, on /mnt/a, /mnt/b" */
static void add_side(struct meta *m, const struct root_scan *s, const struct root *newest,
		     bool other, char *text, size_t size)
{
	time_t t = (time_t)(newest->written_wall_ns / 1000000000u);
	unsigned named = 0, more = 0;
	char when[32] = "?";
	struct tm tm;

	if (gmtime_r(&t, &tm))
		(void)!strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	add_text(text, size, "epoch %llu, last written %s UTC, on ",
		 (unsigned long long)newest->epoch, when);
	for (unsigned i = 0; i < m->disk_count; i++) {
		bool is_other = s->roles[i] == HISTORY_OTHER;

		if (is_other != other ||
		    (!other && s->roles[i] != HISTORY_CURRENT && s->roles[i] != HISTORY_SET_BACK))
			continue;
		if (named < 8) /* a person knows the directory that the disk's lies in */
			add_text(text, size, "%s%.*s", named++ ? ", " : "",
				 (int)place_len(m->disks[i].dev->name), m->disks[i].dev->name);
		else
			more++;
	}
	if (more)
		add_text(text, size, " and %u more", more);
}

/* Disks that are here, and have no vote. */
static void add_voteless(struct meta *m, const struct root_scan *s, char *text, size_t size)
{
	static const char *const why[] = {
		[HISTORY_NO_ROOT] = "is new or empty",
		[HISTORY_UNREAD] = "can't be read",
		[HISTORY_SET_BACK] = "was set back to an older copy",
		[HISTORY_BEHIND] = "has missed changes",
	};
	unsigned named = 0;

	for (unsigned i = 0; i < m->disk_count && named < 4; i++)
		if ((size_t)s->roles[i] < ARRAY_SIZE(why) && why[s->roles[i]] && ++named)
			add_text(text, size, "; %.*s is here, but %s",
				 (int)place_len(m->disks[i].dev->name), m->disks[i].dev->name,
				 why[s->roles[i]]);
}

static void tell_refusal(struct meta *m, const struct root_scan *s, char *text, size_t size)
{
	const struct history_choice *c = &s->choice;
	const struct root *r = &s->roots[c->chosen];

	text[0] = '\0';
	if (c->verdict == HISTORY_SPLIT && c->other >= 0) {
		add_text(text, size, "its disks hold two histories that went apart: one of ");
		add_side(m, s, r, false, text, size);
		add_text(text, size, "; another one of ");
		add_side(m, s, &s->roots[c->other], true, text, size);
		add_text(text, size,
			 ". Bring back the disks of one of them only; or use --force to go on with "
			 "the first: the other one's disks are then left as they are");
	} else if (c->verdict == HISTORY_SPLIT || c->verdict == HISTORY_STALE) {
		add_text(text, size, "%s (",
			 c->verdict == HISTORY_STALE
				 ? "its disks have missed changes that the pool directory knows of"
				 : "its disks hold another history than the one that the pool "
				   "directory has followed");
		add_side(m, s, r, false, text, size);
		add_text(
			text, size,
			"; the pool directory knows epoch %llu). Bring back the disks that were in "
			"use last; or use --force to go on with these, which gives up what was "
			"written since",
			(unsigned long long)m->cfg.witness.epoch);
	} else {
		add_text(text, size,
			 "only %u of the %u disks that were in use last %s here%s: the others may "
			 "have gone on without %s (",
			 c->votes, c->voters, plural(c->votes, "is", "are"),
			 2 * c->votes != c->voters ? ", which is not a majority"
			 : c->witness_here	   ? ""
					   : ", and no pool directory that knows which half "
					     "is the newer one",
			 plural(c->votes, "it", "them"));
		add_side(m, s, r, false, text, size);
		add_voteless(m, s, text, size);
		add_text(
			text, size,
			"). Bring back more of the disks; or, if the others are lost for good, use "
			"--force to go on with these");
	}
}

/* ---- choosing ---- */

static int verdict_error(enum history_verdict v)
{
	switch (v) {
	case HISTORY_ACCEPTED:
		return 0;
	case HISTORY_NONE:
		return DFS_ENOTPOOL;
	case HISTORY_MINORITY:
		return DFS_ENOQUORUM;
	case HISTORY_STALE:
		return DFS_ESTALE;
	case HISTORY_SPLIT:
		return DFS_ESPLIT;
	}
	return DFS_ENOQUORUM;
}

static void know_disks(struct meta *m)
{
	m->known_count = m->root.disk_count;
	for (unsigned i = 0; i < m->root.disk_count; i++)
		m->known[i] = (struct meta_known){m->root.disks[i].id, m->root.disks[i].uuid,
						  m->root.disks[i].given_up};
}

/* So that the next opening needs no force for the same choice. */
static void give_up_others(struct meta *m, const struct root_scan *s)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		for (unsigned j = 0; s->roles[i] == HISTORY_OTHER && j < m->attempt.disk_count;
		     j++) {
			struct root_disk *row = &m->attempt.disks[j];

			if (!uuid_eq(&row->uuid, &m->disks[i].uuid))
				continue;
			row->apart = true;
			row->left_epoch = s->roots[i].epoch;
		}
	}
}

/* No disk shows a root. One whose ring can't be read may have one. */
static int none_readable(struct meta *m, const struct root_scan *s, struct meta_recovery *ret)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		if (s->errs[i] != DFS_EIO && s->errs[i] != DFS_ETIMEDOUT &&
		    s->errs[i] != DFS_ENOMEM && s->errs[i] != DFS_EACCES)
			continue;
		snprintf(ret->refusal, sizeof(ret->refusal),
			 "the metadata roots on disk %u (%s) can't be read (%s), and no other disk "
			 "that is here has any. Nothing was changed. See whether the disk works "
			 "(its cable, the system's log) and try again, or bring back other disks",
			 m->disks[i].id.v, m->disks[i].dev->name, dfs_err_text(s->errs[i]));
		return DFS_EUNREAD;
	}
	return DFS_ENOTPOOL;
}

static int choose_root(struct meta *m, struct root_scan *s, struct meta_recovery *ret)
{
	FREE struct history_seen *seen = xcalloc(m->disk_count + 1, sizeof(*seen));
	struct history_choice *c = &s->choice;
	int err;

	for (unsigned i = 0; i < m->disk_count; i++)
		seen[i] = (struct history_seen){.disk = m->disks[i].uuid,
						.root = s->errs[i] ? NULL : &s->roots[i],
						.rotten = s->damaged[i] > 0,
						.unread = s->errs[i] && s->errs[i] != DFS_ENOTPOOL};
	history_choose(seen, m->disk_count, &m->cfg.witness, m->cfg.force, c, s->roles);
	err = verdict_error(c->verdict);
	if (err == DFS_ENOTPOOL)
		err = none_readable(m, s, ret);
	if (c->chosen >= 0) {
		m->root = m->attempt = s->roots[c->chosen];
		m->generation = m->root.generation;
		m->generation_floor = c->max_generation;
		m->epoch_floor = MAX(c->max_epoch, m->cfg.witness.epoch);
		m->new_epoch = true;
		m->force_epoch = c->forced;
		ret->forced = c->forced;
		know_disks(m);
	}
	if (err && c->chosen >= 0) {
		tell_refusal(m, s, ret->refusal, sizeof(ret->refusal));
		log_error("cannot open the pool: %s", ret->refusal);
	}
	if (c->chosen >= 0 && c->forced)
		give_up_others(m, s);
	m->role_count = m->disk_count;
	for (unsigned i = 0; i < m->disk_count; i++) {
		m->roles[i].uuid = m->disks[i].uuid;
		m->roles[i].role = s->roles[i];
	}
	return err;
}

static void tell_role(const struct meta_disk *d, enum history_role role, const struct root *own,
		      const struct root *chosen)
{
	if (role == HISTORY_BEHIND)
		log_warn("disk %u (%s) missed metadata writes (epoch %llu, newest %llu): it is not "
			 "believed",
			 d->id.v, d->dev->name, (unsigned long long)own->epoch,
			 (unsigned long long)chosen->epoch);
	else if (role == HISTORY_SET_BACK)
		log_warn("disk %u (%s) has been set back to an older copy of itself (epoch %llu, "
			 "generation %llu; newest %llu, %llu): its metadata is not believed, and "
			 "what it lacks of files is taken from other disks",
			 d->id.v, d->dev->name, (unsigned long long)own->epoch,
			 (unsigned long long)own->generation, (unsigned long long)chosen->epoch,
			 (unsigned long long)chosen->generation);
	else if (role == HISTORY_OTHER)
		log_error("disk %u (%s) is of another history (epoch %llu) than the one that was "
			  "chosen (epoch %llu): it is left as it is; to use it again here, remove "
			  "its dynamicfs directory and add it as a new disk",
			  d->id.v, d->dev->name, (unsigned long long)own->epoch,
			  (unsigned long long)chosen->epoch);
}

/*
 * M15. The root lists it, and all that it has missed is the root: power went while that was written. It has no say
 * in which root counts (M8), but nothing can have been acknowledged without it, so its journal is as good as theirs.
 */
static bool missed_the_root(const struct meta *m, const struct meta_disk *d, enum history_role role)
{
	struct manifest man;
	int err;

	if (role != HISTORY_BEHIND)
		return false;
	if (m->root.checkpoint_id == 0)
		return true;
	err = manifest_load(d->dev, &m->root, &man);
	if (err == 0)
		manifest_release(&man);
	/* one that can't be read may be there: the journal's chain is asked, and nothing is wiped */
	return err != DFS_ENOENT && err != DFS_ECHECKSUM && err != DFS_ECORRUPT;
}

static const struct meta_disk *listed_disk(const struct meta *m, const struct root_member *want,
					   unsigned *ret_at)
{
	for (unsigned d = 0; d < m->disk_count; d++) {
		*ret_at = d;
		if (uuid_eq(&m->disks[d].uuid, &want->uuid))
			return &m->disks[d];
	}
	return NULL;
}

/* Up to date: listed, and its own newest root is of the newest epoch. */
static void add_current(struct meta *m, struct recovery *r)
{
	for (unsigned i = 0; i < m->root.member_count; i++) {
		unsigned d;
		const struct meta_disk *disk = listed_disk(m, &m->root.members[i], &d);

		if (!disk)
			continue;
		if (r->scan.roles[d] != HISTORY_CURRENT) {
			PROBE("stale-member-refused");
			continue;
		}
		if (r->scan.roots[d].generation != m->root.generation)
			r->unequal = true;
		r->sources[r->source_count++] = disk->dev;
	}
}

/* After those that are up to date: where copies should differ, theirs counts. */
static void add_missed(struct meta *m, struct recovery *r)
{
	for (unsigned i = 0; i < m->root.member_count; i++) {
		unsigned d;
		const struct meta_disk *disk = listed_disk(m, &m->root.members[i], &d);

		if (!disk || !missed_the_root(m, disk, r->scan.roles[d]))
			continue;
		PROBE("member-missed-the-root");
		r->unequal = true;
		r->sources[r->source_count++] = disk->dev;
	}
}

static int choose_sources(struct meta *m, struct recovery *r)
{
	for (unsigned d = 0; d < m->disk_count; d++)
		tell_role(&m->disks[d], r->scan.roles[d], &r->scan.roots[d], &m->root);
	add_current(m, r);
	if (r->source_count) {
		add_missed(m, r);
		return 0;
	}
	log_error("cannot open the pool: none of the disks that hold the metadata of epoch %llu "
		  "(%u) is present and up to date; connect one of them",
		  (unsigned long long)m->root.epoch, m->root.member_count);
	return DFS_ENOQUORUM;
}

/* ---- index and journal ---- */

/* Is the open index a state that this root's history can have passed through? */
static bool sound_start(struct meta *m, uint64_t seq, const struct hash *chain)
{
	if (seq < m->root.checkpoint_seq || seq > META_SEQ_MAX)
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

void walk_sources(struct meta *m, const struct recovery *r, struct journal_walk *w)
{
	*w = (struct journal_walk){.count = r->source_count};
	for (unsigned i = 0; i < r->source_count; i++)
		w->sources[i].dev = r->sources[i];
	walk_begin(w, &m->cfg.pool, &m->root);
}

/* M17. Something could not be read: is it known all the same that the journal ends at (seq, chain)? Force goes on. */
static bool end_known(struct meta *m, struct recovery *r, const struct journal_unread *u,
		      uint64_t seq, const struct hash *chain, struct meta_recovery *ret)
{
	if (u->err == 0)
		return true;
	r->unequal = true;
	m->end_unread = true;
	if (journal_end_proved(m, r->sources, r->source_count, seq, chain))
		return true;
	PROBE("journal-end-not-known");
	r->unread = *u;
	journal_end_tell(u, ret->refusal, sizeof(ret->refusal));
	log_error("%s: %s", m->cfg.force ? "opening the pool by force" : "cannot open the pool",
		  ret->refusal);
	return m->cfg.force;
}

/*
 * The journal breaks after `end`. Is the state (seq, chain) beyond it one that was acknowledged, or followed from
 * one? Its record or the next must be there, and those that go on from it must prove that something after the
 * break was durable, and no less than anything else there does: else they may be a tail that was cut once.
 */
static bool is_proved(struct meta *m, const struct recovery *r, uint64_t end, uint64_t seq,
		      const struct hash *chain, struct journal_unread *ret_unread)
{
	struct damage_unread unread = {0};
	struct meta_loss all = {0};
	struct journal_record rec;
	struct journal_walk w;
	uint64_t durable = 0;

	damage_scan(&m->cfg.pool, r->sources, r->source_count, m->root.journal_first, end, &all,
		    &unread);
	walk_sources(m, r, &w);
	if (walk_skip(&w, seq, chain, &durable))
		while (walk_next(&w, &rec) == 0)
			durable = MAX(durable, rec.durable);
	walk_end(&w);
	if (all.from && durable >= all.last)
		return true;
	*ret_unread = w.unread.err ? w.unread : unread.what;
	return false;
}

static bool descends_from_image(struct meta *m)
{
	return m->root.checkpoint_id == 0 ||
	       (m->ops->has_mark && m->ops->has_mark(m->index, &m->root.manifest));
}

/*
 * The journal breaks before the state (start, chain) that the index holds (M13). The image is what the root says;
 * the local index counts when it comes from that image and the journal proves its state.
 */
static bool goes_on(struct meta *m, const struct recovery *r, struct journal_walk *w,
		    uint64_t start, const struct hash *chain, bool image, struct meta_recovery *ret)
{
	uint64_t end = w->seq, durable;

	if (!image && (!descends_from_image(m) || !is_proved(m, r, end, start, chain, &w->unread)))
		return false;
	if (!walk_skip(w, start, chain, &durable))
		ret->journals_short = true;
	ret->rot_from = end + 1;
	ret->rot_to = start;
	PROBE("rot-that-the-index-is-beyond");
	return true;
}

/* Is the transaction that the pool directory remembers the one that has its number here? (H10) */
static void note_line(struct meta *m, const struct journal_record *rec, struct meta_recovery *ret)
{
	const struct meta_line *line = &m->cfg.line;

	if (rec->seq == line->seq)
		ret->line_differs = memcmp(&rec->hash, &line->chain, sizeof(rec->hash)) != 0;
}

/* Adds what comes after (start, chain) up to the end; 0 with *ret_sound false: the chain has another start. */
static int gather(struct meta *m, struct journal_walk *w, struct replay *gathered, uint64_t start,
		  const struct hash *chain, struct meta_recovery *ret, bool *ret_sound)
{
	struct journal_record rec;
	int err;

	while ((err = walk_next(w, &rec)) == 0) {
		note_line(m, &rec, ret);
		if (rec.seq < start)
			continue;
		if (rec.seq == start && memcmp(&rec.hash, chain, sizeof(*chain)) != 0) {
			*ret_sound = false;
			return 0;
		}
		if (rec.seq == start)
			continue;
		err = txn_replay_add(m, gathered, &rec);
		if (err)
			return err;
		ret->replayed_transactions++;
		if (ret->replayed_transactions == 1)
			PROBE("journal-replayed");
	}
	return err;
}

/*
 * Replays what comes after the index's own (seq, chain). *ret_sound is false when the journal contradicts that
 * point, or ends before it and nothing else proves it (image: the root does); nothing has been applied then.
 */
static int replay(struct meta *m, struct recovery *r, bool image, struct meta_recovery *ret,
		  bool *ret_sound)
{
	struct journal_walk w;
	struct replay gathered = {0};
	struct hash chain = m->chain;
	uint64_t start = m->seq;
	int err;

	*ret_sound = true;
	ret->replayed_transactions = 0;
	ret->rot_from = ret->rot_to = 0;
	ret->journals_short = ret->line_differs = false;
	walk_sources(m, r, &w);
	err = gather(m, &w, &gathered, start, &chain, ret, ret_sound);
	if (err == DFS_EEND && w.seq < start) {
		*ret_sound = goes_on(m, r, &w, start, &chain, image, ret);
		if (*ret_sound)
			err = gather(m, &w, &gathered, start, &chain, ret, ret_sound);
	}
	if (err == DFS_EEND && !end_known(m, r, &w.unread, w.seq, &w.chain, ret))
		err = DFS_EUNREAD;
	if (err == DFS_EEND)
		err = txn_replay_flush(m, &gathered);
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

struct comparison {
	struct meta *m;
	bool same;
};

static int compare_file(void *ctx, const char *name, uint64_t size_bytes)
{
	struct comparison *c = ctx;
	const struct manifest_file *f = manifest_find(&c->m->manifest, name);
	struct hash hash;

	if (f && f->size_bytes == size_bytes && index_written_once(name) &&
	    (image_hash(c->m, f, &hash) || memcmp(&hash, &f->hash, sizeof(hash)) != 0))
		c->same = false;
	return !c->same;
}

/*
 * A table file that the manifest names is not read again: what is stored is what is here. For an index
 * that did not write this root's checkpoint (another pool directory's) that has to be seen first: two
 * histories of an index may use one name for different bytes, of the same size (T4).
 */
static int same_files(struct meta *m, bool *ret_same)
{
	struct comparison c = {m, true};
	int err;

	if (!m->ops->has_mark || m->root.checkpoint_id == 0 ||
	    m->ops->has_mark(m->index, &m->root.manifest))
		return 0;
	err = m->ops->image_begin(m->index, compare_file, &c);
	if (err)
		return err;
	m->ops->image_end(m->index);
	*ret_same = c.same;
	if (c.same && m->ops->set_marks)
		m->ops->set_marks(m->index, &m->root.manifest, 1);
	return 0;
}

/* 0 with *ret_sound false: to be restored. */
static int use_local(struct meta *m, struct recovery *r, struct meta_recovery *ret, bool *ret_sound)
{
	int err = m->ops->open(m->cfg.index_arg, m->cfg.checkpoint_bytes, &m->index);

	*ret_sound = false;
	if (err == DFS_ECORRUPT || err == DFS_ECHECKSUM)
		return 0;
	if (err)
		return err;
	err = load_state(m, ret_sound);
	if (err == 0 && *ret_sound)
		err = replay(m, r, false, ret, ret_sound);
	if (err == 0 && *ret_sound && !m->cfg.read_only)
		err = same_files(m, ret_sound);
	if (err == DFS_ECHECKSUM) {
		*ret_sound = false;
		err = 0;
	}
	return err;
}

static int use_image(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	bool sound = false;
	int err;

	drop_index(m);
	err = image_restore(m);
	if (err == 0)
		err = m->ops->open(m->cfg.index_arg, m->cfg.checkpoint_bytes, &m->index);
	if (err == 0 && m->ops->set_marks)
		m->ops->set_marks(m->index, &m->root.manifest, 1);
	if (err == 0)
		err = load_state(m, &sound);
	if (err == 0 && !sound)
		err = DFS_ECHECKSUM;
	if (err == 0)
		err = replay(m, r, true, ret, &sound);
	if (err && err != DFS_EUNREAD) {
		log_error("cannot restore the metadata index from the disks: %s; %s",
			  dfs_err_text(err),
			  err == DFS_ECHECKSUM ? "connect the other disks of the pool"
					       : "see what is wrong with the pool directory");
	}
	if (err)
		return err;
	if (!sound) { /* never, unless somebody has made it so: the root's word counts */
		log_error("the metadata journal contradicts the checkpoint: going on from the "
			  "checkpoint's last transaction %llu",
			  (unsigned long long)m->seq);
		r->unequal = ret->journals_short = true;
	}
	return 0;
}

/* Force goes on without what can't be read: nobody knows how much of it had been acknowledged. */
static void give_up_unread(struct meta *m, struct meta_loss *loss)
{
	if (loss->from == 0)
		*loss = (struct meta_loss){
			.from = m->seq + 1, .last = m->seq + 1, .wall_ns = env_wall_ns()};
	loss->seen = MAX(loss->seen, m->seq + UNREAD_SPAN);
}

static void tell_damage(struct meta *m, const struct recovery *r, const struct meta_loss *loss)
{
	log_error("the metadata journal is damaged on every disk that holds it: transactions from "
		  "%llu to at least %llu had been acknowledged and can't be read; %llu %s "
		  "beyond the damage %s of no use without them; %s",
		  (unsigned long long)loss->from, (unsigned long long)loss->last,
		  (unsigned long long)loss->beyond, plural(loss->beyond, "record", "records"),
		  plural(loss->beyond, "is", "are"),
		  m->cfg.force ? "going on without them, as was asked for"
			       : "the pool is not opened, nothing was changed");
	for (unsigned i = 0; i < r->source_count; i++)
		log_error("damaged metadata journal: %s", r->sources[i]->name);
}

/* Does the journal go on beyond the end that was found, so that acknowledged changes are missing? */
static int check_damage(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	struct meta_loss *loss = &ret->loss;
	struct damage_unread unread = {0};

	if (m->root.clean)
		return 0; /* nothing was committed after it: the first group takes that mark off */
	damage_scan(&m->cfg.pool, r->sources, r->source_count, m->root.journal_first, m->seq, loss,
		    &unread);
	if (!end_known(m, r, &unread.what, m->seq, &m->chain, ret))
		return DFS_EUNREAD;
	if (loss->from)
		tell_damage(m, r, loss);
	if (loss->from && !m->cfg.force)
		return DFS_EJOURNAL;
	if (r->unread.err)
		give_up_unread(m, loss);
	r->unequal = r->unequal || loss->from;
	return 0;
}

static void tell_line(struct meta *m, const struct recovery *r, char *text, size_t size)
{
	const struct root *chosen = &r->scan.roots[r->scan.choice.chosen];

	text[0] = '\0';
	add_text(text, size,
		 "its disks lack changes that had been synced: the pool directory remembers "
		 "transaction %llu, ",
		 (unsigned long long)m->cfg.line.seq);
	if (m->cfg.line.seq > m->seq)
		add_text(text, size, "and what they hold ends at %llu (",
			 (unsigned long long)m->seq);
	else
		add_text(text, size, "and they hold another one of that number, and end at %llu (",
			 (unsigned long long)m->seq);
	add_side(m, &r->scan, chosen, false, text, size);
	add_text(
		text, size,
		"). They were set back to copies of themselves, or the end of the metadata journal "
		"is damaged on all of them. Bring back the disks as they were; or use --force to "
		"go on with these, which gives up what was written since");
}

/*
 * H10. What the pool directory remembers was durable on all members: disks that descend from there hold it, in
 * their checkpoint or in the journal, whatever crashes have done.
 */
static int check_line(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	uint64_t seq = m->cfg.line.seq;
	struct meta_loss *loss = &ret->loss;

	if (!r->scan.choice.witness_in_line || seq <= m->root.checkpoint_seq ||
	    (seq <= m->seq && !ret->line_differs))
		return 0;
	PROBE("line-not-there");
	tell_line(m, r, ret->refusal, sizeof(ret->refusal));
	log_error("%s: %s", m->cfg.force ? "opening the pool by force" : "cannot open the pool",
		  ret->refusal);
	if (loss->from == 0)
		*loss = (struct meta_loss){
			.from = (ret->line_differs ? m->root.checkpoint_seq : m->seq) + 1,
			.wall_ns = env_wall_ns()};
	loss->last = MAX(loss->last, seq);
	loss->seen = MAX(loss->seen, seq);
	r->unequal = true;
	return m->cfg.force ? 0 : DFS_ESTALE;
}

static void tell_rot(const struct meta_recovery *ret)
{
	if (!ret->rot_from)
		return;
	log_warn("the metadata journal has rotted on every disk that holds it: of transactions "
		 "%llu to %llu not all can be read there; nothing is lost, for the index holds "
		 "them; a checkpoint takes that part of the journal out of use",
		 (unsigned long long)ret->rot_from, (unsigned long long)ret->rot_to);
}

/* From whichever member has it whole. */
static void load_manifest(struct meta *m, struct recovery *r)
{
	bool found = m->root.checkpoint_id == 0;

	for (unsigned i = 0; i < r->source_count && m->root.checkpoint_id; i++) {
		struct manifest man;
		int err = manifest_load(r->sources[i], &m->root, &man);

		if (err) {
			r->unequal = true;
			log_warn("cannot use the checkpoint's manifest on %s: %s; trying another "
				 "member, and writing it anew",
				 r->sources[i]->name, dfs_err_text(err));
		} else if (found) {
			manifest_release(&man);
		} else {
			m->manifest = man;
			found = true;
		}
	}
}

int recover(struct meta *m, struct recovery *r, struct meta_recovery *ret)
{
	bool sound;
	int err = scan_disks(m, &r->scan, ret);

	if (err == 0)
		err = choose_root(m, &r->scan, ret);
	if (err == 0)
		err = choose_sources(m, r);
	if (err)
		return err;
	load_manifest(m, r);
	err = use_local(m, r, ret, &sound);
	if (err == 0 && !sound) {
		PROBE("index-from-mirror");
		ret->index_rebuilt = true;
		err = use_image(m, r, ret);
	}
	if (err == 0)
		err = check_damage(m, r, ret);
	if (err == 0)
		err = check_line(m, r, ret);
	if (err)
		return err;
	tell_rot(ret);
	m->durable = m->seq;
	m->durable_chain = m->chain;
	space_update(m);
	ret->epoch = m->root.epoch;
	ret->generation = m->root.generation;
	ret->seq = m->seq;
	ret->was_clean = m->root.clean && ret->replayed_transactions == 0;
	return 0;
}
