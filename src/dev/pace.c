/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram that forgets: when it has PACE_KEPT calls, all counts are halved. No locks. */
#include "dev/pace.h"

#include <stddef.h>

#define PACE_KEPT 2048u
#define PACE_LEAST 20u

/* Where bucket i ends: 1 us, 1.5 us, 2 us, 3 us, 4 us, ... */
static uint64_t end_ns(unsigned i)
{
	uint64_t base = 1000ull << (i / 2);

	return i % 2 ? base + base / 2 : base;
}

static void halve(struct pace *p)
{
	p->total = 0;
	for (unsigned i = 0; i < PACE_BUCKETS; i++) {
		uint32_t n = atomic_load(&p->counts[i]) / 2;

		atomic_store(&p->counts[i], n);
		p->total += n;
	}
}

void pace_note(struct pace *p, uint64_t ns)
{
	unsigned i = 0;

	while (i + 1 < PACE_BUCKETS && ns > end_ns(i))
		i++;
	atomic_fetch_add(&p->counts[i], 1);
	if (++p->total >= PACE_KEPT)
		halve(p);
}

uint64_t pace_p99(struct pace *p)
{
	uint32_t counts[PACE_BUCKETS];
	uint64_t total = 0, beyond = 0;
	unsigned i;

	for (i = 0; i < PACE_BUCKETS; i++)
		total += counts[i] = atomic_load(&p->counts[i]);
	if (total < PACE_LEAST)
		return 0;
	for (i = PACE_BUCKETS - 1; i > 0; i--) {
		beyond += counts[i];
		if (beyond * 100 > total)
			break;
	}
	return end_ns(i);
}
