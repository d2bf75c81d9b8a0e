/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines by table: getopt_long over a command's options, each value checked and put into the
 * arguments as JSON. A wrong value is told with what would be right. No locks.
 */
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/child.h"
#include "base/path.h"
#include "cli/command.h"
#include "ctl/ctl.h"

#define MAX_OPTIONS 32u
#define LONG_BASE 256

static const struct command_option common[] = {
	{"json", 0, OPT_FLAG, "", NULL, "print one JSON object"},
	{"help", 'h', OPT_FLAG, "", NULL, "print this help"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
static const struct command_option pool_option[] = {
	{"pool", 0, OPT_PATH, "", "DIR", "the pool's directory (or $DYNAMICFS_POOL)"},
	{NULL, 0, OPT_FLAG, NULL, NULL, NULL},
};
enum {
	IS_JSON,
	IS_HELP,
	IS_POOL,
	IS_OWN
};

int cli_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char letters[] = "KMGTPE";
	size_t digits = strspn(text, "0123456789.");
	const char *unit;
	char number[32];
	char *end;
	double v;

	if (digits == 0 || digits >= sizeof(number) || text[0] == '.')
		return DFS_EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	v = strtod(number, &end);
	if (*end)
		return DFS_EINVAL;
	text += digits;
	if (text[0] == ' ' && text[1])
		text++;
	unit = *text ? strchr(letters, *text & ~0x20) : NULL;
	if (unit) {
		v = ldexp(v, 10 * (int)(unit - letters + 1));
		text++;
		text += *text == 'i';
	}
	text += *text == 'B' || *text == 'b';
	if (*text || v >= 9.2e18)
		return DFS_EINVAL;
	*ret_bytes = (uint64_t)v;
	return 0;
}

static char *join(const char *dir, const char *name)
{
	return xasprintf("%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
}

/* What does not exist (yet, any more) lies in a directory that mostly does. */
static int ask_abs_path(const char *path, char *out, size_t room)
{
	FREE char *real = realpath(path, NULL);

	if (!real)
		real = path_real_parent(path);
	if (!real)
		return DFS_ENOENT;
	(void)snprintf(out, room, "%s", real);
	return 0;
}

char *cli_abs_path(const char *path)
{
	bool silent;

	return cli_abs_path_telling(path, &silent);
}

/* As far as the filesystem says within a few seconds what it is; else as it is written. */
char *cli_abs_path_telling(const char *path, bool *ret_silent)
{
	FREE char *copy = xstrdup(path);
	FREE char *whole = NULL;
	FREE char *cwd = NULL;
	char real[PATH_MAX];
	int err;

	while (strlen(copy) > 1 && copy[strlen(copy) - 1] == '/')
		copy[strlen(copy) - 1] = '\0';
	cwd = copy[0] == '/' ? NULL : getcwd(NULL, 0);
	if (copy[0] == '/')
		whole = xstrdup(copy);
	else
		whole = join(cwd ? cwd : "/", strncmp(copy, "./", 2) == 0 ? copy + 2 : copy);
	err = child_ask(ask_abs_path, whole, CHILD_PATIENCE_MS, real, sizeof(real));
	*ret_silent = err == DFS_ETIMEDOUT;
	return xstrdup(err ? whole : real);
}

/* ---- values ---- */

static bool parse_uint(const char *s, unsigned max, unsigned *ret, char **ret_end)
{
	unsigned long v;

	if (*s < '0' || *s > '9')
		return false;
	v = strtoul(s, ret_end, 10);
	if (v > max)
		return false;
	*ret = (unsigned)v;
	return true;
}

static bool parse_geometry(const char *text, unsigned *ret_k, unsigned *ret_m)
{
	unsigned k = 1, m = 0;
	char *end;

	if (strncmp(text, "replica:", 8) == 0) {
		if (!parse_uint(text + 8, 64, &m, &end) || *end || m == 0)
			return false;
		m--;
	} else {
		if (strncmp(text, "rs:", 3) == 0)
			text += 3;
		if (!parse_uint(text, 64, &k, &end) || *end != '+' ||
		    !parse_uint(end + 1, 64, &m, &end) || *end || k == 0)
			return false;
	}
	*ret_k = k;
	*ret_m = m;
	return true;
}

static void put_geometry(json_t *args, unsigned k, unsigned m)
{
	json_t *g = json_object();

	json_object_set_new(g, "k", json_integer(k));
	json_object_set_new(g, "m", json_integer(m));
	json_object_set_new(args, "large", g);
}

static void put_path(struct invocation *inv, const char *key, const char *value)
{
	bool silent;
	FREE char *abs = cli_abs_path_telling(value, &silent);
	FREE char *silent_key = silent ? xasprintf("%s_silent", key) : NULL;

	json_object_set_new(inv->args, key, ctl_json_path(abs));
	if (silent)
		json_object_set_new(inv->args, silent_key, json_true());
}

static void put_more(struct invocation *inv, const struct command_option *o, const char *value)
{
	FREE char *abs = NULL;
	FREE char *joined = NULL;
	json_t *old = json_object_get(inv->args, o->key);

	if (o->kind == OPT_PATHS) {
		if (!old)
			json_object_set_new(inv->args, o->key, old = json_array());
		abs = cli_abs_path(value);
		json_array_append_new(old, ctl_json_path(abs));
		return;
	}
	joined = old ? xasprintf("%s,%s", json_string_value(old), value) : xstrdup(value);
	json_object_set_new(inv->args, o->key, json_string(joined));
}

static int put_number(struct invocation *inv, const struct command_option *o, const char *value)
{
	uint64_t v;

	if (cli_parse_size(value, &v) != 0 ||
	    (o->kind == OPT_NUMBER && value[strspn(value, "0123456789")]))
		return cli_fail(inv, DFS_EUSAGE, "cannot use '%s' for --%s: give %s", value,
				o->name,
				o->kind == OPT_NUMBER ? "a number"
				: o->kind == OPT_RATE
					? "a size for each second, such as 50M, or unlimited"
					: "a size such as 500M, 10G or 1.5T");
	if (o->kind != OPT_NUMBER && v == 0)
		return cli_fail(inv, DFS_EUSAGE, "cannot use '%s' for --%s: give more than 0",
				value, o->name);
	json_object_set_new(inv->args, o->key, json_integer((json_int_t)v));
	return CLI_DONE;
}

/* "15m" to seconds. */
static bool parse_duration(const char *text, uint64_t *ret_s)
{
	static const struct {
		char letter;
		uint64_t s;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(text, "0123456789");
	uint64_t v;

	if (digits == 0 || digits > 9)
		return false;
	v = strtoull(text, NULL, 10);
	for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
		if (text[digits] == units[i].letter && text[digits + 1] == '\0') {
			*ret_s = v * units[i].s;
			return true;
		}
	*ret_s = 0;
	return v == 0 && text[digits] == '\0';
}

static int put_duration(struct invocation *inv, const struct command_option *o, const char *value)
{
	uint64_t s;

	if (strcmp(value, "never") == 0 || strcmp(value, "off") == 0)
		s = UINT32_MAX;
	else if (!parse_duration(value, &s))
		return cli_fail(
			inv, DFS_EUSAGE,
			"cannot use '%s' for --%s: give a time such as 90s, 15m, 2h or 30d, or never (off)",
			value, o->name);
	json_object_set_new(inv->args, o->key, json_integer((json_int_t)s));
	return CLI_DONE;
}

static int put_option(struct invocation *inv, const struct command_option *o, const char *value)
{
	FREE char *abs_key = NULL;
	unsigned k, m;

	switch (o->kind) {
	case OPT_FLAG:
		json_object_set_new(inv->args, o->key, json_true());
		break;
	case OPT_TEXT:
	case OPT_PLACE:
		json_object_set_new(inv->args, o->key, ctl_json_text(value));
		abs_key = xasprintf("%s_abs", o->key);
		if (o->kind == OPT_PLACE)
			put_path(inv, abs_key, value);
		break;
	case OPT_PATH:
		put_path(inv, o->key, value);
		break;
	case OPT_PATHS:
	case OPT_APPEND:
		put_more(inv, o, value);
		break;
	case OPT_DURATION:
		return put_duration(inv, o, value);
	case OPT_RATE:
		if (strcmp(value, "unlimited") != 0)
			return put_number(inv, o, value);
		json_object_set_new(inv->args, o->key, json_integer(0));
		break;
	case OPT_SIZE:
	case OPT_NUMBER:
		return put_number(inv, o, value);
	case OPT_ONOFF:
		if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
			return cli_fail(inv, DFS_EUSAGE, "cannot use '%s' for --%s: give on or off",
					value, o->name);
		json_object_set_new(inv->args, o->key, json_boolean(strcmp(value, "on") == 0));
		break;
	case OPT_GEOMETRY:
	case OPT_POLICY:
		if (!parse_geometry(value, &k, &m))
			return cli_fail(inv, DFS_EUSAGE,
					"cannot use '%s' for --%s: give for instance %s4+2 or "
					"replica:3",
					value, o->name, o->kind == OPT_POLICY ? "rs:" : "");
		put_geometry(inv->args, k, m);
		if (o->kind == OPT_POLICY) /* small files bear as many losses as large ones */
			json_object_set_new(inv->args, "copies", json_integer(m + 1));
		break;
	}
	return CLI_DONE;
}

/* ---- the table to getopt's form and back ---- */

struct parser {
	const struct command_option *of[MAX_OPTIONS];
	int what[MAX_OPTIONS];
	struct option longs[MAX_OPTIONS + 1];
	char shorts[2 * MAX_OPTIONS + 3];
	unsigned count;
	size_t shorts_len;
};

static void add_options(struct parser *p, const struct command_option *o, int what)
{
	for (; o && o->name; o++, what += what != IS_OWN) {
		unsigned i = p->count++;

		ASSERT(i < MAX_OPTIONS);
		p->of[i] = o;
		p->what[i] = what;
		p->longs[i] = (struct option){o->name,
					      o->kind == OPT_FLAG ? no_argument : required_argument,
					      NULL, LONG_BASE + (int)i};
		if (o->letter) {
			p->shorts[p->shorts_len++] = o->letter;
			if (o->kind != OPT_FLAG)
				p->shorts[p->shorts_len++] = ':';
		}
	}
}

static int option_index(const struct parser *p, int value)
{
	if (value >= LONG_BASE)
		return value - LONG_BASE;
	for (unsigned i = 0; i < p->count; i++)
		if (p->of[i]->letter == value)
			return (int)i;
	return -1;
}

static bool is_given(const struct invocation *inv, const char *name)
{
	for (const struct command_option *o = inv->cmd->options; o && o->name; o++)
		if (strcmp(o->name, name) == 0)
			return json_object_get(inv->args, o->key) != NULL;
	return false;
}

static int check_complete(struct invocation *inv)
{
	for (const char *const *name = inv->cmd->required; name && *name; name++)
		if (!is_given(inv, *name))
			return cli_fail(inv, DFS_EUSAGE,
					"cannot go on: --%s is missing; usage: dynamicfs %s %s",
					*name, inv->cmd->name, inv->cmd->usage);
	if (inv->word_count > inv->cmd->max_words)
		return cli_fail(inv, DFS_EUSAGE,
				"cannot go on: '%s' is one word too many; usage: dynamicfs %s %s",
				inv->words[inv->cmd->max_words], inv->cmd->name, inv->cmd->usage);
	return CLI_DONE;
}

/* --json counts wherever it stands: also for a complaint about what stands before it. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static int parse_all(struct invocation *inv, struct parser *p, int argc, char **argv)
{
	int value, i, err;

	while ((value = getopt_long(argc, argv, p->shorts, p->longs, NULL)) != -1) {
		const char *word = argv[optind - 1];

		if (value == ':')
			return cli_fail(inv, DFS_EUSAGE, "cannot go on: %s wants a value", word);
		i = option_index(p, value);
		if (value == '?' || i < 0)
			return cli_fail(
				inv, DFS_EUSAGE,
				"cannot go on: there is no option %s; see 'dynamicfs help %s'",
				word, inv->cmd->name);
		if (p->what[i] == IS_HELP) {
			cli_print_help(&inv->out, inv->cmd);
			return -1;
		}
		if (optarg && !optarg[0] && p->of[i]->kind != OPT_TEXT &&
		    p->of[i]->kind != OPT_APPEND)
			return cli_fail(inv, DFS_EUSAGE, "cannot go on: --%s is empty",
					p->of[i]->name);
		if (p->what[i] == IS_POOL) {
			free(inv->pool);
			inv->pool = cli_abs_path_telling(optarg, &inv->pool_silent);
		} else if (p->what[i] == IS_OWN) {
			err = put_option(inv, p->of[i], optarg);
			if (err)
				return err;
		}
	}
	inv->words = argv + optind;
	inv->word_count = (unsigned)(argc - optind);
	return check_complete(inv);
}

int cli_parse(struct invocation *inv, int argc, char **argv)
{
	struct parser p = {.shorts = ":", .shorts_len = 1};
	const char *pool = getenv("DYNAMICFS_POOL");
	int err;

	inv->json = wants_json(argc, argv);
	add_options(&p, common, IS_JSON);
	if (!inv->cmd->no_pool)
		add_options(&p, pool_option, IS_POOL);
	add_options(&p, inv->cmd->options, IS_OWN);
	if (!inv->cmd->no_pool && pool && pool[0])
		inv->pool = cli_abs_path_telling(pool, &inv->pool_silent);
	opterr = 0;
	optind = 0;
	err = parse_all(inv, &p, argc, argv);
	if (err == CLI_DONE && inv->pool_silent)
		return cli_fail(
			inv, DFS_ETIMEDOUT,
			"cannot reach the pool: its directory %s does not answer; check the "
			"filesystem that it is on",
			inv->pool);
	return err;
}

/* ---- help ---- */

static void help_options(struct out *o, const struct command_option *opt)
{
	for (; opt && opt->name; opt++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", opt->letter ? "-" : "",
			 opt->letter ? opt->letter : ' ', opt->letter ? ", " : "   ", opt->name,
			 opt->arg ? " " : "", opt->arg ? opt->arg : "");
		fprintf(o->f, "  %-30s %s\n", left, opt->help);
	}
}

void cli_print_help(struct out *o, const struct command *cmd)
{
	fprintf(o->f, "dynamicfs %s: %s\n\nusage: dynamicfs %s %s\n", cmd->name, cmd->summary,
		cmd->name, cmd->usage);
	if (cmd->about)
		fprintf(o->f, "\n%s\n", cmd->about);
	fputs("\noptions:\n", o->f);
	if (!cmd->no_pool)
		help_options(o, pool_option);
	help_options(o, cmd->options);
	help_options(o, common);
}
