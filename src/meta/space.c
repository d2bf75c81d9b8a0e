/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metadata takes on the disks, and what it may still need: the figures that the one account of
 * space asks for before it lets file data have room. Errs on the side of too much.
 */
#include "meta/internal.h"

void space_update(struct meta *m)
{
	FREE uint64_t *bytes = xcalloc(DISK_ID_MAX + 1, sizeof(*bytes));
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->manifest.count; i++) {
		const struct manifest_file *f = &m->manifest.files[i];
		uint64_t each = ALIGN_UP(table_fragment_bytes(f->size_bytes, f->k), 4096);

		for (unsigned j = 0; j < (unsigned)f->k + f->m; j++) {
			bytes[f->fragments[j].disk.v] += each;
			sum += each;
		}
	}
	ENV_LOCKED(&m->state);
	memcpy(m->disk_table_bytes, bytes, sizeof(m->disk_table_bytes));
	m->table_bytes = sum;
}

void meta_space(struct meta *m, struct meta_space *ret)
{
	ENV_LOCKED(&m->state);
	*ret = (struct meta_space){
		.table_bytes = m->table_bytes,
		.next_bytes = m->table_bytes + 3 * m->cfg.checkpoint_bytes * m->cfg.copies,
		.journal_bytes = 2 * m->journal_file_bytes *
				 (m->cfg.copies - MIN(m->cfg.copies, m->root.member_count)),
		.geometry = tables_wanted(m),
	};
}

uint64_t meta_disk_bytes(struct meta *m, disk_id id)
{
	ENV_LOCKED(&m->state);
	return disk_id_valid(id) ? m->disk_table_bytes[id.v] : 0;
}
