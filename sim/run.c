/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One seed: a pool is made, then rounds follow, each: open (recover), check, work, and either a clean
 * unmount or a power cut; between rounds disks are lost, flipped, or come back as they once were, of
 * no more disks than the tolerance (but in some seeds of more, in the last round: then P4 is asked).
 */
#include "sim/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/run_back.h"
#include "sim/run_drain.h"
#include "sim/run_home.h"
#include "sim/run_rot.h"
#include "sim/run_split.h"
#include "sim/sim_env.h"
#include "sim/stats.h"
#include "sim/workload.h"

#define MAX_ROUNDS 12u

struct run *sim_run_now;

/* ---- devices by name ---- */

bool run_disk_is_blank(struct run_disk *d)
{
	return d->damage == DAMAGE_WIPED ||
	       (d->damage != DAMAGE_GONE && !sim_disk_has_names(d->sim));
}

bool run_disk_is_ours(const struct run_disk *d)
{
	return d->damage != DAMAGE_GONE && d->damage != DAMAGE_WIPED &&
	       d->damage != DAMAGE_FOREIGN && !run_disk_is_away(d);
}

static int open_dev(void *ctx, const char *path, const char *subdir, bool create,
		    struct dev **ret_dev)
{
	struct run *r = ctx;

	(void)subdir;
	if (r->foreign_world)
		return foreign_open_dev(r, path, ret_dev);
	if (!strcmp(path, "/pool")) {
		*ret_dev = sim_disk_open(r->pool_disk);
		return 0;
	}
	for (unsigned i = 0; i < r->disk_total; i++) {
		struct run_disk *d = &r->disks[i];

		if (strcmp(path, d->path))
			continue;
		if (sim_disk_fault(d->sim).gone || (r->there && d->damage != DAMAGE_AWAY))
			return DFS_EGONE;
		if (!create && run_disk_is_blank(d))
			return DFS_ENOENT;
		*ret_dev = sim_disk_open(d->sim);
		return 0;
	}
	return DFS_ENOENT;
}

/* ---- set-up ---- */

void run_unlocked(const char *name)
{
	sim_fail("L1", "disk %s is written to, but was not locked", name);
}

/* In some runs disks share failure domains: at least two, so that a loss can be borne. Returns how many of the
 * disks that are there from the start fail apart. */
static unsigned set_up_domains(struct run *r)
{
	static const char *const names[] = {"a", "b", "c", "b", ""};
	bool some = rng_one_in(&r->domain_rng, 4);
	struct place_disk at[SIM_DISKS] = {0};

	for (unsigned i = 0; i < r->disk_total; i++) {
		unsigned name = (unsigned)rng_below(&r->domain_rng, ARRAY_SIZE(names));

		r->disks[i].domain = some ? names[i < 2 ? i : name] : "";
		at[i].domain = r->disks[i].domain;
		at[i].eligible = true;
	}
	return place_domains(at, r->disk_count, 0);
}

static void set_up_disks(struct run *r)
{
	static const unsigned counts[] = {6, 6, 6, 6, 6, 3, 4, 5, 7, 8, 2};
	uint64_t base = MIB(256);
	bool can_hang;

	r->disk_count = counts[rng_below(&r->rng, ARRAY_SIZE(counts))];
	r->small_disks = rng_one_in(&r->rng, 6) || r->no_holes;
	can_hang = rng_one_in(&r->rng, 3) || r->silent;
	r->disk_total = MIN(r->disk_count + 2, SIM_DISKS);
	for (unsigned i = 0; i < r->disk_total; i++) {
		char name[16];
		struct sim_disk_config cfg = {.name = name, .fs_id = i + 1};

		snprintf(name, sizeof(name), "d%u", i);
		snprintf(r->disks[i].path, sizeof(r->disks[i].path), "/d%u", i);
		cfg.total_bytes = r->small_disks ? MIB(rng_between(&r->rng, 16, 40))
						 : base * rng_between(&r->rng, 4, 16);
		cfg.can_punch = !rng_one_in(&r->rng, 10) && !r->no_holes;
		cfg.can_hang = can_hang;
		cfg.unlocked = r->opt->meta_only ? NULL : run_unlocked;
		cfg.copies_on_write = r->copies_on_write;
		cfg.has_snapshot = r->has_snapshot;
		cfg.can_allocate = !rng_one_in(&r->rng, 4);
		r->disks[i].sim = sim_disk_new(&cfg);
	}
	home_set_up(r);
	if (r->splits) {
		char name[] = "there";

		r->home_there = sim_disk_new(&(struct sim_disk_config){
			.name = name, .fs_id = 102, .total_bytes = GIB(1), .can_punch = true});
	}
	if (r->foreign) {
		char name[] = "clone";

		r->clone = sim_disk_new(&(
			struct sim_disk_config){.name = name, .fs_id = 101, .total_bytes = GIB(1)});
	}
	r->domains = set_up_domains(r);
	/* where segments are compacted, what lies on a whole disk may be moved to one that was damaged before: the model counts disks */
	r->tolerance = r->no_holes ? 0 : MIN(r->domains - 1, 2u);
}

/* Which faults the history has; each of a generator of its own, so that it changes no other seed. */
static void set_up_faults(struct run *r)
{
	rng_seed(&r->silent_rng, rng_mix(r->opt->seed ^ 0x51137));
	rng_seed(&r->domain_rng, rng_mix(r->opt->seed ^ 0xd03a1));
	rng_seed(&r->jobs_rng, rng_mix(r->opt->seed ^ 0x10b6));
	r->rebuilds = rng_one_in(&r->jobs_rng, 2);
	rng_seed(&r->scrub_rng, rng_mix(r->opt->seed ^ 0x5c20b));
	r->scrubs = !r->opt->meta_only && rng_one_in(&r->scrub_rng, 2);
	compact_set_up(r);
	rng_seed(&r->orphans_rng, rng_mix(r->opt->seed ^ 0x0aba));
	r->silent = !r->opt->meta_only && rng_one_in(&r->silent_rng, 10);
	r->home_silent = r->silent && rng_one_in(&r->silent_rng, 4);
	rng_seed(&r->home_rng, rng_mix(r->opt->seed ^ 0x40e));
	r->home_fails = !r->silent && rng_one_in(&r->home_rng, 6);
	rng_seed(&r->foreign_rng, rng_mix(r->opt->seed ^ 0xf07e1));
	r->foreign = !r->opt->meta_only && rng_one_in(&r->foreign_rng, 6);
	rng_seed(&r->rot_rng, rng_mix(r->opt->seed ^ 0x207));
	r->rots = rng_one_in(&r->rot_rng, 8);
	rng_seed(&r->unread_rng, rng_mix(r->opt->seed ^ 0x20ead));
	r->unreads = rng_one_in(&r->unread_rng, 3);
	rng_seed(&r->force_rng, rng_mix(r->opt->seed ^ 0xf02ce));
	r->forces = rng_one_in(&r->force_rng, 6);
	r->syncs_fail = rng_mix(r->opt->seed ^ 0x5f5) % 8 == 0;
	r->copies_on_write = rng_one_in(&r->force_rng, 4);
	r->has_snapshot = r->copies_on_write && rng_one_in(&r->force_rng, 2);
	rng_seed(&r->split_rng, rng_mix(r->opt->seed ^ 0x5b117));
	r->splits = !r->opt->meta_only && rng_one_in(&r->split_rng, 4);
	rng_seed(&r->stays_rng, rng_mix(r->opt->seed ^ 0x57a75));
	r->stays = !r->opt->meta_only && rng_one_in(&r->stays_rng, 4);
	r->replaces = !r->opt->meta_only && rng_one_in(&r->stays_rng, 4);
}

static void set_up(struct run *r)
{
	static const unsigned switching[] = {1, 2, 4, 8, 8, 16, 16, 32, 64};
	static const unsigned paces[] = {0, 0, 2, 20, 200, 1000};
	static const uint64_t buffers[] = {KIB(2), KIB(16), KIB(64), MIB(16), MIB(16), MIB(16)};
	static const uint64_t checkpoints[] = {KIB(8), KIB(32), KIB(128), KIB(512), MIB(1)};

	rng_seed(&r->rng, rng_mix(r->opt->seed));
	sim_env_start(rng_u64(&r->rng), switching[rng_below(&r->rng, ARRAY_SIZE(switching))]);
	sim_disks_start(rng_u64(&r->rng));

	set_up_faults(r);
	back_set_up(r);
	drain_set_up(r);
	set_up_disks(r);
	r->index = index_mem_store_new();
	pool_settings_default(&r->settings);
	if (rng_one_in(&r->rng, 8))
		r->settings.verify_writes = true;
	r->clients_count = (unsigned)rng_between(&r->rng, 1, SIM_CLIENTS);
	r->weights = (unsigned)rng_below(&r->rng, 4);
	r->fs_config = (struct fs_config){
		.dirty_limit_bytes = rng_one_in(&r->rng, 3) ? MIB(4) : 0,
		.flush_interval_ms = rng_one_in(&r->rng, 3) ? rng_between(&r->rng, 50, 1000) : 0,
		.seal_workers = (unsigned)rng_between(&r->rng, 1, 3),
		.inode_cache_count = rng_one_in(&r->rng, 2) ? rng_between(&r->rng, 1, 16) : 0,
		.name_cache_bytes = rng_one_in(&r->rng, 2) ? rng_between(&r->rng, 1, KIB(8)) : 0,
		/* Garbage is looked for more often than worth it, so that it meets everything else. */
		.fold_percent = rng_one_in(&r->rng, 2) ? 100 : 0,
		.rest_after_ms = rng_mix(r->opt->seed ^ 0x4e57) % 2 ? 500 : 0,
		/* The least bound makes steps of what fits in one transaction otherwise (B1, B2). */
		.txn_bytes = rng_one_in(&r->rng, 2) ? KIB(16) : 0,
	};
	r->segment_closes_one_in = rng_one_in(&r->rng, 3) ? 0
							  : (unsigned)rng_between(&r->rng, 2, 20);
	r->with_peers = rng_one_in(&r->rng, 3);
	r->stormy = rng_one_in(&r->rng, 2);
	r->hot = rng_one_in(&r->rng, r->small_disks ? 2 : 3);
	r->may_exceed = rng_one_in(&r->rng, 6);
	r->pace_ms = paces[rng_below(&r->rng, ARRAY_SIZE(paces))];
	rng_seed(&r->segment_rng, rng_u64(&r->rng));
	r->reclaims_one_in = rng_one_in(&r->force_rng, 2)
				     ? (unsigned)rng_between(&r->force_rng, 1, 8)
				     : 0;
	r->meta_checkpoint_bytes = checkpoints[rng_below(&r->rng, ARRAY_SIZE(checkpoints))];
	r->meta_buffer_bytes = buffers[rng_below(&r->rng, ARRAY_SIZE(buffers))];
	r->env = (struct pool_env){.open_dev = open_dev,
				   .index_ops = home_index_ops(),
				   .index_arg = &r->index,
				   .no_lock = true,
				   .ctx = r};
}

static void must(const char *what, int err, const struct pool_message *msg)
{
	if (err)
		sim_fail("set-up", "%s fails: %s: %s", what, dfs_err_name(err),
			 msg ? msg->text : "");
}

static void make_client(struct run *r, unsigned i)
{
	struct client *c = &r->clients[i];
	struct fs_cred cred = {0};
	struct inode *root, *in;
	struct fs_attr attr;
	char name[16];
	int err;

	snprintf(name, sizeof(name), "c%u", i);
	must("the root", fs_inode_get(r->fs, (ino_id){DFS_ROOT_INO}, &root), NULL);
	err = fs_mkdir(r->fs, root, name, S_IFDIR | 0755, cred, &in, &attr);
	if (err == DFS_EEXIST) /* made before power went */
		err = fs_lookup(r->fs, root, name, &in, &attr);
	must("mkdir", err, NULL);
	*c = (struct client){.run = r, .id = i, .model = model_new(i, attr.ino.v, attr.mode)};
	rng_seed(&c->rng, rng_u64(&r->rng));
	rng_seed(&c->peer_rng, rng_u64(&r->rng));
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, root, 1);
}

static bool is_known(struct run *r, const char *path)
{
	struct pool_disk_status st;

	for (unsigned i = 0; pool_disk_status(r->pool, i, &st); i++)
		if (!strcmp(st.info.path, path))
			return true;
	return false;
}

/*
 * The first world: a pool with its disks and the clients' directories, all durable. Power may go at
 * any moment, and whoever does the same commands again gets what he asked for.
 */
static void make_pool(void *arg)
{
	struct run *r = arg;
	struct pool_message msg = {0};
	struct pool_open_options opt = {0};
	int err = pool_init("/pool", &r->settings, &r->env, &msg);

	must("init", err == DFS_EEXIST ? 0 : err, &msg);
	must("open", pool_open("/pool", &opt, &r->env, &r->pool, &msg), &msg);
	r->uuid = pool_uuid(r->pool);
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct pool_disk_spec spec = {.path = r->disks[i].path,
					      .domain = r->disks[i].domain};
		struct disk_info info;
		bool same;

		if (!is_known(r, spec.path))
			must("add-disk", pool_add_disk(r->pool, &spec, &info, &same, &msg), &msg);
	}
	must("fs_open", fs_open(r->pool, &r->fs_config, &r->fs), NULL);
	for (unsigned i = 0; i < r->clients_count; i++)
		make_client(r, i);
	sim_disks_cut_after(0);
	must("fs_close", fs_close(r->fs), NULL);
	must("close", pool_close(r->pool), NULL);
	r->fs = NULL;
	r->pool = NULL;
}

static void set_up_pool(struct run *r)
{
	enum sim_end end;

	do {
		if (rng_one_in(&r->rng, 3))
			sim_disks_cut_after(rng_between(&r->rng, 1, 600));
		end = sim_env_run(r->opt->meta_only ? meta_make : make_pool, r);
		if (end == SIM_STUCK)
			sim_fail("set-up", "%s", sim_env_stuck_text());
		sim_trace("the pool is made: %s", end == SIM_CUT ? "power cut" : "done");
		r->opt->counts->cuts += end == SIM_CUT;
		if (end == SIM_CUT)
			PROBE("cut-in-creation");
		if (end == SIM_CUT)
			index_mem_store_crash(r->index);
		sim_disks_settle();
	} while (end == SIM_CUT);
}

/* ---- rounds ---- */

void run_op_starts(struct run *r)
{
	if (!r->end_after_ops || r->round_ops != r->end_after_ops)
		return;
	sim_disks_cut_after(rng_between(&r->rng, 1, 1ull << rng_between(&r->rng, 0, 9)));
	/* Syncs are frequent: by chance alone, little would be lost. */
	if (rng_one_in(&r->rng, 2))
		sim_disks_cut_at_unsynced(
			rng_between(&r->rng, 2, 1ull << rng_between(&r->rng, 1, 6)));
}

static int import(struct run *r, struct pool_message *msg)
{
	const char *paths[SIM_DISKS];
	int err = 0;

	for (int trial = 0; trial < 2; trial++) {
		unsigned count = 0;

		for (unsigned i = 0; i < r->disk_count; i++) {
			struct run_disk *d = &r->disks[i];

			if (sim_disk_fault(d->sim).gone || run_disk_is_blank(d))
				continue;
			if (trial && d->damage != DAMAGE_NONE) /* its disk.json can't be read */
				continue;
			paths[count++] = d->path;
		}
		sim_disk_wipe(r->pool_disk);
		home_index_replace(r, NULL);
		err = pool_import("/pool", paths, count, r->forces && rng_one_in(&r->force_rng, 4),
				  &r->env, msg);
		if (!err)
			break;
		sim_trace("import of %u disks: %s: %s", count, dfs_err_name(err), msg->text);
	}
	if (!err)
		PROBE("pool-directory-lost");
	return err;
}

/* It was opened over rot on all disks: with force it says what is lost, without it nothing is that is known
 * to have been acknowledged. */
static void check_told(struct run *r, bool forced)
{
	struct pool_status st;

	pool_status(r->pool, &st);
	r->lossy = r->rot.given_up || (rot_cuts(r) && st.recovery.seq < r->rot.seq);
	if (forced &&
	    (r->rot.roots ? !st.loss.from && !st.recovery.forced : st.loss.from != r->rot.seq))
		sim_fail("M11", "opened with force, the pool says that %llu is lost, not %llu",
			 (unsigned long long)st.loss.from, (unsigned long long)r->rot.seq);
}

/* Force changes nothing where there is no need of it. */
static bool forced_needlessly(struct run *r)
{
	if (!r->forces || r->split.now || run_is_rotten(r) || !rng_one_in(&r->force_rng, 3))
		return false;
	PROBE("force-without-need");
	sim_trace("with force");
	return true;
}

static void check_needless(struct run *r)
{
	struct pool_status st;

	pool_status(r->pool, &st);
	if (st.recovery.forced && !run_damaged(r) && !r->pool_dir_old)
		sim_fail("H7", "an epoch says that it was forced, but there was no need");
}

/* Journals that can't be read for a moment may have it refused, and nothing more. */
static int open_unread(struct run *r, const struct pool_open_options *opt, struct pool_message *msg)
{
	int err;

	if (!opt->force)
		rot_unread_begin(r);
	err = pool_open("/pool", opt, &r->env, &r->pool, msg);
	if (rot_unread_refused(r, err))
		err = pool_open("/pool", opt, &r->env, &r->pool, msg);
	return err;
}

/* False: it can't be, and rightly so. */
static bool open_pool(struct run *r)
{
	struct pool_open_options opt = {.force = forced_needlessly(r)};
	struct pool_message msg = {0};
	bool needless = opt.force;
	uint64_t left_out = sim_stats_of("member-left-out-by-opening");
	int err = 0;

	if (r->lose_pool_dir) {
		sim_trace("the pool directory is lost");
		err = import(r, &msg);
		if (err)
			sim_fail("P5", "import fails: %s: %s", dfs_err_name(err), msg.text);
	}
	if (r->split.now)
		err = split_open(r, &msg);
	else if (r->home_fails && !r->lose_pool_dir && !run_is_rotten(r) &&
		 rng_one_in(&r->home_rng, 2))
		err = home_open_ill(r, &opt, &msg);
	else
		err = open_unread(r, &opt, &msg);
	if (err && (rot_refused(r, err, NULL) || run_refused_rightly(r, err))) {
		opt.force = true;
		split_opened_here(r, true); /* also if power goes in the middle of it */
		err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	}
	if (err && r->rot.roots)
		return false;
	if (err)
		sim_fail("P1", "the pool can't be opened with %u of %u disks damaged: %s: %s",
			 run_damaged(r), r->disk_count, dfs_err_name(err), msg.text);
	if (needless)
		check_needless(r);
	if (sim_stats_of("member-left-out-by-opening") > left_out && !r->small_disks &&
	    !r->lacks_room)
		sim_fail("M16",
			 "a member is left out, though its journal has room for what it lacks");
	split_opened_here(r, opt.force);
	r->pool_dir_old = r->home_hit;
	r->lose_pool_dir = false; /* an import that power cut short is done anew */
	if (run_is_rotten(r))
		check_told(r, opt.force);
	err = fs_open(r->pool, &r->fs_config, &r->fs);
	if (err)
		sim_fail("P1", "the filesystem can't be opened: %s", dfs_err_name(err));
	return true;
}

/* What was given up stays given up, and is told of at each opening until somebody has taken note. */
static void close_lossy(struct run *r)
{
	struct pool_open_options opt = {0};
	struct pool_message msg = {0};
	struct pool_status before, after;
	int err;

	pool_status(r->pool, &before);
	if (fs_close(r->fs) || pool_close(r->pool))
		sim_fail("M11", "closing a pool that has lost something fails");
	err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	if (err)
		sim_fail("M11", "after force it can't be opened without: %s: %s", dfs_err_name(err),
			 msg.text);
	pool_status(r->pool, &after);
	if (after.loss.from != before.loss.from)
		sim_fail("M11", "the loss of %llu is not told any more",
			 (unsigned long long)before.loss.from);
	PROBE("opened-with-losses");
}

/* Disks that are lost are rebuilt meanwhile, at once or after some time, or not. */
static void jobs_begin(struct run *r)
{
	struct pool_rebuild settings = {.after_s = rng_below(&r->jobs_rng, 4),
					.bytes_per_s = rng_one_in(&r->jobs_rng, 2) ? 0 : MIB(1)};
	bool rebuilds = r->rebuilds && !r->beyond && !rng_one_in(&r->jobs_rng, 4);
	struct pool_message msg;

	r->jobs = NULL;
	if (!rebuilds && ((!r->scrubs && !r->drains && !r->no_holes) || r->beyond))
		return;
	if (!rebuilds)
		settings.after_s = POOL_REBUILD_NEVER;
	if (pool_set_rebuild(r->pool, &settings, &msg) && !rebuilds)
		return;
	r->jobs = jobs_load(r->pool);
	jobs_start(r->jobs);
	scrub_begin_one(r, r->jobs);
	level_begin_one(r);
}

static void jobs_end(struct run *r)
{
	uint64_t wait_s = rng_one_in(&r->jobs_rng, 2) ? 0 : rng_between(&r->jobs_rng, 1, 10);

	if (r->jobs && wait_s)
		env_sleep_ms(wait_s * 1000);
	jobs_free(r->jobs);
	r->jobs = NULL;
}

static void work(struct run *r)
{
	struct env_thread *threads[SIM_CLIENTS], *peers[SIM_CLIENTS], *admin = NULL, *home, *copy;
	struct env_thread *remover;

	r->stop_admin = false;
	jobs_begin(r);
	copy = back_start(r);
	if (rng_one_in(&r->rng, 4) || r->replaces)
		admin = env_thread_start("admin", admin_main, r);
	home = home_start(r);
	remover = drain_start(r);
	for (unsigned i = 0; i < r->clients_count; i++) {
		r->clients[i].busy = true;
		threads[i] = env_thread_start("client", client_main, &r->clients[i]);
		if (r->with_peers)
			peers[i] = env_thread_start("peer", peer_main, &r->clients[i]);
	}
	for (unsigned i = 0; i < r->clients_count; i++) {
		env_thread_join(threads[i]);
		if (r->with_peers)
			env_thread_join(peers[i]);
	}
	r->stop_admin = true;
	if (admin)
		env_thread_join(admin);
	if (home)
		env_thread_join(home);
	if (copy)
		env_thread_join(copy);
	if (remover)
		env_thread_join(remover);
	jobs_end(r);
	drain_check(r);
}

static void unmount(struct run *r)
{
	int err;

	oracle_check_txns(r);
	sim_disks_cut_after(r->end_after_ops ? rng_between(&r->rng, 1, 100) : 0);
	sim_trace("unmount");
	r->unmounting = true;
	err = fs_close(r->fs);
	if (err && !run_bears(r, err) && !home_explains(r, err, false) &&
	    !(err == DFS_ENOSPC && (r->small_disks || r->lacks_room || run_overwriting_fails(r))))
		sim_fail("P1", "the unmount fails: %s", dfs_err_name(err));
	if (!err)
		for (unsigned i = 0; i < r->clients_count; i++) {
			struct model *m = r->clients[i].model;

			if (r->clients[i].stopped)
				continue; /* its last operation failed, and may be half done */
			model_floor(m, model_mark(m));
			model_mark_data(m);
			model_floor_data(m);
		}
	err = pool_close(r->pool);
	if (err && !run_bears(r, err) && !home_explains_order(r, err) &&
	    !(err == DFS_ENOSPC && (r->lacks_room || run_overwriting_fails(r))))
		sim_fail("P1", "closing the pool fails: %s", dfs_err_name(err));
	r->was_clean = true;
}

/* A read-only mount shows the same, and writes nothing to any disk. */
static void look_first(struct run *r)
{
	struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {0};
	uint64_t before = sim_disks_stats().changes;
	int err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);

	if (err && run_refused_rightly(r, err)) {
		opt.force = true;
		err = pool_open("/pool", &opt, &r->env, &r->pool, &msg);
	}
	if (err)
		sim_fail("P1",
			 "the pool can't be opened read-only with %u of %u disks damaged: %s: %s",
			 run_damaged(r), r->disk_count, dfs_err_name(err), msg.text);
	err = fs_open(r->pool, &r->fs_config, &r->fs);
	if (err)
		sim_fail("P1", "the filesystem can't be opened read-only: %s", dfs_err_name(err));
	oracle_look(r);
	if (fs_close(r->fs) || pool_close(r->pool))
		sim_fail("P1", "closing what is read-only fails");
	if (sim_disks_stats().changes != before)
		sim_fail("P2", "a read-only mount has written to a disk");
	PROBE("read-only-look");
}

static void round_main(void *arg)
{
	struct run *r = arg;
	bool early = rng_one_in(&r->rng, 5);

	r->looked = false;
	if (!r->lose_pool_dir && rng_one_in(&r->rng, 8) && !run_is_rotten(r))
		look_first(r);
	foreign_before_opening(r);
	back_before_opening(r);

	/* Power may also go while the pool recovers. */
	r->split.now = split_is_due(r);
	sim_disks_cut_after(
		early && !run_is_rotten(r) && !r->split.now ? rng_between(&r->rng, 1, 400) : 0);
	if (!open_pool(r)) {
		r->verified = r->ended = true;
		return;
	}
	run_settle_adding(r);
	if (split_other_won(r)) {
		r->verified = r->ended = true;
		return;
	}
	if (r->lossy) {
		oracle_check_lossy(r);
		close_lossy(r);
		r->verified = r->ended = true;
		return;
	}
	oracle_doubts(r); /* before what is read is healed */
	stays_check(r);
	oracle_check(r);
	r->verified = true;
	if (rng_one_in(&r->rng, 3) || r->beyond)
		oracle_fsck(r);
	if (!r->beyond && rng_one_in(&r->orphans_rng, 3))
		oracle_orphans(r);
	sim_disks_cut_after(0);
	if (r->beyond) {
		r->ended = true;
		return;
	}
	stays_forget_replaced(r);
	stays_meet(r);
	scrub_meet(r);
	compact_meet(r);
	run_arm_faults(r);
	work(r);
	sim_disks_at_op(0, NULL, NULL);
	unmount(r);
}

static void plan_round(struct run *r, unsigned *ops_left, bool last)
{
	unsigned ops = last || !*ops_left ? *ops_left
					  : (unsigned)rng_between(&r->rng, 1, *ops_left);

	*ops_left -= ops;
	for (unsigned i = 0; i < r->clients_count; i++)
		r->clients[i].ops_left = ops / r->clients_count + (i < ops % r->clients_count);
	r->round_ops = 0;
	/* One round in four ends with an unmount. */
	r->end_after_ops = !ops || rng_one_in(&r->rng, 4) ? 0
							  : (unsigned)rng_between(&r->rng, 1, ops);
	r->verified = r->sync_all_running = false;
	for (unsigned i = 0; i < r->clients_count; i++) {
		memset(r->clients[i].handles, 0, sizeof(r->clients[i].handles));
		r->clients[i].writing = NULL;
		r->clients[i].stopped = false;
	}
}

/* Where power went. */
static void note_cut(struct run *r)
{
	r->opt->counts->cuts++;
	if (!r->verified)
		PROBE("cut-in-recovery");
	if (r->adding)
		PROBE("cut-in-add-disk");
	if (r->unmounting)
		PROBE("cut-in-unmount");
	if (sim_stats_of("checkpoint-mirrored") - r->mirrored_before >
	    sim_stats_of("checkpoint-published") - r->published_before)
		PROBE("cut-between-manifest-and-root");
}

static void do_round(struct run *r)
{
	enum sim_end end;

	sim_trace("round %u begins: %u damaged", r->round, run_damaged(r));
	r->mirrored_before = sim_stats_of("checkpoint-mirrored");
	r->published_before = sim_stats_of("checkpoint-published");
	r->unmounting = r->exceeded = false;
	home_round_begins(r);
	r->lasts_until_ns = 0;
	r->voters = run_voters(r);
	end = sim_env_run(r->opt->meta_only ? meta_round : round_main, r);
	r->opt->counts->rounds++;
	if (end == SIM_STUCK)
		sim_fail("P9", "%s", sim_env_stuck_text());
	if (end == SIM_CUT) {
		sim_trace("power cut at device operation %llu",
			  (unsigned long long)sim_disks_ops());
		note_cut(r);
		index_mem_store_crash(r->index);
		r->was_clean = false;
	} else {
		PROBE("unmount");
	}
	/* After an unmount power may go, too: whatever matters has been synced. */
	sim_disks_settle();
	foreign_check_disks(r);
	r->fs = NULL;
	r->jobs = NULL;
	r->pool = NULL;
}

static void last_counts(struct run *r)
{
	struct sim_counts *c = r->opt->counts;
	struct sim_disk_stats ds = sim_disks_stats();

	c->seeds++;
	c->device_ops += ds.ops;
	c->switches += sim_env_stats().switches;
}

void sim_run_seed(const struct sim_options *opt)
{
	struct run *r = xcalloc(1, sizeof(*r));
	unsigned ops_left = MAX(opt->ops, 1u);
	bool last = false;

	r->opt = opt;
	sim_run_now = r;
	set_up(r);
	set_up_pool(r);
	if (r->foreign)
		foreign_make(r);
	for (r->round = 1; !r->ended; r->round++) {
		if (last || r->round > MAX_ROUNDS) /* look once more at what the last round left */
			r->ended = true;
		run_between_rounds(r, r->ended);
		if (r->ended) {
			plan_round(r, &(unsigned){0}, true);
		} else {
			plan_round(r, &ops_left, r->round >= 4);
		}
		do_round(r);
		/* Whoever did not get to verify tries again. */
		if (r->ended && !r->verified)
			r->ended = false;
		last = ops_left == 0 && r->verified;
	}
	sim_env_stop();
	last_counts(r);
}
