/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a command: find it, parse, ask ctl/, print, exit. The exit codes' table is here. Messages
 * go to stderr, results to stdout; with --json stdout holds exactly one object, on failure too. No locks.
 */
#include "cli/command.h"

#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "ctl/ctl.h"

int cli_exit_code(int err)
{
	switch (err) {
	case 0:
		return CLI_DONE;
	case DFS_EUSAGE:
	case DFS_EINVAL:
		return CLI_USAGE;
	case DFS_ENOTPOOL:
	case DFS_ENODISK:
	case DFS_EGONE:
		return CLI_NO_POOL;
	case DFS_ELOCKED:
	case DFS_EBUSY:
		return CLI_BUSY;
	case DFS_EDAMAGED:
	case DFS_ECORRUPT:
	case DFS_ECHECKSUM:
	case DFS_EJOURNAL:
		return CLI_DAMAGE;
	case DFS_EREFUSED:
	case DFS_ENOQUORUM:
	case DFS_ESTALE:
	case DFS_ESPLIT:
	case DFS_EUNREAD:
		return CLI_REFUSED;
	default:
		return CLI_FAILED;
	}
}

static void tell(const struct invocation *inv, const char *kind, const char *text)
{
	struct out o;

	out_init(&o, stderr);
	fprintf(stderr, "dynamicfs%s%s: ", inv->cmd ? " " : "", inv->cmd ? inv->cmd->name : "");
	if (kind) {
		out_colour(&o, YELLOW);
		fprintf(stderr, "%s", kind);
		out_colour(&o, PLAIN);
		fputs(": ", stderr);
	}
	out_text(&o, text);
	fputc('\n', stderr);
}

void cli_warn(struct invocation *inv, const char *text) { tell(inv, "warning", text); }

static void print_json(struct out *o, json_t *j)
{
	json_dumpf(j, o->f, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', o->f);
}

static void print_json_answer(struct invocation *inv, int err, const char *message, json_t *result,
			      json_t *warnings)
{
	json_t *all = result ? json_copy(result) : json_object();

	if (err) {
		json_t *e = json_object();

		json_object_set_new(e, "code", json_string(dfs_err_name(err)));
		json_object_set_new(e, "exit_code", json_integer(cli_exit_code(err)));
		json_object_set_new(e, "message", ctl_json_text(message));
		json_object_set_new(all, "error", e);
	}
	if (warnings)
		json_object_set(all, "warnings", warnings);
	else
		json_object_set_new(all, "warnings", json_array());
	print_json(&inv->out, all);
	json_decref(all);
}

int cli_finish(struct invocation *inv, int err, const char *message, json_t *result,
	       json_t *warnings)
{
	const json_t *w;
	size_t i;

	if (err)
		tell(inv, NULL, message);
	if (inv->json) {
		print_json_answer(inv, err, message, result, warnings);
	} else {
		inv->warnings = warnings;
		/* A failure with a result is one that found something: damage. */
		if (result && inv->cmd->print && (!err || cli_exit_code(err) == CLI_DAMAGE))
			inv->cmd->print(inv, result);
		json_array_foreach(inv->warnings, i, w)
			cli_warn(inv, json_string_value(w));
		inv->warnings = NULL;
	}
	/* A full disk or a closed pipe must not look like success. */
	if (fflush(inv->out.f) != 0 || ferror(inv->out.f)) {
		tell(inv, NULL, "cannot write the output");
		return err ? cli_exit_code(err) : CLI_FAILED;
	}
	return cli_exit_code(err);
}

int cli_fail(struct invocation *inv, int err, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return cli_finish(inv, err, text, NULL, NULL);
}

const char *cli_arg(const struct invocation *inv, const char *key)
{
	return json_string_value(json_object_get(inv->args, key));
}

bool cli_flag(const struct invocation *inv, const char *key)
{
	return json_is_true(json_object_get(inv->args, key));
}

char *cli_path(const struct invocation *inv, const char *key)
{
	return ctl_path_from_json(json_object_get(inv->args, key));
}

/* No --pool: the pool whose mount holds the path that the command is about, or where we stand. */
static void guess_pool(struct invocation *inv)
{
	FREE char *path = cli_path(inv, "path_abs");
	struct ctl_mount m;
	int err;

	if (!path)
		path = cli_abs_path(".");
	err = ctl_mount_of(path, &m);
	if (err)
		return;
	if (m.pool_dir[0] == '/')
		inv->pool = xstrdup(m.pool_dir);
	ctl_mount_release(&m);
}

/* One line on a terminal, written over again and again. */
static void show_progress(void *ctx, const char *text)
{
	struct invocation *inv = ctx;

	inv->progress_shown = true;
	fprintf(stderr, "\rdynamicfs %s: %s\033[K", inv->cmd->name, text);
	fflush(stderr);
}

int cli_run_op(struct invocation *inv)
{
	struct ctl_answer a;
	int code;

	if (!inv->pool && !inv->cmd->no_pool)
		guess_pool(inv);
	if (!inv->pool && !inv->cmd->no_pool)
		return cli_fail(
			inv, DFS_EUSAGE,
			"cannot go on: which pool? Name it with --pool DIR or DYNAMICFS_POOL");
	if (isatty(STDERR_FILENO))
		ctl_set_progress(show_progress, inv);
	(void)ctl_run(inv->pool, inv->op ? inv->op : inv->cmd->op, inv->args,
		      &a); /* a.error has it */
	if (inv->progress_shown)
		fputs("\r\033[K", stderr);
	inv->progress_shown = false;
	ctl_set_progress(NULL, NULL);
	code = cli_waits(inv, &a) ? cli_finish_waiting(inv, &a)
				  : cli_finish(inv, a.error, a.message, a.result, a.warnings);
	ctl_answer_release(&a);
	return code;
}

static int run_command(const struct command *cmd, int argc, char **argv)
{
	struct invocation inv = {.cmd = cmd, .args = json_object()};
	int code;

	out_init(&inv.out, stdout);
	code = cli_parse(&inv, argc, argv);
	if (code == CLI_DONE && cmd->prepare)
		code = cmd->prepare(&inv);
	if (code == CLI_DONE)
		code = cmd->run ? cmd->run(&inv) : cli_run_op(&inv);
	free(inv.pool);
	json_decref(inv.args);
	return code < 0 ? CLI_DONE : code; /* -1: help was printed */
}

/* ---- help and version ---- */

static const struct command *const *extra_commands;

static const struct command *const *group(unsigned i)
{
	switch (i) {
	case 0:
		return cli_pool_commands;
	case 1:
		return extra_commands;
	case 2:
		return cli_file_commands;
	default:
		return cli_check_commands;
	}
}

static const struct command *find(const char *name)
{
	for (unsigned g = 0; g < 4; g++)
		for (const struct command *const *c = group(g); *c; c++)
			if (strcmp((*c)->name, name) == 0)
				return *c;
	return NULL;
}

static void print_overview(struct out *o)
{
	static const char *const titles[] = {"pool and disks", "mounting", "files",
					     "checking and looking inside"};

	fputs("DynamicFS pools directories of any size into one filesystem that survives disks.\n\n"
	      "usage: dynamicfs COMMAND [OPTION...]\n",
	      o->f);
	for (unsigned g = 0; g < 4; g++) {
		fprintf(o->f, "\n%s:\n", titles[g]);
		for (const struct command *const *c = group(g); *c; c++)
			fprintf(o->f, "  %-16s %s\n", (*c)->name, (*c)->summary);
	}
	fputs("\n'dynamicfs help COMMAND' says more. --pool may come from DYNAMICFS_POOL.\n"
	      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such pool or disk, 4 busy,\n"
	      "5 damage found, 6 refused without --force.\n",
	      o->f);
}

static int run_help(struct invocation *inv)
{
	const struct command *cmd;

	if (inv->word_count == 0) {
		if (inv->json)
			return cli_fail(inv, DFS_EUSAGE, "cannot print the help as JSON");
		print_overview(&inv->out);
		return CLI_DONE;
	}
	cmd = find(inv->words[0]);
	if (!cmd)
		return cli_fail(
			inv, DFS_EUSAGE,
			"cannot explain '%s': there is no such command; 'dynamicfs help' lists "
			"them",
			inv->words[0]);
	cli_print_help(&inv->out, cmd);
	return CLI_DONE;
}

static void print_version(struct invocation *inv, const json_t *result)
{
	fprintf(inv->out.f, "dynamicfs %s\n", format_str(result, "version"));
}

static int run_version(struct invocation *inv)
{
	json_t *o = json_object();
	int code;

	json_object_set_new(o, "program", json_string("dynamicfs"));
	json_object_set_new(o, "version", json_string(DFS_VERSION));
	code = cli_finish(inv, 0, "", o, NULL);
	json_decref(o);
	return code;
}

const struct command cli_help_command = {
	.name = "help",
	.summary = "explain the program or a command",
	.usage = "[COMMAND]",
	.max_words = 1,
	.no_pool = true,
	.run = run_help,
};

const struct command cli_version_command = {
	.name = "version",
	.summary = "print the version",
	.usage = "[--json]",
	.no_pool = true,
	.print = print_version,
	.run = run_version,
};

int cli_main(int argc, char **argv, const struct command *const *extra)
{
	const char *name = argc > 1 ? argv[1] : "help";
	const struct command *cmd;

	(void)setlocale(LC_CTYPE, ""); /* without one, text is plain ASCII */
	/* What a command finds, it says itself; the log of the daemon has the rest. */
	log_set_level(getenv("DYNAMICFS_DEBUG") ? LOG_DEBUG : LOG_ERROR);
	limits_raise();
	extra_commands = extra;
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	cmd = find(name);
	if (!cmd) {
		struct invocation inv = {.json = false};
		char text[256];

		out_init(&inv.out, stdout);
		snprintf(text, sizeof(text), "'%.100s' is no command; 'dynamicfs help' lists them",
			 name);
		return cli_finish(&inv, DFS_EUSAGE, text, NULL, NULL);
	}
	return run_command(cmd, argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
}
