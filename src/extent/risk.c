/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a group commit risks: which disks hold fragments of the extents that it may name, by the loss
 * those extents tolerate. A disk that fails takes what was not synced there along; the group may be
 * acknowledged while no extent has lost more fragments than its m (P1, E7).
 *
 * An extent is at risk from its writing (nobody may name it yet, but somebody is about to) until the
 * journal write that covers its transaction has succeeded: from its settling on it is known by the
 * last sequence number given out then, which is its transaction's or a later one. So a group that
 * could not be written (a full journal) goes on being at risk, and no sync but the one that is
 * acknowledged ends it.
 *
 * Which disks were lost is asked of the disks themselves, after the group's sync: whoever's sync it
 * was that they failed in (the healer's, another group's), they are not usable any more. A disk that
 * failed after its fragments were durable counts, too: that errs on the safe side. For each m the
 * disks of all extents at risk are taken together, which errs there, too.
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

void risk_settled(struct risk *r, const struct rec_extent *rec, uint64_t seq)
{
	ENV_LOCKED(&r->lock);
	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		uint32_t disk = rec->frags[i].disk.v;

		ASSERT(r->in_flight[rec->m][disk] > 0);
		r->in_flight[rec->m][disk]--;
		r->settled_seq[rec->m][disk] = MAX(r->settled_seq[rec->m][disk], seq);
	}
}

void risk_of_group(struct risk *r, uint64_t durable_seq, struct risk_group *g)
{
	ENV_LOCKED(&r->lock);
	for (unsigned m = 0; m <= CODEC_MAX_M; m++)
		for (unsigned d = 0; d < RISK_MAX_DISKS; d++)
			g->used[m][d] = r->settled_seq[m][d] > durable_seq ||
					r->in_flight[m][d] > 0;
}

bool risk_uses(struct risk *r, uint64_t durable_seq, disk_id disk)
{
	bool uses = false;
	ENV_LOCKED(&r->lock);

	for (unsigned m = 0; m <= CODEC_MAX_M; m++)
		uses = uses || r->settled_seq[m][disk.v] > durable_seq ||
		       r->in_flight[m][disk.v] > 0;
	return uses;
}

unsigned risk_lost(const struct risk_group *g, struct disk_set *disks, bool *ret_survives)
{
	unsigned count = disk_count(disks), total = 0, lost[CODEC_MAX_M + 1] = {0};

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(disks, i);
		bool used = false;
		uint32_t id;

		if (disk_present(d) && !disk_in_doubt(d))
			continue;
		id = disk_info(d).id.v;
		for (unsigned m = 0; m <= CODEC_MAX_M; m++) {
			lost[m] += g->used[m][id];
			used = used || g->used[m][id];
		}
		total += used;
	}
	*ret_survives = true;
	for (unsigned m = 0; m <= CODEC_MAX_M; m++)
		*ret_survives = *ret_survives && lost[m] <= m;
	return total;
}
