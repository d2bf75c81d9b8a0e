/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool directory, where the live index lies: is there room for what the index will write, can it be written at
 * all (C3), and does it answer? The disks hold all that matters, so whatever is wrong with it costs nothing that was
 * accepted; but without it no checkpoint can be made, and the journal takes only so much. So nothing may be added
 * meanwhile.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "pool/internal.h"

#define CACHE_NS 200000000ull

static const struct trouble {
	int err;
	const char *what, *what_to_do;
} troubles[] = {
	{DFS_ENOSPC, "its filesystem is nearly full, or a quota there is used up",
	 "make room there"},
	{DFS_EROFS, "its filesystem is read-only", "find out why, and mount it writable"},
	{DFS_EACCES, "permission denied",
	 "see whose it and the index in it are, and their attributes (lsattr)"},
	{DFS_EGONE,
	 "it, or the index in it, is not where it was any more (moved or removed, or something is "
	 "mounted over it)",
	 "put it back as it was; if it is lost, unmount the pool: the next mount (after an import if "
	 "the whole directory is lost) makes it anew from the disks"},
	{DFS_EIO, "input/output error",
	 "check the disk that it is on; if it lasts, unmount the "
	 "pool, and mount it when the directory can be written again"},
};

static const struct trouble *trouble_of(int err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(troubles); i++)
		if (troubles[i].err == err)
			return &troubles[i];
	return &troubles[ARRAY_SIZE(troubles) - 1];
}

const char *pool_dir_what(int err) { return trouble_of(err)->what; }

const char *pool_dir_what_to_do(int err) { return trouble_of(err)->what_to_do; }

static int look(struct pool *p)
{
	int err = meta_index_error(p->meta);
	struct dev_space space;

	if (err || dev_space(p->dir_dev, &space))
		return err; /* what writes there will tell */
	return space.free_bytes < meta_index_need(p->meta, false, 0) ? DFS_ENOSPC : 0;
}

static void tell(struct pool *p, int err)
{
	if (!err)
		PROBE("home-well-again");
	if (err)
		log_error(
			"the metadata index in the pool directory %s can't be written: %s; nothing can be added to "
			"the pool until it can; deleting works, and nothing is lost. What to do: %s",
			p->dir, pool_dir_what(err), pool_dir_what_to_do(err));
	else
		log_info("the pool directory %s is well again", p->dir);
}

int pool_dir_error(struct pool *p)
{
	uint64_t now = env_now_ns();
	int err, was;

	if (!p->meta || p->read_only)
		return 0;
	env_mutex_lock(&p->lock);
	err = p->dir_err;
	/* what a checkpoint has just met counts at once: what is accepted meanwhile fills the journal */
	if (p->dir_ns && now - p->dir_ns < CACHE_NS && (err || !meta_index_error(p->meta))) {
		env_mutex_unlock(&p->lock);
		return err;
	}
	p->dir_ns = now ? now : 1;
	env_mutex_unlock(&p->lock);
	err = look(p);
	env_mutex_lock(&p->lock);
	was = p->dir_err;
	p->dir_err = err;
	env_mutex_unlock(&p->lock);
	if (err != was)
		tell(p, err);
	return err;
}

bool pool_may_grow(struct pool *p)
{
	bool tied;

	env_mutex_lock(&p->lock);
	tied = p->tie != 0;
	env_mutex_unlock(&p->lock);
	return !tied && !pool_dir_error(p);
}

bool pool_dir_silent(struct pool *p)
{
	struct dev_deadline_state st;

	return p->dir_dev && dev_deadline_state(p->dir_dev, &st) && st.is_hung;
}

/* The index lies there, out of reach of deadlines: it is only known whether the directory answers. */
void home_revive(struct pool *p)
{
	bool silent = pool_dir_silent(p);

	if (silent && !p->home_silent)
		log_error(
			"the pool directory %s does not answer: nothing can be added to the pool, and "
			"what needs its index there waits; check the filesystem that it is on",
			p->dir);
	p->home_silent = silent;
	if (!silent || dev_revive(p->dir_dev))
		return;
	PROBE("home-answers-again");
	p->home_silent = false;
	log_info("the pool directory %s answers again", p->dir);
}
