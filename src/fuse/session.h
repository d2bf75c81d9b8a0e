/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One FUSE mount of a filesystem: made, served by several threads, stopped, unmounted.
 * The daemon sees nothing of libfuse but this.
 */
#ifndef DFS_FUSE_SESSION_H
#define DFS_FUSE_SESSION_H

#include <stdbool.h>

#include "base/err.h"
#include "file/fs.h"
#include "pool/pool.h"

struct session;

struct session_config {
	struct fs *fs;		/* borrowed */
	const char *mountpoint; /* absolute */
	const char *source;	/* what `mount` and `df` show as the device */
	const char *fuse_opts;	/* for libfuse and the kernel, joined by commas; may be NULL */
	bool read_only;
	bool allow_other; /* other users may use it, too */
	bool acl;	  /* access control lists are obeyed */
	bool access_times,
		dir_access_times; /* of files and directories: keep them, as relatime does */
};

/* Mounts. Nothing answers before session_loop. DFS_EUSAGE (an option is unknown), DFS_EPERM. */
MUST_USE int session_open(const struct session_config *cfg, struct session **ret_session,
			  struct pool_message *msg);
/* Serves requests until the filesystem is unmounted or session_stop is called. DFS_EIO when the
 * kernel's connection failed. Call it once. */
MUST_USE int session_loop(struct session *s);
/* Asks session_loop to return; the kernel is asked first to hand over what it has not written yet.
 * From any thread, any number of times, while session_loop runs. */
void session_stop(struct session *s);
/* Has the kernel let go of the filesystem (unmounted everywhere, nothing open there)? session_loop may serve what it had
 * asked before for long after that. Any thread, until session_close. */
bool session_is_over(struct session *s);
/* Unmounts if it still is mounted, and frees. */
void session_close(struct session *s);

/* Waits until the filesystem answers. Any thread but those of session_loop. DFS_EIO: it doesn't. */
MUST_USE int session_wait_ready(struct session *s);
/* The mount's device, once session_wait_ready has returned 0; else 0. */
uint64_t session_device(struct session *s);
/* Raises the kernel's read-ahead of this mount. Needs root; false when it could not be done. */
bool session_set_read_ahead(struct session *s, unsigned kib);

/* `umount MOUNTPOINT` as root or through fusermount3. lazy: at once, though files are open. DFS_EBUSY,
 * DFS_EPERM, DFS_EINVAL (not mounted). */
MUST_USE int session_unmount_path(const char *mountpoint, bool lazy);

#endif
