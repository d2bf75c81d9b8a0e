/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests of dev/: the calls, the directory device on real directories, the fault device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "dev/dev.h"
#include "dev/fault.h"

struct fixture {
	char *top;  /* a temporary directory, removed at the end */
	char *disk; /* top/disk */
	bool mounted;
	struct dev *dev;
};

static void shell(const char *fmt, const char *arg)
{
	FREE char *cmd = xasprintf(fmt, arg, arg);

	assert_int_equal(system(cmd), 0);
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const char *tmp = getenv("TMPDIR");

	f->top = xasprintf("%s/dfs-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->top));
	f->disk = xasprintf("%s/disk", f->top);
	assert_int_equal(mkdir(f->disk, 0700), 0);
	assert_int_equal(dev_dir_open(f->disk, "dynamicfs", true, &f->dev), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	dev_free(f->dev);
	if (f->mounted)
		(void)umount2(f->disk, MNT_DETACH);
	shell("rm -rf '%s'", f->top);
	free(f->top);
	free(f->disk);
	free(f);
	return 0;
}

/* The same fixture on a filesystem of the given size; false when we may not mount. */
static bool use_tmpfs(struct fixture *f, const char *options)
{
	if (mount("tmpfs", f->disk, "tmpfs", 0, options)) {
		print_message("skipped: mounting a small tmpfs needs root\n");
		return false;
	}
	f->mounted = true;
	dev_free(f->dev);
	f->dev = NULL;
	assert_int_equal(dev_dir_open(f->disk, "dynamicfs", true, &f->dev), 0);
	return true;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed) >> 7);
}

static struct dev_file *file_with(struct dev *d, const char *name, const void *data, size_t len)
{
	struct dev_file *file;

	assert_int_equal(dev_open(d, name, DEV_CREATE, &file), 0);
	assert_int_equal(dev_write(file, data, len, 0), 0);
	return file;
}

/* ---- names ---- */

static void bad_names_are_refused(void **state)
{
	static const char *const bad[] = {"",	  "/",	      "/a",   "a/",   "a/b/c/d", "..",
					  "../x", "a/..",     ".",    "a/.",  "a//b",	 "a b",
					  "a\n",  "\xc3\xa4", "a\\b", "seg*", "a:b",	 "./a"};
	struct fixture *f = *state;
	struct dev_file *file;
	char longest[300];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(dev_open(f->dev, bad[i], DEV_CREATE, &file), DFS_EINVAL);
		assert_int_equal(dev_mkdir(f->dev, bad[i]), DFS_EINVAL);
		assert_int_equal(dev_remove(f->dev, bad[i]), DFS_EINVAL);
		assert_int_equal(dev_replace(f->dev, bad[i], "x", 1), DFS_EINVAL);
		assert_int_equal(dev_rename(f->dev, "ok", bad[i]), DFS_EINVAL);
		assert_int_equal(dev_rename(f->dev, bad[i], "ok"), DFS_EINVAL);
	}
	memset(longest, 'a', sizeof(longest));
	longest[299] = '\0';
	assert_int_equal(dev_open(f->dev, longest, DEV_CREATE, &file), DFS_EINVAL);
	assert_int_equal(dev_open(f->dev, "x", DEV_CREATE | DEV_RDONLY, &file), DFS_EINVAL);
}

/* ---- files ---- */

static void what_is_written_is_read(void **state)
{
	struct fixture *f = *state;
	uint8_t data[10000], back[12000];
	struct dev_file *file;
	uint64_t size;
	size_t got = 77;

	fill(data, sizeof(data), 1);
	assert_int_equal(dev_open(f->dev, "a", 0, &file), DFS_ENOENT);
	assert_int_equal(dev_open(f->dev, "a", DEV_CREATE | DEV_EXCL, &file), 0);
	assert_int_equal(dev_write(file, data, sizeof(data), 100), 0);
	assert_int_equal(dev_size(file, &size), 0);
	assert_int_equal(size, 10100);
	assert_int_equal(dev_read(file, back, 500, 100, 0, &got), 0);
	assert_int_equal(got, 500);
	assert_memory_equal(back, data, 500);
	/* short only at the end of the file; nothing past it */
	assert_int_equal(dev_read(file, back, sizeof(back), 0, 0, &got), 0);
	assert_int_equal(got, 10100);
	assert_memory_equal(back + 100, data, sizeof(data));
	assert_int_equal(dev_read(file, back, 10, 20000, 0, &got), 0);
	assert_int_equal(got, 0);
	assert_int_equal(dev_sync(file), 0);
	assert_int_equal(dev_truncate(file, 300), 0);
	assert_int_equal(dev_size(file, &size), 0);
	assert_int_equal(size, 300);
	dev_close(file);
	assert_int_equal(dev_open(f->dev, "a", DEV_CREATE | DEV_EXCL, &file), DFS_EEXIST);
}

static void offsets_out_of_range_are_refused(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file = file_with(f->dev, "a", "x", 1);
	uint8_t b[2];
	size_t got;

	assert_int_equal(dev_read(file, b, 2, UINT64_MAX, 0, &got), DFS_EINVAL);
	assert_int_equal(dev_read(file, b, 2, INT64_MAX - 1, 0, &got), DFS_EINVAL);
	assert_int_equal(dev_write(file, b, 2, UINT64_MAX), DFS_EINVAL);
	assert_int_equal(dev_write(file, b, 2, INT64_MAX - 1), DFS_EFBIG);
	assert_int_equal(dev_truncate(file, UINT64_MAX), DFS_EFBIG);
	assert_int_equal(dev_punch(file, UINT64_MAX, 1), DFS_EINVAL);
	dev_close(file);
}

static void many_vectors_are_one_write(void **state)
{
	enum {
		N = 3000
	};
	struct fixture *f = *state;
	static uint8_t data[N * 7], back[N * 7];
	static struct iovec iov[N + 2];
	struct dev_file *file;
	size_t got;

	fill(data, sizeof(data), 2);
	iov[0] = (struct iovec){data, 0};
	for (size_t i = 0; i < N; i++)
		iov[i + 1] = (struct iovec){data + i * 7, 7};
	iov[N + 1] = (struct iovec){data, 0};
	assert_int_equal(dev_open(f->dev, "a", DEV_CREATE, &file), 0);
	assert_int_equal(dev_writev(file, iov, N + 2, 5), 0);
	assert_int_equal(dev_writev(file, iov, 0, 5), 0);
	assert_int_equal(dev_read(file, back, sizeof(back), 5, 0, &got), 0);
	assert_int_equal(got, sizeof(back));
	assert_memory_equal(back, data, sizeof(data));
	dev_close(file);
}

static void check_media_reads(struct dev *d)
{
	enum {
		LEN = 2500001
	};
	static const struct {
		uint64_t off;
		size_t len;
	} cuts[] = {{0, 1},    {0, 4096},	 {4095, 2},	    {4096, 4096}, {1, LEN - 1},
		    {0, LEN},  {512, 1048576},	 {700001, 1800000}, {LEN - 1, 1}, {LEN - 1, 9},
		    {LEN, 10}, {LEN + 5000, 10}, {1048575, 4098},   {3, 0}};
	FREE uint8_t *data = xmalloc(LEN);
	FREE uint8_t *back = xmalloc(LEN + 16);
	struct dev_file *file;

	fill(data, LEN, 3);
	file = file_with(d, "media", data, LEN);
	assert_int_equal(dev_sync(file), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		uint64_t off = cuts[i].off;
		size_t want = off >= LEN ? 0 : (size_t)MIN(cuts[i].len, LEN - off), got;

		memset(back, 0xee, LEN + 16);
		assert_int_equal(dev_read(file, back, cuts[i].len, off, DEV_READ_MEDIA, &got), 0);
		assert_int_equal(got, want);
		if (want)
			assert_memory_equal(back, data + off, want);
		assert_int_equal(back[want], 0xee);
	}
	dev_close(file);
}

static void media_reads_give_the_same_bytes(void **state)
{
	struct fixture *f = *state;

	check_media_reads(f->dev);
	if (use_tmpfs(f, "size=16m"))
		check_media_reads(f->dev); /* refuses O_DIRECT in some kernels */
}

/* The size stays, and a truncation to it gives back what was allocated beyond. */
static void allocated_space_is_taken_and_given_back(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file = NULL;
	struct stat st;
	uint64_t size = 0;
	char path[4200];
	int rc;

	snprintf(path, sizeof(path), "%s/a", f->dev->name);
	assert_int_equal(dev_open(f->dev, "a", DEV_CREATE, &file), 0);
	assert_int_equal(dev_write(file, "x", 1, 0), 0);
	assert_int_equal(dev_allocate(file, UINT64_MAX, 1), DFS_EINVAL);
	assert_int_equal(dev_allocate(file, 0, 0), 0);
	rc = dev_allocate(file, 0, MIB(1));
	if (rc == DFS_ENOTSUP) {
		print_message("this filesystem can't allocate ahead, or need not\n");
		dev_close(file);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(dev_size(file, &size), 0);
	assert_int_equal(size, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= (off_t)MIB(1));
	assert_int_equal(dev_truncate(file, 1), 0);
	assert_int_equal(dev_sync(file), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 < (off_t)KIB(64));
	dev_close(file);
}

static void punched_ranges_read_as_zeros(void **state)
{
	struct fixture *f = *state;
	FREE uint8_t *data = xmalloc(MIB(1));
	FREE uint8_t *back = xmalloc(MIB(1));
	FREE char *path = xasprintf("%s/dynamicfs/a", f->disk);
	struct dev_file *file;
	struct stat before, after;
	size_t got;
	int rc;

	fill(data, MIB(1), 4);
	file = file_with(f->dev, "a", data, MIB(1));
	assert_int_equal(dev_sync(file), 0);
	assert_int_equal(stat(path, &before), 0);
	rc = dev_punch(file, 4096, KIB(512));
	if (rc == DFS_ENOTSUP) {
		print_message("skipped: this filesystem can't punch holes\n");
		dev_close(file);
		return;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(dev_punch(file, 0, 0), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(dev_read(file, back, MIB(1), 0, 0, &got), 0);
	memset(data + 4096, 0, KIB(512));
	assert_memory_equal(back, data, MIB(1));
	dev_close(file);
}

static void a_read_only_file_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file;

	dev_close(file_with(f->dev, "a", "hello", 5));
	assert_int_equal(dev_open(f->dev, "a", DEV_RDONLY, &file), 0);
	assert_int_equal(dev_write(file, "x", 1, 0), DFS_EROFS);
	assert_int_equal(dev_truncate(file, 0), DFS_EROFS);
	assert_int_equal(dev_punch(file, 0, 1), DFS_EROFS);
	dev_close(file);
}

/* ---- names in directories ---- */

struct listing {
	unsigned count;
	uint64_t bytes;
	char names[512];
	int stop_with;
};

static int note_name(void *ctx, const char *name, uint64_t size_bytes)
{
	struct listing *l = ctx;

	l->count++;
	l->bytes += size_bytes;
	strcat(l->names, name);
	strcat(l->names, " ");
	return l->stop_with;
}

static void directories_and_names(void **state)
{
	struct fixture *f = *state;
	struct listing l = {0};

	assert_int_equal(dev_mkdir(f->dev, "segments"), 0);
	assert_int_equal(dev_mkdir(f->dev, "segments"), 0);
	assert_int_equal(dev_list(f->dev, "segments", note_name, &l), 0);
	assert_int_equal(l.count, 0);
	dev_close(file_with(f->dev, "segments/00000001", "abc", 3));
	dev_close(file_with(f->dev, "segments/00000002", "defg", 4));
	assert_int_equal(dev_sync_dir(f->dev, "segments"), 0);
	assert_int_equal(dev_sync_dir(f->dev, ""), 0);
	assert_int_equal(dev_list(f->dev, "segments", note_name, &l), 0);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.bytes, 7);
	assert_non_null(strstr(l.names, "00000001 "));
	l = (struct listing){.stop_with = 42};
	assert_int_equal(dev_list(f->dev, "segments", note_name, &l), 42);
	assert_int_equal(l.count, 1);
	assert_int_equal(dev_rename(f->dev, "segments/00000001", "moved"), 0);
	assert_int_equal(dev_remove(f->dev, "segments/00000001"), DFS_ENOENT);
	assert_int_equal(dev_remove(f->dev, "moved"), 0);
	assert_int_equal(dev_remove(f->dev, "segments"), DFS_EISDIR);
	assert_int_equal(dev_list(f->dev, "nothing", note_name, &l), DFS_ENOENT);
	assert_int_equal(dev_sync_dir(f->dev, "nothing"), DFS_ENOENT);
	dev_close(file_with(f->dev, "plain", "x", 1));
	assert_int_equal(dev_mkdir(f->dev, "plain"), DFS_ENOTDIR);
}

/* P10: a disk's directory is foreign ground */
static void strange_things_are_not_opened(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file;
	struct listing l = {0};

	assert_int_equal(dev_mkdir(f->dev, "real"), 0);
	shell("cd '%s/dynamicfs' && mkfifo fifo && ln -s /etc/passwd link && ln -s real linkdir && "
	      "touch 'a b' ok .tmp-3-x && mkdir dir",
	      f->disk);
	assert_int_equal(dev_open(f->dev, "fifo", 0, &file), DFS_ECORRUPT);
	assert_int_not_equal(dev_open(f->dev, "fifo", DEV_RDONLY, &file), 0); /* and doesn't hang */
	assert_int_equal(dev_open(f->dev, "link", DEV_RDONLY, &file), DFS_ECORRUPT);
	assert_int_not_equal(dev_open(f->dev, "linkdir/x", DEV_CREATE, &file), 0);
	assert_int_not_equal(dev_mkdir(f->dev, "linkdir"), 0);
	assert_int_not_equal(dev_open(f->dev, "dir", DEV_RDONLY, &file), 0);
	assert_int_not_equal(dev_open(f->dev, "dir", 0, &file), 0);
	assert_int_equal(dev_list(f->dev, "", note_name, &l), 0);
	assert_string_equal(l.names, "ok ");
}

static void replace_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct listing l = {0};
	uint8_t *data;
	size_t len;

	assert_int_equal(dev_mkdir(f->dev, "meta"), 0);
	assert_int_equal(dev_replace(f->dev, "meta/a", "first", 5), 0);
	assert_int_equal(dev_replace(f->dev, "meta/a", "second!", 7), 0);
	assert_int_equal(dev_read_all(f->dev, "meta/a", 100, &data, &len), 0);
	assert_int_equal(len, 7);
	assert_memory_equal(data, "second!", 7);
	free(data);
	assert_int_equal(dev_read_all(f->dev, "meta/a", 6, &data, &len), DFS_E2BIG);
	assert_int_equal(dev_read_all(f->dev, "meta/b", 6, &data, &len), DFS_ENOENT);
	assert_int_equal(dev_replace(f->dev, "nodir/a", "x", 1), DFS_ENOENT);
	/* can't take the place of a directory: fails, and leaves nothing behind */
	assert_int_equal(dev_mkdir(f->dev, "taken"), 0);
	assert_int_not_equal(dev_replace(f->dev, "taken", "x", 1), 0);
	shell("test \"$(ls -A '%s/dynamicfs')\" = \"$(printf 'meta\\ntaken')\"", f->disk);
	assert_int_equal(dev_replace(f->dev, "meta/empty", NULL, 0), 0);
	assert_int_equal(dev_list(f->dev, "meta", note_name, &l), 0);
	assert_int_equal(l.count, 2);
	assert_int_equal(l.bytes, 7);
}

/* ---- space ---- */

static void space_names_the_filesystem(void **state)
{
	struct fixture *f = *state;
	struct dev_space a, b;
	struct dev *other;

	assert_int_equal(dev_dir_open(f->top, "", false, &other), 0);
	assert_int_equal(dev_space(f->dev, &a), 0);
	assert_int_equal(dev_space(other, &b), 0);
	assert_int_equal(a.fs_id, b.fs_id);
	assert_true(a.free_bytes <= a.total_bytes);
	dev_free(other);
	if (!use_tmpfs(f, "size=4m"))
		return;
	assert_int_equal(dev_space(f->dev, &a), 0);
	assert_int_not_equal(a.fs_id, b.fs_id);
	assert_int_equal(a.total_bytes, MIB(4));
}

static void a_full_filesystem_says_so(void **state)
{
	struct fixture *f = *state;
	FREE uint8_t *data = xmalloc(MIB(1));
	struct dev_file *file;
	uint8_t back[5];
	int rc = 0;
	size_t got;

	if (!use_tmpfs(f, "size=4m"))
		return;
	memset(data, 1, MIB(1));
	assert_int_equal(dev_replace(f->dev, "small", "12345", 5), 0);
	assert_int_equal(dev_open(f->dev, "big", DEV_CREATE, &file), 0);
	for (unsigned i = 0; i < 5 && !rc; i++)
		rc = dev_write(file, data, MIB(1), MIB(i));
	assert_int_equal(rc, DFS_ENOSPC);
	/* a replacement finds no room: the old bytes stay, and nothing half made */
	assert_int_equal(dev_write(file, data, 4096, MIB(3)), 0);
	assert_int_equal(dev_replace(f->dev, "small", data, 70000), DFS_ENOSPC);
	shell("test \"$(ls -A '%s/dynamicfs')\" = \"$(printf 'big\\nsmall')\"", f->disk);
	dev_close(file);
	assert_int_equal(dev_open(f->dev, "small", DEV_RDONLY, &file), 0);
	assert_int_equal(dev_read(file, back, 5, 0, 0, &got), 0);
	assert_memory_equal(back, "12345", 5);
	dev_close(file);
	/* removing works on a full disk */
	assert_int_equal(dev_remove(f->dev, "big"), 0);
	assert_int_equal(dev_replace(f->dev, "small", data, 70000), 0);
}

static void a_read_only_filesystem_says_so(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file;

	if (!use_tmpfs(f, "size=4m"))
		return;
	dev_close(file_with(f->dev, "a", "hello", 5));
	assert_int_equal(dev_mkdir(f->dev, "segments"), 0);
	assert_int_equal(mount("tmpfs", f->disk, "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
	assert_int_equal(dev_open(f->dev, "b", DEV_CREATE, &file), DFS_EROFS);
	assert_int_equal(dev_open(f->dev, "a", 0, &file), DFS_EROFS);
	assert_int_equal(dev_open(f->dev, "a", DEV_RDONLY, &file), 0);
	dev_close(file);
	assert_int_equal(dev_mkdir(f->dev, "segments"), 0);
	assert_int_equal(dev_mkdir(f->dev, "other"), DFS_EROFS);
	assert_int_equal(dev_replace(f->dev, "a", "x", 1), DFS_EROFS);
	assert_int_equal(dev_remove(f->dev, "a"), DFS_EROFS);
}

/* ---- a disk that goes away under us ---- */

static void opening_needs_the_directory(void **state)
{
	struct fixture *f = *state;
	FREE char *none = xasprintf("%s/none", f->top);
	struct dev *d;

	assert_int_equal(dev_dir_open(none, "", false, &d), DFS_ENOENT);
	assert_int_equal(dev_dir_open(none, "dynamicfs", true, &d), DFS_ENOENT);
	assert_int_equal(dev_dir_open(f->disk, "absent", false, &d), DFS_ENOENT);
	assert_int_equal(dev_dir_open("/etc/passwd", "", false, &d), DFS_ENOTDIR);
	assert_int_equal(dev_probe(f->dev), 0);
}

/* Writes to an unlinked file are lost in silence, unless sync looks. */
static void an_unlinked_file_can_not_be_synced(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file = file_with(f->dev, "a", "hello", 5);

	assert_int_equal(dev_sync(file), 0);
	shell("rm '%s/dynamicfs/a'", f->disk);
	assert_int_equal(dev_write(file, "lost", 4, 0), 0);
	assert_int_equal(dev_sync(file), DFS_EGONE);
	dev_close(file);
}

static void a_removed_directory_is_gone(void **state)
{
	struct fixture *f = *state;
	struct dev_file *file = file_with(f->dev, "a", "hello", 5), *other;
	struct listing l = {0};

	assert_int_equal(dev_mkdir(f->dev, "segments"), 0);
	shell("rm -rf '%s/dynamicfs'", f->disk);
	assert_int_equal(dev_probe(f->dev), DFS_EGONE);
	assert_int_equal(dev_sync(file), DFS_EGONE);
	assert_int_equal(dev_open(f->dev, "a", 0, &other), DFS_EGONE);
	assert_int_equal(dev_open(f->dev, "b", DEV_CREATE, &other), DFS_EGONE);
	assert_int_equal(dev_open(f->dev, "segments/b", DEV_CREATE, &other), DFS_EGONE);
	assert_int_equal(dev_replace(f->dev, "a", "x", 1), DFS_EGONE);
	assert_int_equal(dev_list(f->dev, "segments", note_name, &l), DFS_EGONE);
	assert_int_equal(dev_sync_dir(f->dev, ""), DFS_EGONE);
	dev_close(file);
}

static void a_directory_moved_or_exchanged_is_gone(void **state)
{
	struct fixture *f = *state;

	shell("mv '%s' '%s.away'", f->disk);
	assert_int_equal(dev_probe(f->dev), DFS_EGONE);
	shell("mkdir -p '%s/dynamicfs'", f->disk);
	assert_int_equal(dev_probe(f->dev), DFS_EGONE); /* another directory of the same name */
}

static void an_unmounted_filesystem_is_gone(void **state)
{
	struct fixture *f = *state;

	if (!use_tmpfs(f, "size=4m"))
		return;
	assert_int_equal(dev_probe(f->dev), 0);
	assert_int_equal(umount2(f->disk, MNT_DETACH), 0);
	f->mounted = false;
	assert_int_equal(dev_probe(f->dev), DFS_EGONE);
}

/* ---- many at once ---- */

struct replacer {
	struct dev *dev;
	char byte;
};

static void replace_often(void *arg)
{
	struct replacer *r = arg;
	char data[3000];

	memset(data, r->byte, sizeof(data));
	for (unsigned i = 0; i < 50; i++)
		if (dev_replace(r->dev, "shared", data, 1000 + i * 30))
			abort();
}

static void concurrent_replacements_never_mix(void **state)
{
	struct fixture *f = *state;
	struct replacer r[4];
	struct env_thread *threads[4];

	replace_often(&(struct replacer){f->dev, 'x'});
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct replacer){f->dev, (char)('a' + i)};
		threads[i] = env_thread_start("replacer", replace_often, &r[i]);
	}
	for (unsigned n = 0; n < 200; n++) {
		uint8_t *data;
		size_t len;

		assert_int_equal(dev_read_all(f->dev, "shared", 4000, &data, &len), 0);
		assert_true(len >= 1000);
		for (size_t i = 1; i < len; i++)
			assert_int_equal(data[i], data[0]);
		free(data);
	}
	for (unsigned i = 0; i < 4; i++)
		env_thread_join(threads[i]);
}

/* ---- the fault device ---- */

static struct dev *faulty(struct fixture *f, struct fault_plan plan)
{
	f->dev = dev_fault_new(f->dev, &plan);
	return f->dev;
}

static void a_fault_device_without_faults_is_transparent(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(faulty(f, (struct fault_plan){0})->name + strlen(f->disk),
			    "/dynamicfs");
	assert_int_equal(dev_probe(f->dev), 0);
	replace_is_all_or_nothing(state); /* wants an empty disk */
	what_is_written_is_read(state);
	directories_and_names(state);
}

static void faults_happen_as_planned(void **state)
{
	struct fixture *f = *state;
	struct dev *d = faulty(f, (struct fault_plan){0});
	struct dev_file *file = file_with(d, "a", "hello", 5);
	struct dev_space space;
	uint8_t back[5];
	size_t got;

	dev_fault_set(d, &(struct fault_plan){.read_error = 1});
	assert_int_equal(dev_read(file, back, 5, 0, 0, &got), DFS_EIO);
	assert_int_equal(dev_write(file, "HELLO", 5, 0), 0);
	dev_fault_set(d, &(struct fault_plan){.write_error = 1});
	assert_int_equal(dev_write(file, "lost!", 5, 0), DFS_EIO);
	assert_int_equal(dev_replace(d, "b", "x", 1), DFS_EIO);
	assert_int_equal(dev_read(file, back, 5, 0, 0, &got), 0);
	assert_memory_equal(back, "HELLO", 5);
	dev_fault_set(d, &(struct fault_plan){.sync_error = 1});
	assert_int_equal(dev_sync(file), DFS_EIO);
	assert_int_equal(dev_sync_dir(d, ""), DFS_EIO);
	dev_fault_set(d, &(struct fault_plan){.no_space = true});
	assert_int_equal(dev_write(file, "HELLO", 5, 0), 0);
	assert_int_equal(dev_write(file, "HELLO", 5, 1), DFS_ENOSPC);
	assert_int_equal(dev_space(d, &space), 0);
	assert_int_equal(space.free_bytes, 0);
	dev_fault_set(d, &(struct fault_plan){.gone = true});
	assert_int_equal(dev_read(file, back, 5, 0, 0, &got), DFS_EGONE);
	assert_int_equal(dev_sync(file), DFS_EGONE);
	assert_int_equal(dev_probe(d), DFS_EGONE);
	dev_fault_set(d, &(struct fault_plan){.delay_ms = 30});
	uint64_t start = env_now_ns();
	assert_int_equal(dev_read(file, back, 5, 0, 0, &got), 0);
	assert_true(env_now_ns() - start >= 29000000);
	dev_close(file);
}

static unsigned bits_differing(const uint8_t *a, const uint8_t *b, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += (unsigned)__builtin_popcount(a[i] ^ b[i]);
	return n;
}

static void one_bit_flips_in_what_is_read(void **state)
{
	struct fixture *f = *state;
	struct dev *d = faulty(f, (struct fault_plan){.read_flip = 1});
	uint8_t data[100], back[100];
	struct dev_file *file;
	unsigned flipped = 0;
	size_t got;

	fill(data, sizeof(data), 9);
	file = file_with(d, "a", data, sizeof(data));
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(dev_read(file, back, sizeof(back), 0, 0, &got), 0);
		assert_int_equal(bits_differing(data, back, sizeof(data)), 1);
	}
	dev_fault_set(d, &(struct fault_plan){.read_flip = 0.5});
	for (unsigned i = 0; i < 400; i++) {
		assert_int_equal(dev_read(file, back, sizeof(back), 0, 0, &got), 0);
		flipped += bits_differing(data, back, sizeof(data));
	}
	assert_in_range(flipped, 100, 300); /* ten standard deviations */
	dev_close(file);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(bad_names_are_refused),
		T(what_is_written_is_read),
		T(offsets_out_of_range_are_refused),
		T(many_vectors_are_one_write),
		T(media_reads_give_the_same_bytes),
		T(allocated_space_is_taken_and_given_back),
		T(punched_ranges_read_as_zeros),
		T(a_read_only_file_is_not_written),
		T(directories_and_names),
		T(strange_things_are_not_opened),
		T(replace_is_all_or_nothing),
		T(space_names_the_filesystem),
		T(a_full_filesystem_says_so),
		T(a_read_only_filesystem_says_so),
		T(opening_needs_the_directory),
		T(an_unlinked_file_can_not_be_synced),
		T(a_removed_directory_is_gone),
		T(a_directory_moved_or_exchanged_is_gone),
		T(an_unmounted_filesystem_is_gone),
		T(concurrent_replacements_never_mix),
		T(a_fault_device_without_faults_is_transparent),
		T(faults_happen_as_planned),
		T(one_bit_flips_in_what_is_read),
	};

	return cmocka_run_group_tests_name("dev", tests, NULL, NULL);
}
