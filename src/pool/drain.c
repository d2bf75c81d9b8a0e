/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk leaves, while the pool is in use: whether it may, the order, taking it back, and the end. What lies there is moved in
 * between, by a job (jobs/drain.c). DR1 to DR8 of docs/DESIGN.md; the order of writes at the end is DR4's.
 *
 * Lock: change_lock.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/words.h"
#include "pool/internal.h"

#define FORGOTTEN_AT_ONCE 1024u /* records of what was freed, in one transaction */

/* ---- beforehand ---- */

static unsigned others_that_take(struct pool *p, struct disk *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *other = disk_at(p->disks, i);

		n += other != d && disk_is_eligible(p->disks, other);
	}
	return n;
}

static uint64_t seconds_for(struct pool *p, uint64_t bytes)
{
	uint64_t rate = pool_get_rebuild(p).bytes_per_s;

	return rate ? DIV_UP(bytes, rate) : 0;
}

/* What its owner may accept, with force. */
static int judge_content(const struct extent_leaving *c, const char *label,
			 struct pool_message *msg)
{
	if (c->lost || c->unknown)
		pool_say(
			msg,
			"cannot remove disk %s: %llu %s can't be read without what it holds, and it is not there%s; "
			"nothing was changed; bring it, or others, back first, or delete those files (with --force it is begun, and waits for that)",
			label, (unsigned long long)(c->lost + c->unknown),
			plural(c->lost + c->unknown, "extent", "extents"),
			c->unknown ? ", or this can't be told, for the index is damaged (run fsck)"
				   : "");
	else if (c->unplaced)
		pool_say(
			msg,
			"cannot remove disk %s: for %llu %s of what it holds no other disk is left to lie "
			"apart, so that they would bear one loss less than now; nothing was changed; add a "
			"disk first, or use --force",
			label, (unsigned long long)c->unplaced,
			plural(c->unplaced, "extent", "extents"));
	else if (c->homeless)
		pool_say(
			msg,
			"cannot remove disk %s: for %llu of the %llu %s that it holds the others have no room; "
			"nothing was changed; add a disk, or free some space first (with --force it is "
			"begun, and waits for room)",
			label, (unsigned long long)c->homeless, (unsigned long long)c->extents,
			plural(c->extents, "extent", "extents"));
	else
		return 0;
	return DFS_EREFUSED;
}

/* change_lock held. */
static int plan_drain(struct pool *p, struct disk *d, const struct disk_room *room,
		      const char *domain, struct pool_drain_plan *ret_plan,
		      struct pool_message *msg)
{
	struct pool_drain_plan plan = {.info = disk_info(d), .is_there = disk_present(d)};
	const struct extent_what_if what_if = {plan.info.id, room, domain};
	const char *label = plan.info.label;
	struct rec_disk rec;
	int err = get_disk(p->meta, plan.info.id, &rec);

	if (!err)
		err = extent_plan_leaving(p->extents, &what_if, &plan.content);
	plan.disks_left = others_that_take(p, d) + (room != NULL);
	plan.seconds = seconds_for(p, plan.content.bytes);
	plan.usable_bytes = extent_usable_bytes_if(p->extents, pool_get_settings(p).large,
						   &what_if);
	*ret_plan = plan;
	if (err)
		pool_say(msg, "cannot tell what disk %s holds: %s", label, dfs_err_text(err));
	if (err)
		return err;
	if (rec.leaving) {
		pool_say(
			msg,
			"cannot remove disk %s: it is being removed already ('dynamicfs jobs' shows how far it is)",
			label);
		return DFS_EEXIST;
	}
	if (plan.disks_left == 0) {
		pool_say(
			msg,
			"cannot remove disk %s: no other disk of the pool is there and takes data; nothing was "
			"changed; add a disk, or bring others back first",
			label);
		return DFS_EREFUSED;
	}
	return judge_content(&plan.content, label, msg);
}

static int find_to_drain(struct pool *p, const char *which, struct disk **ret,
			 struct pool_message *msg)
{
	*ret = p->meta ? pool_find_disk(p, which) : NULL;
	if (*ret)
		return 0;
	pool_say(msg, "pool %s has no disk with the path, label or uuid %s", p->dir, which);
	return DFS_ENODISK;
}

int pool_plan_drain(struct pool *p, const char *which, struct pool_drain_plan *ret_plan,
		    struct pool_message *msg)
{
	return pool_plan_replace(p, which, NULL, "", ret_plan, msg);
}

int pool_plan_replace(struct pool *p, const char *which, const struct disk_room *room,
		      const char *domain, struct pool_drain_plan *ret_plan,
		      struct pool_message *msg)
{
	struct disk *d;
	int err;
	ENV_LOCKED(&p->change_lock);

	err = find_to_drain(p, which, &d, msg);
	return err ? err : plan_drain(p, d, room, domain, ret_plan, msg);
}

/* ---- the order ---- */

struct drain_order {
	bool leaving, forced;
	disk_id heir; /* 0: none */
	bool hands_label;
};

static int store_leaving(struct pool *p, struct disk *d, const struct drain_order *o)
{
	disk_id id = disk_info(d).id;
	struct rec_disk rec;
	struct meta_txn *t;
	uint64_t seq;
	int err = get_disk(p->meta, id, &rec);

	if (err)
		return err;
	rec.leaving = o->leaving;
	rec.leaving_forced = o->forced;
	rec.heir = o->heir;
	rec.hands_label = o->hands_label;
	t = meta_begin(p->meta);
	put_disk(t, &rec);
	err = meta_commit(t, &seq);
	return err ? err : meta_sync(p->meta, seq);
}

static void note_change(struct pool *p)
{
	ENV_LOCKED(&p->lock);
	p->disk_json_due = true;
	p->members_changed = true;
	p->space_ns = 0;
	env_cond_signal(&p->wake);
}

/* DR8: only one that can take what moves. */
static int check_heir(struct pool *p, const struct disk *old, disk_id id, struct pool_message *msg)
{
	struct disk *heir = disk_get(p->disks, id);

	if (!id.v)
		return 0;
	if (heir && heir != old && !disk_is_removed(heir) && disk_is_eligible(p->disks, heir))
		return 0;
	pool_say(
		msg,
		"cannot have disk %u take the place of another one: it takes no data; nothing was changed",
		id.v);
	return DFS_EREFUSED;
}

static int order(struct pool *p, const char *which, const struct drain_order *o,
		 struct pool_drain_plan *ret_plan, struct pool_message *msg)
{
	struct disk *d;
	int err;
	ENV_LOCKED(&p->change_lock);

	err = find_to_drain(p, which, &d, msg);
	if (!err)
		err = plan_drain(p, d, NULL, "", ret_plan, msg);
	if (err == DFS_EREFUSED && o->forced && ret_plan->disks_left)
		err = 0;
	if (!err)
		err = check_heir(p, d, o->heir, msg);
	if (!err && p->read_only)
		err = DFS_EROFS;
	if (err)
		return err;
	msg->text[0] = '\0';
	disk_set_heir(d, o->heir);
	disk_set_leaving(d, true); /* DR1: nothing new goes there from here on */
	err = store_leaving(p, d, o);
	if (err) {
		disk_set_leaving(d, false);
		pool_say(msg, "cannot store that disk %s is to be removed: %s",
			 ret_plan->info.label, dfs_err_text(err));
		return err;
	}
	PROBE("drain-ordered");
	if (disk_present(d))
		segment_close_open(d);
	note_change(p);
	return 0;
}

int pool_drain(struct pool *p, const char *which, bool force, struct pool_drain_plan *ret_plan,
	       struct pool_message *msg)
{
	const struct drain_order o = {.leaving = true, .forced = force};

	return order(p, which, &o, ret_plan, msg);
}

int pool_replace(struct pool *p, const char *which, disk_id heir, bool hands_label, bool force,
		 struct pool_drain_plan *ret_plan, struct pool_message *msg)
{
	const struct drain_order o = {
		.leaving = true, .forced = force, .heir = heir, .hands_label = hands_label};

	return order(p, which, &o, ret_plan, msg);
}

int pool_drain_cancel(struct pool *p, disk_id id)
{
	const struct drain_order stays = {0};
	struct disk *d = disk_get(p->disks, id);
	int err;
	ENV_LOCKED(&p->change_lock);

	if (!d || disk_is_removed(d) || !disk_is_leaving(d))
		return DFS_ENOENT;
	err = store_leaving(p, d, &stays);
	if (err)
		return err;
	PROBE("drain-cancelled");
	disk_set_leaving(d, false);
	health_ordered_again(p, d);
	extent_do_without(p->extents, id, false);
	note_change(p);
	return 0;
}

bool pool_drain_forced(struct pool *p, disk_id id)
{
	struct rec_disk rec;

	return get_disk(p->meta, id, &rec) == 0 && rec.leaving_forced;
}

/* ---- the end ---- */

/* Does this table, whose keys begin with the disk, name it? An error, too, where that can't be told. */
static int named_in(struct pool *p, uint8_t table, disk_id id, struct meta_txn *t, unsigned max,
		    unsigned *ret_count)
{
	struct cursor c;

	cursor_of_disk(&c, p->meta, table, id);
	for (*ret_count = 0; *ret_count < max && cursor_next(&c); ++*ret_count)
		if (t)
			meta_del(t, c.key, c.key_len);
	return cursor_close(&c, 0);
}

/* What was freed there is of no account any more. In steps (B1). */
static int forget_freed(struct pool *p, disk_id id)
{
	unsigned count;

	do {
		struct meta_txn *t = meta_begin(p->meta);
		uint64_t seq;
		int err = named_in(p, TABLE_FREED, id, t, FORGOTTEN_AT_ONCE, &count);

		if (err)
			meta_cancel(t);
		else
			err = meta_commit(t, &seq);
		if (err)
			return err;
	} while (count == FORGOTTEN_AT_ONCE);
	return 0;
}

/* DR3. 0: nothing names it. */
static int check_emptied(struct pool *p, struct disk *d, struct pool_message *why)
{
	disk_id id = disk_info(d).id;
	unsigned count;
	int err;

	if (!disk_is_idle(d)) /* also if it is dead: whoever wrote there will name it */
		return DFS_EBUSY;
	err = named_in(p, TABLE_BYDISK, id, NULL, 1, &count);
	if (err)
		return err;
	if (count)
		return DFS_ENOTEMPTY;
	if (!meta_is_member(p->meta, id) && !meta_disk_bytes(p->meta, id))
		return 0;
	err = members_choose(p);
	if (!err && (meta_is_member(p->meta, id) || meta_disk_bytes(p->meta, id)))
		err = DFS_ENOSPC;
	if (!err)
		return 0;
	pool_say(why, "the pool's metadata can't leave it yet: %s",
		 err == DFS_ENOSPC ? "the other disks have no room" : dfs_err_text(err));
	return err;
}

/* DR8. Is there a disk to get the label? *ret_heir: its record, as it is to be. */
static bool hands_label_on(struct pool *p, disk_id id, struct rec_disk *ret_heir)
{
	struct rec_disk rec;

	if (get_disk(p->meta, id, &rec) || !rec.hands_label ||
	    get_disk(p->meta, rec.heir, ret_heir) || ret_heir->state == DISK_FAILED)
		return false;
	memcpy(ret_heir->label, rec.label, sizeof(ret_heir->label));
	return true;
}

/* DR4 (a). heir: gets its label in the same moment; NULL: none does. */
static int forget_record(struct pool *p, struct disk *d, const struct rec_disk *heir)
{
	disk_id id = disk_info(d).id;
	struct meta_txn *t;
	uint64_t seq;
	int err = forget_freed(p, id);

	if (!err)
		err = lacks_forget(p, d);
	if (err)
		return err;
	t = meta_begin(p->meta);
	del_disk(t, id);
	if (heir)
		put_disk(t, heir);
	del_numbers(t, id);
	del_health(t, id);
	err = meta_commit(t, &seq);
	return err ? err : meta_sync(p->meta, seq);
}

/* DR4 (c). */
static void forget_place(struct pool *p, disk_id id)
{
	struct pool_json_disk *j;

	env_mutex_lock(&p->json_lock);
	j = pool_json_find(&p->json, id);
	if (j)
		snprintf(j->state, sizeof(j->state), "%s", disk_state_name(DISK_FAILED));
	env_mutex_unlock(&p->json_lock);
	(void)!pool_json_store(p); /* logged; tried again */
}

/* DR4 (b) to (e). What can't be done now the next opening does. */
static void leave_disk(struct pool *p, struct disk *d)
{
	struct disk_info info = disk_info(d);
	struct disk_json j;

	if (members_choose(p) || !meta_has_given_up(p->meta, info.id)) {
		log_warn(
			"disk %u (%s) is removed, but the other disks could not be told yet; it is tried "
			"again, and by the next mount",
			info.id.v, info.label);
		return;
	}
	PROBE("drain-outvoted");
	forget_place(p, info.id);
	disk_json_fill(p, d, &j);
	if (disk_dev(d))
		removed_mark(disk_dev(d), &j);
}

int pool_drain_finish(struct pool *p, disk_id id, struct pool_message *why)
{
	struct disk *d = disk_get(p->disks, id);
	bool was_there, has_heir;
	struct rec_disk heir;
	int err;
	ENV_LOCKED(&p->change_lock);

	why->text[0] = '\0';
	if (!d || disk_is_removed(d))
		return 0;
	if (!disk_is_leaving(d))
		return DFS_ENOENT;
	err = others_that_take(p, d) ? check_emptied(p, d, why) : DFS_EREFUSED;
	if (err == DFS_EREFUSED)
		pool_say(why, "no other disk takes data");
	if (err)
		return err;
	has_heir = hands_label_on(p, id, &heir);
	err = forget_record(p, d, has_heir ? &heir : NULL);
	if (err) {
		pool_say(why, "that it is empty can't be stored: %s", dfs_err_text(err));
		return err;
	}
	PROBE("drain-left");
	was_there = disk_present(d);
	disk_set_removed(d);
	if (has_heir)
		label_apply(p, heir.id, heir.label);
	extent_do_without(p->extents, id, false);
	if (was_there)
		leave_disk(p, d);
	else if (!members_choose(p))
		forget_place(p, id);
	if (disk_dev(d))
		dev_retire(disk_dev(d)); /* it can be unmounted, and used for something else */
	pool_retire_spares(p, id);
	if (has_heir)
		(void)pool_json_store(p); /* logged; tried again */
	note_change(p);
	log_info("disk %u (%s) at %s is removed from the pool", id.v, disk_info(d).label,
		 disk_info(d).path);
	return 0;
}
