/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listing directories. A listing has no state of ours (an offset says where it goes on), so the
 * kernel is told once that directories need no opening, which saves it two requests for each
 * listing and lets it keep what it has listed until it changes the directory. No locks of its own.
 */
#include "fuse/ops.h"

#include <errno.h>

#include "fuse/errmap.h"

struct listing {
	fuse_req_t req;
	struct fuse_state *st;
	char *buffer;
	size_t size, len;
};

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	if (state_of(req)->opendir_optional) {
		fuse_reply_err(req, ENOSYS); /* means: never ask again */
		return;
	}
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	fuse_reply_open(req, fi);
}

void op_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, 0);
}

/* The type and number of an entry is all that a plain listing tells. */
static struct stat entry_stat(const struct fs_dirent *e)
{
	return (struct stat){.st_ino = e->ino.v, .st_mode = e->mode};
}

static int add_entry(void *ctx, const struct fs_dirent *e)
{
	struct listing *l = ctx;
	struct stat st = entry_stat(e);
	size_t room = l->size - l->len;
	size_t need = fuse_add_direntry(l->req, l->buffer + l->len, room, e->name, &st,
					(off_t)e->next);

	if (need > room)
		return 1;
	l->len += need;
	return 0;
}

static int add_entry_plus(void *ctx, const struct fs_dirent *e)
{
	struct listing *l = ctx;
	struct fuse_entry_param param = {.attr = entry_stat(e)};
	size_t room = l->size - l->len;
	size_t need;

	/* Node id 0 ("." and "..") tells the kernel to take the name alone. */
	if (e->attr)
		ops_entry(e->attr, &param);
	need = fuse_add_direntry_plus(l->req, l->buffer + l->len, room, e->name, &param,
				      (off_t)e->next);
	if (need > room)
		return 1;
	if (e->attr)
		fs_kernel_knows(l->st->fs, e->inode);
	l->len += need;
	return 0;
}

static void list(fuse_req_t req, struct inode *in, size_t size, off_t off, bool plus)
{
	struct fuse_state *st = state_of(req);
	struct listing l = {
		.req = req,
		.st = st,
		.buffer = ops_buffer_get(st),
		.size = MIN(size, MAX_TRANSFER_BYTES),
	};
	int err = DFS_ENOMEM;

	if (off == 0 && st->dir_access_times)
		ops_accessed(st, in);
	if (l.buffer)
		err = fs_readdir(st->fs, in, (uint64_t)off, plus, plus ? add_entry_plus : add_entry,
				 &l);
	/*
	 * Entries that were taken before an error are counted as known, so this reply must be sent; the
	 * kernel asks again from there and gets the error then. A reply that can't be sent is one of an
	 * aborted connection, which forgets nothing any more.
	 */
	if (err && l.len == 0)
		ops_reply_err(req, err);
	else
		fuse_reply_buf(req, l.buffer, l.len);
	if (l.buffer)
		ops_buffer_put(st, l.buffer);
}

void op_readdir(fuse_req_t req, struct inode *in, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, in, size, off, false);
}

void op_readdirplus(fuse_req_t req, struct inode *in, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, in, size, off, true);
}

/*
 * fsync of the root directory stores everything. The kernel sends nothing to a FUSE server for
 * syncfs(2), so that is how a person or program asks for it: `sync MOUNTPOINT` (P1).
 */
void op_fsyncdir(fuse_req_t req, struct inode *in, int datasync, struct fuse_file_info *fi)
{
	struct fuse_state *st = state_of(req);

	(void)fi;
	if (fs_inode_ino(in).v == DFS_ROOT_INO)
		ops_reply_err(req, fs_sync_all(st->fs));
	else
		ops_reply_err(req, fs_fsync(st->fs, in, datasync != 0));
}
