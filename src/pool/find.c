/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the pool's disks when it is opened. A disk is known by what its disk.json says, not by its
 * place: it may lie at any path that pool.json names, also at another disk's (device names change), or in a
 * directory that is searched (`set --search`). What is found at a new place is remembered there. Two places
 * with one disk's identity are a copy and its original: nobody can tell which, so the pool is refused (P8).
 *
 * Runs before the pool's other threads: no locks but json_lock, for what others read later.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/internal.h"

#define MAX_ENTRIES 4096u /* of one searched directory that are looked at */

struct finder {
	struct pool *p;
	struct dev **devs;		/* by index of json.disks */
	char (*places)[POOL_JSON_PATH]; /* where devs[i] was found; "" */
	struct pool_message *msg;
};

static int say_copy(struct finder *f, unsigned i, const char *path)
{
	const struct pool_json_disk *j = &f->p->json.disks[i];

	pool_say(
		f->msg,
		"cannot open pool %s: disk %u (%s) is there twice, at %.400s and at %.400s: one is a copy "
		"of the other, and nothing tells which; nothing was done. Take one of them away",
		f->p->dir, j->id.v, j->label, f->places[i], path);
	return DFS_ESPLIT;
}

/* Two paths of one directory (a symlink, a bind mount) are one place. */
static bool same_place(const struct finder *f, const char *a, const char *b)
{
	FREE char *in_a = xasprintf("%s/dynamicfs", a), *in_b = xasprintf("%s/dynamicfs", b);
	struct stat x, y;

	if (!strcmp(a, b))
		return true;
	return !f->p->env.open_dev && stat(in_a, &x) == 0 && stat(in_b, &y) == 0 &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The disk's row in pool.json, made if need be: an old pool.json does not name what was added since. */
static int row_of(struct finder *f, const struct disk_json *dj)
{
	struct pool_json *json = &f->p->json;
	struct pool_json_disk *j;

	for (unsigned i = 0; i < json->disk_count; i++) {
		if (uuid_eq(&json->disks[i].uuid, &dj->uuid))
			return (int)i;
		if (json->disks[i].id.v == dj->id)
			return -1;
	}
	if (json->disk_count == POOL_JSON_MAX_DISKS)
		return -1;
	j = pool_json_add(json);
	j->id.v = dj->id;
	j->uuid = dj->uuid;
	memcpy(j->label, dj->label, sizeof(j->label));
	snprintf(j->state, sizeof(j->state), "%s", disk_state_name(DISK_HEALTHY));
	f->devs = xrealloc(f->devs, json->disk_count * sizeof(*f->devs));
	f->places = xrealloc(f->places, json->disk_count * sizeof(*f->places));
	f->devs[json->disk_count - 1] = NULL;
	f->places[json->disk_count - 1][0] = '\0';
	return (int)json->disk_count - 1;
}

/* Looks at one place. *ret_why: why what is there can't be used; 0 and no device: it is another's. */
static int look(struct finder *f, const char *path, struct pool_message *why, int *ret_why)
{
	struct disk_json dj;
	struct dev *dev = NULL;
	int i;

	*ret_why = disk_open_known(f->p, path, NULL, &dev, &dj, why);
	if (*ret_why)
		return 0;
	i = row_of(f, &dj);
	if (i < 0 || !strcmp(f->p->json.disks[i].state, disk_state_name(DISK_FAILED))) {
		dev_free(dev);
		return 0;
	}
	if (f->devs[i]) {
		dev_free(dev);
		return same_place(f, f->places[i], path) ? 0 : say_copy(f, (unsigned)i, path);
	}
	f->devs[i] = dev;
	snprintf(f->places[i], sizeof(f->places[i]), "%s", path);
	return 0;
}

/* The directory itself, and what is in it. */
static int search(struct finder *f, const char *dir)
{
	DIR *d = opendir(dir);
	struct pool_message why;
	struct dirent *e;
	int err, unused;

	if (!d) {
		log_warn("cannot search %s for disks of the pool: it can't be read; set --search "
			 "changes where is searched",
			 dir);
		return 0;
	}
	err = look(f, dir, &why, &unused);
	for (unsigned n = 0; !err && n < MAX_ENTRIES && (e = readdir(d)); n++) {
		FREE char *path = NULL, *inside = NULL, *real = NULL;
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		path = xasprintf("%s/%s", dir, e->d_name);
		inside = xasprintf("%s/dynamicfs", path);
		if (stat(inside, &st) != 0 || !S_ISDIR(st.st_mode))
			continue;
		real = realpath(path, NULL);
		if (real && strlen(real) < POOL_JSON_PATH)
			err = look(f, real, &why, &unused);
	}
	closedir(d);
	return err;
}

static int look_everywhere(struct finder *f, struct pool_message *whys, int *errs, unsigned known)
{
	struct pool *p = f->p;
	int err = 0;

	for (unsigned i = 0; i < known && !err; i++) {
		char path[POOL_JSON_PATH]; /* look() may move the rows */

		errs[i] = DFS_EGONE;
		if (!strcmp(p->json.disks[i].state, disk_state_name(DISK_FAILED)) ||
		    !p->json.disks[i].path[0])
			continue;
		memcpy(path, p->json.disks[i].path, sizeof(path));
		err = look(f, path, &whys[i], &errs[i]);
	}
	for (unsigned i = 0; i < p->json.search_count && !err && !p->env.open_dev; i++) {
		char dir[POOL_JSON_SEARCH_PATH];

		memcpy(dir, p->json.search[i], sizeof(dir));
		err = search(f, dir);
	}
	return err;
}

/* What was not found anywhere, and why not where it was last. */
static void note_missing(struct finder *f, struct pool_message *whys, const int *errs,
			 unsigned known)
{
	for (unsigned i = 0; i < known; i++) {
		struct pool_json_disk *j = &f->p->json.disks[i];

		if (f->devs[i] || !strcmp(j->state, disk_state_name(DISK_FAILED)))
			continue;
		if (!errs[i])
			pool_say(
				&whys[i],
				"disk %u (%s) is not at %s, where another one is, nor elsewhere that is "
				"known or searched; the pool goes on without it",
				j->id.v, j->label, j->path);
		log_warn("%s", whys[i].text);
		pool_note_absent(f->p, j->id, errs[i] ? errs[i] : DFS_EGONE, &whys[i]);
	}
}

static int lock_found(struct finder *f)
{
	for (unsigned i = 0; i < f->p->json.disk_count; i++) {
		struct pool_json_disk *j = &f->p->json.disks[i];

		if (!f->devs[i])
			continue;
		if (dev_lock(f->devs[i])) {
			pool_say(f->msg,
				 "cannot open pool %s: its disk %s is in use through another pool "
				 "directory; nothing was done; unmount the pool there first",
				 f->p->dir, f->places[i]);
			return DFS_ELOCKED;
		}
		if (strcmp(j->path, f->places[i]) != 0) {
			log_info("disk %u (%s) was at %s and is now at %s", j->id.v, j->label,
				 j->path[0] ? j->path : "an unknown place", f->places[i]);
			memcpy(j->path, f->places[i], sizeof(j->path));
		}
	}
	return 0;
}

static void take_search(struct pool *p, const struct rec_search *rec)
{
	_Static_assert(SEARCH_MAX == POOL_JSON_MAX_SEARCH, "directories");
	_Static_assert(SEARCH_PATH_MAX == POOL_JSON_SEARCH_PATH, "their paths");
	ENV_LOCKED(&p->json_lock);
	p->json.search_count = rec->count;
	memcpy(p->json.search, rec->dirs, sizeof(p->json.search));
}

int find_disks(struct pool *p, struct dev ***ret_devs, struct pool_message *msg)
{
	unsigned known = p->json.disk_count;
	struct finder f = {.p = p, .msg = msg};
	FREE struct pool_message *whys = xcalloc(known + 1, sizeof(*whys));
	FREE int *errs = xcalloc(known + 1, sizeof(*errs));
	int err;

	f.devs = xcalloc(known + 1, sizeof(*f.devs));
	f.places = xcalloc(known + 1, sizeof(*f.places));
	err = look_everywhere(&f, whys, errs, known);
	if (!err) {
		note_missing(&f, whys, errs, known);
		err = lock_found(&f);
	}
	free(f.places);
	*ret_devs = f.devs;
	return err;
}

/* ---- the setting ---- */

int pool_set_search(struct pool *p, const char *const *dirs, unsigned count,
		    struct pool_message *msg)
{
	FREE struct rec_search *rec = xcalloc(1, sizeof(*rec));
	struct meta_txn *t;
	uint64_t seq;
	int err;

	if (count > SEARCH_MAX) {
		pool_say(msg, "cannot search more than %u directories for disks", SEARCH_MAX);
		return DFS_EINVAL;
	}
	for (unsigned i = 0; i < count; i++) {
		FREE char *real = realpath(dirs[i], NULL);
		struct stat st;

		if (!real || stat(real, &st) != 0 || !S_ISDIR(st.st_mode) ||
		    strlen(real) >= SEARCH_PATH_MAX) {
			pool_say(msg, "cannot search %s for disks: no such directory", dirs[i]);
			return DFS_ENOTDIR;
		}
		snprintf(rec->dirs[rec->count++], SEARCH_PATH_MAX, "%s", real);
	}
	ENV_LOCKED(&p->change_lock);
	if (p->meta) {
		t = meta_begin(p->meta);
		put_search(t, rec);
		err = meta_commit(t, &seq);
		if (!err)
			err = meta_sync(p->meta, seq);
		if (err) {
			pool_say(msg, "cannot store where disks are searched: %s",
				 dfs_err_text(err));
			return err;
		}
	}
	take_search(p, rec);
	err = pool_json_store(p);
	if (err)
		pool_say(msg,
			 "cannot write %s/pool.json: %s; the disks remember where to search, the "
			 "pool directory does not yet",
			 p->dir, dfs_err_text(err));
	return err;
}

unsigned pool_get_search(struct pool *p, unsigned i, char *out, size_t out_len)
{
	ENV_LOCKED(&p->json_lock);
	if (i < p->json.search_count)
		snprintf(out, out_len, "%s", p->json.search[i]);
	return p->json.search_count;
}

/* What the disks remember counts: the pool directory may be new, or old. */
int find_load_search(struct pool *p)
{
	FREE struct rec_search *rec = xcalloc(1, sizeof(*rec));
	int err = get_search(p->meta, rec);

	if (!err && rec->count)
		take_search(p, rec);
	return err;
}
