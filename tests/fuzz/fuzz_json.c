/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.json and pool.json: whatever parses can be encoded, and that text parses to the same again.
 */
#include "fuzz.h"

#include "format/diskjson.h"
#include "format/jsonseal.h"
#include "format/pooljson.h"

static void check_disk(const uint8_t *data, size_t size)
{
	static struct disk_places p, q;
	struct disk_json d, e;
	BUF once = {0}, twice = {0};

	if (disk_json_parse_with(data, size, &d, &p))
		return;
	REQUIRE(disk_json_encode_with(&d, &p, &once) == 0);
	REQUIRE(disk_json_parse_with(once.data, once.len, &e, &q) == 0);
	REQUIRE(p.count == q.count);
	REQUIRE(disk_json_encode_with(&e, &q, &twice) == 0);
	REQUIRE(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
}

static void check_pool(const uint8_t *data, size_t size)
{
	struct pool_json p, q;
	BUF once = {0}, twice = {0};

	if (pool_json_parse(data, size, &p))
		return;
	REQUIRE(pool_json_encode(&p, &once) == 0);
	REQUIRE(pool_json_parse(once.data, once.len, &q) == 0);
	REQUIRE(pool_json_encode(&q, &twice) == 0);
	REQUIRE(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	REQUIRE(p.disk_count == q.disk_count);
	pool_json_release(&p);
	pool_json_release(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_disk(data, size);
	check_pool(data, size);
	return 0;
}

/* Text that still is an object gets a right checksum, and now and then a right kind. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	BUF out = {0};
	json_t *o;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 8 == 0)
		return size;
	o = json_loadb((const char *)data, size, 0, NULL);
	if (!json_is_object(o)) {
		json_decref(o);
		return size;
	}
	json_object_del(o, "checksum");
	if (seed % 32 == 1)
		json_object_set_new(o, "kind", json_string("dynamicfs disk"));
	if (json_seal(o, &out) || out.len > max_size)
		return size;
	memcpy(data, out.data, out.len);
	return out.len;
}
