/* SPDX-License-Identifier: Apache-2.0 */
/* Counting of a disk's calls: relaxed additions, so that figures of one moment may differ by calls that are just ending. */
#include "dev/counts.h"

#include "base/err.h"
#include "dev/deadline_internal.h"

static void add(uint64_t *to, uint64_t n) { (void)__atomic_fetch_add(to, n, __ATOMIC_RELAXED); }
static uint64_t get(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }

static bool is_fault(int result)
{
	switch (result) {
	case 0:
	case DFS_ENOENT:
	case DFS_EEXIST:
	case DFS_ENOSPC:
	case DFS_EBUSY:
	case DFS_ENOTSUP:
	case DFS_ELOCKED:
	case DFS_EEND:
	case DFS_ELATE:
		return false;
	default:
		return true;
	}
}

void dev_count(struct dev_counts *c, enum dev_count_kind kind, uint64_t bytes, uint64_t ns,
	       int result)
{
	struct dev_count *of = &c->of[kind];
	unsigned i = 0;

	while (i + 1 < DEV_COUNT_BUCKETS && ns > dev_count_limit_ns(i))
		i++;
	add(&of->calls, 1);
	add(&of->ns, ns);
	add(&of->latencies[i], 1);
	if (!result)
		add(&of->bytes, bytes);
	else if (is_fault(result))
		add(&of->errors, 1);
}

void counts_copy(const struct dev_counts *c, struct dev_counts *ret)
{
	for (unsigned k = 0; k < DEV_COUNT_KINDS; k++) {
		const struct dev_count *from = &c->of[k];
		struct dev_count *to = &ret->of[k];

		to->calls = get(&from->calls);
		to->errors = get(&from->errors);
		to->bytes = get(&from->bytes);
		to->ns = get(&from->ns);
		for (unsigned i = 0; i < DEV_COUNT_BUCKETS; i++)
			to->latencies[i] = get(&from->latencies[i]);
	}
}

/* What a request counts as. *ret_bytes: those it moved. */
static enum dev_count_kind kind_of(const struct request *r, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	switch (r->op) {
	case REQ_READ:
		*ret_bytes = r->got;
		return DEV_COUNT_READ;
	case REQ_WRITE:
		for (int i = 0; i < r->iovcnt; i++)
			*ret_bytes += r->iov[i].iov_len;
		return DEV_COUNT_WRITE;
	case REQ_REPLACE:
		*ret_bytes = r->iov->iov_len;
		return DEV_COUNT_WRITE;
	case REQ_SYNC:
	case REQ_SYNC_DIR:
		return DEV_COUNT_SYNC;
	default:
		return DEV_COUNT_OTHER;
	}
}

void counts_request(struct deadline *d, const struct request *r, uint64_t ns)
{
	uint64_t bytes;
	enum dev_count_kind kind;

	if (r->op == REQ_CALL || r->op == REQ_PREFETCH || r->op == REQ_CLOSE)
		return;
	kind = kind_of(r, &bytes);
	dev_count(&d->counts, kind, bytes, ns, r->result);
}
