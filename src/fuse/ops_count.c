/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's requests on their way to their handlers: counted by kind (background work yields to them, Y1), and the
 * numbers that they name turned into inodes. No locks.
 */
#include "base/metric.h"
#include "base/users.h"
#include "fuse/ops.h"

static void begin(struct fs *fs, unsigned kind)
{
	metric_fuse(kind);
	users_enter(fs_users(fs));
}

/* A request is gone once it is answered: what is needed afterwards is taken from it before. */
#define HANDLER(op, parameters, body)                                                              \
	static void counted_##op parameters                                                        \
	{                                                                                          \
		struct fs *fs = state_of(req)->fs;                                                 \
                                                                                                   \
		begin(fs, METRIC_FUSE_##op);                                                       \
		body;                                                                              \
		users_leave(fs_users(fs));                                                         \
	}

#define COUNTED(op, parameters, arguments) HANDLER(op, parameters, op_##op arguments)

/* About one inode, `in`. */
#define OF_NODE(op, id, parameters, arguments)                                                     \
	HANDLER(op, parameters, {                                                                  \
		struct inode *in = ops_node_get(req, id);                                          \
                                                                                                   \
		if (in)                                                                            \
			op_##op arguments;                                                         \
		fs_forget(fs, in, 1);                                                              \
	})

/* About two, `in` and `to`. */
#define OF_NODES(op, id, to_id, parameters, arguments)                                             \
	HANDLER(op, parameters, {                                                                  \
		struct inode *in = ops_node_get(req, id);                                          \
		struct inode *to = in ? ops_node_get(req, to_id) : NULL;                           \
                                                                                                   \
		if (to)                                                                            \
			op_##op arguments;                                                         \
		fs_forget(fs, to, 1);                                                              \
		fs_forget(fs, in, 1);                                                              \
	})

/* About the inode of an open file, `in`, which the handle keeps. */
#define OF_HANDLE(op, parameters, arguments)                                                       \
	HANDLER(op, parameters, {                                                                  \
		struct inode *in = handle_of(fi);                                                  \
                                                                                                   \
		(void)id;                                                                          \
		op_##op arguments;                                                                 \
	})

OF_NODE(lookup, parent, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, in, name))
COUNTED(forget, (fuse_req_t req, fuse_ino_t id, uint64_t count), (req, id, count))
COUNTED(forget_multi, (fuse_req_t req, size_t count, struct fuse_forget_data *forgets),
	(req, count, forgets))
OF_NODE(getattr, id, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, in, fi))
OF_NODE(setattr, id,
	(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set, struct fuse_file_info *fi),
	(req, in, st, to_set, fi))
OF_NODE(readlink, id, (fuse_req_t req, fuse_ino_t id), (req, in))
OF_NODE(mknod, parent,
	(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev),
	(req, in, name, mode, rdev))
OF_NODE(mkdir, parent, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode),
	(req, in, name, mode))
OF_NODE(unlink, parent, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, in, name))
OF_NODE(rmdir, parent, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, in, name))
OF_NODE(symlink, parent, (fuse_req_t req, const char *target, fuse_ino_t parent, const char *name),
	(req, target, in, name))
OF_NODES(rename, parent, to_parent,
	 (fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	  const char *to_name, unsigned flags),
	 (req, in, name, to, to_name, flags))
OF_NODES(link, id, parent, (fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name),
	 (req, in, to, name))
OF_NODE(open, id, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, in, fi))
OF_NODE(create, parent,
	(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	 struct fuse_file_info *fi),
	(req, in, name, mode, fi))
OF_HANDLE(read, (fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	  (req, in, size, off, fi))
OF_HANDLE(write,
	  (fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
	   struct fuse_file_info *fi),
	  (req, in, data, size, off, fi))
OF_HANDLE(flush, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, in, fi))
OF_HANDLE(release, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, in, fi))
OF_HANDLE(fsync, (fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi),
	  (req, in, datasync, fi))
COUNTED(opendir, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
OF_NODE(readdir, id,
	(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	(req, in, size, off, fi))
OF_NODE(readdirplus, id,
	(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	(req, in, size, off, fi))
COUNTED(releasedir, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
OF_NODE(fsyncdir, id, (fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi),
	(req, in, datasync, fi))
COUNTED(statfs, (fuse_req_t req, fuse_ino_t id), (req, id))
OF_NODE(setxattr, id,
	(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
	 int flags),
	(req, in, name, value, size, flags))
OF_NODE(getxattr, id, (fuse_req_t req, fuse_ino_t id, const char *name, size_t size),
	(req, in, name, size))
OF_NODE(listxattr, id, (fuse_req_t req, fuse_ino_t id, size_t size), (req, in, size))
OF_NODE(removexattr, id, (fuse_req_t req, fuse_ino_t id, const char *name), (req, in, name))
OF_HANDLE(fallocate,
	  (fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
	   struct fuse_file_info *fi),
	  (req, in, mode, off, len, fi))
OF_HANDLE(lseek, (fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi),
	  (req, in, off, whence, fi))
OF_NODE(ioctl, id,
	(fuse_req_t req, fuse_ino_t id, unsigned command, void *arg, struct fuse_file_info *fi,
	 unsigned flags, const void *data, size_t data_len, size_t out_len),
	(req, in, command, arg, fi, flags, data, data_len, out_len))

const struct fuse_lowlevel_ops ops_counted = {
#define X(op) .op = counted_##op,
	METRIC_FUSE_OPERATIONS_OF(X)
#undef X
};
