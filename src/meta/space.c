/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metadata takes on the disks, and what it may still need: the figures that the one account of
 * space asks for before it lets file data have room. Errs on the side of too much.
 */
#include <limits.h>
#include <stdlib.h>

#include "meta/internal.h"

/* Notes of what was deleted take space in the upper levels until they meet it in the last: those are a ninth of it. */
#define DELETIONS_PART 8u

/* What is committed and not in a checkpoint has room in the journal files (J2). Keys and values take as much as there, and
 * the tables have checksums, filters and indexes. */
static uint64_t flush_most(const struct meta *m)
{
	return 2 * m->journal_file_bytes * 5 / 4 + KIB(64);
}

void space_update(struct meta *m)
{
	uint64_t most = m->ops->merge_most ? m->ops->merge_most(m->index, flush_most(m)) : 0;
	FREE uint64_t *bytes = xcalloc(DISK_ID_MAX + 1, sizeof(*bytes));
	struct table_place *places = xcalloc(m->manifest.count + 1, sizeof(*places));
	uint64_t sum = 0, content = 0;

	for (unsigned i = 0; i < m->manifest.count; i++) {
		const struct manifest_file *f = &m->manifest.files[i];
		uint64_t each = ALIGN_UP(table_fragment_bytes(f->size_bytes, f->k), 4096);

		content += f->size_bytes;
		places[i] = (struct table_place){.k = f->k, .m = f->m, .rotten = f->rotten};
		for (unsigned j = 0; j < (unsigned)f->k + f->m; j++) {
			bytes[f->fragments[j].disk.v] += each;
			places[i].disks[j] = f->fragments[j].disk;
			sum += each;
		}
	}
	ENV_LOCKED(&m->state);
	memcpy(m->disk_table_bytes, bytes, sizeof(m->disk_table_bytes));
	m->table_bytes = sum;
	m->table_content = content;
	m->merge_most = most;
	free(m->table_places);
	m->table_places = places;
	m->table_count = m->manifest.count;
}

void meta_safety(struct meta *m, const uint32_t domains[DISK_ID_MAX + 1], struct meta_safety *ret)
{
	struct meta_safety s = {.losses_left = INT_MAX};

	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->table_count; i++) {
		const struct table_place *t = &m->table_places[i];
		uint32_t at[TABLE_MAX_WIDTH];
		unsigned there = 0;

		for (unsigned j = 0; j < (unsigned)t->k + t->m; j++)
			if (t->disks[j].v && domains[t->disks[j].v] && !(t->rotten & (1u << j)))
				at[there++] = domains[t->disks[j].v];
		s.tables++;
		s.tables_short += there < (unsigned)t->k + t->m;
		s.losses_left = MIN(s.losses_left, MAX(place_losses_left(at, there, t->k), -1));
	}
	*ret = s;
}

/* What the next checkpoint writes beside what lies there, as content: what is flushed, and what the
 * compactions that it allows make of it and of the tables that there are; these are rewritten once at
 * most, for what an intermediate step makes is gone before the image. */
static uint64_t next_content(const struct meta *m)
{
	/* a table is a little larger than was aimed at */
	uint64_t table = index_table_bytes(m->cfg.checkpoint_bytes) * 17 / 16;
	uint64_t flush = flush_most(m);
	uint64_t merged = INDEX_COMPACT_TABLES * table +
			  MAX(INDEX_COMPACTION_TABLES * table, m->merge_most / 16 * 17);

	return flush + MIN(merged, m->table_content + flush) + m->table_content / DELETIONS_PART;
}

void meta_space(struct meta *m, struct meta_space *ret)
{
	struct place_geometry g;

	ENV_LOCKED(&m->state);
	g = m->geometry.k ? m->geometry : tables_wanted(m);
	*ret = (struct meta_space){
		.table_bytes = m->table_bytes,
		.file_bytes = index_table_bytes(m->cfg.checkpoint_bytes) * 17 / 16,
		.next_bytes = next_content(m) / g.k * (g.k + g.m),
		.journal_bytes = 2 * m->journal_file_bytes *
				 (m->cfg.copies - MIN(m->cfg.copies, m->root.member_count)),
		.geometry = g,
	};
}

#define INDEX_SPARE_BYTES MIB(4) /* logs, pool.json, the index's own manifest */
#define INDEX_COMPACTION_BYTES GIB(1)

uint64_t meta_index_need(struct meta *m, bool at_most, uint64_t more)
{
	struct meta_stats st = meta_stats(m);
	uint64_t flush = st.journal_bytes + st.buffered_bytes + more;
	ENV_LOCKED(&m->state);

	if (at_most)
		flush = MAX(flush, 2 * m->journal_file_bytes + more);
	return INDEX_SPARE_BYTES + 2 * flush +
	       MIN(m->table_content + (at_most ? flush : 0), INDEX_COMPACTION_BYTES);
}

uint64_t meta_disk_bytes(struct meta *m, disk_id id)
{
	ENV_LOCKED(&m->state);
	return disk_id_valid(id) ? m->disk_table_bytes[id.v] : 0;
}
