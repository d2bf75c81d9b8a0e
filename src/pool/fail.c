/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a disk up by order, while the pool is in use, whatever the other disks do (D12). An order is judged and
 * begun, which needs no disk, and then stored, which may have to wait for others: so it has a thread of its own,
 * and who gave it waits only as long as something moves.
 *
 * Locks: judge_lock, then lock. Storing takes change_lock, with neither held. The pool closes after the last order.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "pool/internal.h"

#define LOOK_BEFORE_NS 10000000000ull
#define PATIENCE_FACTOR 2 /* deadlines */
#define LABELS_BYTES 512

struct fail_order {
	struct pool *p;
	char *which;
	bool dry_run, force;
	struct env_thread *thread;
	SLIST_ENTRY(fail_order) link; /* p->lock, as the next four */
	bool has_begun;		      /* the disk is not used any more */
	bool is_done;
	bool is_left; /* nobody waits for it: if it has not begun it does not, and its end is told to the log */
	disk_id id; /* once it has begun */
	struct disk *disk;
	struct dev *told; /* the disk, if it can be told; NULL */
	struct pool_fail_plan plan;
	struct pool_message msg;
	int err;
};

/* By a person's order: an error alone takes a disk out only until the pool is opened again. */
bool disk_given_up(struct pool *p, disk_id id)
{
	struct fail_order *o;
	struct disk *d = disk_get(p->disks, id);
	struct rec_disk rec;
	bool found = d && disk_is_removed(d);

	env_mutex_lock(&p->lock);
	SLIST_FOREACH(o, &p->orders, link)
		found = found || (o->has_begun && !o->is_done && o->id.v == id.v);
	env_mutex_unlock(&p->lock);
	return found || (get_disk(p->meta, id, &rec) == 0 && rec.state == DISK_FAILED);
}

unsigned fail_orders_pending(struct pool *p)
{
	struct fail_order *o;
	unsigned n = 0;
	ENV_LOCKED(&p->lock);

	SLIST_FOREACH(o, &p->orders, link)
		n += o->has_begun && !o->is_done;
	return n;
}

unsigned fail_orders_voting(struct pool *p)
{
	struct fail_order *o;
	unsigned n = 0;
	ENV_LOCKED(&p->lock);

	SLIST_FOREACH(o, &p->orders, link)
		n += o->has_begun && !o->is_done && p->votes[o->id.v];
	return n;
}

static void say_pending(struct pool *p, const char *label, struct pool_message *msg)
{
	char silent[LABELS_BYTES];

	pool_silent_disks(p, silent, sizeof(silent));
	pool_say(
		msg,
		"disk %s is given up and not used any more, but that can't be stored yet: %s%s not answer. It is "
		"stored as soon as enough disks answer, and 'status' tells whether giving up more would help; a mount before that would not know of it",
		label, silent[0] ? silent : "other disks",
		strchr(silent, ',') || !silent[0] ? " do" : " does");
}

/* ---- judging ---- */

struct disk *pool_find_disk(struct pool *p, const char *which)
{
	char text[UUID_TEXT_LEN + 1];

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);

		if (disk_is_removed(d))
			continue;
		uuid_format(&info.uuid, text);
		if (!strcmp(which, info.path) || !strcmp(which, info.label) || !strcmp(which, text))
			return d;
	}
	return NULL;
}

struct without { /* the pool, without a disk */
	struct pool *p;
	struct pool_fail_plan *plan;
};

/*
 * What would become of the extent? It is lost if it is readable now, and would not be. What is in doubt may be there or
 * not: if there are enough fragments only with such, and too few that are sure would be left, it may be lost.
 */
static void count_without(void *ctx, const struct rec_extent *rec, const struct rec_bydisk *by)
{
	struct without *w = ctx;
	unsigned sure = 0, perhaps = 0, left = 0;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = disk_get(w->p->disks, f->disk);

		if (!d || !disk_present(d) ||
		    disk_lost_there(d, f->segment, f->offset, f->record_len))
			continue;
		perhaps++;
		if (!disk_is_sure(d, f->segment, f->offset, f->record_len))
			continue;
		sure++;
		left += f->disk.v != by->disk.v;
	}
	w->plan->extents_lost += sure >= rec->k && left < rec->k;
	w->plan->extents_unsure += sure < rec->k && perhaps >= rec->k;
}

/* What a damaged record names may be needed: it counts as lost. */
static int count_lost_without(struct pool *p, disk_id id, struct pool_fail_plan *plan)
{
	struct without w = {p, plan};
	uint64_t unknown;
	int err = extent_each_on(p->meta, id, count_without, &w, &unknown);

	plan->unknown += unknown;
	plan->extents_lost += unknown;
	return err;
}

/* D12. Would those that are not given up be half of the voters at least, without one more? */
static bool outvotes(struct pool *p)
{
	unsigned voters = health_voters(p), pending = fail_orders_pending(p);

	return pending == 0 || 2 * (voters - pending - 1) >= voters;
}

/* What its owner may accept, with force. */
static int judge_content(const struct pool_fail_plan *plan, struct pool_message *msg)
{
	const char *label = plan->info.label;

	if (plan->extents_lost) {
		pool_say(
			msg,
			"cannot fail disk %s: %llu %s that can be read now could not be read "
			"without it%s; nothing was changed; bring other disks back first, or use --force "
			"to lose those files (with --dry-run: to see what would be left)",
			label, (unsigned long long)plan->extents_lost,
			plural(plan->extents_lost, "extent", "extents"),
			plan->unknown
				? ", or this can't be told, for the index is damaged there (run "
				  "fsck)"
				: "");
		return DFS_EREFUSED;
	}
	if (plan->extents_unsure) {
		pool_say(
			msg,
			"cannot fail disk %s: %llu %s may be damaged, too many of %s fragments are in doubt, and "
			"the disk has some that may be needed; nothing was changed; wait until they are "
			"written anew ('status' tells), or use --force to do without what it holds (with "
			"--dry-run: to see what would be left)",
			label, (unsigned long long)plan->extents_unsure,
			plural(plan->extents_unsure, "extent", "extents"),
			plural(plan->extents_unsure, "its", "their"));
		return DFS_EREFUSED;
	}
	return 0;
}

/* judge_lock held. */
static int plan_fail(struct pool *p, struct disk *d, struct pool_fail_plan *ret_plan,
		     struct pool_message *msg)
{
	struct pool_fail_plan plan = {.info = disk_info(d)};
	const char *label = plan.info.label;
	struct rec_disk rec;
	int err;

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *other = disk_at(p->disks, i);

		plan.disks_left += other != d && disk_present(other);
	}
	err = get_disk(p->meta, plan.info.id, &rec);
	if (!err && rec.state != DISK_FAILED)
		err = count_lost_without(p, plan.info.id, &plan);
	*ret_plan = plan;
	if (err) {
		pool_say(msg, "cannot tell what disk %s holds: %s", label, dfs_err_text(err));
	} else if (rec.state == DISK_FAILED) {
		pool_say(msg, "cannot fail disk %s: it has failed already", label);
		err = DFS_EEXIST;
	} else if (disk_given_up(p, plan.info.id)) {
		say_pending(p, label, msg);
		err = DFS_EEXIST;
	} else if (plan.disks_left == 0) {
		pool_say(
			msg,
			"cannot fail disk %s: no other disk of the pool is there; nothing was changed; "
			"bring other disks back first",
			label);
		err = DFS_EREFUSED;
	} else if (!outvotes(p)) {
		pool_say(
			msg,
			"cannot fail disk %s: that %u others were given up is not stored yet, and those left would be fewer "
			"than half of the disks that were in use, which would end the pool; nothing was changed; "
			"wait until more disks answer",
			label, fail_orders_pending(p));
		err = DFS_EBUSY;
	} else if (meta_is_only_member(p->meta, plan.info.id) && pool_dir_error(p)) {
		err = pool_dir_error(p); /* force would not help: the pool would end */
		pool_say(
			msg,
			"cannot fail disk %s: no other disk holds the journal of the metadata, and none can "
			"begin while the pool directory %s can't be written: %s; nothing was changed. What "
			"to do: %s",
			label, p->dir, pool_dir_what(err), pool_dir_what_to_do(err));
	} else {
		err = judge_content(&plan, msg);
	}
	return err;
}

/* ---- an order ---- */

static bool does_not_answer(struct disk *d)
{
	struct dev_deadline_state st;

	return disk_dev(d) && dev_deadline_state(disk_dev(d), &st) && (st.is_hung || st.is_silent);
}

/* Is there a disk that the pool waits for? */
static bool waits_for_disks(struct pool *p)
{
	for (unsigned i = 0; i < disk_count(p->disks); i++)
		if (disk_is_awaited(disk_at(p->disks, i)))
			return true;
	return false;
}

/* judge_lock held. From here on the disk is not used. One that does not answer is left at once: so it is none of those
 * that are too many at once (D3), and whoever waits for it goes on. */
static bool begin(struct fail_order *o)
{
	struct pool *p = o->p;
	struct disk *d = o->disk;

	env_mutex_lock(&p->lock);
	o->id = o->plan.info.id;
	o->has_begun = !o->is_left;
	env_mutex_unlock(&p->lock);
	if (!o->has_begun)
		return false;
	o->told = disk_present(d) && !does_not_answer(d) ? disk_dev(d) : NULL;
	disk_set_health(d, (struct disk_health){DISK_FAILED, DISK_ORDER_FAIL});
	if (disk_dev(d))
		dev_give_up(disk_dev(d)); /* also if it falls silent only now */
	if (does_not_answer(d)) {
		PROBE("silent-disk-given-up");
		dev_retire(disk_dev(d));
	}
	health_note_spare(p);
	return true;
}

static int judge(struct fail_order *o)
{
	struct pool *p = o->p;
	int err;
	ENV_LOCKED(&p->judge_lock);

	o->disk = p->meta ? pool_find_disk(p, o->which) : NULL;
	if (!o->disk) {
		pool_say(&o->msg, "pool %s has no disk with the path, label or uuid %s", p->dir,
			 o->which);
		return DFS_ENODISK;
	}
	err = plan_fail(p, o->disk, &o->plan, &o->msg);
	if (o->dry_run)
		return err;
	if (err == DFS_EREFUSED && o->force && o->plan.disks_left > 0)
		err = 0;
	if (!err && p->read_only)
		err = DFS_EROFS;
	if (err)
		return err;
	o->msg.text[0] = '\0';
	return begin(o) ? 0 : DFS_ETIMEDOUT;
}

/* Tells the disk, and lets go of it. */
static void leave_disk(struct fail_order *o)
{
	struct pool *p = o->p;
	struct dev_space space = {0};
	struct disk_json j;

	disk_json_fill(p, o->disk, &j);
	snprintf(j.state, sizeof(j.state), "%s", disk_state_name(DISK_FAILED));
	/* one that takes its time with a question would take more with a write */
	if (o->told &&
	    (dev_space(o->told, &space) || space.is_old || disk_json_store(o->told, &j, NULL)))
		log_info("disk %u could not be told that it has failed; the pool remembers it",
			 o->id.v);
	if (disk_dev(o->disk))
		dev_retire(disk_dev(o->disk)); /* nothing is kept open there: it can be unmounted */
	pool_retire_spares(p, o->id);
}

/* In the metadata: what the pool goes by. */
static int store_record(struct fail_order *o)
{
	struct pool *p = o->p;
	struct disk *d = o->disk;
	struct rec_disk rec;
	struct meta_txn *t;
	uint64_t seq;
	int err = get_disk(p->meta, o->id, &rec);

	if (err)
		return err;
	disk_set_health(
		d, (struct disk_health){DISK_FAILED,
					DISK_ORDER_FAIL}); /* also if it answered meanwhile (D7) */
	err = members_choose(p);
	if (err)
		return err;
	rec.state = DISK_FAILED;
	t = meta_begin(p->meta);
	put_disk(t, &rec);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(p->meta, seq);
	if (!err && lacks_forget(p, d))
		log_info("what disk %u may have lost before is remembered still; that does no harm",
			 o->id.v);
	return err;
}

static int store(struct fail_order *o)
{
	struct pool *p = o->p;
	int err;
	ENV_LOCKED(&p->change_lock);

	err = store_record(o);
	if (err) {
		pool_say(&o->msg,
			 "cannot record that disk %s has failed: %s; it is not used any more "
			 "until the pool is closed",
			 o->plan.info.label, dfs_err_text(err));
		return err;
	}
	o->plan.info.state = DISK_FAILED;
	leave_disk(o);
	env_mutex_lock(&p->json_lock);
	struct pool_json_disk *pj = pool_json_find(&p->json, o->id);
	if (pj)
		snprintf(pj->state, sizeof(pj->state), "%s", disk_state_name(DISK_FAILED));
	env_mutex_unlock(&p->json_lock);
	err = pool_json_store(p);
	if (err) /* the disks know it; what follows would say that they don't */
		pool_say(&o->msg,
			 "disk %s has been given up, but %s/pool.json can't be written: %s; it is "
			 "tried again while the pool is in use",
			 o->plan.info.label, p->dir, dfs_err_text(err));
	return err;
}

/* What disks lack counts (H8), as far as they answer. */
static void look(struct pool *p)
{
	if (!p->meta || waits_for_disks(p))
		return;
	ENV_LOCKED(&p->change_lock);
	(void)lacks_look(p, LOOK_BEFORE_NS);
}

static void order_run(void *arg)
{
	struct fail_order *o = arg;
	struct pool *p = o->p;
	bool is_left;
	int err;

	look(p);
	err = judge(o);
	if (!err && !o->dry_run)
		err = store(o);
	env_mutex_lock(&p->lock);
	o->err = err;
	is_left = o->is_left;
	o->is_done =
		true; /* a failed disk has no vote in the epoch that is in force by now, or there is none */
	p->space_ns = 0;
	env_cond_broadcast(&p->order_done);
	env_mutex_unlock(&p->lock);
	if (is_left && o->has_begun && err)
		log_error("%s", o->msg.text);
	else if (is_left && o->has_begun)
		log_info("that disk %s is given up is stored", o->plan.info.label);
}

static void order_free(struct fail_order *o)
{
	if (o->thread)
		env_thread_join(o->thread);
	free(o->which);
	free(o);
}

/* Waits for it, but not while the pool waits for disks that may never answer. True: it is done. */
static bool order_wait(struct fail_order *o)
{
	uint64_t patience_ms = PATIENCE_FACTOR * dev_group_deadline_ms(o->p->group);
	uint64_t end_ns = env_now_ns() + patience_ms * 1000000ull;
	struct pool *p = o->p;
	bool waits = false;

	env_mutex_lock(&p->lock);
	while (!o->is_done && !(env_now_ns() >= end_ns && waits)) {
		(void)env_cond_wait_ms(&p->order_done, &p->lock, patience_ms / 8 + 1);
		env_mutex_unlock(&p->lock);
		waits = waits_for_disks(p);
		env_mutex_lock(&p->lock);
	}
	o->is_left = !o->is_done;
	if (o->is_done)
		SLIST_REMOVE(&p->orders, o, fail_order, link);
	env_mutex_unlock(&p->lock);
	return !o->is_left;
}

static int say_left(struct fail_order *o, struct pool_message *msg)
{
	char silent[LABELS_BYTES];

	if (o->has_begun) {
		say_pending(o->p, o->plan.info.label, msg);
		return DFS_ETIMEDOUT;
	}
	pool_silent_disks(o->p, silent, sizeof(silent));
	pool_say(
		msg,
		"cannot fail disk %s yet: these disks do not answer, and were asked what they hold: %s; "
		"nothing was changed; try it again",
		o->which, silent);
	return DFS_ETIMEDOUT;
}

/* Frees the orders that nobody waits for: those that have ended, or all of them, once they have. */
static void reap(struct pool *p, bool all)
{
	struct fail_order *o, *next;
	SLIST_HEAD(, fail_order) ended = SLIST_HEAD_INITIALIZER(ended);

	env_mutex_lock(&p->lock);
	for (o = SLIST_FIRST(&p->orders); o; o = next) {
		next = SLIST_NEXT(o, link);
		if (!o->is_left || !(o->is_done || all))
			continue;
		SLIST_REMOVE(&p->orders, o, fail_order, link);
		SLIST_INSERT_HEAD(&ended, o, link);
	}
	env_mutex_unlock(&p->lock);
	while ((o = SLIST_FIRST(&ended))) {
		SLIST_REMOVE_HEAD(&ended, link);
		order_free(o);
	}
}

void fail_orders_end(struct pool *p) { reap(p, true); }

/* DFS_ETIMEDOUT, with the reason, or how it went. */
static int order(struct pool *p, const char *which, bool dry_run, bool force,
		 struct pool_fail_plan *ret_plan, struct pool_message *msg)
{
	struct fail_order *o = xcalloc(1, sizeof(*o));
	int err;

	*o = (struct fail_order){
		.p = p, .which = xstrdup(which), .dry_run = dry_run, .force = force};
	reap(p, false);
	env_mutex_lock(&p->lock);
	SLIST_INSERT_HEAD(&p->orders, o, link);
	env_mutex_unlock(&p->lock);
	o->thread = env_thread_try_start("dfs-fail", order_run, o);
	if (!o->thread)
		order_run(o);
	if (!order_wait(o))
		return say_left(o, msg); /* it ends with the pool */
	err = o->err;
	*ret_plan = o->plan;
	*msg = o->msg;
	order_free(o);
	return err;
}

int pool_plan_fail(struct pool *p, const char *which, struct pool_fail_plan *ret_plan,
		   struct pool_message *msg)
{
	return order(p, which, true, false, ret_plan, msg);
}

int pool_fail_disk(struct pool *p, const char *which, bool force, struct disk_info *ret_info,
		   struct pool_message *msg)
{
	struct pool_fail_plan plan = {.disks_left = 0};
	int err = order(p, which, false, force, &plan, msg);

	if (!err)
		*ret_info = plan.info;
	return err;
}
