/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's requests, counted by kind on their way to their handlers; background work yields to them (Y1). No locks. */
#include "base/metric.h"
#include "base/users.h"
#include "fuse/ops.h"

#define COUNTED(op, parameters, arguments)                                                         \
	static void counted_##op parameters                                                        \
	{                                                                                          \
		struct users *users = fs_users(state_of(req)->fs);                                 \
                                                                                                   \
		metric_fuse(METRIC_FUSE_##op);                                                     \
		users_enter(users);                                                                \
		op_##op arguments;                                                                 \
		users_leave(users);                                                                \
	}

COUNTED(lookup, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED(forget, (fuse_req_t req, fuse_ino_t id, uint64_t count), (req, id, count))
COUNTED(forget_multi, (fuse_req_t req, size_t count, struct fuse_forget_data *forgets),
	(req, count, forgets))
COUNTED(getattr, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(setattr,
	(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set, struct fuse_file_info *fi),
	(req, id, st, to_set, fi))
COUNTED(readlink, (fuse_req_t req, fuse_ino_t id), (req, id))
COUNTED(mknod, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev),
	(req, parent, name, mode, rdev))
COUNTED(mkdir, (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode),
	(req, parent, name, mode))
COUNTED(unlink, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED(rmdir, (fuse_req_t req, fuse_ino_t parent, const char *name), (req, parent, name))
COUNTED(symlink, (fuse_req_t req, const char *target, fuse_ino_t parent, const char *name),
	(req, target, parent, name))
COUNTED(rename,
	(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	 const char *to_name, unsigned flags),
	(req, parent, name, to_parent, to_name, flags))
COUNTED(link, (fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name),
	(req, id, parent, name))
COUNTED(open, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(create,
	(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	 struct fuse_file_info *fi),
	(req, parent, name, mode, fi))
COUNTED(read, (fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	(req, id, size, off, fi))
COUNTED(write,
	(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
	 struct fuse_file_info *fi),
	(req, id, data, size, off, fi))
COUNTED(flush, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(release, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(fsync, (fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi),
	(req, id, datasync, fi))
COUNTED(opendir, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(readdir, (fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	(req, id, size, off, fi))
COUNTED(readdirplus,
	(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi),
	(req, id, size, off, fi))
COUNTED(releasedir, (fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi), (req, id, fi))
COUNTED(fsyncdir, (fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi),
	(req, id, datasync, fi))
COUNTED(statfs, (fuse_req_t req, fuse_ino_t id), (req, id))
COUNTED(setxattr,
	(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
	 int flags),
	(req, id, name, value, size, flags))
COUNTED(getxattr, (fuse_req_t req, fuse_ino_t id, const char *name, size_t size),
	(req, id, name, size))
COUNTED(listxattr, (fuse_req_t req, fuse_ino_t id, size_t size), (req, id, size))
COUNTED(removexattr, (fuse_req_t req, fuse_ino_t id, const char *name), (req, id, name))
COUNTED(fallocate,
	(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len, struct fuse_file_info *fi),
	(req, id, mode, off, len, fi))
COUNTED(lseek, (fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi),
	(req, id, off, whence, fi))

const struct fuse_lowlevel_ops ops_counted = {
#define X(op) .op = counted_##op,
	METRIC_FUSE_OPERATIONS_OF(X)
#undef X
};
