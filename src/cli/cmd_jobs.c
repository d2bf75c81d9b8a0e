/* SPDX-License-Identifier: Apache-2.0 */
/* The command jobs: the pool's background work, and orders to it. No locks. */
#include <stdlib.h>
#include <string.h>

#include "base/words.h"
#include "cli/command.h"
#include "ctl/ctl.h"

void cli_print_progress(struct out *o, const json_t *job)
{
	char text[FORMAT_VALUE_BYTES];
	uint64_t total = format_u64(job, "total_bytes"), done = format_u64(job, "done_bytes");

	if (format_u64(job, "due_in_s")) {
		format_seconds(format_u64(job, "due_in_s"), text);
		fprintf(o->f, " for %s", text);
	}
	if (!total)
		return;
	format_bytes(done, text);
	fprintf(o->f, ", %.0f%%, %s of ", 100.0 * (double)done / (double)total, text);
	format_bytes(total, text);
	fputs(text, o->f);
	if (!format_u64(job, "bytes_per_s"))
		return;
	format_bytes(format_u64(job, "bytes_per_s"), text);
	fprintf(o->f, ", %s/s", text);
	format_seconds(format_u64(job, "left_s"), text);
	fprintf(o->f, ", %s left", text);
}

static void print_reason(struct out *o, const json_t *job)
{
	if (!format_str(job, "reason")[0])
		return;
	fputs("   ", o->f);
	out_wrapped(o, "   ", 3, format_str(job, "reason"));
}

static void print_job(struct out *o, const json_t *job)
{
	char text[FORMAT_VALUE_BYTES];
	uint64_t total = format_u64(job, "total_bytes");

	fprintf(o->f, "%llu  %s", (unsigned long long)format_u64(job, "id"),
		format_str(job, "kind"));
	if (format_str(job, "disk")[0]) {
		fputs(" of ", o->f);
		out_text(o, format_str(job, "disk"));
	}
	fprintf(o->f, ": %s", format_str(job, "state"));
	if (strcmp(format_str(job, "state"), "done") == 0) {
		format_number(format_u64(job, "fragments"), text);
		fprintf(o->f, ", %s %s made anew", text,
			plural(format_u64(job, "fragments"), "fragment was", "fragments were"));
		if (strcmp(format_str(job, "kind"), "scrub") == 0)
			fprintf(o->f, ", %llu %s",
				(unsigned long long)format_u64(job, "stuck_extents"),
				plural(format_u64(job, "stuck_extents"), "problem stays",
				       "problems stay"));
		fputc('\n', o->f);
		print_reason(o, job);
		return;
	}
	cli_print_progress(o, job);
	fputc('\n', o->f);
	if (total) {
		fputs("   ", o->f);
		out_bar(o, (double)format_u64(job, "done_bytes") / (double)total, 30);
		fputc('\n', o->f);
	}
	print_reason(o, job);
}

static void print_jobs(struct invocation *inv, const json_t *r)
{
	const json_t *job;
	size_t i;

	json_array_foreach(format_get(r, "jobs"), i, job)
		print_job(&inv->out, job);
	if (json_array_size(format_get(r, "jobs")) == 0)
		fputs("There is no background work.\n", inv->out.f);
	else if (!json_is_true(format_get(r, "running")))
		fputs("The pool is not mounted: nothing of this runs now.\n", inv->out.f);
}

/* jobs [pause|resume|cancel|wait ID] */
static int prepare_jobs(struct invocation *inv)
{
	unsigned long long id;
	char *end;

	if (inv->word_count == 0)
		return CLI_DONE;
	if (inv->word_count == 1)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: which job? usage: dynamicfs jobs %s",
				inv->cmd->usage);
	id = strtoull(inv->words[1], &end, 10);
	if (*end || id == 0 || id > UINT32_MAX)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: '%s' is no number of a job; see 'dynamicfs jobs'",
				inv->words[1]);
	json_object_set_new(inv->args, "id", json_integer((json_int_t)id));
	if (strcmp(inv->words[0], "wait") == 0) {
		json_object_set_new(inv->args, "wait", json_true());
		return CLI_DONE;
	}
	inv->op = "order-job";
	json_object_set_new(inv->args, "order", ctl_json_text(inv->words[0]));
	return CLI_DONE;
}

const struct command cli_jobs_command = {
	.name = "jobs",
	.summary = "show the pool's background work; pause, resume or cancel it, or wait for it",
	.usage = "--pool DIR [pause ID | resume ID | cancel ID | wait ID] [--json]",
	.about =
		"A disk that is given up, or that stays away, is rebuilt on the others: 'set --rebuild-after'\n"
		"says how long that waits, 'set --background-rate' how much it writes in a second. 'wait' ends\n"
		"when the job does: exit code 0 when it is done, 1 when it was cancelled.",
	.max_words = 2,
	.op = "jobs",
	.prepare = prepare_jobs,
	.print = print_jobs,
};
