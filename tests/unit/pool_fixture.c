/* SPDX-License-Identifier: Apache-2.0 */
/* See pool_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "unit/pool_fixture.h"

static void quiet(void *ctx, enum log_level level, const char *line)
{
	(void)ctx, (void)level;
	if (getenv("VERBOSE"))
		fprintf(stderr, "%s\n", line);
}

static int open_dev(void *ctx, const char *path, const char *subdir, bool create,
		    struct dev **ret_dev)
{
	const struct fault_plan none = {0};
	struct fixture *f = ctx;
	struct dev *below;
	int err = dev_dir_open(path, subdir, create, &below);

	if (err)
		return err;
	if (f->opened)
		f->opened(below);
	*ret_dev = dev_fault_new(below, &none);
	if (!strcmp(path, f->pool))
		f->dir_fault = *ret_dev;
	for (unsigned i = 0; i < f->disk_count; i++)
		if (!strcmp(path, f->disk[i])) {
			f->faults[i] = *ret_dev;
			dev_fault_set(*ret_dev, &f->plans[i]);
		}
	return 0;
}

void fixture_reopen(struct fixture *f)
{
	/* small journals: these pools are many */
	struct pool_env env = {.open_dev = open_dev, .ctx = f, .checkpoint_bytes = MIB(1)};
	struct pool_open_options opt = {.io_timeout_ms = f->io_timeout_ms};
	struct pool_message msg = {""};

	assert_int_equal(pool_open(f->pool, &opt, &env, &f->p, &msg), 0);
}

void fixture_open_at(struct fixture *f, const char *pool)
{
	snprintf(f->pool, sizeof(f->pool), "%s", pool);
	fixture_reopen(f);
}

struct fixture *fixture_new(unsigned disk_count, unsigned copies, void (*opened)(struct dev *below))
{
	return fixture_new_of(disk_count, copies, opened, NULL, NULL);
}

struct fixture *fixture_new_of(unsigned disk_count, unsigned copies,
			       void (*opened)(struct dev *below), const uint64_t *capacities,
			       const char *const *domains)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");
	struct pool_message msg;
	struct policy s;
	struct disk_info info;
	bool same;

	log_set_sink(quiet, NULL);
	assert_true(disk_count <= FIXTURE_MAX_DISKS);
	f->disk_count = disk_count;
	f->opened = opened;
	if (!tmp) /* files there are as real, and a sync takes no time */
		tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(f->top, sizeof(f->top), "%.30s/dfs-test-pool-XXXXXX", tmp);
	assert_non_null(mkdtemp(f->top));
	snprintf(f->pool, sizeof(f->pool), "%s/pool", f->top);
	pool_settings_default(&s);
	if (copies)
		s.metadata_copies = (uint8_t)copies;
	assert_int_equal(pool_init(f->pool, &s, NULL, &msg), 0);
	fixture_reopen(f);
	for (unsigned i = 0; i < disk_count; i++) {
		struct pool_disk_spec spec = {.path = f->disk[i],
					      .capacity_bytes = capacities ? capacities[i] : 0,
					      .domain = domains ? domains[i] : NULL};

		snprintf(f->disk[i], sizeof(f->disk[i]), "%s/disk%u", f->top, i);
		assert_int_equal(mkdir(f->disk[i], 0755), 0);
		assert_int_equal(pool_add_disk(f->p, &spec, &info, &same, &msg), 0);
	}
	return f;
}

void fixture_free(struct fixture *f)
{
	if (f->p)
		pool_abandon(f->p);
	fixture_shell("rm -rf %s", f->top);
	free(f);
}

const uint8_t *fixture_content(unsigned i, uint32_t len)
{
	static uint8_t data[EXTENT_MAX_BYTES];

	assert_true(len <= sizeof(data));
	for (unsigned at = 0; at < len; at++)
		data[at] = (uint8_t)(at * 3 + i * 7 + at / 251);
	return data;
}

struct rec_extent fixture_put(struct fixture *f, unsigned i, struct geometry g, uint32_t len)
{
	struct record_piece piece = {.file_offset = i * MIB(1), .len = len};
	struct rec_map map = {.file_offset = piece.file_offset, .len = len};
	struct extent_new e = {.ino = {7},
			       .data = fixture_content(i, len),
			       .len = len,
			       .pieces = &piece,
			       .piece_count = 1,
			       .wanted = g};
	struct meta *m = pool_meta(f->p);
	struct meta_txn *t;
	uint64_t seq;

	assert_int_equal(extent_write(pool_extents(f->p), &e, 1), 0);
	t = meta_begin(m);
	extent_publish(t, &e);
	map.extent = e.rec.id;
	put_map(t, (ino_id){7}, &map);
	assert_int_equal(meta_commit(t, &seq), 0);
	extent_settle(pool_extents(f->p), &e, 1, true);
	return e.rec;
}

void fixture_sync(struct fixture *f)
{
	assert_int_equal(meta_sync(pool_meta(f->p), meta_last_seq(pool_meta(f->p))), 0);
}

void fixture_set_rebuild(struct fixture *f, uint64_t after_s, uint64_t bytes_per_s)
{
	const struct pool_rebuild r = {after_s, bytes_per_s};
	struct pool_message msg;

	assert_int_equal(pool_set_rebuild(f->p, &r, &msg), 0);
}

unsigned fixture_good(struct fixture *f, extent_id id)
{
	struct extent_check c;
	struct rec_extent rec;

	assert_int_equal(get_extent(pool_meta(f->p), id, &rec), 0);
	assert_int_equal(extent_verify(pool_extents(f->p), &rec, true, &c), 0);
	return c.good;
}

void fixture_end_segments(struct fixture *f)
{
	for (unsigned i = 0; i < f->disk_count; i++)
		segment_close_open(disk_at(pool_disks(f->p), i));
}

static int run(const char *fmt, va_list args)
{
	char cmd[512];

	assert_true(vsnprintf(cmd, sizeof(cmd), fmt, args) < (int)sizeof(cmd));
	return system(cmd);
}

void fixture_shell(const char *fmt, ...)
{
	va_list args;
	int code;

	va_start(args, fmt);
	code = run(fmt, args);
	va_end(args);
	assert_int_equal(code, 0);
}

/* Files come and go there (a new disk.json, a spare journal): the copy is complete when none went meanwhile. */
void fixture_copy_disk(struct fixture *f, unsigned i, const char *name)
{
	fixture_shell(
		"for try in $(seq 50); do rm -rf %s/%s; cp -a %s/dynamicfs %s/%s 2>/dev/null && exit 0; "
		"sleep 0.05; done; exit 1",
		f->top, name, f->disk[i], f->top, name);
}
