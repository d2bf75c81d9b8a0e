/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub: every fragment as it lies on its disk, all disks at once, each in the order of its segments; then the records of
 * the index, and extents against the by-disk table; then roots, manifests, journals and table fragments (V1..V6). What is
 * damaged is told, and made anew if that was asked for.
 *
 * One scrub at a time, in one record (struct rec_scrub): where it goes on and what it has counted, stored together with what
 * was found. A step works on a copy, so that what a person asks meanwhile is of a whole step.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/metric.h"
#include "base/probe.h"
#include "base/words.h"
#include "extent/scrub.h"
#include "jobs/internal.h"

#define THREADS_MAX 16u
#define STEP_BYTES_LEAST KIB(256)
#define STEPS_PER_S 4u	    /* where there is a rate */
#define INDEX_RECORDS 4096u /* of a step */
#define STORE_NS 1000000000ull
#define WALKS 64u /* disks with an iterator of their own; of others each record is looked up */

struct step {
	struct jobs *j;
	struct job *job;
	struct rec_scrub *r; /* a copy */
	struct meta_txn *t;  /* what was found */
	uint64_t bytes;	     /* read */
	uint64_t written;
	bool found;
	struct meta_iter *walks[WALKS]; /* index phase: by disk; NULL: not begun */
};

static struct meta *meta_of(const struct step *s) { return pool_meta(s->j->p); }

static bool wants_repair(const struct step *s) { return s->r->flags & SCRUB_REPAIR; }

/* ---- what was found ---- */

/* lock held. Of a scrub in whose place another one was begun nothing is stored any more. */
static int commit(struct step *s, uint64_t *ret_seq)
{
	struct meta_txn *t = s->t;

	s->t = meta_begin(meta_of(s));
	if (s->j->scrub->job == s->r->job)
		return meta_commit(t, ret_seq);
	meta_cancel(t);
	return DFS_EEND;
}

/* Findings may be there before the cursor is behind them: then they are found again. */
static int flush(struct step *s)
{
	uint64_t seq;
	ENV_LOCKED(&s->j->lock);

	return commit(s, &seq);
}

static __attribute__((format(printf, 3, 4))) void note(struct step *s, bool is_repaired,
						       const char *fmt, ...)
{
	struct rec_note n = {.nth = s->r->notes, .is_repaired = is_repaired};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(n.text, sizeof(n.text), fmt, ap);
	va_end(ap);
	log_warn("scrub: %s%s", n.text, is_repaired ? "; it was made anew" : "");
	s->found = true;
	s->r->counts.metadata++;
	s->r->counts.metadata_repaired += is_repaired;
	metric_add(METRIC_SCRUB_ISSUES, 1);
	metric_add(METRIC_SCRUB_REPAIRS, is_repaired);
	if (s->r->notes == SCRUB_NOTES_KEPT)
		return;
	s->r->notes++;
	put_note(s->t, &n);
}

static bool is_scrubbed(const struct step *s, disk_id disk)
{
	return s->r->disk.v == 0 || s->r->disk.v == disk.v;
}

/* An extent is met once for each of its damaged fragments: what stays is counted at the first of them. */
static bool is_counted_here(const struct step *s, const struct rec_finding *f, unsigned index)
{
	if (f->verdict == SCRUB_REPAIRED)
		return true;
	for (unsigned i = 0; i < f->count; i++)
		if (fragment_is_damaged(-(int)f->issues[i].err) &&
		    is_scrubbed(s, f->issues[i].disk))
			return f->issues[i].index == index;
	return true;
}

static void tell(const struct rec_finding *f)
{
	static const char *const words[] = {[SCRUB_DEGRADED] = "is damaged",
					    [SCRUB_REPAIRED] = "was damaged, and is repaired",
					    [SCRUB_UNRECOVERABLE] = "can't be recovered"};
	char text[UUID_TEXT_LEN + 1];

	uuid_format(&f->id.u, text);
	log_warn("scrub: extent %s (inode %llu) %s: %u of %u fragments are not right%s%s", text,
		 (unsigned long long)f->ino.v, words[f->verdict], f->count, (unsigned)f->k + f->m,
		 f->err ? ": " : "", f->err ? dfs_err_text(-f->err) : "");
}

/* S8: at once, for what was known before is known until the end. */
static void note_damage(struct step *s, const struct rec_finding *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		struct disk *d = disk_get(pool_disks(s->j->p), f->issues[i].disk);

		if (d && fragment_is_damaged(-(int)f->issues[i].err))
			disk_note_damage(d, f->issues[i].segment, f->issues[i].offset);
	}
}

static void count(struct step *s, const struct rec_finding *f)
{
	struct scrub_counts *c = &s->r->counts;

	s->found = true;
	c->degraded += f->verdict == SCRUB_DEGRADED;
	c->repaired += f->verdict == SCRUB_REPAIRED;
	c->unrecoverable += f->verdict == SCRUB_UNRECOVERABLE;
	metric_add(METRIC_SCRUB_ISSUES, 1);
	metric_add(METRIC_SCRUB_REPAIRS, f->verdict == SCRUB_REPAIRED);
	tell(f);
	if (s->r->findings == SCRUB_FINDINGS_KEPT)
		return;
	s->r->findings++;
	put_finding(s->t, f);
	note_damage(s, f);
}

static int examine(struct step *s, const struct scrub_suspect *suspect)
{
	struct rec_finding f;
	struct scrub_repair done;
	int err = extent_examine(pool_extents(s->j->p), suspect->id, wants_repair(s), &f, &done);

	if (err == DFS_EBUSY)
		return 0; /* whoever changes it all the time writes it anew */
	if (err)
		return err;
	s->r->counts.made += done.made;
	s->written += done.bytes;
	if (f.verdict && is_counted_here(s, &f, suspect->index))
		count(s, &f);
	return meta_txn_bytes(s->t) > META_TXN_BYTES / 4 ? flush(s) : 0;
}

/* ---- fragments ---- */

struct reader_thread {
	struct extent_store *extents;
	struct extent_scrub w;
	struct scrub_cursor *at;
	struct env_thread *thread;
};

static void read_disk(void *arg)
{
	struct reader_thread *t = arg;

	extent_scrub_disk(t->extents, &t->w);
}

/* Which disks are read now. */
static unsigned choose(struct step *s, struct reader_thread *ts)
{
	struct disk_set *disks = pool_disks(s->j->p);
	unsigned n = 0, turn = s->j->scrub_turn++;

	for (unsigned i = 0; i < s->r->disk_count && n < MIN(s->job->budget.disks, THREADS_MAX);
	     i++) {
		struct scrub_cursor *c = &s->r->disks[(i + turn) % s->r->disk_count];
		struct disk *d = disk_get(disks, c->disk);

		if (!c->done && d && disk_present(d))
			ts[n++] = (struct reader_thread){.at = c};
	}
	return n;
}

static void run_threads(struct step *s, struct reader_thread *ts, unsigned n)
{
	const struct job_budget *b = &s->job->budget;
	uint64_t rate = s->r->bytes_per_s, until = env_now_ns() + b->ns;
	uint64_t each = rate ? MIN(rate / STEPS_PER_S / n, b->disk_bytes) : b->disk_bytes;

	for (unsigned i = 0; i < n; i++) {
		struct reader_thread *t = &ts[i];

		t->extents = pool_extents(s->j->p);
		t->w = (struct extent_scrub){.disk = t->at->disk,
					     .segment = t->at->segment,
					     .offset = t->at->offset,
					     .max_bytes = MAX(each, STEP_BYTES_LEAST),
					     .end_ns = until,
					     .users = b->until_users ? pool_users(s->j->p) : NULL};
		t->thread = i + 1 < n ? env_thread_try_start("dfs-scrub", read_disk, t) : NULL;
		if (!t->thread)
			read_disk(t);
	}
	for (unsigned i = 0; i < n; i++)
		if (ts[i].thread)
			env_thread_join(ts[i].thread);
}

static void note_strays(struct step *s, const struct extent_scrub *w)
{
	for (unsigned i = 0; i < w->stray_count; i++)
		note(s, false,
		     "the by-disk record of disk %u, segment %08x at %u belongs to no extent: %s",
		     w->disk.v, w->strays[i].segment, w->strays[i].offset,
		     w->strays[i].err ? dfs_err_text(w->strays[i].err) : "it names another place");
}

static int take_over(struct step *s, struct reader_thread *t)
{
	int err = t->w.err;

	note_strays(s, &t->w);
	for (unsigned i = 0; i < t->w.suspect_count && !err; i++)
		err = examine(s, &t->w.suspects[i]);
	if (err)
		return err; /* from the old cursor again */
	t->at->segment = t->w.segment;
	t->at->offset = t->w.offset;
	t->at->done = t->w.done;
	s->bytes += t->w.bytes;
	s->r->counts.bytes += t->w.bytes;
	s->r->counts.fragments += t->w.fragments;
	return 0;
}

static int step_fragments(struct step *s)
{
	FREE struct reader_thread *ts = xcalloc(THREADS_MAX, sizeof(*ts));
	unsigned n = choose(s, ts);
	int err = 0;

	if (n == 0) {
		s->r->phase = SCRUB_INDEX;
		s->r->cursor_len = 0;
		return 0;
	}
	run_threads(s, ts, n);
	for (unsigned i = 0; i < n && !err; i++)
		err = take_over(s, &ts[i]);
	return err;
}

/* ---- the index ---- */

/* An iterator shows what was: is it still so? */
static bool is_still_damaged(struct step *s, const uint8_t *k, size_t klen)
{
	BUF val = {0};
	int err = meta_get(meta_of(s), k, klen, &val);

	return err ? err != DFS_ENOENT : check_record(k, klen, val.data, val.len) != 0;
}

static void note_damaged_record(struct step *s, const uint8_t *k, size_t klen, const uint8_t *v,
				size_t vlen, int err)
{
	BUF text = {0};

	if (!is_still_damaged(s, k, klen))
		return;
	record_to_text(k, klen, v, vlen, &text);
	note(s, false, "a record of table %c of the index cannot be read: %s: %.*s", k[0],
	     dfs_err_text(err), (int)MIN(text.len, 300), (const char *)text.data);
}

static bool is_of(const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen,
		  const struct rec_extent *rec, unsigned i)
{
	struct rec_bydisk by;

	return !parse_bydisk(k, klen, v, vlen, &by) && uuid_eq(&by.extent.u, &rec->id.u) &&
	       by.index == i && by.record_len == rec->frags[i].record_len;
}

static bool bydisk_agrees(struct meta *m, const struct rec_extent *rec, unsigned i)
{
	const struct rec_fragment *f = &rec->frags[i];
	BUF key = {0}, val = {0};

	key_bydisk(&key, f->disk, f->segment, f->offset);
	return !meta_get(m, key.data, key.len, &val) &&
	       is_of(key.data, key.len, val.data, val.len, rec, i);
}

/* The same of a moment ago. What was written together lies together in the table, for each disk: so each of the first ones has an iterator. */
static bool bydisk_agreed(struct step *s, const struct rec_extent *rec, unsigned i)
{
	const struct rec_fragment *f = &rec->frags[i];
	BUF key = {0};
	size_t klen, vlen;
	struct meta_iter **it;
	const uint8_t *k, *v;

	if (f->disk.v >= WALKS)
		return false;
	it = &s->walks[f->disk.v];
	*it = *it ? *it : meta_iter_new(meta_of(s));
	key_bydisk(&key, f->disk, f->segment, f->offset);
	if (!meta_iter_find(*it, key.data, key.len))
		return false;
	k = meta_iter_key(*it, &klen);
	v = meta_iter_value(*it, &vlen);
	return is_of(k, klen, v, vlen, rec, i);
}

/* The extent's record is of a moment ago, too. */
static void check_extent(struct step *s, const struct rec_extent *rec)
{
	struct meta *m = meta_of(s);

	for (unsigned i = 0; i < (unsigned)rec->k + rec->m; i++) {
		char id[UUID_TEXT_LEN + 1];
		struct rec_extent now;

		if (rec->frags[i].disk.v == 0 || bydisk_agreed(s, rec, i) ||
		    bydisk_agrees(m, rec, i))
			continue;
		if (get_extent(m, rec->id, &now) || now.frags[i].disk.v == 0 ||
		    bydisk_agrees(m, &now, i))
			continue;
		uuid_format(&rec->id.u, id);
		note(s, false,
		     "fragment %u of extent %s (inode %llu) has no by-disk record of its own", i,
		     id, (unsigned long long)rec->ino.v);
	}
}

/* What lies on a disk that was not there could not be verified. */
static void count_away(struct step *s, const struct rec_bydisk *by)
{
	for (unsigned i = 0; i < s->r->disk_count; i++)
		if (s->r->disks[i].disk.v == by->disk.v && !s->r->disks[i].done)
			s->r->counts.away++;
}

static void check_one(struct step *s, const uint8_t *k, size_t klen, const uint8_t *v, size_t vlen)
{
	int err = check_record(k, klen, v, vlen);
	struct rec_extent rec;
	struct rec_bydisk by;

	s->r->counts.records++;
	s->bytes += klen + vlen;
	if (err)
		note_damaged_record(s, k, klen, v, vlen, err);
	else if (k[0] == TABLE_EXTENT && !parse_extent(k, klen, v, vlen, &rec))
		check_extent(s, &rec);
	else if (k[0] == TABLE_BYDISK && !parse_bydisk(k, klen, v, vlen, &by))
		count_away(s, &by);
}

/* The first key that is greater. */
static void move_cursor(struct rec_scrub *r, const uint8_t *k, size_t klen)
{
	ASSERT(klen < SCRUB_CURSOR_MAX);
	memcpy(r->cursor, k, klen);
	r->cursor[klen] = 0;
	r->cursor_len = (unsigned)klen + 1;
}

static int step_index(struct step *s)
{
	struct meta_iter *it = meta_iter_new(meta_of(s));
	uint64_t until = env_now_ns() + s->job->budget.ns;
	bool is_end;
	int err;

	meta_iter_seek(it, s->r->cursor_len ? s->r->cursor : (const uint8_t *)"", s->r->cursor_len);
	for (unsigned i = 0; i < INDEX_RECORDS && env_now_ns() < until && meta_iter_valid(it) &&
			     meta_txn_bytes(s->t) < META_TXN_BYTES / 2;
	     i++, meta_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *k = meta_iter_key(it, &klen), *v = meta_iter_value(it, &vlen);

		check_one(s, k, klen, v, vlen);
		move_cursor(s->r, k, klen);
	}
	is_end = !meta_iter_valid(it);
	err = meta_iter_error(it);
	meta_iter_free(it);
	for (unsigned i = 0; i < WALKS; i++)
		meta_iter_free(s->walks[i]);
	if (err || !is_end)
		return err;
	s->r->phase = SCRUB_METADATA;
	s->r->cursor_len = 0;
	return 0;
}

/* ---- roots, manifests, journals, tables ---- */

#define DEFECTS_MAX 16u
struct defects {
	char *text[DEFECTS_MAX];
	unsigned count;
};

static void on_defect(void *ctx, const char *text)
{
	struct defects *d = ctx;

	if (d->count < DEFECTS_MAX)
		d->text[d->count++] = xstrdup(text);
}

static void note_defects(struct step *s, struct defects *d, bool repaired)
{
	for (unsigned i = 0; i < d->count; i++) {
		note(s, repaired, "%s", d->text[i]);
		free(d->text[i]);
	}
}

/* The next disk after the cursor's, whose roots and journal are looked at. DFS_EEND: there is none. */
static int check_next_disk(struct step *s, uint32_t *at)
{
	struct disk_set *disks = pool_disks(s->j->p);
	struct defects found = {.count = 0};
	struct disk *d = NULL;
	bool repaired;

	for (unsigned i = 0; i < disk_count(disks) && !d; i++) {
		struct disk *next = disk_at(disks, i);

		if (disk_info(next).id.v > *at && is_scrubbed(s, disk_info(next).id))
			d = next;
	}
	if (!d)
		return DFS_EEND;
	*at = disk_info(d).id.v;
	if (!disk_present(d) || !meta_check_disk(meta_of(s), disk_info(d).id, on_defect, &found))
		return 0;
	if (!disk_present(d)) /* it went meanwhile */
		found.count = 0;
	repaired = found.count && wants_repair(s) && !meta_mend(meta_of(s)) &&
		   !meta_check_disk(meta_of(s), disk_info(d).id, NULL, NULL);
	note_defects(s, &found, repaired);
	return 0;
}

static int check_next_table(struct step *s, char name[TABLE_NAME_LEN])
{
	struct defects found = {.count = 0};
	char before[TABLE_NAME_LEN];
	uint64_t bytes = 0;
	bool repaired;
	int n;

	memcpy(before, name, sizeof(before));
	n = meta_check_next_table(meta_of(s), name, s->r->disk, on_defect, &found, &bytes);
	if (n == DFS_EEND)
		return n;
	s->bytes += bytes;
	s->r->counts.bytes += bytes;
	/* the same table, or one that has taken its place */
	repaired = n > 0 && wants_repair(s) && !meta_mend(meta_of(s)) &&
		   meta_check_next_table(meta_of(s), before, s->r->disk, NULL, NULL, &bytes) <= 0;
	note_defects(s, &found, repaired);
	return 0;
}

static int end(struct step *s)
{
	const struct scrub_counts *c = &s->r->counts;

	metric_add(METRIC_SCRUB_COMPLETIONS, 1);
	s->r->phase = SCRUB_ENDED;
	s->r->ended_ns = env_wall_ns();
	if (s->r->disk.v == 0)
		s->r->whole_ns = s->r->began_ns;
	log_info("scrub is done: %llu %s verified; extents damaged: %llu, repaired: %llu, not "
		 "recoverable: %llu; metadata: %llu %s, %llu repaired",
		 (unsigned long long)c->fragments, plural(c->fragments, "fragment", "fragments"),
		 (unsigned long long)c->degraded, (unsigned long long)c->repaired,
		 (unsigned long long)c->unrecoverable, (unsigned long long)c->metadata,
		 plural(c->metadata, "problem", "problems"),
		 (unsigned long long)c->metadata_repaired);
	return 0;
}

/* The cursor: 0 and a disk, then 1 and a table. */
static int step_metadata(struct step *s)
{
	struct rec_scrub *r = s->r;
	char name[TABLE_NAME_LEN] = "";
	uint32_t disk = 0;
	int err;

	if (r->cursor_len <= sizeof(disk)) {
		memcpy(&disk, r->cursor, r->cursor_len);
		err = check_next_disk(s, &disk);
		memcpy(r->cursor, &disk, sizeof(disk));
		r->cursor_len = sizeof(disk);
		if (err == DFS_EEND)
			r->cursor_len = sizeof(name);
		if (err == DFS_EEND)
			memset(r->cursor, 0, sizeof(name));
		return 0;
	}
	memcpy(name, r->cursor, sizeof(name) - 1);
	err = check_next_table(s, name);
	memcpy(r->cursor, name, sizeof(name));
	return err == DFS_EEND ? end(s) : err;
}

/* ---- a step ---- */

/* V2: where it goes on, what it counted and what it found: one transaction, and durable before the end is told. */
static int store(struct step *s)
{
	struct jobs *j = s->j;
	bool is_end = s->r->phase == SCRUB_ENDED;
	uint64_t now = env_now_ns(), seq = 0;
	int err = 0;

	env_mutex_lock(&j->lock);
	if (is_end || s->found || now - j->scrub_stored_ns >= STORE_NS) {
		put_scrub(s->t, s->r);
		err = commit(s, &seq);
		j->scrub_stored_ns = now;
	}
	if (!err)
		*j->scrub = *s->r;
	env_mutex_unlock(&j->lock);
	if (!err && is_end)
		err = meta_sync(meta_of(s), seq);
	if (!err && is_end)
		err = pool_note_scrubbed(j->p, s->r->disk);
	return err;
}

static uint64_t problems(const struct scrub_counts *c)
{
	return c->degraded + c->unrecoverable + c->metadata - c->metadata_repaired;
}

static int work(struct step *s)
{
	switch ((enum scrub_phase)s->r->phase) {
	case SCRUB_FRAGMENTS:
		return step_fragments(s);
	case SCRUB_INDEX:
		return s->r->disk.v ? (s->r->phase = SCRUB_METADATA, 0) : step_index(s);
	case SCRUB_METADATA:
		return step_metadata(s);
	case SCRUB_ENDED:
		break;
	}
	return DFS_EEND;
}

static int step(struct jobs *j, struct job *job, uint64_t *ret_bytes)
{
	struct step s = {.j = j, .job = job, .r = xmalloc(sizeof(*s.r))};
	int err;

	PROBE("scrub-step");
	if (!pool_may_grow(j->p)) {
		snprintf(
			job->reason, sizeof(job->reason),
			"the pool directory takes nothing more (see 'status'): what it finds could not "
			"be kept");
		free(s.r);
		return DFS_ENOSPC;
	}
	env_mutex_lock(&j->lock);
	*s.r = *j->scrub;
	env_mutex_unlock(&j->lock);
	s.t = meta_begin(pool_meta(j->p));
	err = s.r->job == job->rec.id ? work(&s) : DFS_EEND;
	if (!err)
		err = store(&s);
	if (!err && s.r->phase == SCRUB_ENDED)
		err = DFS_EEND;
	if (err && err != DFS_EEND)
		snprintf(job->reason, sizeof(job->reason), "it can't go on: %s", dfs_err_text(err));
	meta_cancel(s.t);
	job->rec.made = s.r->counts.made;
	job->rec.stuck = problems(&s.r->counts);
	if (s.r->bytes_per_s)
		job->rest_ns = (uint64_t)((double)s.bytes * 1e9 / (double)s.r->bytes_per_s);
	*ret_bytes = s.written;
	free(s.r);
	return err;
}

/* ---- the job ---- */

static uint64_t left(struct jobs *j, const struct rec_job *rec)
{
	if (!j->scrub || j->scrub->job != rec->id || j->scrub->phase == SCRUB_ENDED)
		return 0;
	if (j->scrub->phase != SCRUB_FRAGMENTS)
		return 1;
	return MAX(rec->total_bytes - MIN(rec->total_bytes, j->scrub->counts.bytes), 1u);
}

/* lock held. Wall clock; UINT64_MAX: never. Whatever the clock was set to, it is at most the interval from now. */
static uint64_t due_ns(struct jobs *j, const struct rec_schedule *when)
{
	uint64_t interval = when->interval_s * 1000000000ull, last = j->scrub->whole_ns;
	struct rec_inode root;

	if (when->interval_s >= SCRUB_OFF)
		return UINT64_MAX;
	/* one that was cancelled is not begun again at once */
	last = MAX(last, j->scrub->disk.v ? 0 : j->scrub->began_ns);
	if (!last && get_inode(pool_meta(j->p), (ino_id){DFS_ROOT_INO}, &root) == 0)
		last = (uint64_t)MAX(root.btime.sec, 0) * 1000000000ull;
	if (!last)
		return UINT64_MAX; /* nothing was ever stored */
	return MIN(last, env_wall_ns()) + interval;
}

/* lock held. V7 */
static void begin_when_due(struct jobs *j)
{
	struct scrub_order o = {.is_background = true,
				.bytes_per_s = pool_get_rebuild(j->p).bytes_per_s};
	struct rec_schedule when;
	uint64_t seq;
	uint32_t id;

	if (!j->may_grow || get_schedule(pool_meta(j->p), &when) ||
	    due_ns(j, &when) > env_wall_ns())
		return;
	o.repair = when.repair;
	if (scrub_begin(j, &o, &id, &seq) == 0)
		log_info("a scrub begins (job %u): the last one was %llu days ago, or more", id,
			 (unsigned long long)(when.interval_s / 86400));
}

/* lock held. The newest one alone goes on. */
static void look(struct jobs *j)
{
	begin_when_due(j);
	for (unsigned i = 0; i < j->count; i++) {
		struct job *job = &j->v[i];

		if (job->rec.kind == JOB_SCRUB && !job_is_over(job) && j->scrub->job != job->rec.id)
			job_set_state(job, JOB_CANCELLED,
				      "its record is lost, or a newer scrub was begun");
	}
}

void scrub_load(struct jobs *j)
{
	int err;

	j->scrub = xcalloc(1, sizeof(*j->scrub));
	if (!pool_has_disks(j->p))
		return;
	err = get_scrub(pool_meta(j->p), j->scrub);
	if (err) {
		memset(j->scrub, 0, sizeof(*j->scrub));
		if (err != DFS_ENOENT)
			log_warn(
				"the record of the last scrub can't be read: %s; the next one writes it anew",
				dfs_err_text(err));
	}
}

static void begin(struct jobs *j, const struct scrub_order *o, uint32_t id, struct rec_scrub *r)
{
	struct disk_set *disks = pool_disks(j->p);

	*r = (struct rec_scrub){
		.job = id,
		.phase = SCRUB_FRAGMENTS,
		.flags = (uint8_t)((o->repair ? SCRUB_REPAIR : 0) |
				   (o->is_background ? SCRUB_BACKGROUND : 0)),
		.disk = o->disk,
		.bytes_per_s = o->bytes_per_s,
		.began_ns = env_wall_ns(),
		.whole_ns = r->whole_ns,
	};
	for (unsigned i = 0; i < disk_count(disks); i++) {
		disk_id disk = disk_info(disk_at(disks, i)).id;

		if (o->disk.v == 0 || o->disk.v == disk.v)
			r->disks[r->disk_count++] = (struct scrub_cursor){.disk = disk};
	}
}

static uint64_t bytes_to_read(struct jobs *j, const struct rec_scrub *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->disk_count; i++) {
		struct disk *d = disk_get(pool_disks(j->p), r->disks[i].disk);

		if (disk_present(d))
			sum += (uint64_t)MAX(
				meta_counter(pool_meta(j->p),
					     META_COUNT_DISK_USED + r->disks[i].disk.v),
				0);
	}
	return MAX(sum, 1u);
}

int scrub_begin(struct jobs *j, const struct scrub_order *o, uint32_t *ret_id, uint64_t *ret_seq)
{
	struct meta_txn *t;
	struct job *job;
	int err;

	for (unsigned i = 0; i < j->count; i++)
		if (j->v[i].rec.kind == JOB_SCRUB && !job_is_over(&j->v[i])) {
			*ret_id = j->v[i].rec.id;
			return DFS_EBUSY;
		}
	err = scrub_forget(pool_meta(j->p));
	if (err)
		return err;
	job = job_add(j, JOB_SCRUB, o->disk, 0);
	if (!job)
		return DFS_E2BIG;
	begin(j, o, job->rec.id, j->scrub);
	job->rec.total_bytes = bytes_to_read(j, j->scrub);
	job_set_state(job, JOB_RUNNING, "%s", "");
	t = meta_begin(pool_meta(j->p));
	put_job(t, &job->rec);
	put_scrub(t, j->scrub);
	*ret_id = job->rec.id;
	return meta_commit(t, ret_seq);
}

int jobs_scrub(struct jobs *j, const struct scrub_order *o, uint32_t *ret_id)
{
	uint64_t seq = 0;
	int err;

	env_mutex_lock(&j->lock);
	err = scrub_begin(j, o, ret_id, &seq);
	env_cond_broadcast(&j->wake);
	env_mutex_unlock(&j->lock);
	return err ? err : meta_sync(pool_meta(j->p), seq);
}

void jobs_scrub_status(struct jobs *j, struct rec_scrub *ret)
{
	ENV_LOCKED(&j->lock);
	*ret = *j->scrub;
}

uint64_t jobs_scrub_due_ns(struct jobs *j)
{
	struct rec_schedule when;
	ENV_LOCKED(&j->lock);

	if (!pool_has_disks(j->p) || get_schedule(pool_meta(j->p), &when))
		return UINT64_MAX;
	return due_ns(j, &when);
}

const struct job_kind scrub_kind = {
	.id = JOB_SCRUB, .name = "scrub", .look = look, .step = step, .left = left};
