/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that give back whole files only (CP1 to CP6): jobs run beside the clients, and in a quiet time after an opening none of them is
 * left with more that is dead than the bound allows.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/probe.h"
#include "pool/pool.h"
#include "sim/run.h"

#define PATIENCE_S 120u

void compact_set_up(struct run *r)
{
	rng_seed(&r->compact_rng, rng_mix(r->opt->seed ^ 0xc0a9ac7));
	r->no_holes = r->opt->no_holes && !r->opt->meta_only;
}

/* Where nothing is in the way of it. */
static bool is_well(struct run *r, struct disk *d)
{
	struct disk_info info = disk_info(d);
	struct run_disk *at = run_disk_by_id(r, info.id);
	struct meta_loss loss;

	/* old segments of a disk that was behind are left alone until the next opening (G3) */
	return at && meta_disk_role(pool_meta(r->pool), &info.uuid) == HISTORY_CURRENT &&
	       at->damage == DAMAGE_NONE && !at->failed && disk_takes_data(d) &&
	       !disk_is_leaving(d) && !disk_doubts(d) && !meta_failed(pool_meta(r->pool)) &&
	       !meta_was_forced(pool_meta(r->pool)) && !meta_loss(pool_meta(r->pool), &loss) &&
	       !loss.from && pool_may_grow(r->pool);
}

/* ---- garbage: a file is written beside one that goes ---- */

#define STEP_BYTES KIB(64)
#define STEPS 256u
#define KEPT_ONE_IN 4u

static void fill(uint8_t *buf, unsigned step)
{
	for (unsigned i = 0; i < STEP_BYTES; i++)
		buf[i] = (uint8_t)(step * 37 + i * 11 + i / 251);
}

static const char *const names[] = {"rest", "gone"};

static struct inode *root_of(struct run *r)
{
	struct inode *root;

	return fs_inode_get(r->fs, (ino_id){DFS_ROOT_INO}, &root) ? NULL : root;
}

static struct inode *find(struct run *r, const char *name)
{
	struct inode *root = root_of(r), *in = NULL;
	struct fs_attr attr;

	if (root && fs_lookup(r->fs, root, name, &in, &attr))
		in = NULL;
	if (root)
		fs_forget(r->fs, root, 1);
	return in;
}

unsigned compact_files(struct run *r)
{
	unsigned n = 0;

	for (unsigned i = 0; r->no_holes && i < ARRAY_SIZE(names); i++) {
		struct inode *in = find(r, names[i]);

		n += in != NULL;
		if (in)
			fs_forget(r->fs, in, 1);
	}
	return n;
}

static void expect_rest(struct run *r)
{
	struct inode *in = find(r, "rest");
	FREE uint8_t *want = xmalloc(STEP_BYTES), *got = xmalloc(STEP_BYTES);
	int err = in ? 0 : DFS_ENOENT;
	size_t len;

	for (unsigned i = 0; i < r->rest_steps && !err; i++) {
		err = fs_read(r->fs, in, (uint64_t)i * STEP_BYTES, STEP_BYTES, got, &len);
		fill(want, i);
		if (!err && (len != STEP_BYTES || memcmp(got, want, STEP_BYTES) != 0))
			sim_fail("P3", "step %u of the file that was kept reads otherwise", i);
	}
	if (err && !run_bears(r, err))
		sim_fail("P1", "the file that was kept can't be read: %s", dfs_err_name(err));
	if (in)
		fs_forget(r->fs, in, 1);
}

static int write_step(struct run *r, struct inode *in, unsigned step)
{
	FREE uint8_t *buf = xmalloc(STEP_BYTES);
	int err;

	fill(buf, step);
	err = fs_write(r->fs, in, (uint64_t)step * STEP_BYTES, STEP_BYTES, buf, false);
	return err ? err : fs_fsync(r->fs, in, false);
}

static int write_both(struct run *r, struct inode *rest, struct inode *gone)
{
	unsigned kept = 0, dropped = 0;
	int err = 0;

	for (unsigned i = 0; i < STEPS && !err; i++) {
		bool keep = i % KEPT_ONE_IN == 0;

		err = keep ? write_step(r, rest, kept) : write_step(r, gone, dropped);
		kept += keep && !err;
		dropped += !keep;
	}
	r->rest_steps = kept;
	return err;
}

static void make_garbage(struct run *r)
{
	struct inode *root = root_of(r), *rest = NULL, *gone = NULL;
	struct fs_cred cred = {0};
	struct fs_attr attr;
	int err = root ? 0 : DFS_EIO;

	r->rest_steps = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names) && !err; i++) { /* of an earlier round */
		err = fs_unlink(r->fs, root, names[i]);
		err = err == DFS_ENOENT ? 0 : err;
	}
	if (!err)
		err = fs_mknod(r->fs, root, "rest", S_IFREG | 0600, 0, cred, &rest, &attr);
	if (!err)
		err = fs_mknod(r->fs, root, "gone", S_IFREG | 0600, 0, cred, &gone, &attr);
	if (!err)
		err = write_both(r, rest, gone);
	if (err && err != DFS_ENOSPC && !run_bears(r, err))
		sim_fail("P1", "writing a file fails: %s", dfs_err_name(err));
	if (gone)
		(void)!fs_unlink(r->fs, root, "gone");
	if (rest)
		fs_forget(r->fs, rest, 1);
	if (gone)
		fs_forget(r->fs, gone, 1);
	if (root)
		fs_forget(r->fs, root, 1);
}

/* ---- */

static struct disk *still_due(struct run *r)
{
	struct disk_set *disks = pool_disks(r->pool);

	extent_compact_measure(pool_extents(r->pool));
	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct disk *d = disk_at(disks, i);

		if (is_well(r, d) && extent_compact_due(pool_extents(r->pool), d, false))
			return d;
	}
	return NULL;
}

void compact_meet(struct run *r)
{
	const struct pool_rebuild never = {.after_s = POOL_REBUILD_NEVER};
	struct pool_message msg;
	struct disk *due;
	struct jobs *jobs;

	if (!r->no_holes)
		return;
	if (r->rest_steps)
		expect_rest(r);
	if (rng_one_in(&r->compact_rng, 2) && !r->home_small)
		make_garbage(r);
	if (rng_one_in(&r->compact_rng, 2) || run_damaged(r) ||
	    pool_set_rebuild(r->pool, &never, &msg))
		return; /* then jobs do it beside the clients */
	due = still_due(r);
	if (!due)
		return;
	PROBE("compact-is-due");
	jobs = jobs_load(r->pool);
	jobs_start(jobs);
	for (unsigned i = 0; i < PATIENCE_S && due; i++) {
		env_sleep_ms(1000);
		due = still_due(r);
	}
	jobs_free(jobs);
	if (due && !run_damaged(r) && !r->lacks_room && !r->was_filled && !r->filled)
		sim_fail("CP1", "%llu KiB of disk %u are dead, beside %llu that live",
			 (unsigned long long)(disk_dead_bytes(due) / 1024), disk_info(due).id.v,
			 (unsigned long long)meta_counter(
				 pool_meta(r->pool), META_COUNT_DISK_USED + disk_info(due).id.v) /
				 1024);
	if (!due)
		PROBE("compact-quiet");
}
