/* SPDX-License-Identifier: Apache-2.0 */
/* Operation "status": how the pool is, in one answer (P11). No locks. */
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "ctl/call.h"
#include "meta/meta.h"

/* A pool of 10^7 extents is counted in some seconds; a person waits for one. */
#define SCAN_LIMIT_MS 1000u

static json_t *geometry_pair(struct geometry wanted, struct geometry now)
{
	json_t *o = json_object();

	set_geometry(o, "wanted", wanted);
	set_geometry(o, "now", now);
	return o;
}

static void set_space(json_t *o, struct pool *p, const struct pool_status *st)
{
	const struct pool_space *s = &st->space;
	json_t *space = json_object();

	set_u64(space, "total_bytes", s->total_bytes);
	set_u64(space, "used_bytes", s->used_bytes);
	set_u64(space, "preallocated_bytes", s->promised_bytes);
	set_u64(space, "available_bytes", s->available_bytes);
	if (pool_has_disks(p))
		set_capacity(space, p, st->large_now);
	set_bool(space, "full", st->full && !st->no_disk);
	set_bool(space, "no_disk", st->no_disk);
	json_object_set_new(o, "space", space);
}

static void set_metadata(json_t *o, const struct pool_status *s, const struct disk_views *views,
			 const struct metadata_safety *safety)
{
	json_t *m = json_object(), *journals = json_array();
	unsigned members = 0;

	for (unsigned i = 0; i < views->count; i++) {
		members += views->v[i].member;
		if (views->v[i].member && views->v[i].present)
			json_array_append_new(journals, ctl_json_text(views->v[i].info.label));
	}
	json_object_set_new(m, "journals_on", journals);
	set_u64(m, "tables", safety->tables);
	set_u64(m, "tables_short", safety->tables_short);
	json_object_set_new(m, "losses_left", json_integer(safety->losses_left));
	json_object_set_new(m, "losses_wanted", json_integer(safety->losses_wanted));
	set_u64(m, "wanted_copies", s->settings.metadata_copies);
	set_u64(m, "members", members);
	set_u64(m, "members_present", views->members_present);
	set_u64(m, "epoch", s->epoch);
	set_u64(m, "generation", s->generation);
	set_u64(m, "sequence", s->seq);
	set_u64(m, "durable_sequence", s->durable_seq);
	set_u64(m, "journal_bytes", s->meta.journal_bytes);
	set_u64(m, "journal_syncs", s->meta.journal_syncs);
	set_u64(m, "commits", s->meta.commits);
	set_u64(m, "checkpoints", s->meta.checkpoints);
	json_object_set_new(o, "metadata", m);
}

static void set_recovery(json_t *o, const struct pool_status *s)
{
	const struct meta_recovery *r = &s->recovery;
	json_t *rec = json_object();

	set_bool(rec, "was_clean", r->was_clean);
	set_u64(rec, "replayed_transactions", r->replayed_transactions);
	set_bool(rec, "index_rebuilt", r->index_rebuilt);
	set_u64(rec, "tail_cut_bytes", r->tail_cut_bytes);
	set_u64(rec, "damaged_roots", r->damaged_roots);
	set_u64(rec, "damaged_journals", r->damaged_journals);
	if (s->loss.from) {
		json_t *lost = json_object();

		set_u64(lost, "from_sequence", s->loss.from);
		set_u64(lost, "to_sequence_at_least", s->loss.last);
		set_u64(lost, "records_beyond", s->loss.beyond);
		set_u64(lost, "found_wall_s", s->loss.wall_ns / 1000000000u);
		json_object_set_new(rec, "lost", lost);
	}
	json_object_set_new(o, "recovery", rec);
}

static void set_counters(json_t *o, const struct extent_stats *e)
{
	json_t *n = json_object();

	set_u64(n, "extents_written", e->extents_written);
	set_u64(n, "extents_read", e->extents_read);
	set_u64(n, "extents_unreadable", e->extents_unreadable);
	set_u64(n, "fragments_rotten", e->fragments_rotten);
	set_u64(n, "fragments_decoded", e->fragments_decoded);
	set_u64(n, "fragments_healed", e->fragments_healed);
	set_u64(n, "heal_queue", e->heal_queue);
	json_object_set_new(o, "counters", n);
}

static bool disks_trouble(const struct disk_views *views)
{
	for (unsigned i = 0; i < views->count; i++)
		if (!views->v[i].given_up &&
		    (!views->v[i].present || views->v[i].read_only || views->v[i].no_files ||
		     views->v[i].doubtful || views->v[i].info.state != DISK_HEALTHY))
			return true;
	return false;
}

static unsigned count_awaited(const struct disk_views *views)
{
	unsigned n = 0;

	for (unsigned i = 0; i < views->count; i++)
		n += views->v[i].is_awaited;
	return n;
}

/* "empty", "failed" (no change is accepted any more), "stalled" (D11: what needs disks waits for them), "damaged" (something can't be read), "degraded"
 * (something is missing), "healthy". */
static const char *state_of(const struct pool_status *s, const struct disk_views *views,
			    const struct safety *safety, const struct metadata_safety *metadata)
{
	if (views->count == 0)
		return "empty";
	if (s->failed)
		return "failed";
	if (count_awaited(views))
		return "stalled";
	if (safety->lost || safety->in_doubt || s->extent.extents_unreadable || s->loss.from)
		return "damaged";
	if (safety->endangered || safety->reduced || disks_trouble(views) || s->dir_err ||
	    s->dir_behind || s->tie || metadata->losses_left < metadata->losses_wanted)
		return "degraded";
	return "healthy";
}

/* One that is not there, or not used. True: nothing else is to be said of it. */
static bool warn_unused(struct ctl_call *c, const struct disk_view *d)
{
	const char *label = d->info.label, *path = d->info.path;

	if (d->info.state == DISK_FAILED)
		ctl_warn(c,
			 "disk %s (%s) has failed and is not used until %s: bring it back, or give "
			 "it up with 'dynamicfs fail-disk --disk %s'",
			 label, path,
			 d->is_silent			? "it answers again"
			 : d->event == DISK_SYNC_FAILED ? "it has passed some trials"
							: "the next mount",
			 label);
	else if (d->info.state == DISK_SUSPECT && d->event == DISK_NO_ANSWER)
		ctl_warn(c,
			 "disk %s (%s) does not answer: it takes no new data, and others are "
			 "read instead, until it does; check it, or give it up with "
			 "'dynamicfs fail-disk --disk %s'",
			 label, path, label);
	else if (!d->present && d->role == HISTORY_OTHER)
		ctl_warn(c,
			 "disk %s (%s) is of another history of this pool, which was given up "
			 "by --force: it is left as it is; to use it again, remove its "
			 "dynamicfs directory and add it as a new disk",
			 label, path);
	else if (!d->present && d->role == HISTORY_UNREAD)
		ctl_warn(
			c,
			"disk %s (%s) is there, but its metadata roots can't be read, so it may have "
			"been used elsewhere: it is left as it is until the next mount; check the "
			"disk and its cable, or give it up with 'dynamicfs fail-disk --disk %s'",
			label, path, label);
	else if (!d->present)
		ctl_warn(c,
			 "disk %s (%s) is not there: bring it back, or give it up with "
			 "'dynamicfs fail-disk --disk %s'",
			 label, path, label);
	else
		return false;
	return true;
}

/* One that is there, and takes no new data, or had errors. */
static void warn_health(struct ctl_call *c, const struct disk_view *d)
{
	const char *label = d->info.label, *path = d->info.path;

	if (d->read_only)
		ctl_warn(c,
			 "disk %s (%s) is mounted read-only and takes no new data: mount its "
			 "filesystem writable",
			 label, path);
	else if (d->info.state == DISK_DEGRADED && d->event == DISK_READ_ERROR)
		ctl_warn(c,
			 "disk %s (%s) had I/O errors when it was read%s: what can't be read there "
			 "is read from other disks; check it and its cable",
			 label, path,
			 d->takes_data ? "" : ", all reads fail now, and it takes no new data");
	else if (d->info.state == DISK_DEGRADED && d->event == DISK_WRITE_ERROR)
		ctl_warn(
			c,
			"disk %s (%s) had I/O errors when it was written, and takes no new data until "
			"it has passed some trials: check it and its cable; 'dynamicfs probe-disks "
			"--disk %s' tries it now",
			label, path, label);
	else if (d->info.state != DISK_HEALTHY && d->reason[0])
		ctl_warn(c, "disk %s (%s) is %s (%s)%s", label, path,
			 disk_state_name(d->info.state), d->reason,
			 d->takes_data ? "" : ", and takes no new data");
	else if (d->info.state != DISK_HEALTHY)
		ctl_warn(c, "disk %s (%s) is %s and takes no new data", label, path,
			 disk_state_name(d->info.state));
	if (d->no_files)
		ctl_warn(c,
			 "disk %s (%s) has no inode left on its filesystem, so no file can be "
			 "created there and it takes no new data, whatever space it has: remove "
			 "files of others there",
			 label, path);
}

/* What it has not, or may not have, of what was stored there. */
static void warn_content(struct ctl_call *c, const struct disk_view *d)
{
	const char *label = d->info.label, *path = d->info.path;

	if (d->lacks)
		ctl_warn(c,
			 "disk %s (%s) lacks what was stored there: it was set back to an older "
			 "copy of itself, or has lost what was written to it; what it lacks counts "
			 "as lost, is read from other disks and is written anew while the pool "
			 "is mounted",
			 label, path);
	else if (d->doubtful)
		ctl_warn(
			c,
			"disk %s (%s) may lack what was stored there: it did not answer, or failed, with "
			"writes that were not stored yet, or damage beyond repair was found; what it may "
			"lack counts as lost, is read where it can be, and is written anew as far as "
			"possible while the pool is mounted",
			label, path);
	if (d->present && d->role == HISTORY_SET_BACK && !d->lacks)
		ctl_warn(c,
			 "disk %s (%s) was set back to an older copy of itself; it lacks "
			 "nothing that is not written anew by now",
			 label, path);
}

static void warn_disks(struct ctl_call *c, const struct disk_views *views)
{
	for (unsigned i = 0; i < views->count; i++) {
		const struct disk_view *d = &views->v[i];

		/* the operator said so, and the table shows it; or told of all together */
		if (d->given_up || d->is_awaited)
			continue;
		if (!warn_unused(c, d))
			warn_health(c, d);
		if (d->info.state != DISK_FAILED)
			warn_content(c, d);
	}
}

static void warn_stalled(struct ctl_call *c, const struct pool_status *s,
			 const struct disk_views *views)
{
	unsigned count = count_awaited(views), voters = count + views->present + s->fail_pending;
	const char *first = NULL;
	char labels[512] = "";
	size_t len = 0;

	for (unsigned i = 0; i < views->count; i++) {
		const struct disk_view *d = &views->v[i];

		if (!d->is_awaited || len + sizeof(d->info.label) + 2 > sizeof(labels))
			continue;
		len += (size_t)snprintf(labels + len, sizeof(labels) - len, "%s%s", len ? ", " : "",
					d->info.label);
		first = first ? first : d->info.label;
	}
	if (!count)
		return;
	ctl_warn(
		c,
		"%u %s not answer (%s), and so many can't be missed at once: the pool stands still, nothing "
		"can be made durable, and what needs them waits until more answer. Check the disks, their "
		"cables, or the servers behind them",
		count, plural(count, "disk does", "disks do"), labels);
	if (2 * views->present >= voters) /* H3 */
		ctl_warn(
			c,
			"to go on without the disks that do not answer give them up, one after the other "
			"until the pool goes on: 'dynamicfs fail-disk --disk %s'",
			first);
	else
		ctl_warn(
			c,
			"only %u of the %u disks that were in use answer, which is less than half: "
			"to give up the others does not help before more answer",
			views->present, voters);
	if (s->fail_pending)
		ctl_warn(c, "that %u %s given up can't be stored before more disks answer",
			 s->fail_pending, plural(s->fail_pending, "disk was", "disks were"));
}

/* The labels of all disks that share a filesystem with another one. */
static void sharing(struct pool *p, char *out, size_t out_len)
{
	struct pool_disk_status *two = xmalloc(2 * sizeof(*two)), *a = two, *b = two + 1;
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; disk_status_now(p, i, a); i++) {
		bool shared = false;

		for (unsigned j = 0; !shared && disk_status_now(p, j, b); j++)
			shared = j != i && a->present && b->present && a->fs_id == b->fs_id;
		if (shared && len + sizeof(a->info.label) + 2 < out_len)
			len += (size_t)snprintf(out + len, out_len - len, "%s%s", len ? ", " : "",
						a->info.label);
	}
	free(two);
}

/* What a daemon that was killed has left behind. */
static void warn_dead_mount(struct ctl_call *c)
{
	struct ctl_mount left;

	if (c->mountpoint || ctl_mount_of_pool(c->pool_dir, 0, &left) != 0)
		return;
	ctl_warn(
		c,
		"the mount at %s has lost its daemon and answers nothing: 'dynamicfs mount' there takes "
		"its place, 'dynamicfs unmount' removes it",
		left.mountpoint);
	ctl_mount_release(&left);
}

static void warn_same_fs(struct ctl_call *c)
{
	char labels[512];

	sharing(c->pool, labels, sizeof(labels));
	if (labels[0])
		ctl_warn(c, "these disks share a filesystem with another one and fail together: %s",
			 labels);
}

void warn_policy(struct ctl_call *c)
{
	struct policy s = pool_get_settings(c->pool);
	unsigned data = MAX(s.large.m, s.copies - 1u), metadata = s.metadata_copies - 1u;

	if (metadata < data)
		ctl_warn(
			c,
			"files are kept so that %u %s may be lost, but the metadata, without which none can be "
			"read, so that %u may: unmount the pool and use set --metadata-copies %u (8 at most)",
			data, plural(data, "disk", "disks"), metadata, MIN(data + 2, 8u));
}

void warn_verify(struct ctl_call *c)
{
	char labels[512];

	if (pool_verifies_cache_only(c->pool, labels, sizeof(labels)))
		ctl_warn(c,
			 "verify_writes can't look past the page cache on these disks, whose "
			 "filesystems do not let it: %s",
			 labels);
}

#define WORDS_BYTES 128u

/* Of the two, large extents and all else, what is not as the settings want it, and how it is. */
static void narrowed_words(const struct pool_status *s, char wanted[WORDS_BYTES],
			   char now[WORDS_BYTES])
{
	struct geometry small = {1, (uint8_t)(s->settings.copies - 1)};
	bool is_large = memcmp(&s->large_now, &s->settings.large, sizeof(small)) != 0;
	bool is_small = memcmp(&s->small_now, &small, sizeof(small)) != 0;
	char a[16], b[16], c[16], d[16];

	geometry_words(s->settings.large, a);
	geometry_words(small, b);
	geometry_words(s->large_now, c);
	geometry_words(s->small_now, d);
	if (is_large && is_small && strcmp(a, b) != 0)
		snprintf(wanted, WORDS_BYTES, "%s and %s", a, b);
	else
		snprintf(wanted, WORDS_BYTES, "%s", is_large ? a : b);
	if (is_large && is_small && strcmp(c, d) == 0)
		snprintf(now, WORDS_BYTES, "new data is kept as %s", d);
	else if (is_large && is_small)
		snprintf(now, WORDS_BYTES, "large files are kept as %s, all else as %s", c, d);
	else
		snprintf(now, WORDS_BYTES, "%s kept as %s",
			 is_large ? "large files are" : "all but large files is", is_large ? c : d);
}

static void warn_room(struct ctl_call *c, const struct pool_status *s)
{
	char wanted[WORDS_BYTES], now[WORDS_BYTES];

	if (s->no_disk) {
		ctl_warn(
			c,
			"no disk takes new data, for the reasons given for each: nothing can be added, and "
			"what was accepted but is not stored yet can't be, and would be lost by an unmount; "
			"add disks, then mend these");
		return;
	}
	if (s->full) {
		ctl_warn(c, "the pool is full: nothing can be added until files are deleted or "
			    "disks are added");
		return;
	}
	if (s->large_now.k == 0) {
		ctl_warn(c,
			 "the pool is nearly full: only small files can be added until files are "
			 "deleted or disks are added");
		return;
	}
	if (!s->narrowed)
		return;
	narrowed_words(s, wanted, now);
	if (s->few_disks)
		ctl_warn(c, "too few disks for %s: %s now; add disks", wanted, now);
	else
		ctl_warn(c, "too few disks have room for %s: %s now; delete files, or add disks",
			 wanted, now);
}

static void warn_metadata(struct ctl_call *c, const struct disk_views *views,
			  const struct metadata_safety *metadata)
{
	int left = MAX(metadata->losses_left, 0);

	if (views->members_present < 2)
		ctl_warn(c, "the metadata is on %s: %s",
			 views->members_present ? "one disk only" : "no disk that is there",
			 views->count < 2 ? "add disks" : "bring back disks, or add some");
	else if (metadata->losses_left < metadata->losses_wanted)
		ctl_warn(c,
			 "the metadata bears the loss of %d %s now, and should of %d: it is copied "
			 "to other disks as far as they have room",
			 left, plural((uint64_t)left, "disk", "disks"), metadata->losses_wanted);
}

static void warn_extents(struct ctl_call *c, const struct pool_status *s,
			 const struct safety *safety, bool whole)
{
	const char *least = whole ? "" : "at least ";
	uint64_t unreadable = s->extent.extents_unreadable;

	if (safety->lost)
		ctl_warn(
			c,
			"%s%llu %s can't be read, too many of %s fragments are missing: 'dynamicfs "
			"show-redundancy /' lists the files",
			least, (unsigned long long)safety->lost,
			plural(safety->lost, "extent", "extents"),
			plural(safety->lost, "its", "their"));
	if (safety->in_doubt)
		ctl_warn(
			c,
			"%s%llu %s may be damaged, too many of %s fragments are in doubt: reading tells; "
			"'dynamicfs show-redundancy /' lists the files",
			least, (unsigned long long)safety->in_doubt,
			plural(safety->in_doubt, "extent", "extents"),
			plural(safety->in_doubt, "its", "their"));
	if (safety->endangered)
		ctl_warn(c, "%s%llu %s would be lost with one more disk", least,
			 (unsigned long long)safety->endangered,
			 plural(safety->endangered, "extent", "extents"));
	if (unreadable)
		ctl_warn(c, "%llu %s failed for want of good fragments; the log names the %s",
			 (unsigned long long)unreadable, plural(unreadable, "read", "reads"),
			 plural(unreadable, "file", "files"));
}

static void warn_all(struct ctl_call *c, const struct pool_status *s,
		     const struct disk_views *views, const struct safety *safety,
		     const struct metadata_safety *metadata, bool whole)
{
	if (s->failed)
		ctl_warn(
			c,
			"the pool accepts no more changes, since %s; what was synced before is safe: "
			"see the log, mend the disks, then unmount the pool and mount it again",
			s->failed == DFS_EFAILED ? "its metadata could not be stored on any disk"
						 : dfs_err_text(s->failed));
	if (s->tie)
		ctl_warn(
			c,
			"half of the disks that were in use were lost at once, and the pool directory %s, "
			"which has to remember that the others go on, can't be written: %s. Until it can "
			"be, or more disks are back, nothing can be added and no sync succeeds; nothing "
			"is lost meanwhile",
			c->pool_dir, dfs_err_text(s->tie));
	else if (s->dir_behind)
		ctl_warn(
			c,
			"pool.json in the pool directory %s can't be written: %s; it does not remember the newest state "
			"of the pool, and has no vote when disks are missing. What to do: %s",
			c->pool_dir, pool_dir_what(s->dir_behind),
			pool_dir_what_to_do(s->dir_behind));
	warn_stalled(c, s, views);
	warn_disks(c, views);
	if (s->dir_err)
		ctl_warn(
			c,
			"the metadata index in the pool directory %s can't be written: %s; nothing can be added to the "
			"pool until it can; deleting works, and nothing is lost. What to do: %s",
			c->pool_dir, pool_dir_what(s->dir_err), pool_dir_what_to_do(s->dir_err));
	if (s->loss.from)
		ctl_warn(
			c,
			"acknowledged changes were lost: the metadata journal was damaged, or the disks were "
			"set back, and transactions %llu to at least %llu were not there; look at the log, "
			"check what matters, then 'dynamicfs set --loss-noted'",
			(unsigned long long)s->loss.from, (unsigned long long)s->loss.last);
	warn_extents(c, s, safety, whole);
	if (views->count && !count_awaited(views)) { /* else these are not as they will be */
		warn_room(c, s);
		warn_metadata(c, views, metadata);
	}
	warn_same_fs(c);
	warn_dead_mount(c);
	warn_verify(c);
	warn_policy(c);
}

int op_status(struct ctl_call *c)
{
	struct pool_status *s = xcalloc(1, sizeof(*s));
	struct safety_table *table = xmalloc(sizeof(*table));
	struct metadata_safety metadata;
	struct disk_views views;
	json_t *o = json_object(), *redundancy = json_object();
	bool whole = true;
	int err = 0;

	pool_status(c->pool, s);
	disk_views_take(c->pool, &views);
	metadata_safety(c->pool, &views, &metadata);
	safety_table_init(table);
	if (pool_has_disks(c->pool))
		err = safety_scan(c->pool, &views, SCAN_LIMIT_MS, table, &whole);
	set_text(o, "state", err ? "damaged" : state_of(s, &views, &table->total, &metadata));
	set_uuid(o, "uuid", &s->uuid);
	set_text(o, "path", c->pool_dir);
	set_bool(o, "mounted", c->mountpoint != NULL);
	json_object_set_new(o, "mountpoint",
			    c->mountpoint ? ctl_json_text(c->mountpoint) : json_null());
	set_text(o, "version", DFS_VERSION);
	set_space(o, c->pool, s);
	set_writes(o, c->pool);
	json_object_set_new(o, "settings", settings_json(&s->settings));
	json_object_set_new(redundancy, "large", geometry_pair(s->settings.large, s->large_now));
	json_object_set_new(redundancy, "small",
			    geometry_pair((struct geometry){1, (uint8_t)(s->settings.copies - 1)},
					  s->small_now));
	set_bool(redundancy, "narrowed", s->narrowed);
	set_safety(redundancy, &table->total);
	set_bool(redundancy, "all_counted", whole);
	json_object_set_new(o, "redundancy", redundancy);
	set_u64(o, "inodes", s->inodes);
	set_u64(o, "extents", s->extents);
	set_u64(o, "disk_count", s->disks);
	set_u64(o, "disks_present", s->disks_present);
	set_u64(o, "disks_failed", s->disks_failed);
	json_object_set_new(o, "disks", disks_array(c->pool));
	set_metadata(o, s, &views, &metadata);
	json_object_set_new(o, "scrub",
			    pool_has_disks(c->pool) ? scrub_status_json(c) : json_object());
	json_object_set_new(o, "jobs", pool_has_disks(c->pool) ? jobs_json(c) : json_array());
	set_recovery(o, s);
	set_counters(o, &s->extent);
	warn_all(c, s, &views, &table->total, &metadata, whole);
	if (err)
		ctl_warn(c, "the table of extents can't be read: %s; run 'dynamicfs fsck'",
			 dfs_err_text(err));
	c->answer->result = o;
	disk_views_release(&views);
	free(table);
	free(s);
	return 0;
}
