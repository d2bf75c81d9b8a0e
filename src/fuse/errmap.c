/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DFS_ codes -> errno, one row each. What damage, missing disks or a failed pool mean to a program
 * that reads a file is EIO (P3): the log says which of them it was. No locks.
 */
#include "fuse/errmap.h"

#include <errno.h>

#include "base/err.h"

int errmap_to_errno(int err)
{
	switch (err) {
	case 0:
		return 0;
	case DFS_ENOENT:
		return ENOENT;
	case DFS_EEXIST:
		return EEXIST;
	case DFS_ENOTDIR:
		return ENOTDIR;
	case DFS_EISDIR:
		return EISDIR;
	case DFS_ENOTEMPTY:
		return ENOTEMPTY;
	case DFS_EINVAL:
		return EINVAL;
	case DFS_ENAMETOOLONG:
		return ENAMETOOLONG;
	case DFS_EFBIG:
		return EFBIG;
	case DFS_ENOSPC:
		return ENOSPC;
	case DFS_ENOMEM:
		return ENOMEM;
	case DFS_EPERM:
		return EPERM;
	case DFS_EACCES:
		return EACCES;
	case DFS_EMLINK:
		return EMLINK;
	case DFS_EROFS:
		return EROFS;
	case DFS_EBUSY:
		return EBUSY;
	case DFS_ENODATA:
		return ENODATA;
	case DFS_ERANGE:
		return ERANGE;
	case DFS_E2BIG:
		return E2BIG;
	case DFS_ENOTSUP:
		return EOPNOTSUPP;
	case DFS_ENXIO:
		return ENXIO;
	case DFS_ETIMEDOUT:
		return ETIMEDOUT;
	case DFS_EXDEV:
		return EXDEV;
	case DFS_ELOOP:
		return ELOOP;
	default:
		return EIO;
	}
}
