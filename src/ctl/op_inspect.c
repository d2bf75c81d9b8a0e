/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operation "inspect": any record of the index as JSON, so that metadata stays readable by people. What
 * lies on the disks themselves: inspect_disk.c. Only reads; what is damaged is described as such. No locks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "ctl/inspect.h"
#include "file/fs.h"
#include "meta/meta.h"

#define DEFAULT_RECORDS 1000u
#define MAX_RECORDS 10000u

uint64_t inspect_limit(struct ctl_call *c)
{
	uint64_t limit = arg_u64(c, "limit", DEFAULT_RECORDS);

	return limit == 0 || limit > MAX_RECORDS ? MAX_RECORDS : limit;
}

static const struct {
	enum table table;
	const char *name;
} tables[] = {
	{TABLE_SETTINGS, "settings"}, {TABLE_DISK, "disk"},	  {TABLE_INODE, "inode"},
	{TABLE_DENTRY, "dentry"},     {TABLE_MAP, "map"},	  {TABLE_EXTENT, "extent"},
	{TABLE_BYDISK, "bydisk"},     {TABLE_XATTR, "xattr"},	  {TABLE_ORPHAN, "orphan"},
	{TABLE_FREED, "freed"},	      {TABLE_AUDIT, "audit"},	  {TABLE_META, "meta"},
	{TABLE_INLINE, "inline"},     {TABLE_USAGE, "usage"},	  {TABLE_FOLD, "fold"},
	{TABLE_JOB, "job"},	      {TABLE_NUMBERS, "numbers"}, {TABLE_PREALLOC, "prealloc"},
	{TABLE_DOUBT, "doubt"},	      {TABLE_NARROW, "narrow"},	  {TABLE_HEALTH, "health"},
	{TABLE_SCRUB, "scrub"},
};

static const char *table_name(uint8_t letter)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		if ((uint8_t)tables[i].table == letter)
			return tables[i].name;
	return "unknown";
}

static void set_time(json_t *o, const char *key, const struct dfs_time *t)
{
	char text[48];

	snprintf(text, sizeof(text), "%lld.%09u", (long long)t->sec, t->nsec);
	set_text(o, key, text);
}

static json_t *inode_json(ino_id ino, const struct rec_inode *r)
{
	json_t *o = json_object();
	char mode[16];

	snprintf(mode, sizeof(mode), "%o", r->mode);
	set_u64(o, "inode", ino.v);
	set_text(o, "mode", mode);
	set_u64(o, "links", r->nlink);
	set_u64(o, "uid", r->uid);
	set_u64(o, "gid", r->gid);
	set_u64(o, "rdev", r->rdev);
	set_u64(o, "size_bytes", r->size);
	set_u64(o, "stored_bytes", r->mapped_bytes);
	set_time(o, "atime", &r->atime);
	set_time(o, "mtime", &r->mtime);
	set_time(o, "ctime", &r->ctime);
	set_time(o, "btime", &r->btime);
	set_u64(o, "parent", r->parent.v);
	set_bool(o, "inline", (r->flags & INODE_INLINE) != 0);
	set_u64(o, "inline_bytes", r->inline_len);
	set_u64(o, "preallocated_bytes", r->prealloc_bytes);
	return o;
}

/* The fields of the tables that people look at most; the others have their text. */
static json_t *fields_json(struct inspect *x, const uint8_t *key, size_t key_len,
			   const uint8_t *val, size_t val_len)
{
	struct rec_inode inode;
	struct rec_dentry dentry;
	struct rec_map map;
	struct rec_extent extent;
	json_t *o = NULL;
	ino_id ino;

	switch (key[0]) {
	case TABLE_INODE:
		if (parse_inode(key, key_len, val, val_len, &ino, &inode) == 0)
			o = inode_json(ino, &inode);
		break;
	case TABLE_DENTRY:
		if (parse_dentry(key, key_len, val, val_len, &ino, &dentry) == 0) {
			o = json_object();
			set_u64(o, "directory", ino.v);
			set_text(o, "name", dentry.name);
			set_u64(o, "inode", dentry.ino.v);
			set_u64(o, "cookie", dentry.cookie);
		}
		break;
	case TABLE_MAP:
		if (parse_map(key, key_len, val, val_len, &ino, &map) == 0) {
			o = json_object();
			set_u64(o, "inode", ino.v);
			set_u64(o, "file_offset", map.file_offset);
			set_u64(o, "length", map.len);
			set_uuid(o, "extent", &map.extent.u);
			set_u64(o, "extent_offset", map.extent_offset);
		}
		break;
	case TABLE_EXTENT:
		if (parse_extent(key, key_len, val, val_len, &extent) == 0)
			o = extent_json(&extent, &x->views);
		break;
	default:
		break;
	}
	return o;
}

json_t *record_json(struct inspect *x, const uint8_t *key, size_t key_len, const uint8_t *val,
		    size_t val_len)
{
	json_t *o = json_object(), *fields;
	BUF text = {0};

	set_text(o, "table", key_len ? table_name(key[0]) : "unknown");
	set_hex(o, "key", key, key_len);
	set_u64(o, "value_bytes", val_len);
	record_to_text(key, key_len, val, val_len, &text);
	buf_put_u8(&text, 0);
	set_text(o, "text", (const char *)text.data);
	fields = key_len ? fields_json(x, key, key_len, val, val_len) : NULL;
	json_object_set_new(o, "fields", fields ? fields : json_null());
	return o;
}

/* Records whose key starts with prefix, as an array. False: there are more than x->limit. */
static int add_prefix(struct inspect *x, const void *prefix, size_t prefix_len, json_t *rows)
{
	struct meta_iter *it = meta_iter_new(pool_meta(x->c->pool));
	int err;

	for (meta_iter_seek(it, prefix, prefix_len); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *key = meta_iter_key(it, &key_len);
		const uint8_t *val = meta_iter_value(it, &val_len);

		if (key_len < prefix_len || memcmp(key, prefix, prefix_len) != 0)
			break;
		if (json_array_size(rows) >= x->limit) {
			x->more = true;
			break;
		}
		json_array_append_new(rows, record_json(x, key, key_len, val, val_len));
	}
	err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

static int add_key(struct inspect *x, const struct buf *key, json_t *rows)
{
	BUF value = {0};
	int err = meta_get(pool_meta(x->c->pool), key->data, key->len, &value);

	if (!err)
		json_array_append_new(rows,
				      record_json(x, key->data, key->len, value.data, value.len));
	return err;
}

/* All that the index holds of an inode: the record, entries, map, xattrs, orphan. */
static int inspect_inode(struct inspect *x, ino_id ino)
{
	json_t *rows = json_array();
	BUF key = {0};
	int err;

	settle_inode(x->c, ino);
	json_object_set_new(x->result, "records", rows);
	key_inode(&key, ino);
	err = add_key(x, &key, rows);
	if (err)
		return ctl_fail(x->c, err, "cannot read inode %llu: %s", (unsigned long long)ino.v,
				dfs_err_text(err));
	key_inline(&key, ino);
	err = add_key(x, &key, rows);
	if (err && err != DFS_ENOENT)
		return err;
	key_orphan(&key, ino);
	err = add_key(x, &key, rows);
	if (err && err != DFS_ENOENT)
		return err;
	key_xattr(&key, ino, "");
	err = add_prefix(x, key.data, 9, rows);
	if (!err) {
		key_map(&key, ino, 0);
		err = add_prefix(x, key.data, 9, rows);
	}
	if (!err) {
		key_usage(&key, ino, 0);
		err = add_prefix(x, key.data, 9, rows);
	}
	if (!err) {
		key_prealloc(&key, ino, 0);
		err = add_prefix(x, key.data, 9, rows);
	}
	if (!err) {
		key_dentry_from(&key, ino, 0);
		err = add_prefix(x, key.data, 9, rows);
	}
	return err;
}

static int inspect_path(struct inspect *x)
{
	FREE char *path = arg_pool_path(x->c);
	struct rec_inode rec;
	ino_id ino;
	int err;

	if (!path)
		return ctl_fail(x->c, DFS_EUSAGE, "cannot inspect a path: name it");
	err = resolve_path(x->c, path, &ino, &rec);
	if (err)
		return err;
	set_text(x->result, "path", path);
	return inspect_inode(x, ino);
}

static int inspect_extent(struct inspect *x, const char *name)
{
	json_t *rows = json_array();
	struct rec_extent rec;
	extent_id id;
	BUF key = {0};
	int err;

	json_object_set_new(x->result, "records", rows);
	if (uuid_parse(name, &id.u) != 0)
		return ctl_fail(x->c, DFS_EUSAGE, "cannot inspect extent '%s': not a uuid", name);
	key_extent(&key, id);
	err = add_key(x, &key, rows);
	if (!err)
		err = get_extent(pool_meta(x->c->pool), id, &rec);
	if (err)
		return ctl_fail(x->c, err, "cannot read extent %s: %s", name, dfs_err_text(err));
	return inspect_fragments(x, &rec);
}

static int inspect_table(struct inspect *x, const char *name)
{
	json_t *rows = json_array();

	json_object_set_new(x->result, "records", rows);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		uint8_t letter = (uint8_t)tables[i].table;

		if (strcmp(tables[i].name, name) == 0)
			return add_prefix(x, &letter, 1, rows);
	}
	return ctl_fail(
		x->c, DFS_EUSAGE,
		"cannot inspect table '%s': there are settings, disk, inode, inline, dentry, "
		"map, extent, bydisk, xattr, orphan, freed, usage, fold, numbers, doubt, audit and meta",
		name);
}

/* How many records each table holds. */
static int inspect_summary(struct inspect *x)
{
	struct meta_iter *it = meta_iter_new(pool_meta(x->c->pool));
	json_t *rows = json_array();
	const uint8_t first = 0;
	uint64_t counts[256] = {0}, bytes[256] = {0};
	int err;

	json_object_set_new(x->result, "tables", rows);
	for (meta_iter_seek(it, &first, 1); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *key = meta_iter_key(it, &key_len);

		(void)meta_iter_value(it, &val_len);
		if (key_len == 0)
			continue;
		counts[key[0]]++;
		bytes[key[0]] += key_len + val_len;
	}
	for (unsigned i = 0; i < 256; i++) {
		json_t *o;

		if (counts[i] == 0)
			continue;
		o = json_object();
		set_text(o, "table", table_name((uint8_t)i));
		set_u64(o, "records", counts[i]);
		set_u64(o, "bytes", bytes[i]);
		json_array_append_new(rows, o);
	}
	err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

static int inspect_any(struct inspect *x, const char *what, const char *name)
{
	if (!what)
		return inspect_summary(x);
	if (strcmp(what, "path") == 0)
		return inspect_path(x);
	if (strcmp(what, "roots") == 0 || strcmp(what, "journal") == 0 ||
	    strcmp(what, "segment") == 0 || strcmp(what, "disk") == 0)
		return inspect_disk(x, what, name);
	if (strcmp(what, "inode") != 0 && strcmp(what, "extent") != 0 && strcmp(what, "table") != 0)
		return ctl_fail(
			x->c, DFS_EUSAGE,
			"cannot inspect '%.64s': there are inode, path, extent, disk, table, "
			"roots, journal and segment",
			what);
	if (!name)
		return ctl_fail(x->c, DFS_EUSAGE, "cannot inspect: which %s?", what);
	if (strcmp(what, "inode") == 0) {
		char *end;
		ino_id ino = {strtoull(name, &end, 10)};

		if (*end || ino.v == 0)
			return ctl_fail(x->c, DFS_EUSAGE,
					"cannot inspect inode '%s': not an inode's number", name);
		return inspect_inode(x, ino);
	}
	if (strcmp(what, "extent") == 0)
		return inspect_extent(x, name);
	return inspect_table(x, name);
}

int op_inspect(struct ctl_call *c)
{
	struct inspect *x = xcalloc(1, sizeof(*x));
	int err;

	x->c = c;
	x->limit = inspect_limit(c);
	x->result = c->answer->result = json_object();
	disk_views_take(c->pool, &x->views);
	err = inspect_any(x, arg_text(c, "what"), arg_text(c, "name"));
	set_bool(x->result, "more", x->more);
	if (err && !c->answer->message[0])
		(void)ctl_fail(c, err, "cannot read the metadata: %s; run 'dynamicfs fsck'",
			       dfs_err_text(err));
	disk_views_release(&x->views);
	free(x);
	return err;
}
