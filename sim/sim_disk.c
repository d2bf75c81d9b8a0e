/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk holds two maps of names (as seen, as durable) with the list of changes between
 * them, and nodes (files). A node's bytes are as seen, with an undo list of the changes that are not
 * durable yet: a sync drops the list, a power cut walks it back and keeps, drops or tears each
 * change. Knows nothing of what the files mean, but for the names that flips aim at.
 */
#include "sim/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "sim/sim_env.h"

#define PAGE_BYTES 4096u
#define SECTOR_BYTES 512u

struct undo {		   /* how to take one change of a node back */
	uint64_t off, len; /* what was written, punched or cut off */
	uint64_t old_size, new_size;
	uint8_t *old; /* bytes of [off, off+old_len) before */
	uint64_t old_len;
	uint8_t *fresh; /* while settling: bytes of [off, off+len) after */
	uint64_t id;
	TAILQ_ENTRY(undo) link;
};
TAILQ_HEAD(undo_list, undo);

struct node {
	uint8_t *data;
	uint64_t size, cap;
	uint8_t *pages; /* one for each page: has space */
	uint64_t pages_cap, pages_used;
	struct undo_list undo;
	bool named; /* while settling */
	TAILQ_ENTRY(node) link;
};
TAILQ_HEAD(node_list, node);

struct name {
	char *path;
	struct node *node; /* NULL: a directory */
	TAILQ_ENTRY(name) link;
};
TAILQ_HEAD(name_list, name);

struct name_change { /* not durable yet; from and to are NULL where there is none */
	char *dir, *from, *to;
	struct node *node;
	bool is_dir;
	TAILQ_ENTRY(name_change) link;
};
TAILQ_HEAD(change_list, name_change);

struct sim_disk {
	char *name;
	uint64_t fs_id, total_bytes, used_pages;
	bool can_punch;
	struct sim_fault fault;
	struct name_list names, durable;
	struct change_list changes;
	struct node_list nodes;
};
struct sim_image_file {
	char *path;
	uint8_t *data, *pages;
	uint64_t size;
	bool is_dir;
};
struct sim_image {
	unsigned count;
	struct sim_image_file *files;
};
struct sim_dev {
	struct dev dev;
	struct sim_disk *disk;
};
struct sim_file {
	struct dev_file file;
	struct sim_disk *disk;
	struct node *node;
	char *path;
	bool read_only;
};

static struct rng rng;
static struct sim_disk *disks[SIM_MAX_DISKS];
static unsigned disk_total;
static uint64_t op_count, cut_at, hook_at, undo_ids;
static void (*hook)(void *arg);
static void *hook_arg;
static unsigned lies;
static struct sim_disk_stats stats;

static const struct dev_ops sim_dev_ops;

/* ---- nodes ---- */

static void node_reserve(struct node *n, uint64_t size)
{
	uint64_t pages = DIV_UP(size, PAGE_BYTES);

	if (size > n->cap) {
		n->cap = MAX(size, n->cap * 2);
		n->data = xrealloc(n->data, n->cap);
	}
	if (pages > n->pages_cap) {
		uint64_t cap = MAX(pages, n->pages_cap * 2);

		n->pages = xrealloc(n->pages, cap);
		memset(n->pages + n->pages_cap, 0, cap - n->pages_cap);
		n->pages_cap = cap;
	}
}

static void set_page(struct sim_disk *d, struct node *n, uint64_t page, bool used)
{
	if (n->pages[page] == used)
		return;
	n->pages[page] = used;
	n->pages_used += used ? 1 : -1ull;
	d->used_pages += used ? 1 : -1ull;
}

static void use_pages(struct sim_disk *d, struct node *n, uint64_t off, uint64_t len)
{
	for (uint64_t p = off / PAGE_BYTES; len && p <= (off + len - 1) / PAGE_BYTES; p++)
		set_page(d, n, p, true);
}

static void resize(struct sim_disk *d, struct node *n, uint64_t size)
{
	node_reserve(n, size);
	if (size > n->size)
		memset(n->data + n->size, 0, size - n->size);
	for (uint64_t p = DIV_UP(size, PAGE_BYTES); p < DIV_UP(n->size, PAGE_BYTES); p++)
		set_page(d, n, p, false);
	n->size = size;
}

static struct undo *undo_push(struct node *n, uint64_t off, uint64_t len, uint64_t new_size)
{
	struct undo *u = xcalloc(1, sizeof(*u));

	u->off = off;
	u->len = len;
	u->old_size = n->size;
	u->new_size = new_size;
	u->id = ++undo_ids;
	if (off < n->size) {
		u->old_len = MIN(len, n->size - off);
		u->old = xmalloc(u->old_len);
		memcpy(u->old, n->data + off, u->old_len);
	}
	TAILQ_INSERT_TAIL(&n->undo, u, link);
	return u;
}

static void undo_free(struct node *n, struct undo *u)
{
	TAILQ_REMOVE(&n->undo, u, link);
	free(u->old);
	free(u->fresh);
	free(u);
}

/* Changes up to id are durable. */
static void node_synced(struct node *n, uint64_t id)
{
	struct undo *u;

	while ((u = TAILQ_FIRST(&n->undo)) && u->id <= id)
		undo_free(n, u);
}

static struct node *node_new(struct sim_disk *d)
{
	struct node *n = xcalloc(1, sizeof(*n));

	TAILQ_INIT(&n->undo);
	TAILQ_INSERT_TAIL(&d->nodes, n, link);
	return n;
}

static void node_free(struct sim_disk *d, struct node *n)
{
	d->used_pages -= n->pages_used;
	while (!TAILQ_EMPTY(&n->undo))
		undo_free(n, TAILQ_FIRST(&n->undo));
	TAILQ_REMOVE(&d->nodes, n, link);
	free(n->data);
	free(n->pages);
	free(n);
}

/* Its space is free at once, as far as anybody is told (a power cut may bring the name back). */
static void node_drop_space(struct sim_disk *d, struct node *n)
{
	for (uint64_t p = 0; p < n->pages_cap; p++)
		set_page(d, n, p, false);
}

/* ---- names ---- */

static struct name *name_find(struct name_list *l, const char *path)
{
	struct name *n;

	TAILQ_FOREACH(n, l, link)
		if (!strcmp(n->path, path))
			return n;
	return NULL;
}

static void name_put(struct name_list *l, const char *path, struct node *node)
{
	struct name *n = name_find(l, path);

	if (!n) {
		n = xcalloc(1, sizeof(*n));
		n->path = xstrdup(path);
		TAILQ_INSERT_TAIL(l, n, link);
	}
	n->node = node;
}

static void name_drop(struct name_list *l, const char *path)
{
	struct name *n = name_find(l, path);

	if (!n)
		return;
	TAILQ_REMOVE(l, n, link);
	free(n->path);
	free(n);
}

static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = xstrdup(path);

	dir[slash ? slash - path : 0] = '\0';
	return dir;
}

static bool dir_exists(struct name_list *l, const char *dir)
{
	struct name *n;

	if (!*dir)
		return true;
	n = name_find(l, dir);
	return n && !n->node;
}

static void apply_change(struct name_list *l, const struct name_change *c)
{
	if (c->from)
		name_drop(l, c->from);
	if (c->to)
		name_put(l, c->to, c->node);
}

static void change_free(struct sim_disk *d, struct name_change *c)
{
	TAILQ_REMOVE(&d->changes, c, link);
	free(c->dir);
	free(c->from);
	free(c->to);
	free(c);
}

static void change(struct sim_disk *d, const char *from, const char *to, struct node *node)
{
	struct name_change *c = xcalloc(1, sizeof(*c));
	struct name *old;

	c->dir = dir_of(to ? to : from);
	c->from = from ? xstrdup(from) : NULL;
	c->to = to ? xstrdup(to) : NULL;
	c->node = node;
	old = to ? name_find(&d->names, to) : NULL;
	if (old && old->node && old->node != node)
		node_drop_space(d, old->node);
	apply_change(&d->names, c);
	TAILQ_INSERT_TAIL(&d->changes, c, link);
}

/* The first count changes of names in dir become durable. */
static void dir_synced(struct sim_disk *d, const char *dir, uint64_t count)
{
	struct name_change *c, *next;

	for (c = TAILQ_FIRST(&d->changes); c && count; c = next) {
		next = TAILQ_NEXT(c, link);
		if (strcmp(c->dir, dir))
			continue;
		apply_change(&d->durable, c);
		change_free(d, c);
		count--;
	}
}

/* ---- power ---- */

/* Puts one change back onto a node that has lost it: whole, in part, or not at all. */
static void redo(struct sim_disk *d, struct node *n, struct undo *u)
{
	uint64_t fate = rng_below(&rng, 4), sectors, from, to;
	bool cut = u->new_size < u->old_size;

	if (fate == 0 || (cut && fate != 1)) {
		stats.lost_writes++;
		return;
	}
	if (cut) {
		if (n->size > u->new_size)
			resize(d, n, u->new_size);
		return;
	}
	sectors = DIV_UP(u->off + u->len, SECTOR_BYTES) - u->off / SECTOR_BYTES;
	from = u->off;
	to = u->off + u->len;
	if (fate == 1 && sectors > 1) {
		uint64_t at = (u->off / SECTOR_BYTES + rng_between(&rng, 1, sectors - 1)) *
			      SECTOR_BYTES;

		stats.torn_writes++;
		if (rng_one_in(&rng, 2))
			to = at;
		else
			from = at;
	}
	if (to > n->size)
		resize(d, n, to);
	memcpy(n->data + from, u->fresh + (from - u->off), to - from);
	use_pages(d, n, from, to - from);
}

static void node_settle(struct sim_disk *d, struct node *n)
{
	uint64_t keep = rng_below(&rng,
				  4); /* 0: everything is lost, 1: nothing, else: each for itself */
	struct undo *u;

	if (keep == 1)
		node_synced(n, UINT64_MAX);
	TAILQ_FOREACH_REVERSE(u, &n->undo, undo_list, link) {
		u->fresh = xmalloc(u->len);
		if (u->new_size >= u->off + u->len && n->size >= u->off + u->len)
			memcpy(u->fresh, n->data + u->off, u->len);
		else
			memset(u->fresh, 0, u->len);
		resize(d, n, u->old_size);
		if (u->old_len)
			memcpy(n->data + u->off, u->old, u->old_len);
	}
	TAILQ_FOREACH(u, &n->undo, link) {
		if (keep)
			redo(d, n, u);
		else
			stats.lost_writes++;
	}
	node_synced(n, UINT64_MAX);
}

static void names_settle(struct sim_disk *d)
{
	struct name_change *c;
	struct name *n, *next;

	while ((c = TAILQ_FIRST(&d->changes))) {
		char *dir = xstrdup(c->dir);
		uint64_t count = 0, keep = rng_below(&rng, 3);
		struct name_change *other;

		TAILQ_FOREACH(other, &d->changes, link)
			count += !strcmp(other->dir, dir);
		dir_synced(d, dir, keep == 0 ? 0 : keep == 1 ? count : rng_below(&rng, count + 1));
		while ((other = TAILQ_FIRST(&d->changes)) && !strcmp(other->dir, dir))
			change_free(d, other);
		for (c = other; c; c = other) {
			other = TAILQ_NEXT(c, link);
			if (!strcmp(c->dir, dir))
				change_free(d, c);
		}
		free(dir);
	}
	while (!TAILQ_EMPTY(&d->names))
		name_drop(&d->names, TAILQ_FIRST(&d->names)->path);
	for (n = TAILQ_FIRST(&d->durable); n; n = next) {
		char *dir = dir_of(n->path);

		next = TAILQ_NEXT(n, link);
		if (dir_exists(&d->durable, dir))
			name_put(&d->names, n->path, n->node);
		else
			name_drop(&d->durable, n->path);
		free(dir);
	}
}

static void disk_settle(struct sim_disk *d)
{
	struct node *n, *next;
	struct name *name;

	names_settle(d);
	TAILQ_FOREACH(n, &d->nodes, link)
		n->named = false;
	TAILQ_FOREACH(name, &d->names, link)
		if (name->node)
			name->node->named = true;
	for (n = TAILQ_FIRST(&d->nodes); n; n = next) {
		next = TAILQ_NEXT(n, link);
		if (n->named)
			node_settle(d, n);
		else
			node_free(d, n);
	}
}

void sim_disks_settle(void)
{
	cut_at = hook_at = 0;
	for (unsigned i = 0; i < disk_total; i++)
		disk_settle(disks[i]);
}

void sim_disks_cut_after(uint64_t n) { cut_at = n ? op_count + n : 0; }
uint64_t sim_disks_ops(void) { return op_count; }

void sim_disks_at_op(uint64_t n, void (*fn)(void *arg), void *arg)
{
	hook_at = n ? op_count + n : 0;
	hook = fn;
	hook_arg = arg;
}

/*
 * Each device call begins with this: other fibers run, time passes, power may go (half of the times
 * once the call has done its work: *ret_cut_after), the disk may be gone.
 */
static int op_begin(struct sim_disk *d, bool changes, bool *ret_cut_after)
{
	*ret_cut_after = false;
	if (d->fault.slow_ns)
		sim_env_delay(rng_below(&rng, d->fault.slow_ns));
	else if (rng_one_in(&rng, 8))
		sim_env_delay(rng_below(&rng, 100000));
	else
		sim_env_point();
	op_count++;
	stats.ops++;
	if (hook_at && op_count >= hook_at) {
		hook_at = 0;
		hook(hook_arg);
	}
	if (cut_at && op_count >= cut_at) {
		cut_at = 0;
		if (!changes || rng_one_in(&rng, 2))
			sim_env_cut();
		*ret_cut_after = true;
	}
	return d->fault.gone ? DFS_EGONE : 0;
}

static int op_end(bool cut_after, int err)
{
	if (cut_after)
		sim_env_cut();
	return err;
}

static bool fails(unsigned one_in) { return one_in && rng_one_in(&rng, one_in); }

/* ---- the device ---- */

static struct sim_disk *disk_of(struct dev *d)
{
	return container_of(d, struct sim_dev, dev)->disk;
}
static struct sim_file *file_of(struct dev_file *f)
{
	return container_of(f, struct sim_file, file);
}

static int op_open(struct dev *dev, const char *path, unsigned flags, struct dev_file **ret_file)
{
	struct sim_disk *d = disk_of(dev);
	struct sim_file *f;
	struct name *n;
	bool cut;
	int err = op_begin(d, false, &cut);

	if (err)
		return err;
	n = name_find(&d->names, path);
	if (n && !n->node)
		return DFS_EISDIR;
	if (n && (flags & DEV_CREATE) && (flags & DEV_EXCL))
		return DFS_EEXIST;
	if (!n) {
		char *dir;
		bool there;

		if (!(flags & DEV_CREATE))
			return DFS_ENOENT;
		dir = dir_of(path);
		there = dir_exists(&d->names, dir);
		free(dir);
		if (!there)
			return DFS_ENOENT;
		if (fails(d->fault.write_error_one_in))
			return DFS_EIO;
		change(d, NULL, path, node_new(d));
		n = name_find(&d->names, path);
	}
	f = xcalloc(1, sizeof(*f));
	f->file.dev = dev;
	f->disk = d;
	f->node = n->node;
	f->path = xstrdup(path);
	f->read_only = flags & DEV_RDONLY;
	*ret_file = &f->file;
	return 0;
}

static void op_close(struct dev_file *file)
{
	struct sim_file *f = file_of(file);

	free(f->path);
	free(f);
}

static int op_read(struct dev_file *file, void *buf, size_t len, uint64_t off, unsigned flags,
		   size_t *ret_len)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	bool cut;
	int err = op_begin(f->disk, false, &cut);

	(void)flags;
	if (!err && fails(f->disk->fault.read_error_one_in))
		err = DFS_EIO;
	if (err)
		return err;
	len = off < n->size ? MIN(len, n->size - off) : 0;
	if (len)
		memcpy(buf, n->data + off, len);
	if ((lies & SIM_LIE_READ) && len && !strncmp(f->path, "segments/", 9) &&
	    rng_one_in(&rng, 4))
		((uint8_t *)buf)[rng_below(&rng, len)] ^= 0x10;
	*ret_len = len;
	return 0;
}

static bool has_room(struct sim_disk *d, struct node *n, uint64_t off, uint64_t len)
{
	uint64_t need = 0;

	for (uint64_t p = off / PAGE_BYTES; len && p <= (off + len - 1) / PAGE_BYTES; p++)
		need += p >= n->pages_cap || !n->pages[p];
	return !need || (!d->fault.full && (d->used_pages + need) * PAGE_BYTES <= d->total_bytes);
}

static int op_writev(struct dev_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	uint64_t len = 0, at = off;
	bool cut;
	int err = op_begin(f->disk, true, &cut);

	ASSERT(!f->read_only);
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	if (!err && fails(f->disk->fault.write_error_one_in))
		err = DFS_EIO;
	if (!err && !has_room(f->disk, n, off, len))
		err = DFS_ENOSPC;
	if (err || !len)
		return op_end(cut, err);
	undo_push(n, off, len, MAX(n->size, off + len));
	if (off + len > n->size)
		resize(f->disk, n, off + len);
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len)
			memcpy(n->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	use_pages(f->disk, n, off, len);
	stats.writes++;
	stats.write_bytes += len;
	return op_end(cut, 0);
}

static bool lies_about_sync(const char *path)
{
	return (lies & SIM_LIE_SYNC) ||
	       ((lies & SIM_LIE_SEGMENT_SYNC) && !strncmp(path, "segments/", 9)) ||
	       ((lies & SIM_LIE_JOURNAL_SYNC) && !strncmp(path, "meta/", 5));
}

static int op_sync(struct dev_file *file)
{
	struct sim_file *f = file_of(file);
	uint64_t upto = undo_ids;
	bool cut;
	int err = op_begin(f->disk, true, &cut);

	stats.syncs++;
	if (!err && fails(f->disk->fault.sync_error_one_in)) {
		node_settle(f->disk, f->node); /* what was in doubt stays so for ever */
		err = DFS_EIO;
	}
	/* What was written while the sync ran may have gone along. */
	if (!err && rng_one_in(&rng, 2))
		upto = undo_ids;
	if (!err && !lies_about_sync(f->path))
		node_synced(f->node, upto);
	return op_end(cut, err);
}

static int op_punch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	bool cut;
	int err = op_begin(f->disk, true, &cut);

	if (!err && !f->disk->can_punch)
		err = DFS_ENOTSUP;
	if (!err && fails(f->disk->fault.write_error_one_in))
		err = DFS_EIO;
	len = off < n->size ? MIN(len, n->size - off) : 0;
	if (err || !len)
		return op_end(cut, err);
	undo_push(n, off, len, n->size);
	memset(n->data + off, 0, len);
	for (uint64_t p = DIV_UP(off, PAGE_BYTES); (p + 1) * PAGE_BYTES <= off + len; p++)
		set_page(f->disk, n, p, false);
	return op_end(cut, 0);
}

static int op_truncate(struct dev_file *file, uint64_t size)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	bool cut;
	int err = op_begin(f->disk, true, &cut);

	if (!err && fails(f->disk->fault.write_error_one_in))
		err = DFS_EIO;
	if (err || size == n->size)
		return op_end(cut, err);
	if (size < n->size)
		undo_push(n, size, n->size - size, size);
	else
		undo_push(n, n->size, size - n->size, size);
	resize(f->disk, n, size);
	return op_end(cut, 0);
}

static int op_size(struct dev_file *file, uint64_t *ret_size)
{
	struct sim_file *f = file_of(file);
	bool cut;
	int err = op_begin(f->disk, false, &cut);

	if (!err)
		*ret_size = f->node->size;
	return err;
}

static void op_prefetch(struct dev_file *file, uint64_t off, uint64_t len)
{
	(void)file, (void)off, (void)len;
}

static int op_mkdir(struct dev *dev, const char *path)
{
	struct sim_disk *d = disk_of(dev);
	char *dir = dir_of(path);
	bool cut;
	int err = op_begin(d, true, &cut);

	if (!err && fails(d->fault.write_error_one_in))
		err = DFS_EIO;
	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	free(dir);
	if (!err && !name_find(&d->names, path))
		change(d, NULL, path, NULL);
	return op_end(cut, err);
}

static int op_remove(struct dev *dev, const char *path)
{
	struct sim_disk *d = disk_of(dev);
	struct name *n;
	bool cut;
	int err = op_begin(d, true, &cut);

	if (!err && fails(d->fault.write_error_one_in))
		err = DFS_EIO;
	n = name_find(&d->names, path);
	if (!err && !n)
		err = DFS_ENOENT;
	if (!err && !n->node)
		err = DFS_EISDIR;
	if (!err) {
		node_drop_space(d, n->node);
		change(d, path, NULL, NULL);
	}
	return op_end(cut, err);
}

static int op_rename(struct dev *dev, const char *from, const char *to)
{
	struct sim_disk *d = disk_of(dev);
	struct name *n;
	bool cut;
	int err = op_begin(d, true, &cut);

	if (!err && fails(d->fault.write_error_one_in))
		err = DFS_EIO;
	n = name_find(&d->names, from);
	if (!err && (!n || !n->node))
		err = DFS_ENOENT;
	if (!err)
		change(d, from, to, n->node);
	return op_end(cut, err);
}

static int op_list(struct dev *dev, const char *dir, dev_list_fn fn, void *ctx)
{
	struct sim_disk *d = disk_of(dev);
	size_t len = strlen(dir);
	struct name *n;
	bool cut;
	int err = op_begin(d, false, &cut);

	if (err)
		return err;
	if (!dir_exists(&d->names, dir))
		return DFS_ENOENT;
	TAILQ_FOREACH(n, &d->names, link) {
		const char *rest = n->path;

		if (len) {
			if (strncmp(rest, dir, len) || rest[len] != '/')
				continue;
			rest += len + 1;
		}
		if (strchr(rest, '/') || !n->node)
			continue;
		err = fn(ctx, rest, n->node->size);
		if (err)
			return err;
	}
	return 0;
}

static int op_sync_dir(struct dev *dev, const char *dir)
{
	struct sim_disk *d = disk_of(dev);
	bool cut;
	int err = op_begin(d, true, &cut);

	stats.syncs++;
	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	if (!err && fails(d->fault.sync_error_one_in))
		err = DFS_EIO;
	if (!err && !(lies & (SIM_LIE_SYNC_DIR | SIM_LIE_SYNC)))
		dir_synced(d, dir, UINT64_MAX);
	return op_end(cut, err);
}

static int op_replace(struct dev *dev, const char *path, const void *data, size_t len)
{
	struct sim_disk *d = disk_of(dev);
	char *dir = dir_of(path);
	struct node *n;
	bool cut;
	int err = op_begin(d, true, &cut);

	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	if (!err && fails(d->fault.write_error_one_in))
		err = DFS_EIO;
	if (!err && d->fault.full)
		err = DFS_ENOSPC;
	if (!err) {
		n = node_new(d);
		if (lies & SIM_LIE_REPLACE)
			undo_push(n, 0, len, len);
		resize(d, n, len);
		if (len)
			memcpy(n->data, data, len);
		use_pages(d, n, 0, len);
		change(d, NULL, path, n);
		dir_synced(d, dir, UINT64_MAX);
	}
	free(dir);
	return op_end(cut, err);
}

static int op_space(struct dev *dev, struct dev_space *ret_space)
{
	struct sim_disk *d = disk_of(dev);
	uint64_t used;
	bool cut;
	int err = op_begin(d, false, &cut);

	if (err)
		return err;
	used = d->used_pages * PAGE_BYTES;
	ret_space->total_bytes = d->total_bytes;
	ret_space->free_bytes = d->fault.full || used > d->total_bytes ? 0 : d->total_bytes - used;
	ret_space->fs_id = d->fs_id;
	return 0;
}

static int op_probe(struct dev *dev)
{
	bool cut;

	return op_begin(disk_of(dev), false, &cut);
}

static void op_free(struct dev *dev)
{
	free(dev->name);
	free(container_of(dev, struct sim_dev, dev));
}

static const struct dev_ops sim_dev_ops = {
	.open = op_open,
	.close = op_close,
	.read = op_read,
	.writev = op_writev,
	.sync = op_sync,
	.punch = op_punch,
	.truncate = op_truncate,
	.size = op_size,
	.prefetch = op_prefetch,
	.mkdir = op_mkdir,
	.remove = op_remove,
	.rename = op_rename,
	.list = op_list,
	.sync_dir = op_sync_dir,
	.replace = op_replace,
	.space = op_space,
	.probe = op_probe,
	.free = op_free,
};

/* ---- disks ---- */

static void names_clear(struct sim_disk *d)
{
	while (!TAILQ_EMPTY(&d->changes))
		change_free(d, TAILQ_FIRST(&d->changes));
	while (!TAILQ_EMPTY(&d->names))
		name_drop(&d->names, TAILQ_FIRST(&d->names)->path);
	while (!TAILQ_EMPTY(&d->durable))
		name_drop(&d->durable, TAILQ_FIRST(&d->durable)->path);
}

void sim_disks_start(uint64_t seed)
{
	for (unsigned i = 0; i < disk_total; i++) {
		names_clear(disks[i]);
		while (!TAILQ_EMPTY(&disks[i]->nodes))
			node_free(disks[i], TAILQ_FIRST(&disks[i]->nodes));
		free(disks[i]->name);
		free(disks[i]);
	}
	disk_total = 0;
	op_count = cut_at = hook_at = 0;
	lies = 0;
	stats = (struct sim_disk_stats){0};
	rng_seed(&rng, seed);
}

struct sim_disk *sim_disk_new(const struct sim_disk_config *cfg)
{
	struct sim_disk *d = xcalloc(1, sizeof(*d));

	ASSERT(disk_total < SIM_MAX_DISKS);
	d->name = xstrdup(cfg->name);
	d->fs_id = cfg->fs_id;
	d->total_bytes = cfg->total_bytes;
	d->can_punch = cfg->can_punch;
	TAILQ_INIT(&d->names);
	TAILQ_INIT(&d->durable);
	TAILQ_INIT(&d->changes);
	TAILQ_INIT(&d->nodes);
	disks[disk_total++] = d;
	return d;
}

struct dev *sim_disk_open(struct sim_disk *d)
{
	struct sim_dev *dev = xcalloc(1, sizeof(*dev));

	dev->dev.ops = &sim_dev_ops;
	dev->dev.name = xstrdup(d->name);
	dev->disk = d;
	return &dev->dev;
}

void sim_disk_set_fault(struct sim_disk *d, const struct sim_fault *f) { d->fault = *f; }
struct sim_fault sim_disk_fault(struct sim_disk *d) { return d->fault; }
void sim_disks_lie(unsigned which) { lies = which; }
struct sim_disk_stats sim_disks_stats(void) { return stats; }

static bool is_where(const char *path, enum sim_where where)
{
	switch (where) {
	case SIM_ANY:
		return true;
	case SIM_SEGMENT:
		return !strncmp(path, "segments/", 9);
	case SIM_JOURNAL:
		return strstr(path, "journal") != NULL;
	case SIM_ROOT:
		return strstr(path, "roots") != NULL;
	case SIM_CHECKPOINT:
		return strstr(path, "checkpoint") != NULL;
	case SIM_JSON:
		return strstr(path, ".json") != NULL;
	}
	return false;
}

bool sim_disk_flip(struct sim_disk *d, enum sim_where where, char *text, size_t text_len)
{
	uint64_t count = 0, pick, off, flips = rng_between(&rng, 1, 3);
	struct name *n;

	if (text_len)
		text[0] = '\0';
	TAILQ_FOREACH(n, &d->names, link)
		count += n->node && n->node->size && is_where(n->path, where);
	if (!count)
		return false;
	pick = rng_below(&rng, count);
	TAILQ_FOREACH(n, &d->names, link)
		if (n->node && n->node->size && is_where(n->path, where) && pick-- == 0)
			break;
	off = rng_below(&rng, n->node->size);
	for (uint64_t i = 0; i < flips; i++)
		n->node->data[(off + i * 100) % n->node->size] ^= (uint8_t)(1u
									    << rng_below(&rng, 8));
	stats.flips++;
	snprintf(text, text_len, "%s/%s at %llu", d->name, n->path, (unsigned long long)off);
	return true;
}

bool sim_disk_has_names(struct sim_disk *d) { return !TAILQ_EMPTY(&d->names); }

void sim_disk_wipe(struct sim_disk *d)
{
	names_clear(d);
	while (!TAILQ_EMPTY(&d->nodes))
		node_free(d, TAILQ_FIRST(&d->nodes));
}

/* Only of a settled disk: then what is seen is what is durable. */
struct sim_image *sim_disk_image(struct sim_disk *d)
{
	struct sim_image *im = xcalloc(1, sizeof(*im));
	struct name *n;

	TAILQ_FOREACH(n, &d->names, link)
		im->count++;
	im->files = xcalloc(im->count, sizeof(*im->files));
	im->count = 0;
	TAILQ_FOREACH(n, &d->names, link) {
		struct sim_image_file *f = &im->files[im->count++];

		f->path = xstrdup(n->path);
		f->is_dir = !n->node;
		if (f->is_dir || !n->node->size)
			continue;
		f->size = n->node->size;
		f->data = xmalloc(f->size);
		memcpy(f->data, n->node->data, f->size);
		f->pages = xmalloc(DIV_UP(f->size, PAGE_BYTES));
		memcpy(f->pages, n->node->pages, DIV_UP(f->size, PAGE_BYTES));
	}
	return im;
}

void sim_disk_restore(struct sim_disk *d, const struct sim_image *im)
{
	sim_disk_wipe(d);
	for (unsigned i = 0; i < im->count; i++) {
		const struct sim_image_file *f = &im->files[i];
		struct node *n = f->is_dir ? NULL : node_new(d);

		if (n && f->size) {
			resize(d, n, f->size);
			memcpy(n->data, f->data, f->size);
			for (uint64_t p = 0; p < DIV_UP(f->size, PAGE_BYTES); p++)
				set_page(d, n, p, f->pages[p]);
		}
		name_put(&d->names, f->path, n);
		name_put(&d->durable, f->path, n);
	}
}

void sim_image_free(struct sim_image *im)
{
	if (!im)
		return;
	for (unsigned i = 0; i < im->count; i++) {
		free(im->files[i].path);
		free(im->files[i].data);
		free(im->files[i].pages);
	}
	free(im->files);
	free(im);
}
