/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rot that no redundancy bears: one journal record on all disks at once, or the newest root on all. Then
 * nobody can ask for the data. What is asked for is the truth (M11): when what is left proves that the
 * record had been acknowledged the pool is refused without force, and nothing is written; with force it
 * opens as it was before that record, and says what is lost. What is not proved may be cut.
 */
#include "sim/run_rot.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "format/journal.h"
#include "format/root.h"
#include "sim/sim_env.h"

struct found_record {
	uint64_t seq, durable;
	struct uuid writer;
	uint8_t *data;
	uint32_t len;
	bool on_sound; /* a disk to which nothing has happened */
};
struct search {
	struct run *r;
	struct run_disk *disk;
	struct found_record *all;
	unsigned count, cap;
};

static void add_record(struct search *s, const struct journal_record *rec, uint8_t *data)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 256;
		s->all = xrealloc(s->all, s->cap * sizeof(*s->all));
	}
	s->all[s->count++] = (struct found_record){.seq = rec->seq,
						   .durable = rec->durable,
						   .writer = rec->writer,
						   .data = data,
						   .len = rec->total_len,
						   .on_sound = s->disk->damage == DAMAGE_NONE};
}

static void search_journal(void *ctx, const char *path, uint8_t *data, uint64_t size)
{
	struct search *s = ctx;
	struct journal_record rec;
	uint32_t len;

	if (strncmp(path, "meta/journal/", 13))
		return;
	for (uint64_t at = 0; at + JOURNAL_FIXED_LEN <= size;) {
		if (!journal_record_peek(data + at, size - at, &s->r->uuid, &len) ||
		    journal_record_parse(data + at, size - at, &s->r->uuid, &rec)) {
			at += 8;
			continue;
		}
		add_record(s, &rec, data + at);
		at += rec.total_len;
	}
}

static void search_all(struct run *r, struct search *s)
{
	s->r = r;
	for (unsigned i = 0; i < r->disk_count; i++) {
		s->disk = &r->disks[i];
		sim_disk_each(s->disk->sim, search_journal, s);
	}
}

/* One of those that the newest opening has written. */
static const struct found_record *choose(struct run *r, const struct search *s)
{
	const struct found_record *newest = NULL, *chosen = NULL;
	uint64_t seen = 0;

	for (unsigned i = 0; i < s->count; i++)
		if (!newest || s->all[i].seq > newest->seq)
			newest = &s->all[i];
	for (unsigned i = 0; i < s->count; i++)
		if (uuid_eq(&s->all[i].writer, &newest->writer) && rng_one_in(&r->rot_rng, ++seen))
			chosen = &s->all[i];
	return chosen;
}

static void rot_record(struct run *r)
{
	struct search s = {0};
	const struct found_record *c;
	unsigned copies = 0;

	search_all(r, &s);
	c = choose(r, &s);
	for (unsigned i = 0; c && i < s.count; i++) {
		struct found_record *f = &s.all[i];

		if (!uuid_eq(&f->writer, &c->writer))
			continue;
		if (f->seq > c->seq && f->durable >= c->seq && f->on_sound)
			r->rot.proved = true;
		if (f->seq != c->seq)
			continue;
		f->data[rng_below(&r->rot_rng, f->len)] ^= 1u << rng_below(&r->rot_rng, 8);
		copies++;
	}
	if (c) {
		r->rot.seq = c->seq;
		PROBE("record-rotten-everywhere");
		sim_trace("transaction %llu is rotten on all disks, %u copies%s",
			  (unsigned long long)c->seq, copies,
			  r->rot.proved ? "; that it was acknowledged is proved" : "");
	}
	free(s.all);
}

/* ---- roots ---- */

static void rot_newest_root(void *ctx, const char *path, uint8_t *data, uint64_t size)
{
	struct run *r = ctx;
	FREE struct root *root = xcalloc(1, sizeof(*root));
	uint64_t newest = 0, at = 0;

	if (strcmp(path, "meta/roots"))
		return;
	for (uint64_t i = 0; (i + 1) * ROOT_SLOT_BYTES <= size; i++) {
		if (root_parse(data + i * ROOT_SLOT_BYTES, root) || root->generation <= newest)
			continue;
		newest = root->generation;
		at = i * ROOT_SLOT_BYTES;
	}
	if (!newest)
		return;
	data[at + rng_below(&r->rot_rng, 64)] ^= 1u << rng_below(&r->rot_rng, 8);
	r->rot.roots = true;
}

static void rot_roots(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		sim_disk_each(r->disks[i].sim, rot_newest_root, r);
	PROBE("newest-root-rotten-everywhere");
	sim_trace("the newest root is rotten on all disks");
}

/* ---- when ---- */

bool run_is_rotten(const struct run *r) { return r->rot.seq || r->rot.roots; }

void rot_settle(struct run *r)
{
	if (r->verified) /* else power went before it was seen, or given up */
		r->rot = (struct run_rot){0};
}

void rot_between_rounds(struct run *r)
{
	if (run_is_rotten(r))
		return;
	if (!r->rots || r->split.state == SPLIT_AWAY || r->beyond || r->lose_pool_dir ||
	    r->adding || rng_one_in(&r->rot_rng, 2))
		return;
	if (r->was_clean || rng_one_in(&r->rot_rng, 4)) /* then no record counts */
		rot_roots(r);
	else
		rot_record(r);
}

bool rot_refused(struct run *r, int err, const struct meta_loss *loss)
{
	if (!err || !run_is_rotten(r))
		return false;
	if (r->rot.roots) { /* whatever it is that can't be read without them */
		PROBE("rotten-roots-refused");
		sim_trace("with rotten roots it is refused: %s", dfs_err_name(err));
		r->rot.given_up = true;
		return true;
	}
	/* that it had been acknowledged may be known from the journal, or from the pool directory (H10) */
	if (err != DFS_EJOURNAL && err != DFS_ESTALE)
		return false;
	if (loss && loss->from != r->rot.seq) /* an index that holds it needs it not (M13) */
		sim_fail("M11", "transaction %llu is rotten, but %llu is said to be lost",
			 (unsigned long long)r->rot.seq, (unsigned long long)loss->from);
	PROBE("rotten-record-refused");
	sim_trace("with the rotten record it is refused");
	r->rot.given_up = true;
	return true;
}

bool rot_cuts(struct run *r)
{
	if (r->rot.given_up || !r->rot.seq || r->rot.proved)
		return r->rot.given_up;
	PROBE("rotten-record-may-be-cut");
	return true;
}

/* ---- journals that can't be read for a moment ---- */

/* When the pool is opened, on some disks or on all: that is no end of theirs (M17). */
void rot_unread_begin(struct run *r)
{
	bool some = r->unreads && !run_is_rotten(r) && rng_one_in(&r->unread_rng, 2);
	bool all = rng_one_in(&r->unread_rng, 2), shut = rng_one_in(&r->unread_rng, 2);

	if (some)
		PROBE("journals-unread-at-opening");
	/* A read-only mount may have shown what only these hold, and nobody was told of. */
	r->looked = r->looked && (!some || all);
	if (some)
		sim_trace("journals can't be %s, on %s disks", shut ? "opened" : "read",
			  all ? "all" : "some");
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);
		bool here = some && (all || rng_one_in(&r->unread_rng, 2));

		f.journal_unread = here && !shut;
		f.journal_shut = here && shut;
		sim_disk_set_fault(r->disks[i].sim, &f);
	}
}

void rot_unread_end(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);

		f.journal_unread = f.journal_shut = false;
		sim_disk_set_fault(r->disks[i].sim, &f);
	}
}

bool rot_unread_refused(struct run *r, int err)
{
	rot_unread_end(r);
	if (err != DFS_EUNREAD)
		return false;
	PROBE("unread-journals-refused");
	sim_trace("with unread journals it is refused");
	return true;
}
