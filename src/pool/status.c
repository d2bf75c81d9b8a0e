/* SPDX-License-Identifier: Apache-2.0 */
/* What there is: space, status, paths of inodes. Reads only. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "pool/health_rules.h"
#include "pool/internal.h"

#define SPACE_CACHE_NS 200000000ull

uint64_t pool_data_cost(uint64_t bytes) { return bytes ? bytes + bytes / 4 + 8192 : 0; }

struct geometry pool_copies(const struct policy *s)
{
	return (struct geometry){1, MAX((uint8_t)(s->copies - 1), s->large.m)};
}

static uint64_t promised_bytes(struct pool *p)
{
	return (uint64_t)MAX(meta_counter(p->meta, META_COUNT_PREALLOC_BYTES), 0);
}

/* As copies the margin and what was promised are kept; so much of the rest stays in whatever geometry. What
 * does not hold a single write is no room. */
uint64_t pool_room_with(struct pool *p, const struct disk_room *room, const char *domain)
{
	struct policy s = pool_get_settings(p);
	struct geometry copies = pool_copies(&s);
	const struct extent_what_if what_if = {.with = room, .domain = domain};
	uint64_t usable = extent_usable_bytes_if(p->extents, s.large, &what_if);
	uint64_t all = extent_usable_bytes_if(p->extents, copies, &what_if);
	uint64_t cost = pool_data_cost(promised_bytes(p)) + POOL_MARGIN_BYTES;

	if (all < cost + pool_data_cost(1))
		return 0;
	return (uint64_t)((double)usable * (double)(all - cost) / (double)all);
}

static void space_now(struct pool *p, struct pool_space *ret_space)
{
	uint64_t now = env_now_ns();
	struct pool_space sp = {0};

	if (p->meta) {
		disks_update_used(p);
		sp.promised_bytes = promised_bytes(p);
		sp.used_bytes = (uint64_t)meta_counter(p->meta, META_COUNT_LOGICAL_BYTES) +
				sp.promised_bytes;
		sp.available_bytes = pool_room_with(p, NULL, NULL);
		sp.total_bytes = sp.used_bytes + sp.available_bytes;
	}
	*ret_space = sp;
	ENV_LOCKED(&p->lock);
	p->space = sp;
	p->space_ns = now;
}

void pool_space(struct pool *p, struct pool_space *ret_space)
{
	uint64_t now = env_now_ns();
	bool known;

	env_mutex_lock(&p->lock);
	known = p->space_ns && now - p->space_ns < SPACE_CACHE_NS;
	if (known)
		*ret_space = p->space;
	env_mutex_unlock(&p->lock);
	if (!known)
		space_now(p, ret_space);
}

bool pool_verifies_cache_only(struct pool *p, char *out, size_t out_len)
{
	size_t len = 0;

	out[0] = '\0';
	if (!pool_get_settings(p).verify_writes)
		return false;
	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);
		struct disk_info info = disk_info(d);

		if (disk_present(d) && !disk_reads_media(d) &&
		    len + sizeof(info.label) + 2 < out_len)
			len += (size_t)snprintf(out + len, out_len - len, "%s%s", len ? ", " : "",
						info.label);
	}
	return len > 0;
}

/* Are there as many disks that fail apart as a fragment each needs, whatever room they have? */
static bool too_few_disks(struct pool *p, struct geometry wanted)
{
	unsigned count = disk_count(p->disks);
	FREE struct disk_info *infos = xcalloc(count + 1, sizeof(*infos));
	FREE struct place_disk *places = xcalloc(count + 1, sizeof(*places));

	for (unsigned i = 0; i < count; i++) {
		struct disk *d = disk_at(p->disks, i);

		infos[i] = disk_info(d);
		places[i].domain = infos[i].domain;
		places[i].eligible = disk_is_eligible(p->disks, d);
	}
	return place_domains(places, count, 0) < (unsigned)wanted.k + wanted.m;
}

/* What a write gets now. */
static void status_geometry(struct pool *p, struct pool_status *st, struct geometry small)
{
	struct geometry large = st->settings.large;

	st->full = st->space.available_bytes == 0;
	st->no_disk = st->disks_present && disk_set_takes_nothing(p->disks);
	if (st->full || extent_fit(p->extents, large, EXTENT_MAX_BYTES, &st->large_now))
		st->large_now = (struct geometry){0, 0};
	if (st->full || extent_fit(p->extents, small, EXTENT_SMALL_BYTES, &st->small_now))
		st->small_now = (struct geometry){0, 0};
	st->full |= st->small_now.k == 0;
	st->few_disks = too_few_disks(p, large) || too_few_disks(p, small);
	st->narrowed = memcmp(&st->large_now, &large, sizeof(large)) != 0 ||
		       memcmp(&st->small_now, &small, sizeof(small)) != 0;
}

void pool_status(struct pool *p, struct pool_status *ret_status)
{
	struct pool_status st = {.uuid = p->json.pool, .settings = pool_get_settings(p)};
	struct geometry small = {1, (uint8_t)(st.settings.copies - 1)};

	for (unsigned i = 0; i < disk_count(p->disks); i++) {
		struct disk *d = disk_at(p->disks, i);

		if (disk_is_removed(d))
			continue;
		st.disks++;
		st.disks_present += disk_present(d);
		st.disks_failed += disk_state(d) == DISK_FAILED;
	}
	env_mutex_lock(&p->lock);
	st.dir_behind = p->pool_json_err;
	st.tie = p->tie;
	env_mutex_unlock(&p->lock);
	st.fail_pending = fail_orders_pending(p);
	space_now(p, &st.space);
	st.dir_err = st.tie ? 0 : pool_dir_error(p);
	st.large_now = st.settings.large;
	st.small_now = small;
	if (p->meta) {
		status_geometry(p, &st, small);
		if (st.dir_err)
			st.space.available_bytes = 0; /* whatever the disks have room for */
		st.inodes = (uint64_t)meta_counter(p->meta, META_COUNT_INODES);
		st.extents = (uint64_t)meta_counter(p->meta, META_COUNT_EXTENTS);
		st.epoch = meta_epoch(p->meta);
		st.generation = meta_generation(p->meta);
		st.seq = meta_last_seq(p->meta);
		st.durable_seq = meta_durable_seq(p->meta);
		st.recovery = p->recovery;
		if (meta_loss(p->meta, &st.loss))
			st.loss.from = 0; /* fsck tells */
		st.failed = meta_failed(p->meta);
		st.meta = meta_stats(p->meta);
		st.extent = extent_stats(p->extents);
	}
	*ret_status = st;
}

/* The i-th that was not removed; NULL: there are fewer. */
static struct disk *nth_disk(struct pool *p, unsigned i)
{
	for (unsigned at = 0; at < disk_count(p->disks); at++) {
		struct disk *d = disk_at(p->disks, at);

		if (!disk_is_removed(d) && i-- == 0)
			return d;
	}
	return NULL;
}

bool pool_disk_status(struct pool *p, unsigned i, struct pool_disk_status *ret_status)
{
	struct pool_disk_status st = {0};
	struct disk_doubt doubt;
	struct dev_space space;
	struct disk *d = nth_disk(p, i);

	if (!d)
		return false;
	st.info = disk_info(d);
	st.present = disk_present(d);
	st.takes_data = disk_is_eligible(p->disks, d);
	st.metadata_member = p->meta && meta_is_member(p->meta, st.info.id);
	if (p->meta)
		st.used_bytes = (uint64_t)meta_counter(p->meta,
						       META_COUNT_DISK_USED + st.info.id.v);
	st.is_silent = disk_failed_silent(d);
	st.is_awaited = disk_is_awaited(d);
	st.doubtful = disk_doubtful(d, &doubt);
	st.damaged = disk_damaged(d);
	st.smart = smart_word(p, st.info.id);
	st.lost_segments = disk_lost_segments(d);
	if (st.present) {
		st.total_bytes = disk_total_bytes(d);
		st.free_bytes = disk_free_bytes(d);
		if (!dev_space(disk_dev(d), &space)) {
			st.fs_id = space.fs_id;
			st.read_only = space.read_only;
			st.no_files = disk_lacks_inodes(d, &space);
		}
		if (st.read_only)
			st.free_bytes = 0;
	}
	st.given_up = p->meta && disk_given_up(p, st.info.id);
	st.counters = disk_counters(d);
	st.event = disk_health(d).event;
	st.reason = health_event_name(disk_health(d).event);
	env_mutex_lock(&p->lock);
	st.since_s = p->care[st.info.id.v].since_s;
	st.is_ordered = p->care[st.info.id.v].order != 0;
	memcpy(st.text, p->care[st.info.id.v].text, sizeof(st.text));
	env_mutex_unlock(&p->lock);
	*ret_status = st;
	return true;
}

/* The name under which dir lists ino. */
static bool name_in(struct pool *p, ino_id dir, ino_id ino, char name[DFS_NAME_MAX + 1])
{
	bool found = false;
	struct rec_dentry d;
	struct cursor c;

	cursor_of_inode(&c, p->meta, TABLE_DENTRY, dir);
	while (!found && cursor_next(&c) && cursor_dentry(&c, &d) == 0) {
		found = d.ino.v == ino.v;
		if (found)
			memcpy(name, d.name, sizeof(d.name));
	}
	(void)cursor_close(&c, 0);
	return found;
}

/* Written from its end to its front, as far as there is room: the end of a path tells the most. */
void pool_inode_path(struct pool *p, ino_id ino, char *out, size_t out_len)
{
	static const char cut[] = "...";
	char name[DFS_NAME_MAX + 1];
	size_t at = out_len - 1;
	ino_id i = ino;

	ASSERT(out_len >= 64);
	out[at] = '\0';
	while (i.v != DFS_ROOT_INO) { /* ends: each round takes two bytes at least */
		struct rec_inode rec;
		size_t n;

		if (!p->meta || get_inode(p->meta, i, &rec) || !name_in(p, rec.parent, i, name)) {
			snprintf(out, out_len, "inode %llu", (unsigned long long)ino.v);
			return;
		}
		n = strlen(name);
		if (n + 1 + strlen(cut) > at) {
			n = MIN(n, at - strlen(cut));
			at -= n + strlen(cut);
			memcpy(out + at, cut, strlen(cut));
			memcpy(out + at + strlen(cut), name + strlen(name) - n, n);
			break;
		}
		at -= n;
		memcpy(out + at, name, n);
		out[--at] = '/';
		i = rec.parent;
	}
	if (!out[at])
		out[--at] = '/';
	memmove(out, out + at, out_len - at);
}
