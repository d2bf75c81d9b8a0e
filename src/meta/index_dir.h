/* SPDX-License-Identifier: Apache-2.0 */
/* The directory that the live index lies in, as files. Errors are those of index.h. Thread-safe. */
#ifndef DFS_META_INDEX_DIR_H
#define DFS_META_INDEX_DIR_H

#include <sys/stat.h>

#include "meta/index.h"

/* The code for an errno, of the index that is open: what is not found is gone (DFS_EGONE). */
int index_dir_error(int e);
/* Is it still the directory that `was`, with the pointer to its manifest, and may we write there? */
int index_dir_look(const char *dir, const struct stat *was);
/* Can the file `path` be made, and, unless bytes is 0, be so large and durable? It is removed again. An errno:
 * statvfs knows nothing of quotas and of errors. */
int index_dir_try(const char *path, uint64_t bytes);
/* Has the file `path` hold so many bytes of the filesystem, as far as these leave a little free. Returns how many it
 * holds. index_dir_try() of the same path gives them back. */
uint64_t index_dir_hold(const char *path, uint64_t bytes);
/* Asks the kernel to read the table files ahead: a hint, errors are none. */
void index_dir_warm(const char *dir);
/* The next opening is to refuse it. */
void index_dir_condemn(const char *dir, const char *why);
/* A flat directory with its files; a link itself. Failures are logged. */
void index_dir_remove(const char *path);

/* The files that make an image: tables and manifest. */
int index_dir_list(const char *dir, index_file_fn fn, void *ctx);
int index_dir_read(const char *dir, const char *name, uint64_t off, void *buf, size_t len);
/* RocksDB has the file open: the same inode gets the right bytes, and a hard link of it, too. */
int index_dir_overwrite(const char *dir, const char *name, uint64_t off, const void *buf,
			size_t len);

/* See index.h; arg: const char *directory. */
void index_dir_set_marks(const char *dir, const struct hash *marks, unsigned count);
bool index_dir_has_mark(const char *dir, const struct hash *mark);
int index_dir_destroy(void *arg);
int index_dir_restore_begin(void *arg);
int index_dir_restore_write(void *arg, const char *name, uint64_t off, const void *buf, size_t len);
int index_dir_restore_end(void *arg);

#endif
