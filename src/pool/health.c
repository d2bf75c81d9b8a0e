/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health: what is seen of the disks becomes events, which the table in health_rules.c turns into states (K1). Only
 * `fail-disk` marks a disk failed for good. What a disk holds is verified byte by byte anyway (P3), and metadata on it
 * counts only if its epoch is the newest (P8).
 *
 * Each disk is asked every second, and every REVIVE_RETRY_NS, off the path of I/O, those that are ill are put on trial
 * (health_trial.c). One that failed because a sync there was given up comes back only once nothing at risk lies there
 * (D7); then all that was not durable there is written anew (D8).
 */
#include <stdio.h>

#include "base/probe.h"
#include "pool/health_rules.h"
#include "pool/internal.h"

#define DOUBT_BATCH 64u
#define ROT_WINDOW_NS 600000000000ull
#define ROT_MANY 64u /* in that time */
#define FULL_ASKS 3u
#define MISSING_ASKS 3u /* in a row, a second apart: a name may be away for a moment */
#define DOUBT_RETRY_NS 30000000000ull
#define DOUBT_RETRY_DOUBLINGS 7u /* an hour */

static void note_change(struct pool *p, bool members)
{
	ENV_LOCKED(&p->lock);
	p->disk_json_due = true;
	p->members_changed |= members;
	p->space_ns = 0;
	env_cond_signal(&p->wake);
}

/* K1. A sync that fails at this moment fails the disk: that is not overwritten (S4). */
bool health_event(struct pool *p, struct disk *d, enum disk_event event, const char *what)
{
	const struct health_rule *r;
	struct disk_health from;
	struct disk_info info;

	do {
		from = disk_health(d);
		r = health_rule(from, event);
		if (!r || (from.state == r->to && from.event == event))
			return false;
	} while (!disk_move_health(d, from, (struct disk_health){r->to, event}));
	info = disk_info(d);
	log_line(event >= DISK_PROVED ? LOG_INFO : LOG_ERROR,
		 "disk %u (%s) at %s: %s; %s -> %s: %s%s%s", info.id.v, info.label, info.path, what,
		 disk_state_name(from.state), disk_state_name(r->to), r->what_is_done,
		 *r->what_to_do ? ". " : "", r->what_to_do);
	health_note(p, d, what);
	note_change(p, r->to == DISK_FAILED || event >= DISK_PROVED);
	return true;
}

void health_disk_error(void *ctx, disk_id id, bool is_read, int err, const char *what)
{
	struct pool *p = ctx;
	struct disk *d = disk_get(p->disks, id);
	enum disk_event event = health_event_of(err, is_read);
	char text[512];

	if (!d || event == DISK_NO_EVENT)
		return;
	snprintf(text, sizeof(text), "%s: %s", what, dfs_err_text(err));
	if (!health_event(p, d, event, text) && disk_state(d) == DISK_FAILED)
		health_note(p, d, text); /* a sync has failed it already */
}

/* ---- disks that did not answer ---- */

bool health_take_back(struct pool *p, struct disk *d)
{
	struct disk_info info = disk_info(d);
	ENV_LOCKED(&p->change_lock);

	bool was_gone = disk_health(d).event == DISK_GONE;

	if (p->read_only || meta_failed(p->meta) || disk_given_up(p, info.id) ||
	    extent_at_risk_on(p->extents, info.id) || disk_return(d))
		return false;
	if (was_gone) /* nobody else had it (L1), but who knows */
		lacks_find(p, d);
	PROBE("disk-taken-back");
	log_info(
		"disk %u (%s) at %s works again and is used again; what was not durable there when "
		"it failed is written anew",
		info.id.v, info.label, info.path);
	health_returned(p, d);
	note_change(p, true);
	return true;
}

static void revive(struct pool *p, struct disk *d)
{
	struct disk_info info;

	if (dev_revive(disk_dev(d)))
		return;
	if (disk_failed_silent(d)) {
		(void)health_take_back(p, d);
		return;
	}
	PROBE("disk-answers-again");
	if (disk_health(d).event == DISK_NO_ANSWER && health_passed(p, d, false))
		return;
	info = disk_info(d);
	log_info("disk %u (%s) at %s answers again; it is %s", info.id.v, info.label, info.path,
		 disk_state_name(info.state));
	note_change(p, true);
}

void health_revive(struct pool *p)
{
	uint64_t now = env_now_ns();

	if (now - p->revive_ns < REVIVE_RETRY_NS)
		return;
	p->revive_ns = now;
	health_compare(p);
	home_revive(p);
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct dev_deadline_state st;

		if ((!disk_present(d) && !disk_may_return(d)) ||
		    !dev_deadline_state(disk_dev(d), &st) || st.is_retired)
			continue;
		if (st.is_hung || disk_health(d).event == DISK_NO_ANSWER || disk_failed_silent(d))
			revive(p, d);
		else
			health_try(p, d);
	}
}

/* The next disk in turn that has something doubtful; NULL: none. */
static struct disk *doubtful_disk(struct pool *p, struct disk_doubt *ret_doubt)
{
	unsigned count = disk_count(p->disks);

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(p->disks, (p->doubts.turn + i) % count);

		if (!disk_reads_nothing(d) && disk_doubtful(d, ret_doubt)) {
			p->doubts.turn = (p->doubts.turn + i) % count;
			return d;
		}
	}
	return NULL;
}

static unsigned count_doubts(struct pool *p)
{
	unsigned count = 0;

	for (unsigned i = 0; i < disk_count(p->disks); i++)
		count += disk_doubts(disk_at(p->disks, i));
	return count;
}

/* There are more: those don't wait for others that failed. */
static void begin_anew(struct pool *p)
{
	struct doubts *w = &p->doubts;
	unsigned count = count_doubts(p);

	if (count > w->count) {
		w->retry_ns = 0;
		w->failures = w->tried = 0;
	}
	w->count = count;
}

/* Once all of them have been tried they rest, the longer the more often they fail: what can't be read may never be. */
static void settling_failed(struct pool *p, disk_id id, const struct disk_doubt *doubt)
{
	struct doubts *w = &p->doubts;

	w->turn++;
	if (++w->tried < w->count)
		return;
	log_warn(
		"not all that disks lack, or may lack (disk %u, segment %08x and others), could be written anew; it "
		"is tried again",
		id.v, doubt->segment);
	w->tried = 0;
	w->retry_ns = env_now_ns() + (DOUBT_RETRY_NS << MIN(w->failures, DOUBT_RETRY_DOUBLINGS));
	w->failures++;
}

static void settled_all(struct pool *p, disk_id id, const struct disk_doubt *doubt)
{
	PROBE("doubts-settled");
	p->doubts.failures = 0;
	log_info("all that %s disk %u is written anew",
		 doubt->is_lost ? "was lacking on" : "may have been lost on", id.v);
	note_change(p, false);
}

/* D8, H8: some of one segment at a time. */
void health_settle_doubts(struct pool *p)
{
	struct doubts *w = &p->doubts;
	struct disk_doubt doubt, next;
	bool failed = false;
	struct disk *d;
	disk_id id;
	int err;

	begin_anew(p);
	d = env_now_ns() < w->retry_ns ? NULL : doubtful_disk(p, &doubt);
	if (!d)
		return;
	id = disk_info(d).id;
	if (w->segment != doubt.segment) {
		w->segment = doubt.segment;
		w->from = 0;
		w->failed = false;
	}
	err = extent_move_doubtful(p->extents, id, &doubt, DOUBT_BATCH, &w->from, &failed);
	w->failed |= failed;
	if (!err)
		return;
	failed = err != DFS_ENOENT || w->failed ||
		 extent_named_in_doubt(p->extents, id, &doubt) != DFS_ENOENT;
	if (!failed)
		failed = lacks_settled(p, id, &doubt) != 0;
	disk_doubt_worked_off(d, &doubt, !failed);
	w->segment = 0;
	if (failed)
		settling_failed(p, id, &doubt);
	else if (!disk_doubtful(d, &next))
		settled_all(p, id, &doubt);
}

/* D10. Why the disk can't be used where it is, once that has been so for some time; else 0. What is open there goes on
 * working where it was only unmounted or renamed, so no other call tells. */
static int missing(struct pool *p, struct disk *d, unsigned *there)
{
	uint8_t *asks = &p->missing[disk_info(d).id.v];
	int err = dev_probe(disk_dev(d));

	*there += err == 0;
	if (err == DFS_ETIMEDOUT) /* it may be there: the deadlines' affair */
		return 0;
	*asks = err ? (uint8_t)MIN(*asks + 1u, MISSING_ASKS) : 0;
	return *asks == MISSING_ASKS ? err : 0;
}

/* What was written while it was there is made durable first, so that its loss is not one of what nobody has yet. */
static void give_up_missing(struct pool *p, struct disk *d)
{
	PROBE("disk-missing");
	(void)!meta_sync(p->meta, meta_last_seq(p->meta));
	health_disk_error(p, disk_info(d).id, false, DFS_EGONE,
			  "its directory is not there any more, or is another one");
}

/* What its filesystem says, and how much of what was read there was wrong lately. */
static void watch(struct pool *p, struct disk *d)
{
	struct disk_care *c = &p->care[disk_info(d).id.v];
	uint64_t rot = disk_counters(d).checksum_errors, now = env_now_ns();
	struct dev_space space;

	if (c->rot_since_ns && now - c->rot_since_ns >= ROT_WINDOW_NS)
		c->rot_before = rot;
	if (!c->rot_since_ns || c->rot_before == rot)
		c->rot_since_ns = now;
	if (rot - c->rot_before >= ROT_MANY) {
		PROBE("disk-rots");
		(void)health_event(p, d, DISK_ROT,
				   "many of its fragments are not what they should be");
	}
	if (p->read_only || dev_space(disk_dev(d), &space))
		return;
	if (space.read_only)
		(void)health_event(p, d, DISK_READ_ONLY, "its filesystem is mounted read-only");
	c->full_asks = space.free_bytes || space.read_only
			       ? 0
			       : (uint8_t)MIN(c->full_asks + 1u, FULL_ASKS);
	if (c->full_asks == FULL_ASKS)
		(void)health_event(p, d, DISK_FULL, "its filesystem has no byte left");
}

/*
 * A disk that hangs, or that is gone, is noticed also when nobody needs it: so that nobody has to wait, and so that
 * losses don't add up. Those that are gone are given up one at a time, each in an epoch of its own, and never all.
 */
void health_ask(struct pool *p)
{
	struct disk *gone = NULL;
	unsigned there = 0;

	(void)pool_dir_error(p);
	dev_group_note_pace(p->group);
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		int err;

		if (!disk_present(d))
			continue;
		(void)disk_free_bytes(d);
		watch(p, d);
		err = missing(p, d, &there);
		if (err == DFS_EGONE)
			gone = d;
		else if (err)
			health_disk_error(p, disk_info(d).id, false, err,
					  "looking whether it is there");
	}
	if (gone && there)
		give_up_missing(p, gone);
}

/* Those that have to be outvoted, as far as is known here: also those whose giving up is not stored yet. */
unsigned health_voters(struct pool *p)
{
	unsigned n = fail_orders_pending(p);

	for (unsigned i = 0; i < disk_count(p->disks); i++)
		n += disk_present(disk_at(p->disks, i));
	return n;
}

static bool votes(struct pool *p, disk_id id)
{
	ENV_LOCKED(&p->lock);

	return p->votes[id.v];
}

/* Disks of one domain may fall silent together, as long as those that are left can outvote them (with the pool
 * directory, when they are half) in the epoch in force: one that was given up votes until the next one is formed, so
 * that losses count as they come (H3). One whose giving up is not stored yet is one of those that are silent, and is itself
 * not waited for, also when it falls silent only then (D12). */
void health_note_spare(struct pool *p)
{
	struct policy s = pool_get_settings(p);
	unsigned count = disk_count(p->disks), pending = fail_orders_voting(p);
	FREE struct dev **voters = xcalloc(count + 1, sizeof(*voters));
	FREE struct disk_info *infos = xcalloc(count + 1, sizeof(*infos));
	FREE struct place_disk *places = xcalloc(count + 1, sizeof(*places));
	unsigned domains, most, votes_there = 0, n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(p->disks, i);

		infos[i] = disk_info(d);
		places[i].domain = infos[i].domain;
		places[i].eligible = disk_present(d);
		if (!disk_dev(d) || !votes(p, infos[i].id))
			continue;
		votes_there++;
		if (!disk_given_up(p, infos[i].id))
			voters[n++] = disk_dev(d);
	}
	domains = place_domains(places, count, 0);
	disk_set_want(p->disks,
		      MAX(MAX((unsigned)s.large.k + s.large.m, s.copies), s.metadata_copies));
	most = MIN(MIN(s.large.m, s.copies - 1u), s.metadata_copies - 1u);
	most = MIN(most, domains ? domains - 1 : 0);
	dev_group_set_most(p->group, most, votes_there / 2 - MIN(votes_there / 2, pending), voters,
			   n);
}

void health_note_epoch(struct pool *p, const struct root *root)
{
	env_mutex_lock(&p->lock);
	memset(p->votes, 0, sizeof(p->votes));
	for (unsigned i = 0; i < root->disk_count; i++)
		p->votes[root->disks[i].id.v] = root->disks[i].votes & 1;
	env_mutex_unlock(&p->lock);
	if (p->meta)
		health_note_spare(p);
}

bool disk_is_awaited(struct disk *d)
{
	struct dev_deadline_state st;

	return disk_dev(d) && dev_deadline_state(disk_dev(d), &st) && st.is_silent;
}

static void list_silent(struct pool *p, bool hung_too, char *out, size_t out_len)
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);
		struct dev_deadline_state st;

		if (!disk_dev(d) || !dev_deadline_state(disk_dev(d), &st) ||
		    !(st.is_silent || (hung_too && st.is_hung)) || st.is_retired ||
		    len + sizeof(info.label) + 2 > out_len)
			continue;
		len += (size_t)snprintf(out + len, out_len - len, "%s%s", len ? ", " : "",
					info.label);
	}
}

void pool_silent_disks(struct pool *p, char *out, size_t out_len)
{
	list_silent(p, true, out, out_len);
}

void pool_awaited_disks(struct pool *p, char *out, size_t out_len)
{
	list_silent(p, false, out, out_len);
}
