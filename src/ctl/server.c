/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of the control socket: one thread listens, each connection has a thread of its
 * own, at most MAX_CONNECTIONS at once (P9; the others wait in the kernel's queue). A connection
 * carries one request. Only root, the daemon's own user and the pool's owner are answered.
 *
 * Locks: server.lock (slots, stopping; a leaf), server.order_lock (one changing operation at a time; held
 * while that operation runs).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "base/owner.h"
#include "ctl/call.h"

#define MAX_CONNECTIONS 8u
#define REQUEST_TIMEOUT_MS 10000u
#define ANSWER_TIMEOUT_MS 30000u
#define WATCHER_TIMEOUT_MS 1000u /* a short answer: the socket has room for it */
#define SOCKET_MODE 0600

enum slot_state {
	SLOT_FREE,
	SLOT_RUNNING,
	SLOT_ENDED /* its thread has nothing left to do: to be joined */
};
struct slot {
	struct ctl_server *server;
	enum slot_state state; /* protected by server.lock */
	int fd;
	struct env_thread *thread;
};

struct ctl_server {
	struct env_mutex order_lock;
	struct env_mutex lock;
	struct env_cond slot_ended;
	struct ctl_server_config cfg;
	int listen_fd, wake_fd;
	bool stopping; /* protected by lock */
	struct env_thread *listener;
	struct slot slots[MAX_CONNECTIONS];
	struct ctl_watchers watchers; /* protected by lock */
};

static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	/* Where root mounted another user's pool, that user may ask: the daemon has no more rights over files. */
	return cred.uid == 0 || cred.uid == geteuid() || cred.uid == owner_uid();
}

/* D11. A change that was begun now would wait, and keep others waiting. */
static bool must_wait(struct ctl_call *c, const char *name)
{
	char disks[512] = "";

	if (c->pool)
		pool_awaited_disks(c->pool, disks, sizeof(disks));
	if (disks[0])
		c->answer->error = ctl_fail(
			c, DFS_ETIMEDOUT,
			"cannot run %s: these disks do not answer, and so many can't be missed at once: %s; "
			"nothing was done; 'dynamicfs status' tells what helps",
			name, disks);
	return disks[0] != '\0';
}

static void answer(struct ctl_server *s, const void *data, size_t len, struct ctl_answer *a)
{
	struct ctl_call c = {.pool_dir = s->cfg.pool_dir,
			     .pool = s->cfg.pool,
			     .fs = s->cfg.fs,
			     .jobs = s->cfg.jobs,
			     .mountpoint = s->cfg.mountpoint,
			     .request_stop = s->cfg.request_stop,
			     .stop_ctx = s->cfg.ctx,
			     .answer = a};
	const struct ctl_op *op;
	const char *name;
	json_t *root;

	a->error = ctl_parse_request(data, len, &root, &name, &c.args);
	if (a->error) {
		(void)ctl_fail(&c, a->error, "cannot answer: the request is not well-formed");
		return;
	}
	op = ctl_op_find(name);
	if (!op || (op->flags & OP_NO_POOL)) {
		a->error =
			ctl_fail(&c, DFS_EINVAL,
				 "cannot run '%.64s': the daemon does not know it; are the daemon "
				 "and this command of the same version?",
				 name);
	} else if (s->cfg.pool && !(op->flags & OP_ONLINE) && pool_dir_silent(s->cfg.pool)) {
		/* its index lies there: a thread that asked it would be lost */
		a->error = ctl_fail(
			&c, DFS_ETIMEDOUT,
			"cannot run %s: the pool directory %s does not answer, and the pool's index is "
			"there; nothing was done; check the filesystem that it is on",
			name, s->cfg.pool_dir);
	} else if (ctl_op_may_wait(op)) {
		if (!must_wait(&c, name)) {
			ENV_LOCKED(&s->order_lock);
			(void)ctl_dispatch(&c, op);
		}
	} else {
		(void)ctl_dispatch(&c, op);
	}
	json_decref(root);
}

/* The answer to "watch-end" comes at the end; that it will is told now, as progress. */
static bool is_watcher(const void *data, size_t len)
{
	json_t *root, *args;
	const char *name;
	bool is = false;

	if (ctl_parse_request(data, len, &root, &name, &args) == 0) {
		is = strcmp(name, CTL_WATCH_END) == 0;
		json_decref(root);
	}
	return is;
}

/* Lock held. Those that wait no more, since the mount went on. */
static void drop_gone_watchers(struct ctl_watchers *w)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < w->count; i++) {
		struct pollfd p = {.fd = w->fds[i]};

		if (poll(&p, 1, 0) == 0)
			w->fds[kept++] = w->fds[i];
		else
			close(w->fds[i]);
	}
	w->count = kept;
}

static int keep_watcher(struct ctl_server *s, int fd)
{
	json_t *noted = json_pack("{s:s}", "progress", "waiting for the end");
	int err = DFS_EBUSY, kept = -1;

	env_mutex_lock(&s->lock);
	drop_gone_watchers(&s->watchers);
	if (!s->stopping && s->watchers.count < CTL_MAX_WATCHERS)
		kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (kept >= 0) {
		s->watchers.fds[s->watchers.count++] = kept;
		err = 0;
	}
	env_mutex_unlock(&s->lock);
	if (!err) /* if this fails the watcher has gone: nobody is told later */
		(void)!wire_send(fd, noted, ANSWER_TIMEOUT_MS);
	json_decref(noted);
	return err;
}

void ctl_watchers_tell(struct ctl_watchers *w, int outcome, const char *text)
{
	struct ctl_answer a = {.error = outcome};
	json_t *reply;

	snprintf(a.message, sizeof(a.message), "%s", text);
	reply = wire_answer_encode(&a);
	for (unsigned i = 0; i < w->count; i++) {
		(void)!wire_send(w->fds[i], reply, WATCHER_TIMEOUT_MS); /* it may have gone */
		close(w->fds[i]);
	}
	w->count = 0;
	json_decref(reply);
}

static void serve(struct ctl_server *s, int fd)
{
	struct ctl_answer a = {0};
	BUF frame = {0};
	json_t *reply;
	int err;

	if (peer_allowed(fd)) {
		err = wire_recv(fd, &frame, REQUEST_TIMEOUT_MS);
		if (err == DFS_EEND || err == DFS_EGONE)
			return;
		if (!err && is_watcher(frame.data, frame.len)) {
			a.error = keep_watcher(s, fd);
			if (!a.error)
				return;
		} else if (!err)
			answer(s, frame.data, frame.len, &a);
		else
			a.error = err;
	} else {
		a.error = DFS_EACCES;
	}
	if (a.error && !a.message[0])
		snprintf(a.message, sizeof(a.message), "cannot answer: %s", dfs_err_text(a.error));
	reply = wire_answer_encode(&a);
	err = wire_send(fd, reply, ANSWER_TIMEOUT_MS);
	json_decref(reply);
	if (err == DFS_E2BIG) {
		ctl_answer_release(&a);
		a.error = DFS_E2BIG;
		snprintf(a.message, sizeof(a.message),
			 "cannot answer: the result is larger than a message may be; ask for less "
			 "with --limit");
		reply = wire_answer_encode(&a);
		err = wire_send(fd, reply, ANSWER_TIMEOUT_MS);
		json_decref(reply);
	}
	if (err && err != DFS_EGONE)
		log_warn("cannot answer a control request: %s", dfs_err_text(err));
	ctl_answer_release(&a);
}

static void run_connection(void *arg)
{
	struct slot *slot = arg;
	struct ctl_server *s = slot->server;

	serve(s, slot->fd);
	ENV_LOCKED(&s->lock);
	close(slot->fd);
	slot->fd = -1;
	slot->state = SLOT_ENDED;
	env_cond_signal(&s->slot_ended);
}

/* Frees what has ended; waits until a slot is free. NULL when the server stops. */
static struct slot *free_slot(struct ctl_server *s)
{
	ENV_LOCKED(&s->lock);
	for (;;) {
		struct slot *found = NULL;

		for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
			struct slot *slot = &s->slots[i];

			if (slot->state == SLOT_ENDED) {
				/* Its thread only has to leave the lock we hold: join without it. */
				env_mutex_unlock(&s->lock);
				env_thread_join(slot->thread);
				env_mutex_lock(&s->lock);
				slot->state = SLOT_FREE;
			}
			if (slot->state == SLOT_FREE && !found)
				found = slot;
		}
		if (s->stopping)
			return NULL;
		if (found)
			return found;
		env_cond_wait(&s->slot_ended, &s->lock);
	}
}

static void run_listener(void *arg)
{
	struct ctl_server *s = arg;
	struct slot *slot;

	while ((slot = free_slot(s)) != NULL) {
		struct pollfd p[2] = {{.fd = s->listen_fd, .events = POLLIN},
				      {.fd = s->wake_fd, .events = POLLIN}};
		int fd;

		if (poll(p, 2, -1) < 0 || !(p[0].revents & POLLIN))
			continue;
		fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
				env_sleep_ms(100); /* until others have closed theirs */
			continue;
		}
		ENV_LOCKED(&s->lock);
		slot->fd = fd;
		slot->state = SLOT_RUNNING;
		slot->thread = env_thread_try_start("dfs-ctl", run_connection, slot);
		if (slot->thread)
			continue;
		log_warn("cannot answer a command: no thread can be started; raise the limit on "
			 "processes (ulimit -u)");
		close(fd);
		slot->fd = -1;
		slot->state = SLOT_FREE;
	}
}

/* The pool's lock is ours, so a socket that lies there belongs to nobody. */
static int make_socket(const char *pool_dir, int *ret_fd)
{
	struct ctl_dir *dir;
	struct sockaddr_un addr;
	int fd, err = ctl_dir_open(pool_dir, &dir, &addr);

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err = DFS_EIO;
	} else {
		(void)unlink(addr.sun_path); /* mostly absent; bind tells when it could not go */
		/* Before bind, so that the name never has wider permissions, whatever the umask. */
		if (fchmod(fd, SOCKET_MODE) != 0 ||
		    bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0 ||
		    listen(fd, 64) != 0)
			err = errno == EROFS			      ? DFS_EROFS
			      : errno == ENOSPC			      ? DFS_ENOSPC
			      : errno == EPERM || errno == EOPNOTSUPP ? DFS_ENOTSUP
			      : errno == EACCES			      ? DFS_EACCES
			      : errno == EMFILE || errno == ENFILE    ? DFS_EBUSY
								      : DFS_EIO;
	}
	ctl_dir_close(dir);
	if (err && fd >= 0)
		close(fd);
	if (!err)
		*ret_fd = fd;
	return err;
}

int ctl_server_start(const struct ctl_server_config *cfg, struct ctl_server **ret_server)
{
	struct ctl_server *s = xcalloc(1, sizeof(*s));
	int err;

	s->cfg = *cfg;
	err = make_socket(cfg->pool_dir, &s->listen_fd);
	if (err) {
		log_error("cannot make the control socket %s/%s: %s; commands can't reach this "
			  "mount",
			  cfg->pool_dir, CTL_SOCKET_NAME, dfs_err_text(err));
		free(s);
		return err;
	}
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0) {
		close(s->listen_fd);
		free(s);
		return DFS_EIO;
	}
	env_mutex_init(&s->order_lock);
	env_mutex_init(&s->lock);
	env_cond_init(&s->slot_ended);
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		s->slots[i] = (struct slot){.server = s, .fd = -1};
	s->listener = env_thread_start("dfs-ctl-listen", run_listener, s);
	*ret_server = s;
	return 0;
}

void ctl_server_stop(struct ctl_server *s)
{
	struct ctl_watchers none = {0};

	ctl_server_stop_watched(s, &none);
	for (unsigned i = 0; i < none.count; i++)
		close(none.fds[i]);
}

/* No new request is taken; those being answered are finished first. */
void ctl_server_stop_watched(struct ctl_server *s, struct ctl_watchers *ret_watchers)
{
	struct sockaddr_un addr;
	struct ctl_dir *dir;
	uint64_t one = 1;
	bool slot_used;

	if (!s)
		return;
	env_mutex_lock(&s->lock);
	s->stopping = true;
	env_cond_signal(&s->slot_ended);
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		if (s->slots[i].fd >= 0)
			(void)shutdown(s->slots[i].fd, SHUT_RD);
	env_mutex_unlock(&s->lock);
	if (write(s->wake_fd, &one, sizeof(one)) != sizeof(one))
		log_warn("cannot wake the control listener: it ends with the next request");
	env_thread_join(s->listener);
	/* The listener has ended: nobody starts or joins one now. */
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		env_mutex_lock(&s->lock);
		slot_used = s->slots[i].state != SLOT_FREE;
		env_mutex_unlock(&s->lock);
		if (slot_used)
			env_thread_join(s->slots[i].thread);
	}
	if (ctl_dir_open(s->cfg.pool_dir, &dir, &addr) == 0) {
		(void)unlink(
			addr.sun_path); /* left behind, it is only stale: the next start clears it */
		ctl_dir_close(dir);
	}
	*ret_watchers = s->watchers;
	close(s->listen_fd);
	close(s->wake_fd);
	env_cond_release(&s->slot_ended);
	env_mutex_release(&s->lock);
	env_mutex_release(&s->order_lock);
	free(s);
}
