/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roots: the ring of 16 slots on every disk of the pool. A new root is made durable first on all
 * members, then on the other disks, which only testify which epoch is newest (P8): so whenever another
 * disk shows an epoch, each member of that epoch has its root. Disks that fail to take the root are left
 * out by a further epoch. H2 to H4 (docs/DESIGN.md "One history"): an epoch is formed once its root is
 * on all its voters and they are a majority of every set before that may still be the one that counts.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define RING_BYTES (ROOT_SLOTS * (size_t)ROOT_SLOT_BYTES)
#define MOST_UNREAD 2u /* slots; each opening for writing fills more */
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
		err = dev_mkdir(dev, "meta/tables");
	if (err == 0)
		err = dev_open(dev, RING_NAME, DEV_CREATE | DEV_IN_PLACE, &f);
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
	FREE uint8_t *slot = xmalloc(ROOT_SLOT_BYTES);
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
	err = dev_write(f, slot, ROOT_SLOT_BYTES, root->generation % ROOT_SLOTS * ROOT_SLOT_BYTES);
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

/* Slots that can't be read count as damaged, if there are few: a bad sector costs only itself. */
static int read_ring(struct dev_file *f, uint8_t ring[RING_BYTES], bool unread[ROOT_SLOTS])
{
	unsigned count = 0;
	size_t got;
	int err = dev_read(f, ring, RING_BYTES, 0, 0, &got);

	if (err != DFS_EIO)
		return err;
	for (unsigned i = 0; i < ROOT_SLOTS && count <= MOST_UNREAD; i++) {
		size_t at = i * (size_t)ROOT_SLOT_BYTES;

		unread[i] = dev_read(f, ring + at, ROOT_SLOT_BYTES, at, 0, &got) != 0;
		count += unread[i];
	}
	return count <= MOST_UNREAD ? 0 : err;
}

/*
 * A slot that only a newer program can read counts as the newest: taking an older root instead would
 * bring back the past. The whole disk is refused then.
 */
int roots_read(struct dev *dev, const struct uuid *pool, struct root *ret_root,
	       unsigned *ret_damaged)
{
	FREE uint8_t *ring = xcalloc(1, RING_BYTES);
	bool unread[ROOT_SLOTS] = {false};
	struct dev_file *f;
	unsigned damaged = 0;
	bool found = false;
	int err = dev_open(dev, RING_NAME, DEV_RDONLY, &f);

	if (err)
		return err == DFS_ENOENT ? DFS_ENOTPOOL : err;
	err = read_ring(f, ring, unread);
	dev_close(f);
	if (err)
		return err;
	for (unsigned i = 0; i < ROOT_SLOTS; i++) {
		const uint8_t *slot = ring + i * (size_t)ROOT_SLOT_BYTES;
		struct root r;

		if (unread[i])
			damaged++;
		if (unread[i] || slot_empty(slot))
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
	bool unread[ROOT_SLOTS] = {false};
	struct dev_file *f;
	unsigned healed = 0;
	int err = dev_open(dev, RING_NAME, 0, &f);

	if (err)
		return err;
	err = read_ring(f, ring, unread);
	for (unsigned i = 0; i < ROOT_SLOTS && err == 0; i++) {
		const uint8_t *slot = ring + i * (size_t)ROOT_SLOT_BYTES;
		struct root r;
		int bad = root_parse(slot, &r);

		if (!unread[i] && (slot_empty(slot) || bad == DFS_EFEATURE || bad == DFS_EVERSION ||
				   (!bad && r.generation % ROOT_SLOTS == i)))
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

/* ---- what the next root says ---- */

static bool writable(struct meta *m, const struct member *mb)
{
	return mb->listed && !member_dead(m, mb);
}

/* The live members as the list of next; one that joins is not complete yet and not among them. */
static void list_members(struct meta *m, struct root *next)
{
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

/* A member that died of more than want of space won't take a root, either. */
static bool is_broken(struct meta *m, const struct meta_disk *d)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		const struct member *mb = m->members[i];

		if (uuid_eq(&mb->disk.uuid, &d->uuid) && member_dead(m, mb) && mb->err &&
		    mb->err != DFS_ENOSPC)
			return true;
	}
	return false;
}

/* It votes: it is here, it takes roots, and nobody gave it up. */
static bool votes(struct meta *m, const struct root_disk *row)
{
	for (unsigned i = 0; i < m->disk_count; i++) {
		if (uuid_eq(&m->disks[i].uuid, &row->uuid))
			return !row->given_up && !m->mute[i] && !is_broken(m, &m->disks[i]);
	}
	return false;
}

static void list_disks(struct meta *m, struct root *next)
{
	memset(next->disks, 0, sizeof(next->disks));
	next->disk_count = m->known_count;
	for (unsigned i = 0; i < m->known_count; i++) {
		struct root_disk *row = &next->disks[i];

		row->id = m->known[i].id;
		row->uuid = m->known[i].uuid;
		row->given_up = m->known[i].given_up;
		row->votes = votes(m, row);
	}
}

/* Whatever next says of members, disks and epoch: as it is now. */
static int draw_up(struct meta *m, struct root *next)
{
	list_members(m, next);
	list_disks(m, next);
	if (next->member_count == 0)
		return DFS_EFAILED;
	if (history_goes_on(next, &m->attempt) && !m->new_epoch)
		history_keep(next, &m->attempt);
	else if (history_begin(next, &m->attempt, m->epoch_floor, m->force_epoch))
		return DFS_ENOQUORUM;
	next->generation = MAX(m->attempt.generation, m->generation_floor) + 1;
	next->written_wall_ns = env_wall_ns();
	if (root_writable(next))
		return 0;
	log_error(
		"what the disks and the pool directory say of the pool's state makes no sense: its "
		"numbers are at their end, or two disks have one number; nothing was changed; run "
		"dynamicfs fsck");
	return DFS_ECORRUPT;
}

bool roots_due(struct meta *m)
{
	FREE struct root *next = xcalloc(1, sizeof(*next));

	list_members(m, next);
	list_disks(m, next);
	return m->new_epoch || !history_goes_on(next, &m->attempt);
}

/* ---- publishing ---- */

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

/* Likewise: those that vote without being members. Who fails is silent until the pool is opened again. */
static unsigned write_others(struct meta *m, const struct root *next)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < m->disk_count; i++) {
		const struct meta_disk *d = &m->disks[i];
		const struct root_disk *row = root_find_disk(next, &d->uuid);
		int err;

		if (!row || !(row->votes & 1) || is_live_member(m, d))
			continue;
		err = roots_write(d->dev, next);
		if (!err)
			continue;
		log_warn("cannot write the metadata root on disk %u (%s): %s; the disk is stale "
			 "and has no vote until the pool is opened again",
			 d->id.v, d->dev->name, dfs_err_text(err));
		m->mute[i] = true;
		failed++;
	}
	return failed;
}

static unsigned write_all(struct meta *m, const struct root *next)
{
	unsigned failed;

	m->attempt = *next;
	failed = write_members(m, next);
	return failed ? failed : write_others(m, next);
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

/* Who leaves in order can agree to it, as long as it answers. Broken ones are not asked. */
static int ask_leavers(struct meta *m, const struct root *next)
{
	FREE struct uuid *agree = xcalloc(m->leaver_count + 1, sizeof(*agree));
	unsigned count = 0;

	for (unsigned i = 0; i < m->leaver_count; i++)
		if (!is_broken(m, &m->leavers[i]) && roots_write(m->leavers[i].dev, next) == 0)
			agree[count++] = m->leavers[i].uuid;
	return history_forms(next, agree, count);
}

/* H3: the new epoch's root is on all its voters. Do they speak for all that could know better? */
static int form(struct meta *m, struct root *next, bool *ret_told)
{
	int forms = m->force_epoch ? 1 : history_forms(next, NULL, 0);

	*ret_told = m->tied = false;
	if (forms < 1)
		forms = ask_leavers(m, next);
	if (forms == 0 && m->cfg.epoch_changed) {
		int err = m->cfg.epoch_changed(m->cfg.ctx, next, true);

		m->tied = err != 0;
		if (err) {
			PROBE("tie-without-pool-directory");
			return err;
		}
		*ret_told = true;
	} else if (forms < 1) {
		log_error(
			"the disks that are left are not a majority of those that were in use, so "
			"nothing new can be promised: somebody else could go on with the others");
		return DFS_ENOQUORUM;
	}
	history_close(next);
	next->generation++;
	m->new_epoch = m->force_epoch = false;
	return 0;
}

/* Is it still what would be drawn up now? */
static bool attempt_stands(struct meta *m)
{
	FREE struct root *now = xcalloc(1, sizeof(*now));

	list_members(m, now);
	list_disks(m, now);
	return history_same(now, &m->attempt);
}

int roots_settle_tie(struct meta *m)
{
	FREE struct root *root = NULL;
	bool told;
	int err;

	if (!m->tied)
		return 0;
	if (!attempt_stands(m)) { /* what comes next is another epoch, and asks anew */
		m->tied = false;
		return 0;
	}
	PROBE("tie-tried-again");
	root = xmalloc(sizeof(*root));
	*root = m->attempt;
	err = form(m, root, &told);
	if (err)
		return err;
	PROBE("tie-settled");
	if (write_all(m, root) == 0)
		adopt(m, root);
	return 0; /* else the next root leaves out who failed */
}

/* The checkpoint that a tie kept back is the newest by now. */
static void keep_checkpoint(const struct meta *m, struct root *next)
{
	if (next->checkpoint_id >= m->root.checkpoint_id)
		return;
	next->checkpoint_id = m->root.checkpoint_id;
	next->checkpoint_seq = m->root.checkpoint_seq;
	next->chain = m->root.chain;
	next->manifest = m->root.manifest;
	next->journal_first = m->root.journal_first;
}

/*
 * Each attempt has a generation of its own, and an epoch of its own when its members or voters differ
 * from the attempt before: two roots of one epoch always have the same, wherever a crash stops us. A new
 * epoch is written twice: as one that may come to be, and, once it has its majorities, as one that is
 * (H3): only then is anything acknowledged under it.
 */
int roots_publish(struct meta *m, struct root *next)
{
	bool told = true;
	int err = roots_settle_tie(m);

	if (err)
		return err;
	keep_checkpoint(m, next);
	for (;;) {
		err = draw_up(m, next);
		if (err)
			return err;
		if (write_all(m, next))
			continue;
		if (next->open_count == 0)
			break;
		err = form(m, next, &told);
		if (err)
			return err;
		if (write_all(m, next) == 0)
			break;
	}
	if (!uuid_eq(&next->epoch_id, &m->root.epoch_id))
		PROBE("epoch-changed");
	if (!uuid_eq(&next->epoch_id, &m->root.epoch_id) && !told && m->cfg.epoch_changed)
		(void)m->cfg.epoch_changed(m->cfg.ctx, next, false); /* it is behind then: H5 */
	adopt(m, next);
	return 0;
}
