/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on disks: list-disks, add-disk, fail-disk. What may become a disk and what may be
 * failed is decided in pool/; here is what a person is told about it, also beforehand (P11). No locks.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "ctl/call.h"
#include "file/fs.h"

void store_accepted(struct ctl_call *c)
{
	int err = c->fs ? fs_sync_all(c->fs) : 0;

	if (err)
		log_warn("before an order not all that was accepted could be stored: %s",
			 dfs_err_text(err));
}

#define STORE_MS 5000u
#define STORE_LOOK_MS 5u

static bool some_silent(struct ctl_call *c)
{
	char labels[256];

	pool_silent_disks(c->pool, labels, sizeof(labels));
	return labels[0] != '\0';
}

/* As store_accepted(), but in vain where it would have to wait for disks: the order is to free those who wait (D12). */
static void store_if_answered(struct ctl_call *c)
{
	uint64_t end = env_now_ns() + STORE_MS * 1000000ull, mark;

	if (!c->fs || some_silent(c))
		return;
	for (mark = fs_store_soon(c->fs); !fs_is_stored(c->fs, mark); env_sleep_ms(STORE_LOOK_MS))
		if (env_now_ns() > end || some_silent(c))
			return;
}

int op_list_disks(struct ctl_call *c)
{
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "disks", disks_array(c->pool));
	return 0;
}

json_t *info_json(const struct disk_info *info)
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

static bool shares_filesystem(struct pool *p, uint64_t fs_id)
{
	struct pool_disk_status *s = xmalloc(sizeof(*s));
	bool found = false;

	for (unsigned i = 0; !found && disk_status_now(p, i, s); i++)
		found = s->present && s->fs_id == fs_id;
	free(s);
	return found;
}

bool room_when_new(const char *path, uint64_t capacity_bytes, struct disk_room *ret_room)
{
	struct dev_space space;
	struct dev *dev;
	int err = dev_dir_open(path, "", false, &dev);

	if (err)
		return false;
	err = dev_space(dev, &space);
	dev_free(dev);
	if (!err)
		*ret_room = disk_room_when_new(&space, capacity_bytes);
	return !err;
}

/* What adding the disk would bring. *ret_usable: room for files, those there included; 0 and false when it
 * can't be told. */
static bool plan_disk(struct ctl_call *c, const struct pool_disk_spec *spec,
		      struct disk_info *ret_info, uint64_t *ret_usable, bool *ret_same_fs)
{
	const char *slash = strrchr(spec->path, '/');
	struct pool_space now;
	struct disk_room room;
	uint64_t free_bytes;

	snprintf(ret_info->path, sizeof(ret_info->path), "%s", spec->path);
	snprintf(ret_info->label, sizeof(ret_info->label), "%.63s",
		 spec->label ? spec->label
		 : slash     ? slash + 1
			     : spec->path);
	snprintf(ret_info->domain, sizeof(ret_info->domain), "%.63s",
		 spec->domain ? spec->domain : "");
	ret_info->capacity_bytes = spec->capacity_bytes;
	ret_info->state = DISK_HEALTHY;
	*ret_usable = 0;
	if (!room_when_new(spec->path, spec->capacity_bytes, &room))
		return false;
	*ret_same_fs = shares_filesystem(c->pool, room.fs_id);
	free_bytes = MIN(room.free_bytes, room.limit_bytes);
	*ret_usable = free_bytes - MIN(free_bytes, room.reserve_bytes); /* one disk: one copy */
	if (!pool_has_disks(c->pool))
		return true;
	pool_space(c->pool, &now);
	*ret_usable = now.used_bytes + pool_room_with(c->pool, &room, ret_info->domain);
	return true;
}

static bool holds_files(struct ctl_call *c)
{
	return meta_counter(pool_meta(c->pool), META_COUNT_INODES) > 1; /* the root */
}

/*
 * Each new file wants as many disks as its policy says, for want of space no fewer: so a disk that is much smaller than the
 * others can leave room for far less than there is without it. before, after: room for files, those there included.
 */
static int check_room(struct ctl_call *c, const char *path, const struct pool_space *before,
		      uint64_t after_bytes)
{
	uint64_t was = before->total_bytes - MIN(before->total_bytes, before->used_bytes);
	uint64_t will = after_bytes - MIN(after_bytes, before->used_bytes);

	if (will >= was / 2)
		return 0;
	if (holds_files(c) && !arg_bool(c, "force", false))
		return ctl_fail(
			c, DFS_EREFUSED,
			"cannot add %s: with it the pool would have room for %llu MiB more of files, and has room for "
			"%llu MiB without: it is small beside the others, and new files would want a place on it, too. "
			"Nothing was changed. Add larger disks first, or use --force",
			path, (unsigned long long)(will >> 20), (unsigned long long)(was >> 20));
	ctl_warn(
		c,
		"with %s the pool has room for %llu MiB more of files, and without for %llu MiB: it is small beside the "
		"others, and new files want a place on it, too. Add larger disks",
		path, (unsigned long long)(will >> 20), (unsigned long long)(was >> 20));
	return 0;
}

static void warn_of_place(struct ctl_call *c, const char *path, bool same_fs)
{
	struct ctl_mount below;

	if (same_fs)
		ctl_warn(
			c,
			"%s is on the same filesystem as another disk of the pool: they fail together, "
			"and what one takes the other has not",
			path);
	if (ctl_mount_of(path, &below) == 0) {
		ctl_warn(
			c,
			"%s is on the mount of another DynamicFS pool (%s): mount that pool before this "
			"one, and unmount it after this one",
			path, below.pool_dir);
		ctl_mount_release(&below);
	}
}

/* First as a dry run: what is refused is refused by both. */
static int add_disk(struct ctl_call *c, struct pool_disk_spec *spec, struct disk_info *info)
{
	bool dry_run = c->checking || arg_bool(c, "dry_run", false), same_fs = false, is_known;
	struct pool_message msg = {.text = ""};
	struct pool_space before, after;
	json_t *o;
	int err;

	spec->dry_run = true;
	pool_space(c->pool, &before);
	err = pool_add_disk(c->pool, spec, info, &same_fs, &msg);
	is_known = !err && plan_disk(c, spec, info, &after.total_bytes, &same_fs);
	if (is_known && pool_has_disks(c->pool))
		err = check_room(c, spec->path, &before, after.total_bytes);
	if (err == DFS_EREFUSED)
		return err;
	if (!err && !dry_run) {
		spec->dry_run = false;
		store_accepted(c);
		err = pool_add_disk(c->pool, spec, info, &same_fs, &msg);
		pool_space(c->pool, &after);
	}
	if (!err && msg.text[0])
		ctl_warn(c, "%s", msg.text);
	if (err)
		return ctl_fail_pool(c, err == DFS_ENOENT ? DFS_ENODISK : err, &msg,
				     "cannot add %s", spec->path);
	o = c->answer->result = json_object();
	set_bool(o, "dry_run", dry_run);
	json_object_set_new(o, "disk", info_json(info));
	set_bool(o, "shares_filesystem", same_fs);
	set_u64(o, "usable_before_bytes", before.total_bytes);
	set_u64(o, "usable_after_bytes", after.total_bytes);
	warn_of_place(c, info->path, same_fs);
	return 0;
}

int op_add_disk(struct ctl_call *c)
{
	FREE char *path = ctl_path_from_json(json_object_get(c->args, "disk"));
	struct pool_disk_spec spec = {
		.path = path,
		.label = arg_text(c, "label"),
		.domain = arg_text(c, "domain"),
		.capacity_bytes = arg_u64(c, "capacity_bytes", 0),
	};
	FREE struct disk_info *info = NULL;

	if (!path)
		return ctl_fail(c, DFS_EUSAGE, "cannot add a disk: name its directory with --disk");
	info = xcalloc(1, sizeof(*info));
	return add_disk(c, &spec, info);
}

int op_set_label(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk"), *label = arg_text(c, "label");
	struct pool_message msg = {.text = ""};
	char uuid[UUID_TEXT_LEN + 1];
	struct disk_info info;
	int err;

	if (!which || !label)
		return ctl_fail(c, DFS_EUSAGE,
				"cannot go on: name a disk with --disk, and its new label");
	if (disk_info_named(c, which, &info))
		return DFS_ENODISK;
	uuid_format(&info.uuid, uuid);
	c->answer->result = json_object();
	json_object_set_new(c->answer->result, "disk", info_json(&info));
	err = pool_set_label(c->pool, uuid, label, c->checking, &msg);
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot give disk %s another label", which);
	set_text(c->answer->result, "label", label);
	return 0;
}

/* For people: how safe the extents would be without the disk. */
static int set_safety_without(struct ctl_call *c, json_t *o, disk_id id)
{
	struct safety_table *after = xmalloc(sizeof(*after));
	json_t *counts = json_object();
	struct disk_views views;
	bool whole;
	int err;

	disk_views_take(c->pool, &views);
	for (unsigned i = 0; i < views.count; i++)
		if (views.v[i].id.v == id.v)
			views.v[i].present = false;
	err = safety_scan(c->pool, &views, 0, after, &whole);
	if (!err)
		set_safety(counts, &after->total);
	json_object_set_new(o, "redundancy_after", counts);
	disk_views_release(&views);
	free(after);
	return err;
}

/* Fails it, or finds out whether that would be allowed: pool/ judges both. */
static int fail_or_plan(struct ctl_call *c, const char *uuid, struct pool_fail_plan *plan)
{
	bool force = arg_bool(c, "force", false);
	struct pool_message msg = {.text = ""};
	int err = pool_plan_fail(c->pool, uuid, plan, &msg), scan;

	if (err == DFS_ENODISK)
		return ctl_fail_pool(c, err, &msg, "cannot fail a disk");
	set_u64(c->answer->result, "disks_left", plan->disks_left);
	set_u64(c->answer->result, "extents_lost", plan->extents_lost);
	set_u64(c->answer->result, "extents_in_doubt", plan->extents_unsure);
	scan = set_safety_without(c, c->answer->result, plan->info.id);
	if (err &&
	    (err != DFS_EREFUSED || !force || plan->disks_left == 0)) /* force is for lost files */
		return ctl_fail_pool(c, err, &msg, "cannot fail disk %s", plan->info.label);
	if (scan)
		return ctl_fail(c, scan, "cannot tell what disk %s holds: %s", plan->info.label,
				dfs_err_text(scan));
	if (c->checking || arg_bool(c, "dry_run", false))
		return 0;
	store_if_answered(c);
	err = pool_fail_disk(c->pool, uuid, force, &plan->info, &msg);
	if (err)
		return ctl_fail_pool(c, err, &msg, "cannot fail disk %s", plan->info.label);
	if (msg.text[0])
		ctl_warn(c, "%s", msg.text);
	return 0;
}

int op_fail_disk(struct ctl_call *c)
{
	const char *which = arg_text(c, "disk");
	char uuid[UUID_TEXT_LEN + 1];
	struct pool_fail_plan *plan;
	struct disk_info info;
	int err;

	if (!which)
		return ctl_fail(c, DFS_EUSAGE, "cannot fail a disk: name it with --disk");
	if (disk_info_named(c, which, &info))
		return DFS_ENODISK;
	plan = xcalloc(1, sizeof(*plan));
	plan->info = info;
	uuid_format(&info.uuid, uuid);
	c->answer->result = json_object();
	set_bool(c->answer->result, "dry_run", arg_bool(c, "dry_run", false));
	err = fail_or_plan(c, uuid, plan);
	json_object_set_new(c->answer->result, "disk", info_json(&plan->info));
	free(plan);
	return err;
}
