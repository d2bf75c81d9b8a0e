/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rescue: looks for records in all segments, whatever else lies there, and puts files together from them by inode number (Q3, Q4).
 *
 * What is found goes to the work index, so memory does not grow with the disks (P9):
 *   E extent(16) form(8) index(1) disk(2) segment(4) offset(4) -> ino(8) len(4) k m, header's hash(32)
 *   F ino(8) extent(16) form(8) -> len(4) k m
 * The form is a hash of what all fragments of an extent say alike. The numbers are big-endian: so F gives each file's extents
 * in their order in time (E8).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/words.h"
#include "pool/rescue_internal.h"

#define ALIGN 512u
#define WINDOW_BYTES MIB(1)
#define JUMP_BYTES KIB(16) /* read where the next record is expected */
#define BAD_STEP 4096u	   /* passed over where nothing can be read */
#define E_KEY 36u
#define F_KEY 33u
#define NOTED 256u /* puts of a batch */

struct scan {
	struct rescue *r;
	unsigned disk;
	uint32_t number;
	struct {
		uint8_t key[E_KEY], value[46];
		uint8_t fkey[F_KEY], fvalue[6];
	} noted[NOTED];
	unsigned count;
};

static uint64_t form_of(const struct record_header *h)
{
	BUF b = {0};
	struct hash hash;
	uint64_t form;

	buf_put_le64(&b, h->ino.v);
	buf_put_le32(&b, h->extent_len);
	buf_put_u8(&b, h->k);
	buf_put_u8(&b, h->m);
	for (unsigned i = 0; i < h->piece_count; i++) {
		buf_put_le64(&b, h->pieces[i].file_offset);
		buf_put_le32(&b, h->pieces[i].len);
	}
	hash_bytes(b.data, b.len, &hash);
	memcpy(&form, hash.b, sizeof(form));
	return form & INT64_MAX; /* there is a next one */
}

static int flush_noted(struct scan *s)
{
	struct index_op ops[2 * NOTED];

	for (unsigned i = 0; i < s->count; i++) {
		ops[2 * i] = (struct index_op){s->noted[i].key, E_KEY, s->noted[i].value,
					       sizeof(s->noted[i].value)};
		ops[2 * i + 1] = (struct index_op){s->noted[i].fkey, F_KEY, s->noted[i].fvalue,
						   sizeof(s->noted[i].fvalue)};
	}
	unsigned n = 2 * s->count;

	s->count = 0;
	return n ? rescue_note(s->r, ops, n) : 0;
}

static int note(struct scan *s, const struct record_header *h, const struct hash *hash)
{
	uint64_t form = form_of(h);
	BUF b = {0};

	buf_put_u8(&b, 'E');
	buf_put(&b, h->extent.u.b, 16);
	buf_put_be64(&b, form);
	buf_put_u8(&b, h->index);
	buf_put_u8(&b, (uint8_t)(s->disk >> 8));
	buf_put_u8(&b, (uint8_t)s->disk);
	buf_put_be32(&b, h->segment);
	buf_put_be32(&b, h->offset);
	memcpy(s->noted[s->count].key, b.data, E_KEY);
	buf_reset(&b);
	buf_put_be64(&b, h->ino.v);
	buf_put_be32(&b, h->extent_len);
	buf_put_u8(&b, h->k);
	buf_put_u8(&b, h->m);
	buf_put(&b, hash->b, HASH_LEN);
	memcpy(s->noted[s->count].value, b.data, sizeof(s->noted[0].value));
	memcpy(s->noted[s->count].fvalue, b.data + 8, sizeof(s->noted[0].fvalue));
	buf_reset(&b);
	buf_put_u8(&b, 'F');
	buf_put_be64(&b, h->ino.v);
	buf_put(&b, h->extent.u.b, 16);
	buf_put_be64(&b, form);
	memcpy(s->noted[s->count].fkey, b.data, F_KEY);
	s->count++;
	s->r->res->records++;
	return s->count == NOTED ? flush_noted(s) : 0;
}

/* Does it lie where it says it does, and is it the pool's? (Bytes of a file may look like a record.) */
static bool is_here(const struct scan *s, const struct record_header *h, uint64_t offset)
{
	struct rescue_disk *d = &s->r->disks[s->disk];

	if (h->segment != s->number || h->offset != offset || (d->known && h->disk.v != d->json.id))
		return false;
	if (uuid_is_null(&s->r->res->pool)) /* no disk.json is left: the first record tells */
		s->r->res->pool = h->pool;
	if (uuid_eq(&h->pool, &s->r->res->pool))
		return true;
	d->others |= !d->known;
	d->other = h->pool;
	return false;
}

/* Nobody may take what is written for all that these disks have. */
static void tell_others(struct rescue *r, const struct rescue_disk *d)
{
	char ours[UUID_TEXT_LEN + 1], other[UUID_TEXT_LEN + 1];

	if (!d->others)
		return;
	uuid_format(&r->res->pool, ours);
	uuid_format(&d->other, other);
	rescue_warn(
		r,
		"%s holds records of another pool (%s), which are left out: what is written is of "
		"pool %s, of which a record was met first; rescue from the disks of one pool at a time",
		d->path, other, ours);
}

/* Looks at one place of a window. *ret_len: where to go on. */
static int look_at(struct scan *s, const uint8_t *p, size_t left, uint64_t offset,
		   uint64_t *ret_len)
{
	struct record_header h;
	struct hash hash;
	uint32_t need;
	int err = 0;

	*ret_len = ALIGN;
	if (left < RECORD_FIXED_LEN || record_header_parse(p, left, &h, &hash, &need))
		return 0;
	if (is_here(s, &h, offset)) {
		*ret_len = record_len(h.piece_count, h.payload_len);
		err = note(s, &h, &hash);
	}
	record_header_release(&h);
	return err;
}

/* One window from *at on, which moves on: beyond it, or to where the next record is expected. */
static int look_through(struct scan *s, const uint8_t *window, size_t len, bool is_last,
			uint64_t *at, bool *ret_met)
{
	uint64_t base = *at, off = 0;
	int err = 0;

	*ret_met = false;
	/* a header that does not fit is looked at again, as the first of the next window */
	while (!err && off < len && (is_last || off == 0 || len - off >= RECORD_MAX_HEADER_LEN)) {
		uint64_t step;

		err = look_at(s, window + off, len - off, base + off, &step);
		*ret_met |= step != ALIGN;
		off += step;
	}
	*at = base + MAX(off, ALIGN);
	return err;
}

static int scan_segment(struct scan *s, struct dev_file *f, uint64_t size)
{
	FREE uint8_t *window = xmalloc(WINDOW_BYTES);
	size_t want = JUMP_BYTES, got;
	bool met;
	int err = 0;

	for (uint64_t at = 0; !err && at < size;) {
		int rc = dev_read(f, window, want, at, 0, &got);

		if (rc && want > BAD_STEP) {
			want = BAD_STEP;
			continue;
		}
		if (rc) {
			s->r->res->read_errors++;
			at += BAD_STEP;
			continue;
		}
		if (!got)
			break;
		err = look_through(s, window, got, at + got >= size || got < want, &at, &met);
		want = met ? JUMP_BYTES : WINDOW_BYTES;
		rescue_progress(s->r, "looking for records");
	}
	return err;
}

/* ---- all segments ---- */

struct numbers {
	uint32_t *v;
	unsigned count, cap;
};

static int list_one(void *ctx, const char *name, uint64_t size_bytes)
{
	struct numbers *n = ctx;
	char *end;
	unsigned long v = strtoul(name, &end, 16);

	(void)size_bytes;
	if (strlen(name) != 8 || *end || v > UINT32_MAX)
		return 0;
	if (n->count == n->cap) {
		n->cap = n->cap ? 2 * n->cap : 64;
		n->v = xrealloc(n->v, n->cap * sizeof(*n->v));
	}
	n->v[n->count++] = (uint32_t)v;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int scan_disk(struct scan *s)
{
	struct rescue_disk *d = &s->r->disks[s->disk];
	struct numbers n = {0};
	int err = dev_list(d->dev, "segments", list_one, &n);

	if (err)
		rescue_warn(s->r, "the segments of %s cannot be listed: %s; it is done without",
			    d->path, dfs_err_text(err));
	err = 0;
	if (n.count)
		qsort(n.v, n.count, sizeof(*n.v), by_number);
	for (unsigned i = 0; i < n.count && !err; i++) {
		struct dev_file *f;
		uint64_t size;

		s->number = n.v[i];
		if (rescue_segment(s->r, s->disk, s->number, &f) || dev_size(f, &size)) {
			s->r->res->read_errors++;
			continue;
		}
		err = scan_segment(s, f, size);
	}
	free(n.v);
	return err;
}

int rescue_scan(struct rescue *r)
{
	struct scan *s;
	int err = 0;

	if (r->res->scanned)
		return 0;
	s = xcalloc(1, sizeof(*s));
	s->r = r;
	for (s->disk = 0; s->disk < r->count && !err; s->disk++) {
		err = scan_disk(s);
		tell_others(r, &r->disks[s->disk]);
	}
	if (!err)
		err = flush_noted(s);
	free(s);
	r->res->scanned = !err;
	return err;
}

/* ---- what was found ---- */

static uint64_t be64_at(const uint8_t *p)
{
	struct reader v = reader_of(p, 8);

	return reader_be64(&v);
}

/* Reads one E entry into e; false: it is of another form, or not well-formed. */
static bool take_place(const struct rescue *r, const uint8_t *k, size_t klen, const uint8_t *v,
		       size_t vlen, struct rescue_extent *e)
{
	struct reader rk = reader_of(k + 25, klen - 25), rv = reader_of(v, vlen);
	struct rescue_place p = {.has_hash = true};

	if (klen != E_KEY || vlen != 46)
		return false;
	p.index = reader_u8(&rk);
	p.disk = (unsigned)reader_u8(&rk) << 8;
	p.disk |= reader_u8(&rk);
	p.segment = reader_be32(&rk);
	p.offset = reader_be32(&rk);
	e->ino.v = reader_be64(&rv);
	e->len = reader_be32(&rv);
	e->k = reader_u8(&rv);
	e->m = reader_u8(&rv);
	reader_copy(&rv, p.hash.b, HASH_LEN);
	if (p.disk < r->count && e->count < RESCUE_MAX_PLACES)
		e->places[e->count++] = p;
	return true;
}

int rescue_find(struct rescue *r, extent_id id, uint64_t *next, struct rescue_extent *ret)
{
	struct index_iter *it = index_rocks_ops.iter_new(r->index);
	uint8_t key[25] = {'E'};
	uint64_t form = 0;
	bool any = false;
	int err;

	*ret = (struct rescue_extent){.id = id};
	memcpy(key + 1, id.u.b, 16);
	for (int i = 0; i < 8; i++)
		key[17 + i] = (uint8_t)(*next >> (56 - 8 * i));
	for (index_rocks_ops.iter_seek(it, key, sizeof(key)); index_rocks_ops.iter_valid(it);
	     index_rocks_ops.iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = index_rocks_ops.iter_key(it, &klen);
		const uint8_t *v = index_rocks_ops.iter_value(it, &vlen);

		if (klen != E_KEY || memcmp(k, key, 17) != 0)
			break;
		if (any && be64_at(k + 17) != form)
			break;
		form = be64_at(k + 17);
		any |= take_place(r, k, klen, v, vlen, ret);
	}
	err = index_rocks_ops.iter_error(it);
	index_rocks_ops.iter_free(it);
	*next = form + 1;
	return err ? err : any ? 0 : DFS_ENOENT;
}

/* ---- files by number ---- */

struct unnamed {
	struct rescue *r;
	ino_id ino; /* of the file that is open */
	int fd;
	uint64_t size;
	struct rescue_lost lost;
	struct rescue_extent e;
};

/* Beside an index the records tell of what is newer: of the file that has a name, too, so it is put beside that. */
static void name_of(const struct unnamed *u, ino_id ino, char out[64])
{
	snprintf(out, 64, "unnamed/%llu%s", (unsigned long long)ino.v, u->r->meta ? "-newer" : "");
}

static void end_file(struct unnamed *u)
{
	char path[64];

	if (u->fd < 0)
		return;
	name_of(u, u->ino, path);
	if (ftruncate(u->fd, (off_t)u->size))
		rescue_found(u->r, path, u->ino, NULL, "its length cannot be set: %s",
			     dfs_err_text(rescue_errno()));
	close(u->fd);
	u->fd = -1;
	if (u->lost.count)
		rescue_found(u->r, path, u->ino, &u->lost, "%s", "");
	rescue_lost_release(&u->lost);
	u->size = 0;
}

static int begin_file(struct unnamed *u, ino_id ino)
{
	char path[64];
	int err;

	if (u->fd >= 0 && u->ino.v == ino.v)
		return 0;
	end_file(u);
	err = rescue_dir(u->r, "unnamed", &u->r->unnamed_fd);
	if (err)
		return err;
	name_of(u, ino, path);
	u->fd = openat(u->r->unnamed_fd, strchr(path, '/') + 1,
		       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (u->fd < 0)
		return rescue_errno();
	u->ino = ino;
	u->r->res->files++;
	u->r->res->unnamed++;
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)off);

		if (n < 0)
			return rescue_errno();
		data += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* A piece, of which some bytes may be lost: these are zeros then, whatever an older extent had there. */
static int put_piece(struct unnamed *u, const struct rescue_bytes *b, const struct record_piece *p,
		     uint32_t at)
{
	int err = write_all(u->fd, b->data + at, p->len, p->file_offset);

	if (err)
		return err;
	rescue_lost_remove(&u->lost, p->file_offset, p->file_offset + p->len);
	for (unsigned i = 0; i < b->bad_count; i++) {
		uint64_t from = MAX(b->bad[i].from, at), to = MIN(b->bad[i].to, at + p->len);

		if (from < to)
			rescue_lost_add(&u->lost, p->file_offset + from - at,
					p->file_offset + to - at);
	}
	u->size = MAX(u->size, p->file_offset + p->len);
	u->r->res->bytes += p->len;
	return 0;
}

static int write_extent(struct unnamed *u)
{
	struct rescue_bytes b;
	uint32_t at = 0;
	int err = begin_file(u, u->e.ino);

	if (err)
		return err;
	rescue_read(u->r, &u->e, &b);
	if (!b.pieces) {
		char path[64];

		name_of(u, u->e.ino, path);
		rescue_found(u->r, path, u->e.ino, NULL,
			     "%u bytes of it are lost, and so is where they belong", b.len);
	}
	for (unsigned i = 0; i < b.piece_count && !err && at + b.pieces[i].len <= b.len; i++) {
		err = put_piece(u, &b, &b.pieces[i], at);
		at += b.pieces[i].len;
	}
	rescue_bytes_release(&b);
	return err;
}

/* Is it told of by the index, or older than what the index knows, so that it is garbage? */
static bool is_old(const struct rescue *r, extent_id id)
{
	struct rec_extent rec;

	return r->meta && (uuid_tick_of(&id.u) <= r->newest || get_extent(r->meta, id, &rec) == 0);
}

/* A failure of this file alone is told of; the others go on. */
static int extent_of(struct unnamed *u, const uint8_t *key)
{
	extent_id id;
	uint64_t form = be64_at(key + 25);
	char path[64];
	int err;

	memcpy(id.u.b, key + 9, 16);
	if (is_old(u->r, id))
		return 0;
	err = rescue_find(u->r, id, &form, &u->e);
	if (err)
		return err == DFS_ENOENT ? 0 : err;
	if (u->e.ino.v != be64_at(key + 1))
		return 0;
	err = write_extent(u);
	if (!err || rescue_is_over(err))
		return err;
	name_of(u, u->e.ino, path);
	rescue_found(u->r, path, u->e.ino, NULL, "a part of it cannot be written: %s",
		     dfs_err_text(err));
	return 0;
}

int rescue_unnamed(struct rescue *r)
{
	struct unnamed *u = xcalloc(1, sizeof(*u));
	struct index_iter *it = index_rocks_ops.iter_new(r->index);
	const uint8_t first = 'F';
	int err = 0;

	u->r = r;
	u->fd = -1;
	for (index_rocks_ops.iter_seek(it, &first, 1); !err && index_rocks_ops.iter_valid(it);
	     index_rocks_ops.iter_next(it)) {
		size_t klen;
		const uint8_t *k = index_rocks_ops.iter_key(it, &klen);

		if (klen != F_KEY || k[0] != 'F')
			break;
		err = extent_of(u, k);
		rescue_progress(r, "writing files by their number");
	}
	if (!err)
		err = index_rocks_ops.iter_error(it);
	end_file(u);
	index_rocks_ops.iter_free(it);
	free(u);
	return err;
}
