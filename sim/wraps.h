/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that the linker puts before the engine's own: see wraps.c, meson.build. */
#ifndef DFS_SIM_WRAPS_H
#define DFS_SIM_WRAPS_H

#include "sim/run.h"

int __wrap_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery);
int __real_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery);
int __wrap_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr);
int __real_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr);
int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
int __real_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
/* After a client's operation: space is given back, perhaps. */
void sim_reclaim(struct run *r);

#endif
