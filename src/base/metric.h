/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All figures that `metrics` prints, each named here and nowhere else, with its type, unit and meaning. Those that grow by events are
 * counted here, too: metric_add() is one relaxed addition, from any thread. The others are looked up when they are asked for
 * (ctl/op_metrics.c). Counters begin at zero with the process.
 */
#ifndef DFS_BASE_METRIC_H
#define DFS_BASE_METRIC_H

#include <stdint.h>

/* X(id, name, type, unit, label, meaning); label: what tells samples of one name apart; "": there is one */
#define METRICS(X)                                                                                  \
	X(FUSE_OPERATIONS, "fuse_operations_total", COUNTER, "", "operation",                       \
	  "Requests of the kernel, by kind")                                                        \
	X(FUSE_ERRORS, "fuse_errors_total", COUNTER, "", "",                                        \
	  "Requests that were answered with an error, a name that is not there included")           \
	X(DISK_OPERATIONS, "disk_operations_total", COUNTER, "", "disk,operation",                  \
	  "Calls to a disk, those of the journal and the index included")                           \
	X(DISK_ERRORS, "disk_errors_total", COUNTER, "", "disk,operation",                          \
	  "Calls that failed for the disk's fault, or were given up")                               \
	X(DISK_BYTES, "disk_bytes_total", COUNTER, "bytes", "disk,operation",                       \
	  "Bytes read from a disk or written to it")                                                \
	X(DISK_LATENCY, "disk_latency_seconds", HISTOGRAM, "seconds", "disk,operation",             \
	  "How long calls to a disk took")                                                          \
	X(DISK_CHECKSUM_ERRORS, "disk_checksum_errors_total", COUNTER, "", "disk",                  \
	  "Fragments that were not what had been written, since the disk was added")                \
	X(DISK_PRESENT, "disk_present", GAUGE, "", "disk", "1: the disk is there, 0: it is not")    \
	X(DISK_USED, "disk_used_bytes", GAUGE, "bytes", "disk",                                     \
	  "What live fragments take on a disk")                                                     \
	X(DISK_FREE, "disk_free_bytes", GAUGE, "bytes", "disk", "What a disk has left")             \
	X(EXTENTS, "extents", GAUGE, "", "health",                                                  \
	  "Extents by health, of those counted in one second: full, reduced (bears another loss), " \
	  "endangered, in_doubt, lost")                                                             \
	X(EXTENTS_WRITTEN, "extents_written_total", COUNTER, "", "", "Extents written")             \
	X(EXTENTS_READ, "extents_read_total", COUNTER, "", "", "Reads of extents")                  \
	X(EXTENTS_UNREADABLE, "extents_unreadable_total", COUNTER, "", "",                          \
	  "Reads of extents that failed: too few good fragments")                                   \
	X(FRAGMENTS_ROTTEN, "fragments_rotten_total", COUNTER, "", "",                              \
	  "Fragments that reads and checks found damaged")                                          \
	X(FRAGMENTS_DECODED, "fragments_decoded_total", COUNTER, "", "",                            \
	  "Fragments computed from others for a read")                                              \
	X(REPAIR_ATTEMPTS, "repair_attempts_total", COUNTER, "extents", "",                         \
	  "Extents that a repair began with: healing, rebuild, what moves off a disk")              \
	X(REPAIR_FAILURES, "repair_failures_total", COUNTER, "extents", "",                         \
	  "Extents of these of which something could not be made anew")                             \
	X(REPAIR_FRAGMENTS, "repair_fragments_total", COUNTER, "fragments", "",                     \
	  "Fragments made anew")                                                                    \
	X(REPAIR_BYTES, "repair_bytes_total", COUNTER, "bytes", "",                                 \
	  "What these take on the disks")                                                           \
	X(REBUILD_ATTEMPTS, "rebuild_attempts_total", COUNTER, "extents", "",                       \
	  "Extents that rebuilds of lost disks tried")                                              \
	X(REBUILD_SUCCESSES, "rebuild_successes_total", COUNTER, "extents", "",                     \
	  "Extents of these that were restored, or needed nothing")                                 \
	X(REBUILD_FAILURES, "rebuild_failures_total", COUNTER, "extents", "",                       \
	  "Extents of these that could not be restored")                                            \
	X(REBUILD_BYTES, "rebuild_bytes_total", COUNTER, "bytes", "", "Bytes that rebuilds wrote")  \
	X(SCRUB_COMPLETIONS, "scrub_completions_total", COUNTER, "", "",                            \
	  "Scrubs that came to their end")                                                          \
	X(SCRUB_ISSUES, "scrub_issues_total", COUNTER, "", "",                                      \
	  "Extents that scrubs found short or damaged, and problems of the metadata")               \
	X(SCRUB_REPAIRS, "scrub_repairs_total", COUNTER, "", "",                                    \
	  "Those of them that were repaired")                                                       \
	X(DISK_DEAD, "disk_dead_bytes", GAUGE, "bytes", "disk",                                     \
	  "What dead fragments take on a disk that can't punch holes, until a compaction")          \
	X(COMPACT_SEGMENTS, "compacted_segments_total", COUNTER, "segments", "",                    \
	  "Segments that were mostly dead and have been copied and removed")                        \
	X(COMPACT_BYTES, "compacted_bytes_total", COUNTER, "bytes", "",                             \
	  "What compactions wrote for that")                                                        \
	X(COMPACT_FREED, "compacted_freed_bytes_total", COUNTER, "bytes", "",                       \
	  "What these segments had taken")                                                          \
	X(JOBS_BEGUN, "jobs_begun_total", COUNTER, "", "", "Jobs that were begun")                  \
	X(JOBS_DONE, "jobs_done_total", COUNTER, "", "", "Jobs that came to their end")             \
	X(JOBS, "jobs", GAUGE, "", "state", "Jobs by state")                                        \
	X(CACHE_HITS, "cache_hits_total", COUNTER, "", "",                                          \
	  "Look-ups of extents that the cache of their records answered")                           \
	X(CACHE_MISSES, "cache_misses_total", COUNTER, "", "", "Look-ups that it did not answer")   \
	X(CACHE_HIT_RATIO, "cache_hit_ratio", GAUGE, "", "",                                        \
	  "Part of the look-ups that it answered")                                                  \
	X(CACHE_BYTES, "cache_bytes", GAUGE, "bytes", "", "What it holds")                          \
	X(HEAL_QUEUE, "heal_queue", GAUGE, "extents", "", "Extents that wait for the healer")       \
	X(COMMITS, "commits_total", COUNTER, "transactions", "", "Transactions of the metadata")    \
	X(JOURNAL_SYNCS, "journal_syncs_total", COUNTER, "", "",                                    \
	  "Groups of transactions that were made durable")                                          \
	X(JOURNAL_BYTES, "journal_bytes", GAUGE, "bytes", "",                                       \
	  "What the journal holds since the last checkpoint")                                       \
	X(JOURNAL_BUFFERED, "journal_buffered_bytes", GAUGE, "bytes", "",                           \
	  "Transactions that are not durable yet")                                                  \
	X(CHECKPOINTS, "checkpoints_total", COUNTER, "", "", "Checkpoints of the index")            \
	X(DIRTY, "dirty_bytes", GAUGE, "bytes", "", "File data in memory that is not stored yet")   \
	X(SEAL_ERRORS, "seal_errors_total", COUNTER, "", "", "Attempts to store data that failed")  \
	X(FOLDED, "folded_slots_total", COUNTER, "", "",                                            \
	  "Parts of files that were stored anew, as whole extents")                                 \
	X(FOLDED_BYTES, "folded_bytes_total", COUNTER, "bytes", "",                                 \
	  "What these take on the disks, so that folding has written it")                           \
	X(WRITTEN, "written_bytes_total", COUNTER, "bytes", "", "What programs wrote to files")     \
	X(AMPLIFICATION, "write_amplification", GAUGE, "", "",                                      \
	  "Bytes that went to the disks for each that programs wrote, all included")                \
	X(INODES, "inodes", GAUGE, "", "", "Files, directories and others")                         \
	X(INODES_CACHED, "inodes_cached", GAUGE, "", "", "Of these in memory")                      \
	X(INODES_PINNED, "inodes_pinned", GAUGE, "", "",                                            \
	  "Of these that must be: open, in use, not stored yet, deleted and still known")           \
	X(INODES_KNOWN, "inodes_known", GAUGE, "", "",                                              \
	  "Inodes that the kernel has been told of and has not forgotten")                          \
	X(INODE_HITS, "inode_cache_hits_total", COUNTER, "", "",                                    \
	  "Times that an inode was asked for and was in memory")                                    \
	X(INODE_MISSES, "inode_cache_misses_total", COUNTER, "", "",                                \
	  "Times that it was made from the index")                                                  \
	X(SPACE_TOTAL, "space_total_bytes", GAUGE, "bytes", "", "File data that fits when empty")   \
	X(SPACE_USED, "space_used_bytes", GAUGE, "bytes", "",                                       \
	  "File data, and what it was promised")                                                    \
	X(SPACE_AVAILABLE, "space_available_bytes", GAUGE, "bytes", "", "File data that still fits")

enum metric_id {
#define X(id, name, type, unit, label, meaning) METRIC_##id,
	METRICS(X)
#undef X
	METRIC_COUNT
};

enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM
};
struct metric {
	const char *name, *unit, *label, *meaning;
	enum metric_type type;
};
extern const struct metric metrics[METRIC_COUNT];

/* Only of counters without a label. */
extern uint64_t metric_cells[METRIC_COUNT];
static inline void metric_add(enum metric_id id, uint64_t n)
{
	(void)__atomic_fetch_add(&metric_cells[id], n, __ATOMIC_RELAXED);
}
static inline uint64_t metric_get(enum metric_id id)
{
	return __atomic_load_n(&metric_cells[id], __ATOMIC_RELAXED);
}

/* The requests of the kernel; X(handler's name) */
#define METRIC_FUSE_OPERATIONS_OF(X)                                                               \
	X(lookup)                                                                                  \
	X(forget)                                                                                  \
	X(forget_multi)                                                                            \
	X(getattr)                                                                                 \
	X(setattr)                                                                                 \
	X(readlink)                                                                                \
	X(mknod)                                                                                   \
	X(mkdir)                                                                                   \
	X(unlink)                                                                                  \
	X(rmdir)                                                                                   \
	X(symlink)                                                                                 \
	X(rename)                                                                                  \
	X(link)                                                                                    \
	X(open)                                                                                    \
	X(create)                                                                                  \
	X(read)                                                                                    \
	X(write)                                                                                   \
	X(flush)                                                                                   \
	X(release)                                                                                 \
	X(fsync)                                                                                   \
	X(opendir)                                                                                 \
	X(readdir)                                                                                 \
	X(readdirplus)                                                                             \
	X(releasedir)                                                                              \
	X(fsyncdir)                                                                                \
	X(statfs)                                                                                  \
	X(setxattr)                                                                                \
	X(getxattr)                                                                                \
	X(listxattr)                                                                               \
	X(removexattr)                                                                             \
	X(fallocate)                                                                               \
	X(ioctl)                                                                                   \
	X(lseek)
enum metric_fuse {
#define X(name) METRIC_FUSE_##name,
	METRIC_FUSE_OPERATIONS_OF(X)
#undef X
	METRIC_FUSE_KINDS
};
extern const char *const metric_fuse_names[METRIC_FUSE_KINDS];
extern uint64_t metric_fuse_cells[METRIC_FUSE_KINDS];
static inline void metric_fuse(enum metric_fuse kind)
{
	(void)__atomic_fetch_add(&metric_fuse_cells[kind], 1, __ATOMIC_RELAXED);
}

#endif
