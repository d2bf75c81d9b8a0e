/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of file/ share: the inode in memory, dirty slots, batches. docs/DESIGN.md "Files:
 * dirty data and sealing" has the rules F1..F8 that are cited here.
 *
 * Locks, in order of acquisition:
 *   fs.numbers_lock	one thread at a time reserves inode numbers; held during that commit, no other lock is
 *			taken under it but table_lock
 *   fs.rename_lock	one rename between directories at a time: keeps "is below" answers stable
 *   inode.lock		directories before all others, each kind by inode number; held during index
 *			look-ups and commits, never during I/O of file data
 *   fs.dirty_lock, fs.queue.lock, fs.space.lock, fs.reaper.lock, fs.fold.lock, fs.names.lock,
 *   fs.table_lock
 *			leaves: nothing is called under them; only table_lock is taken under
 *			dirty_lock
 */
#ifndef DFS_FILE_INTERNAL_H
#define DFS_FILE_INTERNAL_H

#include <sys/queue.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/le.h"
#include "base/log.h"
#include "extent/extent.h"
#include "file/fs.h"
#include "meta/cursor.h"
#include "pool/pool.h"

#define uthash_malloc(size) xmalloc(size)
#include <uthash.h>

#define SLOT_BYTES ((uint32_t)MIB(1))
#define SLOT_SHIFT 20
#define SLOT_PAGE 4096u
#define SLOT_PAGES (SLOT_BYTES / SLOT_PAGE)
#define SLOT_HEAP_MAX ((uint32_t)KIB(64)) /* up to here a slot's buffer comes from malloc */
#define SLOT_POOL_MAX 32u		  /* whole buffers kept for the next slots */
#define BATCH_MAX_SLOTS 16u
#define GROUP_MAX_EXTENTS 64u /* in one extent_write call */
#define GROUP_MAX_BYTES MIB(4)
#define TXN_RESERVE_BYTES                                                                          \
	768u /* an inode's record, its orphan record, its inline content's end, counters */
#define MAP_PUT_BYTES 80u   /* at most what a map entry takes in a transaction */
#define MAP_SLOT_BYTES 160u /* the usage of a slot, and the lists that it is in */
/* An entry that is cut or goes; it may be the only one of its slot. */
#define MAP_OLD_BYTES (2 * MAP_PUT_BYTES + MAP_SLOT_BYTES + EXTENT_REF_BYTES)
#define PREALLOC_SLOT_BYTES (64u + 8u * PREALLOC_RANGES_MAX) /* what is promised of a slot */
#define XATTR_DEL_BYTES 280u /* at most what the removal of an attribute takes */
#define FOLD_BAD_MAX 16u
#define WRITE_STEP MIB(4)      /* copied under one hold of the inode's lock */
#define RETRY_NS 1000000000ull /* F3 */
#define LINK_MAX_COUNT 0x7fffffffu
#define INODE_FIXED (INODE_IMMUTABLE | INODE_APPEND) /* what both forbid, AT1 */

_Static_assert(SLOT_BYTES == EXTENT_MAX_BYTES, "a full slot is one extent");

struct range { /* bytes of a slot */
	uint32_t start, end;
};

/* Unsealed bytes of one aligned MiB of a file. Protected by the inode's lock while it is in
 * inode.slots; immutable while it is in a batch. */
struct slot {
	uint64_t index;	   /* file offset >> SLOT_SHIFT */
	uint8_t *buf;	   /* buf[i] is the slot's byte i, valid where a range covers it */
	uint32_t cap;	   /* bytes of buf: a power of two on the heap, or SLOT_BYTES mapped */
	bool mapped, warm; /* warm: every page is resident already */
	uint64_t touched[SLOT_PAGES / 64];
	uint32_t charged;     /* memory accounted for it in fs.dirty_bytes */
	uint32_t bytes;	      /* sum of the ranges */
	struct range *ranges; /* sorted, disjoint, not adjacent */
	unsigned range_count, range_cap;
	uint64_t dirtied_ns;
};

struct slot_set { /* sorted by index */
	struct slot **v;
	unsigned count, cap;
};

enum batch_state {
	BATCH_PENDING, /* queued, or somebody writes it */
	BATCH_WRITTEN, /* its extents are in flight; commits when it is at the FIFO's head (F1) */
	BATCH_FAILED,
};
struct seal_batch {
	TAILQ_ENTRY(seal_batch) fifo;  /* inode.lock */
	TAILQ_ENTRY(seal_batch) queue; /* fs.queue.lock */
	bool queued;		       /* fs.queue.lock */
	struct inode *in;
	enum batch_state state; /* inode.lock */
	struct slot *slots[BATCH_MAX_SLOTS];
	unsigned slot_count;
	uint64_t charged;
	uint64_t born;	   /* E8: when it was detached; of a fold, that of the newest it read */
	uint64_t since_ns; /* when the oldest of its bytes were written */
	uint64_t covers;   /* up to here all is stored, or a hole, once it is committed (F2) */
	struct extent_new *ext; /* built by whoever writes it; lives until the commit */
	unsigned ext_count;
	struct record_piece *pieces;
	uint8_t *packed; /* bytes of slots with several ranges, while they are written */
};
TAILQ_HEAD(batch_list, seal_batch);

enum inode_list {
	LIST_NONE,
	LIST_DIRTY,  /* has dirty slots; ordered by the oldest */
	LIST_SEALING /* only batches */
};
enum inode_state { /* set once, under lock, when loading has ended; read atomically */
	INODE_LOADING,
	INODE_READY,
	INODE_BAD
};

/* What the kernel knows (known.c). */
#define KNOWN_PARTS 64u
struct known {
	uint64_t count; /* inodes */
	struct known_part {
		uint32_t count, cap;
		struct known_entry {
			ino_id ino; /* 0: free */
			uint64_t lookups;
		} * v;
	} parts[KNOWN_PARTS];
};

struct inode {
	struct env_mutex lock;
	struct env_cond changed; /* with lock: FIFO shorter, excl over, failure */
	struct fs *fs;
	ino_id ino;
	uint32_t type; /* S_IFMT bits; constant */
	int state;     /* enum inode_state, atomic */
	int load_err;

	/* fs.table_lock */
	UT_hash_handle hh;
	uint64_t refs; /* of callers, and our own uses */
	uint32_t handles;
	bool on_lru;
	bool gone; /* it has no name any more, and never will: it can't be made again (N3) */
	TAILQ_ENTRY(inode) lru;

	/* fs.names.lock */
	struct names *names;  /* of a directory; NULL: not kept */
	uint64_t name_misses; /* look-ups while they were not */

	/* fs.dirty_lock (and lock, to change them) */
	enum inode_list list;
	TAILQ_ENTRY(inode) dirty_link;
	int64_t dirty_since_ns;	   /* may lie before the clock's beginning */
	int64_t unstored_since_ns; /* of batches, too */
	bool failing;		   /* not before dirty_since_ns + the flusher's age */

	/* lock */
	struct rec_inode rec; /* as stored, but for newer times */
	uint64_t size;	      /* what readers see; rec.size is the stored size (F2) */
	uint64_t last_seq;    /* its last commit */
	bool freed;	      /* its record is gone */
	bool excl;	      /* somebody changes the map in steps: writers and sealers wait (F5) */
	bool inline_loaded;   /* the inline bytes are also in dirty slot 0 or in a batch */
	bool reaping;	      /* in the reaper's list */
	uint64_t
		beyond_end; /* end of map entries beyond rec.size, under ORPHAN_TRUNCATE; else 0. More
			      * than size: a truncation was left half done. */
	struct slot_set slots;
	uint64_t unsealed_bytes; /* of slots and batches */
	struct batch_list fifo;
	uint64_t detach_seq, commit_seq; /* batches ever detached and committed */
	unsigned fail_count;		 /* collapses of the FIFO so far */
	int fifo_err;			 /* a batch of the FIFO has failed */
	int error;			 /* why data could not be stored; 0 once it could (F3) */
	uint64_t retry_ns;
	struct rec_map last_map; /* the map entry last read; len 0: none */
	uint64_t read_end, prefetched_to;
	struct log_site read_errors; /* its own: a lost file is named however many there are */
};
TAILQ_HEAD(inode_list_head, inode);

struct reap {
	STAILQ_ENTRY(reap) link;
	ino_id ino;
};

/* Room, or what takes it: of file data, as copies; and of keys and values of the index. */
struct budget {
	int64_t room;  /* all there is, but for what is promised (F9) */
	int64_t data;  /* what is sure (A1), of promised room, too */
	int64_t index; /* how much more it may hold with these two */
};

/* Batches for the workers (seal.c). */
struct seal_queue {
	struct env_mutex lock;
	struct env_cond wake;
	struct batch_list list;
	uint64_t bytes;
	bool stop;
};

/* What may still be accepted (space.c, F4). */
struct space_account {
	struct env_mutex lock;
	struct budget budget;
	uint64_t budget_ns;  /* when it was computed; 0: never */
	struct budget taken; /* of all budgets so far */
	int64_t writing;     /* what writes have taken that are not dirty bytes yet, perhaps */
	int64_t promising;   /* what fallocate has taken that is not in the counter yet, perhaps */
	int64_t asking;	     /* of these two: what is asked for, and not granted yet */
	int64_t unasked;     /* what is being written that nobody asked for (A6) */
	uint64_t full_ns, full_seq; /* when, and at which commit, the pool was found full */
	bool promise_broken;	    /* room that was promised was looked for in vain, last */
	uint64_t broken_ns;	    /* at this time */
};

/* Directories' names (names.c). */
struct names_cache {
	struct env_mutex lock;
	TAILQ_HEAD(, names) list; /* the one used last is last */
	uint64_t bytes;
};

/* Slots that take more than they may (fold.c). */
struct folding {
	struct env_mutex lock; /* a leaf; of struct rebundle, too */
	struct env_cond wake;  /* there may be something to fold */
	struct env_cond less;  /* the excess has fallen */
	int64_t excess;	       /* bytes, over all slots; what this process has seen of it */
	uint64_t slots;	       /* that were folded */
	struct fold_bad {      /* slots that could not be read, passed over for a while */
		ino_id ino;
		uint64_t slot, until_ns;
	} bad[FOLD_BAD_MAX];
	unsigned bad_next;
	bool stalled; /* what there is can't be folded now */
	bool stop, paused, busy;
	struct rec_usage at;		      /* the slot that was last tried */
	struct geometry fit_large, fit_small; /* what extents get (usage_refresh) */
};

/* Slots with extents narrower than wanted (rebundle.c). */
struct rebundle {
	bool due, noted;
	ino_id at_ino; /* the slot that was last tried */
	uint64_t at_slot;
	uint64_t began_ns, next_ns, rest_until_ns;
	struct geometry large, small; /* that it was last due for */
	uint64_t slots;		      /* that were stored anew */
	uint64_t fit_ns;	      /* when the fits were looked at for what finds no disk */
};

struct resting {       /* resting.c: the background thread's */
	ino_id at_ino; /* the slot that was last looked at */
	uint64_t at_slot;
	uint64_t next_ns;
};

/* What the background thread is to do (orphan.c). */
struct reaper {
	struct env_mutex lock;
	struct env_cond wake, idle;
	unsigned busy;
	STAILQ_HEAD(, reap) list;
	bool stop;
};

struct fs {
	struct env_mutex numbers_lock; /* who raises ino_mark */
	struct env_mutex rename_lock;
	struct pool *pool;
	struct meta *meta;
	struct extent_store *extents;
	struct fs_config cfg;
	bool read_only;

	struct env_mutex table_lock; /* the inode cache, and what the kernel knows */
	struct inode *inodes;	     /* hash by ino */
	struct inode_list_head lru;
	uint64_t lru_count;
	struct known known;
	uint64_t next_ino;
	uint64_t ino_mark; /* numbers below may be given out (N1) */

	struct env_mutex dirty_lock; /* memory of unsealed data; lists of inodes */
	struct env_cond room;	     /* dirty_bytes has fallen */
	struct env_cond flush_wake;
	uint64_t dirty_bytes, inflight_bytes; /* charged; of it in batches */
	uint64_t folding_bytes;		      /* of it what is stored already, and being folded */
	unsigned room_waiters;
	struct inode_list_head dirty, sealing;
	int stuck_err; /* the last failure to store data, 0 after a success */
	uint64_t sealed_extents, seal_errors;
	uint8_t *pool_bufs[SLOT_POOL_MAX]; /* whole slot buffers for reuse */
	unsigned pool_count;
	uint64_t store_by_ns; /* what was written by then is due now */
	bool stop_flusher;

	struct seal_queue queue;
	struct space_account space;
	struct names_cache names;
	struct folding fold;
	struct rebundle rebundle;
	struct resting resting;
	struct reaper reaper;

	bool abandoned; /* atomic */
	struct env_thread *flusher, *background, *folder, **workers;
};

/* ---- inode.c ---- */
struct dfs_time time_now(void);
static inline bool is_dir(const struct inode *in) { return S_ISDIR(in->type); }
static inline bool is_reg(const struct inode *in) { return S_ISREG(in->type); }
void inode_ref(struct inode *in);
void inode_put(struct inode *in, uint64_t n);
/* Before inode_new(), without locks: sees to it that a number may be given out (N1). */
MUST_USE int inode_numbers_ensure(struct fs *fs);
/* Its last name is gone. A reference held. */
void inode_gone(struct inode *in);
/* A new inode for rec, locked, in the table, one reference. After its commit: inode_born(). */
struct inode *inode_new(struct fs *fs, const struct rec_inode *rec);
void inode_born(struct inode *in, int err);
unsigned inode_handles(struct inode *in);
void inode_attr(struct inode *in, struct fs_attr *ret_attr); /* lock held */
/* Puts r and the counter changes against in->rec, commits t, and takes r over on success. Consumes
 * t. */
MUST_USE int inode_commit(struct inode *in, struct meta_txn *t, const struct rec_inode *r);
/* Takes over what a committed transaction of number seq has put. */
void inode_took(struct inode *in, const struct rec_inode *r, uint64_t seq);
void inodes_free_all(struct fs *fs);
/* Locks up to 4 (NULL and repeated ones are passed over) in the one order. */
void inode_lock_many(struct inode **ins, unsigned count);
void inode_unlock_many(struct inode **ins, unsigned count);
void inode_log(struct inode *in, const char *what, int err, const char *then);
/* Waits until nobody has it, takes it, and waits until the FIFO is empty (F5). lock held. */
void inode_excl_begin(struct inode *in);
void inode_excl_end(struct inode *in);
/* Between two steps of a long change others may look at the inode, and change what is not of its map: its record is to
 * be read anew. lock held. */
void inode_step_aside(struct inode *in);

/* ---- known.c: fs.table_lock held ---- */
void known_add(struct known *k, ino_id ino); /* one look-up more */
/* So many fewer, or all there are. Does it still know the inode? */
bool known_drop(struct known *k, ino_id ino, uint64_t lookups);
bool known_has(struct known *k, ino_id ino);
void known_release(struct known *k);

/* ---- slot.c ---- */
struct slot *slot_find(const struct slot_set *set, uint64_t index);
unsigned slot_lower(const struct slot_set *set, uint64_t index); /* first with index >= */
void slot_insert(struct slot_set *set, struct slot *s);
void slot_erase(struct slot_set *set, unsigned at);
struct slot *slot_new(uint64_t index);
void slot_free(struct fs *fs, struct slot *s); /* also what it was charged */
/* Makes room for [off, off+len): 0 or DFS_ENOMEM. *charge grows by the memory it takes. */
MUST_USE int slot_prepare(struct fs *fs, struct slot *s, uint32_t off, uint32_t len,
			  uint64_t *charge);
/* After slot_prepare. Returns how many bytes were not dirty before. */
uint32_t slot_store(struct slot *s, uint32_t off, const void *data, uint32_t len);
/* Adds [start, end) to the ranges alone; returns how many bytes were not there before. */
uint32_t slot_mark(struct slot *s, uint32_t start, uint32_t end);
/* Forgets dirty bytes of [start, end); returns how many. */
uint32_t slot_cut(struct slot *s, uint32_t start, uint32_t end);
/* Copies what older has and newer has not into newer. */
void slot_merge_under(struct fs *fs, struct slot *newer, const struct slot *older);
bool slot_is_whole(const struct slot *s);
/* The lowest dirty byte (file offset) at or beyond off, UINT64_MAX if none. */
uint64_t slot_first_at(const struct slot *s, uint64_t off);
uint64_t slots_first_at(const struct slot_set *set, uint64_t off); /* of all */
/* [off, *ret_end) is dirty in s, or false. */
bool slot_covers(const struct slot *s, uint64_t off, uint64_t *ret_end);

void dirty_charge(struct fs *fs, int64_t bytes);
MUST_USE int dirty_reserve(struct fs *fs, uint64_t bytes);
/* Keeps the inode on the list that fits its slots and FIFO. lock held, and a reference. */
void dirty_list_update(struct inode *in);
/* Drops all dirty slots. lock held. */
void dirty_drop(struct inode *in);
void slot_pool_release(struct fs *fs);

/* ---- seal.c ---- */
enum seal_which {
	SEAL_FULL, /* whole slots */
	SEAL_AGED, /* dirtied at or before cutoff_ns */
	SEAL_ALL
};
/* Detaches (F1, F2) and queues; small files are committed inline at once. lock held. */
MUST_USE int seal_start(struct inode *in, enum seal_which which, uint64_t cutoff_ns);
/* Seals all that is dirty now and waits. No lock held. Writes batches itself, too. */
MUST_USE int seal_wait(struct inode *in);
void seal_worker(void *arg); /* thread */
/* Gives the batches' data back to the dirty slots, under newer data. lock held, none pending. */
void seal_collapse(struct inode *in);
void batch_free(struct fs *fs, struct seal_batch *b);

/* ---- commit.c ---- */
void batch_build(struct seal_batch *b);
/* Cuts the extent that found no room in two. false: there is none, or it is too small for that. */
bool batch_split(struct seal_batch *b);
/* After a failure parts may be committed; their bytes may be stored again. */
MUST_USE int batch_commit(struct inode *in, struct seal_batch *b);
void batch_settle(struct seal_batch *b); /* its extents are published, or given up */
/* Sets r->size to what may be stored (F2) and puts or deletes the orphan record that covers map
 * entries beyond it, which now end at mapped_to at least. except: a batch that is being committed, or
 * NULL. Returns the new beyond_end. */
uint64_t size_put(struct inode *in, struct meta_txn *t, struct rec_inode *r,
		  const struct seal_batch *except, uint64_t mapped_to);

/* Puts or deletes the orphan record that covers map entries from r->size up to beyond, and says so in
 * r. Returns the new beyond_end. */
uint64_t beyond_put(struct inode *in, struct meta_txn *t, struct rec_inode *r, uint64_t beyond);

/* ---- inline.c: lock held ---- */
/* The content that is stored inline into out (emptied first); nothing when there is none. */
MUST_USE int inline_get(struct inode *in, struct buf *out);
/* Puts len bytes as the content and sets r's lengths; 0 bytes: removes what r says is there. */
void inline_put(struct meta_txn *t, ino_id ino, struct rec_inode *r, const void *data, size_t len);
/* May all that is dirty, and is not yet stored, be stored inline? */
bool inline_fits(const struct inode *in);
MUST_USE int inline_commit(struct inode *in);
/* Copies inline bytes to dirty slot 0 before the first write to an inline file. */
MUST_USE int inline_load(struct inode *in, uint64_t *charge);
/* Commits r with the stored bytes of [off, end) zeroed, or cut off when they reach the last. */
MUST_USE int inline_cut(struct inode *in, struct rec_inode *r, uint64_t off, uint64_t end);

/* ---- flush.c ---- */
void flusher(void *arg);
void background(void *arg);
MUST_USE int seal_everything(struct fs *fs);

/* ---- space.c ---- */
/* F4: may so many bytes be added to what files hold, and to what the index holds (keys and values)? 0 or
 * DFS_ENOSPC. No lock held. */
MUST_USE int space_take(struct fs *fs, uint64_t data_bytes, uint64_t index_bytes);
/* The same for a write of which so many bytes were promised (F9). */
MUST_USE int space_take_promised(struct fs *fs, uint64_t data_bytes, uint64_t index_bytes,
				 uint64_t promised_bytes);
/* F9: may so many bytes be promised? 0 or DFS_ENOSPC. Either way space_promised() follows, with the same number,
 * when the promise is stored or given up. No lock held. */
MUST_USE int space_promise(struct fs *fs, uint64_t bytes);
void space_promised(struct fs *fs, uint64_t bytes);
/* What a name with its inode, and an extent with its map entry and addresses, take in the index. */
#define INDEX_NAME_BYTES 384u
#define INDEX_EXTENT_BYTES 768u
/* A write of so many bytes begins to ask and to copy, or (begins false) its bytes are dirty now. */
void space_writing(struct fs *fs, uint64_t data_bytes, bool begins);
/* What was accepted, for whoever writes unasked: extent_accepted_fn, ctx is the fs. */
void space_accepted(void *ctx, int64_t bytes, struct extent_accepted *ret);
/* The same, of data, for what can wait: takes the bytes if there is plenty. */
bool space_try(struct fs *fs, uint64_t bytes);

/* ---- map.c ---- */
struct map_cursor { /* zero-initialise; map_done() */
	struct inode *in;
	struct meta_iter *it;
	bool valid;
	struct rec_map rec;
};
/* The first entry that ends beyond off. lock held. */
MUST_USE int map_seek(struct map_cursor *c, struct inode *in, uint64_t off);
MUST_USE int map_next(struct map_cursor *c);
void map_done(struct map_cursor *c);

struct map_piece { /* what [start, end) becomes */
	uint64_t start, end;
	uint64_t
		key; /* where its entry begins: at start, or before it when that part is there already */
	bool hole;
	extent_id extent;
	uint32_t extent_offset; /* of key */
	unsigned ext;		/* whose piece it is: index in map_edit.ext */
};
struct map_entries {
	struct rec_map *v;
	unsigned count, cap;
};
void entries_add(struct map_entries *e, const struct rec_map *r);
void entries_release(struct map_entries *e);

/* A change of the map within one transaction; what it does to extents is gathered until map_apply. */
struct slot_change {
	uint64_t slot;
	int64_t stored, mapped, entries;
	uint64_t whole_stored; /* of a new extent that came as one entry, for all of it */
	bool narrow;	       /* a new extent is narrower than was wanted */
};
struct map_change { /* fill in and t, zeros else; map_change_release() after the commit */
	struct inode *in;
	struct meta_txn *t; /* borrowed */
	struct extent_refs refs;
	int64_t delta_bytes; /* change of mapped bytes */
	struct slot_change *slots;
	unsigned slot_count, slot_cap;
};
void map_change_release(struct map_change *m);
/* What may still be added to the transaction (B1), but for the inode's record and its orphan record. */
size_t map_room(const struct map_change *m);
/* Works out what is left of an entry under the pieces, from the first that ends beyond its start. */
void map_cut(struct map_change *m, const struct rec_map *old, const struct map_piece *p,
	     const struct map_piece *end);
/* The last step: adds what becomes of the extents and of the slots' usage. Then commit or cancel, and
 * nothing else. r: the inode's record that is put with it; NULL when that goes. */
MUST_USE int map_apply(struct map_change *m, struct rec_inode *r);
/* Unmaps from `from` as many entries below `to` as fit in the transaction, one at least; *ret_next:
 * where to go on, `to` when all is done. */
MUST_USE int map_unmap_step(struct map_change *m, uint64_t from, uint64_t to, uint64_t *ret_next);
/* Adds the unmapping of all, unless that takes more than room bytes: then m is as it was. */
MUST_USE int map_drop_all(struct map_change *m, size_t room, bool *ret_fits);
/* One transaction that unmaps what fits into it, from the file's start on; r as in map_unmap. */
MUST_USE int map_unmap_some(struct inode *in, struct rec_inode *r);
/* All of [from, to), in steps with a transaction each; r is put with them and updated. Under excl it steps aside
 * between them. tail: `to` is
 * the end of the file, and an orphan record covers the steps. */
MUST_USE int map_unmap(struct inode *in, struct rec_inode *r, uint64_t from, uint64_t to,
		       bool tail);
/* Likewise all from `from` on, and what is promised there, that first (F5). */
MUST_USE int map_cut_tail(struct inode *in, struct rec_inode *r, uint64_t from);

/* ---- usage.c: what slots take on the disks (U1..U3) ---- */
/* The change of the slot that holds the file's byte off. */
struct slot_change *usage_change(struct map_change *m, uint64_t off);
MUST_USE int usage_apply(struct map_change *m, struct rec_inode *r);
/* By how many bytes the slot takes more than it may before it is folded; 0: no more. */
uint64_t usage_excess(struct fs *fs, const struct rec_usage *u);
/* U8: would so much become free that it is worth storing it anew once it rests? */
bool usage_scattered(struct fs *fs, const struct rec_usage *u);
/* Looks which geometries extents get with the disks there are. */
void usage_refresh(struct fs *fs);

/* ---- prealloc.c: what fallocate promised and nobody has written yet (F9). lock held ---- */
/* How many bytes of [off, end) are neither mapped nor promised. */
MUST_USE int prealloc_lacking(struct inode *in, uint64_t off, uint64_t end, uint64_t *ret_bytes);
/* Adds to t, and counts in r, the promise of those from *from on that fit into it; *from: where to go on, `end` when
 * all is done. */
MUST_USE int prealloc_add_some(struct inode *in, struct meta_txn *t, struct rec_inode *r,
			       uint64_t *from, uint64_t end);
/* How many bytes of the range are promised and not dirty. */
uint64_t prealloc_covered(struct inode *in, uint64_t off, uint64_t len);
/* Adds to t that the pieces (in the order of the file, all that t maps) are written; counts it in r. */
MUST_USE int prealloc_cut(struct inode *in, struct meta_txn *t, struct rec_inode *r,
			  const struct map_piece *pieces, unsigned count);
/* Likewise gives up what is promised of [*from, to). */
MUST_USE int prealloc_drop_some(struct inode *in, struct meta_txn *t, struct rec_inode *r,
				uint64_t *from, uint64_t to);
/* All of it, in steps with a transaction each; r is put with them and updated. Under excl it steps aside between them. */
MUST_USE int prealloc_drop(struct inode *in, struct rec_inode *r, uint64_t from, uint64_t to);

/* ---- fold.c ---- */
void fold_main(void *arg);			/* thread */
void fold_excess(struct fs *fs, int64_t bytes); /* the slots' excess has changed */
/* A writer waits a little while there is too much of it (P9). No lock held. */
void fold_throttle(struct fs *fs);
/* Why a slot is stored anew: which list it is in. */
enum fold_why {
	FOLD_GARBAGE,
	FOLD_NARROW,
	FOLD_RESTING,  /* within its bound, and not written to any more */
	FOLD_HOMELESS, /* none: what an extent of it lacks finds no disk */
};
/* One slot, if it is to be (*ret_done). No lock held. */
MUST_USE int fold_slot(struct fs *fs, ino_id ino, uint64_t slot, enum fold_why why, bool *ret_done);
/* It could not be read, a while ago. */
bool fold_is_bad(struct fs *fs, ino_id ino, uint64_t slot);
/* Folds up to max slots now; how many it did. For a pool that has no more room. No lock held. */
unsigned fold_some(struct fs *fs, unsigned max);

/* ---- rebundle.c ---- */
/* Would it bear more losses, or take less room, if it were stored as new data is now? */
bool rebundle_is_better(struct fs *fs, const struct rec_extent *x);
/* Likewise, beside what is lost of it? */
bool rebundle_restores(struct fs *fs, const struct rec_extent *x);
/* extent_restore_fn; ctx: the filesystem */
MUST_USE int rebundle_restore(void *ctx, ino_id ino, uint64_t file_offset);
void rebundle_noted(struct fs *fs); /* a slot was put into the table */
void rebundle_look(struct fs *fs);  /* once a second, after usage_refresh() */
/* The next slot that is due. DFS_ENOENT: none is, now; else why it can't be gone on with. No lock held. */
MUST_USE int rebundle_next(struct fs *fs);
/* ---- resting.c: fold_main()'s ---- */
/* Does the slot lie scattered in a file that nobody has written to lately? inode.lock held. */
bool resting_is_due(struct fs *fs, struct inode *in, const struct rec_usage *u);
/* As rebundle_next(). */
MUST_USE int resting_next(struct fs *fs);

/* ---- orphan.c ---- */
struct victim {
	struct inode *in;
	struct rec_inode r;
	enum victim_fate {
		VICTIM_KEPT,
		VICTIM_FREED,
		VICTIM_ORPHANED
	} fate;
	struct map_change change;
};
/* Adds to t the loss of one name (of all, for a directory). lock held. */
MUST_USE int victim_prepare(struct victim *v, struct meta_txn *t, struct inode *in);
void victim_done(struct victim *v, uint64_t seq); /* after the commit */
void victim_release(struct victim *v);
void reap_later(struct fs *fs, struct inode *in); /* lock held */
MUST_USE int orphans_recover(struct fs *fs);
void reap_run(struct fs *fs);  /* all that is listed now */
void reap_wait(struct fs *fs); /* likewise, and what others are at */
void reap_free_list(struct fs *fs);
/* The last handle is closed. */
void orphan_last_close(struct fs *fs, struct inode *in);

/* ---- map_edit.c: overwriting, in transactions of bounded size ---- */
struct map_edit {
	struct inode *in;
	struct extent_new *ext;	  /* in file order; .published is set here */
	struct map_piece *pieces; /* of ext, sorted, disjoint */
	unsigned count;
	bool is_unasked; /* what is stored anew by itself */
	/* where it is: pieces before `at` are committed, and of that one the bytes before `from` */
	unsigned at;
	uint64_t from;
	/* what the transaction that is being made takes */
	struct map_piece *part;
	unsigned part_count, next_at;
	uint64_t next_from, part_end;
};
void map_edit_init(struct map_edit *e, struct inode *in, struct extent_new *ext,
		   struct map_piece *pieces, unsigned count);
void map_edit_release(struct map_edit *e);
/* Adds the next part to m. Everything below `must` belongs to the first one. */
MUST_USE int map_edit_step(struct map_edit *e, struct map_change *m, uint64_t must);
static inline bool map_edit_is_last(const struct map_edit *e) { return e->next_at == e->count; }
void map_edit_took(struct map_edit *e); /* the part is committed */
static inline bool map_edit_done(const struct map_edit *e) { return e->at == e->count; }

/* ---- namei.c ---- */
/* What a new inode in dir begins as: one link (a directory two), group and setgid as dir has it. dir's lock held. */
struct rec_inode name_new_rec(const struct inode *dir, uint32_t mode, uint64_t rdev,
			      struct fs_cred cred);
/* Does name mean in (NULL: nothing)? dir's lock held. */
MUST_USE int name_is_still(struct inode *dir, const char *name, const struct inode *in,
			   bool *ret_same);
/* AT1: may a name of `in` in dir neither go nor come to mean another? Locks of both held. */
bool name_is_fixed(const struct inode *dir, const struct inode *in);
MUST_USE int name_check(const char *name);
MUST_USE int dir_empty(struct inode *dir); /* 0, DFS_ENOTEMPTY, ... */

/* ---- xattr.c ---- */
struct heritage { /* lists that a new inode gets from its directory; empty: none */
	struct buf access, dflt;
};
void heritage_release(struct heritage *h);
/* Keys and values of what would be inherited from dir now. No lock held. */
MUST_USE int heritage_bytes(struct inode *dir, uint64_t *ret_bytes);
/* AC2: *r is to come into dir, with a mode that umask has not touched yet. dir's lock held. */
MUST_USE int heritage_find(struct inode *dir, uint32_t umask, struct rec_inode *r,
			   struct heritage *ret_heritage);
void heritage_put(struct meta_txn *t, ino_id ino, const struct heritage *h);

/* ---- names.c ---- */
/* A look-up is to follow: reads all names of dir when that pays. dir's lock not held. */
void names_prepare(struct inode *dir);
/* From the cache or the index: 0, DFS_ENOENT, ... */
MUST_USE int names_find(struct inode *dir, const char *text, ino_id *ret_ino);
/* A change is committed: the name means ino now, or nothing when that is 0. dir's lock held. */
void names_set(struct inode *dir, const char *text, ino_id ino);
void names_drop(struct inode *dir);

/* ---- truncate.c ---- */
/* Is off unsealed data? *ret_end: how far. Else *ret_end: where the next unsealed byte is. lock held. */
bool unsealed_at(const struct inode *in, uint64_t off, uint64_t *ret_end);
/* Frees what a truncation that failed half-way has left beyond the size; before the file grows over
 * it (P3). lock held. */
MUST_USE int truncate_finish(struct inode *in);
/* r: the record with the caller's other changes. A failure has changed nothing. lock held; waits for the FIFO. */
MUST_USE int truncate_locked(struct inode *in, struct rec_inode *r, uint64_t size);

/* How long data stays dirty before the flusher takes it; as much again until it is durable. */
static inline uint64_t flush_age_ns(const struct fs *fs)
{
	return fs->cfg.flush_interval_ms * 1000000u / 2;
}

#endif
