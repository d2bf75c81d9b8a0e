/* SPDX-License-Identifier: Apache-2.0 */
/* One seed's run: the pool, its disks, its clients and what has been done to them. */
#ifndef DFS_SIM_RUN_H
#define DFS_SIM_RUN_H

#include "jobs/jobs.h"
#include "file/fs.h"
#include "pool/pool.h"
#include "sim/model.h"
#include "sim/rng.h"
#include "sim/sim_disk.h"

#define SIM_CLIENTS 3u
#define SIM_DISKS 8u

struct sim_counts { /* over all seeds; shared between processes */
	uint64_t seeds, ops, device_ops, rounds, cuts, checks, files_checked, bytes_checked,
		switches;
};

struct sim_options {
	uint64_t seed;
	unsigned ops; /* client operations over all rounds */
	bool verbose, meta_only;
	bool no_holes; /* no disk can punch holes, and none is lost: CP1 to CP6 */
	struct sim_counts *counts;
};

enum disk_damage {
	DAMAGE_NONE,
	DAMAGE_GONE,  /* DFS_EGONE */
	DAMAGE_WIPED, /* there, but empty */
	DAMAGE_STALE, /* came back as it was some rounds ago */
	DAMAGE_FLIPS,
	DAMAGE_ERRORS,	/* I/O errors */
	DAMAGE_FAILED,	/* by the administrator */
	DAMAGE_FOREIGN, /* a disk of another pool is there */
	DAMAGE_AWAY,	/* used elsewhere as the pool */
	DAMAGE_APART,	/* and back, but of a history that was given up */
	DAMAGE_ANEW	/* given up, emptied and added again: what it held is lost */
};
#define RUN_IMAGES 3u
struct run_disk {
	struct sim_disk *sim;
	const char *domain;		      /* its failure domain; "": none */
	struct sim_image *images[RUN_IMAGES]; /* some earlier states */
	char path[16];
	enum disk_damage damage;
	bool had_other;	     /* DAMAGE_ERRORS, and something else before */
	bool failed;	     /* for good, by the administrator */
	bool given_up;	     /* and that has been stored */
	unsigned anew;	     /* how often it has been added again after that */
	unsigned lost_round; /* the last round in which it stopped working */
	uint64_t changes;    /* to one that must not be written to, when that began */
};
struct run_handle {
	struct mnode *node;
	struct inode *in;
};
struct run_rot {       /* on all disks, since the last round */
	uint64_t seq;  /* this transaction's record; 0: none */
	bool proved;   /* what is left says that it had been acknowledged */
	bool roots;    /* each disk's newest one */
	bool given_up; /* by force */
};
struct run_split { /* two histories */
	enum {
		SPLIT_NONE,
		SPLIT_AWAY,
		SPLIT_SETTLED
	} state;
	bool copied;		     /* the pool directory went along; else: import */
	bool forced, forced_here;    /* either side was */
	bool went_on;		     /* this one has, since they were apart */
	bool now;		     /* in this round they come together */
	struct sim_image *home_then; /* the pool directory when they went apart */
	struct index_mem_store *index_there;
	bool known;		    /* what the other side was in the end */
	uint64_t hash[SIM_CLIENTS]; /* that */
};
struct run_back { /* copies of all disks */
	bool on;
	struct rng rng;
	struct sim_image *images[SIM_DISKS];
	unsigned count;	   /* of disks; 0: there are none */
	uint64_t last_seq; /* the last transaction then, durable or not */
};
#define RUN_STAYS 32u
struct run_stay { /* a segment that is known, durably, to hold damage */
	disk_id disk;
	uint32_t segment;
};
#define RUN_HANDLES 4u
#define FOREIGN_DISKS 2u
struct client {
	struct run *run;
	unsigned id;
	struct rng rng;
	struct model *model;
	struct run_handle handles[RUN_HANDLES];
	unsigned ops_left;
	struct rng peer_rng;
	bool busy;	       /* the client runs, and so does its peer */
	bool stopped;	       /* the operation in flight failed beyond tolerance */
	struct mnode *writing; /* a data operation on it is in flight */
};
struct run {
	const struct sim_options *opt;
	struct rng rng;
	/* disks[disk_count..disk_total-1] are there to be added */
	unsigned disk_count, disk_total, tolerance, clients_count, round;
	struct run_disk disks[SIM_DISKS];
	struct sim_disk *pool_disk;
	struct sim_image *pool_image; /* a backup of the pool directory */
	unsigned pool_image_disks;    /* how many disks the pool had then */
	struct index_mem_store *index, *index_image;
	struct client clients[SIM_CLIENTS];
	struct policy settings;
	struct fs_config fs_config;
	uint64_t meta_checkpoint_bytes, meta_buffer_bytes; /* given to meta_open */
	unsigned segment_closes_one_in;			   /* 0: when they are full */
	unsigned pace_ms;	  /* between a client's operations: the background gets its turns */
	unsigned reclaims_one_in; /* operations are followed by a reclaim; 0: none */
	struct rng segment_rng;
	unsigned weights;     /* which mix of operations */
	bool small_disks;     /* DFS_ENOSPC may happen */
	bool copies_on_write; /* overwriting takes space, but where that was asked not to be */
	bool has_snapshot;    /* there, too */
	bool filled;	      /* a disk has been filled behind our back in this round */
	bool lacks_room;      /* so does this: a disk has been filled behind our back */
	bool beyond;	      /* more disks are damaged than the tolerance: DFS_EIO may happen */
	bool stormy;	      /* disks come and go all the time */
	bool hot;	      /* clients mostly use the file they used last */
	bool silent;	      /* in some rounds a disk falls silent, and the round outlasts it */
	bool home_silent;     /* or the pool directory does */
	struct rng domain_rng;
	unsigned
		domains; /* of the disks that are there from the start; as many as they are, if none is shared */
	struct rng silent_rng;
	bool rebuilds; /* in this history lost disks are rebuilt */
	bool drains;   /* and disks are removed */
	struct rng drain_rng;
	struct rng jobs_rng;
	bool scrubs; /* and all is scrubbed now and then */
	struct rng scrub_rng;
	struct rng orphans_rng;
	uint64_t lasts_until_ns; /* this round; 0: until the operations are done */
	bool was_filled;	 /* in a round before */
	bool may_exceed;	 /* more disks than tolerated may fail while clients write */
	bool exceeded;		 /* and have in this round: errors are honest */
	bool pool_dir_old;	 /* what it remembers of epochs may be of no use */
	bool syncs_fail;	 /* a disk that fails in use fails so, and the round ends soon */
	bool forces;		 /* somebody says force without need */
	struct rng force_rng;
	bool splits; /* disks are used elsewhere, and come back */
	bool there;  /* right now it is there that things happen */
	struct run_split split;
	struct sim_disk *home_there;
	struct rng split_rng;
	struct uuid uuid;
	bool rots; /* one record, or the newest root, on all disks */
	struct run_rot rot;
	struct rng rot_rng;
	struct rng unread_rng;
	bool unreads; /* journals that can't be read when the pool is opened */
	struct run_back back;
	bool stays;    /* disks rot while there is no room for repairs */
	bool replaces; /* a person is quick to give disks up, and to add them again */
	struct rng stays_rng;
	struct run_stay stays_at[RUN_STAYS];
	unsigned stay_count;
	bool no_holes; /* no disk can punch */
	struct rng compact_rng;
	unsigned rest_steps; /* of a file that no client has, durable */
	bool lossy;	     /* and it was opened without what that held */
	bool foreign;	     /* what is not ours is found */
	bool foreign_world;  /* another pool is being made */
	struct sim_disk *foreign_home, *foreign_disks[FOREIGN_DISKS], *clone;
	struct index_mem_store *foreign_index;
	struct rng foreign_rng;
	unsigned voters;    /* disks that were there when the round began */
	bool lose_pool_dir; /* before the next opening */
	bool home_fails;    /* in some rounds the pool directory's filesystem does for a while */
	bool home_hit;	    /* in this round it does, or did */
	bool home_broken;   /* and the index refuses everything until it is opened again */
	bool home_no_room_at_all;
	bool home_small;       /* it has little more room than the index needs */
	uint64_t home_well_ns; /* when that was over */
	uint64_t journal_full_before;
	struct rng home_rng;
	bool unmounting;
	uint64_t mirrored_before, published_before; /* checkpoints, when the round began */
	bool was_clean;				    /* the last round ended with an unmount */
	bool with_peers; /* fibers that use the clients' files beside them */
	bool sync_all_running;
	bool adding;		/* a disk is being added: */
	struct run_disk *added; /* disks[disk_count], or one that was emptied */
	bool stop_admin;	/* the round ends */
	bool verified;		/* this round's recovery has been checked */
	bool ended;		/* nothing more can be asked of this pool */
	unsigned end_after_ops; /* of this round */
	unsigned round_ops;
	uint64_t next_data_seed;
	struct pool_env env;
	bool looked; /* a read-only mount has shown this */
	uint64_t looked_hash[SIM_CLIENTS];
	/* while open */
	struct pool *pool;
	struct fs *fs;
	struct jobs *jobs;
};
extern struct run *sim_run_now; /* for wraps */

/* Says what is wrong, and how to see it again, and ends the process. */
void sim_fail(const char *promise, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* A disk is changed that was not locked (L1). */
void run_unlocked(const char *name);
void sim_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Runs one seed to its end; returns only if all is well. */
void sim_run_seed(const struct sim_options *opt);

/* run.c: counts an operation, and arms the power cut when it is time. */
void run_op_starts(struct run *r);
void run_arm_faults(struct run *r);
/* Somebody fell silent: operations go on until he has come back. */
bool run_lasts(struct run *r);
bool run_home_silent(struct run *r, int err);
bool run_disk_is_blank(struct run_disk *d);
/* Is something there that was the pool's? */
bool run_disk_is_ours(const struct run_disk *d);
bool run_disk_is_away(const struct run_disk *d);
/* run_damage.c */
unsigned run_damaged(struct run *r); /* how many disks */
unsigned run_voters(struct run *r);  /* how many are there */
/* Opening gave err. True: so it should, since fewer than half of the disks are well (half is enough where
 * the pool directory is there and knows the newest epoch, which a power cut may have kept from it): whoever
 * opens must say force. Any other refusal is a failure. */
bool run_refused_rightly(struct run *r, int err);
/* An error that says the truth, when more has been lost than anybody promised to bear. */
bool run_bears(struct run *r, int err);
/* Somebody is, or was in this round: who was refused then may hear of it later. */
bool run_somebody_full(struct run *r);
/* Where overwriting takes space, even what was set aside may be refused then: a sync, too (J1, A4). */
bool run_overwriting_fails(struct run *r);
void run_between_rounds(struct run *r, bool last);
/* NULL when the pool names no such disk. */
struct run_disk *run_disk_by_id(struct run *r, disk_id id);
void run_settle_adding(struct run *r);
/* Of one disk, if one more may be damaged. False: nothing has. */
bool run_rot_segments(struct run *r);
void admin_main(void *run);
/* run_meta.c: what a run does with the metadata layer alone. */
void meta_make(void *run);
void meta_round(void *run);
/* workload.c: one client's life in a round. */
void client_main(void *client);
/* oracle.c: compares what is there with what may be there; the run's fs is open. */
void oracle_check(struct run *r);
void oracle_look(
	struct run *r); /* the same through a read-only mount, for oracle_check to compare */
void oracle_fsck(struct run *r);
/* One number for each client's names and bytes. */
void oracle_hashes(struct run *r, uint64_t *ret_hashes);
/* The same when acknowledged changes were given up: what is there is a state that once was. */
void oracle_check_lossy(struct run *r);
/* After a quiet time no segment on a disk that is well holds only what crashes left. */
void oracle_orphans(struct run *r);
/* What counts as there on a disk that had errors is there (S5). */
/* Calls fn for each extent that there is. */
void oracle_each_extent(struct run *r, void (*fn)(struct run *r, const struct rec_extent *rec));
void oracle_doubts(struct run *r);
/* run_stays.c: before clients work; and after the next openings. */
void stays_meet(struct run *r);
void stays_check(struct run *r);
void stays_forget_replaced(struct run *r);
/* run_scrub.c: before clients work, to its end; and beside them. */
void scrub_meet(struct run *r);
void scrub_begin_one(struct run *r, struct jobs *jobs);
/* run_compact.c: when the world is made; before clients work. */
void compact_set_up(struct run *r);
void compact_meet(struct run *r);
unsigned compact_files(struct run *r); /* that are not the clients' */
/* No transaction since the opening was greater than its bound (B1). */
void oracle_check_txns(struct run *r);

#endif
