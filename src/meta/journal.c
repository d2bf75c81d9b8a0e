/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal files on the members: meta/journal/<first sequence number, 16 hex digits>. A file holds
 * records back to back; the next file is named by the record that would have come next. Members
 * that write the same files write the same bytes at the same offsets, so a walk can take each record
 * from whichever member still has it whole (M2).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define WINDOW_BYTES MIB(1)

#define DIR_NAME "meta/journal"
#define DAMAGED "damaged-"

void journal_name(uint64_t first, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, DIR_NAME "/%016llx", (unsigned long long)first);
}

static void damaged_name(const char *leaf, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, DIR_NAME "/" DAMAGED "%.16s", leaf);
}

/* What stood under that name before the damage is found: it has a part of it. */
static int make_way(struct meta *m, struct dev *dev, const char *name)
{
	char aside[JOURNAL_NAME_LEN];

	if (!m->keep_damaged)
		return dev_remove(dev, name);
	damaged_name(strrchr(name, '/') + 1, aside);
	return dev_rename(dev, name, aside);
}

static int start_file(struct member *mb, uint64_t first)
{
	char name[JOURNAL_NAME_LEN];
	struct dev_file *f;
	int err;

	journal_name(first, name);
	/* One of that name holds nothing that counts: the chain ended before it. */
	err = make_way(mb->m, mb->disk.dev, name);
	if (err && err != DFS_ENOENT)
		return err;
	err = dev_open(mb->disk.dev, name, DEV_CREATE | DEV_EXCL, &f);
	if (err)
		return err;
	err = dev_sync_dir(mb->disk.dev, DIR_NAME);
	if (err) {
		dev_close(f);
		return err;
	}
	dev_close(mb->journal);
	mb->journal = f;
	mb->journal_first = first;
	mb->journal_off = 0;
	return 0;
}

void journal_switch(struct meta *m, uint64_t first)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		int err;

		if (member_dead(m, mb) || mb->journal_first == first)
			continue;
		err = start_file(mb, first);
		if (err)
			member_kill(m, mb, err, "start a metadata journal file");
	}
}

/* ---- cleaning ---- */

struct name_list {
	char (*names)[JOURNAL_NAME_LEN];
	unsigned count;
	uint64_t first, last;
};

bool journal_name_parse(const char *name, uint64_t *ret_first)
{
	char *end;

	if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
		return false;
	*ret_first = strtoull(name, &end, 16);
	return true;
}

static int collect(void *ctx, const char *name, uint64_t size_bytes)
{
	struct name_list *l = ctx;
	uint64_t first;

	(void)size_bytes;
	if (!journal_name_parse(name, &first) || (first >= l->first && first <= l->last))
		return 0;
	l->names = xrealloc(l->names, (l->count + 1) * sizeof(*l->names));
	journal_name(first, l->names[l->count++]);
	return 0;
}

void journal_clean(struct dev *dev, uint64_t first, uint64_t last)
{
	struct name_list l = {.first = first, .last = last};
	int err = dev_list(dev, DIR_NAME, collect, &l);

	for (unsigned i = 0; i < l.count && err == 0; i++)
		err = dev_remove(dev, l.names[i]);
	if (err && err != DFS_ENOENT)
		log_warn("cannot remove old metadata journal files on %s: %s; they take space "
			 "until the next checkpoint",
			 dev->name, dfs_err_text(err));
	free(l.names);
}

static int collect_damaged(void *ctx, const char *name, uint64_t size_bytes)
{
	struct name_list *l = ctx;
	uint64_t first;

	(void)size_bytes;
	if (strncmp(name, DAMAGED, strlen(DAMAGED)) != 0 ||
	    !journal_name_parse(name + strlen(DAMAGED), &first))
		return 0;
	l->names = xrealloc(l->names, (l->count + 1) * sizeof(*l->names));
	damaged_name(name + strlen(DAMAGED), l->names[l->count++]);
	return 0;
}

void journal_remove_damaged(struct dev *dev)
{
	struct name_list l = {0};
	int err = dev_list(dev, DIR_NAME, collect_damaged, &l);

	for (unsigned i = 0; i < l.count && err == 0; i++)
		err = dev_remove(dev, l.names[i]);
	if (err && err != DFS_ENOENT)
		log_warn("cannot remove damaged metadata journal files on %s: %s", dev->name,
			 dfs_err_text(err));
	free(l.names);
}

void journal_keep_damaged(struct dev *dev, uint64_t first, uint64_t last)
{
	struct name_list l = {.first = first, .last = last};
	int err = dev_list(dev, DIR_NAME, collect, &l);

	for (unsigned i = 0; i < l.count && err == 0; i++) {
		char aside[JOURNAL_NAME_LEN];

		damaged_name(strrchr(l.names[i], '/') + 1, aside);
		err = dev_rename(dev, l.names[i], aside);
	}
	if (err == 0)
		err = dev_sync_dir(dev, DIR_NAME);
	if (err)
		log_warn("cannot keep the damaged metadata journal files on %s aside: %s",
			 dev->name, dfs_err_text(err));
	free(l.names);
}

/* ---- walking the chain ---- */

static void open_files(struct journal_walk *w)
{
	char name[JOURNAL_NAME_LEN];

	journal_name(w->file_first, name);
	for (unsigned i = 0; i < w->count; i++) {
		struct walk_source *s = &w->sources[i];
		int err;

		dev_close(s->file);
		s->file = NULL;
		err = dev_open(s->dev, name, DEV_RDONLY, &s->file);
		if (err && err != DFS_ENOENT)
			log_warn("cannot open %s on %s: %s; using the other members' copies", name,
				 s->dev->name, dfs_err_text(err));
	}
	w->off = 0;
	buf_reset(&w->window);
	w->window_off = 0;
}

void walk_begin(struct journal_walk *w, const struct uuid *pool, const struct root *root)
{
	w->pool = pool;
	w->preferred = 0;
	w->seq = root->checkpoint_seq;
	w->chain = root->chain;
	w->file_first = root->journal_first;
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

/* Loads len bytes from off (fewer at the file's end) into the window. */
static int load(struct journal_walk *w, unsigned source, uint64_t len)
{
	size_t got = 0;
	int err;

	buf_reset(&w->window);
	buf_extend(&w->window, len);
	err = dev_read(w->sources[source].file, w->window.data, len, w->off, 0, &got);
	w->window.len = err ? 0 : got;
	w->window_off = w->off;
	return err;
}

static bool follows(const struct journal_walk *w, const struct journal_record *r)
{
	return r->seq == w->seq + 1 && memcmp(&r->prev, &w->chain, sizeof(r->prev)) == 0;
}

/* The record at w->off as this source has it. */
static int try_source(struct journal_walk *w, unsigned source, struct journal_record *ret)
{
	uint64_t size = WINDOW_BYTES;
	int err;

	if (!w->sources[source].file)
		return DFS_ENOENT;
	if (source != w->preferred || w->off < w->window_off ||
	    w->off - w->window_off >= w->window.len) {
		err = load(w, source, size);
		if (err)
			return err;
	}
	for (;;) {
		size_t at = w->off - w->window_off;

		err = journal_record_parse(w->window.data + at, w->window.len - at, w->pool, ret);
		if (err == 0)
			return follows(w, ret) ? 0 : DFS_ECHECKSUM;
		if (err != DFS_E2BIG || size > JOURNAL_MAX_RECORD)
			return err;
		size = at == 0 ? 2 * JOURNAL_MAX_RECORD : size; /* first move it to the start */
		if (load(w, source, size))
			return DFS_EIO;
	}
}

static int try_all(struct journal_walk *w, struct journal_record *ret)
{
	unsigned first = w->preferred;
	int errs[ROOT_MAX_MEMBERS] = {0};

	for (unsigned n = 0; n < w->count; n++) {
		unsigned i = (first + n) % w->count;

		if (n > 0)
			w->window_off = UINT64_MAX; /* another source's bytes */
		errs[i] = try_source(w, i, ret);
		if (errs[i])
			continue;
		for (unsigned j = 0; j < w->count; j++) {
			if (errs[j] == 0 || w->sources[j].damaged)
				continue;
			w->sources[j].damaged = true;
			PROBE("journal-record-from-another-member");
			log_warn("the metadata journal on %s is damaged or ends early after "
				 "transaction %llu (%s): using another member's copy",
				 w->sources[j].dev->name, (unsigned long long)w->seq,
				 dfs_err_text(errs[j]));
		}
		w->preferred = i;
		return 0;
	}
	w->window_off = UINT64_MAX;
	return DFS_EEND;
}

/* Bytes after the last record that are not zeros: a torn tail. */
static void measure_tail(struct journal_walk *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		uint64_t size = 0;

		if (!w->sources[i].file || dev_size(w->sources[i].file, &size) || size <= w->off)
			continue;
		w->tail_bytes = MAX(w->tail_bytes, size - w->off);
	}
}

int walk_next(struct journal_walk *w, struct journal_record *ret_record)
{
	int err = try_all(w, ret_record);

	/* The end of this file; the next one, if any, is named by the record to come. */
	if (err && w->file_first != w->seq + 1) {
		measure_tail(w);
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
	return 0;
}
