/* SPDX-License-Identifier: Apache-2.0 */
/* The words that go with a count: "1 disk is", "2 disks are". Pure. */
#ifndef DFS_BASE_WORDS_H
#define DFS_BASE_WORDS_H

#include <stdint.h>

static inline const char *plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

#endif
