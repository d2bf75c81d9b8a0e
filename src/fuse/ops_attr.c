/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes, xattrs and statfs; and the helpers that all operations share. The kernel has checked
 * permissions (default_permissions).
 * Locks: fuse_state.lock, a leaf.
 */
#include "base/metric.h"
#include "fuse/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/le.h"
#include "fuse/errmap.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX of Linux */
#define BLOCK_BYTES 4096u
/* What programs take as the size of a good transfer. stdio allocates that much for each stream. */
#define PREFERRED_IO_BYTES KIB(64)

struct fs_cred ops_cred(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_cred){
		.uid = ctx->uid, .gid = ctx->gid, .umask = state_of(req)->acl ? ctx->umask : 0};
}

void ops_stat(const struct fs_attr *attr, struct stat *ret_st)
{
	*ret_st = (struct stat){
		.st_ino = attr->ino.v,
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = attr->rdev,
		.st_size = (off_t)attr->size,
		.st_blksize = PREFERRED_IO_BYTES,
		.st_blocks = (blkcnt_t)attr->blocks_512,
		.st_atim = {.tv_sec = attr->atime.sec, .tv_nsec = attr->atime.nsec},
		.st_mtim = {.tv_sec = attr->mtime.sec, .tv_nsec = attr->mtime.nsec},
		.st_ctim = {.tv_sec = attr->ctime.sec, .tv_nsec = attr->ctime.nsec},
	};
}

struct inode *ops_node_get(fuse_req_t req, fuse_ino_t id)
{
	struct inode *in;
	int err = fs_inode_get(state_of(req)->fs, (ino_id){id}, &in);

	if (!err)
		return in;
	if (err == DFS_ENOENT) { /* a handle of an inode that is deleted, or never was */
		metric_add(METRIC_FUSE_ERRORS, 1);
		fuse_reply_err(req, ESTALE);
	} else {
		ops_reply_err(req, err);
	}
	return NULL;
}

void ops_entry(const struct fs_attr *attr, struct fuse_entry_param *ret_e)
{
	*ret_e = (struct fuse_entry_param){
		.ino = attr->ino.v,
		/* The kernel keeps 32 bits, and wants none of the root. */
		.generation = attr->ino.v == DFS_ROOT_INO ? 0 : (uint32_t)attr->generation,
		.attr_timeout = CACHE_TIMEOUT_S,
		.entry_timeout = CACHE_TIMEOUT_S,
	};
	ops_stat(attr, &ret_e->attr);
}

void ops_reply_err(fuse_req_t req, int err)
{
	if (err)
		metric_add(METRIC_FUSE_ERRORS, 1);
	fuse_reply_err(req, errmap_to_errno(err));
}

void ops_reply_entry(fuse_req_t req, int err, struct inode *in, const struct fs_attr *attr)
{
	struct fuse_state *st = state_of(req);
	struct fuse_entry_param e;

	if (err) {
		ops_reply_err(req, err);
		return;
	}
	ops_entry(attr, &e);
	fs_kernel_knows(st->fs, in); /* before the reply: it may be forgotten at once */
	/* Of a request that was aborted meanwhile the kernel learns nothing. */
	if (fuse_reply_entry(req, &e) != 0)
		fs_kernel_forgot(st->fs, attr->ino, 1);
	fs_forget(st->fs, in, 1);
}

void *ops_buffer_get(struct fuse_state *st)
{
	{
		ENV_LOCKED(&st->lock);
		if (st->spare_count > 0)
			return st->spare[--st->spare_count];
	}
	return mem_map(MAX_TRANSFER_BYTES);
}

void ops_buffer_put(struct fuse_state *st, void *buffer)
{
	{
		ENV_LOCKED(&st->lock);
		if (st->spare_count < BUFFERS_KEPT) {
			st->spare[st->spare_count++] = buffer;
			return;
		}
	}
	mem_unmap(buffer, MAX_TRANSFER_BYTES);
}

void ops_attr_changed(struct fuse_state *st, struct inode *in)
{
	(void)fuse_lowlevel_notify_inval_inode(st->fuse, fs_inode_ino(in).v, -1, 0);
}

void ops_accessed(struct fuse_state *st, struct inode *in)
{
	if (fs_accessed(st->fs, in))
		ops_attr_changed(st, in);
}

/* As far as it can be told; root is in all. */
static bool is_in_group(fuse_req_t req, gid_t gid)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	FREE gid_t *groups = NULL;
	int count;

	if (ctx->uid == 0 || ctx->gid == gid)
		return true;
	groups = xcalloc(GROUPS_MAX, sizeof(*groups));
	count = fuse_req_getgroups(req, GROUPS_MAX, groups);
	for (int i = 0; i < MIN(count, GROUPS_MAX); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* *ret_mode: without the bits that a change by this caller takes away. */
static int mode_after_change(fuse_req_t req, struct inode *in, uint32_t *ret_mode,
			     bool *ret_differs)
{
	struct fs_attr attr;
	uint32_t bits = S_ISUID;
	int err = fs_getattr(state_of(req)->fs, in, &attr);

	if (err)
		return err;
	if ((attr.mode & S_ISGID) && ((attr.mode & S_IXGRP) || !is_in_group(req, attr.gid)))
		bits |= S_ISGID;
	*ret_mode = attr.mode & ~bits;
	*ret_differs = !S_ISDIR(attr.mode) && *ret_mode != attr.mode;
	return 0;
}

int ops_kill_suid(fuse_req_t req, struct inode *in)
{
	struct fuse_state *st = state_of(req);
	struct fs_attr attr;
	bool differs;
	int err = mode_after_change(req, in, &attr.mode, &differs);

	if (err || !differs)
		return err;
	err = fs_setattr(st->fs, in, &attr, FS_SET_MODE, &attr);
	if (!err)
		ops_attr_changed(st, in);
	return err;
}

int ops_kill_suid_with(fuse_req_t req, struct inode *in, struct fs_attr *want, unsigned *set)
{
	uint32_t mode;
	bool differs;
	int err = mode_after_change(req, in, &mode, &differs);

	if (!err && differs) {
		want->mode = mode;
		*set |= FS_SET_MODE;
	}
	return err;
}

static void reply_attr(fuse_req_t req, int err, const struct fs_attr *attr)
{
	struct stat st;

	if (err) {
		ops_reply_err(req, err);
		return;
	}
	ops_stat(attr, &st);
	fuse_reply_attr(req, &st, CACHE_TIMEOUT_S);
}

void op_getattr(fuse_req_t req, struct inode *in, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);
	struct fs_attr attr;
	int err = fs_getattr(st->fs, in, &attr);

	(void)fi;
	reply_attr(req, err, &attr);
}

void op_setattr(fuse_req_t req, struct inode *in, struct stat *to, int to_set,
		struct fuse_file_info *fi)
{
	static const struct {
		int theirs;
		unsigned ours;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, FS_SET_MODE},   {FUSE_SET_ATTR_UID, FS_SET_UID},
		{FUSE_SET_ATTR_GID, FS_SET_GID},     {FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, FS_SET_ATIME}, {FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
		{FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
	};
	struct fuse_state *st = state_of(req);
	struct fs_attr want = {
		.mode = to->st_mode,
		.uid = to->st_uid,
		.gid = to->st_gid,
		.size = (uint64_t)to->st_size,
		.atime = {.sec = to->st_atim.tv_sec, .nsec = (uint32_t)to->st_atim.tv_nsec},
		.mtime = {.sec = to->st_mtim.tv_sec, .nsec = (uint32_t)to->st_mtim.tv_nsec},
		.ctime = {.sec = to->st_ctim.tv_sec, .nsec = (uint32_t)to->st_ctim.tv_nsec},
	};
	struct fs_attr attr;
	unsigned set = 0;
	int err = 0;

	(void)fi;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (to_set & bits[i].theirs)
			set |= bits[i].ours;
	/* "now" comes together with the plain bit and wins */
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		set = (set & ~(unsigned)FS_SET_ATIME) | FS_SET_ATIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		set = (set & ~(unsigned)FS_SET_MTIME) | FS_SET_MTIME_NOW;
	/* A request for nothing is chown(-1, -1). */
	if (st->kill_suid && !(set & FS_SET_MODE) &&
	    (!set || (set & (FS_SET_UID | FS_SET_GID)) ||
	     ((set & FS_SET_SIZE) && fuse_req_ctx(req)->uid != 0)))
		err = ops_kill_suid_with(req, in, &want, &set);
	if (!err)
		err = fs_setattr(st->fs, in, &want, set, &attr);
	reply_attr(req, err, &attr);
}

void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct fuse_state *st = state_of(req);
	struct fs_statfs fs;
	struct statvfs out;

	(void)id;
	fs_statfs(st->fs, &fs);
	out = (struct statvfs){
		.f_bsize = BLOCK_BYTES,
		.f_frsize = BLOCK_BYTES,
		.f_blocks = fs.total_bytes / BLOCK_BYTES,
		.f_bfree = fs.free_bytes / BLOCK_BYTES,
		.f_bavail = fs.available_bytes / BLOCK_BYTES,
		.f_files = fs.files,
		.f_ffree = fs.files_free,
		.f_favail = fs.files_free,
		.f_namemax = DFS_NAME_MAX,
	};
	fuse_reply_statfs(req, &out);
}

/* The namespaces that POSIX programs use; of system.* access control lists, where the kernel obeys them. */
static int xattr_name_check(const struct fuse_state *st, const char *name)
{
	static const char *const prefixes[] = {"user.", "trusted.", "security."};

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return name[strlen(prefixes[i])] ? 0 : DFS_EINVAL;
	return st->acl && (strcmp(name, FS_XATTR_ACL_ACCESS) == 0 ||
			   strcmp(name, FS_XATTR_ACL_DEFAULT) == 0)
		       ? 0
		       : DFS_ENOTSUP;
}

/* As chmod by who is not in the file's group: an access list takes setgid away. */
static bool drops_setgid(fuse_req_t req, struct inode *in, const char *name)
{
	struct fuse_state *st = state_of(req);
	struct fs_attr attr;

	return strcmp(name, FS_XATTR_ACL_ACCESS) == 0 && fs_getattr(st->fs, in, &attr) == 0 &&
	       (attr.mode & S_ISGID) && !is_in_group(req, attr.gid);
}

void op_setxattr(fuse_req_t req, struct inode *in, const char *name, const char *value, size_t size,
		 int flags)
{
	struct fuse_state *st = state_of(req);
	unsigned ours = 0;
	int err = xattr_name_check(st, name);

	if (err) {
		ops_reply_err(req, err);
		return;
	}
	if (flags & XATTR_CREATE)
		ours |= FS_XATTR_CREATE;
	if (flags & XATTR_REPLACE)
		ours |= FS_XATTR_REPLACE;
	if (drops_setgid(req, in, name))
		ours |= FS_XATTR_DROP_SETGID;
	ops_reply_err(req, fs_setxattr(st->fs, in, name, value, size, ours));
}

/* size 0 asks for the length alone. */
static void reply_xattr(fuse_req_t req, int err, const struct buf *value, size_t size)
{
	if (err)
		ops_reply_err(req, err);
	else if (size == 0)
		fuse_reply_xattr(req, value->len);
	else if (value->len > size)
		ops_reply_err(req, DFS_ERANGE);
	else
		fuse_reply_buf(req, (const char *)value->data, value->len);
}

void op_getxattr(fuse_req_t req, struct inode *in, const char *name, size_t size)
{
	struct fuse_state *st = state_of(req);
	CLEANUP(buf_release) struct buf value = {0};
	int err = xattr_name_check(st, name);

	if (!err)
		err = fs_getxattr(st->fs, in, name, &value);
	reply_xattr(req, err, &value, size);
}

/* As on other filesystems: the kernel refuses to give their values, and leaves their names to us. */
static void hide_trusted(struct buf *names)
{
	static const char prefix[] = "trusted.";
	size_t from = 0, kept = 0, len;

	for (; from < names->len; from += len) {
		const char *name = (const char *)names->data + from;

		len = strlen(name) + 1;
		if (strncmp(name, prefix, strlen(prefix)) == 0)
			continue;
		memmove(names->data + kept, name, len);
		kept += len;
	}
	names->len = kept;
}

void op_listxattr(fuse_req_t req, struct inode *in, size_t size)
{
	struct fuse_state *st = state_of(req);
	CLEANUP(buf_release) struct buf names = {0};
	int err = fs_listxattr(st->fs, in, &names);

	if (fuse_req_ctx(req)->uid != 0)
		hide_trusted(&names);
	reply_xattr(req, err, &names, size);
}

void op_removexattr(fuse_req_t req, struct inode *in, const char *name)
{
	struct fuse_state *st = state_of(req);
	int err = xattr_name_check(st, name);

	if (!err)
		err = fs_removexattr(st->fs, in, name);
	ops_reply_err(req, err);
}
