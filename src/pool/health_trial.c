/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks on trial: what leads a disk back from a state that an event brought it to (K2), what probe-disks does, and orders
 * about states. Lock: pool.lock for what is counted; none while a disk works.
 */
#include <stdio.h>

#include "base/probe.h"
#include "dev/trial.h"
#include "pool/health_rules.h"
#include "pool/internal.h"

#define TRIAL_NAME ".tmp-trial"		/* never listed, wherever a crash leaves it */
#define ORDERED_NAME ".tmp-trial-order" /* of an order, which may come at the same time */
#define REFUSED_DOUBLINGS 5u
#define SLOW_NS 100000000ull /* a trial that takes longer proves no speed */

void health_returned(struct pool *p, struct disk *d)
{
	struct disk_care *c = &p->care[disk_info(d).id.v];
	struct disk_health to = {DISK_HEALTHY, DISK_PROVED};

	env_mutex_lock(&p->lock);
	c->back_ns = env_now_ns();
	if (c->order)
		to = (struct disk_health){(enum disk_state)c->order, c->order == DISK_DEGRADED
									     ? DISK_ORDER_DEGRADED
									     : DISK_ORDER_SUSPECT};
	env_mutex_unlock(&p->lock);
	if (to.state != DISK_HEALTHY)
		(void)disk_move_health(d, disk_health(d), to);
	health_note(p, d, "it has passed the trials that it had to");
}

bool health_passed(struct pool *p, struct disk *d, bool suffices)
{
	struct disk_care *c = &p->care[disk_info(d).id.v];
	struct disk_health h = disk_health(d);
	bool enough;

	env_mutex_lock(&p->lock);
	c->refused = 0;
	c->passed++;
	enough = suffices || c->passed >= (health_trials(h) << c->relapses);
	env_mutex_unlock(&p->lock);
	if (!enough || !health_trials(h))
		return false;
	if (h.state == DISK_FAILED)
		return disk_may_return(d) && health_take_back(p, d);
	if (!health_event(p, d, DISK_PROVED, "it has passed the trials that it had to"))
		return false;
	PROBE("disk-proved");
	ENV_LOCKED(&p->lock);
	c->back_ns = env_now_ns();
	return true;
}

/* The worse it is, the more rarely it is asked. */
static void refused(struct pool *p, struct disk *d)
{
	struct disk_care *c = &p->care[disk_info(d).id.v];
	ENV_LOCKED(&p->lock);

	c->passed = 0;
	c->try_ns = env_now_ns() + (REVIVE_RETRY_NS << MIN(c->refused, REFUSED_DOUBLINGS));
	c->refused++;
}

/* Whether its filesystem has room again, a trial that takes none does not tell. */
static bool shows_what_was_wrong(struct disk *d, const struct dev_trial *t)
{
	enum disk_event event = disk_health(d).event;
	struct dev_space space;

	if (event == DISK_SLOW)
		return t->write_ns + t->sync_ns < SLOW_NS && t->read_ns < SLOW_NS;
	if (event == DISK_FULL)
		return dev_space(disk_dev(d), &space) == 0 && space.free_bytes > 0;
	return true;
}

/* Is it still the disk that it was? */
static int check_identity(struct pool *p, struct disk *d)
{
	struct disk_info info = disk_info(d);
	struct disk_json j;
	int err = dev_probe(disk_dev(d));

	if (!err)
		err = disk_json_read(disk_dev(d), &j);
	if (err)
		return err == DFS_ETIMEDOUT || err == DFS_EGONE || err == DFS_EIO ? err : 0;
	return uuid_eq(&j.pool, &p->json.pool) && uuid_eq(&j.uuid, &info.uuid) ? 0 : DFS_EFOREIGN;
}

void health_try(struct pool *p, struct disk *d)
{
	struct disk_health h = disk_health(d);
	struct dev_trial t;
	uint64_t not_before;

	if (p->read_only || !disk_dev(d) || !health_trials(h) ||
	    (h.state == DISK_FAILED && !disk_may_return(d)))
		return;
	env_mutex_lock(&p->lock);
	not_before = p->care[disk_info(d).id.v].try_ns;
	env_mutex_unlock(&p->lock);
	if (env_now_ns() < not_before)
		return;
	t.err = h.event == DISK_GONE ? check_identity(p, d) : 0;
	if (!t.err)
		dev_trial(disk_dev(d), TRIAL_NAME, &t);
	if (t.err || !shows_what_was_wrong(d, &t))
		refused(p, d);
	else
		(void)health_passed(p, d, false);
}

/* ---- by order ---- */

/* What has not passed is an event like what reads and writes meet. */
static void judge_trial(struct pool *p, struct disk *d, const struct dev_trial *t)
{
	char what[160];

	snprintf(what, sizeof(what), "a trial failed, %s: %s", t->step, dfs_err_text(t->err));
	if (t->err == DFS_EFOREIGN)
		(void)health_event(p, d, DISK_NOT_ITSELF, what);
	else if (t->err == DFS_ECHECKSUM)
		(void)health_event(p, d, DISK_WRITE_ERROR, what);
	else
		health_disk_error(p, disk_info(d).id, false, t->err, what);
	refused(p, d);
}

int pool_probe_disk(struct pool *p, disk_id id, struct dev_trial *ret)
{
	struct disk *d = disk_get(p->disks, id);
	struct dev_deadline_state st;

	*ret = (struct dev_trial){.err = DFS_EGONE, .step = "looking for it"};
	if (!d || !disk_dev(d) || disk_given_up(p, id))
		return DFS_EGONE;
	if (dev_deadline_state(disk_dev(d), &st) && st.is_hung && dev_revive(disk_dev(d)))
		ret->err = DFS_ETIMEDOUT;
	else
		ret->err = check_identity(p, d);
	if (!ret->err)
		dev_trial(disk_dev(d), ORDERED_NAME, ret);
	if (ret->err)
		judge_trial(p, d, ret);
	else if (disk_state(d) != DISK_HEALTHY && shows_what_was_wrong(d, ret))
		(void)health_passed(p, d, true);
	return ret->err;
}

static enum disk_event order_of(enum disk_state to)
{
	switch (to) {
	case DISK_HEALTHY:
		return DISK_ORDER_HEALTHY;
	case DISK_DEGRADED:
		return DISK_ORDER_DEGRADED;
	case DISK_SUSPECT:
		return DISK_ORDER_SUSPECT;
	case DISK_DRAINING:
	case DISK_FAILED:
		break;
	}
	return DISK_NO_EVENT;
}

static bool is_the_last(struct pool *p, struct disk *d)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *other = disk_at(p->disks, i);

		if (other != d && disk_is_eligible(p->disks, other))
			return false;
	}
	return true;
}

/* K4: to what would lose data or has a way of its own no order leads here. */
static int refuse_order(struct pool *p, struct disk *d, enum disk_state to,
			struct pool_message *msg)
{
	struct disk_info info = disk_info(d);

	if (to == DISK_FAILED || to == DISK_DRAINING)
		pool_say(msg, "cannot make disk %s %s: %s; 'dynamicfs %s --disk %s' does that",
			 info.label, disk_state_name(to),
			 to == DISK_FAILED ? "it has to be found out first what would be lost"
					   : "it is emptied by a job",
			 to == DISK_FAILED ? "fail-disk" : "remove-disk", info.label);
	else if (disk_given_up(p, info.id))
		pool_say(msg, "cannot make disk %s %s: it was given up for good", info.label,
			 disk_state_name(to));
	else if (info.state == DISK_FAILED || info.state == DISK_DRAINING)
		pool_say(
			msg, "cannot make disk %s %s: it %s", info.label, disk_state_name(to),
			info.state == DISK_FAILED
				? "has failed; see what 'dynamicfs probe-disks' says of it"
				: "is being emptied; 'dynamicfs jobs' shows the job, to be cancelled");
	else if (!disk_dev(d))
		pool_say(msg, "cannot make disk %s %s: it is not there", info.label,
			 disk_state_name(to));
	else if (to != DISK_HEALTHY && is_the_last(p, d))
		pool_say(
			msg,
			"cannot make disk %s %s: no other disk takes new data, and what was accepted "
			"must be stored",
			info.label, disk_state_name(to));
	else
		return 0;
	return DFS_EREFUSED;
}

int pool_set_disk_health(struct pool *p, disk_id id, enum disk_state to, const char *reason,
			 bool dry_run, struct pool_message *msg)
{
	struct disk *d = disk_get(p->disks, id);
	struct disk_care *c = &p->care[id.v];
	struct dev_trial t;
	int err = d ? refuse_order(p, d, to, msg) : DFS_ENODISK;

	if (err || dry_run)
		return err;
	if (to == DISK_HEALTHY && disk_state(d) != DISK_HEALTHY) {
		err = pool_probe_disk(p, id, &t);
		if (err) {
			pool_say(msg, "cannot make disk %s healthy: it failed a trial, %s: %s",
				 disk_info(d).label, t.step, dfs_err_text(err));
			return err;
		}
	}
	env_mutex_lock(&p->lock);
	c->order = to == DISK_HEALTHY ? 0 : (uint8_t)to;
	c->is_due = true;
	c->relapses = 0;
	env_mutex_unlock(&p->lock);
	(void)health_event(p, d, order_of(to), reason && *reason ? reason : "by order");
	env_mutex_lock(&p->lock);
	snprintf(c->text, sizeof(c->text), "%s", reason ? reason : "");
	env_mutex_unlock(&p->lock);
	health_store(p, true);
	err = meta_sync(p->meta, meta_last_seq(p->meta));
	if (err)
		pool_say(msg, "disk %s is %s, but that can't be stored: %s", disk_info(d).label,
			 disk_state_name(to), dfs_err_text(err));
	return err;
}
