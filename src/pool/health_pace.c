/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that are far slower than their peers: what reads, writes and syncs took on the mean, each round. No locks. */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "dev/counts.h"
#include "pool/internal.h"

#define CALLS_LEAST 5u
#define PEERS_LEAST 3u /* with it */
#define SLOW_FACTOR 8u
#define SLOW_LEAST_NS 100000000ull
#define SLOW_ROUNDS 3u /* in a row */

/* Since the last round; 0: too few to tell. */
static uint64_t mean_ns(struct pool *p, struct disk *d)
{
	struct disk_care *care = &p->care[disk_info(d).id.v];
	uint64_t calls = 0, ns = 0, mean = 0;
	struct dev_counts c;

	if (!disk_present(d) || !dev_counts(disk_dev(d), &c))
		return 0;
	for (unsigned k = DEV_COUNT_READ; k <= DEV_COUNT_SYNC; k++) {
		calls += c.of[k].calls;
		ns += c.of[k].ns;
	}
	if (calls - care->calls_before >= CALLS_LEAST)
		mean = (ns - care->ns_before) / (calls - care->calls_before);
	care->calls_before = calls;
	care->ns_before = ns;
	return mean;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void judge(struct pool *p, struct disk *d, uint64_t mean, uint64_t median)
{
	struct disk_care *care = &p->care[disk_info(d).id.v];
	char what[120];

	if (mean <= MAX(SLOW_LEAST_NS, SLOW_FACTOR * median)) {
		care->slow_rounds = 0;
		return;
	}
	if (++care->slow_rounds < SLOW_ROUNDS)
		return;
	care->slow_rounds = 0;
	PROBE("disk-slow");
	snprintf(what, sizeof(what), "its calls take %llu ms, those of the others %llu ms",
		 (unsigned long long)mean / 1000000, (unsigned long long)median / 1000000);
	(void)health_event(p, d, DISK_SLOW, what);
}

void health_compare(struct pool *p)
{
	unsigned count = disk_count(p->disks), n = 0;
	FREE uint64_t *means = xcalloc(count + 1, sizeof(*means));
	FREE uint64_t *sorted = xcalloc(count + 1, sizeof(*sorted));

	for (unsigned i = 0; i < count; i++) {
		means[i] = mean_ns(p, disk_at(p->disks, i));
		if (means[i])
			sorted[n++] = means[i];
	}
	if (n < PEERS_LEAST)
		return;
	qsort(sorted, n, sizeof(*sorted), by_size);
	for (unsigned i = 0; i < count; i++)
		if (means[i])
			judge(p, disk_at(p->disks, i), means[i], sorted[(n - 1) / 2]);
}
