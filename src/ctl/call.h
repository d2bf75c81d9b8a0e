/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside ctl/: a call (one request being answered), the table of operations, and the frames. The
 * same handler answers in the daemon and in a command that opened the pool itself.
 */
#ifndef DFS_CTL_CALL_H
#define DFS_CTL_CALL_H

#include "base/le.h"
#include "ctl/ctl.h"
#include "jobs/jobs.h"
#include "pool/pool.h"

#define CTL_SOCKET_NAME "control.sock"

struct ctl_call {
	const char *pool_dir;
	struct pool *pool;	/* NULL for operations that need none */
	struct fs *fs;		/* NULL when not mounted */
	struct jobs *jobs;	/* likewise */
	const char *mountpoint; /* likewise */
	void (*request_stop)(void *ctx);
	void *stop_ctx;
	bool checking; /* only find out whether it would work: the pool is open read-only */
	json_t *args;
	struct ctl_answer *answer;
};

enum ctl_op_flags {
	OP_NO_POOL = 1,	  /* the pool is not opened first */
	OP_WRITES = 2,	  /* changes the pool; honours `checking` unless OP_NO_POOL, too */
	OP_OFFLINE = 4,	  /* not while mounted */
	OP_ONLINE = 8,	  /* only while mounted */
	OP_NO_DISKS = 16, /* works on a pool that has no disk yet */
	OP_PROMPT =
		32, /* waits for no other order: they may wait for disks that this one gives up (D12) */
	OP_COPY =
		64, /* works on a copy of the index: changes nothing in the pool directory, either */
};
/* Returns 0 or a DFS_ code, having set the message (ctl_fail). */
typedef int (*ctl_op_fn)(struct ctl_call *c);
struct ctl_op {
	const char *name;
	ctl_op_fn fn;
	unsigned flags;
};
/* NULL when there is no such operation. */
/* It waits for other orders, and for disks: it changes the pool. */
bool ctl_op_may_wait(const struct ctl_op *op);
const struct ctl_op *ctl_op_find(const char *name);
/* Checks the flags, runs it, completes the answer (c->answer must be zeroed). */
int ctl_dispatch(struct ctl_call *c, const struct ctl_op *op);

/* Sets the message (kept when fmt is ""), returns err. */
int ctl_fail(struct ctl_call *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The message a pool_ call left; fmt ("cannot ... %s") says what for when it left none. */
int ctl_fail_pool(struct ctl_call *c, int err, const struct pool_message *msg, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/*
 * Before what new data takes changes: what was accepted so far is stored as it was accepted, for under the new order it may take
 * more than there is. What can't be stored now is told by who asked for it; the order may be the way out.
 */
void store_accepted(struct ctl_call *c);
/* To ctl_set_progress' function. */
void ctl_progress(const char *text);
void ctl_warn(struct ctl_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- frames (wire.c) ---- */
/* Sends one frame. timeout_ms bounds the whole of it. DFS_E2BIG, DFS_ETIMEDOUT, DFS_EGONE. */
MUST_USE int wire_send(int fd, const json_t *root, uint64_t timeout_ms);
/* Receives one frame's payload into out (emptied first). timeout_ms 0: no limit. DFS_EEND: the peer
 * closed before the first byte; DFS_EGONE: in the middle; DFS_EPROTO, DFS_ETIMEDOUT. */
MUST_USE int wire_recv(int fd, struct buf *out, uint64_t timeout_ms);
/* Borrows from a. The caller owns the result. */
json_t *wire_answer_encode(const struct ctl_answer *a);
/* Fills a from an answer frame; 1 for a progress frame; DFS_EPROTO. */
MUST_USE int wire_answer_decode(const void *data, size_t len, struct ctl_answer *a);

/* ---- client (client.c) ---- */
/* Connects to the daemon. DFS_ENOENT: nobody listens there; DFS_EACCES; DFS_ENOTPOOL: no such
 * directory; DFS_ETIMEDOUT: very many wait there. */
MUST_USE int ctl_connect(const char *pool_dir, int *ret_fd);
/* Before an order is given: does the daemon answer at all? Uses the connection up. DFS_ETIMEDOUT, with the message that
 * it does not, and why; 0 else, also when it has just ended. */
MUST_USE int ctl_ping(int fd, const char *pool_dir, const char *op, struct ctl_answer *a);
/* Sends the request and waits for its answer. Returns a->error. */
int ctl_request(int fd, const char *pool_dir, const char *op, json_t *args, struct ctl_answer *a);
/* The address POOL/control.sock by way of an open directory (any length of path fits). */
struct sockaddr_un;
struct ctl_dir;
MUST_USE int ctl_dir_open(const char *pool_dir, struct ctl_dir **ret_dir, struct sockaddr_un *ret);
void ctl_dir_close(struct ctl_dir *d);

/* ---- building results (result.c) ---- */
void set_u64(json_t *o, const char *key, uint64_t v); /* clamped to INT64_MAX */
void set_text(json_t *o, const char *key, const char *s);
void set_bool(json_t *o, const char *key, bool v);
void set_uuid(json_t *o, const char *key, const struct uuid *u);
void set_hash(json_t *o, const char *key, const struct hash *h);
void set_hex(json_t *o, const char *key, const void *data, size_t len);
/* "rs:4+2", "replica:3"; "none" when nothing fits */
void geometry_text(struct geometry g, char out[16]);
/* The same for people: "RS 4+2", "3 copies", "nothing" */
void geometry_words(struct geometry g, char out[16]);
void set_geometry(json_t *o, const char *key, struct geometry g);
json_t *settings_json(const struct policy *s);
json_t *background_json(const struct pool_rebuild *r);
/* What the disks have in all, with what is free and what of that no stripe of this geometry can reach (capacity.c). */
void set_capacity(json_t *space, struct pool *p, struct geometry g);
/* What this process has written to the disks, journal and index included. */
uint64_t bytes_to_disks(struct pool *p);
/* And what of it programs have written, and what space given back has cost. */
void set_writes(json_t *o, struct pool *p);
/* All disks, as list-disks and status show them. */
json_t *disks_array(struct pool *p);
/* ---- arguments ---- NULL / default when absent */
const char *arg_text(struct ctl_call *c, const char *key);
uint64_t arg_u64(struct ctl_call *c, const char *key, uint64_t absent);
bool arg_bool(struct ctl_call *c, const char *key, bool absent);

/* ---- the disks at one moment (disks.c) ---- */
/* pool_disk_status, with `present` as it is at this moment. */
bool disk_status_now(struct pool *p, unsigned i, struct pool_disk_status *ret_status);
struct disk_view {
	disk_id id;
	bool present, member, takes_data, read_only, no_files, given_up, doubtful, is_silent,
		is_awaited;
	struct disk *in_doubt;	/* not all there can be counted on (disk_is_sure()); NULL: it can */
	bool lacks;		/* and does */
	enum history_role role; /* what it was when the pool was opened */
	uint32_t domain;	/* disks of an equal number fail together; not 0 */
	enum disk_event event;	/* what led to its state */
	const char *reason;	/* that, in words */
	struct disk_info info;
};
struct disk_views {
	unsigned count, present, members_present;
	struct disk_view *v;
};
void disk_views_take(struct pool *p, struct disk_views *ret_views);
void disk_views_release(struct disk_views *views);
/* NULL when unknown. */
const struct disk_view *disk_views_find(const struct disk_views *views, disk_id id);
/* By uuid, label or path. NULL: none (the message is set). */
const struct disk_view *disk_views_named(struct ctl_call *c, const struct disk_views *views,
					 const char *which);
/* The same of the disks as they are now. 0 or DFS_ENODISK (the message is set). */
MUST_USE int disk_info_named(struct ctl_call *c, const char *which, struct disk_info *ret_info);

/* ---- how safe extents are (redundancy.c) ---- */
struct safety { /* of a set of extents */
	uint64_t extents, bytes;
	uint64_t full;	     /* all fragments are there */
	uint64_t reduced;    /* some are not, another loss can be borne */
	uint64_t endangered; /* another loss can't be borne, though it was meant to be */
	uint64_t lost;	     /* unreadable now */
	uint64_t
		in_doubt; /* or may be: there are enough fragments, and too many of them are in doubt */
	uint64_t narrowed; /* not the geometry that the policy wants */
	int least_left;	   /* fewest further losses that can be borne; -1: lost */
};
struct metadata_safety {  /* journals and the index's tables together */
	unsigned members; /* that are present: journals lie there */
	unsigned tables, tables_short;
	int losses_left, losses_wanted; /* wanted: by the policy, as far as there are disks */
};
void metadata_safety(struct pool *p, const struct disk_views *views, struct metadata_safety *ret);

struct safety_row {
	struct geometry now, wanted;
	struct safety safety;
};
#define SAFETY_MAX_ROWS 64u
struct safety_table {
	struct safety total;
	struct safety_row rows[SAFETY_MAX_ROWS];
	unsigned count;
};
void safety_table_init(struct safety_table *t);
/* Further disks that may be lost; negative when it can't be read, or may be damaged. */
int extent_losses_left(const struct rec_extent *e, const struct disk_views *views);
void safety_add(struct safety_table *t, const struct rec_extent *e, uint64_t bytes,
		const struct disk_views *views);
void set_safety(json_t *o, const struct safety *s);
json_t *safety_rows_json(const struct safety_table *t);
/* All extents of the pool, for at most limit_ms (0: no limit). *ret_whole: all were seen. */
MUST_USE int safety_scan(struct pool *p, const struct disk_views *views, uint64_t limit_ms,
			 struct safety_table *ret_table, bool *ret_whole);

/* An extent's record with its fragments (op_files.c). */
json_t *extent_json(const struct rec_extent *e, const struct disk_views *views);

/* ---- paths (resolve.c) ---- */
/* The argument "path" (and "path_abs") as a path inside the pool. The caller frees. NULL: absent. */
char *arg_pool_path(struct ctl_call *c);
/* Looks a path up in the index. Sets the message on failure. */
MUST_USE int resolve_path(struct ctl_call *c, const char *path, ino_id *ret_ino,
			  struct rec_inode *ret_rec);
/* Makes what was written to the file so far stored, so that the index tells all of it. */
void settle_inode(struct ctl_call *c, ino_id ino);
typedef int (*map_fn)(void *ctx, const struct rec_map *m);
/* The file's map from offset on; fn returns nonzero to stop. */
MUST_USE int each_map(struct pool *p, ino_id ino, uint64_t from, map_fn fn, void *ctx);

/* ---- operations ---- */
int op_ping(struct ctl_call *c);
int op_stop(struct ctl_call *c);
int op_init(struct ctl_call *c);
int op_import(struct ctl_call *c);
int op_set(struct ctl_call *c);
int op_status(struct ctl_call *c);
int op_list_disks(struct ctl_call *c);
int op_add_disk(struct ctl_call *c);
int op_fail_disk(struct ctl_call *c);
int op_remove_disk(struct ctl_call *c);
int op_replace_disk(struct ctl_call *c);
int op_set_label(struct ctl_call *c);
int op_rebalance(struct ctl_call *c);
json_t *info_json(const struct disk_info *info);
/* What a new disk there would have. False: that can't be told. */
MUST_USE bool room_when_new(const char *path, uint64_t capacity_bytes, struct disk_room *ret_room);
int op_show_redundancy(struct ctl_call *c);
int op_list_extents(struct ctl_call *c);
int op_inspect(struct ctl_call *c);
int op_fsck(struct ctl_call *c);
int op_rescue(struct ctl_call *c);
int op_metrics(struct ctl_call *c);
int op_detect_orphans(struct ctl_call *c);
int op_cleanup_orphans(struct ctl_call *c);
int op_jobs(struct ctl_call *c);
int op_order_job(struct ctl_call *c);
int op_probe_disks(struct ctl_call *c);
int op_set_disk_health(struct ctl_call *c);
int op_scrub(struct ctl_call *c);
int op_audit(struct ctl_call *c);
/* The order to scrub now and then: sets what the arguments have. */
MUST_USE int set_schedule(struct ctl_call *c);
json_t *schedule_json(struct ctl_call *c);
/* The newest scrub, and when the next one is due. The caller owns the result. */
json_t *scrub_status_json(struct ctl_call *c);
/* A scrub; with_list: and all that it found. The caller owns the result. */
json_t *scrub_json(struct ctl_call *c, const struct rec_scrub *r, bool with_list);
/* All jobs, as `jobs` and `status` show them. The caller owns the result. */
json_t *jobs_json(struct ctl_call *c);

/* Says so where verify_writes can't look past the page cache. */
void warn_verify(struct ctl_call *c);
/* The policy wants more of the metadata than it bears. */
void warn_policy(struct ctl_call *c);

#endif
