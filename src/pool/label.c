/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's label: which ones may be given, giving another one, and handing one on. Its homes are its record in the index (which is what
 * counts), the disk in memory, pool.json, and its disk.json; written in this order. A crash in between leaves an older label where only people
 * look, and the next opening writes that anew (DR9).
 *
 * Lock: change_lock.
 */
#include <stdio.h>

#include "base/probe.h"
#include "base/utf8.h"
#include "pool/internal.h"

/* Those of disks that were given up are free. */
static struct disk *other_with(struct pool *p, const char *label, disk_id self)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);
		struct rec_disk rec;

		if (strcmp(info.label, label) != 0 || disk_is_removed(d) || info.id.v == self.v)
			continue;
		if (get_disk(p->meta, info.id, &rec) != 0 || rec.state != DISK_FAILED)
			return d;
	}
	return NULL;
}

int label_check(struct pool *p, const char *label, disk_id self, const char *cannot,
		struct pool_message *msg)
{
	const char *at = label;
	struct disk *other;
	size_t n;

	while ((n = utf8_len(at)))
		at += n;
	if (*label == '\0' || strlen(label) > LABEL_MAX) {
		pool_say(msg, "%s: a label has 1 to %u bytes", cannot, LABEL_MAX);
		return DFS_EINVAL;
	}
	if (*at) {
		pool_say(msg, "%s: a label is UTF-8 without control characters", cannot);
		return DFS_EINVAL;
	}
	other = other_with(p, label, self);
	if (!other)
		return 0;
	pool_say(msg, "%s: another disk (%u, at %.400s) has the label %s", cannot,
		 disk_info(other).id.v, disk_info(other).path, label);
	return DFS_EEXIST;
}

void label_apply(struct pool *p, disk_id id, const char *label)
{
	struct disk *d = disk_get(p->disks, id);
	struct pool_json_disk *j;

	if (d)
		disk_set_label(d, label);
	env_mutex_lock(&p->json_lock);
	j = pool_json_find(&p->json, id);
	if (j)
		snprintf(j->label, sizeof(j->label), "%s", label);
	env_mutex_unlock(&p->json_lock);
}

/* Who names a disk that is to get a label wants this one. */
static int keep_from_heir(struct pool *p, struct meta_txn *t, disk_id heir)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		disk_id id = disk_info(disk_at(p->disks, i)).id;
		struct rec_disk rec;
		int err = get_disk(p->meta, id, &rec);

		if (err == DFS_ENOENT)
			continue;
		if (err)
			return err;
		if (rec.heir.v != heir.v || !rec.hands_label)
			continue;
		rec.hands_label = false;
		put_disk(t, &rec);
	}
	return 0;
}

static int store_label(struct pool *p, disk_id id, const char *label)
{
	struct rec_disk rec;
	struct meta_txn *t;
	uint64_t seq;
	int err = get_disk(p->meta, id, &rec);

	if (err)
		return err;
	snprintf(rec.label, sizeof(rec.label), "%s", label);
	t = meta_begin(p->meta);
	err = keep_from_heir(p, t, id);
	if (err) {
		meta_cancel(t);
		return err;
	}
	put_disk(t, &rec);
	err = meta_commit(t, &seq);
	return err ? err : meta_sync(p->meta, seq);
}

int pool_set_label(struct pool *p, const char *which, const char *label, bool dry_run,
		   struct pool_message *msg)
{
	struct disk *d;
	FREE char *cannot = NULL;
	disk_id id;
	int err;
	ENV_LOCKED(&p->change_lock);

	d = p->meta ? pool_find_disk(p, which) : NULL;
	if (!d) {
		pool_say(msg, "pool %s has no disk with the path, label or uuid %s", p->dir, which);
		return DFS_ENODISK;
	}
	id = disk_info(d).id;
	cannot = xasprintf("cannot give disk %s another label", disk_info(d).label);
	err = label_check(p, label, id, cannot, msg);
	if (err || dry_run)
		return err;
	if (p->read_only)
		return DFS_EROFS;
	err = store_label(p, id, label);
	if (err) {
		pool_say(msg, "%s: it can't be stored: %s", cannot, dfs_err_text(err));
		return err;
	}
	PROBE("label-set");
	label_apply(p, id, label);
	(void)pool_json_store(p); /* logged; tried again */
	ENV_LOCKED(&p->lock);
	p->disk_json_due = true;
	return 0;
}
