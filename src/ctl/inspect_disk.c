/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of "inspect" that reads the disks: disk.json, the ring of roots, journal records, fragment
 * records of a segment. All bytes are foreign (P10): format/ parses, here the results are shown. No locks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl/inspect.h"
#include "dev/dev.h"
#include "format/diskjson.h"
#include "format/journal.h"
#include "format/record.h"
#include "format/root.h"
#include "meta/meta.h"

#define ROOTS_NAME "meta/roots"
#define JOURNAL_DIR "meta/journal"
#define OPS_SHOWN 64u

/* ---- fragment records ---- */

static json_t *header_json(const struct record_header *h)
{
	json_t *o = json_object(), *pieces = json_array();

	set_uuid(o, "pool", &h->pool);
	set_uuid(o, "extent", &h->extent.u);
	set_u64(o, "inode", h->ino.v);
	set_u64(o, "generation", h->generation);
	set_u64(o, "written_s", h->written_ns / 1000000000ull);
	set_u64(o, "extent_bytes", h->extent_len);
	set_u64(o, "payload_bytes", h->payload_len);
	set_geometry(o, "geometry", (struct geometry){h->k, h->m});
	set_u64(o, "index", h->index);
	set_u64(o, "codec", h->codec);
	set_u64(o, "compression", h->compression);
	set_u64(o, "disk", h->disk.v);
	set_u64(o, "segment", h->segment);
	set_u64(o, "offset", h->offset);
	set_u64(o, "blocks", h->block_count);
	for (unsigned i = 0; i < h->piece_count; i++) {
		json_t *p = json_object();

		set_u64(p, "file_offset", h->pieces[i].file_offset);
		set_u64(p, "length", h->pieces[i].len);
		json_array_append_new(pieces, p);
	}
	json_object_set_new(o, "pieces", pieces);
	return o;
}

static int read_at(struct dev *dev, const char *name, uint64_t off, void *buf, size_t len,
		   size_t *ret_len)
{
	struct dev_file *f;
	int err = dev_open(dev, name, DEV_RDONLY, &f);

	if (err)
		return err;
	err = dev_read(f, buf, len, off, 0, ret_len);
	dev_close(f);
	return err;
}

static void segment_name(uint32_t segment, char name[32])
{
	snprintf(name, 32, "segments/%08" PRIx32, segment);
}

static json_t *fragment_header(struct inspect *x, const struct rec_fragment *fr)
{
	struct disk *d = fr->disk.v ? disk_get(pool_disks(x->c->pool), fr->disk) : NULL;
	FREE uint8_t *data = xmalloc(RECORD_MAX_HEADER_LEN);
	struct record_header h;
	struct hash hash;
	json_t *o = json_object(), *header = NULL;
	uint32_t need;
	size_t got = 0;
	char name[32];
	int err;

	segment_name(fr->segment, name);
	err = !d || !disk_present(d)
		      ? DFS_EGONE
		      : read_at(disk_dev(d), name, fr->offset, data, RECORD_MAX_HEADER_LEN, &got);
	if (!err)
		err = record_header_parse(data, got, &h, &hash, &need);
	if (!err) {
		header = header_json(&h);
		set_bool(o, "hash_matches_index",
			 memcmp(&hash, &fr->header_hash, sizeof(hash)) == 0);
		record_header_release(&h);
	}
	set_text(o, "error", err ? dfs_err_name(err) : "");
	json_object_set_new(o, "header", header ? header : json_null());
	return o;
}

int inspect_fragments(struct inspect *x, const struct rec_extent *rec)
{
	unsigned width = MIN((unsigned)rec->k + rec->m, DFS_EXTENT_MAX_FRAGMENTS);
	struct extent_check *check = xcalloc(1, sizeof(*check));
	static const char *const names[] = {
		[FRAGMENT_GOOD] = "good", [FRAGMENT_ABSENT] = "absent", [FRAGMENT_BAD] = "bad"};
	json_t *rows = json_array();
	int err = extent_verify(pool_extents(x->c->pool), rec, true, check);

	json_object_set_new(x->result, "fragments", rows);
	set_u64(x->result, "fragments_good", check->good);
	for (unsigned i = 0; i < width; i++) {
		json_t *o = fragment_header(x, &rec->frags[i]);

		set_u64(o, "index", i);
		set_text(o, "state", err ? "unknown" : names[check->status[i]]);
		json_array_append_new(rows, o);
	}
	free(check);
	return err == DFS_EIO ? 0 : err; /* too few good fragments: that is what is shown */
}

struct segment_scan {
	struct inspect *x;
	struct disk_view disk;
	uint32_t segment;
	json_t *rows;
};

/* Is this record the one that the index names there? */
static bool is_live(struct segment_scan *s, uint32_t offset, const struct record_header *h)
{
	BUF key = {0};
	BUF value = {0};
	struct rec_bydisk r;

	key_bydisk(&key, s->disk.id, s->segment, offset);
	return meta_get(pool_meta(s->x->c->pool), key.data, key.len, &value) == 0 &&
	       parse_bydisk(key.data, key.len, value.data, value.len, &r) == 0 &&
	       uuid_eq(&r.extent.u, &h->extent.u) && r.index == h->index;
}

/* Shows the record at offset, if there is one. Returns its length, or SEGMENT_ALIGN. */
static uint32_t scan_record(struct segment_scan *s, struct dev_file *f, uint8_t *data,
			    uint64_t offset)
{
	struct record_header h;
	struct hash hash;
	struct reader r;
	uint32_t need, len;
	size_t got;
	json_t *o;
	int err = dev_read(f, data, RECORD_MAX_HEADER_LEN, offset, 0, &got);

	r = reader_of(data, err ? 0 : got);
	if (reader_le64(&r) != RECORD_MAGIC)
		return SEGMENT_ALIGN; /* a hole, or the middle of a damaged record */
	err = record_header_parse(data, got, &h, &hash, &need);
	o = json_object();
	set_u64(o, "at", offset);
	set_text(o, "error", err ? dfs_err_name(err) : "");
	if (err) {
		json_array_append_new(s->rows, o);
		return SEGMENT_ALIGN;
	}
	len = record_len(h.piece_count, h.payload_len);
	set_text(o, "use", is_live(s, (uint32_t)offset, &h) ? "live" : "unreferenced");
	set_u64(o, "record_bytes", len);
	json_object_set_new(o, "header", header_json(&h));
	json_array_append_new(s->rows, o);
	record_header_release(&h);
	return len;
}

static int show_segment(struct inspect *x, struct dev *dev, const struct disk_view *disk,
			const char *number)
{
	struct segment_scan s = {.x = x, .disk = *disk, .rows = json_array()};
	FREE uint8_t *data = xmalloc(RECORD_MAX_HEADER_LEN);
	struct dev_file *f;
	uint64_t size;
	char name[32], *end;
	int err;

	json_object_set_new(x->result, "records", s.rows);
	/* as "inspect disk" names its file (eight hexadecimal digits), or as records count it */
	s.segment = number ? (uint32_t)strtoul(number, &end, strlen(number) == 8 ? 16 : 10) : 0;
	if (!number || *end || end == number)
		return ctl_fail(x->c, DFS_EUSAGE, "cannot inspect a segment: name its number");
	segment_name(s.segment, name);
	err = dev_open(dev, name, DEV_RDONLY, &f);
	if (err)
		return ctl_fail(x->c, err, "cannot open %s of disk %s: %s", name, disk->info.label,
				dfs_err_text(err));
	err = dev_size(f, &size);
	for (uint64_t off = 0; !err && off < size && off < UINT32_MAX;) {
		if (json_array_size(s.rows) >= x->limit) {
			x->more = true;
			break;
		}
		off += scan_record(&s, f, data, off);
	}
	dev_close(f);
	set_u64(x->result, "segment_bytes", err ? 0 : size);
	return err;
}

struct segment_list {
	json_t *rows;
	uint64_t limit;
};

static int add_segment(void *arg, const char *name, uint64_t size_bytes)
{
	struct segment_list *l = arg;
	json_t *o;

	if (json_array_size(l->rows) >= l->limit)
		return 1;
	o = json_object();
	set_text(o, "name", name);
	set_u64(o, "bytes", size_bytes);
	json_array_append_new(l->rows, o);
	return 0;
}

/* ---- disk.json and roots ---- */

static json_t *root_json(const struct root *r)
{
	json_t *o = json_object(), *members = json_array(), *disks = json_array(),
	       *history = json_array();

	set_uuid(o, "pool", &r->pool);
	set_u64(o, "generation", r->generation);
	set_u64(o, "epoch", r->epoch);
	set_u64(o, "checkpoint", r->checkpoint_id);
	set_u64(o, "checkpoint_sequence", r->checkpoint_seq);
	set_hash(o, "chain", &r->chain);
	set_hash(o, "manifest", &r->manifest);
	set_u64(o, "journal_first", r->journal_first);
	set_uuid(o, "epoch_id", &r->epoch_id);
	set_bool(o, "formed", r->open_count == 0);
	set_bool(o, "forced", r->forced);
	set_u64(o, "written", r->written_wall_ns / 1000000000u);
	set_bool(o, "clean", r->clean);
	for (unsigned i = 0; i < r->member_count; i++) {
		json_t *m = json_object();

		set_u64(m, "disk", r->members[i].id.v);
		set_uuid(m, "uuid", &r->members[i].uuid);
		json_array_append_new(members, m);
	}
	json_object_set_new(o, "members", members);
	for (unsigned i = 0; i < r->disk_count; i++) {
		json_t *d = json_object();

		set_u64(d, "disk", r->disks[i].id.v);
		set_uuid(d, "uuid", &r->disks[i].uuid);
		set_bool(d, "votes", r->disks[i].votes & 1);
		set_bool(d, "given_up", r->disks[i].given_up);
		json_array_append_new(disks, d);
	}
	json_object_set_new(o, "disks", disks);
	for (unsigned i = 0; i < r->history_count; i++) {
		json_t *e = json_object();

		set_u64(e, "epoch", r->history[i].epoch);
		set_uuid(e, "id", &r->history[i].id);
		set_bool(e, "formed", r->history[i].formed);
		set_bool(e, "forced", r->history[i].forced);
		json_array_append_new(history, e);
	}
	json_object_set_new(o, "history", history);
	return o;
}

static int show_roots(struct inspect *x, struct dev *dev)
{
	FREE uint8_t *ring = xcalloc(ROOT_SLOTS, ROOT_SLOT_BYTES);
	json_t *rows = json_array();
	size_t got;
	int err = read_at(dev, ROOTS_NAME, 0, ring, (size_t)ROOT_SLOTS * ROOT_SLOT_BYTES, &got);

	json_object_set_new(x->result, "roots", rows);
	if (err)
		return err;
	for (unsigned i = 0; i < ROOT_SLOTS; i++) {
		static const uint8_t zero[ROOT_SLOT_BYTES];
		const uint8_t *slot = ring + (size_t)i * ROOT_SLOT_BYTES;
		struct root r;
		json_t *o;

		if (memcmp(slot, zero, sizeof(zero)) == 0)
			continue;
		err = root_parse(slot, &r);
		o = json_object();
		set_u64(o, "slot", i);
		set_text(o, "error", err ? dfs_err_name(err) : "");
		json_object_set_new(o, "root", err ? json_null() : root_json(&r));
		json_array_append_new(rows, o);
	}
	return 0;
}

static json_t *diskjson_json(struct dev *dev)
{
	FREE uint8_t *data = NULL;
	struct disk_json *d = xcalloc(1, sizeof(*d));
	json_t *o = json_object();
	size_t len = 0;
	int err = dev_read_all(dev, DISK_JSON_NAME, DISK_JSON_MAX_BYTES, &data, &len);

	if (!err)
		err = disk_json_parse(data, len, d);
	set_text(o, "error", err ? dfs_err_name(err) : "");
	if (!err) {
		set_uuid(o, "pool", &d->pool);
		set_uuid(o, "uuid", &d->uuid);
		set_u64(o, "id", d->id);
		set_text(o, "label", d->label);
		set_text(o, "domain", d->domain);
		set_u64(o, "capacity_bytes", d->capacity_bytes);
		set_text(o, "state", d->state);
		set_u64(o, "epoch", d->epoch);
		set_u64(o, "written", d->written_wall_s);
	}
	free(d);
	return o;
}

static int show_disk(struct inspect *x, struct dev *dev, const struct disk_view *disk)
{
	struct segment_list l = {.rows = json_array(), .limit = x->limit};
	json_t *rows = json_array();
	struct root root;
	unsigned damaged = 0;
	BUF key = {0};
	BUF value = {0};
	int err;

	json_object_set_new(x->result, "records", rows);
	json_object_set_new(x->result, "segments", l.rows);
	key_disk(&key, disk->id);
	err = meta_get(pool_meta(x->c->pool), key.data, key.len, &value);
	if (err)
		return err;
	json_array_append_new(rows, record_json(x, key.data, key.len, value.data, value.len));
	if (!dev) {
		json_object_set_new(x->result, "disk_json", json_null());
		json_object_set_new(x->result, "root", json_null());
		return 0;
	}
	json_object_set_new(x->result, "disk_json", diskjson_json(dev));
	err = meta_read_root(dev, &root, &damaged);
	json_object_set_new(x->result, "root", err ? json_null() : root_json(&root));
	set_u64(x->result, "roots_damaged", damaged);
	err = dev_list(dev, "segments", add_segment, &l);
	x->more = err == 1;
	return err == DFS_ENOENT || err == 1 ? 0 : err;
}

/* ---- journal ---- */

static json_t *op_json(struct inspect *x, const struct journal_op *op)
{
	static const char *const kinds[] = {
		[JOURNAL_PUT] = "put", [JOURNAL_DEL] = "delete", [JOURNAL_ADD] = "add"};
	json_t *o;

	if (op->kind == JOURNAL_PUT) {
		o = record_json(x, op->key, op->key_len, op->value, op->value_len);
	} else {
		o = json_object();
		if (op->kind == JOURNAL_DEL) {
			set_hex(o, "key", op->key, op->key_len);
		} else {
			set_u64(o, "counter", op->counter);
			json_object_set_new(o, "delta", json_integer(op->delta));
		}
	}
	set_text(o, "op", kinds[op->kind]);
	return o;
}

static json_t *journal_record_json(struct inspect *x, const struct journal_record *r, uint64_t at)
{
	json_t *o = json_object(), *ops = json_array();
	struct reader reader = r->ops;
	struct journal_op op;
	uint64_t count = 0;
	int err;

	while ((err = journal_next_op(&reader, &op)) == 0)
		if (count++ < OPS_SHOWN)
			json_array_append_new(ops, op_json(x, &op));
	set_u64(o, "at", at);
	set_u64(o, "sequence", r->seq);
	set_u64(o, "bytes", r->total_len);
	set_hash(o, "previous", &r->prev);
	set_hash(o, "hash", &r->hash);
	set_u64(o, "op_count", count);
	set_text(o, "error", err == DFS_EEND ? "" : dfs_err_name(err));
	json_object_set_new(o, "ops", ops);
	return o;
}

/* One journal file, read whole, to the first record that does not follow: what lies beyond is of an
 * earlier use of the file. One that claims to follow and is not whole is shown as such. */
static int show_journal_file(struct inspect *x, struct dev *dev, const char *name, json_t *rows)
{
	FREE uint8_t *data = NULL;
	FREE char *path = xasprintf("%s/%s", JOURNAL_DIR, name);
	struct uuid pool = pool_uuid(x->c->pool);
	uint64_t next = strtoull(name, NULL, 16);
	struct journal_record r;
	size_t len = 0, at = 0;
	uint32_t claimed = 0;
	int err = dev_read_all(dev, path, GIB(1), &data, &len);

	while (!err && !x->more) {
		if (journal_record_peek(data + at, len - at, &pool, &claimed) != next)
			return 0;
		err = journal_record_parse(data + at, len - at, &pool, &r);
		if (err)
			break;
		if (json_array_size(rows) >= x->limit) {
			x->more = true;
		} else {
			json_t *o = journal_record_json(x, &r, at);

			set_text(o, "file", name);
			json_array_append_new(rows, o);
			at += r.total_len;
			next++;
		}
	}
	if (err && err != DFS_EEND) {
		json_t *o = json_object();

		set_text(o, "file", name);
		set_u64(o, "at", at);
		set_text(o, "error", dfs_err_name(err));
		json_array_append_new(rows, o);
	}
	return 0;
}

struct names {
	char (*list)[64];
	unsigned count;
};

static int add_name(void *arg, const char *name, uint64_t size_bytes)
{
	struct names *n = arg;

	(void)size_bytes;
	if (strlen(name) != 16 || strspn(name, "0123456789abcdef") != 16)
		return 0; /* one never used, or kept because it was damaged */
	n->list = xrealloc(n->list, (n->count + 1) * sizeof(*n->list));
	snprintf(n->list[n->count++], sizeof(*n->list), "%s", name);
	return 0;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static int show_journal(struct inspect *x, struct dev *dev)
{
	struct names n = {0};
	json_t *rows = json_array();
	int err = dev_list(dev, JOURNAL_DIR, add_name, &n);

	json_object_set_new(x->result, "records", rows);
	if (n.count)
		qsort(n.list, n.count, sizeof(*n.list), by_name);
	for (unsigned i = 0; i < n.count && !err; i++)
		err = show_journal_file(x, dev, n.list[i], rows);
	free(n.list);
	return err == DFS_ENOENT ? 0 : err; /* not a member: it has none */
}

int inspect_disk(struct inspect *x, const char *what, const char *name)
{
	const char *which = strcmp(what, "disk") == 0 ? name : arg_text(x->c, "disk");
	const struct disk_view *disk;
	struct disk *d;
	struct dev *dev;
	int err;

	if (!which)
		return ctl_fail(x->c, DFS_EUSAGE, "cannot inspect: which disk? Name it%s",
				strcmp(what, "disk") == 0 ? "" : " with --disk");
	disk = disk_views_named(x->c, &x->views, which);
	if (!disk)
		return DFS_ENODISK;
	d = disk_get(pool_disks(x->c->pool), disk->id);
	dev = d && disk->present ? disk_dev(d) : NULL;
	if (strcmp(what, "disk") == 0)
		return show_disk(x, dev, disk);
	if (!dev)
		return ctl_fail(x->c, DFS_EGONE, "cannot read disk %s (%s): it is %s",
				disk->info.label, disk->info.path,
				disk->info.state == DISK_FAILED ? "failed" : "not there");
	if (strcmp(what, "roots") == 0)
		err = show_roots(x, dev);
	else if (strcmp(what, "journal") == 0)
		err = show_journal(x, dev);
	else
		err = show_segment(x, dev, disk, name);
	if (err && !x->c->answer->message[0])
		(void)ctl_fail(x->c, err, "cannot read the %s of disk %s: %s", what,
			       disk->info.label, dfs_err_text(err));
	return err;
}
