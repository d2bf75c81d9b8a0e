/* SPDX-License-Identifier: Apache-2.0 */
/* The names and texts of error codes, both made from the one list in err.h. No locks. */
#include "base/err.h"

#include <string.h>

const char *dfs_err_name(int err)
{
	const char *name = err > 0 ? strerrorname_np(err) : NULL;

	if (name)
		return name;
	switch (err) {
	case 0:
		return "DFS_OK";
#define X(name, num, text)                                                                         \
	case name:                                                                                 \
		return #name;
		DFS_ERRORS(X)
#undef X
	default:
		return "DFS_E?";
	}
}

const char *dfs_err_text(int err)
{
	const char *text = err > 0 ? strerrordesc_np(err) : NULL;

	if (text)
		return text;
	switch (err) {
	case 0:
		return "no error";
#define X(name, num, text)                                                                         \
	case name:                                                                                 \
		return text;
		DFS_ERRORS(X)
#undef X
	default:
		return "unknown error";
	}
}
