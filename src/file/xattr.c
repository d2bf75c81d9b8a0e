/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes: records of their own, changed in one transaction with the inode's ctime.
 * Which namespaces are allowed to whom is the kernel's business.
 *
 * Access control lists are such records, too; AC1 and AC2 say what they are to the mode, acl.h what they look like.
 *
 * An inode has a bounded number of them, of bounded size: what lists, moves and removes them stays bounded,
 * too (B1). Names fit in what listxattr(2) can give.
 */
#include "file/acl.h"
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

/* lock held */
static int changeable(struct inode *in)
{
	env_assert_held(&in->lock);
	if (in->freed)
		return DFS_ENOENT;
	return in->rec.flags & INODE_FIXED ? DFS_EPERM : 0; /* AT1 */
}

/* Commits t with the inode's new ctime and that mode. Consumes t. */
static int commit_mode(struct inode *in, struct meta_txn *t, uint32_t mode)
{
	struct rec_inode r = in->rec;

	r.flags |= INODE_XATTRS;
	r.mode = mode;
	r.ctime = time_now();
	return inode_commit(in, t, &r);
}

static int touch(struct inode *in, struct meta_txn *t) { return commit_mode(in, t, in->rec.mode); }

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

/* ---- access control lists ---- */

static bool is_access(const char *name) { return !strcmp(name, FS_XATTR_ACL_ACCESS); }

static bool is_list(const char *name)
{
	return is_access(name) || !strcmp(name, FS_XATTR_ACL_DEFAULT);
}

static int list_allowed(const struct inode *in)
{
	return in->fs->cfg.no_acl || S_ISLNK(in->type) ? DFS_ENOTSUP : 0;
}

/* The stored list; DFS_ENODATA. lock held. */
static int list_read(struct inode *in, const char *name, struct acl *ret_acl)
{
	BUF value = {0};
	int rc = DFS_ENODATA;

	env_assert_held(&in->lock);
	if (in->rec.flags & INODE_XATTRS)
		rc = get_xattr(in->fs->meta, in->ino, name, &value);
	if (rc == 0 && (acl_parse(value.data, value.len, ret_acl) || !ret_acl->count)) {
		rc = DFS_ECORRUPT;
		inode_log(in, "use the access control list", rc, "the call fails; run fsck");
	}
	return rc;
}

/* AC1: what the mode says is the mode's to say. */
static int list_get(struct inode *in, const char *name, struct buf *out)
{
	struct acl acl;
	int rc = list_allowed(in);

	if (rc)
		return rc;
	ENV_LOCKED(&in->lock);
	rc = list_read(in, name, &acl);
	if (rc)
		return rc;
	if (is_access(name))
		acl_take_mode(&acl, in->rec.mode);
	acl_put(&acl, out);
	return 0;
}

static int list_remove(struct inode *in, const char *name, uint32_t mode)
{
	BUF old = {0};
	struct meta_txn *t;
	int rc = DFS_ENODATA;

	if (in->rec.flags & INODE_XATTRS)
		rc = get_xattr(in->fs->meta, in->ino, name, &old);
	if (rc && rc != DFS_ENODATA)
		return rc;
	if (rc && mode == in->rec.mode)
		return 0;
	t = meta_begin(in->fs->meta);
	if (rc == 0)
		del_xattr(t, in->ino, name);
	return commit_mode(in, t, mode);
}

static int list_store(struct inode *in, const char *name, const struct acl *acl, uint32_t mode)
{
	struct meta_txn *t;
	BUF value = {0};
	int rc;

	acl_put(acl, &value);
	rc = check_room(in, name, value.len);
	if (rc)
		return rc;
	t = meta_begin(in->fs->meta);
	put_xattr(t, in->ino, name, value.data, value.len);
	return commit_mode(in, t, mode);
}

static int list_set(struct inode *in, const char *name, const void *value, size_t len,
		    unsigned flags)
{
	bool access = is_access(name), is_needed;
	struct acl acl;
	uint32_t mode;
	int rc = list_allowed(in);

	if (rc == 0)
		rc = acl_parse(value, len, &acl);
	if (rc)
		return rc;
	if (!access && !is_dir(in) && acl.count)
		return DFS_EACCES;
	is_needed = acl.count && !(access && acl_is_mode(&acl));
	if (is_needed)
		rc = space_take(in->fs, 0, INDEX_NAME_BYTES + strlen(name) + len);
	if (rc)
		return rc;
	ENV_LOCKED(&in->lock);
	rc = changeable(in);
	if (rc || (!access && !is_dir(in)))
		return rc; /* a file has no default list: one less is no change */
	mode = in->rec.mode;
	if (access && acl.count)
		mode = (mode & ~(flags & FS_XATTR_DROP_SETGID ? S_ISGID | 0777u : 0777u)) |
		       acl_mode(&acl);
	return is_needed ? list_store(in, name, &acl, mode) : list_remove(in, name, mode);
}

void heritage_release(struct heritage *h)
{
	buf_release(&h->access);
	buf_release(&h->dflt);
}

int heritage_bytes(struct inode *dir, uint64_t *ret_bytes)
{
	struct acl acl;
	int rc;

	*ret_bytes = 0;
	if (dir->fs->cfg.no_acl)
		return 0;
	ENV_LOCKED(&dir->lock);
	rc = list_read(dir, FS_XATTR_ACL_DEFAULT, &acl);
	if (rc == 0)
		*ret_bytes = 2 * (sizeof(FS_XATTR_ACL_DEFAULT) + acl_bytes(&acl));
	return rc == DFS_ENODATA ? 0 : rc;
}

int heritage_find(struct inode *dir, uint32_t umask, struct rec_inode *r,
		  struct heritage *ret_heritage)
{
	struct acl acl;
	int rc = DFS_ENODATA;

	env_assert_held(&dir->lock);
	if (S_ISLNK(r->mode))
		return 0;
	if (!dir->fs->cfg.no_acl)
		rc = list_read(dir, FS_XATTR_ACL_DEFAULT, &acl);
	if (rc == DFS_ENODATA) {
		r->mode &= ~(umask & 0777);
		return 0;
	}
	if (rc)
		return rc;
	if (S_ISDIR(r->mode))
		acl_put(&acl, &ret_heritage->dflt);
	r->mode = acl_inherit(&acl, r->mode);
	if (!acl_is_mode(&acl))
		acl_put(&acl, &ret_heritage->access);
	if (ret_heritage->access.len || ret_heritage->dflt.len)
		r->flags |= INODE_XATTRS;
	return 0;
}

void heritage_put(struct meta_txn *t, ino_id ino, const struct heritage *h)
{
	if (h->access.len)
		put_xattr(t, ino, FS_XATTR_ACL_ACCESS, h->access.data, h->access.len);
	if (h->dflt.len)
		put_xattr(t, ino, FS_XATTR_ACL_DEFAULT, h->dflt.data, h->dflt.len);
}

/* ---- what fs.h offers ---- */

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
	if (is_list(name))
		return list_set(in, name, value, len, flags);
	if (len > DFS_XATTR_VALUE_MAX)
		return DFS_E2BIG;
	rc = space_take(fs, 0, INDEX_NAME_BYTES + strlen(name) + len);
	if (rc)
		return rc;
	ENV_LOCKED(&in->lock);
	rc = changeable(in);
	if (rc)
		return rc;
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
	if (rc == 0 && is_list(name))
		return list_get(in, name, out);
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

		size_t before = out->len;

		rc = cursor_xattr(&c, &name, &name_len, &value, &value_len);
		if (rc)
			break;
		buf_put(out, name, name_len);
		buf_put_u8(out, 0);
		if (fs->cfg.no_acl && is_list((const char *)out->data + before))
			out->len = before;
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
	if (is_list(name))
		return list_set(in, name, NULL, 0, 0);
	ENV_LOCKED(&in->lock);
	rc = changeable(in);
	if (rc)
		return rc;
	rc = get_xattr(fs->meta, in->ino, name, &old);
	if (rc)
		return rc;
	t = meta_begin(fs->meta);
	del_xattr(t, in->ino, name);
	return touch(in, t);
}
