/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: look-up, creating, linking, removing. Each change is one transaction that holds the entry,
 * the inode and the directory's times and link count (P2). A directory's size is the number of its
 * entries.
 */
#include "file/internal.h"

#include <stdlib.h>

int name_check(const char *name)
{
	size_t len = strlen(name);

	if (!len || strchr(name, '/'))
		return DFS_EINVAL;
	return len > DFS_NAME_MAX ? DFS_ENAMETOOLONG : 0;
}

static bool is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

static int lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **ret_inode)
{
	ino_id ino = {0};
	int rc = 0;

	if (!is_dir(dir))
		return DFS_ENOTDIR;
	rc = name_check(name);
	if (rc == 0)
		names_prepare(dir);
	/* No lock: between the two look-ups the name may come to mean another inode. */
	for (unsigned i = 0; rc == 0 && i < 100; i++) {
		rc = names_find(dir, name, &ino);
		if (rc)
			return rc;
		rc = fs_inode_get(fs, ino, ret_inode);
		if (rc != DFS_ENOENT)
			return rc;
		rc = 0;
	}
	if (rc)
		return rc;
	log_error("cannot open '%s' in directory %llu: its inode %llu does not exist; run fsck",
		  name, (unsigned long long)dir->ino.v, (unsigned long long)ino.v);
	return DFS_EIO;
}

/* "." of any inode, ".." of a directory: of what still has a name. */
static int lookup_dots(struct fs *fs, struct inode *in, bool parent, struct inode **ret_inode)
{
	ino_id ino = in->ino;

	if (parent && !is_dir(in))
		return DFS_ENOTDIR;
	{
		ENV_LOCKED(&in->lock);
		if (in->freed || !in->rec.nlink)
			return DFS_ENOENT;
		if (parent)
			ino = in->rec.parent;
	}
	return fs_inode_get(fs, ino, ret_inode);
}

int fs_lookup(struct fs *fs, struct inode *dir, const char *name, struct inode **ret_inode,
	      struct fs_attr *ret_attr)
{
	struct inode *in;
	int rc = is_dots(name) ? lookup_dots(fs, dir, name[1], &in) : lookup(fs, dir, name, &in);

	if (rc == 0)
		rc = fs_getattr(fs, in, ret_attr);
	if (rc == 0)
		*ret_inode = in;
	return rc;
}

int fs_resolve(struct fs *fs, const char *path, struct inode **ret_inode)
{
	char name[DFS_NAME_MAX + 1];
	struct inode *in, *next;
	int rc = fs_inode_get(fs, (ino_id){DFS_ROOT_INO}, &in);

	while (rc == 0) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (!len)
			break;
		rc = len > DFS_NAME_MAX ? DFS_ENAMETOOLONG : 0;
		if (rc == 0) {
			memcpy(name, path, len);
			name[len] = 0;
			rc = lookup(fs, in, name, &next);
		}
		inode_put(in, 1);
		in = rc == 0 ? next : NULL;
		path += len;
	}
	if (rc == 0)
		*ret_inode = in;
	return rc;
}

/* 0: free, DFS_EEXIST, ... lock held */
static int entry_free(struct inode *dir, const char *name)
{
	ino_id ino;
	int rc;

	env_assert_held(&dir->lock);
	if (dir->freed || !dir->rec.nlink)
		return DFS_ENOENT;
	rc = names_find(dir, name, &ino);
	if (rc == DFS_ENOENT)
		return dir->rec.flags & INODE_IMMUTABLE ? DFS_EPERM : 0; /* AT1 */
	return rc ? rc : DFS_EEXIST;
}

static void put_entry(struct meta_txn *t, ino_id dir, const char *name, ino_id ino, uint32_t mode)
{
	struct rec_dentry d = {.ino = ino, .mode = mode & S_IFMT};

	memcpy(d.name, name, strlen(name) + 1);
	put_dentry(t, dir, &d);
}

/* The directory's record after entries and links more. */
static struct rec_inode dir_after(const struct inode *dir, int entries, int links)
{
	struct rec_inode r = dir->rec;

	r.mtime = r.ctime = time_now();
	r.size = entries < 0 ? r.size - (r.size > 0)
			     : MIN(r.size + (unsigned)entries, DFS_FILE_MAX);
	r.nlink = (uint32_t)((int64_t)r.nlink + links);
	return r;
}

static void dir_took(struct inode *dir, const struct rec_inode *r, uint64_t seq)
{
	inode_took(dir, r, seq);
	dir->size = r->size;
}

struct rec_inode name_new_rec(const struct inode *dir, uint32_t mode, uint64_t rdev,
			      struct fs_cred cred)
{
	struct dfs_time now = time_now();
	struct rec_inode r = {.mode = mode,
			      .nlink = S_ISDIR(mode) ? 2 : 1,
			      .uid = cred.uid,
			      .gid = cred.gid,
			      .rdev = rdev,
			      .atime = now,
			      .mtime = now,
			      .ctime = now,
			      .btime = now,
			      .parent = dir->ino,
			      .generation = env_random_u64()};

	if (dir->rec.mode & S_ISGID) {
		r.gid = dir->rec.gid;
		if (S_ISDIR(mode))
			r.mode |= S_ISGID;
	}
	return r;
}

/* The one transaction of a creation; dir locked. rec is put as it is; target: of a symbolic link. */
static int create_locked(struct inode *dir, const char *name, const struct rec_inode *rec,
			 const struct heritage *heritage, const char *target,
			 struct inode **ret_inode, struct fs_attr *ret_attr)
{
	struct fs *fs = dir->fs;
	struct rec_inode dr = dir_after(dir, 1, S_ISDIR(rec->mode) ? 1 : 0);
	struct inode *in;
	struct meta_txn *t;
	uint64_t seq;
	int rc;

	if (dr.nlink > LINK_MAX_COUNT)
		return DFS_EMLINK;
	in = inode_new(fs, rec);
	t = meta_begin(fs->meta);
	put_inode(t, in->ino, rec);
	if (target)
		put_inline(t, in->ino, target, rec->inline_len);
	heritage_put(t, in->ino, heritage);
	put_entry(t, dir->ino, name, in->ino, rec->mode);
	put_inode(t, dir->ino, &dr);
	meta_add(t, META_COUNT_INODES, 1);
	if (rec->mapped_bytes)
		meta_add(t, META_COUNT_LOGICAL_BYTES, (int64_t)rec->mapped_bytes);
	rc = meta_commit(t, &seq);
	inode_born(in, rc);
	if (rc == 0) {
		in->last_seq = seq;
		dir_took(dir, &dr, seq);
		names_set(dir, name, in->ino);
		inode_attr(in, ret_attr);
		*ret_inode = in;
	}
	env_mutex_unlock(&in->lock);
	if (rc)
		inode_put(in, 1);
	return rc;
}

static int create(struct fs *fs, struct inode *dir, const char *name, uint32_t mode, uint64_t rdev,
		  const char *target, struct fs_cred cred, struct inode **ret_inode,
		  struct fs_attr *ret_attr)
{
	CLEANUP(heritage_release) struct heritage heritage = {0};
	struct rec_inode rec;
	uint64_t bytes = 0;
	int rc = name_check(name);

	if (rc)
		return rc;
	if (is_dots(name))
		return DFS_EEXIST;
	if (!is_dir(dir))
		return DFS_ENOTDIR;
	if (fs->read_only)
		return DFS_EROFS;
	rc = heritage_bytes(dir, &bytes);
	bytes += INDEX_NAME_BYTES + strlen(name) + (target ? strlen(target) : 0);
	if (rc == 0)
		rc = space_take(fs, 0, bytes);
	if (rc == 0)
		rc = inode_numbers_ensure(fs);
	if (rc)
		return rc;
	ENV_LOCKED(&dir->lock);
	rc = entry_free(dir, name);
	if (rc)
		return rc;
	rec = name_new_rec(dir, mode, rdev, cred);
	rc = heritage_find(dir, cred.umask, &rec, &heritage);
	if (rc)
		return rc;
	if (target) {
		rec.inline_len = (uint32_t)strlen(target);
		rec.size = rec.mapped_bytes = rec.inline_len;
		rec.flags |= INODE_INLINE;
	}
	return create_locked(dir, name, &rec, &heritage, target, ret_inode, ret_attr);
}

int fs_mknod(struct fs *fs, struct inode *dir, const char *name, uint32_t mode, uint64_t rdev,
	     struct fs_cred cred, struct inode **ret_inode, struct fs_attr *ret_attr)
{
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	if (S_ISDIR(mode) || S_ISLNK(mode))
		return DFS_EINVAL;
	return create(fs, dir, name, mode & (S_IFMT | 07777), rdev, NULL, cred, ret_inode,
		      ret_attr);
}

int fs_mkdir(struct fs *fs, struct inode *dir, const char *name, uint32_t mode, struct fs_cred cred,
	     struct inode **ret_inode, struct fs_attr *ret_attr)
{
	return create(fs, dir, name, S_IFDIR | (mode & 07777), 0, NULL, cred, ret_inode, ret_attr);
}

int fs_symlink(struct fs *fs, struct inode *dir, const char *name, const char *target,
	       struct fs_cred cred, struct inode **ret_inode, struct fs_attr *ret_attr)
{
	size_t len = strlen(target);

	if (!len)
		return DFS_ENOENT;
	if (len > DFS_SYMLINK_MAX)
		return DFS_ENAMETOOLONG;
	return create(fs, dir, name, S_IFLNK | 0777, 0, target, cred, ret_inode, ret_attr);
}

int fs_readlink(struct fs *fs, struct inode *in, struct buf *out)
{
	(void)fs;
	if (!S_ISLNK(in->type))
		return DFS_EINVAL;
	ENV_LOCKED(&in->lock);
	return in->freed ? DFS_ENOENT : inline_get(in, out);
}

static int link_locked(struct inode *in, struct inode *dir, const char *name)
{
	struct rec_inode dr, r;
	struct meta_txn *t;
	uint64_t seq;
	int rc = entry_free(dir, name);

	if (rc)
		return rc;
	if (in->freed || !in->rec.nlink)
		return DFS_ENOENT;
	if (in->rec.flags & INODE_FIXED)
		return DFS_EPERM; /* AT1 */
	if (in->rec.nlink >= LINK_MAX_COUNT)
		return DFS_EMLINK;
	dr = dir_after(dir, 1, 0);
	r = in->rec;
	r.nlink++;
	r.ctime = time_now();
	r.parent = dir->ino;
	t = meta_begin(dir->fs->meta);
	put_entry(t, dir->ino, name, in->ino, r.mode);
	put_inode(t, dir->ino, &dr);
	put_inode(t, in->ino, &r);
	rc = meta_commit(t, &seq);
	if (rc == 0) {
		dir_took(dir, &dr, seq);
		inode_took(in, &r, seq);
		names_set(dir, name, in->ino);
	}
	return rc;
}

int fs_link(struct fs *fs, struct inode *in, struct inode *dir, const char *name,
	    struct fs_attr *ret_attr)
{
	struct inode *locks[] = {dir, in};
	int rc = name_check(name);

	if (rc)
		return rc;
	if (is_dir(in))
		return DFS_EPERM;
	if (is_dots(name))
		return DFS_EEXIST;
	if (!is_dir(dir))
		return DFS_ENOTDIR;
	if (fs->read_only)
		return DFS_EROFS;
	rc = space_take(fs, 0, INDEX_NAME_BYTES + strlen(name));
	if (rc)
		return rc;
	inode_lock_many(locks, 2);
	rc = link_locked(in, dir, name);
	if (rc == 0)
		inode_attr(in, ret_attr);
	inode_unlock_many(locks, 2);
	return rc;
}

bool name_is_fixed(const struct inode *dir, const struct inode *in)
{
	return (dir->rec.flags | in->rec.flags) & INODE_FIXED;
}

int dir_empty(struct inode *dir)
{
	struct cursor c;

	if (dir->rec.size)
		return DFS_ENOTEMPTY;
	/* The count says so; the entries themselves have the last word. */
	cursor_of_inode(&c, dir->fs->meta, TABLE_DENTRY, dir->ino);
	return cursor_close(&c, cursor_next(&c) ? DFS_ENOTEMPTY : 0);
}

int name_is_still(struct inode *dir, const char *name, const struct inode *in, bool *ret_same)
{
	ino_id ino = {0};
	int rc = names_find(dir, name, &ino);

	if (rc && rc != DFS_ENOENT)
		return rc;
	*ret_same = rc == 0 ? in && ino.v == in->ino.v : !in;
	return 0;
}

/* dir and in are locked, and name still names in. */
static int remove_locked(struct inode *dir, const char *name, struct inode *in)
{
	CLEANUP(victim_release) struct victim v = {0};
	struct rec_inode dr = dir_after(dir, -1, is_dir(in) ? -1 : 0);
	struct meta_txn *t = meta_begin(dir->fs->meta);
	uint64_t seq;
	int rc = victim_prepare(&v, t, in);

	if (rc) {
		meta_cancel(t);
		return rc;
	}
	del_dentry(t, dir->ino, name);
	put_inode(t, dir->ino, &dr);
	rc = meta_commit(t, &seq);
	if (rc)
		return rc;
	dir_took(dir, &dr, seq);
	names_set(dir, name, (ino_id){0});
	victim_done(&v, seq);
	return 0;
}

static int remove_checked(struct inode *dir, const char *name, struct inode *in, bool want_dir)
{
	int rc;

	if (name_is_fixed(dir, in))
		return DFS_EPERM;
	if (want_dir && !is_dir(in))
		return DFS_ENOTDIR;
	if (!want_dir && is_dir(in))
		return DFS_EISDIR;
	rc = want_dir ? dir_empty(in) : 0;
	return rc ? rc : remove_locked(dir, name, in);
}

static int remove_name(struct fs *fs, struct inode *dir, const char *name, bool want_dir)
{
	int rc = name_check(name);
	bool same = false;

	if (rc)
		return rc;
	if (is_dots(name))
		return strcmp(name, ".") && want_dir ? DFS_ENOTEMPTY : DFS_EINVAL;
	if (!is_dir(dir))
		return DFS_ENOTDIR;
	if (fs->read_only)
		return DFS_EROFS;
	while (rc == 0 && !same) {
		struct inode *in;

		rc = lookup(fs, dir, name, &in);
		if (rc)
			return rc;
		struct inode *locks[] = {dir, in};

		inode_lock_many(locks, 2);
		/* Between look-up and lock it may have become another's name, or nobody's. */
		rc = name_is_still(dir, name, in, &same);
		if (rc == 0 && same)
			rc = remove_checked(dir, name, in, want_dir);
		inode_unlock_many(locks, 2);
		inode_put(in, 1);
	}
	return rc;
}

int fs_unlink(struct fs *fs, struct inode *dir, const char *name)
{
	return remove_name(fs, dir, name, false);
}

int fs_rmdir(struct fs *fs, struct inode *dir, const char *name)
{
	return remove_name(fs, dir, name, true);
}
