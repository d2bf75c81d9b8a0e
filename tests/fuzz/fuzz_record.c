/* SPDX-License-Identifier: Apache-2.0 */
/* Fragment record headers: whatever parses encodes to the same bytes and the same hash. */
#include "fuzz.h"

#include "format/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[RECORD_MAX_HEADER_LEN];
	struct record_header h;
	struct hash hash, hash_again;
	uint32_t need = 0, len;
	int r = record_header_parse(data, size, &h, &hash, &need);

	if (r == DFS_E2BIG)
		REQUIRE(need > size && need <= RECORD_MAX_HEADER_LEN);
	if (r)
		return 0;
	len = record_header_len(h.piece_count, h.block_count);
	REQUIRE(len <= size);
	record_header_encode(&h, again, &hash_again);
	REQUIRE(memcmp(again, data, len) == 0);
	REQUIRE(memcmp(&hash, &hash_again, sizeof(hash)) == 0);
	record_header_release(&h);
	return 0;
}

/* Makes the lengths follow from geometry, extent and number of pieces, so that the rest is reached. */
static size_t make_consistent(uint8_t *d, size_t size)
{
	unsigned k = d[76] % 16 + 1, m = d[77] % 9, pieces = fuzz_get16(d + 82) % 257;
	uint32_t len = fuzz_get32(d + 72) % (uint32_t)(MIB(1) + 1), payload, blocks, header,
		 sum = 0;

	len = len ? len : 1;
	payload = k == 1 ? len : (uint32_t)ALIGN_UP(DIV_UP(len, k), 64);
	blocks = (uint32_t)DIV_UP(payload, RECORD_BLOCK_BYTES);
	pieces = pieces ? pieces : 1;
	if (record_header_len(pieces, blocks) > size)
		pieces = 1;
	header = record_header_len(pieces, blocks);
	if (header > size)
		return size;
	fuzz_put32(d + 12, header);
	fuzz_put32(d + 16, record_len(pieces, payload));
	fuzz_put32(d + 20, payload);
	fuzz_put32(d + 72, len);
	d[76] = (uint8_t)k;
	d[77] = (uint8_t)m;
	d[78] = (uint8_t)(d[78] % (k + m));
	d[79] = k > 1;
	d[80] = d[81] = 0;
	fuzz_put16(d + 82, (uint16_t)pieces);
	fuzz_put32(d + 84, blocks);
	d[100] = 0;
	d[101] &= 0xfe;
	for (unsigned i = 0; i + 1 < pieces; i++)
		sum += fuzz_get32(d + 256 + 16 * i + 8);
	fuzz_put32(d + 256 + 16 * (pieces - 1) + 8, len - sum);
	for (unsigned i = 0; i < pieces; i++)
		fuzz_put32(d + 256 + 16 * i + 12, 0);
	memset(d + 256 + 16 * pieces + 32 * blocks, 0, header - (256 + 16 * pieces + 32 * blocks));
	return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint32_t len;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < RECORD_FIXED_LEN || seed % 16 == 0)
		return size;
	fuzz_put64(data, RECORD_MAGIC);
	if (seed % 4 == 1)
		make_consistent(data, size);
	len = fuzz_get32(data + 12);
	if (len < RECORD_FIXED_LEN || len > MIN(size, RECORD_MAX_HEADER_LEN) || len % 64) {
		len = (uint32_t)ALIGN_DOWN(MIN(size, RECORD_MAX_HEADER_LEN), 64);
		fuzz_put32(data + 12, len);
	}
	fuzz_seal(data, len, 224);
	return size;
}
