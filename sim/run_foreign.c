/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does not belong where it is found: another pool's directory or disk in the place of ours, a copy
 * of a disk beside it, disks that have changed places. Whatever is not ours is neither believed nor
 * written to (P8), and a pool that can't be told is refused without a byte written.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "base/probe.h"
#include "sim/run_home.h"
#include "sim/sim_env.h"

/* ---- another pool ---- */

int foreign_open_dev(struct run *r, const char *path, struct dev **ret_dev)
{
	if (!strcmp(path, "/pool"))
		*ret_dev = sim_disk_open(r->foreign_home);
	else if (!strcmp(path, "/d0") || !strcmp(path, "/d1"))
		*ret_dev = sim_disk_open(r->foreign_disks[path[2] - '0']);
	else
		return DFS_ENOENT;
	return 0;
}

static void must(const char *what, int err)
{
	if (err)
		sim_fail("set-up", "%s of another pool fails: %s", what, dfs_err_name(err));
}

static void make_main(void *arg)
{
	struct run *r = arg;
	struct pool_open_options opt = {0};
	struct fs_cred cred = {0};
	struct fs_config cfg = {0};
	struct pool_message msg;
	struct inode *root, *in;
	struct fs_attr attr;
	struct disk_info info;
	bool same;

	must("init", pool_init("/pool", &r->settings, &r->env, &msg));
	must("opening", pool_open("/pool", &opt, &r->env, &r->pool, &msg));
	for (unsigned i = 0; i < FOREIGN_DISKS; i++) {
		struct pool_disk_spec spec = {.path = i ? "/d1" : "/d0"};

		must("add-disk", pool_add_disk(r->pool, &spec, &info, &same, &msg));
	}
	must("fs_open", fs_open(r->pool, &cfg, &r->fs));
	must("the root", fs_inode_get(r->fs, (ino_id){DFS_ROOT_INO}, &root));
	must("mkdir", fs_mkdir(r->fs, root, "c0", S_IFDIR | 0755, cred, &in, &attr));
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, root, 1);
	must("fs_close", fs_close(r->fs));
	must("closing", pool_close(r->pool));
	r->fs = NULL;
	r->pool = NULL;
}

/* Its disks lay at the paths where ours are. */
void foreign_make(struct run *r)
{
	struct index_mem_store *ours = r->index;
	char name[16];

	for (unsigned i = 0; i <= FOREIGN_DISKS; i++) {
		struct sim_disk_config cfg = {.name = name,
					      .fs_id = 200 + i,
					      .total_bytes = MIB(256),
					      .unlocked = i > 0 ? run_unlocked : NULL,
					      .can_punch = true,
					      .can_allocate = true};

		snprintf(name, sizeof(name), "foreign%u", i);
		*(i ? &r->foreign_disks[i - 1] : &r->foreign_home) = sim_disk_new(&cfg);
	}
	r->index = index_mem_store_new();
	r->foreign_world = true;
	if (sim_env_run(make_main, r) != SIM_DONE)
		sim_fail("set-up", "another pool can't be made");
	r->foreign_world = false;
	sim_disks_settle();
	r->foreign_index = r->index;
	r->index = ours;
}

static void copy_disk(struct sim_disk *to, struct sim_disk *from)
{
	struct sim_image *image = sim_disk_image(from);

	sim_disk_restore(to, image);
	sim_image_free(image);
}

void foreign_put_disk(struct run *r, struct run_disk *d)
{
	copy_disk(d->sim, r->foreign_disks[rng_below(&r->foreign_rng, FOREIGN_DISKS)]);
	d->damage = DAMAGE_FOREIGN;
	d->changes = sim_disk_changes(d->sim);
	PROBE("foreign-disk");
	sim_trace("a disk of another pool is at %s", d->path);
}

void foreign_check_disks(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		const struct run_disk *d = &r->disks[i];

		if ((d->damage == DAMAGE_FOREIGN || d->damage == DAMAGE_APART) &&
		    sim_disk_changes(d->sim) != d->changes)
			sim_fail("P8", "the disk of another %s at %s has been written to",
				 d->damage == DAMAGE_APART ? "history" : "pool", d->path);
	}
}

/* ---- refused ---- */

/* The pool is opened as it is now, which must fail, and change nothing. */
static void must_refuse(struct run *r, const char *what, int want, bool force)
{
	struct pool_open_options opt = {.force = force,
					.read_only = rng_one_in(&r->foreign_rng, 4)};
	uint64_t before = sim_disks_stats().changes;
	struct pool_message msg = {0};
	struct pool *p;
	int err = pool_open("/pool", &opt, &r->env, &p, &msg);

	if (!err)
		sim_fail("P8", "%s: the pool is opened", what);
	sim_trace("%s: %s: %s", what, dfs_err_name(err), msg.text);
	if (want && err != want)
		sim_fail("P11", "%s: refused with %s, not %s: %s", what, dfs_err_name(err),
			 dfs_err_name(want), msg.text);
	if (sim_disks_stats().changes != before)
		sim_fail("P8", "%s: it is refused, but something was written", what);
}

/* Another pool's directory, with its index or ours, for a while. */
static void try_foreign_home(struct run *r)
{
	struct sim_disk *home = r->pool_disk;
	struct index_mem_store *index = r->index;

	for (unsigned i = 0; i < r->disk_count; i++)
		if (r->disks[i].damage == DAMAGE_FOREIGN)
			return; /* it may be opened with those */
	r->pool_disk = r->foreign_home;
	if (rng_one_in(&r->foreign_rng, 2))
		r->index = r->foreign_index;
	must_refuse(r, "with another pool's directory", 0, rng_one_in(&r->foreign_rng, 2));
	r->pool_disk = home;
	r->index = index;
	PROBE("foreign-pool-directory");
}

static bool is_whole(const struct run_disk *d)
{
	return d->damage == DAMAGE_NONE && !d->failed && !sim_disk_fault(d->sim).gone;
}

static struct run_disk *pick_whole(struct run *r)
{
	struct run_disk *d = &r->disks[rng_below(&r->foreign_rng, r->disk_count)];

	return is_whole(d) ? d : NULL;
}

/* A disk, and where another one was, a copy of it, or what it was some time ago. */
static void try_clone(struct run *r)
{
	struct run_disk *d = pick_whole(r), *other = pick_whole(r);
	struct sim_image *old = d ? d->images[rng_below(&r->foreign_rng, RUN_IMAGES)] : NULL;
	struct sim_disk *place = other ? other->sim : NULL;

	/* a pool directory that was made elsewhere, or is behind, never knew each place */
	if (!d || !other || d == other || r->pool_dir_old || r->split.state != SPLIT_NONE)
		return;
	if (old && rng_one_in(&r->foreign_rng, 2))
		sim_disk_restore(r->clone, old);
	else
		copy_disk(r->clone, d->sim);
	other->sim = r->clone;
	must_refuse(r, "with a copy of a disk beside it", DFS_ESPLIT,
		    rng_one_in(&r->foreign_rng, 2));
	other->sim = place;
	PROBE("cloned-disk");
}

/* The pool's own directory with another pool's index: a cache that is not ours. */
static void put_foreign_index(struct run *r)
{
	home_index_replace(r, index_mem_store_copy(r->foreign_index));
	PROBE("foreign-index");
	sim_trace("the index is another pool's");
}

/* Two disks change places, as names of devices do. */
static void swap_disks(struct run *r)
{
	struct run_disk *a = pick_whole(r), *b = pick_whole(r);
	char path[sizeof(a->path)];

	if (!a || !b || a == b || r->adding || r->splits)
		return;
	memcpy(path, a->path, sizeof(path));
	memcpy(a->path, b->path, sizeof(path));
	memcpy(b->path, path, sizeof(path));
	PROBE("disks-swapped");
	sim_trace("disks %s and %s have changed places", a->path, b->path);
}

void foreign_before_opening(struct run *r)
{
	if (!r->foreign || r->beyond)
		return;
	if (rng_one_in(&r->foreign_rng, 4))
		try_foreign_home(r);
	if (r->lose_pool_dir)
		return;
	if (rng_one_in(&r->foreign_rng, 3))
		try_clone(r);
	if (rng_one_in(&r->foreign_rng, 6))
		put_foreign_index(r);
	if (rng_one_in(&r->foreign_rng, 3))
		swap_disks(r);
}
