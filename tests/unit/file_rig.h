/* SPDX-License-Identifier: Apache-2.0 */
/* A pool of directories with a filesystem on it, for the tests of file/. */
#ifndef TESTS_FILE_RIG_H
#define TESTS_FILE_RIG_H

#include "file/fs.h"
#include "pool/pool.h"

#define RIG_DISKS 6

struct file_rig {
	char top[64], pool_dir[96], disk[RIG_DISKS][96];
	struct fs_config cfg;
	uint64_t capacity_bytes; /* of each disk; 0: no limit */
	struct pool *pool;
	struct fs *fs;
	struct inode *root;
};

/* Of disk i in the rigs to come, instead of file_rig_new()'s; 0: that. */
extern uint64_t file_rig_capacity[RIG_DISKS];
/* Likewise its failure domain. */
extern const char *file_rig_domain[RIG_DISKS];
/* How many of them the rigs to come begin with; 0: all. */
extern unsigned file_rig_disks;
/* Adds disk i, which is not there yet. */
void file_rig_add_disk(struct file_rig *r, unsigned i);
/* Asserts that all goes well. capacity_bytes as in the struct. */
struct file_rig *file_rig_new(const struct fs_config *cfg, uint64_t capacity_bytes);
/* Checks the pool with fsck (deep), then removes everything. */
void file_rig_free(struct file_rig *r);
void file_rig_open(struct file_rig *r);
void file_rig_close(struct file_rig *r);
/* Closes and opens again. */
void file_rig_reopen(struct file_rig *r);
/* As after a kill: what is neither sealed nor committed is lost, what was not synced may be. */
void file_rig_crash(struct file_rig *r);
void file_rig_fsck(struct file_rig *r);

/* Shorthands that assert success. The inode carries a reference. */
struct inode *rig_create(struct file_rig *r, struct inode *dir, const char *name);
struct inode *rig_mkdir(struct file_rig *r, struct inode *dir, const char *name);
struct inode *rig_lookup(struct file_rig *r, struct inode *dir, const char *name);
/* The code, 0 when name is there. */
int rig_exists(struct file_rig *r, struct inode *dir, const char *name);
struct fs_attr rig_attr(struct file_rig *r, struct inode *in);
void rig_write(struct file_rig *r, struct inode *in, uint64_t off, const void *buf, size_t len);
void rig_truncate(struct file_rig *r, struct inode *in, uint64_t size);
/* Asserts that the file holds exactly these bytes. */
void rig_expect(struct file_rig *r, struct inode *in, const void *want, size_t len);

#endif
