#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checks the C files against .clang-format: prints each file that differs, exits 1 when any does.
# Exits 77 when there is no clang-format 14 (other versions lay out some lines differently).
# usage: check-format.sh [--fix]
set -eu

cd "$(dirname "$0")/.."
if command -v clang-format-14 >/dev/null; then
	format=clang-format-14
elif clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
	format=clang-format
else
	echo "cannot check the formatting: clang-format 14 is not installed"
	exit 77
fi

files=$(find src sim tests bench -name '*.[ch]' -type f 2>/dev/null | LC_ALL=C sort)
if [ "${1:-}" = --fix ]; then
	exec $format -i $files
fi
# one process for all of them: starting one for each takes longer than the looking
found=$($format --dry-run -Werror $files 2>&1) && exit 0
names=$(printf '%s\n' "$found" |
	sed -n "s/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1: the formatting differs; run 'make format'/p" |
	LC_ALL=C sort -u)
printf '%s\n' "${names:-$found}"
exit 1
