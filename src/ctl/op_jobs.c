/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on background work: jobs, order-job. No locks. */
#include "ctl/call.h"

static const char *state_name(uint8_t state)
{
	switch ((enum job_state)state) {
	case JOB_WAITING:
		return "waiting";
	case JOB_RUNNING:
		return "running";
	case JOB_PAUSED:
		return "paused";
	case JOB_DONE:
		return "done";
	case JOB_CANCELLED:
		return "cancelled";
	}
	return "unknown";
}

/* scrub: the newest one; with_list: with all that it found. */
static json_t *job_json(struct ctl_call *c, const struct job_status *s,
			const struct rec_scrub *scrub, bool with_list)
{
	struct disk *d = disk_get(pool_disks(c->pool), s->rec.disk);
	json_t *o = json_object();

	set_u64(o, "id", s->rec.id);
	set_text(o, "kind", s->kind);
	set_text(o, "state", state_name(s->rec.state));
	set_text(o, "disk", d ? disk_info(d).label : "");
	set_u64(o, "total_bytes", s->rec.total_bytes);
	set_u64(o, "done_bytes", s->rec.total_bytes - MIN(s->rec.total_bytes, s->left_bytes));
	set_u64(o, "left_bytes", s->left_bytes);
	set_u64(o, "fragments", s->rec.made);
	set_u64(o, "stuck_extents", s->rec.stuck);
	set_u64(o, "bytes_per_s", s->bytes_per_s);
	set_u64(o, "left_s", s->left_s);
	set_u64(o, "due_in_s", s->due_in_s);
	set_u64(o, "created_s", s->rec.created_ns / 1000000000ull);
	set_u64(o, "changed_s", s->rec.changed_ns / 1000000000ull);
	set_u64(o, "changed_ms", s->rec.changed_ns / 1000000ull);
	set_u64(o, "created_ms", s->rec.created_ns / 1000000ull);
	set_text(o, "reason", s->reason);
	if (scrub && scrub->job == s->rec.id)
		json_object_set_new(o, "scrub", scrub_json(c, scrub, with_list));
	return o;
}

/* id 0: all */
static json_t *list_of(struct ctl_call *c, uint64_t id, bool with_list)
{
	struct job_status *v = xcalloc(JOBS_MAX, sizeof(*v));
	struct jobs *own = c->jobs ? NULL : jobs_load(c->pool);
	unsigned n = jobs_list(c->jobs ? c->jobs : own, v, JOBS_MAX);
	struct rec_scrub *scrub = xmalloc(sizeof(*scrub));
	json_t *list = json_array();

	jobs_scrub_status(c->jobs ? c->jobs : own, scrub);
	for (unsigned i = 0; i < n; i++)
		if (!id || v[i].rec.id == id)
			json_array_append_new(list, job_json(c, &v[i], scrub, with_list));
	free(scrub);
	jobs_free(own);
	free(v);
	return list;
}

json_t *jobs_json(struct ctl_call *c) { return list_of(c, 0, false); }

static int answer_with(struct ctl_call *c, json_t *list)
{
	c->answer->result = json_object();
	set_bool(c->answer->result, "running", c->jobs != NULL);
	json_object_set_new(c->answer->result, "jobs", list);
	return 0;
}

/* With an id: of that job only. */
int op_jobs(struct ctl_call *c)
{
	uint64_t id = arg_u64(c, "id", 0);
	json_t *list = list_of(c, id, true);

	if (id && json_array_size(list) == 0) {
		json_decref(list);
		return ctl_fail(c, DFS_ENOENT,
				"cannot find job %llu: there is no such job; see 'dynamicfs jobs'",
				(unsigned long long)id);
	}
	(void)answer_with(c, list);
	if (id)
		set_u64(c->answer->result, "job", id);
	return 0;
}

int op_order_job(struct ctl_call *c)
{
	static const char *const words[] = {"pause", "resume", "cancel"};
	const char *order = arg_text(c, "order");
	uint32_t id = (uint32_t)arg_u64(c, "id", 0);
	struct jobs *own = NULL;
	unsigned which = 0;
	int err;

	while (which < ARRAY_SIZE(words) && (!order || strcmp(order, words[which]) != 0))
		which++;
	if (which == ARRAY_SIZE(words))
		return ctl_fail(c, DFS_EINVAL,
				"cannot order a job to do so: pause, resume or cancel");
	if (c->checking)
		return 0;
	own = c->jobs ? NULL : jobs_load(c->pool);
	err = jobs_order(c->jobs ? c->jobs : own, id, (enum job_order)which);
	jobs_free(own);
	if (err == DFS_ENOENT)
		return ctl_fail(c, err,
				"cannot %s job %u: there is no such job; see 'dynamicfs jobs'",
				order, id);
	if (err == DFS_EINVAL)
		return ctl_fail(
			c, DFS_EEXIST,
			"cannot %s job %u: it is not in a state for that; see 'dynamicfs jobs'",
			order, id);
	if (err)
		return ctl_fail(c, err, "cannot %s job %u: %s", order, id, dfs_err_text(err));
	return answer_with(c, jobs_json(c));
}
