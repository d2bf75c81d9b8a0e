/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text for people from JSON rows: aligned columns, units, colour where it is wanted. No locks.
 */
#include "cli/format.h"

#include <langinfo.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_COLUMNS 16u
#define OUT_WIDTH 100u

void out_init(struct out *o, FILE *f)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

	o->f = f;
	o->colour = isatty(fileno(f)) && !(no_colour && no_colour[0]) && term &&
		    strcmp(term, "dumb") != 0;
	o->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void out_colour(struct out *o, enum colour c)
{
	static const char *const codes[] = {
		[PLAIN] = "\033[0m",  [BOLD] = "\033[1m",    [DIM] = "\033[2m",
		[GREEN] = "\033[32m", [YELLOW] = "\033[33m", [RED] = "\033[31m",
	};

	if (o->colour)
		fputs(codes[c], o->f);
}

void out_text(struct out *o, const char *s)
{
	for (; *s; s++)
		fputc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, o->f);
}

void out_wrapped(struct out *o, const char *indent, unsigned column, const char *s)
{
	bool begun = false;

	for (s += strspn(s, " "); *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " ");

		if (begun && column + 1 + n > OUT_WIDTH) {
			fprintf(o->f, "\n%s", indent);
			column = (unsigned)strlen(indent);
		} else if (begun) {
			fputc(' ', o->f);
			column++;
		}
		for (size_t i = 0; i < n; i++)
			fputc((unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i], o->f);
		begun = true;
		column += (unsigned)n;
		s += n;
	}
	fputc('\n', o->f);
}

void out_bar(struct out *o, double part, unsigned width)
{
	unsigned full = (unsigned)(part * width + 0.5);

	if (full > width)
		full = width;
	if (full == 0 && part > 0)
		full = 1;
	if (!o->utf8)
		fputc('[', o->f);
	for (unsigned i = 0; i < width; i++) {
		if (o->utf8)
			fputs(i < full ? "\u2588" : "\u2591", o->f);
		else
			fputc(i < full ? '#' : '-', o->f);
	}
	if (!o->utf8)
		fputc(']', o->f);
}

/* ---- values ---- */

void format_bytes(uint64_t bytes, char text[FORMAT_VALUE_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	/* 1023.96 would be shown as "1024": the next unit says it better */
	if (u && v >= 1023.5 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(text, FORMAT_VALUE_BYTES, u && v < 99.95 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void format_number(uint64_t number, char text[FORMAT_VALUE_BYTES])
{
	char plain[24];
	size_t len = (size_t)snprintf(plain, sizeof(plain), "%llu", (unsigned long long)number);
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			text[out++] = ',';
		text[out++] = plain[i];
	}
	text[out] = '\0';
}

void format_seconds(uint64_t seconds, char text[FORMAT_VALUE_BYTES])
{
	static const struct {
		uint64_t s;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	unsigned i = 0;
	uint64_t more;

	while (i + 1 < ARRAY_SIZE(units) && seconds < units[i].s)
		i++;
	more = i + 1 < ARRAY_SIZE(units) ? seconds % units[i].s / units[i + 1].s : 0;
	if (more)
		snprintf(text, FORMAT_VALUE_BYTES, "%llu %s %llu %s",
			 (unsigned long long)(seconds / units[i].s), units[i].name,
			 (unsigned long long)more, units[i + 1].name);
	else
		snprintf(text, FORMAT_VALUE_BYTES, "%llu %s",
			 (unsigned long long)(seconds / units[i].s), units[i].name);
}

void format_geometry(const char *json, char text[FORMAT_VALUE_BYTES])
{
	if (strncmp(json, "rs:", 3) == 0)
		snprintf(text, FORMAT_VALUE_BYTES, "RS %.50s", json + 3);
	else if (strcmp(json, "none") == 0)
		snprintf(text, FORMAT_VALUE_BYTES, "nothing");
	else if (strcmp(json, "replica:1") == 0)
		snprintf(text, FORMAT_VALUE_BYTES, "1 copy");
	else if (strncmp(json, "replica:", 8) == 0)
		snprintf(text, FORMAT_VALUE_BYTES, "%.50s copies", json + 8);
	else
		snprintf(text, FORMAT_VALUE_BYTES, "%.60s", json);
}

const json_t *format_get(const json_t *object, const char *path)
{
	char part[64];

	while (object && *path) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(part))
			return NULL;
		memcpy(part, path, n);
		part[n] = '\0';
		object = json_object_get(object, part);
		path += n + (path[n] == '.');
	}
	return object;
}

uint64_t format_u64(const json_t *object, const char *path)
{
	json_int_t v = json_integer_value(format_get(object, path));

	return v < 0 ? 0 : (uint64_t)v;
}

const char *format_str(const json_t *object, const char *path)
{
	const char *s = json_string_value(format_get(object, path));

	return s ? s : "";
}

static void losses_text(const json_t *v, char text[FORMAT_VALUE_BYTES])
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v))
		snprintf(text, FORMAT_VALUE_BYTES, "-");
	else if (n < 0)
		snprintf(text, FORMAT_VALUE_BYTES, "LOST");
	else
		snprintf(text, FORMAT_VALUE_BYTES, "%lld more", (long long)n);
}

/* The value as text; strings of any length are borrowed, all else is in text. */
static const char *value_text(const json_t *row, const struct column *col,
			      char text[FORMAT_VALUE_BYTES])
{
	const json_t *v = format_get(row, col->key);
	uint64_t n = format_u64(row, col->key);

	text[0] = '\0';
	switch (col->kind) {
	case COL_TEXT:
	case COL_STATE:
		if (json_is_string(v))
			return json_string_value(v)[0] ? json_string_value(v) : "-";
		snprintf(text, FORMAT_VALUE_BYTES, "-");
		break;
	case COL_NUMBER:
		if (json_is_integer(v))
			format_number(n, text);
		else
			snprintf(text, FORMAT_VALUE_BYTES, "-");
		break;
	case COL_BYTES:
		format_bytes(n, text);
		break;
	case COL_BYTES_OR:
		if (n)
			format_bytes(n, text);
		else
			snprintf(text, FORMAT_VALUE_BYTES, "-");
		break;
	case COL_YES:
		snprintf(text, FORMAT_VALUE_BYTES, "%s", json_is_true(v) ? "yes" : "-");
		break;
	case COL_GEOMETRY:
		format_geometry(format_str(row, col->key), text);
		break;
	case COL_LOSSES:
		losses_text(v, text);
		break;
	}
	return text;
}

/* ---- tables ---- */

/* Columns of a terminal that the text takes (one for each character). */
static unsigned text_width(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static bool to_the_right(enum column_kind kind)
{
	return kind == COL_NUMBER || kind == COL_BYTES || kind == COL_BYTES_OR;
}

static enum colour state_colour(const char *s)
{
	if (strcmp(s, "healthy") == 0 || strcmp(s, "present") == 0 || strcmp(s, "good") == 0)
		return GREEN;
	if (strcmp(s, "failed") == 0 || strcmp(s, "absent") == 0 || strcmp(s, "lost") == 0 ||
	    strcmp(s, "damaged") == 0 || strcmp(s, "LOST") == 0)
		return RED;
	return YELLOW;
}

static void put_cell(struct out *o, const char *text, const struct column *col, unsigned width,
		     bool last)
{
	unsigned n = text_width(text);
	unsigned pad = width > n ? width - n : 0;
	bool coloured = col->kind == COL_STATE ||
			(col->kind == COL_LOSSES && strcmp(text, "LOST") == 0);

	if (to_the_right(col->kind))
		fprintf(o->f, "%*s", (int)pad, "");
	if (coloured)
		out_colour(o, state_colour(text));
	out_text(o, text);
	if (coloured)
		out_colour(o, PLAIN);
	if (!to_the_right(col->kind) && !last)
		fprintf(o->f, "%*s", (int)pad, "");
	fputs(last ? "\n" : "  ", o->f);
}

void format_table(struct out *o, const char *indent, const json_t *rows, const struct column *cols,
		  unsigned count)
{
	unsigned width[MAX_COLUMNS];
	char text[FORMAT_VALUE_BYTES];
	const json_t *row;
	size_t i;

	ASSERT(count <= MAX_COLUMNS);
	for (unsigned c = 0; c < count; c++)
		width[c] = text_width(cols[c].title);
	json_array_foreach(rows, i, row)
		for (unsigned c = 0; c < count; c++)
			width[c] = MAX(width[c], text_width(value_text(row, &cols[c], text)));
	fputs(indent, o->f);
	out_colour(o, DIM);
	for (unsigned c = 0; c < count; c++) {
		struct column title = {.kind = cols[c].kind};

		if (title.kind == COL_STATE)
			title.kind = COL_TEXT;
		put_cell(o, cols[c].title, &title, width[c], c + 1 == count);
	}
	out_colour(o, PLAIN);
	json_array_foreach(rows, i, row) {
		fputs(indent, o->f);
		for (unsigned c = 0; c < count; c++)
			put_cell(o, value_text(row, &cols[c], text), &cols[c], width[c],
				 c + 1 == count);
	}
}

void format_fields(struct out *o, const char *indent, const json_t *object,
		   const struct column *fields, unsigned count)
{
	char text[FORMAT_VALUE_BYTES];
	unsigned width = 0;

	for (unsigned c = 0; c < count; c++)
		width = MAX(width, text_width(fields[c].title));
	for (unsigned c = 0; c < count; c++) {
		struct column as_text = {.kind = fields[c].kind == COL_STATE ? COL_STATE
									     : COL_TEXT};

		fprintf(o->f, "%s%-*s  ", indent, (int)width, fields[c].title);
		put_cell(o, value_text(object, &fields[c], text), &as_text, 0, true);
	}
}
