/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes: records of their own, changed in one transaction with the inode's ctime.
 * Which namespaces are allowed to whom is the kernel's business.
 *
 * An inode has a bounded number of them, of bounded size: what lists, moves and removes them stays bounded,
 * too (B1). Names fit in what listxattr(2) can give.
 */
#include "file/internal.h"

#include <stdlib.h>

#define COUNT_MAX 1024u
#define NAMES_MAX KIB(64)  /* names, each with its NUL */
#define TOTAL_MAX KIB(256) /* names and values */

/* Most files have none: then no look-up is needed. */
static bool may_have(struct inode *in)
{
	ENV_LOCKED(&in->lock);
	return in->rec.flags & INODE_XATTRS;
}

static int xattr_name_check(const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return DFS_EINVAL;
	return len > DFS_NAME_MAX ? DFS_ERANGE : 0;
}

/* Commits t with the inode's new ctime. Consumes t. */
static int touch(struct inode *in, struct meta_txn *t)
{
	struct rec_inode r = in->rec;

	r.flags |= INODE_XATTRS;
	r.ctime = time_now();
	return inode_commit(in, t, &r);
}

/* DFS_ENOSPC when the inode can't have this one besides the others. lock held. */
static int check_room(struct inode *in, const char *name, size_t value_len)
{
	size_t count = 1, names = strlen(name) + 1, total = strlen(name) + value_len;
	const size_t prefix = 1 + sizeof(in->ino.v); /* the table and the inode */
	struct cursor c;
	int rc;

	env_assert_held(&in->lock);
	if (!(in->rec.flags & INODE_XATTRS))
		return 0;
	cursor_of_inode(&c, in->fs->meta, TABLE_XATTR, in->ino);
	while (cursor_next(&c)) {
		size_t name_len = c.key_len - prefix;

		if (name_len == strlen(name) && !memcmp(c.key + prefix, name, name_len))
			continue; /* replaced */
		count++;
		names += name_len + 1;
		total += name_len + c.val_len;
	}
	rc = cursor_close(&c, 0);
	if (rc)
		return rc;
	return count > COUNT_MAX || names > NAMES_MAX || total > TOTAL_MAX ? DFS_ENOSPC : 0;
}

int fs_setxattr(struct fs *fs, struct inode *in, const char *name, const void *value, size_t len,
		unsigned flags)
{
	struct meta_txn *t;
	BUF old = {0};
	int rc = xattr_name_check(name);

	if (rc)
		return rc;
	if (fs->read_only)
		return DFS_EROFS;
	if (len > DFS_XATTR_VALUE_MAX)
		return DFS_E2BIG;
	rc = space_take(fs, 0, INDEX_NAME_BYTES + strlen(name) + len);
	if (rc)
		return rc;
	ENV_LOCKED(&in->lock);
	if (in->freed)
		return DFS_ENOENT;
	rc = get_xattr(fs->meta, in->ino, name, &old);
	if (rc && rc != DFS_ENODATA)
		return rc;
	if (rc == 0 && (flags & FS_XATTR_CREATE))
		return DFS_EEXIST;
	if (rc && (flags & FS_XATTR_REPLACE))
		return DFS_ENODATA;
	rc = check_room(in, name, len);
	if (rc)
		return rc;
	t = meta_begin(fs->meta);
	put_xattr(t, in->ino, name, value, len);
	return touch(in, t);
}

int fs_getxattr(struct fs *fs, struct inode *in, const char *name, struct buf *out)
{
	int rc = xattr_name_check(name);

	buf_reset(out);
	if (rc == 0 && !may_have(in))
		return DFS_ENODATA;
	return rc ? rc : get_xattr(fs->meta, in->ino, name, out);
}

int fs_listxattr(struct fs *fs, struct inode *in, struct buf *out)
{
	struct cursor c;
	int rc = 0;

	buf_reset(out);
	if (!may_have(in))
		return 0;
	cursor_of_inode(&c, fs->meta, TABLE_XATTR, in->ino);
	while (rc == 0 && cursor_next(&c)) {
		size_t name_len, value_len;
		const uint8_t *value;
		const char *name;

		rc = cursor_xattr(&c, &name, &name_len, &value, &value_len);
		if (rc)
			break;
		buf_put(out, name, name_len);
		buf_put_u8(out, 0);
	}
	if (rc)
		inode_log(in, "list the attributes", rc, "the call fails; run fsck");
	return cursor_close(&c, rc);
}

int fs_removexattr(struct fs *fs, struct inode *in, const char *name)
{
	struct meta_txn *t;
	BUF old = {0};
	int rc = xattr_name_check(name);

	if (rc)
		return rc;
	if (fs->read_only)
		return DFS_EROFS;
	ENV_LOCKED(&in->lock);
	if (in->freed)
		return DFS_ENOENT;
	rc = get_xattr(fs->meta, in->ino, name, &old);
	if (rc)
		return rc;
	t = meta_begin(fs->meta);
	del_xattr(t, in->ino, name);
	return touch(in, t);
}
