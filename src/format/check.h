/* SPDX-License-Identifier: Apache-2.0 */
/* Small checks that the parsers of format/ share. Private to format/. */
#ifndef DFS_FORMAT_CHECK_H
#define DFS_FORMAT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool check_zero(const void *data, size_t len)
{
	const uint8_t *p = data;

	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* A name that is safe as a file's: NUL-terminated within len, of [A-Za-z0-9._-], neither empty nor
 * beginning with a dot. */
static inline bool check_name(const char *name, size_t len)
{
	size_t n = strnlen(name, len);

	if (n == 0 || n == len || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];

		if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
		    c != '.' && c != '_' && c != '-')
			return false;
	}
	return true;
}

/* Nothing but zeros after a string's end: what is parsed encodes to the same bytes. */
static inline bool check_tail(const char *text, size_t len)
{
	size_t n = strnlen(text, len);

	return check_zero(text + n, len - n);
}

#endif
