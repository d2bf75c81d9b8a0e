/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roots: the ring of 64 slots on every disk of the pool. A new root is made durable first on all
 * members, then on the other disks, which only testify which epoch is newest (P8): so whenever a
 * witness shows an epoch, each member of that epoch has its root. Members that fail to take the root
 * are left out by a further epoch.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define RING_BYTES (ROOT_SLOTS * (size_t)ROOT_SLOT_BYTES)
#define RING_NAME "meta/roots"

/* Creates what is missing; the ring is written whole, so that later roots need no new space. */
int roots_prepare(struct dev *dev)
{
	FREE uint8_t *zeros = NULL;
	struct dev_file *f;
	uint64_t size = 0;
	int err = dev_mkdir(dev, "meta");

	if (err == 0)
		err = dev_mkdir(dev, "meta/journal");
	if (err == 0)
		err = dev_mkdir(dev, "meta/checkpoint");
	if (err == 0)
		err = dev_open(dev, RING_NAME, DEV_CREATE, &f);
	if (err)
		return err;
	err = dev_size(f, &size);
	if (err == 0 && size < RING_BYTES) {
		zeros = xcalloc(1, RING_BYTES);
		err = dev_write(f, zeros + size, RING_BYTES - size, size);
		if (err == 0)
			err = dev_sync(f);
	}
	dev_close(f);
	if (err == 0)
		err = dev_sync_dir(dev, "meta");
	if (err == 0)
		err = dev_sync_dir(dev, "");
	return err;
}

int roots_write(struct dev *dev, const struct root *root)
{
	uint8_t slot[ROOT_SLOT_BYTES];
	struct dev_file *f;
	int err = dev_open(dev, RING_NAME, 0, &f);

	if (err == DFS_ENOENT) { /* a new disk, or one that was emptied */
		err = roots_prepare(dev);
		if (err == 0)
			err = dev_open(dev, RING_NAME, 0, &f);
	}
	if (err)
		return err;
	root_encode(root, slot);
	err = dev_write(f, slot, sizeof(slot), root->generation % ROOT_SLOTS * ROOT_SLOT_BYTES);
	if (err == 0)
		err = dev_sync(f);
	dev_close(f);
	return err;
}

static bool slot_empty(const uint8_t *slot)
{
	return slot[0] == 0 && memcmp(slot, slot + 1, ROOT_SLOT_BYTES - 1) == 0;
}

bool root_newer(const struct root *a, const struct root *b)
{
	return a->epoch != b->epoch ? a->epoch > b->epoch : a->generation > b->generation;
}

/*
 * A slot that only a newer program can read counts as the newest: taking an older root instead would
 * bring back the past. The whole disk is refused then.
 */
int roots_read(struct dev *dev, const struct uuid *pool, struct root *ret_root,
	       unsigned *ret_damaged)
{
	FREE uint8_t *ring = xcalloc(1, RING_BYTES);
	struct dev_file *f;
	unsigned damaged = 0;
	bool found = false;
	size_t got = 0;
	int err = dev_open(dev, RING_NAME, DEV_RDONLY, &f);

	if (err)
		return err == DFS_ENOENT ? DFS_ENOTPOOL : err;
	err = dev_read(f, ring, RING_BYTES, 0, 0, &got);
	dev_close(f);
	if (err)
		return err;
	for (unsigned i = 0; i < ROOT_SLOTS; i++) {
		const uint8_t *slot = ring + i * (size_t)ROOT_SLOT_BYTES;
		struct root r;

		if (slot_empty(slot))
			continue;
		err = root_parse(slot, &r);
		if (err == DFS_EFEATURE || err == DFS_EVERSION)
			return err;
		if (err || r.generation % ROOT_SLOTS != i) {
			damaged++;
			continue;
		}
		if (pool && !uuid_eq(&r.pool, pool))
			return DFS_EFOREIGN;
		if (!found || root_newer(&r, ret_root))
			*ret_root = r;
		found = true;
	}
	*ret_damaged = damaged;
	return found ? 0 : DFS_ENOTPOOL;
}

/*
 * A slot that was torn by a power cut, or has rotten, is emptied once a newer root is durable: else it
 * would be found and told of until the ring comes round again.
 */
int roots_heal(struct dev *dev)
{
	static const uint8_t empty[ROOT_SLOT_BYTES];
	FREE uint8_t *ring = xcalloc(1, RING_BYTES);
	struct dev_file *f;
	unsigned healed = 0;
	size_t got = 0;
	int err = dev_open(dev, RING_NAME, 0, &f);

	if (err)
		return err;
	err = dev_read(f, ring, RING_BYTES, 0, 0, &got);
	for (unsigned i = 0; i < ROOT_SLOTS && err == 0; i++) {
		const uint8_t *slot = ring + i * (size_t)ROOT_SLOT_BYTES;
		struct root r;
		int bad = root_parse(slot, &r);

		if (slot_empty(slot) || bad == DFS_EFEATURE || bad == DFS_EVERSION ||
		    (!bad && r.generation % ROOT_SLOTS == i))
			continue;
		err = dev_write(f, empty, sizeof(empty), i * (uint64_t)ROOT_SLOT_BYTES);
		healed++;
	}
	if (err == 0 && healed)
		err = dev_sync(f);
	dev_close(f);
	return err;
}

int meta_read_root(struct dev *dev, struct root *ret_root, unsigned *ret_damaged)
{
	unsigned damaged = 0;
	int err = roots_read(dev, NULL, ret_root, &damaged);

	if (ret_damaged)
		*ret_damaged = damaged;
	return err;
}

/* ---- publishing ---- */

bool roots_same_list(const struct root *a, const struct root *b)
{
	if (a->member_count != b->member_count)
		return false;
	for (unsigned i = 0; i < a->member_count; i++) {
		bool found = false;

		for (unsigned j = 0; j < b->member_count; j++)
			found = found || uuid_eq(&a->members[i].uuid, &b->members[j].uuid);
		if (!found)
			return false;
	}
	return true;
}

static bool writable(struct meta *m, const struct member *mb)
{
	return mb->listed && !member_dead(m, mb);
}

/* The live members as the list of next; one that joins is not complete yet and not among them. */
static void list_members(struct meta *m, struct root *next)
{
	if (m->cfg.disk_total)
		next->disk_total = m->cfg.disk_total;
	memset(next->members, 0, sizeof(next->members));
	next->member_count = 0;
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (!writable(m, mb))
			continue;
		next->members[next->member_count].id = mb->disk.id;
		next->members[next->member_count++].uuid = mb->disk.uuid;
	}
}

/* Returns how many failed. */
static unsigned write_members(struct meta *m, const struct root *next)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		int err;

		if (!writable(m, mb))
			continue;
		err = roots_write(mb->disk.dev, next);
		if (err) {
			member_kill(m, mb, err, "write the metadata root");
			failed++;
		}
	}
	return failed;
}

static bool is_live_member(struct meta *m, const struct meta_disk *d)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		if (uuid_eq(&m->members[i]->disk.uuid, &d->uuid) && writable(m, m->members[i]))
			return true;
	}
	return false;
}

static void write_witnesses(struct meta *m, const struct root *next)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		const struct meta_disk *d = &m->disks[i];
		int err;

		if (is_live_member(m, d))
			continue;
		err = roots_write(d->dev, next);
		if (err)
			log_warn("cannot write the metadata root on disk %u (%s): %s; the disk is "
				 "stale until a root can be written there",
				 d->id.v, d->dev->name, dfs_err_text(err));
	}
}

static bool in_list(const struct root *root, const struct member *mb)
{
	for (unsigned i = 0; i < root->member_count; i++) {
		if (uuid_eq(&root->members[i].uuid, &mb->disk.uuid))
			return true;
	}
	return false;
}

static void adopt(struct meta *m, const struct root *root)
{
	env_mutex_lock(&m->state);
	m->root = *root;
	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		/* One that died after it was listed stays listed: the next to look settles it. */
		mb->listed = mb->listed && in_list(root, mb);
	}
	__atomic_store_n(&m->generation, root->generation, __ATOMIC_RELEASE);
	env_mutex_unlock(&m->state);
}

/*
 * Each attempt has a generation of its own, and an epoch of its own when its list differs from the
 * attempt before: two roots of one epoch always have the same list, wherever a crash stops us.
 */
int roots_publish(struct meta *m, struct root *next)
{
	for (;;) {
		list_members(m, next);
		if (next->member_count == 0)
			return DFS_EFAILED;
		next->generation = m->attempt.generation + 1;
		next->epoch = m->attempt.epoch + !roots_same_list(next, &m->attempt);
		m->attempt = *next;
		if (write_members(m, next) == 0)
			break;
	}
	write_witnesses(m, next);
	if (next->epoch != m->root.epoch)
		PROBE("epoch-changed");
	if (next->epoch != m->root.epoch && m->cfg.epoch_changed)
		m->cfg.epoch_changed(m->cfg.ctx, next->epoch);
	adopt(m, next);
	return 0;
}
