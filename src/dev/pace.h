/* SPDX-License-Identifier: Apache-2.0 */
/* What the calls of a disk have taken lately: a histogram that forgets. Counted under the owner's lock, read without one. */
#ifndef DFS_DEV_PACE_H
#define DFS_DEV_PACE_H

#include <stdatomic.h>
#include <stdint.h>

#define PACE_BUCKETS 64u /* two for each doubling, from 1 us on */

struct pace {
	_Atomic(uint32_t) counts[PACE_BUCKETS];
	uint32_t total;
};

void pace_note(struct pace *p, uint64_t ns);
/* So long 99 of 100 have taken at most, rounded up to a bucket's end; 0: there were too few to tell. */
uint64_t pace_p99(struct pace *p);

#endif
