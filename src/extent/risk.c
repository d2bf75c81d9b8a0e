/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a group commit risks: which disks hold fragments of the extents that it may name, by the loss
 * those extents tolerate. A disk that fails while it is synced takes what was written to it along; the
 * group may be acknowledged while no extent has lost more fragments than its m.
 *
 * An extent counts from its writing to its settling (it is being committed meanwhile), and once more
 * in the first group after it: whichever group its transaction travels in, its disks are looked at in
 * a sync that covers its writes. For each m the disks of all such extents are taken together, which
 * errs on the safe side.
 *
 * Lock: risk.lock, a leaf.
 */
#include "extent/internal.h"

void risk_init(struct risk *r) { env_mutex_init(&r->lock); }

void risk_release(struct risk *r) { env_mutex_release(&r->lock); }

void risk_written(struct risk *r, const struct rec_extent *rec)
{
	ENV_LOCKED(&r->lock);
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++)
		r->in_flight[rec->m][rec->frags[i].disk.v]++;
}

void risk_settled(struct risk *r, const struct rec_extent *rec, bool published)
{
	ENV_LOCKED(&r->lock);
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		uint32_t disk = rec->frags[i].disk.v;

		ASSERT(r->in_flight[rec->m][disk] > 0);
		r->in_flight[rec->m][disk]--;
		if (published)
			r->settled[rec->m][disk] = true;
	}
}

void risk_begin_group(struct risk *r, struct risk_group *g)
{
	ENV_LOCKED(&r->lock);
	for (unsigned m = 0; m <= CODEC_MAX_M; m++)
		for (unsigned d = 0; d < RISK_MAX_DISKS; d++)
			g->used[m][d] = r->settled[m][d] || r->in_flight[m][d] > 0;
	memset(r->settled, 0, sizeof(r->settled));
}

bool risk_survives(const struct risk_group *g, const disk_id *failed, unsigned count)
{
	for (unsigned m = 0; m <= CODEC_MAX_M; m++) {
		unsigned lost = 0;

		for (unsigned i = 0; i < count; i++)
			lost += g->used[m][failed[i].v];
		if (lost > m)
			return false;
	}
	return true;
}
