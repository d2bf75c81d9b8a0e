/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's peer: a fiber that syncs and reads the client's files while the client writes them. What
 * it asks for is only what was acknowledged before it asked; what it reads may be of any moment
 * between its question and the answer.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "sim/workload.h"

/* The client may delete the file at any moment: without a handle of ours it is gone then. */
static bool is_gone(const struct mnode *n, int err) { return err == DFS_ENOENT && !n->nlink; }

/* Data operations acknowledged so far: the one in flight may come before or after what we ask. */
static uint64_t acked_mark(const struct client *c, const struct mnode *n)
{
	return model_data_mark(n) - (c->writing == n);
}

static struct mnode *pick_file(struct client *c)
{
	struct mnode *n, *chosen = NULL;
	uint64_t seen = 0;

	TAILQ_FOREACH(n, &c->model->nodes, link)
		if (S_ISREG(n->mode) && n->nlink && n->ino && rng_one_in(&c->peer_rng, ++seen))
			chosen = n;
	return chosen;
}

static void peer_fsync(struct client *c, struct mnode *n, struct inode *in)
{
	uint64_t mark = acked_mark(c, n), tick = model_last_change(c->model, n);
	int err;

	sim_trace("peer %u fsync %llu", c->id, (unsigned long long)n->ino);
	err = fs_fsync(c->run->fs, in, false);
	sim_trace("peer %u fsync %llu: %s", c->id, (unsigned long long)n->ino, dfs_err_name(err));
	if (is_gone(n, err) || !client_expect(c, "fsync", err, 0) || c->stopped)
		return;
	model_data_floor(n, mark);
	if (tick != UINT64_MAX)
		model_floor(c->model, model_mark_at(c->model, tick));
}

static void peer_read(struct client *c, struct mnode *n, struct inode *in)
{
	uint64_t mark = acked_mark(c, n);
	uint64_t off = rng_below(&c->peer_rng, n->cur.len + 1);
	uint64_t len = rng_between(&c->peer_rng, 1, rng_one_in(&c->peer_rng, 4) ? MIB(1) : KIB(20));
	FREE uint8_t *data = xmalloc(len);
	size_t got = 0;
	char text[200];
	int err;

	sim_trace("peer %u reads %llu at %llu len %llu", c->id, (unsigned long long)n->ino,
		  (unsigned long long)off, (unsigned long long)len);
	err = fs_read(c->run->fs, in, off, len, data, &got);
	/* The last operation of one that has stopped failed, and may be half done. */
	if (is_gone(n, err) || !client_expect(c, "read", err, 0) || c->stopped)
		return;
	if (!model_read_check(n, mark, off, data, got, len, text, sizeof(text)))
		sim_fail("P3", "a read of client %u's inode %llu at %llu beside its writer: %s",
			 c->id, (unsigned long long)n->ino, (unsigned long long)off, text);
}

void peer_main(void *arg)
{
	struct client *c = arg;

	/* The client may wait for long: then there is nothing new to see. */
	for (unsigned left = 2 * c->ops_left; c->busy && left; left--) {
		struct mnode *n;
		struct inode *in;
		int err;

		env_sleep_ms(rng_below(&c->peer_rng, 2 + c->run->pace_ms * 2));
		if (!c->busy)
			break;
		n = pick_file(c);
		if (!n)
			env_sleep_ms(1);
		if (!n || rng_one_in(&c->peer_rng, 4))
			continue;
		err = fs_inode_get(c->run->fs, (ino_id){n->ino}, &in);
		if (is_gone(n, err) || !client_expect(c, "get", err, 0))
			continue;
		if (rng_one_in(&c->peer_rng, 2))
			peer_fsync(c, n, in);
		else
			peer_read(c, n, in);
		fs_forget(c->run->fs, in, 1);
	}
}
