/* SPDX-License-Identifier: Apache-2.0 */
/* The command rebalance. No locks. */
#include "base/words.h"
#include "cli/command.h"

static double percent(uint64_t used, uint64_t usable)
{
	return usable ? 100.0 * (double)used / (double)usable : 0;
}

static const struct column columns[] = {
	{"label", "DISK", COL_TEXT},	     {"used_bytes", "USED", COL_BYTES},
	{"usable_bytes", "ROOM", COL_BYTES}, {"now", "FULL", COL_TEXT},
	{"then", "THEN", COL_TEXT},	     {"domain", "DOMAIN", COL_TEXT},
};

static void set_percent(json_t *row, const char *key, const char *used)
{
	char text[16];

	snprintf(text, sizeof(text), "%.1f%%",
		 percent(format_u64(row, used), format_u64(row, "usable_bytes")));
	json_object_set_new(row, key, json_string(text));
}

static void print_disks(struct out *o, const json_t *r)
{
	json_t *rows = json_deep_copy(format_get(r, "disks")), *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		set_percent(row, "now", "used_bytes");
		set_percent(row, "then", "then_used_bytes");
	}
	if (json_array_size(rows))
		format_table(o, "", rows, columns, ARRAY_SIZE(columns));
	json_decref(rows);
}

static void print_move(struct out *o, const json_t *r, bool dry_run)
{
	char bytes[FORMAT_VALUE_BYTES], n[FORMAT_VALUE_BYTES], time[FORMAT_VALUE_BYTES];

	format_bytes(format_u64(r, "bytes"), bytes);
	format_number(format_u64(r, "fragments"), n);
	fprintf(o->f, "%s %s, %s %s", dry_run ? "Would move" : "Moving", bytes, n,
		plural(format_u64(r, "fragments"), "fragment", "fragments"));
	if (format_u64(r, "seconds")) {
		format_seconds(format_u64(r, "seconds"), time);
		fprintf(o->f, ", which takes about %s", time);
	}
	if (!dry_run)
		fprintf(o->f, " %s(job %llu)",
			json_is_true(json_object_get(r, "running")) ? ""
								    : "when the pool is mounted ",
			(unsigned long long)format_u64(r, "job"));
	fputs(".\n", o->f);
}

static void print_rebalance(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;

	print_disks(o, r);
	if (json_is_true(json_object_get(r, "is_level"))) {
		fputs("The disks are level: nothing is to be moved.\n", o->f);
		return;
	}
	if (format_u64(r, "bytes"))
		print_move(o, r, json_is_true(json_object_get(r, "dry_run")));
	else
		fputs("Nothing can be moved.\n", o->f);
	if (!json_is_true(json_object_get(r, "gets_level")))
		out_wrapped(
			o, "", 0,
			"They do not get level: what lies on the fuller disks has no place on "
			"the emptier ones, for each extent wants disks, and failure domains, of "
			"its own.");
}

static const struct command_option options[] = {
	{"dry-run", 0, OPT_FLAG, "dry_run", NULL, "only say what would move"},
	{"rate", 0, OPT_RATE, "bytes_per_s", "SIZE", "move no more in a second"},
	{"wait", 0, OPT_FLAG, "wait", NULL, "until it is done"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

const struct command cli_rebalance_command = {
	.name = "rebalance",
	.summary = "level the disks, by share of their room",
	.usage = "--pool DIR [--dry-run] [--rate SIZE] [--wait]",
	.about =
		"For after add-disk. Moves the least that brings each disk within 2 % of its room of what all\n"
		"together are full, in the background, never faster than 'set --background-rate'; 'jobs' shows\n"
		"how far it is, and pauses or cancels it. No extent bears less at any moment. Ends level, or\n"
		"says why not: of disks of very different sizes, or with failure domains, some stay fuller.",
	.options = options,
	.op = "rebalance",
	.print = print_rebalance,
};
