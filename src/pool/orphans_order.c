/* SPDX-License-Identifier: Apache-2.0 */
/* Orphans between live records, by order: looked for on all disks, told of, and given back (G6; extent/orphans.c does it). */
#include <stdio.h>
#include <stdlib.h>

#include "pool/internal.h"

#define TELL_NS 500000000ull

struct order {
	struct pool *p;
	const struct pool_orphans_options *opt;
	struct pool_orphans *res;
	struct disk *d;
	struct disk_info info;
	uint32_t *segments;
	unsigned count, cap;
	uint64_t told_ns;
};

static int note_segment(void *ctx, uint32_t number, uint64_t size_bytes)
{
	struct order *o = ctx;

	(void)size_bytes;
	if (o->count == o->cap) {
		o->cap = o->cap ? 2 * o->cap : 64;
		o->segments = xrealloc(o->segments, o->cap * sizeof(*o->segments));
	}
	o->segments[o->count++] = number;
	return 0;
}

static unsigned age_class(uint64_t age_s)
{
	static const uint64_t limits[POOL_ORPHAN_AGES - 1] = {3600, 86400, 7 * 86400, 30 * 86400};
	unsigned i = 0;

	while (i < ARRAY_SIZE(limits) && age_s >= limits[i])
		i++;
	return i;
}

static int note_record(void *ctx, const struct orphan_record *rec)
{
	struct order *o = ctx;
	unsigned age = age_class(rec->age_s);

	o->res->records++;
	o->res->bytes += rec->len;
	o->res->by_age[age]++;
	o->res->bytes_by_age[age] += rec->len;
	o->res->oldest_s = MAX(o->res->oldest_s, rec->age_s);
	if (rec->age_s >= o->opt->min_age_s) {
		o->res->old_records++;
		o->res->old_bytes += rec->len;
	}
	if (o->opt->found)
		o->opt->found(o->opt->ctx, &o->info, rec);
	return 0;
}

static void tell(struct order *o, unsigned at)
{
	uint64_t now = env_now_ns();
	char text[200];

	if (!o->opt->progress || now - o->told_ns < TELL_NS)
		return;
	o->told_ns = now;
	snprintf(text, sizeof(text), "disk %s: segment %u of %u, %llu orphans so far",
		 o->info.label, at, o->count, (unsigned long long)o->res->records);
	o->opt->progress(o->opt->ctx, text);
}

static int one_segment(struct order *o, uint32_t number)
{
	unsigned count;
	uint64_t bytes, before = o->res->old_records;
	int err = extent_orphans(pool_extents(o->p), o->d, number, note_record, o);

	if (!err && o->opt->remove && o->res->old_records > before) {
		err = extent_orphans_remove(pool_extents(o->p), o->d, number, o->opt->min_age_s,
					    &count, &bytes);
		o->res->removed_records += count;
		o->res->removed_bytes += bytes;
	}
	if (err == DFS_EBUSY)
		o->res->busy_segments++;
	o->res->segments++;
	return err == DFS_EBUSY || err == DFS_ENOENT || err == DFS_ENOTSUP ? 0 : err;
}

/* A disk that fails meanwhile keeps no other from being looked at. */
static int one_disk(struct order *o)
{
	int err;

	o->info = disk_info(o->d);
	o->count = 0;
	if (!disk_present(o->d) || disk_state(o->d) == DISK_SUSPECT ||
	    meta_disk_role(pool_meta(o->p), &o->info.uuid) != HISTORY_CURRENT) {
		o->res->disks_left_out++;
		return 0;
	}
	o->res->disks++;
	err = segment_list(o->d, note_segment, o);
	for (unsigned i = 0; i < o->count && !err; i++) {
		err = one_segment(o, o->segments[i]);
		tell(o, i);
	}
	if (err && (!disk_present(o->d) || disk_state(o->d) == DISK_SUSPECT)) {
		o->res->disks--;
		o->res->disks_left_out++;
		return 0;
	}
	return err;
}

int pool_orphans(struct pool *p, const struct pool_orphans_options *opt, struct pool_orphans *ret,
		 struct pool_message *msg)
{
	struct order o = {.p = p, .opt = opt, .res = ret};
	int err = 0;

	*ret = (struct pool_orphans){0};
	/* A pool that is open read-only can't give anything back, but what is there can be told. */
	ret->is_certain = p->read_only || orphans_index_is_whole(p);
	if (opt->remove && !ret->is_certain) {
		pool_say(
			msg,
			"cannot remove orphans: the metadata of the pool is not known to be whole, so they "
			"may be all there is of what was lost; see 'dynamicfs status'");
		return DFS_EREFUSED;
	}
	for (unsigned i = 0; i < disk_count(p->disks) && !err; i++) {
		o.d = disk_at(p->disks, i);
		err = one_disk(&o);
	}
	free(o.segments);
	if (ret->removed_records)
		log_info("removed %llu orphans of %llu KiB, by order",
			 (unsigned long long)ret->removed_records,
			 (unsigned long long)(ret->removed_bytes / 1024));
	return err;
}
