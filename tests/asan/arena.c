/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large blocks of the programs that are built with AddressSanitizer, from memory that is used again. Its own allocator
 * maps each block of about 128 KiB and more anew and unmaps it when it is freed, so that every page of every buffer is a
 * fault: most of the time of our tests, where buffers of a megabyte are common.
 *
 * The linker puts these functions before the program's own calls (-Wl,--wrap); libraries call what they always did, and
 * what they allocated goes back where it came from. A block lies in a slot of its class, poisoned before it, behind it
 * and, once freed, all over; the slot that was freed longest ago is taken next. So what AddressSanitizer would have
 * found, it finds, but for how a block was allocated. Blocks that are still there when the program ends are leaks.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

#define LEAST_BYTES ((size_t)64 << 10) /* the smallest class; its own allocator has the rest */
#define CLASSES 11u		       /* the largest: 64 MiB */
#define CLASS_SPAN ((size_t)8 << 30)
#define MARGIN ((size_t)4096) /* poisoned, before and behind */
#define SLOTS_MAX (CLASS_SPAN / LEAST_BYTES)

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

struct slot {
	size_t size; /* 0: free */
	uint32_t next;
};
struct size_class {
	struct slot *slots;
	uint32_t made;
	uint32_t first, last; /* of those that are free, + 1; 0: none */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct size_class classes[CLASSES];
static uint8_t *arena;

static size_t class_bytes(unsigned c) { return LEAST_BYTES << c; }
static size_t stride(unsigned c) { return class_bytes(c) + 2 * MARGIN; }
static uint8_t *block(unsigned c, uint32_t i)
{
	return arena + c * CLASS_SPAN + i * stride(c) + MARGIN;
}

static bool is_ours(const void *p)
{
	const uint8_t *at = p;

	return arena && at >= arena && at < arena + CLASSES * CLASS_SPAN;
}

/* Of a block of ours. */
static struct slot *slot_of(const void *p, unsigned *ret_class, uint32_t *ret_index)
{
	size_t off = (size_t)((const uint8_t *)p - arena);
	unsigned c = (unsigned)(off / CLASS_SPAN);
	uint32_t i = (uint32_t)(off % CLASS_SPAN / stride(c));

	*ret_class = c;
	*ret_index = i;
	if (p == block(c, i) && i < classes[c].made && classes[c].slots[i].size)
		return &classes[c].slots[i];
	fprintf(stderr, "free() of %p, which is no block, or is free already\n", p);
	abort();
}

static bool prepare(void)
{
	void *at;

	if (arena)
		return true;
	at = mmap(NULL, CLASSES * CLASS_SPAN, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return false;
	arena = at;
	return true;
}

static uint32_t take_slot(struct size_class *k, unsigned c)
{
	uint32_t i;

	if (k->first) {
		i = k->first - 1;
		k->first = k->slots[i].next;
		if (!k->first)
			k->last = 0;
		return i;
	}
	if (!k->slots)
		k->slots = __real_calloc(SLOTS_MAX, sizeof(*k->slots));
	i = k->made++;
	__asan_poison_memory_region(block(c, i) - MARGIN, stride(c));
	return i;
}

/* NULL: not one of ours. */
static void *take(size_t size)
{
	unsigned c = 0;
	uint32_t i;
	uint8_t *p;

	while (c < CLASSES && class_bytes(c) < size)
		c++;
	pthread_mutex_lock(&lock);
	if (c == CLASSES || !prepare() ||
	    (!classes[c].first && (classes[c].made + 1) * stride(c) > CLASS_SPAN)) {
		pthread_mutex_unlock(&lock);
		return NULL;
	}
	i = take_slot(&classes[c], c);
	classes[c].slots[i].size = size;
	p = block(c, i);
	__asan_unpoison_memory_region(p, size);
	__lsan_register_root_region(p, size);
	pthread_mutex_unlock(&lock);
	return p;
}

static void give_back(void *p)
{
	struct size_class *k;
	struct slot *s;
	unsigned c;
	uint32_t i;

	pthread_mutex_lock(&lock);
	s = slot_of(p, &c, &i);
	k = &classes[c];
	__lsan_unregister_root_region(p, s->size);
	__asan_poison_memory_region(p, s->size);
	s->size = 0;
	s->next = 0;
	if (k->last)
		k->slots[k->last - 1].next = i + 1;
	else
		k->first = i + 1;
	k->last = i + 1;
	pthread_mutex_unlock(&lock);
}

static size_t size_of(const void *p)
{
	unsigned c;
	uint32_t i;
	size_t size;

	pthread_mutex_lock(&lock);
	size = slot_of(p, &c, &i)->size;
	pthread_mutex_unlock(&lock);
	return size;
}

void *__wrap_malloc(size_t size)
{
	void *p = size >= LEAST_BYTES ? take(size) : NULL;

	if (p)
		memset(p, 0xbe, 4096); /* as the sanitizer does: what is not written is not zero */
	return p ? p : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	size_t bytes;
	void *p = NULL;

	if (!__builtin_mul_overflow(n, size, &bytes) && bytes >= LEAST_BYTES)
		p = take(bytes);
	return p ? memset(p, 0, bytes) : __real_calloc(n, size);
}

void __wrap_free(void *p)
{
	if (is_ours(p))
		give_back(p);
	else
		__real_free(p);
}

void *__wrap_realloc(void *p, size_t size)
{
	size_t old;
	void *to;

	if (!p)
		return __wrap_malloc(size);
	if (!is_ours(p) && size < LEAST_BYTES)
		return __real_realloc(p, size);
	old = is_ours(p) ? size_of(p) : __sanitizer_get_allocated_size(p);
	to = __wrap_malloc(size);
	if (!to)
		return NULL;
	memcpy(to, p, old < size ? old : size);
	__wrap_free(p);
	return to;
}

__attribute__((destructor)) static void tell_leaks(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	unsigned count = 0;

	if (options && strstr(options, "detect_leaks=0"))
		return;
	for (unsigned c = 0; c < CLASSES; c++)
		for (uint32_t i = 0; i < classes[c].made; i++)
			count += classes[c].slots[i].size != 0;
	if (!count)
		return;
	fprintf(stderr, "%u blocks of %zu KiB or more have leaked\n", count, LEAST_BYTES >> 10);
	_exit(23);
}
