/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The oracle: after each opening it reads all there is, and holds it against the models.
 *
 * First everything is read (power may go while that happens: then nothing was learned), then it is
 * compared, then the models take over what was found: recovery has made it durable.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/probe.h"
#include "sim/run.h"

#define MAX_DEPTH 16u

struct found_name {
	uint64_t dir, ino;
	char name[64];
	uint32_t mode;
};
struct found_node {
	uint64_t ino;
	uint32_t mode, nlink;
	uint64_t size, token;
	uint8_t *data; /* of regular files */
	bool unreadable;
};
struct found { /* one client's tree */
	struct found_name *names;
	struct found_node *nodes;
	unsigned name_count, name_cap, node_count, node_cap;
	uint64_t hash;
	unsigned least, most; /* operations whose result it may be */
};

static void found_release(struct found *f)
{
	for (unsigned i = 0; i < f->node_count; i++)
		free(f->nodes[i].data);
	free(f->nodes);
	free(f->names);
	*f = (struct found){0};
}

static struct found_node *find_node(const struct found *f, uint64_t ino)
{
	for (unsigned i = 0; i < f->node_count; i++)
		if (f->nodes[i].ino == ino)
			return &f->nodes[i];
	return NULL;
}

static void must(const char *what, int err)
{
	if (err)
		sim_fail("P2", "%s fails: %s", what, dfs_err_name(err));
}

/* ---- reading ---- */

static uint64_t read_xattrs(struct run *r, struct inode *in)
{
	BUF names = {0};
	BUF value = {0};
	uint64_t token = 0;

	must("listing attributes", fs_listxattr(r->fs, in, &names));
	for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1) {
		const char *name = (char *)names.data + at;

		must("reading an attribute", fs_getxattr(r->fs, in, name, &value));
		token ^= model_xattr_token(name, value.data, value.len);
	}
	return token;
}

/* Fragments that are surely lost: on disks that are damaged. */
static int count_losses(void *ctx, const struct fs_extent_info *e)
{
	struct run *r = (struct run *)((void **)ctx)[0];
	bool *excused = ((void **)ctx)[1];
	unsigned lost = 0;

	if (e->is_inline)
		return 0;
	for (unsigned i = 0; i < e->extent.k + e->extent.m; i++) {
		struct run_disk *d = run_disk_by_id(r, e->extent.frags[i].disk);

		lost += !d || d->damage != DAMAGE_NONE;
	}
	if (lost > e->extent.m)
		*excused = true;
	return 0;
}

static bool is_promised(struct run *r, uint64_t ino)
{
	struct mnode *n;

	for (unsigned i = 0; i < r->clients_count; i++)
		TAILQ_FOREACH(n, &r->clients[i].model->nodes, link)
			if (n->ino == ino && n->promised)
				return true;
	return false;
}

/* P4: a file that can't be read must have an extent that lost more fragments than it tolerates. */
static void check_excuse(struct run *r, struct inode *in, uint64_t ino, int err)
{
	bool excused = false;
	void *ctx[2] = {r, &excused};

	if (err == DFS_EIO && (r->lossy || r->there || r->split.now))
		return; /* it may have been freed in what is given up */
	if (err != DFS_EIO)
		sim_fail("P3", "reading inode %llu gives %s", (unsigned long long)ino,
			 dfs_err_name(err));
	if (!r->beyond)
		sim_fail(
			"P1",
			"inode %llu can't be read, though no more disks are damaged than tolerated",
			(unsigned long long)ino);
	if (is_promised(r, ino))
		sim_fail(
			"P1",
			"inode %llu can't be read, though its fsync succeeded after too many disks "
			"were lost",
			(unsigned long long)ino);
	must("listing extents", fs_list_extents(r->fs, in, count_losses, ctx));
	if (!excused)
		sim_fail(
			"P4",
			"inode %llu can't be read, though each of its extents has enough fragments",
			(unsigned long long)ino);
	PROBE("file-lost-beyond-tolerance");
}

static void read_file(struct run *r, struct inode *in, struct found_node *n)
{
	size_t got = 0;
	int err;

	if (n->size > 2 * MODEL_MAX_SIZE)
		sim_fail("P1", "inode %llu has size %llu", (unsigned long long)n->ino,
			 (unsigned long long)n->size);
	n->data = xmalloc(n->size + 1);
	err = fs_read(r->fs, in, 0, n->size + 1, n->data, &got);
	if (err) {
		check_excuse(r, in, n->ino, err);
		n->unreadable = true;
		return;
	}
	if (got != n->size)
		sim_fail("P3", "reading inode %llu of size %llu gives %zu bytes",
			 (unsigned long long)n->ino, (unsigned long long)n->size, got);
	r->opt->counts->files_checked++;
	r->opt->counts->bytes_checked += got;
}

static void read_node(struct run *r, struct found *f, struct inode *in)
{
	struct fs_attr attr;
	struct found_node *n;
	uint64_t target = 0;

	must("reading attributes", fs_getattr(r->fs, in, &attr));
	if (find_node(f, attr.ino.v))
		return;
	if (f->node_count == f->node_cap) {
		f->node_cap = f->node_cap ? f->node_cap * 2 : 64;
		f->nodes = xrealloc(f->nodes, f->node_cap * sizeof(*f->nodes));
	}
	n = &f->nodes[f->node_count++];
	*n = (struct found_node){
		.ino = attr.ino.v, .mode = attr.mode, .nlink = attr.nlink, .size = attr.size};
	if (S_ISLNK(attr.mode)) {
		BUF text = {0};

		must("reading a symlink", fs_readlink(r->fs, in, &text));
		target = model_hash(3, text.data, text.len);
	} else if (S_ISREG(attr.mode)) {
		read_file(r, in, n);
	}
	n->token = model_inode_token(n->ino, n->mode, n->nlink, target, read_xattrs(r, in));
	f->hash ^= n->token;
}

struct dir_ctx {
	struct found *f;
	uint64_t dir;
};

static int found_entry(void *ctx, const struct fs_dirent *e)
{
	struct dir_ctx *d = ctx;
	struct found *f = d->f;
	struct found_name *n;

	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return 0;
	if (f->name_count == f->name_cap) {
		f->name_cap = f->name_cap ? f->name_cap * 2 : 64;
		f->names = xrealloc(f->names, f->name_cap * sizeof(*f->names));
	}
	n = &f->names[f->name_count++];
	*n = (struct found_name){.dir = d->dir, .ino = e->ino.v, .mode = e->mode};
	snprintf(n->name, sizeof(n->name), "%s", e->name);
	f->hash ^= model_entry_token(n->dir, n->name, n->ino);
	return 0;
}

static void read_dir(struct run *r, struct found *f, struct inode *dir, unsigned depth)
{
	struct dir_ctx ctx = {f, fs_inode_ino(dir).v};
	unsigned first = f->name_count, end;

	if (depth > MAX_DEPTH)
		sim_fail("P2", "directory %llu lies within itself", (unsigned long long)ctx.dir);
	read_node(r, f, dir);
	must("listing a directory", fs_readdir(r->fs, dir, 0, false, found_entry, &ctx));
	end = f->name_count;
	for (unsigned i = first; i < end; i++) {
		struct found_name n = f->names[i];
		struct fs_attr attr;
		struct inode *in;

		must("looking up a listed name", fs_lookup(r->fs, dir, n.name, &in, &attr));
		if (attr.ino.v != n.ino || (attr.mode & S_IFMT) != (n.mode & S_IFMT))
			sim_fail("P2",
				 "%s in directory %llu is listed as inode %llu, but found as %llu",
				 n.name, (unsigned long long)n.dir, (unsigned long long)n.ino,
				 (unsigned long long)attr.ino.v);
		if (S_ISDIR(attr.mode))
			read_dir(r, f, in, depth + 1);
		else
			read_node(r, f, in);
		fs_forget(r->fs, in, 1);
	}
}

static void read_client(struct run *r, unsigned i, struct found *f)
{
	struct inode *in;
	char path[16];

	snprintf(path, sizeof(path), "/c%u", i);
	must(path, fs_resolve(r->fs, path, &in));
	read_dir(r, f, in, 0);
	fs_forget(r->fs, in, 1);
}

/* ---- comparing ---- */

/* A create that was in flight: if it is there, the model learns its number. */
static void learn_created(struct model *m, const struct found *f)
{
	struct mop *op = &m->ops[m->op_count - 1];
	struct mnode *n = op->created, *known;
	struct mentry *e;

	if (!n)
		return;
	TAILQ_FOREACH(e, &op->created_in->entries, link)
		if (e->node == n)
			break;
	for (unsigned i = 0; e && i < f->name_count; i++) {
		if (f->names[i].dir != op->created_in->ino || strcmp(f->names[i].name, e->name))
			continue;
		TAILQ_FOREACH(known, &m->nodes, link)
			if (known->ino == f->names[i].ino)
				return;
		model_set_ino(m, n, f->names[i].ino);
		return;
	}
}

static void say(const char *line) { fprintf(stderr, "    %s\n", line); }

static void explain(struct model *m, const struct found *f)
{
	fprintf(stderr, "  found in /c%u:\n", m->client);
	for (unsigned i = 0; i < f->name_count; i++) {
		struct found_node *n = find_node(f, f->names[i].ino);

		fprintf(stderr, "    dir %llu: %s ino %llu mode %o nlink %u size %llu\n",
			(unsigned long long)f->names[i].dir, f->names[i].name,
			(unsigned long long)f->names[i].ino, n ? n->mode : 0, n ? n->nlink : 0,
			(unsigned long long)(n ? n->size : 0));
	}
	fprintf(stderr, "  operations (durable up to %u):\n", m->floor);
	for (unsigned i = m->op_count > 40 ? m->op_count - 40 : 0; i < m->op_count; i++)
		fprintf(stderr, "    %u: %s%s%s\n", i, m->ops[i].text,
			m->ops[i].end == UINT64_MAX ? " (in flight)" : "",
			m->ops[i].hash == f->hash ? "   <- equals what is found" : "");
	fprintf(stderr, "  the model after the last:\n");
	model_dump(m, say);
	model_undo_to(m, m->floor);
	fprintf(stderr, "  the model at the durable one:\n");
	model_dump(m, say);
}

static void match_names(struct run *r, unsigned i, struct found *f)
{
	struct model *m = r->clients[i].model;
	unsigned floor = m->floor;
	bool older;

	learn_created(m, f);
	if (model_match(m, f->hash, &f->least, &f->most))
		return;
	m->floor = 0;
	older = model_match(m, f->hash, &f->least, &f->most);
	m->floor = floor;
	explain(m, f);
	if (older)
		sim_fail("P1", "client %u's names are those after operation %u, but %u is durable",
			 i, f->most, floor);
	sim_fail("P2", "client %u's names are those after none of its operations", i);
}

/*
 * Over all clients: if an operation was acknowledged before another began, and the later one is
 * there, the earlier must be, too.
 */
static void check_order(struct run *r, const struct found *found)
{
	for (unsigned a = 0; a < r->clients_count; a++) {
		const struct model *ma = r->clients[a].model;
		const struct mop *missing = found[a].most + 1 < ma->op_count
						    ? &ma->ops[found[a].most + 1]
						    : NULL;

		for (unsigned b = 0; missing && b < r->clients_count; b++) {
			const struct model *mb = r->clients[b].model;
			const struct mop *there = &mb->ops[found[b].least];

			if (a != b && found[b].least && missing->end < there->start)
				sim_fail(
					"P2",
					"client %u's '%s' is there, but client %u's earlier '%s' is not",
					b, there->text, a, missing->text);
		}
	}
}

static void check_data(struct run *r, unsigned i, const struct found *f)
{
	struct model *m = r->clients[i].model;
	struct mnode *n;
	char text[300];

	for (unsigned p = 1; p <= f->least; p++)
		if (m->ops[p].content)
			model_data_floor(m->ops[p].content, m->ops[p].content_mark);
	TAILQ_FOREACH(n, &m->nodes, link) {
		struct found_node *fn = S_ISREG(n->mode) && n->ino ? find_node(f, n->ino) : NULL;

		if (!fn || fn->unreadable)
			continue;
		if (!model_data_check(n, fn->data, fn->size, text, sizeof(text)))
			sim_fail(r->was_clean ? "P3" : "P1", "client %u's inode %llu: %s", i,
				 (unsigned long long)n->ino, text);
	}
}

static void take_over(struct run *r, unsigned i, struct found *f)
{
	struct model *m = r->clients[i].model;
	struct mnode *n;

	model_rewind(m, f->most);
	if (m->hash != f->hash)
		sim_fail("simulator", "client %u's model has another hash after the rewind", i);
	TAILQ_FOREACH(n, &m->nodes, link) {
		struct found_node *fn = S_ISREG(n->mode) ? find_node(f, n->ino) : NULL;

		if (fn && !fn->unreadable)
			model_data_reset(n, fn->data, fn->size);
	}
}

void oracle_check_txns(struct run *r)
{
	uint64_t bound = r->fs_config.txn_bytes ? r->fs_config.txn_bytes : META_TXN_BYTES;
	uint64_t most = meta_stats(pool_meta(r->pool)).largest_txn_bytes;

	bound = MAX(bound,
		    KIB(22)); /* of 1,024 entries that are given back, whatever file/ is told */
	if (most > bound)
		sim_fail("B1", "a transaction took %llu bytes, more than %llu",
			 (unsigned long long)most, (unsigned long long)bound);
	if (most > bound / 2)
		PROBE("transaction-near-its-bound");
}

/* The counter of inodes is exact after any crash; those without a name are freed in the background. */
static void check_counters(struct run *r, const struct found *found)
{
	uint64_t want = 1 + compact_files(r); /* the root */
	struct pool_status st;

	for (unsigned i = 0; i < r->clients_count; i++)
		want += found[i].node_count;
	for (unsigned trial = 0; trial < 100; trial++) {
		pool_status(r->pool, &st);
		if (st.inodes == want ||
		    st.failed) /* then what was unlinked while open is not freed */
			return;
		env_sleep_ms(100);
	}
	sim_fail("counters", "the pool counts %llu inodes, but there are %llu",
		 (unsigned long long)st.inodes, (unsigned long long)want);
}

static uint64_t content_hash(const struct found *f)
{
	uint64_t h = f->hash;

	for (unsigned i = 0; i < f->node_count; i++)
		if (f->nodes[i].data && !f->nodes[i].unreadable)
			h ^= model_hash(f->nodes[i].ino, f->nodes[i].data, f->nodes[i].size);
	return h;
}

void oracle_hashes(struct run *r, uint64_t *ret_hashes)
{
	for (unsigned i = 0; i < r->clients_count; i++) {
		struct found found = {0};

		read_client(r, i, &found);
		ret_hashes[i] = content_hash(&found);
		found_release(&found);
	}
}

/* What a read-only mount shows is what recovery then makes of the disks. */
void oracle_look(struct run *r)
{
	oracle_hashes(r, r->looked_hash);
	r->looked = true;
}

static void check_looked(struct run *r, const struct found *found)
{
	for (unsigned i = 0; r->looked && i < r->clients_count; i++)
		if (r->looked_hash[i] != content_hash(&found[i]))
			sim_fail("P2",
				 "client %u's tree is another one than a read-only mount showed",
				 i);
	r->looked = false;
}

void oracle_check(struct run *r)
{
	struct found found[SIM_CLIENTS] = {0};

	for (unsigned i = 0; i < r->clients_count; i++)
		read_client(r, i, &found[i]);
	check_looked(r, found);
	for (unsigned i = 0; i < r->clients_count; i++)
		match_names(r, i, &found[i]);
	check_order(r, found);
	for (unsigned i = 0; i < r->clients_count; i++)
		check_data(r, i, &found[i]);
	check_counters(r, found);
	for (unsigned i = 0; i < r->clients_count; i++)
		take_over(r, i, &found[i]);
	for (unsigned i = 0; i < r->clients_count; i++)
		found_release(&found[i]);
	r->opt->counts->checks++;
}

void oracle_check_lossy(struct run *r)
{
	struct found found[SIM_CLIENTS] = {0};

	for (unsigned i = 0; i < r->clients_count; i++) {
		r->clients[i].model->floor = 0;
		read_client(r, i, &found[i]);
	}
	for (unsigned i = 0; i < r->clients_count; i++)
		match_names(r, i, &found[i]);
	check_counters(r, found);
	for (unsigned i = 0; i < r->clients_count; i++)
		found_release(&found[i]);
}

/* ---- fsck ---- */

static void fsck_line(void *ctx, const char *severity, const char *text)
{
	(void)ctx;
	sim_trace("fsck %s: %s", severity, text);
}

void oracle_fsck(struct run *r)
{
	struct pool_fsck_result res = {0};
	bool damaged = false;
	int err;

	for (unsigned i = 0; i < r->disk_count; i++)
		damaged |= r->disks[i].damage != DAMAGE_NONE;
	fs_pause_folding(r->fs, true);
	err = pool_fsck_within(r->pool, true, r->disk_count % 2 ? 7 : POOL_FSCK_ENTRIES, fsck_line,
			       NULL, &res);
	fs_pause_folding(r->fs, false);
	if (err && err != DFS_EDAMAGED)
		sim_fail("fsck", "it can't run: %s", dfs_err_name(err));
	if ((err == DFS_EDAMAGED) != (res.problems > 0))
		sim_fail("fsck", "it returns %s with %llu problems", dfs_err_name(err),
			 (unsigned long long)res.problems);
	if (!damaged && (res.problems || res.lost_extents || res.endangered_extents))
		sim_fail(
			"fsck",
			"it finds %llu problems, %llu lost and %llu endangered extents, though no disk was "
			"damaged",
			(unsigned long long)res.problems, (unsigned long long)res.lost_extents,
			(unsigned long long)res.endangered_extents);
	if (!r->beyond && res.lost_extents)
		sim_fail(
			"P1",
			"fsck finds %llu lost extents, though no more disks are damaged than tolerated",
			(unsigned long long)res.lost_extents);
	PROBE("fsck");
}
