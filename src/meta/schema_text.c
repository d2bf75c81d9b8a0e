/* SPDX-License-Identifier: Apache-2.0 */
/* Any record of the index as one line of text, for logs, inspect and tests. Pure, no locks. */
#include <stdarg.h>
#include <stdio.h>

#include "meta/internal.h"

static __attribute__((format(printf, 2, 3))) void say(struct buf *out, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_put(out, line, MIN((size_t)MAX(n, 0), sizeof(line) - 1));
}

/* In quotes; what isn't printable ASCII, and \ and ", as \xNN. At most 1024 bytes. */
static void say_bytes(struct buf *out, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	buf_put_u8(out, '"');
	for (size_t i = 0; i < MIN(len, (size_t)1024); i++) {
		if (p[i] < 32 || p[i] > 126 || p[i] == '\\' || p[i] == '"')
			say(out, "\\x%02x", p[i]);
		else
			buf_put_u8(out, p[i]);
	}
	say(out, len > 1024 ? "\"..." : "\"");
}

static void say_uuid(struct buf *out, const struct uuid *u)
{
	char text[UUID_TEXT_LEN + 1];

	uuid_format(u, text);
	say(out, "%s", text);
}

static void say_time(struct buf *out, const char *name, const struct dfs_time *t)
{
	say(out, " %s=%lld.%09u", name, (long long)t->sec, t->nsec);
}

static int inode_text(const void *key, size_t key_len, const void *val, size_t val_len,
		      struct buf *out)
{
	struct rec_inode r;
	ino_id ino;
	int err = parse_inode(key, key_len, val, val_len, &ino, &r);

	if (err)
		return err;
	say(out,
	    "inode %llu: mode=%o nlink=%u uid=%u gid=%u rdev=%llu size=%llu mapped=%llu "
	    "parent=%llu generation=%llu flags=%u inline_len=%u",
	    (unsigned long long)ino.v, r.mode, r.nlink, r.uid, r.gid, (unsigned long long)r.rdev,
	    (unsigned long long)r.size, (unsigned long long)r.mapped_bytes,
	    (unsigned long long)r.parent.v, (unsigned long long)r.generation, r.flags,
	    r.inline_len);
	if (r.flags & INODE_PREALLOC)
		say(out, " preallocated=%llu", (unsigned long long)r.prealloc_bytes);
	say_time(out, "atime", &r.atime);
	say_time(out, "mtime", &r.mtime);
	say_time(out, "ctime", &r.ctime);
	say_time(out, "btime", &r.btime);
	return 0;
}

/* Its content is the user's: not for logs. */
static int inline_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	const uint8_t *data;
	size_t len;
	ino_id ino;
	int err = parse_inline(key, key_len, val, val_len, &ino, &data, &len);

	if (err)
		return err;
	say(out, "inline %llu: len=%zu", (unsigned long long)ino.v, len);
	return 0;
}

static int dentry_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	struct rec_dentry r;
	ino_id dir;
	int err = parse_dentry(key, key_len, val, val_len, &dir, &r);

	if (err)
		return err;
	say(out, "dentry %llu ", (unsigned long long)dir.v);
	say_bytes(out, r.name, strlen(r.name));
	say(out, ": ino=%llu mode=%o cookie=%llu", (unsigned long long)r.ino.v, r.mode,
	    (unsigned long long)r.cookie);
	return 0;
}

static int map_text(const void *key, size_t key_len, const void *val, size_t val_len,
		    struct buf *out)
{
	struct rec_map r;
	ino_id ino;
	int err = parse_map(key, key_len, val, val_len, &ino, &r);

	if (err)
		return err;
	say(out, "map %llu %llu: len=%u extent=", (unsigned long long)ino.v,
	    (unsigned long long)r.file_offset, r.len);
	say_uuid(out, &r.extent.u);
	say(out, " extent_offset=%u", r.extent_offset);
	return 0;
}

static int extent_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	struct rec_extent r;
	int err = parse_extent(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "extent ");
	say_uuid(out, &r.id.u);
	say(out,
	    ": ino=%llu len=%u k=%u m=%u wanted_k=%u wanted_m=%u refs=%u fragment_len=%u "
	    "header_len=%u generation=%llu fragments=",
	    (unsigned long long)r.ino.v, r.len, r.k, r.m, r.wanted_k, r.wanted_m, r.refs,
	    r.fragment_len, r.header_len, (unsigned long long)r.generation);
	for (unsigned i = 0; i < (unsigned)r.k + r.m; i++)
		say(out, "%s%u:%u:%u+%u", i ? "," : "", r.frags[i].disk.v, r.frags[i].segment,
		    r.frags[i].offset, r.frags[i].record_len);
	return 0;
}

static int bydisk_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	struct rec_bydisk r;
	int err = parse_bydisk(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "bydisk %u:%u:%u: record_len=%u index=%u extent=", r.disk.v, r.segment, r.offset,
	    r.record_len, r.index);
	say_uuid(out, &r.extent.u);
	return 0;
}

static int freed_text(const void *key, size_t key_len, const void *val, size_t val_len,
		      struct buf *out)
{
	struct rec_freed r;
	int err = parse_freed(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "freed %u:%u:%u: record_len=%u", r.disk.v, r.segment, r.offset, r.record_len);
	return 0;
}

static int numbers_text(const void *key, size_t key_len, const void *val, size_t val_len,
			struct buf *out)
{
	uint32_t next;
	disk_id disk;
	int err = parse_numbers(key, key_len, val, val_len, &disk, &next);

	if (err)
		return err;
	say(out, "numbers %u: next=%u", disk.v, next);
	return 0;
}

static int doubt_text(const void *key, size_t key_len, const void *val, size_t val_len,
		      struct buf *out)
{
	uint32_t segment, from;
	disk_id disk;
	int err = parse_doubt(key, key_len, val, val_len, &disk, &segment, &from);

	if (err)
		return err;
	say(out, "doubt %u:%u: from=%u", disk.v, segment, from);
	return 0;
}

static int health_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	struct rec_health r;
	int err = parse_health(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out,
	    "health %u: state=%u event=%u order=%u relapses=%u since=%llu read_errors=%llu "
	    "write_errors=%llu checksum_errors=%llu text=",
	    r.disk.v, r.state, r.event, r.order, r.relapses, (unsigned long long)r.since_s,
	    (unsigned long long)r.read_errors, (unsigned long long)r.write_errors,
	    (unsigned long long)r.checksum_errors);
	say_bytes(out, r.text, strlen(r.text));
	return 0;
}

static int job_text(const void *key, size_t key_len, const void *val, size_t val_len,
		    struct buf *out)
{
	struct rec_job r;
	int err = parse_job(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "job %u: kind=%u state=%u disk=%u pass=%u at=%u:%u made=%llu stuck=%llu", r.id,
	    r.kind, r.state, r.disk.v, r.pass, r.segment, r.offset, (unsigned long long)r.made,
	    (unsigned long long)r.stuck);
	return 0;
}

static int orphan_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	struct rec_orphan r;
	int err = parse_orphan(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "orphan %llu: kind=%s from=%llu", (unsigned long long)r.ino.v,
	    r.kind == ORPHAN_UNLINKED ? "unlinked" : "truncate", (unsigned long long)r.from);
	return 0;
}

static int usage_text(const void *key, size_t key_len, const void *val, size_t val_len,
		      struct buf *out)
{
	struct rec_usage r;
	int err = parse_usage(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "usage %llu %llu: stored_bytes=%llu mapped_bytes=%u entries=%u",
	    (unsigned long long)r.ino.v, (unsigned long long)r.slot,
	    (unsigned long long)r.stored_bytes, r.mapped_bytes, r.entries);
	return 0;
}

static int fold_text(const void *key, size_t key_len, const void *val, size_t val_len,
		     struct buf *out)
{
	uint64_t slot;
	ino_id ino;
	int err = parse_fold(key, key_len, val, val_len, &ino, &slot);

	if (err)
		return err;
	say(out, "fold %llu %llu", (unsigned long long)ino.v, (unsigned long long)slot);
	return 0;
}

static int narrow_text(const void *key, size_t key_len, const void *val, size_t val_len,
		       struct buf *out)
{
	uint64_t slot;
	ino_id ino;
	int err = parse_narrow(key, key_len, val, val_len, &ino, &slot);

	if (err)
		return err;
	say(out, "narrow %llu %llu", (unsigned long long)ino.v, (unsigned long long)slot);
	return 0;
}

static int prealloc_text(const void *key, size_t key_len, const void *val, size_t val_len,
			 struct buf *out)
{
	struct rec_prealloc r;
	int err = parse_prealloc(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "prealloc %llu %llu:", (unsigned long long)r.ino.v, (unsigned long long)r.slot);
	for (unsigned i = 0; i < r.count; i++)
		say(out, " %u-%u", r.ranges[i].start, r.ranges[i].end);
	return 0;
}

static int disk_text(const void *key, size_t key_len, const void *val, size_t val_len,
		     struct buf *out)
{
	struct rec_disk r;
	int err = parse_disk(key, key_len, val, val_len, &r);

	if (err)
		return err;
	say(out, "disk %u: uuid=", r.id.v);
	say_uuid(out, &r.uuid);
	say(out, " capacity=%llu state=%u%s%s heir=%u%s added_epoch=%llu label=",
	    (unsigned long long)r.capacity_bytes, r.state, r.leaving ? " leaving" : "",
	    r.leaving_forced ? " forced" : "", r.heir.v, r.hands_label ? " label" : "",
	    (unsigned long long)r.added_epoch);
	say_bytes(out, r.label, strlen(r.label));
	say(out, " domain=");
	say_bytes(out, r.domain, strlen(r.domain));
	say(out, " path=");
	say_bytes(out, r.path, strlen(r.path));
	return 0;
}

static int xattr_text(const void *key, size_t key_len, const void *val, size_t val_len,
		      struct buf *out)
{
	const char *name;
	const uint8_t *value;
	size_t name_len, value_len;
	ino_id ino;
	int err = parse_xattr(key, key_len, val, val_len, &ino, &name, &name_len, &value,
			      &value_len);

	if (err)
		return err;
	say(out, "xattr %llu ", (unsigned long long)ino.v);
	say_bytes(out, name, name_len);
	say(out, ": value=");
	say_bytes(out, value, value_len);
	return 0;
}

/* Settings, audit trail and meta's own: the payload as bytes. */
static int plain_text(const char *table, const void *key, size_t key_len, const void *val,
		      size_t val_len, struct buf *out)
{
	struct reader payload;
	uint64_t birth;
	int err = envelope_open(key, key_len, val, val_len, &payload, &birth);

	if (err)
		return err;
	say(out, "%s ", table);
	say_bytes(out, (const uint8_t *)key + 1, key_len - 1);
	say(out, ": birth=%llu payload=", (unsigned long long)birth);
	say_bytes(out, payload.p, reader_left(&payload));
	return 0;
}

static int any_text(const void *key, size_t key_len, const void *val, size_t val_len,
		    struct buf *out)
{
	switch (*(const uint8_t *)key) {
	case TABLE_INODE:
		return inode_text(key, key_len, val, val_len, out);
	case TABLE_INLINE:
		return inline_text(key, key_len, val, val_len, out);
	case TABLE_DENTRY:
		return dentry_text(key, key_len, val, val_len, out);
	case TABLE_MAP:
		return map_text(key, key_len, val, val_len, out);
	case TABLE_EXTENT:
		return extent_text(key, key_len, val, val_len, out);
	case TABLE_BYDISK:
		return bydisk_text(key, key_len, val, val_len, out);
	case TABLE_FREED:
		return freed_text(key, key_len, val, val_len, out);
	case TABLE_DOUBT:
		return doubt_text(key, key_len, val, val_len, out);
	case TABLE_HEALTH:
		return health_text(key, key_len, val, val_len, out);
	case TABLE_JOB:
		return job_text(key, key_len, val, val_len, out);
	case TABLE_NUMBERS:
		return numbers_text(key, key_len, val, val_len, out);
	case TABLE_ORPHAN:
		return orphan_text(key, key_len, val, val_len, out);
	case TABLE_USAGE:
		return usage_text(key, key_len, val, val_len, out);
	case TABLE_FOLD:
		return fold_text(key, key_len, val, val_len, out);
	case TABLE_NARROW:
		return narrow_text(key, key_len, val, val_len, out);
	case TABLE_PREALLOC:
		return prealloc_text(key, key_len, val, val_len, out);
	case TABLE_DISK:
		return disk_text(key, key_len, val, val_len, out);
	case TABLE_XATTR:
		return xattr_text(key, key_len, val, val_len, out);
	case TABLE_SETTINGS:
		return plain_text("settings", key, key_len, val, val_len, out);
	case TABLE_SCRUB:
		return plain_text("scrub", key, key_len, val, val_len, out);
	case TABLE_AUDIT:
		return plain_text("audit", key, key_len, val, val_len, out);
	case TABLE_META:
		return plain_text("meta", key, key_len, val, val_len, out);
	default:
		return DFS_ENOTSUP;
	}
}

void record_to_text(const void *key, size_t key_len, const void *val, size_t val_len,
		    struct buf *out)
{
	int err = key_len ? any_text(key, key_len, val, val_len, out) : DFS_ECORRUPT;

	if (err == 0)
		return;
	say(out, err == DFS_ENOTSUP ? "unknown " : "damaged ");
	say_bytes(out, key, key_len);
	say(out, ": %s, value of %zu bytes", dfs_err_text(err), val_len);
}
