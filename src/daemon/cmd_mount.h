/* SPDX-License-Identifier: Apache-2.0 */
/* The commands mount and unmount, for main.c to put into the program's table. */
#ifndef DFS_DAEMON_CMD_MOUNT_H
#define DFS_DAEMON_CMD_MOUNT_H

#include "cli/command.h"

extern const struct command *const daemon_commands[]; /* NULL-ended */

#endif
