/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations on files' storage: show-redundancy and list-extents, for the pool, a directory's tree
 * or one file. Rows are bounded (--limit); sums always count everything. No locks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/words.h"
#include "ctl/call.h"
#include "meta/cursor.h"

#define DEFAULT_ROWS 1000u
#define MAX_ROWS 10000u /* some 1 KiB each: fits a frame */
#define MAX_DEPTH 4096u

struct files_ctx {
	struct ctl_call *c;
	struct disk_views views;
	struct metadata_safety metadata;
	struct safety_table total; /* of all files */
	struct safety_table file;  /* of the one at hand */
	json_t *rows;
	uint64_t limit, left_out;
	uint64_t files, inline_files, inline_bytes, unreadable;
};

static const char *type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFBLK:
	case S_IFCHR:
		return "device";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "unknown";
	}
}

static uint64_t arg_limit(struct ctl_call *c)
{
	uint64_t limit = arg_u64(c, "limit", DEFAULT_ROWS);

	return limit == 0 || limit > MAX_ROWS ? MAX_ROWS : limit;
}

/* ---- show-redundancy ---- */

static int add_map(void *arg, const struct rec_map *m)
{
	struct files_ctx *f = arg;
	struct rec_extent e;
	int err = get_extent(pool_meta(f->c->pool), m->extent, &e);

	if (err == 0) {
		safety_add(&f->file, &e, m->len, &f->views);
		safety_add(&f->total, &e, m->len, &f->views);
	} else if (err != DFS_ENOENT) { /* overwritten since the map was read */
		f->unreadable++;
	}
	return 0;
}

static void add_file_row(struct files_ctx *f, const char *path, ino_id ino,
			 const struct rec_inode *rec)
{
	json_t *o;

	if (json_array_size(f->rows) >= f->limit) {
		f->left_out++;
		return;
	}
	o = json_object();
	set_text(o, "path", path);
	set_u64(o, "inode", ino.v);
	set_u64(o, "size_bytes", rec->size);
	if (rec->flags & INODE_INLINE) {
		set_text(o, "stored", "inline");
		json_object_set_new(o, "losses_left",
				    json_integer((json_int_t)f->metadata.losses_left));
		set_u64(o, "copies", f->views.members_present);
	} else {
		set_text(o, "stored", f->file.total.extents ? "extents" : "nothing");
		set_safety(o, &f->file.total);
	}
	json_object_set_new(o, "geometries", safety_rows_json(&f->file));
	json_array_append_new(f->rows, o);
}

static int add_file(struct files_ctx *f, const char *path, ino_id ino)
{
	struct rec_inode rec;
	int err;

	settle_inode(f->c, ino);
	err = get_inode(pool_meta(f->c->pool), ino, &rec);
	if (err) {
		f->unreadable += err != DFS_ENOENT;
		return 0; /* gone meanwhile, or counted */
	}
	if (S_ISREG(rec.mode)) {
		safety_table_init(&f->file);
		f->files++;
		if (rec.flags & INODE_INLINE) {
			f->inline_files++;
			f->inline_bytes += rec.inline_len;
		}
		err = each_map(f->c->pool, ino, 0, add_map, f);
		add_file_row(f, path, ino, &rec);
	}
	return err;
}

static int add_tree(struct files_ctx *f, const char *path, ino_id dir, unsigned depth)
{
	struct cursor c;
	int err = 0;

	if (depth > MAX_DEPTH)
		return DFS_ECORRUPT; /* a loop: no path is that long */
	cursor_of_inode(&c, pool_meta(f->c->pool), TABLE_DENTRY, dir);
	while (!err && cursor_next(&c)) {
		struct rec_dentry d;
		FREE char *child = NULL;

		err = cursor_dentry(&c, &d);
		if (err)
			break;
		child = xasprintf("%s/%s", strcmp(path, "/") == 0 ? "" : path, d.name);
		if (S_ISDIR(d.mode))
			err = add_tree(f, child, d.ino, depth + 1);
		else if (S_ISREG(d.mode))
			err = add_file(f, child, d.ino);
	}
	return cursor_close(&c, err);
}

static void set_wanted(json_t *o, struct ctl_call *c)
{
	struct policy s = pool_get_settings(c->pool);

	json_object_set_new(o, "settings", settings_json(&s));
}

static int redundancy_of_pool(struct ctl_call *c, struct files_ctx *f)
{
	json_t *o = c->answer->result = json_object();
	struct pool_status *s = xcalloc(1, sizeof(*s));
	bool whole;
	int err = safety_scan(c->pool, &f->views, 0, &f->total, &whole);

	pool_status(c->pool, s);
	json_object_set_new(o, "path", json_null());
	set_wanted(o, c);
	set_bool(o, "narrowed_now", s->narrowed);
	set_geometry(o, "large_now", s->large_now);
	set_geometry(o, "small_now", s->small_now);
	set_u64(o, "metadata_copies_present", f->views.members_present);
	json_object_set_new(o, "metadata_losses_left", json_integer(f->metadata.losses_left));
	json_object_set_new(o, "metadata_losses_wanted", json_integer(f->metadata.losses_wanted));
	set_safety(o, &f->total.total);
	json_object_set_new(o, "geometries", safety_rows_json(&f->total));
	free(s);
	return err ? ctl_fail(c, err, "cannot count the extents: %s; run 'dynamicfs fsck'",
			      dfs_err_text(err))
		   : 0;
}

static int redundancy_of_path(struct ctl_call *c, struct files_ctx *f, const char *path)
{
	json_t *o = c->answer->result = json_object();
	struct rec_inode rec;
	ino_id ino;
	int err = resolve_path(c, path, &ino, &rec);

	if (err)
		return err;
	f->rows = json_array();
	f->limit = arg_limit(c);
	safety_table_init(&f->total);
	err = S_ISDIR(rec.mode) ? add_tree(f, path, ino, 0) : add_file(f, path, ino);
	set_text(o, "path", path);
	set_text(o, "type", type_name(rec.mode));
	set_wanted(o, c);
	set_u64(o, "metadata_copies_present", f->views.members_present);
	json_object_set_new(o, "metadata_losses_left", json_integer(f->metadata.losses_left));
	json_object_set_new(o, "metadata_losses_wanted", json_integer(f->metadata.losses_wanted));
	set_u64(o, "files", f->files);
	set_u64(o, "inline_files", f->inline_files);
	set_u64(o, "inline_bytes", f->inline_bytes);
	set_safety(o, &f->total.total);
	json_object_set_new(o, "geometries", safety_rows_json(&f->total));
	json_object_set(o, "rows", f->rows);
	set_u64(o, "rows_left_out", f->left_out);
	if (f->unreadable)
		ctl_warn(c, "%llu %s can't be read: run 'dynamicfs fsck'",
			 (unsigned long long)f->unreadable,
			 plural(f->unreadable, "record", "records"));
	return err ? ctl_fail(c, err, "cannot look through %s: %s; run 'dynamicfs fsck'", path,
			      dfs_err_text(err))
		   : 0;
}

int op_show_redundancy(struct ctl_call *c)
{
	struct files_ctx *f = xcalloc(1, sizeof(*f));
	FREE char *path = arg_pool_path(c);
	int err;

	f->c = c;
	disk_views_take(c->pool, &f->views);
	metadata_safety(c->pool, &f->views, &f->metadata);
	err = path ? redundancy_of_path(c, f, path) : redundancy_of_pool(c, f);
	disk_views_release(&f->views);
	json_decref(f->rows);
	free(f);
	return err;
}

/* ---- list-extents ---- */

json_t *extent_json(const struct rec_extent *e, const struct disk_views *views)
{
	json_t *o = json_object(), *frags = json_array();
	unsigned width = MIN((unsigned)e->k + e->m, DFS_EXTENT_MAX_FRAGMENTS);

	set_uuid(o, "extent", &e->id.u);
	set_u64(o, "inode", e->ino.v);
	set_u64(o, "extent_bytes", e->len);
	set_geometry(o, "geometry", (struct geometry){e->k, e->m});
	set_geometry(o, "wanted", (struct geometry){e->wanted_k, e->wanted_m});
	set_u64(o, "references", e->refs);
	set_u64(o, "generation", e->generation);
	json_object_set_new(o, "losses_left", json_integer(MAX(extent_losses_left(e, views), -1)));
	for (unsigned i = 0; i < width; i++) {
		const struct rec_fragment *fr = &e->frags[i];
		const struct disk_view *d = fr->disk.v ? disk_views_find(views, fr->disk) : NULL;
		json_t *j = json_object();

		set_u64(j, "index", i);
		set_u64(j, "disk", fr->disk.v);
		set_text(j, "label", d ? d->info.label : "");
		set_u64(j, "segment", fr->segment);
		set_u64(j, "offset", fr->offset);
		set_u64(j, "record_bytes", fr->record_len);
		set_text(j, "state", !d ? "lost" : !d->present ? "absent" : "present");
		json_array_append_new(frags, j);
	}
	json_object_set_new(o, "fragments", frags);
	return o;
}

static int list_map(void *arg, const struct rec_map *m)
{
	struct files_ctx *f = arg;
	struct rec_extent e;
	int err = get_extent(pool_meta(f->c->pool), m->extent, &e);
	json_t *o;

	if (err == DFS_ENOENT)
		return 0; /* overwritten since the map was read */
	if (err) {
		f->unreadable++;
		return 0;
	}
	if (json_array_size(f->rows) >= f->limit) {
		f->left_out = m->file_offset;
		return 1;
	}
	o = extent_json(&e, &f->views);
	set_u64(o, "file_offset", m->file_offset);
	set_u64(o, "length", m->len);
	set_u64(o, "extent_offset", m->extent_offset);
	json_array_append_new(f->rows, o);
	return 0;
}

static int extents_of_file(struct files_ctx *f, const char *path)
{
	json_t *o = f->c->answer->result = json_object();
	struct rec_inode rec;
	ino_id ino;
	int err = resolve_path(f->c, path, &ino, &rec);

	if (err)
		return err;
	settle_inode(f->c, ino);
	err = get_inode(pool_meta(f->c->pool), ino, &rec);
	if (err)
		return ctl_fail(f->c, err, "cannot read the inode of %s: %s", path,
				dfs_err_text(err));
	if (S_ISDIR(rec.mode))
		return ctl_fail(f->c, DFS_EISDIR,
				"cannot list the extents of %s: it is a directory (its entries are "
				"metadata); name a file",
				path);
	set_text(o, "path", path);
	set_u64(o, "inode", ino.v);
	set_text(o, "type", type_name(rec.mode));
	set_u64(o, "size_bytes", rec.size);
	set_u64(o, "stored_bytes", rec.mapped_bytes);
	set_bool(o, "inline", (rec.flags & INODE_INLINE) != 0);
	set_u64(o, "inline_bytes", rec.inline_len);
	err = each_map(f->c->pool, ino, arg_u64(f->c, "from", 0), list_map, f);
	json_object_set_new(o, "next_from",
			    f->left_out ? json_integer((json_int_t)f->left_out) : json_null());
	return err;
}

static int extents_of_pool(struct files_ctx *f)
{
	const char *from = arg_text(f->c, "from_extent");
	json_t *o = f->c->answer->result = json_object(), *next = json_null();
	extent_id start = {{{0}}};
	struct cursor c;
	BUF key = {0};
	int err = 0;

	if (from && uuid_parse(from, &start.u) != 0)
		return ctl_fail(f->c, DFS_EUSAGE, "cannot start at '%s': not an extent's uuid",
				from);
	key_extent(&key, start);
	cursor_of_table(&c, pool_meta(f->c->pool), TABLE_EXTENT);
	cursor_seek(&c, key.data, key.len);
	while (cursor_next(&c)) {
		char text[UUID_TEXT_LEN + 1];
		struct rec_extent e;

		err = cursor_extent(&c, &e);
		if (err)
			break;
		if (json_array_size(f->rows) >= f->limit) {
			uuid_format(&e.id.u, text);
			next = json_string(text);
			break;
		}
		json_array_append_new(f->rows, extent_json(&e, &f->views));
	}
	err = cursor_close(&c, err);
	json_object_set_new(o, "path", json_null());
	json_object_set_new(o, "next_from", next);
	return err;
}

int op_list_extents(struct ctl_call *c)
{
	struct files_ctx *f = xcalloc(1, sizeof(*f));
	FREE char *path = arg_pool_path(c);
	int err;

	f->c = c;
	f->rows = json_array();
	f->limit = arg_limit(c);
	disk_views_take(c->pool, &f->views);
	err = path ? extents_of_file(f, path) : extents_of_pool(f);
	if (!err)
		json_object_set(c->answer->result, "extents", f->rows);
	else if (!c->answer->message[0])
		(void)ctl_fail(c, err, "cannot list extents: %s; run 'dynamicfs fsck'",
			       dfs_err_text(err));
	if (f->unreadable)
		ctl_warn(c, "%llu %s can't be read: run 'dynamicfs fsck'",
			 (unsigned long long)f->unreadable,
			 plural(f->unreadable, "record", "records"));
	disk_views_release(&f->views);
	json_decref(f->rows);
	free(f);
	return err;
}
