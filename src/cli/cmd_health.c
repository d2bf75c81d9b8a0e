/* SPDX-License-Identifier: Apache-2.0 */
/* The commands probe-disks and set-disk-health. No locks. */
#include "cli/command.h"
#include "ctl/ctl.h"

static void print_time(struct out *o, const char *what, uint64_t us)
{
	fprintf(o->f, ", %s %.1f ms", what, (double)us / 1000.0);
}

static void print_probed(struct out *o, const json_t *d)
{
	fputs("  ", o->f);
	out_text(o, format_str(d, "label"));
	if (json_is_true(format_get(d, "passed"))) {
		fputs(" passed", o->f);
		print_time(o, "written in", format_u64(d, "write_us"));
		print_time(o, "synced in", format_u64(d, "sync_us"));
		print_time(o, "read back in", format_u64(d, "read_us"));
		if (!json_is_true(format_get(d, "past_cache")))
			fputs(" (from the page cache)", o->f);
	} else {
		fprintf(o->f, " failed, %s: %s", format_str(d, "step"), format_str(d, "error"));
	}
	fprintf(o->f, "; it is %s", format_str(d, "state"));
	if (strcmp(format_str(d, "was"), format_str(d, "state")))
		fprintf(o->f, ", and was %s", format_str(d, "was"));
	fputc('\n', o->f);
}

static void print_probe(struct invocation *inv, const json_t *r)
{
	const json_t *d;
	size_t i;

	json_array_foreach(format_get(r, "disks"), i, d)
		print_probed(&inv->out, d);
}

static void print_set_health(struct invocation *inv, const json_t *r)
{
	fputs("Disk ", inv->out.f);
	out_text(&inv->out, format_str(r, "disk"));
	fprintf(inv->out.f, " is %s", format_str(r, "state"));
	fputs(strcmp(format_str(r, "state"), "healthy")
		      ? ", until it is made healthy by the same command.\n"
		      : ".\n",
	      inv->out.f);
}

static int prepare_set_health(struct invocation *inv)
{
	if (inv->word_count != 1)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: name one state; usage: dynamicfs set-disk-health %s",
				inv->cmd->usage);
	json_object_set_new(inv->args, "state", ctl_json_text(inv->words[0]));
	return CLI_DONE;
}

static const struct command_option probe_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "only this one: its directory, label or uuid"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option health_options[] = {
	{"disk", 0, OPT_PLACE, "disk", "DISK", "its directory, label or uuid"},
	{"reason", 0, OPT_TEXT, "reason", "TEXT", "why; kept, and shown by list-disks --json"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const char *const health_required[] = {"disk", NULL};

const struct command cli_probe_command = {
	.name = "probe-disks",
	.summary = "write, sync and read back a little on each disk",
	.usage = "--pool DIR [--disk DIR|LABEL|UUID]",
	.about =
		"Measures how long that takes, and updates the disks' states: one that passes is used\n"
		"again, one that does not is marked. Ends with code 5 if one fails.",
	.options = probe_options,
	.op = "probe-disks",
	.print = print_probe,
};
const struct command cli_set_health_command = {
	.name = "set-disk-health",
	.summary = "keep new data off a disk, or let it there again",
	.usage = "--pool DIR --disk DIR|LABEL|UUID healthy|degraded|suspect [--reason TEXT]",
	.about =
		"degraded: no new data goes there; suspect: and it is read last. That holds until the\n"
		"disk is made healthy again, over mounts. To healthy it has to pass a trial.",
	.options = health_options,
	.required = health_required,
	.max_words = 1,
	.op = "set-disk-health",
	.prepare = prepare_set_health,
	.print = print_set_health,
};
