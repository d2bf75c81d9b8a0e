/* SPDX-License-Identifier: Apache-2.0 */
/* Paths that a person gave. Pure but for realpath(3); no locks. */
#include "base/path.h"

#include <stdlib.h>
#include <string.h>

#include "base/types.h"

bool path_lies_in(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	return strncmp(inner, outer, len) == 0 &&
	       (inner[len] == '\0' || inner[len] == '/' || strcmp(outer, "/") == 0);
}

char *path_real_parent(const char *path)
{
	FREE char *copy = xstrdup(path);
	FREE char *parent = NULL;
	size_t len = strlen(copy);
	char *slash;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!parent)
		return NULL;
	return xasprintf("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy);
}
