/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disks say of themselves (K5), asked by a thread of its own, so that nobody waits for it: neither reads and writes nor the
 * background thread. Its verdicts become events as all others (K1).
 *
 * Locks: none; a round has its thread to itself, and the background thread begins and ends rounds.
 */
#include <stdio.h>

#include "base/probe.h"
#include "pool/health_rules.h"
#include "pool/internal.h"

#define ASK_MS 10000u /* a disk that answers at all has by then */
#define SURE_NS                                                                                    \
	60000000000ull /* a verdict is asked for again after this, or the interval if that is less */
#define FAILING_ASKS 2u
#define PASSED_ASKS 3u /* that lead back, in as many rounds */

/* The worst of what its devices say. node: of which. */
static enum smart_verdict ask(struct pool *p, struct disk *d, struct smart_device *ret_node)
{
	struct smart_device devices[SMART_DEVICES];
	struct smart *w = &p->smart;
	enum smart_verdict worst = SMART_UNKNOWN;
	struct dev_space space;
	unsigned count;

	if (dev_space(disk_dev(d), &space) || !space.st_dev)
		return SMART_UNKNOWN;
	count = smart_devices(w->sysfs, space.st_dev, devices, SMART_DEVICES);
	for (unsigned i = 0; i < count && worst != SMART_FAILING && !atomic_load(&w->stop); i++) {
		enum smart_verdict v = smart_ask(devices[i].node, ASK_MS, &w->stop,
						 &w->of[disk_info(d).id.v].left);

		if (v > worst)
			*ret_node = devices[i];
		worst = MAX(worst, v);
	}
	return worst;
}

/* True: it says that it fails, and is to be asked again soon. */
static bool take(struct pool *p, struct disk *d, enum smart_verdict v, const char *node)
{
	struct smart_of *of = &p->smart.of[disk_info(d).id.v];
	char text[128];

	if (atomic_exchange(&of->verdict, v) != v)
		of->in_a_row = 0;
	of->in_a_row = (uint8_t)MIN(of->in_a_row + 1u, PASSED_ASKS);
	snprintf(text, sizeof(text),
		 v == SMART_FAILING ? "smartctl says that %s is failing"
				    : "smartctl says that %s is well again",
		 node);
	if (v == SMART_FAILING && of->in_a_row >= FAILING_ASKS) {
		PROBE("disk-says-it-fails");
		(void)health_event(p, d, DISK_SELF_TEST, text);
	}
	if (v == SMART_PASSED && of->in_a_row == PASSED_ASKS &&
	    disk_health(d).event == DISK_SELF_TEST)
		(void)health_event(p, d, DISK_PROVED, text);
	return v == SMART_FAILING && of->in_a_row < FAILING_ASKS;
}

static void run_round(void *arg)
{
	struct pool *p = arg;
	struct smart *w = &p->smart;
	bool soon = false;

	for (unsigned i = 0; i < disk_count(p->disks) && !atomic_load(&w->stop); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct smart_device node = {""};
		enum smart_verdict v;

		if (!disk_present(d) || !disk_dev(d))
			continue;
		v = ask(p, d, &node);
		if (!atomic_load(&w->stop))
			soon |= take(p, d, v, node.node);
	}
	w->next_ns = env_now_ns() + (soon ? MIN(SURE_NS, w->interval_ns) : w->interval_ns);
	atomic_store(&w->is_over, true);
}

void smart_tick(struct pool *p)
{
	struct smart *w = &p->smart;

	if (!w->interval_ns || (w->thread && !atomic_load(&w->is_over)))
		return;
	if (w->thread)
		env_thread_join(w->thread);
	w->thread = NULL;
	if (env_now_ns() < w->next_ns)
		return;
	atomic_store(&w->is_over, false);
	w->thread = env_thread_try_start("dfs-smart", run_round, p);
}

void smart_end(struct pool *p)
{
	atomic_store(&p->smart.stop, true);
	if (p->smart.thread)
		env_thread_join(p->smart.thread);
	p->smart.thread = NULL;
}

const char *smart_word(struct pool *p, disk_id id)
{
	switch ((enum smart_verdict)atomic_load(&p->smart.of[id.v].verdict)) {
	case SMART_PASSED:
		return "passed";
	case SMART_FAILING:
		return "failing";
	case SMART_UNKNOWN:
		break;
	}
	return "unknown";
}
