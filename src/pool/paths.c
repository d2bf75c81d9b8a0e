/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of the paths a person gives: a disk must be a directory of its own, neither inside nor around
 * the pool directory or another disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owner.h"
#include "base/path.h"
#include "pool/internal.h"

static int check_within(const char *path, const char *other, const char *what,
			struct pool_message *msg)
{
	bool inside = path_lies_in(path, other);

	if (other[0] == '\0' || (!inside && !path_lies_in(other, path)))
		return 0;
	if (!strcmp(path, other)) {
		pool_say(msg, "cannot add %s: it is %s; nothing was done", path, what);
		return DFS_EEXIST;
	}
	pool_say(msg, "cannot add %s: it %s %s, which is %s; nothing was done", path,
		 inside ? "lies inside" : "contains", other, what);
	return DFS_EINVAL;
}

/* A disk of the pool that was not given up. */
static int check_against(const char *path, const struct pool_json_disk *j, const char *label,
			 struct pool_message *msg)
{
	if (strcmp(path, j->path) != 0)
		return check_within(path, j->path, "a disk of this pool", msg);
	pool_say(
		msg,
		"cannot add %s: it is a disk of this pool already (%s); nothing was done; if another, "
		"new disk is there now, give the old one up first: dynamicfs fail-disk --disk %s",
		path, label, label);
	return DFS_EEXIST;
}

/* A copy: json_lock may not be held while asking the index. */
static bool json_disk_at(struct pool *p, unsigned i, struct pool_json_disk *ret)
{
	ENV_LOCKED(&p->json_lock);
	if (i >= p->json.disk_count)
		return false;
	*ret = p->json.disks[i];
	return true;
}

/* What the filesystem says of a path. Asking may hang, so all of it is on the heap. */
struct path_look {
	bool is_new;	   /* what it lies in, or holds, is wanted, too */
	char *path, *real; /* real: NULL when it is not there */
	int why;	   /* it is no directory; 0: it is */
	dev_t dev;
	int access_errno;	       /* 0: it may be read and written */
	char nested[NESTED_WHY_BYTES]; /* "", or what of another pool it lies in or holds */
};

static void path_look(void *arg)
{
	struct path_look *l = arg;
	struct stat st;

	l->real = realpath(l->path, NULL);
	l->why = l->real ? 0 : errno;
	if (l->real && stat(l->real, &st) != 0) {
		l->why = errno;
		free(l->real);
		l->real = NULL;
	}
	if (!l->real)
		return;
	l->why = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
	l->dev = st.st_dev;
	/* by the effective ids, which faccessat() asks about when told to */
	if (faccessat(AT_FDCWD, l->real, R_OK | W_OK | X_OK, AT_EACCESS) != 0)
		l->access_errno = errno;
	if (!l->is_new || l->why)
		return;
	if (!nested_inside(l->real, false, l->nested, sizeof(l->nested)))
		(void)nested_around(l->real, l->nested, sizeof(l->nested));
}

static void path_look_free(void *arg)
{
	struct path_look *l = arg;

	free(l->path);
	free(l->real);
	free(l);
}

static int check_look(const char *path, const struct path_look *l, size_t real_size,
		      struct pool_message *msg)
{
	const char *real = l->real;

	if (!real) {
		pool_say(msg, "cannot add %s: %s; nothing was done", path,
			 l->why == ENOENT ? "no such directory" : dfs_err_text(l->why));
		return l->why == EACCES ? DFS_EACCES : DFS_ENODISK;
	}
	if (l->why) {
		pool_say(msg,
			 "cannot add %s: it is not a directory. DynamicFS stores on directories of "
			 "mounted filesystems, not on devices",
			 path);
		return DFS_ENOTDIR;
	}
	if (strlen(real) >= real_size || strlen(real) >= 1024) {
		pool_say(msg, "cannot add %s: its path is longer than 1023 bytes", path);
		return DFS_ENAMETOOLONG;
	}
	if (l->access_errno) {
		bool rofs = l->access_errno == EROFS;

		pool_say(msg, "cannot add %s: %s%s; nothing was done", path,
			 rofs ? "its filesystem is mounted read-only"
			      : "permission denied: it must be readable and writable",
			 rofs ? "" : owner_note());
		return rofs ? DFS_EROFS : DFS_EACCES;
	}
	return 0;
}

static int check_place(struct pool *p, const char *real, dev_t dev, struct pool_message *msg)
{
	FREE char *pool_real = realpath(p->dir, NULL);
	int err;

	if (dev == __atomic_load_n(&p->mount_dev, __ATOMIC_RELAXED)) {
		pool_say(msg,
			 "cannot add %s: it lies in the mount of this very pool; nothing was done",
			 real);
		return DFS_EINVAL;
	}
	err = pool_real ? check_within(real, pool_real, "the pool directory", msg) : 0;
	for (unsigned i = 0; !err; i++) {
		struct pool_json_disk j;
		struct rec_disk rec;

		if (!json_disk_at(p, i, &j))
			break;
		/* A name that the index does not know is left over from an add that was cut short. The
		 * place of a disk that was given up is free for its successor. */
		if (p->meta && get_disk(p->meta, j.id, &rec) == 0 && rec.state != DISK_FAILED)
			err = check_against(real, &j, rec.label, msg);
	}
	return err;
}

int path_real_in_time(struct dev_group *g, const char *path, char *ret_real, size_t real_size,
		      int *ret_why)
{
	struct path_look *l = xcalloc(1, sizeof(*l));
	bool fits;
	int err;

	l->path = xstrdup(path);
	err = dev_call_in_time(g, path, path_look, l, path_look_free);
	if (err)
		return err;
	fits = l->real && strlen(l->real) < real_size;
	snprintf(ret_real, real_size, "%s", fits ? l->real : path);
	*ret_why = fits || !l->real ? l->why : ENAMETOOLONG;
	path_look_free(l);
	return 0;
}

int path_check_disk(struct pool *p, const char *path, char *ret_real, size_t real_size,
		    struct pool_message *msg)
{
	struct path_look *l = xcalloc(1, sizeof(*l));
	int err;

	l->path = xstrdup(path);
	l->is_new = true;
	err = dev_call_in_time(p->group, path, path_look, l, path_look_free);
	if (err) {
		pool_say(msg, "cannot add %s: it does not answer; nothing was done", path);
		return err;
	}
	err = check_look(path, l, real_size, msg);
	if (!err)
		err = check_place(p, l->real, l->dev, msg);
	if (!err && l->nested[0]) {
		pool_say(msg, "cannot add %s: %s; nothing was done; name a directory beside it",
			 path, l->nested);
		err = DFS_EINVAL;
	}
	if (!err)
		memcpy(ret_real, l->real, strlen(l->real) + 1);
	path_look_free(l);
	return err;
}
