/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the simulated disks: what a disk holds, and how its changes become durable. */
#ifndef DFS_SIM_SIM_DISK_INTERNAL_H
#define DFS_SIM_SIM_DISK_INTERNAL_H

#include <sys/queue.h>

#include "sim/sim_disk.h"

#define PAGE_BYTES 4096u
#define SECTOR_BYTES 512u

struct undo {		   /* how to take one change of a node back */
	uint64_t off, len; /* what was written, punched or cut off */
	uint64_t old_size, new_size;
	uint8_t *old; /* bytes of [off, off+old_len) before */
	uint64_t old_len;
	uint8_t *fresh; /* while settling: bytes of [off, off+len) after */
	uint64_t id;
	TAILQ_ENTRY(undo) link;
};
TAILQ_HEAD(undo_list, undo);

struct node {
	uint8_t *data;
	uint64_t size, cap;
	uint8_t *pages; /* one for each page: has space */
	uint64_t pages_cap, pages_used;
	struct undo_list undo;
	bool named; /* while settling */
	bool in_place, is_ring;
	TAILQ_ENTRY(node) link;
};
TAILQ_HEAD(node_list, node);

struct name {
	char *path;
	struct node *node; /* NULL: a directory */
	TAILQ_ENTRY(name) link;
};
TAILQ_HEAD(name_list, name);

struct change { /* not durable yet; from and to are NULL where there is none */
	char *dir, *from, *to;
	struct node *node;
	bool is_dir;
	TAILQ_ENTRY(change) link;
};
TAILQ_HEAD(change_list, change);

struct sim_disk {
	char *name;
	uint64_t fs_id, total_bytes, others_bytes, used_pages, calls_to_change;
	bool can_punch, can_allocate, can_hang, copies_on_write, has_snapshot;
	void (*unlocked)(const char *name);
	struct sim_fault fault;
	struct name_list names, durable;
	struct change_list changes;
	struct node_list nodes;
};
/* ---- sim_store.c ---- */
struct node *node_new(struct sim_disk *d);
void node_free(struct sim_disk *d, struct node *n);
/* Its space is free at once, as far as anybody is told (a power cut may bring the name back). */
void node_drop_space(struct sim_disk *d, struct node *n);
void node_resize(struct sim_disk *d, struct node *n, uint64_t size);
/* Bytes [off, off+len) are about to be written: the size grows as far as need be. */
void node_extend(struct node *n, uint64_t off, uint64_t len);
void node_use_pages(struct sim_disk *d, struct node *n, uint64_t off, uint64_t len);
/* Gives back what is allocated beyond size. */
void node_trim(struct sim_disk *d, struct node *n, uint64_t size);
void node_set_page(struct sim_disk *d, struct node *n, uint64_t page, bool used);
/* Before bytes change: how to take it back. */
void undo_push(struct node *n, uint64_t off, uint64_t len, uint64_t new_size);
uint64_t undo_last_id(void);
uint64_t undo_count(void); /* changes that are not durable, of all disks */
/* Changes up to id are durable. */
void node_synced(struct node *n, uint64_t id);
/* What a power cut leaves of the node. */
void node_settle(struct sim_disk *d, struct node *n);

struct name *name_find(struct name_list *l, const char *path);
void name_put(struct name_list *l, const char *path, struct node *node);
char *dir_of(const char *path); /* the caller frees */
bool dir_exists(struct name_list *l, const char *dir);
/* A change of names, seen at once; from or to may be NULL. node: NULL for a directory. */
void name_change(struct sim_disk *d, const char *from, const char *to, struct node *node);
/* The first count changes of names in dir become durable. */
void dir_synced(struct sim_disk *d, const char *dir, uint64_t count);
void names_clear(struct sim_disk *d);
void disk_settle(struct sim_disk *d);

extern struct rng sim_disk_rng;
extern struct sim_disk_stats sim_disk_stats;

/* ---- sim_dev.c ---- */
extern const struct dev_ops sim_dev_ops;
struct sim_dev {
	struct dev dev;
	struct sim_disk *disk;
	bool is_locked;
};
void sim_ops_reset(void);
void sim_ops_disarm(void);

#endif
