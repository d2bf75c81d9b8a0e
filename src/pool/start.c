/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is begun over the disks that were found: metadata (recovery), the disks as the index has them, extents, the
 * background thread; and what metadata tells and asks while the pool is in use.
 *
 * Order: meta_open (recovery) -> disks as the index has them -> extents -> background thread -> pool.json with the epoch now
 * in force.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "dev/home.h"
#include "pool/internal.h"

#define CHECKPOINT_BYTES MIB(16) /* bounds the replay after a crash to about a second */
#define CHECKPOINT_BYTES_MIN KIB(64)
#define CHECKPOINT_OF_DISK 256u
#define JOURNAL_BUFFER_BYTES MIB(16)
#define WITNESS_TRIALS 20
#define WITNESS_PAUSE_MS 500

/* ---- what meta tells and asks ---- */

/* The epoch that waited for the pool directory is formed, or begins to wait, or goes on waiting. */
static void note_tie(struct pool *p, int err)
{
	int was;

	env_mutex_lock(&p->lock);
	was = p->tie;
	p->tie = err;
	env_mutex_unlock(&p->lock);
	if (err && !was && p->meta)
		log_error(
			"half of the disks that were in use were lost at once, and the pool directory %s, "
			"which has to remember that the others go on without them, can't be written: %s. "
			"Nothing that was written since is durable and syncs fail, until it can be, or "
			"more disks are back; nothing is lost meanwhile",
			p->dir, dfs_err_text(err));
	else if (!err && was)
		log_info("the pool goes on: what was lost at once is remembered");
}

/*
 * Meta tells of a new epoch before anything is acknowledged under it (P8). needed: without the pool
 * directory's vote it would not be formed, so its filesystem gets some time to have room again (H5), once.
 * A pool directory that could not be told is behind: it keeps its old vote, which counts for nothing, and
 * the background thread tries again.
 */
static int on_epoch(void *ctx, const struct root *root, bool needed)
{
	struct pool *p = ctx;
	struct pool_json old;
	unsigned trials;
	int err = 0;

	env_mutex_lock(&p->lock);
	trials = needed && !p->tie ? WITNESS_TRIALS : 1;
	env_mutex_unlock(&p->lock);
	env_mutex_lock(&p->json_lock);
	old = p->json;
	p->json.epoch = root->epoch;
	p->json.epoch_id = root->epoch_id;
	p->json.generation = root->generation;
	if (!p->meta) /* what was remembered may be of another line: as long as it is opened the root tells */
		json_set_line(p, &(struct meta_line){root->checkpoint_seq, root->chain});
	env_mutex_unlock(&p->json_lock);
	for (unsigned i = 0; i < trials; i++) {
		if (i)
			env_sleep_ms(WITNESS_PAUSE_MS);
		err = pool_json_store(p);
		if (!err)
			break;
	}
	note_tie(p, needed ? err : 0);
	if (err &&
	    needed) { /* what a later success stored would be a vote for what never was formed */
		ENV_LOCKED(&p->json_lock);
		p->json.epoch = old.epoch;
		p->json.epoch_id = old.epoch_id;
		p->json.generation = old.generation;
		if (!p->meta)
			json_set_line(p, &(struct meta_line){old.durable_seq, old.durable_chain});
		return err;
	}
	health_note_epoch(p, root);
	return err;
}

static void on_member_failed(void *ctx, disk_id id, int err)
{
	struct pool *p = ctx;

	health_disk_error(p, id, false, err, "writing metadata");
	ENV_LOCKED(&p->lock);
	p->members_changed = true;
	env_cond_signal(&p->wake);
}

static int on_data_sync(void *ctx)
{
	struct pool *p = ctx;

	return p->extents ? extent_sync(p->extents) : 0;
}

static void on_writing(void *ctx, bool begins)
{
	struct pool *p = ctx;

	for (unsigned i = 0; i < disk_count(p->disks); i++)
		disk_lend_keep(disk_at(p->disks, i), begins);
}

/* While metadata is being opened nobody has accepted anything. */
static void on_spare(void *ctx, uint64_t bytes, bool begins, struct place_disk *disks,
		     unsigned count)
{
	struct pool *p = ctx;

	if (p->extents && begins)
		extent_spare_begin(p->extents, bytes, disks, count);
	else if (p->extents)
		extent_spare_end(p->extents, bytes);
}

/* Recovery may need what was set aside there. Not before: a disk of another history is not written to (H6). */
static void on_taken(void *ctx, struct dev *dev)
{
	(void)ctx;
	disk_kept_remove(dev);
}

/* ---- starting ---- */

/* Creation of the first disk was cut short between its root and its record: finish it. */
static int finish_creation(struct pool *p, struct dev **devs)
{
	struct meta_txn *t;
	struct rec_settings rec;
	uint64_t seq;
	int err;

	if (p->read_only)
		return 0;
	t = meta_begin(p->meta);
	for (unsigned i = 0; i < p->json.disk_count; i++) {
		struct disk_json j;
		struct rec_disk d = {0};

		if (!devs[i] || disk_json_read(devs[i], &j))
			continue;
		d.id.v = j.id;
		d.uuid = j.uuid;
		d.capacity_bytes = j.capacity_bytes;
		d.state = DISK_HEALTHY;
		memcpy(d.label, j.label, sizeof(d.label));
		memcpy(d.domain, j.domain, sizeof(d.domain));
		snprintf(d.path, sizeof(d.path), "%.1023s", p->json.disks[i].path);
		put_disk(t, &d);
		p->next_disk = MAX(p->next_disk, j.id + 1);
	}
	pool_settings_to_rec(p, &rec);
	put_settings(t, &rec);
	err = meta_commit(t, &seq);
	return err ? err : meta_sync(p->meta, seq);
}

void pool_keep_spare(struct pool *p, struct dev *dev, disk_id id)
{
	if (!dev)
		return;
	ENV_LOCKED(&p->lock);
	p->spares = xrealloc(p->spares, (p->spare_count + 1) * sizeof(*p->spares));
	p->spares[p->spare_count++] = (struct spare_dev){dev, id};
	p->members_changed = true;
}

void pool_retire_spares(struct pool *p, disk_id id)
{
	ENV_LOCKED(&p->lock);
	for (unsigned i = 0; i < p->spare_count; i++)
		if (p->spares[i].id.v == id.v)
			dev_retire(p->spares[i].dev);
}

/* A disk that is not used, by metadata neither: its lock is let go (L1). */
static void set_aside(struct pool *p, struct dev *dev, disk_id id, const struct uuid *uuid)
{
	enum history_role role = meta_disk_role(p->meta, uuid);

	pool_keep_spare(p, dev, id);
	if (dev && (role == HISTORY_OTHER || role == HISTORY_UNREAD || role == HISTORY_GIVEN_UP ||
		    role == HISTORY_UNLISTED))
		dev_retire(dev);
}

void pool_note_absent(struct pool *p, disk_id id, int err, const struct pool_message *why)
{
	p->absent = xrealloc(p->absent, (p->absent_count + 1) * sizeof(*p->absent));
	p->absent[p->absent_count++] = (struct absent_disk){id, err, *why};
}

static struct dev *take_dev(struct pool *p, struct dev **devs, const struct uuid *uuid)
{
	for (unsigned i = 0; i < p->json.disk_count; i++)
		if (uuid_eq(&p->json.disks[i].uuid, uuid)) {
			struct dev *d = devs[i];

			devs[i] = NULL;
			return d;
		}
	return NULL;
}

/* A disk of another history, or of nobody knows which: not a byte of it is changed. */
static bool left_alone(struct pool *p, const struct rec_disk *rec, struct dev *dev)
{
	enum history_role role = dev ? meta_disk_role(p->meta, &rec->uuid) : HISTORY_CURRENT;
	struct pool_message why;

	if (role == HISTORY_OTHER)
		pool_say(
			&why,
			"disk %u (%s) at %s is of another history of this pool, which was given up by "
			"--force; it is left as it is. To use it again, remove its dynamicfs directory "
			"and add it as a new disk",
			rec->id.v, rec->label, dev->name);
	else if (role == HISTORY_UNREAD)
		pool_say(
			&why,
			"disk %u (%s) at %s is there, but its metadata roots can't be read, so it may "
			"have been used elsewhere; it is left as it is until the next mount. Check the "
			"disk and its cable, unmount, and mount again",
			rec->id.v, rec->label, dev->name);
	else
		return false;
	pool_note_absent(p, rec->id, role == HISTORY_OTHER ? DFS_ESPLIT : DFS_EIO, &why);
	set_aside(p, dev, rec->id, &rec->uuid);
	return true;
}

/* DR4 (b): it was removed, and power went before the others were told. */
static bool some_left(struct pool *p)
{
	FREE struct meta_known *known = xcalloc(ROOT_MAX_DISKS, sizeof(*known));
	unsigned count = meta_known_disks(p->meta, known);
	bool found = false;

	for (unsigned i = 0; i < count; i++)
		found = found || (!known[i].given_up && !disk_get(p->disks, known[i].id));
	if (found)
		PROBE("removal-went-on-at-open");
	return found;
}

/* The table of disks in the root lags behind the index when power went between the two. */
static int catch_up_table(struct pool *p)
{
	bool lags = some_left(p);

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct uuid uuid = disk_info(d).uuid;
		enum history_role role = meta_disk_role(p->meta, &uuid);

		lags = lags ||
		       (disk_present(d) && (role == HISTORY_UNLISTED || role == HISTORY_GIVEN_UP));
	}
	return lags && !p->read_only ? members_choose(p) : 0;
}

/* Power may have gone between an order that took a disk out, or back, and the choice that follows from it. */
static void look_at_members(struct pool *p)
{
	unsigned members = 0, possible = 0, copies = pool_get_settings(p).metadata_copies;

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		possible += disk_present(d) && !disk_is_leaving(d);
		members += disk_present(d) && !disk_is_leaving(d) &&
			   meta_is_member(p->meta, disk_info(d).id);
	}
	if (members >= MIN(copies, possible))
		return;
	PROBE("members-lacking-at-open");
	ENV_LOCKED(&p->lock);
	p->members_changed = true;
}

/* DR4 (d): it was being emptied, the index does not name it any more, and the others know that it is given up. */
static bool was_removed(struct pool *p, disk_id id, const struct uuid *uuid, struct dev *dev)
{
	enum history_role role = meta_disk_role(p->meta, uuid);
	struct disk_json j;

	if (!dev || p->read_only || id.v >= p->next_disk || role == HISTORY_OTHER ||
	    role == HISTORY_UNREAD || role == HISTORY_UNLISTED || !meta_has_given_up(p->meta, id) ||
	    disk_json_read(dev, &j) || strcmp(j.state, disk_state_name(DISK_DRAINING)) != 0)
		return false;
	log_info("the disk at %s was removed from the pool", dev->name);
	removed_mark(dev, &j);
	return true;
}

/* Every disk that the index names goes into the set. */
static int enter_disks(struct pool *p, struct dev **devs)
{
	struct cursor c;
	int err = 0;

	cursor_of_table(&c, p->meta, TABLE_DISK);
	while (!err && cursor_next(&c)) {
		struct rec_disk rec;

		err = cursor_disk(&c, &rec);
		if (err)
			break;
		struct dev *dev = take_dev(p, devs, &rec.uuid);

		p->next_disk = MAX(p->next_disk, rec.id.v + 1); /* whatever the settings say */

		if (rec.state == DISK_FAILED) {
			set_aside(p, dev, rec.id, &rec.uuid);
			dev = NULL;
		} else if (left_alone(p, &rec, dev)) {
			dev = NULL;
		} else if (!dev) {
			log_warn(
				"disk %u (%s) at %s is not there; its fragments are decoded from others",
				rec.id.v, rec.label, rec.path);
		}
		err = disk_enter(p, &rec, dev);
		if (!err && dev)
			err = lacks_recall(p, disk_get(p->disks, rec.id));
		if (!err && dev)
			lacks_find(p, disk_get(p->disks, rec.id));
	}
	err = cursor_close(&c, err);
	return err ? err : lacks_recall_damage(p);
}

static unsigned list_devs(struct pool *p, struct dev **devs, struct meta_disk *out, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->json.disk_count && n < max; i++) {
		struct meta_disk *d = &out[n];
		struct disk_json j;

		if (!devs[i])
			continue;
		*d = (struct meta_disk){
			.id = p->json.disks[i].id, .uuid = p->json.disks[i].uuid, .dev = devs[i]};
		n++;
		if (disk_json_read(devs[i], &j)) /* until the index is there to tell */
			continue;
		memcpy(d->domain, j.domain, sizeof(d->domain));
		d->capacity_bytes = j.capacity_bytes;
		d->leaving = d->no_new = !strcmp(j.state, disk_state_name(DISK_DRAINING));
	}
	return n;
}

/* Each member has two journal files of this size, allocated: so little of each disk. */
static uint64_t checkpoint_bytes(uint64_t most, const struct meta_disk *disks, unsigned count)
{
	uint64_t bytes = most ? most : CHECKPOINT_BYTES;
	struct dev_space space;

	for (unsigned i = 0; i < count; i++) {
		uint64_t cap = disks[i].capacity_bytes;

		if (dev_space(disks[i].dev, &space))
			continue;
		bytes = MIN(bytes, (cap ? MIN(cap, space.total_bytes) : space.total_bytes) /
					   CHECKPOINT_OF_DISK);
	}
	return MAX(bytes, CHECKPOINT_BYTES_MIN);
}

/* The places of the disks whose filesystems are read-only, as text. Returns how many. */
static unsigned list_read_only(const struct meta_disk *disks, unsigned count, char *out,
			       size_t out_len)
{
	struct dev_space space;
	unsigned found = 0;
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < count; i++) {
		if (dev_space(disks[i].dev, &space) != 0 || !space.read_only)
			continue;
		if (len < out_len)
			len += (size_t)snprintf(out + len, out_len - len, "%s%s", found ? ", " : "",
						disks[i].dev->name);
		found++;
	}
	return found;
}

/* Is it for read-only disks that the metadata can't be written? Then that is what is said. */
static int blame_read_only(struct pool *p, const struct meta_disk *disks, unsigned count, int err,
			   struct pool_message *msg)
{
	char which[600];
	unsigned n = p->read_only ? 0 : list_read_only(disks, count, which, sizeof(which));

	if (n == 0 || (err == 0 && n < count))
		return err;
	pool_say(
		msg,
		"cannot open pool %s for writing: %s%u of its disks %s mounted read-only (%s); "
		"nothing was changed. Mount what they are on writable, or mount the pool with -o ro",
		p->dir, n == count && n > 1 ? "all " : "", n, plural(n, "is", "are"), which);
	return DFS_EROFS;
}

/* Is it the pool directory that can't hold what it must? */
int blame_home(struct pool *p, int err, struct pool_message *msg)
{
	char why[256];
	int home_err;

	if (p->env.open_dev || (err != DFS_EIO && err != DFS_ENOSPC && err != DFS_ECHECKSUM &&
				err != DFS_EACCES && err != DFS_ENOTSUP && err != DFS_EROFS))
		return err;
	home_err = home_check(p->dir, HOME_OPEN_BYTES_MIN, why, sizeof(why));
	if (home_err) {
		pool_say(
			msg,
			"cannot open pool %s: %s; nothing was changed, and all data is on the disks%s",
			p->dir, why,
			home_err == DFS_ENOSPC
				? ". Make room there, or have the pool directory made anew on another "
				  "filesystem: dynamicfs import --pool ELSEWHERE with the disks' places"
				: "");
		return home_err;
	}
	home_err = home_check(p->index_dir, 0, why, sizeof(why));
	if (!home_err || home_err == DFS_ENOTSUP) /* it is not there, as it may be */
		return err;
	pool_say(
		msg,
		"cannot open pool %s: its index %s can't be written: %s; all data is on the disks. Mend that, or "
		"move the index away: the next mount makes it anew",
		p->dir, p->index_dir, why);
	return home_err;
}

static int start_meta(struct pool *p, struct dev **devs, struct pool_message *msg)
{
	struct meta_disk disks[META_MAX_DISKS];
	struct meta_config cfg = {
		.pool = p->json.pool,
		.index_ops = p->env.index_ops ? p->env.index_ops : &index_rocks_ops,
		.index_arg = p->env.index_ops ? p->env.index_arg : p->index_dir,
		.disks = disks,
		.disk_count = list_devs(p, devs, disks, META_MAX_DISKS),
		.copies = p->settings.metadata_copies,
		.table_k = p->settings.large.k,
		.witness = {.known = !uuid_is_null(&p->json.epoch_id),
			    .id = p->json.epoch_id,
			    .epoch = p->json.epoch,
			    .generation = p->json.generation},
		.line = {p->json.durable_seq, p->json.durable_chain},
		.force = p->force,
		.read_only = p->read_only,
		.buffer_bytes = JOURNAL_BUFFER_BYTES,
		.data_sync = on_data_sync,
		.member_failed = on_member_failed,
		.writing = on_writing,
		.spare = on_spare,
		.taken = on_taken,
		.epoch_changed = on_epoch,
		.ctx = p,
	};
	int err;

	cfg.checkpoint_bytes = checkpoint_bytes(p->env.checkpoint_bytes, disks, cfg.disk_count);
	/* what a checkpoint may have to write follows from both */
	cfg.buffer_bytes = MIN(cfg.buffer_bytes, MAX(cfg.checkpoint_bytes, KIB(256)));
	if (cfg.disk_count == 0) {
		pool_say(
			msg,
			"cannot open pool %s: it has %u %s, and none is there. Mount what they are on, or "
			"run dynamicfs import with their new places",
			p->dir, p->json.disk_count, plural(p->json.disk_count, "disk", "disks"));
		return DFS_EGONE;
	}
	err = blame_read_only(p, disks, cfg.disk_count, 0, msg);
	if (err)
		return err;
	err = meta_open(&cfg, &p->meta, &p->recovery);
	if (err && p->recovery.refusal[0])
		pool_say(msg, "cannot open pool %s: %s", p->dir, p->recovery.refusal);
	else if (err == DFS_ENOQUORUM)
		pool_say(
			msg,
			"cannot open pool %s: none of the disks that hold its newest metadata is here. "
			"Bring more disks back",
			p->dir);
	else if (err == DFS_EJOURNAL)
		pool_say(
			msg,
			"cannot open pool %s: its metadata journal is damaged on every disk that is here "
			"and holds it: changes that had been acknowledged, transactions %llu to at least "
			"%llu, can't be read. Nothing was changed. If other disks of the pool are away, "
			"bring them back; else --force goes on without those changes, and keeps the "
			"damaged journal files (meta/journal/damaged-*) aside",
			p->dir, (unsigned long long)p->recovery.loss.from,
			(unsigned long long)p->recovery.loss.last);
	else if (err)
		pool_say(msg, "cannot read the metadata of pool %s: %s", p->dir, dfs_err_text(err));
	if (err == DFS_EFAILED || err == DFS_EROFS)
		err = blame_read_only(p, disks, cfg.disk_count, err, msg);
	err = blame_home(p, err, msg);
	return err;
}

static void tell_of_cache(struct pool *p)
{
	char labels[512];

	if (pool_verifies_cache_only(p, labels, sizeof(labels)))
		log_warn("verify_writes is on, but the filesystems of these disks do not let reads "
			 "bypass the page cache, so it can't see what the medium holds: %s",
			 labels);
}

static bool may_grow(void *ctx) { return pool_may_grow(ctx); }

static void start_threads(struct pool *p)
{
	struct extent_config cfg = {
		.pool = p->json.pool,
		.disks = p->disks,
		.meta = p->meta,
		.verify_writes = p->settings.verify_writes,
		.may_grow = may_grow,
		.ctx = p,
		.heal = !p->read_only,
	};
	struct dev_space space;

	if (!dev_space(p->dir_dev, &space))
		cfg.home_fs = space.fs_id;
	p->extents = extent_store_new(&cfg);
	meta_set_verify(p->meta, p->settings.verify_writes);
	for (unsigned i = 0; i < disk_count(p->disks) && !p->read_only; i++)
		disk_tidy(disk_at(p->disks, i));
	health_note_spare(p);
	tell_of_cache(p);
	p->disk_json_due = true; /* today's epoch, and whole files where one was damaged */
	for (unsigned i = 0; i < disk_count(p->disks) && !p->read_only; i++)
		health_try(p, disk_at(p->disks, i)); /* what they were may be over */
	if (!p->read_only)
		p->thread = env_thread_start("dfs-pool", pool_background, p);
}

int pool_start(struct pool *p, struct dev **devs, struct pool_message *msg)
{
	struct history_witness now;
	struct meta_line line;
	bool is_new = false;
	int err;

	err = start_meta(p, devs, msg);
	if (!err) {
		err = settings_load(p, &is_new);
		if (!err && is_new)
			PROBE("creation-finished-at-open");
		if (!err && is_new)
			err = finish_creation(p, devs);
		if (!err)
			err = find_load_search(p);
		if (!err)
			err = enter_disks(p, devs);
		if (!err)
			err = catch_up_table(p);
		if (!err)
			look_at_members(p);
		if (err)
			pool_say(msg, "cannot read the settings and disks of pool %s: %s", p->dir,
				 dfs_err_text(err));
	}
	/* devices left over belong to disks that the index does not name; on failure, to nobody */
	for (unsigned i = 0; i < p->json.disk_count; i++) {
		bool removed = devs[i] && !err &&
			       was_removed(p, p->json.disks[i].id, &p->json.disks[i].uuid, devs[i]);

		if (removed)
			snprintf(p->json.disks[i].state, sizeof(p->json.disks[i].state), "%s",
				 disk_state_name(DISK_FAILED));
		else if (devs[i] && !err)
			log_warn(
				"the disk at %s is listed in pool.json but not part of the pool (adding it "
				"was cut short); add it again",
				p->json.disks[i].path);
		if (err)
			pool_keep_spare(p, devs[i], p->json.disks[i].id);
		else
			set_aside(p, devs[i], p->json.disks[i].id, &p->json.disks[i].uuid);
		if (removed)
			pool_retire_spares(p, p->json.disks[i].id);
		devs[i] = NULL;
	}
	if (err)
		return err;
	now = meta_witness(p->meta);
	line = meta_durable_line(p->meta);
	pool_json_take_witness(p, &now, &line);
	start_threads(p);
	/* the disks hold all that matters: a pool directory that can't be written is told of, and is
	 * behind until it can */
	if (!p->read_only)
		(void)pool_json_store(p);
	return 0;
}
