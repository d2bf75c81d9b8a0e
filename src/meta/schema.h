/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the index holds: keys and values of every table, in one place. docs/FORMAT.md "Index tables".
 *
 * Every value is wrapped in an envelope {u16 version, u16 flags, u32 payload length, u64 birth
 * generation, u64 check}: check = hash64(key, payload with version, flags, birth), verified on each load (P3,
 * P10). Keys are a table byte, then big-endian numbers, so that they sort by value.
 */
#ifndef DFS_META_SCHEMA_H
#define DFS_META_SCHEMA_H

#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"
#include "base/policy.h"
#include "base/types.h"

struct meta;
struct meta_txn;

enum table {		      /* ids are append-only; the letter is the key's first byte */
	TABLE_SETTINGS = 'S', /* S name -> settings blob */
	TABLE_DISK = 'K',     /* K disk(4) */
	TABLE_INODE = 'I',    /* I ino(8) */
	TABLE_INLINE = 'N',   /* N ino(8) */
	TABLE_DENTRY = 'D',   /* D dir(8) hash(8) name */
	TABLE_MAP = 'M',      /* M ino(8) file_offset(8) */
	TABLE_EXTENT = 'X',   /* X uuid(16) */
	TABLE_BYDISK = 'R',   /* R disk(4) segment(4) offset(4) */
	TABLE_XATTR = 'A',    /* A ino(8) name */
	TABLE_USAGE = 'U',    /* U ino(8) slot(8) */
	TABLE_FOLD = 'C',     /* C ino(8) slot(8) */
	TABLE_NARROW = 'W',   /* W ino(8) slot(8): has extents narrower than wanted */
	TABLE_PREALLOC = 'P', /* P ino(8) slot(8) */
	TABLE_ORPHAN = 'O',   /* O ino(8) */
	TABLE_FREED = 'F',    /* F disk(4) segment(4) offset(4) */
	TABLE_NUMBERS = 'G',  /* G disk(4): numbers of segments that were given out */
	TABLE_DOUBT = 'B',    /* B disk(4) segment(4): what of it may not be there */
	TABLE_JOB = 'J',      /* J job(4): background work */
	TABLE_HEALTH = 'H',   /* H disk(4): how it is, and since when */
	TABLE_SCRUB = 'Q',    /* Q kind(1) ...: the newest scrub, schema_scrub.h */
	TABLE_AUDIT = 'L',    /* L wall_ns(8) seq(4) */
	TABLE_META = 'm',     /* meta's own: applied sequence number, chain hash, counters */
};

#define DFS_NAME_MAX 255u
#define DFS_SYMLINK_MAX 4095u
#define DFS_XATTR_VALUE_MAX 65536u
#define DFS_INLINE_MAX 4096u
#define DFS_FILE_MAX ((uint64_t)INT64_MAX)
#define DFS_EXTENT_MAX_FRAGMENTS 24u

struct dfs_time {
	int64_t sec;
	uint32_t nsec;
};

struct rec_inode {
	uint32_t mode; /* S_IF.. | permissions */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t rdev;
	uint64_t size;	       /* bytes of which content is durable-once-committed */
	uint64_t mapped_bytes; /* bytes that map entries (or inline data) cover: st_blocks */
	struct dfs_time atime, mtime, ctime, btime;
	ino_id parent;	     /* directory it was last linked in (a hint for non-directories) */
	uint64_t generation; /* for NFS export: random at creation */
	uint32_t flags;
	uint32_t inline_len; /* bytes of the inline record, which exists when this is not 0 */
	uint64_t
		prealloc_bytes; /* sum of its preallocated ranges; not 0 just when INODE_PREALLOC */
};
#define INODE_INLINE 1u /* the content is the inline record (then there are no map entries) */
#define INODE_XATTRS 2u /* it has, or had, extended attributes; without it there are none */
#define INODE_USAGE                                                                                \
	8u /* there are, or were, usage records of its slots; without it there are none */
#define INODE_BEYOND 4u /* map entries may lie beyond the size, under an ORPHAN_TRUNCATE record */
#define INODE_PREALLOC 16u /* ranges of it are preallocated */
#define INODE_NARROW 32u   /* slots of it are, or were, in the table of narrow ones */
#define INODE_IMMUTABLE 64u
#define INODE_APPEND 128u /* append-only; of these two DESIGN.md, AT1 */

struct rec_dentry {
	ino_id ino;
	uint32_t mode; /* type bits only */
	char name[DFS_NAME_MAX + 1];
	uint64_t cookie; /* from the key: hash, >= DENTRY_COOKIE_MIN, < 2^63 */
};
#define DENTRY_COOKIE_MIN 16u

struct rec_map {
	uint64_t file_offset; /* from the key */
	uint32_t len;
	extent_id extent;
	uint32_t extent_offset;
};

struct rec_usage {     /* what a slot of a file (an aligned MiB) takes on the disks, and for what */
	ino_id ino;    /* these two from the key */
	uint64_t slot; /* file offset >> 20 */
	uint64_t stored_bytes; /* all records of the extents that are mapped there */
	uint32_t mapped_bytes, entries;
};

#define PREALLOC_RANGES_MAX 128u
struct rec_prealloc { /* what was promised of a slot and has not been written yet */
	ino_id ino;   /* these two from the key */
	uint64_t slot;
	unsigned count;
	struct prealloc_range {
		uint32_t start, end;   /* bytes of the slot */
	} ranges[PREALLOC_RANGES_MAX]; /* sorted, apart from each other */
};

struct rec_fragment {
	disk_id disk; /* 0: lost, not placed */
	uint32_t segment, offset;
	uint32_t record_len; /* whole record on disk */
	struct hash header_hash;
};
struct rec_extent {
	extent_id id; /* from the key */
	ino_id ino;
	uint32_t len;
	uint8_t k, m;		    /* as it is */
	uint8_t wanted_k, wanted_m; /* as the policy wants: differs when disks were too few */
	uint32_t refs;		    /* map entries that point here; 0 never persists */
	uint32_t fragment_len;	    /* payload of each */
	uint32_t header_len;	    /* bytes before the payload in each record */
	uint64_t generation;
	struct rec_fragment frags[DFS_EXTENT_MAX_FRAGMENTS]; /* k + m of them */
};

struct rec_bydisk {
	disk_id disk; /* these three from the key */
	uint32_t segment, offset;
	uint32_t record_len;
	extent_id extent;
	uint8_t index;
};

enum job_kind_id { /* append-only */
	JOB_REBUILD = 1,
	JOB_DRAIN = 2,
	JOB_SCRUB = 3,
	JOB_COMPACT = 4,
	JOB_REBALANCE = 5,
};
enum job_state {	 /* append-only */
	JOB_WAITING = 1, /* until due_ns, or something has changed */
	JOB_RUNNING,
	JOB_PAUSED,    /* by order */
	JOB_DONE,      /* nothing is left to do; kept to be told of, as the next */
	JOB_CANCELLED, /* by order, or nobody needs it any more */
};
#define JOB_PASSES_MAX 16u
struct rec_job {
	uint32_t id; /* from the key */
	uint8_t kind, state;
	uint8_t pass; /* these three: where it goes on */
	uint32_t segment, offset;
	disk_id disk;				 /* of which; of a scrub and a rebalance 0: all */
	uint64_t created_ns, changed_ns, due_ns; /* wall clock */
	uint64_t total_bytes;			 /* when it was begun */
	uint64_t made;				 /* fragments that were written */
	uint64_t stuck; /* extents of this pass that could not be seen to */
	/* of a rebalance: */
	disk_id from; /* segment and offset are of; 0: the next pass begins */
	uint64_t bytes_per_s, moved_bytes;
};

struct rec_freed { /* key only + length: space to give back once the freeing is durable */
	disk_id disk;
	uint32_t segment, offset, record_len;
};

enum orphan_kind {
	ORPHAN_UNLINKED = 1,
	ORPHAN_TRUNCATE = 2
};
struct rec_orphan {
	ino_id ino;
	enum orphan_kind kind;
	uint64_t from; /* ORPHAN_TRUNCATE: map entries at or beyond are to be freed */
};

struct rec_disk {
	disk_id id;
	struct uuid uuid;
	uint64_t capacity_bytes;
	uint8_t state;	     /* enum disk_state of dev/disk.h, same numbers */
	bool leaving;	     /* it is to be emptied, and then forgotten (DR1) */
	bool leaving_forced; /* also where extents then bear less (DR5) */
	disk_id heir;	     /* leaving: takes its place; 0: none */
	bool hands_label;    /* and its label, once this one is forgotten */
	uint64_t added_epoch;
	char label[64], domain[64], path[1024];
};

#define HEALTH_TEXT_MAX 200u
struct rec_health {
	disk_id disk;  /* from the key */
	uint8_t state; /* enum disk_state of dev/disk.h, 1 to 5 */
	uint8_t event; /* enum disk_event of dev/disk.h: what led there; greater ones are of later programs */
	uint8_t order;	  /* the state that an order keeps it in: degraded, suspect; 0: none does */
	uint8_t relapses; /* how often it came back and fell ill again soon after */
	uint64_t since_s; /* wall clock */
	uint64_t read_errors, write_errors, checksum_errors;
	char text[HEALTH_TEXT_MAX + 1]; /* what happened, or what the order says */
};

#define SETTINGS_RESERVED MIB(1) /* what is written where nothing is read */
struct rec_settings {		 /* S "pool" */
	struct policy policy;
	uint32_t next_disk;
};

#define SEARCH_MAX 16u
#define SEARCH_PATH_MAX 1024u
struct rec_background { /* S "background" */
	uint64_t rebuild_after_s, bytes_per_s;
};
struct rec_search { /* S "search": directories in which disks are looked for */
	unsigned count;
	char dirs[SEARCH_MAX][SEARCH_PATH_MAX]; /* absolute; any bytes but NUL */
};

/* ---- keys: write into a buf (emptied first) ---- */
void key_inode(struct buf *k, ino_id ino);
void key_inline(struct buf *k, ino_id ino);
uint64_t dentry_hash(ino_id dir, const char *name, size_t name_len); /* the cookie */
void key_dentry(struct buf *k, ino_id dir, uint64_t cookie, const char *name, size_t name_len);
void key_dentry_from(struct buf *k, ino_id dir, uint64_t cookie); /* for seeks */
void key_map(struct buf *k, ino_id ino, uint64_t file_offset);
void key_extent(struct buf *k, extent_id id);
void key_bydisk(struct buf *k, disk_id disk, uint32_t segment, uint32_t offset);
void key_freed(struct buf *k, disk_id disk, uint32_t segment, uint32_t offset);
void key_xattr(struct buf *k, ino_id ino, const char *name); /* name may be "": for seeks */
void key_orphan(struct buf *k, ino_id ino);
void key_usage(struct buf *k, ino_id ino, uint64_t slot);
void key_fold(struct buf *k, ino_id ino, uint64_t slot);
void key_narrow(struct buf *k, ino_id ino, uint64_t slot);
void key_prealloc(struct buf *k, ino_id ino, uint64_t slot);
void key_disk(struct buf *k, disk_id disk);
void key_numbers(struct buf *k, disk_id disk);
void key_health(struct buf *k, disk_id disk);
void key_job(struct buf *k, uint32_t id);
void key_doubt(struct buf *k, disk_id disk, uint32_t segment);
void key_settings(struct buf *k, const char *name);
void key_audit(struct buf *k, uint64_t wall_ns, uint32_t nth);

/* ---- whole-record puts, gets and deletes (key + envelope + payload in one call) ---- */
void put_inode(struct meta_txn *t, ino_id ino, const struct rec_inode *r);
/* A file's content or a symlink's target, 1 to DFS_INLINE_MAX bytes. */
void put_inline(struct meta_txn *t, ino_id ino, const void *data, size_t len);
void put_dentry(struct meta_txn *t, ino_id dir,
		const struct rec_dentry *r); /* cookie is computed */
void put_map(struct meta_txn *t, ino_id ino, const struct rec_map *r);
void put_extent(struct meta_txn *t, const struct rec_extent *r);
void put_bydisk(struct meta_txn *t, const struct rec_bydisk *r);
void put_freed(struct meta_txn *t, const struct rec_freed *r);
void put_orphan(struct meta_txn *t, const struct rec_orphan *r);
void put_usage(struct meta_txn *t, const struct rec_usage *r);
void put_fold(struct meta_txn *t, ino_id ino, uint64_t slot);
void put_narrow(struct meta_txn *t, ino_id ino, uint64_t slot);
void put_prealloc(struct meta_txn *t, const struct rec_prealloc *r);
void put_disk(struct meta_txn *t, const struct rec_disk *r);
void put_health(struct meta_txn *t, const struct rec_health *r);
/* Segments of the disk below `next` may have been in use, though nothing names them any more (S1). */
void put_numbers(struct meta_txn *t, disk_id disk, uint32_t next);
/* What the disk holds in that segment beyond `from` may not be durable there (S5). */
void put_job(struct meta_txn *t, const struct rec_job *r);
void put_doubt(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t from);
void put_settings(struct meta_txn *t, const struct rec_settings *r);
void put_background(struct meta_txn *t, const struct rec_background *r);
void put_search(struct meta_txn *t, const struct rec_search *r);
void put_xattr(struct meta_txn *t, ino_id ino, const char *name, const void *value, size_t len);
void put_audit(struct meta_txn *t, uint64_t wall_ns, uint32_t nth, const char *json_text);
void del_inode(struct meta_txn *t, ino_id ino);
void del_inline(struct meta_txn *t, ino_id ino);
void del_dentry(struct meta_txn *t, ino_id dir, const char *name);
void del_map(struct meta_txn *t, ino_id ino, uint64_t file_offset);
void del_extent(struct meta_txn *t, extent_id id);
void del_bydisk(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t offset);
void del_freed(struct meta_txn *t, disk_id disk, uint32_t segment, uint32_t offset);
void del_orphan(struct meta_txn *t, ino_id ino);
void del_usage(struct meta_txn *t, ino_id ino, uint64_t slot);
void del_fold(struct meta_txn *t, ino_id ino, uint64_t slot);
void del_narrow(struct meta_txn *t, ino_id ino, uint64_t slot);
void del_prealloc(struct meta_txn *t, ino_id ino, uint64_t slot);
void del_job(struct meta_txn *t, uint32_t id);
void del_disk(struct meta_txn *t, disk_id id);
void del_numbers(struct meta_txn *t, disk_id id);
void del_health(struct meta_txn *t, disk_id id);
void del_doubt(struct meta_txn *t, disk_id disk, uint32_t segment);
void del_xattr(struct meta_txn *t, ino_id ino, const char *name);

/* All: DFS_ENOENT, DFS_ECORRUPT / DFS_ECHECKSUM (named in the log), DFS_EIO. */
MUST_USE int get_inode(struct meta *m, ino_id ino, struct rec_inode *ret);
/* The content into out (emptied first). */
MUST_USE int get_inline(struct meta *m, ino_id ino, struct buf *out);
MUST_USE int get_dentry(struct meta *m, ino_id dir, const char *name, struct rec_dentry *ret);
MUST_USE int get_extent(struct meta *m, extent_id id, struct rec_extent *ret);
MUST_USE int get_orphan(struct meta *m, ino_id ino, struct rec_orphan *ret);
MUST_USE int get_usage(struct meta *m, ino_id ino, uint64_t slot, struct rec_usage *ret);
MUST_USE int get_prealloc(struct meta *m, ino_id ino, uint64_t slot, struct rec_prealloc *ret);
MUST_USE int get_disk(struct meta *m, disk_id id, struct rec_disk *ret);
MUST_USE int get_health(struct meta *m, disk_id id, struct rec_health *ret); /* DFS_ENOENT */
/* 0 when there is no record. */
MUST_USE int get_numbers(struct meta *m, disk_id disk, uint32_t *ret_next);
MUST_USE int get_settings(struct meta *m, struct rec_settings *ret);
/* None when there is no such record. */
MUST_USE int get_background(struct meta *m, struct rec_background *ret);
MUST_USE int get_search(struct meta *m, struct rec_search *ret);
/* Appends the value to out (emptied first). DFS_ENODATA when absent. */
MUST_USE int get_xattr(struct meta *m, ino_id ino, const char *name, struct buf *out);

/* ---- parsing of what an iterator gives (key and enveloped value): 0, DFS_ECORRUPT, DFS_ECHECKSUM,
 * DFS_EVERSION. Bounded, never trusts a length (P10). ---- */
MUST_USE int parse_inode(const void *key, size_t key_len, const void *val, size_t val_len,
			 ino_id *ret_ino, struct rec_inode *ret);
/* ret_data is borrowed. */
MUST_USE int parse_inline(const void *key, size_t key_len, const void *val, size_t val_len,
			  ino_id *ret_ino, const uint8_t **ret_data, size_t *ret_len);
MUST_USE int parse_dentry(const void *key, size_t key_len, const void *val, size_t val_len,
			  ino_id *ret_dir, struct rec_dentry *ret);
MUST_USE int parse_map(const void *key, size_t key_len, const void *val, size_t val_len,
		       ino_id *ret_ino, struct rec_map *ret);
MUST_USE int parse_extent(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_extent *ret);
MUST_USE int parse_bydisk(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_bydisk *ret);
MUST_USE int parse_freed(const void *key, size_t key_len, const void *val, size_t val_len,
			 struct rec_freed *ret);
MUST_USE int parse_orphan(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_orphan *ret);
MUST_USE int parse_usage(const void *key, size_t key_len, const void *val, size_t val_len,
			 struct rec_usage *ret);
MUST_USE int parse_fold(const void *key, size_t key_len, const void *val, size_t val_len,
			ino_id *ret_ino, uint64_t *ret_slot);
MUST_USE int parse_narrow(const void *key, size_t key_len, const void *val, size_t val_len,
			  ino_id *ret_ino, uint64_t *ret_slot);
MUST_USE int parse_prealloc(const void *key, size_t key_len, const void *val, size_t val_len,
			    struct rec_prealloc *ret);
MUST_USE int parse_health(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_health *ret);
MUST_USE int parse_disk(const void *key, size_t key_len, const void *val, size_t val_len,
			struct rec_disk *ret);
MUST_USE int parse_numbers(const void *key, size_t key_len, const void *val, size_t val_len,
			   disk_id *ret_disk, uint32_t *ret_next);
MUST_USE int parse_job(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct rec_job *ret);
MUST_USE int parse_doubt(const void *key, size_t key_len, const void *val, size_t val_len,
			 disk_id *ret_disk, uint32_t *ret_segment, uint32_t *ret_from);
/* ret_name and ret_value are borrowed. */
MUST_USE int parse_xattr(const void *key, size_t key_len, const void *val, size_t val_len,
			 ino_id *ret_ino, const char **ret_name, size_t *ret_name_len,
			 const uint8_t **ret_value, size_t *ret_value_len);
/* Any record as one line of text "table key: field=value ..." for inspect and messages; appends to
 * out. Unknown or damaged records are described as such. */
void record_to_text(const void *key, size_t key_len, const void *val, size_t val_len,
		    struct buf *out);

#endif
