/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An extent's life: written once (encode, hash, append to distinct disks), published by a
 * transaction, read with every byte verified, healed when a fragment is rotten, freed when its last
 * map entry goes. Immutable in between. Keeps P3, P4, P7; the orders of writes are in
 * docs/DESIGN.md, "Extents: order of writes" (E1..E6).
 *
 * Knows nothing of inodes or paths beyond the number it stamps on records.
 */
#ifndef DFS_EXTENT_EXTENT_H
#define DFS_EXTENT_EXTENT_H

#include "base/err.h"
#include "base/types.h"
#include "codec/codec.h"
#include "dev/disk.h"
#include "format/record.h"
#include "meta/schema.h"
#include "place/place.h"

struct extent_store;
struct meta;
struct meta_txn;

#define EXTENT_MAX_BYTES RECORD_MAX_PAYLOAD
#define EXTENT_SMALL_BYTES KIB(64)	      /* may fit where no great one does */
#define EXTENT_LEAST_BYTES RECORD_BLOCK_BYTES /* no smaller parts are made for want of room */

struct extent_config {
	struct uuid pool;
	struct disk_set *disks;	     /* borrowed */
	struct meta *meta;	     /* borrowed */
	uint64_t header_cache_bytes; /* verified headers kept (P9); 0: 32 MiB */
	bool verify_writes;	     /* read each fragment back from the medium before publishing */
	uint64_t home_fs; /* the pool directory's filesystem (dev_space.fs_id); 0: none */
	bool (*may_grow)(
		void *ctx); /* C3: may what nobody has asked for be written? NULL: always */
	void *ctx;
	bool heal; /* repair rotten fragments found by reads, in the background */
};

struct extent_store *extent_store_new(const struct extent_config *cfg);
/* Stops the healer: no more commits come from here (before meta is closed). */
void extent_store_quiesce(struct extent_store *s);
void extent_store_free(struct extent_store *s); /* NULL is allowed */
void extent_store_set_verify(struct extent_store *s, bool verify_writes);

/* ---- writing ---- */
struct extent_new {
	/* in; data and pieces are borrowed until extent_write returns */
	ino_id ino;
	const uint8_t *data;
	uint32_t len; /* 1..EXTENT_MAX_BYTES; the sum of the pieces */
	const struct record_piece *pieces;
	unsigned piece_count; /* 1..RECORD_MAX_PIECES */
	struct geometry wanted;
	uint64_t born; /* E8: its content's place in time (uuid_tick()); 0: now */
	/* out */
	struct rec_extent rec; /* refs = piece_count */
	bool published;	       /* the caller's: false after extent_write */
	bool no_room; /* DFS_ENOSPC because of this one: in smaller parts it may fit (A7) */
};
/*
 * Writes count extents: places, encodes, hashes, appends all fragments, waits for the writes (not
 * for durability: meta_sync's data_sync does that, E1). A failed fragment goes to another disk; too
 * few disks narrow the geometry. On success every rec is complete and in flight (S3): follow with
 * extent_publish in a transaction, then extent_settle. On failure nothing is in flight, and if one has no_room
 * nothing was reserved for any of them. DFS_ENOSPC, DFS_EIO.
 */
MUST_USE int extent_write(struct extent_store *s, struct extent_new *extents, unsigned count);
/* The same for what nobody has asked for, up to 64: it takes only what is spare (A6). */
MUST_USE int extent_write_unasked(struct extent_store *s, struct extent_new *extents,
				  unsigned count);
/* Adds the extent's records and counters to t. rec.refs: the map entries that t puts for it. */
void extent_publish(struct meta_txn *t, const struct extent_new *e);
/* How many bytes that adds to a transaction, at most. */
size_t extent_publish_bytes(const struct extent_new *e);
/* After the commit (or after giving up: then the space is given back at once). */
void extent_settle(struct extent_store *s, const struct extent_new *extents, unsigned count,
		   bool published);

/*
 * The data half of a group commit (E1), meta's data_sync: disk_set_sync; disks that fail meanwhile
 * count as lost. 0 while every extent published since keeps at least k fragments, else DFS_EIO. What
 * they may have lost is noted in the index first (S5); DFS_ENOSPC: its journal has no room for that now.
 */
MUST_USE int extent_sync(struct extent_store *s);

/* What all its records take on the disks. */
static inline uint64_t extent_stored_bytes(const struct rec_extent *rec)
{
	return ((uint64_t)rec->k + rec->m) *
	       ALIGN_UP((uint64_t)rec->header_len + rec->fragment_len, SEGMENT_ALIGN);
}

/* It has another geometry than its policy wanted. */
static inline bool extent_is_narrow(const struct rec_extent *rec)
{
	return rec->k != rec->wanted_k || rec->m != rec->wanted_m;
}

/* ---- references: collected per transaction, since reads do not see a transaction's own puts ---- */
struct extent_ref {
	extent_id id;
	int32_t delta;
	uint64_t tag;	      /* the caller's: as first given */
	uint64_t freed_bytes; /* out of extent_refs_apply: what it gives back, if it goes */
};
struct extent_refs { /* zero-initialise */
	struct extent_ref *refs;
	unsigned count, cap;
	struct extent_store *store; /* set from apply to release */
};
void extent_refs_add(struct extent_refs *r, extent_id id, uint64_t tag, int32_t delta);
/* What each reference may add to the transaction, at most: an extent of the greatest width is freed. */
#define EXTENT_REF_BYTES (128u + DFS_EXTENT_MAX_FRAGMENTS * 88u)
/*
 * Puts the new counts; an extent that reaches 0 is deleted with its by-disk records, its fragments
 * go to the freed table (space comes back once this transaction is durable, P7). The caller holds
 * the lock of the inode these extents belong to, and between this call and extent_refs_release does
 * nothing but commit or cancel t: repairs wait meanwhile. DFS_EIO, DFS_ECORRUPT, DFS_ECHECKSUM.
 */
MUST_USE int extent_refs_apply(struct extent_store *s, struct meta_txn *t, struct extent_refs *r);
/* Call after the commit (or cancel), always. */
void extent_refs_release(struct extent_refs *r);

/* ---- reading ---- */
/*
 * Reads [off, off+len) of the extent, verified (P3). Missing, rotten or failing fragments: decoded
 * from others, and queued to be healed. DFS_ENOENT: the extent is gone (the caller looks its map up
 * again), DFS_EIO: fewer than k good fragments.
 */
MUST_USE int extent_read(struct extent_store *s, extent_id id, uint32_t off, uint32_t len,
			 void *buf);
/* Read-ahead hint for the data fragments. */
void extent_prefetch(struct extent_store *s, extent_id id);

/* ---- checking ---- */
enum fragment_status {
	FRAGMENT_GOOD,
	FRAGMENT_ABSENT /* disk not there */,
	FRAGMENT_BAD
};
struct extent_check {
	enum fragment_status status[DFS_EXTENT_MAX_FRAGMENTS];
	bool damaged
		[DFS_EXTENT_MAX_FRAGMENTS]; /* bad, and not for a moment only, as far as can be told */
	int err[DFS_EXTENT_MAX_FRAGMENTS];	 /* what the read of each gave */
	unsigned good;				 /* of k + m */
	bool recoverable;			 /* k are good, or of each block k are */
	bool needless[DFS_EXTENT_MAX_FRAGMENTS]; /* recoverable also without that one */
};
/* Did the disk answer, but not with what was written, or say that it can't be read? */
bool fragment_is_damaged(int err);
/* Verifies every fragment. deep: payload too, else only headers. 0 or DFS_ENOENT, ... */
MUST_USE int extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
			   struct extent_check *ret_check);
/*
 * Rewrites fragments that are bad (rot; not merely absent) on healthy disks, from at least k
 * verified ones, or from k verified blocks for each block; conservative, idempotent, leaves an audit record (P7). *ret_repaired: how many, also
 * when another one could not be (an error).
 */
MUST_USE int extent_repair(struct extent_store *s, extent_id id, unsigned *ret_repaired);

struct repair_item {
	extent_id id;	/* in */
	unsigned made;	/* out: fragments that were made anew, also when another one could not be */
	uint64_t bytes; /* out: what they take on the disks */
	int err;	/* out: why one could not be; DFS_ENOENT: the extent is gone */
};
/*
 * The disk is done without (or is not any more): what lies there is made anew on others whenever an extent is repaired, and
 * when a read has to do without it. Else what is only absent is left alone.
 */
void extent_do_without(struct extent_store *s, disk_id disk, bool without);
bool extent_is_without(struct extent_store *s, disk_id disk);
/*
 * Makes anew what these extents have on such disks; P7, as extent_repair. One for whose fragments there is no disk is
 * handed to the restorer. DFS_ENOSPC: there is no room, or no disk that holds none of the others; DFS_EIO: fewer than k
 * good fragments. Nothing is read in vain where there is no room. lanes: so many threads at most work at it (and at most
 * REPAIR_LANES), each with up to 12 MiB of memory; one alone with 34 MiB.
 */
#define REPAIR_LANES 4u
void extent_rebuild(struct extent_store *s, struct repair_item *items, unsigned count,
		    unsigned lanes);
/* That memory is kept for the next call, until this one. */
void extent_rebuild_rests(struct extent_store *s);
/*
 * Stores anew, as new data is stored now, the part of a file that an extent of it was written for, if that bears more
 * losses then. DFS_ENOSPC: it would not, or there is no room. Called without locks, from the thread that rebuilds.
 */
typedef int (*extent_restore_fn)(void *ctx, ino_id ino, uint64_t file_offset);
/* NULL: there is none any more. Waits for a call in progress. */
void extent_set_restorer(struct extent_store *s, extent_restore_fn fn, void *ctx);
/* How many fragments are sure to be there, and lie on no disk that is done without. */
unsigned extent_sure_fragments(struct extent_store *s, const struct rec_extent *rec);

/* One that has a fragment on a disk, and where. */
typedef void (*extent_on_fn)(void *ctx, const struct rec_extent *rec, const struct rec_bydisk *by);
/* Calls fn for each extent of which the index names a fragment on the disk. *ret_unknown: how many damaged records were passed
 * over. DFS_EIO and such: the index can't be read. */
MUST_USE int extent_each_on(struct meta *m, disk_id disk, extent_on_fn fn, void *ctx,
			    uint64_t *ret_unknown);
/* What the emptying of a disk would be, by the index and by what room there is. */
struct extent_leaving {
	uint64_t extents, bytes; /* that have a fragment there; what these take */
	uint64_t narrowed; /* find no other disk, and are stored anew, narrower, bearing as much */
	uint64_t unplaced; /* find none, and would bear less */
	uint64_t homeless; /* nor for these, for want of room */
	uint64_t lost;	   /* can't be read now, or not without what is in doubt */
	uint64_t unknown;  /* damaged records */
};
/* As if a disk were not there, and a further one were. */
struct extent_what_if {
	disk_id without;	      /* 0: none */
	const struct disk_room *with; /* borrowed; NULL: none */
	const char *domain;	      /* of that one; "": its own */
};
/* what_if.without is the disk. Changes nothing. DFS_EIO and such: the index can't be read. */
MUST_USE int extent_plan_leaving(struct extent_store *s, const struct extent_what_if *what_if,
				 struct extent_leaving *ret_plan);
/*
 * What these extents have on that disk, and no other disk can take, is given up: they bear less from now on. Not where it is
 * needed (fewer than k whole fragments elsewhere), but where the disk is not there. err: DFS_EREFUSED: it is needed.
 */
void extent_unplace(struct extent_store *s, disk_id disk, struct repair_item *items,
		    unsigned count);
/* So much data would fit then, with geometry g. */
uint64_t extent_usable_bytes_if(struct extent_store *s, struct geometry g,
				const struct extent_what_if *what_if);

/* ---- levelling (RB1..): caller's memory, no locks ---- */
#define EXTENT_LEVEL_PART                                                                          \
	50u /* a disk is level within this part of its room of what all together are full */
#define EXTENT_LEVEL_MAX (DISK_ID_MAX + 1u)
struct extent_level_disk {
	disk_id id;
	uint64_t used_bytes, usable_bytes; /* by fragments; they, and what is free for more */
	int64_t over_bytes;   /* beyond its part of what the pool holds; negative: below it */
	uint64_t slack_bytes; /* so much of that is tolerated */
};
struct extent_level {
	uint64_t
		least_slack_bytes; /* tolerated whatever that part is; 0: nothing is, of any disk */
	unsigned count;
	uint64_t used_bytes, usable_bytes;		  /* of all together */
	struct extent_level_disk disks[EXTENT_LEVEL_MAX]; /* that are well and take data, by id */
};
#define EXTENT_LEVEL_LEAST (2u * RECORD_MAX_LEN) /* of least_slack_bytes, usually */
/* As it is now, but for least_slack_bytes, which stays. What was freed and not given back yet counts as nobody's. */
void extent_level_measure(struct extent_store *s, struct extent_level *ret);
/* What each holds by now; what they can hold is left as it was measured. False: they are other disks by now. */
MUST_USE bool extent_level_update(struct extent_store *s, struct extent_level *l);
bool extent_level_is_reached(const struct extent_level *l);
/* At least so much has to move. */
uint64_t extent_level_left(const struct extent_level *l);
/* Might something that lies there move? */
bool extent_level_gives(const struct extent_level *l, disk_id id);
/* Moves what these extents have on that disk to emptier ones, as far as RB2 lets it; l is told. Items: as extent_rebuild(); what has no place is no error. */
void extent_level_move(struct extent_store *s, struct extent_level *l, disk_id from,
		       struct repair_item *items, unsigned count);
struct extent_level_plan {
	struct extent_level now, then;
	uint64_t fragments, bytes; /* that would move */
};
/* Changes nothing. Reads what the index has of the fuller disks. */
MUST_USE int extent_level_plan(struct extent_store *s, struct extent_level_plan *ret);

/*
 * Writes up to max fragments that may be lost, or are (disk_doubtful), anew, elsewhere or on that disk,
 * whatever they read as. *from: where to begin; moved on. DFS_ENOENT: there are no more.
 * *ret_failed: one of them could not be, and stays.
 */
MUST_USE int extent_move_doubtful(struct extent_store *s, disk_id disk,
				  const struct disk_doubt *doubt, unsigned max, uint32_t *from,
				  bool *ret_failed);
/* Does the index name a record there that is in doubt? 0: yes, DFS_ENOENT: no, or why that can't be said. */
MUST_USE int extent_named_in_doubt(struct extent_store *s, disk_id disk,
				   const struct disk_doubt *doubt);
/* Is there an extent with a fragment on that disk whose transaction is not durable yet (E7)? */
bool extent_at_risk_on(struct extent_store *s, disk_id disk);

/* ---- giving space back ---- */
/* Punches or unlinks what the freed table names, up to max entries whose freeing is durable.
 * *ret_done: how many entries were dealt with. Called from the pool's background thread. */
MUST_USE int extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);

/*
 * Compaction, of disks that can't punch holes (CP1..CP6): what lives in segments that are mostly dead is written anew, and the
 * segments go. One at a time on a disk: who comes meanwhile waits for a moment.
 */
struct compact_order {
	bool is_urgent; /* somebody needs the room */
	bool with_old; /* also segments that were there before this process: only while the index is whole (G3) */
};
struct compact_done {
	uint64_t bytes;	      /* that were written */
	unsigned fragments;   /* of these */
	unsigned segments;    /* that went */
	uint64_t freed_bytes; /* their files' */
	/* when the pass is over: */
	unsigned pass_segments; /* that went */
	unsigned stuck;		/* extents that could not be moved */
	int stuck_err;		/* why not */
};
/* Finds out how much is dead on each such disk (disk_dead_bytes). Takes I/O; now and then. */
void extent_compact_measure(struct extent_store *s);
/* Is there so much that a pass is worth it? By what was measured last. */
bool extent_compact_due(struct extent_store *s, struct disk *d, bool is_urgent);
/*
 * Some of it. 0: there is more to do; DFS_EEND: the pass is over, the next call begins another; DFS_ENOSPC: what has to be copied has
 * no room now; or why it can't go on.
 */
MUST_USE int extent_compact_step(struct extent_store *s, struct disk *d,
				 const struct compact_order *o, struct compact_done *ret);
/* By order nothing is compacted there (or is again). */
void extent_compact_stop(struct extent_store *s, disk_id disk, bool is_stopped);

/*
 * Gives back what crashes left in old segments of a disk: those without a live record, and the ends of
 * others. Only while the index is known to be whole (G3). One disk after the other, from one thread.
 */
struct sweep_segment {
	uint32_t number, bytes;
};
struct extent_sweep { /* zero-initialise */
	struct sweep_segment *segments;
	unsigned count, at;
	unsigned removed, cut; /* segments, and the bytes of both */
	uint64_t bytes;
};
/* Lists the disk's segments. Why not, as segment_list(). */
MUST_USE int extent_sweep_begin(struct disk *d, struct extent_sweep *w);
/* Some of them. 0: there are more, DFS_EEND: there are none, or why it can't go on: begin anew later. */
MUST_USE int extent_sweep_step(struct extent_store *s, struct disk *d, struct extent_sweep *w);
void extent_sweep_end(struct extent_sweep *w); /* may be repeated */

/*
 * Orphans between live records (G6): records in segments where nothing is in flight, which the index does not name. A segment's number
 * may be that of a segment that is gone.
 */
struct orphan_record {
	uint32_t segment, offset, len;
	extent_id extent;
	ino_id ino;
	uint64_t age_s; /* since it was written, by the wall clock */
};
/* DFS_EBUSY: records are in flight there, or new ones may come. fn returns nonzero to stop, and that is returned. */
MUST_USE int extent_orphans(struct extent_store *s, struct disk *d, uint32_t segment,
			    int (*fn)(void *ctx, const struct orphan_record *o), void *ctx);
/* Gives back those of the segment that are at least so old. *ret_bytes, *ret_count: how much. Only while the index is known to
 * be whole (G3). */
MUST_USE int extent_orphans_remove(struct extent_store *s, struct disk *d, uint32_t segment,
				   uint64_t min_age_s, unsigned *ret_count, uint64_t *ret_bytes);

/* ---- space ---- */
/* Bytes of file data that still fit with geometry g (the one capacity function, P6), beside so many bytes of
 * keys and values more in the index. 0 if these don't fit. */
uint64_t extent_usable_bytes(struct extent_store *s, struct geometry g, uint64_t index_bytes);
/*
 * Of these, the bytes that are sure to be stored with geometry g: there is space allocated for them on the
 * disks (those that can't allocate are believed). Allocates so that it becomes at least `bytes`, as far as
 * that can be had. Takes I/O. accepted_bytes: what is promised already, and keeps its ground.
 */
uint64_t extent_hold_bytes(struct extent_store *s, struct geometry g, uint64_t bytes,
			   uint64_t accepted_bytes, uint64_t index_bytes);
/* Has space allocated on the disks for what metadata will need, where disks can allocate. Takes I/O. */
void extent_hold_metadata(struct extent_store *s);
/* What was accepted, or promised, and is not stored yet: data, and what of it the index may take in. */
struct extent_accepted {
	struct geometry geometry; /* that the data may get at worst */
	uint64_t data_bytes, index_bytes;
};
/*
 * Asked before so many bytes are written that nobody asked for (A6), and told the same number, negative, when the
 * disks' free space shows them: meanwhile no write may be accepted that counts on them. Takes no lock of extents'.
 */
typedef void (*extent_accepted_fn)(void *ctx, int64_t bytes, struct extent_accepted *ret);
/* NULL: nobody accepts anything any more. Waits for a call in progress. */
void extent_set_acceptor(struct extent_store *s, extent_accepted_fn fn, void *ctx);
/*
 * So many bytes are to be written unasked past extents, on these disks: lowers free_bytes to what may be taken of each
 * (A6). extent_spare_end() follows when they have been written, with the same number. Takes I/O.
 */
void extent_spare_begin(struct extent_store *s, uint64_t bytes, struct place_disk *disks,
			unsigned count);
void extent_spare_end(struct extent_store *s, uint64_t bytes);
/* The geometry that a write of so many bytes wanting g would get now. */
MUST_USE int extent_fit(struct extent_store *s, struct geometry g, uint64_t extent_bytes,
			struct geometry *ret_geometry);

struct extent_stats {
	uint64_t extents_written, extents_read, fragments_rotten, fragments_decoded,
		fragments_healed, extents_unreadable, header_cache_bytes, heal_queue;
};
struct extent_stats extent_stats(struct extent_store *s);

#endif
