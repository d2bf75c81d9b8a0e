/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.json and pool.json: round trips, bounds, and P10: whatever character is changed and wherever
 * the text is cut, it is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "format/diskjson.h"
#include "format/jsonseal.h"
#include "format/pooljson.h"

static struct uuid uuid_of(uint8_t seed)
{
	struct uuid u;

	for (unsigned i = 0; i < sizeof(u.b); i++)
		u.b[i] = (uint8_t)(seed + i + 1);
	return u;
}

/* Parses an exact copy of the bytes, so that a sanitizer guards both of its ends. */
typedef int (*parse_fn)(const void *data, size_t len);
static int parse_copy(parse_fn parse, const uint8_t *data, size_t len)
{
	FREE uint8_t *copy = xmalloc(len ? len : 1);

	memcpy(copy, data, len);
	return parse(copy, len);
}

static struct disk_json disk_make(void)
{
	struct disk_json d = {
		.pool = uuid_of(1),
		.uuid = uuid_of(2),
		.id = 3,
		.label = "Größe \"7\" \\ /",
		.domain = "shelf-1",
		.capacity_bytes = 1000000000000ull,
		.state = "healthy",
		.epoch = 7,
		.written_wall_s = 1700000000,
		.reads = 1,
		.writes = UINT32_MAX,
		.checksum_errors = 5,
	};

	return d;
}

static int disk_json_parse_only(const void *data, size_t len)
{
	struct disk_json d;

	return disk_json_parse(data, len, &d);
}

static void disk_json_round_trips(void **state)
{
	struct disk_json d = disk_make(), got;
	BUF out = {0}, again = {0};

	(void)state;
	assert_int_equal(disk_json_encode(&d, &out), 0);
	assert_int_equal(disk_json_parse(out.data, out.len, &got), 0);
	assert_int_equal(got.id, 3);
	assert_true(uuid_eq(&got.pool, &d.pool) && uuid_eq(&got.uuid, &d.uuid));
	assert_string_equal(got.label, d.label);
	assert_string_equal(got.domain, d.domain);
	assert_string_equal(got.state, d.state);
	assert_int_equal(got.capacity_bytes, d.capacity_bytes);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.writes, UINT32_MAX);
	assert_int_equal(got.checksum_errors, 5);
	assert_int_equal(disk_json_encode(&got, &again), 0);
	assert_int_equal(again.len, out.len);
	assert_memory_equal(again.data, out.data, out.len);
	d.writes = UINT64_MAX;
	buf_reset(&out);
	assert_int_equal(disk_json_encode(&d, &out), 0);
	assert_int_equal(disk_json_parse(out.data, out.len, &got), 0);
	assert_int_equal(got.writes, INT64_MAX);
}

/* The longest text that they can have leaves the file below its bound. */
static void disk_json_holds_places(void **state)
{
	struct disk_places *p = calloc(1, sizeof(*p)), *q = calloc(1, sizeof(*q));
	struct disk_json d = disk_make(), got;
	char path[DISK_PLACE_PATH];
	struct uuid u = uuid_of(1);
	BUF out = {0};

	(void)state;
	memset(d.label, 1, sizeof(d.label) - 1);
	memset(d.domain, 1, sizeof(d.domain) - 1);
	assert_false(disk_places_add(p, &u, "not/absolute"));
	assert_true(disk_places_add(p, &u, "/not \xff utf-8"));
	memset(path, '\1', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	for (unsigned n = 2; n < 20; n++) {
		u = uuid_of((uint8_t)n);
		(void)disk_places_add(p, &u, path);
	}
	assert_in_range(p->count, 4, 19);
	assert_int_equal(disk_json_encode_with(&d, p, &out), 0);
	assert_in_range(out.len, 40000, DISK_JSON_MAX_BYTES);
	assert_int_equal(disk_json_parse_with(out.data, out.len, &got, q), 0);
	assert_int_equal(q->count, p->count);
	for (unsigned i = 0; i < p->count; i++) {
		assert_string_equal(q->at[i].path, p->at[i].path);
		assert_true(uuid_eq(&q->at[i].uuid, &p->at[i].uuid));
	}
	*p = (struct disk_places){0};
	while (disk_places_add(p, &u, "/short"))
		;
	assert_int_equal(p->count, DISK_PLACES_MAX);
	buf_reset(&out);
	assert_int_equal(disk_json_encode_with(&d, p, &out), 0);
	assert_int_equal(disk_json_parse_only(out.data, out.len), 0);
	free(p);
	free(q);
}

static void disk_json_refuses_places(void **state)
{
	static const char *const bad[] = {
		"{}",
		"[1]",
		"[{\"path\": \"/a\"}]",
		"[{\"uuid\": \"00000000-0000-0000-0000-000000000000\", \"path\": \"/a\"}]",
		"[{\"uuid\": \"00000000-0000-4000-8000-000000000001\", \"path\": \"a\"}]",
		"[{\"uuid\": \"00000000-0000-4000-8000-000000000001\", \"path_hex\": \"0\"}]",
	};
	struct disk_json d = disk_make();
	BUF out = {0};

	(void)state;
	assert_int_equal(disk_json_encode(&d, &out), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		json_t *o = json_loadb((const char *)out.data, out.len, 0, NULL);
		BUF sealed = {0};

		assert_non_null(o);
		json_object_del(o, "checksum");
		json_object_set_new(o, "places", json_loads(bad[i], 0, NULL));
		assert_int_equal(json_seal(o, &sealed), 0);
		assert_int_equal(disk_json_parse_only(sealed.data, sealed.len), DFS_ECORRUPT);
	}
}

static void disk_json_refuses_damage(void **state)
{
	struct disk_json d = disk_make();
	BUF out = {0};

	(void)state;
	assert_int_equal(disk_json_encode(&d, &out), 0);
	for (size_t i = 0; i < out.len; i++) {
		/* White space is not content: a space may become a line's end. */
		uint8_t was = out.data[i], now = was == 'x' ? 'y' : 'x';

		if (was == '\n' || was == ' ')
			continue;
		out.data[i] = now;
		if (disk_json_parse_only(out.data, out.len) == 0)
			fail_msg("byte %zu changed from %c was accepted", i, was);
		out.data[i] = was;
	}
	for (size_t n = 0; n + 1 < out.len; n++)
		assert_int_not_equal(parse_copy(disk_json_parse_only, out.data, n), 0);
	assert_int_equal(parse_copy(disk_json_parse_only, out.data, out.len - 1), 0);
}

static void disk_json_refuses_input(void **state)
{
	struct disk_json d = disk_make();
	BUF out = {0};

	(void)state;
	memcpy(d.label, "\xff\xfe", 3);
	assert_int_equal(disk_json_encode(&d, &out), DFS_EINVAL);
	d = disk_make();
	memset(d.domain, 'a', sizeof(d.domain));
	assert_int_equal(disk_json_encode(&d, &out), DFS_EINVAL);
	d = disk_make();
	d.id = 0;
	assert_int_equal(disk_json_encode(&d, &out), DFS_EINVAL);
	d = disk_make();
	d.state[0] = '\0';
	assert_int_equal(disk_json_encode(&d, &out), DFS_EINVAL);
	assert_int_equal(out.len, 0);
	d = disk_make();
	d.feature_incompat = 4;
	assert_int_equal(disk_json_encode(&d, &out), 0);
	assert_int_equal(disk_json_parse_only(out.data, out.len), DFS_EFEATURE);
}

/* Known answers: the checksum is of the documented dump, and hostile nesting is refused. */
static void json_checksum_is_documented(void **state)
{
	struct disk_json d = disk_make();
	FREE char *deep = xmalloc(DISK_JSON_MAX_BYTES);
	BUF out = {0};
	char *at;

	(void)state;
	memset(deep, '[', DISK_JSON_MAX_BYTES);
	assert_int_equal(disk_json_parse_only(deep, DISK_JSON_MAX_BYTES), DFS_ECORRUPT);
	assert_int_equal(disk_json_parse_only("{}", 2), DFS_ECORRUPT);
	assert_int_equal(disk_json_parse_only("[]", 2), DFS_ECORRUPT);
	memcpy(d.label, "L", 2);
	assert_int_equal(disk_json_encode(&d, &out), 0);
	buf_put_u8(&out, 0);
	at = strstr((char *)out.data, "\"format\": 1,");
	assert_non_null(at);
	at[10] = '2';
	assert_int_equal(disk_json_parse_only(out.data, out.len - 1), DFS_ECHECKSUM);
}

static struct pool_json pool_make(unsigned disks)
{
	struct pool_json p = {.pool = uuid_of(1),
			      .name = "tank",
			      .epoch = 9,
			      .epoch_id = uuid_of(7),
			      .generation = 11};

	for (unsigned i = 0; i < disks; i++) {
		struct pool_json_disk *d = pool_json_add(&p);

		d->id.v = i + 1;
		d->uuid = uuid_of((uint8_t)(i * 20));
		snprintf(d->label, sizeof(d->label), "disk%u", i);
		snprintf(d->state, sizeof(d->state), "healthy");
		snprintf(d->path, sizeof(d->path), i == 1 ? "/mnt/\xff%u" : "/mnt/ä%u", i);
	}
	return p;
}

static int pool_json_parse_only(const void *data, size_t len)
{
	struct pool_json p;
	int r = pool_json_parse(data, len, &p);

	if (r == 0)
		pool_json_release(&p);
	return r;
}

static void pool_json_round_trips(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		CLEANUP(pool_json_release) struct pool_json p = pool_make(n), got = {0};
		BUF out = {0}, again = {0};

		assert_int_equal(pool_json_encode(&p, &out), 0);
		assert_int_equal(pool_json_parse(out.data, out.len, &got), 0);
		assert_int_equal(got.disk_count, n);
		assert_int_equal(got.epoch, 9);
		assert_memory_equal(got.disks, p.disks, n * sizeof(*p.disks));
		assert_int_equal(pool_json_encode(&got, &again), 0);
		assert_int_equal(again.len, out.len);
		assert_memory_equal(again.data, out.data, out.len);
		if (n) {
			assert_non_null(pool_json_find(&got, (disk_id){n}));
			assert_null(pool_json_find(&got, (disk_id){n + 1}));
		}
	}
}

/* Unsealed and sealed again with other values of the two keys: what a reader takes. */
static int parse_with(const struct pool_json *p, json_t *seq, json_t *chain)
{
	BUF out = {0}, changed = {0};
	json_t *o;

	assert_int_equal(pool_json_encode(p, &out), 0);
	assert_int_equal(
		json_unseal(out.data, out.len, POOL_JSON_MAX_BYTES, "dynamicfs pool", 1, 0, &o), 0);
	(void)json_object_del(o, "checksum");
	(void)json_object_del(o, "durable_seq");
	(void)json_object_del(o, "durable_chain");
	if (seq)
		assert_int_equal(json_object_set_new(o, "durable_seq", seq), 0);
	if (chain)
		assert_int_equal(json_object_set_new(o, "durable_chain", chain), 0);
	assert_int_equal(json_seal(o, &changed), 0);
	return pool_json_parse_only(changed.data, changed.len);
}

/* The transaction that is remembered (H10): there with its hash, or not at all. */
static void pool_json_durable(void **state)
{
	static const char hex[] =
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	CLEANUP(pool_json_release) struct pool_json p = pool_make(1), got = {0};
	BUF out = {0};

	(void)state;
	p.durable_seq = 4711;
	for (unsigned i = 0; i < HASH_LEN; i++)
		p.durable_chain.b[i] = (uint8_t)(i * 9);
	assert_int_equal(pool_json_encode(&p, &out), 0);
	assert_int_equal(pool_json_parse(out.data, out.len, &got), 0);
	assert_int_equal(got.durable_seq, 4711);
	assert_memory_equal(got.durable_chain.b, p.durable_chain.b, HASH_LEN);
	buf_put_u8(&out, 0);
	assert_non_null(strstr((char *)out.data, "\"durable_chain\": \"0009121b242d363f"));
	assert_int_equal(parse_with(&p, NULL, NULL), 0);
	assert_int_equal(parse_with(&p, json_integer(7), json_string(hex)), 0);
	assert_int_equal(parse_with(&p, json_integer(1ll << 62), json_string(hex)), 0);
	assert_int_equal(parse_with(&p, json_integer((1ll << 62) + 1), json_string(hex)),
			 DFS_ECORRUPT);
	assert_int_equal(parse_with(&p, json_integer(0), json_string(hex)), DFS_ECORRUPT);
	assert_int_equal(parse_with(&p, json_integer(7), NULL), DFS_ECORRUPT);
	assert_int_equal(parse_with(&p, NULL, json_string(hex)), DFS_ECORRUPT);
	assert_int_equal(parse_with(&p, json_integer(7), json_string(hex + 1)), DFS_ECORRUPT);
	assert_int_equal(parse_with(&p, json_integer(7), json_integer(7)), DFS_ECORRUPT);
}

static void pool_json_refuses(void **state)
{
	CLEANUP(pool_json_release) struct pool_json p = pool_make(3);
	BUF out = {0};

	(void)state;
	assert_int_equal(pool_json_encode(&p, &out), 0);
	for (size_t n = 0; n + 1 < out.len; n++)
		assert_int_not_equal(parse_copy(pool_json_parse_only, out.data, n), 0);
	p.disks[1].id = p.disks[2].id;
	assert_int_equal(pool_json_encode(&p, &out), DFS_EINVAL);
	p.disks[1].id.v = 77;
	p.disks[1].uuid = p.disks[0].uuid;
	assert_int_equal(pool_json_encode(&p, &out), DFS_EINVAL);
	p.disks[1].uuid = uuid_of(111);
	memset(p.disks[1].path, 'p', sizeof(p.disks[1].path));
	assert_int_equal(pool_json_encode(&p, &out), DFS_EINVAL);
	p.disks[1].path[0] = '\0';
	assert_int_equal(pool_json_encode(&p, &out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_json_round_trips),
		cmocka_unit_test(disk_json_holds_places),
		cmocka_unit_test(disk_json_refuses_places),
		cmocka_unit_test(disk_json_refuses_damage),
		cmocka_unit_test(disk_json_refuses_input),
		cmocka_unit_test(json_checksum_is_documented),
		cmocka_unit_test(pool_json_round_trips),
		cmocka_unit_test(pool_json_durable),
		cmocka_unit_test(pool_json_refuses),
	};

	return cmocka_run_group_tests_name("format_json", tests, NULL, NULL);
}
