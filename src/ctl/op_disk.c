/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on disks: list-disks, add-disk, fail-disk. What may become a disk and what may be
 * failed is decided in pool/; here is what a person is told about it, also beforehand (P11). No locks.
 */
#include <stdlib.h>

#include "ctl/call.h"

int op_list_disks(struct ctl_call *c)
{
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "disks", disks_array(c->pool));
	return 0;
}

static json_t *info_json(const struct disk_info *info)
{
	json_t *o = json_object();

	set_u64(o, "id", info->id.v);
	set_uuid(o, "uuid", &info->uuid);
	set_text(o, "label", info->label);
	set_text(o, "domain", info->domain);
	set_text(o, "path", info->path);
	set_text(o, "state", disk_state_name(info->state));
	set_u64(o, "capacity_bytes", info->capacity_bytes);
	return o;
}

static void set_fail_plan(json_t *o, struct ctl_call *c, disk_id id)
{
	struct safety_table *table = xmalloc(sizeof(*table));
	struct disk_views views;
	json_t *after = json_object();
	bool whole;

	disk_views_take(c->pool, &views);
	for (unsigned i = 0; i < views.count; i++)
		if (views.v[i].id.v == id.v)
			views.v[i].present = false;
	if (safety_scan(c->pool, &views, 0, table, &whole) == 0)
		set_safety(after, &table->total);
	json_object_set_new(o, "redundancy_after", after);
	disk_views_release(&views);
	free(table);
}

int op_fail_disk(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk");
	bool dry_run = arg_bool(c, "dry_run", false);
	struct pool_message msg = {.text = ""};
	const struct disk_view *d;
	struct disk_views views;
	struct disk_info *info;
	char uuid[UUID_TEXT_LEN + 1];
	int err;

	if (!which)
		return ctl_fail(c, DFS_EUSAGE, "cannot fail a disk: name it with --disk");
	disk_views_take(c->pool, &views);
	d = disk_views_named(c, &views, which);
	if (!d) {
		disk_views_release(&views);
		return DFS_ENODISK;
	}
	info = xmalloc(sizeof(*info));
	*info = d->info;
	disk_views_release(&views);
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", dry_run);
	set_fail_plan(c->answer->result, c, info->id);
	uuid_format(&info->uuid, uuid);
	err = dry_run ? 0 : pool_fail_disk(c->pool, uuid, arg_bool(c, "force", false), info, &msg);
	if (err)
		err = ctl_fail_pool(c, err, &msg, "cannot fail disk %s", info->label);
	else if (msg.text[0])
		ctl_warn(c, "%s", msg.text);
	json_object_set_new(c->answer->result, "disk", info_json(info));
	free(info);
	return err;
}
