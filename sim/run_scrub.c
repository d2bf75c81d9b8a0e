/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrubs (V1 to V4): one in a quiet time, with repair, after which nothing that is damaged counts as whole, and what could be made
 * anew is; and others while clients work, disks fail and power goes.
 */
#include <stdlib.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/run.h"
#include "sim/stats.h"

#define PATIENCE_S 120u

/* Nobody has changed it since. */
static bool is_as_it_was(struct run *r, const struct rec_extent *rec)
{
	struct rec_extent now;

	return !get_extent(pool_meta(r->pool), rec->id, &now) &&
	       !memcmp(now.frags, rec->frags, sizeof(now.frags));
}

static bool is_known(struct disk *d, const struct rec_fragment *f)
{
	return disk_may_lack(d, f->segment, f->offset, f->record_len);
}

/* A disk whose reads fail by chance shows something else each time. */
static bool is_rot(int err) { return err == DFS_ECHECKSUM || err == DFS_ECORRUPT; }

static void check_one(struct run *r, const struct rec_extent *rec)
{
	struct extent_check c;

	if (extent_verify(pool_extents(r->pool), rec, true, &c) ||
	    !memchr(c.damaged, true, sizeof(c.damaged)) || !is_as_it_was(r, rec))
		return;
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = disk_get(pool_disks(r->pool), f->disk);

		if (!c.damaged[i] || !is_rot(c.err[i]) || !d || !disk_present(d))
			continue;
		if (!is_known(d, f))
			sim_fail("V3",
				 "after a scrub a fragment on disk %u, at %u:%u, is damaged, and "
				 "counts as whole",
				 f->disk.v, f->segment, f->offset);
		if (c.recoverable && disk_is_eligible(pool_disks(r->pool), d) && !r->small_disks &&
		    !r->lacks_room && !r->was_filled && !r->filled && pool_may_grow(r->pool))
			sim_fail(
				"V3",
				"a fragment on disk %u, at %u:%u, could have been made anew by the "
				"scrub",
				f->disk.v, f->segment, f->offset);
		PROBE("scrub-left-what-it-could-not-repair");
	}
}

static void check_false_alarm(struct run *r, const struct scrub_counts *c)
{
	uint64_t found = c->degraded + c->repaired + c->unrecoverable + c->metadata;

	if (found && !run_damaged(r) && !r->exceeded && !r->rots && !r->unreads)
		sim_fail("V1", "a scrub found %llu problems, and nothing has been damaged",
			 (unsigned long long)found);
}

static bool is_done(struct jobs *jobs, uint32_t id)
{
	static struct job_status all[JOBS_MAX];
	unsigned n = jobs_list(jobs, all, JOBS_MAX);

	for (unsigned i = 0; i < n; i++)
		if (all[i].rec.id == id)
			return all[i].rec.state == JOB_DONE;
	return false;
}

void scrub_begin_one(struct run *r, struct jobs *jobs)
{
	const struct scrub_order o = {.repair = rng_one_in(&r->scrub_rng, 2),
				      .bytes_per_s = rng_one_in(&r->scrub_rng, 2) ? 0 : KIB(256)};
	uint32_t id;

	if (r->scrubs && !rng_one_in(&r->scrub_rng, 3))
		(void)!jobs_scrub(jobs, &o, &id); /* one may be under way */
}

/* One more disk, if one more may be damaged; and its metadata. Reads have healed what was there before. */
static void rot_before(struct run *r)
{
	static const enum sim_where where[] = {SIM_JOURNAL, SIM_ROOT, SIM_CHECKPOINT};
	char text[200];

	if (rng_one_in(&r->scrub_rng, 3) || !run_rot_segments(r))
		return;
	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_FLIPS && run_disk_is_ours(&r->disks[i]) &&
		    sim_disk_flip(r->disks[i].sim,
				  where[rng_below(&r->scrub_rng, ARRAY_SIZE(where))], text,
				  sizeof(text)))
			sim_trace("flip %s", text);
}

void scrub_meet(struct run *r)
{
	const struct pool_rebuild never = {.after_s = POOL_REBUILD_NEVER};
	const struct scrub_order o = {.repair = true};
	uint64_t full = sim_stats_of("journal-full");
	struct rec_scrub *state;
	struct pool_message msg;
	struct jobs *jobs;
	uint32_t id;
	int err;

	if (!r->scrubs || rng_one_in(&r->scrub_rng, 2) || pool_set_rebuild(r->pool, &never, &msg))
		return;
	rot_before(r);
	jobs = jobs_load(r->pool);
	jobs_start(jobs);
	err = jobs_scrub(jobs, &o, &id);
	for (unsigned i = 0;
	     i < 10 * PATIENCE_S && (!err || err == DFS_EBUSY) && !is_done(jobs, id); i++)
		env_sleep_ms(100);
	state = xmalloc(sizeof(*state));
	jobs_scrub_status(jobs, state);
	if (err == DFS_EBUSY && is_done(jobs, id))
		PROBE("scrub-went-on");
	if (!err && is_done(jobs, id) && !meta_failed(pool_meta(r->pool)) &&
	    sim_stats_of("journal-full") == full) {
		PROBE("scrub-quiet");
		if (state->counts.repaired)
			PROBE("scrub-repaired");
		if (state->counts.metadata_repaired)
			PROBE("scrub-mended-metadata");
		check_false_alarm(r, &state->counts);
		oracle_each_extent(r, check_one);
	}
	free(state);
	jobs_free(jobs);
}
