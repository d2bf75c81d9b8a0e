/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POOL/mounted: a JSON file {"pid", "mountpoint", "device", "read_only", "ending", "outcome", "message"} under an flock
 * that lasts as long as the daemon. It tells `unmount` which mount is this daemon's, when the daemon has
 * gone and whether all data was stored, and a second `mount` where the pool is mounted. The pool's own lock
 * says who may write the pool; this one says nothing about that.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "ctl/ctl.h"

/* The outcome until there is a better one: what is left behind by a daemon that was killed. */
static const char died[] =
	"its daemon died before it had stored everything; what was synced before is safe, and the next "
	"mount recovers it";

struct lease {
	struct env_mutex lock; /* what follows, and writing the file */
	int fd;
	char *mountpoint;
	bool read_only;
	uint64_t dev; /* 0: not known yet */
	bool ending;
};

/* Held only for the moment in which a waiter looks: the daemon tries again. */
#define TAKE_ATTEMPTS 50
#define TAKE_PAUSE_MS 20

static int write_state(struct lease *l, int outcome, const char *text)
{
	FREE char *clean = NULL;
	json_t *root = json_pack("{s:I, s:I, s:b, s:i}", "pid", (json_int_t)getpid(), "device",
				 (json_int_t)l->dev, "ending", l->ending, "outcome", outcome);

	json_object_set_new(root, "read_only", json_boolean(l->read_only));
	json_object_set_new(root, "mountpoint", ctl_json_path(l->mountpoint));
	json_object_set_new(root, "message", ctl_json_text(text));
	clean = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	json_decref(root);
	if (!clean || ftruncate(l->fd, 0) != 0 ||
	    pwrite(l->fd, clean, strlen(clean), 0) != (ssize_t)strlen(clean))
		return DFS_EIO;
	return 0;
}

static void parse_state(const char *text, size_t len, struct lease_view *v)
{
	json_t *root = json_loadb(text, len, JSON_DISABLE_EOF_CHECK, NULL);
	FREE char *path = NULL;
	const char *s;

	if (!root)
		return;
	v->dev = (uint64_t)json_integer_value(json_object_get(root, "device"));
	v->pid = (long)json_integer_value(json_object_get(root, "pid"));
	v->read_only = json_is_true(json_object_get(root, "read_only"));
	v->ending = json_is_true(json_object_get(root, "ending"));
	v->outcome = (int)json_integer_value(json_object_get(root, "outcome"));
	s = json_string_value(json_object_get(root, "message"));
	snprintf(v->text, sizeof(v->text), "%s", s ? s : "");
	path = ctl_path_from_json(json_object_get(root, "mountpoint"));
	snprintf(v->mountpoint, sizeof(v->mountpoint), "%s", path ? path : "");
	json_decref(root);
}

void lease_look(const char *pool_dir, struct lease_view *ret_view)
{
	FREE char *path = xasprintf("%s/mounted", pool_dir);
	char text[16384];
	struct stat st;
	ssize_t len;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	*ret_view = (struct lease_view){0};
	if (fd < 0)
		return;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return;
	}
	ret_view->owner = st.st_uid;
	/* The lock first: the outcome is written before it is given up. */
	ret_view->held = flock(fd, LOCK_SH | LOCK_NB) != 0;
	len = pread(fd, text, sizeof(text), 0);
	if (len > 0)
		parse_state(text, (size_t)len, ret_view);
	close(fd);
}

static int complain_taken(const char *pool_dir, struct pool_message *msg)
{
	struct lease_view v;

	lease_look(pool_dir, &v);
	return fail(msg, DFS_ELOCKED,
		    "cannot mount the pool %s: it is mounted already%s%s; nothing was done",
		    pool_dir, v.mountpoint[0] ? ", at " : "", v.mountpoint);
}

int lease_take(const char *pool_dir, const char *mountpoint, bool read_only,
	       struct lease **ret_lease, struct pool_message *msg)
{
	FREE char *path = xasprintf("%s/mounted", pool_dir);
	struct lease *l;
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	int tries = TAKE_ATTEMPTS;

	*ret_lease = NULL;
	if (fd < 0) {
		log_warn("cannot write %s: %s; 'unmount' will not know when the data is stored",
			 path, strerror(errno));
		return 0;
	}
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (--tries == 0) {
			close(fd);
			return complain_taken(pool_dir, msg);
		}
		env_sleep_ms(TAKE_PAUSE_MS);
	}
	l = xcalloc(1, sizeof(*l));
	env_mutex_init(&l->lock);
	l->fd = fd;
	l->mountpoint = xstrdup(mountpoint);
	l->read_only = read_only;
	if (write_state(l, DFS_EIO, died) != 0)
		log_warn("cannot write %s: %s", path, strerror(errno));
	*ret_lease = l;
	return 0;
}

void lease_note_device(struct lease *l, uint64_t dev)
{
	if (!l)
		return;
	ENV_LOCKED(&l->lock);
	l->dev = dev;
	if (write_state(l, DFS_EIO, died) != 0)
		log_warn("cannot note in the pool directory which mount is ours: %s",
			 strerror(errno));
}

void lease_note_ending(struct lease *l)
{
	if (!l)
		return;
	ENV_LOCKED(&l->lock);
	l->ending = true;
	if (write_state(l, DFS_EIO, died) != 0)
		log_warn("cannot note in the pool directory that the mount is ending: %s",
			 strerror(errno));
}

void lease_end(struct lease *l, int outcome, const char *text)
{
	if (!l)
		return;
	if (write_state(l, outcome, text) != 0)
		log_warn("cannot note in the pool directory how the mount ended: %s",
			 strerror(errno));
	close(l->fd);
	env_mutex_release(&l->lock);
	free(l->mountpoint);
	free(l);
}
