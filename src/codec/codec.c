/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reed-Solomon by ISA-L's vector kernels: gives back lost fragments (the arithmetic under P1 and
 * P4). The matrix is the identity over a Cauchy matrix, of which every square submatrix can be
 * inverted: any k of the k+m fragments are enough (Blömer et al., "An XOR-Based Erasure-Resilient
 * Coding Scheme", 1995; gf_gen_cauchy1_matrix).
 *
 * No locks: each geometry's tables are made on first use and published by compare-and-swap; they
 * are never changed and live as long as the process (at most 128 of them, 4 KiB each).
 */
#include "codec/codec.h"

#include <isa-l/erasure_code.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TABLE_BYTES_PER_CELL 32u /* ISA-L's expanded form of one coefficient */

struct tables {
	uint8_t matrix[CODEC_MAX_WIDTH * CODEC_MAX_K]; /* row i gives fragment i */
	uint8_t parity[];			       /* expanded rows k..k+m-1 */
};

static _Atomic(struct tables *) cache[CODEC_MAX_K + 1][CODEC_MAX_M + 1];

bool geometry_valid(struct geometry g)
{
	return g.k >= 1 && g.k <= CODEC_MAX_K && g.m <= CODEC_MAX_M;
}

uint32_t codec_fragment_len(struct geometry g, uint32_t extent_len)
{
	ASSERT(geometry_valid(g));
	if (g.k == 1)
		return extent_len;
	return (uint32_t)ALIGN_UP(DIV_UP((uint64_t)extent_len, g.k), CODEC_FRAGMENT_ALIGN);
}

static struct tables *tables_make(struct geometry g)
{
	struct tables *t = xcalloc(1, sizeof(*t) + TABLE_BYTES_PER_CELL * g.k * g.m);

	gf_gen_cauchy1_matrix(t->matrix, g.k + g.m, g.k);
	ec_init_tables(g.k, g.m, t->matrix + g.k * g.k, t->parity);
	return t;
}

static struct tables *tables_of(struct geometry g)
{
	_Atomic(struct tables *) *slot = &cache[g.k][g.m];
	struct tables *t = atomic_load(slot), *none = NULL;

	if (t)
		return t;
	t = tables_make(g);
	if (atomic_compare_exchange_strong(slot, &none, t))
		return t;
	free(t); /* another thread was quicker */
	return none;
}

/* ISA-L's prototypes lack const, but it only reads the sources and the tables. */
static void multiply(uint32_t len, unsigned rows, unsigned k, uint8_t *tables,
		     const uint8_t *const *in, uint8_t *const *out)
{
	uint8_t *src[CODEC_MAX_K], *dst[CODEC_MAX_WIDTH];

	ASSERT(len <= INT_MAX);
	for (unsigned i = 0; i < k; i++)
		src[i] = (uint8_t *)(uintptr_t)in[i];
	for (unsigned i = 0; i < rows; i++)
		dst[i] = out[i];
	ec_encode_data((int)len, (int)k, (int)rows, tables, src, dst);
}

void codec_encode(struct geometry g, uint32_t fragment_len, const uint8_t *const *data,
		  uint8_t *const *parity)
{
	ASSERT(geometry_valid(g));
	if (g.m == 0 || fragment_len == 0)
		return;
	if (g.k == 1) {
		for (unsigned i = 0; i < g.m; i++)
			memcpy(parity[i], data[0], fragment_len);
		return;
	}
	multiply(fragment_len, g.m, g.k, tables_of(g)->parity, data, parity);
}

/*
 * Rows that give the wanted fragments from the k survivors `from`: the data is inverse * survivors,
 * and fragment i is matrix[i] * data. Returns how many rows, 0 when there is nothing to do.
 */
static unsigned decode_rows(struct geometry g, const uint8_t *matrix, const uint8_t *from,
			    const bool *want, uint8_t *rows)
{
	uint8_t survivors[CODEC_MAX_K * CODEC_MAX_K], inverse[CODEC_MAX_K * CODEC_MAX_K];
	unsigned n = 0, k = g.k;
	int rc;

	for (unsigned r = 0; r < k; r++)
		memcpy(survivors + r * k, matrix + from[r] * k, k);
	rc = gf_invert_matrix(survivors, inverse, (int)k);
	ASSERT(rc == 0); /* a Cauchy matrix has no singular submatrix */
	for (unsigned i = 0; i < k + g.m; i++) {
		if (!want[i])
			continue;
		for (unsigned c = 0; c < k; c++) {
			uint8_t sum = 0;

			for (unsigned j = 0; j < k; j++)
				sum ^= gf_mul(matrix[i * k + j], inverse[j * k + c]);
			rows[n * k + c] = sum;
		}
		n++;
	}
	return n;
}

static void decode_copies(struct geometry g, uint32_t len, uint8_t *const *frags, unsigned from,
			  const bool *want)
{
	for (unsigned i = 0; i < 1u + g.m; i++)
		if (want[i])
			memcpy(frags[i], frags[from], len);
}

int codec_decode(struct geometry g, uint32_t fragment_len, uint8_t *const *frags, const bool *have,
		 const bool *want)
{
	uint8_t rows[CODEC_MAX_WIDTH * CODEC_MAX_K], from[CODEC_MAX_K];
	uint8_t tables[CODEC_MAX_WIDTH * CODEC_MAX_K * TABLE_BYTES_PER_CELL];
	const uint8_t *in[CODEC_MAX_K];
	uint8_t *out[CODEC_MAX_WIDTH];
	unsigned found = 0, wanted = 0, width;

	ASSERT(geometry_valid(g));
	width = (unsigned)g.k + g.m;
	for (unsigned i = 0; i < width; i++) {
		ASSERT(!(have[i] && want[i]));
		if (want[i])
			out[wanted++] = frags[i];
		if (!have[i] || found == g.k)
			continue;
		from[found] = (uint8_t)i;
		in[found++] = frags[i];
	}
	if (found < g.k)
		return DFS_EIO;
	if (wanted == 0 || fragment_len == 0)
		return 0;
	if (g.k == 1) {
		decode_copies(g, fragment_len, frags, from[0], want);
		return 0;
	}
	(void)decode_rows(g, tables_of(g)->matrix, from, want, rows);
	ec_init_tables(g.k, (int)wanted, rows, tables);
	multiply(fragment_len, wanted, g.k, tables, in, out);
	return 0;
}
