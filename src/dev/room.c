/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk has room for (P6). Free space is told so that ENOSPC comes before the filesystem below is
 * full: the filesystem's word, less what was taken since it was asked, less a reserve and what metadata
 * will need.
 *
 * That word is no promise: Btrfs counts chunks that data can't have, and shows what was allocated only after
 * a commit (dev/dir.c makes it commit); XFS lends space to files that grow; quotas and other users of the
 * filesystem show late or nowhere. So the open segment is allocated ahead, records are given out only on
 * allocated ground, and disk_hold_bytes() tells what is sure. What the filesystem refuses to allocate though
 * it calls it free is remembered for a while (refused_bytes). Where it can't allocate, its word has to do.
 *
 *  A1 Every record given out lies on allocated ground, where the filesystem can allocate.
 *  A2 Allocation ahead leaves the reserve and keep_bytes on the filesystem, and what is another's there: the pool
 *     directory's (C5), other disks'. keep_bytes are allocated, too: a file without bytes holds them, which is emptied while metadata is written.
 *  A3 What was allocated and not used is given back when its segment is left, when the pool closes, or
 *     at the mount after a crash.
 *  A4 A write to allocated ground takes no space (segment.c: overwritten in place).
 *  A5 Ground that accepted data was promised (disk_hold_bytes) is neither given back for metadata's sake nor
 *     refused to records, whatever metadata lacks.
 *
 * Lock: disk.lock, never held while the device works.
 */
#include <inttypes.h>

#include <stdio.h>

#include "dev/disk_internal.h"

#define SPACE_MAX_AGE_NS 1000000000ull
#define REFUSED_HALF_NS 10000000000ull
#define STEP_MIN_BYTES MIB(1)
#define STEP_MAX_BYTES MIB(64)
#define STEP_OF_DISK 64u
#define SEGMENTS_OF_DISK                                                                           \
	64u /* where holes can't be punched, at least: what is mostly dead is copied whole */
#define SEGMENT_MIN_BYTES MIB(2)
#define RECORD_MAX_BYTES (MIB(1) + KIB(8)) /* what may not fit any more at a segment's end */

static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/* ---- the filesystem's word ---- */

/* That it could not be told says nothing any more once the disk answers again. */
static bool answer_void(struct disk *d) { return d->space_failed && disk_takes_data(d); }

/* What an answer counts is what was taken before its question began. Who asks in vain gets the answer to an earlier
 * question, and what is not known to be in it goes on counting as taken: so it is remembered when it was asked. */
static void note_question(struct disk *d, uint64_t now)
{
	if (d->question_count < QUESTIONS_MAX)
		d->questions[d->question_count++] = (struct room_question){now, d->taken};
}

/* taken: when it was asked; lock held. */
static void note_answer(struct disk *d, int rc, const struct dev_space *space, uint64_t now,
			const struct room_taken *taken)
{
	uint64_t began = rc || !space->is_old ? now : space->asked_ns;
	unsigned n = 0;

	d->space_asked_ns = now ? now : 1;
	if (began < d->known_ns)
		return; /* a later one has come meanwhile */
	d->known_ns = began;
	while (n < d->question_count && d->questions[n].ns < began)
		d->known = d->questions[n++].taken;
	if (began == now) {
		d->known = *taken;
		n = d->question_count;
	}
	d->question_count -= n;
	memmove(d->questions, d->questions + n, d->question_count * sizeof(d->questions[0]));
	d->space_failed = rc;
	if (!rc)
		d->space = *space;
	else
		d->space.free_bytes = 0; /* nothing new goes where even that can't be told */
}

void disk_refresh_space(struct disk *d)
{
	uint64_t now = env_now_ns();
	struct room_taken taken;
	struct dev_space space;
	int rc;

	env_assert_held(&d->lock);
	while ((d->is_asking && !d->space_asked_ns) ||
	       ((d->is_asking || d->is_allocating) && answer_void(d)))
		env_cond_wait(&d->changed, &d->lock);
	if (disk_usable(d) || d->is_asking || d->is_allocating)
		return; /* the old answer will do, less what was taken since */
	if (d->space_asked_ns && now - d->space_asked_ns < SPACE_MAX_AGE_NS && !answer_void(d))
		return;
	d->is_asking = true;
	taken = d->taken;
	note_question(d, now);
	env_mutex_unlock(&d->lock);
	rc = dev_space(d->dev, &space);
	if (rc)
		disk_report(d, rc, "asking for free space: %s", dfs_err_text(rc));
	env_mutex_lock(&d->lock);
	d->is_asking = false;
	note_answer(d, rc, &space, now, &taken);
	if (d->space.free_bytes > d->refused_free + room_step(d))
		d->refused_bytes = 0; /* something was given back */
	if (d->refused_bytes && now - d->refused_ns > REFUSED_HALF_NS) {
		d->refused_bytes = d->refused_bytes < MIB(1) ? 0 : d->refused_bytes / 2;
		d->refused_ns = now;
	}
	env_cond_broadcast(&d->changed);
}

static uint64_t total_locked(struct disk *d)
{
	uint64_t cap = d->info.capacity_bytes;

	return cap ? MIN(cap, d->space.total_bytes) : d->space.total_bytes;
}

uint64_t disk_reserve_of(uint64_t total_bytes)
{
	return MIN(MIB(32), MAX(total_bytes / 128, MIN(MIB(1), total_bytes / 16)));
}

/* What records leave of what is below: the reserve, and what metadata will need and has not yet. */
static uint64_t left_locked(struct disk *d)
{
	return disk_reserve_of(total_locked(d)) + minus(d->keep_bytes, d->kept_bytes);
}

/* And what others leave of it for records. */
static uint64_t share_locked(struct disk *d)
{
	return minus(d->share_bytes, minus(d->keep_bytes, d->kept_bytes));
}

/* What the filesystem still has. */
static uint64_t below_locked(struct disk *d)
{
	return minus(d->space.free_bytes, d->refused_bytes + d->unwritten_bytes + d->taken.written -
						  d->known.written + d->taken.allocated -
						  d->known.allocated);
}

/* What is allocated and not given out: sure. */
static uint64_t sure_locked(struct disk *d)
{
	uint64_t bytes = d->next ? d->next->allocated : 0;

	if (d->open && d->open->allocated > d->open_used)
		bytes += d->open->allocated - d->open_used;
	return bytes;
}

/* And what is on its way: off what is below already, or not yet back there. What goes to metadata is kept from
 * records by keep_bytes until it has arrived. */
static uint64_t ahead_locked(struct disk *d)
{
	return sure_locked(d) + d->moving_bytes + d->returning_bytes;
}

struct disk_room disk_room_when_new(const struct dev_space *space, uint64_t capacity_bytes)
{
	uint64_t cap = capacity_bytes ? capacity_bytes : UINT64_MAX;

	return (struct disk_room){
		.fs_id = space->fs_id,
		.total_bytes = space->total_bytes,
		.free_bytes = space->free_bytes,
		.limit_bytes = cap,
		.reserve_bytes = disk_reserve_of(MIN(space->total_bytes, cap)),
	};
}

/* What counts against the capacity that the user allows. */
static uint64_t taken_locked(const struct disk *d)
{
	return d->used_bytes + d->dead_bytes + d->in_flight_bytes;
}

uint64_t disk_free_locked(struct disk *d)
{
	uint64_t cap = d->info.capacity_bytes, room;

	env_assert_held(&d->lock);
	if (disk_usable(d))
		return 0;
	room = minus(ahead_locked(d) + minus(below_locked(d), disk_reserve_of(total_locked(d))),
		     minus(d->keep_bytes, d->kept_bytes));
	if (cap)
		room = MIN(room, minus(cap, taken_locked(d) + d->keep_bytes +
						    disk_reserve_of(total_locked(d))));
	return room;
}

struct disk_room disk_room(struct disk *d)
{
	uint64_t cap = d->info.capacity_bytes;
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	return (struct disk_room){
		.fs_id = d->space.fs_id,
		.total_bytes = d->space.total_bytes,
		.free_bytes = d->space.free_bytes,
		.taken_bytes = minus(d->space.free_bytes, below_locked(d)),
		.ahead_bytes = ahead_locked(d),
		.kept_bytes = d->kept_bytes,
		.limit_bytes = cap ? minus(cap, taken_locked(d)) : UINT64_MAX,
		.reserve_bytes = disk_reserve_of(total_locked(d)),
		.apart_bytes = disk_cannot_punch(d) ? room_segment_bytes(d) : 0,
	};
}

uint64_t disk_free_bytes(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	return disk_free_locked(d);
}

uint64_t disk_sure_bytes(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return disk_usable(d) || d->no_allocate ? 0 : sure_locked(d);
}

uint64_t disk_total_bytes(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	return total_locked(d);
}

void disk_set_used_bytes(struct disk *d, uint64_t used_bytes)
{
	ENV_LOCKED(&d->lock);

	d->used_bytes = used_bytes;
}

void disk_set_dead_bytes(struct disk *d, uint64_t dead_bytes)
{
	ENV_LOCKED(&d->lock);

	d->dead_bytes = dead_bytes;
}

uint64_t disk_dead_bytes(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return d->dead_bytes;
}

void disk_set_keep_bytes(struct disk *d, uint64_t keep_bytes)
{
	ENV_LOCKED(&d->lock);

	d->keep_bytes = keep_bytes;
}

void disk_ask_anew(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	d->space_asked_ns = 0;
}

void disk_set_share_bytes(struct disk *d, uint64_t share_bytes)
{
	ENV_LOCKED(&d->lock);

	d->share_bytes = share_bytes;
}

uint32_t room_segment_bytes(struct disk *d)
{
	env_assert_held(&d->lock);
	if (!disk_cannot_punch(d))
		return SEGMENT_MAX_BYTES;
	return (uint32_t)ALIGN_DOWN(MIN(MAX(total_locked(d) / SEGMENTS_OF_DISK, SEGMENT_MIN_BYTES),
					SEGMENT_MAX_BYTES),
				    SEGMENT_ALIGN);
}

uint32_t room_segment_limit(struct disk *d, const struct segment *seg)
{
	return MAX(room_segment_bytes(d), seg->allocated);
}

uint32_t disk_segment_bytes(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return room_segment_bytes(d);
}

/* ---- allocating ahead ---- */

uint32_t room_step(struct disk *d)
{
	uint64_t step = total_locked(d) / STEP_OF_DISK;

	return (uint32_t)ALIGN_UP(MIN(MAX(step, STEP_MIN_BYTES), STEP_MAX_BYTES), KIB(64));
}

bool room_is_held(const struct disk *d, uint32_t len)
{
	return d->no_allocate || d->open_used + (uint64_t)len <= d->open->allocated;
}

bool room_is_sure(struct disk *d, uint32_t len)
{
	uint64_t cap = d->info.capacity_bytes;

	if (d->no_allocate ||
	    (cap && taken_locked(d) + len + disk_reserve_of(total_locked(d)) > cap))
		return false;
	if (d->open && d->open_used + (uint64_t)len <= room_segment_limit(d, d->open))
		return d->open_used + (uint64_t)len <= d->open->allocated;
	return d->next && len <= d->next->allocated;
}

/* What A2 leaves for records, asked anew: a refusal shows that what was known is wrong. */
static uint64_t ask_beyond(struct disk *d, uint64_t left_bytes)
{
	struct dev_space space;

	return dev_space_now(d->dev, &space) ? 0 : minus(space.free_bytes, left_bytes);
}

/* Tries less and less, and leaves left_bytes once the filesystem has refused. *ret_to: how far it came. */
static int allocate_some(struct disk *d, struct dev_file *file, uint32_t from, uint32_t least,
			 uint32_t want, uint64_t left_bytes, uint32_t *ret_to)
{
	for (uint32_t to = want;;) {
		int rc = to > from ? dev_allocate(file, from, to - from) : DFS_ENOSPC;

		if (rc != DFS_ENOSPC || to == least) {
			*ret_to = rc ? from : to;
			return rc;
		}
		to = least + (to - least) / 2;
		to = (uint32_t)MIN(to, from + ask_beyond(d, left_bytes));
		*ret_to = from;
		if (to < least)
			return DFS_ENOSPC;
		if (to - least < KIB(64))
			to = least;
	}
}

/* What was known may be wrong, so it is asked anew; what is free even so is not to be had. is_allocating is ours, lock held. */
static void note_refusal(struct disk *d)
{
	struct room_taken taken = d->taken;
	uint64_t now = env_now_ns();
	struct dev_space space;
	int rc;

	env_mutex_unlock(&d->lock);
	rc = dev_space_now(d->dev, &space);
	env_mutex_lock(&d->lock);
	if (!rc)
		note_answer(d, 0, &space, now, &taken);
	d->refused_bytes += below_locked(d);
	d->refused_free = d->space.free_bytes;
	d->refused_ns = env_now_ns();
}

int room_extend(struct disk *d, struct segment *seg, uint32_t least, uint32_t want)
{
	uint32_t from = seg->allocated, to = from, most, limit = room_segment_limit(d, seg);
	struct dev_file *file;
	uint64_t left, beyond;
	int rc;

	env_assert_held(&d->lock);
	ASSERT(least >= from && least <= SEGMENT_MAX_BYTES);
	if (d->is_allocating) {
		env_cond_wait(&d->changed, &d->lock);
		return 0;
	}
	/* A2 */
	left = left_locked(d);
	beyond = MIN(minus(below_locked(d), left), share_locked(d));
	most = (uint32_t)MIN(from + MIN(beyond, limit), limit);
	want = MAX(MIN(MIN(want, limit), most), least);
	d->is_allocating = true;
	d->taken.allocated += want - from;
	d->share_bytes = minus(d->share_bytes, want - from);
	d->moving_bytes = want - from;
	seg->refs++;
	env_mutex_unlock(&d->lock);
	rc = allocate_some(d, seg->file, from, least, want, left, &to);
	if (rc && rc != DFS_ENOSPC && rc != DFS_ENOTSUP)
		disk_report(d, rc, "allocating space for segment %08" PRIx32 ": %s", seg->number,
			    dfs_err_text(rc));
	env_mutex_lock(&d->lock);
	d->taken.allocated -= want - to;
	seg->allocated = to;
	d->moving_bytes = 0;
	if (rc == DFS_ENOTSUP) {
		d->no_allocate = true;
		rc = 0;
	} else if (rc == DFS_ENOSPC || (!rc && to < want)) {
		note_refusal(d);
	}
	d->is_allocating = false;
	file = segment_put_locked(d, seg);
	env_cond_broadcast(&d->changed);
	if (file) {
		env_mutex_unlock(&d->lock);
		dev_close(file);
		env_mutex_lock(&d->lock);
	}
	return rc;
}

/* What is sure: at the end of a segment that can't grow a record may not fit any more. */
static uint64_t held_locked(struct disk *d)
{
	uint64_t bytes = sure_locked(d);

	if (d->open && d->open->allocated >= room_segment_bytes(d))
		bytes -= MIN(minus(d->open->allocated, d->open_used), RECORD_MAX_BYTES);
	return MIN(bytes, disk_free_locked(d));
}

/* One more allocation, of the open segment or the next. *ret_again: there may be more to have. */
static int hold_more(struct disk *d, uint64_t missing, bool *ret_again)
{
	struct segment *seg = d->open;
	uint32_t least, want, limit = room_segment_bytes(d);

	*ret_again = true;
	if (!seg || seg->allocated >= limit)
		seg = d->next;
	if (!seg && d->creating) {
		env_cond_wait(&d->changed, &d->lock);
		return 0;
	}
	if (!seg)
		return segment_make(d, true);
	least = MAX(seg->allocated, seg == d->open ? d->open_used : 0);
	*ret_again = least < limit;
	if (!*ret_again)
		return 0;
	least = (uint32_t)MIN(least + KIB(64), limit);
	want = (uint32_t)MIN(least + missing + room_step(d), limit);
	return room_extend(d, seg, least, want);
}

uint64_t disk_hold_bytes(struct disk *d, uint64_t bytes, uint64_t accepted_bytes)
{
	bool again = true;
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	d->hold_bytes = MAX(bytes, accepted_bytes);
	while (again && disk_takes_data(d)) {
		uint64_t held = held_locked(d), free_bytes = disk_free_locked(d);

		if (d->no_allocate)
			return free_bytes;
		/* a little that is free and can't be held is no reason to try for ever */
		if (held >= bytes || held + KIB(64) >= free_bytes)
			return held;
		if (hold_more(d, bytes - held, &again))
			break;
	}
	return disk_takes_data(d) ? held_locked(d) : 0;
}

bool disk_reads_media(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	return !d->space.cached_only;
}

/* ---- for metadata ---- */

/* Takes the right to allocate; lock held. */
static void allocating_begin(struct disk *d)
{
	while (d->is_allocating)
		env_cond_wait(&d->changed, &d->lock);
	d->is_allocating = true;
}

static void allocating_end(struct disk *d)
{
	d->is_allocating = false;
	d->moving_bytes = 0;
	d->space_asked_ns = 0; /* what the filesystem has is another now */
	env_cond_broadcast(&d->changed);
}

/* Cuts off what is allocated and not given out, but for what accepted data was promised of it (A1).
 * is_allocating is ours, lock held. */
static void give_back(struct disk *d)
{
	struct segment *segs[] = {d->next, d->open};
	uint64_t open_ahead = d->open ? minus(d->open->allocated, d->open_used) : 0;
	uint32_t used[] = {(uint32_t)MIN(minus(d->hold_bytes, open_ahead), SEGMENT_MAX_BYTES),
			   d->open_used + (uint32_t)MIN(open_ahead, d->hold_bytes)};

	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++) {
		struct segment *seg = segs[i];

		segs[i] = seg && seg->allocated > used[i] ? seg : NULL;
		if (!segs[i])
			continue;
		d->moving_bytes += seg->allocated - used[i];
		seg->allocated = used[i]; /* nothing is given out beyond until it is extended */
		seg->refs++;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(segs); i++) {
		struct dev_file *file;

		if (!segs[i])
			continue;
		env_mutex_unlock(&d->lock);
		(void)!dev_truncate(segs[i]->file, used[i]); /* else when the segment is left */
		env_mutex_lock(&d->lock);
		file = segment_put_locked(d, segs[i]);
		env_mutex_unlock(&d->lock);
		dev_close(file);
		env_mutex_lock(&d->lock);
	}
}

static int keep_resize(struct disk *d, uint64_t from, uint64_t to)
{
	int rc = 0;

	if (!d->kept_file)
		rc = dev_open(d->dev, DISK_KEPT_NAME, DEV_CREATE, &d->kept_file);
	if (!rc && (from > to || from == 0)) {
		rc = dev_truncate(d->kept_file, 0);
		from = 0;
	}
	return rc || to == from ? rc : dev_allocate(d->kept_file, from, to - from);
}

/* is_allocating is ours, lock held, let go meanwhile. */
static void keep_set(struct disk *d, uint64_t to)
{
	uint64_t from = d->kept_bytes, grown = minus(to, from);
	int rc;

	d->taken.allocated +=
		grown; /* or it would count twice until the filesystem is asked again */
	d->share_bytes = minus(d->share_bytes, grown);
	d->moving_bytes += grown;
	env_mutex_unlock(&d->lock);
	rc = keep_resize(d, from, to);
	if (rc && rc != DFS_ENOSPC && rc != DFS_ENOTSUP)
		disk_report(d, rc, "setting space aside for metadata: %s", dfs_err_text(rc));
	env_mutex_lock(&d->lock);
	d->moving_bytes -= grown;
	if (rc) {
		d->taken.allocated -= grown;
		d->no_allocate |= rc == DFS_ENOTSUP;
	}
	if (!rc)
		d->kept_bytes = to;
	else if (from > to)
		d->kept_bytes = 0;
}

/* ---- inodes for metadata ---- */

#define KEPT_FILES 24u	/* more than the tables that one checkpoint writes */
#define FEW_FILES 1024u /* while more can be created nobody takes them all between two looks */

static void kept_name(unsigned n, char name[sizeof(DISK_KEPT_NAME) + 12])
{
	snprintf(name, sizeof(DISK_KEPT_NAME) + 12, DISK_KEPT_NAME "-%02u", n);
}

static void kept_files_remove(struct dev *dev)
{
	char name[sizeof(DISK_KEPT_NAME) + 12];
	int rc = 0;

	for (unsigned n = 0; n < KEPT_FILES && !rc; n++) {
		kept_name(n, name);
		rc = dev_remove(dev, name);
	}
}

void disk_kept_remove(struct dev *dev)
{
	(void)!dev_remove(dev, DISK_KEPT_NAME);
	kept_files_remove(dev);
}

/* is_allocating is ours, lock held, let go meanwhile. */
static void make_files(struct disk *d, unsigned want)
{
	unsigned n = d->kept_files;
	int rc = 0;

	env_mutex_unlock(&d->lock);
	while (n < want && !rc) {
		char name[sizeof(DISK_KEPT_NAME) + 12];
		struct dev_file *f = NULL;

		kept_name(n, name);
		rc = dev_open(d->dev, name, DEV_CREATE, &f);
		if (!rc)
			n++;
		dev_close(f);
	}
	if (rc && rc != DFS_ENOSPC)
		disk_report(d, rc, "setting inodes aside for metadata: %s", dfs_err_text(rc));
	env_mutex_lock(&d->lock);
	d->kept_files = n;
}

static unsigned files_wanted(uint64_t files) { return (unsigned)MIN(KEPT_FILES, files / 8); }

bool disk_lacks_inodes(struct disk *d, const struct dev_space *space)
{
	unsigned want = files_wanted(space->files);
	ENV_LOCKED(&d->lock);

	/* those that are lent to tables for a moment are none for others */
	return space->files && space->free_files <= want - MIN(want, d->kept_files);
}

static void hold_files(struct disk *d)
{
	unsigned want = files_wanted(d->space.files);

	if (d->is_lent || d->space.free_files > FEW_FILES || d->kept_files >= want)
		return;
	allocating_begin(d);
	if (!d->is_lent)
		make_files(d, want);
	allocating_end(d);
}

/* ---- both ---- */

void disk_hold_keep(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	disk_refresh_space(d);
	if (disk_takes_data(d))
		hold_files(d);
	if (!disk_takes_data(d) || d->no_allocate || d->is_lent)
		return;
	/* a little too much is left alone: the need changes with each look */
	if (d->kept_bytes >= d->keep_bytes &&
	    d->kept_bytes <= d->keep_bytes + d->keep_bytes / 4 + MIB(1))
		return;
	allocating_begin(d);
	if (below_locked(d) < left_locked(d))
		give_back(d);
	if (!d->is_lent)
		keep_set(d, d->keep_bytes + MIN(d->keep_bytes / 8, share_locked(d)));
	allocating_end(d);
}

void disk_lend_keep(struct disk *d, bool is_lent)
{
	ENV_LOCKED(&d->lock);

	d->is_lent = is_lent;
	d->space_asked_ns = 0; /* tables were written meanwhile */
	if (!is_lent || disk_usable(d))
		return;
	allocating_begin(d);
	if (d->kept_bytes)
		keep_set(d, 0);
	if (d->kept_files) {
		d->kept_files = 0;
		env_mutex_unlock(&d->lock);
		kept_files_remove(d->dev);
		env_mutex_lock(&d->lock);
	}
	allocating_end(d);
}

void room_release(struct disk *d)
{
	dev_close(d->kept_file);
	d->kept_file = NULL;
	d->kept_bytes = 0;
}
