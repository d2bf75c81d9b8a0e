/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether what counts as there is there (S5): on a disk that is well again, and had errors when the pool was in use
 * before, each fragment is whole or known to be in doubt.
 */
#include "base/probe.h"
#include "meta/cursor.h"
#include "sim/run.h"

/* Are the disk's errors all that has befallen it? */
static struct disk *had_errors(struct run *r, disk_id id)
{
	struct run_disk *rd = run_disk_by_id(r, id);
	struct disk *d = disk_get(pool_disks(r->pool), id);

	return rd && rd->damage == DAMAGE_ERRORS && !rd->had_other && d && disk_present(d) ? d
											   : NULL;
}

static bool counts(struct disk *d, const struct rec_fragment *f)
{
	return !disk_may_lack(d, f->segment, f->offset, f->record_len);
}

/* It may be written anew, or freed, meanwhile. */
static bool still_counts(struct run *r, struct disk *d, const struct rec_extent *rec, unsigned i)
{
	const struct rec_fragment *f = &rec->frags[i];
	struct rec_extent now;

	return !get_extent(pool_meta(r->pool), rec->id, &now) && now.frags[i].disk.v == f->disk.v &&
	       now.frags[i].segment == f->segment && now.frags[i].offset == f->offset &&
	       disk_present(d) && counts(d, f);
}

static void check_extent(struct run *r, const struct rec_extent *rec)
{
	struct extent_check c;
	bool verified = false;

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		const struct rec_fragment *f = &rec->frags[i];
		struct disk *d = f->disk.v ? had_errors(r, f->disk) : NULL;

		if (!d)
			continue;
		if (!verified && extent_verify(pool_extents(r->pool), rec, true, &c))
			return;
		verified = true;
		if (!counts(d, f)) {
			if (c.status[i] == FRAGMENT_BAD)
				PROBE("fragment-in-doubt-lost");
			continue;
		}
		if (c.status[i] != FRAGMENT_GOOD && still_counts(r, d, rec, i))
			sim_fail("S5",
				 "a fragment on disk %u, at %u:%u, counts as there, and is not",
				 f->disk.v, f->segment, f->offset);
		PROBE("fragment-there-after-errors");
	}
}

void oracle_each_extent(struct run *r, void (*fn)(struct run *r, const struct rec_extent *rec))
{
	struct rec_extent rec;
	struct cursor c;

	cursor_of_table(&c, pool_meta(r->pool), TABLE_EXTENT);
	while (cursor_next(&c) && cursor_extent(&c, &rec) == 0)
		fn(r, &rec);
	(void)cursor_close(&c, 0);
}

void oracle_doubts(struct run *r) { oracle_each_extent(r, check_extent); }
