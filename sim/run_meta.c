/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata layer alone (--meta): the same disks, damage and power cuts, but the clients are
 * fibers that commit transactions to keys of their own. Much more happens per second than under a
 * whole filesystem, and the order of transactions is known: after recovery to sequence number s, just
 * those acknowledged with a number up to s must be there, and all that were synced (P1, P2, P8).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/probe.h"
#include "meta/meta.h"
#include "sim/run_home.h"
#include "sim/run_rot.h"
#include "sim/sim_env.h"

#define KEYS 24u
#define COUNTER 400u

struct txn_done {	       /* one transaction of a client */
	uint64_t seq;	       /* 0: in flight */
	uint64_t values[KEYS]; /* seeds of all keys' values after it; 0: no such key */
	int64_t counter;
};
struct meta_client {
	struct txn_done *txns; /* [0]: what recovery left */
	unsigned count, cap;
};
static struct meta_client clients[SIM_CLIENTS];
static struct meta *meta;
static uint64_t durable;
static struct history_witness witness;
static struct meta_line line;
static struct dev *devs[SIM_DISKS];
static bool lost[SIM_DISKS]; /* told by meta while open */
static bool members_changed, stopping, in_use;
static const struct uuid pool = {{1, 2, 3, 4}};

static unsigned reachable(struct run *r, struct meta_disk *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		if (!devs[i] || lost[i])
			continue;
		out[n++] = (struct meta_disk){
			.id = {i + 1}, .uuid = {{9, (uint8_t)i}}, .dev = devs[i]};
		snprintf(out[n - 1].domain, sizeof(out[n - 1].domain), "%s", r->disks[i].domain);
	}
	return n;
}

static int data_sync(void *ctx)
{
	(void)ctx;
	sim_env_point();
	return 0;
}

static void member_failed(void *ctx, disk_id id, int err)
{
	struct run *r = ctx;

	sim_trace("member %u failed: %s", id.v, dfs_err_name(err));
	if (r->disks[id.v - 1].damage == DAMAGE_NONE)
		sim_fail("P9", "member %u is said to fail, but nothing is wrong with it", id.v);
	lost[id.v - 1] = true;
	members_changed = true;
}

/* The pool directory: when half of the disks need its word it may be that it can't be written now. */
static int epoch_changed(void *ctx, const struct root *root, bool needed)
{
	struct run *r = ctx;

	sim_env_point();
	if (needed && in_use && !rng_one_in(&r->rng, 3)) {
		sim_trace("the pool directory can't be told of epoch %llu",
			  (unsigned long long)root->epoch);
		return DFS_ENOSPC;
	}
	witness = (struct history_witness){true, root->epoch_id, root->epoch, root->generation};
	if (!in_use)
		line = (struct meta_line){root->checkpoint_seq, root->chain};
	return 0;
}

static struct meta_config config(struct run *r, struct meta_disk *disks)
{
	memset(lost, 0, sizeof(lost));
	members_changed = stopping = in_use = false;
	for (unsigned i = 0; i < r->disk_count; i++)
		devs[i] = sim_disk_fault(r->disks[i].sim).gone ? NULL
							       : sim_disk_open(r->disks[i].sim);
	return (struct meta_config){
		.pool = pool,
		.index_ops = home_index_ops(),
		.index_arg = &r->index,
		.disks = disks,
		.disk_count = reachable(r, disks),
		.copies = 4,
		.checkpoint_bytes = r->meta_checkpoint_bytes,
		.witness = witness,
		.line = line,
		.data_sync = data_sync,
		.member_failed = member_failed,
		.epoch_changed = epoch_changed,
		.ctx = r,
	};
}

/* What a pool directory knows of a pool that was just made. */
static struct history_witness first_witness(void)
{
	FREE struct root *root = xcalloc(1, sizeof(*root));

	if (meta_read_root(devs[0], root, NULL))
		sim_fail("set-up", "the first root can't be read");
	return (struct history_witness){true, root->epoch_id, root->epoch, root->generation};
}

void meta_make(void *arg)
{
	struct run *r = arg;
	struct meta_disk disks[SIM_DISKS];
	struct meta_config cfg = config(r, disks);
	int err = meta_format(&cfg);

	if (err)
		sim_fail("set-up", "format fails: %s", dfs_err_name(err));
	witness = first_witness();
	r->uuid = pool;
	for (unsigned i = 0; i < r->clients_count; i++) {
		clients[i] = (struct meta_client){
			.txns = xcalloc(1, sizeof(struct txn_done)), .count = 1, .cap = 1};
		rng_seed(&r->clients[i].rng, rng_u64(&r->rng));
		r->clients[i].run = r;
		r->clients[i].id = i;
	}
}

/* ---- work ---- */

static void put_value(struct meta_txn *t, unsigned client, unsigned key, uint64_t seed)
{
	char name[16];
	uint8_t value[4096];
	size_t len = (size_t)(seed % (seed % 7 == 0 ? sizeof(value) : 100));

	snprintf(name, sizeof(name), "Z%u-%u", client, key);
	if (!seed) {
		meta_del(t, name, strlen(name));
		return;
	}
	model_fill(seed, 0, value, len);
	meta_put(t, name, strlen(name), value, len);
}

static void commit_one(struct client *c)
{
	struct meta_client *mc = &clients[c->id];
	struct meta_txn *t = meta_begin(meta);
	struct txn_done *d;
	uint64_t seq = 0, changes = rng_between(&c->rng, 1, 6);
	char name[16];
	unsigned at = mc->count;
	uint64_t count;
	int err;

	if (mc->count == mc->cap) {
		mc->cap *= 2;
		mc->txns = xrealloc(mc->txns, mc->cap * sizeof(*mc->txns));
	}
	d = &mc->txns[mc->count++];
	*d = d[-1];
	d->seq = 0;
	for (uint64_t i = 0; i < changes; i++) {
		unsigned key = (unsigned)rng_below(&c->rng, KEYS);

		d->values[key] = rng_one_in(&c->rng, 4) ? 0 : ++c->run->next_data_seed;
		put_value(t, c->id, key, d->values[key]);
	}
	count = rng_below(&c->rng, 10);
	meta_add(t, COUNTER + c->id, (int64_t)count);
	d->counter += (int64_t)count;
	snprintf(name, sizeof(name), "Y%u", c->id);
	meta_put(t, name, strlen(name), &at, sizeof(at));
	err = meta_commit(t, &seq);
	if (err == DFS_ENOSPC && (c->run->small_disks || run_somebody_full(c->run) ||
				  home_explains(c->run, err, false))) {
		mc->count--; /* nothing happened */
		return;
	}
	if (err && run_bears(c->run, err)) { /* in flight, as when power goes */
		c->ops_left = 0;
		c->run->lasts_until_ns = 0;
		return;
	}
	if (err)
		sim_fail("P9", "commit fails: %s", dfs_err_name(err));
	mc->txns[at].seq = seq;
	sim_trace("c%u commits %u as %llu", c->id, at, (unsigned long long)seq);
}

static void client_run(void *arg)
{
	struct client *c = arg;
	struct run *r = c->run;

	while (c->ops_left || run_lasts(r)) {
		uint64_t seq, die = rng_below(&c->rng, 20);
		int err = 0;

		c->ops_left -= c->ops_left > 0;
		c->run->round_ops++;
		c->run->opt->counts->ops++;
		run_op_starts(c->run);
		if (die < 12) {
			commit_one(c);
			continue;
		}
		if (die == 18)
			env_sleep_ms(rng_below(&c->rng, 1000));
		else if (die == 19)
			err = rng_one_in(&c->rng, 5) ? meta_checkpoint(meta) : 0;
		if (die >= 18) {
			if (err && !run_bears(r, err) && !home_was_met(r, err) &&
			    !(err == DFS_ENOSPC && (r->small_disks || run_somebody_full(r))))
				sim_fail("P9", "checkpoint fails: %s", dfs_err_name(err));
			continue;
		}
		seq = meta_last_seq(meta);
		err = meta_sync(meta, seq);
		if (err && run_bears(r, err)) {
			c->ops_left = 0;
			r->lasts_until_ns = 0;
			return;
		}
		if (err == DFS_ENOSPC && run_overwriting_fails(r))
			continue;
		if (err)
			sim_fail("P9", "sync fails: %s", dfs_err_name(err));
		durable = MAX(durable, seq);
		sim_trace("c%u synced %llu", c->id, (unsigned long long)seq);
	}
}

/* What the pool's background thread does. */
static void keeper_run(void *arg)
{
	struct run *r = arg;
	struct meta_disk disks[SIM_DISKS];

	while (!stopping) {
		env_sleep_ms(250);
		line = meta_durable_line(meta);
		if (!members_changed)
			continue;
		members_changed = false;
		if (meta_set_disks(meta, disks, reachable(r, disks), NULL, 0))
			members_changed = true;
	}
}

/* ---- checks ---- */

static void check_key(unsigned client, unsigned key, uint64_t seed, uint64_t seq)
{
	char name[16];
	uint8_t want[4096];
	size_t len = (size_t)(seed % (seed % 7 == 0 ? sizeof(want) : 100));
	BUF got = {0};
	int err;

	snprintf(name, sizeof(name), "Z%u-%u", client, key);
	err = meta_get(meta, name, strlen(name), &got);
	model_fill(seed, 0, want, len);
	if (err != (seed ? 0 : DFS_ENOENT) ||
	    (seed && (got.len != len || (len && memcmp(got.data, want, len)))))
		sim_fail("P2", "key %s is not as it was at transaction %llu (%s)", name,
			 (unsigned long long)seq, dfs_err_name(err));
}

/* Acknowledged transactions were given up: of all clients those are there that came before some moment. */
static void check_moment(uint64_t *last, uint64_t *next, const struct meta_client *mc, unsigned at)
{
	*last = MAX(*last, mc->txns[at].seq);
	if (at + 1 < mc->count && mc->txns[at + 1].seq)
		*next = MIN(*next, mc->txns[at + 1].seq);
	if (*last >= *next)
		sim_fail("P2", "transaction %llu is there, but %llu is not",
			 (unsigned long long)*last, (unsigned long long)*next);
}

/* Returns how many of its transactions are there. */
static unsigned check_client(unsigned i, uint64_t seq, bool lossy)
{
	struct meta_client *mc = &clients[i];
	unsigned at = 0;
	char name[16];
	BUF got = {0};
	int err;

	snprintf(name, sizeof(name), "Y%u", i);
	err = meta_get(meta, name, strlen(name), &got);
	if (!err && got.len == sizeof(at))
		memcpy(&at, got.data, sizeof(at));
	else if (err != DFS_ENOENT)
		sim_fail("P3", "key %s gives %s", name, dfs_err_name(err));
	if (at >= mc->count)
		sim_fail("P2", "client %u has %u transactions, not %u", i, mc->count, at);
	for (unsigned t = 1; t < mc->count && !lossy; t++)
		if (mc->txns[t].seq && (mc->txns[t].seq <= seq) != (t <= at))
			sim_fail(
				"P2",
				"recovered to %llu and client %u's transaction %u, but %u has number %llu",
				(unsigned long long)seq, i, at, t,
				(unsigned long long)mc->txns[t].seq);
	for (unsigned key = 0; key < KEYS; key++)
		check_key(i, key, mc->txns[at].values[key], seq);
	if (meta_counter(meta, COUNTER + i) != mc->txns[at].counter)
		sim_fail("counters", "counter %u is %lld, not %lld", i,
			 (long long)meta_counter(meta, COUNTER + i),
			 (long long)mc->txns[at].counter);
	return at;
}

static void check_all(uint64_t seq, bool lossy)
{
	uint64_t last = 0, next = UINT64_MAX;

	if (seq < durable)
		sim_fail("P1", "recovered to %llu, but %llu was durable", (unsigned long long)seq,
			 (unsigned long long)durable);
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		unsigned at = clients[i].count ? check_client(i, seq, lossy) : 0;

		if (clients[i].count && lossy)
			check_moment(&last, &next, &clients[i], at);
	}
}

/* What was found is durable now: transactions count from it. */
static void take_over(struct run *r, uint64_t seq)
{
	for (unsigned i = 0; i < r->clients_count; i++) {
		struct meta_client *mc = &clients[i];
		struct txn_done *last = &mc->txns[mc->count - 1];
		char name[16];
		unsigned at = 0;
		BUF got = {0};

		snprintf(name, sizeof(name), "Y%u", i);
		if (!meta_get(meta, name, strlen(name), &got))
			memcpy(&at, got.data, sizeof(at));
		last = &mc->txns[at];
		last->seq = MIN(seq, last->seq ? last->seq : seq);
		mc->count = at + 1;
	}
	durable = seq;
}

static void member_line(void *ctx, const char *text)
{
	(void)ctx;
	sim_trace("check: %s", text);
}

static void check_members(struct run *r)
{
	for (unsigned i = 0; i < r->disk_count; i++) {
		int n;

		if (!devs[i] || !meta_is_member(meta, (disk_id){i + 1}) ||
		    r->disks[i].damage != DAMAGE_NONE)
			continue;
		n = meta_check_member(devs[i], &pool, member_line, NULL);
		if (n)
			sim_fail("fsck", "member %u has %d defects, though it was not damaged",
				 i + 1, n);
	}
}

/* What is rotten on all disks may be lost: told by who was forced to go on without it. */
static void note_rot(struct run *r, const struct meta_recovery *rec, bool forced)
{
	struct meta_loss told = rec->loss;

	if (!told.from && meta_loss(meta, &told)) /* noted already, when power went */
		sim_fail("M11", "what was lost can't be read");
	if (forced && r->rot.given_up && r->rot.seq &&
	    (rec->loss.from ? told.from != r->rot.seq : !told.from || told.from > r->rot.seq))
		sim_fail("M11", "opened with force, it says that %llu is lost, not %llu",
			 (unsigned long long)told.from, (unsigned long long)r->rot.seq);
	if (forced && r->rot.roots && !rec->forced && !rec->loss.from && rec->seq < durable)
		sim_fail("M11", "opened with force, it does not say that something is lost");
	if (rot_cuts(r))
		durable = MIN(durable, r->rot.seq ? r->rot.seq - 1 : 0);
}

/* What is rightly refused is refused without a change, and opened by force then. */
static int open_refused(struct run *r, struct meta_config *cfg, struct meta_recovery *rec)
{
	uint64_t before = sim_disks_stats().changes;
	int err;

	rot_unread_begin(r);
	err = meta_open(cfg, &meta, rec);
	if (rot_unread_refused(r, err)) {
		if (sim_disks_stats().changes != before)
			sim_fail("M17", "it is refused, but something was written");
		err = meta_open(cfg, &meta, rec);
	}
	if (rot_refused(r, err, &rec->loss) || (err && run_refused_rightly(r, err))) {
		if (sim_disks_stats().changes != before)
			sim_fail("P8", "it is refused, but something was written");
		cfg->force = true;
		err = meta_open(cfg, &meta, rec);
	}
	return err;
}

void meta_round(void *arg)
{
	struct run *r = arg;
	struct meta_disk disks[SIM_DISKS];
	struct env_thread *threads[SIM_CLIENTS], *keeper, *home;
	struct meta_config cfg;
	struct meta_recovery rec;
	int err;

	if (r->lose_pool_dir) {
		witness = (struct history_witness){0};
		line = (struct meta_line){0};
		home_index_replace(r, NULL);
		PROBE("pool-directory-lost");
	}
	cfg = config(r, disks);
	sim_disks_cut_after(rng_one_in(&r->rng, 4) ? rng_between(&r->rng, 1, 200) : 0);
	err = open_refused(r, &cfg, &rec);
	if (err && r->rot.roots) {
		r->verified = r->ended = true;
		return;
	}
	if (err)
		sim_fail("P1", "it can't be opened: %s", dfs_err_name(err));
	if (!cfg.force && rec.seq < cfg.line.seq)
		sim_fail("H10", "recovered to %llu without force, but %llu was remembered",
			 (unsigned long long)rec.seq, (unsigned long long)cfg.line.seq);
	note_rot(r, &rec, cfg.force);
	if (!witness.known)
		witness = meta_witness(meta);
	r->lose_pool_dir = false;
	check_all(rec.seq, r->rot.given_up);
	take_over(r, rec.seq);
	r->opt->counts->checks++;
	r->verified = true;
	if (rng_one_in(&r->rng, 3))
		check_members(r);
	if (r->beyond)
		r->ended = true;
	sim_disks_cut_after(0);
	run_arm_faults(r);
	keeper = env_thread_start("keeper", keeper_run, r);
	r->stop_admin = false;
	in_use = true;
	home = home_start(r);
	for (unsigned i = 0; i < r->clients_count; i++)
		threads[i] = env_thread_start("client", client_run, &r->clients[i]);
	for (unsigned i = 0; i < r->clients_count; i++)
		env_thread_join(threads[i]);
	stopping = r->stop_admin = true;
	env_thread_join(keeper);
	if (home)
		env_thread_join(home);
	sim_disks_at_op(0, NULL, NULL);
	sim_disks_cut_after(r->end_after_ops ? rng_between(&r->rng, 1, 60) : 0);
	err = meta_close(meta);
	in_use = false;
	if (err && !run_bears(r, err) && !home_explains_order(r, err) &&
	    !(err == DFS_ENOSPC && run_overwriting_fails(r)))
		sim_fail("P1", "close fails: %s", dfs_err_name(err));
	for (unsigned i = 0; i < r->clients_count && !err; i++)
		durable = MAX(durable, clients[i].txns[clients[i].count - 1].seq);
	r->was_clean = !err;
}
