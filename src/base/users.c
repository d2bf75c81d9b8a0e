/* SPDX-License-Identifier: Apache-2.0 */
/* Users' calls: counted at their beginning and end. Lock: users.lock, a leaf. */
#include "base/users.h"

#include "base/types.h"

void users_init(struct users *u)
{
	*u = (struct users){.under_way = 0};
	env_mutex_init(&u->lock);
}

void users_release(struct users *u) { env_mutex_release(&u->lock); }

void users_enter(struct users *u)
{
	uint64_t now = env_now_ns();
	ENV_LOCKED(&u->lock);

	if (u->under_way++ == 0)
		u->since_ns = now;
}

void users_leave(struct users *u)
{
	uint64_t now = env_now_ns();
	ENV_LOCKED(&u->lock);

	ASSERT(u->under_way > 0);
	u->last_ns = now;
	if (--u->under_way == 0)
		u->busy_ns += now - MIN(u->since_ns, now);
}

void users_load(struct users *u, struct users_load *ret)
{
	uint64_t now = env_now_ns();
	ENV_LOCKED(&u->lock);

	*ret = (struct users_load){.busy_ns = u->busy_ns};
	if (u->under_way)
		ret->busy_ns += now - MIN(u->since_ns, now);
	else
		ret->is_quiet = !u->last_ns || now >= u->last_ns + USERS_QUIET_NS;
}
