/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, attributes, links, renames, deleted files, attributes by name, listings: what POSIX says, and
 * that it is still so after a reopen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/env.h"
#include "file/internal.h"
#include "unit/file_rig.h"

static const struct fs_cred root_cred = {0};

static int setup(void **state)
{
	*state = file_rig_new(NULL, 0);
	return 0;
}

static int teardown(void **state)
{
	file_rig_free(*state);
	return 0;
}

static void put(struct file_rig *r, struct inode *in) { fs_forget(r->fs, in, 1); }

static void expect_path(struct file_rig *r, const char *path, const char *text)
{
	struct inode *in;

	assert_int_equal(fs_resolve(r->fs, path, &in), 0);
	rig_expect(r, in, text, strlen(text));
	put(r, in);
}

static struct inode *create_with(struct file_rig *r, struct inode *dir, const char *name,
				 const char *text)
{
	struct inode *in = rig_create(r, dir, name);

	rig_write(r, in, 0, text, strlen(text));
	return in;
}

static int64_t logical_bytes(struct file_rig *r)
{
	return meta_counter(pool_meta(r->pool), META_COUNT_LOGICAL_BYTES);
}

static int64_t inode_count(struct file_rig *r)
{
	return meta_counter(pool_meta(r->pool), META_COUNT_INODES);
}

static bool newer(struct dfs_time a, struct dfs_time b)
{
	return a.sec > b.sec || (a.sec == b.sec && a.nsec > b.nsec);
}

static void test_create(void **state)
{
	struct file_rig *r = *state;
	struct fs_attr attr, before = rig_attr(r, r->root);
	struct inode *in, *dir;
	char name[300];

	in = rig_create(r, r->root, "f");
	attr = rig_attr(r, in);
	assert_int_equal(attr.mode, S_IFREG | 0644);
	assert_int_equal(attr.nlink, 1);
	assert_true(newer(rig_attr(r, r->root).mtime, before.mtime));
	assert_int_equal(rig_attr(r, r->root).size, before.size + 1);
	put(r, in);
	assert_int_equal(fs_mknod(r->fs, r->root, "f", S_IFREG, 0, root_cred, &in, &attr),
			 DFS_EEXIST);
	assert_int_equal(fs_mknod(r->fs, r->root, "", S_IFREG, 0, root_cred, &in, &attr),
			 DFS_EINVAL);
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	assert_int_equal(fs_mknod(r->fs, r->root, name, S_IFREG, 0, root_cred, &in, &attr),
			 DFS_ENAMETOOLONG);
	name[255] = 0;
	put(r, rig_create(r, r->root, name));
	assert_int_equal(rig_exists(r, r->root, name), 0);
	assert_int_equal(rig_exists(r, r->root, "g"), DFS_ENOENT);
	dir = rig_mkdir(r, r->root, "d");
	assert_int_equal(rig_attr(r, dir).nlink, 2);
	assert_int_equal(rig_attr(r, r->root).nlink, before.nlink + 1);
	assert_int_equal(fs_mknod(r->fs, dir, "dev", S_IFCHR | 0600, 0x103, root_cred, &in, &attr),
			 0);
	assert_int_equal(attr.rdev, 0x103);
	put(r, in);
	put(r, dir);
	file_rig_reopen(r);
	assert_int_equal(fs_resolve(r->fs, "/d/dev", &in), 0);
	assert_int_equal(rig_attr(r, in).rdev, 0x103);
	assert_int_equal(rig_attr(r, in).mode, S_IFCHR | 0600);
	put(r, in);
}

static void test_setgid(void **state)
{
	struct file_rig *r = *state;
	struct inode *dir = rig_mkdir(r, r->root, "d"), *in;
	struct fs_attr attr = {.mode = 02775, .gid = 77};

	assert_int_equal(fs_setattr(r->fs, dir, &attr, FS_SET_MODE | FS_SET_GID, &attr), 0);
	assert_int_equal(attr.mode, S_IFDIR | 02775);
	assert_int_equal(fs_mkdir(r->fs, dir, "sub", 0755, root_cred, &in, &attr), 0);
	assert_int_equal(attr.gid, 77);
	assert_true(attr.mode & S_ISGID);
	put(r, in);
	assert_int_equal(fs_mknod(r->fs, dir, "f", S_IFREG | 0644, 0, root_cred, &in, &attr), 0);
	assert_int_equal(attr.gid, 77);
	assert_false(attr.mode & S_ISGID);
	put(r, in);
	put(r, dir);
}

static void test_setattr(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = create_with(r, r->root, "f", "hello");
	struct fs_attr attr = {
		.mode = 0600, .uid = 5, .gid = 6, .mtime = {100, 7}, .atime = {-3, 9}};
	struct fs_attr was = rig_attr(r, in);

	assert_int_equal(fs_setattr(r->fs, in, &attr,
				    FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_MTIME |
					    FS_SET_ATIME,
				    &attr),
			 0);
	assert_true(newer(attr.ctime, was.ctime));
	put(r, in);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	attr = rig_attr(r, in);
	assert_int_equal(attr.mode, S_IFREG | 0600);
	assert_true(attr.uid == 5 && attr.gid == 6);
	assert_true(attr.mtime.sec == 100 && attr.mtime.nsec == 7);
	assert_true(attr.atime.sec == -3 && attr.atime.nsec == 9);
	assert_int_equal(attr.generation, was.generation);
	/* A set mtime survives the later sealing of older writes; a new write changes it. */
	rig_expect(r, in, "hello", 5);
	rig_write(r, in, 0, "J", 1);
	assert_true(rig_attr(r, in).mtime.sec > 100);
	put(r, in);
	expect_path(r, "/f", "Jello");
}

static void test_links(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = create_with(r, r->root, "a", "text"), *dir = rig_mkdir(r, r->root, "d");
	struct fs_attr attr;
	BUF target = {0};

	assert_int_equal(fs_link(r->fs, in, dir, "b", &attr), 0);
	assert_int_equal(attr.nlink, 2);
	assert_int_equal(fs_link(r->fs, in, dir, "b", &attr), DFS_EEXIST);
	assert_int_equal(fs_link(r->fs, dir, dir, "c", &attr), DFS_EPERM);
	assert_int_equal(fs_unlink(r->fs, r->root, "a"), 0);
	assert_int_equal(rig_attr(r, in).nlink, 1);
	put(r, in);
	expect_path(r, "/d/b", "text");
	assert_int_equal(fs_symlink(r->fs, dir, "s", "../x y", root_cred, &in, &attr), 0);
	assert_int_equal(attr.size, 6);
	put(r, in);
	put(r, dir);
	file_rig_reopen(r);
	expect_path(r, "/d/b", "text");
	assert_int_equal(fs_resolve(r->fs, "/d/s", &in), 0);
	assert_int_equal(fs_readlink(r->fs, in, &target), 0);
	assert_int_equal(target.len, 6);
	assert_memory_equal(target.data, "../x y", 6);
	put(r, in);
}

static void test_remove(void **state)
{
	struct file_rig *r = *state;
	struct inode *d = rig_mkdir(r, r->root, "d"), *f = create_with(r, d, "f", "1");
	uint32_t links = rig_attr(r, r->root).nlink;

	assert_int_equal(fs_rmdir(r->fs, r->root, "d"), DFS_ENOTEMPTY);
	assert_int_equal(fs_unlink(r->fs, r->root, "d"), DFS_EISDIR);
	assert_int_equal(fs_rmdir(r->fs, d, "f"), DFS_ENOTDIR);
	assert_int_equal(fs_unlink(r->fs, d, "nothing"), DFS_ENOENT);
	assert_int_equal(fs_unlink(r->fs, d, "f"), 0);
	assert_int_equal(fs_rmdir(r->fs, r->root, "d"), 0);
	assert_int_equal(rig_attr(r, r->root).nlink, links - 1);
	/* Nothing can be made in a directory that is gone. */
	{
		struct fs_attr attr;
		struct inode *in;

		assert_int_equal(fs_mknod(r->fs, d, "x", S_IFREG, 0, root_cred, &in, &attr),
				 DFS_ENOENT);
	}
	put(r, f);
	put(r, d);
	assert_int_equal(inode_count(r), 1);
	assert_int_equal(logical_bytes(r), 0);
}

/* F7: open, unlinked: usable until closed; freed then, at a reopen, and after a crash. */
static void test_orphans(void **state)
{
	struct file_rig *r = *state;
	struct inode *in;

	in = create_with(r, r->root, "closed", "abc");
	fs_handle_get(in);
	assert_int_equal(fs_unlink(r->fs, r->root, "closed"), 0);
	assert_int_equal(rig_attr(r, in).nlink, 0);
	rig_expect(r, in, "abc", 3);
	rig_write(r, in, 3, "def", 3);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	rig_expect(r, in, "abcdef", 6);
	assert_int_equal(inode_count(r), 2);
	fs_handle_put(r->fs, in);
	put(r, in);
	for (unsigned i = 0; i < 200 && inode_count(r) > 1; i++)
		env_sleep_ms(10);
	assert_int_equal(inode_count(r), 1);

	in = create_with(r, r->root, "crash", "abc");
	fs_handle_get(in);
	assert_int_equal(fs_unlink(r->fs, r->root, "crash"), 0);
	assert_int_equal(fs_sync_all(r->fs), 0);
	file_rig_crash(r);
	for (unsigned i = 0; i < 200 && inode_count(r) > 1; i++)
		env_sleep_ms(10);
	assert_int_equal(inode_count(r), 1);
	assert_int_equal(logical_bytes(r), 0);
}

/* More map entries than one transaction frees: by truncation, by unlink, by unlink of an open one. */
static void test_big_free(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = rig_create(r, r->root, "f");
	int64_t before = logical_bytes(r);

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 700; i++)
			rig_write(r, in, i * MIB(1), "x", 1);
		assert_int_equal(fs_fsync(r->fs, in, false), 0);
		assert_int_equal(logical_bytes(r), before + 700);
		if (round == 0) {
			rig_truncate(r, in, 10);
			assert_int_equal(logical_bytes(r), before + 1);
			rig_truncate(r, in, 0);
			continue;
		}
		if (round == 2)
			fs_handle_get(in);
		assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
		if (round == 2)
			fs_handle_put(r->fs, in);
		put(r, in);
		for (unsigned i = 0; i < 500 && logical_bytes(r) > before; i++)
			env_sleep_ms(10);
		assert_int_equal(logical_bytes(r), before);
		in = rig_create(r, r->root, "f");
	}
	put(r, in);
}

static void test_rename(void **state)
{
	struct file_rig *r = *state;
	struct inode *a = rig_mkdir(r, r->root, "a"), *b = rig_mkdir(r, r->root, "b");
	struct inode *sub = rig_mkdir(r, a, "sub"), *f = create_with(r, a, "f", "one");
	struct inode *g = create_with(r, b, "g", "two");
	struct fs *fs = r->fs;
	uint64_t parent_links = rig_attr(r, a).nlink;

	assert_int_equal(fs_rename(fs, a, "none", b, "x", 0), DFS_ENOENT);
	assert_int_equal(fs_rename(fs, a, "f", b, "g", FS_RENAME_NOREPLACE), DFS_EEXIST);
	assert_int_equal(fs_rename(fs, a, "f", b, "h", FS_RENAME_EXCHANGE), DFS_ENOENT);
	assert_int_equal(fs_rename(fs, a, "f", r->root, "b", 0), DFS_EISDIR);
	assert_int_equal(fs_rename(fs, a, "sub", b, "g", 0), DFS_ENOTDIR);
	assert_int_equal(fs_rename(fs, r->root, "a", sub, "x", 0), DFS_EINVAL);
	assert_int_equal(fs_rename(fs, r->root, "a", a, "x", 0), DFS_EINVAL);
	assert_int_equal(fs_rename(fs, r->root, "b", r->root, "a", 0), DFS_ENOTEMPTY);
	assert_int_equal(fs_rename(fs, a, "f", a, "f", 0), 0);
	/* A directory moves: links of both parents, and "..". */
	assert_int_equal(fs_rename(fs, a, "sub", b, "sub2", 0), 0);
	assert_int_equal(rig_attr(r, a).nlink, parent_links - 1);
	assert_int_equal(rig_attr(r, b).nlink, 3);
	/* File over file. */
	assert_int_equal(fs_rename(fs, a, "f", b, "g", 0), 0);
	assert_int_equal(rig_attr(r, g).nlink, 0);
	expect_path(r, "/b/g", "one");
	assert_int_equal(rig_attr(r, a).size, 0);
	/* Empty directory over empty directory. */
	put(r, rig_mkdir(r, a, "e1"));
	put(r, rig_mkdir(r, a, "e2"));
	assert_int_equal(fs_rename(fs, a, "e1", a, "e2", 0), 0);
	assert_int_equal(rig_attr(r, a).nlink, 3);
	assert_int_equal(rig_attr(r, a).size, 1);
	/* Exchange a file with a directory of another directory. */
	assert_int_equal(fs_rename(fs, a, "e2", b, "g", FS_RENAME_EXCHANGE), 0);
	assert_int_equal(rig_attr(r, a).nlink, 2);
	assert_int_equal(rig_attr(r, b).nlink, 4);
	expect_path(r, "/a/e2", "one");
	assert_int_equal(rig_exists(r, b, "g"), 0);
	assert_int_equal(fs_rename(fs, r->root, "a", sub, "moved", 0), 0);
	expect_path(r, "/b/sub2/moved/e2", "one");
	assert_int_equal(fs_rename(fs, r->root, "b", sub, "y", 0), DFS_EINVAL);
	put(r, a);
	put(r, b);
	put(r, sub);
	put(r, f);
	put(r, g);
	file_rig_reopen(r);
	expect_path(r, "/b/sub2/moved/e2", "one");
}

/* The name moves and the whiteout comes in one step, which a crash does not divide. */
static void test_rename_whiteout(void **state)
{
	struct file_rig *r = *state;
	struct inode *a = rig_mkdir(r, r->root, "a"), *b = rig_mkdir(r, r->root, "b"), *left;
	struct fs_cred owner = {.uid = 7, .gid = 8};
	struct fs_attr attr;

	put(r, create_with(r, a, "f", "one"));
	put(r, create_with(r, b, "g", "two"));
	assert_int_equal(fs_rename_whiteout(r->fs, a, "f", b, "g", FS_RENAME_EXCHANGE, owner),
			 DFS_EINVAL);
	assert_int_equal(fs_rename_whiteout(r->fs, a, "f", b, "g", FS_RENAME_NOREPLACE, owner),
			 DFS_EEXIST);
	assert_int_equal(fs_rename_whiteout(r->fs, a, "f", b, "g", 0, owner), 0);
	assert_int_equal(fs_rename_whiteout(r->fs, b, "g", b, "h", 0, owner), 0);
	assert_int_equal(rig_attr(r, a).size, 1);
	assert_int_equal(rig_attr(r, b).size, 2);
	assert_int_equal(fs_fsync(r->fs, a, false), 0);
	put(r, a);
	put(r, b);
	file_rig_crash(r);
	expect_path(r, "/b/h", "one");
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fs_resolve(r->fs, i ? "/b/g" : "/a/f", &left), 0);
		assert_int_equal(fs_getattr(r->fs, left, &attr), 0);
		assert_int_equal(attr.mode & S_IFMT, S_IFCHR);
		assert_int_equal(attr.rdev, 0);
		assert_int_equal(attr.uid, 7);
		assert_int_equal(attr.nlink, 1);
		put(r, left);
	}
}

/* F6: after a crash the new name has the old content or the new one, never less. */
static void test_rename_crash(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = create_with(r, r->root, "config", "old content");
	static char big[100000];

	memset(big, 'n', sizeof(big));
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	put(r, in);
	in = rig_create(r, r->root, "config.new");
	rig_write(r, in, 0, big, sizeof(big));
	assert_int_equal(fs_rename(r->fs, r->root, "config.new", r->root, "config", 0), 0);
	put(r, in);
	in = rig_create(r, r->root, "other"); /* makes the rename durable, not the content */
	assert_int_equal(fs_fsync(r->fs, r->root, false), 0);
	put(r, in);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "config");
	rig_expect(r, in, big, sizeof(big));
	put(r, in);
	assert_int_equal(rig_exists(r, r->root, "config.new"), DFS_ENOENT);
}

struct listed {
	unsigned count, stop_after, dots;
	uint64_t next;
	uint8_t *seen;
	struct file_rig *r;
	bool want_attr;
};

static int take_entry(void *ctx, const struct fs_dirent *e)
{
	struct listed *l = ctx;
	unsigned n;

	if (l->stop_after == 0)
		return 1;
	l->stop_after--;
	l->next = e->next;
	if (e->name[0] == '.') {
		l->dots++;
		return 0;
	}
	n = (unsigned)strtoul(e->name + 1, NULL, 10);
	l->seen[n]++;
	l->count++;
	assert_int_equal(e->mode, S_IFREG);
	if (l->want_attr) {
		assert_non_null(e->attr);
		assert_int_equal(e->attr->ino.v, e->ino.v);
		assert_int_equal(fs_inode_ino(e->inode).v, e->ino.v);
	}
	return 0;
}

/* What stays is listed exactly once while others come and go. */
static void test_readdir(void **state)
{
	enum {
		FILES = 3000
	};
	struct file_rig *r = *state;
	struct inode *dir = rig_mkdir(r, r->root, "d");
	struct listed l = {.seen = calloc(2 * FILES, 1), .r = r};
	char name[16];
	unsigned last = 1;

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		put(r, rig_create(r, dir, name));
	}
	for (unsigned round = 0; last; round++) {
		unsigned before = l.count + l.dots;

		l.stop_after = 50;
		l.want_attr = round % 2;
		assert_int_equal(fs_readdir(r->fs, dir, l.next, l.want_attr, take_entry, &l), 0);
		last = l.count + l.dots - before;
		/* One goes that is beyond the half, one comes. */
		snprintf(name, sizeof(name), "f%u", FILES / 2 + round);
		assert_int_equal(fs_unlink(r->fs, dir, name), 0);
		snprintf(name, sizeof(name), "f%u", FILES + round);
		put(r, rig_create(r, dir, name));
	}
	assert_int_equal(l.dots, 2);
	for (unsigned i = 0; i < FILES / 2; i++)
		assert_int_equal(l.seen[i], 1);
	for (unsigned i = FILES / 2; i < 2 * FILES; i++)
		assert_true(l.seen[i] <= 1);
	free(l.seen);
	put(r, dir);
}

static void test_xattrs(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = create_with(r, r->root, "f", "x");
	char *big = calloc(1, DFS_XATTR_VALUE_MAX + 1);
	BUF out = {0};

	assert_int_equal(fs_getxattr(r->fs, in, "user.a", &out), DFS_ENODATA);
	assert_int_equal(fs_setxattr(r->fs, in, "user.a", "1", 1, FS_XATTR_REPLACE), DFS_ENODATA);
	assert_int_equal(fs_setxattr(r->fs, in, "user.a", "1", 1, FS_XATTR_CREATE), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.a", "2", 1, FS_XATTR_CREATE), DFS_EEXIST);
	assert_int_equal(fs_setxattr(r->fs, in, "user.a", "", 0, 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.b", big, DFS_XATTR_VALUE_MAX, 0), 0);
	assert_int_equal(fs_setxattr(r->fs, in, "user.c", big, DFS_XATTR_VALUE_MAX + 1, 0),
			 DFS_E2BIG);
	put(r, in);
	file_rig_reopen(r);
	in = rig_lookup(r, r->root, "f");
	assert_int_equal(fs_getxattr(r->fs, in, "user.a", &out), 0);
	assert_int_equal(out.len, 0);
	assert_int_equal(fs_getxattr(r->fs, in, "user.b", &out), 0);
	assert_int_equal(out.len, DFS_XATTR_VALUE_MAX);
	assert_int_equal(fs_listxattr(r->fs, in, &out), 0);
	assert_int_equal(out.len, 14);
	assert_memory_equal(out.data, "user.a\0user.b", 14);
	assert_int_equal(fs_removexattr(r->fs, in, "user.a"), 0);
	assert_int_equal(fs_removexattr(r->fs, in, "user.a"), DFS_ENODATA);
	rig_expect(r, in, "x", 1);
	assert_int_equal(fs_unlink(r->fs, r->root, "f"), 0);
	put(r, in);
	free(big);
}

static void test_statfs(void **state)
{
	struct file_rig *r = *state;
	struct fs_statfs st;

	fs_statfs(r->fs, &st);
	assert_true(st.total_bytes >= st.free_bytes && st.free_bytes >= st.available_bytes);
	assert_true(st.available_bytes > 0);
	assert_true(st.files > st.files_free);
}

#define NAMES 50

static void check_names(struct file_rig *r, struct inode *dir, const ino_id *want)
{
	for (unsigned i = 0; i < NAMES; i++) {
		ino_id ino = {0};
		char name[16];
		int rc;

		snprintf(name, sizeof(name), "n%u", i);
		names_prepare(dir);
		rc = names_find(dir, name, &ino);
		assert_int_equal(rc, want[i].v ? 0 : DFS_ENOENT);
		assert_int_equal(ino.v, want[i].v);
	}
	assert_true(r->fs->names.bytes <= r->fs->cfg.name_cache_bytes);
}

static void fill_names(struct file_rig *r, struct inode *dir, ino_id *want)
{
	for (unsigned i = 0; i < NAMES; i += 2) {
		struct inode *in;
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		in = rig_create(r, dir, name);
		want[i] = fs_inode_ino(in);
		fs_forget(r->fs, in, 1);
	}
	check_names(r, dir, want);
	assert_non_null(dir->names);
}

static void change_names(struct file_rig *r, struct inode **dirs, ino_id want[][NAMES])
{
	const ino_id none = {0}, was = want[0][4];
	struct inode *in = rig_lookup(r, dirs[0], "n8");
	struct fs_attr attr;

	assert_int_equal(fs_rename(r->fs, dirs[0], "n0", dirs[1], "n1", 0), 0);
	want[1][1] = want[0][0];
	want[0][0] = none;
	assert_int_equal(fs_rename(r->fs, dirs[0], "n2", dirs[1], "n4", 0), 0); /* replaces */
	want[1][4] = want[0][2];
	want[0][2] = none;
	assert_int_equal(fs_rename(r->fs, dirs[0], "n4", dirs[0], "n6", FS_RENAME_EXCHANGE), 0);
	want[0][4] = want[0][6];
	want[0][6] = was;
	assert_int_equal(fs_link(r->fs, in, dirs[0], "n7", &attr), 0);
	want[0][7] = want[0][8];
	assert_int_equal(fs_unlink(r->fs, dirs[0], "n8"), 0);
	want[0][8] = none;
	fs_forget(r->fs, in, 1);
}

/* All names of a directory that is asked often come from memory, within its limit, and stay right. */
static void test_name_cache(void **state)
{
	struct fs_config cfg = {.name_cache_bytes = KIB(8)};
	struct file_rig *r = file_rig_new(&cfg, 0);
	ino_id want[4][NAMES] = {{{0}}};
	struct inode *dirs[4];

	(void)state;
	for (unsigned d = 0; d < 4; d++) {
		dirs[d] = rig_mkdir(r, r->root, (char[]){(char)('a' + d), 0});
		fill_names(r, dirs[d], want[d]);
	}
	assert_null(dirs[0]->names); /* used longest ago */
	check_names(r, dirs[0], want[0]);
	assert_non_null(dirs[0]->names);
	change_names(r, dirs, want);
	for (unsigned d = 0; d < 4; d++)
		check_names(r, dirs[d], want[d]);
	for (unsigned d = 0; d < 4; d++) {
		names_drop(dirs[d]);
		check_names(r, dirs[d], want[d]); /* and from the index */
		fs_forget(r->fs, dirs[d], 1);
	}
	assert_true(r->fs->names.bytes > 0);
	file_rig_free(r);
}

/* A tree deeper than any path is long: sound, and a message's path is cut at its front. */
static void test_deep(void **state)
{
	struct file_rig *r = file_rig_new(NULL, 0);
	struct inode *dir, *next;
	char path[512], name[32];
	enum {
		DEPTH = 120000
	};

	(void)state;
	assert_int_equal(fs_inode_get(r->fs, (ino_id){DFS_ROOT_INO}, &dir), 0);
	for (unsigned i = 0; i < DEPTH; i++) {
		snprintf(name, sizeof(name), "d%06u", i);
		next = rig_mkdir(r, dir, name);
		fs_forget(r->fs, dir, 1);
		dir = next;
	}
	pool_inode_path(r->pool, fs_inode_ino(dir), path, sizeof(path));
	assert_true(strlen(path) < sizeof(path) && strlen(path) > 400);
	assert_memory_equal(path, "...", 3);
	assert_string_equal(path + strlen(path) - 15, "d119998/d119999");
	pool_inode_path(r->pool, (ino_id){DFS_ROOT_INO}, path, sizeof(path));
	assert_string_equal(path, "/");
	pool_inode_path(r->pool, (ino_id){1ull << 60}, path, sizeof(path));
	assert_string_equal(path, "inode 1152921504606846976");
	fs_forget(r->fs, dir, 1);
	file_rig_free(r); /* fsck */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deep),
		T(test_create),
		T(test_setgid),
		T(test_setattr),
		T(test_links),
		T(test_remove),
		T(test_orphans),
		T(test_big_free),
		T(test_rename),
		T(test_rename_whiteout),
		T(test_rename_crash),
		T(test_readdir),
		T(test_xattrs),
		T(test_statfs),
		cmocka_unit_test(test_name_cache),
	};

	if (getenv("FILTER"))
		cmocka_set_test_filter(getenv("FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
