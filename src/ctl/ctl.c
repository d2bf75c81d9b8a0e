/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a request is answered: by the daemon, when one has the pool, else here, with the pool opened
 * under its lock. Questions open it read-only and change nothing on the disks. No locks of its own.
 */
#include "ctl/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/env.h"
#include "base/owner.h"
#include "ctl/call.h"

/* A daemon that starts has the lock before it has its socket, one that stops the other way round. */
#define LOCKED_WAIT_MS 5000u
#define LOCKED_STEP_MS 100u

static const struct ctl_op ops[] = {
	{"ping", op_ping, OP_ONLINE},
	{"stop", op_stop, OP_ONLINE},
	{"init", op_init, OP_NO_POOL | OP_WRITES},
	{"import", op_import, OP_NO_POOL | OP_WRITES},
	{"rescue", op_rescue, OP_NO_POOL},
	{"set", op_set, OP_WRITES | OP_NO_DISKS},
	{"status", op_status, OP_NO_DISKS},
	{"list-disks", op_list_disks, OP_NO_DISKS},
	{"add-disk", op_add_disk, OP_WRITES | OP_NO_DISKS},
	{"remove-disk", op_remove_disk, OP_WRITES},
	{"replace-disk", op_replace_disk, OP_WRITES},
	{"rebalance", op_rebalance, OP_WRITES},
	{"set-label", op_set_label, OP_WRITES},
	{"fail-disk", op_fail_disk, OP_WRITES | OP_PROMPT},
	{"probe-disks", op_probe_disks, OP_WRITES},
	{"set-disk-health", op_set_disk_health, OP_WRITES},
	{"show-redundancy", op_show_redundancy, 0},
	{"list-extents", op_list_extents, 0},
	{"inspect", op_inspect, 0},
	{"metrics", op_metrics, OP_NO_DISKS},
	{"detect-orphans", op_detect_orphans, 0},
	{"cleanup-orphans", op_cleanup_orphans, OP_WRITES},
	{"jobs", op_jobs, 0},
	{"order-job", op_order_job, OP_WRITES},
	{"scrub", op_scrub, OP_WRITES},
	{"audit", op_audit, 0},
	{"fsck", op_fsck, OP_OFFLINE | OP_COPY},
};

static ctl_progress_fn progress_fn;
static void *progress_ctx;

void ctl_set_progress(ctl_progress_fn fn, void *ctx)
{
	progress_fn = fn;
	progress_ctx = ctx;
}

void ctl_progress(const char *text)
{
	if (progress_fn)
		progress_fn(progress_ctx, text);
}

const struct ctl_op *ctl_op_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	return NULL;
}

bool ctl_op_may_wait(const struct ctl_op *op)
{
	return (op->flags & OP_WRITES) && !(op->flags & OP_PROMPT);
}

int ctl_fail(struct ctl_call *c, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (fmt[0])
		vsnprintf(c->answer->message, sizeof(c->answer->message), fmt, ap);
	va_end(ap);
	return err;
}

int ctl_fail_pool(struct ctl_call *c, int err, const struct pool_message *msg, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	if (msg->text[0])
		return ctl_fail(c, err, "%s", msg->text);
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return ctl_fail(c, err, "%s: %s", what, dfs_err_text(err));
}

void ctl_warn(struct ctl_call *c, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!c->answer->warnings)
		c->answer->warnings = json_array();
	json_array_append_new(c->answer->warnings, ctl_json_text(text));
}

int ctl_dispatch(struct ctl_call *c, const struct ctl_op *op)
{
	struct ctl_answer *a = c->answer;

	if ((op->flags & OP_OFFLINE) && c->mountpoint)
		a->error = ctl_fail(c, DFS_EBUSY,
				    "cannot run %s: the pool is mounted at %s; unmount it first "
				    "(dynamicfs unmount --mountpoint %s)",
				    op->name, c->mountpoint, c->mountpoint);
	else if ((op->flags & OP_ONLINE) && !c->mountpoint)
		a->error = ctl_fail(c, DFS_ENOENT,
				    "cannot reach a daemon: the pool %s is not mounted",
				    c->pool_dir);
	else if (c->pool && !pool_has_disks(c->pool) && !(op->flags & OP_NO_DISKS))
		a->error = ctl_fail(c, DFS_ENODISK,
				    "cannot run %s: the pool has no disk yet; add one with "
				    "'dynamicfs add-disk --pool %s --disk DIR'",
				    op->name, c->pool_dir);
	else
		a->error = op->fn(c);
	if (a->error && !a->message[0])
		snprintf(a->message, sizeof(a->message), "cannot run %s: %s", op->name,
			 dfs_err_text(a->error));
	return a->error;
}

#define SILENT_MAX 64u
struct silent {
	disk_id ids[SILENT_MAX];
	unsigned count;
};

/* Where what is only read is copied to: asked for, or where temporary files go that may be large. */
static const char *scratch_of(struct ctl_call *c)
{
	const char *asked = arg_text(c, "scratch"), *tmp = getenv("TMPDIR");

	if (asked)
		return asked;
	return tmp && tmp[0] == '/' ? tmp : "/var/tmp";
}

/* Opens the pool, asks, closes it again. Disks that are silent are waited for once: the next opening is told. */
static int run_open(struct ctl_call *c, const struct ctl_op *op, bool read_only,
		    struct silent *silent)
{
	struct pool_open_options opt = {.read_only = read_only,
					.force = arg_bool(c, "force_open", false),
					.silent = silent->ids,
					.silent_count = silent->count};
	struct pool_message msg = {.text = ""};
	int err;

	if (op->flags & OP_COPY)
		opt.scratch = scratch_of(c);
	err = pool_open(c->pool_dir, &opt, NULL, &c->pool, &msg);

	if (err) {
		c->answer->error = ctl_fail_pool(c, err, &msg, "cannot open the pool %s",
						 c->pool_dir);
		return err;
	}
	silent->count = pool_silent_at_open(c->pool, silent->ids, SILENT_MAX);
	err = ctl_dispatch(c, op);
	if (read_only) {
		pool_abandon(c->pool);
	} else {
		struct pool_end end;
		int close_err = pool_close_telling(c->pool, &end);

		if (!err && close_err && end.durable)
			ctl_warn(
				c,
				"what was done is stored in the journal of the pool %s, but not in "
				"its index yet: %s; nothing is lost, the next command or mount "
				"replays it",
				c->pool_dir, dfs_err_text(close_err));
		else if (!err && close_err)
			err = c->answer->error =
				ctl_fail(c, close_err,
					 "cannot close the pool %s: %s; what was done may not last "
					 "through a power cut; look with 'dynamicfs fsck'",
					 c->pool_dir, dfs_err_text(close_err));
	}
	c->pool = NULL;
	return err;
}

/* A change is tried on a read-only pool first: what is refused, or only asked (--dry-run), leaves
 * every byte on the disks as it was. */
static int run_here(struct ctl_call *c, const struct ctl_op *op)
{
	struct silent silent = {.count = 0};
	int err;

	owner_act_for_pool(c->pool_dir);
	c->checking = (op->flags & OP_WRITES) != 0;
	err = run_open(c, op, true, &silent);
	if (err || !c->checking || arg_bool(c, "dry_run", false))
		return err;
	c->checking = false;
	ctl_answer_release(c->answer);
	return run_open(c, op, false, &silent);
}

static int run_there(struct ctl_call *c, const char *op, int fd)
{
	int err = ctl_request(fd, c->pool_dir, op, c->args, c->answer);

	close(fd);
	return err;
}

/* A connection to a daemon that answers. DFS_ETIMEDOUT: with the message that it does not. */
static int reach(struct ctl_call *c, const char *op, int *ret_fd)
{
	int fd, err = ctl_connect(c->pool_dir, &fd);

	if (err == DFS_ETIMEDOUT)
		return c->answer->error = ctl_fail(
			       c, err,
			       "cannot run '%s': the daemon of the pool %s does not answer, and "
			       "many commands wait for it; nothing was done",
			       op, c->pool_dir);
	if (err)
		return err;
	err = ctl_ping(fd, c->pool_dir, op, c->answer);
	close(fd);
	return err ? err : ctl_connect(c->pool_dir, ret_fd);
}

int ctl_run(const char *pool_dir, const char *name, json_t *args, struct ctl_answer *a)
{
	struct ctl_call c = {.pool_dir = pool_dir, .args = args, .answer = a};
	const struct ctl_op *op = ctl_op_find(name);
	uint64_t waited_ms = 0;
	int err, fd;

	*a = (struct ctl_answer){0};
	if (!op)
		return a->error = ctl_fail(&c, DFS_EINVAL, "cannot run '%s': no such operation",
					   name);
	if (op->flags & OP_NO_POOL)
		return ctl_dispatch(&c, op);
	if (!child_dir_answers(pool_dir, "pool.json"))
		return a->error =
			       ctl_fail(&c, DFS_ETIMEDOUT,
					"cannot reach the pool: its directory %s does not answer; "
					"check the filesystem that it is on",
					pool_dir);
	for (;; waited_ms += LOCKED_STEP_MS) {
		err = reach(&c, name, &fd);
		if (!err)
			return run_there(&c, name, fd);
		if (err == DFS_ETIMEDOUT)
			return err;
		if (err == DFS_EACCES)
			return a->error = ctl_fail(
				       &c, err,
				       "cannot reach the pool %s: permission denied; ask as the "
				       "user who mounted it, or as root",
				       pool_dir);
		if (err == DFS_ECORRUPT)
			return a->error = ctl_fail(
				       &c, err,
				       "cannot reach the pool %s: its control.sock is a symbolic link; "
				       "nothing was done; see who made it, and remove it",
				       pool_dir);
		if (op->flags & OP_ONLINE)
			return a->error =
				       ctl_fail(&c, DFS_ENOENT,
						"cannot reach a daemon: the pool %s is not mounted",
						pool_dir);
		err = run_here(&c, op);
		if (err != DFS_ELOCKED || waited_ms >= LOCKED_WAIT_MS)
			return err;
		ctl_answer_release(a);
		env_sleep_ms(LOCKED_STEP_MS);
	}
}
