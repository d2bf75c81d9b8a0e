/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault device: stands on another device, passes every call on, and makes some of them fail as
 * its plan says. Lets tests and people see that P1, P3 and P4 hold when a disk misbehaves.
 *
 * Lock: fault.lock protects the plan only; it is a leaf and never held while the device below works.
 */
#include "dev/fault.h"

#include <stdlib.h>

#include "base/env.h"
#include "base/le.h"

struct fault {
	struct dev base;
	struct dev *below; /* owned */
	struct env_mutex lock;
	struct env_cond changed; /* with lock: the plan */
	struct fault_plan plan;	 /* protected by lock */
};

struct fault_file {
	struct dev_file base;
	struct dev_file *below; /* owned */
	char *name;
};

static const struct dev_ops fault_ops;

static struct fault *fault_of(struct dev *d)
{
	ASSERT(d->ops == &fault_ops);
	return container_of(d, struct fault, base);
}

static bool is_meant(const struct fault_plan *p, const char *name)
{
	return !p->only || strncmp(name, p->only, strlen(p->only)) == 0;
}

static struct dev_file *below_of(struct dev_file *f)
{
	return container_of(f, struct fault_file, base)->below;
}

static struct fault_plan plan_of(struct dev *d)
{
	struct fault *f = fault_of(d);
	ENV_LOCKED(&f->lock);

	if (f->plan.gone_after && --f->plan.gone_after == 0)
		f->plan.gone = true;
	while (f->plan.hang)
		env_cond_wait(&f->changed, &f->lock);
	return f->plan;
}

static bool happens(double probability)
{
	if (probability <= 0)
		return false;
	return (double)(env_random_u64() >> 11) * 0x1p-53 < probability;
}

/* What happens to a read, write or sync before it reaches the device below. */
static int before_io(const struct fault_plan *p, double error_probability)
{
	if (p->delay_ms)
		env_sleep_ms(p->delay_ms);
	if (p->gone)
		return DFS_EGONE;
	return happens(error_probability) ? DFS_EIO : 0;
}

static int before_name(struct dev *d) { return plan_of(d).gone ? DFS_EGONE : 0; }

static int f_open(struct dev *d, const char *name, unsigned flags, struct dev_file **ret_file)
{
	struct dev_file *below;
	struct fault_file *f;
	struct fault_plan p = plan_of(d);
	int rc = p.gone ? DFS_EGONE : 0;

	if (!rc && is_meant(&p, name) && happens(p.open_error))
		rc = DFS_EIO;
	if (!rc && p.no_files && (flags & DEV_CREATE)) {
		rc = dev_open(fault_of(d)->below, name, flags & ~(unsigned)DEV_CREATE, &below);
		rc = rc == DFS_ENOENT ? DFS_ENOSPC : rc;
	} else if (!rc) {
		rc = dev_open(fault_of(d)->below, name, flags, &below);
	}
	if (rc)
		return rc;
	f = xcalloc(1, sizeof(*f));
	f->base.dev = d;
	f->below = below;
	f->name = xstrdup(name);
	*ret_file = &f->base;
	return 0;
}

static void f_close(struct dev_file *f)
{
	dev_close(below_of(f));
	free(container_of(f, struct fault_file, base)->name);
	free(container_of(f, struct fault_file, base));
}

static int f_read(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
		  size_t *ret_len)
{
	struct fault_plan p = plan_of(f->dev);
	bool meant = is_meant(&p, container_of(f, struct fault_file, base)->name);
	int rc = before_io(&p, meant ? p.read_error : 0);
	size_t got;

	if (!rc && meant && off < p.unread_to && off + len > p.unread_from)
		rc = DFS_EIO;
	if (!rc)
		rc = dev_read(below_of(f), buf, len, off, flags, &got);
	if (rc)
		return rc;
	if (got && happens(p.read_flip)) {
		uint64_t bit = env_random_u64() % (got * 8);

		((uint8_t *)buf)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	*ret_len = got;
	return 0;
}

static int write_flipped(struct dev_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	BUF all = {0};
	uint64_t bit;

	for (int i = 0; i < iovcnt; i++)
		if (iov[i].iov_len)
			buf_put(&all, iov[i].iov_base, iov[i].iov_len);
	if (all.len) {
		bit = env_random_u64() % (all.len * 8);
		all.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	return dev_write(f, all.data, all.len, off);
}

static int f_writev(struct dev_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct fault_plan p = plan_of(f->dev);
	int rc = before_io(&p, p.write_error);
	uint64_t end = off, size;

	if (rc)
		return rc;
	for (int i = 0; i < iovcnt; i++)
		end += iov[i].iov_len;
	if (p.no_space_anew)
		return DFS_ENOSPC;
	if (p.no_space) {
		rc = dev_size(below_of(f), &size);
		if (!rc && end > size)
			rc = DFS_ENOSPC;
	}
	if (!rc && happens(p.write_flip))
		return write_flipped(below_of(f), iov, iovcnt, off);
	return rc ? rc : dev_writev(below_of(f), iov, iovcnt, off);
}

static int f_sync(struct dev_file *f)
{
	struct fault_plan p = plan_of(f->dev);
	int rc = before_io(&p, p.sync_error);

	return rc ? rc : dev_sync(below_of(f));
}

static int f_punch(struct dev_file *f, uint64_t off, uint64_t len)
{
	int rc = before_name(f->dev);

	if (!rc && plan_of(f->dev).no_punch)
		rc = DFS_ENOTSUP;
	return rc ? rc : dev_punch(below_of(f), off, len);
}

static int f_allocate(struct dev_file *f, uint64_t off, uint64_t len)
{
	int rc = before_name(f->dev);

	if (!rc && plan_of(f->dev).no_space)
		rc = DFS_ENOSPC;
	return rc ? rc : dev_allocate(below_of(f), off, len);
}

static int f_truncate(struct dev_file *f, uint64_t size_bytes)
{
	int rc = before_name(f->dev);

	return rc ? rc : dev_truncate(below_of(f), size_bytes);
}

static int f_size(struct dev_file *f, uint64_t *ret_size_bytes)
{
	int rc = before_name(f->dev);

	return rc ? rc : dev_size(below_of(f), ret_size_bytes);
}

static void f_prefetch(struct dev_file *f, uint64_t off, uint64_t len)
{
	if (!before_name(f->dev))
		dev_prefetch(below_of(f), off, len);
}

static int f_mkdir(struct dev *d, const char *name)
{
	int rc = before_name(d);

	return rc ? rc : dev_mkdir(fault_of(d)->below, name);
}

static int f_remove(struct dev *d, const char *name)
{
	int rc = before_name(d);

	return rc ? rc : dev_remove(fault_of(d)->below, name);
}

static int f_rename(struct dev *d, const char *from, const char *to)
{
	int rc = before_name(d);

	return rc ? rc : dev_rename(fault_of(d)->below, from, to);
}

static int f_list(struct dev *d, const char *dir, dev_list_fn fn, void *ctx)
{
	int rc = before_name(d);

	return rc ? rc : dev_list(fault_of(d)->below, dir, fn, ctx);
}

static int f_sync_dir(struct dev *d, const char *dir)
{
	struct fault_plan p = plan_of(d);
	int rc = before_io(&p, p.sync_error);

	return rc ? rc : dev_sync_dir(fault_of(d)->below, dir);
}

/* A replacement is a write, and it needs room for the new copy beside the old. */
static int f_replace(struct dev *d, const char *name, const void *data, size_t len)
{
	struct fault_plan p = plan_of(d);
	int rc = before_io(&p, p.write_error);

	if (!rc && happens(p.sync_error))
		rc = DFS_EIO;
	if (!rc && (p.no_space || p.no_files))
		rc = DFS_ENOSPC;
	return rc ? rc : dev_replace(fault_of(d)->below, name, data, len);
}

static int space_as_planned(struct dev *d, int (*ask)(struct dev *, struct dev_space *),
			    struct dev_space *ret_space)
{
	struct fault_plan p = plan_of(d);
	int rc = p.gone ? DFS_EGONE : ask(fault_of(d)->below, ret_space);

	if (!rc && p.most_total)
		ret_space->total_bytes = MIN(ret_space->total_bytes, p.most_total);
	if (!rc && p.most_free)
		ret_space->free_bytes = MIN(ret_space->free_bytes, p.most_free);
	if (!rc && (p.no_space || p.no_files))
		ret_space->free_bytes = 0;
	if (!rc && (p.most_files || p.no_files)) {
		ret_space->files = 1000;
		ret_space->free_files = p.no_files ? 0 : p.most_files;
	}
	return rc;
}

static int f_space(struct dev *d, struct dev_space *ret_space)
{
	return space_as_planned(d, dev_space, ret_space);
}

static int f_space_now(struct dev *d, struct dev_space *ret_space)
{
	return space_as_planned(d, dev_space_now, ret_space);
}

static int f_probe(struct dev *d)
{
	int rc = before_name(d);

	return rc ? rc : dev_probe(fault_of(d)->below);
}

static int f_lock(struct dev *d) { return dev_lock(fault_of(d)->below); }

static void f_free(struct dev *d)
{
	struct fault *f = fault_of(d);

	dev_free(f->below);
	env_cond_release(&f->changed);
	env_mutex_release(&f->lock);
	free(d->name);
	free(f);
}

static const struct dev_ops fault_ops = {
	.open = f_open,
	.close = f_close,
	.read = f_read,
	.writev = f_writev,
	.sync = f_sync,
	.punch = f_punch,
	.allocate = f_allocate,
	.truncate = f_truncate,
	.size = f_size,
	.prefetch = f_prefetch,
	.mkdir = f_mkdir,
	.remove = f_remove,
	.rename = f_rename,
	.list = f_list,
	.sync_dir = f_sync_dir,
	.replace = f_replace,
	.space = f_space,
	.space_now = f_space_now,
	.probe = f_probe,
	.lock = f_lock,
	.free = f_free,
};

struct dev *dev_fault_new(struct dev *below, const struct fault_plan *plan)
{
	struct fault *f = xcalloc(1, sizeof(*f));

	f->base.ops = &fault_ops;
	f->base.name = xstrdup(below->name);
	f->below = below;
	f->plan = *plan;
	env_mutex_init(&f->lock);
	env_cond_init(&f->changed);
	return &f->base;
}

void dev_fault_set(struct dev *d, const struct fault_plan *plan)
{
	struct fault *f = fault_of(d);
	ENV_LOCKED(&f->lock);

	f->plan = *plan;
	env_cond_broadcast(&f->changed);
}
