/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How results look to a person. A column says which member of a JSON row is shown, and how: the rows
 * are the same objects that --json prints, so that both forms come from one specification.
 */
#ifndef DFS_CLI_FORMAT_H
#define DFS_CLI_FORMAT_H

#include <jansson.h>
#include <stdio.h>

#include "base/types.h"

struct out {
	FILE *f;
	bool colour; /* a terminal, and NO_COLOR is not set */
	bool utf8;
};
void out_init(struct out *o, FILE *f);

enum colour {
	PLAIN,
	BOLD,
	DIM,
	GREEN,
	YELLOW,
	RED
};
void out_colour(struct out *o, enum colour c); /* PLAIN ends it */
/* Foreign text: control bytes are shown as '?'. */
void out_text(struct out *o, const char *s);
/* The same for sentences, broken at blanks to fit a screen: further lines begin with indent. column: where
 * the first one stands. Ends the line. */
void out_wrapped(struct out *o, const char *indent, unsigned column, const char *s);
void out_bar(struct out *o, double part, unsigned width);

enum column_kind {
	COL_TEXT,
	COL_NUMBER,   /* grouped by thousands */
	COL_BYTES,    /* with a unit */
	COL_BYTES_OR, /* with a unit; 0: "-" */
	COL_YES,      /* yes, - */
	COL_STATE,    /* coloured */
	COL_GEOMETRY, /* "RS 4+2", "3 copies" */
	COL_LOSSES,   /* further disks that may be lost */
};
struct column {
	const char *key; /* "space.total_bytes" goes down */
	const char *title;
	enum column_kind kind;
};
/* Aligned columns under their titles, each line after `indent`. rows: an array of objects. */
void format_table(struct out *o, const char *indent, const json_t *rows, const struct column *cols,
		  unsigned count);
/* "Title  value" lines. */
void format_fields(struct out *o, const char *indent, const json_t *object,
		   const struct column *fields, unsigned count);

#define FORMAT_VALUE_BYTES 64
void format_bytes(uint64_t bytes, char text[FORMAT_VALUE_BYTES]);      /* "1.5 GiB" */
void format_number(uint64_t number, char text[FORMAT_VALUE_BYTES]);    /* "12,345" */
void format_seconds(uint64_t seconds, char text[FORMAT_VALUE_BYTES]);  /* "1 h 20 min" */
void format_geometry(const char *json, char text[FORMAT_VALUE_BYTES]); /* "rs:4+2" -> "RS 4+2" */
/* Member of an object by a path with dots; NULL when absent. */
const json_t *format_get(const json_t *object, const char *path);
uint64_t format_u64(const json_t *object, const char *path);
const char *format_str(const json_t *object, const char *path); /* "" when absent */

#endif
