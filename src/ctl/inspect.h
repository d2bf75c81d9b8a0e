/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by op_inspect.c (the index) and inspect_disk.c (what lies on a disk). */
#ifndef DFS_CTL_INSPECT_H
#define DFS_CTL_INSPECT_H

#include "ctl/call.h"

struct inspect {
	struct ctl_call *c;
	struct disk_views views;
	json_t *result;
	uint64_t limit;
	bool more; /* there is more than was shown */
};
uint64_t inspect_limit(struct ctl_call *c);
/* Any record: table, key, value's size, text, and fields where the table has them here. */
json_t *record_json(struct inspect *x, const uint8_t *key, size_t key_len, const uint8_t *val,
		    size_t val_len);
/* The record headers of an extent's fragments, read from the disks, and whether they are good. */
MUST_USE int inspect_fragments(struct inspect *x, const struct rec_extent *rec);
/* what: "disk", "roots", "journal" or "segment"; name: the disk for "disk", the number for "segment". */
MUST_USE int inspect_disk(struct inspect *x, const char *what, const char *name);

#endif
