/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of journal records, as recovery reads them: whatever parses encodes to the same bytes,
 * operation by operation, and the walk always ends.
 */
#include "fuzz.h"

#include "format/journal.h"

static void ops_copy(struct reader r, struct buf *out)
{
	struct journal_op op;
	int err;

	while ((err = journal_next_op(&r, &op)) == 0) {
		switch (op.kind) {
		case JOURNAL_PUT:
			journal_put_op(out, op.key, op.key_len, op.value, op.value_len);
			break;
		case JOURNAL_DEL:
			journal_del_op(out, op.key, op.key_len);
			break;
		case JOURNAL_ADD:
			journal_add_op(out, op.counter, op.delta);
			break;
		}
	}
	REQUIRE(err == DFS_EEND); /* a record's operations were checked when it was parsed */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader loose = reader_of(data, size);
	struct journal_record rec;
	struct uuid pool = {{0}};
	struct journal_op op;
	size_t at = 0;

	if (size >= 40)
		memcpy(&pool, data + 24, sizeof(pool));
	while (journal_record_parse(data + at, size - at, &pool, &rec) == 0) {
		BUF ops = {0}, again = {0};
		struct hash hash;

		REQUIRE(rec.total_len >= JOURNAL_FIXED_LEN && rec.total_len <= size - at);
		ops_copy(rec.ops, &ops);
		journal_record_encode(&(struct journal_frame){.pool = pool,
							      .writer = rec.writer,
							      .seq = rec.seq,
							      .durable = rec.durable,
							      .prev = rec.prev},
				      &ops, &again, &hash);
		REQUIRE(again.len == rec.total_len);
		REQUIRE(memcmp(again.data, data + at, again.len) == 0);
		REQUIRE(memcmp(&hash, &rec.hash, sizeof(hash)) == 0);
		at += rec.total_len;
	}
	/* Operations without a record around them: bounded, and never past the end. */
	while (journal_next_op(&loose, &op) == 0)
		REQUIRE(op.key_len <= JOURNAL_MAX_KEY && op.value_len <= JOURNAL_MAX_VALUE);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t at = 0;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 16 == 0)
		return size;
	while (size - at >= JOURNAL_FIXED_LEN) {
		uint8_t *p = data + at;
		uint32_t len = fuzz_get32(p + 8);

		fuzz_put32(p, JOURNAL_MAGIC);
		if (len < JOURNAL_FIXED_LEN || len % 8 || len > size - at) {
			len = (uint32_t)ALIGN_DOWN(size - at, 8);
			fuzz_put32(p + 8, len);
			fuzz_put32(p + 12, len - JOURNAL_FIXED_LEN);
		}
		if (at)
			memcpy(p + 24, data + 24, 16);
		fuzz_seal(p, len, 96);
		at += len;
	}
	return size;
}
