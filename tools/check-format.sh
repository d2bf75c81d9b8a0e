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
bad=0
for file in $files; do
	if ! $format "$file" | cmp -s - "$file"; then
		echo "$file: the formatting differs; run 'make format'"
		bad=1
	fi
done
exit $bad
