/* SPDX-License-Identifier: Apache-2.0 */
/* The commands detect-orphans, cleanup-orphans, orphan-stats. No locks. */
#include "base/words.h"
#include "cli/command.h"

#define SHOWN_MAX 40u

static const struct column columns[] = {
	{"disk", "DISK", COL_TEXT},	{"segment", "SEGMENT", COL_NUMBER},
	{"offset", "AT", COL_NUMBER},	{"bytes", "SIZE", COL_BYTES},
	{"inode", "INODE", COL_NUMBER}, {"age", "AGE", COL_TEXT},
};

static void print_sum(struct out *o, const json_t *r)
{
	char n[FORMAT_VALUE_BYTES], bytes[FORMAT_VALUE_BYTES], age[FORMAT_VALUE_BYTES];

	format_number(format_u64(r, "records"), n);
	format_bytes(format_u64(r, "bytes"), bytes);
	if (format_u64(r, "records") == 0) {
		fputs("There are no orphans.\n", o->f);
		return;
	}
	fprintf(o->f, "%s %s, %s", n, plural(format_u64(r, "records"), "orphan", "orphans"), bytes);
	format_seconds(format_u64(r, "min_age_s"), age);
	format_number(format_u64(r, "old_records"), n);
	format_bytes(format_u64(r, "old_bytes"), bytes);
	fprintf(o->f, "; %s of them, %s, %s %s old or older.\n", n, bytes,
		plural(format_u64(r, "old_records"), "is", "are"), age);
}

static void print_detect(struct invocation *inv, const json_t *r)
{
	json_t *rows = json_array(), *orphan;
	char age[FORMAT_VALUE_BYTES];
	size_t i;

	json_array_foreach(json_object_get(r, "orphans"), i, orphan) {
		json_t *row = json_copy(orphan);

		format_seconds(format_u64(orphan, "age_s"), age);
		json_object_set_new(row, "age", json_string(age));
		json_array_append_new(rows, row);
		if (i + 1 == SHOWN_MAX)
			break;
	}
	if (json_array_size(rows))
		format_table(&inv->out, "", rows, columns, ARRAY_SIZE(columns));
	if (format_u64(r, "records") > json_array_size(rows))
		fputs("...\n", inv->out.f);
	json_decref(rows);
	print_sum(&inv->out, r);
}

static void print_stats(struct invocation *inv, const json_t *r)
{
	static const struct column ages[] = {{"below", "BELOW", COL_TEXT},
					     {"records", "ORPHANS", COL_NUMBER},
					     {"bytes", "SIZE", COL_BYTES}};
	char age[FORMAT_VALUE_BYTES];

	print_sum(&inv->out, r);
	if (format_u64(r, "records") == 0)
		return;
	format_seconds(format_u64(r, "oldest_s"), age);
	fprintf(inv->out.f, "The oldest is %s old.\n\n", age);
	format_table(&inv->out, "  ", json_object_get(r, "by_age"), ages, ARRAY_SIZE(ages));
}

static void print_cleanup(struct invocation *inv, const json_t *r)
{
	char n[FORMAT_VALUE_BYTES], bytes[FORMAT_VALUE_BYTES];

	print_sum(&inv->out, r);
	format_number(format_u64(r, "removed_records"), n);
	format_bytes(format_u64(r, "removed_bytes"), bytes);
	if (cli_flag(inv, "dry_run"))
		fputs("Nothing was removed.\n", inv->out.f);
	else if (format_u64(r, "records"))
		fprintf(inv->out.f, "Removed %s, %s.\n", n, bytes);
}

static int prepare_stats(struct invocation *inv)
{
	json_object_set_new(inv->args, "stats", json_true());
	return CLI_DONE;
}

#define MIN_AGE                                                                                    \
	{                                                                                          \
		"min-age", 0, OPT_DURATION, "min_age_s", "TIME", "only those that old (24h)"       \
	}
static const struct command_option detect_options[] = {
	MIN_AGE,
	{"limit", 0, OPT_NUMBER, "limit", "N", "orphans to list (1000)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option cleanup_options[] = {
	MIN_AGE,
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say what would be removed"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

#define ABOUT                                                                                               \
	"Orphans are records that crashes left on the disks, which nothing names. Most are given back by\n" \
	"themselves after the next mount; these are about those that lie between records in use."

const struct command cli_detect_orphans_command = {
	.name = "detect-orphans",
	.summary = "list what crashes left on the disks",
	.usage = "--pool DIR [--min-age TIME] [--limit N] [--json]",
	.about = ABOUT,
	.options = detect_options,
	.op = "detect-orphans",
	.print = print_detect,
};
const struct command cli_cleanup_orphans_command = {
	.name = "cleanup-orphans",
	.summary = "give back the space of what crashes left",
	.usage = "--pool DIR [--min-age TIME] [--dry-run] [--json]",
	.about = ABOUT
	"\nNever one that is younger than --min-age, or in a segment where anything is being written.",
	.options = cleanup_options,
	.op = "cleanup-orphans",
	.print = print_cleanup,
};
const struct command cli_orphan_stats_command = {
	.name = "orphan-stats",
	.summary = "how much crashes left on the disks, and how old it is",
	.usage = "--pool DIR [--json]",
	.about = ABOUT,
	.op = "detect-orphans",
	.prepare = prepare_stats,
	.print = print_stats,
};
