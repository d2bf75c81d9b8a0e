/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device of a simulated disk: every call is a scheduling point, may fail as the disk's faults
 * say, and is a place where power may go.
 */
#include <stdlib.h>

#include "sim/sim_disk_internal.h"
#include "sim/sim_env.h"
#include "sim/stats.h"

#define HANG_STEP_NS 500000000ull /* how often a call that hangs looks whether it is over */

struct sim_file {
	struct dev_file file;
	struct sim_disk *disk;
	struct node *node;
	char *path;
	bool read_only;
};

static uint64_t op_count, cut_at, cut_unsynced, hook_at;
static void (*hook)(void *arg);
static void *hook_arg;

void sim_ops_reset(void) { op_count = cut_at = cut_unsynced = hook_at = 0; }

/* Neither cut nor hook outlives the world it was meant for. */
static bool cut_root;
static uint64_t cut_root_seen;

void sim_ops_disarm(void)
{
	cut_at = cut_unsynced = hook_at = 0;
	cut_root = false;
}

void sim_disks_cut_after(uint64_t n)
{
	cut_at = n ? op_count + n : 0;
	cut_unsynced = 0;
}

void sim_disks_cut_at_root(void)
{
	cut_root = true;
	cut_root_seen = sim_stats_of("member-left-out");
}

void sim_disks_cut_at_unsynced(uint64_t n) { cut_unsynced = n; }

uint64_t sim_disks_ops(void) { return op_count; }

void sim_disks_at_op(uint64_t n, void (*fn)(void *arg), void *arg)
{
	hook_at = n ? op_count + n : 0;
	hook = fn;
	hook_arg = arg;
}

bool sim_disks_hooked(void) { return hook_at != 0; }

static struct sim_disk *disk_of(struct dev *d)
{
	return container_of(d, struct sim_dev, dev)->disk;
}

/* L1: whoever changes a disk has locked it. */
static void check_locked(struct dev *dev)
{
	if (disk_of(dev)->unlocked && !container_of(dev, struct sim_dev, dev)->is_locked)
		disk_of(dev)->unlocked(dev->name);
}

/*
 * Each device call begins with this: other fibers run, time passes, power may go (half of the times
 * once the call has done its work: *ret_cut_after), the disk may be gone.
 */
static int op_begin(struct dev *dev, bool changes, bool *ret_cut_after)
{
	struct sim_disk *d = disk_of(dev);

	*ret_cut_after = false;
	if (changes)
		check_locked(dev);
	while (d->fault.hang_until_ns > sim_env_now_ns())
		sim_env_delay(HANG_STEP_NS);
	if (d->fault.slow_ns)
		sim_env_delay(rng_below(&sim_disk_rng, d->fault.slow_ns));
	else if (rng_one_in(&sim_disk_rng, 8))
		sim_env_delay(rng_below(&sim_disk_rng, 100000));
	else
		sim_env_point();
	op_count++;
	sim_disk_stats.ops++;
	sim_disk_stats.changes += changes;
	d->calls_to_change += changes;
	if (hook_at && op_count >= hook_at) {
		hook_at = 0;
		hook(hook_arg);
	}
	if ((cut_at && op_count >= cut_at) || (cut_unsynced && undo_count() >= cut_unsynced)) {
		cut_at = cut_unsynced = 0;
		if (!changes || rng_one_in(&sim_disk_rng, 2))
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

static bool fails(unsigned one_in) { return one_in && rng_one_in(&sim_disk_rng, one_in); }

static int write_fails(struct sim_disk *d)
{
	if (d->fault.read_only)
		return DFS_EROFS;
	return fails(d->fault.write_error_one_in) ? DFS_EIO : 0;
}

/* ---- the device ---- */

static struct sim_file *file_of(struct dev_file *f)
{
	return container_of(f, struct sim_file, file);
}

static bool is_journal(const char *path) { return !strncmp(path, "meta/journal/", 13); }

static int op_open(struct dev *dev, const char *path, unsigned flags, struct dev_file **ret_file)
{
	struct sim_disk *d = disk_of(dev);
	struct sim_file *f;
	struct name *n;
	bool cut;
	int err = op_begin(dev, false, &cut);

	if (!err && d->fault.journal_shut && (flags & DEV_RDONLY) && is_journal(path))
		err = DFS_EIO;
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
		check_locked(dev);
		dir = dir_of(path);
		there = dir_exists(&d->names, dir);
		free(dir);
		if (!there)
			return DFS_ENOENT;
		err = write_fails(d);
		if (err)
			return err;
		name_change(d, NULL, path, node_new(d));
		n = name_find(&d->names, path);
		n->node->in_place = flags & DEV_IN_PLACE;
		n->node->is_ring = !strcmp(path, "meta/roots");
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
	int err = op_begin(file->dev, false, &cut);

	(void)flags;
	if (!err && fails(f->disk->fault.read_error_one_in))
		err = DFS_EIO;
	if (!err && f->disk->fault.journal_unread && f->read_only && is_journal(f->path))
		err = DFS_EIO;
	if (err)
		return err;
	len = off < n->size ? MIN(len, n->size - off) : 0;
	if (len)
		memcpy(buf, n->data + off, len);

	*ret_len = len;
	return 0;
}

/* Where what is overwritten is written elsewhere. */
static bool must_copy(const struct sim_disk *d, const struct node *n)
{
	return d->copies_on_write && (!n->in_place || (d->has_snapshot && !n->is_ring));
}

static bool has_room(struct sim_disk *d, struct node *n, uint64_t off, uint64_t len)
{
	uint64_t need = 0;

	for (uint64_t p = off / PAGE_BYTES; len && p <= (off + len - 1) / PAGE_BYTES; p++)
		need += p >= n->pages_cap || !n->pages[p];
	if (d->fault.full && must_copy(d, n))
		return false;
	return !need || need * PAGE_BYTES <= sim_disk_free_bytes(d);
}

static int op_writev(struct dev_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	uint64_t len = 0, at = off;
	bool cut;
	int err = op_begin(file->dev, true, &cut);

	ASSERT(!f->read_only);
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	if (!err)
		err = write_fails(f->disk);
	if (!err && !has_room(f->disk, n, off, len))
		err = DFS_ENOSPC;
	if (err || !len)
		return op_end(cut, err);
	undo_push(n, off, len, MAX(n->size, off + len));
	node_extend(n, off, len);
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len)
			memcpy(n->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	node_use_pages(f->disk, n, off, len);
	sim_disk_stats.writes++;
	sim_disk_stats.write_bytes += len;
	return op_end(cut, 0);
}

static bool sync_fails(const struct sim_file *f)
{
	const struct sim_fault *fault = &f->disk->fault;

	return (!fault->sync_errors_of_data || !strncmp(f->path, "segments/", 9)) &&
	       fails(fault->sync_error_one_in);
}

static int op_sync(struct dev_file *file)
{
	struct sim_file *f = file_of(file);
	uint64_t upto = undo_last_id();
	bool cut;
	int err;

	if (f->disk->fault.hang_in_sync_ns && !strncmp(f->path, "segments/", 9)) {
		f->disk->fault.hang_until_ns = sim_env_now_ns() + f->disk->fault.hang_in_sync_ns;
		f->disk->fault.hang_in_sync_ns = 0;
	}
	err = op_begin(file->dev, true, &cut);
	sim_disk_stats.syncs++;
	if (cut_root && f->node->is_ring && !err &&
	    sim_stats_of("member-left-out") > cut_root_seen) {
		cut_root = false;
		sim_disks_cut_after(rng_between(&sim_disk_rng, 1, 3));
	}
	if (!err && sync_fails(f)) {
		node_settle(f->disk, f->node); /* what was in doubt stays so for ever */
		err = DFS_EIO;
	}
	/* What was written while the sync ran may have gone along. */
	if (!err && rng_one_in(&sim_disk_rng, 2))
		upto = undo_last_id();
	if (!err)
		node_synced(f->node, upto);
	return op_end(cut, err);
}

static int op_punch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	bool cut;
	int err = op_begin(file->dev, true, &cut);

	if (!err && !f->disk->can_punch)
		err = DFS_ENOTSUP;
	if (!err)
		err = write_fails(f->disk);
	len = off < n->size ? MIN(len, n->size - off) : 0;
	if (err || !len)
		return op_end(cut, err);
	undo_push(n, off, len, n->size);
	memset(n->data + off, 0, len);
	for (uint64_t p = DIV_UP(off, PAGE_BYTES); (p + 1) * PAGE_BYTES <= off + len; p++)
		node_set_page(f->disk, n, p, false);
	return op_end(cut, 0);
}

static int op_allocate(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct sim_file *f = file_of(file);
	struct sim_disk *d = f->disk;
	bool cut;
	int err = op_begin(file->dev, true, &cut);

	ASSERT(!f->read_only);
	if (!err && !d->can_allocate)
		err = DFS_ENOTSUP;
	if (!err)
		err = write_fails(d);
	if (!err && !has_room(d, f->node, off, len))
		err = DFS_ENOSPC;
	if (!err)
		node_use_pages(d, f->node, off, len);
	return op_end(cut, err);
}

static int op_truncate(struct dev_file *file, uint64_t size)
{
	struct sim_file *f = file_of(file);
	struct node *n = f->node;
	bool cut;
	int err = op_begin(file->dev, true, &cut);

	if (!err)
		err = write_fails(f->disk);
	if (!err)
		node_trim(f->disk, n, size);
	if (err || size == n->size)
		return op_end(cut, err);
	if (size < n->size)
		undo_push(n, size, n->size - size, size);
	else
		undo_push(n, n->size, size - n->size, size);
	node_resize(f->disk, n, size);
	return op_end(cut, 0);
}

static int op_size(struct dev_file *file, uint64_t *ret_size)
{
	struct sim_file *f = file_of(file);
	bool cut;
	int err = op_begin(file->dev, false, &cut);

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
	int err = op_begin(dev, true, &cut);

	if (!err)
		err = write_fails(d);
	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	free(dir);
	if (!err && !name_find(&d->names, path))
		name_change(d, NULL, path, NULL);
	return op_end(cut, err);
}

static int op_remove(struct dev *dev, const char *path)
{
	struct sim_disk *d = disk_of(dev);
	struct name *n;
	bool cut;
	int err = op_begin(dev, true, &cut);

	if (!err)
		err = write_fails(d);
	n = name_find(&d->names, path);
	if (!err && !n)
		err = DFS_ENOENT;
	if (!err && !n->node)
		err = DFS_EISDIR;
	if (!err) {
		node_drop_space(d, n->node);
		name_change(d, path, NULL, NULL);
	}
	return op_end(cut, err);
}

static int op_rename(struct dev *dev, const char *from, const char *to)
{
	struct sim_disk *d = disk_of(dev);
	struct name *n;
	bool cut;
	int err = op_begin(dev, true, &cut);

	if (!err)
		err = write_fails(d);
	n = name_find(&d->names, from);
	if (!err && (!n || !n->node))
		err = DFS_ENOENT;
	if (!err)
		name_change(d, from, to, n->node);
	return op_end(cut, err);
}

static int op_list(struct dev *dev, const char *dir, dev_list_fn fn, void *ctx)
{
	struct sim_disk *d = disk_of(dev);
	size_t len = strlen(dir);
	struct name *n;
	bool cut;
	int err = op_begin(dev, false, &cut);

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
	int err = op_begin(dev, true, &cut);

	sim_disk_stats.syncs++;
	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	if (!err && !d->fault.sync_errors_of_data && fails(d->fault.sync_error_one_in))
		err = DFS_EIO;
	if (!err)
		dir_synced(d, dir, UINT64_MAX);
	return op_end(cut, err);
}

static int op_replace(struct dev *dev, const char *path, const void *data, size_t len)
{
	struct sim_disk *d = disk_of(dev);
	char *dir = dir_of(path);
	struct node *n;
	bool cut;
	int err = op_begin(dev, true, &cut);

	if (!err && !dir_exists(&d->names, dir))
		err = DFS_ENOENT;
	if (!err)
		err = write_fails(d);
	if (!err && d->fault.full)
		err = DFS_ENOSPC;
	if (!err) {
		n = node_new(d);

		node_resize(d, n, len);
		if (len)
			memcpy(n->data, data, len);
		node_use_pages(d, n, 0, len);
		name_change(d, NULL, path, n);
		dir_synced(d, dir, UINT64_MAX);
	}
	free(dir);
	return op_end(cut, err);
}

static int op_space(struct dev *dev, struct dev_space *ret_space)
{
	struct sim_disk *d = disk_of(dev);
	bool cut;
	int err = op_begin(dev, false, &cut);

	if (err)
		return err;
	ret_space->total_bytes = d->total_bytes;
	ret_space->free_bytes = sim_disk_free_bytes(d);
	ret_space->fs_id = d->fs_id;
	ret_space->read_only = d->fault.read_only;
	return 0;
}

static int op_probe(struct dev *dev)
{
	bool cut;
	int err = op_begin(dev, false, &cut);

	return err || !disk_of(dev)->fault.unnamed ? err : DFS_EGONE;
}

static int op_lock(struct dev *dev)
{
	if (disk_of(dev)->fault.gone)
		return DFS_EGONE;
	container_of(dev, struct sim_dev, dev)->is_locked = true;
	return 0;
}

static bool op_is_memory(struct dev *dev) { return !disk_of(dev)->can_hang; }

static void op_free(struct dev *dev)
{
	free(dev->name);
	free(container_of(dev, struct sim_dev, dev));
}

const struct dev_ops sim_dev_ops = {
	.open = op_open,
	.close = op_close,
	.read = op_read,
	.writev = op_writev,
	.sync = op_sync,
	.punch = op_punch,
	.allocate = op_allocate,
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
	.lock = op_lock,
	.is_memory = op_is_memory,
	.free = op_free,
};
