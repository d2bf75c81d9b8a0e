/* SPDX-License-Identifier: Apache-2.0 */
/* Paths that a person gave. */
#ifndef DFS_BASE_PATH_H
#define DFS_BASE_PATH_H

#include <stdbool.h>

/* Is inner the same as outer, or below it? Both absolute and resolved. */
bool path_lies_in(const char *inner, const char *outer);
/* The path with its directory resolved and its last part as it is (it need not exist). NULL when the
 * directory can't be resolved. The caller frees. */
char *path_real_parent(const char *path);

#endif
