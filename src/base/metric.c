/* SPDX-License-Identifier: Apache-2.0 */
/* The table of all figures, and the cells of those that are counted. No locks. */
#include "base/metric.h"

const struct metric metrics[METRIC_COUNT] = {
#define X(id, n, t, u, l, m)                                                                       \
	[METRIC_##id] = {.name = n, .unit = u, .label = l, .meaning = m, .type = METRIC_##t},
	METRICS(X)
#undef X
};
uint64_t metric_cells[METRIC_COUNT];

const char *const metric_fuse_names[METRIC_FUSE_KINDS] = {
#define X(name) [METRIC_FUSE_##name] = #name,
	METRIC_FUSE_OPERATIONS_OF(X)
#undef X
};
uint64_t metric_fuse_cells[METRIC_FUSE_KINDS];
