/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Background work yields to users (docs/DESIGN.md, Y1 to Y4): while there are any, each step is small and done by one thread, and
 * after it comes a rest that is as much longer as they are busy. One mechanism for all kinds of jobs.
 *
 * No locks of its own.
 */
#include "base/probe.h"
#include "base/users.h"
#include "jobs/internal.h"

#define LOOK_NS 50000000ull /* a look covers so long, or longer */
#define RATE_PARTS 8u	    /* a step is of what a rate gives in an eighth of a second */
#define EXTENT_BYTES MIB(1) /* that one takes about when it is made anew */

/* A rest is at most so many times as long as the step, and at most so long (Y2, Y3). */
#define REST_FACTOR 4.0
#define REST_NS 1000000000ull
#define URGENT_REST_FACTOR 1.0
#define URGENT_REST_NS 250000000ull
#define BUSY_FULL 0.5 /* users who wait for this part of the time are not kept longer by us */

static const struct job_budget alone = {.extents = 256,
					.lanes = REPAIR_LANES,
					.disks = 16,
					.disk_bytes = MIB(256),
					.ns = 1000000000ull,
					.until_users = true};
static const struct job_budget beside = {
	.extents = 8, .lanes = 1, .disks = 1, .disk_bytes = MIB(8), .ns = 25000000ull};

void yield_look(struct jobs *j)
{
	struct yield *y = &j->yield;
	uint64_t now = env_now_ns(), since = now - y->looked_ns;
	struct users_load load;
	double busy;

	users_load(pool_users(j->p), &load);
	y->is_quiet = load.is_quiet;
	if (y->looked_ns && since < LOOK_NS)
		return;
	busy = y->looked_ns ? (double)(load.busy_ns - y->busy_ns) / (double)MAX(since, 1u) : 0;
	y->busy = load.is_quiet ? 0 : MAX(busy, y->busy / 2); /* who begins again is met at once */
	y->looked_ns = now;
	y->busy_ns = load.busy_ns;
}

struct job_budget yield_budget(struct jobs *j, uint64_t bytes_per_s)
{
	struct job_budget b = j->yield.is_quiet ? alone : beside;
	uint64_t extents = bytes_per_s / RATE_PARTS / EXTENT_BYTES;

	if (bytes_per_s)
		b.extents = (unsigned)MIN(b.extents, MAX(extents, 1u));
	return b;
}

void yield_after(struct jobs *j, bool is_urgent, uint64_t took_ns)
{
	double factor = is_urgent ? URGENT_REST_FACTOR : REST_FACTOR;
	uint64_t most = is_urgent ? URGENT_REST_NS : REST_NS, rest;

	yield_look(j);
	if (j->yield.is_quiet)
		return;
	PROBE("job-yields");
	factor *= MIN(j->yield.busy / BUSY_FULL, 1.0);
	rest = (uint64_t)MIN((double)took_ns * factor, (double)most);
	j->yield.until_ns[is_urgent] = env_now_ns() + rest;
}

uint64_t yield_rest_ns(struct jobs *j, bool is_urgent)
{
	uint64_t now = env_now_ns(), until = j->yield.until_ns[is_urgent];

	return j->yield.is_quiet || until <= now ? 0 : until - now;
}
