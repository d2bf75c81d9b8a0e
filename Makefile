# SPDX-License-Identifier: Apache-2.0
# The everyday words. Meson and Ninja do the work; BUILD names the build directory.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
T ?=

.PHONY: all deps demo demo-stop check asan tsan bench fuzz install clean format

all:
	@tools/build.sh $(BUILD)

deps:
	@tools/install-deps.sh

demo: deps all
	@tools/demo.sh

demo-stop:
	@tools/demo.sh --stop

# make check T=name runs one test (a unit test, or a script of tests/func or tests/crash)
check: deps
	@tools/check.sh $(T)

asan:
	@CC=clang tools/build.sh $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false

tsan:
	@CC=clang tools/build.sh $(BUILD)-tsan -Db_sanitize=thread -Db_lundef=false

fuzz:
	@CC=clang tools/build.sh $(BUILD)-fuzz -Db_sanitize=address,undefined -Db_lundef=false \
		-Dfuzz=true -Dtests=false

bench: all
	@bench/run.sh

install: all
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install.sh $(BUILD)

format:
	@tools/check-format.sh --fix

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-check
