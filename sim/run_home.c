/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool directory and what befalls it: its filesystem becomes full, read-only or fails, while in use
 * or at an opening, and recovers; it comes back from a backup, pool.json and index each for itself, or is
 * another pool's. The disks hold all that matters (P5): whatever was acknowledged is there afterwards, and
 * nothing says more than that something can't be added meanwhile.
 *
 * The index writes there through a table of functions of its own, which fails as the filesystem does. Some
 * filesystems are so small that the index's own growth fills them: then what asks first is refused (C3), and
 * the index never meets a full one.
 */
#include "sim/run_home.h"

#include <limits.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/sim_env.h"
#include "sim/stats.h"

#define HOME_LEAST MIB(4) /* what is kept free there whatever the index needs (C3) */
#define INDEX_COST 16u	  /* a history's index is small: each byte counts for so many */

/* ---- the index ---- */

/* Its table files lie beside what the pool writes there. */
static void count_index(struct run *r)
{
	if (r->home_small)
		sim_disk_set_others(r->pool_disk, INDEX_COST * index_mem_store_bytes(r->index));
}

static bool has_room(struct run *r, uint64_t bytes)
{
	count_index(r);
	return !r->home_small || INDEX_COST * bytes <= sim_disk_free_bytes(r->pool_disk);
}

/* What is seen before anything is begun (C3). */
static int index_looks(void)
{
	struct sim_fault f = sim_disk_fault(sim_run_now->pool_disk);

	return f.full ? DFS_ENOSPC : f.read_only ? DFS_EROFS : 0;
}

/* RocksDB refuses everything after some of the writes that failed, until it is opened again; others only fail. */
static int index_write(void)
{
	struct run *r = sim_run_now;
	struct sim_fault f = sim_disk_fault(r->pool_disk);
	int err;

	sim_env_point();
	if (r->home_broken)
		return DFS_EIO;
	err = index_looks();
	if (err)
		return err;
	if (!(f.write_error_one_in && rng_one_in(&r->home_rng, f.write_error_one_in)))
		return 0;
	PROBE("index-write-failed");
	r->home_broken = rng_one_in(&r->home_rng, 4);
	return DFS_EIO;
}

static struct index_mem_store *store_of(void *arg) { return *(struct index_mem_store **)arg; }

static int home_open(void *arg, uint64_t flush_bytes, struct index **ret_index)
{
	struct run *r = sim_run_now;
	struct sim_fault f = sim_disk_fault(r->pool_disk);

	r->home_broken = false;
	if (f.full && r->home_no_room_at_all)
		return DFS_ENOSPC;
	if (f.read_only)
		return DFS_EROFS;
	return index_mem_ops.open(store_of(arg), flush_bytes, ret_index);
}

static int home_destroy(void *arg)
{
	return sim_disk_fault(sim_run_now->pool_disk).read_only
		       ? DFS_EIO
		       : index_mem_ops.destroy(store_of(arg));
}

static int home_apply(struct index *x, const struct index_op *ops, size_t count)
{
	return sim_run_now->home_broken ? DFS_EIO : index_mem_ops.apply(x, ops, count);
}

static int home_check(struct index *x, bool may_write)
{
	struct run *r = sim_run_now;
	bool always_fails = sim_disk_fault(r->pool_disk).write_error_one_in == 1;
	int err = index_looks();

	(void)x;
	if (err)
		PROBE("index-seen-ill");
	return err ? err : may_write && always_fails ? DFS_EIO : 0;
}

static int home_flush(struct index *x)
{
	struct run *r = sim_run_now;
	int err = index_write();

	if (!r->home_hit && !has_room(r, index_mem_flush_bytes(r->index)))
		sim_fail("C3", "a flush of the index has no room");
	if (!err)
		err = index_mem_ops.flush(x);
	count_index(r);
	return err;
}

static int home_compact(struct index *x, const struct index_merging *how, bool *ret_more)
{
	struct run *r = sim_run_now;
	int err = index_write();

	if (!err && !has_room(r, index_mem_store_bytes(r->index)))
		err = DFS_ENOSPC;
	if (!err)
		err = index_mem_ops.compact(x, how, ret_more);
	count_index(r);
	return err;
}

static int home_restore_begin(void *arg)
{
	int err = index_write();

	return err ? err : index_mem_ops.restore_begin(store_of(arg));
}

static int home_restore_write(void *arg, const char *name, uint64_t off, const void *buf,
			      size_t len)
{
	int err = index_write();

	return err ? err : index_mem_ops.restore_write(store_of(arg), name, off, buf, len);
}

static int home_restore_end(void *arg)
{
	int err = index_write();

	return err ? err : index_mem_ops.restore_end(store_of(arg));
}

const struct index_ops *home_index_ops(void)
{
	static struct index_ops ops;

	ops = index_mem_ops;
	ops.open = home_open;
	ops.destroy = home_destroy;
	ops.apply = home_apply;
	ops.check = home_check;
	ops.flush = home_flush;
	ops.compact = home_compact;
	ops.restore_begin = home_restore_begin;
	ops.restore_write = home_restore_write;
	ops.restore_end = home_restore_end;
	return &ops;
}

void home_index_replace(struct run *r, struct index_mem_store *s)
{
	index_mem_store_free(r->index);
	r->index = s ? s : index_mem_store_new();
	count_index(r);
}

void home_set_up(struct run *r)
{
	struct rng rng;

	rng_seed(&rng, rng_mix(r->opt->seed ^ 0x5a11));
	r->home_small = !r->opt->meta_only && !r->foreign && !r->splits && !r->home_silent &&
			rng_one_in(&rng, 6);
	r->pool_disk = sim_disk_new(&(struct sim_disk_config){
		.name = "pool",
		.fs_id = 100,
		.total_bytes = r->home_small ? HOME_LEAST + rng_between(&rng, KIB(64), MIB(2))
					     : GIB(1),
		.can_punch = true,
		.can_hang = r->home_silent});
}

/* ---- faults ---- */

static const char *const home_faults[] = {"is full", "has no room at all", "is read-only",
					  "fails now and then", "fails"};
#define HOME_FULL 0u

static unsigned any_fault(struct run *r)
{
	return (unsigned)rng_below(&r->home_rng, ARRAY_SIZE(home_faults));
}

static void set_fault(struct run *r, unsigned which)
{
	struct sim_fault f = {.full = which < 2,
			      .read_only = which == 2,
			      .write_error_one_in = which == 3 ? 4 : which == 4};

	r->home_no_room_at_all = which == 1;
	r->home_hit = r->pool_dir_old = true;
	r->journal_full_before = sim_stats_of("journal-without-room");
	sim_disk_set_fault(r->pool_disk, &f);
	if (f.full)
		PROBE("home-full");
	else if (f.read_only)
		PROBE("home-read-only");
	else
		PROBE("home-errors");
	sim_trace("the pool directory %s", home_faults[which]);
}

static void clear_fault(struct run *r)
{
	sim_disk_set_fault(r->pool_disk, &(struct sim_fault){0});
	r->home_well_ns = sim_env_now_ns();
	sim_trace("the pool directory is well again");
}

/* Then what was refused has been tried again. */
static bool is_over(struct run *r)
{
	return r->home_well_ns && sim_env_now_ns() > r->home_well_ns + 10000000000;
}

bool home_explains(struct run *r, int err, bool needs_room)
{
	if (err == DFS_ENOSPC && needs_room && r->home_small) {
		PROBE("index-fills-the-pool-directory");
		return true;
	}
	if (!r->home_hit || is_over(r))
		return false;
	if (err == DFS_ENOSPC)
		return needs_room || sim_stats_of("journal-without-room") > r->journal_full_before;
	return false;
}

bool home_explains_order(struct run *r, int err) { return !is_over(r) && home_was_met(r, err); }

bool home_was_met(struct run *r, int err)
{
	return r->home_hit && (err == DFS_ENOSPC || err == DFS_EROFS || err == DFS_EIO);
}

/* A round's fiber: the fault begins, lasts, and is over while the clients still work. */
static void home_main(void *arg)
{
	struct run *r = arg;
	uint64_t ms = rng_below(&r->home_rng, 1ull << rng_between(&r->home_rng, 0, 14));

	if (!r->home_hit)
		env_sleep_ms(ms);
	if (r->stop_admin)
		return;
	if (!r->home_hit)
		set_fault(r, any_fault(r));
	ms = rng_between(&r->home_rng, 1, rng_one_in(&r->home_rng, 2) ? 1000 : 60000);
	r->lasts_until_ns = sim_env_now_ns() + ms * 1000000 + 20000000000;
	r->pace_ms = MAX(r->pace_ms, 200u);
	env_sleep_ms(ms);
	clear_fault(r);
}

struct env_thread *home_start(struct run *r)
{
	if (!r->home_hit && !(r->home_fails && rng_one_in(&r->home_rng, 2)))
		return NULL;
	if (rng_one_in(&r->home_rng, 2)) /* power stays until it is over */
		r->end_after_ops = UINT_MAX;
	return env_thread_start("home", home_main, r);
}

void home_round_begins(struct run *r)
{
	r->home_hit = r->home_broken = false;
	r->home_well_ns = 0;
}

/*
 * The pool directory is not well when the pool is opened. Either that works, or it is refused for what is
 * wrong, and works as soon as that is over. Mostly it is full: then there is no checkpoint at the opening (M16).
 */
int home_open_ill(struct run *r, const struct pool_open_options *opt, struct pool_message *msg)
{
	int err;

	set_fault(r, rng_one_in(&r->home_rng, 4) ? any_fault(r) : HOME_FULL);
	err = pool_open("/pool", opt, &r->env, &r->pool, msg);
	if (!err) {
		PROBE("opened-with-home-ill");
		return 0;
	}
	sim_trace("with the pool directory so it is not opened: %s: %s", dfs_err_name(err),
		  msg->text);
	if (err != DFS_ENOSPC && err != DFS_EROFS && err != DFS_EIO && err != DFS_EFAILED &&
	    !run_refused_rightly(r, err))
		sim_fail("P11", "a pool directory that is not well is refused with %s: %s",
			 dfs_err_name(err), msg->text);
	PROBE("refused-with-home-ill");
	sim_disk_set_fault(r->pool_disk, &(struct sim_fault){0});
	home_round_begins(r);
	return pool_open("/pool", opt, &r->env, &r->pool, msg);
}

/* ---- backups ---- */

void home_keep_image(struct run *r)
{
	sim_image_free(r->pool_image);
	r->pool_image = sim_disk_image(r->pool_disk);
	r->pool_image_disks = r->disk_count + r->adding;
	index_mem_store_free(r->index_image);
	r->index_image = index_mem_store_copy(r->index);
}

/* It comes back from a backup: it knows an older epoch, but all disks. Or only part of it is as old. */
void home_restore(struct run *r)
{
	uint64_t which = rng_below(&r->home_rng, 3);

	if (!r->pool_image || r->pool_image_disks != r->disk_count + r->adding)
		return;
	if (which != 1) {
		PROBE("pool-directory-restored-older");
		sim_trace("pool.json is restored from a backup");
		sim_disk_restore(r->pool_disk, r->pool_image);
		r->pool_dir_old = true;
	}
	if (which != 0 && r->index_image) {
		PROBE("index-restored-older");
		sim_trace("the index is restored from a backup");
		home_index_replace(r, index_mem_store_copy(r->index_image));
	}
}
