/* SPDX-License-Identifier: Apache-2.0 */
/* What the owner of a pool wants of what is written there. One struct from the command line to the disks. */
#ifndef DFS_BASE_POLICY_H
#define DFS_BASE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct geometry {
	uint8_t k; /* data fragments; 1 means copies */
	uint8_t m; /* fragments that may be lost */
};

struct policy {
	struct geometry large;	 /* full extents of large files; default 4+2 */
	uint8_t copies;		 /* everything else; default 3 */
	uint8_t metadata_copies; /* default 4: one more loss than data tolerates */
	bool verify_writes;	 /* read back before it is acknowledged; default off */
};

#endif
