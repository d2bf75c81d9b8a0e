/* SPDX-License-Identifier: Apache-2.0 */
/* Which event moves a disk from which state to which: the table of docs/DESIGN.md, "Health". Pure functions. */
#ifndef DFS_POOL_HEALTH_RULES_H
#define DFS_POOL_HEALTH_RULES_H

#include "dev/disk.h"

/* A bit for each state from which a rule leads on. A degraded disk may take new data, or not. */
enum health_from {
	FROM_HEALTHY = 1,
	FROM_OPEN = 2,	    /* degraded, and takes new data */
	FROM_AVOIDED = 128, /* degraded, and takes new data if the policy needs it */
	FROM_BARRED = 4,
	FROM_SUSPECT = 8,
	FROM_DRAINING = 16,
	FROM_FAILED = 32,
	FROM_ORDERED =
		64, /* degraded or suspect by order: nothing but an order, or worse, ends that */
};

struct health_rule {
	enum disk_event event;
	unsigned from; /* enum health_from */
	enum disk_state to;
	const char *what_is_done, *what_to_do; /* for a person */
};

/* NULL: the disk stays as it is. */
const struct health_rule *health_rule(struct disk_health from, enum disk_event event);
/* All of them, for whoever walks the table. */
const struct health_rule *health_rules(unsigned *ret_count);
enum health_from health_from(struct disk_health h);

/* "write error"; also what a reason is called in disk.json. */
const char *health_event_name(enum disk_event event);
/* What an error that a call on the disk met means for its health. DISK_NO_EVENT: nothing. */
enum disk_event health_event_of(int err, bool is_read);
/* So many trials in a row must succeed before a disk that is in that state comes back; 0: none help. */
unsigned health_trials(struct disk_health h);

#endif
