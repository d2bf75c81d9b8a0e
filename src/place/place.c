/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where fragments go and how much fits (P6). Pure functions, no state, no locks.
 *
 * Stripes take one fragment from each of `width` different domains. Always taking the domains with
 * the most room left reaches the bound N = max { N : sum over domains of min(slots, N) >= width*N }:
 * no domain can hold more than one fragment of each of N stripes, so N stripes need that sum; and
 * while it holds, the fullest-first choice keeps it true for N-1 and the rest (McNaughton's wrap
 * around rule for scheduling gives the same bound). A domain's slots are those of all its disks
 * together, since each stripe may use any one of them.
 */
#include "place/place.h"

#include <stdlib.h>

#define STACK_DISKS 64u
/* A record is more than its payload: header, hashes and padding. */
#define RECORD_OVERHEAD 4096u
#define FRAGMENT_ALIGN 64u

typedef unsigned __int128 u128;

/* What a domain's usable disks have left together; slots count, bytes settle ties. */
struct room {
	uint64_t slots, bytes;
};

/* A disk as the choice sees it. */
struct candidate {
	const struct place_disk *disk;
	unsigned domain; /* index of the domain's first disk in the input */
	unsigned turn;	 /* order among equals */
	bool is_usable, is_taken;
};

static bool same_domain(const struct place_disk *a, const struct place_disk *b)
{
	return a == b || (a->domain && b->domain && *a->domain && !strcmp(a->domain, b->domain));
}

/* Index of the first disk of the disk's domain: names the domain. */
static unsigned domain_of(const struct place_disk *disks, unsigned i)
{
	if (!disks[i].domain || !*disks[i].domain)
		return i;
	for (unsigned j = 0; j < i; j++)
		if (same_domain(disks + j, disks + i))
			return j;
	return i;
}

static bool is_excluded(disk_id id, const disk_id *exclude, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (exclude[i].v == id.v)
			return true;
	return false;
}

/* Position of the disk in the order of ids, rotated. */
static unsigned turn_of(const struct place_disk *disks, unsigned count, unsigned i, uint32_t salt)
{
	unsigned rank = 0;

	for (unsigned j = 0; j < count; j++)
		rank += disks[j].id.v < disks[i].id.v;
	return (rank + count - salt % count) % count;
}

static uint64_t add_sat(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static void room_add(struct room *r, uint64_t free_bytes, uint64_t need_bytes)
{
	r->slots = add_sat(r->slots, free_bytes / MAX(need_bytes, 1u));
	r->bytes = add_sat(r->bytes, free_bytes);
}

/* Is a better than b? Domains by all they have left, disks of a domain by their own, then turns. */
static bool better(const struct candidate *a, const struct candidate *b, const struct room *room)
{
	const struct room *x = &room[a->domain], *y = &room[b->domain];

	if (x->slots != y->slots)
		return x->slots > y->slots;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes;
	if (a->domain == b->domain && a->disk->free_bytes != b->disk->free_bytes)
		return a->disk->free_bytes > b->disk->free_bytes;
	return a->turn < b->turn;
}

static unsigned pick_from(struct candidate *c, unsigned count, unsigned width,
			  const struct room *room, disk_id *ret_ids)
{
	unsigned n = 0;

	while (n < width) {
		struct candidate *best = NULL;

		for (unsigned i = 0; i < count; i++)
			if (c[i].is_usable && !c[c[i].domain].is_taken &&
			    (!best || better(&c[i], best, room)))
				best = &c[i];
		if (!best)
			break;
		c[best->domain].is_taken = true;
		ret_ids[n++] = best->disk->id;
	}
	return n;
}

/*
 * Excluded disks hold the extent's other fragments, so their domains count as taken. One that is
 * not eligible may be about to lose its fragment (drained, failed): its domain is used rather than
 * none at all.
 */
static int pick_with(struct candidate *c, struct room *room, const struct place_disk *disks,
		     unsigned count, unsigned width, uint64_t need_bytes, const disk_id *exclude,
		     unsigned exclude_count, uint32_t salt, disk_id *ret_ids)
{
	for (unsigned i = 0; i < count; i++) {
		bool excluded = is_excluded(disks[i].id, exclude, exclude_count);

		room[i] = (struct room){0, 0};
		c[i].disk = &disks[i];
		c[i].domain = domain_of(disks, i);
		c[i].turn = turn_of(disks, count, i, salt);
		c[i].is_usable = disks[i].eligible && !excluded &&
				 disks[i].free_bytes >= need_bytes;
		if (c[i].is_usable)
			room_add(&room[c[i].domain], disks[i].free_bytes, need_bytes);
	}
	for (int strict = 1; strict >= 0; strict--) {
		for (unsigned i = 0; i < count; i++)
			c[i].is_taken = false;
		for (unsigned i = 0; i < count; i++)
			if (is_excluded(disks[i].id, exclude, exclude_count) &&
			    (strict || disks[i].eligible))
				c[c[i].domain].is_taken = true;
		if (pick_from(c, count, width, room, ret_ids) == width)
			return 0;
	}
	return DFS_ENOSPC;
}

int place_pick(const struct place_disk *disks, unsigned count, unsigned width, uint64_t need_bytes,
	       const disk_id *exclude, unsigned exclude_count, uint32_t salt, disk_id *ret_ids)
{
	struct candidate few[STACK_DISKS];
	struct room few_room[STACK_DISKS];
	FREE struct candidate *many = NULL;
	FREE struct room *many_room = NULL;
	FREE disk_id *ids = NULL;
	int rc;

	if (width > count)
		return DFS_ENOSPC;
	if (width == 0)
		return 0;
	if (count > STACK_DISKS) {
		many = xcalloc(count, sizeof(*many));
		many_room = xcalloc(count, sizeof(*many_room));
	}
	ids = xcalloc(width, sizeof(*ids));
	rc = pick_with(many ? many : few, many_room ? many_room : few_room, disks, count, width,
		       need_bytes, exclude, exclude_count, salt, ids);
	if (!rc)
		memcpy(ret_ids, ids, width * sizeof(*ids));
	return rc;
}

bool place_allows(const struct place_disk *disks, unsigned count, disk_id id, uint64_t need_bytes,
		  const disk_id *others, unsigned other_count)
{
	const struct place_disk *to = NULL;

	for (unsigned i = 0; i < count; i++)
		if (disks[i].id.v == id.v)
			to = &disks[i];
	if (!to || !to->eligible || to->free_bytes < need_bytes)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (same_domain(to, &disks[i]) && is_excluded(disks[i].id, others, other_count))
			return false;
	return true;
}

/* ---- capacity ---- */

/* Slots of each domain, at the index of its first disk. */
static void domain_slots(const struct place_disk *disks, unsigned count, uint64_t fragment_bytes,
			 uint64_t *slots)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned at = domain_of(disks, i);

		slots[i] = 0;
		if (disks[i].eligible)
			slots[at] = add_sat(slots[at], disks[i].free_bytes / fragment_bytes);
	}
}

static bool stripes_fit(const uint64_t *slots, unsigned count, unsigned width, uint64_t n)
{
	u128 sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += MIN(slots[i], n);
	return sum >= (u128)width * n;
}

/* The sum is concave in N and both sides start at 0: what fits is an interval from 0. */
static uint64_t stripes_max(const uint64_t *slots, unsigned count, unsigned width)
{
	uint64_t lo = 0, hi = 0;
	u128 total = 0;

	for (unsigned i = 0; i < count; i++)
		total += slots[i];
	total /= width;
	hi = total > UINT64_MAX - 1 ? UINT64_MAX - 1 : (uint64_t)total;
	while (lo < hi) {
		uint64_t mid = hi - (hi - lo) / 2;

		if (stripes_fit(slots, count, width, mid))
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

uint64_t place_stripes(const struct place_disk *disks, unsigned count, unsigned width,
		       uint64_t fragment_bytes)
{
	uint64_t few[STACK_DISKS];
	FREE uint64_t *many = NULL;
	uint64_t *slots = few;

	if (width == 0 || width > count || fragment_bytes == 0)
		return 0;
	if (count > STACK_DISKS)
		slots = many = xcalloc(count, sizeof(*many));
	domain_slots(disks, count, fragment_bytes, slots);
	return stripes_max(slots, count, width);
}

/* ---- sharing and taking ---- */

static uint64_t limit_of(const uint64_t *limits, unsigned i)
{
	return limits ? limits[i] : UINT64_MAX;
}

void place_divide(uint64_t bytes, const uint64_t *limits, unsigned count, uint64_t *ret_shares)
{
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++) {
		ret_shares[i] = 0;
		left += limit_of(limits, i) > 0;
	}
	/* each round fills somebody up, or gives out all but less than one byte for each */
	while (left > 0 && bytes >= left) {
		uint64_t each = bytes / left;

		left = 0;
		for (unsigned i = 0; i < count; i++) {
			uint64_t more = MIN(each, limit_of(limits, i) - ret_shares[i]);

			ret_shares[i] += more;
			bytes -= more;
			left += ret_shares[i] < limit_of(limits, i);
		}
	}
}

/* What rooms give when each keeps `level`, and none gives more than `most`. */
static u128 given_above(const uint64_t *room, unsigned count, uint64_t level, uint64_t most)
{
	u128 sum = 0;

	for (unsigned i = 0; i < count; i++)
		if (room[i] > level)
			sum += MIN(room[i] - level, most);
	return sum;
}

/* How much each room gives of `amount`: where there is most, most; none more than `most`; in all what there is. */
static void give_level(const uint64_t *room, unsigned count, uint64_t most, uint64_t amount,
		       uint64_t *ret_given)
{
	uint64_t lo = 0, hi = 0;

	for (unsigned i = 0; i < count; i++)
		hi = MAX(hi, room[i]);
	while (lo < hi) { /* the highest level that still gives enough */
		uint64_t mid = hi - (hi - lo) / 2;

		if (given_above(room, count, mid, most) >= amount)
			lo = mid;
		else
			hi = mid - 1;
	}
	for (unsigned i = 0; i < count; i++) {
		ret_given[i] = room[i] > lo ? MIN(MIN(room[i] - lo, most), amount) : 0;
		amount -= ret_given[i];
	}
}

/* The disks by domain. */
struct by_domain {
	const struct place_disk *disks;
	unsigned count;
	const unsigned *domain; /* of each disk, as domain_of() */
	uint64_t unit;		/* what is counted: slots of so many bytes */
};

static unsigned *domains_new(const struct place_disk *disks, unsigned count)
{
	unsigned *domain = xcalloc(count + 1, sizeof(*domain));

	for (unsigned i = 0; i < count; i++)
		domain[i] = domain_of(disks, i);
	return domain;
}

static uint64_t units_of(const struct by_domain *b, unsigned i)
{
	return b->disks[i].eligible ? b->disks[i].free_bytes / b->unit : 0;
}

/* What a domain gives comes from its disks with most room, for these are the ones that placement takes. */
static void give_within(const struct by_domain *b, unsigned domain, uint64_t amount,
			uint64_t *ret_given)
{
	FREE unsigned *at = xcalloc(b->count, sizeof(*at));
	FREE uint64_t *rooms = xcalloc(2 * (size_t)b->count, sizeof(*rooms));
	uint64_t *given = rooms + b->count;
	unsigned n = 0;

	for (unsigned i = domain; i < b->count; i++) {
		if (b->domain[i] != domain)
			continue;
		rooms[n] = units_of(b, i);
		at[n++] = i;
	}
	give_level(rooms, n, UINT64_MAX, amount, given);
	for (unsigned i = 0; i < n; i++)
		ret_given[at[i]] = given[i];
}

/* A domain gives like one disk. */
static void give_by_domain(const struct by_domain *b, uint64_t most, uint64_t amount,
			   uint64_t *ret_given)
{
	FREE uint64_t *rooms = xcalloc(2 * (size_t)b->count + 1, sizeof(*rooms));
	uint64_t *given = rooms + b->count;

	for (unsigned i = 0; i < b->count; i++)
		rooms[b->domain[i]] = add_sat(rooms[b->domain[i]], units_of(b, i));
	give_level(rooms, b->count, most, amount, given);
	memset(ret_given, 0, b->count * sizeof(*ret_given));
	for (unsigned i = 0; i < b->count; i++) {
		const char *name = b->disks[i].domain;

		if (given[i] && name && *name)
			give_within(b, i, given[i], ret_given);
		else if (given[i])
			ret_given[i] = given[i];
	}
}

uint64_t place_take(struct place_disk *disks, unsigned count, unsigned width, uint64_t bytes,
		    uint64_t *ret_taken)
{
	unsigned domains = place_domains(disks, count, 0);
	FREE unsigned *domain = domains_new(disks, count);
	struct by_domain b = {disks, count, domain, 1};
	uint64_t left = bytes;

	memset(ret_taken, 0, count * sizeof(*ret_taken));
	if (domains == 0 || width == 0)
		return bytes;
	give_by_domain(&b, DIV_UP(bytes, MIN(width, domains)), bytes, ret_taken);
	for (unsigned i = 0; i < count; i++) {
		disks[i].free_bytes -= ret_taken[i];
		left -= ret_taken[i];
	}
	return left;
}

void place_take_stripes(struct place_disk *disks, unsigned count, uint64_t stripes,
			uint64_t fragment_bytes)
{
	FREE unsigned *domain = domains_new(disks, count);
	struct by_domain b = {disks, count, domain, fragment_bytes};
	FREE uint64_t *given = xcalloc(count + 1, sizeof(*given));

	give_by_domain(&b, stripes, UINT64_MAX, given);
	for (unsigned i = 0; i < count; i++)
		disks[i].free_bytes -= given[i] * fragment_bytes;
}

static uint64_t record_bytes(uint64_t extent_bytes, unsigned k)
{
	return add_sat(ALIGN_UP(DIV_UP(extent_bytes, k), FRAGMENT_ALIGN), RECORD_OVERHEAD);
}

unsigned place_domains(const struct place_disk *disks, unsigned count, uint64_t need_bytes)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		bool counted = false;

		if (!disks[i].eligible || disks[i].free_bytes < need_bytes)
			continue;
		for (unsigned j = 0; j < i && !counted; j++)
			counted = disks[j].eligible && disks[j].free_bytes >= need_bytes &&
				  same_domain(disks + j, disks + i);
		n += !counted;
	}
	return n;
}

/* The domains that hold most go first. */
int place_losses_left(const uint32_t *domains, unsigned count, unsigned k)
{
	unsigned left = count, lost = 0;
	FREE unsigned *held = xcalloc(count + 1, sizeof(*held));

	if (count < k)
		return (int)count - (int)k;
	for (unsigned i = 0; i < count; i++) {
		unsigned first = 0;

		while (domains[first] != domains[i])
			first++;
		held[first]++;
	}
	for (;;) {
		unsigned worst = 0;

		for (unsigned i = 1; i < count; i++)
			if (held[i] > held[worst])
				worst = i;
		if (held[worst] == 0 || left - held[worst] < k)
			return (int)lost;
		left -= held[worst];
		held[worst] = 0;
		lost++;
	}
}

static bool geometry_fits(const struct place_disk *disks, unsigned count, unsigned k, unsigned m,
			  uint64_t extent_bytes)
{
	return place_domains(disks, count, record_bytes(extent_bytes, k)) >= k + m;
}

int place_fit(const struct place_disk *disks, unsigned count, struct place_geometry wanted,
	      uint64_t extent_bytes, struct place_geometry *ret_geometry)
{
	ASSERT(wanted.k >= 1);
	for (unsigned k = wanted.k; k >= 1; k--) {
		if (geometry_fits(disks, count, k, wanted.m, extent_bytes)) {
			*ret_geometry = (struct place_geometry){(uint8_t)k, wanted.m};
			return 0;
		}
	}
	for (unsigned m = wanted.m; m-- > 0;) {
		if (geometry_fits(disks, count, 1, m, extent_bytes)) {
			*ret_geometry = (struct place_geometry){1, (uint8_t)m};
			return 0;
		}
	}
	return DFS_ENOSPC;
}
