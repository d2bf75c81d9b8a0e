/* SPDX-License-Identifier: Apache-2.0 */
/* Between env.c and uuid.c only: a new environment has a new clock, which may begin earlier. */
#ifndef DFS_BASE_UUID_CLOCK_H
#define DFS_BASE_UUID_CLOCK_H

/* Forgets the last time given out, so that a simulated run depends on nothing but its seed. */
void uuid_clock_reset(void);

#endif
