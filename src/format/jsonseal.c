/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of the JSON files, and bounded reading of their fields (P10). Pure functions without
 * locks.
 */
#include "format/jsonseal.h"

#include <stdlib.h>

#include "base/hash.h"

#define CHECKSUM_KEY "checksum"
#define HEX_LEN (2 * HASH_LEN)
#define MAX_DEPTH 16

/* The hash of the object's canonical dump, as hex. o must be without "checksum". */
static int canonical_hex(const json_t *o, char ret_hex[HEX_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";
	FREE char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	struct hash h;

	if (!text)
		return DFS_EINVAL;
	hash_bytes(text, strlen(text), &h);
	for (size_t i = 0; i < HASH_LEN; i++) {
		ret_hex[2 * i] = digits[h.b[i] >> 4];
		ret_hex[2 * i + 1] = digits[h.b[i] & 15];
	}
	ret_hex[HEX_LEN] = '\0';
	return 0;
}

int json_seal(json_t *o, struct buf *out)
{
	JSON *own = o;
	FREE char *text = NULL;
	char hex[HEX_LEN + 1];
	int r = canonical_hex(own, hex);

	if (r)
		return r;
	if (json_object_set_new(own, CHECKSUM_KEY, json_string(hex)))
		return DFS_EINVAL;
	text = json_dumps(own, JSON_INDENT(2));
	if (!text)
		return DFS_EINVAL;
	buf_put(out, text, strlen(text));
	buf_put_u8(out, '\n');
	return 0;
}

static int seal_verify(json_t *o)
{
	const char *stored = json_string_value(json_object_get(o, CHECKSUM_KEY));
	char want[HEX_LEN + 1], have[HEX_LEN + 1];
	int r;

	if (!stored)
		return DFS_ECORRUPT;
	if (strlen(stored) != HEX_LEN)
		return DFS_ECHECKSUM;
	memcpy(want, stored, sizeof(want));
	if (json_object_del(o, CHECKSUM_KEY))
		return DFS_ECORRUPT;
	r = canonical_hex(o, have);
	if (r)
		return DFS_ECORRUPT;
	return memcmp(want, have, HEX_LEN) == 0 ? 0 : DFS_ECHECKSUM;
}

/* The library recurses for each level: hostile nesting must not reach it. */
static bool nested_too_deep(const char *p, size_t len)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (in_string && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			in_string = !in_string;
		else if (!in_string && (p[i] == '{' || p[i] == '['))
			depth++;
		else if (!in_string && (p[i] == '}' || p[i] == ']'))
			depth--;
		if (depth > MAX_DEPTH)
			return true;
	}
	return false;
}

int json_unseal(const void *data, size_t len, size_t max_len, const char *kind, int format,
		uint64_t known_incompat, json_t **ret_object)
{
	JSON *o = NULL;
	const char *found;
	uint64_t version, incompat;
	int r;

	if (len == 0 || len > max_len || nested_too_deep(data, len))
		return DFS_ECORRUPT;
	o = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(o))
		return DFS_ECORRUPT;
	found = json_string_value(json_object_get(o, "kind"));
	if (!found || strcmp(found, kind) != 0)
		return DFS_ECORRUPT;
	r = seal_verify(o);
	if (r)
		return r;
	if (json_get_u64(o, "format", &version))
		return DFS_ECORRUPT;
	if (version != (uint64_t)format)
		return DFS_EVERSION;
	if (json_get_u64(o, "feature_incompat", &incompat))
		return DFS_ECORRUPT;
	if (incompat & ~known_incompat)
		return DFS_EFEATURE;
	*ret_object = o;
	o = NULL;
	return 0;
}

int json_put_u64(json_t *o, const char *key, uint64_t v)
{
	return json_object_set_new(o, key, json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX)));
}

int json_put_str(json_t *o, const char *key, const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	if (n == size)
		return -1;
	return json_object_set_new(o, key, json_stringn(text, n));
}

int json_put_uuid(json_t *o, const char *key, const struct uuid *u)
{
	char text[UUID_TEXT_LEN + 1];

	uuid_format(u, text);
	return json_object_set_new(o, key, json_string(text));
}

int json_get_u64(const json_t *o, const char *key, uint64_t *ret)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return DFS_ECORRUPT;
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

int json_get_str(const json_t *o, const char *key, char *ret, size_t size)
{
	const json_t *v = json_object_get(o, key);

	/* jansson refuses a NUL inside of a string, so its length is the C string's. */
	if (!json_is_string(v) || json_string_length(v) >= size)
		return DFS_ECORRUPT;
	memset(ret, 0, size);
	memcpy(ret, json_string_value(v), json_string_length(v));
	return 0;
}

int json_get_uuid(const json_t *o, const char *key, struct uuid *ret)
{
	const char *text = json_string_value(json_object_get(o, key));

	if (!text || uuid_parse(text, ret))
		return DFS_ECORRUPT;
	return uuid_is_null(ret) ? DFS_ECORRUPT : 0;
}

int json_put_hex(json_t *o, const char *key, const void *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	FREE char *hex = xmalloc(2 * n + 1);
	const uint8_t *b = bytes;

	for (size_t i = 0; i < n; i++) {
		hex[2 * i] = digits[b[i] >> 4];
		hex[2 * i + 1] = digits[b[i] & 15];
	}
	hex[2 * n] = '\0';
	return json_object_set_new(o, key, json_string(hex));
}

int json_put_path(json_t *o, const char *path, size_t size)
{
	size_t n = strnlen(path, size);

	if (n == size)
		return -1;
	if (json_put_str(o, "path", path, size) == 0)
		return 0;
	return json_put_hex(o, "path_hex", path, n);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int json_get_hex(const char *hex, uint8_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return DFS_ECORRUPT;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int json_get_path(const json_t *o, char *ret, size_t size)
{
	const char *hex = json_string_value(json_object_get(o, "path_hex"));
	size_t n;

	if (!hex)
		return json_get_str(o, "path", ret, size);
	n = strlen(hex);
	if (n % 2 != 0 || n / 2 >= size || json_object_get(o, "path"))
		return DFS_ECORRUPT;
	memset(ret, 0, size);
	if (json_get_hex(hex, (uint8_t *)ret, n / 2))
		return DFS_ECORRUPT;
	return strlen(ret) == n / 2 ? 0 : DFS_ECORRUPT;
}
