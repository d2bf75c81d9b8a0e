/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a mount: lease, pool, filesystem, FUSE session, control socket; then requests until the
 * end; then everything closed in the opposite order, so that what was acknowledged is stored (P1).
 *
 * Signals are blocked in all threads and taken by one of their own: a handler could do nothing safely.
 * Threads: this one serves with those of libfuse; "signals" asks for the end, and notes it when it has come though
 * others still serve what the kernel asked for before, for `unmount` waits for that; "ready" waits for the
 * first answer. Locks: none, but `ending` and `reported` are atomic.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/log.h"
#include "base/owner.h"
#include "ctl/ctl.h"
#include "jobs/jobs.h"
#include "fuse/session.h"

/* A command that has the pool open for a moment (`status`) is waited for. */
#define POOL_LOCK_ATTEMPTS 50
#define POOL_LOCK_PAUSE_MS 100
#define LOOK_S 1 /* how often it is looked whether the kernel has let go */

struct mount {
	const struct serve_config *cfg;
	struct pool_message *msg; /* the last error's, or a warning */
	struct lease *lease;
	struct pool *pool;
	struct fs *fs;
	struct jobs *jobs;
	struct session *session;
	struct ctl_server *ctl;
	struct env_thread *signals, *ready;
	bool ending;   /* atomic: the next signal is our own */
	bool reported; /* atomic */
};

/* Once only, whoever is first. */
static void report(struct mount *m, int err)
{
	if (!__atomic_exchange_n(&m->reported, true, __ATOMIC_SEQ_CST))
		m->cfg->report(m->cfg->ctx, err, m->msg);
}

static void stop_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGHUP);
	sigaddset(ret_set, SIGQUIT);
	sigaddset(ret_set, SIGPWR); /* the power is about to fail */
}

static void prepare_process(void)
{
	/* what would end it, and nobody sends it for that: what was accepted is not lost for a mistake */
	static const int stray[] = {SIGPIPE, SIGUSR1, SIGUSR2,	 SIGALRM, SIGVTALRM,
				    SIGPROF, SIGIO,   SIGSTKFLT, SIGXCPU};
	sigset_t set;

	stop_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(stray); i++)
		signal(stray[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* fusermount3's exit status is waited for */
}

static void run_signals(void *arg)
{
	const struct timespec look = {.tv_sec = LOOK_S};
	struct mount *m = arg;
	bool over = false;
	sigset_t set;
	int sig;

	owner_step_back(); /* it unmounts; the only file of the pool that it uses is open */
	stop_signals(&set);
	for (;;) {
		sig = sigtimedwait(&set, NULL, &look);
		if (__atomic_load_n(&m->ending, __ATOMIC_SEQ_CST))
			return;
		if (!over && session_is_over(m->session)) {
			over = true;
			lease_note_ending(m->lease);
		}
		if (sig < 0)
			continue;
		log_info("unmounting %s: asked by signal %d", m->cfg->mountpoint, sig);
		session_stop(m->session);
	}
}

/* The control socket's op "stop": by way of the signal, for its thread may not wait for its own end. */
static void request_stop(void *ctx)
{
	(void)ctx;
	kill(getpid(), SIGTERM);
}

static void run_ready(void *arg)
{
	struct mount *m = arg;

	owner_step_back(); /* it uses the mount and /sys */
	if (session_wait_ready(m->session) != 0)
		return; /* serve() reports what became of it */
	lease_note_device(m->lease, session_device(m->session));
	pool_note_mount(m->pool, session_device(m->session));
	/* An ordinary user's mount keeps the kernel's default. */
	if (!session_set_read_ahead(m->session, m->cfg->options->read_ahead_kib))
		log_debug("the kernel's read-ahead at %s stays as it is: %s", m->cfg->mountpoint,
			  strerror(errno));
	log_info("pool %s is mounted at %s%s", m->cfg->pool_dir, m->cfg->mountpoint,
		 pool_read_only(m->pool) ? " (read-only)" : "");
	report(m, 0);
}

static int open_pool(struct mount *m)
{
	const struct serve_config *cfg = m->cfg;
	struct pool_open_options opt = {
		.read_only = cfg->options->read_only,
		.force = cfg->options->force,
		.io_timeout_ms = cfg->options->io_timeout_ms,
		.smart_interval_ms = cfg->options->smart_interval_ms,
		.sysfs = getenv(
			"DYNAMICFS_TEST_SYSFS"), /* for the tests, which have no such disks */
	};
	struct pool_message said;
	int attempts = POOL_LOCK_ATTEMPTS;
	int err;

	for (;;) {
		said.text[0] = '\0';
		err = pool_open(cfg->pool_dir, &opt, NULL, &m->pool, &said);
		if (err != DFS_ELOCKED || --attempts == 0)
			break;
		env_sleep_ms(POOL_LOCK_PAUSE_MS);
	}
	if (said.text[0])
		*m->msg = said;
	if (err)
		return err;
	if (!pool_has_disks(m->pool))
		return fail(
			m->msg, DFS_ENODISK,
			"cannot mount the pool %s: it has no disk yet; nothing was done; add one "
			"with 'dynamicfs add-disk'",
			cfg->pool_dir);
	return 0;
}

static int count_entry(void *ctx, const struct fs_dirent *e)
{
	if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0)
		*(bool *)ctx = true;
	return 0;
}

/* A new pool's root directory is root's. Where an ordinary user has made the pool, it is theirs. */
static int give_root_directory(struct mount *m)
{
	struct fs_attr attr;
	struct inode *root;
	bool has_entries = false;
	int err;

	if (owner_uid() == 0 || pool_read_only(m->pool))
		return 0;
	err = fs_inode_get(m->fs, (ino_id){DFS_ROOT_INO}, &root);
	if (err)
		return err;
	err = fs_getattr(m->fs, root, &attr);
	if (!err && attr.uid == 0)
		err = fs_readdir(m->fs, root, 0, false, count_entry, &has_entries);
	if (!err && attr.uid == 0 && !has_entries) {
		attr.uid = owner_uid();
		attr.gid = owner_gid();
		err = fs_setattr(m->fs, root, &attr, FS_SET_UID | FS_SET_GID, &attr);
	}
	fs_forget(m->fs, root, 1);
	return err;
}

static int open_fs(struct mount *m)
{
	int err = fs_open(m->pool, &m->cfg->options->fs, &m->fs);

	if (!err)
		err = give_root_directory(m);
	if (err && m->msg->text[0] == '\0')
		return fail(m->msg, err, "cannot open the filesystem of pool %s: %s; see %s/log",
			    m->cfg->pool_dir, dfs_err_text(err), m->cfg->pool_dir);
	return err;
}

static int open_session(struct mount *m)
{
	struct session_config cfg = {
		.fs = m->fs,
		.mountpoint = m->cfg->mountpoint,
		.source = m->cfg->pool_dir,
		.fuse_opts = m->cfg->options->fuse_opts,
		.read_only = pool_read_only(m->pool),
		.allow_other = geteuid() == 0 && !m->cfg->options->allow_root,
		.acl = !m->cfg->options->fs.no_acl,
		.access_times = !m->cfg->options->no_access_times,
		.dir_access_times = !m->cfg->options->no_access_times &&
				    !m->cfg->options->no_dir_access_times,
	};

	int err;

	/* The mountpoint and /dev/fuse are for root to open. */
	owner_step_back();
	err = session_open(&cfg, &m->session, m->msg);
	owner_step_in();
	return err;
}

static int open_ctl(struct mount *m)
{
	struct ctl_server_config cfg = {
		.pool_dir = m->cfg->pool_dir,
		.pool = m->pool,
		.fs = m->fs,
		.jobs = m->jobs,
		.mountpoint = m->cfg->mountpoint,
		.request_stop = request_stop,
		.ctx = m,
	};
	int err = ctl_server_start(&cfg, &m->ctl);

	return err ? fail(m->msg, err, "cannot listen at %s/control.sock: %s", m->cfg->pool_dir,
			  dfs_err_text(err))
		   : 0;
}

static int open_all(struct mount *m)
{
	int err = lease_take(m->cfg->pool_dir, m->cfg->mountpoint, m->cfg->options->read_only,
			     &m->lease, m->msg);

	if (!err)
		err = open_pool(m);
	if (!err)
		err = open_fs(m);
	if (!err)
		m->jobs = jobs_load(m->pool);
	if (!err)
		err = open_session(m);
	if (!err)
		err = open_ctl(m);
	if (!err)
		jobs_start(m->jobs);
	return err;
}

static int serve_requests(struct mount *m)
{
	int err;

	m->signals = env_thread_start("signals", run_signals, m);
	m->ready = env_thread_start("ready", run_ready, m);
	err = session_loop(m->session);
	lease_note_ending(m->lease);
	__atomic_store_n(&m->ending, true, __ATOMIC_SEQ_CST);
	kill(getpid(), SIGTERM);
	env_thread_join(m->signals);
	return err ? fail(m->msg, err, "the kernel's connection to %s failed; see %s/log",
			  m->cfg->mountpoint, m->cfg->pool_dir)
		   : 0;
}

/* Closes what is open, in the opposite order of opening. err is what went wrong before. */
static int close_all(struct mount *m, int err)
{
	struct pool_end end = {.durable = true};
	struct ctl_watchers watchers = {0};
	int failed = 0, pool_failed = 0;
	bool told;

	if (m->ctl)
		ctl_server_stop_watched(m->ctl, &watchers);
	owner_step_back();
	if (m->session)
		session_close(m->session);
	owner_step_in();
	/* Only now can it not be waiting for an answer any more. */
	if (m->ready)
		env_thread_join(m->ready);
	jobs_free(m->jobs);
	if (m->fs)
		failed = fs_close(m->fs);
	if (m->pool && pool_read_only(m->pool)) {
		pool_abandon(m->pool);
	} else if (m->pool) {
		pool_failed = pool_close_telling(m->pool, &end);
		if (!failed && !end.durable)
			failed = pool_failed;
	}
	if (failed && !err) {
		fail(m->msg, failed,
		     "not all data of pool %s could be stored when it was unmounted: %s; %s/log "
		     "has the details",
		     m->cfg->pool_dir, dfs_err_text(failed), m->cfg->pool_dir);
		log_error("%s", m->msg->text);
	}
	if (!failed && !err && pool_failed) {
		fail(m->msg, 0,
		     "all data is stored, but in part in the journal only, for the index could not "
		     "be: %s; nothing is lost, the next mount replays it; %s/log has the details",
		     dfs_err_text(pool_failed), m->cfg->pool_dir);
		log_warn("%s", m->msg->text);
	} else if (!failed && !err && end.silent[0]) {
		fail(m->msg, 0,
		     "all data is stored, but not on %s: no answer from there; calls to it "
		     "may go on until it answers",
		     end.silent);
	}
	told = err || failed || pool_failed || end.silent[0];
	ctl_watchers_tell(&watchers, err ? err : failed, told ? m->msg->text : "");
	lease_end(m->lease, err ? err : failed, told ? m->msg->text : "");
	return err ? err : failed;
}

int serve(const struct serve_config *cfg, struct pool_message *msg)
{
	struct mount m = {.cfg = cfg, .msg = msg};
	int err;

	prepare_process();
	err = open_all(&m);
	if (!err)
		err = serve_requests(&m);
	err = close_all(&m, err);
	if (!err)
		log_info("pool %s is unmounted, all data is stored", cfg->pool_dir);
	else
		log_error("the mount of pool %s ended: %s", cfg->pool_dir, msg->text);
	if (!__atomic_load_n(&m.reported, __ATOMIC_SEQ_CST)) {
		if (!err)
			err = fail(msg, DFS_EIO,
				   "cannot mount at %s: it was unmounted before it answered; see "
				   "%s/log",
				   cfg->mountpoint, cfg->pool_dir);
		report(&m, err);
	}
	return err;
}
