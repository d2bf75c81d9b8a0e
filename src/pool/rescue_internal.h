/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files rescue*.c; nobody else includes it. */
#ifndef DFS_POOL_RESCUE_INTERNAL_H
#define DFS_POOL_RESCUE_INTERNAL_H

#include "pool/internal.h"
#include "pool/rescue.h"

#define RESCUE_SEGMENT_NAME 32u

struct rescue_disk {
	char *path;
	struct dev *dev;
	bool known;  /* its disk.json is good */
	bool others; /* it is not, and there are records of another pool: */
	struct uuid other;
	struct disk_json json;
	struct dev_file *file; /* the segment that was read last */
	uint32_t segment;
};

/* Where a fragment is said to lie. */
struct rescue_place {
	unsigned disk; /* of rescue.disks */
	uint32_t segment, offset;
	uint8_t index;
	bool has_hash; /* the header's must be this one */
	struct hash hash;
};
#define RESCUE_MAX_PLACES 128u

struct rescue_extent {
	extent_id id;
	ino_id ino;
	uint32_t len;
	uint8_t k, m;
	unsigned count;
	struct rescue_place places[RESCUE_MAX_PLACES];
};

/* An extent's bytes, as far as they could be had. */
struct rescue_bytes {
	uint8_t *data; /* len bytes */
	uint32_t len;
	struct rescue_range bad[RECORD_MAX_BLOCKS + CODEC_MAX_K]; /* in order; zeros in data */
	unsigned bad_count;
	struct record_piece *pieces; /* NULL: no header could be read */
	unsigned piece_count;
};
static inline void rescue_bytes_release(struct rescue_bytes *b)
{
	free(b->data);
	free(b->pieces);
	*b = (struct rescue_bytes){0};
}

#define RESCUE_LOST_MAX 65536u /* ranges of one file (P9) */
struct rescue_lost {
	struct rescue_range *v; /* in order, apart from each other */
	unsigned count, cap;
	bool coarse;
};
void rescue_lost_add(struct rescue_lost *l, uint64_t from, uint64_t to);
void rescue_lost_remove(struct rescue_lost *l, uint64_t from, uint64_t to);
void rescue_lost_cut(struct rescue_lost *l, uint64_t size); /* what lies beyond the end is none */
uint64_t rescue_lost_bytes(const struct rescue_lost *l);
void rescue_lost_release(struct rescue_lost *l);

#define RESCUE_CACHED 4u
struct rescue {
	const struct rescue_options *opt;
	struct rescue_result *res;
	struct rescue_disk *disks;
	unsigned count;
	struct dev_group *group;
	struct meta *meta;			  /* NULL: there is no index */
	uint64_t newest;			  /* E8: place in time of its newest extent */
	char *work_dir;				  /* TO/.rescue */
	int to_fd, work_fd, links_fd, unnamed_fd; /* the last two: -1 until they are needed */
	struct index *index;			  /* its own, of records found and inodes seen */
	uint64_t index_bytes;
	bool made; /* the target directory: it goes again if nothing is put there */
	struct rescue_cached {
		extent_id id;
		struct rescue_bytes bytes;
	} cached[RESCUE_CACHED]; /* decoded last */
	unsigned next_cached;
	uint64_t told_ns;
};

/* ---- rescue.c ---- */
void rescue_progress(struct rescue *r, const char *doing);
void rescue_warn(struct rescue *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* what NULL: bytes are lost. */
void rescue_found(struct rescue *r, const char *path, ino_id ino, const struct rescue_lost *lost,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The work index: puts, and flushes now and then (P9). */
MUST_USE int rescue_note(struct rescue *r, const struct index_op *ops, unsigned count);
/* Has the inode been met before? Notes it. */
MUST_USE int rescue_seen(struct rescue *r, ino_id ino, bool *ret_seen);

/* ---- rescue_read.c ---- */
MUST_USE int rescue_segment(struct rescue *r, unsigned disk, uint32_t number,
			    struct dev_file **ret_file);
/* Never fails: what can't be had is bad. */
void rescue_read(struct rescue *r, const struct rescue_extent *e, struct rescue_bytes *ret);
/* By the index, and by all records where that does not give all of it. Borrowed until the next call. */
MUST_USE int rescue_get(struct rescue *r, extent_id id, uint32_t least,
			const struct rescue_bytes **ret);

/* ---- rescue_scan.c ---- */
/* Looks for all records, once. */
MUST_USE int rescue_scan(struct rescue *r);
/* What was found of an extent, one form after the other (they differ only where somebody forged one); *next: where to
 * go on, zeros at first. DFS_ENOENT: there are no more. */
MUST_USE int rescue_find(struct rescue *r, extent_id id, uint64_t *next, struct rescue_extent *ret);
/* Files by number from records alone: all, or those that are newer than the index. */
MUST_USE int rescue_unnamed(struct rescue *r);

/* ---- rescue_tree.c ---- */
/* All names, from the root on; then inodes that no name leads to. */
MUST_USE int rescue_tree(struct rescue *r);

/* ---- rescue_out.c ---- */
/* The content of an inode of the index into a file that is open. */
MUST_USE int rescue_content(struct rescue *r, int fd, ino_id ino, const struct rec_inode *rec,
			    struct rescue_lost *lost);
/* Owner, mode, attributes, times of what is named so in the directory. */
void rescue_attributes(struct rescue *r, int dir_fd, const char *name, ino_id ino,
		       const struct rec_inode *rec, const char *path);
/* A directory in TO; made if it is not there. */
MUST_USE int rescue_dir(struct rescue *r, const char *name, int *fd);
/* A regular file of the index; path: for messages. An error ends the rescue. */
MUST_USE int rescue_file(struct rescue *r, int dir_fd, const char *name, ino_id ino,
			 const struct rec_inode *rec, const char *path);
/* Where nothing more can be written there is no use in going on. */
bool rescue_is_over(int err);
MUST_USE int rescue_errno(void);

#endif
