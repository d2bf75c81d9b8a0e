/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands mount and unmount. They are with the daemon because they need FUSE, which the other
 * commands never load into their work; their command line is made of the cli's table all the same.
 */
#include "daemon/cmd_mount.h"

#include <stdlib.h>

#include "ctl/ctl.h"
#include "daemon/daemon.h"

/* mount(8) and fstab give the pool and the mountpoint as operands. */
static int prepare_mount(struct invocation *inv)
{
	FREE char *mountpoint = NULL;
	unsigned used = 0;

	if (inv->word_count == 2) {
		free(inv->pool);
		inv->pool = cli_abs_path(inv->words[used++]);
	}
	if (inv->word_count > used) {
		mountpoint = cli_abs_path(inv->words[used]);
		json_object_set_new(inv->args, "mountpoint", ctl_json_path(mountpoint));
	}
	if (!inv->pool)
		return cli_fail(
			inv, DFS_EUSAGE,
			"cannot mount: which pool? Name it with --pool DIR or DYNAMICFS_POOL");
	if (!json_object_get(inv->args, "mountpoint"))
		return cli_fail(inv, DFS_EUSAGE,
				"cannot mount: where? Name it with --mountpoint DIR");
	return CLI_DONE;
}

static json_t *warning_of(const struct pool_message *msg)
{
	json_t *w = json_array();

	if (msg->text[0])
		json_array_append_new(w, ctl_json_text(msg->text));
	return w;
}

static void print_mount(struct invocation *inv, const json_t *r)
{
	const char *options = cli_arg(inv, "options");

	if (cli_flag(inv, "foreground"))
		return; /* it has ended by now */
	fputs(options && strstr(options, "remount") ? "Changed the mount of " : "Mounted ",
	      inv->out.f);
	out_text(&inv->out, format_str(r, "path"));
	fputs(" at ", inv->out.f);
	out_text(&inv->out, format_str(r, "mountpoint"));
	fputs(".\n", inv->out.f);
}

static int run_mount(struct invocation *inv)
{
	FREE char *mountpoint = cli_path(inv, "mountpoint");
	struct daemon_options opt = {
		.pool_dir = inv->pool,
		.mountpoint = mountpoint,
		.fuse_opts = cli_arg(inv, "options"),
		.foreground = cli_flag(inv, "foreground"),
		.read_only = cli_flag(inv, "read_only"),
		.force = cli_flag(inv, "force"),
		.verbose = cli_flag(inv, "verbose"),
	};
	struct pool_message msg = {.text = ""};
	json_t *result, *warnings;
	int code, err = daemon_mount(&opt, &msg);

	if (err)
		return cli_fail(inv, err, "%s", msg.text[0] ? msg.text : dfs_err_text(err));
	result = json_object();
	json_object_set_new(result, "path", ctl_json_text(inv->pool));
	json_object_set_new(result, "mountpoint", ctl_json_text(mountpoint));
	warnings = warning_of(&msg);
	code = cli_finish(inv, 0, "", result, warnings);
	json_decref(warnings);
	json_decref(result);
	return code;
}

static int run_unmount(struct invocation *inv)
{
	FREE char *mountpoint = cli_path(inv, "mountpoint");
	struct daemon_unmount_options opt = {.pool_dir = inv->pool,
					     .force = cli_flag(inv, "force")};
	struct pool_message msg = {.text = ""};
	char *was_at = NULL;
	json_t *result, *warnings;
	int err, code;

	if (!mountpoint && inv->word_count)
		mountpoint = cli_abs_path(inv->words[0]);
	if (!mountpoint && !inv->pool)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot unmount: name the mountpoint with --mountpoint DIR");
	opt.mountpoint = mountpoint;
	err = daemon_unmount(&opt, &was_at, &msg);
	if (was_at) {
		free(mountpoint);
		mountpoint = was_at;
	}
	if (err)
		return cli_fail(inv, err == DFS_EINVAL ? DFS_ENOENT : err, "%s",
				msg.text[0] ? msg.text : dfs_err_text(err));
	result = json_object();
	json_object_set_new(result, "mountpoint", ctl_json_text(mountpoint));
	warnings = warning_of(&msg);
	code = cli_finish(inv, 0, "", result, warnings);
	json_decref(warnings);
	json_decref(result);
	return code;
}

static void print_unmount(struct invocation *inv, const json_t *r)
{
	fputs("Unmounted ", inv->out.f);
	out_text(&inv->out, format_str(r, "mountpoint"));
	/* With a warning that is not so, or not known. */
	fputs(json_array_size(inv->warnings) ? ".\n" : "; everything is stored.\n", inv->out.f);
}

static const struct command_option mount_options[] = {
	{"mountpoint", 0, OPT_PATH, "mountpoint", "DIR", "an empty directory"},
	{"foreground", 'f', OPT_FLAG, "foreground", NULL, "stay here; log to stderr, too"},
	{"options", 'o', OPT_APPEND, "options", "OPTIONS", "as for mount(8): ro, allow_other, ..."},
	{"read-only", 'r', OPT_FLAG, "read_only", NULL, "write nothing to the disks (-o ro)"},
	{"force", 0, OPT_FLAG, "force", NULL, "though the newest state can't be known for sure"},
	{"verbose", 'v', OPT_FLAG, "verbose", NULL, "log more"},
	{"rw", 'w', OPT_FLAG, "rw", NULL, "the default (mount(8) says so)"},
	{"sloppy", 's', OPT_FLAG, "sloppy", NULL, "for mount(8); has no effect"},
	{"no-mtab", 'n', OPT_FLAG, "no_mtab", NULL, "for mount(8); has no effect"},
	{"type", 't', OPT_TEXT, "type", "TYPE", "for mount(8); has no effect"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option unmount_options[] = {
	{"mountpoint", 0, OPT_PATH, "mountpoint", "DIR", "where it is mounted"},
	{"force", 0, OPT_FLAG, "force", NULL, "though files there are open"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};

static const struct command mount_command = {
	.name = "mount",
	.summary = "mount a pool",
	.usage = "--pool DIR --mountpoint DIR [--foreground] [--read-only] [--force] [--verbose]\n"
		 "         [-o OPTIONS]",
	.about =
		"Returns when the filesystem answers; the daemon logs to the pool's log. Options of its\n"
		"own after -o: ro, rw, foreground, force, dirty_limit=SIZE, flush_interval=MS,\n"
		"io_timeout=MS, smart_interval=SECONDS, seal_workers=N, inode_cache=N, name_cache=SIZE,\n"
		"read_ahead=KIB, remount.\n"
		"Works as 'mount -t fuse.dynamicfs POOL MOUNTPOINT' and from fstab, too.",
	.options = mount_options,
	.max_words = 2,
	.prepare = prepare_mount,
	.print = print_mount,
	.run = run_mount,
};
static const struct command unmount_command = {
	.name = "unmount",
	.summary = "unmount a pool and wait until all is stored",
	.usage = "--mountpoint DIR | --pool DIR [--force]",
	.options = unmount_options,
	.max_words = 1,
	.print = print_unmount,
	.run = run_unmount,
};

const struct command *const daemon_commands[] = {&mount_command, &unmount_command, NULL};
