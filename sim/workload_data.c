/* SPDX-License-Identifier: Apache-2.0 */
/* The clients' operations on bytes, and their syncs: each told to the model before it starts. */
#include <stdlib.h>

#include "base/env.h"
#include "sim/sim_env.h"
#include "sim/workload.h"

/* Mostly small: hashing big ones costs more than it finds. */
static uint64_t some_len(struct client *c)
{
	uint64_t die = rng_below(&c->rng, 100);

	if (die < 45)
		return rng_between(&c->rng, 1, 3000);
	if (die < 60)
		return 4096 * rng_between(&c->rng, 1, 8);
	if (die < 85)
		return rng_between(&c->rng, 1, KIB(40));
	if (die < 95)
		return rng_between(&c->rng, 1, KIB(300));
	if (die < 97)
		return MIB(1) - 1 + rng_below(&c->rng, 3);
	return rng_between(&c->rng, KIB(300), MIB(1) + KIB(600));
}

static uint64_t some_offset(struct client *c, uint64_t size)
{
	switch (rng_below(&c->rng, 8)) {
	case 0:
		return 0;
	case 1:
	case 2:
		return size;
	case 3:
		return size + rng_below(&c->rng, KIB(20));
	case 4:
		return rng_below(&c->rng, size / 4096 + 1) * 4096;
	case 5:
		return rng_one_in(&c->rng, 8) ? rng_below(&c->rng, MODEL_MAX_SIZE)
					      : rng_below(&c->rng, KIB(64));
	default:
		return rng_below(&c->rng, size + 1);
	}
}

/* The model learns of the operation before the engine does: from here on it may have happened. */
static void start(struct client *c, struct mnode *n, const struct mdata_op *op)
{
	model_data(n, op);
	c->writing = n;
}

/* Ends an operation on data that the model knows already. */
static void finish(struct client *c, const char *what, int err, struct mnode *n, struct inode *in)
{
	c->writing = NULL;
	if (!client_expect(c, what, err, 0) && !c->stopped)
		model_data_failed(n);
	fs_forget(c->run->fs, in, 1);
}

void client_write(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	struct mdata_op op = {.kind = MDATA_WRITE};
	bool append = rng_one_in(&c->rng, 5);
	FREE uint8_t *data = NULL;

	if (!in)
		return;
	op.off = append ? n->cur.len : some_offset(c, n->cur.len);
	op.len = some_len(c);
	if (op.off >= MODEL_MAX_SIZE) {
		fs_forget(c->run->fs, in, 1);
		return;
	}
	op.len = MIN(op.len, MODEL_MAX_SIZE - op.off);
	op.seed = ++c->run->next_data_seed;
	data = xmalloc(op.len);
	model_fill(op.seed, op.off, data, op.len);
	sim_trace("c%u write %llu at %llu len %llu%s", c->id, (unsigned long long)n->ino,
		  (unsigned long long)op.off, (unsigned long long)op.len, append ? " append" : "");
	start(c, n, &op);
	finish(c, "write", fs_write(c->run->fs, in, append ? 12345 : op.off, op.len, data, append),
	       n, in);
}

/* So many pieces that truncating or freeing them takes several transactions. */
void client_scatter(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	uint64_t stride = rng_between(&c->rng, 2000, 9000);
	uint8_t data[64];

	if (!in)
		return;
	sim_trace("c%u scatters over %llu, one piece in %llu", c->id, (unsigned long long)n->ino,
		  (unsigned long long)stride);
	for (unsigned i = 0; i < 300 && (i + 1) * stride < MODEL_MAX_SIZE && !c->stopped; i++) {
		struct mdata_op op = {.kind = MDATA_WRITE,
				      .off = i * stride,
				      .len = sizeof(data),
				      .seed = ++c->run->next_data_seed};
		int err;

		model_fill(op.seed, op.off, data, op.len);
		start(c, n, &op);
		err = fs_write(c->run->fs, in, op.off, op.len, data, false);
		c->writing = NULL;
		if (client_expect(c, "write", err, 0))
			continue;
		if (!c->stopped)
			model_data_failed(n);
		break;
	}
	if (!c->stopped && rng_one_in(&c->rng, 2)) { /* stored, and then cut off */
		struct mdata_op op = {.kind = MDATA_SIZE, .off = rng_below(&c->rng, 5000)};
		struct fs_attr attr = {.size = op.off};
		uint64_t mark = model_data_mark(n);

		if (client_expect(c, "fsync", fs_fsync(c->run->fs, in, false), 0)) {
			model_data_floor(n, mark);
			sim_trace("c%u truncates it to %llu", c->id, (unsigned long long)op.off);
			start(c, n, &op);
			finish(c, "truncate", fs_setattr(c->run->fs, in, &attr, FS_SET_SIZE, &attr),
			       n, in);
			return;
		}
	}
	fs_forget(c->run->fs, in, 1);
}

void client_truncate(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	struct mdata_op op = {.kind = MDATA_SIZE};
	struct fs_attr attr = {0};
	int err;

	if (!in)
		return;
	op.off = MIN(rng_one_in(&c->rng, 3) ? 0 : some_offset(c, n->cur.len), MODEL_MAX_SIZE);
	attr.size = op.off;
	sim_trace("c%u truncate %llu from %zu to %llu", c->id, (unsigned long long)n->ino,
		  n->cur.len, (unsigned long long)op.off);
	start(c, n, &op);
	err = fs_setattr(c->run->fs, in, &attr, FS_SET_SIZE, &attr);
	if (!err && attr.size != op.off)
		sim_fail("P2", "truncate of %llu to %llu says size %llu",
			 (unsigned long long)n->ino, (unsigned long long)op.off,
			 (unsigned long long)attr.size);
	finish(c, "truncate", err, n, in);
}

void client_punch(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	struct mdata_op op = {.kind = MDATA_ZERO};
	unsigned mode = FS_FALLOC_KEEP_SIZE | FS_FALLOC_PUNCH;

	if (!in)
		return;
	op.off = some_offset(c, n->cur.len);
	op.len = some_len(c);
	switch (rng_below(&c->rng, 4)) {
	case 0: /* zero, and extend */
	case 1: /* allocate, and extend */
		if (op.off + op.len <= n->cur.len || op.off + op.len > MODEL_MAX_SIZE)
			break;
		/* Bytes beyond the end are zeros anyway; below it, only the zeroing kind acts. */
		op.len += op.off - n->cur.len;
		op.off = n->cur.len;
		mode = rng_one_in(&c->rng, 2) ? FS_FALLOC_ZERO : 0;
		if (op.off + op.len > MODEL_MAX_SIZE || !op.len)
			break;
		sim_trace("c%u allocate %llu to %llu", c->id, (unsigned long long)n->ino,
			  (unsigned long long)(op.off + op.len));
		start(c, n, &(struct mdata_op){.kind = MDATA_SIZE, .off = op.off + op.len});
		finish(c, "fallocate", fs_fallocate(c->run->fs, in, mode, op.off, op.len), n, in);
		return;
	case 2:
		mode = FS_FALLOC_KEEP_SIZE | FS_FALLOC_ZERO;
		break;
	case 3: /* set space aside, also beyond the end: no byte changes */
		if (!rng_one_in(&c->rng, 2))
			break;
		sim_trace("c%u preallocate %llu at %llu len %llu", c->id,
			  (unsigned long long)n->ino, (unsigned long long)op.off,
			  (unsigned long long)op.len);
		start(c, n, &(struct mdata_op){.kind = MDATA_SIZE, .off = n->cur.len});
		finish(c, "preallocate",
		       fs_fallocate(c->run->fs, in, FS_FALLOC_KEEP_SIZE, op.off, op.len), n, in);
		return;
	}
	if (mode == 0 || mode == FS_FALLOC_ZERO)
		mode = FS_FALLOC_KEEP_SIZE | FS_FALLOC_PUNCH;
	sim_trace("c%u punch %llu at %llu len %llu", c->id, (unsigned long long)n->ino,
		  (unsigned long long)op.off, (unsigned long long)op.len);
	start(c, n, &op);
	finish(c, "punch", fs_fallocate(c->run->fs, in, mode, op.off, op.len), n, in);
}

void client_read(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	uint64_t off, len, want;
	FREE uint8_t *data = NULL;
	size_t got = 0;

	if (!in)
		return;
	off = some_offset(c, n->cur.len);
	len = rng_one_in(&c->rng, 8) ? MODEL_MAX_SIZE : some_len(c);
	want = off < n->cur.len ? MIN(len, n->cur.len - off) : 0;
	len = MIN(len, want + 5000);
	data = xmalloc(len);
	sim_trace("c%u read %llu at %llu len %llu", c->id, (unsigned long long)n->ino,
		  (unsigned long long)off, (unsigned long long)len);
	if (client_expect(c, "read", fs_read(c->run->fs, in, off, len, data, &got), 0)) {
		uint64_t x = 0;

		if (got != want)
			sim_fail("P3", "read of %llu at %llu gives %zu bytes, not %llu",
				 (unsigned long long)n->ino, (unsigned long long)off, got,
				 (unsigned long long)want);
		if (got && !memcmp(data, n->cur.data + off, got))
			x = got;
		while (x < got && data[x] == n->cur.data[off + x])
			x++;
		if (x < got)
			sim_fail(
				"P3",
				"read of %llu at %llu gives wrong bytes from %llu on: %02x, not %02x",
				(unsigned long long)n->ino, (unsigned long long)off,
				(unsigned long long)(off + x), data[x], n->cur.data[off + x]);
	}
	fs_forget(c->run->fs, in, 1);
}

void client_seek(struct client *c)
{
	struct mnode *n;
	struct inode *in = client_file(c, &n);
	uint64_t off, at = 0, to;
	int err;

	if (!in)
		return;
	off = rng_below(&c->rng, n->cur.len + 10);
	sim_trace("c%u seek %llu from %llu", c->id, (unsigned long long)n->ino,
		  (unsigned long long)off);
	err = fs_seek(c->run->fs, in, off, false, &at);
	if (off >= n->cur.len || err)
		(void)client_expect(c, "seek", err, DFS_ENXIO);
	to = err ? n->cur.len : at;
	if (!err && (at < off || at >= n->cur.len))
		sim_fail("P3", "data of %llu from %llu on is said to begin at %llu",
			 (unsigned long long)n->ino, (unsigned long long)off,
			 (unsigned long long)at);
	for (uint64_t x = off; x < to; x++)
		if (n->cur.data[x])
			sim_fail("P3",
				 "%llu is said to have a hole from %llu to %llu, but %llu is data",
				 (unsigned long long)n->ino, (unsigned long long)off,
				 (unsigned long long)to, (unsigned long long)x);
	fs_forget(c->run->fs, in, 1);
}

/* ---- syncs ---- */

static void names_marks(struct run *r, unsigned *marks)
{
	for (unsigned i = 0; i < r->clients_count; i++)
		marks[i] = model_mark(r->clients[i].model);
}

static void names_durable(struct run *r, const unsigned *marks)
{
	for (unsigned i = 0; i < r->clients_count; i++)
		if (!r->clients[i].stopped) /* its last operation failed, and may be half done */
			model_floor(r->clients[i].model, marks[i]);
}

void client_fsync(struct client *c)
{
	struct mnode *n = NULL;
	struct inode *in = client_file(c, &n);
	uint64_t mark, tick;
	bool exceeded;
	int err;

	if (!in) {
		n = c->model->root;
		in = client_dir(c, n);
	}
	mark = model_data_mark(n);
	exceeded = c->run->exceeded;
	tick = model_last_change(c->model, n);
	sim_trace("c%u fsync %llu", c->id, (unsigned long long)n->ino);
	err = fs_fsync(c->run->fs, in, rng_one_in(&c->rng, 2));
	sim_trace("c%u fsync %llu: %s", c->id, (unsigned long long)n->ino, dfs_err_name(err));
	if (client_expect(c, "fsync", err, 0)) {
		/* The names that changed this inode, and whatever was acknowledged before. */
		for (unsigned i = 0; i < c->run->clients_count; i++)
			if (!c->run->clients[i].stopped)
				model_floor(c->run->clients[i].model,
					    model_mark_at(c->run->clients[i].model, tick));
		model_data_floor(n, mark);
		n->promised |= exceeded && !n->older;
	}
	fs_forget(c->run->fs, in, 1);
}

void client_sync_all(struct client *c)
{
	struct run *r = c->run;
	unsigned marks[SIM_CLIENTS];
	int err;

	if (r->sync_all_running) {
		client_fsync(c);
		return;
	}
	r->sync_all_running = true;
	names_marks(r, marks);
	for (unsigned i = 0; i < r->clients_count; i++)
		model_mark_data(r->clients[i].model);
	/* Writes in flight elsewhere are not covered: their clients have not been told yet. */
	for (unsigned i = 0; i < r->clients_count; i++)
		if (&r->clients[i] != c && r->clients[i].writing && r->clients[i].writing->mark)
			r->clients[i].writing->mark--;
	sim_trace("c%u sync all", c->id);
	err = fs_sync_all(r->fs);
	sim_trace("c%u sync all: %s", c->id, dfs_err_name(err));
	r->sync_all_running = false;
	if (client_expect(c, "sync of everything", err, 0)) {
		names_durable(r, marks);
		for (unsigned i = 0; i < r->clients_count; i++)
			if (!r->clients[i].stopped)
				model_floor_data(r->clients[i].model);
	}
}

void client_think(struct client *c)
{
	uint64_t ms = rng_one_in(&c->rng, 4) ? rng_below(&c->rng, 7000) : rng_below(&c->rng, 300);

	sim_trace("c%u waits %llu ms", c->id, (unsigned long long)ms);
	env_sleep_ms(ms);
}
