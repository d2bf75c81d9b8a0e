/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that has left the pool (DR4 (d), (e)): its disk.json says so, and what the pool wrote there goes. Whatever is left of that counts for
 * nothing, so add-disk may take the directory again; and so it may that of one that was away when it left (DR10). No locks.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "pool/internal.h"

#define NAMES_AT_ONCE 256u
#define NAME_BYTES 128u

struct names {
	char (*v)[NAME_BYTES];
	unsigned count;
};

static int add_name(void *ctx, const char *name, uint64_t size_bytes)
{
	struct names *n = ctx;

	(void)size_bytes;
	if (strlen(name) < NAME_BYTES)
		snprintf(n->v[n->count++], NAME_BYTES, "%s", name);
	return n->count == NAMES_AT_ONCE ? DFS_EEND : 0;
}

static int remove_files(struct dev *dev, const char *dir)
{
	struct names n = {.v = xcalloc(NAMES_AT_ONCE, NAME_BYTES)};
	int err, rc;

	do {
		n.count = 0;
		rc = dev_list(dev, dir, add_name, &n);
		err = rc == DFS_EEND || rc == DFS_ENOENT ? 0 : rc;
		for (unsigned i = 0; i < n.count && !err; i++) {
			char path[NAME_BYTES + 32];

			snprintf(path, sizeof(path), "%s/%s", dir, n.v[i]);
			err = dev_remove(dev, path);
		}
	} while (!err && rc == DFS_EEND);
	free(n.v);
	return err;
}

bool removed_is(const struct disk_json *j) { return !strcmp(j->state, DISK_JSON_REMOVED); }

/* The roots first: without them nothing else there means anything. */
int removed_clear(struct dev *dev)
{
	static const char *const dirs[] = {"meta/journal", "meta/checkpoint", "meta/tables",
					   "segments"};
	int err = dev_remove(dev, "meta/roots");

	if (!err)
		err = dev_sync_dir(dev, "meta");
	if (err == DFS_ENOENT)
		err = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(dirs) && !err; i++)
		err = remove_files(dev, dirs[i]);
	disk_kept_remove(dev);
	return err;
}

void removed_mark(struct dev *dev, const struct disk_json *as)
{
	struct disk_json j = *as;
	int err;

	snprintf(j.state, sizeof(j.state), "%s", DISK_JSON_REMOVED);
	err = disk_json_store(dev, &j, NULL);
	if (!err) {
		PROBE("disk-marked-removed");
		err = removed_clear(dev);
	}
	if (err)
		log_warn(
			"the disk at %s is removed, but not all that the pool had there could be: %s; it counts "
			"for nothing, remove %s/dynamicfs when you like",
			dev->name, dfs_err_text(err), dev->name);
}

/* ---- one that was away ---- */

/* Its newest root is of our line: it holds nothing that this history has not had. */
static bool is_of_our_line(struct pool *p, struct dev *dev)
{
	FREE struct root *root = xmalloc(sizeof(*root));
	unsigned damaged = 0;

	return meta_read_root(dev, root, &damaged) == 0 && !damaged &&
	       uuid_eq(&root->pool, &p->json.pool) && meta_descends_from(p->meta, &root->epoch_id);
}

static bool was_given_up(struct pool *p, const struct disk_json *j)
{
	FREE struct meta_known *known = xcalloc(ROOT_MAX_DISKS, sizeof(*known));
	unsigned count = meta_known_disks(p->meta, known);
	struct rec_disk rec;

	if (get_disk(p->meta, (disk_id){j->id}, &rec) != DFS_ENOENT)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (known[i].id.v == j->id && uuid_eq(&known[i].uuid, &j->uuid))
			return known[i].given_up && meta_has_given_up(p->meta, known[i].id);
	return false;
}

/* Can all that the index names be read without it? *ret_short: extents that can't, or might not. */
static int count_short(struct pool *p, uint64_t *ret_short)
{
	const uint8_t first = TABLE_EXTENT;
	struct meta_iter *it = meta_iter_new(p->meta);
	int err;

	*ret_short = 0;
	for (meta_iter_seek(it, &first, 1); meta_iter_valid(it); meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct rec_extent rec;

		if (klen == 0 || k[0] != TABLE_EXTENT)
			break;
		*ret_short += parse_extent(k, klen, v, vlen, &rec) != 0 ||
			      extent_sure_fragments(p->extents, &rec) < rec.k;
	}
	err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

int removed_while_away(struct pool *p, struct dev *dev, const struct disk_json *j, const char *path,
		       struct pool_message *msg)
{
	uint64_t lacking = 0;
	bool whole;
	int err;

	if (!was_given_up(p, j) || !is_of_our_line(p, dev))
		return DFS_ENOENT;
	whole = orphans_index_is_whole(p);
	err = whole ? count_short(p, &lacking) : 0;
	if (err)
		return err;
	if (whole && !lacking)
		return 0;
	PROBE("removed-disk-may-be-needed");
	pool_say(
		msg,
		"cannot add %s: it was disk %u (%s) of this pool, and was removed while it was away; now %s, and "
		"what it holds may be all there is of that. Nothing was changed. 'dynamicfs rescue' reads it; if it "
		"is not needed, remove %s/dynamicfs first",
		path, j->id, j->label,
		whole ? "not all files can be read" : "changes are lost, or the pool was forced",
		path);
	return DFS_EREFUSED;
}

int removed_forget(struct pool *p, struct dev *dev, const struct disk_json *j)
{
	struct disk_json now = *j;
	int err;

	if (!was_given_up(p, j))
		return DFS_ENOENT;
	snprintf(now.state, sizeof(now.state), "%s", DISK_JSON_REMOVED);
	err = disk_json_store(dev, &now, NULL);
	if (err)
		return err;
	PROBE("removed-disk-told-late");
	return removed_clear(dev);
}
