/* SPDX-License-Identifier: Apache-2.0 */
/* The model's tree, its history, and its files' bytes. Plain memory; calls nothing of the engine. */
#include "sim/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sim/rng.h"

static uint64_t ticks;

uint64_t model_tick(void) { return ++ticks; }

void model_fill(uint64_t seed, uint64_t off, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		uint64_t v = rng_mix(seed * 0x100000001b3ull + off / 8);
		size_t n = MIN(len, (size_t)(8 - off % 8));

		memcpy(p, (uint8_t *)&v + off % 8, n);
		p += n;
		off += n;
		len -= n;
	}
}

uint64_t model_hash(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = rng_mix(seed ^ len);

	while (len) {
		uint64_t v = 0;
		size_t n = MIN(len, sizeof(v));

		memcpy(&v, p, n);
		h = rng_mix(h ^ v);
		p += n;
		len -= n;
	}
	return h;
}

uint64_t model_entry_token(uint64_t dir_ino, const char *name, uint64_t ino)
{
	return model_hash(rng_mix(dir_ino) ^ ino, name, strlen(name));
}

uint64_t model_inode_token(uint64_t ino, uint32_t mode, uint32_t nlink, uint64_t target_hash,
			   uint64_t xattr_hash)
{
	uint64_t v[5] = {ino, mode, nlink, target_hash, xattr_hash};

	return model_hash(1, v, sizeof(v));
}

uint64_t model_xattr_token(const char *name, const void *value, size_t len)
{
	return model_hash(model_hash(2, name, strlen(name)), value, len);
}

const char *model_xattr_name(unsigned i)
{
	static const char *const names[MODEL_XATTRS] = {"user.colour", "user.x", "security.note"};

	return names[i];
}

static uint64_t node_token(const struct mnode *n)
{
	uint64_t xattrs = 0;

	for (unsigned i = 0; i < MODEL_XATTRS; i++) {
		uint8_t value[8192];

		if (!n->xattrs[i].set)
			continue;
		model_fill(n->xattrs[i].seed, 0, value, n->xattrs[i].len);
		xattrs ^= model_xattr_token(model_xattr_name(i), value, n->xattrs[i].len);
	}
	return model_inode_token(n->ino, n->mode, n->nlink, n->target_hash, xattrs);
}

/* ---- tree ---- */

struct mnode *model_new_node(struct model *m, uint32_t mode)
{
	struct mnode *n = xcalloc(1, sizeof(*n));

	n->mode = mode;
	TAILQ_INIT(&n->entries);
	TAILQ_INSERT_TAIL(&m->nodes, n, link);
	return n;
}

static void node_free(struct model *m, struct mnode *n)
{
	struct mentry *e;

	while ((e = TAILQ_FIRST(&n->entries))) {
		TAILQ_REMOVE(&n->entries, e, link);
		free(e);
	}
	TAILQ_REMOVE(&m->nodes, n, link);
	buf_release(&n->cur);
	buf_release(&n->base);
	free(n->data_ops);
	free(n);
}

struct model *model_new(unsigned client, uint64_t root_ino, uint32_t root_mode)
{
	struct model *m = xcalloc(1, sizeof(*m));

	m->client = client;
	TAILQ_INIT(&m->nodes);
	m->root = model_new_node(m, root_mode);
	m->root->ino = root_ino;
	m->root->nlink = 2;
	m->hash = node_token(m->root);
	model_begin(m, "start");
	model_pending(m);
	model_acked(m);
	return m;
}

struct mentry *model_find(struct mnode *dir, const char *name)
{
	struct mentry *e;

	TAILQ_FOREACH(e, &dir->entries, link)
		if (!strcmp(e->name, name))
			return e;
	return NULL;
}

bool model_is_within(struct mnode *dir, struct mnode *of)
{
	for (; dir; dir = dir->parent)
		if (dir == of)
			return true;
	return false;
}

static void add_entry(struct model *m, struct mnode *dir, const char *name, struct mnode *node)
{
	struct mentry *e = xcalloc(1, sizeof(*e));

	snprintf(e->name, sizeof(e->name), "%s", name);
	e->node = node;
	TAILQ_INSERT_TAIL(&dir->entries, e, link);
	if (S_ISDIR(node->mode))
		node->parent = dir;
	m->hash ^= model_entry_token(dir->ino, name, node->ino);
}

static struct mnode *drop_entry(struct model *m, struct mnode *dir, const char *name)
{
	struct mentry *e = model_find(dir, name);
	struct mnode *node = e->node;

	m->hash ^= model_entry_token(dir->ino, name, node->ino);
	TAILQ_REMOVE(&dir->entries, e, link);
	free(e);
	return node;
}

/* ---- history ---- */

static struct mop *last_op(const struct model *m) { return &m->ops[m->op_count - 1]; }

static struct mdelta *delta_new(struct model *m, enum mdelta_kind kind)
{
	struct mdelta *d;

	if (m->delta_count == m->delta_cap) {
		m->delta_cap = m->delta_cap ? m->delta_cap * 2 : 64;
		m->deltas = xrealloc(m->deltas, m->delta_cap * sizeof(*m->deltas));
	}
	d = &m->deltas[m->delta_count++];
	*d = (struct mdelta){.kind = kind};
	return d;
}

void model_begin(struct model *m, const char *fmt, ...)
{
	struct mop *op;
	va_list args;

	if (m->op_count == m->op_cap) {
		m->op_cap = m->op_cap ? m->op_cap * 2 : 64;
		m->ops = xrealloc(m->ops, m->op_cap * sizeof(*m->ops));
	}
	op = &m->ops[m->op_count++];
	*op = (struct mop){.first_delta = m->delta_count, .start = model_tick(), .end = UINT64_MAX};
	va_start(args, fmt);
	vsnprintf(op->text, sizeof(op->text), fmt, args);
	va_end(args);
}

void model_add_entry(struct model *m, struct mnode *dir, const char *name, struct mnode *node)
{
	struct mdelta *d = delta_new(m, MDELTA_ADD);

	d->dir = dir;
	d->node = node;
	snprintf(d->name, sizeof(d->name), "%s", name);
	if (!node->ino) {
		last_op(m)->created = node;
		last_op(m)->created_in = dir;
	}
	add_entry(m, dir, name, node);
}

void model_drop_entry(struct model *m, struct mnode *dir, const char *name)
{
	struct mdelta *d = delta_new(m, MDELTA_DROP);

	d->dir = dir;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->node = drop_entry(m, dir, name);
}

/* A node without links shows nowhere. */
static void attr_flip(struct model *m, const struct mnode *n)
{
	if (n->nlink)
		m->hash ^= node_token(n);
}

void model_attr(struct model *m, struct mnode *n)
{
	struct mdelta *d = delta_new(m, MDELTA_ATTR);

	d->node = n;
	d->mode = n->mode;
	d->nlink = n->nlink;
	memcpy(d->xattrs, n->xattrs, sizeof(d->xattrs));
	attr_flip(m, n);
}

void model_attr_done(struct model *m, struct mnode *n) { attr_flip(m, n); }

void model_pending(struct model *m) { last_op(m)->hash = m->hash; }

void model_acked(struct model *m)
{
	ASSERT(!last_op(m)->created);
	last_op(m)->end = model_tick();
}

static void undo_last(struct model *m)
{
	while (m->delta_count > last_op(m)->first_delta) {
		struct mdelta *d = &m->deltas[--m->delta_count];
		struct mnode *n = d->node;

		switch (d->kind) {
		case MDELTA_ADD:
			drop_entry(m, d->dir, d->name);
			break;
		case MDELTA_DROP:
			add_entry(m, d->dir, d->name, n);
			break;
		case MDELTA_ATTR:
			attr_flip(m, n);
			n->mode = d->mode;
			n->nlink = d->nlink;
			memcpy(n->xattrs, d->xattrs, sizeof(n->xattrs));
			attr_flip(m, n);
			break;
		}
	}
	m->op_count--;
}

void model_failed(struct model *m) { undo_last(m); }

void model_set_ino(struct model *m, struct mnode *n, uint64_t ino)
{
	struct mop *op = last_op(m);
	struct mentry *e;

	ASSERT(op->created == n && n->ino == 0);
	attr_flip(m, n);
	TAILQ_FOREACH(e, &op->created_in->entries, link)
		if (e->node == n)
			break;
	ASSERT(e);
	m->hash ^= model_entry_token(op->created_in->ino, e->name, 0);
	m->hash ^= model_entry_token(op->created_in->ino, e->name, ino);
	n->ino = ino;
	attr_flip(m, n);
	op->created = NULL;
	op->hash = m->hash;
}

/* ---- data ---- */

static void set_size(struct buf *b, uint64_t size)
{
	if (size > b->len)
		(void)buf_extend(b, size - b->len);
	b->len = size;
}

/* Returns the range that got new values. */
static void data_apply(struct buf *b, const struct mdata_op *op, uint64_t *ret_from,
		       uint64_t *ret_to)
{
	uint64_t old = b->len, end = op->off + op->len;

	*ret_from = *ret_to = op->off;
	switch (op->kind) {
	case MDATA_WRITE:
		if (end > old) {
			set_size(b, end);
			memset(b->data + old, 0, end - old);
		}
		model_fill(op->seed, op->off, b->data + op->off, op->len);
		*ret_from = MIN(old, op->off);
		*ret_to = end;
		break;
	case MDATA_SIZE:
		set_size(b, op->off);
		if (op->off > old)
			memset(b->data + old, 0, op->off - old);
		*ret_from = MIN(old, op->off);
		break;
	case MDATA_ZERO:
		*ret_to = MIN(end, old);
		if (op->off < *ret_to)
			memset(b->data + op->off, 0, *ret_to - op->off);
		break;
	}
}

void model_data(struct mnode *n, const struct mdata_op *op)
{
	uint64_t from, to;

	if (n->data_count == n->data_cap) {
		n->data_cap = n->data_cap ? n->data_cap * 2 : 16;
		n->data_ops = xrealloc(n->data_ops, n->data_cap * sizeof(*n->data_ops));
	}
	n->data_ops[n->data_count++] = *op;
	data_apply(&n->cur, op, &from, &to);
}

void model_data_failed(struct mnode *n)
{
	uint64_t from, to;

	ASSERT(n->data_count);
	n->data_count--;
	buf_reset(&n->cur);
	buf_put(&n->cur, n->base.data, n->base.len);
	for (uint64_t i = 0; i < n->data_count; i++)
		data_apply(&n->cur, &n->data_ops[i], &from, &to);
}

uint64_t model_data_mark(const struct mnode *n) { return n->data_first + n->data_count; }

void model_data_floor(struct mnode *n, uint64_t mark)
{
	uint64_t from, to, count;

	if (mark <= n->data_first)
		return;
	count = MIN(mark - n->data_first, n->data_count);
	for (uint64_t i = 0; i < count; i++)
		data_apply(&n->base, &n->data_ops[i], &from, &to);
	n->data_count -= count;
	n->data_first += count;
	memmove(n->data_ops, n->data_ops + count, n->data_count * sizeof(*n->data_ops));
}

/* How far a file's history must have gone for its content to be what was found. */
struct evidence {
	uint64_t reached;     /* operations that have happened for sure */
	uint64_t least, most; /* sizes since the last of them that set one */
	uint8_t *ok;	      /* for each byte: it may have the value that was found */
};

static void mark_equal(struct evidence *e, const struct buf *b, const uint8_t *data, uint64_t from,
		       uint64_t to, uint64_t op)
{
	for (uint64_t x = from; x < to && x < b->len; x++) {
		if (e->ok[x] || b->data[x] != data[x])
			continue;
		e->ok[x] = true;
		e->reached = MAX(e->reached, op);
	}
}

/* For each byte the first operation after which it has the value found; for the size, too. */
static void find_evidence(const struct mnode *n, const uint8_t *data, uint64_t size,
			  struct evidence *e)
{
	uint64_t least = n->base.len, most = n->base.len, from, to;
	BUF cur = {0};

	buf_put(&cur, n->base.data, n->base.len);
	mark_equal(e, &cur, data, 0, size, 0);
	for (uint64_t i = 0; i < n->data_count; i++) {
		data_apply(&cur, &n->data_ops[i], &from, &to);
		mark_equal(e, &cur, data, from, MIN(to, size), i + 1);
		if ((size < least && cur.len <= size) || (size > most && cur.len >= size))
			e->reached = MAX(e->reached, i + 1);
		least = MIN(least, cur.len);
		most = MAX(most, cur.len);
	}
}

/*
 * What has happened for sure leaves no older value behind where it cut off or zeroed: such operations
 * are one transaction, or steps that end before they are acknowledged, and what was written later
 * is stored later. The last operation may be in flight, and be half done.
 */
static void apply_evidence(const struct mnode *n, const uint8_t *data, uint64_t size,
			   struct evidence *e)
{
	uint64_t from, to;
	BUF cur = {0};

	memset(e->ok, 0, size);
	buf_put(&cur, n->base.data, n->base.len);
	e->least = e->most = cur.len;
	mark_equal(e, &cur, data, 0, size, 0);
	for (uint64_t i = 0; i < n->data_count; i++) {
		const struct mdata_op *op = &n->data_ops[i];
		bool ends = i + 1 < n->data_count && i < e->reached;

		data_apply(&cur, op, &from, &to);
		if (ends && op->kind == MDATA_ZERO && from < MIN(to, size))
			memset(e->ok + from, 0, MIN(to, size) - from);
		if (ends && op->kind == MDATA_SIZE) {
			if (op->off < size)
				memset(e->ok + op->off, 0, size - op->off);
			e->most = cur.len;
		}
		mark_equal(e, &cur, data, from, MIN(to, size), 0);
		e->least = MIN(e->least, cur.len);
		e->most = MAX(e->most, cur.len);
	}
}

bool model_data_check(const struct mnode *n, const uint8_t *data, uint64_t size, char *text,
		      size_t text_len)
{
	struct evidence e = {0};
	FREE uint8_t *ok = NULL;
	uint64_t x, to;

	if (size == n->base.len && (!size || !memcmp(data, n->base.data, size)))
		return true;
	e.ok = ok = xcalloc(size + 1, 1);
	find_evidence(n, data, size, &e);
	apply_evidence(n, data, size, &e);
	if (size < e.least || size > e.most) {
		snprintf(
			text, text_len,
			"size %llu is not within %llu..%llu (%llu of %llu operations since the last "
			"durable one have happened for sure)",
			(unsigned long long)size, (unsigned long long)e.least,
			(unsigned long long)e.most, (unsigned long long)e.reached,
			(unsigned long long)n->data_count);
		return false;
	}
	for (x = 0; x < size && ok[x]; x++)
		;
	if (x == size)
		return true;
	for (to = x; to < size && !ok[to]; to++)
		;
	snprintf(
		text, text_len,
		"bytes %llu..%llu (of %llu; durable %llu, %llu operations since, %llu of them have "
		"happened for sure) never had such values, or no longer, the first is %02x",
		(unsigned long long)x, (unsigned long long)to, (unsigned long long)size,
		(unsigned long long)n->base.len, (unsigned long long)n->data_count,
		(unsigned long long)e.reached, data[x]);
	return false;
}

static void range_equal(uint8_t *ok, const struct buf *b, const uint8_t *data, uint64_t off,
			uint64_t got)
{
	for (uint64_t x = 0; x < got && off + x < b->len; x++)
		ok[x] |= b->data[off + x] == data[x];
}

static uint64_t readable(const struct buf *b, uint64_t off, uint64_t len)
{
	return off < b->len ? MIN(len, b->len - off) : 0;
}

bool model_read_check(const struct mnode *n, uint64_t mark, uint64_t off, const uint8_t *data,
		      uint64_t got, uint64_t len, char *text, size_t text_len)
{
	uint64_t i = 0, from, to, least, most, x = 0;
	FREE uint8_t *ok = NULL;
	BUF cur = {0};

	if (mark < n->data_first) /* a sync has forgotten what was then */
		return true;
	ok = xcalloc(got + 1, 1);
	buf_put(&cur, n->base.data, n->base.len);
	for (; n->data_first + i < mark; i++)
		data_apply(&cur, &n->data_ops[i], &from, &to);
	least = most = readable(&cur, off, len);
	range_equal(ok, &cur, data, off, got);
	for (; i < n->data_count; i++) {
		data_apply(&cur, &n->data_ops[i], &from, &to);
		least = MIN(least, readable(&cur, off, len));
		most = MAX(most, readable(&cur, off, len));
		range_equal(ok, &cur, data, off, got);
	}
	if (got < least || got > most) {
		snprintf(text, text_len, "%llu bytes, not %llu..%llu", (unsigned long long)got,
			 (unsigned long long)least, (unsigned long long)most);
		return false;
	}
	while (x < got && ok[x])
		x++;
	if (x < got)
		snprintf(text, text_len, "byte %llu of %llu is %02x, which it was at no moment",
			 (unsigned long long)x, (unsigned long long)got, data[x]);
	return x == got;
}

void model_data_reset(struct mnode *n, const uint8_t *data, uint64_t size)
{
	n->data_first += n->data_count;
	n->data_count = 0;
	buf_reset(&n->cur);
	buf_put(&n->cur, data, size);
	buf_reset(&n->base);
	buf_put(&n->base, data, size);
}

/* ---- syncs ---- */

unsigned model_mark(const struct model *m)
{
	return m->ops[m->op_count - 1].end == UINT64_MAX ? m->op_count - 1 : m->op_count;
}

void model_floor(struct model *m, unsigned mark)
{
	ASSERT(mark > 0 && mark <= m->op_count);
	m->floor = MAX(m->floor, mark - 1);
}

uint64_t model_last_change(const struct model *m, const struct mnode *n)
{
	unsigned delta = m->delta_count;

	for (unsigned i = m->op_count; i-- > 0;) {
		for (; delta > m->ops[i].first_delta; delta--)
			if (m->deltas[delta - 1].node == n || m->deltas[delta - 1].dir == n)
				return m->ops[i].end;
	}
	return 0;
}

unsigned model_mark_at(const struct model *m, uint64_t tick)
{
	unsigned mark = 1;

	while (mark < m->op_count && m->ops[mark].end <= tick)
		mark++;
	return mark;
}

void model_mark_data(struct model *m)
{
	struct mnode *n;

	TAILQ_FOREACH(n, &m->nodes, link)
		n->mark = model_data_mark(n);
}

void model_note_older(struct model *m)
{
	struct mnode *n;

	TAILQ_FOREACH(n, &m->nodes, link) {
		n->older = n->base.len || n->data_count;
		n->promised = false; /* by disks that may be among those lost now */
	}
}

void model_floor_data(struct model *m)
{
	struct mnode *n;

	TAILQ_FOREACH(n, &m->nodes, link)
		model_data_floor(n, n->mark);
}

/* ---- after a crash ---- */

bool model_match(struct model *m, uint64_t hash, unsigned *ret_least, unsigned *ret_most)
{
	bool found = false;

	for (unsigned i = m->floor; i < m->op_count; i++) {
		if (m->ops[i].hash != hash)
			continue;
		if (!found)
			*ret_least = i;
		*ret_most = i;
		found = true;
	}
	return found;
}

static void visit(struct model *m, struct mnode *n)
{
	struct mentry *e;

	n->visit = m->visits;
	n->handles = 0;
	TAILQ_FOREACH(e, &n->entries, link)
		visit(m, e->node);
}

void model_undo_to(struct model *m, unsigned p)
{
	while (m->op_count > p + 1)
		undo_last(m);
}

void model_rewind(struct model *m, unsigned p)
{
	struct mnode *n, *next;

	model_undo_to(m, p);
	m->op_count = m->delta_count = m->floor = 0;
	m->visits++;
	visit(m, m->root);
	for (n = TAILQ_FIRST(&m->nodes); n; n = next) {
		next = TAILQ_NEXT(n, link);
		if (n->visit != m->visits)
			node_free(m, n);
	}
	model_begin(m, "recovered");
	model_pending(m);
	model_acked(m);
}

static void dump(struct mnode *dir, const char *path, void (*line)(const char *text))
{
	struct mentry *e;

	TAILQ_FOREACH(e, &dir->entries, link) {
		char text[512];

		snprintf(text, sizeof(text), "%s/%s ino %llu mode %o nlink %u size %zu", path,
			 e->name, (unsigned long long)e->node->ino, e->node->mode, e->node->nlink,
			 e->node->cur.len);
		line(text);
		snprintf(text, sizeof(text), "%s/%s", path, e->name);
		if (S_ISDIR(e->node->mode))
			dump(e->node, text, line);
	}
}

void model_dump(struct model *m, void (*line)(const char *text))
{
	char path[16];

	snprintf(path, sizeof(path), "/c%u", m->client);
	dump(m->root, path, line);
}
