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

/* What is found rotten is remembered: the next checkpoint writes it anew. */
static void check_table(struct check *c, struct meta *m, struct manifest_file *f)
{
	unsigned whole = 0, absent = 0, width = (unsigned)f->k + f->m;
	uint32_t rotten = 0;
	char path[TABLE_PATH_LEN];

	for (unsigned i = 0; i < width; i++) {
		struct dev *dev = dev_of(m, f->fragments[i].disk);
		int err;

		if (!dev) {
			absent++;
			continue;
		}
		err = table_check(&m->cfg.pool, f, i, dev);
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
	if (whole < f->k)
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
		check_table(&c, m, &m->manifest.files[i]);
	return c.defects;
}
