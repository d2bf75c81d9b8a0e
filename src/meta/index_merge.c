/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much one compaction can write. What RocksDB (7.8) takes for one:
 *
 *   level 0: any of its tables, and all of them that overlap with those, directly or by others; and all tables of level 1
 *   that overlap with what these span. No option bounds that.
 *   level n: a table that is chosen by rules which are not told here, and all tables of level n + 1 that overlap with it;
 *   further ones of level n only while all together are less than max_compaction_bytes.
 *
 * Level n > 0 is in order and without overlaps, no key lies in two of its tables (no snapshots are taken). A table that is
 * only moved to the next level is no new one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "meta/index_merge.h"

static int compare_keys(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int c = memcmp(a, b, MIN(a_len, b_len));

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static bool overlap(const struct merge_table *a, const struct merge_table *b)
{
	return compare_keys(a->first, a->first_len, b->last, b->last_len) <= 0 &&
	       compare_keys(b->first, b->first_len, a->last, a->last_len) <= 0;
}

static int by_place(const void *a, const void *b)
{
	const struct merge_table *x = a, *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return compare_keys(x->first, x->first_len, y->first, y->first_len);
}

/* The most of one table of level n > 0 and all below it that overlap. Both levels are in order. */
static uint64_t table_most(const struct merge_table *tables, size_t count)
{
	uint64_t most = 0;
	size_t from = 0; /* nothing before it overlaps with this table, nor with those after it */

	for (size_t i = 0; i < count; i++) {
		const struct merge_table *t = &tables[i];
		uint64_t sum = t->size_bytes;

		if (t->level == 0)
			continue;
		while (from < count && (tables[from].level <= t->level ||
					(tables[from].level == t->level + 1 &&
					 compare_keys(tables[from].last, tables[from].last_len,
						      t->first, t->first_len) < 0)))
			from++;
		for (size_t j = from;
		     j < count && tables[j].level == t->level + 1 && overlap(&tables[j], t); j++)
			sum += tables[j].size_bytes;
		most = MAX(most, sum);
	}
	return most;
}

/* What all tables of level 0 span, as one. */
static struct merge_table top(const struct merge_table *tables, size_t count)
{
	struct merge_table sum = {0};

	for (size_t i = 0; i < count; i++) {
		const struct merge_table *t = &tables[i];

		if (t->level > 0)
			continue;
		if (!sum.first ||
		    compare_keys(t->first, t->first_len, sum.first, sum.first_len) < 0) {
			sum.first = t->first;
			sum.first_len = t->first_len;
		}
		if (!sum.last || compare_keys(t->last, t->last_len, sum.last, sum.last_len) > 0) {
			sum.last = t->last;
			sum.last_len = t->last_len;
		}
		sum.size_bytes += t->size_bytes;
	}
	return sum;
}

static uint64_t top_most(const struct merge_table *tables, size_t count, uint64_t flush_bytes)
{
	struct merge_table all = top(tables, count);
	uint64_t sum = all.size_bytes + flush_bytes;

	for (size_t i = 0; i < count; i++)
		if (tables[i].level == 1 &&
		    (flush_bytes || (all.first && overlap(&tables[i], &all))))
			sum += tables[i].size_bytes;
	return sum;
}

uint64_t index_merge_most(struct merge_table *tables, size_t count, uint64_t limit_bytes,
			  uint64_t flush_bytes)
{
	uint64_t all = flush_bytes, most;

	for (size_t i = 0; i < count; i++)
		all += tables[i].size_bytes;
	qsort(tables, count, sizeof(*tables), by_place);
	most = MAX(top_most(tables, count, flush_bytes), table_most(tables, count));
	return MAX(most, MIN(limit_bytes, all));
}
