/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of meta/ share. States, invariants and the order of writes: docs/DESIGN.md,
 * section "Metadata".
 */
#ifndef DFS_META_INTERNAL_H
#define DFS_META_INTERNAL_H

#include "base/env.h"
#include "dev/dev.h"
#include "format/journal.h"
#include "format/manifest.h"
#include "format/root.h"
#include "format/table.h"
#include "meta/meta.h"
#include "meta/schema.h"

#define META_SEQ_MAX (1ull << 62) /* no pool comes so far */
#define ENVELOPE_LEN 24u
#define ENVELOPE_VERSION 1u

/* A disk that gets every journal record and every checkpoint's manifest. */
struct member {
	struct meta_disk disk;
	bool listed; /* whole: in the newest root, until it dies; else joining. The token's */
	bool dead;   /* failed; kept until an administrative call sweeps. Protected by state */
	bool told;   /* the pool has been told. Protected by state */
	int err;     /* why it died. Protected by state */

	/* Protected by the token. */
	struct dev_file *journal; /* the chain's last; NULL: it joins, and starts with the next */
	uint64_t journal_bytes;	  /* its size */
	uint64_t second_off;	  /* where it has the second copy of offset 0 */
	uint64_t write_ns;	  /* recent time of one journal write, smoothed */

	/* The writer thread, started at the first slow write. Protected by meta.work. */
	struct env_thread *thread;
	struct env_cond wake;
	const struct journal_job *job; /* NULL: idle */
	int job_err;
	bool stop;
	struct meta *m;
};

struct journal_job { /* what one write stores, the same on each member */
	const uint8_t *data;
	size_t len;
	uint64_t off;
	bool twice, verify;
};

struct meta_txn {
	struct meta *m;
	struct buf ops;	       /* as they go into the journal */
	unsigned count;	       /* puts and deletes */
	struct buf key, value; /* scratch of meta/schema*.c */
};

struct table_place {
	uint8_t k, m;
	uint32_t rotten;
	disk_id disks[TABLE_MAX_WIDTH];
};

/* Of the journal's room, kept for notes: only meta_commit_note() takes it. */
#define NOTE_ROOM KIB(4)
_Static_assert(META_NOTE_BYTES + JOURNAL_FIXED_LEN + 8 <= NOTE_ROOM, "a note fits there");

struct meta {
	/* Locks, in the order in which they are taken. */
	struct env_mutex
		admin; /* one checkpoint, change of disks or close at a time; held across I/O */
	/* then the token: state.busy; held across I/O by the one who writes journal or roots */
	struct env_mutex commit; /* order of transactions; held across index->apply (memory only) */
	struct env_mutex state;	 /* the small shared facts below */
	struct env_mutex work;	 /* hand-over to the writer threads */
	struct env_mutex heal;	 /* the published manifest as a healing reader needs it; held
				  * across reads of disks; nothing is taken under it */
	struct env_cond work_done;

	/* Constant. */
	struct meta_config cfg; /* disks: see below */
	const struct index_ops *ops;
	uint64_t journal_file_bytes; /* of new journal files */
	struct index *index;
	bool verify_writes; /* read and written atomically */
	struct uuid writer; /* random: in each journal record of this opening */

	/* Protected by commit (seq also readable atomically). */
	uint64_t seq; /* last committed */
	struct hash chain;
	struct buf buffer; /* records after flying and durable ones */
	int64_t counters[META_COUNTERS];
	uint64_t unwritten; /* bytes of buffer and flying */
	uint64_t room;	    /* of the journal for all that is not written (J3) */
	struct buf applied; /* scratch: the applied record */
	uint64_t commits, largest_txn_bytes;

	/* Protected by the token. */
	struct buf flying; /* records being written */
	bool has_note;	   /* one was committed since data_sync was called */
	/* The chain's last file: its name, the chain's hash at its start, where the next record goes, how
	 * much all members can hold; half: if they hold it twice, as they do when they are few. */
	uint64_t file_first, file_off, file_cap, file_half;
	struct hash file_chain;
	bool file_twice;
	struct hash durable_chain; /* of durable */
	struct root root;    /* the newest durable one (epoch, generation and list: also state) */
	struct root attempt; /* the last one that may have reached a disk */
	uint64_t epoch_floor, generation_floor; /* what any disk has shown: the next are above */
	bool new_epoch;	  /* one is due: each opening for writing has its own */
	bool force_epoch; /* the next epoch is made by force: it asks nobody */
	bool tied; /* attempt is on all its voters, and lacks only the pool directory's vote (H9) */
	struct meta_disk disks[META_MAX_DISKS]; /* reachable ones; and admin; and heal */
	bool mute[META_MAX_DISKS];		/* disks[i] failed to take a root: no vote */
	unsigned disk_count;
	bool table_failed[META_MAX_DISKS]; /* admin: disks[i] failed as a place for tables */
	struct meta_disk
		leavers[META_MAX_DISKS]; /* that set_disks takes away, if they still answer */
	unsigned leaver_count;
	struct meta_known known[ROOT_MAX_DISKS]; /* all of the pool, by id */
	unsigned known_count;

	/* Protected by state. Members: slots change under admin + token + state. */
	bool busy;	      /* the token is taken */
	struct env_cond idle; /* token given back, durable moved, checkpoint done, failed */
	uint64_t durable;     /* last durable; also read atomically */
	uint64_t sealed;      /* the last record that only says that all before it is durable */
	uint64_t generation;  /* root.generation, readable atomically without the lock */
	int failed;	      /* 0, or why nothing can be promised any more; also read atomically */
	struct member *members[ROOT_MAX_MEMBERS];
	unsigned member_count;
	uint64_t journal_bytes; /* written since the last checkpoint */
	bool checkpoint_wanted, checkpoint_stuck, stopping;
	int checkpoint_told; /* admin: why the last one failed, when that was logged */
	/* Why the index can't be flushed: what the last checkpoint met (admin); what was seen since (the
	 * checkpoint thread's). Also read atomically. */
	int index_failed, index_seen;
	uint64_t index_seen_seq; /* the last transaction then */
	uint64_t checkpoint_attempts;
	bool journal_full;    /* token: told that no member has space */
	bool compaction_due;  /* the last checkpoint left some of it for the next */
	uint64_t table_bytes; /* of all fragments that the published manifest names */
	uint64_t disk_table_bytes[DISK_ID_MAX + 1]; /* likewise, by disk */
	struct table_place *table_places;	    /* likewise: where each table's fragments are */
	unsigned table_count;
	uint64_t table_content;		/* of its tables themselves */
	uint64_t merge_most;		/* what one compaction may write, the next flush included */
	struct place_geometry geometry; /* that a new table gets */
	struct env_cond background;	/* for the checkpoint thread */
	struct env_thread *thread;
	struct meta_stats stats; /* commits and buffered_bytes: kept elsewhere */

	/* Constant after opening: what the disks were then. */
	struct {
		struct uuid uuid;
		enum history_role role;
	} roles[META_MAX_DISKS];
	unsigned role_count;

	/* Protected by admin; changed with heal held, too. */
	struct manifest manifest; /* of root.checkpoint_id; id 0: none yet, or none readable */
	bool tables_due;	  /* heal: some table is short and might be made whole */

	/* Protected by admin. */
	bool opening;	   /* nobody can commit yet: what the checkpoint holds ends where m does */
	bool keep_damaged; /* the next checkpoint keeps the old journal files aside */
	bool end_unread; /* while opening: some copy may go on beyond the end that others prove (M17) */
	bool unequal; /* a member is behind or damaged: the next checkpoint is due */

	uint64_t table_serial; /* of the last temporary name */

	/* Failures of disks as places for tables. Protected by state. */
	struct {
		disk_id id;
		int err;
	} table_failures[META_MAX_DISKS];
	unsigned table_failure_count;
};

/* ---- schema_env.c: the envelope around every value ---- */
/* Starts a value: room for the envelope; the payload is appended; then sealed. */
void envelope_begin(struct buf *value);
void envelope_seal(const void *key, size_t key_len, struct buf *value, uint64_t birth);
int envelope_open(const void *key, size_t key_len, const void *val, size_t val_len,
		  struct reader *ret_payload, uint64_t *ret_birth);

/* ---- txn.c ---- */
#define APPLIED_KEY "mapplied"
#define APPLIED_KEY_LEN 8u
/* Records being replayed: applied many at a time, each index state still that after one of them. */
struct replay {
	struct buf ops;
	unsigned count; /* puts and deletes */
	uint64_t seq;	/* of the last record; 0: nothing gathered */
	struct hash chain;
};
MUST_USE int txn_replay_add(struct meta *m, struct replay *p, const struct journal_record *r);
MUST_USE int txn_replay_flush(struct meta *m, struct replay *p);
/* While opening: applies t as the next transaction, without the journal. Consumes t. */
MUST_USE int txn_apply_opening(struct meta *m, struct meta_txn *t);
/* The index's own (seq, chain, counters). seq 0 when absent. DFS_ECORRUPT, DFS_ECHECKSUM. */
MUST_USE int txn_load_applied(struct meta *m, uint64_t *ret_seq, struct hash *ret_chain);

/* ---- sync.c ---- */
void token_take(struct meta *m);
void token_give(struct meta *m);
void state_fail(struct meta *m, int err, const char *doing);
int state_failed(struct meta *m);
/* The token held: writes what is buffered to every member. */
MUST_USE int sync_group(struct meta *m);
/* Waits while too much journal has piled up since the last checkpoint. */
int sync_throttle(struct meta *m);
/* Waits for room in the journal for a record of len bytes. DFS_ENOSPC: there is none, and no checkpoint
 * succeeds. */
MUST_USE int sync_make_room(struct meta *m, size_t len);
/* State held. Is a checkpoint due? */
bool sync_checkpoint_due(const struct meta *m);

/* ---- member.c ---- */
struct member *member_new(struct meta *m, const struct meta_disk *d, bool listed);
void member_free(struct member *mb);
/* Marks it dead; whoever holds the token next settles it. */
void member_kill(struct meta *m, struct member *mb, int err, const char *doing);
/* Admin and token held: frees the dead ones. */
void member_sweep(struct meta *m);
/* Token held: a new epoch without the listed ones that died, if any (M3). DFS_EFAILED: none left. */
MUST_USE int members_settle(struct meta *m);
/* No lock held: tells the pool of those that died. */
void member_report(struct meta *m);
/* A disk failed as a place for tables: the pool is told with the next member_report(). */
void tables_disk_failed(struct meta *m, const struct meta_disk *d, int err, const char *doing);
bool member_dead(struct meta *m, const struct member *mb);

/* ---- journal_files.c ---- */
#define JOURNAL_NAME_LEN 48
#define JOURNAL_FILE_MIN KIB(768) /* half of it holds the greatest transaction */
void journal_name(uint64_t first, char name[JOURNAL_NAME_LEN]);
/* The first sequence number that a journal file's name (within its directory) stands for. */
bool journal_name_parse(const char *name, uint64_t *ret_first);
static inline uint64_t journal_second_off(uint64_t size_bytes)
{
	return ALIGN_DOWN(size_bytes / 2, 4096);
}
/* A member's two files of that size, allocated; those that are there are kept. DFS_ENOSPC. */
MUST_USE int journal_prepare(struct dev *dev, uint64_t size_bytes);
/* Token held. Every live member starts the file `first`; chain: of first - 1, which is durable.
 * Failures kill, but for DFS_ENOSPC: nothing has changed then. */
MUST_USE int journal_switch(struct meta *m, uint64_t first, const struct hash *chain);
/* Token held. Every live listed member goes on with the file `first`, at off. */
void journal_resume(struct meta *m, uint64_t first, const struct hash *chain, uint64_t off);
/* Token held, while opening. Of these records, with which the chain's file `first` begins, those that dev has not
 * are written and synced there; also as second copies, if wanted and nothing of the chain is in their place.
 * DFS_ENOSPC: it has no room for them. */
MUST_USE int journal_complete(struct meta *m, struct dev *dev, uint64_t first,
			      const struct buf *records, bool twice, bool *ret_wrote);
/* Token held. `written` bytes have left the buffer; tells committers how much room there is. */
void journal_room_update(struct meta *m, uint64_t written);
/* All but damaged ones. */
void journal_remove(struct dev *dev);
/* Renames all that held records to damaged-NAME, and makes new ones. Those of an earlier damage go. */
void journal_keep_damaged(struct dev *dev, uint64_t size_bytes);
void journal_remove_damaged(struct dev *dev);

/* ---- member.c, again ---- */
/* Token held. Writes whole records to every live member at file_off and syncs; failures kill.
 * DFS_ENOSPC: nobody died for it; the same bytes are to be written again. */
MUST_USE int journal_write(struct meta *m, const uint8_t *data, size_t len);

/* ---- journal_end.c ---- */
/* A journal's file, or its directory, that could not be read: what it holds is not known (M17). */
struct journal_unread {
	const struct dev *dev;
	uint64_t first; /* the file's name; 0: the directory */
	int err;	/* 0: all was read */
};
/* Keeps the first. */
void unread_note(struct journal_unread *u, const struct dev *dev, uint64_t first, int err);
struct unread_range {
	uint64_t from, to; /* from the first byte that can't be read to behind the last */
};
/* As dev_read, but what can't be read costs no more than itself: it is zeros, *ret_bad says where, and its error
 * is returned. */
MUST_USE int journal_read(struct dev_file *f, void *buf, size_t len, uint64_t off, size_t *ret_got,
			  struct unread_range *ret_bad);
/* Something could not be read. Does one copy of the journal on one of devs show all the same that it ends at the
 * state (seq, chain)? */
bool journal_end_proved(struct meta *m, struct dev *const *devs, unsigned count, uint64_t seq,
			const struct hash *chain);
/* Why an opening is refused, for a person. */
void journal_end_tell(const struct journal_unread *u, char *text, size_t size);

/* ---- damage.c ---- */
/* What a scan could not read: in which of a file's halves (both, if it could not be opened). */
struct damage_unread {
	struct journal_unread what;
	bool in_first, in_second;
};
/*
 * What the journal files of devs hold beyond `end`, the last transaction that could be recovered.
 * *ret: count 0 unless it proves that transactions after `end` had been acknowledged.
 */
void damage_scan(const struct uuid *pool, struct dev *const *devs, unsigned count,
		 uint64_t journal_first, uint64_t end, struct meta_loss *ret,
		 struct damage_unread *ret_unread);
/* Where in dev's journal files a state (seq, chain) is, by the hash in its own record or in the one that follows:
 * wherever that is. False: nowhere in a whole record. */
struct journal_place {
	uint64_t seq;
	struct hash chain;
	bool found, follows; /* the record that follows it is whole, too */
	uint64_t first,
		off; /* where that one begins: file's name and offset, perhaps of a second copy */
	uint64_t durable; /* what the record that was found says */
	struct journal_unread unread;
};
bool damage_find_state(const struct uuid *pool, struct dev *dev, uint64_t journal_first,
		       uint64_t seq, const struct hash *chain, struct journal_place *ret);
/* While opening: what was lost becomes part of the state, as a transaction that no journal holds: the
 * next root's image does. */
MUST_USE int damage_record(struct meta *m, const struct meta_loss *loss);

/* Walks the chain over several members at once: each next record may come from any of them. */
enum journal_copy {
	COPY_ANY,
	COPY_FIRST,
	COPY_SECOND
};
struct walk_source {
	struct dev *dev;
	struct dev_file *file; /* of the current journal file; NULL: not there, or open_err */
	int open_err;
	bool began;	     /* the root's file is there */
	uint64_t second_off; /* where it has the second copy, if it has one */
	bool damaged;	     /* another one had a record that this one had not */
};
struct journal_walk {
	const struct uuid *pool;
	struct walk_source sources[ROOT_MAX_MEMBERS];
	unsigned count, preferred;
	enum journal_copy only;
	uint64_t journal_first;	       /* the root's */
	uint64_t file_first;	       /* name of the current file */
	uint64_t off;		       /* of the next record in it */
	uint64_t seq;		       /* of the last record */
	struct hash chain, file_chain; /* of seq; at the current file's start */
	struct buf window;	       /* bytes of the preferred lane from window_off on */
	uint64_t window_off;
	int window_cut;	  /* why it ends early, if it does */
	bool beyond_half; /* records lie where a second copy would */
	/* what could not be read where the next record was looked for: if set, the end is not known (M17) */
	struct journal_unread unread;
	/* after the end: the last file that had a record (0: none had), and where it ended */
	uint64_t end_first, end_off;
	struct hash end_chain;
	uint64_t tail_bytes; /* after the end: bytes of a torn record */
};
void walk_begin(struct journal_walk *w, const struct uuid *pool, const struct root *root);
/* 0, or DFS_EEND. ret_record's ops are borrowed until the next call. */
MUST_USE int walk_next(struct journal_walk *w, struct journal_record *ret_record);
/* The bytes of the record that walk_next() has just returned; borrowed likewise. */
const uint8_t *walk_bytes(const struct journal_walk *w, const struct journal_record *record);
/*
 * The chain breaks before seq, whose hash is known from elsewhere: goes on behind it. False: the journal does not
 * know that state, and the walk ends there. *ret_durable: what the record that was found says.
 */
MUST_USE bool walk_skip(struct journal_walk *w, uint64_t seq, const struct hash *chain,
			uint64_t *ret_durable);
void walk_end(struct journal_walk *w);

/* ---- roots.c ---- */
MUST_USE int roots_prepare(struct dev *dev); /* directories and the ring's file */
MUST_USE int roots_write(struct dev *dev, const struct root *root);
/* The newest valid root of one disk that belongs to pool. */
MUST_USE int roots_read(struct dev *dev, const struct uuid *pool, struct root *ret_root,
			unsigned *ret_damaged);
/* Token held. Empties the slots that hold no valid root. */
MUST_USE int roots_heal(struct dev *dev);
/*
 * Token held. Makes *next (checkpoint fields filled in) the newest root: on every live member,
 * then on the other disks. Members that fail die on the way; the epoch grows when the list differs.
 * DFS_EFAILED when none is left. Nothing is lost by an error that leaves m->tied set: to be tried again.
 */
MUST_USE int roots_publish(struct meta *m, struct root *next);
/* Token held. If an epoch waits for the pool directory's vote: is it there by now? What still keeps that
 * from being remembered, or 0. */
MUST_USE int roots_settle_tie(struct meta *m);
bool root_newer(const struct root *a, const struct root *b);
/* Token held. Would the next root begin a new epoch? */
bool roots_due(struct meta *m);

/* ---- checkpoint.c ---- */
/* Admin held, token not. */
MUST_USE int checkpoint_run(struct meta *m, bool closing);
/* Admin held. What a checkpoint met where the index lies; 0: nothing. */
void index_note(struct meta *m, int err);
void checkpoint_thread_start(struct meta *m);
void checkpoint_thread_stop(struct meta *m);

/* ---- table_io.c ---- */
#define TABLE_DIR "meta/tables"
#define TABLE_PATH_LEN 64
/* Where fragment `index` lies on its disk. */
void table_path(const struct manifest_file *f, unsigned index, char path[TABLE_PATH_LEN]);
/* Length of each of its fragments' files. */
uint64_t table_fragment_bytes(uint64_t size_bytes, unsigned k);
/*
 * Between image_begin and image_end: writes the fragments of table f (name, size, k and m are given)
 * whose devs[i] is not NULL, under their names and synced; their directories are not. Fills f's hash, or,
 * when known, compares it: DFS_ECHECKSUM, the local file is not what it was. An error returned is the
 * local index's, and nothing was written; ret_errs[i] are those of the disks.
 */
MUST_USE int table_write(struct meta *m, struct manifest_file *f, bool known,
			 struct dev *const *devs, int *ret_errs);
typedef int (*table_sink_fn)(void *ctx, uint64_t off, const void *data, size_t len);
/*
 * Reads table f from its fragments, verified, decoding around what is not there, in order into sink.
 * devs[i]: fragment i's disk, NULL when it is not there. *ret_bad: bit i: fragment i is missing or
 * wrong. DFS_ECHECKSUM: too few are whole. An error of sink's is in *ret_sink_err, too.
 */
MUST_USE int table_read(const struct uuid *pool, const struct manifest_file *f,
			struct dev *const *devs, table_sink_fn sink, void *ctx, uint32_t *ret_bad,
			int *ret_sink_err);
/* Verifies all of one fragment. */
MUST_USE int table_check(const struct uuid *pool, const struct manifest_file *f, unsigned index,
			 struct dev *dev);

/* ---- tables.c; admin held ---- */
/*
 * Between image_begin and image_end: puts every file of next (name and size are given) on the disks, or
 * finds it there, and fills in where. Tables that are short are made whole as far as the disks allow.
 * DFS_ENOSPC: what was written is removed again; a later checkpoint tries anew, and the journal goes on.
 */
MUST_USE int tables_store(struct meta *m, struct manifest *next);
/* How much content of new tables fits at this moment, beside all that lies there. */
uint64_t tables_room(struct meta *m);
/* Is a table of the published manifest short that the disks could make whole? */
bool tables_short(struct meta *m);
/* Removes the fragments on d that keep (NULL: nothing) does not name. */
void tables_clean(const struct meta_disk *d, const struct manifest *keep);
/* The geometry that tables want, were there disks enough. */
struct place_geometry tables_wanted(const struct meta *m);

/* ---- manifests.c ---- */
void manifest_name(uint64_t id, char name[JOURNAL_NAME_LEN]);
/* Two files for manifests of so many tables, with what is there already (J6). */
MUST_USE int manifests_prepare(struct dev *dev, unsigned tables);
void manifests_remove(struct dev *dev); /* spare ones, too */
/* Admin held. On all members: those that keep does not name are spare. */
void manifests_clean(struct meta *m, const struct manifest *keep);
/* Admin held. To every live member; those that fail die, but not for want of space: DFS_ENOSPC. */
MUST_USE int manifests_write(struct meta *m, const struct manifest *next, struct hash *ret_hash);
/* Reads and verifies root's manifest from dev. */
MUST_USE int manifest_load(struct dev *dev, const struct root *root, struct manifest *ret);

/* ---- image.c ---- */
/* Admin held. Removes what keep does not name, on all disks. */
void image_clean(struct meta *m, const struct manifest *keep);
/* Restores the index from the fragments that m->manifest names. DFS_ECHECKSUM: too few are whole. */
MUST_USE int image_restore(struct meta *m);
/* Between image_begin and image_end: the hash of the local file. */
MUST_USE int image_hash(struct meta *m, const struct manifest_file *f, struct hash *ret_hash);
/* Writes the right bytes of a rotten file of the open index in its place. Without heal held. */
bool image_heal(struct meta *m, const char *name);
/* Admin held. Compares every local table file with what is stored, and heals those that differ. */
void image_heal_all(struct meta *m);
/* The index has just said DFS_ECHECKSUM: heals what it suspects, so that trying again may help; else the
 * index is condemned. */
bool image_heal_suspect(struct meta *m);
#define HEAL_TRIES 4u /* files that one reader heals before it gives up */

/* ---- space.c ---- */
/* Admin held: the manifest has changed. */
void space_update(struct meta *m);

/* ---- choose.c; admin held ---- */
/* Token held. Joins further disks until cfg.copies members live, or more of them if these lie in further failure
 * domains (M14). Returns how many. */
unsigned members_fill(struct meta *m);
/* Token not held. Once those that joined are whole: members beyond cfg.copies that fail together with others go. */
MUST_USE int members_retire(struct meta *m);
void member_add(struct meta *m, const struct meta_disk *d, bool listed);
/* Is its disk still one of the store's? */
bool member_stays(struct meta *m, const struct member *mb);
/* A journal file's size on this disk: a small one must not be filled with them. */
uint64_t member_file_bytes(struct meta *m, struct dev *dev);

/* ---- recover.c ---- */
/* What was read from the disks' rings. */
struct root_scan {
	struct root roots[META_MAX_DISKS]; /* of cfg.disks[i], when errs[i] is 0 */
	int errs[META_MAX_DISKS];
	unsigned damaged[META_MAX_DISKS]; /* slots of its ring */
	enum history_role roles[META_MAX_DISKS];
	struct history_choice choice;
};
struct recovery {
	struct root_scan scan;
	struct dev *sources[ROOT_MAX_MEMBERS]; /* members to read: up to date, or M15 */
	unsigned source_count;
	struct journal_unread unread; /* the journal's end is not known for it, and force goes on */
	bool unequal; /* some member is behind, damaged or rotten: checkpoint before anything new */
};

/* Numbers passed over where nobody knows what could not be read: more than a journal has records, of at least 128 bytes. */
#define UNREAD_SPAN (1ull << 24)

/* Fills m's root, manifest, index, seq, chain; writes nothing to the disks. */
MUST_USE int recover(struct meta *m, struct recovery *r, struct meta_recovery *ret);
void walk_sources(struct meta *m, const struct recovery *r, struct journal_walk *ret_walk);

/* ---- resume.c; token not held ---- */
/* The checkpoint at open found no space: goes on where the journal ends (M16). */
MUST_USE int resume_without_checkpoint(struct meta *m, const struct recovery *r);

#endif
