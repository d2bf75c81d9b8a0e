/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of a history. Keeps P8: with the roots of any part of the pool's disks, in any state that
 * crashes can leave, at most one state is ever accepted without force, and never one that others may
 * have gone on from (H1 to H6 of docs/DESIGN.md). Pure; no locks.
 */
#include "meta/history.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_ALWAYS 40u /* of the youngest epochs */

struct epoch_seen {  /* one of the distinct epochs that disks show */
	unsigned at; /* index of its newest root */
	bool tip;    /* no other epoch that is seen descends from it */
};

struct view {
	const struct history_seen *seen;
	unsigned count;
	const struct history_witness *w;
	struct epoch_seen epochs[HISTORY_MAX_SEEN];
	unsigned epoch_count;
};

static const struct root *root_of(const struct view *v, const struct epoch_seen *e)
{
	return v->seen[e->at].root;
}

/* The place of an epoch in r's line: 0 its own, 1 its parent...; -1: not in it. */
static int place_in_line(const struct root *r, const struct uuid *id)
{
	if (uuid_eq(&r->epoch_id, id))
		return 0;
	for (unsigned i = 0; i < r->history_count; i++)
		if (uuid_eq(&r->history[i].id, id))
			return (int)i + 1;
	return -1;
}

static void find_epochs(struct view *v)
{
	for (unsigned i = 0; i < v->count; i++) {
		const struct root *r = v->seen[i].root;
		unsigned e = 0;

		if (!r)
			continue;
		while (e < v->epoch_count &&
		       !uuid_eq(&root_of(v, &v->epochs[e])->epoch_id, &r->epoch_id))
			e++;
		if (e == v->epoch_count)
			v->epochs[v->epoch_count++] = (struct epoch_seen){i, true};
		else if (r->generation > root_of(v, &v->epochs[e])->generation)
			v->epochs[e].at = i;
	}
	for (unsigned a = 0; a < v->epoch_count; a++)
		for (unsigned b = 0; b < v->epoch_count && v->epochs[a].tip; b++)
			v->epochs[a].tip = a == b ||
					   place_in_line(root_of(v, &v->epochs[b]),
							 &root_of(v, &v->epochs[a])->epoch_id) < 0;
}

/*
 * How far back from a tip a disk's newest root may lie to count for it: an epoch that is formed stands
 * for itself; one that may not be counts along with all that it was made from, back to one that is.
 */
static int reach(const struct root *tip)
{
	unsigned i = 0;

	if (tip->open_count == 0)
		return 0;
	while (i < tip->history_count && !tip->history[i].formed)
		i++;
	return (int)MIN(i + 1, tip->history_count);
}

/*
 * Within an epoch every voter gets each root before any gets the next: one may be missing when a crash
 * stopped that; none, of those that the pool directory knows all to have got.
 */
static bool set_back(const struct history_witness *w, const struct root *newest,
		     const struct history_seen *s)
{
	uint64_t least = newest->generation - 1;

	if (s->rotten || !uuid_eq(&newest->epoch_id, &s->root->epoch_id))
		return false;
	if (w->known && uuid_eq(&w->id, &newest->epoch_id))
		least = MAX(least, MIN(w->generation, newest->generation));
	return s->root->generation < least;
}

static const struct history_seen *seen_on(const struct view *v, const struct uuid *disk)
{
	for (unsigned i = 0; i < v->count; i++)
		if (uuid_eq(&v->seen[i].disk, disk))
			return v->seen[i].root ? &v->seen[i] : NULL;
	return NULL;
}

struct tally {
	bool accepted, by_witness;
	unsigned votes, voters;
};

/* Every set that is open must have its majority here; the pool directory decides ties. */
static struct tally count_votes(const struct view *v, const struct root *tip)
{
	struct tally t = {.accepted = true};
	unsigned votes[ROOT_MAX_OPEN + 1] = {0}, voters[ROOT_MAX_OPEN + 1] = {0};
	int zone = reach(tip), place = v->w->known ? place_in_line(tip, &v->w->id) : -1;
	bool witness = place >= 0 && place <= zone;
	long least = LONG_MAX;

	for (unsigned i = 0; i < tip->disk_count; i++) {
		const struct root_disk *row = &tip->disks[i];
		const struct history_seen *s = row->votes ? seen_on(v, &row->uuid) : NULL;
		int at = s && !set_back(v->w, tip, s) ? place_in_line(tip, &s->root->epoch_id) : -1;

		for (unsigned j = 0; j <= tip->open_count; j++) {
			if (!(row->votes >> j & 1))
				continue;
			voters[j]++;
			votes[j] += at >= 0 && at <= zone;
		}
	}
	for (unsigned j = 0; j <= tip->open_count; j++) {
		long margin = 2l * votes[j] - (long)voters[j];

		if (voters[j] && margin < least) {
			least = margin;
			t.votes = votes[j];
			t.voters = voters[j];
		}
		t.by_witness = t.by_witness || (voters[j] && margin == 0 && witness);
		t.accepted = t.accepted && (!voters[j] || margin > 0 || (margin == 0 && witness));
	}
	return t;
}

/*
 * Is what r's line has beyond the chosen one's nothing but attempts, which nobody was ever told of? An
 * epoch that was formed, or forced, is a history. Where the lines meet beyond what roots remember, it
 * can't be told: then it is one, too.
 */
static bool mere_attempt(const struct root *chosen, const struct root *r)
{
	if (r->open_count == 0 || r->forced)
		return false;
	for (unsigned i = 0; i < r->history_count; i++) {
		if (place_in_line(chosen, &r->history[i].id) >= 0)
			return true;
		if (r->history[i].formed || r->history[i].forced)
			return false;
	}
	return false;
}

/* One epoch and one generation, but not one root: a copy of this disk's pool has been used elsewhere. */
static bool differs(const struct root *a, const struct root *b)
{
	return uuid_eq(&a->epoch_id, &b->epoch_id) && a->generation == b->generation &&
	       (a->checkpoint_id != b->checkpoint_id || a->checkpoint_seq != b->checkpoint_seq ||
		a->written_wall_ns != b->written_wall_ns || a->open_count != b->open_count ||
		memcmp(&a->chain, &b->chain, sizeof(a->chain)) ||
		memcmp(&a->manifest, &b->manifest, sizeof(a->manifest)));
}

/* A person has given this state of the disk up already; if it has been used since, it is another one, for
 * each opening has an epoch of its own. */
static bool settled(const struct root *chosen, const struct history_seen *s)
{
	const struct root_disk *row = root_find_disk(chosen, &s->disk);

	return row && row->apart && row->left_epoch == s->root->epoch;
}

static bool all_settled(const struct view *v, const struct root *by, const struct root *tip)
{
	for (unsigned i = 0; i < v->count; i++) {
		const struct history_seen *s = &v->seen[i];

		if (s->root && uuid_eq(&s->root->epoch_id, &tip->epoch_id) && !settled(by, s))
			return false;
	}
	return true;
}

/* Wherever it is shown a person has given it up for another history that is here, and the pool directory does
 * not follow it: so it is not offered again, however few are left of the other one. */
static bool given_up(const struct view *v, const struct root *tip)
{
	if (v->w->known && place_in_line(tip, &v->w->id) >= 0)
		return false;
	for (unsigned i = 0; i < v->epoch_count; i++) {
		const struct root *by = root_of(v, &v->epochs[i]);

		if (v->epochs[i].tip && by->epoch > tip->epoch && all_settled(v, by, tip))
			return true;
	}
	return false;
}

static bool better(const struct view *v, const struct root *a, const struct root *b)
{
	bool votes_a = count_votes(v, a).accepted, votes_b = count_votes(v, b).accepted;
	bool dir_a = v->w->known && place_in_line(a, &v->w->id) >= 0;
	bool dir_b = v->w->known && place_in_line(b, &v->w->id) >= 0;

	if (votes_a != votes_b)
		return votes_a;
	if (mere_attempt(a, b) != mere_attempt(b, a))
		return mere_attempt(a, b);
	if (dir_a != dir_b)
		return dir_a;
	if (a->epoch != b->epoch)
		return a->epoch > b->epoch;
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return memcmp(&a->epoch_id, &b->epoch_id, sizeof(a->epoch_id)) > 0;
}

/* It has once shown more than it does now: it voted in an epoch that was formed, so it had its root. */
static bool once_had_more(const struct root *chosen, const struct root_disk *row,
			  const struct history_seen *s)
{
	if (s->rotten)
		return false;
	if ((row->votes & 1) && chosen->open_count == 0)
		return true;
	for (unsigned i = 0; i < chosen->history_count; i++)
		if (chosen->history[i].epoch == row->left_epoch)
			return chosen->history[i].formed && s->root->epoch < row->left_epoch;
	return false;
}

static enum history_role role_of(const struct history_witness *w, const struct root *chosen,
				 const struct history_seen *s)
{
	const struct root_disk *row = root_find_disk(chosen, &s->disk);
	int place;

	if (s->unread)
		return HISTORY_UNREAD;
	if (s->root && differs(chosen, s->root))
		return HISTORY_OTHER;
	place = s->root ? place_in_line(chosen, &s->root->epoch_id) : -1;
	if (s->root && place < 0 && !mere_attempt(chosen, s->root))
		return HISTORY_OTHER;
	if (!row)
		return HISTORY_UNLISTED;
	if (row->given_up)
		return HISTORY_GIVEN_UP;
	if (!s->root)
		return HISTORY_NO_ROOT;
	if (set_back(w, chosen, s))
		return HISTORY_SET_BACK;
	if (place == 0)
		return HISTORY_CURRENT;
	return once_had_more(chosen, row, s) ? HISTORY_SET_BACK : HISTORY_BEHIND;
}

/* Does the pool directory know better than the disks that are here? */
static enum history_verdict ask_witness(const struct history_witness *w, const struct root *chosen)
{
	int back = reach(chosen), place;
	uint64_t formed = back ? chosen->history[back - 1].epoch : chosen->epoch;

	if (!w->known)
		return HISTORY_ACCEPTED;
	place = place_in_line(chosen, &w->id);
	if (place == 0)
		return w->generation > chosen->generation ? HISTORY_STALE : HISTORY_ACCEPTED;
	if (place > 0)
		return HISTORY_ACCEPTED;
	if (w->epoch > formed) /* what the chosen one has beyond that was never formed */
		return HISTORY_STALE;
	/* older than what the root remembers: it says nothing any more */
	if (chosen->history_count == ROOT_MAX_HISTORY &&
	    w->epoch < chosen->history[ROOT_MAX_HISTORY - 1].epoch)
		return HISTORY_ACCEPTED;
	return HISTORY_SPLIT;
}

static void judge(const struct view *v, const struct root *chosen, bool force,
		  struct history_choice *c)
{
	struct tally t = count_votes(v, chosen);

	c->votes = t.votes;
	c->voters = t.voters;
	c->by_witness = t.by_witness;
	c->witness_here = v->w->known && uuid_eq(&v->w->id, &chosen->epoch_id);
	c->witness_in_line = v->w->known && place_in_line(chosen, &v->w->id) >= 0;
	c->verdict = c->other >= 0 ? HISTORY_SPLIT : ask_witness(v->w, chosen);
	if (c->verdict == HISTORY_ACCEPTED && !t.accepted)
		c->verdict = HISTORY_MINORITY;
	c->forced = force && c->verdict != HISTORY_ACCEPTED;
	if (c->forced)
		c->verdict = HISTORY_ACCEPTED;
}

void history_choose(const struct history_seen *seen, unsigned count,
		    const struct history_witness *witness, bool force,
		    struct history_choice *ret_choice, enum history_role *ret_roles)
{
	FREE struct view *v = xcalloc(1, sizeof(*v));
	struct history_choice c = {.verdict = HISTORY_NONE, .chosen = -1, .other = -1};
	const struct root *chosen = NULL;

	ASSERT(count <= HISTORY_MAX_SEEN);
	v->seen = seen;
	v->count = count;
	v->w = witness;
	find_epochs(v);
	for (unsigned i = 0; i < v->epoch_count; i++) {
		const struct root *r = root_of(v, &v->epochs[i]);

		c.max_epoch = MAX(c.max_epoch, r->epoch);
		if (!v->epochs[i].tip || given_up(v, r) || (chosen && !better(v, r, chosen)))
			continue;
		chosen = r;
		c.chosen = (int)v->epochs[i].at;
	}
	for (unsigned i = 0; i < count; i++) {
		const struct root *r = seen[i].root;

		if (r)
			c.max_generation = MAX(c.max_generation, r->generation);
		ret_roles[i] = chosen ? role_of(witness, chosen, &seen[i]) : HISTORY_NO_ROOT;
		if (ret_roles[i] == HISTORY_OTHER && !settled(chosen, &seen[i]) &&
		    (c.other < 0 || better(v, r, seen[c.other].root)))
			c.other = (int)i;
	}
	if (chosen)
		judge(v, chosen, force, &c);
	*ret_choice = c;
}

/* ---- the next root ---- */

static bool same_members(const struct root *a, const struct root *b)
{
	if (a->member_count != b->member_count)
		return false;
	for (unsigned i = 0; i < a->member_count; i++) {
		bool found = false;

		for (unsigned j = 0; j < b->member_count; j++)
			found = found || uuid_eq(&a->members[i].uuid, &b->members[j].uuid);
		if (!found)
			return false;
	}
	return true;
}

static bool same_voters(const struct root *a, const struct root *b)
{
	for (unsigned i = 0; i < a->disk_count; i++) {
		const struct root_disk *row = root_find_disk(b, &a->disks[i].uuid);

		if ((a->disks[i].votes & 1) != (row ? row->votes & 1 : 0))
			return false;
	}
	return true;
}

static bool same_disks(const struct root *a, const struct root *b)
{
	if (a->disk_count != b->disk_count || !same_voters(a, b))
		return false;
	for (unsigned i = 0; i < a->disk_count; i++) {
		const struct root_disk *row = root_find_disk(b, &a->disks[i].uuid);

		if (!row || row->given_up != a->disks[i].given_up)
			return false;
	}
	return true;
}

bool history_same(const struct root *next, const struct root *last)
{
	return same_members(next, last) && same_disks(next, last);
}

/* The epoch goes on as it is: nobody came or went, and nothing about it is open. */
bool history_goes_on(const struct root *next, const struct root *last)
{
	return last->open_count == 0 && history_same(next, last);
}

void history_keep(struct root *next, const struct root *last)
{
	next->epoch = last->epoch;
	next->epoch_id = last->epoch_id;
	next->forced = last->forced;
	next->open_count = 0;
	next->history_count = last->history_count;
	memcpy(next->history, last->history, sizeof(next->history));
	memcpy(next->disks, last->disks, sizeof(next->disks));
	next->disk_count = last->disk_count;
}

/* The last one's voters, and all that it left open, must agree to the next one. */
static void keep_open(struct root *next, const struct root *last)
{
	unsigned shift = last->open_count && same_voters(next, last) && same_voters(last, next) ? 0
												: 1;

	next->open_count = last->open_count + shift;
	for (unsigned i = 0; i < next->disk_count; i++) {
		struct root_disk *row = &next->disks[i];
		const struct root_disk *old = root_find_disk(last, &row->uuid);

		if (old)
			row->votes |= shift ? old->votes << 1 : old->votes & ~1u;
	}
}

static bool somebody_left_in(const struct root *r, uint64_t epoch)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (!r->disks[i].given_up && r->disks[i].left_epoch == epoch)
			return true;
	return false;
}

/*
 * The parent, and what it remembers. When there is no room, the oldest goes that no disk of the pool can
 * still show as its newest, but the youngest always stay; so a disk that comes back after any time is
 * known for what it is.
 */
static void keep_history(struct root *next, const struct root *last)
{
	unsigned drop = ROOT_MAX_HISTORY - 1;

	memset(next->history, 0, sizeof(next->history));
	next->history[0] = (struct root_epoch){.id = last->epoch_id,
					       .epoch = last->epoch,
					       .formed = last->open_count == 0,
					       .forced = last->forced};
	next->history_count = MIN(last->history_count + 1, ROOT_MAX_HISTORY);
	while (drop > KEPT_ALWAYS && somebody_left_in(next, last->history[drop].epoch))
		drop--;
	if (last->history_count < ROOT_MAX_HISTORY || drop == KEPT_ALWAYS)
		drop = ROOT_MAX_HISTORY - 1;
	memcpy(next->history + 1, last->history,
	       MIN(drop, last->history_count) * sizeof(next->history[0]));
	if (last->history_count == ROOT_MAX_HISTORY)
		memcpy(next->history + 1 + drop, last->history + drop + 1,
		       (ROOT_MAX_HISTORY - 1 - drop) * sizeof(next->history[0]));
}

static void note_leavers(struct root *next, const struct root *last)
{
	for (unsigned i = 0; i < next->disk_count; i++) {
		struct root_disk *row = &next->disks[i];
		const struct root_disk *old = root_find_disk(last, &row->uuid);

		row->left_epoch = 0;
		row->apart = false;
		if (!old || (row->votes & 1))
			continue;
		row->apart = old->apart;
		row->left_epoch = !old->apart && (old->votes & 1) ? last->epoch : old->left_epoch;
	}
}

int history_begin(struct root *next, const struct root *last, uint64_t epoch_floor, bool forced)
{
	if (last->open_count == ROOT_MAX_OPEN)
		return DFS_E2BIG;
	next->epoch = MAX(last->epoch, epoch_floor) + 1;
	uuid_random(&next->epoch_id);
	next->forced = forced;
	note_leavers(next, last);
	keep_history(next, last);
	keep_open(next, last);
	return 0;
}

void history_close(struct root *next)
{
	next->open_count = 0;
	for (unsigned i = 0; i < next->disk_count; i++)
		next->disks[i].votes &= 1;
}

static bool among(const struct uuid *list, unsigned count, const struct uuid *u)
{
	for (unsigned i = 0; i < count; i++)
		if (uuid_eq(&list[i], u))
			return true;
	return false;
}

int history_forms(const struct root *next, const struct uuid *leavers, unsigned leaver_count)
{
	int forms = 1;

	for (unsigned j = 1; j <= next->open_count; j++) {
		unsigned votes = 0, voters = 0;

		for (unsigned i = 0; i < next->disk_count; i++) {
			const struct root_disk *row = &next->disks[i];

			if (!(row->votes >> j & 1))
				continue;
			voters++;
			votes += (row->votes & 1) || among(leavers, leaver_count, &row->uuid);
		}
		if (2 * votes < voters)
			return -1;
		if (2 * votes == voters && voters)
			forms = 0;
	}
	return forms;
}
