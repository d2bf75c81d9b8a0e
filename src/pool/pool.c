/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing a pool: the pool directory, its lock, the disks it names, recovery of the
 * metadata.
 * Keeps P2 (through meta), P5 (nothing here is needed but to be faster), P8 (the pool directory's vote).
 *
 * Order when opening: pool.json -> lock -> devices -> what start.c begins over them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/owner.h"
#include "meta/index_copy.h"
#include "pool/internal.h"

void pool_say(struct pool_message *msg, const char *fmt, ...)
{
	va_list ap;

	if (!msg)
		return;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
}

int open_dev(const struct pool_env *env, const char *path, const char *subdir, bool create,
	     struct dev **ret_dev)
{
	if (env && env->open_dev)
		return env->open_dev(env->ctx, path, subdir, create, ret_dev);
	return dev_dir_open(path, subdir, create, ret_dev);
}

static int open_dir(void *ctx, const char *path, const char *subdir, bool create,
		    struct dev **ret_dev)
{
	(void)ctx;
	return dev_dir_open(path, subdir, create, ret_dev);
}

int open_disk_dev(const struct pool_env *env, struct dev_group *g, const char *path,
		  const char *subdir, bool create, struct dev **ret_dev)
{
	bool own = env && env->open_dev;

	return dev_deadline_open(g, own ? env->open_dev : open_dir, own ? env->ctx : NULL, path,
				 subdir, create, ret_dev);
}

/* ---- opening ---- */

static struct pool *pool_alloc(const char *dir, const struct pool_open_options *opt,
			       const struct pool_env *env)
{
	struct pool *p = xcalloc(1, sizeof(*p));

	env_mutex_init(&p->change_lock);
	env_mutex_init(&p->judge_lock);
	env_mutex_init(&p->lock);
	env_mutex_init(&p->json_lock);
	users_init(&p->users);
	env_cond_init(&p->wake);
	env_cond_init(&p->order_done);
	SLIST_INIT(&p->orders);
	p->dir = xstrdup(dir);
	p->index_dir = xasprintf("%s/index", dir);
	if (env)
		p->env = *env;
	p->read_only = opt && opt->read_only;
	p->scratch = opt && opt->read_only ? opt->scratch : NULL;
	p->force = opt && opt->force;
	p->only_named = opt && opt->only_named;
	p->silent = opt ? opt->silent : NULL;
	p->silent_count = opt ? opt->silent_count : 0;
	p->smart.interval_ns = opt && !opt->read_only ? opt->smart_interval_ms * 1000000u : 0;
	p->smart.sysfs = xstrdup(opt && opt->sysfs ? opt->sysfs : "/sys");
	p->group = dev_group_new(opt ? opt->io_timeout_ms : 0);
	p->home = dev_group_new(opt ? opt->io_timeout_ms : 0);
	p->disks = disk_set_new(health_disk_error, p);
	rebuild_settings_default(&p->rebuild);
	return p;
}

static void pool_release(struct pool *p)
{
	extent_sweep_end(&p->orphans.sweep);
	disk_set_free(p->disks);
	for (unsigned i = 0; i < p->spare_count; i++)
		dev_free(p->spares[i].dev);
	dev_group_put(p->group);
	free(p->spares);
	free(p->absent);
	dev_free(p->dir_dev);
	dev_group_put(p->home);
	dir_lock_release(p->dir_lock);
	pool_json_release(&p->json);
	env_cond_release(&p->wake);
	env_cond_release(&p->order_done);
	env_mutex_release(&p->judge_lock);
	env_mutex_release(&p->json_lock);
	users_release(&p->users);
	env_mutex_release(&p->lock);
	env_mutex_release(&p->change_lock);
	index_copy_free(p->copy);
	free(p->index_dir);
	free(p->smart.sysfs);
	free(p->dir);
	free(p);
}

static int read_pool_json(struct pool *p, struct pool_message *msg)
{
	FREE uint8_t *data = NULL;
	size_t len;
	int err;

	err = dev_read_all(p->dir_dev, POOL_JSON_NAME, POOL_JSON_MAX_BYTES, &data, &len);
	if (err == DFS_ENOENT) {
		pool_say(msg, "%s is not a pool: it has no pool.json. Make one with dynamicfs init",
			 p->dir);
		return DFS_ENOTPOOL;
	}
	if (!err)
		err = pool_json_parse(data, len, &p->json);
	/* A right seal proves nothing about the meaning, and what follows relies on it. */
	if (!err && pool_settings_check(&p->json.policy, NULL))
		err = DFS_ECORRUPT;
	if (err == DFS_EACCES || err == DFS_EPERM)
		pool_say(
			msg,
			"cannot read %s/pool.json: permission denied%s; ask as root, or as the user who made "
			"the pool",
			p->dir, owner_note());
	else if (err)
		pool_say(
			msg,
			"cannot read %s/pool.json: %s. The disks hold all that matters: move %s away and "
			"rebuild it with dynamicfs import",
			p->dir, dfs_err_text(err), p->dir);
	return err;
}

static int check_limits(struct pool *p, struct pool_message *msg)
{
	char why[256];
	int err = limits_check(p->json.disk_count, why, sizeof(why));

	if (err)
		pool_say(msg, "cannot open pool %s: %s; nothing was done", p->dir, why);
	disk_set_limit_files(p->disks, limits_open_files() / 8 / MAX(p->json.disk_count, 4u));
	return err;
}

static int lock_pool(struct pool *p, struct pool_message *msg)
{
	long pid = 0;
	int err;

	if (p->env.no_lock)
		return 0;
	err = p->scratch ? dir_lock_take_as_it_is(p->dir, &p->dir_lock, &pid)
			 : dir_lock_take(p->dir, &p->dir_lock, &pid);
	if (err == DFS_ELOCKED)
		pool_say(
			msg,
			"cannot open pool %s: it is in use by process %ld; nothing was done; if it was "
			"just unmounted, that is still storing: wait until it has ended",
			p->dir, pid);
	else if (err == DFS_ECORRUPT)
		pool_say(
			msg,
			"cannot open pool %s: its file lock is a symbolic link; nothing was done; see who "
			"made it, and remove it",
			p->dir);
	else if (err == DFS_EROFS)
		pool_say(
			msg,
			"cannot open pool %s: its directory is on a filesystem that is mounted read-only, "
			"and the live index there is written even for reading; mount it writable, or copy "
			"the directory to another place (cp -a) and use it there",
			p->dir);
	else if (err) {
		pool_say(msg, "cannot lock pool %s: %s%s", p->dir, dfs_err_text(err),
			 err == DFS_EACCES ? owner_note() : "");
		err = blame_home(p, err, msg);
	}
	return err;
}

/* The index, so that what opening it writes goes elsewhere. After the lock. */
static int copy_index(struct pool *p, struct pool_message *msg)
{
	uint64_t bytes;
	int err = index_copy_make(p->index_dir, p->scratch, &p->copy, &bytes);

	if (!err) {
		free(p->index_dir);
		p->index_dir = xstrdup(index_copy_dir(p->copy));
		return 0;
	}
	pool_say(
		msg,
		"cannot copy the index of pool %s (%llu MiB) to %s: %s; nothing was changed; name a directory "
		"that has room for it: --scratch DIR",
		p->dir, (unsigned long long)((bytes + MIB(1) - 1) / MIB(1)), p->scratch,
		dfs_err_text(err));
	return err;
}

int pool_open(const char *dir, const struct pool_open_options *opt, const struct pool_env *env,
	      struct pool **ret_pool, struct pool_message *msg)
{
	struct pool *p = pool_alloc(dir, opt, env);
	int err;

	err = open_disk_dev(&p->env, p->home, dir, "", false, &p->dir_dev);
	if (err) {
		pool_say(msg, "cannot open pool %s: %s", dir, dfs_err_text(err));
		err = err == DFS_ENOENT || err == DFS_EGONE ? DFS_ENOTPOOL : err;
	}
	if (!err)
		err = read_pool_json(p, msg);
	if (!err && !p->env.open_dev)
		err = check_limits(p, msg);
	if (!err)
		err = lock_pool(p, msg);
	if (!err && p->scratch)
		err = copy_index(p, msg);
	if (!err)
		p->settings = p->json.policy;
	p->next_disk = 1;
	if (!err && p->json.disk_count > 0) {
		FREE struct dev **devs = NULL;

		err = find_disks(p, &devs, msg);
		if (!err)
			err = pool_start(p, devs, msg);
		for (unsigned i = 0; i < p->json.disk_count; i++) /* none is left after a start */
			dev_free(devs[i]);
	}
	if (err) {
		pool_abandon(p);
		return err;
	}
	*ret_pool = p;
	return 0;
}

static void stop_threads(struct pool *p)
{
	if (p->thread) {
		env_mutex_lock(&p->lock);
		p->stop = true;
		env_cond_broadcast(&p->wake);
		env_mutex_unlock(&p->lock);
		env_thread_join(p->thread);
		p->thread = NULL;
	}
	smart_end(p);
	fail_orders_end(p);
}

int pool_close(struct pool *p)
{
	struct pool_end unused;

	return pool_close_telling(p, &unused);
}

int pool_close_telling(struct pool *p, struct pool_end *ret_end)
{
	struct history_witness last;
	struct meta_line line;
	int err = 0;

	*ret_end = (struct pool_end){.durable = true};
	if (p->read_only || !p->meta) {
		pool_abandon(p);
		return 0;
	}
	stop_threads(p);
	health_store(p, true);
	disk_jsons_update(p);
	/* the healer may commit until it stops; meta's close still needs data_sync */
	extent_store_quiesce(p->extents);
	for (unsigned i = 0; i < disk_count(p->disks); i++)
		disk_let_go(disk_at(p->disks, i));
	last = meta_witness(p->meta);
	line = meta_durable_line(p->meta);
	err = meta_close_last(p->meta, &last, &ret_end->durable);
	pool_json_take_witness(p, &last, &line);
	p->meta = NULL;
	extent_store_free(p->extents);
	p->extents = NULL;
	if (err)
		log_error("cannot close the metadata of pool %s cleanly: %s; %s", p->dir,
			  dfs_err_text(err),
			  ret_end->durable ? "nothing is lost: the next mount replays the journal"
					   : "the next mount recovers from the journal");
	(void)pool_json_store(p); /* it logs */
	/* all have been written to by now */
	pool_silent_disks(p, ret_end->silent, sizeof(ret_end->silent));
	pool_release(p);
	return err;
}

void pool_abandon(struct pool *p)
{
	stop_threads(p);
	if (p->extents)
		extent_store_quiesce(p->extents);
	if (p->meta)
		meta_abandon(p->meta);
	p->meta = NULL;
	extent_store_free(p->extents);
	p->extents = NULL;
	pool_release(p);
}

/* ---- parts ---- */

bool pool_has_disks(struct pool *p) { return p->meta != NULL; }

const char *pool_dir(struct pool *p) { return p->dir; }

struct uuid pool_uuid(struct pool *p) { return p->json.pool; }

struct meta *pool_meta(struct pool *p) { return p->meta; }

struct extent_store *pool_extents(struct pool *p) { return p->extents; }

struct disk_set *pool_disks(struct pool *p) { return p->disks; }

bool pool_read_only(struct pool *p) { return p->read_only; }
