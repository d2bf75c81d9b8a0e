/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Within fuse/: what the files of operations share. A node id is the inode's number. Before an operation is called, the
 * inodes that it is about are looked up (ops_count.c) and referred to until it returns; a file handle is the address of
 * its inode, which it keeps. Each reply that names an inode is counted (fs_kernel_knows).
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
	bool acl_wanted;
	bool access_times, dir_access_times; /* are kept (relatime) */
	uint64_t
		page_writes; /* atomic: pages changed through mmap that have arrived, in requests */
	/* Set while the connection is made, constant afterwards: */
	bool opendir_optional;	       /* the kernel takes ENOSYS from opendir as "not needed" */
	bool kill_suid;		       /* clearing setuid and setgid is ours (see negotiate.c) */
	bool acl;		       /* the kernel obeys access control lists; umask is ours */
	bool init_seen, init_answered; /* atomic */
};

static inline struct fuse_state *state_of(fuse_req_t req) { return fuse_req_userdata(req); }

_Static_assert(FUSE_ROOT_ID == DFS_ROOT_INO, "node ids are inode numbers");

static inline struct inode *handle_of(const struct fuse_file_info *fi)
{
	return (struct inode *)(uintptr_t)fi->fh;
}

/* The inode that the kernel names, with a reference; NULL: the request has been answered with why not. */
struct inode *ops_node_get(fuse_req_t req, fuse_ino_t id);
struct fs_cred ops_cred(fuse_req_t req);
void ops_stat(const struct fs_attr *attr, struct stat *ret_st);
void ops_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_e);
/* Replies with the error, or with an entry; gives the reference of `in` back. */
void ops_reply_entry(fuse_req_t req, int err, struct inode *in, const struct fs_attr *attr);
void ops_reply_err(fuse_req_t req, int err);
/* MAX_TRANSFER_BYTES; NULL when there is no memory. */
void *ops_buffer_get(struct fuse_state *st);
void ops_buffer_put(struct fuse_state *st, void *buffer);

/* Tells the kernel that it doesn't know the attributes any longer. Without an offset it takes no lock
 * that the process whose request is being served could hold; that it may have forgotten the inode is
 * no matter. */
void ops_attr_changed(struct fuse_state *st, struct inode *in);
/* A file or directory begins to be read, and times of last access are kept. */
void ops_accessed(struct fuse_state *st, struct inode *in);
/* Who is not the superuser clears setuid by changing a file, and setgid of one that its group can execute, or whose
 * group one is not in. Before a write. DFS_EPERM: AT1 forbids it, as on ext4 also to append. */
MUST_USE int ops_kill_suid(fuse_req_t req, struct inode *in);
/* The same as a part of the change of attributes that takes the bits away. */
MUST_USE int ops_kill_suid_with(fuse_req_t req, struct inode *in, struct fs_attr *want,
				unsigned *set);

/* negotiate.c: after mounting, and from the init operation */
MUST_USE int negotiate_install(struct fuse_session *fuse);
void negotiate_init(struct fuse_state *st, struct fuse_conn_info *conn);

/* ops_attr.c */
void op_getattr(fuse_req_t req, struct inode *in, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, struct inode *in, struct stat *st, int to_set,
		struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t id);
void op_setxattr(fuse_req_t req, struct inode *in, const char *name, const char *value, size_t size,
		 int flags);
void op_getxattr(fuse_req_t req, struct inode *in, const char *name, size_t size);
void op_listxattr(fuse_req_t req, struct inode *in, size_t size);
void op_removexattr(fuse_req_t req, struct inode *in, const char *name);

/* ops_name.c */
void op_lookup(fuse_req_t req, struct inode *dir, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, struct inode *dir, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, struct inode *dir, const char *name, mode_t mode);
void op_create(fuse_req_t req, struct inode *dir, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_unlink(fuse_req_t req, struct inode *dir, const char *name);
void op_rmdir(fuse_req_t req, struct inode *dir, const char *name);
void op_symlink(fuse_req_t req, const char *target, struct inode *dir, const char *name);
void op_readlink(fuse_req_t req, struct inode *in);
void op_link(fuse_req_t req, struct inode *in, struct inode *dir, const char *name);
void op_rename(fuse_req_t req, struct inode *dir, const char *name, struct inode *to_dir,
	       const char *to_name, unsigned flags);

/* ops_count.c: all of them, counted; without init */
extern const struct fuse_lowlevel_ops ops_counted;

/* ops_dir.c */
void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, struct inode *in, size_t size, off_t off,
		struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, struct inode *in, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, struct inode *in, int datasync, struct fuse_file_info *fi);

/* ops_file.c */
void ops_prepare_handle(struct fuse_state *st, struct inode *in, struct fuse_file_info *fi);
void op_open(fuse_req_t req, struct inode *in, struct fuse_file_info *fi);
void op_read(fuse_req_t req, struct inode *in, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, struct inode *in, const char *data, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_flush(fuse_req_t req, struct inode *in, struct fuse_file_info *fi);
void op_release(fuse_req_t req, struct inode *in, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, struct inode *in, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, struct inode *in, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, struct inode *in, off_t off, int whence, struct fuse_file_info *fi);

/* ops_flags.c */
void op_ioctl(fuse_req_t req, struct inode *in, unsigned command, void *arg,
	      struct fuse_file_info *fi, unsigned flags, const void *data, size_t data_len,
	      size_t out_len);

#endif
