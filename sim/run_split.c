/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two histories: some disks are taken away and used elsewhere, by a copy of the pool directory, an import
 * or force, while the others go on here; then all come together. At most one of the two sides may have been
 * opened without force (P8), but for a tie that two copies of one pool directory decided. Together they are
 * refused without force, and nothing is written; with force one of them wins wholly, the disks of the other
 * are left as they are (H6), and the question is not asked again.
 */
#include "sim/run_split.h"

#include <sys/stat.h>

#include "base/probe.h"
#include "sim/run_home.h"
#include "sim/run_rot.h"
#include "sim/sim_env.h"

static void set_gone(struct run *r, bool gone)
{
	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_AWAY)
			sim_disk_set_fault(r->disks[i].sim, &(struct sim_fault){.gone = gone});
}

bool run_disk_is_away(const struct run_disk *d)
{
	return d->damage == DAMAGE_AWAY || d->damage == DAMAGE_APART;
}

/* ---- elsewhere ---- */

static int import_there(struct run *r, bool force, struct pool_message *msg)
{
	const char *paths[SIM_DISKS];
	unsigned count = 0;

	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_AWAY)
			paths[count++] = r->disks[i].path;
	sim_disk_wipe(r->pool_disk);
	home_index_replace(r, NULL);
	return pool_import("/pool", paths, count, force, &r->env, msg);
}

static int open_there(struct run *r)
{
	struct pool_open_options opt = {0};
	struct pool_message msg = {0};
	int err = r->split.copied ? 0 : import_there(r, false, &msg);

	if (err) {
		sim_trace("elsewhere: %s: %s", dfs_err_name(err), msg.text);
		r->split.forced = true;
		err = import_there(r, true, &msg);
	}
	if (err)
		return err;
	err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	if (err) {
		sim_trace("elsewhere: %s: %s", dfs_err_name(err), msg.text);
		opt.force = r->split.forced = true;
		err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	}
	return err;
}

static int change_there(struct run *r)
{
	struct fs_cred cred = {0};
	struct inode *dir, *in;
	struct fs_attr attr;
	int err = fs_resolve(r->fs, "/c0", &dir);

	if (err)
		return err;
	err = fs_mkdir(r->fs, dir, "elsewhere", S_IFDIR | 0755, cred, &in, &attr);
	if (!err)
		fs_forget(r->fs, in, 1);
	fs_forget(r->fs, dir, 1);
	return err ? err : fs_sync_all(r->fs);
}

/* Used some times, so that either side may have the greater number in the end. */
static void there_main(void *arg)
{
	struct pool_open_options opt = {0};
	struct run *r = arg;
	int err = open_there(r);

	for (uint64_t more = rng_below(&r->split_rng, 4); !err && more; more--) {
		err = pool_close(r->pool);
		if (!err)
			err = pool_open("/pool", &opt, &r->env, &r->pool, NULL);
	}
	if (err) {
		sim_trace("elsewhere it can't be used: %s", dfs_err_name(err));
		return;
	}
	if (fs_open(r->pool, &r->fs_config, &r->fs))
		sim_env_cut();
	r->split.known = change_there(r) == 0;
	if (r->split.known)
		oracle_hashes(r, r->split.hash);
	if (rng_one_in(&r->split_rng, 3) || fs_close(r->fs))
		sim_env_cut();
	(void)pool_close(r->pool);
}

/* What is taken away is used elsewhere until its changes are durable. */
static void use_elsewhere(struct run *r)
{
	struct sim_disk *home = r->pool_disk;
	struct index_mem_store *index = r->index;

	r->split.copied = rng_one_in(&r->split_rng, 2);
	r->split.home_then = sim_disk_image(home);
	sim_disk_restore(r->home_there, r->split.home_then);
	r->pool_disk = r->home_there;
	r->index = r->split.copied ? index_mem_store_copy(index) : index_mem_store_new();
	r->there = true;
	set_gone(r, false);
	if (sim_env_run(there_main, r) == SIM_STUCK)
		sim_fail("P9", "elsewhere: %s", sim_env_stuck_text());
	sim_disks_settle();
	set_gone(r, true);
	r->there = false;
	r->split.index_there = r->index;
	r->index = index;
	r->pool_disk = home;
	r->pool = NULL;
	r->fs = NULL;
}

void split_between_rounds(struct run *r)
{
	uint64_t first;
	unsigned count = 0, most = r->tolerance - MIN(r->tolerance, run_damaged(r));

	if (r->split.state == SPLIT_AWAY && r->verified)
		r->split.went_on = true;
	if (!r->splits || r->split.state != SPLIT_NONE || r->beyond || r->lose_pool_dir ||
	    r->adding || run_is_rotten(r) || !most || rng_one_in(&r->split_rng, 2))
		return;
	first = rng_below(&r->split_rng, r->disk_count);
	most = (unsigned)rng_between(&r->split_rng, rng_one_in(&r->split_rng, 2) ? most : 1, most);
	for (uint64_t i = first; i < first + r->disk_count && count < most; i++) {
		struct run_disk *d = &r->disks[i % r->disk_count];

		if (d->damage != DAMAGE_NONE || d->failed)
			continue;
		d->damage = DAMAGE_AWAY;
		count++;
	}
	if (!count)
		return;
	sim_image_free(r->split.home_then);
	index_mem_store_free(r->split.index_there);
	r->split = (struct run_split){.state = SPLIT_AWAY};
	sim_trace("%u of %u disks are taken elsewhere", count, r->disk_count);
	use_elsewhere(r);
	PROBE("disks-used-elsewhere");
	if (!r->split.forced)
		PROBE("used-elsewhere-without-force");
}

/* ---- together ---- */

void split_opened_here(struct run *r, bool forced)
{
	if (r->split.state != SPLIT_AWAY)
		return;
	if (forced)
		r->split.forced_here = true;
	else if (r->split.known && !r->split.forced && !r->split.forced_here && !r->split.copied)
		sim_fail("P8", "both parts of the pool are opened without force");
}

bool split_is_due(struct run *r)
{
	return r->split.state == SPLIT_AWAY && r->split.went_on && !r->lose_pool_dir &&
	       !r->beyond && !rng_one_in(&r->split_rng, 3);
}

/* Which pool directory they come together in: that of here, as it was before, or that of there (true). */
static bool choose_home(struct run *r)
{
	struct sim_image *image;

	switch (rng_below(&r->split_rng, 4)) {
	case 0:
		sim_trace("the pool directory is as it was before");
		sim_disk_restore(r->pool_disk, r->split.home_then);
		r->pool_dir_old = true;
		return false;
	case 1:
		if (!r->split.known)
			return false;
		sim_trace("the pool directory is that from elsewhere");
		image = sim_disk_image(r->home_there);
		sim_disk_restore(r->pool_disk, image);
		sim_image_free(image);
		home_index_replace(r, index_mem_store_copy(r->split.index_there));
		r->pool_dir_old = true;
		return true;
	default:
		return false;
	}
}

/* The disks come back. Refused, and then by force, or without them. */
int split_open(struct run *r, struct pool_message *msg)
{
	struct pool_open_options opt = {.force = !rng_one_in(&r->split_rng, 3)};
	struct sim_image *home = sim_disk_image(r->pool_disk);
	uint64_t before = sim_disks_stats().changes;
	bool narrow;
	int err;

	narrow = choose_home(r) && !r->split.copied;
	set_gone(r, false);
	for (unsigned i = 0; i < r->disk_count; i++)
		r->disks[i].changes = sim_disk_changes(r->disks[i].sim);
	err = pool_open("/pool", &(struct pool_open_options){0}, &r->env, &r->pool, msg);
	sim_trace("together: %s: %s", dfs_err_name(err), msg->text);
	if (!err && r->split.known)
		sim_fail("P8", "two histories are opened as one");
	/* one that was made anew from those disks knows of no others */
	if (err && err != DFS_ESPLIT && !(err == DFS_ENOQUORUM && narrow))
		sim_fail("P8", "two histories are refused with %s: %s", dfs_err_name(err),
			 msg->text);
	if (err && sim_disks_stats().changes != before)
		sim_fail("H6", "two histories are refused, but something was written");
	if (err == DFS_ESPLIT)
		PROBE("two-histories-refused");
	if (!err || opt.force)
		r->split.state = SPLIT_SETTLED;
	if (err && !opt.force) { /* away again */
		set_gone(r, true);
		r->split.went_on = false;
		sim_disk_restore(r->pool_disk, home);
	}
	sim_image_free(home);
	return !err ? 0 : pool_open("/pool", &opt, &r->env, &r->pool, msg);
}

/* Which of the two is there? True: the other one, and all of it. */
bool split_other_won(struct run *r)
{
	uint64_t hash[SIM_CLIENTS];

	if (r->split.state != SPLIT_SETTLED || !r->split.known)
		return false;
	r->split.known = false;
	oracle_hashes(r, hash);
	if (memcmp(hash, r->split.hash, sizeof(hash[0]) * r->clients_count) == 0) {
		PROBE("history-from-elsewhere-wins");
		return true;
	}
	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_AWAY)
			r->disks[i].damage = DAMAGE_APART;
	PROBE("history-from-here-wins");
	return false;
}
