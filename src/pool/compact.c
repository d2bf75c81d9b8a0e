/* SPDX-License-Identifier: Apache-2.0 */
/* Compaction as the pool allows it (CP4, CP5): the job's steps, and what a writer who finds no room has done at once. */
#include "base/probe.h"
#include "pool/internal.h"

#define STEPS_MAX 16384u /* for one segment, the search for it included */

int pool_compact_step(struct pool *p, struct disk *d, bool is_urgent, struct compact_done *ret)
{
	const struct compact_order o = {.is_urgent = is_urgent,
					.with_old = orphans_index_is_whole(p)};

	return extent_compact_step(p->extents, d, &o, ret);
}

static bool compact_one(struct pool *p, struct disk *d)
{
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		struct compact_done done;
		int err = pool_compact_step(p, d, true, &done);

		if (done.segments)
			return true;
		if (err)
			return false;
	}
	return false;
}

bool pool_compact_now(struct pool *p)
{
	bool gained = false;

	if (p->read_only || !pool_may_grow(p))
		return false;
	extent_compact_measure(p->extents);
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		if (extent_compact_due(p->extents, d, true) && compact_one(p, d))
			gained = true;
	}
	if (gained)
		PROBE("compacted-before-enospc");
	return gained;
}
