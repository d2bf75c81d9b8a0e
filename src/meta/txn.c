/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: built by one thread, committed in one order. Keeps M1: the index's state is always
 * exactly that after one transaction, because (sequence number, chain hash, counters) travel in the
 * same batch as the transaction's effects. Keeps P2's order: number, journal buffer and index are
 * changed together under `commit`.
 *
 * `commit` is held across index->apply, which writes to memory only.
 */
#include <stdlib.h>

#include "base/log.h"
#include "meta/internal.h"

#define APPLIED_MAX_LEN (ENVELOPE_LEN + 8 + HASH_LEN + 4 + META_COUNTERS * 12u)

/* ---- building ---- */

struct meta_txn *meta_begin(struct meta *m)
{
	struct meta_txn *t = xcalloc(1, sizeof(*t));

	t->m = m;
	return t;
}

void meta_put(struct meta_txn *t, const void *key, size_t key_len, const void *value,
	      size_t value_len)
{
	ASSERT(key_len > 0 && key_len <= JOURNAL_MAX_KEY && value_len <= JOURNAL_MAX_VALUE);
	journal_put_op(&t->ops, key, (uint32_t)key_len, value, (uint32_t)value_len);
	t->count++;
}

void meta_del(struct meta_txn *t, const void *key, size_t key_len)
{
	ASSERT(key_len > 0 && key_len <= JOURNAL_MAX_KEY);
	journal_del_op(&t->ops, key, (uint32_t)key_len);
	t->count++;
}

void meta_add(struct meta_txn *t, uint32_t counter, int64_t delta)
{
	ASSERT(counter < META_COUNTERS);
	if (delta != 0)
		journal_add_op(&t->ops, counter, delta);
}

size_t meta_txn_bytes(const struct meta_txn *t) { return t->ops.len; }

void meta_cancel(struct meta_txn *t)
{
	if (!t)
		return;
	buf_release(&t->ops);
	buf_release(&t->key);
	buf_release(&t->value);
	free(t);
}

/* ---- the applied record ---- */

static void applied_encode(const struct hash *chain, uint64_t seq, const int64_t *counters,
			   struct buf *out)
{
	uint32_t count = 0;
	size_t count_at;
	le32 n;

	envelope_begin(out);
	buf_put_le64(out, seq);
	buf_put(out, chain->b, HASH_LEN);
	count_at = out->len;
	buf_put_le32(out, 0);
	for (uint32_t i = 0; i < META_COUNTERS; i++) {
		if (counters[i] == 0)
			continue;
		buf_put_le32(out, i);
		buf_put_le64(out, (uint64_t)counters[i]);
		count++;
	}
	n = le32_of(count);
	memcpy(out->data + count_at, &n, sizeof(n));
	envelope_seal(APPLIED_KEY, APPLIED_KEY_LEN, out, seq);
}

static int applied_parse(const struct buf *val, uint64_t *ret_seq, struct hash *ret_chain,
			 int64_t counters[META_COUNTERS])
{
	struct reader r;
	uint32_t count;
	int err;

	err = envelope_open(APPLIED_KEY, APPLIED_KEY_LEN, val->data, val->len, &r, NULL);
	if (err)
		return err;
	*ret_seq = reader_le64(&r);
	reader_copy(&r, ret_chain->b, HASH_LEN);
	count = reader_le32(&r);
	if (r.bad || count > META_COUNTERS || reader_left(&r) != (size_t)count * 12)
		return DFS_ECORRUPT;
	while (count--) {
		uint32_t i = reader_le32(&r);
		int64_t v = (int64_t)reader_le64(&r);

		if (i >= META_COUNTERS)
			return DFS_ECORRUPT;
		counters[i] = v;
	}
	return 0;
}

int txn_load_applied(struct meta *m, uint64_t *ret_seq, struct hash *ret_chain)
{
	BUF val = {0};
	int err = m->ops->get(m->index, APPLIED_KEY, APPLIED_KEY_LEN, &val);

	memset(m->counters, 0, sizeof(m->counters));
	if (err == DFS_ENOENT) {
		*ret_seq = 0;
		memset(ret_chain, 0, sizeof(*ret_chain));
		return 0;
	}
	if (err)
		return err;
	return applied_parse(&val, ret_seq, ret_chain, m->counters);
}

/* ---- applying ---- */

static int count_ops(struct reader ops, unsigned *ret_count)
{
	struct journal_op op;
	unsigned n = 0;
	int err;

	while ((err = journal_next_op(&ops, &op)) == 0)
		n += op.kind != JOURNAL_ADD;
	*ret_count = n;
	return err == DFS_EEND ? 0 : err;
}

static void counter_add(int64_t *counters, uint32_t counter, int64_t delta)
{
	int64_t sum;

	if (__builtin_add_overflow(counters[counter], delta, &sum) || sum < 0) {
		log_error("metadata counter %u would become %lld%+lld: set to 0; fsck tells what "
			  "it should be",
			  counter, (long long)counters[counter], (long long)delta);
		sum = 0;
	}
	__atomic_store_n(&counters[counter], sum, __ATOMIC_RELAXED);
}

/* Fills batch (room for all puts and deletes, and one more) and changes the counters. */
static size_t batch_build(struct reader ops, struct index_op *batch, int64_t *counters)
{
	struct journal_op op;
	size_t n = 0;

	while (journal_next_op(&ops, &op) == 0) {
		if (op.kind == JOURNAL_ADD) {
			if (op.counter < META_COUNTERS)
				counter_add(counters, op.counter, op.delta);
			continue;
		}
		batch[n].key = op.key;
		batch[n].key_len = op.key_len;
		/* NULL means delete, so an empty value needs an address. */
		batch[n].value = op.kind == JOURNAL_DEL ? NULL : op.value ? op.value : op.key;
		batch[n].value_len = op.kind == JOURNAL_DEL ? 0 : op.value_len;
		n++;
	}
	return n;
}

/*
 * Commit held (or nobody else there yet). All of it or nothing: effects, counters, applied record.
 * batch has room for count + 1.
 */
static int apply_locked(struct meta *m, uint64_t seq, const struct hash *chain, struct reader ops,
			struct index_op *batch)
{
	int64_t old[META_COUNTERS];
	size_t n;
	int err;

	memcpy(old, m->counters, sizeof(old));
	n = batch_build(ops, batch, m->counters);
	applied_encode(chain, seq, m->counters, &m->applied);
	ASSERT(m->applied.len <= APPLIED_MAX_LEN);
	batch[n] = (struct index_op){(const uint8_t *)APPLIED_KEY, APPLIED_KEY_LEN, m->applied.data,
				     m->applied.len};
	err = m->ops->apply(m->index, batch, n + 1);
	if (err) {
		for (unsigned i = 0; i < META_COUNTERS; i++)
			__atomic_store_n(&m->counters[i], old[i], __ATOMIC_RELAXED);
		return err;
	}
	__atomic_store_n(&m->seq, seq, __ATOMIC_RELEASE);
	m->chain = *chain;
	return 0;
}

#define BATCH_ON_STACK 64u
#define REPLAY_BATCH_BYTES KIB(256)

/* Operations delimit themselves, so those of many records make one batch, one after the other. */
int txn_replay_add(struct meta *m, struct replay *p, const struct journal_record *r)
{
	unsigned count;
	int err = count_ops(r->ops, &count);

	if (err)
		return err;
	if (reader_left(&r->ops))
		buf_put(&p->ops, r->ops.p, reader_left(&r->ops));
	p->count += count;
	p->seq = r->seq;
	p->chain = r->hash;
	return p->ops.len < REPLAY_BATCH_BYTES ? 0 : txn_replay_flush(m, p);
}

int txn_replay_flush(struct meta *m, struct replay *p)
{
	struct index_op *batch;
	int err;

	if (p->seq == 0)
		return 0;
	batch = xcalloc(p->count + 1, sizeof(*batch));
	err = apply_locked(m, p->seq, &p->chain, reader_of(p->ops.data, p->ops.len), batch);
	free(batch);
	buf_reset(&p->ops);
	p->count = 0;
	p->seq = 0;
	return err;
}

#define NO_ROOM 1 /* in the journal: nothing happened */

static int commit_locked(struct meta *m, struct meta_txn *t, struct index_op *batch, uint64_t room,
			 uint64_t *ret_seq)
{
	struct journal_frame frame = {.pool = m->cfg.pool,
				      .writer = m->writer,
				      .seq = m->seq + 1,
				      .durable = __atomic_load_n(&m->durable, __ATOMIC_RELAXED),
				      .prev = m->chain};
	size_t mark = m->buffer.len, len = ALIGN_UP(t->ops.len + JOURNAL_FIXED_LEN, 8);
	struct hash hash;
	int err = state_failed(m);

	if (err)
		return DFS_EFAILED;
	if (m->unwritten + len > room)
		return NO_ROOM;
	journal_record_encode(&frame, &t->ops, &m->buffer, &hash);
	err = apply_locked(m, m->seq + 1, &hash, reader_of(t->ops.data, t->ops.len), batch);
	if (err) {
		m->buffer.len = mark;
		return err;
	}
	m->unwritten += len;
	m->commits++;
	m->largest_txn_bytes = MAX(m->largest_txn_bytes, t->ops.len);
	*ret_seq = m->seq;
	return 0;
}

int txn_apply_opening(struct meta *m, struct meta_txn *t)
{
	struct journal_frame frame = {.pool = m->cfg.pool,
				      .writer = m->writer,
				      .seq = m->seq + 1,
				      .durable = m->seq,
				      .prev = m->chain};
	struct index_op batch[BATCH_ON_STACK + 1];
	struct hash hash;
	BUF record = {0};
	int err;

	ASSERT(t->count <= BATCH_ON_STACK);
	journal_record_encode(&frame, &t->ops, &record, &hash);
	err = apply_locked(m, frame.seq, &hash, reader_of(t->ops.data, t->ops.len), batch);
	meta_cancel(t);
	return err;
}

/* The buffer is bounded (P9): who finds it full writes it out before adding to it. */
static int wait_for_room(struct meta *m)
{
	uint64_t seq = 0;
	bool full;
	int err;

	env_mutex_lock(&m->commit);
	full = m->buffer.len >= m->cfg.buffer_bytes;
	seq = m->seq;
	env_mutex_unlock(&m->commit);
	err = full ? meta_sync(m, seq) : 0;
	if (err)
		return err == DFS_ENOSPC ? err : DFS_EFAILED;
	return sync_throttle(m);
}

/* One that no file of the journal can hold would wait for ever. */
static bool fits(struct meta *m, const struct meta_txn *t)
{
	uint64_t half = __atomic_load_n(&m->file_half, __ATOMIC_RELAXED);
	uint64_t most = MIN(JOURNAL_MAX_RECORD, half - MIN(half, NOTE_ROOM));

	return ALIGN_UP(t->ops.len + JOURNAL_FIXED_LEN, 8) <= most;
}

int meta_commit(struct meta_txn *t, uint64_t *ret_seq)
{
	struct index_op few[BATCH_ON_STACK + 1], *batch = few;
	struct meta *m = t->m;
	uint64_t seq = 0;
	bool no_room;
	int err;

	if (t->ops.len == 0) {
		meta_cancel(t);
		*ret_seq = meta_last_seq(m);
		return 0;
	}
	err = m->cfg.read_only ? DFS_EROFS : 0;
	if (err == 0 && !fits(m, t))
		err = DFS_E2BIG;
	if (err == 0)
		err = wait_for_room(m);
	if (err) {
		meta_cancel(t);
		return err;
	}
	if (t->count > BATCH_ON_STACK)
		batch = xcalloc(t->count + 1, sizeof(*batch));
	do {
		env_mutex_lock(&m->commit);
		err = commit_locked(m, t, batch, m->room, &seq);
		env_mutex_unlock(&m->commit);
		no_room = err == NO_ROOM;
		if (no_room)
			err = sync_make_room(m, ALIGN_UP(t->ops.len + JOURNAL_FIXED_LEN, 8));
	} while (no_room && err == 0);
	if (err && err != DFS_EFAILED && !no_room) {
		state_fail(m, err, "apply a transaction to the metadata index");
		err = DFS_EFAILED;
	}
	if (batch != few)
		free(batch);
	meta_cancel(t);
	if (err == 0)
		*ret_seq = seq;
	return err;
}

int meta_commit_note(struct meta_txn *t)
{
	struct index_op *batch = xcalloc(t->count + 1, sizeof(*batch));
	struct meta *m = t->m;
	uint64_t seq;
	int err;

	ASSERT(t->ops.len <= META_NOTE_BYTES);
	env_mutex_lock(&m->commit);
	err = commit_locked(m, t, batch, m->room + NOTE_ROOM, &seq);
	env_mutex_unlock(&m->commit);
	if (err == NO_ROOM) {
		err = DFS_ENOSPC;
	} else if (err && err != DFS_EFAILED) {
		state_fail(m, err, "apply a transaction to the metadata index");
		err = DFS_EFAILED;
	}
	m->has_note |= !err;
	free(batch);
	meta_cancel(t);
	return err;
}

/* ---- reading ---- */

uint64_t meta_last_seq(struct meta *m) { return __atomic_load_n(&m->seq, __ATOMIC_ACQUIRE); }

int64_t meta_counter(struct meta *m, uint32_t counter)
{
	ASSERT(counter < META_COUNTERS);
	return __atomic_load_n(&m->counters[counter], __ATOMIC_RELAXED);
}

int meta_get(struct meta *m, const void *key, size_t key_len, struct buf *out)
{
	int err = m->ops->get(m->index, key, key_len, out);

	for (unsigned i = 0; err == DFS_ECHECKSUM && i < HEAL_TRIES && image_heal_suspect(m); i++)
		err = m->ops->get(m->index, key, key_len, out);
	return err;
}

struct meta_iter {
	struct meta *m;
	const struct index_ops *ops;
	struct index_iter *it;
	struct buf key; /* where it was before it moved */
};

struct meta_iter *meta_iter_new(struct meta *m)
{
	struct meta_iter *it = xcalloc(1, sizeof(*it));

	it->m = m;
	it->ops = m->ops;
	it->it = m->ops->iter_new(m->index);
	return it;
}

struct meta_iter *meta_iter_new_within(struct meta *m, const void *prefix, size_t prefix_len)
{
	struct meta_iter *it;

	if (!m->ops->iter_new_within)
		return meta_iter_new(m);
	it = xcalloc(1, sizeof(*it));
	it->m = m;
	it->ops = m->ops;
	it->it = m->ops->iter_new_within(m->index, prefix, prefix_len);
	return it;
}

void meta_iter_free(struct meta_iter *it)
{
	if (!it)
		return;
	it->ops->iter_free(it->it);
	buf_release(&it->key);
	free(it);
}

/* Did it stop at rot that is healed now? Then it is to be moved again; it sees what it saw before. */
static bool healed(struct meta_iter *it, unsigned *tries)
{
	return !it->ops->iter_valid(it->it) && it->ops->iter_error(it->it) == DFS_ECHECKSUM &&
	       (*tries)++ < HEAL_TRIES && image_heal_suspect(it->m);
}

void meta_iter_seek(struct meta_iter *it, const void *key, size_t key_len)
{
	unsigned tries = 0;

	do
		it->ops->iter_seek(it->it, key, key_len);
	while (healed(it, &tries));
}

void meta_iter_seek_back(struct meta_iter *it, const void *key, size_t key_len)
{
	unsigned tries = 0;

	do
		it->ops->iter_seek_back(it->it, key, key_len);
	while (healed(it, &tries));
}

bool meta_iter_valid(struct meta_iter *it) { return it->ops->iter_valid(it->it); }

static void remember(struct meta_iter *it)
{
	size_t len;
	const uint8_t *key = it->ops->iter_key(it->it, &len);

	buf_reset(&it->key);
	buf_put(&it->key, key, len);
}

static bool at_remembered(struct meta_iter *it)
{
	size_t len;
	const uint8_t *key;

	if (!it->ops->iter_valid(it->it))
		return false;
	key = it->ops->iter_key(it->it, &len);
	return len == it->key.len && memcmp(key, it->key.data, len) == 0;
}

void meta_iter_next(struct meta_iter *it)
{
	unsigned tries = 0;

	remember(it);
	it->ops->iter_next(it->it);
	while (healed(it, &tries)) {
		it->ops->iter_seek(it->it, it->key.data, it->key.len);
		if (at_remembered(it))
			it->ops->iter_next(it->it);
	}
}

/* Of the iterator's key and that one: as memcmp(). It is valid. */
static int compare_key(struct meta_iter *it, const void *key, size_t key_len)
{
	size_t len;
	const uint8_t *at = it->ops->iter_key(it->it, &len);
	int order = memcmp(at, key, MIN(len, key_len));

	return order || len == key_len ? order : len < key_len ? -1 : 1;
}

#define FIND_STEPS 4u

bool meta_iter_find(struct meta_iter *it, const void *key, size_t key_len)
{
	for (unsigned i = 0; i < FIND_STEPS && meta_iter_valid(it); i++, meta_iter_next(it)) {
		int order = compare_key(it, key, key_len);

		if (order == 0)
			return true;
		if (order > 0 && i > 0)
			return false; /* it would lie between the last one and this */
		if (order > 0)
			break;
	}
	meta_iter_seek(it, key, key_len);
	return meta_iter_valid(it) && compare_key(it, key, key_len) == 0;
}

void meta_iter_prev(struct meta_iter *it)
{
	unsigned tries = 0;

	remember(it);
	it->ops->iter_prev(it->it);
	while (healed(it, &tries)) {
		it->ops->iter_seek_back(it->it, it->key.data, it->key.len);
		if (at_remembered(it))
			it->ops->iter_prev(it->it);
	}
}

const uint8_t *meta_iter_key(struct meta_iter *it, size_t *ret_len)
{
	return it->ops->iter_key(it->it, ret_len);
}

const uint8_t *meta_iter_value(struct meta_iter *it, size_t *ret_len)
{
	return it->ops->iter_value(it->it, ret_len);
}

int meta_iter_error(struct meta_iter *it) { return it->ops->iter_error(it->it); }
