/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain calls over the device vtable: they check names and arguments once, for every device, so
 * that no device has to (P10: a name read from a disk can't lead out of the device's root). No
 * state, no locks.
 */
#include "dev/dev.h"

#include <stdlib.h>

static bool part_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '.' || c == '_' || c == '-';
}

/* One path part: of the allowed characters, 1 to 200 of them, neither "." nor "..". */
static bool part_valid(const char *p, size_t len)
{
	if (len == 0 || len > 200)
		return false;
	if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.')))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!part_char(p[i]))
			return false;
	return true;
}

#define NAME_MAX_PARTS 3

static bool name_valid(const char *name)
{
	for (int parts = 0; parts < NAME_MAX_PARTS; parts++) {
		const char *slash = strchr(name, '/');

		if (!slash)
			return part_valid(name, strlen(name));
		if (!part_valid(name, (size_t)(slash - name)))
			return false;
		name = slash + 1;
	}
	return false;
}

void dev_free(struct dev *d)
{
	if (d)
		d->ops->free(d);
}

int dev_open(struct dev *d, const char *name, unsigned flags, struct dev_file **ret_file)
{
	if (!name_valid(name))
		return DFS_EINVAL;
	if ((flags & DEV_RDONLY) && (flags & (DEV_CREATE | DEV_EXCL)))
		return DFS_EINVAL;
	return d->ops->open(d, name, flags, ret_file);
}

void dev_close(struct dev_file *f)
{
	if (f)
		f->dev->ops->close(f);
}

int dev_read(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
	     size_t *ret_len)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return DFS_EINVAL;
	return f->dev->ops->read(f, buf, len, off, flags, ret_len);
}

int dev_writev(struct dev_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	uint64_t left = off > INT64_MAX ? 0 : INT64_MAX - off;

	if (iovcnt < 0 || off > INT64_MAX)
		return DFS_EINVAL;
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > left)
			return DFS_EFBIG;
		left -= iov[i].iov_len;
	}
	return f->dev->ops->writev(f, iov, iovcnt, off);
}

int dev_write(struct dev_file *f, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return dev_writev(f, &iov, 1, off);
}

int dev_sync(struct dev_file *f) { return f->dev->ops->sync(f); }

#define VERIFY_BYTES MIB(1)

int dev_verify(struct dev_file *f, const void *data, size_t len, uint64_t off)
{
	const uint8_t *want = data;
	FREE uint8_t *back = xmalloc(MIN(len, VERIFY_BYTES) + 1);

	for (size_t at = 0; at < len; at += VERIFY_BYTES) {
		size_t part = MIN(len - at, VERIFY_BYTES), got = 0;
		int rc = dev_read(f, back, part, off + at, DEV_READ_MEDIA, &got);

		if (rc)
			return rc;
		if (got != part || memcmp(back, want + at, part) != 0)
			return DFS_ECHECKSUM;
	}
	return 0;
}

int dev_punch(struct dev_file *f, uint64_t off, uint64_t len)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return DFS_EINVAL;
	return len ? f->dev->ops->punch(f, off, len) : 0;
}

int dev_allocate(struct dev_file *f, uint64_t off, uint64_t len)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return DFS_EINVAL;
	if (len == 0)
		return 0;
	return f->dev->ops->allocate ? f->dev->ops->allocate(f, off, len) : DFS_ENOTSUP;
}

int dev_truncate(struct dev_file *f, uint64_t size_bytes)
{
	if (size_bytes > INT64_MAX)
		return DFS_EFBIG;
	return f->dev->ops->truncate(f, size_bytes);
}

int dev_size(struct dev_file *f, uint64_t *ret_size_bytes)
{
	return f->dev->ops->size(f, ret_size_bytes);
}

void dev_prefetch(struct dev_file *f, uint64_t off, uint64_t len)
{
	if (f->dev->ops->prefetch && off <= INT64_MAX && len <= INT64_MAX - off)
		f->dev->ops->prefetch(f, off, len);
}

int dev_mkdir(struct dev *d, const char *name)
{
	return name_valid(name) ? d->ops->mkdir(d, name) : DFS_EINVAL;
}

int dev_remove(struct dev *d, const char *name)
{
	return name_valid(name) ? d->ops->remove(d, name) : DFS_EINVAL;
}

int dev_rename(struct dev *d, const char *from, const char *to)
{
	return name_valid(from) && name_valid(to) ? d->ops->rename(d, from, to) : DFS_EINVAL;
}

int dev_list(struct dev *d, const char *dir, dev_list_fn fn, void *ctx)
{
	return !*dir || name_valid(dir) ? d->ops->list(d, dir, fn, ctx) : DFS_EINVAL;
}

int dev_sync_dir(struct dev *d, const char *dir)
{
	return !*dir || name_valid(dir) ? d->ops->sync_dir(d, dir) : DFS_EINVAL;
}

int dev_replace(struct dev *d, const char *name, const void *data, size_t len)
{
	return name_valid(name) ? d->ops->replace(d, name, data, len) : DFS_EINVAL;
}

/* The file may grow or shrink between size and read: what was read counts, never past max_len. */
static int read_whole(struct dev_file *f, size_t max_len, uint8_t **ret_data, size_t *ret_len)
{
	FREE uint8_t *data = NULL;
	uint64_t size;
	size_t got;
	int rc = dev_size(f, &size);

	if (rc)
		return rc;
	if (size > max_len)
		return DFS_E2BIG;
	data = malloc(size ? size : 1); /* the size is the disk's word: may be refused */
	if (!data)
		return DFS_ENOMEM;
	rc = dev_read(f, data, size, 0, 0, &got);
	if (rc)
		return rc;
	*ret_data = data;
	*ret_len = got;
	data = NULL;
	return 0;
}

int dev_read_all(struct dev *d, const char *name, size_t max_len, uint8_t **ret_data,
		 size_t *ret_len)
{
	struct dev_file *f;
	int rc = dev_open(d, name, DEV_RDONLY, &f);

	if (rc)
		return rc;
	rc = read_whole(f, max_len, ret_data, ret_len);
	dev_close(f);
	return rc;
}

int dev_space(struct dev *d, struct dev_space *ret_space) { return d->ops->space(d, ret_space); }

int dev_space_now(struct dev *d, struct dev_space *ret_space)
{
	return (d->ops->space_now ? d->ops->space_now : d->ops->space)(d, ret_space);
}

int dev_probe(struct dev *d) { return d->ops->probe(d); }

int dev_lock(struct dev *d) { return d->ops->lock ? d->ops->lock(d) : 0; }

/* ---- calls under way ---- */

static int call_check(struct dev_call *c)
{
	uint64_t left = c->off > INT64_MAX ? 0 : INT64_MAX - c->off;

	switch (c->op) {
	case DEV_CALL_OPEN:
		if ((c->flags & DEV_RDONLY) && (c->flags & (DEV_CREATE | DEV_EXCL)))
			return DFS_EINVAL;
		return name_valid(c->name) ? 0 : DFS_EINVAL;
	case DEV_CALL_SYNC_DIR:
		return !*c->name || name_valid(c->name) ? 0 : DFS_EINVAL;
	case DEV_CALL_READ:
		return c->off > INT64_MAX || c->len > left ? DFS_EINVAL : 0;
	case DEV_CALL_WRITE:
		for (int i = 0; i < c->iovcnt; i++) {
			if (c->iov[i].iov_len > left)
				return DFS_EFBIG;
			left -= c->iov[i].iov_len;
		}
		return c->iovcnt < 0 || c->off > INT64_MAX ? DFS_EINVAL : 0;
	case DEV_CALL_SYNC:
		return 0;
	}
	return DFS_EINVAL;
}

static int call_now(struct dev_call *c)
{
	switch (c->op) {
	case DEV_CALL_OPEN:
		return c->dev->ops->open(c->dev, c->name, c->flags, &c->opened);
	case DEV_CALL_SYNC_DIR:
		return c->dev->ops->sync_dir(c->dev, c->name);
	case DEV_CALL_READ:
		return c->dev->ops->read(c->file, c->buf, c->len, c->off, c->flags, &c->got);
	case DEV_CALL_WRITE:
		return c->dev->ops->writev(c->file, c->iov, c->iovcnt, c->off);
	case DEV_CALL_SYNC:
		return c->dev->ops->sync(c->file);
	}
	return DFS_EINVAL;
}

void dev_start(struct dev_call *c)
{
	if (c->file)
		c->dev = c->file->dev;
	c->opened = NULL;
	c->request = NULL;
	c->got = 0;
	c->result = call_check(c);
	if (c->result)
		return;
	if (c->dev->ops->start)
		c->dev->ops->start(c);
	else
		c->result = call_now(c);
}

int dev_finish(struct dev_call *c)
{
	if (c->request)
		c->result = c->dev->ops->finish(c);
	return c->result;
}

bool dev_is_memory(struct dev *d) { return d->ops->is_memory && d->ops->is_memory(d); }

int dev_read_now(struct dev_file *f, void *buf, size_t len, uint64_t off)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return DFS_EINVAL;
	return f->dev->ops->read_now ? f->dev->ops->read_now(f, buf, len, off) : DFS_EBUSY;
}

void dev_retire(struct dev *d)
{
	if (d->ops->retire)
		d->ops->retire(d);
}

int dev_revive(struct dev *d) { return d->ops->revive ? d->ops->revive(d) : 0; }
