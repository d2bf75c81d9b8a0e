#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the directory of BLAKE3's C sources: $BLAKE3_DIR where it is set, else where Debian's
# librust-blake3-dev puts them (the newest version, where there are several).
set -eu

if [ -n "${BLAKE3_DIR:-}" ]; then
	dir=$BLAKE3_DIR
else
	dir=$(ls -d /usr/share/cargo/registry/blake3-*/c 2>/dev/null | sort -V | tail -n 1)
fi
if [ -z "$dir" ] || [ ! -f "$dir/blake3.c" ]; then
	echo "cannot find BLAKE3: there is neither libblake3 nor its C sources;" \
		"run tools/install-deps.sh, or set BLAKE3_DIR" >&2
	exit 1
fi
printf '%s\n' "$dir"
