/* SPDX-License-Identifier: Apache-2.0 */
/* Operation "rebalance": how full the disks are, what levelling them takes, and its job. What moves is decided in extent/level.c. No locks. */
#include <stdlib.h>

#include "base/words.h"
#include "ctl/call.h"

static json_t *disk_row(struct ctl_call *c, const struct extent_level_disk *now,
			const struct extent_level_disk *then)
{
	struct disk_info info = disk_info(disk_get(pool_disks(c->pool), now->id));
	json_t *o = json_object();

	set_u64(o, "id", now->id.v);
	set_text(o, "label", info.label);
	set_text(o, "domain", info.domain);
	set_u64(o, "used_bytes", now->used_bytes);
	set_u64(o, "usable_bytes", now->usable_bytes);
	set_u64(o, "then_used_bytes", then->used_bytes);
	set_u64(o, "tolerance_bytes", now->slack_bytes);
	return o;
}

static void answer_plan(struct ctl_call *c, const struct extent_level_plan *plan)
{
	json_t *o = c->answer->result, *rows = json_array();

	for (unsigned i = 0; i < plan->now.count; i++)
		json_array_append_new(rows, disk_row(c, &plan->now.disks[i], &plan->then.disks[i]));
	json_object_set_new(o, "disks", rows);
	set_u64(o, "used_bytes", plan->now.used_bytes);
	set_u64(o, "usable_bytes", plan->now.usable_bytes);
	set_u64(o, "fragments", plan->fragments);
	set_u64(o, "bytes", plan->bytes);
	set_bool(o, "is_level", extent_level_is_reached(&plan->now));
	set_bool(o, "gets_level", extent_level_is_reached(&plan->then));
}

static void answer_effort(struct ctl_call *c, uint64_t bytes, uint64_t rate)
{
	uint64_t most = pool_get_rebuild(c->pool).bytes_per_s;

	if (!rate || (most && most < rate))
		rate = most;
	set_u64(c->answer->result, "seconds", rate ? DIV_UP(bytes, rate) : 0);
}

static int begin(struct ctl_call *c, uint64_t rate)
{
	struct jobs *own = c->jobs ? NULL : jobs_load(c->pool);
	uint32_t job = 0;
	int err;

	store_accepted(c);
	err = jobs_rebalance(c->jobs ? c->jobs : own, rate, &job);
	jobs_free(own);
	if (err == DFS_EBUSY)
		return ctl_fail(c, err,
				"cannot begin to level the disks: job %u does so already; see "
				"'dynamicfs jobs'",
				job);
	if (err)
		return ctl_fail(c, err, "cannot begin to level the disks: %s", dfs_err_text(err));
	set_u64(c->answer->result, "job", job);
	return 0;
}

int op_rebalance(struct ctl_call *c)
{
	bool dry_run = c->checking || arg_bool(c, "dry_run", false);
	FREE struct extent_level_plan *plan = xcalloc(1, sizeof(*plan));
	uint64_t rate = arg_u64(c, "bytes_per_s", 0);
	int err = extent_level_plan(pool_extents(c->pool), plan);

	if (err)
		return ctl_fail(c, err, "cannot tell what lies on the disks: %s",
				dfs_err_text(err));
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", arg_bool(c, "dry_run", false));
	set_bool(c->answer->result, "running", c->jobs != NULL);
	answer_plan(c, plan);
	answer_effort(c, plan->bytes, rate);
	return dry_run || plan->bytes == 0 ? 0 : begin(c, rate);
}
