/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs after RFC 9562: version 4 for pools and disks, version 7 for extents. Version 7 keys are
 * strictly increasing within a process, also when the wall clock stands still or steps back, so that
 * extents sort in the order of their births. One atomic word, no locks.
 */
#include "base/types.h"

#include <stdio.h>

#include "base/env.h"
#include "base/err.h"
#include "base/uuid_clock.h"

/* The last time given out: milliseconds since 1970 in the upper 52 bits, 1/4096 ms in the lower 12. */
static uint64_t last_tick;

void uuid_format(const struct uuid *u, char text[UUID_TEXT_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";
	char *t = text;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*t++ = '-';
		*t++ = digits[u->b[i] >> 4];
		*t++ = digits[u->b[i] & 15];
	}
	*t = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int uuid_parse(const char *text, struct uuid *ret_uuid)
{
	struct uuid u;

	/* A NUL is never a hex digit nor a dash: nothing past the end of a short text is read. */
	for (int i = 0; i < 16; i++) {
		int high, low;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
			return DFS_EINVAL;
		high = hex_value(text[0]);
		if (high < 0)
			return DFS_EINVAL;
		low = hex_value(text[1]);
		if (low < 0)
			return DFS_EINVAL;
		u.b[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return DFS_EINVAL;
	*ret_uuid = u;
	return 0;
}

static void set_version(struct uuid *u, uint8_t version)
{
	u->b[6] = (uint8_t)((u->b[6] & 0x0f) | version << 4);
	u->b[8] = (u->b[8] & 0x3f) | 0x80;
}

void uuid_random(struct uuid *ret_uuid)
{
	env_random(ret_uuid->b, sizeof(ret_uuid->b));
	set_version(ret_uuid, 4);
}

void uuid_clock_reset(void) { __atomic_store_n(&last_tick, 0, __ATOMIC_RELAXED); }

void uuid_clock_follow(const struct uuid *u)
{
	uint64_t last = __atomic_load_n(&last_tick, __ATOMIC_RELAXED), tick = uuid_tick_of(u);

	while (tick > last && !__atomic_compare_exchange_n(&last_tick, &last, tick, false,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* The wall clock in ticks of 1/4096 ms, or one past the last tick where the clock has not moved, or has been
 * set back. Before 1970 is 1970. */
static uint64_t next_tick(void)
{
	uint64_t wall_ns = (uint64_t)MAX((int64_t)env_wall_ns(), 0);
	uint64_t now = (wall_ns / 1000000) << 12 | ((wall_ns % 1000000) << 12) / 1000000;
	uint64_t last = __atomic_load_n(&last_tick, __ATOMIC_RELAXED);
	uint64_t tick;

	do {
		tick = now > last ? now : last + 1;
	} while (!__atomic_compare_exchange_n(&last_tick, &last, tick, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return tick;
}

uint64_t uuid_tick(void) { return next_tick(); }

uint64_t uuid_tick_of(const struct uuid *u)
{
	uint64_t tick = 0;

	if (u->b[6] >> 4 != 7)
		return 0;
	for (int i = 0; i < 6; i++)
		tick = tick << 8 | u->b[i];
	return tick << 12 | (uint64_t)(u->b[6] & 0x0f) << 8 | u->b[7];
}

void uuid_at_tick(uint64_t tick, struct uuid *ret_uuid)
{
	uint64_t ms = tick >> 12;

	/* RFC 9562, section 6.2, method 3: the time's fraction in the leftmost random bits. */
	for (int i = 0; i < 6; i++)
		ret_uuid->b[i] = (uint8_t)(ms >> (40 - 8 * i));
	ret_uuid->b[6] = (uint8_t)(tick >> 8 & 0x0f);
	ret_uuid->b[7] = (uint8_t)tick;
	env_random(ret_uuid->b + 8, 8);
	set_version(ret_uuid, 7);
}

void uuid_time_ordered(struct uuid *ret_uuid) { uuid_at_tick(next_tick(), ret_uuid); }
