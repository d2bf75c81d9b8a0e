/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operation rescue. What is missing goes to TO/missing.jsonl, a line for each finding, however many there are; the answer holds
 * the first of them (P9). No locks.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "ctl/call.h"
#include "pool/rescue.h"

#define FINDINGS_MAX 1000u
#define RANGES_MAX 100u
#define REPORT_NAME "missing.jsonl"
#define DISKS_MAX 495u

struct report {
	struct ctl_call *c;
	char *path;
	FILE *f; /* NULL: nothing was found yet */
	bool failed;
	json_t *findings;
	uint64_t left_out;
};

static json_t *finding_json(const struct rescue_finding *f, unsigned most)
{
	json_t *o = json_object(), *lost = json_array();
	json_t *path = ctl_json_path(f->path);

	json_object_set_new(o, "path", ctl_json_text(f->path));
	if (json_is_object(path))
		json_object_set(o, "path_hex", json_object_get(path, "hex"));
	json_decref(path);
	set_u64(o, "inode", f->ino.v);
	if (f->what) {
		set_text(o, "problem", f->what);
		json_decref(lost);
		return o;
	}
	set_u64(o, "lost_bytes", f->lost_bytes);
	for (unsigned i = 0; i < MIN(f->lost_count, most); i++) {
		json_t *range = json_object();

		set_u64(range, "from", f->lost[i].from);
		set_u64(range, "to", f->lost[i].to);
		json_array_append_new(lost, range);
	}
	json_object_set_new(o, "lost", lost);
	set_u64(o, "ranges_left_out", f->lost_count - MIN(f->lost_count, most));
	set_bool(o, "coarse", f->coarse);
	return o;
}

static void found(void *ctx, const struct rescue_finding *f)
{
	struct report *r = ctx;
	json_t *all = finding_json(f, UINT32_MAX);

	if (!r->f && !r->failed)
		r->f = fopen(r->path, "wxe");
	if (!r->f || json_dumpf(all, r->f, JSON_COMPACT | JSON_PRESERVE_ORDER) ||
	    fputc('\n', r->f) == EOF)
		r->failed = true;
	json_decref(all);
	if (json_array_size(r->findings) < FINDINGS_MAX)
		json_array_append_new(r->findings, finding_json(f, RANGES_MAX));
	else
		r->left_out++;
}

static void warn(void *ctx, const char *text)
{
	struct report *r = ctx;

	ctl_warn(r->c, "%s", text);
}

static void progress(void *ctx, const char *text)
{
	(void)ctx;
	ctl_progress(text);
}

static json_t *result_json(const struct rescue_result *res, struct report *r)
{
	json_t *o = json_object();

	if (!uuid_is_null(&res->pool))
		set_uuid(o, "pool", &res->pool);
	set_u64(o, "disks", res->disks);
	set_bool(o, "named", res->named);
	set_bool(o, "newest", res->newest);
	set_bool(o, "scanned", res->scanned);
	set_text(o, "why", res->why);
	set_u64(o, "files", res->files);
	set_u64(o, "unnamed_files", res->unnamed);
	set_u64(o, "directories", res->dirs);
	set_u64(o, "other_names", res->others + res->names);
	set_u64(o, "bytes", res->bytes);
	set_u64(o, "damaged_files", res->damaged_files);
	set_u64(o, "lost_bytes", res->lost_bytes);
	set_u64(o, "problems", res->not_made);
	set_u64(o, "owners_not_set", res->owners_not_set);
	set_u64(o, "records", res->records);
	set_u64(o, "read_errors", res->read_errors);
	json_object_set(o, "missing", r->findings);
	set_u64(o, "missing_left_out", r->left_out);
	if (r->f)
		json_object_set_new(o, "report", ctl_json_text(r->path));
	return o;
}

static void end(struct report *r, int err, const struct rescue_result *res)
{
	if (r->f && fclose(r->f))
		r->failed = true;
	if (r->failed)
		ctl_warn(r->c, "the report %s is not complete: it cannot be written", r->path);
	if (res->owners_not_set)
		ctl_warn(
			r->c,
			"%llu %s could not be given to their owners: only root can; the files are yours",
			(unsigned long long)res->owners_not_set,
			plural(res->owners_not_set, "file", "files"));
	if ((!err || err == DFS_EDAMAGED) && !res->named)
		ctl_warn(
			r->c,
			"no metadata could be read (%s): files have no names, and what was deleted or cut "
			"off may be among them",
			res->why);
	else if ((!err || err == DFS_EDAMAGED) && !res->newest)
		ctl_warn(
			r->c,
			"the names are of a state that may not be the newest (%s); what records tell of "
			"later changes is in unnamed/",
			res->why);
}

static int run(struct ctl_call *c, const char *to, char **disks, unsigned count)
{
	struct report r = {
		.c = c, .path = xasprintf("%s/" REPORT_NAME, to), .findings = json_array()};
	struct rescue_options opt = {
		.disks = (const char *const *)disks,
		.count = count,
		.to = to,
		.scan = arg_bool(c, "scan", false),
		.found = found,
		.warn = warn,
		.progress = progress,
		.ctx = &r,
	};
	struct pool_message msg = {.text = ""};
	struct rescue_result res;
	int err = pool_rescue(&opt, &res, &msg);

	if (!err || err == DFS_EDAMAGED)
		c->answer->result = result_json(&res, &r);
	end(&r, err, &res);
	if (err == DFS_EDAMAGED)
		err = ctl_fail(c, err,
			       "not everything could be rescued: %llu %s bytes, %llu other %s",
			       (unsigned long long)res.damaged_files,
			       plural(res.damaged_files, "file lacks", "files lack"),
			       (unsigned long long)res.not_made,
			       plural(res.not_made, "problem", "problems"));
	else if (err)
		err = ctl_fail_pool(c, err, &msg, "cannot rescue to %s", to);
	free(r.path);
	json_decref(r.findings);
	return err;
}

int op_rescue(struct ctl_call *c)
{
	const json_t *list = json_object_get(c->args, "disks");
	size_t count = json_array_size(list);
	FREE char *to = ctl_path_from_json(json_object_get(c->args, "to"));
	char **disks;
	int err = 0;

	if (count == 0 || count > DISKS_MAX || !to)
		return ctl_fail(
			c, DFS_EUSAGE,
			"cannot rescue: name the disks with --disk DIR..., and where to write "
			"with --to DIR");
	disks = xcalloc(count, sizeof(*disks));
	for (size_t i = 0; i < count && !err; i++) {
		disks[i] = ctl_path_from_json(json_array_get(list, i));
		if (!disks[i])
			err = ctl_fail(c, DFS_EINVAL, "cannot rescue: a disk's path is not a text");
	}
	if (!err)
		err = run(c, to, disks, (unsigned)count);
	for (size_t i = 0; i < count; i++)
		free(disks[i]);
	free(disks);
	return err;
}
