/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to filesystems that may not answer, asked by a child process: a system call that hangs can't
 * be cancelled, and neither can the end of a process that has a thread in one. For commands; a process
 * that has threads must not fork, and has dev/deadline.h; but it may run a program.
 */
#ifndef DFS_BASE_CHILD_H
#define DFS_BASE_CHILD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/types.h"

#define CHILD_PATIENCE_MS 8000u /* a disk that sleeps takes some seconds to wake */

/*
 * Runs a program (argv[0] by PATH, then in /usr/sbin) without input and output, also from a process of several threads. *ret_status: its exit
 * status. stop: set, it is killed. DFS_ENOENT: there is none, or it was ended by a signal; DFS_ETIMEDOUT: killed.
 * *left, 0 at first: a child that did not end when it was killed; while it is there none is begun (DFS_EBUSY).
 */
MUST_USE int child_run(const char *const *argv, unsigned timeout_ms, const atomic_bool *stop,
		       int *ret_status, int *left);

/* Answers in out (NUL-terminated, at most room bytes with it); 0 or a code. Runs in the child: in a
 * process of several threads it must not allocate. */
typedef int (*child_fn)(const char *path, char *out, size_t room);
/* What fn returned. DFS_ETIMEDOUT: it has not within the time; the child is left to its end. */
MUST_USE int child_ask(child_fn fn, const char *path, unsigned timeout_ms, char *out, size_t room);

/* realpath(3); errno says why NULL, ETIMEDOUT: it does not answer. The caller frees. */
char *child_realpath(const char *path);
/* Does the directory answer at all? Its file `name` is opened and read, as far as it is there. */
bool child_dir_answers(const char *dir, const char *name);

#endif
