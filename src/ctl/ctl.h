/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control: every question and order to a pool is a request by name with JSON arguments. While the
 * pool is mounted the request travels over POOL/control.sock (mode 0600, peer credentials checked)
 * to the daemon; otherwise the same handler runs here, with the pool opened under its lock.
 *
 * Protocol: docs/FORMAT.md "Control protocol": a frame is {u32 magic, u32 length, length bytes of JSON},
 * at most 16 MiB. Request {"op": NAME, "args": {...}}; answers: any number of {"progress": ...}, then one
 * {"error": 0 or code, "message": TEXT, "warnings": [TEXT...], "result": {...}}.
 */
#ifndef DFS_CTL_CTL_H
#define DFS_CTL_CTL_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"

struct pool;
struct fs;

#define CTL_MAGIC 0x4c544331u
#define CTL_MAX_FRAME MIB(16)

/* The answer: error is 0 or a DFS_ code, message for a person, result owned by the caller. */
struct ctl_answer {
	int error;
	char message[1024];
	json_t *warnings; /* array; may be NULL */
	json_t *result;	  /* object; may be NULL */
};
void ctl_answer_release(struct ctl_answer *a);

/*
 * Runs `op` on the pool at pool_dir, by the daemon if there is one, else here. args is borrowed.
 * Returns a->error.
 */
int ctl_run(const char *pool_dir, const char *op, json_t *args, struct ctl_answer *a);

/* Where long work tells how far it is (P11); NULL: nowhere. Not thread-safe: set before ctl_run. */
typedef void (*ctl_progress_fn)(void *ctx, const char *text);
void ctl_set_progress(ctl_progress_fn fn, void *ctx);

/* ---- server: in the daemon ---- */
struct ctl_server;
struct ctl_server_config {
	const char *pool_dir;
	struct pool *pool;
	struct fs *fs;
	struct jobs *jobs;
	const char *mountpoint;
	void (*request_stop)(void *ctx); /* op "stop": unmount */
	void *ctx;
};
MUST_USE int ctl_server_start(const struct ctl_server_config *cfg, struct ctl_server **ret_server);
void ctl_server_stop(struct ctl_server *s);

/*
 * Who waits for the daemon's end (`unmount`) is told of it here, too, since the pool directory may take nothing any
 * more. The request is answered when all is closed; a daemon that dies closes the connection without an answer.
 */
#define CTL_WATCH_END "watch-end"
#define CTL_MAX_WATCHERS 16u
struct ctl_watchers { /* zero-initialise */
	int fds[CTL_MAX_WATCHERS];
	unsigned count;
};
/* As ctl_server_stop, but those that watch go on waiting: ctl_watchers_tell() is to be called. */
void ctl_server_stop_watched(struct ctl_server *s, struct ctl_watchers *ret_watchers);
void ctl_watchers_tell(struct ctl_watchers *w, int outcome, const char *text);
/* The other side. -1: the daemon can't be watched. The caller closes it. */
int ctl_watch(const char *pool_dir);
/* By SIGSTOP, a terminal or a debugger. 0: no process. */
bool ctl_is_stopped(long pid);
/* What it was told, within timeout_ms. False: nothing (it died, or has not ended). */
bool ctl_watch_result(int fd, unsigned timeout_ms, int *ret_outcome, char *text, size_t size);

/* ---- text and JSON: paths may hold any bytes, JSON strings only UTF-8 ---- */
/* The string, with what is not UTF-8 or is a control byte written as \xNN. For showing. */
json_t *ctl_json_text(const char *s);
/* A path as an argument: a string, or {"hex": ...} when it is not UTF-8. */
json_t *ctl_json_path(const char *path);
/* The opposite; NULL when j is neither. The caller frees. */
char *ctl_path_from_json(const json_t *j);

/* ---- mounts ---- */
struct ctl_mount {
	char *pool_dir;	  /* as the mount table names it */
	char *mountpoint; /* absolute */
	uint64_t dev;	  /* makedev(): bind mounts of one daemon's mount have the same */
};
void ctl_mount_release(struct ctl_mount *m);
/* The DynamicFS mount that holds path (which need not be its root). DFS_ENOENT when there is none, or when
 * the path lies in a mount of something else on top of it. */
MUST_USE int ctl_mount_of(const char *path, struct ctl_mount *ret_mount);
/* A mount of the pool, dead or alive; with dev, only one of this device. DFS_ENOENT. */
MUST_USE int ctl_mount_of_pool(const char *pool_dir, uint64_t dev, struct ctl_mount *ret_mount);

/* Parses one request frame's JSON (fuzzed). DFS_EPROTO. *ret_op is owned by *ret_root. */
MUST_USE int ctl_parse_request(const void *data, size_t len, json_t **ret_root, const char **ret_op,
			       json_t **ret_args);

#endif
