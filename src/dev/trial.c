/* SPDX-License-Identifier: Apache-2.0 */
/* A disk on trial. Owns no locks. */
#include "dev/trial.h"

#include "base/env.h"

#define TRIAL_BYTES 4096u

static uint64_t since(uint64_t *at)
{
	uint64_t was = *at;

	*at = env_now_ns();
	return *at - was;
}

static void use_file(struct dev_file *f, struct dev_trial *t)
{
	uint64_t at = env_now_ns();
	uint8_t bytes[TRIAL_BYTES];

	env_random(bytes, sizeof(bytes));
	t->step = "writing";
	t->err = dev_write(f, bytes, sizeof(bytes), 0);
	t->write_ns = since(&at);
	if (t->err)
		return;
	t->step = "syncing";
	t->err = dev_sync(f);
	t->sync_ns = since(&at);
	if (t->err)
		return;
	t->step = "reading back";
	t->err = dev_verify(f, bytes, sizeof(bytes), 0);
	t->read_ns = since(&at);
}

void dev_trial(struct dev *d, const char *name, struct dev_trial *ret)
{
	struct dev_trial t = {.step = "looking for it", .err = dev_probe(d)};
	struct dev_file *f = NULL;
	struct dev_space space;

	if (!t.err) {
		t.step = "making a file";
		t.err = dev_open(d, name, DEV_CREATE, &f);
	}
	if (!t.err) {
		use_file(f, &t);
		dev_close(f);
		if (!t.err) {
			t.step = "removing it";
			t.err = dev_remove(d, name);
		}
	}
	if (!t.err)
		t.step = "";
	t.from_cache = dev_space(d, &space) == 0 && space.cached_only;
	*ret = t;
}
