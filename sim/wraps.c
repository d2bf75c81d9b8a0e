/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulator makes smaller, or more often, than any pool needs, so that a short history meets it. The
 * engine knows nothing of it: the linker puts these functions between its files (-Wl,--wrap).
 */
#include "sim/wraps.h"

#include "base/env.h"

/* Checkpoints after little. */
int __wrap_meta_open(const struct meta_config *cfg, struct meta **ret_meta,
		     struct meta_recovery *ret_recovery)
{
	struct meta_config small = *cfg;

	if (sim_run_now) {
		small.checkpoint_bytes = sim_run_now->meta_checkpoint_bytes;
		small.checkpoint_bytes = MIN(small.checkpoint_bytes, cfg->checkpoint_bytes);
		small.buffer_bytes = sim_run_now->meta_buffer_bytes;
	}
	return __real_meta_open(&small, ret_meta, ret_recovery);
}

/* Segments end early, so that their space comes back while the seed still runs. */
int __wrap_segment_reserve(struct disk *d, uint32_t len, struct segment_addr *ret_addr)
{
	struct run *r = sim_run_now;

	if (r && r->segment_closes_one_in && rng_one_in(&r->segment_rng, r->segment_closes_one_in))
		segment_close_open(d);
	return __real_segment_reserve(d, len, ret_addr);
}

/* The pool's background has it to itself; here clients give space back, too. */
int __wrap_extent_reclaim(struct extent_store *s, unsigned max, unsigned *ret_done)
{
	static struct env_mutex one_at_a_time;

	ENV_LOCKED(&one_at_a_time);
	return __real_extent_reclaim(s, max, ret_done);
}

/* At once, and not only every two seconds. */
void sim_reclaim(struct run *r)
{
	unsigned done;

	if (r->reclaims_one_in && rng_one_in(&r->segment_rng, r->reclaims_one_in))
		(void)!__wrap_extent_reclaim(pool_extents(r->pool), 100, &done);
}
