/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: append-only files that fragment records are written to. Gives out byte ranges (S1) on
 * ground that room.c has allocated (A1), guards what is in flight (S3); sync.c makes it durable (S2, S4). Knows nothing of what a record
 * holds.
 *
 * Lock: disk.lock, never held while the device works.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "dev/disk_internal.h"

#define NAME_LEN (sizeof(SEGMENT_DIR) + 1 + 8)
#define CREATE_TRIES 64

static void name_format(uint32_t number, char name[NAME_LEN])
{
	(void)snprintf(name, NAME_LEN, SEGMENT_DIR "/%08" PRIx32, number);
}

/* Exactly eight lower-case hexadecimal digits. */
static bool name_parse(const char *name, uint32_t *ret_number)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 8; i++) {
		char c = name[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint32_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret_number = v;
	return name[8] == '\0';
}

/* ---- the table of segments in memory ---- */

static struct segment *find(struct disk *d, uint32_t number)
{
	struct segment *seg;

	env_assert_held(&d->lock);
	HASH_FIND(hh, d->segments, &number, sizeof(number), seg);
	return seg;
}

/* Finds or makes the entry, and takes a reference. */
static struct segment *entry_get(struct disk *d, uint32_t number)
{
	struct segment *seg = find(d, number);

	if (!seg) {
		seg = xcalloc(1, sizeof(*seg));
		seg->number = number;
		HASH_ADD(hh, d->segments, number, sizeof(seg->number), seg);
	}
	if (seg->is_idle) {
		TAILQ_REMOVE(&d->idle, seg, idle_link);
		d->idle_count--;
		seg->is_idle = false;
	}
	seg->refs++;
	return seg;
}

/* Takes the entry out; its file is the caller's to close, without the lock. */
static struct dev_file *entry_drop(struct disk *d, struct segment *seg)
{
	struct dev_file *file = seg->file;

	HASH_DEL(d->segments, seg);
	free(seg);
	return file;
}

/*
 * Something let go of the entry. If nothing needs it any more, it goes to the idle ones, or away.
 * Returns a file for the caller to close without the lock, or NULL.
 */
static struct dev_file *entry_rest(struct disk *d, struct segment *seg)
{
	env_assert_held(&d->lock);
	if (seg->refs || seg->in_flight || seg->is_dirty || seg == d->open || seg == d->next ||
	    seg->is_idle)
		return NULL;
	if (!seg->file || seg->is_removed)
		return entry_drop(d, seg);
	TAILQ_INSERT_TAIL(&d->idle, seg, idle_link);
	seg->is_idle = true;
	if (++d->idle_count <= d->idle_max)
		return NULL;
	seg = TAILQ_FIRST(&d->idle);
	TAILQ_REMOVE(&d->idle, seg, idle_link);
	d->idle_count--;
	return entry_drop(d, seg);
}

struct dev_file *segment_put_locked(struct disk *d, struct segment *seg)
{
	ASSERT(seg->refs > 0);
	seg->refs--;
	return entry_rest(d, seg);
}

static void segment_put(struct disk *d, struct segment *seg)
{
	struct dev_file *file;

	env_mutex_lock(&d->lock);
	file = segment_put_locked(d, seg);
	env_mutex_unlock(&d->lock);
	dev_close(file);
}

/* On a filesystem that has become read-only, reading goes on. */
static int file_open(struct disk *d, uint32_t number, struct dev_file **ret_file)
{
	char name[NAME_LEN];
	int rc;

	name_format(number, name);
	rc = dev_open(d->dev, name, 0, ret_file);
	if (rc == DFS_EROFS || rc == DFS_EACCES)
		rc = dev_open(d->dev, name, DEV_RDONLY, ret_file);
	return rc;
}

/* The entry, with a reference. *ret_open: its file is open. */
static int segment_ref(struct disk *d, uint32_t number, struct segment **ret_seg, bool *ret_open)
{
	ENV_LOCKED(&d->lock);
	struct segment *seg = entry_get(d, number);

	if (seg->is_removed) {
		struct dev_file *none = segment_put_locked(d, seg);

		ASSERT(!none); /* who removes it has a reference */
		return DFS_ENOENT;
	}
	*ret_seg = seg;
	*ret_open = seg->file != NULL;
	return 0;
}

/* Its file has been opened, or could not be: then the reference goes. */
static int segment_opened(struct disk *d, struct segment *seg, int rc, struct dev_file *file)
{
	struct dev_file *spare = NULL;

	env_mutex_lock(&d->lock);
	if (rc)
		spare = segment_put_locked(d, seg);
	else if (!seg->file)
		seg->file = file;
	else
		spare = file; /* another was quicker */
	env_mutex_unlock(&d->lock);
	dev_close(spare);
	return rc;
}

/* The entry with its file open, and a reference, to be given back by segment_put(). */
static int segment_get(struct disk *d, uint32_t number, struct segment **ret_seg)
{
	struct dev_file *file = NULL;
	struct segment *seg;
	bool is_open;
	int rc = segment_ref(d, number, &seg, &is_open);

	if (rc)
		return rc;
	if (!is_open) {
		rc = file_open(d, number, &file);
		rc = segment_opened(d, seg, rc, file);
	}
	if (!rc)
		*ret_seg = seg;
	return rc;
}

/* ---- opening and closing ---- */

static int note_number(void *ctx, uint32_t number, uint64_t size_bytes)
{
	struct disk *d = ctx;

	(void)size_bytes;
	if (number >= d->next_number)
		d->next_number = number == UINT32_MAX ? number : number + 1;
	for (unsigned i = 0; i < SEGMENT_LAST_SEEN; i++) {
		uint32_t lower = d->last_seen[i];

		if (number <= lower)
			continue;
		d->last_seen[i] = number;
		number = lower;
	}
	return 0;
}

struct list_ctx {
	int (*fn)(void *ctx, uint32_t segment, uint64_t size_bytes);
	void *ctx;
};

static int list_one(void *ctx, const char *name, uint64_t size_bytes)
{
	struct list_ctx *l = ctx;
	uint32_t number;

	return name_parse(name, &number) ? l->fn(l->ctx, number, size_bytes) : 0;
}

static int list_dir(struct disk *d, int (*fn)(void *, uint32_t, uint64_t), void *ctx)
{
	struct list_ctx l = {fn, ctx};

	return dev_list(d->dev, SEGMENT_DIR, list_one, &l);
}

int segment_init(struct disk *d, uint32_t first_segment)
{
	int rc;

	d->next_number = MAX(first_segment, 1u);
	if (!d->dev)
		return 0;
	rc = list_dir(d, note_number, d);
	d->first_own = d->next_number;
	d->has_dir = rc == 0;
	return rc == DFS_ENOENT ? 0 : rc; /* a new disk: the first segment makes the directory */
}

void segment_release_all(struct disk *d)
{
	struct segment *seg, *next_seg;
	struct flight *fl, *next_fl;

	HASH_ITER(hh, d->flights, fl, next_fl) {
		HASH_DEL(d->flights, fl);
		free(fl);
	}
	HASH_ITER(hh, d->segments, seg, next_seg) {
		ASSERT(seg->refs == 0);
		dev_close(entry_drop(d, seg));
	}
}

int segment_list(struct disk *d, int (*fn)(void *ctx, uint32_t segment, uint64_t size_bytes),
		 void *ctx)
{
	int rc = disk_usable(d);
	bool has_dir;

	if (rc)
		return rc;
	env_mutex_lock(&d->lock);
	has_dir = d->has_dir;
	env_mutex_unlock(&d->lock);
	rc = list_dir(d, fn, ctx);
	if (rc != DFS_ENOENT)
		return rc;
	return has_dir ? DFS_EGONE : 0; /* gone behind our back, or never made */
}

/* ---- reserving ---- */

/* There is more room than was told last: somebody may be waiting for it, so it is asked for anew. */
static void space_grew(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	d->space_asked_ns = 0;
}

static void note_punch(struct disk *d, int rc)
{
	if (rc == DFS_ENOTSUP)
		atomic_store(&d->punch, PUNCH_CANNOT);
	else if (!rc && atomic_load(&d->punch) == PUNCH_UNKNOWN)
		atomic_store(&d->punch, PUNCH_CAN);
}

/* Behind all that is ever given out, so that nothing changes where it can. */
static void ask_punch(struct disk *d, struct dev_file *file)
{
	if (atomic_load(&d->punch) == PUNCH_UNKNOWN)
		note_punch(d, dev_punch(file, SEGMENT_MAX_BYTES, SEGMENT_ALIGN));
}

/* A directory that was there and is no more means that the disk has been emptied. */
static int file_create(struct disk *d, uint32_t number, bool has_dir, struct dev_file **ret_file)
{
	char name[NAME_LEN];
	int rc;

	name_format(number, name);
	rc = has_dir ? 0 : dev_mkdir(d->dev, SEGMENT_DIR);
	if (!rc)
		rc = dev_open(d->dev, name, DEV_CREATE | DEV_EXCL | DEV_IN_PLACE, ret_file);
	return rc == DFS_ENOENT ? DFS_EGONE : rc;
}

/*
 * Another segment, or none, takes the records from now on. What is allocated of the old one beyond its
 * last record is given back (A3): cutting it off there is safe beside writes that are still in flight.
 * Lock held, let go meanwhile.
 */
void segment_replace_open(struct disk *d, struct segment *seg)
{
	struct segment *old;
	struct dev_file *file;
	uint32_t used, unused;
	bool was_next = seg && d->next == seg;

	while (d->is_allocating)
		env_cond_wait(&d->changed, &d->lock);
	if (was_next && d->next != seg)
		return; /* somebody else has taken it up meanwhile, and has records there (S1) */
	old = d->open;
	used = d->open_used;
	d->open = seg;
	d->open_used = 0;
	if (d->next == seg)
		d->next = NULL;
	if (!old)
		return;
	old->refs++;
	unused = old->allocated > used ? old->allocated - used : 0;
	d->returning += unused > 0;
	d->returning_bytes += unused;
	env_mutex_unlock(&d->lock);
	/* what can't be given back now goes with the segment, or at the next mount */
	if (unused && dev_truncate(old->file, used) == 0)
		space_grew(d);
	env_mutex_lock(&d->lock);
	d->returning -= unused > 0;
	d->returning_bytes -= unused;
	env_cond_broadcast(&d->changed);
	file = segment_put_locked(d, old);
	env_mutex_unlock(&d->lock);
	dev_close(file);
	env_mutex_lock(&d->lock);
}

int segment_make(struct disk *d, bool as_next)
{
	struct dev_file *file = NULL;
	uint32_t number = 0;
	int rc = DFS_EEXIST;

	/* S1: a number is used up even when the file can't be made; a foreign file is passed over */
	for (int i = 0; rc == DFS_EEXIST && i < CREATE_TRIES; i++) {
		bool has_dir = d->has_dir;

		if (d->next_number == UINT32_MAX) {
			rc = DFS_ENOSPC;
			break;
		}
		number = d->creating = d->next_number++;
		env_mutex_unlock(&d->lock);
		rc = file_create(d, number, has_dir, &file);
		if (!rc)
			ask_punch(d, file);
		env_mutex_lock(&d->lock);
	}
	if (!rc) {
		struct segment *seg = entry_get(d, number);

		ASSERT(!seg->file);
		seg->file = file;
		seg->refs--; /* being the open or the next one holds it */
		d->root_dirty |= !d->has_dir;
		d->has_dir = d->names_dirty = true;
		if (as_next && !d->next)
			d->next = seg;
		else
			segment_replace_open(d, seg);
	}
	d->creating = 0;
	env_cond_broadcast(&d->changed);
	if (rc) {
		env_mutex_unlock(&d->lock);
		disk_report(d, rc, "making a segment: %s", dfs_err_text(rc));
		env_mutex_lock(&d->lock);
	}
	return rc;
}

static struct segment_addr take(struct disk *d, uint32_t len)
{
	struct segment_addr addr = {d->open->number, d->open_used};
	struct flight *fl = xcalloc(1, sizeof(*fl));

	fl->key = (uint64_t)addr.segment << 32 | addr.offset;
	fl->len = len;
	fl->is_held = !d->no_allocate;
	HASH_ADD(hh, d->flights, key, sizeof(fl->key), fl);
	d->open_used += len;
	d->open->in_flight++;
	d->in_flight_bytes += len;
	d->unwritten_bytes += fl->is_held ? 0 : len;
	return addr;
}

int segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr)
{
	ENV_LOCKED(&d->lock);

	if (len == 0 || len > SEGMENT_MAX_BYTES)
		return DFS_EINVAL;
	len = (uint32_t)ALIGN_UP(len, SEGMENT_ALIGN);
	disk_refresh_space(d);
	for (;;) {
		int rc = disk_usable(d);

		if (rc)
			return rc;
		if (!disk_takes_data(d))
			return DFS_EROFS;
		if (d->returning) { /* what was accepted may count on it */
			PROBE("room-on-its-way-back");
			env_cond_wait(&d->changed, &d->lock);
			disk_refresh_space(d);
			continue;
		}
		if (disk_free_locked(d) < len && !room_is_sure(d, len))
			return DFS_ENOSPC;
		if (d->open && d->open_used + len <= room_segment_limit(d, d->open)) {
			if (room_is_held(d, len))
				break;
			rc = room_extend(d, d->open, d->open_used + len,
					 d->open_used + len + room_step(d));
		} else if (d->next) {
			segment_replace_open(d, d->next);
		} else if (d->creating) {
			env_cond_wait(&d->changed, &d->lock);
		} else {
			rc = segment_make(d, false);
		}
		if (rc)
			return rc;
	}
	*ret_addr = take(d, len);
	return 0;
}

static struct flight *flight_find(struct disk *d, struct segment_addr addr)
{
	uint64_t key = (uint64_t)addr.segment << 32 | addr.offset;
	struct flight *fl;

	env_assert_held(&d->lock);
	HASH_FIND(hh, d->flights, &key, sizeof(key), fl);
	return fl;
}

void segment_settle(struct disk *d, struct segment_addr addr)
{
	struct dev_file *file;
	struct segment *seg;
	struct flight *fl;

	env_mutex_lock(&d->lock);
	fl = flight_find(d, addr);
	seg = find(d, addr.segment);
	ASSERT(fl && seg && seg->in_flight > 0);
	d->in_flight_bytes -= fl->len;
	if (!fl->written && !fl->is_held)
		d->unwritten_bytes -= fl->len;
	HASH_DEL(d->flights, fl);
	free(fl);
	seg->in_flight--;
	file = entry_rest(d, seg);
	env_mutex_unlock(&d->lock);
	dev_close(file);
}

void segment_close_open(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	segment_replace_open(d, NULL);
}

void disk_let_go(struct disk *d)
{
	uint32_t number = 0;

	segment_close_open(d);
	disk_lend_keep(d, true);
	if (!disk_usable(d))
		disk_kept_remove(d->dev); /* empty: nothing is lost if they stay */
	env_mutex_lock(&d->lock);
	if (d->next) {
		number = d->next->number;
		d->next = NULL;
	}
	env_mutex_unlock(&d->lock);
	if (number && segment_remove(d, number))
		log_info("segment %08" PRIx32 " of disk %u stays, empty: the next mount removes it",
			 number, d->id.v);
}

int segment_named(struct disk *d, uint32_t number)
{
	struct dev_file *file;
	char name[NAME_LEN];
	int rc = disk_usable(d);

	if (rc)
		return rc;
	name_format(number, name);
	rc = dev_open(d->dev, name, DEV_RDONLY, &file);
	if (!rc)
		dev_close(file);
	return rc;
}

int segment_size(struct disk *d, uint32_t number, uint64_t *ret_bytes)
{
	struct segment *seg;
	int rc = disk_usable(d);

	if (!rc)
		rc = segment_get(d, number, &seg);
	if (rc)
		return rc;
	rc = dev_size(seg->file, ret_bytes);
	segment_put(d, seg);
	return rc;
}

/* One that a crash left: without bytes nothing can have been published of it. */
static int tidy_one(struct disk *d, uint32_t number)
{
	struct segment *seg;
	uint64_t size = 0;
	int rc = segment_get(d, number, &seg);

	if (rc)
		return rc;
	rc = dev_size(seg->file, &size);
	if (!rc)
		ask_punch(d, seg->file);
	if (!rc && size)
		rc = dev_truncate(seg->file, size);
	segment_put(d, seg);
	return rc || size ? rc : segment_remove(d, number);
}

void disk_tidy(struct disk *d)
{
	for (unsigned i = 0; i < SEGMENT_LAST_SEEN && !disk_usable(d); i++) {
		int rc = d->last_seen[i] ? tidy_one(d, d->last_seen[i]) : 0;

		if (rc && rc != DFS_ENOENT && rc != DFS_EROFS)
			log_info("cannot give back what was allocated for segment %08" PRIx32
				 " of disk %u: %s; it goes with the segment",
				 d->last_seen[i], d->id.v, dfs_err_text(rc));
	}
}

/* ---- reading and writing ---- */

static void read_start(const struct disk_io *io, struct segment_io *s)
{
	s->call = (struct dev_call){.op = DEV_CALL_READ,
				    .file = s->seg->file,
				    .buf = io->iov->iov_base,
				    .len = io->iov->iov_len,
				    .off = io->addr.offset,
				    .flags = io->flags,
				    .can_spare = io->can_spare};
	dev_start(&s->call);
}

void segment_read_begin(const struct disk_io *io, struct segment_io *s)
{
	struct disk *d = io->disk;
	char name[NAME_LEN];
	bool is_open;

	ASSERT(io->iovcnt == 1);
	*s = (struct segment_io){.rc = disk_usable(d)};
	if (s->rc)
		return;
	s->rc = segment_ref(d, io->addr.segment, &s->seg, &is_open);
	if (s->rc)
		return;
	if (is_open) {
		read_start(io, s);
		return;
	}
	name_format(io->addr.segment, name);
	s->is_opening = true;
	s->call = (struct dev_call){
		.op = DEV_CALL_OPEN, .dev = d->dev, .name = name, .can_spare = io->can_spare};
	dev_start(&s->call);
}

void segment_read_go_on(const struct disk_io *io, struct segment_io *s)
{
	struct dev_file *file;
	int rc;

	if (!s->seg || !s->is_opening)
		return;
	s->is_opening = false;
	rc = dev_finish(&s->call);
	file = s->call.opened;
	if (rc == DFS_EROFS || rc == DFS_EACCES)
		rc = file_open(io->disk, io->addr.segment, &file);
	s->rc = segment_opened(io->disk, s->seg, rc, file);
	if (s->rc)
		s->seg = NULL;
	else
		read_start(io, s);
}

int segment_read_end(const struct disk_io *io, struct segment_io *s)
{
	struct disk *d = io->disk;
	int rc = s->rc, usable = disk_usable(d);

	ASSERT(!s->is_opening);
	if (s->seg) {
		rc = dev_finish(&s->call);
		if (!rc && s->call.got < io->iov->iov_len)
			rc = DFS_ECORRUPT; /* the record is torn off */
		segment_put(d, s->seg);
		if (!rc)
			atomic_fetch_add(&d->counters.read_bytes, s->call.got);
	} else if (usable) {
		return usable; /* known: no news */
	}
	atomic_fetch_add(&d->counters.reads, 1);
	if (!rc)
		atomic_store(&d->unread_in_a_row, 0);
	else if (rc == DFS_EIO)
		atomic_fetch_add(&d->unread_in_a_row, 1);
	if (rc && rc != DFS_ELATE) { /* which is no error: somebody else will find out */
		atomic_fetch_add(&d->counters.read_errors, 1);
		/* what was just written and can't be read back is a write that failed */
		(io->flags & DEV_READ_MEDIA && !io->is_old ? disk_report : disk_report_read)(
			d, rc, "reading segment %08" PRIx32 " at %" PRIu32 ": %s", io->addr.segment,
			io->addr.offset, dfs_err_text(rc));
	}
	return rc;
}

/* The run's writes are in the file: they wait for a sync (S2), and no longer for their space. */
static void note_written(struct disk *d, struct segment *seg, const struct disk_io *run)
{
	env_assert_held(&d->lock);
	for (; run; run = run->next) {
		struct flight *fl = flight_find(d, run->addr);

		if (fl && !fl->written) {
			fl->written = true;
			d->unwritten_bytes -= fl->is_held ? 0 : fl->len;
			d->taken.written += fl->is_held ? 0 : fl->len;
		}
	}
	d->written_seq++;
	if (!seg->is_dirty) {
		seg->is_dirty = true;
		TAILQ_INSERT_TAIL(&d->dirty, seg, dirty_link);
		d->dirty_count++;
	}
}

static void report_write(struct disk *d, struct segment_addr addr, int err)
{
	if (err != DFS_ENOSPC) /* a full filesystem is no fault of the disk */
		atomic_fetch_add(&d->counters.write_errors, 1);
	disk_report(d, err, "writing segment %08" PRIx32 " at %" PRIu32 ": %s", addr.segment,
		    addr.offset, dfs_err_text(err));
}

void segment_write_begin(const struct disk_io *run, struct segment_io *s)
{
	struct disk *d = run->disk;
	struct iovec window[RUN_IOV_MAX];
	const struct iovec *iov = run->iov;
	int count = run->iovcnt;

	*s = (struct segment_io){.rc = disk_usable(d)};
	if (s->rc)
		return;
	if (run->next) {
		count = 0;
		for (const struct disk_io *io = run; io; io = io->next) {
			ASSERT(count + io->iovcnt <= RUN_IOV_MAX);
			memcpy(window + count, io->iov, (size_t)io->iovcnt * sizeof(*window));
			count += io->iovcnt;
		}
		iov = window;
	}
	for (int i = 0; i < count; i++)
		s->bytes += iov[i].iov_len;
	env_mutex_lock(&d->lock);
	s->seg = find(d, run->addr.segment);
	/* S1: only what was reserved is written */
	ASSERT(s->seg && s->seg->file && s->seg->in_flight > 0);
	s->seg->refs++;
	env_mutex_unlock(&d->lock);
	s->call = (struct dev_call){.op = DEV_CALL_WRITE,
				    .file = s->seg->file,
				    .iov = iov,
				    .iovcnt = count,
				    .off = run->addr.offset};
	dev_start(&s->call);
}

int segment_write_end(const struct disk_io *run, struct segment_io *s)
{
	struct disk *d = run->disk;
	struct dev_file *file;
	int rc;

	if (!s->seg)
		return s->rc;
	rc = dev_finish(&s->call);
	env_mutex_lock(&d->lock);
	if (!rc)
		note_written(d, s->seg, run);
	else if (rc == DFS_ENOSPC)
		PROBE("disk-filled-by-others");
	if (rc == DFS_ENOSPC)
		d->space.free_bytes = 0; /* until the filesystem is asked again */
	file = segment_put_locked(d, s->seg);
	env_mutex_unlock(&d->lock);
	dev_close(file);
	atomic_fetch_add(&d->counters.writes, 1);
	if (!rc)
		atomic_fetch_add(&d->counters.write_bytes, s->bytes);
	else if (!run->next)
		report_write(d, run->addr, rc);
	return rc;
}

void segment_prefetch(struct disk *d, struct segment_addr addr, uint32_t len)
{
	struct segment *seg;

	if (disk_usable(d) || segment_get(d, addr.segment, &seg))
		return; /* a hint: the read itself will tell what is wrong */
	dev_prefetch(seg->file, addr.offset, len);
	segment_put(d, seg);
}

/* ---- giving space back ---- */

static bool quiet(struct disk *d, uint32_t number)
{
	struct segment *seg = find(d, number);

	if (number == 0 || number >= d->next_number || number == d->creating)
		return false;
	return !seg ||
	       (seg != d->open && seg != d->next && seg->in_flight == 0 && !seg->is_removed);
}

bool segment_is_quiet(struct disk *d, uint32_t segment)
{
	ENV_LOCKED(&d->lock);

	return quiet(d, segment);
}

bool segment_is_open(struct disk *d, uint32_t segment)
{
	ENV_LOCKED(&d->lock);

	return d->open && d->open->number == segment;
}

uint32_t segment_first_own(struct disk *d) { return d->first_own; }
bool disk_cannot_punch(const struct disk *d) { return atomic_load(&d->punch) == PUNCH_CANNOT; }

/* len 0: to its end, which then is at off. */
static int give_back(struct disk *d, uint32_t segment, uint32_t off, uint32_t len)
{
	struct segment *seg;
	int rc = disk_usable(d);

	if (rc)
		return rc;
	if (!segment_is_quiet(d, segment)) /* once quiet, always quiet */
		return DFS_EBUSY;
	rc = segment_get(d, segment, &seg);
	if (rc)
		return rc;
	rc = len ? dev_punch(seg->file, off, len) : dev_truncate(seg->file, off);
	segment_put(d, seg);
	if (len)
		note_punch(d, rc);
	if (!rc)
		space_grew(d);
	if (rc && rc != DFS_ENOTSUP)
		disk_report(d, rc, "%s segment %08" PRIx32 " at %" PRIu32 ": %s",
			    len ? "punching" : "cutting", segment, off, dfs_err_text(rc));
	return rc;
}

int segment_punch(struct disk *d, uint32_t segment, uint32_t off, uint32_t len)
{
	return len ? give_back(d, segment, off, len) : 0;
}

int segment_cut(struct disk *d, uint32_t segment, uint32_t size)
{
	return give_back(d, segment, size, 0);
}

int segment_remove(struct disk *d, uint32_t segment)
{
	struct dev_file *file;
	struct segment *seg;
	char name[NAME_LEN];
	int rc = disk_usable(d);

	if (rc)
		return rc;
	env_mutex_lock(&d->lock);
	if (!quiet(d, segment)) {
		env_mutex_unlock(&d->lock);
		return DFS_EBUSY;
	}
	seg = entry_get(d, segment);
	seg->is_removed = true;
	if (seg->is_dirty) { /* nobody needs its bytes any more */
		TAILQ_REMOVE(&d->dirty, seg, dirty_link);
		seg->is_dirty = false;
		d->dirty_count--;
	}
	env_mutex_unlock(&d->lock);
	name_format(segment, name);
	rc = dev_remove(d->dev, name);
	env_mutex_lock(&d->lock);
	seg->is_removed = rc == 0;
	file = segment_put_locked(d, seg);
	env_mutex_unlock(&d->lock);
	dev_close(file);
	if (!rc)
		space_grew(d);
	if (rc)
		disk_report(d, rc, "removing segment %08" PRIx32 ": %s", segment, dfs_err_text(rc));
	return rc;
}
