/* SPDX-License-Identifier: Apache-2.0 */
/* Our error codes as the kernel's. */
#ifndef DFS_FUSE_ERRMAP_H
#define DFS_FUSE_ERRMAP_H

/* A positive errno for a DFS_ code (0 for 0). A code that no file operation should give is EIO. */
int errmap_to_errno(int err);

#endif
