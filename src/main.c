/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: the cli's table of commands joined with the daemon's. Called with two paths, as
 * libfuse's mount.fuse does ("dynamicfs POOL MOUNTPOINT -o ..."), it is the command mount.
 */
#include <string.h>
#include <sys/stat.h>

#include "cli/command.h"
#include "daemon/cmd_mount.h"

#define MAX_ARGS 1024

int main(int argc, char **argv)
{
	static char mount_word[] = "mount";
	char *args[MAX_ARGS + 2];

	(void)umask(umask(0077) & 0077); /* their owner can always use the pool's files */

	if (argc < 3 || argv[1][0] != '/' || argc > MAX_ARGS)
		return cli_main(argc, argv, daemon_commands);
	args[0] = argv[0];
	args[1] = mount_word;
	memcpy(&args[2], &argv[1], (size_t)argc * sizeof(*argv)); /* the ending NULL, too */
	return cli_main(argc + 1, args, daemon_commands);
}
