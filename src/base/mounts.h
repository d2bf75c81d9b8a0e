/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's table of what is mounted where. No locks. */
#ifndef DFS_BASE_MOUNTS_H
#define DFS_BASE_MOUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct mount_line {
	const char *mountpoint;
	const char *
		root; /* what of the filesystem is mounted there: "/", or a directory that was bound */
	const char *type, *source;
	uint64_t dev;
};

/* In the table's order, until fn returns false. Of mounts at one place the last is the one on top. */
void mounts_each(bool (*fn)(void *ctx, const struct mount_line *m), void *ctx);

#endif
