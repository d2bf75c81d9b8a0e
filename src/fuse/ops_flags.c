/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctls of chattr and lsattr. The kernel passes on those whose number says how long their argument is, with a
 * buffer of that length; to change flags it asks for the older set by FS_IOC_FSGETXATTR first, so both forms are
 * answered. Linux 5.13 and later has asked for CAP_LINUX_IMMUTABLE; of capabilities we are not told, so only root may
 * change flags. No locks of its own.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <linux/fs.h>

union result {
	int word;
	struct fsxattr x;
};

static const struct {
	unsigned ours;
	int flag;
	uint32_t xflag;
} table[] = {
	{FS_FLAG_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
	{FS_FLAG_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND},
};

static int set_flags(fuse_req_t req, struct inode *in, unsigned flags)
{
	struct fuse_state *st = state_of(req);
	int err;

	if (flags != fs_flags_get(in) && fuse_req_ctx(req)->uid != 0)
		return DFS_EPERM;
	err = fs_flags_set(st->fs, in, flags);
	if (!err)
		ops_attr_changed(st, in); /* ctime */
	return err;
}

static int set_word(fuse_req_t req, struct inode *in, const void *value)
{
	unsigned flags = 0;
	int word;

	memcpy(&word, value, sizeof(word));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		flags |= word & table[i].flag ? table[i].ours : 0;
		word &= ~table[i].flag;
	}
	return word ? DFS_ENOTSUP : set_flags(req, in, flags);
}

static int set_fsxattr(fuse_req_t req, struct inode *in, const void *value)
{
	struct fsxattr x;
	unsigned flags = 0;

	memcpy(&x, value, sizeof(x));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		flags |= x.fsx_xflags & table[i].xflag ? table[i].ours : 0;
		x.fsx_xflags &= ~table[i].xflag;
	}
	if (x.fsx_xflags || x.fsx_extsize || x.fsx_projid || x.fsx_cowextsize)
		return DFS_ENOTSUP;
	return set_flags(req, in, flags);
}

static int word_of(unsigned flags)
{
	int word = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		word |= flags & table[i].ours ? table[i].flag : 0;
	return word;
}

static struct fsxattr fsxattr_of(unsigned flags)
{
	struct fsxattr x = {0};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		x.fsx_xflags |= flags & table[i].ours ? table[i].xflag : 0;
	return x;
}

/* FS_IOC_GETVERSION: an int, though the number says a long. */
static int version_of(struct fuse_state *st, struct inode *in, int *ret_version)
{
	struct fs_attr attr;
	int err = fs_getattr(st->fs, in, &attr);

	if (!err)
		*ret_version = (int)(uint32_t)attr.generation;
	return err;
}

/* Fills out and says how much of it is the answer. DFS_ENODATA: such an ioctl is not ours. */
static int answer(fuse_req_t req, struct inode *in, unsigned command, const void *given,
		  union result *out, size_t *ret_len)
{
	struct fuse_state *st = state_of(req);

	*ret_len = 0;
	switch (command) {
	case FS_IOC_SETFLAGS:
		return set_word(req, in, given);
	case FS_IOC_FSSETXATTR:
		return set_fsxattr(req, in, given);
	case FS_IOC_GETFLAGS:
		out->word = word_of(fs_flags_get(in));
		*ret_len = sizeof(out->word);
		return 0;
	case FS_IOC_FSGETXATTR:
		out->x = fsxattr_of(fs_flags_get(in));
		*ret_len = sizeof(out->x);
		return 0;
	case FS_IOC_GETVERSION:
		*ret_len = sizeof(out->word);
		return version_of(st, in, &out->word);
	default:
		return DFS_ENODATA;
	}
}

void op_ioctl(fuse_req_t req, struct inode *in, unsigned command, void *arg,
	      struct fuse_file_info *fi, unsigned flags, const void *data, size_t data_len,
	      size_t out_len)
{
	union result given = {0}, out = {0}; /* a shorter argument is zeros at its end */
	size_t len;
	int err;

	(void)arg;
	(void)fi;
	(void)flags;
	if (data_len)
		memcpy(&given, data, MIN(data_len, sizeof(given)));
	err = answer(req, in, command, &given, &out, &len);
	if (err == DFS_ENODATA)
		fuse_reply_err(req, ENOTTY);
	else if (err)
		ops_reply_err(req, err);
	else
		fuse_reply_ioctl(req, 0, &out, MIN(len, out_len));
}
