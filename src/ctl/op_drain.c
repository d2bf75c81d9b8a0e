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

/* ---- replace-disk ---- */

struct replacing {
	struct disk_info old, new; /* new.id 0: it is no disk of the pool yet */
	char uuid[UUID_TEXT_LEN + 1];
	struct pool_disk_spec spec;
	struct pool_drain_plan plan;
};

/* Which disks are meant. The new one may be of the pool already: it was added before. */
static int find_both(struct ctl_call *c, const char *old, struct replacing *r)
{
	struct disk_views views;

	if (disk_info_named(c, old, &r->old))
		return DFS_ENODISK;
	disk_views_take(c->pool, &views);
	for (unsigned i = 0; i < views.count; i++)
		if (!strcmp(views.v[i].info.path, r->spec.path) && !views.v[i].given_up &&
		    views.v[i].id.v != r->old.id.v)
			r->new = views.v[i].info;
	disk_views_release(&views);
	uuid_format(&r->old.uuid, r->uuid);
	if (!r->spec.domain)
		r->spec.domain = r->old.domain;
	if (r->new.id.v && r->spec.label)
		return ctl_fail(
			c, DFS_EUSAGE,
			"cannot go on: %s is disk %s of the pool already; 'dynamicfs set-label' "
			"gives it another label",
			r->spec.path, r->new.label);
	return 0;
}

static int add_new(struct ctl_call *c, struct replacing *r, bool dry_run)
{
	struct pool_message msg = {.text = ""};
	struct disk_info *info = xcalloc(1, sizeof(*info));
	bool same_fs = false;
	int err;

	r->spec.dry_run = dry_run;
	err = pool_add_disk(c->pool, &r->spec, info, &same_fs, &msg);
	if (!err && !dry_run)
		r->new = *info;
	free(info);
	if (!err)
		return 0;
	return ctl_fail_pool(c, err == DFS_ENOENT ? DFS_ENODISK : err, &msg, "cannot add %s",
			     r->spec.path);
}

/* All that speaks against it is found before anything is done. */
static int plan_replacing(struct ctl_call *c, struct replacing *r)
{
	struct pool_message msg = {.text = ""};
	struct disk_room room;
	bool is_new = !r->new.id.v;
	int err = is_new ? add_new(c, r, true) : 0;

	if (err)
		return err;
	if (is_new && !room_when_new(r->spec.path, 0, &room))
		return ctl_fail(c, DFS_EIO, "cannot tell what room %s has; nothing was changed",
				r->spec.path);
	err = pool_plan_replace(c->pool, r->uuid, is_new ? &room : NULL, r->spec.domain, &r->plan,
				&msg);
	if (err != DFS_ENODISK)
		answer_plan(c, &r->plan);
	if (err == DFS_EREFUSED && arg_bool(c, "force", false) && r->plan.disks_left)
		return 0;
	return err ? ctl_fail_pool(c, err, &msg, "cannot replace disk %s", r->old.label) : 0;
}

/* The new one may have come when it turns out that the old one can't leave: that is told, and it stays. */
static int replace(struct ctl_call *c, struct replacing *r)
{
	struct pool_message msg = {.text = ""};
	bool was_there = r->new.id.v;
	int err;

	store_accepted(c);
	err = was_there ? 0 : add_new(c, r, false);
	if (err)
		return err;
	json_object_set_new(c->answer->result, "new_disk", info_json(&r->new));
	set_bool(c->answer->result, "new_disk_was_there", was_there);
	err = pool_replace(c->pool, r->uuid, r->new.id, !r->spec.label, arg_bool(c, "force", false),
			   &r->plan, &msg);
	if (!err) {
		set_text(c->answer->result, "label", r->spec.label ? r->new.label : r->old.label);
		answer_job(c, r->old.id);
		return 0;
	}
	return ctl_fail(c, err, "%s is %s, but the old disk stays: %s", r->spec.path,
			was_there ? "a disk of the pool" : "added",
			msg.text[0] ? msg.text : dfs_err_text(err));
}

int op_replace_disk(struct ctl_call *c)
{
	FREE char *path = ctl_path_from_json(json_object_get(c->args, "new"));
	FREE struct replacing *r = xcalloc(1, sizeof(*r));
	const char *old = arg_text(c, "disk");
	bool dry_run = c->checking || arg_bool(c, "dry_run", false);
	int err;

	if (!old || !path)
		return ctl_fail(
			c, DFS_EUSAGE,
			"cannot replace a disk: name it with --old, and the new one with --new");
	r->spec = (struct pool_disk_spec){
		.path = path, .label = arg_text(c, "label"), .domain = arg_text(c, "domain")};
	err = find_both(c, old, r);
	if (err)
		return err;
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", dry_run);
	json_object_set_new(c->answer->result, "disk", info_json(&r->old));
	err = plan_replacing(c, r);
	return err || dry_run ? err : replace(c, r);
}
