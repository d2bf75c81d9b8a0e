/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error codes of DynamicFS. Functions return 0 or a negative code of this list; errno is translated
 * at the edges (dev/ and meta/index_dir.c inwards, fuse/ and ctl/ outwards). Codes are specific so that a log line and a
 * test can name the one cause; ids are never reused.
 */
#ifndef DFS_BASE_ERR_H
#define DFS_BASE_ERR_H

/* X(name, number, text) */
#define DFS_ERRORS(X)                                                                              \
	X(DFS_ENOENT, 1, "no such file or directory")                                              \
	X(DFS_EEXIST, 2, "already exists")                                                         \
	X(DFS_ENOTDIR, 3, "not a directory")                                                       \
	X(DFS_EISDIR, 4, "is a directory")                                                         \
	X(DFS_ENOTEMPTY, 5, "directory not empty")                                                 \
	X(DFS_EINVAL, 6, "invalid argument")                                                       \
	X(DFS_ENAMETOOLONG, 7, "name too long")                                                    \
	X(DFS_EFBIG, 8, "file too large")                                                          \
	X(DFS_ENOSPC, 9, "no space left")                                                          \
	X(DFS_EIO, 10, "input/output error")                                                       \
	X(DFS_ENOMEM, 11, "out of memory")                                                         \
	X(DFS_EPERM, 12, "operation not permitted")                                                \
	X(DFS_EACCES, 13, "permission denied")                                                     \
	X(DFS_EMLINK, 14, "too many links")                                                        \
	X(DFS_EROFS, 15, "read-only")                                                              \
	X(DFS_EBUSY, 16, "busy")                                                                   \
	X(DFS_ENODATA, 17, "no such attribute")                                                    \
	X(DFS_ERANGE, 18, "result does not fit")                                                   \
	X(DFS_E2BIG, 19, "value too large")                                                        \
	X(DFS_ENOTSUP, 20, "not supported")                                                        \
	X(DFS_ENXIO, 21, "no such offset")                                                         \
	X(DFS_EXDEV, 22, "cross-device link")                                                      \
	X(DFS_ECORRUPT, 30, "structure is not valid")                                              \
	X(DFS_ECHECKSUM, 31, "checksum mismatch")                                                  \
	X(DFS_EVERSION, 32, "format version is not supported")                                     \
	X(DFS_EFEATURE, 33, "uses a feature this program does not know")                           \
	X(DFS_EFOREIGN, 34, "belongs to another pool")                                             \
	X(DFS_ESTALE, 35, "missed writes and is stale")                                            \
	X(DFS_EGONE, 36, "disk is gone")                                                           \
	X(DFS_ENOTPOOL, 37, "not a pool")                                                          \
	X(DFS_ENODISK, 38, "no such disk")                                                         \
	X(DFS_ENOQUORUM, 39, "too few disks are present to know the newest state")                 \
	X(DFS_ELOCKED, 40, "in use by another process")                                            \
	X(DFS_EREFUSED, 41, "refused without --force")                                             \
	X(DFS_EPROTO, 42, "malformed message")                                                     \
	X(DFS_EDAMAGED, 43, "damage found")                                                        \
	X(DFS_EFAILED, 44, "pool has failed and accepts no more changes")                          \
	X(DFS_EEND, 45, "end of sequence")                                                         \
	X(DFS_ETIMEDOUT, 46, "timed out")                                                          \
	X(DFS_EUSAGE, 47, "wrong usage")                                                           \
	X(DFS_ENOTEMPTYDIR, 48, "directory is not empty and is not ours")                          \
	X(DFS_ESPLIT, 49, "the disks hold two histories that went apart")                          \
	X(DFS_EJOURNAL, 50, "acknowledged changes are damaged in the metadata journal")            \
	X(DFS_ELATE, 51, "the disk takes longer than others can wait")                             \
	X(DFS_ELOOP, 52, "too many symbolic links")                                                \
	X(DFS_EUNREAD, 53, "metadata that may be needed can't be read")

enum dfs_err {
#define X(name, num, text) name = -(num),
	DFS_ERRORS(X)
#undef X
};

#define MUST_USE __attribute__((warn_unused_result))

/* The symbolic name ("DFS_ENOENT"), or "DFS_OK", or "DFS_E?"; of an errno, which is positive, "ENOENT". Static
 * storage. */
const char *dfs_err_name(int err);
/* A short lower-case sentence part ("no such file or directory"). Of an errno: what strerror(3) says. Static
 * storage. */
const char *dfs_err_text(int err);
/* The code of an errno that a call of the kernel left (> 0) at an edge; DFS_EIO for what has none. */
int dfs_err_from_errno(int e);

#endif
