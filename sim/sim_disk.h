/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated disks: files in memory that know which of their writes a power cut may still take. The
 * promises are exactly those of dev/dev.h and nothing more. Every call is a scheduling point and a
 * place where power may go.
 */
#ifndef DFS_SIM_DISK_H
#define DFS_SIM_DISK_H

#include "dev/dev.h"
#include "sim/rng.h"

#define SIM_MAX_DISKS 16u

struct sim_disk;
struct sim_image; /* a copy of a disk's content */

struct sim_disk_config {
	const char *name; /* "d0" */
	uint64_t fs_id, total_bytes;
	bool can_punch, can_allocate;
	bool copies_on_write; /* overwriting needs space, but in files made to be overwritten in place */
	bool has_snapshot; /* in those, too: but for roots, whose failure no pool survives */
	bool can_hang;	   /* its calls run on threads with deadlines */
	/* Called when something is changed there by a device that did not lock it. NULL is allowed. */
	void (*unlocked)(const char *name);
};

struct sim_disk_stats {
	uint64_t ops, changes, writes, syncs, write_bytes, lost_writes, torn_writes, flips;
};

/* Forgets all disks and begins anew: the seed's chance decides what power cuts keep. */
void sim_disks_start(uint64_t seed);
/* The disk counts as present and empty. */
struct sim_disk *sim_disk_new(const struct sim_disk_config *cfg);
/* A device that uses the disk; any number may be open. */
struct dev *sim_disk_open(struct sim_disk *d);

/* ---- power ---- */
/* Power goes at the n-th device operation from now (1: the next); 0: not at all. */
void sim_disks_cut_after(uint64_t n);
/* Once a member is left out and the root without it is on one disk. */
void sim_disks_cut_at_root(void);
/* The same, as soon as n changes of all disks are not durable. */
void sim_disks_cut_at_unsynced(uint64_t n);
/* Operations so far, and whether the cut has been armed and not happened. */
uint64_t sim_disks_ops(void);
/* What a power cut leaves: each unsynced write kept, lost or torn, each directory's last changes
 * of names lost from some point on. Then all is durable. */
void sim_disks_settle(void);

/* ---- faults: all may be set at any time ---- */
struct sim_fault {
	bool gone;    /* DFS_EGONE from every call */
	bool unnamed; /* only to the question whether its path still leads there: all else works */
	bool full;    /* DFS_ENOSPC from whatever needs space */
	bool read_only;		    /* DFS_EROFS from whatever changes something */
	uint64_t hang_until_ns;	    /* until then every call waits */
	uint64_t hang_in_sync_ns;   /* so long from when a segment is synced next */
	unsigned read_error_one_in; /* 0: never */
	bool journal_unread;	    /* its files can be opened for reading, and not be read */
	bool journal_shut;	    /* they can't be opened for reading, either */
	unsigned write_error_one_in;
	unsigned sync_error_one_in; /* and what was not synced settles as if power went */
	bool sync_errors_of_data;   /* in segments only */
	uint64_t slow_ns;
};
void sim_disk_set_fault(struct sim_disk *d, const struct sim_fault *f);
struct sim_fault sim_disk_fault(struct sim_disk *d);
bool sim_disk_can_hang(struct sim_disk *d);
/* What somebody else takes of its space, and what is free beside that. */
void sim_disk_set_others(struct sim_disk *d, uint64_t bytes);
uint64_t sim_disk_free_bytes(struct sim_disk *d);
/* Calls so far that changed, or synced, something there. */
uint64_t sim_disk_changes(struct sim_disk *d);
/* Calls fn before the n-th device operation from now; it may set faults. */
void sim_disks_at_op(uint64_t n, void (*fn)(void *arg), void *arg);
bool sim_disks_hooked(void); /* and that has not come yet */

enum sim_where {
	SIM_ANY,
	SIM_SEGMENT,
	SIM_JOURNAL,
	SIM_ROOT,
	SIM_CHECKPOINT,
	SIM_JSON
};
/* Flips a few bits somewhere in a file of that kind; a description goes to text (may be ""), false
 * when there is no such file. */
bool sim_disk_flip(struct sim_disk *d, enum sim_where where, char *text, size_t text_len);
/* Does the file hold space in whole pages from off on, which the disk could give back? */
bool sim_disk_holds(struct sim_disk *d, const char *path, uint64_t off);
/* Each of its files as it is seen; fn may change the bytes, which are durable then. */
void sim_disk_each(struct sim_disk *d,
		   void (*fn)(void *ctx, const char *path, uint8_t *data, uint64_t size),
		   void *ctx);
/* Is there anything on it? */
bool sim_disk_has_names(struct sim_disk *d);
/* Removes everything. */
void sim_disk_wipe(struct sim_disk *d);
struct sim_image *sim_disk_image(struct sim_disk *d);
void sim_disk_restore(struct sim_disk *d, const struct sim_image *image);
void sim_image_free(struct sim_image *image);
struct sim_disk_stats sim_disks_stats(void);

#endif
