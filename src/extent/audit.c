/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit trail (V8): a line for each extent of which damaged fragments were made anew, in the transaction that does so. Bounded by
 * number and age: whoever adds to it takes the oldest away. What is rebuilt, moved or drained is no damage, and leaves none.
 *
 * Called within records_exclusive, so one at a time. No lock of its own.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "extent/internal.h"

#define TRIM_EVERY 256u

/* How many there are, and those of which no more is wanted go: at most twice TRIM_EVERY at a time. */
static void trim(struct extent_store *s, struct meta_txn *t)
{
	uint64_t now = env_wall_ns(), oldest = now - MIN(now, AUDIT_MAX_AGE_NS);
	unsigned gone = 0;
	struct cursor c;

	cursor_of_table(&c, s->cfg.meta, TABLE_AUDIT);
	while (gone < 2 * TRIM_EVERY && cursor_next(&c)) {
		struct reader r = reader_of(c.key + 1, c.key_len - 1);

		if (reader_be64(&r) >= oldest && s->audit_lines <= AUDIT_MAX_LINES)
			break;
		meta_del(t, c.key, c.key_len);
		s->audit_lines -= s->audit_lines > 0;
		gone++;
	}
	(void)cursor_close(&c, 0);
}

static void count(struct extent_store *s)
{
	struct cursor c;

	s->audit_lines = 0;
	cursor_of_table(&c, s->cfg.meta, TABLE_AUDIT);
	while (cursor_next(&c))
		s->audit_lines++;
	(void)cursor_close(&c, 0);
	s->audit_counted = true;
}

void audit_add(struct extent_store *s, struct meta_txn *t, const char *json)
{
	if (!s->audit_counted)
		count(s);
	put_audit(t, env_wall_ns(), s->audit_nth, json);
	s->audit_lines++;
	if (s->audit_nth++ % TRIM_EVERY == 0)
		trim(s, t);
}

static int add_text(char *text, size_t size, size_t *at, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static int add_text(char *text, size_t size, size_t *at, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + *at, size - *at, fmt, ap);
	va_end(ap);
	*at = MIN(*at + (size_t)MAX(n, 0), size - 1);
	return n;
}

void audit_repair(struct extent_store *s, struct meta_txn *t, const struct audit_repair *a)
{
	char json[4096], id[UUID_TEXT_LEN + 1];
	const char *comma = "";
	unsigned width = (unsigned)a->old->k + a->old->m;
	size_t at = 0;

	uuid_format(&a->old->id.u, id);
	add_text(json, sizeof(json), &at,
		 "{\"event\":\"repair\",\"extent\":\"%s\",\"inode\":%llu,\"wrong\":[", id,
		 (unsigned long long)a->old->ino.v);
	for (unsigned i = 0; i < width; i++) {
		if (!a->why[i])
			continue;
		add_text(json, sizeof(json), &at,
			 "%s{\"fragment\":%u,\"disk\":%u,\"error\":\"%s\",\"to_disk\":%u}", comma,
			 i, a->old->frags[i].disk.v, dfs_err_text(a->why[i]),
			 a->moved[i] ? a->new->frags[i].disk.v : 0);
		comma = ",";
	}
	comma = "";
	add_text(json, sizeof(json), &at, "],\"sources\":[");
	for (unsigned i = 0; i < width; i++) {
		if (!a->have[i])
			continue;
		add_text(json, sizeof(json), &at, "%s%u", comma, i);
		comma = ",";
	}
	add_text(json, sizeof(json), &at, "],\"result\":\"%s\"}",
		 a->err ? dfs_err_text(a->err) : "repaired");
	audit_add(s, t, json);
}
