/* SPDX-License-Identifier: Apache-2.0 */
/* What the disks have, for `status`: raw, and what of it no stripe can reach since they differ in size. No locks. */
#include <stdlib.h>

#include "base/metric.h"
#include "ctl/call.h"
#include "dev/counts.h"

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

uint64_t bytes_to_disks(struct pool *p)
{
	struct disk_set *disks = pool_disks(p);
	uint64_t bytes = 0;

	for (unsigned i = 0; i < disk_count(disks); i++) {
		struct dev *dev = disk_dev(disk_at(disks, i));
		struct dev_counts c;

		if (dev && dev_counts(dev, &c))
			bytes += c.of[DEV_COUNT_WRITE].bytes;
	}
	return bytes;
}

void set_writes(json_t *o, struct pool *p)
{
	json_t *writes = json_object();

	set_u64(writes, "file_bytes", metric_get(METRIC_WRITTEN));
	set_u64(writes, "disk_bytes", bytes_to_disks(p));
	set_u64(writes, "folded_bytes", metric_get(METRIC_FOLDED_BYTES));
	set_u64(writes, "compacted_bytes", metric_get(METRIC_COMPACT_BYTES));
	json_object_set_new(o, "writes", writes);
}
