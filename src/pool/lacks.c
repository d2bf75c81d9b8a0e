/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that was set back to an older copy of itself within one epoch shows the newest root and lacks what
 * was written since (H8). Its newest segments tell: addresses are given out in order (S1), so what the index
 * names there last must lie within its file. And what it was written before a sync of it failed, and was not
 * written anew since, may not be there: that is remembered (S5), and so is what a scrub found to be damaged (S8). Keeps P1 (what may be lacking is not counted
 * as there) and P8.
 *
 * The newest are looked at when the pool is opened, before anything is written: no locks. The others, which a disk
 * loses otherwise (a file that is missing), afterwards, in the background: change_lock.
 */
#include "base/probe.h"
#include "base/words.h"
#include "meta/schema_scrub.h"
#include "pool/internal.h"

#define WHOLE_ENOUGH 4u /* segments in a row that lack nothing: older ones were there before them */

/*
 * The record that the index names last in the disk's segments up to this one. DFS_ENOENT: none. One that is damaged is
 * passed over, and counted: those before it tell what they can.
 */
static int newest_named(struct pool *p, disk_id id, uint32_t segment, struct rec_bydisk *ret,
			unsigned *damaged)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	const size_t prefix = 1 + sizeof(uint32_t); /* the table and the disk */
	int err = DFS_ENOENT;
	BUF key = {0};

	key_bydisk(&key, id, segment, UINT32_MAX);
	meta_iter_seek_back(it, key.data, key.len);
	for (; err && meta_iter_valid(it); meta_iter_prev(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);

		if (klen < prefix || memcmp(k, key.data, prefix) != 0)
			break;
		err = parse_bydisk(k, klen, v, vlen, ret) ? DFS_ENOENT : 0;
		*damaged += err != 0;
	}
	if (err && meta_iter_error(it))
		err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

static void tell(struct disk *d, const struct lacks_found *f)
{
	struct disk_info info = disk_info(d);

	if (f->damaged)
		log_error(
			"%u %s of what disk %u (%s) holds %s damaged in the index: whether it has what "
			"they name is not known before it is read; run dynamicfs fsck",
			f->damaged, plural(f->damaged, "record", "records"), info.id.v, info.label,
			plural(f->damaged, "is", "are"));
	if (!f->count)
		return;
	PROBE("disk-lacks-what-it-had");
	log_error(
		"disk %u (%s) at %s lacks what was stored there: in %u %s it has less than "
		"it had, in the newest, %08x, %llu of at least %llu bytes. It was set back to an "
		"older copy of itself, or has lost what was written to it; what it lacks counts as "
		"lost, is read from other disks and is written anew",
		info.id.v, info.label, info.path, f->count, plural(f->count, "segment", "segments"),
		f->newest.segment, (unsigned long long)f->size,
		(unsigned long long)f->newest.offset + f->newest.record_len);
}

/* Is that still so? What is freed meanwhile goes from the index before it goes from the disk. */
static bool still_named(struct pool *p, disk_id id, const struct rec_bydisk *by)
{
	struct rec_bydisk again;
	unsigned damaged = 0;

	return newest_named(p, id, by->segment, &again, &damaged) == 0 &&
	       again.segment == by->segment && again.offset == by->offset;
}

/*
 * Looks at the newest segment up to this one that the index names, and notes what the disk lacks of it. DFS_ENOENT:
 * there is none. DFS_EIO and such: it can't be told; reads will tell what is wrong.
 */
static int look(struct pool *p, struct disk *d, uint32_t upto, struct lacks_found *f,
		uint32_t *ret_segment, bool *ret_lacks)
{
	disk_id id = disk_info(d).id;
	struct rec_bydisk by;
	uint64_t size = 0;
	int err = newest_named(p, id, upto, &by, &f->damaged);

	if (err)
		return err == DFS_ENOENT ? err : DFS_ECORRUPT;
	*ret_segment = by.segment;
	*ret_lacks = false;
	if (disk_lost_there(d, by.segment, by.offset, by.record_len))
		return 0; /* that is known */
	err = segment_size(d, by.segment, &size);
	if (err && err != DFS_ENOENT)
		return DFS_EIO;
	*ret_lacks = size < by.offset + (uint64_t)by.record_len && still_named(p, id, &by);
	if (!*ret_lacks)
		return 0;
	disk_note_doubt(d, &(struct disk_doubt){by.segment, (uint32_t)size, true});
	if (f->count++ == 0) {
		f->newest = by;
		f->size = size;
	}
	return 0;
}

void lacks_find(struct pool *p, struct disk *d)
{
	struct lacks_found found = {0};
	uint32_t upto = UINT32_MAX;
	unsigned whole = 0;
	bool lacks;

	while (whole < WHOLE_ENOUGH && look(p, d, upto, &found, &upto, &lacks) == 0) {
		whole = lacks ? 0 : whole + 1;
		if (upto-- == 0)
			break;
	}
	tell(d, &found);
}

/* ---- the rest of them, once the pool is open ---- */

static bool is_usable(struct disk *d) { return disk_present(d) && disk_state(d) != DISK_SUSPECT; }

/* The disk that is being looked at, or the next one. NULL: none is due. */
static struct disk *next_disk(struct pool *p)
{
	struct looks *w = &p->looks;

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		disk_id id = disk_info(d).id;

		if (w->done[id.v] || !is_usable(d))
			continue;
		if (w->disk.v != id.v) {
			w->found = (struct lacks_found){0};
			w->disk = id;
			w->upto = segment_first_own(d);
		}
		return d;
	}
	return NULL;
}

/* One segment. A disk that stops answering is looked at again when it does. */
static bool look_on(struct pool *p)
{
	struct looks *w = &p->looks;
	struct disk *d = next_disk(p);
	uint32_t segment = 0;
	int err = DFS_ENOENT;
	bool lacks;

	if (!d)
		return false;
	if (w->upto)
		err = look(p, d, w->upto - 1, &w->found, &segment, &lacks);
	if (err == DFS_EIO && !is_usable(d))
		return true;
	w->upto = err == 0 || err == DFS_EIO ? segment : 0;
	if (w->upto)
		return true;
	tell(d, &w->found);
	w->done[w->disk.v] = true;
	w->disk.v = 0;
	return true;
}

bool lacks_look(struct pool *p, uint64_t ns)
{
	uint64_t begin = env_now_ns();

	env_assert_held(&p->change_lock);
	while (look_on(p))
		if (env_now_ns() - begin >= ns)
			return false;
	return true;
}

/* ---- what is remembered (S5) ---- */

/* Calls fn for each segment of the disk that the index has a doubt about. */
static int each_doubt(struct pool *p, disk_id id,
		      void (*fn)(void *arg, disk_id id, const struct disk_doubt *doubt), void *arg)
{
	struct cursor c;

	cursor_of_disk(&c, p->meta, TABLE_DOUBT, id);
	while (cursor_next(&c)) {
		struct disk_doubt doubt = {0};

		if (cursor_doubt(&c, &doubt.segment, &doubt.from)) {
			struct reader r = reader_of(c.key + c.prefix_len, c.key_len - c.prefix_len);

			log_error("the note of what disk %u may lack is damaged; the whole segment "
				  "counts as lost until it is written anew",
				  id.v);
			doubt = (struct disk_doubt){.segment = reader_be32(&r)};
		}
		fn(arg, id, &doubt);
	}
	return cursor_close(&c, 0);
}

struct recall {
	struct disk *d;
	unsigned count;
};
struct recall_damage {
	struct pool *p;
	disk_id only; /* 0: all */
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
		"disk %u (%s) at %s may lack what was stored there: when the pool was in use before a sync failed "
		"there, or damage beyond repair was found. What it may lack, in %u %s, counts as lost, is read "
		"where it can be, and is written anew",
		info.id.v, info.label, info.path, r.count, plural(r.count, "segment", "segments"));
	return err;
}

/* Those that were made anew are somewhere else. */
static int recall_finding(void *ctx, const struct rec_finding *f)
{
	const struct recall_damage *r = ctx;

	for (unsigned i = 0; i < f->count; i++) {
		const struct scrub_issue *at = &f->issues[i];
		struct disk *d = disk_get(r->p->disks, at->disk);

		if (d && fragment_is_damaged(-(int)at->err) &&
		    (r->only.v == 0 || r->only.v == at->disk.v))
			disk_note_damage(d, at->segment, at->offset);
	}
	return 0;
}

int lacks_recall_damage(struct pool *p)
{
	return each_finding(p->meta, recall_finding, &(struct recall_damage){.p = p});
}

int pool_note_scrubbed(struct pool *p, disk_id only)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		/* of one that was not there nothing is known anew */
		if (disk_present(d) && (only.v == 0 || only.v == disk_info(d).id.v))
			disk_forget_damage(d);
	}
	return each_finding(p->meta, recall_finding, &(struct recall_damage){.p = p, .only = only});
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
