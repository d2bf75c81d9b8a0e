/* SPDX-License-Identifier: Apache-2.0 */
/* The commands remove-disk and replace-disk. No locks. */
#include <string.h>

#include "base/words.h"
#include "cli/command.h"

static void print_extents(struct out *o, uint64_t count, const char *what)
{
	char n[FORMAT_VALUE_BYTES];

	if (!count)
		return;
	format_number(count, n);
	fprintf(o->f, "%s %s %s.\n", n, plural(count, "extent", "extents"), what);
}

static void print_effort(struct out *o, const json_t *r)
{
	char bytes[FORMAT_VALUE_BYTES], time[FORMAT_VALUE_BYTES];
	uint64_t seconds = format_u64(r, "seconds");

	format_bytes(format_u64(r, "bytes"), bytes);
	fprintf(o->f, "It holds %s", bytes);
	if (seconds) {
		format_seconds(seconds, time);
		fprintf(o->f, ", which takes about %s to move at the rate that is set", time);
	}
	format_bytes(format_u64(r, "usable_after_bytes"), bytes);
	fprintf(o->f, ". Without it there is room for %s more.\n", bytes);
}

static void print_content(struct out *o, const json_t *r)
{
	print_effort(o, r);
	print_extents(o, format_u64(r, "extents_narrowed"),
		      "will be stored anew, over fewer disks, and bear as many losses");
	print_extents(o, format_u64(r, "extents_reduced"), "would bear one loss less");
	print_extents(o, format_u64(r, "extents_without_room"), "must wait for room");
	print_extents(o, format_u64(r, "extents_lost"), "could not be read any more");
}

static void print_job(struct out *o, const json_t *r)
{
	fprintf(o->f, "What it holds moves to the others %s (job %llu); then it is forgotten.\n",
		json_is_true(json_object_get(r, "running")) ? "now" : "when the pool is mounted",
		(unsigned long long)format_u64(r, "job"));
}

static void print_remove(struct invocation *inv, const json_t *r)
{
	bool dry_run = json_is_true(json_object_get(r, "dry_run"));
	struct out *o = &inv->out;

	fputs(dry_run ? "Would remove disk " : "Removing disk ", o->f);
	out_text(o, format_str(r, "disk.label"));
	fputs(" (", o->f);
	out_text(o, format_str(r, "disk.path"));
	fputs(").\n", o->f);
	print_content(o, r);
	if (!dry_run)
		print_job(o, r);
}

static const struct command_option remove_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "its directory, label or uuid"},
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say what would be"},
	{"wait", 0, OPT_FLAG, "wait", NULL, "until it is done"},
	{"force", 0, OPT_FLAG, "force", NULL, "though files then bear fewer losses"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const char *const remove_required[] = {"disk", NULL};

const struct command cli_remove_command = {
	.name = "remove-disk",
	.summary = "move what a disk holds to the others, and forget it",
	.usage = "--pool DIR --disk DIR|LABEL|UUID [--dry-run] [--wait] [--force]",
	.about =
		"Works while the pool is mounted, in the background; 'jobs' shows how far it is, 'jobs cancel'\n"
		"takes it back with nothing lost. A disk that is dead is rebuilt on the others, and then forgotten.\n"
		"Refused where files would bear fewer losses than now, or the others have no room (exit code 6).",
	.options = remove_options,
	.required = remove_required,
	.op = "remove-disk",
	.print = print_remove,
};

static void print_replace(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;

	if (json_is_true(json_object_get(r, "dry_run"))) {
		fputs("Would have the new disk take the place of ", o->f);
		out_text(o, format_str(r, "disk.label"));
		fputs(", and forget that.\n", o->f);
		print_content(o, r);
		return;
	}
	fputs(json_is_true(json_object_get(r, "new_disk_was_there")) ? "Disk " : "Added disk ",
	      o->f);
	out_text(o, format_str(r, "new_disk.label"));
	fputs(" (", o->f);
	out_text(o, format_str(r, "new_disk.path"));
	fputs("). It takes the place of ", o->f);
	out_text(o, format_str(r, "disk.label"));
	if (strcmp(format_str(r, "label"), format_str(r, "disk.label")) == 0)
		fputs(", and its name in the end", o->f);
	fputs(".\n", o->f);
	print_content(o, r);
	print_job(o, r);
}

static const struct command_option replace_options[] = {
	{"old", 0, OPT_PLACE, "disk", "DISK", "its directory, label or uuid"},
	{"new", 0, OPT_PATH, "new", "DIR", "a directory on the disk that takes its place"},
	{"label", 0, OPT_TEXT, "label", "L", "the new one's name (else the old one's, in the end)"},
	{"domain", 0, OPT_TEXT, "domain", "D", "its failure domain (else the old one's)"},
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say whether that can be"},
	{"wait", 0, OPT_FLAG, "wait", NULL, "until it is done"},
	{"force", 0, OPT_FLAG, "force", NULL, "though files then bear fewer losses"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const char *const replace_required[] = {"old", "new", NULL};

const struct command cli_replace_command = {
	.name = "replace-disk",
	.summary = "have another disk take the place of one",
	.usage =
		"--pool DIR --old DIR|LABEL|UUID --new DIR [--label L] [--domain D] [--dry-run] [--wait] [--force]",
	.about =
		"What the old one holds goes to the new one, in one pass, and never bears less meanwhile; then the\n"
		"old one is forgotten, and the new one has its name. The old one may be dead: then it is rebuilt\n"
		"there, at once. DIR may be a disk of the pool already. 'jobs cancel' keeps both.",
	.options = replace_options,
	.required = replace_required,
	.op = "replace-disk",
	.print = print_replace,
};
