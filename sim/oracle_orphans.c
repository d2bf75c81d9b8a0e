/* SPDX-License-Identifier: Apache-2.0 */
/* Whether what crashes left is given back (G5): asked of the disks themselves, some time after an opening. */
#include <stdio.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/run.h"

struct orphan_look {
	struct meta_iter *it;
	disk_id id;
	struct sim_disk *sim;
	uint32_t first_own;
	unsigned found;
};

/* A segment of an earlier mount without a live record, or one that goes on behind its last. */
static int look_at_segment(void *ctx, uint32_t segment, uint64_t size_bytes)
{
	struct orphan_look *l = ctx;
	struct rec_bydisk by;
	const uint8_t *k, *v;
	size_t klen, vlen;
	char name[32];
	BUF key = {0};

	if (segment >= l->first_own)
		return 0;
	key_bydisk(&key, l->id, segment, UINT32_MAX);
	meta_iter_seek_back(l->it, key.data, key.len);
	if (meta_iter_valid(l->it)) {
		k = meta_iter_key(l->it, &klen);
		v = meta_iter_value(l->it, &vlen);
		snprintf(name, sizeof(name), "segments/%08x", segment);
		/* reclaim punches out what was freed there since: the size stays */
		if (k[0] == TABLE_BYDISK && !parse_bydisk(k, klen, v, vlen, &by) &&
		    by.disk.v == l->id.v && by.segment == segment &&
		    (by.offset + (uint64_t)by.record_len >= size_bytes ||
		     !sim_disk_holds(l->sim, name, by.offset + (uint64_t)by.record_len)))
			return 0;
	}
	l->found++;
	return 0;
}

/* On disks that are well, and were when the pool was opened. */
static unsigned orphan_segments(struct run *r)
{
	struct disk_set *set = pool_disks(r->pool);
	struct orphan_look l = {.it = meta_iter_new(pool_meta(r->pool))};

	for (unsigned i = 0; i < disk_count(set); i++) {
		struct disk *d = disk_at(set, i);
		struct disk_info info = disk_info(d);
		struct run_disk *rd = run_disk_by_id(r, info.id);

		if (!rd || rd->damage != DAMAGE_NONE || !disk_present(d) ||
		    meta_disk_role(pool_meta(r->pool), &info.uuid) != HISTORY_CURRENT)
			continue;
		l.id = info.id;
		l.sim = rd->sim;
		l.first_own = segment_first_own(d);
		if (segment_list(d, look_at_segment, &l))
			break; /* it has just failed: it is not well any more */
	}
	meta_iter_free(l.it);
	return l.found;
}

void oracle_orphans(struct run *r)
{
	unsigned found = 1;
	struct meta_loss loss = {0};

	if (meta_was_forced(pool_meta(r->pool)) || meta_loss(pool_meta(r->pool), &loss) ||
	    loss.from)
		return;
	for (unsigned trial = 0; trial < 100 && found; trial++) {
		env_sleep_ms(500);
		found = orphan_segments(r);
	}
	if (found && !meta_failed(pool_meta(r->pool)))
		sim_fail("G5", "%u segments still hold only what a crash left, or end with it",
			 found);
	PROBE("orphans-looked-for");
}
