/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transitions of docs/DESIGN.md, "Health" (K1, K2). No locks. */
#include "pool/health_rules.h"

#define TAKES_DATA (FROM_HEALTHY | FROM_OPEN | FROM_AVOIDED | FROM_SUSPECT)
#define WORKS (TAKES_DATA | FROM_BARRED | FROM_ORDERED)
#define CABLE "Check the disk and its cable"

static const struct health_rule rules[] = {
	{DISK_READ_ERROR, FROM_HEALTHY, DISK_DEGRADED,
	 "it still takes new data; what can't be read there is read from others and written anew",
	 CABLE},
	{DISK_FULL, FROM_HEALTHY, DISK_DEGRADED, "it takes what it still has room for",
	 "Make room on its filesystem: something else fills it"},
	{DISK_ROT, FROM_HEALTHY | FROM_OPEN, DISK_DEGRADED,
	 "new data goes elsewhere as far as there are other disks; what is wrong there is written anew",
	 CABLE},
	{DISK_SELF_TEST, FROM_HEALTHY | FROM_OPEN, DISK_DEGRADED,
	 "new data goes elsewhere as far as there are other disks", "Replace the disk"},
	{DISK_WRITE_ERROR, TAKES_DATA, DISK_DEGRADED,
	 "it takes no new data until it has passed some trials", CABLE},
	{DISK_READ_ONLY, TAKES_DATA, DISK_DEGRADED,
	 "it takes no new data until it can be written again",
	 "Find out why its filesystem is read-only, and mount it writable"},
	{DISK_NO_ACCESS, TAKES_DATA, DISK_DEGRADED,
	 "it takes no new data until it can be written again",
	 "See whose its dynamicfs directory and the files there are"},
	{DISK_SLOW, FROM_HEALTHY | FROM_OPEN, DISK_SUSPECT,
	 "others are read instead, and new data goes elsewhere, as far as there are others", CABLE},
	{DISK_NO_ANSWER, TAKES_DATA, DISK_SUSPECT,
	 "it takes no new data, and others are read instead, until it answers", CABLE},
	{DISK_SYNC_FAILED, WORKS | FROM_DRAINING, DISK_FAILED,
	 "it is not used any more until it has passed some trials", CABLE},
	{DISK_GONE, WORKS | FROM_DRAINING, DISK_FAILED, "it is not used any more until it is back",
	 CABLE},
	{DISK_NOT_ITSELF, WORKS | FROM_DRAINING, DISK_FAILED,
	 "it is not used any more until the next mount",
	 "See what has become of it: something else was put there, or it was used elsewhere"},
	{DISK_PROVED, FROM_OPEN | FROM_AVOIDED | FROM_BARRED | FROM_SUSPECT | FROM_FAILED,
	 DISK_HEALTHY, "it is used again", ""},
	{DISK_ORDER_HEALTHY, FROM_OPEN | FROM_AVOIDED | FROM_BARRED | FROM_SUSPECT | FROM_ORDERED,
	 DISK_HEALTHY, "it is used again", ""},
	{DISK_ORDER_DEGRADED, WORKS, DISK_DEGRADED, "it takes no new data until it is told to", ""},
	{DISK_ORDER_SUSPECT, WORKS, DISK_SUSPECT,
	 "it takes no new data and is read last, until it is told to", ""},
	{DISK_ORDER_DRAIN, WORKS, DISK_DRAINING, "it is emptied", ""},
	{DISK_ORDER_FAIL, WORKS | FROM_DRAINING | FROM_FAILED, DISK_FAILED,
	 "it is not used any more", ""},
};

static const struct {
	const char *name;
	unsigned trials; /* that lead back from it */
} events[DISK_EVENTS] = {
	[DISK_NO_EVENT] = {"", 0},
	[DISK_READ_ERROR] = {"read error", 120},
	[DISK_WRITE_ERROR] = {"write error", 3},
	[DISK_READ_ONLY] = {"filesystem read-only", 2},
	[DISK_NO_ACCESS] = {"no permission", 2},
	[DISK_FULL] = {"filesystem full", 1},
	[DISK_ROT] = {"checksum errors", 120},
	[DISK_SLOW] = {"slow", 12},
	[DISK_NO_ANSWER] = {"no answer", 1},
	[DISK_SYNC_FAILED] = {"sync failed", 3},
	[DISK_GONE] = {"gone", 3},
	[DISK_NOT_ITSELF] = {"not itself", 0},
	[DISK_SELF_TEST] = {"self-test", 0},
	[DISK_PROVED] = {"trials passed", 0},
	[DISK_ORDER_HEALTHY] = {"order", 0},
	[DISK_ORDER_DEGRADED] = {"order", 0},
	[DISK_ORDER_SUSPECT] = {"order", 0},
	[DISK_ORDER_DRAIN] = {"order", 0},
	[DISK_ORDER_FAIL] = {"order", 0},
};

const struct health_rule *health_rules(unsigned *ret_count)
{
	*ret_count = ARRAY_SIZE(rules);
	return rules;
}

enum health_from health_from(struct disk_health h)
{
	bool ordered = h.event >= DISK_ORDER_HEALTHY;

	switch (h.state) {
	case DISK_HEALTHY:
		return FROM_HEALTHY;
	case DISK_DEGRADED:
		if (ordered)
			return FROM_ORDERED;
		if (h.event == DISK_ROT || h.event == DISK_SELF_TEST)
			return FROM_AVOIDED;
		return h.event == DISK_READ_ERROR || h.event == DISK_FULL ? FROM_OPEN : FROM_BARRED;
	case DISK_SUSPECT:
		return ordered ? FROM_ORDERED : FROM_SUSPECT;
	case DISK_DRAINING:
		return FROM_DRAINING;
	case DISK_FAILED:
		break;
	}
	return FROM_FAILED;
}

const struct health_rule *health_rule(struct disk_health from, enum disk_event event)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].event == event && (rules[i].from & health_from(from)))
			return &rules[i];
	return NULL;
}

const char *health_event_name(enum disk_event event)
{
	return event < DISK_EVENTS ? events[event].name : "";
}

enum disk_event health_event_of(int err, bool is_read)
{
	switch (err) {
	case DFS_ETIMEDOUT:
		return DISK_NO_ANSWER;
	case DFS_EGONE:
		return DISK_GONE;
	case DFS_EROFS:
		return DISK_READ_ONLY;
	case DFS_EACCES:
		return DISK_NO_ACCESS;
	case DFS_EIO:
		return is_read ? DISK_READ_ERROR : DISK_WRITE_ERROR;
	default:
		return DISK_NO_EVENT;
	}
}

unsigned health_trials(struct disk_health h)
{
	if (h.state == DISK_HEALTHY || h.state == DISK_DRAINING || h.event >= DISK_EVENTS)
		return 0;
	return events[h.event].trials;
}
