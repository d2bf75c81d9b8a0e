/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's settings: as the index, and pool.json, have them. Locks: change_lock while they are stored; lock. */
#include "pool/internal.h"

#define REBUILD_AFTER_S 900u
#define REBUILD_BYTES_PER_S MIB(64)

void pool_settings_default(struct policy *s)
{
	*s = (struct policy){
		.large = {4, 2}, .copies = 3, .metadata_copies = 4, .verify_writes = false};
}

void rebuild_settings_default(struct pool_rebuild *r)
{
	*r = (struct pool_rebuild){REBUILD_AFTER_S, REBUILD_BYTES_PER_S};
}

void pool_settings_to_rec(struct pool *p, struct rec_settings *rec)
{
	*rec = (struct rec_settings){p->settings, p->next_disk};
}

static int load_rebuild(struct pool *p)
{
	struct rec_background rec;
	int err = get_background(p->meta, &rec);

	if (!err)
		p->rebuild = (struct pool_rebuild){rec.rebuild_after_s, rec.bytes_per_s};
	return err == DFS_ENOENT ? 0 : err;
}

/* The settings of the index, or, in a pool whose creation was cut short, those of pool.json. */
int settings_load(struct pool *p, bool *ret_new)
{
	struct rec_settings rec;
	int err = get_settings(p->meta, &rec);

	*ret_new = err == DFS_ENOENT;
	if (err == DFS_ENOENT) {
		p->next_disk = 1;
		return 0;
	}
	if (err)
		return err;
	p->settings = rec.policy;
	p->next_disk = rec.next_disk;
	return load_rebuild(p);
}

struct policy pool_get_settings(struct pool *p)
{
	ENV_LOCKED(&p->lock);

	return p->settings;
}

int pool_settings_check(const struct policy *s, struct pool_message *msg)
{
	if (geometry_valid(s->large) && s->copies >= 1 && s->copies <= POOL_MAX_COPIES &&
	    s->metadata_copies >= 1 && s->metadata_copies <= POOL_MAX_METADATA_COPIES)
		return 0;
	pool_say(
		msg,
		"cannot use this policy: data fragments must be 1..%u, parity 0..%u, copies 1..%u, "
		"metadata copies 1..%u",
		CODEC_MAX_K, CODEC_MAX_M, POOL_MAX_COPIES, POOL_MAX_METADATA_COPIES);
	return DFS_EINVAL;
}

int pool_set_settings(struct pool *p, const struct policy *s, struct pool_message *msg)
{
	struct rec_settings rec;
	struct meta_txn *t;
	uint64_t seq;
	int err;

	err = pool_settings_check(s, msg);
	if (err)
		return err;
	ENV_LOCKED(&p->change_lock);
	env_mutex_lock(&p->lock);
	struct policy old = p->settings;
	p->settings = *s;
	env_mutex_unlock(&p->lock);
	if (p->meta) {
		t = meta_begin(p->meta);
		pool_settings_to_rec(p, &rec);
		put_settings(t, &rec);
		err = meta_commit(t, &seq);
		if (!err)
			err = meta_sync(p->meta, seq);
	}
	if (err) {
		pool_say(msg, "cannot store the settings: %s", dfs_err_text(err));
		env_mutex_lock(&p->lock);
		p->settings = old;
		env_mutex_unlock(&p->lock);
		return err;
	}
	if (p->extents)
		extent_store_set_verify(p->extents, s->verify_writes);
	if (p->meta)
		meta_set_verify(p->meta, s->verify_writes);
	err = pool_json_store(p);
	if (err)
		pool_say(
			msg,
			"the settings are in force, but %s/pool.json can't be written: %s; it is tried "
			"again while the pool is in use",
			p->dir, dfs_err_text(err));
	return err;
}

/* ---- background work ---- */

struct users *pool_users(struct pool *p) { return &p->users; }

struct pool_rebuild pool_get_rebuild(struct pool *p)
{
	ENV_LOCKED(&p->lock);

	return p->rebuild;
}

int pool_set_rebuild(struct pool *p, const struct pool_rebuild *r, struct pool_message *msg)
{
	const struct rec_background rec = {r->after_s, r->bytes_per_s};
	struct meta_txn *t;
	uint64_t seq;
	int err;
	ENV_LOCKED(&p->change_lock);

	if (!p->meta) {
		pool_say(msg,
			 "cannot store the settings of background work: the pool has no disk yet; "
			 "add one first");
		return DFS_ENODISK;
	}
	t = meta_begin(p->meta);
	put_background(t, &rec);
	err = meta_commit(t, &seq);
	if (!err)
		err = meta_sync(p->meta, seq);
	if (err) {
		pool_say(msg, "cannot store the settings: %s", dfs_err_text(err));
		return err;
	}
	ENV_LOCKED(&p->lock);
	p->rebuild = *r;
	return 0;
}
