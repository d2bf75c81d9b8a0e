/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that was set back to an older copy of itself within one epoch shows the newest root and lacks what
 * was written since (H8). Its newest segments tell: addresses are given out in order (S1), so what the index
 * names there last must lie within its file. And what it was written before a sync of it failed, and was not
 * written anew since, may not be there: that is remembered (S5). Keeps P1 (what may be lacking is not counted
 * as there) and P8.
 *
 * Runs when the pool is opened, before anything is written: no locks.
 */
#include "base/probe.h"
#include "base/words.h"
#include "pool/internal.h"

#define WHOLE_ENOUGH 4u /* segments in a row that lack nothing: older ones were there before them */

/* The record that the index names last in the disk's segments up to this one. DFS_ENOENT: none. */
static int newest_named(struct pool *p, disk_id id, uint32_t segment, struct rec_bydisk *ret)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	size_t klen, vlen;
	const uint8_t *k, *v;
	BUF key = {0};
	int err = DFS_ENOENT;

	key_bydisk(&key, id, segment, UINT32_MAX);
	meta_iter_seek_back(it, key.data, key.len);
	if (meta_iter_valid(it)) {
		k = meta_iter_key(it, &klen);
		v = meta_iter_value(it, &vlen);
		if (klen && k[0] == TABLE_BYDISK)
			err = parse_bydisk(k, klen, v, vlen, ret);
		if (!err && ret->disk.v != id.v)
			err = DFS_ENOENT;
	} else if (meta_iter_error(it)) {
		err = meta_iter_error(it);
	}
	meta_iter_free(it);
	return err;
}

static void tell(struct disk *d, const struct rec_bydisk *by, uint64_t size, unsigned segments)
{
	struct disk_info info = disk_info(d);

	PROBE("disk-lacks-what-it-had");
	log_error("disk %u (%s) at %s lacks what was stored there: in %u %s it has less than "
		  "it had, in the newest, %08x, %llu of at least %llu bytes. It was set back to an "
		  "older copy of itself, or has lost what it had synced; what it lacks counts as "
		  "lost, is read from other disks and is written anew",
		  info.id.v, info.label, info.path, segments,
		  plural(segments, "segment", "segments"), by->segment, (unsigned long long)size,
		  (unsigned long long)by->offset + by->record_len);
}

void lacks_find(struct pool *p, struct disk *d)
{
	struct rec_bydisk by, newest = {0};
	unsigned whole = 0, lacking = 0;
	uint64_t size, newest_size = 0;
	uint32_t segment = UINT32_MAX;
	disk_id id = disk_info(d).id;

	while (whole < WHOLE_ENOUGH && newest_named(p, id, segment, &by) == 0) {
		int err = segment_size(d, by.segment, &size);

		if (disk_may_lack(d, by.segment, by.offset, by.record_len))
			size = UINT64_MAX; /* that is known */
		else if (err == DFS_ENOENT)
			size = 0;
		else if (err)
			break; /* reads will tell what is wrong */
		if (size >= by.offset + (uint64_t)by.record_len) {
			whole++;
		} else {
			disk_note_doubt(d, &(struct disk_doubt){by.segment, (uint32_t)size, true});
			if (lacking++ == 0) {
				newest = by;
				newest_size = size;
			}
			whole = 0;
		}
		if (by.segment == 0)
			break;
		segment = by.segment - 1;
	}
	if (lacking)
		tell(d, &newest, newest_size, lacking);
}

/* ---- what is remembered (S5) ---- */

/* Calls fn for each segment of the disk that the index has a doubt about. */
static int each_doubt(struct pool *p, disk_id id,
		      void (*fn)(void *arg, disk_id id, const struct disk_doubt *doubt), void *arg)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	int err = 0;
	BUF key = {0};

	key_doubt(&key, id, 0);
	for (meta_iter_seek(it, key.data, key.len); !err && meta_iter_valid(it);
	     meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct disk_doubt doubt = {0};
		disk_id of;

		if (klen == 0 || k[0] != TABLE_DOUBT)
			break;
		err = parse_doubt(k, klen, v, vlen, &of, &doubt.segment, &doubt.from);
		if (err || of.v != id.v)
			break;
		fn(arg, id, &doubt);
	}
	if (!err)
		err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

struct recall {
	struct disk *d;
	unsigned count;
};

static void recall_one(void *arg, disk_id id, const struct disk_doubt *doubt)
{
	struct recall *r = arg;

	(void)id;
	disk_note_doubt(r->d, doubt);
	r->count++;
}

int lacks_recall(struct pool *p, struct disk *d)
{
	struct disk_info info = disk_info(d);
	struct recall r = {.d = d};
	int err = each_doubt(p, info.id, recall_one, &r);

	if (r.count == 0)
		return err;
	PROBE("doubts-recalled");
	log_warn(
		"disk %u (%s) at %s failed when the pool was in use before, with writes that were not "
		"stored yet: what was written there then, in %u %s, counts as lost, is read "
		"from other disks where it is, and is written anew",
		info.id.v, info.label, info.path, r.count, plural(r.count, "segment", "segments"));
	return err;
}

static void forget_one(void *arg, disk_id id, const struct disk_doubt *doubt)
{
	del_doubt(arg, id, doubt->segment);
}

int lacks_forget(struct pool *p, struct disk *d)
{
	struct meta_txn *t = meta_begin(p->meta);
	uint64_t seq;
	int err = each_doubt(p, disk_info(d).id, forget_one, t);

	disk_drop_doubts(d);
	if (!err)
		return meta_commit(t, &seq);
	meta_cancel(t);
	return err;
}

int lacks_settled(struct pool *p, disk_id id, const struct disk_doubt *doubt)
{
	struct meta_txn *t;
	uint64_t seq;

	if (doubt->is_lost) /* nothing is remembered of those: they are found */
		return 0;
	t = meta_begin(p->meta);
	del_doubt(t, id, doubt->segment);
	return meta_commit(t, &seq);
}
