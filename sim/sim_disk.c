/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disks as a whole: made, settled after a power cut, damaged, and brought back as they
 * once were. Knows nothing of what the files mean, but for the names that flips aim at.
 */
#include "sim/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim/sim_disk_internal.h"

struct sim_image_file {
	char *path;
	uint8_t *data, *pages;
	uint64_t size;
	bool is_dir, in_place;
};
struct sim_image {
	unsigned count;
	struct sim_image_file *files;
};
static struct sim_disk *disks[SIM_MAX_DISKS];
static unsigned disk_total;

void sim_disks_settle(void)
{
	sim_ops_disarm();
	for (unsigned i = 0; i < disk_total; i++)
		disk_settle(disks[i]);
}

void sim_disks_start(uint64_t seed)
{
	for (unsigned i = 0; i < disk_total; i++) {
		names_clear(disks[i]);
		while (!TAILQ_EMPTY(&disks[i]->nodes))
			node_free(disks[i], TAILQ_FIRST(&disks[i]->nodes));
		free(disks[i]->name);
		free(disks[i]);
	}
	disk_total = 0;
	sim_ops_reset();

	sim_disk_stats = (struct sim_disk_stats){0};
	rng_seed(&sim_disk_rng, seed);
}

struct sim_disk *sim_disk_new(const struct sim_disk_config *cfg)
{
	struct sim_disk *d = xcalloc(1, sizeof(*d));

	ASSERT(disk_total < SIM_MAX_DISKS);
	d->name = xstrdup(cfg->name);
	d->fs_id = cfg->fs_id;
	d->total_bytes = cfg->total_bytes;
	d->can_punch = cfg->can_punch;
	d->can_hang = cfg->can_hang;
	d->unlocked = cfg->unlocked;
	d->copies_on_write = cfg->copies_on_write;
	d->has_snapshot = cfg->has_snapshot;
	d->can_allocate = cfg->can_allocate;
	TAILQ_INIT(&d->names);
	TAILQ_INIT(&d->durable);
	TAILQ_INIT(&d->changes);
	TAILQ_INIT(&d->nodes);
	disks[disk_total++] = d;
	return d;
}

struct dev *sim_disk_open(struct sim_disk *d)
{
	struct sim_dev *dev = xcalloc(1, sizeof(*dev));

	dev->dev.ops = &sim_dev_ops;
	dev->dev.name = xstrdup(d->name);
	dev->disk = d;
	return &dev->dev;
}

void sim_disk_set_fault(struct sim_disk *d, const struct sim_fault *f) { d->fault = *f; }
struct sim_fault sim_disk_fault(struct sim_disk *d) { return d->fault; }
void sim_disk_set_others(struct sim_disk *d, uint64_t bytes) { d->others_bytes = bytes; }

uint64_t sim_disk_free_bytes(struct sim_disk *d)
{
	uint64_t used = d->used_pages * PAGE_BYTES + d->others_bytes;

	return d->fault.full || used > d->total_bytes ? 0 : d->total_bytes - used;
}

bool sim_disk_can_hang(struct sim_disk *d) { return d->can_hang; }
uint64_t sim_disk_changes(struct sim_disk *d) { return d->calls_to_change; }

struct sim_disk_stats sim_disks_stats(void) { return sim_disk_stats; }

static bool is_where(const char *path, enum sim_where where)
{
	switch (where) {
	case SIM_ANY:
		return true;
	case SIM_SEGMENT:
		return !strncmp(path, "segments/", 9);
	case SIM_JOURNAL:
		return strstr(path, "journal") != NULL;
	case SIM_ROOT:
		return strstr(path, "roots") != NULL;
	case SIM_CHECKPOINT:
		return strstr(path, "checkpoint") != NULL;
	case SIM_JSON:
		return strstr(path, ".json") != NULL;
	}
	return false;
}

bool sim_disk_flip(struct sim_disk *d, enum sim_where where, char *text, size_t text_len)
{
	uint64_t count = 0, pick, off, flips = rng_between(&sim_disk_rng, 1, 3);
	struct name *n;

	if (text_len)
		text[0] = '\0';
	TAILQ_FOREACH(n, &d->names, link)
		count += n->node && n->node->size && is_where(n->path, where);
	if (!count)
		return false;
	pick = rng_below(&sim_disk_rng, count);
	TAILQ_FOREACH(n, &d->names, link)
		if (n->node && n->node->size && is_where(n->path, where) && pick-- == 0)
			break;
	/* rather where something is: much of a file may be allocated and never have been written */
	for (unsigned tries = 0; tries < 200; tries++) {
		off = rng_below(&sim_disk_rng, n->node->size);
		if (n->node->data[off])
			break;
	}
	for (uint64_t i = 0; i < flips; i++)
		n->node->data[(off + i * 100) % n->node->size] ^=
			(uint8_t)(1u << rng_below(&sim_disk_rng, 8));
	sim_disk_stats.flips++;
	snprintf(text, text_len, "%s/%s at %llu", d->name, n->path, (unsigned long long)off);
	return true;
}

bool sim_disk_holds(struct sim_disk *d, const char *path, uint64_t off)
{
	struct name *n = name_find(&d->names, path);

	if (!n || !n->node || !d->can_punch)
		return false;
	for (uint64_t p = DIV_UP(off, PAGE_BYTES); p < n->node->size / PAGE_BYTES; p++)
		if (n->node->pages[p])
			return true;
	return false;
}

void sim_disk_each(struct sim_disk *d,
		   void (*fn)(void *ctx, const char *path, uint8_t *data, uint64_t size), void *ctx)
{
	struct name *n;

	TAILQ_FOREACH(n, &d->names, link)
		if (n->node)
			fn(ctx, n->path, n->node->data, n->node->size);
}

bool sim_disk_has_names(struct sim_disk *d) { return !TAILQ_EMPTY(&d->names); }

void sim_disk_wipe(struct sim_disk *d)
{
	names_clear(d);
	while (!TAILQ_EMPTY(&d->nodes))
		node_free(d, TAILQ_FIRST(&d->nodes));
}

/* Only of a settled disk: then what is seen is what is durable. */
struct sim_image *sim_disk_image(struct sim_disk *d)
{
	struct sim_image *im = xcalloc(1, sizeof(*im));
	struct name *n;

	TAILQ_FOREACH(n, &d->names, link)
		im->count++;
	im->files = xcalloc(im->count, sizeof(*im->files));
	im->count = 0;
	TAILQ_FOREACH(n, &d->names, link) {
		struct sim_image_file *f = &im->files[im->count++];

		f->path = xstrdup(n->path);
		f->is_dir = !n->node;
		f->in_place = n->node && n->node->in_place;
		if (f->is_dir || !n->node->size)
			continue;
		f->size = n->node->size;
		f->data = xmalloc(f->size);
		memcpy(f->data, n->node->data, f->size);
		f->pages = xmalloc(DIV_UP(f->size, PAGE_BYTES));
		memcpy(f->pages, n->node->pages, DIV_UP(f->size, PAGE_BYTES));
	}
	return im;
}

void sim_disk_restore(struct sim_disk *d, const struct sim_image *im)
{
	sim_disk_wipe(d);
	for (unsigned i = 0; i < im->count; i++) {
		const struct sim_image_file *f = &im->files[i];
		struct node *n = f->is_dir ? NULL : node_new(d);

		if (n)
			n->in_place = f->in_place;
		if (n)
			n->is_ring = !strcmp(f->path, "meta/roots");

		if (n && f->size) {
			node_resize(d, n, f->size);
			memcpy(n->data, f->data, f->size);
			for (uint64_t p = 0; p < DIV_UP(f->size, PAGE_BYTES); p++)
				node_set_page(d, n, p, f->pages[p]);
		}
		name_put(&d->names, f->path, n);
		name_put(&d->durable, f->path, n);
	}
}

void sim_image_free(struct sim_image *im)
{
	if (!im)
		return;
	for (unsigned i = 0; i < im->count; i++) {
		free(im->files[i].path);
		free(im->files[i].data);
		free(im->files[i].pages);
	}
	free(im->files);
	free(im);
}
