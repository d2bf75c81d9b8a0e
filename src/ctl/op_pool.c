/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a pool as a whole: init, import, set, fsck, ping, stop. No locks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/owner.h"
#include "base/words.h"
#include "ctl/call.h"

#define MAX_PROBLEMS 1000u
#define MAX_IMPORT_DISKS 4096u

int op_ping(struct ctl_call *c)
{
	char awaited[512] = "";

	if (c->pool)
		pool_awaited_disks(c->pool, awaited, sizeof(awaited));
	c->answer->result = json_object();
	set_text(c->answer->result, "mountpoint", c->mountpoint);
	set_text(c->answer->result, "awaited", awaited);
	set_u64(c->answer->result, "pid", (uint64_t)getpid());
	return 0;
}

int op_stop(struct ctl_call *c)
{
	c->request_stop(c->stop_ctx);
	return op_ping(c);
}

/* Geometry as an argument: {"k": 4, "m": 2}. */
static bool arg_geometry(struct ctl_call *c, const char *key, struct geometry *ret)
{
	json_t *j = json_object_get(c->args, key);
	json_int_t k = json_integer_value(json_object_get(j, "k"));
	json_int_t m = json_integer_value(json_object_get(j, "m"));

	if (k < 1 || k > CODEC_MAX_K || m < 0 || m > CODEC_MAX_M)
		return false;
	*ret = (struct geometry){(uint8_t)k, (uint8_t)m};
	return geometry_valid(*ret);
}

/* Changes what the arguments name; the rest of s stays. */
static int settings_from_args(struct ctl_call *c, struct policy *s)
{
	uint64_t copies = arg_u64(c, "copies", s->copies);
	uint64_t metadata_copies = arg_u64(c, "metadata_copies", s->metadata_copies);

	if (json_object_get(c->args, "large") && !arg_geometry(c, "large", &s->large))
		return ctl_fail(
			c, DFS_EINVAL,
			"cannot use this geometry for large files: K is 1 to %u, M is 0 to %u "
			"(for instance 4+2)",
			CODEC_MAX_K, CODEC_MAX_M);
	if (copies < 1 || copies > CODEC_MAX_M + 1)
		return ctl_fail(c, DFS_EINVAL, "cannot keep %llu copies: 1 to %u are possible",
				(unsigned long long)copies, CODEC_MAX_M + 1);
	if (metadata_copies < 1 || metadata_copies > POOL_MAX_METADATA_COPIES)
		return ctl_fail(c, DFS_EINVAL,
				"cannot keep %llu copies of the metadata: 1 to %u are possible",
				(unsigned long long)metadata_copies, POOL_MAX_METADATA_COPIES);
	s->copies = (uint8_t)copies;
	s->metadata_copies = (uint8_t)metadata_copies;
	s->verify_writes = arg_bool(c, "verify_writes", s->verify_writes);
	return 0;
}

int op_init(struct ctl_call *c)
{
	struct pool_message msg = {.text = ""};
	struct policy s;
	int err;

	pool_settings_default(&s);
	err = settings_from_args(c, &s);
	if (err)
		return err;
	owner_act_for_pool(c->pool_dir);
	err = pool_init(c->pool_dir, &s, NULL, &msg);
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot make a pool at %s", c->pool_dir);
	c->answer->result = json_object();
	set_text(c->answer->result, "path", c->pool_dir);
	json_object_set_new(c->answer->result, "settings", settings_json(&s));
	return 0;
}

static int ask_owner(const char *path, char *out, size_t room)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return DFS_ENOENT;
	(void)snprintf(out, room, "%lu", (unsigned long)st.st_uid);
	return 0;
}

/* An imported pool is the user's whose disks they are; root's where they are several users'. Disks that do
 * not answer have no say. */
static void owner_of_disks(char *const *paths, unsigned count)
{
	char one[32] = "", other[32];
	char *first = NULL;
	bool same = true;

	for (unsigned i = 0; i < count && same; i++) {
		char *dir = xasprintf("%s/dynamicfs", paths[i]);

		if (child_ask(ask_owner, dir, CHILD_PATIENCE_MS, other, sizeof(other)) != 0) {
			free(dir);
		} else if (!first) {
			first = dir;
			memcpy(one, other, sizeof(one));
		} else {
			same = strcmp(one, other) == 0;
			free(dir);
		}
	}
	if (first && same)
		owner_act_for_path(first);
	free(first);
}

int op_import(struct ctl_call *c)
{
	const json_t *disks = json_object_get(c->args, "disks");
	size_t count = json_array_size(disks), done;
	struct pool_message msg = {.text = ""};
	char **paths;
	int err = 0;

	if (count == 0 || count > MAX_IMPORT_DISKS)
		return ctl_fail(c, DFS_EUSAGE, "cannot import: name the disks with --disk DIR...");
	paths = xcalloc(count, sizeof(*paths));
	for (done = 0; done < count && !err; done++) {
		paths[done] = ctl_path_from_json(json_array_get(disks, done));
		if (!paths[done])
			err = ctl_fail(c, DFS_EINVAL, "cannot import: a disk's path is not a text");
	}
	if (!err) {
		owner_of_disks(paths, (unsigned)count);
		err = pool_import(c->pool_dir, (const char *const *)paths, (unsigned)count,
				  arg_bool(c, "force", false), NULL, &msg);
		if (err)
			err = ctl_fail_pool(c, err, &msg, "cannot import a pool to %s",
					    c->pool_dir);
		else if (msg.text[0])
			ctl_warn(c, "%s", msg.text);
	}
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	free(paths);
	if (!err) {
		c->answer->result = json_object();
		set_text(c->answer->result, "path", c->pool_dir);
		set_u64(c->answer->result, "disks", count);
	}
	return err;
}

static int set_search(struct ctl_call *c)
{
	const json_t *list = json_object_get(c->args, "search");
	unsigned count = (unsigned)json_array_size(list), done;
	FREE char **dirs = xcalloc(count + 1, sizeof(*dirs));
	struct pool_message msg = {.text = ""};
	int err = 0;

	for (done = 0; done < count && !err; done++) {
		dirs[done] = ctl_path_from_json(json_array_get(list, done));
		if (!dirs[done])
			err = ctl_fail(c, DFS_EINVAL, "cannot search: a path is not a text");
	}
	if (!err) {
		err = pool_set_search(c->pool, (const char *const *)dirs, count, &msg);
		if (err)
			err = ctl_fail_pool(c, err, &msg, "cannot set where disks are searched");
	}
	for (unsigned i = 0; i < count; i++)
		free(dirs[i]);
	return err;
}

static json_t *search_json(struct pool *p)
{
	json_t *list = json_array();
	char dir[4096] = "";

	for (unsigned i = 0; i < pool_get_search(p, i, dir, sizeof(dir)); i++)
		json_array_append_new(list, ctl_json_text(dir));
	return list;
}

static int set_background(struct ctl_call *c)
{
	struct pool_rebuild now = pool_get_rebuild(c->pool);
	struct pool_rebuild r = {arg_u64(c, "rebuild_after_s", now.after_s),
				 arg_u64(c, "bytes_per_s", now.bytes_per_s)};
	struct pool_message msg = {.text = ""};
	int err = 0;

	if (memcmp(&r, &now, sizeof(r)) != 0)
		err = pool_set_rebuild(c->pool, &r, &msg);
	return err ? ctl_fail_pool(c, err, &msg, "cannot change the settings of %s", c->pool_dir)
		   : 0;
}

int op_set(struct ctl_call *c)
{
	struct pool_rebuild background;
	struct policy now = pool_get_settings(c->pool), s = now;
	struct pool_message msg = {.text = ""};
	int err = settings_from_args(c, &s);

	if (!err && s.metadata_copies != now.metadata_copies && c->fs)
		return ctl_fail(
			c, DFS_EBUSY,
			"cannot change how many disks hold the metadata of %s while it is mounted: "
			"nothing was changed; unmount it first",
			c->pool_dir);
	if (err || c->checking)
		return err;
	if (memcmp(&s, &now, sizeof(s)) != 0)
		store_accepted(c);
	err = pool_set_settings(c->pool, &s, &msg);
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot change the settings of %s", c->pool_dir);
	if (arg_bool(c, "loss_noted", false) && pool_has_disks(c->pool)) {
		err = meta_loss_noted(pool_meta(c->pool));
		if (err)
			return ctl_fail(c, err, "cannot note that the loss is known: %s",
					dfs_err_text(err));
	}
	warn_verify(c);
	warn_policy(c);
	if (json_object_get(c->args, "search") || arg_bool(c, "no_search", false)) {
		err = set_search(c);
		if (err)
			return err;
	}
	err = set_background(c);
	if (err)
		return err;
	err = set_schedule(c);
	if (err)
		return err;
	s = pool_get_settings(c->pool);
	background = pool_get_rebuild(c->pool);
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "settings", settings_json(&s));
	json_object_set_new(c->answer->result, "background", background_json(&background));
	if (pool_has_disks(c->pool))
		json_object_set_new(c->answer->result, "scrub", schedule_json(c));
	json_object_set_new(c->answer->result, "search", search_json(c->pool));
	return 0;
}

struct fsck_ctx {
	json_t *problems;
	uint64_t left_out;
};

static void note_problem(void *arg, const char *severity, const char *text)
{
	struct fsck_ctx *f = arg;
	json_t *o;

	if (strcmp(severity, "progress") == 0) {
		ctl_progress(text);
		return;
	}
	if (json_array_size(f->problems) >= MAX_PROBLEMS) {
		f->left_out++;
		return;
	}
	o = json_object();
	set_text(o, "severity", severity);
	set_text(o, "text", text);
	json_array_append_new(f->problems, o);
}

int op_fsck(struct ctl_call *c)
{
	struct fsck_ctx f = {.problems = json_array()};
	struct pool_fsck_result r = {0};
	json_t *o = json_object();
	int err = pool_fsck(c->pool, !arg_bool(c, "quick", false), note_problem, &f, &r);

	c->answer->result = o;
	set_bool(o, "clean", err == 0);
	set_bool(o, "payloads_verified", !arg_bool(c, "quick", false));
	set_u64(o, "inodes", r.inodes);
	set_u64(o, "dentries", r.dentries);
	set_u64(o, "map_entries", r.map_entries);
	set_u64(o, "extents", r.extents);
	set_u64(o, "fragments", r.fragments);
	set_u64(o, "bytes_verified", r.bytes_verified);
	set_u64(o, "problem_count", r.problems);
	set_u64(o, "endangered_extents", r.endangered_extents);
	set_u64(o, "lost_extents", r.lost_extents);
	set_u64(o, "orphan_records_bytes", r.orphan_records_bytes);
	json_object_set_new(o, "problems", f.problems);
	set_u64(o, "problems_left_out", f.left_out);
	if (err == DFS_EDAMAGED)
		return ctl_fail(c, err, "found damage in the pool %s: %llu %s", c->pool_dir,
				(unsigned long long)r.problems,
				plural(r.problems, "problem", "problems"));
	return err ? ctl_fail(c, err, "cannot check the pool %s: %s", c->pool_dir,
			      dfs_err_text(err))
		   : 0;
}
