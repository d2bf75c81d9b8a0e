/* SPDX-License-Identifier: Apache-2.0 */
/* Does a disk do what it is asked? A file is written, synced, read back past the page cache, compared and removed. */
#ifndef DFS_DEV_TRIAL_H
#define DFS_DEV_TRIAL_H

#include "dev/dev.h"

struct dev_trial {
	int err; /* 0: it has passed. DFS_ECHECKSUM: what was read is not what was written */
	const char *step; /* in which it failed: "writing", ...; "": in none */
	uint64_t write_ns, sync_ns, read_ns;
	bool from_cache; /* its filesystem lets no read past the page cache: that proves less */
};

/* Two at a time need two names. Waits for the disk, as any call does. */
void dev_trial(struct dev *d, const char *name, struct dev_trial *ret);

#endif
