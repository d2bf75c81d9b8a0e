/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journal files on a member. Each member has two, of a size that was fixed when they were made, and
 * their space is allocated then: a journal write needs none (J1). The chain since the newest root takes
 * one of them, or both; the other is spare, whatever its name, and is renamed to the chain's next name
 * when it is needed (J2). What it held before stays in it until it is overwritten: those records have
 * smaller numbers, or belong to a tail that was cut, so they never follow (M2, M11).
 *
 * docs/DESIGN.md, "Journal files", has the invariants J1..J5 and the states.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

#define DIR_NAME "meta/journal"
#define NEW_NAME DIR_NAME "/new"
#define SPARE "spare-"
#define DAMAGED "damaged-"
#define FILES 2u
#define LIST_MAX 1024u /* names looked at in one directory */
#define FILL_BYTES MIB(1)

void journal_name(uint64_t first, char name[JOURNAL_NAME_LEN])
{
	snprintf(name, JOURNAL_NAME_LEN, DIR_NAME "/%016llx", (unsigned long long)first);
}

bool journal_name_parse(const char *name, uint64_t *ret_first)
{
	char *end;

	if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
		return false;
	*ret_first = strtoull(name, &end, 16);
	return true;
}

/* ---- what there is ---- */

enum file_kind {
	FILE_CHAIN, /* of the chain, or once was */
	FILE_SPARE, /* never used */
	FILE_DAMAGED
};
struct file_entry {
	char name[JOURNAL_NAME_LEN]; /* with its directory */
	enum file_kind kind;
	uint64_t first; /* FILE_CHAIN */
	uint64_t size_bytes;
};
struct file_list {
	struct file_entry *files;
	unsigned count;
};

static int list_add(void *ctx, const char *leaf, uint64_t size_bytes)
{
	struct file_list *l = ctx;
	struct file_entry f = {.size_bytes = size_bytes};
	uint64_t first;

	if (journal_name_parse(leaf, &f.first))
		f.kind = FILE_CHAIN;
	else if (strlen(leaf) == strlen(SPARE) + 1 && strncmp(leaf, SPARE, strlen(SPARE)) == 0)
		f.kind = FILE_SPARE;
	else if (strncmp(leaf, DAMAGED, strlen(DAMAGED)) == 0 &&
		 journal_name_parse(leaf + strlen(DAMAGED), &first))
		f.kind = FILE_DAMAGED;
	else
		return 0; /* none of ours, or a half */
	if (l->count == LIST_MAX)
		return 0;
	l->files = xrealloc(l->files, (l->count + 1) * sizeof(*l->files));
	snprintf(f.name, sizeof(f.name), DIR_NAME "/%.32s", leaf);
	l->files[l->count++] = f;
	return 0;
}

static int list_files(struct dev *dev, struct file_list *ret)
{
	struct file_list l = {0};
	int err = dev_list(dev, DIR_NAME, list_add, &l);

	if (err) {
		free(l.files);
		return err;
	}
	*ret = l;
	return 0;
}

static void list_release(struct file_list *l) { free(l->files); }

/* ---- making them ---- */

/* Zeros from..to, really there and durable: from then on writing there needs no space. */
static int fill(struct dev_file *f, uint64_t from, uint64_t to)
{
	FREE uint8_t *zeros = xcalloc(1, FILL_BYTES);
	int err = dev_allocate(f, from, to - from);

	if (err == DFS_ENOTSUP)
		err = 0; /* the zeros take the space */
	for (uint64_t at = from; at < to && err == 0; at += FILL_BYTES)
		err = dev_write(f, zeros, (size_t)MIN(FILL_BYTES, to - at), at);
	return err ? err : dev_sync(f);
}

static int make_spare(struct dev *dev, const char *name, uint64_t size_bytes)
{
	struct dev_file *f;
	int err = dev_remove(dev, NEW_NAME);

	if (err && err != DFS_ENOENT)
		return err;
	err = dev_open(dev, NEW_NAME, DEV_CREATE | DEV_EXCL | DEV_IN_PLACE, &f);
	if (err)
		return err;
	err = fill(f, 0, size_bytes);
	dev_close(f);
	if (err == 0)
		err = dev_rename(dev, NEW_NAME, name);
	if (err)
		(void)!dev_remove(dev, NEW_NAME); /* the first failure counts */
	return err;
}

/* One from a time when the journals were smaller: as large as today's, if there is room. */
static int grow(struct dev *dev, const struct file_entry *e, uint64_t size_bytes)
{
	struct dev_file *f;
	int err = dev_open(dev, e->name, 0, &f);

	if (err)
		return err;
	err = fill(f, e->size_bytes, size_bytes);
	if (err == DFS_ENOSPC)
		err = dev_truncate(f, e->size_bytes);
	dev_close(f);
	return err;
}

int journal_prepare(struct dev *dev, uint64_t size_bytes)
{
	bool taken[FILES] = {false};
	struct file_list l;
	unsigned have = 0, made = 0;
	int err = list_files(dev, &l);

	if (err)
		return err;
	for (unsigned i = 0; i < l.count && err == 0; i++) {
		const struct file_entry *e = &l.files[i];

		if (e->kind == FILE_DAMAGED)
			continue;
		have++;
		for (unsigned n = 0; n < FILES && e->kind == FILE_SPARE; n++)
			taken[n] = taken[n] || e->name[strlen(e->name) - 1] == (char)('0' + n);
		if (e->size_bytes < size_bytes)
			err = grow(dev, e, size_bytes);
	}
	list_release(&l);
	for (unsigned n = 0; n < FILES && have < FILES && err == 0; n++) {
		char name[JOURNAL_NAME_LEN];

		if (taken[n])
			continue;
		snprintf(name, sizeof(name), DIR_NAME "/" SPARE "%u", n);
		err = make_spare(dev, name, size_bytes);
		have++;
		made++;
	}
	if (err == 0 && made)
		err = dev_sync_dir(dev, DIR_NAME);
	return err;
}

/* ---- getting rid of them ---- */

static void remove_kinds(struct dev *dev, bool damaged, bool others)
{
	struct file_list l = {0};
	int err = list_files(dev, &l);

	if (err == DFS_ENOENT)
		return;
	for (unsigned i = 0; i < (err ? 0 : l.count) && !err; i++)
		if (l.files[i].kind == FILE_DAMAGED ? damaged : others)
			err = dev_remove(dev, l.files[i].name);
	if (err)
		log_warn("cannot remove metadata journal files on %s: %s; they take space",
			 dev->name, dfs_err_text(err));
	list_release(&l);
}

void journal_remove(struct dev *dev) { remove_kinds(dev, false, true); }

void journal_remove_damaged(struct dev *dev) { remove_kinds(dev, true, false); }

void journal_keep_damaged(struct dev *dev, uint64_t size_bytes)
{
	struct file_list l = {0};
	int err;

	journal_remove_damaged(dev); /* of an earlier damage */
	err = list_files(dev, &l);
	for (unsigned i = 0; !err && i < l.count; i++) {
		char aside[JOURNAL_NAME_LEN];

		if (l.files[i].kind != FILE_CHAIN)
			continue;
		snprintf(aside, sizeof(aside), DIR_NAME "/" DAMAGED "%016llx",
			 (unsigned long long)l.files[i].first);
		err = dev_rename(dev, l.files[i].name, aside);
	}
	list_release(&l);
	if (!err)
		err = journal_prepare(dev, size_bytes);
	if (!err)
		return;
	log_warn("cannot keep the damaged metadata journal files on %s aside: %s; they are "
		 "removed there",
		 dev->name, dfs_err_text(err));
	journal_remove_damaged(dev);
	err = journal_prepare(dev, size_bytes);
	if (err)
		log_warn("cannot make metadata journal files on %s: %s", dev->name,
			 dfs_err_text(err));
}

/* ---- the next one ---- */

static bool in_chain(const struct meta *m, const struct file_entry *e)
{
	return e->kind == FILE_CHAIN &&
	       (e->first == m->root.journal_first || e->first == m->file_first);
}

/* A file that the chain doesn't need gets the name. */
static int recycle(struct meta *m, struct dev *dev, const char *name)
{
	const char *from = NULL;
	struct file_list l;
	int err = list_files(dev, &l);

	if (err)
		return err;
	for (unsigned i = 0; i < l.count && !from; i++)
		if (l.files[i].kind != FILE_DAMAGED && !in_chain(m, &l.files[i]))
			from = l.files[i].name;
	if (from)
		err = dev_rename(dev, from, name);
	else /* somebody has removed it */
		err = make_spare(dev, name, m->journal_file_bytes);
	list_release(&l);
	return err ? err : dev_sync_dir(dev, DIR_NAME);
}

static int open_sized(struct dev *dev, const char *name, struct dev_file **ret_file,
		      uint64_t *ret_size)
{
	struct dev_file *f;
	int err = dev_open(dev, name, 0, &f);

	if (err)
		return err;
	err = dev_size(f, ret_size);
	if (err)
		dev_close(f);
	else
		*ret_file = f;
	return err;
}

/* One of that name holds nothing that counts: the chain ended before it. */
static int start_file(struct meta *m, struct dev *dev, uint64_t first, struct dev_file **ret_file,
		      uint64_t *ret_size)
{
	char name[JOURNAL_NAME_LEN];
	int err;

	journal_name(first, name);
	err = open_sized(dev, name, ret_file, ret_size);
	if (err != DFS_ENOENT)
		return err;
	err = recycle(m, dev, name);
	return err ? err : open_sized(dev, name, ret_file, ret_size);
}

void journal_room_update(struct meta *m, uint64_t written)
{
	uint64_t left = m->file_cap > m->file_off ? m->file_cap - m->file_off : 0;
	bool spare = m->file_first == m->root.journal_first;

	env_mutex_lock(&m->commit);
	ASSERT(m->unwritten >= written);
	m->unwritten -= written;
	m->room = spare ? m->file_half : MIN(left, m->file_half);
	m->room -= MIN(m->room, NOTE_ROOM);
	env_mutex_unlock(&m->commit);
}

/* The file is open on each live member: what all of them can hold decides. */
static void use_files(struct meta *m, uint64_t first, const struct hash *chain, uint64_t off)
{
	uint64_t whole = UINT64_MAX, half = UINT64_MAX;
	unsigned live = 0;

	for (unsigned i = 0; i < m->member_count; i++) {
		const struct member *mb = m->members[i];

		if (member_dead(m, mb) || !mb->journal)
			continue;
		whole = MIN(whole, mb->journal_bytes);
		half = MIN(half, mb->second_off);
		live++;
	}
	m->file_first = first;
	m->file_chain = *chain;
	m->file_off = off;
	m->file_twice = live <= 2;
	m->file_cap = m->file_twice ? half : whole;
	m->file_half = half;
	journal_room_update(m, 0);
}

static void take_file(struct member *mb, struct dev_file *f, uint64_t size_bytes)
{
	dev_close(mb->journal);
	mb->journal = f;
	mb->journal_bytes = size_bytes;
	mb->second_off = journal_second_off(size_bytes);
}

int journal_switch(struct meta *m, uint64_t first, const struct hash *chain)
{
	struct dev_file *files[ROOT_MAX_MEMBERS] = {NULL};
	uint64_t sizes[ROOT_MAX_MEMBERS];
	bool full = false;

	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		int err = member_dead(m, mb)
				  ? 0
				  : start_file(m, mb->disk.dev, first, &files[i], &sizes[i]);

		if (err == DFS_ENOSPC)
			full = true; /* only where our file was removed: J1 */
		else if (err)
			member_kill(m, mb, err, "start a metadata journal file");
	}
	for (unsigned i = 0; i < m->member_count; i++) {
		if (full)
			dev_close(files[i]);
		else if (files[i])
			take_file(m->members[i], files[i], sizes[i]);
	}
	if (full)
		return DFS_ENOSPC;
	use_files(m, first, chain, 0);
	return 0;
}

void journal_resume(struct meta *m, uint64_t first, const struct hash *chain, uint64_t off)
{
	char name[JOURNAL_NAME_LEN];

	journal_name(first, name);
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		struct dev_file *f = NULL;
		uint64_t size = 0;
		int err = member_dead(m, mb) || !mb->listed
				  ? 0
				  : open_sized(mb->disk.dev, name, &f, &size);

		/* What was replayed counts as durable, and a killed process may not have synced it. */
		if (!err && f)
			err = dev_sync(f);
		if (err) {
			dev_close(f);
			member_kill(m, mb, err, "go on with the metadata journal");
		} else if (f) {
			take_file(mb, f, size);
		}
	}
	use_files(m, first, chain, off);
}

/* ---- completing it ---- */

static bool holds(struct dev_file *f, const uint8_t *data, size_t len, uint64_t off,
		  uint8_t *scratch)
{
	size_t got = 0;

	return dev_read(f, scratch, len, off, 0, &got) == 0 && got == len &&
	       memcmp(scratch, data, len) == 0;
}

/* Only what is not there is written: what is, may be the only copy. */
static int put_missing(struct dev_file *f, const struct buf *records, uint64_t base, bool *wrote)
{
	FREE uint8_t *scratch = xmalloc(JOURNAL_MAX_RECORD);
	size_t from = 0, at = 0; /* missing so far */
	int err = 0;

	while (from < records->len && err == 0) {
		size_t len = at < records->len ? journal_record_own(records->data + at, NULL, NULL)
					       : 0;
		bool ends = len == 0 || holds(f, records->data + at, len, base + at, scratch);

		if (ends && from < at) {
			err = dev_write(f, records->data + from, at - from, base + from);
			*wrote = true;
		}
		at += len;
		from = ends ? at : from;
	}
	return err;
}

int journal_complete(struct meta *m, struct dev *dev, uint64_t first, const struct buf *records,
		     bool twice, bool *ret_wrote)
{
	bool verify = __atomic_load_n(&m->verify_writes, __ATOMIC_RELAXED), wrote = false;
	struct dev_file *f;
	uint64_t size = 0, second_off;
	int err = start_file(m, dev, first, &f, &size);

	if (err)
		return err;
	second_off = journal_second_off(size);
	twice = twice && records->len <= second_off;
	err = records->len <= size ? put_missing(f, records, 0, &wrote) : DFS_ENOSPC;
	if (err == 0 && twice)
		err = put_missing(f, records, second_off, &wrote);
	if (err == 0)
		err = dev_sync(f);
	if (err == 0 && wrote)
		err = dev_sync_dir(dev, DIR_NAME); /* a killed process may not have done that */
	if (err == 0 && verify)
		err = dev_verify(f, records->data, records->len, 0);
	if (err == 0 && verify && twice)
		err = dev_verify(f, records->data, records->len, second_off);
	dev_close(f);
	*ret_wrote = wrote;
	return err;
}
