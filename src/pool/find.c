/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the pool's disks when it is opened. A disk is known by what its disk.json says, not by its
 * place: it may lie at any path that pool.json names, also at another disk's (device names change), in a
 * directory that is searched (`set --search`), or where another disk's disk.json says. What is found at a new
 * place is remembered there. Two places with one disk's identity are a copy and its original: nobody can tell
 * which, so the pool is refused (P8).
 *
 * Runs before the pool's other threads: no locks but json_lock, for what others read later.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/internal.h"

#define MAX_ENTRIES 4096u /* of one searched directory that are looked at */
#define MAX_HINTS 1024u

struct hint {
	struct uuid uuid; /* whose place it is said to be */
	char *path;
	bool looked; /* at that path */
};

struct finder {
	struct pool *p;
	struct dev **devs;		/* by index of json.disks */
	char (*places)[POOL_JSON_PATH]; /* where devs[i] was found; "" */
	bool *told;			/* whether it has been asked where others are */
	struct hint *hints;		/* those from hint_next on are still to be followed */
	unsigned hint_count, hint_next;
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

/* Two paths of one directory (a symlink, a bind mount) are one place. Both have just answered. */
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
	f->told = xrealloc(f->told, json->disk_count * sizeof(*f->told));
	f->told[json->disk_count - 1] = false;
	f->devs[json->disk_count - 1] = NULL;
	f->places[json->disk_count - 1][0] = '\0';
	return (int)json->disk_count - 1;
}

/* One place that is looked at. */
struct opening {
	struct pool *p;
	char path[POOL_JSON_PATH];
	struct dev *dev;
	struct disk_json dj;
	struct pool_message why;
	int err;
	struct env_thread *thread;
};

static void opening_run(void *arg)
{
	struct opening *o = arg;

	o->err = disk_open_known(o->p, o->path, &o->dev, &o->dj, &o->why);
}

/* What was found there: 0 and no device of ours: it is another's. */
static int found(struct finder *f, const struct opening *o)
{
	struct dev *dev = o->dev;
	const char *path = o->path;
	int i;

	if (o->err)
		return 0;
	i = row_of(f, &o->dj);
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

static int look(struct finder *f, const char *path)
{
	FREE struct opening *o = xcalloc(1, sizeof(*o));

	o->p = f->p;
	snprintf(o->path, sizeof(o->path), "%s", path);
	opening_run(o);
	return found(f, o);
}

/* Many places at the same time: those that hang cost one deadline together. */
static int look_at_all(struct finder *f, struct opening *all, unsigned count)
{
	int err = 0;

	for (unsigned i = 0; i < count; i++)
		all[i].thread = env_thread_try_start("dfs-find", opening_run, &all[i]);
	for (unsigned i = 0; i < count; i++)
		if (!all[i].thread)
			opening_run(&all[i]);
	for (unsigned i = 0; i < count; i++)
		if (all[i].thread)
			env_thread_join(all[i].thread);
	for (unsigned i = 0; i < count; i++) {
		if (!err)
			err = found(f, &all[i]);
		else
			dev_free(all[i].dev);
	}
	return err;
}

/* The names in a directory, which may hang: all of it is on the heap. */
struct listing {
	char *dir;
	char **names;
	unsigned count;
	bool is_read;
};

static void listing_read(void *arg)
{
	struct listing *l = arg;
	DIR *d = opendir(l->dir);
	struct dirent *e;

	l->is_read = d != NULL;
	while (d && l->count < MAX_ENTRIES && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		l->names = xrealloc(l->names, (l->count + 1) * sizeof(*l->names));
		l->names[l->count++] = xstrdup(e->d_name);
	}
	if (d)
		closedir(d);
}

static void listing_free(void *arg)
{
	struct listing *l = arg;

	for (unsigned i = 0; i < l->count; i++)
		free(l->names[i]);
	free(l->names);
	free(l->dir);
	free(l);
}

/* One that does not answer is passed over; the others may hold what is looked for. */
static int look_inside(struct finder *f, const char *dir, const char *name)
{
	FREE char *path = xasprintf("%s/%s", dir, name);
	FREE char *inside = xasprintf("%s/dynamicfs", path);
	char real[POOL_JSON_PATH];
	int why = 0;

	if (path_real_in_time(f->p->group, inside, real, sizeof(real), &why) || why ||
	    path_real_in_time(f->p->group, path, real, sizeof(real), &why) || why)
		return 0;
	return look(f, real);
}

/* The directory itself, and what is in it. */
static int search(struct finder *f, const char *dir)
{
	struct listing *l = xcalloc(1, sizeof(*l));
	int err;

	l->dir = xstrdup(dir);
	err = dev_call_in_time(f->p->group, dir, listing_read, l, listing_free);
	if (err || !l->is_read) {
		log_warn(
			"cannot search %s for disks of the pool: it %s; set --search changes where "
			"is searched",
			dir, err ? "does not answer" : "can't be read");
		if (!err)
			listing_free(l);
		return 0;
	}
	err = look(f, dir);
	for (unsigned i = 0; !err && i < l->count; i++)
		err = look_inside(f, dir, l->names[i]);
	listing_free(l);
	return err;
}

#define LOOK_AT_ONCE 32u

static bool known_silent(const struct pool *p, disk_id id)
{
	for (unsigned i = 0; i < p->silent_count; i++)
		if (p->silent[i].v == id.v)
			return true;
	return false;
}

unsigned pool_silent_at_open(struct pool *p, disk_id *out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->absent_count && n < max; i++)
		if (p->absent[i].err == DFS_ETIMEDOUT)
			out[n++] = p->absent[i].id;
	return n;
}

static void add_hint(struct finder *f, const struct uuid *uuid, const char *path, bool looked)
{
	if (f->hint_count == MAX_HINTS)
		return;
	for (unsigned i = 0; i < f->hint_count; i++)
		if (!strcmp(f->hints[i].path, path) && uuid_eq(&f->hints[i].uuid, uuid))
			return;
	f->hints = xrealloc(f->hints, (f->hint_count + 1) * sizeof(*f->hints));
	f->hints[f->hint_count++] = (struct hint){*uuid, xstrdup(path), looked};
}

static int look_everywhere(struct finder *f, struct pool_message *whys, int *errs, unsigned known)
{
	FREE struct opening *all = xcalloc(LOOK_AT_ONCE, sizeof(*all));
	unsigned rows[LOOK_AT_ONCE], n = 0;
	struct pool *p = f->p;
	int err = 0;

	for (unsigned i = 0; i < known && !err; i++) {
		const struct pool_json_disk *j = &p->json.disks[i]; /* found() may move the rows */

		errs[i] = DFS_EGONE;
		if (strcmp(j->state, disk_state_name(DISK_FAILED)) && j->path[0])
			add_hint(f, &j->uuid, j->path, true);
		if (known_silent(p, j->id)) {
			errs[i] = DFS_ETIMEDOUT;
			pool_say(&whys[i],
				 "the disk at %s does not answer; the pool goes on without it",
				 j->path);
		} else if (strcmp(j->state, disk_state_name(DISK_FAILED)) && j->path[0]) {
			all[n] = (struct opening){.p = p};
			snprintf(all[n].path, sizeof(all[n].path), "%s", j->path);
			rows[n++] = i;
		}
		if (n < LOOK_AT_ONCE && i + 1 < known)
			continue;
		err = look_at_all(f, all, n);
		for (; n > 0; n--) {
			errs[rows[n - 1]] = all[n - 1].err;
			whys[rows[n - 1]] = all[n - 1].why;
		}
	}
	for (unsigned i = 0; i < p->json.search_count && !err && !p->env.open_dev; i++) {
		char dir[POOL_JSON_SEARCH_PATH];

		memcpy(dir, p->json.search[i], sizeof(dir));
		err = search(f, dir);
	}
	return err;
}

/* ---- what disks tell of each other ---- */

/* Found, given up, or known not to answer. */
static bool is_settled(const struct finder *f, const struct uuid *uuid)
{
	const struct pool_json *json = &f->p->json;

	for (unsigned i = 0; i < json->disk_count; i++)
		if (uuid_eq(&json->disks[i].uuid, uuid))
			return f->devs[i] || known_silent(f->p, json->disks[i].id) ||
			       !strcmp(json->disks[i].state, disk_state_name(DISK_FAILED));
	return false;
}

static bool was_looked_at(const struct finder *f, const char *path)
{
	for (unsigned i = 0; i < f->hint_count; i++)
		if (f->hints[i].looked && !strcmp(f->hints[i].path, path))
			return true;
	return false;
}

/* Whoever was found says where others were. */
static void gather_hints(struct finder *f)
{
	FREE struct disk_places *places = xmalloc(sizeof(*places));
	struct disk_json unused;

	for (unsigned i = 0; i < f->p->json.disk_count; i++) {
		if (!f->devs[i] || f->told[i])
			continue;
		f->told[i] = true;
		if (disk_json_read_with(f->devs[i], &unused, places))
			continue;
		for (unsigned k = 0; k < places->count; k++)
			add_hint(f, &places->at[k].uuid, places->at[k].path, false);
	}
}

/* An old pool.json knows neither what was added since nor what has moved. Until nobody tells of anything new. */
static int follow_hints(struct finder *f)
{
	FREE struct opening *all = xcalloc(LOOK_AT_ONCE, sizeof(*all));
	int err = 0;

	gather_hints(f);
	while (!err && f->hint_next < f->hint_count) {
		unsigned n = 0;

		for (; n < LOOK_AT_ONCE && f->hint_next < f->hint_count; f->hint_next++) {
			struct hint *h = &f->hints[f->hint_next];

			if (is_settled(f, &h->uuid) || was_looked_at(f, h->path))
				continue;
			h->looked = true;
			all[n] = (struct opening){.p = f->p};
			snprintf(all[n++].path, sizeof(all->path), "%s", h->path);
		}
		err = look_at_all(f, all, n);
		gather_hints(f);
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

/* L1: what can't be locked is not used. */
static void let_go(struct finder *f, unsigned i, int err)
{
	struct pool_json_disk *j = &f->p->json.disks[i];
	struct pool_message why;

	pool_say(&why, "the disk at %s cannot be locked: %s; the pool goes on without it",
		 f->places[i], dfs_err_text(err));
	log_warn("%s", why.text);
	pool_note_absent(f->p, j->id, err, &why);
	dev_free(f->devs[i]);
	f->devs[i] = NULL;
}

static bool is_place_of_found(const struct finder *f, const char *path)
{
	for (unsigned i = 0; i < f->p->json.disk_count; i++)
		if (f->devs[i] && !strcmp(f->places[i], path))
			return true;
	return false;
}

static bool is_known(const struct finder *f, const char *path)
{
	for (unsigned i = 0; i < f->p->json.disk_count; i++)
		if (!strcmp(f->p->json.disks[i].path, path))
			return true;
	return false;
}

/*
 * Where disks have changed places, one that is away may come back to what another one has left: so that is kept as
 * its last known place, instead of the one at which the other is now. left: where disk i was; NULL: known no more.
 */
static void keep_places(struct finder *f, char *const *left, unsigned known)
{
	for (unsigned i = 0; i < known; i++) {
		struct pool_json_disk *j = &f->p->json.disks[i];

		if (f->devs[i] || !strcmp(j->state, disk_state_name(DISK_FAILED)) ||
		    !is_place_of_found(f, j->path))
			continue;
		for (unsigned k = 0; k < known; k++) {
			if (!left[k] || is_known(f, left[k]))
				continue;
			snprintf(j->path, sizeof(j->path), "%s", left[k]);
			break;
		}
	}
}

/* left: in, nothing; out: where those that have moved were. */
static int lock_found(struct finder *f, char **left, unsigned known)
{
	for (unsigned i = 0; i < f->p->json.disk_count; i++) {
		struct pool_json_disk *j = &f->p->json.disks[i];

		int err = f->devs[i] ? dev_lock(f->devs[i]) : 0;

		if (err && err != DFS_ELOCKED)
			let_go(f, i, err);
		if (!f->devs[i])
			continue;
		if (err) {
			pool_say(
				f->msg,
				"cannot open pool %s: its disk %s is in use through another pool "
				"directory; nothing was done; unmount the pool there first, and wait "
				"until it has stored everything",
				f->p->dir, f->places[i]);
			return DFS_ELOCKED;
		}
		if (strcmp(j->path, f->places[i]) != 0) {
			log_info("disk %u (%s) was at %s and is now at %s", j->id.v, j->label,
				 j->path[0] ? j->path : "an unknown place", f->places[i]);
			if (i < known && j->path[0])
				left[i] = xstrdup(j->path);
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
	FREE char **left = xcalloc(known + 1, sizeof(*left));
	int err;

	f.devs = xcalloc(known + 1, sizeof(*f.devs));
	f.places = xcalloc(known + 1, sizeof(*f.places));
	f.told = xcalloc(known + 1, sizeof(*f.told));
	err = look_everywhere(&f, whys, errs, known);
	f.hint_next = f.hint_count;
	if (!err && !p->only_named)
		err = follow_hints(&f);
	if (!err) {
		note_missing(&f, whys, errs, known);
		err = lock_found(&f, left, known);
	}
	if (!err)
		keep_places(&f, left, known);
	for (unsigned i = 0; i < known; i++)
		free(left[i]);
	for (unsigned i = 0; i < f.hint_count; i++)
		free(f.hints[i].path);
	free(f.hints);
	free(f.told);
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
		char real[SEARCH_PATH_MAX] = "";
		int why = 0;
		int err = path_real_in_time(p->group, dirs[i], real, sizeof(real), &why);

		if (err || why) {
			pool_say(msg, "cannot search %s for disks: %s", dirs[i],
				 err		 ? "it does not answer"
				 : why == ENOENT ? "no such directory"
						 : dfs_err_text(why));
			return err ? err : DFS_ENOTDIR;
		}
		memcpy(rec->dirs[rec->count++], real, SEARCH_PATH_MAX);
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
