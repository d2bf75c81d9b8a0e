/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.json: text to structure and back. Keeps P10 (any bytes are safe) and P8 (a file that is not
 * whole is no identity). Pure functions without locks.
 */
#include "format/diskjson.h"

#include "format/jsonseal.h"

#define KIND "dynamicfs disk"

/* The plain numbers, in the order people read them. */
static const struct {
	const char *key;
	size_t offset;
} numbers[] = {
	{"capacity_bytes", offsetof(struct disk_json, capacity_bytes)},
	{"epoch", offsetof(struct disk_json, epoch)},
	{"written_wall_s", offsetof(struct disk_json, written_wall_s)},
	{"feature_compat", offsetof(struct disk_json, feature_compat)},
	{"feature_incompat", offsetof(struct disk_json, feature_incompat)},
	{"reads", offsetof(struct disk_json, reads)},
	{"writes", offsetof(struct disk_json, writes)},
	{"syncs", offsetof(struct disk_json, syncs)},
	{"read_bytes", offsetof(struct disk_json, read_bytes)},
	{"write_bytes", offsetof(struct disk_json, write_bytes)},
	{"read_errors", offsetof(struct disk_json, read_errors)},
	{"write_errors", offsetof(struct disk_json, write_errors)},
	{"checksum_errors", offsetof(struct disk_json, checksum_errors)},
};

/* ---- places of other disks ---- */

#define PLACES_TEXT_BYTES KIB(48) /* so that the file stays below its bound */
#define PLACE_TEXT_BYTES 160u	  /* of one, beside its path */
#define ESCAPED_BYTES 6u	  /* that a byte of a path takes at most: \u001f */

bool disk_places_add(struct disk_places *p, const struct uuid *uuid, const char *path)
{
	size_t n = strlen(path), text = PLACE_TEXT_BYTES + ESCAPED_BYTES * n;

	if (path[0] != '/' || n >= DISK_PLACE_PATH || uuid_is_null(uuid) ||
	    p->count == DISK_PLACES_MAX || p->text_bytes + text > PLACES_TEXT_BYTES)
		return false;
	p->at[p->count].uuid = *uuid;
	memset(p->at[p->count].path, 0, DISK_PLACE_PATH);
	memcpy(p->at[p->count++].path, path, n);
	p->text_bytes += text;
	return true;
}

static int places_put(json_t *o, const struct disk_places *p)
{
	json_t *list;
	int bad = 0;

	if (!p || p->count == 0)
		return 0;
	list = json_array();
	for (unsigned i = 0; i < p->count; i++) {
		json_t *row = json_object();

		bad |= json_put_uuid(row, "uuid", &p->at[i].uuid);
		bad |= json_put_path(row, p->at[i].path, sizeof(p->at[i].path));
		bad |= json_array_append_new(list, row);
	}
	return bad | json_object_set_new(o, "places", list);
}

/* Absent: none. */
static int places_get(const json_t *list, struct disk_places *p)
{
	if (list && (!json_is_array(list) || json_array_size(list) > DISK_PLACES_MAX))
		return DFS_ECORRUPT;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);
		char path[DISK_PLACE_PATH];
		struct uuid uuid;

		if (!json_is_object(row) || json_get_uuid(row, "uuid", &uuid) ||
		    json_get_path(row, path, sizeof(path)) || !disk_places_add(p, &uuid, path))
			return DFS_ECORRUPT;
	}
	return 0;
}

/* ---- the whole ---- */

int disk_json_encode_with(const struct disk_json *d, const struct disk_places *places,
			  struct buf *out)
{
	json_t *o;
	int bad = 0;

	if (!disk_id_valid((disk_id){d->id}) || d->state[0] == '\0' || uuid_is_null(&d->pool) ||
	    uuid_is_null(&d->uuid))
		return DFS_EINVAL;
	o = json_object();
	bad |= json_object_set_new(o, "kind", json_string(KIND));
	bad |= json_put_u64(o, "format", DISK_JSON_FORMAT);
	bad |= json_put_uuid(o, "pool", &d->pool);
	bad |= json_put_uuid(o, "uuid", &d->uuid);
	bad |= json_put_u64(o, "id", d->id);
	bad |= json_put_str(o, "label", d->label, sizeof(d->label));
	bad |= json_put_str(o, "domain", d->domain, sizeof(d->domain));
	bad |= json_put_str(o, "state", d->state, sizeof(d->state));
	if (d->reason[0])
		bad |= json_put_str(o, "reason", d->reason, sizeof(d->reason));
	if (d->since_wall_s)
		bad |= json_put_u64(o, "since_wall_s", d->since_wall_s);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t v;

		memcpy(&v, (const char *)d + numbers[i].offset, sizeof(v));
		bad |= json_put_u64(o, numbers[i].key, v);
	}
	bad |= places_put(o, places);
	if (bad) {
		json_decref(o);
		return DFS_EINVAL;
	}
	return json_seal(o, out);
}

int disk_json_encode(const struct disk_json *d, struct buf *out)
{
	return disk_json_encode_with(d, NULL, out);
}

int disk_json_parse(const void *data, size_t len, struct disk_json *ret)
{
	FREE struct disk_places *unused = xmalloc(sizeof(*unused));

	return disk_json_parse_with(data, len, ret, unused);
}

int disk_json_parse_with(const void *data, size_t len, struct disk_json *ret,
			 struct disk_places *ret_places)
{
	FREE struct disk_places *places = xcalloc(1, sizeof(*places));
	struct disk_json d = {0};
	JSON *o = NULL;
	uint64_t id;
	int r = json_unseal(data, len, DISK_JSON_MAX_BYTES, KIND, DISK_JSON_FORMAT,
			    DISK_JSON_KNOWN_INCOMPAT, &o);

	if (r)
		return r;
	if (json_get_uuid(o, "pool", &d.pool) || json_get_uuid(o, "uuid", &d.uuid) ||
	    json_get_u64(o, "id", &id) || id == 0 || id > DISK_ID_MAX ||
	    json_get_str(o, "label", d.label, sizeof(d.label)) ||
	    json_get_str(o, "domain", d.domain, sizeof(d.domain)) ||
	    json_get_str(o, "state", d.state, sizeof(d.state)) || d.state[0] == '\0')
		return DFS_ECORRUPT;
	if ((json_object_get(o, "reason") &&
	     json_get_str(o, "reason", d.reason, sizeof(d.reason))) ||
	    (json_object_get(o, "since_wall_s") &&
	     json_get_u64(o, "since_wall_s", &d.since_wall_s)))
		return DFS_ECORRUPT;
	d.id = (uint32_t)id;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t v;

		if (json_get_u64(o, numbers[i].key, &v))
			return DFS_ECORRUPT;
		memcpy((char *)&d + numbers[i].offset, &v, sizeof(v));
	}
	if (places_get(json_object_get(o, "places"), places))
		return DFS_ECORRUPT;
	*ret = d;
	*ret_places = *places;
	return 0;
}
