/* SPDX-License-Identifier: Apache-2.0 */
/* Building results and reading arguments: what several operations share. No locks, no state. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "base/words.h"
#include "ctl/call.h"

static const char hex_digits[] = "0123456789abcdef";

json_t *ctl_json_text(const char *s)
{
	BUF out = {0};

	while (*s) {
		size_t n = utf8_len(s);

		if (n == 0) {
			buf_put(&out, "\\x", 2);
			buf_put_u8(&out, (uint8_t)hex_digits[(uint8_t)*s >> 4]);
			buf_put_u8(&out, (uint8_t)hex_digits[(uint8_t)*s & 15]);
			n = 1;
		} else {
			buf_put(&out, s, n);
		}
		s += n;
	}
	return json_stringn(out.len ? (const char *)out.data : "", out.len);
}

static void hex_encode(struct buf *out, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++) {
		buf_put_u8(out, (uint8_t)hex_digits[p[i] >> 4]);
		buf_put_u8(out, (uint8_t)hex_digits[p[i] & 15]);
	}
	buf_put_u8(out, 0);
}

json_t *ctl_json_path(const char *path)
{
	json_t *j = json_string(path);
	BUF hex = {0};

	if (j)
		return j;
	hex_encode(&hex, path, strlen(path));
	j = json_object();
	json_object_set_new(j, "hex", json_string((const char *)hex.data));
	return j;
}

static int hex_value(char ch)
{
	const char *at = ch ? strchr(hex_digits, ch) : NULL;

	return at ? (int)(at - hex_digits) : -1;
}

char *ctl_path_from_json(const json_t *j)
{
	const char *s = json_string_value(j);
	size_t len;
	char *out;

	if (s)
		return xstrdup(s);
	s = json_string_value(json_object_get(j, "hex"));
	len = s ? strlen(s) : 0;
	if (len == 0 || len % 2)
		return NULL;
	out = xcalloc(1, len / 2 + 1);
	for (size_t i = 0; i < len / 2; i++) {
		int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);

		if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) {
			free(out);
			return NULL;
		}
		out[i] = (char)(hi << 4 | lo);
	}
	return out;
}

void set_u64(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX)));
}

void set_text(json_t *o, const char *key, const char *s)
{
	json_object_set_new(o, key, ctl_json_text(s));
}

void set_bool(json_t *o, const char *key, bool v) { json_object_set_new(o, key, json_boolean(v)); }

void set_uuid(json_t *o, const char *key, const struct uuid *u)
{
	char text[UUID_TEXT_LEN + 1];

	uuid_format(u, text);
	json_object_set_new(o, key, json_string(text));
}

void set_hex(json_t *o, const char *key, const void *data, size_t len)
{
	BUF hex = {0};

	hex_encode(&hex, data, len);
	json_object_set_new(o, key, json_string((const char *)hex.data));
}

void set_hash(json_t *o, const char *key, const struct hash *h) { set_hex(o, key, h, sizeof(*h)); }

void geometry_text(struct geometry g, char out[16])
{
	if (g.k == 0)
		snprintf(out, 16, "none");
	else if (g.k == 1)
		snprintf(out, 16, "replica:%u", g.m + 1u);
	else
		snprintf(out, 16, "rs:%u+%u", g.k, g.m);
}

void set_geometry(json_t *o, const char *key, struct geometry g)
{
	char text[16];

	geometry_text(g, text);
	json_object_set_new(o, key, json_string(text));
}

void geometry_words(struct geometry g, char out[16])
{
	if (g.k == 0)
		snprintf(out, 16, "nothing");
	else if (g.k == 1)
		snprintf(out, 16, "%u %s", g.m + 1u, plural(g.m + 1u, "copy", "copies"));
	else
		snprintf(out, 16, "RS %u+%u", g.k, g.m);
}

json_t *background_json(const struct pool_rebuild *r)
{
	json_t *o = json_object();

	set_u64(o, "rebuild_after_s", r->after_s);
	set_u64(o, "bytes_per_s", r->bytes_per_s);
	return o;
}

json_t *settings_json(const struct policy *s)
{
	json_t *o = json_object();

	set_geometry(o, "large", s->large);
	set_u64(o, "copies", s->copies);
	set_u64(o, "metadata_copies", s->metadata_copies);
	set_bool(o, "verify_writes", s->verify_writes);
	return o;
}

const char *arg_text(struct ctl_call *c, const char *key)
{
	return json_string_value(json_object_get(c->args, key));
}

uint64_t arg_u64(struct ctl_call *c, const char *key, uint64_t absent)
{
	const json_t *j = json_object_get(c->args, key);

	return json_is_integer(j) && json_integer_value(j) >= 0 ? (uint64_t)json_integer_value(j)
								: absent;
}

bool arg_bool(struct ctl_call *c, const char *key, bool absent)
{
	const json_t *j = json_object_get(c->args, key);

	return json_is_boolean(j) ? json_is_true(j) : absent;
}
