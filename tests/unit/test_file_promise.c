/* SPDX-License-Identifier: Apache-2.0 */
/* Promised room (F9) that several want at once: what one write counts on, no other may; and how long a write waits
 * when the room that was promised is gone with a disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "file/internal.h"
#include "unit/file_rig.h"

#define DISK_BYTES MIB(96)
#define PIECE MIB(1)

static uint8_t data[PIECE];

static uint64_t promised(struct file_rig *r)
{
	return (uint64_t)meta_counter(pool_meta(r->pool), META_COUNT_PREALLOC_BYTES);
}

static void preallocate(struct file_rig *r, struct inode *in, uint64_t len)
{
	assert_int_equal(fs_fallocate(r->fs, in, FS_FALLOC_KEEP_SIZE, 0, len), 0);
}

/* Writes to a file of its own until there is no more room. */
static void fill(struct file_rig *r, const char *name)
{
	struct inode *in = rig_create(r, r->root, name);
	uint64_t off = 0;
	int rc = 0;

	for (size_t len = sizeof(data); len >= 4096; len /= 4)
		while ((rc = fs_write(r->fs, in, off, len, data, false)) == 0)
			off += len;
	assert_int_equal(rc, DFS_ENOSPC);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	fs_forget(r->fs, in, 1);
}

/* ---- calls that have asked for room, and wait for the file ---- */
struct call {
	struct file_rig *r;
	struct inode *in;
	uint64_t len;
	bool append, allocate;
	int rc;
	struct env_thread *thread;
};

static void call_main(void *arg)
{
	struct call *c = arg;

	if (c->allocate)
		c->rc = fs_fallocate(c->r->fs, c->in, FS_FALLOC_KEEP_SIZE, 0, c->len);
	else
		c->rc = fs_write(c->r->fs, c->in, 0, c->len, data, c->append);
}

static void hold(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	inode_excl_begin(in);
}

static void begin(struct call *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		c[i].thread = env_thread_start("test", call_main, &c[i]);
	env_sleep_ms(300); /* they have asked for room */
}

static void end(struct call *c, unsigned count)
{
	env_mutex_lock(&c->in->lock);
	inode_excl_end(c->in);
	env_mutex_unlock(&c->in->lock);
	for (unsigned i = 0; i < count; i++)
		env_thread_join(c[i].thread);
}

static unsigned succeeded(const struct call *c, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		assert_true(c[i].rc == 0 || c[i].rc == DFS_ENOSPC);
		n += c[i].rc == 0;
	}
	return n;
}

/* Appenders all see the same promised bytes behind the end; only one of them gets these. */
static void test_appended_once(void **state)
{
	struct file_rig *r = file_rig_new(NULL, DISK_BYTES);
	struct inode *log = rig_create(r, r->root, "log"), *other = rig_create(r, r->root, "other");
	struct call c[8];

	(void)state;
	preallocate(r, log, PIECE);
	preallocate(r, other, 8 * PIECE);
	fill(r, "filler");
	for (unsigned i = 0; i < 8; i++)
		c[i] = (struct call){.r = r, .in = log, .len = PIECE, .append = true};
	hold(log);
	begin(c, 8);
	end(c, 8);
	/* What is promised as copies takes less when it is stored as a whole MiB: a second one may fit. */
	assert_in_range(succeeded(c, 8), 1, 2);
	assert_int_equal(fs_fsync(r->fs, log, false), 0);
	assert_int_equal(promised(r), 8 * PIECE);
	for (unsigned i = 0; i < 8; i++)
		rig_write(r, other, i * PIECE, data, PIECE);
	fs_forget(r->fs, log, 1);
	fs_forget(r->fs, other, 1);
	file_rig_free(r);
}

/* A range that is promised already needs no room; but what is given up, and taken by others, after fallocate has
 * looked is not promised again. */
static void test_given_up_meanwhile(void **state)
{
	struct file_rig *r = file_rig_new(NULL, DISK_BYTES);
	struct inode *in = rig_create(r, r->root, "f");
	struct call c = {.r = r, .in = in, .len = 8 * PIECE, .allocate = true};
	struct rec_inode rec;

	(void)state;
	preallocate(r, in, 8 * PIECE);
	fill(r, "filler");
	hold(in);
	begin(&c, 1);
	env_mutex_lock(&in->lock);
	rec = in->rec;
	assert_int_equal(prealloc_drop(in, &rec, 0, 8 * PIECE), 0);
	env_mutex_unlock(&in->lock);
	fill(r, "more");
	end(&c, 1);
	assert_int_equal(c.rc, DFS_ENOSPC);
	assert_int_equal(promised(r), 0);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* The room that was promised has gone: one write finds that out by trying long, the others at once. */
static void test_gone_with_disks(void **state)
{
	struct fs_config cfg = {.promise_wait_ms = 1200};
	struct file_rig *r = file_rig_new(&cfg, DISK_BYTES);
	struct inode *in = rig_create(r, r->root, "f");
	struct disk_set *disks = pool_disks(r->pool);
	uint64_t began;

	(void)state;
	preallocate(r, in, 8 * PIECE);
	fill(r, "filler");
	for (unsigned i = 0; i < disk_count(disks); i++)
		disk_set_state(disk_at(disks, i), DISK_DEGRADED); /* takes nothing new */
	env_sleep_ms(250);
	began = env_now_ns();
	assert_int_equal(fs_write(r->fs, in, 0, 4096, data, false), DFS_EIO);
	assert_true(env_now_ns() - began >= 1200000000u);
	for (unsigned i = 0; i < 3; i++) { /* also when it is looked for anew */
		env_sleep_ms(220);
		began = env_now_ns();
		for (unsigned j = 0; j < 20; j++)
			assert_int_equal(fs_write(r->fs, in, j * 4096, 4096, data, false), DFS_EIO);
		assert_true(env_now_ns() - began < 1100000000u);
	}
	for (unsigned i = 0; i < disk_count(disks); i++)
		disk_set_state(disk_at(disks, i), DISK_HEALTHY);
	env_sleep_ms(250);
	for (unsigned i = 0; i < 8; i++)
		rig_write(r, in, i * PIECE, data, PIECE);
	fs_forget(r->fs, in, 1);
	file_rig_free(r);
}

/* ---- long calls ---- */
struct watch {
	struct call c;
	bool stop;
	unsigned between; /* how often something was seen half done */
	unsigned undone;  /* how often the mode was not what it had been set to */
	uint32_t mode;	  /* that was set last */
};

static void watch_main(void *arg)
{
	struct watch *w = arg;

	for (unsigned i = 0; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); i++) {
		struct fs_attr attr = {.mode = i & 0777}, now;

		if (i && fs_getattr(w->c.r->fs, w->c.in, &now) == 0)
			w->undone += now.mode != w->mode;
		if (fs_setattr(w->c.r->fs, w->c.in, &attr, FS_SET_MODE, &attr))
			return;
		w->between += attr.blocks_512 > 0 && attr.blocks_512 < GIB(1) / 512;
		w->mode = attr.mode;
	}
}

static bool watched(struct watch *w, unsigned mode, bool truncate)
{
	struct env_thread *t;
	int rc = 0;

	w->between = 0;
	w->mode = UINT32_MAX;
	t = env_thread_start("test", watch_main, w);
	while (__atomic_load_n(&w->mode, __ATOMIC_RELAXED) == UINT32_MAX)
		env_sleep_ms(1);
	if (truncate)
		rig_truncate(w->c.r, w->c.in, 0);
	else
		rc = fs_fallocate(w->c.r->fs, w->c.in, mode, 0, GIB(1));
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	env_thread_join(t);
	w->stop = false;
	assert_int_equal(rc, 0);
	assert_int_equal(w->undone, 0);
	return w->between;
}

/* Terabytes take seconds to promise and to give up: meanwhile the file can be looked at, and its mode be set. */
static void test_steps_aside(void **state)
{
	struct fs_config cfg = {.txn_bytes = KIB(16)};
	struct file_rig *r = file_rig_new(&cfg, GIB(1));
	struct watch w = {.c = {.r = r, .in = rig_create(r, r->root, "f")}};
	const unsigned keep = FS_FALLOC_KEEP_SIZE;
	bool allocated = false, punched = false, truncated = false;

	(void)state;
	/* The watcher may get no processor in time: then once more. */
	for (unsigned i = 0; i < 30 && !(allocated && punched && truncated); i++) {
		allocated |= watched(&w, keep, false);
		punched |= watched(&w, keep | FS_FALLOC_PUNCH, false);
		allocated |= watched(&w, keep, false);
		truncated |= watched(&w, 0, true);
	}
	assert_true(allocated && punched && truncated);
	fs_forget(r->fs, w.c.in, 1);
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_appended_once),
		cmocka_unit_test(test_given_up_meanwhile),
		cmocka_unit_test(test_gone_with_disks),
		cmocka_unit_test(test_steps_aside),
	};

	memset(data, 'd', sizeof(data));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
