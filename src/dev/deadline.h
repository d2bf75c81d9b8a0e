/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device stacked on a device, that gives every call a deadline: whoever calls comes back in time, also
 * when the disk below hangs. docs/DESIGN.md, "Disks that hang" (D1..D6), says how and why.
 */
#ifndef DFS_DEV_DEADLINE_H
#define DFS_DEV_DEADLINE_H

#include "dev/dev.h"

#define DEADLINE_MS_DEFAULT 10000u /* of a call; a sync has twice as long */
#define DEADLINE_THREADS 8u	   /* of a device: no more can be stuck in it */

/*
 * The devices of a pool. A disk is given up only while those that are silent lie in no more than `most` failure
 * domains, and no more than `votes` of the voters are: when all stand still (a controller that resets, a machine that was
 * suspended), nothing is won by giving them up.
 */
struct dev_group;
struct dev_group *dev_group_new(uint64_t deadline_ms);
void dev_group_set_most(struct dev_group *g, unsigned most, unsigned votes,
			struct dev *const *voters, unsigned count);
uint64_t dev_group_deadline_ms(const struct dev_group *g);
/* The devices may outlive it: it goes when the last of them has gone. NULL is allowed. */
void dev_group_put(struct dev_group *g);

/* D9: how long reads of the group that can be spared may take follows from what they take now. Once a second or so. */
void dev_group_note_pace(struct dev_group *g);

typedef int (*dev_opener)(void *ctx, const char *path, const char *subdir, bool create,
			  struct dev **ret_dev);
/* Opens a device by open(ctx, ...), which may hang, too, and gives it deadlines. ctx must live as long as
 * the process. DFS_ETIMEDOUT, or what open returned. */
MUST_USE int dev_deadline_open(struct dev_group *g, dev_opener open, void *ctx, const char *path,
			       const char *subdir, bool create, struct dev **ret_dev);
/*
 * Runs fn(arg), which may hang, on a thread of its own. 0: it has returned. DFS_ETIMEDOUT: arg is not the
 * caller's any more, drop(arg) is called when it returns. `what` is for the message.
 */
MUST_USE int dev_call_in_time(struct dev_group *g, const char *what, void (*fn)(void *arg),
			      void *arg, void (*drop)(void *arg));
/* The same over a device that is open. Takes ownership of below. */
struct dev *dev_deadline_new(struct dev_group *g, struct dev *below);

/* Its failure domain; "" (as before this call): one of its own. Other kinds of devices have none. */
void dev_deadline_set_domain(struct dev *d, const char *domain);

struct dev_deadline_state {
	bool is_hung; /* calls fail at once with DFS_ETIMEDOUT, until dev_revive() */
	bool is_retired;
	bool is_silent; /* it would be hung, but too many are: who needs it waits (D11) */
	unsigned stuck; /* calls that were given up and have not come back */
	unsigned threads;
};
/* false: d is another kind of device. */
bool dev_deadline_state(struct dev *d, struct dev_deadline_state *ret_state);

#endif
