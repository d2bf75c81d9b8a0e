/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE session: what is asked of the kernel, the mount, the threads that serve it, the end.
 *
 * The end has two ways. Unmounted from outside: the kernel says so on its own and the loop returns.
 * Asked for by session_stop: a plain unmount is tried first, because it makes the kernel hand over
 * what programs have changed through mmap (P1); when files are open, syncfs does that, and the mount
 * is then taken away under them. Locks: none but fuse_state.lock.
 */
#include "fuse/session.h"

#include "fuse/ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"

#define SERVING_THREADS_MAX 16
#define BACKGROUND_REQUESTS_MAX 64 /* read-ahead and asynchronous writes under way in the kernel */
#define STOP_POLL_MS 20
#define PAGES_QUIET_POLLS 10 /* 200 ms */
#define PAGES_POLLS_MAX 1000 /* 20 s, should a program never cease to write */

struct session {
	struct fuse_state state;
	struct fuse_session *fuse;
	char *mountpoint;
	dev_t dev;    /* of the mount; 0 until it is ready. Atomic. */
	int loop_tid; /* 0 unless session_loop runs. Atomic. */
};

/* libfuse says why it fails only in its log; the last line goes into the message. */
static char last_complaint[256];

static void take_log(enum fuse_log_level level, const char *fmt, va_list args)
{
	char line[sizeof(last_complaint)];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, args);
	len = strlen(line);
	while (len > 0 && line[len - 1] == '\n')
		line[--len] = '\0';
	if (level <= FUSE_LOG_ERR) {
		memcpy(last_complaint, line, sizeof(line));
		log_error("%s", line);
	} else {
		log_debug("%s", line);
	}
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	/* Not wanted: writeback cache (F8), locks (the kernel's own suffice for one machine),
	 * invalidation by time stamps (nobody else changes files), asynchronous direct I/O (the kernel
	 * keeps pages that readers made while such a write was under way). */
	const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC |
				FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
				FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
				FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_EXPORT_SUPPORT |
				FUSE_CAP_IOCTL_DIR;
	const unsigned for_acl = FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
	struct fuse_state *st = userdata;

	conn->want = conn->capable & wanted;
	st->acl = st->acl_wanted && (conn->capable & for_acl) == for_acl;
	if (st->acl)
		conn->want |= for_acl;
	conn->max_write = MAX_TRANSFER_BYTES;
	conn->max_background = BACKGROUND_REQUESTS_MAX;
	conn->congestion_threshold = BACKGROUND_REQUESTS_MAX * 3 / 4;
	conn->time_gran = 1;
	negotiate_init(st, conn);
	st->opendir_optional = (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT) != 0;
}

static int add_options(const struct session_config *cfg, struct fuse_args *args)
{
	FREE char *source = xasprintf("fsname=%s", cfg->source);
	char *opts = NULL;
	int failed = 0;

	/* A source may hold commas. */
	failed |= fuse_opt_add_opt_escaped(&opts, source);
	failed |= fuse_opt_add_opt(&opts, "subtype=dynamicfs,default_permissions");
	failed |= fuse_opt_add_opt(&opts, cfg->read_only ? "ro" : "rw");
	if (cfg->allow_other)
		failed |= fuse_opt_add_opt(&opts, "allow_other");
	if (cfg->fuse_opts && cfg->fuse_opts[0])
		failed |= fuse_opt_add_opt(&opts, cfg->fuse_opts);
	failed |= fuse_opt_add_arg(args, "dynamicfs");
	failed |= fuse_opt_add_arg(args, "-o");
	failed |= opts ? fuse_opt_add_arg(args, opts) : -1;
	free(opts);
	return failed ? DFS_ENOMEM : 0;
}

static int make_fuse_session(const struct session_config *cfg, struct session *s,
			     struct pool_message *msg)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops operations = ops_counted;
	int err = add_options(cfg, &args);

	operations.init = on_init;
	if (!err) {
		s->fuse = fuse_session_new(&args, &operations, sizeof(operations), &s->state);
		if (!s->fuse)
			err = DFS_EUSAGE;
	}
	fuse_opt_free_args(&args);
	if (err)
		snprintf(msg->text, sizeof(msg->text),
			 "cannot mount at %s: FUSE did not take the options '%s': %s",
			 cfg->mountpoint, cfg->fuse_opts ? cfg->fuse_opts : "", last_complaint);
	return err;
}

static void state_release(struct fuse_state *st)
{
	while (st->spare_count > 0)
		mem_unmap(st->spare[--st->spare_count], MAX_TRANSFER_BYTES);
	env_mutex_release(&st->lock);
}

/* fusermount3 writes to stderr on its own account: what it says goes into our message instead. */
struct capture {
	int file, stderr_before; /* -1 */
};

static void capture_begin(struct capture *c)
{
	c->file = memfd_create("fusermount3", MFD_CLOEXEC);
	c->stderr_before = c->file < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (c->stderr_before >= 0)
		(void)dup2(c->file, STDERR_FILENO);
}

static void capture_end(struct capture *c)
{
	static const char name[] = "fusermount3: ";
	char text[1024], *at, *rest = text;
	ssize_t len = -1;

	if (c->stderr_before >= 0) {
		(void)dup2(c->stderr_before, STDERR_FILENO);
		close(c->stderr_before);
		len = pread(c->file, text, sizeof(text) - 1, 0);
	}
	if (c->file >= 0)
		close(c->file);
	text[MAX(len, 0)] = '\0';
	while ((at = strsep(&rest, "\n")) != NULL)
		if (strncmp(at, name, strlen(name)) == 0) {
			log_error("%s", at);
			snprintf(last_complaint, sizeof(last_complaint), "%s", at + strlen(name));
		}
}

static int mount_now(const struct session_config *cfg, struct session *s, struct pool_message *msg)
{
	int err = make_fuse_session(cfg, s, msg);
	struct capture capture;
	bool mounted;

	if (err)
		return err;
	s->state.fuse = s->fuse;
	capture_begin(&capture);
	mounted = fuse_session_mount(s->fuse, cfg->mountpoint) == 0;
	capture_end(&capture);
	if (mounted) {
		if (negotiate_install(s->fuse) == 0)
			return 0;
		fuse_session_unmount(s->fuse);
	}
	snprintf(
		msg->text, sizeof(msg->text), "cannot mount at %s: %s; %s", cfg->mountpoint,
		last_complaint[0] ? last_complaint : "fusermount3 refused, and did not say why",
		access("/dev/fuse", R_OK | W_OK) == 0
			? "an ordinary user must own the mountpoint, and 'allow_other' needs "
			  "user_allow_other in /etc/fuse.conf"
			: "/dev/fuse can't be opened: try 'modprobe fuse', or see its permissions");
	fuse_session_destroy(s->fuse);
	return DFS_EPERM;
}

int session_open(const struct session_config *cfg, struct session **ret_session,
		 struct pool_message *msg)
{
	struct session *s = xcalloc(1, sizeof(*s));
	struct inode *root = NULL;
	int err;

	fuse_set_log_func(take_log);
	last_complaint[0] = '\0';
	s->state.fs = cfg->fs;
	s->state.acl_wanted = cfg->acl;
	s->state.access_times = cfg->access_times && !cfg->read_only;
	s->state.dir_access_times = cfg->dir_access_times && !cfg->read_only;
	s->mountpoint = xstrdup(cfg->mountpoint);
	env_mutex_init(&s->state.lock);
	err = fs_inode_get(cfg->fs, (ino_id){DFS_ROOT_INO}, &root);
	if (err)
		snprintf(msg->text, sizeof(msg->text), "cannot read the root directory: %s",
			 dfs_err_text(err));
	else
		err = mount_now(cfg, s, msg);
	fs_forget(cfg->fs, root, 1);
	if (err) {
		state_release(&s->state);
		free(s->mountpoint);
		free(s);
		return err;
	}
	*ret_session = s;
	return 0;
}

static void on_wake(int sig) { (void)sig; }

int session_loop(struct session *s)
{
	struct sigaction wake = {.sa_handler = on_wake}; /* no SA_RESTART: it ends a wait */
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int result;

	if (!config)
		return DFS_ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, SERVING_THREADS_MAX);
	fuse_loop_cfg_set_idle_threads(config, SERVING_THREADS_MAX);
	sigaction(SIGUSR1, &wake, NULL);
	__atomic_store_n(&s->loop_tid, gettid(), __ATOMIC_SEQ_CST);
	result = fuse_session_loop_mt(s->fuse, config);
	__atomic_store_n(&s->loop_tid, 0, __ATOMIC_SEQ_CST);
	fuse_loop_cfg_destroy(config);
	if (result == 0)
		return 0;
	log_error("cannot serve %s any longer: the kernel's connection failed (%s); what was "
		  "written is being stored, then the mount ends",
		  s->mountpoint, result < 0 ? strerror(-result) : "signal");
	return DFS_EIO;
}

bool session_is_over(struct session *s)
{
	struct pollfd p = {.fd = fuse_session_fd(s->fuse)};

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

/* Is the mountpoint's topmost mount ours? */
static bool is_mounted(struct session *s)
{
	dev_t dev = __atomic_load_n(&s->dev, __ATOMIC_SEQ_CST);
	struct stat st;

	return dev != 0 && stat(s->mountpoint, &st) == 0 && st.st_dev == dev;
}

/*
 * The kernel writes pages changed through mmap to us; the server is still running. syncfs starts that
 * but doesn't wait for a FUSE server's answers, so we do, until none has come for a while. statvfs
 * queues up behind what is under way.
 */
static void take_dirty_pages(struct session *s)
{
	DIR *dir = opendir(s->mountpoint);
	uint64_t seen, before;
	struct statvfs vfs;
	unsigned quiet = 0;

	if (!dir || syncfs(dirfd(dir)) != 0)
		log_warn("cannot ask the kernel for pages changed through mmap at %s: %s; changes "
			 "that no program has synced may be lost",
			 s->mountpoint, strerror(errno));
	if (dir)
		closedir(dir);
	before = __atomic_load_n(&s->state.page_writes, __ATOMIC_RELAXED);
	for (int i = 0; i < PAGES_POLLS_MAX && quiet < PAGES_QUIET_POLLS; i++) {
		env_sleep_ms(STOP_POLL_MS);
		if (statvfs(s->mountpoint, &vfs) != 0)
			return;
		seen = __atomic_load_n(&s->state.page_writes, __ATOMIC_RELAXED);
		quiet = seen == before ? quiet + 1 : 0;
		before = seen;
	}
}

void session_stop(struct session *s)
{
	int tid;

	if (is_mounted(s) && session_unmount_path(s->mountpoint, false) != 0) {
		log_info("files at %s are open; they are cut off", s->mountpoint);
		take_dirty_pages(s);
	}
	fuse_session_exit(s->fuse);
	/* The loop looks at the flag when a signal ends its wait; one that comes just before the
	 * wait is lost, hence the repetition. */
	while ((tid = __atomic_load_n(&s->loop_tid, __ATOMIC_SEQ_CST)) != 0) {
		tgkill(getpid(), tid, SIGUSR1);
		env_sleep_ms(STOP_POLL_MS);
	}
}

void session_close(struct session *s)
{
	fuse_session_unmount(s->fuse);
	fuse_session_destroy(s->fuse);
	state_release(&s->state);
	free(s->mountpoint);
	free(s);
}

int session_wait_ready(struct session *s)
{
	struct statvfs vfs;
	struct stat st;

	/* Neither is answered from the kernel's memory the first time. */
	if (stat(s->mountpoint, &st) != 0 || statvfs(s->mountpoint, &vfs) != 0) {
		log_error("%s does not answer: %s", s->mountpoint, strerror(errno));
		return DFS_EIO;
	}
	__atomic_store_n(&s->dev, st.st_dev, __ATOMIC_SEQ_CST);
	return 0;
}

uint64_t session_device(struct session *s) { return __atomic_load_n(&s->dev, __ATOMIC_SEQ_CST); }

bool session_set_read_ahead(struct session *s, unsigned kib)
{
	dev_t dev = __atomic_load_n(&s->dev, __ATOMIC_SEQ_CST);
	FREE char *path = xasprintf("/sys/class/bdi/%u:%u/read_ahead_kb", major(dev), minor(dev));
	FILE *file = fopen(path, "we");
	bool done;

	if (!file)
		return false;
	done = fprintf(file, "%u\n", kib) > 0;
	return fclose(file) == 0 && done;
}
