/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See late.h. A commit costs, so it is made only where less may be free than can be taken until the next one (half of the
 * filesystem, at most 16 GiB). What is free then is the filesystem's word less all that was taken since we made it commit
 * last: it may count some of that already, but need not. So a disk that looks half empty is not filled beyond its end on
 * one old answer, by one directory or by several.
 *
 * Locks: table_lock, for the list; late.lock. Neither is held across I/O, nor one under the other.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "dev/late.h"

#define MOST_BYTES GIB(16)

struct late {
	uint64_t fs_id;
	unsigned users; /* table_lock */
	LIST_ENTRY(late) link;
	pthread_mutex_t lock;
	struct late_mark now, known;
};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, late) table = LIST_HEAD_INITIALIZER(table);

struct late *late_get(uint64_t fs_id)
{
	struct late *l;

	pthread_mutex_lock(&table_lock);
	LIST_FOREACH(l, &table, link)
		if (l->fs_id == fs_id)
			break;
	if (!l) {
		l = xcalloc(1, sizeof(*l));
		l->fs_id = fs_id;
		pthread_mutex_init(&l->lock, NULL);
		LIST_INSERT_HEAD(&table, l, link);
	}
	l->users++;
	pthread_mutex_unlock(&table_lock);
	late_forget(l);
	return l;
}

void late_put(struct late *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&table_lock);
	if (--l->users == 0) {
		LIST_REMOVE(l, link);
		pthread_mutex_destroy(&l->lock);
		free(l);
	}
	pthread_mutex_unlock(&table_lock);
}

void late_moved(struct late *l, uint64_t taken_bytes)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->now.moves++;
	l->now.taken_bytes += taken_bytes;
	pthread_mutex_unlock(&l->lock);
}

void late_forget(struct late *l) { late_moved(l, MOST_BYTES); }

bool late_is_due(struct late *l, uint64_t free_bytes, uint64_t total_bytes,
		 struct late_mark *ret_mark)
{
	uint64_t unseen;
	bool is_due;

	pthread_mutex_lock(&l->lock);
	unseen = l->now.taken_bytes - l->known.taken_bytes;
	is_due = l->now.moves > l->known.moves &&
		 free_bytes - MIN(free_bytes, unseen) < MIN(total_bytes / 2, MOST_BYTES);
	*ret_mark = l->now;
	pthread_mutex_unlock(&l->lock);
	return is_due;
}

void late_committed(struct late *l, const struct late_mark *mark)
{
	pthread_mutex_lock(&l->lock);
	if (mark->moves > l->known.moves)
		l->known = *mark;
	pthread_mutex_unlock(&l->lock);
}
