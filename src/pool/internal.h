/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of pool/; nobody else includes it. */
#ifndef DFS_POOL_INTERNAL_H
#define DFS_POOL_INTERNAL_H

#include <sys/queue.h>

#include "base/env.h"
#include "base/log.h"
#include "dev/deadline.h"
#include "dev/lock.h"
#include "dev/smart.h"
#include "format/diskjson.h"
#include "format/pooljson.h"
#include "meta/cursor.h"
#include "pool/pool.h"

struct lacks_found {		  /* of one disk */
	unsigned count;		  /* segments that it lacks something of */
	unsigned damaged;	  /* records of what it holds */
	struct rec_bydisk newest; /* of these */
	uint64_t size;
};

struct absent_disk {
	disk_id id;
	int err;
	struct pool_message why;
};

struct spare_dev {
	struct dev *dev;
	disk_id id;
};

/* How a disk is, as the index remembers it (K3), and what leads back from there. */
struct disk_care {
	/* (l) */
	struct disk_health noted; /* what the next four are about */
	uint64_t since_s;	  /* wall clock; 0: not known */
	char text[HEALTH_TEXT_MAX + 1];
	uint8_t order; /* enum disk_state that an order keeps it in; 0: none does */
	uint8_t relapses;
	bool is_due;		  /* the index has not got it yet */
	unsigned passed, refused; /* trials in a row */
	uint64_t back_ns;	  /* when it came back last; 0: never */
	uint64_t try_ns;	  /* not before */
	uint64_t stored_ns, stored_errors;
	/* the background thread's */
	uint64_t rot_since_ns, rot_before;
	uint8_t full_asks, slow_rounds;
	uint64_t calls_before, ns_before;
};

struct smart { /* K5; the background thread's, and, until is_over is set, its round's */
	uint64_t interval_ns, next_ns; /* 0: nobody is asked */
	char *sysfs;
	struct env_thread *thread; /* a round; NULL: none */
	atomic_bool stop, is_over;
	struct smart_of {		   /* by disk */
		_Atomic(unsigned) verdict; /* enum smart_verdict */
		uint8_t in_a_row;
		int left; /* child_run() */
	} of[DISK_ID_MAX + 1];
};

struct pool {
	struct env_mutex change_lock; /* one add, fail or set at a time; held across their I/O */
	struct env_mutex
		judge_lock; /* one fail-disk is judged at a time; held across reading the index */
	struct env_mutex lock;	    /* the fields marked (l); a leaf */
	struct env_mutex json_lock; /* before lock; json and its file; held across writing it */
	struct users users;	    /* has a lock of its own */

	char *dir;
	struct pool_env env;
	char *index_dir; /* RocksDB's, when the env names none */
	struct dev *dir_dev;
	struct dev_group *home; /* dir_dev alone: whatever becomes of the disks */
	struct dir_lock *dir_lock;
	struct pool_json json;		 /* (json_lock) */
	struct policy settings;		 /* (l) */
	struct pool_rebuild rebuild;	 /* (l) */
	uint32_t next_disk;		 /* change_lock */
	struct dev_group *group;	 /* of the disks' devices */
	SLIST_HEAD(, fail_order) orders; /* (l): each fail-disk that is under way */
	struct env_cond order_done;	 /* with lock */
	struct disk_set *disks;
	struct meta *meta; /* set once, under change_lock, when the first disk is there */
	struct extent_store *extents; /* likewise */
	struct meta_recovery recovery;
	const char *scratch;	 /* borrowed; where the index is copied to; NULL: it is not */
	struct index_copy *copy; /* index_dir lies there */
	bool read_only, force;
	bool only_named;       /* disks are looked for only where pool.json says */
	const disk_id *silent; /* only while it is opened */
	unsigned silent_count;
	uint64_t mount_dev; /* 0: not mounted; atomic */

	struct env_cond wake;	   /* with lock */
	bool stop;		   /* (l) */
	uint64_t members_retry_ns; /* (l): not before, when the last attempt failed */
	uint64_t revive_ns;	   /* the background thread's: when it last asked */
	bool home_silent;	   /* likewise: that the pool directory hangs has been told */
	uint64_t seal_seq;	   /* likewise: the last transaction, a second ago */
	int line_err;		   /* likewise: why what is durable could not be noted (H10) */
	uint8_t missing[DISK_ID_MAX + 1]; /* likewise: asks in a row (D10) */
	struct disk_care care[DISK_ID_MAX + 1];
	struct smart smart;
	struct doubts {	       /* likewise: what is being written anew (D8) */
		unsigned turn; /* which disk */
		uint32_t segment, from;
		bool failed;
		unsigned count;		  /* how many there were a tick ago */
		unsigned tried, failures; /* since the last rest; rests in a row */
		uint64_t retry_ns;
	} doubts;
	struct orphans { /* likewise: what crashes left (G3) */
		struct extent_sweep sweep;
		disk_id disk; /* whose; 0: none */
		disk_id last; /* that was swept, or failed to be */
		bool swept[DISK_ID_MAX + 1];
		uint64_t retry_ns;
	} orphans;
	struct looks {	       /* change_lock: at what disks lack (H8) */
		disk_id disk;  /* whose; 0: none */
		uint32_t upto; /* what is left lies below this segment */
		struct lacks_found found;
		bool done[DISK_ID_MAX + 1];
	} looks;
	bool votes[DISK_ID_MAX + 1]; /* (l): in the epoch that is in force */
	bool members_changed;	     /* (l): meta_set_disks is due */
	bool disk_json_due;	     /* (l): disk.json files are out of date */
	int pool_json_err;	     /* (l): why pool.json could not be written; tried again */
	int tie; /* (l): why it can't be written, and an epoch waits for it (H9) */
	struct env_thread *thread; /* change_lock */
	struct spare_dev *spares;  /* (l): devices meta knows that are no disks: freed last */
	unsigned spare_count;
	struct absent_disk *absent; /* why disks could not be opened; constant after opening */
	unsigned absent_count;

	int dir_err;		 /* (l): as of dir_ns */
	uint64_t dir_ns;	 /* (l) */
	struct pool_space space; /* (l) */
	uint64_t space_ns;	 /* (l): when it was computed */
};

void pool_say(struct pool_message *msg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- disks.c ---- */
/* Opens the device at path if it is a disk of this pool. Why not: in msg. */
MUST_USE int disk_open_known(struct pool *p, const char *path, struct dev **ret_dev,
			     struct disk_json *ret_json, struct pool_message *msg);
MUST_USE int disk_json_read(struct dev *dev, struct disk_json *ret);
MUST_USE int disk_json_read_with(struct dev *dev, struct disk_json *ret,
				 struct disk_places *ret_places);
MUST_USE int disk_json_store(struct dev *dev, const struct disk_json *j,
			     const struct disk_places *places);
void disk_json_fill(struct pool *p, struct disk *d, struct disk_json *j);
/* Writes disk.json of every disk that is present; failures are logged. */
void disk_jsons_update(struct pool *p);
/* A device that meta may use but that is no disk of ours: closed after meta. NULL is allowed. */
void pool_keep_spare(struct pool *p, struct dev *dev, disk_id id);
/* That disk was given up: meta does not use it any more. */
void pool_retire_spares(struct pool *p, disk_id id);
/* The first number of a segment that the disk may give out (S1). */
MUST_USE int numbers_floor(struct pool *p, disk_id id, uint32_t *ret_floor);
/* Puts a disk of the index into the set. dev: transferred; NULL when it is not there. Meta may be
 * using it already, so it stays open to the end, whatever this returns. */
MUST_USE int disk_enter(struct pool *p, const struct rec_disk *rec, struct dev *dev);
/* The disks that meta may use now. Returns how many; known: all of the pool (room for ROOT_MAX_DISKS). */
unsigned disks_for_meta(struct pool *p, struct meta_disk *disks, unsigned max,
			struct meta_known *known, unsigned *ret_known);
#define MEMBERS_RETRY_NS 5000000000ull
/*
 * The metadata goes to the disks that are there now. A member that is full keeps it from being
 * mirrored to newcomers, but not from leaving those out that are gone: the rest is tried again by the
 * background thread. change_lock held.
 */
MUST_USE int members_choose(struct pool *p);
void disks_update_used(struct pool *p);
/* Called by the disk set when an operation fails: health.c. */
void health_disk_error(void *ctx, disk_id id, bool is_read, int err, const char *what);
/* Something has happened to the disk; `what` says it for a person. False: that changes nothing. */
bool health_event(struct pool *p, struct disk *d, enum disk_event event, const char *what);
/* It passed what it had to, having failed: is it used again (D7)? */
bool health_take_back(struct pool *p, struct disk *d);
#define REVIVE_RETRY_NS 5000000000ull
/* Asks the disks that timed out whether they answer again. Waits for a disk: the background thread's. */
void health_revive(struct pool *p);
/* Asks each disk whether it is there, and how much space it has. Waits a moment for those that hang. The background
 * thread's. */
void health_ask(struct pool *p);
/* Writes some of what may have been lost on disks that came back anew. The background thread's. */
void health_settle_doubts(struct pool *p);
/* ---- health_record.c: how a disk is, and since when (K3) ---- */
/* The disk is in another state than was noted: it is from now on. */
void health_note(struct pool *p, struct disk *d, const char *what);
/* Puts into the index what is new. `all`: counters, too, however new they are (the pool closes). */
void health_store(struct pool *p, bool all);
/* A disk that was entered: how was it? */
void health_recall(struct pool *p, struct disk *d);
/* It is not to be emptied any more: what was ordered of it before holds again. */
void health_ordered_again(struct pool *p, struct disk *d);
/* ---- health_pace.c ---- */
/* Is a disk far slower than the others? The background thread's, every REVIVE_RETRY_NS. */
void health_compare(struct pool *p);
/* ---- health_trial.c ---- */
/* Is it ill, and time for another trial? The background thread's. */
void health_try(struct pool *p, struct disk *d);
/* It has passed a trial. suffices: whatever else it would have to pass. True: it is used again. */
bool health_passed(struct pool *p, struct disk *d, bool suffices);
/* It came back from failure. */
void health_returned(struct pool *p, struct disk *d);
/* ---- health_smart.c ---- */
/* Begins a round, off this thread, when it is time. The background thread's. */
void smart_tick(struct pool *p);
/* Ends the one that is under way. After the background thread. */
void smart_end(struct pool *p);
const char *smart_word(struct pool *p, disk_id id);
/* ---- home.c ---- */
/* Does the pool directory answer again, if it did not? Waits for it. The background thread's. */
void home_revive(struct pool *p);
/* ---- orphans.c ---- */
/* Gives back some of what crashes left, one disk after the other. The background thread's. */
void orphans_tick(struct pool *p);
bool orphans_index_is_whole(struct pool *p);
/* background.c: the thread */
void pool_background(void *arg);

/* How many disks may be given up for their silence: as many as the pool can do without. */
void health_note_spare(struct pool *p);
/* Another epoch is formed: who votes in it. */
void health_note_epoch(struct pool *p, const struct root *root);
/* How many disks have a vote in the epoch that is in force. */
unsigned health_voters(struct pool *p);

/* Does the pool wait for it, since too many don't answer (D11)? */
bool disk_is_awaited(struct disk *d);

/* ---- label.c; change_lock held ---- */
#define LABEL_MAX 63u /* bytes */
/* May that disk (0: one that is to be added) have this label? cannot: how the message begins. DFS_EINVAL, DFS_EEXIST. */
MUST_USE int label_check(struct pool *p, const char *label, disk_id self, const char *cannot,
			 struct pool_message *msg);
/* The index has it: now memory, and pool.json, which is not written yet. */
void label_apply(struct pool *p, disk_id id, const char *label);

/* ---- removed.c ---- */
#define DISK_JSON_REMOVED "removed"
bool removed_is(const struct disk_json *j);
/* Says so in its disk.json, and removes what the pool wrote there. Logs a failure itself. */
void removed_mark(struct dev *dev, const struct disk_json *as);
/* What the pool wrote there, but for disk.json. */
MUST_USE int removed_clear(struct dev *dev);
/* DR10: was it removed while it was away, and is nothing that it holds needed? 0: so it is. DFS_ENOENT: it was not, or holds what this history
 * has not had. DFS_EREFUSED: it may be needed, and msg says for what. Changes nothing. */
MUST_USE int removed_while_away(struct pool *p, struct dev *dev, const struct disk_json *j,
				const char *path, struct pool_message *msg);
/* What should have been done with it when it left (DR4 (d), (e)). DFS_ENOENT: it is no such disk. */
MUST_USE int removed_forget(struct pool *p, struct dev *dev, const struct disk_json *j);

/* ---- fail.c ---- */
/* By path, label or uuid; not one that was removed. NULL: there is none. */
struct disk *pool_find_disk(struct pool *p, const char *which);
/* By order, for good: also by one that is not stored yet. */
bool disk_given_up(struct pool *p, disk_id id);
/* How many were begun and are not stored yet. */
unsigned fail_orders_pending(struct pool *p);
/* Of these, those whose disk votes still. */
unsigned fail_orders_voting(struct pool *p);
/* Waits for the orders that nobody waits for any more. Before metadata is closed. */
void fail_orders_end(struct pool *p);

/* ---- lacks.c ---- */
/* A disk that was entered: what does it lack of what the index names there? (H8) */
void lacks_find(struct pool *p, struct disk *d);
/* The same for all segments of all disks, from where it stopped, for that long. True: nothing is left to be looked at.
 * change_lock held. */
bool lacks_look(struct pool *p, uint64_t ns);
/* And what is remembered of it, from before (S5)? Before the above. */
MUST_USE int lacks_recall(struct pool *p, struct disk *d);
/* And what the last scrub found to be damaged, and left as it is (S8). */
MUST_USE int lacks_recall_damage(struct pool *p);
/* The index names nothing of that any more: it is forgotten. */
MUST_USE int lacks_settled(struct pool *p, disk_id id, const struct disk_doubt *doubt);
/* The disk is given up for good: all is. */
MUST_USE int lacks_forget(struct pool *p, struct disk *d);

/* ---- paths.c: only for real directories ---- */
/* May this directory become a disk of the pool? DFS_EINVAL and such, with the reason in msg. */
MUST_USE int path_check_disk(struct pool *p, const char *path, char *ret_real, size_t real_size,
			     struct pool_message *msg);

/* The path without links; as it is when it is not there, or too long. *ret_why: 0, or the errno that says why it is no
 * directory. DFS_ETIMEDOUT. */
MUST_USE int path_real_in_time(struct dev_group *g, const char *path, char *ret_real,
			       size_t real_size, int *ret_why);

/* ---- nested.c: DIR is a path without links, and may hang ---- */
#define NESTED_WHY_BYTES 4608u
/* Does DIR lie inside what is some pool's (itself: or is it that)? why says it for a person: "it lies inside ...". */
bool nested_inside(const char *dir, bool itself, char *why, size_t len);
/* Is it a pool's directory, or does it contain something of a pool, as far as is looked? */
bool nested_around(const char *dir, char *why, size_t len);

/* ---- find.c ---- */
/* Opens and locks every disk of the pool that can be found; json's paths become those. *ret_devs: by index
 * of json.disks (to which disks may be added); the array and the devices are the caller's, also on
 * failure. DFS_ESPLIT: one disk is there twice. DFS_ELOCKED. */
MUST_USE int find_disks(struct pool *p, struct dev ***ret_devs, struct pool_message *msg);

/* After metadata was opened: where to search, as the disks remember it. */
MUST_USE int find_load_search(struct pool *p);

/* ---- settings.c ---- */
void pool_settings_to_rec(struct pool *p, struct rec_settings *rec);
/* The settings of the index, or, in a pool whose creation was cut short, those of pool.json. */
MUST_USE int settings_load(struct pool *p, bool *ret_new);
void rebuild_settings_default(struct pool_rebuild *r);
MUST_USE int pool_settings_check(const struct policy *s, struct pool_message *msg);

/* ---- start.c ---- */
void pool_note_absent(struct pool *p, disk_id id, int err, const struct pool_message *why);
/* Opens metadata and extents over the devices; devs[i] belongs to json.disks[i], NULL when absent.
 * Takes the devices over in any case. */
MUST_USE int pool_start(struct pool *p, struct dev **devs, struct pool_message *msg);
/* What can't be opened since the pool directory takes no more says so. Returns the error to be told. */
int blame_home(struct pool *p, int err, struct pool_message *msg);

/* ---- json.c ---- */
/* json_lock held: what is durable (H10). */
void json_set_line(struct pool *p, const struct meta_line *line);
/* The pool directory remembers what is in force now; not written yet. */
void pool_json_take_witness(struct pool *p, const struct history_witness *w,
			    const struct meta_line *line);
/* Writes pool.json from p->json with the epoch and states of now. Logs a failure itself. */
int pool_json_store(struct pool *p);
/* Likewise with what is durable by now, if that is more than pool.json has (H10). It is needed for nothing else, so
 * a failure is none of pool.json's. */
int pool_json_note_durable(struct pool *p);

/* ---- pool.c ---- */
int open_dev(const struct pool_env *env, const char *path, const char *subdir, bool create,
	     struct dev **ret_dev);
/* The same for a disk, which may hang: a device with deadlines. */
MUST_USE int open_disk_dev(const struct pool_env *env, struct dev_group *g, const char *path,
			   const char *subdir, bool create, struct dev **ret_dev);

#endif
