/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking the journal's chain over all its copies at once. A file holds records back to back; the next
 * file is named by the record that would have come next. All members hold the same bytes at the same
 * offsets, and where few members are left each file holds them twice, so each record can be taken
 * from whichever copy still has it whole (M2).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define WINDOW_BYTES MIB(1)

static void open_files(struct journal_walk *w)
{
	char name[JOURNAL_NAME_LEN];

	journal_name(w->file_first, name);
	for (unsigned i = 0; i < w->count; i++) {
		struct walk_source *s = &w->sources[i];
		uint64_t size = 0;
		int err;

		dev_close(s->file);
		s->file = NULL;
		err = dev_open(s->dev, name, DEV_RDONLY, &s->file);
		if (err == 0)
			err = dev_size(s->file, &size);
		if (err) {
			dev_close(s->file);
			s->file = NULL;
		}
		s->open_err = err == DFS_ENOENT ? 0 : err;
		s->began = s->began || (err == 0 && w->file_first == w->journal_first);
		s->second_off = journal_second_off(size);
		if (err && err != DFS_ENOENT)
			log_warn("cannot open %s on %s: %s; using the other members' copies", name,
				 s->dev->name, dfs_err_text(err));
	}
	w->off = 0;
	w->file_chain = w->chain;
	buf_reset(&w->window);
	w->window_off = 0;
}

void walk_begin(struct journal_walk *w, const struct uuid *pool, const struct root *root)
{
	w->pool = pool;
	w->preferred = 0;
	w->seq = root->checkpoint_seq;
	w->chain = root->chain;
	w->journal_first = w->file_first = root->journal_first;
	w->tail_bytes = 0;
	open_files(w);
}

void walk_end(struct journal_walk *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		dev_close(w->sources[i].file);
		w->sources[i].file = NULL;
	}
	buf_release(&w->window);
}

/* Lane n is the first copy of source n, lane count + n its second. */
static struct walk_source *lane_source(struct journal_walk *w, unsigned lane)
{
	return &w->sources[lane % w->count];
}

/* Loads len bytes from off (fewer at the file's end) into the window. */
static int load(struct journal_walk *w, unsigned lane, uint64_t len)
{
	struct walk_source *s = lane_source(w, lane);
	uint64_t base = lane < w->count ? 0 : s->second_off;
	struct unread_range bad;
	size_t got = 0;

	buf_reset(&w->window);
	buf_extend(&w->window, len);
	w->window_cut = journal_read(s->file, w->window.data, len, base + w->off, &got, &bad);
	w->window.len = w->window_cut ? (size_t)(bad.from - base - w->off) : got;
	w->window_off = w->off;
	return w->window.len ? 0 : w->window_cut;
}

/* Too few bytes to tell are no record, unless there are more that can't be read. */
static int judge(const struct journal_walk *w, size_t left, int err)
{
	return w->window_cut && (err == DFS_E2BIG || left < JOURNAL_FIXED_LEN) ? w->window_cut : 0;
}

static bool follows(const struct journal_walk *w, const struct journal_record *r)
{
	return r->seq == w->seq + 1 && memcmp(&r->prev, &w->chain, sizeof(r->prev)) == 0;
}

/* The record at w->off as this lane has it. *ret_unread: why it is not known whether it has it. */
static int try_lane(struct journal_walk *w, unsigned lane, struct journal_record *ret,
		    int *ret_unread)
{
	uint64_t size = WINDOW_BYTES;
	int err;

	*ret_unread = lane_source(w, lane)->open_err;
	if (!lane_source(w, lane)->file)
		return *ret_unread ? *ret_unread : DFS_ENOENT;
	if (lane != w->preferred || w->off < w->window_off ||
	    w->off - w->window_off >= w->window.len) {
		*ret_unread = err = load(w, lane, size);
		if (err)
			return err;
	}
	for (;;) {
		size_t at = w->off - w->window_off;

		err = journal_record_parse(w->window.data + at, w->window.len - at, w->pool, ret);
		if (err == 0)
			return follows(w, ret) ? 0 : DFS_ECHECKSUM;
		*ret_unread = judge(w, w->window.len - at, err);
		if (err != DFS_E2BIG || size > JOURNAL_MAX_RECORD)
			return *ret_unread ? *ret_unread : err;
		size = at == 0 ? 2 * JOURNAL_MAX_RECORD : size; /* first move it to the start */
		*ret_unread = err = load(w, lane, size);
		if (err)
			return err;
	}
}

static void note_damaged(struct journal_walk *w, unsigned source, int err)
{
	if (w->sources[source].damaged)
		return;
	w->sources[source].damaged = true;
	PROBE("journal-record-from-another-member");
	log_warn("the metadata journal on %s is damaged or ends early after transaction %llu "
		 "(%s): using another copy",
		 w->sources[source].dev->name, (unsigned long long)w->seq, dfs_err_text(err));
}

/* Second copies only when no first one has it: they may never have been written. */
static int try_all(struct journal_walk *w, struct journal_record *ret)
{
	unsigned first = w->preferred < w->count ? w->preferred : 0, lanes = 2 * w->count;
	int errs[2 * ROOT_MAX_MEMBERS] = {0};

	if (first != w->preferred)
		w->window_off = UINT64_MAX;
	for (unsigned n = 0; n < lanes; n++) {
		unsigned lane = n < w->count ? (first + n) % w->count : n;
		int unread;

		if (w->only && (w->only == COPY_FIRST) != (lane < w->count))
			continue;
		if (n > 0)
			w->window_off = UINT64_MAX; /* another lane's bytes */
		errs[lane] = try_lane(w, lane, ret, &unread);
		if (unread)
			unread_note(&w->unread, lane_source(w, lane)->dev, w->file_first, unread);
		if (errs[lane])
			continue;
		w->unread.err = 0; /* it has been found */
		for (unsigned j = 0; j < w->count; j++)
			if (errs[j])
				note_damaged(w, j, errs[j]);
		w->preferred = lane;
		return 0;
	}
	w->window_off = UINT64_MAX;
	return DFS_EEND;
}

/* Does something there claim to be the next record, and is not whole? Then it was torn. */
static void measure_tail(struct journal_walk *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		uint8_t head[JOURNAL_FIXED_LEN];
		uint32_t len = 0;
		size_t got = 0;

		if (!w->sources[i].file ||
		    dev_read(w->sources[i].file, head, sizeof(head), w->off, 0, &got))
			continue;
		if (journal_record_peek(head, got, w->pool, &len) > w->seq)
			w->tail_bytes = MAX(w->tail_bytes, len);
	}
}

int walk_next(struct journal_walk *w, struct journal_record *ret_record)
{
	int err = try_all(w, ret_record);

	/* The end of this file; the next one, if any, is named by the record to come. */
	if (err && w->file_first != w->seq + 1) {
		measure_tail(w);
		w->end_first = w->file_first;
		w->end_chain = w->file_chain;
		w->end_off = w->off;
		w->file_first = w->seq + 1;
		open_files(w);
		err = try_all(w, ret_record);
	}
	if (err) {
		measure_tail(w);
		return DFS_EEND;
	}
	w->seq = ret_record->seq;
	w->chain = ret_record->hash;
	w->off += ret_record->total_len;
	w->beyond_half = w->beyond_half || w->off > lane_source(w, w->preferred)->second_off;
	return 0;
}

const uint8_t *walk_bytes(const struct journal_walk *w, const struct journal_record *record)
{
	return w->window.data + (w->off - record->total_len - w->window_off);
}

/* A place beyond half of a file that is written twice may be that of a second copy. */
static void go_to(struct journal_walk *w, unsigned source, const struct journal_place *place)
{
	struct journal_record rec;
	uint64_t half;

	w->file_first = place->first;
	open_files(w);
	half = w->sources[source].second_off;
	w->off = place->off >= half ? place->off - half : place->off;
	if (try_all(w, &rec))
		w->off = place->off;
	w->window_off = UINT64_MAX;
}

bool walk_skip(struct journal_walk *w, uint64_t seq, const struct hash *chain,
	       uint64_t *ret_durable)
{
	w->seq = seq;
	w->chain = *chain;
	for (unsigned i = 0; i < w->count; i++)
		w->sources[i].damaged = true; /* what is skipped none of them has */
	for (unsigned i = 0; i < w->count; i++) {
		struct journal_place place;

		if (!damage_find_state(w->pool, w->sources[i].dev, w->journal_first, seq, chain,
				       &place)) {
			if (place.unread.err)
				unread_note(&w->unread, place.unread.dev, place.unread.first,
					    place.unread.err);
			continue;
		}
		w->unread.err = 0;
		go_to(w, i, &place);
		*ret_durable = place.durable;
		return true;
	}
	return false;
}
