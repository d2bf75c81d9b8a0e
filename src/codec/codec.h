/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reed-Solomon over GF(2^8) by ISA-L (systematic, Cauchy matrix: any k of the k+m fragments give
 * the data back). k = 1 is plain copies: every fragment is the data. Pure functions; thread-safe.
 */
#ifndef DFS_CODEC_CODEC_H
#define DFS_CODEC_CODEC_H

#include "base/err.h"
#include "base/policy.h"
#include "base/types.h"

#define CODEC_MAX_K 16
#define CODEC_MAX_M 8
#define CODEC_MAX_WIDTH (CODEC_MAX_K + CODEC_MAX_M)
#define CODEC_FRAGMENT_ALIGN 64u

bool geometry_valid(struct geometry g);
/* Bytes of each fragment of an extent of len bytes: ceil(len/k), rounded up to 64 when k > 1. */
uint32_t codec_fragment_len(struct geometry g, uint32_t extent_len);
/*
 * data: k pointers, parity: m pointers, each of fragment_len bytes (the caller pads the data with
 * zeros). For k == 1 the parity buffers become copies.
 */
void codec_encode(struct geometry g, uint32_t fragment_len, const uint8_t *const *data,
		  uint8_t *const *parity);
/*
 * Rebuilds fragments. frags: k+m pointers of fragment_len bytes; have[i] says which hold verified
 * bytes; want[i] which to compute (have[i] must be false for those; frags[i] is the output).
 * DFS_EIO when fewer than k are there.
 */
MUST_USE int codec_decode(struct geometry g, uint32_t fragment_len, uint8_t *const *frags,
			  const bool *have, const bool *want);

#endif
