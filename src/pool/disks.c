/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's disks: opening known ones, their identity files. */
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "pool/health_rules.h"
#include "pool/internal.h"

/* ---- identity files ---- */

static int identity_read(struct dev *dev, const char *name, struct disk_json *ret,
			 struct disk_places *ret_places)
{
	FREE uint8_t *data = NULL;
	size_t len;
	int err = dev_read_all(dev, name, DISK_JSON_MAX_BYTES, &data, &len);

	return err ? err : disk_json_parse_with(data, len, ret, ret_places);
}

int disk_json_read(struct dev *dev, struct disk_json *ret)
{
	FREE struct disk_places *unused = xmalloc(sizeof(*unused));

	return disk_json_read_with(dev, ret, unused);
}

int disk_json_read_with(struct dev *dev, struct disk_json *ret, struct disk_places *ret_places)
{
	int err = identity_read(dev, DISK_JSON_NAME, ret, ret_places);

	if (err == 0 || identity_read(dev, DISK_JSON_COPY_NAME, ret, ret_places))
		return err;
	log_warn("%s/" DISK_JSON_NAME
		 " cannot be used: %s; its copy is, and the next mount writes it "
		 "anew",
		 dev->name, dfs_err_text(err));
	return 0;
}

int disk_json_store(struct dev *dev, const struct disk_json *j, const struct disk_places *places)
{
	BUF text = {0};
	int err = disk_json_encode_with(j, places, &text);

	if (!err)
		err = dev_replace(dev, DISK_JSON_NAME, text.data, text.len);
	return err ? err : dev_replace(dev, DISK_JSON_COPY_NAME, text.data, text.len);
}

void disk_json_fill(struct pool *p, struct disk *d, struct disk_json *j)
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
	snprintf(j->reason, sizeof(j->reason), "%s", health_event_name(disk_health(d).event));
	env_mutex_lock(&p->lock);
	j->since_wall_s = p->care[info.id.v].since_s;
	env_mutex_unlock(&p->lock);
}

/* Where the others are, those first that follow in order: so that what one has no room for another one tells. */
static void gather_places(struct pool *p, unsigned self, struct disk_places *ret)
{
	unsigned count = disk_count(p->disks);
	ENV_LOCKED(&p->json_lock);

	*ret = (struct disk_places){0};
	for (unsigned i = 1; i < count; i++) {
		struct disk_info info = disk_info(disk_at(p->disks, (self + i) % count));
		const struct pool_json_disk *j = pool_json_find(&p->json, info.id);
		bool given_up = j ? !strcmp(j->state, disk_state_name(DISK_FAILED))
				  : info.state == DISK_FAILED;

		if (!given_up)
			(void)disk_places_add(ret, &info.uuid,
					      j && j->path[0] ? j->path : info.path);
	}
}

void disk_jsons_update(struct pool *p)
{
	FREE struct disk_places *places = xmalloc(sizeof(*places));

	if (p->read_only)
		return;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct dev_space space = {0};
		struct disk_json j;
		int err;

		if (!disk_present(d) || disk_health(d).event == DISK_NO_ANSWER)
			continue;
		/* one that takes its time with a question would take more with a write */
		if (dev_space(disk_dev(d), &space) || space.is_old)
			continue;
		disk_json_fill(p, d, &j);
		gather_places(p, i, places);
		err = disk_json_store(disk_dev(d), &j, places);
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
	} else if (removed_is(ret_json)) {
		pool_say(
			msg,
			"the disk at %s was removed from this pool and holds nothing of it; it is left alone",
			path);
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
		health_disk_error(p, id, false, DFS_EROFS, "its filesystem is mounted read-only");
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
	if (j)
		memcpy(j->label, rec->label, sizeof(j->label)); /* DR9 */
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
	disk_set_heir(disk_get(p->disks, rec->id), rec->heir);
	disk_set_leaving(disk_get(p->disks, rec->id), rec->leaving);
	disk_set_used_bytes(disk_get(p->disks, rec->id),
			    (uint64_t)meta_counter(p->meta, META_COUNT_DISK_USED + rec->id.v));
	health_recall(p, disk_get(p->disks, rec->id));
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

/* DR6: neither fragments of extents lie there, nor of tables. */
static bool is_emptied(struct pool *p, struct disk *d)
{
	disk_id id = disk_info(d).id;

	return disk_is_leaving(d) && !meta_counter(p->meta, META_COUNT_DISK_USED + id.v) &&
	       !meta_disk_bytes(p->meta, id);
}

/* DR4: those of which there is no record any more. */
static unsigned removed_known(struct pool *p, struct meta_known *ret)
{
	FREE struct meta_known *all = xcalloc(ROOT_MAX_DISKS, sizeof(*all));
	unsigned count = meta_known_disks(p->meta, all), n = 0;

	for (unsigned i = 0; i < count; i++) {
		if (disk_get(p->disks, all[i].id))
			continue;
		all[i].given_up = true;
		ret[n++] = all[i];
	}
	return n;
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
							    disk_given_up(p, info.id)};
		/* one that does not answer comes back when it does: health_revive() */
		if (!disk_present(d) || disk_health(d).event == DISK_NO_ANSWER || n == max)
			continue;
		disks[n] = (struct meta_disk){.id = info.id,
					      .uuid = info.uuid,
					      .dev = disk_dev(d),
					      .capacity_bytes = info.capacity_bytes,
					      .no_new = !disk_is_eligible(p->disks, d),
					      .leaving = disk_is_leaving(d),
					      .emptied = is_emptied(p, d)};
		memcpy(disks[n++].domain, info.domain, sizeof(info.domain));
	}
	*ret_known += removed_known(p, known + *ret_known);
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
