/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What crashes leave: records that no transaction named, in segments of earlier mounts that reclaim never
 * comes to, since nothing beside them is freed. A segment without a live record is unlinked, and what lies
 * behind the last one is cut off (G1, G2, G4 of docs/DESIGN.md). Who calls this knows that the index is whole (G3).
 */
#include <stdlib.h>

#include "base/probe.h"
#include "extent/internal.h"

#define LOOKUPS_MAX 1024u
#define CHANGES_MAX 64u

struct found { /* a segment with something to give back */
	uint32_t number;
	uint32_t keep; /* where its last live record ends; 0: there is none */
	uint32_t bytes;
};

struct listing {
	struct extent_sweep *w;
	uint32_t first_own;
	unsigned cap;
};

static int note_segment(void *ctx, uint32_t number, uint64_t size_bytes)
{
	struct listing *l = ctx;
	struct extent_sweep *w = l->w;

	if (number == 0 || number >= l->first_own)
		return 0;
	if (w->count == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		w->segments = xrealloc(w->segments, l->cap * sizeof(*w->segments));
	}
	w->segments[w->count++] = (struct sweep_segment){number,
							 (uint32_t)MIN(size_bytes, UINT32_MAX)};
	return 0;
}

/* In order, so that look-ups go through the index once. */
static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct sweep_segment *)a)->number;
	uint32_t y = ((const struct sweep_segment *)b)->number;

	return (x > y) - (x < y);
}

int extent_sweep_begin(struct disk *d, struct extent_sweep *w)
{
	struct listing l = {.w = w, .first_own = segment_first_own(d)};
	int err;

	extent_sweep_end(w);
	err = segment_list(d, note_segment, &l);
	if (err)
		extent_sweep_end(w);
	else if (w->count)
		qsort(w->segments, w->count, sizeof(*w->segments), by_number);
	return err;
}

void extent_sweep_end(struct extent_sweep *w)
{
	free(w->segments);
	*w = (struct extent_sweep){0};
}

/* *ret_keep: where the last live record of the segment ends. One that is damaged may be of any length. */
static int last_live(struct meta_iter *it, disk_id disk, uint32_t segment, uint32_t *ret_keep)
{
	struct rec_bydisk by;
	int err = bydisk_near(it, disk, segment, UINT32_MAX, -1, &by);

	if (err == 0)
		*ret_keep = (uint32_t)MIN(by.offset + (uint64_t)by.record_len, UINT32_MAX);
	else if (err == DFS_ENOENT)
		*ret_keep = 0;
	else if (err == DFS_ECORRUPT)
		*ret_keep = UINT32_MAX;
	else
		return err;
	return 0;
}

/* Looks segments up until enough are found, or looked at. */
static int look_up(struct extent_store *s, disk_id disk, struct extent_sweep *w,
		   struct found *ret_found, unsigned *ret_count)
{
	struct meta_iter *it = meta_iter_new(s->cfg.meta);
	unsigned end = MIN(w->count, w->at + LOOKUPS_MAX), count = 0;
	int err = 0;

	for (; w->at < end && count < CHANGES_MAX; w->at++) {
		const struct sweep_segment *seg = &w->segments[w->at];
		uint32_t keep;

		err = last_live(it, disk, seg->number, &keep);
		if (err)
			break;
		if (keep == 0 || keep < seg->bytes)
			ret_found[count++] = (struct found){seg->number, keep, seg->bytes};
	}
	meta_iter_free(it);
	*ret_count = count;
	return err;
}

static int give_back(struct disk *d, const struct found *f, struct extent_sweep *w)
{
	int err = f->keep ? segment_cut(d, f->number, f->keep) : segment_remove(d, f->number);

	if (err == DFS_ENOENT) /* reclaim was here */
		return 0;
	if (!err) {
		w->removed += f->keep == 0;
		w->cut += f->keep != 0;
		w->bytes += f->bytes - f->keep;
		if (f->keep)
			PROBE("orphans-cut-off");
		else
			PROBE("orphan-segment-unlinked");
		return 0;
	}
	if (!disk_present(d) || disk_state(d) == DISK_SUSPECT)
		return err;
	log_warn("cannot give back what a crash left in segment %08x of disk %u: %s; it is tried "
		 "again at the next mount",
		 f->number, disk_info(d).id.v, dfs_err_text(err));
	return 0;
}

/* G2: what the index showed is durable, and so are the numbers of what is to be unlinked. */
static int make_durable(struct extent_store *s, disk_id disk, const struct found *found,
			unsigned count)
{
	struct meta_txn *t = meta_begin(s->cfg.meta);
	struct gone gone = {0};
	uint64_t seq;
	int err;

	for (unsigned i = 0; i < count; i++)
		if (!found[i].keep)
			numbers_gone(&gone, disk, found[i].number);
	err = numbers_commit(s, &gone, t, &seq);
	return err ? err : meta_sync(s->cfg.meta, MAX(seq, meta_last_seq(s->cfg.meta)));
}

int extent_sweep_step(struct extent_store *s, struct disk *d, struct extent_sweep *w)
{
	struct found found[CHANGES_MAX];
	unsigned count;
	int err = look_up(s, disk_info(d).id, w, found, &count);

	if (!err && count)
		err = make_durable(s, disk_info(d).id, found, count);
	for (unsigned i = 0; i < count && !err; i++)
		err = give_back(d, &found[i], w);
	if (err)
		return err;
	return w->at == w->count ? DFS_EEND : 0;
}
