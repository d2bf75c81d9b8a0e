/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: a snapshot of the disks for place/, and the one capacity function (P6).
 */
#include <stdio.h>
#include <stdlib.h>

#include "extent/internal.h"

struct place_snapshot *place_snapshot_new(struct extent_store *s)
{
	struct place_snapshot *snap = xcalloc(1, sizeof(*snap));
	unsigned count = MIN(disk_count(s->cfg.disks), PLACE_MAX_DISKS);

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(s->cfg.disks, i);
		struct disk_info info = disk_info(d);
		struct place_disk *p = &snap->disks[snap->count];

		memcpy(snap->domains[snap->count], info.domain, sizeof(info.domain));
		p->id = info.id;
		p->domain = snap->domains[snap->count];
		p->eligible = disk_present(d) && info.state == DISK_HEALTHY;
		p->free_bytes = p->eligible ? disk_free_bytes(d) : 0;
		snap->count++;
	}
	return snap;
}

/* Domains that could hold a fragment each, whatever space they have. */
static unsigned eligible_domains(const struct place_snapshot *snap)
{
	unsigned n = 0;

	for (unsigned i = 0; i < snap->count; i++) {
		const struct place_disk *d = &snap->disks[i];
		bool seen = false;

		for (unsigned j = 0; j < i && d->domain[0]; j++)
			seen |= snap->disks[j].eligible &&
				!strcmp(snap->disks[j].domain, d->domain);
		n += d->eligible && !seen;
	}
	return n;
}

/*
 * place_fit narrows down to one copy; but tolerance is given up only for want of disks, never for
 * want of space: a pool whose disks are full says so instead of storing less safely.
 */
int place_snapshot_fit(const struct place_snapshot *snap, struct geometry wanted,
		       uint64_t extent_bytes, struct geometry *ret_geometry)
{
	struct place_geometry fit;
	unsigned domains = eligible_domains(snap);
	int err;

	err = place_fit(snap->disks, snap->count, (struct place_geometry){wanted.k, wanted.m},
			extent_bytes, &fit);
	if (err)
		return err;
	if (fit.m < wanted.m && domains > (unsigned)fit.m + 1)
		return DFS_ENOSPC;
	*ret_geometry = (struct geometry){fit.k, fit.m};
	return 0;
}

/* Consumes the snapshot's free space. */
static uint64_t usable_bytes(struct place_snapshot *snap, struct geometry g)
{
	struct geometry fit;
	uint64_t total = 0;

	/* Fill as placement would: the widest stripes first, then what the larger disks still allow. */
	for (unsigned step = 0; step < CODEC_MAX_WIDTH; step++) {
		uint64_t stripes, record_bytes;

		if (place_snapshot_fit(snap, g, EXTENT_MAX_BYTES, &fit))
			break;
		record_bytes = record_len(1, codec_fragment_len(fit, EXTENT_MAX_BYTES));
		stripes = place_stripes(snap->disks, snap->count, (unsigned)fit.k + fit.m,
					record_bytes);
		if (stripes == 0)
			break;
		total += stripes * EXTENT_MAX_BYTES;
		for (unsigned i = 0; i < snap->count; i++) {
			struct place_disk *d = &snap->disks[i];

			d->free_bytes -= MIN(d->free_bytes / record_bytes, stripes) * record_bytes;
		}
	}
	return total;
}

uint64_t extent_usable_bytes(struct extent_store *s, struct geometry g)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	return usable_bytes(snap, g);
}

#define HOLD_ROUNDS 4 /* each asks every disk for twice as much */

uint64_t extent_hold_bytes(struct extent_store *s, struct geometry g, uint64_t bytes)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);
	FREE struct place_snapshot *held = xmalloc(sizeof(*held));
	unsigned width = (unsigned)g.k + g.m, eligible = 0;
	uint64_t each, usable = 0;

	for (unsigned i = 0; i < snap->count; i++)
		eligible += snap->disks[i].eligible;
	each = bytes / g.k * width / MAX(eligible, width) + 2 * EXTENT_MAX_BYTES;
	for (unsigned round = 0; round < HOLD_ROUNDS; round++, each *= 2) {
		bool all = true;

		*held = *snap;
		for (unsigned i = 0; i < snap->count; i++) {
			struct place_disk *d = &held->disks[i];
			uint64_t got;

			d->domain = held->domains[i];
			if (!d->eligible)
				continue;
			got = disk_hold_bytes(disk_get(s->cfg.disks, d->id), each);
			all &= got < each;
			d->free_bytes = MIN(d->free_bytes, got);
		}
		usable = usable_bytes(held, g);
		if (usable >= bytes || all)
			break;
	}
	return usable;
}

uint64_t extent_usable_bytes_with(struct extent_store *s, struct geometry g, uint64_t free_bytes,
				  const char *domain)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	if (snap->count < PLACE_MAX_DISKS) {
		snprintf(snap->domains[snap->count], sizeof(snap->domains[0]), "%s", domain);
		snap->disks[snap->count] = (struct place_disk){
			.id = {UINT32_MAX},
			.free_bytes = free_bytes,
			.domain = snap->domains[snap->count],
			.eligible = true,
		};
		snap->count++;
	}
	return usable_bytes(snap, g);
}

int extent_fit(struct extent_store *s, struct geometry g, struct geometry *ret_geometry)
{
	FREE struct place_snapshot *snap = place_snapshot_new(s);

	return place_snapshot_fit(snap, g, EXTENT_MAX_BYTES, ret_geometry);
}
