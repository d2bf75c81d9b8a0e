/* SPDX-License-Identifier: Apache-2.0 */
/* Commands on the pool and its disks: init, set, import, add-disk, fail-disk, list-disks. No locks. */
#include <stdlib.h>
#include <time.h>

#include "base/words.h"
#include "cli/command.h"
#include "ctl/ctl.h"

static void print_settings(struct out *o, const json_t *s)
{
	char large[FORMAT_VALUE_BYTES];
	uint64_t copies = format_u64(s, "copies"), disks = format_u64(s, "metadata_copies");

	format_geometry(format_str(s, "large"), large);
	fprintf(o->f,
		"Large files are kept as %s, all else in %llu %s, metadata on %llu %s; writes "
		"are %sread back.\n",
		large, (unsigned long long)copies, plural(copies, "copy", "copies"),
		(unsigned long long)disks, plural(disks, "disk", "disks"),
		json_is_true(format_get(s, "verify_writes")) ? "" : "not ");
}

/* ---- init, set, import ---- */

static void print_init(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;

	fputs("Made the pool ", o->f);
	out_text(o, format_str(r, "path"));
	fputs(".\n", o->f);
	print_settings(o, format_get(r, "settings"));
	fputs("Next: dynamicfs add-disk --pool ", o->f);
	out_text(o, format_str(r, "path"));
	fputs(" --disk DIR\n", o->f);
}

static void print_background(struct out *o, const json_t *b)
{
	char after[FORMAT_VALUE_BYTES], rate[FORMAT_VALUE_BYTES];

	format_seconds(format_u64(b, "rebuild_after_s"), after);
	format_bytes(format_u64(b, "bytes_per_s"), rate);
	if (format_u64(b, "rebuild_after_s") >= UINT32_MAX)
		fputs("Lost disks are not rebuilt by themselves; background work writes ", o->f);
	else
		fprintf(o->f, "A disk that stays away is rebuilt after %s; background work writes ",
			after);
	if (format_u64(b, "bytes_per_s"))
		fprintf(o->f, "%s/s at most.\n", rate);
	else
		fputs("as fast as it can.\n", o->f);
}

static void print_schedule(struct out *o, const json_t *s)
{
	char every[FORMAT_VALUE_BYTES];

	format_seconds(format_u64(s, "interval_s"), every);
	if (json_is_true(format_get(s, "on")))
		fprintf(o->f, "All that is stored is verified every %s%s.\n", every,
			json_is_true(format_get(s, "repair")) ? ", and repaired" : "");
	else
		fputs("Nothing is verified by itself.\n", o->f);
}

static void print_set(struct invocation *inv, const json_t *r)
{
	print_settings(&inv->out, format_get(r, "settings"));
	fputs("New data follows; what is stored stays as it is.\n", inv->out.f);
	print_background(&inv->out, format_get(r, "background"));
	if (format_get(r, "scrub"))
		print_schedule(&inv->out, format_get(r, "scrub"));
	for (size_t i = 0; i < json_array_size(format_get(r, "search")); i++) {
		fputs(i ? ", " : "Disks are also looked for in ", inv->out.f);
		out_text(&inv->out, json_string_value(json_array_get(format_get(r, "search"), i)));
	}
	if (json_array_size(format_get(r, "search")))
		fputs(".\n", inv->out.f);
}

static void print_import(struct invocation *inv, const json_t *r)
{
	fputs("Rebuilt the pool ", inv->out.f);
	out_text(&inv->out, format_str(r, "path"));
	fprintf(inv->out.f, " from %llu %s.\n", (unsigned long long)format_u64(r, "disks"),
		plural(format_u64(r, "disks"), "disk", "disks"));
}

#define POLICY_OPTIONS                                                                             \
	{"copies", 0, OPT_NUMBER, "copies", "N", "copies of small files, tails and overwrites"},   \
		{"large", 0, OPT_GEOMETRY, "large", "K+M", "Reed-Solomon of large files"},         \
	{                                                                                          \
		"verify-writes", 0, OPT_ONOFF, "verify_writes", "on|off",                          \
			"read each write back before it counts"                                    \
	}
#define END_OPTIONS                                                                                \
	{                                                                                          \
		NULL, 0, OPT_FLAG, NULL, NULL, NULL                                                \
	}

static const struct command_option init_options[] = {
	POLICY_OPTIONS,
	{"metadata-copies", 0, OPT_NUMBER, "metadata_copies", "N", "disks that hold the metadata"},
	{"policy", 0, OPT_POLICY, "", "P", "replica:3 for everything, or rs:4+2 for large files"},
	END_OPTIONS,
};
static const struct command_option set_options[] = {
	POLICY_OPTIONS,
	{"metadata-copies", 0, OPT_NUMBER, "metadata_copies", "N",
	 "disks that hold the metadata, from the next mount on"},
	{"loss-noted", 0, OPT_FLAG, "loss_noted", NULL,
	 "changes lost with a damaged journal, or disks set back, are told of no more"},
	{"search", 0, OPT_PATHS, "search", "DIR...", "look for disks in these directories, too"},
	{"no-search", 0, OPT_FLAG, "no_search", NULL, "look for disks nowhere but where they were"},
	{"rebuild-after", 0, OPT_DURATION, "rebuild_after_s", "TIME",
	 "rebuild a disk that stays away for so long (15m); never: nothing is written anew by itself"},
	{"scrub-interval", 0, OPT_DURATION, "scrub_interval_s", "TIME",
	 "verify all that is stored so often (30d), or off"},
	{"repair-auto", 0, OPT_ONOFF, "repair_auto", "on|off",
	 "such a scrub repairs what it finds (on)"},
	{"background-rate", 0, OPT_RATE, "bytes_per_s", "SIZE",
	 "background work writes so much in a second (64M, or unlimited)"},
	END_OPTIONS,
};
static const struct command_option import_options[] = {
	{"disk", 0, OPT_PATHS, "disks", "DIR...", "directories of the pool's disks"},
	{"force", 0, OPT_FLAG, "force", NULL, "go on without the majority of the disks"},
	END_OPTIONS,
};

/* --disk A B C: the shell's globs give several after one --disk. */
static int prepare_import(struct invocation *inv)
{
	json_t *disks = json_object_get(inv->args, "disks");

	for (unsigned i = 0; i < inv->word_count; i++) {
		FREE char *abs = cli_abs_path(inv->words[i]);

		json_array_append_new(disks, ctl_json_path(abs));
	}
	return CLI_DONE;
}

/* --search A B C: likewise. */
static int prepare_set(struct invocation *inv)
{
	json_t *search = json_object_get(inv->args, "search");

	if (inv->word_count && !search)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: what is %s? usage: dynamicfs set %s", inv->words[0],
				inv->cmd->usage);
	for (unsigned i = 0; i < inv->word_count; i++) {
		FREE char *abs = cli_abs_path(inv->words[i]);

		json_array_append_new(search, ctl_json_path(abs));
	}
	if (json_object_size(inv->args))
		return CLI_DONE;
	return cli_fail(inv, DFS_EUSAGE, "cannot go on: nothing to set; usage: dynamicfs set %s",
			inv->cmd->usage);
}

static int prepare_add_disk(struct invocation *inv)
{
	if (!cli_flag(inv, "disk_silent"))
		return CLI_DONE;
	FREE char *path = cli_path(inv, "disk");
	return cli_fail(inv, DFS_ETIMEDOUT, "cannot add %s: it does not answer; nothing was done",
			path);
}

static const char *const disk_required[] = {"disk", NULL};

static const struct command init_command = {
	.name = "init",
	.summary = "make a new, empty pool",
	.usage = "--pool DIR [--copies N] [--large K+M] [--policy P] [--metadata-copies N]\n"
		 "         [--verify-writes on|off]",
	.about =
		"DIR must be absent or empty. It holds only what can be rebuilt from the disks: the\n"
		"live index, the lock, the control socket, the log.\n"
		"Default policy: full extents of files of 1 MiB and more in Reed-Solomon 4+2, all\n"
		"else in 3 copies; both survive the loss of any two disks.",
	.options = init_options,
	.op = "init",
	.print = print_init,
};
static const struct command set_command = {
	.name = "set",
	.summary = "change how new data is kept",
	.usage =
		"--pool DIR [--copies N] [--large K+M] [--metadata-copies N] [--verify-writes on|off]\n"
		"         [--loss-noted] [--search DIR... | --no-search]\n"
		"         [--rebuild-after TIME] [--background-rate SIZE] [--scrub-interval TIME|off]\n"
		"         [--repair-auto on|off]",
	.options = set_options,
	.max_words = 64,
	.op = "set",
	.prepare = prepare_set,
	.print = print_set,
};
static const struct command import_command = {
	.name = "import",
	.summary = "rebuild a pool's directory from its disks",
	.usage = "--disk DIR... --pool DIR [--force]",
	.about =
		"For disks that were moved to another machine, or a pool directory that was lost.\n"
		"DIR must be absent or empty.",
	.options = import_options,
	.required = disk_required,
	.max_words = 4096,
	.op = "import",
	.prepare = prepare_import,
	.print = print_import,
};

/* ---- disks ---- */

static const struct column disk_columns[] = {
	{"label", "DISK", COL_TEXT},
	{"state", "STATE", COL_STATE},
	{"total_bytes", "SIZE", COL_BYTES_OR},
	{"used_bytes", "USED", COL_BYTES},
	{"free_bytes", "FREE", COL_BYTES},
	{"errors", "ERRORS", COL_NUMBER},
	{"since", "SINCE", COL_TEXT},
	{"reason", "REASON", COL_TEXT},
	{"domain", "DOMAIN", COL_TEXT},
	{"metadata_member", "META", COL_YES},
	{"uuid", "UUID", COL_TEXT},
	{"path", "DIRECTORY", COL_TEXT},
};

static void add_since(json_t *row)
{
	time_t at = (time_t)format_u64(row, "since_wall_s");
	char text[32] = "";
	struct tm tm;

	if (at && localtime_r(&at, &tm))
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	json_object_set_new(row, "since", json_string(text));
}

json_t *cli_disk_rows(const json_t *disks)
{
	json_t *rows = json_deep_copy(disks), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		add_since(row);
		if (json_is_true(json_object_get(row, "present")) &&
		    strcmp(format_str(row, "state"), "healthy") == 0 &&
		    format_u64(row, "lacking_segments") > 0)
			json_object_set_new(row, "state", json_string("lacking"));
		else if (json_is_true(json_object_get(row, "doubtful")) &&
			 strcmp(format_str(row, "state"), "healthy") == 0)
			json_object_set_new(row, "state", json_string("in doubt"));
		if (!json_is_true(json_object_get(row, "present")) &&
		    strcmp(format_str(row, "state"), "failed") != 0 &&
		    strcmp(format_str(row, "state"), "suspect") != 0)
			json_object_set_new(row, "state", json_string("absent"));
	}
	return rows;
}

static void print_disks(struct invocation *inv, const json_t *r)
{
	json_t *rows = cli_disk_rows(json_object_get(r, "disks"));

	if (json_array_size(rows) == 0)
		fputs("No disk yet. Add one: dynamicfs add-disk --disk DIR\n", inv->out.f);
	else
		format_table(&inv->out, "", rows, disk_columns, ARRAY_SIZE(disk_columns));
	json_decref(rows);
}

static void print_space_change(struct out *o, const json_t *r)
{
	char before[FORMAT_VALUE_BYTES], after[FORMAT_VALUE_BYTES];

	format_bytes(format_u64(r, "usable_before_bytes"), before);
	format_bytes(format_u64(r, "usable_after_bytes"), after);
	fprintf(o->f, "Room for files: %s before, %s %s.\n", before, after,
		json_is_true(json_object_get(r, "dry_run")) ? "then" : "now");
}

static void print_add_disk(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;

	fputs(json_is_true(json_object_get(r, "dry_run")) ? "Would add disk " : "Added disk ",
	      o->f);
	out_text(o, format_str(r, "disk.label"));
	fputs(" (", o->f);
	out_text(o, format_str(r, "disk.path"));
	fputs(").\n", o->f);
	print_space_change(o, r);
}

static void print_fail_disk(struct invocation *inv, const json_t *r)
{
	bool dry_run = json_is_true(json_object_get(r, "dry_run"));
	struct out *o = &inv->out;
	char n[FORMAT_VALUE_BYTES];
	uint64_t lost = format_u64(r, "redundancy_after.lost");
	uint64_t in_doubt = format_u64(r, "redundancy_after.in_doubt");
	uint64_t endangered = format_u64(r, "redundancy_after.endangered");

	fprintf(o->f, "%s disk ", dry_run ? "Would fail" : "Failed");
	out_text(o, format_str(r, "disk.label"));
	fputs(" (", o->f);
	out_text(o, format_str(r, "disk.path"));
	fprintf(o->f, "): it %s used any more.\n", dry_run ? "would not be" : "is not");
	if (json_is_null(format_get(r, "redundancy_after.losses_left"))) {
		fputs("The pool holds no extents yet.\n", o->f);
	} else if (lost) {
		format_number(lost, n);
		fprintf(o->f, "%s %s %s be read.\n", n, plural(lost, "extent", "extents"),
			dry_run ? "could not" : "can't");
	} else if (in_doubt) {
		format_number(in_doubt, n);
		fprintf(o->f, "%s %s %s be damaged.\n", n, plural(in_doubt, "extent", "extents"),
			dry_run ? "might" : "may");
	} else if (endangered) {
		format_number(endangered, n);
		fprintf(o->f, "All files %s readable; %s %s %s not bear another loss.\n",
			dry_run ? "would stay" : "are", n, plural(endangered, "extent", "extents"),
			dry_run ? "would" : plural(endangered, "does", "do"));
	} else {
		fprintf(o->f, "All files %s readable, and bear another loss.\n",
			dry_run ? "would stay" : "are");
	}
}

static const struct command_option add_options[] = {
	{"disk", 0, OPT_PATH, "disk", "DIR", "a directory on the disk to be added"},
	{"capacity", 0, OPT_SIZE, "capacity_bytes", "SIZE", "use no more than this (10G, 1.5T)"},
	{"label", 0, OPT_TEXT, "label", "L", "its name (else the last part of DIR)"},
	{"domain", 0, OPT_TEXT, "domain", "D", "failure domain: disks of one fail together"},
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say what would be"},
	{"force", 0, OPT_FLAG, "force", NULL, "though there is less room with it than without"},
	END_OPTIONS,
};
static const struct command_option fail_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "its directory, label or uuid"},
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say what would be"},
	{"force", 0, OPT_FLAG, "force", NULL, "though files become unreadable"},
	END_OPTIONS,
};

static const struct command add_command = {
	.name = "add-disk",
	.summary = "add a directory as a disk",
	.usage =
		"--pool DIR --disk DIR [--capacity SIZE] [--label L] [--domain D] [--dry-run] [--force]",
	.about =
		"Works while the pool is mounted. Only DIR/dynamicfs is made; other files in DIR stay.",
	.options = add_options,
	.required = disk_required,
	.op = "add-disk",
	.prepare = prepare_add_disk,
	.print = print_add_disk,
};
static const struct command fail_command = {
	.name = "fail-disk",
	.summary = "give a disk up: it is not used any more",
	.usage = "--pool DIR --disk DIR|LABEL|UUID [--dry-run] [--force]",
	.about =
		"Works while the pool is mounted. What was on the disk is read from the others. Its\n"
		"content is not believed later, even if the disk comes back.",
	.options = fail_options,
	.required = disk_required,
	.op = "fail-disk",
	.print = print_fail_disk,
};
/* set-label --disk DISK LABEL */
static int prepare_label(struct invocation *inv)
{
	if (inv->word_count != 1)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: which label? usage: dynamicfs set-label %s",
				inv->cmd->usage);
	/* as it is: pool/ says what may be one */
	if (json_object_set_new(inv->args, "label", json_string(inv->words[0])))
		return cli_fail(inv, DFS_EUSAGE, "cannot go on: a label is UTF-8");
	return CLI_DONE;
}

static void print_label(struct invocation *inv, const json_t *r)
{
	fputs("Disk ", inv->out.f);
	out_text(&inv->out, format_str(r, "disk.label"));
	fputs(" (", inv->out.f);
	out_text(&inv->out, format_str(r, "disk.path"));
	fputs(") is called ", inv->out.f);
	out_text(&inv->out, format_str(r, "label"));
	fputs(" now.\n", inv->out.f);
}

static const struct command_option label_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "its directory, label or uuid"},
	END_OPTIONS,
};
static const struct command label_command = {
	.name = "set-label",
	.summary = "give a disk another label",
	.usage = "--pool DIR --disk DIR|LABEL|UUID LABEL",
	.about = "Works mounted and not, also for a disk that is not there.\n"
		 "A label has 1 to 63 bytes, and no other disk in use has it.",
	.options = label_options,
	.required = disk_required,
	.max_words = 1,
	.op = "set-label",
	.prepare = prepare_label,
	.print = print_label,
};
static const struct command list_command = {
	.name = "list-disks",
	.summary = "list the disks",
	.usage = "--pool DIR [--json]",
	.op = "list-disks",
	.print = print_disks,
};

const struct command *const cli_pool_commands[] = {
	&init_command,
	&add_command,
	&list_command,
	&cli_status_command,
	&fail_command,
	&set_command,
	&import_command,
	&cli_jobs_command,
	&cli_metrics_command,
	&cli_scrub_command,
	&cli_audit_command,
	&cli_probe_command,
	&cli_set_health_command,
	&cli_remove_command,
	&cli_replace_command,
	&label_command,
	&cli_rebalance_command,
	&cli_rebalance_command,
	NULL,
};
