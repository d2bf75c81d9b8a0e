/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mounts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define MOUNT_TABLE "/proc/self/mountinfo"

/* The table writes blanks and backslashes as \ooo. In place. */
static char *unescape(char *s)
{
	char *out = s, *start = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
	return start;
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPER". Borrows from line. */
static bool parse_line(char *line, struct mount_line *ret)
{
	char *tail = strstr(line, " - "), *save, *word[5], *type, *source;
	unsigned major = 0, minor = 0;

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (int i = 0; i < 5; i++) {
		word[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!word[i])
			return false;
	}
	type = strtok_r(tail, " ", &save);
	source = type ? strtok_r(NULL, " \n", &save) : NULL;
	if (!source || sscanf(word[2], "%u:%u", &major, &minor) != 2)
		return false;
	*ret = (struct mount_line){.mountpoint = unescape(word[4]),
				   .root = unescape(word[3]),
				   .type = type,
				   .source = unescape(source),
				   .dev = makedev(major, minor)};
	return true;
}

void mounts_each(bool (*fn)(void *ctx, const struct mount_line *m), void *ctx)
{
	FILE *f = fopen(MOUNT_TABLE, "re");
	char *line = NULL;
	size_t cap = 0;
	bool more = f != NULL;

	while (more && getline(&line, &cap, f) > 0) {
		struct mount_line m;

		if (parse_line(line, &m))
			more = fn(ctx, &m);
	}
	free(line);
	if (f)
		(void)fclose(f);
}
