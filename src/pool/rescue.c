/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rescue: opens what disks there are, for reading only, reads the newest metadata that they still have into an index of its own, and
 * writes what it tells of below the target directory; without metadata, or beside such as is known to lack something, by
 * the records alone (Q1..Q4).
 */
#include "pool/rescue.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "pool/rescue_internal.h"

#define WORK_NAME ".rescue"
#define CACHE_BYTES MIB(64) /* of the work index between two flushes */
#define TELL_NS 500000000ull

void rescue_progress(struct rescue *r, const char *doing)
{
	uint64_t now = env_now_ns();
	char text[200];

	if (!r->opt->progress || now - r->told_ns < TELL_NS)
		return;
	r->told_ns = now;
	snprintf(text, sizeof(text), "%s: %llu records found, %llu files, %llu MiB written", doing,
		 (unsigned long long)r->res->records, (unsigned long long)r->res->files,
		 (unsigned long long)(r->res->bytes >> 20));
	r->opt->progress(r->opt->ctx, text);
}

void rescue_warn(struct rescue *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (r->opt->warn)
		r->opt->warn(r->opt->ctx, text);
}

void rescue_found(struct rescue *r, const char *path, ino_id ino, const struct rescue_lost *lost,
		  const char *fmt, ...)
{
	struct rescue_finding f = {.path = path, .ino = ino};
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (lost) {
		f.lost = lost->v;
		f.lost_count = lost->count;
		f.lost_bytes = rescue_lost_bytes(lost);
		f.coarse = lost->coarse;
		r->res->damaged_files++;
		r->res->lost_bytes += f.lost_bytes;
	} else {
		f.what = text;
		r->res->not_made++;
	}
	if (r->opt->found)
		r->opt->found(r->opt->ctx, &f);
}

/* ---- the work index ---- */

int rescue_note(struct rescue *r, const struct index_op *ops, unsigned count)
{
	int err = index_rocks_ops.apply(r->index, ops, count);

	for (unsigned i = 0; i < count; i++)
		r->index_bytes += ops[i].key_len + ops[i].value_len + 64;
	if (err || r->index_bytes < CACHE_BYTES)
		return err;
	r->index_bytes = 0;
	return index_rocks_ops.flush(r->index);
}

int rescue_seen(struct rescue *r, ino_id ino, bool *ret_seen)
{
	uint8_t key[9] = {'V'};
	BUF value = {0};
	int err;

	for (int i = 0; i < 8; i++)
		key[1 + i] = (uint8_t)(ino.v >> (56 - 8 * i));
	err = index_rocks_ops.get(r->index, key, sizeof(key), &value);
	*ret_seen = err == 0;
	if (err != DFS_ENOENT)
		return err;
	return rescue_note(r, &(struct index_op){key, sizeof(key), key, 1}, 1);
}

/* ---- the target ---- */

static int check_target(struct rescue *r, struct pool_message *msg)
{
	const char *to = r->opt->to;
	FREE char *real = NULL;
	struct dirent *e;
	DIR *dir;
	int fd;

	real = path_real_parent(to);
	for (unsigned i = 0; real && i < r->opt->count; i++) {
		FREE char *disk = realpath(r->opt->disks[i], NULL);

		if (disk && (path_lies_in(real, disk) || path_lies_in(disk, real))) {
			pool_say(
				msg,
				"cannot rescue to %s: it and the disk %s lie inside one another, and "
				"nothing is written on the disks; name a directory elsewhere",
				to, disk);
			return DFS_EINVAL;
		}
	}
	r->made = mkdir(to, 0700) == 0;
	if (!r->made && errno != EEXIST) {
		pool_say(msg, "cannot make %s: %s", to, dfs_err_text(errno));
		return rescue_errno();
	}
	r->to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = r->to_fd < 0 ? -1 : openat(r->to_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		pool_say(msg, "cannot use %s: %s", to, dfs_err_text(errno));
		return DFS_ENOTDIR;
	}
	while ((e = readdir(dir)) && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
				      !strcmp(e->d_name, "lost+found")))
		;
	if (e)
		pool_say(
			msg,
			"cannot rescue to %s: it is not empty (it holds %.100s, for one), and nothing is "
			"overwritten; name an empty directory",
			to, e->d_name);
	closedir(dir);
	return e ? DFS_ENOTEMPTYDIR : 0;
}

static int open_work(struct rescue *r, struct pool_message *msg)
{
	FREE char *dir = xasprintf("%s/index", r->work_dir);
	int err = 0;

	if (mkdirat(r->to_fd, WORK_NAME, 0700))
		err = rescue_errno();
	if (!err) {
		r->work_fd = openat(r->to_fd, WORK_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = r->work_fd < 0 ? rescue_errno() : 0;
	}
	if (!err)
		err = index_rocks_ops.open(dir, CACHE_BYTES, &r->index);
	if (err)
		pool_say(msg, "cannot write in %s: %s", r->opt->to, dfs_err_text(err));
	return err;
}

/* Only what was made here is removed. */
static void remove_links(struct rescue *r)
{
	int fd = r->links_fd < 0 ? -1
				 : openat(r->links_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			(void)!unlinkat(r->links_fd, e->d_name, 0);
	if (dir)
		closedir(dir);
	(void)!unlinkat(r->work_fd, "links", AT_REMOVEDIR);
}

static void close_work(struct rescue *r)
{
	FREE char *own = xasprintf("%s/index", r->work_dir);
	FREE char *restored = xasprintf("%s/metadata", r->work_dir);

	if (r->index)
		index_rocks_ops.close(r->index, false);
	if (r->work_fd >= 0) {
		(void)!index_rocks_ops.destroy(own);
		(void)!index_rocks_ops.destroy(restored);
		remove_links(r);
		(void)!rmdir(own);
		(void)!rmdir(restored);
		(void)!unlinkat(r->work_fd, "index.room", 0);
		(void)!unlinkat(r->work_fd, "metadata.room", 0);
		(void)!unlinkat(r->to_fd, WORK_NAME, AT_REMOVEDIR);
		close(r->work_fd);
	}
	if (r->links_fd >= 0)
		close(r->links_fd);
	if (r->unnamed_fd >= 0)
		close(r->unnamed_fd);
	if (r->to_fd >= 0)
		close(r->to_fd);
}

/* ---- disks ---- */

/* One that can't be used is done without; one that is in use is not. */
static int open_disk(struct rescue *r, const char *path, struct pool_message *msg)
{
	struct rescue_disk *d = &r->disks[r->count];
	int err = open_disk_dev(NULL, r->group, path, "dynamicfs", false, &d->dev);

	if (err) {
		rescue_warn(r, "%s cannot be used: %s; it is done without", path,
			    err == DFS_ENOENT || err == DFS_EGONE
				    ? "there is no disk of a pool (no dynamicfs directory)"
				    : dfs_err_text(err));
		return 0;
	}
	r->count++;
	d->path = xstrdup(path);
	if (dev_lock(d->dev) == DFS_ELOCKED) {
		pool_say(
			msg,
			"cannot rescue from %s: the disk is in use; unmount its pool first, or read "
			"the files there",
			path);
		return DFS_ELOCKED;
	}
	err = disk_json_read(d->dev, &d->json);
	d->known = err == 0;
	if (err)
		rescue_warn(
			r,
			"%s/dynamicfs/disk.json cannot be read: %s; only the disk's records are used",
			path, dfs_err_text(err));
	else if (uuid_is_null(&r->res->pool))
		r->res->pool = d->json.pool;
	else if (!uuid_eq(&r->res->pool, &d->json.pool)) {
		pool_say(msg, "cannot rescue from %s: it belongs to another pool than the others",
			 path);
		return DFS_EFOREIGN;
	}
	return 0;
}

static int open_disks(struct rescue *r, struct pool_message *msg)
{
	int err = 0;

	r->group = dev_group_new(0);
	r->disks = xcalloc(r->opt->count, sizeof(*r->disks));
	for (unsigned i = 0; i < r->opt->count && !err; i++)
		err = open_disk(r, r->opt->disks[i], msg);
	if (err)
		return err;
	r->res->disks = r->count;
	if (r->count)
		return 0;
	pool_say(msg, "cannot rescue: none of the %u disks that were named can be used",
		 r->opt->count);
	return DFS_ENODISK;
}

static void close_disks(struct rescue *r)
{
	for (unsigned i = 0; i < r->count; i++) {
		dev_close(r->disks[i].file);
		dev_free(r->disks[i].dev);
		free(r->disks[i].path);
	}
	free(r->disks);
	if (r->group)
		dev_group_put(r->group);
}

/* ---- metadata ---- */

static int no_sync(void *ctx)
{
	(void)ctx;
	return 0;
}

static bool is_twice(const struct rescue *r, unsigned i)
{
	for (unsigned j = 0; j < i; j++)
		if (r->disks[j].known && (uuid_eq(&r->disks[j].json.uuid, &r->disks[i].json.uuid) ||
					  r->disks[j].json.id == r->disks[i].json.id))
			return true;
	return false;
}

static void note_newest(struct rescue *r)
{
	struct meta_iter *it = meta_iter_new(r->meta);
	uint8_t key[17] = {TABLE_EXTENT};
	struct uuid u;
	size_t len;

	memset(key + 1, 0xff, sizeof(key) - 1);
	meta_iter_seek_back(it, key, sizeof(key));
	if (meta_iter_valid(it)) {
		const uint8_t *k = meta_iter_key(it, &len);

		if (len == sizeof(key) && k[0] == TABLE_EXTENT) {
			memcpy(u.b, k + 1, sizeof(u.b));
			r->newest = uuid_tick_of(&u);
		}
	}
	meta_iter_free(it);
}

/* The newest that the disks have, into an index of our own. Not to be had: r->meta stays NULL, and why is said. */
static void open_metadata(struct rescue *r)
{
	FREE struct meta_disk *disks = xcalloc(r->count, sizeof(*disks));
	FREE char *dir = xasprintf("%s/metadata", r->work_dir);
	struct meta_recovery rec = {0};
	struct meta_config cfg = {
		.pool = r->res->pool,
		.index_ops = &index_rocks_ops,
		.index_arg = dir,
		.disks = disks,
		.copies = 1,
		.table_k = 1,
		.force = true,
		.read_only = true,
		.checkpoint_bytes = MIB(16),
		.buffer_bytes = MIB(1),
		.data_sync = no_sync,
	};
	int err = DFS_ENODISK;

	for (unsigned i = 0; i < r->count; i++)
		if (r->disks[i].known && !is_twice(r, i) && cfg.disk_count < META_MAX_DISKS)
			disks[cfg.disk_count++] = (struct meta_disk){.id = {r->disks[i].json.id},
								     .uuid = r->disks[i].json.uuid,
								     .dev = r->disks[i].dev};
	if (cfg.disk_count)
		err = meta_open(&cfg, &r->meta, &rec);
	if (err) {
		r->meta = NULL;
		snprintf(r->res->why, sizeof(r->res->why), "%s",
			 rec.refusal[0] ? rec.refusal : dfs_err_text(err));
		return;
	}
	r->res->named = true;
	r->res->newest = !rec.forced && !rec.loss.from && !rec.journals_short;
	if (rec.loss.from)
		snprintf(r->res->why, sizeof(r->res->why),
			 "transactions %llu to at least %llu are damaged in the journal",
			 (unsigned long long)rec.loss.from, (unsigned long long)rec.loss.last);
	else if (!r->res->newest)
		snprintf(r->res->why, sizeof(r->res->why), "%s",
			 rec.refusal[0] ? rec.refusal
					: "so few disks are there that it cannot be known whether "
					  "their state is the newest");
	note_newest(r);
}

/* ---- all of it ---- */

static int run(struct rescue *r)
{
	int err = 0;

	if (r->meta)
		err = rescue_tree(r);
	if (!err && (!r->meta || !r->res->newest || r->opt->scan))
		err = rescue_scan(r);
	if (!err && (!r->meta || !r->res->newest || r->opt->scan))
		err = rescue_unnamed(r);
	return err;
}

int pool_rescue(const struct rescue_options *opt, struct rescue_result *ret_result,
		struct pool_message *msg)
{
	struct rescue *r = xcalloc(1, sizeof(*r));
	int err;

	*ret_result = (struct rescue_result){0};
	r->opt = opt;
	r->res = ret_result;
	r->to_fd = r->work_fd = r->links_fd = r->unnamed_fd = -1;
	r->work_dir = xasprintf("%s/" WORK_NAME, opt->to);
	err = check_target(r, msg);
	if (!err)
		err = open_disks(r, msg);
	if (!err)
		err = open_work(r, msg);
	if (!err) {
		open_metadata(r);
		err = run(r);
		if (err)
			pool_say(msg,
				 "cannot go on writing to %s: %s; what is there by now is right",
				 opt->to, dfs_err_text(err));
		else if (ret_result->damaged_files || ret_result->not_made)
			err = DFS_EDAMAGED;
	}
	for (unsigned i = 0; i < RESCUE_CACHED; i++)
		rescue_bytes_release(&r->cached[i].bytes);
	if (r->meta)
		meta_abandon(r->meta);
	close_disks(r);
	close_work(r);
	if (err && r->made)
		(void)!rmdir(opt->to); /* fails, and leaves it all, if anything is there */
	free(r->work_dir);
	free(r);
	return err;
}
