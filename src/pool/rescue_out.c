/* SPDX-License-Identifier: Apache-2.0 */
/* Rescue: what is written below the target directory, and which bytes of a file are lost. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pool/rescue_internal.h"

int rescue_errno(void)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
		return DFS_ENOSPC;
	case EROFS:
		return DFS_EROFS;
	case EACCES:
		return DFS_EACCES;
	case EPERM:
		return DFS_EPERM;
	case EFBIG:
		return DFS_EFBIG;
	case EINVAL:
		return DFS_EINVAL;
	case EEXIST:
		return DFS_EEXIST;
	case ENAMETOOLONG:
		return DFS_ENAMETOOLONG;
	case ENOTSUP:
		return DFS_ENOTSUP;
	case EMLINK:
		return DFS_EMLINK;
	default:
		return DFS_EIO;
	}
}

bool rescue_is_over(int err) { return err == DFS_ENOSPC || err == DFS_EROFS; }

/* ---- ranges that are lost ---- */

/* The first that ends at or beyond off. */
static unsigned lower(const struct rescue_lost *l, uint64_t off)
{
	unsigned lo = 0, hi = l->count;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (l->v[mid].to < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void erase(struct rescue_lost *l, unsigned at, unsigned n)
{
	memmove(l->v + at, l->v + at + n, (l->count - at - n) * sizeof(*l->v));
	l->count -= n;
}

static void insert(struct rescue_lost *l, unsigned at, struct rescue_range x)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
	}
	memmove(l->v + at + 1, l->v + at, (l->count - at) * sizeof(*l->v));
	l->v[at] = x;
	l->count++;
}

void rescue_lost_add(struct rescue_lost *l, uint64_t from, uint64_t to)
{
	unsigned at = lower(l, from), n = 0;

	while (at + n < l->count && l->v[at + n].from <= to) {
		from = MIN(from, l->v[at + n].from);
		to = MAX(to, l->v[at + n].to);
		n++;
	}
	if (n) {
		l->v[at] = (struct rescue_range){from, to};
		erase(l, at + 1, n - 1);
	} else if (l->count < RESCUE_LOST_MAX) {
		insert(l, at, (struct rescue_range){from, to});
	} else { /* the neighbour grows over what is between */
		at = MIN(at, l->count - 1);
		l->v[at].from = MIN(l->v[at].from, from);
		l->v[at].to = MAX(l->v[at].to, to);
		l->coarse = true;
	}
}

void rescue_lost_remove(struct rescue_lost *l, uint64_t from, uint64_t to)
{
	for (unsigned i = lower(l, from); i < l->count && l->v[i].from < to;) {
		struct rescue_range x = l->v[i];

		if (x.to <= from) {
			i++;
		} else if (x.from >= from && x.to <= to) {
			erase(l, i, 1);
		} else if (x.from < from && x.to > to) {
			if (l->count == RESCUE_LOST_MAX) {
				l->coarse = true;
				return;
			}
			l->v[i].to = from;
			insert(l, i + 1, (struct rescue_range){to, x.to});
			return;
		} else {
			l->v[i] = x.from < from ? (struct rescue_range){x.from, from}
						: (struct rescue_range){to, x.to};
			i++;
		}
	}
}

void rescue_lost_cut(struct rescue_lost *l, uint64_t size)
{
	if (size < INT64_MAX)
		rescue_lost_remove(l, size, UINT64_MAX);
}

uint64_t rescue_lost_bytes(const struct rescue_lost *l)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < l->count; i++)
		sum += l->v[i].to - l->v[i].from;
	return sum;
}

void rescue_lost_release(struct rescue_lost *l)
{
	free(l->v);
	*l = (struct rescue_lost){0};
}

/* ---- content ---- */

static int put(struct rescue *r, int fd, const uint8_t *data, uint64_t len, uint64_t off)
{
	r->res->bytes += len;
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rescue_errno();
		data += n;
		len -= (uint64_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* One map entry, up to the file's end. */
static int put_entry(struct rescue *r, int fd, const struct rec_map *m, uint64_t size,
		     struct rescue_lost *lost)
{
	uint64_t len = MIN(m->len, size - m->file_offset), end = m->extent_offset + len;
	const struct rescue_bytes *b;
	int err = rescue_get(r, m->extent, (uint32_t)end, &b);

	if (err == DFS_ECORRUPT) {
		rescue_lost_add(lost, m->file_offset, m->file_offset + len);
		return 0;
	}
	if (err)
		return err;
	for (unsigned i = 0; i < b->bad_count; i++) {
		uint64_t from = MAX(b->bad[i].from, m->extent_offset), to = MIN(b->bad[i].to, end);

		if (from < to)
			rescue_lost_add(lost, m->file_offset + from - m->extent_offset,
					m->file_offset + to - m->extent_offset);
	}
	return put(r, fd, b->data + m->extent_offset, len, m->file_offset);
}

/* The map from its beginning to the file's end. A damaged entry: what it may be about is lost. */
static int put_map_content(struct rescue *r, int fd, ino_id ino, uint64_t size,
			   struct rescue_lost *lost)
{
	uint64_t damaged_from = UINT64_MAX, end = 0;
	struct cursor c;
	int err = 0;

	cursor_of_inode(&c, r->meta, TABLE_MAP, ino);
	while (!err && cursor_next(&c)) {
		struct rec_map m;

		if (cursor_map(&c, &m)) {
			damaged_from = MIN(damaged_from, end);
			continue;
		}
		if (m.file_offset >= size)
			break;
		if (damaged_from != UINT64_MAX && damaged_from < m.file_offset)
			rescue_lost_add(lost, damaged_from, m.file_offset);
		damaged_from = UINT64_MAX;
		err = put_entry(r, fd, &m, size, lost);
		end = MAX(end, m.file_offset + m.len);
		rescue_progress(r, "writing files");
	}
	if (!err && (damaged_from != UINT64_MAX || cursor_error(&c)) && end < size)
		rescue_lost_add(lost, MIN(damaged_from, end), size);
	(void)cursor_close(&c, 0);
	return err;
}

int rescue_content(struct rescue *r, int fd, ino_id ino, const struct rec_inode *rec,
		   struct rescue_lost *lost)
{
	BUF data = {0};
	int err = 0;

	if (!(rec->flags & INODE_INLINE))
		err = put_map_content(r, fd, ino, rec->size, lost);
	else if (rec->inline_len && get_inline(r->meta, ino, &data))
		rescue_lost_add(lost, 0, MIN(rec->inline_len, rec->size));
	else
		err = put(r, fd, data.data, MIN(data.len, rec->size), 0);
	if (!err && ftruncate(fd, (off_t)rec->size))
		err = rescue_errno();
	return err;
}

int rescue_dir(struct rescue *r, const char *name, int *fd)
{
	if (*fd >= 0)
		return 0;
	if (mkdirat(r->to_fd, name, 0700) && errno != EEXIST)
		return rescue_errno();
	*fd = openat(r->to_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *fd < 0 ? rescue_errno() : 0;
}

int rescue_file(struct rescue *r, int dir_fd, const char *name, ino_id ino,
		const struct rec_inode *rec, const char *path)
{
	struct rescue_lost lost = {0};
	char number[32], other[64];
	int err, fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			     0600);

	err = fd < 0 ? rescue_errno() : 0;
	if (err && !rescue_is_over(err) &&
	    dir_fd != r->unnamed_fd) { /* a name that can't be here */
		snprintf(number, sizeof(number), "%llu", (unsigned long long)ino.v);
		snprintf(other, sizeof(other), "unnamed/%s", number);
		rescue_found(r, path, ino, NULL, "its name cannot be made: %s; it is put at %s",
			     dfs_err_text(err), other);
		err = rescue_dir(r, "unnamed", &r->unnamed_fd);
		return err ? err : rescue_file(r, r->unnamed_fd, number, ino, rec, other);
	}
	if (!err)
		err = rescue_content(r, fd, ino, rec, &lost);
	if (fd >= 0) {
		r->res->files++;
		close(fd);
		rescue_attributes(r, dir_fd, name, ino, rec, path);
	}
	if (err)
		rescue_found(r, path, ino, NULL, "it cannot be written: %s", dfs_err_text(err));
	rescue_lost_cut(&lost, rec->size);
	if (lost.count)
		rescue_found(r, path, ino, &lost, "%s", "");
	rescue_lost_release(&lost);
	return rescue_is_over(err) ? err : 0;
}

/* ---- attributes ---- */

static void set_xattrs(struct rescue *r, const char *proc_path, ino_id ino, const char *path)
{
	char name[DFS_NAME_MAX + 1];
	struct cursor c;

	cursor_of_inode(&c, r->meta, TABLE_XATTR, ino);
	while (cursor_next(&c)) {
		const uint8_t *data;
		const char *found;
		size_t name_len, len;

		if (cursor_xattr(&c, &found, &name_len, &data, &len)) {
			rescue_found(r, path, ino, NULL, "an extended attribute is damaged");
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)name_len, found);
		if (lsetxattr(proc_path, name, data, len, 0))
			rescue_found(r, path, ino, NULL,
				     "its extended attribute %s cannot be set: %s", name,
				     dfs_err_text(errno));
	}
	(void)cursor_close(&c, 0);
}

void rescue_attributes(struct rescue *r, int dir_fd, const char *name, ino_id ino,
		       const struct rec_inode *rec, const char *path)
{
	const struct timespec times[2] = {{rec->atime.sec, rec->atime.nsec},
					  {rec->mtime.sec, rec->mtime.nsec}};
	FREE char *proc_path = xasprintf("/proc/self/fd/%d/%s", dir_fd, name);
	mode_t mode = rec->mode & 07777;

	if (fchownat(dir_fd, name, rec->uid, rec->gid, AT_SYMLINK_NOFOLLOW)) {
		r->res->owners_not_set++;
		mode &= 01777; /* its bits would lend the rights of somebody else */
	}
	if (rec->flags & INODE_XATTRS)
		set_xattrs(r, proc_path, ino, path);
	if (!S_ISLNK(rec->mode) && fchmodat(dir_fd, name, mode, 0))
		rescue_found(r, path, ino, NULL, "its mode cannot be set: %s", dfs_err_text(errno));
	if (utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW))
		rescue_found(r, path, ino, NULL, "its times cannot be set: %s",
			     dfs_err_text(errno));
}
