/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's disks: opening known ones, their identity files, failing them while in use. */
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "pool/internal.h"

/* ---- identity files ---- */

static int identity_read(struct dev *dev, const char *name, struct disk_json *ret)
{
	FREE uint8_t *data = NULL;
	size_t len;
	int err = dev_read_all(dev, name, DISK_JSON_MAX_BYTES, &data, &len);

	return err ? err : disk_json_parse(data, len, ret);
}

int disk_json_read(struct dev *dev, struct disk_json *ret)
{
	int err = identity_read(dev, DISK_JSON_NAME, ret);

	if (err == 0 || identity_read(dev, DISK_JSON_COPY_NAME, ret))
		return err;
	log_warn("%s/" DISK_JSON_NAME
		 " cannot be used: %s; its copy is, and the next mount writes it "
		 "anew",
		 dev->name, dfs_err_text(err));
	return 0;
}

int disk_json_store(struct dev *dev, const struct disk_json *j)
{
	BUF text = {0};
	int err = disk_json_encode(j, &text);

	if (!err)
		err = dev_replace(dev, DISK_JSON_NAME, text.data, text.len);
	return err ? err : dev_replace(dev, DISK_JSON_COPY_NAME, text.data, text.len);
}

static void fill_disk_json(struct pool *p, struct disk *d, struct disk_json *j)
{
	struct disk_info info = disk_info(d);
	struct disk_counters c = disk_counters(d);

	*j = (struct disk_json){
		.pool = p->json.pool,
		.uuid = info.uuid,
		.id = info.id.v,
		.capacity_bytes = info.capacity_bytes,
		.epoch = p->meta ? meta_epoch(p->meta) : 0,
		.written_wall_s = env_wall_ns() / 1000000000u,
		.reads = c.reads,
		.writes = c.writes,
		.syncs = c.syncs,
		.read_bytes = c.read_bytes,
		.write_bytes = c.write_bytes,
		.read_errors = c.read_errors,
		.write_errors = c.write_errors,
		.checksum_errors = c.checksum_errors,
	};
	memcpy(j->label, info.label, sizeof(j->label));
	memcpy(j->domain, info.domain, sizeof(j->domain));
	snprintf(j->state, sizeof(j->state), "%s", disk_state_name(info.state));
}

void disk_jsons_update(struct pool *p)
{
	if (p->read_only)
		return;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct dev_space space = {0};
		struct disk_json j;
		int err;

		if (!disk_present(d) || disk_state(d) == DISK_SUSPECT)
			continue;
		/* one that takes its time with a question would take more with a write */
		if (dev_space(disk_dev(d), &space) || space.is_old)
			continue;
		fill_disk_json(p, d, &j);
		err = disk_json_store(disk_dev(d), &j);
		if (err)
			log_warn(
				"cannot update disk.json of disk %u: %s; it only holds statistics and state "
				"for people",
				j.id, dfs_err_text(err));
	}
}

/* ---- opening ---- */

int disk_open_known(struct pool *p, const char *path, struct dev **ret_dev,
		    struct disk_json *ret_json, struct pool_message *msg)
{
	struct dev *dev = NULL;
	int err;

	err = open_disk_dev(&p->env, p->group, path, "dynamicfs", false, &dev);
	if (!err)
		err = disk_json_read(dev, ret_json);
	if (err) {
		if (err == DFS_ENOENT)
			err = DFS_EGONE;
		pool_say(msg, "the disk at %s cannot be used: %s; the pool goes on without it",
			 path, dfs_err_text(err));
	} else if (!uuid_eq(&ret_json->pool, &p->json.pool)) {
		pool_say(msg, "the disk at %s belongs to another pool; it is left alone", path);
		err = DFS_EFOREIGN;
	}
	if (err) {
		dev_free(dev);
		return err;
	}
	*ret_dev = dev;
	return 0;
}

/* One that can't be written is known before anything is planned with its room. */
static void check_writable(struct pool *p, disk_id id)
{
	struct disk *d = disk_get(p->disks, id);
	struct dev_space space;

	if (!disk_present(d) || dev_space(disk_dev(d), &space) != 0 || !space.read_only)
		return;
	if (p->read_only) /* no event: nothing was to be written */
		disk_set_state(d, DISK_DEGRADED);
	else
		health_disk_error(p, id, DFS_EROFS, "its filesystem is mounted read-only");
}

int disk_enter(struct pool *p, const struct rec_disk *rec, struct dev *dev)
{
	struct disk_info info = {
		.id = rec->id,
		.uuid = rec->uuid,
		.capacity_bytes = rec->capacity_bytes,
		.state = rec->state,
	};
	uint32_t floor;
	int err;

	memcpy(info.label, rec->label, sizeof(info.label));
	memcpy(info.domain, rec->domain, sizeof(info.domain));
	snprintf(info.path, sizeof(info.path), "%s", rec->path);
	env_mutex_lock(&p->json_lock);
	struct pool_json_disk *j = pool_json_find(&p->json, rec->id);
	if (j && j->path[0])
		snprintf(info.path, sizeof(info.path), "%s", j->path);
	env_mutex_unlock(&p->json_lock);
	err = numbers_floor(p, rec->id, &floor);
	if (err) {
		pool_keep_spare(p, dev, rec->id);
		return err;
	}
	if (dev)
		dev_deadline_set_domain(dev, info.domain);
	err = disk_add(p->disks, &info, dev, floor);
	if (err && dev) {
		pool_keep_spare(p, dev, rec->id);
		log_warn("disk %u (%s) cannot be read: %s; the pool goes on without it", rec->id.v,
			 rec->label, dfs_err_text(err));
		err = disk_add(p->disks, &info, NULL, floor);
	}
	if (err)
		return err;
	disk_set_used_bytes(disk_get(p->disks, rec->id),
			    (uint64_t)meta_counter(p->meta, META_COUNT_DISK_USED + rec->id.v));
	check_writable(p, rec->id);
	return 0;
}

void disks_update_used(struct pool *p)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		uint32_t id = disk_info(d).id.v;

		disk_set_used_bytes(d, (uint64_t)meta_counter(p->meta, META_COUNT_DISK_USED + id));
	}
}

/* By a person's order: an error alone takes a disk out only until the pool is opened again. */
static bool is_given_up(struct pool *p, disk_id id)
{
	struct rec_disk rec;

	return p->giving_up.v == id.v ||
	       (get_disk(p->meta, id, &rec) == 0 && rec.state == DISK_FAILED);
}

unsigned disks_for_meta(struct pool *p, struct meta_disk *disks, unsigned max,
			struct meta_known *known, unsigned *ret_known)
{
	unsigned n = 0;

	*ret_known = 0;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);

		known[(*ret_known)++] = (struct meta_known){info.id, info.uuid,
							    is_given_up(p, info.id)};
		/* one that does not answer comes back when it does: health_revive() */
		if (!disk_present(d) || info.state == DISK_SUSPECT || n == max)
			continue;
		disks[n] = (struct meta_disk){.id = info.id,
					      .uuid = info.uuid,
					      .dev = disk_dev(d),
					      .capacity_bytes = info.capacity_bytes,
					      .no_new = info.state != DISK_HEALTHY,
					      .leaving = info.state == DISK_DRAINING};
		memcpy(disks[n++].domain, info.domain, sizeof(info.domain));
	}
	return n;
}

int members_choose(struct pool *p)
{
	struct meta_disk disks[META_MAX_DISKS];
	struct meta_known known[ROOT_MAX_DISKS];
	unsigned known_count, n = disks_for_meta(p, disks, META_MAX_DISKS, known, &known_count);
	int err = n ? meta_set_disks(p->meta, disks, n, known, known_count) : DFS_EGONE;
	int tie;

	env_mutex_lock(&p->lock);
	tie = err ? p->tie : 0;
	env_mutex_unlock(&p->lock);
	if (err != DFS_ENOSPC && !tie)
		return err;
	if (!tie)
		log_warn(
			"the metadata cannot be copied to another disk yet: a disk that holds it is full; "
			"it is tried again, make room there");
	ENV_LOCKED(&p->lock);
	p->members_changed = true;
	p->members_retry_ns = env_now_ns() + MEMBERS_RETRY_NS;
	return 0;
}

void pool_note_mount(struct pool *p, uint64_t dev)
{
	__atomic_store_n(&p->mount_dev, dev, __ATOMIC_RELAXED);
}

/* ---- failing ---- */

static struct disk *find_disk(struct pool *p, const char *which)
{
	char text[UUID_TEXT_LEN + 1];

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);

		uuid_format(&info.uuid, text);
		if (!strcmp(which, info.path) || !strcmp(which, info.label) || !strcmp(which, text))
			return d;
	}
	return NULL;
}

/*
 * What would become of the extent? It is lost if it is readable now, and would not be. What is in doubt may be there or
 * not: if there are enough fragments only with such, and too few that are sure would be left, it may be lost.
 */
static void count_without(struct pool *p, const struct rec_extent *rec, disk_id id,
			  struct pool_fail_plan *plan)
{
	unsigned sure = 0, perhaps = 0, left = 0;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = disk_get(p->disks, f->disk);

		if (!d || !disk_present(d) ||
		    disk_lost_there(d, f->segment, f->offset, f->record_len))
			continue;
		perhaps++;
		if (disk_may_lack(d, f->segment, f->offset, f->record_len))
			continue;
		sure++;
		left += f->disk.v != id.v;
	}
	plan->extents_lost += sure >= rec->k && left < rec->k;
	plan->extents_unsure += sure < rec->k && perhaps >= rec->k;
}

static bool is_damage(int err)
{
	return err == DFS_ECORRUPT || err == DFS_ECHECKSUM || err == DFS_EVERSION;
}

/* What a damaged record names may be needed: it counts as lost. */
static int count_lost_without(struct pool *p, disk_id id, struct pool_fail_plan *plan)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	const size_t prefix = 1 + sizeof(uint32_t); /* the table and the disk */
	int err = 0;
	BUF key = {0};

	key_bydisk(&key, id, 0, 0);
	for (meta_iter_seek(it, key.data, key.len); !err && meta_iter_valid(it);
	     meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_bydisk by;
		struct rec_extent rec;

		if (klen < prefix || memcmp(k, key.data, prefix) != 0)
			break;
		err = parse_bydisk(k, klen, v, vlen, &by);
		if (!err)
			err = get_extent(p->meta, by.extent, &rec);
		plan->unknown += is_damage(err);
		plan->extents_lost += is_damage(err);
		if (!err)
			count_without(p, &rec, id, plan);
		if (is_damage(err) || err == DFS_ENOENT) /* freed since the snapshot */
			err = 0;
	}
	if (!err)
		err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

/* change_lock held. */
static int plan_fail(struct pool *p, struct disk *d, struct pool_fail_plan *ret_plan,
		     struct pool_message *msg)
{
	struct pool_fail_plan plan = {.info = disk_info(d)};
	const char *label = plan.info.label;
	struct rec_disk rec;
	int err;

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *other = disk_at(p->disks, i);

		plan.disks_left += other != d && disk_present(other);
	}
	err = get_disk(p->meta, plan.info.id, &rec);
	if (!err && rec.state != DISK_FAILED)
		err = count_lost_without(p, plan.info.id, &plan);
	*ret_plan = plan;
	if (err) {
		pool_say(msg, "cannot tell what disk %s holds: %s", label, dfs_err_text(err));
	} else if (rec.state == DISK_FAILED) {
		pool_say(msg, "cannot fail disk %s: it has failed already", label);
		err = DFS_EEXIST;
	} else if (plan.disks_left == 0) {
		pool_say(
			msg,
			"cannot fail disk %s: no other disk of the pool is there; nothing was changed; "
			"bring other disks back first",
			label);
		err = DFS_EREFUSED;
	} else if (meta_is_only_member(p->meta, plan.info.id) && pool_dir_error(p)) {
		err = pool_dir_error(p); /* force would not help: the pool would end */
		pool_say(
			msg,
			"cannot fail disk %s: no other disk holds the journal of the metadata, and none can "
			"begin while the pool directory %s can't be written: %s; nothing was changed. What "
			"to do: %s",
			label, p->dir, pool_dir_what(err), pool_dir_what_to_do(err));
	} else if (plan.extents_lost) {
		pool_say(
			msg,
			"cannot fail disk %s: %llu %s that can be read now could not be read "
			"without it%s; nothing was changed; bring other disks back first, or use --force "
			"to lose those files (with --dry-run: to see what would be left)",
			label, (unsigned long long)plan.extents_lost,
			plural(plan.extents_lost, "extent", "extents"),
			plan.unknown
				? ", or this can't be told, for the index is damaged there (run "
				  "fsck)"
				: "");
		err = DFS_EREFUSED;
	} else if (plan.extents_unsure) {
		pool_say(
			msg,
			"cannot fail disk %s: %llu %s may be damaged, too many of %s fragments are in doubt, and "
			"the disk has some that may be needed; nothing was changed; wait until they are "
			"written anew ('status' tells), or use --force to do without what it holds (with "
			"--dry-run: to see what would be left)",
			label, (unsigned long long)plan.extents_unsure,
			plural(plan.extents_unsure, "extent", "extents"),
			plural(plan.extents_unsure, "its", "their"));
		err = DFS_EREFUSED;
	}
	return err;
}

#define LOOK_BEFORE_NS 10000000000ull

static int find_and_plan(struct pool *p, const char *which, struct disk **ret_disk,
			 struct pool_fail_plan *ret_plan, struct pool_message *msg)
{
	struct disk *d = p->meta ? find_disk(p, which) : NULL;

	msg->text[0] = '\0';
	if (!d) {
		pool_say(msg, "pool %s has no disk with the path, label or uuid %s", p->dir, which);
		return DFS_ENODISK;
	}
	*ret_disk = d;
	(void)lacks_look(p, LOOK_BEFORE_NS);
	return plan_fail(p, d, ret_plan, msg);
}

int pool_plan_fail(struct pool *p, const char *which, struct pool_fail_plan *ret_plan,
		   struct pool_message *msg)
{
	struct disk *d;

	ENV_LOCKED(&p->change_lock);
	return find_and_plan(p, which, &d, ret_plan, msg);
}

/* msg: set when the failure needs other words than its caller's. */
static int fail_now(struct pool *p, struct disk *d, struct disk_info *info,
		    struct pool_message *msg)
{
	struct dev *dev = disk_present(d) ? disk_dev(d) : NULL;
	struct dev_space space = {0};
	struct rec_disk rec;
	struct disk_json j;
	struct meta_txn *t;
	uint64_t seq;
	int err;

	err = get_disk(p->meta, info->id, &rec);
	if (err)
		return err;
	fill_disk_json(p, d, &j);
	disk_set_state(d, DISK_FAILED);
	info->state = DISK_FAILED;
	p->giving_up = info->id;
	err = members_choose(p);
	p->giving_up.v = 0;
	if (err)
		return err;
	rec.state = DISK_FAILED;
	t = meta_begin(p->meta);
	put_disk(t, &rec);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(p->meta, seq);
	if (err)
		return err;
	if (lacks_forget(p, d))
		log_info("what disk %u may have lost before is remembered still; that does no harm",
			 info->id.v);
	snprintf(j.state, sizeof(j.state), "%s", disk_state_name(DISK_FAILED));
	/* one that takes its time with a question would take more with a write */
	if (dev && (dev_space(dev, &space) || space.is_old || disk_json_store(dev, &j)))
		log_info("disk %u could not be told that it has failed; the pool remembers it",
			 info->id.v);
	if (disk_dev(d))
		dev_retire(disk_dev(d)); /* nothing is kept open there: it can be unmounted */
	pool_retire_spares(p, info->id);
	env_mutex_lock(&p->json_lock);
	struct pool_json_disk *pj = pool_json_find(&p->json, info->id);
	if (pj)
		snprintf(pj->state, sizeof(pj->state), "%s", disk_state_name(DISK_FAILED));
	env_mutex_unlock(&p->json_lock);
	err = pool_json_store(p);
	if (err) /* the disks know it; what follows would say that they don't */
		pool_say(msg,
			 "disk %s has been given up, but %s/pool.json can't be written: %s; it is "
			 "tried again while the pool is in use",
			 info->label, p->dir, dfs_err_text(err));
	return err;
}

int pool_fail_disk(struct pool *p, const char *which, bool force, struct disk_info *ret_info,
		   struct pool_message *msg)
{
	struct pool_fail_plan plan;
	struct disk *d;
	int err;

	ENV_LOCKED(&p->change_lock);
	err = find_and_plan(p, which, &d, &plan, msg);
	if (err == DFS_EREFUSED && force && plan.disks_left > 0) {
		msg->text[0] = '\0';
		err = 0;
	}
	if (err)
		return err;
	if (p->read_only)
		return DFS_EROFS;
	msg->text[0] = '\0';
	err = fail_now(p, d, &plan.info, msg);
	if (err && msg->text[0] == '\0')
		pool_say(msg,
			 "cannot record that disk %s has failed: %s; it is not used any more "
			 "until the pool is closed",
			 plan.info.label, dfs_err_text(err));
	if (!err)
		*ret_info = plan.info;
	env_mutex_lock(&p->lock);
	p->space_ns = 0;
	env_mutex_unlock(&p->lock);
	return err;
}
