/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.json: text to structure and back. Keeps P10 (any bytes are safe). Pure functions without
 * locks.
 */
#include "format/pooljson.h"

#include <stdlib.h>

#include "format/jsonseal.h"

#define KIND "dynamicfs pool"
#define NUMBER_MAX (1ull << 62) /* as in roots */

void pool_json_release(struct pool_json *p)
{
	free(p->disks);
	*p = (struct pool_json){0};
}

struct pool_json_disk *pool_json_add(struct pool_json *p)
{
	struct pool_json_disk *d;

	p->disks = xrealloc(p->disks, (p->disk_count + 1) * sizeof(*p->disks));
	d = &p->disks[p->disk_count++];
	memset(d, 0, sizeof(*d));
	return d;
}

struct pool_json_disk *pool_json_find(struct pool_json *p, disk_id id)
{
	for (unsigned i = 0; i < p->disk_count; i++)
		if (p->disks[i].id.v == id.v)
			return &p->disks[i];
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	const struct pool_json_disk *const *x = a, *const *y = b;

	return ((*x)->id.v > (*y)->id.v) - ((*x)->id.v < (*y)->id.v);
}

static int by_uuid(const void *a, const void *b)
{
	const struct pool_json_disk *const *x = a, *const *y = b;

	return memcmp(&(*x)->uuid, &(*y)->uuid, sizeof((*x)->uuid));
}

static bool has_twins(const struct pool_json *p, int (*cmp)(const void *, const void *))
{
	FREE const struct pool_json_disk **order = xcalloc(p->disk_count + 1, sizeof(*order));

	for (unsigned i = 0; i < p->disk_count; i++)
		order[i] = &p->disks[i];
	qsort(order, p->disk_count, sizeof(*order), cmp);
	for (unsigned i = 1; i < p->disk_count; i++)
		if (cmp(&order[i - 1], &order[i]) == 0)
			return true;
	return false;
}

static bool pool_valid(const struct pool_json *p)
{
	if (uuid_is_null(&p->pool) || p->disk_count > POOL_JSON_MAX_DISKS ||
	    p->search_count > POOL_JSON_MAX_SEARCH)
		return false;
	for (unsigned i = 0; i < p->disk_count; i++) {
		const struct pool_json_disk *d = &p->disks[i];

		if (!disk_id_valid(d->id) || uuid_is_null(&d->uuid) || d->state[0] == '\0')
			return false;
	}
	return !has_twins(p, by_id) && !has_twins(p, by_uuid);
}

/* Absent: none is remembered. */
static int durable_get(const json_t *o, struct pool_json *p)
{
	const json_t *chain = json_object_get(o, "durable_chain");
	const char *hex = json_string_value(chain);

	if (!chain && !json_object_get(o, "durable_seq"))
		return 0;
	if (!hex || strlen(hex) != 2 * HASH_LEN ||
	    json_get_u64(o, "durable_seq", &p->durable_seq) || p->durable_seq == 0 ||
	    p->durable_seq > NUMBER_MAX)
		return DFS_ECORRUPT;
	return json_get_hex(hex, p->durable_chain.b, HASH_LEN);
}

static json_t *disk_to_json(const struct pool_json_disk *d)
{
	json_t *o = json_object();
	int bad = 0;

	bad |= json_put_u64(o, "id", d->id.v);
	bad |= json_put_uuid(o, "uuid", &d->uuid);
	bad |= json_put_str(o, "label", d->label, sizeof(d->label));
	bad |= json_put_str(o, "state", d->state, sizeof(d->state));
	bad |= json_put_path(o, d->path, sizeof(d->path));
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static json_t *policy_to_json(const struct policy *p)
{
	json_t *o = json_object();
	int bad = 0;

	bad |= json_put_u64(o, "large_k", p->large.k);
	bad |= json_put_u64(o, "large_m", p->large.m);
	bad |= json_put_u64(o, "copies", p->copies);
	bad |= json_put_u64(o, "metadata_copies", p->metadata_copies);
	bad |= json_put_u64(o, "verify_writes", p->verify_writes);
	if (!bad)
		return o;
	json_decref(o);
	return NULL;
}

static int policy_from_json(const json_t *o, struct policy *p)
{
	uint64_t k, m, copies, metadata_copies, verify;

	if (!json_is_object(o) || json_get_u64(o, "large_k", &k) ||
	    json_get_u64(o, "large_m", &m) || json_get_u64(o, "copies", &copies) ||
	    json_get_u64(o, "metadata_copies", &metadata_copies) ||
	    json_get_u64(o, "verify_writes", &verify) || k > UINT8_MAX || m > UINT8_MAX ||
	    copies > UINT8_MAX || metadata_copies > UINT8_MAX || verify > 1)
		return DFS_ECORRUPT;
	*p = (struct policy){
		{(uint8_t)k, (uint8_t)m}, (uint8_t)copies, (uint8_t)metadata_copies, verify};
	return 0;
}

static json_t *search_to_json(const struct pool_json *p)
{
	json_t *list = json_array();
	int bad = 0;

	for (unsigned i = 0; i < p->search_count; i++) {
		json_t *o = json_object();

		bad |= json_put_path(o, p->search[i], sizeof(p->search[i]));
		bad |= json_array_append_new(list, o);
	}
	if (!bad)
		return list;
	json_decref(list);
	return NULL;
}

/* Absent: none. */
static int search_from_json(const json_t *list, struct pool_json *p)
{
	if (list && (!json_is_array(list) || json_array_size(list) > POOL_JSON_MAX_SEARCH))
		return DFS_ECORRUPT;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);

		if (!json_is_object(o) || json_get_path(o, p->search[i], sizeof(p->search[i])) ||
		    p->search[i][0] != '/')
			return DFS_ECORRUPT;
		p->search_count++;
	}
	return 0;
}

int pool_json_encode(const struct pool_json *p, struct buf *out)
{
	json_t *o, *disks;
	int bad = 0;

	if (!pool_valid(p))
		return DFS_EINVAL;
	o = json_object();
	disks = json_array();
	bad |= json_object_set_new(o, "kind", json_string(KIND));
	bad |= json_put_u64(o, "format", POOL_JSON_FORMAT);
	bad |= json_put_uuid(o, "pool", &p->pool);
	bad |= json_put_str(o, "name", p->name, sizeof(p->name));
	if (!uuid_is_null(&p->epoch_id))
		bad |= json_put_uuid(o, "epoch_id", &p->epoch_id);
	bad |= json_put_u64(o, "epoch", p->epoch);
	bad |= json_put_u64(o, "generation", p->generation);
	if (p->durable_seq) {
		bad |= json_put_u64(o, "durable_seq", p->durable_seq);
		bad |= json_put_hex(o, "durable_chain", p->durable_chain.b, HASH_LEN);
	}
	bad |= json_put_u64(o, "written_wall_s", p->written_wall_s);
	bad |= json_put_u64(o, "feature_compat", p->feature_compat);
	bad |= json_put_u64(o, "feature_incompat", p->feature_incompat);
	bad |= json_object_set_new(o, "settings", policy_to_json(&p->policy));
	bad |= json_object_set_new(o, "search", search_to_json(p));
	for (unsigned i = 0; i < p->disk_count; i++)
		bad |= json_array_append_new(disks, disk_to_json(&p->disks[i]));
	bad |= json_object_set_new(o, "disks", disks);
	if (bad) {
		json_decref(o);
		return DFS_EINVAL;
	}
	return json_seal(o, out);
}

static int disk_from_json(const json_t *o, struct pool_json_disk *d)
{
	uint64_t id;

	if (!json_is_object(o) || json_get_u64(o, "id", &id) || id > UINT32_MAX ||
	    json_get_uuid(o, "uuid", &d->uuid) || json_get_path(o, d->path, sizeof(d->path)) ||
	    json_get_str(o, "label", d->label, sizeof(d->label)) ||
	    json_get_str(o, "state", d->state, sizeof(d->state)))
		return DFS_ECORRUPT;
	d->id.v = (uint32_t)id;
	return 0;
}

int pool_json_parse(const void *data, size_t len, struct pool_json *ret)
{
	CLEANUP(pool_json_release) struct pool_json p = {0};
	const json_t *disks;
	JSON *o = NULL;
	int r = json_unseal(data, len, POOL_JSON_MAX_BYTES, KIND, POOL_JSON_FORMAT,
			    POOL_JSON_KNOWN_INCOMPAT, &o);

	if (r)
		return r;
	disks = json_object_get(o, "disks");
	if (json_get_uuid(o, "pool", &p.pool) || json_get_str(o, "name", p.name, sizeof(p.name)) ||
	    (json_object_get(o, "epoch_id") && json_get_uuid(o, "epoch_id", &p.epoch_id)) ||
	    json_get_u64(o, "epoch", &p.epoch) || json_get_u64(o, "generation", &p.generation) ||
	    p.epoch > NUMBER_MAX || p.generation > NUMBER_MAX || durable_get(o, &p) ||
	    json_get_u64(o, "written_wall_s", &p.written_wall_s) ||
	    json_get_u64(o, "feature_compat", &p.feature_compat) ||
	    json_get_u64(o, "feature_incompat", &p.feature_incompat) ||
	    policy_from_json(json_object_get(o, "settings"), &p.policy) || !json_is_array(disks) ||
	    json_array_size(disks) > POOL_JSON_MAX_DISKS)
		return DFS_ECORRUPT;
	if (search_from_json(json_object_get(o, "search"), &p))
		return DFS_ECORRUPT;
	for (size_t i = 0; i < json_array_size(disks); i++)
		if (disk_from_json(json_array_get(disks, i), pool_json_add(&p)))
			return DFS_ECORRUPT;
	if (!pool_valid(&p))
		return DFS_ECORRUPT;
	*ret = p;
	p = (struct pool_json){0};
	return 0;
}
