/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a device with deadlines. Each is put into a request (request.c runs it). What can't hang
 * is done on the caller's own thread, for waking another costs more than such a call: everything on a disk
 * that is only memory, and reads of what is in the page cache.
 *
 * Locks: see deadline_internal.h.
 */
#include "dev/deadline.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "dev/deadline_internal.h"

#define ASK_PATIENCE_NS 100000000ull /* then an earlier answer will do */
#define PREFETCH_QUEUE_MAX 32u	     /* a disk that has so much to do is not given hints, too */

static struct dfile *dfile_of(struct dev_file *f) { return container_of(f, struct dfile, base); }

struct dfile *dfile_new(struct deadline *d, struct dev_file *below)
{
	struct dfile *f = xcalloc(1, sizeof(*f));

	env_assert_held(&d->lock);
	f->base.dev = &d->base;
	f->below = below;
	f->refs = 1;
	TAILQ_INSERT_TAIL(&d->files, f, link);
	return f;
}

/* ---- the group ---- */

struct dev_group *dev_group_new(uint64_t deadline_ms)
{
	struct dev_group *g = xcalloc(1, sizeof(*g));

	env_mutex_init(&g->lock);
	g->deadline_ms = deadline_ms ? deadline_ms : DEADLINE_MS_DEFAULT;
	g->refs = 1;
	g->most = g->most_votes = UINT32_MAX;
	LIST_INIT(&g->devs);
	return g;
}

void dev_group_set_most(struct dev_group *g, unsigned most, unsigned votes,
			struct dev *const *voters, unsigned count)
{
	struct deadline *d;

	ENV_LOCKED(&g->lock);
	g->most = most;
	g->most_votes = votes;
	LIST_FOREACH(d, &g->devs, in_group)
		d->votes = false;
	for (unsigned i = 0; i < count; i++)
		if (voters[i]->ops == &deadline_ops)
			deadline_of(voters[i])->votes = true;
}

void dev_give_up(struct dev *dev)
{
	struct deadline *d;

	if (dev->ops != &deadline_ops)
		return;
	d = deadline_of(dev);
	ENV_LOCKED(&d->lock);
	d->is_given_up = true;
}

#define PATIENCE_FACTOR 4
#define PACE_MAX_DISKS 512u

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median of the disks' 99th percentiles: some that are slow do not make all wait for them. */
void dev_group_note_pace(struct dev_group *g)
{
	FREE uint64_t *p99 = xcalloc(PACE_MAX_DISKS, sizeof(*p99));
	struct deadline *d;
	unsigned n = 0;

	ENV_LOCKED(&g->lock);
	LIST_FOREACH(d, &g->devs, in_group)
		if (n < PACE_MAX_DISKS && (p99[n] = pace_p99(&d->pace)) > 0)
			n++;
	if (n == 0)
		return;
	qsort(p99, n, sizeof(*p99), by_size);
	atomic_store(&g->patience_ns, PATIENCE_FACTOR * p99[(n - 1) / 2]);
}

uint64_t dev_group_deadline_ms(const struct dev_group *g) { return g->deadline_ms; }

void dev_deadline_set_domain(struct dev *dev, const char *domain)
{
	struct deadline *d = deadline_of(dev);

	if (dev->ops != &deadline_ops)
		return;
	ENV_LOCKED(&d->group->lock);
	snprintf(d->domain, sizeof(d->domain), "%s", domain);
}

void dev_group_put(struct dev_group *g)
{
	bool last;

	if (!g)
		return;
	env_mutex_lock(&g->lock);
	last = --g->refs == 0;
	env_mutex_unlock(&g->lock);
	if (!last)
		return;
	env_mutex_release(&g->lock);
	free(g);
}

/* ---- names ---- */

static int op_open(struct dev *dev, const char *name, unsigned flags, struct dev_file **ret_file)
{
	struct request r = {.op = REQ_OPEN, .name = name, .flags = flags};
	int rc = request_run(deadline_of(dev), &r);

	if (!rc)
		*ret_file = &r.opened->base;
	return rc;
}

/* Nobody waits for it: what the disk says to a close is of no use, and it may hang. */
static void op_close(struct dev_file *file)
{
	struct deadline *d = deadline_of(file->dev);
	struct request r = {.op = REQ_CLOSE, .file = dfile_of(file)};
	struct dev_file *below = NULL;
	int rc;

	env_mutex_lock(&d->lock);
	if (d->is_memory || !request_submit_locked(d, &r, false, &rc))
		below = dfile_put(d, r.file);
	env_mutex_unlock(&d->lock);
	dev_close(below);
}

static int op_mkdir(struct dev *dev, const char *name)
{
	struct request r = {.op = REQ_MKDIR, .name = name};

	return request_run(deadline_of(dev), &r);
}

static int op_remove(struct dev *dev, const char *name)
{
	struct request r = {.op = REQ_REMOVE, .name = name};

	return request_run(deadline_of(dev), &r);
}

static int op_rename(struct dev *dev, const char *from, const char *to)
{
	struct request r = {.op = REQ_RENAME, .name = from, .to = to};

	return request_run(deadline_of(dev), &r);
}

static int op_list(struct dev *dev, const char *dir, dev_list_fn fn, void *ctx)
{
	struct request r = {.op = REQ_LIST, .name = dir};
	int rc = request_run(deadline_of(dev), &r);
	struct reader in = reader_of(r.list.data, r.list.len);

	while (!rc && reader_left(&in)) {
		uint64_t size = reader_le64(&in);
		const char *name = (const char *)in.p;

		(void)reader_bytes(&in, strlen(name) + 1);
		rc = fn(ctx, name, size);
	}
	buf_release(&r.list);
	return rc;
}

static int op_sync_dir(struct dev *dev, const char *dir)
{
	struct request r = {.op = REQ_SYNC_DIR, .name = dir};

	return request_run(deadline_of(dev), &r);
}

static int op_replace(struct dev *dev, const char *name, const void *data, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct request r = {.op = REQ_REPLACE, .name = name, .iov = &iov, .iovcnt = 1};

	return request_run(deadline_of(dev), &r);
}

static int op_lock(struct dev *dev)
{
	struct request r = {.op = REQ_LOCK};

	return request_run(deadline_of(dev), &r);
}

/* ---- files ---- */

static int op_read(struct dev_file *file, void *buf, size_t len, uint64_t off, unsigned flags,
		   size_t *ret_len)
{
	struct dev_call c = {.op = DEV_CALL_READ,
			     .file = file,
			     .buf = buf,
			     .len = len,
			     .off = off,
			     .flags = flags};
	int rc;

	dev_start(&c);
	rc = dev_finish(&c);
	if (!rc)
		*ret_len = c.got;
	return rc;
}

static int op_writev(struct dev_file *file, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct request r = {
		.op = REQ_WRITE, .file = dfile_of(file), .iov = iov, .iovcnt = iovcnt, .off = off};

	return request_run(deadline_of(file->dev), &r);
}

static int op_sync(struct dev_file *file)
{
	struct request r = {.op = REQ_SYNC, .file = dfile_of(file)};

	return request_run(deadline_of(file->dev), &r);
}

static int op_punch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct request r = {.op = REQ_PUNCH, .file = dfile_of(file), .off = off, .len = len};

	return request_run(deadline_of(file->dev), &r);
}

static int op_allocate(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct request r = {.op = REQ_ALLOCATE, .file = dfile_of(file), .off = off, .len = len};

	return request_run(deadline_of(file->dev), &r);
}

static int op_truncate(struct dev_file *file, uint64_t size_bytes)
{
	struct request r = {.op = REQ_TRUNCATE, .file = dfile_of(file), .len = size_bytes};

	return request_run(deadline_of(file->dev), &r);
}

static int op_size(struct dev_file *file, uint64_t *ret_size_bytes)
{
	struct request r = {.op = REQ_SIZE, .file = dfile_of(file)};
	int rc = request_run(deadline_of(file->dev), &r);

	if (!rc)
		*ret_size_bytes = r.size;
	return rc;
}

static void op_prefetch(struct dev_file *file, uint64_t off, uint64_t len)
{
	struct deadline *d = deadline_of(file->dev);
	struct request r = {
		.op = REQ_PREFETCH, .d = d, .file = dfile_of(file), .off = off, .len = len};
	int rc;

	if (d->is_memory)
		return; /* it is there */
	ENV_LOCKED(&d->lock);
	if (d->queued < PREFETCH_QUEUE_MAX)
		(void)request_submit_locked(d, &r, false, &rc);
}

/* ---- calls under way ---- */

/* From the page cache, on the caller's thread. false: that is not known to be possible. */
static bool read_now(struct deadline *d, struct dev_call *c)
{
	uint64_t began;
	bool done;

	if (c->flags & DEV_READ_MEDIA)
		return false;
	if (inline_enter(d))
		return false;
	began = env_now_ns();
	done = dev_read_now(dfile_of(c->file)->below, c->buf, c->len, c->off) == 0;
	inline_leave(d);
	if (done) {
		c->got = c->len;
		dev_count(&d->counts, DEV_COUNT_READ, c->len, env_now_ns() - began, 0);
	}
	return done;
}

static void call_request(struct dev_call *c, struct request *ret)
{
	static const enum request_op ops[] = {
		[DEV_CALL_OPEN] = REQ_OPEN,	    [DEV_CALL_READ] = REQ_READ,
		[DEV_CALL_WRITE] = REQ_WRITE,	    [DEV_CALL_SYNC] = REQ_SYNC,
		[DEV_CALL_SYNC_DIR] = REQ_SYNC_DIR,
	};

	*ret = (struct request){
		.op = ops[c->op],
		.file = c->file ? dfile_of(c->file) : NULL,
		.name = c->name,
		.flags = c->flags,
		.can_spare = c->can_spare,
		.buf = c->buf,
		.len = c->len,
		.off = c->off,
		.iov = c->iov,
		.iovcnt = c->op == DEV_CALL_WRITE ? c->iovcnt : 0,
	};
}

static void call_done(struct dev_call *c, const struct request *r)
{
	c->got = r->got;
	if (c->op == DEV_CALL_OPEN && c->result == 0)
		c->opened = &r->opened->base;
}

static void op_start(struct dev_call *c)
{
	struct deadline *d = deadline_of(c->dev);
	struct request r;

	call_request(c, &r);
	if (d->is_memory) {
		c->result = request_run(d, &r);
		call_done(c, &r);
	} else if (c->op != DEV_CALL_READ || !read_now(d, c)) {
		c->request = request_submit(d, &r, true, &c->result);
	}
}

static int op_finish(struct dev_call *c)
{
	struct request r;

	call_request(c, &r);
	c->result = request_wait(c->request, &r);
	c->request = NULL;
	call_done(c, &r);
	return c->result;
}

/* ---- questions: the last answer will do, for nobody who wants to know the state may wait for a disk ---- */

/*
 * Asks, and waits a moment for the answer; the first one, and one that must be of now, is waited for until the
 * deadline. A question that is under way began before: its answer need not know what was done since (D13). Lock held.
 * *ret_old: it is to an earlier question.
 */
static int ask(struct deadline *d, bool must_be_new, bool *ret_old)
{
	struct request r = {.op = REQ_ASK};
	uint64_t limit = request_limit_ns(d, REQ_ASK);
	uint64_t wanted = d->answers + 1 + (d->asking != NULL);
	uint64_t patience = d->answers && !must_be_new ? MIN(ASK_PATIENCE_NS, limit) : UINT64_MAX;
	int rc = request_refused(d, REQ_ASK);

	while (!rc && d->answers < wanted) {
		uint64_t now, since;

		if (!d->asking) {
			d->asking_ns = env_now_ns();
			d->asking = request_submit_locked(d, &r, false, &rc);
		}
		if (rc)
			break;
		now = env_now_ns();
		since = MAX(d->asking->since_ns, d->last_done_ns);
		if (now - d->asking->since_ns >= patience) /* not so long for each who asks */
			break;
		if (now >= since + limit && request_give_up(d, REQ_ASK))
			return DFS_ETIMEDOUT;
		if (now < since + limit || !request_note_silent(d))
			(void)env_cond_wait_ms(&d->changed, &d->lock,
					       DIV_UP(MIN(patience, limit / 4), 1000000));
		rc = request_refused(d, REQ_ASK);
	}
	*ret_old = d->answers < wanted;
	if (*ret_old && !rc && d->asking &&
	    env_now_ns() >= MAX(d->asking->since_ns, d->last_done_ns) + limit) {
		if (request_give_up(d, REQ_ASK))
			return DFS_ETIMEDOUT;
		(void)request_note_silent(d);
	}
	return rc;
}

static int space(struct deadline *d, bool must_be_new, struct dev_space *ret_space)
{
	struct request r = {.op = REQ_ASK};
	bool is_old = false;
	int rc;

	if (d->is_memory) {
		rc = request_run(d, &r);
		if (!rc)
			*ret_space = r.space;
		return rc;
	}
	ENV_LOCKED(&d->lock);
	rc = ask(d, must_be_new, &is_old);
	if (!rc)
		rc = d->space_result;
	if (rc)
		return rc;
	*ret_space = d->space;
	ret_space->is_old |= is_old;
	return 0;
}

static int op_space(struct dev *dev, struct dev_space *ret_space)
{
	return space(deadline_of(dev), false, ret_space);
}

static int op_space_now(struct dev *dev, struct dev_space *ret_space)
{
	return space(deadline_of(dev), true, ret_space);
}

static int op_probe(struct dev *dev)
{
	struct deadline *d = deadline_of(dev);
	struct request r = {.op = REQ_ASK};
	bool is_old;
	int rc;

	if (d->is_memory) {
		rc = request_run(d, &r);
		return r.d->is_retired ? rc : r.probe;
	}
	ENV_LOCKED(&d->lock);
	rc = ask(d, false, &is_old);
	return rc ? rc : d->probe_result;
}

/* ---- the device ---- */

static bool op_is_memory(struct dev *dev) { return deadline_of(dev)->is_memory; }

static void op_retire(struct dev *dev)
{
	struct deadline *d = deadline_of(dev);
	ENV_LOCKED(&d->lock);

	deadline_retire_locked(d);
}

static int op_revive(struct dev *dev)
{
	struct deadline *d = deadline_of(dev);
	struct request r = {.op = REQ_REVIVE};
	int rc = request_run(d, &r);
	bool was_hung;

	if (rc)
		return rc;
	env_mutex_lock(&d->lock);
	was_hung = d->is_hung;
	d->is_hung = false;
	atomic_store(&d->silent_at_ns, 0);
	env_mutex_unlock(&d->lock);
	if (was_hung)
		log_info("the disk at %s answers again", d->base.name);
	return 0;
}

static void op_free(struct dev *dev) { deadline_release(deadline_of(dev)); }

const struct dev_ops deadline_ops = {
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
	.space_now = op_space_now,
	.probe = op_probe,
	.lock = op_lock,
	.start = op_start,
	.finish = op_finish,
	.is_memory = op_is_memory,
	.retire = op_retire,
	.revive = op_revive,
	.free = op_free,
};

int dev_deadline_open(struct dev_group *g, dev_opener open, void *ctx, const char *path,
		      const char *subdir, bool create, struct dev **ret_dev)
{
	FREE char *name = xasprintf("%s%s%s", path, *subdir ? "/" : "", subdir);
	struct deadline *d = deadline_alloc(g, name);
	struct request r = {.op = REQ_OPEN_DEV,
			    .name = path,
			    .to = subdir,
			    .flags = create,
			    .opener = open,
			    .opener_ctx = ctx};
	int rc = request_run(d, &r);

	if (rc)
		deadline_release(d);
	else
		*ret_dev = &d->base;
	return rc;
}

int dev_call_in_time(struct dev_group *g, const char *what, void (*fn)(void *arg), void *arg,
		     void (*drop)(void *arg))
{
	struct deadline *d = deadline_alloc(g, what);
	struct request r = {.op = REQ_CALL, .call = fn, .arg = arg, .drop = drop};
	int rc = request_run(d, &r);

	deadline_release(d);
	return rc;
}

struct dev *dev_deadline_new(struct dev_group *g, struct dev *below)
{
	struct deadline *d = deadline_alloc(g, below->name);

	d->below = below;
	d->is_memory = dev_is_memory(below);
	return &d->base;
}

bool dev_counts(struct dev *dev, struct dev_counts *ret)
{
	if (dev->ops != &deadline_ops)
		return false;
	counts_copy(&deadline_of(dev)->counts, ret);
	return true;
}

bool dev_deadline_state(struct dev *dev, struct dev_deadline_state *ret_state)
{
	struct deadline *d = deadline_of(dev);

	if (dev->ops != &deadline_ops)
		return false;
	ENV_LOCKED(&d->lock);
	*ret_state = (struct dev_deadline_state){
		.is_hung = d->is_hung,
		.is_retired = d->is_retired,
		.is_silent = d->is_silent,
		.stuck = d->stuck,
		.threads = d->threads,
	};
	return true;
}
