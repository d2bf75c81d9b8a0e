/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the filesystem must show: one model for each client, which owns one directory of the top.
 *
 * Names: a history of operations, each with the hash of the tree after it and the way to undo it.
 * After a crash the tree must be the one after some operation of the history (P2), at or beyond
 * the last one known durable (P1). An operation in flight is the last of the history.
 *
 * Data: for each file the bytes known durable (base) and the operations since. After a crash each
 * byte must have a value that it had in base or after one of those operations, and the size must
 * lie between the least and the greatest (P1, F2). Both together: a byte or a size that only a later
 * operation explains proves that all truncations and zeroings before it have happened, and then
 * nothing that they took away may be there.
 */
#ifndef DFS_SIM_MODEL_H
#define DFS_SIM_MODEL_H

#include <sys/queue.h>

#include "base/le.h"
#include "base/types.h"

#define MODEL_XATTRS 3u
#define MODEL_MAX_SIZE MIB(3)

struct mnode;
struct mentry {
	char name[32];
	struct mnode *node;
	TAILQ_ENTRY(mentry) link;
};
struct mxattr {
	bool set;
	uint64_t seed; /* the value is model_fill(seed) */
	uint32_t len;
};
enum mdata_kind {
	MDATA_WRITE,
	MDATA_SIZE, /* truncate, up or down */
	MDATA_ZERO  /* punch or zero: bytes within the size become zeros */
};
struct mdata_op {
	enum mdata_kind kind;
	uint64_t off, len, seed; /* size: off is the new one */
};
struct mnode {
	uint64_t ino; /* 0: not known yet (a create in flight) */
	uint32_t mode, nlink;
	uint64_t target_hash;
	char target[64];
	struct mxattr xattrs[MODEL_XATTRS];
	struct mnode *parent; /* of directories */
	TAILQ_HEAD(, mentry) entries;
	/* data of files; data_first counts the operations that base holds already */
	struct buf cur, base;
	struct mdata_op *data_ops;
	uint64_t data_first, data_count, data_cap;
	uint64_t mark; /* data operations finished when the sync of everything began */
	bool older;    /* it has had data before too many disks were lost */
	bool promised; /* fsync has succeeded since, for data of since */
	unsigned handles;
	uint64_t visit;
	TAILQ_ENTRY(mnode) link;
};

enum mdelta_kind {
	MDELTA_ADD,  /* entry added */
	MDELTA_DROP, /* entry removed */
	MDELTA_ATTR  /* attributes as they were before */
};
struct mdelta {
	enum mdelta_kind kind;
	struct mnode *dir, *node;
	char name[32];
	uint32_t mode, nlink;
	struct mxattr xattrs[MODEL_XATTRS];
};
struct mop {
	char text[120];
	uint64_t hash; /* of the tree after it */
	unsigned first_delta;
	uint64_t start, end;	  /* ticks; end is UINT64_MAX while in flight */
	struct mnode *content;	  /* what the rename that this is took along (F6) */
	uint64_t content_mark;	  /* that node's data operations so far */
	struct mnode *created;	  /* whose number is not known yet */
	struct mnode *created_in; /* its directory */
};
struct model {
	unsigned client;
	struct mnode *root;
	TAILQ_HEAD(, mnode) nodes;
	uint64_t hash;
	struct mop *ops; /* ops[0] is the state at the start of the round */
	unsigned op_count, op_cap, floor;
	struct mdelta *deltas;
	unsigned delta_count, delta_cap;
	uint64_t visits;
};

/* What happened in which order, over all clients. */
uint64_t model_tick(void);
/* Bytes [off, off+len) of the endless string of that seed. */
void model_fill(uint64_t seed, uint64_t off, void *buf, size_t len);
uint64_t model_hash(uint64_t seed, const void *data, size_t len);
/* What the tree's hash is the exclusive or of. */
uint64_t model_entry_token(uint64_t dir_ino, const char *name, uint64_t ino);
uint64_t model_inode_token(uint64_t ino, uint32_t mode, uint32_t nlink, uint64_t target_hash,
			   uint64_t xattr_hash);
uint64_t model_xattr_token(const char *name, const void *value, size_t len);
const char *model_xattr_name(unsigned i);

struct model *model_new(unsigned client, uint64_t root_ino, uint32_t root_mode);
struct mentry *model_find(struct mnode *dir, const char *name);
/* All but handles' nodes that have no name: directories and files reachable, in order. */
struct mnode *model_new_node(struct model *m, uint32_t mode);
bool model_is_within(struct mnode *dir, struct mnode *of);

/* ---- operations on names: begin, change, then acked or failed ---- */
void model_begin(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void model_add_entry(struct model *m, struct mnode *dir, const char *name, struct mnode *node);
void model_drop_entry(struct model *m, struct mnode *dir, const char *name);
/* Call before an attribute changes; then change it; then model_attr_done. */
void model_attr(struct model *m, struct mnode *n);
void model_attr_done(struct model *m, struct mnode *n);
/* The operation is complete but for its acknowledgement. */
void model_pending(struct model *m);
void model_acked(struct model *m);
void model_failed(struct model *m);
/* The number of the node that the operation in flight made. */
void model_set_ino(struct model *m, struct mnode *n, uint64_t ino);

/* ---- data ---- */
void model_data(struct mnode *n, const struct mdata_op *op);
void model_data_failed(struct mnode *n); /* the last one did not happen */
/* The first `mark` data operations (counted from the beginning of time) are durable. */
void model_data_floor(struct mnode *n, uint64_t mark);
uint64_t model_data_mark(const struct mnode *n);
/* Is it a content that a crash may leave? Says where not. */
bool model_data_check(const struct mnode *n, const uint8_t *data, uint64_t size, char *text,
		      size_t text_len);
/* May a read of len bytes at off that began when `mark` operations were acknowledged, and ends now,
 * give these got bytes? */
bool model_read_check(const struct mnode *n, uint64_t mark, uint64_t off, const uint8_t *data,
		      uint64_t got, uint64_t len, char *text, size_t text_len);
/* This is the content now, and it is durable. */
void model_data_reset(struct mnode *n, const uint8_t *data, uint64_t size);

/* ---- syncs ---- */
/* Operations acknowledged so far; durable once a sync that began now has succeeded. */
unsigned model_mark(const struct model *m);
void model_floor(struct model *m, unsigned mark);
/* When the last operation on names that changed this node was acknowledged; 0: none in this round. */
uint64_t model_last_change(const struct model *m, const struct mnode *n);
/* Operations acknowledged up to then. */
unsigned model_mark_at(const struct model *m, uint64_t tick);
/* The same for all files' data; one sync of everything at a time. */
void model_mark_data(struct model *m);
void model_floor_data(struct model *m);
/* Too many disks are lost: what a file has by now may be, too. */
void model_note_older(struct model *m);

/* ---- after a crash ---- */
/* Range of operations after which the tree has that hash, within floor..op_count-1. */
bool model_match(struct model *m, uint64_t hash, unsigned *ret_least, unsigned *ret_most);
/* The tree as of after operation p; the history begins anew from it. */
void model_rewind(struct model *m, unsigned p);
/* Undoes operations down to p, without forgetting data (for diagnosis, at the end). */
void model_undo_to(struct model *m, unsigned p);
void model_dump(struct model *m, void (*line)(const char *text));

#endif
