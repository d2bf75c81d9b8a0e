/* SPDX-License-Identifier: Apache-2.0 */
/* Within daemon/: the parts of a mount. */
#ifndef DFS_DAEMON_INTERNAL_H
#define DFS_DAEMON_INTERNAL_H

#include "base/types.h"
#include "daemon/daemon.h"
#include "file/fs.h"

/* Sets msg and returns err: "what failed, why, what to do". */
int fail(struct pool_message *msg, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- options.c ---- */
struct mount_options {
	bool read_only, force, foreground, remount;
	bool no_access_times, no_dir_access_times, strict_times_wanted;
	bool allow_root;			/* then not all users: it is in fuse_opts */
	unsigned long flags_set, flags_cleared; /* of mount(2); also in fuse_opts */
	unsigned read_ahead_kib;
	uint64_t io_timeout_ms;	    /* 0: the default */
	uint64_t smart_interval_ms; /* 0: the disks are not asked what they say of themselves */
	struct fs_config fs;
	char *fuse_opts; /* what is libfuse's; owned; may be NULL */
};
/* DFS_EUSAGE. The result is valid (and to be released) also on failure. */
MUST_USE int mount_options_parse(const struct daemon_options *opt, struct mount_options *ret_o,
				 struct pool_message *msg);
void mount_options_release(struct mount_options *o);
/* "64M", "1G", "4096": bytes. False when it is not a size. */
bool parse_size(const char *text, uint64_t *ret_bytes);

/* ---- generic.c ---- */
enum option_fate {
	OPTION_PASSED,	/* to libfuse and the kernel */
	OPTION_IGNORED, /* accepted without effect */
	OPTION_REFUSED
};
struct generic_option {
	const char *word;
	enum option_fate what;
	unsigned long flags_set, flags_cleared; /* of mount(2), when passed */
	const char *why;			/* for a person, when refused */
};
/* NULL: nobody knows it. */
const struct generic_option *generic_option_find(const char *word);

/* ---- remount.c ---- */
/* Changes what can be changed of the mount that is there. DFS_EINVAL (there is none), DFS_EBUSY, DFS_EPERM,
 * DFS_EROFS. */
MUST_USE int remount(const struct mount_options *o, const char *pool_dir, const char *mountpoint,
		     struct pool_message *msg);

/* ---- mountpoint.c ---- */
/* Absolute, without links; also where a daemon that died has left a dead mount. NULL: errno says why. */
char *path_absolute(const char *path);
/* May a pool be mounted here? Removes a dead mount of ours (and says so in msg). */
MUST_USE int mountpoint_check(const char *mountpoint, const char *pool_dir,
			      struct pool_message *msg);

/* ---- lease.c: POOL/mounted, held by the daemon as long as it lives ---- */
struct lease;
/* DFS_ELOCKED: another daemon has mounted the pool. *ret_lease is NULL where the pool directory can't
 * be written. */
MUST_USE int lease_take(const char *pool_dir, const char *mountpoint, bool read_only,
			struct lease **ret_lease, struct pool_message *msg);
/* Which mount is this daemon's: its device as stat() tells it. Any thread. NULL is allowed. */
void lease_note_device(struct lease *l, uint64_t dev);
/* The mount has gone, the daemon is storing. NULL is allowed. */
void lease_note_ending(struct lease *l);
/* Leaves the outcome for who waits, and frees. NULL is allowed. */
void lease_end(struct lease *l, int outcome, const char *text);

struct lease_view {
	bool held;	/* a daemon lives */
	bool read_only; /* and has opened the pool so */
	bool ending;	/* its mount has gone, it is storing */
	long pid;	/* while held; 0 when unknown */
	uint64_t dev;	/* of its mount; 0 when unknown */
	uid_t owner;	/* of the file */
	int outcome;	/* of the last one, when not held */
	char text[512]; /* why, for a person */
	char mountpoint[4096];
};
/* What POOL/mounted says; not held when there is none. */
void lease_look(const char *pool_dir, struct lease_view *ret_view);

/* ---- logfile.c ---- */
/* Log lines go to POOL/log from now on, and to stderr if asked. Without a log file to stderr alone. */
void logfile_open(const char *pool_dir, bool also_stderr);
/* No more lines to stderr: the terminal is not ours any longer. */
void logfile_quiet(void);
void logfile_close(void);

/* ---- serve.c ---- */
struct serve_config {
	const char *pool_dir, *mountpoint; /* absolute */
	const struct mount_options *options;
	/* Called once, as soon as the filesystem answers (err 0; msg may hold a warning) or has failed
	 * to come up. Any thread. */
	void (*report)(void *ctx, int err, const struct pool_message *msg);
	void *ctx;
};
/* Mounts and serves until unmounted. Blocks SIGTERM, SIGINT and SIGHUP for the process. */
int serve(const struct serve_config *cfg, struct pool_message *msg);

#endif
