/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of disks and what is known of each: identity, state, counters. Free space is room.c's.
 *
 * Locks: disk_set.lock, disk.lock (see disk_internal.h).
 */
#include "dev/disk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "dev/disk_internal.h"

struct disk_set {
	struct env_mutex lock;
	disk_error_fn on_error; /* immutable, with ctx */
	void *ctx;
	unsigned idle_max;	/* immutable once there is a disk */
	struct disk **disks;	/* lock; by id */
	unsigned count;		/* lock */
	_Atomic(unsigned) want; /* disk_set_want() */
};

static const char *const state_names[] = {
	[DISK_HEALTHY] = "healthy",   [DISK_DEGRADED] = "degraded", [DISK_SUSPECT] = "suspect",
	[DISK_DRAINING] = "draining", [DISK_FAILED] = "failed",
};

const char *disk_state_name(enum disk_state s)
{
	return s >= DISK_HEALTHY && s <= DISK_FAILED ? state_names[s] : "unknown";
}

int disk_state_parse(const char *name, enum disk_state *ret_state)
{
	for (enum disk_state s = DISK_HEALTHY; s <= DISK_FAILED; s++) {
		if (strcmp(name, state_names[s]) == 0) {
			*ret_state = s;
			return 0;
		}
	}
	return DFS_EINVAL;
}

struct disk_set *disk_set_new(disk_error_fn on_error, void *ctx)
{
	struct disk_set *s = xcalloc(1, sizeof(*s));

	s->on_error = on_error;
	s->ctx = ctx;
	s->idle_max = SEGMENT_CACHE_MAX;
	env_mutex_init(&s->lock);
	return s;
}

void disk_set_limit_files(struct disk_set *s, unsigned per_disk)
{
	s->idle_max = MIN(per_disk, SEGMENT_CACHE_MAX);
}

static void disk_free(struct disk *d)
{
	segment_release_all(d);
	room_release(d);
	dev_free(d->dev);
	doubts_release(d);
	damage_release(d);
	env_cond_release(&d->changed);
	env_mutex_release(&d->lock);
	free(d);
}

void disk_set_free(struct disk_set *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++)
		disk_free(s->disks[i]);
	free(s->disks);
	env_mutex_release(&s->lock);
	free(s);
}

static struct disk *disk_new(struct disk_set *s, const struct disk_info *info, struct dev *dev)
{
	struct disk *d = xcalloc(1, sizeof(*d));

	d->set = s;
	d->idle_max = s->idle_max;
	d->share_bytes = UINT64_MAX;
	d->dev = dev;
	d->id = info->id;
	d->info = *info;
	atomic_init(&d->health, health_word((struct disk_health){info->state, DISK_NO_EVENT}));
	TAILQ_INIT(&d->idle);
	TAILQ_INIT(&d->dirty);
	env_mutex_init(&d->lock);
	env_cond_init(&d->changed);
	return d;
}

/* Index of the first disk with an id >= id. */
static unsigned set_search(struct disk_set *s, disk_id id)
{
	unsigned lo = 0, hi = s->count;

	env_assert_held(&s->lock);
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (s->disks[mid]->id.v < id.v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int set_insert(struct disk_set *s, struct disk *d)
{
	ENV_LOCKED(&s->lock);
	unsigned at = set_search(s, d->id);

	if (at < s->count && s->disks[at]->id.v == d->id.v)
		return DFS_EEXIST;
	s->disks = xrealloc(s->disks, (s->count + 1) * sizeof(*s->disks));
	memmove(s->disks + at + 1, s->disks + at, (s->count - at) * sizeof(*s->disks));
	s->disks[at] = d;
	s->count++;
	return 0;
}

int disk_add(struct disk_set *s, const struct disk_info *info, struct dev *dev,
	     uint32_t first_segment)
{
	struct disk *d;
	int rc;

	ASSERT(info->id.v != 0);
	d = disk_new(s, info, dev);
	rc = segment_init(d, first_segment);
	if (!rc)
		rc = set_insert(s, d);
	if (rc) {
		d->dev = NULL; /* still the caller's */
		disk_free(d);
	}
	return rc;
}

struct disk *disk_get(struct disk_set *s, disk_id id)
{
	ENV_LOCKED(&s->lock);
	unsigned at = set_search(s, id);

	return at < s->count && s->disks[at]->id.v == id.v ? s->disks[at] : NULL;
}

unsigned disk_count(struct disk_set *s)
{
	ENV_LOCKED(&s->lock);

	return s->count;
}

struct disk *disk_at(struct disk_set *s, unsigned i)
{
	ENV_LOCKED(&s->lock);

	ASSERT(i < s->count);
	return s->disks[i];
}

struct disk_info disk_info(struct disk *d)
{
	struct disk_info info;
	ENV_LOCKED(&d->lock);

	info = d->info;
	info.state = disk_state(d);
	return info;
}

struct disk_health disk_health(struct disk *d)
{
	unsigned w = atomic_load(&d->health);

	return (struct disk_health){(enum disk_state)(w & 0xff), (enum disk_event)(w >> 8)};
}

enum disk_state disk_state(struct disk *d) { return disk_health(d).state; }

void disk_fail_by(struct disk *d, enum disk_event event)
{
	atomic_store(&d->health, health_word((struct disk_health){DISK_FAILED, event}));
}

/* lock held. DR1: one that is leaving takes nothing, whatever else is said of it. */
struct disk_health disk_well(const struct disk *d, struct disk_health h)
{
	if (!d->is_leaving || h.state == DISK_FAILED)
		return h;
	return (struct disk_health){DISK_DRAINING, DISK_ORDER_DRAIN};
}

void disk_set_health(struct disk *d, struct disk_health h)
{
	ENV_LOCKED(&d->lock);

	if (d->is_removed)
		return;
	h = disk_well(d, h);

	ASSERT(h.state >= DISK_HEALTHY && h.state <= DISK_FAILED);
	/* back from failure by the owner's word: what was in doubt has been dealt with */
	if (disk_state(d) == DISK_FAILED && h.state != DISK_FAILED) {
		d->sync_error = 0;
		d->loss_told = false;
	}
	atomic_store(&d->health, health_word(h));
}

void disk_set_state(struct disk *d, enum disk_state st)
{
	disk_set_health(d, (struct disk_health){st, DISK_NO_EVENT});
}

bool disk_move_health(struct disk *d, struct disk_health from, struct disk_health to)
{
	unsigned was = health_word(from);
	ENV_LOCKED(&d->lock);

	to = disk_well(d, to);
	return from.state != DISK_FAILED &&
	       atomic_compare_exchange_strong(&d->health, &was, health_word(to));
}

bool disk_move_state(struct disk *d, enum disk_state from, enum disk_state to)
{
	struct disk_health h = disk_health(d);

	return h.state == from && disk_move_health(d, h, (struct disk_health){to, DISK_NO_EVENT});
}

void disk_set_leaving(struct disk *d, bool is_leaving)
{
	struct disk_health h, well = {DISK_HEALTHY, DISK_NO_EVENT};
	ENV_LOCKED(&d->lock);

	if (is_leaving && !d->is_leaving)
		d->before_leaving = disk_health(d);
	else if (!is_leaving && d->before_leaving.state != DISK_FAILED && d->before_leaving.state)
		well = d->before_leaving;
	d->is_leaving = is_leaving;
	do {
		unsigned was = health_word(h = disk_health(d));

		if (h.state == DISK_FAILED || (!is_leaving && h.state != DISK_DRAINING))
			return;
		h = disk_well(d, well);
		if (atomic_compare_exchange_strong(&d->health, &was, health_word(h)))
			return; /* a sync that fails at this moment fails the disk: that stays (S4) */
	} while (true);
}

bool disk_is_leaving(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	return d->is_leaving;
}

void disk_set_heir(struct disk *d, disk_id heir)
{
	ENV_LOCKED(&d->lock);
	d->heir = heir;
}

disk_id disk_heir(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	return d->is_leaving ? d->heir : (disk_id){0};
}

void disk_set_label(struct disk *d, const char *label)
{
	ENV_LOCKED(&d->lock);
	snprintf(d->info.label, sizeof(d->info.label), "%s", label);
}

void disk_set_removed(struct disk *d)
{
	disk_set_state(d, DISK_FAILED);
	ENV_LOCKED(&d->lock);
	d->is_removed = true;
	d->is_leaving = false;
}

bool disk_is_removed(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	return d->is_removed;
}

bool disk_is_idle(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	return d->in_flight_bytes == 0;
}

struct dev *disk_dev(struct disk *d) { return d->dev; }

int disk_usable(struct disk *d) { return d->dev && disk_state(d) != DISK_FAILED ? 0 : DFS_EGONE; }

bool disk_present(struct disk *d) { return disk_usable(d) == 0; }
bool disk_is_memory(struct disk *d) { return d->dev && dev_is_memory(d->dev); }

/* Does what is wrong with it say nothing of writes? */
static bool may_write(struct disk_health h)
{
	if (h.state == DISK_DEGRADED)
		return h.event == DISK_READ_ERROR || h.event == DISK_FULL || h.event == DISK_ROT ||
		       h.event == DISK_SELF_TEST;
	return h.state == DISK_HEALTHY || (h.state == DISK_SUSPECT && h.event == DISK_SLOW);
}

bool disk_takes_data(struct disk *d) { return d->dev && may_write(disk_health(d)); }

/* It takes new data, and there is no better not. */
static bool is_good(struct disk *d)
{
	struct disk_health h = disk_health(d);

	return disk_takes_data(d) && h.state != DISK_SUSPECT && h.event != DISK_ROT &&
	       h.event != DISK_SELF_TEST && !disk_reads_nothing(d);
}

bool disk_is_eligible(struct disk_set *s, struct disk *d)
{
	unsigned good = 0, most;

	if (!disk_takes_data(d) || is_good(d))
		return disk_takes_data(d);
	for (unsigned i = 0; i < disk_count(s); i++)
		good += is_good(disk_at(s, i));
	/* one of which nothing can be read is worse than a narrower geometry */
	most = disk_reads_nothing(d) ? 1 : MAX(atomic_load(&s->want), 1u);
	return good < most;
}

void disk_set_want(struct disk_set *s, unsigned disks) { atomic_store(&s->want, disks); }

bool disk_set_takes_nothing(struct disk_set *s)
{
	unsigned count = disk_count(s);

	for (unsigned i = 0; i < count; i++)
		if (disk_takes_data(disk_at(s, i)))
			return false;
	return count > 0;
}

static void report(struct disk *d, bool is_read, int err, const char *fmt, va_list ap)
{
	char what[256];

	if (!d->set->on_error)
		return;
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	d->set->on_error(d->set->ctx, d->id, is_read, err, what);
}

void disk_report(struct disk *d, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(d, false, err, fmt, ap);
	va_end(ap);
}

void disk_report_read(struct disk *d, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(d, true, err, fmt, ap);
	va_end(ap);
}

/* ---- counters ---- */

struct disk_counters disk_counters(struct disk *d)
{
	return (struct disk_counters){
		.reads = atomic_load(&d->counters.reads),
		.writes = atomic_load(&d->counters.writes),
		.syncs = atomic_load(&d->counters.syncs),
		.read_bytes = atomic_load(&d->counters.read_bytes),
		.write_bytes = atomic_load(&d->counters.write_bytes),
		.read_errors = atomic_load(&d->counters.read_errors),
		.write_errors = atomic_load(&d->counters.write_errors),
		.checksum_errors = atomic_load(&d->counters.checksum_errors),
	};
}

void disk_count_from(struct disk *d, const struct disk_counters *before)
{
	atomic_fetch_add(&d->counters.read_errors, before->read_errors);
	atomic_fetch_add(&d->counters.write_errors, before->write_errors);
	atomic_fetch_add(&d->counters.checksum_errors, before->checksum_errors);
}

void disk_count_checksum_error(struct disk *d)
{
	atomic_fetch_add(&d->counters.checksum_errors, 1);
}

/* ---- syncing all ---- */

/* One DISK_SYNC for each disk that needs it. A copy of the table: it may grow in its middle. */
static unsigned sync_gather(struct disk_set *s, struct disk_io **ret_ios)
{
	struct disk_io *ios;
	unsigned count, n = 0;

	env_mutex_lock(&s->lock);
	count = s->count;
	ios = xcalloc(count + 1, sizeof(*ios));
	for (unsigned i = 0; i < count; i++)
		ios[i] = (struct disk_io){.disk = s->disks[i], .op = DISK_SYNC};
	env_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < count; i++)
		if (segment_claim_sync(ios[i].disk))
			ios[n++] = ios[i];
	*ret_ios = ios;
	return n;
}

/*
 * A disk that failed with unsynced writes may be named by later calls, too, though it failed
 * before: their callers have to learn that what they wrote there is in doubt (S4).
 */
int disk_set_sync(struct disk_set *s, disk_id *ret_failed, unsigned *ret_failed_count)
{
	FREE struct disk_io *ios = NULL;
	unsigned n = sync_gather(s, &ios), failed = 0;
	int rc = disk_io_run(ios, n);

	for (unsigned i = 0; i < n; i++)
		if (ios[i].result)
			ret_failed[failed++] = ios[i].disk->id;
	*ret_failed_count = failed;
	return rc;
}
