/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on orphans: detect-orphans (and orphan-stats, which is the same without the list), cleanup-orphans. No locks. */
#include "base/words.h"
#include "ctl/call.h"

#define LIST_DEFAULT 1000u
#define LIST_MAX 100000u
#define MIN_AGE_S 86400u

struct list {
	json_t *records; /* NULL: they are only counted */
	uint64_t limit;
};

static void found(void *ctx, const struct disk_info *disk, const struct orphan_record *o)
{
	struct list *l = ctx;
	json_t *j;

	if (!l->records || json_array_size(l->records) >= l->limit)
		return;
	j = json_object();
	set_text(j, "disk", disk->label);
	set_u64(j, "segment", o->segment);
	set_u64(j, "offset", o->offset);
	set_u64(j, "bytes", o->len);
	set_uuid(j, "extent", &o->extent.u);
	set_u64(j, "inode", o->ino.v);
	set_u64(j, "age_s", o->age_s);
	json_array_append_new(l->records, j);
}

static void progress(void *ctx, const char *text)
{
	(void)ctx;
	ctl_progress(text);
}

static json_t *ages_json(const struct pool_orphans *r)
{
	static const char *const names[POOL_ORPHAN_AGES] = {"hour", "day", "week", "30_days",
							    "older"};
	json_t *list = json_array();

	for (unsigned i = 0; i < POOL_ORPHAN_AGES; i++) {
		json_t *o = json_object();

		set_text(o, "below", names[i]);
		set_u64(o, "records", r->by_age[i]);
		set_u64(o, "bytes", r->bytes_by_age[i]);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *result_json(const struct pool_orphans *r, uint64_t min_age_s)
{
	json_t *o = json_object();

	set_u64(o, "records", r->records);
	set_u64(o, "bytes", r->bytes);
	set_u64(o, "min_age_s", min_age_s);
	set_u64(o, "old_records", r->old_records);
	set_u64(o, "old_bytes", r->old_bytes);
	set_u64(o, "removed_records", r->removed_records);
	set_u64(o, "removed_bytes", r->removed_bytes);
	set_u64(o, "oldest_s", r->oldest_s);
	json_object_set_new(o, "by_age", ages_json(r));
	set_u64(o, "segments", r->segments);
	set_u64(o, "busy_segments", r->busy_segments);
	set_u64(o, "disks", r->disks);
	set_u64(o, "disks_left_out", r->disks_left_out);
	set_bool(o, "certain", r->is_certain);
	return o;
}

static int run(struct ctl_call *c, bool remove, struct list *l)
{
	struct pool_orphans_options opt = {.min_age_s = arg_u64(c, "min_age_s", MIN_AGE_S),
					   .remove = remove,
					   .found = found,
					   .progress = progress,
					   .ctx = l};
	struct pool_message msg = {.text = ""};
	struct pool_orphans r;
	int err = pool_orphans(c->pool, &opt, &r, &msg);

	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot look for orphans in the pool %s",
				     c->pool_dir);
	c->answer->result = result_json(&r, opt.min_age_s);
	if (!r.is_certain)
		ctl_warn(
			c,
			"the metadata of the pool is not known to be whole: what is counted here may "
			"be all there is of what was lost, and is not removed");
	if (r.disks_left_out)
		ctl_warn(
			c,
			"%u %s not there, not up to date, or added since the mount: nothing was looked for on %s",
			r.disks_left_out, plural(r.disks_left_out, "disk is", "disks are"),
			plural(r.disks_left_out, "it", "them"));
	return 0;
}

int op_detect_orphans(struct ctl_call *c)
{
	bool stats = arg_bool(c, "stats", false);
	struct list l = {.records = stats ? NULL : json_array(),
			 .limit = MIN(arg_u64(c, "limit", LIST_DEFAULT), LIST_MAX)};
	int err = run(c, false, &l);

	if (!err && l.records)
		json_object_set(c->answer->result, "orphans", l.records);
	json_decref(l.records);
	return err;
}

int op_cleanup_orphans(struct ctl_call *c)
{
	struct list l = {0};

	/* While it is only tried, or asked for, nothing goes. */
	return run(c, !c->checking && !arg_bool(c, "dry_run", false), &l);
}
