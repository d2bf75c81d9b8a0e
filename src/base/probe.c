/* SPDX-License-Identifier: Apache-2.0 */
/* The program's probes: see probe.h. No locks; counters are only added to. */
#include "base/probe.h"

#include <stddef.h>

/* The linker names the section's ends; a program without probes has neither. */
extern struct probe __start_dfs_probes[] __attribute__((weak));
extern struct probe __stop_dfs_probes[] __attribute__((weak));

void probes_each(void (*fn)(void *ctx, struct probe *p), void *ctx)
{
	for (struct probe *p = __start_dfs_probes; p && p < __stop_dfs_probes; p++)
		fn(ctx, p);
}
