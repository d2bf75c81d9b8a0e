/* SPDX-License-Identifier: Apache-2.0 */
/* SMART: which devices lie below a filesystem, by sysfs, and what smartctl's exit status says of each. No locks. */
#include "dev/smart.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/child.h"

#define DEPTH_MAX 4u /* encryption on a volume on a RAID on partitions */

struct found {
	struct smart_device *out;
	unsigned count, max;
};

static bool has(const char *dir, const char *name)
{
	FREE char *path = xasprintf("%s/%s", dir, name);

	return access(path, F_OK) == 0;
}

static void add(struct found *f, const char *name)
{
	struct smart_device dev;

	snprintf(dev.node, sizeof(dev.node), "/dev/%.50s", name);
	for (char *c = dev.node; *c; c++)
		if (*c == '!') /* sysfs' word for a slash */
			*c = '/';
	for (unsigned i = 0; i < f->count; i++)
		if (strcmp(f->out[i].node, dev.node) == 0)
			return;
	if (f->count < f->max)
		f->out[f->count++] = dev;
}

static void look(struct found *f, const char *link, unsigned depth)
{
	FREE char *dir = realpath(link, NULL), *slaves = NULL;
	struct dirent *e;
	DIR *list;

	if (!dir)
		return;
	if (has(dir, "partition"))
		*strrchr(dir, '/') = '\0';
	if (has(dir,
		"device")) { /* hardware: what is made of others, and loop devices, have none */
		add(f, strrchr(dir, '/') + 1);
		return;
	}
	slaves = xasprintf("%s/slaves", dir);
	list = depth < DEPTH_MAX ? opendir(slaves) : NULL;
	while (list && (e = readdir(list))) {
		FREE char *below = NULL;

		if (e->d_name[0] == '.')
			continue;
		below = xasprintf("%s/%s", slaves, e->d_name);
		look(f, below, depth + 1);
	}
	if (list)
		closedir(list);
}

unsigned smart_devices(const char *sysfs, uint64_t st_dev, struct smart_device *out, unsigned max)
{
	struct found f = {out, 0, max};
	FREE char *link = xasprintf("%s/dev/block/%u:%u", sysfs, major(st_dev), minor(st_dev));

	look(&f, link, 0);
	return f.count;
}

/* Bits of smartctl's exit status. */
#define NOT_ASKED 0x07 /* wrong arguments, no such device or it sleeps, a command failed */
#define FAILING 0x08   /* "SMART status check returned DISK FAILING" */

enum smart_verdict smart_ask(const char *node, unsigned timeout_ms, const atomic_bool *stop,
			     int *left)
{
	const char *argv[] = {"smartctl", "-q", "silent", "-n", "standby", "-H", node, NULL};
	int status;

	if (child_run(argv, timeout_ms, stop, &status, left))
		return SMART_UNKNOWN;
	if (status & FAILING)
		return SMART_FAILING;
	return status & NOT_ASKED ? SMART_UNKNOWN : SMART_PASSED;
}
