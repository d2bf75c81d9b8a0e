/* SPDX-License-Identifier: Apache-2.0 */
/* The command rescue: the files of a pool that can't be opened any more. No locks. */
#include "base/words.h"
#include "cli/command.h"

#define SHOWN_MAX 20u

static const struct column fields[] = {
	{"disks", "disks read", COL_NUMBER},
	{"files", "files", COL_NUMBER},
	{"unnamed_files", "of them without a name", COL_NUMBER},
	{"directories", "directories", COL_NUMBER},
	{"other_names", "links and others", COL_NUMBER},
	{"bytes", "bytes written", COL_BYTES},
	{"damaged_files", "files that lack bytes", COL_NUMBER},
	{"lost_bytes", "bytes lost", COL_BYTES},
	{"problems", "other problems", COL_NUMBER},
	{"read_errors", "places that can't be read", COL_NUMBER},
};

static void print_finding(struct out *o, const json_t *f)
{
	const json_t *range;
	char text[FORMAT_VALUE_BYTES];
	size_t i;

	fputs("  ", o->f);
	out_text(o, format_str(f, "path"));
	fputs(": ", o->f);
	if (format_str(f, "problem")[0]) {
		out_text(o, format_str(f, "problem"));
		fputc('\n', o->f);
		return;
	}
	format_bytes(format_u64(f, "lost_bytes"), text);
	fprintf(o->f, "%s lost, at", text);
	json_array_foreach(json_object_get(f, "lost"), i, range) {
		if (i == 4) {
			fputs(" ...", o->f);
			break;
		}
		fprintf(o->f, "%s %llu-%llu", i ? "," : "",
			(unsigned long long)format_u64(range, "from"),
			(unsigned long long)format_u64(range, "to") - 1);
	}
	fputc('\n', o->f);
}

static void print_rescue(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;
	const json_t *f;
	size_t i;

	json_array_foreach(json_object_get(r, "missing"), i, f) {
		if (i == 0)
			fputs("Missing:\n", o->f);
		if (i == SHOWN_MAX) {
			fputs("  ... and more\n", o->f);
			break;
		}
		print_finding(o, f);
	}
	if (format_str(r, "report")[0]) {
		fputs("All of it is in ", o->f);
		out_text(o, format_str(r, "report"));
		fputs(".\n", o->f);
	}
	format_fields(o, "  ", r, fields, ARRAY_SIZE(fields));
}

static const struct command_option options[] = {
	{"disk", 0, OPT_PATHS, "disks", "DIR...", "what disks are left, in any order"},
	{"to", 0, OPT_PATH, "to", "DIR", "where to write: absent or empty, not on these disks"},
	{"scan", 0, OPT_FLAG, "scan", NULL,
	 "look for all records, also where the metadata is whole"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const char *const required[] = {"disk", "to", NULL};

const struct command cli_rescue_command = {
	.name = "rescue",
	.summary = "write out what files disks still have, without a pool and with disks missing",
	.usage = "--disk DIR... --to DIR [--scan] [--json]",
	.about =
		"Changes nothing on the disks. Writes DIR/files, with names, where the metadata can be read, and\n"
		"DIR/unnamed, by inode number, for what only records tell of; bytes that are lost are zeros there.\n"
		"DIR/missing.jsonl lists what is missing, a line of JSON for each file. Exit code 5: something is.",
	.options = options,
	.required = required,
	.no_pool = true,
	.op = "rescue",
	.print = print_rescue,
};
