/* SPDX-License-Identifier: Apache-2.0 */
/* Command status: how the pool is, on one screen. No locks. */
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "base/env.h"
#include "base/words.h"
#include "cli/command.h"

#define BAR_WIDTH 30u
#define WATCH_MS 1000u

static void print_head(struct out *o, const json_t *r)
{
	const char *state = format_str(r, "state");

	fputs("Pool ", o->f);
	out_colour(o, BOLD);
	out_text(o, format_str(r, "path"));
	out_colour(o, PLAIN);
	if (strcmp(state, "empty") == 0) {
		fputs(" is empty: it has no disk yet.\n\nAdd one: dynamicfs add-disk --pool ",
		      o->f);
		out_text(o, format_str(r, "path"));
		fputs(" --disk DIR\n", o->f);
		return;
	}
	fputs(" is ", o->f);
	out_colour(o, strcmp(state, "healthy") == 0    ? GREEN
		      : strcmp(state, "degraded") == 0 ? YELLOW
						       : RED);
	fputs(state, o->f);
	out_colour(o, PLAIN);
	if (json_is_true(format_get(r, "space.full")))
		fputs(strcmp(state, "healthy") == 0 ? ", but full" : ", and full", o->f);
	if (json_is_true(format_get(r, "space.no_disk")))
		fputs(", and takes no new data", o->f);
	if (json_is_true(json_object_get(r, "mounted"))) {
		fputs(", mounted at ", o->f);
		out_text(o, format_str(r, "mountpoint"));
		fputs("\n\n", o->f);
	} else {
		fputs(", not mounted\n\n", o->f);
	}
}

/* What no stripe can reach is told when it is a twentieth of all there is; journals, which not all have, make less. */
static void print_raw(struct out *o, const json_t *r)
{
	uint64_t raw = format_u64(r, "space.raw_bytes");
	uint64_t stranded = format_u64(r, "space.stranded_bytes");
	char a[FORMAT_VALUE_BYTES], b[FORMAT_VALUE_BYTES], c[FORMAT_VALUE_BYTES];

	format_bytes(raw, a);
	format_bytes(format_u64(r, "space.stored_bytes"), b);
	format_bytes(format_u64(r, "space.raw_free_bytes"), c);
	fprintf(o->f, "  Raw       disks of %s: %s stored, %s free", a, b, c);
	if (stranded > raw / 20) {
		format_bytes(stranded, a);
		fprintf(o->f, ", of which %s can't be used: too few disks have so much", a);
	}
	fputc('\n', o->f);
}

/* Since the mount; of some megabytes nothing is to be told. */
static void print_writes(struct out *o, const json_t *r)
{
	uint64_t files = format_u64(r, "writes.file_bytes"),
		 disks = format_u64(r, "writes.disk_bytes");
	uint64_t moved = format_u64(r, "writes.folded_bytes") +
			 format_u64(r, "writes.compacted_bytes");
	char a[FORMAT_VALUE_BYTES], b[FORMAT_VALUE_BYTES], c[FORMAT_VALUE_BYTES];

	if (files < MIB(16))
		return;
	format_bytes(files, a);
	format_bytes(disks, b);
	format_bytes(moved, c);
	fprintf(o->f, "  Writes    %s by programs since the mount; %s to the disks (%.1f times)", a,
		b, (double)disks / (double)files);
	if (moved > MIB(1))
		fprintf(o->f, ", %s of that to give space back", c);
	fputc('\n', o->f);
}

static void print_space(struct out *o, const json_t *r)
{
	uint64_t total = format_u64(r, "space.total_bytes");
	uint64_t available = format_u64(r, "space.available_bytes");
	uint64_t promised = format_u64(r, "space.preallocated_bytes");
	char a[FORMAT_VALUE_BYTES], b[FORMAT_VALUE_BYTES];
	double part = total ? (double)(total - MIN(available, total)) / (double)total : 1;
	unsigned percent = (unsigned)(part * 100 + 0.5);

	format_bytes(format_u64(r, "space.used_bytes"), a);
	format_bytes(available, b);
	fputs("  Space     ", o->f);
	out_bar(o, part, BAR_WIDTH);
	if (available)
		fprintf(o->f, " %u%% full: %s of files, room for %s more\n", MIN(percent, 99u), a,
			b);
	else if (json_is_true(format_get(r, "space.no_disk")))
		fprintf(o->f, " %s of files; no disk takes more\n", a);
	else
		fprintf(o->f, " 100%% full: %s of files, no room for more\n", a);
	if (promised) {
		format_bytes(promised, a);
		fprintf(o->f, "  Set aside %s of that by fallocate, and not written yet\n", a);
	}
	print_raw(o, r);
	format_number(format_u64(r, "inodes"), a);
	format_number(format_u64(r, "extents"), b);
	fprintf(o->f, "  Files     %s %s, %s %s\n", a,
		plural(format_u64(r, "inodes"), "inode", "inodes"), b,
		plural(format_u64(r, "extents"), "extent", "extents"));
	print_writes(o, r);
}

static void print_policy(struct out *o, const json_t *r)
{
	char large[FORMAT_VALUE_BYTES], small[FORMAT_VALUE_BYTES];

	if (json_is_true(format_get(r, "space.no_disk"))) {
		fputs("  New data  no disk takes any\n", o->f);
	} else if (json_is_true(format_get(r, "space.full"))) {
		fputs("  New data  none fits\n", o->f);
	} else if (strcmp(format_str(r, "redundancy.large.now"), "none") == 0) {
		format_geometry(format_str(r, "redundancy.small.now"), small);
		fprintf(o->f, "  New data  only small files fit: %s\n", small);
	} else {
		format_geometry(format_str(r, "redundancy.large.now"), large);
		format_geometry(format_str(r, "redundancy.small.now"), small);
		fprintf(o->f, "  New data  large files %s, all else %s\n", large, small);
	}
	if (json_is_true(format_get(r, "redundancy.narrowed"))) {
		format_geometry(format_str(r, "redundancy.large.wanted"), large);
		format_geometry(format_str(r, "redundancy.small.wanted"), small);
		fprintf(o->f, "  Wanted    large files %s, all else %s\n", large, small);
	}
}

static void print_part(struct out *o, const json_t *r, const char *key, const char *one,
		       const char *many, enum colour colour)
{
	char n[FORMAT_VALUE_BYTES];
	uint64_t v = format_u64(format_get(r, "redundancy"), key);

	if (v == 0)
		return;
	format_number(v, n);
	fprintf(o->f, "            ");
	out_colour(o, colour);
	fprintf(o->f, "%s of them %s", n, plural(v, one, many));
	out_colour(o, PLAIN);
	fputc('\n', o->f);
}

static void print_safety(struct out *o, const json_t *r)
{
	uint64_t all = format_u64(r, "redundancy.extents");
	uint64_t short_of = all - MIN(all, format_u64(r, "redundancy.full"));
	json_int_t left = json_integer_value(format_get(r, "redundancy.losses_left"));
	bool counted = json_is_true(format_get(r, "redundancy.all_counted"));
	char n[FORMAT_VALUE_BYTES], m[FORMAT_VALUE_BYTES];

	if (all == 0)
		return;
	format_number(all, n);
	format_number(short_of, m);
	fputs("  Stored    ", o->f);
	if (short_of)
		fprintf(o->f, "%s of %s %s %s fragments", m, n, plural(all, "extent", "extents"),
			plural(short_of, "lacks", "lack"));
	else if (left > 0)
		fprintf(o->f, "all extents are whole: %lld more %s may be lost", (long long)left,
			plural((uint64_t)left, "disk", "disks"));
	else
		fputs("all extents are whole, but some bear no loss", o->f);
	fputs(counted ? "\n" : " (of those counted in one second)\n", o->f);
	print_part(o, r, "reduced", "bears another loss", "bear another loss", YELLOW);
	print_part(o, r, "endangered", "doesn't bear another loss", "don't bear another loss",
		   YELLOW);
	print_part(o, r, "in_doubt", "may be damaged", "may be damaged", RED);
	print_part(o, r, "lost", "can't be read", "can't be read", RED);
}

/* Which disks have the journal, the table of disks says. */
static void print_metadata(struct out *o, const json_t *r)
{
	json_int_t left = json_integer_value(format_get(r, "metadata.losses_left"));
	json_int_t wanted = json_integer_value(format_get(r, "metadata.losses_wanted"));
	unsigned long long disks = format_u64(r, "metadata.members_present");

	fprintf(o->f, "  Metadata  journal on %llu %s, index on all: ", disks,
		plural(disks, "disk", "disks"));
	if (left < wanted || left == 0)
		out_colour(o, YELLOW);
	if (left > 0)
		fprintf(o->f, "%lld more %s may be lost", (long long)left,
			plural((uint64_t)left, "disk", "disks"));
	else
		fputs("it bears no loss", o->f);
	out_colour(o, PLAIN);
	fputc('\n', o->f);
}

static const struct column columns[] = {
	{"label", "DISK", COL_TEXT},	       {"state", "STATE", COL_STATE},
	{"total_bytes", "SIZE", COL_BYTES_OR}, {"used_bytes", "USED", COL_BYTES},
	{"free_bytes", "FREE", COL_BYTES},     {"metadata_member", "META", COL_YES},
	{"path", "DIRECTORY", COL_TEXT},
};

/* "Rebuild   of disk5: 45%, 20 MiB of 44 MiB": one line for each that is not over. */
static void print_jobs(struct out *o, const json_t *r)
{
	const json_t *job;
	size_t i;

	json_array_foreach(format_get(r, "jobs"), i, job) {
		bool scrubs = strcmp(format_str(job, "kind"), "scrub") == 0;
		const char *state = format_str(job, "state");

		if (strcmp(state, "done") == 0 || strcmp(state, "cancelled") == 0)
			continue;
		fputs(scrubs ? "  Scrub     " : "  Rebuild   ", o->f);
		if (format_str(job, "disk")[0]) {
			fputs("of ", o->f);
			out_text(o, format_str(job, "disk"));
			fputs(": ", o->f);
		}
		fprintf(o->f, "%s", state);
		cli_print_progress(o, job);
		fputc('\n', o->f);
	}
}

/* "Scrub     ended 2 h ago: no damage; next in 29 d" */
static void print_scrub(struct out *o, const json_t *r)
{
	const json_t *s = format_get(r, "scrub"), *next = format_get(s, "next_in_s");
	uint64_t ended = format_u64(s, "ended_s"), now = env_wall_ns() / 1000000000ull;
	uint64_t repaired = format_u64(s, "extents_repaired") + format_u64(s, "metadata_repaired");
	char text[FORMAT_VALUE_BYTES];

	fputs("  Scrub     ", o->f);
	if (ended) {
		format_seconds(now - MIN(now, ended), text);
		fprintf(o->f, "ended %s ago: ", text);
		if (format_u64(s, "damage_left"))
			out_colour(o, RED);
		if (!format_u64(s, "damage_left") && !repaired)
			fputs("no damage", o->f);
		else
			fprintf(o->f, "%llu repaired, %llu %s", (unsigned long long)repaired,
				(unsigned long long)format_u64(s, "damage_left"),
				plural(format_u64(s, "damage_left"), "problem stays",
				       "problems stay"));
		out_colour(o, PLAIN);
	} else {
		fputs("none has ended", o->f);
	}
	if (json_is_integer(next)) {
		format_seconds((uint64_t)json_integer_value(next), text);
		fprintf(o->f, "; next in %s\n", text);
	} else {
		fputs("; none is due\n", o->f);
	}
}

static void print_status(struct invocation *inv, const json_t *r)
{
	struct out *o = &inv->out;
	json_t *rows, *w;
	size_t i;

	print_head(o, r);
	if (strcmp(format_str(r, "state"), "empty") == 0)
		return;
	print_space(o, r);
	print_policy(o, r);
	print_safety(o, r);
	print_metadata(o, r);
	print_scrub(o, r);
	print_jobs(o, r);
	fputc('\n', o->f);
	rows = cli_disk_rows(json_object_get(r, "disks"));
	format_table(o, "  ", rows, columns, ARRAY_SIZE(columns));
	json_decref(rows);
	/* Here the warnings are what was asked for: they belong to the page. */
	json_array_foreach(inv->warnings, i, w) {
		fputs(i ? "  " : "\n  ", o->f);
		out_colour(o, YELLOW);
		fputs("Warning: ", o->f);
		out_colour(o, PLAIN);
		out_wrapped(o, "           ", 11, json_string_value(w));
	}
	inv->warnings = NULL;
}

/* A page of text over the one before: what is longer there is cleared away. */
static void draw(FILE *f, const char *text)
{
	fputs("\033[H", f);
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\033[K", f);
		fputc(*text, f);
	}
	fputs("\033[J", f);
	fflush(f);
}

/* Until it is interrupted, or the pool can't be asked. */
static int watch(struct invocation *inv)
{
	bool terminal = isatty(STDOUT_FILENO);
	FILE *real = inv->out.f;
	int code = CLI_DONE;

	while (code == CLI_DONE && !ferror(real)) {
		char *text = NULL;
		size_t size;

		inv->out.f = open_memstream(&text, &size);
		ASSERT(inv->out.f);
		code = cli_run_op(inv);
		fclose(inv->out.f);
		inv->out.f = real;
		if (terminal)
			draw(real, text);
		else
			fprintf(real, "%s\n", text);
		fflush(real);
		free(text);
		if (code == CLI_DONE)
			env_sleep_ms(WATCH_MS);
	}
	return code;
}

static int run_status(struct invocation *inv)
{
	if (!cli_flag(inv, "watch"))
		return cli_run_op(inv);
	if (inv->json)
		return cli_fail(inv, DFS_EUSAGE, "cannot watch with --json: ask again and again");
	return watch(inv);
}

static const struct command_option status_options[] = {
	{"watch", 0, OPT_FLAG, "watch", NULL, "show it anew each second, until interrupted"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

const struct command cli_status_command = {
	.name = "status",
	.summary = "how the pool is: health, space, disks, redundancy",
	.usage = "--pool DIR [--watch] [--json]",
	.about =
		"States: healthy; degraded (something is missing, all can be read); damaged (something\n"
		"can't be read); stalled (so many disks don't answer that the pool waits for them); failed\n"
		"(no change is accepted any more); empty (no disk yet).",
	.options = status_options,
	.op = "status",
	.run = run_status,
	.print = print_status,
};
