/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root at work on a pool that is another user's: it acts as that user, so that no file of root's is
 * left behind that would lock the owner out, and so that nothing in that user's directories (a link, a path in
 * pool.json) can make root touch what the user could not. Docs: DESIGN.md "Whose files".
 */
#ifndef DFS_BASE_OWNER_H
#define DFS_BASE_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * From here on, this thread and those that it starts use files as the owner of the pool at DIR: of the
 * directory, or, where that is root's, of its pool.json. Nothing happens unless the process is root's and
 * that owner is not, or when it has been done already. Must be called before any thread is started.
 */
void owner_act_for_pool(const char *dir);
/* The same for the owner of the file or directory itself. */
void owner_act_for_path(const char *path);
/* Whom this process acts for; its own effective ids when for nobody else. */
uid_t owner_uid(void);
gid_t owner_gid(void);
/* " (done as user 1000, ...)" for messages about permissions; "" when we act for ourselves. */
const char *owner_note(void);

/* This thread alone has root's own rights again, or gives them up again. Nothing when acting for nobody. */
void owner_step_back(void);
void owner_step_in(void);

#endif
