/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index on RocksDB; with index_rocks_read.c, which reads it, the only file that knows it. One column family, its own log
 * switched off (our journal is the log). What has changed since the last flush is kept beside it (pending.h) and reaches it in
 * flush() alone; nothing is flushed of its own accord: the write buffer is far larger than what meta lets pile up between
 * two checkpoints, and shutting down does not flush.
 *
 * Keeps P3 (block checksums verified on every read) and P10 (a damaged block is an error, never a
 * crash). A damaged block is healed by meta from the fragments on the disks; where it can't be, the mark
 * DIR.damaged is left, so that the next open refuses the directory and it is restored whole.
 * The directory as files: index_dir.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/probe.h"
#include "dev/home.h"
#include "meta/index_dir.h"
#include "meta/index_merge.h"
#include "meta/index_rocks.h"

#define BLOCK_CACHE_BYTES MIB(64)
#define WRITE_BUFFER_BYTES GIB(1)
#define FLUSH_SPARE_BYTES MIB(2)
#define ROOM_HELD_BYTES                                                                            \
	MIB(8) /* twice what opening needs: some is gone after each, if others take what is free */
#define MANIFEST_AHEAD_BYTES KIB(64) /* allocated; RocksDB's default is all that opening may need */
#define READ_TIER_CACHE 1	     /* RocksDB's kBlockCacheTier */
#define WRITE_BATCH_BYTES MIB(1)
#define POLL_US 1000u
#define POLLS_TO_START 1000u
#define POLLS_IDLE 30000u /* nothing is done any more */
/* Each flush that fails leaves one behind. RocksDB waits for ever before it has all that it may have. */
#define MEMTABLES_MAX 64u
#define MEMTABLES_TO_FLUSH (MEMTABLES_MAX - 8)
/* A table with so many deletions among so many entries in turn is merged even if no size asks for it. */
#define DELETIONS_WINDOW 512u
#define DELETIONS_TRIGGER 256u

/* RocksDB's text names the file: "... in /path/000012.sst offset 1234 size 4567". */
static void suspect_set(struct index *x, const char *msg)
{
	const char *end = strstr(msg, ".sst"), *begin = end;

	while (begin && begin > msg && begin[-1] >= '0' && begin[-1] <= '9')
		begin--;
	ENV_LOCKED(&x->lock);
	x->suspect[0] = '\0';
	if (begin && begin < end && (size_t)(end - begin) + 5 <= sizeof(x->suspect))
		snprintf(x->suspect, sizeof(x->suspect), "%.*s", (int)(end - begin + 4), begin);
}

static bool rocks_suspect(struct index *x, char *ret_name, size_t size)
{
	ENV_LOCKED(&x->lock);
	return x->suspect[0] && snprintf(ret_name, size, "%s", x->suspect) < (int)size;
}

int rocks_error(struct index *x, const char *doing, char *msg)
{
	int err = DFS_EIO;

	if (strncmp(msg, "Corruption", 10) == 0) {
		err = DFS_ECHECKSUM;
		log_warn("cannot %s the metadata index %s: %s", doing, x->dir, msg);
		suspect_set(x, msg);
	} else {
		if (strstr(msg, "No space left") || strstr(msg, "NoSpace"))
			err = DFS_ENOSPC;
		log_error("cannot %s the metadata index %s: %s", doing, x->dir, msg);
	}
	rocksdb_free(msg);
	return err;
}

/* The same for what writes, where it is the filesystem's word that counts. A read that finds no file must not say that
 * there is no such key. */
static int write_error(struct index *x, const char *doing, char *msg)
{
	static const struct {
		const char *text;
		int err;
	} words[] = {
		{"No such file", DFS_EGONE},	     {"Read-only file system", DFS_EROFS},
		{"Permission denied", DFS_EACCES},   {"Operation not permitted", DFS_EACCES},
		{"Disk quota exceeded", DFS_ENOSPC},
	};
	int err = 0, said;

	for (unsigned i = 0; i < ARRAY_SIZE(words) && !err; i++)
		err = strstr(msg, words[i].text) ? words[i].err : 0;
	said = rocks_error(x, doing, msg);
	return err ? err : said;
}

/* ---- open and close ---- */

/* Compactions run only inside compact(), so that between two checkpoints no table comes into being but
 * those of the flush: what a checkpoint has to write is known beforehand. */
static void set_sizes(rocksdb_options_t *o, uint64_t flush_bytes)
{
	uint64_t table = index_table_bytes(flush_bytes);

	rocksdb_options_set_disable_auto_compactions(o, 1);
	rocksdb_options_set_target_file_size_base(o, table);
	rocksdb_options_set_max_bytes_for_level_base(o, MAX(4 * flush_bytes, 2 * table));
	rocksdb_options_set_max_compaction_bytes(o, (INDEX_COMPACTION_TABLES - 2) * table);
	rocksdb_options_set_max_manifest_file_size(o, MIN(MAX(flush_bytes / 8, KIB(128)), MIB(1)));
	rocksdb_options_add_compact_on_deletion_collector_factory(o, DELETIONS_WINDOW,
								  DELETIONS_TRIGGER);
}

/* RocksDB 7.8 and later ignore max_compaction_bytes for the tables of the upper level that they take along, unless told
 * not to; others know no such option. What it can't bound compact() does not let begin. */
static rocksdb_options_t *bound_compactions(rocksdb_options_t *plain)
{
	rocksdb_options_t *o = rocksdb_options_create();
	char *msg = NULL;

	rocksdb_get_options_from_string(plain, "ignore_max_compaction_bytes_for_input=false", o,
					&msg);
	if (!msg) {
		rocksdb_options_destroy(plain);
		return o;
	}
	rocksdb_free(msg);
	rocksdb_options_destroy(o);
	return plain;
}

static rocksdb_options_t *options_new(rocksdb_cache_t *cache, uint64_t flush_bytes)
{
	rocksdb_options_t *plain = rocksdb_options_create();
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	char *msg = NULL;

	rocksdb_options_set_create_if_missing(plain, 1);
	/* else one rotten block that a compaction finds would end all writing until a restart; what is
	 * checked at open without it, files_whole() checks */
	rocksdb_options_set_paranoid_checks(plain, 0);
	rocksdb_options_set_write_buffer_size(plain, WRITE_BUFFER_BYTES);
	rocksdb_options_set_max_write_buffer_number(plain, (int)MEMTABLES_MAX);
	rocksdb_options_set_arena_block_size(plain, MIB(1));
	rocksdb_options_set_max_open_files(plain, (int)MIN(limits_open_files() / 4, 512u));
	rocksdb_options_set_manifest_preallocation_size(plain, MANIFEST_AHEAD_BYTES);
	rocksdb_options_set_max_background_jobs(plain, 2);
	rocksdb_options_set_keep_log_file_num(plain, 2);
	rocksdb_options_set_max_log_file_size(plain, MIB(1));
	/* only what is written when it is opened: a log that can't be written ends the process (an assertion) */
	rocksdb_options_set_info_log_level(plain, 5);
	rocksdb_options_set_stats_dump_period_sec(plain, 0);
	rocksdb_options_set_compression(plain, rocksdb_no_compression);
	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
	rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom(10));
	rocksdb_block_based_options_set_block_size(table, KIB(8));
	rocksdb_block_based_options_set_format_version(table, 5);
	rocksdb_options_set_block_based_table_factory(plain, table);
	rocksdb_block_based_options_destroy(table);
	/* The C interface has no setter for these two. */
	rocksdb_get_options_from_string(plain,
					"avoid_flush_during_shutdown=true;"
					"avoid_flush_during_recovery=true",
					o, &msg);
	if (msg) {
		assert_failed(msg, __FILE__, __LINE__);
	}
	rocksdb_options_destroy(plain);
	set_sizes(o, flush_bytes);
	return bound_compactions(o);
}

static void index_free(struct index *x)
{
	if (x->db)
		rocksdb_close(x->db);
	pending_release(&x->pending);
	rocksdb_readoptions_destroy(x->cached_options);
	rocksdb_readoptions_destroy(x->read_options);
	rocksdb_writeoptions_destroy(x->write_options);
	rocksdb_options_destroy(x->options);
	rocksdb_cache_destroy(x->cache);
	env_mutex_release(&x->lock);
	free(x->dir);
	free(x);
}

/* RocksDB may end the process (an assertion) when the first files that it writes find no space. What was held for it
 * is given back by trying (C5). */
static int room_check(const char *dir)
{
	FREE char *name = xasprintf("%s.room", dir);
	int e = index_dir_try(name, HOME_OPEN_BYTES_MIN);

	if (e != ENOSPC && e != EDQUOT)
		return 0; /* RocksDB will tell */
	log_error("cannot open the metadata index %s: less than %u KiB are free on its filesystem; "
		  "nothing was done; free some space there",
		  dir, (unsigned)(HOME_OPEN_BYTES_MIN / 1024));
	return DFS_ENOSPC;
}

/* C5, as far as there is room now. */
static void room_hold(struct index *x)
{
	FREE char *name = xasprintf("%s.room", x->dir);
	uint64_t held = index_dir_hold(name, ROOM_HELD_BYTES);
	ENV_LOCKED(&x->lock);

	x->held_bytes = held;
}

static bool room_is_held(struct index *x)
{
	ENV_LOCKED(&x->lock);

	return x->held_bytes >= ROOM_HELD_BYTES;
}

/* Is each table there, and as long as the index says? */
static bool files_whole(struct index *x)
{
	const rocksdb_livefiles_t *files = rocksdb_livefiles(x->db);
	bool whole = true;

	for (int i = 0; i < rocksdb_livefiles_count(files) && whole; i++) {
		/* the name begins with a slash */
		FREE char *path = xasprintf("%s%s", x->dir, rocksdb_livefiles_name(files, i));
		struct stat st;

		whole = stat(path, &st) == 0 &&
			(uint64_t)st.st_size == rocksdb_livefiles_size(files, i);
		if (!whole)
			log_warn("the table file %s of the metadata index is missing or too short: "
				 "the index is restored from the disks",
				 path);
	}
	rocksdb_livefiles_destroy(files);
	return whole;
}

static int rocks_open(void *arg, uint64_t flush_bytes, struct index **ret_index)
{
	const char *dir = arg;
	FREE char *mark = xasprintf("%s.damaged", dir);
	FREE char *image = xasprintf("%s.image", dir);
	struct index *x;
	struct stat st;
	char *msg = NULL;
	int full;

	if (access(mark, F_OK) == 0)
		return DFS_ECHECKSUM;
	full = room_check(dir);
	if (full)
		return full;
	index_dir_remove(image);
	if (lstat(dir, &st) == 0 && !S_ISDIR(st.st_mode)) {
		log_error(
			"cannot use the index directory %s: it is a link or a file; remove it, and the "
			"index is made anew from the disks",
			dir);
		return DFS_ENOTDIR;
	}
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		log_error("cannot create the index directory %s: %s", dir, strerror(errno));
		return index_dir_error(errno);
	}
	x = xcalloc(1, sizeof(*x));
	x->dir = xstrdup(dir);
	env_mutex_init(&x->lock);
	x->cache = rocksdb_cache_create_lru(BLOCK_CACHE_BYTES);
	x->options = options_new(x->cache, flush_bytes);
	x->compaction_limit = rocksdb_options_get_max_compaction_bytes(x->options);
	x->read_options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(x->read_options, 1);
	x->cached_options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(x->cached_options, 1);
	rocksdb_readoptions_set_read_tier(x->cached_options, READ_TIER_CACHE);
	pending_init(&x->pending);
	x->write_options = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(x->write_options, 1);
	index_dir_warm(dir);
	x->db = rocksdb_open(x->options, dir, &msg);
	if (msg) {
		/* Whatever is wrong with a rebuildable directory, but the lock: restore it. */
		int err = strstr(msg, "lock") ? DFS_ELOCKED : DFS_ECHECKSUM;

		if (strstr(msg, "No space left"))
			err = DFS_ENOSPC;
		if (strstr(msg, "Too many open files"))
			err = DFS_EBUSY;
		log_warn("cannot open the metadata index %s: %s", dir, msg);
		rocksdb_free(msg);
		index_free(x);
		return err;
	}
	if (!files_whole(x) || lstat(dir, &st) < 0) {
		index_free(x);
		return DFS_ECHECKSUM;
	}
	x->was = st;
	room_hold(x);
	*ret_index = x;
	return 0;
}

static uint64_t property(struct index *x, const char *name)
{
	uint64_t value = 0;

	return rocksdb_property_int(x->db, name, &value) ? 0 : value;
}

/* What lies in memory, and a little more. */
static uint64_t flush_bytes(struct index *x)
{
	return property(x, "rocksdb.cur-size-all-mem-tables") + pending_bytes(&x->pending) +
	       FLUSH_SPARE_BYTES;
}

static int look_and_try(struct index *x, uint64_t bytes)
{
	FREE char *probe = xasprintf("%s/room", x->dir);
	struct statvfs v;
	int err = index_dir_look(x->dir, &x->was), e;

	if (err)
		return err;
	if (statvfs(x->dir, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < flush_bytes(x))
		return DFS_ENOSPC;
	e = index_dir_try(probe, bytes);
	if (!e && !room_is_held(x))
		room_hold(x);
	return e ? index_dir_error(e) : 0;
}

static int rocks_check(struct index *x, bool may_write)
{
	return may_write ? look_and_try(x, 0) : index_dir_look(x->dir, &x->was);
}

/*
 * RocksDB that finds no space, or no directory, while it flushes refuses everything from then on, or waits for ever.
 * So it is not let that far: what lies in memory must fit first. The journal has it meanwhile, and the flush is
 * tried again.
 */
static int flush_check(struct index *x) { return look_and_try(x, flush_bytes(x)); }

static uint64_t unflushed(struct index *x)
{
	return property(x, "rocksdb.num-immutable-mem-table");
}

static bool flush_ends(struct index *x, uint64_t errors)
{
	unsigned idle = 0;

	while (unflushed(x) > 0) {
		bool runs = property(x, "rocksdb.num-running-flushes") > 0;

		if (property(x, "rocksdb.background-errors") > errors || idle == POLLS_IDLE)
			return false;
		idle = runs ? 0 : idle + 1;
		usleep(POLL_US);
	}
	return true;
}

/* All of the tree, to RocksDB's memtable, which nothing flushes before all is there. */
static int write_tree(struct index *x, const struct tree *t)
{
	rocksdb_writebatch_t *b = rocksdb_writebatch_create();
	struct tree_cursor c = {0};
	char *msg = NULL;
	size_t bytes = 0;

	tree_seek(&c, t, "", 0);
	while (!msg && c.at) {
		const struct tree_entry *e = c.at;
		const char *key = (const char *)e->bytes;

		if (e->value_len == TREE_DELETED)
			rocksdb_writebatch_delete(b, key, e->key_len);
		else
			rocksdb_writebatch_put(b, key, e->key_len, key + e->key_len, e->value_len);
		bytes += e->key_len + tree_value_len(e);
		tree_next(&c);
		if (c.at && bytes < WRITE_BATCH_BYTES)
			continue;
		rocksdb_write(x->db, x->write_options, b, &msg);
		rocksdb_writebatch_clear(b);
		bytes = 0;
	}
	tree_cursor_release(&c);
	rocksdb_writebatch_destroy(b);
	return msg ? rocks_error(x, "write to", msg) : 0;
}

/* What a failure left frozen, and then what has changed since. */
static int write_pending(struct index *x)
{
	int err = 0;

	for (unsigned i = 0; !err && i < PENDING_TREES; i++) {
		struct tree *t = pending_freeze(&x->pending);

		err = write_tree(x, t);
		tree_put(t);
		if (!err)
			pending_written(&x->pending);
	}
	return err;
}

/*
 * A flush that waits does so for ever when it fails, for without paranoid checks nobody tells it. So it is only begun
 * here, and watched.
 */
static int rocks_flush(struct index *x)
{
	uint64_t errors = property(x, "rocksdb.background-errors");
	rocksdb_flushoptions_t *o;
	char *msg = NULL;
	int err = flush_check(x);

	if (err)
		return err;
	if (unflushed(x) >= MEMTABLES_TO_FLUSH)
		return DFS_EIO; /* it has failed too often: the next mount makes it anew */
	err = write_pending(x);
	if (err)
		return err;
	o = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(o, 0);
	rocksdb_flush(x->db, o, &msg);
	rocksdb_flushoptions_destroy(o);
	if (msg)
		return write_error(x, "flush", msg);
	if (flush_ends(x, errors))
		return 0;
	err = flush_check(x); /* what has happened meanwhile? */
	return err ? err : DFS_EIO;
}

static void rocks_close(struct index *x, bool persist)
{
	if (persist)
		(void)!rocks_flush(x);
	index_free(x);
}

static int rocks_apply(struct index *x, const struct index_op *ops, size_t count)
{
	pending_apply(&x->pending, ops, count, rocks_may_have, x);
	return 0;
}

/* ---- compaction ---- */

static bool allow_compactions(struct index *x, bool on)
{
	const char *key = "disable_auto_compactions", *value = on ? "false" : "true";
	char *msg = NULL;

	rocksdb_set_options(x->db, 1, &key, &value, &msg);
	if (!msg)
		return true;
	log_warn("cannot %s compactions of the metadata index %s: %s", on ? "start" : "stop",
		 x->dir, msg);
	rocksdb_free(msg);
	return false;
}

static uint64_t new_bytes(struct index *x, index_stored_fn is_stored, void *ctx)
{
	const rocksdb_livefiles_t *files = rocksdb_livefiles(x->db);
	uint64_t sum = 0;

	for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
		uint64_t size = rocksdb_livefiles_size(files, i);

		if (!is_stored(ctx, rocksdb_livefiles_name(files, i) + 1, size))
			sum += size;
	}
	rocksdb_livefiles_destroy(files);
	return sum;
}

static uint64_t rocks_merge_most(struct index *x, uint64_t flush_bytes)
{
	const rocksdb_livefiles_t *files = rocksdb_livefiles(x->db);
	int count = rocksdb_livefiles_count(files);
	struct merge_table *tables = xcalloc((size_t)count + 1, sizeof(*tables));
	uint64_t most;

	for (int i = 0; i < count; i++) {
		struct merge_table *t = &tables[i];

		t->level = (unsigned)rocksdb_livefiles_level(files, i);
		t->size_bytes = rocksdb_livefiles_size(files, i);
		t->first = (const uint8_t *)rocksdb_livefiles_smallestkey(files, i, &t->first_len);
		t->last = (const uint8_t *)rocksdb_livefiles_largestkey(files, i, &t->last_len);
	}
	most = index_merge_most(tables, (size_t)count, x->compaction_limit, flush_bytes);
	free(tables);
	rocksdb_livefiles_destroy(files);
	return most;
}

static bool runs(struct index *x) { return property(x, "rocksdb.num-running-compactions") > 0; }

static bool pending(struct index *x) { return property(x, "rocksdb.compaction-pending") > 0; }

/*
 * One compaction, or some that take no time: no further one may begin once one is seen running. What is counted between
 * two of them is what bounds the new tables of a checkpoint.
 */
static bool compact_one(struct index *x)
{
	if (!allow_compactions(x, true))
		return false;
	for (unsigned polls = 0; polls < POLLS_TO_START && pending(x) && !runs(x); polls++)
		usleep(POLL_US);
	(void)allow_compactions(x, false);
	while (runs(x))
		usleep(POLL_US);
	return true;
}

/* Would the next one have room, whatever it takes? The tables that it makes of them are a little larger (T7). */
static bool has_room(struct index *x, uint64_t new, uint64_t room)
{
	return new + rocks_merge_most(x, 0) / 16 * 17 <= room;
}

static int rocks_compact(struct index *x, const struct index_merging *how, bool *ret_more)
{
	uint64_t errors = property(x, "rocksdb.background-errors"), new, room;
	bool failed = false, done = false;

	*ret_more = false;
	if (!pending(x))
		return 0;
	room = how->room(how->ctx);
	while (!failed && pending(x)) {
		new = new_bytes(x, how->is_stored, how->ctx);
		if (new >= how->enough_bytes)
			break;
		if (!has_room(
			    x, new,
			    room)) { /* the next checkpoint has more when this one has made new tables */
			PROBE("compaction-without-room");
			*ret_more = done;
			return 0;
		}
		if (!compact_one(x))
			return 0;
		done = true;
		failed = property(x, "rocksdb.background-errors") > errors;
	}
	*ret_more = !failed && pending(x);
	if (!failed)
		return 0;
	log_warn("a compaction of the metadata index %s failed; it is tried again", x->dir);
	return DFS_EIO;
}

/* ---- image ---- */

static void rocks_image_end(struct index *x)
{
	FREE char *image = xasprintf("%s.image", x->dir);

	index_dir_remove(image);
}

/*
 * RocksDB up to 10.8 can lose a wake-up: rocksdb_checkpoint_create waits while another thread, which frees
 * an iterator, looks for files to delete; when that finds none, it tells nobody that it has ended, and the
 * checkpoint waits for ever (mended by RocksDB's change 14069). Anything that signals RocksDB's background
 * condition helps: to pause and resume manual compactions, of which none runs here, does nothing else.
 */
#define NUDGE_MS 50u

struct nudger {
	struct index *x;
	struct env_mutex lock;
	struct env_cond changed;
	bool is_done; /* lock */
	struct env_thread *thread;
};

static void nudge(void *arg)
{
	struct nudger *n = arg;

	ENV_LOCKED(&n->lock);
	while (!n->is_done) {
		if (env_cond_wait_ms(&n->changed, &n->lock, NUDGE_MS) || n->is_done)
			continue;
		env_mutex_unlock(&n->lock);
		rocksdb_disable_manual_compaction(n->x->db);
		rocksdb_enable_manual_compaction(n->x->db);
		env_mutex_lock(&n->lock);
	}
}

static void nudger_start(struct nudger *n, struct index *x)
{
	*n = (struct nudger){.x = x};
	env_mutex_init(&n->lock);
	env_cond_init(&n->changed);
	n->thread = env_thread_try_start("meta-nudge", nudge,
					 n); /* NULL: the wake-up is seldom lost */
}

static void nudger_stop(struct nudger *n)
{
	env_mutex_lock(&n->lock);
	n->is_done = true;
	env_cond_signal(&n->changed);
	env_mutex_unlock(&n->lock);
	if (n->thread)
		env_thread_join(n->thread);
	env_cond_release(&n->changed);
	env_mutex_release(&n->lock);
}

/* Hard links to the tables, and a copy of the manifest, in the directory `image`. */
static int image_freeze(struct index *x, const char *image)
{
	rocksdb_checkpoint_t *cp;
	struct nudger nudger;
	char *msg = NULL;

	cp = rocksdb_checkpoint_object_create(x->db, &msg);
	if (msg)
		return rocks_error(x, "freeze", msg);
	nudger_start(&nudger, x);
	/* UINT64_MAX: never flush here, the image is that of the last flush. */
	rocksdb_checkpoint_create(cp, image, UINT64_MAX, &msg);
	nudger_stop(&nudger);
	rocksdb_checkpoint_object_destroy(cp);
	return msg ? write_error(x, "freeze", msg) : 0;
}

static int rocks_image_begin(struct index *x, index_file_fn fn, void *ctx)
{
	FREE char *image = xasprintf("%s.image", x->dir);
	int err;

	index_dir_remove(image);
	err = image_freeze(x, image);
	if (err)
		return err;
	err = index_dir_list(image, fn, ctx);
	if (err)
		rocks_image_end(x);
	return err;
}

static int rocks_image_read(struct index *x, const char *name, uint64_t off, void *buf, size_t len)
{
	FREE char *image = xasprintf("%s.image", x->dir);

	return index_dir_read(image, name, off, buf, len);
}

/* ---- what only concerns files ---- */

static void rocks_condemn(struct index *x) { index_dir_condemn(x->dir, "a table file has rotted"); }

static int rocks_heal_write(struct index *x, const char *name, uint64_t off, const void *buf,
			    size_t len)
{
	return index_dir_overwrite(x->dir, name, off, buf, len);
}

static void rocks_set_marks(struct index *x, const struct hash *marks, unsigned count)
{
	index_dir_set_marks(x->dir, marks, count);
}

static bool rocks_has_mark(struct index *x, const struct hash *mark)
{
	return index_dir_has_mark(x->dir, mark);
}

const struct index_ops index_rocks_ops = {
	.open = rocks_open,
	.destroy = index_dir_destroy,
	.close = rocks_close,
	.apply = rocks_apply,
	.get = rocks_get,
	.iter_new = rocks_iter_new,
	.iter_new_within = rocks_iter_new_within,
	.iter_free = rocks_iter_free,
	.iter_seek = rocks_iter_seek,
	.iter_seek_back = rocks_iter_seek_back,
	.iter_valid = rocks_iter_valid,
	.iter_next = rocks_iter_next,
	.iter_prev = rocks_iter_prev,
	.iter_key = rocks_iter_key,
	.iter_value = rocks_iter_value,
	.iter_error = rocks_iter_error,
	.check = rocks_check,
	.flush = rocks_flush,
	.compact = rocks_compact,
	.merge_most = rocks_merge_most,
	.image_begin = rocks_image_begin,
	.image_read = rocks_image_read,
	.image_end = rocks_image_end,
	.condemn = rocks_condemn,
	.suspect = rocks_suspect,
	.heal_write = rocks_heal_write,
	.set_marks = rocks_set_marks,
	.has_mark = rocks_has_mark,
	.restore_begin = index_dir_restore_begin,
	.restore_write = index_dir_restore_write,
	.restore_end = index_dir_restore_end,
};
