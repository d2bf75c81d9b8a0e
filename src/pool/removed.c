/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that has left the pool (DR4 (d), (e)): its disk.json says so, and what the pool wrote there goes. Whatever is left of that counts for
 * nothing, so add-disk may take the directory again. No locks.
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
