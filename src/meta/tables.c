/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks hold which fragments of the index's table files: where new ones go, which are short and
 * can be made whole, what may be removed. docs/DESIGN.md, section "Where the image lies" (T1..T8).
 *
 * Everything here runs under `admin`; nothing under the token or `state`. The next manifest is worked on
 * aside; the published one is only read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/words.h"
#include "dev/disk.h"
#include "meta/internal.h"

#define FS_BLOCK 4096u

/* ---- the disks as a run sees them ---- */

struct listed {
	char name[TABLE_STORED_LEN];
	uint64_t size_bytes;
};

struct disk_view {
	struct meta_disk *disk;
	struct listed *have; /* by name */
	unsigned count, room;
	bool touched; /* its directory has to be synced */
	bool failed;  /* an operation failed in this run: nothing more is asked of it */
};

struct tables_run {
	struct meta *m;
	struct disk_view views[META_MAX_DISKS];
	struct place_disk places[META_MAX_DISKS]; /* of views[i] */
	unsigned count;
	uint8_t new_m;	     /* losses that new tables bear */
	bool short_of_space; /* for a repair */
	bool again;	     /* what was written to some disk may not last */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

static int list_add(void *ctx, const char *name, uint64_t size_bytes)
{
	struct disk_view *v = ctx;

	if (strlen(name) >= TABLE_STORED_LEN)
		return 0; /* none of ours */
	if (v->count == v->room) {
		v->room = v->room ? 2 * v->room : 64;
		v->have = xrealloc(v->have, v->room * sizeof(*v->have));
	}
	strcpy(v->have[v->count].name, name);
	v->have[v->count++].size_bytes = size_bytes;
	return 0;
}

static int view_list(struct disk_view *v)
{
	struct dev *dev = v->disk->dev;
	int err;

	v->count = 0;
	err = dev_list(dev, TABLE_DIR, list_add, v);
	if (err == DFS_ENOENT) {
		err = dev_mkdir(dev, "meta");
		if (err == 0)
			err = dev_mkdir(dev, TABLE_DIR);
		if (err == 0)
			err = dev_sync_dir(dev, "meta");
	}
	if (err == 0 && v->count)
		qsort(v->have, v->count, sizeof(*v->have), by_name);
	return err;
}

static bool view_has(const struct disk_view *v, const struct manifest_file *f, unsigned index)
{
	struct listed key, *found;

	if (v->count == 0)
		return false;
	table_stored_name(f->name, &f->hash, f->k, f->m, index, key.name);
	found = bsearch(&key, v->have, v->count, sizeof(*v->have), by_name);
	return found && found->size_bytes == table_fragment_bytes(f->size_bytes, f->k);
}

static void view_failed(struct tables_run *r, unsigned d, int err, const char *doing)
{
	struct disk_view *v = &r->views[d];

	if (err == DFS_ENOSPC) {
		r->places[d].free_bytes = 0;
		return;
	}
	if (v->failed)
		return;
	v->failed = true;
	r->places[d].eligible = false;
	if (r->m->table_failed[d])
		return;
	r->m->table_failed[d] = true; /* until the pool says which disks there are now */
	tables_disk_failed(r->m, v->disk, err, doing);
}

/* What new fragments may take: the filesystem's free space, within the disk's limit, but not the reserve: it is
 * for what has no other place, manifests and roots. */
static uint64_t room_on(struct meta *m, const struct meta_disk *d)
{
	struct dev_space space;
	uint64_t used;

	if (dev_space_now(d->dev, &space))
		return 0;
	space.free_bytes -= MIN(space.free_bytes, disk_reserve_of(space.total_bytes));
	if (d->capacity_bytes == 0)
		return space.free_bytes;
	used = (uint64_t)meta_counter(m, META_COUNT_DISK_USED + d->id.v) +
	       meta_disk_bytes(m, d->id);
	return MIN(space.free_bytes, d->capacity_bytes > used ? d->capacity_bytes - used : 0);
}

static struct tables_run *run_new(struct meta *m)
{
	struct tables_run *r = xcalloc(1, sizeof(*r));

	r->m = m;
	r->count = m->disk_count;
	for (unsigned d = 0; d < r->count; d++) {
		struct meta_disk *disk = &m->disks[d];
		int err;

		r->views[d].disk = disk;
		r->places[d] = (struct place_disk){.id = disk->id,
						   .domain = disk->domain,
						   .eligible = !disk->no_new &&
							       !m->table_failed[d]};
		err = view_list(&r->views[d]);
		if (err)
			view_failed(r, d, err, "list the metadata tables");
		else if (r->places[d].eligible)
			r->places[d].free_bytes = room_on(m, disk);
	}
	return r;
}

static void run_free(struct tables_run *r)
{
	for (unsigned d = 0; d < r->count; d++)
		free(r->views[d].have);
	free(r);
}

static int find_view(const struct tables_run *r, disk_id id)
{
	for (unsigned d = 0; d < r->count; d++)
		if (r->views[d].disk->id.v == id.v)
			return (int)d;
	return -1;
}

/* ---- geometry and places ---- */

static uint64_t need_bytes(const struct manifest_file *f, unsigned k)
{
	return ALIGN_UP(table_fragment_bytes(f->size_bytes, k), FS_BLOCK);
}

struct place_geometry tables_wanted(const struct meta *m)
{
	unsigned k = MIN(MAX(m->cfg.table_k, 1u), TABLE_MAX_K), m_wanted = m->cfg.copies - 1;

	return (struct place_geometry){(uint8_t)k, (uint8_t)MIN(m_wanted, TABLE_MAX_M)};
}

/* As for data: tolerance is given up only for want of disks, never for want of space (T2). */
static int fit_as(const struct tables_run *r, struct place_geometry wanted, uint64_t size_bytes,
		  struct place_geometry *ret)
{
	unsigned domains = place_domains(r->places, r->count, 0);
	int err;

	/* the headers grow with the table, too */
	err = place_fit(r->places, r->count, wanted, size_bytes + size_bytes / 1024, ret);
	if (err)
		return err;
	return ret->m < wanted.m && domains > (unsigned)ret->m + 1 ? DFS_ENOSPC : 0;
}

static int fit(const struct tables_run *r, uint64_t size_bytes, struct place_geometry *ret)
{
	return fit_as(r, tables_wanted(r->m), size_bytes, ret);
}

static int fit_new(const struct tables_run *r, uint64_t size_bytes, struct place_geometry *ret)
{
	struct place_geometry wanted = tables_wanted(r->m);

	wanted.m = r->new_m;
	return fit_as(r, wanted, size_bytes, ret);
}

static unsigned disks_of(const struct manifest_file *f, uint32_t without, disk_id *ret_ids)
{
	unsigned n = 0;

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++)
		if (f->fragments[i].disk.v && !(without & (1u << i)))
			ret_ids[n++] = f->fragments[i].disk;
	return n;
}

/* Fragments that are not there: lost with their disk, gone, or rotten. */
static uint32_t missing_of(const struct tables_run *r, const struct manifest_file *f)
{
	uint32_t missing = f->rotten;

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		int d = f->fragments[i].disk.v ? find_view(r, f->fragments[i].disk) : -1;

		if (d < 0 || r->views[d].failed || r->views[d].disk->leaving ||
		    !view_has(&r->views[d], f, i))
			missing |= 1u << i;
	}
	return missing;
}

/*
 * DR6: of those missing that lie on disks which are being emptied, those that have no place for want of disks, whatever their
 * room: they are given up, as fewer disks bear fewer losses.
 */
static uint32_t without_place(const struct tables_run *r, const struct manifest_file *f,
			      uint32_t missing)
{
	disk_id others[TABLE_MAX_WIDTH], unused;
	unsigned count = disks_of(f, missing, others), sure = 0;
	uint32_t found = 0;

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++)
		sure += !(missing & (1u << i));
	if (sure < f->k || place_pick(r->places, r->count, 1, 0, others, count, 0, &unused) == 0)
		return 0;
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		int d = f->fragments[i].disk.v ? find_view(r, f->fragments[i].disk) : -1;

		if ((missing & (1u << i)) && d >= 0 && r->views[d].disk->leaving)
			found |= 1u << i;
	}
	return found;
}

/*
 * A place for each missing fragment that has one: its own disk again where that takes it, else any that
 * has none of the table. Returns which got one.
 */
static uint32_t places_for(struct tables_run *r, struct manifest_file *f, uint32_t missing)
{
	disk_id exclude[2 * TABLE_MAX_WIDTH];
	unsigned excluded = disks_of(f, missing, exclude);
	uint32_t placed = 0;

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		int d = f->fragments[i].disk.v ? find_view(r, f->fragments[i].disk) : -1;

		if (!(missing & (1u << i)) || d < 0 || !r->places[d].eligible ||
		    r->places[d].free_bytes < need_bytes(f, f->k))
			continue;
		exclude[excluded++] = f->fragments[i].disk;
		placed |= 1u << i;
	}
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		disk_id id;

		if (!(missing & ~placed & (1u << i)) ||
		    place_pick(r->places, r->count, 1, need_bytes(f, f->k), exclude, excluded,
			       f->hash.b[0], &id))
			continue;
		f->fragments[i].disk = exclude[excluded++] = id;
		placed |= 1u << i;
	}
	return placed;
}

/* How many more losses a table bears. Negative: it can't be read from its fragments. */
static int tolerance(const struct manifest_file *f, uint32_t missing)
{
	return (int)f->m - __builtin_popcount(missing);
}

/* Of fragments that are there, those on disks that take nothing new count as missing, too. */
static uint32_t not_renewable(const struct tables_run *r, const struct manifest_file *f)
{
	uint32_t missing = missing_of(r, f);

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		int d = f->fragments[i].disk.v ? find_view(r, f->fragments[i].disk) : -1;

		if (d >= 0 && !r->places[d].eligible)
			missing |= 1u << i;
	}
	return missing;
}

/* How many more losses the index as a whole bears: as many as the weakest of its tables. */
static uint8_t index_bears(const struct tables_run *r)
{
	int least = tables_wanted(r->m).m;
	ENV_LOCKED(&r->m->heal); /* a reader may find one rotten just now */

	for (unsigned i = 0; i < r->m->manifest.count; i++) {
		const struct manifest_file *f = &r->m->manifest.files[i];

		least = MIN(least, tolerance(f, not_renewable(r, f)));
	}
	return (uint8_t)MAX(least, MIN(1, tables_wanted(r->m).m));
}

/* ---- one table ---- */

/* The table of the published manifest that a file of this name and size is. */
static const struct manifest_file *find_file(const struct manifest *in,
					     const struct manifest_file *f)
{
	const struct manifest_file *found = manifest_find(in, f->name);

	return found && found->size_bytes == f->size_bytes ? found : NULL;
}

/* Writes the fragments of mask where f says they go. *ret_failed: those that could not be. */
static int write_some(struct tables_run *r, struct manifest_file *f, bool known, uint32_t mask,
		      uint32_t *ret_failed)
{
	struct dev *devs[TABLE_MAX_WIDTH] = {NULL};
	int errs[TABLE_MAX_WIDTH], at[TABLE_MAX_WIDTH], err;

	*ret_failed = 0;
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		at[i] = mask & (1u << i) ? find_view(r, f->fragments[i].disk) : -1;
		if (at[i] >= 0)
			devs[i] = r->views[at[i]].disk->dev;
	}
	err = table_write(r->m, f, known, devs, errs);
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		if (!devs[i])
			continue;
		r->views[at[i]].touched = true;
		if (err)
			continue;
		if (errs[i]) {
			*ret_failed |= 1u << i;
			view_failed(r, (unsigned)at[i], errs[i], "write a metadata table");
			continue;
		}
		f->rotten &= ~(1u << i);
		r->places[at[i]].free_bytes -= MIN(r->places[at[i]].free_bytes,
						   need_bytes(f, f->k));
	}
	return err;
}

/* Does the published manifest name just this fragment on this disk? */
static bool is_published(const struct meta *m, const struct manifest_file *f, unsigned i)
{
	const struct manifest_file *old = find_file(&m->manifest, f);

	return old && old->k == f->k && old->m == f->m &&
	       memcmp(&old->hash, &f->hash, sizeof(f->hash)) == 0 &&
	       old->fragments[i].disk.v == f->fragments[i].disk.v;
}

/* What was written of a table that can't be stored this way. */
static void unwrite(struct tables_run *r, const struct manifest_file *f, uint32_t mask)
{
	char path[TABLE_PATH_LEN];

	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		int d = mask & (1u << i) ? find_view(r, f->fragments[i].disk) : -1;

		table_path(f, i, path);
		if (d >= 0 && !is_published(r->m, f, i) &&
		    dev_remove(r->views[d].disk->dev, path) == 0)
			r->places[d].free_bytes += need_bytes(f, f->k);
	}
}

/* A table that lies nowhere yet, or that gets another geometry: whole, or DFS_ENOSPC (T2). */
static int store_whole(struct tables_run *r, struct manifest_file *f, bool known)
{
	/* each turn but the last takes a disk out */
	for (unsigned turn = 0; turn <= r->count; turn++) {
		disk_id ids[TABLE_MAX_WIDTH];
		struct place_geometry g;
		uint32_t failed, all;
		int err = known ? fit(r, f->size_bytes, &g) : fit_new(r, f->size_bytes, &g);

		if (err == 0)
			err = place_pick(r->places, r->count, (unsigned)g.k + g.m,
					 need_bytes(f, g.k), NULL, 0,
					 (uint32_t)hash64_two(f->name, strlen(f->name), NULL, 0),
					 ids);
		if (err)
			return err;
		f->k = g.k;
		f->m = g.m;
		f->rotten = 0;
		memset(f->fragments, 0, sizeof(f->fragments));
		for (unsigned i = 0; i < (unsigned)g.k + g.m; i++)
			f->fragments[i].disk = ids[i];
		all = (1u << (g.k + g.m)) - 1;
		err = write_some(r, f, known, all, &failed);
		if (err || failed == 0)
			return err;
		unwrite(r, f, all & ~failed);
	}
	return DFS_ENOSPC;
}

/* Would the table bear more losses, stored anew, than with these fragments missing? */
static bool better_anew(const struct tables_run *r, const struct manifest_file *f, uint32_t missing)
{
	int left = tolerance(f, missing);
	struct place_geometry g;

	return left < (int)tables_wanted(r->m).m && fit(r, f->size_bytes, &g) == 0 &&
	       (int)g.m > left;
}

/*
 * Makes a table that is short as whole as the disks allow: the missing fragments onto disks that have
 * none, or, when that leaves it less safe than another geometry would, all of it anew.
 */
static int repair(struct tables_run *r, struct manifest_file *f, uint32_t missing)
{
	struct manifest_file next = *f;
	uint32_t placed = places_for(r, &next, missing), failed = 0;
	int err;

	if (better_anew(r, f, missing & ~placed)) {
		next = *f;
		err = store_whole(r, &next, true);
		if (err == 0)
			*f = next;
		return err;
	}
	for (uint32_t left = without_place(r, &next, missing & ~placed), i = 0; left >> i; i++)
		if (left >> i & 1)
			next.fragments[i] = f->fragments[i] = (struct manifest_fragment){0};
	if (placed == 0)
		return 0;
	err = write_some(r, &next, true, placed, &failed);
	if (err)
		return err;
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++)
		if (failed & (1u << i))
			next.fragments[i] = f->fragments[i];
	*f = next;
	return failed ? DFS_ENOSPC : 0;
}

static bool repairable(struct tables_run *r, const struct manifest_file *f, uint32_t missing)
{
	struct manifest_file next = *f;

	return places_for(r, &next, missing) || better_anew(r, f, missing) ||
	       without_place(r, f, missing);
}

/* As much as it may take, at most: a fragment for each that is missing, or all of it anew. */
static uint64_t repair_bytes(const struct manifest_file *f, uint32_t missing)
{
	unsigned width = (unsigned)f->k + f->m;
	uint64_t some = (uint64_t)__builtin_popcount(missing) * need_bytes(f, f->k);
	uint64_t anew = (f->size_bytes / f->k + FS_BLOCK) * width;

	return MAX(some, anew + anew / 1024);
}

/* Within what is spare (A6). */
static int repair_spare(struct tables_run *r, struct manifest_file *f, uint32_t missing)
{
	const struct meta_config *cfg = &r->m->cfg;
	uint64_t bytes = repair_bytes(f, missing);
	int err;

	if (!cfg->spare)
		return repair(r, f, missing);
	cfg->spare(cfg->ctx, bytes, true, r->places, r->count);
	err = repairable(r, f, missing) ? repair(r, f, missing) : DFS_ENOSPC;
	cfg->spare(cfg->ctx, bytes, false, NULL, 0);
	return err;
}

/* ---- all of them ---- */

/* A local file that differs from what its fragments say has rotted here: it is healed from them (P3). */
static int healed(struct meta *m, struct manifest_file *f, int err)
{
	if (err != DFS_ECHECKSUM)
		return err;
	return image_heal(m, f->name) ? 0 : DFS_ECHECKSUM;
}

static int repair_known(struct tables_run *r, struct manifest_file *f, uint32_t missing)
{
	int err = repair_spare(r, f, missing);

	if (err == DFS_ECHECKSUM) {
		err = healed(r->m, f, err);
		if (err == 0)
			err = repair_spare(r, f, missing);
	}
	if (err != DFS_ENOSPC)
		return err;
	/* What is there stays as it was; the checkpoint itself is not held up. */
	if (!r->short_of_space)
		log_warn("the metadata table %s bears %d more of the %u %s that it should bear, "
			 "and there is no space to write it anew: it is tried again; add a disk or "
			 "free some space",
			 f->name, tolerance(f, missing), f->m, plural(f->m, "loss", "losses"));
	r->short_of_space = true;
	return 0;
}

/* A disk whose directory can't be synced holds nothing for sure. */
static void sync_dirs(struct tables_run *r)
{
	for (unsigned d = 0; d < r->count; d++) {
		int err;

		if (!r->views[d].touched || r->views[d].failed)
			continue;
		err = dev_sync_dir(r->views[d].disk->dev, TABLE_DIR);
		if (err)
			view_failed(r, d, err, "sync the metadata tables' directory");
		r->again |= err != 0;
	}
}

/* The file of the published manifest that need not be stored again (T4). */
static const struct manifest_file *stored_as(const struct meta *m, const struct manifest_file *f)
{
	return index_written_once(f->name) ? find_file(&m->manifest, f) : NULL;
}

/* Takes off what the next checkpoint writes, and `more` besides. Is there so much? */
static bool take_next(struct tables_run *r, uint64_t more)
{
	FREE uint64_t *taken = xcalloc(r->count + 1, sizeof(*taken));
	struct meta_space s;
	unsigned width;

	meta_space(r->m, &s);
	width = (unsigned)s.geometry.k + s.geometry.m;
	more = (more + s.file_bytes) / s.geometry.k * width; /* of a file the whole */
	return place_take(r->places, r->count, width, s.next_bytes + more, taken) == 0;
}

/*
 * Where lost disks have made the index weaker, and there is no space for strong tables beside it, new ones are as
 * weak (T8). That makes the index no weaker; and they take no more of each disk that is left than strong
 * ones did of each that there was, which was kept free (T7).
 */
static void choose_tolerance(struct tables_run *r, const struct manifest *next)
{
	struct place_disk places[META_MAX_DISKS];
	uint8_t bears = index_bears(r);
	uint64_t content = 0;

	r->new_m = tables_wanted(r->m).m;
	if (bears == r->new_m)
		return;
	for (unsigned i = 0; i < next->count; i++)
		if (!stored_as(r->m, &next->files[i]))
			content += next->files[i].size_bytes;
	memcpy(places, r->places, sizeof(places));
	if (!take_next(r, content)) {
		PROBE("tables-as-weak-as-the-index");
		r->new_m = bears;
	}
	memcpy(r->places, places, sizeof(places));
}

#define ROOM_STEPS 16u /* to a table */

/* For so much content of new tables there is room, as whole fragments of k + m. */
static uint64_t room_as(const struct tables_run *r, unsigned k, unsigned m)
{
	struct manifest_file table = {.size_bytes = index_table_bytes(r->m->cfg.checkpoint_bytes)};
	FREE uint64_t *taken = xcalloc(r->count + 1, sizeof(*taken));
	FREE struct place_disk *places = xmalloc(sizeof(r->places));
	uint64_t each = need_bytes(&table, k), sum = 0, fits = 0, over;

	for (unsigned d = 0; d < r->count; d++)
		sum += r->places[d].eligible ? r->places[d].free_bytes : 0;
	over = sum * ROOM_STEPS / (each * (k + m)) + 1;
	while (fits + 1 < over) {
		uint64_t steps = fits + (over - fits) / 2;

		memcpy(places, r->places, sizeof(r->places));
		for (unsigned d = 0; d < r->count; d++) /* less than a fragment is of no use */
			places[d].free_bytes -= MIN(places[d].free_bytes, each);
		if (place_take(places, r->count, k + m, steps * each / ROOM_STEPS * (k + m), taken))
			over = steps;
		else
			fits = steps;
	}
	return fits * table.size_bytes / ROOM_STEPS;
}

uint64_t tables_room(struct meta *m)
{
	struct tables_run *r = run_new(m);
	uint8_t bears = index_bears(r); /* new ones may be as weak, where room is short (T8) */
	uint64_t room = 0;

	for (unsigned k = tables_wanted(m).k; k > 0; k--)
		room = MAX(room, room_as(r, k, bears));
	run_free(r);
	return room;
}

static int store_new(struct tables_run *r, struct manifest *next)
{
	int err = 0;

	choose_tolerance(r, next);
	for (unsigned i = 0; i < next->count && err == 0; i++)
		if (!stored_as(r->m, &next->files[i]))
			err = store_whole(r, &next->files[i], false);
	return err;
}

/* What fallocate has promised (F9), before there is somebody who accepts writes: at least as copies of data take. */
static bool take_promised(struct tables_run *r)
{
	FREE uint64_t *taken = xcalloc(r->count + 1, sizeof(*taken));
	int64_t promised = meta_counter(r->m, META_COUNT_PREALLOC_BYTES);
	uint64_t each = promised > 0 ? (uint64_t)promised / 4 * 5 : 0;

	return !each || place_take(r->places, r->count, r->m->cfg.copies, each * r->m->cfg.copies,
				   taken) == 0;
}

/*
 * Repairs leave what the next checkpoint needs: else none could be made, and nothing be deleted any more (T8); and
 * what was promised (A6).
 */
static void hold_for_next(struct tables_run *r)
{
	bool enough = take_next(r, 0) && take_promised(r);

	for (unsigned d = 0; !enough && d < r->count; d++)
		r->places[d].free_bytes = 0;
}

static int repair_all(struct tables_run *r, struct manifest *next)
{
	struct meta *m = r->m;
	int err = 0;

	for (unsigned i = 0; i < next->count && err == 0; i++) {
		struct manifest_file *f = &next->files[i];
		const struct manifest_file *old = stored_as(m, f);
		uint32_t missing;

		if (!old)
			continue;
		env_mutex_lock(&m->heal); /* a reader may find one rotten just now */
		*f = *old;
		env_mutex_unlock(&m->heal);
		missing = missing_of(r, f);
		if (repairable(r, f, missing))
			err = repair_known(r, f, missing);
	}
	return err;
}

static int store_all(struct tables_run *r, struct manifest *next)
{
	int err = store_new(r, next);

	if (err == 0) {
		hold_for_next(r);
		err = repair_all(r, next);
	}
	if (err == 0)
		sync_dirs(r);
	return err;
}

/* What new tables get with the disks as they are now, for the account of space. */
static void note_geometry(const struct tables_run *r)
{
	struct place_geometry g;

	if (fit(r, index_table_bytes(r->m->cfg.checkpoint_bytes), &g))
		return;
	ENV_LOCKED(&r->m->state);
	r->m->geometry = g;
}

int tables_store(struct meta *m, struct manifest *next)
{
	bool again;
	int err;

	/* A disk that failed so is told, and is not among the eligible ones any more: this ends. */
	do {
		struct tables_run *r = run_new(m);

		note_geometry(r);
		err = store_all(r, next);
		again = r->again && err == 0;
		env_mutex_lock(&m->heal);
		m->tables_due = r->short_of_space;
		env_mutex_unlock(&m->heal);
		run_free(r);
	} while (again);
	return err;
}

bool tables_short(struct meta *m)
{
	struct tables_run *r = run_new(m);
	bool found = false;

	note_geometry(r);
	hold_for_next(r);
	for (unsigned i = 0; i < m->manifest.count && !found; i++) {
		const struct manifest_file *f = &m->manifest.files[i];

		found = repairable(r, f, missing_of(r, f));
	}
	run_free(r);
	return found;
}

/* ---- cleaning ---- */

struct names {
	char (*names)[TABLE_STORED_LEN];
	unsigned count;
};

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

static struct names names_on(const struct manifest *keep, disk_id id)
{
	struct names n = {0};

	for (unsigned i = 0; keep && i < keep->count; i++) {
		const struct manifest_file *f = &keep->files[i];

		for (unsigned j = 0; j < (unsigned)f->k + f->m; j++) {
			if (f->fragments[j].disk.v != id.v)
				continue;
			if ((n.count & (n.count - 1)) == 0)
				n.names = xrealloc(n.names,
						   MAX(2 * n.count, 1u) * sizeof(*n.names));
			table_stored_name(f->name, &f->hash, f->k, f->m, j, n.names[n.count++]);
		}
	}
	if (n.count)
		qsort(n.names, n.count, sizeof(*n.names), compare_names);
	return n;
}

void tables_clean(const struct meta_disk *d, const struct manifest *keep)
{
	struct disk_view v = {.disk = (struct meta_disk *)d};
	struct names names = names_on(keep, d->id);
	int err = dev_list(d->dev, TABLE_DIR, list_add, &v);

	for (unsigned i = 0; i < v.count && err == 0; i++) {
		char path[TABLE_PATH_LEN];

		if (names.count && bsearch(v.have[i].name, names.names, names.count,
					   sizeof(*names.names), compare_names))
			continue;
		snprintf(path, sizeof(path), TABLE_DIR "/%s", v.have[i].name);
		err = dev_remove(d->dev, path);
	}
	if (err && err != DFS_ENOENT)
		log_warn("cannot remove old metadata tables on disk %u (%s): %s; they take space "
			 "until the next checkpoint",
			 d->id.v, d->dev->name, dfs_err_text(err));
	free(names.names);
	free(v.have);
}
