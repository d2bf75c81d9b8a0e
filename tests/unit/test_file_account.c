/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of what is promised (F9) against a model of each byte, after random histories: fallocate, writes, holes,
 * zeroing, truncation both ways, second names, removal while open, closes, crashes. What the counter, the inodes'
 * sums and the table say must be the same, and what the model has.
 *
 * environment: ACCOUNT_SEED (1), ACCOUNT_STEPS (700)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "file/internal.h"
#include "unit/file_rig.h"

#define FILES 6u
#define UNITS 900u /* of a file: four slots, the last one not whole */
#define UNIT 4096u
#define SHIFT 1000u /* so that units cross the slots' borders */
#define FIRST 2u    /* no unit below: never small enough to lie in the index */

enum unit {
	HOLE,
	PROMISED,
	DATA
};

struct file {
	struct inode *in; /* NULL: there is none */
	bool open, second;
	bool dead;     /* without a name, but open */
	unsigned size; /* in units; 0: empty */
	uint8_t unit[UNITS];
};

struct world {
	struct file_rig *r;
	struct file file[FILES];
	uint64_t random;
	unsigned step;
};

static unsigned roll(struct world *w, unsigned sides)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % sides;
}

static uint64_t at(unsigned unit) { return unit ? SHIFT + (uint64_t)unit * UNIT : 0; }

static const char *name(unsigned file, bool second)
{
	static char text[2][16];

	snprintf(text[second], sizeof(text[0]), "%s%u", second ? "second" : "f", file);
	return text[second];
}

/* ---- what the tables say ---- */
static uint64_t in_table(struct world *w)
{
	const uint8_t table = TABLE_PREALLOC;
	struct meta_iter *it = meta_iter_new(w->r->fs->meta);
	uint64_t sum = 0;

	for (meta_iter_seek(it, &table, 1); meta_iter_valid(it); meta_iter_next(it)) {
		size_t key_len, val_len;
		const uint8_t *key = meta_iter_key(it, &key_len);
		const uint8_t *val = meta_iter_value(it, &val_len);
		struct rec_prealloc rec;

		if (!key_len || key[0] != table)
			break;
		assert_int_equal(parse_prealloc(key, key_len, val, val_len, &rec), 0);
		for (unsigned i = 0; i < rec.count; i++)
			sum += rec.ranges[i].end - rec.ranges[i].start;
	}
	meta_iter_free(it);
	return sum;
}

static uint64_t in_model(const struct file *f)
{
	uint64_t sum = 0;

	for (unsigned i = FIRST; f->in && i < UNITS; i++)
		sum += f->unit[i] == PROMISED ? UNIT : 0;
	return sum;
}

static void compare(struct world *w)
{
	uint64_t sum = 0;

	assert_int_equal(fs_sync_all(w->r->fs), 0);
	reap_wait(w->r->fs);
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *f = &w->file[i];

		if (f->in && f->in->rec.prealloc_bytes != in_model(f))
			fail_msg("step %u: %u has %llu bytes promised, not %llu", w->step, i,
				 (unsigned long long)f->in->rec.prealloc_bytes,
				 (unsigned long long)in_model(f));
		sum += in_model(f);
	}
	assert_int_equal(in_table(w), sum);
	assert_int_equal(meta_counter(w->r->fs->meta, META_COUNT_PREALLOC_BYTES), sum);
	assert_int_equal(w->r->fs->space.promising, 0);
	assert_int_equal(w->r->fs->space.writing, 0);
}

/* ---- what is done ---- */
static void set(struct file *f, unsigned from, unsigned to, enum unit what)
{
	for (unsigned i = from; i < to; i++)
		f->unit[i] = (uint8_t)what;
}

static void do_write(struct world *w, struct file *f, unsigned from, unsigned to)
{
	static uint8_t data[UNITS * UNIT];

	rig_write(w->r, f->in, at(from), data, at(to) - at(from));
	set(f, from, to, DATA);
	f->size = MAX(f->size, to);
}

static void do_allocate(struct world *w, struct file *f, unsigned from, unsigned to)
{
	bool keep = roll(w, 2);

	assert_int_equal(fs_fallocate(w->r->fs, f->in, keep ? FS_FALLOC_KEEP_SIZE : 0, at(from),
				      at(to) - at(from)),
			 0);
	for (unsigned i = from; i < to; i++)
		if (f->unit[i] == HOLE)
			f->unit[i] = PROMISED;
	if (!keep)
		f->size = MAX(f->size, to);
}

static void do_zero(struct world *w, struct file *f, unsigned from, unsigned to)
{
	bool keep = roll(w, 2);

	assert_int_equal(fs_fallocate(w->r->fs, f->in,
				      FS_FALLOC_ZERO | (keep ? FS_FALLOC_KEEP_SIZE : 0), at(from),
				      at(to) - at(from)),
			 0);
	set(f, from, to, PROMISED);
	if (!keep)
		f->size = MAX(f->size, to);
}

static void do_punch(struct world *w, struct file *f, unsigned from, unsigned to)
{
	assert_int_equal(fs_fallocate(w->r->fs, f->in, FS_FALLOC_PUNCH | FS_FALLOC_KEEP_SIZE,
				      at(from), at(to) - at(from)),
			 0);
	set(f, from, to, HOLE);
}

static void do_truncate(struct world *w, struct file *f, unsigned size)
{
	rig_truncate(w->r, f->in, at(size));
	if (size <= f->size)
		set(f, MAX(size, FIRST), UNITS, HOLE);
	f->size = size;
}

static void do_remove(struct world *w, struct file *f)
{
	unsigned i = (unsigned)(f - w->file);

	assert_int_equal(fs_unlink(w->r->fs, w->r->root, name(i, f->second)), 0);
	if (f->second) {
		f->second = false;
		return;
	}
	f->dead = true;
	if (f->open)
		return;
	fs_forget(w->r->fs, f->in, 1);
	*f = (struct file){0};
}

static void do_open(struct world *w, struct file *f)
{
	if (!f->open)
		assert_int_equal(fs_handle_get(f->in), 0);
	else
		fs_handle_put(w->r->fs, f->in);
	f->open = !f->open;
	if (!f->dead)
		return;
	fs_forget(w->r->fs, f->in, 1);
	*f = (struct file){0};
}

static void do_link(struct world *w, struct file *f)
{
	struct fs_attr attr;

	if (f->second || f->dead)
		return;
	assert_int_equal(fs_link(w->r->fs, f->in, w->r->root, name((unsigned)(f - w->file), true),
				 &attr),
			 0);
	f->second = true;
}

static void let_go(struct world *w)
{
	for (unsigned i = 0; i < FILES; i++)
		if (w->file[i].in)
			fs_forget(w->r->fs, w->file[i].in, 1);
}

/* All handles go with it, and what had only them. Without a sync some of the history may be undone: then only that
 * the account is one is compared (fsck), and all files are removed. */
static void do_crash(struct world *w, bool synced)
{
	if (synced)
		assert_int_equal(fs_sync_all(w->r->fs), 0);
	let_go(w);
	file_rig_crash(w->r);
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w->file[i];

		for (unsigned second = 0; !synced && second < 2; second++) {
			int rc = fs_unlink(w->r->fs, w->r->root, name(i, second));

			assert_true(rc == 0 || rc == DFS_ENOENT);
		}
		f->open = false;
		if (!synced || f->dead)
			*f = (struct file){0};
		else if (f->in)
			f->in = rig_lookup(w->r, w->r->root, name(i, false));
	}
	compare(w);
}

static void step(struct world *w)
{
	unsigned i = roll(w, FILES), from = FIRST + roll(w, UNITS - FIRST - 1), what = roll(w, 100);
	unsigned to = from + 1 + (roll(w, 3) ? roll(w, 60) : roll(w, UNITS));
	struct file *f = &w->file[i];

	to = MIN(to, UNITS);
	if (!f->in) {
		f->in = rig_create(w->r, w->r->root, name(i, false));
		return;
	}
	if (what < 30)
		do_write(w, f, from, to);
	else if (what < 50)
		do_allocate(w, f, from, to);
	else if (what < 58)
		do_zero(w, f, from, to);
	else if (what < 70)
		do_punch(w, f, from, to);
	else if (what < 80)
		do_truncate(w, f, roll(w, 4) ? from : 0);
	else if (what < 84)
		do_link(w, f);
	else if (what < 90)
		do_open(w, f);
	else if (what < 94 && !f->dead)
		do_remove(w, f);
	else if (what < 98)
		assert_int_equal(fs_fsync(w->r->fs, f->in, false), 0);
	else
		compare(w);
}

static unsigned long number(const char *variable, unsigned long otherwise)
{
	const char *text = getenv(variable);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

static void history(uint64_t seed, uint64_t txn_bytes)
{
	struct fs_config cfg = {.txn_bytes = txn_bytes};
	struct world w = {.r = file_rig_new(&cfg, MIB(300)), .random = seed * 77777};
	unsigned steps = (unsigned)number("ACCOUNT_STEPS", 700);

	for (w.step = 0; w.step < steps; w.step++) {
		step(&w);
		if (w.step % 97 == 96)
			compare(&w);
		if (w.step % 151 == 150)
			do_crash(&w, roll(&w, 3));
	}
	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &w.file[i];

		while (f->in && !f->dead)
			do_remove(&w, f);
		if (f->in)
			do_open(&w, f);
	}
	compare(&w);
	assert_int_equal(in_table(&w), 0);
	file_rig_free(w.r);
}

static void test_whole_transactions(void **state)
{
	(void)state;
	history(number("ACCOUNT_SEED", 1), 0);
}

static void test_in_steps(void **state)
{
	(void)state;
	history(number("ACCOUNT_SEED", 1) + 1000000, KIB(16));
}

/* ---- fsck tells of an account that is wrong ---- */
static void ignore(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	(void)severity;
	(void)text;
}

static uint64_t problems(struct file_rig *r)
{
	struct pool_open_options opt = {.read_only = true};
	struct pool_message msg = {""};
	struct pool_fsck_result result;
	struct pool *p;

	file_rig_close(r);
	assert_int_equal(pool_open(r->pool_dir, &opt, NULL, &p, &msg), 0);
	(void)!pool_fsck(p, false, ignore, NULL, &result);
	pool_abandon(p);
	file_rig_open(r);
	return result.problems;
}

enum lie {
	COUNTER,
	NO_INODE,
	NO_RECORD,
	MAPPED,
	LIES
};

/* Or, with undo, the truth again. */
static void tell(struct file_rig *r, enum lie lie, ino_id ino, bool undo)
{
	struct meta_txn *t = meta_begin(r->fs->meta);
	struct rec_prealloc good = {ino, 1, 1, {{0, MIB(1)}}};
	struct rec_prealloc mapped = {ino, 0, 1, {{4096, MIB(1)}}}, none = good;
	uint64_t seq;

	none.ino.v = 999;
	if (lie == COUNTER)
		meta_add(t, META_COUNT_PREALLOC_BYTES, undo ? -4096 : 4096);
	else if (lie == NO_INODE && !undo)
		put_prealloc(t, &none);
	else if (lie == NO_INODE)
		del_prealloc(t, none.ino, 1);
	else if (lie == NO_RECORD && !undo)
		del_prealloc(t, ino, 1);
	else if (lie == NO_RECORD)
		put_prealloc(t, &good);
	if (lie == MAPPED) { /* the sum is right */
		mapped.ranges[0].start -= undo ? 0 : 10;
		mapped.ranges[0].end -= undo ? 0 : 10;
		put_prealloc(t, &mapped);
	}
	assert_int_equal(meta_commit(t, &seq), 0);
}

static void test_fsck_tells(void **state)
{
	struct file_rig *r = file_rig_new(NULL, MIB(300));
	struct inode *in = rig_create(r, r->root, "f");
	static const uint8_t data[4096];
	ino_id ino = in->ino;

	(void)state;
	rig_write(r, in, 0, data, sizeof(data));
	assert_int_equal(fs_fallocate(r->fs, in, 0, 0, MIB(2)), 0);
	assert_int_equal(fs_fsync(r->fs, in, false), 0);
	assert_int_equal(in->rec.prealloc_bytes, MIB(2) - sizeof(data));
	fs_forget(r->fs, in, 1);
	assert_int_equal(problems(r), 0);
	for (enum lie lie = 0; lie < LIES; lie++) {
		tell(r, lie, ino, false);
		if (!problems(r))
			fail_msg("lie %u was believed", lie);
		tell(r, lie, ino, true);
		assert_int_equal(problems(r), 0);
	}
	file_rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_transactions),
		cmocka_unit_test(test_in_steps),
		cmocka_unit_test(test_fsck_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
