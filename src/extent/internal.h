/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of extent/; nobody else includes it. */
#ifndef DFS_EXTENT_INTERNAL_H
#define DFS_EXTENT_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/env.h"
#include "base/log.h"
#include "extent/extent.h"
#include "meta/cursor.h"
#include "place/place.h"

/*
 * An extent's record with the verified block hashes of the fragments that were read so far.
 * Counted: the cache holds one reference while it is listed, each user one. All but `blocks` is
 * constant after creation; blocks[i] goes from NULL to an array once, under cache.lock.
 */
struct cached_extent {
	struct rec_extent rec;
	struct hash *blocks[DFS_EXTENT_MAX_FRAGMENTS];
	unsigned refs;	/* protected by cache.lock */
	bool listed;	/* likewise */
	uint64_t bytes; /* likewise: what it counts against the limit */
	TAILQ_ENTRY(cached_extent) lru;
	struct cached_extent *hash_next;
};
TAILQ_HEAD(extent_lru, cached_extent);

#define CACHE_BUCKETS 16384u

struct extent_cache {
	struct env_mutex lock; /* a leaf */
	struct cached_extent **buckets;
	struct extent_lru lru; /* most recent first */
	uint64_t bytes, limit_bytes;
};

#define HEAL_QUEUE_MAX 1024u

struct healer {
	struct env_mutex lock; /* a leaf */
	struct env_cond wake;
	extent_id queue[HEAL_QUEUE_MAX]; /* ring */
	unsigned head, count;
	bool stop;
	struct env_thread *thread;
};

#define RISK_MAX_DISKS META_COUNTERS

struct risk {
	struct env_mutex lock;
	uint32_t in_flight[CODEC_MAX_M + 1][RISK_MAX_DISKS];
	/* the greatest number that a transaction of such an extent may have; 0: there was none */
	uint64_t settled_seq[CODEC_MAX_M + 1][RISK_MAX_DISKS];
};
struct risk_group { /* the disks that one group commit depends on */
	bool used[CODEC_MAX_M + 1][RISK_MAX_DISKS];
};

/* ---- compact.c ---- */
struct compact_segment {
	uint32_t number, bytes;
	uint64_t live;
};
struct compact_pass { /* over one disk */
	bool is_busy; /* compactor.lock: somebody has all that follows */
	bool is_begun, is_urgent, is_scanned;
	struct compact_segment *v;
	unsigned count, at;
	uint32_t offset; /* in v[at] */
	unsigned stuck;
	int stuck_err;
	unsigned gone;		/* segments */
	uint64_t vain_until_ns; /* an urgent one has given nothing: not before */
};
struct compactor {
	struct env_mutex lock; /* a leaf */
	struct env_cond idle;  /* with lock */
	struct compact_pass of[DISK_ID_MAX + 1];
	atomic_bool is_stopped[DISK_ID_MAX + 1];
};

struct extent_store {
	struct env_mutex record_lock; /* guards the two fields below; see refs.c */
	struct env_cond record_cond;
	unsigned record_users;	 /* transactions between extent_refs_apply and release */
	bool record_exclusive;	 /* a repair is changing an extent's addresses */
	unsigned record_waiters; /* repairs waiting: new users let them go first */

	struct env_mutex numbers_lock; /* before meta's commit */
	struct env_mutex reclaim_lock; /* a leaf */
	struct rec_freed reclaim_from; /* reclaim_lock: where the next round begins */

	struct env_mutex accepted_lock; /* held only while it is called */
	extent_accepted_fn accepted;
	void *accepted_ctx;

	struct env_mutex restore_lock; /* held only while it is called */
	extent_restore_fn restore;
	void *restore_ctx;

	struct env_mutex rooms_lock; /* a leaf */
	struct buf rooms
		[REPAIR_LANES]; /* rooms_lock: memory of lanes, between the steps of a rebuild */

	struct extent_config cfg;
	struct extent_cache cache;
	struct healer healer;
	struct compactor compactor;
	struct risk risk;
	atomic_bool verify_writes;
	unsigned audit_lines, audit_nth; /* records_exclusive, with the next */
	bool audit_counted;
	atomic_bool without[DISK_ID_MAX + 1]; /* disks that are done without */
	atomic_ullong heal_rest_ns;	      /* until then no read has anything rebuilt */
	atomic_uint salt;		      /* rotates ties in placement */
	atomic_ullong extents_written, extents_read, fragments_rotten, fragments_decoded,
		fragments_healed, extents_unreadable;
};

/* ---- numbers.c ---- */
struct gone { /* by disk: above the numbers of segments that are unlinked; 0: none is */
	uint32_t next[DISK_ID_MAX + 1];
};
void numbers_gone(struct gone *g, disk_id disk, uint32_t segment);
/* Commits t, and with it that these numbers have been given out. */
MUST_USE int numbers_commit(struct extent_store *s, const struct gone *g, struct meta_txn *t,
			    uint64_t *ret_seq);

/* ---- cache.c ---- */
void cache_init(struct extent_cache *c, uint64_t limit_bytes);
void cache_release(struct extent_cache *c);
/* The extent's record, from the cache or the index; counted. */
MUST_USE int cache_get(struct extent_store *s, extent_id id, struct cached_extent **ret);
void cache_put(struct extent_store *s, struct cached_extent *e);
/* Hands over verified block hashes (freed if somebody was faster). Returns the ones in force. */
const struct hash *cache_set_blocks(struct extent_store *s, struct cached_extent *e, unsigned i,
				    struct hash *blocks);
const struct hash *cache_blocks(struct extent_store *s, struct cached_extent *e, unsigned i);
/* The record has changed or is gone: the next cache_get asks the index. */
void cache_drop(struct extent_store *s, extent_id id);

/* ---- space.c ---- */
#define PLACE_MAX_DISKS (DISK_ID_MAX + 1u) /* no pool has more */
struct place_snapshot {
	unsigned count;
	struct place_disk disks[PLACE_MAX_DISKS]; /* free_bytes: for file data */
	char domains[PLACE_MAX_DISKS][64];
	uint64_t lacking_bytes; /* of what metadata will need there is no room for so many */
	uint64_t apart[PLACE_MAX_DISKS]; /* not in free_bytes: for compactions (CP3) */
};
/* Today's disks, each filesystem counted once, metadata's next need taken off. The caller frees. */
struct place_snapshot *place_snapshot_new(struct extent_store *s);
/* The same for what was accepted already. */
struct place_snapshot *place_snapshot_accepted(struct extent_store *s);
/* The same beside so many bytes of keys and values more in the index. */
struct place_snapshot *place_snapshot_beside(struct extent_store *s, uint64_t index_bytes);
/* For a compaction, and for what was accepted: what was set apart is theirs, too. */
void place_snapshot_lend(struct place_snapshot *snap);
/* As if; nobody is told. */
struct place_snapshot *place_snapshot_if(struct extent_store *s,
					 const struct extent_what_if *what_if,
					 uint64_t index_bytes);
/* What each has for data and metadata together; nobody is told. */
struct place_snapshot *place_snapshot_rooms(struct extent_store *s);
struct place_snapshot *place_snapshot_copy(const struct place_snapshot *of);
/* After so much was given to a disk; exclude: it takes nothing more. */
void place_snapshot_take(struct place_snapshot *snap, disk_id id, uint64_t bytes, bool exclude);
/* place_take() of whole fragments; taken and spare have room for a figure for each disk. */
uint64_t snapshot_take_whole(struct place_snapshot *snap, unsigned width, uint64_t bytes,
			     uint64_t fragment_bytes, uint64_t *taken, uint64_t *spare);
/* place_fit, but less tolerance only for want of disks, never for want of space. */
MUST_USE int place_snapshot_fit(const struct place_snapshot *snap, struct geometry wanted,
				uint64_t extent_bytes, struct geometry *ret_geometry);
/* Where the extent goes by what there is, and takes that off. ret_disks: one for each fragment. */
MUST_USE int place_snapshot_extent(struct place_snapshot *snap, const struct extent_new *e,
				   uint32_t salt, struct geometry *ret_geometry,
				   disk_id *ret_disks);
/* How much data fits with geometry g, in extents as small as need be. Consumes the snapshot's free space. */
uint64_t place_snapshot_usable(struct place_snapshot *snap, struct geometry g);

/* ---- spare.c ---- */
#define UNASKED_INDEX_BYTES KIB(16) /* of a few extents */
/* What so many bytes, with so many in the index, may take that nobody has asked for (A6). The caller frees; spare_end() follows, with the same
 * number, once the bytes are reserved on their disks and what names them is committed, or nothing is. */
struct place_snapshot *spare_begin(struct extent_store *s, uint64_t bytes, uint64_t index_bytes,
				   bool compacts);
void spare_end(struct extent_store *s, uint64_t bytes);
/* What would be spare then; changes nothing. The caller frees. */
struct place_snapshot *spare_if(struct extent_store *s, const struct extent_what_if *what_if);

/* ---- put.c ---- */
/* An extent's fragments on their way to the disks: those that have a payload here and no disk (0) yet. Zero-initialise the rest. */
struct put {
	struct rec_extent *rec; /* borrowed, as all that follows; gets the addresses */
	const struct record_piece *pieces;
	unsigned piece_count;
	const uint8_t *payload[DFS_EXTENT_MAX_FRAGMENTS];
	const struct hash *blocks[DFS_EXTENT_MAX_FRAGMENTS]; /* of the payload */
	disk_id disks
		[DFS_EXTENT_MAX_FRAGMENTS]; /* where all of them are to go, if is_planned; taken off snap already */
	bool is_planned;		    /* becomes false */
	/* a repair: the extent as it is, where what no disk takes (its disk stays 0 here) goes on lying; the others are written */
	const struct rec_extent *old;
	disk_id to[DFS_EXTENT_MAX_FRAGMENTS]; /* of a repair: there, or it stays; 0: anywhere */
	int stays;			      /* out: why one of them does */
	uint8_t *headers;		      /* private */
	struct iovec iov[DFS_EXTENT_MAX_FRAGMENTS][3];
};
/*
 * Places and writes them all, at the same time, each on a disk that holds no other of its extent (E4); waits for the writes
 * (not for durability). One that fails goes to another disk. snap: what may be taken of each disk; is lowered.
 * They are in flight (S3): segment_settle() follows for each. An error (DFS_ENOSPC, DFS_EIO), never of a repair:
 * puts_abandon() follows.
 */
MUST_USE int puts_write(struct extent_store *s, struct put *puts, unsigned count,
			struct place_snapshot *snap);
/* Gives back what is reserved of them; all their disks become 0. */
void puts_abandon(struct extent_store *s, struct put *puts, unsigned count);

/* ---- read.c ---- */
/* One range of one fragment, to be read and verified. */
struct fragment_read {
	unsigned index;	    /* which fragment */
	uint32_t from, len; /* block-aligned payload range (the last block may be short) */
	uint8_t *buf;
	bool can_spare; /* in: DFS_ELATE rather than a long wait */
	int result;
};
/* Does the record's header say the same as the index? Neither is the other's proof (P10). */
bool header_agrees(const struct record_header *h, const struct rec_extent *rec, unsigned i);
/* Reads and verifies n ranges of e in parallel. Sets each result; counts and reports rot. */
void fragments_read(struct extent_store *s, struct cached_extent *e, struct fragment_read *reads,
		    unsigned n);
/* Logs and counts a fragment that is not what was written. */
void report_rot(struct extent_store *s, const struct rec_extent *rec, unsigned i, int err);
/* Hashes len bytes of payload against its blocks'. DFS_ECHECKSUM. */
MUST_USE int blocks_verify(const struct hash *blocks, const uint8_t *payload, uint32_t len);
/* Fragments in the order in which to try them: present ones first, suspect ones last. Returns how
 * many are present. */
unsigned fragments_by_preference(struct extent_store *s, const struct rec_extent *rec,
				 uint8_t order[DFS_EXTENT_MAX_FRAGMENTS]);

/* ---- whole.c ---- */
/* A fragment's record from its beginning, to be read at once and verified. */
struct whole_read {
	const struct rec_extent *rec; /* borrowed */
	unsigned index;
	uint32_t len;  /* of the payload; block-aligned, or all of it */
	uint8_t *buf;  /* rec->header_len + len bytes: header, payload */
	bool is_scrub; /* past the page cache; whoever asks says what he finds */
	int result;
	bool is_unnamed; /* out: of a scrub: it is right, but its file has no name any more */
	uint64_t
		blocks; /* out: a bit for each block of the payload that is verified in buf, also if the result is an error */
	struct record_header header; /* out: zeros, unless it is verified; whole_release() */
};
/* Is it what was written, by its header and the index? Sets the header and the blocks. */
MUST_USE int whole_parse(struct whole_read *r);
/* Reads and verifies all of them in parallel. Sets each result; counts and reports rot. The caller releases them. */
void wholes_read(struct extent_store *s, struct whole_read *reads, unsigned n);
/*
 * Of one that is damaged: reads header and blocks one by one, so that those that can be read and are right are in buf, and
 * known (blocks). The result stays. Reads nothing where the disk is not there or reads nothing any more.
 */
void whole_salvage(struct extent_store *s, struct whole_read *r);
void whole_release(struct whole_read *r);
/* All the blocks of len bytes of payload. */
uint64_t blocks_all(uint32_t len);
/* Has each block of len bytes of payload at least k fragments (width of them) that hold it? */
bool blocks_suffice(const uint64_t *blocks, unsigned width, unsigned k, uint32_t len);

/* ---- risk.c ---- */
void risk_init(struct risk *r);
void risk_release(struct risk *r);
void risk_written(struct risk *r, const struct rec_extent *rec);
/* seq: of the transaction that names it, or later; 0: given up. */
void risk_settled(struct risk *r, const struct rec_extent *rec, uint64_t seq);
/* The disks of all extents whose transactions are not durable yet, or still to come. */
void risk_of_group(struct risk *r, uint64_t durable_seq, struct risk_group *g);
/* Does any of them have a fragment there? */
bool risk_uses(struct risk *r, uint64_t durable_seq, disk_id disk);
/* How many of the group's disks are lost now; does every extent keep at least k fragments? */
unsigned risk_lost(const struct risk_group *g, struct disk_set *disks, bool *ret_survives);

/* ---- repair.c ---- */
/* Verifies every fragment as it lies on its disk, past the page cache. */
void extent_verify_medium(struct extent_store *s, const struct rec_extent *rec,
			  struct extent_check *ret_check);
/* Which fragments are to be made anew: those on disks that are done without, and ... */
struct repair_choice {
	bool verify;			/* all are read, and those that are bad */
	bool is_scrub;			/* likewise; past the page cache */
	disk_id doubted;		/* those on this disk that may be lost so: */
	const struct disk_doubt *doubt; /* NULL: none */
	unsigned lanes;			/* threads that work at it, at most REPAIR_LANES; 0: one */
	bool compacts;			/* it may take what is set apart for that (CP3) */
	disk_id levelled;		/* those on this disk that another one is to have by: */
	struct extent_level *level;	/* NULL: none */
};
/* Any number, as many at a time as memory and a transaction hold. What is met and bad is made anew, too. */
void extent_repair_many(struct extent_store *s, const struct repair_choice *choice,
			struct repair_item *items, unsigned count);

/* ---- level.c ---- */
/* RB2: where that fragment goes. False: it stays. */
bool level_choose(struct extent_store *s, const struct extent_level *l,
		  const struct place_snapshot *snap, const struct rec_extent *rec, unsigned i,
		  disk_id *ret_to);
/* So much goes from one to the other. */
void level_note(struct extent_level *l, disk_id from, disk_id to, uint32_t len);

/* ---- audit.c; within records_exclusive ---- */
#define AUDIT_MAX_LINES 10000u
#define AUDIT_MAX_AGE_NS (400ull * 86400 * 1000000000ull)
struct audit_repair { /* of one extent; arrays: one for each fragment */
	const struct rec_extent *old, *new;
	const int *why;	   /* what was wrong; 0: nothing */
	const bool *moved; /* made anew */
	const bool *have;  /* read, and right, or some blocks of it */
	int err;	   /* why not all that was wrong was */
};
void audit_repair(struct extent_store *s, struct meta_txn *t, const struct audit_repair *a);
void audit_add(struct extent_store *s, struct meta_txn *t, const char *json);

void compactor_init(struct compactor *c);
void compactor_release(struct compactor *c);

/* ---- heal.c ---- */
void healer_start(struct extent_store *s);
void healer_stop(struct extent_store *s); /* joins the thread; may be repeated */
void healer_release(struct extent_store *s);
void healer_queue(struct extent_store *s, extent_id id);
/* Did the disk answer, but not with what was written? */
bool fragment_is_rot(int err);

/* ---- reclaim.c ---- */
/* The live record at or after (dir > 0) or before (dir < 0) offset in the segment: 0, DFS_ENOENT, or why it
 * can't be said. One whose value is damaged is there nevertheless (DFS_ECORRUPT): its key says so. */
MUST_USE int bydisk_near(struct meta_iter *it, disk_id disk, uint32_t segment, uint32_t offset,
			 int dir, struct rec_bydisk *ret);

/* ---- refs.c ---- */
void records_exclusive_begin(struct extent_store *s);
void records_exclusive_end(struct extent_store *s);

static inline bool extent_id_eq(extent_id a, extent_id b) { return uuid_eq(&a.u, &b.u); }

#endif
