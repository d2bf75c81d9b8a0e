/* SPDX-License-Identifier: Apache-2.0 */
/* Which DynamicFS mount a path lies in, by the kernel's mount table. No locks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

#define MOUNT_TABLE "/proc/self/mountinfo"
#define FS_TYPE "fuse.dynamicfs"

void ctl_mount_release(struct ctl_mount *m)
{
	free(m->pool_dir);
	free(m->mountpoint);
	*m = (struct ctl_mount){0};
}

/* The table writes blanks and backslashes as \ooo. In place. */
static void unescape(char *s)
{
	char *out = s;

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
}

/* "ID PARENT DEV ROOT MOUNTPOINT OPTIONS... - TYPE SOURCE SUPER". Borrows from line. */
static bool parse_line(char *line, char **ret_mountpoint, char **ret_source)
{
	char *tail = strstr(line, " - "), *save, *word = NULL;

	if (!tail)
		return false;
	*tail = '\0';
	tail += 3;
	for (int i = 0; i < 5; i++) {
		word = strtok_r(i ? NULL : line, " ", &save);
		if (!word)
			return false;
	}
	*ret_mountpoint = word;
	word = strtok_r(tail, " ", &save);
	if (!word || strcmp(word, FS_TYPE) != 0)
		return false;
	*ret_source = strtok_r(NULL, " \n", &save);
	if (!*ret_source)
		return false;
	unescape(*ret_mountpoint);
	unescape(*ret_source);
	return true;
}

static bool contains(const char *mountpoint, const char *path)
{
	size_t n = strlen(mountpoint);

	return strncmp(path, mountpoint, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

int ctl_mount_of(const char *path, struct ctl_mount *ret_mount)
{
	struct ctl_mount best = {0};
	FILE *f = fopen(MOUNT_TABLE, "re");
	char *line = NULL, *mountpoint, *source;
	size_t cap = 0, best_len = 0;

	if (!f)
		return DFS_ENOENT;
	while (getline(&line, &cap, f) > 0) {
		if (!parse_line(line, &mountpoint, &source) || !contains(mountpoint, path) ||
		    strlen(mountpoint) < best_len)
			continue;
		best_len = strlen(mountpoint);
		ctl_mount_release(&best);
		best = (struct ctl_mount){xstrdup(source), xstrdup(mountpoint)};
	}
	free(line);
	(void)fclose(f);
	if (!best.mountpoint)
		return DFS_ENOENT;
	*ret_mount = best;
	return 0;
}
