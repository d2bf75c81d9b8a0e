/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirrored checkpoint: copies of the index's files on the members, and the way back. A file is
 * stored as NAME-<16 hex digits of its BLAKE3>, written under another name, synced, then renamed: so
 * a stored name stands for bytes that were durable, and a file that is there needn't be copied again.
 *
 * Keeps M6 (the root comes after all this), P3 (a file is believed only if its hash is what the
 * manifest says, the manifest if its hash is what the root says) and P10.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

#define CHUNK_BYTES MIB(1)
#define DIR_NAME "meta/checkpoint"
#define TMP_NAME DIR_NAME "/tmp"
#define PATH_LEN 128

void manifest_name(uint64_t id, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, DIR_NAME "/manifest-%016llx", (unsigned long long)id);
}

static void stored_path(const struct manifest_file *f, char path[PATH_LEN])
{
	snprintf(path, PATH_LEN, DIR_NAME "/%s", f->stored);
}

/* ---- what lies in a mirror ---- */

struct stored_file {
	char name[PATH_LEN];
	uint64_t size_bytes;
};
struct stored_list {
	struct stored_file *files;
	unsigned count, room;
};

static int list_add(void *ctx, const char *name, uint64_t size_bytes)
{
	struct stored_list *l = ctx;

	if (strlen(name) + sizeof(DIR_NAME "/") > PATH_LEN)
		return 0; /* none of ours */
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->files = xrealloc(l->files, l->room * sizeof(*l->files));
	}
	strcpy(l->files[l->count].name, name);
	l->files[l->count++].size_bytes = size_bytes;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stored_file *)a)->name, ((const struct stored_file *)b)->name);
}

static int list_load(struct dev *dev, struct stored_list *l)
{
	int err = dev_list(dev, DIR_NAME, list_add, l);

	if (err == 0 && l->count)
		qsort(l->files, l->count, sizeof(*l->files), by_name);
	return err;
}

static bool list_has(const struct stored_list *l, const struct manifest_file *f)
{
	struct stored_file key, *found;

	if (l->count == 0)
		return false;
	snprintf(key.name, sizeof(key.name), "%s", f->stored);
	found = bsearch(&key, l->files, l->count, sizeof(*l->files), by_name);
	return found && found->size_bytes == f->size_bytes;
}

/* ---- hashes of the image's files ---- */

static bool written_once(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, ".sst") == 0;
}

static const struct manifest_file *find_file(const struct manifest *in,
					     const struct manifest_file *f)
{
	for (unsigned i = 0; i < in->count; i++) {
		if (strcmp(in->files[i].name, f->name) == 0 &&
		    in->files[i].size_bytes == f->size_bytes)
			return &in->files[i];
	}
	return NULL;
}

static int hash_image(struct meta *m, struct manifest_file *f, uint8_t *chunk)
{
	struct hash_stream *s = hash_stream_new();
	int err = 0;

	for (uint64_t off = 0; off < f->size_bytes && err == 0; off += CHUNK_BYTES) {
		size_t len = MIN(CHUNK_BYTES, f->size_bytes - off);

		err = m->ops->image_read(m->index, f->name, off, chunk, len);
		if (err == 0)
			hash_stream_add(s, chunk, len);
	}
	hash_stream_end(s, &f->hash);
	return err;
}

/*
 * A file that was mirrored before and now reads differently has rotted here: mirroring it would
 * replace the good copies (P3). So the index is condemned: the next start takes the mirror.
 */
static int name_file(struct meta *m, struct manifest_file *f, uint8_t *chunk)
{
	const struct manifest_file *before = NULL;
	int err;

	if (written_once(f->name))
		before = find_file(&m->manifest, f);
	if (before && m->manifest_fresh) {
		*f = *before;
		return 0;
	}
	err = hash_image(m, f, chunk);
	if (err)
		return err;
	if (before && memcmp(&before->hash, &f->hash, sizeof(f->hash)) != 0) {
		log_error("cannot write a checkpoint: the local index file %s has rotted; the "
			  "mirrors on the disks are kept as they are; mount the pool again to "
			  "take the index from them",
			  f->name);
		m->ops->condemn(m->index);
		return DFS_ECHECKSUM;
	}
	snprintf(f->stored, sizeof(f->stored), "%s-%02x%02x%02x%02x%02x%02x%02x%02x", f->name,
		 f->hash.b[0], f->hash.b[1], f->hash.b[2], f->hash.b[3], f->hash.b[4], f->hash.b[5],
		 f->hash.b[6], f->hash.b[7]);
	return 0;
}

/* ---- writing ---- */

struct target { /* a member while it is mirrored to */
	struct member *mb;
	struct stored_list have;
	struct dev_file *out; /* the file being written, or NULL */
};

/* A member that fails dies, unless it is only full and the journal can still grow. */
static int target_error(struct meta *m, struct target *t, int err)
{
	bool patient;

	dev_close(t->out);
	t->out = NULL;
	env_mutex_lock(&m->state);
	patient = m->journal_bytes < 2 * m->cfg.checkpoint_bytes;
	env_mutex_unlock(&m->state);
	if (err == DFS_ENOSPC && (patient || member_alive(m) == 1)) {
		log_warn("cannot mirror the metadata checkpoint to disk %u (%s): no space left; "
			 "it is tried again later; free some space there",
			 t->mb->disk.id.v, t->mb->disk.dev->name);
		return err;
	}
	member_kill(m, t->mb, err, "mirror the metadata checkpoint");
	return 0;
}

static int target_open(struct target *t)
{
	int err = dev_open(t->mb->disk.dev, TMP_NAME, DEV_CREATE, &t->out);

	if (err) {
		t->out = NULL;
		return err;
	}
	return dev_truncate(t->out, 0);
}

static int target_finish(struct target *t, const struct manifest_file *f)
{
	char path[PATH_LEN];
	int err = dev_sync(t->out);

	if (err)
		return err;
	dev_close(t->out);
	t->out = NULL;
	stored_path(f, path);
	return dev_rename(t->mb->disk.dev, TMP_NAME, path);
}

/* Copies one file to all targets that lack it, reading it once. */
static int copy_file(struct meta *m, struct target *targets, unsigned count,
		     const struct manifest_file *f, uint8_t *chunk)
{
	unsigned wanting = 0;
	int err = 0;

	for (unsigned i = 0; i < count && err == 0; i++) {
		struct target *t = &targets[i];
		int e;

		if (member_dead(m, t->mb) || list_has(&t->have, f))
			continue;
		e = target_open(t);
		if (e)
			err = target_error(m, t, e);
		else
			wanting++;
	}
	for (uint64_t off = 0; off < f->size_bytes && wanting && err == 0; off += CHUNK_BYTES) {
		size_t len = MIN(CHUNK_BYTES, f->size_bytes - off);

		err = m->ops->image_read(m->index, f->name, off, chunk, len);
		for (unsigned i = 0; i < count && err == 0; i++) {
			int e = targets[i].out ? dev_write(targets[i].out, chunk, len, off) : 0;

			if (e)
				err = target_error(m, &targets[i], e);
		}
	}
	for (unsigned i = 0; i < count && err == 0; i++) {
		int e = targets[i].out ? target_finish(&targets[i], f) : 0;

		if (e)
			err = target_error(m, &targets[i], e);
	}
	for (unsigned i = 0; i < count; i++) {
		dev_close(targets[i].out);
		targets[i].out = NULL;
	}
	return err;
}

static int write_manifest(struct meta *m, struct target *t, uint64_t id, const struct buf *bytes)
{
	char name[JOURNAL_NAME_LEN];
	int err;

	if (member_dead(m, t->mb))
		return 0;
	manifest_name(id, name);
	err = dev_sync_dir(t->mb->disk.dev, DIR_NAME);
	if (err == 0)
		err = dev_replace(t->mb->disk.dev, name, bytes->data, bytes->len);
	return err ? target_error(m, t, err) : 0;
}

int mirror_write(struct meta *m, struct manifest *next, struct hash *ret_hash)
{
	struct target targets[ROOT_MAX_MEMBERS] = {0};
	FREE uint8_t *chunk = xmalloc(CHUNK_BYTES);
	BUF bytes = {0};
	unsigned count = 0;
	int err = 0;

	for (unsigned i = 0; i < next->count && err == 0; i++)
		err = name_file(m, &next->files[i], chunk);
	for (unsigned i = 0; i < m->member_count && err == 0; i++) {
		struct target *t = &targets[count];
		int e;

		t->mb = m->members[i];
		if (member_dead(m, t->mb))
			continue;
		count++;
		e = list_load(t->mb->disk.dev, &t->have);
		if (e)
			err = target_error(m, t, e);
	}
	for (unsigned i = 0; i < next->count && err == 0; i++)
		err = copy_file(m, targets, count, &next->files[i], chunk);
	if (err == 0)
		manifest_encode(next, &bytes);
	for (unsigned i = 0; i < count && err == 0; i++)
		err = write_manifest(m, &targets[i], next->checkpoint_id, &bytes);
	if (err == 0)
		hash_bytes(bytes.data, bytes.len, ret_hash);
	for (unsigned i = 0; i < count; i++)
		free(targets[i].have.files);
	return err;
}

static bool kept(const struct manifest *keep, const struct stored_file *f)
{
	char name[JOURNAL_NAME_LEN];

	if (!keep)
		return false;
	manifest_name(keep->checkpoint_id, name);
	if (strcmp(name + strlen(DIR_NAME "/"), f->name) == 0)
		return true;
	for (unsigned i = 0; i < keep->count; i++) {
		if (strcmp(keep->files[i].stored, f->name) == 0)
			return true;
	}
	return false;
}

void mirror_clean(struct dev *dev, const struct manifest *keep)
{
	struct stored_list l = {0};
	int err = list_load(dev, &l);

	for (unsigned i = 0; i < l.count && err == 0; i++) {
		char path[PATH_LEN + sizeof(DIR_NAME)];

		if (kept(keep, &l.files[i]))
			continue;
		snprintf(path, sizeof(path), DIR_NAME "/%s", l.files[i].name);
		err = dev_remove(dev, path);
	}
	if (err && err != DFS_ENOENT)
		log_warn("cannot remove old checkpoint files on %s: %s; they take space until the "
			 "next checkpoint",
			 dev->name, dfs_err_text(err));
	free(l.files);
}

/* ---- the way back ---- */

int mirror_load_manifest(struct dev *dev, const struct root *root, struct manifest *ret)
{
	char name[JOURNAL_NAME_LEN];
	FREE uint8_t *data = NULL;
	struct hash hash;
	size_t len;
	int err;

	manifest_name(root->checkpoint_id, name);
	err = dev_read_all(dev, name, MANIFEST_MAX_BYTES, &data, &len);
	if (err)
		return err;
	hash_bytes(data, len, &hash);
	if (memcmp(&hash, &root->manifest, sizeof(hash)) != 0)
		return DFS_ECHECKSUM;
	err = manifest_parse(data, len, ret);
	if (err)
		return err;
	if (!uuid_eq(&ret->pool, &root->pool) || ret->checkpoint_id != root->checkpoint_id) {
		manifest_release(ret);
		return DFS_ECORRUPT;
	}
	return 0;
}

int mirror_read_file(struct meta *m, struct dev *dev, const struct manifest_file *f, int *ret_local)
{
	FREE uint8_t *chunk = xmalloc(CHUNK_BYTES);
	char path[PATH_LEN];
	struct hash_stream *s;
	struct dev_file *in;
	struct hash hash;
	uint64_t off = 0;
	size_t got;
	int err;

	stored_path(f, path);
	err = dev_open(dev, path, DEV_RDONLY, &in);
	if (err)
		return err;
	s = hash_stream_new();
	do {
		err = dev_read(in, chunk, CHUNK_BYTES, off, 0, &got);
		if (err)
			break;
		hash_stream_add(s, chunk, got);
		if (m && (got || off == 0)) {
			err = m->ops->restore_write(m->cfg.index_arg, f->name, off, chunk, got);
			*ret_local = err;
		}
		off += got;
	} while (err == 0 && got == CHUNK_BYTES && off <= f->size_bytes);
	hash_stream_end(s, &hash);
	dev_close(in);
	if (err)
		return err;
	return off == f->size_bytes && memcmp(&hash, &f->hash, sizeof(hash)) == 0 ? 0
										  : DFS_ECHECKSUM;
}

static int restore_file(struct meta *m, struct dev *const *devs, unsigned count,
			const struct manifest_file *f, bool remove_rotten, bool *ret_rotten)
{
	char path[PATH_LEN];
	bool bad[ROOT_MAX_MEMBERS] = {0};
	int err = DFS_ECHECKSUM, local = 0;

	stored_path(f, path);
	for (unsigned i = 0; i < count && err; i++) {
		err = mirror_read_file(m, devs[i], f, &local);
		if (local) /* no use trying others */
			return local;
		if (err == 0)
			break;
		bad[i] = *ret_rotten = true;
		log_warn("cannot use the mirrored index file %s on %s: %s; trying another member",
			 path, devs[i]->name, dfs_err_text(err));
	}
	if (err)
		return DFS_ECHECKSUM;
	for (unsigned i = 0; i < count && remove_rotten; i++) {
		/* The next checkpoint writes it again, because it isn't there. */
		if (bad[i])
			(void)!dev_remove(devs[i], path);
	}
	return 0;
}

int mirror_restore(struct meta *m, struct dev *const *devs, unsigned count, bool remove_rotten,
		   bool *ret_rotten)
{
	struct manifest man = {0};
	int err = DFS_ECHECKSUM;

	if (m->root.checkpoint_id == 0)
		return m->ops->destroy(m->cfg.index_arg);
	for (unsigned i = 0; i < count && err; i++) {
		err = mirror_load_manifest(devs[i], &m->root, &man);
		if (err) {
			*ret_rotten = true;
			log_warn("cannot use the checkpoint's manifest on %s: %s; trying another "
				 "member",
				 devs[i]->name, dfs_err_text(err));
		}
	}
	if (err)
		return DFS_ECHECKSUM;
	err = m->ops->restore_begin(m->cfg.index_arg);
	for (unsigned i = 0; i < man.count && err == 0; i++)
		err = restore_file(m, devs, count, &man.files[i], remove_rotten, ret_rotten);
	if (err == 0)
		err = m->ops->restore_end(m->cfg.index_arg);
	manifest_release(&man);
	return err;
}
