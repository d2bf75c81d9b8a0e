/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members: the disks that hold journal and checkpoint. A member that fails is marked dead and stays
 * in its slot until an administrative call sweeps it, so that whoever is using it never loses the
 * memory under his feet. Each slow member has a writer thread, so that a group is written to all
 * members at the same time; a member whose writes take a few microseconds is written inline, because
 * waking a thread would cost more.
 */
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

/* Slower than this, a member's journal writes go through its thread. */
#define INLINE_NS 60000u

struct member *member_new(struct meta *m, const struct meta_disk *d, bool listed)
{
	struct member *mb = xcalloc(1, sizeof(*mb));

	mb->m = m;
	mb->disk = *d;
	mb->listed = listed;
	env_cond_init(&mb->wake);
	return mb;
}

void member_free(struct member *mb)
{
	struct meta *m = mb->m;

	if (mb->thread) {
		env_mutex_lock(&m->work);
		mb->stop = true;
		env_cond_signal(&mb->wake);
		env_mutex_unlock(&m->work);
		env_thread_join(mb->thread);
	}
	dev_close(mb->journal);
	env_cond_release(&mb->wake);
	free(mb);
}

void member_kill(struct meta *m, struct member *mb, int err, const char *doing)
{
	ENV_LOCKED(&m->state);
	if (mb->dead)
		return;
	log_error("cannot %s on disk %u (%s): %s; it no longer holds metadata, the other members "
		  "go on; check the disk",
		  doing, mb->disk.id.v, mb->disk.dev->name, dfs_err_text(err));
	mb->dead = true;
	mb->err = err;
}

bool member_dead(struct meta *m, const struct member *mb)
{
	ENV_LOCKED(&m->state);
	return mb->dead;
}

void member_sweep(struct meta *m)
{
	struct member *gone[ROOT_MAX_MEMBERS];
	unsigned gone_count = 0, kept = 0;

	env_mutex_lock(&m->state);
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (mb->dead && mb->told)
			gone[gone_count++] = mb;
		else
			m->members[kept++] = mb;
	}
	m->member_count = kept;
	env_mutex_unlock(&m->state);
	for (unsigned i = 0; i < gone_count; i++)
		member_free(gone[i]);
}

void tables_disk_failed(struct meta *m, const struct meta_disk *d, int err, const char *doing)
{
	log_error("cannot %s on disk %u (%s): %s; other disks are taken instead; check the disk",
		  doing, d->id.v, d->dev->name, dfs_err_text(err));
	ENV_LOCKED(&m->state);
	if (m->table_failure_count == META_MAX_DISKS)
		return;
	m->table_failures[m->table_failure_count].id = d->id;
	m->table_failures[m->table_failure_count++].err = err;
}

void member_report(struct meta *m)
{
	disk_id ids[ROOT_MAX_MEMBERS + META_MAX_DISKS];
	int errs[ROOT_MAX_MEMBERS + META_MAX_DISKS];
	unsigned count = 0;

	env_mutex_lock(&m->state);
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (!mb->dead || mb->told)
			continue;
		mb->told = true;
		ids[count] = mb->disk.id;
		errs[count++] = mb->err;
	}
	for (unsigned i = 0; i < m->table_failure_count; i++) {
		ids[count] = m->table_failures[i].id;
		errs[count++] = m->table_failures[i].err;
	}
	m->table_failure_count = 0;
	env_mutex_unlock(&m->state);
	for (unsigned i = 0; i < count && m->cfg.member_failed; i++)
		m->cfg.member_failed(m->cfg.ctx, ids[i], errs[i]);
}

/* ---- journal writes ---- */

static int write_one(struct member *mb, const struct journal_job *job)
{
	uint64_t start_ns = env_now_ns(), took_ns;
	int err = dev_write(mb->journal, job->data, job->len, job->off);

	if (err == 0 && job->twice)
		err = dev_write(mb->journal, job->data, job->len, mb->second_off + job->off);
	if (err == 0)
		err = dev_sync(mb->journal);
	if (err == 0 && job->verify)
		err = dev_verify(mb->journal, job->data, job->len, job->off);
	if (err == 0 && job->verify && job->twice)
		err = dev_verify(mb->journal, job->data, job->len, mb->second_off + job->off);
	if (err)
		return err;
	took_ns = env_now_ns() - start_ns;
	mb->write_ns = (3 * mb->write_ns + took_ns) / 4;
	return 0;
}

static void writer(void *arg)
{
	struct member *mb = arg;
	struct meta *m = mb->m;

	env_mutex_lock(&m->work);
	while (!mb->stop) {
		const struct journal_job *job = mb->job;
		int err;

		if (!job) {
			env_cond_wait(&mb->wake, &m->work);
			continue;
		}
		env_mutex_unlock(&m->work);
		err = write_one(mb, job);
		env_mutex_lock(&m->work);
		mb->job = NULL;
		mb->job_err = err;
		env_cond_signal(&m->work_done);
	}
	env_mutex_unlock(&m->work);
}

static void hand_over(struct member *mb, const struct journal_job *job)
{
	if (!mb->thread)
		mb->thread = env_thread_start("meta-writer", writer, mb);
	env_mutex_lock(&mb->m->work);
	mb->job = job;
	env_cond_signal(&mb->wake);
	env_mutex_unlock(&mb->m->work);
}

static int wait_for(struct member *mb)
{
	ENV_LOCKED(&mb->m->work);
	while (mb->job)
		env_cond_wait(&mb->m->work_done, &mb->m->work);
	return mb->job_err;
}

/*
 * Members that failed die; but not for want of space: then the group waits until there is space again,
 * on all members, and nothing is lost. What was written is overwritten by the same bytes.
 */
static int judge(struct meta *m, struct member **tried, const int *errs, unsigned count)
{
	bool full = false;

	for (unsigned i = 0; i < count; i++) {
		if (errs[i] == DFS_ENOSPC)
			full = true;
		else if (errs[i])
			member_kill(m, tried[i], errs[i], "write the metadata journal");
	}
	return full ? DFS_ENOSPC : 0;
}

int journal_write(struct meta *m, const uint8_t *data, size_t len)
{
	const struct journal_job job = {data, len, m->file_off, m->file_twice,
					__atomic_load_n(&m->verify_writes, __ATOMIC_RELAXED)};
	struct member *tried[ROOT_MAX_MEMBERS];
	int errs[ROOT_MAX_MEMBERS];
	unsigned count = 0, theirs;

	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (member_dead(m, mb))
			continue;
		if (!mb->journal) { /* joins: starts with the next file */
			ASSERT(!mb->listed);
			continue;
		}
		tried[count++] = mb;
	}
	/* The slow ones first, by their threads; one of them by this thread if it would only wait. */
	theirs = 0;
	for (unsigned i = 0; i < count; i++) {
		struct member *mb = tried[i];

		if (mb->write_ns <= INLINE_NS)
			continue;
		tried[i] = tried[theirs];
		tried[theirs++] = mb;
	}
	if (theirs && theirs == count)
		theirs--;
	for (unsigned i = 0; i < theirs; i++)
		hand_over(tried[i], &job);
	for (unsigned i = theirs; i < count; i++)
		errs[i] = write_one(tried[i], &job);
	for (unsigned i = 0; i < theirs; i++)
		errs[i] = wait_for(tried[i]);
	return judge(m, tried, errs, count);
}
