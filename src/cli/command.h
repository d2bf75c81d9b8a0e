/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of the program is a struct in a table: its name, its options and what it does. Options
 * become JSON arguments by the table alone; most commands are one operation of ctl/ plus a printer.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such pool or disk, 4 busy, 5 damage found,
 * 6 refused without --force.
 */
#ifndef DFS_CLI_COMMAND_H
#define DFS_CLI_COMMAND_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"
#include "cli/format.h"

enum cli_exit {
	CLI_DONE = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,
	CLI_NO_POOL = 3,
	CLI_BUSY = 4,
	CLI_DAMAGE = 5,
	CLI_REFUSED = 6,
};

enum option_kind {
	OPT_FLAG,     /* true */
	OPT_TEXT,     /* as it is */
	OPT_PATH,     /* made absolute */
	OPT_PATHS,    /* may be repeated; an array */
	OPT_PLACE,    /* a disk: as it is, and made absolute as KEY_abs */
	OPT_SIZE,     /* 10G, 1.5T, 500MiB, bytes */
	OPT_RATE,     /* a size in each second, or "unlimited": 0 */
	OPT_DURATION, /* 90s, 15m, 2h, 30d: seconds */
	OPT_NUMBER,   /* 0.. */
	OPT_ONOFF,    /* on, off */
	OPT_GEOMETRY, /* 4+2, rs:4+2, replica:3 */
	OPT_POLICY,   /* replica:3 (everything), rs:4+2 (large files): sets "large" and "copies" */
	OPT_APPEND,   /* may be repeated; joined by commas */
};
struct command_option {
	const char *name; /* long, without the dashes */
	char letter;	  /* 0: none */
	enum option_kind kind;
	const char *key; /* in the arguments */
	const char *arg; /* what the help calls the value */
	const char *help;
};

struct invocation;
struct command {
	const char *name;
	const char *summary;		      /* one line */
	const char *usage;		      /* what follows the name */
	const char *about;		      /* paragraphs of the help; NULL: none */
	const struct command_option *options; /* ends with a NULL name; NULL: none */
	const char *const *required;	      /* names of options that must be there; NULL-ended */
	unsigned max_words;		      /* operands */
	bool no_pool;			      /* does not take --pool */
	const char *op;			      /* operation of ctl/ */
	/* Before the operation: operands to arguments. Returns CLI_DONE or what to exit with. */
	int (*prepare)(struct invocation *inv);
	/* The human form of the result (not called with --json). */
	void (*print)(struct invocation *inv, const json_t *result);
	/* Of a job that was waited for, as it ended: 0, or a DFS_ code and why. NULL: 0. */
	int (*judge)(const json_t *job, char *message, size_t size);
	/* Instead of op: does all of it and returns the exit code. */
	int (*run)(struct invocation *inv);
};

struct invocation {
	const struct command *cmd;
	const char *op;	  /* NULL: cmd->op; prepare() may choose another */
	char *pool;	  /* absolute; NULL when not given */
	bool pool_silent; /* its filesystem does not answer */
	bool json;
	json_t *args;
	char **words; /* operands */
	unsigned word_count;
	json_t *warnings; /* of the answer; borrowed while printing; may be NULL */
	struct out out;
	bool progress_shown; /* a line of it stands on the terminal */
};

/* The exit code of a DFS_ code: the one table. */
int cli_exit_code(int err);
/* Tells the failure (on stderr; with --json also as an object on stdout). Returns the exit code. */
int cli_fail(struct invocation *inv, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* As cli_fail with an answer's result (may be NULL) and warnings: borrowed. */
int cli_finish(struct invocation *inv, int err, const char *message, json_t *result,
	       json_t *warnings);
void cli_warn(struct invocation *inv, const char *text);
/* Absolute, symlinks resolved as far as the path exists and its filesystem answers. The caller frees. */
char *cli_abs_path(const char *path);
/* The same. *ret_silent: its filesystem does not. */
char *cli_abs_path_telling(const char *path, bool *ret_silent);
/* An option's value from the arguments; NULL or false when absent. */
const char *cli_arg(const struct invocation *inv, const char *key);
bool cli_flag(const struct invocation *inv, const char *key);
/* A path argument. The caller frees. NULL when absent. */
char *cli_path(const struct invocation *inv, const char *key);

/* Parses argv (argv[0] is the command's name) by inv->cmd's table. CLI_DONE or CLI_USAGE (told). */
int cli_parse(struct invocation *inv, int argc, char **argv);
/* "10G" -> bytes. 0 or DFS_EINVAL. */
MUST_USE int cli_parse_size(const char *text, uint64_t *ret_bytes);

/* Runs the program with the cli's commands and `extra` (NULL-ended): main()'s whole work. */
int cli_main(int argc, char **argv, const struct command *const *extra);
void cli_print_help(struct out *o, const struct command *cmd);

/*
 * An operation that begins a job names it in its result ("job": ID). With a flag `wait` among the arguments the command ends when the
 * job does: cli_waits() says that it is so, cli_finish_waiting() prints, waits and returns the exit code. With --json the job as it ended
 * is in the result as "outcome".
 */
struct ctl_answer;
bool cli_waits(const struct invocation *inv, const struct ctl_answer *a);
int cli_finish_waiting(struct invocation *inv, struct ctl_answer *a);
/* The command's operation, and what it prints: what most commands do. */
int cli_run_op(struct invocation *inv);
/* How far a job is: ", 45%, 20 MiB of 44 MiB, 5 MiB/s, 5 s left". */
void cli_print_progress(struct out *o, const json_t *job);
/* Rows of disks as tables show them: one that is not there is "absent", whatever its stored state. The
 * caller owns the result. */
json_t *cli_disk_rows(const json_t *disks);

extern const struct command cli_rescue_command, cli_metrics_command, cli_detect_orphans_command,
	cli_cleanup_orphans_command, cli_orphan_stats_command;
extern const struct command cli_scrub_command, cli_audit_command;
extern const struct command cli_probe_command, cli_set_health_command;
extern const struct command cli_remove_command, cli_replace_command, cli_rebalance_command;
extern const struct command cli_jobs_command, cli_status_command, cli_help_command,
	cli_version_command;
extern const struct command *const cli_pool_commands[];	 /* NULL-ended */
extern const struct command *const cli_file_commands[];	 /* NULL-ended */
extern const struct command *const cli_check_commands[]; /* NULL-ended */

#endif
