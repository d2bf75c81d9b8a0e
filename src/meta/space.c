/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metadata takes on the disks, and what it may still need: the figures that the one account of
 * space asks for before it lets file data have room. Errs on the side of too much.
 */
#include "meta/internal.h"

void space_update(struct meta *m)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < m->manifest.count; i++)
		bytes += m->manifest.files[i].size_bytes;
	ENV_LOCKED(&m->state);
	m->image_bytes = bytes;
}

void meta_space(struct meta *m, struct meta_space *ret)
{
	ENV_LOCKED(&m->state);
	*ret = (struct meta_space){
		.table_bytes = m->image_bytes * m->root.member_count,
		.next_bytes = (m->image_bytes + 3 * m->cfg.checkpoint_bytes) * m->cfg.copies,
		.journal_bytes = 3 * m->cfg.checkpoint_bytes * m->cfg.copies,
		.geometry = {1, (uint8_t)(m->cfg.copies - 1)},
	};
}

uint64_t meta_disk_bytes(struct meta *m, disk_id id)
{
	ENV_LOCKED(&m->state);
	for (unsigned i = 0; i < m->root.member_count; i++)
		if (m->root.members[i].id.v == id.v)
			return m->image_bytes;
	return 0;
}
