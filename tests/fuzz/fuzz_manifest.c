/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint manifests: whatever parses encodes to the same bytes, and names only plain files. */
#include "fuzz.h"

#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest m;
	BUF again = {0};

	if (manifest_parse(data, size, &m))
		return 0;
	for (unsigned i = 0; i < m.count; i++) {
		REQUIRE(m.files[i].name[0] != '.' && !strchr(m.files[i].name, '/'));
		REQUIRE(m.files[i].k >= 1 && m.files[i].k <= TABLE_MAX_K);
		REQUIRE(manifest_find(&m, m.files[i].name) == &m.files[i]);
	}
	manifest_encode(&m, &again);
	REQUIRE(again.len == size && memcmp(again.data, data, size) == 0);
	manifest_release(&m);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (size < 128 || seed % 16 == 0)
		return size;
	if (seed % 4) { /* whole entries of four fragments */
		size = 128 + (size - 128) / 256 * 256;
		fuzz_put32(data + 48, (uint32_t)((size - 128) / 256));
	}
	fuzz_put32(data + 12, (uint32_t)size);
	fuzz_seal(data, size, 96);
	return size;
}
