/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How each disk is, why, and since when: noted when it changes, kept in the index (table H), and taken up again when the
 * pool is opened (K3). Lock: pool.lock for what is noted; none while the index works.
 */
#include <stdio.h>

#include "base/probe.h"
#include "pool/health_rules.h"
#include "pool/internal.h"

#define COUNTERS_NS 60000000000ull /* no more often for the sake of counters alone */
#define RELAPSE_NS 3600000000000ull
#define RELAPSES_MAX 6u

static bool is_same(struct disk_health a, struct disk_health b)
{
	return a.state == b.state && a.event == b.event;
}

static uint64_t errors_of(const struct disk_counters *c)
{
	return c->read_errors + c->write_errors + c->checksum_errors;
}

/* K2: one that falls ill soon after it came back has to show more before it is believed again. */
static void note_relapse(struct disk_care *c)
{
	if (c->noted.state != DISK_HEALTHY)
		return;
	if (c->back_ns && env_now_ns() - c->back_ns < RELAPSE_NS)
		c->relapses = (uint8_t)MIN(c->relapses + 1u, RELAPSES_MAX);
	else
		c->relapses = 0;
}

void health_note(struct pool *p, struct disk *d, const char *what)
{
	struct disk_health h = disk_health(d);
	struct disk_care *c = &p->care[disk_info(d).id.v];
	ENV_LOCKED(&p->lock);

	if (!is_same(h, c->noted)) {
		if (h.state != DISK_HEALTHY && h.event < DISK_PROVED)
			note_relapse(c);
		c->noted = h;
		c->since_s = env_wall_ns() / 1000000000u;
		c->text[0] = '\0';
		c->passed = c->refused = 0;
		c->is_due = true;
		p->disk_json_due = true;
	}
	if (!c->text[0] && what[0]) {
		snprintf(c->text, sizeof(c->text), "%s", what);
		c->is_due = true;
	}
}

/* Bounded: at once when the state changes, once a minute for counters. */
static bool is_to_store(struct pool *p, struct disk *d, bool all)
{
	struct disk_care *c = &p->care[disk_info(d).id.v];
	struct disk_counters n = disk_counters(d);
	uint64_t now = env_now_ns();
	bool due, counted;
	ENV_LOCKED(&p->lock);

	due = c->is_due;
	counted = errors_of(&n) != c->stored_errors;
	c->is_due = false;
	if (!due && (!counted || (!all && now - c->stored_ns < COUNTERS_NS)))
		return false;
	c->stored_ns = now;
	c->stored_errors = errors_of(&n);
	return true;
}

static void put_one(struct pool *p, struct meta_txn *t, struct disk *d)
{
	struct disk_counters n = disk_counters(d);
	struct rec_health rec = {.disk = disk_info(d).id,
				 .read_errors = n.read_errors,
				 .write_errors = n.write_errors,
				 .checksum_errors = n.checksum_errors};
	const struct disk_care *c = &p->care[rec.disk.v];

	env_mutex_lock(&p->lock);
	rec.state = (uint8_t)c->noted.state;
	rec.event = (uint8_t)c->noted.event;
	rec.order = c->order;
	rec.relapses = c->relapses;
	rec.since_s = c->since_s;
	memcpy(rec.text, c->text, sizeof(rec.text));
	env_mutex_unlock(&p->lock);
	put_health(t, &rec);
}

/* Whoever changed the state may have had no word for it. */
static void notice(struct pool *p)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		if (disk_dev(d))
			health_note(p, d, "");
	}
}

void health_store(struct pool *p, bool all)
{
	unsigned n = 0, count = disk_count(p->disks);
	FREE struct disk **due = xcalloc(count + 1, sizeof(struct disk *));
	struct meta_txn *t;
	uint64_t seq;

	notice(p);
	if (p->read_only || meta_failed(p->meta))
		return;
	for (unsigned i = 0; i < count; i++)
		if (!disk_is_removed(disk_at(p->disks, i)) &&
		    is_to_store(p, disk_at(p->disks, i), all))
			due[n++] = disk_at(p->disks, i);
	if (n == 0)
		return;
	if (pool_may_grow(p)) {
		PROBE("health-stored");
		t = meta_begin(p->meta);
		for (unsigned i = 0; i < n; i++)
			put_one(p, t, due[i]);
		if (!meta_commit(t, &seq))
			return; /* durable with whatever is synced next; a quiet pool is sealed */
	}
	ENV_LOCKED(&p->lock);
	for (unsigned i = 0; i < n; i++)
		p->care[disk_info(due[i]).id.v].is_due = true;
}

/* One that works as far as it was opened; what it was before decides whether that is enough. */
static struct disk_health state_again(const struct rec_health *rec)
{
	struct disk_health h = {(enum disk_state)rec->state, (enum disk_event)rec->event};

	if (rec->order == DISK_DEGRADED)
		return (struct disk_health){DISK_DEGRADED, DISK_ORDER_DEGRADED};
	if (rec->order == DISK_SUSPECT)
		return (struct disk_health){DISK_SUSPECT, DISK_ORDER_SUSPECT};
	if (h.event != DISK_NO_EVENT && h.event < DISK_PROVED &&
	    (h.state == DISK_DEGRADED || (h.state == DISK_SUSPECT && h.event == DISK_SLOW)))
		return h;
	return (struct disk_health){DISK_HEALTHY, h.state == DISK_HEALTHY && h.event < DISK_EVENTS
							  ? h.event
							  : DISK_PROVED};
}

void health_recall(struct pool *p, struct disk *d)
{
	disk_id id = disk_info(d).id;
	struct disk_care *c = &p->care[id.v];
	enum disk_state was = disk_state(d);
	struct rec_health rec;
	struct disk_health h;

	c->noted = disk_health(d);
	if (get_health(p->meta, id, &rec)) /* a damaged one has been told of */
		return;
	disk_count_from(d, &(struct disk_counters){.read_errors = rec.read_errors,
						   .write_errors = rec.write_errors,
						   .checksum_errors = rec.checksum_errors});
	c->rot_before = rec.checksum_errors;
	c->stored_errors = rec.read_errors + rec.write_errors + rec.checksum_errors;
	c->since_s = rec.since_s;
	c->order = rec.order;
	c->relapses = rec.relapses;
	memcpy(c->text, rec.text, sizeof(c->text));
	if (was != DISK_HEALTHY || !disk_dev(d)) /* being emptied, given up, not there */
		return;
	PROBE("health-recalled");
	h = state_again(&rec);
	c->noted = (struct disk_health){(enum disk_state)rec.state, (enum disk_event)rec.event};
	disk_set_health(d, h);
	/* it has rested, and was opened: one trial more will do */
	c->passed = health_trials(h) ? health_trials(h) - 1 : 0;
}

void health_ordered_again(struct pool *p, struct disk *d)
{
	uint8_t order;

	env_mutex_lock(&p->lock);
	order = p->care[disk_info(d).id.v].order;
	env_mutex_unlock(&p->lock);
	if (order && disk_state(d) == DISK_HEALTHY)
		disk_set_health(d, state_again(&(struct rec_health){.order = order}));
}
