/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that have a disk leave: remove-disk, replace-disk. What may leave is decided in pool/. No locks. */
#include <stdlib.h>

#include "ctl/call.h"

static void answer_plan(struct ctl_call *c, const struct pool_drain_plan *plan)
{
	json_t *o = c->answer->result;

	json_object_set_new(o, "disk", info_json(&plan->info));
	set_bool(o, "present", plan->is_there);
	set_u64(o, "disks_left", plan->disks_left);
	set_u64(o, "extents", plan->content.extents);
	set_u64(o, "bytes", plan->content.bytes);
	set_u64(o, "extents_narrowed", plan->content.narrowed);
	set_u64(o, "extents_reduced", plan->content.unplaced);
	set_u64(o, "extents_without_room", plan->content.homeless);
	set_u64(o, "extents_lost", plan->content.lost + plan->content.unknown);
	set_u64(o, "seconds", plan->seconds);
	set_u64(o, "usable_after_bytes", plan->usable_bytes);
}

static void answer_job(struct ctl_call *c, disk_id id)
{
	struct jobs *own = c->jobs ? NULL : jobs_load(c->pool);
	uint32_t job = jobs_find(c->jobs ? c->jobs : own, JOB_DRAIN, id);

	jobs_free(own);
	if (job)
		set_u64(c->answer->result, "job", job);
	set_bool(c->answer->result, "running", c->jobs != NULL);
}

/* Has it removed, or finds out whether that would be allowed: pool/ judges both. */
static int remove_or_plan(struct ctl_call *c, const char *uuid, struct pool_drain_plan *plan)
{
	bool force = arg_bool(c, "force", false);
	bool dry_run = c->checking || arg_bool(c, "dry_run", false);
	struct pool_message msg = {.text = ""};
	int err;

	if (!dry_run)
		store_accepted(c);
	err = dry_run ? pool_plan_drain(c->pool, uuid, plan, &msg)
		      : pool_drain(c->pool, uuid, force, plan, &msg);
	if (err != DFS_ENODISK)
		answer_plan(c, plan);
	if (err == DFS_EREFUSED && dry_run && force && plan->disks_left)
		err = 0;
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot remove disk %s", plan->info.label);
	if (!dry_run)
		answer_job(c, plan->info.id);
	return 0;
}

int op_remove_disk(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk");
	char uuid[UUID_TEXT_LEN + 1];
	struct pool_drain_plan *plan;
	struct disk_info info;
	int err;

	if (!which)
		return ctl_fail(c, DFS_EUSAGE, "cannot remove a disk: name it with --disk");
	if (disk_info_named(c, which, &info))
		return DFS_ENODISK;
	plan = xcalloc(1, sizeof(*plan));
	plan->info = info;
	uuid_format(&info.uuid, uuid);
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", arg_bool(c, "dry_run", false));
	err = remove_or_plan(c, uuid, plan);
	free(plan);
	return err;
}

/* The new disk first: it is the emptiest, so what the old one holds goes there above all. */
static int add_successor(struct ctl_call *c, const char *path, bool dry_run)
{
	struct pool_disk_spec spec = {.path = path,
				      .label = arg_text(c, "label"),
				      .domain = arg_text(c, "domain"),
				      .dry_run = dry_run};
	struct disk_info *info = xcalloc(1, sizeof(*info));
	struct pool_message msg = {.text = ""};
	bool same_fs = false;
	int err = pool_add_disk(c->pool, &spec, info, &same_fs, &msg);

	if (!err && !dry_run)
		json_object_set_new(c->answer->result, "new_disk", info_json(info));
	free(info);
	if (!err)
		return 0;
	return ctl_fail_pool(c, err == DFS_ENOENT ? DFS_ENODISK : err, &msg, "cannot add %s", path);
}

/* The new one has come already when the old one can't leave: that is told, and it stays. */
static int drain_replaced(struct ctl_call *c, const char *uuid, const char *path)
{
	struct pool_drain_plan *plan = xcalloc(1, sizeof(*plan));
	struct pool_message msg = {.text = ""};
	int err = pool_drain(c->pool, uuid, arg_bool(c, "force", false), plan, &msg);
	disk_id id = plan->info.id;

	if (err != DFS_ENODISK)
		answer_plan(c, plan);
	free(plan);
	if (!err)
		answer_job(c, id);
	if (!err)
		return 0;
	return ctl_fail(c, err, "%s is added, but the old disk stays: %s", path,
			msg.text[0] ? msg.text : dfs_err_text(err));
}

int op_replace_disk(struct ctl_call *c)
{
	FREE char *path = ctl_path_from_json(json_object_get(c->args, "new"));
	const char *old = arg_text(c, "disk");
	bool dry_run = c->checking || arg_bool(c, "dry_run", false);
	char uuid[UUID_TEXT_LEN + 1];
	struct disk_info info;
	int err;

	if (!old || !path)
		return ctl_fail(
			c, DFS_EUSAGE,
			"cannot replace a disk: name it with --old, and the new one with --new");
	if (disk_info_named(c, old, &info))
		return DFS_ENODISK;
	uuid_format(&info.uuid, uuid);
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", dry_run);
	json_object_set_new(c->answer->result, "disk", info_json(&info));
	if (!dry_run)
		store_accepted(c);
	err = add_successor(c, path, dry_run);
	return err || dry_run ? err : drain_replaced(c, uuid, path);
}
