/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adding a disk, also while the pool is in use. Keeps L1 and L2: it is locked before it is written to, and nothing
 * on it is overwritten but what an adding that was cut short has left.
 *
 * In order (a crash after any step leaves either no trace that counts, or a whole disk):
 *  0. all checks, the lock on DISK/dynamicfs, the checks of what lies there once more;
 *  1. DISK/dynamicfs/disk.json with a new uuid and the next id: the disk is ours, but in no index;
 *  2. pool.json names its path (opening ignores names that the index does not know);
 *  3. one transaction: the disk's record, and the next id; synced. From here on it is part of the pool;
 *  4. the disk set, so that it takes data; meta_set_disks, so that it carries roots, maybe metadata.
 * The first disk of a pool gets its root (meta_format) between 1 and 2.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "pool/internal.h"

#define LOCK_TRIALS 10 /* a device that was let go a moment ago is closed by a thread of its own */
#define LOCK_PAUSE_MS 50

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* Also those of disks that were given up. */
static bool label_seen(struct pool *p, const char *label)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++)
		if (strcmp(disk_info(disk_at(p->disks, i)).label, label) == 0 &&
		    !disk_is_removed(disk_at(p->disks, i)))
			return true;
	return false;
}

/*
 * The label asked for, or the path's last part, made unique. A disk
 * that was given up keeps its label in lists and logs, so a successor is named apart from it unless the
 * person asks for the same name; a command that names it then means the one that lives.
 */
static int choose_label(struct pool *p, const struct pool_disk_spec *spec, const char *path,
			char out[64], struct pool_message *msg)
{
	if (spec->label) {
		FREE char *cannot = xasprintf("cannot add %s", path);
		int err = label_check(p, spec->label, (disk_id){0}, cannot, msg);

		if (!err)
			snprintf(out, 64, "%s", spec->label);
		return err;
	}
	utf8_copy(out, 51, last_part(path));
	if (out[0] == '\0' || out[0] == '/')
		snprintf(out, 64, "disk%u", p->next_disk);
	if (label_seen(p, out)) {
		char base[64];

		memcpy(base, out, sizeof(base));
		snprintf(out, 64, "%.50s-%u", base, p->next_disk);
	}
	return 0;
}

/* ---- what lies there ---- */

static int any_file(void *ctx, const char *name, uint64_t size_bytes)
{
	(void)ctx;
	(void)name;
	(void)size_bytes;
	return DFS_EEND;
}

/* What meta_format() writes, and no opening has followed: each writes roots of a new epoch before all else. */
static bool is_first_root(const struct root *root, const struct uuid *pool)
{
	return uuid_eq(&root->pool, pool) && root->generation == 1 && root->epoch == 1;
}

static int root_there(struct pool *p, struct dev *dev, char *what, size_t size)
{
	FREE struct root *root = xmalloc(sizeof(*root));
	int err = meta_read_root(dev, root, NULL);

	if (err == DFS_ENOTPOOL || (!err && is_first_root(root, &p->json.pool)))
		return 0;
	if (!err)
		snprintf(what, size, "metadata of epoch %llu", (unsigned long long)root->epoch);
	if (err == DFS_EVERSION || err == DFS_EFEATURE) {
		snprintf(what, size, "metadata of a newer version of this program");
		err = 0;
	}
	return err;
}

/* Anything that could be missed: what[0] is set. 0, or why it can't be told. */
static int find_holdings(struct pool *p, struct dev *dev, char *what, size_t size)
{
	static const char *const parts[][2] = {
		{"segments", "data"},
		{"meta/journal", "a journal"},
		{"meta/checkpoint", "a checkpoint"},
		{"meta/tables", "parts of the index"},
	};
	int err;

	what[0] = '\0';
	err = root_there(p, dev, what, size);
	for (unsigned i = 0; i < ARRAY_SIZE(parts) && !err && !what[0]; i++) {
		err = dev_list(dev, parts[i][0], any_file, NULL);
		if (err == DFS_EEND)
			snprintf(what, size, "%s (%s)", parts[i][1], parts[i][0]);
		if (err == DFS_EEND || err == DFS_ENOENT)
			err = 0;
	}
	return err;
}

/* There is a dynamicfs directory without identity: ours only if nothing is in it. */
static int check_unnamed(struct pool *p, struct dev *dev, const char *path,
			 struct pool_message *msg)
{
	char what[80];
	int err = find_holdings(p, dev, what, sizeof(what));

	if (!err && what[0]) {
		pool_say(
			msg,
			"cannot add %s: %s/dynamicfs holds %s, but its disk.json is missing, so that "
			"nothing tells whose it is; nothing was changed. Move it away",
			path, path, what);
		return DFS_ENOTEMPTYDIR;
	}
	if (!err)
		err = dev_list(dev, "", any_file, NULL);
	if (err == DFS_EEND) {
		pool_say(
			msg,
			"cannot add %s: %s/dynamicfs is there and is not a disk of a pool. Move it away",
			path, path);
		return DFS_ENOTEMPTYDIR;
	}
	return err;
}

/* A disk with the pool's uuid that its index does not name. */
static int check_unknown(struct pool *p, struct dev *dev, const struct disk_json *j,
			 const char *path, struct pool_message *msg)
{
	char what[80];
	int err = p->meta ? removed_while_away(p, dev, j, path, msg) : DFS_ENOENT;

	if ((removed_is(j) && p->meta) || err != DFS_ENOENT)
		return removed_is(j)
			       ? 0
			       : err; /* whatever is left there counts for nothing (DR4, DR10) */
	err = find_holdings(p, dev, what, sizeof(what));
	if (err || !what[0])
		return err;
	if (!p->meta)
		pool_say(
			msg,
			"cannot add %s: it is disk %u (%s) of this pool and holds %s, but the pool "
			"directory %s knows of no disk: it is older than the disk. Nothing was "
			"changed. Move the pool directory away and make it anew from all disks of the "
			"pool: dynamicfs import",
			path, j->id, j->label, what, p->dir);
	else
		pool_say(
			msg,
			"cannot add %s: it holds %s of this pool, as disk %u (%s), which the pool does "
			"not know: it is of another history of the pool, or of a time that was given "
			"up. Nothing was changed. If that is no longer needed, remove %s/dynamicfs "
			"first",
			path, what, j->id, j->label, path);
	return DFS_EEXIST;
}

/* A dynamicfs directory is there already: whose is it? 0: empty, or a leftover of ours that counts for nothing. */
static int check_existing(struct pool *p, struct dev *dev, const char *path,
			  struct pool_message *msg)
{
	struct disk_json j;
	struct rec_disk rec;
	char text[UUID_TEXT_LEN + 1];
	int err = disk_json_read(dev, &j);

	if (err == DFS_ENOENT)
		return check_unnamed(p, dev, path, msg);
	if (err) {
		pool_say(msg,
			 "cannot add %s: its dynamicfs/disk.json cannot be read: %s; nothing was "
			 "changed. If what it holds is no longer needed, remove %s/dynamicfs first",
			 path, dfs_err_text(err), path);
		return err;
	}
	if (!uuid_eq(&j.pool, &p->json.pool)) {
		uuid_format(&j.pool, text);
		pool_say(
			msg,
			"cannot add %s: it is a disk of another pool (%s). If that pool is no longer needed, "
			"remove %s/dynamicfs first",
			path, text, path);
		return DFS_EFOREIGN;
	}
	if (p->meta && get_disk(p->meta, (disk_id){j.id}, &rec) == 0 &&
	    uuid_eq(&rec.uuid, &j.uuid)) {
		pool_say(msg, "cannot add %s: it is already disk %u (%s) of this pool%s", path,
			 j.id, j.label,
			 rec.state == DISK_FAILED
				 ? ", and was failed; to use it again as a new disk, "
				   "remove its dynamicfs directory first"
				 : "");
		return DFS_EEXIST;
	}
	return check_unknown(p, dev, &j, path, msg);
}

/* L1. The directory is locked, not its path: links, bind mounts and copies of the pool directory don't matter. */
static int lock_new(struct dev *dev, const char *path, struct pool_message *msg)
{
	int err = dev_lock(dev);

	for (unsigned i = 1; i < LOCK_TRIALS && err == DFS_ELOCKED; i++) {
		env_sleep_ms(LOCK_PAUSE_MS);
		err = dev_lock(dev);
	}
	if (err == DFS_ELOCKED)
		pool_say(
			msg,
			"cannot add %s: another process uses it, for this or another pool directory; "
			"nothing was changed. Unmount the pool that uses it first",
			path);
	return err;
}

static bool shares_filesystem(struct pool *p, struct dev *dev, disk_id self)
{
	struct dev_space mine, other;

	if (dev_space(dev, &mine))
		return false;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		if (disk_present(d) && disk_info(d).id.v != self.v &&
		    !dev_space(disk_dev(d), &other) && other.fs_id == mine.fs_id)
			return true;
	}
	return false;
}

/* A ring that an adding cut short has left would be another history than what is written next. */
static int clear_leftover(struct pool *p, struct dev *dev)
{
	struct disk_json j;
	int err;

	err = disk_json_read(dev, &j);
	if (!err && removed_is(&j))
		return removed_clear(dev);
	err = !err && p->meta ? removed_forget(p, dev, &j) : DFS_ENOENT;
	if (err != DFS_ENOENT)
		return err;
	err = dev_remove(dev, "meta/roots");
	if (!err)
		err = dev_sync_dir(dev, "meta");
	return err == DFS_ENOENT ? 0 : err;
}

/* Steps 1 and 2; for the first disk its root, too. */
static int make_disk(struct pool *p, struct dev *dev, const struct rec_disk *rec, const char *path)
{
	struct disk_json j = {.pool = p->json.pool,
			      .uuid = rec->uuid,
			      .id = rec->id.v,
			      .capacity_bytes = rec->capacity_bytes,
			      .written_wall_s = env_wall_ns() / 1000000000u};
	struct pool_json_disk *pj;
	int err = clear_leftover(p, dev);

	if (err)
		return err;
	memcpy(j.label, rec->label, sizeof(j.label));
	memcpy(j.domain, rec->domain, sizeof(j.domain));
	snprintf(j.state, sizeof(j.state), "%s", disk_state_name(DISK_HEALTHY));
	err = disk_json_store(dev, &j, NULL);
	if (!err && !p->meta) {
		struct meta_disk md = {.id = rec->id, .uuid = rec->uuid, .dev = dev};
		struct meta_config cfg = {
			.pool = p->json.pool,
			.index_ops = p->env.index_ops ? p->env.index_ops : &index_rocks_ops,
			.index_arg = p->env.index_ops ? p->env.index_arg : p->index_dir,
			.disks = &md,
			.disk_count = 1,
			.copies = 1};
		err = meta_format(&cfg);
	}
	if (err)
		return err;
	env_mutex_lock(&p->json_lock);
	pj = pool_json_find(&p->json, rec->id); /* a leftover of an add that was cut short */
	if (!pj)
		pj = pool_json_add(&p->json);
	*pj = (struct pool_json_disk){.id = rec->id, .uuid = rec->uuid};
	memcpy(pj->label, rec->label, sizeof(pj->label));
	snprintf(pj->state, sizeof(pj->state), "%s", disk_state_name(DISK_HEALTHY));
	snprintf(pj->path, sizeof(pj->path), "%s", path);
	env_mutex_unlock(&p->json_lock);
	return pool_json_store(p);
}

/* Steps 3 and 4. dev: transferred. */
static int join_disk(struct pool *p, struct dev *dev, const struct rec_disk *rec,
		     struct pool_message *msg)
{
	struct rec_settings settings;
	struct meta_txn *t;
	uint64_t seq;
	int err;

	p->next_disk = rec->id.v + 1;
	if (!p->meta) { /* pool_start reads it all back, and finishes the creation */
		FREE struct dev **devs = xcalloc(p->json.disk_count, sizeof(*devs));

		for (unsigned i = 0; i < p->json.disk_count; i++)
			if (p->json.disks[i].id.v == rec->id.v)
				devs[i] = dev;
		return pool_start(p, devs, msg);
	}
	t = meta_begin(p->meta);
	put_disk(t, rec);
	pool_settings_to_rec(p, &settings);
	put_settings(t, &settings);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(p->meta, seq);
	if (err) {
		dev_free(dev);
		return err;
	}
	err = disk_enter(p, rec, dev);
	if (err)
		return err;
	env_mutex_lock(&p->lock);
	p->disk_json_due = true; /* the others tell where it is */
	env_mutex_unlock(&p->lock);
	return members_choose(p);
}

/* Step 0. *ret_dev: the disk, locked; NULL for a dry run where there is none yet. */
static int open_new(struct pool *p, const struct pool_disk_spec *spec, const char *path,
		    char label[64], struct dev **ret_dev, struct pool_message *msg)
{
	struct dev *dev = NULL;
	int err = open_disk_dev(&p->env, p->group, path, "dynamicfs", false, &dev);

	if (!err)
		err = check_existing(p, dev, path, msg); /* says more than that it is locked */
	else if (err == DFS_ENOENT || err == DFS_EGONE)
		err = 0; /* no dynamicfs directory yet */
	if (!err)
		err = choose_label(p, spec, path, label, msg);
	if (!err && !spec->dry_run && !dev) {
		err = open_disk_dev(&p->env, p->group, path, "dynamicfs", true, &dev);
		if (err)
			pool_say(msg, "cannot add %s: cannot make %s/dynamicfs: %s", path, path,
				 dfs_err_text(err));
	}
	if (!err && dev)
		err = lock_new(dev, path, msg);
	if (!err && dev) /* somebody may have been faster */
		err = check_existing(p, dev, path, msg);
	if (!err) {
		*ret_dev = dev;
		return 0;
	}
	if (msg->text[0] == '\0')
		pool_say(msg, "cannot add %s: %s; nothing was changed", path, dfs_err_text(err));
	dev_free(dev);
	return err;
}

/* For whoever adds it: the pool had it before. */
static void note_return(struct pool *p, struct dev *dev, const char *path,
			struct pool_message *ret_note)
{
	struct disk_json j;

	if (!p->meta || disk_json_read(dev, &j) || removed_is(&j) ||
	    !uuid_eq(&j.pool, &p->json.pool) || !meta_has_given_up(p->meta, (disk_id){j.id}))
		return;
	pool_say(
		ret_note,
		"%s was disk %u (%s) of this pool, and was removed while it was away: all that is needed of "
		"it lies on the others, so it is taken as a new, empty disk",
		path, j.id, j.label);
}

static int add_checked(struct pool *p, const struct pool_disk_spec *spec, const char *path,
		       struct disk_info *ret_info, bool *ret_same_fs, struct pool_message *msg)
{
	struct rec_disk rec = {.id = {p->next_disk}, .state = DISK_HEALTHY};
	struct pool_message note = {""};
	struct dev *dev = NULL;
	int err;

	err = open_new(p, spec, path, rec.label, &dev, msg);
	if (err || spec->dry_run) {
		dev_free(dev);
		return err;
	}
	uuid_random(&rec.uuid);
	rec.capacity_bytes = spec->capacity_bytes;
	rec.added_epoch = p->meta ? meta_epoch(p->meta) : 1;
	snprintf(rec.domain, sizeof(rec.domain), "%s", spec->domain ? spec->domain : "");
	snprintf(rec.path, sizeof(rec.path), "%.1023s", path);
	*ret_same_fs = shares_filesystem(p, dev, rec.id);
	note_return(p, dev, path, &note);
	err = make_disk(p, dev, &rec, path);
	if (err)
		dev_free(dev);
	else
		err = join_disk(p, dev, &rec, msg);
	if (!err) {
		*ret_info = disk_info(disk_get(p->disks, rec.id));
		*msg = note;
	} else if (msg->text[0] == '\0') {
		pool_say(msg,
			 "cannot add %s: %s; the pool is as it was, and adding it again is safe",
			 path, dfs_err_text(err));
	}
	return err;
}

int pool_add_disk(struct pool *p, const struct pool_disk_spec *spec, struct disk_info *ret_info,
		  bool *ret_same_fs, struct pool_message *msg)
{
	char real[4096];
	int err;

	ENV_LOCKED(&p->change_lock);
	msg->text[0] = '\0';
	*ret_same_fs = false;
	if (p->read_only && !spec->dry_run)
		return DFS_EROFS;
	if (spec->domain && strlen(spec->domain) > 63) {
		pool_say(msg, "cannot add %s: a failure domain's name has at most 63 bytes",
			 spec->path);
		return DFS_EINVAL;
	}
	if (p->meta && meta_failed(p->meta)) {
		pool_say(
			msg,
			"cannot add %s: %s; nothing was changed. Unmount the pool and mount it again",
			spec->path, dfs_err_text(meta_failed(p->meta)));
		return DFS_EFAILED;
	}
	if (p->next_disk >= META_COUNTERS - META_COUNT_DISK_USED) {
		pool_say(msg, "cannot add %s: a pool names at most %u disks in its life",
			 spec->path, META_COUNTERS - META_COUNT_DISK_USED - 1);
		return DFS_EINVAL;
	}
	if (p->env.open_dev) {
		snprintf(real, sizeof(real), "%s", spec->path);
	} else {
		err = path_check_disk(p, spec->path, real, sizeof(real), msg);
		if (err)
			return err;
	}
	err = add_checked(p, spec, real, ret_info, ret_same_fs, msg);
	env_mutex_lock(&p->lock);
	p->space_ns = 0;
	env_mutex_unlock(&p->lock);
	return err;
}
