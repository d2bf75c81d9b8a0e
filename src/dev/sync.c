/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Syncing a disk's segments: what was written becomes durable (S2, the ground of P1), or the disk is
 * given up (S4).
 *
 * S2: a write that finishes takes the next number of written_seq and marks its segment dirty. A sync
 * notes written_seq, takes the dirty marks off, syncs those files, and only then sets synced_seq to
 * what it noted. A caller goes home when synced_seq has reached what written_seq was when it came,
 * so it waits also for a sync begun by another that holds its segment's mark; one sync runs at a
 * time on a disk, and those who wait share the next.
 *
 * Lock: disk.lock, never held while the device works.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/probe.h"
#include "dev/disk_internal.h"

/*
 * A disk lost with unsynced writes goes on being named as long as somebody may still publish such a
 * write, and once more after the last of them was settled: so the sync that covers that publication
 * names it, and a disk lost long ago is not held against what was written since.
 */
bool segment_claim_sync(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	if (d->synced_seq >= d->written_seq || d->loss_told)
		return false;
	if (disk_usable(d) && HASH_COUNT(d->flights) == 0)
		d->loss_told = true;
	return true;
}

/* Takes what is dirty; lock held. */
static void take_dirty(struct disk *d, struct sync_job *j)
{
	struct segment *seg;

	env_assert_held(&d->lock);
	j->is_ours = true;
	j->target = d->written_seq;
	j->names = d->names_dirty;
	j->root = d->root_dirty;
	j->segs = xcalloc(d->dirty_count + 1, sizeof(*j->segs));
	d->is_syncing = true;
	d->names_dirty = d->root_dirty = false;
	while ((seg = TAILQ_FIRST(&d->dirty))) {
		TAILQ_REMOVE(&d->dirty, seg, dirty_link);
		seg->is_dirty = false;
		seg->refs++;
		j->segs[j->count++] = seg;
	}
	d->dirty_count = 0;
}

/* All at once: whatever order the disk takes them in, nothing counts before all are done. */
static void start_calls(struct disk *d, struct sync_job *j)
{
	j->calls = xcalloc(j->count + 2, sizeof(*j->calls));
	if (j->root)
		j->calls[j->name_calls++] =
			(struct dev_call){.op = DEV_CALL_SYNC_DIR, .dev = d->dev, .name = ""};
	if (j->names)
		j->calls[j->name_calls++] = (struct dev_call){
			.op = DEV_CALL_SYNC_DIR, .dev = d->dev, .name = SEGMENT_DIR};
	for (unsigned i = 0; i < j->count; i++)
		j->calls[j->name_calls + i] = (struct dev_call){.op = DEV_CALL_SYNC,
								.file = j->segs[i]->file};
	for (unsigned i = 0; i < j->name_calls + j->count; i++)
		dev_start(&j->calls[i]);
}

static int end_segment(struct disk *d, struct segment *seg, struct dev_call *call)
{
	int rc = dev_finish(call);

	if (rc) {
		/* one that we unlinked ourselves meanwhile holds nothing that anybody needs */
		env_mutex_lock(&d->lock);
		if (seg->is_removed)
			rc = 0;
		env_mutex_unlock(&d->lock);
	}
	if (rc) {
		PROBE("disk-failed-by-sync");
		disk_fail_by(d, rc == DFS_EGONE ? DISK_GONE : DISK_SYNC_FAILED);
		disk_report(d, rc, "syncing segment %08" PRIx32 ": %s", seg->number,
			    dfs_err_text(rc));
	}
	return rc;
}

static int end_names(struct disk *d, struct sync_job *j)
{
	int rc = 0;

	for (unsigned i = 0; i < j->name_calls; i++) {
		int err = dev_finish(&j->calls[i]);

		rc = rc ? rc : err;
	}
	if (rc == DFS_ENOENT)
		rc = DFS_EGONE;
	if (rc) {
		disk_fail_by(d, rc == DFS_EGONE ? DISK_GONE : DISK_SYNC_FAILED);
		disk_report(d, rc, "syncing the segment directory: %s", dfs_err_text(rc));
	}
	return rc;
}

/* Every segment is waited for, so that every doubtful one is reported (S4), the disk failed already. */
static int end_calls(struct disk *d, struct sync_job *j)
{
	int rc = end_names(d, j);

	for (unsigned i = 0; i < j->count; i++) {
		int err = end_segment(d, j->segs[i], &j->calls[j->name_calls + i]);

		rc = rc ? rc : err;
	}
	atomic_fetch_add(&d->counters.syncs, 1);
	if (rc)
		atomic_fetch_add(&d->counters.write_errors, 1);
	return rc;
}

/* Does anybody have to sync for what was written up to wanted, and nobody does? Lock held. */
static bool sync_is_due(struct disk *d, uint64_t wanted)
{
	return d->synced_seq < wanted && !d->sync_error && !disk_usable(d) && !d->is_syncing;
}

void segment_sync_begin(struct disk *d, struct sync_job *j)
{
	*j = (struct sync_job){0};
	env_mutex_lock(&d->lock);
	j->wanted = d->written_seq;
	if (sync_is_due(d, j->wanted))
		take_dirty(d, j);
	env_mutex_unlock(&d->lock);
	if (j->is_ours)
		start_calls(d, j);
}

static struct doubt *doubt_find(struct disk *d, uint32_t segment, bool is_lost)
{
	const uint64_t key = (uint64_t)segment << 1 | is_lost;
	struct doubt *found;

	env_assert_held(&d->lock);
	HASH_FIND(hh, d->doubts, &key, sizeof(key), found);
	return found;
}

/* A segment has a note of either kind, for they begin at different places, and each is settled by itself. One that says
 * more widens the note of its kind. */
static void doubt(struct disk *d, const struct disk_doubt *what, bool is_remembered)
{
	struct doubt *note = doubt_find(d, what->segment, what->is_lost);

	if (d->is_given_up || (note && note->what.from <= what->from))
		return;
	if (!note) {
		note = xcalloc(1, sizeof(*note));
		note->key = (uint64_t)what->segment << 1 | what->is_lost;
		HASH_ADD(hh, d->doubts, key, sizeof(note->key), note);
		atomic_fetch_add(&d->doubt_count, 1);
		atomic_fetch_add(&d->lost_count, what->is_lost);
	}
	note->what = *what;
	note->is_remembered = is_remembered;
}

void segment_sync_end(struct disk *d, struct sync_job *j)
{
	int rc;

	if (!j->is_ours)
		return;
	rc = end_calls(d, j);
	env_mutex_lock(&d->lock);
	if (!rc)
		d->synced_seq = j->target;
	else
		d->sync_error = rc;
	if (rc == DFS_ETIMEDOUT)
		PROBE("disk-failed-by-silence");
	for (unsigned i = 0; rc && i < j->count; i++)
		doubt(d, &(struct disk_doubt){.segment = j->segs[i]->number}, false);
	for (unsigned i = 0; i < j->count; i++) {
		struct dev_file *file = segment_put_locked(d, j->segs[i]);

		if (!file)
			continue;
		env_mutex_unlock(&d->lock);
		dev_close(file);
		env_mutex_lock(&d->lock);
	}
	free(j->segs);
	free(j->calls);
	d->is_syncing = false;
	env_cond_broadcast(&d->changed);
	env_mutex_unlock(&d->lock);
}

int segment_sync_wait(struct disk *d, uint64_t wanted)
{
	ENV_LOCKED(&d->lock);

	while (d->synced_seq < wanted) {
		struct sync_job j;

		if (d->sync_error)
			return d->sync_error;
		if (disk_usable(d))
			return DFS_EGONE;
		if (d->is_syncing) {
			env_cond_wait(&d->changed, &d->lock);
			continue;
		}
		env_mutex_unlock(&d->lock);
		segment_sync_begin(d, &j);
		segment_sync_end(d, &j);
		env_mutex_lock(&d->lock);
	}
	return 0;
}

bool disk_in_doubt(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return d->sync_error != 0;
}

/* ---- coming back ---- */

bool disk_failed_silent(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return disk_state(d) == DISK_FAILED && d->sync_error == DFS_ETIMEDOUT;
}

static bool may_return_locked(struct disk *d)
{
	struct disk_health h = disk_health(d);

	env_assert_held(&d->lock);
	if (h.state != DISK_FAILED)
		return false;
	return h.event == DISK_GONE || (h.event == DISK_SYNC_FAILED && d->sync_error != 0);
}

bool disk_may_return(struct disk *d)
{
	ENV_LOCKED(&d->lock);

	return may_return_locked(d);
}

/* Lock held. What was written after the sync that failed had begun: that is in doubt, too. */
static void doubt_dirty(struct disk *d)
{
	struct segment *seg;

	while ((seg = TAILQ_FIRST(&d->dirty))) {
		struct dev_file *file;

		doubt(d, &(struct disk_doubt){.segment = seg->number}, false);
		TAILQ_REMOVE(&d->dirty, seg, dirty_link);
		seg->is_dirty = false;
		d->dirty_count--;
		seg->refs++;
		file = segment_put_locked(d, seg);
		env_mutex_unlock(&d->lock);
		dev_close(file);
		env_mutex_lock(&d->lock);
	}
}

/* Nobody can reserve there while it is failed, so without a record in flight none can come. */
static bool may_return(struct disk *d)
{
	return may_return_locked(d) && !d->is_syncing && !d->creating && !d->is_allocating &&
	       HASH_COUNT(d->flights) == 0;
}

/* Its old files are not written any more: whether the kernel has told of what went wrong with them is not
 * known, and it tells that once. */
static int return_locked(struct disk *d)
{
	env_assert_held(&d->lock);
	if (!may_return(d))
		return DFS_EBUSY;
	segment_replace_open(d, NULL);
	doubt_dirty(d);
	if (!may_return(d))
		return DFS_EBUSY;
	d->synced_seq = d->written_seq;
	d->names_dirty = true;
	d->root_dirty = true;
	d->space_asked_ns = 0;
	d->sync_error = 0;
	d->loss_told = false;
	atomic_store(&d->health,
		     health_word(disk_well(d, (struct disk_health){DISK_HEALTHY, DISK_PROVED})));
	return 0;
}

int disk_return(struct disk *d)
{
	uint32_t next = 0;
	int rc;

	env_mutex_lock(&d->lock);
	rc = return_locked(d);
	if (!rc && d->next) {
		next = d->next->number;
		d->next = NULL;
	}
	env_mutex_unlock(&d->lock);
	if (next)
		(void)!segment_remove(d, next); /* empty: else the next mount removes it */
	return rc;
}

bool disk_doubtful(struct disk *d, struct disk_doubt *ret_doubt)
{
	ENV_LOCKED(&d->lock);

	if (!d->doubts || disk_state(d) == DISK_FAILED)
		return false;
	*ret_doubt = d->doubts->what;
	return true;
}

unsigned disk_doubts(struct disk *d)
{
	return disk_state(d) == DISK_FAILED ? 0 : atomic_load(&d->doubt_count);
}

void disk_doubt_worked_off(struct disk *d, const struct disk_doubt *what, bool settled)
{
	ENV_LOCKED(&d->lock);
	struct doubt *found = doubt_find(d, what->segment, what->is_lost);

	if (!found)
		return;
	HASH_DEL(d->doubts, found);
	if (!settled) { /* behind the others */
		HASH_ADD(hh, d->doubts, key, sizeof(found->key), found);
		return;
	}
	atomic_fetch_sub(&d->doubt_count, 1);
	atomic_fetch_sub(&d->lost_count, found->what.is_lost);
	free(found);
}

void doubts_release(struct disk *d)
{
	struct doubt *at, *next;

	HASH_ITER(hh, d->doubts, at, next) {
		HASH_DEL(d->doubts, at);
		free(at);
	}
}

void disk_drop_doubts(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	doubts_release(d);
	damage_release(d);
	d->is_given_up = true;
	atomic_store(&d->doubt_count, 0);
	atomic_store(&d->lost_count, 0);
}

/* ---- remembering them ---- */

unsigned disk_new_doubts(struct disk *d, uint32_t *ret_segments, unsigned max)
{
	struct doubt *at, *next;
	struct segment *seg;
	unsigned count = 0;
	ENV_LOCKED(&d->lock);

	/* what was written after the sync that failed had begun; nobody syncs it any more */
	if (d->sync_error || disk_usable(d))
		TAILQ_FOREACH(seg, &d->dirty, dirty_link)
			doubt(d, &(struct disk_doubt){.segment = seg->number}, false);
	HASH_ITER(hh, d->doubts, at, next)
		if (!at->is_remembered && count < max)
			ret_segments[count++] = at->what.segment;
	return count;
}

void disk_doubt_remembered(struct disk *d, uint32_t segment)
{
	ENV_LOCKED(&d->lock);
	struct doubt *found = doubt_find(d, segment, false);

	if (found)
		found->is_remembered = true;
}

/* ---- what a disk lacks ---- */

void disk_note_doubt(struct disk *d, const struct disk_doubt *what)
{
	ENV_LOCKED(&d->lock);
	doubt(d, what, true);
}

unsigned disk_lost_segments(struct disk *d) { return atomic_load(&d->lost_count); }

static bool is_noted(struct disk *d, uint32_t segment, bool is_lost, uint64_t end)
{
	const struct doubt *found = doubt_find(d, segment, is_lost);

	return found && end > found->what.from;
}

bool disk_may_lack(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len)
{
	if (atomic_load(&d->doubt_count) == 0)
		return false;
	const uint64_t end = offset + (uint64_t)record_len;
	ENV_LOCKED(&d->lock);
	return is_noted(d, segment, false, end) || is_noted(d, segment, true, end);
}

static struct found_damage *damage_find(struct disk *d, uint32_t segment, uint32_t offset)
{
	const uint64_t key = (uint64_t)segment << 32 | offset;
	struct found_damage *found;

	env_assert_held(&d->lock);
	HASH_FIND(hh, d->damage, &key, sizeof(key), found);
	return found;
}

void disk_note_damage(struct disk *d, uint32_t segment, uint32_t offset)
{
	struct found_damage *note;
	ENV_LOCKED(&d->lock);

	if (d->is_given_up || damage_find(d, segment, offset))
		return;
	note = xcalloc(1, sizeof(*note));
	note->key = (uint64_t)segment << 32 | offset;
	HASH_ADD(hh, d->damage, key, sizeof(note->key), note);
	atomic_fetch_add(&d->damage_count, 1);
}

void damage_release(struct disk *d)
{
	struct found_damage *at, *next;

	HASH_ITER(hh, d->damage, at, next) {
		HASH_DEL(d->damage, at);
		free(at);
	}
	atomic_store(&d->damage_count, 0);
}

bool disk_damaged(struct disk *d) { return atomic_load(&d->damage_count) > 0; }

void disk_forget_damage(struct disk *d)
{
	ENV_LOCKED(&d->lock);
	damage_release(d);
}

bool disk_is_sure(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len)
{
	if (disk_may_lack(d, segment, offset, record_len))
		return false;
	if (atomic_load(&d->damage_count) == 0)
		return true;
	ENV_LOCKED(&d->lock);
	return !damage_find(d, segment, offset);
}

bool disk_lost_there(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len)
{
	if (atomic_load(&d->lost_count) == 0)
		return false;
	ENV_LOCKED(&d->lock);
	return is_noted(d, segment, true, offset + (uint64_t)record_len);
}

#define READS_NOTHING 256u

bool disk_reads_nothing(struct disk *d)
{
	return d && atomic_load(&d->unread_in_a_row) >= READS_NOTHING;
}
