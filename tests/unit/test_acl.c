/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists: their form and arithmetic; and what inodes make of them (AC1, AC2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "file/acl.h"
#include "unit/file_rig.h"

enum {
	UO = 1,
	U = 2,
	GO = 4,
	G = 8,
	M = 16,
	O = 32
};
#define NONE UINT32_MAX

/* Of entries {tag, perm, id}, up to one of tag 0. */
static struct acl list_of(const struct acl_entry *e)
{
	struct acl a = {0};

	while (e->tag)
		a.e[a.count++] = *e++;
	return a;
}
#define LIST(...) list_of((const struct acl_entry[]){__VA_ARGS__, {0}})

static const struct acl_entry base[] = {{UO, 6, NONE}, {GO, 4, NONE}, {O, 0, NONE}, {0}};

static int parsed(const struct acl *in, struct acl *ret)
{
	BUF b = {0};

	acl_put(in, &b);
	assert_int_equal(b.len, acl_bytes(in));
	return acl_parse(b.data, b.len, ret);
}

static void assert_same(const struct acl *a, const struct acl *b)
{
	assert_int_equal(a->count, b->count);
	for (unsigned i = 0; i < a->count; i++) {
		assert_int_equal(a->e[i].tag, b->e[i].tag);
		assert_int_equal(a->e[i].perm, b->e[i].perm);
		assert_int_equal(a->e[i].id, b->e[i].id);
	}
}

static void test_form(void **state)
{
	static const uint8_t bytes[] = {2,   0,	  0, 0, 1,   0,	  6,   0,   255, 255,
					255, 255, 4, 0, 4,   0,	  255, 255, 255, 255,
					32,  0,	  0, 0, 255, 255, 255, 255};
	struct acl a = list_of(base), b = {0};
	BUF out = {0};

	(void)state;
	acl_put(&a, &out);
	assert_int_equal(out.len, sizeof(bytes));
	assert_memory_equal(out.data, bytes, sizeof(bytes));
	for (size_t len = 1; len < sizeof(bytes); len++)
		if (len != 4)
			assert_int_equal(acl_parse(bytes, len, &b), DFS_EINVAL);
	assert_int_equal(acl_parse(bytes, 4, &b), 0);
	assert_int_equal(b.count, 0);
	assert_int_equal(acl_parse(NULL, 0, &b), 0);
	assert_int_equal(b.count, 0);
	assert_int_equal(acl_parse(bytes, sizeof(bytes), &b), 0);
	assert_same(&a, &b);
	out.data[0] = 1;
	assert_int_equal(acl_parse(out.data, out.len, &b), DFS_EINVAL);
}

static void test_what_can_be(void **state)
{
	struct acl good[] = {
		LIST({UO, 7, NONE}, {U, 1, 0}, {U, 1, 9}, {GO, 0, NONE}, {M, 7, NONE},
		     {O, 7, NONE}),
		LIST({UO, 7, NONE}, {GO, 0, NONE}, {M, 7, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {GO, 0, NONE}, {G, 2, 5}, {G, 2, 4}, {M, 7, NONE},
		     {O, 7, NONE}),
	};
	struct acl bad[] = {
		LIST({UO, 7, NONE}, {GO, 0, NONE}),
		LIST({UO, 7, NONE}, {O, 0, NONE}),
		LIST({GO, 7, NONE}, {O, 0, NONE}),
		LIST({UO, 8, NONE}, {GO, 0, NONE}, {O, 7, NONE}),
		LIST({GO, 0, NONE}, {UO, 7, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {UO, 7, NONE}, {GO, 0, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {GO, 0, NONE}, {M, 0, NONE}, {M, 0, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 0, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {GO, 0, NONE}, {G, 0, 1}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {U, 7, NONE}, {GO, 0, NONE}, {M, 7, NONE}, {O, 7, NONE}),
		LIST({UO, 7, NONE}, {GO, 0, NONE}, {O, 7, NONE}, {64, 7, NONE}),
		LIST({UO, 7, NONE}, {3, 0, 1}, {GO, 0, NONE}, {M, 7, NONE}, {O, 7, NONE}),
	};
	struct acl a;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parsed(&good[i], &a), 0);
		assert_same(&good[i], &a);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parsed(&bad[i], &a), DFS_EINVAL);
}

static void test_length(void **state)
{
	struct acl a = {0}, b;
	uint8_t longer[ACL_VALUE_MAX + 4] = {2};

	(void)state;
	a.e[a.count++] = (struct acl_entry){UO, 7, NONE};
	while (a.count < ACL_ENTRIES_MAX - 3) {
		a.e[a.count] = (struct acl_entry){U, 1, a.count};
		a.count++;
	}
	a.e[a.count++] = (struct acl_entry){GO, 5, NONE};
	a.e[a.count++] = (struct acl_entry){M, 3, NONE};
	a.e[a.count++] = (struct acl_entry){O, 2, NONE};
	assert_int_equal(a.count, ACL_ENTRIES_MAX);
	assert_int_equal(parsed(&a, &b), 0);
	assert_same(&a, &b);
	assert_int_equal(acl_mode(&b), 0732);
	assert_int_equal(acl_parse(longer, sizeof(longer), &b), DFS_E2BIG);
}

static void test_modes(void **state)
{
	struct acl plain = list_of(base);
	struct acl masked = LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 6, NONE}, {M, 5, NONE},
				 {O, 1, NONE});

	(void)state;
	assert_true(acl_is_mode(&plain));
	assert_int_equal(acl_mode(&plain), 0640);
	assert_false(acl_is_mode(&masked));
	assert_int_equal(acl_mode(&masked), 0751);
	acl_take_mode(&plain, S_IFREG | 04712);
	assert_int_equal(acl_mode(&plain), 0712);
	acl_take_mode(&masked, 0623);
	assert_int_equal(acl_mode(&masked), 0623);
	assert_int_equal(masked.e[1].perm, 7);
	assert_int_equal(masked.e[2].perm, 6); /* the group's own: the mask stands before it */
	assert_int_equal(masked.e[3].perm, 2);
}

static void test_inheritance(void **state)
{
	struct acl masked = LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 6, NONE}, {M, 5, NONE},
				 {O, 1, NONE});
	struct acl plain = list_of(base);

	(void)state;
	assert_int_equal(acl_inherit(&masked, S_IFREG | 02666), S_IFREG | 02640);
	assert_int_equal(acl_mode(&masked), 0640);
	assert_int_equal(masked.e[2].perm, 6);
	assert_int_equal(acl_inherit(&plain, S_IFDIR | 0777), S_IFDIR | 0640);
	assert_true(acl_is_mode(&plain));
}

/* ---- of inodes ---- */

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

static int set(struct file_rig *r, struct inode *in, const char *name, const struct acl *a,
	       unsigned flags)
{
	BUF b = {0};

	acl_put(a, &b);
	return fs_setxattr(r->fs, in, name, b.data, b.len, flags);
}

static int got(struct file_rig *r, struct inode *in, const char *name, struct acl *ret)
{
	BUF b = {0};
	int rc = fs_getxattr(r->fs, in, name, &b);

	return rc ? rc : acl_parse(b.data, b.len, ret);
}

static void chmod_to(struct file_rig *r, struct inode *in, uint32_t mode)
{
	struct fs_attr a = {.mode = mode};

	assert_int_equal(fs_setattr(r->fs, in, &a, FS_SET_MODE, &a), 0);
}

static uint32_t mode_of(struct file_rig *r, struct inode *in) { return rig_attr(r, in).mode; }

static void test_list_and_mode_are_one(void **state)
{
	struct file_rig *r = *state;
	struct inode *in = rig_create(r, r->root, "f");
	struct acl list = LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 6, NONE}, {M, 5, NONE}, {O, 1, NONE}),
		   a;
	struct acl plain = list_of(base);
	BUF names = {0};

	chmod_to(r, in, 02600);
	assert_int_equal(fs_sync_all(r->fs), 0);
	assert_int_equal(set(r, in, FS_XATTR_ACL_ACCESS, &list, 0), 0);
	assert_int_equal(mode_of(r, in), S_IFREG | 02751);
	fs_forget(r->fs, in, 1);
	file_rig_crash(r);
	in = rig_lookup(r, r->root, "f");
	/* All of it is there after a crash, or nothing. */
	if (got(r, in, FS_XATTR_ACL_ACCESS, &a) == 0)
		assert_int_equal(mode_of(r, in), S_IFREG | 02751);
	else
		assert_int_equal(set(r, in, FS_XATTR_ACL_ACCESS, &list, 0), 0);
	chmod_to(r, in, 02623);
	assert_int_equal(got(r, in, FS_XATTR_ACL_ACCESS, &a), 0);
	assert_int_equal(acl_mode(&a), 0623);
	assert_int_equal(a.e[2].perm, 6);
	assert_int_equal(set(r, in, FS_XATTR_ACL_ACCESS, &list, FS_XATTR_DROP_SETGID), 0);
	assert_int_equal(mode_of(r, in), S_IFREG | 0751);
	/* One that a mode can say is a mode. */
	assert_int_equal(set(r, in, FS_XATTR_ACL_ACCESS, &plain, 0), 0);
	assert_int_equal(mode_of(r, in), S_IFREG | 0640);
	assert_int_equal(got(r, in, FS_XATTR_ACL_ACCESS, &a), DFS_ENODATA);
	assert_int_equal(fs_listxattr(r->fs, in, &names), 0);
	assert_int_equal(names.len, 0);
	/* Removing changes no mode, and what is not there is gone. */
	assert_int_equal(set(r, in, FS_XATTR_ACL_ACCESS, &list, 0), 0);
	assert_int_equal(fs_removexattr(r->fs, in, FS_XATTR_ACL_ACCESS), 0);
	assert_int_equal(fs_removexattr(r->fs, in, FS_XATTR_ACL_ACCESS), 0);
	assert_int_equal(mode_of(r, in), S_IFREG | 0751);
	assert_int_equal(set(r, in, FS_XATTR_ACL_DEFAULT, &list, 0), DFS_EACCES);
	assert_int_equal(fs_removexattr(r->fs, in, FS_XATTR_ACL_DEFAULT), 0);
	assert_int_equal(fs_setxattr(r->fs, in, FS_XATTR_ACL_ACCESS, "x", 1, 0), DFS_EINVAL);
	fs_forget(r->fs, in, 1);
}

static struct inode *made(struct file_rig *r, struct inode *dir, const char *name, uint32_t mode)
{
	struct fs_cred cred = {.umask = 027};
	struct inode *in;
	struct fs_attr a;

	if (S_ISDIR(mode))
		assert_int_equal(fs_mkdir(r->fs, dir, name, mode, cred, &in, &a), 0);
	else if (S_ISLNK(mode))
		assert_int_equal(fs_symlink(r->fs, dir, name, "x", cred, &in, &a), 0);
	else
		assert_int_equal(fs_mknod(r->fs, dir, name, mode, 0, cred, &in, &a), 0);
	return in;
}

static void test_what_is_made_inherits(void **state)
{
	struct file_rig *r = *state;
	struct inode *dir = made(r, r->root, "d", S_IFDIR | 0777), *in;
	struct acl list = LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 6, NONE}, {M, 7, NONE}, {O, 7, NONE}),
		   a;
	static const uint32_t kinds[] = {S_IFREG | 0666, S_IFIFO | 0666, S_IFDIR | 0666};
	struct inode *link;

	assert_int_equal(mode_of(r, dir), S_IFDIR | 0750);
	assert_int_equal(set(r, dir, FS_XATTR_ACL_DEFAULT, &list, 0), 0);
	assert_int_equal(mode_of(r, dir), S_IFDIR | 0750);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char name[2] = {(char)('a' + i)};

		in = made(r, dir, name, kinds[i]);
		assert_int_equal(mode_of(r, in), kinds[i]); /* not umask's */
		assert_int_equal(got(r, in, FS_XATTR_ACL_ACCESS, &a), 0);
		assert_int_equal(acl_mode(&a), 0666);
		assert_int_equal(a.e[1].perm, 7);
		assert_int_equal(got(r, in, FS_XATTR_ACL_DEFAULT, &a),
				 S_ISDIR(kinds[i]) ? 0 : DFS_ENODATA);
		if (S_ISDIR(kinds[i]))
			assert_same(&a, &list);
		fs_forget(r->fs, in, 1);
	}
	link = made(r, dir, "l", S_IFLNK);
	assert_int_equal(mode_of(r, link), S_IFLNK | 0777);
	assert_int_equal(set(r, link, FS_XATTR_ACL_ACCESS, &list, 0), DFS_ENOTSUP);
	assert_int_equal(got(r, link, FS_XATTR_ACL_ACCESS, &a), DFS_ENOTSUP);
	fs_forget(r->fs, link, 1);
	assert_int_equal(fs_setxattr(r->fs, dir, FS_XATTR_ACL_DEFAULT, "\2\0\0\0", 4, 0), 0);
	in = made(r, dir, "z", S_IFREG | 0666);
	assert_int_equal(mode_of(r, in), S_IFREG | 0640);
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, dir, 1);
}

static void test_as_if_there_were_none(void **state)
{
	struct file_rig *r = *state;
	struct inode *dir = made(r, r->root, "d", S_IFDIR | 0777), *in;
	struct acl list = LIST({UO, 7, NONE}, {U, 7, 1}, {GO, 6, NONE}, {M, 7, NONE}, {O, 7, NONE}),
		   a;
	BUF names = {0};

	assert_int_equal(set(r, dir, FS_XATTR_ACL_DEFAULT, &list, 0), 0);
	assert_int_equal(fs_setxattr(r->fs, dir, "user.a", "1", 1, 0), 0);
	fs_forget(r->fs, dir, 1);
	r->cfg.no_acl = true;
	file_rig_reopen(r);
	dir = rig_lookup(r, r->root, "d");
	assert_int_equal(got(r, dir, FS_XATTR_ACL_DEFAULT, &a), DFS_ENOTSUP);
	assert_int_equal(set(r, dir, FS_XATTR_ACL_DEFAULT, &list, 0), DFS_ENOTSUP);
	assert_int_equal(fs_removexattr(r->fs, dir, FS_XATTR_ACL_DEFAULT), DFS_ENOTSUP);
	assert_int_equal(fs_listxattr(r->fs, dir, &names), 0);
	assert_int_equal(names.len, 7);
	assert_string_equal((char *)names.data, "user.a");
	in = made(r, dir, "f", S_IFREG | 0666);
	assert_int_equal(mode_of(r, in), S_IFREG | 0640);
	fs_forget(r->fs, in, 1);
	fs_forget(r->fs, dir, 1);
	r->cfg.no_acl = false;
	file_rig_reopen(r);
	dir = rig_lookup(r, r->root, "d");
	assert_int_equal(got(r, dir, FS_XATTR_ACL_DEFAULT, &a), 0);
	assert_same(&a, &list);
	fs_forget(r->fs, dir, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_what_can_be),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_inheritance),
		cmocka_unit_test_setup_teardown(test_list_and_mode_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_made_inherits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_as_if_there_were_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
