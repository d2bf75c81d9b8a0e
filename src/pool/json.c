/* SPDX-License-Identifier: Apache-2.0 */
/* pool.json while the pool is in use: what it says (P8, H10), and writing it. Lock: json_lock. */
#include <stdio.h>

#include "pool/internal.h"

static void pool_json_fill(struct pool *p)
{
	p->json.policy = pool_get_settings(p);
	p->json.written_wall_s = env_wall_ns() / 1000000000u;
	for (unsigned i = 0; i < p->json.disk_count; i++) {
		struct pool_json_disk *j = &p->json.disks[i];
		struct disk *d = disk_get(p->disks, j->id);
		enum disk_state st = d ? disk_state(d) : DISK_HEALTHY;

		/* "failed" here means that the disk is not even opened: only an order says that,
		 * for one that failed by itself gets another chance at the next mount */
		if (!d || !strcmp(j->state, disk_state_name(DISK_FAILED)))
			continue;
		snprintf(j->state, sizeof(j->state), "%s",
			 disk_state_name(st == DISK_FAILED ? DISK_DEGRADED : st));
	}
}

/* json_lock held. */
static int write_json(struct pool *p)
{
	BUF text = {0};
	int err;

	pool_json_fill(p);
	err = pool_json_encode(&p->json, &text);
	return err ? err : dev_replace(p->dir_dev, POOL_JSON_NAME, text.data, text.len);
}

int pool_json_store(struct pool *p)
{
	int err, was;

	ENV_LOCKED(&p->json_lock);
	err = write_json(p);
	env_mutex_lock(&p->lock);
	was = p->pool_json_err;
	p->pool_json_err = err;
	env_mutex_unlock(&p->lock);
	if (err && !was)
		log_error(
			"cannot write %s/pool.json: %s; it is tried again. The pool works, but until then "
			"the pool directory does not count as a witness of what is newest",
			p->dir, dfs_err_text(err));
	return err;
}

void json_set_line(struct pool *p, const struct meta_line *line)
{
	p->json.durable_seq = line->seq;
	p->json.durable_chain = line->chain;
}

int pool_json_note_durable(struct pool *p)
{
	struct meta_line now = meta_durable_line(p->meta), was;
	int err;

	ENV_LOCKED(&p->json_lock);
	was = (struct meta_line){p->json.durable_seq, p->json.durable_chain};
	if (now.seq == was.seq)
		return 0;
	json_set_line(p, &now);
	err = write_json(p);
	if (err)
		json_set_line(p, &was);
	return err;
}

/* The pool directory remembers what is in force now. */
void pool_json_take_witness(struct pool *p, const struct history_witness *w,
			    const struct meta_line *line)
{
	ENV_LOCKED(&p->json_lock);
	p->json.epoch = w->epoch;
	p->json.epoch_id = w->id;
	p->json.generation = w->generation;
	json_set_line(p, line);
}
