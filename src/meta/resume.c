/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An opening that finds no space for its checkpoint. The pool must open all the same, so that something can be
 * deleted: the members are made equal by giving each the records of the journal that it lacks (M16), and go
 * on at its end. A checkpoint is tried again in the background.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

static bool is_whole_member(struct meta *m, const struct member *mb)
{
	return mb->listed && !member_dead(m, mb);
}

/* ---- completing journals ---- */

struct completion {
	struct meta *m;
	bool twice;		     /* few are left (J5) */
	bool left[ROOT_MAX_MEMBERS]; /* it failed there: a later file must not be begun */
	uint64_t first;		     /* the file whose records are gathered */
	struct buf records;
};

static void complete_file(struct completion *c)
{
	struct meta *m = c->m;

	for (unsigned i = 0; i < m->member_count && c->records.len; i++) {
		struct member *mb = m->members[i];
		bool wrote = false;
		int err;

		if (!is_whole_member(m, mb) || c->left[i])
			continue;
		err = journal_complete(m, mb->disk.dev, c->first, &c->records, c->twice, &wrote);
		c->left[i] = err != 0;
		if (err && err != DFS_ENOSPC)
			member_kill(m, mb, err, "complete the metadata journal");
		if (err || !wrote)
			continue;
		PROBE("journal-completed");
		log_info("disk %u (%s) was given what its metadata journal lacked", mb->disk.id.v,
			 mb->disk.dev->name);
	}
	buf_reset(&c->records);
}

/* Does the journal of all together lead to where recovery ended? It does not where rot was passed over (M13). */
static bool journals_lead_to_end(struct meta *m, const struct recovery *r)
{
	struct journal_record rec;
	struct journal_walk w;

	walk_sources(m, r, &w);
	while (w.seq < m->seq && walk_next(&w, &rec) == 0)
		;
	walk_end(&w);
	m->file_first = w.file_first; /* nobody may take it for spare */
	return w.seq == m->seq && memcmp(&w.chain, &m->chain, sizeof(w.chain)) == 0;
}

/* M16. File by file, so that a file's name never comes before what it stands for. */
static void complete_journals(struct meta *m, const struct recovery *r)
{
	struct completion c = {.m = m};
	struct journal_record rec;
	struct journal_walk w;
	unsigned live = 0;

	if (!journals_lead_to_end(m, r))
		return;
	for (unsigned i = 0; i < m->member_count; i++)
		live += is_whole_member(m, m->members[i]);
	c.twice = live <= 2;
	walk_sources(m, r, &w);
	while (w.seq < m->seq && walk_next(&w, &rec) == 0) {
		if (w.file_first != c.first)
			complete_file(&c);
		c.first = w.file_first;
		buf_put(&c.records, walk_bytes(&w, &rec), rec.total_len);
	}
	complete_file(&c);
	walk_end(&w);
	buf_release(&c.records);
}

/* ---- going on ---- */

/* Does this member's journal alone lead to where recovery ended? */
static bool journal_whole(struct meta *m, struct dev *dev, struct journal_walk *w)
{
	struct journal_record rec;

	*w = (struct journal_walk){.count = 1};
	w->sources[0].dev = dev;
	walk_begin(w, &m->cfg.pool, &m->root);
	while (walk_next(w, &rec) == 0)
		;
	walk_end(w);
	return w->seq == m->seq && memcmp(&w->chain, &m->chain, sizeof(w->chain)) == 0;
}

/* Token held. False: nobody's journal can be gone on with. */
static bool leave_out_others(struct meta *m, struct journal_walk *ret_end)
{
	bool whole[ROOT_MAX_MEMBERS], some = false;
	struct journal_walk w;

	for (unsigned i = 0; i < m->member_count; i++) {
		const struct member *mb = m->members[i];

		whole[i] = is_whole_member(m, mb) && journal_whole(m, mb->disk.dev, &w);
		some = some || whole[i];
		if (whole[i])
			*ret_end = w; /* the same for all of them (M2) */
	}
	for (unsigned i = 0; i < m->member_count && some; i++) {
		struct member *mb = m->members[i];

		if (whole[i] || !is_whole_member(m, mb))
			continue;
		PROBE("member-left-out-by-opening");
		log_warn("disk %u (%s) holds no metadata until a checkpoint succeeds: its journal "
			 "ends early, and could not be completed",
			 mb->disk.id.v, mb->disk.dev->name);
		mb->dead = mb->told = true;
	}
	return some;
}

int resume_without_checkpoint(struct meta *m, const struct recovery *r)
{
	struct journal_walk end = {0};
	struct root next;
	int err = 0;

	PROBE("opened-without-checkpoint");
	token_take(m);
	complete_journals(m, r);
	if (!leave_out_others(m, &end)) {
		token_give(m);
		log_error("cannot open the pool: no disk's metadata journal can be gone on with, "
			  "since it has rotted, and there is no space for a checkpoint; free some "
			  "space on the disks");
		return DFS_ENOSPC;
	}
	/* They go on where their journal ends: both files may be in use, so no other can be begun. */
	if (end.end_first)
		journal_resume(m, end.end_first, &end.end_chain, end.end_off);
	else
		err = journal_switch(m, m->seq + 1, &m->chain);
	m->journal_bytes = m->file_off;
	next = m->root;
	next.clean = false;
	if (err == 0)
		err = roots_publish(m, &next);
	m->checkpoint_wanted = m->checkpoint_stuck = true;
	token_give(m);
	return err;
}
