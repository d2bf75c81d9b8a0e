/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's disks while it is open: each has its device, its state, and its segments (append-only
 * files of records; dev/ does not know what is in a record).
 *
 * Segment rules (docs/DESIGN.md, "Segments"):
 *  S1 A byte range is given out once; segment numbers are never reused (also not after a crash: a
 *     disk opens with a number above every file it finds and above `first_segment`).
 *  S2 disk_sync() makes every write that finished before it began durable, the segment's name too.
 *  S3 A segment with records in flight (reserved, not yet settled) is neither punched nor removed.
 *  S4 After a failed sync the disk is not used for new data and its unsynced segments are reported.
 *  S5 Of these the pool knows, also after the next mount, before it acknowledges what they cost.
 */
#ifndef DFS_DEV_DISK_H
#define DFS_DEV_DISK_H

#include <sys/uio.h>

#include "base/env.h"
#include "dev/dev.h"

enum disk_state {
	DISK_HEALTHY = 1, /* takes new data */
	DISK_DEGRADED,	  /* something is wrong; read; what, decides whether it takes new data */
	DISK_SUSPECT,	  /* slow or silent; read last */
	DISK_DRAINING,	  /* being emptied */
	DISK_FAILED,	  /* not used at all */
};
const char *disk_state_name(enum disk_state s); /* "healthy", ... */
/* 0 or DFS_EINVAL */
MUST_USE int disk_state_parse(const char *name, enum disk_state *ret_state);

/* What moves a disk from one state to another (pool/health_rules.c), and then is the reason for its state. The numbers
 * are in the index: new ones go to the end. */
enum disk_event {
	DISK_NO_EVENT,	 /* none yet, or not known */
	DISK_READ_ERROR, /* what lay there can't be read */
	DISK_WRITE_ERROR,
	DISK_READ_ONLY, /* its filesystem is */
	DISK_NO_ACCESS, /* it may not be written */
	DISK_FULL,	/* its filesystem has no byte left */
	DISK_ROT,	/* many checksum errors */
	DISK_SLOW,	/* far slower than the others */
	DISK_NO_ANSWER, /* a deadline passed */
	DISK_SYNC_FAILED,
	DISK_GONE,	    /* its directory is not there any more, or another is */
	DISK_NOT_ITSELF,    /* its disk.json is another disk's, or it was used elsewhere */
	DISK_SELF_TEST,	    /* it says so itself (SMART) */
	DISK_PROVED,	    /* it has passed as many trials as it had to */
	DISK_ORDER_HEALTHY, /* these by order */
	DISK_ORDER_DEGRADED,
	DISK_ORDER_SUSPECT,
	DISK_ORDER_DRAIN,
	DISK_ORDER_FAIL,
	DISK_EVENTS
};

struct disk_health {
	enum disk_state state;
	enum disk_event event; /* that led there */
};

#define SEGMENT_ALIGN 512u
#define SEGMENT_MAX_BYTES MIB(128)

struct disk_info { /* who a disk is; a copy of what the index and disk.json say */
	disk_id id;
	struct uuid uuid;
	char label[64];
	char domain[64];	 /* failure domain; "" is a domain of its own */
	uint64_t capacity_bytes; /* limit set by the user; 0: all the filesystem below has */
	enum disk_state state;
	char path[4096]; /* where it was last seen */
};

struct disk;	 /* one disk in use */
struct disk_set; /* all of them */

/* Called (without locks held) when an operation found a disk failing; may be called repeatedly. is_read: what failed
 * is a read of what lay there before. */
typedef void (*disk_error_fn)(void *ctx, disk_id id, bool is_read, int err, const char *what);

struct disk_set *disk_set_new(disk_error_fn on_error, void *ctx);
void disk_set_free(struct disk_set *s); /* closes the devices */

/* At most so many files of each disk stay open without being in use. Before the first disk is added. */
void disk_set_limit_files(struct disk_set *s, unsigned per_disk);
/*
 * Adds a disk. dev may be NULL: a disk that is known but not there; every operation on it gives
 * DFS_EGONE. Owns dev if it returns 0; else dev is still the caller's.
 * Segments are listed to find the next free number (>= first_segment).
 */
MUST_USE int disk_add(struct disk_set *s, const struct disk_info *info, struct dev *dev,
		      uint32_t first_segment);
/* Disks are never removed while the set lives, so the pointer stays valid. NULL when unknown. */
struct disk *disk_get(struct disk_set *s, disk_id id);
unsigned disk_count(struct disk_set *s);
/* The i-th disk in order of id, 0 <= i < disk_count(). */
struct disk *disk_at(struct disk_set *s, unsigned i);

struct disk_info disk_info(struct disk *d); /* a copy */
enum disk_state disk_state(struct disk *d);
struct disk_health disk_health(struct disk *d);
/* For no event that is known. */
void disk_set_state(struct disk *d, enum disk_state st);
void disk_set_health(struct disk *d, struct disk_health h);
/* Only from that state: false if it is in another one by now. A failed disk is not moved so. */
bool disk_move_state(struct disk *d, enum disk_state from, enum disk_state to);
bool disk_move_health(struct disk *d, struct disk_health from, struct disk_health to);
/* It is to be emptied (DR1): wherever it would be healthy it is DISK_DRAINING. */
void disk_set_leaving(struct disk *d, bool is_leaving);
bool disk_is_leaving(struct disk *d);
/* What moves from it goes there, where that may be (DR8). 0: none; also when it does not leave any more. */
void disk_set_heir(struct disk *d, disk_id heir);
disk_id disk_heir(struct disk *d);
void disk_set_label(struct disk *d, const char *label);
/* No record is in flight there. */
bool disk_is_idle(struct disk *d);
/* The pool has forgotten it (DR4): failed for good, and of no account. It stays in the set, so that pointers stay valid. */
void disk_set_removed(struct disk *d);
bool disk_is_removed(struct disk *d);
bool disk_present(struct disk *d); /* has a device and is not DISK_FAILED */
/* It is there and can take new records, as far as its state tells. */
bool disk_takes_data(struct disk *d);
/* And new ones are to go there. The one word on which disks count, for placement, for the room that is told, and for
 * metadata (C6). */
bool disk_is_eligible(struct disk_set *s, struct disk *d);
/* So many disks the policy needs: with fewer, those that could take data, but had better not, take it. */
void disk_set_want(struct disk_set *s, unsigned disks);
/* There are disks, and none is eligible: what is refused then is not for want of space. */
bool disk_set_takes_nothing(struct disk_set *s);
/* A sync failed there: writes that had finished before it may be lost (S4). */
bool disk_in_doubt(struct disk *d);
/* Failed because a sync there was given up for its silence. */
bool disk_failed_silent(struct disk *d);
/* Failed by a sync, or gone for a while, so that it may come back. */
bool disk_may_return(struct disk *d);
/*
 * It answers again, and nothing at risk has a fragment there (D7, the caller's to know): it takes new data
 * again, in new segments. What was not durable there stays doubtful: disk_doubtful(). DFS_EBUSY: records
 * are in flight there still, or it did not fail so.
 */
MUST_USE int disk_return(struct disk *d);
/* Records of one segment, those that end beyond `from`, that a disk may not have, since a sync failed there
 * (S4, D8) or it is damaged (S6), or (is_lost) does not have. A segment may have a note of either kind. */
struct disk_doubt {
	uint32_t segment, from;
	bool is_lost;
};
/* Some of them; false: there are none. */
bool disk_doubtful(struct disk *d, struct disk_doubt *ret_doubt);
/* How many there are; 0 also of a disk that has failed. */
unsigned disk_doubts(struct disk *d);
/* settled: the index names nothing of that any more; else it is told of after the others. */
void disk_doubt_worked_off(struct disk *d, const struct disk_doubt *doubt, bool settled);
/* What the disk has not, though it should (H8), or what the pool remembers of it (S5, S6). */
void disk_note_doubt(struct disk *d, const struct disk_doubt *doubt);
/* In how many segments there is something that it has not. */
unsigned disk_lost_segments(struct disk *d);
/* Is this record among what it has not, or may not have? Such a one is no fragment to count on, and is written anew (D8). */
bool disk_may_lack(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len);
/* The record that begins there is damaged, and is left as it is until that is asked for (S8). */
void disk_note_damage(struct disk *d, uint32_t segment, uint32_t offset);
/* Is anything of that kind noted? It may have been made anew since. */
bool disk_damaged(struct disk *d);
/* Nothing is known of that kind any more. */
void disk_forget_damage(struct disk *d);
/* Can this record be counted on: neither lacking, nor in doubt, nor known to be damaged? */
bool disk_is_sure(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len);
/* Of a disk that was lost with unsynced writes: up to max segments that have such and were not told of yet,
 * to be remembered before anything is acknowledged (S5). The caller says when one is. */
unsigned disk_new_doubts(struct disk *d, uint32_t *ret_segments, unsigned max);
void disk_doubt_remembered(struct disk *d, uint32_t segment);
/* It was given up for good: there is nothing to remember. */
void disk_drop_doubts(struct disk *d);
/* The last 256 reads of records all failed: not some sectors are bad, but the disk. */
bool disk_reads_nothing(struct disk *d);
/* Is the record known not to be there (is_lost)? */
bool disk_lost_there(struct disk *d, uint32_t segment, uint32_t offset, uint32_t record_len);
struct dev *disk_dev(struct disk *d); /* borrowed; NULL when absent */

/* Free bytes for new records: what is allocated ahead, and of what the filesystem has free, or of the
 * capacity, all but the reserve and disk_set_keep_bytes(). The filesystem is asked at most once a second;
 * what was taken since is subtracted. */
uint64_t disk_free_bytes(struct disk *d);
/*
 * Of these the bytes that are sure to be there, whatever others write to the filesystem and whatever its
 * word on free space is worth: at least `bytes`, as far as they can be had. Allocates, so that it takes
 * I/O. Where the filesystem can't allocate, its word has to do. Of what is held, accepted_bytes stay with records even
 * if there is less than metadata needs (A5).
 */
uint64_t disk_hold_bytes(struct disk *d, uint64_t bytes, uint64_t accepted_bytes);
/* What is allocated for records and not given out. */
uint64_t disk_sure_bytes(struct disk *d);
/* Gives back what was allocated ahead and not used (the pool closes), for metadata, too. */
void disk_let_go(struct disk *d);
/* Gives back what is allocated ahead for records if metadata's need (disk_set_keep_bytes) has no room else,
 * and allocates for that need. Takes I/O. */
void disk_hold_keep(struct disk *d);
/* Metadata is about to be written: what was allocated for it is given back until it has been. */
void disk_lend_keep(struct disk *d, bool is_lent);
/* In a disk's root: no bytes, but space that disk_hold_keep() has allocated. A crash leaves it. */
#define DISK_KEPT_NAME "kept"
/* Has its filesystem no inode left, but those that metadata keeps? space: what it says now. */
bool disk_lacks_inodes(struct disk *d, const struct dev_space *space);
/* Removes what holds space and inodes there. */
void disk_kept_remove(struct dev *dev);
/* Gives back what a crash left allocated. Once, before the first record. */
void disk_tidy(struct disk *d);
/* What a disk has, for whoever counts the filesystems below once each. */
struct disk_room {
	uint64_t fs_id;
	uint64_t total_bytes; /* of the filesystem below */
	uint64_t free_bytes;  /* of that filesystem, by its word */
	uint64_t
		taken_bytes; /* of those: taken for this disk since it was asked, or refused to it */
	uint64_t ahead_bytes; /* allocated for this disk's records already */
	uint64_t kept_bytes;  /* allocated for metadata */
	uint64_t limit_bytes; /* of capacity still left, with what is ahead; UINT64_MAX: no limit */
	uint64_t reserve_bytes; /* that records leave, of the filesystem or of the capacity */
	uint64_t
		apart_bytes; /* and new data, for copies of what lives in segments that are mostly dead */
};
struct disk_room disk_room(struct disk *d);
/* What it would be for a new, empty disk there (before it is added). */
struct disk_room disk_room_when_new(const struct dev_space *space, uint64_t capacity_bytes);
/* Its filesystem gives back whole files only, as far as is known: what is dead in a segment takes space until it goes (CP1). */
bool disk_cannot_punch(const struct disk *d);
/* So long a new segment gets at most: shorter there, so that its copy has room. */
uint32_t disk_segment_bytes(struct disk *d);
/* What the dead records in segments take there, as it was found last. */
void disk_set_dead_bytes(struct disk *d, uint64_t dead_bytes);
uint64_t disk_dead_bytes(struct disk *d);
/* Bytes that metadata will need there: never given to records. */
void disk_set_keep_bytes(struct disk *d, uint64_t keep_bytes);
/* Somebody else has written there: what the filesystem has is asked for anew. */
void disk_ask_anew(struct disk *d);
/* What of the filesystem below is this disk's, as the one account divides it: no more is allocated ahead until it is
 * told anew. */
void disk_set_share_bytes(struct disk *d, uint64_t share_bytes);
/* Can DEV_READ_MEDIA bypass the page cache there? As far as is known. */
bool disk_reads_media(struct disk *d);
/* Size the disk brings to the pool: min(filesystem's total, capacity). */
uint64_t disk_total_bytes(struct disk *d);
/* Bytes of live records, kept by the owner of the counters (pool); set at open and after commits. */
void disk_set_used_bytes(struct disk *d, uint64_t used_bytes);
/* Bytes that are never given to file data or table files, of a disk that brings so many to the pool: roots,
 * disk.json, directories, and what the filesystem below needs for itself. */
uint64_t disk_reserve_of(uint64_t total_bytes);

struct disk_counters {
	uint64_t reads, writes, syncs, read_bytes, write_bytes, read_errors, write_errors,
		checksum_errors;
};
struct disk_counters disk_counters(struct disk *d);
/* What was counted before: once, when the disk was added. */
void disk_count_from(struct disk *d, const struct disk_counters *before);
void disk_count_checksum_error(struct disk *d);

struct segment_addr {
	uint32_t segment;
	uint32_t offset; /* bytes, SEGMENT_ALIGN-aligned */
};

/* Reserves len bytes (rounded up to SEGMENT_ALIGN) in the disk's open segment; S3 holds until
 * segment_settle(). DFS_ENOSPC, DFS_EGONE, DFS_EROFS (disk not healthy), DFS_EIO. */
MUST_USE int segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr);
/* The record at addr is published in the index, or given up: either way no longer in flight. */
void segment_settle(struct disk *d, struct segment_addr addr);

enum disk_io_op {
	DISK_READ,
	DISK_WRITE,
	DISK_SYNC
};
struct disk_io {
	struct disk *disk;
	enum disk_io_op op;
	struct segment_addr addr; /* read, write; for reads .offset may be any byte */
	struct iovec *iov; /* read: one element, filled wholly or DFS_EIO/DFS_ECORRUPT if short */
	int iovcnt;
	unsigned flags; /* enum dev_read_flags */
	bool can_spare; /* read: DFS_ELATE rather than a long wait (D9) */
	bool is_old; /* read with DEV_READ_MEDIA: of what lay there before, and was not just written */
	int result;	      /* out: 0 or DFS_ code */
	struct disk_io *next; /* private to queue.c */
};
/*
 * Runs all of them, the disks at the same time (a run of the same disk's writes as one), and waits for
 * all. Each .result is set; the return value is the first failure, or 0. Failures also reach on_error.
 */
int disk_io_run(struct disk_io *ios, unsigned count);
/*
 * The same of reads in two steps, for who has something to do meanwhile: they are under way until disk_reads_end(), which must
 * follow, sets each .result and frees what this returns. ios and their buffers live until then.
 */
struct disk_reads;
struct disk_reads *disk_reads_start(struct disk_io *ios, unsigned count);
void disk_reads_end(struct disk_reads *b);
/* Its calls only touch memory: what is started is done. */
bool disk_is_memory(struct disk *d);

/* Read-ahead hint for a range of a segment. */
void segment_prefetch(struct disk *d, struct segment_addr addr, uint32_t len);

/* S2 for every disk with unsynced writes, in parallel. Failed disks are given in ret_failed (room
 * for disk_count() ids) and have been moved to DISK_FAILED and reported to on_error first. */
int disk_set_sync(struct disk_set *s, disk_id *ret_failed, unsigned *ret_failed_count);

/* Segments that can be punched or removed: closed, nothing in flight (S3). */
bool segment_is_quiet(struct disk *d, uint32_t segment);
/* Is it the one that takes new records? */
bool segment_is_open(struct disk *d, uint32_t segment);
/* Is its file still there under its name? One that was removed behind our back can be read as long as it is open. 0, DFS_ENOENT, ... */
MUST_USE int segment_named(struct disk *d, uint32_t segment);
/* How long its file is; DFS_ENOENT: there is none. */
MUST_USE int segment_size(struct disk *d, uint32_t segment, uint64_t *ret_bytes);
/* Gives [off, off+len) back. DFS_ENOTSUP where the filesystem can't punch. */
MUST_USE int segment_punch(struct disk *d, uint32_t segment, uint32_t off, uint32_t len);
MUST_USE int segment_remove(struct disk *d, uint32_t segment);
/* Cuts off all from size on. */
MUST_USE int segment_cut(struct disk *d, uint32_t segment, uint32_t size);
/* Segments of lower numbers were there before this process had the disk: nothing is written to them. */
uint32_t segment_first_own(struct disk *d);
MUST_USE int segment_list(struct disk *d,
			  int (*fn)(void *ctx, uint32_t segment, uint64_t size_bytes), void *ctx);
/* Closes the open segment, so that it becomes quiet once settled (at unmount, by tests, and
 * when much in it is dead). */
void segment_close_open(struct disk *d);

#endif
