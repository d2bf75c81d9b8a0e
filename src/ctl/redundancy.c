/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How safe extents are, considering which disks are there now: for status and show-redundancy.
 * Counts in one pass over the extents table, in memory bounded by SAFETY_MAX_ROWS. No locks.
 */
#include "base/env.h"
#include "ctl/call.h"
#include "meta/cursor.h"

void safety_table_init(struct safety_table *t)
{
	*t = (struct safety_table){.total.least_left = INT32_MAX};
}

/* *ret_in_doubt: too few are sure, and there may be enough. */
static int losses_left(const struct rec_extent *e, const struct disk_views *views,
		       bool *ret_in_doubt)
{
	unsigned width = MIN((unsigned)e->k + e->m, DFS_EXTENT_MAX_FRAGMENTS), there = 0;
	unsigned perhaps = 0;
	uint32_t domains[DFS_EXTENT_MAX_FRAGMENTS];

	for (unsigned i = 0; i < width; i++) {
		const struct rec_fragment *f = &e->frags[i];
		const struct disk_view *d = f->disk.v ? disk_views_find(views, f->disk) : NULL;

		if (!d || !d->present)
			continue;
		if (!d->in_doubt || disk_is_sure(d->in_doubt, f->segment, f->offset, f->record_len))
			domains[there++] = d->domain;
		else if (!disk_lost_there(d->in_doubt, f->segment, f->offset, f->record_len))
			perhaps++;
	}
	*ret_in_doubt = there < e->k && there + perhaps >= e->k;
	return place_losses_left(domains, there, e->k);
}

int extent_losses_left(const struct rec_extent *e, const struct disk_views *views)
{
	bool in_doubt;

	return losses_left(e, views, &in_doubt);
}

static void count(struct safety *s, const struct rec_extent *e, uint64_t bytes, int left,
		  bool in_doubt)
{
	s->extents++;
	s->bytes += bytes;
	if (in_doubt)
		s->in_doubt++;
	else if (left < 0)
		s->lost++;
	else if (left >= e->m)
		s->full++;
	else if (left > 0)
		s->reduced++;
	else
		s->endangered++;
	if (e->k != e->wanted_k || e->m != e->wanted_m)
		s->narrowed++;
	s->least_left = MIN(s->least_left, MAX(left, -1));
}

static bool same_geometry(struct geometry a, struct geometry b) { return a.k == b.k && a.m == b.m; }

void safety_add(struct safety_table *t, const struct rec_extent *e, uint64_t bytes,
		const struct disk_views *views)
{
	struct geometry now = {e->k, e->m}, wanted = {e->wanted_k, e->wanted_m};
	bool in_doubt;
	int left = losses_left(e, views, &in_doubt);

	count(&t->total, e, bytes, left, in_doubt);
	for (unsigned i = 0; i < t->count; i++)
		if (same_geometry(t->rows[i].now, now) &&
		    same_geometry(t->rows[i].wanted, wanted)) {
			count(&t->rows[i].safety, e, bytes, left, in_doubt);
			return;
		}
	if (t->count == SAFETY_MAX_ROWS)
		return; /* the total has it; more kinds than that come from no settings in use */
	t->rows[t->count] =
		(struct safety_row){.now = now, .wanted = wanted, .safety.least_left = INT32_MAX};
	count(&t->rows[t->count++].safety, e, bytes, left, in_doubt);
}

void set_safety(json_t *o, const struct safety *s)
{
	set_u64(o, "extents", s->extents);
	set_u64(o, "bytes", s->bytes);
	set_u64(o, "full", s->full);
	set_u64(o, "reduced", s->reduced);
	set_u64(o, "endangered", s->endangered);
	set_u64(o, "lost", s->lost);
	set_u64(o, "in_doubt", s->in_doubt);
	set_u64(o, "narrowed", s->narrowed);
	json_object_set_new(o, "losses_left",
			    s->extents ? json_integer(s->least_left) : json_null());
}

json_t *safety_rows_json(const struct safety_table *t)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < t->count; i++) {
		json_t *o = json_object();

		set_geometry(o, "geometry", t->rows[i].now);
		set_geometry(o, "wanted", t->rows[i].wanted);
		set_safety(o, &t->rows[i].safety);
		json_array_append_new(rows, o);
	}
	return rows;
}

int safety_scan(struct pool *p, const struct disk_views *views, uint64_t limit_ms,
		struct safety_table *ret_table, bool *ret_whole)
{
	const uint64_t end_ns = limit_ms ? env_now_ns() + limit_ms * 1000000ull : UINT64_MAX;
	bool whole = true;
	struct cursor c;
	int err = 0;

	safety_table_init(ret_table);
	cursor_of_table(&c, pool_meta(p), TABLE_EXTENT);
	while (!err && cursor_next(&c)) {
		struct rec_extent e;

		if (ret_table->total.extents % 1024 == 1023 && env_now_ns() > end_ns) {
			whole = false;
			break;
		}
		err = cursor_extent(&c, &e);
		if (!err)
			safety_add(ret_table, &e, e.len, views);
	}
	err = cursor_close(&c, err);
	*ret_whole = whole;
	return err;
}

/* ---- metadata ---- */

/* In how many failure domains are disks that were not given up? */
static unsigned domains_of(const struct disk_views *views)
{
	FREE struct place_disk *places = xcalloc(views->count + 1, sizeof(*places));

	for (unsigned i = 0; i < views->count; i++)
		places[i] = (struct place_disk){.domain = views->v[i].info.domain,
						.eligible = !views->v[i].given_up};
	return place_domains(places, views->count, 0);
}

/* Metadata is to bear so many losses as there are disks for. A pool that has given disks up had more than one: what
 * bears no loss since is not as it was meant. */
static unsigned losses_wanted(const struct disk_views *views, unsigned copies)
{
	unsigned domains = MAX(domains_of(views), 1u);

	for (unsigned i = 0; i < views->count; i++)
		if (views->v[i].given_up)
			domains = MAX(domains, 2u);
	return MIN(copies, domains) - 1;
}

/* How many more domains may be lost before the last journal is? */
static int journal_losses(const struct disk_views *views)
{
	FREE uint32_t *domains = xcalloc(views->count + 1, sizeof(*domains));
	unsigned there = 0;

	for (unsigned i = 0; i < views->count; i++)
		if (views->v[i].present && views->v[i].member)
			domains[there++] = views->v[i].domain;
	return place_losses_left(domains, there, 1);
}

void metadata_safety(struct pool *p, const struct disk_views *views, struct metadata_safety *ret)
{
	struct policy s = pool_get_settings(p);
	uint32_t present[DISK_ID_MAX + 1] = {0};
	struct meta_safety tables;

	*ret = (struct metadata_safety){.members = views->members_present};
	if (!pool_has_disks(p))
		return;
	for (unsigned i = 0; i < views->count; i++)
		if (views->v[i].present)
			present[views->v[i].id.v] = views->v[i].domain;
	meta_safety(pool_meta(p), present, &tables);
	ret->tables = tables.tables;
	ret->tables_short = tables.tables_short;
	ret->losses_left = MIN(journal_losses(views), tables.losses_left);
	ret->losses_wanted = (int)losses_wanted(views, s.metadata_copies);
}
