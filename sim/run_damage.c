/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a run's disks: lost, wiped, flipped, stale, failing while in use; and what a person
 * does meanwhile: adds a disk, fails one. Never more damage than the tolerance, but when the run says
 * so (damage_beyond).
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/probe.h"
#include "format/root.h"
#include "sim/run_home.h"
#include "sim/run_rot.h"
#include "sim/run_split.h"
#include "sim/sim_env.h"

/* ---- damage ---- */

unsigned run_damaged(struct run *r)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->disk_count; i++)
		count += r->disks[i].damage != DAMAGE_NONE;
	return count;
}

unsigned run_voters(struct run *r)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		const struct run_disk *d = &r->disks[i];

		count += run_disk_is_ours(d) && !d->failed;
	}
	return count;
}

bool run_refused_rightly(struct run *r, int err)
{
	unsigned bad = 2 * run_damaged(r);
	bool right = (err == DFS_ENOQUORUM || err == DFS_ESTALE) &&
		     (r->lose_pool_dir || r->pool_dir_old || !r->was_clean ? bad >= r->disk_count
									   : bad > r->disk_count);

	if (right) {
		PROBE("opening-refused");
		sim_trace("opening is refused: %s", dfs_err_name(err));
	}
	return right;
}

static bool fail_together(const struct run_disk *a, const struct run_disk *b)
{
	return a == b || (*a->domain && !strcmp(a->domain, b->domain));
}

/* Is it, or is one that fails with it, damaged? */
static bool is_touched(struct run *r, const struct run_disk *d)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage != DAMAGE_NONE && fail_together(&r->disks[i], d))
			return true;
	return false;
}

/* How many failure domains have damaged disks. */
static unsigned domains_damaged(struct run *r)
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		bool first = r->disks[i].damage != DAMAGE_NONE;

		for (unsigned j = 0; j < i && first; j++)
			first = r->disks[j].damage == DAMAGE_NONE ||
				!fail_together(&r->disks[j], &r->disks[i]);
		count += first;
	}
	return count;
}

/* A disk to damage: one of a domain that has damage already, or another one if the tolerance allows it. */
static struct run_disk *pick_disk(struct run *r)
{
	bool another = domains_damaged(r) < r->tolerance;
	struct run_disk *d;

	if (!another && !run_damaged(r))
		return NULL;
	do
		d = &r->disks[rng_below(&r->rng, r->disk_count)];
	while (!another && !is_touched(r, d));
	return run_disk_is_away(d) ? NULL : d;
}

static void flip(struct run *r, struct run_disk *d)
{
	static const enum sim_where where[] = {SIM_SEGMENT, SIM_SEGMENT,    SIM_JOURNAL,
					       SIM_ROOT,    SIM_CHECKPOINT, SIM_ANY};
	uint64_t flips = rng_one_in(&r->rng, 3) ? rng_between(&r->rng, 1, 200)
						: rng_between(&r->rng, 1, 4);
	char text[200];

	for (uint64_t i = 0; i < flips; i++) {
		if (!sim_disk_flip(d->sim, where[rng_below(&r->rng, ARRAY_SIZE(where))], text,
				   sizeof(text)))
			continue;
		PROBE("flip");
		d->damage = DAMAGE_FLIPS;
		sim_trace("flip %s", text);
	}
}

bool run_rot_segments(struct run *r)
{
	struct run_disk *d = pick_disk(r);
	uint64_t flips = rng_between(&r->stays_rng, 1, 30);
	bool any = false;
	char text[200];

	if (!d || !run_disk_is_ours(d) || d->failed)
		return false;
	while (flips--)
		any |= sim_disk_flip(d->sim, SIM_SEGMENT, text, sizeof(text));
	if (!any)
		return false;
	d->had_other |= d->damage == DAMAGE_ERRORS;
	if (d->damage == DAMAGE_NONE)
		d->damage = DAMAGE_FLIPS;
	sim_trace("disk %s rots", d->path);
	return true;
}

/* Half of the disks that voted when the round began may be lost at once: then nobody can go on. */
static void note_votes(struct run *r, struct run_disk *d)
{
	unsigned lost = 0;

	d->lost_round = r->round;
	for (unsigned i = 0; i < r->disk_count; i++)
		lost += r->disks[i].lost_round == r->round;
	if (r->exceeded || 2 * lost < r->voters)
		return;
	PROBE("half-of-the-votes-lost-in-use");
	r->exceeded = true;
}

static void set_gone(struct run_disk *d, bool gone)
{
	struct sim_fault f = {.gone = gone};

	sim_disk_set_fault(d->sim, &f);
	if (gone)
		PROBE("disk-gone");
}

/* And with it, at times, all that fail together with it: a controller, a cable, a machine. */
static void lose(struct run *r, struct run_disk *d, bool in_use)
{
	bool all = *d->domain && rng_one_in(&r->domain_rng, 2);

	for (unsigned i = 0; i < r->disk_count; i++) {
		struct run_disk *other = &r->disks[i];

		if (other != d && (!all || !fail_together(other, d) || run_disk_is_away(other) ||
				   other->damage == DAMAGE_FOREIGN))
			continue;
		if (other != d && other->damage != DAMAGE_GONE)
			PROBE("domain-gone");
		if (in_use && other->damage != DAMAGE_GONE)
			note_votes(r, other);
		set_gone(other, true);
		other->damage = DAMAGE_GONE;
		sim_trace("disk %s is gone%s", other->path, in_use ? " while in use" : "");
	}
}

/* A lost disk is as it was when it went. */
static void come_back(struct run_disk *d)
{
	if (d->damage != DAMAGE_GONE)
		return;
	set_gone(d, false);
	d->damage = sim_disk_has_names(d->sim) ? DAMAGE_STALE : DAMAGE_WIPED;
	PROBE("disk-back-stale");
	sim_trace("disk %s comes back", d->path);
}

/* Disks are lost and come back more than once in a history. */
static void some_come_back(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (rng_one_in(&r->orphans_rng, 3))
			come_back(&r->disks[i]);
}

/* Between two rounds, while nothing runs. */
static void damage_one(struct run *r, struct run_disk *d)
{
	const struct sim_image *image;

	if (r->foreign && rng_one_in(&r->foreign_rng, 2)) {
		set_gone(d, false);
		foreign_put_disk(r, d);
		return;
	}
	switch (rng_below(&r->rng, 6)) {
	case 0:
		if (d->damage == DAMAGE_FOREIGN) /* likewise */
			break;
		lose(r, d, false);
		break;
	case 1:
		sim_disk_wipe(d->sim);
		set_gone(d, false);
		d->damage = DAMAGE_WIPED;
		PROBE("disk-wiped");
		sim_trace("disk %s is wiped", d->path);
		break;
	case 2:
		image = d->images[rng_below(&r->rng, RUN_IMAGES)];
		if (!image)
			break;
		sim_disk_restore(d->sim, image);
		set_gone(d, false);
		d->damage = DAMAGE_STALE;
		PROBE("disk-restored-older");
		sim_trace("disk %s comes back stale", d->path);
		break;
	case 3:
		come_back(d);
		break;
	default:
		if (run_disk_is_ours(d))
			flip(r, d);
	}
}

struct newest {
	struct root root;
	bool found;
};

static void find_newest(void *ctx, const char *path, uint8_t *data, uint64_t size)
{
	FREE struct root *root = xcalloc(1, sizeof(*root));
	struct newest *n = ctx;

	for (uint64_t at = 0; !strcmp(path, "meta/roots") && at + ROOT_SLOT_BYTES <= size;
	     at += ROOT_SLOT_BYTES) {
		if (root_parse(data + at, root) || (n->found && root->epoch < n->root.epoch))
			continue;
		n->root = *root;
		n->found = true;
	}
}

static bool is_listed(const struct root *root, unsigned disk)
{
	for (unsigned i = 0; i < root->member_count; i++)
		if (root->members[i].id.v == disk + 1)
			return true;
	return false;
}

static void empty_journal(void *ctx, const char *path, uint8_t *data, uint64_t size)
{
	(void)ctx;
	if (!strncmp(path, "meta/journal/", 13))
		memset(data, 0, size);
}

/* Power went when one disk had the root of a new epoch: now its journal is lost. The other members that the root lists
 * hold all of it (M15). */
static void empty_lone_journal(struct run *r)
{
	FREE struct newest *of = xcalloc(r->disk_count, sizeof(*of));
	unsigned lone = 0, others = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		if (r->disks[i].damage == DAMAGE_NONE)
			sim_disk_each(r->disks[i].sim, find_newest, &of[i]);
		if (of[i].found && (!of[lone].found || of[i].root.epoch > of[lone].root.epoch))
			lone = i;
	}
	for (unsigned i = 0; i < r->disk_count; i++) {
		if (i == lone || !of[i].found || !is_listed(&of[lone].root, i))
			continue;
		if (of[i].root.epoch == of[lone].root.epoch)
			return;
		others += of[i].root.checkpoint_id == of[lone].root.checkpoint_id;
	}
	if (!others || domains_damaged(r) >= r->tolerance)
		return;
	PROBE("journal-of-the-lone-root-lost");
	sim_trace("disk %s alone has the newest root, and loses its journal", r->disks[lone].path);
	sim_disk_each(r->disks[lone].sim, empty_journal, NULL);
	r->disks[lone].damage = DAMAGE_FLIPS;
}

/* Copies of a disk, and of the pool directory, that somebody may bring back later. */
static void keep_image(struct run *r)
{
	struct run_disk *d = &r->disks[rng_below(&r->rng, r->disk_count)];
	struct sim_image **slot = &d->images[rng_below(&r->rng, RUN_IMAGES)];

	/* not of one that an import has half made */
	if (rng_one_in(&r->rng, 4) && !r->lose_pool_dir)
		home_keep_image(r);
	if (sim_disk_fault(d->sim).gone || !rng_one_in(&r->rng, r->stormy ? 1 : 2))
		return;
	if (d->damage == DAMAGE_FOREIGN) /* it would come back as an older one of ours */
		return;
	sim_image_free(*slot);
	*slot = sim_disk_image(d->sim);
}

static void damage_beyond(struct run *r)
{
	unsigned count = r->tolerance + 1;

	/* where disks were full fewer of them may hold metadata */
	if (r->was_filled || r->small_disks || count >= r->domains ||
	    count > 3) /* metadata bears three losses of its four copies, which lie apart */
		return;
	r->beyond = true;
	for (unsigned i = 0; i < r->clients_count && !r->opt->meta_only; i++)
		model_note_older(r->clients[i].model);
	PROBE("beyond-tolerance");
	while (run_damaged(r) < count) {
		struct run_disk *d = &r->disks[rng_below(&r->rng, r->disk_count)];

		if (d->damage != DAMAGE_NONE)
			continue;
		set_gone(d, true);
		d->damage = DAMAGE_GONE;
		sim_trace("disk %s is gone, too", d->path);
	}
}

void run_between_rounds(struct run *r, bool last)
{
	struct run_disk *d;

	r->was_filled |= r->filled;
	r->lacks_room = r->filled = false;
	rot_settle(r);
	for (unsigned i = 0; i < r->disk_count; i++) { /* I/O errors and slowness pass */
		struct sim_fault f = {.gone = sim_disk_fault(r->disks[i].sim).gone};

		sim_disk_set_fault(r->disks[i].sim, &f);
	}
	sim_disk_set_fault(r->pool_disk, &(struct sim_fault){0});
	if (!r->lose_pool_dir && !r->beyond)
		some_come_back(r);
	/* While an import is due, a majority must stay. */
	while (!r->lose_pool_dir && !r->beyond && rng_one_in(&r->rng, r->stormy ? 2 : 4)) {
		d = pick_disk(r);
		if (d)
			damage_one(r, d);
	}
	keep_image(r);
	/* To import, a majority must be there and tell who it is: else which state is the newest can't be
	 * known. */
	if (r->beyond || (r->disk_count - run_damaged(r)) * 2 <= r->disk_count + r->adding)
		return;
	if (rng_one_in(&r->rng, 8))
		r->lose_pool_dir = true;
	else if (rng_one_in(&r->rng, 8))
		home_restore(r);
	if (last && !r->lose_pool_dir && !rng_one_in(&r->rng, 3))
		damage_beyond(r);
	split_between_rounds(r);
	if (r->opt->meta_only && r->split.state != SPLIT_AWAY && !r->lose_pool_dir)
		empty_lone_journal(r);
	rot_between_rounds(r);
}

bool run_somebody_full(struct run *r) { return r->filled; }
bool run_overwriting_fails(struct run *r) { return r->filled && r->has_snapshot; }

/* Tolerance is never given up for want of room: three copies need three disks, and metadata
 * one more. And a small pool that
 * loses one may lack room for what it has accepted already. */
static void note_lack(struct run *r)
{
	r->lacks_room |= r->small_disks || (run_somebody_full(r) &&
					    MIN(r->domains, r->disk_count) <
						    run_damaged(r) + r->settings.metadata_copies);
}

static void note_errors(struct run_disk *d)
{
	d->had_other |= d->damage != DAMAGE_NONE && d->damage != DAMAGE_ERRORS;
	d->damage = DAMAGE_ERRORS;
}

/* Shorter than the deadline, a little longer, or for the rest of the round. */
static void hang(struct run_disk *d, struct sim_fault *f)
{
	static const uint64_t most_s[] = {8, 40, 40, 2000};
	uint64_t ns = rng_between(&sim_run_now->rng, 1,
				  most_s[rng_below(&sim_run_now->rng, ARRAY_SIZE(most_s))]) *
		      1000000000;

	PROBE("disk-hangs");
	if (rng_one_in(&sim_run_now->rng, 2)) /* the round lasts until it is over */
		sim_run_now->pace_ms = MAX(sim_run_now->pace_ms, 500u);
	f->hang_until_ns = sim_env_now_ns() + ns;
	sim_trace("disk %s hangs for %llu s", d->path, (unsigned long long)ns / 1000000000);
}

/* While the pool directory is silent nothing can be added, and who fails a disk is told of pool.json. */
bool run_home_silent(struct run *r, int err)
{
	return err == DFS_ETIMEDOUT && r->home_silent && r->lasts_until_ns;
}

bool run_lasts(struct run *r) { return sim_env_now_ns() < r->lasts_until_ns; }

/* For longer than a call's deadline; and the round goes on until it is noticed that this is over. */
static void fall_silent(void *arg)
{
	struct run *r = arg;
	uint64_t ns = rng_between(&r->silent_rng, 12, 60) * 1000000000;
	struct run_disk *d = r->home_silent ? NULL : pick_disk(r);
	struct sim_disk *sim = d ? d->sim : r->pool_disk;
	struct sim_fault f = sim_disk_fault(sim);

	if (!r->home_silent && (!d || !run_disk_is_ours(d) || d->failed))
		return;
	if (d && !rng_one_in(&r->silent_rng, 3)) /* with what it holds in doubt */
		f.hang_in_sync_ns = ns;
	else
		f.hang_until_ns = sim_env_now_ns() + ns;
	sim_disk_set_fault(sim, &f);
	r->lasts_until_ns = sim_env_now_ns() + ns + 30000000000;
	r->pace_ms = MAX(r->pace_ms, 500u);
	sim_trace("%s is silent for %llu s", d ? d->path : "the pool directory",
		  (unsigned long long)ns / 1000000000);
	if (!d) {
		PROBE("home-silent");
		return;
	}
	PROBE("disk-silent");
	note_errors(d);
	note_lack(r);
	note_votes(r, d);
}

/* Nothing that was there before is promised to be read, but what is synced from now on. */
static void exceed(struct run *r)
{
	unsigned count = r->tolerance + 1;
	bool only_syncs = rng_one_in(&r->force_rng, 3);
	bool gone = rng_one_in(&r->rng, 2) && !only_syncs;

	if (count >= (gone ? r->domains : r->disk_count) || count > 3)
		return;
	if (only_syncs || (!gone && rng_one_in(&r->rng, 2))) /* what is there stays: all may fail */
		count = r->disk_count;
	while (run_damaged(r) < count) {
		struct run_disk *d = &r->disks[rng_below(&r->rng, r->disk_count)];
		struct sim_fault f = {.gone = gone,
				      .write_error_one_in = !only_syncs,
				      .sync_error_one_in = 1,
				      .sync_errors_of_data = only_syncs};

		if (d->damage != DAMAGE_NONE)
			continue;
		d->damage = gone ? DAMAGE_GONE : DAMAGE_ERRORS;
		sim_disk_set_fault(d->sim, &f);
		sim_trace("disk %s %s, one of too many", d->path, gone ? "goes" : "fails");
	}
	PROBE("exceeded-while-writing");
	r->beyond = r->exceeded = true;
	for (unsigned i = 0; i < r->clients_count; i++)
		model_note_older(r->clients[i].model);
}

/* Everybody's disk is filled by somebody else for a while. */
static void fill_all(void *arg)
{
	struct run *r = arg;

	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);

		f.full = true;
		sim_disk_set_fault(r->disks[i].sim, &f);
	}
	PROBE("all-disks-full-by-others");
	r->lacks_room = r->filled = true;
	sim_trace("all disks are full");
}

/* And is slow before that, so that much is under way when it happens. */
static void slow_then_fill(struct run *r)
{
	r->hot = true; /* and written anew while it is */
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);

		f.slow_ns = 20000000;
		sim_disk_set_fault(r->disks[i].sim, &f);
	}
	sim_disks_at_op(rng_between(&r->force_rng, 1, 200), fill_all, r);
}

static void step_clock(struct run *r)
{
	static const int64_t most_s[] = {1, 3600, 86400 * 400, 86400ll * 365 * 60};
	int64_t most_ns = most_s[rng_below(&r->rng, ARRAY_SIZE(most_s))] * 1000000000;
	int64_t step_ns = (int64_t)rng_below(&r->rng, 2 * (uint64_t)most_ns) - most_ns;

	PROBE("clock-step");
	sim_trace("the clock is set by %lld s", (long long)(step_ns / 1000000000));
	sim_env_set_clock(step_ns);
}

/* Unmounted, renamed or hidden below a pool that has it open: nobody but the question for its path tells (D10). */
static void unmount_below(struct run *r, struct run_disk *d, struct sim_fault *f)
{
	f->unnamed = true;
	r->pace_ms = MAX(r->pace_ms, 500u);
	sim_trace("disk %s has no path any more", d->path);
}

/* The very disk is where it was: it is taken up again while mounted (D10), if there is time for that. */
static bool one_is_named_again(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct sim_fault f = sim_disk_fault(r->disks[i].sim);

		if (!f.unnamed || rng_one_in(&r->domain_rng, 3))
			continue;
		f.unnamed = false;
		sim_disk_set_fault(r->disks[i].sim, &f);
		PROBE("disk-named-again");
		sim_trace("disk %s has its path again", r->disks[i].path);
		return true;
	}
	return false;
}

static void damage_in_use(struct run *r, struct run_disk *d)
{
	struct sim_fault f = sim_disk_fault(d->sim);

	switch (r->syncs_fail ? 2 : rng_below(&r->rng, sim_disk_can_hang(d->sim) ? 12 : 6)) {
	case 0:
		if (rng_one_in(&r->domain_rng, 3)) {
			unmount_below(r, d, &f);
			break;
		}
		PROBE("disk-gone-in-use");
		lose(r, d, true);
		note_lack(r);
		return;
	case 1:
		flip(r, d);
		return;
	case 2:
		PROBE("disk-sync-errors");
		f.sync_error_one_in = (unsigned)rng_between(&r->rng, 1, r->syncs_fail ? 2 : 10);
		if (r->syncs_fail && !r->end_after_ops) /* before all is written anew */
			r->end_after_ops = r->round_ops + (unsigned)rng_between(&r->rng, 1, 20);
		break;
	case 3:
		PROBE("disk-write-errors");
		f.write_error_one_in = (unsigned)rng_between(&r->rng, 1, 20);
		break;
	case 4: /* somebody else fills the filesystem below */
		PROBE("disk-full-by-others");
		f.full = r->filled = true;
		break;
	case 5:
		PROBE("disk-read-errors");
		f.read_error_one_in = (unsigned)rng_between(&r->rng, 1, 20);
		break;
	default:
		hang(d, &f);
	}
	note_errors(d);
	sim_disk_set_fault(d->sim, &f);
	note_lack(r);
	note_votes(r, d);
	sim_trace("disk %s has errors: one in %u reads, %u writes, %u syncs%s", d->path,
		  f.read_error_one_in, f.write_error_one_in, f.sync_error_one_in,
		  f.full ? "; full" : "");
}

/* While the round runs, before some device operation. */
static void damage_running(void *arg)
{
	struct run *r = arg;
	struct run_disk *d = pick_disk(r);

	if (one_is_named_again(r))
		d = NULL;
	else if (r->may_exceed && !r->exceeded && !r->opt->meta_only && rng_one_in(&r->rng, 2))
		exceed(r);
	else if (rng_one_in(&r->rng, 8))
		step_clock(r);
	else if (rng_one_in(&r->rng, 12))
		rng_one_in(&r->force_rng, 2) ? fill_all(r) : slow_then_fill(r);
	else if (d && run_disk_is_ours(d) && !r->exceeded)
		damage_in_use(r, d);
	if (d && r->opt->meta_only && rng_one_in(&r->unread_rng, 2))
		sim_disks_cut_at_root(); /* perhaps of the epoch without it */
	if (rng_one_in(&r->rng, 2) && !sim_disks_hooked())
		sim_disks_at_op(rng_between(&r->rng, 1, 1ull << rng_between(&r->rng, 0, 10)),
				damage_running, r);
}

void run_arm_faults(struct run *r)
{
	if (!r->silent && rng_one_in(&r->force_rng, 8)) {
		slow_then_fill(r);
		return;
	}
	if (r->silent && rng_one_in(&r->silent_rng, 2)) {
		if (rng_one_in(&r->silent_rng, 2)) /* power stays until the work is done */
			r->end_after_ops = UINT_MAX;
		sim_disks_at_op(rng_between(&r->silent_rng, 1, 100), fall_silent, r);
	} else if (r->syncs_fail ||
		   rng_one_in(&r->rng,
			      sim_disk_can_hang(r->disks[0].sim) || r->stormy || r->may_exceed ? 2
											       : 3))
		sim_disks_at_op(rng_between(&r->rng, 1, 1ull << rng_between(&r->rng, 0, 10)),
				damage_running, r);
	if (rng_one_in(&r->rng, 6)) {
		struct run_disk *d = &r->disks[rng_below(&r->rng, r->disk_count)];
		struct sim_fault f = sim_disk_fault(d->sim);

		PROBE("disk-slow");
		f.slow_ns = 20000000;
		sim_disk_set_fault(d->sim, &f);
	}
}

/* ---- the administrator ---- */

/* By its label, which it has from its first path: paths may change. */
static struct run_disk *run_disk_of(struct run *r, const struct pool_disk_status *st)
{
	return &r->disks[strtoul(st->info.label + 1, NULL, 10)];
}

struct run_disk *run_disk_by_id(struct run *r, disk_id id)
{
	struct pool_disk_status st;

	for (unsigned i = 0; pool_disk_status(r->pool, i, &st); i++) {
		if (st.info.id.v == id.v)
			return run_disk_of(r, &st);
	}
	return NULL;
}

static void note_added(struct run *r)
{
	struct run_disk *d = r->added;

	r->adding = false;
	if (d == &r->disks[r->disk_count]) {
		PROBE("disk-added");
		r->disk_count++;
		return;
	}
	PROBE("disk-added-anew");
	d->anew++;
	d->failed = d->given_up = false;
}

/* After an opening: did the disk that was being added when power went become part of the pool? */
void run_settle_adding(struct run *r)
{
	struct pool_disk_status st;
	unsigned lives = 0, before;

	if (!r->adding)
		return;
	before = r->added->anew + (r->added < &r->disks[r->disk_count]);
	/* Power may go while it asks: then the next opening asks again. */
	for (unsigned i = 0; pool_disk_status(r->pool, i, &st); i++)
		lives += run_disk_of(r, &st) == r->added;
	sim_trace("the disk being added is %spart of the pool", lives > before ? "" : "not ");
	if (lives > before)
		note_added(r);
	r->adding = false;
}

static void add_disk(struct run *r, struct run_disk *d)
{
	struct pool_disk_spec spec = {.path = d->path, .domain = d->domain};
	struct pool_message msg = {0};
	struct disk_info info;
	bool same;
	int err;

	if (d == &r->disks[r->disk_total] || r->adding)
		return;
	sim_trace("add-disk %s", d->path);
	r->adding = true;
	r->added = d;
	err = pool_add_disk(r->pool, &spec, &info, &same, &msg);
	sim_trace("add-disk %s: %s", d->path, dfs_err_name(err));
	if (err && !run_bears(r, err) && !run_home_silent(r, err) && !home_explains_order(r, err) &&
	    d->damage != DAMAGE_ERRORS && d->damage != DAMAGE_GONE && /* it is hit again */
	    !(err == DFS_ENOSPC && (r->small_disks || run_somebody_full(r))))
		sim_fail("P6", "adding a disk fails: %s: %s", dfs_err_name(err), msg.text);
	if (!err) /* else the next opening tells */
		note_added(r);
}

/* What a person empties and adds again, as a new disk: one that was given up. Nothing is left of what it held, and an
 * older copy of it is none of this one. Not where fragments are moved from whole disks to others (compaction, levelling): an extent that lacks
 * the one that this disk had may get another one there, and to lose it once more costs both. */
static bool add_emptied(struct run *r)
{
	struct run_disk *d = r->disks;

	if (r->no_holes || r->drains)
		return false;
	while (d < &r->disks[r->disk_count] && !d->given_up)
		d++;
	if (d == &r->disks[r->disk_count] || r->adding || r->splits || r->foreign || r->exceeded ||
	    sim_disk_can_hang(d->sim))
		return false;
	for (unsigned i = 0; i < RUN_IMAGES; i++) {
		sim_image_free(d->images[i]);
		d->images[i] = NULL;
	}
	r->pool_image_disks = r->back.count = 0;
	set_gone(d, false);
	sim_disk_wipe(d->sim);
	d->damage = DAMAGE_ANEW;
	sim_trace("disk %s is emptied", d->path);
	add_disk(r, d);
	return true;
}

/* One that does not answer now is what a person gives up. */
static struct run_disk *silent_disk(struct run *r)
{
	for (unsigned i = 0; r->silent && i < r->disk_count; i++)
		if (sim_disk_fault(r->disks[i].sim).hang_until_ns > sim_env_now_ns())
			return &r->disks[i];
	return NULL;
}

static void fail_disk(struct run *r)
{
	struct run_disk *silent = silent_disk(r), *d = silent ? silent : pick_disk(r);
	struct pool_message msg = {0};
	struct pool_disk_status st;
	struct disk_info info;
	char label[64] = "";
	int err;

	if (!d || d->failed || r->disk_count < run_damaged(r) + 2)
		return;
	sim_trace("fail-disk %s", d->path);
	if (d->damage == DAMAGE_NONE)
		d->damage = DAMAGE_FAILED;
	d->failed = true;
	note_lack(r);
	note_votes(r, d);
	for (unsigned i = 0; pool_disk_status(r->pool, i, &st); i++)
		if (run_disk_of(r, &st) == d) /* the last is what it is now */
			snprintf(label, sizeof(label), "%s", st.info.label);
	err = pool_fail_disk(r->pool, label, false, &info, &msg);
	sim_trace("fail-disk %s: %s", d->path, dfs_err_name(err));
	if (err && !run_bears(r, err) && !run_home_silent(r, err) && !home_explains_order(r, err) &&
	    !(err == DFS_ENOSPC && (r->small_disks || run_somebody_full(r))))
		sim_fail("P1", "failing a disk fails: %s: %s", dfs_err_name(err), msg.text);
	d->given_up = !err;
	PROBE("disk-failed-by-order");
}

void admin_main(void *arg)
{
	struct run *r = arg;

	env_sleep_ms(rng_below(&r->rng, 1ull << rng_between(&r->rng, 0, r->replaces ? 8 : 13)));
	if (r->stop_admin)
		return;
	if (add_emptied(r))
		return;
	if (rng_one_in(&r->rng, r->replaces ? 6 : 2))
		add_disk(r, &r->disks[r->disk_count]);
	else
		fail_disk(r);
	(void)add_emptied(r);
}
