/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that look inside: fsck, inspect; and the program's own: help, version. No locks. */
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "cli/command.h"
#include "ctl/ctl.h"

static const struct column fsck_fields[] = {
	{"inodes", "inodes", COL_NUMBER},
	{"dentries", "names", COL_NUMBER},
	{"map_entries", "map entries", COL_NUMBER},
	{"extents", "extents", COL_NUMBER},
	{"fragments", "fragments", COL_NUMBER},
	{"bytes_verified", "bytes verified", COL_BYTES},
	{"endangered_extents", "extents short of fragments", COL_NUMBER},
	{"lost_extents", "extents lost", COL_NUMBER},
	{"orphan_records_bytes", "left by crashes", COL_BYTES},
};

static void print_fsck(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;
	const json_t *p;
	size_t i;

	json_array_foreach(json_object_get(r, "problems"), i, p) {
		out_text(o, format_str(p, "severity"));
		fputs(": ", o->f);
		out_text(o, format_str(p, "text"));
		fputc('\n', o->f);
	}
	if (format_u64(r, "problems_left_out"))
		fprintf(o->f, "... and %llu more\n",
			(unsigned long long)format_u64(r, "problems_left_out"));
	if (json_is_true(json_object_get(r, "clean")))
		fputs("The pool is clean.\n", o->f);
	else
		fprintf(o->f, "Found %llu %s.\n",
			(unsigned long long)format_u64(r, "problem_count"),
			plural(format_u64(r, "problem_count"), "problem", "problems"));
	format_fields(o, "  ", r, fsck_fields, ARRAY_SIZE(fsck_fields));
}

static void print_as_json(struct invocation *inv, const json_t *r)
{
	json_dumpf(r, inv->out.f, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', inv->out.f);
}

/* "inode 12", "path /a", "extent UUID", "disk D", "roots --disk D", ... */
static int prepare_inspect(struct invocation *inv)
{
	const char *what = inv->word_count > 0 ? inv->words[0] : NULL;
	const char *name = inv->word_count > 1 ? inv->words[1] : NULL;
	FREE char *abs = NULL;

	if (what)
		json_object_set_new(inv->args, "what", ctl_json_text(what));
	if (!name)
		return CLI_DONE;
	json_object_set_new(inv->args, "name", ctl_json_text(name));
	abs = cli_abs_path(name);
	if (strcmp(what, "path") == 0) {
		json_object_set_new(inv->args, "path", ctl_json_path(name));
		json_object_set_new(inv->args, "path_abs", ctl_json_path(abs));
	} else if (strcmp(what, "disk") == 0) {
		json_object_set_new(inv->args, "disk_abs", ctl_json_path(abs));
	}
	return CLI_DONE;
}

static const struct command_option fsck_options[] = {
	{"quick", 0, OPT_FLAG, "quick", NULL, "check headers, not every byte of the files"},
	{"force", 0, OPT_FLAG, "force_open", NULL, "though the newest state can't be known"},
	{"scratch", 0, OPT_PATH, "scratch", "DIR",
	 "where to copy the index to ($TMPDIR, /var/tmp)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option inspect_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "for roots, journal, segment: which disk"},
	{"limit", 0, OPT_NUMBER, "limit", "N", "records to print (1000; at most 10000)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

static const struct command fsck_command = {
	.name = "fsck",
	.summary = "check everything that can be checked, changing nothing",
	.usage = "--pool DIR [--quick] [--force] [--scratch DIR] [--json]",
	.about =
		"Only while the pool is not mounted. Works on a copy of the index, which needs as much room as\n"
		"that, and changes nothing in the pool directory or on the disks. Checks the index against the\n"
		"disks, the checksums of metadata and data, reference counts and space counters. Exit code 5:\n"
		"damage found.",
	.options = fsck_options,
	.op = "fsck",
	.print = print_fsck,
};
static const struct command inspect_command = {
	.name = "inspect",
	.summary = "print records of the metadata as JSON",
	.usage =
		"[--pool DIR] [inode N | path PATH | extent UUID | disk DISK | table NAME |\n"
		"         roots --disk D | journal --disk D | segment NUMBER --disk D] [--limit N]",
	.about = "Without operands: how many records each table holds.",
	.options = inspect_options,
	.max_words = 2,
	.op = "inspect",
	.prepare = prepare_inspect,
	.print = print_as_json,
};

const struct command *const cli_check_commands[] = {
	&fsck_command,
	&cli_rescue_command,
	&cli_detect_orphans_command,
	&cli_cleanup_orphans_command,
	&cli_orphan_stats_command,
	&inspect_command,
	&cli_help_command,
	&cli_version_command,
	NULL,
};
