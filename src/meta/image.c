/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index's image on the disks: the way back from the fragments that the manifest names, for the whole
 * index at open (P5) or for one table file that has rotted here while it is in use (P3).
 *
 * `heal` protects the published manifest against being replaced, and its fragments against being
 * removed, while a reader heals from them; it is held across reads of disks and nothing is taken under it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/words.h"
#include "meta/internal.h"

void image_clean(struct meta *m, const struct manifest *keep)
{
	manifests_clean(m, keep);
	for (unsigned i = 0; i < m->disk_count; i++)
		tables_clean(&m->disks[i], keep);
}

/* ---- the way back ---- */

static void devs_of(struct meta *m, const struct manifest_file *f, struct dev **devs)
{
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++) {
		devs[i] = NULL;
		for (unsigned d = 0; d < m->disk_count && f->fragments[i].disk.v; d++)
			if (m->disks[d].id.v == f->fragments[i].disk.v)
				devs[i] = m->disks[d].dev;
	}
}

/* Says which fragments are missing, so that a person knows what to bring back (P4). */
static void say_lost(const struct manifest_file *f, struct dev *const *devs, uint32_t bad)
{
	char text[512] = "";
	size_t at = 0;

	for (unsigned i = 0; i < (unsigned)f->k + f->m && at < sizeof(text); i++)
		if (bad & (1u << i))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u (%s)",
					       at ? ", " : "", f->fragments[i].disk.v,
					       devs[i] ? "damaged" : "not there");
	log_error("the metadata table %s cannot be read: it needs %u of its %u %s whole; "
		  "those on these disks are not: %s; bring one of them back",
		  f->name, f->k, (unsigned)f->k + f->m,
		  plural((unsigned)f->k + f->m, "fragment", "fragments"), text);
}

/* Reads a table from its fragments; remembers which of those that are there are rotten. */
static int read_table(struct meta *m, struct manifest_file *f, table_sink_fn sink, void *ctx,
		      int *ret_sink_err)
{
	struct dev *devs[TABLE_MAX_WIDTH];
	uint32_t bad = 0;
	int err;

	devs_of(m, f, devs);
	err = table_read(&m->cfg.pool, f, devs, sink, ctx, &bad, ret_sink_err);
	for (unsigned i = 0; i < (unsigned)f->k + f->m; i++)
		if ((bad & (1u << i)) && devs[i])
			f->rotten |= 1u << i;
	if (f->rotten)
		m->tables_due = true;
	if (err && *ret_sink_err == 0)
		say_lost(f, devs, bad);
	return err;
}

struct restore {
	struct meta *m;
	const struct manifest_file *f;
};

static int restore_sink(void *ctx, uint64_t off, const void *data, size_t len)
{
	struct restore *r = ctx;

	return r->m->ops->restore_write(r->m->cfg.index_arg, r->f->name, off, data, len);
}

int image_restore(struct meta *m)
{
	int err;

	if (m->root.checkpoint_id == 0)
		return m->ops->destroy(m->cfg.index_arg);
	if (m->manifest.checkpoint_id != m->root.checkpoint_id)
		return DFS_ECHECKSUM;
	err = m->ops->restore_begin(m->cfg.index_arg);
	for (unsigned i = 0; i < m->manifest.count && err == 0; i++) {
		struct restore r = {m, &m->manifest.files[i]};
		int local = 0;

		err = read_table(m, &m->manifest.files[i], restore_sink, &r, &local);
		if (err && local == 0)
			err = DFS_ECHECKSUM;
	}
	return err ? err : m->ops->restore_end(m->cfg.index_arg);
}

/* ---- healing in place ---- */

static int heal_sink(void *ctx, uint64_t off, const void *data, size_t len)
{
	struct restore *r = ctx;

	return r->m->ops->heal_write(r->m->index, r->f->name, off, data, len);
}

bool image_heal(struct meta *m, const char *name)
{
	struct restore r = {.m = m};
	struct manifest_file *f;
	int err, local = 0;

	ENV_LOCKED(&m->heal);
	r.f = f = manifest_find(&m->manifest, name);
	if (!f || !m->ops->heal_write)
		return false;
	/* block by block, each verified: if it ends early, what was written is right all the same */
	err = read_table(m, f, heal_sink, &r, &local);
	if (err) {
		log_error("the local index file %s has rotted and cannot be healed from its "
			  "fragments: %s",
			  name, dfs_err_text(err));
		return false;
	}
	log_warn("the local index file %s had rotted: it was healed from its fragments on the "
		 "disks",
		 name);
	return true;
}

bool image_heal_suspect(struct meta *m)
{
	char name[TABLE_NAME_LEN];

	if (m->ops->suspect && m->ops->suspect(m->index, name, sizeof(name)) && image_heal(m, name))
		return true;
	m->ops->condemn(m->index);
	return false;
}

int image_hash(struct meta *m, const struct manifest_file *f, struct hash *ret_hash)
{
	FREE uint8_t *chunk = xmalloc(MIB(1));
	struct hash_stream *s = hash_stream_new();
	int err = 0;

	for (uint64_t off = 0; off < f->size_bytes && err == 0; off += MIB(1)) {
		size_t len = MIN(MIB(1), f->size_bytes - off);

		err = m->ops->image_read(m->index, f->name, off, chunk, len);
		if (err == 0)
			hash_stream_add(s, chunk, len);
	}
	hash_stream_end(s, ret_hash);
	return err;
}

static int heal_differing(void *ctx, const char *name, uint64_t size_bytes)
{
	struct meta *m = ctx;
	const struct manifest_file *f = manifest_find(&m->manifest, name);
	struct hash hash;

	if (f && f->size_bytes == size_bytes && index_written_once(name) &&
	    image_hash(m, f, &hash) == 0 && memcmp(&hash, &f->hash, sizeof(hash)) != 0)
		(void)image_heal(m, name); /* it logs */
	return 0;
}

void image_heal_all(struct meta *m)
{
	if (m->ops->image_begin(m->index, heal_differing, m) == 0)
		m->ops->image_end(m->index);
}
