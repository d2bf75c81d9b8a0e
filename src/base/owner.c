/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By the filesystem user id (setfsuid(2)), which the kernel keeps for each thread and a new thread takes
 * from the one that starts it: set in the first thread, it is all threads', RocksDB's and libfuse's, too. The
 * other ids stay root's, so that mounting, which needs CAP_SYS_ADMIN, still works; the capabilities that
 * override file permissions go and come with the filesystem user id (capabilities(7)).
 * Locks: none; the choice is made once, before threads start.
 */
#include "base/owner.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"

static struct {
	bool acting;
	uid_t uid;
	gid_t gid;
	char note[128];
} owner;

uid_t owner_uid(void) { return owner.acting ? owner.uid : geteuid(); }

gid_t owner_gid(void) { return owner.acting ? owner.gid : getegid(); }

const char *owner_note(void) { return owner.note; }

/* setfsuid() tells no failure, only the id that was in force before. */
static bool take_fs_ids(uid_t uid, gid_t gid)
{
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	return (uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid;
}

void owner_step_back(void)
{
	if (owner.acting && !take_fs_ids(geteuid(), getegid()))
		log_warn("cannot take root's rights back: what needs them will fail");
}

void owner_step_in(void)
{
	/* It worked before; if not, files of root's would be left behind: worth a line. */
	if (owner.acting && !take_fs_ids(owner.uid, owner.gid))
		log_warn("cannot act as user %u: files made now are root's", owner.uid);
}

static void act_for(const struct stat *st)
{
	const struct passwd *pw;

	if (owner.acting || geteuid() != 0 || st->st_uid == 0)
		return;
	owner.uid = st->st_uid;
	owner.gid = st->st_gid;
	pw = getpwuid(st->st_uid);
	if (pw)
		owner.gid = pw->pw_gid;
	/* The user's groups open what the user may open. Where it is not allowed (in some containers), root's
	 * stay; they give no more than root's own rights did. */
	if (pw ? initgroups(pw->pw_name, pw->pw_gid) : setgroups(0, NULL))
		log_debug("the groups of user %u can't be taken", owner.uid);
	if (!take_fs_ids(owner.uid, owner.gid)) {
		(void)take_fs_ids(geteuid(), getegid());
		log_warn("cannot act as user %u, whose pool this is: files made now are root's",
			 owner.uid);
		return;
	}
	owner.acting = true;
	snprintf(owner.note, sizeof(owner.note), " (tried as user %u%s%.32s, whose pool it is)",
		 owner.uid, pw ? ", " : "", pw ? pw->pw_name : "");
}

void owner_act_for_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		act_for(&st);
}

void owner_act_for_pool(const char *dir)
{
	FREE char *json = xasprintf("%s/pool.json", dir);
	struct stat st;

	owner_act_for_path(dir);
	if (lstat(json, &st) == 0)
		act_for(&st);
}
