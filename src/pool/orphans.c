/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When what crashes left may be given back (G3 of docs/DESIGN.md; extent/sweep.c does it): once for each disk
 * after a mount, and only while the index is known to hold all that was acknowledged.
 */
#include "base/probe.h"
#include "base/words.h"
#include "pool/internal.h"

#define ORPHANS_RETRY_NS 30000000000ull
#define TICK_BUDGET 1024u
#define CHANGE_COST 16u

/* Does the index name all that was ever acknowledged, as far as can be known? */
bool orphans_index_is_whole(struct pool *p)
{
	struct meta_loss loss;

	if (meta_failed(p->meta) || p->recovery.journals_short || meta_was_forced(p->meta)) {
		PROBE("orphans-left-alone");
		return false;
	}
	return meta_loss(p->meta, &loss) == 0 && loss.from == 0;
}

static bool is_usable(struct disk *d) { return disk_present(d) && disk_state(d) != DISK_SUSPECT; }

static bool is_due(struct pool *p, struct disk *d)
{
	struct disk_info info = disk_info(d);

	return !p->orphans.swept[info.id.v] && is_usable(d) &&
	       meta_disk_role(p->meta, &info.uuid) == HISTORY_CURRENT;
}

static struct disk *first_due(struct pool *p, uint32_t after)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		if (disk_info(d).id.v > after && is_due(p, d))
			return d;
	}
	return NULL;
}

/* The disk that is being swept, or the next one: one that fails keeps no other waiting. NULL: none is due. */
static struct disk *next_disk(struct pool *p)
{
	struct disk *d = disk_get(p->disks, p->orphans.disk);

	if (d && is_usable(d))
		return d;
	extent_sweep_end(&p->orphans.sweep);
	p->orphans.disk.v = 0;
	d = first_due(p, p->orphans.last.v);
	return d ? d : first_due(p, 0);
}

static void tell(struct pool *p, disk_id id)
{
	const struct extent_sweep *w = &p->orphans.sweep;

	if (w->removed || w->cut)
		log_info("gave back %llu KiB on disk %u that a crash had left: %u %s "
			 "nothing, and the %s of %u %s",
			 (unsigned long long)(w->bytes / 1024), id.v, w->removed,
			 plural(w->removed, "segment that holds", "segments that hold"),
			 plural(w->cut, "end", "ends"), w->cut, plural(w->cut, "other", "others"));
}

static void rest(struct pool *p)
{
	extent_sweep_end(&p->orphans.sweep);
	p->orphans.disk.v = 0;
	p->orphans.retry_ns = env_now_ns() + ORPHANS_RETRY_NS;
}

/* In look-ups: what is given back, and a listing, take as long as some. */
static unsigned cost(const struct extent_sweep *w)
{
	return w->at + CHANGE_COST * (1 + w->removed + w->cut);
}

/* One step for one disk; what it cost, or more than any budget when there is nothing left to do now. */
static unsigned step(struct pool *p)
{
	struct extent_sweep *w = &p->orphans.sweep;
	struct disk *d = !p->read_only && orphans_index_is_whole(p) ? next_disk(p) : NULL;
	unsigned before = 0;
	disk_id id;
	int err = 0;

	if (!d) {
		rest(p);
		return TICK_BUDGET;
	}
	id = disk_info(d).id;
	if (p->orphans.disk.v == id.v)
		before = cost(w);
	else
		err = extent_sweep_begin(d, w);
	p->orphans.disk = p->orphans.last = id;
	if (!err)
		err = extent_sweep_step(p->extents, d, w);
	if (err == DFS_EEND) {
		tell(p, id);
		p->orphans.swept[id.v] = true;
		p->orphans.disk.v = 0;
	} else if (err) {
		log_warn("cannot look for what a crash left on disk %u: %s; it is tried again",
			 id.v, dfs_err_text(err));
		rest(p);
		return TICK_BUDGET;
	}
	return cost(w) - before;
}

void orphans_tick(struct pool *p)
{
	if (env_now_ns() < p->orphans.retry_ns)
		return;
	for (unsigned spent = 0; spent < TICK_BUDGET;)
		spent += step(p);
}
