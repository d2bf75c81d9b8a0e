/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck: a read-only check of every promise that can be checked. Tables are walked one after the other; what must agree between
 * them is held in two hash tables, of inodes and of extents, for a range of these at a time (FS2): all that is in a table by
 * inode is walked along with its range, and names and maps, which lead anywhere, once for each range.
 *
 * What is checked: every record parses and has the right check value; names lead to inodes, link counts
 * and parents agree, directories are reachable from the root; map entries don't overlap, stay inside
 * their extents and files; reference counts; what slots take (fsck_usage.c); every fragment has its by-disk record and the other way
 * round, none overlap, none are in the freed table; counters; roots, journal and checkpoint of every
 * member; each fragment's header, and with `deep` its payload (P3, P4).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <uthash.h>

#include "base/words.h"
#include "meta/schema_scrub.h"
#include "pool/internal.h"
#include "pool/fsck.h"

#define PROGRESS_NS 1000000000ull

void fsck_problem(struct fsck *f, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	f->res->problems++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->report(f->ctx, "damage", text);
}

typedef int (*fsck_record_fn)(struct fsck *f, const uint8_t *key, size_t key_len,
			      const uint8_t *val, size_t val_len);
struct fsck_pass {
	enum table table;
	fsck_record_fn fn;
};

/* Returned by a record_fn: the range ends before this record. */
#define RANGE_ENDS 1

static void tell_record(struct fsck *f, enum table table, const uint8_t *k, size_t klen,
			const uint8_t *v, size_t vlen, int err)
{
	BUF text = {0};

	record_to_text(k, klen, v, vlen, &text);
	fsck_problem(f, "a record of table %c cannot be read: %s: %.*s", table, dfs_err_text(err),
		     (int)MIN(text.len, 500), (char *)text.data);
}

static bool is_at_end(const uint8_t *k, size_t klen, const struct buf *end)
{
	int order = end->len ? memcmp(k, end->data, MIN(klen, end->len)) : -1;

	return order > 0 || (order == 0 && klen >= end->len);
}

/* Calls fn for every record of a table from a key on and before another one (end_len 0: to the table's end); a record that does
 * not parse is a problem, not an end. */
static int walk_range(struct fsck *f, enum table table, const struct buf *from,
		      const struct buf *end, fsck_record_fn fn)
{
	struct meta_iter *it = meta_iter_new(f->p->meta);
	int err = 0;

	for (meta_iter_seek(it, from->data, from->len); meta_iter_valid(it); meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);

		if (klen == 0 || k[0] != (uint8_t)table || is_at_end(k, klen, end))
			break;
		err = fn(f, k, klen, v, vlen);
		if (err == RANGE_ENDS)
			break;
		if (err)
			tell_record(f, table, k, klen, v, vlen, err);
	}
	err = meta_iter_error(it);
	meta_iter_free(it);
	if (table == TABLE_MAP)
		fsck_usage_end(f);
	if (err)
		fsck_problem(f, "the index cannot be read on in table %c: %s", table,
			     dfs_err_text(err));
	return err;
}

static void key_of_table(struct buf *k, enum table table)
{
	k->len = 0;
	buf_put_u8(k, (uint8_t)table);
}

static int walk(struct fsck *f, enum table table, fsck_record_fn fn)
{
	BUF from = {0}, end = {0};

	key_of_table(&from, table);
	return walk_range(f, table, &from, &end, fn);
}

/* Of a table by inode: those of the range. */
static int walk_inodes(struct fsck *f, enum table table, fsck_record_fn fn)
{
	BUF from = {0}, end = {0};

	key_of_table(&from, table);
	if (f->first_ino)
		buf_put_be64(&from, f->first_ino);
	if (!f->is_last) {
		key_of_table(&end, table);
		buf_put_be64(&end, f->end_ino);
	}
	return walk_range(f, table, &from, &end, fn);
}

static bool has_inode(const struct fsck *f, uint64_t ino)
{
	return ino >= f->first_ino && (f->is_last || ino < f->end_ino);
}

static bool has_extent(const struct fsck *f, extent_id id)
{
	return memcmp(&id, &f->first_extent, sizeof(id)) >= 0 &&
	       (f->is_last || memcmp(&id, &f->end_extent, sizeof(id)) < 0);
}

/* ---- inodes and names ---- */

struct fsck_inode *fsck_find_inode(struct fsck *f, ino_id ino)
{
	struct fsck_inode *i;

	HASH_FIND(hh, f->inodes, &ino.v, sizeof(ino.v), i);
	return i;
}

static int on_inode(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_inode rec;
	struct fsck_inode *i;
	ino_id ino;
	int err = parse_inode(k, klen, v, vlen, &ino, &rec);

	if (err)
		return err;
	if (HASH_COUNT(f->inodes) == f->max_entries) {
		f->end_ino = ino.v;
		f->is_last = false;
		return RANGE_ENDS;
	}
	i = xcalloc(1, sizeof(*i));
	i->ino = ino.v;
	i->mode = rec.mode;
	i->nlink = rec.nlink;
	i->size = rec.size;
	i->mapped_bytes = rec.mapped_bytes;
	i->prealloc_bytes = rec.prealloc_bytes;
	i->parent = rec.parent.v;
	i->inline_len = rec.inline_len;
	i->inlined = rec.flags & INODE_INLINE;
	i->may_have_xattrs = rec.flags & INODE_XATTRS;
	i->beyond = rec.flags & INODE_BEYOND;
	i->may_have_usage = rec.flags & INODE_USAGE;
	HASH_ADD(hh, f->inodes, ino, sizeof(i->ino), i);
	f->res->inodes++;
	f->logical_bytes += rec.mapped_bytes;
	f->prealloc_bytes += rec.prealloc_bytes;
	return 0;
}

static int on_inline(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	const uint8_t *data;
	struct fsck_inode *i;
	ino_id ino;
	size_t len;
	int err = parse_inline(k, klen, v, vlen, &ino, &data, &len);

	if (err)
		return err;
	i = fsck_find_inode(f, ino);
	if (!i)
		fsck_problem(f, "inline content belongs to inode %llu, which does not exist",
			     (unsigned long long)ino.v);
	else
		i->inline_seen = (uint32_t)len;
	return 0;
}

static int on_orphan(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_orphan o;
	struct fsck_inode *i;
	int err = parse_orphan(k, klen, v, vlen, &o);

	if (err)
		return err;
	i = fsck_find_inode(f, o.ino);
	if (!i)
		fsck_problem(f, "an orphan record names inode %llu, which does not exist",
			     (unsigned long long)o.ino.v);
	else
		i->orphan = o.kind;
	return 0;
}

/* The directory that it is in. */
static void check_parent(struct fsck *f, ino_id dir, const struct rec_dentry *d)
{
	struct fsck_inode *parent = fsck_find_inode(f, dir);

	if (!parent || !S_ISDIR(parent->mode))
		fsck_problem(f, "the name \"%s\" is in inode %llu, which is no directory", d->name,
			     (unsigned long long)dir.v);
	else
		parent->subdirs += S_ISDIR(d->mode);
}

/* The inode that it leads to. */
static void check_target(struct fsck *f, ino_id dir, const struct rec_dentry *d)
{
	struct fsck_inode *i = fsck_find_inode(f, d->ino);

	if (!i) {
		fsck_problem(
			f,
			"the name \"%s\" in directory %llu leads to inode %llu, which does not exist",
			d->name, (unsigned long long)dir.v, (unsigned long long)d->ino.v);
		return;
	}
	i->links++;
	if ((i->mode & S_IFMT) != (d->mode & S_IFMT))
		fsck_problem(f,
			     "the name \"%s\" in directory %llu has another type than inode %llu",
			     d->name, (unsigned long long)dir.v, (unsigned long long)d->ino.v);
	if (S_ISDIR(i->mode) && i->parent != dir.v)
		fsck_problem(f, "directory %llu (\"%s\") names %llu as its parent, but is in %llu",
			     (unsigned long long)d->ino.v, d->name, (unsigned long long)i->parent,
			     (unsigned long long)dir.v);
}

/* Once for each range. */
static int on_dentry(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_dentry d;
	ino_id dir;
	int err = parse_dentry(k, klen, v, vlen, &dir, &d);

	if (err)
		return f->first_ino ? 0 : err;
	f->res->dentries += f->first_ino == 0;
	if (has_inode(f, dir.v))
		check_parent(f, dir, &d);
	if (has_inode(f, d.ino.v))
		check_target(f, dir, &d);
	return 0;
}

static int on_xattr(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	const uint8_t *value;
	struct fsck_inode *i;
	const char *name;
	size_t nlen, vallen;
	ino_id ino;
	int err = parse_xattr(k, klen, v, vlen, &ino, &name, &nlen, &value, &vallen);

	if (err)
		return err;
	i = fsck_find_inode(f, ino);
	if (!i)
		fsck_problem(f,
			     "the attribute \"%.*s\" belongs to inode %llu, which does not exist",
			     (int)nlen, name, (unsigned long long)ino.v);
	else if (!i->may_have_xattrs)
		fsck_problem(
			f, "inode %llu has the attribute \"%.*s\", but its record says it has none",
			(unsigned long long)ino.v, (int)nlen, name);
	return 0;
}

/* ---- maps ---- */

static int on_map(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_map m;
	struct fsck_inode *i;
	ino_id ino;
	int err = parse_map(k, klen, v, vlen, &ino, &m);

	if (err)
		return err;
	f->res->map_entries++;
	if (ino.v == f->map_ino && m.file_offset < f->map_end)
		fsck_problem(f, "inode %llu: the map entry at %llu overlaps the one before",
			     (unsigned long long)ino.v, (unsigned long long)m.file_offset);
	f->map_ino = ino.v;
	f->map_end = m.file_offset + m.len;
	i = fsck_find_inode(f, ino);
	if (!i) {
		fsck_problem(f, "a map entry belongs to inode %llu, which does not exist",
			     (unsigned long long)ino.v);
	} else {
		i->mapped_seen += m.len;
		if (i->inlined)
			fsck_problem(f,
				     "inode %llu holds its data inside, but has a map entry, too",
				     (unsigned long long)ino.v);
		if (f->map_end > i->size && i->orphan == 0)
			fsck_problem(
				f,
				"inode %llu: the map entry at %llu goes past the file's end at %llu",
				(unsigned long long)ino.v, (unsigned long long)m.file_offset,
				(unsigned long long)i->size);
	}
	fsck_usage_map(f, ino, &m);
	return 0;
}

/* 0: it is none, or not a directory. */
static uint64_t parent_of(struct fsck *f, uint64_t ino)
{
	struct fsck_inode *i = fsck_find_inode(f, (ino_id){ino});
	struct rec_inode rec;

	if (i)
		return S_ISDIR(i->mode) ? i->parent : 0;
	if (has_inode(f, ino) || get_inode(f->p->meta, (ino_id){ino}, &rec) || !S_ISDIR(rec.mode))
		return 0;
	return rec.parent.v;
}

static enum fsck_climb known(struct fsck *f, uint64_t ino)
{
	struct fsck_inode *i = fsck_find_inode(f, (ino_id){ino});

	if (ino == DFS_ROOT_INO)
		return CLIMB_REACHES;
	return ino == 0 ? CLIMB_LOST : i ? i->climb : CLIMB_UNKNOWN;
}

/*
 * Does the chain of parents end at the root? What is found out holds for all on the way, so that a tree is climbed once, however
 * deep it is, as far as it lies in the range. A circle is met by a second climber who waits at places ever further up (Brent).
 */
static bool reaches_root(struct fsck *f, struct fsck_inode *dir)
{
	uint64_t up = dir->ino, waits = up, steps = 0, most = 1;
	enum fsck_climb climb;

	while ((climb = known(f, up)) == CLIMB_UNKNOWN) {
		up = parent_of(f, up);
		if (up == waits)
			climb = CLIMB_LOST;
		if (up == waits)
			break;
		if (++steps == most) {
			waits = up;
			steps = 0;
			most *= 2;
		}
	}
	for (struct fsck_inode *i = dir; i && i->climb == CLIMB_UNKNOWN && i->ino != DFS_ROOT_INO;
	     i = fsck_find_inode(f, (ino_id){i->parent}))
		i->climb = climb;
	return climb == CLIMB_REACHES;
}

static void check_inode(struct fsck *f, struct fsck_inode *i)
{
	uint64_t mapped = i->mapped_seen + (i->inlined ? i->inline_len : 0);
	unsigned long long ino = i->ino;

	if (S_ISDIR(i->mode)) {
		if (i->nlink != 2 + i->subdirs && i->orphan == 0)
			fsck_problem(f, "directory %llu has link count %u, but %u %s", ino,
				     i->nlink, i->subdirs,
				     plural(i->subdirs, "subdirectory", "subdirectories"));
		if (i->links != (i->ino != DFS_ROOT_INO) && i->orphan == 0)
			fsck_problem(f, "directory %llu is in %u %s", ino, i->links,
				     plural(i->links, "directory", "directories"));
		if (i->orphan == 0 && !reaches_root(f, i))
			fsck_problem(f, "directory %llu can't be reached from the root", ino);
	} else if (i->nlink != i->links) {
		fsck_problem(f, "inode %llu has link count %u, but %u %s", ino, i->nlink, i->links,
			     plural(i->links, "name", "names"));
	}
	if (i->nlink == 0 && i->orphan != ORPHAN_UNLINKED)
		fsck_problem(f, "inode %llu has no name and is not being deleted", ino);
	if (i->inline_seen != i->inline_len)
		fsck_problem(f, "inode %llu has %u %s of inline content, but its record says %u",
			     ino, i->inline_seen, plural(i->inline_seen, "byte", "bytes"),
			     i->inline_len);
	if (i->inlined ? !S_ISREG(i->mode) && !S_ISLNK(i->mode) : i->inline_len != 0)
		fsck_problem(f,
			     "inode %llu of mode %o can't have inline content, or is not marked so",
			     ino, i->mode);
	if (i->inline_len > i->size)
		fsck_problem(f, "inode %llu has %u %s of inline content, but a size of %llu", ino,
			     i->inline_len, plural(i->inline_len, "byte", "bytes"),
			     (unsigned long long)i->size);
	if (i->nlink && i->beyond != (i->orphan == ORPHAN_TRUNCATE))
		fsck_problem(f, "inode %llu is %s, but %s", ino,
			     i->beyond ? "marked as being shortened"
				       : "not marked as being shortened",
			     i->beyond ? "no orphan record says so" : "an orphan record says so");
	if (i->prealloc_seen != i->prealloc_bytes)
		fsck_problem(f, "inode %llu has %llu %s preallocated, but its record says %llu",
			     ino, (unsigned long long)i->prealloc_seen,
			     plural(i->prealloc_seen, "byte", "bytes"),
			     (unsigned long long)i->prealloc_bytes);
	if (S_ISREG(i->mode) && mapped != i->mapped_bytes)
		fsck_problem(f, "inode %llu maps %llu %s, but its record says %llu", ino,
			     (unsigned long long)mapped, plural(mapped, "byte", "bytes"),
			     (unsigned long long)i->mapped_bytes);
}

/* ---- extents and disks ---- */

static void check_bydisk(struct fsck *f, const struct rec_extent *rec, unsigned i, const char *id)
{
	const struct rec_fragment *fr = &rec->frags[i];
	struct rec_bydisk by;
	BUF key = {0}, val = {0};
	int err;

	key_bydisk(&key, fr->disk, fr->segment, fr->offset);
	err = meta_get(f->p->meta, key.data, key.len, &val);
	if (!err)
		err = parse_bydisk(key.data, key.len, val.data, val.len, &by);
	if (err || !uuid_eq(&by.extent.u, &rec->id.u) || by.index != i ||
	    by.record_len != fr->record_len)
		fsck_problem(f, "fragment %u of extent %s has no matching by-disk record: %s", i,
			     id, err ? dfs_err_text(err) : "it names another extent");
	f->fragments++;
	if (fr->disk.v < META_COUNTERS - META_COUNT_DISK_USED)
		f->used[fr->disk.v] += fr->record_len;
}

static void verify_extent(struct fsck *f, const struct rec_extent *rec, const char *id)
{
	struct extent_check c;
	unsigned width = (unsigned)rec->k + rec->m;
	char path[4096];
	int err = extent_verify(f->p->extents, rec, f->deep, &c);

	if (err) {
		fsck_problem(f, "extent %s cannot be verified: %s", id, dfs_err_text(err));
		return;
	}
	f->res->fragments += width;
	f->res->bytes_verified += (uint64_t)c.good *
				  (f->deep ? rec->fragment_len : rec->header_len);
	for (unsigned i = 0; i < width; i++)
		if (c.status[i] == FRAGMENT_BAD)
			fsck_problem(
				f,
				"fragment %u of extent %s on disk %u, segment %08x at %u is damaged%s",
				i, id, rec->frags[i].disk.v, rec->frags[i].segment,
				rec->frags[i].offset,
				c.recoverable ? "; the others suffice to rebuild it" : "");
	f->res->endangered_extents += c.good < width && c.recoverable;
	if (c.recoverable)
		return;
	f->res->lost_extents++;
	pool_inode_path(f->p, rec->ino, path, sizeof(path));
	fsck_problem(f, "%s has lost data: extent %s has %u good %s and needs %u", path, id, c.good,
		     plural(c.good, "fragment", "fragments"), rec->k);
}

/* Most of the time goes into the extents, so they are what progress is counted in. */
static void tell_progress(struct fsck *f)
{
	uint64_t now = env_now_ns(), took = now - f->began_ns;
	uint64_t total = (uint64_t)meta_counter(f->p->meta, META_COUNT_EXTENTS);
	uint64_t done = f->res->extents;
	double seconds = (double)took / 1e9;
	char text[160];

	if (now - f->told_ns < PROGRESS_NS || done == 0)
		return;
	f->told_ns = now;
	snprintf(text, sizeof(text), "%llu of %llu %s, %.0f MiB at %.0f MiB/s, about %.0f s left",
		 (unsigned long long)done, (unsigned long long)MAX(done, total),
		 plural(MAX(done, total), "extent", "extents"),
		 (double)f->res->bytes_verified / 1048576.0,
		 (double)f->res->bytes_verified / 1048576.0 / seconds,
		 seconds / (double)done * (double)(total > done ? total - done : 0));
	f->report(f->ctx, "progress", text);
}

static struct fsck_extent *find_extent(struct fsck *f, extent_id id)
{
	struct fsck_extent *e;

	HASH_FIND(hh, f->extents, &id, sizeof(id), e);
	return e;
}

static struct fsck_extent *add_extent(struct fsck *f, extent_id id)
{
	struct fsck_extent *e = xcalloc(1, sizeof(*e));

	e->id = id;
	HASH_ADD(hh, f->extents, id, sizeof(e->id), e);
	return e;
}

/* Which ones are in the range. One whose record is damaged is told of later. */
static int on_extent_id(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v,
			size_t vlen)
{
	struct rec_extent rec;

	if (parse_extent(k, klen, v, vlen, &rec))
		return 0;
	if (HASH_COUNT(f->extents) == f->max_entries) {
		f->end_extent = rec.id;
		f->is_last = false;
		return RANGE_ENDS;
	}
	(void)add_extent(f, rec.id);
	return 0;
}

static void tell_missing(struct fsck *f, extent_id extent, uint64_t ino)
{
	char id[UUID_TEXT_LEN + 1];

	uuid_format(&extent.u, id);
	fsck_problem(f, "inode %llu maps extent %s, which has no record", (unsigned long long)ino,
		     id);
}

/* Once for each range. Entries that can't be read are told of where the map is checked. */
static int on_mapped(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct fsck_extent *e;
	struct rec_map m;
	ino_id ino;

	if (parse_map(k, klen, v, vlen, &ino, &m) || !has_extent(f, m.extent))
		return 0;
	e = find_extent(f, m.extent);
	if (!e && HASH_COUNT(f->extents) >= 2 * (uint64_t)f->max_entries) {
		tell_missing(f, m.extent, ino.v); /* so many that each is told of alone */
		return 0;
	}
	e = e ? e : add_extent(f, m.extent);
	e->refs++;
	e->end = MAX(e->end, (uint64_t)m.extent_offset + m.len);
	if (e->ino != 0 && e->ino != ino.v)
		fsck_problem(f, "inodes %llu and %llu share an extent", (unsigned long long)e->ino,
			     (unsigned long long)ino.v);
	e->ino = ino.v;
	return 0;
}

static int on_extent(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	char id[UUID_TEXT_LEN + 1];
	struct fsck_extent *e;
	struct rec_extent rec;
	int err = parse_extent(k, klen, v, vlen, &rec);

	if (err)
		return err;
	f->res->extents++;
	uuid_format(&rec.id.u, id);
	e = find_extent(f, rec.id);
	if (e)
		e->seen = true;
	if (!e || e->refs == 0) {
		fsck_problem(f, "extent %s belongs to no file", id);
	} else {
		if (e->refs != rec.refs)
			fsck_problem(f, "extent %s has %u %s, but its record says %u", id, e->refs,
				     plural(e->refs, "reference", "references"), rec.refs);
		if (e->end > rec.len)
			fsck_problem(f, "extent %s of %u %s is mapped up to byte %llu", id, rec.len,
				     plural(rec.len, "byte", "bytes"), (unsigned long long)e->end);
		if (e->ino != rec.ino.v)
			fsck_problem(f, "extent %s belongs to inode %llu, but its record says %llu",
				     id, (unsigned long long)e->ino, (unsigned long long)rec.ino.v);
	}
	for (unsigned i = 0; i < (unsigned)rec.k + rec.m; i++)
		if (rec.frags[i].disk.v != 0)
			check_bydisk(f, &rec, i, id);
	fsck_check_narrow(f, &rec, id);
	verify_extent(f, &rec, id);
	tell_progress(f);
	return 0;
}

static int on_bydisk(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_bydisk by;
	int err = parse_bydisk(k, klen, v, vlen, &by);

	if (err)
		return err;
	f->bydisk_seen++;
	if (by.disk.v == f->seg_disk && by.segment == f->seg_number && by.offset < f->seg_end)
		fsck_problem(f,
			     "on disk %u, segment %08x, the record at %u overlaps the one before",
			     by.disk.v, by.segment, by.offset);
	f->seg_disk = by.disk.v;
	f->seg_number = by.segment;
	f->seg_end = by.offset + (uint64_t)by.record_len;
	return 0;
}

static int on_freed(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_freed fr;
	BUF key = {0}, val = {0};
	int err = parse_freed(k, klen, v, vlen, &fr);

	if (err)
		return err;
	key_bydisk(&key, fr.disk, fr.segment, fr.offset);
	if (meta_get(f->p->meta, key.data, key.len, &val) == 0)
		fsck_problem(f, "the record on disk %u, segment %08x at %u is both live and freed",
			     fr.disk.v, fr.segment, fr.offset);
	return 0;
}

static int on_disk(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_disk rec;

	(void)f;
	return parse_disk(k, klen, v, vlen, &rec);
}

static int on_numbers(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	uint32_t next;
	disk_id disk;

	(void)f;
	return parse_numbers(k, klen, v, vlen, &disk, &next);
}

static int on_doubt(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	uint32_t segment, from;
	disk_id disk;

	(void)f;
	return parse_doubt(k, klen, v, vlen, &disk, &segment, &from);
}

static int on_health(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_health health;

	(void)f;
	return parse_health(k, klen, v, vlen, &health);
}

static int on_job(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct rec_job job;

	(void)f;
	return parse_job(k, klen, v, vlen, &job);
}

static int on_scrub(struct fsck *f, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	(void)f;
	return check_scrub_record(k, klen, v, vlen);
}

static void check_counter(struct fsck *f, uint32_t counter, uint64_t seen, const char *what)
{
	int64_t have = meta_counter(f->p->meta, counter);

	if (have != (int64_t)seen)
		fsck_problem(f, "the counter of %s says %lld, but there are %llu", what,
			     (long long)have, (unsigned long long)seen);
}

static void check_totals(struct fsck *f)
{
	char what[64];

	if (f->fragments != f->bydisk_seen)
		fsck_problem(f, "fragments: %llu, but by-disk records: %llu",
			     (unsigned long long)f->fragments, (unsigned long long)f->bydisk_seen);
	check_counter(f, META_COUNT_INODES, f->res->inodes, "inodes");
	check_counter(f, META_COUNT_EXTENTS, f->res->extents, "extents");
	check_counter(f, META_COUNT_LOGICAL_BYTES, f->logical_bytes, "bytes in files");
	check_counter(f, META_COUNT_PREALLOC_BYTES, f->prealloc_bytes, "bytes preallocated");
	if (f->usages != f->usages_seen)
		fsck_problem(f, "usage records: %llu, but slots that have one: %llu",
			     (unsigned long long)f->usages, (unsigned long long)f->usages_seen);
	for (unsigned d = 1; d < META_COUNTERS - META_COUNT_DISK_USED; d++) {
		snprintf(what, sizeof(what), "bytes used on disk %u", d);
		check_counter(f, META_COUNT_DISK_USED + d, f->used[d], what);
	}
}

/* ---- metadata on the disks ---- */

struct member_report {
	struct fsck *f;
	const char *label;
};

static void on_member_defect(void *ctx, const char *text)
{
	struct member_report *r = ctx;

	fsck_problem(r->f, "metadata on disk %s: %s", r->label, text);
}

static void on_table_defect(void *ctx, const char *text)
{
	fsck_problem(ctx, "metadata: %s", text);
}

static void check_members(struct fsck *f)
{
	struct uuid uuid = pool_uuid(f->p);

	(void)meta_check_tables(f->p->meta, on_table_defect, f);

	for (unsigned i = 0; i < disk_count(f->p->disks); i++) {
		struct disk *d = disk_at(f->p->disks, i);
		struct disk_info info = disk_info(d);
		struct member_report r = {f, info.label};
		struct root root;
		unsigned damaged;
		int err;

		if (!disk_present(d))
			continue;
		if (meta_is_member(f->p->meta, info.id)) {
			err = meta_check_member(disk_dev(d), &uuid, on_member_defect, &r);
			if (err < 0)
				fsck_problem(f, "metadata on disk %s cannot be checked: %s",
					     info.label, dfs_err_text(err));
			continue;
		}
		err = meta_read_root(disk_dev(d), &root, &damaged);
		if (err)
			fsck_problem(f, "disk %s has no valid root: %s", info.label,
				     dfs_err_text(err));
		else if (damaged)
			fsck_problem(f, "disk %s has %u damaged root %s", info.label, damaged,
				     plural(damaged, "record", "records"));
	}
}

/* A disk that is not there is told, and damage only when its directory is there, but not its identity. */
static void check_absent(struct fsck *f)
{
	for (unsigned i = 0; i < f->p->absent_count; i++) {
		const struct absent_disk *a = &f->p->absent[i];

		if (a->err == DFS_EGONE || a->err == DFS_ETIMEDOUT)
			f->report(f->ctx, "warning", a->why.text);
		else
			fsck_problem(f, "%s", a->why.text);
	}
}

/* Nothing is wrong with what is there; but something is missing that nothing else shows. */
static void check_loss(struct fsck *f)
{
	struct meta_loss loss;
	char text[256];
	int err = meta_loss(f->p->meta, &loss);

	if (err) {
		fsck_problem(f, "the record of lost changes cannot be read: %s", dfs_err_text(err));
		return;
	}
	if (loss.from == 0)
		return;
	snprintf(
		text, sizeof(text),
		"acknowledged changes were lost with a damaged metadata journal, or disks that were set back: "
		"transactions %llu to at least %llu",
		(unsigned long long)loss.from, (unsigned long long)loss.last);
	f->report(f->ctx, "warning", text);
}

static void release(struct fsck *f)
{
	struct fsck_inode *i, *inext;
	struct fsck_extent *e, *enext;

	HASH_ITER(hh, f->inodes, i, inext) {
		HASH_DEL(f->inodes, i);
		free(i);
	}
	HASH_ITER(hh, f->extents, e, enext) {
		HASH_DEL(f->extents, e);
		free(e);
	}
}

/* ---- ranges (FS2) ---- */

static int check_inodes(struct fsck *f)
{
	static const struct fsck_pass passes[] = {
		{TABLE_INODE, on_inode}, /* which says where the range ends */
		{TABLE_INLINE, on_inline},
		{TABLE_ORPHAN, on_orphan},
		{TABLE_XATTR, on_xattr},
		{TABLE_MAP, on_map},
		{TABLE_PREALLOC, fsck_on_prealloc},
	};
	struct fsck_inode *i, *next;
	int err;

	f->is_last = true;
	for (unsigned n = 0; n < ARRAY_SIZE(passes); n++) {
		err = walk_inodes(f, passes[n].table, passes[n].fn);
		if (err)
			return err;
	}
	err = walk(f, TABLE_DENTRY, on_dentry);
	if (err)
		return err;
	HASH_ITER(hh, f->inodes, i, next)
		check_inode(f, i);
	return 0;
}

static int walk_extents(struct fsck *f, fsck_record_fn fn)
{
	BUF from = {0}, end = {0};

	key_extent(&from, f->first_extent);
	if (!f->has_begun)
		key_of_table(&from, TABLE_EXTENT);
	if (!f->is_last)
		key_extent(&end, f->end_extent);
	return walk_range(f, TABLE_EXTENT, &from, &end, fn);
}

static int check_extents(struct fsck *f)
{
	struct fsck_extent *e, *next;
	int err;

	f->is_last = true;
	err = walk_extents(f, on_extent_id);
	if (!err)
		err = walk(f, TABLE_MAP, on_mapped);
	if (!err)
		err = walk_extents(f, on_extent);
	if (err)
		return err;
	HASH_ITER(hh, f->extents, e, next)
		if (!e->seen)
			tell_missing(f, e->id, e->ino);
	return 0;
}

static int check_ranges(struct fsck *f)
{
	int err;

	do {
		f->first_ino = f->has_begun ? f->end_ino : 0;
		err = check_inodes(f);
		f->has_begun = true;
		release(f);
	} while (!err && !f->is_last);
	f->has_begun = false;
	while (!err) {
		err = check_extents(f);
		f->has_begun = true;
		f->first_extent = f->end_extent;
		release(f);
		if (f->is_last)
			break;
	}
	return err;
}

static int check_others(struct fsck *f)
{
	static const struct fsck_pass passes[] = {
		{TABLE_DISK, on_disk},	     {TABLE_USAGE, fsck_on_usage},
		{TABLE_FOLD, fsck_on_fold},  {TABLE_NARROW, fsck_on_narrow},
		{TABLE_BYDISK, on_bydisk},   {TABLE_FREED, on_freed},
		{TABLE_NUMBERS, on_numbers}, {TABLE_DOUBT, on_doubt},
		{TABLE_JOB, on_job},	     {TABLE_HEALTH, on_health},
		{TABLE_SCRUB, on_scrub},
	};
	int err = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(passes) && !err; i++)
		err = walk(f, passes[i].table, passes[i].fn);
	return err;
}

int pool_fsck_within(struct pool *p, bool deep, unsigned max_entries, pool_fsck_report_fn report,
		     void *ctx, struct pool_fsck_result *ret_result)
{
	struct fsck *f = xcalloc(1, sizeof(*f));
	int err = 0;

	*ret_result = (struct pool_fsck_result){0};
	f->p = p;
	f->deep = deep;
	f->max_entries = max_entries;
	f->report = report;
	f->ctx = ctx;
	f->res = ret_result;
	f->began_ns = f->told_ns = env_now_ns();
	if (p->meta) {
		err = check_ranges(f);
		if (!err)
			err = check_others(f);
		if (!err)
			check_totals(f);
		check_members(f);
		check_absent(f);
		check_loss(f);
		if (deep)
			fsck_segments(f);
	}
	release(f);
	free(f->slot.extents);
	free(f);
	return ret_result->problems ? DFS_EDAMAGED : err;
}

int pool_fsck(struct pool *p, bool deep, pool_fsck_report_fn report, void *ctx,
	      struct pool_fsck_result *ret_result)
{
	return pool_fsck_within(p, deep, POOL_FSCK_ENTRIES, report, ctx, ret_result);
}
