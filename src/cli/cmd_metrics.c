/* SPDX-License-Identifier: Apache-2.0 */
/* The command metrics: all figures, in the text format that Prometheus and others read. No locks. */
#include "cli/command.h"

static void put_value(FILE *f, const json_t *v)
{
	if (json_is_real(v))
		fprintf(f, " %.9g\n", json_real_value(v));
	else
		fprintf(f, " %lld\n", (long long)json_integer_value(v));
}

/* A label's value: with what ends it, or the line, escaped. */
static void put_text(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc((unsigned char)*s < 0x20 ? '?' : *s, f);
	}
}

/* NAME{a="b",le="0.1"}; le NULL: none. */
static void put_name(FILE *f, const char *name, const char *suffix, json_t *labels, const char *le)
{
	const char *key;
	const json_t *value;
	unsigned n = 0;

	fprintf(f, "%s%s", name, suffix);
	json_object_foreach(labels, key, value) {
		fprintf(f, "%s%s=\"", n++ ? "," : "{", key);
		put_text(f, json_string_value(value));
		fputc('"', f);
	}
	if (le)
		fprintf(f, "%sle=\"%s\"", n++ ? "," : "{", le);
	if (n)
		fputc('}', f);
}

static void put_histogram(FILE *f, const char *name, const json_t *s)
{
	json_t *labels = json_object_get(s, "labels");
	const json_t *b;
	char le[32];
	size_t i;

	json_array_foreach(json_object_get(s, "buckets"), i, b) {
		if (json_is_real(json_object_get(b, "le")))
			snprintf(le, sizeof(le), "%.9g", json_real_value(json_object_get(b, "le")));
		else
			snprintf(le, sizeof(le), "+Inf");
		put_name(f, name, "_bucket", labels, le);
		put_value(f, json_object_get(b, "count"));
	}
	put_name(f, name, "_sum", labels, NULL);
	put_value(f, json_object_get(s, "sum"));
	put_name(f, name, "_count", labels, NULL);
	put_value(f, json_object_get(s, "count"));
}

static void print_metrics(struct invocation *inv, const json_t *r)
{
	FILE *f = inv->out.f;
	const json_t *m, *s;
	size_t i, j;

	json_array_foreach(json_object_get(r, "metrics"), i, m) {
		const char *name = format_str(m, "name");

		fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, format_str(m, "help"), name,
			format_str(m, "type"));
		json_array_foreach(json_object_get(m, "samples"), j, s) {
			if (json_object_get(s, "buckets")) {
				put_histogram(f, name, s);
				continue;
			}
			put_name(f, name, "", json_object_get(s, "labels"), NULL);
			put_value(f, json_object_get(s, "value"));
		}
	}
}

const struct command cli_metrics_command = {
	.name = "metrics",
	.summary = "print all counters and figures, as text for Prometheus or as JSON",
	.usage = "--pool DIR [--json]",
	.about =
		"docs/METRICS.md lists them. Those that count begin at zero with each mount; of a pool that is not\n"
		"mounted only what it holds is known.",
	.op = "metrics",
	.print = print_metrics,
};
