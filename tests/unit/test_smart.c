/* SPDX-License-Identifier: Apache-2.0 */
/* What disks say of themselves (K5): devices below a filesystem, by a sysfs that is made here, and a smartctl that is a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/env.h"
#include "pool/internal.h"
#include "unit/pool_fixture.h"

#define PATIENCE_MS 20000u

struct world {
	struct fixture *f;
	char sysfs[128], path[4096];
};

/* Its script: what is in TOP/says is what it exits with; "hang": it doesn't. It counts its calls. */
static void make_smartctl(struct world *w)
{
	fixture_shell("mkdir -p %s/bin && printf '%%s\\n' '#!/bin/sh' 'echo \"$@\" >>%s/calls' "
		      "'says=$(cat %s/says)' '[ \"$says\" = hang ] && exec sleep 1000' "
		      "'exit $says' >%s/bin/smartctl && chmod +x %s/bin/smartctl",
		      w->f->top, w->f->top, w->f->top, w->f->top, w->f->top);
}

static void say(struct world *w, const char *what)
{
	fixture_shell("echo %s >%s/says.new && mv %s/says.new %s/says", what, w->f->top, w->f->top,
		      w->f->top);
}

/* The filesystem of the disks lies on sdx1. */
static void make_sysfs(struct world *w)
{
	struct stat st;

	snprintf(w->sysfs, sizeof(w->sysfs), "%s/sys", w->f->top);
	assert_int_equal(stat(w->f->disk[0], &st), 0);
	fixture_shell("mkdir -p %s/dev/block %s/devices/sdx/device %s/devices/sdx/sdx1", w->sysfs,
		      w->sysfs, w->sysfs);
	fixture_shell("touch %s/devices/sdx/sdx1/partition; "
		      "ln -s ../../devices/sdx/sdx1 %s/dev/block/%u:%u",
		      w->sysfs, w->sysfs, major(st.st_dev), minor(st.st_dev));
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	char path[8192];

	w->f = fixture_new(2, 0, NULL);
	snprintf(w->path, sizeof(w->path), "%s", getenv("PATH"));
	snprintf(path, sizeof(path), "%s/bin:%s", w->f->top, w->path);
	setenv("PATH", path, 1);
	make_smartctl(w);
	make_sysfs(w);
	say(w, "0");
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	setenv("PATH", w->path, 1);
	fixture_free(w->f);
	free(w);
	return 0;
}

static void test_devices(void **state)
{
	struct world *w = *state;
	struct smart_device d[SMART_DEVICES];
	const char *s = w->sysfs;

	/* a volume on two disks, one of them a partition, and a loop device */
	fixture_shell("mkdir -p %s/devices/dm-0/slaves %s/devices/c!d0/device %s/devices/loop0", s,
		      s, s);
	fixture_shell("ln -s ../../sdx/sdx1 '%s/devices/dm-0/slaves/sdx1'; "
		      "ln -s '../../c!d0' '%s/devices/dm-0/slaves/c!d0'; "
		      "ln -s ../../devices/dm-0 %s/dev/block/253:0; "
		      "ln -s ../../devices/loop0 %s/dev/block/7:0",
		      s, s, s, s);
	assert_int_equal(smart_devices(s, makedev(253, 0), d, SMART_DEVICES), 2);
	for (unsigned i = 0; i < 2; i++)
		assert_true(!strcmp(d[i].node, "/dev/sdx") || !strcmp(d[i].node, "/dev/c/d0"));
	assert_int_equal(smart_devices(s, makedev(253, 0), d, 1), 1);
	assert_int_equal(smart_devices(s, makedev(7, 0), d, SMART_DEVICES), 0);
	assert_int_equal(smart_devices(s, makedev(0, 77), d, SMART_DEVICES), 0);
	assert_int_equal(smart_devices("/nowhere", makedev(253, 0), d, SMART_DEVICES), 0);
}

static void test_verdicts(void **state)
{
	static const struct {
		const char *exit;
		enum smart_verdict v;
	} all[] = {{"0", SMART_PASSED},	  {"64", SMART_PASSED}, {"8", SMART_FAILING},
		   {"12", SMART_FAILING}, {"2", SMART_UNKNOWN}, {"4", SMART_UNKNOWN}};
	struct world *w = *state;
	int left = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		say(w, all[i].exit);
		assert_int_equal(smart_ask("/dev/sdx", 10000, NULL, &left), all[i].v);
	}
	setenv("PATH", "/nowhere", 1);
	if (access("/usr/sbin/smartctl", X_OK))
		assert_int_equal(smart_ask("/dev/sdx", 10000, NULL, &left), SMART_UNKNOWN);
	assert_int_equal(left, 0);
}

static void test_one_that_hangs(void **state)
{
	struct world *w = *state;
	atomic_bool stop = false;
	uint64_t begin = env_now_ns();
	int left = 0;

	say(w, "hang");
	assert_int_equal(smart_ask("/dev/sdx", 100, &stop, &left), SMART_UNKNOWN);
	atomic_store(&stop, true);
	assert_int_equal(smart_ask("/dev/sdx", 1000000, &stop, &left), SMART_UNKNOWN);
	assert_true(env_now_ns() - begin < PATIENCE_MS * 1000000ull);
	assert_int_equal(left, 0);
}

static struct disk_health health_of(struct world *w)
{
	return disk_health(disk_at(pool_disks(w->f->p), 0));
}

static void wait_for(struct world *w, enum disk_state state)
{
	for (unsigned ms = 0; ms < PATIENCE_MS && health_of(w).state != state; ms += 10)
		env_sleep_ms(10);
	assert_int_equal(health_of(w).state, state);
}

static unsigned calls(struct world *w)
{
	char path[160], line[256];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/calls", w->f->top);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		assert_non_null(strstr(line, "-n standby -H /dev/sdx"));
		n++;
	}
	if (f)
		fclose(f);
	return n;
}

static void reopen(struct world *w, uint64_t interval_ms)
{
	struct pool_open_options opt = {.smart_interval_ms = interval_ms, .sysfs = w->sysfs};
	struct pool_message msg;

	assert_int_equal(pool_close(w->f->p), 0);
	assert_int_equal(pool_open(w->f->pool, &opt, NULL, &w->f->p, &msg), 0);
}

/* Degraded, remembered, and back; an answer that is none changes nothing. */
static void test_a_disk_that_fails(void **state)
{
	struct world *w = *state;
	unsigned before;

	reopen(w, 0);
	env_sleep_ms(600);
	assert_int_equal(calls(w), 0); /* nobody asks */
	say(w, "8");
	reopen(w, 1);
	wait_for(w, DISK_DEGRADED);
	assert_int_equal(health_of(w).event, DISK_SELF_TEST);
	assert_string_equal(smart_word(w->f->p, (disk_id){1}), "failing");
	say(w, "2");
	reopen(w, 1);
	before = calls(w);
	while (calls(w) < before + 8)
		env_sleep_ms(10);
	assert_int_equal(health_of(w).state, DISK_DEGRADED);
	assert_string_equal(smart_word(w->f->p, (disk_id){1}), "unknown");
	say(w, "0");
	wait_for(w, DISK_HEALTHY);
}

/* Once is not enough, in whatever is asked between; and closing waits for none that hangs. */
static void test_once_is_not_enough(void **state)
{
	struct world *w = *state;
	uint64_t begin;
	unsigned n;

	say(w, "8");
	reopen(w, 3600000); /* asks again in a minute */
	for (unsigned ms = 0; ms < PATIENCE_MS && calls(w) < 2; ms += 10)
		env_sleep_ms(10);
	env_sleep_ms(500);
	n = calls(w);
	assert_int_equal(n, 2); /* each disk once */
	assert_int_equal(health_of(w).state, DISK_HEALTHY);
	say(w, "hang");
	reopen(w, 1);
	while (calls(w) == n)
		env_sleep_ms(10);
	begin = env_now_ns();
	reopen(w, 0);
	assert_true(env_now_ns() - begin < 8000000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verdicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_that_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_disk_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_once_is_not_enough, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
