/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums the probes of all seeds. Each seed runs in a process of its own, all of the same program, so the
 * n-th probe is the same in each.
 */
#include "sim/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/probe.h"
#include "base/types.h"

#define MAX_PROBES 512u

struct walk {
	unsigned at;
	struct probe all[MAX_PROBES];
	const char *name;
	uint64_t sum;
};
static uint64_t *totals; /* shared by all processes */

void sim_stats_share(void)
{
	totals = mmap(NULL, MAX_PROBES * sizeof(*totals), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		abort();
}

static void add_one(void *ctx, struct probe *p)
{
	unsigned *at = ctx;

	ASSERT(*at < MAX_PROBES);
	__atomic_fetch_add(&totals[(*at)++], p->hits, __ATOMIC_RELAXED);
}

void sim_stats_add(void)
{
	unsigned at = 0;

	probes_each(add_one, &at);
}

static void collect(void *ctx, struct probe *p)
{
	struct walk *w = ctx;

	ASSERT(w->at < MAX_PROBES);
	w->all[w->at] = (struct probe){p->name, totals[w->at]};
	w->at++;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct probe *)a)->name, ((const struct probe *)b)->name);
}

void sim_stats_print(void)
{
	static struct walk w;

	probes_each(collect, &w);
	qsort(w.all, w.at, sizeof(*w.all), by_name);
	for (unsigned i = 0; i < w.at; i++) {
		uint64_t sum = w.all[i].hits;

		while (i + 1 < w.at && !strcmp(w.all[i].name, w.all[i + 1].name))
			sum += w.all[++i].hits;
		printf("%s %llu\n", w.all[i].name, (unsigned long long)sum);
	}
}

static void sum_one(void *ctx, struct probe *p)
{
	struct walk *w = ctx;

	if (!strcmp(p->name, w->name))
		w->sum += p->hits;
}

uint64_t sim_stats_of(const char *name)
{
	struct walk w = {.name = name};

	probes_each(sum_one, &w);
	return w.sum;
}
