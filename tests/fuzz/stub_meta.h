/* SPDX-License-Identifier: Apache-2.0 */
/* A metadata store of one record, for the targets that fuzz the schema. */
#ifndef DFS_TESTS_FUZZ_STUB_META_H
#define DFS_TESTS_FUZZ_STUB_META_H

#include "meta/internal.h"

extern uint64_t stub_generation;	/* the birth that puts write */
extern struct buf stub_key, stub_value; /* the one record there is */
struct meta *stub_meta(void);
/* The last put of t. */
void stub_last_put(struct meta_txn *t, struct journal_op *ret_op);

#endif
