/* SPDX-License-Identifier: Apache-2.0 */
/* Root records: whatever parses encodes to the same bytes. */
#include "fuzz.h"

#include "format/root.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t slot[ROOT_SLOT_BYTES] = {0}, again[ROOT_SLOT_BYTES];
	struct root r;

	memcpy(slot, data, MIN(size, sizeof(slot)));
	if (root_parse(slot, &r))
		return 0;
	REQUIRE(r.member_count >= 1 && r.member_count <= ROOT_MAX_MEMBERS);
	root_encode(&r, again);
	REQUIRE(memcmp(slot, again, sizeof(slot)) == 0);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	struct hash h;
	size_t now;

	if (max_size < ROOT_SLOT_BYTES)
		return LLVMFuzzerMutate(data, size, max_size);
	/* Most of a slot is empty rows: mutate what has a meaning, mostly. */
	now = LLVMFuzzerMutate(data, MIN(size, seed % 8 ? 4400 : size), seed % 8 ? 4400 : max_size);
	if (now < ROOT_SLOT_BYTES)
		memset(data + now, 0, ROOT_SLOT_BYTES - now);
	if (seed % 16 == 0)
		return ROOT_SLOT_BYTES;
	fuzz_put64(data, ROOT_MAGIC);
	if (seed % 3)
		fuzz_put64(data + 8,
			   1 | (uint64_t)(seed & 0x10000) | (uint64_t)ROOT_SLOT_BYTES << 32);
	if (seed % 5)
		fuzz_put32(data + 156, fuzz_get32(data + 156) % (ROOT_MAX_MEMBERS + 1));
	if (seed % 7) {
		fuzz_put32(data + 568, fuzz_get32(data + 568) % (ROOT_MAX_HISTORY + 1));
		fuzz_put32(data + 572, fuzz_get32(data + 572) % (ROOT_MAX_OPEN + 1));
	}
	hash_bytes(data, ROOT_SLOT_BYTES - HASH_LEN, &h);
	memcpy(data + ROOT_SLOT_BYTES - HASH_LEN, h.b, HASH_LEN);
	return ROOT_SLOT_BYTES;
}
