/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's disks as they are at one moment, and the one that a person means. No locks. */
#include <stdio.h>
#include <stdlib.h>

#include "ctl/call.h"

/* A disk that nobody has used since it went away is found out by asking it. */
bool disk_status_now(struct pool *p, unsigned i, struct pool_disk_status *ret_status)
{
	struct disk *d;

	if (!pool_disk_status(p, i, ret_status))
		return false;
	d = disk_get(pool_disks(p), ret_status->info.id);
	if (ret_status->present && (!d || !disk_dev(d) || dev_probe(disk_dev(d)) != 0)) {
		ret_status->present = false;
		ret_status->free_bytes = 0;
	}
	return true;
}

/* The number of the view's failure domain: that of its first disk. */
static uint32_t domain_number(const struct disk_views *views, unsigned i)
{
	const char *domain = views->v[i].info.domain;

	for (unsigned j = 0; j < i && *domain; j++)
		if (strcmp(views->v[j].info.domain, domain) == 0)
			return views->v[j].domain;
	return i + 1;
}

void disk_views_take(struct pool *p, struct disk_views *ret_views)
{
	struct disk_views views = {0};
	struct pool_disk_status *s = xmalloc(sizeof(*s));

	for (unsigned i = 0; disk_status_now(p, i, s); i++) {
		views.v = xrealloc(views.v, (views.count + 1) * sizeof(*views.v));
		views.v[views.count++] = (struct disk_view){
			.id = s->info.id,
			.present = s->present && s->info.state != DISK_FAILED && !s->is_awaited,
			.member = s->metadata_member,
			.takes_data = s->takes_data,
			.read_only = s->read_only,
			.no_files = s->no_files,
			.given_up = s->given_up,
			.doubtful = s->doubtful,
			.is_silent = s->is_silent,
			.is_awaited = s->is_awaited,
			.in_doubt = s->doubtful || s->damaged ? disk_get(pool_disks(p), s->info.id)
							      : NULL,
			.lacks = s->lost_segments > 0,
			.role = pool_meta(p) ? meta_disk_role(pool_meta(p), &s->info.uuid)
					     : HISTORY_UNLISTED,
			.event = s->event,
			.reason = s->reason,
			.info = s->info,
		};
		views.v[views.count - 1].domain = domain_number(&views, views.count - 1);
		if (views.v[views.count - 1].present) {
			views.present++;
			views.members_present += s->metadata_member;
		}
	}
	free(s);
	*ret_views = views;
}

void disk_views_release(struct disk_views *views)
{
	free(views->v);
	*views = (struct disk_views){0};
}

const struct disk_view *disk_views_find(const struct disk_views *views, disk_id id)
{
	for (unsigned i = 0; i < views->count; i++)
		if (views->v[i].id.v == id.v)
			return &views->v[i];
	return NULL;
}

static bool same_path(const char *a, const char *b)
{
	size_t n = strlen(a), k = strlen(b);

	while (n > 1 && a[n - 1] == '/')
		n--;
	while (k > 1 && b[k - 1] == '/')
		k--;
	return n == k && memcmp(a, b, n) == 0;
}

enum name_kind {
	BY_UUID,
	BY_LABEL,
	BY_PATH,
	BY_NUMBER,
	NAME_KINDS
};

static bool is_named(const struct disk_info *d, enum name_kind kind, const char *which,
		     const char *path)
{
	struct uuid uuid;
	char number[16];

	switch (kind) {
	case BY_UUID:
		return uuid_parse(which, &uuid) == 0 && uuid_eq(&uuid, &d->uuid);
	case BY_LABEL:
		return strcmp(d->label, which) == 0;
	case BY_PATH:
		return path && same_path(d->path, path);
	case BY_NUMBER:
		snprintf(number, sizeof(number), "%u", d->id.v);
		return strcmp(number, which) == 0;
	case NAME_KINDS:
		break;
	}
	return false;
}

/* The label before the path: it may look like a relative one, and names the disk for sure. A disk that was
 * given up may have left its path and label to another one, which is meant then. */
static const struct disk_view *find_named(const struct disk_views *views, const char *which,
					  const char *path)
{
	const struct disk_view *failed = NULL;

	for (unsigned kind = 0; kind < NAME_KINDS && !failed; kind++)
		for (unsigned i = 0; i < views->count; i++) {
			const struct disk_view *d = &views->v[i];

			if (!is_named(&d->info, kind, which, path))
				continue;
			if (!d->given_up)
				return d;
			failed = failed ? failed : d;
		}
	return failed;
}

const struct disk_view *disk_views_named(struct ctl_call *c, const struct disk_views *views,
					 const char *which)
{
	FREE char *path = ctl_path_from_json(json_object_get(c->args, "disk_abs"));
	const struct disk_view *found = find_named(views, which, path ? path : which);
	char known[512] = "";
	size_t len = 0;

	if (found)
		return found;
	for (unsigned i = 0; i < views->count && len < sizeof(known) - 80; i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
					views->v[i].info.label);
	(void)ctl_fail(
		c, DFS_ENODISK,
		"cannot find a disk '%s' (directory, label or uuid) in the pool %s; it has: %s",
		which, c->pool_dir, known);
	return NULL;
}

int disk_info_named(struct ctl_call *c, const char *which, struct disk_info *ret_info)
{
	const struct disk_view *d;
	struct disk_views views;

	disk_views_take(c->pool, &views);
	d = disk_views_named(c, &views, which);
	if (d)
		*ret_info = d->info;
	disk_views_release(&views);
	return d ? 0 : DFS_ENODISK;
}

static json_t *disk_json_of(const struct pool_disk_status *s)
{
	json_t *o = json_object();
	char fs[17];

	snprintf(fs, sizeof(fs), "%llx", (unsigned long long)s->fs_id);
	set_u64(o, "id", s->info.id.v);
	set_uuid(o, "uuid", &s->info.uuid);
	set_text(o, "label", s->info.label);
	set_text(o, "domain", s->info.domain);
	set_text(o, "path", s->info.path);
	set_text(o, "state", s->is_awaited ? "silent" : disk_state_name(s->info.state));
	set_text(o, "reason", s->reason);
	set_text(o, "reason_text", s->text);
	set_u64(o, "since_wall_s", s->since_s);
	set_text(o, "smart", s->smart);
	set_bool(o, "ordered", s->is_ordered);
	set_u64(o, "errors",
		s->counters.read_errors + s->counters.write_errors + s->counters.checksum_errors);
	set_bool(o, "present", s->present);
	set_bool(o, "read_only", s->read_only);
	set_bool(o, "given_up", s->given_up);
	set_bool(o, "doubtful", s->doubtful);
	set_u64(o, "lacking_segments", s->lost_segments);
	set_bool(o, "metadata_member", s->metadata_member);
	set_u64(o, "capacity_bytes", s->info.capacity_bytes);
	set_u64(o, "total_bytes", s->total_bytes);
	set_u64(o, "used_bytes", s->used_bytes);
	set_u64(o, "free_bytes", s->free_bytes);
	set_text(o, "filesystem", s->present ? fs : "");
	set_u64(o, "reads", s->counters.reads);
	set_u64(o, "writes", s->counters.writes);
	set_u64(o, "syncs", s->counters.syncs);
	set_u64(o, "read_bytes", s->counters.read_bytes);
	set_u64(o, "write_bytes", s->counters.write_bytes);
	set_u64(o, "read_errors", s->counters.read_errors);
	set_u64(o, "write_errors", s->counters.write_errors);
	set_u64(o, "checksum_errors", s->counters.checksum_errors);
	return o;
}

json_t *disks_array(struct pool *p)
{
	struct pool_disk_status *s = xmalloc(sizeof(*s));
	json_t *disks = json_array();

	for (unsigned i = 0; disk_status_now(p, i, s); i++)
		json_array_append_new(disks, disk_json_of(s));
	free(s);
	return disks;
}
