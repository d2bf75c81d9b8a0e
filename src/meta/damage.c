/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damage in the middle of a journal, told from the torn tail that a crash leaves (P3, P8; the cases are
 * in docs/DESIGN.md, "Where a journal ends"). Each record says up to where everything was durable when
 * it was committed, and a journal file is begun only when everything before its name is durable. So a
 * whole record, or a file's name, beyond the place where the chain breaks can prove that what is
 * missing there had been acknowledged.
 *
 * What was lost is kept in the index, under a key of its own, until a person has taken note.
 */
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

#define LOSS_KEY "mlost"
#define LOSS_KEY_LEN 5u

/* ---- finding ---- */

#define WINDOW_BYTES (2 * (size_t)JOURNAL_MAX_RECORD)
/* What may be hashed of a file for its size: bytes that lie about lengths must not take for ever. */
#define HASH_FACTOR 4u

struct scan {
	const struct uuid *pool;
	struct dev *dev;
	uint64_t journal_first, end;
	uint64_t durable;    /* the greatest that is proved */
	uint64_t records;    /* on this disk, each counted once though it may be there twice */
	uint64_t last;	     /* the greatest of them */
	uint64_t hashed;     /* bytes, of the file looked at */
	uint64_t name;	     /* the greatest */
	uint64_t first, off; /* the file's name, and where in it is looked at */
	struct journal_place *place; /* of a state that is looked for, if one is */
	struct damage_unread unread;
};

/* The record of that state, or better the one that follows it. */
static void note_place(const struct scan *s, const struct journal_record *rec)
{
	struct journal_place *p = s->place;
	bool is_it = rec->seq == p->seq && memcmp(&rec->hash, &p->chain, HASH_LEN) == 0;

	if (p->follows)
		return;
	if (rec->seq == p->seq + 1 && memcmp(&rec->prev, &p->chain, HASH_LEN) == 0)
		p->follows = true;
	else if (!is_it || p->found)
		return;
	p->found = true;
	p->first = s->first;
	p->off = s->off + (is_it ? rec->total_len : 0);
	p->durable = rec->durable;
}

/* Returns how far to go on: the record's length, or 8. */
static size_t look_at(struct scan *s, const uint8_t *p, size_t len)
{
	struct journal_record rec;
	uint32_t total_len = 0;

	if (journal_record_peek(p, len, s->pool, &total_len) <= s->end || total_len > len)
		return 8;
	if (journal_record_parse(p, len, s->pool, &rec)) {
		s->hashed += total_len;
		return 8;
	}
	if (s->place)
		note_place(s, &rec);
	s->records += rec.seq > s->last;
	s->last = MAX(s->last, rec.seq);
	s->durable = MAX(s->durable, rec.durable);
	return rec.total_len;
}

static void note_unread(struct scan *s, uint64_t from, uint64_t to, uint64_t half, int err)
{
	unread_note(&s->unread.what, s->dev, s->first, err);
	s->unread.in_first = s->unread.in_first || from < half;
	s->unread.in_second = s->unread.in_second || to > half;
}

/* What can't be read is passed over, and known not to be known. */
static void scan_file(struct scan *s, struct dev_file *f, uint64_t size)
{
	BUF window = {0};
	uint64_t off = 0;

	s->hashed = 0;
	while (off < size) {
		size_t got = 0, at = 0, len = (size_t)MIN(size - off, WINDOW_BYTES);
		struct unread_range bad;
		int err;

		buf_reset(&window);
		buf_extend(&window, len);
		err = journal_read(f, window.data, len, off, &got, &bad);
		if (err)
			note_unread(s, bad.from, bad.to, journal_second_off(size), err);
		/* one that goes past the window is whole in the next */
		while (at + JOURNAL_FIXED_LEN <= got &&
		       (at < JOURNAL_MAX_RECORD || off + got == size)) {
			if (s->hashed > HASH_FACTOR * size)
				return;
			s->off = off + at;
			at += look_at(s, window.data + at, got - at);
		}
		if (got < len || off + got == size)
			break;
		off += MAX(at, 8u);
	}
}

static int scan_name(void *ctx, const char *leaf, uint64_t size_bytes)
{
	struct scan *s = ctx;
	char name[JOURNAL_NAME_LEN];
	struct dev_file *f;
	uint64_t first;
	int err;

	if (!journal_name_parse(leaf, &first) || first < s->journal_first ||
	    (s->place && s->place->follows))
		return 0;
	if (size_bytes)
		s->durable = MAX(s->durable, first - 1);
	s->name = MAX(s->name, first);
	s->first = first;
	journal_name(first, name);
	err = dev_open(s->dev, name, DEV_RDONLY, &f);
	if (err == 0) {
		scan_file(s, f, size_bytes);
		dev_close(f);
	} else {
		note_unread(s, 0, UINT64_MAX, 1, err);
	}
	return 0;
}

static void scan_dev(struct scan *s)
{
	int err = dev_list(s->dev, "meta/journal", scan_name, s);

	s->first = 0;
	if (err && err != DFS_ENOENT)
		note_unread(s, 0, UINT64_MAX, 1, err);
	if (s->unread.what.err)
		log_warn("cannot look for damage in the metadata journal on %s: %s", s->dev->name,
			 dfs_err_text(s->unread.what.err));
}

bool damage_find_state(const struct uuid *pool, struct dev *dev, uint64_t journal_first,
		       uint64_t seq, const struct hash *chain, struct journal_place *ret)
{
	struct journal_place place = {.seq = seq, .chain = *chain};
	struct scan s = {.pool = pool,
			 .dev = dev,
			 .journal_first = journal_first,
			 .end = seq - 1,
			 .place = &place};

	scan_dev(&s);
	place.unread = s.unread.what;
	*ret = place;
	return place.found;
}

void damage_scan(const struct uuid *pool, struct dev *const *devs, unsigned count,
		 uint64_t journal_first, uint64_t end, struct meta_loss *ret,
		 struct damage_unread *ret_unread)
{
	struct meta_loss loss = {0};

	for (unsigned i = 0; i < count; i++) {
		struct scan s = {
			.pool = pool, .dev = devs[i], .journal_first = journal_first, .end = end};

		scan_dev(&s);
		loss.last = MAX(loss.last, s.durable);
		loss.beyond = MAX(loss.beyond, s.records);
		loss.seen = MAX(loss.seen, MAX(s.last, s.name));
		if (s.unread.what.err && ret_unread->what.err == 0)
			ret_unread->what = s.unread.what;
		ret_unread->in_first = ret_unread->in_first || s.unread.in_first;
		ret_unread->in_second = ret_unread->in_second || s.unread.in_second;
	}
	if (loss.last <= end)
		return;
	loss.from = end + 1;
	loss.wall_ns = env_wall_ns();
	*ret = loss;
}

/* ---- remembering ---- */

/*
 * A loss not taken note of yet, and this one, are told as one. The number is one that nothing in the old files
 * has reached: so they lie before the journal that begins after it, and prove nothing any more.
 */
int damage_record(struct meta *m, const struct meta_loss *found)
{
	struct meta_loss old, both = *found, *loss = &both;
	struct meta_txn *t;
	int err = meta_loss(m, &old);

	if (err)
		return err;
	if (old.from) {
		both.from = MIN(both.from, old.from);
		both.last = MAX(both.last, old.last);
		both.beyond = MAX(both.beyond, old.beyond);
	}
	if (found->seen > m->seq && found->seen < META_SEQ_MAX / 2)
		__atomic_store_n(&m->seq, found->seen, __ATOMIC_RELEASE);
	t = meta_begin(m);
	buf_reset(&t->value);
	envelope_begin(&t->value);
	buf_put_le64(&t->value, loss->from);
	buf_put_le64(&t->value, loss->last);
	buf_put_le64(&t->value, loss->beyond);
	buf_put_le64(&t->value, loss->wall_ns);
	envelope_seal(LOSS_KEY, LOSS_KEY_LEN, &t->value, meta_generation(m));
	meta_put(t, LOSS_KEY, LOSS_KEY_LEN, t->value.data, t->value.len);
	return txn_apply_opening(m, t);
}

int meta_loss(struct meta *m, struct meta_loss *ret_loss)
{
	struct meta_loss loss = {0};
	struct reader r;
	BUF value = {0};
	int err = meta_get(m, LOSS_KEY, LOSS_KEY_LEN, &value);

	if (err == DFS_ENOENT) {
		*ret_loss = loss;
		return 0;
	}
	if (err == 0)
		err = envelope_open(LOSS_KEY, LOSS_KEY_LEN, value.data, value.len, &r, NULL);
	if (err)
		return err;
	loss.from = reader_le64(&r);
	loss.last = reader_le64(&r);
	loss.beyond = reader_le64(&r);
	loss.wall_ns = reader_le64(&r);
	if (r.bad || reader_left(&r) || loss.from == 0 || loss.last < loss.from)
		return DFS_ECORRUPT;
	*ret_loss = loss;
	return 0;
}

int meta_loss_noted(struct meta *m)
{
	struct meta_txn *t = meta_begin(m);
	uint64_t seq;
	int err;

	meta_del(t, LOSS_KEY, LOSS_KEY_LEN);
	err = meta_commit(t, &seq);
	if (err == 0)
		err = meta_sync(m, seq);
	if (err)
		return err;
	ENV_LOCKED(&m->admin);
	for (unsigned i = 0; i < m->member_count; i++)
		if (!member_dead(m, m->members[i]))
			journal_remove_damaged(m->members[i]->disk.dev);
	return 0;
}
