/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What disk.c, segment.c, sync.c and queue.c share and nobody else sees: the inside of a disk.
 *
 * Two leaf locks, none taken under another, none held across disk I/O:
 *   disk_set.lock   the table of disks
 *   disk.lock       segments, reservations, space, identity
 * Things that only one thread may do at a time, and that take I/O (making a segment, syncing, asking
 * for space, allocating), are claimed by a flag under disk.lock; the others wait on disk.changed.
 */
#ifndef DFS_DEV_DISK_INTERNAL_H
#define DFS_DEV_DISK_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include <uthash.h>

#include "dev/disk.h"

#define SEGMENT_DIR "segments"
#define SEGMENT_LAST_SEEN 4u /* a crash leaves no more with space allocated ahead */
#define SEGMENT_CACHE_MAX                                                                          \
	128u /* idle open segment files of a disk (P9); fewer with few descriptors */

/* A segment in memory: as long as it is open, used, dirty, has records in flight or a cached file. */
struct segment { /* all fields: disk.lock */
	uint32_t number;
	unsigned refs;	    /* who uses the entry right now */
	unsigned in_flight; /* records reserved and not settled (S3) */
	bool is_dirty;	    /* on disk.dirty: writes finished after the last sync began (S2) */
	bool is_idle;	    /* on disk.idle */
	bool is_removed;    /* being unlinked by us */
	uint32_t allocated; /* of disk.open and disk.next: up to here the space is ours already */
	struct dev_file *file; /* NULL: not open yet */
	TAILQ_ENTRY(segment) idle_link, dirty_link;
	UT_hash_handle hh;
};

/* A record in flight. */
struct flight {	      /* all fields: disk.lock */
	uint64_t key; /* segment << 32 | offset */
	uint32_t len;
	bool written;
	bool is_held; /* on allocated ground: writing it takes no space any more */
	UT_hash_handle hh;
};

/* What this process has taken of the filesystem since the disk was opened. */
struct room_taken {
	uint64_t written;   /* to ground that was not allocated */
	uint64_t allocated; /* and is still, or was given back since */
};
struct room_question {
	uint64_t ns;
	struct room_taken taken; /* before it began */
};
#define QUESTIONS_MAX 4u

/* Does the filesystem give back a part of a file? Asked once. */
enum punch {
	PUNCH_UNKNOWN,
	PUNCH_CAN,
	PUNCH_CANNOT
};

/* Of a segment: what may not be there, or, a note of its own, is not, of what was written (disk.lock). */
struct doubt {
	uint64_t key; /* segment << 1 | is_lost */
	struct disk_doubt what;
	bool is_remembered; /* or need not be: it is found anew each time */
	UT_hash_handle hh;
};

/* A record that a scrub found to be damaged (disk.lock). Its address is never used again (S1), so a note of one that was moved
 * since says nothing of anything. */
struct found_damage {
	uint64_t key; /* segment << 32 | offset */
	UT_hash_handle hh;
};

struct disk {
	struct env_mutex lock;
	struct env_cond changed; /* with lock: a flag below has been given back */

	struct disk_set *set; /* borrowed; immutable */
	struct dev *dev;      /* owned; NULL when absent; immutable */
	disk_id id;	      /* immutable */

	struct disk_info info;	  /* lock; but for .state, which is below */
	_Atomic(unsigned) health; /* disk_health(), as one word */
	_Atomic(unsigned) punch;  /* enum punch */

	/* segments (lock) */
	struct segment *segments;   /* by number */
	struct flight *flights;	    /* by address */
	TAILQ_HEAD(, segment) idle; /* unused, with an open file, least recently used first */
	unsigned idle_count;
	unsigned idle_max;    /* immutable */
	struct segment *open; /* takes new records; has a file */
	struct segment *next; /* made and allocated ahead, to be open after it; NULL: none */
	uint32_t open_used;   /* bytes given out of it */
	uint32_t next_number; /* the next segment made */
	uint32_t creating;    /* somebody makes this one; 0: nobody */
	uint32_t first_own;   /* the first that this process may make; immutable */
	bool has_dir;	      /* the segment directory has been seen */
	uint32_t last_seen[SEGMENT_LAST_SEEN]; /* highest numbers found at the start; constant */

	/* syncing (lock): a write that finishes takes ++written_seq; a sync covers all up to a value */
	uint64_t written_seq, synced_seq;
	TAILQ_HEAD(, segment) dirty;
	unsigned dirty_count;
	bool is_syncing;
	bool is_leaving, is_removed;
	disk_id heir;
	struct disk_health before_leaving; /* what it goes back to; state 0: it has not left */
	bool names_dirty;		   /* a segment's name has not been made durable */
	bool root_dirty;		   /* nor that of the segment directory */
	int sync_error;			   /* S4: what was unsynced then is in doubt for ever */
	bool loss_told;		     /* the last sync that had to name the lost disk has begun */
	struct doubt *doubts;	     /* the next to be worked off first */
	struct found_damage *damage; /* known, and not written anew unasked (S8) */
	_Atomic(unsigned) damage_count;
	bool is_given_up;		   /* none are noted any more */
	_Atomic(unsigned) doubt_count;	   /* how many they are */
	_Atomic(unsigned) lost_count;	   /* of them: what is not */
	_Atomic(unsigned) unread_in_a_row; /* reads that said DFS_EIO, since one succeeded */

	/* space (lock) */
	struct dev_space space;	 /* the last answer */
	uint64_t space_asked_ns; /* 0: never */
	bool space_failed;	 /* it was an error */
	bool is_asking;
	uint64_t used_bytes; /* live records, from the pool */
	uint64_t dead_bytes; /* what dead ones take beside them, where holes can't be punched */
	uint64_t in_flight_bytes; /* reserved, not settled */
	uint64_t unwritten_bytes; /* of those, on ground that was not allocated, not yet written */
	struct room_taken taken;  /* so far */
	struct room_taken known;  /* of it: the last answer counts it */
	uint64_t known_ns;	  /* when the question began that it answers */
	struct room_question
		questions[QUESTIONS_MAX]; /* that may be answered later, oldest first */
	unsigned question_count;
	uint64_t moving_bytes; /* ahead, being allocated or given back: whoever has is_allocating */
	unsigned returning;    /* segments whose unused ground is being given back */
	uint64_t returning_bytes; /* so much */
	uint64_t refused_bytes;	  /* of what the filesystem calls free: it did not give it */
	uint64_t refused_free;	  /* what it called free then */
	uint64_t refused_ns;
	uint64_t
		hold_bytes; /* that disk_hold_bytes() was asked for last, or data accepted by then */
	uint64_t keep_bytes;	    /* that records must leave: for metadata */
	uint64_t share_bytes;	    /* disk_set_share_bytes(), less what was allocated since */
	struct dev_file *kept_file; /* whoever has is_allocating: of that, what is allocated */
	uint64_t kept_bytes;	    /* so much */
	unsigned kept_files;	    /* so many, empty, hold inodes */
	bool is_lent;		    /* metadata is being written: nothing is allocated for it now */
	bool no_allocate;	    /* the filesystem can't allocate, or need not */
	bool is_allocating;

	struct { /* atomic: counted without a lock */
		_Atomic(uint64_t) reads, writes, syncs, read_bytes, write_bytes, read_errors,
			write_errors, checksum_errors;
	} counters;
};

/* Tells the owner of the set; never call it with a lock held. */
void disk_report(struct disk *d, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same of a read of what lay there. */
void disk_report_read(struct disk *d, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* State and event are one word, so that neither is seen without the other. */
static inline unsigned health_word(struct disk_health h)
{
	return (unsigned)h.state | (unsigned)h.event << 8;
}
/* It has failed, whatever it was. */
void disk_fail_by(struct disk *d, enum disk_event event);
/* DFS_EGONE when absent or failed, else 0. */
int disk_usable(struct disk *d);

/* disk.c: lock held. What is said of a disk's health, as it is if the disk is to leave. */
struct disk_health disk_well(const struct disk *d, struct disk_health h);

/* room.c: lock held; the functions that do I/O let it go meanwhile */
/* Bytes that a new record may use, space being as fresh as disk_refresh_space() left it. */
uint64_t disk_free_locked(struct disk *d);
/* Asks for the space if the answer is older than a second. */
void disk_refresh_space(struct disk *d);
/* May the next record of len bytes go into the open segment without taking more space? */
bool room_is_held(const struct disk *d, uint32_t len);
/* Is the ground for the next record of that length allocated, in the open segment or in the next? */
bool room_is_sure(struct disk *d, uint32_t len);
/*
 * Takes space for seg (disk.open or disk.next), up to `want` if possible and `least` at least. 0 also when
 * another was at it, or the filesystem can't: look again. DFS_ENOSPC, or why the disk fails.
 */
MUST_USE int room_extend(struct disk *d, struct segment *seg, uint32_t least, uint32_t want);
/* The disk is freed, or let go of. */
void room_release(struct disk *d);
/* So long a new segment gets at most; lock held. */
uint32_t room_segment_bytes(struct disk *d);
/* And so long this one, of which more may be allocated already; lock held. */
uint32_t room_segment_limit(struct disk *d, const struct segment *seg);
/* A good step of allocation for this disk. */
uint32_t room_step(struct disk *d);

/* sync.c */
void doubts_release(struct disk *d);
void damage_release(struct disk *d);

/* segment.c */
/* Makes a segment: the open one, or the next. Lock held, let go meanwhile. */
MUST_USE int segment_make(struct disk *d, bool as_next);
int segment_init(struct disk *d, uint32_t first_segment); /* lists what is there */
void segment_release_all(struct disk *d);
/* A read or a run of writes under way. Between begin and end no lock is held. */
struct segment_io {
	struct segment *seg;  /* with a reference; NULL: it has failed already */
	struct dev_call call; /* of its file, or the opening of that */
	bool is_opening;
	uint64_t bytes;
	int rc; /* when seg is NULL */
};
void segment_read_begin(const struct disk_io *io, struct segment_io *s);
/* Once the file is open, the read can start; may be repeated. */
void segment_read_go_on(const struct disk_io *io, struct segment_io *s);
MUST_USE int segment_read_end(const struct disk_io *io, struct segment_io *s);
/* A run: ios linked by next, of one segment, each starting where the one before ends. */
void segment_write_begin(const struct disk_io *run, struct segment_io *s);
MUST_USE int segment_write_end(const struct disk_io *run, struct segment_io *s);
/* Gives a reference back, lock held; the caller closes the file it gets (or NULL) without it. */
struct dev_file *segment_put_locked(struct disk *d, struct segment *seg);

/* sync.c */
/* S2 for one disk, in three steps: starts the sync of what is dirty, unless another is at it; waits for
 * that; waits until all that was written before the first step is durable, syncing again if need be. The
 * last may wait for another caller, so it follows when none of one's own is unfinished. */
struct sync_job {
	uint64_t wanted; /* written_seq at the first step: what the caller wants durable */
	uint64_t target; /* written_seq when the sync began */
	bool is_ours;	 /* else another syncs, or nothing is to be done */
	bool names, root;
	struct dev_call *calls; /* of the names, then of each segment */
	struct segment **segs;	/* each with a reference */
	unsigned count, name_calls;
};
void segment_sync_begin(struct disk *d, struct sync_job *ret_job);
void segment_sync_end(struct disk *d, struct sync_job *j);
MUST_USE int segment_sync_wait(struct disk *d, uint64_t wanted);
/* Does this disk belong to a sync of all? */
bool segment_claim_sync(struct disk *d);
/* Another segment takes the records from now on; NULL: none does. Lock held, let go meanwhile. */
void segment_replace_open(struct disk *d, struct segment *seg);

/* queue.c */
#define RUN_IOV_MAX 64 /* vectors in one write of a run */
#define RUN_BYTES_MAX MIB(4)

#endif
