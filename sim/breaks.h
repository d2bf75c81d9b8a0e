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
int __wrap_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr);
int __real_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr);
int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
int __real_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done);
int __wrap_meta_sync(struct meta *m, uint64_t seq);
int __real_meta_sync(struct meta *m, uint64_t seq);
void __wrap_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta);
void __real_meta_add(struct meta_txn *t, uint32_t counter, int64_t delta);
void __wrap_hash_bytes(const void *data, size_t len, struct hash *ret_hash);
void __real_hash_bytes(const void *data, size_t len, struct hash *ret_hash);
void __wrap_record_hash_blocks(const void *payload, uint32_t len, struct hash *out);
void __real_record_hash_blocks(const void *payload, uint32_t len, struct hash *out);
int __wrap_record_header_parse(const void *data, size_t len, struct record_header *ret_header,
			       struct hash *ret_hash, uint32_t *ret_need);
int __real_record_header_parse(const void *data, size_t len, struct record_header *ret_header,
			       struct hash *ret_hash, uint32_t *ret_need);
int __wrap_extent_read(struct extent_store *s, extent_id id, uint32_t off, uint32_t len, void *buf);
int __real_extent_read(struct extent_store *s, extent_id id, uint32_t off, uint32_t len, void *buf);
int __wrap_extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
			 struct extent_check *ret_check);
int __real_extent_verify(struct extent_store *s, const struct rec_extent *rec, bool deep,
			 struct extent_check *ret_check);
void __wrap_history_choose(const struct history_seen *seen, unsigned count,
			   const struct history_witness *witness, bool force,
			   struct history_choice *ret_choice, enum history_role *ret_roles);
void __real_history_choose(const struct history_seen *seen, unsigned count,
			   const struct history_witness *witness, bool force,
			   struct history_choice *ret_choice, enum history_role *ret_roles);
int __wrap_fs_rename(struct fs *fs, struct inode *from_dir, const char *from, struct inode *to_dir,
		     const char *to, unsigned flags);
int __real_fs_rename(struct fs *fs, struct inode *from_dir, const char *from, struct inode *to_dir,
		     const char *to, unsigned flags);
int __wrap_seal_wait(struct inode *in);
int __real_seal_wait(struct inode *in);

#endif
