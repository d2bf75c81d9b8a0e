/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rescue: the names. Directories are walked depth first, with one of them open at a time; memory grows with the depth only
 * (P9). What the index says is not believed to be a tree: no directory is entered twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pool/rescue_internal.h"

#define ROOT_INO 1u

struct frame { /* a directory on the way down */
	ino_id ino;
	struct rec_inode rec;
	uint64_t cookie; /* of the name that was taken last, below */
	char name[DFS_NAME_MAX + 1];
	char own[DFS_NAME_MAX + 1]; /* its name in the one above */
	size_t path_len;	    /* of the one above */
};

struct walk {
	struct rescue *r;
	struct frame *v;
	unsigned count, cap;
	int fd;		 /* of the last one */
	struct buf path; /* of the last one, from the target directory on; ends with a NUL */
};

static const char *path_text(struct walk *w) { return (const char *)w->path.data; }

static void path_push(struct walk *w, const char *name)
{
	w->path.len--; /* the NUL */
	if (w->path.len)
		buf_put_u8(&w->path, '/');
	buf_put(&w->path, name, strlen(name) + 1);
}

static void path_cut(struct walk *w, size_t len)
{
	w->path.len = len;
	w->path.data[len - 1] = '\0';
}

static bool is_name(const char *name)
{
	return name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- directories ---- */

static int enter(struct walk *w, ino_id ino, const struct rec_inode *rec, const char *name)
{
	size_t path_len = w->path.len;
	struct frame *f;
	int fd;

	path_push(w, name);
	if (mkdirat(w->fd, name, 0700) && !(w->count == 0 && errno == EEXIST)) {
		int err = rescue_errno();

		rescue_found(w->r, path_text(w), ino, NULL, "the directory cannot be made: %s",
			     dfs_err_text(errno));
		path_cut(w, path_len);
		return rescue_is_over(err) ? err : 0;
	}
	fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return rescue_errno();
	close(w->fd);
	w->fd = fd;
	if (w->count == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 16;
		w->v = xrealloc(w->v, w->cap * sizeof(*w->v));
	}
	f = &w->v[w->count++];
	*f = (struct frame){.ino = ino, .rec = *rec, .path_len = path_len};
	snprintf(f->own, sizeof(f->own), "%s", name);
	w->r->res->dirs++;
	return 0;
}

/* Its times are set when nothing more is put into it. */
static int leave(struct walk *w)
{
	struct frame *f = &w->v[w->count - 1];
	int up = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (up < 0)
		return rescue_errno();
	close(w->fd);
	w->fd = up;
	rescue_attributes(w->r, w->fd, f->own, f->ino, &f->rec, path_text(w));
	path_cut(w, f->path_len);
	w->count--;
	return 0;
}

/* ---- what is in them ---- */

static int make_link(struct walk *w, ino_id ino, const struct rec_inode *rec, const char *name)
{
	BUF target = {0};
	int err = get_inline(w->r->meta, ino, &target);

	buf_put_u8(&target, 0);
	if (!err && symlinkat((const char *)target.data, w->fd, name))
		err = rescue_errno();
	if (!err) {
		w->r->res->others++;
		rescue_attributes(w->r, w->fd, name, ino, rec, path_text(w));
	} else {
		rescue_found(w->r, path_text(w), ino, NULL, "the symbolic link cannot be made: %s",
			     dfs_err_text(err));
	}
	return rescue_is_over(err) ? err : 0;
}

static int make_node(struct walk *w, ino_id ino, const struct rec_inode *rec, const char *name)
{
	int err = 0;

	if (mknodat(w->fd, name, (rec->mode & S_IFMT) | 0600, rec->rdev))
		err = rescue_errno();
	if (!err) {
		w->r->res->others++;
		rescue_attributes(w->r, w->fd, name, ino, rec, path_text(w));
	} else {
		rescue_found(w->r, path_text(w), ino, NULL, "the special file cannot be made: %s",
			     dfs_err_text(err));
	}
	return rescue_is_over(err) ? err : 0;
}

/* Further names of a file that has several are links, to a name that is kept aside meanwhile. */
static int make_file(struct walk *w, ino_id ino, const struct rec_inode *rec, const char *name)
{
	struct rescue *r = w->r;
	char kept[32];
	bool seen;
	int err = rescue_seen(r, ino, &seen);

	snprintf(kept, sizeof(kept), "%llu", (unsigned long long)ino.v);
	if (!err && rec->nlink > 1 && r->links_fd < 0) {
		(void)mkdirat(r->work_fd, "links", 0700); /* else the next says why */
		r->links_fd = openat(r->work_fd, "links", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (err)
		return err;
	if (seen && r->links_fd >= 0 && linkat(r->links_fd, kept, w->fd, name, 0) == 0) {
		r->res->names++;
		return 0;
	}
	err = rescue_file(r, w->fd, name, ino, rec, path_text(w));
	if (!err && rec->nlink > 1 && r->links_fd >= 0)
		(void)!linkat(w->fd, name, r->links_fd, kept, 0); /* else it becomes a copy */
	return err;
}

static int make_dir(struct walk *w, ino_id ino, const struct rec_inode *rec, const char *name,
		    bool *ret_entered)
{
	unsigned depth = w->count;
	size_t path_len = w->path.len;
	bool seen;
	int err = rescue_seen(w->r, ino, &seen);

	if (err)
		return err;
	if (seen) {
		path_push(w, name);
		rescue_found(w->r, path_text(w), ino, NULL,
			     "the directory has two names: it is made at the first one");
		path_cut(w, path_len);
		return 0;
	}
	err = enter(w, ino, rec, name);
	*ret_entered = w->count > depth;
	return err;
}

static int make(struct walk *w, const struct rec_dentry *d, bool *ret_entered)
{
	size_t path_len = w->path.len;
	struct rec_inode rec;
	int err;

	*ret_entered = false;
	if (!is_name(d->name)) {
		rescue_found(w->r, path_text(w), d->ino, NULL,
			     "a name in it is none: what it is of is put into unnamed/");
		return 0;
	}
	err = get_inode(w->r->meta, d->ino, &rec);
	if (!err && S_ISDIR(rec.mode))
		return make_dir(w, d->ino, &rec, d->name, ret_entered);
	path_push(w, d->name);
	if (err)
		rescue_found(w->r, path_text(w), d->ino, NULL,
			     "what is stored of it is damaged: %s", dfs_err_text(err));
	err = err		  ? 0
	      : S_ISREG(rec.mode) ? make_file(w, d->ino, &rec, d->name)
	      : S_ISLNK(rec.mode) ? make_link(w, d->ino, &rec, d->name)
				  : make_node(w, d->ino, &rec, d->name);
	path_cut(w, path_len);
	return err;
}

/* Goes through the last directory from where it was. *ret_entered: one below is the last now. */
static int go_on(struct walk *w, bool *ret_entered)
{
	struct frame *f = &w->v[w->count - 1];
	ino_id dir = f->ino;
	struct cursor c;
	BUF key = {0};
	int err = 0;

	*ret_entered = false;
	key_dentry(&key, dir, f->cookie, f->name, strlen(f->name));
	cursor_of_inode(&c, w->r->meta, TABLE_DENTRY, dir);
	cursor_seek(&c, key.data, key.len);
	while (!err && !*ret_entered && cursor_next(&c)) {
		struct rec_dentry d;

		if (c.key_len == key.len && memcmp(c.key, key.data, key.len) == 0 && f->name[0])
			continue; /* that was the last */
		if (cursor_dentry(&c, &d)) {
			rescue_found(w->r, path_text(w), dir, NULL, "a name in it is damaged");
			continue;
		}
		f->cookie = d.cookie;
		memcpy(f->name, d.name, sizeof(f->name));
		err = make(w, &d, ret_entered);
		f = &w->v[w->count - (*ret_entered ? 2 : 1)];
		rescue_progress(w->r, "writing files");
	}
	if (!err && !*ret_entered && cursor_error(&c))
		rescue_found(w->r, path_text(w), dir, NULL, "not all names in it can be read: %s",
			     dfs_err_text(cursor_error(&c)));
	(void)cursor_close(&c, 0);
	return err;
}

/* ---- inodes that no name leads to ---- */

static int make_unnamed(struct rescue *r, ino_id ino, const struct rec_inode *rec)
{
	struct rec_orphan orphan;
	char name[32], path[64];
	bool seen;
	int err;

	if (!S_ISREG(rec->mode) || rec->nlink == 0)
		return 0;
	if (get_orphan(r->meta, ino, &orphan) == 0 && orphan.kind == ORPHAN_UNLINKED)
		return 0;
	err = rescue_seen(r, ino, &seen);
	if (err || seen)
		return err;
	err = rescue_dir(r, "unnamed", &r->unnamed_fd);
	if (err)
		return err;
	snprintf(name, sizeof(name), "%llu", (unsigned long long)ino.v);
	snprintf(path, sizeof(path), "unnamed/%s", name);
	r->res->unnamed++;
	return rescue_file(r, r->unnamed_fd, name, ino, rec, path);
}

static int make_rest(struct rescue *r)
{
	struct cursor c;
	int err = 0;

	cursor_of_table(&c, r->meta, TABLE_INODE);
	while (!err && cursor_next(&c)) {
		struct rec_inode rec;
		ino_id ino;

		if (cursor_inode(&c, &ino, &rec) == 0)
			err = make_unnamed(r, ino, &rec);
		rescue_progress(r, "looking for files without a name");
	}
	if (!err && cursor_error(&c))
		rescue_warn(r, "not all inodes can be read: %s", dfs_err_text(cursor_error(&c)));
	(void)cursor_close(&c, 0);
	return err;
}

int rescue_tree(struct rescue *r)
{
	struct walk w = {.r = r, .fd = fcntl(r->to_fd, F_DUPFD_CLOEXEC, 0)};
	struct rec_inode root;
	bool entered, seen;
	int err = w.fd < 0 ? DFS_EIO : rescue_seen(r, (ino_id){ROOT_INO}, &seen);

	buf_put_u8(&w.path, 0);
	if (!err && get_inode(r->meta, (ino_id){ROOT_INO}, &root))
		root = (struct rec_inode){.mode = S_IFDIR | 0755, .uid = getuid(), .gid = getgid()};
	if (!err)
		err = enter(&w, (ino_id){ROOT_INO}, &root, "files");
	while (!err && w.count) {
		err = go_on(&w, &entered);
		if (!err && !entered)
			err = leave(&w);
	}
	if (w.fd >= 0)
		close(w.fd);
	free(w.v);
	buf_release(&w.path);
	return err ? err : make_rest(r);
}
