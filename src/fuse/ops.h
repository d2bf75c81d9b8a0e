/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Within fuse/: what the files of operations share. A node id is the address of the struct inode,
 * FUSE_ROOT_ID the root's; each reply that names an inode gives the kernel one reference.
 */
#ifndef DFS_FUSE_OPS_H
#define DFS_FUSE_OPS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "base/env.h"
#include "base/types.h"
#include "file/fs.h"

/* All changes of the filesystem go through this mount, so the kernel may believe what it knows. */
#define CACHE_TIMEOUT_S 86400.0
#define MAX_TRANSFER_BYTES MIB(1) /* of one read or write request */
#define BUFFERS_KEPT 16

struct fuse_state {
	struct env_mutex lock;	   /* leaf: spare, spare_count */
	void *spare[BUFFERS_KEPT]; /* MAX_TRANSFER_BYTES each */
	unsigned spare_count;
	struct fs *fs;
	struct fuse_session *fuse;
	struct inode *root;		     /* one reference */
	bool access_times, dir_access_times; /* are kept (relatime) */
	uint64_t
		page_writes; /* atomic: pages changed through mmap that have arrived, in requests */
	/* Set while the connection is made, constant afterwards: */
	bool opendir_optional;	       /* the kernel takes ENOSYS from opendir as "not needed" */
	bool kill_suid;		       /* clearing setuid and setgid is ours (see negotiate.c) */
	bool init_seen, init_answered; /* atomic */
};

static inline struct fuse_state *state_of(fuse_req_t req) { return fuse_req_userdata(req); }

static inline struct inode *node_of(struct fuse_state *st, fuse_ino_t id)
{
	return id == FUSE_ROOT_ID ? st->root : (struct inode *)(uintptr_t)id;
}

static inline fuse_ino_t node_id(struct fuse_state *st, struct inode *in)
{
	return in == st->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)in;
}

struct fs_cred ops_cred(fuse_req_t req);
void ops_stat(const struct fs_attr *attr, struct stat *ret_st);
void ops_entry(struct fuse_state *st, struct inode *in, const struct fs_attr *attr,
	       struct fuse_entry_param *ret_e);
/* Replies with the error, or with an entry that takes the reference of `in`. */
void ops_reply_entry(fuse_req_t req, int err, struct inode *in, const struct fs_attr *attr);
void ops_reply_err(fuse_req_t req, int err);
/* MAX_TRANSFER_BYTES; NULL when there is no memory. */
void *ops_buffer_get(struct fuse_state *st);
void ops_buffer_put(struct fuse_state *st, void *buffer);

/* Tells the kernel that it doesn't know the attributes any longer. Without an offset it takes no lock
 * that the process whose request is being served could hold; that it may have forgotten the inode is
 * no matter. */
void ops_attr_changed(struct fuse_state *st, fuse_ino_t id);
/* A file or directory begins to be read, and times of last access are kept. */
void ops_accessed(struct fuse_state *st, fuse_ino_t id);
/* Who is not the superuser clears setuid by changing a file, and setgid of one that its group can execute, or whose
 * group one is not in. */
MUST_USE int ops_kill_suid(fuse_req_t req, fuse_ino_t id);

/* negotiate.c: after mounting, and from the init operation */
MUST_USE int negotiate_install(struct fuse_session *fuse);
void negotiate_init(struct fuse_state *st, struct fuse_conn_info *conn);

/* ops_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set,
		struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t id);
void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name);

/* ops_name.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t id);
void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	       const char *to_name, unsigned flags);

/* ops_count.c: all of them, counted; without init */
extern const struct fuse_lowlevel_ops ops_counted;

/* ops_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi);

/* ops_file.c */
void ops_prepare_handle(struct fuse_state *st, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi);

#endif
