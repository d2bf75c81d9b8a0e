/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory. All calls hold the disk's one lock. Content that was kept is shared until it is
 * written to, so that putting a disk back costs next to nothing.
 */
#include "mem_dev.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_FILES 256u
#define MAX_FILE_BYTES MIB(64)

struct mem_file {
	char name[128];
	uint8_t *data;
	size_t size;
	bool shared; /* data belongs to the kept image */
	bool linked; /* has its name; else only open */
	unsigned opens;
};
struct mem_disk {
	pthread_mutex_t lock;
	char name[32];
	uint64_t fs_id;
	struct mem_file *files[MAX_FILES];
	struct mem_file kept[MAX_FILES];
	unsigned kept_count;
};
struct mem_dev {
	struct dev dev;
	struct mem_disk *disk;
};
struct mem_open {
	struct dev_file file;
	struct mem_disk *disk;
	struct mem_file *f;
};

#define LOCKED(d)                                                                                  \
	__attribute__((cleanup(unlock), unused)) pthread_mutex_t *held_ = &(d)->lock;              \
	pthread_mutex_lock(held_)

static void unlock(pthread_mutex_t **m) { pthread_mutex_unlock(*m); }

static struct mem_disk *disk_of(struct dev *d) { return ((struct mem_dev *)d)->disk; }

static struct mem_file **find(struct mem_disk *d, const char *name)
{
	for (unsigned i = 0; i < MAX_FILES; i++)
		if (d->files[i] && d->files[i]->linked && !strcmp(d->files[i]->name, name))
			return &d->files[i];
	return NULL;
}

static struct mem_file *add(struct mem_disk *d, const char *name)
{
	for (unsigned i = 0; i < MAX_FILES; i++) {
		if (d->files[i])
			continue;
		d->files[i] = xcalloc(1, sizeof(struct mem_file));
		strncpy(d->files[i]->name, name, sizeof(d->files[i]->name) - 1);
		d->files[i]->linked = true;
		return d->files[i];
	}
	return NULL;
}

static void drop_if_unused(struct mem_disk *d, struct mem_file *f)
{
	if (f->linked || f->opens)
		return;
	for (unsigned i = 0; i < MAX_FILES; i++)
		if (d->files[i] == f)
			d->files[i] = NULL;
	if (!f->shared)
		free(f->data);
	free(f);
}

static void resize(struct mem_file *f, size_t size)
{
	uint8_t *data = xmalloc(size);

	memcpy(data, f->data ? f->data : (const uint8_t *)"", MIN(size, f->size));
	if (size > f->size)
		memset(data + f->size, 0, size - f->size);
	if (!f->shared)
		free(f->data);
	f->data = data;
	f->size = size;
	f->shared = false;
}

/* Content of its own, of at least that size. */
static int make_own(struct mem_file *f, uint64_t size)
{
	if (size > MAX_FILE_BYTES)
		return DFS_ENOSPC;
	if (f->shared || size > f->size)
		resize(f, MAX(f->size, (size_t)size));
	return 0;
}

static int mem_open(struct dev *dev, const char *name, unsigned flags, struct dev_file **ret_file)
{
	struct mem_disk *d = disk_of(dev);
	struct mem_file **slot, *f;
	struct mem_open *o;

	LOCKED(d);
	slot = find(d, name);
	if (slot && (flags & DEV_EXCL))
		return DFS_EEXIST;
	if (!slot && !(flags & DEV_CREATE))
		return DFS_ENOENT;
	f = slot ? *slot : add(d, name);
	if (!f)
		return DFS_ENOSPC;
	f->opens++;
	o = xcalloc(1, sizeof(*o));
	o->file.dev = dev;
	o->disk = d;
	o->f = f;
	*ret_file = &o->file;
	return 0;
}

static void mem_close(struct dev_file *file)
{
	struct mem_open *o = (struct mem_open *)file;

	LOCKED(o->disk);
	o->f->opens--;
	drop_if_unused(o->disk, o->f);
	free(o);
}

static int mem_read(struct dev_file *file, void *buf, size_t len, uint64_t off, unsigned flags,
		    size_t *ret_len)
{
	struct mem_open *o = (struct mem_open *)file;

	(void)flags;
	LOCKED(o->disk);
	*ret_len = off < o->f->size ? MIN(len, o->f->size - off) : 0;
	if (*ret_len)
		memcpy(buf, o->f->data + off, *ret_len);
	return 0;
}

static int mem_writev(struct dev_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct mem_open *o = (struct mem_open *)file;
	uint64_t len = 0;
	int err;

	LOCKED(o->disk);
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	err = make_own(o->f, off + len);
	for (int i = 0; i < iovcnt && !err; i++) {
		memcpy(o->f->data + off, iov[i].iov_base, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	return err;
}

static int mem_sync(struct dev_file *file)
{
	(void)file;
	return 0;
}

static int mem_punch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct mem_open *o = (struct mem_open *)file;

	LOCKED(o->disk);
	if (off >= o->f->size)
		return 0;
	(void)make_own(o->f, o->f->size);
	memset(o->f->data + off, 0, MIN(len, o->f->size - off));
	return 0;
}

static int mem_truncate(struct dev_file *file, uint64_t size_bytes)
{
	struct mem_open *o = (struct mem_open *)file;

	LOCKED(o->disk);
	if (size_bytes > MAX_FILE_BYTES)
		return DFS_ENOSPC;
	resize(o->f, (size_t)size_bytes);
	return 0;
}

static int mem_size(struct dev_file *file, uint64_t *ret_size_bytes)
{
	struct mem_open *o = (struct mem_open *)file;

	LOCKED(o->disk);
	*ret_size_bytes = o->f->size;
	return 0;
}

static void mem_prefetch(struct dev_file *file, uint64_t off, uint64_t len)
{
	(void)file;
	(void)off;
	(void)len;
}

static int mem_mkdir(struct dev *dev, const char *name)
{
	(void)dev;
	(void)name;
	return 0;
}

static int mem_remove(struct dev *dev, const char *name)
{
	struct mem_disk *d = disk_of(dev);
	struct mem_file **slot;

	LOCKED(d);
	slot = find(d, name);
	if (!slot)
		return DFS_ENOENT;
	(*slot)->linked = false;
	drop_if_unused(d, *slot);
	return 0;
}

static int mem_rename(struct dev *dev, const char *from, const char *to)
{
	struct mem_disk *d = disk_of(dev);
	struct mem_file **slot, **old;

	LOCKED(d);
	slot = find(d, from);
	if (!slot)
		return DFS_ENOENT;
	old = find(d, to);
	if (old && old != slot) {
		(*old)->linked = false;
		drop_if_unused(d, *old);
	}
	strncpy((*slot)->name, to, sizeof((*slot)->name) - 1);
	return 0;
}

static int mem_list(struct dev *dev, const char *dir, dev_list_fn fn, void *ctx)
{
	struct mem_disk *d = disk_of(dev);
	struct {
		char name[128];
		size_t size;
	} *found = xcalloc(MAX_FILES, sizeof(*found));
	size_t len = strlen(dir), count = 0;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < MAX_FILES; i++) {
		const struct mem_file *f = d->files[i];

		if (!f || !f->linked || strncmp(f->name, dir, len) || (len && f->name[len] != '/'))
			continue;
		memcpy(found[count].name, f->name + (len ? len + 1 : 0),
		       sizeof(found[count].name) - (len ? len + 1 : 0));
		if (strchr(found[count].name, '/'))
			continue;
		found[count++].size = f->size;
	}
	pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; i < count && r == 0; i++)
		r = fn(ctx, found[i].name, found[i].size);
	free(found);
	return r;
}

static int mem_sync_dir(struct dev *dev, const char *dir)
{
	(void)dev;
	(void)dir;
	return 0;
}

static int mem_replace(struct dev *dev, const char *name, const void *data, size_t len)
{
	struct mem_disk *d = disk_of(dev);
	struct mem_file **slot, *f;

	LOCKED(d);
	slot = find(d, name);
	if (slot) {
		(*slot)->linked = false;
		drop_if_unused(d, *slot);
	}
	f = add(d, name);
	if (!f)
		return DFS_ENOSPC;
	resize(f, len);
	memcpy(f->data, data, len);
	return 0;
}

static int mem_space(struct dev *dev, struct dev_space *ret_space)
{
	*ret_space = (struct dev_space){
		.total_bytes = GIB(1), .free_bytes = GIB(1) / 2, .fs_id = disk_of(dev)->fs_id};
	return 0;
}

static int mem_probe(struct dev *dev)
{
	(void)dev;
	return 0;
}

static void mem_free(struct dev *dev)
{
	free(dev->name);
	free(dev);
}

static const struct dev_ops mem_ops = {
	.open = mem_open,
	.close = mem_close,
	.read = mem_read,
	.writev = mem_writev,
	.sync = mem_sync,
	.punch = mem_punch,
	.truncate = mem_truncate,
	.size = mem_size,
	.prefetch = mem_prefetch,
	.mkdir = mem_mkdir,
	.remove = mem_remove,
	.rename = mem_rename,
	.list = mem_list,
	.sync_dir = mem_sync_dir,
	.replace = mem_replace,
	.space = mem_space,
	.probe = mem_probe,
	.free = mem_free,
};

struct mem_disk *mem_disk_new(const char *name, uint64_t fs_id)
{
	struct mem_disk *d = xcalloc(1, sizeof(*d));

	pthread_mutex_init(&d->lock, NULL);
	strncpy(d->name, name, sizeof(d->name) - 1);
	d->fs_id = fs_id;
	return d;
}

struct dev *mem_disk_open(struct mem_disk *d)
{
	struct mem_dev *m = xcalloc(1, sizeof(*m));

	m->dev.ops = &mem_ops;
	m->dev.name = xstrdup(d->name);
	m->disk = d;
	return &m->dev;
}

bool mem_disk_is_empty(struct mem_disk *d)
{
	LOCKED(d);
	for (unsigned i = 0; i < MAX_FILES; i++)
		if (d->files[i])
			return false;
	return true;
}

void mem_disk_keep(struct mem_disk *d)
{
	LOCKED(d);
	d->kept_count = 0;
	for (unsigned i = 0; i < MAX_FILES; i++) {
		struct mem_file *f = d->files[i];

		if (!f || !f->linked)
			continue;
		f->shared = true;
		d->kept[d->kept_count] = *f;
		d->kept[d->kept_count++].opens = 0;
	}
}

void mem_disk_reset(struct mem_disk *d)
{
	LOCKED(d);
	for (unsigned i = 0; i < MAX_FILES; i++) {
		struct mem_file *f = d->files[i];

		if (!f)
			continue;
		ASSERT(f->opens == 0);
		f->linked = false;
		drop_if_unused(d, f);
	}
	for (unsigned i = 0; i < d->kept_count; i++)
		*add(d, d->kept[i].name) = d->kept[i];
}
