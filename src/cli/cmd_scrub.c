/* SPDX-License-Identifier: Apache-2.0 */
/* The command scrub: verifies all that is stored, and repairs it. No locks. */
#include <string.h>
#include <time.h>

#include "base/words.h"
#include "cli/command.h"

#define SHOWN_MAX 20u

static const char *number(const json_t *o, const char *key, char text[FORMAT_VALUE_BYTES])
{
	format_number(format_u64(o, key), text);
	return text;
}

static void print_issues(struct out *o, const json_t *extent)
{
	const json_t *issue;
	size_t i;

	json_array_foreach(format_get(extent, "issues"), i, issue) {
		fprintf(o->f, "      fragment %llu on ",
			(unsigned long long)format_u64(issue, "fragment"));
		out_text(o, format_str(issue, "disk"));
		fprintf(o->f, ": %s (%s)\n", format_str(issue, "issue"),
			format_str(issue, "error"));
	}
}

static void print_extents(struct out *o, const json_t *scrub)
{
	const json_t *list = format_get(scrub, "extents"), *extent;
	size_t i, all = json_array_size(list);

	json_array_foreach(list, i, extent) {
		const char *state = format_str(extent, "state");

		if (i == SHOWN_MAX)
			break;
		fputs("  ", o->f);
		out_colour(o, strcmp(state, "repaired") == 0   ? GREEN
			      : strcmp(state, "degraded") == 0 ? YELLOW
							       : RED);
		fputs(state, o->f);
		out_colour(o, PLAIN);
		fprintf(o->f, ": extent %s of ", format_str(extent, "extent"));
		out_text(o, format_str(extent, "path"));
		if (format_str(extent, "error")[0])
			fprintf(o->f, " (not repaired: %s)", format_str(extent, "error"));
		fputc('\n', o->f);
		print_issues(o, extent);
	}
	if (all > SHOWN_MAX)
		fprintf(o->f, "  ... and %zu more: --json lists them\n", all - SHOWN_MAX);
}

static void print_notes(struct out *o, const json_t *scrub)
{
	const json_t *n;
	size_t i;

	json_array_foreach(format_get(scrub, "metadata"), i, n) {
		fputs(json_is_true(json_object_get(n, "repaired")) ? "  repaired: " : "  damaged: ",
		      o->f);
		out_text(o, format_str(n, "text"));
		fputc('\n', o->f);
	}
}

static void print_verdict(struct out *o, const json_t *s)
{
	uint64_t repaired = format_u64(s, "extents_repaired") + format_u64(s, "metadata_repaired");
	uint64_t stays = format_u64(s, "damage_left");
	char a[FORMAT_VALUE_BYTES];

	if (stays)
		fprintf(o->f, "Damage stays: %s %s degraded, ", number(s, "extents_degraded", a),
			plural(format_u64(s, "extents_degraded"), "extent", "extents"));
	if (stays)
		fprintf(o->f, "%s unrecoverable, ", number(s, "extents_unrecoverable", a));
	if (stays)
		fprintf(o->f, "%llu %s of metadata.%s\n",
			(unsigned long long)(format_u64(s, "metadata_problems") -
					     format_u64(s, "metadata_repaired")),
			plural(format_u64(s, "metadata_problems") -
				       format_u64(s, "metadata_repaired"),
			       "problem", "problems"),
			json_is_true(format_get(s, "repair"))
				? ""
				: " 'dynamicfs scrub --repair' makes anew what can be.");
	else if (repaired)
		fputs("All damage that was found is repaired.\n", o->f);
	else
		fputs("No damage was found.\n", o->f);
}

static void print_result(struct out *o, const json_t *s)
{
	char bytes[FORMAT_VALUE_BYTES], n[FORMAT_VALUE_BYTES];
	uint64_t away = format_u64(s, "fragments_not_there");

	print_extents(o, s);
	print_notes(o, s);
	format_bytes(format_u64(s, "bytes"), bytes);
	fprintf(o->f, "Verified %s: %s fragments", bytes, number(s, "fragments", n));
	if (format_u64(s, "index_records"))
		fprintf(o->f, ", %s records of the index", number(s, "index_records", n));
	fprintf(o->f, ". Extents repaired: %s", number(s, "extents_repaired", n));
	fprintf(o->f, ", fragments made anew: %s.\n", number(s, "fragments_made", n));
	if (away)
		fprintf(o->f,
			"%s %s on disks that were not there: not verified; see 'dynamicfs status'.\n",
			number(s, "fragments_not_there", n),
			plural(away, "fragment is", "fragments are"));
	print_verdict(o, s);
}

static void print_scrub(struct invocation *inv, const json_t *r)
{
	const json_t *scrub = format_get(r, "outcome.scrub");
	unsigned long long job = format_u64(r, "job");

	if (scrub)
		print_result(&inv->out, scrub);
	else if (cli_flag(inv, "wait"))
		fprintf(inv->out.f, "The scrub has begun (job %llu).\n", job);
	else
		fprintf(inv->out.f,
			"The scrub has begun (job %llu). 'dynamicfs jobs' shows how far it is and, in the "
			"end, what it found.\n",
			job);
}

static int judge(const json_t *job, char *message, size_t size)
{
	if (!format_u64(job, "scrub.damage_left"))
		return 0;
	snprintf(message, size, "the scrub found damage that stays");
	return DFS_EDAMAGED;
}

static const struct command_option options[] = {
	{"repair", 0, OPT_FLAG, "repair", NULL, "make anew what is damaged or missing"},
	{"disk", 0, OPT_PLACE, "disk", "DISK", "only this disk: its directory, label or uuid"},
	{"rate", 0, OPT_RATE, "bytes_per_s", "SIZE", "read so much in a second (unlimited)"},
	{"wait", 0, OPT_FLAG, "wait", NULL, "wait for its end, and say what it found"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

const struct command cli_scrub_command = {
	.name = "scrub",
	.summary = "verify all that is stored, on all disks at once; --repair makes it whole",
	.usage = "--pool DIR [--repair] [--disk DISK] [--rate SIZE] [--wait] [--json]",
	.about =
		"Reads every fragment as it lies on its disk, the index, and all metadata on the disks. It is\n"
		"a job ('dynamicfs jobs') and goes on after a restart; while the pool is not mounted the\n"
		"command does it itself. Nothing that can't be recovered is deleted or overwritten.\n"
		"Exit code 5: damage was found, and stays (with --wait, or not mounted).",
	.options = options,
	.op = "scrub",
	.print = print_scrub,
	.judge = judge,
};

/* ---- audit ---- */

static void print_line(struct out *o, const json_t *line)
{
	time_t t = (time_t)format_u64(line, "wall_s");
	const json_t *wrong;
	char when[32] = "?";
	struct tm tm;
	size_t i;

	if (gmtime_r(&t, &tm))
		(void)!strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(o->f, "%s  ", when);
	if (!format_str(line, "extent")[0]) {
		fprintf(o->f, "job %llu: %s of disk %llu: %llu %s made anew\n",
			(unsigned long long)format_u64(line, "job"), format_str(line, "kind"),
			(unsigned long long)format_u64(line, "disk"),
			(unsigned long long)format_u64(line, "fragments"),
			plural(format_u64(line, "fragments"), "fragment was", "fragments were"));
		return;
	}
	out_text(o, format_str(line, "path"));
	fprintf(o->f, ": %s\n      extent %s\n", format_str(line, "result"),
		format_str(line, "extent"));
	json_array_foreach(format_get(line, "wrong"), i, wrong)
		fprintf(o->f, "      fragment %llu on disk %llu: %s; now on disk %llu\n",
			(unsigned long long)format_u64(wrong, "fragment"),
			(unsigned long long)format_u64(wrong, "disk"), format_str(wrong, "error"),
			(unsigned long long)format_u64(wrong, "to_disk"));
}

static void print_audit(struct invocation *inv, const json_t *r)
{
	const json_t *line;
	size_t i;

	json_array_foreach(format_get(r, "lines"), i, line)
		print_line(&inv->out, line);
	if (json_array_size(format_get(r, "lines")) == 0)
		fputs("Nothing has been repaired.\n", inv->out.f);
}

static const struct command_option audit_options[] = {
	{"last", 0, OPT_NUMBER, "last", "N", "so many lines (50; at most 10000)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

const struct command cli_audit_command = {
	.name = "audit",
	.summary = "show what was repaired: when, of which file, what was wrong",
	.usage = "--pool DIR [--last N] [--json]",
	.about =
		"Each repair of damage leaves a line, for whatever reason it was done; a rebuild one in all.\n"
		"The last 10,000 lines of 400 days are kept.",
	.options = audit_options,
	.op = "audit",
	.print = print_audit,
};
