/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory that can be put back to what it held: for targets that run the whole engine. */
#ifndef DFS_TESTS_FUZZ_MEM_DEV_H
#define DFS_TESTS_FUZZ_MEM_DEV_H

#include "dev/dev.h"

struct mem_disk;
struct mem_disk *mem_disk_new(const char *name, uint64_t fs_id);
/* Any number may be open; each is freed with dev_free. */
struct dev *mem_disk_open(struct mem_disk *d);
bool mem_disk_is_empty(struct mem_disk *d);
/* What the disk holds now is what mem_disk_reset() brings back. */
void mem_disk_keep(struct mem_disk *d);
void mem_disk_reset(struct mem_disk *d);

#endif
