/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on what files are made of: show-redundancy, list-extents. No locks. */
#include <stdlib.h>

#include "base/words.h"
#include "cli/command.h"
#include "base/le.h"
#include "ctl/ctl.h"

static int prepare_path(struct invocation *inv)
{
	FREE char *abs = NULL;

	if (inv->word_count == 0)
		return CLI_DONE;
	abs = cli_abs_path(inv->words[0]);
	json_object_set_new(inv->args, "path", ctl_json_path(inv->words[0]));
	json_object_set_new(inv->args, "path_abs", ctl_json_path(abs));
	return CLI_DONE;
}

/* ---- show-redundancy ---- */

static const struct column geometry_columns[] = {
	{"geometry", "KEPT AS", COL_GEOMETRY},
	{"wanted", "WANTED", COL_GEOMETRY},
	{"extents", "EXTENTS", COL_NUMBER},
	{"bytes", "BYTES", COL_BYTES},
	{"full", "FULL", COL_NUMBER},
	{"reduced", "REDUCED", COL_NUMBER},
	{"endangered", "ENDANGERED", COL_NUMBER},
	{"lost", "LOST", COL_NUMBER},
	{"losses_left", "BEARS LOSS OF", COL_LOSSES},
};
static const struct column file_columns[] = {
	{"kept", "KEPT AS", COL_TEXT},
	{"size_bytes", "SIZE", COL_BYTES},
	{"losses_left", "BEARS LOSS OF", COL_LOSSES},
	{"path", "FILE", COL_TEXT},
};

/* What a file is kept as, in words: "RS 4+2, 3 copies". */
static void add_kept(json_t *row)
{
	const json_t *geometries = json_object_get(row, "geometries"), *g;
	char text[256] = "", one[FORMAT_VALUE_BYTES];
	size_t i, len = 0;

	if (strcmp(format_str(row, "stored"), "inline") == 0) {
		json_object_set_new(row, "kept", json_string("in the metadata"));
		return;
	}
	json_array_foreach(geometries, i, g) {
		format_geometry(format_str(g, "geometry"), one);
		if (!strstr(text, one) && len < sizeof(text) - FORMAT_VALUE_BYTES - 2)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
						len ? ", " : "", one);
	}
	json_object_set_new(row, "kept", json_string(len ? text : "nothing stored"));
}

static void print_files(struct out *o, const json_t *r)
{
	json_t *rows = json_deep_copy(json_object_get(r, "rows")), *row;
	char n[FORMAT_VALUE_BYTES], b[FORMAT_VALUE_BYTES];
	size_t i;

	json_array_foreach(rows, i, row)
		add_kept(row);
	if (json_array_size(rows))
		format_table(o, "", rows, file_columns, ARRAY_SIZE(file_columns));
	json_decref(rows);
	if (format_u64(r, "rows_left_out")) {
		format_number(format_u64(r, "rows_left_out"), n);
		fprintf(o->f, "... and %s more %s (--limit shows more)\n", n,
			plural(format_u64(r, "rows_left_out"), "file", "files"));
	}
	format_number(format_u64(r, "inline_files"), n);
	format_bytes(format_u64(r, "inline_bytes"), b);
	if (format_u64(r, "inline_files"))
		fprintf(o->f, "%s%s small %s (%s) within the metadata.\n",
			json_array_size(json_object_get(r, "rows")) ? "\n" : "", n,
			plural(format_u64(r, "inline_files"), "file", "files"), b);
}

static void print_metadata(struct out *o, const json_t *r)
{
	json_int_t left = json_integer_value(json_object_get(r, "metadata_losses_left"));
	uint64_t journals = format_u64(r, "metadata_copies_present");

	fprintf(o->f, "\nThe metadata bears the loss of %lld more %s; its journal is on %llu %s.\n",
		(long long)MAX(left, 0), plural((uint64_t)MAX(left, 0), "disk", "disks"),
		(unsigned long long)journals, plural(journals, "disk", "disks"));
}

static void print_redundancy(struct invocation *inv, const json_t *r)
{
	const json_t *geometries = json_object_get(r, "geometries");
	struct out *o = &inv->out;

	if (json_object_get(r, "rows"))
		print_files(o, r);
	if (json_array_size(geometries) == 0) {
		fputs("No extents.\n", o->f);
	} else {
		if (json_object_get(r, "rows"))
			fputc('\n', o->f);
		format_table(o, "", geometries, geometry_columns, ARRAY_SIZE(geometry_columns));
	}
	print_metadata(o, r);
}

/* ---- list-extents ---- */

static const struct column map_columns[] = {
	{"file_offset", "OFFSET", COL_NUMBER}, {"length", "LENGTH", COL_NUMBER},
	{"geometry", "KEPT AS", COL_GEOMETRY}, {"losses_left", "BEARS", COL_LOSSES},
	{"extent", "EXTENT", COL_TEXT},	       {"where", "FRAGMENTS", COL_TEXT},
};
static const struct column extent_columns[] = {
	{"inode", "INODE", COL_NUMBER},	       {"extent_bytes", "BYTES", COL_NUMBER},
	{"geometry", "KEPT AS", COL_GEOMETRY}, {"losses_left", "BEARS", COL_LOSSES},
	{"extent", "EXTENT", COL_TEXT},	       {"where", "FRAGMENTS", COL_TEXT},
};

/* "disk1:3:4096 disk2!:1:0": label, segment, offset; '!' marks one that is not there. */
static void add_where(json_t *row)
{
	const json_t *fragments = json_object_get(row, "fragments"), *f;
	BUF text = {0};
	size_t i;

	json_array_foreach(fragments, i, f) {
		const char *state = format_str(f, "state");
		FREE char *one = xasprintf("%s%s%s:%llu:%llu", i ? " " : "", format_str(f, "label"),
					   strcmp(state, "present") == 0 ? "" : "!",
					   (unsigned long long)format_u64(f, "segment"),
					   (unsigned long long)format_u64(f, "offset"));

		buf_put(&text, one, strlen(one));
	}
	json_object_set_new(row, "where",
			    json_stringn(text.len ? (const char *)text.data : "", text.len));
}

static void print_extents(struct invocation *inv, const json_t *r)
{
	json_t *rows = json_deep_copy(json_object_get(r, "extents")), *row;
	bool of_file = json_is_string(json_object_get(r, "path"));
	const json_t *next = json_object_get(r, "next_from");
	struct out *o = &inv->out;
	char b[FORMAT_VALUE_BYTES];
	size_t i;

	json_array_foreach(rows, i, row)
		add_where(row);
	if (json_is_true(json_object_get(r, "inline"))) {
		format_bytes(format_u64(r, "inline_bytes"), b);
		fprintf(o->f, "%s, stored within the metadata.\n", b);
	} else if (json_array_size(rows) == 0) {
		fputs("No extents.\n", o->f);
	} else {
		format_table(o, "", rows, of_file ? map_columns : extent_columns,
			     of_file ? ARRAY_SIZE(map_columns) : ARRAY_SIZE(extent_columns));
	}
	if (json_is_integer(next))
		fprintf(o->f, "... more: --from %lld\n", (long long)json_integer_value(next));
	else if (json_is_string(next))
		fprintf(o->f, "... more: --from-extent %s\n", json_string_value(next));
	json_decref(rows);
}

static const struct command_option redundancy_options[] = {
	{"limit", 0, OPT_NUMBER, "limit", "N", "files to list (1000; at most 10000)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option extent_options[] = {
	{"limit", 0, OPT_NUMBER, "limit", "N", "extents to list (1000; at most 10000)"},
	{"from", 0, OPT_NUMBER, "from", "OFFSET", "of a file: start at this offset"},
	{"from-extent", 0, OPT_TEXT, "from_extent", "UUID", "of the pool: start at this extent"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

static const struct command redundancy_command = {
	.name = "show-redundancy",
	.summary = "how safe the pool, a directory's files or a file are",
	.usage = "[--pool DIR] [PATH] [--limit N] [--json]",
	.about =
		"PATH is a path in the pool (/a/b) or through its mount (/mnt/pool/a/b). 'Bears loss of'\n"
		"counts further disks, those that are missing already left out.",
	.options = redundancy_options,
	.max_words = 1,
	.op = "show-redundancy",
	.prepare = prepare_path,
	.print = print_redundancy,
};
static const struct command extents_command = {
	.name = "list-extents",
	.summary = "where a file's (or all) extents lie",
	.usage = "[--pool DIR] [PATH] [--limit N] [--from OFFSET] [--json]",
	.about =
		"Fragments are shown as DISK:SEGMENT:OFFSET; a '!' marks one whose disk is not there.",
	.options = extent_options,
	.max_words = 1,
	.op = "list-extents",
	.prepare = prepare_path,
	.print = print_extents,
};

const struct command *const cli_file_commands[] = {
	&redundancy_command,
	&extents_command,
	NULL,
};
