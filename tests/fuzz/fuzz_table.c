/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of table fragments: whatever parses encodes to the same bytes. */
#include "fuzz.h"

#include "format/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct table_header h;
	struct table_shape s;
	struct hash hash, again_hash;
	BUF again = {0};

	if (table_header_parse(data, size, &h, &hash))
		return 0;
	s = table_shape(h.size_bytes, h.k);
	REQUIRE(s.header_len <= size && h.name[0] != '.' && !strchr(h.name, '/'));
	for (uint32_t i = 0; i < s.block_count; i++)
		REQUIRE(table_block_len(&s, i) > 0 && table_block_len(&s, i) <= TABLE_BLOCK_BYTES);
	table_header_encode(&h, &again, &again_hash);
	REQUIRE(again.len == s.header_len && memcmp(again.data, data, again.len) == 0);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < TABLE_HEADER_FIXED || seed % 16 == 0)
		return size;
	if (seed % 4)
		fuzz_put32(data + 12, (uint32_t)size);
	fuzz_seal(data, size, 160);
	return size;
}
