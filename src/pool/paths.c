/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of the paths a person gives: a disk must be a directory of its own, neither inside nor around
 * the pool directory or another disk.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "pool/internal.h"

static int check_against(const char *path, const char *other, const char *what,
			 struct pool_message *msg)
{
	if (other[0] == '\0')
		return 0;
	if (!strcmp(path, other)) {
		pool_say(msg, "cannot add %s: it is %s already", path, what);
		return DFS_EEXIST;
	}
	if (path_lies_in(path, other)) {
		pool_say(msg, "cannot add %s: it lies inside %s, which is %s", path, other, what);
		return DFS_EINVAL;
	}
	if (path_lies_in(other, path)) {
		pool_say(msg, "cannot add %s: it contains %s, which is %s", path, other, what);
		return DFS_EINVAL;
	}
	return 0;
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

int path_check_disk(struct pool *p, const char *path, char *ret_real, size_t real_size,
		    struct pool_message *msg)
{
	FREE char *real = realpath(path, NULL), *pool_real = realpath(p->dir, NULL);
	struct stat st;
	int err;

	if (!real || stat(real, &st) != 0) {
		pool_say(msg, "cannot add %s: no such directory", path);
		return DFS_ENODISK;
	}
	if (!S_ISDIR(st.st_mode)) {
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
	if (access(real, R_OK | W_OK | X_OK) != 0) {
		pool_say(msg,
			 "cannot add %s: it can't be read and written by this user, or is mounted "
			 "read-only",
			 path);
		return DFS_EACCES;
	}
	err = pool_real ? check_against(real, pool_real, "the pool directory", msg) : 0;
	for (unsigned i = 0; !err; i++) {
		struct pool_json_disk j;
		struct rec_disk rec;

		if (!json_disk_at(p, i, &j))
			break;
		/* a name that the index does not know is left over from an add that was cut short */
		if (p->meta && get_disk(p->meta, j.id, &rec) == 0)
			err = check_against(real, j.path, "a disk of this pool", msg);
	}
	if (!err)
		memcpy(ret_real, real, strlen(real) + 1);
	return err;
}
