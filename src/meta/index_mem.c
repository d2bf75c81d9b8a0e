/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The in-memory index: a tree (tree.h), of which iterators keep the one that was there when they were made.
 *
 * Its "disk" is the store: files as RocksDB has them, so that the simulator's checkpoints write what real
 * ones do. Each flush adds one with what has changed, deletions as well; compact() merges the newest of
 * them into one. The tree as of the last flush is what they say together.
 * A crash keeps only that.
 *
 * Locks: index_mem_store.lock protects the tree pointers and the files.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/log.h"
#include "base/probe.h"
#include "format/journal.h"
#include "meta/index.h"
#include "meta/tree.h"

#define MAX_FILES 256u
#define MERGE_FILES 4u /* from so many on, the newest are merged */
#define MARKS 2u

struct file {
	char name[40];
	unsigned entries, deletions;
	struct buf data; /* entries in order of keys: le32 key_len, le32 value_len, key, value */
};

struct index {
	struct index_mem_store *store;
	struct tree *root;    /* counted; protected by store->lock */
	struct tree *changed; /* since the last flush, deletions too; likewise */
	struct index *next_lost;
};

struct index_mem_store {
	struct env_mutex lock;
	struct tree *flushed;	      /* counted */
	struct index *open;	      /* NULL, or the one that is open */
	struct index *lost;	      /* abandoned by crashes: freed with the store */
	struct file files[MAX_FILES]; /* the oldest first */
	unsigned file_count;
	unsigned last_number;
	struct file *restore;
	unsigned restore_count;
	struct hash marks[MARKS];
	unsigned mark_count;
	bool condemned;
};

struct index_iter {
	struct tree *root; /* counted */
	struct tree_cursor cursor;
};

/* ---- files ---- */

static void files_free(struct file *files, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		buf_release(&files[i].data);
}

/* In key order. */
static void file_add(struct file *f, const struct tree *t, bool with_deletions)
{
	struct tree_cursor c = {0};

	for (tree_seek(&c, t, "", 0); c.at; tree_next(&c)) {
		const struct tree_entry *e = c.at;

		if (!with_deletions && e->value_len == TREE_DELETED)
			continue;
		f->entries++;
		f->deletions += e->value_len == TREE_DELETED;
		buf_put_le32(&f->data, e->key_len);
		buf_put_le32(&f->data, e->value_len);
		buf_put(&f->data, e->bytes, (size_t)e->key_len + tree_value_len(e));
	}
	tree_cursor_release(&c);
}

/* Lock held. Appends a file of what the tree says, unless that is nothing. */
static void file_new(struct index_mem_store *s, const struct tree *tree, bool with_deletions)
{
	struct file *f = &s->files[s->file_count];

	ASSERT(s->file_count < MAX_FILES);
	memset(f, 0, sizeof(*f));
	file_add(f, tree, with_deletions);
	if (f->data.len == 0)
		return;
	snprintf(f->name, sizeof(f->name), "%06u.sst", ++s->last_number);
	s->file_count++;
}

/* What a file says, over what the tree says. */
static int file_apply(const struct buf *data, bool keep_deletions, struct tree **tree)
{
	struct reader r = reader_of(data->data, data->len);

	while (reader_left(&r)) {
		uint32_t key_len = reader_le32(&r), value_len = reader_le32(&r);
		bool deleted = value_len == TREE_DELETED;
		const uint8_t *bytes = reader_bytes(&r,
						    (size_t)key_len + (deleted ? 0 : value_len));

		if (r.bad || key_len == 0 || key_len > JOURNAL_MAX_KEY ||
		    (!deleted && value_len > JOURNAL_MAX_VALUE))
			return DFS_ECORRUPT;
		if (deleted && !keep_deletions) {
			*tree = tree_remove(*tree, bytes, key_len);
		} else {
			struct tree_entry *e = tree_entry_new(0, bytes, key_len, bytes + key_len,
							      value_len);

			*tree = tree_insert(*tree, e);
			tree_entry_put(e);
		}
	}
	return 0;
}

/* ---- the vtable ---- */

static int mem_open(void *arg, uint64_t flush_bytes, struct index **ret_index)
{
	struct index_mem_store *s = arg;
	struct index *x;

	(void)flush_bytes;
	ENV_LOCKED(&s->lock);
	ASSERT(!s->open);
	if (s->condemned)
		return DFS_ECHECKSUM;
	x = xcalloc(1, sizeof(*x));
	x->store = s;
	x->root = tree_get(s->flushed);
	s->open = x;
	*ret_index = x;
	return 0;
}

static int mem_destroy(void *arg)
{
	struct index_mem_store *s = arg;

	ENV_LOCKED(&s->lock);
	ASSERT(!s->open);
	tree_put(s->flushed);
	s->flushed = NULL;
	files_free(s->files, s->file_count);
	s->file_count = 0;
	s->mark_count = 0;
	s->condemned = false;
	return 0;
}

static int mem_flush(struct index *x)
{
	ENV_LOCKED(&x->store->lock);
	if (x->store->open != x)
		return DFS_EIO;
	tree_put(x->store->flushed);
	x->store->flushed = tree_get(x->root);
	file_new(x->store, x->changed, true);
	tree_put(x->changed);
	x->changed = NULL;
	return 0;
}

static void mem_close(struct index *x, bool persist)
{
	struct index_mem_store *s = x->store;

	if (persist)
		(void)!mem_flush(x);
	ENV_LOCKED(&s->lock);
	if (s->open != x) /* lost in a crash: the store frees it */
		return;
	s->open = NULL;
	tree_put(x->root);
	tree_put(x->changed);
	free(x);
}

static int mem_apply(struct index *x, const struct index_op *ops, size_t count)
{
	struct tree *old, *old_changed, *tree, *changed;

	env_mutex_lock(&x->store->lock);
	tree = tree_get(x->root);
	changed = tree_get(x->changed);
	env_mutex_unlock(&x->store->lock);
	for (size_t i = 0; i < count; i++) {
		struct tree_entry *e = tree_entry_new(0, ops[i].key, ops[i].key_len, ops[i].value,
						      ops[i].value ? (uint32_t)ops[i].value_len
								   : TREE_DELETED);

		changed = tree_insert(changed, e);
		tree = ops[i].value ? tree_insert(tree, e)
				    : tree_remove(tree, ops[i].key, ops[i].key_len);
		tree_entry_put(e);
	}
	env_mutex_lock(&x->store->lock);
	old = x->root;
	old_changed = x->changed;
	x->root = tree;
	x->changed = changed;
	env_mutex_unlock(&x->store->lock);
	tree_put(old);
	tree_put(old_changed);
	return 0;
}

static struct tree *tree_now(struct index *x)
{
	ENV_LOCKED(&x->store->lock);
	return tree_get(x->root);
}

static int mem_get(struct index *x, const void *key, size_t key_len, struct buf *out)
{
	struct tree *tree = tree_now(x);
	struct tree_entry *e = tree_find(tree, key, key_len);

	buf_reset(out);
	if (e)
		buf_put(out, e->bytes + e->key_len, e->value_len);
	tree_put(tree);
	return e ? 0 : DFS_ENOENT;
}

static struct index_iter *mem_iter_new(struct index *x)
{
	struct index_iter *it = xcalloc(1, sizeof(*it));

	it->root = tree_now(x);
	return it;
}

static void mem_iter_free(struct index_iter *it)
{
	tree_cursor_release(&it->cursor);
	tree_put(it->root);
	free(it);
}

static void mem_iter_seek(struct index_iter *it, const void *key, size_t key_len)
{
	tree_seek(&it->cursor, it->root, key, key_len);
}

static void mem_iter_seek_back(struct index_iter *it, const void *key, size_t key_len)
{
	tree_seek_back(&it->cursor, it->root, key, key_len);
}

static bool mem_iter_valid(struct index_iter *it) { return it->cursor.at != NULL; }

static void mem_iter_next(struct index_iter *it)
{
	ASSERT(it->cursor.at);
	tree_next(&it->cursor);
}

static void mem_iter_prev(struct index_iter *it)
{
	ASSERT(it->cursor.at);
	tree_prev(&it->cursor);
}

static const uint8_t *mem_iter_key(struct index_iter *it, size_t *ret_len)
{
	ASSERT(it->cursor.at);
	*ret_len = it->cursor.at->key_len;
	return it->cursor.at->bytes;
}

static const uint8_t *mem_iter_value(struct index_iter *it, size_t *ret_len)
{
	ASSERT(it->cursor.at);
	*ret_len = it->cursor.at->value_len;
	return it->cursor.at->bytes + it->cursor.at->key_len;
}

static int mem_iter_error(struct index_iter *it)
{
	(void)it;
	return 0;
}

/* ---- compaction ---- */

/* Lock held. From first on, all files become one. */
static void merge(struct index_mem_store *s, unsigned first)
{
	struct tree *tree = NULL;
	struct file old[MAX_FILES];
	unsigned count = s->file_count - first;

	memcpy(old, s->files + first, count * sizeof(*old));
	s->file_count = first;
	for (unsigned i = 0; i < count; i++) {
		int err = file_apply(&old[i].data, first > 0, &tree);

		ASSERT(err == 0); /* we made them, or restore_end() saw that they are whole */
	}
	file_new(s, tree, first > 0);
	tree_put(tree);
	files_free(old, count);
}

/* Is a third of what the files say that something is gone? */
static bool much_deleted(const struct index_mem_store *s)
{
	unsigned entries = 0, deletions = 0;

	for (unsigned i = 0; i < s->file_count; i++) {
		entries += s->files[i].entries;
		deletions += s->files[i].deletions;
	}
	return 3 * deletions > entries;
}

/* Lock held. May the files from first on become one? */
static bool has_room(const struct index_mem_store *s, unsigned first, uint64_t sum,
		     const struct index_merging *how, uint64_t room)
{
	for (unsigned i = 0; i < first; i++)
		if (!how->is_stored(how->ctx, s->files[i].name, s->files[i].data.len))
			sum += s->files[i].data.len;
	return sum <= room;
}

static bool many_files(struct index *x)
{
	ENV_LOCKED(&x->store->lock);
	return x->store->open == x && x->store->file_count >= MERGE_FILES;
}

/* All files when much was deleted, else the newest, as long as the one before is at most twice as large as they are together. */
static int mem_compact(struct index *x, const struct index_merging *how, bool *ret_more)
{
	struct index_mem_store *s = x->store;
	unsigned first;
	uint64_t sum, room;

	*ret_more = false;
	room = many_files(x) ? how->room(how->ctx) : 0; /* looks at disks: not under the lock */
	ENV_LOCKED(&s->lock);
	if (s->open != x)
		return DFS_EIO;
	if (s->file_count < MERGE_FILES)
		return 0;
	first = s->file_count - 1;
	sum = s->files[first].data.len;
	while (first > 0 && (s->files[first - 1].data.len <= 2 * sum || much_deleted(s)))
		sum += s->files[--first].data.len;
	while (sum > how->enough_bytes && first + 2 < s->file_count)
		sum -= s->files[first++].data.len;
	if (s->file_count - first < 2 && s->file_count > MAX_FILES / 2)
		first = 0;
	else if (s->file_count - first >= 2 && !has_room(s, first, sum, how, room)) {
		PROBE("compaction-without-room");
		return 0;
	}
	if (s->file_count - first >= 2)
		merge(s, first);
	return 0;
}

/* ---- image and restore ---- */

static void mem_image_end(struct index *x) { (void)x; }

/* The files change only in flush() and compact(), which nobody calls meanwhile. */
static int mem_image_begin(struct index *x, index_file_fn fn, void *ctx)
{
	struct index_mem_store *s = x->store;
	bool lost;

	env_mutex_lock(&s->lock);
	lost = s->open != x;
	env_mutex_unlock(&s->lock);
	if (lost)
		return DFS_EIO;
	for (unsigned i = 0; i < s->file_count; i++)
		if (fn(ctx, s->files[i].name, s->files[i].data.len))
			break;
	return 0;
}

static int mem_image_read(struct index *x, const char *name, uint64_t off, void *buf, size_t len)
{
	struct index_mem_store *s = x->store;

	ENV_LOCKED(&s->lock);
	if (s->open != x)
		return DFS_EIO;
	for (unsigned i = 0; i < s->file_count; i++) {
		struct file *f = &s->files[i];

		if (strcmp(f->name, name) != 0)
			continue;
		if (off > f->data.len || len > f->data.len - off)
			return DFS_EINVAL;
		if (len)
			memcpy(buf, f->data.data + off, len);
		return 0;
	}
	return DFS_ENOENT;
}

static void mem_set_marks(struct index *x, const struct hash *marks, unsigned count)
{
	ENV_LOCKED(&x->store->lock);
	ASSERT(count <= MARKS);
	if (x->store->open != x)
		return;
	memcpy(x->store->marks, marks, count * sizeof(*marks));
	x->store->mark_count = count;
}

static bool mem_has_mark(struct index *x, const struct hash *mark)
{
	ENV_LOCKED(&x->store->lock);
	for (unsigned i = 0; i < x->store->mark_count; i++)
		if (memcmp(&x->store->marks[i], mark, sizeof(*mark)) == 0)
			return true;
	return false;
}

static void mem_condemn(struct index *x)
{
	ENV_LOCKED(&x->store->lock);
	x->store->condemned = true;
}

static void restore_drop(struct index_mem_store *s)
{
	if (s->restore)
		files_free(s->restore, s->restore_count);
	free(s->restore);
	s->restore = NULL;
	s->restore_count = 0;
}

static int mem_restore_begin(void *arg)
{
	struct index_mem_store *s = arg;
	int err = mem_destroy(arg);

	restore_drop(s);
	s->restore = xcalloc(MAX_FILES, sizeof(*s->restore));
	return err;
}

static int mem_restore_write(void *arg, const char *name, uint64_t off, const void *buf, size_t len)
{
	struct index_mem_store *s = arg;
	struct file *f = NULL;

	for (unsigned i = 0; i < s->restore_count; i++) {
		if (strcmp(s->restore[i].name, name) == 0)
			f = &s->restore[i];
	}
	if (!f) {
		if (s->restore_count == MAX_FILES || strlen(name) != 10 ||
		    !index_written_once(name) || strspn(name, "0123456789") != 6)
			return DFS_ECORRUPT;
		f = &s->restore[s->restore_count++];
		strcpy(f->name, name);
	}
	if (off == 0)
		buf_reset(&f->data); /* a second attempt */
	if (off != f->data.len)
		return DFS_EINVAL;
	buf_put(&f->data, buf, len);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int mem_restore_end(void *arg)
{
	struct index_mem_store *s = arg;
	int err = 0;

	qsort(s->restore, s->restore_count, sizeof(*s->restore), by_number);
	for (unsigned i = 0; i < s->restore_count && err == 0; i++)
		err = file_apply(&s->restore[i].data, false, &s->flushed);
	if (err) {
		restore_drop(s);
		(void)!mem_destroy(arg);
		return err;
	}
	if (s->restore_count) {
		memcpy(s->files, s->restore, s->restore_count * sizeof(*s->files));
		s->file_count = s->restore_count;
		s->last_number = (unsigned)strtoul(s->files[s->file_count - 1].name, NULL, 10);
	}
	s->restore_count = 0; /* their bytes are the files' now */
	restore_drop(s);
	return 0;
}

const struct index_ops index_mem_ops = {
	.open = mem_open,
	.destroy = mem_destroy,
	.close = mem_close,
	.apply = mem_apply,
	.get = mem_get,
	.iter_new = mem_iter_new,
	.iter_free = mem_iter_free,
	.iter_seek = mem_iter_seek,
	.iter_seek_back = mem_iter_seek_back,
	.iter_valid = mem_iter_valid,
	.iter_next = mem_iter_next,
	.iter_prev = mem_iter_prev,
	.iter_key = mem_iter_key,
	.iter_value = mem_iter_value,
	.iter_error = mem_iter_error,
	.flush = mem_flush,
	.compact = mem_compact,
	.set_marks = mem_set_marks,
	.has_mark = mem_has_mark,
	.image_begin = mem_image_begin,
	.image_read = mem_image_read,
	.image_end = mem_image_end,
	.condemn = mem_condemn,
	.restore_begin = mem_restore_begin,
	.restore_write = mem_restore_write,
	.restore_end = mem_restore_end,
};

/* ---- the store ---- */

struct index_mem_store *index_mem_store_new(void)
{
	struct index_mem_store *s = xcalloc(1, sizeof(*s));

	env_mutex_init(&s->lock);
	return s;
}

struct index_mem_store *index_mem_store_copy(struct index_mem_store *s)
{
	struct index_mem_store *copy = index_mem_store_new();

	ENV_LOCKED(&s->lock);
	copy->flushed = tree_get(s->flushed);
	for (unsigned i = 0; i < s->file_count; i++) {
		copy->files[i] = s->files[i];
		copy->files[i].data = (struct buf){0};
		buf_put(&copy->files[i].data, s->files[i].data.data, s->files[i].data.len);
	}
	copy->file_count = s->file_count;
	copy->last_number = s->last_number;
	memcpy(copy->marks, s->marks, sizeof(copy->marks));
	copy->mark_count = s->mark_count;
	copy->condemned = s->condemned;
	return copy;
}

uint64_t index_mem_store_bytes(struct index_mem_store *s)
{
	uint64_t sum = 0;

	ENV_LOCKED(&s->lock);
	for (unsigned i = 0; i < s->file_count; i++)
		sum += s->files[i].data.len;
	for (unsigned i = 0; i < s->restore_count; i++)
		sum += s->restore[i].data.len;
	return sum;
}

static uint64_t tree_bytes(const struct tree *t)
{
	struct tree_cursor c = {0};
	uint64_t sum = 0;

	for (tree_seek(&c, t, "", 0); c.at; tree_next(&c))
		sum += 8 + c.at->key_len + tree_value_len(c.at);
	tree_cursor_release(&c);
	return sum;
}

uint64_t index_mem_flush_bytes(struct index_mem_store *s)
{
	ENV_LOCKED(&s->lock);
	return s->open ? tree_bytes(s->open->changed) : 0;
}

void index_mem_store_crash(struct index_mem_store *s)
{
	ENV_LOCKED(&s->lock);
	if (s->open) {
		struct index *x = s->open;

		s->open = NULL;
		x->next_lost = s->lost;
		s->lost = x;
		tree_put(x->root);
		tree_put(x->changed);
		x->root = x->changed = NULL;
	}
	if (s->restore) { /* cut in the middle of a restore: nothing is left */
		restore_drop(s);
		tree_put(s->flushed);
		s->flushed = NULL;
	}
}

void index_mem_store_free(struct index_mem_store *s)
{
	if (!s)
		return;
	index_mem_store_crash(s);
	while (s->lost) {
		struct index *x = s->lost;

		s->lost = x->next_lost;
		free(x);
	}
	tree_put(s->flushed);
	files_free(s->files, s->file_count);
	env_mutex_release(&s->lock);
	free(s);
}
