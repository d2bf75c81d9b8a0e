/* SPDX-License-Identifier: Apache-2.0 */
/* What the disks have, for `status`: raw, and what of it no stripe can reach since they differ in size. No locks. */
#include <stdlib.h>

#include "ctl/call.h"

#define EXTENT_BYTES MIB(1)

/* How many of the disks share the filesystem of this one. */
static unsigned sharers(const struct pool_disk_status *v, unsigned count, unsigned of)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		n += i == of || (v[i].present && v[of].fs_id && v[i].fs_id == v[of].fs_id);
	return n;
}

/* Of the free space of these disks: what is left when as many stripes lie there as fit. */
static uint64_t stranded(const struct place_disk *disks, unsigned count, struct geometry g)
{
	unsigned width = (unsigned)g.k + g.m;
	uint64_t fragment, slots = 0, stripes;

	if (g.k == 0)
		return 0; /* nothing fits: `status` says why */
	fragment = record_len(1, record_payload_len(g.k, EXTENT_BYTES));
	stripes = place_stripes(disks, count, width, fragment);
	for (unsigned i = 0; i < count; i++)
		slots += disks[i].eligible ? disks[i].free_bytes / fragment : 0;
	return (slots - MIN(slots, stripes * width)) * fragment;
}

void set_capacity(json_t *space, struct pool *p, struct geometry g)
{
	unsigned count = 0, max = disk_count(pool_disks(p)) + 1;
	struct pool_disk_status *v = xcalloc(max, sizeof(*v));
	struct place_disk *disks = xcalloc(max, sizeof(*disks));
	uint64_t raw = 0, free_bytes = 0, stored = 0;

	while (count < max && disk_status_now(p, count, &v[count]))
		count++;
	for (unsigned i = 0; i < count; i++) {
		unsigned n = sharers(v, count, i);

		stored += v[i].used_bytes;
		if (!v[i].present)
			continue;
		raw += v[i].total_bytes / n;
		disks[i] = (struct place_disk){.id = v[i].info.id,
					       .free_bytes = v[i].free_bytes / n,
					       .domain = v[i].info.domain,
					       .eligible = v[i].takes_data};
		free_bytes += v[i].takes_data ? disks[i].free_bytes : 0;
	}
	set_u64(space, "raw_bytes", raw);
	set_u64(space, "raw_free_bytes", free_bytes);
	set_u64(space, "stored_bytes", stored);
	set_u64(space, "stranded_bytes", stranded(disks, count, g));
	free(disks);
	free(v);
}
