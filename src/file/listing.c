/* SPDX-License-Identifier: Apache-2.0 */
/* What a file's data consists of, and the filesystem's figures, for a person. */
#include "file/internal.h"

#include <stdlib.h>

#define LIST_STEP 64u

static struct fs_extent_info inline_info(const struct rec_inode *r)
{
	return (struct fs_extent_info){.len = r->inline_len, .is_inline = true};
}

/* The next entries at or beyond off, without their extents. */
static int next_entries(struct inode *in, uint64_t off, struct fs_extent_info *v,
			unsigned *ret_count)
{
	CLEANUP(map_done) struct map_cursor c = {0};
	unsigned count = 0;
	int rc;

	*ret_count = 0;
	ENV_LOCKED(&in->lock);
	if (in->rec.flags & INODE_INLINE) {
		if (off == 0 && in->rec.inline_len) {
			v[0] = inline_info(&in->rec);
			*ret_count = 1;
		}
		return 0;
	}
	rc = map_seek(&c, in, off);
	for (; rc == 0 && c.valid && count < LIST_STEP; rc = map_next(&c), count++)
		v[count] = (struct fs_extent_info){.file_offset = c.rec.file_offset,
						   .len = c.rec.len,
						   .extent_offset = c.rec.extent_offset,
						   .extent.id = c.rec.extent};
	*ret_count = count;
	return rc;
}

int fs_list_extents(struct fs *fs, struct inode *in, fs_extent_fn fn, void *ctx)
{
	struct fs_extent_info *v;
	unsigned count = 0;
	uint64_t off = 0;
	int rc = 0;

	if (!is_reg(in) && !S_ISLNK(in->type))
		return 0;
	if (is_reg(in) && !fs->read_only)
		rc = seal_wait(in);
	v = xcalloc(LIST_STEP, sizeof(*v));
	while (rc == 0) {
		rc = next_entries(in, off, v, &count);
		if (rc || !count)
			break;
		for (unsigned i = 0; rc == 0 && i < count; i++) {
			off = v[i].file_offset + v[i].len;
			if (!v[i].is_inline)
				rc = get_extent(fs->meta, v[i].extent.id, &v[i].extent);
			if (rc == DFS_ENOENT) { /* overwritten since the look-up */
				rc = 0;
				continue;
			}
			if (rc == 0)
				rc = fn(ctx, &v[i]);
		}
	}
	free(v);
	return rc;
}

void fs_stats(struct fs *fs, struct fs_stats *ret)
{
	env_mutex_lock(&fs->dirty_lock);
	ret->dirty_bytes = fs->dirty_bytes;
	ret->dirty_limit_bytes = fs->cfg.dirty_limit_bytes;
	ret->sealed_extents = fs->sealed_extents;
	ret->seal_errors = fs->seal_errors;
	env_mutex_unlock(&fs->dirty_lock);
	ENV_LOCKED(&fs->table_lock);
	ret->inodes_cached = HASH_COUNT(fs->inodes);
	ret->inodes_in_use = ret->inodes_cached - fs->lru_count;
	ret->inodes_known = fs->known.count;
	env_mutex_lock(&fs->fold.lock);
	ret->folded_slots = fs->fold.slots;
	ret->fold_excess_bytes = (uint64_t)fs->fold.excess;
	env_mutex_unlock(&fs->fold.lock);
}
