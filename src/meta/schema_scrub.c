/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the newest scrub: its records, and the check of any record of the index. Pure but for the index; no locks. */
#include <stdlib.h>

#include "meta/cursor.h"
#include "meta/internal.h"
#include "meta/schema_scrub.h"

enum {
	KEY_STATE = 0,
	KEY_FINDING = 1,
	KEY_NOTE = 2,
	KEY_SCHEDULE = 3
}; /* the key's second byte */

static void key_kind(struct buf *k, uint8_t kind)
{
	buf_reset(k);
	buf_put_u8(k, TABLE_SCRUB);
	buf_put_u8(k, kind);
}

static void key_finding(struct buf *k, extent_id id)
{
	key_kind(k, KEY_FINDING);
	buf_put(k, id.u.b, sizeof(id.u.b));
}

static void put_value(struct meta_txn *t)
{
	envelope_seal(t->key.data, t->key.len, &t->value, meta_generation(t->m));
	meta_put(t, t->key.data, t->key.len, t->value.data, t->value.len);
}

/* ---- puts ---- */

static void put_counts(struct buf *v, const struct scrub_counts *c)
{
	buf_put_le64(v, c->bytes);
	buf_put_le64(v, c->fragments);
	buf_put_le64(v, c->records);
	buf_put_le64(v, c->degraded);
	buf_put_le64(v, c->repaired);
	buf_put_le64(v, c->unrecoverable);
	buf_put_le64(v, c->made);
	buf_put_le64(v, c->metadata);
	buf_put_le64(v, c->metadata_repaired);
	buf_put_le64(v, c->away);
}

void put_scrub(struct meta_txn *t, const struct rec_scrub *r)
{
	struct buf *v = &t->value;

	envelope_begin(v);
	key_kind(&t->key, KEY_STATE);
	buf_put_le32(v, r->job);
	buf_put_u8(v, r->phase);
	buf_put_u8(v, r->flags);
	buf_put_le32(v, r->disk.v);
	buf_put_le64(v, r->bytes_per_s);
	buf_put_le64(v, r->began_ns);
	buf_put_le64(v, r->ended_ns);
	buf_put_le64(v, r->whole_ns);
	put_counts(v, &r->counts);
	buf_put_le32(v, r->findings);
	buf_put_le32(v, r->notes);
	buf_put_le16(v, (uint16_t)r->cursor_len);
	buf_put(v, r->cursor, r->cursor_len);
	buf_put_le16(v, (uint16_t)r->disk_count);
	for (unsigned i = 0; i < r->disk_count; i++) {
		buf_put_le32(v, r->disks[i].disk.v);
		buf_put_le32(v, r->disks[i].segment);
		buf_put_le32(v, r->disks[i].offset);
		buf_put_u8(v, r->disks[i].done);
	}
	put_value(t);
}

void put_finding(struct meta_txn *t, const struct rec_finding *r)
{
	struct buf *v = &t->value;

	envelope_begin(v);
	key_finding(&t->key, r->id);
	buf_put_u8(v, r->verdict);
	buf_put_u8(v, r->k);
	buf_put_u8(v, r->m);
	buf_put_u8(v, r->err);
	buf_put_le64(v, r->ino.v);
	buf_put_le64(v, r->wall_ns);
	buf_put_u8(v, (uint8_t)r->count);
	for (unsigned i = 0; i < r->count; i++) {
		buf_put_u8(v, r->issues[i].index);
		buf_put_u8(v, r->issues[i].err);
		buf_put_le32(v, r->issues[i].disk.v);
		buf_put_le32(v, r->issues[i].segment);
		buf_put_le32(v, r->issues[i].offset);
	}
	put_value(t);
}

void put_note(struct meta_txn *t, const struct rec_note *r)
{
	struct buf *v = &t->value;

	envelope_begin(v);
	key_kind(&t->key, KEY_NOTE);
	buf_put_be32(&t->key, r->nth);
	buf_put_u8(v, r->is_repaired);
	buf_put(v, r->text, strnlen(r->text, sizeof(r->text) - 1));
	put_value(t);
}

void put_schedule(struct meta_txn *t, const struct rec_schedule *r)
{
	struct buf *v = &t->value;

	envelope_begin(v);
	key_kind(&t->key, KEY_SCHEDULE);
	buf_put_le64(v, r->interval_s);
	buf_put_u8(v, r->repair);
	put_value(t);
}

/* ---- parsing ---- */

static int open_kind(uint8_t kind, const void *key, size_t key_len, const void *val, size_t val_len,
		     struct reader *k, struct reader *v)
{
	*k = reader_of(key, key_len);
	if (reader_u8(k) != TABLE_SCRUB || reader_u8(k) != kind)
		return DFS_ECORRUPT;
	return envelope_open(key, key_len, val, val_len, v, NULL);
}

static bool is_bad_end(const struct reader *k, const struct reader *v)
{
	return k->bad || v->bad || reader_left(k) || reader_left(v);
}

static void read_counts(struct reader *v, struct scrub_counts *c)
{
	c->bytes = reader_le64(v);
	c->fragments = reader_le64(v);
	c->records = reader_le64(v);
	c->degraded = reader_le64(v);
	c->repaired = reader_le64(v);
	c->unrecoverable = reader_le64(v);
	c->made = reader_le64(v);
	c->metadata = reader_le64(v);
	c->metadata_repaired = reader_le64(v);
	c->away = reader_le64(v);
}

/* Each disk is there once, in order. */
static bool read_disks(struct reader *v, struct rec_scrub *r)
{
	r->disk_count = reader_le16(v);
	if (r->disk_count > DISK_ID_MAX)
		return false;
	for (unsigned i = 0; i < r->disk_count; i++) {
		struct scrub_cursor *c = &r->disks[i];
		uint8_t done;

		c->disk.v = reader_le32(v);
		c->segment = reader_le32(v);
		c->offset = reader_le32(v);
		done = reader_u8(v);
		c->done = done == 1;
		if (!disk_id_valid(c->disk) || done > 1 ||
		    (i && c->disk.v <= r->disks[i - 1].disk.v))
			return false;
	}
	return true;
}

int parse_scrub(const void *key, size_t key_len, const void *val, size_t val_len,
		struct rec_scrub *ret)
{
	struct reader k, v;
	int err = open_kind(KEY_STATE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ret->job = reader_le32(&v);
	ret->phase = reader_u8(&v);
	ret->flags = reader_u8(&v);
	ret->disk.v = reader_le32(&v);
	ret->bytes_per_s = reader_le64(&v);
	ret->began_ns = reader_le64(&v);
	ret->ended_ns = reader_le64(&v);
	ret->whole_ns = reader_le64(&v);
	read_counts(&v, &ret->counts);
	ret->findings = reader_le32(&v);
	ret->notes = reader_le32(&v);
	ret->cursor_len = reader_le16(&v);
	if (ret->cursor_len > SCRUB_CURSOR_MAX)
		return DFS_ECORRUPT;
	reader_copy(&v, ret->cursor, ret->cursor_len);
	if (!read_disks(&v, ret) || is_bad_end(&k, &v) || ret->job == 0 ||
	    ret->phase < SCRUB_FRAGMENTS || ret->phase > SCRUB_ENDED || ret->flags > 3 ||
	    (ret->disk.v && !disk_id_valid(ret->disk)))
		return DFS_ECORRUPT;
	return 0;
}

int parse_finding(const void *key, size_t key_len, const void *val, size_t val_len,
		  struct rec_finding *ret)
{
	struct reader k, v;
	int err = open_kind(KEY_FINDING, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	reader_copy(&k, ret->id.u.b, sizeof(ret->id.u.b));
	ret->verdict = reader_u8(&v);
	ret->k = reader_u8(&v);
	ret->m = reader_u8(&v);
	ret->err = reader_u8(&v);
	ret->ino.v = reader_le64(&v);
	ret->wall_ns = reader_le64(&v);
	ret->count = reader_u8(&v);
	if (ret->count > DFS_EXTENT_MAX_FRAGMENTS)
		return DFS_ECORRUPT;
	for (unsigned i = 0; i < ret->count; i++) {
		ret->issues[i].index = reader_u8(&v);
		ret->issues[i].err = reader_u8(&v);
		ret->issues[i].disk.v = reader_le32(&v);
		ret->issues[i].segment = reader_le32(&v);
		ret->issues[i].offset = reader_le32(&v);
	}
	if (is_bad_end(&k, &v) || ret->verdict < SCRUB_DEGRADED ||
	    ret->verdict > SCRUB_UNRECOVERABLE)
		return DFS_ECORRUPT;
	return 0;
}

int parse_note(const void *key, size_t key_len, const void *val, size_t val_len,
	       struct rec_note *ret)
{
	struct reader k, v;
	size_t len;
	uint8_t repaired;
	int err = open_kind(KEY_NOTE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ret->nth = reader_be32(&k);
	repaired = reader_u8(&v);
	len = reader_left(&v);
	if (len >= sizeof(ret->text))
		return DFS_ECORRUPT;
	reader_copy(&v, ret->text, len);
	ret->text[len] = '\0';
	ret->is_repaired = repaired == 1;
	return is_bad_end(&k, &v) || repaired > 1 ? DFS_ECORRUPT : 0;
}

static int parse_schedule(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_schedule *ret)
{
	struct reader k, v;
	uint8_t repair;
	int err = open_kind(KEY_SCHEDULE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ret->interval_s = reader_le64(&v);
	repair = reader_u8(&v);
	ret->repair = repair == 1;
	return is_bad_end(&k, &v) || repair > 1 || !ret->interval_s ? DFS_ECORRUPT : 0;
}

int get_schedule(struct meta *m, struct rec_schedule *ret)
{
	BUF key = {0}, val = {0};
	int err;

	*ret = (struct rec_schedule){.interval_s = 30 * 86400, .repair = true};
	key_kind(&key, KEY_SCHEDULE);
	err = meta_get(m, key.data, key.len, &val);
	if (!err)
		err = parse_schedule(key.data, key.len, val.data, val.len, ret);
	return err == DFS_ENOENT ? 0 : err;
}

int check_scrub_record(const void *key, size_t key_len, const void *val, size_t val_len)
{
	const uint8_t kind = key_len > 1 ? ((const uint8_t *)key)[1] : UINT8_MAX;
	struct rec_finding finding;
	struct rec_note note;
	struct rec_schedule schedule;
	struct rec_scrub *scrub;
	int err;

	switch (kind) {
	case KEY_STATE:
		scrub = xmalloc(sizeof(*scrub));
		err = parse_scrub(key, key_len, val, val_len, scrub);
		free(scrub);
		return err;
	case KEY_FINDING:
		return parse_finding(key, key_len, val, val_len, &finding);
	case KEY_NOTE:
		return parse_note(key, key_len, val, val_len, &note);
	case KEY_SCHEDULE:
		return parse_schedule(key, key_len, val, val_len, &schedule);
	default:
		return DFS_ECORRUPT;
	}
}

int get_scrub(struct meta *m, struct rec_scrub *ret)
{
	BUF key = {0}, val = {0};
	int err;

	key_kind(&key, KEY_STATE);
	err = meta_get(m, key.data, key.len, &val);
	return err ? err : parse_scrub(key.data, key.len, val.data, val.len, ret);
}

/* ---- walking ---- */

typedef int (*record_fn)(void *ctx, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen);

static int each_kind(struct meta *m, uint8_t kind, record_fn fn, void *ctx)
{
	BUF key = {0};
	struct cursor c;
	int err = 0;

	key_kind(&key, kind);
	cursor_open(&c, m, key.data, key.len);
	while (!err && cursor_next(&c))
		err = fn(ctx, c.key, c.key_len, c.val, c.val_len);
	return cursor_close(&c, err);
}

struct each {
	int (*finding)(void *ctx, const struct rec_finding *f);
	int (*note)(void *ctx, const struct rec_note *n);
	void *ctx;
	struct meta_txn *t; /* of scrub_forget */
};

static int on_finding(void *ctx, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct each *e = ctx;
	struct rec_finding f;

	return parse_finding(k, klen, v, vlen, &f) ? 0 : e->finding(e->ctx, &f);
}

static int on_note(void *ctx, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct each *e = ctx;
	struct rec_note n;

	return parse_note(k, klen, v, vlen, &n) ? 0 : e->note(e->ctx, &n);
}

int each_finding(struct meta *m, int (*fn)(void *ctx, const struct rec_finding *f), void *ctx)
{
	return each_kind(m, KEY_FINDING, on_finding, &(struct each){.finding = fn, .ctx = ctx});
}

int each_note(struct meta *m, int (*fn)(void *ctx, const struct rec_note *n), void *ctx)
{
	return each_kind(m, KEY_NOTE, on_note, &(struct each){.note = fn, .ctx = ctx});
}

static int on_forget(void *ctx, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	struct each *e = ctx;

	(void)v;
	(void)vlen;
	meta_del(e->t, k, klen);
	return meta_txn_bytes(e->t) > META_TXN_BYTES / 2 ? DFS_EBUSY : 0;
}

int scrub_forget(struct meta *m)
{
	static const uint8_t kinds[] = {KEY_FINDING, KEY_NOTE};
	int err = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds) && !err;) {
		struct each e = {.t = meta_begin(m)};
		uint64_t seq;
		int rc = each_kind(m, kinds[i], on_forget, &e);

		if (rc && rc != DFS_EBUSY) {
			meta_cancel(e.t);
			return rc;
		}
		i += rc == 0;
		err = meta_commit(e.t, &seq);
	}
	return err;
}

/* ---- the audit trail ---- */

int each_audit(struct meta *m, unsigned last,
	       int (*fn)(void *ctx, uint64_t wall_ns, const char *text, size_t len), void *ctx)
{
	const uint8_t first = TABLE_AUDIT, beyond[] = {TABLE_AUDIT + 1};
	struct meta_iter *it = meta_iter_new(m);
	int err = 0;

	meta_iter_seek_back(it, beyond, sizeof(beyond));
	for (unsigned i = 0; meta_iter_valid(it); meta_iter_prev(it)) {
		size_t klen;
		const uint8_t *k = meta_iter_key(it, &klen);

		if (klen == 0 || k[0] < TABLE_AUDIT || (k[0] == TABLE_AUDIT && ++i == last))
			break;
	}
	if (!meta_iter_valid(it))
		meta_iter_seek(it, &first, 1);
	for (; !err && meta_iter_valid(it); meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);
		struct reader key, payload;

		if (klen == 0 || k[0] > TABLE_AUDIT)
			break;
		if (k[0] < TABLE_AUDIT || envelope_open(k, klen, v, vlen, &payload, NULL))
			continue;
		key = reader_of(k + 1, klen - 1);
		err = fn(ctx, reader_be64(&key), (const char *)payload.p, reader_left(&payload));
	}
	if (!err)
		err = meta_iter_error(it);
	meta_iter_free(it);
	return err;
}

/* ---- any record ---- */

int check_record(const void *key, size_t key_len, const void *val, size_t val_len)
{
	union {
		struct rec_inode inode;
		struct rec_dentry dentry;
		struct rec_map map;
		struct rec_extent extent;
		struct rec_bydisk bydisk;
		struct rec_usage usage;
		struct rec_prealloc prealloc;
		struct rec_orphan orphan;
		struct rec_freed freed;
		struct rec_disk disk;
		struct rec_job job;
		struct rec_health health;
	} r;
	const uint8_t *data;
	const char *name;
	uint32_t a, b;
	uint64_t slot;
	size_t len, name_len;
	struct reader payload;
	disk_id disk;
	ino_id ino;

	switch (key_len ? *(const uint8_t *)key : 0) {
	case TABLE_INODE:
		return parse_inode(key, key_len, val, val_len, &ino, &r.inode);
	case TABLE_INLINE:
		return parse_inline(key, key_len, val, val_len, &ino, &data, &len);
	case TABLE_DENTRY:
		return parse_dentry(key, key_len, val, val_len, &ino, &r.dentry);
	case TABLE_MAP:
		return parse_map(key, key_len, val, val_len, &ino, &r.map);
	case TABLE_EXTENT:
		return parse_extent(key, key_len, val, val_len, &r.extent);
	case TABLE_BYDISK:
		return parse_bydisk(key, key_len, val, val_len, &r.bydisk);
	case TABLE_XATTR:
		return parse_xattr(key, key_len, val, val_len, &ino, &name, &name_len, &data, &len);
	case TABLE_USAGE:
		return parse_usage(key, key_len, val, val_len, &r.usage);
	case TABLE_NARROW:
		return parse_narrow(key, key_len, val, val_len, &ino, &slot);
	case TABLE_FOLD:
		return parse_fold(key, key_len, val, val_len, &ino, &slot);
	case TABLE_PREALLOC:
		return parse_prealloc(key, key_len, val, val_len, &r.prealloc);
	case TABLE_ORPHAN:
		return parse_orphan(key, key_len, val, val_len, &r.orphan);
	case TABLE_FREED:
		return parse_freed(key, key_len, val, val_len, &r.freed);
	case TABLE_DISK:
		return parse_disk(key, key_len, val, val_len, &r.disk);
	case TABLE_NUMBERS:
		return parse_numbers(key, key_len, val, val_len, &disk, &a);
	case TABLE_DOUBT:
		return parse_doubt(key, key_len, val, val_len, &disk, &a, &b);
	case TABLE_JOB:
		return parse_job(key, key_len, val, val_len, &r.job);
	case TABLE_HEALTH:
		return parse_health(key, key_len, val, val_len, &r.health);
	case TABLE_SCRUB:
		return check_scrub_record(key, key_len, val, val_len);
	default: /* settings, audit, meta's own: whoever needs them parses them */
		return envelope_open(key, key_len, val, val_len, &payload, NULL);
	}
}
