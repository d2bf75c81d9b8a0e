/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a pool directory: anew (init), or from the disks of a pool that lost its own (import, P5).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owner.h"
#include "base/path.h"
#include "base/utf8.h"
#include "dev/home.h"
#include "pool/internal.h"

/* How long import waits for disks that another process has. */
#define LOCKED_WAIT_MS 5000u
#define LOCKED_STEP_MS 100u

static int first_entry(void *ctx, const char *name, uint64_t size_bytes)
{
	(void)size_bytes;
	if (!strcmp(name, "lost+found"))
		return 0;
	snprintf(ctx, 256, "%s", name);
	return DFS_EEND;
}

static int make_dir(const char *dir, bool *ret_made, struct pool_message *msg)
{
	*ret_made = false;
	if (mkdir(dir, 0755) == 0) {
		*ret_made = true;
		return 0;
	}
	switch (errno) {
	case EEXIST:
		return 0;
	case ENOENT:
	case ENOTDIR:
		pool_say(msg, "cannot make %s: the directory it should be in does not exist", dir);
		return DFS_ENOENT;
	case EROFS:
		pool_say(msg, "cannot make %s: the filesystem is mounted read-only", dir);
		return DFS_EROFS;
	case EACCES:
	case EPERM:
		pool_say(msg, "cannot make %s: permission denied", dir);
		return DFS_EACCES;
	default:
		pool_say(msg, "cannot make %s: %s; nothing was changed", dir, dfs_err_text(errno));
		return errno == ENAMETOOLONG ? DFS_ENAMETOOLONG
		       : errno == ELOOP	     ? DFS_ELOOP
		       : errno == ENOSPC     ? DFS_ENOSPC
					     : DFS_EIO;
	}
}

/* Nothing is made inside of what is some pool's. */
static int check_place(const char *dir, const struct pool_env *env, struct pool_message *msg)
{
	FREE char *real = NULL;
	char why[NESTED_WHY_BYTES];
	bool is_there;
	char *slash;

	if (env && env->open_dev)
		return 0;
	real = realpath(dir, NULL);
	is_there = real != NULL;
	if (!is_there) {
		real = path_real_parent(dir);
		slash = real ? strrchr(real, '/') : NULL;
		if (!slash)
			return 0; /* a place that can't be resolved can't be made, either */
		slash[slash == real] = '\0';
	}
	if (!nested_inside(real, !is_there, why, sizeof(why)))
		return 0;
	pool_say(msg,
		 "cannot make a pool in %s: %s; nothing was changed; name a directory beside it",
		 dir, why);
	return DFS_EINVAL;
}

/* Until the device is freed: of two commands at once only one finds the directory empty. */
static int lock_new(struct dev *dev, const char *dir, struct pool_message *msg)
{
	int err = dev_lock(dev);

	if (err)
		pool_say(msg, "cannot make a pool in %s: %s; nothing was changed", dir,
			 err == DFS_ELOCKED ? "another command is making a pool there"
					    : dfs_err_text(err));
	return err;
}

/* Opens DIR for a new pool: absent or empty. *ret_made: it was made here. */
static int prepare(const char *dir, const struct pool_env *env, struct dev **ret_dev,
		   bool *ret_made, struct pool_message *msg)
{
	char entry[256] = "";
	struct stat st;
	int err;

	*ret_made = false;
	if (!env || !env->open_dev) {
		err = make_dir(dir, ret_made, msg);
		if (err)
			return err;
		if (stat(dir, &st) != 0) {
			pool_say(msg, "cannot use %s: %s; nothing was changed", dir,
				 dfs_err_text(errno));
			return errno == ELOOP ? DFS_ELOOP : DFS_EIO;
		}
		if (!S_ISDIR(st.st_mode)) {
			pool_say(msg, "cannot use %s: it is not a directory", dir);
			return DFS_ENOTDIR;
		}
		if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
			bool rofs = errno == EROFS;

			pool_say(msg, "cannot use %s: %s%s", dir,
				 rofs ? "the filesystem is mounted read-only" : "permission denied",
				 rofs ? "" : owner_note());
			return rofs ? DFS_EROFS : DFS_EACCES;
		}
	}
	err = open_dev(env, dir, "", false, ret_dev);
	if (err) {
		pool_say(msg, "cannot use %s: %s", dir, dfs_err_text(err));
		return err;
	}
	err = lock_new(*ret_dev, dir, msg);
	if (err == DFS_ELOCKED)
		*ret_made = false; /* it is the other one's */
	if (!err)
		err = dev_list(*ret_dev, "", first_entry, entry);
	if (err == DFS_EEND) {
		struct dev_file *f = NULL;
		bool ours = dev_open(*ret_dev, POOL_JSON_NAME, DEV_RDONLY, &f) == 0;

		dev_close(f);
		err = ours ? DFS_EEXIST : DFS_ENOTEMPTYDIR;
		if (ours)
			pool_say(msg, "%s is a pool already; nothing was changed", dir);
		else
			pool_say(
				msg,
				"cannot use %s: it is not empty (it holds %.100s, for one) and not a "
				"pool; nothing was changed",
				dir, entry);
	}
	if (!err && (!env || !env->open_dev)) {
		char why[256];

		err = home_check(dir, HOME_FREE_BYTES_MIN, why, sizeof(why));
		if (err)
			pool_say(msg, "cannot make a pool in %s: %s; nothing was changed", dir,
				 why);
	}
	if (err) {
		if (*ret_made)
			(void)!rmdir(dir); /* the failure to use it is what is reported */
		dev_free(*ret_dev);
		*ret_dev = NULL;
	}
	return err;
}

static int store_new(struct dev *dev, struct pool_json *json, struct pool_message *msg,
		     const char *dir)
{
	BUF text = {0};
	int err;

	json->written_wall_s = env_wall_ns() / 1000000000u;
	err = pool_json_encode(json, &text);
	if (!err)
		err = dev_replace(dev, POOL_JSON_NAME, text.data, text.len);
	if (err)
		pool_say(msg, "cannot write %s/pool.json: %s", dir, dfs_err_text(err));
	return err;
}

static const char *base_name(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash && slash[1] ? slash + 1 : "pool";
}

int pool_init(const char *dir, const struct policy *settings, const struct pool_env *env,
	      struct pool_message *msg)
{
	CLEANUP(pool_json_release) struct pool_json json = {0};
	struct dev *dev = NULL;
	bool made = false;
	int err;

	err = pool_settings_check(settings, msg);
	if (!err)
		err = check_place(dir, env, msg);
	if (err)
		return err;
	err = prepare(dir, env, &dev, &made, msg);
	if (err)
		return err;
	uuid_random(&json.pool);
	utf8_copy(json.name, sizeof(json.name), base_name(dir));
	json.policy = *settings;
	err = store_new(dev, &json, msg, dir);
	if (err && made)
		(void)!rmdir(dir); /* the failure to make it is what is reported */
	dev_free(dev);
	return err;
}

/* ---- import ---- */

/* Adds the disk at path to json. */
static int import_disk(struct pool_json *json, const char *path, const struct pool_env *env,
		       struct dev_group *g, struct pool_message *msg)
{
	char real[4096];
	struct pool_json_disk *j;
	struct disk_json dj;
	struct dev *dev = NULL;
	int err = 0, why = 0;

	snprintf(real, sizeof(real), "%s", path);
	if (!env || !env->open_dev)
		err = path_real_in_time(g, path, real, sizeof(real), &why);
	if (!err && why && why != ENOENT && why != ENOTDIR) {
		pool_say(msg, "cannot import %s: %s. Leave it out to import the pool without it",
			 path, dfs_err_text(why));
		return why == EACCES ? DFS_EACCES : DFS_ENODISK;
	}
	if (!err)
		err = open_disk_dev(env, g, real, "dynamicfs", false, &dev);
	if (!err)
		err = disk_json_read(dev, &dj);
	dev_free(dev);
	if (err) {
		pool_say(msg, "cannot import %s: %s. Leave it out to import the pool without it",
			 path,
			 err == DFS_ENOENT || err == DFS_EGONE ? "it is not a disk of a pool (no "
								 "dynamicfs/disk.json)"
							       : dfs_err_text(err));
		return err == DFS_ENOENT || err == DFS_EGONE ? DFS_ENODISK : err;
	}
	if (uuid_is_null(&json->pool)) {
		json->pool = dj.pool;
	} else if (!uuid_eq(&json->pool, &dj.pool)) {
		pool_say(msg,
			 "cannot import %s: it belongs to another pool than the disks before it",
			 path);
		return DFS_EFOREIGN;
	}
	if (pool_json_find(json, (disk_id){dj.id})) {
		pool_say(msg,
			 "cannot import %s: disk %u (%s) is given twice, or this is a copy of it",
			 path, dj.id, dj.label);
		return DFS_EEXIST;
	}
	j = pool_json_add(json);
	j->id.v = dj.id;
	j->uuid = dj.uuid;
	memcpy(j->label, dj.label, sizeof(j->label));
	snprintf(j->state, sizeof(j->state), "%s", dj.state);
	snprintf(j->path, sizeof(j->path), "%s", real);
	return 0;
}

/* The pool directory may not lie inside one of its disks, nor the other way round. */
static int import_place(const char *dir, const char *disk, const struct pool_env *env,
			struct pool_message *msg)
{
	FREE char *place = NULL;

	if (env && env->open_dev)
		return 0;
	place = path_real_parent(dir);
	if (!place || (!path_lies_in(place, disk) && !path_lies_in(disk, place)))
		return 0; /* a place that can't be resolved can't be made, either */
	pool_say(msg, "cannot import into %s: it and the disk %s lie inside one another", dir,
		 disk);
	return DFS_EINVAL;
}

/* Opens the new pool once, so that the index is restored and absent disks get their names, and what
 * can't be opened is not left behind. */
static int import_open(const char *dir, bool force, const struct pool_env *env,
		       struct pool_message *msg)
{
	struct pool_open_options opt = {.force = force, .only_named = true};
	unsigned waited_ms = 0;
	struct pool *p;
	int err;

	/* A daemon that has just been unmounted may have the disks still. */
	while ((err = pool_open(dir, &opt, env, &p, msg)) == DFS_ELOCKED &&
	       waited_ms < LOCKED_WAIT_MS) {
		msg->text[0] = '\0';
		env_sleep_ms(LOCKED_STEP_MS);
		waited_ms += LOCKED_STEP_MS;
	}
	if (err)
		return err;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk_info info = disk_info(disk_at(p->disks, i));
		struct pool_json_disk *j = pool_json_find(&p->json, info.id);

		if (j)
			continue;
		env_mutex_lock(&p->json_lock);
		j = pool_json_add(&p->json);
		j->id = info.id;
		j->uuid = info.uuid;
		memcpy(j->label, info.label, sizeof(j->label));
		snprintf(j->path, sizeof(j->path), "%s", info.path);
		snprintf(j->state, sizeof(j->state), "%s", disk_state_name(info.state));
		env_mutex_unlock(&p->json_lock);
	}
	return pool_close(p);
}

int pool_import(const char *dir, const char *const *disk_paths, unsigned count, bool force,
		const struct pool_env *env, struct pool_message *msg)
{
	CLEANUP(pool_json_release) struct pool_json json = {0};
	struct policy defaults;
	struct dev_group *group;
	struct dev *dev = NULL;
	bool made = false;
	int err = 0;

	if (count == 0) {
		pool_say(msg, "cannot import: no disk was given");
		return DFS_EINVAL;
	}
	group = dev_group_new(0);
	for (unsigned i = 0; i < count && !err; i++)
		err = import_disk(&json, disk_paths[i], env, group, msg);
	dev_group_put(group);
	for (unsigned i = 0; i < json.disk_count && !err; i++)
		err = import_place(dir, json.disks[i].path, env, msg);
	if (!err)
		err = check_place(dir, env, msg);
	if (err)
		return err;
	err = prepare(dir, env, &dev, &made, msg);
	if (err)
		return err;
	pool_settings_default(&defaults);
	json.policy = defaults; /* until the index tells the real ones */
	utf8_copy(json.name, sizeof(json.name), base_name(dir));
	err = store_new(dev, &json, msg, dir);
	if (!err)
		err = import_open(dir, force, env, msg);
	if (err && dev_remove(dev, POOL_JSON_NAME))
		log_warn(
			"could not remove %s/pool.json of the import that failed; remove %s yourself",
			dir, dir);
	dev_free(dev);
	if (err && (!env || !env->open_dev)) { /* it was empty: what is there is ours */
		FREE char *lock = xasprintf("%s/lock", dir), *index = xasprintf("%s/index", dir);

		(void)!unlink(lock);
		if (!env || !env->index_ops)
			(void)index_rocks_ops.destroy(index);
		if (made)
			(void)!rmdir(dir); /* fails, and leaves it all, if anything else is there */
	}
	return err;
}
