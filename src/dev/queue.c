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
 * Waking a worker costs more than a write into the page cache. So only disks whose operations have
 * lately taken longer than SLOW_NS are queued; those of the others the caller runs one by one.
 *
 * Locks: disk.queue_lock and each batch's own lock; both are leaves.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dev/disk_priv.h"

#define LANES_MAX 64u
#define SLOW_NS 200000u		  /* an operation that is worth waking a worker for */
#define LATENCY_MAX_NS 100000000u /* so that one stall is not remembered for long */

/* A disk of a batch. */
struct lane {
	struct disk *disk;
	bool is_queued; /* else the caller runs its operations */
};

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

/*
 * A moving average that rises faster than it falls: among hits of the page cache, misses are not
 * forgotten at once. Two updates at the same time may lose one, which does no harm.
 */
static void note_latency(struct disk *d, enum disk_io_op op, uint64_t ns)
{
	uint64_t average = atomic_load_explicit(&d->latency_ns[op], memory_order_relaxed);

	if (ns > average)
		average += (MIN(ns, LATENCY_MAX_NS) - average) / 4;
	else
		average -= (average - ns) / 16;
	atomic_store_explicit(&d->latency_ns[op], average, memory_order_relaxed);
}

/* Absent and failed disks answer at once. */
static bool is_slow(struct disk *d, enum disk_io_op op)
{
	return atomic_load_explicit(&d->latency_ns[op], memory_order_relaxed) > SLOW_NS &&
	       disk_usable(d) == 0;
}

static void exec_run(struct disk_io *run)
{
	struct disk *d = run->disk;
	enum disk_io_op op = run->op;
	uint64_t start = env_now_ns();

	switch (op) {
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
	note_latency(d, op, env_now_ns() - start);
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

	for (unsigned op = DISK_READ; op <= DISK_SYNC; op++) {
		list_init(&d->lists[op]);
		atomic_store(&d->latency_ns[op], 2 * SLOW_NS); /* unknown: as if slow */
	}
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

/* Queues all of one disk's operations. */
static void enqueue_disk(struct disk_io *ios, unsigned count, struct disk *d, struct batch *b)
{
	bool wake;

	env_mutex_lock(&d->queue_lock);
	for (unsigned i = 0; i < count; i++) {
		if (ios[i].disk != d)
			continue;
		ios[i].batch = b;
		list_push(&d->lists[ios[i].op], &ios[i]);
	}
	wake = d->idle_workers > 0;
	env_mutex_unlock(&d->queue_lock);
	if (wake)
		env_cond_signal(&d->work);
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

static void wait_for(struct batch *b, unsigned done_by_us)
{
	ENV_LOCKED(&b->lock);

	ASSERT(b->pending >= done_by_us);
	b->pending -= done_by_us;
	while (b->pending)
		env_cond_wait(&b->done, &b->lock);
}

/* The disks of a batch, in order of first use; what comes after LANES_MAX of them is run by us. */
static unsigned lanes_find(struct disk_io *ios, unsigned count, struct lane *lanes)
{
	unsigned n = 0, j;

	for (unsigned i = 0; i < count; i++) {
		ios[i].batch = NULL;
		for (j = 0; j < n && lanes[j].disk != ios[i].disk; j++)
			;
		if (j == n && n < LANES_MAX)
			lanes[n++] = (struct lane){ios[i].disk, is_slow(ios[i].disk, ios[i].op)};
	}
	return n;
}

/* What is not queued, grouped by disk so that neighbours become runs. */
static void gather_own(struct disk_io *ios, unsigned count, const struct lane *lanes, unsigned n,
		       struct io_list *ret_own)
{
	for (unsigned j = 0; j < n; j++)
		for (unsigned i = 0; i < count && !lanes[j].is_queued; i++)
			if (ios[i].disk == lanes[j].disk)
				list_push(ret_own, &ios[i]);
	for (unsigned i = 0; i < count && n == LANES_MAX; i++) {
		unsigned j = 0;

		while (j < n && lanes[j].disk != ios[i].disk)
			j++;
		if (j == n)
			list_push(ret_own, &ios[i]);
	}
}

static void run_batch(struct disk_io *ios, unsigned count)
{
	struct lane lanes[LANES_MAX];
	struct batch b = {.pending = 0};
	struct io_list own;
	unsigned n = lanes_find(ios, count, lanes), queued = 0, done = 0;

	for (unsigned j = 0; j < n; j++)
		queued += lanes[j].is_queued;
	if (n && queued == n)
		lanes[n - 1].is_queued = false; /* the caller does its share */
	list_init(&own);
	gather_own(ios, count, lanes, n, &own);
	if (queued == 0) {
		(void)exec_list(&own);
		return;
	}
	env_mutex_init(&b.lock);
	env_cond_init(&b.done);
	/* workers may finish before all is queued: nobody waits yet, so count first */
	for (struct disk_io *io = own.first; io; io = io->next)
		done++;
	b.pending = count - done;
	for (unsigned j = 0; j < n; j++)
		if (lanes[j].is_queued)
			enqueue_disk(ios, count, lanes[j].disk, &b);
	(void)exec_list(&own);
	done = 0;
	for (unsigned j = 0; j < n; j++) {
		struct io_list l;

		if (!lanes[j].is_queued)
			continue;
		list_init(&l);
		take_back(lanes[j].disk, &b, &l);
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
	if (count == 1) {
		ios->next = NULL;
		exec_run(ios);
	} else {
		run_batch(ios, count);
	}
	for (unsigned i = 0; i < count; i++)
		if (ios[i].result)
			return ios[i].result;
	return 0;
}
