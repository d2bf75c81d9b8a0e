/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offline check of one member: its ring of roots, its manifest, its journal's
 * chain. Writes nothing. A torn record at the journal's end is what a crash leaves and no defect; a
 * break before transactions that had been acknowledged is.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/words.h"
#include "meta/internal.h"

struct check {
	meta_report_fn report;
	void *ctx;
	int defects;
};

static __attribute__((format(printf, 2, 3))) void defect(struct check *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->defects++;
	if (c->report)
		c->report(c->ctx, text);
}

static void check_manifest(struct check *c, struct dev *dev, const struct root *root)
{
	struct manifest man = {0};
	int err;

	if (root->checkpoint_id == 0)
		return;
	err = manifest_load(dev, root, &man);
	if (err) {
		defect(c, "%s: the manifest of checkpoint %llu: %s", dev->name,
		       (unsigned long long)root->checkpoint_id, dfs_err_text(err));
		return;
	}
	manifest_release(&man);
}

static void check_journal(struct check *c, struct dev *dev, const struct uuid *pool,
			  const struct root *root)
{
	struct journal_walk w = {.count = 1};
	struct journal_record rec;
	struct damage_unread unread = {0};
	struct meta_loss loss = {0};

	w.sources[0].dev = dev;
	walk_begin(&w, pool, root);
	while (walk_next(&w, &rec) == 0)
		;
	damage_scan(pool, &dev, 1, root->journal_first, w.seq, &loss, &unread);
	if (w.unread.err || unread.what.err)
		defect(c, "%s: the journal can't be read: %s", dev->name,
		       dfs_err_text(w.unread.err ? w.unread.err : unread.what.err));
	if (loss.from)
		defect(c, "%s: the journal is damaged after transaction %llu", dev->name,
		       (unsigned long long)w.seq);
	walk_end(&w);
}

int meta_check_member(struct dev *dev, const struct uuid *pool, meta_report_fn report, void *ctx)
{
	struct check c = {report, ctx, 0};
	struct root root;
	unsigned damaged = 0;
	int err = roots_read(dev, pool, &root, &damaged);

	if (err)
		return err;
	if (damaged)
		defect(&c, "%s: %u metadata roots are damaged", dev->name, damaged);
	check_manifest(&c, dev, &root);
	check_journal(&c, dev, pool, &root);
	return c.defects;
}

static struct dev *dev_of(const struct meta *m, disk_id id)
{
	for (unsigned i = 0; i < m->disk_count; i++)
		if (m->disks[i].id.v == id.v)
			return m->disks[i].dev;
	return NULL;
}

/* What is found rotten is remembered: the next checkpoint writes it anew. only: on this disk; 0: all. */
static void check_table(struct check *c, struct meta *m, struct manifest_file *f, disk_id only)
{
	unsigned whole = 0, absent = 0, width = (unsigned)f->k + f->m;
	uint32_t rotten = 0;
	char path[TABLE_PATH_LEN];

	for (unsigned i = 0; i < width; i++) {
		struct dev *dev = dev_of(m, f->fragments[i].disk);
		int err;

		if (only.v && f->fragments[i].disk.v != only.v)
			continue;
		if (!dev) {
			absent++;
			continue;
		}
		err = table_check(&m->cfg.pool, f, i, dev);
		if (err == DFS_EGONE ||
		    err == DFS_ETIMEDOUT) { /* it says nothing of what is there */
			absent++;
			continue;
		}
		table_path(f, i, path);
		if (err)
			defect(c, "%s: the fragment %s of the index's table %s: %s", dev->name,
			       path, f->name, dfs_err_text(err));
		whole += err == 0;
		rotten |= (uint32_t)(err != 0) << i;
	}
	if (rotten) {
		ENV_LOCKED(&m->heal);
		f->rotten |= rotten;
		m->tables_due = true;
	}
	if (whole < f->k && !only.v)
		defect(c,
		       "the index's table %s has %u whole %s and needs %u (%u %s on %s not "
		       "there): without the local index it is lost",
		       f->name, whole, plural(whole, "fragment", "fragments"), f->k, absent,
		       plural(absent, "is", "are"),
		       plural(absent, "a disk that is", "disks that are"));
}

int meta_check_tables(struct meta *m, meta_report_fn report, void *ctx)
{
	struct check c = {report, ctx, 0};

	ENV_LOCKED(&m->admin);
	if (m->manifest.checkpoint_id != m->root.checkpoint_id)
		defect(&c, "no member has the manifest of checkpoint %llu whole",
		       (unsigned long long)m->root.checkpoint_id);
	for (unsigned i = 0; i < m->manifest.count; i++)
		check_table(&c, m, &m->manifest.files[i], (disk_id){0});
	return c.defects;
}

/* ---- of an open store, while it works (V6) ---- */

int meta_check_next_table(struct meta *m, char name[TABLE_NAME_LEN], disk_id only,
			  meta_report_fn report, void *ctx, uint64_t *ret_bytes)
{
	struct check c = {report, ctx, 0};
	ENV_LOCKED(&m->admin);

	for (unsigned i = 0; i < m->manifest.count; i++) {
		struct manifest_file *f = &m->manifest.files[i];

		if (strcmp(f->name, name) <= 0)
			continue;
		check_table(&c, m, f, only);
		memcpy(name, f->name, TABLE_NAME_LEN);
		*ret_bytes = f->size_bytes / f->k * (f->k + (uint64_t)f->m);
		return c.defects;
	}
	return DFS_EEND;
}

static bool is_listed(const struct root *root, disk_id id)
{
	for (unsigned i = 0; i < root->member_count; i++)
		if (root->members[i].id.v == id.v)
			return true;
	return false;
}

/* All that was durable before is still to be walked to: no checkpoint moves the beginning meanwhile. What comes behind it is
 * being written. */
static void check_live_journal(struct check *c, struct meta *m, struct dev *dev,
			       const struct root *root, uint64_t durable)
{
	struct journal_walk w = {.count = 1};
	struct journal_record rec;

	w.sources[0].dev = dev;
	walk_begin(&w, &m->cfg.pool, root);
	while (w.seq < durable && walk_next(&w, &rec) == 0)
		;
	if (w.seq < durable && w.unread.err)
		defect(c, "%s: the journal can't be read after transaction %llu: %s", dev->name,
		       (unsigned long long)w.seq, dfs_err_text(w.unread.err));
	else if (w.seq < durable)
		defect(c, "%s: the journal is damaged after transaction %llu", dev->name,
		       (unsigned long long)w.seq);
	walk_end(&w);
}

int meta_check_disk(struct meta *m, disk_id id, meta_report_fn report, void *ctx)
{
	struct check c = {report, ctx, 0};
	struct root root;
	unsigned damaged = 0;
	uint64_t durable;
	struct dev *dev;
	int err;
	ENV_LOCKED(&m->admin);

	dev = dev_of(m, id);
	if (!dev)
		return 0;
	token_take(m); /* no root is being written */
	err = roots_read(dev, &m->cfg.pool, &root, &damaged);
	token_give(m);
	if (err) {
		defect(&c, "%s: no metadata root can be read: %s", dev->name, dfs_err_text(err));
		return c.defects;
	}
	durable = meta_durable_seq(m);
	if (damaged)
		defect(&c, "%s: %u metadata %s damaged", dev->name, damaged,
		       plural(damaged, "root is", "roots are"));
	if (!is_listed(&root, id) || !meta_is_member(m, id))
		return c.defects;
	check_manifest(&c, dev, &root);
	check_live_journal(&c, m, dev, &root, durable);
	return meta_is_member(m, id) ? c.defects : 0; /* it has left: it has nothing any more */
}

int meta_mend(struct meta *m)
{
	int err = m->cfg.read_only ? DFS_EROFS : 0;
	ENV_LOCKED(&m->admin);

	/* twice: the first may keep the newer journal file */
	for (unsigned i = 0; i < 2 && !err; i++) {
		token_take(m);
		m->unequal = true;
		token_give(m);
		err = checkpoint_run(m, false);
	}
	if (err)
		return err;
	token_take(m); /* there is a newer root by now */
	for (unsigned i = 0; i < m->disk_count; i++)
		(void)!roots_heal(m->disks[i].dev); /* else newer ones take their place by and by */
	token_give(m);
	return 0;
}
