/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem: inodes, directories, file data, xattrs. What fuse/ (and the simulator) call.
 * Permission checks are the kernel's (default_permissions); everything else POSIX asks is here.
 *
 * Data path: writes go to the inode's dirty slots (1 MiB of file each) in memory; a slot is sealed
 * (becomes an extent) when full, after the flush interval, at fsync, under memory pressure and
 * before a rename that replaces a file. docs/DESIGN.md "Files: dirty data and sealing" (F1..F8).
 *
 * All calls are thread-safe and return 0 or a DFS_ code. Times are wall clock, ns.
 */
#ifndef DFS_FILE_FS_H
#define DFS_FILE_FS_H

#include "base/err.h"
#include "base/types.h"
#include "meta/schema.h"

struct pool;
struct fs;
struct inode; /* in memory; counted */

struct fs_config {		    /* 0: the default */
	uint64_t dirty_limit_bytes; /* unsealed and sealing data in memory; 128 MiB */
	uint64_t flush_interval_ms; /* dirty data and metadata are made durable this often; 5000 */
	unsigned seal_workers;	    /* threads that encode and write; 2 */
	uint64_t inode_cache_count; /* unreferenced inodes kept in memory; 16384 */
	uint64_t name_cache_bytes;  /* for the names of directories in use; 32 MiB */
	unsigned
		fold_percent; /* a slot is folded that takes so much of what it must; 200, 100 at least */
	uint64_t
		rest_after_ms; /* a file not changed for so long rests, and is folded to its least; 60000 */
	bool no_fold;	       /* garbage stays until there is no other space (tests) */
	uint64_t txn_bytes; /* bound of one transaction (B1), 16 KiB at least; META_TXN_BYTES */
	uint64_t promise_wait_ms; /* for room that was promised, and is not there (F9); 5000 */
	bool no_acl; /* access control lists are as good as not there; what was kept of them stays */
};

struct fs_cred {
	uint32_t uid, gid;
	uint32_t
		umask; /* what a new mode is cleared of, unless its directory has a default list (AC2) */
};

struct fs_attr {
	ino_id ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev, size, blocks_512, generation;
	struct dfs_time atime, mtime, ctime, btime;
};

/* Makes the root directory when the pool has none (owner: root, mode 0755), finishes what orphan
 * records name, starts flusher and workers. pool is borrowed. */
MUST_USE int fs_open(struct pool *pool, const struct fs_config *cfg, struct fs **ret_fs);
/* Seals and syncs everything. Frees even on error (which then says that data was not stored). */
int fs_close(struct fs *fs);
/* Drops everything unsaved (the simulator's power cut). */
void fs_abandon(struct fs *fs);

/* For who calls the functions below on behalf of somebody who waits: users_enter() before, users_leave() after. */
struct users *fs_users(struct fs *fs);

/* ---- inodes ---- every call that returns an inode gives one reference; fs_forget gives n back (NULL: nothing) */
MUST_USE int fs_inode_get(struct fs *fs, ino_id ino, struct inode **ret_inode);
void fs_forget(struct fs *fs, struct inode *in, uint64_t n);
/* The kernel is about to be told of the inode once more: it may name it by its number until it has said that it has
 * forgotten it, as often as it was told. A reference held. */
void fs_kernel_knows(struct fs *fs, struct inode *in);
void fs_kernel_forgot(struct fs *fs, ino_id ino, uint64_t lookups);
ino_id fs_inode_ino(struct inode *in);
/* Open handles keep an unlinked inode alive. Always takes the handle; DFS_ENOENT says that the inode
 * was freed before (its last name went between the caller's look-up and this): look up again. */
int fs_handle_get(struct inode *in);
void fs_handle_put(struct fs *fs, struct inode *in);

/* "." is any inode itself, ".." a directory's parent, as long as they have names. */
MUST_USE int fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **ret_inode,
		       struct fs_attr *ret_attr);
/* "/a/b", no symlinks followed. For the CLI and tests. */
MUST_USE int fs_resolve(struct fs *fs, const char *path, struct inode **ret_inode);
MUST_USE int fs_getattr(struct fs *fs, struct inode *in, struct fs_attr *ret_attr);

enum fs_set { /* which members of the argument count */
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_ATIME_NOW = 64,
	FS_SET_MTIME_NOW = 128,
	FS_SET_CTIME = 256,
};
/* DFS_EPERM, here and below: AT1 forbids it. */
MUST_USE int fs_setattr(struct fs *fs, struct inode *in, const struct fs_attr *attr, unsigned set,
			struct fs_attr *ret_attr);

/* ---- chattr ---- (AT1) */
enum fs_flags {
	FS_FLAG_IMMUTABLE = 1,
	FS_FLAG_APPEND = 2, /* only */
};
unsigned fs_flags_get(struct inode *in);
MUST_USE int fs_flags_set(struct fs *fs, struct inode *in, unsigned flags);
/* May it be opened for writing, at its end only, after it is cut to nothing? DFS_EPERM. */
MUST_USE int fs_may_write(struct inode *in, bool append, bool truncate);

/* Somebody begins to read: the access time becomes now, if relatime wants that. True when it did. */
bool fs_accessed(struct fs *fs, struct inode *in);

/* ---- names ---- mode includes the type; setgid directories pass their group on */
MUST_USE int fs_mknod(struct fs *fs, struct inode *dir, const char *name, uint32_t mode,
		      uint64_t rdev, struct fs_cred cred, struct inode **ret_inode,
		      struct fs_attr *ret_attr);
MUST_USE int fs_mkdir(struct fs *fs, struct inode *dir, const char *name, uint32_t mode,
		      struct fs_cred cred, struct inode **ret_inode, struct fs_attr *ret_attr);
MUST_USE int fs_symlink(struct fs *fs, struct inode *dir, const char *name, const char *target,
			struct fs_cred cred, struct inode **ret_inode, struct fs_attr *ret_attr);
/* Appends the target to out (emptied first). */
MUST_USE int fs_readlink(struct fs *fs, struct inode *in, struct buf *out);
MUST_USE int fs_link(struct fs *fs, struct inode *in, struct inode *dir, const char *name,
		     struct fs_attr *ret_attr);
MUST_USE int fs_unlink(struct fs *fs, struct inode *dir, const char *name);
MUST_USE int fs_rmdir(struct fs *fs, struct inode *dir, const char *name);
enum fs_rename_flags {
	FS_RENAME_NOREPLACE = 1,
	FS_RENAME_EXCHANGE = 2
};
MUST_USE int fs_rename(struct fs *fs, struct inode *from_dir, const char *from,
		       struct inode *to_dir, const char *to, unsigned flags);
/* The same, and in the same step a whiteout (a character device 0:0, of that owner) comes where the name was: what an
 * overlay above needs to know that a lower name is hidden. Not with FS_RENAME_EXCHANGE; DFS_ENOSPC: a name more may need
 * room. */
MUST_USE int fs_rename_whiteout(struct fs *fs, struct inode *from_dir, const char *from,
				struct inode *to_dir, const char *to, unsigned flags,
				struct fs_cred cred);

/* ---- directories ---- */
struct fs_dirent {
	const char *name;
	ino_id ino;
	uint32_t mode;		    /* type bits */
	uint64_t next;		    /* offset that continues after this entry */
	const struct fs_attr *attr; /* with want_attr, and not for "." and "..", else NULL */
	struct inode *inode;	    /* with want_attr: borrowed, for the time of the call */
};
/* Returns nonzero to stop before this entry (it was not taken). */
typedef int (*fs_dirent_fn)(void *ctx, const struct fs_dirent *e);
/* Entries after offset (0: from the start, "." and ".." first). Entries that stay are listed exactly
 * once, whatever comes and goes meanwhile. */
MUST_USE int fs_readdir(struct fs *fs, struct inode *dir, uint64_t offset, bool want_attr,
			fs_dirent_fn fn, void *ctx);

/* ---- data ---- */
/* *ret_len < len only at the end of the file. */
MUST_USE int fs_read(struct fs *fs, struct inode *in, uint64_t off, size_t len, void *buf,
		     size_t *ret_len);
/* All or nothing. append: off is ignored, the data goes to the end. */
MUST_USE int fs_write(struct fs *fs, struct inode *in, uint64_t off, size_t len, const void *buf,
		      bool append);
/* Pages that were changed through mmap: as fs_write, but AT1 forbids none of it. */
MUST_USE int fs_write_page(struct fs *fs, struct inode *in, uint64_t off, size_t len,
			   const void *buf);
/* P1 for this inode (and everything committed before). data_only is a hint. */
MUST_USE int fs_fsync(struct fs *fs, struct inode *in, bool data_only);
/* Why data of the inode could not be stored, while that is so (F3). */
MUST_USE int fs_flush(struct fs *fs, struct inode *in);
/* Has storing data failed, of whatever file, and not succeeded since? */
bool fs_is_stuck(struct fs *fs);
MUST_USE int fs_sync_all(struct fs *fs); /* syncfs */
/* All that was written until now is to be given to the disks at once, by the flusher: nobody waits. Returns the time for
 * fs_is_stored(), which tells whether that has been done (not: synced), but for what can't be stored. */
uint64_t fs_store_soon(struct fs *fs);
bool fs_is_stored(struct fs *fs, uint64_t until_ns);
enum fs_falloc {
	FS_FALLOC_KEEP_SIZE = 1,
	FS_FALLOC_PUNCH = 2,
	FS_FALLOC_ZERO = 4
};
MUST_USE int fs_fallocate(struct fs *fs, struct inode *in, unsigned mode, uint64_t off,
			  uint64_t len);
/* DFS_ENXIO past the end. */
MUST_USE int fs_seek(struct fs *fs, struct inode *in, uint64_t off, bool want_hole,
		     uint64_t *ret_off);

/* ---- xattrs ---- */
/* Access control lists (acl.h has their form): set, removed and listed as attributes, but the former is one with the mode
 * (AC1). DFS_EINVAL: no list; DFS_EACCES: a default list of what is no directory; DFS_ENOTSUP: of a symbolic link, or
 * with no_acl. To remove one that is not there, or set an empty one, is no error; the other flags don't count. */
#define FS_XATTR_ACL_ACCESS "system.posix_acl_access"
#define FS_XATTR_ACL_DEFAULT "system.posix_acl_default"
enum fs_xattr_flags {
	FS_XATTR_CREATE = 1,
	FS_XATTR_REPLACE = 2,
	FS_XATTR_DROP_SETGID =
		4 /* with an access list: setgid goes (who sets it may not give it) */
};
MUST_USE int fs_setxattr(struct fs *fs, struct inode *in, const char *name, const void *value,
			 size_t len, unsigned flags);
MUST_USE int fs_getxattr(struct fs *fs, struct inode *in, const char *name, struct buf *out);
/* Names, each with its NUL. */
MUST_USE int fs_listxattr(struct fs *fs, struct inode *in, struct buf *out);
MUST_USE int fs_removexattr(struct fs *fs, struct inode *in, const char *name);

/* Stops folding in the background once the slot that is at it is done, for who looks at the index as a whole;
 * or lets it go on. */
void fs_pause_folding(struct fs *fs, bool pause);

struct fs_statfs {
	uint64_t total_bytes, free_bytes, available_bytes, files, files_free;
};
void fs_statfs(struct fs *fs, struct fs_statfs *ret_statfs);

/* ---- telling a person ---- */
struct fs_extent_info { /* one map entry (or the inline data) */
	uint64_t file_offset, len;
	bool is_inline;
	uint32_t extent_offset;
	struct rec_extent extent;
};
typedef int (*fs_extent_fn)(void *ctx, const struct fs_extent_info *e);
/* Seals the inode first, so that what is listed is what is stored. */
MUST_USE int fs_list_extents(struct fs *fs, struct inode *in, fs_extent_fn fn, void *ctx);

struct fs_stats {
	uint64_t dirty_bytes, dirty_limit_bytes, sealed_extents, seal_errors;
	uint64_t inodes_cached, inodes_in_use; /* in memory; of them those that must be */
	uint64_t inodes_known; /* that the kernel has been told of and has not forgotten */
	uint64_t folded_slots, fold_excess_bytes; /* of what is listed to be folded */
};
void fs_stats(struct fs *fs, struct fs_stats *ret_stats);

#endif
