/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk says of itself: `smartctl`, where it is installed, asked in a child process with a deadline. Nothing here waits
 * for the disk but that process. Thread-safe; no state.
 */
#ifndef DFS_DEV_SMART_H
#define DFS_DEV_SMART_H

#include <stdatomic.h>

#include "base/types.h"

#define SMART_DEVICES 16u /* below one filesystem; of more, so many are asked */
#define SMART_NAME_BYTES 64u

enum smart_verdict {
	SMART_UNKNOWN, /* no device, no smartctl, no answer, or the disk sleeps */
	SMART_PASSED,
	SMART_FAILING,
};

struct smart_device {
	char node[SMART_NAME_BYTES]; /* "/dev/sda" */
};
/*
 * The physical devices below the filesystem of that number (stat()'s st_dev): of a partition its disk, of device mapper and RAID
 * their members. sysfs: where it is mounted, "/sys". Returns how many; 0: none is known (tmpfs, loop devices, Btrfs, networks).
 */
unsigned smart_devices(const char *sysfs, uint64_t st_dev, struct smart_device *out, unsigned max);
/*
 * Asks one. stop: set, it ends at once. *left: 0 at first; a child that did not end when it was killed, which is waited for
 * before another one is begun for the same place.
 */
enum smart_verdict smart_ask(const char *node, unsigned timeout_ms, const atomic_bool *stop,
			     int *left);

#endif
