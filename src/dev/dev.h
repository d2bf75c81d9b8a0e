/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One disk, as a vtable: files in a directory, with explicit durability. Real: a directory on some
 * filesystem (dev_dir_open). Faults are devices stacked on a device (dev/fault.h). Simulated: sim/.
 *
 * Knows nothing of segments, journals or pools. All calls are thread-safe; calls on one file may
 * run at the same time. Names are relative paths of at most three parts ("meta/journal/x"), made
 * of [A-Za-z0-9._-]. Errors are DFS_ codes: DFS_EGONE when the directory itself has vanished or the
 * filesystem below has shut down, DFS_ENOSPC, DFS_EROFS, DFS_ENOENT, DFS_EEXIST, else DFS_EIO.
 * DFS_ETIMEDOUT: the disk does not answer (only from a device with deadlines, dev/deadline.h); what was
 * asked may still happen later. DFS_ELATE: likewise, of a call that can be spared.
 *
 * Durability: what a write stored survives a power cut once dev_sync() on that file has returned 0;
 * a created, renamed or removed name once dev_sync_dir() on its directory has returned 0. Until
 * then any subset of the writes may survive, each torn at a 512-byte boundary. After a failed
 * dev_sync() the unsynced writes are in doubt for ever: the caller must not rely on a later success.
 */
#ifndef DFS_DEV_DEV_H
#define DFS_DEV_DEV_H

#include <sys/uio.h>

#include "base/err.h"
#include "base/types.h"

struct dev;
struct dev_file;

enum dev_open_flags {
	DEV_CREATE = 1, /* create when absent */
	DEV_EXCL = 2,	/* with DEV_CREATE: DFS_EEXIST when present */
	DEV_RDONLY = 4,
	DEV_IN_PLACE =
		8, /* a file that is created will be overwritten in place: no copy on write */
};
enum dev_read_flags {
	DEV_READ_MEDIA = 1, /* bypass the page cache as far as the filesystem below lets us */
};

struct dev_space {
	uint64_t total_bytes; /* of the filesystem below */
	uint64_t free_bytes; /* what we may still use of it; 0: also where no file can be created */
	uint64_t files, free_files; /* inodes; 0, 0: the filesystem does not count them */
	uint64_t fs_id;	   /* equal for two devs on the same filesystem: one space, one fate */
	uint64_t st_dev;   /* stat()'s; 0: none */
	bool read_only;	   /* the filesystem is mounted so */
	bool cached_only;  /* reads can't bypass the page cache: DEV_READ_MEDIA proves nothing */
	bool is_old;	   /* to an earlier question: the disk takes its time with a new one */
	uint64_t asked_ns; /* which began then; 0: with the call */
};

/*
 * A call that is started now and waited for later, so that one thread can have many under way. It
 * lives with the caller, who leaves it alone from dev_start() to dev_finish().
 */
enum dev_call_op {
	DEV_CALL_OPEN,
	DEV_CALL_READ,
	DEV_CALL_WRITE,
	DEV_CALL_SYNC,
	DEV_CALL_SYNC_DIR
};
struct dev_call {
	enum dev_call_op op;
	struct dev *dev;       /* open, sync_dir */
	struct dev_file *file; /* read, write, sync */
	const char *name;      /* open; sync_dir: "" is the root */
	unsigned flags;	       /* open, read */
	bool can_spare; /* open, read: others can be read instead: DFS_ELATE rather than a long wait */
	void *buf;	/* read: only filled when dev_finish() returns 0 */
	size_t len;
	const struct iovec *iov; /* write */
	int iovcnt;
	uint64_t off;
	/* out */
	int result;
	size_t got;
	struct dev_file *opened; /* the caller closes it */
	void *request;		 /* the device's own */
};

/* Return nonzero to stop; dev_list then returns that value. */
typedef int (*dev_list_fn)(void *ctx, const char *name, uint64_t size_bytes);

struct dev_ops {
	int (*open)(struct dev *d, const char *name, unsigned flags, struct dev_file **ret_file);
	void (*close)(struct dev_file *f);
	int (*read)(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
		    size_t *ret_len);
	int (*writev)(struct dev_file *f, const struct iovec *iov, int iovcnt, uint64_t off);
	int (*sync)(struct dev_file *f);
	int (*punch)(struct dev_file *f, uint64_t off, uint64_t len);
	int (*allocate)(struct dev_file *f, uint64_t off, uint64_t len); /* NULL: can't */
	int (*truncate)(struct dev_file *f, uint64_t size_bytes);
	int (*size)(struct dev_file *f, uint64_t *ret_size_bytes);
	void (*prefetch)(struct dev_file *f, uint64_t off, uint64_t len);
	int (*mkdir)(struct dev *d, const char *name);
	int (*remove)(struct dev *d, const char *name);
	int (*rename)(struct dev *d, const char *from, const char *to);
	int (*list)(struct dev *d, const char *dir, dev_list_fn fn, void *ctx);
	int (*sync_dir)(struct dev *d, const char *dir);
	int (*replace)(struct dev *d, const char *name, const void *data, size_t len);
	int (*space)(struct dev *d, struct dev_space *ret_space);
	int (*probe)(struct dev *d);
	/* All below may be NULL. */
	int (*lock)(struct dev *d);
	void (*start)(struct dev_call *c); /* NULL: the call is made at once */
	int (*finish)(struct dev_call *c);
	int (*space_now)(struct dev *d, struct dev_space *ret_space); /* NULL: space is of now */
	bool (*is_memory)(struct dev *d); /* its calls only touch memory: they can't hang */
	/* As read, but only of what is in memory: DFS_EBUSY if that is not all, or not known. */
	int (*read_now)(struct dev_file *f, void *buf, size_t len, uint64_t off);
	void (*retire)(struct dev *d);
	int (*revive)(struct dev *d);
	void (*free)(struct dev *d);
};

/* A device embeds this first; so does its file. */
struct dev {
	const struct dev_ops *ops;
	char *name; /* for messages: the path; owned */
};
struct dev_file {
	struct dev *dev; /* borrowed */
};

/*
 * Opens DIR (which must exist) as a device whose root is DIR/SUBDIR (SUBDIR may be "" or
 * "dynamicfs"; it is created when create is set). The caller frees with dev_free().
 */
MUST_USE int dev_dir_open(const char *dir, const char *subdir, bool create, struct dev **ret_dev);
void dev_free(struct dev *d); /* NULL is allowed */

MUST_USE int dev_open(struct dev *d, const char *name, unsigned flags, struct dev_file **ret_file);
void dev_close(struct dev_file *f); /* NULL is allowed */
/* Reads up to len bytes; *ret_len is short only at the end of the file. */
MUST_USE int dev_read(struct dev_file *f, void *buf, size_t len, uint64_t off, unsigned flags,
		      size_t *ret_len);
/* Writes all of it (extends the file when needed) or fails; a failed write may be partly there. */
MUST_USE int dev_writev(struct dev_file *f, const struct iovec *iov, int iovcnt, uint64_t off);
MUST_USE int dev_write(struct dev_file *f, const void *buf, size_t len, uint64_t off);
MUST_USE int dev_sync(struct dev_file *f);
/* Reads back what was written and synced, from the medium where the filesystem lets us, and compares.
 * DFS_ECHECKSUM: it is something else. */
MUST_USE int dev_verify(struct dev_file *f, const void *data, size_t len, uint64_t off);
/* Gives the space of the range back; it reads as zeros. DFS_ENOTSUP where the fs can't. */
MUST_USE int dev_punch(struct dev_file *f, uint64_t off, uint64_t len);
/*
 * Takes the space of the range now, so that writing there can't fail for want of it. The file's size
 * stays, and so do its bytes; what lies beyond the size goes with the next dev_truncate(), to any size.
 * A power cut may undo it. DFS_ENOSPC: perhaps taken in part. DFS_ENOTSUP where the filesystem can't, or
 * where it need not, because its word on free space holds.
 */
MUST_USE int dev_allocate(struct dev_file *f, uint64_t off, uint64_t len);
/* Also to the size it has: then only what was allocated beyond it is given back. */
MUST_USE int dev_truncate(struct dev_file *f, uint64_t size_bytes);
MUST_USE int dev_size(struct dev_file *f, uint64_t *ret_size_bytes);
void dev_prefetch(struct dev_file *f, uint64_t off, uint64_t len); /* a hint */
MUST_USE int dev_mkdir(struct dev *d, const char *name);	   /* 0 when it exists already */
MUST_USE int dev_remove(struct dev *d, const char *name);	   /* a file */
MUST_USE int dev_rename(struct dev *d, const char *from, const char *to);
MUST_USE int dev_list(struct dev *d, const char *dir, dev_list_fn fn,
		      void *ctx); /* "" is the root */
MUST_USE int dev_sync_dir(struct dev *d, const char *dir);
/* Replaces (or creates) a small file atomically and durably: the old or the new bytes, never a mix. */
MUST_USE int dev_replace(struct dev *d, const char *name, const void *data, size_t len);
/* Reads a whole small file (up to max_len, else DFS_E2BIG). The caller frees *ret_data. */
MUST_USE int dev_read_all(struct dev *d, const char *name, size_t max_len, uint8_t **ret_data,
			  size_t *ret_len);
MUST_USE int dev_space(struct dev *d, struct dev_space *ret_space);
/* As that, but waits for an answer that knows of all that was done before the call (D13). */
MUST_USE int dev_space_now(struct dev *d, struct dev_space *ret_space);
/* Is the device still there and answering? 0 or why not. */
MUST_USE int dev_probe(struct dev *d);
/* Keeps other processes' dev_lock() off until dev_free(): DFS_ELOCKED if one has it. 0 also where
 * the filesystem can't lock. */
MUST_USE int dev_lock(struct dev *d);
/* Only starts it: what is wrong is told by dev_finish(), which must follow. The memory that c points to
 * (but for read's buf) need not outlive this call. */
void dev_start(struct dev_call *c);
MUST_USE int dev_finish(struct dev_call *c); /* c->result */
bool dev_is_memory(struct dev *d);
MUST_USE int dev_read_now(struct dev_file *f, void *buf, size_t len, uint64_t off);
/*
 * The disk is not used any more: every later call fails with DFS_EGONE, and what is open on it is
 * closed, so that it can be unmounted. What hangs there is closed when it comes back. The device and its
 * files are still to be freed and closed.
 */
void dev_retire(struct dev *d);
/* The disk is given up, but may be told so yet: calls go on, but none waits for it longer than its deadline, whatever
 * other disks do. */
void dev_give_up(struct dev *d);
/* A disk that timed out: does it answer again? Writes, syncs and reads back a little. 0: it is used
 * again. DFS_ETIMEDOUT: not yet. Waits for the disk as long as for any call. */
MUST_USE int dev_revive(struct dev *d);

#endif
