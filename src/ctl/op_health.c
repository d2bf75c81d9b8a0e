/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on the health of disks: probe-disks, set-disk-health. What they do is pool/health_trial.c's. No locks. */
#include "ctl/call.h"

static json_t *probed_json(struct ctl_call *c, const struct pool_disk_status *s,
			   const struct dev_trial *t)
{
	struct disk *d = disk_get(pool_disks(c->pool), s->info.id);
	json_t *o = json_object();

	set_u64(o, "id", s->info.id.v);
	set_text(o, "label", s->info.label);
	set_text(o, "path", s->info.path);
	set_text(o, "was", disk_state_name(s->info.state));
	set_text(o, "state", disk_state_name(disk_state(d)));
	set_bool(o, "passed", t->err == 0);
	set_text(o, "step", t->step);
	set_text(o, "error", t->err ? dfs_err_text(t->err) : "");
	set_u64(o, "write_us", t->write_ns / 1000);
	set_u64(o, "sync_us", t->sync_ns / 1000);
	set_u64(o, "read_us", t->read_ns / 1000);
	set_bool(o, "past_cache", !t->from_cache);
	return o;
}

int op_probe_disks(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk");
	struct disk_info only = {0};
	struct pool_disk_status s;
	unsigned failed = 0, count = 0;
	json_t *list;

	if (which && disk_info_named(c, which, &only))
		return DFS_ENODISK;
	list = json_array();
	for (unsigned i = 0; !c->checking && pool_disk_status(c->pool, i, &s); i++) {
		struct dev_trial t;

		if (s.given_up || (which && s.info.id.v != only.id.v))
			continue;
		count++;
		failed += pool_probe_disk(c->pool, s.info.id, &t) != 0;
		json_array_append_new(list, probed_json(c, &s, &t));
	}
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "disks", list);
	if (failed)
		return ctl_fail(c, DFS_EDAMAGED,
				"%u of %u disks failed: see 'dynamicfs status' for what to do",
				failed, count);
	return 0;
}

int op_set_disk_health(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk"), *word = arg_text(c, "state");
	struct pool_message msg = {.text = ""};
	enum disk_state to;
	struct disk_info info;
	int err;

	if (!which || !word)
		return ctl_fail(c, DFS_EUSAGE,
				"cannot go on: name a disk with --disk, and a state");
	if (disk_state_parse(word, &to))
		return ctl_fail(c, DFS_EUSAGE,
				"cannot go on: %s is no state; healthy, degraded and suspect are",
				word);
	if (disk_info_named(c, which, &info))
		return DFS_ENODISK;
	if (!c->checking && to != DISK_HEALTHY)
		store_accepted(c);
	err = pool_set_disk_health(c->pool, info.id, to, arg_text(c, "reason"), c->checking, &msg);
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot make disk %s %s", which, word);
	c->answer->result = json_object();
	set_text(c->answer->result, "disk", which);
	set_text(c->answer->result, "state",
		 disk_state_name(disk_state(disk_get(pool_disks(c->pool), info.id))));
	set_text(c->answer->result, "reason", arg_text(c, "reason") ? arg_text(c, "reason") : "");
	return 0;
}
