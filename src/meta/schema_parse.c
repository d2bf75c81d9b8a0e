/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of the index, reading side: parse, validate, then build the structure (P10); a value
 * that fails its check never comes out (P3). The get_ functions name the damaged record in the log.
 * No locks.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "format/record.h"
#include "meta/internal.h"

/* Longest key: table, two numbers, name. */
#define KEY_SPACE (1 + 8 + 8 + DFS_NAME_MAX)

/* ---- parsing ---- */

/* Opens both: the key after its table byte, the payload out of its envelope. */
static int begin(enum table table, const void *key, size_t key_len, const void *val, size_t val_len,
		 struct reader *k, struct reader *v)
{
	*k = reader_of(key, key_len);
	if (reader_u8(k) != (uint8_t)table)
		return DFS_ECORRUPT;
	return envelope_open(key, key_len, val, val_len, v, NULL);
}

static int end(const struct reader *k, const struct reader *v)
{
	return k->bad || v->bad || reader_left(k) || reader_left(v) ? DFS_ECORRUPT : 0;
}

static bool read_time(struct reader *r, struct dfs_time *time)
{
	time->sec = (int64_t)reader_le64(r);
	time->nsec = reader_le32(r);
	return time->nsec < 1000000000u;
}

/* A string of size - 1 bytes at most, without NULs inside. */
static bool read_string(struct reader *r, char *s, size_t size)
{
	size_t len = reader_le16(r);
	const void *p = reader_bytes(r, len);

	if (!p || len >= size || memchr(p, 0, len))
		return false;
	memcpy(s, p, len);
	s[len] = '\0';
	return true;
}

/* Each disk has a counter. */
_Static_assert(META_COUNT_DISK_USED + DISK_ID_MAX < META_COUNTERS, "counters of disks");

/* The ranges that record headers have, too: what is in them is divided by, allocated and indexed. */
static bool geometry_ok(unsigned k, unsigned m) { return k >= 1 && k <= 16 && m <= 8; }

static bool address_ok(uint32_t offset, uint32_t record_len)
{
	return offset % 512 == 0 && record_len % 512 == 0 && record_len > 0 &&
	       record_len <= RECORD_MAX_LEN && offset <= UINT32_MAX - record_len;
}

/* Only files and directories have those of chattr (AT1). */
static bool flags_ok(const struct rec_inode *i)
{
	return S_ISREG(i->mode) || S_ISDIR(i->mode) ||
	       !(i->flags & (INODE_IMMUTABLE | INODE_APPEND));
}

static bool mode_ok(uint32_t mode)
{
	uint32_t type = mode & S_IFMT;

	return mode <= 0177777 &&
	       (type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFCHR ||
		type == S_IFBLK || type == S_IFIFO || type == S_IFSOCK);
}

int parse_inode(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
		struct rec_inode *ret)
{
	struct rec_inode i = {0};
	struct reader k, v;
	ino_id ino;
	bool times;
	int err = begin(TABLE_INODE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ino.v = reader_be64(&k);
	i.mode = reader_le32(&v);
	i.nlink = reader_le32(&v);
	i.uid = reader_le32(&v);
	i.gid = reader_le32(&v);
	i.rdev = reader_le64(&v);
	i.size = reader_le64(&v);
	i.mapped_bytes = reader_le64(&v);
	times = read_time(&v, &i.atime);
	times = read_time(&v, &i.mtime) && times;
	times = read_time(&v, &i.ctime) && times;
	times = read_time(&v, &i.btime) && times;
	i.parent.v = reader_le64(&v);
	i.generation = reader_le64(&v);
	i.flags = reader_le32(&v);
	i.inline_len = reader_le32(&v);
	if (i.flags & INODE_PREALLOC)
		i.prealloc_bytes = reader_le64(&v);
	if (end(&k, &v) || !times || ino.v == 0 || i.size > DFS_FILE_MAX ||
	    i.inline_len > DFS_INLINE_MAX || !mode_ok(i.mode) || !flags_ok(&i) ||
	    i.prealloc_bytes > DFS_FILE_MAX || !(i.flags & INODE_PREALLOC) != !i.prealloc_bytes)
		return DFS_ECORRUPT;
	if (ret_ino)
		*ret_ino = ino;
	*ret = i;
	return 0;
}

int parse_inline(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
		 const uint8_t **ret_data, size_t *ret_len)
{
	struct reader k, v;
	ino_id ino;
	int err = begin(TABLE_INLINE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ino.v = reader_be64(&k);
	if (k.bad || reader_left(&k) || ino.v == 0 || reader_left(&v) == 0 ||
	    reader_left(&v) > DFS_INLINE_MAX)
		return DFS_ECORRUPT;
	if (ret_ino)
		*ret_ino = ino;
	*ret_data = v.p;
	*ret_len = reader_left(&v);
	return 0;
}

int parse_dentry(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_dir,
		 struct rec_dentry *ret)
{
	struct reader k, v;
	uint64_t dir, cookie, ino;
	uint32_t mode;
	size_t len;
	const char *name;
	int err = begin(TABLE_DENTRY, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	dir = reader_be64(&k);
	cookie = reader_be64(&k);
	len = reader_left(&k);
	name = reader_bytes(&k, len);
	ino = reader_le64(&v);
	mode = reader_le32(&v);
	if (end(&k, &v) || len == 0 || len > DFS_NAME_MAX || memchr(name, 0, len) ||
	    memchr(name, '/', len) || ino == 0 || cookie != dentry_hash((ino_id){dir}, name, len))
		return DFS_ECORRUPT;
	if (ret_dir)
		ret_dir->v = dir;
	ret->ino.v = ino;
	ret->mode = mode;
	ret->cookie = cookie;
	memcpy(ret->name, name, len);
	ret->name[len] = '\0';
	return 0;
}

int parse_map(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
	      struct rec_map *ret)
{
	struct rec_map m;
	struct reader k, v;
	uint64_t ino;
	int err = begin(TABLE_MAP, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ino = reader_be64(&k);
	m.file_offset = reader_be64(&k);
	m.len = reader_le32(&v);
	reader_copy(&v, m.extent.u.b, sizeof(m.extent.u.b));
	m.extent_offset = reader_le32(&v);
	if (end(&k, &v) || m.len == 0 || m.file_offset > DFS_FILE_MAX - m.len ||
	    m.len > RECORD_MAX_PAYLOAD || m.extent_offset > RECORD_MAX_PAYLOAD - m.len)
		return DFS_ECORRUPT;
	if (ret_ino)
		ret_ino->v = ino;
	*ret = m;
	return 0;
}

static void read_fragment(struct reader *v, struct rec_fragment *f)
{
	f->disk.v = reader_le32(v);
	f->segment = reader_le32(v);
	f->offset = reader_le32(v);
	f->record_len = reader_le32(v);
	reader_copy(v, f->header_hash.b, HASH_LEN);
}

#define REFS_MAX (1u << 30) /* what is read leaves room to grow */

static bool extent_ok(const struct rec_extent *x)
{
	uint32_t blocks = (uint32_t)DIV_UP((uint64_t)x->fragment_len, RECORD_BLOCK_BYTES);
	uint32_t len;

	if (x->len == 0 || x->len > RECORD_MAX_PAYLOAD || x->refs == 0 || x->refs > REFS_MAX ||
	    !geometry_ok(x->wanted_k, x->wanted_m) ||
	    x->fragment_len != record_payload_len(x->k, x->len))
		return false;
	if (x->header_len % 64 != 0 || x->header_len < record_header_len(1, blocks) ||
	    x->header_len > record_header_len(RECORD_MAX_PIECES, blocks))
		return false;
	len = (uint32_t)ALIGN_UP((uint64_t)x->header_len + x->fragment_len, 512);
	for (unsigned i = 0; i < (unsigned)x->k + x->m; i++) {
		const struct rec_fragment *f = &x->frags[i];

		if (f->disk.v != 0 && (!disk_id_valid(f->disk) || f->record_len != len ||
				       !address_ok(f->offset, len)))
			return false;
	}
	return true;
}

int parse_extent(const void *key, size_t key_len, const void *val, size_t val_len,
		 struct rec_extent *ret)
{
	struct rec_extent x = {0};
	struct reader k, v;
	unsigned count;
	int err = begin(TABLE_EXTENT, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	reader_copy(&k, x.id.u.b, sizeof(x.id.u.b));
	x.ino.v = reader_le64(&v);
	x.len = reader_le32(&v);
	x.k = reader_u8(&v);
	x.m = reader_u8(&v);
	x.wanted_k = reader_u8(&v);
	x.wanted_m = reader_u8(&v);
	x.refs = reader_le32(&v);
	x.fragment_len = reader_le32(&v);
	x.header_len = reader_le32(&v);
	x.generation = reader_le64(&v);
	count = (unsigned)x.k + x.m;
	if (v.bad || !geometry_ok(x.k, x.m))
		return DFS_ECORRUPT;
	for (unsigned i = 0; i < count; i++)
		read_fragment(&v, &x.frags[i]);
	if (end(&k, &v) || !extent_ok(&x))
		return DFS_ECORRUPT;
	*ret = x;
	return 0;
}

static void read_address(struct reader *k, disk_id *disk, uint32_t *segment, uint32_t *offset)
{
	disk->v = reader_be32(k);
	*segment = reader_be32(k);
	*offset = reader_be32(k);
}

int parse_bydisk(const void *key, size_t key_len, const void *val, size_t val_len,
		 struct rec_bydisk *ret)
{
	struct rec_bydisk b;
	struct reader k, v;
	int err = begin(TABLE_BYDISK, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	read_address(&k, &b.disk, &b.segment, &b.offset);
	b.record_len = reader_le32(&v);
	reader_copy(&v, b.extent.u.b, sizeof(b.extent.u.b));
	b.index = reader_u8(&v);
	if (end(&k, &v) || b.index >= DFS_EXTENT_MAX_FRAGMENTS || !disk_id_valid(b.disk) ||
	    !address_ok(b.offset, b.record_len))
		return DFS_ECORRUPT;
	*ret = b;
	return 0;
}

int parse_freed(const void *key, size_t key_len, const void *val, size_t val_len,
		struct rec_freed *ret)
{
	struct rec_freed f;
	struct reader k, v;
	int err = begin(TABLE_FREED, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	read_address(&k, &f.disk, &f.segment, &f.offset);
	f.record_len = reader_le32(&v);
	if (end(&k, &v) || !disk_id_valid(f.disk) || !address_ok(f.offset, f.record_len))
		return DFS_ECORRUPT;
	*ret = f;
	return 0;
}

int parse_orphan(const void *key, size_t key_len, const void *val, size_t val_len,
		 struct rec_orphan *ret)
{
	struct rec_orphan o;
	struct reader k, v;
	uint32_t kind;
	int err = begin(TABLE_ORPHAN, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	o.ino.v = reader_be64(&k);
	kind = reader_le32(&v);
	o.from = reader_le64(&v);
	if (end(&k, &v) || (kind != ORPHAN_UNLINKED && kind != ORPHAN_TRUNCATE))
		return DFS_ECORRUPT;
	o.kind = (enum orphan_kind)kind;
	*ret = o;
	return 0;
}

/* Slots of 1 MiB: files end at 2^63. */
#define SLOTS_MAX (1ull << 43)

int parse_usage(const void *key, size_t key_len, const void *val, size_t val_len,
		struct rec_usage *ret)
{
	struct rec_usage u;
	struct reader k, v;
	int err = begin(TABLE_USAGE, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	u.ino.v = reader_be64(&k);
	u.slot = reader_be64(&k);
	u.stored_bytes = reader_le64(&v);
	u.mapped_bytes = reader_le32(&v);
	u.entries = reader_le32(&v);
	if (end(&k, &v) || u.ino.v == 0 || u.slot >= SLOTS_MAX || u.stored_bytes > INT64_MAX ||
	    u.mapped_bytes == 0 || u.mapped_bytes > RECORD_MAX_PAYLOAD || u.entries == 0 ||
	    u.entries > u.mapped_bytes)
		return DFS_ECORRUPT;
	*ret = u;
	return 0;
}

/* A record of a list of slots: all of it is in the key. */
static int parse_listed(enum table table, const void *key, size_t key_len, const void *val,
			size_t val_len, ino_id *ret_ino, uint64_t *ret_slot)
{
	struct reader k, v;
	uint64_t slot;
	ino_id ino;
	int err = begin(table, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ino.v = reader_be64(&k);
	slot = reader_be64(&k);
	if (end(&k, &v) || ino.v == 0 || slot >= SLOTS_MAX)
		return DFS_ECORRUPT;
	*ret_ino = ino;
	*ret_slot = slot;
	return 0;
}

int parse_fold(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
	       uint64_t *ret_slot)
{
	return parse_listed(TABLE_FOLD, key, key_len, val, val_len, ret_ino, ret_slot);
}

int parse_narrow(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
		 uint64_t *ret_slot)
{
	return parse_listed(TABLE_NARROW, key, key_len, val, val_len, ret_ino, ret_slot);
}

int parse_numbers(const void *key, size_t key_len, const void *val, size_t val_len,
		  disk_id *ret_disk, uint32_t *ret_next)
{
	struct reader k, v;
	uint32_t next;
	disk_id disk;
	int err = begin(TABLE_NUMBERS, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	disk.v = reader_be32(&k);
	next = reader_le32(&v);
	if (end(&k, &v) || !disk_id_valid(disk) || next == 0)
		return DFS_ECORRUPT;
	*ret_disk = disk;
	*ret_next = next;
	return 0;
}

static bool job_kind_ok(const struct rec_job *r)
{
	if (r->kind == JOB_SCRUB && r->disk.v == 0)
		return true;
	if (r->kind == JOB_REBALANCE)
		return r->disk.v == 0 && (r->from.v == 0 || disk_id_valid(r->from));
	return r->kind >= JOB_REBUILD && r->kind <= JOB_COMPACT && disk_id_valid(r->disk);
}

int parse_job(const void *key, size_t key_len, const void *val, size_t val_len, struct rec_job *ret)
{
	struct reader k, v;
	int err = begin(TABLE_JOB, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ret->id = reader_be32(&k);
	ret->kind = reader_u8(&v);
	ret->state = reader_u8(&v);
	ret->pass = reader_u8(&v);
	ret->disk.v = reader_le32(&v);
	ret->segment = reader_le32(&v);
	ret->offset = reader_le32(&v);
	ret->created_ns = reader_le64(&v);
	ret->changed_ns = reader_le64(&v);
	ret->due_ns = reader_le64(&v);
	ret->total_bytes = reader_le64(&v);
	ret->made = reader_le64(&v);
	ret->stuck = reader_le64(&v);
	ret->from.v = 0;
	ret->bytes_per_s = ret->moved_bytes = 0;
	if (ret->kind == JOB_REBALANCE) {
		ret->from.v = reader_le32(&v);
		ret->bytes_per_s = reader_le64(&v);
		ret->moved_bytes = reader_le64(&v);
	}
	if (end(&k, &v) || ret->id == 0 || !job_kind_ok(ret) || ret->state < JOB_WAITING ||
	    ret->state > JOB_CANCELLED || ret->pass >= JOB_PASSES_MAX)
		return DFS_ECORRUPT;
	return 0;
}

int parse_doubt(const void *key, size_t key_len, const void *val, size_t val_len, disk_id *ret_disk,
		uint32_t *ret_segment, uint32_t *ret_from)
{
	uint32_t segment, from;
	struct reader k, v;
	disk_id disk;
	int err = begin(TABLE_DOUBT, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	disk.v = reader_be32(&k);
	segment = reader_be32(&k);
	from = reader_le32(&v);
	if (end(&k, &v) || !disk_id_valid(disk))
		return DFS_ECORRUPT;
	*ret_disk = disk;
	*ret_segment = segment;
	*ret_from = from;
	return 0;
}

int parse_prealloc(const void *key, size_t key_len, const void *val, size_t val_len,
		   struct rec_prealloc *ret)
{
	struct rec_prealloc *p = ret;
	uint32_t from = 0;
	struct reader k, v;
	int err = begin(TABLE_PREALLOC, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	p->ino.v = reader_be64(&k);
	p->slot = reader_be64(&k);
	for (p->count = 0; reader_left(&v) && p->count < PREALLOC_RANGES_MAX; p->count++) {
		struct prealloc_range *r = &p->ranges[p->count];

		r->start = reader_le32(&v);
		r->end = reader_le32(&v);
		if (r->start >= r->end || r->end > RECORD_MAX_PAYLOAD ||
		    (p->count && r->start <= from))
			return DFS_ECORRUPT;
		from = r->end;
	}
	return end(&k, &v) || p->ino.v == 0 || p->slot >= SLOTS_MAX || !p->count ? DFS_ECORRUPT : 0;
}

int parse_health(const void *key, size_t key_len, const void *val, size_t val_len,
		 struct rec_health *ret)
{
	struct rec_health h = {0};
	struct reader k, v;
	bool text;
	int err = begin(TABLE_HEALTH, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	h.disk.v = reader_be32(&k);
	h.state = reader_u8(&v);
	h.event = reader_u8(&v);
	h.order = reader_u8(&v);
	h.relapses = reader_u8(&v);
	h.since_s = reader_le64(&v);
	h.read_errors = reader_le64(&v);
	h.write_errors = reader_le64(&v);
	h.checksum_errors = reader_le64(&v);
	text = read_string(&v, h.text, sizeof(h.text));
	/* Degraded and suspect, 2 and 3, are what an order may keep a disk in. */
	if (!text || end(&k, &v) || !disk_id_valid(h.disk) || h.state < 1 || h.state > 5 ||
	    h.order == 1 || h.order > 3)
		return DFS_ECORRUPT;
	*ret = h;
	return 0;
}

int parse_disk(const void *key, size_t key_len, const void *val, size_t val_len,
	       struct rec_disk *ret)
{
	struct rec_disk d = {0};
	struct reader k, v;
	uint16_t flags;
	bool strings;
	int err = begin(TABLE_DISK, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	d.id.v = reader_be32(&k);
	reader_copy(&v, d.uuid.b, sizeof(d.uuid.b));
	d.capacity_bytes = reader_le64(&v);
	d.state = reader_u8(&v);
	d.heir.v = reader_le16(&v);
	flags = reader_le16(&v);
	d.leaving = flags & 1;
	d.leaving_forced = flags & 2;
	d.hands_label = flags & 4;
	d.added_epoch = reader_le64(&v);
	strings = read_string(&v, d.label, sizeof(d.label)) &&
		  read_string(&v, d.domain, sizeof(d.domain)) &&
		  read_string(&v, d.path, sizeof(d.path));
	/* The states are those of dev/disk.h, 1 to 5; its functions take no other number. */
	if (!strings || end(&k, &v) || !disk_id_valid(d.id) || uuid_is_null(&d.uuid) ||
	    d.state < 1 || d.state > 5 || flags > 7 || (!d.leaving && (flags || d.heir.v)) ||
	    (d.heir.v && !disk_id_valid(d.heir)) || (d.hands_label && !d.heir.v))
		return DFS_ECORRUPT;
	*ret = d;
	return 0;
}

int parse_xattr(const void *key, size_t key_len, const void *val, size_t val_len, ino_id *ret_ino,
		const char **ret_name, size_t *ret_name_len, const uint8_t **ret_value,
		size_t *ret_value_len)
{
	struct reader k, v;
	uint64_t ino;
	int err = begin(TABLE_XATTR, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	ino = reader_be64(&k);
	if (k.bad || reader_left(&k) == 0 || reader_left(&k) > DFS_NAME_MAX ||
	    reader_left(&v) > DFS_XATTR_VALUE_MAX || memchr(k.p, 0, reader_left(&k)))
		return DFS_ECORRUPT;
	if (ret_ino)
		ret_ino->v = ino;
	*ret_name = (const char *)k.p;
	*ret_name_len = reader_left(&k);
	*ret_value = v.p;
	*ret_value_len = reader_left(&v);
	return 0;
}

static int parse_settings(const void *key, size_t key_len, const void *val, size_t val_len,
			  struct rec_settings *ret)
{
	struct rec_settings s = {0};
	struct policy *p = &s.policy;
	struct reader k, v;
	const void *name;
	uint8_t verify;
	int err = begin(TABLE_SETTINGS, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	name = reader_bytes(&k, 4);
	p->large.k = reader_u8(&v);
	p->large.m = reader_u8(&v);
	p->copies = reader_u8(&v);
	p->metadata_copies = reader_u8(&v);
	verify = reader_u8(&v);
	(void)reader_le64(&v); /* reserved */
	s.next_disk = reader_le32(&v);
	if (end(&k, &v) || memcmp(name, "pool", 4) != 0 || !geometry_ok(p->large.k, p->large.m) ||
	    p->copies == 0 || p->copies > 9 || p->metadata_copies == 0 ||
	    p->metadata_copies > ROOT_MAX_MEMBERS || verify > 1)
		return DFS_ECORRUPT;
	p->verify_writes = verify != 0;
	*ret = s;
	return 0;
}

/* ---- gets ---- */

/* A key on the stack: KEY_SPACE bytes always do, so the buffer never grows. */
#define STACK_KEY(name)                                                                            \
	uint8_t name##_space[KEY_SPACE];                                                           \
	struct buf name = {name##_space, 0, sizeof(name##_space)}

static int report(const struct buf *key, const struct buf *val, int err)
{
	BUF text = {0};

	if (err == 0)
		return 0;
	record_to_text(key->data, key->len, val->data, val->len, &text);
	log_error("cannot use the metadata record %.*s: %s; the operation that needs it fails; run "
		  "fsck to find what it belonged to",
		  (int)text.len, (const char *)text.data, dfs_err_text(err));
	return err;
}

int get_inode(struct meta *m, ino_id ino, struct rec_inode *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_inode(&key, ino);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_inode(key.data, key.len, val.data, val.len, NULL, ret));
}

int get_inline(struct meta *m, ino_id ino, struct buf *out)
{
	const uint8_t *data;
	BUF val = {0};
	STACK_KEY(key);
	size_t len;
	int err;

	buf_reset(out);
	key_inline(&key, ino);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	err = report(&key, &val,
		     parse_inline(key.data, key.len, val.data, val.len, NULL, &data, &len));
	if (err == 0)
		buf_put(out, data, len);
	return err;
}

int get_dentry(struct meta *m, ino_id dir, const char *name, struct rec_dentry *ret)
{
	size_t len = strlen(name);
	BUF val = {0};
	STACK_KEY(key);
	int err;

	if (len > DFS_NAME_MAX)
		return DFS_ENAMETOOLONG;
	key_dentry(&key, dir, dentry_hash(dir, name, len), name, len);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_dentry(key.data, key.len, val.data, val.len, NULL, ret));
}

int get_extent(struct meta *m, extent_id id, struct rec_extent *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_extent(&key, id);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_extent(key.data, key.len, val.data, val.len, ret));
}

int get_orphan(struct meta *m, ino_id ino, struct rec_orphan *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_orphan(&key, ino);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_orphan(key.data, key.len, val.data, val.len, ret));
}

int get_usage(struct meta *m, ino_id ino, uint64_t slot, struct rec_usage *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_usage(&key, ino, slot);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_usage(key.data, key.len, val.data, val.len, ret));
}

int get_prealloc(struct meta *m, ino_id ino, uint64_t slot, struct rec_prealloc *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_prealloc(&key, ino, slot);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_prealloc(key.data, key.len, val.data, val.len, ret));
}

int get_disk(struct meta *m, disk_id id, struct rec_disk *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_disk(&key, id);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_disk(key.data, key.len, val.data, val.len, ret));
}

int get_health(struct meta *m, disk_id id, struct rec_health *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_health(&key, id);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_health(key.data, key.len, val.data, val.len, ret));
}

int get_numbers(struct meta *m, disk_id disk, uint32_t *ret_next)
{
	BUF val = {0};
	STACK_KEY(key);
	disk_id of;
	int err;

	key_numbers(&key, disk);
	err = meta_get(m, key.data, key.len, &val);
	if (err == DFS_ENOENT)
		*ret_next = 0;
	if (err)
		return err == DFS_ENOENT ? 0 : err;
	return report(&key, &val,
		      parse_numbers(key.data, key.len, val.data, val.len, &of, ret_next));
}

int get_settings(struct meta *m, struct rec_settings *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_settings(&key, "pool");
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_settings(key.data, key.len, val.data, val.len, ret));
}

static int parse_background(const void *key, size_t key_len, const void *val, size_t val_len,
			    struct rec_background *ret)
{
	struct reader k, v;
	int err = begin(TABLE_SETTINGS, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	(void)reader_bytes(&k, strlen("background"));
	ret->rebuild_after_s = reader_le64(&v);
	ret->bytes_per_s = reader_le64(&v);
	return end(&k, &v) ? DFS_ECORRUPT : 0;
}

int get_background(struct meta *m, struct rec_background *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_settings(&key, "background");
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err;
	return report(&key, &val, parse_background(key.data, key.len, val.data, val.len, ret));
}

static int parse_search(const void *key, size_t key_len, const void *val, size_t val_len,
			struct rec_search *ret)
{
	struct reader k, v;
	const void *name;
	unsigned count;
	int err = begin(TABLE_SETTINGS, key, key_len, val, val_len, &k, &v);

	if (err)
		return err;
	name = reader_bytes(&k, 6);
	count = reader_le16(&v);
	if (!name || memcmp(name, "search", 6) != 0 || count > SEARCH_MAX)
		return DFS_ECORRUPT;
	ret->count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (!read_string(&v, ret->dirs[i], sizeof(ret->dirs[i])) || ret->dirs[i][0] != '/')
			return DFS_ECORRUPT;
	}
	if (end(&k, &v))
		return DFS_ECORRUPT;
	ret->count = count;
	return 0;
}

int get_search(struct meta *m, struct rec_search *ret)
{
	BUF val = {0};
	STACK_KEY(key);
	int err;

	key_settings(&key, "search");
	err = meta_get(m, key.data, key.len, &val);
	if (err == DFS_ENOENT)
		ret->count = 0;
	if (err)
		return err == DFS_ENOENT ? 0 : err;
	return report(&key, &val, parse_search(key.data, key.len, val.data, val.len, ret));
}

int get_xattr(struct meta *m, ino_id ino, const char *name, struct buf *out)
{
	const char *found;
	const uint8_t *value;
	size_t found_len, value_len;
	BUF val = {0};
	STACK_KEY(key);
	int err;

	buf_reset(out);
	if (strlen(name) > DFS_NAME_MAX || !*name)
		return DFS_ENODATA;
	key_xattr(&key, ino, name);
	err = meta_get(m, key.data, key.len, &val);
	if (err)
		return err == DFS_ENOENT ? DFS_ENODATA : err;
	err = report(&key, &val,
		     parse_xattr(key.data, key.len, val.data, val.len, NULL, &found, &found_len,
				 &value, &value_len));
	if (err)
		return err;
	buf_put(out, value, value_len);
	return 0;
}
