/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the end that was found the end? (M17) Nothing there, or bytes that are no record, say so; an error on reading
 * says nothing. Each copy of the journal holds all that was acknowledged (M3), so one copy that could be read
 * suffices: it leads to that end alone, and what lies beyond in it proves no damage (M11).
 */
#include <stdio.h>

#include "base/log.h"
#include "base/probe.h"
#include "meta/internal.h"

/* ---- reading around what can't be read ---- */

#define PIECE_BYTES 4096u
#define MANY_BAD 4u /* in a row: a disk may take seconds for each */

/* In pieces, since what can't be read need not be what is asked for. */
static int read_pieces(struct dev_file *f, uint8_t *p, size_t len, uint64_t off, size_t *ret_got,
		       struct unread_range *ret_bad)
{
	unsigned row = 0;
	int err = 0;

	for (size_t at = 0, n; at < len; at += n) {
		size_t got = 0;
		int e = DFS_EIO;

		n = MIN(len - at, PIECE_BYTES - (off + at) % PIECE_BYTES);
		if (row < MANY_BAD)
			e = dev_read(f, p + at, n, off + at, 0, &got);
		if (e) {
			err = err ? err : e;
			memset(p + at, 0, n);
			ret_bad->from = MIN(ret_bad->from, off + at);
			ret_bad->to = off + at + n;
			row++;
			got = n;
		} else {
			row = 0;
		}
		*ret_got = at + got;
		if (got < n)
			break;
	}
	return err;
}

int journal_read(struct dev_file *f, void *buf, size_t len, uint64_t off, size_t *ret_got,
		 struct unread_range *ret_bad)
{
	int err = dev_read(f, buf, len, off, 0, ret_got);

	*ret_bad = (struct unread_range){UINT64_MAX, 0};
	if (err == 0)
		return 0;
	if (err == DFS_EIO)
		return read_pieces(f, buf, len, off, ret_got, ret_bad);
	memset(buf, 0, len);
	*ret_bad = (struct unread_range){off, off + len};
	*ret_got = len;
	return err;
}

void unread_note(struct journal_unread *u, const struct dev *dev, uint64_t first, int err)
{
	if (u->err == 0)
		*u = (struct journal_unread){dev, first, err};
}

/* ---- the end ---- */

static bool copy_leads_to(struct meta *m, struct dev *dev, enum journal_copy copy, uint64_t seq,
			  const struct hash *chain, bool second_unread, struct journal_unread *u)
{
	struct journal_walk w = {.count = 1, .only = copy};
	struct journal_record rec;
	bool leads;

	w.sources[0].dev = dev;
	walk_begin(&w, &m->cfg.pool, &m->root);
	while (walk_next(&w, &rec) == 0)
		;
	leads = !w.unread.err && w.seq == seq && memcmp(&w.chain, chain, sizeof(*chain)) == 0;
	if (w.seq == m->root.checkpoint_seq) /* no record says that it is one: its file does */
		leads = leads && copy == COPY_FIRST && w.sources[0].began;
	if (copy == COPY_FIRST && second_unread) /* is it a second copy? else what follows */
		leads = leads && !w.beyond_half;
	if (w.unread.err)
		unread_note(u, w.unread.dev, w.unread.first, w.unread.err);
	walk_end(&w);
	return leads;
}

static bool member_proves(struct meta *m, struct dev *dev, uint64_t seq, const struct hash *chain)
{
	struct damage_unread unread = {0};
	struct meta_loss loss = {0};
	char name[JOURNAL_NAME_LEN];
	bool first, second;

	damage_scan(&m->cfg.pool, &dev, 1, m->root.journal_first, seq, &loss, &unread);
	first = !unread.in_first &&
		copy_leads_to(m, dev, COPY_FIRST, seq, chain, unread.in_second, &unread.what);
	second = !first && !unread.in_second &&
		 copy_leads_to(m, dev, COPY_SECOND, seq, chain, false, &unread.what);
	if (unread.what.err) {
		journal_name(unread.what.first, name);
		log_error("cannot read %s/%s: %s", dev->name,
			  unread.what.first ? name : "meta/journal", dfs_err_text(unread.what.err));
	}
	return loss.from == 0 && (first || second);
}

bool journal_end_proved(struct meta *m, struct dev *const *devs, unsigned count, uint64_t seq,
			const struct hash *chain)
{
	bool proved = m->root.clean; /* nothing was committed after it */

	for (unsigned i = 0; i < count && !proved; i++)
		proved = member_proves(m, devs[i], seq, chain);
	if (proved)
		PROBE("journal-end-proved-by-another-copy");
	return proved;
}

void journal_end_tell(const struct journal_unread *u, char *text, size_t size)
{
	char name[JOURNAL_NAME_LEN];

	journal_name(u->first, name);
	snprintf(
		text, size,
		"%s/%s can't be read (%s), and no other copy that is here shows where the metadata "
		"journal ends: what was synced last may be in what can't be read. Nothing was "
		"changed. See whether the disk works (its cable, the system's log) and try again; "
		"or take it away, if others hold the journal, too; or use --force to go on "
		"without what can't be read there",
		u->dev->name, u->first ? name : "meta/journal", dfs_err_text(u->err));
}
