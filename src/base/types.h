/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small types that every layer shares: ids (distinct structs, so that they can't be mixed up),
 * sizes, and scope-bound cleanup.
 */
#ifndef DFS_BASE_TYPES_H
#define DFS_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* a must be a power of two */
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((uint64_t)(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((uint64_t)(a)-1))
#define DIV_UP(x, d) (((x) + (d)-1) / (d))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* A disk's number within its pool, 1 to DISK_ID_MAX; given once, never reused. 0 is no disk. */
#define DISK_ID_MAX 495u
typedef struct {
	uint32_t v;
} disk_id;

/* An inode's number; given once, never reused. 0 is no inode, 1 the root directory. */
typedef struct {
	uint64_t v;
} ino_id;

/* 128-bit ids. Extents carry UUIDv7 (RFC 9562: time-ordered), pools and disks UUIDv4. */
struct uuid {
	uint8_t b[16];
};
typedef struct {
	struct uuid u;
} extent_id;

#define DFS_ROOT_INO 1

#define UUID_TEXT_LEN 36 /* without the NUL */

static inline bool disk_id_valid(disk_id id) { return id.v >= 1 && id.v <= DISK_ID_MAX; }

static inline bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}
static inline bool uuid_is_null(const struct uuid *a)
{
	static const struct uuid zero;
	return uuid_eq(a, &zero);
}
/* Writes 36 characters and a NUL. */
void uuid_format(const struct uuid *u, char text[UUID_TEXT_LEN + 1]);
/* Parses the 36-character form. Returns 0 or DFS_EINVAL. */
int uuid_parse(const char *text, struct uuid *ret_uuid);
/* Random (version 4), from env_random. */
void uuid_random(struct uuid *ret_uuid);
/* Time-ordered (version 7) from env_wall_ns and env_random; strictly increasing within a process. */
void uuid_time_ordered(struct uuid *ret_uuid);
/* The place in time that the next one would get; one of that place, of which there may be many; and that of one (0: it has none). */
uint64_t uuid_tick(void);
void uuid_at_tick(uint64_t tick, struct uuid *ret_uuid);
uint64_t uuid_tick_of(const struct uuid *u);
/* Those to come are greater than u, of version 7, whatever the clock says: it may have been set back since an
 * earlier process made u. */
void uuid_clock_follow(const struct uuid *u);

/* Scope-bound cleanup: `FREE char *p = NULL;` frees p when the scope is left. */
void cleanup_free(void *pointer_to_pointer);
#define FREE __attribute__((cleanup(cleanup_free)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Allocation that never fails: out of memory ends the process with a message (the journal makes
 * that safe). Large, bounded buffers come from mem_map(), which may fail. */
void *xmalloc(size_t size_bytes);
void *xcalloc(size_t count, size_t size_bytes);
void *xrealloc(void *p, size_t size_bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Zeroed pages straight from the kernel, or NULL when there are none. mem_unmap gives them back. */
void *mem_map(size_t size_bytes);
void mem_unmap(void *p, size_t size_bytes);

/* Asserts stay on in release builds: they guard programmers' mistakes, never disk or user input. */
void assert_failed(const char *expr, const char *file, int line) __attribute__((noreturn));
#define ASSERT(e) ((e) ? (void)0 : assert_failed(#e, __FILE__, __LINE__))

#endif
