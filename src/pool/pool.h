/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: where disks, metadata and extents are put together. Creates, opens, closes and imports
 * pools, adds and fails disks while open, and answers what there is (P2, P5, P6, P8).
 *
 * One process owns a pool at a time (POOL/lock). The pool directory is disposable: all of it can be
 * rebuilt from the disks (pool_import).
 */
#ifndef DFS_POOL_POOL_H
#define DFS_POOL_POOL_H

#include "base/users.h"
#include "base/err.h"
#include "base/types.h"
#include "codec/codec.h"
#include "dev/disk.h"
#include "dev/trial.h"
#include "extent/extent.h"
#include "meta/meta.h"
#include "meta/schema.h"

struct pool;

/* The seam for the simulator: how a path becomes a device, and which index is used. NULL members
 * (or a NULL env): directories, RocksDB in POOL/index, POOL/lock. */
struct pool_env {
	int (*open_dev)(void *ctx, const char *path, const char *subdir, bool create,
			struct dev **ret_dev);
	const struct index_ops *index_ops;
	void *index_arg;
	uint64_t checkpoint_bytes; /* that the journal holds before one, at most; 0: 16 MiB */
	bool no_lock;
	void *ctx;
};

#define POOL_MAX_COPIES (CODEC_MAX_M + 1u)
#define POOL_MAX_METADATA_COPIES                                                                   \
	(ROOT_MAX_MEMBERS / 2) /* the other slots are for those that fail */

void pool_settings_default(struct policy *s);

struct pool_message { /* what went wrong, for a person; 1 KiB, always NUL-terminated */
	char text[1024];
};

/* Creates DIR/pool.json. DFS_EEXIST (a pool already), DFS_ENOTEMPTYDIR, DFS_EROFS, DFS_EACCES,
 * DFS_EINVAL. Nothing is changed on failure. */
MUST_USE int pool_init(const char *dir, const struct policy *settings, const struct pool_env *env,
		       struct pool_message *msg);

struct pool_open_options {
	bool read_only; /* write nothing to the disks */
	bool force;	/* open though the newest state can't be known for sure */
	/* a disk that does not answer for so long is not waited for (dev/deadline.h); 0: 10 s */
	uint64_t io_timeout_ms;
	/* disks are looked for only where pool.json says: a person has just named them */
	bool only_named;
	/* disks that are not looked for: they did not answer a moment ago */
	const disk_id *silent;
	unsigned silent_count;
	uint64_t
		smart_interval_ms; /* the disks are asked so often what they say of themselves; 0: never */
	const char *sysfs;	   /* borrowed; NULL: /sys */
	/* with read_only: nothing at all is changed in the pool directory, the index is copied below this directory, and
	 * removed again; borrowed; NULL: no */
	const char *scratch;
};
/* Takes the lock, opens the disks, recovers. DFS_ENOTPOOL, DFS_ELOCKED (another process has it),
 * DFS_ENOQUORUM, DFS_ESTALE, ... A pool with no disk yet opens, too (pool_has_disks is false). */
MUST_USE int pool_open(const char *dir, const struct pool_open_options *opt,
		       const struct pool_env *env, struct pool **ret_pool,
		       struct pool_message *msg);
/* Syncs, checkpoints, releases the lock. Frees even on error. */
int pool_close(struct pool *p);
struct pool_end {
	char silent[512]; /* disks that did not answer meanwhile, as pool_silent_disks() says it */
	bool durable; /* whatever failed, all that was committed is: the next opening replays it */
};
/* The same, and how it went. */
int pool_close_telling(struct pool *p, struct pool_end *ret_end);
/* As pool_close, but writes nothing: the simulator's power cut, and read-only use. */
void pool_abandon(struct pool *p);
/* Those that did not answer when it was opened: at most max. Returns how many. */
unsigned pool_silent_at_open(struct pool *p, disk_id *out, unsigned max);
/* The labels of disks that did not answer within their deadline, for a person; "" when all did. */
void pool_silent_disks(struct pool *p, char *out, size_t out_len);
/* Of these, those that the pool waits for (D11): nothing can be made durable before more of them answer. */
void pool_awaited_disks(struct pool *p, char *out, size_t out_len);

struct pool_disk_spec {
	const char *path;
	const char *label;	 /* NULL: the last part of the path */
	const char *domain;	 /* NULL: none */
	uint64_t capacity_bytes; /* 0: no limit */
	bool dry_run;
};
/* The pool is mounted: no directory on that device (stat()'s st_dev) may become a disk. Any thread. */
void pool_note_mount(struct pool *p, uint64_t dev);
/* Works while the pool is in use. *ret_same_fs: shares a filesystem with another disk (warn). msg may say something of note though it returns 0. */
MUST_USE int pool_add_disk(struct pool *p, const struct pool_disk_spec *spec,
			   struct disk_info *ret_info, bool *ret_same_fs, struct pool_message *msg);
struct pool_fail_plan { /* what giving a disk up would do */
	struct disk_info info;
	unsigned disks_left;	 /* present without it */
	uint64_t extents_lost;	 /* readable now, and not then */
	uint64_t unknown;	 /* of these: the record of what lies there is damaged */
	uint64_t extents_unsure; /* in doubt, and what may be there of them would be given up */
};
/*
 * The one judgement of a dry run and of the real one. which: path, label or uuid. 0: nothing speaks against
 * it. DFS_EREFUSED: files would become unreadable, or no disk would be left; needs force. DFS_ENODISK;
 * DFS_EEXIST: it was given up before. Except for DFS_ENODISK *ret_plan is set.
 */
MUST_USE int pool_plan_fail(struct pool *p, const char *which, struct pool_fail_plan *ret_plan,
			    struct pool_message *msg);
/*
 * Another label, unique among those in use, of 1 to 63 bytes of UTF-8 without control characters. Durable when it returns 0. DFS_ENODISK,
 * DFS_EINVAL, DFS_EEXIST; dry_run: only whether it may be.
 */
MUST_USE int pool_set_label(struct pool *p, const char *which, const char *label, bool dry_run,
			    struct pool_message *msg);
/* Marks it failed: not used any more, not believed later. As pool_plan_fail, but for force. Both return in time also
 * while the pool waits for disks (D12): DFS_ETIMEDOUT, and msg says what stands. */
MUST_USE int pool_fail_disk(struct pool *p, const char *which, bool force,
			    struct disk_info *ret_info, struct pool_message *msg);
struct pool_drain_plan { /* what removing a disk takes */
	struct disk_info info;
	bool is_there;
	unsigned disks_left; /* that take data */
	struct extent_leaving content;
	uint64_t seconds; /* that moving it takes at the rate that is set; 0: as fast as it can */
	uint64_t usable_bytes; /* room for file data without it */
};
/*
 * The one judgement of a dry run and of the real one (DR5). DFS_EREFUSED: extents would bear less or be lost, or there is no room; needs
 * force. Or no other disk is there (disks_left 0): refused in any case. DFS_ENODISK; DFS_EEXIST: it is being removed already.
 */
MUST_USE int pool_plan_drain(struct pool *p, const char *which, struct pool_drain_plan *ret_plan,
			     struct pool_message *msg);
/* The same if another one, of that room and failure domain, came first. */
MUST_USE int pool_plan_replace(struct pool *p, const char *which, const struct disk_room *room,
			       const char *domain, struct pool_drain_plan *ret_plan,
			       struct pool_message *msg);
/* It is to be emptied, and then forgotten: durable when it returns 0. As pool_plan_drain, but for force. */
MUST_USE int pool_drain(struct pool *p, const char *which, bool force,
			struct pool_drain_plan *ret_plan, struct pool_message *msg);
/* The same with a disk of the pool as heir (DR8): what moves goes there, where it may. hands_label: the label, too, in the end. */
MUST_USE int pool_replace(struct pool *p, const char *which, disk_id heir, bool hands_label,
			  bool force, struct pool_drain_plan *ret_plan, struct pool_message *msg);
/* It stays after all. DFS_ENOENT: it is not leaving (any more). */
MUST_USE int pool_drain_cancel(struct pool *p, disk_id id);
/* Also what has no place elsewhere is to be given up. */
bool pool_drain_forced(struct pool *p, disk_id id);
/*
 * Forgets it, if nothing names it any more (DR3, DR4). 0: it is gone. DFS_EBUSY: writes are under way there; DFS_ENOTEMPTY: something lies
 * there; DFS_ENOENT: it is not leaving any more; else why says what it waits for.
 */
MUST_USE int pool_drain_finish(struct pool *p, disk_id id, struct pool_message *why);
/* Rebuilds DIR from the disks. */
MUST_USE int pool_import(const char *dir, const char *const *disk_paths, unsigned count, bool force,
			 const struct pool_env *env, struct pool_message *msg);

/* ---- parts; borrowed ---- */
bool pool_has_disks(struct pool *p);
const char *pool_dir(struct pool *p);
struct uuid pool_uuid(struct pool *p);
struct meta *pool_meta(struct pool *p);		   /* NULL while there are no disks */
struct extent_store *pool_extents(struct pool *p); /* likewise */
/* S8: a scrub of this disk (0: all) has come to its end: what it found and left is what is known to be damaged there. */
MUST_USE int pool_note_scrubbed(struct pool *p, disk_id only);
struct disk_set *pool_disks(struct pool *p);
struct policy pool_get_settings(struct pool *p);
MUST_USE int pool_set_settings(struct pool *p, const struct policy *s, struct pool_message *msg);
struct pool_rebuild {
	uint64_t
		after_s; /* a disk that is away, or failed, for so long is rebuilt on the others; default 900 */
	uint64_t
		bytes_per_s; /* background work writes at most so much; 0: as fast as it can; default 64 MiB */
};
#define POOL_REBUILD_NEVER UINT32_MAX /* after_s: nothing is rebuilt by itself */
struct pool_rebuild pool_get_rebuild(struct pool *p);
MUST_USE int pool_set_rebuild(struct pool *p, const struct pool_rebuild *r,
			      struct pool_message *msg);
/* Directories in which disks are looked for when the pool is opened: those that are given replace all
 * that were set. DFS_EINVAL, DFS_ENOTDIR, and why it could not be stored. */
MUST_USE int pool_set_search(struct pool *p, const char *const *dirs, unsigned count,
			     struct pool_message *msg);
/* How many there are; the i-th into out. */
unsigned pool_get_search(struct pool *p, unsigned i, char *out, size_t out_len);
bool pool_read_only(struct pool *p);
/* Who mounts the pool enters here what its users wait for: background work yields to them (docs/DESIGN.md, Y1 to Y4). */
struct users *pool_users(struct pool *p);

/* ---- what there is ---- */
/* What data may get that finds no room for k + m: so it is accepted. Copies for the greater tolerance of the two. */
struct geometry pool_copies(const struct policy *s);
/* What bytes of data take, as copies, with their share of headers and roundings. */
uint64_t pool_data_cost(uint64_t bytes);
/* Kept free, as copies, of every write that adds: for what is already under way. */
#define POOL_MARGIN_BYTES MIB(1)
/* Room for file data, with a further disk of that room, which does not exist yet; NULL: none. */
uint64_t pool_room_with(struct pool *p, const struct disk_room *room, const char *domain);

struct pool_space {		  /* bytes of file data; from the one capacity function */
	uint64_t total_bytes;	  /* usable when empty */
	uint64_t used_bytes;	  /* by files, or promised to them */
	uint64_t promised_bytes;  /* of these: by fallocate, and not written yet */
	uint64_t available_bytes; /* still fits, by the default policy for large files */
};
/* Cached for 200 ms. */
void pool_space(struct pool *p, struct pool_space *ret_space);

struct pool_status {
	struct uuid uuid;
	unsigned disks, disks_present, disks_failed;
	bool no_disk; /* none does: for what is wrong with them, not for want of room */
	struct policy settings;
	struct geometry large_now, small_now; /* what a write gets now; {0, 0}: nothing fits */
	int dir_behind; /* 0, or why pool.json could not be written: tried again */
	int tie;	/* 0, or why not, and what half of the disks go on with needs it (H9) */
	unsigned fail_pending; /* disks whose giving up is not stored yet (D12) */
	bool narrowed;	       /* differs from the settings: warn */
	bool full;	       /* nothing more fits */
	bool few_disks;	       /* for the settings, whatever room they have */
	struct pool_space space;
	uint64_t inodes, extents, epoch, generation, seq, durable_seq;
	struct meta_recovery recovery;
	struct meta_loss loss; /* told until somebody has taken note */
	struct meta_stats meta;
	struct extent_stats extent;
	int dir_err; /* 0, or what is wrong with the pool directory: nothing can be added */
	int failed;  /* 0, or why no change is accepted any more */
};
void pool_status(struct pool *p, struct pool_status *ret_status);
/*
 * The index lies in the pool directory, and its next flush and compaction need room there. 0, or why they can't be:
 * then nothing may be added. Asked at most every 200 ms; waits a moment if it hangs.
 */
int pool_dir_error(struct pool *p);
/* That error as a part of a sentence, and what a person can do. Static storage. */
const char *pool_dir_what(int err);
const char *pool_dir_what_to_do(int err);
/* May anything be added, as far as the pool directory is concerned? */
bool pool_may_grow(struct pool *p);
/* extent_compact_step() with what the pool allows. */
MUST_USE int pool_compact_step(struct pool *p, struct disk *d, bool is_urgent,
			       struct compact_done *ret);
/* Room is wanted now: on each disk that can't punch holes a segment that is partly dead goes. false: there is none. Takes I/O. */
bool pool_compact_now(struct pool *p);
/* The pool directory does not answer: what needs the index may never return. */
bool pool_dir_silent(struct pool *p);
/* verify_writes is on, and on some disks what is read back comes from the page cache: their labels, and
 * true. */
bool pool_verifies_cache_only(struct pool *p, char *out, size_t out_len);

struct pool_disk_status {
	struct disk_info info;
	bool present, metadata_member;
	bool takes_data; /* if it has room */
	bool read_only;	 /* its filesystem is */
	bool no_files;	 /* no inode is left on its filesystem */
	bool given_up; /* by order, for good; else a failed disk gets another chance at the next mount */
	bool is_awaited; /* it does not answer, and neither do too many others to go on without it (D11) */
	bool is_silent;		/* failed, for it does not answer: it is taken back when it does */
	bool damaged;		/* a scrub found damage there that was not made anew yet (S8) */
	bool doubtful;		/* what may be lost there, or is, is being written anew (D8, H8) */
	unsigned lost_segments; /* in so many it lacks what it has had: it was set back */
	uint64_t total_bytes, used_bytes, free_bytes, fs_id;
	struct disk_counters counters;
	enum disk_event event; /* what led to its state */
	const char *reason;    /* what led to its state, in a word or two; "": nothing */
	uint64_t since_s;      /* since when, wall clock; 0: not known */
	char text[201];	       /* what happened, or what an order said */
	bool is_ordered;       /* an order keeps it in its state */
	const char *smart;     /* "passed", "failing" or "unknown": what it said of itself last */
};
/* i in 0..pool_disk_count()-1. False past the end. */
bool pool_disk_status(struct pool *p, unsigned i, struct pool_disk_status *ret_status);

/* Puts the disk on trial: writes, syncs, reads back. What comes of it becomes its state. Its result, or DFS_EGONE. */
int pool_probe_disk(struct pool *p, disk_id id, struct dev_trial *ret);
/* By order: healthy (it must pass a trial), degraded or suspect, until another order. DFS_EREFUSED and such. */
MUST_USE int pool_set_disk_health(struct pool *p, disk_id id, enum disk_state to,
				  const char *reason, bool dry_run, struct pool_message *msg);

/* ---- fsck: read-only check of every promise that can be checked ---- */
struct pool_fsck_result {
	uint64_t inodes, dentries, map_entries, extents, fragments, bytes_verified;
	uint64_t problems;	       /* damage: exit code 5 */
	uint64_t endangered_extents;   /* readable, but with fewer fragments than wanted */
	uint64_t lost_extents;	       /* fewer than k good fragments */
	uint64_t orphan_records_bytes; /* in segments, unknown to the index (left by crashes) */
};
/* severity "progress" is no finding: how far it is, told once a second (P11). */
typedef void (*pool_fsck_report_fn)(void *ctx, const char *severity, const char *text);
/* deep: verify payload bytes as well as headers. 0, or DFS_EDAMAGED, or why it can't run. */
MUST_USE int pool_fsck(struct pool *p, bool deep, pool_fsck_report_fn report, void *ctx,
		       struct pool_fsck_result *ret_result);
/* What is held in memory of inodes, and then of extents, at a time (FS2): about 220 bytes of each. */
#define POOL_FSCK_ENTRIES (256u * 1024u)
/* The same with fewer at a time, for tests. */
MUST_USE int pool_fsck_within(struct pool *p, bool deep, unsigned max_entries,
			      pool_fsck_report_fn report, void *ctx,
			      struct pool_fsck_result *ret_result);

/* ---- orphans between live records (G6) ---- */
#define POOL_ORPHAN_AGES 5u /* below an hour, a day, a week, 30 days; more */
struct pool_orphans {
	uint64_t records, bytes;
	uint64_t old_records, old_bytes; /* of the age that was asked for */
	uint64_t removed_records, removed_bytes;
	uint64_t by_age[POOL_ORPHAN_AGES], bytes_by_age[POOL_ORPHAN_AGES];
	uint64_t oldest_s;
	uint64_t segments,
		busy_segments; /* looked at; left alone, for records are in flight there */
	unsigned disks, disks_left_out;
	bool is_certain; /* else what the index does not name may be all there is of what was lost (G3) */
};
struct pool_orphans_options {
	uint64_t min_age_s;
	bool remove;
	/* Each that is found, also those that are removed. NULL is allowed. */
	void (*found)(void *ctx, const struct disk_info *disk, const struct orphan_record *o);
	void (*progress)(void *ctx, const char *text);
	void *ctx;
};
/* DFS_EREFUSED: they may not be removed now, with the reason in msg. */
MUST_USE int pool_orphans(struct pool *p, const struct pool_orphans_options *opt,
			  struct pool_orphans *ret, struct pool_message *msg);

/* A path ("/a/b") of an inode for messages, from parent hints; "inode N" when it can't be found. One longer
 * than out is cut at the front: "...b/c". out_len is 64 at least. */
void pool_inode_path(struct pool *p, ino_id ino, char *out, size_t out_len);

#endif
