/* SPDX-License-Identifier: Apache-2.0 */
/* The names and texts of error codes, both made from the one list in err.h; and what an errno is in our codes. No locks. */
#include "base/err.h"

#include <errno.h>
#include <string.h>

const char *dfs_err_name(int err)
{
	const char *name = err > 0 ? strerrorname_np(err) : NULL;

	if (name)
		return name;
	switch (err) {
	case 0:
		return "DFS_OK";
#define X(name, num, text)                                                                         \
	case name:                                                                                 \
		return #name;
		DFS_ERRORS(X)
#undef X
	default:
		return "DFS_E?";
	}
}

const char *dfs_err_text(int err)
{
	const char *text = err > 0 ? strerrordesc_np(err) : NULL;

	if (text)
		return text;
	switch (err) {
	case 0:
		return "no error";
#define X(name, num, text)                                                                         \
	case name:                                                                                 \
		return text;
		DFS_ERRORS(X)
#undef X
	default:
		return "unknown error";
	}
}

int dfs_err_from_errno(int e)
{
	switch (e) {
	case ENOENT:
		return DFS_ENOENT;
	case EEXIST:
		return DFS_EEXIST;
	case ENOSPC:
	case EDQUOT:
		return DFS_ENOSPC;
	case EROFS:
		return DFS_EROFS;
	case EACCES:
	case EPERM:
		return DFS_EACCES;
	case ESTALE:
	case ENODEV:
	case ENXIO:
	case ENOTCONN:
	case ESHUTDOWN:
	case ENOMEDIUM:
		return DFS_EGONE;
	case ENOTDIR:
		return DFS_ENOTDIR;
	case EISDIR:
		return DFS_EISDIR;
	case ELOOP: /* a symbolic link where we never put one */
		return DFS_ECORRUPT;
	case ENAMETOOLONG:
		return DFS_ENAMETOOLONG;
	case EXDEV:
		return DFS_EXDEV;
	case EMLINK:
		return DFS_EMLINK;
	case EFBIG:
		return DFS_EFBIG;
	case ENOMEM:
		return DFS_ENOMEM;
	case EMFILE:
	case ENFILE: /* our own limit, not the disk's fault */
		return DFS_EBUSY;
	case EOPNOTSUPP:
	case ENOSYS:
		return DFS_ENOTSUP;
	default:
		return DFS_EIO;
	}
}
