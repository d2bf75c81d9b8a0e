#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the C files directly in a directory, sorted. meson.build takes its lists from here, so that
# a new file is built without being named anywhere; the Makefile configures anew when a list changes.
# usage: list-sources.sh DIR [PATTERN]
set -eu

[ -d "$1" ] || exit 0
LC_ALL=C find "$1" -maxdepth 1 -name "${2:-*.c}" -type f -printf '%f\n' | LC_ALL=C sort
