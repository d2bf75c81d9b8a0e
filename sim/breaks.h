/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that the linker puts before the engine's own: see breaks.c, meson.build. */
#ifndef DFS_SIM_BREAKS_H
#define DFS_SIM_BREAKS_H

#include "base/hash.h"
#include "format/root.h"
#include "sim/run.h"

int __wrap_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery);
int __real_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery);
int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
int __real_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
int __wrap_meta_sync(struct meta *m, uint64_t seq);
int __real_meta_sync(struct meta *m, uint64_t seq);
void __wrap_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta);
void __real_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta);
void __wrap_hash_bytes(const void *data, size_t len, struct hash *ret_hash);
void __real_hash_bytes(const void *data, size_t len, struct hash *ret_hash);
int __wrap_root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root);
int __real_root_parse(const uint8_t in[ROOT_SLOT_BYTES], struct root *ret_root);

#endif
