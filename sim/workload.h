/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the workload. */
#ifndef DFS_SIM_WORKLOAD_H
#define DFS_SIM_WORKLOAD_H

#include "sim/run.h"

/* Each gives one reference. */
struct inode *client_dir(struct client *c, struct mnode *dir);
struct inode *client_file(struct client *c, struct mnode **ret_node); /* NULL: there is none */
/* False when the error is one that the faults explain; else ends the run on a difference. */
bool client_expect(struct client *c, const char *what, int err, int want);

void client_write(struct client *c);
void client_scatter(struct client *c);
void client_truncate(struct client *c);
void client_punch(struct client *c);
void client_read(struct client *c);
void client_seek(struct client *c);
void client_fsync(struct client *c);
void client_sync_all(struct client *c);
void client_think(struct client *c);

/* workload_peer.c: syncs and reads a client's files beside it. */
void peer_main(void *client);

#endif
