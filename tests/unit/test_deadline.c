/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of dev/deadline.h: a disk that hangs, beneath single calls and beneath a set of disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit/disk_fixture.h"

#define DEADLINE_MS 150u
#define LONG_MS                                                                                    \
	2000u /* where a thread that is held up for a moment must not look like a disk that hangs */

/* A device of its own, over a fault, over a directory. */
struct rig {
	char *top;
	struct dev_group *group;
	struct dev *fault; /* borrowed */
	struct dev *dev;
};

static const struct fault_plan hang = {.hang = true}, fine = {.hang = false};

static int rig_with(void **state, unsigned deadline_ms)
{
	struct rig *r = xcalloc(1, sizeof(*r));
	const char *tmp = getenv("TMPDIR");
	struct dev *below;

	r->top = xasprintf("%s/dfs-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->top));
	r->group = dev_group_new(deadline_ms);
	assert_int_equal(dev_dir_open(r->top, "dynamicfs", true, &below), 0);
	r->fault = dev_fault_new(below, &fine);
	r->dev = dev_deadline_new(r->group, r->fault);
	*state = r;
	return 0;
}

static int rig_up(void **state) { return rig_with(state, DEADLINE_MS); }
static int rig_up_long(void **state) { return rig_with(state, LONG_MS); }

static int rig_down(void **state)
{
	struct rig *r = *state;
	FREE char *cmd = xasprintf("rm -rf '%s'", r->top);

	dev_free(r->dev);
	dev_group_put(r->group);
	assert_int_equal(system(cmd), 0);
	free(r->top);
	free(r);
	return 0;
}

static struct dev_deadline_state state_of(struct dev *d)
{
	struct dev_deadline_state s;

	assert_true(dev_deadline_state(d, &s));
	return s;
}

/* Until the calls that were left behind have come back. */
static void wait_unstuck(struct dev *d)
{
	for (int i = 0; i < 500 && state_of(d).stuck; i++)
		env_sleep_ms(10);
	assert_int_equal(state_of(d).stuck, 0);
}

/* How many descriptors of this process lead below the directory. */
static unsigned descriptors_below(const char *top)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;
	struct dirent *e;

	assert_non_null(dir);
	while ((e = readdir(dir))) {
		char target[4096] = "", link[300];

		(void)snprintf(link, sizeof(link), "/proc/self/fd/%s", e->d_name);
		if (readlink(link, target, sizeof(target) - 1) > 0)
			n += strncmp(target, top, strlen(top)) == 0;
	}
	closedir(dir);
	return n;
}

/* ---- one device ---- */

static int count_name(void *ctx, const char *name, uint64_t size_bytes)
{
	(void)name;
	*(uint64_t *)ctx += size_bytes;
	return 0;
}

static void calls_pass_through(void **state)
{
	struct rig *r = *state;
	struct iovec iov[3] = {
		{(void *)(uintptr_t) "abc", 3}, {NULL, 0}, {(void *)(uintptr_t) "de", 2}};
	struct dev_space space;
	struct dev_file *f, *again;
	uint64_t size = 0;
	FREE uint8_t *all = NULL;
	char back[16] = "";
	size_t got;

	assert_int_equal(dev_mkdir(r->dev, "dir"), 0);
	assert_int_equal(dev_open(r->dev, "dir/file", 0, &f), DFS_ENOENT);
	assert_int_equal(dev_open(r->dev, "dir/file", DEV_CREATE | DEV_EXCL, &f), 0);
	assert_int_equal(dev_open(r->dev, "dir/file", DEV_CREATE | DEV_EXCL, &again), DFS_EEXIST);
	assert_int_equal(dev_writev(f, iov, 3, 4), 0);
	assert_int_equal(dev_sync(f), 0);
	assert_int_equal(dev_size(f, &size), 0);
	assert_int_equal(size, 9);
	assert_int_equal(dev_read(f, back, sizeof(back), 3, 0, &got), 0);
	assert_int_equal(got, 6);
	assert_memory_equal(back, "\0abcde", 6);
	assert_int_equal(dev_read(f, back, 5, 4, DEV_READ_MEDIA, &got), 0);
	assert_memory_equal(back, "abcde", 5);
	assert_int_equal(dev_truncate(f, 6), 0);
	assert_int_equal(dev_punch(f, 0, 5), 0);
	dev_prefetch(f, 0, 6);
	dev_close(f);
	size = 0;
	assert_int_equal(dev_list(r->dev, "dir", count_name, &size), 0);
	assert_int_equal(size, 6);
	assert_int_equal(dev_rename(r->dev, "dir/file", "dir/other"), 0);
	assert_int_equal(dev_read_all(r->dev, "dir/other", 100, &all, &got), 0);
	assert_int_equal(got, 6);
	assert_memory_equal(all, "\0\0\0\0\0b", 6);
	assert_int_equal(dev_replace(r->dev, "dir/small", "xyz", 3), 0);
	assert_int_equal(dev_remove(r->dev, "dir/other"), 0);
	assert_int_equal(dev_sync_dir(r->dev, "dir"), 0);
	assert_int_equal(dev_space(r->dev, &space), 0);
	assert_true(space.total_bytes > 0 && !space.is_old);
	assert_int_equal(dev_probe(r->dev), 0);
	assert_int_equal(dev_lock(r->dev), 0);
	assert_int_equal(dev_revive(r->dev), 0);
	assert_false(state_of(r->dev).is_hung);
}

static void a_hung_call_ends_at_its_deadline(void **state)
{
	struct rig *r = *state;
	uint64_t start = env_now_ns(), took_ms;
	uint8_t back[4096];
	struct dev_file *f;
	size_t got = 77;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	assert_int_equal(dev_write(f, "old", 3, 0), 0);
	dev_fault_set(r->fault, &hang);
	memset(back, 7, sizeof(back));
	assert_int_equal(dev_read(f, back, 3, 0, DEV_READ_MEDIA, &got), DFS_ETIMEDOUT);
	took_ms = (env_now_ns() - start) / 1000000;
	assert_in_range(took_ms, DEADLINE_MS, 20 * DEADLINE_MS);
	assert_true(state_of(r->dev).is_hung);
	assert_int_equal(state_of(r->dev).stuck, 1);
	/* from now on at once, whatever it is, and no further thread gets stuck */
	start = env_now_ns();
	for (int i = 0; i < 100; i++) {
		struct dev_space space;
		struct dev_file *other;

		assert_int_equal(dev_write(f, "new", 3, 0), DFS_ETIMEDOUT);
		assert_int_equal(dev_sync(f), DFS_ETIMEDOUT);
		assert_int_equal(dev_open(r->dev, "b", DEV_CREATE, &other), DFS_ETIMEDOUT);
		assert_int_equal(dev_space(r->dev, &space), DFS_ETIMEDOUT);
		assert_int_equal(dev_probe(r->dev), DFS_ETIMEDOUT);
		assert_int_equal(dev_revive(r->dev), DFS_ETIMEDOUT);
		dev_prefetch(f, 0, 3);
	}
	assert_true((env_now_ns() - start) / 1000000 < DEADLINE_MS);
	assert_int_equal(state_of(r->dev).stuck, 1);
	/* what comes late is thrown away: nobody's buffer is written to */
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	for (unsigned i = 0; i < sizeof(back); i++)
		assert_int_equal(back[i], 7);
	assert_int_equal(got, 77);
	/* and it is not used before it has been asked */
	assert_int_equal(dev_sync(f), DFS_ETIMEDOUT);
	assert_int_equal(dev_revive(r->dev), 0);
	assert_int_equal(dev_read(f, back, 3, 0, 0, &got), 0);
	assert_memory_equal(back, "old", 3);
	dev_close(f);
}

static void a_late_write_uses_its_own_memory(void **state)
{
	struct rig *r = *state;
	FREE char *data = xstrdup("what was asked");
	char back[32] = "";
	struct dev_file *f;
	size_t got;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_fault_set(r->fault, &hang);
	assert_int_equal(dev_write(f, data, 14, 0), DFS_ETIMEDOUT);
	memset(data, 'X', 14); /* the caller's again */
	dev_close(f);	       /* and the file is held by the call alone */
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	assert_int_equal(dev_revive(r->dev), 0);
	assert_int_equal(dev_open(r->dev, "file", 0, &f), 0);
	assert_int_equal(dev_read(f, back, sizeof(back), 0, 0, &got), 0);
	assert_int_equal(got, 14);
	assert_memory_equal(back, "what was asked", 14);
	dev_close(f);
}

static void a_late_opening_is_closed(void **state)
{
	struct rig *r = *state;
	struct dev_file *f = NULL;
	unsigned before = descriptors_below(r->top);

	dev_fault_set(r->fault, &hang);
	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), DFS_ETIMEDOUT);
	assert_null(f);
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	assert_int_equal(dev_revive(r->dev), 0);
	for (int i = 0; i < 500 && descriptors_below(r->top) != before; i++)
		env_sleep_ms(10);
	assert_int_equal(descriptors_below(r->top), before);
}

struct caller {
	struct dev *dev;
	struct dev_file *f;
	int rc;
	unsigned kind;
};

static void caller_main(void *arg)
{
	struct caller *c = arg;
	uint8_t back[16];
	size_t got;

	switch (c->kind % 3) {
	case 0:
		c->rc = dev_read(c->f, back, sizeof(back), 0, DEV_READ_MEDIA, &got);
		break;
	case 1:
		c->rc = dev_write(c->f, "abcd", 4, 0);
		break;
	default:
		c->rc = dev_sync(c->f);
	}
}

static void threads_that_can_be_stuck_are_bounded(void **state)
{
	enum {
		N = 64
	};
	struct rig *r = *state;
	struct env_thread *t[N];
	struct caller c[N];
	struct dev_file *f;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_fault_set(r->fault, &hang);
	for (unsigned i = 0; i < N; i++) {
		c[i] = (struct caller){.dev = r->dev, .f = f, .kind = i};
		t[i] = env_thread_start("caller", caller_main, &c[i]);
	}
	for (unsigned i = 0; i < N; i++) {
		env_thread_join(t[i]);
		assert_int_equal(c[i].rc, DFS_ETIMEDOUT);
	}
	assert_in_range(state_of(r->dev).stuck, 1, DEADLINE_THREADS);
	assert_in_range(state_of(r->dev).threads, 1, DEADLINE_THREADS);
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	assert_int_equal(dev_revive(r->dev), 0);
	dev_close(f);
}

/* Much to do is no hang: a queue that moves is waited for. */
static void a_busy_disk_is_not_given_up(void **state)
{
	enum {
		N = 40
	};
	struct rig *r = *state;
	struct env_thread *t[N];
	struct caller c[N];
	struct dev_file *f;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_fault_set(r->fault, &(struct fault_plan){.delay_ms = DEADLINE_MS / 2});
	for (unsigned i = 0; i < N; i++) {
		c[i] = (struct caller){.dev = r->dev, .f = f, .kind = i};
		t[i] = env_thread_start("caller", caller_main, &c[i]);
	}
	for (unsigned i = 0; i < N; i++) {
		env_thread_join(t[i]);
		assert_int_equal(c[i].rc, 0);
	}
	assert_false(state_of(r->dev).is_hung);
	dev_close(f);
}

static void a_hung_device_is_freed_at_once(void **state)
{
	struct rig *r = *state;
	const unsigned deadline_ms = 8 * DEADLINE_MS;
	struct dev_group *group = dev_group_new(deadline_ms);
	struct dev *below, *fault, *dev;
	uint64_t start;
	struct dev_file *f;
	FREE char *dir = xasprintf("%s/more", r->top);

	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(dev_dir_open(dir, "", false, &below), 0);
	fault = dev_fault_new(below, &fine);
	dev = dev_deadline_new(group, fault);
	assert_int_equal(dev_open(dev, "file", DEV_CREATE, &f), 0);
	dev_fault_set(fault, &hang);
	assert_int_equal(dev_sync(f), DFS_ETIMEDOUT);
	start = env_now_ns();
	dev_close(f);
	dev_free(dev);
	dev_group_put(group);
	/* calls that can still come back in time are given half the deadline */
	assert_true((env_now_ns() - start) / 1000000 < deadline_ms / 2);
	assert_true(descriptors_below(dir) > 0);
	/* the call that comes back closes everything */
	dev_fault_set(fault, &fine);
	for (int i = 0; i < 500 && descriptors_below(dir); i++)
		env_sleep_ms(10);
	assert_int_equal(descriptors_below(dir), 0);
}

static void a_retired_device_holds_nothing(void **state)
{
	struct rig *r = *state;
	struct dev_file *f, *g;
	struct dev_space space;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	assert_int_equal(dev_open(r->dev, "other", DEV_CREATE, &g), 0);
	dev_close(g);
	dev_retire(r->dev);
	dev_retire(r->dev);
	for (int i = 0; i < 500 && descriptors_below(r->top); i++)
		env_sleep_ms(10);
	assert_int_equal(descriptors_below(r->top), 0);
	assert_int_equal(dev_write(f, "a", 1, 0), DFS_EGONE);
	assert_int_equal(dev_open(r->dev, "file", 0, &g), DFS_EGONE);
	assert_int_equal(dev_space(r->dev, &space), DFS_EGONE);
	assert_int_equal(dev_probe(r->dev), DFS_EGONE);
	assert_int_equal(dev_revive(r->dev), DFS_EGONE);
	dev_close(f);
}

/* Nobody who asks for space waits for a disk that has answered before. */
static void old_answers_will_do(void **state)
{
	struct rig *r = *state;
	struct dev_space space = {0}, first;
	uint64_t start;

	assert_int_equal(dev_space(r->dev, &first), 0);
	dev_fault_set(r->fault, &hang);
	start = env_now_ns();
	assert_int_equal(dev_space(r->dev, &space), 0);
	assert_true((env_now_ns() - start) / 1000000 < LONG_MS);
	assert_true(space.is_old);
	assert_int_equal(space.total_bytes, first.total_bytes);
	/* but who goes on asking learns that it hangs */
	for (int i = 0; i < 500 && !state_of(r->dev).is_hung; i++) {
		env_sleep_ms(10);
		(void)!dev_space(r->dev, &space);
	}
	assert_true(state_of(r->dev).is_hung);
	assert_int_equal(dev_space(r->dev, &space), DFS_ETIMEDOUT);
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	assert_int_equal(dev_revive(r->dev), 0);
	assert_int_equal(dev_space(r->dev, &space), 0);
	assert_false(space.is_old);
}

/* A device below that takes its time with a question that it has begun. */
static struct {
	const struct dev_ops *ops;
	atomic_ulong free_bytes;
	atomic_bool is_held;
} slow;

static int slow_space(struct dev *d, struct dev_space *ret_space)
{
	int rc = slow.ops->space(d, ret_space);

	ret_space->free_bytes = slow.free_bytes;
	while (slow.is_held)
		env_sleep_ms(1);
	return rc;
}

static void release_main(void *arg)
{
	(void)arg;
	env_sleep_ms(20);
	slow.is_held = false;
}

/* D13: the answer to a question that began before space was given back is not taken for a new one. */
static void an_answer_knows_what_was_done_before(void **state)
{
	struct rig *r = *state;
	struct dev_space space;
	struct env_thread *t;
	struct dev *below, *dev;
	struct dev_ops ops;

	assert_int_equal(dev_dir_open(r->top, "other", true, &below), 0);
	ops = *(slow.ops = below->ops);
	ops.space = slow_space;
	below->ops = &ops;
	dev = dev_deadline_new(r->group, below);
	slow.free_bytes = 1;
	assert_int_equal(dev_space(dev, &space), 0);
	for (unsigned must_be_new = 0; must_be_new < 2; must_be_new++) {
		slow.is_held = true;
		assert_int_equal(dev_space(dev, &space), 0);
		assert_true(space.is_old);
		slow.free_bytes++;
		t = env_thread_start("release", release_main, NULL);
		assert_int_equal((must_be_new ? dev_space_now : dev_space)(dev, &space), 0);
		assert_true(space.is_old || space.free_bytes == slow.free_bytes);
		assert_false(must_be_new && space.is_old);
		env_thread_join(t);
	}
	dev_free(dev);
}

static void a_disk_that_is_needed_is_waited_for(void **state)
{
	struct rig *r = *state;
	struct dev_file *f;
	struct caller c;
	struct env_thread *t;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_group_set_most(r->group, 0, 0, NULL, 0);
	dev_fault_set(r->fault, &hang);
	c = (struct caller){.dev = r->dev, .f = f, .kind = 1};
	t = env_thread_start("caller", caller_main, &c);
	env_sleep_ms(3 * DEADLINE_MS);
	assert_false(state_of(r->dev).is_hung);
	assert_true(state_of(r->dev).is_silent);
	dev_fault_set(r->fault, &fine);
	env_thread_join(t);
	assert_int_equal(c.rc, 0);
	assert_false(state_of(r->dev).is_hung);
	assert_false(state_of(r->dev).is_silent);
	dev_close(f);
}

/* D12: nor is one waited for that was given up before it fell silent, and is still to be told so. */
static void a_disk_that_was_given_up_is_not_waited_for(void **state)
{
	struct rig *r = *state;
	struct dev_file *f;
	struct caller c;
	struct env_thread *t;
	bool is_left;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_group_set_most(r->group, 0, 0, NULL, 0);
	dev_give_up(r->dev);
	dev_fault_set(r->fault, &hang);
	c = (struct caller){.dev = r->dev, .f = f, .kind = 1};
	t = env_thread_start("caller", caller_main, &c);
	for (int i = 0; i < 20 && !state_of(r->dev).is_hung; i++)
		env_sleep_ms(DEADLINE_MS);
	is_left = state_of(r->dev).is_hung;
	dev_fault_set(r->fault, &fine);
	env_thread_join(t);
	assert_true(is_left);
	assert_int_equal(c.rc, DFS_ETIMEDOUT);
	wait_unstuck(r->dev);
	dev_close(f);
}

/* D12: who waits for a silent disk that is given up by order goes on, though another one is waited for. */
static void a_silent_disk_that_is_retired_is_left(void **state)
{
	struct rig *r = *state;
	struct dev *below, *fault, *other;
	struct env_thread *t[2];
	struct caller c[2];
	struct dev_file *f[2];
	bool is_left;

	assert_int_equal(dev_dir_open(r->top, "other", true, &below), 0);
	fault = dev_fault_new(below, &fine);
	other = dev_deadline_new(r->group, fault);
	dev_group_set_most(r->group, 0, 0, NULL, 0);
	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f[0]), 0);
	assert_int_equal(dev_open(other, "file", DEV_CREATE, &f[1]), 0);
	dev_fault_set(r->fault, &hang);
	dev_fault_set(fault, &hang);
	for (unsigned i = 0; i < 2; i++) {
		c[i] = (struct caller){.dev = i ? other : r->dev, .f = f[i], .kind = 1};
		t[i] = env_thread_start("caller", caller_main, &c[i]);
	}
	env_sleep_ms(3 * DEADLINE_MS);
	assert_true(state_of(r->dev).is_silent);
	dev_retire(r->dev);
	assert_false(state_of(r->dev).is_silent);
	for (int i = 0; i < 20 && !state_of(r->dev).is_hung; i++)
		env_sleep_ms(DEADLINE_MS);
	is_left = state_of(r->dev).is_hung;
	dev_fault_set(r->fault, &fine);
	dev_fault_set(fault, &fine);
	for (unsigned i = 0; i < 2; i++)
		env_thread_join(t[i]);
	assert_true(is_left);
	assert_int_equal(c[0].rc, DFS_ETIMEDOUT);
	assert_int_equal(c[1].rc, 0);
	wait_unstuck(r->dev);
	dev_close(f[0]);
	dev_close(f[1]);
	dev_free(other);
}

/* D3: two disks that fall silent are one loss if they are in one failure domain, unless they are too many. */
static void a_domain_is_one_loss(void **state)
{
	static const struct {
		const char *domain;
		unsigned most_disks;
		bool gives_up;
	} cases[] = {{"", 2, false}, {"a", 2, true}, {"a", 1, false}};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dev *below, *fault, *other;
		struct dev_file *f;
		struct caller c;
		struct env_thread *t;

		assert_int_equal(dev_dir_open(r->top, "other", true, &below), 0);
		fault = dev_fault_new(below, &fine);
		other = dev_deadline_new(r->group, fault);
		struct dev *voters[] = {r->dev, other};
		dev_deadline_set_domain(r->dev, "a");
		dev_deadline_set_domain(other, cases[i].domain);
		dev_group_set_most(r->group, 1, cases[i].most_disks, voters, 2);
		assert_int_equal(dev_open(other, "file", DEV_CREATE, &f), 0);
		dev_fault_set(r->fault, &hang);
		assert_int_equal(dev_mkdir(r->dev, "dir"), DFS_ETIMEDOUT);
		dev_fault_set(fault, &hang);
		c = (struct caller){.dev = other, .f = f, .kind = 1};
		t = env_thread_start("caller", caller_main, &c);
		env_sleep_ms(3 * DEADLINE_MS);
		assert_int_equal(state_of(other).is_hung, cases[i].gives_up);
		dev_fault_set(fault, &fine);
		env_thread_join(t);
		assert_int_equal(c.rc, cases[i].gives_up ? DFS_ETIMEDOUT : 0);
		wait_unstuck(other);
		dev_fault_set(r->fault, &fine);
		wait_unstuck(r->dev);
		assert_int_equal(dev_revive(r->dev), 0);
		dev_close(f);
		dev_free(other);
	}
}

static struct fault_plan opener_plan;
static struct dev *opener_fault;

static int slow_opener(void *ctx, const char *path, const char *subdir, bool create,
		       struct dev **ret_dev)
{
	struct dev *below;
	int rc;

	while (atomic_load((atomic_bool *)ctx))
		env_sleep_ms(5);
	rc = dev_dir_open(path, subdir, create, &below);
	if (!rc)
		*ret_dev = opener_fault = dev_fault_new(below, &opener_plan);
	return rc;
}

static void opening_a_disk_has_a_deadline(void **state)
{
	struct rig *r = *state;
	static atomic_bool is_hung;
	FREE char *none = xasprintf("%s/none", r->top);
	struct dev *dev = NULL;
	unsigned before = descriptors_below(r->top);

	atomic_store(&is_hung, false);
	assert_int_equal(dev_deadline_open(r->group, slow_opener, &is_hung, none, "", false, &dev),
			 DFS_ENOENT);
	assert_int_equal(
		dev_deadline_open(r->group, slow_opener, &is_hung, r->top, "sub", true, &dev), 0);
	assert_string_equal(dev->name + strlen(r->top), "/sub");
	assert_int_equal(dev_probe(dev), 0);
	dev_free(dev);
	dev = NULL;
	atomic_store(&is_hung, true);
	assert_int_equal(dev_deadline_open(r->group, slow_opener, &is_hung, r->top, "", false,
					   &dev),
			 DFS_ETIMEDOUT);
	assert_null(dev);
	atomic_store(&is_hung, false);
	for (int i = 0; i < 500 && descriptors_below(r->top) != before; i++)
		env_sleep_ms(10);
	env_sleep_ms(50);
	assert_int_equal(descriptors_below(r->top), before);
}

static atomic_bool call_hangs;
static atomic_uint dropped;

static void long_call(void *arg)
{
	while (atomic_load(&call_hangs))
		env_sleep_ms(5);
	++*(unsigned *)arg;
}

static void drop_arg(void *arg)
{
	free(arg);
	atomic_fetch_add(&dropped, 1);
}

static void anything_can_have_a_deadline(void **state)
{
	struct rig *r = *state;
	unsigned *arg = xcalloc(1, sizeof(*arg));

	/* nothing depends on what is only looked at, so it is never waited for */
	dev_group_set_most(r->group, 0, 0, NULL, 0);
	atomic_store(&call_hangs, false);
	assert_int_equal(dev_call_in_time(r->group, "a call", long_call, arg, drop_arg), 0);
	assert_int_equal(*arg, 1);
	assert_int_equal(atomic_load(&dropped), 0);
	atomic_store(&call_hangs, true);
	assert_int_equal(dev_call_in_time(r->group, "a call", long_call, arg, drop_arg),
			 DFS_ETIMEDOUT);
	assert_int_equal(atomic_load(&dropped), 0);
	atomic_store(&call_hangs, false);
	for (int i = 0; i < 500 && !atomic_load(&dropped); i++)
		env_sleep_ms(10);
	assert_int_equal(atomic_load(&dropped), 1);
}

/* D9: who can do without does not wait, and the disk goes on being used. All within the first call's deadline. */
static void a_call_that_can_be_spared_is_not_waited_for(void **state)
{
	struct rig *r = *state;
	struct dev_file *f;
	char buf[4] = "";
	struct dev_call c;
	unsigned before;

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	assert_int_equal(dev_write(f, "abcd", 4, 0), 0);
	before = descriptors_below(r->top);
	dev_fault_set(r->fault, &hang);
	for (int i = 0; i < 40; i++) {
		uint64_t start = env_now_ns();

		c = i % 2 ? (struct dev_call){.op = DEV_CALL_READ,
					      .file = f,
					      .buf = buf,
					      .len = 4,
					      .flags = DEV_READ_MEDIA,
					      .can_spare = true}
			  : (struct dev_call){.op = DEV_CALL_OPEN,
					      .dev = r->dev,
					      .name = "file",
					      .can_spare = true};
		dev_start(&c);
		assert_int_equal(dev_finish(&c), DFS_ELATE);
		assert_true(env_now_ns() - start < LONG_MS * 1000000ull / 2);
	}
	assert_false(state_of(r->dev).is_hung);
	assert_int_equal(state_of(r->dev).threads,
			 1); /* while one is late no other is given to it */
	dev_fault_set(r->fault, &fine);
	assert_int_equal(dev_sync(f), 0);
	for (int i = 0; i < 500 && descriptors_below(r->top) != before; i++)
		env_sleep_ms(10);
	assert_int_equal(descriptors_below(r->top), before); /* what was opened late is closed */
	assert_int_equal(buf[0], 0);			     /* and read late, thrown away */
	c = (struct dev_call){.op = DEV_CALL_READ,
			      .file = f,
			      .buf = buf,
			      .len = 4,
			      .flags = DEV_READ_MEDIA,
			      .can_spare = true};
	dev_start(&c);
	assert_int_equal(dev_finish(&c), 0);
	assert_memory_equal(buf, "abcd", 4);
	dev_close(f);
}

/* Whoever waits notices the first call that has taken too long, though nobody waits for that one. */
static void the_first_deadline_counts(void **state)
{
	struct rig *r = *state;
	struct dev_file *f;
	struct dev_call c = {.op = DEV_CALL_OPEN, .dev = r->dev, .name = "file", .can_spare = true};
	uint64_t start = env_now_ns();

	assert_int_equal(dev_open(r->dev, "file", DEV_CREATE, &f), 0);
	dev_fault_set(r->fault, &hang);
	dev_start(&c);
	assert_int_equal(dev_finish(&c), DFS_ELATE);
	/* it waits behind that one, and has twice as long by itself */
	assert_int_equal(dev_sync(f), DFS_ETIMEDOUT);
	assert_true((env_now_ns() - start) / 1000000 < LONG_MS * 3 / 2);
	assert_true(state_of(r->dev).is_hung);
	dev_fault_set(r->fault, &fine);
	wait_unstuck(r->dev);
	dev_close(f);
}

/* ---- beneath a set of disks ---- */

static int disks_up(void **state)
{
	struct fixture *f;

	set_up_empty(state);
	f = *state;
	dev_group_put(f->group);
	f->group = dev_group_new(DEADLINE_MS);
	for (unsigned i = 0; i < DISKS; i++) {
		struct disk_info info = info_of(i);

		add(f, i, &info, 0);
	}
	return 0;
}

static void one_hung_disk_costs_a_batch_one_deadline(void **state)
{
	struct fixture *f = *state;
	uint8_t data[DISKS][512], back[DISKS][512];
	struct disk_io ios[DISKS];
	struct iovec iov[DISKS];
	uint64_t start;

	for (unsigned i = 0; i < DISKS; i++) {
		fill(data[i], 512, i);
		iov[i] = (struct iovec){back[i], 512};
		ios[i] = (struct disk_io){.disk = f->disks[i],
					  .op = DISK_READ,
					  .addr = append(f->disks[i], data[i], 512),
					  .iov = &iov[i],
					  .iovcnt = 1,
					  .flags = DEV_READ_MEDIA};
	}
	dev_fault_set(f->faults[2], &hang);
	start = env_now_ns();
	assert_int_equal(disk_io_run(ios, DISKS), DFS_ETIMEDOUT);
	assert_true((env_now_ns() - start) / 1000000 < 20 * DEADLINE_MS);
	for (unsigned i = 0; i < DISKS; i++) {
		assert_int_equal(ios[i].result, i == 2 ? DFS_ETIMEDOUT : 0);
		if (i != 2)
			assert_memory_equal(back[i], data[i], 512);
	}
	assert_int_equal(f->last_err, DFS_ETIMEDOUT);
	assert_int_equal(f->last_id.v, 3);
	dev_fault_set(f->faults[2], &fine);
	wait_unstuck(disk_dev(f->disks[2]));
	assert_int_equal(dev_revive(disk_dev(f->disks[2])), 0);
	assert_int_equal(disk_io_run(ios, DISKS), 0);
	assert_memory_equal(back[2], data[2], 512);
}

/* S1: its range is never given out again, so it hits nothing. */
static void a_late_record_hits_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t a[512], b[512], back[512];
	struct segment_addr late, next;

	fill(a, 512, 1);
	fill(b, 512, 2);
	assert_int_equal(segment_reserve(f->disks[0], 512, &late), 0);
	dev_fault_set(f->faults[0], &hang);
	assert_int_equal(write_at(f->disks[0], late, a, 512), DFS_ETIMEDOUT);
	segment_settle(f->disks[0], late); /* given up: written to another disk */
	dev_fault_set(f->faults[0], &fine);
	wait_unstuck(disk_dev(f->disks[0]));
	assert_int_equal(dev_revive(disk_dev(f->disks[0])), 0);
	next = append(f->disks[0], b, 512);
	assert_true(next.segment != late.segment || next.offset >= late.offset + 512);
	assert_int_equal(read_at(f->disks[0], next, back, 512), 0);
	assert_memory_equal(back, b, 512);
}

/* S4: a sync that times out has failed, also when the disk comes back. */
static void a_sync_that_hangs_has_failed(void **state)
{
	struct fixture *f = *state;
	disk_id failed[DISKS];
	uint8_t data[512] = {1};
	unsigned n;

	for (unsigned i = 0; i < DISKS; i++)
		(void)append(f->disks[i], data, 512);
	dev_fault_set(f->faults[1], &hang);
	assert_int_equal(sync_all(f, failed, &n), DFS_ETIMEDOUT);
	assert_int_equal(n, 1);
	assert_int_equal(failed[0].v, 2);
	assert_int_equal(disk_state(f->disks[1]), DISK_FAILED);
	dev_fault_set(f->faults[1], &fine);
	wait_unstuck(disk_dev(f->disks[1]));
	assert_int_equal(disk_state(f->disks[1]), DISK_FAILED);
	/* once more for those who published meanwhile, and then no more */
	(void)append(f->disks[0], data, 512);
	assert_int_equal(sync_all(f, failed, &n), DFS_ETIMEDOUT);
	assert_int_equal(n, 1);
	assert_int_equal(sync_all(f, failed, &n), 0);
}

/* D7, D8: it comes back without what was not durable, once nothing is in flight there. */
static void a_disk_that_fell_silent_comes_back(void **state)
{
	struct fixture *f = *state;
	struct disk *d = f->disks[1];
	disk_id failed[DISKS];
	uint8_t data[512] = {1};
	struct segment_addr old, held, new;
	struct disk_doubt doubt;
	unsigned n;

	old = append(d, data, 512);
	assert_int_equal(segment_reserve(d, 512, &held), 0);
	assert_false(disk_failed_silent(d));
	assert_int_equal(disk_return(d), DFS_EBUSY);
	dev_fault_set(f->faults[1], &hang);
	assert_int_equal(sync_all(f, failed, &n), DFS_ETIMEDOUT);
	assert_true(disk_failed_silent(d));
	dev_fault_set(f->faults[1], &fine);
	wait_unstuck(disk_dev(d));
	assert_int_equal(dev_revive(disk_dev(d)), 0);
	assert_int_equal(disk_return(d), DFS_EBUSY); /* somebody may publish that record yet */
	segment_settle(d, held);
	assert_false(disk_doubtful(d, &doubt)); /* told of when it is back */
	assert_int_equal(disk_return(d), 0);
	assert_int_equal(disk_state(d), DISK_HEALTHY);
	assert_false(disk_in_doubt(d));
	assert_true(disk_doubtful(d, &doubt) && doubt.segment == old.segment);
	new = append(d, data, 512);
	assert_true(new.segment > old.segment);
	assert_int_equal(sync_all(f, failed, &n), 0);
	disk_doubt_worked_off(d, &doubt, false);
	assert_true(disk_doubtful(d, &doubt) && doubt.segment == old.segment);
	disk_doubt_worked_off(d, &doubt, true);
	assert_false(disk_doubtful(d, &doubt));
	assert_int_equal(segment_remove(d, old.segment), 0);
}

/* D7, D8: what a sync that failed has lost, the kernel tells once: it stays in doubt when the disk is used again. */
static void a_disk_that_lost_writes_comes_back_in_doubt(void **state)
{
	struct fixture *f = *state;
	const struct fault_plan bad = {.sync_error = 1};
	disk_id failed[DISKS];
	struct segment_addr old, held;
	uint8_t data[512] = {1};
	struct disk_doubt doubt;
	unsigned n;

	old = append(f->disks[1], data, 512);
	assert_int_equal(segment_reserve(f->disks[1], 512, &held), 0);
	dev_fault_set(f->faults[1], &bad);
	assert_int_equal(sync_all(f, failed, &n), DFS_EIO);
	dev_fault_set(f->faults[1], &fine);
	assert_false(disk_failed_silent(f->disks[1]));
	assert_int_equal(disk_return(f->disks[1]), DFS_EBUSY);
	/* nor is it taken for one that was merely slow, by who saw it so a moment ago */
	assert_false(disk_move_state(f->disks[1], DISK_SUSPECT, DISK_HEALTHY));
	assert_false(disk_move_state(f->disks[1], DISK_FAILED, DISK_HEALTHY));
	assert_int_equal(disk_state(f->disks[1]), DISK_FAILED);
	segment_settle(f->disks[1], held);
	assert_int_equal(disk_return(f->disks[1]), 0);
	assert_true(disk_doubtful(f->disks[1], &doubt) && doubt.segment == old.segment);
	/* what was given up by order does not come back, whatever had failed before */
	disk_set_health(f->disks[1], (struct disk_health){DISK_FAILED, DISK_ORDER_FAIL});
	assert_int_equal(disk_return(f->disks[1]), DFS_EBUSY);
}

#define R(fn) cmocka_unit_test_setup_teardown(fn, rig_up, rig_down)
#define L(fn) cmocka_unit_test_setup_teardown(fn, rig_up_long, rig_down)
#define D(fn) cmocka_unit_test_setup_teardown(fn, disks_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		R(calls_pass_through),
		R(a_hung_call_ends_at_its_deadline),
		R(a_late_write_uses_its_own_memory),
		R(a_late_opening_is_closed),
		R(threads_that_can_be_stuck_are_bounded),
		R(a_busy_disk_is_not_given_up),
		R(a_hung_device_is_freed_at_once),
		R(a_retired_device_holds_nothing),
		L(old_answers_will_do),
		L(an_answer_knows_what_was_done_before),
		R(a_disk_that_is_needed_is_waited_for),
		R(a_disk_that_was_given_up_is_not_waited_for),
		R(a_silent_disk_that_is_retired_is_left),
		R(a_domain_is_one_loss),
		R(opening_a_disk_has_a_deadline),
		R(anything_can_have_a_deadline),
		L(a_call_that_can_be_spared_is_not_waited_for),
		L(the_first_deadline_counts),
		D(one_hung_disk_costs_a_batch_one_deadline),
		D(a_late_record_hits_nothing),
		D(a_sync_that_hangs_has_failed),
		D(a_disk_that_fell_silent_comes_back),
		D(a_disk_that_lost_writes_comes_back_in_doubt),
	};

	return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
