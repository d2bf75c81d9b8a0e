/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each disk's queue and workers, and the batches that callers run through them. A slow disk delays
 * only those who need it.
 *
 * A caller puts its operations on the disks' queues, runs those of one disk itself, then takes back
 * whatever no worker has begun and runs that, too, and waits for the rest. So operations never wait
 * for an idle worker while their owner sits idle, the queues are bounded by what the callers bring
 * (P9), and no order of operations can starve one.
 *
 * Locks: disk.queue_lock and each batch's own lock; both are leaves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dev/disk_priv.h"

/* What a caller waits for; lives on its stack. */
struct batch {
	struct env_mutex lock;
	struct env_cond done;
	unsigned pending; /* lock */
};

static void list_init(struct io_list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static void list_push(struct io_list *l, struct disk_io *io)
{
	io->next = NULL;
	*l->end = io;
	l->end = &io->next;
}

static struct disk_io *list_pop(struct io_list *l)
{
	struct disk_io *io = l->first;

	l->first = io->next;
	if (!l->first)
		l->end = &l->first;
	io->next = NULL;
	return io;
}

static uint64_t bytes_of(const struct disk_io *io)
{
	uint64_t bytes = 0;

	for (int i = 0; i < io->iovcnt; i++)
		bytes += io->iov[i].iov_len;
	return bytes;
}

/* Takes the first operation, and the writes behind it that continue where it ends. */
static struct disk_io *take_run(struct io_list *l)
{
	struct disk_io *run = list_pop(l), *last = run;
	uint64_t end, bytes;
	int iovcnt = run->iovcnt;

	if (run->op != DISK_WRITE)
		return run;
	bytes = bytes_of(run);
	end = run->addr.offset + bytes;
	while (l->first && l->first->op == DISK_WRITE && l->first->disk == run->disk &&
	       l->first->addr.segment == run->addr.segment && l->first->addr.offset == end) {
		uint64_t more = bytes_of(l->first);

		iovcnt += l->first->iovcnt;
		bytes += more;
		if (iovcnt > RUN_IOV_MAX || bytes > RUN_BYTES_MAX)
			break;
		end += more;
		last->next = list_pop(l);
		last = last->next;
	}
	return run;
}

static void exec_writes(struct disk_io *run)
{
	int rc = segment_write_run(run->disk, run);

	if (!rc || !run->next) {
		for (struct disk_io *io = run; io; io = io->next)
			io->result = rc;
		return;
	}
	/* Find out which of them failed: writing the same bytes again is harmless. */
	for (struct disk_io *io = run, *next; io; io = next) {
		next = io->next;
		io->next = NULL;
		io->result = segment_write_run(io->disk, io);
		io->next = next;
	}
}

static void exec_run(struct disk_io *run)
{
	switch (run->op) {
	case DISK_READ:
		run->result = segment_read(run->disk, run);
		break;
	case DISK_WRITE:
		exec_writes(run);
		break;
	case DISK_SYNC:
		run->result = segment_sync(run->disk);
		break;
	}
}

/* Runs a list that nobody else sees; returns how many it held. */
static unsigned exec_list(struct io_list *l)
{
	unsigned n = 0;

	while (l->first) {
		struct disk_io *run = take_run(l);

		exec_run(run);
		for (; run; run = run->next)
			n++;
	}
	return n;
}

/* Tells the owners. An owner may return, and its operations and batch vanish, at the unlock. */
static void complete_run(struct disk_io *run)
{
	while (run) {
		struct batch *b = run->batch;
		unsigned n = 0;

		for (; run && run->batch == b; run = run->next)
			n++;
		env_mutex_lock(&b->lock);
		ASSERT(b->pending >= n);
		b->pending -= n;
		if (b->pending == 0)
			env_cond_signal(&b->done);
		env_mutex_unlock(&b->lock);
	}
}

/* ---- workers ---- */

static struct disk_io *worker_take(struct disk *d)
{
	env_assert_held(&d->queue_lock);
	for (unsigned op = DISK_READ; op <= DISK_SYNC; op++) {
		if (!d->lists[op].first || (op == DISK_SYNC && d->is_sync_taken))
			continue;
		return take_run(&d->lists[op]);
	}
	return NULL;
}

static void worker_main(void *arg)
{
	struct disk *d = arg;
	ENV_LOCKED(&d->queue_lock);

	while (!d->is_stopping) {
		struct disk_io *run = worker_take(d);
		bool is_sync = run && run->op == DISK_SYNC;

		if (!run) {
			d->idle_workers++;
			env_cond_wait(&d->work, &d->queue_lock);
			d->idle_workers--;
			continue;
		}
		if (is_sync)
			d->is_sync_taken = true;
		env_mutex_unlock(&d->queue_lock);
		exec_run(run);
		complete_run(run);
		env_mutex_lock(&d->queue_lock);
		if (is_sync)
			d->is_sync_taken = false;
	}
}

void queue_start(struct disk *d, unsigned workers)
{
	char name[16];

	for (unsigned op = DISK_READ; op <= DISK_SYNC; op++)
		list_init(&d->lists[op]);
	if (!d->dev)
		return;
	workers = workers ? MIN(workers, DISK_WORKERS_MAX) : DISK_WORKERS_DEFAULT;
	for (unsigned i = 0; i < workers; i++) {
		(void)snprintf(name, sizeof(name), "disk%u.%u", d->id.v % 100000, i % 100);
		d->workers[d->worker_count++] = env_thread_start(name, worker_main, d);
	}
}

void queue_stop(struct disk *d)
{
	env_mutex_lock(&d->queue_lock);
	d->is_stopping = true;
	env_cond_broadcast(&d->work);
	env_mutex_unlock(&d->queue_lock);
	for (unsigned i = 0; i < d->worker_count; i++)
		env_thread_join(d->workers[i]);
	d->worker_count = 0;
	for (unsigned op = DISK_READ; op <= DISK_SYNC; op++)
		ASSERT(!d->lists[op].first);
}

/* ---- batches ---- */

/* Queues all of one disk's operations from ios[0] on; returns how many. */
static unsigned enqueue_disk(struct disk_io *ios, unsigned count, struct batch *b)
{
	struct disk *d = ios->disk;
	unsigned n = 0;
	bool wake;

	env_mutex_lock(&d->queue_lock);
	for (unsigned i = 0; i < count; i++) {
		if (ios[i].disk != d)
			continue;
		ios[i].batch = b;
		list_push(&d->lists[ios[i].op], &ios[i]);
		n++;
	}
	wake = d->idle_workers > 0;
	env_mutex_unlock(&d->queue_lock);
	if (wake)
		env_cond_signal(&d->work);
	return n;
}

/* Takes the batch's operations off the disk's queue, as far as no worker has begun them. */
static void take_back(struct disk *d, struct batch *b, struct io_list *ret_list)
{
	ENV_LOCKED(&d->queue_lock);

	for (unsigned op = DISK_READ; op <= DISK_SYNC; op++) {
		struct disk_io **at = &d->lists[op].first;

		while (*at) {
			struct disk_io *io = *at;

			if (io->batch != b) {
				at = &io->next;
				continue;
			}
			*at = io->next;
			list_push(ret_list, io);
		}
		d->lists[op].end = at;
	}
}

static unsigned run_own(struct disk_io *ios, unsigned count, struct disk *d)
{
	struct io_list l;

	list_init(&l);
	for (unsigned i = 0; i < count; i++)
		if (ios[i].disk == d)
			list_push(&l, &ios[i]);
	return exec_list(&l);
}

static void wait_for(struct batch *b, unsigned done_by_us)
{
	ENV_LOCKED(&b->lock);

	ASSERT(b->pending >= done_by_us);
	b->pending -= done_by_us;
	while (b->pending)
		env_cond_wait(&b->done, &b->lock);
}

static bool same_disk(const struct disk_io *ios, unsigned count)
{
	for (unsigned i = 1; i < count; i++)
		if (ios[i].disk != ios[0].disk)
			return false;
	return true;
}

static void run_batch(struct disk_io *ios, unsigned count)
{
	struct disk *own = ios[count - 1].disk;
	struct batch b = {.pending = count};
	unsigned done = 0;

	env_mutex_init(&b.lock);
	env_cond_init(&b.done);
	for (unsigned i = 0; i < count; i++)
		ios[i].batch = NULL;
	for (unsigned i = 0; i < count; i++)
		if (!ios[i].batch && ios[i].disk != own)
			(void)enqueue_disk(ios + i, count - i, &b);
	done += run_own(ios, count, own);
	for (unsigned i = 0; i < count; i++) {
		struct io_list l;

		if (ios[i].disk == own || (i && ios[i].disk == ios[i - 1].disk))
			continue;
		list_init(&l);
		take_back(ios[i].disk, &b, &l);
		done += exec_list(&l);
	}
	wait_for(&b, done);
	env_cond_release(&b.done);
	env_mutex_release(&b.lock);
}

int disk_io_run(struct disk_io *ios, unsigned count)
{
	if (count == 0)
		return 0;
	if (same_disk(ios, count))
		(void)run_own(ios, count, ios->disk);
	else
		run_batch(ios, count);
	for (unsigned i = 0; i < count; i++)
		if (ios[i].result)
			return ios[i].result;
	return 0;
}
