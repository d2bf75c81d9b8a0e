/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing: space (F4) and memory (P9) are reserved without locks; then, under the inode's lock, the
 * slots are prepared, so that nothing can fail any more, and the bytes copied. Slots that became
 * whole go to the workers at once.
 */
#include "base/metric.h"
#include "file/internal.h"

enum write_how {
	WRITE_AT,
	WRITE_APPEND,
	WRITE_PAGE /* changed through mmap, by who could write when it was mapped */
};

/* What a write of n bytes may charge at most: heap buffers double, pages are rounded, and a recycled
 * buffer counts whole. */
static uint64_t charge_bound(uint64_t off, size_t len)
{
	uint64_t slots = ((off + len - 1) >> SLOT_SHIFT) - (off >> SLOT_SHIFT) + 1;
	uint64_t bound = 2 * len + (slots + 1) * 2 * SLOT_PAGE;

	return MIN(bound, (slots + 1) * SLOT_BYTES);
}

static uint32_t part_len(uint64_t off, size_t len)
{
	return (uint32_t)MIN(len, SLOT_BYTES - (off & (SLOT_BYTES - 1)));
}

/* Removes slots that never got a byte. */
static void drop_empty(struct inode *in)
{
	for (unsigned i = in->slots.count; i-- > 0;)
		if (!in->slots.v[i]->bytes) {
			slot_free(in->fs, in->slots.v[i]);
			slot_erase(&in->slots, i);
		}
}

static int prepare(struct inode *in, uint64_t off, size_t len, uint64_t *charge)
{
	while (len) {
		uint32_t n = part_len(off, len);
		struct slot *s = slot_find(&in->slots, off >> SLOT_SHIFT);
		int rc;

		if (!s) {
			s = slot_new(off >> SLOT_SHIFT);
			slot_insert(&in->slots, s);
		}
		rc = slot_prepare(in->fs, s, (uint32_t)(off & (SLOT_BYTES - 1)), n, charge);
		if (rc)
			return rc;
		off += n;
		len -= n;
	}
	return 0;
}

static void copy_in(struct inode *in, uint64_t off, size_t len, const uint8_t *data)
{
	bool full = false;

	while (len) {
		uint32_t n = part_len(off, len);
		struct slot *s = slot_find(&in->slots, off >> SLOT_SHIFT);

		in->unsealed_bytes += slot_store(s, (uint32_t)(off & (SLOT_BYTES - 1)), data, n);
		full |= slot_is_whole(s) || s->range_count >= RECORD_MAX_PIECES;
		off += n;
		data += n;
		len -= n;
	}
	in->size = MAX(in->size, off);
	in->rec.mtime = in->rec.ctime = time_now();
	if (full) {
		int rc = seal_start(in, SEAL_FULL, 0);

		ASSERT(rc == 0); /* a whole slot is not inline: this only detaches */
	}
}

/* The room that a write has taken, and may use. */
struct write_room {
	uint64_t bytes;
	uint64_t lacking; /* so much more must be taken first: nothing has been written */
};

/*
 * What was promised of a range when room was asked for others may have written, or given up, since. What is
 * counted here is dirty as soon as the lock is dropped, and counts no more.
 */
static bool use_room(struct inode *in, uint64_t off, size_t len, struct write_room *room)
{
	uint64_t needs = len - prealloc_covered(in, off, len);

	room->lacking = needs - MIN(needs, room->bytes);
	room->bytes -= room->lacking ? 0 : needs;
	return !room->lacking;
}

static int write_locked(struct inode *in, uint64_t off, size_t len, const uint8_t *data,
			enum write_how how, struct write_room *room, uint64_t *charge)
{
	int rc;

	while (in->excl)
		env_cond_wait(&in->changed, &in->lock);
	if (in->freed)
		return DFS_ENOENT;
	if (in->error)
		return in->error; /* F3 */
	if (how != WRITE_PAGE &&
	    in->rec.flags & (how == WRITE_APPEND ? INODE_IMMUTABLE : INODE_FIXED))
		return DFS_EPERM; /* AT1 */
	if (how == WRITE_APPEND)
		off = in->size;
	if (len > DFS_FILE_MAX - off)
		return DFS_EFBIG;
	rc = off + len > in->size ? truncate_finish(in) : 0;
	if (rc == 0 && !use_room(in, off, len, room))
		return 0;
	if (rc == 0)
		rc = inline_load(in, charge);
	if (rc == 0)
		rc = prepare(in, off, len, charge);
	if (rc == 0)
		copy_in(in, off, len, data);
	else
		drop_empty(in);
	if (rc || in->list != LIST_DIRTY)
		dirty_list_update(in);
	return rc;
}

/* The reservation was a bound; what the slots really took replaces it. */
static int write_step(struct fs *fs, struct inode *in, uint64_t off, size_t len,
		      const uint8_t *data, enum write_how how, struct write_room *room)
{
	bool append = how == WRITE_APPEND;
	uint64_t bound = charge_bound(append ? 0 : off, len) + (append ? SLOT_PAGE * 2 : 0);
	uint64_t charge = 0;
	int rc = dirty_reserve(fs, bound);

	if (rc)
		return rc;
	env_mutex_lock(&in->lock);
	rc = write_locked(in, off, len, data, how, room, &charge);
	env_mutex_unlock(&in->lock);
	dirty_charge(fs, (int64_t)(charge - bound));
	return rc;
}

/* How much of it was promised to the file (F9). */
static uint64_t promised_bytes(struct inode *in, uint64_t off, size_t len, bool append)
{
	ENV_LOCKED(&in->lock);

	if (append)
		off = in->size;
	return len > DFS_FILE_MAX - off ? 0 : prealloc_covered(in, off, len);
}

/* All of it, in steps; takes what room is lacking. */
static int write_all(struct fs *fs, struct inode *in, uint64_t off, size_t len, const uint8_t *data,
		     enum write_how how, struct write_room *room)
{
	size_t done = 0;
	int rc = 0;

	while (rc == 0 && done < len) {
		size_t n = MIN(len - done, WRITE_STEP);

		rc = write_step(fs, in, off + done, n, data + done, how, room);
		if (rc == 0 && room->lacking) {
			rc = space_take(fs, room->lacking, 0);
			room->bytes += room->lacking;
		} else {
			done += n;
		}
	}
	return rc;
}

static int write_any(struct fs *fs, struct inode *in, uint64_t off, size_t len, const void *buf,
		     enum write_how how)
{
	bool append = how == WRITE_APPEND;
	struct write_room room;
	uint64_t promised;
	int rc;

	if (fs->read_only)
		return DFS_EROFS;
	if (is_dir(in))
		return DFS_EISDIR;
	if (!is_reg(in))
		return DFS_EINVAL;
	if (!append && (off > DFS_FILE_MAX || len > DFS_FILE_MAX - off))
		return DFS_EFBIG;
	if (!len)
		return 0;
	fold_throttle(fs);
	space_writing(fs, len, true);
	promised = promised_bytes(in, off, len, append);
	room = (struct write_room){.bytes = len - promised};
	rc = space_take_promised(fs, len, INDEX_EXTENT_BYTES + (len <= DFS_INLINE_MAX ? len : 0),
				 promised);
	if (rc == 0)
		rc = write_all(fs, in, off, len, buf, how, &room);
	space_writing(fs, len, false);
	metric_add(METRIC_WRITTEN, rc ? 0 : len);
	return rc;
}

int fs_write(struct fs *fs, struct inode *in, uint64_t off, size_t len, const void *buf,
	     bool append)
{
	return write_any(fs, in, off, len, buf, append ? WRITE_APPEND : WRITE_AT);
}

int fs_write_page(struct fs *fs, struct inode *in, uint64_t off, size_t len, const void *buf)
{
	return write_any(fs, in, off, len, buf, WRITE_PAGE);
}

int fs_fsync(struct fs *fs, struct inode *in, bool data_only)
{
	uint64_t seq;
	int rc = 0;

	(void)data_only;
	if (fs->read_only)
		return 0;
	if (is_reg(in))
		rc = seal_wait(in);
	if (rc)
		return rc;
	env_mutex_lock(&in->lock);
	seq = in->last_seq;
	env_mutex_unlock(&in->lock);
	if (!is_reg(in))
		seq = meta_last_seq(fs->meta);
	return meta_sync(fs->meta, seq);
}

int fs_flush(struct fs *fs, struct inode *in)
{
	(void)fs;
	ENV_LOCKED(&in->lock);
	return in->error;
}

bool fs_is_stuck(struct fs *fs)
{
	ENV_LOCKED(&fs->dirty_lock);
	return fs->stuck_err != 0;
}

int fs_sync_all(struct fs *fs)
{
	int rc, err;

	if (fs->read_only)
		return 0;
	rc = seal_everything(fs);
	err = meta_sync(fs->meta, meta_last_seq(fs->meta));
	return rc ? rc : err;
}
