#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Configures a build directory where that is needed (first time, a source file came or went, other
# options) and builds it. usage: build.sh BUILD_DIR [MESON_OPTION...]
set -eu

cd "$(dirname "$0")/.."
dir=$1
shift

if ! command -v meson >/dev/null || ! command -v ninja >/dev/null; then
	echo "cannot build: meson or ninja is missing; run tools/install-deps.sh (as root)" >&2
	exit 1
fi

# What the configuration depends on, besides the meson.build files (which ninja itself watches).
state=$(
	find src sim tests -name '*.c' -type f | LC_ALL=C sort
	echo "options: $* CC=${CC:-}"
)
if [ ! -f "$dir/build.ninja" ]; then
	rm -rf "$dir"
	meson setup "$dir" "$@"
elif [ "$(cat "$dir/.configured" 2>/dev/null || true)" != "$state" ]; then
	meson setup --reconfigure "$dir" "$@"
fi
printf '%s\n' "$state" >"$dir/.configured"
ninja -C "$dir" ${NINJA_FLAGS:-}
