/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks an extent's fragments go to, and how much fits: pure functions over a snapshot of the
 * disks, used alike by placement, statfs, status and add-disk --dry-run (P6). Greedy by free space
 * is optimal for distinct-disk stripes over mixed sizes (docs/DESIGN.md, "Placement and space").
 */
#ifndef DFS_PLACE_PLACE_H
#define DFS_PLACE_PLACE_H

#include "base/err.h"
#include "base/types.h"

struct place_disk {
	disk_id id;
	uint64_t free_bytes;
	const char *domain; /* "" or NULL: a domain of its own */
	bool eligible;	    /* healthy and present */
};
struct place_geometry {
	uint8_t k, m;
};

/*
 * Picks width distinct eligible disks in distinct domains, most free space first (ties: lower id
 * rotated by `salt`, so that equal disks share the load), each with at least need_bytes free, none
 * of exclude. *ret_ids has room for width. DFS_ENOSPC when fewer fit.
 */
MUST_USE int place_pick(const struct place_disk *disks, unsigned count, unsigned width,
			uint64_t need_bytes, const disk_id *exclude, unsigned exclude_count,
			uint32_t salt, disk_id *ret_ids);
/* May that disk have a fragment of so many bytes, beside those on the disks `others`? It is eligible, has room, holds none of
 * them, and its domain holds none either. */
bool place_allows(const struct place_disk *disks, unsigned count, disk_id id, uint64_t need_bytes,
		  const disk_id *others, unsigned other_count);
/* Largest number of stripes of `width` fragments of fragment_bytes that fit: the largest N with
 * sum over domains of min(slots, N) >= width * N. 0 when fewer than width domains have room. */
uint64_t place_stripes(const struct place_disk *disks, unsigned count, unsigned width,
		       uint64_t fragment_bytes);
/*
 * Divides bytes among count takers as evenly as limits (NULL: none) let it: what one can't take goes to the
 * others. For directories that share a filesystem this counts its space once, and loses nothing: N stripes
 * take min(F, g*N) slots from g disks that share F, and so they do from g disks that have F/g each.
 */
void place_divide(uint64_t bytes, const uint64_t *limits, unsigned count, uint64_t *ret_shares);
/* How many domains have an eligible disk with so much room: so many fail apart. */
unsigned place_domains(const struct place_disk *disks, unsigned count, uint64_t need_bytes);
/*
 * k of these fragments are needed; those with an equal number lie in one domain. How many more domains may be
 * lost, whichever they are? Negative: there are fewer than k.
 */
int place_losses_left(const uint32_t *domains, unsigned count, unsigned k);
/*
 * Takes bytes off the eligible disks' free space as stripes of `width` fragments would that add up to them:
 * the domains with the most room give most, and none more than bytes / width (fewer domains than width: than
 * their even share); within a domain likewise its disks. ret_taken[i]: off which disk how much.
 * Returns what could not be taken.
 */
uint64_t place_take(struct place_disk *disks, unsigned count, unsigned width, uint64_t bytes,
		    uint64_t *ret_taken);
/* Takes off what so many stripes may take: of each domain a fragment of each, or all that it has. */
void place_take_stripes(struct place_disk *disks, unsigned count, uint64_t stripes,
			uint64_t fragment_bytes);
/*
 * The widest geometry of equal tolerance that the eligible disks (with at least need_bytes(width)
 * free) allow: wanted, then k-1+m, ... 2+m, then m+1 copies, then fewer copies, down to 1 copy.
 * fragment_bytes_for: bytes per fragment when an extent of extent_bytes is cut in k.
 * DFS_ENOSPC when not even one copy fits.
 */
MUST_USE int place_fit(const struct place_disk *disks, unsigned count, struct place_geometry wanted,
		       uint64_t extent_bytes, struct place_geometry *ret_geometry);

#endif
