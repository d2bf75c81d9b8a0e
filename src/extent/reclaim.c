/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving space back (E3, S3): the freed table names ranges whose freeing is committed; once it is
 * durable they are punched out of their segment, or the segment is unlinked when nothing in it lives.
 *
 * What is punched is not the freed record but the gap around it: from the end of the live record
 * before to the start of the live one after, as the by-disk table has them. In a quiet segment that
 * table names every live record, so a gap holds none; and gaps take along the partial blocks between
 * neighbours and the records that no transaction ever named.
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

#define SEGMENT_KEY_LEN 9 /* of a by-disk key: table, disk, segment */
#define END_MIN_BYTES KIB(128)
#define END_MAX_BYTES MIB(4)

struct reclaim {
	struct extent_store *s;
	struct meta_iter *bydisk;  /* the snapshot of step 2 */
	struct rec_freed *entries; /* chosen in step 1 */
	unsigned count, max;
	struct rec_freed from; /* where to begin */
	struct gone gone;      /* segments unlinked */
};

int bydisk_near(struct meta_iter *it, disk_id disk, uint32_t segment, uint32_t offset, int dir,
		struct rec_bydisk *ret)
{
	const uint8_t *k, *v;
	size_t klen, vlen;
	BUF key = {0};

	key_bydisk(&key, disk, segment, offset);
	if (dir > 0)
		meta_iter_seek(it, key.data, key.len);
	else
		meta_iter_seek_back(it, key.data, key.len);
	if (!meta_iter_valid(it)) {
		int err = meta_iter_error(it);

		return err ? err : DFS_ENOENT;
	}
	k = meta_iter_key(it, &klen);
	v = meta_iter_value(it, &vlen);
	if (klen < SEGMENT_KEY_LEN || memcmp(k, key.data, SEGMENT_KEY_LEN) != 0)
		return DFS_ENOENT;
	return parse_bydisk(k, klen, v, vlen, ret) ? DFS_ECORRUPT : 0;
}

static bool segment_is_dead(struct reclaim *r, disk_id disk, uint32_t segment)
{
	struct rec_bydisk by;

	return bydisk_near(r->bydisk, disk, segment, 0, 1, &by) == DFS_ENOENT;
}

/* The index contradicts itself, or can't be read, around a freed record (P10): nothing is punched there, for
 * what lives goes first, and the entry goes, for it would never be worked off. */
static void give_up(const struct rec_freed *f)
{
	log_error(
		"cannot give space back on disk %u, segment %08x at %u: the index has a damaged or "
		"overlapping record there; the space stays taken until the whole segment is free; run "
		"dynamicfs fsck",
		f->disk.v, f->segment, f->offset);
}

/* Punches the gap around one freed record. *ret_end: where it ends. */
static int punch_gap(struct reclaim *r, struct disk *d, const struct rec_freed *f,
		     uint64_t *ret_end)
{
	uint64_t from = 0, to = SEGMENT_MAX_BYTES;
	struct rec_bydisk by;
	int err = bydisk_near(r->bydisk, f->disk, f->segment, f->offset, -1, &by);

	if (err == 0)
		from = by.offset + (uint64_t)by.record_len;
	if (err == 0 || err == DFS_ENOENT)
		err = bydisk_near(r->bydisk, f->disk, f->segment, f->offset, 1, &by);
	if (err == 0)
		to = by.offset;
	if (err && err != DFS_ENOENT && err != DFS_ECORRUPT)
		return err;
	if (err == DFS_ECORRUPT || from > f->offset || f->offset + (uint64_t)f->record_len > to) {
		give_up(f);
		return 0;
	}
	err = segment_punch(d, f->segment, (uint32_t)from, (uint32_t)(to - from));
	PROBE("gap-punched");
	*ret_end = to;
	/* a filesystem that can't punch gives the space back when the segment is empty */
	return err == DFS_ENOTSUP || err == DFS_ENOENT ? 0 : err;
}

/* Do the entries from here on free at least so many bytes of this segment? */
static bool frees_enough(struct meta_iter *it, const struct rec_freed *first, uint64_t enough)
{
	uint64_t bytes = 0;

	for (; bytes < enough && meta_iter_valid(it); meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen);
		const uint8_t *v = meta_iter_value(it, &vlen);
		struct rec_freed f;

		if (klen == 0 || k[0] != TABLE_FREED || parse_freed(k, klen, v, vlen, &f) ||
		    f.disk.v != first->disk.v || f.segment != first->segment)
			break;
		bytes += f.record_len;
	}
	return bytes >= enough;
}

/*
 * The open segment can't be punched, and on a small disk it may hold all there is. So it is ended
 * before it is full when what is dead in it is worth a file of its own: the more, the more is free.
 */
static void end_open(struct meta_iter *it, struct disk *d, const struct rec_freed *f)
{
	uint64_t enough = MAX(END_MIN_BYTES, MIN(END_MAX_BYTES, disk_free_bytes(d) / 8));

	if (segment_is_open(d, f->segment) && frees_enough(it, f, enough))
		segment_close_open(d);
}

/* By order, so that it is never used again. A disk that failed by itself comes back (D7), with the next mount at the
 * latest, and still holds what was freed there. */
static bool is_given_up(struct extent_store *s, struct disk *d, disk_id id)
{
	struct rec_disk rec;

	return !d || (disk_state(d) == DISK_FAILED && get_disk(s->cfg.meta, id, &rec) == 0 &&
		      rec.state == DISK_FAILED);
}

/* Is it this entry's turn? Moves the iterator when it has to count what the segment frees. */
static bool entry_ready(struct extent_store *s, struct meta_iter *it, const struct rec_freed *f)
{
	struct disk *d = disk_get(s->cfg.disks, f->disk);

	if (is_given_up(s, d, f->disk))
		return true; /* the entry just goes */
	if (!disk_present(d) || disk_state(d) == DISK_SUSPECT)
		return false;
	if (!segment_is_quiet(d, f->segment))
		end_open(it, d, f);
	return segment_is_quiet(d, f->segment);
}

/* Step 1, from the entry on where the last round left off. */
static int choose(struct reclaim *r, struct meta_iter *it)
{
	BUF key = {0};

	key_freed(&key, r->from.disk, r->from.segment, r->from.offset);
	meta_iter_seek(it, key.data, key.len);
	while (r->count < r->max && meta_iter_valid(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen);
		const uint8_t *v = meta_iter_value(it, &vlen);
		struct rec_freed f;
		bool ready;
		int err;

		if (klen == 0 || k[0] != TABLE_FREED)
			break;
		err = parse_freed(k, klen, v, vlen, &f);
		if (err) { /* fsck's to tell; the others go on */
			meta_iter_next(it);
			continue;
		}
		/* what is not ready makes its whole segment wait, and the others go on */
		ready = entry_ready(r->s, it, &f);
		if (ready)
			r->entries[r->count++] = f;
		key_freed(&key, f.disk, f.segment, ready ? f.offset + 1 : UINT32_MAX);
		meta_iter_seek(it, key.data, key.len);
	}
	return meta_iter_error(it);
}

/* Where step 4 is: the segment it has looked at, and up to where that is punched or gone. Looking up
 * what lives costs more the more around it is dead, so it is done once for a gap. */
struct progress {
	disk_id disk;
	uint32_t segment;
	uint64_t done_to;
};

/* The first entry of a segment: it is unlinked when nothing in it lives. */
static int enter_segment(struct reclaim *r, struct disk *d, const struct rec_freed *f,
			 struct progress *at)
{
	int err;

	if (at->disk.v == f->disk.v && at->segment == f->segment)
		return 0;
	*at = (struct progress){f->disk, f->segment, 0};
	if (!segment_is_dead(r, f->disk, f->segment))
		return 0;
	err = segment_remove(d, f->segment);
	if (err && err != DFS_ENOENT) {
		*at = (struct progress){0};
		return err;
	}
	PROBE("segment-unlinked");
	numbers_gone(&r->gone, f->disk, f->segment);
	at->done_to = UINT64_MAX;
	return 0;
}

/* Step 4 for one entry; they come in order of disk, segment and offset. */
static int reclaim_one(struct reclaim *r, const struct rec_freed *f, struct progress *at)
{
	struct disk *d = disk_get(r->s->cfg.disks, f->disk);
	int err;

	if (is_given_up(r->s, d, f->disk))
		return 0;
	err = enter_segment(r, d, f, at);
	if (err || f->offset < at->done_to)
		return err;
	return punch_gap(r, d, f, &at->done_to);
}

/* Steps 4 and 5. */
static int reclaim_chosen(struct reclaim *r, unsigned *ret_done)
{
	struct meta_txn *t = meta_begin(r->s->cfg.meta);
	struct progress at = {0};
	unsigned done = 0;
	uint64_t seq;
	int err;

	for (unsigned i = 0; i < r->count; i++) {
		const struct rec_freed *f = &r->entries[i];

		err = reclaim_one(r, f, &at);
		if (err) { /* tried again in the next round */
			log_warn(
				"cannot give space back on disk %u, segment %08x at %u: %s; it is tried "
				"again",
				f->disk.v, f->segment, f->offset, dfs_err_text(err));
			continue;
		}
		del_freed(t, f->disk, f->segment, f->offset);
		done++;
	}
	if (done == 0) {
		meta_cancel(t);
		return 0;
	}
	err = numbers_commit(r->s, &r->gone, t, &seq);
	if (!err)
		*ret_done = done;
	return err;
}

/* A round that could do nothing with what it chose must not choose the same again: the next one begins
 * after it, and the one after that, when nothing follows, at the beginning. */
static void note_progress(struct reclaim *r, unsigned done)
{
	ENV_LOCKED(&r->s->reclaim_lock);
	r->s->reclaim_from = (struct rec_freed){0};
	if (r->count && !done) {
		r->s->reclaim_from = r->entries[r->count - 1];
		r->s->reclaim_from.offset++;
	}
}

int extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done)
{
	FREE struct rec_freed *entries = xcalloc(max, sizeof(*entries));
	struct reclaim r = {.s = s, .entries = entries, .max = max};
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	int err;

	env_mutex_lock(&s->reclaim_lock);
	r.from = s->reclaim_from;
	env_mutex_unlock(&s->reclaim_lock);
	err = choose(&r, it);
	meta_iter_free(it);
	*ret_done = 0;
	if (err || r.count == 0) {
		note_progress(&r, 0);
		return err;
	}
	r.bydisk = meta_iter_new(s->cfg.meta);			  /* step 2 */
	err = meta_sync(s->cfg.meta, meta_last_seq(s->cfg.meta)); /* step 3 */
	if (!err) {
		err = reclaim_chosen(&r, ret_done);
		note_progress(&r, *ret_done);
	}
	meta_iter_free(r.bydisk);
	return err;
}
