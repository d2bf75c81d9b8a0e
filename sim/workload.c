/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client: a fiber that does random operations within its own directory, and compares each result,
 * errors too, with its model. Operations on names are told to the model before the engine is asked,
 * so that a crash finds them in flight. Data operations are in workload_data.c.
 */
#include "sim/run_home.h"
#include "sim/workload.h"
#include "sim/wraps.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/probe.h"

#define MAX_DEPTH 3u
#define NAMES 12u

/* ---- picking ---- */

struct picked {
	struct mnode *dir; /* NULL: a handle's node */
	char name[32];
	struct mnode *node; /* NULL: no such name */
};

static unsigned depth_of(const struct mnode *dir)
{
	unsigned depth = 0;

	for (; dir->parent; dir = dir->parent)
		depth++;
	return depth;
}

static struct mnode *pick_dir(struct client *c)
{
	struct mnode *dir = c->model->root;

	for (;;) {
		struct mnode *dirs[64];
		unsigned count = 0;
		struct mentry *e;

		TAILQ_FOREACH(e, &dir->entries, link)
			if (S_ISDIR(e->node->mode) && count < ARRAY_SIZE(dirs))
				dirs[count++] = e->node;
		if (!count || rng_one_in(&c->rng, 2))
			return dir;
		dir = dirs[rng_below(&c->rng, count)];
	}
}

/* A name in some directory, mostly one that exists. want: S_IFMT bits preferred, 0: any. */
static struct picked pick(struct client *c, uint32_t want, bool existing)
{
	struct picked p = {.dir = pick_dir(c)};
	struct mentry *e, *chosen = NULL;
	uint64_t seen = 0;

	if (existing)
		TAILQ_FOREACH(e, &p.dir->entries, link)
			if (!want || (e->node->mode & S_IFMT) == want)
				if (rng_one_in(&c->rng, ++seen))
					chosen = e;
	if (chosen) {
		snprintf(p.name, sizeof(p.name), "%s", chosen->name);
	} else {
		snprintf(p.name, sizeof(p.name), "%c%llu", rng_one_in(&c->rng, 3) ? 'd' : 'f',
			 (unsigned long long)rng_below(&c->rng, NAMES));
	}
	e = model_find(p.dir, p.name);
	p.node = e ? e->node : NULL;
	return p;
}

static void path_of(struct client *c, const struct mnode *dir, char *out, size_t len)
{
	char up[256];
	struct mentry *e;

	if (dir == c->model->root) {
		snprintf(out, len, "/c%u", c->id);
		return;
	}
	TAILQ_FOREACH(e, &dir->parent->entries, link)
		if (e->node == dir)
			break;
	path_of(c, dir->parent, up, sizeof(up));
	snprintf(out, len, "%s/%s", up, e->name);
}

struct inode *client_dir(struct client *c, struct mnode *dir)
{
	char path[300];
	struct inode *in;
	int err;

	path_of(c, dir, path, sizeof(path));
	err = fs_resolve(c->run->fs, path, &in);
	if (err)
		sim_fail("P2", "%s is not found: %s", path, dfs_err_name(err));
	if (fs_inode_ino(in).v != dir->ino)
		sim_fail("P2", "%s is inode %llu, not %llu", path,
			 (unsigned long long)fs_inode_ino(in).v, (unsigned long long)dir->ino);
	return in;
}

static struct inode *open_node(struct client *c, const struct picked *p)
{
	struct inode *dir = client_dir(c, p->dir), *in = NULL;
	struct fs_attr attr;
	int err = fs_lookup(c->run->fs, dir, p->name, &in, &attr);

	fs_forget(c->run->fs, dir, 1);
	client_expect(c, "lookup", err, p->node ? 0 : DFS_ENOENT);
	if (!err && attr.ino.v != p->node->ino)
		sim_fail("P2", "%s is inode %llu, not %llu", p->name,
			 (unsigned long long)attr.ino.v, (unsigned long long)p->node->ino);
	return err ? NULL : in;
}

/* ---- results ---- */

/* A full pool refuses what needs room when it is asked (F4), and never to delete, sync or read. */
static bool needs_room(const char *what)
{
	static const char *const never[] = {"unlink", "rmdir",	"fsync",   "sync of everything",
					    "read",   "lookup", "readdir", "getattr",
					    "get",    "seek"};

	for (unsigned i = 0; i < ARRAY_SIZE(never); i++)
		if (!strcmp(what, never[i]))
			return false;
	return true;
}

/* With more disks lost than tolerated, or half of those that vote lost at once. */
bool run_bears(struct run *r, int err)
{
	if (!r->exceeded && !r->home_broken)
		return false;
	return err == DFS_EIO || err == DFS_EFAILED || err == DFS_EGONE || err == DFS_ENOSPC ||
	       err == DFS_ETIMEDOUT || err == DFS_EROFS || err == DFS_ENOQUORUM;
}

static bool changes(const char *what)
{
	static const char *const never[] = {"read", "lookup", "readdir", "getattr", "get", "seek"};

	for (unsigned i = 0; i < ARRAY_SIZE(never); i++)
		if (!strcmp(what, never[i]))
			return false;
	return true;
}

/* Of these some steps may be done when the journal has no room for the next. */
static bool takes_steps(const char *what)
{
	return !strcmp(what, "truncate") || !strcmp(what, "punch") || !strcmp(what, "fallocate");
}

/* What it did last may be half done, as after a power cut. */
static void stop(struct client *c)
{
	c->stopped = true;
	c->ops_left = 0;
}

/* True when the result is the wanted one; false when it is an error that faults explain. */
bool client_expect(struct client *c, const char *what, int err, int want)
{
	if (err == want)
		return true;
	if (err == DFS_ENOSPC && (c->run->lacks_room || run_overwriting_fails(c->run) ||
				  (c->run->small_disks && needs_room(what)))) {
		PROBE("enospc-seen-by-a-client");
		sim_trace("c%u %s: DFS_ENOSPC", c->id, what);
		if (run_overwriting_fails(c->run) && takes_steps(what))
			stop(c);
		return false;
	}
	if (needs_room(what) && run_home_silent(c->run, err))
		return false;
	if (home_explains(c->run, err, needs_room(what))) {
		PROBE("enospc-for-the-pool-directory");
		return false;
	}
	if (run_bears(c->run, err)) {
		PROBE("error-beyond-tolerance");
		sim_trace("c%u %s: %s", c->id, what, dfs_err_name(err));
		if (changes(what))
			stop(c);
		return false;
	}
	sim_fail("P3", "client %u: %s gives %s, not %s", c->id, what, dfs_err_name(err),
		 dfs_err_name(want));
}

/* Ends an operation on names: err is what the engine said, want what the model says. */
static void finish(struct client *c, const char *what, int err, int want, struct mnode *created,
		   const struct fs_attr *attr)
{
	struct model *m = c->model;

	if (want) { /* nothing was told to the model */
		(void)client_expect(c, what, err, want);
		return;
	}
	if (!client_expect(c, what, err, 0)) {
		if (!c->stopped)
			model_failed(m);
		return;
	}
	if (created) {
		if (attr->mode != created->mode || attr->nlink != created->nlink || !attr->ino.v)
			sim_fail("P2", "client %u: %s makes mode %o with %u links, not %o, %u",
				 c->id, what, attr->mode, attr->nlink, created->mode,
				 created->nlink);
		model_set_ino(m, created, attr->ino.v);
	}
	model_acked(m);
}

static void set_nlink(struct model *m, struct mnode *n, int delta)
{
	model_attr(m, n);
	n->nlink = (uint32_t)((int64_t)n->nlink + delta);
	model_attr_done(m, n);
}

/* ---- operations on names ---- */

static void op_create(struct client *c, uint32_t type)
{
	struct picked p = pick(c, 0, rng_one_in(&c->rng, 10));
	uint32_t mode = type | (S_ISLNK(type) ? 0777 : (uint32_t)rng_below(&c->rng, 01000));
	struct fs_cred cred = {.uid = 0, .gid = 0};
	struct mnode *n = NULL;
	struct inode *dir, *in = NULL;
	struct fs_attr attr = {0};
	struct fs *fs = c->run->fs;
	char target[32];
	int err;

	if (S_ISDIR(type) && depth_of(p.dir) >= MAX_DEPTH)
		return;
	snprintf(target, sizeof(target), "t%llu", (unsigned long long)rng_below(&c->rng, 1000000));
	dir = client_dir(c, p.dir);
	sim_trace("c%u create %llu/%s %o", c->id, (unsigned long long)p.dir->ino, p.name, mode);
	if (!p.node) {
		model_begin(c->model, "create %llu/%s %o", (unsigned long long)p.dir->ino, p.name,
			    mode);
		n = model_new_node(c->model, mode);
		if (S_ISLNK(mode))
			n->target_hash = model_hash(3, target, strlen(target));
		model_add_entry(c->model, p.dir, p.name, n);
		set_nlink(c->model, n, S_ISDIR(mode) ? 2 : 1);
		if (S_ISDIR(mode))
			set_nlink(c->model, p.dir, 1);
		model_pending(c->model);
	}
	if (S_ISDIR(mode))
		err = fs_mkdir(fs, dir, p.name, mode, cred, &in, &attr);
	else if (S_ISLNK(mode))
		err = fs_symlink(fs, dir, p.name, target, cred, &in, &attr);
	else
		err = fs_mknod(fs, dir, p.name, mode, 0, cred, &in, &attr);
	finish(c, "create", err, p.node ? DFS_EEXIST : 0, n, &attr);
	if (!err)
		fs_forget(fs, in, 1);
	fs_forget(fs, dir, 1);
}

static void op_unlink(struct client *c)
{
	struct picked p = pick(c, 0, !rng_one_in(&c->rng, 10));
	struct inode *dir = client_dir(c, p.dir);
	int want = !p.node ? DFS_ENOENT : S_ISDIR(p.node->mode) ? DFS_EISDIR : 0;

	sim_trace("c%u unlink %llu/%s", c->id, (unsigned long long)p.dir->ino, p.name);
	if (!want) {
		model_begin(c->model, "unlink %llu/%s", (unsigned long long)p.dir->ino, p.name);
		model_drop_entry(c->model, p.dir, p.name);
		set_nlink(c->model, p.node, -1);
		model_pending(c->model);
	}
	finish(c, "unlink", fs_unlink(c->run->fs, dir, p.name), want, NULL, NULL);
	fs_forget(c->run->fs, dir, 1);
}

static void op_rmdir(struct client *c)
{
	struct picked p = pick(c, S_IFDIR, true);
	struct inode *dir = client_dir(c, p.dir);
	int want = !p.node			    ? DFS_ENOENT
		   : !S_ISDIR(p.node->mode)	    ? DFS_ENOTDIR
		   : !TAILQ_EMPTY(&p.node->entries) ? DFS_ENOTEMPTY
						    : 0;

	sim_trace("c%u rmdir %llu/%s", c->id, (unsigned long long)p.dir->ino, p.name);
	if (!want) {
		model_begin(c->model, "rmdir %llu/%s", (unsigned long long)p.dir->ino, p.name);
		model_drop_entry(c->model, p.dir, p.name);
		set_nlink(c->model, p.node, -2);
		set_nlink(c->model, p.dir, -1);
		model_pending(c->model);
	}
	finish(c, "rmdir", fs_rmdir(c->run->fs, dir, p.name), want, NULL, NULL);
	fs_forget(c->run->fs, dir, 1);
}

static void op_link(struct client *c)
{
	struct picked from = pick(c, S_IFREG, true), to = pick(c, 0, rng_one_in(&c->rng, 10));
	struct inode *in = open_node(c, &from), *dir;
	struct fs_attr attr;
	int want;

	if (!in)
		return;
	want = S_ISDIR(from.node->mode) ? DFS_EPERM : to.node ? DFS_EEXIST : 0;
	dir = client_dir(c, to.dir);
	sim_trace("c%u link %llu to %llu/%s", c->id, (unsigned long long)from.node->ino,
		  (unsigned long long)to.dir->ino, to.name);
	if (!want) {
		model_begin(c->model, "link %llu as %llu/%s", (unsigned long long)from.node->ino,
			    (unsigned long long)to.dir->ino, to.name);
		model_add_entry(c->model, to.dir, to.name, from.node);
		set_nlink(c->model, from.node, 1);
		model_pending(c->model);
	}
	finish(c, "link", fs_link(c->run->fs, in, dir, to.name, &attr), want, NULL, NULL);
	fs_forget(c->run->fs, dir, 1);
	fs_forget(c->run->fs, in, 1);
}

static bool is_dir(const struct mnode *n) { return n && S_ISDIR(n->mode); }

static int rename_want(const struct picked *from, const struct picked *to, unsigned flags)
{
	bool exchange = flags & FS_RENAME_EXCHANGE;

	if (!from->node)
		return DFS_ENOENT;
	if (exchange && !to->node)
		return DFS_ENOENT;
	if ((flags & FS_RENAME_NOREPLACE) && to->node)
		return DFS_EEXIST;
	if (is_dir(from->node) && model_is_within(to->dir, from->node))
		return DFS_EINVAL;
	if (exchange && is_dir(to->node) && model_is_within(from->dir, to->node))
		return DFS_EINVAL;
	if (from->node == to->node || !to->node || exchange)
		return 0;
	if (is_dir(to->node) && !is_dir(from->node))
		return DFS_EISDIR;
	if (!is_dir(to->node) && is_dir(from->node))
		return DFS_ENOTDIR;
	return is_dir(to->node) && !TAILQ_EMPTY(&to->node->entries) ? DFS_ENOTEMPTY : 0;
}

static void rename_in_model(struct model *m, const struct picked *from, const struct picked *to,
			    unsigned flags)
{
	struct mop *op;

	model_begin(m, "rename %llu/%s to %llu/%s flags %u", (unsigned long long)from->dir->ino,
		    from->name, (unsigned long long)to->dir->ino, to->name, flags);
	op = &m->ops[m->op_count - 1];
	if (from->node != to->node) {
		model_drop_entry(m, from->dir, from->name);
		if (to->node)
			model_drop_entry(m, to->dir, to->name);
		model_add_entry(m, to->dir, to->name, from->node);
		if (is_dir(from->node)) {
			set_nlink(m, from->dir, -1);
			set_nlink(m, to->dir, 1);
		}
		if (flags & FS_RENAME_EXCHANGE) {
			model_add_entry(m, from->dir, from->name, to->node);
			if (is_dir(to->node)) {
				set_nlink(m, to->dir, -1);
				set_nlink(m, from->dir, 1);
			}
		} else if (to->node) {
			set_nlink(m, to->node, is_dir(to->node) ? -2 : -1);
			if (is_dir(to->node))
				set_nlink(m, to->dir, -1);
			if (S_ISREG(from->node->mode) && S_ISREG(to->node->mode)) {
				op->content = from->node;
				op->content_mark = model_data_mark(from->node);
			}
		}
	}
	model_pending(m);
}

static void op_rename(struct client *c)
{
	struct picked from = pick(c, 0, !rng_one_in(&c->rng, 12));
	struct picked to = pick(c,
				from.node && rng_one_in(&c->rng, 2) ? from.node->mode & S_IFMT : 0,
				rng_one_in(&c->rng, 2));
	unsigned flags = rng_one_in(&c->rng, 6)	  ? FS_RENAME_EXCHANGE
			 : rng_one_in(&c->rng, 6) ? FS_RENAME_NOREPLACE
						  : 0;
	struct inode *from_dir, *to_dir;
	int want = rename_want(&from, &to, flags);

	if (from.dir == to.dir && !strcmp(from.name, to.name))
		return;
	/* Deep trees make deep paths: a directory stays where it is, or moves up. */
	if (!want && (is_dir(from.node) || (is_dir(to.node) && (flags & FS_RENAME_EXCHANGE))) &&
	    (depth_of(to.dir) > depth_of(from.dir) ||
	     ((flags & FS_RENAME_EXCHANGE) && depth_of(to.dir) != depth_of(from.dir))))
		return;
	from_dir = client_dir(c, from.dir);
	to_dir = client_dir(c, to.dir);
	sim_trace("c%u rename %llu/%s to %llu/%s flags %u", c->id,
		  (unsigned long long)from.dir->ino, from.name, (unsigned long long)to.dir->ino,
		  to.name, flags);
	if (!want)
		rename_in_model(c->model, &from, &to, flags);
	finish(c, "rename", fs_rename(c->run->fs, from_dir, from.name, to_dir, to.name, flags),
	       want, NULL, NULL);
	fs_forget(c->run->fs, to_dir, 1);
	fs_forget(c->run->fs, from_dir, 1);
}

/* ---- attributes ---- */

static void op_chmod(struct client *c)
{
	struct picked p = pick(c, 0, true);
	struct inode *in = open_node(c, &p);
	struct fs_attr attr = {0};
	int err;

	if (!in)
		return;
	attr.mode = (p.node->mode & S_IFMT) | (uint32_t)rng_below(&c->rng, 01000);
	sim_trace("c%u chmod %llu %o", c->id, (unsigned long long)p.node->ino, attr.mode);
	model_begin(c->model, "chmod %llu %o", (unsigned long long)p.node->ino, attr.mode);
	model_attr(c->model, p.node);
	p.node->mode = attr.mode;
	model_attr_done(c->model, p.node);
	model_pending(c->model);
	err = fs_setattr(c->run->fs, in, &attr, FS_SET_MODE, &attr);
	finish(c, "chmod", err, 0, NULL, NULL);
	if (!err && attr.mode != p.node->mode)
		sim_fail("P2", "chmod says mode %o, not %o", attr.mode, p.node->mode);
	fs_forget(c->run->fs, in, 1);
}

static void op_setxattr(struct client *c)
{
	struct picked p = pick(c, 0, true);
	struct inode *in = open_node(c, &p);
	unsigned i = (unsigned)rng_below(&c->rng, MODEL_XATTRS);
	unsigned flags = (unsigned)rng_below(&c->rng, 3);
	struct mxattr x = {.set = true, .seed = ++c->run->next_data_seed};
	uint8_t value[8192];
	int want;

	if (!in)
		return;
	x.len = (uint32_t)(rng_one_in(&c->rng, 10) ? rng_below(&c->rng, sizeof(value))
						   : rng_below(&c->rng, 100));
	model_fill(x.seed, 0, value, x.len);
	want = flags == FS_XATTR_CREATE && p.node->xattrs[i].set     ? DFS_EEXIST
	       : flags == FS_XATTR_REPLACE && !p.node->xattrs[i].set ? DFS_ENODATA
								     : 0;
	sim_trace("c%u setxattr %llu %u", c->id, (unsigned long long)p.node->ino, i);
	if (!want) {
		model_begin(c->model, "setxattr %llu %u", (unsigned long long)p.node->ino, i);
		model_attr(c->model, p.node);
		p.node->xattrs[i] = x;
		model_attr_done(c->model, p.node);
		model_pending(c->model);
	}
	finish(c, "setxattr", fs_setxattr(c->run->fs, in, model_xattr_name(i), value, x.len, flags),
	       want, NULL, NULL);
	fs_forget(c->run->fs, in, 1);
}

static void op_removexattr(struct client *c)
{
	struct picked p = pick(c, 0, true);
	struct inode *in = open_node(c, &p);
	unsigned i = (unsigned)rng_below(&c->rng, MODEL_XATTRS);
	int want;

	if (!in)
		return;
	want = p.node->xattrs[i].set ? 0 : DFS_ENODATA;
	sim_trace("c%u removexattr %llu %u", c->id, (unsigned long long)p.node->ino, i);
	if (!want) {
		model_begin(c->model, "removexattr %llu %u", (unsigned long long)p.node->ino, i);
		model_attr(c->model, p.node);
		p.node->xattrs[i].set = false;
		model_attr_done(c->model, p.node);
		model_pending(c->model);
	}
	finish(c, "removexattr", fs_removexattr(c->run->fs, in, model_xattr_name(i)), want, NULL,
	       NULL);
	fs_forget(c->run->fs, in, 1);
}

/* ---- looking ---- */

struct listing {
	struct mnode *dir;
	uint64_t count, next, left; /* left: entries until this call ends */
	struct client *c;
};

static int listed(void *ctx, const struct fs_dirent *de)
{
	struct listing *l = ctx;
	struct mentry *e;

	if (!l->left)
		return 1;
	l->left--;
	l->next = de->next;
	if (!strcmp(de->name, ".") || !strcmp(de->name, ".."))
		return 0;
	e = model_find(l->dir, de->name);
	if (!e || e->node->ino != de->ino.v || (e->node->mode & S_IFMT) != (de->mode & S_IFMT))
		sim_fail("P2", "directory %llu lists %s as inode %llu, which is not so",
			 (unsigned long long)l->dir->ino, de->name, (unsigned long long)de->ino.v);
	l->count++;
	return 0;
}

static void op_readdir(struct client *c)
{
	struct mnode *dir = pick_dir(c);
	struct inode *in = client_dir(c, dir);
	struct listing l = {.dir = dir, .c = c};
	struct mentry *e;
	uint64_t want = 0;

	sim_trace("c%u readdir %llu", c->id, (unsigned long long)dir->ino);
	do {
		int err;

		l.left = rng_between(&c->rng, 1, 8);
		want = l.left;
		err = fs_readdir(c->run->fs, in, l.next, false, listed, &l);
		(void)client_expect(c, "readdir", err, 0);
	} while (l.left == 0 && want);
	want = 0;
	TAILQ_FOREACH(e, &dir->entries, link)
		want++;
	if (l.count != want)
		sim_fail("P2", "directory %llu lists %llu entries, not %llu",
			 (unsigned long long)dir->ino, (unsigned long long)l.count,
			 (unsigned long long)want);
	fs_forget(c->run->fs, in, 1);
}

static void op_getattr(struct client *c)
{
	struct picked p = pick(c, 0, true);
	struct inode *in = open_node(c, &p);
	struct fs_attr attr;

	if (!in)
		return;
	if (client_expect(c, "getattr", fs_getattr(c->run->fs, in, &attr), 0) &&
	    (attr.mode != p.node->mode || attr.nlink != p.node->nlink ||
	     (S_ISREG(attr.mode) && attr.size != p.node->cur.len)))
		sim_fail("P2", "inode %llu has mode %o, %u links, size %llu, not %o, %u, %zu",
			 (unsigned long long)p.node->ino, attr.mode, attr.nlink,
			 (unsigned long long)attr.size, p.node->mode, p.node->nlink,
			 p.node->cur.len);
	fs_forget(c->run->fs, in, 1);
}

/* ---- files for the data operations ---- */

struct inode *client_file(struct client *c, struct mnode **ret_node)
{
	struct picked p;
	struct inode *in;

	if (c->run->hot ? !rng_one_in(&c->rng, 4) : rng_one_in(&c->rng, 3)) {
		struct run_handle *h =
			&c->handles[c->run->hot ? 0 : rng_below(&c->rng, RUN_HANDLES)];
		struct inode *again;

		if (h->node && S_ISREG(h->node->mode)) {
			*ret_node = h->node;
			/* One reference more, as a second open gives it. */
			if (!client_expect(c, "get",
					   fs_inode_get(c->run->fs, fs_inode_ino(h->in), &again),
					   0))
				return NULL;
			return again;
		}
	}
	p = pick(c, S_IFREG, true);
	if (!p.node || !S_ISREG(p.node->mode))
		return NULL;
	in = open_node(c, &p);
	*ret_node = p.node;
	return in;
}

static void op_handle(struct client *c)
{
	struct run_handle *h = &c->handles[rng_below(&c->rng, RUN_HANDLES)];

	if (h->node) {
		sim_trace("c%u close %llu", c->id, (unsigned long long)h->node->ino);
		h->node->handles--;
		fs_handle_put(c->run->fs, h->in);
		fs_forget(c->run->fs, h->in, 1);
		*h = (struct run_handle){0};
		return;
	}
	h->in = client_file(c, &h->node);
	if (!h->in) {
		h->node = NULL;
		return;
	}
	sim_trace("c%u open %llu", c->id, (unsigned long long)h->node->ino);
	h->node->handles++;
	fs_handle_get(h->in);
}

static void close_handles(struct client *c)
{
	for (unsigned i = 0; i < RUN_HANDLES; i++) {
		struct run_handle *h = &c->handles[i];

		if (!h->node)
			continue;
		h->node->handles--;
		fs_handle_put(c->run->fs, h->in);
		fs_forget(c->run->fs, h->in, 1);
		*h = (struct run_handle){0};
	}
}

/* ---- choice ---- */

static void do_files(struct client *c) { op_create(c, S_IFREG); }
static void do_dirs(struct client *c) { op_create(c, S_IFDIR); }
static void do_symlinks(struct client *c) { op_create(c, S_IFLNK); }

static const struct {
	void (*fn)(struct client *c);
	unsigned weight[4]; /* mixed, names, data, many syncs */
} choices[] = {
	{do_files, {10, 14, 5, 10}},	 {do_dirs, {4, 7, 1, 2}},
	{do_symlinks, {2, 3, 0, 1}},	 {op_unlink, {7, 9, 4, 4}},
	{op_rmdir, {2, 4, 1, 1}},	 {op_link, {4, 6, 1, 2}},
	{op_rename, {9, 16, 4, 8}},	 {op_chmod, {2, 4, 1, 1}},
	{op_setxattr, {3, 5, 1, 1}},	 {op_removexattr, {2, 2, 0, 1}},
	{op_readdir, {4, 6, 1, 2}},	 {op_getattr, {4, 4, 3, 2}},
	{op_handle, {5, 5, 5, 4}},	 {client_write, {26, 8, 50, 30}},
	{client_scatter, {1, 0, 2, 1}},	 {client_truncate, {6, 2, 9, 4}},
	{client_punch, {4, 1, 8, 2}},	 {client_read, {9, 3, 16, 6}},
	{client_seek, {2, 1, 3, 1}},	 {client_fsync, {6, 4, 5, 24}},
	{client_sync_all, {2, 2, 1, 4}}, {client_think, {4, 3, 8, 3}},
};

void client_main(void *arg)
{
	struct client *c = arg;
	unsigned total = 0, pick_at;

	for (unsigned i = 0; i < ARRAY_SIZE(choices); i++)
		total += choices[i].weight[c->run->weights];
	while (c->ops_left || (run_lasts(c->run) && !c->stopped)) {
		unsigned i = 0;

		c->ops_left -= c->ops_left > 0;
		c->run->round_ops++;
		c->run->opt->counts->ops++;
		run_op_starts(c->run);
		pick_at = (unsigned)rng_below(&c->rng, total);
		while (pick_at >= choices[i].weight[c->run->weights])
			pick_at -= choices[i++].weight[c->run->weights];
		bool waits = c->run->weights %
			     2; /* else nobody does, and jobs go as fast as they can */
		struct users *users = fs_users(c->run->fs);

		if (waits)
			users_enter(users);
		choices[i].fn(c);
		if (waits)
			users_leave(users);
		sim_reclaim(c->run);
		if (c->run->pace_ms)
			env_sleep_ms(rng_below(&c->rng, c->run->pace_ms));
	}
	if (c->run->lasts_until_ns && !c->stopped)
		client_sync_all(c);
	close_handles(c);
	c->busy = false;
}
