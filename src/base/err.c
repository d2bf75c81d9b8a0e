/* SPDX-License-Identifier: Apache-2.0 */
/* The names and texts of error codes, both made from the one list in err.h. No locks. */
#include "base/err.h"

const char *dfs_err_name(int err)
{
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
