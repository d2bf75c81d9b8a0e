/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which numbers of segments a disk may still give out (S1): those above what the index names on it, or notes.
 */
#include "base/log.h"
#include "pool/internal.h"

/* What was never given out leaves no number to give out (P10). */
static uint32_t above(uint32_t segment) { return segment == UINT32_MAX ? segment : segment + 1; }

/* One above the highest segment that this table (by disk, or freed) names on the disk; 0: none. The number is in the
 * key, so a record whose value is damaged counts, too; a key that can't be one is passed over. */
static uint32_t above_last(struct meta_iter *it, uint8_t table, disk_id id)
{
	BUF key = {0};

	if (table == TABLE_BYDISK)
		key_bydisk(&key, id, UINT32_MAX, UINT32_MAX);
	else
		key_freed(&key, id, UINT32_MAX, UINT32_MAX);
	for (meta_iter_seek_back(it, key.data, key.len); meta_iter_valid(it); meta_iter_prev(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct reader r = reader_of(k, klen);
		bool ours = reader_u8(&r) == table && reader_be32(&r) == id.v && !r.bad;
		uint32_t segment = reader_be32(&r);
		struct rec_bydisk by;
		struct rec_freed freed;
		int err;

		if (!ours)
			break;
		err = table == TABLE_BYDISK ? parse_bydisk(k, klen, v, vlen, &by)
					    : parse_freed(k, klen, v, vlen, &freed);
		if (err)
			log_error("the index's last record of what lies on disk %u is damaged "
				  "(table %c: %s); the disk is used all the same; run fsck, "
				  "which names what is damaged",
				  id.v, table, dfs_err_text(err));
		if (klen == key.len)
			return above(segment);
	}
	return 0;
}

/* One above the highest segment that the index names on this disk, or has named: a disk that comes back from
 * an old copy must not give out numbers again (S1). */
int numbers_floor(struct pool *p, disk_id id, uint32_t *ret_floor)
{
	struct meta_iter *it = meta_iter_new(p->meta);
	uint32_t floor = 0;
	int err;

	if (get_numbers(p->meta, id, &floor)) /* it is in the log; the others still tell */
		floor = 0;
	floor = MAX(floor, above_last(it, TABLE_BYDISK, id));
	err = meta_iter_error(it);
	if (!err) {
		floor = MAX(floor, above_last(it, TABLE_FREED, id));
		err = meta_iter_error(it);
	}
	meta_iter_free(it);
	*ret_floor = MAX(floor, 1);
	return err;
}
