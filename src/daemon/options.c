/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The -o options: ours are taken here; what becomes of all others, generic.c says. No locks.
 */
#include "daemon/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_AHEAD_KIB_DEFAULT 1024
#define READ_AHEAD_KIB_MAX 65536
#define DIRTY_LIMIT_MIN MIB(8)
#define DIRTY_LIMIT_MAX GIB(64)
#define FLUSH_INTERVAL_MAX_MS 600000
#define IO_TIMEOUT_MIN_MS 500
#define IO_TIMEOUT_MAX_MS 3600000
#define SEAL_WORKERS_MAX 64
#define SMART_INTERVAL_DEFAULT_MS 3600000
#define SMART_INTERVAL_MAX_S 31536000

int fail(struct pool_message *msg, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, args);
	va_end(args);
	return err;
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *ret_value,
			 const char **ret_end)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret_value = strtoull(text, &end, 10);
	*ret_end = end;
	return errno == 0 && *ret_value >= least && *ret_value <= most;
}

bool parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	const char *end, *unit;
	uint64_t value;
	unsigned shift;

	if (!parse_number(text, 0, UINT64_MAX, &value, &end))
		return false;
	if (*end != '\0') {
		unit = strchr(units, *end & ~0x20); /* either case */
		if (!unit || *unit == '\0' || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
		if (value > UINT64_MAX >> shift)
			return false;
		value <<= shift;
	}
	*ret_bytes = value;
	return true;
}

/* NAME=VALUE: the value, or NULL when word is another option. */
static const char *value_of(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static bool take_count(const char *value, uint64_t least, uint64_t most, uint64_t *ret_value)
{
	const char *end;

	return parse_number(value, least, most, ret_value, &end) && *end == '\0';
}

enum taken {
	NOT_OURS,
	TAKEN,
	BAD
};

static enum taken take_value(const char *word, struct mount_options *o)
{
	const char *value;
	uint64_t n;

	if ((value = value_of(word, "dirty_limit"))) {
		if (!parse_size(value, &n) || n < DIRTY_LIMIT_MIN || n > DIRTY_LIMIT_MAX)
			return BAD;
		o->fs.dirty_limit_bytes = n;
	} else if ((value = value_of(word, "flush_interval"))) {
		if (!take_count(value, 1, FLUSH_INTERVAL_MAX_MS, &o->fs.flush_interval_ms))
			return BAD;
	} else if ((value = value_of(word, "io_timeout"))) {
		if (!take_count(value, IO_TIMEOUT_MIN_MS, IO_TIMEOUT_MAX_MS, &o->io_timeout_ms))
			return BAD;
	} else if ((value = value_of(word, "smart_interval"))) {
		if (!take_count(value, 0, SMART_INTERVAL_MAX_S, &n))
			return BAD;
		o->smart_interval_ms = n * 1000;
	} else if ((value = value_of(word, "seal_workers"))) {
		if (!take_count(value, 1, SEAL_WORKERS_MAX, &n))
			return BAD;
		o->fs.seal_workers = (unsigned)n;
	} else if ((value = value_of(word, "inode_cache"))) {
		if (!take_count(value, 1, UINT32_MAX, &o->fs.inode_cache_count))
			return BAD;
	} else if ((value = value_of(word, "name_cache"))) {
		if (!parse_size(value, &n) || n == 0)
			return BAD;
		o->fs.name_cache_bytes = n;
	} else if ((value = value_of(word, "read_ahead"))) {
		if (!take_count(value, 0, READ_AHEAD_KIB_MAX, &n))
			return BAD;
		o->read_ahead_kib = (unsigned)n;
	} else {
		return NOT_OURS;
	}
	return TAKEN;
}

static enum taken take_word(const char *word, struct mount_options *o)
{
	if (word[0] == '\0')
		return TAKEN;
	if (strcmp(word, "ro") == 0)
		o->read_only = true;
	else if (strcmp(word, "rw") == 0)
		o->read_only = false;
	else if (strcmp(word, "force") == 0)
		o->force = true;
	else if (strcmp(word, "foreground") == 0)
		o->foreground = true;
	else if (strcmp(word, "remount") == 0)
		o->remount = true;
	else if (strcmp(word, "noatime") == 0)
		o->no_access_times = true;
	else if (strcmp(word, "atime") == 0 || strcmp(word, "relatime") == 0)
		o->no_access_times = false;
	else if (strcmp(word, "strictatime") == 0)
		o->strict_times_wanted = !(o->no_access_times = false);
	else if (strcmp(word, "noacl") == 0)
		o->fs.no_acl = true;
	else if (strcmp(word, "acl") == 0)
		o->fs.no_acl = false;
	else if (strcmp(word, "nodiratime") == 0)
		o->no_dir_access_times = true;
	else if (strcmp(word, "diratime") == 0)
		o->no_dir_access_times = false;
	else
		return take_value(word, o);
	return TAKEN;
}

static void pass_on(const char *word, const struct generic_option *g, struct mount_options *o)
{
	char *longer, *out;

	o->flags_set = (o->flags_set & ~g->flags_cleared) | g->flags_set;
	o->flags_cleared = (o->flags_cleared & ~g->flags_set) | g->flags_cleared;
	o->allow_root |= strcmp(word, "allow_root") == 0;
	/* libfuse divides at commas, too, unless told not to. */
	longer = xmalloc((o->fuse_opts ? strlen(o->fuse_opts) + 1 : 0) + 2 * strlen(word) + 1);
	out = longer + (o->fuse_opts ? sprintf(longer, "%s,", o->fuse_opts) : 0);
	for (; *word; word++) {
		if (*word == ',' || *word == '\\')
			*out++ = '\\';
		*out++ = *word;
	}
	*out = '\0';
	free(o->fuse_opts);
	o->fuse_opts = longer;
}

static int take_generic(const char *word, struct mount_options *o, struct pool_message *msg)
{
	const struct generic_option *g = generic_option_find(word);

	if (!g)
		return fail(msg, DFS_EUSAGE,
			    "cannot mount: there is no option '%.200s'; nothing was done; see "
			    "dynamicfs-mount(8)",
			    word);
	/* mount(8) repeats with a remount what the mount table says of the mount. */
	if (g->what == OPTION_REFUSED && !o->remount)
		return fail(msg, DFS_EUSAGE,
			    "cannot mount with the option '%.200s': %s; nothing was done", word,
			    g->why);
	if (g->what == OPTION_PASSED)
		pass_on(word, g, o);
	return 0;
}

/* The next word of a list joined by commas; quotes keep commas together (SELinux contexts). Cuts it off *text. */
static char *next_word(char **text)
{
	char *start = *text, *p = start;
	bool quoted = false;

	if (!start)
		return NULL;
	for (; *p && (quoted || *p != ','); p++)
		quoted ^= *p == '"';
	*text = *p ? p + 1 : NULL;
	*p = '\0';
	return start;
}

static bool has_word(const char *list, const char *wanted)
{
	FREE char *copy = xstrdup(list);
	char *rest = copy, *word;

	while ((word = next_word(&rest)) != NULL)
		if (strcmp(word, wanted) == 0)
			return true;
	return false;
}

int mount_options_parse(const struct daemon_options *opt, struct mount_options *ret_o,
			struct pool_message *msg)
{
	FREE char *copy = xstrdup(opt->fuse_opts ? opt->fuse_opts : "");
	char *rest = copy, *word;
	int err = 0;

	*ret_o = (struct mount_options){
		.force = opt->force,
		.foreground = opt->foreground,
		.remount = has_word(copy, "remount"),
		.read_ahead_kib = READ_AHEAD_KIB_DEFAULT,
		.smart_interval_ms = SMART_INTERVAL_DEFAULT_MS,
	};
	while (!err && (word = next_word(&rest)) != NULL) {
		switch (take_word(word, ret_o)) {
		case TAKEN:
			break;
		case BAD:
			err = fail(msg, DFS_EUSAGE,
				   "cannot mount: option '%.200s' has a value that is not allowed; "
				   "nothing was done; see dynamicfs-mount(8)",
				   word);
			break;
		case NOT_OURS:
			err = take_generic(word, ret_o, msg);
		}
	}
	ret_o->read_only |= opt->read_only;
	if (!err && ret_o->strict_times_wanted && !ret_o->remount)
		fail(msg, 0,
		     "strictatime is not offered: times of last access are kept as relatime does");
	return err;
}

void mount_options_release(struct mount_options *o)
{
	free(o->fuse_opts);
	o->fuse_opts = NULL;
}
