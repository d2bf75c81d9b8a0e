/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offline check of one member: its ring of roots, its mirror against the manifest, its journal's
 * chain. Writes nothing. A torn record at the journal's end is what a crash leaves and no defect; a
 * break with whole records behind it is.
 */
#include <stdarg.h>
#include <stdio.h>

#include "meta/internal.h"

#define SCAN_MAX_BYTES MIB(64)

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

static void check_mirror(struct check *c, struct dev *dev, const struct root *root)
{
	struct manifest man = {0};
	int err, local = 0;

	if (root->checkpoint_id == 0)
		return;
	err = mirror_load_manifest(dev, root, &man);
	if (err) {
		defect(c, "%s: the manifest of checkpoint %llu: %s", dev->name,
		       (unsigned long long)root->checkpoint_id, dfs_err_text(err));
		return;
	}
	for (unsigned i = 0; i < man.count; i++) {
		err = mirror_read_file(NULL, dev, &man.files[i], &local);
		if (err)
			defect(c, "%s: mirrored index file %s: %s", dev->name, man.files[i].stored,
			       dfs_err_text(err));
	}
	manifest_release(&man);
}

/* Is there a whole record of this pool beyond off? Then the break before it is rot. */
static bool bytes_hold_record(struct dev_file *f, const struct uuid *pool, uint64_t off)
{
	BUF bytes = {0};
	struct journal_record rec;
	uint64_t size = 0;
	size_t got = 0;

	if (dev_size(f, &size) || size <= off)
		return false;
	size = MIN(size - off, SCAN_MAX_BYTES);
	buf_extend(&bytes, size);
	if (dev_read(f, bytes.data, size, off, 0, &got))
		return true; /* can't be read: damage, too */
	for (size_t at = 8; at + JOURNAL_FIXED_LEN <= got; at += 8) {
		if (journal_record_parse(bytes.data + at, got - at, pool, &rec) == 0)
			return true;
	}
	return false;
}

static bool record_beyond(struct dev *dev, const struct uuid *pool, uint64_t first, uint64_t off)
{
	char name[JOURNAL_NAME_LEN];
	struct dev_file *f;
	bool found;
	int err;

	journal_name(first, name);
	err = dev_open(dev, name, DEV_RDONLY, &f);
	if (err)
		return err != DFS_ENOENT;
	found = bytes_hold_record(f, pool, off);
	dev_close(f);
	return found;
}

static bool file_exists(struct dev *dev, uint64_t first)
{
	char name[JOURNAL_NAME_LEN];
	struct dev_file *f;

	journal_name(first, name);
	if (dev_open(dev, name, DEV_RDONLY, &f))
		return false;
	dev_close(f);
	return true;
}

struct later {
	uint64_t than;
	bool found;
};

static int find_later(void *ctx, const char *name, uint64_t size_bytes)
{
	struct later *l = ctx;
	char path[JOURNAL_NAME_LEN], mine[JOURNAL_NAME_LEN];

	snprintf(path, sizeof(path), "meta/journal/%.32s", name);
	journal_name(l->than, mine);
	l->found = l->found || (strcmp(path, mine) > 0 && size_bytes > 0);
	return 0;
}

static void check_journal(struct check *c, struct dev *dev, const struct uuid *pool,
			  const struct root *root)
{
	struct journal_walk w = {.count = 1};
	struct journal_record rec;
	struct later later = {0};

	w.sources[0].dev = dev;
	if (!file_exists(dev, root->journal_first) && !root->clean)
		defect(c, "%s: the journal file %016llx is missing", dev->name,
		       (unsigned long long)root->journal_first);
	walk_begin(&w, pool, root);
	while (walk_next(&w, &rec) == 0)
		;
	later.than = w.file_first;
	if (dev_list(dev, "meta/journal", find_later, &later))
		defect(c, "%s: the journal directory can't be listed", dev->name);
	if (later.found || record_beyond(dev, pool, w.end_first, w.end_off))
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
	check_mirror(&c, dev, &root);
	check_journal(&c, dev, pool, &root);
	return c.defects;
}
