/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a job (P11): asks every half second how far it is. On a terminal one line is drawn again and again; else a
 * line is written when its state changes and every ten seconds. The job goes on when the waiting is broken off. No locks.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/env.h"
#include "cli/command.h"
#include "ctl/ctl.h"

#define POLL_MS 500u
#define TELL_MS 10000u
#define WIDTH_DEFAULT 80u
#define BAR_WIDTH 20u

struct waiting {
	struct invocation *inv;
	struct out o; /* stderr */
	bool terminal;
	char said[512];	    /* the state and reason told last */
	unsigned silent_ms; /* since a line was written */
};

static unsigned screen_width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col
									  : WIDTH_DEFAULT;
}

/* "running, 45%, 20 MiB of 44 MiB, 5 MiB/s, 5 s left". The caller frees. */
static char *describe(const json_t *job)
{
	struct out o = {0};
	char *text = NULL;
	size_t size;

	o.f = open_memstream(&text, &size);
	ASSERT(o.f);
	fputs(format_str(job, "state"), o.f);
	if (strcmp(format_str(job, "state"), "done") != 0)
		cli_print_progress(&o, job);
	if (format_str(job, "reason")[0]) {
		fputs(": ", o.f);
		out_text(&o, format_str(job, "reason"));
	}
	fclose(o.f);
	return text;
}

static void draw(struct waiting *w, const json_t *job)
{
	unsigned width = screen_width(), used;
	uint64_t total = format_u64(job, "total_bytes");
	FREE char *text = describe(job);

	fputs("\r\033[K", w->o.f);
	used = (unsigned)fprintf(w->o.f, "dynamicfs %s: ", w->inv->cmd->name);
	if (total && used + BAR_WIDTH + 10 < width) {
		out_bar(&w->o, (double)format_u64(job, "done_bytes") / (double)total, BAR_WIDTH);
		fputc(' ', w->o.f);
		used += BAR_WIDTH + 3; /* with its brackets */
	}
	if (used < width)
		fprintf(w->o.f, "%.*s", (int)(width - used - 1), text);
	fflush(w->o.f);
	w->inv->progress_shown = true;
}

static void tell(struct waiting *w, const json_t *job)
{
	FREE char *text = describe(job);
	FREE char *now = xasprintf("%s %s", format_str(job, "state"), format_str(job, "reason"));

	if (w->terminal) {
		draw(w, job);
		return;
	}
	w->silent_ms += POLL_MS;
	if (strncmp(now, w->said, sizeof(w->said) - 1) == 0 && w->silent_ms < TELL_MS)
		return;
	snprintf(w->said, sizeof(w->said), "%s", now);
	w->silent_ms = 0;
	fprintf(w->o.f, "dynamicfs %s: %s\n", w->inv->cmd->name, text);
}

/* 0: it goes on. DFS_EEND: it is over, or else why it can't be waited for; a is the answer then. */
static int look(struct waiting *w, uint64_t id, struct ctl_answer *a)
{
	json_t *args = json_pack("{s:I}", "id", (json_int_t)id);
	const json_t *job;
	const char *state;

	(void)ctl_run(w->inv->pool, "jobs", args, a); /* a->error has it */
	json_decref(args);
	if (a->error)
		return a->error;
	job = json_array_get(json_object_get(a->result, "jobs"), 0);
	state = format_str(job, "state");
	if (strcmp(state, "done") == 0)
		return DFS_EEND;
	if (strcmp(state, "cancelled") == 0) {
		snprintf(a->message, sizeof(a->message), "job %llu was cancelled before its end",
			 (unsigned long long)id);
		a->error = DFS_EEND;
	} else if (!json_is_true(json_object_get(a->result, "running"))) {
		snprintf(
			a->message, sizeof(a->message),
			"cannot wait for job %llu: the pool is not mounted, so nothing runs; it goes on "
			"with the next mount",
			(unsigned long long)id);
		a->error = DFS_EBUSY;
	} else {
		tell(w, job);
	}
	return a->error;
}

/* Until it is over. a is the last answer about it; its error is 0 when the job is done. */
static void wait_for(struct invocation *inv, uint64_t id, struct ctl_answer *a)
{
	struct waiting w = {.inv = inv, .terminal = isatty(STDERR_FILENO)};

	out_init(&w.o, stderr);
	while (look(&w, id, a) == 0) {
		ctl_answer_release(a);
		env_sleep_ms(POLL_MS);
	}
	if (inv->progress_shown)
		fputs("\r\033[K", stderr);
	inv->progress_shown = false;
}

bool cli_waits(const struct invocation *inv, const struct ctl_answer *a)
{
	return !a->error && cli_flag(inv, "wait") &&
	       json_is_integer(json_object_get(a->result, "job"));
}

int cli_finish_waiting(struct invocation *inv, struct ctl_answer *a)
{
	uint64_t id = format_u64(a->result, "job");
	struct ctl_answer end;
	json_t *job;
	int code;

	/* A person reads meanwhile what was begun; --json prints one object, at the end. */
	code = inv->json ? CLI_DONE : cli_finish(inv, 0, "", a->result, a->warnings);
	if (code != CLI_DONE)
		return code;
	wait_for(inv, id, &end);
	job = json_array_get(json_object_get(end.result, "jobs"), 0);
	if (job)
		json_object_set(a->result, "outcome", job);
	if (!end.error && job && inv->cmd->judge)
		end.error = inv->cmd->judge(job, end.message, sizeof(end.message));
	if (inv->json) {
		code = cli_finish(inv, end.error, end.message, a->result, a->warnings);
	} else if (inv->cmd->judge && job && (!end.error || end.error == DFS_EDAMAGED)) {
		code = cli_finish(inv, end.error, end.message, a->result, NULL);
	} else if (end.error) {
		code = cli_finish(inv, end.error, end.message, NULL, NULL);
	} else {
		fprintf(inv->out.f, "Job %llu is done", (unsigned long long)id);
		if (format_str(job, "reason")[0]) {
			fputs(": ", inv->out.f);
			out_text(&inv->out, format_str(job, "reason"));
		}
		fputs(".\n", inv->out.f);
		code = cli_finish(inv, 0, "", NULL, NULL);
	}
	ctl_answer_release(&end);
	return code;
}
