#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Configures a build directory where that is needed (first time, a source file came or went, other
# options given) and builds it. Options once given stay until the directory is removed.
# usage: build.sh [BUILD_DIR [MESON_OPTION...]] (build)
set -eu

cd "$(dirname "$0")/.."
dir=${1:-build}
[ $# -eq 0 ] || shift

if ! command -v meson >/dev/null || ! command -v ninja >/dev/null; then
	echo "cannot build: meson or ninja is missing; run 'make deps' (as root)" >&2
	exit 1
fi

# What the configuration depends on, besides the meson.build files, which ninja itself watches.
list=$(find src sim tests -name '*.c' -type f | LC_ALL=C sort)
options="$*"
if [ ! -f "$dir/build.ninja" ]; then
	rm -rf "$dir"
	meson setup "$dir" "$@"
elif [ "$(cat "$dir/.sources" 2>/dev/null || true)" != "$list" ] ||
	{ [ -n "$options" ] && [ "$(cat "$dir/.options" 2>/dev/null || true)" != "$options" ]; }; then
	meson setup --reconfigure "$dir" "$@"
fi
printf '%s\n' "$list" >"$dir/.sources"
[ -z "$options" ] || printf '%s\n' "$options" >"$dir/.options"
ninja -C "$dir" ${NINJA_FLAGS:-}
