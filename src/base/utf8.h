/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, as far as names from outside must be told from other bytes. */
#ifndef DFS_BASE_UTF8_H
#define DFS_BASE_UTF8_H

#include <stddef.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at s (RFC 3629), 0 when it is not one, a control character, or the
 * end. Never looks beyond the NUL. */
static inline size_t utf8_len(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (n == 0 || p[0] > 0xf4 || p[0] < 0x20 || p[0] == 0x7f)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) ||
	    (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

/* Copies as much of a name as fits, whole characters only; bytes that are no text become '_'. */
static inline void utf8_copy(char *out, size_t size, const char *name)
{
	size_t at = 0;

	while (*name) {
		size_t n = utf8_len(name), len = n ? n : 1;

		if (at + len >= size)
			break;
		if (n)
			memcpy(out + at, name, n);
		else
			out[at] = '_';
		at += len;
		name += len;
	}
	out[at] = '\0';
}

#endif
