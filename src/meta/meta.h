/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata: transactions over an ordered index, made durable by a chained journal on several disks,
 * with checkpoints of the index on the disks. docs/DESIGN.md section "Metadata" holds the states, the invariants
 * (M1..M9) and the order of writes; this is the interface.
 *
 * Commit makes a transaction visible to every reader at once; meta_sync() makes it durable. Knows
 * nothing of files, extents or segments: keys and values are byte strings (meta/schema.h gives them
 * meaning), and "data before metadata" is a callback.
 */
#ifndef DFS_META_META_H
#define DFS_META_META_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/types.h"
#include "format/root.h"
#include "format/table.h"
#include "meta/history.h"
#include "meta/index.h"
#include "place/place.h"

struct dev;
struct meta;
struct meta_txn;

#define META_MAX_DISKS 256u

struct meta_known { /* a disk of the pool, there or not */
	disk_id id;
	struct uuid uuid;
	bool given_up;
};
struct meta_disk {  /* a disk as meta sees it */
	disk_id id; /* may be 0 in meta_scan's input: then filled in by nobody; see there */
	struct uuid uuid;
	struct dev *dev;	 /* borrowed; its root is DISK/dynamicfs */
	char domain[64];	 /* failure domain; "" is a domain of its own */
	uint64_t capacity_bytes; /* limit set by the user; 0: all the filesystem below has */
	bool no_new;		 /* takes no new fragments of tables (degraded, draining, ...) */
	bool leaving;		 /* is being emptied: what lies there moves (DR6) */
	bool emptied;		 /* leaving, and only its journal is left */
};

/* Called without locks held when a member fails; the pool marks the disk. */
typedef void (*meta_member_failed_fn)(void *ctx, disk_id id, int err);
/* A new epoch's root is durable on its voters; called before anything is acknowledged under it, so that
 * the pool directory can remember it (P8). Returns 0 once it does, durably. needed: the disks alone are
 * no majority (a tie), so the epoch is not formed if this fails; else a failure leaves the pool
 * directory behind, without a vote, and that is all. Called with meta locks held: must not call back
 * into meta. NULL: there is no pool directory. */
typedef int (*meta_epoch_fn)(void *ctx, const struct root *root, bool needed);
/* Table files are about to be written, or have been: what is set aside on the disks for them may be used
 * meanwhile. Called with meta locks held: must not call back into meta. */
typedef void (*meta_writing_fn)(void *ctx, bool begins);
/* So many bytes are about to be written to these disks that no account knows of: lowers free_bytes to what may be
 * taken of each (A6). Then the same with `begins` false, when they have been. Called with admin and perhaps the token held:
 * of meta it may ask for figures only. NULL is allowed. */
typedef void (*meta_spare_fn)(void *ctx, uint64_t bytes, bool begins, struct place_disk *disks,
			      unsigned count);
/* The history is chosen, and this disk is of it: from here on it is written to. Called by meta_open, unless
 * it is read-only, for each such disk; must not call back into meta. NULL is allowed. */
typedef void (*meta_taken_fn)(void *ctx, struct dev *dev);
/* Makes every fragment written so far durable; called before each journal write (P1). DFS_ENOSPC: not now,
 * the group waits (meta_commit_note() had no room); any other error ends the pool. */
typedef int (*meta_data_sync_fn)(void *ctx);

/* A transaction that was durable, by which a line of them is known (H10). */
struct meta_line {
	uint64_t seq; /* 0: none */
	struct hash chain;
};

struct meta_config {
	struct uuid pool;
	const struct index_ops *index_ops; /* RocksDB, or the in-memory one */
	void *index_arg; /* for index_ops->open: the directory's path, or the sim's object */
	const struct meta_disk *disks; /* every disk that can be reached now */
	unsigned disk_count;
	unsigned copies; /* wanted number of members (>= 1); fewer disks: all */
	unsigned
		table_k; /* wanted data fragments of a table file (0: 1); it bears copies - 1 losses */
	struct history_witness witness; /* what the pool directory remembers */
	struct meta_line line;		/* likewise: durable in the witness' epoch, or before it */
	bool force; /* choose a history though it can't be known to be the newest, or the only one */
	bool verify_writes; /* read journal and tables back before anything is acknowledged */
	bool read_only;	    /* write nothing to the disks; commits are refused */
	uint64_t checkpoint_bytes; /* checkpoint when the journal since the last holds that much */
	uint64_t buffer_bytes;	   /* bound of the unsynced journal buffer; committers wait (P9) */
	meta_data_sync_fn data_sync;
	meta_member_failed_fn member_failed;
	meta_writing_fn writing; /* NULL is allowed */
	meta_spare_fn spare;
	meta_taken_fn taken;
	meta_epoch_fn epoch_changed;
	void *ctx;
};

/* Acknowledged transactions that could not be recovered: their journal records are damaged on every
 * member. Kept in the state until a person has taken note. */
struct meta_loss {
	uint64_t from;	  /* the first that is lost; 0: nothing is */
	uint64_t last;	  /* at least up to this one had been acknowledged */
	uint64_t beyond;  /* records found whole after the damage, of no use without what is lost */
	uint64_t wall_ns; /* when it was found */
	uint64_t seen;	  /* the greatest number that anything there has; not kept */
};
struct meta_recovery { /* what open found and did, for the log and status */
	uint64_t epoch, generation, seq;
	uint64_t replayed_transactions;
	bool index_rebuilt; /* the local index was missing or unsound: restored from the disks */
	bool was_clean;
	uint64_t tail_cut_bytes;		  /* bytes after the last valid record */
	unsigned damaged_roots, damaged_journals; /* found and passed over */
	struct meta_loss loss;			  /* found by this open (DFS_EJOURNAL, or forced) */
	bool forced;				  /* opened by force alone */
	uint64_t rot_from, rot_to; /* journal records that no disk has whole, and none is needed */
	bool journals_short;	   /* no member's journal reached the state of the image */
	bool line_differs;	   /* the journal has another transaction under the line's number */
	char refusal
		[900]; /* of DFS_ENOQUORUM, DFS_ESTALE, DFS_ESPLIT, DFS_EUNREAD: why, for a person */
};

/* Writes the first root (generation 1, epoch 1, empty index) on every disk: a new pool. */
MUST_USE int meta_format(const struct meta_config *cfg);
/*
 * Recovers: newest valid root -> index (local if sound, else restored) -> replay; then, unless
 * read_only, makes all members equal (new epoch if members changed, checkpoint) before returning.
 * DFS_ENOQUORUM, DFS_ESTALE, DFS_ESPLIT (ret_recovery->refusal says why), DFS_ENOTPOOL (no root),
 * DFS_ECHECKSUM (too few fragments are whole), DFS_EIO,
 * DFS_EUNREAD (without force: it is not known where the journal ends, or what the roots are; refusal),
 * DFS_EJOURNAL (without force: acknowledged transactions are damaged; ret_recovery->loss says which).
 */
MUST_USE int meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		       struct meta_recovery *ret_recovery);
/* What the disk was when the pool was opened: HISTORY_OTHER is left alone. */
enum history_role meta_disk_role(struct meta *m, const struct uuid *uuid);
/* 0, or why commits and syncs are refused until the pool is opened again. */
int meta_failed(struct meta *m);
/* Syncs, checkpoints, writes a clean root (unless read-only or failed). Frees even on error. */
int meta_close(struct meta *m);
/* Likewise. *ret_last (unless NULL): what the pool directory is to remember of it; on success only. *ret_durable: all that was
 * committed is in the journal or the image, also when the checkpoint has failed. */
int meta_close_last(struct meta *m, struct history_witness *ret_last, bool *ret_durable);
/* Drops everything without writing (tests, read-only use). */
void meta_abandon(struct meta *m);

/* ---- transactions ---- */
/* What the operations of one transaction may take at most (B1): who has more to do does it in steps. */
#define META_TXN_BYTES KIB(256)
#define META_NOTE_BYTES KIB(3)
struct meta_txn *meta_begin(struct meta *m);
void meta_put(struct meta_txn *t, const void *key, size_t key_len, const void *value,
	      size_t value_len);
void meta_del(struct meta_txn *t, const void *key, size_t key_len);
/* counter < META_COUNTERS; the sum must not become negative (asserted at commit: clamps and logs). */
void meta_add(struct meta_txn *t, uint32_t counter, int64_t delta);
size_t meta_txn_bytes(const struct meta_txn *t);
/* Frees t without effect. NULL is allowed. */
void meta_cancel(struct meta_txn *t);
/*
 * Assigns the next sequence number, appends to the journal buffer, applies to the index; consumes t
 * always. An empty transaction succeeds with the last number. DFS_EROFS, DFS_EFAILED (and nothing
 * happened). May wait for the buffer to drain, so the caller holds no lock that data_sync needs.
 */
MUST_USE int meta_commit(struct meta_txn *t, uint64_t *ret_seq);
/*
 * For data_sync alone: commits without waiting, into room that is kept for it, what must be durable before
 * anything is that this sync covered. The group takes it along, and data_sync is called again. Consumes t.
 * At most META_NOTE_BYTES of operations. DFS_ENOSPC, DFS_EFAILED.
 */
MUST_USE int meta_commit_note(struct meta_txn *t);
/* Makes everything up to seq durable (P1): data_sync, then the journal on every member. Group
 * commit: concurrent callers share one. DFS_EFAILED / DFS_EIO when it can't be promised; DFS_ENOSPC
 * when no member has space: nothing is lost, and a later call tries again. */
MUST_USE int meta_sync(struct meta *m, uint64_t seq);
/*
 * Half of the voters were lost at once, and the pool directory could not be told (epoch_changed failed with
 * `needed`): then meta_sync() and what else needs a root fail with its error, nothing is lost, and each
 * call, or this one, tries again (H9). 0: nothing waits for the pool directory any more.
 */
MUST_USE int meta_settle_tie(struct meta *m);
uint64_t meta_last_seq(struct meta *m);
uint64_t meta_durable_seq(struct meta *m);
/* When nothing has been committed for a while: lets the journal say that its last group was acknowledged, if it
 * does not yet, so that rot there is told from a torn tail (M12). */
MUST_USE int meta_seal(struct meta *m);

/* ---- reading ---- */
/* Appends the value to out (emptied first). DFS_ENOENT, DFS_EIO, DFS_ECHECKSUM (index rotten). */
MUST_USE int meta_get(struct meta *m, const void *key, size_t key_len, struct buf *out);

struct meta_iter; /* a consistent snapshot as of its creation */
struct meta_iter *meta_iter_new(struct meta *m);
/* For a caller that looks only at keys which begin with prefix (at most INDEX_PREFIX_MAX bytes): the
 * iterator may end at the others. Deleted keys beside the prefix then cost nothing. */
struct meta_iter *meta_iter_new_within(struct meta *m, const void *prefix, size_t prefix_len);
void meta_iter_free(struct meta_iter *it); /* NULL is allowed */
/* First key >= key. */
void meta_iter_seek(struct meta_iter *it, const void *key, size_t key_len);
/* Last key <= key. */
void meta_iter_seek_back(struct meta_iter *it, const void *key, size_t key_len);
/* Is the key there? Then the iterator is at it. Cheap for who asks in about the keys' order: the next few are looked at first. */
bool meta_iter_find(struct meta_iter *it, const void *key, size_t key_len);
bool meta_iter_valid(struct meta_iter *it);
void meta_iter_next(struct meta_iter *it);
void meta_iter_prev(struct meta_iter *it);
/* Borrowed until the next move. */
const uint8_t *meta_iter_key(struct meta_iter *it, size_t *ret_len);
const uint8_t *meta_iter_value(struct meta_iter *it, size_t *ret_len);
/* 0, or why the iterator stopped early (DFS_EIO, DFS_ECHECKSUM). */
MUST_USE int meta_iter_error(struct meta_iter *it);

/* ---- counters: exact, persisted with the transactions that change them ---- */
#define META_COUNTERS 512u
enum meta_counter {
	META_COUNT_INODES = 0,
	META_COUNT_LOGICAL_BYTES = 1, /* bytes mapped by files (inline data too) */
	META_COUNT_EXTENTS = 2,
	META_COUNT_PREALLOC_BYTES = 3, /* promised to files, and not written yet */
	META_COUNT_INODE_NUMBERS = 4,  /* all below may have been given out */
	META_COUNT_DISK_USED = 16,     /* + disk id: bytes of live records on that disk */
};
int64_t meta_counter(struct meta *m, uint32_t counter);

/* ---- checkpoints and members ---- */
void meta_set_verify(struct meta *m, bool verify_writes);
/* Flush the index, store its new files on the disks, write roots, cut the journal. */
MUST_USE int meta_checkpoint(struct meta *m);
/*
 * The reachable disks have changed (one added, one failed): choose members anew (keeps present
 * ones, fills up to cfg.copies), new epoch. known: all disks of the pool; NULL: those known so
 * far, and what is new among disks. A disk that failed must live until this has returned without it among the disks (or meta_close has). DFS_ENOSPC: the
 * new members are not whole yet; a later checkpoint makes them so.
 */
MUST_USE int meta_set_disks(struct meta *m, const struct meta_disk *disks, unsigned count,
			    const struct meta_known *known, unsigned known_count);
/* All disks that it knows; at most ROOT_MAX_DISKS. Returns how many. */
unsigned meta_known_disks(struct meta *m, struct meta_known *out);
/* In the epoch in force the disk is given up, and that is formed (DR4). */
bool meta_has_given_up(struct meta *m, disk_id id);
/* Is that the epoch in force, or one before it that it remembers? */
bool meta_descends_from(struct meta *m, const struct uuid *epoch);
bool meta_is_member(struct meta *m, disk_id id);
bool meta_is_only_member(struct meta *m, disk_id id);
uint64_t meta_epoch(struct meta *m);
/* Is the newest root's epoch, or one before it that it remembers, made by force (H7)? */
bool meta_was_forced(struct meta *m);
/* What a pool directory that is up to date remembers. */
struct history_witness meta_witness(struct meta *m);
/* The last transaction that is durable (M3), for it to remember, too; not of a store that is read-only. */
struct meta_line meta_durable_line(struct meta *m);
uint64_t meta_generation(struct meta *m);

/* What is lost and not taken note of; from 0: nothing. DFS_EIO, DFS_ECHECKSUM, DFS_ECORRUPT. */
MUST_USE int meta_loss(struct meta *m, struct meta_loss *ret_loss);
/* A person has taken note: it is told of no more, and the damaged journal files go. */
MUST_USE int meta_loss_noted(struct meta *m);

struct meta_stats {
	uint64_t journal_bytes, journal_syncs, commits, checkpoints, buffered_bytes;
	uint64_t largest_txn_bytes; /* of the operations of one transaction, since the open (B1) */
};
struct meta_stats meta_stats(struct meta *m);

/* 0, or why the index can't be flushed where it lies, so that no checkpoint can be made: DFS_ENOSPC, DFS_EROFS,
 * DFS_EACCES, DFS_EIO, DFS_EGONE. The journal keeps all changes meanwhile, as long as it has room. */
int meta_index_error(struct meta *m);

/*
 * What metadata takes on the disks, for the one account of space. Bytes are those on the disks, all
 * fragments together. Never blocks for I/O.
 */
struct meta_space {
	uint64_t table_bytes;	/* of the table files that lie there now */
	uint64_t next_bytes;	/* at most: what the next checkpoints write beside them */
	uint64_t file_bytes;	/* about the largest of them */
	uint64_t journal_bytes; /* at most: what journals still grow by, all members together */
	struct place_geometry geometry; /* that new table files get */
};
void meta_space(struct meta *m, struct meta_space *ret);
/*
 * What the index may write where it lies (not on the disks) until the next checkpoint is done, and one great
 * compaction (C3). at_most: whatever else is committed until then, with so many bytes more; else as it is now.
 */
uint64_t meta_index_need(struct meta *m, bool at_most, uint64_t more);
/* How many losses of failure domains the index's table files bear; domains[id]: 0 where the disk is not there,
 * else equal for those that fail together. Never blocks for I/O. */
struct meta_safety {
	unsigned tables, tables_short; /* with fewer fragments than they were stored as */
	int losses_left; /* of the one that bears fewest; -1: too few are there; tables > 0 */
};
void meta_safety(struct meta *m, const uint32_t domains[DISK_ID_MAX + 1], struct meta_safety *ret);
/* Of table_bytes, those on this disk. */
uint64_t meta_disk_bytes(struct meta *m, disk_id id);

/*
 * Offline look at one disk's roots, for import and fsck: the newest valid root, and how many of the
 * 16 slots are neither empty nor valid. DFS_ENOTPOOL when there is none.
 */
MUST_USE int meta_read_root(struct dev *dev, struct root *ret_root, unsigned *ret_damaged);
/* Verifies a member's journal chain and its manifest against its newest root (fsck). Calls report for
 * each defect; returns how many, or a negative code. */
typedef void (*meta_report_fn)(void *ctx, const char *text);
int meta_check_member(struct dev *dev, const struct uuid *pool, meta_report_fn report, void *ctx);
/* Verifies every fragment of the index's tables on the disks that are there; likewise. Keeps
 * checkpoints waiting meanwhile. */
int meta_check_tables(struct meta *m, meta_report_fn report, void *ctx);

/*
 * The same while the store is in use (V6), a piece at a time. Checkpoints wait only for the piece. A disk: its roots and, of a
 * member, manifest and journal up to what is durable. Returns how many defects there are.
 */
int meta_check_disk(struct meta *m, disk_id id, meta_report_fn report, void *ctx);
/* The table after name ("": the first), which is moved on; only: its fragments on this disk; 0: all. DFS_EEND: there is none. */
int meta_check_next_table(struct meta *m, char name[TABLE_NAME_LEN], disk_id only,
			  meta_report_fn report, void *ctx, uint64_t *ret_bytes);
/* Makes anew what these found: a checkpoint, for manifests, journals and tables; then empties damaged slots of roots. */
MUST_USE int meta_mend(struct meta *m);

#endif
