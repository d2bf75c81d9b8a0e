/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options that are not ours: every one that mount(8), fstab lines and FUSE know, and what becomes of
 * it. Nothing that is not in this table reaches libfuse or the kernel, so that whatever is not
 * understood is refused here, in one clear line. No locks.
 */
#include "daemon/internal.h"

#include <string.h>
#include <sys/mount.h>

#define FLAG(word, set, bits)                                                                      \
	{                                                                                          \
		word, OPTION_PASSED, set ? (bits) : 0, set ? 0 : (bits), NULL                      \
	}
#define IGNORED(word)                                                                              \
	{                                                                                          \
		word, OPTION_IGNORED, 0, 0, NULL                                                   \
	}
#define REFUSED(word, why)                                                                         \
	{                                                                                          \
		word, OPTION_REFUSED, 0, 0, why                                                    \
	}

static const char by_itself[] = "DynamicFS sets that by itself";
static const char per_file[] = "owner and mode are kept for each file: use chown and chmod";
static const char no_quota[] = "there are no quotas";

/* A word that ends in '=' takes a value. */
static const struct generic_option table[] = {
	FLAG("nosuid", true, MS_NOSUID),
	FLAG("suid", false, MS_NOSUID),
	FLAG("nodev", true, MS_NODEV),
	FLAG("dev", false, MS_NODEV),
	FLAG("noexec", true, MS_NOEXEC),
	FLAG("exec", false, MS_NOEXEC),
	FLAG("sync", true, MS_SYNCHRONOUS),
	FLAG("async", false, MS_SYNCHRONOUS),
	FLAG("allow_other", true, 0),
	FLAG("allow_root", true, 0),
	FLAG("auto_unmount", true, 0),
	FLAG("context=", true, 0),
	FLAG("fscontext=", true, 0),
	FLAG("defcontext=", true, 0),
	FLAG("rootcontext=", true, 0),
	/* when and by whom to mount, not how */
	IGNORED("defaults"),
	IGNORED("auto"),
	IGNORED("noauto"),
	IGNORED("nofail"),
	IGNORED("_netdev"),
	IGNORED("user"),
	IGNORED("users"),
	IGNORED("nouser"),
	IGNORED("user="),
	IGNORED("owner"),
	IGNORED("group"),
	IGNORED("loop"),
	IGNORED("silent"),
	IGNORED("loud"),
	IGNORED("comment="),
	IGNORED("helper="),
	IGNORED("uhelper="),
	/* what holds here anyway */
	IGNORED("default_permissions"),
	IGNORED("nomand"),
	IGNORED("iversion"),
	IGNORED("noiversion"),
	IGNORED("noquota"),
	IGNORED("user_xattr"),
	IGNORED("symfollow"),
	IGNORED("lazytime"), /* times wait in memory for the flush interval in any case */
	IGNORED("nolazytime"),
	IGNORED("norelatime"), /* "as the filesystem does by default" */
	IGNORED("nostrictatime"),
	/* what can't be done */
	REFUSED("nouser_xattr", "extended attributes can't be turned off"),
	REFUSED("mand", "there are no mandatory locks"),
	REFUSED("dirsync",
		"names are stored at fsync of their directory, or within flush_interval"),
	REFUSED("nosymfollow", "FUSE does not offer it"),
	REFUSED("nonempty", "what the directory holds would be hidden: name an empty one"),
	REFUSED("quota", no_quota),
	REFUSED("usrquota", no_quota),
	REFUSED("grpquota", no_quota),
	REFUSED("prjquota", no_quota),
	REFUSED("usrjquota=", no_quota),
	REFUSED("grpjquota=", no_quota),
	REFUSED("jqfmt=", no_quota),
	REFUSED("uid=", per_file),
	REFUSED("gid=", per_file),
	REFUSED("umask=", per_file),
	REFUSED("fmask=", per_file),
	REFUSED("dmask=", per_file),
	REFUSED("mode=", per_file),
	REFUSED("bind", "bind mounts are made by 'mount --bind', once the pool is mounted"),
	REFUSED("rbind", "bind mounts are made by 'mount --rbind', once the pool is mounted"),
	REFUSED("move", "a mount is moved by 'mount --move'"),
	REFUSED("debug", "use --verbose, which logs to POOL/log"),
	REFUSED("fsname=", by_itself),
	REFUSED("subtype=", by_itself),
	REFUSED("fd=", by_itself),
	REFUSED("rootmode=", by_itself),
	REFUSED("user_id=", by_itself),
	REFUSED("group_id=", by_itself),
	REFUSED("blkdev", "a pool is no block device"),
	REFUSED("blksize=", "a pool is no block device"),
	REFUSED("max_read=", by_itself),
	REFUSED("max_write=", by_itself),
	REFUSED("max_readahead=", "use read_ahead=KIB"),
	REFUSED("max_background=", by_itself),
	REFUSED("congestion_threshold=", by_itself),
	REFUSED("max_threads=", by_itself),
	REFUSED("max_idle_threads=", by_itself),
	REFUSED("clone_fd", by_itself),
	REFUSED("big_writes", by_itself),
	REFUSED("large_read", by_itself),
	REFUSED("async_read", by_itself),
	REFUSED("sync_read", by_itself),
	REFUSED("async_dio", by_itself),
	REFUSED("atomic_o_trunc", by_itself),
	REFUSED("splice_read", by_itself),
	REFUSED("splice_write", by_itself),
	REFUSED("splice_move", by_itself),
	REFUSED("no_splice_read", by_itself),
	REFUSED("no_splice_write", by_itself),
	REFUSED("no_splice_move", by_itself),
	REFUSED("writeback_cache",
		"writes are not held back by the kernel, so that a full disk is told"),
	REFUSED("no_remote_lock", by_itself),
	REFUSED("no_remote_flock", by_itself),
	REFUSED("no_remote_posix_lock", by_itself),
	REFUSED("kernel_cache", by_itself),
	REFUSED("auto_cache", by_itself),
	REFUSED("noauto_cache", by_itself),
	REFUSED("direct_io", by_itself),
	REFUSED("entry_timeout=", by_itself),
	REFUSED("attr_timeout=", by_itself),
	REFUSED("ac_attr_timeout=", by_itself),
	REFUSED("negative_timeout=", by_itself),
	REFUSED("noforget", by_itself),
	REFUSED("remember=", by_itself),
	REFUSED("nopath", by_itself),
	REFUSED("intr", by_itself),
	REFUSED("intr_signal=", by_itself),
	REFUSED("hard_remove", by_itself),
	REFUSED("use_ino", by_itself),
	REFUSED("readdir_ino", by_itself),
	REFUSED("modules=", "there are no modules of libfuse here"),
};

const struct generic_option *generic_option_find(const char *word)
{
	static const struct generic_option free_form = IGNORED("x-");
	const char *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) + 1 : strlen(word);

	/* x-* is for other programs, X-* for mount(8) itself */
	if (strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0)
		return &free_form;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strncmp(table[i].word, word, len) == 0 && table[i].word[len] == '\0')
			return &table[i];
	return NULL;
}
