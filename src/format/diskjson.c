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

int disk_json_encode(const struct disk_json *d, struct buf *out)
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
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t v;

		memcpy(&v, (const char *)d + numbers[i].offset, sizeof(v));
		bad |= json_put_u64(o, numbers[i].key, v);
	}
	if (bad) {
		json_decref(o);
		return DFS_EINVAL;
	}
	return json_seal(o, out);
}

int disk_json_parse(const void *data, size_t len, struct disk_json *ret)
{
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
	d.id = (uint32_t)id;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t v;

		if (json_get_u64(o, numbers[i].key, &v))
			return DFS_ECORRUPT;
		memcpy((char *)&d + numbers[i].offset, &v, sizeof(v));
	}
	*ret = d;
	return 0;
}
