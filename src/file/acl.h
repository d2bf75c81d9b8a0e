/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX access control lists, as values: parsing, and the arithmetic between a list and a mode. What
 * the kernel's posix_acl.c does for its own filesystems; libacl works on paths and text, and has neither
 * inheritance nor the kernel's xattr form in its interface.
 *
 * The form is that of the xattr "system.posix_acl_access" and "..._default", version 2: le32 version, then entries of
 * {le16 tag, le16 perm, le32 id}. A list has its entries in the order of their tags: the owner's, users', the owning
 * group's, groups', the mask (there when there are users or groups), others'. Pure functions; no locks.
 */
#ifndef DFS_FILE_ACL_H
#define DFS_FILE_ACL_H

#include "base/err.h"
#include "base/le.h"
#include "base/types.h"

#define ACL_VALUE_MAX 4096u /* what the kernel reads and writes of a FUSE filesystem: a page */
#define ACL_ENTRIES_MAX ((ACL_VALUE_MAX - 4) / 8)

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id; /* of a user or group; else UINT32_MAX */
};

struct acl {
	unsigned count; /* 0: there is no list */
	struct acl_entry e[ACL_ENTRIES_MAX];
};

/* DFS_EINVAL: not that form, or not a list that can be; DFS_E2BIG. */
MUST_USE int acl_parse(const void *value, size_t len, struct acl *ret_acl);
static inline size_t acl_bytes(const struct acl *acl) { return 4 + 8 * (size_t)acl->count; }
/* Appends its form, of acl_bytes(). */
void acl_put(const struct acl *acl, struct buf *out);

/* Of a list with entries: the permission bits that it gives a mode. */
uint32_t acl_mode(const struct acl *acl);
/* Does it say no more than these bits? */
bool acl_is_mode(const struct acl *acl);
/* chmod: the owner's, the mask's (without one the group's) and others' entries become the mode's. */
void acl_take_mode(struct acl *acl, uint32_t mode);
/* A directory's default list becomes the list of what is made in it with that mode. Returns the mode that it has then. */
uint32_t acl_inherit(struct acl *acl, uint32_t mode);

#endif
