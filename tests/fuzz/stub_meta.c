/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What schema and transactions need of the rest of meta/, when there is no journal and no index:
 * transactions are built and read back, never committed.
 */
#include "stub_meta.h"

#include "fuzz.h"

uint64_t stub_generation;
struct buf stub_key, stub_value;

uint64_t meta_generation(struct meta *m)
{
	(void)m;
	return stub_generation;
}

int meta_sync(struct meta *m, uint64_t seq)
{
	(void)m;
	(void)seq;
	return DFS_EFAILED;
}

int sync_throttle(struct meta *m)
{
	(void)m;
	return DFS_EFAILED;
}

int state_failed(struct meta *m)
{
	(void)m;
	return DFS_EFAILED;
}

void state_fail(struct meta *m, int err, const char *doing)
{
	(void)m;
	(void)err;
	(void)doing;
}

int sync_make_room(struct meta *m, size_t len)
{
	(void)m;
	(void)len;
	return DFS_EFAILED;
}

bool image_heal_suspect(struct meta *m)
{
	(void)m;
	return false;
}

static int one_get(struct index *x, const void *key, size_t key_len, struct buf *out)
{
	(void)x;
	buf_reset(out);
	if (key_len != stub_key.len || memcmp(key, stub_key.data, key_len) != 0)
		return DFS_ENOENT;
	buf_put(out, stub_value.data, stub_value.len);
	return 0;
}

struct meta *stub_meta(void)
{
	static const struct index_ops ops = {.get = one_get};
	static struct meta m = {.ops = &ops};

	return &m;
}

void stub_last_put(struct meta_txn *t, struct journal_op *ret_op)
{
	struct reader r = reader_of(t->ops.data, t->ops.len);
	struct journal_op op;
	int n = 0;

	while (journal_next_op(&r, &op) == 0) {
		*ret_op = op;
		n++;
	}
	REQUIRE(n > 0 && ret_op->kind == JOURNAL_PUT);
}
