/* SPDX-License-Identifier: Apache-2.0 */
/* Operation "scrub", and what the newest one found, as `scrub`, `jobs` and `status` show it. No locks. */
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/words.h"
#include "ctl/call.h"

static const char *issue_name(int err)
{
	switch (err) {
	case DFS_EGONE:
	case DFS_ENODISK:
		return "absent";
	case DFS_ENOENT:
		return "missing";
	case DFS_EIO:
		return "unreadable";
	case DFS_ETIMEDOUT:
	case DFS_ELATE:
		return "silent";
	default:
		return "damaged";
	}
}

static const char *verdict_name(uint8_t verdict)
{
	switch ((enum scrub_verdict)verdict) {
	case SCRUB_DEGRADED:
		return "degraded";
	case SCRUB_REPAIRED:
		return "repaired";
	case SCRUB_UNRECOVERABLE:
		return "unrecoverable";
	}
	return "unknown";
}

static const char *phase_name(uint8_t phase)
{
	switch ((enum scrub_phase)phase) {
	case SCRUB_FRAGMENTS:
		return "fragments";
	case SCRUB_INDEX:
		return "index";
	case SCRUB_METADATA:
		return "metadata";
	case SCRUB_ENDED:
		return "ended";
	}
	return "unknown";
}

struct listing {
	struct ctl_call *c;
	json_t *list;
};

static json_t *issue_json(struct ctl_call *c, const struct scrub_issue *i)
{
	struct disk *d = i->disk.v ? disk_get(pool_disks(c->pool), i->disk) : NULL;
	json_t *o = json_object();

	set_u64(o, "fragment", i->index);
	set_text(o, "issue", issue_name(-(int)i->err));
	set_text(o, "error", dfs_err_text(-(int)i->err));
	set_u64(o, "disk_id", i->disk.v);
	set_text(o, "disk", d ? disk_info(d).label : "");
	set_u64(o, "segment", i->segment);
	set_u64(o, "offset", i->offset);
	return o;
}

static int add_finding(void *ctx, const struct rec_finding *f)
{
	struct listing *l = ctx;
	json_t *o = json_object(), *issues = json_array();
	char path[4096];

	pool_inode_path(l->c->pool, f->ino, path, sizeof(path));
	set_uuid(o, "extent", &f->id.u);
	set_text(o, "state", verdict_name(f->verdict));
	set_u64(o, "inode", f->ino.v);
	set_text(o, "path", path);
	set_geometry(o, "geometry", (struct geometry){f->k, f->m});
	set_u64(o, "found_s", f->wall_ns / 1000000000ull);
	set_text(o, "error", f->err ? dfs_err_text(-(int)f->err) : "");
	for (unsigned i = 0; i < f->count; i++)
		json_array_append_new(issues, issue_json(l->c, &f->issues[i]));
	json_object_set_new(o, "issues", issues);
	json_array_append_new(l->list, o);
	return 0;
}

static int add_note(void *ctx, const struct rec_note *n)
{
	struct listing *l = ctx;
	json_t *o = json_object();

	set_text(o, "text", n->text);
	set_bool(o, "repaired", n->is_repaired);
	json_array_append_new(l->list, o);
	return 0;
}

static void set_counts(struct ctl_call *c, json_t *o, const struct rec_scrub *r)
{
	const struct scrub_counts *n = &r->counts;
	uint64_t all = (uint64_t)MAX(meta_counter(pool_meta(c->pool), META_COUNT_EXTENTS), 0);
	uint64_t touched = n->degraded + n->repaired + n->unrecoverable;

	set_u64(o, "bytes", n->bytes);
	set_u64(o, "fragments", n->fragments);
	set_u64(o, "index_records", n->records);
	if (r->disk.v == 0)
		set_u64(o, "extents_healthy", all - MIN(all, touched));
	set_u64(o, "extents_degraded", n->degraded);
	set_u64(o, "extents_repaired", n->repaired);
	set_u64(o, "extents_unrecoverable", n->unrecoverable);
	set_u64(o, "fragments_made", n->made);
	set_u64(o, "fragments_not_there", n->away);
	set_u64(o, "metadata_problems", n->metadata);
	set_u64(o, "metadata_repaired", n->metadata_repaired);
	set_u64(o, "damage_left",
		n->degraded + n->unrecoverable + n->metadata - n->metadata_repaired);
}

json_t *scrub_json(struct ctl_call *c, const struct rec_scrub *r, bool with_list)
{
	struct listing extents = {c, json_array()}, notes = {c, json_array()};
	struct disk *d = r->disk.v ? disk_get(pool_disks(c->pool), r->disk) : NULL;
	json_t *o = json_object();

	set_u64(o, "job", r->job);
	set_text(o, "phase", phase_name(r->phase));
	set_bool(o, "repair", r->flags & SCRUB_REPAIR);
	set_bool(o, "background", r->flags & SCRUB_BACKGROUND);
	set_text(o, "disk", d ? disk_info(d).label : "");
	set_u64(o, "rate_bytes_per_s", r->bytes_per_s);
	set_u64(o, "began_s", r->began_ns / 1000000000ull);
	set_u64(o, "ended_s", r->ended_ns / 1000000000ull);
	set_counts(c, o, r);
	if (with_list && (each_finding(pool_meta(c->pool), add_finding, &extents) ||
			  each_note(pool_meta(c->pool), add_note, &notes)))
		ctl_warn(c, "not all that the scrub found can be read from the index");
	if (with_list) {
		json_object_set(o, "extents", extents.list);
		json_object_set(o, "metadata", notes.list);
	}
	json_decref(extents.list);
	json_decref(notes.list);
	return o;
}

/* ---- scrubs that nobody orders ---- */

json_t *schedule_json(struct ctl_call *c)
{
	struct rec_schedule when;
	json_t *o = json_object();

	if (get_schedule(pool_meta(c->pool), &when))
		return o;
	set_u64(o, "interval_s", when.interval_s);
	set_bool(o, "on", when.interval_s < SCRUB_OFF);
	set_bool(o, "repair", when.repair);
	return o;
}

int set_schedule(struct ctl_call *c)
{
	struct rec_schedule now = {0}, when;
	struct meta_txn *t;
	uint64_t seq;
	int err;

	if (!json_object_get(c->args, "scrub_interval_s") &&
	    !json_object_get(c->args, "repair_auto"))
		return 0;
	if (!pool_has_disks(c->pool))
		return ctl_fail(
			c, DFS_ENODISK,
			"cannot say when to scrub: the pool has no disk yet; add one first");
	(void)!get_schedule(pool_meta(c->pool), &now); /* what is damaged is written anew */
	when = (struct rec_schedule){arg_u64(c, "scrub_interval_s", now.interval_s),
				     arg_bool(c, "repair_auto", now.repair)};
	if (when.interval_s == 0)
		return ctl_fail(
			c, DFS_EINVAL,
			"cannot scrub all the time: give an interval of a second or more, or off");
	t = meta_begin(pool_meta(c->pool));
	put_schedule(t, &when);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(pool_meta(c->pool), seq);
	return err ? ctl_fail(c, err, "cannot store when to scrub: %s", dfs_err_text(err)) : 0;
}

json_t *scrub_status_json(struct ctl_call *c)
{
	struct jobs *own = c->jobs ? NULL : jobs_load(c->pool);
	struct jobs *jobs = c->jobs ? c->jobs : own;
	struct rec_scrub *r = xmalloc(sizeof(*r));
	uint64_t due = jobs_scrub_due_ns(jobs), now = env_wall_ns();
	json_t *o;

	jobs_scrub_status(jobs, r);
	o = r->job ? scrub_json(c, r, false) : json_object();
	json_object_set_new(o, "schedule", schedule_json(c));
	set_u64(o, "last_whole_s", r->whole_ns / 1000000000ull);
	json_object_set_new(
		o, "next_in_s",
		due == UINT64_MAX
			? json_null()
			: json_integer((json_int_t)((due > now ? due - now : 0) / 1000000000ull)));
	jobs_free(own);
	free(r);
	return o;
}

/* ---- the order ---- */

/* Whose daemon does not run: here, to the end. */
static int run_to_end(struct ctl_call *c, struct jobs *jobs, uint32_t id)
{
	struct job_status *v = xcalloc(JOBS_MAX, sizeof(*v));
	int err = DFS_EBUSY;

	while (err == DFS_EBUSY) {
		unsigned n = jobs_list(jobs, v, JOBS_MAX);
		char text[300];

		env_sleep_ms(100);
		for (unsigned i = 0; i < n; i++) {
			if (v[i].rec.id != id)
				continue;
			if (v[i].rec.state == JOB_DONE)
				err = 0;
			else if (v[i].rec.state != JOB_RUNNING)
				err = ctl_fail(c, DFS_EIO, "the scrub can't go on: %s",
					       v[i].reason);
			snprintf(text, sizeof(text), "%llu of %llu MiB",
				 (unsigned long long)((v[i].rec.total_bytes - v[i].left_bytes) >>
						      20),
				 (unsigned long long)(v[i].rec.total_bytes >> 20));
			ctl_progress(text);
		}
	}
	free(v);
	return err;
}

static int order_here(struct ctl_call *c, const struct scrub_order *o, uint32_t *ret_id)
{
	struct jobs *own = jobs_load(c->pool);
	struct rec_scrub *r = xmalloc(sizeof(*r));
	int err = jobs_scrub(own, o, ret_id);
	json_t *outcome = json_object();

	if (err == DFS_EBUSY) /* one that was begun goes on */
		err = 0;
	jobs_start(own);
	if (!err)
		err = run_to_end(c, own, *ret_id);
	jobs_scrub_status(own, r);
	json_object_set_new(outcome, "scrub", scrub_json(c, r, true));
	json_object_set_new(c->answer->result, "outcome", outcome);
	if (!err && json_integer_value(
			    json_object_get(json_object_get(outcome, "scrub"), "damage_left")) > 0)
		err = ctl_fail(c, DFS_EDAMAGED, "the scrub found damage that stays");
	jobs_free(own);
	free(r);
	return err;
}

static int order(struct ctl_call *c, const struct scrub_order *o)
{
	uint32_t id = 0;
	int err;

	c->answer->result = json_object();
	if (c->checking)
		return 0;
	err = c->jobs ? jobs_scrub(c->jobs, o, &id) : order_here(c, o, &id);
	if (c->jobs && !err)
		set_u64(c->answer->result, "job", id);
	if (err == DFS_EBUSY)
		return ctl_fail(
			c, err,
			"cannot begin a scrub: another one (job %u) is not over; see 'dynamicfs "
			"jobs', or cancel it with 'dynamicfs jobs cancel %u'",
			id, id);
	if (err && !c->answer->message[0])
		return ctl_fail(c, err, "cannot begin a scrub: %s", dfs_err_text(err));
	return err;
}

int op_scrub(struct ctl_call *c)
{
	struct scrub_order o = {.repair = arg_bool(c, "repair", false),
				.bytes_per_s = arg_u64(c, "bytes_per_s", 0)};
	const char *which = arg_text(c, "disk");
	struct disk_info only = {0};

	if (which && disk_info_named(c, which, &only))
		return DFS_ENODISK;
	o.disk = only.id;
	return order(c, &o);
}

/* ---- audit ---- */

#define AUDIT_LAST 50u

static int add_line(void *ctx, uint64_t wall_ns, const char *text, size_t len)
{
	struct listing *l = ctx;
	json_t *o = json_loadb(text, len, 0, NULL);
	char path[4096];

	if (!json_is_object(o)) {
		json_decref(o);
		return 0;
	}
	set_u64(o, "wall_s", wall_ns / 1000000000ull);
	if (json_is_integer(json_object_get(o, "inode"))) {
		ino_id ino = {(uint64_t)json_integer_value(json_object_get(o, "inode"))};

		pool_inode_path(l->c->pool, ino, path, sizeof(path));
		set_text(o, "path", path);
	}
	json_array_append_new(l->list, o);
	return 0;
}

int op_audit(struct ctl_call *c)
{
	uint64_t last = arg_u64(c, "last", AUDIT_LAST);
	struct listing lines = {c, json_array()};
	int err = last ? each_audit(pool_meta(c->pool), (unsigned)MIN(last, 10000u), add_line,
				    &lines)
		       : 0;

	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "lines", lines.list);
	return err ? ctl_fail(c, err, "cannot read the audit trail: %s", dfs_err_text(err)) : 0;
}
