/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks are members (M14): first such as fail apart from all other members, then healthy ones. Where
 * a disk of a further failure domain turns up it joins beside the others, and once it is whole one of those
 * that share a domain leaves.
 */
#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

#define JOIN_ROOM_BYTES MIB(1)

void member_add(struct meta *m, const struct meta_disk *d, bool listed)
{
	struct member *mb = member_new(m, d, listed);

	ENV_LOCKED(&m->state);
	ASSERT(m->member_count < ROOT_MAX_MEMBERS);
	m->members[m->member_count++] = mb;
}

static bool has_slot(struct meta *m, const struct meta_disk *d)
{
	for (unsigned i = 0; i < m->member_count; i++) {
		if (uuid_eq(&m->members[i]->disk.uuid, &d->uuid))
			return true;
	}
	return false;
}

/* A journal file's size on this disk: a small one must not be filled with them. */
uint64_t member_file_bytes(struct meta *m, struct dev *dev)
{
	struct dev_space space;
	uint64_t most = m->journal_file_bytes;

	if (dev_space(dev, &space) == 0)
		most = MIN(most, ALIGN_DOWN(space.total_bytes / 64, KIB(64)));
	return MAX(most, JOURNAL_FILE_MIN);
}

/* What it holds is of no use: of another time, or nothing. Old journal files are not taken over: records
 * of another history in them would look like proof of damage (M11). */
static int wipe(struct meta *m, struct dev *dev)
{
	int err = roots_prepare(dev);

	if (err)
		return err;
	journal_remove(dev);
	manifests_remove(dev);
	err = journal_prepare(dev, member_file_bytes(m, dev));
	if (err == 0)
		err = manifests_prepare(dev, m->manifest.count);
	if (err) {
		journal_remove(dev); /* its space is wanted more than half a journal is */
		manifests_remove(dev);
	}
	return err;
}

static const struct meta_disk *find_disk(const struct meta_disk *disks, unsigned count,
					 const struct member *mb)
{
	for (unsigned i = 0; i < count; i++) {
		if (uuid_eq(&disks[i].uuid, &mb->disk.uuid) && disks[i].dev == mb->disk.dev)
			return &disks[i];
	}
	return NULL;
}

bool member_stays(struct meta *m, const struct member *mb)
{
	return find_disk(m->disks, m->disk_count, mb) != NULL;
}

static unsigned staying(struct meta *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->member_count; i++)
		n += member_stays(m, m->members[i]) && !member_dead(m, m->members[i]);
	return n;
}

/* It lives on a disk that is being emptied, and is all that is left there (DR6): until then the removal may be taken back. */
static bool is_leaving(struct meta *m, const struct member *mb)
{
	const struct meta_disk *d = find_disk(m->disks, m->disk_count, mb);

	return d && d->emptied && !member_dead(m, mb);
}

/* Likewise, without those on disks that are being emptied. */
static unsigned settled(struct meta *m)
{
	unsigned n = staying(m);

	for (unsigned i = 0; i < m->member_count; i++)
		n -= is_leaving(m, m->members[i]);
	return n;
}

/* For a journal: a disk that somebody else has filled can't join. */
static bool has_room(struct meta *m, struct dev *dev)
{
	uint64_t need = JOIN_ROOM_BYTES + 2 * member_file_bytes(m, dev);
	struct dev_space space;

	return dev_space(dev, &space) == 0 && space.free_bytes >= need;
}

/* ---- the choice ---- */

static bool live(struct meta *m, const struct member *mb)
{
	return member_stays(m, mb) && !member_dead(m, mb);
}

/* How many live members (only whole: of those that are whole) fail together with the disk. */
static unsigned members_near(struct meta *m, const struct meta_disk *d, bool only_whole)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->member_count; i++) {
		const struct member *mb = m->members[i];
		const struct meta_disk *theirs = find_disk(m->disks, m->disk_count, mb);

		if (!theirs || member_dead(m, mb) || (only_whole && !mb->listed) ||
		    (theirs->emptied && theirs != d))
			continue;
		n += theirs == d || (d->domain[0] && !strcmp(theirs->domain, d->domain));
	}
	return n;
}

/* In how many failure domains are live members? */
static unsigned member_domains(struct meta *m)
{
	struct place_disk at[ROOT_MAX_MEMBERS] = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < m->member_count; i++) {
		if (!live(m, m->members[i]) || is_leaving(m, m->members[i]))
			continue;
		at[n].domain = find_disk(m->disks, m->disk_count, m->members[i])->domain;
		at[n++].eligible = true;
	}
	return place_domains(at, n, 0);
}

/* Too few are members; or this one lies apart from all, and takes the place of one that does not. */
static bool is_wanted(struct meta *m, const struct meta_disk *d)
{
	if (settled(m) < m->cfg.copies)
		return !d->leaving || staying(m) == 0;
	return member_domains(m) < m->cfg.copies && !d->no_new && members_near(m, d, false) == 0;
}

static bool is_better(struct meta *m, const struct meta_disk *a, const struct meta_disk *b)
{
	unsigned near_a = members_near(m, a, false), near_b = members_near(m, b, false);

	return near_a != near_b ? near_a < near_b : !a->no_new && b->no_new;
}

static const struct meta_disk *choose(struct meta *m, const bool *tried)
{
	const struct meta_disk *best = NULL;

	for (unsigned i = 0; i < m->disk_count; i++) {
		const struct meta_disk *d = &m->disks[i];

		if (!tried[i] && !has_slot(m, d) && is_wanted(m, d) &&
		    (!best || is_better(m, d, best)) && has_room(m, d->dev))
			best = d;
	}
	return best;
}

/*
 * A journal that only moves to lie apart takes what is spare (A6), and else is put off to the next opening; one that
 * is lacking is in the account already (meta_space).
 */
static int join(struct meta *m, const struct meta_disk *d)
{
	uint64_t need = JOIN_ROOM_BYTES + 2 * member_file_bytes(m, d->dev);
	struct place_disk place = {.id = d->id, .free_bytes = UINT64_MAX, .eligible = true};
	bool asks = m->cfg.spare && settled(m) >= m->cfg.copies;
	int err;

	if (!asks)
		return wipe(m, d->dev);
	m->cfg.spare(m->cfg.ctx, need, true, &place, 1);
	err = place.free_bytes < need ? DFS_ENOSPC : wipe(m, d->dev);
	m->cfg.spare(m->cfg.ctx, need, false, NULL, 0);
	return err;
}

unsigned members_fill(struct meta *m)
{
	bool tried[META_MAX_DISKS] = {false};
	const struct meta_disk *d;
	unsigned joined = 0;

	while (m->member_count < ROOT_MAX_MEMBERS && (d = choose(m, tried))) {
		int err = join(m, d);

		tried[d - m->disks] = true;
		if (err) {
			log_warn("cannot let disk %u (%s) hold metadata: %s; trying another",
				 d->id.v, d->dev->name, dfs_err_text(err));
			continue;
		}
		member_add(m, d, false);
		PROBE("member-joined");
		joined++;
	}
	return joined;
}

/* ---- leaving for one that lies apart ---- */

static unsigned whole_members(struct meta *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->member_count; i++)
		n += m->members[i]->listed && live(m, m->members[i]);
	return n;
}

/* Of the whole members one of those of which most fail together; NULL: all lie apart. */
static struct member *least_needed(struct meta *m)
{
	struct member *found = NULL;
	bool worst_no_new = false;
	unsigned most = 2;

	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];
		const struct meta_disk *d = find_disk(m->disks, m->disk_count, mb);
		unsigned n;

		if (!d || !mb->listed || member_dead(m, mb))
			continue;
		n = members_near(m, d, true);
		if (n > most || (n == most && (!worst_no_new || d->no_new))) {
			found = mb;
			most = n;
			worst_no_new = d->no_new;
		}
	}
	return found;
}

static void retire(struct meta *m, struct member *mb)
{
	ENV_LOCKED(&m->state);
	PROBE("member-retired");
	mb->dead = mb->told = true;
}

/* DR6. One on a disk that is being emptied goes when the others are whole, and no further disk can join them. */
static struct member *leaving_member(struct meta *m)
{
	const bool none_tried[META_MAX_DISKS] = {false};
	struct member *found = NULL;
	unsigned whole = 0;

	for (unsigned i = 0; i < m->member_count; i++) {
		struct member *mb = m->members[i];

		if (is_leaving(m, mb))
			found = mb;
		else if (live(m, mb) && !mb->listed)
			return NULL;
		else
			whole += live(m, mb);
	}
	return whole && (whole >= m->cfg.copies || !choose(m, none_tried)) ? found : NULL;
}

int members_retire(struct meta *m)
{
	struct meta_disk gone[ROOT_MAX_MEMBERS];
	struct member *leaver;
	unsigned count = 0;
	int err = 0;

	token_take(m);
	while ((leaver = leaving_member(m))) {
		gone[count++] = leaver->disk;
		retire(m, leaver);
	}
	while (whole_members(m) > m->cfg.copies) {
		struct member *mb = least_needed(m);

		if (!mb)
			break;
		gone[count++] = mb->disk;
		retire(m, mb);
	}
	if (count)
		err = members_settle(m);
	if (count && err == 0)
		member_sweep(m);
	for (unsigned i = 0; i < count && err == 0; i++) { /* after the root without them (M6) */
		journal_remove(gone[i].dev);
		manifests_remove(gone[i].dev);
	}
	token_give(m);
	return err;
}
