/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists as values, see acl.h. The rules are those of POSIX 1003.1e draft 17, as Linux has them. */
#include "file/acl.h"

#include <string.h>

#define VERSION 2u

enum tag {
	USER_OBJ = 0x01,
	USER = 0x02,
	GROUP_OBJ = 0x04,
	GROUP = 0x08,
	MASK = 0x10,
	OTHER = 0x20
};

static bool is_named(uint16_t tag) { return tag == USER || tag == GROUP; }

/* In order; each but users and groups just once, and a mask if there are such. */
static bool is_valid(const struct acl *a)
{
	unsigned seen = 0, last = 0;

	for (unsigned i = 0; i < a->count; i++) {
		const struct acl_entry *e = &a->e[i];

		if (e->tag < last || (e->tag == last && !is_named(e->tag)) || (e->perm & ~7u) ||
		    (is_named(e->tag) && e->id == UINT32_MAX))
			return false;
		last = e->tag;
		seen |= last;
	}
	if (seen & ~(USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER))
		return false;
	if ((seen & (USER | GROUP)) && !(seen & MASK))
		return false;
	return a->count == 0 || (~seen & (USER_OBJ | GROUP_OBJ | OTHER)) == 0;
}

static bool is_one_bit(uint16_t tag) { return tag && !(tag & (tag - 1)); }

int acl_parse(const void *value, size_t len, struct acl *ret_acl)
{
	struct reader r = reader_of(value, len);
	struct acl a = {0};

	if (len > ACL_VALUE_MAX)
		return DFS_E2BIG;
	if (len == 0) {
		ret_acl->count = 0;
		return 0;
	}
	if (reader_le32(&r) != VERSION || reader_left(&r) % 8)
		return DFS_EINVAL;
	while (reader_left(&r)) {
		struct acl_entry *e = &a.e[a.count++];

		e->tag = reader_le16(&r);
		e->perm = reader_le16(&r);
		e->id = reader_le32(&r);
		if (!is_one_bit(e->tag))
			return DFS_EINVAL;
		if (!is_named(e->tag))
			e->id = UINT32_MAX;
	}
	if (r.bad || !is_valid(&a))
		return DFS_EINVAL;
	*ret_acl = a;
	return 0;
}

void acl_put(const struct acl *acl, struct buf *out)
{
	buf_put_le32(out, VERSION);
	for (unsigned i = 0; i < acl->count; i++) {
		buf_put_le16(out, acl->e[i].tag);
		buf_put_le16(out, acl->e[i].perm);
		buf_put_le32(out, acl->e[i].id);
	}
}

/* Which entry a mode's bits at shift (6, 3, 0) stand for: the group's are the mask's where there is one. */
static unsigned entry_of(const struct acl *acl, unsigned shift)
{
	unsigned tag = shift == 6 ? USER_OBJ : shift == 3 ? GROUP_OBJ : OTHER, found = 0;

	for (unsigned i = 0; i < acl->count; i++)
		if (acl->e[i].tag == tag || (shift == 3 && acl->e[i].tag == MASK))
			found = i;
	return found;
}

uint32_t acl_mode(const struct acl *acl)
{
	uint32_t mode = 0;

	for (unsigned shift = 0; shift <= 6; shift += 3)
		mode |= (uint32_t)acl->e[entry_of(acl, shift)].perm << shift;
	return mode;
}

bool acl_is_mode(const struct acl *acl) { return acl->count <= 3; }

void acl_take_mode(struct acl *acl, uint32_t mode)
{
	for (unsigned shift = 0; shift <= 6; shift += 3)
		acl->e[entry_of(acl, shift)].perm = mode >> shift & 7;
}

uint32_t acl_inherit(struct acl *acl, uint32_t mode)
{
	mode &= ~0777u | acl_mode(acl);
	acl_take_mode(acl, mode);
	return mode;
}
