/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which state of a pool is the true one: decided from the roots that its disks show and from what the
 * pool directory remembers, and from nothing else (P8). Pure functions without locks or I/O: the
 * engine, the simulator and the exhaustive test call the same code. The rule and its argument:
 * docs/DESIGN.md "One history".
 */
#ifndef DFS_META_HISTORY_H
#define DFS_META_HISTORY_H

#include "base/types.h"
#include "format/root.h"

/* A disk that is there, and its newest valid root. */
struct history_seen {
	struct uuid disk;
	const struct root *root; /* borrowed; NULL: it has none that can be read */
	bool rotten;		 /* some slot of its ring is: its newest root may be lost */
	bool unread; /* its ring could not be read, or is another pool's: it may show anything */
};

/* What the pool directory remembers. One vote, for that epoch alone; never a proof by itself. */
struct history_witness {
	bool known;
	struct uuid id; /* of the newest epoch that it was told of */
	uint64_t epoch, generation;
};

enum history_verdict {
	HISTORY_ACCEPTED,
	HISTORY_NONE,	  /* no disk has a root */
	HISTORY_MINORITY, /* those who could know better are not here */
	HISTORY_STALE,	  /* the pool directory has seen something newer */
	HISTORY_SPLIT,	  /* two histories that went apart */
};

enum history_role {	  /* of a disk, seen from the history that was chosen */
	HISTORY_NO_ROOT,  /* new, or emptied */
	HISTORY_UNREAD,	  /* nobody knows what it is of: must not be written to, either */
	HISTORY_CURRENT,  /* has the newest epoch's root */
	HISTORY_SET_BACK, /* older than it can be without having been set back to a copy of itself */
	HISTORY_BEHIND,	  /* has missed changes: nothing on it is believed */
	HISTORY_GIVEN_UP, /* by a person */
	HISTORY_UNLISTED, /* no disk of the pool, as the chosen root has it */
	HISTORY_OTHER,	  /* of another history: must not be written to */
};

struct history_choice {
	enum history_verdict verdict;
	bool forced;	   /* accepted by force alone: the next epoch must say so */
	bool by_witness;   /* a tie was decided by the pool directory */
	bool witness_here; /* its memory is of the chosen epoch (else it is behind, or unknown) */
	bool witness_in_line; /* or of one that the chosen one is known to descend from */
	int chosen; /* index of the newest root of the chosen history; -1: there is none */
	int other;  /* index of the newest root of another history; -1: no disk shows one */
	unsigned votes, voters;	 /* in the set that came closest to failing */
	uint64_t max_generation; /* over all roots seen: what is written next must be above */
	uint64_t max_epoch;
};

#define HISTORY_MAX_SEEN 512u

/*
 * ret_roles: count of them. force: choose as well as can be, whatever speaks against it; but without
 * any root the verdict stays HISTORY_NONE. count is at most HISTORY_MAX_SEEN. Any roots that root_parse
 * lets through are safe (P10).
 */
void history_choose(const struct history_seen *seen, unsigned count,
		    const struct history_witness *witness, bool force,
		    struct history_choice *ret_choice, enum history_role *ret_roles);

/*
 * The next root of a process whose last one, perhaps only attempted, is `last`. The caller has filled in
 * its members and the table of disks, with bit 0 of votes as it is now. Does the epoch go on, since
 * nobody came or went and it is formed? Then history_keep() takes it over. Else history_begin() makes
 * next one that is drawn up: its sets are open. epoch_floor: the greatest number seen anywhere.
 */
bool history_goes_on(const struct root *next, const struct root *last);
/* Do they say the same of members, voters and disks, whatever is open about them? */
bool history_same(const struct root *next, const struct root *last);
void history_keep(struct root *next, const struct root *last);
/* DFS_E2BIG: too many sets are open; nothing was changed. */
MUST_USE int history_begin(struct root *next, const struct root *last, uint64_t epoch_floor,
			   bool forced);
/* Now it is formed. */
void history_close(struct root *next);

/*
 * May the epoch of `next` count as formed once its root is durable on all its voters, and on these disks
 * that leave with it? 1: yes, the disks agree; 0: only if the pool directory remembers it, too; -1: no.
 */
int history_forms(const struct root *next, const struct uuid *leavers, unsigned leaver_count);

#endif
