# SPDX-License-Identifier: Apache-2.0
# The everyday words. Meson and Ninja do the work; BUILD names the build directory.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
T ?=
N ?= all
export BUILD

.PHONY: all deps demo demo-stop check check-real asan tsan diff fuzz mutate prove bench install clean format

all:
	@tools/build.sh $(BUILD)

deps:
	@tools/install-deps.sh

demo:
	@tools/install-deps.sh build
	@tools/build.sh $(BUILD)
	@tools/demo.sh

demo-stop:
	@tools/demo.sh --stop

# make check T=name runs one test: a unit test or a case of one, or a script of tests/func or
# tests/crash, or a step (layers, format, unit, func, crash, sim, asan, tsan)
check: deps
	@tools/check.sh $(T)

# Real programs on a real mount (tests/real): databases, backups, a file server, load generators. T=git runs one;
# REAL_MORE=10 multiplies times and sizes, REAL_PLAIN=yes runs them in a plain directory, to compare
check-real:
	@tools/install-deps.sh real
	@tools/check.sh $(or $(T:%=real/%),real)

# The unit tests and the simulator under ASan and UBSan; the unit tests under TSan
asan: deps
	@tools/check.sh asan

tsan: deps
	@tools/check.sh tsan

# Each target of tests/fuzz (or T=fuzz_name) for FUZZ_SECONDS
FUZZ_SECONDS ?= 60
fuzz: deps
	@tests/fuzz/run.sh $(FUZZ_SECONDS) $(T)

# The same operations on a pool and on ext4 (as root), DIFF_OPS of them; a fresh DIFF_SEED unless one is given
DIFF_OPS ?= 20000
DIFF_SEED ?=
DIFF_KILLS ?= 20
diff: all
	@tests/diff/run.sh --ops $(DIFF_OPS) $(addprefix --seed ,$(DIFF_SEED))
	@tests/diff/run.sh --ops $$(($(DIFF_OPS) / 4)) --concurrent 4 $(addprefix --seed ,$(DIFF_SEED))
	@tests/diff/run.sh --crash --rounds $(DIFF_KILLS) $(addprefix --seed ,$(DIFF_SEED))

# Breaks the sources on purpose, one mutation at a time: does a test notice? N=list names them, N=name
# tries one, N=fast a few; without N all of them. make's own exit code for a failed recipe is always 2, but
# in question mode (-q) it passes on a 1: so here it is 0 caught, 1 one survives, 2 one can't be judged. (In
# that mode only lines that begin with + are run.)
ifneq (,$(filter mutate,$(MAKECMDGOALS)))
MAKEFLAGS += -q
endif
mutate:
	+@case "$(N)" in list | check | -*) ;; *) MAKEFLAGS= tools/build.sh $(BUILD) >&2 || exit 2 ;; esac; \
		MAKEFLAGS= tests/mutate/mutate.py $(N)

# The long proofs (hours): 100,000 seeds, 300 kills, all mutations; tools/prove.sh says how to take fewer
prove: deps
	@tools/prove.sh

bench: all
	@bench/run.sh

install: all
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install.sh $(BUILD)

format:
	@tools/check-format.sh --fix

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-check $(BUILD)-mutate
