/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's disks: opening known ones, their identity files, adding and failing while in use.
 *
 * Adding, in order (a crash after any step leaves either no trace that counts, or a whole disk):
 *  1. DISK/dynamicfs/disk.json with a new uuid and the next id: the disk is ours, but in no index;
 *  2. pool.json names its path (opening ignores names that the index does not know);
 *  3. one transaction: the disk's record, and the next id; synced. From here on it is part of the pool;
 *  4. the disk set, so that it takes data; meta_set_disks, so that it carries roots, maybe metadata.
 * The first disk of a pool gets its root (meta_format) between 1 and 2.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
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

/* What was never given out leaves no number to give out (P10). */
static uint32_t above(uint32_t segment) { return segment == UINT32_MAX ? segment : segment + 1; }

/* One above the highest segment that the index names on this disk, or has named: a disk that comes back from
 * an old copy must not give out numbers again (S1). */
static int segment_floor(struct pool *p, disk_id id, uint32_t *ret_floor)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	uint32_t floor = 0;
	int err = 0;

	if (get_numbers(p->meta, id, &floor)) /* it is in the log; the others still tell */
		floor = 0;
	for (int table = 0; table < 2 && !err; table++) {
		const uint8_t *k, *v;
		size_t klen, vlen;
		BUF key = {0};

		if (table == 0)
			key_bydisk(&key, id, UINT32_MAX, UINT32_MAX);
		else
			key_freed(&key, id, UINT32_MAX, UINT32_MAX);
		meta_iter_seek_back(it, key.data, key.len);
		if (!meta_iter_valid(it))
			continue;
		k = meta_iter_key(it, &klen);
		v = meta_iter_value(it, &vlen);
		if (klen > 0 && k[0] == TABLE_BYDISK) {
			struct rec_bydisk by;

			err = parse_bydisk(k, klen, v, vlen, &by);
			if (!err && by.disk.v == id.v)
				floor = MAX(floor, above(by.segment));
		} else if (klen > 0 && k[0] == TABLE_FREED) {
			struct rec_freed f;

			err = parse_freed(k, klen, v, vlen, &f);
			if (!err && f.disk.v == id.v)
				floor = MAX(floor, above(f.segment));
		}
	}
	if (!err)
		err = meta_iter_error(it);
	meta_iter_free(it);
	*ret_floor = MAX(floor, 1);
	return err;
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
	err = segment_floor(p, rec->id, &floor);
	if (err) {
		pool_keep_spare(p, dev);
		return err;
	}
	err = disk_add(p->disks, &info, dev, floor);
	if (err && dev) {
		pool_keep_spare(p, dev);
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
					      .no_new = info.state != DISK_HEALTHY};
		memcpy(disks[n++].domain, info.domain, sizeof(info.domain));
	}
	return n;
}

/* ---- adding ---- */

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* reusable: those of disks that were given up are free. */
static bool label_taken(struct pool *p, const char *label, bool reusable)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk_info info = disk_info(disk_at(p->disks, i));
		struct rec_disk rec;

		if (strcmp(info.label, label) != 0)
			continue;
		if (!reusable || get_disk(p->meta, info.id, &rec) != 0 || rec.state != DISK_FAILED)
			return true;
	}
	return false;
}

/*
 * The label asked for, or the path's last part, made unique; UTF-8 or refused by disk_json_encode. A disk
 * that was given up keeps its label in lists and logs, so a successor is named apart from it unless the
 * person asks for the same name; a command that names it then means the one that lives.
 */
static int choose_label(struct pool *p, const struct pool_disk_spec *spec, const char *path,
			char out[64], struct pool_message *msg)
{
	if (spec->label) {
		if (spec->label[0] == '\0' || strlen(spec->label) > 63) {
			pool_say(msg, "cannot add %s: a label has 1 to 63 bytes", path);
			return DFS_EINVAL;
		}
		if (label_taken(p, spec->label, true)) {
			pool_say(msg, "cannot add %s: another disk has the label %s", path,
				 spec->label);
			return DFS_EEXIST;
		}
		snprintf(out, 64, "%s", spec->label);
		return 0;
	}
	utf8_copy(out, 51, last_part(path));
	if (out[0] == '\0' || out[0] == '/')
		snprintf(out, 64, "disk%u", p->next_disk);
	if (label_taken(p, out, false)) {
		char base[64];

		memcpy(base, out, sizeof(base));
		snprintf(out, 64, "%.50s-%u", base, p->next_disk);
	}
	return 0;
}

static int count_entries(void *ctx, const char *name, uint64_t size_bytes)
{
	(void)name;
	(void)size_bytes;
	++*(unsigned *)ctx;
	return 0;
}

/* A dynamicfs directory is there already: whose is it? 0: a leftover of ours that counts for nothing. */
static int check_existing(struct pool *p, struct dev *dev, const char *path,
			  struct pool_message *msg)
{
	struct disk_json j;
	struct rec_disk rec;
	unsigned entries = 0;
	char text[UUID_TEXT_LEN + 1];
	int err = disk_json_read(dev, &j);

	if (err == DFS_ENOENT) {
		err = dev_list(dev, "", count_entries, &entries);
		if (err || entries == 0)
			return err;
		pool_say(
			msg,
			"cannot add %s: %s/dynamicfs is there and is not a disk of a pool. Move it away",
			path, path);
		return DFS_ENOTEMPTYDIR;
	}
	if (err) {
		pool_say(msg, "cannot add %s: its dynamicfs/disk.json cannot be read: %s", path,
			 dfs_err_text(err));
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
	return 0;
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

/* Steps 1 and 2; for the first disk its root, too. */
static int make_disk(struct pool *p, struct dev *dev, const struct rec_disk *rec, const char *path)
{
	struct disk_json j = {.pool = p->json.pool,
			      .uuid = rec->uuid,
			      .id = rec->id.v,
			      .capacity_bytes = rec->capacity_bytes,
			      .written_wall_s = env_wall_ns() / 1000000000u};
	struct pool_json_disk *pj;
	int err;

	memcpy(j.label, rec->label, sizeof(j.label));
	memcpy(j.domain, rec->domain, sizeof(j.domain));
	snprintf(j.state, sizeof(j.state), "%s", disk_state_name(DISK_HEALTHY));
	err = disk_json_store(dev, &j);
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
	return members_choose(p);
}

static int add_checked(struct pool *p, const struct pool_disk_spec *spec, const char *path,
		       struct disk_info *ret_info, bool *ret_same_fs, struct pool_message *msg)
{
	struct rec_disk rec = {.id = {p->next_disk}, .state = DISK_HEALTHY};
	struct dev *dev = NULL;
	int err;

	err = open_disk_dev(&p->env, p->group, path, "dynamicfs", false, &dev);
	if (!err)
		err = check_existing(p, dev, path, msg);
	else if (err == DFS_ENOENT || err == DFS_EGONE)
		err = 0; /* no dynamicfs directory yet */
	else
		pool_say(msg, "cannot add %s: %s", path, dfs_err_text(err));
	if (!err)
		err = choose_label(p, spec, path, rec.label, msg);
	if (!err && !spec->dry_run && !dev) {
		err = open_disk_dev(&p->env, p->group, path, "dynamicfs", true, &dev);
		if (err)
			pool_say(msg, "cannot add %s: cannot make %s/dynamicfs: %s", path, path,
				 dfs_err_text(err));
	}
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
	err = make_disk(p, dev, &rec, path);
	if (err)
		dev_free(dev);
	else
		err = join_disk(p, dev, &rec, msg);
	if (!err)
		*ret_info = disk_info(disk_get(p->disks, rec.id));
	else if (msg->text[0] == '\0')
		pool_say(msg,
			 "cannot add %s: %s; the pool is as it was, and adding it again is safe",
			 path, dfs_err_text(err));
	return err;
}

void pool_note_mount(struct pool *p, uint64_t dev)
{
	__atomic_store_n(&p->mount_dev, dev, __ATOMIC_RELAXED);
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

/* Is the extent readable now, and would it not be without the disk? */
static bool is_lost_without(struct pool *p, const struct rec_extent *rec, disk_id id)
{
	unsigned now = 0, then = 0;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		struct disk *d = disk_get(p->disks, rec->frags[i].disk);

		const struct rec_fragment *f = &rec->frags[i];

		if (!d || !disk_present(d) ||
		    disk_may_lack(d, f->segment, f->offset, f->record_len))
			continue;
		now++;
		then += f->disk.v != id.v;
	}
	return now >= rec->k && then < rec->k;
}

static int count_lost_without(struct pool *p, disk_id id, uint64_t *ret_lost)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	int err = 0;
	BUF key = {0};

	*ret_lost = 0;
	key_bydisk(&key, id, 0, 0);
	for (meta_iter_seek(it, key.data, key.len); !err && meta_iter_valid(it);
	     meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_bydisk by;
		struct rec_extent rec;

		if (klen == 0 || k[0] != TABLE_BYDISK)
			break;
		err = parse_bydisk(k, klen, v, vlen, &by);
		if (err || by.disk.v != id.v)
			break;
		err = get_extent(p->meta, by.extent, &rec);
		if (err == DFS_ENOENT) { /* freed since the snapshot */
			err = 0;
			continue;
		}
		*ret_lost += !err && is_lost_without(p, &rec, id);
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
		err = count_lost_without(p, plan.info.id, &plan.extents_lost);
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
	} else if (plan.extents_lost) {
		pool_say(
			msg,
			"cannot fail disk %s: %llu %s that can be read now could not be read "
			"without it; nothing was changed; bring other disks back first, or use --force "
			"to lose those files (with --dry-run: to see what would be left)",
			label, (unsigned long long)plan.extents_lost,
			plural(plan.extents_lost, "extent", "extents"));
		err = DFS_EREFUSED;
	}
	return err;
}

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
