/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which history a pool opens (P8; H1 to H7 of docs/DESIGN.md "One history"): pools of 1 to 8 disks, of
 * which any part is opened again and again, with the pool directory as it was last, as a backup has it, not
 * writable, or gone, with power cut after any root, by force, with disks restored from backups, and with copies
 * of all disks that are used elsewhere and mixed with the others. The
 * engine's own decisions against a model that knows what was acknowledged:
 *  - what is opened without force has everything that was acknowledged last (never stale);
 *  - two histories are never taken for one, nor one of them silently;
 *  - whenever the rule says so, it opens (and when not, not).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/env.h"
#include "meta/history.h"

#define MAX_DISKS 8u
#define ARENA_ROOTS 512u
#define MAX_STATES 128u

/* ---- the world ---- */

struct state { /* what was written: each follows from one before; 0 is the empty pool */
	int parent;
	bool acked;
};
struct disk {
	const struct root *root;
	int state;     /* what it holds; -1: nothing */
	bool restored; /* from a backup, since the last opening with it */
};
struct site { /* where a pool's disks are used: copies of them may be used at another */
	struct disk disks[MAX_DISKS];
	struct history_witness dir;
	bool dir_current;
	int acked; /* the state that was acknowledged here last */
};
struct world {
	struct site other;
	unsigned n;
	struct disk disks[MAX_DISKS], backup[MAX_DISKS];
	struct history_witness dir, dir_backup;
	bool dir_current; /* it remembers the newest acknowledged epoch */
	int acked;	  /* the state that was acknowledged last, here */
	struct state states[MAX_STATES];
	unsigned state_count;
	int tips[4]; /* acknowledged last, in each history */
	unsigned tip_voters[4];
	unsigned tip_count, root_count;
	bool forked; /* by force, or since nothing that is current was there to tell */
};
static struct root *arena;
static uint64_t opened, refused, cut, split, forced_count, told_stale, lives, mixed;
static char what[4096]; /* the history so far */
static size_t what_len;

static struct uuid disk_uuid(unsigned i) { return (struct uuid){{77, (uint8_t)(i + 1)}}; }

static struct root *root_new(struct world *w)
{
	assert_true(w->root_count < ARENA_ROOTS);
	return &arena[w->root_count++];
}

static bool descends(const struct world *w, int s, int from)
{
	while (s > from && s >= 0)
		s = w->states[s].parent;
	return s == from;
}

static int state_new(struct world *w, int parent)
{
	assert_true(w->state_count < MAX_STATES);
	w->states[w->state_count] = (struct state){parent, false};
	return (int)w->state_count++;
}

static void world_make(struct world *w, unsigned n)
{
	struct root *r;

	memset(w, 0, sizeof(*w));
	w->n = n;
	r = root_new(w);
	memset(r, 0, sizeof(*r));
	r->pool.b[0] = 1;
	r->generation = r->epoch = 1;
	uuid_random(&r->epoch_id);
	r->member_count = 1;
	r->members[0].id.v = 1;
	r->members[0].uuid = disk_uuid(0);
	r->disk_count = n;
	for (unsigned i = 0; i < n; i++) {
		r->disks[i] = (struct root_disk){{i + 1}, disk_uuid(i), false, 1, 0, false};
		w->disks[i] = (struct disk){.root = r, .state = 0};
	}
	w->states[0].acked = true;
	w->state_count = 1;
	w->tip_count = 1;
	w->tip_voters[0] = (1u << n) - 1;
	w->dir = w->dir_backup = (struct history_witness){true, r->epoch_id, 1, 1};
	w->dir_current = true;
	memcpy(w->backup, w->disks, sizeof(w->backup));
}

/* ---- copies that are used elsewhere ---- */

static struct site this_site(const struct world *w)
{
	struct site s = {.dir = w->dir, .dir_current = w->dir_current, .acked = w->acked};

	memcpy(s.disks, w->disks, sizeof(s.disks));
	return s;
}

static void clone_all(struct world *w)
{
	w->other = this_site(w);
	w->forked = true; /* both go on, and nobody can know */
}

static void go_to_the_other(struct world *w)
{
	struct site here = this_site(w);

	memcpy(w->disks, w->other.disks, sizeof(w->disks));
	w->dir = w->other.dir;
	w->dir_current = w->other.dir_current;
	w->acked = w->other.acked;
	w->other = here;
}

static void exchange(struct world *w, unsigned i)
{
	struct disk here = w->disks[i];

	w->disks[i] = w->other.disks[i];
	w->other.disks[i] = here;
}

/* ---- one opening ---- */

enum dir_state {
	DIR_THERE,
	DIR_READ_ONLY,
	DIR_GONE,
	DIR_BACKUP, /* pool.json as it was once */
	DIR_STATES
};
struct opening {
	unsigned present; /* bits */
	enum dir_state dir;
	unsigned cut_after; /* roots written; 0: no power cut */
	bool force, backwards, grow;
};

static void wrong(const struct world *w, const char *why)
{
	fail_msg("%s: %u disks: %s", why, w->n, what);
}

static void note(const struct opening *o)
{
	static const char *const dirs[] = {"dir", "read-only dir", "no dir", "old dir"};

	what_len += (size_t)snprintf(what + what_len, sizeof(what) - what_len,
				     "{%x %s cut %u%s%s} ", o->present, dirs[o->dir], o->cut_after,
				     o->force ? " force" : "", o->backwards ? " backwards" : "");
}

static unsigned bits(unsigned v) { return (unsigned)__builtin_popcount(v); }

/* What of the newest epoch that is here was written last. */
static int newest_state(const struct world *w, unsigned present, const struct root *r)
{
	int s = -1;

	for (unsigned i = 0; i < w->n; i++)
		if ((present >> i & 1) && uuid_eq(&w->disks[i].root->epoch_id, &r->epoch_id))
			s = w->disks[i].state > s ? w->disks[i].state : s;
	return s;
}

static bool any_restored(const struct world *w, unsigned present)
{
	for (unsigned i = 0; i < w->n; i++)
		if ((present >> i & 1) && w->disks[i].restored)
			return true;
	return false;
}

/* Is something here that no acknowledged epoch stands for? Then only little is asked of the rule. */
static bool attempts_here(const struct world *w, unsigned present)
{
	for (unsigned i = 0; i < w->n; i++)
		if ((present >> i & 1) &&
		    (w->disks[i].root->open_count || !w->states[w->disks[i].state].acked))
			return true;
	return false;
}

static bool dir_is_current(const struct world *w, const struct opening *o)
{
	return w->dir_current && (o->dir == DIR_THERE || o->dir == DIR_READ_ONLY);
}

/*
 * The rule, told by the model: without attempts and restored disks, of the voters of the history that is
 * here a majority must hold what was acknowledged last, or half, and the pool directory.
 */
static void check_available(const struct world *w, const struct opening *o,
			    const struct history_choice *c)
{
	unsigned holders = 0, voters = w->tip_voters[0];
	bool should, accepted = c->verdict == HISTORY_ACCEPTED, dir = dir_is_current(w, o);

	if (o->force || w->forked || (c->by_witness && !dir) || any_restored(w, (1u << w->n) - 1) ||
	    attempts_here(w, (1u << w->n) - 1))
		return;
	for (unsigned i = 0; i < w->n; i++)
		if ((o->present & voters) >> i & 1)
			holders |= (unsigned)(w->disks[i].state == w->tips[0]) << i;
	should = 2 * bits(holders) > bits(voters) || (2 * bits(holders) == bits(voters) && dir);
	if (should != accepted)
		wrong(w, should ? "refused, but the rule says open" : "opened against the rule");
}

/* Everything that was acknowledged in its history is there, and no other history is here. */
static void check_accepted(struct world *w, const struct opening *o, const struct history_choice *c,
			   int state)
{
	/* What has forgotten votes as it did: a disk from a backup; in a tie the pool directory from
	 * one. Nobody can tell, as long as nothing that is current is here. */
	bool excuse = !dir_is_current(w, o) && (any_restored(w, o->present) || c->by_witness);
	int tip = -1;

	if (dir_is_current(w, o) && !descends(w, state, w->acked))
		wrong(w, "opened beside what the pool directory remembers");
	w->forked |= excuse;
	for (unsigned t = 0; t < w->tip_count; t++)
		if (descends(w, state, w->tips[t]))
			tip = (int)t;
	if (tip < 0) {
		told_stale++;
		if (!excuse && !w->forked)
			wrong(w, "opened without what was acknowledged last");
		w->forked = true;
		return;
	}
	for (unsigned i = 0; i < w->n; i++) {
		int s = w->disks[i].state;

		if (!(o->present >> i & 1))
			continue;
		while (s > 0 && !w->states[s].acked)
			s = w->states[s].parent;
		if (!descends(w, state, s) && !excuse)
			wrong(w, "opened beside a disk of another history");
		mixed += s != state && w->other.disks[i].root;
	}
}

/* Writes root and state to the disks that are here; false: power went. */
static bool write_all(struct world *w, const struct opening *o, const struct root *r, int state,
		      unsigned *left)
{
	for (unsigned k = 0; k < w->n; k++) {
		unsigned i = o->backwards ? w->n - 1 - k : k;
		const struct root_disk *row = &r->disks[i];

		if (!(o->present >> i & 1) || !(row->votes & 1))
			continue;
		w->disks[i] = (struct disk){.root = r, .state = state};
		if (*left && --*left == 0)
			return false;
	}
	return true;
}

static void acknowledge(struct world *w, const struct root *r, int from, int state, bool dir_knows)
{
	unsigned voters = 0, t = 0;

	for (unsigned i = 0; i < w->n; i++)
		voters |= (r->disks[i].votes & 1) << i;
	w->states[state].acked = true;
	w->acked = state;
	w->dir_current = dir_knows;
	/* what was forced stands beside what others may go on from */
	while (t < w->tip_count && (r->forced || !descends(w, from, w->tips[t])))
		t++;
	if (t == 4)
		return;
	if (t == w->tip_count)
		w->tip_count++;
	w->tips[t] = state;
	w->tip_voters[t] = voters;
}

static struct history_witness dir_of(const struct world *w, const struct opening *o)
{
	if (o->dir == DIR_GONE)
		return (struct history_witness){0};
	return o->dir == DIR_BACKUP ? w->dir_backup : w->dir;
}

/* A voter lists who is here; in a world where disks may be set back, they count for nothing. */
static void draw(const struct world *w, const struct opening *o, const enum history_role *roles,
		 const struct root *last, struct root *next)
{
	*next = *last;
	for (unsigned i = 0; i < w->n; i++)
		next->disks[i].votes = (o->present >> i & 1) && roles[i] != HISTORY_OTHER;
}

/* The steps of roots_publish(). False: it did not come to be (and the world is as that leaves it). */
static bool publish(struct world *w, const struct opening *o, const struct history_choice *c,
		    const enum history_role *roles, const struct root *last, int from, int state)
{
	struct root *next = root_new(w), *formed;
	struct history_witness dir = dir_of(w, o);
	unsigned left = o->cut_after;
	uint64_t floor = c->max_epoch > dir.epoch ? c->max_epoch : dir.epoch;
	bool can_tell = o->dir != DIR_READ_ONLY, told = false;
	int forms;

	draw(w, o, roles, last, next);
	next->generation = c->max_generation + 1;
	assert_int_equal(history_begin(next, last, floor, c->forced), 0);
	if (!write_all(w, o, next, from, &left))
		return false;
	forms = c->forced ? 1 : history_forms(next, NULL, 0);
	if (forms < 1 && (forms < 0 || !can_tell))
		return false;
	if (forms == 0) {
		w->dir_current = w->dir_current && o->dir == DIR_THERE;
		w->dir = (struct history_witness){true, next->epoch_id, next->epoch,
						  next->generation};
		told = true;
	}
	if (left && --left == 0)
		return false;
	formed = root_new(w);
	*formed = *next;
	history_close(formed);
	formed->generation++;
	if (!write_all(w, o, formed, state, &left))
		return false;
	if (can_tell && !told)
		w->dir = (struct history_witness){true, formed->epoch_id, formed->epoch,
						  formed->generation};
	acknowledge(w, formed, from, state, can_tell);
	return true;
}

static void open_pool(struct world *w, const struct opening *o)
{
	struct history_seen seen[MAX_DISKS];
	enum history_role roles[MAX_DISKS], by_disk[MAX_DISKS] = {0};
	struct history_witness dir = dir_of(w, o);
	struct history_choice c;
	unsigned count = 0, at[MAX_DISKS];
	int from;

	for (unsigned i = 0; i < w->n; i++) {
		if (!(o->present >> i & 1))
			continue;
		at[count] = i;
		seen[count++] = (struct history_seen){.disk = disk_uuid(i),
						      .root = w->disks[i].root};
	}
	history_choose(seen, count, &dir, o->force, &c, roles);
	check_available(w, o, &c);
	split += c.verdict == HISTORY_SPLIT;
	if (c.verdict != HISTORY_ACCEPTED) {
		refused++;
		return;
	}
	for (unsigned k = 0; k < count; k++)
		by_disk[at[k]] = roles[k];
	from = newest_state(w, o->present, seen[c.chosen].root);
	if (!c.forced)
		check_accepted(w, o, &c, from);
	forced_count += c.forced;
	w->forked |= c.forced;
	if (publish(w, o, &c, by_disk, seen[c.chosen].root, from, state_new(w, from)))
		opened++;
	else
		cut++;
}

/* ---- all of them ---- */

static void step(struct world *w, const struct opening *o)
{
	note(o);
	open_pool(w, o);
}

/* Every sequence of `depth` openings: any disks, any pool directory, power cut at any of the roots. */
static void explore(const struct world *start, unsigned depth, bool force_too, unsigned dirs)
{
	for (unsigned present = 1; present < 1u << start->n; present++)
		for (unsigned dir = 0; dir < dirs; dir++)
			for (unsigned cut_at = 0; cut_at <= 2 * bits(present) + 1; cut_at++)
				for (unsigned how = 0; how < (force_too ? 4u : 2u); how++) {
					struct opening o = {.present = present,
							    .dir = dir,
							    .cut_after = cut_at,
							    .backwards = how & 1,
							    .force = how & 2};
					struct world w;
					size_t len = what_len;

					if ((how & 1) && (cut_at == 0 || bits(present) == 1))
						continue;
					w = *start;
					step(&w, &o);
					lives++;
					if (depth > 1)
						explore(&w, depth - 1, force_too, dirs);
					what_len = len;
				}
}

static void explore_from_start(unsigned n, unsigned depth, bool force_too, unsigned dirs)
{
	struct world w;

	world_make(&w, n);
	what_len = 0;
	explore(&w, depth, force_too, dirs);
}

static unsigned pick(uint64_t *seed, unsigned below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (unsigned)(*seed >> 11) % below;
}

/* Disks and the pool directory are backed up now and then, and restored. */
static void backups(struct world *w, uint64_t *seed, unsigned one_in)
{
	unsigned i = pick(seed, w->n);

	if (pick(seed, 4) == 0)
		w->backup[i] = w->disks[i];
	if (pick(seed, 4) == 0)
		w->dir_backup = w->dir;
	i = pick(seed, w->n);
	if (one_in && pick(seed, one_in) == 0 && w->backup[i].root != w->disks[i].root) {
		w->disks[i] = w->backup[i];
		w->disks[i].restored = true;
		what_len += (size_t)snprintf(what + what_len, sizeof(what) - what_len,
					     "{disk %u restored} ", i);
	}
}

static void random_lives(unsigned n, unsigned count, unsigned force_one_in, unsigned restore_one_in,
			 unsigned dirs)
{
	uint64_t seed = 88172645463325252ull + n;

	for (unsigned life = 0; life < count; life++) {
		struct world w;

		what_len = 0;
		world_make(&w, n);
		lives++;
		for (unsigned i = 0; i < 10; i++) {
			struct opening o = {.present = 1 + pick(&seed, (1u << n) - 1),
					    .dir = pick(&seed, 2) ? DIR_THERE : pick(&seed, dirs),
					    .backwards = pick(&seed, 2)};

			if (pick(&seed, 2))
				o.present |= 1 + pick(&seed, (1u << n) - 1);
			if (pick(&seed, 3) == 0)
				o.cut_after = 1 + pick(&seed, 2 * n + 2);
			o.force = force_one_in && pick(&seed, force_one_in) == 0;
			backups(&w, &seed, restore_one_in);
			step(&w, &o);
		}
	}
}

/* Every sequence of openings here and elsewhere, with any one disk exchanged before. */
static void explore_clones(const struct world *start, unsigned depth)
{
	for (unsigned how = 0; how < 2 * (start->n + 1); how++)
		for (unsigned present = 1; present < 1u << start->n; present++)
			for (unsigned dir = 0; dir < DIR_BACKUP; dir++)
				for (unsigned cut_at = 0; cut_at <= bits(present) + 1; cut_at++) {
					struct opening o = {.present = present,
							    .dir = dir,
							    .cut_after = cut_at};
					size_t len = what_len;
					struct world w = *start;

					if (how >= 2)
						exchange(&w, how / 2 - 1);
					if (how % 2)
						go_to_the_other(&w);
					what_len += (size_t)snprintf(what + what_len,
								     sizeof(what) - what_len,
								     "[exchange %d%s] ",
								     (int)how / 2 - 1,
								     how % 2 ? ", elsewhere" : "");
					step(&w, &o);
					lives++;
					if (depth > 1)
						explore_clones(&w, depth - 1);
					what_len = len;
				}
}

static void random_clones(unsigned n, unsigned count, unsigned force_one_in,
			  unsigned restore_one_in)
{
	uint64_t seed = 362436069123456789ull + n;

	for (unsigned life = 0; life < count; life++) {
		struct world w;

		what_len = 0;
		world_make(&w, n);
		lives++;
		for (unsigned i = 0; i < 12; i++) {
			struct opening o = {.present = 1 + pick(&seed, (1u << n) - 1),
					    .dir = pick(&seed, 2) ? DIR_THERE
								  : pick(&seed, DIR_STATES),
					    .backwards = pick(&seed, 2)};

			if (pick(&seed, 2))
				o.present |= 1 + pick(&seed, (1u << n) - 1);
			if (pick(&seed, 3) == 0)
				o.cut_after = 1 + pick(&seed, 2 * n + 2);
			o.force = force_one_in && pick(&seed, force_one_in) == 0;
			if (i == 2)
				clone_all(&w);
			if (i > 2 && pick(&seed, 2))
				go_to_the_other(&w);
			if (i > 3 && pick(&seed, 3) == 0)
				exchange(&w, pick(&seed, n));
			backups(&w, &seed, restore_one_in);
			step(&w, &o);
		}
	}
}

static void report(const char *name)
{
	print_message(
		"%s: %llu histories; opened %llu, refused %llu (%llu as two histories), cut %llu, "
		"forced %llu, stale for want of any witness %llu\n",
		name, (unsigned long long)lives, (unsigned long long)opened,
		(unsigned long long)refused, (unsigned long long)split, (unsigned long long)cut,
		(unsigned long long)forced_count, (unsigned long long)told_stale);
	lives = opened = refused = split = cut = forced_count = told_stale = mixed = 0;
}

static bool in_full(void) { return getenv("DYNAMICFS_PROVE") != NULL; }

static void every_history_of_few_disks(void **state)
{
	(void)state;
	explore_from_start(1, 4, false, DIR_BACKUP);
	explore_from_start(2, 3, false, DIR_BACKUP);
	explore_from_start(3, in_full() ? 3 : 2, false, DIR_BACKUP);
	explore_from_start(4, 2, false, DIR_BACKUP);
	assert_true(opened > 1000 && refused > 1000 && cut > 1000);
	assert_int_equal(split, 0); /* without force and backups there is only one */
	assert_int_equal(told_stale, 0);
	report("every history");
	explore_from_start(1, 3, false, DIR_STATES);
	explore_from_start(2, 3, false, DIR_STATES);
	explore_from_start(3, 2, false, DIR_STATES);
	explore_from_start(4, 2, false, DIR_STATES);
	report("with a pool directory from a backup");
}

static void every_history_with_force(void **state)
{
	(void)state;
	explore_from_start(1, 3, true, DIR_STATES);
	explore_from_start(2, 3, true, in_full() ? DIR_STATES : 1);
	explore_from_start(3, 2, true, DIR_STATES);
	assert_true(split > 10 && forced_count > 1000);
	report("with force");
}

static void many_histories_of_more(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= MAX_DISKS; n++)
		random_lives(n, in_full() ? 1000000 : 8000, 0, 0, DIR_BACKUP);
	assert_int_equal(split, 0);
	assert_int_equal(told_stale, 0);
	report("random");
	for (unsigned n = 1; n <= MAX_DISKS; n++)
		random_lives(n, in_full() ? 1000000 : 8000, 4, 0, DIR_STATES);
	assert_true(split > 100);
	report("random, with force");
	for (unsigned n = 1; n <= MAX_DISKS; n++)
		random_lives(n, in_full() ? 1000000 : 8000, 0, 3, DIR_STATES);
	report("random, with disks restored from backups");
}

/* Copies of all disks are used elsewhere, and single ones are exchanged. */
static void copies_used_elsewhere(void **state)
{
	struct world w;

	(void)state;
	for (unsigned n = 1; n <= 3; n++) {
		world_make(&w, n);
		what_len = 0;
		clone_all(&w);
		explore_clones(&w, n == 1 ? 4 : n == 2 && in_full() ? 3 : 2);
	}
	assert_true(opened > 1000 && split > 1000 && mixed > 100);
	report("every use of copies");
	for (unsigned n = 1; n <= MAX_DISKS; n++)
		random_clones(n, in_full() ? 300000 : 4000, 0, 0);
	assert_true(opened > 1000 && split > 1000 && mixed > 100);
	report("random, with copies");
	for (unsigned n = 1; n <= MAX_DISKS; n++)
		random_clones(n, in_full() ? 300000 : 4000, 6, 4);
	assert_true(split > 1000 && forced_count > 100);
	report("random, with copies, force and backups");
}

static int setup(void **state)
{
	(void)state;
	arena = calloc(ARENA_ROOTS, sizeof(*arena));
	return arena == NULL;
}

static int teardown(void **state)
{
	(void)state;
	free(arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_history_of_few_disks),
		cmocka_unit_test(every_history_with_force),
		cmocka_unit_test(many_histories_of_more),
		cmocka_unit_test(copies_used_elsewhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
