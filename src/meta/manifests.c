/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint's manifest on the members. Each has two files for it whose space is taken beforehand: one is the
 * manifest that the newest root names, the other is spare and becomes the next one. So a checkpoint needs nothing
 * of a member's filesystem, not even an inode: no member keeps the others from one because somebody has filled it.
 *
 * docs/DESIGN.md, "Journal files", J6, has the states.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

#define DIR_NAME "meta/checkpoint"
#define SPARE DIR_NAME "/spare-"
#define FILES 2u

void manifest_name(uint64_t id, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, DIR_NAME "/manifest-%016llx", (unsigned long long)id);
}

static void spare_name(unsigned n, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, SPARE "%u", n);
}

/* ---- the files ---- */

struct files {
	char (*names)[JOURNAL_NAME_LEN];
	uint64_t *sizes;
	unsigned count;
};

static int collect(void *ctx, const char *leaf, uint64_t size_bytes)
{
	struct files *l = ctx;
	char path[JOURNAL_NAME_LEN];

	if (snprintf(path, sizeof(path), DIR_NAME "/%s", leaf) >= (int)sizeof(path))
		return 0;
	l->names = xrealloc(l->names, (l->count + 1) * sizeof(*l->names));
	l->sizes = xrealloc(l->sizes, (l->count + 1) * sizeof(*l->sizes));
	l->sizes[l->count] = size_bytes;
	memcpy(l->names[l->count++], path, sizeof(path));
	return 0;
}

static void files_release(struct files *l)
{
	free(l->names);
	free(l->sizes);
}

static bool has_file(const struct files *l, const char *name)
{
	for (unsigned i = 0; i < l->count; i++)
		if (strcmp(l->names[i], name) == 0)
			return true;
	return false;
}

/* Creates it, or makes it as large: zeros, durably, so that its space is there when it is written. */
static int fill_spare(struct dev *dev, const char *name, uint64_t from, uint64_t to)
{
	FREE uint8_t *zeros = xcalloc(1, to - from);
	struct dev_file *f;
	int err = dev_open(dev, name, DEV_CREATE | DEV_IN_PLACE, &f);

	if (err)
		return err;
	err = dev_write(f, zeros, to - from, from);
	if (err == 0)
		err = dev_sync(f);
	dev_close(f);
	return err;
}

static uint64_t size_of(const struct files *l, const char *name)
{
	for (unsigned i = 0; i < l->count; i++)
		if (strcmp(l->names[i], name) == 0)
			return l->sizes[i];
	return 0;
}

int manifests_prepare(struct dev *dev, unsigned tables)
{
	uint64_t room = MIN(KIB(64) * (1 + tables / 64), MANIFEST_MAX_BYTES);
	struct files l = {0};
	int err = dev_list(dev, DIR_NAME, collect, &l);
	unsigned have = l.count;

	for (unsigned n = 0; n < FILES && err == 0; n++) {
		char name[JOURNAL_NAME_LEN];
		uint64_t size;

		spare_name(n, name);
		size = size_of(&l, name);
		if (!has_file(&l, name) && have++ >= FILES)
			continue;
		if (size < room)
			err = fill_spare(dev, name, size, room);
	}
	if (err == 0 && have > l.count)
		err = dev_sync_dir(dev, DIR_NAME);
	files_release(&l);
	return err;
}

void manifests_remove(struct dev *dev)
{
	struct files l = {0};
	int err = dev_list(dev, DIR_NAME, collect, &l);

	for (unsigned i = 0; i < l.count && err == 0; i++)
		err = dev_remove(dev, l.names[i]);
	if (err && err != DFS_ENOENT)
		log_warn("cannot remove old checkpoint manifests on %s: %s; they take space",
			 dev->name, dfs_err_text(err));
	files_release(&l);
}

static bool is_spare(const char *name) { return strncmp(name, SPARE, strlen(SPARE)) == 0; }

/* What keep does not name is spare now, or goes. */
static void clean(struct dev *dev, const struct manifest *keep)
{
	char kept[JOURNAL_NAME_LEN], spare[JOURNAL_NAME_LEN];
	struct files l = {0};
	int err = dev_list(dev, DIR_NAME, collect, &l);
	bool have = has_file(&l, SPARE "0");

	manifest_name(keep->checkpoint_id, kept);
	spare_name(0, spare);
	for (unsigned i = 0; i < l.count && err == 0; i++) {
		if (strcmp(l.names[i], kept) == 0 || is_spare(l.names[i]))
			continue;
		err = have ? dev_remove(dev, l.names[i]) : dev_rename(dev, l.names[i], spare);
		have = true;
	}
	files_release(&l);
	if (err == 0) /* without room for what is missing the next one tries again */
		(void)!manifests_prepare(dev, keep->count);
	else if (err != DFS_ENOENT)
		log_warn(
			"cannot set old checkpoint manifests on %s aside: %s; they take space until "
			"the next checkpoint",
			dev->name, dfs_err_text(err));
}

void manifests_clean(struct meta *m, const struct manifest *keep)
{
	for (unsigned i = 0; i < m->member_count; i++)
		if (!member_dead(m, m->members[i]))
			clean(m->members[i]->disk.dev, keep);
}

/* ---- what they hold ---- */

/* The file that becomes manifest `name`: a left-over one of that number, or a spare one. */
static int open_spare(struct dev *dev, const char *name, char from[JOURNAL_NAME_LEN],
		      struct dev_file **ret_file)
{
	int err;

	strcpy(from, name);
	err = dev_open(dev, from, 0, ret_file);
	for (unsigned n = 0; n < FILES && err == DFS_ENOENT; n++) {
		spare_name(n, from);
		err = dev_open(dev, from, 0, ret_file);
	}
	return err;
}

/* J6: in place, so that it needs no space; the file keeps its size. */
static int put_manifest(struct dev *dev, const char *name, const struct buf *bytes)
{
	char from[JOURNAL_NAME_LEN];
	struct dev_file *f;
	int err = open_spare(dev, name, from, &f);

	if (err == DFS_ENOENT) /* of a time before there were any, or somebody has removed it */
		return dev_replace(dev, name, bytes->data, bytes->len);
	if (err)
		return err;
	err = dev_write(f, bytes->data, bytes->len, 0);
	if (err == 0)
		err = dev_sync(f);
	dev_close(f);
	if (err == 0 && strcmp(from, name) != 0)
		err = dev_rename(dev, from, name);
	return err ? err : dev_sync_dir(dev, DIR_NAME);
}

/* Never kills for want of space: the checkpoint is given up instead, and tried again. */
int manifests_write(struct meta *m, const struct manifest *next, struct hash *ret_hash)
{
	char name[JOURNAL_NAME_LEN];
	BUF bytes = {0};

	manifest_encode(next, &bytes);
	manifest_name(next->checkpoint_id, name);
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		int err;

		if (member_dead(m, mb))
			continue;
		err = put_manifest(mb->disk.dev, name, &bytes);
		if (err == DFS_ENOSPC) {
			log_warn("cannot write the metadata checkpoint's manifest to disk %u (%s): "
				 "no space left; it is tried again later; free some space there",
				 mb->disk.id.v, mb->disk.dev->name);
			return err;
		}
		if (err)
			member_kill(m, mb, err, "write the metadata checkpoint's manifest");
	}
	hash_bytes(bytes.data, bytes.len, ret_hash);
	return 0;
}

int manifest_load(struct dev *dev, const struct root *root, struct manifest *ret)
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
	len = manifest_length(data, len);
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
