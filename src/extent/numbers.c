/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of segments that were given out are never given out again (S1). Those of files that are there, and of
 * records that the by-disk or the freed table names, are known; before the last trace of one goes, the index
 * notes it. Else the number might come again, and an older copy of the disk would pass for what lies there (H8).
 */
#include "extent/internal.h"

void numbers_gone(struct gone *g, disk_id disk, uint32_t segment)
{
	if (disk_id_valid(disk) && segment != UINT32_MAX)
		g->next[disk.v] = MAX(g->next[disk.v], segment + 1);
}

/* numbers_lock: a note that is read here is not behind one that is being committed. */
int numbers_commit(struct extent_store *s, const struct gone *g, struct meta_txn *t,
		   uint64_t *ret_seq)
{
	ENV_LOCKED(&s->numbers_lock);
	for (uint32_t id = 1; id <= DISK_ID_MAX; id++) {
		uint32_t noted = 0;

		if (!g->next[id])
			continue;
		if (get_numbers(s->cfg.meta, (disk_id){id}, &noted)) /* it is in the log */
			noted = 0;
		if (g->next[id] > noted)
			put_numbers(t, (disk_id){id}, g->next[id]);
	}
	return meta_commit(t, ret_seq);
}
